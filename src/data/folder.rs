//! A folder of pictures with one sub-folder a class.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use image::RgbImage;
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::pictures::read_square;
use super::walk::{Entries, Walk, entries};

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

/// Names of folders that most likely hold parts of a data set and not classes.
const PARTS: [&str; 8] =
    ["train", "training", "test", "testing", "val", "valid", "validation", "holdout"];

/// The pictures of a folder: found at once, read when they are needed.
#[derive(Debug)]
pub struct ImageFolder {
    root: PathBuf,
    size: u32,
    class_names: Vec<String>,
    /// Path and label, in order of class and name.
    files: Vec<(PathBuf, usize)>,
    /// The hash of what each file holds, where that was asked of all of them.
    fingerprints: Vec<[u8; 32]>,
    /// Files that turned out unreadable and have been named in a warning.
    unreadable: Mutex<BTreeSet<usize>>,
}

impl ImageFolder {
    /// Lists the pictures of `root`; they will be read as squares of `size` pixels. A sub-folder is a
    /// class, with all pictures in it and in folders below it; what is hidden or the system's is
    /// neither. What was found, and what was left out, is said in the log.
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
        let mut found = Found { loose: loose.len(), ..Found::default() };
        for folder in &folders {
            let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if !claimed.contains(folder) {
                found.again.push(name);
                continue;
            }
            let mut pictures = Vec::new();
            walk.collect(folder, &mut pictures)?;
            if pictures.is_empty() {
                found.empty.push(name);
                continue;
            }
            let label = found.classes.len();
            found.classes.push(name);
            found.files.extend(pictures.into_iter().map(|path| (path, label)));
        }
        found.others = others + walk.others;
        if found.files.is_empty() {
            let found = match found.loose {
                0 => String::new(),
                count => format!(" in sub-folders; {count} lie in the folder itself"),
            };
            return Err(DataError::Empty { path: path(), found });
        }
        found.tell(root);
        Ok(Self::of(root, size, found))
    }

    /// As [`ImageFolder::open`], all pictures in the folder and in folders below it being of one class, which has
    /// the folder's name.
    ///
    /// # Errors
    /// The folder cannot be read, or holds no pictures.
    pub fn open_unsorted(root: &Path, size: usize) -> Result<Self, DataError> {
        expect_folder(root)?;
        let mut walk = Walk::default();
        let pictures = walk.pictures(root)?;
        if pictures.is_empty() {
            return Err(DataError::Empty { path: root.to_owned(), found: String::new() });
        }
        let whole = fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
        let name = whole.file_name().map_or("all".into(), |name| name.to_string_lossy());
        let found = Found {
            classes: vec![name.into_owned()],
            files: pictures.into_iter().map(|path| (path, 0)).collect(),
            others: walk.others,
            ..Found::default()
        };
        found.tell(root);
        Ok(Self::of(root, size, found))
    }

    fn of(root: &Path, size: usize, found: Found) -> Self {
        let Found { classes: class_names, files, .. } = found;
        let (root, size) = (root.to_owned(), size as u32);
        let (fingerprints, unreadable) = (Vec::new(), Mutex::default());
        Self { root, size, class_names, files, fingerprints, unreadable }
    }

    /// These pictures without about so large a share of them, and that share; nothing where one of the two would
    /// be empty. Which pictures it has is decided by what each of them holds: the same ones wherever they lie and
    /// whatever else lies there, and copies of a picture all on one side.
    pub fn split(&self, share: f64) -> Option<(Self, Self)> {
        let most = (share.clamp(0.0, 1.0) * 2f64.powi(32)) as u64;
        let hashes: Vec<[u8; 32]> =
            (0..self.len()).into_par_iter().map(|index| self.fingerprint(index)).collect();
        let number =
            |hash: [u8; 32]| u64::from(u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]));
        let (held, kept): (Vec<usize>, Vec<usize>) =
            (0..self.len()).partition(|index| number(hashes[*index]) < most);
        let side = |indices: Vec<usize>| Self {
            root: self.root.clone(),
            size: self.size,
            class_names: self.class_names.clone(),
            files: indices.iter().map(|index| self.files[*index].clone()).collect(),
            fingerprints: indices.iter().map(|index| hashes[*index]).collect(),
            unreadable: Mutex::default(),
        };
        (!held.is_empty() && !kept.is_empty()).then(|| (side(kept), side(held)))
    }

    /// The same pictures with the labels that `names` gives to their classes; those of other classes are
    /// left out, and the names of these classes given besides.
    pub fn relabelled(mut self, names: &[String]) -> (Self, Vec<String>) {
        let label = |name: &String| names.iter().position(|known| known == name);
        let labels: Vec<_> = self.class_names.iter().map(label).collect();
        self.files =
            self.files.into_iter().filter_map(|(path, old)| Some((path, labels[old]?))).collect();
        let pairs = self.class_names.into_iter().zip(labels);
        let unknown = pairs.filter(|(_, label)| label.is_none()).map(|(name, _)| name).collect();
        self.class_names = names.to_vec();
        self.fingerprints = Vec::new();
        self.unreadable = Mutex::default();
        (self, unknown)
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
        indices.par_iter().map(|index| self.picture(*index)).collect()
    }

    fn picture(&self, index: usize) -> Result<(RgbImage, usize), DataError> {
        let count = self.files.len();
        (0..count)
            .map(|skipped| (index + skipped) % count)
            .find_map(|index| Some((self.try_read(index)?, self.files[index].1)))
            .ok_or_else(|| DataError::AllUnreadable { path: self.root.clone(), count })
    }

    /// The picture at `index`, or `None` (and, once, a warning) where it cannot be read.
    pub fn try_read(&self, index: usize) -> Option<RgbImage> {
        let (path, _) = self.files.get(index)?;
        match read_square(path, self.size) {
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

    /// The SHA-256 of what the file at `index` holds; of a file that cannot be read, of nothing.
    pub fn fingerprint(&self, index: usize) -> [u8; 32] {
        if let Some(known) = self.fingerprints.get(index) {
            return *known;
        }
        let mut hash = Sha256::new();
        if let Some((path, _)) = self.files.get(index)
            && let Ok(mut file) = File::open(path)
            && io::copy(&mut file, &mut hash).is_err()
        {
            hash.reset();
        }
        hash.finalize().into()
    }
}

/// That a folder is there.
fn expect_folder(root: &Path) -> Result<(), DataError> {
    let path = || root.to_owned();
    match fs::metadata(root) {
        Ok(data) if data.is_dir() => Ok(()),
        Ok(_) => Err(DataError::NotAFolder { path: path(), found: "a file".to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound && root.is_relative() => {
            let from = std::env::current_dir().unwrap_or_default();
            let found = format!("no such folder in {}", from.display());
            Err(DataError::NotAFolder { path: path(), found })
        }
        Err(source) => Err(DataError::Io { path: path(), source }),
    }
}

/// What there is in a folder of classes.
#[derive(Debug, Default)]
struct Found {
    classes: Vec<String>,
    files: Vec<(PathBuf, usize)>,
    /// Sub-folders without pictures.
    empty: Vec<String>,
    /// Links to folders that count already.
    again: Vec<String>,
    /// Pictures in no sub-folder.
    loose: usize,
    /// Files that are no pictures.
    others: usize,
}

impl Found {
    /// Says in the log what was found and, in one line, what was left out.
    fn tell(&self, root: &Path) {
        let Self { classes, files, empty, again, loose, others } = self;
        tracing::info!(
            "{}: {} in {} ({}); {others} other files passed over",
            root.display(),
            counted(files.len(), "picture", "pictures"),
            counted(classes.len(), "class", "classes"),
            list(classes),
        );
        let mut left = Vec::new();
        if !empty.is_empty() {
            let count = counted(empty.len(), "sub-folder", "sub-folders");
            left.push(format!("{count} without pictures ({})", list(empty)));
        }
        if !again.is_empty() {
            let count = counted(again.len(), "link", "links");
            left.push(format!("{count} to a folder that counts already ({})", list(again)));
        }
        if *loose > 0 {
            let count = counted(*loose, "picture", "pictures");
            left.push(format!("{count} in no class folder"));
        }
        if !left.is_empty() {
            tracing::warn!("{}: left out {}", root.display(), left.join(", "));
        }
        if classes.iter().all(|name| PARTS.contains(&name.to_lowercase().as_str())) {
            tracing::warn!(
                "{}: are {} classes? If they are parts of a data set, name one of them instead",
                root.display(),
                list(classes)
            );
        }
    }
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// A few names, and how many there are besides.
pub(crate) fn list(names: &[String]) -> String {
    const MOST: usize = 8;
    let shown: Vec<String> =
        names.iter().take(MOST).map(|name| name.escape_debug().to_string()).collect();
    match names.len().saturating_sub(MOST) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
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

    #[test]
    fn long_lists_are_shortened() {
        let names: Vec<String> = (0..10).map(|i| i.to_string()).collect();
        assert_eq!(list(&names), "0, 1, 2, 3, 4, 5, 6, 7 and 2 more");
        assert_eq!(list(&names[..2]), "0, 1");
    }
}
