//! Products of matrices of f32 on the CPU, in blocks that stay in the caches and tiles that stay in
//! registers.
//!
//! Every number of a product is one sum over its terms in their order, in runs of [`DEPTH`] terms: it does
//! not depend on how the work is split among threads.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::tiles;
use crate::kernels::host::unwritten;
use crate::kernels::vectors::dispatch;

/// Vectors side by side that a panel has at most: what leaves registers for a tile of [`tiles::TALL`] or
/// [`tiles::LOW`] rows.
const WIDEST: usize = 3;
/// Terms that are added up in registers before their sum goes to memory: a panel so deep stays in the
/// nearest cache.
const DEPTH: usize = 256;
/// Most rows that a task takes: they are to stay in the second cache with what is made of them.
const MOST_ROWS: usize = 96;
/// Tasks that every thread should find.
const TASKS_PER_THREAD: usize = 4;
/// Multiplications and additions that are worth handing out.
const WORTH_SHARING: usize = 1 << 17;
/// Numbers of a right side that are worth laying out by several threads.
const WORTH_SHARING_LAYOUT: usize = 1 << 15;

/// A matrix in a tensor's memory.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    /// Numbers from the begin of a row to that of the next; of a column, where it is turned.
    stride: usize,
    /// Whether its columns, not its rows, lie in memory one after another.
    turned: bool,
}

impl<'a> Matrix<'a> {
    /// Rows one after another.
    pub fn new(values: &'a [f32], rows: usize, columns: usize) -> Self {
        Self::strided(values, rows, columns, columns)
    }

    /// Rows that begin every `stride` numbers.
    pub fn strided(values: &'a [f32], rows: usize, columns: usize, stride: usize) -> Self {
        Self { values, rows, columns, stride, turned: false }
    }

    /// Its transpose, in the same memory.
    pub fn transposed(self) -> Self {
        Self { rows: self.columns, columns: self.rows, turned: !self.turned, ..self }
    }

    /// Some of its rows.
    pub fn some_rows(self, first: usize, rows: usize) -> Self {
        let skipped = if self.turned { first } else { first * self.stride };
        Self { values: &self.values[skipped.min(self.values.len())..], rows, ..self }
    }
}

/// Columns of a right side that lie side by side.
#[derive(Clone, Copy)]
pub struct Panel {
    /// The first of them.
    pub first: usize,
    /// Vectors of them, the last of which may go beyond the last column.
    pub vectors: usize,
}

/// Numbers of a vector, and vectors of a panel at most.
struct Width {
    lanes: usize,
    widest: usize,
}

struct Widths;

impl WithSimd for Widths {
    type Output = Width;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Width {
        let widest = if S::REGISTER_COUNT >= tiles::MANY_REGISTERS { WIDEST } else { WIDEST - 1 };
        Width { lanes: S::F32_LANES, widest }
    }
}

/// The panels of so many columns, of about one width.
pub fn panels(columns: usize) -> Vec<Panel> {
    let Width { lanes, widest } = dispatch(Widths);
    let vectors = columns.div_ceil(lanes);
    let count = vectors.div_ceil(widest);
    let begin = |i: usize| vectors * i / count;
    let panel = |i| Panel { first: begin(i) * lanes, vectors: begin(i + 1) - begin(i) };
    (0..count).map(panel).collect()
}

/// Columns of the widest panel.
pub fn widest_panel() -> usize {
    let Width { lanes, widest } = dispatch(Widths);
    lanes * widest
}

/// The right side of a product, laid out as it is read: a row of a panel after another, whatever beyond the
/// last column.
#[derive(Clone, Copy)]
pub struct LaidOut<'a> {
    /// Of panel after panel.
    pub values: &'a [f32],
    /// Rows.
    pub depth: usize,
    /// Columns.
    pub columns: usize,
    /// As [`panels`] gives them.
    pub panels: &'a [Panel],
}

/// A right side and the memory that it is laid out in, 0 beyond the last column.
pub struct Panels {
    values: Vec<f32>,
    depth: usize,
    columns: usize,
    panels: Vec<Panel>,
}

