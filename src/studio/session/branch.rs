//! Runs that go on from a step of another.

use super::Session;
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

impl Session {
    /// Lets new runs go on from the step on show, with whatever settings the controls then have.
    pub fn branch_here(&mut self) {
        let Some(run) = &self.run else { return };
        let step = self.position;
        let Some(record) = run.record(step).filter(|_| step + 1 < run.steps()) else { return };
        let codes = record.codes.as_ref().map(|codes| codes.before.clone());
        let start = State { x: record.x.clone(), codes };
        self.branch = Some(BranchPoint {
            branch: Branch { step, parent: run.settings.clone() },
            start: Some(Box::new(start)),
        });
    }

    /// Where new runs begin, if not with noise.
    pub(super) fn branch(&self) -> Option<&Branch> {
        self.branch.as_ref().map(|point| &point.branch)
    }

    /// The state that new runs go on from, where they branch and it is known.
    pub fn start(&self) -> Option<Box<State>> {
        self.branch.as_ref().and_then(|point| point.start.clone())
    }
}
