//! Temperature of the posterior, constant or changing with time.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::error::{SettingsError, parse_number};
use crate::kernels::TEMPERATURE_FLOOR;

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
    /// Whatever temperature gives the mean entropy of the posterior a target, in nats, that lies on
    /// a straight line from `t = 0` to `t = 1`.
    Entropy {
        /// Target at `t = 0`.
        from: f32,
        /// Target at `t = 1`.
        to: f32,
    },
}

/// What decides the temperature at one time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Warmth {
    /// A temperature, before the floor is applied.
    Fixed(f32),
    /// The temperature at which the mean entropy of the posterior is this many nats.
    MeanEntropy(f32),
}

impl Default for Temperature {
    fn default() -> Self {
        Self::Constant(0.9)
    }
}

impl Temperature {
    /// The smallest divisor of the logits that is ever used.
    pub const FLOOR: f32 = TEMPERATURE_FLOOR;
    /// The most points of a curve: more than anyone draws, and than a run has use for.
    pub const MOST_POINTS: usize = 1000;

    /// What decides the temperature at time `t` in `[0, 1]`.
    pub fn warmth(&self, t: f32) -> Warmth {
        match self {
            Self::Entropy { .. } => Warmth::MeanEntropy(self.at(t)),
            _ => Warmth::Fixed(self.at(t)),
        }
    }

    /// Value of the curve at time `t` in `[0, 1]`: a temperature, or the target of the entropy.
    pub fn at(&self, t: f32) -> f32 {
        match self {
            Self::Constant(value) => *value,
            Self::Linear { from, to } | Self::Entropy { from, to } => from + (to - from) * t,
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
            Self::Linear { from, to } | Self::Cosine { from, to } | Self::Entropy { from, to } => {
                vec![*from, *to]
            }
            Self::Points(points) => points.iter().map(|(_, value)| *value).collect(),
        }
    }

    /// Checks that every value is finite and not negative, and that points rise in time and are not
    /// too many.
    pub fn validate(&self) -> Result<(), SettingsError> {
        if let Self::Points(points) = self
            && points.len() > Self::MOST_POINTS
        {
            let what = "points of the temperature";
            return Err(SettingsError::TooMany { what, most: Self::MOST_POINTS });
        }
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
            Self::Entropy { from, to } => write!(f, "entropy:{from}:{to}"),
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
            known: "a number, linear:A:B, cosine:A:B, points:T=V,T=V,..., entropy:A:B",
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
            Some(("entropy", rest)) => pair(rest).map(|(from, to)| Self::Entropy { from, to })?,
            Some(("points", rest)) => Self::Points(
                // One more than there may be, so that there are seen to be too many.
                rest.split(',')
                    .take(Self::MOST_POINTS + 1)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_bad_temperatures() {
        for text in ["-1", "NaN", "inf", "warm", "linear:1", "points:", "points:0.5=1,0.5=2"] {
            assert!(text.parse::<Temperature>().is_err(), "{text}");
        }
        for text in ["0", "1e9"] {
            assert!(text.parse::<Temperature>().is_ok(), "{text}");
        }
        let points = |count: usize| {
            let points = (0..count).map(|i| format!("{}=1", i as f32 / count as f32));
            format!("points:{}", points.collect::<Vec<_>>().join(",")).parse::<Temperature>()
        };
        assert!(points(Temperature::MOST_POINTS).is_ok());
        assert!(points(Temperature::MOST_POINTS + 1).unwrap_err().to_string().contains("1000"));
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
}
