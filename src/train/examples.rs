//! What a flow is trained on: codes and labels of a folder of pictures, or of shards of latents.

use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use burn::tensor::{Device, Int, Tensor, TensorData};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::config::{FlowTask, RunConfig};
use super::{Progress, TrainError};
use crate::data::{
    Ahead, Augment, Background, Balance, Classes, DataError, EpochOrder, ImageFolder, ShardError,
    Shards, names_shards,
};
use crate::io::digest;
use crate::io::tensors::{METADATA_KEY, TensorFile, TensorWriter};
use crate::judge;
use crate::model::{Tokenizer, from_pictures};
use crate::readback;
use crate::rng::Stream;
use crate::room::{self, Room};
use crate::say::{self, list};

/// Pictures encoded at once.
const ENCODE_BATCH: usize = 64;
/// Pictures of shards that the scale of latents is taken of.
const TYPICAL: usize = 2048;
/// Files that are read at once to see whether they have changed.
const FINGERPRINTS: usize = 1024;
/// Version of the way from a picture to its codes.
const READING: &str = "purrscope codes 2";
/// Streams of the seed from here on decide which variant of a picture is seen, one for each time.
const CHOICE_STREAMS: u64 = 1 << 59;
/// Streams of the seed from here on decide how the variants that are kept are made.
const VARIANT_STREAMS: u64 = 1 << 58;

/// Codes `[n * tokens]`, on a device, and labels of some pictures.
pub(super) struct Batch {
    pub codes: Tensor<1, Int>,
    pub labels: Vec<usize>,
}

/// Pictures that were found, before they are turned into codes.
pub(super) enum Found {
    Folder(ImageFolder),
    Shards(Arc<Shards>),
}

impl From<Found> for judge::Found {
    fn from(found: Found) -> Self {
        match found {
            Found::Folder(folder) => Self::Folder(Arc::new(folder)),
            Found::Shards(shards) => Self::Shards(shards),
        }
    }
}

/// Pictures as codes and labels.
pub(super) enum Examples {
    /// A folder, encoded once and kept.
    Kept { encoded: Encoded },
    /// Shards, read and quantised as they are needed.
    Streamed { shards: Arc<Shards> },
}

impl Examples {
    pub fn len(&self) -> usize {
        match self {
            Self::Kept { encoded } => encoded.len(),
            Self::Streamed { shards } => shards.len(),
        }
    }

    /// The label of a picture.
    pub fn label(&self, index: usize) -> usize {
        match self {
            Self::Kept { encoded } => encoded.labels[index],
            Self::Streamed { shards } => shards.class(index),
        }
    }

    /// The order of passes over the pictures. Those of shards are streamed only as they are: classes that come
    /// more often are read wherever their pictures lie.
    pub fn order(&self, seed: u64, balance: Balance, buffer: usize) -> EpochOrder {
        match self {
            Self::Kept { encoded } => EpochOrder::balanced(seed, &encoded.labels, balance),
            Self::Streamed { shards } if balance == Balance::AsIs => {
                EpochOrder::streamed(seed, shards.starts(), buffer)
            }
            Self::Streamed { shards } => {
                let labels: Vec<usize> = (0..shards.len()).map(|i| shards.class(i)).collect();
                EpochOrder::balanced(seed, &labels, balance)
            }
        }
    }

    /// How many codes there are of each picture.
    fn variants(&self) -> usize {
        match self {
            Self::Kept { encoded } => encoded.variants,
            Self::Streamed { .. } => 1,
        }
    }

    /// The pictures at `indices`, each as its first variant.
    pub fn read(
        &self,
        indices: &[usize],
        tokenizer: &Tokenizer,
        device: &Device,
    ) -> Result<Batch, TrainError> {
        let latents = match self {
            Self::Kept { .. } => Vec::new(),
            Self::Streamed { shards } => latents_of(shards, indices)?,
        };
        let drawn: Vec<Drawn> = indices.iter().map(|index| (*index, 0)).collect();
        Ok(self.batch(&drawn, latents, tokenizer, device))
    }

