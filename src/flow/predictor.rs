//! What a sampler asks of whatever it samples from.

use burn::tensor::{Int, Tensor};

use super::record::{LatentShape, Latents, Posterior};
use super::settings::{Domain, SampleSettings};
use super::solver::Field;
use super::spot::Spot;
use super::temperature::{Temperature, Warmth};
use crate::kernels::{Expectation, TokenMask, categorical_expectation_guided};
use crate::model::{Guided, Model, Objective, params};

/// What a network says of a state.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// The end of the path, or its velocity: see [`Predictor::field`].
    pub output: Latents,
    /// The belief about every token, where the objective has one.
    pub posterior: Option<Posterior>,
    /// Temperature at which the posterior was taken.
    pub temperature: f32,
}

/// What a network of the `dfm` objective says of a grid of codes.
#[derive(Debug, Clone, PartialEq)]
pub struct CodePrediction {
    /// The belief about every token.
    pub posterior: Posterior,
    /// Mean of the codebook under the belief.
    pub mean: Latents,
    /// Temperature at which the posterior was taken.
    pub temperature: f32,
    /// A code for every draw that was asked for, in order.
    pub drawn: Vec<u32>,
}

/// A token to draw a code for, and the number that decides which.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Draw {
    /// Index in `[batch, height, width]`.
    pub token: usize,
    /// From `[0, 1)`: the code is the first at which the cumulated probability exceeds it.
    pub uniform: f64,
}

/// A belief about every token at any state and time: a trained network, or the exact posterior.
pub trait Predictor {
    /// What settings must agree with.
    fn domain(&self) -> Domain;

    /// Extent of the latents of `batch` images.
    fn latent_shape(&self, batch: usize) -> LatentShape;

    /// What the output of [`Predictor::predict`] is.
    fn field(&self) -> Field {
        match self.domain().objective {
            Objective::Cfm => Field::Velocity,
            _ => Field::Endpoint,
        }
    }

    /// The prediction at state `x` and time `t`, for the labels, guidance, temperature, pins and bans
    /// of `settings`.
    fn predict(&self, x: &Latents, t: f32, settings: &SampleSettings) -> Prediction;

    /// The prediction for a grid of codes, some of them masked (equal to the number of codes), and
    /// codes drawn from it; asked of predictors of the `dfm` objective only.
    fn predict_codes(
        &self,
        codes: &[u32],
        t: f32,
        settings: &SampleSettings,
        draws: &[Draw],
    ) -> CodePrediction;

    /// The nearest code of every token, `[batch, height, width]`.
    fn nearest_codes(&self, x: &Latents) -> Vec<u32>;

    /// The rows of the codebook at `codes`, `[batch, height, width]`; 0 for a masked token.
    fn look_up(&self, codes: &[u32], batch: usize) -> Latents;
}

impl Predictor for Model {
    fn domain(&self) -> Domain {
        Domain::of(&self.card)
    }

    fn latent_shape(&self, batch: usize) -> LatentShape {
        Self::latent_shape(self, batch)
    }

    fn predict(&self, x: &Latents, t: f32, settings: &SampleSettings) -> Prediction {
        let output = self.output(self.upload(x), t, &settings.labels, settings.guidance);
        if self.card.objective.has_posterior() {
            let belief = Belief { settings, codes: self.card.tokenizer.codes, shape: x.shape };
            let (posterior, mean, temperature) = belief.read(output, t, self.codebook());
            return Prediction { output: mean, posterior: Some(posterior), temperature };
        }
        let values = params::host(output.mixed().swap_dims(1, 2));
        let output = Latents { shape: x.shape, values };
        let temperature = settings.temperature.at(t);
        Prediction { output, posterior: None, temperature }
    }

    fn predict_codes(
        &self,
        codes: &[u32],
        t: f32,
        settings: &SampleSettings,
        draws: &[Draw],
    ) -> CodePrediction {
        let shape = Self::latent_shape(self, settings.labels.len());
        let output = self.output_of_codes(codes, t, &settings.labels, settings.guidance);
        let known = self.card.tokenizer.codes;
        // The last channel stands for [MSK], which no token ends on.
        let output = output.map(|logits| logits.narrow(2, 0, known));
        let logits = output.clone().mixed().reshape([shape.batch * shape.tokens(), known]);
        let belief = Belief { settings, codes: known, shape };
        let (posterior, mean, temperature) = belief.read(output, t, self.codebook());
        let drawn = belief.draw(logits, temperature, draws);
        CodePrediction { posterior, mean, temperature, drawn }
    }

    fn nearest_codes(&self, x: &Latents) -> Vec<u32> {
        Self::nearest_codes(self, x)
    }

    fn look_up(&self, codes: &[u32], batch: usize) -> Latents {
        Self::look_up(self, codes, batch)
    }
}

/// Reading logits as a belief, under what the settings forbid and fix.
struct Belief<'a> {
    settings: &'a SampleSettings,
    codes: usize,
    shape: LatentShape,
}

