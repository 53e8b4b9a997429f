//! Carrying noise to data, one record a step. The reference's loop is [`sample_purrception`]; here the last
//! step lands on the prediction itself instead of dividing by `1 - t`.
//!
//! [`sample_purrception`]: https://github.com/razvanmatisan/purrception/blob/de66f961c057618baef02ef65a0183acedf7e1f7/utils/sample_utils.py#L402-L473

use std::time::Instant;

use thiserror::Error;

use super::masked;
use super::predictor::{CodePrediction, Constraints, Prediction, Predictor, token_of};
use super::record::{CodeStep, Posterior, StepRecord};
use super::settings::{SampleSettings, SettingsError};
use super::solver::{Crossing, Flow, Interval, Memory, Tolerances, cross, stochastic};
use crate::kernels::TokenMask;
use crate::latents::{LatentShape, Latents};
use crate::model::{Model, Objective};
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
    /// Noise was given to a run that does not begin with noise.
    #[error("a run of the dfm objective begins with masked codes, not with noise")]
    NoNoise,
    /// The state to go on from does not fit the model and the labels.
    #[error("the state to go on from does not fit the model or the settings")]
    Start,
}

/// Where a run stands.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// A point of the space of latents; for `dfm` the codes looked up, 0 where masked.
    pub x: Latents,
    /// For `dfm` the codes, `[batch, height, width]`, the number of codes where masked.
    pub codes: Option<Vec<u32>>,
}

/// A run of the solver: an iterator over its steps. Drop it to stop.
#[derive(Debug)]
pub struct Sampler<'p, P = Model> {
    predictor: &'p P,
    settings: SampleSettings,
    constraints: Constraints,
    held: Held,
    /// The stream of the seed that the first image draws from.
    first: usize,
    times: Vec<f32>,
    state: State,
    memory: Memory,
    step: usize,
    evaluations: usize,
}

impl<'p, P: Predictor> Sampler<'p, P> {
    /// A run at its beginning: from `noise`, or from the noise that the seed gives. A run that goes
    /// on from another one takes that one's steps first.
    ///
    /// # Errors
    /// A setting out of range, or noise of another shape.
    pub fn new(
        predictor: &'p P,
        settings: SampleSettings,
        noise: Option<Latents>,
    ) -> Result<Self, SampleError> {
        Self::from_image(predictor, settings, 0, noise)
    }

    /// As [`Sampler::new`], for a part of a run: image `i` draws from stream `first + i` of the seed,
    /// and so becomes what image `first + i` of the whole run does, unless something
    /// [ties](SampleSettings::ties) the images of the run to one another. `noise` is that of the part.
    ///
    /// # Errors
    /// As [`Sampler::new`].
    pub fn from_image(
        predictor: &'p P,
        settings: SampleSettings,
        first: usize,
        noise: Option<Latents>,
    ) -> Result<Self, SampleError> {
        settings.validate(&predictor.domain())?;
        if let Some(branch) = &settings.branch {
            let mut parent = Self::from_image(predictor, branch.parent.clone(), first, noise)?;
            parent.by_ref().take(branch.step).for_each(drop);
            let state = parent.state;
            return Self::from_state(predictor, settings, state)
                .map(|sampler| Self { first, ..sampler });
        }
        let shape = predictor.latent_shape(settings.labels.len());
        let state = if predictor.domain().objective == Objective::Dfm {
            if noise.is_some() {
                return Err(SampleError::NoNoise);
            }
            let masked = predictor.domain().codes as u32;
            let codes = vec![masked; shape.batch * shape.tokens()];
            State { x: predictor.look_up(&codes, shape.batch), codes: Some(codes) }
        } else {
            let x = noise.unwrap_or_else(|| noise_from(settings.seed, first, shape));
            if x.shape != shape || x.values.len() != shape.len() {
                return Err(SampleError::Noise { found: x.shape.dims(), expected: shape.dims() });
            }
            State { x, codes: None }
        };
        Ok(Self { first, ..Self::begin(predictor, settings, state) })
    }

