//! Work in the background that has a title, gets on, and can be cancelled.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::notices::About;
use super::worker::{Broken, Stop, Task, Wake};

/// What came of a job; a job that looks for something may have found a `T`.
#[derive(Debug)]
pub enum Outcome<T> {
    /// Something was done; what, in words.
    Done(String),
    /// Something was found that the window goes on with.
    Found(T),
    /// Something was done of which nobody need be told.
    Quiet,
    /// It was cancelled, and left nothing behind.
    Cancelled,
    /// Something could not be done; what, in words.
    Failed(String),
}

/// The job's own view of itself.
#[derive(Debug, Clone)]
pub struct Progress {
    /// Bits of an f32 in `[0, 1]`.
    part: Arc<AtomicU32>,
    stop: Stop,
    wake: Wake,
}

impl Progress {
    /// Says how much is done, from 0 to 1.
    pub fn reach(&self, part: f32) {
        self.part.store(part.clamp(0.0, 1.0).to_bits(), Ordering::Relaxed);
        self.wake.call();
    }

    /// Says that it has changed something that the window waits for.
    pub fn stir(&self) {
        self.wake.call();
    }

    /// Whether it is to end early and leave nothing behind.
    pub fn is_cancelled(&self) -> bool {
        self.stop.is_asked()
    }

    /// The same as a flag, for work below the studio.
    pub fn stop(&self) -> &AtomicBool {
        self.stop.flag()
    }
}

/// A job that has not ended.
#[derive(Debug)]
pub struct Job<T> {
    /// Its number.
    pub id: u64,
    /// What it does, in words.
    pub title: String,
    /// What kind of work it is.
    pub about: About,
    begun: Instant,
    part: Arc<AtomicU32>,
    task: Task<Outcome<T>>,
}

impl<T: Send + 'static> Job<T> {
    /// How much is done, from 0 to 1.
    pub fn part(&self) -> f32 {
        f32::from_bits(self.part.load(Ordering::Relaxed))
    }

    /// Lets it end early.
    pub fn cancel(&self) {
        self.task.stop().ask();
    }

    /// Whether it is about to end early.
    pub fn is_cancelled(&self) -> bool {
        self.task.stop().is_asked()
    }

    /// What came of it, once that is there.
    fn outcome(&self) -> Option<Outcome<T>> {
        Some(self.task.poll()?.unwrap_or_else(|broken| {
            Outcome::Failed(match broken {
                Broken::NoThread(_) => broken.to_string(),
                Broken::Panicked(reason) => {
                    format!("{} failed ({reason}). Please try again.", self.title)
                }
            })
        }))
    }
}

/// The jobs that have not ended, each on a thread of its own.
#[derive(Debug)]
pub struct Jobs<T: Send + 'static> {
    jobs: Vec<Job<T>>,
    begun: u64,
    wake: Wake,
}

impl<T: Send + 'static> Default for Jobs<T> {
    fn default() -> Self {
        Self { jobs: Vec::new(), begun: 0, wake: Wake::default() }
    }
}

