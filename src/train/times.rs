//! Which times a flow is trained at.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use super::TrainError;
use crate::io::tensors::TensorFile;
use crate::model::params::NamedTensor;
use crate::rng::Stream;

/// How times are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimeSampling {
    /// Evenly, as the reference does.
    #[default]
    Uniform,
    /// The logistic function of a standard normal number (Esser et al. 2024): seldom near either end.
    LogitNormal,
    /// In proportion to the loss that is measured at each time, as it changes while training goes on.
    Entropic,
}

/// What a picture's loss counts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimeWeights {
    /// The same at every time: times that are drawn more often count for more.
    #[default]
    AsDrawn,
    /// One over the density of its time, so that all times count as if they were drawn evenly.
    Uniform,
}

/// Equal parts of the path that the loss is known of.
const BINS: usize = 24;
/// Share of a new loss in the mean of its part.
const NEW: f32 = 0.05;
/// Share of the times that are drawn evenly whatever the loss: none is forgotten.
const EVEN: f64 = 0.1;
/// Most that a picture counts for where its time was hardly ever drawn.
const MOST_WEIGHT: f64 = 10.0;
const NAME: &str = "loss_by_time";

/// Draws times.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Times {
    sampling: TimeSampling,
    weights: TimeWeights,
    /// The smallest; they lie from here to 1.
    smallest: f64,
    /// Mean loss in every part, 0 where none was measured yet; in the precision of checkpoints.
    losses: [f32; BINS],
    /// Times of the step in hand.
    latest: Vec<f32>,
}

/// The times of some pictures, and what each counts for, where that differs.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct DrawnTimes {
    pub times: Vec<f32>,
    pub weights: Option<Vec<f32>>,
}

impl Times {
    pub fn new(sampling: TimeSampling, weights: TimeWeights, smallest: f64) -> Self {
        Self { sampling, weights, smallest, losses: [0.0; BINS], latest: Vec::new() }
    }

    /// Whether the losses at these times are to be [noted](Times::note_step).
    pub fn learns(&self) -> bool {
        self.sampling == TimeSampling::Entropic
    }

    /// The times of `count` pictures.
    fn draw(&self, count: usize, stream: &mut Stream) -> DrawnTimes {
        let parts = self.parts();
        let pairs: Vec<(f64, f64)> = match self.sampling {
            TimeSampling::Uniform => (0..count).map(|_| (stream.uniform(), 1.0)).collect(),
            TimeSampling::LogitNormal => {
                stream.normals(count).into_iter().map(f64::from).map(logit_normal).collect()
            }
            TimeSampling::Entropic => {
                (0..count).map(|_| within(&parts, stream.uniform())).collect()
            }
        };
        let scaled = |part: f64| (self.smallest + (1.0 - self.smallest) * part) as f32;
        let uneven = self.sampling != TimeSampling::Uniform && self.weights == TimeWeights::Uniform;
        let weight = |density: f64| (1.0 / density).min(MOST_WEIGHT) as f32;
        DrawnTimes {
            times: pairs.iter().map(|(part, _)| scaled(*part)).collect(),
            weights: uneven.then(|| pairs.iter().map(|(_, density)| weight(*density)).collect()),
        }
    }

    /// The times of a step's pictures, whose losses will be [noted](Times::note_step).
    pub fn draw_step(&mut self, count: usize, stream: &mut Stream) -> DrawnTimes {
        let drawn = self.draw(count, stream);
        self.latest.clone_from(&drawn.times);
        drawn
    }

    /// Takes note of the losses of the pictures of the step in hand, in their order.
    pub fn note_step(&mut self, losses: &[f32]) {
        let latest = std::mem::take(&mut self.latest);
        self.note(&latest, losses);
    }

    /// Density of every part of the path.
    fn parts(&self) -> [f64; BINS] {
        let known: Vec<f64> =
            self.losses.iter().filter(|loss| **loss > 0.0).map(|loss| f64::from(*loss)).collect();
        let mean = known.iter().sum::<f64>() / known.len().max(1) as f64;
        // A part that nothing is known of counts as an average one.
        let loss = |loss: f32| if loss > 0.0 { f64::from(loss) } else { mean.max(1e-12) };
        let whole: f64 = self.losses.iter().map(|each| loss(*each)).sum();
        self.losses.map(|each| EVEN + (1.0 - EVEN) * BINS as f64 * loss(each) / whole)
    }

    /// Takes note of the losses of pictures at the times that they were drawn at.
    fn note(&mut self, times: &[f32], losses: &[f32]) {
        for (t, loss) in times.iter().zip(losses).filter(|(_, loss)| loss.is_finite()) {
            let part = (f64::from(*t) - self.smallest) / (1.0 - self.smallest);
            let mean = &mut self.losses[((part * BINS as f64) as usize).min(BINS - 1)];
            *mean = if *mean > 0.0 { *mean + NEW * (loss - *mean) } else { loss.max(0.0) };
        }
    }

    /// As it stands in checkpoints, where there is something to keep.
    pub fn to_tensor(&self) -> Option<NamedTensor> {
        let (name, values) = (NAME.to_owned(), self.losses.to_vec());
        self.learns().then(|| NamedTensor { name, shape: vec![BINS], values })
    }

