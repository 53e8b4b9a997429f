//! Latents in WebDataset shards, as the reference writes and reads them: tars with an entry
//! `KEY.latent.npy` and an entry `KEY.cls_id.cls` for every picture.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use sha2::{Digest, Sha256};
use tar::{Archive, EntryType};
use thiserror::Error;

use super::shard_writer::{is_begun, is_partly_in_place};
use super::walk::{Entries, Walk, entries};
use crate::io::foreign::{self, Foreign};
use crate::io::npy::{self, NpyError};
use crate::io::{atomic, digest};

/// Shards that cannot be used.
#[derive(Debug, Error)]
pub enum ShardError {
    /// The file system refused.
    #[error("{path}: {source}")]
    Io {
        /// The shard.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// A list of shards that names none.
    #[error("'{pattern}': {reason}")]
    Pattern {
        /// The list as it was given.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Not a tar, or one that lies about an entry.
    #[error("{path}: not a valid tar file: {reason}")]
    Container {
        /// The shard.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// An entry that does not hold what it should.
    #[error("{path}: entry '{entry}': {reason}")]
    Entry {
        /// The shard.
        path: PathBuf,
        /// The entry.
        entry: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A set that is not all there.
    #[error(
        "{path}: the set of shards for this folder is not whole: `purrscope encode` is writing it, or was stopped (start it again)"
    )]
    Unfinished {
        /// The folder.
        path: PathBuf,
    },
    /// Another process writes a set into the folder.
    #[error("{path}: another process is writing shards there")]
    Busy {
        /// The folder.
        path: PathBuf,
    },
    /// Shards of one folder that were not written together.
    #[error(
        "{path}: was not written together with {other}: one of them is left over from another set (keep each set in a folder of its own)"
    )]
    Mixed {
        /// A shard.
        path: PathBuf,
        /// Another one, in the same folder.
        other: PathBuf,
    },
}

/// Most classes that are taken for some: larger numbers are hashes, or overflows, and would ask for
/// memory for as many names.
pub const MOST_CLASSES: usize = 100_000;
/// Most shards that a list may name.
const MOST_SHARDS: usize = 1 << 20;
/// What the owner of an entry is called whose group is the name of a set of shards.
pub(super) const OWNER: &str = "purrscope";
/// Most bytes of an entry that names a class.
const LONGEST_CLASS: u64 = 64;
/// Bytes at the beginning of an array that hold its type and shape.
const HEADER_BYTES: u64 = 1 << 12;

/// Where a picture's latents lie.
#[derive(Debug, Clone, Copy)]
struct Place {
    shard: u32,
    class: u32,
    offset: u64,
    length: u64,
}

/// The pictures of a list of shards: found at once, their latents read when they are needed.
#[derive(Debug)]
pub struct Shards {
    files: Vec<PathBuf>,
    places: Vec<Place>,
    /// Number of the first picture of every shard, and the number of pictures.
    starts: Vec<usize>,
    /// Channels, rows and columns of the latents.
    shape: [usize; 3],
    descr: String,
}

/// Whether a data path names shards: tars, in braces or not, or a folder of tars. A folder with pictures
/// in sub-folders is one of pictures, even where the tar that they came in still lies there. One that shards were begun
/// for is one of shards.
pub fn names_shards(data: &Path) -> bool {
    if data.is_dir() {
        return (is_begun(data) || !shards_in(data).is_empty()) && !has_class_folders(data);
    }
    data.extension().is_some_and(|extension| extension == "tar")
}

/// Whether pictures lie in folders below this one.
fn has_class_folders(folder: &Path) -> bool {
    let Ok(Entries { folders, .. }) = entries(folder) else { return false };
    let mut walk = Walk::default();
    folders.iter().any(|folder| walk.pictures(folder).is_ok_and(|found| !found.is_empty()))
}

/// The tars that lie in a folder, in order of name.
pub fn shards_in(folder: &Path) -> Vec<PathBuf> {
    let entries =
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_shard = |path: &PathBuf| {
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        path.extension().is_some_and(|extension| extension == "tar") && !hidden && path.is_file()
    };
    let mut tars: Vec<PathBuf> = entries.filter(is_shard).collect();
    tars.sort();
    tars
}

