//! The files of `torch.save`: a pickle that says how tensors lie in storages, and the storages. Mapped,
//! never unpacked.

mod container;

use std::borrow::Cow;
use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use memmap2::Mmap;
use thiserror::Error;

use super::foreign::{self, Foreign};
use super::input;
use super::narrow::narrow;
use super::pickle::{Id, Pickle, PickleError, TensorView};
use container::{Contents, Fault};

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
    /// A file of another kind.
    #[error("{path}: it is {found}, expected a PyTorch checkpoint (.pth, .pt or .ckpt){advice}")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: Foreign,
        /// What to do about it.
        advice: &'static str,
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
            "HalfStorage" | "float16" | "half" => Some(Self::F16),
            "BFloat16Storage" | "bfloat16" => Some(Self::BF16),
            "FloatStorage" | "float32" | "float" => Some(Self::F32),
            "DoubleStorage" | "float64" | "double" => Some(Self::F64),
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
                narrow(f64::from_le_bytes(number))
            }
        }
    }
}

impl TorchFile {
    /// Maps a checkpoint and reads its pickle.
    ///
    /// # Errors
    /// It is something else, is not whole, or its pickle is malformed or refused.
    pub fn open(path: &Path) -> Result<Self, TorchError> {
        let map =
            input::map(path).map_err(|source| TorchError::Io { path: path.to_owned(), source })?;
        let read = match foreign::recognise(&map) {
            None | Some(Foreign::TorchZip | Foreign::Zip | Foreign::Npz) => container::zipped(&map),
            Some(Foreign::TorchLegacy) => container::legacy(&map),
            Some(found) => {
                let advice = match found {
                    Foreign::Tar => {
                        "; one saved by PyTorch before 0.1.10 has to be loaded and saved again by a \
                         newer one"
                    }
                    _ => found.advice(),
                };
                return Err(TorchError::Foreign { path: path.to_owned(), found, advice });
            }
        };
        match read {
            Ok(Contents { pickle, storages }) => {
                Ok(Self { path: path.to_owned(), map, pickle, storages })
            }
            Err(Fault::Container(reason)) => {
                Err(TorchError::Container { path: path.to_owned(), reason })
            }
            Err(Fault::Pickle(source)) => Err(TorchError::Pickle { path: path.to_owned(), source }),
        }
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
            return self.fault(name, format!("lies in storage {}, which is missing", view.storage));
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
                    "{:?} does not lie in storage {} of {held} numbers",
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
