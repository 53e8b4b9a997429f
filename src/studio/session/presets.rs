//! Named ways of making pictures: the sampler's settings without what they show.

use serde::{Deserialize, Serialize};

use super::draft::{Draft, GridKind, TemperatureKind};
use crate::flow::Solver;

/// Everything on the controls that decides how pictures are made; not which class, seed, count, pins
/// and bans.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sampling {
    solver: Solver,
    steps: usize,
    grid: GridKind,
    shift: f32,
    temperature: TemperatureKind,
    from: f32,
    to: f32,
    points: Vec<(f32, f32)>,
    target: (f32, f32),
    guidance: f32,
    eta: f32,
    tolerances: (f32, f32),
}

impl Default for Sampling {
    fn default() -> Self {
        Self::of(&Draft::default())
    }
}

impl Sampling {
    /// How the controls would make pictures.
    pub fn of(draft: &Draft) -> Self {
        Self {
            solver: draft.solver,
            steps: draft.steps,
            grid: draft.grid,
            shift: draft.shift,
            temperature: draft.temperature,
            from: draft.from,
            to: draft.to,
            points: draft.points.clone(),
            target: draft.target,
            guidance: draft.guidance,
            eta: draft.eta,
            tolerances: draft.tolerances,
        }
    }

    /// Puts it on the controls.
    pub fn apply(&self, draft: &mut Draft) {
        let Self { solver, steps, grid, shift, temperature, from, to, .. } = *self;
        (draft.solver, draft.steps) = (solver, steps);
        (draft.grid, draft.shift) = (grid, shift);
        (draft.temperature, draft.from, draft.to) = (temperature, from, to);
        (draft.points, draft.target) = (self.points.clone(), self.target);
        (draft.guidance, draft.eta, draft.tolerances) = (self.guidance, self.eta, self.tolerances);
    }
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

/// The presets that come with the program.
pub fn built_in() -> [BuiltIn; 4] {
    let preset = |name: &str, hint, change: &dyn Fn(&mut Sampling)| {
        let mut sampling = Sampling::default();
        change(&mut sampling);
        BuiltIn { preset: Preset { name: name.to_owned(), sampling }, hint }
    };
    [
        preset("Quick look", "A draft in few evaluations.", &|way| {
            (way.solver, way.steps) = (Solver::Exp2m, 8);
        }),
        preset("Careful", "Many small steps of second order, finest near both ends.", &|way| {
            (way.solver, way.steps, way.grid) = (Solver::Heun, 48, GridKind::Cosine);
        }),
        preset(
            "Ancestral",
            "Fresh noise at every step, which lets the picture change its mind.",
            &|way| {
                (way.steps, way.eta) = (64, 1.0);
            },
        ),
        preset(
            "Entropy-guided",
            "Temperature chosen at each step so that doubt falls evenly.",
            &|way| {
                (way.steps, way.temperature) = (32, TemperatureKind::Entropy);
            },
        ),
    ]
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

    /// What is wrong with a name, for people.
    ///
    /// # Errors
    /// It is empty, too long, or taken by a preset that cannot be changed.
    pub fn check(&self, name: &str) -> Result<(), &'static str> {
        let name = name.trim();
        let known = self.saved.iter().any(|preset| preset.name == name);
        match name.chars().count() {
            0 => Err("Give it a name."),
            length if length > Self::LONGEST => Err("The name is longer than 40 letters."),
            _ if built_in().iter().any(|known| known.preset.name == name) => {
                Err("That name belongs to a preset of the program.")
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

    /// The name of what is on the controls, if it has one.
    pub fn name_of(&self, draft: &Draft) -> Option<String> {
        let now = Sampling::of(draft);
        let mut known =
            built_in().into_iter().map(|known| known.preset).chain(self.saved.iter().cloned());
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
        let draft = Draft { guidance: 3.5, seed: 7, count: 2, ..Draft::default() };
        presets.save(" mine ", &draft);
        presets.save("also mine", &draft);
        assert_eq!(presets.saved().len(), 2);
        assert_eq!(presets.saved()[1].name, "mine");
        let mut other = Draft { steps: 99, ..Draft::default() };
        presets.saved()[1].sampling.apply(&mut other);
        assert_eq!((other.guidance, other.steps), (3.5, draft.steps));
        assert_eq!((other.seed, other.count), (42, 4));
        assert_eq!(presets.name_of(&other).as_deref(), Some("also mine"));
        other.eta = 0.25;
        assert_eq!(presets.name_of(&other), None);
        presets.save("mine", &other);
        assert_eq!(presets.name_of(&other).as_deref(), Some("mine"));
        presets.delete("mine");
        assert_eq!(presets.saved().len(), 1);
    }

    #[test]
    fn names_that_cannot_be_are_refused() {
        let mut presets = Presets::default();
        let long = "x".repeat(41);
        for name in ["", "  ", "Quick look", &long] {
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
            assert_eq!(Presets::default().name_of(&draft), Some(known.preset.name));
        }
        assert_eq!(names.len(), 4);
    }

    #[test]
    fn presets_survive_storage_and_old_storage_survives_new_settings() {
        let mut presets = Presets::default();
        presets.save("mine", &Draft { steps: 77, ..Draft::default() });
        let text = serde_json::to_string(&presets).unwrap();
        assert_eq!(serde_json::from_str::<Presets>(&text).unwrap(), presets);
        let old = r#"{"saved":[{"name":"b","sampling":{"steps":5}},{"name":"a","sampling":{}},{"name":"a","sampling":{}}]}"#;
        let mut old: Presets = serde_json::from_str(old).unwrap();
        old.tidy();
        assert_eq!(old.saved().len(), 2);
        assert_eq!(old.saved()[1].sampling.steps, 5);
    }
}
