//! Kinds of temperature and grid that the controls offer, without their numbers: those are kept when
//! another kind is chosen.

use serde::{Deserialize, Serialize};

/// How temperature goes over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum TemperatureKind {
    /// One value.
    #[default]
    Constant,
    /// A straight line between two values.
    Linear,
    /// Half a cosine wave between two values.
    Cosine,
    /// A curve through points drawn by hand.
    Drawn,
    /// Whatever gives the posterior a mean entropy on a line between two values, in nats.
    Entropy,
}

impl TemperatureKind {
    /// Every kind, in the order in which they are offered.
    pub const ALL: [Self; 5] =
        [Self::Constant, Self::Linear, Self::Cosine, Self::Drawn, Self::Entropy];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::Linear => "linear",
            Self::Cosine => "cosine",
            Self::Drawn => "drawn",
            Self::Entropy => "entropy target",
        }
    }
}

/// Where the grid points of time lie; [`crate::flow::Grid`] without its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum GridKind {
    /// Equal intervals.
    #[default]
    Uniform,
    /// Small intervals at both ends.
    Cosine,
    /// Small intervals near the noise.
    Shifted,
}

impl GridKind {
    /// Every kind, in the order in which they are offered.
    pub const ALL: [Self; 3] = [Self::Uniform, Self::Cosine, Self::Shifted];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Cosine => "cosine",
            Self::Shifted => "shifted",
        }
    }
}
