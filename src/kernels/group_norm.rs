//! Group normalisation and its gradient, with or without SiLU after it.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::host::{EXP_LIMIT, LN2_HIGH, LN2_LOW, NORM_EPSILON, ROUND, unwritten};
use super::vectors::{dispatch, multiply_add};

/// Numbers that are worth handing out to another thread.
const WORTH: usize = 1 << 13;

/// What is normalised: groups of channels of pictures.
#[derive(Clone, Copy, Debug)]
pub(super) struct Groups<'a> {
    /// Scale and shift of each channel.
    pub(super) weight: &'a [f32],
    pub(super) bias: &'a [f32],
    pub(super) groups: usize,
    /// Height times width.
    pub(super) plane: usize,
    /// Whether `y sigmoid(y)` is made of the result `y`.
    pub(super) silu: bool,
}

impl Groups<'_> {
    /// Channels of a group.
    pub(super) fn channels(&self) -> usize {
        self.weight.len() / self.groups
    }

    /// Numbers of a group.
    fn size(&self) -> usize {
        self.channels() * self.plane
    }

    /// What becomes of the numbers of a channel whose group has these moments.
    pub(super) fn affine(&self, channel: usize, Moments { mean, rate }: Moments) -> Affine {
        Affine { mean, scale: self.weight[channel] * rate, shift: self.bias[channel] }
    }
}

/// Mean and reciprocal deviation of a group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moments {
    mean: f32,
    rate: f32,
}

/// `(x - mean) scale + shift`
#[derive(Clone, Copy, Debug)]
pub(super) struct Affine {
    mean: f32,
    scale: f32,
    shift: f32,
}

impl Affine {
    /// Its numbers, in all lanes.
    #[inline(always)]
    fn splat<S: Simd>(self, simd: S) -> [S::f32s; 3] {
        [simd.splat_f32s(self.mean), simd.splat_f32s(self.scale), simd.splat_f32s(self.shift)]
    }
}

/// The moments of each group of each picture.
pub(super) fn moments(of: Groups<'_>, x: &[f32]) -> Vec<Moments> {
    let size = of.size().max(1);
    let each = |x: &[f32]| dispatch(MomentsOf { x });
    x.par_chunks(size).with_min_len(WORTH.div_ceil(size)).map(each).collect()
}

struct MomentsOf<'a> {
    x: &'a [f32],
}

impl WithSimd for MomentsOf<'_> {
    type Output = Moments;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Moments {
        moments_of(simd, self.x)
    }
}

/// `out = y sigmoid(y)` of what an affine map makes of `x`.
#[inline(always)]
pub(super) fn silu_of<S: Simd>(simd: S, affine: Affine, x: &[f32], out: &mut [f32]) {
    let [mean, scale, shift] = affine.splat(simd);
    map::<S, 1>(
        simd,
        [x],
        out,
        #[inline(always)]
        |[x]| {
            let y = multiply_add(simd, simd.sub_f32s(x, mean), scale, shift);
            simd.mul_f32s(y, sigmoid(simd, y))
        },
    );
}

/// The result, of the shape of `x`: `[images, channels, plane]`.
pub(super) fn forward(of: Groups<'_>, x: &[f32]) -> Vec<f32> {
    let mut out = unwritten(x.len());
    let size = of.size().max(1);
    out.par_chunks_mut(size)
        .zip(x.par_chunks(size))
        .enumerate()
        .with_min_len(WORTH.div_ceil(size))
        .for_each(|(i, (out, x))| dispatch(Forward { of, group: i % of.groups, x, out }));
    out
}

/// The gradients of `x`, weight and bias.
pub(super) fn backward(of: Groups<'_>, x: &[f32], grad: &[f32]) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let mut out = unwritten(x.len());
    let (size, channels) = (of.size().max(1), of.weight.len());
    // Sums over the places of each picture and channel: the gradients of weight and bias.
    let mut sums = vec![[0.0f32; 2]; x.len() / of.plane.max(1)];
    out.par_chunks_mut(size)
        .zip(sums.par_chunks_mut(of.channels()))
        .zip(x.par_chunks(size).zip(grad.par_chunks(size)))
        .enumerate()
        .with_min_len(WORTH.div_ceil(size))
        .for_each(|(i, ((out, sums), (x, grad)))| {
            dispatch(Backward { of, group: i % of.groups, x, grad, out, sums });
        });
    let mut totals = [vec![0.0; channels], vec![0.0; channels]];
    for sums in sums.chunks_exact(channels) {
        for (which, total) in totals.iter_mut().enumerate() {
            total.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum[which]);
        }
    }
    let [weight, bias] = totals;
    (out, weight, bias)
}

