//! Convolutions of 3x3 in squares: 2x2 results are made of 4x4 numbers of the picture by 16 products a
//! channel, where sums over the kernel take 36 (F(2x2, 3x3) of Lavin and Gray 2016, "Fast Algorithms for
//! Convolutional Neural Networks").
//!
//! Of each square of the picture 16 sums of its numbers are taken, of each kernel 16 sums of its weights. For
//! each of the 16 the products over the channels are a product of matrices; a result is a sum of nine of those.

use std::ops::Range;

use pulp::Simd;
use rayon::prelude::*;

use super::forward::Sizes;
use super::plan::Plan;
use super::planes::{self, SLACK};
use crate::kernels::host::unwritten;
use crate::kernels::linear::product::{self, Base, Block, LaidOut, Matrix, Panel};
use crate::kernels::vectors::vectors;

/// Numbers of a square of the picture, and products for it.
const PRODUCTS: usize = 16;
/// Results of a square.
const RESULTS: usize = 4;
/// Channels of the result that are made at a time, at most: whole tiles of a product on any processor.
pub const MOST_CHANNELS: usize = 24;
/// Sums of the picture that are kept at a time: they stay in the second cache while all channels of the
/// result read them.
const SUMS: usize = 1 << 17;
/// Squares at a time, at least: all weights are read for them.
const LEAST: usize = 32;
/// Channels from which on the products outweigh the sums.
const CHANNELS: usize = 16;
/// Squares of a picture from which on it is worth it to take the sums of the weights. Of one picture, not of all: a
/// picture is not to depend on those beside it.
const WORTH: usize = 32;

/// Whether a convolution is sooner done in squares: one of 3x3 that keeps the size, of channels enough.
pub fn is_sooner(plan: &Plan, sizes: Sizes) -> bool {
    let keeps_size = plan.kernel == 9 && plan.split == 1 && plan.join == 1;
    let squares = (plan.grid[0] * plan.grid[1]).div_ceil(RESULTS);
    keeps_size && sizes.inputs.min(sizes.outputs) >= CHANNELS && squares >= WORTH
}

/// The sums of the weights, `[16, outputs, inputs]`.
pub struct Weights {
    values: Vec<f32>,
    outputs: usize,
    inputs: usize,
}

impl Weights {
    /// Of weights as they are stored for a plan.
    pub fn new(plan: &Plan, sizes: Sizes, weights: &[f32]) -> Self {
        let Sizes { inputs, outputs, .. } = sizes;
        let mut values = unwritten(PRODUCTS * outputs * inputs);
        let mut rows: Vec<Vec<&mut [f32]>> = (0..outputs).map(|_| Vec::new()).collect();
        for plane in values.chunks_exact_mut(outputs * inputs) {
            let of_plane = plane.chunks_exact_mut(inputs);
            rows.iter_mut().zip(of_plane).for_each(|(rows, row)| rows.push(row));
        }
        rows.into_par_iter().enumerate().for_each(|(m, mut rows)| {
            let mut kernels: [Vec<f32>; 9] = std::array::from_fn(|_| Vec::with_capacity(inputs));
            for c in 0..inputs {
                let at = if plan.transposed { c * outputs + m } else { m * inputs + c };
                let places = kernels.iter_mut().zip(&weights[at * 9..][..9]);
                places.for_each(|(places, weight)| places.push(*weight));
            }
            if plan.transposed {
                kernels.reverse();
            }
            vectors(
                #[inline(always)]
                || take_sums_of_weights(&kernels, &mut rows),
            );
        });
        Self { values, outputs, inputs }
    }

    /// Those of one of the products for some channels of the result.
    fn rows(&self, product: usize, channels: Range<usize>) -> Matrix<'_> {
        let at = (product * self.outputs + channels.start) * self.inputs;
        let count = channels.len();
        Matrix::new(&self.values[at..at + count * self.inputs], count, self.inputs)
    }
}

