//! Where one is on the timeline, and playing it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Session;
use super::run::Run;

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
    moved: Option<f64>,
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

impl Session {
    pub(super) fn go_last(&mut self) {
        self.position = self.run.as_ref().map_or(0, Run::last);
    }

    /// Goes to a position of the timeline, or as near as there is one.
    pub fn go_to(&mut self, position: usize) {
        let Some(run) = &self.run else { return };
        let last = run.last();
        self.position = position.min(last);
        self.follow = self.position == last;
    }

    /// Moves along the timeline by hand, which stops playing.
    pub fn step_by(&mut self, by: isize) {
        self.playback.playing = false;
        self.go_to(self.position.saturating_add_signed(by));
    }

    /// Starts or stops playing; from the end it begins again.
    pub fn toggle_play(&mut self) {
        let Some(run) = &self.run else { return };
        let last = run.last();
        self.playback.playing = !self.playback.playing && last > 0;
        self.playback.moved = None;
        if self.playback.playing {
            if self.position >= last {
                self.position = 0;
            }
            self.follow = false;
        }
    }

    /// Moves as playing does; `now` is the window's clock in seconds. Says how long until the next
    /// move.
    pub fn play(&mut self, now: f64) -> Option<Duration> {
        let last = self.run.as_ref()?.last();
        if !self.playback.playing {
            return None;
        }
        let each = 1.0 / f64::from(self.playback.rate.max(0.1));
        let moved = *self.playback.moved.get_or_insert(now);
        let late = now - moved - each;
        if late >= 0.0 {
            // A window that was slow for a while goes on from where it is; it does not leap.
            self.playback.moved = Some(if late < each { moved + each } else { now });
            if self.position < last {
                self.position += 1;
            } else if self.playback.looping {
                self.position = 0;
            } else {
                self.playback.playing = false;
                self.follow = true;
                return None;
            }
        }
        let next = self.playback.moved.unwrap_or(now) + each;
        Some(Duration::from_secs_f64((next - now).max(0.0)))
    }
}
