//! The fused operations in parallel Rust, over rows of contiguous f32.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::{Shape, TensorData};
use pulp::Arch;
use rayon::prelude::*;

use super::extension::Beliefs;

/// `1 / (1 + exp(-x))` saturates in f32 well before this.
const EXP_LIMIT: f32 = 87.0;
const NORM_EPSILON: f32 = 1e-6;
/// `2 sqrt(2/pi)`
const GELU_SLOPE: f32 = 1.595_769_2;
const GELU_CUBIC: f32 = 0.044_715;
/// Rows a task takes at a time: enough work to be worth handing out.
const ROWS_PER_TASK: usize = 16;
/// Numbers a task takes at a time where there are no rows.
const CHUNK: usize = 1 << 14;

/// A contiguous tensor of f32 on the CPU backend.
pub struct Rows(FloatTensor<Flex>);

impl Rows {
    /// Makes the tensor contiguous where it is a view.
    pub fn new(tensor: FloatTensor<Flex>) -> Self {
        Self(tensor.to_contiguous())
    }

    fn dims(&self) -> Vec<usize> {
        self.0.shape().to_vec()
    }

    fn values(&self) -> &[f32] {
        // A contiguous f32 tensor is a slice; anything else has no numbers for these operations.
        self.0.as_slice().unwrap_or_default()
    }

    fn like(&self, values: Vec<f32>) -> FloatTensor<Flex> {
        tensor(values, self.dims())
    }

    /// Applies `f` to every number.
    pub fn map(&self, f: impl Fn(f32) -> f32 + Sync) -> FloatTensor<Flex> {
        let mut out = vec![0.0; self.values().len()];
        out.par_chunks_mut(CHUNK).zip(self.values().par_chunks(CHUNK)).for_each(|(out, x)| {
            vectors(
                #[inline(always)]
                || out.iter_mut().zip(x).for_each(|(out, x)| *out = f(*x)),
            );
        });
        self.like(out)
    }

    /// Applies `f` to the numbers of two tensors of one shape.
    pub fn zip(&self, other: &Self, f: impl Fn(f32, f32) -> f32 + Sync) -> FloatTensor<Flex> {
        let mut out = vec![0.0; self.values().len()];
        let inputs = self.values().par_chunks(CHUNK).zip(other.values().par_chunks(CHUNK));
        out.par_chunks_mut(CHUNK).zip(inputs).for_each(|(out, (x, y))| {
            vectors(
                #[inline(always)]
                || out.iter_mut().zip(x.iter().zip(y)).for_each(|(out, (x, y))| *out = f(*x, *y)),
            );
        });
        self.like(out)
    }
}

/// Runs a loop compiled for the widest vectors that the processor has.
#[inline(always)]
fn vectors<R>(task: impl FnOnce() -> R) -> R {
    Arch::new().dispatch(task)
}

fn tensor(values: Vec<f32>, shape: Vec<usize>) -> FloatTensor<Flex> {
    FloatTensor::<Flex>::from_data(TensorData::new(values, Shape::from(shape)))
}

/// The numbers of an integer tensor.
pub fn indices(codes: IntTensor<Flex>) -> Vec<usize> {
    codes.into_data().iter::<i64>().map(|code| code as usize).collect()
}

/// `exp(x)` to about 2 units in the last place, in operations that a compiler turns into vectors:
/// `2^n p(r)` with `n = round(x / ln 2)` and a polynomial for the rest.
#[inline(always)]
fn exp(x: f32) -> f32 {
    /// Adding and subtracting it rounds to the nearest integer.
    const ROUND: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let x = x.clamp(-EXP_LIMIT, EXP_LIMIT);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * LN2_HIGH - n * LN2_LOW;
    let p = 1.0 / 5040.0;
    let p = p * r + 1.0 / 720.0;
    let p = p * r + 1.0 / 120.0;
    let p = p * r + 1.0 / 24.0;
    let p = p * r + 1.0 / 6.0;
    let p = p * r + 0.5;
    let p = p * r + 1.0;
    let p = p * r + 1.0;
    // The low bits of the shifted number are n itself, as an integer.
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127);
    p * f32::from_bits(exponent << 23)
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// `0.5 x (1 + tanh(u)) = x sigmoid(2 u)` with `u = sqrt(2/pi) (x + 0.044715 x^3)`
#[inline(always)]
pub fn gelu_tanh(x: f32) -> f32 {
    x * sigmoid(gelu_argument(x))
}

