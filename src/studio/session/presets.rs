//! Named ways of making pictures: the sampler's settings without what they show.

use serde::{Deserialize, Serialize};

use super::draft::Draft;
use super::kinds::TemperatureKind;
use crate::flow::{SampleSettings, Solver, Temperature};

/// Everything on the controls that decides how pictures are made; not which class, seed, count, pins
/// and bans, which are as by default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sampling(Draft);

impl Sampling {
    /// How the controls would make pictures.
    pub fn of(draft: &Draft) -> Self {
        let mut sampling = draft.clone();
        take_what(&mut sampling, &Draft::default());
        Self(sampling)
    }

    /// Puts it on the controls.
    pub fn apply(&self, draft: &mut Draft) {
        let mut sampling = self.0.clone();
        take_what(&mut sampling, draft);
        *draft = sampling;
    }
}

/// Takes what pictures are made, and when, from another draft.
fn take_what(draft: &mut Draft, other: &Draft) {
    let Draft { classes, seed_locked, count, edits, live, .. } = other.clone();
    let sampling = SampleSettings { seed: other.sampling.seed, ..draft.sampling.clone() };
    *draft = Draft { classes, seed_locked, count, edits, live, sampling, ..draft.clone() };
}

/// A named way of making pictures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Preset {
    /// Its name.
    pub name: String,
    /// The way.
    pub sampling: Sampling,
}

/// What a preset that comes with the program is for.
pub struct BuiltIn {
    /// The preset.
    pub preset: Preset,
    /// What it is for, in a sentence.
    pub hint: &'static str,
}

/// The presets that come with the program; the figures are those of `docs/defaults.md`.
pub fn built_in() -> [BuiltIn; 5] {
    let preset = |name: &str, hint, change: &dyn Fn(&mut Draft)| {
        let mut draft = Draft::default();
        change(&mut draft);
        let sampling = Sampling::of(&draft);
        BuiltIn { preset: Preset { name: name.to_owned(), sampling }, hint }
    };
    [
        preset(
            "Default",
            "48 evaluations in 24 steps, a picture at each: temperature 0.9, guidance 1.5. Of the embedded \
             model's pictures 60 % are whole drawings.",
            &|_| {},
        ),
        preset(
            "Fast",
            "18 evaluations in three steps, where the defaults take 48, for pictures as good: of the embedded \
             model's 60 % are whole drawings with either (\u{b1} 3).",
            &|way| (way.sampling.solver, way.sampling.steps) = (Solver::Rk4, 3),
        ),
        preset(
            "Best",
            "34 evaluations in five steps, the most exact path of the three. Of the embedded model's pictures it \
             makes no difference that was measured: 58 % are whole drawings (\u{b1} 3).",
            &|way| (way.sampling.solver, way.sampling.steps) = (Solver::Rk4, 5),
        ),
        preset(
            "Ancestral",
            "Fresh noise at every step, which lets the picture change its mind.",
            &|way| {
                (way.sampling.steps, way.sampling.eta) = (64, 1.0);
            },
        ),
        preset(
            "Entropy-guided",
            "Temperature chosen at each step so that entropy falls evenly.",
            &|way| {
                (way.sampling.steps, way.temperature) = (32, TemperatureKind::Entropy);
            },
        ),
    ]
}

/// Name of the preset that a model's calibration gives.
pub const CALIBRATED: &str = "Calibrated";

/// The preset of a model whose calibration implies a schedule of the temperature.
pub fn calibrated(schedule: &Temperature) -> BuiltIn {
    let mut draft = Draft::default();
    draft.set_temperature(schedule);
    BuiltIn {
        preset: Preset { name: CALIBRATED.to_owned(), sampling: Sampling::of(&draft) },
        hint: "At every step the temperature at which this model's posteriors fit held-out pictures best.",
    }
}

/// The presets that someone saved, in the order of their names.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Presets {
    saved: Vec<Preset>,
    /// What is typed for the next name.
    #[serde(skip)]
    pub typed: String,
}

impl Presets {
    /// Longest name, in characters.
    pub const LONGEST: usize = 40;
    const MOST: usize = 200;

    /// Those that were saved.
    pub fn saved(&self) -> &[Preset] {
        &self.saved
    }

