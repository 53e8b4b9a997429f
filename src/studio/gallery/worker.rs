//! The gallery's threads: all that touches its folder happens on them.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::SystemTime;

use image::RgbImage;

use super::folder::Folder;
use super::item::Item;
use crate::studio::base::images::thumbnail;
use crate::studio::base::worker::{Wake, guarded};

/// Largest side of a thumbnail, in pixels.
pub const THUMBNAIL: u32 = 256;

/// A picture on its way to the disk.
#[derive(Debug, Clone)]
pub struct Fresh {
    /// When it was made.
    pub at: SystemTime,
    /// What its name says after the time.
    pub rest: String,
    /// The picture.
    pub image: RgbImage,
    /// Its settings.
    pub json: String,
}

/// What is to be done in the folder.
#[derive(Debug)]
pub enum Task {
    /// Write a picture.
    Keep(Box<Fresh>),
    /// Read a picture, perhaps made small.
    Read {
        /// Its name.
        name: String,
        /// Whether a thumbnail is wanted.
        small: bool,
    },
    /// Put pictures where deleted ones wait.
    Delete(Vec<String>),
    /// Take them back.
    Undelete(Vec<String>),
    /// Write the list of favourites.
    Favourites(BTreeSet<String>),
    /// Do nothing more.
    End,
}

/// What was done.
#[derive(Debug)]
pub enum News {
    /// The favourites, read at the start.
    Favourites(BTreeSet<String>),
    /// Pictures that are in the folder.
    Found(Vec<Item>),
    /// All were found; the names of those that are none.
    Scanned(Vec<String>),
    /// A picture is on disk.
    Kept(Box<Item>),
    /// A picture is not, and why.
    NotKept(Box<Fresh>, String),
    /// A picture was read, or what is wrong with it.
    Read {
        /// Its name.
        name: String,
        /// Whether it was made small.
        small: bool,
        /// The picture.
        image: Result<RgbImage, String>,
    },
    /// A picture was not deleted, and why.
    NotDeleted(Box<Item>, String),
    /// A picture is back.
    Undeleted(Box<Item>),
    /// Something else could not be done, in words.
    Failed(String),
}

/// The window's end of the threads. Dropping it waits until every picture is written.
#[derive(Debug)]
pub struct GalleryWorker {
    folder: Folder,
    tasks: Sender<Task>,
    news: Receiver<News>,
    thread: Option<JoinHandle<()>>,
    closing: Arc<AtomicBool>,
}

impl GalleryWorker {
    /// Starts to look through the folder.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn start(folder: Folder, wake: Wake) -> io::Result<Self> {
        let (tasks, inbox) = mpsc::channel();
        let (outbox, news) = mpsc::channel();
        let report = move |news| {
            // A send fails only when the window has gone.
            let sent = outbox.send(news).is_ok();
            wake.call();
            sent
        };
        let (place, tell) = (folder.clone(), report.clone());
        let named = |name: &str| thread::Builder::new().name(name.to_owned());
        named("purrscope-gallery-scan").spawn(move || {
            if let Err(reason) = guarded(|| look_through(&place, &tell)) {
                tell(News::Scanned(Vec::new()));
                tell(News::Failed(format!(
                    "Looking through {} broke off ({reason}), so that not all of its pictures are \
                     listed: start the program again to see them.",
                    place.path().display()
                )));
            }
        })?;
        let closing = Arc::new(AtomicBool::new(false));
        let (place, hurry) = (folder.clone(), Arc::clone(&closing));
        let thread = named("purrscope-gallery").spawn(move || {
            for task in inbox {
                if let Task::End = task {
                    return;
                }
                let pointless = matches!(task, Task::Read { .. }) && hurry.load(Ordering::Relaxed);
                if !pointless {
                    attempt(&place, task, &report);
                }
            }
        })?;
        Ok(Self { folder, tasks, news, thread: Some(thread), closing })
    }

    /// The folder.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// What can be handed to other threads to give tasks.
    pub fn tasks(&self) -> Sender<Task> {
        self.tasks.clone()
    }

    /// Gives a task; returns at once.
    pub fn give(&self, task: Task) {
        // A send fails only when the thread has ended, and it ends only with this handle.
        let _ = self.tasks.send(task);
    }

    /// What was done since the last call.
    pub fn news(&self) -> impl Iterator<Item = News> + '_ {
        self.news.try_iter()
    }
}

impl Drop for GalleryWorker {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Relaxed);
        // Others may still hold a way to give tasks, so that the end of it has to be said.
        self.give(Task::End);
        if let Some(thread) = self.thread.take() {
            // There is nobody left to tell of a panic.
            let _ = thread.join();
        }
    }
}

fn look_through(folder: &Folder, report: &impl Fn(News) -> bool) {
    report(News::Favourites(folder.favourites()));
    let scanned = folder.scan(|items| {
        report(News::Found(items));
    });
    match scanned {
        Ok(skipped) => report(News::Scanned(skipped)),
        Err(error) => {
            report(News::Scanned(Vec::new()));
            report(failed(folder.path(), "cannot be read", &error))
        }
    };
    folder.purge(SystemTime::now());
}

fn failed(path: &Path, what: &str, error: &io::Error) -> News {
    News::Failed(format!("{} {what}: {error}.", path.display()))
}

/// Does a task; where that panics, whoever waits for it is told.
fn attempt(folder: &Folder, task: Task, report: &impl Fn(News) -> bool) {
    if let Err(reason) = guarded(|| work(folder, &task, report)) {
        let reason = format!("the operation failed ({reason})");
        report(match task {
            Task::Keep(fresh) => News::NotKept(fresh, reason),
            Task::Read { name, small } => News::Read { name, small, image: Err(reason) },
            _ => News::Failed(format!("The gallery's folder was not changed as asked: {reason}.")),
        });
    }
}

fn work(folder: &Folder, task: &Task, report: &impl Fn(News) -> bool) {
    match task {
        Task::Keep(fresh) => {
            let Fresh { at, rest, image, json } = &**fresh;
            match folder.write(*at, rest, image, json) {
                Ok(item) => report(News::Kept(Box::new(item))),
                Err(error) => report(News::NotKept(fresh.clone(), error.to_string())),
            };
        }
        Task::Read { name, small } => {
            let image = folder.picture(name).map(|image| match small {
                true => thumbnail(image, THUMBNAIL),
                false => image,
            });
            report(News::Read { name: name.clone(), small: *small, image });
        }
        Task::Delete(names) => {
            for name in names {
                let item = folder.read(name);
                match (folder.delete(name), item) {
                    (Ok(()), _) => {}
                    (Err(error), Ok(item)) => {
                        report(News::NotDeleted(Box::new(item), error.to_string()));
                    }
                    (Err(error), Err(_)) => {
                        report(failed(&folder.file(name), "was not deleted", &error));
                    }
                }
            }
        }
        Task::Undelete(names) => {
            for name in names {
                match folder.undelete(name) {
                    Ok(item) => report(News::Undeleted(Box::new(item))),
                    Err(error) => report(failed(&folder.file(name), "did not come back", &error)),
                };
            }
        }
        Task::Favourites(names) => {
            if let Err(error) = folder.write_favourites(names.clone()) {
                report(failed(folder.path(), "does not take the favourites", &error));
            }
        }
        // Dealt with where tasks are taken.
        Task::End => {}
    }
}
