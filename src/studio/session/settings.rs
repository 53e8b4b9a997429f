//! The settings on the controls: what a run of them is asked to do, taking over those of another run,
//! and going back.

use std::sync::Arc;

use super::Session;
use super::branch::BranchPoint;
use super::draft::Draft;
use super::history::Setup;
use super::restored::Restored;
use crate::flow::SampleSettings;
use crate::studio::base::notices::About;

impl Session {
    /// What a run of the settings on the controls is asked to do, if there is a model.
    pub fn settings(&self) -> Option<Arc<SampleSettings>> {
        Some(self.made.of(self.model.as_ref()?, &self.draft, self.branch.as_ref()))
    }

    /// Makes a picture again from the settings that were read from it; says whether it can be.
    pub fn restore(&mut self, restored: &Restored) -> bool {
        let Some(model) = self.model.clone() else {
            let text = "No model is loaded: open one first, then restore the picture.";
            self.notices.error_about(About::Opening, text);
            return false;
        };
        if let Err(text) = fits(&restored.settings) {
            self.notices.error_about(About::Opening, text);
            return false;
        }
        self.draft.adopt(&restored.settings, restored.class.as_deref(), &model.card);
        self.branch = restored.settings.branch.as_deref().cloned().map(BranchPoint::from);
        self.notices.settled(About::Opening);
        let other_model = restored.model_hash.as_ref().is_some_and(|hash| *hash != model.hash);
        self.tell_restored(restored, other_model);
        self.begin(false);
        true
    }

    /// Says what of settings that were read is on the controls, and why what is made of them may differ.
    fn tell_restored(&mut self, restored: &Restored, other_model: bool) {
        let lacking = if other_model {
            Some("Settings restored, but the picture was made by a different model.")
        } else if self.settings().is_none_or(|settings| *settings != restored.settings) {
            Some("Settings restored as far as this model and its limit of 16 pictures allow.")
        } else {
            None
        };
        // Noise is not read here: the record names its file and not what that held, so any other could lie there now.
        match (lacking, &restored.noise) {
            (lacking, Some(file)) => {
                let text = format!(
                    "{} The picture began with the noise in {file}; here it begins with that of its seed, so that \
                     what is shown differs. `purrscope sample` takes the file, with --restore or --noise.",
                    lacking.unwrap_or("Settings restored.")
                );
                self.notices.warn(About::Opening, text);
            }
            (Some(lacking), None) => self.notices.tell(lacking),
            (None, None) => self.notices.note("Settings of a picture restored"),
        }
    }

    /// Puts the settings of a run on the controls, and makes nothing yet.
    pub fn adopt(&mut self, settings: &SampleSettings) {
        let Some(model) = self.model.clone() else { return };
        if let Err(text) = fits(settings) {
            return self.notices.error_about(About::Opening, text);
        }
        self.draft.adopt(settings, None, &model.card);
        let known = self.branch.take();
        self.branch = settings.branch.as_deref().map(|branch| {
            known
                .filter(|known| known.branch == *branch)
                .unwrap_or_else(|| BranchPoint::from(branch.clone()))
        });
    }

    /// Puts the settings back to those of a first start.
    pub fn reset_settings(&mut self) {
        self.draft = Draft { live: self.draft.live, ..Draft::default() };
    }

    /// Throws the dice for a new seed.
    pub fn throw_dice(&mut self) {
        // Knuth's linear congruential generator: only to offer a seed that was not there before.
        self.dice = self
            .dice
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.draft.sampling.seed = (self.dice >> 33) % 1_000_000;
    }

    /// Goes back to the settings before the last change.
    pub fn undo(&mut self) {
        let now = self.setup();
        if let Some(wanted) = self.history.undo(now) {
            self.set_up(wanted);
        }
    }

    /// Takes back [`Session::undo`].
    pub fn redo(&mut self) {
        let now = self.setup();
        if let Some(wanted) = self.history.redo(now) {
            self.set_up(wanted);
        }
    }

    /// What the next run would be made of.
    fn setup(&self) -> Setup {
        Setup { draft: self.draft.clone(), branch: self.branch().cloned() }
    }

    fn set_up(&mut self, Setup { draft, branch }: Setup) {
        self.draft = draft;
        if self.branch() != branch.as_ref() {
            self.branch = branch.map(BranchPoint::from);
        }
    }
}

/// Whether settings that were read are of a size that the window can show and a run can have. Those of
/// the runs that they go on from are looked at first: the times of a run are counted with them.
fn fits(settings: &SampleSettings) -> Result<(), String> {
    const DEEPEST: usize = 64;
    const MOST_PICTURES: usize = 1 << 20;
    let mut of = Some(settings);
    let mut depth = 0;
    while let Some(run) = of {
        if !(1..=SampleSettings::MAX_STEPS).contains(&run.steps) {
            let (steps, most) = (run.steps, SampleSettings::MAX_STEPS);
            return Err(format!(
                "The settings were not restored: {steps} steps, where 1 to {most} can be."
            ));
        }
        if run.labels.len() > MOST_PICTURES {
            let pictures = run.labels.len();
            return Err(format!("The settings were not restored: {pictures} pictures at once."));
        }
        if depth > DEEPEST {
            return Err(format!(
                "The settings were not restored: a run that goes on from more than {DEEPEST} others."
            ));
        }
        of = run.branch.as_ref().map(|branch| &branch.parent);
        depth += 1;
    }
    Ok(())
}
