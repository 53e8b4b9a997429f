//! A convolution by its plan.

use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::plan::Plan;
use super::planes::{self, Buffers, Layout, Part, SLACK};
use super::product::{self, Weighted};
use super::winograd;
use crate::kernels::group_norm::{Affine, Groups, Moments, silu_of};
use crate::kernels::host::unwritten;
use crate::kernels::vectors::dispatch;

/// Floats of a copy of a part of a picture: they stay in the second cache.
const COPY: usize = 1 << 16;
/// Places of the grid that a task makes, at least: copies of the rows around them are extra work.
const LEAST: usize = 256;
/// Multiplications that are worth handing out to another thread.
const WORTH: usize = 1 << 18;

/// Channels of a block on any processor, at most.
const MOST: usize = 8;

/// Channels and pictures.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    pub images: usize,
    pub inputs: usize,
    pub outputs: usize,
}

/// The weights as blocks read them: for each block of channels and each plane that is made, `[k, channels]`.
struct Packed(Vec<Vec<f32>>);

struct MostChannels;

impl WithSimd for MostChannels {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> usize {
        product::most_channels::<S>()
    }
}

pub(super) fn most_channels() -> usize {
    dispatch(MostChannels)
}

impl Packed {
    fn new(plan: &Plan, sizes: Sizes, blocks: &[(usize, usize)], weights: &[f32]) -> Self {
        let kernel = |c: usize, m: usize| {
            let at = if plan.transposed { c * sizes.outputs + m } else { m * sizes.inputs + c };
            &weights[at * plan.kernel..][..plan.kernel]
        };
        let pack = |(first, size): &(usize, usize)| {
            let taps: usize = plan.taps.iter().map(Vec::len).sum();
            let mut out = Vec::with_capacity(taps * sizes.inputs * size + MOST);
            for taps in &plan.taps {
                for c in 0..sizes.inputs {
                    let kernels: [&[f32]; MOST] =
                        std::array::from_fn(|i| kernel(c, first + i.min(size - 1)));
                    for tap in taps {
                        let of_all = |at: usize| kernels.map(|kernel| kernel[at]);
                        let mut sums = of_all(tap.weights[0]);
                        for at in &tap.weights[1..] {
                            sums.iter_mut().zip(of_all(*at)).for_each(|(sum, x)| *sum += x);
                        }
                        // Those beyond the block are written over: a copy of one length is a single one.
                        let end = out.len() + size;
                        out.extend_from_slice(&sums);
                        out.truncate(end);
                    }
                }
            }
            out
        };
        Self(match weights.len() > 1 << 15 {
            true => blocks.par_iter().map(pack).collect(),
            false => blocks.iter().map(pack).collect(),
        })
    }
}

/// What is added to the results.
#[derive(Clone, Copy, Default)]
pub struct Added<'a> {
    /// `[outputs]`
    pub bias: Option<&'a [f32]>,
    /// As the result.
    pub residual: Option<&'a [f32]>,
}

/// How a picture is normalised as it is copied.
#[derive(Clone, Copy, Debug)]
pub struct Normal<'a> {
    pub of: Groups<'a>,
    /// Of each group of each picture.
    pub moments: &'a [Moments],
}

impl Normal<'_> {
    /// Of a channel of a picture.
    fn channel(&self, image: usize, channel: usize) -> Affine {
        let group = channel / self.of.channels();
        self.of.affine(channel, self.moments[image * self.of.groups + group])
    }
}

/// How results come of what is read.
enum Weights {
    /// As sums over all taps.
    Taps(Packed),
    /// In squares.
    Squares(winograd::Weights),
}

struct Job<'a> {
    plan: &'a Plan,
    sizes: Sizes,
    source: &'a [f32],
    normal: Option<Normal<'a>>,
    added: Added<'a>,
    weights: &'a Weights,
    blocks: &'a [(usize, usize)],
    offsets: &'a [Vec<usize>],
    layout: &'a Layout,
    /// Rows of the grid that a task makes.
    rows: usize,
    /// Whether pictures are read where they lie, without a copy.
    in_place: bool,
}

/// Some channels of some rows of a picture.
struct Task<'a> {
    image: usize,
    /// First row of the grid.
    row: usize,
    /// First block of channels.
    block: usize,
    /// Rows of the result, channel by channel.
    out: Vec<&'a mut [f32]>,
}

