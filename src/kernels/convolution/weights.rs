//! Gradients of a convolution's weights and bias.

use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::forward::{self, Sizes};
use super::plan::Plan;
use super::planes::{self, Buffers, Layout, Part, SLACK};
use super::product::{self, Correlated};
use crate::kernels::vectors::dispatch;

/// Places of the grid that are taken at a time: those of a block of channels stay in the nearest cache.
const STRIP: usize = 1024;
/// Places of a part, at least; sums of parts are added in order, so that results do not depend on threads.
const PART: usize = 4096;
/// Parts, at most.
const PARTS: usize = 64;
/// Channels of the result that a part takes.
const GROUP: usize = 32;

struct Job<'a> {
    plan: &'a Plan,
    sizes: Sizes,
    source: &'a [f32],
    grad: &'a [f32],
    layout: Layout,
    offsets: Vec<Vec<usize>>,
    /// Rows of the grid of all pictures that are taken at a time.
    strip: usize,
}

/// Sums over some rows for some channels.
struct Sums {
    /// For each plane of the result `[channels, inputs, taps]`.
    weights: Vec<Vec<f32>>,
    /// `[channels]`
    bias: Vec<f32>,
}

/// The gradients of the weights, as they are stored, and of the bias.
pub fn gradients(plan: &Plan, sizes: Sizes, source: &[f32], grad: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let Sizes { images, inputs, outputs } = sizes;
    let mut weights = vec![0.0; outputs * inputs * plan.kernel];
    let mut bias = vec![0.0; outputs];
    let rows = images * plan.grid[0];
    if rows * plan.grid[1] == 0 {
        return (weights, bias);
    }
    let strip = (STRIP / (plan.grid[1] + plan.edge)).clamp(1, rows);
    // A row of neighbours lies between pictures.
    let between = plan.edge * (strip / plan.grid[0] + 1);
    let layout = Layout::new(plan, strip + between);
    let offsets = forward::offsets(plan, inputs, &layout);
    let job = Job { plan, sizes, source, grad, layout, offsets, strip };
    let parts = (rows * plan.grid[1]).div_ceil(PART).clamp(1, PARTS);
    let of_part = rows.div_ceil(parts).next_multiple_of(strip);
    let groups = outputs.div_ceil(GROUP);
    let tasks: Vec<(Range<usize>, Range<usize>)> = (0..rows)
        .step_by(of_part)
        .flat_map(|first| {
            let rows = first..(first + of_part).min(rows);
            (0..groups).map(move |g| (rows.clone(), g * GROUP..((g + 1) * GROUP).min(outputs)))
        })
        .collect();
    let sums: Vec<Sums> = tasks
        .par_iter()
        .map(|(rows, channels)| {
            dispatch(Run { job: &job, rows: rows.clone(), channels: channels.clone() })
        })
        .collect();
    weights
        .par_chunks_mut(GROUP * inputs * plan.kernel)
        .zip(bias.par_chunks_mut(GROUP))
        .enumerate()
        .for_each(|(group, (weights, bias))| {
            let mut parts = sums.iter().skip(group).step_by(groups);
            let Some(first) = parts.next() else { return };
            let mut planes = first.weights.clone();
            bias.copy_from_slice(&first.bias);
            for part in parts {
                for (planes, part) in planes.iter_mut().zip(&part.weights) {
                    planes.iter_mut().zip(part).for_each(|(sum, x)| *sum += x);
                }
                bias.iter_mut().zip(&part.bias).for_each(|(sum, x)| *sum += x);
            }
            for (taps, planes) in plan.taps.iter().zip(&planes) {
                for (weights, sums) in
                    weights.chunks_exact_mut(plan.kernel).zip(planes.chunks_exact(taps.len()))
                {
                    for (tap, sum) in taps.iter().zip(sums) {
                        tap.weights.iter().for_each(|at| weights[*at] += sum);
                    }
                }
            }
        });
    (weights, bias)
}

struct Run<'a> {
    job: &'a Job<'a>,
    rows: Range<usize>,
    channels: Range<usize>,
}

impl WithSimd for Run<'_> {
    type Output = Sums;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Sums {
        let mut buffers = planes::take();
        let Buffers { copy, results, .. } = &mut buffers;
        let done = run(simd, self.job, self.rows, self.channels, copy, results);
        planes::give(buffers);
        done
    }
}

/// Rows of the grid of all pictures as pieces of pictures: `(image, rows)`.
fn pieces(plan: &Plan, rows: Range<usize>) -> impl Iterator<Item = (usize, Range<usize>)> {
    let height = plan.grid[0];
    (rows.start / height..rows.end.div_ceil(height)).map(move |image| {
        let of = |row: usize| row.clamp(image * height, (image + 1) * height) - image * height;
        (image, of(rows.start)..of(rows.end))
    })
}

