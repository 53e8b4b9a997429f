//! The window itself: its bar, its dock of panes and its pages, and what it keeps between sessions.

pub mod app;
mod bar;
pub mod dock;
mod first_steps;
pub mod frames;
pub mod measure;
mod pages;
pub mod panes;
pub mod saved;
pub mod scale;
pub mod shell;
mod shortcuts;
pub mod studio;