/// The result, `[images, outputs, height, width]`. Only a picture with neighbours around it is normalised.
pub fn convolve(
    plan: &Plan,
    sizes: Sizes,
    source: &[f32],
    normal: Option<Normal<'_>>,
    given: &[f32],
    added: Added<'_>,
) -> Vec<f32> {
    let [height, width] = plan.target;
    let (blocks, weights, in_squares);
    let plan = if winograd::is_sooner(plan, sizes) {
        blocks = product::blocks(sizes.outputs, winograd::MOST_CHANNELS);
        weights = Weights::Squares(winograd::Weights::new(plan, sizes, given));
        in_squares = plan.in_squares();
        &in_squares
    } else {
        blocks = product::blocks(sizes.outputs, most_channels());
        weights = Weights::Taps(Packed::new(plan, sizes, &blocks, given));
        plan
    };
    let mut out = unwritten(sizes.images * sizes.outputs * height * width);
    if out.is_empty() {
        return out;
    }
    let rows = rows_at_once(plan, sizes);
    let mut layout = Layout::new(plan, rows);
    // Where no vector would read beyond its channel, pictures without neighbours are read where they lie.
    let lie_well = |rows: usize| (rows * plan.grid[1]).is_multiple_of(SLACK);
    debug_assert!(normal.is_none() || plan.edge == 1);
    let in_place = plan.edge == 0 && lie_well(rows) && lie_well(plan.grid[0]);
    if in_place {
        layout.plane = plan.grid[0] * plan.grid[1];
    }
    let offsets = offsets(plan, sizes.inputs, &layout);
    let tiles = plan.grid[0].div_ceil(rows);
    let groups = groups(plan, sizes, &blocks, sizes.images * tiles);
    let mut tasks = Vec::with_capacity(sizes.images * groups.len() * tiles);
    let mut planes = out.chunks_exact_mut(height * width);
    for image in 0..sizes.images {
        for group in &groups {
            let first = tasks.len();
            let block = group.start;
            tasks.extend((0..tiles).map(|tile| Task {
                image,
                row: tile * rows,
                block,
                out: Vec::new(),
            }));
            let channels = blocks[group.clone()].iter().map(|(_, size)| size).sum();
            for plane in planes.by_ref().take(channels) {
                let parts = plane.chunks_mut(rows * plan.join * width);
                tasks[first..].iter_mut().zip(parts).for_each(|(task, part)| task.out.push(part));
            }
        }
    }
    let job = Job {
        plan,
        sizes,
        source,
        normal,
        added,
        weights: &weights,
        blocks: &blocks,
        offsets: &offsets,
        layout: &layout,
        rows,
        in_place,
    };
    let run = |task: Task<'_>| dispatch(Run { job: &job, task });
    let work = out_work(plan, sizes);
    if work < WORTH || tasks.len() == 1 {
        tasks.into_iter().for_each(run);
    } else {
        tasks.into_par_iter().for_each(run);
    }
    out
}

fn out_work(plan: &Plan, sizes: Sizes) -> usize {
    let taps: usize = plan.taps.iter().map(Vec::len).sum();
    sizes.images * sizes.inputs * sizes.outputs * plan.grid[0] * plan.grid[1] * taps
}

/// Rows of the grid that a task makes: their copy stays in the cache, and there are tasks for all threads.
fn rows_at_once(plan: &Plan, sizes: Sizes) -> usize {
    let [rows, columns] = plan.grid;
    let stride = columns + plan.edge;
    let of_row =
        stride * (sizes.inputs * plan.split * plan.split).max(plan.join * plan.join * MOST);
    let threads = rayon::current_num_threads();
    let parts = if threads == 1 { 1 } else { (2 * threads).div_ceil(sizes.images) };
    let shared = rows.div_ceil(parts).max(LEAST.div_ceil(stride));
    (COPY / of_row).max(2).min(shared).clamp(1, rows)
}

