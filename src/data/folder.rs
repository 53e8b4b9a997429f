//! A folder of pictures with one sub-folder a class.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use image::RgbImage;
use image::imageops::{self, FilterType};
use rayon::prelude::*;
use thiserror::Error;

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
    /// Nothing to train on.
    #[error(
        "{path}: no pictures found (expected one sub-folder a class, holding png, jpg, webp, gif or bmp files)"
    )]
    Empty {
        /// The folder.
        path: PathBuf,
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

const EXTENSIONS: [&str; 6] = ["png", "jpg", "jpeg", "webp", "gif", "bmp"];

/// Whether a file's name is that of a picture.
pub fn is_picture(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    EXTENSIONS.contains(&extension.as_str())
}

/// The pictures of a folder: found at once, read when they are needed.
#[derive(Debug)]
pub struct ImageFolder {
    root: PathBuf,
    size: u32,
    class_names: Vec<String>,
    /// Path and label, in order of class and name.
    files: Vec<(PathBuf, usize)>,
    /// Files that turned out unreadable and have been named in a warning.
    unreadable: Mutex<BTreeSet<usize>>,
}

impl ImageFolder {
    /// Lists the pictures of `root`; they will be read as squares of `size` pixels.
    ///
    /// # Errors
    /// The folder cannot be read, or holds no pictures in sub-folders.
    pub fn open(root: &Path, size: usize) -> Result<Self, DataError> {
        let mut class_names = Vec::new();
        let mut files = Vec::new();
        for folder in sorted_entries(root)?.into_iter().filter(|path| path.is_dir()) {
            let pictures: Vec<_> =
                sorted_entries(&folder)?.into_iter().filter(|path| is_picture(path)).collect();
            if pictures.is_empty() {
                continue;
            }
            let label = class_names.len();
            class_names.push(folder.file_name().unwrap_or_default().to_string_lossy().into_owned());
            files.extend(pictures.into_iter().map(|path| (path, label)));
        }
        if files.is_empty() {
            return Err(DataError::Empty { path: root.to_owned() });
        }
        let unreadable = Mutex::default();
        Ok(Self { root: root.to_owned(), size: size as u32, class_names, files, unreadable })
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
        match image::open(path) {
            Ok(picture) => Some(fit_square(picture.to_rgb8(), self.size)),
            Err(error) => {
                let first = self.unreadable.lock().is_ok_and(|mut known| known.insert(index));
                if first {
                    tracing::warn!("skipped {}: {error}", path.display());
                }
                None
            }
        }
    }
}

fn sorted_entries(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let io_error = |source| DataError::Io { path: folder.to_owned(), source };
    let mut paths = fs::read_dir(folder)
        .map_err(io_error)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(io_error)?;
    paths.sort();
    Ok(paths)
}

/// The middle square of a picture at `size` pixels a side.
pub fn fit_square(picture: RgbImage, size: u32) -> RgbImage {
    let (width, height) = picture.dimensions();
    if (width, height) == (size, size) {
        return picture;
    }
    let side = width.min(height);
    let square = imageops::crop_imm(&picture, (width - side) / 2, (height - side) / 2, side, side)
        .to_image();
    imageops::resize(&square, size, size, FilterType::Lanczos3)
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
    fn empty_and_hopeless_folders_are_refused() {
        let empty = folder_with(&[]);
        assert!(matches!(ImageFolder::open(empty.path(), 4), Err(DataError::Empty { .. })));
        let hopeless = folder_with(&[("a/1.png", b"broken")]);
        let images = ImageFolder::open(hopeless.path(), 4).unwrap();
        assert!(matches!(images.pictures(&[0]), Err(DataError::AllUnreadable { .. })));
    }
}
