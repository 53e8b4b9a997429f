//! What a calibration found, as files and screens have it.

use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

use super::heat::Optimum;
use super::reliability::Reliability;
use super::token::{MASSES, TokenFigures};
use super::{ENTROPY_BINS, Question};
use crate::flow::{Domain, Temperature};

/// A mean over pictures.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Uncertain {
    /// The mean.
    pub value: f64,
    /// Its standard error, from picture to picture.
    pub error: f64,
}

impl Uncertain {
    /// Of what each picture has.
    pub fn mean_of(values: impl Iterator<Item = f64> + Clone) -> Self {
        let count = values.clone().count().max(1) as f64;
        let value = values.clone().sum::<f64>() / count;
        let squares: f64 = values.map(|each| (each - value).powi(2)).sum();
        Self { value, error: (squares / (count - 1.0).max(1.0) / count).sqrt() }
    }
}

impl From<Optimum> for Implied {
    fn from(Optimum { temperature, error, gain }: Optimum) -> Self {
        Self { temperature: Uncertain { value: temperature, error }, gain }
    }
}

/// The temperature that fits best at a time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Implied {
    /// Where the cross-entropy is least.
    pub temperature: Uncertain,
    /// What it takes off the cross-entropy at temperature 1, in nats a token.
    pub gain: f64,
}

/// The smallest sets of codes that have a mass.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CodeSet {
    /// The mass asked for.
    pub mass: f64,
    /// The mass that the sets have on average, at least as much: codes are not divided.
    pub held: f64,
    /// Share of the tokens whose true code is in its set; `held`, where the posterior is calibrated.
    pub covered: f64,
    /// Mean number of codes of a set.
    pub codes: f64,
}

/// Tokens of about the same entropy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EntropyBin {
    /// Mean entropy in nats.
    pub entropy: f64,
    /// Mean surprise of the true code in nats; the entropy, where the posterior is calibrated.
    pub surprise: f64,
    /// Share of the tokens whose likeliest code is not the true one.
    pub wrong: f64,
    /// Number of tokens.
    pub tokens: usize,
}

/// Means over tokens.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Means {
    /// Number of tokens.
    pub tokens: usize,
    /// Surprise of the true code in nats.
    pub cross_entropy: f64,
    /// Share whose likeliest code is the true one.
    pub accuracy: f64,
    /// Probability of the likeliest code.
    pub confidence: f64,
}

/// The tokens of one class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassFigures {
    /// The class.
    pub class: usize,
    /// Its means.
    #[serde(flatten)]
    pub figures: Means,
}

/// Means at every place in the picture, row by row; 0 where there was no token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlaceFigures {
    /// Surprise of the true code in nats, `[height, width]`.
    pub cross_entropy: Vec<f32>,
    /// Share whose likeliest code is the true one, `[height, width]`.
    pub accuracy: Vec<f32>,
    /// Probability of the likeliest code, `[height, width]`.
    pub confidence: Vec<f32>,
}

impl PlaceFigures {
    pub(super) fn of(places: &[Sums]) -> Self {
        let means: Vec<Means> = places.iter().map(|sums| sums.means()).collect();
        Self {
            cross_entropy: means.iter().map(|place| place.cross_entropy as f32).collect(),
            accuracy: means.iter().map(|place| place.accuracy as f32).collect(),
            confidence: means.iter().map(|place| place.confidence as f32).collect(),
        }
    }
}

