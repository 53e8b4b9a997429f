//! What a run of the sampler is asked to do, in the spellings of the command line.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::spot::Spot;
use super::temperature::Temperature;
use crate::model::{ModelCard, Objective};

/// A setting that cannot be used, with the range that can.
#[derive(Debug, Error, Clone, PartialEq)]
pub enum SettingsError {
    /// A word that names no member of a fixed set.
    #[error("unknown {what} '{given}' (known: {known})")]
    Unknown {
        /// What kind of setting it is.
        what: &'static str,
        /// What was given.
        given: String,
        /// The spellings that are understood.
        known: &'static str,
    },
    /// A number outside its range.
    #[error("{what} must be {range}, not {given}")]
    OutOfRange {
        /// What kind of setting it is.
        what: &'static str,
        /// What was given.
        given: String,
        /// The range, in words.
        range: &'static str,
    },
    /// A label that the model does not have.
    #[error("label {label} is out of range: the model has classes 0 to {last}")]
    Label {
        /// The label asked for.
        label: usize,
        /// The largest label the model knows.
        last: usize,
    },
    /// Nothing was asked for.
    #[error("no picture was asked for: give at least one label")]
    NoLabels,
    /// A pin or a ban that the run has no place for.
    #[error(
        "{what} {spot} is out of range: there are {batch} images of {height}x{width} tokens and {codes} codes"
    )]
    Spot {
        /// Pin or ban.
        what: &'static str,
        /// Where it is, and its code.
        spot: Spot,
        /// Images of the run.
        batch: usize,
        /// Rows of tokens.
        height: usize,
        /// Columns of tokens.
        width: usize,
        /// Codes of the model.
        codes: usize,
    },
    /// A token that is left without a code.
    #[error("every code is banned at image {image}, row {row}, column {column}")]
    AllBanned {
        /// Image of the batch.
        image: usize,
        /// Row of the token.
        row: usize,
        /// Column of the token.
        column: usize,
    },
    /// A setting that the model's objective has no use for.
    #[error("{what} does not go with the objective {objective}: {advice}")]
    Objective {
        /// The setting.
        what: &'static str,
        /// The model's objective.
        objective: Objective,
        /// What to do instead.
        advice: &'static str,
    },
}

pub(super) fn parse_number(what: &'static str, text: &str) -> Result<f32, SettingsError> {
    text.trim().parse::<f32>().ok().filter(|value| value.is_finite()).ok_or_else(|| {
        SettingsError::OutOfRange { what, given: text.to_owned(), range: "a finite number" }
    })
}

/// How the state moves from one grid point to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Solver {
    /// `x' = mu + (1-t')/(1-t) (x - mu)`: Euler in `t`, which is the first-order exponential
    /// integrator in `-log(1-t)` and lands exactly on `mu` in its last step.
    #[default]
    Euler,
    /// The explicit midpoint method, of second order; never asks for a velocity at `t = 1`.
    Midpoint,
    /// Heun's method, of second order.
    Heun,
    /// The classical Runge-Kutta method, of fourth order.
    Rk4,
    /// Dormand and Prince's adaptive method, of fifth order, within each interval.
    Dopri5,
    /// Two-step exponential multistep method, of second order at one evaluation a step.
    Exp2m,
}

impl Solver {
    /// Every solver, in the order in which they are offered.
    pub const ALL: [Self; 6] =
        [Self::Euler, Self::Midpoint, Self::Heun, Self::Rk4, Self::Dopri5, Self::Exp2m];

    /// Network evaluations of a run of `steps` intervals, without guidance; unknown beforehand for
    /// the adaptive solver.
    pub fn evaluations(self, steps: usize, objective: Objective) -> Option<usize> {
        // Where the velocity divides by 1 - t, the last interval is closed by one exact step.
        let closed = objective != Objective::Cfm;
        match self {
            Self::Euler | Self::Exp2m => Some(steps),
            Self::Midpoint => Some(2 * steps),
            Self::Heun => Some(2 * steps - usize::from(closed)),
            Self::Rk4 => Some(4 * steps - if closed { 3 } else { 0 }),
            Self::Dopri5 => None,
        }
    }
}

impl fmt::Display for Solver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Euler => "euler",
            Self::Midpoint => "midpoint",
            Self::Heun => "heun",
            Self::Rk4 => "rk4",
            Self::Dopri5 => "dopri5",
            Self::Exp2m => "exp2m",
        })
    }
}

