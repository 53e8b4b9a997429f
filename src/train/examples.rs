//! What a flow is trained on: codes and labels of a folder of pictures, or of shards of latents.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::{Device, Tensor, TensorData};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::config::{FlowTask, RunConfig};
use super::{Progress, TrainError};
use crate::data::{DataError, EpochOrder, ImageFolder, ShardError, Shards, names_shards};
use crate::io::tensors::{METADATA_KEY, TensorFile, TensorWriter};
use crate::model::{Tokenizer, from_pictures};

/// Pictures encoded at once.
const ENCODE_BATCH: usize = 64;
/// Pictures of shards that the scale of latents is taken of.
const TYPICAL: usize = 2048;

/// Codes `[n, tokens]` and labels of some pictures.
pub(super) struct Batch {
    pub codes: Vec<i64>,
    pub labels: Vec<usize>,
}

/// Pictures as codes and labels.
pub(super) enum Examples {
    /// A folder, encoded once and kept.
    Kept { encoded: Encoded, class_names: Vec<String> },
    /// Shards, read and quantised as they are needed.
    Streamed { shards: Shards, class_names: Vec<String> },
}

impl Examples {
    pub fn len(&self) -> usize {
        match self {
            Self::Kept { encoded, .. } => encoded.len(),
            Self::Streamed { shards, .. } => shards.len(),
        }
    }

    pub fn class_names(&self) -> &[String] {
        match self {
            Self::Kept { class_names, .. } | Self::Streamed { class_names, .. } => class_names,
        }
    }

    /// The order of passes over the pictures.
    pub fn order(&self, seed: u64, buffer: usize) -> EpochOrder {
        match self {
            Self::Kept { encoded, .. } => EpochOrder::new(seed, encoded.len()),
            Self::Streamed { shards, .. } => EpochOrder::streamed(seed, shards.starts(), buffer),
        }
    }

    /// The pictures at `indices`.
    pub fn read(
        &self,
        indices: &[usize],
        tokenizer: &Tokenizer,
        device: &Device,
    ) -> Result<Batch, TrainError> {
        match self {
            Self::Kept { encoded, .. } => Ok(Batch {
                codes: encoded.codes_of(indices),
                labels: indices.iter().map(|i| encoded.labels[*i]).collect(),
            }),
            Self::Streamed { shards, .. } => {
                let latents = indices
                    .par_iter()
                    .map(|index| shards.latents(*index))
                    .collect::<Result<Vec<_>, ShardError>>()?;
                let [channels, height, width] = shards.shape();
                let shape = [indices.len(), channels, height, width];
                let latents = TensorData::new(latents.concat(), shape);
                let codes = tokenizer.quantise(Tensor::from_data(latents, device));
                Ok(Batch {
                    codes: codes.into_data_as::<i64>().iter::<i64>().collect(),
                    labels: indices.iter().map(|i| shards.class(*i)).collect(),
                })
            }
        }
    }

    /// Codes of all pictures or, of shards, of many spread over them.
    pub fn typical_codes(
        &self,
        tokenizer: &Tokenizer,
        device: &Device,
    ) -> Result<Vec<i64>, TrainError> {
        let all = self.len();
        let count = match self {
            Self::Kept { .. } => all,
            Self::Streamed { .. } => all.min(TYPICAL),
        };
        let indices: Vec<usize> = (0..count).map(|i| i * all / count).collect();
        let mut codes = Vec::new();
        for indices in indices.chunks(ENCODE_BATCH) {
            codes.extend(self.read(indices, tokenizer, device)?.codes);
        }
        Ok(codes)
    }
}

/// Codes and labels of a folder.
pub(super) struct Encoded {
    /// `[n, tokens]`
    codes: Vec<i64>,
    labels: Vec<usize>,
    tokens: usize,
}

impl Encoded {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn write(&self, path: &Path, origin: String, grid: usize) -> Result<(), TrainError> {
        let mut writer = TensorWriter::default();
        writer.metadata(METADATA_KEY, origin);
        writer.integers("codes", &[self.len(), grid, grid], self.codes.iter().copied());
        writer.integers("labels", &[self.len()], self.labels.iter().map(|label| *label as i64));
        Ok(writer.write(path)?)
    }

    fn codes_of(&self, indices: &[usize]) -> Vec<i64> {
        indices
            .iter()
            .flat_map(|i| &self.codes[i * self.tokens..(i + 1) * self.tokens])
            .copied()
            .collect()
    }
}

/// What a run needs to make codes.
pub(super) struct Source<'a> {
    pub config: &'a RunConfig,
    pub task: &'a FlowTask,
    pub tokenizer: &'a Tokenizer,
    /// The bytes of the tokenizer's file.
    pub file: &'a [u8],
    pub device: &'a Device,
    /// Asks for an end before all pictures are encoded.
    pub stop: &'a AtomicBool,
}

