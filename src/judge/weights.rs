//! What feature networks of photographs share: weights in files, the layer that they are made of, pictures brought to
//! the size that they were trained on.

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use image::imageops::{self, FilterType};
use image::{DynamicImage, RgbImage};

use super::JudgeError;
use crate::io::foreign::{Foreign, recognise_file};
use crate::io::tensors::TensorFile;
use crate::io::torch::TorchFile;
use crate::readback;
use crate::room::{self, Room};

/// What batch normalisation adds to a variance.
const EPSILON: f64 = 1e-3;

/// Numbers of a tensor of a name and a shape.
pub(super) type Source<'a> = &'a dyn Fn(&str, &[usize]) -> Result<Vec<f32>, JudgeError>;

/// A file of named tensors, as PyTorch or safetensors has it.
pub(super) struct Weights {
    path: PathBuf,
    file: File,
}

enum File {
    Safetensors(TensorFile),
    Torch(TorchFile),
}

impl Weights {
    /// Opens a file.
    ///
    /// # Errors
    /// It cannot be read, or holds no tensors.
    pub fn open(path: &Path) -> Result<Self, JudgeError> {
        let found = recognise_file(path)
            .map_err(|source| JudgeError::Io { path: path.to_owned(), source })?;
        let file = match found {
            Some(Foreign::Safetensors) => File::Safetensors(TensorFile::open(path)?),
            _ => File::Torch(TorchFile::open(path)?),
        };
        Ok(Self { path: path.to_owned(), file })
    }

    /// The shape of a tensor, if there is one of that name.
    pub fn shape(&self, name: &str) -> Option<Vec<usize>> {
        match &self.file {
            File::Safetensors(file) => file
                .entries()
                .into_iter()
                .find(|(known, ..)| known == name)
                .map(|(.., shape)| shape),
            File::Torch(file) => {
                let pickle = file.pickle();
                let id = pickle.get(pickle.root(), name)?;
                pickle.tensor(id).map(|view| view.shape.clone())
            }
        }
    }

    /// The numbers of a tensor.
    ///
    /// # Errors
    /// There is none of that name and shape: these are not the weights of `network`.
    pub fn read(
        &self,
        network: &'static str,
        name: &str,
        shape: &[usize],
    ) -> Result<Vec<f32>, JudgeError> {
        let refused =
            |reason| JudgeError::NotTheNetwork { path: self.path.clone(), network, reason };
        let found = self.shape(name);
        match &found {
            Some(found) if found == shape => {}
            Some(found) => {
                let reason = format!("tensor '{name}' has shape {found:?}, expected {shape:?}");
                return Err(refused(reason));
            }
            None => return Err(refused(format!("it has no tensor '{name}' {shape:?}"))),
        }
        match &self.file {
            File::Safetensors(file) => Ok(file.floats(name)?.1),
            File::Torch(file) => {
                let pickle = file.pickle();
                let view = pickle.get(pickle.root(), name).and_then(|id| pickle.tensor(id));
                let view = view.ok_or_else(|| refused(format!("it has no tensor '{name}'")))?;
                Ok(file.floats(name, view)?)
            }
        }
    }
}

/// A convolution with the batch normalisation behind it, as one.
#[derive(Debug)]
pub(super) struct Layer {
    /// `[outputs, inputs, height, width]`, of a layer by channels `[channels, 1, height, width]`
    pub weight: Tensor<4>,
    /// `[outputs]`
    pub bias: Tensor<1>,
}

impl Layer {
    /// `gamma (w x - mean) / sqrt(variance + epsilon) + beta` as one convolution with a bias.
    ///
    /// # Errors
    /// Those of `source`.
    pub fn read(
        convolution: &str,
        norm: &str,
        shape: [usize; 4],
        device: &Device,
        source: Source<'_>,
    ) -> Result<Self, JudgeError> {
        let [outputs, inputs, height, width] = shape;
        let mut weight = source(&format!("{convolution}.weight"), &shape)?;
        let vector = |part: &str| source(&format!("{norm}.{part}"), &[outputs]);
        let (gamma, beta) = (vector("weight")?, vector("bias")?);
        let (mean, variance) = (vector("running_mean")?, vector("running_var")?);
        let mut bias = Vec::with_capacity(outputs);
        for (channel, weights) in weight.chunks_mut(inputs * height * width).enumerate() {
            let scale = f64::from(gamma[channel]) / (f64::from(variance[channel]) + EPSILON).sqrt();
            for weight in weights {
                *weight = (f64::from(*weight) * scale) as f32;
            }
            bias.push((f64::from(beta[channel]) - f64::from(mean[channel]) * scale) as f32);
        }
        Ok(Self {
            weight: Tensor::from_data(TensorData::new(weight, shape), device),
            bias: Tensor::from_data(TensorData::new(bias, [outputs]), device),
        })
    }
}

/// `[pictures, 3, side, side]`: pictures scaled by a triangle filter, as Pillow's BILINEAR does, without rounding to levels
/// in between (Parmar et al. 2022), and every part of a colour, from 0 to 1, put through `level`.
pub(super) fn scaled(
    pictures: &[RgbImage],
    side: u32,
    level: impl Fn(f32) -> f32,
    device: &Device,
) -> Tensor<4> {
    let mut values = Vec::with_capacity(pictures.len() * 3 * (side * side) as usize);
    for picture in pictures {
        let picture = DynamicImage::from(picture.clone()).into_rgb32f();
        let scaled = imageops::resize(&picture, side, side, FilterType::Triangle);
        for channel in 0..3 {
            let parts = scaled.as_raw().iter().skip(channel).step_by(3);
            values.extend(parts.map(|part| level(*part)));
        }
    }
    let shape = [pictures.len(), 3, side as usize, side as usize];
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Features of pictures, row by row, so many at once, in parts where the device has no room for as many.
pub(super) fn in_batches(
    room: &Room,
    device: &Device,
    pictures: &[RgbImage],
    batch: usize,
    features: impl Fn(&[RgbImage]) -> Tensor<2>,
) -> Vec<f32> {
    let batches = pictures.chunks(batch).flat_map(|pictures| {
        room.within(device, pictures.len(), || {
            room::parts(pictures.len(), room.share(pictures.len()))
                .flat_map(|part| readback::floats(features(&pictures[part])))
                .collect::<Vec<f32>>()
        })
    });
    batches.collect()
}
