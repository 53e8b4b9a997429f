//! Pictures that were made, on disk.

/// State of the pane.
#[derive(Debug, Default)]
pub struct Gallery {}
