//! The file that describes a training run.

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::discriminator::DiscriminatorConfig;
use super::judging::EvaluationConfig;
use super::perceptual::PerceptualConfig;
use super::times::{TimeSampling, TimeWeights};
use crate::data::{Augment, Background, Balance, Classes, Duplicates};
use crate::flow::{SampleSettings, Temperature};
use crate::io::tensors::Precision;
use crate::model::card::{DitConfig, TokenizerConfig};
use crate::model::{Objective, check_dit};

/// A run file that cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// The run file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// No text that TOML could be written in.
    #[error("{path}: {found}, expected a run file (TOML, as UTF-8 text)")]
    NotText {
        /// The run file.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// Not TOML, or with unknown or missing entries.
    #[error("{path}, line {line}: {reason}")]
    Toml {
        /// The run file.
        path: PathBuf,
        /// Where, counted from 1.
        line: usize,
        /// What the parser said.
        reason: String,
    },
    /// An entry of the command line.
    #[error("--set {given}: {reason}")]
    Override {
        /// What was given.
        given: String,
        /// Why it cannot be.
        reason: String,
    },
    /// An entry outside its range.
    #[error("{path}: {reason}")]
    Invalid {
        /// The run file.
        path: PathBuf,
        /// Which entry, and why not.
        reason: String,
    },
}

/// A training run: `purrscope --train RUN.toml`. Paths are relative to the working folder.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// Folder for checkpoints, metrics, samples and the finished model.
    pub out: PathBuf,
    /// Folder of pictures, one sub-folder a class; for a flow also latents in WebDataset shards: a
    /// folder of tars, a tar, or many in braces (`latents-{000000..000007}.tar`).
    pub data: PathBuf,
    /// Held-out pictures or latents of the same kind, for figures that training cannot have learned.
    #[serde(default)]
    pub holdout: Option<PathBuf>,
    /// Where there is no `holdout`: the share of the pictures in `data` that is held out, chosen by what each of
    /// them holds.
    #[serde(default)]
    pub holdout_share: f64,
    /// What the classes of pictures are. A table is looked for in the working folder, then in `data`.
    #[serde(default)]
    pub classes: Classes,
    /// How often the pictures of a class are seen.
    #[serde(default)]
    pub balance: Balance,
    /// What becomes of pictures that are there twice.
    #[serde(default)]
    pub duplicates: Duplicates,
    /// What pictures are laid on where they are transparent.
    #[serde(default)]
    pub background: Background,
    /// How pictures are varied when they are seen, those that are held out excepted.
    #[serde(default)]
    pub augment: Augment,
    /// Side of the pictures in pixels.
    pub image_size: usize,
    /// Seed of everything random in the run.
    #[serde(default)]
    pub seed: u64,
    /// Pictures a step.
    pub batch: usize,
    /// Pictures of a step that are computed at once; gradients are added up over them, so that a step needs less
    /// memory and comes to the same. All of them, if it is not given.
    #[serde(default)]
    pub at_once: Option<usize>,
    /// Steps of the whole run.
    pub steps: usize,
    /// Steps between checkpoints.
    #[serde(default = "defaults::checkpoint_every")]
    pub checkpoint_every: usize,
    /// Checkpoints that are kept besides the newest, to go on from where that is damaged.
    #[serde(default = "defaults::keep_checkpoints")]
    pub keep_checkpoints: usize,
    /// Steps between models that are kept under their number; none, if it is not given.
    #[serde(default)]
    pub keep_models_every: Option<usize>,
    /// Steps between sample sheets.
    #[serde(default = "defaults::sample_every")]
    pub sample_every: usize,
    /// Steps between comparisons of a flow's samples with held-out pictures, which take a while; none, if it is not given.
    #[serde(default)]
    pub evaluate_every: Option<usize>,
    /// The optimiser.
    #[serde(default)]
    pub optimiser: OptimiserConfig,
    /// What is trained.
    pub task: Task,
}

mod defaults {
    pub fn checkpoint_every() -> usize {
        200
    }

    pub fn keep_checkpoints() -> usize {
        1
    }

    pub fn sample_every() -> usize {
        500
    }
}

impl RunConfig {
    /// Pictures of a step that are computed at once.
    pub fn at_once(&self) -> usize {
        self.at_once.unwrap_or(self.batch)
    }
}

/// What moves the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimiserKind {
    /// AdamW, all of them.
    #[default]
    AdamW,
    /// Muon, the matrices within a flow's blocks; AdamW, the rest.
    Muon,
}

/// How the learning rate falls at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decay {
    /// Half a cosine wave.
    #[default]
    Cosine,
    /// A straight line.
    Linear,
}

