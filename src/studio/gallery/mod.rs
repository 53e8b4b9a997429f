//! Pictures that were made, on disk: every finished picture becomes a PNG in a folder at once, with the
//! settings that made it inside.
//!
//! The folder is `gallery` in the program's data folder, or the one that `PURRSCOPE_GALLERY` names. All
//! that touches it happens on threads of its own; what the disk does not take stays in memory.

mod folder;
mod item;
mod keep;
pub mod pane;
mod stamp;
mod worker;

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Sender;

use image::RgbImage;

use self::folder::Folder;
pub use self::folder::read_picture;
pub use self::item::{Item, Made};
use self::worker::{Fresh, GalleryWorker, News, Task};
use crate::folders;
use crate::studio::base::notices::{About, Notices};
use crate::studio::base::text::count;
use crate::studio::base::worker::{Wake, no_thread};

/// The folder of the gallery: the one that the environment names, or one in the program's data folder.
pub fn default_folder() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("PURRSCOPE_GALLERY").filter(|named| !named.is_empty()) {
        return Some(named.into());
    }
    folders::data().map(|folder| folder.join("gallery"))
}

/// Pictures that were made. Without a folder, which is how it begins, nothing is kept.
#[derive(Default)]
pub struct Gallery {
    worker: Option<GalleryWorker>,
    /// The newest first; those of a batch in order.
    items: Vec<Arc<Item>>,
    names: HashSet<String>,
    /// Deleted in this session: one that is found late is not shown again.
    gone: HashSet<String>,
    /// Nothing until the list was read.
    favourites: Option<BTreeSet<String>>,
    scanning: bool,
    unsaved: VecDeque<Box<Fresh>>,
    /// Why they are not saved.
    trouble: Option<String>,
    deleted: Vec<Vec<String>>,
    /// Whole pictures that were asked for, the newest last.
    pictures: VecDeque<(String, Result<Arc<RgbImage>, String>)>,
    asked: HashSet<(String, bool)>,
    thumbnails: Vec<(String, RgbImage)>,
    revision: u64,
}

impl Gallery {
    /// Most bytes of pictures that wait in memory for a disk that takes them.
    const MOST_UNSAVED: usize = 256 << 20;
    /// Most whole pictures in memory.
    const PICTURES: usize = 8;
    /// Most files that are read at once.
    const READING: usize = 32;

    /// Opens the gallery in a folder; `wake` is called when there is something to take in.
    pub fn open(&mut self, folder: PathBuf, wake: Wake, notices: &mut Notices) {
        match GalleryWorker::start(Folder::new(folder), wake) {
            Ok(worker) => {
                *self = Self { worker: Some(worker), scanning: true, ..Self::default() };
            }
            Err(error) => notices.error_about(
                About::Gallery,
                format!("The gallery cannot be opened. {}", no_thread(&error)),
            ),
        }
    }

    /// Where it lies.
    pub fn folder(&self) -> Option<&Path> {
        self.worker.as_ref().map(|worker| worker.folder().path())
    }