    /// A run that goes on from `state`, which the steps of `settings.branch` have led to.
    ///
    /// # Errors
    /// A setting out of range, no branch, or a state of another shape.
    pub fn from_state(
        predictor: &'p P,
        settings: SampleSettings,
        state: State,
    ) -> Result<Self, SampleError> {
        settings.validate(&predictor.domain())?;
        let shape = predictor.latent_shape(settings.labels.len());
        let masks = predictor.domain().objective == Objective::Dfm;
        let fits = state.x.shape == shape
            && state.x.values.len() == shape.len()
            && state.codes.is_some() == masks
            && state.codes.as_ref().is_none_or(|c| c.len() == shape.batch * shape.tokens());
        if settings.branch.is_none() || !fits {
            return Err(SampleError::Start);
        }
        Ok(Self::begin(predictor, settings, state))
    }

    fn begin(predictor: &'p P, settings: SampleSettings, mut state: State) -> Self {
        let times = settings.times();
        if let Some(codes) = &mut state.codes {
            for pin in &settings.pins {
                codes[token_of(pin, state.x.shape)] = pin.code;
            }
            state.x = predictor.look_up(codes, state.x.shape.batch);
        }
        Self {
            predictor,
            constraints: predictor.constraints(&settings),
            held: Held::new(predictor, &settings, state.x.shape),
            settings,
            first: 0,
            times,
            state,
            memory: Memory::default(),
            step: 0,
            evaluations: 0,
        }
    }

    /// The state reached so far: noise at first, data at the end.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Grid points of the run, rising to exactly 1.
    pub fn times(&self) -> &[f32] {
        &self.times
    }

    /// The code of every token of the state, `[batch, height, width]`: the nearest one that it may become, or for `dfm`
    /// the state itself, with its masked tokens at the number of codes before the end.
    pub fn codes(&self) -> Vec<u32> {
        if let Some(codes) = &self.state.codes {
            return codes.clone();
        }
        let mut codes = self.predictor.nearest_codes(&self.state.x);
        if let Some(mask) = self.constraints.mask() {
            self.keep_allowed(mask, &mut codes);
        }
        codes
    }

    /// A mean of codes that are allowed may lie nearest to one that is not: then the nearest that is takes its place.
    fn keep_allowed(&self, mask: &TokenMask, codes: &mut [u32]) {
        let wrong = |token: &usize| !mask.allows(*token, codes[*token] as usize);
        let wrong: Vec<usize> = (0..codes.len()).filter(wrong).collect();
        if wrong.is_empty() {
            return;
        }
        let (x, number) = (&self.state.x, self.predictor.domain().codes);
        let LatentShape { channels, .. } = x.shape;
        let tokens = x.shape.tokens();
        // The codebook, as grids of as many codes as a picture has tokens.
        let all = (0..number.next_multiple_of(tokens)).map(|code| code.min(number - 1) as u32);
        let all: Vec<u32> = all.collect();
        let rows = self.predictor.look_up(&all, all.len() / tokens);
        let of = |latents: &Latents, at: usize, channel: usize| {
            latents.values[(at / tokens * channels + channel) * tokens + at % tokens]
        };
        for token in wrong {
            let distance = |code: usize| -> f32 {
                (0..channels).map(|c| (of(x, token, c) - of(&rows, code, c)).powi(2)).sum()
            };
            let allowed = (0..number).filter(|code| mask.allows(token, *code));
            let nearest = allowed.min_by(|a, b| distance(*a).total_cmp(&distance(*b)));
            codes[token] = nearest.map_or(codes[token], |code| code as u32);
        }
    }

    /// The interval `t` to `t_next`, for objectives whose states are latents.
    fn step_latents(&mut self, t: f32, t_next: f32) -> StepRecord {
        let Self { predictor, settings, constraints, held, memory, state, .. } = self;
        let (field, shape) = (predictor.field(), state.x.shape);
        let (Prediction { output, posterior, temperature }, mut likeliest) =
            predictor.predict_likeliest(&state.x, t, settings, constraints);
        held.put_codes(&mut likeliest);
        let mut asked = settings.evaluations_at(t);
        let interval = Interval { t: f64::from(t), t_next: f64::from(t_next) };
        let mut prediction = field.endpoint(&state.x, &output, interval.t);
        held.put(&mut prediction, None);
        let mut crossing = if settings.eta > 0.0 {
            let noise = step_noise(settings, self.step, self.first, shape);
            let eta = f64::from(settings.eta);
            Crossing::whole(stochastic(&state.x, &prediction, interval, eta, &noise))
        } else {
            let tolerances = Tolerances { absolute: settings.atol, relative: settings.rtol };
            let mut predict = |x: &Latents, t: f64| {
                asked += settings.evaluations_at(t as f32);
                predictor.predict_under(x, t as f32, settings, constraints).output
            };
            let mut flow = Flow { field, predict: &mut predict };
            cross(settings.solver, memory, &state.x, &output, interval, tolerances, &mut flow)
        };
        held.put(&mut crossing.x, Some((&state.x, interval)));
        self.evaluations += asked;
        StepRecord {
            step: self.step,
            t,
            t_next,
            temperature,
            x: std::mem::replace(&mut state.x, crossing.x.clone()),
            prediction,
            likeliest,
            posterior,
            x_next: crossing.x,
            codes: None,
            evaluations: self.evaluations,
            accepted: crossing.accepted,
            rejected: crossing.rejected,
            wall: Default::default(),
        }
    }

