//! Tiles of a product: as many sums as the processor has registers for, in vectors.

use pulp::Simd;

use super::product::Base;
use crate::kernels::vectors::multiply_add;

/// Registers of a processor from which on it has room for the larger tile.
pub const MANY_REGISTERS: usize = 32;
/// Rows of a tile of up to three vectors, 24 registers of sums.
pub const TALL: usize = 8;
/// Rows of a tile of up to two vectors, 12 registers of sums.
pub const LOW: usize = 6;
/// Numbers of the widest tile on any processor.
const MOST_LANES: usize = 3 * 16;

/// The left side of a tile: its rows, or where they are laid out in turn its columns.
pub struct Left<'a, const M: usize> {
    /// Rows, where `turned` is empty.
    pub lines: [&'a [f32]; M],
    /// Columns.
    pub turned: &'a [[f32; M]],
}

/// Where a tile goes.
pub struct Place<'a, 'out> {
    /// From its first number on.
    pub out: &'out mut [f32],
    /// Numbers from one row to the next.
    pub stride: usize,
    /// Rows that are stored.
    pub rows: usize,
    /// Numbers of a row that are stored.
    pub wide: usize,
    /// What is added; its row has as many numbers.
    pub base: Base<'a>,
}

/// Computes a tile of `M` rows and `N` vectors. `right` has `N` vectors a term.
#[inline(always)]
pub fn run<S: Simd, const M: usize, const N: usize>(
    simd: S,
    left: &Left<'_, M>,
    right: &[S::f32s],
    place: Place<'_, '_>,
) {
    let terms = right.len() / N;
    let sums: [[S::f32s; N]; M] = if left.turned.is_empty() {
        let lines: [&[f32]; M] = std::array::from_fn(|i| &left.lines[i][..terms]);
        sums(
            simd,
            terms,
            #[inline(always)]
            |k, i| lines[i][k],
            right,
        )
    } else {
        let columns = &left.turned[..terms];
        sums(
            simd,
            terms,
            #[inline(always)]
            |k, i| columns[k][i],
            right,
        )
    };
    store(simd, &sums, place);
}

/// One function a height of tiles, every sum a variable of its own: of arrays the compiler would keep
/// copies in memory.
macro_rules! tile {
    ($name:ident, $rows:ident, $($i:literal: $x:ident $y:ident $z:ident),*) => {
        #[inline(always)]
        fn $name<S: Simd, const N: usize>(
            simd: S,
            terms: usize,
            left: impl Fn(usize, usize) -> f32,
            right: &[S::f32s],
        ) -> [[S::f32s; N]; $rows] {
            let zero = simd.splat_f32s(0.0);
            $(let (mut $x, mut $y, mut $z) = (zero, zero, zero);)*
            for (k, right) in right.as_chunks::<N>().0[..terms].iter().enumerate() {
                let first = right[0];
                let second = if N > 1 { right[1] } else { zero };
                let third = if N > 2 { right[2] } else { zero };
                $(
                    let factor = simd.splat_f32s(left(k, $i));
                    $x = multiply_add(simd, factor, first, $x);
                    if N > 1 {
                        $y = multiply_add(simd, factor, second, $y);
                    }
                    if N > 2 {
                        $z = multiply_add(simd, factor, third, $z);
                    }
                )*
            }
            [$({
                let row = [$x, $y, $z];
                std::array::from_fn(|v| row[v])
            }),*]
        }
    };
}

tile!(
    tall, TALL,
    0: x0 y0 z0, 1: x1 y1 z1, 2: x2 y2 z2, 3: x3 y3 z3,
    4: x4 y4 z4, 5: x5 y5 z5, 6: x6 y6 z6, 7: x7 y7 z7
);
tile!(
    low, LOW,
    0: x0 y0 z0, 1: x1 y1 z1, 2: x2 y2 z2, 3: x3 y3 z3, 4: x4 y4 z4, 5: x5 y5 z5
);

#[inline(always)]
fn sums<S: Simd, const M: usize, const N: usize>(
    simd: S,
    terms: usize,
    left: impl Fn(usize, usize) -> f32,
    right: &[S::f32s],
) -> [[S::f32s; N]; M] {
    match M {
        TALL => {
            let sums = tall::<S, N>(simd, terms, left, right);
            std::array::from_fn(|i| sums[i])
        }
        _ => {
            let sums = low::<S, N>(simd, terms, left, right);
            std::array::from_fn(|i| sums[i])
        }
    }
}

#[inline(always)]
fn store<S: Simd, const M: usize, const N: usize>(
    simd: S,
    sums: &[[S::f32s; N]; M],
    place: Place<'_, '_>,
) {
    let Place { out, stride, rows, wide, base } = place;
    for (i, sums) in sums.iter().enumerate() {
        if i >= rows {
            break;
        }
        let out = &mut out[i * stride..][..wide];
        if wide < N * S::F32_LANES {
            let mut line = [0.0; MOST_LANES];
            let (vectors, _) = S::as_mut_simd_f32s(&mut line);
            vectors.iter_mut().zip(sums).for_each(|(vector, sum)| *vector = *sum);
            match base {
                Base::Zero => out.copy_from_slice(&line[..wide]),
                Base::Row(row) => {
                    for ((out, sum), base) in out.iter_mut().zip(line).zip(row) {
                        *out = sum + base;
                    }
                }
                Base::Present => out.iter_mut().zip(line).for_each(|(out, sum)| *out += sum),
            }
            continue;
        }
        let (out, _) = S::as_mut_simd_f32s(out);
        match base {
            Base::Zero => out.iter_mut().zip(sums).for_each(|(out, sum)| *out = *sum),
            Base::Row(row) => {
                let (row, _) = S::as_simd_f32s(row);
                for ((out, sum), base) in out.iter_mut().zip(sums).zip(row) {
                    *out = simd.add_f32s(*sum, *base);
                }
            }
            Base::Present => {
                for (out, sum) in out.iter_mut().zip(sums) {
                    *out = simd.add_f32s(*sum, *out);
                }
            }
        }
    }
}
