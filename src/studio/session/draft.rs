//! The settings on the controls.

use serde::{Deserialize, Deserializer, Serialize};

use super::edits::Edits;
use super::kinds::{GridKind, TemperatureKind};
use crate::flow::settings::SETTINGS;
use crate::flow::{Grid, LatentShape, SampleSettings, SettingsError, Solver, Temperature};
use crate::model::{ModelCard, Objective};

/// The class that a first start shows, where the model has it.
pub const FIRST_CLASS: &str = "cat-orange-in-a-meadow";

/// The settings on the controls.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "StoredDraft")]
pub struct Draft {
    /// Names of the classes, which take turns in a batch; by name, so that they survive a change of
    /// model. Never empty.
    pub classes: Vec<String>,
    /// Whether Generate keeps the seed rather than throwing the dice.
    pub seed_locked: bool,
    /// Pictures in the batch.
    pub count: usize,
    /// The settings that are on the controls as they are. Labels, grid, temperature, pins and bans are
    /// not: [`Draft::settings`] makes them of the fields below.
    pub sampling: SampleSettings,
    /// Where the grid points lie.
    pub grid: GridKind,
    /// The shift of [`GridKind::Shifted`].
    pub shift: f32,
    /// How temperature goes over time.
    pub temperature: TemperatureKind,
    /// Temperature at `t = 0`.
    pub from: f32,
    /// Temperature at `t = 1`, where it is not constant.
    pub to: f32,
    /// `(t, temperature)` of [`TemperatureKind::Drawn`], at rising times.
    pub points: Vec<(f32, f32)>,
    /// Mean entropy that [`TemperatureKind::Entropy`] aims at, at `t = 0` and `t = 1`, in nats.
    pub target: (f32, f32),
    /// Pins and bans.
    pub edits: Edits,
    /// Whether a change starts a run by itself.
    pub live: bool,
}

impl Default for Draft {
    fn default() -> Self {
        Self {
            classes: vec![FIRST_CLASS.to_owned()],
            seed_locked: false,
            count: 4,
            sampling: SampleSettings { seed: 42, ..SampleSettings::default() },
            grid: GridKind::default(),
            shift: 3.0,
            temperature: TemperatureKind::default(),
            from: 0.9,
            to: 0.6,
            points: vec![(0.0, 1.1), (0.5, 0.9), (1.0, 0.6)],
            target: (3.0, 0.3),
            edits: Edits::default(),
            live: false,
        }
    }
}

/// A draft as it is stored, and as it was before its settings were stored together.
#[derive(Deserialize)]
#[serde(default)]
struct StoredDraft {
    classes: Vec<String>,
    seed_locked: bool,
    count: usize,
    sampling: SampleSettings,
    grid: GridKind,
    shift: f32,
    temperature: TemperatureKind,
    from: f32,
    to: f32,
    points: Vec<(f32, f32)>,
    target: (f32, f32),
    edits: Edits,
    live: bool,
    // As it was before.
    #[serde(deserialize_with = "given")]
    seed: Option<u64>,
    #[serde(deserialize_with = "given")]
    solver: Option<Solver>,
    #[serde(deserialize_with = "given")]
    steps: Option<usize>,
    #[serde(deserialize_with = "given")]
    guidance: Option<f32>,
    #[serde(deserialize_with = "given")]
    eta: Option<f32>,
    #[serde(deserialize_with = "given")]
    tolerances: Option<(f32, f32)>,
}

/// A value that is there is written as itself, and not as `Some` of it.
fn given<'de, T, D>(value: D) -> Result<Option<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    T::deserialize(value).map(Some)
}

impl Default for StoredDraft {
    fn default() -> Self {
        let draft = Draft::default();
        Self {
            classes: draft.classes,
            seed_locked: draft.seed_locked,
            count: draft.count,
            sampling: draft.sampling,
            grid: draft.grid,
            shift: draft.shift,
            temperature: draft.temperature,
            from: draft.from,
            to: draft.to,
            points: draft.points,
            target: draft.target,
            edits: draft.edits,
            live: draft.live,
            seed: None,
            solver: None,
            steps: None,
            guidance: None,
            eta: None,
            tolerances: None,
        }
    }
}