struct Forward<'a> {
    of: Groups<'a>,
    group: usize,
    x: &'a [f32],
    out: &'a mut [f32],
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { of, group, x, out } = self;
        let moments = moments_of(simd, x);
        let first = group * of.channels();
        let planes = x.chunks_exact(of.plane).zip(out.chunks_exact_mut(of.plane));
        for (c, (x, out)) in planes.enumerate() {
            let affine = of.affine(first + c, moments);
            if of.silu {
                silu_of(simd, affine, x, out);
                continue;
            }
            let [mean, scale, shift] = affine.splat(simd);
            map::<S, 1>(
                simd,
                [x],
                out,
                #[inline(always)]
                |[x]| multiply_add(simd, simd.sub_f32s(x, mean), scale, shift),
            );
        }
    }
}

struct Backward<'a> {
    of: Groups<'a>,
    group: usize,
    x: &'a [f32],
    grad: &'a [f32],
    out: &'a mut [f32],
    sums: &'a mut [[f32; 2]],
}

impl WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { of, group, x, grad, out, sums } = self;
        let Moments { mean, rate } = moments_of(simd, x);
        let (mean_of_all, one) = (simd.splat_f32s(mean), simd.splat_f32s(1.0));
        let first = group * of.channels();
        // Of the gradient of the normalised numbers: its sum, and that of its products with them.
        let mut total = [0.0f32; 2];
        for (c, sums) in sums.iter_mut().enumerate() {
            let at = c * of.plane..(c + 1) * of.plane;
            let weight = simd.splat_f32s(of.weight[first + c] * rate);
            let bias = simd.splat_f32s(of.bias[first + c]);
            let mut added = [simd.splat_f32s(0.0); 2];
            let (x, grad) = (&x[at.clone()], &grad[at.clone()]);
            map::<S, 2>(
                simd,
                [x, grad],
                &mut out[at],
                #[inline(always)]
                |[x, grad]| {
                    let centred = simd.sub_f32s(x, mean_of_all);
                    let grad = if of.silu {
                        let y = multiply_add(simd, centred, weight, bias);
                        let s = sigmoid(simd, y);
                        let slope = multiply_add(simd, y, simd.sub_f32s(one, s), one);
                        simd.mul_f32s(grad, simd.mul_f32s(s, slope))
                    } else {
                        grad
                    };
                    added[0] = multiply_add(simd, grad, centred, added[0]);
                    added[1] = simd.add_f32s(grad, added[1]);
                    grad
                },
            );
            *sums = [simd.reduce_sum_f32s(added[0]) * rate, simd.reduce_sum_f32s(added[1])];
            total[0] += sums[0] * of.weight[first + c];
            total[1] += sums[1] * of.weight[first + c];
        }
        let count = x.len() as f32;
        // `rate (grad weight - mean grad - normal mean product)`, with `normal = (x - mean) rate`.
        let slope = -rate * rate * total[0] / count;
        let shift = -rate * total[1] / count;
        let (slope, shift) = (simd.splat_f32s(slope), simd.splat_f32s(shift));
        for (c, (x, out)) in
            x.chunks_exact(of.plane).zip(out.chunks_exact_mut(of.plane)).enumerate()
        {
            let weight = simd.splat_f32s(of.weight[first + c] * rate);
            change(
                simd,
                x,
                out,
                #[inline(always)]
                |x, grad| {
                    let of_mean = multiply_add(simd, simd.sub_f32s(x, mean_of_all), slope, shift);
                    multiply_add(simd, grad, weight, of_mean)
                },
            );
        }
    }
}

/// `out = f(inputs)`, number by number; what is behind the last whole vector is taken as zeros.
#[inline(always)]
fn map<S: Simd, const N: usize>(
    simd: S,
    inputs: [&[f32]; N],
    out: &mut [f32],
    mut f: impl FnMut([S::f32s; N]) -> S::f32s,
) {
    let whole = out.len() / S::F32_LANES * S::F32_LANES;
    let (vectors, rest) = out.split_at_mut(whole);
    let (vectors, _) = S::as_mut_simd_f32s(vectors);
    let parts: [&[S::f32s]; N] =
        std::array::from_fn(|i| &S::as_simd_f32s(&inputs[i][..whole]).0[..vectors.len()]);
    for (i, out) in vectors.iter_mut().enumerate() {
        *out = f(std::array::from_fn(|j| parts[j][i]));
    }
    if !rest.is_empty() {
        let given = std::array::from_fn(|i| simd.partial_load_f32s(&inputs[i][whole..]));
        simd.partial_store_f32s(rest, f(given));
    }
}

