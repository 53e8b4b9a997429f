//! A run of training on a thread of its own.
//!
//! burn keys its streams by OS thread, so that training and the pictures of the studio never wait in
//! one line. The thread ends with the program; what was trained since the last checkpoint is then lost,
//! and nothing else, as when the command line is killed.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use super::plan::Plan;
use crate::device::{self, DeviceChoice};
use crate::fault::panic_line;
use crate::train::{self, Ending, Progress, RunConfig, TrainError};

/// What the thread tells.
#[derive(Debug)]
enum News {
    /// The device that it trains on.
    Device(String),
    /// Of a stage, counted from 0.
    Progress(usize, Progress),
    Ended(Result<(Ending, PathBuf), String>),
}

/// A run in progress. Dropping it asks the run to stop.
#[derive(Debug)]
pub struct Job {
    /// What is run.
    pub plan: Arc<Plan>,
    /// Whether it began from its checkpoint.
    pub resumed: bool,
    /// The device that it trains on, once that is open.
    pub device: Option<String>,
    /// The stage in hand, counted from 0.
    pub stage: usize,
    /// The newest progress.
    pub progress: Option<Progress>,
    stop: Arc<AtomicBool>,
    news: Receiver<News>,
}

impl Job {
    /// Stack of the thread: as much as a program's first thread has.
    const STACK: usize = 8 << 20;

    /// Starts or resumes a run; `wake` is called on its thread after each step.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn start(
        plan: Arc<Plan>,
        resume: bool,
        choice: DeviceChoice,
        wake: impl Fn() + Send + 'static,
    ) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (sender, news) = mpsc::channel();
        let (stages, asked) = (plan.stages.clone(), Arc::clone(&stop));
        let train = move || {
            let tell = |what| {
                // A send fails only when the window has gone; the run then stops by itself.
                let _ = sender.send(what);
                wake();
            };
            let work = || {
                // A device of its own: on a GPU the window's queue stays free.
                let selected = device::select(choice).map_err(|error| error.to_string())?;
                tell(News::Device(selected.description));
                let mut watch = |stage, progress: &Progress| {
                    tell(News::Progress(stage, progress.clone()));
                };
                match train::run_stages(&stages, resume, &selected.device, &asked, &mut watch) {
                    Err(TrainError::Interrupted) => Ok((Ending::Stopped, stages[0].out.clone())),
                    ended => ended.map_err(|error| error.to_string()),
                }
            };
            // What a panic leaves half done is dropped with this thread.
            let ended = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
                Err(format!(
                    "the training failed ({}); its last checkpoint is whole",
                    panic_line(panic.as_ref())
                ))
            });
            tell(News::Ended(ended));
        };
        thread::Builder::new()
            .name("purrscope-training".to_owned())
            .stack_size(Self::STACK)
            .spawn(train)?;
        let (device, stage, progress) = (None, 0, None);
        Ok(Self { plan, resumed: resume, device, stage, progress, stop, news })
    }

    /// Asks the run to save itself after the step in hand, and to end.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked to stop.
    pub fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Takes in what the thread told; how it ended, if it has.
    pub fn receive(&mut self) -> Option<Result<(Ending, PathBuf), String>> {
        loop {
            match self.news.try_recv() {
                Ok(News::Device(device)) => self.device = Some(device),
                Ok(News::Progress(stage, progress)) => {
                    (self.stage, self.progress) = (stage, Some(progress));
                }
                Ok(News::Ended(ended)) => return Some(ended),
                Err(mpsc::TryRecvError::Empty) => return None,
                Err(mpsc::TryRecvError::Disconnected) => {
                    return Some(Err("the training thread is gone".to_owned()));
                }
            }
        }
    }

    /// The run that is in hand.
    pub fn run(&self) -> &RunConfig {
        &self.plan.stages[self.stage]
    }

    /// How much of the stage in hand is done, from 0 to 1.
    pub fn part(&self) -> f32 {
        let (done, all) = match self.progress {
            Some(Progress::Step { step, steps, .. }) => (step, steps),
            Some(Progress::Encoding { done, pictures }) => (done, pictures),
            None => (0, 1),
        };
        done as f32 / all.max(1) as f32
    }

    /// Time that the rest of the stage will take at the present pace.
    pub fn left(&self) -> Option<Duration> {
        let Some(Progress::Step { step, steps, images_per_second, .. }) = self.progress else {
            return None;
        };
        let images = (steps.saturating_sub(step) * self.run().batch) as f64;
        Duration::try_from_secs_f64(images / images_per_second.max(1e-6)).ok()
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.stop();
    }
}
