//! What the sampler reports: plain numbers on the host, so that a window, a file and a test read
//! the same thing.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::latents::{LatentShape, Latents};

/// The model's belief about every token at one evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Posterior {
    /// Extent of the latents it speaks of.
    pub shape: LatentShape,
    /// Shannon entropy in nats, `[batch, height, width]`.
    pub entropy: Vec<f32>,
    /// Log of the partition function of the tempered logits, `[batch, height, width]`.
    pub log_z: Vec<f32>,
    /// How many of the most likely codes are kept, at most [`Posterior::TOP`].
    pub top: usize,
    /// The most likely codes, likeliest first, `[batch, top, height, width]`.
    pub top_codes: Vec<u32>,
    /// Their probabilities, `[batch, top, height, width]`.
    pub top_probs: Vec<f32>,
}

impl Posterior {
    /// Most likely codes kept for each token.
    pub const TOP: usize = 8;

    /// The `(code, probability)` pairs of one token, likeliest first.
    pub fn top_of(&self, image: usize, row: usize, column: usize) -> Vec<(u32, f32)> {
        let LatentShape { height, width, .. } = self.shape;
        (0..self.top)
            .map(|rank| {
                let at = ((image * self.top + rank) * height + row) * width + column;
                (self.top_codes[at], self.top_probs[at])
            })
            .collect()
    }

    /// The single most likely code of every token, `[batch, height, width]`.
    pub fn best_codes(&self) -> Vec<u32> {
        let tokens = self.shape.tokens();
        self.top_codes
            .chunks_exact(self.top * tokens)
            .flat_map(|image| &image[..tokens])
            .copied()
            .collect()
    }
}

/// A step between grids of codes, each `[batch, height, width]`; the number of codes stands for
/// 'masked'.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeStep {
    /// At the beginning of the interval.
    pub before: Vec<u32>,
    /// At its end.
    pub after: Vec<u32>,
}

/// One interval of the solver, as it was taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Number of the interval, from 0.
    pub step: usize,
    /// Time at which the interval begins, in `[0, 1)`.
    pub t: f32,
    /// Time at which it ends, in `(0, 1]`.
    pub t_next: f32,
    /// Temperature at which the posterior was taken; with an entropy target, the one that met it.
    pub temperature: f32,
    /// State at `t`; a masked token of `dfm` stands at 0.
    pub x: Latents,
    /// Where the network expects the path to end: the posterior mean `mu`, or its like for
    /// objectives without a posterior.
    pub prediction: Latents,
    /// The code that each token is most likely to end on, `[batch, height, width]`.
    pub likeliest: Vec<u32>,
    /// Belief at `t`; the `cfm` objectives have none.
    pub posterior: Option<Posterior>,
    /// State at `t_next`.
    pub x_next: Latents,
    /// For `dfm`, whose states are codes: those at `t` and at `t_next`.
    pub codes: Option<CodeStep>,
    /// Network evaluations so far, this interval included; guidance counts twice.
    pub evaluations: usize,
    /// Inner steps that the solver took to cross the interval: 1, but for the adaptive one.
    pub accepted: usize,
    /// Inner steps that the adaptive solver tried and took back.
    pub rejected: usize,
    /// Time the interval took.
    pub wall: Duration,
}

impl StepRecord {
    /// Entropy of every token in nats, `[batch, height, width]`; empty without a posterior.
    pub fn entropy(&self) -> &[f32] {
        self.posterior.as_ref().map_or(&[], |posterior| &posterior.entropy)
    }

    /// Bytes that the numbers of the record take.
    pub fn bytes(&self) -> usize {
        let latents = self.x.values.len() + self.prediction.values.len() + self.x_next.values.len();
        let posterior = self
            .posterior
            .as_ref()
            .map_or(0, |p| p.entropy.len() + p.log_z.len() + p.top_codes.len() + p.top_probs.len());
        let codes = self.codes.as_ref().map_or(0, |codes| codes.before.len() + codes.after.len());
        4 * (latents + posterior + codes + self.likeliest.len())
    }

    /// Bytes that the records of that many steps take at most, for latents of this shape.
    pub fn bytes_of(shape: LatentShape, steps: usize) -> usize {
        let LatentShape { batch, channels, height, width } = shape;
        let tokens = batch.saturating_mul(height).saturating_mul(width);
        // Three latents, entropy and log Z, the likeliest codes, and codes before and after.
        let each = channels.saturating_mul(3).saturating_add(2 * Posterior::TOP + 5);
        tokens.saturating_mul(each).saturating_mul(4).saturating_mul(steps)
    }
}
