//! safetensors files: opened by memory map, checked before use, written whole or not at all.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use half::f16;
use memmap2::Mmap;
use safetensors::tensor::{Metadata, TensorView, View};
use safetensors::{Dtype, SafeTensors};
use thiserror::Error;

use super::foreign::{self, Foreign};
use super::narrow::narrow;
pub use super::numbers::{Numbers, Precision};
use super::{atomic, header, input};

/// Key of the header's metadata under which this program keeps its JSON.
pub const METADATA_KEY: &str = "purrscope";

/// A tensor file that cannot be used.
#[derive(Debug, Error)]
pub enum TensorFileError {
    /// The file system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// A file of another kind.
    #[error("{path}: not a valid safetensors file: it is {found}{}", .found.advice())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: Foreign,
    },
    /// Not a safetensors file, or a truncated or inconsistent one.
    #[error("{path}: not a valid safetensors file: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A tensor that should be there is not.
    #[error("{path}: tensor '{name}' is missing: the file holds {holds}")]
    Missing {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// What is there instead.
        holds: Contents,
    },
    /// A tensor of another shape or type than expected.
    #[error("{path}: tensor '{name}' is {found}, expected {expected}")]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// What was expected.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A tensor with numbers that are not finite.
    #[error("{path}: tensor '{name}' holds values that are not finite")]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
    /// A tensor with numbers that two bytes do not hold, where those are wanted.
    #[error(
        "{path}: tensor '{name}' holds values beyond 65504, which half precision does not hold: use \
         --precision f32"
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
}

/// What a tensor file is for, as far as the names of its tensors tell. Its `Display` says it in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contents {
    /// Backbone and tokenizer.
    Model,
    /// A tokenizer on its own.
    Tokenizer,
    /// Weights and optimiser of a run of training.
    Checkpoint,
    /// The record of a run of sampling.
    Trajectory,
    /// Codes of pictures.
    Codes,
    /// Noise to begin with.
    Noise,
    /// Anything else.
    Tensors,
}

impl Contents {
    /// One word for programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Tokenizer => "tokenizer",
            Self::Checkpoint => "checkpoint",
            Self::Trajectory => "trajectory",
            Self::Codes => "codes",
            Self::Noise => "noise",
            Self::Tensors => "tensors",
        }
    }
}

impl fmt::Display for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Model => "a model",
            Self::Tokenizer => "a tokenizer without a backbone",
            Self::Checkpoint => "a checkpoint of a training run",
            Self::Trajectory => "a trajectory",
            Self::Codes => "codes of pictures",
            Self::Noise => "starting noise",
            Self::Tensors => "tensors of other names",
        })
    }
}

enum Bytes {
    Mapped(Mmap),
    Static(&'static [u8]),
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Static(bytes) => bytes,
        }
    }
}

/// An open tensor file; tensors are read on demand.
pub struct TensorFile {
    path: PathBuf,
    bytes: Bytes,
    header: Metadata,
    data_start: usize,
}

impl TensorFile {
    /// Maps the file and checks its header: sizes, offsets and extents.
    ///
    /// # Errors
    /// The file cannot be opened, or its header is not that of a safetensors file.
    pub fn open(path: &Path) -> Result<Self, TensorFileError> {
        let map = input::map(path)
            .map_err(|source| TensorFileError::Io { path: path.to_owned(), source })?;
        Self::parse(path.to_owned(), Bytes::Mapped(map))
    }

    /// A file that is part of the program; `name` stands for its path in messages.
    ///
    /// # Errors
    /// The bytes are not those of a safetensors file.
    pub fn from_static(name: &str, bytes: &'static [u8]) -> Result<Self, TensorFileError> {
        Self::parse(PathBuf::from(name), Bytes::Static(bytes))
    }

    fn parse(path: PathBuf, bytes: Bytes) -> Result<Self, TensorFileError> {
        let malformed = |reason: String| TensorFileError::Malformed { path: path.clone(), reason };
        let read = header::check(bytes.as_ref()).map_err(malformed).and_then(|()| {
            let read = SafeTensors::read_metadata(bytes.as_ref());
            read.map_err(|error| malformed(header::reason(&error)))
        });
        match read {
            Ok((header_length, header)) => {
                Ok(Self { path, bytes, header, data_start: header_length + 8 })
            }
            Err(error) => Err(match foreign::recognise(bytes.as_ref()) {
                None | Some(Foreign::Safetensors) => error,
                Some(found) => TensorFileError::Foreign { path, found },
            }),
        }
    }

