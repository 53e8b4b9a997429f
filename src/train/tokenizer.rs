//! Training of the autoencoder: reconstruction, commitment, and codes that stay in use.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};
use image::RgbImage;
use serde_json::json;

use super::checkpoint::Identity;
use super::config::{CodeGradient, RunConfig, TokenizerLosses, TokenizerTask};
use super::discriminator::{Discriminator, Verdict};
use super::examples::{ahead, folders, host_codes};
use super::held_out;
use super::memory::Need;
use super::optimiser::AdamW;
use super::perceptual::Perceptual;
use super::{Evaluation, Loss, TrainError, Trainee, is_cpu, program};
use crate::data::{Ahead, DataError, EpochOrder, ImageFolder};
use crate::io::sheet::Sheet;
use crate::io::tensors::{Contents, METADATA_KEY, Precision, TensorFile, TensorWriter};
use crate::model::card::TokenizerCard;
use crate::model::layers::Initialiser;
use crate::model::params::{self, NamedTensor, Naming};
use crate::model::{
    Tokenizer, file_of, from_pictures, planes, read_card, read_tokenizer, read_tokenizer_card,
    to_pictures, tokenizer_name,
};
use crate::readback::Together;
use crate::rng::Stream;
use crate::room::Room;

/// Pictures of a sheet.
const SHEET: usize = 12;
/// Held-out pictures that figures are taken on.
const HOLDOUT: usize = 96;
/// Pictures evaluated at once.
const EVALUATION_BATCH: usize = 24;
const USAGE: &str = "usage";
/// The figure that tokenizers are compared by: peak signal-to-noise ratio of held-out pictures, in dB.
pub(super) const HELD_OUT: &str = "holdout_psnr";

/// State of a tokenizer's training.
pub struct Training {
    config: RunConfig,
    task: TokenizerTask,
    device: Device,
    identity: Identity,
    images: Arc<ImageFolder>,
    holdout: Option<ImageFolder>,
    /// The pictures of a step.
    batches: Ahead<Planes, DataError>,
    /// How often each code was chosen since the last revival.
    usage: Vec<f32>,
    /// Latents of the step in hand, part by part, `[n, code_size]`.
    latest: Vec<Tensor<2>>,
    perceptual: Option<Perceptual>,
    discriminator: Option<Discriminator>,
    /// Pictures that the device has room to evaluate at once.
    room: Room,
}

/// Pictures as `[n, 3, size, size]` in `[-1, 1]`.
pub(super) struct Planes(pub Vec<f32>);

impl Planes {
    /// Some of the pictures, on a device.
    pub fn part(&self, part: Range<usize>, size: usize, device: &Device) -> Tensor<4> {
        let each = 3 * size * size;
        let values = self.0[part.start * each..part.end * each].to_vec();
        Tensor::from_data(TensorData::new(values, [part.len(), 3, size, size]), device)
    }
}

impl Training {
    /// A run at its beginning.
    ///
    /// # Errors
    /// The pictures cannot be found, the sizes are beyond this machine, or `stop` was asked for while the pictures
    /// were looked at.
    pub fn new(
        config: &RunConfig,
        task: &TokenizerTask,
        device: &Device,
        identity: Identity,
        stop: &AtomicBool,
    ) -> Result<(Self, Tokenizer), TrainError> {
        Need::of_tokenizer(task, config.image_size, config.at_once()).check(is_cpu(device))?;
        let (images, holdout) = folders(config, stop)?;
        let images = Arc::new(images);
        let labels: Vec<usize> = images.files().map(|(_, label)| label).collect();
        let order = EpochOrder::balanced(config.seed, &labels, config.balance);
        let (folder, augment, seed) = (Arc::clone(&images), config.augment, config.seed);
        let batches = ahead(config, order, move |first, indices| {
            let stream = |place| Stream::new(seed, VARIATION_STREAMS + (first + place) as u64);
            Ok(Planes(planes(&folder.varied(&indices, &augment, stream)?)))
        });
        let autodiff = device.clone().autodiff();
        let net = Tokenizer::new(&task.model, &mut Initialiser::new(config.seed, &autodiff));
        let net = task.from.as_ref().map_or(Ok(net), |from| begin_with(from, task, &autodiff))?;
        let perceptual =
            task.perceptual.as_ref().map(|config| Perceptual::open(config, device)).transpose()?;
        let discriminator = task.discriminator.as_ref();
        let training = Self {
            perceptual,
            discriminator: discriminator.map(|it| Discriminator::new(it, config, device)),
            config: config.clone(),
            task: task.clone(),
            device: device.clone(),
            identity,
            images,
            holdout,
            batches,
            usage: vec![0.0; task.model.codes],
            latest: Vec::new(),
            room: Room::default(),
        };
        Ok((training, net))
    }