    /// The interval `t` to `t_next` for `dfm`, from `before`.
    fn step_codes(&mut self, before: Vec<u32>, t: f32, t_next: f32) -> StepRecord {
        let Self { predictor, settings, constraints, state, .. } = self;
        let (masked, batch) = (predictor.domain().codes as u32, state.x.shape.batch);
        let pinned: Vec<usize> =
            settings.pins.iter().map(|pin| token_of(pin, state.x.shape)).collect();
        let rates = masked::Rates::new(f64::from(t), f64::from(t_next), f64::from(settings.eta));
        let changes = (0..batch).flat_map(|image| {
            let stream = step_stream(settings, self.step, self.first + image);
            let mut stream = Stream::new(settings.seed, stream);
            (0..state.x.shape.tokens())
                .map(move |_| (stream.uniform(), stream.uniform()))
                .collect::<Vec<_>>()
        });
        let masked::Plan { draws, hide } = rates.plan(&before, masked, &pinned, changes);
        let CodePrediction { posterior, mut mean, temperature, drawn } =
            predictor.predict_codes(&before, t, settings, constraints, &draws);
        let mut after = before.clone();
        draws.iter().zip(drawn).for_each(|(draw, code)| after[draw.token] = code);
        hide.iter().for_each(|token| after[*token] = masked);
        self.evaluations += settings.evaluations_at(t);
        let likeliest = stand_as_revealed(&posterior, &mut mean, &before, &state.x, masked);
        let x_next = predictor.look_up(&after, batch);
        state.codes = Some(after.clone());
        StepRecord {
            step: self.step,
            t,
            t_next,
            temperature,
            x: std::mem::replace(&mut state.x, x_next.clone()),
            prediction: mean,
            likeliest,
            posterior: Some(posterior),
            x_next,
            codes: Some(CodeStep { before, after }),
            evaluations: self.evaluations,
            accepted: 1,
            rejected: 0,
            wall: Default::default(),
        }
    }
}

/// Puts revealed codes into what is expected, `mean`, as they are; gives the most likely codes.
fn stand_as_revealed(
    posterior: &Posterior,
    mean: &mut Latents,
    codes: &[u32],
    x: &Latents,
    masked: u32,
) -> Vec<u32> {
    let mut likeliest = posterior.best_codes();
    let tokens = x.shape.tokens();
    for (token, code) in codes.iter().enumerate().filter(|(_, code)| **code != masked) {
        likeliest[token] = *code;
        for channel in 0..mean.shape.channels {
            let at = (token / tokens * mean.shape.channels + channel) * tokens + token % tokens;
            mean.values[at] = x.values[at];
        }
    }
    likeliest
}

/// What the network says of the state at the beginning of a step when it is asked under other
/// settings: temperature, guidance, pins and bans. The state, and where the step led, are kept.
///
/// # Errors
/// A setting out of range, or another number of images.
pub fn rethink<P: Predictor>(
    predictor: &P,
    record: &StepRecord,
    settings: &SampleSettings,
) -> Result<StepRecord, SampleError> {
    let domain = predictor.domain();
    settings.validate(&domain)?;
    if settings.labels.len() != record.x.shape.batch {
        return Err(SampleError::Start);
    }
    let mut record = record.clone();
    let constraints = predictor.constraints(settings);
    if let Some(CodeStep { before, .. }) = &record.codes {
        let CodePrediction { posterior, mut mean, temperature, .. } =
            predictor.predict_codes(before, record.t, settings, &constraints, &[]);
        let masked = domain.codes as u32;
        record.likeliest = stand_as_revealed(&posterior, &mut mean, before, &record.x, masked);
        (record.prediction, record.temperature) = (mean, temperature);
        record.posterior = Some(posterior);
        return Ok(record);
    }
    let (Prediction { output, posterior, temperature }, likeliest) =
        predictor.predict_likeliest(&record.x, record.t, settings, &constraints);
    record.prediction = predictor.field().endpoint(&record.x, &output, f64::from(record.t));
    record.likeliest = likeliest;
    let held = Held::new(predictor, settings, record.x.shape);
    held.put(&mut record.prediction, None);
    held.put_codes(&mut record.likeliest);
    (record.posterior, record.temperature) = (posterior, temperature);
    Ok(record)
}