/// Blocks that a task takes: all of them, or fewer where there are fewer pictures than threads.
fn groups(plan: &Plan, sizes: Sizes, blocks: &[(usize, usize)], parts: usize) -> Vec<Range<usize>> {
    let threads = rayon::current_num_threads();
    let wanted = (2 * threads).div_ceil(parts).min(out_work(plan, sizes) / WORTH + 1);
    let wanted = if parts >= 2 * threads || threads == 1 { 1 } else { wanted };
    let at_once = blocks.len().div_ceil(wanted.min(blocks.len()));
    (0..blocks.len()).step_by(at_once).map(|i| i..(i + at_once).min(blocks.len())).collect()
}

/// For each plane that is made, where its neighbours lie, channel by channel.
pub(super) fn offsets(plan: &Plan, inputs: usize, layout: &Layout) -> Vec<Vec<usize>> {
    let planes = plan.split * plan.split;
    let of = |taps: &Vec<super::plan::Tap>| {
        (0..inputs)
            .flat_map(|c| taps.iter().map(move |tap| layout.offset(c * planes + tap.plane, tap)))
            .collect()
    };
    plan.taps.iter().map(of).collect()
}

struct Run<'a> {
    job: &'a Job<'a>,
    task: Task<'a>,
}

impl WithSimd for Run<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let mut buffers = planes::take();
        run(simd, self.job, self.task, &mut buffers);
        planes::give(buffers);
    }
}

#[inline(always)]
fn run<S: Simd>(simd: S, job: &Job<'_>, task: Task<'_>, buffers: &mut Buffers) {
    let Job { plan, sizes, layout, .. } = job;
    let Buffers { copy, results, sums } = buffers;
    let picture = plan.source[0] * plan.source[1];
    let source = &job.source[task.image * sizes.inputs * picture..][..sizes.inputs * picture];
    let rows = task.row..(task.row + job.rows).min(plan.grid[0]);
    let source = if job.in_place {
        &source[task.row * layout.stride..]
    } else {
        copied(simd, job, task.image, source, &rows, copy)
    };
    let places = rows.len() * layout.stride;
    match job.weights {
        Weights::Taps(packed) => of_taps(simd, job, packed, task, source, places, results),
        Weights::Squares(weights) => {
            let source =
                winograd::Source { copy: source, offsets: &job.offsets[0], squares: places };
            of_squares(simd, job, weights, task, source, [sums, results]);
        }
    }
}

/// Rows of all channels of a picture with their neighbours, as the layout says.
#[inline(always)]
fn copied<'a, S: Simd>(
    simd: S,
    job: &Job<'_>,
    image: usize,
    source: &[f32],
    rows: &Range<usize>,
    copy: &'a mut Vec<f32>,
) -> &'a [f32] {
    let Job { plan, sizes, layout, .. } = job;
    let (planes, picture) = (plan.split * plan.split, plan.source[0] * plan.source[1]);
    let copy = planes::lend(copy, sizes.inputs * planes * layout.plane);
    let edge = layout.edge as isize;
    let all = rows.start as isize - edge..rows.end as isize + edge;
    let wanted = |down: usize, row: isize| plan.reads(rows, down, row);
    let copies = copy.chunks_exact_mut(planes * layout.plane);
    for (channel, (x, out)) in source.chunks_exact(picture).zip(copies).enumerate() {
        let part = Part { picture: x, size: plan.source, split: plan.split, rows: all.clone() };
        match job.normal.map(|normal| normal.channel(image, channel)) {
            None => planes::copy_rows(part, wanted, layout, out, planes::as_they_are),
            Some(affine) => planes::copy_rows(
                part,
                wanted,
                layout,
                out,
                #[inline(always)]
                |from, to| silu_of(simd, affine, from, to),
            ),
        }
        planes::clear_ends(layout, out);
    }
    copy
}

impl Job<'_> {
    /// What is added to a channel of an image's result from a row of the grid on: one number, and one each.
    fn added(
        &self,
        (image, row): (usize, usize),
        channel: usize,
        length: usize,
    ) -> (f32, Option<&[f32]>) {
        let Self { plan, sizes, added, .. } = self;
        let bias = added.bias.map_or(0.0, |bias| bias[channel]);
        let residual = added.residual.map(|residual| {
            let plane = plan.target[0] * plan.target[1];
            let at = (image * sizes.outputs + channel) * plane + row * plan.join * plan.target[1];
            &residual[at..at + length]
        });
        (bias, residual)
    }
}

