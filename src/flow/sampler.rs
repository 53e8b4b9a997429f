//! Carrying noise to data, one record a step.

use std::time::Instant;

use thiserror::Error;

use super::predictor::Predictor;
use super::record::{LatentShape, Latents, StepRecord};
use super::settings::{SampleSettings, SettingsError, guidance_evaluations};
use super::solver::{Crossing, Interval, Memory, Tolerances, cross, stochastic};
use crate::model::Model;
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
pub struct Sampler<'p, P = Model> {
    predictor: &'p P,
    settings: SampleSettings,
    times: Vec<f32>,
    state: Latents,
    memory: Memory,
    step: usize,
    evaluations: usize,
}

impl<'p, P: Predictor> Sampler<'p, P> {
    /// A run at its beginning: from `noise`, or from the noise that the seed gives.
    ///
    /// # Errors
    /// A setting out of range, or noise of another shape.
    pub fn new(
        predictor: &'p P,
        settings: SampleSettings,
        noise: Option<Latents>,
    ) -> Result<Self, SampleError> {
        settings.validate(predictor.classes())?;
        let shape = predictor.latent_shape(settings.labels.len());
        let state = noise.unwrap_or_else(|| seeded_noise(settings.seed, shape));
        if state.shape != shape || state.values.len() != shape.len() {
            return Err(SampleError::Noise { found: state.shape.dims(), expected: shape.dims() });
        }
        let times = settings.grid.points(settings.steps);
        let memory = Memory::default();
        Ok(Self { predictor, settings, times, state, memory, step: 0, evaluations: 0 })
    }

    /// The state reached so far: noise at first, data at the end.
    pub fn state(&self) -> &Latents {
        &self.state
    }

    /// The nearest code of every token of the state, `[batch, height, width]`.
    pub fn codes(&self) -> Vec<u32> {
        self.predictor.nearest_codes(&self.state)
    }
}

impl<P: Predictor> Iterator for Sampler<'_, P> {
    type Item = StepRecord;

    fn next(&mut self) -> Option<StepRecord> {
        let (t, t_next) = (*self.times.get(self.step)?, *self.times.get(self.step + 1)?);
        let begun = Instant::now();
        let Self { predictor, settings, state, .. } = self;
        let mut asked = 0;
        let mut believe = |x: &Latents, t: f32| {
            asked += 1;
            predictor.posterior(x, t, settings.temperature.at(t), settings)
        };
        let posterior = believe(state, t);
        let interval = Interval { t: f64::from(t), t_next: f64::from(t_next) };
        let crossing = if settings.eta > 0.0 {
            let noise = step_noise(settings.seed, self.step, state.shape);
            let eta = f64::from(settings.eta);
            Crossing::whole(stochastic(state, &posterior.mean, interval, eta, &noise))
        } else {
            let tolerances = Tolerances { absolute: settings.atol, relative: settings.rtol };
            cross(
                settings.solver,
                &mut self.memory,
                state,
                &posterior.mean,
                interval,
                tolerances,
                &mut |x, t| believe(x, t as f32).mean,
            )
        };
        self.evaluations += asked * guidance_evaluations(settings.guidance);
        let record = StepRecord {
            step: self.step,
            t,
            t_next,
            temperature: self.settings.temperature.at(t),
            x: std::mem::replace(&mut self.state, crossing.x.clone()),
            posterior,
            x_next: crossing.x,
            evaluations: self.evaluations,
            accepted: crossing.accepted,
            rejected: crossing.rejected,
            wall: begun.elapsed(),
        };
        self.step += 1;
        Some(record)
    }
}

/// Standard normal noise: image `i` draws from stream `i` of the seed, so that an image does not
/// change with the size of its batch.
pub fn seeded_noise(seed: u64, shape: LatentShape) -> Latents {
    let each = shape.channels * shape.tokens();
    let values =
        (0..shape.batch).flat_map(|image| Stream::new(seed, image as u64).normals(each)).collect();
    Latents { shape, values }
}

/// The noise of a stochastic step: image `i` draws from a stream of its own for every step.
fn step_noise(seed: u64, step: usize, shape: LatentShape) -> Latents {
    let each = shape.channels * shape.tokens();
    let stream = |image: usize| ((step as u64 + 1) << 32) + image as u64;
    let values =
        (0..shape.batch).flat_map(|image| Stream::new(seed, stream(image)).normals(each)).collect();
    Latents { shape, values }
}