    /// Moves codes that nothing chose since the last time onto latents of the step in hand.
    fn revive(&mut self, net: Tokenizer, step: usize) -> Tokenizer {
        let latest = std::mem::take(&mut self.latest);
        if latest.is_empty() {
            return net;
        }
        let latents = Tensor::cat(latest, 0);
        let size = self.task.model.code_size;
        let mut read = Together::default().with(net.codebook_table().inner()).with(latents).read();
        let (mut table, latents) = (read.floats(), read.floats());
        let count = latents.len() / size;
        let mut stream = Stream::new(self.config.seed, REVIVAL_STREAMS + step as u64);
        for code in (0..self.task.model.codes).filter(|code| self.usage[*code] == 0.0) {
            let chosen = stream.below(count);
            table[code * size..(code + 1) * size]
                .copy_from_slice(&latents[chosen * size..(chosen + 1) * size]);
        }
        self.usage.fill(0.0);
        let data = TensorData::new(table, [self.task.model.codes, size]);
        net.with_codebook_table(Tensor::from_data(data, &self.device.clone().autodiff()))
    }

    /// The network with its averaged weights.
    fn averaged(&self, optimiser: &AdamW) -> Result<Tokenizer, TrainError> {
        let blank = Tokenizer::new(&self.task.model, &mut Initialiser::blank(&self.device));
        optimiser.load_averages(blank, tokenizer_name, &self.device)
    }

    fn reconstruct(
        &self,
        net: &Tokenizer,
        pictures: &[RgbImage],
    ) -> Result<(Vec<RgbImage>, Vec<i64>), TrainError> {
        let mut made = Vec::new();
        let mut used = Vec::new();
        for pictures in pictures.chunks(self.room.share(EVALUATION_BATCH)) {
            let latents = net.encode(from_pictures(pictures, &self.device));
            let codes = net.quantise(latents);
            used.extend(host_codes(codes.clone())?);
            made.extend(to_pictures(net.decode(net.look_up(codes))));
        }
        Ok((made, used))
    }
}

/// Streams of the seed from here on decide how pictures are varied, one for each that is seen.
pub(super) const VARIATION_STREAMS: u64 = 1 << 59;
/// Streams of the seed from here on choose the latents for revived codes.
const REVIVAL_STREAMS: u64 = 1 << 61;

impl Trainee for Training {
    type Net = Tokenizer;

    const NAMING: Naming = tokenizer_name;
    const PRODUCT: &'static str = "tokenizer";

    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn loss(
        &mut self,
        net: &Tokenizer,
        step: usize,
        part: Range<usize>,
    ) -> Result<Loss, TrainError> {
        let device = self.device.clone().autodiff();
        let images = self.batches.of(step)?.part(part.clone(), self.config.image_size, &device);
        let TokenizerLoss { mut loss, latents, codes, made } =
            tokenizer_loss(net, images.clone(), self.task.losses(), false);
        if let Some(perceptual) = &self.perceptual {
            let distance = perceptual.distance(images.clone(), made.clone());
            loss.total = loss.total + distance.clone() * perceptual.weight;
            loss.terms.push(("perceptual", distance));
        }
        if let Some(discriminator) = &mut self.discriminator
            && let Some(Verdict { term, generator, own }) =
                discriminator.judge(step, images, made, &part, self.config.batch)
        {
            loss.total = loss.total + term;
            loss.terms.extend([("generator", generator), ("discriminator", own)]);
        }

        let [batch, size, height, width] = latents.dims();
        let flat = latents.inner().permute([0, 2, 3, 1]).reshape([batch * height * width, size]);
        if part.start == 0 {
            self.latest.clear();
        }
        self.latest.push(flat);
        let codes = codes.reshape([batch * height * width]);
        Ok(Loss { codes: Some(codes), ..loss })
    }

