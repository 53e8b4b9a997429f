//! The fused operations of the networks in parallel Rust, over rows of contiguous f32.

use std::sync::Arc;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::{Bytes, Shape, TensorData};
use rayon::prelude::*;

use super::group_norm::{self, Groups};
use super::vectors::vectors;

/// `1 / (1 + exp(-x))` saturates in f32 well before this.
pub(super) const EXP_LIMIT: f32 = 87.0;
pub(super) const NORM_EPSILON: f32 = 1e-6;
/// Adding and subtracting it rounds to the nearest integer.
pub(super) const ROUND: f32 = 12_582_912.0;
/// The logarithm of 2 in two parts, of which the first has so few digits that its multiples are exact.
pub(super) const LN2_HIGH: f32 = 0.693_359_4;
/// See [`LN2_HIGH`].
pub(super) const LN2_LOW: f32 = -2.121_944_4e-4;
/// `2 sqrt(2/pi)`
const GELU_SLOPE: f32 = 1.595_769_2;
const GELU_CUBIC: f32 = 0.044_715;
/// Rows a task takes at a time: enough work to be worth handing out.
pub(super) const ROWS_PER_TASK: usize = 16;
/// Tokens of an image whose gradients are added up by one task.
const TOKENS_PER_SUM: usize = 64;
/// Numbers a task takes at a time where there are no rows.
const CHUNK: usize = 1 << 14;

/// A contiguous tensor of f32 on the CPU backend.
pub struct Rows(FloatTensor<Flex>);

impl Rows {
    /// Makes the tensor contiguous where it is a view.
    pub fn new(tensor: FloatTensor<Flex>) -> Self {
        Self(tensor.to_contiguous())
    }

    /// The buffer that it is all of.
    pub(super) fn buffer(&self) -> Arc<Bytes> {
        self.0.data_arc()
    }

    pub(super) fn dims(&self) -> Vec<usize> {
        self.0.shape().to_vec()
    }

    /// The extents of a tensor of four dimensions.
    pub(super) fn extents(&self) -> [usize; 4] {
        let dims = self.dims();
        std::array::from_fn(|i| dims[i])
    }

    /// # Panics
    /// The tensor is not of f32, for which alone these operations are written.
    pub(super) fn values(&self) -> &[f32] {
        self.0.as_slice().unwrap_or_else(|| refuse(&self.0))
    }

    pub(super) fn like(&self, values: Vec<f32>) -> FloatTensor<Flex> {
        tensor(values, self.dims())
    }

    /// Applies `f` to every number.
    pub fn map(&self, f: impl Fn(f32) -> f32 + Sync) -> FloatTensor<Flex> {
        let mut out = unwritten(self.values().len());
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
        let mut out = unwritten(self.values().len());
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

/// What happens where a tensor's numbers are not of the type that an operation is written for: an empty
/// slice in their place would be a wrong result without a word.
#[cold]
pub(super) fn refuse(tensor: &FloatTensor<Flex>) -> ! {
    panic!("the fused operations of the CPU were given numbers of type {:?}", tensor.dtype())
}

/// Memory for so many numbers, all of which the caller writes before it reads any. Setting them to 0 first
/// takes a twentieth of a step of a network.
#[allow(
    unsafe_code,
    clippy::uninit_vec,
    reason = "there is no safe way to a vector whose numbers have no values yet"
)]
pub(super) fn unwritten(length: usize) -> Vec<f32> {
    let mut values = Vec::with_capacity(length);
    // SAFETY: the vector has room for `length` numbers, f32 has no bits that are not a number, and there
    // is nothing to drop. That none is read before it is written is what callers promise: they hand the
    // vector to loops over all of it that assign, and the tests compare all that comes out.
    unsafe { values.set_len(length) };
    values
}

pub(super) fn tensor(values: Vec<f32>, shape: Vec<usize>) -> FloatTensor<Flex> {
    FloatTensor::<Flex>::from_data(TensorData::new(values, Shape::from(shape)))
}

/// `exp(x)` to about 2 units in the last place, in operations that a compiler turns into vectors:
/// `2^n p(r)` with `n = round(x / ln 2)` and a polynomial for the rest.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
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

/// The largest of some numbers, in lanes; minus infinity of none.
#[inline(always)]
pub(super) fn largest(values: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; 16];
    let (chunks, rest) = values.as_chunks::<16>();
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane = if *value > *lane { *value } else { *lane };
        }
    }
    lanes.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max)
}

/// Sum of what `f` makes of the numbers of a row, in lanes, so that it runs in vectors and rounds less than one
/// running sum.
#[inline(always)]
pub(super) fn sum_of(row: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    sum_of_both(row, row, |x, _| f(x))
}

/// As [`sum_of`], of two rows of one length.
#[inline(always)]
pub(super) fn sum_of_both(row: &[f32], other: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; 16];
    let ((chunks, rest), (others, other_rest)) = (row.as_chunks::<16>(), other.as_chunks::<16>());
    for (chunk, other) in chunks.iter().zip(others) {
        for ((lane, x), y) in lanes.iter_mut().zip(chunk).zip(other) {
            *lane += f(*x, *y);
        }
    }
    for ((lane, x), y) in lanes.iter_mut().zip(rest).zip(other_rest) {
        *lane += f(*x, *y);
    }
    lanes.iter().sum()
}

/// Mean and reciprocal deviation of a row.
#[inline(always)]
fn moments(row: &[f32]) -> (f32, f32) {
    let mean = sum_of(row, |x| x) / row.len() as f32;
    let variance = sum_of(row, |x| (x - mean) * (x - mean)) / row.len() as f32;
    (mean, (variance + NORM_EPSILON).sqrt().recip())
}

