//! What a run of the sampler is asked to do, in the spellings of the command line.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

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
}

fn parse_number(what: &'static str, text: &str) -> Result<f32, SettingsError> {
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
    pub fn evaluations(self, steps: usize) -> Option<usize> {
        match self {
            Self::Euler | Self::Exp2m => Some(steps),
            Self::Midpoint => Some(2 * steps),
            // The last interval of these is closed by one exact step.
            Self::Heun => Some(2 * steps - 1),
            Self::Rk4 => Some(4 * steps - 3),
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
            SettingsError::Unknown { what: "solver", given: text.to_owned(), known: "euler" }
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

/// Temperature of the posterior as a function of time.
///
/// Every value is at least 0; 0 means the most likely code (the softmax is taken at 1e-6).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Temperature {
    /// The same at every time.
    Constant(f32),
    /// A straight line from `t = 0` to `t = 1`.
    Linear {
        /// Value at `t = 0`.
        from: f32,
        /// Value at `t = 1`.
        to: f32,
    },
    /// Half a cosine wave from `t = 0` to `t = 1`.
    Cosine {
        /// Value at `t = 0`.
        from: f32,
        /// Value at `t = 1`.
        to: f32,
    },
    /// Straight lines between `(t, temperature)` points of rising `t`, constant outside them.
    Points(Vec<(f32, f32)>),
}

impl Default for Temperature {
    fn default() -> Self {
        Self::Constant(0.9)
    }
}

impl Temperature {
    /// The smallest divisor of the logits that is ever used.
    pub const FLOOR: f32 = 1e-6;

    /// Temperature at time `t` in `[0, 1]`, before the floor is applied.
    pub fn at(&self, t: f32) -> f32 {
        match self {
            Self::Constant(value) => *value,
            Self::Linear { from, to } => from + (to - from) * t,
            Self::Cosine { from, to } => {
                to + (from - to) * (1.0 + (std::f32::consts::PI * t).cos()) / 2.0
            }
            Self::Points(points) => {
                let after = points.partition_point(|(at, _)| *at <= t);
                match (after.checked_sub(1).and_then(|i| points.get(i)), points.get(after)) {
                    (Some((t0, v0)), Some((t1, v1))) => v0 + (v1 - v0) * (t - t0) / (t1 - t0),
                    (Some((_, value)), None) | (None, Some((_, value))) => *value,
                    (None, None) => 1.0,
                }
            }
        }
    }

    fn values(&self) -> Vec<f32> {
        match self {
            Self::Constant(value) => vec![*value],
            Self::Linear { from, to } | Self::Cosine { from, to } => vec![*from, *to],
            Self::Points(points) => points.iter().map(|(_, value)| *value).collect(),
        }
    }

    /// Checks that every value is finite and not negative, and that points rise in time.
    pub fn validate(&self) -> Result<(), SettingsError> {
        if let Some(bad) = self.values().into_iter().find(|v| !v.is_finite() || *v < 0.0) {
            return Err(SettingsError::OutOfRange {
                what: "temperature",
                given: bad.to_string(),
                range: "0 or more",
            });
        }
        if let Self::Points(points) = self {
            let rising = points.windows(2).all(|pair| pair[0].0 < pair[1].0);
            let inside = points.iter().all(|(t, _)| (0.0..=1.0).contains(t));
            if points.is_empty() || !rising || !inside {
                return Err(SettingsError::OutOfRange {
                    what: "the temperature's points",
                    given: self.to_string(),
                    range: "at least one point, at rising times from 0 to 1",
                });
            }
        }
        Ok(())
    }
}

impl fmt::Display for Temperature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constant(value) => write!(f, "{value}"),
            Self::Linear { from, to } => write!(f, "linear:{from}:{to}"),
            Self::Cosine { from, to } => write!(f, "cosine:{from}:{to}"),
            Self::Points(points) => {
                let points: Vec<_> = points.iter().map(|(t, v)| format!("{t}={v}")).collect();
                write!(f, "points:{}", points.join(","))
            }
        }
    }
}

