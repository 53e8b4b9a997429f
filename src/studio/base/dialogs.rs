//! File dialogs. Each is waited for on a thread of its own, since it may stay open for minutes.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use egui::Context;
use image::RgbImage;
use rfd::{AsyncFileDialog, FileHandle};

use super::worker::{Broken, Task, Wake};
use crate::data::read_picture;
use crate::io::atomic;

/// A dialog that closes sooner than this was never seen.
const SEEN_AFTER: Duration = Duration::from_millis(150);

const NO_DIALOG: &str =
    "No file dialog could be shown (zenity or an XDG desktop portal would provide one)";

/// What a person made of a dialog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// A file or a folder was chosen.
    Path(PathBuf),
    /// It was closed.
    Closed,
    /// It could not be shown.
    NotShown,
}

impl Choice {
    /// Waits for a dialog that was `opened` then: on no thread that draws.
    pub fn wait(dialog: impl Future<Output = Option<FileHandle>> + Send, opened: Instant) -> Self {
        match pollster::block_on(dialog) {
            Some(file) => Self::Path(file.path().to_owned()),
            None if opened.elapsed() > SEEN_AFTER => Self::Closed,
            None => Self::NotShown,
        }
    }
}

/// A dialog for the path of a file or a folder.
#[derive(Debug)]
pub struct PathDialog(Task<Choice>);

impl PathDialog {
    /// Opens it. Dialogs have to be made on the window's thread.
    pub fn open(
        ctx: &Context,
        dialog: impl Future<Output = Option<FileHandle>> + Send + 'static,
    ) -> Self {
        let opened = Instant::now();
        Self(Task::start(THREAD, Wake::from(ctx), move |_| Choice::wait(dialog, opened)))
    }

    /// What came of it, once: a path, nothing where it was closed, or in words why there is none.
    pub fn poll(&self) -> Option<Result<Option<PathBuf>, String>> {
        Some(match self.0.poll()? {
            Ok(Choice::Path(path)) => Ok(Some(path)),
            Ok(Choice::Closed) => Ok(None),
            Ok(Choice::NotShown) => Err(format!("{NO_DIALOG}. The path can be typed as well.")),
            Err(Broken::Panicked(reason)) => {
                Err(format!("The file dialog failed ({reason}). The path can be typed as well."))
            }
            Err(broken) => Err(broken.to_string()),
        })
    }
}

/// Dialogs for paths that are open, each with what it asks for.
#[derive(Debug)]
pub struct PathDialogs<T>(Vec<(T, PathDialog)>);

impl<T> Default for PathDialogs<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> PathDialogs<T> {
    /// Opens another. Dialogs have to be made on the window's thread.
    pub fn open(
        &mut self,
        ctx: &Context,
        wanted: T,
        dialog: impl Future<Output = Option<FileHandle>> + Send + 'static,
    ) {
        self.0.push((wanted, PathDialog::open(ctx, dialog)));
    }

    /// What came of those that are over: paths, or in words why there is none. One that was closed gives nothing.
    pub fn poll(&mut self) -> Vec<(T, Result<PathBuf, String>)> {
        let mut over = Vec::new();
        for (wanted, dialog) in std::mem::take(&mut self.0) {
            match dialog.poll() {
                Some(chosen) => over.extend(chosen.transpose().map(|chosen| (wanted, chosen))),
                None => self.0.push((wanted, dialog)),
            }
        }
        over
    }
}

/// What came of a dialog, or of reading a file.
#[derive(Debug)]
pub enum Reply {
    /// A file to open was chosen.
    Open(PathBuf),
    /// A file was written.
    Saved(PathBuf),
    /// A picture was read.
    Picture {
        /// The name of its file.
        name: String,
        /// The picture.
        picture: Box<RgbImage>,
    },
    /// Something could not be done; what, in words.
    Failed(String),
}

/// Name of the threads that wait for dialogs, and read and write what was chosen.
const THREAD: &str = "purrscope-files";

/// Dialogs in progress.
#[derive(Debug, Default)]
pub struct Dialogs(Vec<Task<Option<Reply>>>);

impl Dialogs {
    /// What has come, without waiting.
    pub fn replies(&mut self) -> Vec<Reply> {
        let mut replies = Vec::new();
        self.0.retain(|task| {
            let Some(done) = task.poll() else { return true };
            replies.extend(done.unwrap_or_else(|broken| {
                Some(Reply::Failed(match broken {
                    Broken::NoThread(_) => broken.to_string(),
                    Broken::Panicked(reason) => {
                        format!("The file could not be processed ({reason}).")
                    }
                }))
            }));
            false
        });
        replies
    }

    /// Reads a picture.
    pub fn read_picture(&mut self, ctx: &Context, path: PathBuf) {
        self.work(ctx, move || Some(picture(&path).unwrap_or_else(Reply::Failed)));
    }

    /// Asks for a picture, and reads it.
    pub fn open_picture(&mut self, ctx: &Context) {
        let dialog = AsyncFileDialog::new()
            .set_title("Open a picture")
            .add_filter("Picture", &["png", "jpg", "jpeg", "webp", "bmp", "gif"]);
        let chosen = |path: Option<PathBuf>| match path {
            Some(path) => picture(&path),
            None => {
                Err(format!("{NO_DIALOG}. With the region tool, pictures can also be dropped."))
            }
        };
        self.ask(ctx, dialog.pick_file(), chosen);
    }

