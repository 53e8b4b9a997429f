//! A folder of pictures, and the classes that they are of.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use image::RgbImage;
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::augment::Augment;
use super::background::Background;
use super::labels::{Assigned, Labels};
use super::left::Left;
use super::pictures::{Print, fit_square, read_with};
use super::walk::{Entries, Walk, entries};
use crate::io::digest;
use crate::rng::Stream;

/// A folder that cannot be trained on.
#[derive(Debug, Error)]
pub enum DataError {
    /// The file system refused.
    #[error("{path}: {source}")]
    Io {
        /// File or folder.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// There is no such folder.
    #[error("{path}: {found}, expected a folder of pictures with one sub-folder a class")]
    NotAFolder {
        /// What was named.
        path: PathBuf,
        /// What there is.
        found: String,
    },
    /// Nothing to train on.
    #[error(
        "{path}: no pictures found{found} (expected one sub-folder a class, holding png, jpg, webp, gif or bmp files)"
    )]
    Empty {
        /// The folder.
        path: PathBuf,
        /// What there is instead, in words that go on from the sentence, or nothing.
        found: String,
    },
    /// A table of classes that cannot be used.
    #[error("{path}, line {line}: {reason}")]
    Table {
        /// The table.
        path: PathBuf,
        /// Where, counted from 1.
        line: u64,
        /// What is wrong.
        reason: String,
    },
    /// It was asked to stop before all pictures had been looked at.
    #[error("stopped while pictures were being looked at, before the first step")]
    Interrupted,
    /// None of the pictures can be read.
    #[error("{path}: none of its {count} pictures can be read")]
    AllUnreadable {
        /// The folder.
        path: PathBuf,
        /// How many there are.
        count: usize,
    },
}

/// Pictures that cannot be read are named, so many of them at the most.
const MOST_NAMED: usize = 50;

/// The pictures of a folder: found at once, read when they are needed.
#[derive(Debug)]
pub struct ImageFolder {
    root: PathBuf,
    size: u32,
    background: Background,
    class_names: Vec<String>,
    /// Path and label, in order of class and name.
    files: Vec<(PathBuf, usize)>,
    /// The hashes of each file and picture, where all of them have been looked at.
    prints: Vec<Print>,
    left: Box<Left>,
    /// Files that turned out unreadable and have been named in a warning.
    unreadable: Mutex<BTreeSet<usize>>,
}

impl ImageFolder {
    /// Lists the pictures of `root`; they will be read as squares of `size` pixels. A sub-folder is a
    /// class, with all pictures in it and in folders below it; what is hidden or the system's is
    /// neither.
    ///
    /// # Errors
    /// The folder cannot be read, or holds no pictures in sub-folders.
    pub fn open(root: &Path, size: usize) -> Result<Self, DataError> {
        let path = || root.to_owned();
        expect_folder(root)?;
        let Entries { folders, pictures: loose, others } = entries(root)?;
        let mut walk = Walk::default();
        walk.claim(root);
        // Real folders before links to them: a folder's pictures belong to the class of its own name.
        let is_link = |path: &Path| fs::symlink_metadata(path).is_ok_and(|data| data.is_symlink());
        let (links, real): (Vec<_>, Vec<_>) = folders.iter().partition(|path| is_link(path));
        let claimed: BTreeSet<_> =
            real.into_iter().chain(links).filter(|path| walk.claim(path)).collect();
        let mut left = Left { others, ..Left::default() };
        loose.iter().for_each(|path| left.loose.add(|| named(root, path)));
        let (mut class_names, mut files) = (Vec::new(), Vec::new());
        for folder in &folders {
            let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if !claimed.contains(folder) {
                left.again.add(|| named(root, folder));
                continue;
            }
            let mut pictures = Vec::new();
            walk.collect(folder, &mut pictures)?;
            if pictures.is_empty() {
                left.empty.add(|| named(root, folder));
                continue;
            }
            let label = class_names.len();
            class_names.push(name);
            files.extend(pictures.into_iter().map(|path| (path, label)));
        }
        left.others += walk.others;
        if files.is_empty() {
            let found = match left.loose.count() {
                0 => String::new(),
                count => format!(" in sub-folders; {count} lie in the folder itself"),
            };
            return Err(DataError::Empty { path: path(), found });
        }
        Ok(Self::of(root, size, class_names, files, left))
    }

