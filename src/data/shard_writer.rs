//! Shards of latents on their way into a folder: a set is written aside, and put in its place once all of it is there.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use tar::{Builder, Header};

use super::shards::{OWNER, ShardError, shards_in};
use crate::io::{atomic, digest, npy};

/// The folder within the one for the shards that a set is written into. Readers pass over what is hidden.
const ASIDE: &str = ".purrscope-shards";
/// A file in it, from when the set is whole until all shards are in their place.
const WHOLE: &str = "whole";
/// A file in it that the process holds which writes the set.
const LOCK: &str = "lock";

/// Whether a set of shards for a folder was begun and never came to its end.
pub(super) fn is_begun(folder: &Path) -> bool {
    folder.join(ASIDE).is_dir()
}

/// Whether some shards of a set may be in their place in a folder, and others not yet.
pub(super) fn is_partly_in_place(folder: &Path) -> bool {
    folder.join(ASIDE).join(WHOLE).exists()
}

/// Writes pictures into shards `shard_000000.tar`, `shard_000001.tar`, ... of a folder. They appear when all of them
/// are written and synced; a reader that looks while they are put in their places, or after a kill at that moment, is
/// [told so](ShardError::Unfinished), and the next writer for the folder goes on with that. A writer that is dropped
/// leaves nothing, one that is killed something hidden, which the next one removes.
#[derive(Debug)]
pub struct ShardWriter {
    aside: Aside,
    shape: [usize; 3],
    size: usize,
    /// Names the set, in every entry.
    set: String,
    waiting: Vec<(Vec<f32>, usize)>,
    written: usize,
}

impl ShardWriter {
    /// Sees that a folder, which need not be there, has no shards. A set that another writer had written and not yet put
    /// in its place is put there; what was written of one that is not whole is removed.
    ///
    /// # Errors
    /// It has some, or gets some now; another process writes into it; or whatever the file system says.
    pub fn check(folder: &Path) -> Result<(), ShardError> {
        if is_begun(folder) {
            let aside = Aside::take(folder)?;
            if is_partly_in_place(folder) {
                aside.put_in_place()?;
                tracing::info!(
                    "{}: the shards of an earlier start were all written, and are in their place now",
                    folder.display()
                );
            }
        }
        match &shards_in(folder)[..] {
            [first, ..] => Err(taken(folder, first)),
            [] => Ok(()),
        }
    }

    /// A writer of latents of `shape`, with at most `size` pictures a shard, into a folder that passes
    /// [`check`](Self::check); it is made where there is none. `origin` is whatever decides what they hold: shards of
    /// different origin in one folder are refused when they are read.
    ///
    /// # Errors
    /// Those of [`check`](Self::check).
    pub fn new(
        folder: &Path,
        shape: [usize; 3],
        size: usize,
        origin: &str,
    ) -> Result<Self, ShardError> {
        Self::check(folder)?;
        let aside = Aside::take(folder)?;
        let set = digest::short(origin.as_bytes());
        Ok(Self { aside, shape, size: size.max(1), set, waiting: Vec::new(), written: 0 })
    }

    /// Adds a picture: its latents and its class.
    ///
    /// # Errors
    /// Whatever the file system says of a shard that became full.
    pub fn push(&mut self, latents: Vec<f32>, class: usize) -> Result<(), ShardError> {
        self.waiting.push((latents, class));
        if self.waiting.len() == self.size { self.flush() } else { Ok(()) }
    }

    /// Writes what is left and puts all shards in their place; gives the number of pictures written in all.
    ///
    /// # Errors
    /// Whatever the file system says, or a shard that has come there meanwhile.
    pub fn finish(mut self) -> Result<usize, ShardError> {
        if !self.waiting.is_empty() {
            self.flush()?;
        }
        if self.written > 0 {
            let mark = self.aside.path.join(WHOLE);
            atomic::write(&mark, b"").map_err(|source| ShardError::Io { path: mark, source })?;
            self.aside.put_in_place()?;
        }
        Ok(self.written)
    }

    fn flush(&mut self) -> Result<(), ShardError> {
        let path = self.aside.path.join(format!("shard_{:06}.tar", self.written / self.size));
        let (first, shape, pictures) =
            (self.written, self.shape, std::mem::take(&mut self.waiting));
        let set = &self.set;
        self.written += pictures.len();
        let write = |aside: &mut tempfile::NamedTempFile| -> io::Result<()> {
            let mut tar = Builder::new(io::BufWriter::new(aside));
            for (i, (latents, class)) in pictures.iter().enumerate() {
                let key = first + i;
                let class = class.to_string();
                append(&mut tar, set, &format!("{key:08}.cls_id.cls"), class.as_bytes())?;
                let latents = npy::write(&shape, latents);
                append(&mut tar, set, &format!("{key:08}.latent.npy"), &latents)?;
            }
            tar.into_inner()?.into_inner().map(drop).map_err(|error| error.into_error())
        };
        atomic::write_with(&path, write).map_err(|source| ShardError::Io { path, source })
    }
}

fn append<W: io::Write>(
    tar: &mut Builder<W>,
    set: &str,
    name: &str,
    bytes: &[u8],
) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_username(OWNER)?;
    header.set_groupname(set)?;
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    header.set_cksum();
    tar.append_data(&mut header, name, bytes)
}

fn taken(folder: &Path, shard: &Path) -> ShardError {
    ShardError::Pattern {
        pattern: folder.display().to_string(),
        reason: format!(
            "it holds shards already ({}): name another folder, or move them away",
            shard.file_name().unwrap_or_default().display()
        ),
    }
}