    /// Where a picture of it lies.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.worker.as_ref().map(|worker| worker.folder().file(name))
    }

    /// Its pictures, the newest first.
    pub fn items(&self) -> &[Arc<Item>] {
        &self.items
    }

    /// A number that changes with [`Gallery::items`] and the favourites.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// A picture by its name.
    pub fn item(&self, name: &str) -> Option<&Arc<Item>> {
        self.items.iter().find(|item| item.name == name)
    }

    /// Whether there is a picture of this name.
    pub fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// Whether the folder is still being looked through.
    pub fn is_scanning(&self) -> bool {
        self.scanning
    }

    /// Whether something is being read from the folder.
    #[cfg(test)]
    pub(super) fn is_reading(&self) -> bool {
        self.scanning || !self.asked.is_empty() || !self.thumbnails.is_empty()
    }

    /// How many pictures wait for a disk that takes them, and why it does not.
    pub fn unsaved(&self) -> Option<(usize, &str)> {
        let reason = self.trouble.as_deref()?;
        (!self.unsaved.is_empty()).then_some((self.unsaved.len(), reason))
    }

    /// Once a frame: takes in what was done in the folder.
    pub fn follow(&mut self, notices: &mut Notices) {
        let Some(worker) = &self.worker else { return };
        let news: Vec<News> = worker.news().collect();
        if news.is_empty() {
            return;
        }
        let mut fresh = Vec::new();
        for news in news {
            match news {
                News::Favourites(names) => {
                    self.favourites.get_or_insert_default().extend(names);
                    self.revision += 1;
                }
                News::Found(items) => fresh.extend(items),
                News::Scanned(skipped) => {
                    self.scanning = false;
                    self.revision += 1;
                    tell_skipped(&skipped, notices);
                }
                News::Kept(item) => {
                    fresh.push(*item);
                    if self.unsaved.is_empty() {
                        self.trouble = None;
                        notices.settled(About::Gallery);
                    }
                }
                News::NotKept(fresh, reason) => self.take_unsaved(fresh, reason, notices),
                News::Read { name, small, image } => self.take_picture(name, small, image, notices),
                News::NotDeleted(item, reason) => {
                    let text = format!("{} was not deleted: {reason}.", item.name);
                    notices.error_about(About::Gallery, text);
                    for batch in &mut self.deleted {
                        batch.retain(|name| *name != item.name);
                    }
                    self.gone.remove(&item.name);
                    fresh.push(*item);
                }
                News::Undeleted(item) => {
                    self.gone.remove(&item.name);
                    fresh.push(*item);
                }
                News::Failed(text) => notices.error_about(About::Gallery, text),
            }
        }
        self.deleted.retain(|batch| !batch.is_empty());
        self.insert(fresh);
    }

    fn insert(&mut self, items: Vec<Item>) {
        let before = self.items.len();
        for item in items {
            if !self.gone.contains(&item.name) && self.names.insert(item.name.clone()) {
                self.items.push(Arc::new(item));
            }
        }
        if self.items.len() > before {
            self.items.sort_by(|a, b| b.stamp.cmp(&a.stamp).then_with(|| a.name.cmp(&b.name)));
            self.revision += 1;
        }
    }

    fn take_unsaved(&mut self, fresh: Box<Fresh>, reason: String, notices: &mut Notices) {
        self.unsaved.push_back(fresh);
        let bytes = |fresh: &Fresh| fresh.image.as_raw().len() + fresh.json.len();
        let mut held: usize = self.unsaved.iter().map(|fresh| bytes(fresh)).sum();
        let mut lost = 0;
        while held > Self::MOST_UNSAVED
            && let Some(oldest) = self.unsaved.pop_front()
        {
            held -= bytes(&oldest);
            lost += 1;
        }
        if lost > 0 {
            let lost = count(lost, "picture");
            let text = format!(
                "The gallery's disk is full, and {lost} had to be discarded: free some space there."
            );
            notices.error_about(About::Gallery, text);
        } else if self.trouble.is_none() {
            let place = self.folder().unwrap_or(Path::new("")).display().to_string();
            let text = format!(
                "Pictures could not be written to {place}: {reason}. They stay in memory: make \
                 room there, then press Retry in the gallery.",
            );
            notices.error_about(About::Gallery, text);
        }
        self.trouble = Some(reason);
    }

    /// Tries again to write what the disk did not take.
    pub fn retry(&mut self) {
        if let Some(worker) = &self.worker {
            self.unsaved.drain(..).for_each(|fresh| worker.give(Task::Keep(fresh)));
        }
    }

    /// Writes a picture.
    pub(super) fn put(&mut self, fresh: Fresh) {
        // The disk may have room again.
        self.retry();
        if let Some(worker) = &self.worker {
            worker.give(Task::Keep(Box::new(fresh)));
        }
    }

    /// What other threads give pictures to.
    fn tasks(&self) -> Option<Sender<Task>> {
        Some(self.worker.as_ref()?.tasks())
    }

    /// Whether a picture is a favourite.
    pub fn is_favourite(&self, name: &str) -> bool {
        self.favourites.as_ref().is_some_and(|names| names.contains(name))
    }

    /// Makes pictures favourites, or no longer.
    pub fn set_favourite(&mut self, names: &[String], favourite: bool) {
        // Before the list was read, writing it would lose what it says.
        let (Some(worker), Some(favourites)) = (&self.worker, &mut self.favourites) else { return };
        for name in names {
            match favourite {
                true => favourites.insert(name.clone()),
                false => favourites.remove(name),
            };
        }
        worker.give(Task::Favourites(favourites.clone()));
        self.revision += 1;
    }

    /// Puts pictures where deleted ones wait.
    pub fn delete(&mut self, names: Vec<String>) {
        let Some(worker) = &self.worker else { return };
        let names: Vec<String> = names.into_iter().filter(|name| self.names.remove(name)).collect();
        if names.is_empty() {
            return;
        }
        self.gone.extend(names.iter().cloned());
        self.items.retain(|item| self.names.contains(&item.name));
        self.pictures.retain(|(name, _)| self.names.contains(name));
        worker.give(Task::Delete(names.clone()));
        self.deleted.push(names);
        self.revision += 1;
    }

    /// How many pictures the last [`Gallery::delete`] took that can be taken back.
    pub fn can_undelete(&self) -> usize {
        self.deleted.last().map_or(0, Vec::len)
    }

    /// Takes back the last [`Gallery::delete`].
    pub fn undelete(&mut self) {
        if let (Some(worker), Some(names)) = (&self.worker, self.deleted.pop()) {
            worker.give(Task::Undelete(names));
        }
    }

    fn ask(&mut self, name: &str, small: bool) {
        let Some(worker) = &self.worker else { return };
        if self.asked.len() < Self::READING && self.asked.insert((name.to_owned(), small)) {
            worker.give(Task::Read { name: name.to_owned(), small });
        }
    }

    /// The pixels of a picture, once they are read; they are read when they are first asked for.
    /// Whoever wants a picture of the gallery for something asks until it is there.
    ///
    /// # Errors
    /// What is wrong with its file, in words.
    pub fn picture(&mut self, name: &str) -> Option<Result<Arc<RgbImage>, String>> {
        let known = self.pictures.iter().find(|(known, _)| known == name);
        if let Some((_, image)) = known {
            return Some(image.clone());
        }
        self.ask(name, false);
        None
    }

    /// Asks for a thumbnail, which [`Gallery::take_thumbnails`] will give.
    pub fn want_thumbnail(&mut self, name: &str) {
        self.ask(name, true);
    }

    /// Thumbnails that have come.
    pub fn take_thumbnails(&mut self) -> Vec<(String, RgbImage)> {
        std::mem::take(&mut self.thumbnails)
    }

    fn take_picture(
        &mut self,
        name: String,
        small: bool,
        image: Result<RgbImage, String>,
        notices: &mut Notices,
    ) {
        self.asked.remove(&(name.clone(), small));
        let here = self.names.contains(&name);
        match (image, small) {
            (Ok(image), true) => self.thumbnails.push((name, image)),
            (Err(reason), _) if here => {
                // Its settings are whole, but its pixels are not.
                tracing::warn!("{name} is left out: {reason}");
                notices.note(format!("{name} is left out of the gallery: {reason}."));
                self.names.remove(&name);
                self.items.retain(|item| item.name != name);
                self.revision += 1;
            }
            (Err(_), true) => {}
            (image, false) => {
                if self.pictures.len() == Self::PICTURES {
                    self.pictures.pop_front();
                }
                self.pictures.push_back((name, image.map(Arc::new)));
            }
        }
    }
}

fn tell_skipped(skipped: &[String], notices: &mut Notices) {
    let named = skipped.iter().take(3).map(String::as_str).collect::<Vec<_>>().join(", ");
    match skipped.len() {
        0 => {}
        1 => {
            notices.note(format!("{named} in the gallery's folder is no picture of this program."))
        }
        many => notices.note(format!(
            "{many} files in the gallery's folder are no pictures of this program: {named}{}.",
            if many > 3 { " and others" } else { "" }
        )),
    }
}

#[cfg(test)]
mod tests;
