//! Making a model file of a reference checkpoint, away from the interface thread.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use egui::Context;
use rfd::AsyncFileDialog;

use crate::model::import::{Sources, Weights, import};

/// A file that an import needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The checkpoint, `.pth`.
    Checkpoint,
    /// The `hparams.json` that lies beside it.
    Hparams,
    /// The tokenizer, `.pt`, `.ckpt` or `.safetensors`.
    Tokenizer,
}

impl Part {
    /// Every part, in the order in which they are asked for.
    pub const ALL: [Self; 3] = [Self::Checkpoint, Self::Hparams, Self::Tokenizer];

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Checkpoint => "Checkpoint",
            Self::Hparams => "Sizes",
            Self::Tokenizer => "Tokenizer",
        }
    }

    /// What it is, in a sentence.
    pub fn hint(self) -> &'static str {
        match self {
            Self::Checkpoint => "The .pth file that the reference implementation saved.",
            Self::Hparams => "The hparams.json that lies beside the checkpoint.",
            Self::Tokenizer => {
                "LlamaGen's .pt, latent diffusion's .ckpt, or .safetensors of either."
            }
        }
    }
}

enum News {
    Chosen(Part, PathBuf),
    Done(Result<PathBuf, String>),
}

/// What an import is made of, and how it goes.
#[derive(Debug)]
pub struct Importer {
    /// Paths as they are typed, in the order of [`Part::ALL`].
    pub paths: [String; 3],
    /// Whether the averaged weights are taken rather than the last ones.
    pub averaged: bool,
    /// What went wrong last, for people.
    pub trouble: Option<String>,
    busy: bool,
    sender: Sender<News>,
    news: Receiver<News>,
}

impl Default for Importer {
    fn default() -> Self {
        let (sender, news) = mpsc::channel();
        Self { paths: Default::default(), averaged: true, trouble: None, busy: false, sender, news }
    }
}

impl Importer {
    /// Takes a checkpoint that was dropped or chosen; what lies beside it is taken as well.
    pub fn offer(&mut self, checkpoint: &Path) {
        self.paths[0] = checkpoint.display().to_string();
        let stem = checkpoint.with_extension("hparams.json");
        let beside = [checkpoint.with_file_name("hparams.json"), stem];
        if let Some(found) = beside.iter().find(|path| path.is_file()) {
            self.paths[1] = found.display().to_string();
        }
        self.trouble = None;
    }

    /// Whether everything is named and nothing is under way.
    pub fn is_ready(&self) -> bool {
        !self.busy && self.paths.iter().all(|path| !path.trim().is_empty())
    }

    /// Whether an import is under way.
    pub fn is_busy(&self) -> bool {
        self.busy
    }

    /// Where the model file goes: beside the checkpoint, under its name.
    pub fn out(&self) -> PathBuf {
        Path::new(self.paths[0].trim()).with_extension("safetensors")
    }

    /// Asks for a file on a thread of its own.
    pub fn choose(&self, ctx: &Context, part: Part) {
        let (sender, ctx) = (self.sender.clone(), ctx.clone());
        let dialog = AsyncFileDialog::new().set_title(part.hint()).pick_file();
        work("purrscope-choose", move || {
            if let Some(file) = pollster::block_on(dialog) {
                // A send fails only when the window has gone.
                let _ = sender.send(News::Chosen(part, file.path().to_owned()));
                ctx.request_repaint();
            }
        });
    }

    /// Begins the import.
    pub fn start(&mut self, ctx: &Context) {
        let (sender, ctx, out) = (self.sender.clone(), ctx.clone(), self.out());
        let [checkpoint, hparams, tokenizer] =
            self.paths.each_ref().map(|path| PathBuf::from(path.trim()));
        let weights = if self.averaged { Weights::Ema } else { Weights::Live };
        (self.busy, self.trouble) = (true, None);
        work("purrscope-import", move || {
            let sources = Sources {
                checkpoint: &checkpoint,
                hparams: &hparams,
                tokenizer: &tokenizer,
                weights,
                unit_codes: None,
                class_names: None,
            };
            let made = import(&sources, &out).map(|_| out.clone());
            let _ = sender.send(News::Done(made.map_err(|error| error.to_string())));
            ctx.request_repaint();
        });
    }

    /// Takes in what came of dialogs and imports; gives the model file that was made, if one was.
    pub fn receive(&mut self) -> Option<PathBuf> {
        let mut made = None;
        while let Ok(news) = self.news.try_recv() {
            match news {
                News::Chosen(Part::Checkpoint, path) => self.offer(&path),
                News::Chosen(part, path) => {
                    self.paths[part as usize] = path.display().to_string();
                }
                News::Done(result) => {
                    self.busy = false;
                    match result {
                        Ok(path) => made = Some(path),
                        Err(text) => self.trouble = Some(text),
                    }
                }
            }
        }
        made
    }
}

/// Runs `job` on a thread of its own; without one to spare it runs here.
fn work(name: &str, job: impl FnOnce() + Send + 'static) {
    if let Err(error) = thread::Builder::new().name(name.to_owned()).spawn(job) {
        tracing::warn!("no thread for {name}: {error}");
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn wait(importer: &mut Importer) -> Option<PathBuf> {
        let deadline = Instant::now() + Duration::from_secs(60);
        while importer.is_busy() {
            if let Some(made) = importer.receive() {
                return Some(made);
            }
            assert!(Instant::now() < deadline, "the import does not end");
            thread::sleep(Duration::from_millis(5));
        }
        None
    }

    #[test]
    fn a_checkpoint_of_the_reference_becomes_a_model_beside_it() {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        let folder = tempfile::tempdir().unwrap();
        for name in ["purrception.pth", "purrception.hparams.json", "tokenizer_vqf8.ckpt"] {
            std::fs::copy(golden.join(name), folder.path().join(name)).unwrap();
        }
        let mut importer = Importer::default();
        importer.offer(&folder.path().join("purrception.pth"));
        assert!(importer.paths[1].ends_with("purrception.hparams.json"), "{:?}", importer.paths);
        assert!(!importer.is_ready());
        importer.paths[2] = folder.path().join("not there.ckpt").display().to_string();
        importer.start(&Context::default());
        assert_eq!(wait(&mut importer), None);
        assert!(importer.trouble.as_ref().unwrap().contains("not there.ckpt"));
    }
}