/// AdamW with a warm-up, a constant stretch and a decay; [the reference's values] by default.
///
/// [the reference's values]: https://github.com/razvanmatisan/purrception/blob/de66f961c057618baef02ef65a0183acedf7e1f7/main.py#L102-L115
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimiserConfig {
    /// What moves the weights.
    pub kind: OptimiserKind,
    /// Learning rate of the constant stretch.
    pub learning_rate: f64,
    /// Decay of the means of gradients and of their squares.
    pub betas: (f64, f64),
    /// Added to the root of the mean square.
    pub epsilon: f64,
    /// Decoupled weight decay, on all parameters.
    pub weight_decay: f64,
    /// Largest norm of the whole gradient.
    pub clip: f64,
    /// Steps over which the learning rate rises from 0.
    pub warmup_steps: usize,
    /// Share of the run, at its end, over which the learning rate falls to 0: 0 for a constant rate, 1 for a fall from
    /// the beginning.
    pub decay_share: f64,
    /// How it falls.
    pub decay: Decay,
    /// Largest decay of the moving average of the weights.
    pub ema: f64,
    /// Lengths of averages over a power of the time that are kept besides, of which `purrscope average` makes one of any
    /// length afterwards: the standard deviation over the steps, relative to their number. Snapshots of them go into
    /// `averages` in the run's folder with every checkpoint.
    pub lengths: Vec<f64>,
}

impl Default for OptimiserConfig {
    fn default() -> Self {
        Self {
            kind: OptimiserKind::default(),
            learning_rate: 1e-4,
            betas: (0.9, 0.999),
            epsilon: 1e-8,
            weight_decay: 0.01,
            clip: 1.0,
            warmup_steps: 0,
            decay_share: 0.0,
            decay: Decay::default(),
            ema: 0.9999,
            lengths: Vec::new(),
        }
    }
}

impl OptimiserConfig {
    /// Learning rate of step `step`, from 0, of a run of `steps`.
    pub fn learning_rate_at(&self, step: usize, steps: usize) -> f64 {
        let warm = ((step + 1) as f64 / self.warmup_steps.max(1) as f64).min(1.0);
        let decay_from = steps as f64 * (1.0 - self.decay_share);
        let into_decay = (step as f64 - decay_from) / (steps as f64 - decay_from).max(1.0);
        let into_decay = into_decay.clamp(0.0, 1.0);
        let left = match self.decay {
            Decay::Cosine => (1.0 + (std::f64::consts::PI * into_decay).cos()) / 2.0,
            Decay::Linear => 1.0 - into_decay,
        };
        self.learning_rate * warm * left
    }

    /// Decay of the moving average at update `update`, from 1: `min(ema, (1 + n)/(10 + n))`.
    pub fn ema_at(&self, update: usize) -> f64 {
        let n = update as f64;
        self.ema.min((1.0 + n) / (10.0 + n))
    }
}

/// What a run trains.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Task {
    /// The autoencoder between pictures and codes.
    Tokenizer(TokenizerTask),
    /// The network, on the codes of a trained tokenizer.
    Flow(FlowTask),
    /// Both, from where a trained model left them.
    Joint(JointTask),
}

/// Training of a tokenizer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TokenizerTask {
    /// Shape of the autoencoder.
    pub model: TokenizerConfig,
    /// A finished tokenizer of that shape that it begins with, as its `tokenizer.safetensors`.
    #[serde(default)]
    pub from: Option<PathBuf>,
    /// Whether only the decoder learns, so that pictures keep their codes: a flow on these codes stays what it is.
    #[serde(default)]
    pub decoder_only: bool,
    /// Weight of the absolute difference of pixels.
    #[serde(default = "one")]
    pub l1: f64,
    /// Weight of the squared difference of pixels.
    #[serde(default = "one")]
    pub l2: f64,
    /// Weight of the absolute difference of horizontal and vertical gradients.
    #[serde(default = "one")]
    pub edges: f64,
    /// Weight of pulling codes to latents.
    #[serde(default = "one")]
    pub codebook: f64,
    /// Weight of pulling latents to codes.
    #[serde(default = "commitment")]
    pub commitment: f64,
    /// Steps after which codes that nothing chose are moved onto latents.
    #[serde(default = "revive_every")]
    pub revive_every: usize,
    /// How the decoder's gradient gets past the choice of a code.
    #[serde(default)]
    pub gradient: CodeGradient,
    /// Whether the finished tokenizer has the moving average of the weights, and not the last ones.
    #[serde(default)]
    pub averaged: bool,
    /// A term for how different copies look to a network of photographs.
    #[serde(default)]
    pub perceptual: Option<PerceptualConfig>,
    /// A discriminator of patches that learns beside it.
    #[serde(default)]
    pub discriminator: Option<DiscriminatorConfig>,
}

