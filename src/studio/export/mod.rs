//! File dialogs, runs written in many forms, and settings read back: all away from the interface
//! thread.

mod begin;
mod feed;
mod menu;
mod numbers;
mod restored;
mod settings_file;

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use image::RgbImage;
use rfd::{AsyncFileDialog, FileHandle};

pub use self::begin::{Destination, Export, Exports};
pub use self::feed::{Eater, Hunger};
pub use self::menu::export_menu;
pub use self::restored::{Kind, Restored, is_trajectory};
use super::run::{Run, class_name, class_of};
use super::state::StudioState;
use super::threads::{guarded, no_thread};
use crate::data::read_picture;
use crate::flow::{Branch, RunRecord, SampleSettings};
#[cfg(test)]
use crate::io::png;
use crate::io::{atomic, names};

/// A dialog that closes sooner than this was never seen.
const SEEN_AFTER: Duration = Duration::from_millis(150);

const NO_DIALOG: &str =
    "No file dialog could be shown (zenity or an XDG desktop portal would provide one)";

/// What came of a dialog.
#[derive(Debug)]
pub enum Reply {
    /// A model was chosen.
    Open(PathBuf),
    /// A picture was written.
    Saved(PathBuf),
    /// A picture was read.
    Picture {
        /// The name of its file.
        name: String,
        /// The picture.
        picture: Box<RgbImage>,
    },
    /// Something could not be done; what, for people.
    Failed(String),
}

/// The JSON that goes into a picture of `run`, taken at `position`.
///
/// # Errors
/// None that a setting in range can cause.
pub fn settings_json(
    run: &Run,
    position: usize,
    picture: Option<usize>,
) -> Result<String, serde_json::Error> {
    let t = (!run.is_end(position)).then(|| run.time(position));
    record_of(run, picture, &run.settings, t)
}

impl StudioState {
    /// The JSON of a picture of the step on show, or of all of them; of the `whole` run if that is
    /// meant. Nothing without a run.
    ///
    /// # Errors
    /// None that a setting in range can cause.
    pub(super) fn settings_json(
        &self,
        picture: Option<usize>,
        whole: bool,
    ) -> Option<Result<String, serde_json::Error>> {
        let run = self.run.as_ref()?;
        let (key, _) = self.known_pictures();
        let asked = self.asked_here().filter(|_| key.is_some_and(|key| key.ticket != 0));
        Some(match asked.filter(|_| !whole) {
            // Another belief about a step is that of a run which branches off there.
            Some((settings, record)) => {
                let step = self.position.min(run.frames.len().saturating_sub(1));
                let branch = Branch { step, parent: run.settings.clone() };
                let settings =
                    SampleSettings { branch: Some(Box::new(branch)), ..settings.clone() };
                record_of(run, picture, &settings, Some(record.t))
            }
            None => {
                let open = !whole && !run.is_end(self.position);
                let t = open.then(|| run.time(self.position));
                record_of(run, picture, &run.settings, t)
            }
        })
    }
}

fn record_of(
    run: &Run,
    picture: Option<usize>,
    settings: &SampleSettings,
    t: Option<f32>,
) -> Result<String, serde_json::Error> {
    RunRecord {
        class: Some(match picture {
            Some(image) => class_of(&run.model.card, &run.settings, image),
            None => class_name(&run.model.card, &run.settings),
        }),
        image: picture,
        t,
        precision: run.model.precision.noted(),
        ..RunRecord::new(&run.model.card.name, &run.model.hash, settings)
    }
    .to_json()
}

/// A name for a picture's file.
pub fn file_name(run: &Run, position: usize, picture: Option<usize>) -> String {
    let which = picture.map_or_else(|| "sheet".to_owned(), |index| format!("{index:03}"));
    let when = match run.is_end(position) {
        true => String::new(),
        false => format!("-step{}", position + 1),
    };
    format!("{}-{which}{when}.png", run_name(run, picture))
}

/// A name for what was made of a run, or of one of its pictures, without an end.
pub fn run_name(run: &Run, picture: Option<usize>) -> String {
    let class = match picture {
        Some(image) => class_of(&run.model.card, &run.settings, image),
        None => class_name(&run.model.card, &run.settings),
    };
    format!("{}-seed{}", names::file_name(&class), run.settings.seed)
}

#[cfg(test)]
/// Writes a picture with its settings inside.
///
/// # Errors
/// Whatever the file system says.
pub fn write_png(path: &Path, image: &RgbImage, settings: &str) -> io::Result<()> {
    let bytes = png::encode(image, settings).map_err(io::Error::other)?;
    atomic::write(path, &bytes)
}

/// Reads a picture of any size and format that is known.
fn picture(path: &Path) -> Result<Reply, String> {
    let picture = read_picture(path).map_err(|error| format!("{error}."))?;
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    Ok(Reply::Picture { name, picture: Box::new(picture) })
}

/// Where pictures go without being asked.
fn pictures_folder() -> PathBuf {
    let user = directories::UserDirs::new();
    let folder = user.as_ref().map(|user| user.picture_dir().unwrap_or(user.home_dir()));
    folder.filter(|folder| folder.is_dir()).map_or_else(|| PathBuf::from("."), Path::to_owned)
}