/// A posterior at one time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Moment {
    /// The time, from 0, noise, to 1, data.
    pub t: f64,
    /// Tokens that were looked at.
    pub tokens: usize,
    /// Mean surprise of the true code in nats a token, at the temperature that was looked at.
    pub cross_entropy: Uncertain,
    /// Mean entropy in nats; the cross-entropy, where the posterior is calibrated.
    pub entropy: f64,
    /// Share of the tokens whose likeliest code is the true one.
    pub accuracy: f64,
    /// Mean probability of the likeliest code; the accuracy, where the posterior is calibrated.
    pub confidence: f64,
    /// Brier score, 0 to 2.
    pub brier: f64,
    /// Mean of the log of the logits' partition function, which the z-loss keeps small.
    pub log_z: f64,
    /// Confidence against accuracy.
    pub reliability: Reliability,
    /// Coverage of the smallest sets of a mass.
    pub sets: Vec<CodeSet>,
    /// Entropy against error.
    pub entropy_bins: Vec<EntropyBin>,
    /// The temperature that fits best; nothing where next to nothing hangs on it.
    pub implied: Option<Implied>,
    /// Nats that the tokens of a picture hide, taken one by one.
    pub apart: Uncertain,
    /// Nats that they hide together.
    pub together: Uncertain,
    /// The difference: what drawing tokens independently leaves out.
    pub gap: Uncertain,
    /// By class.
    pub classes: Vec<ClassFigures>,
    /// By place.
    pub places: PlaceFigures,
}

/// What was found of a posterior.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Version of the format.
    pub format: u32,
    /// Name of the model.
    pub model: String,
    /// Its hash.
    pub model_hash: String,
    /// Where the pictures are from.
    pub data: String,
    /// How many there were.
    pub pictures: usize,
    /// Names of the model's classes.
    pub class_names: Vec<String>,
    /// Rows and columns of tokens.
    pub grid: [usize; 2],
    /// Number of codes.
    pub codes: usize,
    /// Guidance scale.
    pub guidance: f32,
    /// Temperature of the posterior that was looked at.
    pub temperature: Temperature,
    /// Seed of the noise.
    pub seed: u64,
    /// At every time, rising.
    pub times: Vec<Moment>,
    /// The temperatures that fit best, as a schedule.
    pub schedule: Option<Temperature>,
}

impl Calibration {
    /// Version of the format that is written.
    pub const FORMAT: u32 = 1;

    pub(super) fn new(
        domain: Domain,
        question: &Question,
        pictures: usize,
        times: Vec<Moment>,
    ) -> Self {
        Self {
            format: Self::FORMAT,
            model: String::new(),
            model_hash: String::new(),
            data: String::new(),
            pictures,
            class_names: Vec::new(),
            grid: [domain.height, domain.width],
            codes: domain.codes,
            guidance: question.guidance,
            temperature: question.temperature.clone(),
            seed: question.seed,
            schedule: schedule(&times),
            times,
        }
    }

    /// The report as JSON, its numbers to seven digits.
    ///
    /// # Errors
    /// None that a report which was measured can cause.
    pub fn to_json(&self) -> serde_json::Result<String> {
        let mut value = serde_json::to_value(self)?;
        round(&mut value);
        Ok(value.to_string())
    }

    /// That what a file says of itself holds together, so that nobody who shows it need ask again.
    ///
    /// # Errors
    /// What does not, in words.
    pub fn check(&self) -> Result<(), String> {
        let expected =
            |what: &str| Err(format!("not a calibration that this version can show: {what}"));
        if self.format != Self::FORMAT {
            return expected(&format!("format {}, expected {}", self.format, Self::FORMAT));
        }
        let places = self.grid[0].saturating_mul(self.grid[1]);
        let of_places =
            |map: &Vec<f32>| map.len() == places && map.iter().all(|value| value.is_finite());
        for Moment { t, places, classes, .. } in &self.times {
            if !(0.0..=1.0).contains(t) {
                return expected(&format!("time {t}"));
            }
            let PlaceFigures { cross_entropy, accuracy, confidence } = places;
            if ![cross_entropy, accuracy, confidence].into_iter().all(of_places) {
                return expected("a map of another size than the grid");
            }
            if classes.iter().any(|of| of.class >= self.class_names.len()) {
                return expected("a class without a name");
            }
        }
        if !self.times.windows(2).all(|pair| pair[0].t < pair[1].t) {
            return expected("times that do not rise");
        }
        match &self.schedule {
            Some(schedule) => schedule.validate().map_err(|error| error.to_string()),
            None => Ok(()),
        }
    }

