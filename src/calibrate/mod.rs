//! Whether a posterior means what it says: measured on pictures whose codes are known.
//!
//! At every time of a grid the true codes of held-out pictures are noised as in training, and the posterior of
//! every token is held against the code that it had. What comes out is a [`Calibration`]: cross-entropy,
//! accuracy, how often beliefs of a given confidence are right, how often sets of a given mass hold the truth,
//! the temperature that fits best at each time, and what a product of posteriors leaves out.

mod heat;
mod joint;
mod kept;
mod known;
mod picture;
mod reliability;
mod report;
mod subject;
#[cfg(test)]
mod tests;
mod token;

use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;
use thiserror::Error;

use self::heat::{Heat, NODES, best_temperature};
use self::joint::{Path, Whole};
use self::token::{TokenFigures, figures};
use crate::flow::{Domain, State, Temperature};
use crate::latents::{LatentShape, Latents};
use crate::model::Objective;
use crate::rng::Stream;
pub use kept::{KeptReports, read};
pub use known::{Known, KnownError};
pub use picture::{Belief, NAMED, TokenBelief, ask_about};
pub use reliability::{BINS, Bin, Reliability};
pub use report::{Calibration, ClassFigures, CodeSet, Moment, PlaceFigures, Uncertain};
pub use subject::Subject;
pub use token::MASSES;

/// Bytes of logits on the host at a time.
const LOGITS: usize = 64 << 20;
/// Most pictures that go through the network at once.
const MOST_AT_ONCE: usize = 32;
/// Bins of entropy against error.
const ENTROPY_BINS: usize = 10;
/// Most times of a grid.
pub const MOST_TIMES: usize = 1000;

/// A posterior that cannot be measured.
#[derive(Debug, Error)]
pub enum CalibrateError {
    /// The objective has none.
    #[error("a model of the {0} objective predicts no codes: it has no posterior to calibrate")]
    NoPosterior(Objective),
    /// There is nothing to measure it on.
    #[error("calibration needs at least two pictures, there {}", are(*.0))]
    TooFew(usize),
    /// Codes and labels do not fit the model.
    #[error("{0}")]
    Misfit(String),
    /// The network gave something that is no distribution.
    #[error(
        "at t = {t} picture {picture} has a token whose logits are not a distribution, or rule out its code"
    )]
    NotADistribution {
        /// The time.
        t: f64,
        /// The picture, counted from 0.
        picture: usize,
    },
    /// It was asked to stop.
    #[error("stopped before the figures were complete")]
    Stopped,
}

fn are(pictures: usize) -> String {
    match pictures {
        0 => "are none".to_owned(),
        _ => "is one".to_owned(),
    }
}

/// How a posterior is measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// Times of the grid, spread evenly over the path.
    pub times: usize,
    /// Guidance scale; 1 is the posterior that was trained.
    pub guidance: f32,
    /// Temperature of the posterior. The one that fits best is found whatever it is.
    pub temperature: Temperature,
    /// Seed of the noise.
    pub seed: u64,
}

impl Default for Question {
    fn default() -> Self {
        Self { times: 20, guidance: 1.0, temperature: Temperature::Constant(1.0), seed: 0 }
    }
}

impl Question {
    /// The grid: the middles of equal parts of the path.
    pub fn grid(&self) -> Vec<f64> {
        (0..self.times).map(|i| (i as f64 + 0.5) / self.times as f64).collect()
    }
}

/// A posterior, and what it is measured on.
struct Bench<'a, S> {
    subject: &'a S,
    domain: Domain,
    codebook: Vec<f32>,
    known: &'a Known,
    question: &'a Question,
}

/// A token that was measured.
struct Measured {
    picture: usize,
    /// Row by row.
    place: usize,
    figures: TokenFigures,
}

/// Hears how a measurement goes.
pub trait Watch {
    /// So many of the pictures, all times together, are done.
    fn progress(&mut self, _done: usize, _all: usize) {}

    /// The logits of a token and the code that it truly has; tokens come in the order of times, pictures and
    /// places.
    fn token(&mut self, _logits: &[f32], _code: u32) {}
}

/// Nobody listens.
impl Watch for () {}

