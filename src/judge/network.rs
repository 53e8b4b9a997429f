//! The networks that turn pictures into features.

use std::path::Path;

use burn::tensor::Device;
use image::RgbImage;

use super::JudgeError;
use super::efficientnet::{EfficientNet, FEATURES};
use super::encoder::Encoder;
use crate::model::Model;

/// A feature network. Distances are named after it: they compare with none that another network gives.
#[derive(Debug)]
pub enum Network<'a> {
    /// The encoder of the model's tokenizer.
    Encoder(Encoder<'a>),
    /// EfficientNet-Lite0.
    EfficientNet(Box<EfficientNet>),
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
        Ok(Self::EfficientNet(Box::new(EfficientNet::open(path, device)?)))
    }

    /// Its name in files.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Encoder(_) => "encoder",
            Self::EfficientNet(_) => "efficientnet_lite0",
        }
    }

    /// Its name for people.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Encoder(_) => "the model's encoder",
            Self::EfficientNet(_) => "EfficientNet-Lite0",
        }
    }

    /// Number of features of a picture.
    pub fn dimension(&self) -> usize {
        match self {
            Self::Encoder(encoder) => encoder.dimension(),
            Self::EfficientNet(_) => FEATURES,
        }
    }

    /// `[pictures, d]`, row by row.
    pub fn features(&self, pictures: &[RgbImage]) -> Vec<f32> {
        match self {
            Self::Encoder(encoder) => encoder.features(pictures),
            Self::EfficientNet(network) => network.features(pictures),
        }
    }
}