    /// Where the file lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All bytes of the file.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.as_ref()
    }

    /// The text under `key` of the header's metadata.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.header.metadata().as_ref()?.get(key).map(String::as_str)
    }

    /// Name, element type and shape of every tensor, in order of name.
    pub fn entries(&self) -> Vec<(String, Dtype, Vec<usize>)> {
        let mut entries: Vec<_> = self
            .header
            .tensors()
            .into_iter()
            .map(|(name, info)| (name, info.dtype, info.shape.clone()))
            .collect();
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        entries
    }

    /// Whether there is a tensor of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.header.info(name).is_some()
    }

    /// Number of tensors.
    pub fn count(&self) -> usize {
        self.header.tensors().len()
    }

    /// What the file is for.
    pub fn contents(&self) -> Contents {
        let names = self.header.tensors();
        let starts = |prefix: &str| names.keys().any(|name| name.starts_with(prefix));
        if starts("adam.") {
            Contents::Checkpoint
        } else if starts("backbone.") {
            Contents::Model
        } else if starts("tokenizer.") {
            Contents::Tokenizer
        } else if self.contains("x") && self.contains("t") {
            Contents::Trajectory
        } else if self.contains("codes") {
            Contents::Codes
        } else if self.contains("noise") {
            Contents::Noise
        } else {
            Contents::Tensors
        }
    }

    pub(super) fn raw(&self, name: &str) -> Result<(Dtype, &[usize], &[u8]), TensorFileError> {
        let info = self.header.info(name).ok_or_else(|| TensorFileError::Missing {
            path: self.path.clone(),
            name: name.to_owned(),
            holds: self.contents(),
        })?;
        let (start, end) = info.data_offsets;
        let data = &self.bytes.as_ref()[self.data_start + start..self.data_start + end];
        Ok((info.dtype, &info.shape, data))
    }

    pub(super) fn mismatch(
        &self,
        name: &str,
        expected: impl Into<String>,
        dtype: Dtype,
        shape: &[usize],
    ) -> TensorFileError {
        TensorFileError::Mismatch {
            path: self.path.clone(),
            name: name.to_owned(),
            expected: expected.into(),
            found: format!("{dtype:?} {shape:?}"),
        }
    }

    /// Shape and numbers of a floating-point tensor, stored as f16, bf16, f32 or f64.
    ///
    /// # Errors
    /// The tensor is missing, of another type, or holds numbers that are not finite.
    pub fn floats(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>), TensorFileError> {
        let (shape, values) = self.floats_as_stored(name)?;
        if values.iter().any(|value| !value.is_finite()) {
            return Err(TensorFileError::NotFinite {
                path: self.path.clone(),
                name: name.to_owned(),
            });
        }
        Ok((shape, values))
    }

    /// As [`TensorFile::floats`], infinities and all.
    ///
    /// # Errors
    /// The tensor is missing or of another type.
    pub fn floats_as_stored(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>), TensorFileError> {
        let (dtype, shape, data) = self.raw(name)?;
        let values: Vec<f32> = match dtype {
            Dtype::F32 => elements(data, f32::from_le_bytes),
            Dtype::F16 => elements(data, |bytes| f16::from_le_bytes(bytes).to_f32()),
            Dtype::BF16 => elements(data, |bytes| half::bf16::from_le_bytes(bytes).to_f32()),
            Dtype::F64 => elements(data, |bytes| narrow(f64::from_le_bytes(bytes))),
            _ => return Err(self.mismatch(name, "floating point", dtype, shape)),
        };
        Ok((shape.to_vec(), values))
    }

    /// Numbers of a floating-point tensor that must have the given shape.
    ///
    /// # Errors
    /// As [`TensorFile::floats`], or another shape.
    pub fn floats_of_shape(
        &self,
        name: &str,
        shape: &[usize],
    ) -> Result<Vec<f32>, TensorFileError> {
        self.check_shape(name, shape)?;
        Ok(self.floats(name)?.1)
    }

    /// Whether there is a tensor of this name and shape; none of it is read.
    ///
    /// # Errors
    /// The tensor is missing or has another shape.
    pub fn check_shape(&self, name: &str, shape: &[usize]) -> Result<(), TensorFileError> {
        let (dtype, found, _) = self.raw(name)?;
        if found == shape {
            return Ok(());
        }
        Err(self.mismatch(name, format!("floating point {shape:?}"), dtype, found))
    }

    /// Shape and numbers of an i64 tensor.
    ///
    /// # Errors
    /// The tensor is missing or of another type.
    pub fn integers(&self, name: &str) -> Result<(Vec<usize>, Vec<i64>), TensorFileError> {
        match self.raw(name)? {
            (Dtype::I64, shape, data) => Ok((shape.to_vec(), elements(data, i64::from_le_bytes))),
            (dtype, shape, _) => Err(self.mismatch(name, "I64", dtype, shape)),
        }
    }
}