impl TokenizerTask {
    /// What its loss is made of.
    pub fn losses(&self) -> TokenizerLosses {
        let Self { l1, l2, edges, codebook, commitment, gradient, .. } = *self;
        match self.decoder_only {
            // Nothing is pulled, and nothing gets past the codes.
            true => TokenizerLosses {
                l1,
                l2,
                edges,
                codebook: 0.0,
                commitment: 0.0,
                gradient: CodeGradient::Stopped,
            },
            false => TokenizerLosses { l1, l2, edges, codebook, commitment, gradient },
        }
    }
}

/// What the loss of a tokenizer is made of.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenizerLosses {
    /// Weight of the absolute difference of pixels.
    pub l1: f64,
    /// Weight of the squared difference of pixels.
    pub l2: f64,
    /// Weight of the absolute difference of horizontal and vertical gradients.
    pub edges: f64,
    /// Weight of pulling codes to latents.
    pub codebook: f64,
    /// Weight of pulling latents to codes.
    pub commitment: f64,
    /// How the decoder's gradient gets past the choice of a code.
    pub gradient: CodeGradient,
}

impl Default for TokenizerLosses {
    fn default() -> Self {
        Self {
            l1: one(),
            l2: one(),
            edges: one(),
            codebook: one(),
            commitment: commitment(),
            gradient: CodeGradient::default(),
        }
    }
}

impl TokenizerLosses {
    /// Whether anything of it moves the encoder.
    pub fn reach_encoder(&self) -> bool {
        self.commitment != 0.0 || self.gradient != CodeGradient::Stopped
    }

    /// Its weights, with their names.
    pub fn weights(&self) -> [(&'static str, f64); 5] {
        [
            ("l1", self.l1),
            ("l2", self.l2),
            ("edges", self.edges),
            ("codebook", self.codebook),
            ("commitment", self.commitment),
        ]
    }
}

/// What a latent's gradient is, where the decoder sees its code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CodeGradient {
    /// That of the code.
    #[default]
    StraightThrough,
    /// That of the code, turned and stretched as the latent lies to it (Fifty et al. 2024).
    Rotation,
    /// None: the encoder hears nothing of the decoder.
    Stopped,
}

fn one() -> f64 {
    1.0
}

fn commitment() -> f64 {
    0.25
}

fn revive_every() -> usize {
    50
}

/// Training of a flow.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FlowTask {
    /// A finished tokenizer run, as its `tokenizer.safetensors`, or a model that has it.
    #[serde(default)]
    pub tokenizer: Option<PathBuf>,
    /// Instead of a tokenizer: a trained model that the flow goes on from, as its file or the folder of its run. Its tokenizer
    /// and its sizes stay; classes are taken over by their names.
    #[serde(default)]
    pub from: Option<PathBuf>,
    /// Name of the model.
    pub name: String,
    /// Credits of the pictures, kept in the model file.
    #[serde(default)]
    pub credits: String,
    /// What the network predicts, and the loss that it learns it by.
    #[serde(default)]
    pub objective: Objective,
    /// Sizes of the backbone, where it does not go on from a model.
    #[serde(default)]
    pub backbone: Option<BackboneSizes>,
    /// Probability of replacing a label by 'no label'.
    #[serde(default = "label_dropout")]
    pub label_dropout: f64,
    /// Names of the classes, where the pictures come in shards, which have numbers only.
    #[serde(default)]
    pub class_names: Vec<String>,
    /// Pictures held to be shuffled, where they are streamed from shards.
    #[serde(default = "shuffle_buffer")]
    pub shuffle_buffer: usize,
    /// Weight of the z-loss.
    #[serde(default = "lambda_z")]
    pub lambda_z: f64,
    /// Smallest time; times lie from here to 1.
    #[serde(default = "smallest_time")]
    pub smallest_time: f64,
    /// How times are drawn.
    #[serde(default)]
    pub times: TimeSampling,
    /// What pictures count for, where times are not drawn evenly.
    #[serde(default)]
    pub time_weights: TimeWeights,
    /// How the model file stores its numbers.
    #[serde(default)]
    pub precision: Precision,
    /// Whether a step computes with copies of the large weights in half precision; the weights
    /// themselves, optimiser and averages stay in f32. Needs a GPU with 16-bit floats.
    #[serde(default)]
    pub mixed_precision: bool,
    /// Steps of the solver, temperature and guidance of the sample sheets.
    #[serde(default)]
    pub samples: SheetSettings,
    /// How samples are compared with held-out pictures, where `evaluate_every` asks for it. They are made as those of the
    /// sheets are.
    #[serde(default)]
    pub evaluation: EvaluationConfig,
}

