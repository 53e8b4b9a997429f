//! What can be exported, and how an export goes: a place is chosen, the run is fed to a job, and the
//! job writes the file.

use std::fmt;
use std::fs;
use std::future::Future;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Instant;

use rfd::{AsyncFileDialog, FileHandle};

use super::feed::{Feed, FeedError, FeedReceiver, Wanted};
use super::labels::{file_name, run_name, settings_here};
use super::numbers;
use crate::flow::trajectory::{self, End};
use crate::io::animation::{Animation, AnimationError, Format};
use crate::io::tensors::TensorFileError;
use crate::io::{atomic, png};
use crate::studio::action::ExportAction;
use crate::studio::base::dialogs::{Choice, pictures_folder, unused_name, with_ending};
use crate::studio::base::images::contact_sheet;
use crate::studio::base::jobs::Progress;
use crate::studio::engine::{RunId, View};
use crate::studio::session::run::{Run, class_name};
use crate::studio::session::{Outcome, Session, settings_file};

/// Something to export of the current run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Export {
    /// A picture of the current step, as PNG.
    Picture(usize),
    /// All pictures of the current step, on one sheet.
    Sheet,
    /// Every step as a frame.
    Animation(Format),
    /// Every number, as safetensors.
    Trajectory,
    /// A line of figures a step, as CSV.
    Numbers,
    /// The settings, as TOML.
    Settings,
}

impl Export {
    fn extension(self) -> &'static str {
        match self {
            Self::Picture(_) | Self::Sheet => "png",
            Self::Animation(format) => format.extension(),
            Self::Trajectory => "safetensors",
            Self::Numbers => "csv",
            Self::Settings => "toml",
        }
    }

    /// What its file is, in words.
    fn name(self) -> &'static str {
        match self {
            Self::Picture(_) => "PNG picture",
            Self::Sheet => "Contact sheet",
            Self::Animation(Format::Gif) => "GIF",
            Self::Animation(Format::Apng) => "APNG",
            Self::Trajectory => "Trajectory",
            Self::Numbers => "Numbers of every step",
            Self::Settings => "Settings",
        }
    }
}

/// Where exports go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Destination {
    /// Where a person says, each time.
    #[default]
    Ask,
    /// Into this folder, under a name that is not taken.
    Folder(PathBuf),
}

/// Exports on their way.
#[derive(Debug, Default)]
pub struct Exports {
    /// Where they go.
    pub destination: Destination,
    feeds: Vec<Feed>,
    /// Runs that are no longer shown, but being exported.
    old: Vec<Run>,
}

impl Exports {
    /// Does what was asked of it.
    pub fn perform(&mut self, action: ExportAction, session: &mut Session) {
        let ExportAction::Copy(files) = action;
        self.copy(files, session);
    }

    /// Holds on to a run that goes off the screen for as long as it is being exported.
    pub fn hold(&mut self, run: Option<Box<Run>>) {
        let Some(run) = run else { return };
        if self.feeds.iter().any(|feed| feed.run() == run.id) {
            self.old.push(*run);
        }
    }

    /// Ends the exports that wait for the compute thread, which broke off.
    pub fn fail_waiting(&mut self, text: &str) {
        self.feeds.iter_mut().for_each(|feed| feed.fail(text));
    }
}

/// Why there is no file.
#[derive(Debug)]
pub(super) enum Stop {
    /// A person said so.
    Cancelled,
    /// What is wrong.
    Failed(String),
}

impl Stop {
    pub(super) fn failed(reason: impl fmt::Display) -> Self {
        Self::Failed(reason.to_string())
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::failed(error)
    }
}

impl From<AnimationError> for Stop {
    fn from(error: AnimationError) -> Self {
        Self::failed(error)
    }
}

impl From<TensorFileError> for Stop {
    fn from(error: TensorFileError) -> Self {
        match error {
            // The path is named anyway.
            TensorFileError::Io { source, .. } => Self::failed(source),
            error => Self::failed(error),
        }
    }
}

impl From<FeedError> for Stop {
    fn from(error: FeedError) -> Self {
        match error {
            FeedError::Cancelled => Self::Cancelled,
            FeedError::Failed(text) => Self::Failed(text),
        }
    }
}

/// A place for a file that may still have to be chosen.
pub(super) enum Place {
    Dialog(Pin<Box<dyn Future<Output = Option<FileHandle>> + Send>>, Instant),
    Folder(PathBuf),
}

impl Place {
    /// Begins to ask where a file is to go. Dialogs have to be made on the window's thread.
    pub(super) fn ask(destination: &Destination, kind: &str, name: &str) -> Self {
        match destination {
            Destination::Folder(folder) => Self::Folder(folder.clone()),
            Destination::Ask => {
                let end = Path::new(name).extension().unwrap_or_default().to_string_lossy();
                let dialog = AsyncFileDialog::new()
                    .set_title(format!("Save: {kind}"))
                    .set_file_name(name)
                    .add_filter(kind, &[end]);
                Self::Dialog(Box::pin(dialog.save_file()), Instant::now())
            }
        }
    }

