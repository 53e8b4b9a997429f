//! The model in use, and checkpoints that are to become model files.

pub mod importer;
pub mod pane;
