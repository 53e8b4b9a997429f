//! The model in use, files that are opened, and checkpoints that are to become model files.

pub mod importer;
pub mod pane;

use std::path::{Path, PathBuf};

use self::importer::Importer;
use crate::calibrate;
use crate::model::file_of;
use crate::studio::action::{Actions, ControlsAction, FilesAction, WindowAction};
use crate::studio::base::notices::About;
use crate::studio::base::text::{count, name_of};
use crate::studio::engine::ModelSource;
use crate::studio::pane::Pane;
use crate::studio::session::restored::{Kind, Restored, is_trajectory};
use crate::studio::session::{Found, Outcome, Session};

/// Files that are opened.
#[derive(Debug, Default)]
pub struct Files {
    /// Models that were opened, newest first.
    pub recent: Vec<PathBuf>,
    /// A checkpoint that is to become a model file.
    pub importer: Importer,
}

impl Files {
    /// Does what was asked of it.
    pub fn perform(&mut self, action: FilesAction, session: &mut Session, actions: &mut Actions) {
        match action {
            FilesAction::Open(path) => self.open(path, session, actions),
            FilesAction::Restore(restored) => {
                if session.restore(&restored) {
                    actions.push(ControlsAction::ClearSearch);
                    actions.push(ControlsAction::RevealClass);
                }
            }
        }
    }

    /// Opens a file that was chosen or dropped: a model, or anything that settings can be read from.
    ///
    /// The folder of a run stands for its model.
    pub fn open(&mut self, path: PathBuf, session: &mut Session, actions: &mut Actions) {
        let path = file_of(&path);
        if is_checkpoint(&path) {
            self.importer.offer(&path);
            actions.push(WindowAction::Reveal(Pane::Model));
            return session.notices.settled(About::Opening);
        }
        let Some(kind) = Kind::of(&path) else { return refuse(&path, 0, session) };
        let title = format!("Reading {}", name_of(&path));
        session.jobs.start_about(About::Opening, title, move |_| {
            // What is wrong with a model is said where it is loaded.
            if kind == Kind::Tensors && !is_trajectory(&path) {
                return Outcome::Found(Found::Model(path));
            }
            if kind == Kind::Json {
                return match calibrate::read(&path) {
                    Ok(report) => Outcome::Found(Found::Calibration {
                        report: Box::new(report),
                        chosen: true,
                    }),
                    Err(error) => Outcome::Failed(format!("{}: {error}.", path.display())),
                };
            }
            match Restored::read(&path) {
                Ok(restored) => Outcome::Found(Found::Restored(Box::new(restored))),
                Err(text) => Outcome::Failed(text),
            }
        });
    }

    /// Opens the first of files that were dropped together that can be opened.
    pub fn open_dropped(
        &mut self,
        files: Vec<PathBuf>,
        session: &mut Session,
        actions: &mut Actions,
    ) {
        session.notices.settled(About::Dropping);
        let files: Vec<_> = files.iter().map(|path| file_of(path)).collect();
        let first = files.iter().position(|path| can_open(path)).unwrap_or(0);
        let Some(path) = files.get(first) else { return };
        if !can_open(path) {
            return refuse(path, files.len() - 1, session);
        }
        self.open(path.clone(), session, actions);
        tell_left_out(path, files.len() - 1, session);
    }

    /// Opens a model file.
    pub fn load(&mut self, path: PathBuf, session: &mut Session) {
        session.load_model(ModelSource::File(path));
    }

    /// Puts the file of the model in use first among those that were opened.
    pub fn remember_model(&mut self, session: &Session) {
        const KEPT: usize = 10;
        let source = session.model.as_ref().map(|model| &model.source);
        let Some(ModelSource::File(path)) = source else { return };
        self.recent.retain(|known| known != path);
        self.recent.insert(0, path.clone());
        self.recent.truncate(KEPT);
    }
}

/// Whether a file is one that [`Files::open`] opens, by its name.
fn can_open(path: &Path) -> bool {
    Kind::of(path).is_some() || is_checkpoint(path)
}

/// Whether a file is a checkpoint of the reference, by its name.
fn is_checkpoint(path: &Path) -> bool {
    path.extension().is_some_and(|end| end.eq_ignore_ascii_case("pth"))
}

/// Says that `others` were dropped with a file, and left.
pub fn tell_left_out(opened: &Path, others: usize, session: &mut Session) {
    if others > 0 {
        let text = format!(
            "{} is opened. {} dropped with it {} not: drop them one at a time.",
            name_of(opened),
            count(others, "file"),
            if others == 1 { "was" } else { "were" },
        );
        session.notices.warn(About::Dropping, text);
    }
}

/// Says what can be opened, since a file, and `others` with it, cannot.
fn refuse(path: &Path, others: usize, session: &mut Session) {
    let name = name_of(path);
    let (who, were) = match others {
        0 => (name, "was"),
        others => (format!("{name} and {}", count(others, "other file")), "were"),
    };
    let text = match path.is_dir() {
        true => format!(
            "{who} {were} not opened: a folder holds no model unless it is that of a finished run."
        ),
        false => format!(
            "{who} {were} not opened: a model or a trajectory is a .safetensors file, a picture \
             made here a .png, its settings a .toml, and a calibration a .json.",
        ),
    };
    session.notices.error_about(About::Opening, text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::studio::action::Action;
    use crate::studio::base::notices::{Entry, Level};

    #[test]
    fn a_file_that_is_no_model_is_refused_in_words() {
        let (mut session, mut actions) = (Session::default(), Actions::default());
        Files::default().open("/tmp/cat.jpeg".into(), &mut session, &mut actions);
        let Entry { level, text, .. } = session.notices.banner.as_ref().unwrap();
        assert_eq!(*level, Level::Error);
        assert!(text.contains("cat.jpeg") && text.contains(".safetensors"), "{text}");
        assert!(session.take_commands().is_empty() && actions.pop().is_none());
    }

    #[test]
    fn a_checkpoint_is_offered_to_the_import_and_shown() {
        let (mut session, mut actions) = (Session::default(), Actions::default());
        let mut files = Files::default();
        files.open("/tmp/cats.pth".into(), &mut session, &mut actions);
        assert_eq!(files.importer.paths[0], "/tmp/cats.pth");
        let Some(Action::Window(WindowAction::Reveal(pane))) = actions.pop() else {
            panic!("no pane is shown")
        };
        assert_eq!(pane, Pane::Model);
    }
}
