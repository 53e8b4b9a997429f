//! A model: backbone, tokenizer and card, opened from one file.

mod attend;
pub mod card;
pub mod dit;
mod files;
mod forward;
mod half;
pub mod head;
pub mod import;
pub mod layers;
pub mod limits;
pub mod mask;
pub mod params;
pub mod precision;
pub mod random;
pub mod tokenizer;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use burn::tensor::{Device, Int, Tensor, TensorData};
use image::RgbImage;
use thiserror::Error;

use crate::io::digest;
use crate::io::tensors::{TensorFile, TensorFileError};
use crate::kernels;
use crate::latents::{LatentShape, Latents};
use crate::readback::Together;
use crate::room::{self, Room};
pub use card::{DitConfig, ModelCard, Objective, Provenance, TokenizerConfig};
pub use dit::Dit;
pub use files::{
    CLASS_TABLE, MODEL_FILE, backbone_name, file_of, read_card, read_tokenizer,
    read_tokenizer_card, read_whole_card, tokenizer_name, write_model,
};
use files::{HEAD, read_head, read_tokenizer_in};
use head::{Head, LOGITS_BUDGET};
use layers::Initialiser;
pub use limits::{check_dit, check_tokenizer};
use params::NamedTensor;
pub use precision::{Precision, PrecisionChoice};
pub use tokenizer::Tokenizer;

/// The model that is part of the program.
static EMBEDDED: &[u8] = include_bytes!("../../assets/cats-and-dogs.safetensors");

/// Side, in tokens, of a field of one code that is decoded to show what the code looks like.
const SWATCH_FIELD: usize = 6;
/// Side, in tokens, of the middle of the field, which is shown: the edges know that they are edges.
const SWATCH_TOKENS: usize = 2;
/// Codes decoded at once for swatches.
const SWATCH_BATCH: usize = 64;

/// A model that cannot be used.
#[derive(Debug, Error)]
pub enum ModelError {
    /// The file or one of its tensors.
    #[error(transparent)]
    File(#[from] TensorFileError),
    /// A tensor file, but not a model.
    #[error("{path}: not a purrscope model: {reason}")]
    NotAModel {
        /// The file.
        path: PathBuf,
        /// What is missing or wrong.
        reason: String,
    },
    /// A tensor file, but not a tokenizer.
    #[error("{path}: not a tokenizer of purrscope: {reason}")]
    NotATokenizer {
        /// The file.
        path: PathBuf,
        /// What is missing or wrong.
        reason: String,
    },
    /// A class name that the model does not have.
    #[error("unknown class '{given}' (the model has {known})")]
    UnknownClass {
        /// What was given.
        given: String,
        /// Classes that the model has.
        known: String,
    },
}

/// What a network gives for a batch, with and without its labels.
#[derive(Debug, Clone)]
pub struct Guided {
    /// For the labels asked for. `[batch, tokens, channels]`
    pub conditional: Tensor<3>,
    /// For no label, and the guidance scale `s` of `u + s (c - u)`; absent where the scale leaves
    /// only one of the two.
    pub unconditional: Option<(Tensor<3>, f32)>,
}

impl Guided {
    /// `u + s (c - u)`
    pub fn mixed(self) -> Tensor<3> {
        match self.unconditional {
            Some((u, scale)) => u.clone() + (self.conditional - u) * scale,
            None => self.conditional,
        }
    }

    /// The same done to both.
    pub fn map(self, change: impl Fn(Tensor<3>) -> Tensor<3>) -> Self {
        Self {
            conditional: change(self.conditional),
            unconditional: self.unconditional.map(|(u, scale)| (change(u), scale)),
        }
    }
}

/// A model, ready on a device.
///
/// Its tensors belong to the thread that made them: burn orders work by thread.
#[derive(Debug)]
pub struct Model {
    /// Everything but the weights.
    pub card: ModelCard,
    /// The network, without its head.
    pub backbone: Dit,
    /// The network's last layer.
    pub head: Head,
    /// The autoencoder.
    pub tokenizer: Tokenizer,
    /// Bytes that the logits of a step may take at a time.
    pub logits_budget: usize,
    room: Room,
    device: Device,
    precision: Precision,
    /// `[codes, code_size]`, in the units of the flow.
    codebook: Tensor<2>,
    /// The same on the host, once it has been asked for.
    host_codebook: OnceLock<Vec<f32>>,
    hash: OnceLock<String>,
    /// Behind the weights: it is dropped after them.
    _after: AfterWeights,
}

/// Has what kernels keep of weights given back once these are gone.
#[derive(Debug)]
struct AfterWeights;

impl Drop for AfterWeights {
    fn drop(&mut self) {
        kernels::forget_unused();
    }
}

impl Model {
    /// Opens a model file, to compute in f32.
    ///
    /// # Errors
    /// The file is not a whole model of this format.
    pub fn open(path: &Path, device: &Device) -> Result<Self, ModelError> {
        Self::open_in(Precision::F32, path, device)
    }

