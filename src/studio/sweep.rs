//! Runs over two settings.

/// State of the pane.
#[derive(Debug, Default)]
pub struct Sweep {}
