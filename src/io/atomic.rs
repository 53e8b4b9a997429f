//! Writing a file so that it appears whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use tempfile::NamedTempFile;

/// How the name of a file begins that is being written, or was when the program was killed.
pub const ASIDE: &str = ".purrscope-";

/// Writes `bytes` to `path`: aside, synced, renamed over the old file, and the folder synced.
///
/// A reader, or a program killed at any instant, sees the old file or the new one.
///
/// # Errors
/// Whatever the file system says; the old file is then untouched and nothing is left behind.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_with(path, |aside| aside.write_all(bytes))
}

/// As [`write()`], with what `fill` writes to the file aside; an error of `fill` leaves nothing behind.
///
/// # Errors
/// Whatever `fill` or the file system says.
pub fn write_with<E: From<io::Error>>(
    path: &Path,
    fill: impl FnOnce(&mut NamedTempFile) -> Result<(), E>,
) -> Result<(), E> {
    let folder = folder_of(path);
    let mut aside = NamedTempFile::with_prefix_in(ASIDE, folder)?;
    fill(&mut aside)?;
    make_readable(aside.as_file())?;
    aside.as_file().sync_all()?;
    aside.persist(path).map_err(|error| error.error)?;
    Ok(sync_folder(folder)?)
}

/// As [`write()`], but never over a file that is there.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] for one that is, or whatever the file system says.
pub fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = folder_of(path);
    let mut aside = NamedTempFile::with_prefix_in(ASIDE, folder)?;
    aside.write_all(bytes)?;
    make_readable(aside.as_file())?;
    aside.as_file().sync_all()?;
    aside.persist_noclobber(path).map_err(|error| error.error)?;
    sync_folder(folder)
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Gives the file the permissions that any new file has: temporary files start out private.
#[cfg(unix)]
fn make_readable(file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn make_readable(_: &File) -> io::Result<()> {
    Ok(())
}

#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Other systems have no handle to a folder that could be synced.
#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Makes `folder` and its parents, and checks that a file can be written in it, so that long work
/// does not end at a locked door.
///
/// # Errors
/// Whatever the file system says.
pub fn prepare_folder(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    NamedTempFile::with_prefix_in(ASIDE, folder).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_the_old_file_and_leaves_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        write(&path, b"old").unwrap();
        write(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_is_there_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        write_new(&path, b"old").unwrap();
        let error = write_new(&path, b"new").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_leaves_the_folder_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let taken = folder.path().join("taken");
        fs::create_dir(&taken).unwrap();
        assert!(write(&taken, b"new").is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