impl Panels {
    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        size_of_val(self.values.as_slice())
    }

    /// What is laid out.
    pub fn laid_out(&self) -> LaidOut<'_> {
        let Self { values, depth, columns, panels } = self;
        LaidOut { values, depth: *depth, columns: *columns, panels }
    }

    /// Lays out a matrix.
    pub fn new(right: Matrix<'_>) -> Self {
        let lanes = dispatch(Widths).lanes;
        let (depth, columns) = (right.rows, right.columns);
        let panels = panels(columns);
        let mut values = unwritten(columns.div_ceil(lanes) * lanes * depth);
        let mut rest = values.as_mut_slice();
        let mut parts = Vec::with_capacity(panels.len());
        for panel in &panels {
            let (part, after) = rest.split_at_mut(panel.vectors * lanes * depth);
            parts.push((*panel, part));
            rest = after;
        }
        let lay = |(panel, part): (Panel, &mut [f32])| {
            let width = panel.vectors * lanes;
            let count = width.min(columns - panel.first);
            dispatch(
                #[inline(always)]
                || lay_out(right, panel.first, count, width, part),
            );
        };
        match depth * columns >= WORTH_SHARING_LAYOUT {
            true => parts.into_par_iter().for_each(lay),
            false => parts.into_iter().for_each(lay),
        }
        Self { values, depth, columns, panels }
    }
}

/// Fills a panel of `width` with `count` columns from `first` on.
#[inline(always)]
fn lay_out(right: Matrix<'_>, first: usize, count: usize, width: usize, panel: &mut [f32]) {
    /// Of a square that is turned at a time.
    const SIDE: usize = 4;
    let Matrix { values, stride, rows: depth, turned, .. } = right;
    if count < width {
        panel.chunks_exact_mut(width).for_each(|line| line[count..].fill(0.0));
    }
    if !turned {
        for (k, line) in panel.chunks_exact_mut(width).enumerate() {
            line[..count].copy_from_slice(&values[k * stride + first..][..count]);
        }
        return;
    }
    let column = |j: usize| &values[(first + j) * stride..][..depth];
    let squares = count / SIDE * SIDE;
    for j in (0..squares).step_by(SIDE) {
        let columns: [&[f32]; SIDE] = std::array::from_fn(|i| column(j + i));
        for (k, lines) in panel.chunks_mut(width * SIDE).enumerate() {
            let high = lines.len() / width;
            let columns = columns.map(|column| &column[k * SIDE..][..high]);
            if high == SIDE {
                let square = columns.map(|column| *column.first_chunk().unwrap_or(&[0.0; SIDE]));
                for l in 0..SIDE {
                    let line: [f32; SIDE] = std::array::from_fn(|i| square[i][l]);
                    lines[l * width + j..][..SIDE].copy_from_slice(&line);
                }
            } else {
                for (l, line) in lines.chunks_exact_mut(width).enumerate() {
                    (0..SIDE).for_each(|i| line[j + i] = columns[i][l]);
                }
            }
        }
    }
    for j in squares..count {
        for (line, x) in panel.chunks_exact_mut(width).zip(column(j)) {
            line[j] = *x;
        }
    }
}

/// What the numbers of a product are added to.
#[derive(Clone, Copy)]
pub enum Base<'a> {
    /// Nothing.
    Zero,
    /// One number a column.
    Row(&'a [f32]),
    /// What is there.
    Present,
}

/// Some rows of a product, on the thread that asks for it.
pub struct Block<'a, 'out> {
    /// Those rows of the left side.
    pub left: Matrix<'a>,
    /// The right side.
    pub right: LaidOut<'a>,
    /// What is added.
    pub base: Base<'a>,
    /// The rows, one after another.
    pub out: &'out mut [f32],
    /// Where the sums of the rows of the left side go, if they are wanted: of a turned one only.
    pub sums: Option<&'out mut [f32]>,
}

impl Block<'_, '_> {
    /// Computes it.
    pub fn run(self) {
        dispatch(self);
    }

