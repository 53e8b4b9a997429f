//! The files of `torch.save`: a zip of stored entries, one of them a pickle that says how tensors lie
//! in the others. Mapped, never unpacked.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Cursor};
use std::ops::Range;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use memmap2::Mmap;
use thiserror::Error;
use zip::{CompressionMethod, ZipArchive};

use super::pickle::{Id, Pickle, PickleError, TensorView};

/// A checkpoint that cannot be used.
#[derive(Debug, Error)]
pub enum TorchError {
    /// The file system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// Not a zip, a truncated one, or one that lies about its entries.
    #[error("{path}: not a whole PyTorch checkpoint: {reason}")]
    Container {
        /// The file.
        path: PathBuf,
        /// What is wrong, and with which entry.
        reason: String,
    },
    /// The pickle in the file.
    #[error("{path}: {source}")]
    Pickle {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: PickleError,
    },
    /// A tensor that does not lie in its storage, or is of a type that is not known.
    #[error("{path}: tensor '{name}' {reason}")]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// An open checkpoint; tensors are read on demand.
pub struct TorchFile {
    path: PathBuf,
    map: Mmap,
    pickle: Pickle,
    /// Where the bytes of every storage lie in the file.
    storages: HashMap<String, Range<usize>>,
}

/// How the numbers of a storage are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Numbers {
    F16,
    BF16,
    F32,
    F64,
}

impl Numbers {
    fn of(kind: &str) -> Option<Self> {
        match kind {
            "HalfStorage" => Some(Self::F16),
            "BFloat16Storage" => Some(Self::BF16),
            "FloatStorage" => Some(Self::F32),
            "DoubleStorage" => Some(Self::F64),
            _ => None,
        }
    }

    fn width(self) -> usize {
        match self {
            Self::F16 | Self::BF16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    fn read(self, bytes: &[u8]) -> f32 {
        match self {
            Self::F16 => f16::from_le_bytes([bytes[0], bytes[1]]).to_f32(),
            Self::BF16 => bf16::from_le_bytes([bytes[0], bytes[1]]).to_f32(),
            Self::F32 => f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]),
            Self::F64 => {
                let mut number = [0; 8];
                number.copy_from_slice(&bytes[..8]);
                f64::from_le_bytes(number) as f32
            }
        }
    }
}

impl TorchFile {
    /// Maps a checkpoint and reads its pickle.
    ///
    /// # Errors
    /// It is not a whole zip of stored entries, or its pickle is malformed or refused.
    pub fn open(path: &Path) -> Result<Self, TorchError> {
        let io_error = |source| TorchError::Io { path: path.to_owned(), source };
        let file = File::open(path).map_err(io_error)?;
        // SAFETY: the map is read only, and checkpoints are replaced whole, not written in place; a
        // process that truncates the file while it is read can end this one with a bus error.
        let map = unsafe { Mmap::map(&file) }.map_err(io_error)?;
        let broken = |reason: String| TorchError::Container { path: path.to_owned(), reason };
        let entries = entries(&map).map_err(broken)?;
        let (folder, pickle) = entries
            .iter()
            .find_map(|(name, range)| Some((name.strip_suffix("data.pkl")?, range.clone())))
            .ok_or_else(|| broken("it has no entry data.pkl".to_owned()))?;
        if let Some(order) = entries.get(&format!("{folder}byteorder"))
            && map[order.clone()] != *b"little"
        {
            return Err(broken("its numbers are not little-endian".to_owned()));
        }
        let pickle = Pickle::read(&map[pickle])
            .map_err(|source| TorchError::Pickle { path: path.to_owned(), source })?;
        let folder = format!("{folder}data/");
        let storages = entries
            .iter()
            .filter_map(|(name, range)| {
                Some((name.strip_prefix(&folder)?.to_owned(), range.clone()))
            })
            .collect();
        Ok(Self { path: path.to_owned(), map, pickle, storages })
    }

    /// Where the file lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The values of the file.
    pub fn pickle(&self) -> &Pickle {
        &self.pickle
    }

    /// The tensors of a dictionary, in order.
    pub fn tensors(&self, dictionary: Id) -> Vec<(String, &TensorView)> {
        self.pickle
            .entries(dictionary)
            .into_iter()
            .filter_map(|(name, id)| Some((name.to_owned(), self.pickle.tensor(id)?)))
            .collect()
    }

    fn fault<T>(&self, name: &str, reason: impl Into<String>) -> Result<T, TorchError> {
        Err(TorchError::Tensor {
            path: self.path.clone(),
            name: name.to_owned(),
            reason: reason.into(),
        })
    }

