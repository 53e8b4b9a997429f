//! Products of a few rows with a weight as it lies in memory: to lay the weight out first would take
//! longer than the product.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use crate::kernels::host::unwritten;
use crate::kernels::vectors::{dispatch, multiply_add};

/// Most rows of a product that is taken this way.
pub const FEW: usize = 16;
/// Outputs that a task takes.
const OUTPUTS: usize = 64;
/// Multiplications and additions that are worth handing out.
const WORTH_SHARING: usize = 1 << 17;

/// `x W^T + b`, `[rows, outputs]`, of rows of `x` and of the weight of `inputs` numbers each.
pub fn product(x: &[f32], weight: &[f32], bias: &[f32], inputs: usize) -> Vec<f32> {
    let (rows, outputs) = (x.len() / inputs.max(1), bias.len());
    if rows == 0 || outputs == 0 {
        return Vec::new();
    }
    let mut turned = unwritten(outputs * rows);
    let part = |(i, out): (usize, &mut [f32])| {
        let weight = &weight[i * OUTPUTS * inputs..];
        let bias = &bias[i * OUTPUTS..];
        dispatch(Part { x, weight, bias, inputs, rows, out });
    };
    match rows * outputs * inputs >= WORTH_SHARING {
        true => turned.par_chunks_mut(OUTPUTS * rows).enumerate().for_each(part),
        false => turned.chunks_mut(OUTPUTS * rows).enumerate().for_each(part),
    }
    let mut out = unwritten(rows * outputs);
    for (row, out) in out.chunks_exact_mut(outputs).enumerate() {
        for (out, column) in out.iter_mut().zip(turned.chunks_exact(rows)) {
            *out = column[row];
        }
    }
    out
}

/// Some outputs, from the first row of `weight` on.
struct Part<'a, 'out> {
    x: &'a [f32],
    weight: &'a [f32],
    bias: &'a [f32],
    inputs: usize,
    rows: usize,
    /// An output of all rows after another.
    out: &'out mut [f32],
}

impl WithSimd for Part<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        /// Outputs at a time.
        const SIDE: usize = 4;
        let Self { x, weight, bias, inputs, rows, out } = self;
        let line = |from: &'_ [f32], i: usize| -> std::ops::Range<usize> {
            let last = from.len() / inputs - 1;
            i.min(last) * inputs..(i.min(last) + 1) * inputs
        };
        for (j, out) in out.chunks_mut(SIDE * rows).enumerate() {
            let found = out.len() / rows;
            // Outputs and rows beyond the last are the last one again, and are not stored.
            let lines = std::array::from_fn(|k| &weight[line(weight, j * SIDE + k.min(found - 1))]);
            for row in (0..rows).step_by(2) {
                let pair = std::array::from_fn(|i| &x[line(x, row + i)]);
                let sums = pair_of_rows(simd, pair, lines);
                for (i, sums) in sums.iter().enumerate().take(rows - row) {
                    for (k, sum) in sums.iter().enumerate().take(found) {
                        out[k * rows + row + i] = sum + bias[j * SIDE + k];
                    }
                }
            }
        }
    }
}

/// The products of two rows with four, every sum a variable of its own.
#[inline(always)]
fn pair_of_rows<S: Simd>(simd: S, x: [&[f32]; 2], weight: [&[f32]; 4]) -> [[f32; 4]; 2] {
    let length = x[0].len();
    let ([x0, x1], [w0, w1, w2, w3]) = (x.map(|x| &x[..length]), weight.map(|w| &w[..length]));
    let ((x0, x0_rest), (x1, x1_rest)) = (S::as_simd_f32s(x0), S::as_simd_f32s(x1));
    let ((w0, w0_rest), (w1, w1_rest)) = (S::as_simd_f32s(w0), S::as_simd_f32s(w1));
    let ((w2, w2_rest), (w3, w3_rest)) = (S::as_simd_f32s(w2), S::as_simd_f32s(w3));
    let zero = simd.splat_f32s(0.0);
    let (mut a0, mut a1, mut a2, mut a3) = (zero, zero, zero, zero);
    let (mut b0, mut b1, mut b2, mut b3) = (zero, zero, zero, zero);
    let weights = w0.iter().zip(w1).zip(w2.iter().zip(w3));
    for ((x0, x1), ((w0, w1), (w2, w3))) in x0.iter().zip(x1).zip(weights) {
        a0 = multiply_add(simd, *x0, *w0, a0);
        a1 = multiply_add(simd, *x0, *w1, a1);
        a2 = multiply_add(simd, *x0, *w2, a2);
        a3 = multiply_add(simd, *x0, *w3, a3);
        b0 = multiply_add(simd, *x1, *w0, b0);
        b1 = multiply_add(simd, *x1, *w1, b1);
        b2 = multiply_add(simd, *x1, *w2, b2);
        b3 = multiply_add(simd, *x1, *w3, b3);
    }
    // No closures: what uses vectors is to be compiled into this function.
    [
        [
            total(simd, a0, x0_rest, w0_rest),
            total(simd, a1, x0_rest, w1_rest),
            total(simd, a2, x0_rest, w2_rest),
            total(simd, a3, x0_rest, w3_rest),
        ],
        [
            total(simd, b0, x1_rest, w0_rest),
            total(simd, b1, x1_rest, w1_rest),
            total(simd, b2, x1_rest, w2_rest),
            total(simd, b3, x1_rest, w3_rest),
        ],
    ]
}

/// The sum of a vector of sums and of the products that did not fill one.
#[inline(always)]
fn total<S: Simd>(simd: S, sums: S::f32s, x: &[f32], weight: &[f32]) -> f32 {
    let rest: f32 = x.iter().zip(weight).map(|(x, weight)| x * weight).sum();
    simd.reduce_sum_f32s(sums) + rest
}
