//! What a sampler asks of whatever it samples from.

use burn::tensor::{Device, Tensor};

use super::entropy_target::temperature_for;
use super::record::Posterior;
use super::settings::{Domain, SampleSettings, Spot, Temperature, Warmth};
use super::solver::Field;
use crate::kernels::TokenMask;
use crate::latents::{LatentShape, Latents};
use crate::model::head::{Features, HostBeliefs, Reading};
use crate::model::mask::RunMask;
use crate::model::{Model, Objective};
use crate::readback::{self, Together};

/// Temperatures that a GPU is asked of at once in the search for an entropy: half the waits of bisection,
/// for half as many evaluations again.
const TEMPERATURES_AT_ONCE: usize = 3;

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

/// What the settings of a run forbid and fix, worked out once for all of its steps.
#[derive(Debug)]
pub struct Constraints {
    mask: Option<RunMask>,
}

impl Constraints {
    /// Of settings, for tokens that may become so many codes.
    pub fn new(settings: &SampleSettings, shape: LatentShape, codes: usize) -> Self {
        Self { mask: token_mask(settings, shape, codes).map(RunMask::new) }
    }

    /// Does work of a model on a batch under them, in smaller parts where its device has no room.
    fn within_room<T>(&self, model: &Model, batch: usize, mut work: impl FnMut() -> T) -> T {
        let mut again = false;
        model.within_room(batch, || {
            if std::mem::replace(&mut again, true)
                && let Some(mask) = &self.mask
            {
                mask.forget();
            }
            work()
        })
    }

    /// What every token may not become; nothing where all may become everything.
    pub fn mask(&self) -> Option<&TokenMask> {
        self.mask.as_ref().map(RunMask::whole)
    }
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

    /// What the pins and bans of settings amount to.
    fn constraints(&self, settings: &SampleSettings) -> Constraints {
        let shape = self.latent_shape(settings.labels.len());
        Constraints::new(settings, shape, self.domain().codes)
    }

    /// The prediction at state `x` and time `t`, for the labels, guidance, temperature, pins and bans
    /// of `settings`.
    fn predict(&self, x: &Latents, t: f32, settings: &SampleSettings) -> Prediction {
        self.predict_under(x, t, settings, &self.constraints(settings))
    }

    /// As [`Predictor::predict`], where the [constraints](Predictor::constraints) of the settings are
    /// at hand.
    fn predict_under(
        &self,
        x: &Latents,
        t: f32,
        settings: &SampleSettings,
        constraints: &Constraints,
    ) -> Prediction;

    /// As [`Predictor::predict_under`], with the code of every token, `[batch, height, width]`: the
    /// likeliest of the posterior or, without one, the nearest to where the path is expected to end.
    fn predict_likeliest(
        &self,
        x: &Latents,
        t: f32,
        settings: &SampleSettings,
        constraints: &Constraints,
    ) -> (Prediction, Vec<u32>) {
        let prediction = self.predict_under(x, t, settings, constraints);
        let likeliest = match &prediction.posterior {
            Some(posterior) => posterior.best_codes(),
            None => self.nearest_codes(&self.field().endpoint(x, &prediction.output, f64::from(t))),
        };
        (prediction, likeliest)
    }

