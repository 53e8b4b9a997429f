//! Runs that go on from a step of another.

use crate::flow::{Branch, State};

/// A step of a run that new runs go on from.
#[derive(Debug, Clone)]
pub struct BranchPoint {
    /// Steps taken, and the settings that they were taken with.
    pub branch: Branch,
    /// The state there, where it is known; else the steps are taken again.
    pub start: Option<Box<State>>,
}

impl From<Branch> for BranchPoint {
    fn from(branch: Branch) -> Self {
        Self { branch, start: None }
    }
}