/// Gives the little-endian f32 bytes of a tensor when they are asked for.
pub type TensorSource<'a, E> = Box<dyn Fn() -> Result<Cow<'a, [u8]>, E> + 'a>;

/// Writes a file of f32 tensors, one after another, so that at most one of them is in memory: name,
/// shape and source. `go_on` is asked before each of them and after the last; its error ends the writing.
///
/// # Errors
/// The first of the sources, of `go_on` or of the file system; then there is no file, or the one that was there.
pub fn write_streamed<'a, E>(
    path: &Path,
    metadata: HashMap<String, String>,
    tensors: &[(String, Vec<usize>, TensorSource<'a, E>)],
    go_on: &dyn Fn() -> Result<(), E>,
) -> Result<(), E>
where
    E: From<TensorFileError>,
{
    struct Streamed<'s, 'a, E> {
        shape: &'s [usize],
        source: &'s TensorSource<'a, E>,
        go_on: &'s dyn Fn() -> Result<(), E>,
        failed: &'s RefCell<Option<E>>,
    }
    impl<E> View for Streamed<'_, '_, E> {
        fn dtype(&self) -> Dtype {
            Dtype::F32
        }

        fn shape(&self) -> &[usize] {
            self.shape
        }

        fn data(&self) -> Cow<'_, [u8]> {
            // The crate cannot be told to end: there is nothing more to read for it.
            if self.failed.borrow().is_some() {
                return Cow::Borrowed(&[]);
            }
            match (self.go_on)().and_then(|()| (self.source)()) {
                Ok(bytes) => bytes,
                Err(error) => {
                    self.failed.replace(Some(error));
                    Cow::Borrowed(&[])
                }
            }
        }

        fn data_len(&self) -> usize {
            4 * self.shape.iter().product::<usize>()
        }
    }
    enum Fault<E> {
        Io(io::Error),
        Source(E),
    }
    impl<E> From<io::Error> for Fault<E> {
        fn from(error: io::Error) -> Self {
            Self::Io(error)
        }
    }
    let failed = RefCell::new(None);
    let views = tensors
        .iter()
        .map(|(name, shape, source)| (name, Streamed { shape, source, go_on, failed: &failed }));
    let written = atomic::write_with(path, |aside| {
        safetensors::serialize_to_file(views, Some(metadata), aside.path())
            .map_err(|error| Fault::Io(io::Error::other(error)))?;
        failed.take().map_or_else(go_on, Err).map_err(Fault::Source)
    });
    written.map_err(|fault| match fault {
        Fault::Io(source) => TensorFileError::Io { path: path.to_owned(), source }.into(),
        Fault::Source(error) => error,
    })
}

pub(super) fn elements<const N: usize, T>(data: &[u8], read: impl Fn([u8; N]) -> T) -> Vec<T> {
    data.as_chunks::<N>().0.iter().map(|bytes| read(*bytes)).collect()
}

/// Tensors on their way into a file.
#[derive(Debug, Default)]
pub struct TensorWriter {
    tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)>,
    metadata: HashMap<String, String>,
}

impl TensorWriter {
    /// Adds a text to the header's metadata.
    pub fn metadata(&mut self, key: &str, text: String) {
        self.metadata.insert(key.to_owned(), text);
    }

    /// Adds floating-point numbers.
    pub fn floats(&mut self, name: &str, shape: &[usize], values: &[f32], precision: Precision) {
        let (dtype, bytes) = match precision {
            Precision::F32 => (Dtype::F32, values.iter().flat_map(|v| v.to_le_bytes()).collect()),
            Precision::F16 => {
                (Dtype::F16, values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect())
            }
        };
        self.tensors.push((name.to_owned(), dtype, shape.to_vec(), bytes));
    }

    /// Adds i64 numbers.
    pub fn integers(&mut self, name: &str, shape: &[usize], values: impl IntoIterator<Item = i64>) {
        let bytes = values.into_iter().flat_map(i64::to_le_bytes).collect();
        self.tensors.push((name.to_owned(), Dtype::I64, shape.to_vec(), bytes));
    }