    fn count(&mut self, codes: &[i64]) {
        codes.iter().for_each(|code| self.usage[*code as usize] += 1.0);
    }

    fn after_step(&mut self, net: Tokenizer, step: usize) -> Tokenizer {
        if let Some(discriminator) = &mut self.discriminator {
            discriminator.learn(step);
        }
        let due =
            !self.task.decoder_only && (step + 1).is_multiple_of(self.task.revive_every.max(1));
        // Codes stay put in the last fifth of a run, so that the decoder can settle on them.
        let settling = step >= self.config.steps - self.config.steps / 5;
        if due && !settling { self.revive(net, step) } else { net }
    }

    fn extra(&self) -> Vec<NamedTensor> {
        let shape = vec![self.usage.len()];
        vec![NamedTensor { name: USAGE.to_owned(), shape, values: self.usage.clone() }]
    }

    fn weights_besides(&self) -> Vec<NamedTensor> {
        self.discriminator.as_ref().map_or_else(Vec::new, Discriminator::state)
    }

    fn restore_extra(&mut self, file: &TensorFile) -> Result<(), TrainError> {
        self.usage = file.floats_of_shape(USAGE, &[self.task.model.codes])?;
        self.discriminator.as_mut().map_or(Ok(()), |it| it.restore(file))
    }

    fn evaluate(
        &mut self,
        net: &Tokenizer,
        averages: &AdamW,
        _: &AtomicBool,
    ) -> Result<Option<Evaluation>, TrainError> {
        let net = match self.task.averaged {
            true => self.averaged(averages)?,
            false => net.valid(),
        };
        let images = self.holdout.as_ref().unwrap_or(&*self.images);
        let indices = held_out::spread(images.len(), HOLDOUT);
        let pictures: Vec<_> =
            images.pictures(&indices)?.into_iter().map(|(picture, _)| picture).collect();
        let (made, mut codes) = self
            .room
            .within(&self.device, EVALUATION_BATCH, || self.reconstruct(&net, &pictures))?;
        let psnr =
            pictures.iter().zip(&made).map(|(a, b)| psnr(a, b)).sum::<f64>() / HOLDOUT as f64;
        codes.sort_unstable();
        codes.dedup();
        let step = HOLDOUT / SHEET;
        let of = |from: &[RgbImage]| from.iter().step_by(step).cloned().collect::<Vec<_>>();
        let sheet = Sheet::rows_of(SHEET).arrange(&[of(&pictures), of(&made)].concat());
        let used = codes.len() as f64 / self.task.model.codes as f64;
        let figures = [(HELD_OUT, psnr), ("holdout_codes_used", used)];
        let figures = figures.map(|(name, figure)| (name.to_owned(), json!(figure)));
        let figures = figures.into_iter().collect();
        Ok(Some(Evaluation { sheet, figures }))
    }

    fn merit(figures: &BTreeMap<String, f64>) -> Option<f64> {
        figures.get(HELD_OUT).copied()
    }

    fn export(
        &mut self,
        net: &Tokenizer,
        optimiser: &AdamW,
        file: &Path,
    ) -> Result<(), TrainError> {
        let card = TokenizerCard {
            format: TokenizerCard::FORMAT,
            tokenizer: self.task.model.clone(),
            program: program(),
            steps: optimiser.updates(),
        };
        let mut writer = TensorWriter::default();
        writer.metadata(METADATA_KEY, serde_json::to_string(&card)?);
        let tensors = match self.task.averaged {
            true => optimiser.averages(),
            false => params::collect(net, tokenizer_name),
        };
        for NamedTensor { name, shape, values } in tensors {
            writer.floats(&name, &shape, &values, Precision::F32);
        }
        Ok(writer.write(file)?)
    }
}

