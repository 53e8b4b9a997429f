//! File dialogs, pictures written with their settings, and settings read back from pictures: all
//! away from the interface thread.

use std::fmt::Display;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use image::RgbImage;
use rfd::{AsyncFileDialog, FileHandle};
use serde::Deserialize;

use super::run::{Run, class_name, class_of};
use crate::flow::{RunRecord, SampleSettings};
use crate::io::{atomic, png};

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
    /// Settings were read from a picture.
    Restore(Box<Restored>),
    /// Something could not be done; what, for people.
    Failed(String),
}

/// The settings that a picture was made with.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Restored {
    /// Name of the class.
    pub class: Option<String>,
    /// Digest of the model.
    pub model_hash: Option<String>,
    /// The rest.
    #[serde(flatten)]
    pub settings: SampleSettings,
}

impl Restored {
    /// Most bytes of a picture that is read.
    const LARGEST: u64 = 256 << 20;

    /// Reads the settings in a PNG.
    ///
    /// # Errors
    /// What is wrong with the file, for people.
    pub fn read(path: &Path) -> Result<Self, String> {
        let failed = |reason: &dyn Display| format!("{}: {reason}.", path.display());
        let size = std::fs::metadata(path).map_err(|error| failed(&error))?.len();
        if size > Self::LARGEST {
            return Err(failed(&"too large for a picture"));
        }
        let bytes = std::fs::read(path).map_err(|error| failed(&error))?;
        let json = png::settings(&bytes).map_err(|error| failed(&error))?;
        serde_json::from_str(&json)
            .map_err(|error| failed(&format_args!("its settings cannot be used ({error})")))
    }
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
    RunRecord {
        class: Some(match picture {
            Some(image) => class_of(&run.model.card, &run.settings, image),
            None => class_name(&run.model.card, &run.settings),
        }),
        image: picture,
        t: (!run.is_end(position)).then(|| run.time(position)),
        ..RunRecord::new(&run.model.card.name, &run.model.hash, &run.settings)
    }
    .to_json()
}

/// A name for a picture's file.
pub fn file_name(run: &Run, position: usize, picture: Option<usize>) -> String {
    let class = match picture {
        Some(image) => class_of(&run.model.card, &run.settings, image),
        None => class_name(&run.model.card, &run.settings).replace(' ', "-"),
    };
    let which = picture.map_or_else(|| "sheet".to_owned(), |index| format!("{index:03}"));
    let when = match run.is_end(position) {
        true => String::new(),
        false => format!("-step{}", position + 1),
    };
    format!("{class}-seed{}-{which}{when}.png", run.settings.seed)
}

/// Writes a picture with its settings inside.
///
/// # Errors
/// Whatever the file system says.
pub fn write_png(path: &Path, image: &RgbImage, settings: &str) -> io::Result<()> {
    let bytes = png::encode(image, settings).map_err(io::Error::other)?;
    atomic::write(path, &bytes)
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

    /// Reads the settings in a picture.
    pub fn restore(&self, ctx: &egui::Context, path: PathBuf) {
        self.work(ctx, move || {
            Some(match Restored::read(&path) {
                Ok(restored) => Reply::Restore(Box::new(restored)),
                Err(text) => Reply::Failed(text),
            })
        });
    }

    /// Asks for a model file.
    pub fn open_model(&self, ctx: &egui::Context) {
        let dialog = AsyncFileDialog::new()
            .set_title("Open a model")
            .add_filter("Purrscope model", &["safetensors"]);
        let chosen = |path: Option<PathBuf>| match path {
            Some(path) => Ok(Reply::Open(path)),
            None => Err(format!("{NO_DIALOG}. Models can also be dropped on this window.")),
        };
        self.ask(ctx, dialog.pick_file(), chosen);
    }

    /// Asks where to write a picture, and writes it; to the folder of pictures where no dialog can
    /// be shown.
    pub fn save_png(&self, ctx: &egui::Context, name: &str, image: RgbImage, settings: String) {
        let dialog = AsyncFileDialog::new()
            .set_title("Save the picture")
            .set_file_name(name)
            .add_filter("PNG picture", &["png"]);
        let name = name.to_owned();
        let write = move |path: Option<PathBuf>| {
            let path = match path {
                Some(path) => path.with_extension("png"),
                None => unused_name(&pictures_folder(), &name),
            };
            write_png(&path, &image, &settings)
                .map_err(|error| format!("{} was not written: {error}.", path.display()))?;
            Ok(Reply::Saved(path))
        };
        self.ask(ctx, dialog.save_file(), write);
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
                Some(path) if path.extension().is_none() => match name.rsplit_once('.') {
                    Some((_, end)) => path.with_extension(end),
                    None => path,
                },
                Some(path) => path,
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
            if let Some(reply) = job() {
                // A send fails only when the window has gone.
                let _ = sender.send(reply);
                ctx.request_repaint();
            }
        };
        if let Err(error) = thread::Builder::new().name("purrscope-files".to_owned()).spawn(work) {
            let text = format!("The system has no thread left for this: {error}.");
            let _ = self.sender.send(Reply::Failed(text));
        }
    }
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
    fn settings_come_back_from_a_picture_and_from_the_command_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cat.png");
        let json = r#"{"program":"purrscope 0.1.0","model":"m","model_hash":"ab","labels":[4,4],
            "seed":7,"solver":"euler","grid":"shifted:3","steps":12,
            "temperature":"linear:1.2:0.6","guidance":2.0,"image":1,"class":"cat-05"}"#;
        write_png(&path, &RgbImage::new(2, 2), json).unwrap();
        let restored = Restored::read(&path).unwrap();
        assert_eq!(restored.class.as_deref(), Some("cat-05"));
        assert_eq!(restored.settings.temperature.to_string(), "linear:1.2:0.6");
        assert_eq!((restored.settings.seed, restored.settings.steps), (7, 12));
    }

    #[test]
    fn a_picture_without_settings_is_named_in_the_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("holiday.png");
        RgbImage::new(2, 2).save(&path).unwrap();
        assert!(Restored::read(&path).unwrap_err().contains("holiday.png"));
        write_png(&path, &RgbImage::new(2, 2), r#"{"steps":"many"}"#).unwrap();
        assert!(Restored::read(&path).unwrap_err().contains("cannot be used"));
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