    /// The bytes of the file. The same tensors and metadata give the same bytes.
    ///
    /// # Errors
    /// A tensor whose numbers do not fill its shape.
    pub fn serialise(&self) -> Result<Vec<u8>, safetensors::SafeTensorError> {
        let views = self
            .tensors
            .iter()
            .map(|(name, dtype, shape, bytes)| {
                Ok((name.as_str(), TensorView::new(*dtype, shape.clone(), bytes)?))
            })
            .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()?;
        let metadata = (!self.metadata.is_empty()).then(|| self.metadata.clone());
        safetensors::serialize(views, metadata)
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn write(&self, path: &Path) -> Result<(), TensorFileError> {
        let bytes = self.serialise().map_err(|error| TensorFileError::Malformed {
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
        atomic::write(path, &bytes)
            .map_err(|source| TensorFileError::Io { path: path.to_owned(), source })
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn sample() -> Vec<u8> {
        let mut writer = TensorWriter::default();
        writer.metadata(METADATA_KEY, "{}".to_owned());
        writer.floats("a", &[2, 2], &[1.0, -2.0, 0.5, 4.0], Precision::F32);
        writer.floats("half", &[2], &[1.0, 0.25], Precision::F16);
        writer.integers("codes", &[3], [1, 2, 3]);
        writer.serialise().unwrap()
    }

    fn open(bytes: &[u8]) -> Result<TensorFile, TensorFileError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        TensorFile::open(file.path())
    }

    #[test]
    fn tensors_survive() {
        let file = open(&sample()).unwrap();
        assert_eq!(file.metadata(METADATA_KEY), Some("{}"));
        assert_eq!(file.floats("a").unwrap(), (vec![2, 2], vec![1.0, -2.0, 0.5, 4.0]));
        assert_eq!(file.floats("half").unwrap().1, [1.0, 0.25]);
        assert_eq!(file.integers("codes").unwrap().1, [1, 2, 3]);
        assert!(matches!(file.floats("codes"), Err(TensorFileError::Mismatch { .. })));
        assert!(matches!(file.floats("b"), Err(TensorFileError::Missing { .. })));
        assert!(matches!(file.floats_of_shape("a", &[4]), Err(TensorFileError::Mismatch { .. })));
    }

    #[test]
    fn a_missing_tensor_is_told_with_what_is_there_instead() {
        let error = open(&sample()).unwrap().floats("noise").unwrap_err().to_string();
        assert!(error.ends_with("'noise' is missing: the file holds codes of pictures"), "{error}");
    }

    #[test]
    fn other_files_are_called_what_they_are() {
        for (bytes, expected) in [
            (b"".as_slice(), "an empty file; the download went wrong"),
            (b"version https://git-lfs.github.com/spec/v1\noid", "`git lfs pull`"),
            (b"<!DOCTYPE html><html>Entry not found</html>", "a web page"),
            (b"PK\x03\x04\0\0\0\0", "a zip archive"),
            (b"{\"error\": \"not found\"}", "JSON text"),
        ] {
            let error = open(bytes).err().unwrap().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn every_truncation_is_refused() {
        let bytes = sample();
        for length in 0..bytes.len() {
            assert!(open(&bytes[..length]).is_err(), "{length} of {} bytes", bytes.len());
        }
    }

    #[test]
    fn a_streamed_file_that_is_not_gone_on_with_reads_no_further_and_is_not_there() {
        let refused = || TensorFileError::Malformed { path: PathBuf::new(), reason: "no".into() };
        // It is asked once for each of three tensors, and once more.
        for granted in 0..=4 {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a.safetensors");
            let (asked, read) = (Cell::new(0), Cell::new(0));
            let source = || -> Result<Cow<'_, [u8]>, TensorFileError> {
                read.set(read.get() + 1);
                Ok(Cow::Borrowed(&[0; 4][..]))
            };
            let tensors = ["a", "b", "c"].map(|name| {
                let source: TensorSource<TensorFileError> = Box::new(source);
                (name.to_owned(), vec![1], source)
            });
            let go_on = || {
                asked.set(asked.get() + 1);
                if asked.get() > granted { Err(refused()) } else { Ok(()) }
            };
            let written = write_streamed(&path, HashMap::new(), &tensors, &go_on);
            assert_eq!(written.is_ok(), granted == 4);
            assert_eq!(read.get(), granted.min(3), "tensors that were read");
            let left = std::fs::read_dir(folder.path()).unwrap().count();
            assert_eq!((left, path.exists()), (usize::from(granted == 4), granted == 4));
        }
    }

    #[test]
    fn infinities_are_refused() {
        let mut writer = TensorWriter::default();
        writer.floats("a", &[1], &[f32::NAN], Precision::F32);
        let file = open(&writer.serialise().unwrap()).unwrap();
        assert!(matches!(file.floats("a"), Err(TensorFileError::NotFinite { .. })));
    }
}
