//! A stand-in for the model, for tests: quick, deterministic, and pictures worth looking at.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use image::{Rgb, RgbImage};

use crate::calibrate::{Belief, NAMED, TokenBelief};
use crate::flow::{
    Domain, LatentShape, Latents, Posterior, SampleSettings, Spot, State, StepRecord,
};
pub(crate) use crate::model::card::example as card;
use crate::model::{DitConfig, ModelCard, Objective, Precision};
use crate::rng::Stream;
use crate::studio::engine::pictures::Pictures;
use crate::studio::engine::{ModelInfo, ModelSource, PictureQuestion, Trajectory, Worker};

/// How long a test waits for something that comes at once, save on a machine that is busy with all
/// else.
pub const PATIENCE: Duration = Duration::from_secs(300);

const SIDE: usize = 16;
const CHANNELS: usize = 3;
const CODES: usize = 1024;
const PIXELS: u32 = 64;

/// Settings of `count` pictures of different classes in `steps` steps.
pub fn settings(count: usize, steps: usize) -> SampleSettings {
    SampleSettings { labels: (0..count).collect(), steps, ..SampleSettings::default() }
}

/// A worker whose latents are small pictures, and whose decoder enlarges them.
#[derive(Debug, Clone, Default)]
pub struct FakeWorker {
    /// The seed and the step at which it panics.
    pub panics_at: Option<(u64, usize)>,
    /// How long a step takes.
    pub pace: Duration,
    /// Where its steps wait, if they do.
    pub gate: Option<Gate>,
    /// What its models are trained for.
    pub objective: Objective,
}

/// Lets a gated worker's steps pass, a number at a time.
#[derive(Debug, Clone, Default)]
pub struct Gate(Arc<(Mutex<usize>, Condvar)>);

impl Gate {
    /// Lets `steps` more steps pass.
    pub fn let_pass(&self, steps: usize) {
        *self.0.0.lock().unwrap() += steps;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let mut left = self.0.0.lock().unwrap();
        while *left == 0 {
            left = self.0.1.wait(left).unwrap();
        }
        *left -= 1;
    }
}

impl FakeWorker {
    /// A worker that waits at a gate before every step.
    pub fn gated() -> (Gate, Self) {
        let gate = Gate::default();
        (gate.clone(), Self { gate: Some(gate), ..Self::default() })
    }
}

/// Colour of a place in a round, eyed thing on a pastel ground; `label` chooses the hues.
fn target(label: usize, row: usize, column: usize) -> [f32; 3] {
    let at = |i: usize| (i as f32 + 0.5) / SIDE as f32 * 2.0 - 1.0;
    let (x, y) = (at(column), at(row));
    let hue = label as f32 * 0.61;
    let tint = |offset: f32| 0.5 + 0.5 * (hue + offset).cos();
    let eye = ((x.abs() - 0.3).powi(2) + (y + 0.1).powi(2)).sqrt() < 0.16;
    let ear = y < -0.25 && (x.abs() - 0.42).abs() < 0.22 - (-0.25 - y).abs() * 0.35;
    let head = x * x + (y - 0.1) * (y - 0.1) < 0.45;
    if eye {
        [0.1, 0.1, 0.12]
    } else if head || ear {
        [0.35 + 0.5 * tint(0.0), 0.3 + 0.4 * tint(2.1), 0.25 + 0.4 * tint(4.2)]
    } else {
        [0.85 + 0.1 * tint(1.0), 0.83, 0.88]
    }
}

fn code_of(colour: [f32; 3]) -> u32 {
    let part = |value: f32, levels: f32| (value.clamp(0.0, 0.999) * levels) as u32;
    part(colour[0], 16.0) * 64 + part(colour[1], 8.0) * 8 + part(colour[2], 8.0)
}

fn colour_of(code: u32) -> [f32; 3] {
    let level = |value: u32, levels: f32| (value as f32 + 0.5) / levels;
    [level(code / 64 % 16, 16.0), level(code / 8 % 8, 8.0), level(code % 8, 8.0)]
}

fn pixel(colour: [f32; 3]) -> Rgb<u8> {
    Rgb(colour.map(|value| (value.clamp(0.0, 1.0) * 255.0).round() as u8))
}

impl Worker for FakeWorker {
    fn load(&mut self, source: &ModelSource) -> Result<ModelInfo, String> {
        match source {
            ModelSource::File(path) if path.to_string_lossy().contains("broken") => {
                Err(format!("{}: not a model file", path.display()))
            }
            _ => Ok(ModelInfo {
                card: ModelCard { objective: self.objective, ..card() },
                hash: "0123abcd".to_owned(),
                device: "cpu: 2 cores (the only GPU adapter is software)".to_owned(),
                precision: Precision::F32,
                source: source.clone(),
                codebook: (0..CODES as u32).flat_map(colour_of).collect(),
            }),
        }
    }