    /// The prediction for a grid of codes, some of them masked (equal to the number of codes), and
    /// codes drawn from it; asked of predictors of the `dfm` objective only.
    fn predict_codes(
        &self,
        codes: &[u32],
        t: f32,
        settings: &SampleSettings,
        constraints: &Constraints,
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

    fn predict_under(
        &self,
        x: &Latents,
        t: f32,
        settings: &SampleSettings,
        constraints: &Constraints,
    ) -> Prediction {
        constraints.within_room(self, x.shape.batch, || {
            if !self.card.objective.has_posterior() {
                let values = readback::floats(self.path_output(self.upload(x), t, settings));
                return without_posterior(values, x.shape, t, settings);
            }
            let features =
                self.features(self.upload(x), t, &settings.labels, settings.guidance_at(t));
            let belief = Belief { model: self, settings, shape: x.shape, constraints };
            let CodePrediction { posterior, mean, temperature, .. } =
                belief.read(&features, t, &[]);
            Prediction { output: mean, posterior: Some(posterior), temperature }
        })
    }

    fn predict_likeliest(
        &self,
        x: &Latents,
        t: f32,
        settings: &SampleSettings,
        constraints: &Constraints,
    ) -> (Prediction, Vec<u32>) {
        if self.card.objective.has_posterior() {
            let prediction = self.predict_under(x, t, settings, constraints);
            let likeliest = prediction.posterior.as_ref().map(Posterior::best_codes);
            return (prediction, likeliest.unwrap_or_default());
        }
        constraints.within_room(self, x.shape.batch, || {
            let placed = self.upload(x);
            let output = self.path_output(placed.clone(), t, settings);
            let field = output.clone().reshape(x.shape.dims());
            let end = match self.field() {
                Field::Endpoint => field,
                Field::Velocity => placed + field * (1.0 - t),
            };
            let codes = self.nearest_on_device(end);
            let mut read = Together::default().with(output).with(codes).read();
            (without_posterior(read.floats(), x.shape, t, settings), read.codes())
        })
    }

    fn predict_codes(
        &self,
        codes: &[u32],
        t: f32,
        settings: &SampleSettings,
        constraints: &Constraints,
        draws: &[Draw],
    ) -> CodePrediction {
        let shape = Self::latent_shape(self, settings.labels.len());
        constraints.within_room(self, shape.batch, || {
            let features =
                self.features_of_codes(codes, t, &settings.labels, settings.guidance_at(t));
            // The last channel stands for [MSK], which no token ends on: it is not among the codebook's.
            Belief { model: self, settings, shape, constraints }.read(&features, t, draws)
        })
    }

    fn nearest_codes(&self, x: &Latents) -> Vec<u32> {
        Self::nearest_codes(self, x)
    }

    fn look_up(&self, codes: &[u32], batch: usize) -> Latents {
        Self::look_up(self, codes, batch)
    }
}

impl Model {
    /// The network's output at a state, with guidance, `[batch, code_size, tokens]`.
    fn path_output(&self, x: Tensor<4>, t: f32, settings: &SampleSettings) -> Tensor<3> {
        self.output(x, t, &settings.labels, settings.guidance_at(t)).mixed().swap_dims(1, 2)
    }
}

/// What a network without a posterior says.
fn without_posterior(
    values: Vec<f32>,
    shape: LatentShape,
    t: f32,
    settings: &SampleSettings,
) -> Prediction {
    let output = Latents { shape, values };
    Prediction { output, posterior: None, temperature: settings.temperature.at(t) }
}

/// Reading logits as a belief, under what the settings forbid and fix.
struct Belief<'a> {
    model: &'a Model,
    settings: &'a SampleSettings,
    shape: LatentShape,
    constraints: &'a Constraints,
}

impl Belief<'_> {
    fn reading(&self) -> Reading<'_> {
        Reading {
            codebook: self.model.codebook(),
            top: Posterior::TOP.min(self.model.card.tokenizer.codes),
            mask: self.constraints.mask.as_ref(),
            budget: self.model.logits_at_once(),
        }
    }

    /// Posterior, its mean, the temperature that it was taken at, and a code for every draw.
    fn read(&self, features: &Features, t: f32, draws: &[Draw]) -> CodePrediction {
        let reading = self.reading();
        let beliefs = self.model.head.beliefs(features, reading);
        let temperature = match self.settings.temperature.warmth(t) {
            Warmth::Fixed(temperature) => temperature,
            Warmth::MeanEntropy(target) => {
                let on_cpu = *self.model.device() == Device::flex();
                let at_once = if on_cpu { 1 } else { TEMPERATURES_AT_ONCE };
                temperature_for(f64::from(target), at_once, |taus| beliefs.mean_entropies(taus))
            }
        };
        let tau = f64::from(temperature.max(Temperature::FLOOR));
        let tokens: Vec<usize> = draws.iter().map(|draw| draw.token).collect();
        let mut drawn = vec![0; draws.len()];
        let HostBeliefs { mean, entropy, log_z, top_probs, top_codes } =
            beliefs.at_with_rows(temperature, &tokens, |i, logits| {
                if let Some(mask) = self.constraints.mask() {
                    mask.forbid(tokens[i], logits);
                }
                drawn[i] = draw_code(logits, tau, draws[i].uniform);
            });
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
        CodePrediction { posterior, mean, temperature, drawn }
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
fn token_mask(settings: &SampleSettings, shape: LatentShape, codes: usize) -> Option<TokenMask> {
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