    /// Cross-entropy at temperature 1, and less what the schedule takes off it, both in nats a token, all tokens of
    /// all times together; nothing where another temperature was looked at.
    pub fn cross_entropies(&self) -> Option<[f64; 2]> {
        if self.temperature != Temperature::Constant(1.0) {
            return None;
        }
        let tokens: usize = self.times.iter().map(|moment| moment.tokens).sum();
        let mean = |of: fn(&Moment) -> f64| {
            let sum = self.times.iter().map(|moment| of(moment) * moment.tokens as f64);
            sum.sum::<f64>() / tokens.max(1) as f64
        };
        let gain = |moment: &Moment| moment.implied.as_ref().map_or(0.0, |implied| implied.gain);
        let plain = mean(|moment| moment.cross_entropy.value);
        Some([plain, plain - mean(gain)])
    }
}

/// Digits of a number in a file: more than any figure is known to.
const DIGITS: usize = 7;

/// Leaves every number that is not whole its first digits.
fn round(value: &mut Value) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(round),
        Value::Object(entries) => entries.values_mut().for_each(round),
        Value::Number(number) if number.is_f64() => {
            let whole = number.as_f64().map(|number| format!("{number:.*e}", DIGITS - 1));
            let rounded = whole.and_then(|text| text.parse().ok()).and_then(Number::from_f64);
            *value = rounded.map_or(Value::Null, Value::Number);
        }
        _ => {}
    }
}

/// A schedule through the temperatures that are known, to three decimals.
fn schedule(times: &[Moment]) -> Option<Temperature> {
    let point = |moment: &Moment| {
        let temperature = moment.implied.as_ref()?.temperature.value;
        let rounded = |value: f64| ((value * 1e3).round() / 1e3) as f32;
        Some((rounded(moment.t), rounded(temperature)))
    };
    let points: Vec<_> = times.iter().filter_map(point).collect();
    (!points.is_empty()).then_some(Temperature::Points(points))
}

/// Sums over tokens.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sums {
    pub tokens: usize,
    surprise: f64,
    right: usize,
    confidence: f64,
}

impl Sums {
    pub fn add(&mut self, figures: &TokenFigures) {
        self.tokens += 1;
        self.surprise += figures.surprise;
        self.right += usize::from(figures.rank == 0);
        self.confidence += figures.confidence;
    }

    pub fn means(&self) -> Means {
        let tokens = self.tokens.max(1) as f64;
        Means {
            tokens: self.tokens,
            cross_entropy: self.surprise / tokens,
            accuracy: self.right as f64 / tokens,
            confidence: self.confidence / tokens,
        }
    }
}

/// Coverage of every mass.
pub(super) fn code_sets<'a>(
    tokens: impl Iterator<Item = &'a TokenFigures> + Clone,
) -> Vec<CodeSet> {
    let count = tokens.clone().count().max(1) as f64;
    let set = |(i, mass): (usize, f64)| {
        let mean =
            |value: &dyn Fn(&TokenFigures) -> f64| tokens.clone().map(value).sum::<f64>() / count;
        CodeSet {
            mass,
            held: mean(&|token| token.sets[i].1),
            covered: mean(&|token| f64::from(u8::from(token.rank < token.sets[i].0))),
            codes: mean(&|token| token.sets[i].0 as f64),
        }
    };
    MASSES.into_iter().enumerate().map(set).collect()
}

/// Entropy against error, in bins of as many tokens.
pub(super) fn entropy_bins<'a>(tokens: impl Iterator<Item = &'a TokenFigures>) -> Vec<EntropyBin> {
    let mut ordered: Vec<&TokenFigures> = tokens.collect();
    ordered.sort_by(|a, b| a.entropy.total_cmp(&b.entropy));
    let count = ordered.len();
    let bin = |i: usize| {
        let part = &ordered[i * count / ENTROPY_BINS..(i + 1) * count / ENTROPY_BINS];
        let mean = |value: fn(&TokenFigures) -> f64| {
            part.iter().map(|token| value(token)).sum::<f64>() / part.len() as f64
        };
        (!part.is_empty()).then(|| EntropyBin {
            entropy: mean(|token| token.entropy),
            surprise: mean(|token| token.surprise),
            wrong: mean(|token| f64::from(u8::from(token.rank > 0))),
            tokens: part.len(),
        })
    };
    (0..ENTROPY_BINS).filter_map(bin).collect()
}
