//! The last layer of the backbone, applied in chunks: its output, the logits of every token, is by far
//! the largest thing a step makes, and never takes more memory than a budget.

use burn::tensor::{DType, Int, Tensor};

use super::half::affine;
use super::layers::Linear;
use super::precision::{Precision, wide};
use super::{Guided, params};
use crate::kernels::{TokenMask, packed_expectation};

/// Bytes that the logits of a step may take at a time unless a model says otherwise: half of what WebGPU
/// lets a shader bind by default, since what they are made of stands beside them.
pub const LOGITS_BUDGET: usize = 64 << 20;

/// What the head is applied to.
#[derive(Debug, Clone)]
pub struct Features {
    /// For the labels asked for. `[batch, patches, hidden]`
    pub conditional: Tensor<3>,
    /// For no label, and the guidance scale, as in [`Guided`].
    pub unconditional: Option<(Tensor<3>, f32)>,
}

/// How logits are read as a belief.
#[derive(Debug, Clone, Copy)]
pub struct Reading<'a> {
    /// Codes at the data end of the flow, `[codes, code_size]`. Channels beyond them are left out.
    pub codebook: &'a Tensor<2>,
    /// Number of likeliest codes.
    pub top: usize,
    /// What tokens may not become.
    pub mask: Option<&'a TokenMask>,
    /// Bytes that logits may take at a time, those for no label included.
    pub budget: usize,
}

/// Beliefs on the host, tokens in row-major order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HostBeliefs {
    /// `[tokens, code_size]`
    pub mean: Vec<f32>,
    /// `[tokens]`, nats
    pub entropy: Vec<f32>,
    /// `[tokens]`
    pub log_z: Vec<f32>,
    /// `[tokens, top]`, falling
    pub top_probs: Vec<f32>,
    /// `[tokens, top]`
    pub top_codes: Vec<u32>,
}

/// The last linear layer for one place in a patch.
#[derive(Debug, Clone)]
struct Part {
    /// `[channels, hidden]`
    weight: Tensor<2>,
    /// `[channels]`
    bias: Tensor<1>,
}

impl Part {
    /// `[rows, hidden]` to `[rows, channels]`, of the first so many channels, in the precision of the
    /// weight.
    fn apply(&self, rows: Tensor<2>, channels: usize) -> Tensor<2> {
        let (weight, bias) = (self.weight.clone(), self.bias.clone());
        let (weight, bias) = (weight.narrow(0, 0, channels), bias.narrow(0, 0, channels));
        affine(rows, weight, bias)
    }
}

/// The last layer, in a part for every place in a patch, so that no tensor of it is larger than it
/// must be: that of DiT-XL/2 over 16,384 codes would not fit a shader's binding in one piece.
#[derive(Debug)]
pub struct Head {
    /// Parts by row and column within a patch.
    parts: Vec<Part>,
    /// Patches a side.
    side: usize,
    /// Tokens a side of a patch.
    patch: usize,
}

/// Logits of so many rows of features, from `first` on, for one part.
#[derive(Debug, Clone, Copy)]
struct Span {
    part: usize,
    first: usize,
    count: usize,
}

/// The logits of a span.
#[derive(Debug, Clone)]
struct Chunk {
    conditional: Tensor<2>,
    unconditional: Option<(Tensor<2>, f32)>,
    mask: Option<TokenMask>,
}

impl Head {
    /// The head of a backbone of `side` patches a side, taken apart.
    pub fn new(linear: &Linear, side: usize, patch: usize) -> Self {
        let (weight, bias) = (linear.weight.val(), linear.bias.val());
        let channels = weight.dims()[0] / (patch * patch);
        let parts = (0..patch * patch).map(|i| Part {
            weight: weight.clone().narrow(0, i * channels, channels),
            bias: bias.clone().narrow(0, i * channels, channels),
        });
        Self { parts: parts.collect(), side, patch }
    }

    /// The head from its parts' weights and biases, by row and column within a patch.
    ///
    /// # Shapes
    /// - weights: `[channels, hidden]`
    /// - biases: `[channels]`
    pub fn from_parts(parts: Vec<(Tensor<2>, Tensor<1>)>, side: usize, patch: usize) -> Self {
        let parts = parts.into_iter().map(|(weight, bias)| Part { weight, bias }).collect();
        Self { parts, side, patch }
    }

    /// Weights `[patch * patch * channels, hidden]` and biases, on the host.
    pub fn to_host(&self) -> (Vec<f32>, Vec<f32>) {
        let weights = self.parts.iter().flat_map(|part| params::host(part.weight.clone()));
        let biases = self.parts.iter().flat_map(|part| params::host(part.bias.clone()));
        (weights.collect(), biases.collect())
    }

