//! A discriminator of patches beside a tokenizer in training: it learns to tell copies from pictures, patch by patch, and
//! the tokenizer to make copies that it takes for pictures. The network is pix2pix's ([Isola et al. 2017]) and the losses
//! those that LlamaGen trains its tokenizer with, both but for one thing: group norms stand for batch norms, so that a
//! step comes to the same however its pictures are parted.
//!
//! [Isola et al. 2017]: https://arxiv.org/abs/1611.07004

use std::ops::Range;

use burn::module::{Module, Param};
use burn::tensor::activation::{leaky_relu, relu};
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Gradients, Tensor};
use serde::{Deserialize, Serialize};

use super::TrainError;
use super::config::{OptimiserConfig, RunConfig};
use super::optimiser::{AdamW, add_gradients};
use crate::io::tensors::TensorFile;
use crate::model::layers::{GroupNorm, Initialiser};
use crate::model::params::{self, NamedTensor};

/// Side of every convolution.
const KERNEL: usize = 4;
/// Standard deviation of a convolution's first weights.
const DEVIATION: f32 = 0.02;
/// Slope below 0.
const SLOPE: f64 = 0.2;
/// Channels are widened up to this multiple of the first.
const WIDEST: usize = 8;
/// Most groups of a norm.
const GROUPS: usize = 32;
/// The steps that it has made, in checkpoints.
const UPDATES: &str = "discriminator.updates";
/// What is added to a run's seed for its first weights.
const SEED: u64 = 0x0d15_c000;

/// A discriminator beside a tokenizer; LlamaGen's by default, but for its start.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiscriminatorConfig {
    /// What the tokenizer's loss counts its verdict for.
    pub weight: f64,
    /// Steps that the tokenizer makes alone.
    pub start: usize,
    /// Channels of the first layer.
    pub channels: usize,
    /// Layers that halve the size.
    pub layers: usize,
}

impl Default for DiscriminatorConfig {
    fn default() -> Self {
        Self { weight: 0.5, start: 1000, channels: 64, layers: 3 }
    }
}

impl DiscriminatorConfig {
    /// Smallest side of the pictures.
    pub fn smallest_side(&self) -> usize {
        3 << self.layers
    }
}

/// `[batch, 3, height, width]` to a verdict a patch, `[batch, 1, rows, columns]`.
#[derive(Module, Debug)]
struct PatchNet {
    layers: Vec<PatchLayer>,
}

/// A convolution, with a norm behind it in all but the first and the last.
#[derive(Module, Debug)]
struct PatchLayer {
    /// `[outputs, inputs, 4, 4]`
    weight: Param<Tensor<4>>,
    /// `[outputs]`
    bias: Option<Param<Tensor<1>>>,
    norm: Option<GroupNorm>,
    #[module(skip)]
    stride: usize,
}

impl PatchNet {
    fn new(config: &DiscriminatorConfig, init: &mut Initialiser) -> Self {
        let width = |layer: usize| config.channels * (1 << layer.min(16)).min(WIDEST);
        let mut layer = |inputs: usize, outputs: usize, stride: usize, normed: bool| PatchLayer {
            weight: init.normal(DEVIATION, [outputs, inputs, KERNEL, KERNEL]),
            bias: (!normed).then(|| init.constant(0.0, [outputs])),
            norm: normed.then(|| GroupNorm::new(groups(outputs), outputs, init)),
            stride,
        };
        let mut layers = vec![layer(3, width(0), 2, false)];
        for at in 1..config.layers {
            layers.push(layer(width(at - 1), width(at), 2, true));
        }
        layers.push(layer(width(config.layers - 1), width(config.layers), 1, true));
        layers.push(layer(width(config.layers), 1, 1, false));
        Self { layers }
    }

    fn forward(&self, images: Tensor<4>) -> Tensor<4> {
        let last = self.layers.len() - 1;
        self.layers.iter().enumerate().fold(images, |x, (at, layer)| {
            let options = ConvOptions::new([layer.stride; 2], [1; 2], [1; 2], 1);
            let bias = layer.bias.as_ref().map(Param::val);
            let x = conv2d(x, layer.weight.val(), bias, options);
            let x = match &layer.norm {
                Some(norm) => norm.forward(x),
                None => x,
            };
            if at == last { x } else { leaky_relu(x, SLOPE) }
        })
    }
}

/// As many groups as divide the channels, at most 32.
fn groups(channels: usize) -> usize {
    (1..=GROUPS).rev().find(|groups| channels.is_multiple_of(*groups)).unwrap_or(1)
}

fn name_in_files(path: &str) -> String {
    format!("discriminator.{path}")
}

