//! Training in the background.

/// State of the pane.
#[derive(Debug, Default)]
pub struct Training {}