    fn begin(
        &self,
        settings: &SampleSettings,
        start: Option<State>,
    ) -> Result<Box<dyn Trajectory + '_>, String> {
        settings.validate(&domain()).map_err(|error| error.to_string())?;
        let shape = LatentShape {
            batch: settings.labels.len(),
            channels: CHANNELS,
            height: SIDE,
            width: SIDE,
        };
        let each = shape.channels * shape.tokens();
        let noise = || {
            (0..shape.batch)
                .flat_map(|image| Stream::new(settings.seed, image as u64).normals(each))
                .map(|value| 0.5 + 0.4 * value)
                .collect()
        };
        let x = start.map_or_else(|| Latents { shape, values: noise() }, |start| start.x);
        let times = settings.times();
        Ok(Box::new(FakeRun { worker: self, settings: settings.clone(), times, x, step: 0 }))
    }

    fn rethink(
        &self,
        record: &StepRecord,
        settings: &SampleSettings,
    ) -> Result<StepRecord, String> {
        let x = record.x.clone();
        let run = FakeRun { worker: self, settings: settings.clone(), times: vec![], x, step: 0 };
        let (posterior, prediction) = run.posterior(record.t);
        let (likeliest, posterior) = (posterior.best_codes(), Some(posterior));
        let temperature = settings.temperature.at(record.t);
        Ok(StepRecord { posterior, prediction, likeliest, temperature, ..record.clone() })
    }

    fn encode(&self, picture: &RgbImage) -> Result<Vec<u32>, String> {
        let side = SIDE as u32;
        let small = image::imageops::thumbnail(picture, side, side);
        Ok(small.pixels().map(|p| code_of(p.0.map(|value| f32::from(value) / 255.0))).collect())
    }

    fn believe(&self, about: &PictureQuestion) -> Result<Belief, String> {
        let t = about.question.grid()[about.time];
        let token = |(at, code): (usize, &u32)| {
            let doubt = (1.0 - t as f32) * (1.0 + (at % 7) as f32 / 3.0);
            let rank = if at % 5 == 0 { 11 } else { at % 3 };
            let mut likeliest: Vec<(u32, f32)> = (0..NAMED as u32)
                .map(|i| ((code + 1 + i) % CODES as u32, 0.4 / (1.0 + i as f32)))
                .collect();
            if let Some(place) = likeliest.get_mut(rank) {
                place.0 = *code;
            }
            Some(TokenBelief { surprise: doubt, rank, entropy: 0.8 * doubt, likeliest })
        };
        Ok(Belief { t, tokens: about.codes.iter().enumerate().map(token).collect() })
    }

    fn decode(&self, latents: &Latents) -> Pictures {
        let LatentShape { batch, channels, height, width } = latents.shape;
        let scale = PIXELS as usize / SIDE;
        (0..batch)
            .map(|image| {
                RgbImage::from_fn(PIXELS, PIXELS, |x, y| {
                    let (row, column) = (y as usize / scale, x as usize / scale);
                    pixel(std::array::from_fn(|channel| {
                        latents.values
                            [((image * channels + channel) * height + row) * width + column]
                    }))
                })
            })
            .collect::<Vec<_>>()
            .into()
    }

    fn decode_codes(&self, codes: &[u32], batch: usize) -> Pictures {
        let shape = LatentShape { batch, channels: CHANNELS, height: SIDE, width: SIDE };
        let mut values = vec![0.0; shape.len()];
        for (at, &code) in codes.iter().enumerate() {
            let (image, token) = (at / shape.tokens(), at % shape.tokens());
            for (channel, value) in colour_of(code).into_iter().enumerate() {
                values[(image * CHANNELS + channel) * shape.tokens() + token] = value;
            }
        }
        self.decode(&Latents { shape, values })
    }

    fn swatches(&self, codes: &[u32]) -> Vec<RgbImage> {
        codes.iter().map(|&code| RgbImage::from_pixel(16, 16, pixel(colour_of(code)))).collect()
    }
}

/// What settings must agree with.
fn domain() -> Domain {
    let DitConfig { num_classes, out_channels, input_size, .. } = card().backbone;
    let objective = Objective::Purrception;
    Domain {
        objective,
        classes: num_classes,
        codes: out_channels,
        height: input_size,
        width: input_size,
    }
}

struct FakeRun<'a> {
    worker: &'a FakeWorker,
    settings: SampleSettings,
    times: Vec<f32>,
    x: Latents,
    step: usize,
}

