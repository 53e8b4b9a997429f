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

/// The factors of [`convolve`].
#[derive(Clone, Copy)]
pub struct Weighted<'a> {
    /// Channels of the block.
    pub channels: usize,
    pub source: &'a [f32],
    /// Where the neighbours of place 0 lie in the source.
    pub offsets: &'a [usize],
    /// `[offsets, channels]`
    pub weights: &'a [f32],
    pub places: usize,
}

/// `out[m][p] = sum over k of weights[k][m] source[offsets[k] + p]` for the places `p`, their number rounded
/// up to whole vectors; rows of `out` are `stride` apart.
#[inline(always)]
pub fn convolve<S: Simd>(simd: S, of: Weighted<'_>, out: &mut [f32], stride: usize) {
    let wide = S::REGISTER_COUNT >= 32;
    match (of.channels, wide) {
        (8, _) => sweep::<S, 8, 3>(simd, of, out, stride),
        (7, _) => sweep::<S, 7, 3>(simd, of, out, stride),
        (6, true) => sweep::<S, 6, 4>(simd, of, out, stride),
        (6, false) => sweep::<S, 6, 2>(simd, of, out, stride),
        (5, true) => sweep::<S, 5, 5>(simd, of, out, stride),
        (5, false) => sweep::<S, 5, 2>(simd, of, out, stride),
        (4, true) => sweep::<S, 4, 6>(simd, of, out, stride),
        (4, false) => sweep::<S, 4, 2>(simd, of, out, stride),
        (3, true) => sweep::<S, 3, 8>(simd, of, out, stride),
        (3, false) => sweep::<S, 3, 4>(simd, of, out, stride),
        (2, true) => sweep::<S, 2, 8>(simd, of, out, stride),
        (2, false) => sweep::<S, 2, 5>(simd, of, out, stride),
        _ => sweep::<S, 1, 8>(simd, of, out, stride),
    }
}

#[inline(always)]
fn sweep<S: Simd, const M: usize, const N: usize>(
    simd: S,
    of: Weighted<'_>,
    out: &mut [f32],
    stride: usize,
) {
    let vectors = of.places.div_ceil(S::F32_LANES);
    let mut at = 0;
    while at < vectors {
        let first = at * S::F32_LANES;
        let (of, out) = (Weighted { source: &of.source[first..], ..of }, &mut out[first..]);
        at += match vectors - at {
            left if left >= N => tile::<S, M, N>(simd, of, out, stride),
            4.. if N > 4 => tile::<S, M, 4>(simd, of, out, stride),
            2.. => tile::<S, M, 2>(simd, of, out, stride),
            _ => tile::<S, M, 1>(simd, of, out, stride),
        };
    }
}

/// `M` channels of `N` vectors; gives back `N`.
#[inline(always)]
fn tile<S: Simd, const M: usize, const N: usize>(
    simd: S,
    of: Weighted<'_>,
    out: &mut [f32],
    stride: usize,
) -> usize {
    let mut sums = [[simd.splat_f32s(0.0); N]; M];
    let (weights, _) = of.weights.as_chunks::<M>();
    for (offset, weights) in of.offsets.iter().zip(weights) {
        let (x, _) = S::as_simd_f32s(&of.source[*offset..][..N * S::F32_LANES]);
        let x: [_; N] = std::array::from_fn(|j| x[j]);
        for (sums, weight) in sums.iter_mut().zip(weights) {
            let weight = simd.splat_f32s(*weight);
            for (sum, x) in sums.iter_mut().zip(x) {
                *sum = multiply_add(simd, weight, x, *sum);
            }
        }
    }
    for (i, sums) in sums.iter().enumerate() {
        let (out, _) = S::as_mut_simd_f32s(&mut out[i * stride..][..N * S::F32_LANES]);
        out.copy_from_slice(sums);
    }
    N
}

/// The factors of [`correlate`].
#[derive(Clone, Copy)]
pub struct Correlated<'a> {
    /// Channels of the block.
    pub channels: usize,
    /// The gradient, zero behind the places.
    pub grad: &'a [f32],
    /// From a channel of the gradient to the next.
    pub stride: usize,
    pub source: &'a [f32],
    /// Where the neighbours of place 0 lie in the source.
    pub offsets: &'a [usize],
    pub places: usize,
}

/// `out[m][k] += sum over p of grad[m][p] source[offsets[k] + p]` for the places `p`, their number rounded up
/// to whole vectors. Rows of `out` have as many numbers as there are offsets.
#[inline(always)]
pub fn correlate<S: Simd>(simd: S, of: Correlated<'_>, out: &mut [f32]) {
    match of.channels {
        8 => pairs::<S, 8>(simd, of, out),
        7 => pairs::<S, 7>(simd, of, out),
        6 => pairs::<S, 6>(simd, of, out),
        5 => pairs::<S, 5>(simd, of, out),
        4 => pairs::<S, 4>(simd, of, out),
        3 => pairs::<S, 3>(simd, of, out),
        2 => pairs::<S, 2>(simd, of, out),
        _ => pairs::<S, 1>(simd, of, out),
    }
}

/// Channels of a block of [`correlate`], at most.
pub const fn most_gradients<S: Simd>() -> usize {
    if S::REGISTER_COUNT >= 32 { 8 } else { 4 }
}

#[inline(always)]
fn pairs<S: Simd, const M: usize>(simd: S, of: Correlated<'_>, out: &mut [f32]) {
    let row = of.offsets.len();
    let (threes, rest) = of.offsets.as_chunks::<3>();
    for (i, offsets) in threes.iter().enumerate() {
        dots::<S, M, 3>(simd, of, offsets, &mut out[3 * i..], row);
    }
    let out = &mut out[3 * threes.len()..];
    match rest {
        [a, b] => dots::<S, M, 2>(simd, of, &[*a, *b], out, row),
        [a] => dots::<S, M, 1>(simd, of, &[*a], out, row),
        _ => {}
    }
}

#[inline(always)]
fn dots<S: Simd, const M: usize, const N: usize>(
    simd: S,
    of: Correlated<'_>,
    offsets: &[usize; N],
    out: &mut [f32],
    row: usize,
) {
    let vectors = of.places.div_ceil(S::F32_LANES);
    let length = vectors * S::F32_LANES;
    let grads: [&[S::f32s]; M] =
        std::array::from_fn(|i| S::as_simd_f32s(&of.grad[i * of.stride..][..length]).0);
    let sources: [&[S::f32s]; N] =
        std::array::from_fn(|j| S::as_simd_f32s(&of.source[offsets[j]..][..length]).0);
    let mut sums = [[simd.splat_f32s(0.0); N]; M];
    for p in 0..vectors {
        let x: [_; N] = std::array::from_fn(|j| sources[j][p]);
        for (sums, grads) in sums.iter_mut().zip(grads) {
            let grad = grads[p];
            for (sum, x) in sums.iter_mut().zip(x) {
                *sum = multiply_add(simd, grad, x, *sum);
            }
        }
    }
    for (i, sums) in sums.into_iter().enumerate() {
        for (out, sum) in out[i * row..].iter_mut().zip(sums) {
            *out += simd.reduce_sum_f32s(sum);
        }
    }
}