    /// The pictures of some draws, of which the latents are at hand where they are of shards.
    fn batch(
        &self,
        drawn: &[Drawn],
        latents: Vec<f32>,
        tokenizer: &Tokenizer,
        device: &Device,
    ) -> Batch {
        match self {
            Self::Kept { encoded } => Batch {
                codes: Tensor::from_data(encoded.codes_of(drawn).as_slice(), device),
                labels: drawn.iter().map(|(i, _)| encoded.labels[*i]).collect(),
            },
            Self::Streamed { shards } => {
                let [channels, height, width] = shards.shape();
                let shape = [drawn.len(), channels, height, width];
                let latents = Tensor::from_data(TensorData::new(latents, shape), device);
                Batch {
                    // They stay there: nothing of a step waits for them.
                    codes: tokenizer.quantise(latents).flatten(0, 2),
                    labels: drawn.iter().map(|(i, _)| shards.class(*i)).collect(),
                }
            }
        }
    }

    /// The batches of a run's steps, those of shards read ahead.
    pub fn batches(&self, config: &RunConfig, buffer: usize) -> Batches {
        let shards = match self {
            Self::Kept { .. } => None,
            Self::Streamed { shards } => Some(Arc::clone(shards)),
        };
        let (order, seed) = (self.order(config.seed, config.balance, buffer), config.seed);
        let variants = self.variants();
        Batches(ahead(config, order, move |first, indices| {
            let latents = shards.as_ref().map(|shards| latents_of(shards, &indices));
            let variant = |place: usize| {
                Stream::new(seed, CHOICE_STREAMS + (first + place) as u64).below(variants)
            };
            let drawn = indices.into_iter().enumerate().map(|(place, i)| (i, variant(place)));
            Ok((drawn.collect(), latents.transpose()?.unwrap_or_default()))
        }))
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
            codes.extend(host_codes(self.read(indices, tokenizer, device)?.codes)?);
        }
        Ok(codes)
    }
}

/// Latents of some pictures of shards, `[n, channels, height, width]`.
fn latents_of(shards: &Shards, indices: &[usize]) -> Result<Vec<f32>, ShardError> {
    let each = indices.par_iter().map(|index| shards.latents(*index));
    Ok(each.collect::<Result<Vec<_>, ShardError>>()?.concat())
}

/// A picture that is seen, and the number of the variant that is.
type Drawn = (usize, usize);

/// Which pictures a step sees, and their latents where they are of shards.
type Read = (Vec<Drawn>, Vec<f32>);

/// What the steps of a run see.
pub(super) struct Batches(Ahead<Read, ShardError>);

impl Batches {
    /// A part of what `step` sees, out of the examples that these are the batches of.
    pub fn part(
        &mut self,
        step: usize,
        part: Range<usize>,
        examples: &Examples,
        tokenizer: &Tokenizer,
        device: &Device,
    ) -> Result<Batch, TrainError> {
        let (drawn, latents) = self.0.of(step)?;
        let each = latents.len() / drawn.len().max(1);
        let latents = latents[part.start * each..part.end * each].to_vec();
        Ok(examples.batch(&drawn[part], latents, tokenizer, device))
    }
}

/// Codes and labels of a folder.
pub(super) struct Encoded {
    /// `[n, variants, tokens]`
    codes: Vec<u32>,
    labels: Vec<usize>,
    variants: usize,
    tokens: usize,
}

impl Encoded {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn write(&self, path: &Path, origin: String, grid: usize) -> Result<(), TrainError> {
        let mut writer = TensorWriter::default();
        writer.metadata(METADATA_KEY, origin);
        let shape = [self.len() * self.variants, grid, grid];
        writer.integers("codes", &shape, self.codes.iter().map(|code| i64::from(*code)));
        writer.integers("labels", &[self.len()], self.labels.iter().map(|label| *label as i64));
        Ok(writer.write(path)?)
    }

    fn codes_of(&self, drawn: &[Drawn]) -> Vec<i64> {
        let of = |(picture, variant): &Drawn| {
            let begin = (picture * self.variants + variant) * self.tokens;
            &self.codes[begin..begin + self.tokens]
        };
        drawn.iter().flat_map(of).map(|code| i64::from(*code)).collect()
    }
}

/// The batches of a run's steps, each made of the items that its step sees and of how many were seen before them.
pub(super) fn ahead<T: Send + 'static, E: Send + 'static>(
    config: &RunConfig,
    order: EpochOrder,
    make: impl Fn(usize, Vec<usize>) -> Result<T, E> + Send + Sync + 'static,
) -> Ahead<T, E> {
    let (order, batch) = (Mutex::new(order), config.batch);
    // One more than there are steps: the last state is proved on the pictures of the step after it.
    Ahead::new(config.steps + 1, move |step| {
        let items = order.lock().unwrap_or_else(PoisonError::into_inner).batch(step, batch);
        make(step * batch, items)
    })
}

