//! Files that a command is to write, looked at before its work begins, so that no work ends at a name
//! that cannot be written or that was never meant.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{self, Path, PathBuf};

use thiserror::Error;

use super::atomic;
use super::paths::same_file;

/// What a file is to hold, and how its name may end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    name: &'static str,
    endings: &'static [&'static str],
}

impl Content {
    /// A PNG picture.
    pub const PICTURE: Self = Self { name: "a PNG picture", endings: &["png"] };
    /// Tensors.
    pub const TENSORS: Self = Self { name: "a safetensors file", endings: &["safetensors"] };
    /// Comma-separated values.
    pub const TABLE: Self = Self { name: "comma-separated values", endings: &["csv", "txt"] };
    /// A report for programs.
    pub const REPORT: Self = Self { name: "JSON", endings: &["json"] };
    /// A drawing.
    pub const DRAWING: Self = Self { name: "an SVG drawing", endings: &["svg"] };

    /// Whether a file of this content may have this name: one that says nothing, or the right thing.
    fn suits(self, path: &Path) -> bool {
        let Some(end) = path.extension() else { return true };
        self.endings.iter().any(|known| end.eq_ignore_ascii_case(known))
    }
}

/// A name that is not written to.
#[derive(Debug, Error)]
pub enum OutputError {
    /// It is a folder, or spelt as one.
    #[error("{path}: this is a folder; name a file to write", path = .0.display())]
    Folder(PathBuf),
    /// It is spelt as a file, where a folder is wanted.
    #[error(
        "{path}: this is spelt as a file; name a folder, into which the files go",
        path = .0.display()
    )]
    NoFolder(PathBuf),
    /// It is a device, a pipe or a socket, which a file would replace.
    #[error("{path}: not a regular file; name a file to write", path = .0.display())]
    Special(PathBuf),
    /// It promises other contents.
    #[error("{path}: {content} is written, so let the name end in .{ending}", path = .path.display())]
    Ending {
        /// The name.
        path: PathBuf,
        /// What is written.
        content: &'static str,
        /// How its name may end.
        ending: String,
    },
    /// It is used for something else.
    #[error(
        "{path}: this would replace {other}, which the command uses; name another file",
        path = .path.display(),
        other = .other.display()
    )]
    Taken {
        /// The name.
        path: PathBuf,
        /// What would be lost.
        other: PathBuf,
    },
    /// Nothing can be written there.
    #[error("cannot write to {folder}: {source}", folder = .folder.display())]
    Locked {
        /// The folder.
        folder: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
}

/// Whether a file could be written under a name, without touching anything: `taken` are the files that
/// the command reads and the folders that it fills.
///
/// # Errors
/// The first thing that is wrong with the name.
pub fn check(path: &Path, content: Content, taken: &[&Path]) -> Result<(), OutputError> {
    let spelt_as_folder = path.as_os_str().to_string_lossy().ends_with(path::is_separator);
    match fs::metadata(path) {
        Ok(known) if known.is_dir() => return Err(OutputError::Folder(path.to_owned())),
        Ok(known) if !known.is_file() => return Err(OutputError::Special(path.to_owned())),
        _ if spelt_as_folder || path.file_name().is_none() => {
            return Err(OutputError::Folder(path.to_owned()));
        }
        _ => {}
    }
    if !content.suits(path) {
        return Err(OutputError::Ending {
            path: path.to_owned(),
            content: content.name,
            ending: content.endings.join(" or ."),
        });
    }
    match taken.iter().find(|other| is_or_holds(path, other)) {
        Some(other) => {
            Err(OutputError::Taken { path: path.to_owned(), other: PathBuf::from(other) })
        }
        None => Ok(()),
    }
}

/// Whether files could go into a folder of a name, without touching anything.
///
/// # Errors
/// It is not there yet, and spelt as one of the files that would go into it.
pub fn check_folder(path: &Path) -> Result<(), OutputError> {
    const FILES: [&str; 8] = ["png", "apng", "gif", "jpg", "jpeg", "webp", "safetensors", "tar"];
    let is_file = |end: &OsStr| FILES.iter().any(|known| end.eq_ignore_ascii_case(known));
    match path.extension() {
        Some(end) if is_file(end) && !path.is_dir() => Err(OutputError::NoFolder(path.to_owned())),
        _ => Ok(()),
    }
}

/// Makes the folder of a file that [`check`] has passed, and sees whether it can be written to.
///
/// # Errors
/// It cannot.
pub fn prepare(path: &Path) -> Result<(), OutputError> {
    prepare_folder(atomic::folder_of(path))
}

/// Makes a folder for files, and sees whether they can be written.
///
/// # Errors
/// They cannot.
pub fn prepare_folder(folder: &Path) -> Result<(), OutputError> {
    atomic::prepare_folder(folder)
        .map_err(|source| OutputError::Locked { folder: folder.to_owned(), source })
}

/// Whether `path` is the same file as `other`, or a folder above it.
fn is_or_holds(path: &Path, other: &Path) -> bool {
    let spelt = |path: &Path| path::absolute(path).unwrap_or_else(|_| path.to_owned());
    spelt(other).starts_with(spelt(path)) || same_file(path, other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lose_something_are_refused() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        fs::write(at("m.safetensors"), "model").unwrap();
        fs::create_dir(at("sub")).unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(at("m.safetensors"), at("link.safetensors")).unwrap();
        let said = |path: PathBuf, taken: &[&Path]| {
            let error = check(&path, Content::TENSORS, taken).err()?.to_string();
            assert!(error.starts_with(&path.display().to_string()), "{error}");
            Some(error)
        };
        let model = at("m.safetensors");
        for path in [at("new"), at("new.SAFETENSORS"), at("gone/new.safetensors"), model.clone()] {
            assert_eq!(said(path, &[]), None);
        }
        for (path, reason) in [
            (at("sub"), "a folder"),
            (at("sub/"), "a folder"),
            (at("gone/"), "a folder"),
            (at("sub/.."), "a folder"),
            (at("codes.npz"), "let the name end in .safetensors"),
            (model.clone(), "which the command uses"),
            (at("sub/../m.safetensors"), "which the command uses"),
            #[cfg(unix)]
            (at("link.safetensors"), "which the command uses"),
            #[cfg(unix)]
            (PathBuf::from("/dev/null"), "not a regular file"),
        ] {
            let error = said(path.clone(), &[&model]).unwrap_or_default();
            assert!(error.contains(reason), "{}: {error}", path.display());
        }
        assert!(check_folder(&at("cat.PNG")).is_err());
        assert!([at("sub"), at("run.v2"), at("new")].iter().all(|path| check_folder(path).is_ok()));
        fs::create_dir(at("sub/old.png")).unwrap();
        assert!(check_folder(&at("sub/old.png")).is_ok());
        // A folder that is still to be made has no place for a file.
        assert!(said(at("out"), &[&at("out/deeper")]).is_some());
        assert!(said(at("out/t.safetensors"), &[&at("out")]).is_none());
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), if cfg!(unix) { 3 } else { 2 });
    }
}
