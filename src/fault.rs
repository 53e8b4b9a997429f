//! Panics of this program, which are faults of its own: kept quiet where they happen, and told in one
//! line where they end it.

use std::any::Any;
use std::backtrace::Backtrace;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::sync::{Mutex, PoisonError};

use crate::say;

/// More than this many are of no use to anyone.
const MOST_NOTED: usize = 16;

/// What panics said, and where they happened.
static NOTED: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());

/// From now on a panic prints nothing, unless the log is asked for details (`RUST_LOG=debug`): whatever
/// catches it reports it, with [`describe`] or in the window.
pub fn listen() {
    set_hook(Box::new(|info| {
        let place = info.location().map(|place| format!("{}:{}", place.file(), place.line()));
        let (text, place) = (panic_text(info.payload()).to_owned(), place.unwrap_or_default());
        if tracing::enabled!(tracing::Level::DEBUG) {
            let trace = format!("a panic at {place}: {text}\n{}", Backtrace::force_capture());
            trace.lines().for_each(say::note);
        }
        let mut noted = NOTED.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.len() < MOST_NOTED {
            noted.push((text, place));
        }
    }));
}

/// What a panic says.
pub fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no reason was given")
}

/// The first line of what a panic says.
pub fn panic_line(panic: &(dyn Any + Send)) -> &str {
    panic_text(panic).lines().next().unwrap_or_default()
}

/// A panic in one readable line, with the place where it happened if it was noted.
pub fn describe(panic: &(dyn Any + Send)) -> String {
    let text = panic_text(panic);
    let noted = NOTED.lock().unwrap_or_else(PoisonError::into_inner);
    let place = noted.iter().rev().find(|(said, _)| said == text);
    let place = place.map_or_else(String::new, |(_, place)| format!(" ({place})"));
    let text = text.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    format!(
        "this is a fault of Purrscope's own: {text}{place}; please report it, with the command that \
         you gave"
    )
}

/// Does some work; where it panics, as burn does when a device refuses something, gives the first line
/// of what the panic says.
pub(crate) fn attempt<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| panic_line(panic.as_ref()).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_its_first_line() {
        assert_eq!(attempt(|| 3), Ok(3));
        assert_eq!(attempt(|| panic!("one\ntwo")), Err::<(), _>("one".to_owned()));
    }

    #[test]
    fn a_panic_is_told_in_one_line() {
        let panic = std::panic::catch_unwind(|| panic!("one\n  and two")).unwrap_err();
        let text = describe(panic.as_ref());
        assert!(text.contains("one and two") && !text.contains('\n'), "{text}");
    }
}
