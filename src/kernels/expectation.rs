//! The categorical expectation: from logits over codes to the mean of the codebook.

use burn::backend::Dispatch;
use burn::tensor::{Int, Tensor};

use super::extension::FusedOps;
use super::fused::has_kernels;
use crate::flow::Temperature;

/// What a posterior over codes amounts to, token by token.
#[derive(Debug)]
pub struct Expectation {
    /// Mean of the codebook, `[tokens, code_size]`.
    pub mean: Tensor<2>,
    /// Shannon entropy in nats, `[tokens, 1]`.
    pub entropy: Tensor<2>,
    /// Log of the sum of the exponentials of the tempered logits, `[tokens, 1]`.
    pub log_z: Tensor<2>,
    /// The largest probabilities, falling, `[tokens, top]`.
    pub top_probs: Tensor<2>,
    /// Their codes, `[tokens, top]`.
    pub top_codes: Tensor<2, Int>,
}

/// Tempered logits further than this below the largest have a probability of exactly 0 in f32.
const NEGLIGIBLE: f32 = -1e4;

/// `softmax(logits / tau) E` with its entropy, partition function and most likely codes.
///
/// `tau` is `max(temperature, 1e-6)`; logits may be `-inf`, but not all of a token's.
///
/// # Shapes
/// - `logits`: `[tokens, codes]`
/// - `codebook`: `[codes, code_size]`
pub fn categorical_expectation(
    logits: Tensor<2>,
    temperature: f32,
    codebook: Tensor<2>,
    top: usize,
) -> Expectation {
    if !has_kernels(&logits.device()) {
        return plain_expectation(logits, temperature, codebook, top);
    }
    let tau = temperature.max(Temperature::FLOOR);
    let logits = logits.into_dispatch();
    let beliefs = Dispatch::categorical_expectation(logits, codebook.into_dispatch(), tau, top);
    Expectation {
        mean: Tensor::from_dispatch(beliefs.mean),
        entropy: Tensor::from_dispatch(beliefs.entropy),
        log_z: Tensor::from_dispatch(beliefs.log_z),
        top_probs: Tensor::from_dispatch(beliefs.top_probs),
        top_codes: Tensor::from_dispatch(beliefs.top_codes),
    }
}

/// As [`categorical_expectation`], made of plain tensor operations.
pub fn plain_expectation(
    logits: Tensor<2>,
    temperature: f32,
    codebook: Tensor<2>,
    top: usize,
) -> Expectation {
    let tau = temperature.max(Temperature::FLOOR);
    let largest = logits.clone().max_dim(1);
    let shifted = ((logits - largest.clone()) / tau).clamp_min(NEGLIGIBLE);
    let weights = shifted.clone().exp();
    let z = weights.clone().sum_dim(1);
    let probs = weights / z.clone();
    let entropy = z.clone().log() - (probs.clone() * shifted).sum_dim(1);
    let log_z = z.log() + largest / tau;
    let (top_probs, top_codes) = probs.clone().topk_with_indices(top, 1);
    Expectation { mean: probs.matmul(codebook), entropy, log_z, top_probs, top_codes }
}
