//! The two containers of `torch.save`: a zip of stored entries, and before PyTorch 1.6 pickles and
//! storages one behind another.

use std::collections::HashMap;
use std::io::Cursor;
use std::ops::Range;

use zip::{CompressionMethod, ZipArchive};

use super::super::pickle::{Pickle, PickleError};

/// A container that is not whole, or a pickle in it.
#[derive(Debug)]
pub(super) enum Fault {
    /// In words.
    Container(String),
    Pickle(PickleError),
}

impl From<PickleError> for Fault {
    fn from(error: PickleError) -> Self {
        Self::Pickle(error)
    }
}

fn broken<T>(reason: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Container(reason.into()))
}

/// What was found in a container.
pub(super) struct Contents {
    pub pickle: Pickle,
    /// Where the bytes of every storage lie in the file.
    pub storages: HashMap<String, Range<usize>>,
}

const BIG_ENDIAN: &str = "its numbers are big-endian, expected little-endian: load it and save it \
                          again on another machine";

/// Width of a number in bytes, by the type of its storage.
fn width(kind: &str) -> Option<usize> {
    Some(match kind {
        "ByteStorage" | "CharStorage" | "BoolStorage" | "UntypedStorage" | "QUInt8Storage"
        | "QInt8Storage" => 1,
        "HalfStorage" | "BFloat16Storage" | "ShortStorage" => 2,
        "FloatStorage" | "IntStorage" | "QInt32Storage" => 4,
        "DoubleStorage" | "LongStorage" | "ComplexFloatStorage" => 8,
        "ComplexDoubleStorage" => 16,
        _ => return None,
    })
}

/// An entry of a zip.
struct Entry {
    name: String,
    stored: bool,
    /// Bytes that it claims.
    size: u64,
    /// Where they lie, if they lie in the file.
    place: Option<Range<usize>>,
}

impl Entry {
    fn open<'a>(&self, bytes: &'a [u8]) -> Result<&'a [u8], Fault> {
        Ok(&bytes[self.place(bytes)?])
    }

    fn place(&self, bytes: &[u8]) -> Result<Range<usize>, Fault> {
        if !self.stored {
            return broken(format!(
                "entry '{}' is compressed, which torch.save never does: unpack it and zip it again \
                 without compression",
                self.name
            ));
        }
        self.place.clone().ok_or_else(|| {
            Fault::Container(format!(
                "entry '{}' claims {} bytes, more than the file of {} has",
                self.name,
                self.size,
                bytes.len()
            ))
        })
    }
}

/// A zip as `torch.save` writes it.
pub(super) fn zipped(bytes: &[u8]) -> Result<Contents, Fault> {
    let entries = entries(bytes)?;
    let Some(folder) = folder(&entries) else {
        let first = entries.first().map_or("nothing", |entry| entry.name.as_str());
        return broken(format!("it is a zip without an entry data.pkl; it begins with '{first}'"));
    };
    let inside = |name: &str| {
        entries.iter().find(|entry| entry.name.strip_prefix(folder.as_str()) == Some(name))
    };
    if inside("constants.pkl").is_some() {
        return broken("it is TorchScript: save the state_dict() of its module with torch.save");
    }
    if let Some(order) = inside("byteorder")
        && order.open(bytes)? != b"little"
    {
        return broken(BIG_ENDIAN);
    }
    let Some(pickle) = inside("data.pkl") else { return broken("it has no entry data.pkl") };
    let pickle = Pickle::read(pickle.open(bytes)?)?;
    let data = format!("{folder}data/");
    let mut storages = HashMap::new();
    for entry in &entries {
        if let Some(key) = entry.name.strip_prefix(&data) {
            storages.insert(key.to_owned(), entry.place(bytes)?);
        }
    }
    Ok(Contents { pickle, storages })
}

/// The folder that holds the pickle: not the one in which a Mac puts what it knows about files, and of
/// several the outermost.
fn folder(entries: &[Entry]) -> Option<String> {
    let folders = entries.iter().filter_map(|entry| entry.name.strip_suffix("data.pkl"));
    folders
        .filter(|folder| folder.is_empty() || folder.ends_with('/'))
        .filter(|folder| !folder.split('/').any(|part| part == "__MACOSX"))
        .min_by_key(|folder| (folder.len(), *folder))
        .map(str::to_owned)
}

fn entries(bytes: &[u8]) -> Result<Vec<Entry>, Fault> {
    let zip = |error: zip::result::ZipError| Fault::Container(error.to_string());
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| {
        let what = match bytes.starts_with(b"PK") {
            true => "its end, which says what is in it, is missing: it was cut off",
            false => "it is not a zip archive",
        };
        Fault::Container(format!("{what} ({error})"))
    })?;
    let mut found = Vec::new();
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(zip)?;
        let start = entry.data_start().and_then(|start| usize::try_from(start).ok());
        let end = start.zip(usize::try_from(entry.size()).ok()).and_then(|(s, n)| s.checked_add(n));
        found.push(Entry {
            name: entry.name().to_owned(),
            stored: entry.compression() == CompressionMethod::Stored
                && entry.size() == entry.compressed_size()
                && !entry.encrypted(),
            size: entry.size(),
            place: start.zip(end.filter(|end| *end <= bytes.len())).map(|(s, e)| s..e),
        });
    }
    Ok(found)
}

/// A file from before PyTorch 1.6: a magic number, the version of the format, the system that it was
/// saved on, the object, the names of the storages, each as a pickle; then every storage, after the
/// number of its elements.
pub(super) fn legacy(bytes: &[u8]) -> Result<Contents, Fault> {
    let mut at = 0;
    let mut next = || -> Result<(Pickle, usize), Fault> {
        let (pickle, length) = Pickle::read_first(&bytes[at..])?;
        at += length;
        Ok((pickle, at))
    };
    let (_magic, _version, system) = (next()?, next()?, next()?.0);
    let little = system.get(system.root(), "little_endian").and_then(|id| system.boolean(id));
    if little == Some(false) {
        return broken(BIG_ENDIAN);
    }
    let pickle = next()?.0;
    let (keys, mut at) = next()?;
    let Some(ids) = keys.items(keys.root()) else {
        return broken("the list of its storages is missing");
    };
    let kinds: HashMap<&str, &str> = pickle.storages().collect();
    let mut storages = HashMap::new();
    for id in ids {
        let known = keys.text(*id).and_then(|key| Some((key, *kinds.get(key)?)));
        let Some((key, kind)) = known else {
            return broken("it lists a storage that none of its tensors lies in");
        };
        let Some(width) = width(kind) else {
            return broken(format!("storage '{key}' is of type {kind}, which is not known"));
        };
        let count = bytes[at..].first_chunk().map(|count| u64::from_le_bytes(*count));
        let start = at + size_of::<u64>();
        let length = count.and_then(|n| usize::try_from(n).ok()?.checked_mul(width));
        let end = length.and_then(|length| start.checked_add(length));
        match end.filter(|end| *end <= bytes.len()) {
            Some(end) => at = end,
            None => return broken(format!("it ends in storage '{key}': it was cut off")),
        }
        storages.insert(key.to_owned(), start..at);
    }
    drop(kinds);
    Ok(Contents { pickle, storages })
}
