//! The operations over codes on burn's CPU backend: parallel Rust over the tensors' own memory.
//!
//! Logits are read once, in blocks that stay in the nearest cache; guidance, pins and bans are worked
//! in as they are read, so that neither mixed logits nor probabilities are ever stored.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::{DType, TensorData};
use half::f16;
use rayon::prelude::*;

use super::codes::{CodeOps, Nearest, PackedBeliefs};
use super::expectation::PackedMask;
use super::host::{
    EXP_LIMIT, ROWS_PER_TASK, Rows, exp, largest, refuse, sum_of, sum_of_both, tensor, unwritten,
};
use super::vectors::vectors;

/// Codes taken at a time.
const BLOCK: usize = 256;
/// Running sums of a number of the mean, so that additions need not wait for one another.
const LANES: usize = 32;
/// Shortest latent that is brought to length 1: the reference's floor.
const SHORTEST: f32 = 1e-12;

/// A contiguous tensor of f32 or f16.
struct Numbers(FloatTensor<Flex>);

/// Its memory.
#[derive(Clone, Copy)]
enum Slice<'a> {
    Single(&'a [f32]),
    Half(&'a [f16]),
}

impl Numbers {
    fn new(tensor: FloatTensor<Flex>) -> Self {
        Self(tensor.to_contiguous())
    }

    fn slice(&self) -> Slice<'_> {
        match self.0.dtype() {
            DType::F16 => Slice::Half(self.0.as_slice().unwrap_or_else(|| refuse(&self.0))),
            _ => Slice::Single(self.0.as_slice().unwrap_or_else(|| refuse(&self.0))),
        }
    }
}

impl Slice<'_> {
    #[inline(always)]
    fn read(&self, at: usize, out: &mut [f32]) {
        match self {
            Self::Single(values) => out.copy_from_slice(&values[at..at + out.len()]),
            Self::Half(values) => {
                let values = &values[at..at + out.len()];
                out.iter_mut().zip(values).for_each(|(out, value)| *out = value.to_f32());
            }
        }
    }
}

/// Logits `[tokens, width]` as they are believed: guided, and under pins and bans.
struct Logits<'a> {
    conditional: Slice<'a>,
    /// Those for no label, and the guidance scale.
    unconditional: Option<(Slice<'a>, f32)>,
    width: usize,
    /// As in [`PackedMask`], or empty.
    mask: &'a [u32],
}

impl Logits<'_> {
    /// The logits of a token from code `first` on.
    #[inline(always)]
    fn read(&self, token: usize, first: usize, out: &mut [f32]) {
        let at = token * self.width + first;
        self.conditional.read(at, out);
        if let Some((unconditional, scale)) = &self.unconditional {
            let mut base = [0.0; BLOCK];
            let base = &mut base[..out.len()];
            unconditional.read(at, base);
            for (logit, base) in out.iter_mut().zip(base) {
                let mixed = *base + scale * (*logit - *base);
                let finite = logit.min(*base) > f32::NEG_INFINITY;
                *logit = if finite { mixed } else { f32::NEG_INFINITY };
            }
        }
        if self.mask.is_empty() {
            return;
        }
        let words = self.width.div_ceil(32);
        let row = &self.mask[token * (words + 1)..(token + 1) * (words + 1)];
        if let Some(pin) = row[0].checked_sub(1) {
            for (i, logit) in out.iter_mut().enumerate() {
                if first + i != pin as usize {
                    *logit = f32::NEG_INFINITY;
                }
            }
            return;
        }
        // Blocks begin at multiples of 32.
        for (word, logits) in row[1 + first / 32..].iter().zip(out.chunks_mut(32)) {
            if *word != 0 {
                for (i, logit) in logits.iter_mut().enumerate() {
                    if word >> i & 1 == 1 {
                        *logit = f32::NEG_INFINITY;
                    }
                }
            }
        }
    }
}

/// The posterior of one token, as it is added up.
struct Belief {
    /// The largest logit so far; the sums below are of exponentials relative to it.
    most: f32,
    z: f32,
    /// `sum exp(l') l'` of the tempered logits `l'` relative to the largest.
    spread: f32,
    mean: Vec<[f32; LANES]>,
    /// Logits and codes; likeliest first.
    top: Vec<(f32, usize)>,
}

impl Belief {
    fn new(size: usize, top: usize) -> Self {
        Self {
            most: f32::NEG_INFINITY,
            z: 0.0,
            spread: 0.0,
            mean: vec![[0.0; LANES]; size],
            top: Vec::with_capacity(top + 1),
        }
    }

    /// Brings the sums to a new largest logit.
    #[inline(always)]
    fn rise(&mut self, most: f32, rate: f32) {
        let fall = (self.most - most) * rate;
        let scale = if fall < -EXP_LIMIT { 0.0 } else { exp(fall) };
        self.spread = if scale > 0.0 { scale * (self.spread + self.z * fall) } else { 0.0 };
        self.z *= scale;
        self.mean.iter_mut().flatten().for_each(|mean| *mean *= scale);
        self.most = most;
    }