#[inline(always)]
fn gelu_argument(x: f32) -> f32 {
    GELU_SLOPE * (x + GELU_CUBIC * x * x * x)
}

/// Gradient of [`gelu_tanh`] times `grad`.
#[inline(always)]
pub fn gelu_tanh_backward(x: f32, grad: f32) -> f32 {
    let s = sigmoid(gelu_argument(x));
    let slope = GELU_SLOPE * (1.0 + 3.0 * GELU_CUBIC * x * x);
    grad * (s + x * s * (1.0 - s) * slope)
}

/// Sum in eight lanes, so that it runs in vectors and rounds less than one running sum.
#[inline(always)]
fn sum(values: impl ExactSizeIterator<Item = f32> + Clone) -> f32 {
    let mut lanes = [0.0f32; 8];
    let mut values = values;
    let mut left = values.len();
    while left >= 8 {
        for lane in &mut lanes {
            *lane += values.next().unwrap_or_default();
        }
        left -= 8;
    }
    lanes.iter().sum::<f32>() + values.sum::<f32>()
}

/// Mean and reciprocal deviation of a row.
#[inline(always)]
fn moments(row: &[f32]) -> (f32, f32) {
    let mean = sum(row.iter().copied()) / row.len() as f32;
    let variance = sum(row.iter().map(|x| (x - mean) * (x - mean))) / row.len() as f32;
    (mean, (variance + NORM_EPSILON).sqrt().recip())
}

/// `LN(x) (1 + scale) + shift`; `x` [batch, tokens, width], `shift` and `scale` [batch, 1, width].
pub fn layer_norm_modulate(x: &Rows, shift: &Rows, scale: &Rows) -> FloatTensor<Flex> {
    let [_, tokens, width] = x.dims()[..] else { return x.like(Vec::new()) };
    let mut out = vec![0.0; x.values().len()];
    out.par_chunks_mut(width)
        .zip(x.values().par_chunks(width))
        .enumerate()
        .with_min_len(ROWS_PER_TASK)
        .for_each(|(row, (out, x))| {
            vectors(
                #[inline(always)]
                || {
                    let at = row / tokens * width;
                    let (shift, scale) =
                        (&shift.values()[at..at + width], &scale.values()[at..at + width]);
                    let (mean, rate) = moments(x);
                    for (i, out) in out.iter_mut().enumerate() {
                        *out = (x[i] - mean) * rate * (1.0 + scale[i]) + shift[i];
                    }
                },
            )
        });
    x.like(out)
}

/// Gradients of `x`, `shift` and `scale` of [`layer_norm_modulate`].
pub fn layer_norm_modulate_backward(
    x: &Rows,
    scale: &Rows,
    grad: &Rows,
) -> (FloatTensor<Flex>, FloatTensor<Flex>, FloatTensor<Flex>) {
    let [batch, tokens, width] = x.dims()[..] else {
        return (x.like(Vec::new()), x.like(Vec::new()), x.like(Vec::new()));
    };
    let image = tokens * width;
    let mut grad_x = vec![0.0; batch * image];
    let mut grad_shift = vec![0.0; batch * width];
    let mut grad_scale = vec![0.0; batch * width];
    grad_x
        .par_chunks_mut(image)
        .zip(grad_shift.par_chunks_mut(width).zip(grad_scale.par_chunks_mut(width)))
        .enumerate()
        .for_each(|(b, (grad_x, (grad_shift, grad_scale)))| {
            vectors(
                #[inline(always)]
                || {
                    let scale = &scale.values()[b * width..(b + 1) * width];
                    let x = x.values()[b * image..(b + 1) * image].chunks_exact(width);
                    let grad = grad.values()[b * image..(b + 1) * image].chunks_exact(width);
                    for ((x, grad), grad_x) in x.zip(grad).zip(grad_x.chunks_exact_mut(width)) {
                        let (mean, rate) = moments(x);
                        for i in 0..width {
                            let normal = (x[i] - mean) * rate;
                            grad_shift[i] += grad[i];
                            grad_scale[i] += grad[i] * normal;
                            grad_x[i] = grad[i] * (1.0 + scale[i]);
                        }
                        normal_backward(x, mean, rate, grad_x);
                    }
                },
            )
        });
    (
        x.like(grad_x),
        tensor(grad_shift, vec![batch, 1, width]),
        tensor(grad_scale, vec![batch, 1, width]),
    )
}

