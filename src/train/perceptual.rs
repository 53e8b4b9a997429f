//! How different two pictures look to a network of photographs, after [Zhang et al. 2018]: the squared difference of what
//! it sees in them at several scales, every place's vector of channels brought to length 1. EfficientNet-Lite0 looks at
//! the pictures at the size that they have; scales count alike, as there are no weights for them that were learned.
//!
//! [Zhang et al. 2018]: https://arxiv.org/abs/1801.03924

use std::path::PathBuf;

use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::TrainError;
use crate::judge::EfficientNet;

/// Added to the squared length of a vector, so that one of nothing has none.
const SMALL: f64 = 1e-10;

/// A term for how different copies look.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PerceptualConfig {
    /// Its weight.
    #[serde(default = "one")]
    pub weight: f64,
    /// File with the weights of EfficientNet-Lite0.
    pub network: PathBuf,
}

fn one() -> f64 {
    1.0
}

/// The term, ready on a device.
#[derive(Debug)]
pub struct Perceptual {
    /// Its weight in the loss.
    pub weight: f64,
    network: EfficientNet,
}

impl Perceptual {
    /// Reads the network.
    ///
    /// # Errors
    /// The file holds something else.
    pub fn open(config: &PerceptualConfig, device: &Device) -> Result<Self, TrainError> {
        let network = EfficientNet::open(&config.network, &device.clone().autodiff())?;
        Ok(Self { weight: config.weight, network })
    }

    /// How different copies look, a mean over pictures, places and scales.
    ///
    /// # Shapes
    /// - `images`, `made`: `[batch, 3, height, width]`, in `[-1, 1]`, sides even
    /// - output: `[1]`
    pub fn distance(&self, images: Tensor<4>, made: Tensor<4>) -> Tensor<1> {
        distance(&self.network, images, made)
    }
}

fn distance(network: &EfficientNet, images: Tensor<4>, made: Tensor<4>) -> Tensor<1> {
    // (level - 127) / 128, as the network has it.
    let seen = |pictures: Tensor<4>| network.scales((pictures * 127.5 + 0.5) / 128.0);
    let pairs = seen(images.detach()).into_iter().zip(seen(made));
    let differences: Vec<Tensor<1>> =
        pairs.map(|(a, b)| (along(a.detach()) - along(b)).square().sum_dim(1).mean()).collect();
    let number = differences.len().max(1) as f64;
    Tensor::cat(differences, 0).sum() / number
}

/// Each place's vector at length 1.
fn along(x: Tensor<4>) -> Tensor<4> {
    let length = (x.clone().square().sum_dim(1) + SMALL).sqrt();
    x / length
}
