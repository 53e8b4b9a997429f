//! Runs over two settings: a plan, what has come of it, and the sheet that shows it.
//!
//! The command line runs its cells one after another, the studio between whatever else it is asked to do.

pub mod axis;
mod lettering;
pub mod sheet;
pub mod study;
