//! A convolution by its plan.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::plan::Plan;
use super::planes::{self, Layout, SLACK};
use super::product::{self, Weighted};
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
struct Packed {
    blocks: Vec<(usize, usize)>,
    values: Vec<Vec<f32>>,
}

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
    fn new(plan: &Plan, sizes: Sizes, weights: &[f32]) -> Self {
        let blocks = product::blocks(sizes.outputs, most_channels());
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
        let values = if weights.len() > 1 << 15 {
            blocks.par_iter().map(pack).collect()
        } else {
            blocks.iter().map(pack).collect()
        };
        Self { blocks, values }
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

struct Job<'a> {
    plan: &'a Plan,
    sizes: Sizes,
    source: &'a [f32],
    normal: Option<Normal<'a>>,
    added: Added<'a>,
    packed: &'a Packed,
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

/// The result, `[images, outputs, height, width]`. Only a picture of one plane with neighbours around it is normalised.
pub fn convolve(
    plan: &Plan,
    sizes: Sizes,
    source: &[f32],
    normal: Option<Normal<'_>>,
    weights: &[f32],
    added: Added<'_>,
) -> Vec<f32> {
    let packed = Packed::new(plan, sizes, weights);
    let [height, width] = plan.target;
    let mut out = unwritten(sizes.images * sizes.outputs * height * width);
    if out.is_empty() {
        return out;
    }
    let rows = rows_at_once(plan, sizes);
    let mut layout = Layout::new(plan, rows);
    // Where no vector would read beyond its channel, pictures without neighbours are read where they lie.
    let lie_well = |rows: usize| (rows * plan.grid[1]).is_multiple_of(SLACK);
    debug_assert!(normal.is_none() || plan.edge == 1 && plan.split == 1);
    let in_place = plan.edge == 0 && lie_well(rows) && lie_well(plan.grid[0]);
    if in_place {
        layout.plane = plan.grid[0] * plan.grid[1];
    }
    let offsets = offsets(plan, sizes.inputs, &layout);
    let tiles = plan.grid[0].div_ceil(rows);
    let groups = groups(plan, sizes, &packed.blocks, sizes.images * tiles);
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
            let channels = packed.blocks[group.clone()].iter().map(|(_, size)| size).sum();
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
        packed: &packed,
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
fn groups(
    plan: &Plan,
    sizes: Sizes,
    blocks: &[(usize, usize)],
    parts: usize,
) -> Vec<std::ops::Range<usize>> {
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
        let [copy, results] = &mut buffers;
        run(simd, self.job, self.task, copy, results);
        planes::give(buffers);
    }
}

#[inline(always)]
fn run<S: Simd>(
    simd: S,
    job: &Job<'_>,
    mut task: Task<'_>,
    copy: &mut Vec<f32>,
    results: &mut Vec<f32>,
) {
    let Job { plan, sizes, layout, .. } = job;
    let picture = plan.source[0] * plan.source[1];
    let source = &job.source[task.image * sizes.inputs * picture..][..sizes.inputs * picture];
    let rows = (plan.grid[0] - task.row).min(job.rows);
    let source = if job.in_place {
        &source[task.row * layout.stride..]
    } else {
        let planes = plan.split * plan.split;
        let copy = planes::lend(copy, sizes.inputs * planes * layout.plane);
        let first = task.row as isize - layout.edge as isize;
        let last = (task.row + rows + layout.edge) as isize;
        let copies = copy.chunks_exact_mut(planes * layout.plane);
        for (channel, (x, out)) in source.chunks_exact(picture).zip(copies).enumerate() {
            let (size, split, rows) = (plan.source, plan.split, first..last);
            match job.normal.map(|normal| normal.channel(task.image, channel)) {
                None => planes::copy_rows(x, size, split, rows, layout, out, planes::as_they_are),
                Some(affine) => planes::copy_rows(
                    x,
                    size,
                    split,
                    rows,
                    layout,
                    out,
                    #[inline(always)]
                    |from, to| silu_of(simd, affine, from, to),
                ),
            }
            planes::clear_ends(layout, out);
        }
        copy
    };
    let places = rows * layout.stride;
    let row = places.next_multiple_of(SLACK);
    let results = planes::lend(results, plan.taps.len() * product::most_channels::<S>() * row);
    let first = job.packed.blocks[task.block].0;
    let mut done = 0;
    let mut block = task.block;
    while done < task.out.len() {
        let size = job.packed.blocks[block].1;
        let mut weights = &job.packed.values[block][..];
        for (offsets, results) in job.offsets.iter().zip(results.chunks_exact_mut(size * row)) {
            let (of_plane, rest) = weights.split_at(offsets.len() * size);
            weights = rest;
            let of = Weighted { channels: size, source, offsets, weights: of_plane, places };
            product::convolve(simd, of, results, row);
        }
        let out = &mut task.out[done..done + size];
        for (i, out) in out.iter_mut().enumerate() {
            let channel = first + done + i;
            let bias = job.added.bias.map_or(0.0, |bias| bias[channel]);
            let residual = job.added.residual.map(|residual| {
                let plane = plan.target[0] * plan.target[1];
                let at = (task.image * sizes.outputs + channel) * plane
                    + task.row * plan.join * plan.target[1];
                &residual[at..at + out.len()]
            });
            store(plan, layout, results, (i, size, row), bias, out);
            if let Some(residual) = residual {
                out.iter_mut().zip(residual).for_each(|(out, x)| *out += x);
            }
        }
        done += size;
        block += 1;
    }
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
        let (left, right) = (plane(below, row / 2), plane(below + 1, row / 2));
        let mut pairs = out.chunks_exact_mut(2);
        for (out, (left, right)) in pairs.by_ref().zip(left.iter().zip(right)) {
            out[0] = left + bias;
            out[1] = right + bias;
        }
        if let [out] = pairs.into_remainder() {
            *out = left[layout.columns - 1] + bias;
        }
    }
}