impl From<StoredDraft> for Draft {
    fn from(stored: StoredDraft) -> Self {
        let mut sampling = own(&stored.sampling);
        sampling.seed = stored.seed.unwrap_or(sampling.seed);
        sampling.solver = stored.solver.unwrap_or(sampling.solver);
        sampling.steps = stored.steps.unwrap_or(sampling.steps);
        sampling.guidance = stored.guidance.unwrap_or(sampling.guidance);
        sampling.eta = stored.eta.unwrap_or(sampling.eta);
        (sampling.atol, sampling.rtol) =
            stored.tolerances.unwrap_or((sampling.atol, sampling.rtol));
        Self {
            classes: stored.classes,
            seed_locked: stored.seed_locked,
            count: stored.count,
            sampling,
            grid: stored.grid,
            shift: stored.shift,
            temperature: stored.temperature,
            from: stored.from,
            to: stored.to,
            points: stored.points,
            target: stored.target,
            edits: stored.edits,
            live: stored.live,
        }
    }
}

/// Of settings what is on the controls as it is; what the draft makes itself is as by default.
fn own(settings: &SampleSettings) -> SampleSettings {
    let SampleSettings { labels, grid, temperature, pins, bans, banned_codes, branch, .. } =
        SampleSettings::default();
    SampleSettings {
        labels,
        grid,
        temperature,
        pins,
        bans,
        banned_codes,
        branch,
        ..settings.clone()
    }
}

impl Draft {
    /// Most pictures of a batch.
    pub const MAX_COUNT: usize = 16;
    /// Most steps that the slider offers.
    pub const MAX_STEPS: usize = 200;
    /// The largest temperature, entropy or shift: beyond it numbers lose their meaning.
    const MOST: f32 = 1e4;
    /// Most points of a temperature that is drawn: each can be taken hold of.
    const MOST_POINTS: usize = 256;
    /// Most classes that take turns: more than a batch has pictures never have one.
    const MOST_CLASSES: usize = 64;

    /// The class that leads, for short names.
    pub fn class(&self) -> &str {
        self.classes.first().map_or("", String::as_str)
    }

    /// Chooses one class.
    pub fn choose_class(&mut self, name: &str) {
        self.classes = vec![name.to_owned()];
    }

    /// Adds a class to those that take turns, or takes it away; one always stays.
    pub fn toggle_class(&mut self, name: &str) {
        if !self.classes.iter().any(|class| class == name) {
            self.classes.push(name.to_owned());
        } else if self.classes.iter().any(|class| class != name) {
            self.classes.retain(|class| class != name);
        }
    }

    /// A label an image: classes take turns. One that `card` has not is left out; label 0 where it has
    /// none.
    pub fn labels(&self, card: &ModelCard) -> Vec<usize> {
        let label = |class: &String| card.class_names.iter().position(|name| name == class);
        let mut known: Vec<usize> = self.classes.iter().filter_map(label).collect();
        if known.is_empty() {
            known.push(0);
        }
        known.into_iter().cycle().take(self.count.clamp(1, Self::MAX_COUNT)).collect()
    }

    /// The grid of times.
    pub fn grid(&self) -> Grid {
        match self.grid {
            GridKind::Uniform => Grid::Uniform,
            GridKind::Cosine => Grid::Cosine,
            GridKind::Shifted => Grid::Shifted(self.shift),
        }
    }

    /// The temperature over time.
    pub fn temperature(&self) -> Temperature {
        let (from, to) = (self.from, self.to);
        match self.temperature {
            TemperatureKind::Constant => Temperature::Constant(from),
            TemperatureKind::Linear => Temperature::Linear { from, to },
            TemperatureKind::Cosine => Temperature::Cosine { from, to },
            TemperatureKind::Drawn if self.points.is_empty() => Temperature::Constant(from),
            TemperatureKind::Drawn => Temperature::Points(self.points.clone()),
            TemperatureKind::Entropy => {
                Temperature::Entropy { from: self.target.0, to: self.target.1 }
            }
        }
    }

    /// Takes over a temperature.
    pub fn set_temperature(&mut self, temperature: &Temperature) {
        match temperature {
            Temperature::Constant(value) => {
                (self.temperature, self.from) = (TemperatureKind::Constant, *value);
            }
            Temperature::Linear { from, to } => {
                (self.temperature, self.from, self.to) = (TemperatureKind::Linear, *from, *to);
            }
            Temperature::Cosine { from, to } => {
                (self.temperature, self.from, self.to) = (TemperatureKind::Cosine, *from, *to);
            }
            Temperature::Points(points) => {
                (self.temperature, self.points) = (TemperatureKind::Drawn, points.clone());
            }
            Temperature::Entropy { from, to } => {
                (self.temperature, self.target) = (TemperatureKind::Entropy, (*from, *to));
            }
        }
    }