/// A folder of pictures as a run has it.
fn folder(config: &RunConfig, path: &Path, stop: &AtomicBool) -> Result<ImageFolder, DataError> {
    let images = config.classes.open(path, config.image_size, &config.data)?;
    config.duplicates.sift(images.on(config.background), stop)
}

/// The pictures that a run trains on, and those that it holds out. What was found, and what was left out, is
/// said in the log.
pub(super) fn folders(
    config: &RunConfig,
    stop: &AtomicBool,
) -> Result<(ImageFolder, Option<ImageFolder>), DataError> {
    let images = folder(config, &config.data, stop)?;
    images.tell();
    if let Some(path) = &config.holdout {
        let held = folder(config, path, stop)?.without_those_of(&images);
        held.tell();
        return Ok((images, Some(held)));
    }
    if config.holdout_share == 0.0 {
        return Ok((images, None));
    }
    let Some((kept, held)) = images.split(config.holdout_share) else {
        tracing::warn!("{}: too few pictures to hold some out", config.data.display());
        return Ok((images, None));
    };
    tracing::info!("{}: {} held out", config.data.display(), say::count(held.len(), "picture"));
    Ok((kept, Some(held)))
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
    /// Finds what the run trains on and what it holds out: pictures of a folder, or latents of shards.
    pub fn find(&self) -> Result<(Found, Option<Found>), TrainError> {
        let RunConfig { data, holdout, .. } = self.config;
        if !names_shards(data) && holdout.as_ref().is_none_or(|path| !names_shards(path)) {
            let (images, held) = folders(self.config, self.stop)?;
            return Ok((Found::Folder(images), held.map(Found::Folder)));
        }
        let config = self.config;
        let of_folders = [
            ("holdout_share", config.holdout_share > 0.0),
            ("classes", config.classes != Classes::Folders),
            ("background", config.background != Background::default()),
            ("[augment]", !config.augment.is_none()),
        ];
        if let Some((entry, _)) = of_folders.into_iter().find(|(_, given)| *given) {
            return Err(TrainError::Sizes(format!(
                "{}: {entry} is for folders of pictures, not for shards",
                data.display()
            )));
        }
        let held = holdout.as_ref().map(|path| self.find_one(path)).transpose()?;
        Ok((self.find_one(data)?, held))
    }

    fn find_one(&self, path: &Path) -> Result<Found, TrainError> {
        if !names_shards(path) {
            let images = folder(self.config, path, self.stop)?;
            images.tell();
            return Ok(Found::Folder(images));
        }
        let vq = self.tokenizer.config();
        let grid = self.config.image_size / vq.downsampling();
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
        Ok(Found::Shards(Arc::new(shards)))
    }

    /// Names of the classes of the training data.
    pub fn class_names(&self, found: &Found, path: &Path) -> Result<Vec<String>, TrainError> {
        let given = &self.task.class_names;
        match found {
            Found::Folder(images) => {
                if !given.is_empty() && given != images.class_names() {
                    tracing::warn!("task.class_names is for shards: the folders' names are taken");
                }
                Ok(images.class_names().to_vec())
            }
            Found::Shards(shards) if given.is_empty() => {
                Ok((0..shards.classes()).map(|class| class.to_string()).collect())
            }
            Found::Shards(shards) if shards.classes() > given.len() => {
                Err(TrainError::Sizes(format!(
                    "{}: it holds class {}, task.class_names has {} names",
                    path.display(),
                    shards.classes() - 1,
                    given.len()
                )))
            }
            Found::Shards(_) => Ok(given.clone()),
        }
    }

    /// Held-out pictures with the labels that their classes have in training.
    pub fn held_out(
        &self,
        found: Found,
        path: &Path,
        classes: &[String],
    ) -> Result<Found, TrainError> {
        let fault = |reason: String| TrainError::Sizes(format!("{}: {reason}", path.display()));
        match found {
            Found::Folder(images) => {
                let (images, unknown) = images.relabelled(classes);
                if images.is_empty() {
                    let (theirs, ours) = (list(&unknown), list(classes));
                    return Err(fault(format!(
                        "none of its classes ({theirs}) is among those trained on ({ours})"
                    )));
                }
                if !unknown.is_empty() {
                    tracing::warn!(
                        "{}: left out classes that are not trained on ({})",
                        path.display(),
                        list(&unknown)
                    );
                }
                Ok(Found::Folder(images))
            }
            Found::Shards(shards) if shards.classes() > classes.len() => Err(fault(format!(
                "it holds class {}, there are {} classes in training",
                shards.classes() - 1,
                classes.len()
            ))),
            found @ Found::Shards(_) => Ok(found),
        }
    }

    /// Turns a folder of pictures, varied as `augment` says, into codes, which are taken from the cache of that
    /// name where they were made of the same pictures at the same size by the same tokenizer. Shards are read later.
    pub fn examples(
        &self,
        found: &Found,
        path: &Path,
        augment: &Augment,
        cache: &str,
        watch: &mut dyn FnMut(&Progress),
    ) -> Result<Examples, TrainError> {
        let images = match found {
            Found::Folder(images) => images,
            Found::Shards(shards) => return Ok(Examples::Streamed { shards: shards.clone() }),
        };
        let vq = self.tokenizer.config();
        let grid = self.config.image_size / vq.downsampling();
        let origin = self.origin(images, augment)?;
        let cache = self.config.out.join(cache);
        let (classes, variants) = (images.class_names().len(), augment.kept());
        let encoded = match cached(&cache, &origin, [variants, grid], vq.codes, classes) {
            Some(found) => found,
            None => {
                if variants > 1 {
                    tracing::info!(
                        "{}: {variants} variants of each picture are kept",
                        path.display()
                    );
                }
                let made = self.encode(path, images, augment, grid, watch)?;
                if let Err(error) = made.write(&cache, origin, grid) {
                    tracing::warn!("the codes are not kept for the next start: {error}");
                }
                made
            }
        };
        Ok(Examples::Kept { encoded })
    }

    /// What decides the codes of a folder: what its pictures hold, how they are seen, and the tokenizer.
    fn origin(&self, images: &ImageFolder, augment: &Augment) -> Result<String, TrainError> {
        let mut hash = Sha256::new();
        hash.update(READING);
        hash.update(self.config.background.0.0);
        hash.update(Sha256::digest(self.file));
        hash.update(self.config.image_size.to_le_bytes());
        if !augment.is_none() {
            hash.update(serde_json::to_string(augment)?);
            hash.update(augment.kept().to_le_bytes());
            hash.update(self.config.seed.to_le_bytes());
        }
        let files: Vec<(usize, (&Path, usize))> = images.files().enumerate().collect();
        for files in files.chunks(FINGERPRINTS) {
            if self.stop.load(Ordering::Relaxed) {
                return Err(TrainError::Interrupted);
            }
            let read = |(index, _): &(usize, (&Path, usize))| images.fingerprint(*index);
            let fingerprints: Vec<[u8; 32]> = files.par_iter().map(read).collect();
            for ((_, (path, label)), fingerprint) in files.iter().zip(fingerprints) {
                let path = path.to_string_lossy();
                hash.update(path.len().to_le_bytes());
                hash.update(path.as_bytes());
                hash.update(label.to_le_bytes());
                hash.update(fingerprint);
            }
        }
        Ok(digest::hex(&hash.finalize()))
    }

    /// Codes and labels of every readable picture.
    fn encode(
        &self,
        folder: &Path,
        images: &ImageFolder,
        augment: &Augment,
        grid: usize,
        watch: &mut dyn FnMut(&Progress),
    ) -> Result<Encoded, TrainError> {
        let all: Vec<(usize, usize)> = images.files().map(|(_, label)| label).enumerate().collect();
        let (variants, seed) = (augment.kept(), self.config.seed);
        let (codes, labels) = (Vec::new(), Vec::new());
        let mut encoded = Encoded { codes, labels, variants, tokens: grid * grid };
        let (tokenizer, device, room) = (self.tokenizer, self.device, Room::default());
        let at_once = (ENCODE_BATCH / variants).max(1);
        for (batch, some) in all.chunks(at_once).enumerate() {
            if self.stop.load(Ordering::Relaxed) {
                return Err(TrainError::Interrupted);
            }
            watch(&Progress::Encoding { done: batch * at_once, pictures: all.len() });
            let read = |(index, label): &(usize, usize)| {
                let stream = |number: u64| {
                    Stream::new(seed, VARIANT_STREAMS + (index * variants) as u64 + number)
                };
                Some((images.variants(*index, augment, stream)?, *label))
            };
            let readable: Vec<_> = some.par_iter().filter_map(read).collect();
            if readable.is_empty() {
                continue;
            }
            let (pictures, labels): (Vec<_>, Vec<_>) = readable.into_iter().unzip();
            let pictures = pictures.concat();
            let codes = room.within(device, pictures.len(), || {
                let mut codes = Vec::new();
                for part in room::parts(pictures.len(), room.share(pictures.len())) {
                    let latents = tokenizer.encode(from_pictures(&pictures[part], device));
                    codes.extend(host_codes(tokenizer.quantise(latents))?);
                }
                Ok::<_, TrainError>(codes)
            })?;
            encoded.codes.extend(codes.into_iter().map(|code| code as u32));
            encoded.labels.extend(labels);
        }
        if encoded.labels.is_empty() {
            let path = folder.to_owned();
            return Err(DataError::AllUnreadable { path, count: images.len() }.into());
        }
        tell_of_unread(folder, images, &encoded);
        Ok(encoded)
    }
}

