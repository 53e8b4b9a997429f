//! The panes by name.

use serde::{Deserialize, Serialize};

/// A pane of the window; every one shows a feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Pane {
    /// What to generate.
    Controls,
    /// The pictures.
    Canvas,
    /// The steps.
    Timeline,
    /// The belief about one token.
    Posterior,
    /// Every code.
    Codebook,
    /// What was made.
    Gallery,
    /// Two settings against each other.
    Sweep,
    /// Whether posteriors mean what they say.
    Calibration,
    /// A flow in the plane.
    Playground,
    /// What the model is.
    Model,
    /// Runs of training.
    Training,
    /// Everything that happened.
    Log,
}

impl Pane {
    /// Every pane.
    pub const ALL: [Self; 12] = [
        Self::Controls,
        Self::Canvas,
        Self::Timeline,
        Self::Posterior,
        Self::Codebook,
        Self::Gallery,
        Self::Sweep,
        Self::Calibration,
        Self::Playground,
        Self::Model,
        Self::Training,
        Self::Log,
    ];

    /// What its tab says.
    pub fn title(self) -> &'static str {
        match self {
            Self::Controls => "Controls",
            Self::Canvas => "Canvas",
            Self::Timeline => "Timeline",
            Self::Posterior => "Posterior",
            Self::Codebook => "Codebook",
            Self::Gallery => "Gallery",
            Self::Sweep => "Sweep",
            Self::Calibration => "Calibration",
            Self::Playground => "Playground",
            Self::Model => "Model",
            Self::Training => "Training",
            Self::Log => "Log",
        }
    }

    /// Size of a separate window at first, in points.
    pub fn window_size(self) -> egui::Vec2 {
        match self {
            Self::Controls | Self::Posterior | Self::Model | Self::Log => egui::vec2(360.0, 720.0),
            Self::Timeline => egui::vec2(900.0, 260.0),
            Self::Training => egui::vec2(640.0, 720.0),
            _ => egui::vec2(900.0, 720.0),
        }
    }
}