#[inline(always)]
fn run<S: Simd>(
    simd: S,
    job: &Job<'_>,
    rows: Range<usize>,
    channels: Range<usize>,
    copy: &mut Vec<f32>,
    grads: &mut Vec<f32>,
) -> Sums {
    let Job { plan, sizes, layout, .. } = job;
    let (split, join) = (plan.split * plan.split, plan.join * plan.join);
    let row_of_grad = (layout.places() + layout.stride).next_multiple_of(SLACK) + SLACK;
    // As the copies of what is read, without rows of neighbours around and behind.
    let of_grad = Layout { edge: 0, plane: row_of_grad, ..*layout };
    let copy = planes::lend(copy, sizes.inputs * split * layout.plane);
    let grads = planes::lend(grads, channels.len() * join * row_of_grad);
    let blocks = product::blocks(channels.len(), product::most_gradients::<S>());
    let mut sums = Sums {
        weights: job
            .offsets
            .iter()
            .map(|offsets| vec![0.0; channels.len() * offsets.len()])
            .collect(),
        bias: vec![0.0; channels.len()],
    };
    for first in rows.clone().step_by(job.strip) {
        let strip = first..(first + job.strip).min(rows.end);
        let mut filled = 0;
        for (image, rows) in pieces(plan, strip) {
            fill(job, image, rows.clone(), filled, copy);
            fill_grad(job, &of_grad, image, rows.clone(), &channels, filled, grads);
            filled += rows.len() + layout.edge;
        }
        filled -= layout.edge;
        let places = filled * layout.stride;
        for grads in grads.chunks_exact_mut(row_of_grad) {
            grads[places..places + SLACK].fill(0.0);
        }
        for (c, bias) in sums.bias.iter_mut().enumerate() {
            for grads in grads[c * join * row_of_grad..].chunks_exact(row_of_grad).take(join) {
                *bias += total(simd, &grads[..places.next_multiple_of(SLACK)]);
            }
        }
        for (plane, (offsets, out)) in job.offsets.iter().zip(&mut sums.weights).enumerate() {
            for (first, size) in &blocks {
                let of = Correlated {
                    channels: *size,
                    grad: &grads[(first * join + plane) * row_of_grad..],
                    stride: join * row_of_grad,
                    source: copy,
                    offsets,
                    places,
                };
                product::correlate(simd, of, &mut out[first * offsets.len()..]);
            }
        }
    }
    sums
}

#[inline(always)]
fn total<S: Simd>(simd: S, values: &[f32]) -> f32 {
    let (values, _) = S::as_simd_f32s(values);
    let mut sums = [simd.splat_f32s(0.0); 4];
    for values in values.chunks(4) {
        for (sum, value) in sums.iter_mut().zip(values) {
            *sum = simd.add_f32s(*sum, *value);
        }
    }
    let [a, b, c, d] = sums;
    simd.reduce_sum_f32s(simd.add_f32s(simd.add_f32s(a, b), simd.add_f32s(c, d)))
}

/// Copies rows of all channels of a picture, and the neighbours around them, behind those already there.
#[inline(always)]
fn fill(job: &Job<'_>, image: usize, rows: Range<usize>, filled: usize, copy: &mut [f32]) {
    let Job { plan, sizes, layout, .. } = job;
    let planes = plan.split * plan.split;
    let picture = plan.source[0] * plan.source[1];
    let edge = layout.edge as isize;
    // The row before a picture that follows another one is the row behind that.
    let before = if filled == 0 { edge } else { 0 };
    let range = rows.start as isize - before..rows.end as isize + edge;
    let filled = filled + (edge - before) as usize;
    let pictures = job.source[image * sizes.inputs * picture..].chunks_exact(picture);
    for (x, out) in pictures.zip(copy.chunks_exact_mut(planes * layout.plane)).take(sizes.inputs) {
        if before == edge {
            planes::clear_ends(layout, out);
        }
        let out = &mut out[filled * layout.stride..];
        let part = Part { picture: x, size: plan.source, split: plan.split, rows: range.clone() };
        planes::copy_rows(part, |_, _| true, layout, out, planes::as_they_are);
        // The vectors of the last places read on.
        for plane in 0..planes {
            let end = layout.edge + range.len() * layout.stride;
            out[plane * layout.plane + end..][..SLACK].fill(0.0);
        }
    }
}

/// Copies rows of some channels of the result's gradient; what is not part of it is zero.
#[inline(always)]
fn fill_grad(
    job: &Job<'_>,
    layout: &Layout,
    image: usize,
    rows: Range<usize>,
    channels: &Range<usize>,
    filled: usize,
    grads: &mut [f32],
) {
    let Job { plan, sizes, .. } = job;
    let planes = plan.join * plan.join;
    let picture = plan.target[0] * plan.target[1];
    let range = rows.start as isize..rows.end as isize;
    let first = image * sizes.outputs + channels.start;
    let pictures = job.grad[first * picture..].chunks_exact(picture);
    let copies = grads.chunks_exact_mut(planes * layout.plane);
    for (x, out) in pictures.zip(copies).take(channels.len()) {
        let out = &mut out[filled * layout.stride..];
        let part = Part { picture: x, size: plan.target, split: plan.join, rows: range.clone() };
        planes::copy_rows(part, |_, _| true, layout, out, planes::as_they_are);
        // The row between this picture and the next.
        if job.layout.edge == 1 {
            for plane in 0..planes {
                out[plane * layout.plane + rows.len() * layout.stride..][..layout.stride].fill(0.0);
            }
        }
    }
}