/// A discriminator and what moves it.
pub(super) struct Discriminator {
    config: DiscriminatorConfig,
    net: PatchNet,
    optimiser: AdamW,
    /// Steps of the run, and the learning rate of each.
    steps: usize,
    rates: OptimiserConfig,
    device: Device,
    /// What the step in hand has taught it, all of its parts so far.
    taught: Option<Gradients>,
}

/// What it says of a part of a step's pictures, each `[1]`.
pub(super) struct Verdict {
    /// What the tokenizer's loss grows by: how surely copies are told, times the weight.
    pub term: Tensor<1>,
    /// The same without the weight.
    pub generator: Tensor<1>,
    /// The discriminator's own loss, without its gradient.
    pub own: Tensor<1>,
}

impl Discriminator {
    /// One that has learned nothing.
    pub fn new(config: &DiscriminatorConfig, run: &RunConfig, device: &Device) -> Self {
        let seed = run.seed.wrapping_add(SEED);
        let net = PatchNet::new(config, &mut Initialiser::new(seed, &device.clone().autodiff()));
        // It has no use for averages.
        let moved = OptimiserConfig { lengths: Vec::new(), ..run.optimiser.clone() };
        Self {
            optimiser: AdamW::new(&net, name_in_files, moved.clone()),
            config: config.clone(),
            net,
            steps: run.steps,
            rates: moved,
            device: device.clone(),
            taught: None,
        }
    }

    /// What it says of copies, and learns from them, if `step` is one that it has part in.
    ///
    /// # Shapes
    /// - `images`, `made`: `[batch, 3, height, width]`, the part `part` of `whole` pictures
    pub fn judge(
        &mut self,
        step: usize,
        images: Tensor<4>,
        made: Tensor<4>,
        part: &Range<usize>,
        whole: usize,
    ) -> Option<Verdict> {
        if part.start == 0 {
            self.taught = None;
        }
        if step < self.config.start {
            return None;
        }
        let told = self.net.forward(images.detach());
        let [real, copied] = [told, self.net.forward(made.clone().detach())];
        let own = hinge(real, copied);
        let gradients = (own.clone() * (part.len() as f64 / whole as f64)).backward();
        match &mut self.taught {
            Some(sum) => add_gradients(&self.net, sum, gradients),
            none => *none = Some(gradients),
        }
        let generator = self.net.clone().no_grad().forward(made).mean().neg();
        let term = generator.clone() * self.config.weight;
        Some(Verdict { term, generator, own: own.detach() })
    }

    /// Moves it by what step `step` has taught it.
    pub fn learn(&mut self, step: usize) {
        let Some(gradients) = self.taught.take() else { return };
        let rate = self.rates.learning_rate_at(step, self.steps);
        (self.net, _) = self.optimiser.step(self.net.clone(), gradients, rate);
    }

    /// All that decides how it goes on.
    pub fn state(&self) -> Vec<NamedTensor> {
        let updates = self.optimiser.updates() as f32;
        let made = NamedTensor { name: UPDATES.to_owned(), shape: vec![1], values: vec![updates] };
        let mut tensors = params::collect(&self.net, name_in_files);
        tensors.extend(self.optimiser.state());
        tensors.push(made);
        tensors
    }

    /// Takes back what [`Discriminator::state`] gave; where a checkpoint is of a run without one, it begins now.
    ///
    /// # Errors
    /// A tensor is missing or of another shape.
    pub fn restore(&mut self, file: &TensorFile) -> Result<(), TrainError> {
        if !file.contains(UPDATES) {
            tracing::info!("the checkpoint is of a run without a discriminator: it begins now");
            return Ok(());
        }
        let read = |name: &str, shape: &[usize]| file.floats_of_shape(name, shape);
        let device = self.device.clone().autodiff();
        self.net = params::load(self.net.clone(), name_in_files, &device, read)?;
        let updates = read(UPDATES, &[1])?.first().copied().unwrap_or(0.0);
        self.optimiser.restore(updates as usize, &self.device, read)?;
        Ok(())
    }
}