    /// As [`ImageFolder::open`], all pictures in the folder and in folders below it being of one class, which has
    /// the folder's name.
    ///
    /// # Errors
    /// The folder cannot be read, or holds no pictures.
    pub fn open_unsorted(root: &Path, size: usize) -> Result<Self, DataError> {
        let (pictures, left) = all_below(root)?;
        let whole = fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
        let name = whole.file_name().map_or("all".into(), |name| name.to_string_lossy());
        let files = pictures.into_iter().map(|path| (path, 0)).collect();
        Ok(Self::of(root, size, vec![name.into_owned()], files, left))
    }

    /// As [`ImageFolder::open_unsorted`], the classes being those that a table has for the pictures. Those that it
    /// has none for are left out, and so are classes without pictures.
    ///
    /// # Errors
    /// The folder cannot be read, holds no pictures, or the table says nothing about them, or not which.
    pub fn open_labelled(root: &Path, size: usize, table: &Labels) -> Result<Self, DataError> {
        let (pictures, mut left) = all_below(root)?;
        let relative: Vec<PathBuf> = pictures
            .iter()
            .map(|path| path.strip_prefix(root).unwrap_or(path).to_owned())
            .collect();
        let Assigned { labels, unmet } = table.assign(root, &relative)?;
        left.unmet = unmet;
        let used: BTreeSet<usize> = labels.iter().flatten().copied().collect();
        let place: HashMap<usize, usize> = used.iter().copied().zip(0..).collect();
        let mut files = Vec::new();
        for (path, label) in pictures.into_iter().zip(labels) {
            match label.and_then(|label| place.get(&label)) {
                Some(label) => files.push((path, *label)),
                None => left.unlabelled.add(|| named(root, &path)),
            }
        }
        if files.is_empty() {
            let found = format!(" that have a class in {}", table.path().display());
            return Err(DataError::Empty { path: root.to_owned(), found });
        }
        files.sort_by(|(path, label), (other, its)| (label, path).cmp(&(its, other)));
        let class_names = used.iter().map(|label| table.classes()[*label].clone()).collect();
        Ok(Self::of(root, size, class_names, files, left))
    }

    /// As [`ImageFolder::open`] or, where no pictures lie in sub-folders, [`ImageFolder::open_unsorted`], and whether it
    /// was the first.
    ///
    /// # Errors
    /// The folder cannot be read, or holds no pictures.
    pub fn open_sorted_or_not(root: &Path, size: usize) -> Result<(Self, bool), DataError> {
        match Self::open(root, size) {
            Err(DataError::Empty { .. }) => Ok((Self::open_unsorted(root, size)?, false)),
            opened => Ok((opened?, true)),
        }
    }

    fn of(
        root: &Path,
        size: usize,
        class_names: Vec<String>,
        files: Vec<(PathBuf, usize)>,
        left: Left,
    ) -> Self {
        let (root, size, background) = (root.to_owned(), size as u32, Background::default());
        let (prints, unreadable, left) = (Vec::new(), Mutex::default(), Box::new(left));
        Self { root, size, background, class_names, files, prints, left, unreadable }
    }

    /// The same pictures, on that colour where they are transparent.
    pub fn on(self, background: Background) -> Self {
        Self { background, prints: Vec::new(), ..self }
    }

    /// Says in the log what was found and, in one line, what was left out.
    pub fn tell(&self) {
        self.left.tell(&self.root, &self.class_names, self.len());
    }