/// Measures a posterior.
///
/// # Errors
/// There is no posterior, nothing to measure it on, the codes do not fit, or the network gave a NaN.
pub fn calibrate<S: Subject>(
    subject: &S,
    known: &Known,
    question: &Question,
    stop: &AtomicBool,
    watch: &mut dyn Watch,
) -> Result<Calibration, CalibrateError> {
    let domain = subject.domain();
    if !domain.objective.has_posterior() {
        return Err(CalibrateError::NoPosterior(domain.objective));
    }
    if known.labels.len() < 2 {
        return Err(CalibrateError::TooFew(known.labels.len()));
    }
    known.check(&domain)?;
    if !(2..=MOST_TIMES).contains(&question.times) {
        let reason = format!("a grid has 2 to {MOST_TIMES} times, not {}", question.times);
        return Err(CalibrateError::Misfit(reason));
    }
    let bench = Bench { subject, codebook: subject.codebook(), known, question, domain };
    let (times, pictures) = (question.grid(), known.labels.len());
    let (mut moments, mut wholes) = (Vec::new(), Vec::new());
    for (i, t) in times.iter().enumerate() {
        let measured = bench.measure(i, *t, stop, watch)?;
        let (moment, whole) = bench.moment(*t, &measured);
        moments.push(moment);
        wholes.push(whole);
    }
    let path = Path { times: &times, masked: bench.domain.objective == Objective::Dfm };
    leave_out(&path, &wholes, &mut moments);
    Ok(Calibration::new(bench.domain, question, pictures, moments))
}

/// What products of posteriors leave out, at every time, from picture to picture.
fn leave_out(path: &Path<'_>, wholes: &[Vec<Whole>], moments: &mut [Moment]) {
    let together = path.together(wholes);
    for ((moment, wholes), together) in moments.iter_mut().zip(wholes).zip(&together) {
        let pairs = || wholes.iter().map(|whole| whole.surprise).zip(together.iter().copied());
        moment.apart = Uncertain::mean_of(pairs().map(|(apart, _)| apart));
        moment.together = Uncertain::mean_of(pairs().map(|(_, together)| together));
        moment.gap = Uncertain::mean_of(pairs().map(|(apart, together)| apart - together));
    }
}