    /// The path that was chosen; nothing where the dialog was closed. Where none could be shown, one in
    /// the folder of pictures.
    pub(super) fn wait(self, name: &str) -> Option<PathBuf> {
        match self {
            Self::Folder(folder) => Some(unused_name(&folder, name)),
            Self::Dialog(dialog, opened) => match Choice::wait(dialog, opened) {
                Choice::Path(path) => Some(with_ending(path, name)),
                Choice::Closed => None,
                Choice::NotShown => Some(unused_name(&pictures_folder(), name)),
            },
        }
    }
}

/// Waits for the place, lets `write` write the file, and says what came of it.
pub(super) fn write_file(
    place: Place,
    name: &str,
    progress: &Progress,
    write: impl FnOnce(&Path) -> Result<(), Stop>,
) -> Outcome {
    let Some(path) = place.wait(name) else { return Outcome::Cancelled };
    if progress.is_cancelled() {
        return Outcome::Cancelled;
    }
    match write(&path) {
        Ok(()) => Outcome::Done(format!("Saved {}.", path.display())),
        Err(Stop::Cancelled) => Outcome::Cancelled,
        Err(Stop::Failed(reason)) => Outcome::Failed(format!(
            "{} was not written: {}.",
            path.display(),
            reason.trim_end_matches('.')
        )),
    }
}

/// Whether there is anything of this kind to export of the current run.
pub fn can_export(session: &Session, what: Export) -> bool {
    let Some(run) = &session.run else { return false };
    match what {
        Export::Picture(index) => index < run.shape.batch,
        Export::Sheet => run.shape.batch > 1,
        Export::Animation(_) | Export::Numbers => run.positions() > 0,
        Export::Trajectory => run.end.is_some(),
        Export::Settings => true,
    }
}

impl Exports {
    /// Begins to export something of the current run.
    pub fn export(&mut self, what: Export, session: &mut Session) {
        let picture = match what {
            Export::Picture(index) => Some(index),
            _ => None,
        };
        let whole = !matches!(what, Export::Picture(_) | Export::Sheet);
        let json = match settings_here(session, picture, whole) {
            Some(Ok(json)) => json,
            Some(Err(error)) => {
                let text = format!("The settings could not be written down: {error}.");
                return session.notices.error(text);
            }
            None => return,
        };
        let Some(run) = &session.run else { return };
        let name = match what {
            Export::Picture(_) | Export::Sheet => file_name(run, session.position, picture),
            _ => format!("{}.{}", run_name(run, None), what.extension()),
        };
        let title = format!("{} of {}", what.name(), class_name(&run.model.card, &run.settings));
        let id = run.id;
        let place = Place::ask(&self.destination, what.name(), &name);
        match what {
            Export::Picture(_) | Export::Sheet => {
                let Some(wanted) = wanted_here(session) else { return };
                let receiver = self.begin_feed(id, [wanted], session);
                session.jobs.start(title, move |progress| {
                    write_file(place, &name, progress, |path| {
                        write_picture(path, &receiver, progress, picture, &json)
                    })
                });
            }
            Export::Animation(format) => {
                let all = (0..run.positions()).map(|at| Wanted::Pictures(at, View::Predicted));
                let (all, frames) = (all.collect::<Vec<_>>(), run.positions());
                let receiver = self.begin_feed(id, all, session);
                session.jobs.start(title, move |progress| {
                    write_file(place, &name, progress, |path| {
                        write_animation(path, &receiver, progress, format, frames, &json)
                    })
                });
            }
            Export::Trajectory => {
                let Some(end) = &run.end else { return };
                let (settings, codes) = (run.settings.clone(), end.codes.clone());
                let steps = run.frames.len();
                let receiver = self.begin_feed(id, (0..steps).map(Wanted::Record), session);
                session.jobs.start(title, move |progress| {
                    write_file(place, &name, progress, |path| {
                        let end = End { settings: &settings, settings_json: json, codes: &codes };
                        trajectory::write_steps(path, end, steps, |at| {
                            progress.reach(at as f32 / steps as f32);
                            receiver.record(progress).map_err(Stop::from)
                        })
                    })
                });
            }
            Export::Numbers => {
                let text = numbers::csv(run);
                session.jobs.start(title, move |progress| {
                    write_file(place, &name, progress, |path| {
                        Ok(atomic::write(path, text.as_bytes())?)
                    })
                });
            }
            Export::Settings => session.jobs.start(title, move |progress| {
                write_file(place, &name, progress, |path| {
                    let text = settings_file::from_json(&json).map_err(Stop::failed)?;
                    Ok(atomic::write(path, text.as_bytes())?)
                })
            }),
        }
    }

    fn begin_feed(
        &mut self,
        run: RunId,
        wanted: impl IntoIterator<Item = Wanted>,
        session: &Session,
    ) -> FeedReceiver {
        let (feed, receiver) = Feed::new(run, wanted);
        self.feeds.push(feed);
        session.jobs.wake().call();
        receiver
    }

    /// Starts to hand over the pictures of the current step.
    pub fn feed_here(&mut self, session: &Session) -> Option<FeedReceiver> {
        let wanted = wanted_here(session)?;
        let id = session.run.as_ref()?.id;
        Some(self.begin_feed(id, [wanted], session))
    }

