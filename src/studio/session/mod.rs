//! What the window knows of the run on show, of its settings, and of where one is in it.

pub mod draft;
pub mod edits;
pub mod history;
pub mod presets;
pub mod restored;
pub mod run;
pub mod settings_file;
pub mod state;
pub mod token;
mod vault;
