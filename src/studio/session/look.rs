//! How the current pictures are looked at.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::studio::engine::View;

/// How the current pictures are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Look {
    /// What is drawn of the step.
    pub view: View,
    /// What is laid over it.
    pub overlay: Overlay,
    /// How much the overlay covers, in `[0, 1]`.
    pub opacity: f32,
    /// Whether enlarged pictures keep hard pixels.
    pub sharp: bool,
}

impl Default for Look {
    fn default() -> Self {
        Self { view: View::default(), overlay: Overlay::default(), opacity: 0.65, sharp: true }
    }
}

impl Look {
    /// How much an overlay can cover.
    pub const OPACITIES: RangeInclusive<f32> = 0.1..=1.0;

    /// Puts a number back that cannot be; says whether one was.
    pub fn tidy(&mut self) -> bool {
        let usable = Self::OPACITIES.contains(&self.opacity);
        if !usable {
            self.opacity = Self::default().opacity;
        }
        !usable
    }
}

/// What is laid over the pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Overlay {
    /// Nothing.
    #[default]
    None,
    /// Entropy of each token's posterior.
    Entropy,
    /// Tokens whose most likely code is not that of the step before.
    Changes,
    /// Probability of each token's most likely code.
    TopProbability,
    /// Tokens whose most likely code is not the one that they end on.
    Unsettled,
    /// What is pinned and banned.
    Edits,
}

impl Overlay {
    /// Every overlay, in the order in which they are offered.
    pub const ALL: [Self; 6] = [
        Self::None,
        Self::Entropy,
        Self::Changes,
        Self::TopProbability,
        Self::Unsettled,
        Self::Edits,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "no overlay",
            Self::Entropy => "entropy",
            Self::Changes => "code changes",
            Self::TopProbability => "top probability",
            Self::Unsettled => "not yet final",
            Self::Edits => "edits",
        }
    }

    /// What it shows, in a sentence.
    pub fn hint(self) -> &'static str {
        match self {
            Self::None => "Only the pictures.",
            Self::Entropy => {
                "How undecided the model is about a token: 0 nats is certain, ln(codes) knows nothing."
            }
            Self::Changes => "Tokens whose most likely code changed since the previous step.",
            Self::TopProbability => "How much probability a token's most likely code has.",
            Self::Unsettled => {
                "Tokens whose most likely code here is not the one that they end on."
            }
            Self::Edits => {
                "Tokens held to a code: warm where this run held them, cool where the next one will; \
                 violet where codes are banned."
            }
        }
    }
}