    /// Asks for a model file.
    pub fn open_model(&mut self, ctx: &Context) {
        let dialog = AsyncFileDialog::new()
            .set_title("Open a model, a picture, settings, a trajectory or a calibration")
            .add_filter("Whatever can be opened", &["safetensors", "png", "toml", "json"]);
        let chosen = |path: Option<PathBuf>| match path {
            Some(path) => Ok(Reply::Open(path)),
            None => Err(format!("{NO_DIALOG}. Files can also be dropped on this window.")),
        };
        self.ask(ctx, dialog.pick_file(), chosen);
    }

    /// Asks where a file called `name` is to go, and writes what `make` gives: whole or not at all.
    /// Without a dialog it goes to the pictures folder.
    pub fn save_made(
        &mut self,
        ctx: &Context,
        name: String,
        make: impl FnOnce() -> Result<Vec<u8>, String> + Send + 'static,
    ) {
        let dialog = AsyncFileDialog::new().set_file_name(&name).save_file();
        self.ask(ctx, dialog, move |chosen| {
            let path = match chosen {
                Some(path) => with_ending(path, &name),
                None => unused_name(&pictures_folder(), &name),
            };
            let bytes = make()?;
            atomic::write(&path, &bytes)
                .map_err(|error| format!("{} was not written: {error}.", path.display()))?;
            Ok(Reply::Saved(path))
        });
    }

    /// Waits for a dialog; `then` gets what was chosen, or nothing where no dialog could be shown.
    fn ask(
        &mut self,
        ctx: &Context,
        dialog: impl Future<Output = Option<FileHandle>> + Send + 'static,
        then: impl FnOnce(Option<PathBuf>) -> Result<Reply, String> + Send + 'static,
    ) {
        let opened = Instant::now();
        self.work(ctx, move || {
            let chosen = match Choice::wait(dialog, opened) {
                Choice::Path(path) => Some(path),
                Choice::Closed => return None,
                Choice::NotShown => None,
            };
            Some(then(chosen).unwrap_or_else(Reply::Failed))
        });
    }

    /// Does `job` on a thread of its own.
    fn work(&mut self, ctx: &Context, job: impl FnOnce() -> Option<Reply> + Send + 'static) {
        self.0.push(Task::start(THREAD, Wake::from(ctx), |_| job()));
    }
}

/// Reads a picture of any size and format that is known.
fn picture(path: &Path) -> Result<Reply, String> {
    let picture = read_picture(path).map_err(|error| format!("{error}."))?;
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    Ok(Reply::Picture { name, picture: Box::new(picture) })
}

/// Where pictures go without being asked.
pub fn pictures_folder() -> PathBuf {
    let user = directories::UserDirs::new();
    let folder = user.as_ref().map(|user| user.picture_dir().unwrap_or(user.home_dir()));
    folder.filter(|folder| folder.is_dir()).map_or_else(|| PathBuf::from("."), Path::to_owned)
}

/// `name` in `folder`, with a number where such a file is there already.
pub fn unused_name(folder: &Path, name: &str) -> PathBuf {
    let (stem, end) = name.rsplit_once('.').unwrap_or((name, "png"));
    let numbered = (2..).map(|number| folder.join(format!("{stem} ({number}).{end}")));
    std::iter::once(folder.join(name))
        .chain(numbered)
        .find(|path| !path.exists())
        .unwrap_or_else(|| folder.join(name))
}

/// The path that a person chose for a file like `name`, with the ending of what is written. Where that
/// is another path than the one chosen, nothing that is there is overwritten.
pub fn with_ending(chosen: PathBuf, name: &str) -> PathBuf {
    let end = Path::new(name).extension().unwrap_or_default();
    if chosen.extension().is_some_and(|given| given.eq_ignore_ascii_case(end)) {
        return chosen;
    }
    let mut whole = chosen.file_name().unwrap_or_default().to_owned();
    whole.push(".");
    whole.push(end);
    unused_name(atomic::folder_of(&chosen), &whole.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_there_is_not_overwritten_unasked() {
        let folder = tempfile::tempdir().unwrap();
        let path = unused_name(folder.path(), "cat.png");
        assert_eq!(path, folder.path().join("cat.png"));
        std::fs::write(&path, b"").unwrap();
        assert_eq!(unused_name(folder.path(), "cat.png"), folder.path().join("cat (2).png"));
        std::fs::write(folder.path().join("a.csv"), b"").unwrap();
        assert_eq!(unused_name(folder.path(), "a.csv"), folder.path().join("a (2).csv"));
    }

    #[test]
    fn a_name_that_was_chosen_gets_the_ending_of_what_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (chosen, written) in [
            ("a.png", "a.png"),
            ("a.PNG", "a.PNG"),
            ("a", "a.png"),
            ("a.v2", "a.v2.png"),
            ("a.jpg", "a.jpg.png"),
        ] {
            assert_eq!(with_ending(at(chosen), "sheet.png"), at(written));
        }
        // Nobody was asked whether this one may go.
        std::fs::write(at("b.png"), "").unwrap();
        assert_eq!(with_ending(at("b.png"), "sheet.png"), at("b.png"));
        assert_eq!(with_ending(at("b"), "sheet.png"), at("b (2).png"));
    }

    #[test]
    fn any_picture_is_read_and_what_is_none_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("holiday.png");
        RgbImage::new(5, 3).save(&path).unwrap();
        let Ok(Reply::Picture { name, picture }) = picture(&path) else { panic!("not read") };
        assert_eq!((name.as_str(), picture.dimensions()), ("holiday.png", (5, 3)));
        std::fs::write(&path, b"no picture").unwrap();
        assert!(super::picture(&path).unwrap_err().contains("holiday.png"));
    }
}
