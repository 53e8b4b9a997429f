//! Making a model file of a reference checkpoint, away from the interface thread.

use std::path::{Path, PathBuf};

use egui::Context;
use rfd::AsyncFileDialog;

use crate::model::import::{ImportError, Sources, Weights, import};
use crate::studio::base::dialogs::PathDialogs;
use crate::studio::base::notices::About;
use crate::studio::session::{Found, Jobs, Outcome};

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

/// What an import is made of, and how it goes.
#[derive(Debug)]
pub struct Importer {
    /// Paths as they are typed, in the order of [`Part::ALL`].
    pub paths: [String; 3],
    /// Whether the averaged weights are taken rather than the last ones.
    pub averaged: bool,
    /// What went wrong last, in words.
    pub trouble: Option<String>,
    busy: bool,
    /// Dialogs that are open.
    choosing: PathDialogs<Part>,
}

impl Default for Importer {
    fn default() -> Self {
        let paths = Default::default();
        Self { paths, averaged: true, trouble: None, busy: false, choosing: PathDialogs::default() }
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

    /// Asks for a file.
    pub fn choose(&mut self, ctx: &Context, part: Part) {
        let dialog = AsyncFileDialog::new().set_title(part.hint()).pick_file();
        self.choosing.open(ctx, part, dialog);
    }

    /// Begins the import, which goes on whether its pane is shown or not, until it is cancelled.
    pub fn start(&mut self, jobs: &mut Jobs) {
        let out = self.out();
        let [checkpoint, hparams, tokenizer] =
            self.paths.each_ref().map(|path| PathBuf::from(path.trim()));
        let weights = if self.averaged { Weights::Ema } else { Weights::Live };
        (self.busy, self.trouble) = (true, None);
        let name = out.file_name().unwrap_or(out.as_os_str()).to_string_lossy().into_owned();
        jobs.start_about(About::Importing, format!("Making {name}"), move |progress| {
            let sources = Sources {
                checkpoint: &checkpoint,
                hparams: &hparams,
                tokenizer: &tokenizer,
                weights,
                unit_codes: None,
                class_names: None,
            };
            match import(&sources, &out, progress.stop()) {
                Ok(_) => Outcome::Found(Found::Imported(out)),
                Err(ImportError::Stopped) => Outcome::Cancelled,
                Err(error) => Outcome::Failed(format!("The import was given up: {error}.")),
            }
        });
    }

    /// Takes in what came of dialogs.
    pub fn receive(&mut self) {
        for (part, path) in self.choosing.poll() {
            match (part, path) {
                (Part::Checkpoint, Ok(path)) => self.offer(&path),
                (part, Ok(path)) => self.paths[part as usize] = path.display().to_string(),
                (_, Err(text)) => self.trouble = Some(text),
            }
        }
    }

    /// Takes note of the end of an import, whatever it was.
    pub fn end(&mut self, outcome: &Outcome) {
        self.busy = false;
        self.trouble = match outcome {
            Outcome::Failed(text) => Some(text.clone()),
            _ => None,
        };
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::{Duration, Instant};

    use egui::vec2;
    use egui_kittest::kittest::Queryable as _;

    use super::*;
    use crate::studio::base::notices::Level;
    use crate::studio::pane::Pane;
    use crate::studio::testing::fake::PATIENCE;
    use crate::studio::testing::stage::{click, stage};
    use crate::studio::window::studio::Studio;

    const FILES: [&str; 3] = ["purrception.pth", "purrception.hparams.json", "tokenizer_vqf8.ckpt"];

    /// A folder with all that an import needs.
    fn sources() -> tempfile::TempDir {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        let folder = tempfile::tempdir().unwrap();
        for name in FILES {
            std::fs::copy(golden.join(name), folder.path().join(name)).unwrap();
        }
        folder
    }

    /// Follows the state, without any pane, until no import is under way.
    fn wait(studio: &mut Studio) {
        let deadline = Instant::now() + PATIENCE;
        while studio.files.importer.is_busy() {
            assert!(Instant::now() < deadline, "the import does not end");
            thread::sleep(Duration::from_millis(5));
            studio.follow();
        }
    }

    #[test]
    fn an_import_ends_with_a_notice_whatever_is_shown() {
        let folder = sources();
        let mut studio = Studio::default();
        let importer = &mut studio.files.importer;
        importer.offer(&folder.path().join("purrception.pth"));
        assert!(importer.paths[1].ends_with("purrception.hparams.json"), "{:?}", importer.paths);
        assert!(!importer.is_ready());
        importer.paths[2] = folder.path().join("not there.ckpt").display().to_string();
        importer.start(&mut studio.session.jobs);
        assert!(!studio.files.importer.is_ready(), "it is busy");
        wait(&mut studio);
        let banner = studio.session.notices.banner.take().unwrap();
        assert_eq!((banner.level, banner.about), (Level::Error, About::Importing));
        assert!(banner.text.contains("not there.ckpt"), "{}", banner.text);
        assert!(studio.files.importer.trouble.as_ref().unwrap().contains("not there.ckpt"));
        assert!(studio.files.importer.is_ready());
        // The files that it needs, all in their places.
        studio.files.importer.paths[2] =
            folder.path().join("tokenizer_vqf8.ckpt").display().to_string();
        studio.files.importer.start(&mut studio.session.jobs);
        wait(&mut studio);
        assert!(studio.files.importer.trouble.is_none() || studio.session.notices.banner.is_some());
    }

    #[test]
    fn an_import_that_is_cancelled_leaves_nothing_behind() {
        let folder = sources();
        let mut studio = Studio::default();
        studio.files.importer.paths =
            FILES.map(|name| folder.path().join(name).display().to_string());
        let before = studio.files.importer.paths.clone();
        studio.files.importer.start(&mut studio.session.jobs);
        studio.session.jobs.all()[0].cancel();
        wait(&mut studio);
        let importer = &studio.files.importer;
        assert!(importer.is_ready() && importer.trouble.is_none() && importer.paths == before);
        assert!(studio.session.notices.log.is_empty(), "{:?}", studio.session.notices.log);
        assert!(studio.actions.pop().is_none(), "nothing is opened");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), FILES.len());
    }

    #[test]
    fn an_import_is_cancelled_in_its_pane() {
        let mut studio = Studio::default();
        studio.files.importer.paths = FILES.map(str::to_owned);
        studio.files.importer.busy = true;
        let title = "Making purrception.safetensors";
        studio.session.jobs.start_about(About::Importing, title, |progress| {
            while !progress.is_cancelled() {
                thread::sleep(Duration::from_millis(1));
            }
            Outcome::Cancelled
        });
        let mut stage = stage(Pane::Model, studio, vec2(400.0, 700.0), None);
        stage.run_steps(2);
        assert!(stage.query_by_label("Importing...").is_some());
        let cancel = format!("Cancel: {title}");
        click(&mut stage, &cancel);
        assert!(stage.state().session.jobs.all()[0].is_cancelled());
        wait(stage.state_mut());
        stage.run_steps(2);
        assert!(stage.query_by_label(&cancel).is_none());
        assert!(
            stage.query_by_label("Import").is_some() && stage.state().files.importer.is_ready()
        );
    }

    #[test]
    fn an_import_that_breaks_off_is_not_waited_for() {
        let mut studio = Studio::default();
        studio.files.importer.busy = true;
        studio
            .session
            .jobs
            .start_about(About::Importing, "Making a.safetensors", |_| panic!("told to"));
        wait(&mut studio);
        let text = &studio.session.notices.banner.as_ref().unwrap().text;
        assert!(text.contains("a.safetensors") && text.contains("told to"), "{text}");
    }
}