/// The texts that a text with braces stands for: `{0..7}` with the zeros of its ends, and `{a,b}`.
///
/// # Errors
/// A brace without its partner, ends that are not numbers, or more than a million texts.
pub fn expand_braces(pattern: &str) -> Result<Vec<String>, ShardError> {
    let fault = |reason: &str| {
        Err(ShardError::Pattern { pattern: pattern.to_owned(), reason: reason.to_owned() })
    };
    let mut all = vec![String::new()];
    let mut rest = pattern;
    while let Some(open) = rest.find('{') {
        let Some(close) = rest[open..].find('}').map(|at| open + at) else {
            return fault("a brace is not closed");
        };
        let (before, inside) = (&rest[..open], &rest[open + 1..close]);
        let parts: Vec<String> = match inside.split_once("..") {
            Some((from, to)) => {
                let (Ok(first), Ok(last)) = (from.parse::<usize>(), to.parse::<usize>()) else {
                    return fault("the ends of a range are not whole numbers");
                };
                if last.saturating_sub(first) >= MOST_SHARDS {
                    return fault("it names more than a million shards");
                }
                let width = if from.starts_with('0') { from.len().min(64) } else { 0 };
                (first..=last).map(|number| format!("{number:0width$}")).collect()
            }
            None => inside.split(',').map(str::to_owned).collect(),
        };
        if all.len().saturating_mul(parts.len()) > MOST_SHARDS {
            return fault("it names more than a million shards");
        }
        all = all
            .iter()
            .flat_map(|begun| parts.iter().map(move |part| format!("{begun}{before}{part}")))
            .collect();
        rest = &rest[close + 1..];
    }
    if rest.contains('}') {
        return fault("a brace is not opened");
    }
    Ok(all.into_iter().map(|text| text + rest).collect())
}

impl Shards {
    /// Finds every picture of a tar, a list of tars in braces, or a folder of tars.
    ///
    /// # Errors
    /// A shard cannot be read, lies about its entries, holds half a picture, latents of another shape
    /// or an absurd class, or is left over from another set; or the set is not whole.
    pub fn open(data: &Path) -> Result<Self, ShardError> {
        let mut files = shards_in(data);
        if files.is_empty() && is_begun(data) {
            return Err(ShardError::Unfinished { path: data.to_owned() });
        }
        if files.is_empty() {
            files = match data.exists() {
                true => vec![data.to_owned()],
                false => {
                    expand_braces(&data.to_string_lossy())?.into_iter().map(PathBuf::from).collect()
                }
            };
        }
        let folders: BTreeSet<&Path> = files.iter().map(|path| atomic::folder_of(path)).collect();
        let lacks = |folder: &Path| {
            let mut there = files.iter().filter(|path| atomic::folder_of(path) == folder);
            there.any(|path| !path.exists())
        };
        if let Some(folder) = folders
            .into_iter()
            .find(|folder| is_partly_in_place(folder) || is_begun(folder) && lacks(folder))
        {
            return Err(ShardError::Unfinished { path: folder.to_owned() });
        }
        let found = files
            .par_iter()
            .enumerate()
            .map(|(shard, path)| scan(path, shard as u32))
            .collect::<Result<Vec<_>, _>>()?;
        one_set_a_folder(&files, &found)?;
        let mut shards = Self {
            files,
            places: Vec::new(),
            starts: vec![0],
            shape: [0; 3],
            descr: String::new(),
        };
        for (path, Scan { places, array, .. }) in shards.files.iter().zip(found) {
            if let Some((entry, npy::Header { descr, shape, .. })) = array {
                let fault =
                    |reason: String| ShardError::Entry { path: path.clone(), entry, reason };
                let Ok(shape) = <[usize; 3]>::try_from(shape.as_slice()) else {
                    return Err(fault(format!("its shape is {shape:?}, expected three extents")));
                };
                if !shards.places.is_empty() && shape != shards.shape {
                    return Err(fault(format!(
                        "its shape is {shape:?}, others have {:?}",
                        shards.shape
                    )));
                }
                (shards.shape, shards.descr) = (shape, descr);
            }
            shards.places.extend(places);
            shards.starts.push(shards.places.len());
        }
        if shards.places.is_empty() {
            return Err(ShardError::Pattern {
                pattern: data.display().to_string(),
                reason: "its shards hold no pictures".to_owned(),
            });
        }
        Ok(shards)
    }

    /// Number of pictures.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none; shards that were opened hold some.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Number of shards.
    pub fn files(&self) -> usize {
        self.files.len()
    }

    /// The SHA-256 over all shards, in their order; those that cannot be read count as empty.
    pub fn digest(&self) -> [u8; 32] {
        let files: Vec<[u8; 32]> =
            self.files.par_iter().map(|path| digest::of_file(path)).collect();
        Sha256::digest(files.concat()).into()
    }

