//! Saying things on standard output and standard error, of which the reader may have gone and the disk
//! may be full: nothing here panics, and nothing that a file says reaches a terminal as a command.

use std::borrow::Cow;
use std::fmt::{Display, Write as _};
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

/// Whether a character would do something to a terminal or to the order of a line instead of being seen.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// `text` with every character of which `acts` holds, but for those in `kept`, written as JSON writes
/// it, such as `\u001b`: so that JSON stays JSON.
fn escaped<'a>(text: &'a str, kept: &[char]) -> Cow<'a, str> {
    let harmful = |c: char| acts(c) && !kept.contains(&c);
    if !text.contains(harmful) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if harmful(c) {
            // Writing to a text cannot fail.
            let _ = write!(shown, "\\u{:04x}", u32::from(c));
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// A number of things: `1 picture`, `2 pictures`, `2 classes`, `2 entries`.
pub fn count(number: usize, what: &str) -> String {
    let vowel_before_y = ["ay", "ey", "oy", "uy"].iter().any(|end| what.ends_with(end));
    match what.strip_suffix('y') {
        _ if number == 1 => format!("1 {what}"),
        Some(stem) if !vowel_before_y => format!("{number} {stem}ies"),
        _ if what.ends_with('s') => format!("{number} {what}es"),
        _ => format!("{number} {what}s"),
    }
}

/// Some names of `count` things, parted by commas, or by semicolons where a name has commas of its own.
pub fn joined(named: &[String], count: usize) -> String {
    let between = if named.iter().any(|name| name.contains([',', ';'])) { "; " } else { ", " };
    let named_here = named.join(between);
    match count.saturating_sub(named.len()) {
        0 => named_here,
        more => format!("{named_here} and {more} more"),
    }
}

/// A few names, and how many there are besides.
pub fn list(names: &[String]) -> String {
    const MOST: usize = 8;
    let shown: Vec<String> =
        names.iter().take(MOST).map(|name| name.escape_debug().to_string()).collect();
    joined(&shown, names.len())
}

/// A text from a file or a command line as one line that can be shown anywhere.
pub fn line(text: &str) -> Cow<'_, str> {
    escaped(text, &[])
}

/// Writes `text`, which brings its own ends of lines, to standard output. A reader that has gone away
/// is no error.
///
/// # Errors
/// Whatever else the system says, a full disk above all.
pub fn out(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    let written = stdout
        .write_all(escaped(text, &['\n', '\t']).as_bytes())
        // A full disk is noticed here, not when the program has ended.
        .and_then(|()| stdout.flush());
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

/// Writes one line to standard error. Where that cannot be done there is nobody to tell.
pub fn note(text: impl Display) {
    let text = text.to_string();
    let _ = writeln!(io::stderr().lock(), "{}", line(&text));
}

/// Standard error for lines of a log, each written in one piece.
#[derive(Debug, Clone, Copy)]
pub struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        note(String::from_utf8_lossy(bytes).trim_end_matches('\n'));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Warnings that nobody has [taken](warnings) yet.
static WARNINGS: Mutex<Vec<String>> = Mutex::new(Vec::new());
/// More than this many at a time are of no use to anyone.
const MOST_WARNINGS: usize = 64;

/// Takes the warnings of the log since the last time, for those who do not see standard error.
pub fn warnings() -> Vec<String> {
    std::mem::take(&mut WARNINGS.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Where lines of a log are kept for [`warnings`], each written in one piece.
#[derive(Debug, Clone, Copy)]
pub struct Kept;

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut kept = WARNINGS.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < MOST_WARNINGS {
            kept.push(line(String::from_utf8_lossy(bytes).trim()).into_owned());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_shortened() {
        let names: Vec<String> = (0..10).map(|i| i.to_string()).collect();
        assert_eq!(list(&names), "0, 1, 2, 3, 4, 5, 6, 7 and 2 more");
        assert_eq!(list(&names[..2]), "0, 1");
        let names = ["a", "birds, large", "c"].map(str::to_owned);
        assert_eq!(list(&names), "a; birds, large; c");
    }

    #[test]
    fn numbers_of_things_agree_with_them() {
        for (number, what, said) in [
            (0, "picture", "0 pictures"),
            (1, "picture", "1 picture"),
            (2, "class", "2 classes"),
            (3, "entry", "3 entries"),
            (2, "day", "2 days"),
        ] {
            assert_eq!(count(number, what), said);
        }
    }

    #[test]
    fn warnings_are_kept_until_they_are_taken() {
        writeln!(Kept, "  a\x1b[2J warning").unwrap();
        assert_eq!(warnings(), ["a\\u001b[2J warning"]);
        (0..2 * MOST_WARNINGS).for_each(|_| writeln!(Kept, "again").unwrap());
        assert_eq!((warnings().len(), warnings().len()), (MOST_WARNINGS, 0));
    }

    #[test]
    fn what_would_act_on_a_terminal_is_written_out() {
        assert_eq!(line("a\x1b[2J\x07b"), "a\\u001b[2J\\u0007b");
        assert_eq!(line("\u{9b}31m\u{202e}cod.exe\r\n"), "\\u009b31m\\u202ecod.exe\\u000d\\u000a");
        assert_eq!(line("猫 é ق – \u{1f408}"), "猫 é ق – \u{1f408}");
        assert_eq!(escaped("{\n\t\"a\": \"\x7f\"\n}", &['\n', '\t']), "{\n\t\"a\": \"\\u007f\"\n}");
    }

    #[test]
    fn escaped_json_means_the_same() {
        let text = serde_json::to_string("\u{7f}\u{9b}\u{2028}").unwrap();
        let back: String = serde_json::from_str(&escaped(&text, &['\n'])).unwrap();
        assert_eq!(back, "\u{7f}\u{9b}\u{2028}");
    }
}
