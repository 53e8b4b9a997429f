//! What is kept between sessions, in one file: the settings on the controls, presets, the layout, recent
//! files, and where the window was.
//!
//! Whatever the file says, what comes out of here can be used: a part that cannot is as at a first
//! start, the rest is kept, and the window says so once. The file is written whole or not at all, on a
//! thread of its own; where it cannot be written, the session goes on and the window says so.

mod mend;
mod place;
mod ron;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::place::Place;
use super::dock::Dock;
use crate::io::atomic;
use crate::studio::base::notices::{About, Notices};
use crate::studio::base::worker::{Task, Wake};
use crate::studio::session::draft::Draft;
use crate::studio::session::look::Look;
use crate::studio::session::playback::Playback;
use crate::studio::session::presets::Presets;
use crate::studio::window::scale::Scale;

/// Where the layout and the settings are in the file; a new format takes a new key.
const STUDIO: &str = "purrscope-studio-2";
/// Where the window's place is in the file.
const WINDOW: &str = "window";
/// Most bytes of the file: thousands of pins take less.
const LARGEST: u64 = 4 << 20;
/// How long the end of the window waits for the file to be written.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is kept between sessions.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Kept {
    /// The settings on the controls.
    pub draft: Draft,
    /// Named ways of making pictures.
    pub presets: Presets,
    /// How the canvas is looked at.
    pub canvas: Look,
    /// How the timeline plays.
    pub playback: Playback,
    /// Whether the light theme is chosen.
    pub light: bool,
    /// The places of the panes.
    pub dock: Dock,
    /// Files that were opened, newest first.
    pub recent: Vec<PathBuf>,
    /// Run files of training, newest first.
    pub run_files: Vec<PathBuf>,
    /// Whether the hint of a first start was read.
    pub greeted: bool,
    /// Scale of the interface.
    pub scale: Scale,
}

impl Kept {
    /// Most files of a list that is remembered.
    const FILES: usize = 32;

    /// Puts what cannot be used back to what can; gives the names of what was not as it had to be.
    fn tidy(&mut self) -> Vec<&'static str> {
        let draft = self.draft.clone();
        self.draft.tidy();
        let mut changed = vec![
            ("draft", self.draft != draft),
            ("presets", self.presets.tidy()),
            ("canvas", self.canvas.tidy()),
            ("playback", self.playback.tidy()),
            ("dock", self.dock.tidy()),
        ];
        for files in [&mut self.recent, &mut self.run_files] {
            changed.push(("recent", files.len() > Self::FILES));
            files.truncate(Self::FILES);
        }
        changed.push(("scale", self.scale.tidy()));
        changed.into_iter().filter(|(_, changed)| *changed).map(|(name, _)| name).collect()
    }
}

/// What people call a part of the file.
fn called(part: &str) -> &'static str {
    match part.split('.').next().unwrap_or(part) {
        "draft" => "the controls",
        "presets" => "the presets",
        "canvas" => "the canvas",
        "playback" => "the timeline",
        "dock" => "the layout",
        "recent" | "run_files" => "the recent files",
        "scale" => "the scale",
        "window" => "the place of the window",
        _ => "the rest",
    }
}

/// What a session begins with.
#[derive(Default)]
pub struct Begun {
    /// What was kept.
    pub kept: Kept,
    /// Where the window was.
    pub place: Place,
    /// What of it could not be used, in words.
    pub trouble: Option<String>,
}

/// The file that a session is kept in, and what is on its way there.
#[derive(Debug, Default)]
pub struct SavedFile {
    /// Nothing is kept without one.
    file: Option<PathBuf>,
    /// Where the window is.
    pub place: Place,
    /// What the file says, or is about to say.
    text: String,
    writing: Option<Task<io::Result<()>>>,
    /// What it is to say after that.
    next: Option<String>,
    /// Whether it was said that the file cannot be written.
    told: bool,
}

impl SavedFile {
    /// The file where this desktop has it.
    pub fn file() -> Option<PathBuf> {
        Some(eframe::storage_dir("purrscope")?.join("app.ron"))
    }

    /// Begins with what `file` says; without one, as at a first start, and keeps nothing.
    pub fn begin(file: Option<PathBuf>) -> (Self, Begun) {
        let (begun, text) = match &file {
            Some(path) => read(path),
            None => (Begun::default(), String::new()),
        };
        let saved = Self { file, place: begun.place, text, ..Self::default() };
        (saved, begun)
    }

    /// Begins to write what has changed since it was last written.
    pub fn save(&mut self, kept: &Kept) {
        if self.file.is_none() {
            return;
        }
        let parts = [(WINDOW, ron::write(&self.place)), (STUDIO, ron::write(kept))];
        let parts = parts.into_iter().filter_map(|(key, text)| Some((key, text?)));
        self.next = ron::write(&parts.collect::<BTreeMap<_, _>>());
        self.go_on();
    }

