//! File dialogs and files written, away from the interface thread.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use image::RgbImage;
use rfd::{AsyncFileDialog, FileHandle};
use serde::Serialize;

use super::state::{Run, class_name};
use crate::flow::SampleSettings;
use crate::io::{atomic, png};

/// A dialog that closes sooner than this was never seen.
const SEEN_AFTER: Duration = Duration::from_millis(150);

/// What came of a dialog.
#[derive(Debug)]
pub enum Reply {
    /// A model was chosen.
    Open(PathBuf),
    /// A picture was written.
    Saved(PathBuf),
    /// Something could not be done; what, for people.
    Failed(String),
}

/// The settings that travel in an exported picture, by the names that `purrscope sample` uses.
#[derive(Debug, Serialize)]
struct Exported<'a> {
    program: &'static str,
    model: &'a str,
    model_hash: &'a str,
    #[serde(flatten)]
    settings: &'a SampleSettings,
    class: String,
    /// The picture's number in the batch; absent on a sheet of all.
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<usize>,
    /// The time at which the picture was taken; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    t: Option<f32>,
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
    serde_json::to_string(&Exported {
        program: concat!("purrscope ", env!("CARGO_PKG_VERSION")),
        model: &run.model.card.name,
        model_hash: &run.model.hash,
        settings: &run.settings,
        class: class_name(&run.model.card, &run.settings),
        image: picture,
        t: (!run.is_end(position)).then(|| run.time(position)),
    })
}

/// A name for a picture's file.
pub fn file_name(run: &Run, position: usize, picture: Option<usize>) -> String {
    let class = class_name(&run.model.card, &run.settings);
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

    /// Asks for a model file.
    pub fn open_model(&self, ctx: &egui::Context) {
        let dialog = AsyncFileDialog::new()
            .set_title("Open a model")
            .add_filter("Purrscope model", &["safetensors"]);
        self.ask(ctx, dialog.pick_file(), |path| Ok(Reply::Open(path.to_owned())));
    }

    /// Asks where to write a picture, and writes it.
    pub fn save_png(&self, ctx: &egui::Context, name: &str, image: RgbImage, settings: String) {
        let dialog = AsyncFileDialog::new()
            .set_title("Save the picture")
            .set_file_name(name)
            .add_filter("PNG picture", &["png"]);
        self.ask(ctx, dialog.save_file(), move |path| {
            let path = path.with_extension("png");
            write_png(&path, &image, &settings)
                .map_err(|error| format!("{} was not written: {error}.", path.display()))?;
            Ok(Reply::Saved(path))
        });
    }

    /// Waits for a dialog on a thread of its own, since a dialog may stay open for minutes.
    fn ask(
        &self,
        ctx: &egui::Context,
        dialog: impl Future<Output = Option<FileHandle>> + Send + 'static,
        then: impl FnOnce(&Path) -> Result<Reply, String> + Send + 'static,
    ) {
        let (sender, ctx) = (self.sender.clone(), ctx.clone());
        let opened = Instant::now();
        let wait = move || {
            let reply = match pollster::block_on(dialog) {
                Some(file) => Some(then(file.path()).unwrap_or_else(Reply::Failed)),
                // Closed by a person: there is nothing to say.
                None if opened.elapsed() > SEEN_AFTER => None,
                None => Some(Reply::Failed(
                    "No file dialog could be shown: install zenity or an XDG desktop portal. \
                     Models can also be dropped on this window."
                        .to_owned(),
                )),
            };
            if let Some(reply) = reply {
                // A send fails only when the window has gone.
                let _ = sender.send(reply);
                ctx.request_repaint();
            }
        };
        if let Err(error) = thread::Builder::new().name("purrscope-dialog".to_owned()).spawn(wait) {
            let _ =
                self.sender.send(Reply::Failed(format!("No file dialog could be shown: {error}.")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