/// From the gradient of `(x - mean) rate` to that of `x`, in place.
#[inline(always)]
fn normal_backward(x: &[f32], mean: f32, rate: f32, grad: &mut [f32]) {
    let n = x.len() as f32;
    let mean_grad = sum(grad.iter().copied()) / n;
    let mean_product = sum(grad.iter().zip(x).map(|(g, x)| g * (x - mean) * rate)) / n;
    for (grad, x) in grad.iter_mut().zip(x) {
        *grad = rate * (*grad - mean_grad - (x - mean) * rate * mean_product);
    }
}

/// `silu(GN(x) weight + bias)`; `x` [batch, channels, height, width], the others [channels].
pub fn group_norm_silu(x: &Rows, weight: &Rows, bias: &Rows, groups: usize) -> FloatTensor<Flex> {
    let [_, channels, height, width] = x.dims()[..] else { return x.like(Vec::new()) };
    let (plane, of_group) = (height * width, channels / groups);
    let mut out = vec![0.0; x.values().len()];
    out.par_chunks_mut(of_group * plane)
        .zip(x.values().par_chunks(of_group * plane))
        .enumerate()
        .for_each(|(i, (out, x))| {
            vectors(
                #[inline(always)]
                || {
                    let first = i % groups * of_group;
                    let (mean, rate) = moments(x);
                    let planes = out.chunks_exact_mut(plane).zip(x.chunks_exact(plane));
                    for (c, (out, x)) in planes.enumerate() {
                        let (weight, bias) = (weight.values()[first + c], bias.values()[first + c]);
                        for (out, x) in out.iter_mut().zip(x) {
                            let y = (x - mean) * rate * weight + bias;
                            *out = y * sigmoid(y);
                        }
                    }
                },
            )
        });
    x.like(out)
}

/// Gradients of `x`, `weight` and `bias` of [`group_norm_silu`].
pub fn group_norm_silu_backward(
    x: &Rows,
    weight: &Rows,
    bias: &Rows,
    groups: usize,
    grad: &Rows,
) -> (FloatTensor<Flex>, FloatTensor<Flex>, FloatTensor<Flex>) {
    let [batch, channels, height, width] = x.dims()[..] else {
        return (x.like(Vec::new()), x.like(Vec::new()), x.like(Vec::new()));
    };
    let (plane, of_group) = (height * width, channels / groups);
    let size = of_group * plane;
    let mut grad_x = vec![0.0; x.values().len()];
    // Sums over space for each image and channel: the gradients of weight and bias.
    let mut sums = vec![[0.0f32; 2]; batch * channels];
    grad_x
        .par_chunks_mut(size)
        .zip(sums.par_chunks_mut(of_group))
        .zip(x.values().par_chunks(size).zip(grad.values().par_chunks(size)))
        .enumerate()
        .for_each(|(i, ((grad_x, sums), (x, grad)))| {
            vectors(
                #[inline(always)]
                || {
                    let first = i % groups * of_group;
                    let (mean, rate) = moments(x);
                    for (c, sums) in sums.iter_mut().enumerate() {
                        let (weight, bias) = (weight.values()[first + c], bias.values()[first + c]);
                        let at = c * plane..(c + 1) * plane;
                        let (x, grad) = (&x[at.clone()], &grad[at.clone()]);
                        let grad_x = &mut grad_x[at];
                        for (grad_x, (x, grad)) in grad_x.iter_mut().zip(x.iter().zip(grad)) {
                            let y = (x - mean) * rate * weight + bias;
                            let s = sigmoid(y);
                            *grad_x = grad * (s + y * s * (1.0 - s));
                        }
                        let by_weight =
                            sum(grad_x.iter().zip(x).map(|(g, x)| g * (x - mean) * rate));
                        *sums = [by_weight, sum(grad_x.iter().copied())];
                        grad_x.iter_mut().for_each(|g| *g *= weight);
                    }
                    normal_backward(x, mean, rate, grad_x);
                },
            )
        });
    let total = |which: usize| {
        let of_channel = |c: usize| (0..batch).map(|b| sums[b * channels + c][which]).sum::<f32>();
        tensor((0..channels).map(of_channel).collect(), vec![channels])
    };
    (x.like(grad_x), total(0), total(1))
}

