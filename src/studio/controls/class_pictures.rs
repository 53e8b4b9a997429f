//! A small picture of every class, made while nothing else is computed and kept for the next time.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use egui::{Context, TextureHandle, TextureId, TextureOptions};
use image::RgbImage;

use crate::data::read_picture;
use crate::flow::SampleSettings;
use crate::io::{atomic, png};
use crate::studio::base::images::{colour_image, thumbnail};
use crate::studio::base::jobs::Outcome;
use crate::studio::engine::{Command, Sketch};
use crate::studio::session::Session;

/// Most pixels of a side.
const SIDE: u32 = 64;
/// Pictures made at once.
const BATCH: usize = 4;
/// Steps of a picture.
const STEPS: usize = 12;
/// How long nothing else is computed before one is begun.
const REST: Duration = Duration::from_millis(1500);
/// A model that takes longer for a batch is not troubled with any more.
const PATIENCE: Duration = Duration::from_secs(15);

/// A picture of a class, as far as it is known.
enum Known {
    Picture(RgbImage),
    Texture(TextureHandle),
    Missing,
}

/// Small pictures of the classes of the model in use.
pub(super) struct ClassPictures {
    folder: Option<PathBuf>,
    model: String,
    known: HashMap<usize, Known>,
    /// Labels that were looked for in this frame and are missing.
    wanted: Vec<usize>,
    /// Labels being made, and since when.
    asked: Option<(Vec<usize>, Instant)>,
    /// When something else was last computed.
    busy: Instant,
    given_up: bool,
}

impl ClassPictures {
    /// None yet; those that will be made are kept in a folder, if there is one.
    pub(super) fn new(folder: Option<PathBuf>) -> Self {
        Self {
            folder,
            model: String::new(),
            known: HashMap::new(),
            wanted: Vec::new(),
            asked: None,
            busy: Instant::now(),
            given_up: false,
        }
    }

    fn path(&self, label: usize) -> Option<PathBuf> {
        let folder = self.folder.as_ref().filter(|_| !self.model.is_empty())?;
        Some(folder.join(&self.model).join(format!("{label}.png")))
    }

    /// The picture of a class that is in view; without one yet it will be made.
    pub(super) fn texture(&mut self, ctx: &Context, label: usize) -> Option<TextureId> {
        let path = self.path(label);
        let known = self.known.entry(label).or_insert_with(|| {
            let read = path.and_then(|path| read_picture(&path).ok());
            read.map_or(Known::Missing, |picture| Known::Picture(thumbnail(picture, SIDE)))
        });
        if let Known::Picture(picture) = known {
            let image = colour_image(picture);
            let name = format!("class {label}");
            *known = Known::Texture(ctx.load_texture(name, image, TextureOptions::LINEAR));
        }
        if let Known::Texture(texture) = known {
            return Some(texture.id());
        }
        if !self.given_up {
            self.wanted.push(label);
            ctx.request_repaint_after(REST);
        }
        None
    }

    /// Once a frame: begins some of those that were missing in it, where nothing else is going on.
    pub(super) fn follow(&mut self, session: &mut Session, busy: bool) {
        let mut labels = std::mem::take(&mut self.wanted);
        let Some(model) = &session.model else { return };
        if model.hash != self.model {
            *self = Self { model: model.hash.clone(), ..Self::new(self.folder.take()) };
            return;
        }
        if busy || !session.is_idle() {
            self.busy = Instant::now();
        }
        let waits = self.asked.is_some() || self.busy.elapsed() < REST;
        if waits || labels.is_empty() || self.given_up {
            return;
        }
        labels.truncate(BATCH);
        let settings =
            SampleSettings { labels: labels.clone(), steps: STEPS, ..SampleSettings::default() };
        self.asked = Some((labels, Instant::now()));
        session.send(Command::Sketch(Box::new(settings)));
    }

    /// Labels of the pictures that are shown.
    #[cfg(test)]
    pub(super) fn shown(&self) -> Vec<usize> {
        let shown = self.known.iter().filter(|(_, known)| matches!(known, Known::Texture(_)));
        let mut labels: Vec<usize> = shown.map(|(label, _)| *label).collect();
        labels.sort_unstable();
        labels
    }

    /// Takes in what came of those that were begun.
    pub(super) fn take(&mut self, sketch: Sketch, session: &mut Session) {
        let Some((labels, begun)) = self.asked.take() else { return };
        match sketch {
            Sketch::Made(pictures) => {
                self.given_up = begun.elapsed() > PATIENCE;
                let pictures = pictures.host().unwrap_or_default();
                for (label, picture) in labels.into_iter().zip(pictures) {
                    let picture = thumbnail(picture.clone(), SIDE);
                    if let Some(path) = self.path(label) {
                        let picture = picture.clone();
                        session.jobs.start("Keeping a picture of a class", move |_| {
                            // One that cannot be kept is made again the next time.
                            let _ = keep(&path, &picture);
                            Outcome::Quiet
                        });
                    }
                    self.known.insert(label, Known::Picture(picture));
                }
            }
            Sketch::Dropped => self.busy = Instant::now(),
            Sketch::Failed(text) => {
                self.given_up = true;
                session.notices.note(format!("No pictures of the classes: {text}"));
            }
        }
    }
}

fn keep(path: &Path, picture: &RgbImage) -> io::Result<()> {
    let bytes = png::encode(picture, "{}").map_err(io::Error::other)?;
    fs::create_dir_all(atomic::folder_of(path))?;
    atomic::write(path, &bytes)
}
