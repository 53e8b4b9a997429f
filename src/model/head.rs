//! The last layer of the backbone, applied in chunks: its output, the logits of every token, is by far
//! the largest thing a step makes, and never takes more memory than a budget.

use burn::tensor::{DType, Int, Tensor};

use super::half::affine;
use super::layers::Linear;
use super::mask::RunMask;
use super::precision::{Precision, wide};
use super::{Guided, params};
use crate::kernels::{PackedMask, packed_expectation};
use crate::readback::Together;

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

impl Features {
    /// Those of a batch from those of its parts, one at least.
    pub(super) fn joined(mut parts: Vec<Self>) -> Self {
        if parts.len() == 1
            && let Some(whole) = parts.pop()
        {
            return whole;
        }
        let (mut conditional, mut unconditional, mut scale) = (Vec::new(), Vec::new(), 1.0);
        for part in parts {
            conditional.push(part.conditional);
            if let Some((without, of_part)) = part.unconditional {
                unconditional.push(without);
                scale = of_part;
            }
        }
        let guided = !unconditional.is_empty();
        Self {
            conditional: Tensor::cat(conditional, 0),
            unconditional: guided.then(|| (Tensor::cat(unconditional, 0), scale)),
        }
    }
}

/// How logits are read as a belief.
#[derive(Debug, Clone, Copy)]
pub struct Reading<'a> {
    /// Codes at the data end of the flow, `[codes, code_size]`. Channels beyond them are left out.
    pub codebook: &'a Tensor<2>,
    /// Number of likeliest codes.
    pub top: usize,
    /// What tokens may not become.
    pub mask: Option<&'a RunMask>,
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
    mask: Option<PackedMask>,
}

/// Rows of features of one part that logits are wanted of, each with its place among the tokens that
/// were named.
#[derive(Debug, Clone)]
struct Wanted {
    part: usize,
    rows: Vec<(usize, usize)>,
}

impl Wanted {
    /// Gives every row of `logits` with its place.
    fn give(&self, logits: &mut [f32], mut each: impl FnMut(usize, &mut [f32])) {
        let codes = logits.len() / self.rows.len().max(1);
        for ((i, _), logits) in self.rows.iter().zip(logits.chunks_exact_mut(codes.max(1))) {
            each(*i, logits);
        }
    }
}

/// The beliefs of a step as a function of the temperature. Logits that fit the budget all together are
/// kept from one temperature to the next; others are made anew.
#[derive(Debug)]
pub struct Beliefs<'a> {
    head: &'a Head,
    features: &'a Features,
    reading: Reading<'a>,
    spans: Vec<Span>,
    kept: Option<Vec<Chunk>>,
}

impl Beliefs<'_> {
    /// The beliefs at a temperature, read with one wait.
    pub fn at(&self, temperature: f32) -> HostBeliefs {
        self.at_with_rows(temperature, &[], |_, _| {})
    }

    /// As [`Beliefs::at`], and the mixed logits of some tokens as [`Head::rows`] gives them, with the
    /// same wait if the budget has room for all of them.
    pub fn at_with_rows(
        &self,
        temperature: f32,
        tokens: &[usize],
        mut each: impl FnMut(usize, &mut [f32]),
    ) -> HostBeliefs {
        let Self { head, features, reading, spans, .. } = self;
        let (mut numbers, mut codes) = (Vec::new(), Vec::new());
        self.chunks(|chunk| {
            let (these, best) = packed(chunk, temperature, reading);
            numbers.push(these);
            codes.push(best);
        });
        let mut together =
            Together::default().with(Tensor::cat(codes, 0)).with(Tensor::cat(numbers, 0));
        let room = self.room();
        let wanted = if tokens.len() <= room { head.wanted(tokens, room.max(1)) } else { vec![] };
        for wanted in &wanted {
            together = together.with(head.logits_of(features, wanted, reading));
        }
        let mut read = together.read();
        let (codes, numbers) = (read.codes(), read.floats());
        for wanted in &wanted {
            wanted.give(&mut read.floats(), &mut each);
        }
        if tokens.len() > room {
            head.rows(features, tokens, reading, each);
        }
        head.unpack(&numbers, &codes, spans, reading)
    }

    /// The mean entropy of all tokens at each of some temperatures, in nats, read with one wait.
    pub fn mean_entropies(&self, temperatures: &[f32]) -> Vec<f64> {
        let Self { head, reading, spans, .. } = self;
        let at = reading.codebook.dims()[1];
        let mut entropies: Vec<Vec<Tensor<2>>> = vec![Vec::new(); temperatures.len()];
        self.chunks(|chunk| {
            for (temperature, entropies) in temperatures.iter().zip(&mut entropies) {
                entropies.push(packed(chunk, *temperature, reading).0.narrow(1, at, 1));
            }
        });
        let entropies = entropies.into_iter().map(|parts| Tensor::cat(parts, 0));
        let together = entropies.fold(Together::default(), Together::with);
        let mut read = together.read();
        let means = temperatures.iter().map(|_| {
            let entropies = read.floats();
            // In the order of tokens, so that the sum does not depend on the chunks.
            let mut ordered = vec![0.0; entropies.len()];
            for (token, entropy) in head.tokens_of(spans).zip(entropies) {
                ordered[token] = f64::from(entropy);
            }
            ordered.iter().sum::<f64>() / ordered.len().max(1) as f64
        });
        means.collect()
    }

    /// Gives every chunk of logits, one after the other.
    fn chunks(&self, mut each: impl FnMut(&Chunk)) {
        match &self.kept {
            Some(chunks) => chunks.iter().for_each(each),
            None => self
                .spans
                .iter()
                .for_each(|span| each(&self.head.chunk(self.features, *span, &self.reading))),
        }
    }

    /// Rows of logits that the budget has room for beside those that are there already.
    fn room(&self) -> usize {
        let most = self.head.rows_within(&self.reading, self.features.unconditional.is_some());
        let kept = |chunks: &Vec<Chunk>| chunks.iter().map(|c| c.conditional.dims()[0]).sum();
        most.saturating_sub(self.kept.as_ref().map_or(most, kept))
    }
}