    /// Channels, rows and columns of the latents.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// Type of the numbers in NumPy's words.
    pub fn descr(&self) -> &str {
        &self.descr
    }

    /// Class of a picture.
    pub fn class(&self, index: usize) -> usize {
        self.places[index].class as usize
    }

    /// The largest class and one.
    pub fn classes(&self) -> usize {
        self.places.iter().map(|place| place.class as usize + 1).max().unwrap_or(0)
    }

    /// The latents of a picture, `[channels, height, width]`.
    ///
    /// # Errors
    /// The shard cannot be read, or the array is not one of finite floating-point numbers of the
    /// shape of the others.
    pub fn latents(&self, index: usize) -> Result<Vec<f32>, ShardError> {
        let Place { shard, offset, length, .. } = self.places[index];
        let path = &self.files[shard as usize];
        let io_error = |source| ShardError::Io { path: path.clone(), source };
        let mut file = File::open(path).map_err(io_error)?;
        file.seek(SeekFrom::Start(offset)).map_err(io_error)?;
        let mut bytes = Vec::new();
        file.take(length).read_to_end(&mut bytes).map_err(io_error)?;
        let fault = |reason: String| ShardError::Entry {
            path: path.clone(),
            entry: format!("latents at byte {offset}"),
            reason,
        };
        let (shape, values) = npy::read(&bytes).map_err(|error| fault(error.to_string()))?;
        if shape != self.shape {
            return Err(fault(format!("its shape is {shape:?}, others have {:?}", self.shape)));
        }
        if values.iter().any(|value| !value.is_finite()) {
            return Err(fault("it holds values that are not finite".to_owned()));
        }
        Ok(values)
    }

    /// Number of the first picture of every shard, and the number of pictures.
    pub fn starts(&self) -> &[usize] {
        &self.starts
    }
}

/// What there is in a shard.
struct Scan {
    places: Vec<Place>,
    /// Name and head of the first array.
    array: Option<(String, npy::Header)>,
    /// The set that its first entry is of, if it says so.
    set: Option<Vec<u8>>,
}

/// That the shards of each folder were written together, as far as they say so.
fn one_set_a_folder(files: &[PathBuf], found: &[Scan]) -> Result<(), ShardError> {
    let mut first: HashMap<Option<&Path>, (&Path, &Option<Vec<u8>>)> = HashMap::new();
    for (path, Scan { set, .. }) in files.iter().zip(found) {
        let (other, known) = first.entry(path.parent()).or_insert((path, set));
        if *known != set {
            return Err(ShardError::Mixed { path: path.clone(), other: other.to_path_buf() });
        }
    }
    Ok(())
}