impl FromStr for Temperature {
    type Err = SettingsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || SettingsError::Unknown {
            what: "temperature",
            given: text.to_owned(),
            known: "a number, linear:A:B, cosine:A:B, points:T=V,T=V,...",
        };
        let number = |text: &str| parse_number("temperature", text);
        let pair = |rest: &str| -> Result<(f32, f32), SettingsError> {
            let (from, to) = rest.split_once(':').ok_or_else(unknown)?;
            Ok((number(from)?, number(to)?))
        };
        let temperature = match text.split_once(':') {
            None => Self::Constant(text.parse().map_err(|_| unknown())?),
            Some(("linear", rest)) => pair(rest).map(|(from, to)| Self::Linear { from, to })?,
            Some(("cosine", rest)) => pair(rest).map(|(from, to)| Self::Cosine { from, to })?,
            Some(("points", rest)) => Self::Points(
                rest.split(',')
                    .map(|point| {
                        let (t, value) = point.split_once('=').ok_or_else(unknown)?;
                        Ok((number(t)?, number(value)?))
                    })
                    .collect::<Result<_, SettingsError>>()?,
            ),
            Some(_) => return Err(unknown()),
        };
        temperature.validate()?;
        Ok(temperature)
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
    pub eta: f32,
    /// Absolute tolerance of `dopri5`.
    pub atol: f32,
    /// Relative tolerance of `dopri5`.
    pub rtol: f32,
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
        }
    }
}

impl SampleSettings {
    /// The largest number of intervals that is accepted.
    pub const MAX_STEPS: usize = 10_000;

    /// Checks every setting against a model of `classes` classes.
    ///
    /// # Errors
    /// The first setting that is out of range.
    pub fn validate(&self, classes: usize) -> Result<(), SettingsError> {
        if self.labels.is_empty() {
            return Err(SettingsError::NoLabels);
        }
        if let Some(&label) = self.labels.iter().find(|label| **label >= classes) {
            return Err(SettingsError::Label { label, last: classes.saturating_sub(1) });
        }
        if !(1..=Self::MAX_STEPS).contains(&self.steps) {
            return Err(SettingsError::OutOfRange {
                what: "steps",
                given: self.steps.to_string(),
                range: "1 to 10000",
            });
        }
        if !self.guidance.is_finite() {
            return Err(SettingsError::OutOfRange {
                what: "guidance",
                given: self.guidance.to_string(),
                range: "a finite number",
            });
        }
        if !(0.0..=1.0).contains(&self.eta) || (self.eta > 0.0 && self.solver != Solver::Euler) {
            return Err(SettingsError::OutOfRange {
                what: "eta",
                given: format!("{} with {}", self.eta, self.solver),
                range: "from 0 to 1, and 0 with solvers other than euler",
            });
        }
        let tolerances = [("atol", self.atol), ("rtol", self.rtol)];
        if let Some((what, given)) = tolerances.into_iter().find(|(_, t)| !(1e-8..=1.0).contains(t))
        {
            return Err(SettingsError::OutOfRange {
                what,
                given: given.to_string(),
                range: "from 1e-8 to 1",
            });
        }
        self.temperature.validate()
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
        for text in ["0.9", "linear:1.2:0.6", "cosine:1.2:0.6", "points:0=1.2,0.5=0.9,1=0.7"] {
            assert_eq!(text.parse::<Temperature>().unwrap().to_string(), text);
        }
        for text in ["uniform", "cosine", "shifted:3"] {
            assert_eq!(text.parse::<Grid>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn refuses_bad_temperatures() {
        for text in ["-1", "NaN", "inf", "warm", "linear:1", "points:", "points:0.5=1,0.5=2"] {
            assert!(text.parse::<Temperature>().is_err(), "{text}");
        }
        for text in ["0", "1e9"] {
            assert!(text.parse::<Temperature>().is_ok(), "{text}");
        }
    }

    #[test]
    fn temperature_follows_its_points() {
        let points: Temperature = "points:0=1.2,0.5=0.8,1=0.6".parse().unwrap();
        for (t, value) in [(0.0, 1.2), (0.25, 1.0), (0.5, 0.8), (0.75, 0.7), (1.0, 0.6)] {
            assert!((points.at(t) - value).abs() < 1e-6, "{t}");
        }
        let cosine: Temperature = "cosine:1.2:0.6".parse().unwrap();
        assert!((cosine.at(0.5) - 0.9).abs() < 1e-6);
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