    /// As [`Model::open`], to compute in a precision that the device has
    /// ([`PrecisionChoice::on`] tells). Weights that the file has in two bytes are never widened on
    /// their way to a device that computes with two.
    ///
    /// # Errors
    /// As [`Model::open`], or a weight that the precision does not hold.
    pub fn open_in(precision: Precision, path: &Path, device: &Device) -> Result<Self, ModelError> {
        Self::read(precision, &TensorFile::open(&file_of(path))?, device)
    }

    /// Opens the model that is part of the program, to compute in f32.
    ///
    /// # Errors
    /// None in a program that was built whole.
    pub fn embedded(device: &Device) -> Result<Self, ModelError> {
        Self::embedded_in(Precision::F32, device)
    }

    /// As [`Model::embedded`], to compute in a precision that the device has.
    ///
    /// # Errors
    /// As [`Model::embedded`].
    pub fn embedded_in(precision: Precision, device: &Device) -> Result<Self, ModelError> {
        Self::read(precision, &TensorFile::from_static("embedded model", EMBEDDED)?, device)
    }

    fn read(precision: Precision, file: &TensorFile, device: &Device) -> Result<Self, ModelError> {
        let card = read_whole_card(file)?;
        // Weights stay as long as the model does: each has memory of its very size.
        let parts = device.memory_persistent_allocations((), |()| {
            let blank = Dit::new(&card.backbone, &mut Initialiser::blank(device));
            let (backbone, _) = blank.take_head();
            let backbone = params::load(backbone, backbone_name, device, |name, shape| {
                file.numbers_of_shape(name, shape, precision)
            })?;
            let head = read_head(file, &card.backbone, precision, device)?;
            let tokenizer = read_tokenizer_in(precision, file, &card.tokenizer, device)?;
            Ok::<_, ModelError>((backbone, head, tokenizer))
        });
        let (backbone, head, tokenizer) = parts?;
        let model = Self::from_parts(card, backbone, head, tokenizer, device);
        let _ = model.hash.set(digest::short(file.bytes()));
        Ok(model)
    }

    /// A model from its parts; the backbone comes with its head.
    pub fn assemble(card: ModelCard, backbone: Dit, tokenizer: Tokenizer, device: &Device) -> Self {
        let DitConfig { input_size, patch_size, .. } = card.backbone;
        let (backbone, linear) = backbone.take_head();
        let head = match linear {
            Some(linear) => Head::new(&linear, input_size / patch_size, patch_size),
            None => unreachable!("only a model takes the head off, and keeps the network"),
        };
        Self::from_parts(card, backbone, head, tokenizer, device)
    }

    /// A model from its parts, the backbone without its head.
    pub fn from_parts(
        card: ModelCard,
        backbone: Dit,
        head: Head,
        tokenizer: Tokenizer,
        device: &Device,
    ) -> Self {
        let precision = head.precision();
        let codebook = tokenizer.codebook() * card.latent_scale;
        backbone.place(device);
        Self {
            card,
            backbone,
            head,
            tokenizer,
            logits_budget: room::largest_buffer(device)
                .map_or(LOGITS_BUDGET, |most| most.min(LOGITS_BUDGET)),
            room: Room::default(),
            device: device.clone(),
            precision,
            codebook,
            host_codebook: OnceLock::new(),
            hash: OnceLock::new(),
            _after: AfterWeights,
        }
    }

