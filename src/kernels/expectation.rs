//! The categorical expectation: from logits over codes to the mean of the codebook.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use burn::backend::Dispatch;
use burn::tensor::{Int, Tensor, TensorData};
use burn_wgpu::CubeTensor;

use super::codes::CodeOps;

/// The smallest temperature that logits are ever divided by: 0 means the most likely code.
pub const TEMPERATURE_FLOOR: f32 = 1e-6;

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

/// What is forbidden and fixed, token by token, on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenMask {
    codes: usize,
    /// For every token the code that it is held to, or -1. `[tokens]`
    pub pins: Vec<i32>,
    /// A bit a code, set where it is banned. `[tokens, codes / 32]`, rounded up
    pub bans: Vec<u32>,
}

impl TokenMask {
    /// A mask of that many tokens that allows everything.
    pub fn new(tokens: usize, codes: usize) -> Self {
        let words = codes.div_ceil(32);
        Self { codes, pins: vec![-1; tokens], bans: vec![0; tokens * words] }
    }

    /// Numbers of 32 bits that the bans of a token take.
    pub fn words(&self) -> usize {
        self.codes.div_ceil(32)
    }

    /// Holds a token to a code, banned or not.
    pub fn pin(&mut self, token: usize, code: u32) {
        self.pins[token] = code as i32;
    }

    /// Forbids a code to a token.
    pub fn ban(&mut self, token: usize, code: u32) {
        let at = token * self.words() + code as usize / 32;
        self.bans[at] |= 1 << (code % 32);
    }

    /// Forbids a code to every token.
    pub fn ban_everywhere(&mut self, code: u32) {
        (0..self.pins.len()).for_each(|token| self.ban(token, code));
    }

    /// Whether a token may become a code.
    pub fn allows(&self, token: usize, code: usize) -> bool {
        match self.pins[token] {
            -1 => self.bans[token * self.words() + code / 32] >> (code % 32) & 1 == 0,
            pinned => pinned as usize == code,
        }
    }

    /// The logits `[tokens, codes]` with those of what tokens may not become at minus infinity.
    fn applied(&self, logits: Tensor<2>) -> Tensor<2> {
        let [tokens, codes] = logits.dims();
        let mut added = vec![0.0; tokens * codes];
        for (token, added) in added.chunks_exact_mut(codes).enumerate() {
            self.forbid(token, added);
        }
        let added = TensorData::new(added, [tokens, codes]);
        let device = logits.device();
        logits + Tensor::from_data(added, &device)
    }

    /// The mask as the kernels read it.
    pub fn packed(&self) -> PackedMask {
        let words = self.words();
        let bans = self.bans.chunks_exact(words.max(1));
        let words = self
            .pins
            .iter()
            .zip(bans)
            .flat_map(|(pin, bans)| std::iter::once((pin + 1) as u32).chain(bans.iter().copied()))
            .collect();
        PackedMask(Arc::new(Packed { words, placed: Mutex::default() }))
    }

    /// The mask of some tokens, in the order in which they are named.
    pub fn select(&self, tokens: &[usize]) -> Self {
        let words = self.words();
        let bans = |token: &usize| self.bans[token * words..(token + 1) * words].iter().copied();
        Self {
            codes: self.codes,
            pins: tokens.iter().map(|token| self.pins[*token]).collect(),
            bans: tokens.iter().flat_map(bans).collect(),
        }
    }

    /// Puts the logits of what a token may not become at minus infinity.
    pub fn forbid(&self, token: usize, logits: &mut [f32]) {
        for (code, logit) in logits.iter_mut().enumerate() {
            if !self.allows(token, code) {
                *logit = f32::NEG_INFINITY;
            }
        }
    }
}

/// A [`TokenMask`] as the kernels read it: for every token its pin and one (0: none) and the bits of
/// its bans, 32 to a number. Clones share what is put on a GPU, which happens once.
#[derive(Clone)]
pub struct PackedMask(Arc<Packed>);

struct Packed {
    words: Vec<u32>,
    /// On the GPU that asked for it.
    placed: Mutex<Option<CubeTensor>>,
}

impl PackedMask {
    /// The numbers on the host, `[tokens, 1 + codes / 32]`, rounded up.
    pub(crate) fn words(&self) -> &[u32] {
        &self.0.words
    }

    /// The numbers on the device of `like`, put there by `place` the first time.
    pub(super) fn on_device_of(
        &self,
        like: &CubeTensor,
        place: impl FnOnce(&[u32]) -> CubeTensor,
    ) -> CubeTensor {
        let mut placed = self.0.placed.lock().unwrap_or_else(PoisonError::into_inner);
        match &*placed {
            Some(there) if there.device == like.device => there.clone(),
            _ => placed.insert(place(&self.0.words)).clone(),
        }
    }
}

impl fmt::Debug for PackedMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PackedMask of {} words", self.0.words.len())
    }
}

