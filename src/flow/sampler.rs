//! Carrying noise to data, one record a step.

use std::time::Instant;

use burn::tensor::Tensor;
use thiserror::Error;

use super::record::{LatentShape, Latents, Posterior, StepRecord};
use super::settings::{SampleSettings, SettingsError, Solver, guidance_evaluations};
use crate::kernels::{Expectation, categorical_expectation};
use crate::model::{Model, params};
use crate::rng::Stream;

/// A run that cannot begin.
#[derive(Debug, Error)]
pub enum SampleError {
    /// A setting is out of range.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The noise given does not fit the model and the labels.
    #[error("the noise is {found:?}, expected {expected:?}")]
    Noise {
        /// Shape of the noise given.
        found: [usize; 4],
        /// Shape that the run needs.
        expected: [usize; 4],
    },
}

/// A run of the solver: an iterator over its steps. Drop it to stop.
#[derive(Debug)]
pub struct Sampler<'m> {
    model: &'m Model,
    settings: SampleSettings,
    times: Vec<f32>,
    state: Latents,
    step: usize,
    evaluations: usize,
}

impl<'m> Sampler<'m> {
    /// A run at its beginning: from `noise`, or from the noise that the seed gives.
    ///
    /// # Errors
    /// A setting out of range, or noise of another shape.
    pub fn new(
        model: &'m Model,
        settings: SampleSettings,
        noise: Option<Latents>,
    ) -> Result<Self, SampleError> {
        settings.validate(model.card.backbone.num_classes)?;
        let shape = model.latent_shape(settings.labels.len());
        let state = noise.unwrap_or_else(|| seeded_noise(settings.seed, shape));
        if state.shape != shape || state.values.len() != shape.len() {
            return Err(SampleError::Noise { found: state.shape.dims(), expected: shape.dims() });
        }
        let times = settings.grid.points(settings.steps);
        Ok(Self { model, settings, times, state, step: 0, evaluations: 0 })
    }

    /// The state reached so far: noise at first, data at the end.
    pub fn state(&self) -> &Latents {
        &self.state
    }

    /// The nearest code of every token of the state, `[batch, height, width]`.
    pub fn codes(&self) -> Vec<u32> {
        self.model.nearest_codes(&self.state)
    }

    fn posterior(&mut self, t: f32, temperature: f32) -> Posterior {
        let SampleSettings { labels, guidance, .. } = &self.settings;
        let x = self.model.upload(&self.state);
        let logits = self.model.logits(x, t, labels, *guidance);
        self.evaluations += guidance_evaluations(*guidance);
        posterior(logits, temperature, self.model.codebook(), self.state.shape)
    }
}

impl Iterator for Sampler<'_> {
    type Item = StepRecord;

    fn next(&mut self) -> Option<StepRecord> {
        let (t, t_next) = (*self.times.get(self.step)?, *self.times.get(self.step + 1)?);
        let begun = Instant::now();
        let temperature = self.settings.temperature.at(t);
        let posterior = self.posterior(t, temperature);
        let x_next = match self.settings.solver {
            Solver::Euler => exponential_euler(&self.state, &posterior.mean, t, t_next),
        };
        let record = StepRecord {
            step: self.step,
            t,
            t_next,
            temperature,
            x: std::mem::replace(&mut self.state, x_next.clone()),
            posterior,
            x_next,
            evaluations: self.evaluations,
            wall: begun.elapsed(),
        };
        self.step += 1;
        Some(record)
    }
}

/// `x' = mu + (1-t')/(1-t) (x - mu)`, the exact solution of `dx/dt = (mu - x)/(1-t)` for a constant
/// `mu`; at `t' = 1` it is `mu` itself.
pub fn exponential_euler(x: &Latents, mu: &Latents, t: f32, t_next: f32) -> Latents {
    let kept = ((1.0 - f64::from(t_next)) / (1.0 - f64::from(t))) as f32;
    let values = x.values.iter().zip(&mu.values).map(|(x, mu)| mu + kept * (x - mu)).collect();
    Latents { shape: x.shape, values }
}

/// Standard normal noise: image `i` draws from stream `i` of the seed, so that an image does not
/// change with the size of its batch.
pub fn seeded_noise(seed: u64, shape: LatentShape) -> Latents {
    let each = shape.channels * shape.tokens();
    let values =
        (0..shape.batch).flat_map(|image| Stream::new(seed, image as u64).normals(each)).collect();
    Latents { shape, values }
}

/// Reads the belief about every token to the host.
///
/// # Shapes
/// - `logits`: `[batch, height * width, codes]`
/// - `codebook`: `[codes, channels]`
fn posterior(
    logits: Tensor<3>,
    temperature: f32,
    codebook: &Tensor<2>,
    shape: LatentShape,
) -> Posterior {
    let [batch, tokens, codes] = logits.dims();
    let top = Posterior::TOP.min(codes);
    let flat = logits.reshape([batch * tokens, codes]);
    let Expectation { mean, entropy, log_z, top_probs, top_codes } =
        categorical_expectation(flat, temperature, codebook.clone(), top);
    let mean = mean.reshape([batch, tokens, shape.channels]).swap_dims(1, 2);
    let top_probs = top_probs.reshape([batch, tokens, top]).swap_dims(1, 2);
    let top_codes = top_codes.reshape([batch, tokens, top]).swap_dims(1, 2);
    Posterior {
        mean: Latents { shape, values: params::host(mean) },
        entropy: params::host(entropy),
        log_z: params::host(log_z),
        top,
        top_codes: top_codes.into_data_as::<i64>().iter::<i64>().map(|code| code as u32).collect(),
        top_probs: params::host(top_probs),
    }
}