/// `out = f(x, out)`, number by number.
#[inline(always)]
fn change<S: Simd>(simd: S, x: &[f32], out: &mut [f32], f: impl Fn(S::f32s, S::f32s) -> S::f32s) {
    let whole = out.len() / S::F32_LANES * S::F32_LANES;
    let (vectors, rest) = out.split_at_mut(whole);
    let (vectors, _) = S::as_mut_simd_f32s(vectors);
    let (inputs, _) = S::as_simd_f32s(&x[..whole]);
    vectors.iter_mut().zip(inputs).for_each(|(out, x)| *out = f(*x, *out));
    if !rest.is_empty() {
        let made = f(simd.partial_load_f32s(&x[whole..]), simd.partial_load_f32s(rest));
        simd.partial_store_f32s(rest, made);
    }
}

#[inline(always)]
fn moments_of<S: Simd>(simd: S, x: &[f32]) -> Moments {
    let count = x.len() as f32;
    let sum = total(
        simd,
        x,
        #[inline(always)]
        |x, sum| simd.add_f32s(x, sum),
        |x| x,
    );
    let mean = sum / count;
    let of_all = simd.splat_f32s(mean);
    let squares = total(
        simd,
        x,
        #[inline(always)]
        |x, sum| {
            let centred = simd.sub_f32s(x, of_all);
            multiply_add(simd, centred, centred, sum)
        },
        |x| (x - mean) * (x - mean),
    );
    Moments { mean, rate: (squares / count + NORM_EPSILON).sqrt().recip() }
}

/// The sum of all numbers, added by `add`, and those behind the last whole vector as `one` makes them.
#[inline(always)]
fn total<S: Simd>(
    simd: S,
    x: &[f32],
    add: impl Fn(S::f32s, S::f32s) -> S::f32s,
    one: impl Fn(f32) -> f32,
) -> f32 {
    let (vectors, rest) = S::as_simd_f32s(x);
    let (blocks, last) = vectors.as_chunks::<8>();
    let mut sums = [simd.splat_f32s(0.0); 8];
    for block in blocks {
        for i in 0..8 {
            sums[i] = add(block[i], sums[i]);
        }
    }
    for (sum, x) in sums.iter_mut().zip(last) {
        *sum = add(*x, *sum);
    }
    let [a, b, c, d, e, f, g, h] = sums;
    let add = |a, b| simd.add_f32s(a, b);
    let all = add(add(add(a, b), add(c, d)), add(add(e, f), add(g, h)));
    simd.reduce_sum_f32s(all) + rest.iter().map(|x| one(*x)).sum::<f32>()
}

/// `1 / (1 + exp(-x))`, with the exponential as [`exp`](super::host::exp) takes it.
#[inline(always)]
fn sigmoid<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let splat = |x: f32| simd.splat_f32s(x);
    let x = simd.min_f32s(simd.max_f32s(x, splat(-EXP_LIMIT)), splat(EXP_LIMIT));
    let round = splat(ROUND);
    let shifted = multiply_add(simd, x, splat(-std::f32::consts::LOG2_E), round);
    let n = simd.sub_f32s(shifted, round);
    // The rest's negative, with the signs of the polynomial's odd terms turned.
    let r = multiply_add(simd, n, splat(LN2_HIGH), x);
    let r = multiply_add(simd, n, splat(LN2_LOW), r);
    let mut p = splat(-1.0 / 5040.0);
    for term in [1.0 / 720.0, -1.0 / 120.0, 1.0 / 24.0, -1.0 / 6.0, 0.5, -1.0, 1.0] {
        p = multiply_add(simd, p, r, splat(term));
    }
    // The low bits of the shifted number are n itself, as an integer.
    let bias = 127u32.wrapping_sub(ROUND.to_bits());
    let exponent = simd.add_u32s(simd.transmute_u32s_f32s(shifted), simd.splat_u32s(bias));
    let power = simd.wrapping_dyn_shl_u32s(exponent, simd.splat_u32s(23));
    let exp = simd.mul_f32s(p, simd.transmute_f32s_u32s(power));
    simd.div_f32s(splat(1.0), simd.add_f32s(splat(1.0), exp))
}