impl<S: Subject> Bench<'_, S> {
    fn tokens(&self) -> usize {
        self.domain.height * self.domain.width
    }

    /// The figures of every token at time `t`, the `i`th; of masked states those that are masked.
    fn measure(
        &self,
        i: usize,
        t: f64,
        stop: &AtomicBool,
        watch: &mut dyn Watch,
    ) -> Result<Vec<Measured>, CalibrateError> {
        let (pictures, tokens) = (self.known.labels.len(), self.tokens());
        let bytes = tokens * self.domain.codes * size_of::<f32>();
        let at_once = (LOGITS / bytes.max(1)).clamp(1, MOST_AT_ONCE);
        let tau = f64::from(self.question.temperature.at(t as f32).max(Temperature::FLOOR));
        let mut measured = Vec::with_capacity(pictures * tokens);
        for first in (0..pictures).step_by(at_once) {
            if stop.load(Ordering::Relaxed) {
                return Err(CalibrateError::Stopped);
            }
            let part = first..(first + at_once).min(pictures);
            let labels = &self.known.labels[part.clone()];
            let codes = &self.known.codes[part.start * tokens..part.end * tokens];
            let (state, asked) = self.state(i, t, part.clone(), codes);
            let guidance = self.question.guidance;
            let logits = self.subject.logits(&state, t as f32, labels, guidance);
            let (number, codebook) = (self.domain.codes, &self.codebook);
            let of = |at: &usize| {
                let row = &logits[at * number..(at + 1) * number];
                figures(row, codes[*at] as usize, tau, codebook)
            };
            let found: Vec<Option<TokenFigures>> = asked.par_iter().map(of).collect();
            for (at, figures) in asked.into_iter().zip(found) {
                let picture = first + at / tokens;
                watch.token(&logits[at * number..(at + 1) * number], codes[at]);
                let figures = figures.ok_or(CalibrateError::NotADistribution { t, picture })?;
                measured.push(Measured { picture, place: at % tokens, figures });
            }
            watch.progress(i * pictures + part.end, self.question.times * pictures);
        }
        Ok(measured)
    }

    /// The pictures' state at the `i`th time, and the tokens of the part that are asked about.
    fn state(
        &self,
        i: usize,
        t: f64,
        part: std::ops::Range<usize>,
        codes: &[u32],
    ) -> (State, Vec<usize>) {
        /// Streams of the seed from here on are of calibration; each time has as many as there may be pictures.
        const STREAMS: u64 = 3 << 60;
        const PICTURES: u64 = 1 << 40;
        let (tokens, size) = (self.tokens(), self.codebook.len() / self.domain.codes);
        let stream = |picture: usize| {
            Stream::new(self.question.seed, STREAMS + i as u64 * PICTURES + picture as u64)
        };
        let shape = LatentShape {
            batch: part.len(),
            channels: size,
            height: self.domain.height,
            width: self.domain.width,
        };
        let row = |code: u32| &self.codebook[code as usize * size..][..size];
        if self.domain.objective == Objective::Dfm {
            let masked = self.domain.codes as u32;
            let mut state = codes.to_vec();
            for (picture, codes) in part.zip(state.chunks_exact_mut(tokens)) {
                let mut stream = stream(picture);
                codes.iter_mut().filter(|_| stream.uniform() >= t).for_each(|code| *code = masked);
            }
            let asked = (0..state.len()).filter(|at| state[*at] == masked).collect();
            let values = vec![0.0; shape.len()];
            return (State { x: Latents { shape, values }, codes: Some(state) }, asked);
        }
        let mut values = Vec::with_capacity(shape.len());
        for (picture, codes) in part.zip(codes.chunks_exact(tokens)) {
            let noise = stream(picture).normals(size * tokens);
            values.extend(noise.iter().enumerate().map(|(at, x0)| {
                let x1 = row(codes[at % tokens])[at / tokens];
                (t * f64::from(x1) + (1.0 - t) * f64::from(*x0)) as f32
            }));
        }
        (State { x: Latents { shape, values }, codes: None }, (0..codes.len()).collect())
    }

    /// What the tokens of a time come to, and each picture's part in it.
    fn moment(&self, t: f64, measured: &[Measured]) -> (Moment, Vec<Whole>) {
        let pictures = self.known.labels.len();
        let mut wholes = vec![Whole::default(); pictures];
        let mut heats = vec![[Heat::default(); NODES]; pictures];
        for Measured { picture, figures, .. } in measured {
            wholes[*picture].surprise += figures.surprise;
            wholes[*picture].squared_error += figures.squared_error;
            heats[*picture].iter_mut().zip(figures.heat).for_each(|(sum, heat)| *sum += heat);
        }
        let mut counts = vec![0usize; pictures];
        measured.iter().for_each(|token| counts[token.picture] += 1);
        let means = wholes.iter().zip(&counts).filter(|(_, count)| **count > 0);
        let cross_entropy =
            Uncertain::mean_of(means.map(|(whole, count)| whole.surprise / *count as f64));
        let of = |token: &Measured| (token.figures.confidence as f32, token.figures.rank == 0);
        let moment = Moment {
            t,
            tokens: measured.len(),
            cross_entropy,
            entropy: mean(measured, |token| token.entropy),
            accuracy: mean(measured, |token| f64::from(u8::from(token.rank == 0))),
            confidence: mean(measured, |token| token.confidence),
            brier: mean(measured, |token| token.brier),
            log_z: mean(measured, |token| token.log_z),
            reliability: Reliability::of(measured.iter().map(of).collect()),
            sets: report::code_sets(measured.iter().map(|token| &token.figures)),
            entropy_bins: report::entropy_bins(measured.iter().map(|token| &token.figures)),
            implied: best_temperature(&heats, measured.len()).map(Into::into),
            apart: Uncertain::default(),
            together: Uncertain::default(),
            gap: Uncertain::default(),
            classes: self.by_class(measured),
            places: self.by_place(measured),
        };
        (moment, wholes)
    }

    fn by_class(&self, measured: &[Measured]) -> Vec<ClassFigures> {
        let mut classes = vec![report::Sums::default(); self.domain.classes];
        for token in measured {
            classes[self.known.labels[token.picture]].add(&token.figures);
        }
        let seen = classes.into_iter().enumerate().filter(|(_, sums)| sums.tokens > 0);
        seen.map(|(class, sums)| ClassFigures { class, figures: sums.means() }).collect()
    }

    fn by_place(&self, measured: &[Measured]) -> PlaceFigures {
        let mut places = vec![report::Sums::default(); self.tokens()];
        measured.iter().for_each(|token| places[token.place].add(&token.figures));
        PlaceFigures::of(&places)
    }
}

fn mean(measured: &[Measured], value: impl Fn(&TokenFigures) -> f64) -> f64 {
    let sum: f64 = measured.iter().map(|token| value(&token.figures)).sum();
    sum / measured.len().max(1) as f64
}