    /// Reads every picture once and leaves out what cannot be read, and what has the very pixels of a picture
    /// before it in its class. No more pictures are held than there are threads.
    ///
    /// # Errors
    /// No picture can be read, or `stop` was asked for.
    pub fn looked_through(mut self, stop: &AtomicBool) -> Result<Self, DataError> {
        let look = |(path, _): &(PathBuf, usize)| match stop.load(Ordering::Relaxed) {
            true => Err(DataError::Interrupted),
            false => Ok(Print::of(path, self.background).map_err(|error| error.to_string())),
        };
        let looked = self.files.par_iter().map(look).collect::<Result<Vec<_>, _>>()?;
        let mut left = std::mem::take(&mut self.left);
        let mut first: HashMap<[u8; 32], Vec<usize>> = HashMap::new();
        let (mut kept, mut prints) = (Vec::new(), Vec::new());
        for (index, print) in looked.into_iter().enumerate() {
            let print = match print {
                Ok(print) => print,
                Err(said) => {
                    tracing::debug!("left out {said}");
                    left.unread.add(|| said);
                    continue;
                }
            };
            let (path, label) = &self.files[index];
            let like = first.entry(print.picture).or_default();
            let name = |index: usize| named(&self.root, &self.files[index].0);
            if let Some(twin) = like.iter().find(|twin| self.files[**twin].1 == *label) {
                tracing::debug!("left out {}, a copy of {}", path.display(), name(*twin));
                left.copies.add(|| format!("{} of {}", name(index), name(*twin)));
                continue;
            }
            if let [other, ..] = like[..] {
                left.across.add(|| format!("{} and {}", name(other), name(index)));
            }
            like.push(index);
            kept.push(index);
            prints.push(print);
        }
        if kept.is_empty() {
            let (path, count) = (self.root.clone(), self.len());
            return Err(DataError::AllUnreadable { path, count });
        }
        let had: HashSet<usize> = kept.iter().map(|index| self.files[*index].1).collect();
        let wanted: BTreeSet<usize> = self.files.iter().map(|(_, label)| *label).collect();
        for label in wanted.iter().filter(|label| !had.contains(label)) {
            left.hopeless.add(|| self.class_names[*label].escape_debug().to_string());
        }
        let files = kept.iter().map(|index| self.files[*index].clone()).collect();
        Ok(Self { files, prints, left, ..self })
    }

    /// These pictures without those that another folder has as well, in whatever class, as far as both have been
    /// [looked through](ImageFolder::looked_through). Where it has all of them, they stay, with a warning.
    pub fn without_those_of(mut self, other: &Self) -> Self {
        let known: HashSet<[u8; 32]> = other.prints.iter().map(|print| print.picture).collect();
        let is_new = |index: &usize| {
            self.prints.get(*index).is_none_or(|print| !known.contains(&print.picture))
        };
        let (new, old): (Vec<usize>, Vec<usize>) = (0..self.len()).partition(is_new);
        if new.is_empty() {
            tracing::warn!(
                "{}: all of its pictures are trained on: held-out figures say nothing about new ones",
                self.root.display()
            );
            return self;
        }
        let mut left = std::mem::take(&mut self.left);
        old.iter().for_each(|index| left.trained.add(|| named(&self.root, &self.files[*index].0)));
        Self { left, ..self.some(&new) }
    }

    /// Some of the pictures.
    fn some(&self, indices: &[usize]) -> Self {
        Self {
            root: self.root.clone(),
            size: self.size,
            background: self.background,
            class_names: self.class_names.clone(),
            files: indices.iter().map(|index| self.files[*index].clone()).collect(),
            prints: indices.iter().filter_map(|index| self.prints.get(*index).copied()).collect(),
            left: Box::default(),
            unreadable: Mutex::default(),
        }
    }

    /// These pictures without about so large a share of them, and that share; nothing where one of the two would
    /// be empty. Which pictures it has is decided by what each of them holds: the same ones wherever they lie and
    /// whatever else lies there. Copies of a file are all on one side, and where the pictures have been
    /// [looked through](ImageFolder::looked_through) those of the same pixels.
    pub fn split(&self, share: f64) -> Option<(Self, Self)> {
        let most = (share.clamp(0.0, 1.0) * 2f64.powi(32)) as u64;
        let number = |index: usize| {
            let [a, b, c, d, ..] = self.fingerprint(index);
            u64::from(u32::from_be_bytes([a, b, c, d]))
        };
        let mut numbers: Vec<u64> = (0..self.len()).into_par_iter().map(number).collect();
        // Files of the same picture go where the least of them goes.
        let mut least: HashMap<[u8; 32], u64> = HashMap::new();
        for (print, number) in self.prints.iter().zip(&numbers) {
            match least.entry(print.picture) {
                Entry::Occupied(mut known) => *known.get_mut() = *number.min(known.get()),
                Entry::Vacant(new) => drop(new.insert(*number)),
            }
        }
        for (print, number) in self.prints.iter().zip(&mut numbers) {
            *number = least.get(&print.picture).copied().unwrap_or(*number);
        }
        let (held, kept): (Vec<usize>, Vec<usize>) =
            (0..self.len()).partition(|index| numbers[*index] < most);
        (!held.is_empty() && !kept.is_empty()).then(|| (self.some(&kept), self.some(&held)))
    }

