//! Progress of long work, on a terminal or as lines for a log.

use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

use crate::say;
use crate::train::Progress;

/// Longest time without a line.
const SILENCE: Duration = Duration::from_secs(30);
/// Shortest time between lines, but for the first and the last.
const PAUSE: Duration = Duration::from_secs(2);
/// Share of the loss of a step in its moving average.
const NEW: f64 = 0.05;

/// Turns progress into lines: at the first step, at checkpoints, at the last step, and at least every
/// half a minute.
#[derive(Debug)]
pub struct Lines {
    batch: usize,
    checkpoint_every: usize,
    /// When the last line was written.
    said: Option<Instant>,
    stepped: bool,
    smooth: Option<f64>,
}

impl Lines {
    /// Nothing is written yet; steps of `batch` pictures.
    pub fn new(batch: usize, checkpoint_every: usize) -> Self {
        Self { batch, checkpoint_every, said: None, stepped: false, smooth: None }
    }

    /// Writes a line to standard error if it is time for one.
    pub fn write(&mut self, progress: &Progress) {
        if let Some(line) = self.line(progress, Instant::now()) {
            say::note(line);
        }
    }

    fn line(&mut self, progress: &Progress, now: Instant) -> Option<String> {
        let since = self.said.map(|said| now.duration_since(said));
        let (due, line) = match *progress {
            Progress::Encoding { done, pictures } => {
                let line = format!("encoding pictures, once: {done} of {pictures}");
                (since.is_none_or(|since| since >= SILENCE), line)
            }
            Progress::Step { step, steps, loss, images_per_second } => {
                let smooth = self.smooth.map_or(loss, |before| before + NEW * (loss - before));
                self.smooth = Some(smooth);
                let first = !std::mem::replace(&mut self.stepped, true);
                let pause =
                    if step.is_multiple_of(self.checkpoint_every) { PAUSE } else { SILENCE };
                let due = first || step == steps || since.is_none_or(|since| since >= pause);
                let images = steps.saturating_sub(step) as f64 * self.batch as f64;
                let left = clock(images / images_per_second.max(1e-9));
                let line = format!(
                    "step {step} of {steps}  loss {loss:.4}  smoothed {smooth:.4}  {images_per_second:.1} images/s  {left} left"
                );
                (due, line)
            }
        };
        due.then(|| {
            self.said = Some(now);
            line
        })
    }
}

/// Progress of work in stages, each of so many things: a bar on a terminal, lines elsewhere.
pub struct Stages {
    bar: ProgressBar,
    stage: String,
    said: Instant,
}

impl Stages {
    /// Nothing is shown yet.
    pub fn new() -> Result<Self> {
        let bar = ProgressBar::new(0);
        bar.set_style(ProgressStyle::with_template(
            "{bar:32} {msg}: {pos}/{len}  {elapsed} gone, {eta} left",
        )?);
        Ok(Self { bar, stage: String::new(), said: Instant::now() })
    }

    /// So much of a stage is done.
    pub fn tell(&mut self, stage: &str, done: usize, of: usize) {
        let begins = self.stage != stage;
        if begins {
            stage.clone_into(&mut self.stage);
            self.bar.set_message(self.stage.clone());
            self.bar.reset();
        }
        self.bar.set_length(of as u64);
        self.bar.set_position(done as u64);
        if self.bar.is_hidden() && (begins || self.said.elapsed() >= SILENCE) {
            self.said = Instant::now();
            say::note(format_args!("{stage}: {done} of {of}"));
        }
    }

    /// Takes the bar away.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}

/// Seconds as hours, minutes and seconds.
fn clock(seconds: f64) -> String {
    let seconds = seconds as u64;
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(step: usize, loss: f64) -> Progress {
        Progress::Step { step, steps: 1000, loss, images_per_second: 2.0 }
    }

    #[test]
    fn lines_come_first_last_at_checkpoints_and_never_late() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut lines = Lines::new(4, 50);
        assert_eq!(
            lines.line(&Progress::Encoding { done: 0, pictures: 9 }, at(0)).unwrap(),
            "encoding pictures, once: 0 of 9"
        );
        assert_eq!(lines.line(&Progress::Encoding { done: 5, pictures: 9 }, at(9)), None);
        assert_eq!(
            lines.line(&step(1, 2.0), at(10)).unwrap(),
            "step 1 of 1000  loss 2.0000  smoothed 2.0000  2.0 images/s  0:33:18 left"
        );
        assert_eq!(lines.line(&step(2, 1.0), at(11)), None);
        assert!(lines.line(&step(50, 1.0), at(13)).unwrap().contains("smoothed 1.9025"));
        assert_eq!(lines.line(&step(100, 1.0), at(14)), None, "checkpoints follow one another");
        assert!(lines.line(&step(101, 1.0), at(44)).is_some());
        assert!(lines.line(&step(1000, 1.0), at(45)).unwrap().ends_with("0:00:00 left"));
    }
}