impl FakeRun<'_> {
    fn posterior(&self, t: f32) -> (Posterior, Latents) {
        let shape = self.x.shape;
        let LatentShape { batch, height, width, .. } = shape;
        let tokens = shape.tokens();
        let top = Posterior::TOP;
        let mut mean = vec![0.0; shape.len()];
        let mut entropy = vec![0.0; batch * tokens];
        let mut top_codes = vec![0; batch * top * tokens];
        let mut top_probs = vec![0.0; batch * top * tokens];
        let warmth = self.settings.temperature.at(t);
        for image in 0..batch {
            for token in 0..tokens {
                let (row, column) = (token / width, token % width);
                let aim = target(self.settings.labels[image], row, column);
                let edge = target(self.settings.labels[image], row, (column + 1) % width) != aim;
                let doubt = (1.0 - t).powf(if edge { 1.0 } else { 2.5 });
                let doubt = (doubt * warmth / 0.9).min(1.0);
                let held = self
                    .settings
                    .pins
                    .iter()
                    .find(|pin| (pin.image, pin.row, pin.column) == (image, row, column));
                let mut colour = [0.0; 3];
                for channel in 0..3 {
                    let at = ((image * 3 + channel) * height + row) * width + column;
                    let noise = self.x.values[at];
                    colour[channel] = aim[channel] + 0.6 * doubt * (noise - 0.5);
                    mean[at] = aim[channel] + 0.35 * doubt * (noise - aim[channel]);
                }
                entropy[image * tokens + token] = 6.2 * doubt + 0.05;
                let mut best = code_of(colour);
                if let Some(pin) = held {
                    best = pin.code;
                    entropy[image * tokens + token] = 0.0;
                }
                let banned = |code: u32| {
                    held.is_none()
                        && (self.settings.banned_codes.contains(&code)
                            || self.settings.bans.contains(&Spot { image, row, column, code }))
                };
                let candidates = (0..CODES as u32).map(|nth| (best + 7 * nth) % CODES as u32);
                let allowed: Vec<u32> =
                    candidates.filter(|code| !banned(*code)).take(top).collect();
                let place = |channel| ((image * 3 + channel) * height + row) * width + column;
                let ends_on = code_of(std::array::from_fn(|channel| mean[place(channel)]));
                if held.is_some() || banned(ends_on) {
                    for (channel, value) in colour_of(allowed[0]).into_iter().enumerate() {
                        mean[place(channel)] = value;
                    }
                }
                let mut left = 1.0;
                for (rank, code) in allowed.into_iter().enumerate() {
                    let at = (image * top + rank) * tokens + token;
                    let share = if held.is_some() { left } else { left * (1.0 - 0.85 * doubt) };
                    left -= share;
                    top_probs[at] = share;
                    top_codes[at] = code;
                }
            }
        }
        let log_z = vec![0.0; entropy.len()];
        let posterior = Posterior { shape, log_z, entropy, top, top_codes, top_probs };
        (posterior, Latents { shape, values: mean })
    }
}

impl Trajectory for FakeRun<'_> {
    fn advance(&mut self) -> Option<StepRecord> {
        let (t, t_next) = (*self.times.get(self.step)?, *self.times.get(self.step + 1)?);
        if let Some(gate) = &self.worker.gate {
            gate.pass();
        }
        std::thread::sleep(self.worker.pace);
        assert_ne!(self.worker.panics_at, Some((self.settings.seed, self.step)), "told to panic");
        let (posterior, prediction) = self.posterior(t);
        let kept = (1.0 - t_next) / (1.0 - t);
        let values = self.x.values.iter().zip(&prediction.values);
        let values = values.map(|(x, mu)| mu + kept * (x - mu)).collect();
        let x_next = Latents { shape: self.x.shape, values };
        let record = StepRecord {
            step: self.step,
            t,
            t_next,
            temperature: self.settings.temperature.at(t),
            x: std::mem::replace(&mut self.x, x_next.clone()),
            prediction,
            likeliest: posterior.best_codes(),
            posterior: self.worker.objective.has_posterior().then_some(posterior),
            x_next,
            codes: None,
            evaluations: 2 * (self.step + 1),
            accepted: 1,
            rejected: 0,
            wall: Duration::from_millis(48),
        };
        self.step += 1;
        Some(record)
    }

    fn codes(&self) -> Vec<u32> {
        let LatentShape { batch, height, width, .. } = self.x.shape;
        let tokens = height * width;
        (0..batch * tokens)
            .map(|at| {
                let (image, token) = (at / tokens, at % tokens);
                code_of(std::array::from_fn(|c| self.x.values[(image * 3 + c) * tokens + token]))
            })
            .collect()
    }
}
