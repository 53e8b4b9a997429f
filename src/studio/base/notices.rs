//! What happened, in words.

use std::time::{Duration, Instant};

/// How bad a line of the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Something was done.
    Note,
    /// Something was done in part, or in another way than was asked.
    Warning,
    /// Something could not be done.
    Error,
}

/// What trouble is about: it goes off the screen once the same kind of thing works again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum About {
    /// Something that nothing else says is mended.
    #[default]
    Other,
    /// Opening files: models, settings, pictures.
    Opening,
    /// Files that were dropped with another one.
    Dropping,
    /// Writing files.
    Saving,
    /// Runs, and questions to the model.
    Computing,
    /// The gallery's folder.
    Gallery,
    /// Training.
    Training,
    /// Making a model file of a checkpoint.
    Importing,
    /// What is kept between sessions.
    Session,
}

/// A line of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// When it happened, since the window opened.
    pub at: Duration,
    /// How bad it is.
    pub level: Level,
    /// What it is about.
    pub about: About,
    /// What happened.
    pub text: String,
}

/// What happened, in words: a log, of which the newest trouble is also shown as a banner.
#[derive(Debug)]
pub struct Notices {
    opened: Instant,
    /// Everything, oldest first.
    pub log: Vec<Entry>,
    /// What the banner says, until it is dismissed or what it is about works again; a note also goes
    /// by itself.
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

    fn write(&mut self, level: Level, about: About, text: String) -> Entry {
        if self.log.len() == Self::KEPT {
            self.log.remove(0);
        }
        let entry = Entry { at: self.opened.elapsed(), level, about, text };
        self.log.push(entry.clone());
        entry
    }

    /// Writes a note to the log.
    pub fn note(&mut self, text: impl Into<String>) {
        self.write(Level::Note, About::Other, text.into());
    }

    /// Writes a note to the log and shows it.
    pub fn tell(&mut self, text: impl Into<String>) {
        self.banner = Some(self.write(Level::Note, About::Other, text.into()));
    }

    /// Writes to the log what was not done as asked, and shows it.
    pub fn warn(&mut self, about: About, text: impl Into<String>) {
        self.banner = Some(self.write(Level::Warning, about, text.into()));
    }

    /// Writes to the log what went otherwise than was asked, without showing it.
    pub fn warn_quietly(&mut self, text: impl Into<String>) {
        self.write(Level::Warning, About::Other, text.into());
    }

    /// Writes trouble to the log and shows it until it is dismissed.
    pub fn error(&mut self, text: impl Into<String>) {
        self.error_about(About::Other, text);
    }

    /// Writes trouble to the log and shows it until it is dismissed, or [`Notices::settled`].
    pub fn error_about(&mut self, about: About, text: impl Into<String>) {
        self.banner = Some(self.write(Level::Error, about, text.into()));
    }

    /// Takes trouble about something off the screen, which has just gone well. The log keeps it.
    pub fn settled(&mut self, about: About) {
        let over = |entry: &Entry| entry.level != Level::Note && entry.about == about;
        if about != About::Other && self.banner.as_ref().is_some_and(over) {
            self.banner = None;
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_stays_until_the_same_kind_of_thing_works() {
        let mut notices = Notices::default();
        notices.error_about(About::Opening, "half.png is no picture.");
        notices.settled(About::Computing);
        assert!(notices.banner.is_some());
        notices.settled(About::Opening);
        assert!(notices.banner.is_none());
        assert_eq!(notices.log.len(), 1);
        notices.error("The cat is gone.");
        notices.settled(About::Other);
        assert!(notices.banner.is_some(), "nothing says that this is mended");
        notices.tell("Saved cat.png.");
        notices.settled(About::Saving);
        assert!(notices.banner.is_some(), "what was done stays for its time");
    }
}