#[inline(always)]
fn of_taps<S: Simd>(
    simd: S,
    job: &Job<'_>,
    packed: &Packed,
    Task { image, row: first_row, block, mut out }: Task<'_>,
    source: &[f32],
    places: usize,
    results: &mut Vec<f32>,
) {
    let Job { plan, layout, .. } = job;
    let row = places.next_multiple_of(SLACK);
    let results = planes::lend(results, plan.taps.len() * product::most_channels::<S>() * row);
    let mut left = out.as_mut_slice();
    for ((first, size), weights) in job.blocks.iter().zip(&packed.0).skip(block) {
        if left.is_empty() {
            break;
        }
        let mut weights = &weights[..];
        for (offsets, results) in job.offsets.iter().zip(results.chunks_exact_mut(size * row)) {
            let (of_plane, rest) = weights.split_at(offsets.len() * size);
            weights = rest;
            let of = Weighted { channels: *size, source, offsets, weights: of_plane, places };
            product::convolve(simd, of, results, row);
        }
        let (of_block, rest) = left.split_at_mut(*size);
        left = rest;
        for (i, out) in of_block.iter_mut().enumerate() {
            let (bias, residual) = job.added((image, first_row), first + i, out.len());
            store(plan, layout, results, (i, *size, row), bias, out);
            if let Some(residual) = residual {
                out.iter_mut().zip(residual).for_each(|(out, x)| *out += x);
            }
        }
    }
}

#[inline(always)]
fn of_squares<S: Simd>(
    simd: S,
    job: &Job<'_>,
    weights: &winograd::Weights,
    Task { image, row: first_row, block, mut out }: Task<'_>,
    source: winograd::Source<'_>,
    buffers: [&mut Vec<f32>; 2],
) {
    let Layout { columns, stride, .. } = *job.layout;
    let width = job.plan.target[1];
    let first_channel = job.blocks[block].0;
    let channels = first_channel..first_channel + out.len();
    winograd::convolve(
        simd,
        source,
        weights,
        channels,
        buffers,
        #[inline(always)]
        |made| {
            let out = &mut *out[made.channel - first_channel];
            let (bias, residual) = job.added((image, first_row), made.channel, out.len());
            let end = made.first + made.results[0].len();
            for row in made.first / stride..end.div_ceil(stride) {
                let (begin, end) = (made.first.max(row * stride), end.min(row * stride + columns));
                if begin >= end {
                    continue;
                }
                let of_row =
                    made.results.map(|results| &results[begin - made.first..end - made.first]);
                let left = 2 * (begin - row * stride);
                for (below, pair) in of_row.as_chunks::<2>().0.iter().enumerate() {
                    let at = (2 * row + below) * width;
                    let Some(line) = out.get_mut(at + left..at + width) else { break };
                    let line = &mut line[..(2 * pair[0].len()).min(width - left)];
                    side_by_side(*pair, bias, line);
                    if let Some(residual) = residual {
                        line.iter_mut().zip(&residual[at + left..]).for_each(|(out, x)| *out += x);
                    }
                }
            }
        },
    );
}

/// Puts the planes of one channel together.
#[inline(always)]
fn store(
    plan: &Plan,
    layout: &Layout,
    results: &[f32],
    (channel, channels, length): (usize, usize, usize),
    bias: f32,
    out: &mut [f32],
) {
    let width = plan.target[1];
    let plane = |plane: usize, row: usize| {
        let at = (plane * channels + channel) * length + row * layout.stride;
        &results[at..at + layout.columns]
    };
    for (row, out) in out.chunks_exact_mut(width).enumerate() {
        if plan.join == 1 {
            out.iter_mut().zip(plane(0, row)).for_each(|(out, x)| *out = x + bias);
            continue;
        }
        let below = row % 2 * 2;
        side_by_side([plane(below, row / 2), plane(below + 1, row / 2)], bias, out);
    }
}

/// Numbers of two planes in turn; the last of the right one is left out where there is no room for it.
#[inline(always)]
fn side_by_side([left, right]: [&[f32]; 2], bias: f32, out: &mut [f32]) {
    let (pairs, last) = out.as_chunks_mut::<2>();
    let alone = left.get(pairs.len());
    for (out, (left, right)) in pairs.iter_mut().zip(left.iter().zip(right)) {
        *out = [left + bias, right + bias];
    }
    if let ([out], Some(left)) = (last, alone) {
        *out = left + bias;
    }
}
