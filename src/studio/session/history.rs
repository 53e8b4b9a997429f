//! Undo and redo of the settings.

use super::draft::Draft;
use crate::flow::Branch;

/// What a run is made of: the settings on the controls, and the step that it goes on from.
#[derive(Debug, Clone, PartialEq)]
pub struct Setup {
    /// The settings on the controls.
    pub draft: Draft,
    /// Where the next run leaves another one.
    pub branch: Option<Branch>,
}

/// Settings as they were, and as they were before they were undone.
#[derive(Debug, Clone, Default)]
pub struct History {
    past: Vec<Setup>,
    future: Vec<Setup>,
    settled: Option<Setup>,
}

impl History {
    const KEPT: usize = 200;

    /// Takes note of the settings, once a frame. While `busy`, a slider is being dragged or a text
    /// typed, and what lies between is no step of its own.
    pub fn settle(&mut self, draft: &Draft, branch: Option<&Branch>, busy: bool) {
        let now = || Setup { draft: draft.clone(), branch: branch.cloned() };
        let Some(settled) = &self.settled else {
            self.settled = Some(now());
            return;
        };
        // Whether runs start by themselves is no setting of a run.
        let lively = Draft { live: settled.draft.live, ..draft.clone() };
        if busy || (lively == settled.draft && branch == settled.branch.as_ref()) {
            return;
        }
        if self.past.len() == Self::KEPT {
            self.past.remove(0);
        }
        self.past.extend(self.settled.replace(now()));
        self.future.clear();
    }

    /// Whether there is anything to undo.
    pub fn can_undo(&self) -> bool {
        !self.past.is_empty()
    }

    /// Whether there is anything to redo.
    pub fn can_redo(&self) -> bool {
        !self.future.is_empty()
    }

    /// Goes back one step from `now`; gives what there was, if anything.
    pub fn undo(&mut self, now: Setup) -> Option<Setup> {
        Self::step(&mut self.past, &mut self.future, &mut self.settled, now)
    }

    /// Takes back [`History::undo`].
    pub fn redo(&mut self, now: Setup) -> Option<Setup> {
        Self::step(&mut self.future, &mut self.past, &mut self.settled, now)
    }

    /// Takes the branches out: they are of a model that is no longer there.
    pub fn forget_branches(&mut self) {
        let all = self.past.iter_mut().chain(&mut self.future).chain(&mut self.settled);
        all.for_each(|setup| setup.branch = None);
    }

    /// Takes the newest of `from`, and puts what is on the controls onto `to`.
    fn step(
        from: &mut Vec<Setup>,
        to: &mut Vec<Setup>,
        settled: &mut Option<Setup>,
        now: Setup,
    ) -> Option<Setup> {
        let mut wanted = from.pop()?;
        wanted.draft.live = now.draft.live;
        to.push(now);
        *settled = Some(wanted.clone());
        Some(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::SampleSettings;

    /// The history of a window, and what is on its controls.
    struct Desk(History, Setup);

    impl Desk {
        fn new() -> Self {
            let mut desk =
                Self(History::default(), Setup { draft: Draft::default(), branch: None });
            desk.settle(false);
            desk
        }

        fn settle(&mut self, busy: bool) {
            self.0.settle(&self.1.draft, self.1.branch.as_ref(), busy);
        }

        fn undo(&mut self) -> bool {
            self.0.undo(self.1.clone()).map(|wanted| self.1 = wanted).is_some()
        }

        fn redo(&mut self) -> bool {
            self.0.redo(self.1.clone()).map(|wanted| self.1 = wanted).is_some()
        }
    }

    #[test]
    fn steps_are_undone_and_redone_in_order() {
        let mut desk = Desk::new();
        for steps in [10, 11, 12] {
            desk.1.draft.sampling.steps = steps;
            // A drag in progress is not a step.
            desk.settle(steps == 11);
        }
        assert!(desk.undo());
        assert_eq!(desk.1.draft.sampling.steps, 10);
        assert!(desk.undo() && !desk.undo());
        assert_eq!(desk.1.draft.sampling.steps, Draft::default().sampling.steps);
        desk.settle(false);
        assert!(desk.redo() && desk.redo() && !desk.redo());
        assert_eq!(desk.1.draft.sampling.steps, 12);
    }

    #[test]
    fn a_new_step_leaves_nothing_to_redo() {
        let mut desk = Desk::new();
        desk.1.draft.count = 2;
        desk.settle(false);
        desk.undo();
        desk.1.draft.count = 3;
        desk.settle(false);
        assert!(!desk.0.can_redo() && desk.0.can_undo());
        desk.1.draft.live = true;
        desk.settle(false);
        assert!(desk.undo() && desk.1.draft.live, "live mode is left as it is");
    }

    #[test]
    fn branches_are_steps_until_their_model_goes() {
        let mut desk = Desk::new();
        let branch = Branch { step: 3, parent: SampleSettings::default() };
        desk.1.branch = Some(branch.clone());
        desk.settle(false);
        desk.1.branch = None;
        desk.settle(false);
        assert!(desk.undo());
        assert_eq!(desk.1.branch, Some(branch));
        assert!(desk.undo() && desk.1.branch.is_none());
        desk.0.forget_branches();
        assert!(desk.redo() && desk.1.branch.is_none());
    }
}