    #[inline(always)]
    fn in_tiles<S: Simd, const M: usize>(self, simd: S) {
        let Self { left, right, base, out, mut sums } = self;
        let LaidOut { values, depth, columns, panels } = right;
        if depth == 0 {
            // A sum of no terms.
            for out in out.chunks_exact_mut(columns.max(1)) {
                match base {
                    Base::Zero => out.fill(0.0),
                    Base::Row(row) => out.copy_from_slice(row),
                    Base::Present => (),
                }
            }
            return;
        }
        let mut turned = Vec::new();
        for from in (0..depth).step_by(DEPTH) {
            let terms = DEPTH.min(depth - from);
            if left.turned {
                turn::<M>(left, from, terms, &mut turned);
                if let Some(sums) = &mut sums {
                    add_up(&turned, terms, sums);
                }
            }
            let base = if from == 0 { base } else { Base::Present };
            for panel in panels {
                let width = panel.vectors * S::F32_LANES;
                let wide = width.min(columns - panel.first);
                let part = &values[panel.first * depth + from * width..][..terms * width];
                let right = S::as_simd_f32s(part).0;
                let base = match base {
                    Base::Row(row) => Base::Row(&row[panel.first..panel.first + wide]),
                    other => other,
                };
                for first in (0..left.rows).step_by(M) {
                    let rows = M.min(left.rows - first);
                    let place = tiles::Place {
                        out: &mut out[first * columns + panel.first..],
                        stride: columns,
                        rows,
                        wide,
                        base,
                    };
                    // Rows beyond the last are the last one again, and are not stored.
                    let lines: [&[f32]; M] = std::array::from_fn(|i| match left.turned {
                        true => &[][..],
                        false => {
                            let at = (first + i.min(rows - 1)) * left.stride + from;
                            &left.values[at..at + terms]
                        }
                    });
                    let turned = match left.turned {
                        true => &turned[first / M * terms..][..terms],
                        false => &[],
                    };
                    let left = tiles::Left { lines, turned };
                    match panel.vectors {
                        1 => tiles::run::<S, M, 1>(simd, &left, right, place),
                        2 => tiles::run::<S, M, 2>(simd, &left, right, place),
                        _ => tiles::run::<S, M, 3>(simd, &left, right, place),
                    }
                }
            }
        }
    }
}

impl WithSimd for Block<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match S::REGISTER_COUNT >= tiles::MANY_REGISTERS {
            true => self.in_tiles::<S, { tiles::TALL }>(simd),
            false => self.in_tiles::<S, { tiles::LOW }>(simd),
        }
    }
}

/// Lays `terms` columns of a turned left side out in tiles of `M` rows, a column of a tile after another.
#[inline(always)]
fn turn<const M: usize>(left: Matrix<'_>, from: usize, terms: usize, tiles: &mut Vec<[f32; M]>) {
    /// Columns at a time: the same places of all tiles would meet in one set of the cache.
    const AT_ONCE: usize = 16;
    let count = left.rows.div_ceil(M);
    tiles.resize(count * terms, [0.0; M]);
    for first in (0..terms).step_by(AT_ONCE) {
        let columns = first..terms.min(first + AT_ONCE);
        for (i, tile) in tiles.chunks_exact_mut(terms).enumerate().take(count) {
            let rows = i * M..left.rows.min(i * M + M);
            for (k, tile) in columns.clone().zip(&mut tile[columns.clone()]) {
                let column = &left.values[(from + k) * left.stride..];
                match column[rows.clone()].first_chunk::<M>() {
                    Some(part) => *tile = *part,
                    None => tile[..rows.len()].copy_from_slice(&column[rows.clone()]),
                }
            }
        }
    }
}

/// Adds the columns of tiles to the sums of their rows.
#[inline(always)]
fn add_up<const M: usize>(tiles: &[[f32; M]], terms: usize, sums: &mut [f32]) {
    for (sums, tile) in sums.chunks_mut(M).zip(tiles.chunks_exact(terms)) {
        let mut total = [0.0; M];
        for column in tile {
            total.iter_mut().zip(column).for_each(|(total, x)| *total += x);
        }
        sums.iter_mut().zip(total).for_each(|(sum, total)| *sum += total);
    }
}

/// A product of two matrices.
#[derive(Clone, Copy)]
pub struct Product<'a> {
    /// The left side.
    pub left: Matrix<'a>,
    /// The right side.
    pub right: &'a Panels,
    /// One number a column, which is added.
    pub bias: Option<&'a [f32]>,
}