/// `G g G^T` of the paper, for one channel of the result and all that are read: the sums of each of the products, of the
/// weights of each place in the kernel.
#[inline(always)]
fn take_sums_of_weights(kernels: &[Vec<f32>; 9], rows: &mut [&mut [f32]]) {
    if let [first, second, third, fourth] = rows.as_chunks_mut::<4>().0 {
        take_row_of_sums::<0>(kernels, first);
        take_row_of_sums::<1>(kernels, second);
        take_row_of_sums::<2>(kernels, third);
        take_row_of_sums::<3>(kernels, fourth);
    }
}

#[inline(always)]
fn take_row_of_sums<const ROW: usize>(kernels: &[Vec<f32>; 9], rows: &mut [&mut [f32]; 4]) {
    let along = |[a, b, c]: [f32; 3]| [a, (a + b + c) / 2.0, (a - b + c) / 2.0, c];
    let inputs = kernels[0].len();
    let kernels: [&[f32]; 9] = std::array::from_fn(|place| &kernels[place][..inputs]);
    let [w, x, y, z] = rows.each_mut().map(|row| &mut row[..inputs]);
    for c in 0..inputs {
        let column = |j: usize| along([kernels[j][c], kernels[3 + j][c], kernels[6 + j][c]])[ROW];
        [w[c], x[c], y[c], z[c]] = along([column(0), column(1), column(2)]);
    }
}

/// Some rows of a picture, copied as a plan in squares says.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    pub copy: &'a [f32],
    /// For each channel where the 16 numbers of square 0 lie.
    pub offsets: &'a [usize],
    /// Squares, and places between rows of them.
    pub squares: usize,
}

/// Results of one channel for some squares.
pub struct Made<'a> {
    /// The channel.
    pub channel: usize,
    /// The first of the squares.
    pub first: usize,
    /// Of each of the 2x2 places the results of the squares.
    pub results: [&'a [f32]; RESULTS],
}

