//! The settings of the next run, kept until something that they are made of changes.

use std::cell::RefCell;
use std::sync::Arc;

use super::branch::BranchPoint;
use super::draft::Draft;
use super::history::Setup;
use crate::flow::SampleSettings;
use crate::studio::engine::ModelInfo;

/// The settings of the next run: with many pins they take a while to make, and several panes ask for
/// them in every frame.
#[derive(Debug, Default)]
pub(super) struct Made(RefCell<Option<Kept>>);

/// What the settings were made of, and they themselves.
#[derive(Debug)]
struct Kept {
    model: Arc<ModelInfo>,
    setup: Setup,
    settings: Arc<SampleSettings>,
}

impl Made {
    /// What a run of `draft` that goes on from `branch` is asked to do.
    pub(super) fn of(
        &self,
        model: &Arc<ModelInfo>,
        draft: &Draft,
        branch: Option<&BranchPoint>,
    ) -> Arc<SampleSettings> {
        let branch = branch.map(|point| &point.branch);
        let mut made = self.0.borrow_mut();
        if let Some(kept) = &*made
            && Arc::ptr_eq(&kept.model, model)
            && kept.setup.draft == *draft
            && kept.setup.branch.as_ref() == branch
        {
            return Arc::clone(&kept.settings);
        }
        let setup = Setup { draft: draft.clone(), branch: branch.cloned() };
        let settings = Arc::new(settings_of(&setup, model));
        let (model, kept) = (Arc::clone(model), Arc::clone(&settings));
        *made = Some(Kept { model, setup, settings: kept });
        settings
    }
}

/// What a run of `setup` is asked to do.
fn settings_of(setup: &Setup, model: &ModelInfo) -> SampleSettings {
    let Some(branch) = &setup.branch else {
        return setup.draft.settings(&model.card);
    };
    // A branch has as many pictures as what it leaves.
    let draft = Draft { count: branch.parent.labels.len(), ..setup.draft.clone() };
    SampleSettings { branch: Some(Box::new(branch.clone())), ..draft.settings(&model.card) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::studio::engine::{ModelSource, Worker};
    use crate::studio::testing::fake::FakeWorker;

    #[test]
    fn settings_are_made_once_a_change() {
        let load = || Arc::new(FakeWorker::default().load(&ModelSource::Embedded).unwrap());
        let (made, model, mut draft) = (Made::default(), load(), Draft::default());
        let first = made.of(&model, &draft, None);
        assert!(Arc::ptr_eq(&first, &made.of(&model, &draft, None)));
        draft.sampling.steps += 1;
        let second = made.of(&model, &draft, None);
        assert_eq!(second.steps, first.steps + 1);
        let other = made.of(&load(), &draft, None);
        assert!(other == second && !Arc::ptr_eq(&other, &second), "another model, made again");
        let parent = SampleSettings::clone(&second);
        let point = BranchPoint::from(crate::flow::Branch { step: 1, parent });
        assert!(made.of(&model, &draft, Some(&point)).branch.is_some());
    }
}
