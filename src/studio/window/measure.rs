//! The studio measuring itself: it generates all the while, closes, and leaves how long its frames took.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use egui::{Context, ViewportCommand};

use super::frames::{FrameFigures, resident_memory};
use super::shell::Shell;
use crate::bench::{Outcome, Part, Row};

static STARTED: OnceLock<Instant> = OnceLock::new();

/// Takes note of the moment at which the program started.
pub fn mark_start() {
    let _ = STARTED.set(Instant::now());
}

/// Time since the program started.
fn since_start() -> Duration {
    STARTED.get().map_or(Duration::ZERO, Instant::elapsed)
}

/// A measurement that is asked for, and the place for what it finds.
#[derive(Debug, Clone)]
pub struct Order {
    lasts: Duration,
    found: Arc<OnceLock<Found>>,
}

impl Order {
    /// A measurement of frames for that long, from the first picture on.
    pub fn new(lasts: Duration) -> Self {
        Self { lasts, found: Arc::default() }
    }

    /// What was found; nothing where the window was closed before the end.
    pub fn found(&self) -> Option<&Found> {
        self.found.get()
    }
}

/// What a measurement found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The device that the pictures were computed on.
    pub device: String,
    interface: Option<FrameFigures>,
    whole: Option<FrameFigures>,
    first_picture: Duration,
    memory: Option<u64>,
    runs: usize,
}

impl Found {
    /// The same as rows of a benchmark.
    pub fn rows(&self) -> Vec<Row> {
        let frames = |frames: Option<FrameFigures>| match frames {
            Some(FrameFigures { count, median, p99, worst }) => Outcome::of_figures([
                ("median_ms", f64::from(median)),
                ("p99_ms", f64::from(p99)),
                ("longest_ms", f64::from(worst)),
                ("frames", count as f64),
            ]),
            None => Outcome::Failed { reason: "no frame was shown".to_owned() },
        };
        let memory = match self.memory {
            Some(bytes) => Outcome::of_figures([
                ("resident_memory_bytes", bytes as f64),
                ("runs", self.runs as f64),
            ]),
            None => Outcome::Skipped { reason: "the system does not tell".to_owned() },
        };
        let first =
            Outcome::of_figures([("first_picture_seconds", self.first_picture.as_secs_f64())]);
        let row = |name: &str, outcome| Row { part: Part::Studio, name: name.to_owned(), outcome };
        vec![
            row("interface work of a frame", frames(self.interface)),
            row("a frame with drawing", frames(self.whole)),
            row("first picture after start", first),
            row("memory at the end", memory),
        ]
    }
}

/// A measurement in progress.
#[derive(Debug)]
pub struct Measurement {
    order: Order,
    /// When the first picture was there; frames count from then on.
    first_picture: Option<Duration>,
    began: Instant,
    runs: usize,
}

impl Measurement {
    /// A measurement as it was asked for.
    pub fn new(order: Order) -> Self {
        Self { order, first_picture: None, began: Instant::now(), runs: 0 }
    }

    /// Once a frame: keeps a run going and the window busy, and closes it at the end.
    pub fn step(&mut self, ctx: &Context, shell: &mut Shell) {
        let Shell { studio, frames: interface, drawn: whole, .. } = shell;
        let session = &mut studio.session;
        ctx.request_repaint();
        if self.first_picture.is_none() {
            if session.has_pictures() {
                self.first_picture = Some(since_start());
                self.began = Instant::now();
                interface.clear();
                whole.clear();
            }
            return;
        }
        if session.active.is_none() && session.model.is_some() {
            self.runs += 1;
            session.generate();
        }
        if self.began.elapsed() >= self.order.lasts {
            self.order.found.get_or_init(|| Found {
                device: session
                    .model
                    .as_ref()
                    .map(|model| model.device.clone())
                    .unwrap_or_default(),
                interface: interface.figures(),
                whole: whole.figures(),
                first_picture: self.first_picture.unwrap_or_default(),
                memory: resident_memory(),
                runs: self.runs,
            });
            ctx.send_viewport_cmd(ViewportCommand::Close);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_becomes_rows_with_units() {
        let frame = FrameFigures { count: 90, median: 1.5, p99: 3.0, worst: 4.0 };
        let found = Found {
            device: "cpu".to_owned(),
            interface: Some(frame),
            whole: None,
            first_picture: Duration::from_millis(750),
            memory: Some(2_000_000),
            runs: 4,
        };
        let rows = found.rows();
        let json = serde_json::to_value(&rows).unwrap();
        assert_eq!((&json[0]["median_ms"], &json[0]["frames"]), (&1.5.into(), &90.0.into()));
        assert!(rows[1].is_failure(), "a window that shows nothing was not measured");
        assert_eq!(json[2]["first_picture_seconds"], 0.75);
        assert_eq!(json[3]["resident_memory_bytes"], 2e6);
        assert!(rows[0].to_string().contains("median 1.50 ms  p99 3.00 ms  longest 4.00 ms"));
    }
}
