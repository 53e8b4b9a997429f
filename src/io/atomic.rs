//! Writing a file so that it appears whole or not at all.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Once;

use tempfile::{Builder, NamedTempFile};

/// How the name of a file begins that is being written, or was when the program was killed.
pub const ASIDE: &str = ".purrscope-";

/// Writes `bytes` to `path`: aside, synced, renamed over the old file, and the folder synced. A folder
/// that is missing is made.
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
    let mut aside = begin(folder)?;
    fill(&mut aside)?;
    sync(aside.as_file())?;
    aside.persist(path).map_err(|error| error.error)?;
    Ok(sync_folder(folder)?)
}

/// As [`write()`], but never over a file that is there.
///
/// # Errors
/// [`ErrorKind::AlreadyExists`] for one that is, or whatever the file system says.
pub fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = folder_of(path);
    let mut aside = begin(folder)?;
    aside.write_all(bytes)?;
    sync(aside.as_file())?;
    if let Err(refused) = aside.persist_noclobber(path) {
        if !is_unsupported(&refused.error) {
            return Err(refused.error);
        }
        // Some file systems neither rename without replacing nor link: there the name is taken first.
        File::create_new(path)?;
        if let Err(refused) = refused.file.persist(path) {
            // What is left is the empty file that took the name.
            fs::remove_file(path)?;
            return Err(refused.error);
        }
    }
    sync_folder(folder)
}

/// Writes `bytes` to `STEM.END` in a folder or, where that name is taken by a file of other contents,
/// to `STEM-2.END` and so on; a file of exactly these bytes stays as it is. Gives its place.
///
/// # Errors
/// Whatever the file system says.
pub fn write_beside(folder: &Path, stem: &str, end: &str, bytes: &[u8]) -> io::Result<PathBuf> {
    let mut number = 1;
    loop {
        let path = folder.join(match number {
            1 => format!("{stem}.{end}"),
            _ => format!("{stem}-{number}.{end}"),
        });
        let free = fs::symlink_metadata(&path).is_err();
        match if free { write_new(&path, bytes) } else { Err(ErrorKind::AlreadyExists.into()) } {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            Err(_) if holds(&path, bytes) => return Ok(path),
            Err(_) => number += 1,
        }
    }
}

/// Whether a file holds exactly these bytes; one that cannot be read does not.
fn holds(path: &Path, bytes: &[u8]) -> bool {
    let Ok(known) = fs::metadata(path) else { return false };
    if !known.is_file() || known.len() != bytes.len() as u64 {
        return false;
    }
    let mut found = Vec::with_capacity(bytes.len());
    let read = File::open(path).and_then(|file| {
        // It may be growing.
        file.take(bytes.len() as u64 + 1).read_to_end(&mut found)
    });
    read.is_ok() && found == bytes
}

/// The folder that a file lies in.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// A file aside, with the permissions that any new file has here: temporary files are private unless
/// told otherwise, and some file systems refuse to change that later.
fn begin(folder: &Path) -> io::Result<NamedTempFile> {
    let mut builder = Builder::new();
    builder.prefix(ASIDE);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    match builder.tempfile_in(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            fs::create_dir_all(folder)?;
            builder.tempfile_in(folder)
        }
        made => made,
    }
}

fn sync(file: &File) -> io::Result<()> {
    go_on(file.sync_all(), "a file")
}

/// Sees to it that a folder's files have their names even if the power fails now.
///
/// # Errors
/// Whatever the file system says, save that it cannot do that.
#[cfg(unix)]
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    go_on(File::open(folder).and_then(|folder| folder.sync_all()), "a folder")
}

/// Other systems have no handle to a folder that could be synced.
///
/// # Errors
/// None.
#[cfg(not(unix))]
pub fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Passes over a file system that has no such thing as syncing, as folders shared with another system
/// often are, with a word to the first; a full or broken disk stays an error.
fn go_on(synced: io::Result<()>, what: &str) -> io::Result<()> {
    static TOLD: Once = Once::new();
    match synced {
        Err(error) if is_unsupported(&error) => {
            TOLD.call_once(|| {
                tracing::warn!(
                    "the file system does not sync {what} ({error}): what is written is whole, but a \
                     power failure may lose it"
                );
            });
            Ok(())
        }
        synced => synced,
    }
}

/// Whether the file system has no such operation, or does not let anyone use it.
fn is_unsupported(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::InvalidInput | ErrorKind::Unsupported | ErrorKind::PermissionDenied
    )
}

/// Makes `folder` and its parents, and checks that a file can be written in it, so that long work
/// does not end at a locked door.
///
/// # Errors
/// Whatever the file system says.
pub fn prepare_folder(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    begin(folder).map(drop)
}

/// Removes what writing that was broken off, by a kill, has left in a folder. Only for a folder into which nobody else
/// writes.
pub fn clear_leftovers(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(ASIDE) {
            // What cannot be removed only takes room.
            let _ = fs::remove_file(entry.path());
        }
    }
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
    fn other_contents_get_another_name_and_the_same_contents_none() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path();
        let put = |bytes: &[u8]| {
            let path = write_beside(folder, "cat.v1", "png", bytes).unwrap();
            assert_eq!(fs::read(&path).unwrap(), bytes);
            path.file_name().unwrap().to_string_lossy().into_owned()
        };
        let names: Vec<String> = [b"a".as_slice(), b"b", b"a", b"c", b"b"].map(put).into();
        assert_eq!(
            names,
            ["cat.v1.png", "cat.v1-2.png", "cat.v1.png", "cat.v1-3.png", "cat.v1-2.png"]
        );
        fs::create_dir(folder.join("dog.png")).unwrap();
        let path = write_beside(folder, "dog", "png", b"a").unwrap();
        assert_eq!(path, folder.join("dog-2.png"));
        assert_eq!(fs::read_dir(folder).unwrap().count(), 5);
    }

    #[test]
    fn a_missing_folder_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/c");
        write(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }

    /// As any other program's: what the umask leaves of 0666.
    #[cfg(unix)]
    #[test]
    fn a_file_has_the_permissions_of_any_new_file() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let mode = |name: &str| {
            let metadata = fs::metadata(folder.path().join(name)).unwrap();
            metadata.permissions().mode() & 0o777
        };
        fs::write(folder.path().join("usual"), "").unwrap();
        write(&folder.path().join("written"), b"").unwrap();
        write_new(&folder.path().join("new"), b"").unwrap();
        assert_eq!([mode("written"), mode("new")], [mode("usual"); 2]);
    }

    #[test]
    fn only_a_missing_operation_is_passed_over() {
        let kinds = [ErrorKind::InvalidInput, ErrorKind::Unsupported, ErrorKind::PermissionDenied];
        assert!(kinds.into_iter().all(|kind| go_on(Err(kind.into()), "it").is_ok()));
        let kinds = [ErrorKind::StorageFull, ErrorKind::Other, ErrorKind::QuotaExceeded];
        assert!(kinds.into_iter().all(|kind| go_on(Err(kind.into()), "it").is_err()));
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
