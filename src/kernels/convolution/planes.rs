//! Copies of parts of pictures in which a step to a neighbour is a step of one length.

use std::cell::Cell;
use std::ops::Range;

use super::plan::{Plan, Tap};

/// Floats that may be read beyond the last place: a vector of any processor.
pub const SLACK: usize = 16;

thread_local! {
    static BUFFERS: Cell<Buffers> = Cell::new(Buffers::default());
}

/// A thread's memory for one task after another.
#[derive(Default)]
pub struct Buffers {
    /// What is read.
    pub copy: Vec<f32>,
    /// What is made.
    pub results: Vec<f32>,
    /// Sums of what is read, where products are taken of them.
    pub sums: Vec<f32>,
}

/// The thread's buffers, to be given back with [`give`].
pub fn take() -> Buffers {
    BUFFERS.take()
}

/// Keeps buffers for the thread's next task.
pub fn give(buffers: Buffers) {
    BUFFERS.set(buffers);
}

/// `length` floats of a buffer, which hold what they held, from a line of the cache on: a vector that lies
/// on two lines takes twice as long to load.
pub fn lend(buffer: &mut Vec<f32>, length: usize) -> &mut [f32] {
    const LINE: usize = 64;
    if buffer.len() < length + LINE / size_of::<f32>() {
        buffer.resize(length + LINE / size_of::<f32>(), 0.0);
    }
    let skipped = buffer.as_ptr().align_offset(LINE).min(LINE / size_of::<f32>());
    &mut buffer[skipped..skipped + length]
}

/// How rows of the grid lie in a copy: one after another, with a place between them that is the neighbour
/// on the right of the one and on the left of the other.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    pub columns: usize,
    /// Rows and columns of neighbours: none or one.
    pub edge: usize,
    /// Places from a row to the next.
    pub stride: usize,
    /// Places from a plane to the next.
    pub plane: usize,
    /// Rows, those of neighbours and between pictures included.
    pub rows: usize,
}

impl Layout {
    /// Room for so many rows, without those of neighbours.
    pub fn new(plan: &Plan, rows: usize) -> Self {
        let edge = plan.edge;
        let (stride, rows) = (plan.grid[1] + edge, rows + 2 * edge);
        Self { columns: plan.grid[1], edge, stride, plane: edge + rows * stride + SLACK, rows }
    }

    /// Places that results are computed for.
    pub fn places(&self) -> usize {
        (self.rows - 2 * self.edge) * self.stride
    }

    /// From the place of a result in its plane to that of a neighbour in a copy.
    pub fn offset(&self, plane: usize, tap: &Tap) -> usize {
        let down = self.edge.wrapping_add_signed(tap.down);
        let right = self.edge.wrapping_add_signed(tap.right);
        plane * self.plane + down * self.stride + right
    }
}

/// Rows of a channel of a picture, as `split x split` planes of the grid.
pub struct Part<'a> {
    /// `[height, width]`
    pub picture: &'a [f32],
    pub size: [usize; 2],
    /// 1 or 2.
    pub split: usize,
    /// Of the grid; they may begin before the picture and end behind it.
    pub rows: Range<isize>,
}

/// Copies rows to where they lie. Beyond the picture are zeros, and where nothing is `wanted` of every `split`th row,
/// counted from the given one, at the given row of the grid.
///
/// `out` begins at the row of the layout that the first of the rows is. Numbers are copied by `put`.
#[inline(always)]
pub fn copy_rows(
    of: Part<'_>,
    wanted: impl Fn(usize, isize) -> bool,
    layout: &Layout,
    out: &mut [f32],
    put: impl Fn(&[f32], &mut [f32]),
) {
    /// Numbers of a row that are split at a time.
    const PART: usize = 128;
    let Part { picture, size: [height, width], split, rows } = of;
    let mut line = [0.0; PART];
    for down in 0..split {
        let out = &mut out[down * split * layout.plane..];
        for (i, row) in rows.clone().enumerate() {
            let start = layout.edge + i * layout.stride;
            let at = row * split as isize + down as isize;
            if at < 0 || at >= height as isize || !wanted(down, row) {
                for right in 0..split {
                    out[right * layout.plane + start..][..layout.stride].fill(0.0);
                }
                continue;
            }
            let from = &picture[at as usize * width..][..width];
            if split == 1 {
                let (inside, beyond) = out[start..][..layout.stride].split_at_mut(width);
                put(from, inside);
                beyond.fill(0.0);
                continue;
            }
            let (even, odd) = out.split_at_mut(layout.plane);
            let even = &mut even[start..][..layout.stride];
            let odd = &mut odd[start..][..layout.stride];
            for (j, from) in from.chunks(PART).enumerate() {
                let line = &mut line[..from.len()];
                put(from, line);
                let (pairs, last) = line.as_chunks::<2>();
                let even = &mut even[j * PART / 2..];
                let odd = &mut odd[j * PART / 2..];
                for ((even, odd), [first, second]) in even.iter_mut().zip(&mut *odd).zip(pairs) {
                    (*even, *odd) = (*first, *second);
                }
                if let [last] = last {
                    even[pairs.len()] = *last;
                }
            }
            even[width.div_ceil(2)..].fill(0.0);
            odd[width / 2..].fill(0.0);
        }
    }
}

/// Numbers as they are, for [`copy_rows`].
#[inline(always)]
pub fn as_they_are(from: &[f32], to: &mut [f32]) {
    to.copy_from_slice(from);
}

/// Zeros before the first and behind the last row of the planes of a copy.
#[inline(always)]
pub fn clear_ends(layout: &Layout, planes: &mut [f32]) {
    for plane in planes.chunks_exact_mut(layout.plane) {
        plane[..layout.edge].fill(0.0);
        plane[layout.edge + layout.rows * layout.stride..].fill(0.0);
    }
}