impl Belief<'_> {
    /// Posterior, its mean, and the temperature that it was taken at.
    ///
    /// # Shapes
    /// - `logits`: `[batch, height * width, codes]`
    /// - `codebook`: `[codes, channels]`
    fn read(&self, logits: Guided, t: f32, codebook: &Tensor<2>) -> (Posterior, Latents, f32) {
        let LatentShape { batch, channels, .. } = self.shape;
        let (tokens, codes) = (self.shape.tokens(), self.codes);
        let top = Posterior::TOP.min(codes);
        let flat = |logits: Tensor<3>| logits.reshape([batch * tokens, codes]);
        let guidance = logits.unconditional.map(|(u, scale)| (flat(u), scale));
        let logits = flat(logits.conditional);
        let mask = token_mask(self.settings, self.shape, codes);
        let expect = |tau: f32| {
            let (logits, guidance) = (logits.clone(), guidance.clone());
            categorical_expectation_guided(
                logits,
                guidance,
                tau,
                codebook.clone(),
                top,
                mask.as_ref(),
            )
        };
        let temperature = match self.settings.temperature.warmth(t) {
            Warmth::Fixed(temperature) => temperature,
            Warmth::MeanEntropy(target) => {
                temperature_for(f64::from(target), |tau| mean(&params::host(expect(tau).entropy)))
            }
        };
        let Expectation { mean, entropy, log_z, top_probs, top_codes } = expect(temperature);
        let mean = mean.reshape([batch, tokens, channels]).swap_dims(1, 2);
        let top_probs = top_probs.reshape([batch, tokens, top]).swap_dims(1, 2);
        let top_codes = top_codes.reshape([batch, tokens, top]).swap_dims(1, 2);
        let top_codes = top_codes.into_data_as::<i64>();
        let posterior = Posterior {
            shape: self.shape,
            entropy: params::host(entropy),
            log_z: params::host(log_z),
            top,
            top_codes: top_codes.iter::<i64>().map(|code| code as u32).collect(),
            top_probs: params::host(top_probs),
        };
        let mean = Latents { shape: self.shape, values: params::host(mean) };
        (posterior, mean, temperature)
    }

    /// Codes drawn from `softmax(logits / tau)`, one a draw.
    fn draw(&self, logits: Tensor<2>, temperature: f32, draws: &[Draw]) -> Vec<u32> {
        if draws.is_empty() {
            return Vec::new();
        }
        let rows: Vec<i64> = draws.iter().map(|draw| draw.token as i64).collect();
        let rows = Tensor::<1, Int>::from_data(rows.as_slice(), &logits.device());
        let mut logits = params::host(logits.select(0, rows));
        let mask = token_mask(self.settings, self.shape, self.codes);
        let tau = f64::from(temperature.max(Temperature::FLOOR));
        draws
            .iter()
            .zip(logits.chunks_exact_mut(self.codes))
            .map(|(draw, logits)| {
                if let Some(mask) = &mask {
                    mask.forbid(draw.token, logits);
                }
                draw_code(logits, tau, draw.uniform)
            })
            .collect()
    }
}

/// What the settings forbid and fix; nothing where they do neither.
pub(super) fn token_mask(
    settings: &SampleSettings,
    shape: LatentShape,
    codes: usize,
) -> Option<TokenMask> {
    let SampleSettings { pins, bans, banned_codes, .. } = settings;
    if pins.is_empty() && bans.is_empty() && banned_codes.is_empty() {
        return None;
    }
    let mut mask = TokenMask::new(shape.batch * shape.tokens(), codes);
    banned_codes.iter().for_each(|code| mask.ban_everywhere(*code));
    bans.iter().for_each(|ban| mask.ban(token_of(ban, shape), ban.code));
    pins.iter().for_each(|pin| mask.pin(token_of(pin, shape), pin.code));
    Some(mask)
}

/// The first code at which the cumulated softmax exceeds `uniform`.
pub(super) fn draw_code(logits: &[f32], tau: f64, uniform: f64) -> u32 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weight = |logit: &f32| ((f64::from(*logit) - f64::from(largest)) / tau).exp();
    let wanted = uniform * logits.iter().map(weight).sum::<f64>();
    let mut sum = 0.0;
    let mut last = 0;
    for (code, logit) in logits.iter().enumerate() {
        let weight = weight(logit);
        sum += weight;
        if weight > 0.0 {
            last = code;
            if sum > wanted {
                break;
            }
        }
    }
    last as u32
}

/// Index of a spot's token in `[batch, height, width]`.
pub(super) fn token_of(spot: &Spot, shape: LatentShape) -> usize {
    (spot.image * shape.height + spot.row) * shape.width + spot.column
}

fn mean(values: &[f32]) -> f64 {
    values.iter().map(|value| f64::from(*value)).sum::<f64>() / values.len().max(1) as f64
}

/// The temperature at which `entropy_at`, which rises with it, is `target`: bisection on its
/// logarithm between 0.01 and 100, to one part in a thousand.
pub(super) fn temperature_for(target: f64, entropy_at: impl Fn(f32) -> f64) -> f32 {
    const HALVINGS: usize = 14;
    let (mut low, mut high) = (0.01f64.ln(), 100.0f64.ln());
    for _ in 0..HALVINGS {
        let middle = (low + high) / 2.0;
        if entropy_at(middle.exp() as f32) < target { low = middle } else { high = middle }
    }
    ((low + high) / 2.0).exp() as f32
}