    /// The bytes of a tensor's storage from its first number on, checked to hold all of it.
    fn place(&self, name: &str, view: &TensorView) -> Result<(Numbers, &[u8], usize), TorchError> {
        let Some(numbers) = Numbers::of(&view.kind) else {
            return self.fault(name, format!("is of type {}, not floating point", view.kind));
        };
        let Some(range) = self.storages.get(&view.storage) else {
            return self
                .fault(name, format!("lies in entry data/{}, which is missing", view.storage));
        };
        let held = range.len() / numbers.width();
        let count = view.shape.iter().try_fold(1usize, |product, side| product.checked_mul(*side));
        // The last number, one past it, and a count no larger than the storage: a tensor that is
        // spread out of a few numbers would take memory that the file does not justify.
        let last =
            view.shape.iter().zip(&view.strides).try_fold(view.offset, |at, (side, step)| {
                at.checked_add(side.saturating_sub(1).checked_mul(*step)?)
            });
        match (count, last) {
            (Some(count), Some(last)) if count <= held && (count == 0 || last < held) => {
                Ok((numbers, &self.map[range.clone()], count))
            }
            _ => self.fault(
                name,
                format!(
                    "{:?} does not lie in entry data/{} of {held} numbers",
                    view.shape, view.storage
                ),
            ),
        }
    }

    /// The numbers of a tensor, row-major.
    ///
    /// # Errors
    /// It does not lie in its storage, is not floating point, or holds numbers that are not finite.
    pub fn floats(&self, name: &str, view: &TensorView) -> Result<Vec<f32>, TorchError> {
        let (numbers, bytes, count) = self.place(name, view)?;
        let mut values = Vec::with_capacity(count);
        self.visit(view, count, |at| values.push(numbers.read(&bytes[at * numbers.width()..])));
        if values.iter().any(|value| !value.is_finite()) {
            return self.fault(name, "holds values that are not finite");
        }
        Ok(values)
    }

    /// The same as little-endian f32 bytes: those of the file itself where they are just that.
    ///
    /// # Errors
    /// As [`TorchFile::floats`].
    pub fn f32_bytes(&self, name: &str, view: &TensorView) -> Result<Cow<'_, [u8]>, TorchError> {
        let (numbers, bytes, count) = self.place(name, view)?;
        if numbers == Numbers::F32 && view.is_contiguous() {
            let bytes = &bytes[view.offset * 4..(view.offset + count) * 4];
            let finite = |chunk: &[u8; 4]| f32::from_le_bytes(*chunk).is_finite();
            if !bytes.as_chunks::<4>().0.iter().all(finite) {
                return self.fault(name, "holds values that are not finite");
            }
            return Ok(Cow::Borrowed(bytes));
        }
        let values = self.floats(name, view)?;
        Ok(Cow::Owned(values.into_iter().flat_map(f32::to_le_bytes).collect()))
    }

    /// Calls `each` with the place in the storage of every number, row-major.
    fn visit(&self, view: &TensorView, count: usize, mut each: impl FnMut(usize)) {
        if view.is_contiguous() {
            return (view.offset..view.offset + count).for_each(each);
        }
        let mut index = vec![0; view.shape.len()];
        for _ in 0..count {
            each(view.offset + index.iter().zip(&view.strides).map(|(i, s)| i * s).sum::<usize>());
            for (i, side) in index.iter_mut().zip(&view.shape).rev() {
                *i += 1;
                if *i < *side {
                    break;
                }
                *i = 0;
            }
        }
    }
}

impl TensorView {
    fn is_contiguous(&self) -> bool {
        let mut step = 1;
        self.shape.iter().zip(&self.strides).rev().all(|(side, stride)| {
            let fits = *side == 1 || *stride == step;
            step *= side;
            fits
        })
    }
}

/// Name and place of every entry of a zip whose entries are stored as they are.
fn entries(bytes: &[u8]) -> Result<HashMap<String, Range<usize>>, String> {
    if bytes.starts_with(&[0x80, 0x02, 0x8a, 0x0a]) {
        return Err(
            "it is of the format before PyTorch 1.6; load and save it with a newer one".into()
        );
    }
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| error.to_string())?;
    let mut found = HashMap::new();
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(|error| error.to_string())?;
        let name = entry.name().to_owned();
        if entry.compression() != CompressionMethod::Stored
            || entry.size() != entry.compressed_size()
        {
            return Err(format!("entry '{name}' is compressed, which torch.save never does"));
        }
        let start = entry.data_start().and_then(|start| usize::try_from(start).ok());
        let end = start.zip(usize::try_from(entry.size()).ok()).and_then(|(s, n)| s.checked_add(n));
        match (start, end) {
            (Some(start), Some(end)) if end <= bytes.len() => {
                found.insert(name, start..end);
            }
            _ => {
                return Err(format!(
                    "entry '{name}' claims {} bytes, more than the file of {} has",
                    entry.size(),
                    bytes.len()
                ));
            }
        }
    }
    Ok(found)
}