    /// The same pictures with the labels that `names` gives to their classes; those of other classes are
    /// left out, and the names of these classes given besides.
    pub fn relabelled(self, names: &[String]) -> (Self, Vec<String>) {
        let label = |name: &String| names.iter().position(|known| known == name);
        let labels: Vec<_> = self.class_names.iter().map(label).collect();
        let known: Vec<usize> =
            (0..self.len()).filter(|index| labels[self.files[*index].1].is_some()).collect();
        let mut some = self.some(&known);
        some.files.iter_mut().for_each(|(_, old)| *old = labels[*old].unwrap_or(*old));
        some.class_names = names.to_vec();
        let pairs = self.class_names.into_iter().zip(labels);
        let unknown = pairs.filter(|(_, label)| label.is_none()).map(|(name, _)| name).collect();
        (some, unknown)
    }

    /// The folder, as it was named.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// How many copies of pictures in their class were left out.
    pub fn copies(&self) -> usize {
        self.left.copies.count()
    }

    /// Names of the classes, in order of label.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// Number of files, unreadable ones included.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether there are no files; a folder that was opened has some.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Path, relative to the folder, and label of every file.
    pub fn files(&self) -> impl Iterator<Item = (&Path, usize)> {
        self.files
            .iter()
            .map(|(path, label)| (path.strip_prefix(&self.root).unwrap_or(path.as_path()), *label))
    }

    /// The pictures at `indices` with their labels. In the place of an unreadable picture stands
    /// the next readable one; it is named in a warning the first time.
    ///
    /// # Errors
    /// No picture of the folder can be read.
    pub fn pictures(&self, indices: &[usize]) -> Result<Vec<(RgbImage, usize)>, DataError> {
        let picture = |index: &usize| {
            self.next_readable(*index, |index| Some((self.try_read(index)?, self.files[index].1)))
        };
        indices.par_iter().map(picture).collect()
    }

    /// The pictures at `indices` as [`ImageFolder::pictures`] gives them, each varied as `augment` says and as
    /// the random stream decides that `stream` gives for its place among them.
    ///
    /// # Errors
    /// No picture of the folder can be read.
    pub fn varied(
        &self,
        indices: &[usize],
        augment: &Augment,
        stream: impl Fn(usize) -> Stream + Sync,
    ) -> Result<Vec<RgbImage>, DataError> {
        let picture = |(place, index): (usize, &usize)| {
            let seen = |picture| augment.seen(picture, self.size, &mut stream(place));
            self.next_readable(*index, |index| self.read(index, seen))
        };
        indices.par_iter().enumerate().map(picture).collect()
    }

    /// All that `augment` keeps of the picture at `index`, as the random streams decide that `stream` gives for
    /// the number of each, or `None` (and, once, a warning) where it cannot be read.
    pub fn variants(
        &self,
        index: usize,
        augment: &Augment,
        stream: impl Fn(u64) -> Stream,
    ) -> Option<Vec<RgbImage>> {
        self.read(index, |picture| augment.all(picture, self.size, stream))
    }

    fn next_readable<T>(
        &self,
        index: usize,
        read: impl Fn(usize) -> Option<T>,
    ) -> Result<T, DataError> {
        let count = self.files.len();
        (0..count)
            .find_map(|skipped| read((index + skipped) % count))
            .ok_or_else(|| DataError::AllUnreadable { path: self.root.clone(), count })
    }

    /// The picture at `index`, or `None` (and, once, a warning) where it cannot be read.
    pub fn try_read(&self, index: usize) -> Option<RgbImage> {
        self.read(index, |picture| fit_square(picture, self.size))
    }

