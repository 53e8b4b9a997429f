//! What a sampler asks of whatever it samples from.

use super::record::Posterior;
use super::settings::{Domain, SampleSettings, Spot, Temperature, Warmth};
use super::solver::Field;
use crate::kernels::TokenMask;
use crate::latents::{LatentShape, Latents};
use crate::model::head::{Features, HostBeliefs, Reading};
use crate::model::{Model, Objective, params};

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
        let features = self.features(self.upload(x), t, &settings.labels, settings.guidance_at(t));
        if self.card.objective.has_posterior() {
            let belief = Belief::new(self, settings, x.shape);
            let (posterior, mean, temperature) = belief.read(&features, t);
            return Prediction { output: mean, posterior: Some(posterior), temperature };
        }
        let output = self.head.output(features);
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
        let features = self.features_of_codes(codes, t, &settings.labels, settings.guidance_at(t));
        // The last channel stands for [MSK], which no token ends on: it is not among the codebook's.
        let belief = Belief::new(self, settings, shape);
        let (posterior, mean, temperature) = belief.read(&features, t);
        let drawn = belief.draw(&features, temperature, draws);
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
    model: &'a Model,
    settings: &'a SampleSettings,
    shape: LatentShape,
    mask: Option<TokenMask>,
}

impl<'a> Belief<'a> {
    fn new(model: &'a Model, settings: &'a SampleSettings, shape: LatentShape) -> Self {
        let mask = token_mask(settings, shape, model.card.tokenizer.codes);
        Self { model, settings, shape, mask }
    }

    fn reading(&self) -> Reading<'_> {
        Reading {
            codebook: self.model.codebook(),
            top: Posterior::TOP.min(self.model.card.tokenizer.codes),
            mask: self.mask.as_ref(),
            budget: self.model.logits_budget,
        }
    }

    /// Posterior, its mean, and the temperature that it was taken at.
    fn read(&self, features: &Features, t: f32) -> (Posterior, Latents, f32) {
        let reading = self.reading();
        let mut expect = self.model.head.beliefs(features, reading);
        let temperature = match self.settings.temperature.warmth(t) {
            Warmth::Fixed(temperature) => temperature,
            Warmth::MeanEntropy(target) => {
                temperature_for(f64::from(target), |tau| mean(&expect(tau).entropy))
            }
        };
        let HostBeliefs { mean, entropy, log_z, top_probs, top_codes } = expect(temperature);
        let (batch, channels) = (self.shape.batch, self.shape.channels);
        let posterior = Posterior {
            shape: self.shape,
            entropy,
            log_z,
            top: reading.top,
            top_codes: swapped(&top_codes, batch, reading.top),
            top_probs: swapped(&top_probs, batch, reading.top),
        };
        let mean = Latents { shape: self.shape, values: swapped(&mean, batch, channels) };
        (posterior, mean, temperature)
    }

    /// Codes drawn from `softmax(logits / tau)`, one a draw.
    fn draw(&self, features: &Features, temperature: f32, draws: &[Draw]) -> Vec<u32> {
        let tau = f64::from(temperature.max(Temperature::FLOOR));
        let tokens: Vec<usize> = draws.iter().map(|draw| draw.token).collect();
        let mut drawn = vec![0; draws.len()];
        self.model.head.rows(features, &tokens, &self.reading(), |i, logits| {
            if let Some(mask) = &self.mask {
                mask.forbid(tokens[i], logits);
            }
            drawn[i] = draw_code(logits, tau, draws[i].uniform);
        });
        drawn
    }
}

/// `[batch, tokens, width]` to `[batch, width, tokens]`
fn swapped<T: Copy>(values: &[T], batch: usize, width: usize) -> Vec<T> {
    let tokens = values.len() / (batch * width).max(1);
    let at = |image: usize, i: usize| move |token: usize| (image * tokens + token) * width + i;
    (0..batch)
        .flat_map(|image| (0..width).map(move |i| at(image, i)))
        .flat_map(|at| (0..tokens).map(move |token| values[at(token)]))
        .collect()
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
pub(super) fn temperature_for(target: f64, mut entropy_at: impl FnMut(f32) -> f64) -> f32 {
    const HALVINGS: usize = 14;
    let (mut low, mut high) = (0.01f64.ln(), 100.0f64.ln());
    for _ in 0..HALVINGS {
        let middle = (low + high) / 2.0;
        if entropy_at(middle.exp() as f32) < target { low = middle } else { high = middle }
    }
    ((low + high) / 2.0).exp() as f32
}