/// What the kernels make of a chunk at a temperature.
fn packed(chunk: &Chunk, temperature: f32, reading: &Reading) -> (Tensor<2>, Tensor<2, Int>) {
    let Chunk { conditional, unconditional, mask } = chunk.clone();
    let (codebook, top) = (reading.codebook.clone(), reading.top);
    packed_expectation(conditional, unconditional, temperature, codebook, top, mask)
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

    /// Beliefs that are still to be read, at one temperature or another.
    pub fn beliefs<'a>(&'a self, features: &'a Features, reading: Reading<'a>) -> Beliefs<'a> {
        let spans = self.spans(features, &reading);
        let all = features.conditional.dims()[0] * self.patches() * self.parts.len();
        let fits = all <= self.rows_within(&reading, features.unconditional.is_some());
        let kept = fits.then(|| {
            spans.iter().map(|span| self.chunk(features, *span, &reading)).collect::<Vec<_>>()
        });
        Beliefs { head: self, features, reading, spans, kept }
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
        let most = self.rows_within(reading, features.unconditional.is_some());
        for wanted in self.wanted(tokens, most) {
            let mut logits = params::host(self.logits_of(features, &wanted, reading));
            wanted.give(&mut logits, &mut each);
        }
    }

    /// Tokens by part, at most so many at a time.
    fn wanted(&self, tokens: &[usize], most: usize) -> Vec<Wanted> {
        let of_part = |part: usize| {
            let placed = tokens.iter().enumerate().map(|(i, token)| (i, self.place(*token)));
            let of_it = placed.filter(|(_, (of_part, _))| *of_part == part);
            of_it.map(|(i, (_, row))| (i, row)).collect::<Vec<_>>()
        };
        (0..self.parts.len())
            .flat_map(|part| {
                let rows = of_part(part);
                let chunks = rows.chunks(most).map(|rows| Wanted { part, rows: rows.to_vec() });
                chunks.collect::<Vec<_>>()
            })
            .collect()
    }

    /// Mixed logits of some rows of a part, `[rows, codes]`.
    fn logits_of(&self, features: &Features, wanted: &Wanted, reading: &Reading) -> Tensor<2> {
        let (part, codes) = (&self.parts[wanted.part], reading.codebook.dims()[0]);
        let rows: Vec<i64> = wanted.rows.iter().map(|(_, row)| *row as i64).collect();
        let rows = Tensor::<1, Int>::from_data(rows.as_slice(), &features.conditional.device());
        let logits = |features: &Tensor<3>| {
            wide(part.apply(flat(features).select(0, rows.clone()), codes)).unsqueeze::<3>()
        };
        let unconditional = features.unconditional.as_ref();
        let guided = Guided {
            conditional: logits(&features.conditional),
            unconditional: unconditional.map(|(features, scale)| (logits(features), *scale)),
        };
        guided.mixed().squeeze_dim(0)
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
            mask: reading.mask.map(|mask| mask.chunk([span.part, span.first, span.count], tokens)),
        }
    }

    /// The tokens of spans, in the order of their rows.
    fn tokens_of(&self, spans: &[Span]) -> impl Iterator<Item = usize> {
        spans.iter().flat_map(|span| {
            (span.first..span.first + span.count).map(|row| self.token(span.part, row))
        })
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
        let places = self.tokens_of(spans);
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