/// Tempered logits further than this below the largest have a probability of exactly 0 in f32.
const NEGLIGIBLE: f32 = -1e4;

/// `softmax(logits / tau) E` with its entropy, partition function and most likely codes.
///
/// Under a `mask` a token has only the codes that it may become. `tau` is `max(temperature, 1e-6)`;
/// logits may be `-inf`, but not all of a token's.
///
/// # Shapes
/// - `logits`: `[tokens, codes]`, f32 or f16
/// - `codebook`: `[codes, code_size]`, a code of 1 to 64 numbers
/// - `top`: 1 to 16, at most `codes`
pub fn categorical_expectation(
    logits: Tensor<2>,
    temperature: f32,
    codebook: Tensor<2>,
    top: usize,
    mask: Option<&TokenMask>,
) -> Expectation {
    categorical_expectation_guided(logits, None, temperature, codebook, top, mask)
}

/// As [`categorical_expectation`], of `u + s (logits - u)` for logits `u` for no label and a scale `s`,
/// which are mixed as they are read and never stored. What is minus infinity in either stays so.
pub fn categorical_expectation_guided(
    logits: Tensor<2>,
    guidance: Option<(Tensor<2>, f32)>,
    temperature: f32,
    codebook: Tensor<2>,
    top: usize,
    mask: Option<&TokenMask>,
) -> Expectation {
    let ([tokens, _], size) = (logits.dims(), codebook.dims()[1]);
    let mask = mask.map(TokenMask::packed);
    let (all, top_codes) = packed_expectation(logits, guidance, temperature, codebook, top, mask);
    let part = |from: usize, width: usize| all.clone().slice([0..tokens, from..from + width]);
    Expectation {
        mean: part(0, size),
        entropy: part(size, 1),
        log_z: part(size + 1, 1),
        top_probs: part(size + 2, top),
        top_codes,
    }
}

/// As [`categorical_expectation_guided`], as the kernels give it: for every token mean, entropy, log Z
/// and top probabilities one after another, `[tokens, code_size + 2 + top]`; and the top codes.
pub fn packed_expectation(
    logits: Tensor<2>,
    guidance: Option<(Tensor<2>, f32)>,
    temperature: f32,
    codebook: Tensor<2>,
    top: usize,
    mask: Option<PackedMask>,
) -> (Tensor<2>, Tensor<2, Int>) {
    let (unguided, scale) = match guidance {
        Some((unguided, scale)) => (unguided, Some(scale)),
        None => (logits.clone(), None),
    };
    let packed = Dispatch::packed_expectation(
        logits.into_dispatch(),
        unguided.into_dispatch(),
        codebook.into_dispatch(),
        temperature.max(TEMPERATURE_FLOOR),
        scale,
        top,
        mask,
    );
    (Tensor::from_dispatch(packed.beliefs), Tensor::from_dispatch(packed.best))
}

/// `u + s (logits - u)`, as [`categorical_expectation_guided`] mixes, made of plain tensor operations.
pub fn plain_guided(logits: Tensor<2>, unguided: Tensor<2>, scale: f32) -> Tensor<2> {
    let lowest = unguided.clone().min_pair(logits.clone());
    let impossible = lowest.equal_elem(f32::NEG_INFINITY);
    let mixed = unguided.clone() + (logits - unguided) * scale;
    mixed.mask_fill(impossible, f32::NEG_INFINITY)
}

/// As [`categorical_expectation`], made of plain tensor operations.
pub fn plain_expectation(
    logits: Tensor<2>,
    temperature: f32,
    codebook: Tensor<2>,
    top: usize,
    mask: Option<&TokenMask>,
) -> Expectation {
    let tau = temperature.max(TEMPERATURE_FLOOR);
    let logits = match mask {
        Some(mask) => mask.applied(logits),
        None => logits,
    };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::readback;
    use burn::tensor::Device;

    #[test]
    fn a_mask_is_put_on_a_gpu_once_for_all_clones() {
        let device = Device::wgpu_options().init().expect("the tests need an adapter");
        let mut mask = TokenMask::new(1, 3);
        mask.ban(0, 2);
        let mask = mask.packed();
        let logits = Tensor::<2>::from_floats([[0.0, 1.0, 9.0]], &device);
        let codebook = Tensor::<2>::from_floats([[1.0], [2.0], [3.0]], &device);
        let placed = || mask.0.placed.lock().unwrap().as_ref().map(|there| there.handle.clone());
        let mut at = Vec::new();
        for _ in 0..2 {
            let (logits, codebook) = (logits.clone(), codebook.clone());
            let best = packed_expectation(logits, None, 1.0, codebook, 1, Some(mask.clone())).1;
            assert_eq!(readback::integers(best), [1], "the likeliest is banned");
            at.push(placed().expect("it is on the device").binding().memory);
        }
        assert_eq!(at[0].descriptor().location(), at[1].descriptor().location());
        assert_eq!(mask.words(), [0, 1 << 2]);
    }
}
