//! Pictures that the model makes to be judged, kept in a folder where one is named.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::ops::Range;
use std::path::{Path, PathBuf};

use image::RgbImage;

use super::JudgeError;
use crate::data::read_picture;
use crate::flow::{RunRecord, SampleSettings, Sampler};
use crate::io::{atomic, names, png};
use crate::model::Model;

/// Pictures computed at once, where they do not depend on one another.
const BATCH: usize = 32;
/// Most pictures that are computed at once where they have to be.
const MOST_TOGETHER: usize = 1000;

/// A run of the sampler whose pictures are made when they are asked for.
#[derive(Debug)]
pub struct Samples<'a> {
    model: &'a Model,
    settings: SampleSettings,
    folder: Option<PathBuf>,
    /// Pictures that were found in the folder.
    found: usize,
}

impl<'a> Samples<'a> {
    /// A run of these settings, a label a picture; with a folder, pictures that it has already are not made again.
    ///
    /// # Errors
    /// Settings tie more pictures to one another than can be computed at once.
    pub fn new(
        model: &'a Model,
        settings: SampleSettings,
        folder: Option<&Path>,
    ) -> Result<Self, JudgeError> {
        let count = settings.labels.len();
        if let Some(reason) = settings.ties().filter(|_| count > MOST_TOGETHER) {
            return Err(JudgeError::Tied { count, reason, most: MOST_TOGETHER });
        }
        Ok(Self { model, settings, folder: folder.map(Path::to_owned), found: 0 })
    }

    /// What they are made with.
    pub fn settings(&self) -> &SampleSettings {
        &self.settings
    }

    /// How many of those asked for so far were there already.
    pub fn found(&self) -> usize {
        self.found
    }

    /// Pictures that are made at once.
    pub fn at_once(&self) -> usize {
        if self.settings.ties().is_some() { self.settings.labels.len() } else { BATCH }
    }

    /// Some of the pictures, as many as are made at once or fewer.
    ///
    /// # Errors
    /// The folder holds something else under their names, or cannot be written to; or sampling fails.
    pub fn make(&mut self, images: Range<usize>) -> Result<Vec<RgbImage>, JudgeError> {
        let kept = images.clone().map(|image| self.kept(image)).collect::<Result<Vec<_>, _>>()?;
        self.found += kept.iter().flatten().count();
        if kept.iter().all(Option::is_some) {
            return Ok(kept.into_iter().flatten().collect());
        }
        let settings = self.settings.part(images.clone());
        let mut sampler = Sampler::from_image(self.model, settings, images.start, None)?;
        for step in sampler.by_ref() {
            if !step.x_next.values.iter().all(|value| value.is_finite()) {
                return Err(JudgeError::Diverged(step.step + 1));
            }
        }
        let pictures = self.model.decode_codes(&sampler.codes(), images.len());
        for ((image, picture), kept) in images.zip(&pictures).zip(kept) {
            if kept.is_none() {
                self.keep(image, picture)?;
            }
        }
        Ok(pictures)
    }

    /// Place and settings of a picture, where pictures are kept.
    fn record(&self, image: usize) -> Result<Option<(PathBuf, String)>, JudgeError> {
        let Some(folder) = &self.folder else { return Ok(None) };
        let label = self.settings.labels[image];
        let class = self.model.card.class_names.get(label).cloned().unwrap_or_default();
        let path = folder.join(format!("{image:06}-{}.png", names::file_name(&class)));
        let card = &self.model.card;
        let record = RunRecord {
            precision: self.model.precision().noted(),
            class: Some(class),
            image: Some(image),
            ..RunRecord::new(&card.name, self.model.hash(), &self.settings)
        };
        match record.to_json() {
            Ok(text) => Ok(Some((path, text))),
            Err(error) => Err(JudgeError::Unwritten { path, reason: error.to_string() }),
        }
    }

    /// The picture, if it is there and was made with the same settings.
    fn kept(&self, image: usize) -> Result<Option<RgbImage>, JudgeError> {
        let Some((path, record)) = self.record(image)? else { return Ok(None) };
        let Ok(file) = File::open(&path) else { return Ok(None) };
        match png::read_settings(BufReader::new(file)) {
            Ok(found) if found == record => Ok(Some(read_picture(&path)?)),
            _ => Err(JudgeError::OtherSample { path }),
        }
    }

    fn keep(&self, image: usize, picture: &RgbImage) -> Result<(), JudgeError> {
        let Some((path, record)) = self.record(image)? else { return Ok(()) };
        let unwritten = |reason: String| JudgeError::Unwritten { path: path.clone(), reason };
        let bytes = png::encode(picture, &record).map_err(|error| unwritten(error.to_string()))?;
        atomic::write(&path, &bytes).map_err(|error| unwritten(error.to_string()))
    }
}

/// `count` labels in the proportions of those of the data, rising; evenly of all `classes` where the data have none.
/// What is left over by whole numbers goes to the largest rests, the smaller label first.
pub fn labels_like(data: Option<&[usize]>, classes: usize, count: usize) -> Vec<usize> {
    let mut numbers: BTreeMap<usize, usize> = BTreeMap::new();
    match data {
        Some(labels) => labels.iter().for_each(|label| *numbers.entry(*label).or_default() += 1),
        None => numbers.extend((0..classes).map(|label| (label, 1))),
    }
    let all: usize = numbers.values().sum::<usize>().max(1);
    let mut shares: Vec<(usize, usize, usize)> = numbers
        .into_iter()
        .map(|(label, number)| (label, count * number / all, count * number % all))
        .collect();
    let given: usize = shares.iter().map(|(_, share, _)| share).sum();
    let mut order: Vec<usize> = (0..shares.len()).collect();
    order.sort_by_key(|at| std::cmp::Reverse(shares[*at].2));
    for at in order.into_iter().take(count.saturating_sub(given)) {
        shares[at].1 += 1;
    }
    shares.iter().flat_map(|(label, share, _)| std::iter::repeat_n(*label, *share)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_keep_the_proportions_of_the_data() {
        assert_eq!(labels_like(Some(&[4, 4, 1, 4]), 9, 8), [1, 1, 4, 4, 4, 4, 4, 4]);
        assert_eq!(labels_like(Some(&[0, 1, 2]), 3, 4), [0, 0, 1, 2]);
        assert_eq!(labels_like(None, 3, 5), [0, 0, 1, 1, 2]);
        assert_eq!(labels_like(None, 3, 0), [0usize; 0]);
        for count in 0..40 {
            assert_eq!(labels_like(Some(&[0, 0, 0, 5, 5, 7, 8]), 9, count).len(), count);
        }
    }
}