/// The file of a finished tokenizer run, or of a model with its tokenizer, that an entry of the run file names, and
/// what it says of the tokenizer.
pub(super) fn open_tokenizer(
    entry: &'static str,
    path: &Path,
) -> Result<(TensorFile, TokenizerCard), TrainError> {
    let fault = |reason: String| TrainError::NotATokenizer { entry, reason };
    let file = TensorFile::open(&file_of(path))
        .map_err(|error| fault(format!("{error} (expected the tokenizer.safetensors of a run)")))?;
    let card = match file.contents() {
        Contents::Model => read_card(&file).map(|card| TokenizerCard {
            format: TokenizerCard::FORMAT,
            tokenizer: card.tokenizer,
            program: card.provenance.program,
            steps: card.provenance.tokenizer_steps,
        }),
        _ => read_tokenizer_card(&file),
    };
    Ok((file, card.map_err(|error| fault(error.to_string()))?))
}

/// A finished tokenizer, on an autodiff device.
fn begin_with(
    from: &Path,
    task: &TokenizerTask,
    autodiff: &Device,
) -> Result<Tokenizer, TrainError> {
    const ENTRY: &str = "task.from";
    let (file, card) = open_tokenizer(ENTRY, from)?;
    if card.tokenizer != task.model {
        let reason = format!("{}: of another shape than [task.model]", from.display());
        return Err(TrainError::NotATokenizer { entry: ENTRY, reason });
    }
    Ok(read_tokenizer(&file, &task.model, autodiff)?)
}

/// The loss of a tokenizer, with what it was taken from.
pub(crate) struct TokenizerLoss {
    pub(super) loss: Loss,
    /// `[batch, code_size, height, width]`
    pub(super) latents: Tensor<4>,
    /// The codes chosen for them, `[batch, height, width]`, on the device without autodiff.
    pub(super) codes: Tensor<3, Int>,
    /// What is decoded from these, `[batch, 3, height, width]`.
    made: Tensor<4>,
}

impl TokenizerLoss {
    /// What is minimised, `[1]`.
    pub fn total(self) -> Tensor<1> {
        self.loss.total
    }
}

/// Reconstruction and commitment of pictures, weighed as `weights` say; `asked` is whether something besides this loss takes
/// gradients of the latents.
///
/// # Shapes
/// - `images`: `[batch, channels, height, width]`, in `[-1, 1]`, on an autodiff device
pub(crate) fn tokenizer_loss(
    net: &Tokenizer,
    images: Tensor<4>,
    weights: TokenizerLosses,
    asked: bool,
) -> TokenizerLoss {
    // What no gradient will come to stays out of the graph: only a gradient takes it apart again, and parameters hold it
    // until then.
    let still = net.valid();
    let latents = match asked || weights.reach_encoder() {
        true => net.encode(images.clone()),
        false => Tensor::from_inner(still.encode(images.clone().inner())),
    };
    let codes = still.quantise(latents.clone().inner());
    let chosen = match weights.codebook != 0.0 {
        true => net.look_up(Tensor::from_inner(codes.clone())),
        false => Tensor::from_inner(still.look_up(codes.clone())),
    };

    let codebook = (chosen.clone() - latents.clone().detach()).square().mean();
    let commitment = (latents.clone() - chosen.clone().detach()).square().mean();
    // The decoder sees codes; how its gradient gets to the latents is a choice.
    let passed = match weights.gradient {
        CodeGradient::StraightThrough => latents.clone() + (chosen - latents.clone()).detach(),
        CodeGradient::Rotation => rotated(latents.clone(), chosen.detach()),
        CodeGradient::Stopped => chosen.detach(),
    };
    let made = net.decode(passed);
    let difference = made.clone() - images;
    let l1 = difference.clone().abs().mean();
    let l2 = difference.clone().square().mean();
    let edges = edge_difference(difference);
    let total = l1.clone() * weights.l1 + l2.clone() * weights.l2 + edges.clone() * weights.edges;
    // A term of weight 0 is left out of the graph: what hears of nothing else has no gradient, and stays as it is.
    let pulls = [(codebook, weights.codebook), (commitment.clone(), weights.commitment)];
    let pulls = pulls.into_iter().filter(|(_, weight)| *weight != 0.0);
    let total = pulls.fold(total, |total, (term, weight)| total + term * weight);
    let terms = vec![("l1", l1), ("l2", l2), ("edges", edges), ("commitment", commitment)];
    let loss = Loss { total, terms, codes: None, each: None };
    TokenizerLoss { loss, latents, codes, made }
}