impl Product<'_> {
    /// Writes the product to `out`.
    pub fn write(self, out: &mut [f32]) {
        self.write_and(out, &mut [], |_, _, _| ());
    }

    /// Writes the product to `out`, and the sums of the rows of its turned left side to `sums`.
    pub fn write_with_sums(self, out: &mut [f32], sums: &mut [f32]) {
        self.in_blocks(out, sums, true, |_, _, _| ());
    }

    /// Writes the product to `out`. Rows that are complete are given to `finish` while they are in the
    /// cache: the first of them, they, and as many rows of `side`, which is as high as `out`.
    pub fn write_and(
        self,
        out: &mut [f32],
        side: &mut [f32],
        finish: impl Fn(usize, &mut [f32], &mut [f32]) + Sync,
    ) {
        self.in_blocks(out, side, false, finish);
    }

    fn in_blocks(
        self,
        out: &mut [f32],
        side: &mut [f32],
        sums: bool,
        finish: impl Fn(usize, &mut [f32], &mut [f32]) + Sync,
    ) {
        let Self { left, right, bias } = self;
        let (rows, columns) = (left.rows, right.columns);
        if rows == 0 || columns == 0 {
            return;
        }
        let high = self.rows_at_once();
        let beside = side.len() / rows;
        let mut tasks = Vec::with_capacity(rows.div_ceil(high));
        let (mut out, mut side) = (out, side);
        for first in (0..rows).step_by(high) {
            let count = high.min(rows - first);
            let (block, rest) = out.split_at_mut(count * columns);
            let (by, side_rest) = side.split_at_mut(count * beside);
            (out, side) = (rest, side_rest);
            tasks.push((first, block, by));
        }
        let run = |(first, block, by): (usize, &mut [f32], &mut [f32])| {
            let left = left.some_rows(first, block.len() / columns);
            let base = bias.map_or(Base::Zero, Base::Row);
            let sums = sums.then_some(&mut *by);
            Block { left, right: right.laid_out(), base, out: block, sums }.run();
            finish(first, block, by);
        };
        match rows * columns * right.depth >= WORTH_SHARING {
            true => tasks.into_par_iter().for_each(run),
            false => tasks.into_iter().for_each(run),
        }
    }

    /// Rows of a task: whole tiles, of either height.
    fn rows_at_once(&self) -> usize {
        let share = self.left.rows.div_ceil(rayon::current_num_threads() * TASKS_PER_THREAD);
        share.next_multiple_of(tiles::TALL * tiles::LOW / 2).min(MOST_ROWS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Stream;

    /// Of sides as rows and as columns, added to nothing, to a row and to what is there, against sums in
    /// double precision.
    #[test]
    fn a_product_is_the_sums_of_its_terms() {
        for (i, [rows, depth, columns]) in
            [[1, 1, 1], [7, 5, 3], [25, 300, 49], [97, 64, 130], [13, 257, 100]]
                .into_iter()
                .enumerate()
        {
            let drawn = |stream: u64, count| Stream::new(i as u64, stream).normals(count);
            let (a, b) = (drawn(1, rows * depth), drawn(2, depth * columns));
            let turned = |values: &[f32], rows: usize, columns: usize| -> Vec<f32> {
                (0..rows * columns).map(|at| values[at % rows * columns + at / rows]).collect()
            };
            let (a_turned, b_turned) = (turned(&a, rows, depth), turned(&b, depth, columns));
            let lefts =
                [Matrix::new(&a, rows, depth), Matrix::new(&a_turned, depth, rows).transposed()];
            let rights = [
                Matrix::new(&b, depth, columns),
                Matrix::new(&b_turned, columns, depth).transposed(),
            ];
            let (row, present) = (drawn(3, columns), drawn(4, rows * columns));
            for (left, right) in lefts.into_iter().flat_map(|l| rights.map(|r| (l, r))) {
                let right = Panels::new(right);
                for base in [Base::Zero, Base::Row(&row), Base::Present] {
                    let mut out = present.clone();
                    let right = right.laid_out();
                    Block { left, right, base, out: &mut out, sums: None }.run();
                    for (at, found) in out.iter().enumerate() {
                        let (y, x) = (at / columns, at % columns);
                        let terms = (0..depth)
                            .map(|k| f64::from(a[y * depth + k]) * f64::from(b[k * columns + x]));
                        let base = match base {
                            Base::Zero => 0.0,
                            Base::Row(row) => row[x],
                            Base::Present => present[at],
                        };
                        let expected = f64::from(base) + terms.sum::<f64>();
                        let error = (f64::from(*found) - expected).abs();
                        assert!(error < 2e-5 * (depth as f64).sqrt().max(1.0), "{at}: {error}");
                    }
                }
            }
            let (mut out, mut sums) = (vec![0.0; rows * columns], vec![0.0; rows]);
            let right = Panels::new(rights[0]);
            Product { left: lefts[1], right: &right, bias: None }
                .write_with_sums(&mut out, &mut sums);
            for (found, row) in sums.iter().zip(a.chunks_exact(depth)) {
                let expected: f64 = row.iter().map(|x| f64::from(*x)).sum();
                assert!((f64::from(*found) - expected).abs() < 1e-4, "{found} for {expected}");
            }
        }
    }
}