    /// The precision that it computes in.
    pub fn precision(&self) -> Precision {
        match self.parts.first().map(|part| part.weight.dtype()) {
            Some(DType::F16) => Precision::F16,
            _ => Precision::F32,
        }
    }

    fn channels(&self) -> usize {
        self.parts.first().map_or(0, |part| part.bias.dims()[0])
    }

    fn patches(&self) -> usize {
        self.side * self.side
    }

    /// Rows of logits that the budget has room for; one at least.
    fn rows_within(&self, reading: &Reading, guided: bool) -> usize {
        let number = self.parts.first().map_or(size_of::<f32>(), |p| p.weight.dtype().size());
        let row = reading.codebook.dims()[0] * number * if guided { 2 } else { 1 };
        (reading.budget / row).max(1)
    }

    /// The whole output, tokens in row-major order, in f32: for outputs that are small.
    ///
    /// # Shapes
    /// - output: `[batch, tokens, channels]`
    pub fn output(&self, features: Features) -> Guided {
        let whole = |features: Tensor<3>| {
            let ([batch, patches, hidden], p) = (features.dims(), self.patch);
            let rows = features.reshape([batch * patches, hidden]);
            let parts =
                self.parts.iter().map(|part| wide(part.apply(rows.clone(), self.channels())));
            Tensor::cat(parts.collect(), 0)
                .reshape([p, p, batch, self.side, self.side, self.channels()])
                .permute([2, 3, 0, 4, 1, 5])
                .reshape([batch, patches * p * p, self.channels()])
        };
        Guided {
            conditional: whole(features.conditional),
            unconditional: features.unconditional.map(|(u, scale)| (whole(u), scale)),
        }
    }

