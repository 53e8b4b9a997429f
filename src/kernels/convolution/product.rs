//! The two products that convolutions come down to, for one block of channels, in registers.

use pulp::Simd;

use crate::kernels::vectors::multiply_add;

/// Channels of a block of [`convolve`], at most: its sums fill the registers of the processor but for those
/// that weights and pictures pass through.
pub const fn most_channels<S: Simd>() -> usize {
    if S::REGISTER_COUNT >= 32 { 8 } else { 6 }
}

/// Blocks of about one size that so many channels are taken in: `(first, size)`.
pub fn blocks(channels: usize, most: usize) -> Vec<(usize, usize)> {
    let count = channels.div_ceil(most);
    let start = |block: usize| block * channels / count;
    (0..count).map(|block| (start(block), start(block + 1) - start(block))).collect()
}

/// `out[m][p] = sum over k of weights[k][m] source[offsets[k] + p]` for the places `p` below `places`,
/// rounded up to whole vectors; rows of `out` are `stride` apart.
#[inline(always)]
pub fn convolve<S: Simd>(
    simd: S,
    channels: usize,
    source: &[f32],
    offsets: &[usize],
    weights: &[f32],
    places: usize,
    out: &mut [f32],
    stride: usize,
) {
    let wide = S::REGISTER_COUNT >= 32;
    let vectors = places.div_ceil(S::F32_LANES);
    let all = (source, offsets, weights, vectors);
    match (channels, wide) {
        (8, _) => sweep::<S, 8, 3>(simd, all, out, stride),
        (7, _) => sweep::<S, 7, 3>(simd, all, out, stride),
        (6, true) => sweep::<S, 6, 4>(simd, all, out, stride),
        (6, false) => sweep::<S, 6, 2>(simd, all, out, stride),
        (5, true) => sweep::<S, 5, 5>(simd, all, out, stride),
        (5, false) => sweep::<S, 5, 2>(simd, all, out, stride),
        (4, true) => sweep::<S, 4, 6>(simd, all, out, stride),
        (4, false) => sweep::<S, 4, 2>(simd, all, out, stride),
        (3, true) => sweep::<S, 3, 8>(simd, all, out, stride),
        (3, false) => sweep::<S, 3, 4>(simd, all, out, stride),
        (2, true) => sweep::<S, 2, 8>(simd, all, out, stride),
        (2, false) => sweep::<S, 2, 5>(simd, all, out, stride),
        _ => sweep::<S, 1, 8>(simd, all, out, stride),
    }
}

type Given<'a> = (&'a [f32], &'a [usize], &'a [f32], usize);

#[inline(always)]
fn sweep<S: Simd, const M: usize, const N: usize>(
    simd: S,
    (source, offsets, weights, vectors): Given<'_>,
    out: &mut [f32],
    stride: usize,
) {
    let mut at = 0;
    while at < vectors {
        let first = at * S::F32_LANES;
        let (source, out) = (&source[first..], &mut out[first..]);
        at += match vectors - at {
            left if left >= N => tile::<S, M, N>(simd, source, offsets, weights, out, stride),
            4.. if N > 4 => tile::<S, M, 4>(simd, source, offsets, weights, out, stride),
            2.. => tile::<S, M, 2>(simd, source, offsets, weights, out, stride),
            _ => tile::<S, M, 1>(simd, source, offsets, weights, out, stride),
        };
    }
}

