//! The belief about a step under settings that its run was not made with.

use std::collections::HashMap;
use std::sync::Arc;

use crate::flow::{SampleSettings, StepRecord};
use crate::studio::engine::pictures::Pictures;
use crate::studio::engine::{RunId, View};

/// The belief about a step under settings that its run was not made with.
#[derive(Debug)]
pub(super) struct WhatIf {
    pub(super) ticket: u64,
    pub(super) run: RunId,
    pub(super) position: usize,
    pub(super) settings: Arc<SampleSettings>,
    /// The answer, once it has come.
    pub(super) answer: Option<(Arc<StepRecord>, Pictures)>,
    pub(super) rendered: HashMap<View, Pictures>,
}

impl WhatIf {
    /// Whether the answer has come.
    #[cfg(test)]
    pub(super) fn is_answered(&self) -> bool {
        self.answer.is_some()
    }

    /// Its pictures in a view, once they are known.
    pub(super) fn pictures(&self, view: View) -> Option<&Pictures> {
        match (view, &self.answer) {
            (View::Predicted, Some((_, predicted))) => Some(predicted),
            _ => self.rendered.get(&view),
        }
    }
}

/// The current step.
#[derive(Debug, Clone)]
pub struct Shown {
    /// The step; at the end of a run, its last one.
    pub record: Arc<StepRecord>,
    /// Whether it is the answer to what would be if the settings were those on the controls.
    pub what_if: bool,
}