/// Finds the pictures of a shard, reading no more than heads and classes.
fn scan(path: &Path, shard: u32) -> Result<Scan, ShardError> {
    let io_error = |source| ShardError::Io { path: path.to_owned(), source };
    let broken = |reason: String| ShardError::Container { path: path.to_owned(), reason };
    match foreign::recognise_file(path).map_err(io_error)? {
        // The oldest tars say nowhere what they are, and empty ones are all zeros.
        None | Some(Foreign::Tar | Foreign::Zeros) => {}
        Some(found) => return Err(broken(format!("it is {found}{}", found.advice()))),
    }
    let file = File::open(path).map_err(io_error)?;
    let bytes = file.metadata().map_err(io_error)?.len();
    let mut archive = Archive::new(file);
    let mut found = Scan { places: Vec::new(), array: None, set: None };
    let mut half: Option<Half> = None;
    for (number, entry) in archive.entries_with_seek().map_err(io_error)?.enumerate() {
        let mut entry = entry.map_err(|error| broken(error.to_string()))?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let fault = |reason: String| ShardError::Entry {
            path: path.to_owned(),
            entry: name.escape_debug().to_string(),
            reason,
        };
        let (offset, length) = (entry.raw_file_position(), entry.size());
        if offset.checked_add(length).is_none_or(|end| end > bytes) {
            return Err(fault(format!("claims {length} bytes, more than the file of {bytes} has")));
        }
        if number == 0 && entry.header().username_bytes() == Some(OWNER.as_bytes()) {
            found.set = entry.header().groupname_bytes().map(<[u8]>::to_vec);
        }
        if entry.header().entry_type() != EntryType::Regular {
            continue;
        }
        let Some((key, kind)) = split_key(&name) else { continue };
        let part = match kind {
            "latent.npy" => {
                let mut head = Vec::new();
                let read = entry.by_ref().take(HEADER_BYTES).read_to_end(&mut head);
                read.map_err(io_error)?;
                let array =
                    npy::header(&head).map_err(|error: NpyError| fault(error.to_string()))?;
                let (_, first) = found.array.get_or_insert_with(|| (name.clone(), array.clone()));
                if first.shape != array.shape {
                    let (shape, others) = (&array.shape, &first.shape);
                    return Err(fault(format!("its shape is {shape:?}, others have {others:?}")));
                }
                Part::Latents { offset, length }
            }
            "cls" | "cls_id.cls" => {
                let mut text = String::new();
                let read = entry.by_ref().take(LONGEST_CLASS).read_to_string(&mut text);
                let text = read.map_or("?", |_| text.trim());
                let class =
                    text.parse::<u32>().ok().filter(|class| (*class as usize) < MOST_CLASSES);
                Part::Class(class.ok_or_else(|| {
                    let (text, most) = (text.escape_debug(), MOST_CLASSES - 1);
                    fault(format!("'{text}' is not a class (a whole number from 0 to {most})"))
                })?)
            }
            _ => continue,
        };
        half = match (half.take(), part) {
            (None, part) => Some(Half { key: key.to_owned(), name: name.clone(), part }),
            (Some(half), part) if half.key == key => match (half.part, part) {
                (Part::Latents { offset, length }, Part::Class(class))
                | (Part::Class(class), Part::Latents { offset, length }) => {
                    found.places.push(Place { shard, class, offset, length });
                    None
                }
                _ => return Err(fault("it is there twice".to_owned())),
            },
            (Some(half), _) => return Err(half.alone(path)),
        };
    }
    match half {
        Some(half) => Err(half.alone(path)),
        None => Ok(found),
    }
}

enum Part {
    Latents { offset: u64, length: u64 },
    Class(u32),
}

/// An entry whose partner has not come yet.
struct Half {
    key: String,
    name: String,
    part: Part,
}

impl Half {
    fn alone(self, path: &Path) -> ShardError {
        let reason = match self.part {
            Part::Latents { .. } => "it has no class beside it (.cls_id.cls)",
            Part::Class(_) => "it has no latents beside it (.latent.npy)",
        };
        ShardError::Entry { path: path.to_owned(), entry: self.name, reason: reason.to_owned() }
    }
}

/// The key and the kind of an entry: its name up to the first dot after the folder, and from it.
fn split_key(name: &str) -> Option<(&str, &str)> {
    let base = name.rfind('/').map_or(0, |slash| slash + 1);
    let dot = base + name[base..].find('.')?;
    Some((&name[..dot], &name[dot + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_name_ranges_and_choices() {
        let expand = |text| expand_braces(text).unwrap();
        assert_eq!(expand("a.tar"), ["a.tar"]);
        assert_eq!(expand("s-{008..010}.tar"), ["s-008.tar", "s-009.tar", "s-010.tar"]);
        assert_eq!(expand("{a,b}{1..2}"), ["a1", "a2", "b1", "b2"]);
        for bad in ["a{1..2", "a}", "{x..y}", "{0..99999999}", "{0..999}{0..999}{0..999}"] {
            assert!(expand_braces(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_tars_are_shards_and_not_beside_class_folders() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (path, expected) in [("a.tar", true), ("a-{0..7}.tar", true), ("da{ta}", false)] {
            assert_eq!(names_shards(&at(path)), expected, "{path}");
        }
        for name in ["shards", "da{ta}/cat", "logs", "shards/empty"] {
            std::fs::create_dir_all(at(name)).unwrap();
        }
        for name in ["shards/0.tar", "shards/._0.tar", "da{ta}/all.tar", "da{ta}/cat/1.png"] {
            std::fs::write(at(name), [0; 1024]).unwrap();
        }
        for (path, expected) in [("shards", true), ("da{ta}", false), ("logs", false)] {
            assert_eq!(names_shards(&at(path)), expected, "{path}");
        }
        assert_eq!(shards_in(&at("shards")), [at("shards/0.tar")]);
    }

    #[test]
    fn keys_end_at_the_first_dot_of_the_name() {
        assert_eq!(split_key("a.b/0001.latent.npy"), Some(("a.b/0001", "latent.npy")));
        assert_eq!(split_key("readme"), None);
    }
}
