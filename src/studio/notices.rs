//! What happened, for people.

use std::time::{Duration, Instant};

/// How bad a line of the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Something was done.
    Note,
    /// Something could not be done.
    Error,
}

/// A line of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// When it happened, since the window opened.
    pub at: Duration,
    /// How bad it is.
    pub level: Level,
    /// What happened.
    pub text: String,
}

/// What happened, for people: a log, of which the newest trouble is also shown as a banner.
#[derive(Debug)]
pub struct Notices {
    opened: Instant,
    /// Everything, oldest first.
    pub log: Vec<Entry>,
    /// What the banner says, until it is dismissed; a note also goes by itself.
    pub banner: Option<Entry>,
}

impl Default for Notices {
    fn default() -> Self {
        Self { opened: Instant::now(), log: Vec::new(), banner: None }
    }
}

impl Notices {
    const KEPT: usize = 500;
    /// How long the banner shows a note.
    const SHOWN: Duration = Duration::from_secs(6);

    fn write(&mut self, level: Level, text: String) -> Entry {
        if self.log.len() == Self::KEPT {
            self.log.remove(0);
        }
        let entry = Entry { at: self.opened.elapsed(), level, text };
        self.log.push(entry.clone());
        entry
    }

    /// Writes a note to the log.
    pub fn note(&mut self, text: impl Into<String>) {
        self.write(Level::Note, text.into());
    }

    /// Writes a note to the log and shows it.
    pub fn tell(&mut self, text: impl Into<String>) {
        self.banner = Some(self.write(Level::Note, text.into()));
    }

    /// Writes trouble to the log and shows it.
    pub fn error(&mut self, text: impl Into<String>) {
        self.banner = Some(self.write(Level::Error, text.into()));
    }

    /// Takes away a note that was shown long enough; says how long one that is shown has left.
    pub fn expire(&mut self) -> Option<Duration> {
        let note = self.banner.as_ref().filter(|entry| entry.level == Level::Note)?;
        let left = (note.at + Self::SHOWN).checked_sub(self.opened.elapsed());
        if left.is_none() {
            self.banner = None;
        }
        left
    }
}