    /// Begins to write what is next, once nothing else is being written.
    fn go_on(&mut self) {
        if self.writing.is_some() {
            return;
        }
        let next = self.next.take().filter(|text| *text != self.text);
        let (Some(text), Some(file)) = (next, self.file.clone()) else { return };
        let bytes = text.clone();
        let writing = Task::start("purrscope-session", Wake::default(), move |_| {
            write(&file, bytes.as_bytes())
        });
        (self.text, self.writing) = (text, Some(writing));
    }

    /// Takes in what came of [`SavedFile::save`].
    pub fn follow(&mut self, notices: &mut Notices) {
        let Some(done) = self.writing.as_ref().and_then(Task::poll) else { return };
        self.writing = None;
        match done.unwrap_or_else(|broken| Err(io::Error::other(broken))) {
            Ok(()) => {
                self.told = false;
                notices.settled(About::Session);
            }
            Err(error) => {
                // It is tried again when it is next to be saved, and said once.
                self.text.clear();
                if !std::mem::replace(&mut self.told, true) {
                    let file = self.file.as_deref().unwrap_or(Path::new("app.ron")).display();
                    notices.warn(
                        About::Session,
                        format!(
                            "The layout and the settings are not kept for the next time: {file} \
                             cannot be written ({error}). Make room there, or allow writing to it.",
                        ),
                    );
                }
            }
        }
        self.go_on();
    }

    /// Waits until all of what was to be saved is written.
    pub fn end(&mut self) {
        while let Some(writing) = self.writing.take() {
            match writing.wait(PATIENCE) {
                Some(Ok(Ok(()))) => {}
                Some(Ok(Err(error))) => tracing::warn!("the settings were not kept: {error}"),
                Some(Err(broken)) => tracing::warn!("the settings were not kept: {broken}"),
                None => {
                    tracing::warn!("the settings were not kept: the disk does not answer");
                    return;
                }
            }
            self.go_on();
        }
    }
}

fn write(file: &Path, bytes: &[u8]) -> io::Result<()> {
    if file.is_dir() {
        return Err(io::Error::other("there is a folder of that name"));
    }
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    atomic::write(file, bytes)
}

/// What a file says, as far as it can be used, and its text where all of it can.
fn read(file: &Path) -> (Begun, String) {
    let text = match text_of(file) {
        Ok(None) => return (Begun::default(), String::new()),
        Ok(Some(text)) => text,
        Err(reason) => return (unreadable(file, &reason), String::new()),
    };
    let Some(parts) = ron::read::<BTreeMap<String, String>>(&text) else {
        return (unreadable(file, "it is damaged, or of another program"), String::new());
    };
    let begun = understand(&parts);
    let text = if begun.trouble.is_none() { text } else { String::new() };
    (begun, text)
}

/// The text of a file; nothing where there is none.
fn text_of(file: &Path) -> Result<Option<String>, String> {
    let about = match fs::metadata(file) {
        Ok(about) => about,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    if about.is_dir() {
        return Err("there is a folder of that name: move it away".to_owned());
    }
    if !about.is_file() {
        return Err("it is no file".to_owned());
    }
    let mut bytes = Vec::new();
    let opened = File::open(file).map_err(|error| error.to_string())?;
    opened.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > LARGEST {
        return Err("it is far too large".to_owned());
    }
    String::from_utf8(bytes).map(Some).map_err(|_| "it is not a text".to_owned())
}

/// A first start, which says why it is one. The file is put aside, so that nothing is lost.
fn unreadable(file: &Path, reason: &str) -> Begun {
    let aside = file.with_extension("ron.unreadable");
    let kept = file.is_file() && fs::rename(file, &aside).is_ok();
    let where_to = match kept {
        true => format!(" The file is now called {}.", aside.display()),
        false => String::new(),
    };
    let trouble = format!(
        "The layout and the settings of the last session could not be read, so the \
         defaults are used. {}: {reason}.{where_to}",
        file.display(),
    );
    Begun { trouble: Some(trouble), ..Begun::default() }
}

/// What the parts of a file say.
fn understand(parts: &BTreeMap<String, String>) -> Begun {
    let mut lost: Vec<String> = Vec::new();
    let mut begun = Begun::default();
    if let Some(text) = parts.get(STUDIO) {
        let accepts = |text: &str| ron::read::<Kept>(text).is_some();
        let text = mend::mended(text, &accepts, &mut lost);
        begun.kept = text.and_then(|text| ron::read(&text)).unwrap_or_default();
        lost.extend(begun.kept.tidy().into_iter().map(str::to_owned));
    }
    if let Some(text) = parts.get(WINDOW) {
        let read = ron::read::<Place>(text);
        let whole = read.is_some();
        begun.place = read.unwrap_or_default();
        if begun.place.tidy() || !whole {
            lost.push(WINDOW.to_owned());
        }
    }
    let mut names: Vec<&str> = lost.iter().map(|part| called(part)).collect();
    names.sort_unstable();
    names.dedup();
    if let Some((last, first)) = names.split_last() {
        let list = match first {
            [] => (*last).to_owned(),
            first => format!("{} and {last}", first.join(", ")),
        };
        begun.trouble = Some(format!(
            "What the last session kept of {list} could not be used and was reset; the rest was \
             restored.",
        ));
    }
    begun
}

#[cfg(test)]
mod tests;