/// Largest logit and sum of the exponentials of the differences to it.
#[inline(always)]
fn partition(row: &[f32]) -> (f32, f32) {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    (largest, sum(row.iter().map(|l| exp(l - largest))))
}

/// `[-log softmax(logits)[code], logsumexp(logits)]` of every row; `logits` [tokens, codes].
pub fn code_loss(logits: &Rows, codes: &[usize]) -> FloatTensor<Flex> {
    let [tokens, width] = logits.dims()[..] else { return logits.like(Vec::new()) };
    let rows = logits.values().par_chunks(width).zip(codes).with_min_len(ROWS_PER_TASK);
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

/// Gradient of the logits of [`code_loss`]: `g0 (softmax - onehot) + g1 softmax`; `grad` [tokens, 2].
pub fn code_loss_backward(logits: &Rows, codes: &[usize], grad: &Rows) -> FloatTensor<Flex> {
    let [_, width] = logits.dims()[..] else { return logits.like(Vec::new()) };
    let mut out = vec![0.0; logits.values().len()];
    let rows = logits.values().par_chunks(width).zip(codes).zip(grad.values().par_chunks(2));
    out.par_chunks_mut(width).zip(rows).with_min_len(ROWS_PER_TASK).for_each(
        |(out, ((row, code), grad))| {
            vectors(
                #[inline(always)]
                || {
                    let (largest, z) = partition(row);
                    let factor = (grad[0] + grad[1]) / z;
                    out.iter_mut().zip(row).for_each(|(out, l)| *out = factor * exp(l - largest));
                    out[*code] -= grad[0];
                },
            )
        },
    );
    logits.like(out)
}

/// Tempered logits further than this below the largest have a probability of exactly 0.
const NEGLIGIBLE: f32 = -EXP_LIMIT;
/// Codes taken at a time: their weights stay in the nearest cache.
const CODES_PER_BLOCK: usize = 256;

/// The posterior of one token.
struct Belief {
    mean: Vec<f32>,
    entropy: f32,
    log_z: f32,
    /// Weights, not yet divided by their sum, and codes; likeliest first.
    top: Vec<(f32, usize)>,
    z: f32,
}

impl Belief {
    /// One pass for the largest logit, one for everything else; probabilities are never stored.
    #[inline(always)]
    fn of(logits: &[f32], codebook: &[f32], size: usize, tau: f32, top: usize) -> Self {
        let largest = largest(logits);
        let rate = 1.0 / tau;
        let mut weights = [0.0; CODES_PER_BLOCK];
        let (mut z, mut weighted) = (0.0, 0.0);
        let mut mean = vec![0.0; size];
        let mut best: Vec<(f32, usize)> = Vec::with_capacity(top + 1);
        for (block, logits) in logits.chunks(CODES_PER_BLOCK).enumerate() {
            let weights = &mut weights[..logits.len()];
            for (weight, logit) in weights.iter_mut().zip(logits) {
                let shifted = (logit - largest) * rate;
                *weight = if shifted < NEGLIGIBLE { 0.0 } else { exp(shifted) };
            }
            z += sum(weights.iter().copied());
            weighted += sum(weights.iter().zip(logits).map(|(weight, logit)| {
                if *weight > 0.0 { weight * (logit - largest) * rate } else { 0.0 }
            }));
            let first = block * CODES_PER_BLOCK;
            let codes = &codebook[first * size..(first + weights.len()) * size];
            for (weight, code) in weights.iter().zip(codes.chunks_exact(size)) {
                mean.iter_mut().zip(code).for_each(|(mean, code)| *mean += weight * code);
            }
            let least = |best: &[(f32, usize)]| match best.last() {
                Some((weight, _)) if best.len() == top => *weight,
                _ => f32::NEG_INFINITY,
            };
            if self::largest(weights) > least(&best) || best.len() < top {
                for (i, weight) in weights.iter().enumerate() {
                    if *weight > least(&best) {
                        // Equal weights keep the order of their codes.
                        let at = best.partition_point(|(other, _)| other >= weight);
                        best.insert(at, (*weight, first + i));
                        best.truncate(top);
                    }
                }
            }
        }
        mean.iter_mut().for_each(|mean| *mean /= z);
        let (entropy, log_z) = (z.ln() - weighted / z, z.ln() + largest * rate);
        Self { mean, entropy, log_z, top: best, z }
    }
}

/// The largest of some numbers, in lanes; minus infinity of none.
#[inline(always)]
fn largest(values: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; 16];
    let (chunks, rest) = values.as_chunks::<16>();
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane = if *value > *lane { *value } else { *lane };
        }
    }
    lanes.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max)
}

