//! Features of a set of pictures.

use std::path::Path;

use image::RgbImage;

use super::{JudgeError, Matrix, Network};
use crate::io::tensors::{Precision, TensorFile, TensorWriter};

/// Features by every network, and what they are of.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Set {
    /// `[n, d]` a network.
    pub features: Vec<Matrix>,
    /// The model's labels, where classes are known.
    pub labels: Option<Vec<usize>>,
    /// Number of every picture in its origin.
    pub numbers: Vec<usize>,
}

impl Set {
    /// No pictures yet.
    pub fn empty(networks: &[Network<'_>]) -> Self {
        let features = networks.iter().map(|n| Matrix::new(n.dimension(), Vec::new()));
        Self { features: features.collect(), labels: None, numbers: Vec::new() }
    }

    /// Adds pictures with their numbers.
    ///
    /// # Errors
    /// A network gives features that are not finite for a picture of `path`.
    pub fn add(
        &mut self,
        networks: &[Network<'_>],
        read: &[(usize, RgbImage)],
        path: &Path,
    ) -> Result<(), JudgeError> {
        let pictures: Vec<RgbImage> = read.iter().map(|(_, picture)| picture.clone()).collect();
        for (network, matrix) in networks.iter().zip(&mut self.features) {
            let features = network.features(&pictures);
            if !features.iter().all(|value| value.is_finite()) {
                let (network, path) = (network.name(), path.to_owned());
                return Err(JudgeError::NotFinite { network, path });
            }
            matrix.extend(features.into_iter().map(f64::from));
        }
        self.numbers.extend(read.iter().map(|(number, _)| *number));
        Ok(())
    }

    /// The set, if it has enough pictures to be compared.
    ///
    /// # Errors
    /// It has fewer than two.
    pub fn enough(self, path: &Path) -> Result<Self, JudgeError> {
        match self.numbers.len() {
            found @ 0..2 => Err(JudgeError::TooFew { path: path.to_owned(), found }),
            _ => Ok(self),
        }
    }

    /// The set with the labels of those of all pictures that are in it.
    pub fn labelled(self, labels: Option<&[usize]>) -> Self {
        let of = |labels: &[usize]| self.numbers.iter().map(|number| labels[*number]).collect();
        Self { labels: labels.map(of), ..self }
    }

    /// Puts the features into a file, as `NETWORK.NAME` f32 `[pictures, features]`. They were f32 before: nothing is
    /// lost.
    pub fn write_features<'k>(
        &self,
        writer: &mut TensorWriter,
        name: &str,
        keys: impl Iterator<Item = &'k str>,
    ) {
        for (key, features) in keys.zip(&self.features) {
            let values: Vec<f32> = features.values().iter().map(|value| *value as f32).collect();
            let shape = [features.rows(), features.columns()];
            writer.floats(&format!("{key}.{name}"), &shape, &values, Precision::F32);
        }
    }

    /// The set of a name in a file with its pictures' numbers, as [`Set::write`] puts it there; nothing, if it is not
    /// there or not whole. Labels are not kept.
    pub fn read(file: &TensorFile, name: &str, networks: &[Network<'_>]) -> Option<Self> {
        let (_, numbers) = file.integers(&format!("numbers.{name}")).ok()?;
        let numbers: Vec<usize> =
            numbers.into_iter().map(usize::try_from).collect::<Result<_, _>>().ok()?;
        let of = |network: &Network<'_>| {
            let shape = [numbers.len(), network.dimension()];
            let values = file.floats_of_shape(&format!("{}.{name}", network.key()), &shape).ok()?;
            values
                .iter()
                .all(|value| value.is_finite())
                .then(|| Matrix::new(shape[1], values.into_iter().map(f64::from).collect()))
        };
        let features = networks.iter().map(of).collect::<Option<Vec<_>>>()?;
        Some(Self { features, labels: None, numbers })
    }

    /// Puts features and numbers into a file.
    pub fn write(&self, writer: &mut TensorWriter, name: &str, networks: &[Network<'_>]) {
        self.write_features(writer, name, networks.iter().map(Network::key));
        let numbers = self.numbers.iter().map(|number| *number as i64);
        writer.integers(&format!("numbers.{name}"), &[self.numbers.len()], numbers);
    }
}