impl FromStr for Solver {
    type Err = SettingsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|solver| solver.to_string() == text).ok_or_else(|| {
            SettingsError::Unknown {
                what: "solver",
                given: text.to_owned(),
                known: "euler, midpoint, heun, rk4, dopri5, exp2m",
            }
        })
    }
}

/// Where the grid points of time lie.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Grid {
    /// Equal intervals.
    #[default]
    Uniform,
    /// `t = (1 - cos(pi u)) / 2`: small intervals at both ends.
    Cosine,
    /// `t = u / (u + s (1 - u))`: with `s > 1` more of the intervals lie near the noise.
    Shifted(f32),
}

impl Grid {
    /// The `steps + 1` grid points from exactly 0 to exactly 1.
    pub fn points(self, steps: usize) -> Vec<f32> {
        (0..=steps)
            .map(|i| {
                let u = i as f64 / steps as f64;
                let t = match self {
                    Self::Uniform => u,
                    Self::Cosine => (1.0 - (std::f64::consts::PI * u).cos()) / 2.0,
                    Self::Shifted(shift) => u / (u + f64::from(shift) * (1.0 - u)),
                };
                t as f32
            })
            .collect()
    }
}

impl fmt::Display for Grid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uniform => f.write_str("uniform"),
            Self::Cosine => f.write_str("cosine"),
            Self::Shifted(shift) => write!(f, "shifted:{shift}"),
        }
    }
}

impl FromStr for Grid {
    type Err = SettingsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            None if text == "uniform" => Ok(Self::Uniform),
            None if text == "cosine" => Ok(Self::Cosine),
            Some(("shifted", shift)) => match parse_number("the grid's shift", shift)? {
                shift if shift > 0.0 => Ok(Self::Shifted(shift)),
                shift => Err(SettingsError::OutOfRange {
                    what: "the grid's shift",
                    given: shift.to_string(),
                    range: "above 0",
                }),
            },
            _ => Err(SettingsError::Unknown {
                what: "grid",
                given: text.to_owned(),
                known: "uniform, cosine, shifted:S",
            }),
        }
    }
}

macro_rules! as_text {
    ($($name:ty),*) => {$(
        impl TryFrom<String> for $name {
            type Error = SettingsError;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }
    )*};
}
as_text!(Grid, Temperature);

/// Everything that decides what a run of the sampler makes, besides the model and given noise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SampleSettings {
    /// One class label an image; the batch is as long as this list.
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
    /// Stochasticity from 0, the flow itself, to 1, ancestral sampling; above 0 only with `euler`.
    /// For `dfm` the rate, 0 or more, at which revealed codes are masked again.
    pub eta: f32,
    /// Absolute tolerance of `dopri5`.
    pub atol: f32,
    /// Relative tolerance of `dopri5`.
    pub rtol: f32,
    /// Tokens that are held to a code through every step.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pins: Vec<Spot>,
    /// Codes that single tokens must not become.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bans: Vec<Spot>,
    /// Codes that no token may become, but by a pin.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub banned_codes: Vec<u32>,
    /// The run that this one goes on from, if it does not begin with noise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branch: Option<Box<Branch>>,
}

/// Where a run leaves another one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Branch {
    /// Steps taken of the other run, at most all but one.
    pub step: usize,
    /// The settings of the other run.
    pub parent: SampleSettings,
}

/// What settings must agree with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Domain {
    /// What the network was trained for.
    pub objective: Objective,
    /// Classes of the model.
    pub classes: usize,
    /// Codes of the model.
    pub codes: usize,
    /// Rows of tokens of a picture.
    pub height: usize,
    /// Columns of tokens of a picture.
    pub width: usize,
}

impl Domain {
    /// What a model asks of settings.
    pub fn of(card: &ModelCard) -> Self {
        let side = card.backbone.input_size;
        Self {
            objective: card.objective,
            classes: card.backbone.num_classes,
            codes: card.tokenizer.codes,
            height: side,
            width: side,
        }
    }
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
    /// The largest number of intervals that is accepted.
    pub const MAX_STEPS: usize = 10_000;
    /// The largest stochasticity of `dfm`, where it is a rate and not a share.
    pub const MAX_REMASKING: f32 = 1000.0;
    /// The most runs that one goes on from.
    const MAX_GENERATION: usize = 64;

