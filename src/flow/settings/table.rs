//! The settings of a run, and the table of those that say how its pictures are made.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::error::{SettingsError, parse_number};
use super::kinds::{Grid, Solver, Span};
use super::lists;
use super::spot::Spot;
use super::temperature::Temperature;
use crate::model::Objective;

/// Everything that decides what a run of the sampler makes, besides the model and given noise.
///
/// Whatever they are read from, they are within their bounds: see [`SampleSettings::check_bounds`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", default)]
pub struct SampleSettings {
    /// One class label an image; the batch is as long as this list.
    #[serde(deserialize_with = "lists::labels")]
    pub labels: Vec<usize>,
    /// Seed of the starting noise. Image `i` of a batch draws from stream `i` of it.
    pub seed: u64,
    /// The solver.
    pub solver: Solver,
    /// The grid of times.
    pub grid: Grid,
    /// Number of intervals of the grid, at least 1.
    pub steps: usize,
    /// Temperature of the posterior.
    pub temperature: Temperature,
    /// Guidance scale `s`: 1 conditional only, 0 unconditional only, else `u + s (c - u)`.
    pub guidance: f32,
    /// Times at which there is guidance; at others the scale is 1.
    #[serde(skip_serializing_if = "Span::is_whole")]
    pub guidance_interval: Span,
    /// Stochasticity from 0, the flow itself, to 1, ancestral sampling; above 0 only with `euler`.
    /// For `dfm` the rate, 0 or more, at which revealed codes are masked again.
    pub eta: f32,
    /// Absolute tolerance of `dopri5`.
    pub atol: f32,
    /// Relative tolerance of `dopri5`.
    pub rtol: f32,
    /// Tokens that are held to a code through every step.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "lists::spots")]
    pub pins: Vec<Spot>,
    /// Codes that single tokens must not become.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "lists::spots")]
    pub bans: Vec<Spot>,
    /// Codes that no token may become, but by a pin.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "lists::codes")]
    pub banned_codes: Vec<u32>,
    /// The run that this one goes on from, if it does not start from noise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branch: Option<Box<Branch>>,
}

impl Serialize for SampleSettings {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        // The derived function, which `remote` makes one of the type's own.
        Self::serialize(self, to)
    }
}

impl<'de> Deserialize<'de> for SampleSettings {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let settings = Self::deserialize(from)?;
        settings.check_bounds().map_err(D::Error::custom)?;
        Ok(settings)
    }
}

/// Where a run leaves another one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Branch {
    /// Steps taken of the other run, at most all but one.
    pub step: usize,
    /// The settings of the other run.
    pub parent: SampleSettings,
}

impl Default for SampleSettings {
    fn default() -> Self {
        Self {
            labels: vec![0],
            seed: 0,
            solver: Solver::default(),
            grid: Grid::default(),
            steps: 24,
            temperature: Temperature::default(),
            guidance: 1.5,
            guidance_interval: Span::default(),
            eta: 0.0,
            atol: 1e-4,
            rtol: 1e-4,
            pins: Vec::new(),
            bans: Vec::new(),
            banned_codes: Vec::new(),
            branch: None,
        }
    }
}

impl SampleSettings {
    /// Guidance scale at time `t` in `[0, 1]`.
    pub fn guidance_at(&self, t: f32) -> f32 {
        if self.guidance_interval.contains(t) { self.guidance } else { 1.0 }
    }

    /// These settings with what `other` has of those that decide how a state is read: what remains
    /// different cannot be told without running again.
    pub fn reading_as(&self, other: &Self) -> Self {
        let Self { temperature, guidance, guidance_interval, pins, bans, banned_codes, .. } =
            other.clone();
        Self { temperature, guidance, guidance_interval, pins, bans, banned_codes, ..self.clone() }
    }

    /// Network evaluations of one prediction at time `t`: 2, or 1 where the scale is exactly 0 or 1.
    pub fn evaluations_at(&self, t: f32) -> usize {
        let scale = self.guidance_at(t);
        if scale == 0.0 || scale == 1.0 { 1 } else { 2 }
    }
}