/// `M` channels of `N` vectors; gives back `N`.
#[inline(always)]
fn tile<S: Simd, const M: usize, const N: usize>(
    simd: S,
    source: &[f32],
    offsets: &[usize],
    weights: &[f32],
    out: &mut [f32],
    stride: usize,
) -> usize {
    let mut sums = [[simd.splat_f32s(0.0); N]; M];
    let (weights, _) = weights.as_chunks::<M>();
    for (offset, weights) in offsets.iter().zip(weights) {
        let (x, _) = S::as_simd_f32s(&source[*offset..][..N * S::F32_LANES]);
        let x: [_; N] = std::array::from_fn(|j| x[j]);
        for i in 0..M {
            let weight = simd.splat_f32s(weights[i]);
            for j in 0..N {
                sums[i][j] = multiply_add(simd, weight, x[j], sums[i][j]);
            }
        }
    }
    for i in 0..M {
        let (out, _) = S::as_mut_simd_f32s(&mut out[i * stride..][..N * S::F32_LANES]);
        for j in 0..N {
            out[j] = sums[i][j];
        }
    }
    N
}

/// `out[m][k] += sum over p of grad[m][p] source[offsets[k] + p]` for the places `p` below `places`, rounded
/// up to whole vectors: what `grad` holds behind them is zero. Rows of `grad` are `stride` apart, those of
/// `out` as many as there are offsets.
#[inline(always)]
pub fn correlate<S: Simd>(
    simd: S,
    channels: usize,
    grad: &[f32],
    stride: usize,
    source: &[f32],
    offsets: &[usize],
    places: usize,
    out: &mut [f32],
) {
    let all = (grad, stride, source, places.div_ceil(S::F32_LANES));
    match channels {
        8 => pairs::<S, 8>(simd, all, offsets, out),
        7 => pairs::<S, 7>(simd, all, offsets, out),
        6 => pairs::<S, 6>(simd, all, offsets, out),
        5 => pairs::<S, 5>(simd, all, offsets, out),
        4 => pairs::<S, 4>(simd, all, offsets, out),
        3 => pairs::<S, 3>(simd, all, offsets, out),
        2 => pairs::<S, 2>(simd, all, offsets, out),
        _ => pairs::<S, 1>(simd, all, offsets, out),
    }
}

/// Channels of a block of [`correlate`], at most.
pub const fn most_gradients<S: Simd>() -> usize {
    if S::REGISTER_COUNT >= 32 { 8 } else { 4 }
}

type Pictures<'a> = (&'a [f32], usize, &'a [f32], usize);

#[inline(always)]
fn pairs<S: Simd, const M: usize>(simd: S, all: Pictures<'_>, offsets: &[usize], out: &mut [f32]) {
    let row = offsets.len();
    let (threes, rest) = offsets.as_chunks::<3>();
    for (i, offsets) in threes.iter().enumerate() {
        dots::<S, M, 3>(simd, all, offsets, &mut out[3 * i..], row);
    }
    let out = &mut out[3 * threes.len()..];
    match rest {
        [a, b] => dots::<S, M, 2>(simd, all, &[*a, *b], out, row),
        [a] => dots::<S, M, 1>(simd, all, &[*a], out, row),
        _ => {}
    }
}

#[inline(always)]
fn dots<S: Simd, const M: usize, const N: usize>(
    simd: S,
    (grad, stride, source, vectors): Pictures<'_>,
    offsets: &[usize; N],
    out: &mut [f32],
    row: usize,
) {
    let length = vectors * S::F32_LANES;
    let grads: [&[S::f32s]; M] =
        std::array::from_fn(|i| S::as_simd_f32s(&grad[i * stride..][..length]).0);
    let sources: [&[S::f32s]; N] =
        std::array::from_fn(|j| S::as_simd_f32s(&source[offsets[j]..][..length]).0);
    let mut sums = [[simd.splat_f32s(0.0); N]; M];
    for p in 0..vectors {
        let x: [_; N] = std::array::from_fn(|j| sources[j][p]);
        for i in 0..M {
            let grad = grads[i][p];
            for j in 0..N {
                sums[i][j] = multiply_add(simd, grad, x[j], sums[i][j]);
            }
        }
    }
    for i in 0..M {
        for j in 0..N {
            out[i * row + j] += simd.reduce_sum_f32s(sums[i][j]);
        }
    }
}