/// `name` in `folder`, with a number where such a file is there already.
fn unused_name(folder: &Path, name: &str) -> PathBuf {
    let (stem, end) = name.rsplit_once('.').unwrap_or((name, "png"));
    let numbered = (2..).map(|number| folder.join(format!("{stem} ({number}).{end}")));
    std::iter::once(folder.join(name))
        .chain(numbered)
        .find(|path| !path.exists())
        .unwrap_or_else(|| folder.join(name))
}

/// The path that a person chose for a file like `name`, with the ending of what is written. Where that
/// is another path than the one chosen, nothing that is there is overwritten.
fn with_ending(chosen: PathBuf, name: &str) -> PathBuf {
    let end = Path::new(name).extension().unwrap_or_default();
    if chosen.extension().is_some_and(|given| given.eq_ignore_ascii_case(end)) {
        return chosen;
    }
    let mut whole = chosen.file_name().unwrap_or_default().to_owned();
    whole.push(".");
    whole.push(end);
    unused_name(atomic::folder_of(&chosen), &whole.to_string_lossy())
}

/// Dialogs in progress and what came of them.
#[derive(Debug)]
pub struct Dialogs {
    sender: Sender<Reply>,
    replies: Receiver<Reply>,
}

impl Default for Dialogs {
    fn default() -> Self {
        let (sender, replies) = mpsc::channel();
        Self { sender, replies }
    }
}

impl Dialogs {
    /// What has come, without waiting.
    pub fn replies(&self) -> impl Iterator<Item = Reply> + '_ {
        self.replies.try_iter()
    }

    /// Reads a picture.
    pub fn read_picture(&self, ctx: &egui::Context, path: PathBuf) {
        self.work(ctx, move || Some(picture(&path).unwrap_or_else(Reply::Failed)));
    }

    /// Asks for a picture, and reads it.
    pub fn open_picture(&self, ctx: &egui::Context) {
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
    pub fn open_model(&self, ctx: &egui::Context) {
        let dialog = AsyncFileDialog::new()
            .set_title("Open a model, a picture, settings or a trajectory")
            .add_filter("Models, pictures and settings", &["safetensors", "png", "toml"]);
        let chosen = |path: Option<PathBuf>| match path {
            Some(path) => Ok(Reply::Open(path)),
            None => Err(format!("{NO_DIALOG}. Files can also be dropped on this window.")),
        };
        self.ask(ctx, dialog.pick_file(), chosen);
    }

    /// Asks where a file called `name` is to go, and writes what `make` gives: whole or not at all.
    /// Without a dialog it goes to the pictures folder.
    pub fn save_made(
        &self,
        ctx: &egui::Context,
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

    /// Waits for a dialog on a thread of its own, since a dialog may stay open for minutes; `then`
    /// gets what was chosen, or nothing where no dialog could be shown.
    fn ask(
        &self,
        ctx: &egui::Context,
        dialog: impl Future<Output = Option<FileHandle>> + Send + 'static,
        then: impl FnOnce(Option<PathBuf>) -> Result<Reply, String> + Send + 'static,
    ) {
        let opened = Instant::now();
        self.work(ctx, move || {
            let chosen = pollster::block_on(dialog).map(|file| file.path().to_owned());
            // Closed by a person: there is nothing to do.
            if chosen.is_none() && opened.elapsed() > SEEN_AFTER {
                return None;
            }
            Some(then(chosen).unwrap_or_else(Reply::Failed))
        });
    }

    /// Does `job` on a thread of its own.
    fn work(&self, ctx: &egui::Context, job: impl FnOnce() -> Option<Reply> + Send + 'static) {
        let (sender, ctx) = (self.sender.clone(), ctx.clone());
        let work = move || {
            let done = guarded(job).unwrap_or_else(|reason| {
                Some(Reply::Failed(format!("The file was left: it broke off ({reason}).")))
            });
            if let Some(reply) = done {
                // A send fails only when the window has gone.
                let _ = sender.send(reply);
                ctx.request_repaint();
            }
        };
        if let Err(error) = thread::Builder::new().name("purrscope-files".to_owned()).spawn(work) {
            let _ = self.sender.send(Reply::Failed(no_thread(&error)));
        }
    }
}

/// Waits for a dialog on a thread of its own. `then` gets what was chosen or, in words, that no dialog
/// could be shown; it is not called where a person closed the dialog.
pub(super) fn ask_path(
    dialog: impl Future<Output = Option<FileHandle>> + Send + 'static,
    then: impl FnOnce(Result<PathBuf, String>) + Send + 'static,
) -> io::Result<()> {
    let opened = Instant::now();
    let wait = move || match guarded(|| pollster::block_on(dialog)) {
        Ok(Some(file)) => then(Ok(file.path().to_owned())),
        Ok(None) if opened.elapsed() > SEEN_AFTER => {}
        Ok(None) => then(Err(format!("{NO_DIALOG}."))),
        Err(reason) => then(Err(format!("The file dialog broke off ({reason})."))),
    };
    thread::Builder::new().name("purrscope-files".to_owned()).spawn(wait).map(drop)
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod name_tests {
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

    #[test]
    fn a_picture_carries_its_settings() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cat.png");
        let image = RgbImage::from_pixel(4, 4, image::Rgb([1, 2, 3]));
        write_png(&path, &image, r#"{"seed":42}"#).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(png::settings(&bytes).unwrap(), r#"{"seed":42}"#);
        assert_eq!(image::load_from_memory(&bytes).unwrap().to_rgb8(), image);
    }
}
