//! Work on threads of its own. Whatever becomes of it, a panic or no thread at all, the window gets
//! an answer in words, and neither waits nor ends.

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, TryRecvError};
use std::thread;
use std::time::Duration;

use egui::Context;
use thiserror::Error;

use crate::fault::panic_line;

/// Called from other threads when there is something to take in.
#[derive(Clone)]
pub struct Wake(Arc<dyn Fn() + Send + Sync>);

impl Wake {
    /// A wake that calls `wake`.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(wake))
    }

    /// Says that there is something to take in.
    pub fn call(&self) {
        (self.0)();
    }
}

impl From<&Context> for Wake {
    /// Lets the window show a frame.
    fn from(ctx: &Context) -> Self {
        let ctx = ctx.clone();
        Self::new(move || ctx.request_repaint())
    }
}

impl Default for Wake {
    /// One for whom nobody sleeps.
    fn default() -> Self {
        Self::new(|| {})
    }
}

impl fmt::Debug for Wake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wake")
    }
}

/// Whether work is to end early.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks the work to end early.
    pub fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked to.
    pub fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// The same as a flag, for work below the studio.
    pub fn flag(&self) -> &AtomicBool {
        &self.0
    }
}

/// Why work has no result.
#[derive(Debug, Error)]
pub enum Broken {
    /// There was no thread to do it on.
    #[error("{}", no_thread(.0))]
    NoThread(io::Error),
    /// It panicked: what it said, in one line.
    #[error("{0}")]
    Panicked(String),
}

/// One piece of work on a thread of its own, with one result. Dropping it asks the work to end early.
#[derive(Debug)]
pub struct Task<T> {
    stop: Stop,
    result: Receiver<Result<T, Broken>>,
}

impl<T: Send + 'static> Task<T> {
    /// Does `work` on a thread called `name`, and calls `wake` when its result is there.
    pub fn start(name: &str, wake: Wake, work: impl FnOnce(&Stop) -> T + Send + 'static) -> Self {
        let (sender, result) = mpsc::channel();
        let stop = Stop::default();
        let (refused, theirs) = (sender.clone(), stop.clone());
        let run = move || {
            let done = guarded(|| work(&theirs)).map_err(Broken::Panicked);
            // A send fails only when nobody waits for it any more.
            let _ = sender.send(done);
            drop(sender);
            wake.call();
        };
        if let Err(error) = thread::Builder::new().name(name.to_owned()).spawn(run) {
            let _ = refused.send(Err(Broken::NoThread(error)));
        }
        Self { stop, result }
    }

    /// The result, once and as soon as it is there; never waits.
    pub fn poll(&self) -> Option<Result<T, Broken>> {
        match self.result.try_recv() {
            Ok(result) => Some(result),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err(Self::gone())),
        }
    }

    /// The result, waiting for it at most for `patience`.
    pub fn wait(&self, patience: Duration) -> Option<Result<T, Broken>> {
        match self.result.recv_timeout(patience) {
            Ok(result) => Some(result),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Err(Self::gone())),
        }
    }

    fn gone() -> Broken {
        Broken::Panicked("its thread is gone".to_owned())
    }

    /// What asks it to end early.
    pub fn stop(&self) -> &Stop {
        &self.stop
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.stop.ask();
    }
}

/// Does `work`.
///
/// # Errors
/// It panicked: what it said, in one line. What it was working on is in no state to be used.
pub fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| panic_line(panic.as_ref()).to_owned())
}

/// What to say where the system gave no thread.
pub fn no_thread(error: &io::Error) -> String {
    format!("Could not start a background thread ({error}): close other programs and try again.")
}

/// From now on panics of other threads than the program's first are not printed: the window says what
/// broke off, in its own words. The first thread's are still reported as before.
pub fn keep_panics_in_the_window() {
    let usual = take_hook();
    set_hook(Box::new(move |info| {
        let thread = thread::current();
        if thread.name() == Some("main") {
            usual(info);
        } else {
            let name = thread.name().unwrap_or("a thread").to_owned();
            tracing::debug!("{name} broke off: {info}");
        }
    }));
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::time::Instant;

    use super::*;
    use crate::studio::testing::fake::PATIENCE;

    #[test]
    fn what_breaks_off_is_said_in_one_line() {
        assert_eq!(guarded(|| 7), Ok(7));
        let broken = guarded(|| -> u8 { panic!("no memory\nfor cats") });
        assert_eq!(broken, Err("no memory".to_owned()));
    }

    #[test]
    fn a_task_has_one_result_and_wakes_whoever_waits_for_it() {
        let woken = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&woken);
        let wake = Wake::new(move || {
            counter.fetch_add(1, Ordering::SeqCst);
        });
        let task = Task::start("seven", wake, |_| 7);
        assert_eq!(task.wait(PATIENCE).unwrap().unwrap(), 7);
        let deadline = Instant::now() + PATIENCE;
        while woken.load(Ordering::SeqCst) == 0 {
            assert!(Instant::now() < deadline, "nobody was woken");
            thread::yield_now();
        }
        assert!(task.poll().unwrap().is_err(), "there is no second one");
    }

    #[test]
    fn a_panic_is_the_result_of_its_task() {
        let task = Task::start("unlucky", Wake::default(), |_| -> u8 { panic!("told\nto") });
        let Some(Err(Broken::Panicked(said))) = task.wait(PATIENCE) else { panic!("no answer") };
        assert_eq!(said, "told");
    }

    #[test]
    fn a_task_that_is_dropped_hears_of_it() {
        let (sender, heard) = mpsc::channel();
        let task = Task::start("endless", Wake::default(), move |stop: &Stop| {
            while !stop.is_asked() {
                thread::sleep(Duration::from_millis(1));
            }
            sender.send(()).unwrap();
        });
        assert!(task.poll().is_none());
        drop(task);
        heard.recv_timeout(PATIENCE).unwrap();
    }
}
