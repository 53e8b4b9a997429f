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

use std::path::PathBuf;

use self::restored::Restored;
use crate::studio::base::jobs;

/// What a job may have found that the window goes on with.
#[derive(Debug)]
pub enum Found {
    /// Settings were read.
    Restored(Box<Restored>),
    /// A file was found to be a model.
    Model(PathBuf),
    /// A model file was made of a checkpoint.
    Imported(PathBuf),
}

/// Work in the background.
pub type Jobs = jobs::Jobs<Found>;

/// What came of a job.
pub type Outcome = jobs::Outcome<Found>;
