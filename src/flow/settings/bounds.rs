//! What settings may ask for, checked before anything is allocated or computed for them: they come
//! from pictures and files of anyone.

use std::collections::{BTreeMap, BTreeSet};

use super::domain::Domain;
use super::error::SettingsError;
use super::kinds::Solver;
use super::lists::{MAX_BANNED_CODES, MAX_PICTURES, MAX_SPOTS};
use super::spot::Spot;
use super::table::{Branch, MAX_GUIDANCE, MAX_REMASKING, MAX_STEPS, SETTINGS, SampleSettings};
use crate::model::Objective;

impl SampleSettings {
    /// The largest number of intervals that is accepted: more are below the precision of the times.
    pub const MAX_STEPS: usize = MAX_STEPS;
    /// The most pictures of a run: enough for any statistics of a model.
    pub const MAX_PICTURES: usize = MAX_PICTURES;
    /// The most pins, and the most bans of single tokens: as many as can be painted on a batch.
    pub const MAX_SPOTS: usize = MAX_SPOTS;
    /// The most codes that are banned everywhere: the largest codebooks have as many codes.
    pub const MAX_BANNED_CODES: usize = MAX_BANNED_CODES;
    /// The most runs that one goes on from: JSON and TOML nest each of them two levels deep, and
    /// their readers stop at 128 and 80 levels.
    pub const MAX_GENERATION: usize = 32;
    /// The largest guidance scale, up or down: far beyond it the mixed logits overflow.
    pub const MAX_GUIDANCE: f32 = MAX_GUIDANCE;
    /// The largest stochasticity of `dfm`, where it is a rate and not a share.
    pub const MAX_REMASKING: f32 = MAX_REMASKING;

    /// Checks what can be checked without a model, of these settings alone and not of the runs that
    /// they go on from. Settings that were read from anywhere have passed it.
    ///
    /// # Errors
    /// The first setting that is out of its bounds.
    pub fn check_bounds(&self) -> Result<(), SettingsError> {
        for (what, found, most) in [
            ("pictures", self.labels.len(), Self::MAX_PICTURES),
            ("pins", self.pins.len(), Self::MAX_SPOTS),
            ("bans", self.bans.len(), Self::MAX_SPOTS),
            ("banned codes", self.banned_codes.len(), Self::MAX_BANNED_CODES),
        ] {
            if found > most {
                return Err(SettingsError::TooMany { what, most });
            }
        }
        SETTINGS.iter().try_for_each(|setting| setting.check(self))?;
        match &self.branch {
            Some(branch) if branch.step >= Self::MAX_STEPS => Err(outside(branch)),
            _ => Ok(()),
        }
    }

    /// Checks every setting against what the model can do.
    ///
    /// # Errors
    /// The first setting that is out of range.
    pub fn validate(&self, domain: &Domain) -> Result<(), SettingsError> {
        let lineage = self.lineage();
        if lineage.len() > Self::MAX_GENERATION + 1 {
            return Err(SettingsError::OutOfRange {
                what: "the branch",
                given: format!("{} deep", lineage.len() - 1),
                range: "at most 32 deep",
            });
        }
        for settings in &lineage {
            settings.check_bounds()?;
            settings.validate_alone(domain)?;
        }
        // From the first run on, since where one leaves another depends on where that one began.
        let mut times: Vec<f32> = Vec::new();
        for settings in lineage.iter().rev() {
            let start = match &settings.branch {
                None => None,
                Some(branch)
                    if branch.step.saturating_add(1) < times.len()
                        && branch.parent.labels.len() == settings.labels.len() =>
                {
                    times.get(branch.step).copied()
                }
                Some(branch) => return Err(outside(branch)),
            };
            times = settings.times_from(start);
        }
        Ok(())
    }

    /// These settings and those of every run that they go on from, the first run last.
    pub(super) fn lineage(&self) -> Vec<&Self> {
        fn parent(settings: &SampleSettings) -> Option<&SampleSettings> {
            settings.branch.as_ref().map(|branch| &branch.parent)
        }
        std::iter::successors(Some(self), |settings| parent(settings)).collect()
    }

    fn validate_alone(&self, domain: &Domain) -> Result<(), SettingsError> {
        let Domain { objective, classes, .. } = *domain;
        if self.labels.is_empty() {
            return Err(SettingsError::NoLabels);
        }
        if let Some(&label) = self.labels.iter().find(|label| **label >= classes) {
            return Err(SettingsError::Label { label, last: classes.saturating_sub(1) });
        }
        let out_of_range =
            |what, given: String, range| Err(SettingsError::OutOfRange { what, given, range });
        if objective == Objective::Dfm {
            if self.solver != Solver::Euler {
                let advice = "its states are codes, which take masked Euler steps (euler)";
                return Err(SettingsError::Objective { what: "the solver", objective, advice });
            }
        } else if !(0.0..=1.0).contains(&self.eta)
            || (self.eta > 0.0 && self.solver != Solver::Euler)
        {
            let range = "from 0 to 1, and 0 with solvers other than euler";
            return out_of_range("eta", format!("{} with {}", self.eta, self.solver), range);
        }
        self.validate_spots(domain)
    }

    fn validate_spots(&self, domain: &Domain) -> Result<(), SettingsError> {
        let Domain { objective, codes, height, width, .. } = *domain;
        let batch = self.labels.len();
        for (what, spots) in [("pin", &self.pins), ("ban", &self.bans)] {
            let outside = |spot: &&Spot| {
                spot.image >= batch
                    || spot.row >= height
                    || spot.column >= width
                    || spot.code as usize >= codes
            };
            if let Some(&spot) = spots.iter().find(outside) {
                let spot = spot.to_string();
                return Err(SettingsError::Spot { what, spot, batch, height, width, codes });
            }
        }
        if let Some(code) = self.banned_codes.iter().find(|code| **code as usize >= codes) {
            return Err(SettingsError::OutOfRange {
                what: "a banned code",
                given: code.to_string(),
                range: "a code of the model",
            });
        }
        let banning = !self.bans.is_empty() || !self.banned_codes.is_empty();
        if banning && !objective.has_posterior() {
            let advice = "it has no distribution over codes; pin tokens instead";
            return Err(SettingsError::Objective { what: "a ban", objective, advice });
        }
        // Counted token by token, so that a softmax always has something to fall on.
        let everywhere: BTreeSet<u32> = self.banned_codes.iter().copied().collect();
        let mut by_token: BTreeMap<[usize; 3], BTreeSet<u32>> = BTreeMap::new();
        for ban in self.bans.iter().filter(|ban| !everywhere.contains(&ban.code)) {
            by_token.entry([ban.image, ban.row, ban.column]).or_default().insert(ban.code);
        }
        if everywhere.len() >= codes {
            return Err(SettingsError::AllBanned { image: 0, row: 0, column: 0 });
        }
        match by_token.iter().find(|(_, banned)| banned.len() + everywhere.len() >= codes) {
            Some((&[image, row, column], _)) => {
                Err(SettingsError::AllBanned { image, row, column })
            }
            None => Ok(()),
        }
    }
}

fn outside(branch: &Branch) -> SettingsError {
    SettingsError::OutOfRange {
        what: "the branch",
        given: format!("step {}", branch.step),
        range: "a step before the last of a run of as many pictures",
    }
}