    /// Adds a block of logits; `columns` holds the block's codes, a number of all codes after another.
    #[inline(always)]
    fn add(&mut self, first: usize, logits: &[f32], columns: &[f32], rate: f32, top: usize) {
        let high = largest(logits);
        if high > self.most {
            self.rise(high, rate);
        }
        if high > self.least(top) || self.top.len() < top {
            self.rank(first, logits, top);
        }
        if (high - self.most) * rate < -EXP_LIMIT || high == f32::NEG_INFINITY {
            return;
        }
        // Weights are 0 beyond the end of the last block.
        let (mut weights, mut below) = ([0.0f32; BLOCK], [0.0f32; BLOCK]);
        for ((weight, below), logit) in weights.iter_mut().zip(&mut below).zip(logits) {
            let shifted = ((logit - self.most) * rate).max(-2.0 * EXP_LIMIT);
            *below = shifted;
            *weight = if shifted < -EXP_LIMIT { 0.0 } else { exp(shifted) };
        }
        self.z += sum_of(&weights, |weight| weight);
        self.spread += sum_of_both(&weights, &below, |weight, below| weight * below);
        for (mean, column) in self.mean.iter_mut().zip(columns.chunks_exact(BLOCK)) {
            let (weights, column) = (weights.as_chunks::<LANES>().0, column.as_chunks::<LANES>().0);
            let mut sums = *mean;
            for (weights, column) in weights.iter().zip(column) {
                for ((sum, weight), code) in sums.iter_mut().zip(weights).zip(column) {
                    *sum += weight * code;
                }
            }
            *mean = sums;
        }
    }

    /// The logit that a code must exceed to be one of the likeliest.
    #[inline(always)]
    fn least(&self, top: usize) -> f32 {
        match self.top.last() {
            Some((logit, _)) if self.top.len() == top => *logit,
            _ => f32::NEG_INFINITY,
        }
    }

    #[inline(always)]
    fn rank(&mut self, first: usize, logits: &[f32], top: usize) {
        for (chunk, logits) in logits.chunks(16).enumerate() {
            if self.top.len() == top && largest(logits) <= self.least(top) {
                continue;
            }
            for (i, logit) in logits.iter().enumerate() {
                if *logit > self.least(top) || self.top.len() < top {
                    // Equal logits keep the order of their codes.
                    let at = self.top.partition_point(|(other, _)| other >= logit);
                    self.top.insert(at, (*logit, first + chunk * 16 + i));
                    self.top.truncate(top);
                }
            }
        }
    }
}

/// Largest logit and sum of the exponentials of the differences to it.
#[inline(always)]
fn partition(row: &[f32]) -> (f32, f32) {
    let largest = largest(row);
    (largest, sum_of(row, |l| exp(l - largest)))
}

/// The codebook `[codes, size]` in blocks of codes; within a block, one number of every code after
/// another, 0 beyond the last code.
fn columns(codebook: &[f32], size: usize) -> Vec<f32> {
    let codes = codebook.len() / size;
    let mut columns = vec![0.0; codes.div_ceil(BLOCK) * BLOCK * size];
    let blocks = columns.par_chunks_mut(BLOCK * size).zip(codebook.par_chunks(BLOCK * size));
    blocks.for_each(|(block, codes)| {
        for (k, code) in codes.chunks_exact(size).enumerate() {
            code.iter().enumerate().for_each(|(i, value)| block[i * BLOCK + k] = *value);
        }
    });
    columns
}

impl CodeOps for Flex {
    fn packed_expectation(
        conditional: FloatTensor<Self>,
        unconditional: FloatTensor<Self>,
        codebook: FloatTensor<Self>,
        tau: f32,
        scale: Option<f32>,
        top: usize,
        mask: Option<PackedMask>,
    ) -> PackedBeliefs<Self> {
        let (tokens, width) = (conditional.shape()[0], conditional.shape()[1]);
        let codebook = Rows::new(codebook);
        let size = codebook.dims()[1];
        let columns = columns(codebook.values(), size);
        let conditional = Numbers::new(conditional);
        let unconditional = scale.map(|scale| (Numbers::new(unconditional), scale));
        let logits = Logits {
            conditional: conditional.slice(),
            unconditional: unconditional.as_ref().map(|(logits, scale)| (logits.slice(), *scale)),
            width,
            mask: mask.as_ref().map_or(&[], PackedMask::words),
        };
        let rate = 1.0 / tau;
        let stride = size + 2 + top;
        let mut beliefs = vec![0.0; tokens * stride];
        let mut best = vec![0i64; tokens * top];
        let out = beliefs.par_chunks_mut(stride).zip(best.par_chunks_mut(top));
        out.enumerate().for_each(|(token, (out, best))| {
            vectors(
                #[inline(always)]
                || {
                    let mut belief = Belief::new(size, top);
                    let mut block = [0.0; BLOCK];
                    for (i, columns) in columns.chunks_exact(BLOCK * size).enumerate() {
                        let first = i * BLOCK;
                        let block = &mut block[..BLOCK.min(width - first)];
                        logits.read(token, first, block);
                        belief.add(first, block, columns, rate, top);
                    }
                    let (mean, rest) = out.split_at_mut(size);
                    for (mean, lanes) in mean.iter_mut().zip(&belief.mean) {
                        *mean = lanes.iter().sum::<f32>() / belief.z;
                    }
                    rest[0] = (belief.z.ln() - belief.spread / belief.z).max(0.0);
                    rest[1] = belief.z.ln() + belief.most * rate;
                    let ranks = rest[2..].iter_mut().zip(best).zip(&belief.top);
                    for ((probability, best), (logit, code)) in ranks {
                        let below = (logit - belief.most) * rate;
                        let weight = if below < -EXP_LIMIT { 0.0 } else { exp(below) };
                        (*probability, *best) = (weight / belief.z, *code as i64);
                    }
                },
            )
        });
        PackedBeliefs {
            beliefs: tensor(beliefs, vec![tokens, stride]),
            best: IntTensor::<Flex>::from_data(TensorData::new(best, [tokens, top])),
        }
    }