/// `LN(x) (1 + scale) + shift`; `x` [batch, tokens, width], `shift` and `scale` [batch, 1, width].
pub fn layer_norm_modulate(x: &Rows, shift: &Rows, scale: &Rows) -> FloatTensor<Flex> {
    let [_, tokens, width] = x.dims()[..] else { return x.like(Vec::new()) };
    let mut out = unwritten(x.values().len());
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
    let mut grad_x = unwritten(batch * image);
    let mut grad_shift = vec![0.0; batch * width];
    let mut grad_scale = vec![0.0; batch * width];
    let given = x.values().par_chunks(image).zip(grad.values().par_chunks(image));
    let given = given.zip(scale.values().par_chunks(width));
    grad_x
        .par_chunks_mut(image)
        .zip(grad_shift.par_chunks_mut(width).zip(grad_scale.par_chunks_mut(width)))
        .zip(given)
        .for_each(|((grad_x, (grad_shift, grad_scale)), ((x, grad), scale))| {
            // Parts of an image are summed up on their own, so that one image keeps several threads busy.
            let part = TOKENS_PER_SUM * width;
            let parts = x.par_chunks(part).zip(grad.par_chunks(part));
            let sums: Vec<[Vec<f32>; 2]> = grad_x
                .par_chunks_mut(part)
                .zip(parts)
                .map(|(grad_x, (x, grad))| {
                    let mut sums = [vec![0.0; width], vec![0.0; width]];
                    vectors(
                        #[inline(always)]
                        || modulate_backward(x, scale, grad, grad_x, &mut sums),
                    );
                    sums
                })
                .collect();
            for [shift, scale] in &sums {
                grad_shift.iter_mut().zip(shift).for_each(|(sum, part)| *sum += part);
                grad_scale.iter_mut().zip(scale).for_each(|(sum, part)| *sum += part);
            }
        });
    (
        x.like(grad_x),
        tensor(grad_shift, vec![batch, 1, width]),
        tensor(grad_scale, vec![batch, 1, width]),
    )
}

/// Gradients of [`layer_norm_modulate`] for some tokens of an image; those of shift and scale are added
/// to `sums`.
#[inline(always)]
fn modulate_backward(
    x: &[f32],
    scale: &[f32],
    grad: &[f32],
    grad_x: &mut [f32],
    [of_shift, of_scale]: &mut [Vec<f32>; 2],
) {
    let width = scale.len();
    let rows = x.chunks_exact(width).zip(grad.chunks_exact(width));
    for ((x, grad), grad_x) in rows.zip(grad_x.chunks_exact_mut(width)) {
        let (mean, rate) = moments(x);
        let given = x.iter().zip(grad).zip(scale).zip(grad_x.iter_mut());
        let sums = of_shift.iter_mut().zip(of_scale.iter_mut());
        for ((((x, grad), scale), grad_x), (of_shift, of_scale)) in given.zip(sums) {
            *of_shift += grad;
            *of_scale += grad * (x - mean) * rate;
            *grad_x = grad * (1.0 + scale);
        }
        normal_backward(x, mean, rate, grad_x);
    }
}

/// From the gradient of `(x - mean) rate` to that of `x`, in place.
#[inline(always)]
fn normal_backward(x: &[f32], mean: f32, rate: f32, grad: &mut [f32]) {
    let n = x.len() as f32;
    let mean_grad = sum_of(grad, |g| g) / n;
    let mean_product = sum_of_both(grad, x, |g, x| g * (x - mean) * rate) / n;
    for (grad, x) in grad.iter_mut().zip(x) {
        *grad = rate * (*grad - mean_grad - (x - mean) * rate * mean_product);
    }
}

/// `GN(x) weight + bias`, and `y sigmoid(y)` of that where it is asked for; `x`
/// [batch, channels, height, width], the others [channels].
pub fn group_norm(
    x: &Rows,
    weight: &Rows,
    bias: &Rows,
    groups: usize,
    silu: bool,
) -> FloatTensor<Flex> {
    x.like(group_norm::forward(groups_of(x, weight, bias, groups, silu), x.values()))
}

/// Gradients of `x`, `weight` and `bias` of [`group_norm`].
pub fn group_norm_backward(
    x: &Rows,
    weight: &Rows,
    bias: &Rows,
    groups: usize,
    silu: bool,
    grad: &Rows,
) -> (FloatTensor<Flex>, FloatTensor<Flex>, FloatTensor<Flex>) {
    let of = groups_of(x, weight, bias, groups, silu);
    let (of_x, of_weight, of_bias) = group_norm::backward(of, x.values(), grad.values());
    (x.like(of_x), weight.like(of_weight), bias.like(of_bias))
}

/// What [`group_norm`] is taken of.
pub fn groups_of<'a>(
    x: &Rows,
    weight: &'a Rows,
    bias: &'a Rows,
    groups: usize,
    silu: bool,
) -> Groups<'a> {
    let plane = x.dims()[2..].iter().product();
    Groups { weight: weight.values(), bias: bias.values(), groups, plane, silu }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "given numbers of type F64")]
    fn numbers_of_another_type_are_refused() {
        let doubles = TensorData::new(vec![1.0f64, 2.0], Shape::from([2]));
        Rows::new(FloatTensor::<Flex>::from_data(doubles)).map(|x| x);
    }

    #[test]
    fn exp_is_exact_to_a_few_units_in_the_last_place() {
        for i in -8700..8700 {
            let x = i as f32 / 100.0;
            let exact = f64::from(x).exp();
            let error = (f64::from(exp(x)) - exact).abs() / exact;
            assert!(error < 4e-7, "exp({x}) is off by {error}");
        }
    }
}