    fn read<T>(&self, index: usize, finish: impl FnOnce(RgbImage) -> T) -> Option<T> {
        let (path, _) = self.files.get(index)?;
        match read_with(path, self.background, finish) {
            Ok(picture) => Some(picture),
            Err(error) => {
                let number = self
                    .unreadable
                    .lock()
                    .ok()
                    .and_then(|mut known| known.insert(index).then_some(known.len()));
                match number {
                    Some(..=MOST_NAMED) => tracing::warn!("skipped {error}"),
                    Some(number) if number == MOST_NAMED + 1 => tracing::warn!(
                        "{}: further pictures that cannot be read are skipped without a word",
                        self.root.display()
                    ),
                    _ => {}
                }
                None
            }
        }
    }

    /// What tells the pictures, as they are read, from all others: over size, background, and all files in their order.
    pub fn digest(&self) -> [u8; 32] {
        let files = self.fingerprints();
        let mut hash = Sha256::new();
        hash.update(self.size.to_le_bytes());
        hash.update(self.background.0.0);
        files.iter().for_each(|file| hash.update(file));
        hash.finalize().into()
    }

    /// The [fingerprint](Self::fingerprint) of every file.
    pub fn fingerprints(&self) -> Vec<[u8; 32]> {
        (0..self.len()).into_par_iter().map(|index| self.fingerprint(index)).collect()
    }

    /// The SHA-256 of what the file at `index` holds; of a file that cannot be read, of nothing.
    pub fn fingerprint(&self, index: usize) -> [u8; 32] {
        if let Some(known) = self.prints.get(index) {
            return known.file;
        }
        match self.files.get(index) {
            Some((path, _)) => digest::of_file(path),
            None => Sha256::digest([]).into(),
        }
    }
}

