//! Where one is on the timeline: going along it, playing it, and branching off.

use std::time::Duration;

use super::Session;
use super::branch::BranchPoint;
use super::run::Run;
use crate::flow::{Branch, State};

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

    /// Lets new runs go on from the current step, with whatever settings the controls then have.
    pub fn branch_here(&mut self) {
        let Some(run) = &self.run else { return };
        let step = self.position;
        let Some(record) = run.record(step).filter(|_| step + 1 < run.steps()) else { return };
        let codes = record.codes.as_ref().map(|codes| codes.before.clone());
        let start = State { x: record.x.clone(), codes };
        self.branch = Some(BranchPoint {
            branch: Branch { step, parent: run.settings.clone() },
            start: Some(Box::new(start)),
        });
    }

    /// Where new runs begin, if not with noise.
    pub(super) fn branch(&self) -> Option<&Branch> {
        self.branch.as_ref().map(|point| &point.branch)
    }

    /// The state that new runs go on from, where they branch and it is known.
    pub fn start(&self) -> Option<Box<State>> {
        self.branch.as_ref().and_then(|point| point.start.clone())
    }
}