impl<T: Send + 'static> Jobs<T> {
    /// A job shorter than this is not shown: it would only flicker.
    pub const SHOWN_AFTER: Duration = Duration::from_millis(300);

    /// How long the end of the window waits for its jobs.
    const PATIENCE: Duration = Duration::from_millis(500);

    /// From now on jobs call `wake` as they get on.
    pub fn set_wake(&mut self, wake: Wake) {
        self.wake = wake;
    }

    /// What jobs call as they get on.
    pub fn wake(&self) -> &Wake {
        &self.wake
    }

    /// Starts a job that writes something.
    pub fn start(
        &mut self,
        title: impl Into<String>,
        work: impl FnOnce(&Progress) -> Outcome<T> + Send + 'static,
    ) {
        self.start_about(About::Saving, title, work);
    }

    /// Starts a job of any kind. However it ends, by a panic or for want of a thread, there is one
    /// outcome of it.
    pub fn start_about(
        &mut self,
        about: About,
        title: impl Into<String>,
        work: impl FnOnce(&Progress) -> Outcome<T> + Send + 'static,
    ) {
        let part = Arc::new(AtomicU32::default());
        let (theirs, wake) = (Arc::clone(&part), self.wake.clone());
        let task = Task::start("purrscope-job", self.wake.clone(), move |stop: &Stop| {
            work(&Progress { part: theirs, stop: stop.clone(), wake })
        });
        self.begun += 1;
        let (id, title, begun) = (self.begun, title.into(), Instant::now());
        self.jobs.push(Job { id, title, about, begun, part, task });
    }

    /// What has ended since the last call, in the order in which it began, with what it was about.
    pub fn ended(&mut self) -> Vec<(About, Outcome<T>)> {
        let mut outcomes = Vec::new();
        self.jobs.retain(|job| {
            let outcome = job.outcome();
            let goes_on = outcome.is_none();
            outcomes.extend(outcome.map(|outcome| (job.about, outcome)));
            goes_on
        });
        outcomes
    }

    /// The jobs that have not ended.
    pub fn all(&self) -> &[Job<T>] {
        &self.jobs
    }

    /// Those that have gone on for long enough to be shown, and how long until there is another.
    pub fn shown(&self) -> (Vec<&Job<T>>, Option<Duration>) {
        let left = |job: &Job<T>| Self::SHOWN_AFTER.checked_sub(job.begun.elapsed());
        let wait = self.jobs.iter().filter_map(left).min();
        (self.jobs.iter().filter(|job| left(job).is_none()).collect(), wait)
    }
}

impl<T: Send + 'static> Drop for Jobs<T> {
    /// Lets every job clear away what it has begun; one that waits for a person is not waited for.
    fn drop(&mut self) {
        let deadline = Instant::now() + Self::PATIENCE;
        self.jobs.iter().for_each(Job::cancel);
        for job in &self.jobs {
            // Whatever came of it, there is nobody left to tell.
            let _ = job.task.wait(deadline.saturating_duration_since(Instant::now()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;
    use crate::studio::testing::fake::PATIENCE;

    fn wait(jobs: &mut Jobs<()>) -> Vec<Outcome<()>> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let ended = jobs.ended();
            if !ended.is_empty() {
                return ended.into_iter().map(|(_, outcome)| outcome).collect();
            }
            assert!(Instant::now() < deadline, "it never ended");
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn a_job_gets_on_and_ends_once() {
        let mut jobs = Jobs::<()>::default();
        let gate = Arc::new(Barrier::new(2));
        let theirs = Arc::clone(&gate);
        jobs.start("Half of it", move |progress| {
            progress.reach(0.5);
            theirs.wait();
            theirs.wait();
            Outcome::Done("all of it".to_owned())
        });
        gate.wait();
        assert_eq!(jobs.all()[0].part(), 0.5);
        assert!(jobs.ended().is_empty() && jobs.shown().1.is_some());
        gate.wait();
        assert!(matches!(&wait(&mut jobs)[..], [Outcome::Done(text)] if text == "all of it"));
        assert!(jobs.all().is_empty() && jobs.ended().is_empty());
    }

    #[test]
    fn a_cancelled_job_hears_of_it() {
        let mut jobs = Jobs::<()>::default();
        jobs.start("Endless", |progress| {
            while !progress.is_cancelled() {
                thread::sleep(Duration::from_millis(1));
            }
            Outcome::Cancelled
        });
        jobs.all()[0].cancel();
        assert!(matches!(wait(&mut jobs)[..], [Outcome::Cancelled]));
    }

    #[test]
    fn the_end_of_the_window_waits_until_jobs_have_cleared_away() {
        let mut jobs = Jobs::<()>::default();
        let cleared = Arc::new(AtomicBool::new(false));
        let theirs = Arc::clone(&cleared);
        jobs.start("Endless", move |progress| {
            while !progress.is_cancelled() {
                thread::sleep(Duration::from_millis(1));
            }
            theirs.store(true, Ordering::SeqCst);
            Outcome::Cancelled
        });
        drop(jobs);
        assert!(cleared.load(Ordering::SeqCst));
    }

    #[test]
    fn a_job_that_panics_is_named() {
        let mut jobs = Jobs::<()>::default();
        jobs.start("The unlucky one", |_| panic!("told to"));
        let ended = wait(&mut jobs);
        let [Outcome::Failed(text)] = &ended[..] else { panic!("{ended:?}") };
        assert!(text.contains("unlucky") && text.contains("told to"), "{text}");
    }
}