    fn code_terms(logits: FloatTensor<Self>, codes: IntTensor<Self>) -> FloatTensor<Self> {
        let (logits, codes) = (Rows::new(logits), indices(codes));
        let [tokens, width] = logits.dims()[..] else { return logits.like(Vec::new()) };
        let rows = logits.values().par_chunks(width).zip(&codes).with_min_len(ROWS_PER_TASK);
        let out: Vec<[f32; 2]> = rows
            .map(|(row, code)| {
                vectors(
                    #[inline(always)]
                    || {
                        let (largest, z) = partition(row);
                        [z.ln() + largest - row[*code], z.ln() + largest]
                    },
                )
            })
            .collect();
        tensor(out.into_flattened(), vec![tokens, 2])
    }

    fn code_terms_backward(
        logits: FloatTensor<Self>,
        codes: IntTensor<Self>,
        terms: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let (logits, codes) = (Rows::new(logits), indices(codes));
        let (terms, grad) = (Rows::new(terms), Rows::new(grad));
        let [_, width] = logits.dims()[..] else { return logits.like(Vec::new()) };
        let mut out = unwritten(logits.values().len());
        let given = terms.values().par_chunks(2).zip(grad.values().par_chunks(2));
        let rows = logits.values().par_chunks(width).zip(&codes).zip(given);
        out.par_chunks_mut(width).zip(rows).with_min_len(ROWS_PER_TASK).for_each(
            |(out, ((row, code), (terms, grad)))| {
                vectors(
                    #[inline(always)]
                    || {
                        let (log_z, both) = (terms[1], grad[0] + grad[1]);
                        out.iter_mut().zip(row).for_each(|(out, l)| *out = both * exp(l - log_z));
                        out[*code] -= grad[0];
                    },
                )
            },
        );
        logits.like(out)
    }

    fn nearest(
        latents: FloatTensor<Self>,
        codebook: FloatTensor<Self>,
        unit: bool,
    ) -> Nearest<Self> {
        let (latents, codebook) = (Rows::new(latents), Rows::new(codebook));
        let (tokens, size, codes) = (latents.dims()[0], latents.dims()[1], codebook.dims()[0]);
        let columns = columns(codebook.values(), size);
        let found: Vec<(i64, f32)> = latents
            .values()
            .par_chunks(size)
            .map(|latent| {
                vectors(
                    #[inline(always)]
                    || closest(latent, &columns, codes, unit),
                )
            })
            .collect();
        let indices: Vec<i64> = found.iter().map(|(code, _)| *code).collect();
        let distances = found.iter().map(|(_, distance)| *distance).collect();
        Nearest {
            codes: IntTensor::<Flex>::from_data(TensorData::new(indices, [tokens, 1])),
            distances: tensor(distances, vec![tokens, 1]),
        }
    }
}

/// The nearest code, the lowest where distances tie, and its squared distance.
#[inline(always)]
fn closest(latent: &[f32], columns: &[f32], codes: usize, unit: bool) -> (i64, f32) {
    let length = latent.iter().map(|x| x * x).sum::<f32>().sqrt();
    let rate = if unit { 1.0 / length.max(SHORTEST) } else { 1.0 };
    let mut found = (0, f32::INFINITY);
    for (i, columns) in columns.chunks_exact(BLOCK * latent.len()).enumerate() {
        let mut distances = [0.0f32; BLOCK];
        for (x, column) in latent.iter().zip(columns.chunks_exact(BLOCK)) {
            let x = x * rate;
            for (distance, e) in distances.iter_mut().zip(column) {
                *distance += (x - e) * (x - e);
            }
        }
        let distances = &distances[..BLOCK.min(codes - i * BLOCK)];
        let least = distances.iter().copied().fold(f32::INFINITY, f32::min);
        if least < found.1 {
            let at = distances.iter().position(|distance| *distance == least).unwrap_or(0);
            found = ((i * BLOCK + at) as i64, least);
        }
    }
    found
}

/// The numbers of an integer tensor.
fn indices(codes: IntTensor<Flex>) -> Vec<usize> {
    codes.into_data().iter::<i64>().map(|code| code as usize).collect()
}
