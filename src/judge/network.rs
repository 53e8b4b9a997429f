//! The networks that turn pictures into features.

use std::path::Path;

use burn::tensor::Device;
use image::RgbImage;

use super::JudgeError;
use super::efficientnet::{self, EfficientNet};
use super::encoder::Encoder;
use super::inception::{self, Inception};
use super::weights::Weights;
use crate::model::Model;

/// A feature network. Distances are named after it: they compare with none that another network gives.
#[derive(Debug)]
pub enum Network<'a> {
    /// The encoder of the model's tokenizer.
    Encoder(Encoder<'a>),
    /// EfficientNet-Lite0.
    EfficientNet(Box<EfficientNet>),
    /// Inception-v3, of which the Frechet distance is the FID.
    Inception(Box<Inception>),
}

impl<'a> Network<'a> {
    /// The encoder of a model.
    pub fn encoder(model: &'a Model) -> Self {
        Self::Encoder(Encoder(model))
    }

    /// The network whose weights are in a file, on a device.
    ///
    /// # Errors
    /// The file cannot be read, or holds no network that is known.
    pub fn open(path: &Path, device: &Device) -> Result<Self, JudgeError> {
        let weights = Weights::open(path)?;
        Ok(match Inception::is_in(&weights) {
            true => Self::Inception(Box::new(Inception::from_weights(&weights, device)?)),
            false => Self::EfficientNet(Box::new(EfficientNet::from_weights(&weights, device)?)),
        })
    }

    /// Its name in files.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Encoder(_) => "encoder",
            Self::EfficientNet(_) => "efficientnet_lite0",
            Self::Inception(_) => "inception_v3",
        }
    }

    /// Its name for people.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Encoder(_) => "the model's encoder",
            Self::EfficientNet(_) => "EfficientNet-Lite0",
            Self::Inception(_) => "Inception-v3",
        }
    }

    /// Number of features of a picture.
    pub fn dimension(&self) -> usize {
        match self {
            Self::Encoder(encoder) => encoder.dimension(),
            Self::EfficientNet(_) => efficientnet::FEATURES,
            Self::Inception(_) => inception::FEATURES,
        }
    }

    /// `[pictures, d]`, row by row.
    pub fn features(&self, pictures: &[RgbImage]) -> Vec<f32> {
        match self {
            Self::Encoder(encoder) => encoder.features(pictures),
            Self::EfficientNet(network) => network.features(pictures),
            Self::Inception(network) => network.features(pictures),
        }
    }
}
