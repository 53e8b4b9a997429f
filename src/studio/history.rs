//! Undo and redo of the settings.

use super::draft::Draft;

/// Settings as they were, and as they were before they were undone.
#[derive(Debug, Clone, Default)]
pub struct History {
    past: Vec<Draft>,
    future: Vec<Draft>,
    settled: Option<Draft>,
}

impl History {
    const KEPT: usize = 200;

    /// Takes note of the settings, once a frame. While `busy`, a slider is being dragged or a text
    /// typed, and what lies between is no step of its own.
    pub fn settle(&mut self, draft: &Draft, busy: bool) {
        let Some(settled) = &self.settled else {
            self.settled = Some(draft.clone());
            return;
        };
        // Whether runs start by themselves is no setting of a run.
        let lively = Draft { live: settled.live, ..draft.clone() };
        if busy || lively == *settled {
            return;
        }
        if self.past.len() == Self::KEPT {
            self.past.remove(0);
        }
        self.past.extend(self.settled.replace(draft.clone()));
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

    /// Goes back one step; says whether there was one.
    pub fn undo(&mut self, draft: &mut Draft) -> bool {
        let gone = Self::step(&mut self.past, &mut self.settled, draft);
        self.future.extend(gone.clone());
        gone.is_some()
    }

    /// Takes back [`History::undo`].
    pub fn redo(&mut self, draft: &mut Draft) -> bool {
        let gone = Self::step(&mut self.future, &mut self.settled, draft);
        self.past.extend(gone.clone());
        gone.is_some()
    }

    /// Takes the newest of `from` for the settings, and gives what they were.
    fn step(
        from: &mut Vec<Draft>,
        settled: &mut Option<Draft>,
        draft: &mut Draft,
    ) -> Option<Draft> {
        let mut wanted = from.pop()?;
        wanted.live = draft.live;
        let gone = std::mem::replace(draft, wanted);
        *settled = Some(draft.clone());
        Some(gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_undone_and_redone_in_order() {
        let (mut history, mut draft) = (History::default(), Draft::default());
        history.settle(&draft, false);
        for steps in [10, 11, 12] {
            draft.steps = steps;
            // A drag in progress is not a step.
            history.settle(&draft, steps == 11);
        }
        assert!(history.undo(&mut draft));
        assert_eq!(draft.steps, 10);
        assert!(history.undo(&mut draft) && !history.undo(&mut draft));
        assert_eq!(draft.steps, Draft::default().steps);
        history.settle(&draft, false);
        assert!(history.redo(&mut draft) && history.redo(&mut draft) && !history.redo(&mut draft));
        assert_eq!(draft.steps, 12);
    }

    #[test]
    fn a_new_step_leaves_nothing_to_redo() {
        let (mut history, mut draft) = (History::default(), Draft::default());
        history.settle(&draft, false);
        draft.count = 2;
        history.settle(&draft, false);
        history.undo(&mut draft);
        draft.count = 3;
        history.settle(&draft, false);
        assert!(!history.can_redo() && history.can_undo());
        draft.live = true;
        history.settle(&draft, false);
        assert!(history.undo(&mut draft) && draft.live, "live mode is left as it is");
    }
}
