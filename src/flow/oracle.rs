//! The exact posterior of codes drawn independently from a prior: a perfect network, for tests and
//! for teaching.

use rayon::prelude::*;

use super::predictor::Predictor;
use super::record::{LatentShape, Latents, Posterior};
use super::settings::{SampleSettings, Temperature};

/// `p(c = k | x_t) = softmax_k(log pi_k - |x_t - t E_k|^2 / (2 (1-t)^2))`, token by token.
#[derive(Debug, Clone, PartialEq)]
pub struct Oracle {
    /// `[codes, size]`
    codebook: Vec<f32>,
    size: usize,
    log_prior: Vec<f64>,
    /// Side of the grid of tokens.
    side: usize,
}

impl Oracle {
    /// An oracle over grids of `side * side` tokens; `codebook` is `[prior.len(), size]`.
    ///
    /// Returns nothing where the codebook does not have that many numbers, there is no code, or a
    /// probability is negative or not finite.
    pub fn new(codebook: Vec<f32>, size: usize, prior: &[f64], side: usize) -> Option<Self> {
        let total: f64 = prior.iter().sum();
        let proper = prior.iter().all(|p| *p >= 0.0) && total.is_finite() && total > 0.0;
        let fits = size > 0 && side > 0 && codebook.len() == prior.len() * size;
        let log_prior = prior.iter().map(|p| (p / total).ln()).collect();
        (proper && fits).then_some(Self { codebook, size, log_prior, side })
    }

    /// Number of codes.
    pub fn codes(&self) -> usize {
        self.log_prior.len()
    }

    fn code(&self, k: usize) -> &[f32] {
        &self.codebook[k * self.size..(k + 1) * self.size]
    }

    fn distance(x: &[f32], code: &[f32], t: f64) -> f64 {
        x.iter().zip(code).map(|(x, e)| (f64::from(*x) - t * f64::from(*e)).powi(2)).sum()
    }

    fn belief(&self, x: &[f32], t: f64, tau: f64, top: usize) -> Belief {
        let scale = 0.5 / (1.0 - t).powi(2);
        let logits: Vec<f64> = (0..self.codes())
            .map(|k| (self.log_prior[k] - scale * Self::distance(x, self.code(k), t)) / tau)
            .collect();
        let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = logits.iter().map(|l| (l - largest).exp()).collect();
        let z: f64 = weights.iter().sum();
        let probs: Vec<f64> = weights.iter().map(|w| w / z).collect();
        let mean = (0..self.size)
            .map(|i| {
                probs.iter().enumerate().map(|(k, p)| p * f64::from(self.code(k)[i])).sum::<f64>()
                    as f32
            })
            .collect();
        let entropy = -probs.iter().filter(|p| **p > 0.0).map(|p| p * p.ln()).sum::<f64>() as f32;
        let mut order: Vec<usize> = (0..self.codes()).collect();
        order.sort_by(|a, b| probs[*b].total_cmp(&probs[*a]).then(a.cmp(b)));
        order.truncate(top);
        let top = order.into_iter().map(|k| (k as u32, probs[k] as f32)).collect();
        Belief { mean, entropy, log_z: (z.ln() + largest) as f32, top }
    }

    /// The numbers of every token, `[batch * tokens][size]`.
    fn tokens(x: &Latents) -> Vec<Vec<f32>> {
        let LatentShape { batch, channels, .. } = x.shape;
        let tokens = x.shape.tokens();
        (0..batch * tokens)
            .map(|at| {
                let (image, token) = (at / tokens, at % tokens);
                (0..channels).map(|c| x.values[(image * channels + c) * tokens + token]).collect()
            })
            .collect()
    }
}

struct Belief {
    mean: Vec<f32>,
    entropy: f32,
    log_z: f32,
    top: Vec<(u32, f32)>,
}

impl Predictor for Oracle {
    fn classes(&self) -> usize {
        1
    }

    fn latent_shape(&self, batch: usize) -> LatentShape {
        LatentShape { batch, channels: self.size, height: self.side, width: self.side }
    }

    fn posterior(&self, x: &Latents, t: f32, temperature: f32, _: &SampleSettings) -> Posterior {
        let top = Posterior::TOP.min(self.codes());
        let tau = f64::from(temperature.max(Temperature::FLOOR));
        let beliefs: Vec<Belief> = Self::tokens(x)
            .par_iter()
            .map(|token| self.belief(token, f64::from(t), tau, top))
            .collect();
        let LatentShape { batch, channels, .. } = x.shape;
        let tokens = x.shape.tokens();
        // From token-major to `[batch, part, height, width]`.
        let by_part = |parts: usize| {
            (0..batch * parts * tokens).map(move |at| {
                let (image, part, token) =
                    (at / (parts * tokens), at / tokens % parts, at % tokens);
                (image * tokens + token, part)
            })
        };
        let mean = by_part(channels).map(|(token, c)| beliefs[token].mean[c]).collect();
        Posterior {
            mean: Latents { shape: x.shape, values: mean },
            entropy: beliefs.iter().map(|belief| belief.entropy).collect(),
            log_z: beliefs.iter().map(|belief| belief.log_z).collect(),
            top,
            top_codes: by_part(top).map(|(token, rank)| beliefs[token].top[rank].0).collect(),
            top_probs: by_part(top).map(|(token, rank)| beliefs[token].top[rank].1).collect(),
        }
    }

    fn nearest_codes(&self, x: &Latents) -> Vec<u32> {
        Self::tokens(x)
            .par_iter()
            .map(|token| {
                (0..self.codes())
                    .min_by(|a, b| {
                        let to = |k: &usize| Self::distance(token, self.code(*k), 1.0);
                        to(a).total_cmp(&to(b))
                    })
                    .unwrap_or(0) as u32
            })
            .collect()
    }
}
