//! What goes to the compute thread and comes from it, until it is taken.

use std::collections::HashMap;
use std::sync::Arc;

use crate::calibrate::Belief;
use crate::studio::engine::pictures::Pictures;
use crate::studio::engine::{Command, PictureKey, RunId};

/// What is to be sent to the compute thread, and the numbers that it goes by.
#[derive(Debug)]
pub(super) struct Outbox {
    pub(super) commands: Vec<Command>,
    pub(super) next_run: RunId,
    pub(super) next_ticket: u64,
}

impl Default for Outbox {
    fn default() -> Self {
        // A ticket of 0 stands for a run's own belief.
        Self { commands: Vec::new(), next_run: 1, next_ticket: 1 }
    }
}

/// Questions that have no answer yet, and answers that nobody has taken yet.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// The view that is being decoded, one at a time.
    pub(super) asked_view: Option<PictureKey>,
    pub(super) decoded: HashMap<u64, Pictures>,
    pub(super) encoded: HashMap<u64, Vec<u32>>,
    pub(super) believed: HashMap<u64, Arc<Belief>>,
}

impl Answers {
    pub(super) fn take_decoded(&mut self, ticket: u64, pictures: Pictures) {
        self.decoded.insert(ticket, pictures);
    }

    pub(super) fn take_encoded(&mut self, ticket: u64, codes: Vec<u32>) {
        self.encoded.insert(ticket, codes);
    }

    pub(super) fn take_believed(&mut self, ticket: u64, belief: Arc<Belief>) {
        self.believed.insert(ticket, belief);
    }

    /// Forgets answers: they are of a model that is no longer there.
    pub(super) fn clear(&mut self) {
        self.decoded.clear();
        self.encoded.clear();
        self.believed.clear();
    }
}