    /// Writes the model file.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn save(&self, path: &Path, precision: Precision) -> Result<(), ModelError> {
        let mut backbone = params::collect(&self.backbone, backbone_name);
        let (weights, biases) = self.head.to_host();
        let rows = biases.len();
        let shapes = [vec![rows, self.card.backbone.hidden_size], vec![rows]];
        for ((name, shape), values) in HEAD.iter().zip(shapes).zip([weights, biases]) {
            backbone.push(NamedTensor { name: (*name).to_owned(), shape, values });
        }
        let tokenizer = params::collect(&self.tokenizer, tokenizer_name);
        write_model(path, &self.card, backbone.iter().chain(&tokenizer), precision)
    }

    /// The first 16 hexadecimal digits of the SHA-256 of the file; empty for a model that has none.
    pub fn hash(&self) -> &str {
        self.hash.get().map_or("", String::as_str)
    }

    /// The precision that its networks compute in.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The device that the model is on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Codes at the data end of the flow, `[codes, code_size]`.
    pub fn codebook(&self) -> &Tensor<2> {
        &self.codebook
    }

    /// Extent of the latents of `batch` images.
    pub fn latent_shape(&self, batch: usize) -> LatentShape {
        LatentShape {
            batch,
            channels: self.card.tokenizer.code_size,
            height: self.card.backbone.input_size,
            width: self.card.backbone.input_size,
        }
    }

    /// The labels that a class name means: the class of that name, or all whose names begin with it.
    ///
    /// # Errors
    /// No class is meant.
    pub fn labels(&self, class: &str) -> Result<Vec<usize>, ModelError> {
        self.card.labels(class)
    }

    /// The rows of the codebook at `codes`, `[batch, height, width]`; 0 for a masked token.
    pub fn look_up(&self, codes: &[u32], batch: usize) -> Latents {
        let shape = self.latent_shape(batch);
        let (size, tokens) = (shape.channels, shape.tokens());
        let table = self.host_codebook.get_or_init(|| params::host(self.codebook.clone()));
        let values = (0..shape.len())
            .map(|at| {
                let (image, channel, token) =
                    (at / (size * tokens), at / tokens % size, at % tokens);
                let code = codes[image * tokens + token] as usize;
                table.get(code * size + channel).copied().unwrap_or(0.0)
            })
            .collect();
        Latents { shape, values }
    }

    /// Puts latents on the device.
    pub fn upload(&self, latents: &Latents) -> Tensor<4> {
        let data = TensorData::new(latents.values.clone(), latents.shape.dims());
        Tensor::from_data(data, &self.device)
    }

    /// As [`Model::nearest_codes`], left on the device.
    ///
    /// # Shapes
    /// - `latents`: `[batch, code_size, height, width]`
    /// - output: `[batch, height, width]`
    pub fn nearest_on_device(&self, latents: Tensor<4>) -> Tensor<3, Int> {
        tokenizer::nearest_codes(latents, self.codebook.clone())
    }

    /// The nearest code of every token, `[batch, height, width]`.
    pub fn nearest_codes(&self, latents: &Latents) -> Vec<u32> {
        Together::default().with(self.nearest_on_device(self.upload(latents))).read().codes()
    }

    /// Pictures of latents in the units of the flow, any point between codes included.
    pub fn decode(&self, latents: &Latents) -> Vec<RgbImage> {
        let decode = || self.decoded(latents).flat_map(to_pictures).collect();
        self.within_room(latents.shape.batch, decode)
    }

    /// The same on the device, as many at a time as the budget has room for.
    ///
    /// # Shapes
    /// - output: `[images, 3, height, width]` each, about `[-1, 1]`
    pub fn decoded(&self, latents: &Latents) -> impl Iterator<Item = Tensor<4>> {
        let LatentShape { batch, .. } = latents.shape;
        let x = self.upload(latents) / self.card.latent_scale;
        let group = self.decoded_at_once(latents.shape);
        (0..batch).step_by(group).map(move |first| {
            self.tokenizer.decode(x.clone().narrow(0, first, group.min(batch - first)))
        })
    }

    /// Pictures whose largest layers in the decoder stay within the budget of the logits.
    fn decoded_at_once(&self, shape: LatentShape) -> usize {
        let vq = &self.card.tokenizer;
        let pixels = shape.tokens() * vq.downsampling() * vq.downsampling();
        // The outermost level, before the channels of the one below it are brought down.
        let widest = vq.multipliers.iter().take(2).copied().max().unwrap_or(1);
        let bytes = pixels * vq.channels * widest * size_of::<f32>();
        (self.logits_at_once() / bytes.max(1)).max(1)
    }

