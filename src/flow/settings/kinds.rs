//! Solvers, and where the times of a run lie.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::error::{SettingsError, parse_number};
use super::table::MAX_STEPS;
use super::temperature::Temperature;
use crate::model::Objective;

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

    /// Their names, in that order.
    pub const NAMES: [&str; 6] = ["euler", "midpoint", "heun", "rk4", "dopri5", "exp2m"];

    /// Times at which a run over the grid points `times` asks the network; unknown beforehand for the
    /// adaptive solver.
    pub fn evaluation_times(self, times: &[f32], objective: Objective) -> Option<Vec<f32>> {
        let mut asked = Vec::with_capacity(times.len());
        for pair in times.windows(2) {
            let [t, t_next] = [pair[0], pair[1]];
            let middle = ((f64::from(t) + f64::from(t_next)) / 2.0) as f32;
            // Where the velocity divides by 1 - t, the last interval is closed by one exact step.
            let closed = objective != Objective::Cfm && t_next >= 1.0;
            match self {
                Self::Dopri5 => return None,
                Self::Midpoint => asked.extend([t, middle]),
                Self::Heun if !closed => asked.extend([t, t_next]),
                Self::Rk4 if !closed => asked.extend([t, middle, middle, t_next]),
                Self::Euler | Self::Exp2m | Self::Heun | Self::Rk4 => asked.push(t),
            }
        }
        Some(asked)
    }
}

impl fmt::Display for Solver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::NAMES[*self as usize])
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
    /// The `steps + 1` grid points from exactly 0 to exactly 1, of no more steps than a run may have.
    pub fn points(self, steps: usize) -> Vec<f32> {
        let steps = steps.clamp(1, MAX_STEPS);
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

/// A part of the way from noise to picture: times from one to another, both included.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span {
    /// Where it begins, at least 0.
    pub from: f32,
    /// Where it ends, at most 1.
    pub to: f32,
}

impl Span {
    /// All of the way.
    pub const WHOLE: Self = Self { from: 0.0, to: 1.0 };

    /// Whether it is all of the way.
    pub fn is_whole(&self) -> bool {
        *self == Self::WHOLE
    }

    /// Whether time `t` lies in it.
    pub fn contains(&self, t: f32) -> bool {
        (self.from..=self.to).contains(&t)
    }
}

impl Default for Span {
    fn default() -> Self {
        Self::WHOLE
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.from, self.to)
    }
}

impl FromStr for Span {
    type Err = SettingsError;

    /// Reads `A:B`, of times from 0 to 1 that do not fall.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let outside = || SettingsError::OutOfRange {
            what: "the interval",
            given: text.to_owned(),
            range: "A:B with 0 <= A <= B <= 1",
        };
        let (from, to) = text.split_once(':').ok_or_else(outside)?;
        let time = |text: &str| parse_number("a time", text).map_err(|_| outside());
        let (from, to) = (time(from)?, time(to)?);
        if 0.0 <= from && from <= to && to <= 1.0 { Ok(Self { from, to }) } else { Err(outside()) }
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
as_text!(Grid, Span, Temperature);
