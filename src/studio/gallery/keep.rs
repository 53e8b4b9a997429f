//! What becomes of finished pictures.

use std::time::SystemTime;

use image::RgbImage;

use super::Gallery;
use super::worker::{Fresh, Task};
use crate::studio::base::text::count;
use crate::studio::engine::View;
use crate::studio::engine::pictures::Pictures;
use crate::studio::export::{self, Exports, FeedReceiver};
use crate::studio::session::{Outcome, Session};

/// Names and settings of pictures that are to be kept, in the order of the batch.
type Labels = Vec<(String, String)>;

impl Gallery {
    /// Keeps the pictures of the current step.
    pub fn keep(&mut self, session: &mut Session, exports: &mut Exports) {
        if self.folder().is_none() {
            let text = "There is no folder for the gallery: set PURRSCOPE_GALLERY.";
            return session.notices.error(text);
        }
        let Some(run) = &session.run else { return };
        let (key, _) = session.known_pictures();
        let Some(key) = key else { return };
        let end = run.is_end(key.position) && key.ticket == 0 && key.view != View::State;
        if end && run.kept {
            return session.notices.tell("These pictures are in the gallery already.");
        }
        let batch = run.shape.batch;
        let labels = (0..batch).map(|image| {
            let name = export::run_name(run, Some(image));
            let when = match run.is_end(key.position) {
                true => String::new(),
                false => format!("-step{}", key.position + 1),
            };
            let json = export::settings_here(session, Some(image), false)?.ok()?;
            Some((format!("{image:03}-{name}{when}"), json))
        });
        let Some(labels) = labels.collect::<Option<Labels>>() else { return };
        let Some(receiver) = exports.feed_here(session) else { return };
        self.keep_fed(session, receiver, labels);
        if let Some(run) = session.run.as_mut().filter(|_| end) {
            run.kept = true;
        }
        session.notices.tell(format!("{} go to the gallery.", count(batch, "picture")));
    }

    /// Keeps what a run has made, as it ends.
    pub fn keep_end(&mut self, session: &mut Session, exports: &mut Exports) {
        let Some(run) = session.run.as_mut().filter(|_| self.folder().is_some()) else {
            return;
        };
        run.kept = true;
        let run = &*run;
        let Some(end) = &run.end else { return };
        let labels = (0..run.shape.batch).map(|image| {
            let json = export::settings_json(run, run.frames.len(), Some(image)).ok()?;
            Some((format!("{image:03}-{}", export::run_name(run, Some(image))), json))
        });
        let Some(labels) = labels.collect::<Option<Labels>>() else { return };
        let (pictures, id, last) = (end.pictures.clone(), run.id, run.frames.len());
        let at = SystemTime::now();
        match pictures.host() {
            Some(images) => {
                paired(at, images.to_vec(), labels).for_each(|fresh| self.put(fresh));
            }
            None => {
                let receiver = exports.feed_step(id, last, session);
                self.keep_fed(session, receiver, labels);
            }
        }
    }

    /// Keeps pictures that come by way of a feed.
    fn keep_fed(&mut self, session: &mut Session, receiver: FeedReceiver, labels: Labels) {
        let at = SystemTime::now();
        self.retry();
        let Some(tasks) = self.tasks() else { return };
        session.jobs.start("Pictures for the gallery", move |progress| {
            match receiver.pictures(progress) {
                Ok(pictures) => {
                    let Some(fresh) = fresh(at, &pictures, labels) else {
                        let text = "Pictures were not saved to the gallery: they could not be read \
                                    back from the GPU. Generate them again.";
                        return Outcome::Failed(text.to_owned());
                    };
                    for fresh in fresh {
                        // A send fails only when the window has gone.
                        let _ = tasks.send(Task::Keep(Box::new(fresh)));
                    }
                    Outcome::Quiet
                }
                Err(export::FeedError::Cancelled) => Outcome::Cancelled,
                Err(export::FeedError::Failed(reason)) => {
                    Outcome::Failed(format!("Pictures were not saved to the gallery: {reason}."))
                }
            }
        });
    }
}

/// Pictures as they go to the disk; nothing where they, or some of them, cannot be read back.
fn fresh(
    at: SystemTime,
    pictures: &Pictures,
    labels: Labels,
) -> Option<impl Iterator<Item = Fresh> + use<>> {
    let images = pictures.host().filter(|images| images.len() == labels.len())?;
    Some(paired(at, images.to_vec(), labels))
}

fn paired(
    at: SystemTime,
    images: Vec<RgbImage>,
    labels: Labels,
) -> impl Iterator<Item = Fresh> + use<> {
    let all = images.into_iter().zip(labels);
    all.map(move |(image, (rest, json))| Fresh { at, rest, image, json })
}
