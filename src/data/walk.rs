//! Finding the pictures below a folder: those that a person would point at.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::DataError;
use super::pictures::{is_called_a_picture, is_picture};

/// Names that systems and programs leave in folders of pictures, in lower case; all that begin with a
/// dot are passed over besides, among them the `._` twins that macOS keeps of every file.
const NOT_THE_USERS: [&str; 10] = [
    "__macosx",
    "@eadir",
    "#recycle",
    "#snapshot",
    "$recycle.bin",
    "system volume information",
    "lost+found",
    "__pycache__",
    "thumbs.db",
    "desktop.ini",
];

/// Whether a file or folder is a user's own: neither hidden nor the system's.
fn is_users(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    !name.starts_with('.') && !NOT_THE_USERS.contains(&name.as_str())
}

/// What lies in a folder, in order of name.
#[derive(Debug, Default)]
pub(super) struct Entries {
    pub folders: Vec<PathBuf>,
    /// Files that are pictures, or are called so.
    pub pictures: Vec<PathBuf>,
    /// How many other files there are.
    pub others: usize,
}

/// Lists a folder, leaving out what is hidden or the system's.
pub(super) fn entries(folder: &Path) -> Result<Entries, DataError> {
    let io_error = |source| DataError::Io { path: folder.to_owned(), source };
    let mut paths = fs::read_dir(folder)
        .map_err(io_error)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(io_error)?;
    paths.sort();
    let mut found = Entries::default();
    for path in paths.into_iter().filter(|path| is_users(path)) {
        match fs::metadata(&path) {
            Ok(data) if data.is_dir() => found.folders.push(path),
            Ok(data) if data.is_file() && is_picture(&path) => found.pictures.push(path),
            // A link to nothing: it is named when it is read.
            Err(_) if is_called_a_picture(&path) => found.pictures.push(path),
            _ => found.others += 1,
        }
    }
    Ok(found)
}

/// A walk through folders that visits each real one once, however many links lead there.
#[derive(Debug, Default)]
pub struct Walk {
    visited: HashSet<PathBuf>,
    /// Files that were no pictures.
    pub(super) others: usize,
}

impl Walk {
    /// Whether nobody has been in the folder before; from now on somebody has.
    pub(super) fn claim(&mut self, folder: &Path) -> bool {
        self.visited.insert(fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned()))
    }

    /// The pictures in a folder and in all folders below it, in order of name.
    ///
    /// # Errors
    /// A folder cannot be read.
    pub fn pictures(&mut self, folder: &Path) -> Result<Vec<PathBuf>, DataError> {
        let mut found = Vec::new();
        if self.claim(folder) {
            self.collect(folder, &mut found)?;
        }
        Ok(found)
    }

    /// As [`Walk::pictures`], of a folder that is claimed already.
    pub(super) fn collect(
        &mut self,
        folder: &Path,
        found: &mut Vec<PathBuf>,
    ) -> Result<(), DataError> {
        let Entries { folders, pictures, others } = entries(folder)?;
        self.others += others;
        let mut here = pictures;
        for folder in folders {
            if self.claim(&folder) {
                self.collect(&folder, &mut here)?;
            }
        }
        // By path, so that the order is one of names alone.
        here.sort();
        found.extend(here);
        Ok(())
    }
}