    /// What a run of these settings is asked to do. What the objective or the solver has no use for
    /// is left out.
    pub fn settings(&self, card: &ModelCard) -> SampleSettings {
        let masked = card.objective == Objective::Dfm;
        let SampleSettings { solver, steps, eta, .. } = self.sampling;
        let solver = if masked { Solver::Euler } else { solver };
        // A share of the noise, but for masked codes a rate.
        let eta = match solver {
            Solver::Euler if masked => eta,
            Solver::Euler => eta.min(1.0),
            _ => 0.0,
        };
        let mut settings = SampleSettings {
            labels: self.labels(card),
            solver,
            grid: self.grid(),
            steps: steps.clamp(1, SampleSettings::MAX_STEPS),
            temperature: self.temperature(),
            eta,
            ..self.sampling.clone()
        };
        if card.objective.has_posterior() {
            let side = card.backbone.input_size;
            let shape = LatentShape {
                batch: settings.labels.len(),
                channels: card.tokenizer.code_size,
                height: side,
                width: side,
            };
            self.edits.apply(&mut settings, shape, card.tokenizer.codes);
        }
        settings
    }

    /// Takes over the settings of a picture, and locks the seed so that Generate repeats it.
    pub(super) fn adopt(
        &mut self,
        settings: &SampleSettings,
        class: Option<&str>,
        card: &ModelCard,
    ) {
        self.set_temperature(&settings.temperature);
        (self.grid, self.shift) = match settings.grid {
            Grid::Uniform => (GridKind::Uniform, self.shift),
            Grid::Cosine => (GridKind::Cosine, self.shift),
            Grid::Shifted(shift) => (GridKind::Shifted, shift),
        };
        let names: Vec<String> = settings
            .labels
            .iter()
            .take(Self::MAX_COUNT)
            .filter_map(|label| card.class_names.get(*label).cloned())
            .take(Self::MAX_COUNT)
            .collect();
        let alike = names.windows(2).all(|pair| pair[0] == pair[1]);
        let named = class.filter(|class| card.class_names.iter().any(|name| name == class));
        match (alike, named, names.first()) {
            (true, Some(class), _) => self.classes = vec![class.to_owned()],
            (true, None, Some(class)) => self.classes = vec![class.clone()],
            (true, None, None) => {}
            (false, ..) => self.classes = names,
        }
        self.count = settings.labels.len().clamp(1, Self::MAX_COUNT);
        self.sampling = own(settings);
        self.edits = Edits::of(settings);
        self.seed_locked = true;
        self.tidy();
    }

    /// Puts what cannot mean anything, typed, stored or restored, back to something that can: nothing
    /// on the controls is so large that showing or computing it would end the program.
    pub fn tidy(&mut self) {
        let within = |value: &mut f32, least: f32, most: f32, otherwise: f32| {
            *value = if value.is_finite() { value.clamp(least, most) } else { otherwise };
        };
        SETTINGS.iter().for_each(|setting| setting.tidy(&mut self.sampling));
        for value in [&mut self.from, &mut self.to, &mut self.target.0, &mut self.target.1] {
            within(value, 0.0, Self::MOST, 1.0);
        }
        if self.shift <= 0.0 {
            self.shift = 1.0;
        }
        within(&mut self.shift, 1.0 / Self::MOST, Self::MOST, 1.0);
        self.points.truncate(Self::MOST_POINTS);
        for (_, value) in self.points.iter_mut().filter(|(_, value)| *value > Self::MOST) {
            *value = Self::MOST;
        }
        if self.points_wrong().is_err() {
            self.points = Self::default().points;
        }
        self.count = self.count.clamp(1, Self::MAX_COUNT);
        self.classes.truncate(Self::MOST_CLASSES);
        if self.classes.is_empty() {
            self.classes = Self::default().classes;
        }
        self.edits.tidy();
    }

