//! What the studio's threads have in common: a panic on one of them is told in words to whoever waits
//! for it, and ends neither the thread nor the program.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};

use crate::studio::engine::panic_line;

/// Does `work`.
///
/// # Errors
/// It panicked: what it said, in one line. What it was working on is in no state to be used.
pub fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| panic_line(panic.as_ref()).to_owned())
}

/// What to say where the system gave no thread.
pub fn no_thread(error: &io::Error) -> String {
    format!("The system has no thread left for this ({error}): close something and try again.")
}

/// From now on panics of other threads than the program's first are not printed: the window says what
/// broke off, in its own words. The first thread's are still reported as before.
pub fn keep_panics_in_the_window() {
    let usual = take_hook();
    set_hook(Box::new(move |info| {
        let thread = std::thread::current();
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
    use super::*;

    #[test]
    fn what_breaks_off_is_said_in_one_line() {
        assert_eq!(guarded(|| 7), Ok(7));
        let broken = guarded(|| -> u8 { panic!("no memory\nfor cats") });
        assert_eq!(broken, Err("no memory".to_owned()));
    }
}
