//! Copies of parts of pictures in which a step to a neighbour is a step of one length.

use std::cell::Cell;
use std::ops::Range;

use super::plan::{Plan, Tap};

/// Floats that may be read beyond the last place: a vector of any processor.
pub const SLACK: usize = 16;

thread_local! {
    static BUFFERS: Cell<[Vec<f32>; 2]> = const { Cell::new([Vec::new(), Vec::new()]) };
}

/// The thread's two buffers, to be given back with [`give`].
pub fn take() -> [Vec<f32>; 2] {
    BUFFERS.take()
}

/// Keeps buffers for the thread's next task.
pub fn give(buffers: [Vec<f32>; 2]) {
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

/// Copies rows of one channel of a picture, as `split x split` planes of the grid, to where they lie.
/// Beyond the picture are zeros.
///
/// `picture` is `[height, width]`; `rows` are those of the grid, from the first to be copied on, and may
/// begin before the picture and end behind it; `out` begins at the row of the layout that the first of them
/// is. A picture of one plane is copied by `put`.
#[inline(always)]
pub fn copy_rows(
    picture: &[f32],
    size: [usize; 2],
    split: usize,
    rows: Range<isize>,
    layout: &Layout,
    out: &mut [f32],
    put: impl Fn(&[f32], &mut [f32]),
) {
    let [height, width] = size;
    for plane in 0..split * split {
        let (down, right) = (plane / split, plane % split);
        let out = &mut out[plane * layout.plane..];
        for (row, out) in rows.clone().zip(out[layout.edge..].chunks_exact_mut(layout.stride)) {
            let at = row * split as isize + down as isize;
            if at < 0 || at >= height as isize {
                out.fill(0.0);
                continue;
            }
            let from = &picture[at as usize * width..][..width];
            let count = width.saturating_sub(right).div_ceil(split).min(layout.stride);
            let (inside, beyond) = out.split_at_mut(count);
            if split == 1 {
                put(&from[..count], inside);
            } else {
                let from = &from[right..];
                let pairs = from.chunks_exact(2);
                let last = pairs.remainder();
                inside.iter_mut().zip(pairs).for_each(|(out, x)| *out = x[0]);
                if let [x] = last {
                    inside[count - 1] = *x;
                }
            }
            beyond.fill(0.0);
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