/// Says how many pictures of a folder could not be read, and which classes are left without one.
fn tell_of_unread(folder: &Path, images: &ImageFolder, encoded: &Encoded) {
    let unread = images.len() - encoded.len();
    if unread == 0 {
        return;
    }
    let names = images.class_names();
    let [mut wanted, mut had] = [vec![false; names.len()], vec![false; names.len()]];
    images.files().for_each(|(_, label)| wanted[label] = true);
    encoded.labels.iter().for_each(|label| had[*label] = true);
    let without: Vec<String> = (0..names.len())
        .filter(|label| wanted[*label] && !had[*label])
        .map(|label| names[label].clone())
        .collect();
    let classes = match without.is_empty() {
        true => String::new(),
        false => format!(", among them all of {}", list(&without)),
    };
    tracing::warn!(
        "{}: {unread} of {} pictures cannot be read and are left out{classes}",
        folder.display(),
        images.len()
    );
}

/// Codes on the host, as many as there are.
pub(super) fn host_codes<const D: usize>(codes: Tensor<D, Int>) -> Result<Vec<i64>, TrainError> {
    let expected = codes.shape().num_elements();
    let codes = readback::integers(codes);
    match codes.len() == expected {
        true => Ok(codes),
        false => Err(TrainError::ReadBack { name: "codes".to_owned() }),
    }
}