    /// Codes of pictures of the model's size, `[pictures, height, width]`.
    pub fn encode(&self, pictures: &[RgbImage]) -> Vec<u32> {
        let encode = |part: Range<usize>| {
            let latents = self.tokenizer.encode(from_pictures(&pictures[part], &self.device));
            Together::default().with(self.tokenizer.quantise(latents)).read().codes()
        };
        self.within_room(pictures.len(), || {
            room::parts(pictures.len(), self.images_at_once(pictures.len()))
                .flat_map(encode)
                .collect()
        })
    }

    /// Pictures of codes, `[batch, height, width]`, each below the number of codes.
    pub fn decode_codes(&self, codes: &[u32], batch: usize) -> Vec<RgbImage> {
        let decode = || self.decoded_codes(codes, batch).flat_map(to_pictures).collect();
        self.within_room(batch, decode)
    }

    /// The same on the device, as [`Model::decoded`].
    pub fn decoded_codes(&self, codes: &[u32], batch: usize) -> impl Iterator<Item = Tensor<4>> {
        let shape = self.latent_shape(batch);
        let tokens = shape.tokens();
        codes.chunks(tokens * self.decoded_at_once(shape)).map(move |codes| {
            let grid = [codes.len() / tokens, shape.height, shape.width];
            self.decode_grid(codes.iter().copied(), grid)
        })
    }

    fn decode_grid(&self, codes: impl Iterator<Item = u32>, shape: [usize; 3]) -> Tensor<4> {
        let codes: Vec<i64> = codes.map(i64::from).collect();
        let codes = Tensor::<3, Int>::from_data(TensorData::new(codes, shape), &self.device);
        self.tokenizer.decode(self.tokenizer.look_up(codes))
    }

    /// What the decoder makes of the middle of a field of each code: a small picture a code.
    pub fn code_swatches(&self, codes: &[u32]) -> Vec<RgbImage> {
        let token = self.card.tokenizer.downsampling();
        let (edge, side) = ((SWATCH_FIELD - SWATCH_TOKENS) / 2 * token, SWATCH_TOKENS * token);
        codes
            .chunks(SWATCH_BATCH)
            .flat_map(|codes| {
                let tokens = codes
                    .iter()
                    .flat_map(|code| std::iter::repeat_n(*code, SWATCH_FIELD * SWATCH_FIELD));
                let fields = self.decode_grid(tokens, [codes.len(), SWATCH_FIELD, SWATCH_FIELD]);
                to_pictures(fields.narrow(2, edge, side).narrow(3, edge, side))
            })
            .collect()
    }
}

/// `[batch, 3, height, width]` in about `[-1, 1]` to 8-bit pictures.
pub fn to_pictures(images: Tensor<4>) -> Vec<RgbImage> {
    let [_, _, height, width] = images.dims();
    let values = params::host((images.permute([0, 2, 3, 1]) + 1.0) * 127.5);
    if values.iter().any(|value| !value.is_finite()) {
        tracing::warn!(
            "the decoder gave values that are not finite, which are shown as black or white; where it \
             computed in half precision, f32 may hold them (--precision f32)"
        );
    }
    values
        .chunks_exact(3 * height * width)
        .map(|pixels| {
            let bytes = pixels.iter().map(|value| value.round() as u8).collect();
            match RgbImage::from_raw(width as u32, height as u32, bytes) {
                Some(picture) => picture,
                None => unreachable!("a chunk is exactly the bytes of a picture"),
            }
        })
        .collect()
}

/// Pictures of one size to `[batch, 3, height, width]` in `[-1, 1]`.
pub fn from_pictures(pictures: &[RgbImage], device: &Device) -> Tensor<4> {
    let (width, height) = pictures.first().map_or((0, 0), RgbImage::dimensions);
    let shape = [pictures.len(), 3, height as usize, width as usize];
    Tensor::from_data(TensorData::new(planes(pictures), shape), device)
}

/// The numbers of [`from_pictures`].
pub fn planes(pictures: &[RgbImage]) -> Vec<f32> {
    let channels = pictures
        .iter()
        .flat_map(|picture| (0..3).map(|channel| picture.as_raw().iter().skip(channel).step_by(3)));
    channels.flatten().map(|byte| f32::from(*byte) / 127.5 - 1.0).collect()
}