impl Source<'_> {
    /// Opens a folder of pictures, whose codes are taken from the cache of that name where they were
    /// made of the same files by the same tokenizer, or shards.
    pub fn open(
        &self,
        path: &Path,
        cache: &str,
        watch: &mut dyn FnMut(&Progress),
    ) -> Result<Examples, TrainError> {
        let vq = self.tokenizer.config();
        let grid = self.config.image_size / vq.downsampling();
        if names_shards(path) {
            let shards = Shards::open(path)?;
            let expected = [vq.code_size, grid, grid];
            if shards.shape() != expected {
                return Err(TrainError::Sizes(format!(
                    "{}: its latents are {:?}, the tokenizer and image_size {} ask for {expected:?}",
                    path.display(),
                    shards.shape(),
                    self.config.image_size
                )));
            }
            let class_names = self.class_names(&shards, path)?;
            return Ok(Examples::Streamed { shards, class_names });
        }
        let images = ImageFolder::open(path, self.config.image_size)?;
        let origin = origin(path, &images, self.file);
        let cache = self.config.out.join(cache);
        let encoded = match cached(&cache, &origin, grid)? {
            Some(found) => found,
            None => {
                let made = self.encode(path, &images, grid, watch)?;
                made.write(&cache, origin, grid)?;
                made
            }
        };
        Ok(Examples::Kept { encoded, class_names: images.class_names().to_vec() })
    }

    /// Codes and labels of every readable picture.
    fn encode(
        &self,
        folder: &Path,
        images: &ImageFolder,
        grid: usize,
        watch: &mut dyn FnMut(&Progress),
    ) -> Result<Encoded, TrainError> {
        let all: Vec<(usize, usize)> = images.files().map(|(_, label)| label).enumerate().collect();
        let mut encoded = Encoded { codes: Vec::new(), labels: Vec::new(), tokens: grid * grid };
        let (tokenizer, device) = (self.tokenizer, self.device);
        for (batch, some) in all.chunks(ENCODE_BATCH).enumerate() {
            if self.stop.load(Ordering::Relaxed) {
                return Err(TrainError::Interrupted);
            }
            watch(&Progress::Encoding { done: batch * ENCODE_BATCH, pictures: all.len() });
            let readable: Vec<_> = some
                .par_iter()
                .filter_map(|(index, label)| Some((images.try_read(*index)?, *label)))
                .collect();
            if readable.is_empty() {
                continue;
            }
            let (pictures, labels): (Vec<_>, Vec<_>) = readable.into_iter().unzip();
            let codes = tokenizer.quantise(tokenizer.encode(from_pictures(&pictures, device)));
            encoded.codes.extend(codes.into_data_as::<i64>().iter::<i64>());
            encoded.labels.extend(labels);
        }
        if encoded.labels.is_empty() {
            let path = folder.to_owned();
            return Err(DataError::AllUnreadable { path, count: images.len() }.into());
        }
        Ok(encoded)
    }

    fn class_names(&self, shards: &Shards, path: &Path) -> Result<Vec<String>, TrainError> {
        let given = &self.task.class_names;
        if given.is_empty() {
            return Ok((0..shards.classes()).map(|class| class.to_string()).collect());
        }
        if shards.classes() > given.len() {
            return Err(TrainError::Sizes(format!(
                "{}: it holds class {}, task.class_names has {} names",
                path.display(),
                shards.classes() - 1,
                given.len()
            )));
        }
        Ok(given.clone())
    }
}

/// What decides the codes of a folder: its files and the tokenizer.
fn origin(folder: &Path, images: &ImageFolder, tokenizer: &[u8]) -> String {
    let mut hash = Sha256::new();
    hash.update(tokenizer);
    hash.update(folder.to_string_lossy().as_bytes());
    for (path, label) in images.files() {
        hash.update(path.to_string_lossy().as_bytes());
        hash.update(label.to_le_bytes());
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The codes in a cache, if they were made from the same files by the same tokenizer.
fn cached(cache: &Path, origin: &str, grid: usize) -> Result<Option<Encoded>, TrainError> {
    let file = match TensorFile::open(cache) {
        Ok(file) if file.metadata(METADATA_KEY) == Some(origin) => file,
        _ => return Ok(None),
    };
    let (_, codes) = file.integers("codes")?;
    let (_, labels) = file.integers("labels")?;
    let labels = labels.into_iter().map(|label| label as usize).collect();
    Ok(Some(Encoded { codes, labels, tokens: grid * grid }))
}