/// The codes in a cache, if they are whole and of the same origin.
fn cached(
    cache: &Path,
    origin: &str,
    [variants, grid]: [usize; 2],
    codes: usize,
    classes: usize,
) -> Option<Encoded> {
    let file = TensorFile::open(cache).ok()?;
    if file.metadata(METADATA_KEY) != Some(origin) {
        return None;
    }
    let (shape, values) = file.integers("codes").ok()?;
    let (_, labels) = file.integers("labels").ok()?;
    let below = |values: &[i64], end: usize| {
        values.iter().all(|value| usize::try_from(*value).is_ok_and(|value| value < end))
    };
    let whole = shape == [labels.len() * variants, grid, grid] && !labels.is_empty();
    if !whole || !below(&values, codes) || !below(&labels, classes) {
        return None;
    }
    let labels = labels.into_iter().map(|label| label as usize).collect();
    let codes = values.into_iter().map(|code| code as u32).collect();
    Some(Encoded { codes, labels, variants, tokens: grid * grid })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_is_taken_only_where_it_is_whole_and_of_the_same_origin() {
        let folder = tempfile::tempdir().unwrap();
        let cache = folder.path().join("latents.safetensors");
        let (codes, labels) = (vec![0, 1, 2, 3, 3, 2, 1, 0], vec![1, 0]);
        let encoded = Encoded { codes, labels, variants: 1, tokens: 4 };
        encoded.write(&cache, "aa".to_owned(), 2).unwrap();
        let found = cached(&cache, "aa", [1, 2], 4, 2).unwrap();
        assert_eq!(found.codes_of(&[(1, 0)]), [3, 2, 1, 0]);
        assert_eq!(found.labels, [1, 0]);
        for (origin, grid, codes, classes) in
            [("ab", 2, 4, 2), ("aa", 1, 4, 2), ("aa", 4, 4, 2), ("aa", 2, 3, 2), ("aa", 2, 4, 1)]
        {
            let found = cached(&cache, origin, [1, grid], codes, classes);
            assert!(found.is_none(), "{origin} {grid}");
        }
        assert!(cached(&cache, "aa", [2, 2], 4, 2).is_none(), "two variants of each");
        let (codes, labels) = (vec![0, 1, 2, 3], vec![0]);
        let encoded = Encoded { codes, labels, variants: 2, tokens: 2 };
        assert_eq!(encoded.codes_of(&[(0, 1), (0, 0)]), [2, 3, 0, 1]);
        std::fs::write(&cache, b"half a file").unwrap();
        assert!(cached(&cache, "aa", [1, 2], 4, 2).is_none());
    }
}