    fn points_wrong(&self) -> Result<(), SettingsError> {
        Temperature::Points(self.points.clone()).validate()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Spot;
    use crate::studio::testing::fake::card;

    const SPOT: Spot = Spot { image: 0, row: 0, column: 0, code: 0 };

    #[test]
    fn classes_take_turns_and_one_always_stays() {
        let mut draft = Draft { count: 5, ..Draft::default() };
        draft.toggle_class("dog-golden-in-a-meadow");
        assert_eq!(draft.labels(&card()), [12, 32, 12, 32, 12]);
        draft.toggle_class("cat-orange-in-a-meadow");
        draft.toggle_class("dog-golden-in-a-meadow");
        assert_eq!(draft.labels(&card()), [32; 5]);
        draft.choose_class("not there");
        assert_eq!(draft.labels(&card()), [0; 5]);
    }

    #[test]
    fn settings_of_every_kind_come_back() {
        for temperature in
            ["0.7", "linear:1.2:0.6", "cosine:1:0.5", "points:0=1.2,1=0.4", "entropy:3:0.5"]
        {
            let settings = SampleSettings {
                labels: vec![3, 3, 7],
                seed: 9,
                solver: Solver::Euler,
                grid: Grid::Shifted(2.0),
                steps: 17,
                temperature: temperature.parse().unwrap(),
                guidance: 2.5,
                guidance_interval: "0.25:0.5".parse().unwrap(),
                eta: 0.5,
                atol: 1e-3,
                rtol: 1e-2,
                pins: vec!["0,1,2=3".parse().unwrap()],
                bans: vec!["2,0,0=9".parse().unwrap()],
                banned_codes: vec![8],
                branch: None,
            };
            let mut draft = Draft::default();
            draft.adopt(&settings, None, &card());
            assert_eq!(draft.settings(&card()), settings);
        }
    }

    #[test]
    fn what_means_nothing_is_put_right() {
        let mut draft = Draft {
            from: -1.0,
            shift: 0.0,
            points: vec![(0.5, 1.0), (0.5, 2.0)],
            classes: Vec::new(),
            ..Draft::default()
        };
        draft.sampling.guidance = f32::NAN;
        (draft.sampling.atol, draft.sampling.rtol) = (0.0, f32::INFINITY);
        draft.tidy();
        assert_eq!((draft.sampling.guidance, draft.from, draft.shift), (1.5, 0.0, 1.0));
        assert_eq!(draft.points, Draft::default().points);
        let SampleSettings { atol, rtol, .. } = draft.sampling;
        assert_eq!((atol, rtol), (1e-8, 1e-4));
        assert_eq!(draft.class(), FIRST_CLASS);
    }

    #[test]
    fn a_draft_of_before_is_read() {
        let old = r#"{"seed":7,"solver":"heun","steps":5,"guidance":2.0,"eta":0.5,
            "tolerances":[0.1,0.2],"grid":"Shifted","shift":2.0}"#;
        let draft: Draft = serde_json::from_str(old).unwrap();
        let SampleSettings { seed, solver, steps, guidance, eta, atol, rtol, .. } = draft.sampling;
        assert_eq!((seed, solver, steps), (7, Solver::Heun, 5));
        assert_eq!((guidance, eta, atol, rtol), (2.0, 0.5, 0.1, 0.2));
        assert_eq!(draft.grid(), Grid::Shifted(2.0));
        let again = serde_json::to_string(&draft).unwrap();
        assert_eq!(serde_json::from_str::<Draft>(&again).unwrap(), draft);
    }

    #[test]
    fn whatever_a_picture_says_fits_the_controls() {
        let huge = SampleSettings {
            labels: (0..100_000).collect(),
            steps: usize::MAX,
            grid: Grid::Shifted(f32::INFINITY),
            temperature: Temperature::Points(vec![(f32::NAN, 1e30); 100_000]),
            guidance: f32::MAX,
            eta: f32::INFINITY,
            atol: -1.0,
            rtol: f32::NAN,
            pins: (0..100_000).rev().map(|at| Spot { column: at, ..SPOT }).collect(),
            bans: vec![Spot { row: usize::MAX, code: u32::MAX, ..SPOT }; 100_000],
            banned_codes: (0..100_000).rev().collect(),
            ..SampleSettings::default()
        };
        let mut draft = Draft::default();
        draft.adopt(&huge, None, &card());
        assert_eq!((draft.count, draft.sampling.steps), (16, SampleSettings::MAX_STEPS));
        assert!(draft.classes.len() <= 16 && draft.points == Draft::default().points);
        let settings = draft.settings(&card());
        let asked = settings.evaluations(Objective::Purrception);
        assert!(asked.is_some_and(|asked| asked <= 2 * SampleSettings::MAX_STEPS));
        settings.validate(&crate::flow::Domain::of(&card())).unwrap();
        let tidied = draft.clone();
        draft.tidy();
        assert_eq!(draft, tidied);
    }
}