    /// Starts to hand over the predicted pictures at a position of a run.
    pub fn feed_step(&mut self, run: RunId, position: usize, session: &Session) -> FeedReceiver {
        self.begin_feed(run, [Wanted::Pictures(position, View::Predicted)], session)
    }

    /// Once a frame: feeds the jobs.
    pub fn follow(&mut self, session: &mut Session) {
        let Self { feeds, old, .. } = self;
        feeds.retain_mut(|feed| feed.follow(session, old));
        old.retain(|run| feeds.iter().any(|feed| feed.run() == run.id));
    }

    /// Copies files of the gallery to where a person says.
    fn copy(&mut self, files: Vec<PathBuf>, session: &mut Session) {
        let names: Vec<String> = files
            .iter()
            .filter_map(|file| Some(file.file_name()?.to_string_lossy().into_owned()))
            .collect();
        match (&files[..], &names[..]) {
            ([file], [name]) => {
                let place = Place::ask(&self.destination, "PNG picture", name);
                let (file, name) = (file.clone(), name.clone());
                session.jobs.start(format!("Copy of {name}"), move |progress| {
                    write_file(place, &name, progress, |path| {
                        Ok(atomic::write(path, &fs::read(&file)?)?)
                    })
                });
            }
            ([_, _, ..], _) => self.copy_many(files, session),
            _ => {}
        }
    }

    fn copy_many(&mut self, files: Vec<PathBuf>, session: &mut Session) {
        let opened = Instant::now();
        let dialog: Pin<Box<dyn Future<Output = Option<FileHandle>> + Send>> = match &self
            .destination
        {
            Destination::Folder(_) => Box::pin(async { None }),
            Destination::Ask => {
                let dialog = AsyncFileDialog::new().set_title("Copy the pictures into a folder");
                Box::pin(dialog.pick_folder())
            }
        };
        let given = match &self.destination {
            Destination::Folder(folder) => Some(folder.clone()),
            Destination::Ask => None,
        };
        session.jobs.start(format!("Copies of {} pictures", files.len()), move |progress| {
            let chosen = given.or_else(|| match Choice::wait(dialog, opened) {
                Choice::Path(folder) => Some(folder),
                Choice::Closed => None,
                Choice::NotShown => Some(pictures_folder()),
            });
            let Some(folder) = chosen else { return Outcome::Cancelled };
            for (at, file) in files.iter().enumerate() {
                if progress.is_cancelled() {
                    return Outcome::Done(format!(
                        "{at} of {} pictures were copied to {} before the rest was cancelled.",
                        files.len(),
                        folder.display()
                    ));
                }
                progress.reach(at as f32 / files.len() as f32);
                let name = file.file_name().unwrap_or_default().to_string_lossy();
                let path = unused_name(&folder, &name);
                let copied = fs::read(file).and_then(|bytes| atomic::write(&path, &bytes));
                if let Err(error) = copied {
                    let path = path.display();
                    return Outcome::Failed(format!("{path} was not written: {error}."));
                }
            }
            Outcome::Done(format!("Saved {} pictures in {}.", files.len(), folder.display()))
        });
    }
}

/// What is to be fed to show the current step.
fn wanted_here(session: &Session) -> Option<Wanted> {
    let (key, known) = session.known_pictures();
    let key = key?;
    let known = known.filter(|pictures| pictures.host().is_some());
    Some(match known {
        Some(pictures) => Wanted::Ready(pictures),
        None if key.ticket != 0 => Wanted::Belief(key.position, key.view, session.shown()?.record),
        None => Wanted::Pictures(key.position, key.view),
    })
}

fn write_picture(
    path: &Path,
    receiver: &FeedReceiver,
    progress: &Progress,
    picture: Option<usize>,
    json: &str,
) -> Result<(), Stop> {
    let pictures = receiver.pictures(progress)?;
    let image = match picture {
        Some(index) => pictures.host().and_then(|pictures| pictures.get(index)).cloned(),
        None => contact_sheet(&pictures),
    };
    let image = image.ok_or_else(|| Stop::failed("the picture is gone"))?;
    let bytes = png::encode(&image, json).map_err(Stop::failed)?;
    Ok(atomic::write(path, &bytes)?)
}

fn write_animation(
    path: &Path,
    receiver: &FeedReceiver,
    progress: &Progress,
    format: Format,
    frames: usize,
    json: &str,
) -> Result<(), Stop> {
    atomic::write_with(path, |aside| {
        let mut out = BufWriter::new(aside);
        let mut animation = Animation::new(format, &mut out, frames, json)?;
        for frame in 0..frames {
            let pictures = receiver.pictures(progress)?;
            let pictures = pictures.host().ok_or_else(|| Stop::failed("a picture is gone"))?;
            animation.frame(pictures)?;
            progress.reach((frame + 1) as f32 / frames as f32);
        }
        animation.finish()?;
        out.flush()?;
        if progress.is_cancelled() { Err(Stop::Cancelled) } else { Ok(()) }
    })
}
