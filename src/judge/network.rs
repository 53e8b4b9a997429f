//! The networks that turn pictures into features.

use std::path::Path;

use burn::tensor::Device;
use image::RgbImage;

use super::JudgeError;
use super::efficientnet::{self, EfficientNet};
use super::encoder::Encoder;
use super::inception::{self, Inception};
use super::weights::Weights;
use crate::io::digest;
use crate::model::Model;

/// A feature network. Distances are named after it: they compare with none that another network gives.
#[derive(Debug)]
pub struct Network<'a> {
    kind: Kind<'a>,
    /// The digest of the file of its weights; of the model's encoder none.
    digest: [u8; 32],
}

#[derive(Debug)]
enum Kind<'a> {
    /// The encoder of the model's tokenizer.
    Encoder(Encoder<'a>),
    /// EfficientNet-Lite0.
    EfficientNet(Box<EfficientNet>),
    /// Inception-v3, of which the Frechet distance is the FID.
    Inception(Box<Inception>),
}

impl<'a> Network<'a> {
    /// What stands for the model's own encoder where networks are named, and its name in files.
    pub const ENCODER: &'static str = "encoder";

    /// Whether the model's own encoder is meant, and not the weights in a file.
    pub fn is_encoder(named: &Path) -> bool {
        named.as_os_str() == Self::ENCODER
    }

    /// The encoder of a model, or the network whose weights are in a file, on the model's device.
    ///
    /// # Errors
    /// Those of [`Network::open`].
    pub fn named(named: &Path, model: &'a Model) -> Result<Self, JudgeError> {
        match Self::is_encoder(named) {
            true => Ok(Self::encoder(model)),
            false => Self::open(named, model.device()),
        }
    }

    /// The encoder of a model.
    pub fn encoder(model: &'a Model) -> Self {
        Self { kind: Kind::Encoder(Encoder(model)), digest: [0; 32] }
    }

    /// The network whose weights are in a file, on a device.
    ///
    /// # Errors
    /// The file cannot be read, or holds no network that is known.
    pub fn open(path: &Path, device: &Device) -> Result<Self, JudgeError> {
        let weights = Weights::open(path)?;
        let kind = match Inception::is_in(&weights) {
            true => Kind::Inception(Box::new(Inception::from_weights(&weights, device)?)),
            false => Kind::EfficientNet(Box::new(EfficientNet::from_weights(&weights, device)?)),
        };
        Ok(Self { kind, digest: digest::of_file(path) })
    }

    /// What tells its features from those of any other network; the model's encoder is told by the model.
    pub(super) fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// Its name in files.
    pub fn key(&self) -> &'static str {
        match &self.kind {
            Kind::Encoder(_) => Self::ENCODER,
            Kind::EfficientNet(_) => "efficientnet_lite0",
            Kind::Inception(_) => "inception_v3",
        }
    }

    /// Its name for people.
    pub fn name(&self) -> &'static str {
        match &self.kind {
            Kind::Encoder(_) => "the model's encoder",
            Kind::EfficientNet(_) => "EfficientNet-Lite0",
            Kind::Inception(_) => "Inception-v3",
        }
    }

    /// Number of features of a picture.
    pub fn dimension(&self) -> usize {
        match &self.kind {
            Kind::Encoder(encoder) => encoder.dimension(),
            Kind::EfficientNet(_) => efficientnet::FEATURES,
            Kind::Inception(_) => inception::FEATURES,
        }
    }

    /// `[pictures, d]`, row by row.
    pub fn features(&self, pictures: &[RgbImage]) -> Vec<f32> {
        match &self.kind {
            Kind::Encoder(encoder) => encoder.features(pictures),
            Kind::EfficientNet(network) => network.features(pictures),
            Kind::Inception(network) => network.features(pictures),
        }
    }
}
