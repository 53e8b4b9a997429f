//! The exact posterior of codes drawn independently from a prior: a perfect network, for tests and
//! for teaching.

use rayon::prelude::*;

use super::entropy_target::temperature_for;
use super::predictor::{CodePrediction, Constraints, Draw, Prediction, Predictor, draw_code};
use super::record::Posterior;
use super::settings::{Domain, SampleSettings, Temperature, Warmth};
use crate::latents::{LatentShape, Latents};
use crate::model::Objective;

/// `p(c = k | x_t) = softmax_k(log pi_k - |x_t - t E_k|^2 / (2 (1-t)^2))`, token by token.
#[derive(Debug, Clone, PartialEq)]
pub struct Oracle {
    /// `[codes, size]`
    codebook: Vec<f32>,
    size: usize,
    log_prior: Vec<f64>,
    /// Side of the grid of tokens.
    side: usize,
    /// Whether its states are codes, partly masked, and not latents.
    masked: bool,
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
        (proper && fits).then_some(Self { codebook, size, log_prior, side, masked: false })
    }

    /// The same codes and prior, for the masked states of the `dfm` objective.
    pub fn masked(self) -> Self {
        Self { masked: true, ..self }
    }

    /// Number of codes.
    pub fn codes(&self) -> usize {
        self.log_prior.len()
    }

    /// The codes, `[codes, size]`.
    pub fn codebook(&self) -> &[f32] {
        &self.codebook
    }

    /// The logits of every token at a state and time, `[batch * height * width, codes]`; of masked states those
    /// of the prior.
    pub fn all_logits(&self, x: &Latents, t: f32) -> Vec<f32> {
        let rows = Self::tokens(x).into_par_iter().map(|token| match self.masked {
            true => self.log_prior.clone(),
            false => self.logits(&token, f64::from(t), |_| true),
        });
        rows.collect::<Vec<_>>().concat().into_iter().map(|logit| logit as f32).collect()
    }

    fn code(&self, k: usize) -> &[f32] {
        &self.codebook[k * self.size..(k + 1) * self.size]
    }

    fn distance(x: &[f32], code: &[f32], t: f64) -> f64 {
        x.iter().zip(code).map(|(x, e)| (f64::from(*x) - t * f64::from(*e)).powi(2)).sum()
    }

    /// Logits of every code, before the temperature; minus infinity where a code is not allowed.
    fn logits(&self, x: &[f32], t: f64, allowed: impl Fn(usize) -> bool) -> Vec<f64> {
        let scale = 0.5 / (1.0 - t).powi(2);
        let logit = |k| self.log_prior[k] - scale * Self::distance(x, self.code(k), t);
        (0..self.codes()).map(|k| if allowed(k) { logit(k) } else { f64::NEG_INFINITY }).collect()
    }

    fn belief(&self, logits: &[f64], tau: f64, top: usize) -> Belief {
        let (probs, log_z) = softmax(logits, tau);
        let mean = (0..self.size)
            .map(|i| {
                probs.iter().enumerate().map(|(k, p)| p * f64::from(self.code(k)[i])).sum::<f64>()
                    as f32
            })
            .collect();
        let mut order: Vec<usize> = (0..self.codes()).collect();
        order.sort_by(|a, b| probs[*b].total_cmp(&probs[*a]).then(a.cmp(b)));
        order.truncate(top);
        let top = order.into_iter().map(|k| (k as u32, probs[k] as f32)).collect();
        Belief { mean, entropy: entropy(&probs), log_z, top }
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

/// Probabilities `softmax(logits / tau)`, and the log of their partition function.
fn softmax(logits: &[f64], tau: f64) -> (Vec<f64>, f32) {
    let largest = logits.iter().map(|l| l / tau).fold(f64::NEG_INFINITY, f64::max);
    let mut probs: Vec<f64> = logits.iter().map(|l| (l / tau - largest).exp()).collect();
    let z: f64 = probs.iter().sum();
    probs.iter_mut().for_each(|p| *p /= z);
    (probs, (z.ln() + largest) as f32)
}

/// Shannon entropy in nats.
fn entropy(probs: &[f64]) -> f32 {
    -probs.iter().filter(|p| **p > 0.0).map(|p| p * p.ln()).sum::<f64>() as f32
}

struct Belief {
    mean: Vec<f32>,
    entropy: f32,
    log_z: f32,
    top: Vec<(u32, f32)>,
}

impl Predictor for Oracle {
    fn domain(&self) -> Domain {
        Domain {
            objective: if self.masked { Objective::Dfm } else { Objective::Purrception },
            classes: 1,
            codes: self.codes(),
            height: self.side,
            width: self.side,
        }
    }

    fn latent_shape(&self, batch: usize) -> LatentShape {
        LatentShape { batch, channels: self.size, height: self.side, width: self.side }
    }

    fn predict_under(
        &self,
        x: &Latents,
        t: f32,
        settings: &SampleSettings,
        constraints: &Constraints,
    ) -> Prediction {
        let top = Posterior::TOP.min(self.codes());
        let tokens = Self::tokens(x);
        let mask = constraints.mask();
        let logits: Vec<Vec<f64>> = tokens
            .par_iter()
            .enumerate()
            .map(|(i, token)| {
                let allowed = |code| mask.is_none_or(|mask| mask.allows(i, code));
                self.logits(token, f64::from(t), allowed)
            })
            .collect();
        let tau_of = |temperature: f32| f64::from(temperature.max(Temperature::FLOOR));
        let temperature = match settings.temperature.warmth(t) {
            Warmth::Fixed(temperature) => temperature,
            Warmth::MeanEntropy(target) => temperature_for(f64::from(target), 1, |taus| {
                let mean_entropy = |tau: &f32| {
                    let tau = tau_of(*tau);
                    // Collected, so that the sum does not depend on the number of threads.
                    let each = |logits: &Vec<f64>| f64::from(entropy(&softmax(logits, tau).0));
                    let entropies: Vec<f64> = logits.par_iter().map(each).collect();
                    entropies.iter().sum::<f64>() / entropies.len().max(1) as f64
                };
                taus.iter().map(mean_entropy).collect()
            }),
        };
        let tau = tau_of(temperature);
        let beliefs: Vec<Belief> =
            logits.par_iter().map(|logits| self.belief(logits, tau, top)).collect();
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
        let posterior = Posterior {
            shape: x.shape,
            entropy: beliefs.iter().map(|belief| belief.entropy).collect(),
            log_z: beliefs.iter().map(|belief| belief.log_z).collect(),
            top,
            top_codes: by_part(top).map(|(token, rank)| beliefs[token].top[rank].0).collect(),
            top_probs: by_part(top).map(|(token, rank)| beliefs[token].top[rank].1).collect(),
        };
        let output = Latents { shape: x.shape, values: mean };
        Prediction { output, posterior: Some(posterior), temperature }
    }

    /// Of independent codes that are masked, nothing is known but the prior.
    fn predict_codes(
        &self,
        codes: &[u32],
        _: f32,
        settings: &SampleSettings,
        constraints: &Constraints,
        draws: &[Draw],
    ) -> CodePrediction {
        let batch = settings.labels.len();
        let nothing = self.look_up(&vec![self.codes() as u32; codes.len()], batch);
        let Prediction { output, posterior, temperature } =
            self.predict_under(&nothing, 0.0, settings, constraints);
        let logits: Vec<f32> = self.log_prior.iter().map(|p| *p as f32).collect();
        let tau = f64::from(temperature.max(Temperature::FLOOR));
        let drawn = draws
            .iter()
            .map(|draw| {
                let mut logits = logits.clone();
                if let Some(mask) = constraints.mask() {
                    mask.forbid(draw.token, &mut logits);
                }
                draw_code(&logits, tau, draw.uniform)
            })
            .collect();
        let posterior = posterior.unwrap_or_else(|| unreachable!("the oracle always has a belief"));
        CodePrediction { posterior, mean: output, temperature, drawn }
    }

    fn look_up(&self, codes: &[u32], batch: usize) -> Latents {
        let shape = self.latent_shape(batch);
        let tokens = shape.tokens();
        let values = (0..shape.len())
            .map(|at| {
                let (image, channel, token) =
                    (at / (self.size * tokens), at / tokens % self.size, at % tokens);
                let code = codes[image * tokens + token] as usize;
                if code < self.codes() { self.code(code)[channel] } else { 0.0 }
            })
            .collect();
        Latents { shape, values }
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