/// The largest number of intervals that is accepted: more are below the precision of the times.
pub const MAX_STEPS: usize = 10_000;
/// The largest guidance scale, up or down: far beyond it the mixed logits overflow.
pub const MAX_GUIDANCE: f32 = 1000.0;
/// The largest stochasticity of `dfm`, where it is a rate and not a share.
pub const MAX_REMASKING: f32 = 1000.0;

/// What a range of numbers, as a sweep has it, means for a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbers {
    /// Its values are no numbers.
    None,
    /// Whole numbers.
    Whole,
    /// Any numbers in range.
    Real,
}

/// All that the program says of a setting, wherever it does.
pub struct Setting {
    /// Its key in JSON, TOML and trajectories, and its name in a sweep.
    pub key: &'static str,
    /// Its option on the command line, without the dashes.
    pub option: &'static str,
    /// What stands for its value in `--help`.
    pub value_name: &'static str,
    /// What the window calls it.
    pub label: &'static str,
    /// What `--help` says of it.
    pub help: &'static str,
    /// What the window says of it, in a sentence.
    pub hint: &'static str,
    /// What its values may be, in words.
    pub range: &'static str,
    /// Every value, where there are few.
    pub choices: &'static [&'static str],
    /// Values of a sweep to begin with; empty for a setting that is not swept alone.
    pub example: &'static str,
    /// Whether it has numbers.
    pub numbers: Numbers,
    /// Whether short lists leave it out where it is as it is by default.
    pub optional: bool,
    /// Why it changes nothing for a model of this objective, with the other settings as they are.
    pub idle: fn(&SampleSettings, Objective) -> Option<&'static str>,
    /// The smallest and the largest number that it may be, for every model.
    bounds: Option<(f64, f64)>,
    get: fn(&SampleSettings) -> String,
    set: fn(&mut SampleSettings, &str) -> Result<(), SettingsError>,
    /// What else its value must be.
    check: fn(&SampleSettings) -> Result<(), SettingsError>,
}

impl Setting {
    /// What most settings have in common.
    const PLAIN: Self = Self {
        key: "",
        option: "",
        value_name: "",
        label: "",
        help: "",
        hint: "",
        range: "",
        choices: &[],
        example: "",
        numbers: Numbers::None,
        optional: false,
        idle: |_, _| None,
        bounds: None,
        get: |_| String::new(),
        set: |_, _| Ok(()),
        check: |_| Ok(()),
    };

    /// The setting of that key.
    pub fn named(key: &str) -> Option<&'static Self> {
        SETTINGS.into_iter().find(|setting| setting.key == key)
    }

    /// Its value, as the command line spells it.
    pub fn get(&self, settings: &SampleSettings) -> String {
        (self.get)(settings)
    }

    /// Puts in a value as the command line spells it; what cannot be used changes nothing.
    ///
    /// # Errors
    /// The text is no value, or one out of its bounds.
    pub fn set(&self, settings: &mut SampleSettings, text: &str) -> Result<(), SettingsError> {
        let before = self.get(settings);
        (self.set)(settings, text.trim())?;
        self.check(settings).inspect_err(|_| {
            // What was there can be put back: every value reads back what it says.
            let _ = (self.set)(settings, &before);
        })
    }

    /// Checks that its value is within the bounds that hold for every model.
    ///
    /// # Errors
    /// It is not.
    pub fn check(&self, settings: &SampleSettings) -> Result<(), SettingsError> {
        (self.check)(settings)?;
        let Some((least, most)) = self.bounds else { return Ok(()) };
        let given = self.get(settings);
        let number = given.parse().unwrap_or(f64::NAN);
        if (least..=most).contains(&number) {
            return Ok(());
        }
        Err(SettingsError::OutOfRange { what: self.key, given, range: self.range })
    }

    /// Brings a value that is out of its bounds to the nearest that is not or, where it is no number, to
    /// what it is by default.
    pub fn tidy(&self, settings: &mut SampleSettings) {
        if self.check(settings).is_ok() {
            return;
        }
        let number = self.get(settings).parse().ok().filter(|number: &f64| number.is_finite());
        let nearest =
            self.bounds.zip(number).map(|((least, most), n)| n.clamp(least, most).to_string());
        let default = self.get(&SampleSettings::default());
        let read = (self.set)(settings, &nearest.unwrap_or(default));
        debug_assert!(read.is_ok(), "{self:?}");
    }

    /// Whether a short list says it.
    pub fn is_told(&self, settings: &SampleSettings) -> bool {
        !self.optional || self.get(settings) != self.get(&SampleSettings::default())
    }
}

impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Setting({})", self.key)
    }
}

impl PartialEq for Setting {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Setting {}

/// The settings that say how pictures are made, in the order in which they are told.
pub static SETTINGS: [&Setting; 10] = [
    &SEED,
    &SOLVER,
    &STEPS,
    &GRID,
    &TEMPERATURE,
    &GUIDANCE,
    &GUIDANCE_INTERVAL,
    &ETA,
    &ATOL,
    &RTOL,
];

/// Seed of the starting noise.
pub static SEED: Setting = Setting {
    key: "seed",
    option: "seed",
    value_name: "N",
    label: "Seed",
    help: "Seed of the starting noise",
    hint: "Number that the noise is drawn from: the same seed and settings make the same picture.",
    range: "a whole number",
    example: "1..4",
    numbers: Numbers::Whole,
    get: |settings| settings.seed.to_string(),
    set: |settings, text| {
        settings.seed = whole(&SEED, text)?;
        Ok(())
    },
    ..Setting::PLAIN
};

/// The solver.
pub static SOLVER: Setting = Setting {
    key: "solver",
    option: "solver",
    value_name: "SOLVER",
    label: "Solver",
    help: "Solver: euler, midpoint, heun, rk4, dopri5 or exp2m",
    hint: "How the state is carried from one time to the next.",
    range: "all, or of euler, midpoint, heun, rk4, dopri5, exp2m",
    choices: &Solver::NAMES,
    example: "euler, midpoint, heun, exp2m",
    get: |settings| settings.solver.to_string(),
    set: |settings, text| {
        settings.solver = text.parse()?;
        Ok(())
    },
    ..Setting::PLAIN
};

/// Intervals of the grid.
pub static STEPS: Setting = Setting {
    key: "steps",
    option: "steps",
    value_name: "N",
    label: "Steps",
    help: "Intervals of the grid",
    hint: "Intervals of time from noise to picture: more are slower and finer.",
    range: "a whole number from 1 to 10000",
    example: "4, 8, 16, 32",
    numbers: Numbers::Whole,
    get: |settings| settings.steps.to_string(),
    set: |settings, text| {
        settings.steps = whole(&STEPS, text)?;
        Ok(())
    },
    bounds: Some((1.0, MAX_STEPS as f64)),
    ..Setting::PLAIN
};

/// Where the grid points of time lie.
pub static GRID: Setting = Setting {
    key: "grid",
    option: "grid",
    value_name: "GRID",
    label: "Grid",
    help: "Grid of times: uniform, cosine or shifted:S",
    hint: "Where the times of the steps lie between noise and picture.",
    range: "uniform, cosine or shifted:S",
    example: "uniform, cosine, shifted:3",
    get: |settings| settings.grid.to_string(),
    set: |settings, text| {
        settings.grid = text.parse()?;
        Ok(())
    },
    ..Setting::PLAIN
};

/// Temperature of the posterior.
pub static TEMPERATURE: Setting = Setting {
    key: "temperature",
    option: "temperature",
    value_name: "T",
    label: "Temperature",
    help: "Temperature: a number (0 is the most likely code), linear:A:B, cosine:A:B, points:T=V,..., or \
           entropy:A:B for whatever gives the posterior a mean entropy of A to B nats",
    hint: "How sure the model is made to be of its codes: below 1 surer, above 1 less sure.",
    range: "0 or more, or a schedule such as linear:1.2:0.6 (between ';' where it has commas)",
    example: "0.5, 0.7, 0.9, 1.1",
    numbers: Numbers::Real,
    idle: |_, objective| {
        let reason = "this model has no belief over codes that it could warm or cool";
        (!objective.has_posterior()).then_some(reason)
    },
    get: |settings| settings.temperature.to_string(),
    set: |settings, text| {
        settings.temperature = text.parse()?;
        Ok(())
    },
    check: |settings| settings.temperature.validate(),
    ..Setting::PLAIN
};

/// Guidance scale.
pub static GUIDANCE: Setting = Setting {
    key: "guidance",
    option: "cfg",
    value_name: "S",
    label: "Guidance",
    help: "Guidance scale: 1 conditional only, 0 unconditional only",
    hint: "How far to push towards the class: 1 asks once, more exaggerates, 0 ignores the class.",
    range: "from -1000 to 1000",
    example: "0..4 x 5",
    numbers: Numbers::Real,
    get: |settings| settings.guidance.to_string(),
    set: |settings, text| {
        settings.guidance = parse_number("guidance", text)?;
        Ok(())
    },
    bounds: Some((-MAX_GUIDANCE as f64, MAX_GUIDANCE as f64)),
    ..Setting::PLAIN
};

/// Times at which there is guidance.
pub static GUIDANCE_INTERVAL: Setting = Setting {
    key: "guidance_interval",
    option: "cfg-interval",
    value_name: "A:B",
    label: "Guidance interval",
    help: "Guidance only at times from A to B, of 0 (noise) to 1 (picture); at others the network is asked \
           once instead of twice",
    hint: "Times between which there is guidance, of 0 (noise) to 1 (picture): at others the network is asked \
           once instead of twice.",
    range: "A:B with 0 <= A <= B <= 1",
    example: "0:1, 0.2:1, 0:0.8, 0.2:0.8",
    optional: true,
    idle: |settings, _| {
        (settings.guidance == 1.0).then_some("a guidance of 1 is the same at every time")
    },
    get: |settings| settings.guidance_interval.to_string(),
    set: |settings, text| {
        settings.guidance_interval = text.parse()?;
        Ok(())
    },
    ..Setting::PLAIN
};

/// Stochasticity, or for `dfm` the rate of masking again.
pub static ETA: Setting = Setting {
    key: "eta",
    option: "eta",
    value_name: "ETA",
    label: "Eta",
    help: "Stochasticity from 0 to 1, with the euler solver; for dfm the rate of masking again",
    hint: "Fresh noise at every step (eta): 0 follows the flow, 1 is ancestral sampling.",
    range: "from 0 to 1 (to 1000 for the objective dfm)",
    example: "0, 0.5, 1",
    numbers: Numbers::Real,
    get: |settings| settings.eta.to_string(),
    set: |settings, text| {
        settings.eta = parse_number("eta", text)?;
        Ok(())
    },
    bounds: Some((0.0, MAX_REMASKING as f64)),
    ..Setting::PLAIN
};

/// Absolute tolerance of `dopri5`.
pub static ATOL: Setting = Setting {
    key: "atol",
    option: "atol",
    value_name: "TOLERANCE",
    label: "Absolute tolerance",
    help: "Absolute tolerance of dopri5",
    hint: "Error that a step may make whatever the size of the state.",
    get: |settings| settings.atol.to_string(),
    set: |settings, text| {
        settings.atol = parse_number("atol", text)?;
        Ok(())
    },
    ..TOLERANCE
};

/// Relative tolerance of `dopri5`.
pub static RTOL: Setting = Setting {
    key: "rtol",
    option: "rtol",
    value_name: "TOLERANCE",
    label: "Relative tolerance",
    help: "Relative tolerance of dopri5",
    hint: "Error that a step may make for each unit of the state.",
    get: |settings| settings.rtol.to_string(),
    set: |settings, text| {
        settings.rtol = parse_number("rtol", text)?;
        Ok(())
    },
    ..TOLERANCE
};

/// What both tolerances have in common.
const TOLERANCE: Setting = Setting {
    range: "from 1e-8 to 1",
    numbers: Numbers::Real,
    bounds: Some((1e-8, 1.0)),
    optional: true,
    idle: |settings, _| {
        (settings.solver != Solver::Dopri5).then_some("only the solver dopri5 has one")
    },
    ..Setting::PLAIN
};

fn whole<T: std::str::FromStr>(setting: &Setting, text: &str) -> Result<T, SettingsError> {
    text.parse().map_err(|_| SettingsError::OutOfRange {
        what: setting.key,
        given: text.to_owned(),
        range: setting.range,
    })
}