/// The folder that a set is written into, held against other processes. Dropped, it takes with it what it holds, unless
/// that is a whole set which is not all in its place.
#[derive(Debug)]
struct Aside {
    /// The folder that the shards are for.
    folder: PathBuf,
    path: PathBuf,
    /// Nobody holds it where the file system knows no locks.
    lock: Option<File>,
}

impl Aside {
    fn take(folder: &Path) -> Result<Self, ShardError> {
        let (folder, path) = (folder.to_owned(), folder.join(ASIDE));
        let io_error = |source| ShardError::Io { path: path.clone(), source };
        fs::create_dir_all(&path).map_err(io_error)?;
        let lock = File::create(path.join(LOCK)).map_err(io_error)?;
        let lock = match lock.try_lock() {
            Ok(()) => Some(lock),
            Err(TryLockError::WouldBlock) => return Err(ShardError::Busy { path: folder }),
            Err(TryLockError::Error(_)) => None,
        };
        Ok(Self { folder, path, lock })
    }

    /// Puts all shards in their place, none of them over another one.
    fn put_in_place(&self) -> Result<(), ShardError> {
        let io_error = |source| ShardError::Io { path: self.folder.clone(), source };
        for shard in shards_in(&self.path) {
            let place = self.folder.join(shard.file_name().unwrap_or_default());
            if fs::symlink_metadata(&place).is_ok() {
                return Err(taken(&self.folder, &place));
            }
            fs::rename(&shard, &place).map_err(io_error)?;
        }
        atomic::sync_folder(&self.folder).map_err(io_error)?;
        fs::remove_file(self.path.join(WHOLE)).map_err(io_error)
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        // Not every system removes what is open.
        self.lock = None;
        if !is_partly_in_place(&self.folder) {
            // What cannot be removed only takes room.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::shards::{Shards, names_shards};
    use super::*;

    /// A writer of shards of two pictures each that has been given some.
    fn writer(folder: &Path, pictures: usize) -> ShardWriter {
        let mut writer = ShardWriter::new(folder, [1, 2, 2], 2, "a test").unwrap();
        (0..pictures).for_each(|i| writer.push(vec![i as f32; 4], i).unwrap());
        writer
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn refused(opened: Result<Shards, ShardError>) -> String {
        opened.unwrap_err().to_string()
    }

    #[test]
    fn nothing_is_in_its_place_before_all_of_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        let begun = writer(at, 5);
        assert_eq!(names(at), [ASIDE]);
        assert_eq!(shards_in(&at.join(ASIDE)).len(), 2);
        assert!(names_shards(at), "it is no folder of pictures");
        for data in [at.to_owned(), at.join("shard_{000000..000001}.tar")] {
            let said = refused(Shards::open(&data));
            assert!(said.contains("the set of shards for this folder is not whole"), "{said}");
        }
        let second = ShardWriter::new(at, [1, 2, 2], 2, "another").unwrap_err();
        assert!(matches!(second, ShardError::Busy { .. }), "{second}");
        drop(begun);
        assert!(names(at).is_empty(), "{:?}", names(at));

        assert_eq!(writer(at, 5).finish().unwrap(), 5);
        assert_eq!(names(at), [0, 1, 2].map(|i| format!("shard_{i:06}.tar")));
        assert_eq!(Shards::open(at).unwrap().len(), 5);
        let again = ShardWriter::new(at, [1, 2, 2], 2, "a test").unwrap_err().to_string();
        assert!(again.contains("it holds shards already (shard_000000.tar)"), "{again}");
        assert_eq!(names(at).len(), 3, "and nothing else");
    }

    #[test]
    fn of_no_pictures_nothing_is_written() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(writer(&folder.path().join("s"), 0).finish().unwrap(), 0);
        assert!(names(&folder.path().join("s")).is_empty());
    }

    #[test]
    fn what_a_kill_left_of_half_a_set_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        fs::create_dir(at.join(ASIDE)).unwrap();
        for name in [LOCK, "shard_000000.tar", "shard_000007.tar", ".purrscope-x1"] {
            fs::write(at.join(ASIDE).join(name), "of another set").unwrap();
        }
        fs::write(at.join("notes.txt"), "mine").unwrap();
        assert_eq!(writer(at, 3).finish().unwrap(), 3);
        assert_eq!(names(at), ["notes.txt", "shard_000000.tar", "shard_000001.tar"]);
        assert_eq!(Shards::open(at).unwrap().len(), 3);
    }

    #[test]
    fn a_whole_set_that_a_kill_left_on_its_way_comes_into_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        writer(at, 5).finish().unwrap();
        fs::create_dir(at.join(ASIDE)).unwrap();
        fs::write(at.join(ASIDE).join(WHOLE), "").unwrap();
        let last = "shard_000002.tar";
        fs::rename(at.join(last), at.join(ASIDE).join(last)).unwrap();
        for data in [at.to_owned(), at.join("shard_000000.tar")] {
            let said = refused(Shards::open(&data));
            assert!(said.contains("is not whole"), "{said}");
        }
        // Nothing is replaced on the way.
        fs::write(at.join(last), "mine").unwrap();
        let said = ShardWriter::check(at).unwrap_err().to_string();
        assert!(said.contains("it holds shards already (shard_000002.tar)"), "{said}");
        assert_eq!(fs::read(at.join(last)).unwrap(), b"mine");
        fs::remove_file(at.join(last)).unwrap();

        let said = ShardWriter::check(at).unwrap_err().to_string();
        assert!(said.contains("it holds shards already (shard_000000.tar)"), "{said}");
        assert_eq!(names(at), [0, 1, 2].map(|i| format!("shard_{i:06}.tar")));
        let shards = Shards::open(at).unwrap();
        assert_eq!((0..5).map(|i| shards.class(i)).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    }
}