    /// What is wrong with a name, in words.
    ///
    /// # Errors
    /// It is empty, too long, or taken by a preset that cannot be changed.
    pub fn check(&self, name: &str) -> Result<(), &'static str> {
        let name = name.trim();
        let known = self.saved.iter().any(|preset| preset.name == name);
        match name.chars().count() {
            0 => Err("Give it a name."),
            length if length > Self::LONGEST => Err("The name is longer than 40 letters."),
            _ if name == CALIBRATED || built_in().iter().any(|known| known.preset.name == name) => {
                Err("A built-in preset has that name.")
            }
            _ if !known && self.saved.len() >= Self::MOST => {
                Err("There are 200 presets: delete one first.")
            }
            _ => Ok(()),
        }
    }

    /// Saves what is on the controls, over an old preset of that name.
    pub fn save(&mut self, name: &str, draft: &Draft) {
        if self.check(name).is_err() {
            return;
        }
        let preset = Preset { name: name.trim().to_owned(), sampling: Sampling::of(draft) };
        match self.saved.binary_search_by(|known| known.name.cmp(&preset.name)) {
            Ok(at) => self.saved[at] = preset,
            Err(at) => self.saved.insert(at, preset),
        }
    }

    /// Forgets a preset.
    pub fn delete(&mut self, name: &str) {
        self.saved.retain(|preset| preset.name != name);
    }

    /// The name of what is on the controls, if it has one; `more` is built in for the model in use.
    pub fn name_of(&self, draft: &Draft, more: Option<&BuiltIn>) -> Option<String> {
        let now = Sampling::of(draft);
        let built_in = built_in().into_iter().map(|known| known.preset);
        let more = more.map(|known| known.preset.clone());
        let mut known = built_in.chain(more).chain(self.saved.iter().cloned());
        known.find(|preset| preset.sampling == now).map(|preset| preset.name)
    }

    /// Puts right what a stored list may have wrong; says whether anything was.
    pub fn tidy(&mut self) -> bool {
        let before = self.saved.clone();
        for Preset { name, sampling } in &mut self.saved {
            *name = name.trim().chars().filter(|c| !c.is_control()).take(Self::LONGEST).collect();
            let mut draft = Draft::default();
            sampling.apply(&mut draft);
            draft.tidy();
            *sampling = Sampling::of(&draft);
        }
        self.saved.retain(|preset| !preset.name.is_empty());
        self.saved.sort_by(|a, b| a.name.cmp(&b.name));
        self.saved.dedup_by(|a, b| a.name == b.name);
        self.saved.truncate(Self::MOST);
        self.saved != before
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Domain;
    use crate::studio::testing::fake::card;

    #[test]
    fn a_preset_says_how_and_not_what() {
        let mut presets = Presets::default();
        let mut draft = Draft { count: 2, ..Draft::default() };
        (draft.sampling.guidance, draft.sampling.seed) = (3.5, 7);
        presets.save(" mine ", &draft);
        presets.save("also mine", &draft);
        assert_eq!(presets.saved().len(), 2);
        assert_eq!(presets.saved()[1].name, "mine");
        let mut other = Draft::default();
        other.sampling.steps = 99;
        presets.saved()[1].sampling.apply(&mut other);
        assert_eq!((other.sampling.guidance, other.sampling.steps), (3.5, draft.sampling.steps));
        assert_eq!((other.sampling.seed, other.count), (42, 4));
        assert_eq!(presets.name_of(&other, None).as_deref(), Some("also mine"));
        other.sampling.eta = 0.25;
        assert_eq!(presets.name_of(&other, None), None);
        presets.save("mine", &other);
        assert_eq!(presets.name_of(&other, None).as_deref(), Some("mine"));
        presets.delete("mine");
        assert_eq!(presets.saved().len(), 1);
    }

    #[test]
    fn names_that_cannot_be_are_refused() {
        let mut presets = Presets::default();
        let long = "x".repeat(41);
        for name in ["", "  ", "Fast", &long] {
            assert!(presets.check(name).is_err(), "{name}");
            presets.save(name, &Draft::default());
        }
        assert!(presets.saved().is_empty());
    }

    #[test]
    fn every_preset_of_the_program_can_be_run() {
        let names: Vec<String> = built_in().into_iter().map(|known| known.preset.name).collect();
        for known in built_in() {
            let mut draft = Draft::default();
            known.preset.sampling.apply(&mut draft);
            draft.settings(&card()).validate(&Domain::of(&card())).unwrap();
            assert_eq!(Presets::default().name_of(&draft, None), Some(known.preset.name));
        }
        assert_eq!(names.len(), 5);
        assert_eq!(names[0], "Default", "what the controls begin with has a name");
    }

    #[test]
    fn presets_survive_storage_and_old_storage_survives_new_settings() {
        let mut presets = Presets::default();
        let mut draft = Draft::default();
        draft.sampling.steps = 77;
        presets.save("mine", &draft);
        let text = serde_json::to_string(&presets).unwrap();
        assert_eq!(serde_json::from_str::<Presets>(&text).unwrap(), presets);
        let old = r#"{"saved":[{"name":"b","sampling":{"steps":5}},{"name":"a","sampling":{}},{"name":"a","sampling":{}}]}"#;
        let mut old: Presets = serde_json::from_str(old).unwrap();
        old.tidy();
        assert_eq!(old.saved().len(), 2);
        assert_eq!(old.saved()[1].sampling.0.sampling.steps, 5);
    }
}