/// Mean, entropy, log Z and the most likely codes of `softmax(logits / tau)`; `logits`
/// [tokens, codes], `codebook` [codes, size].
pub fn categorical_expectation(
    logits: &Rows,
    codebook: &Rows,
    tau: f32,
    top: usize,
) -> Beliefs<Flex> {
    let (shape, size) = (logits.dims(), codebook.dims()[1]);
    let (tokens, width) = (shape[0], shape[1]);
    let beliefs: Vec<Belief> = logits
        .values()
        .par_chunks(width)
        .map(|row| {
            vectors(
                #[inline(always)]
                || Belief::of(row, codebook.values(), size, tau, top),
            )
        })
        .collect();
    let each =
        |part: fn(&Belief) -> f32| tensor(beliefs.iter().map(part).collect(), vec![tokens, 1]);
    let mean = beliefs.iter().flat_map(|belief| belief.mean.iter().copied()).collect();
    let tops = || beliefs.iter().flat_map(|b| b.top.iter().map(|(w, code)| (w / b.z, *code)));
    let codes: Vec<i64> = tops().map(|(_, code)| code as i64).collect();
    Beliefs {
        mean: tensor(mean, vec![tokens, size]),
        entropy: each(|belief| belief.entropy),
        log_z: each(|belief| belief.log_z),
        top_probs: tensor(tops().map(|(probability, _)| probability).collect(), vec![tokens, top]),
        top_codes: IntTensor::<Flex>::from_data(TensorData::new(codes, [tokens, top])),
    }
}

/// The nearest row of the codebook of every latent, the first where distances tie, and the squared
/// distance. The codebook is transposed, so that a vector of codes is compared at once.
pub fn nearest_codes(latents: &Rows, codebook: &Rows) -> (IntTensor<Flex>, FloatTensor<Flex>) {
    let ([tokens, size], codes) = ([latents.dims()[0], latents.dims()[1]], codebook.dims()[0]);
    let table = codebook.values();
    let columns: Vec<f32> =
        (0..size).flat_map(|i| (0..codes).map(move |k| table[k * size + i])).collect();
    let found: Vec<(i64, f32)> = latents
        .values()
        .par_chunks(size)
        .map_init(
            || vec![0.0f32; codes],
            |distances, latent| {
                vectors(
                    #[inline(always)]
                    || {
                        distances.fill(0.0);
                        for (x, column) in latent.iter().zip(columns.chunks_exact(codes)) {
                            for (distance, e) in distances.iter_mut().zip(column) {
                                *distance += (x - e) * (x - e);
                            }
                        }
                        let least = distances.iter().copied().fold(f32::INFINITY, f32::min);
                        let code = distances.iter().position(|d| *d == least).unwrap_or(0);
                        (code as i64, least)
                    },
                )
            },
        )
        .collect();
    let indices: Vec<i64> = found.iter().map(|(code, _)| *code).collect();
    let distances = found.iter().map(|(_, distance)| *distance).collect();
    (
        IntTensor::<Flex>::from_data(TensorData::new(indices, [tokens, 1])),
        tensor(distances, vec![tokens, 1]),
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn exp_is_exact_to_a_few_units_in_the_last_place() {
        for i in -8700..8700 {
            let x = i as f32 / 100.0;
            let exact = f64::from(x).exp();
            let error = (f64::from(super::exp(x)) - exact).abs() / exact;
            assert!(error < 4e-7, "exp({x}) is off by {error}");
        }
    }
}