    /// Checks every setting against what the model can do.
    ///
    /// # Errors
    /// The first setting that is out of range.
    pub fn validate(&self, domain: &Domain) -> Result<(), SettingsError> {
        let Domain { objective, classes, .. } = *domain;
        if self.labels.is_empty() {
            return Err(SettingsError::NoLabels);
        }
        if let Some(&label) = self.labels.iter().find(|label| **label >= classes) {
            return Err(SettingsError::Label { label, last: classes.saturating_sub(1) });
        }
        let out_of_range =
            |what, given: String, range| Err(SettingsError::OutOfRange { what, given, range });
        if !(1..=Self::MAX_STEPS).contains(&self.steps) {
            return out_of_range("steps", self.steps.to_string(), "1 to 10000");
        }
        if !self.guidance.is_finite() {
            return out_of_range("guidance", self.guidance.to_string(), "a finite number");
        }
        let tolerances = [("atol", self.atol), ("rtol", self.rtol)];
        if let Some((what, given)) = tolerances.into_iter().find(|(_, t)| !(1e-8..=1.0).contains(t))
        {
            return out_of_range(what, given.to_string(), "from 1e-8 to 1");
        }
        if objective == Objective::Dfm {
            if self.solver != Solver::Euler {
                let advice = "its states are codes, which take masked Euler steps (euler)";
                return Err(SettingsError::Objective { what: "the solver", objective, advice });
            }
            if !(0.0..=Self::MAX_REMASKING).contains(&self.eta) {
                return out_of_range("eta", self.eta.to_string(), "from 0 to 1000");
            }
        } else if !(0.0..=1.0).contains(&self.eta)
            || (self.eta > 0.0 && self.solver != Solver::Euler)
        {
            let range = "from 0 to 1, and 0 with solvers other than euler";
            return out_of_range("eta", format!("{} with {}", self.eta, self.solver), range);
        }
        self.temperature.validate()?;
        self.validate_spots(domain)?;
        let Some(branch) = &self.branch else { return Ok(()) };
        if branch.step + 1 >= branch.parent.times().len()
            || branch.parent.labels.len() != self.labels.len()
        {
            let range = "a step before the last of a run of as many pictures";
            return out_of_range("the branch", format!("step {}", branch.step), range);
        }
        if self.generation() > Self::MAX_GENERATION {
            return out_of_range("the branch", "more than 64 deep".to_owned(), "64 deep at most");
        }
        branch.parent.validate(domain)
    }

    /// Grid points of the run: all of its grid or, where it goes on from another run, what of its
    /// grid lies after the time at which it leaves that one.
    pub fn times(&self) -> Vec<f32> {
        let points = self.grid.points(self.steps);
        let Some(branch) = &self.branch else { return points };
        /// An interval shorter than this would be a step for nothing.
        const SLIVER: f32 = 1e-4;
        let start = branch.parent.times().get(branch.step).copied().unwrap_or(0.0);
        let after = points.into_iter().filter(|t| *t > start + SLIVER || *t >= 1.0);
        std::iter::once(start).chain(after).collect()
    }

    /// Network evaluations of the run, guidance counting twice; unknown beforehand for the adaptive
    /// solver.
    pub fn evaluations(&self, objective: Objective) -> Option<usize> {
        let steps = self.times().len().saturating_sub(1);
        Some(self.solver.evaluations(steps, objective)? * guidance_evaluations(self.guidance))
    }

    /// How many runs this one goes on from.
    pub fn generation(&self) -> usize {
        fn parent(settings: &SampleSettings) -> Option<&SampleSettings> {
            settings.branch.as_ref().map(|branch| &branch.parent)
        }
        std::iter::successors(parent(self), |settings| parent(settings)).count()
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

/// Network evaluations of one guided prediction: 2, or 1 where the scale is exactly 0 or 1.
pub fn guidance_evaluations(scale: f32) -> usize {
    if scale == 0.0 || scale == 1.0 { 1 } else { 2 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_round_trip() {
        for text in [
            "0.9",
            "linear:1.2:0.6",
            "cosine:1.2:0.6",
            "points:0=1.2,0.5=0.9,1=0.7",
            "entropy:3:0.2",
        ] {
            assert_eq!(text.parse::<Temperature>().unwrap().to_string(), text);
        }
        assert_eq!("0,7,9=812".parse::<Spot>().unwrap().to_string(), "0,7,9=812");
        for text in ["uniform", "cosine", "shifted:3"] {
            assert_eq!(text.parse::<Grid>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn grids_run_from_exactly_zero_to_exactly_one() {
        for grid in [Grid::Uniform, Grid::Cosine, Grid::Shifted(3.0)] {
            let points = grid.points(7);
            assert_eq!((points[0], points[7], points.len()), (0.0, 1.0, 8));
            assert!(points.windows(2).all(|pair| pair[0] < pair[1]), "{grid}");
        }
    }
}
