//! Playing the timeline.

use serde::{Deserialize, Serialize};

/// Playing the timeline.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Playback {
    /// Whether it moves by itself.
    #[serde(skip)]
    pub playing: bool,
    /// Whether it begins again at the end.
    pub looping: bool,
    /// Positions a second.
    pub rate: f32,
    /// Whether the temperature is drawn beside the other curves.
    pub temperature: bool,
    /// When it last moved, in seconds on the window's clock.
    #[serde(skip)]
    pub(super) moved: Option<f64>,
}

impl Default for Playback {
    fn default() -> Self {
        Self { playing: false, looping: true, rate: 8.0, temperature: false, moved: None }
    }
}

impl Playback {
    /// The speeds on offer, in positions a second.
    pub const RATES: [f32; 5] = [2.0, 4.0, 8.0, 16.0, 30.0];

    /// Puts a speed back that is not on offer; says whether it was.
    pub fn tidy(&mut self) -> bool {
        let usable = Self::RATES.contains(&self.rate);
        if !usable {
            self.rate = Self::default().rate;
        }
        !usable
    }
}