/// That a folder is there.
fn expect_folder(root: &Path) -> Result<(), DataError> {
    let path = || root.to_owned();
    match fs::metadata(root) {
        Ok(data) if data.is_dir() => Ok(()),
        Ok(_) => Err(DataError::NotAFolder { path: path(), found: "a file".to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let found = match std::env::current_dir() {
                Ok(from) if root.is_relative() => format!("no such folder in {}", from.display()),
                _ => "no such folder".to_owned(),
            };
            Err(DataError::NotAFolder { path: path(), found })
        }
        Err(source) => Err(DataError::Io { path: path(), source }),
    }
}

/// All pictures in a folder and in folders below it, at least one.
fn all_below(root: &Path) -> Result<(Vec<PathBuf>, Left), DataError> {
    expect_folder(root)?;
    let mut walk = Walk::default();
    let pictures = walk.pictures(root)?;
    if pictures.is_empty() {
        return Err(DataError::Empty { path: root.to_owned(), found: String::new() });
    }
    Ok((pictures, Left { others: walk.others, ..Left::default() }))
}

/// A path below a folder, so that it can be shown.
fn named(root: &Path, path: &Path) -> String {
    let path = path.strip_prefix(root).unwrap_or(path);
    path.to_string_lossy().escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        folder
    }

    fn png(shade: u8) -> Vec<u8> {
        crate::io::png::encode(&RgbImage::from_pixel(6, 4, image::Rgb([shade; 3])), "{}").unwrap()
    }

    fn names(images: &ImageFolder) -> Vec<String> {
        images.files().map(|(path, label)| format!("{label} {}", path.display())).collect()
    }

    #[test]
    fn classes_are_the_sub_folders_in_order_of_name() {
        let (a, b) = (png(1), png(2));
        let folder = folder_with(&[
            ("b/1.png", &b),
            ("a/1.png", &a),
            ("a/notes.txt", b"x"),
            ("c/x.txt", b"x"),
        ]);
        let images = ImageFolder::open(folder.path(), 4).unwrap();
        assert_eq!(images.class_names(), ["a", "b"]);
        let pictures = images.pictures(&[0, 1]).unwrap();
        assert_eq!((pictures[0].0.get_pixel(0, 0).0, pictures[0].1), ([1; 3], 0));
        assert_eq!((pictures[1].0.dimensions(), pictures[1].1), ((4, 4), 1));
    }

    #[test]
    fn an_unreadable_picture_is_replaced_by_the_next() {
        let good = png(9);
        let folder = folder_with(&[("a/1.png", b"broken"), ("a/2.png", &good)]);
        let images = ImageFolder::open(folder.path(), 4).unwrap();
        assert_eq!(images.pictures(&[0]).unwrap()[0].0.get_pixel(0, 0).0, [9; 3]);
    }

    #[test]
    fn a_share_is_chosen_by_what_pictures_hold() {
        let shades: Vec<Vec<u8>> = (0..60).map(png).collect();
        let named: Vec<(String, &[u8])> = shades
            .iter()
            .enumerate()
            .flat_map(|(i, shade)| {
                [(format!("a/{i}.png"), &shade[..]), (format!("b/copy{i}.png"), shade)]
            })
            .collect();
        let files: Vec<(&str, &[u8])> =
            named.iter().map(|(name, bytes)| (name.as_str(), *bytes)).collect();
        let folder = folder_with(&files);
        let all = ImageFolder::open(folder.path(), 4).unwrap();
        let (kept, held) = all.split(0.25).unwrap();
        assert_eq!(kept.len() + held.len(), all.len());
        assert!((10..50).contains(&held.len()), "{} of {} are held out", held.len(), all.len());
        let hashes = |images: &ImageFolder| {
            (0..images.len()).map(|index| images.fingerprint(index)).collect::<BTreeSet<_>>()
        };
        assert!(hashes(&kept).is_disjoint(&hashes(&held)), "copies are on one side");
        // Hashes that were kept are those of the files, and others beside them change nothing.
        let (_, again) = ImageFolder::open(folder.path(), 4).unwrap().split(0.25).unwrap();
        let (afresh, _) = again.relabelled(&["a".to_owned(), "b".to_owned()]);
        assert_eq!(hashes(&afresh), hashes(&held));
        let few = folder_with(&files[..60]);
        let (_, of_few) = ImageFolder::open(few.path(), 4).unwrap().split(0.25).unwrap();
        assert!(hashes(&of_few).is_subset(&hashes(&held)));
        assert!(all.split(0.0).is_none() && all.split(1.0).is_none());
    }

    #[test]
    fn without_classes_all_pictures_are_of_one_named_after_the_folder() {
        let png = png(1);
        let folder = folder_with(&[("holiday/1.png", &png), ("holiday/sub/deep/2.png", &png)]);
        let images = ImageFolder::open_unsorted(&folder.path().join("holiday"), 4).unwrap();
        assert_eq!(names(&images), ["0 1.png", "0 sub/deep/2.png"]);
        assert_eq!(images.class_names(), ["holiday"]);
        let empty = folder_with(&[("a/notes.txt", b"x")]);
        let error = ImageFolder::open_unsorted(empty.path(), 4).unwrap_err();
        assert!(matches!(error, DataError::Empty { .. }), "{error}");
    }

    #[test]
    fn empty_and_hopeless_folders_are_refused() {
        let empty = folder_with(&[]);
        assert!(matches!(ImageFolder::open(empty.path(), 4), Err(DataError::Empty { .. })));
        let hopeless = folder_with(&[("a/1.png", b"broken")]);
        let images = ImageFolder::open(hopeless.path(), 4).unwrap();
        assert!(matches!(images.pictures(&[0]), Err(DataError::AllUnreadable { .. })));
        let flat = folder_with(&[("1.png", &png(1)), ("2.png", &png(2))]);
        let error = ImageFolder::open(flat.path(), 4).unwrap_err().to_string();
        assert!(error.contains("2 lie in the folder itself"), "{error}");
        let file = ImageFolder::open(&flat.path().join("1.png"), 4).unwrap_err().to_string();
        assert!(file.contains("a file, expected a folder"), "{file}");
    }

    #[test]
    fn what_systems_leave_behind_is_neither_class_nor_picture() {
        let good = png(9);
        let twin = b"\0\x05\x16\x07\0\x02\0\0Mac OS X        ".as_slice();
        let folder = folder_with(&[
            ("cat/1.png", &good),
            ("cat/._1.png", twin),
            ("cat/.DS_Store", b"Bud1"),
            ("cat/Thumbs.db", &good),
            ("cat/desktop.ini", &good),
            ("cat/.ipynb_checkpoints/1-checkpoint.png", &good),
            ("cat/@eaDir/1.png/SYNOPHOTO_THUMB_S.jpg", &good),
            (".ipynb_checkpoints/1.png", &good),
            (".thumbnails/1.png", &good),
            ("__MACOSX/cat/._1.png", twin),
            ("__MACOSX/cat/1.png", &good),
            ("@eaDir/1.png", &good),
            ("$RECYCLE.BIN/1.png", &good),
            ("System Volume Information/1.png", &good),
            ("lost+found/1.png", &good),
            ("#recycle/1.png", &good),
        ]);
        let images = ImageFolder::open(folder.path(), 4).unwrap();
        assert_eq!(names(&images), ["0 cat/1.png"]);
        assert_eq!(images.class_names(), ["cat"]);
        assert_eq!(Walk::default().pictures(folder.path()).unwrap().len(), 1);
    }

    #[test]
    fn pictures_count_by_what_they_hold_and_however_deep_they_lie() {
        let good = png(9);
        let folder = folder_with(&[
            ("a/deep/er/2.png", &good),
            ("a/1", &good),
            ("a/3.dat", &good),
            ("a/notes.txt", b"BM x"),
            ("a/page.jpg", b"<html>"),
            ("b/only/notes.txt", b"x"),
        ]);
        let images = ImageFolder::open(folder.path(), 4).unwrap();
        assert_eq!(names(&images), ["0 a/1", "0 a/3.dat", "0 a/deep/er/2.png", "0 a/page.jpg"]);
        assert!(images.try_read(0).is_some() && images.try_read(3).is_none());
    }

    #[cfg(unix)]
    #[test]
    fn every_real_folder_is_visited_once() {
        use std::os::unix::fs::symlink;
        let good = png(9);
        let folder = folder_with(&[("b/1.png", &good), ("b/sub/2.png", &good), ("c/3.png", &good)]);
        let root = folder.path();
        symlink("b", root.join("a")).unwrap();
        symlink("..", root.join("b/up")).unwrap();
        symlink("../c", root.join("b/other")).unwrap();
        symlink("../b", root.join("c/back")).unwrap();
        symlink("sub", root.join("b/again")).unwrap();
        symlink("nowhere", root.join("c/gone.png")).unwrap();
        let images = ImageFolder::open(root, 4).unwrap();
        assert_eq!(images.class_names(), ["b", "c"]);
        let found = names(&images);
        assert_eq!(found.len(), 4, "{found:?}");
        assert!(
            found.contains(&"1 c/3.png".to_owned()) && found.contains(&"1 c/gone.png".to_owned())
        );
        assert_eq!(Walk::default().pictures(root).unwrap().len(), 4);
    }

    /// As [`png`], with a text beside the picture.
    fn noted(shade: u8) -> Vec<u8> {
        crate::io::png::encode(&RgbImage::from_pixel(6, 4, image::Rgb([shade; 3])), "{\"a\": 1}")
            .unwrap()
    }

    fn looked_through(images: ImageFolder) -> ImageFolder {
        images.looked_through(&AtomicBool::new(false)).unwrap()
    }

    #[test]
    fn of_pictures_of_the_same_pixels_a_class_keeps_one() {
        let (one, two, again) = (png(1), png(2), noted(1));
        assert_ne!(one, again);
        let folder = folder_with(&[
            ("a/1.png", &one),
            ("a/2.png", &two),
            ("a/3.png", &again),
            ("a/4.png", &one),
            ("b/1.png", &again),
            ("b/2.png", b"broken"),
            ("c/x.png", b"broken"),
        ]);
        let open = || ImageFolder::open(folder.path(), 4).unwrap();
        let images = looked_through(open());
        assert_eq!(names(&images), ["0 a/1.png", "0 a/2.png", "1 b/1.png"]);
        assert_eq!(images.class_names(), ["a", "b", "c"], "labels stay what they are");
        let Left { copies, across, unread, hopeless, .. } = &*images.left;
        assert_eq!(copies.words(), "2 (a/3.png of a/1.png, a/4.png of a/1.png)");
        assert_eq!(across.words(), "1 (a/1.png and b/1.png)");
        assert_eq!((unread.count(), hopeless.words().as_str()), (2, "1 (c)"));
        assert_eq!(images.fingerprint(1), open().fingerprint(1), "that of the file");
        let stopped = open().looked_through(&AtomicBool::new(true)).unwrap_err();
        assert!(matches!(stopped, DataError::Interrupted));
        let hopeless = folder_with(&[("a/1.png", b"broken")]);
        let hopeless = ImageFolder::open(hopeless.path(), 4).unwrap();
        let error = hopeless.looked_through(&AtomicBool::new(false)).unwrap_err();
        assert!(matches!(error, DataError::AllUnreadable { count: 1, .. }), "{error}");
    }

    #[test]
    fn the_same_pixels_are_on_one_side_of_a_split() {
        let files: Vec<(String, Vec<u8>)> = (0..80)
            .flat_map(|i| [(format!("a/{i}.png"), png(i)), (format!("b/{i}.png"), noted(i))])
            .collect();
        let files: Vec<(&str, &[u8])> =
            files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
        let folder = folder_with(&files);
        let plain = ImageFolder::open(folder.path(), 4).unwrap();
        let numbers = |images: &ImageFolder| -> BTreeSet<String> {
            let files = images.files();
            files.map(|(path, _)| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
        };
        let (kept, held) = plain.split(0.3).unwrap();
        assert!(!numbers(&kept).is_disjoint(&numbers(&held)), "by their bytes they differ");
        let (kept, held) = looked_through(plain).split(0.3).unwrap();
        assert_eq!(kept.len() + held.len(), 160);
        assert!(numbers(&kept).is_disjoint(&numbers(&held)));
        // The least of two numbers below 0.3: 1 - 0.7 * 0.7 of all, 82 of 160, give or take.
        assert!((50..115).contains(&held.len()), "{} held out", held.len());
    }

    #[test]
    fn held_out_pictures_are_none_of_those_trained_on() {
        let (one, two, again) = (png(1), png(2), noted(1));
        let train = folder_with(&[("a/1.png", &one), ("a/5.png", &png(5))]);
        let held = folder_with(&[("a/x.png", &two), ("z/y.png", &again)]);
        let open = |folder: &tempfile::TempDir| {
            looked_through(ImageFolder::open(folder.path(), 4).unwrap())
        };
        let new = open(&held).without_those_of(&open(&train));
        assert_eq!(names(&new), ["0 a/x.png"]);
        assert_eq!(new.left.trained.words(), "1 (z/y.png)");
        let same = open(&train).without_those_of(&open(&train));
        assert_eq!(same.len(), 2, "rather those than none");
    }

    #[test]
    fn a_table_gives_classes_to_pictures_wherever_they_lie() {
        let png = png(1);
        let folder = folder_with(&[
            ("x/1.png", &png),
            ("x/deep/2.png", &png),
            ("3.png", &png),
            ("4.png", &png),
            ("t.csv", b"x/deep/2.png,b\nx\\1.png,d\n3.png,b\ngone.png,c\n"),
        ]);
        let table = Labels::read(&folder.path().join("t.csv")).unwrap();
        let images = ImageFolder::open_labelled(folder.path(), 4, &table).unwrap();
        assert_eq!(images.class_names(), ["b", "d"], "c has no picture");
        assert_eq!(names(&images), ["0 3.png", "0 x/deep/2.png", "1 x/1.png"]);
        assert_eq!(images.left.unlabelled.words(), "1 (4.png)");
        assert_eq!(images.left.unmet.words(), "1 (line 4 'gone.png')");
    }

    #[test]
    fn classes_are_matched_by_name() {
        let folder = folder_with(&[("a/1.png", b"x"), ("c/1.png", b"x"), ("z/1.png", b"x")]);
        let known = ["a", "b", "c"].map(str::to_owned);
        let (images, unknown) = ImageFolder::open(folder.path(), 4).unwrap().relabelled(&known);
        assert_eq!(names(&images), ["0 a/1.png", "2 c/1.png"]);
        assert_eq!((images.class_names(), unknown), (known.as_slice(), vec!["z".to_owned()]));
    }

    #[test]
    fn a_fingerprint_is_of_the_bytes() {
        let folder = folder_with(&[("a/1.png", b"x"), ("a/2.png", b"x"), ("a/3.png", b"y")]);
        let images = ImageFolder::open(folder.path(), 4).unwrap();
        assert_eq!(images.fingerprint(0), images.fingerprint(1));
        assert_ne!(images.fingerprint(0), images.fingerprint(2));
        assert_eq!(images.fingerprint(0)[..4], [0x2d, 0x71, 0x16, 0x42], "SHA-256 of x");
    }
}
