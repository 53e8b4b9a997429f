//! What the features share: looks, widgets, notices and work in the background.

pub mod colormap;
pub mod jobs;
pub mod notices;
pub mod text;
pub mod theme;
pub mod threads;
pub mod widgets;
