//! The studio measuring itself: `purrscope --measure SECONDS` generates all the while, then says how
//! long its frames took.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use egui::{Context, ViewportCommand};

use super::frames::{FrameFigures, FrameTimes, resident_memory};
use super::shell::Shell;
use crate::say;

static STARTED: OnceLock<Instant> = OnceLock::new();

/// Takes note of the moment at which the program started.
pub fn mark_start() {
    let _ = STARTED.set(Instant::now());
}

/// Time since the program started.
fn since_start() -> Duration {
    STARTED.get().map_or(Duration::ZERO, Instant::elapsed)
}

/// A measurement in progress.
#[derive(Debug)]
pub struct Measurement {
    lasts: Duration,
    /// When the first picture was there; frames count from then on.
    first_picture: Option<Duration>,
    began: Instant,
    runs: usize,
    said: bool,
}

impl Measurement {
    /// A measurement of frames for so long, from the first picture on.
    pub fn new(lasts: Duration) -> Self {
        Self { lasts, first_picture: None, began: Instant::now(), runs: 0, said: false }
    }

    /// Once a frame: keeps a run going and the window busy, and ends with a report.
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
        if self.began.elapsed() >= self.lasts && !self.said {
            self.said = true;
            // Where nobody listens there is nothing to say.
            let _ = say::out(&(self.report(interface, whole) + "\n"));
            ctx.send_viewport_cmd(ViewportCommand::Close);
        }
    }

    fn report(&self, interface: &FrameTimes, whole: &FrameTimes) -> String {
        let line = |name: &str, figures: Option<FrameFigures>| match figures {
            Some(FrameFigures { count, median, p99, worst }) => format!(
                "{name:<34} median {median:6.2} ms   99 % {p99:6.2} ms   longest {worst:6.2} ms   \
                 ({count} frames)\n"
            ),
            None => format!("{name:<34} no frame was shown\n"),
        };
        let first = self.first_picture.unwrap_or_default();
        let memory = resident_memory().map_or_else(
            || "unknown".to_owned(),
            |bytes| format!("{:.0} MB", bytes as f64 / f64::from(1 << 20)),
        );
        line("interface work a frame", interface.figures())
            + &line("a frame with drawing", whole.figures())
            + &format!("{:<34} {:.2} s\n", "first picture after start", first.as_secs_f64())
            + &format!("{:<34} {memory} after {} runs", "memory", self.runs)
    }
}
