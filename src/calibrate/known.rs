//! Pictures whose codes are known, from a folder or from shards.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::{Tensor, TensorData};
use thiserror::Error;

use super::CalibrateError;
use crate::data::{DataError, ImageFolder, ShardError, Shards, names_shards};
use crate::flow::Domain;
use crate::model::Model;
use crate::model::card::Provenance;
use crate::readback::Together;
use crate::say::list;

/// Pictures encoded at once.
const BATCH: usize = 32;

/// Pictures that a model cannot be held against.
#[derive(Debug, Error)]
pub enum KnownError {
    /// A folder.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Shards.
    #[error(transparent)]
    Shards(#[from] ShardError),
    /// Classes or latents of another model.
    #[error("{path}: {reason}")]
    Misfit {
        /// The folder or shards.
        path: String,
        /// What does not fit.
        reason: String,
    },
    /// It was asked to stop.
    #[error("stopped before all pictures were encoded")]
    Stopped,
}

/// Pictures whose codes are known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// `[pictures, height, width]`
    pub codes: Vec<u32>,
    /// Class of each.
    pub labels: Vec<usize>,
}

impl Known {
    /// Up to `count` pictures of a folder with a sub-folder a class, or of shards of latents, spread over all of
    /// them. Folders are the model's classes of the same name; others are left out with a warning.
    ///
    /// # Errors
    /// There are none, none of a class that the model has, or latents that do not fit it.
    pub fn read(
        model: &Model,
        path: &Path,
        count: usize,
        stop: &AtomicBool,
    ) -> Result<Self, KnownError> {
        match names_shards(path) {
            true => Self::of_shards(model, path, count, stop),
            false => Self::of_folder(model, path, count, stop),
        }
    }

    fn of_folder(
        model: &Model,
        path: &Path,
        count: usize,
        stop: &AtomicBool,
    ) -> Result<Self, KnownError> {
        let (names, size) = (&model.card.class_names, model.card.image_size());
        // Of a model of one class all pictures are, whatever their folder is called.
        let opened = match names.len() {
            1 => ImageFolder::open_unsorted(path, size)?,
            _ => ImageFolder::open(path, size)?,
        };
        opened.tell();
        let (images, unknown) = match names.len() {
            1 => (opened, Vec::new()),
            _ => opened.relabelled(names),
        };
        if images.is_empty() {
            let (theirs, ours) = (list(&unknown), list(names));
            let reason =
                format!("none of its classes ({theirs}) is among those of the model ({ours})");
            return Err(KnownError::Misfit { path: path.display().to_string(), reason });
        }
        if !unknown.is_empty() {
            tracing::warn!(
                "{}: left out classes that the model does not have ({})",
                path.display(),
                list(&unknown)
            );
        }
        warn_of_training_data(model, path, images.len());
        let mut known = Self::default();
        for indices in spread(images.len(), count).chunks(BATCH) {
            if stop.load(Ordering::Relaxed) {
                return Err(KnownError::Stopped);
            }
            let (pictures, labels): (Vec<_>, Vec<_>) =
                images.pictures(indices)?.into_iter().unzip();
            known.codes.extend(model.encode(&pictures));
            known.labels.extend(labels);
        }
        Ok(known)
    }

    fn of_shards(
        model: &Model,
        path: &Path,
        count: usize,
        stop: &AtomicBool,
    ) -> Result<Self, KnownError> {
        let shards = Shards::open(path)?;
        let Domain { classes, height, width, .. } = Domain::of(&model.card);
        let expected = [model.card.tokenizer.code_size, height, width];
        let misfit = |reason| Err(KnownError::Misfit { path: path.display().to_string(), reason });
        if shards.shape() != expected {
            return misfit(format!(
                "its latents are {:?}, the model's are {expected:?}",
                shards.shape()
            ));
        }
        if shards.classes() > classes {
            let largest = shards.classes() - 1;
            return misfit(format!("it holds class {largest}, the model has {classes} classes"));
        }
        warn_of_training_data(model, path, shards.len());
        let mut known = Self::default();
        for indices in spread(shards.len(), count).chunks(BATCH) {
            if stop.load(Ordering::Relaxed) {
                return Err(KnownError::Stopped);
            }
            let latents = indices.iter().map(|index| shards.latents(*index));
            let latents = latents.collect::<Result<Vec<_>, _>>()?.concat();
            let [channels, height, width] = expected;
            let data = TensorData::new(latents, [indices.len(), channels, height, width]);
            let latents = Tensor::<4>::from_data(data, model.device());
            let mut read = Together::default().with(model.tokenizer.quantise(latents)).read();
            known.codes.extend(read.codes());
            known.labels.extend(indices.iter().map(|index| shards.class(*index)));
        }
        Ok(known)
    }
}

impl Known {
    /// That a subject of this domain can be measured on them.
    pub(super) fn check(&self, domain: &Domain) -> Result<(), CalibrateError> {
        let (pictures, tokens) = (self.labels.len(), domain.height * domain.width);
        let misfit = |reason: String| Err(CalibrateError::Misfit(reason));
        if self.codes.len() != pictures * tokens {
            return misfit(format!("{} codes are not {pictures} x {tokens}", self.codes.len()));
        }
        if let Some(code) = self.codes.iter().find(|code| **code as usize >= domain.codes) {
            return misfit(format!("code {code} is not among the model's {}", domain.codes));
        }
        if let Some(label) = self.labels.iter().find(|label| **label >= domain.classes) {
            return misfit(format!("class {label} is not among the model's {}", domain.classes));
        }
        Ok(())
    }
}

/// Up to `count` of `all` indices, evenly apart.
fn spread(all: usize, count: usize) -> Vec<usize> {
    let count = count.min(all);
    (0..count).map(|i| i * all / count).collect()
}

/// Figures on what a model was trained on are better than it is.
fn warn_of_training_data(model: &Model, path: &Path, pictures: usize) {
    let card = &model.card;
    if card.provenance.data == Provenance::of_pictures(pictures, card.image_size()) {
        tracing::warn!(
            "{}: as many pictures as the model was trained on; if they are the same, the figures flatter it",
            path.display()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_the_pictures_is_spread_over_all_of_them() {
        assert_eq!(spread(10, 4), [0, 2, 5, 7]);
        assert_eq!(spread(3, 9), [0, 1, 2]);
        assert_eq!(spread(0, 9), [0usize; 0]);
    }
}