/// Training of a finished model's flow and tokenizer together.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JointTask {
    /// The model that both begin from: its file, or the folder of its run.
    pub model: PathBuf,
    /// Name of the model that is made.
    pub name: String,
    /// Credits of the pictures, kept in the model file.
    #[serde(default)]
    pub credits: String,
    /// Share of the gradient of the flow's loss that reaches the codes and, past them, the encoder. At 0 the tokenizer hears
    /// of pictures alone, and the flow follows it.
    #[serde(default)]
    pub flow_gradient: f64,
    /// Weight of the tokenizer's own loss.
    #[serde(default = "one")]
    pub tokenizer_weight: f64,
    /// What that is made of.
    #[serde(default)]
    pub losses: TokenizerLosses,
    /// Probability of replacing a label by 'no label'.
    #[serde(default = "label_dropout")]
    pub label_dropout: f64,
    /// Weight of the z-loss.
    #[serde(default = "lambda_z")]
    pub lambda_z: f64,
    /// Smallest time; times lie from here to 1.
    #[serde(default = "smallest_time")]
    pub smallest_time: f64,
    /// How times are drawn.
    #[serde(default)]
    pub times: TimeSampling,
    /// What pictures count for, where times are not drawn evenly.
    #[serde(default)]
    pub time_weights: TimeWeights,
    /// How the model file stores its numbers.
    #[serde(default)]
    pub precision: Precision,
    /// Steps of the solver, temperature and guidance of the sample sheets.
    #[serde(default)]
    pub samples: SheetSettings,
    /// How samples are compared with held-out pictures, where `evaluate_every` asks for it.
    #[serde(default)]
    pub evaluation: EvaluationConfig,
}

fn label_dropout() -> f64 {
    0.1
}

fn shuffle_buffer() -> usize {
    1000
}

fn lambda_z() -> f64 {
    1e-5
}

fn smallest_time() -> f64 {
    0.001
}

/// Sizes of a backbone that its tokenizer and pictures leave open.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackboneSizes {
    /// Side of a patch, in tokens.
    pub patch_size: usize,
    /// Width of the transformer.
    pub hidden_size: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Attention heads of a block.
    pub num_heads: usize,
}

impl BackboneSizes {
    /// The whole backbone for pictures of `image_size` pixels and `classes` classes.
    ///
    /// # Errors
    /// The sizes do not fit each other, in words.
    pub fn complete(
        &self,
        objective: Objective,
        tokenizer: &TokenizerConfig,
        image_size: usize,
        classes: usize,
    ) -> Result<DitConfig, String> {
        let config = DitConfig {
            input_size: tokenizer.grid(image_size)?,
            patch_size: self.patch_size,
            in_channels: objective.in_channels(tokenizer.code_size),
            hidden_size: self.hidden_size,
            depth: self.depth,
            num_heads: self.num_heads,
            mlp_ratio: 4.0,
            num_classes: classes,
            out_channels: objective.out_channels(tokenizer.codes, tokenizer.code_size),
            embeds_codes: objective == Objective::Dfm,
        };
        check_dit(&config)?;
        Ok(config)
    }
}

/// How sample sheets are drawn.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SheetSettings {
    /// Intervals of the solver.
    pub steps: usize,
    /// Temperature of the posterior.
    pub temperature: f32,
    /// Guidance scale.
    pub guidance: f32,
}

impl Default for SheetSettings {
    fn default() -> Self {
        Self { steps: 24, temperature: 0.9, guidance: 1.5 }
    }
}

impl SheetSettings {
    /// The settings of a sheet of the given classes.
    pub fn of(&self, labels: Vec<usize>, seed: u64) -> SampleSettings {
        SampleSettings {
            labels,
            seed,
            steps: self.steps,
            temperature: Temperature::Constant(self.temperature),
            guidance: self.guidance,
            ..SampleSettings::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn learning_rate_rises_stays_and_falls() {
        let config = OptimiserConfig {
            learning_rate: 1.0,
            warmup_steps: 10,
            decay_share: 0.5,
            ..OptimiserConfig::default()
        };
        let at = |step| config.learning_rate_at(step, 100);
        assert!((at(0) - 0.1).abs() < 1e-12);
        assert_eq!((at(10), at(49)), (1.0, 1.0));
        assert!((at(75) - 0.5).abs() < 1e-12);
        assert!(at(99) < 0.01);
        let linear = OptimiserConfig { decay: Decay::Linear, ..config };
        let at = |step| linear.learning_rate_at(step, 100);
        assert_eq!((at(49), at(75)), (1.0, 0.5));
        assert!((at(60) - 0.8).abs() < 1e-12);
    }

    #[test]
    fn the_moving_average_warms_up() {
        let config = OptimiserConfig::default();
        assert!((config.ema_at(1) - 2.0 / 11.0).abs() < 1e-12);
        assert_eq!(config.ema_at(1_000_000), 0.9999);
    }
}