    /// Takes it back from a checkpoint; of a run that kept none it begins anew.
    ///
    /// # Errors
    /// Losses that cannot be.
    pub fn restore(&mut self, file: &TensorFile) -> Result<(), TrainError> {
        if !self.learns() || !file.contains(NAME) {
            return Ok(());
        }
        let losses = file.floats_of_shape(NAME, &[BINS])?;
        if losses.iter().any(|loss| !loss.is_finite() || *loss < 0.0) {
            return Err(TrainError::NotACheckpoint { path: file.path().to_owned() });
        }
        self.losses.copy_from_slice(&losses);
        Ok(())
    }
}

/// The part of the path that a normal number stands for, and the density there.
fn logit_normal(z: f64) -> (f64, f64) {
    let part = 1.0 / (1.0 + libm::exp(-z));
    (part, libm::exp(-z * z / 2.0) / (2.0 * PI).sqrt() / (part * (1.0 - part)).max(1e-12))
}

/// The place at which the sum of the densities of equal parts reaches a share of the whole, and the density there.
fn within(densities: &[f64; BINS], share: f64) -> (f64, f64) {
    let mut left = share * BINS as f64;
    for (bin, density) in densities.iter().enumerate() {
        if left < *density {
            return ((bin as f64 + left / density) / BINS as f64, *density);
        }
        left -= density;
    }
    (1.0, densities[BINS - 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(times: &Times) -> DrawnTimes {
        times.draw(20_000, &mut Stream::new(3, 3))
    }

    fn share(drawn: &DrawnTimes, of: std::ops::Range<f32>) -> f64 {
        drawn.times.iter().filter(|t| of.contains(t)).count() as f64 / drawn.times.len() as f64
    }

    #[test]
    fn times_lie_where_their_kind_puts_them() {
        let even = drawn(&Times::new(TimeSampling::Uniform, TimeWeights::Uniform, 0.1));
        assert!(even.weights.is_none() && even.times.iter().all(|t| (0.1..=1.0).contains(t)));
        assert!((share(&even, 0.1..0.55) - 0.5).abs() < 0.01);
        // A standard normal number lies within logit(3/4) in 72.8 % of cases.
        let normal = drawn(&Times::new(TimeSampling::LogitNormal, TimeWeights::AsDrawn, 0.0));
        assert!(normal.weights.is_none());
        assert!((share(&normal, 0.25..0.75) - 0.728).abs() < 0.01);
    }

    #[test]
    fn times_follow_the_loss_and_forget_no_part() {
        let mut times = Times::new(TimeSampling::Entropic, TimeWeights::AsDrawn, 0.0);
        assert!((share(&drawn(&times), 0.0..0.5) - 0.5).abs() < 0.01, "nothing is known yet");
        let grid: Vec<f32> = (0..BINS).map(|i| (i as f32 + 0.5) / BINS as f32).collect();
        let losses: Vec<f32> = grid.iter().map(|t| if *t < 0.5 { 3.0 } else { 1.0 }).collect();
        (0..50).for_each(|_| times.note(&grid, &losses));
        // Three quarters, but for the tenth that is drawn evenly.
        let early = 0.9 * 0.75 + 0.1 * 0.5;
        assert!((share(&drawn(&times), 0.0..0.5) - early).abs() < 0.01);
        times.note(&grid, &[f32::NAN; BINS]);
        assert!((share(&drawn(&times), 0.0..0.5) - early).abs() < 0.01);
    }

    #[test]
    fn weights_undo_the_density() {
        let mut times = Times::new(TimeSampling::Entropic, TimeWeights::Uniform, 0.0);
        times.note(&[0.1, 0.4, 0.9], &[4.0, 2.0, 0.5]);
        let found = drawn(&times);
        let weights = found.weights.as_ref().unwrap();
        // The mean of t and of 1 over even times.
        for (power, expected) in [(0, 1.0), (1, 0.5), (2, 1.0 / 3.0)] {
            let pairs = found.times.iter().zip(weights);
            let sum: f64 = pairs.map(|(t, w)| f64::from(t.powi(power) * w)).sum();
            assert!((sum / weights.len() as f64 - expected).abs() < 0.02, "{power}");
        }
    }

    #[test]
    fn a_checkpoint_keeps_what_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.safetensors");
        let mut times = Times::new(TimeSampling::Entropic, TimeWeights::AsDrawn, 0.001);
        times.note(&[0.2, 0.7], &[2.5, 0.3]);
        let write = |values: Vec<f32>| {
            let mut writer = crate::io::tensors::TensorWriter::default();
            writer.floats(NAME, &[BINS], &values, crate::io::tensors::Precision::F32);
            writer.write(&path).unwrap();
            TensorFile::open(&path).unwrap()
        };
        let mut again = Times::new(TimeSampling::Entropic, TimeWeights::AsDrawn, 0.001);
        again.restore(&write(times.to_tensor().unwrap().values)).unwrap();
        assert_eq!(again, times);
        assert!(again.restore(&write(vec![-1.0; BINS])).is_err());
        assert!(Times::new(TimeSampling::Uniform, TimeWeights::Uniform, 0.0).to_tensor().is_none());
    }
}