/// `(mean max(0, 1 - real) + mean max(0, 1 + copied)) / 2`
fn hinge(real: Tensor<4>, copied: Tensor<4>) -> Tensor<1> {
    (relu(real.neg() + 1.0).mean() + relu(copied + 1.0).mean()) * 0.5
}

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;

    use super::*;
    use crate::readback::floats;

    /// Numbers that `scripts/discriminator_numbers.py` makes in the same way.
    fn sines(count: usize, seed: f64, scale: f64, shift: f64) -> Vec<f32> {
        let number = |i: usize| (shift + scale * (0.7 * i as f64 + seed).sin()) as f32;
        (0..count).map(number).collect()
    }

    fn pictures(seed: f64, scale: f64, device: &Device) -> Tensor<4> {
        let shape = [2, 3, 32, 32];
        let values = sines(shape.iter().product(), seed, scale, 0.0);
        Tensor::from_data(TensorData::new(values, shape), device)
    }

    fn discriminator(device: &Device) -> Discriminator {
        let text = include_str!("../../assets/recipe/tokenizer.toml");
        let run: RunConfig = toml::from_str(text).unwrap();
        let config =
            DiscriminatorConfig { channels: 4, start: 2, ..DiscriminatorConfig::default() };
        let mut made = Discriminator::new(&config, &run, device);
        let names: Vec<String> = params::collect(&made.net, name_in_files)
            .into_iter()
            .map(|tensor| tensor.name)
            .collect();
        let net = made.net.clone();
        let source = |name: &str, shape: &[usize]| -> Result<Vec<f32>, TrainError> {
            let seed = names.iter().position(|known| known == name).unwrap();
            let shift = if name.ends_with("norm.weight") { 1.0 } else { 0.0 };
            Ok(sines(shape.iter().product(), seed as f64, 0.3, shift))
        };
        made.net = params::load(net, name_in_files, &device.clone().autodiff(), source).unwrap();
        made
    }

    fn near(what: &str, found: &[f32], expected: &[f64]) {
        assert_eq!(found.len(), expected.len(), "{what}");
        let largest = expected.iter().fold(0.0f64, |most, value| most.max(value.abs()));
        for (found, expected) in found.iter().zip(expected) {
            assert!(
                (f64::from(*found) - expected).abs() < 1e-4 * largest,
                "{what}: {found} {expected}"
            );
        }
    }

    #[test]
    fn verdicts_losses_and_gradients_are_those_of_pytorch() {
        let device = Device::flex();
        let mut critic = discriminator(&device);
        let tracked = device.clone().autodiff();
        let images = pictures(100.0, 1.0, &tracked);
        near("verdict", &floats(critic.net.forward(images.clone()).inner()), &VERDICT);
        let made = pictures(101.0, 0.8, &tracked).require_grad();
        assert!(critic.judge(1, images.clone(), made.clone(), &(0..2), 2).is_none(), "too early");
        let found = critic.judge(2, images.clone(), made.clone(), &(0..2), 2).unwrap();
        near("own loss", &floats(found.own.inner()), &[OWN]);
        let norm = AdamW::gradient_norm(&critic.net, critic.taught.as_ref().unwrap());
        assert!((norm - OWN_GRADIENT).abs() < 1e-4 * OWN_GRADIENT, "{norm}");
        near("generator", &floats(found.generator.clone().inner()), &[GENERATOR]);
        let gradients = found.term.backward();
        let gradient: Vec<f32> =
            floats(made.grad(&gradients).unwrap()).into_iter().map(|g| 2.0 * g).collect();
        near("generator's gradient", &gradient[..4], &GENERATOR_GRADIENT);
        let length = gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
        assert!((length - GENERATOR_LENGTH).abs() < 1e-4, "{length}");

        // In parts it is taught the same, and nothing of a step that was begun anew.
        for part in [0..1, 0..1, 1..2] {
            let of = |all: &Tensor<4>| all.clone().narrow(0, part.start, 1);
            critic.judge(2, of(&images), of(&made), &part, 2).unwrap();
        }
        let parts = AdamW::gradient_norm(&critic.net, critic.taught.as_ref().unwrap());
        assert!((parts - norm).abs() < 1e-4 * norm, "{parts} and {norm}");
    }

    #[test]
    fn it_learns_to_tell_copies() {
        let device = Device::flex();
        let mut critic = discriminator(&device);
        let (images, made) = (pictures(100.0, 1.0, &device), pictures(101.0, 0.8, &device));
        let mut own = |step: usize| {
            let moved = |x: &Tensor<4>| x.clone().autodiff();
            let found = critic.judge(step, moved(&images), moved(&made), &(0..2), 2).unwrap();
            critic.learn(step);
            floats(found.own.inner())[0]
        };
        let first = own(2);
        let last = (3..60).map(&mut own).last().unwrap();
        assert!(last < 0.5 * first, "{first} to {last}");
    }

    const VERDICT: [f64; 8] = [
        0.658128704423,
        0.641673731387,
        -0.841143347614,
        -1.023946500532,
        -0.222693572446,
        -1.209930187069,
        -0.623718928272,
        0.442291679122,
    ];
    const OWN: f64 = 0.9484561866218953;
    const OWN_GRADIENT: f64 = 3.164405592985527;
    const GENERATOR: f64 = 0.37550492938156693;
    const GENERATOR_GRADIENT: [f64; 4] =
        [-0.011627890714899615, -0.022207512578858314, -0.029228313206883804, -0.04251886677895608];
    const GENERATOR_LENGTH: f64 = 0.5046478690075098;
}
