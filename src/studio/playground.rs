//! A flow in the plane.

/// State of the pane.
#[derive(Debug, Default)]
pub struct Playground {}