/// Makes the results of some channels and gives them to `put`.
#[inline(always)]
pub fn convolve<S: Simd>(
    simd: S,
    source: Source<'_>,
    weights: &Weights,
    channels: Range<usize>,
    [sums, results]: [&mut Vec<f32>; 2],
    mut put: impl FnMut(Made<'_>),
) {
    let depth = weights.inputs;
    let at_once = (SUMS / (PRODUCTS * depth)).max(LEAST).next_multiple_of(product::widest_panel());
    for first in (0..source.squares).step_by(at_once) {
        let count = at_once.min(source.squares - first);
        let panels = product::panels(count);
        let of_product = count.next_multiple_of(S::F32_LANES) * depth;
        // Often a power of two: one line of the cache more, and the products do not meet in one set of it.
        let apart = of_product + SLACK;
        let sums = planes::lend(sums, PRODUCTS * apart);
        take_sums(simd, source, first, &panels, sums);
        for first_channel in channels.clone().step_by(MOST_CHANNELS) {
            let channels = first_channel..(first_channel + MOST_CHANNELS).min(channels.end);
            let each = channels.len() * count;
            // Vectors of the last numbers go beyond them.
            let room = count + SLACK;
            let results = planes::lend(results, PRODUCTS * each + SLACK + RESULTS * room);
            let (products, results) = results.split_at_mut(PRODUCTS * each + SLACK);
            for (product, out) in products.chunks_exact_mut(each).take(PRODUCTS).enumerate() {
                let values = &sums[product * apart..][..of_product];
                let right = LaidOut { values, depth, columns: count, panels: &panels };
                let left = weights.rows(product, channels.clone());
                Block { left, right, base: Base::Zero, out, sums: None }.run();
            }
            for (i, channel) in channels.enumerate() {
                add_products(simd, &products[i * count..], each, results, room, count);
                let results = std::array::from_fn(|place| &results[place * room..][..count]);
                put(Made { channel, first, results });
            }
        }
    }
}

/// `B^T d B` of the paper, for squares from the first on: for each of the products a right side in panels.
#[inline(always)]
fn take_sums<S: Simd>(
    simd: S,
    source: Source<'_>,
    first: usize,
    panels: &[Panel],
    sums: &mut [f32],
) {
    let (of_channels, _) = source.offsets.as_chunks::<PRODUCTS>();
    let apart = sums.len() / PRODUCTS;
    for (channel, offsets) in of_channels.iter().enumerate() {
        for panel in panels {
            let width = panel.vectors * S::F32_LANES;
            let place = panel.first * of_channels.len() + channel * width;
            for vector in (0..width).step_by(S::F32_LANES) {
                let at = first + panel.first + vector;
                let from = &source.copy[at..];
                let column = sums_of_column::<S>;
                let (a, b) = (column(simd, from, offsets, 0), column(simd, from, offsets, 1));
                let (c, d) = (column(simd, from, offsets, 2), column(simd, from, offsets, 3));
                let out = &mut sums[place + vector..];
                for i in 0..4 {
                    let row = sums_along(simd, [a[i], b[i], c[i], d[i]]);
                    for (j, sum) in row.into_iter().enumerate() {
                        let out = &mut out[(4 * i + j) * apart..][..S::F32_LANES];
                        S::as_mut_simd_f32s(out).0[0] = sum;
                    }
                }
            }
        }
    }
}

/// `A^T m A` of the paper, of products that are `each` apart; results of a place are `room` apart.
#[inline(always)]
fn add_products<S: Simd>(
    simd: S,
    products: &[f32],
    each: usize,
    results: &mut [f32],
    room: usize,
    count: usize,
) {
    for at in (0..count).step_by(S::F32_LANES) {
        let (from, column) = (&products[at..], added_of_column::<S>);
        let (a, b) = (column(simd, from, each, 0), column(simd, from, each, 1));
        let (c, d) = (column(simd, from, each, 2), column(simd, from, each, 3));
        for i in 0..2 {
            let row = added_along(simd, [a[i], b[i], c[i], d[i]]);
            for (j, sum) in row.into_iter().enumerate() {
                let out = &mut results[(2 * i + j) * room + at..][..S::F32_LANES];
                S::as_mut_simd_f32s(out).0[0] = sum;
            }
        }
    }
}

#[inline(always)]
fn vector_at<S: Simd>(values: &[f32], at: usize) -> S::f32s {
    S::as_simd_f32s(&values[at..][..S::F32_LANES]).0[0]
}

// Without closures over vectors: a compiler leaves those of arrays out of line, where there are no vectors.

#[inline(always)]
fn sums_of_column<S: Simd>(
    simd: S,
    from: &[f32],
    offsets: &[usize; PRODUCTS],
    column: usize,
) -> [S::f32s; 4] {
    let [a, b, c, d] = [0, 4, 8, 12].map(|row| offsets[row + column]);
    let first = [vector_at::<S>(from, a), vector_at::<S>(from, b)];
    let last = [vector_at::<S>(from, c), vector_at::<S>(from, d)];
    sums_along(simd, [first[0], first[1], last[0], last[1]])
}

#[inline(always)]
fn added_of_column<S: Simd>(simd: S, from: &[f32], each: usize, column: usize) -> [S::f32s; 2] {
    let [a, b, c, d] = [0, 4, 8, 12].map(|row| (row + column) * each);
    let first = [vector_at::<S>(from, a), vector_at::<S>(from, b)];
    let last = [vector_at::<S>(from, c), vector_at::<S>(from, d)];
    added_along(simd, [first[0], first[1], last[0], last[1]])
}

/// A column of `B^T`, or a row of `B`.
#[inline(always)]
fn sums_along<S: Simd>(simd: S, [a, b, c, d]: [S::f32s; 4]) -> [S::f32s; 4] {
    [simd.sub_f32s(a, c), simd.add_f32s(b, c), simd.sub_f32s(c, b), simd.sub_f32s(b, d)]
}

/// A column of `A^T`, or a row of `A`.
#[inline(always)]
fn added_along<S: Simd>(simd: S, [a, b, c, d]: [S::f32s; 4]) -> [S::f32s; 2] {
    [simd.add_f32s(a, simd.add_f32s(b, c)), simd.sub_f32s(simd.sub_f32s(b, c), d)]
}