impl<P: Predictor> Iterator for Sampler<'_, P> {
    type Item = StepRecord;

    fn next(&mut self) -> Option<StepRecord> {
        let (t, t_next) = (*self.times.get(self.step)?, *self.times.get(self.step + 1)?);
        let begun = Instant::now();
        let mut record = match self.state.codes.clone() {
            Some(codes) => self.step_codes(codes, t, t_next),
            None => self.step_latents(t, t_next),
        };
        record.wall = begun.elapsed();
        self.step += 1;
        Some(record)
    }
}

/// Tokens that are held to a code, and where that code lies.
#[derive(Debug)]
struct Held {
    /// The tokens, and their codes.
    codes: Vec<(usize, u32)>,
    /// Indices of the numbers of held tokens, with their values at the data end.
    numbers: Vec<(usize, f32)>,
}

impl Held {
    fn new<P: Predictor>(predictor: &P, settings: &SampleSettings, shape: LatentShape) -> Self {
        if settings.pins.is_empty() {
            return Self { codes: Vec::new(), numbers: Vec::new() };
        }
        let tokens = shape.tokens();
        let pins = || settings.pins.iter().map(|pin| (token_of(pin, shape), pin.code));
        let mut codes = vec![0; shape.batch * tokens];
        pins().for_each(|(token, code)| codes[token] = code);
        let rows = predictor.look_up(&codes, shape.batch);
        let numbers = pins()
            .flat_map(|(token, _)| {
                let first = token / tokens * shape.channels * tokens + token % tokens;
                (0..shape.channels).map(move |channel| first + channel * tokens)
            })
            .map(|at| (at, rows.values[at]))
            .collect();
        Self { codes: pins().collect(), numbers }
    }

    /// Puts the codes of held tokens in their places.
    fn put_codes(&self, codes: &mut [u32]) {
        self.codes.iter().for_each(|(token, code)| codes[*token] = *code);
    }

    /// Puts held tokens on their codes or, where a crossing is given, on the straight line to them.
    fn put(&self, x: &mut Latents, crossing: Option<(&Latents, Interval)>) {
        for (at, code) in &self.numbers {
            x.values[*at] = match crossing {
                None => *code,
                Some((before, Interval { t, t_next })) => {
                    let kept = (1.0 - t_next) / (1.0 - t);
                    let (x, code) = (f64::from(before.values[*at]), f64::from(*code));
                    (kept * x + (1.0 - kept) * code) as f32
                }
            };
        }
    }
}

/// Standard normal noise: image `i` draws from stream `i` of the seed, so that an image does not
/// change with the size of its batch.
pub fn seeded_noise(seed: u64, shape: LatentShape) -> Latents {
    noise_from(seed, 0, shape)
}

/// As [`seeded_noise`], of the images from `first` on.
fn noise_from(seed: u64, first: usize, shape: LatentShape) -> Latents {
    let each = shape.channels * shape.tokens();
    let values = (first..first + shape.batch)
        .flat_map(|image| Stream::new(seed, image as u64).normals(each))
        .collect();
    Latents { shape, values }
}

/// The stream of an image in a step: one of its own for every step of every generation of branches.
fn step_stream(settings: &SampleSettings, step: usize, image: usize) -> u64 {
    let step = (settings.generation() * (SampleSettings::MAX_STEPS + 1) + step) as u64;
    ((step + 1) << 32) + image as u64
}

/// The noise of a stochastic step.
fn step_noise(settings: &SampleSettings, step: usize, first: usize, shape: LatentShape) -> Latents {
    let each = shape.channels * shape.tokens();
    let values = (first..first + shape.batch)
        .flat_map(|image| {
            Stream::new(settings.seed, step_stream(settings, step, image)).normals(each)
        })
        .collect();
    Latents { shape, values }
}