    /// Beliefs as a function of the temperature. Logits that fit the budget all together are kept from
    /// one temperature to the next; others are made anew.
    pub fn beliefs<'a>(
        &'a self,
        features: &'a Features,
        reading: Reading<'a>,
    ) -> impl FnMut(f32) -> HostBeliefs + 'a {
        let spans = self.spans(features, &reading);
        let all = features.conditional.dims()[0] * self.patches() * self.parts.len();
        let fits = all <= self.rows_within(&reading, features.unconditional.is_some());
        let mut kept: Option<Vec<Chunk>> = None;
        move |temperature| {
            let chunk = |span: &Span| self.chunk(features, *span, &reading);
            if fits && kept.is_none() {
                kept = Some(spans.iter().map(chunk).collect());
            }
            let read = |chunk: Chunk| {
                let (codebook, top) = (reading.codebook.clone(), reading.top);
                let Chunk { conditional, unconditional, mask } = chunk;
                packed_expectation(
                    conditional,
                    unconditional,
                    temperature,
                    codebook,
                    top,
                    mask.as_ref(),
                )
            };
            let packed: (Vec<Tensor<2>>, Vec<Tensor<2, Int>>) = match &kept {
                Some(chunks) => chunks.iter().cloned().map(read).unzip(),
                None => spans.iter().map(chunk).map(read).unzip(),
            };
            let (numbers, codes) = (Tensor::cat(packed.0, 0), Tensor::cat(packed.1, 0));
            let codes = codes.into_data_as::<i64>();
            let codes: Vec<u32> = codes.iter::<i64>().map(|code| code as u32).collect();
            self.unpack(&params::host(numbers), &codes, &spans, &reading)
        }
    }

    /// Mixed logits of some tokens, in their order, a chunk at a time: every row is given to `each`
    /// with its place among `tokens`.
    pub fn rows(
        &self,
        features: &Features,
        tokens: &[usize],
        reading: &Reading,
        mut each: impl FnMut(usize, &mut [f32]),
    ) {
        let codes = reading.codebook.dims()[0];
        let most = self.rows_within(reading, features.unconditional.is_some());
        for (number, part) in self.parts.iter().enumerate() {
            let placed = tokens.iter().enumerate().map(|(i, token)| (i, self.place(*token)));
            let wanted: Vec<(usize, usize)> = placed
                .filter(|(_, (of_part, _))| *of_part == number)
                .map(|(i, (_, row))| (i, row))
                .collect();
            for wanted in wanted.chunks(most) {
                let rows: Vec<i64> = wanted.iter().map(|(_, row)| *row as i64).collect();
                let device = features.conditional.device();
                let rows = Tensor::<1, Int>::from_data(rows.as_slice(), &device);
                let logits = |features: &Tensor<3>| {
                    wide(part.apply(flat(features).select(0, rows.clone()), codes)).unsqueeze::<3>()
                };
                let guided = Guided {
                    conditional: logits(&features.conditional),
                    unconditional: features
                        .unconditional
                        .as_ref()
                        .map(|(features, scale)| (logits(features), *scale)),
                };
                let mut logits = params::host(guided.mixed());
                for ((i, _), logits) in wanted.iter().zip(logits.chunks_exact_mut(codes)) {
                    each(*i, logits);
                }
            }
        }
    }

    /// Chunks within the budget, part after part.
    fn spans(&self, features: &Features, reading: &Reading) -> Vec<Span> {
        let rows = features.conditional.dims()[0] * self.patches();
        let most = self.rows_within(reading, features.unconditional.is_some());
        (0..self.parts.len())
            .flat_map(|part| {
                let firsts = (0..rows).step_by(most);
                firsts.map(move |first| Span { part, first, count: most.min(rows - first) })
            })
            .collect()
    }

    fn chunk(&self, features: &Features, span: Span, reading: &Reading) -> Chunk {
        let (part, codes) = (&self.parts[span.part], reading.codebook.dims()[0]);
        let logits = |features: &Tensor<3>| {
            part.apply(flat(features).narrow(0, span.first, span.count), codes)
        };
        let tokens = || {
            (span.first..span.first + span.count)
                .map(|row| self.token(span.part, row))
                .collect::<Vec<_>>()
        };
        Chunk {
            conditional: logits(&features.conditional),
            unconditional: features
                .unconditional
                .as_ref()
                .map(|(features, scale)| (logits(features), *scale)),
            mask: reading.mask.map(|mask| mask.select(&tokens())),
        }
    }

    /// Token, counted through the batch, of a row of features and a part.
    fn token(&self, part: usize, row: usize) -> usize {
        let (p, side) = (self.patch, self.side);
        let (image, patch) = (row / self.patches(), row % self.patches());
        let (y, x) = (patch / side * p + part / p, patch % side * p + part % p);
        (image * side * p + y) * side * p + x
    }

    /// Part, and row of features, of a token.
    fn place(&self, token: usize) -> (usize, usize) {
        let (p, width) = (self.patch, self.side * self.patch);
        let (image, y, x) = (token / (width * width), token / width % width, token % width);
        ((y % p) * p + x % p, (image * self.side + y / p) * self.side + x / p)
    }

    /// Numbers and codes as the kernels pack them, span after span, in the order of tokens.
    fn unpack(
        &self,
        numbers: &[f32],
        codes: &[u32],
        spans: &[Span],
        reading: &Reading,
    ) -> HostBeliefs {
        let (size, top) = (reading.codebook.dims()[1], reading.top);
        let tokens = codes.len() / top;
        let mut beliefs = HostBeliefs {
            mean: vec![0.0; tokens * size],
            entropy: vec![0.0; tokens],
            log_z: vec![0.0; tokens],
            top_probs: vec![0.0; tokens * top],
            top_codes: vec![0; tokens * top],
        };
        let places = spans.iter().flat_map(|span| {
            (span.first..span.first + span.count).map(|row| self.token(span.part, row))
        });
        let packed = numbers.chunks_exact(size + 2 + top).zip(codes.chunks_exact(top));
        for (token, (numbers, codes)) in places.zip(packed) {
            beliefs.mean[token * size..(token + 1) * size].copy_from_slice(&numbers[..size]);
            beliefs.entropy[token] = numbers[size];
            beliefs.log_z[token] = numbers[size + 1];
            let ranks = token * top..(token + 1) * top;
            beliefs.top_probs[ranks.clone()].copy_from_slice(&numbers[size + 2..]);
            beliefs.top_codes[ranks].copy_from_slice(codes);
        }
        beliefs
    }
}

fn flat(features: &Tensor<3>) -> Tensor<2> {
    features.clone().flatten(0, 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn tokens_and_places_are_each_others_inverse() {
        let device = Device::flex();
        let part = || (Tensor::zeros([3, 4], &device), Tensor::zeros([3], &device));
        let head = Head::from_parts((0..4).map(|_| part()).collect(), 3, 2);
        let mut seen = [false; 2 * 36];
        for part in 0..4 {
            for row in 0..2 * 9 {
                let token = head.token(part, row);
                assert_eq!(head.place(token), (part, row));
                assert!(!std::mem::replace(&mut seen[token], true), "token {token} came twice");
            }
        }
        assert!(seen.iter().all(|seen| *seen));
    }
}
