//! Batches that are made while the steps before them run.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

/// Finished batches that wait for their step, besides the one that is being made.
const WAITING: usize = 1;

type Make<T, E> = Arc<dyn Fn(usize) -> Result<T, E> + Send + Sync>;

/// What steps are made of, each a function of its step alone, made on a thread of its own ahead of the
/// step that asks for it. Whatever the timing, a step gets what it would have made itself.
pub struct Ahead<T, E> {
    make: Make<T, E>,
    /// Steps from here on are not made ahead.
    end: usize,
    /// The step in hand, which may ask more than once.
    held: Option<(usize, T)>,
    /// The step that comes out of the queue next.
    next: usize,
    queue: Option<Receiver<Result<T, E>>>,
}

impl<T: Send + 'static, E: Send + 'static> Ahead<T, E> {
    /// Nothing is made before the first step asks, and nothing ahead from step `end` on.
    pub fn new(end: usize, make: impl Fn(usize) -> Result<T, E> + Send + Sync + 'static) -> Self {
        Self { make: Arc::new(make), end, held: None, next: 0, queue: None }
    }

    /// What `step` is made of. Steps are expected to ask in their order; after a leap the queue begins
    /// again behind it.
    ///
    /// # Errors
    /// That of making it.
    pub fn of(&mut self, step: usize) -> Result<&T, E> {
        let made = match self.held.take() {
            Some((held, made)) if held == step => made,
            _ => self.take(step)?,
        };
        Ok(&self.held.insert((step, made)).1)
    }

    fn take(&mut self, step: usize) -> Result<T, E> {
        if self.queue.is_none() || self.next != step {
            self.queue = None;
            let made = (self.make)(step);
            self.begin(step + 1);
            return made;
        }
        self.next += 1;
        match self.queue.as_ref().and_then(|queue| queue.recv().ok()) {
            Some(made) => made,
            // It has come to its end, or its thread has panicked: then so does this one, where it is seen.
            None => (self.make)(step),
        }
    }

    fn begin(&mut self, first: usize) {
        self.next = first;
        if first >= self.end {
            return;
        }
        let (sender, receiver) = sync_channel(WAITING);
        let (make, end) = (Arc::clone(&self.make), self.end);
        let work = move || {
            // Ends early once nobody waits any more.
            let _ = (first..end).try_for_each(|step| sender.send(make(step)));
        };
        let begun = thread::Builder::new().name("purrscope-data".to_owned()).spawn(work);
        self.queue = begun.is_ok().then_some(receiver);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    type Numbers = Ahead<usize, usize>;

    #[test]
    fn steps_get_what_they_are_made_of_in_any_order() {
        let mut ahead = Numbers::new(10, |step| Ok(step * step));
        for step in [3, 4, 5, 9, 10, 11, 0, 1, 1, 2, 20, 5, 6] {
            assert_eq!(ahead.of(step), Ok(&(step * step)));
        }
    }

    #[test]
    fn a_step_that_cannot_be_made_says_so_whenever_it_asks() {
        let mut ahead = Numbers::new(10, |step| if step % 3 == 2 { Err(step) } else { Ok(step) });
        for step in [0, 1, 2, 2, 3, 4, 5] {
            assert_eq!(ahead.of(step), if step % 3 == 2 { Err(step) } else { Ok(&step) });
        }
    }

    /// Says on a channel which steps are made.
    fn telling(end: usize) -> (Numbers, Receiver<usize>) {
        let (told, made) = channel();
        let told = Mutex::new(told);
        let make = move |step| {
            let _ = told.lock().unwrap().send(step);
            Ok(step)
        };
        (Numbers::new(end, make), made)
    }

    #[test]
    fn the_next_steps_are_made_before_they_ask() {
        let (mut ahead, made) = telling(10);
        assert_eq!(ahead.of(0), Ok(&0));
        let made: Vec<usize> =
            (0..2 + WAITING).map(|_| made.recv_timeout(Duration::from_secs(60)).unwrap()).collect();
        assert_eq!(made, [0, 1, 2], "one waits, and one is made");
    }

    #[test]
    fn nothing_is_made_twice_or_beyond_the_end() {
        let (mut ahead, made) = telling(3);
        for step in [0, 0, 1, 1, 2] {
            assert_eq!(ahead.of(step), Ok(&step));
        }
        drop(ahead);
        // The channel closes once the thread has let go of it.
        assert_eq!(made.iter().collect::<Vec<_>>(), [0, 1, 2]);
    }

    #[test]
    fn a_step_whose_thread_has_panicked_is_made_by_the_one_who_asks() {
        let caller = thread::current().id();
        let mut ahead = Numbers::new(9, move |step| {
            assert!(step != 2 || thread::current().id() == caller, "not here");
            Ok(step)
        });
        for step in 0..5 {
            assert_eq!(ahead.of(step), Ok(&step));
        }
    }
}