/// Each latent turned and stretched onto its code, so that the gradient at the code comes back turned the other way
/// (the rotation trick, Fifty et al. 2024): the angle between gradient and code becomes that between gradient and
/// latent. `R = I - 2 r r^T + 2 q e^T` for the directions `e` of the latent and `q` of the code and `r` that of their
/// sum takes `e` to `q`; it and the stretch count as constants.
///
/// # Shapes
/// - `latents`, `chosen`, output: `[batch, code_size, height, width]`
fn rotated(latents: Tensor<4>, chosen: Tensor<4>) -> Tensor<4> {
    const SMALL: f32 = 1e-6;
    let length = |tensor: &Tensor<4>| tensor.clone().square().sum_dim(1).sqrt().clamp_min(SMALL);
    let fixed = latents.clone().detach();
    let (of_latent, of_code) = (length(&fixed), length(&chosen));
    let (e, q) = (fixed / of_latent.clone(), chosen / of_code.clone());
    let sum = e.clone() + q.clone();
    let r = sum.clone() / length(&sum);
    let along = |direction: &Tensor<4>| (latents.clone() * direction.clone()).sum_dim(1);
    let turned = latents.clone() - r.clone() * along(&r) * 2.0 + q * along(&e) * 2.0;
    turned * (of_code / of_latent)
}

/// Mean absolute difference of the horizontal and vertical steps between neighbouring pixels.
fn edge_difference(difference: Tensor<4>) -> Tensor<1> {
    let [_, _, height, width] = difference.dims();
    let along = |dim: usize, size: usize| {
        difference.clone().narrow(dim, 1, size - 1) - difference.clone().narrow(dim, 0, size - 1)
    };
    (along(3, width).abs().mean() + along(2, height).abs().mean()) * 0.5
}

/// Peak signal-to-noise ratio of two 8-bit pictures, in decibels.
pub(super) fn psnr(a: &RgbImage, b: &RgbImage) -> f64 {
    let squared: f64 =
        a.as_raw().iter().zip(b.as_raw()).map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2)).sum();
    let mean = (squared / a.as_raw().len() as f64).max(1e-9);
    10.0 * (255.0 * 255.0 / mean).log10()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::readback;

    fn grid(values: [f32; 6], device: &Device) -> Tensor<4> {
        // Two numbers a code, three tokens.
        Tensor::from_data(TensorData::new(values.to_vec(), [1, 2, 1, 3]), device)
    }

    #[test]
    fn a_rotated_latent_is_its_code_and_its_gradient_turns_with_it() {
        let device = Device::flex().autodiff();
        // (1, 0), (0, 2), (3, 4) onto (0, 2), (0, 1), (-4, 3).
        let latents = grid([1.0, 0.0, 3.0, 0.0, 2.0, 4.0], &device).require_grad();
        let chosen = grid([0.0, 0.0, -4.0, 2.0, 1.0, 3.0], &device);
        let passed = rotated(latents.clone(), chosen.clone());
        let near = |found: Vec<f32>, expected: [f32; 6]| {
            let off = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(off < 1e-5, "{found:?} {expected:?}");
        };
        near(readback::floats(passed.clone().inner()), [0.0, 0.0, -4.0, 2.0, 1.0, 3.0]);
        // At every code the gradient (1, 0); turned back by 90, 0 and 90 degrees, and stretched by 2, 1/2 and 1.
        let gradients = passed.narrow(1, 0, 1).sum().backward();
        let found = latents.grad(&gradients).unwrap();
        near(readback::floats(found), [0.0, 0.5, 0.0, -2.0, 0.0, -1.0]);
    }
}
