//! Convolutions that look at every channel by itself, and the clamp between 0 and 6 that follows layers in networks that
//! have these. On the CPU they are kernels, without gradients: networks of this kind are looked through, not trained.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use rayon::prelude::*;

use super::fused::has_kernels;
use super::host::{self, Rows, unwritten};
use super::vectors::vectors;

/// Every channel convolved by itself, with TensorFlow's 'same' padding for pictures of even sides where it halves.
///
/// # Shapes
/// - `x`: `[batch, channels, height, width]`, sides even where `stride` is 2
/// - `weight`: `[channels, 1, kernel, kernel]`, the kernel odd
/// - `bias`: `[channels]`
/// - output: `[batch, channels, height / stride, width / stride]`
pub fn by_channel(x: Tensor<4>, weight: Tensor<4>, bias: Tensor<1>, stride: usize) -> Tensor<4> {
    if !has_kernel(&x) {
        return plain_by_channel(x, weight, bias, stride);
    }
    Tensor::from_dispatch(Dispatch::by_channel(
        x.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
        stride,
    ))
}

/// As [`by_channel`], made of burn's own operations.
pub fn plain_by_channel(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Tensor<1>,
    stride: usize,
) -> Tensor<4> {
    let [channels, _, kernel, _] = weight.dims();
    let [before, after] = around(kernel, stride);
    let (x, padding) = match before == after {
        true => (x, before),
        false => (x.pad((before, after, before, after), 0.0), 0),
    };
    conv2d(x, weight, Some(bias), ConvOptions::new([stride; 2], [padding; 2], [1; 2], channels))
}

/// `min(max(x, 0), 6)`, of any shape.
pub fn relu6(x: Tensor<4>) -> Tensor<4> {
    if !has_kernel(&x) {
        return x.clamp(0.0, 6.0);
    }
    Tensor::from_dispatch(Dispatch::relu6(x.into_dispatch()))
}

fn has_kernel(x: &Tensor<4>) -> bool {
    !x.is_autodiff() && has_kernels(&x.device())
}

/// Rows and columns that are added before and behind.
fn around(kernel: usize, stride: usize) -> [usize; 2] {
    let all = kernel - stride;
    [all / 2, all - all / 2]
}

/// The kernels of the CPU. Shapes as above.
#[backend_extension(Flex)]
pub trait ChannelOps: Backend {
    fn by_channel(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        stride: usize,
    ) -> FloatTensor<Self>;

    fn relu6(x: FloatTensor<Self>) -> FloatTensor<Self>;
}

impl ChannelOps for Flex {
    fn by_channel(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        stride: usize,
    ) -> FloatTensor<Self> {
        let (x, weight, bias) = (Rows::new(x), Rows::new(weight), Rows::new(bias));
        let [batch, channels, height, width] = x.extents();
        let [.., kernel] = weight.extents();
        let planes = Planes { height, width, kernel, stride };
        let (rows, columns) = (height / stride, width / stride);
        let mut out = unwritten(batch * channels * rows * columns);
        let (inputs, weights, biases) = (x.values(), weight.values(), bias.values());
        let each = (rows * columns).max(1);
        out.par_chunks_mut(each).enumerate().for_each_init(Vec::new, |room, (at, out)| {
            let channel = at % channels;
            let input = &inputs[at * height * width..(at + 1) * height * width];
            let weight = &weights[channel * kernel * kernel..(channel + 1) * kernel * kernel];
            vectors(
                #[inline(always)]
                || planes.convolve(out, input, weight, biases[channel], room),
            );
        });
        host::tensor(out, vec![batch, channels, rows, columns])
    }

    fn relu6(x: FloatTensor<Self>) -> FloatTensor<Self> {
        Rows::new(x).map(
            #[inline(always)]
            |x| x.clamp(0.0, 6.0),
        )
    }
}

/// The shape of a channel's convolution.
struct Planes {
    height: usize,
    width: usize,
    kernel: usize,
    stride: usize,
}

impl Planes {
    /// One channel of one picture. The plane is laid out with its border and, where the stride is 2, with even columns
    /// before odd ones, so that all loops run over neighbours.
    #[inline(always)]
    fn convolve(&self, out: &mut [f32], x: &[f32], weight: &[f32], bias: f32, room: &mut Vec<f32>) {
        let Self { height, width, kernel, stride } = *self;
        let [before, after] = around(kernel, stride);
        let (rows, columns) = (height + before + after, width + before + after);
        // Columns of each phase, in a row of `stride` phases.
        let phase = columns.div_ceil(stride);
        room.clear();
        room.resize(rows * phase * stride, 0.0);
        for (from, to) in
            x.chunks_exact(width).zip(room.chunks_exact_mut(phase * stride).skip(before))
        {
            match stride {
                1 => to[before..before + width].copy_from_slice(from),
                _ => from.iter().enumerate().for_each(|(at, value)| {
                    let column = at + before;
                    to[column % stride * phase + column / stride] = *value;
                }),
            }
        }
        let width = width / stride;
        for (row, out) in out.chunks_exact_mut(width).enumerate() {
            out.fill(bias);
            for (down, weights) in weight.chunks_exact(kernel).enumerate() {
                let line = &room[(row * stride + down) * phase * stride..][..phase * stride];
                for (across, weight) in weights.iter().enumerate() {
                    let from = &line[across % stride * phase + across / stride..][..width];
                    out.iter_mut().zip(from).for_each(|(out, x)| *out += weight * x);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;
    use crate::readback::floats;
    use crate::rng::Stream;

    fn random<const D: usize>(seed: u64, shape: [usize; D]) -> Tensor<D> {
        let values = Stream::new(seed, 0).normals(shape.iter().product());
        Tensor::from_data(TensorData::new(values, shape), &Device::flex())
    }

    #[test]
    fn every_kernel_and_stride_is_as_burn_computes_it() {
        for (case, (kernel, stride, [height, width])) in [
            (3, 1, [7, 5]),
            (3, 2, [8, 6]),
            (5, 1, [6, 9]),
            (5, 2, [4, 34]),
            (3, 2, [2, 2]),
            (5, 1, [1, 1]),
        ]
        .into_iter()
        .enumerate()
        {
            let x = random(case as u64, [2, 3, height, width]);
            let (weight, bias) = (random(10, [3, 1, kernel, kernel]), random(11, [3]));
            let found = by_channel(x.clone(), weight.clone(), bias.clone(), stride);
            let expected = plain_by_channel(x, weight, bias, stride);
            assert_eq!(found.dims(), expected.dims(), "{kernel} {stride}");
            let (found, expected) = (floats(found), floats(expected));
            let off = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(off < 1e-5, "{kernel} {stride} {height}x{width}: {off}");
        }
    }

    #[test]
    fn where_gradients_are_asked_for_they_are_burns() {
        let tracked = Device::flex().autodiff();
        let values = Stream::new(3, 0).normals(2 * 36);
        let x = Tensor::<4>::from_data(TensorData::new(values, [1, 2, 6, 6]), &tracked);
        let x = (x * 4.0).require_grad();
        let (weight, bias) = (random(4, [2, 1, 3, 3]), random(5, [2]));
        let made = relu6(by_channel(x.clone(), weight.autodiff(), bias.autodiff(), 2));
        let gradient = floats(x.grad(&made.sum().backward()).unwrap());
        assert!(gradient.iter().any(|slope| *slope != 0.0), "{gradient:?}");
    }

    #[test]
    fn numbers_are_clamped() {
        let x = random(1, [1, 2, 30, 40]) * 8.0;
        let found = floats(relu6(x.clone()));
        assert_eq!(found, floats(x.clamp(0.0, 6.0)));
        assert!(found.contains(&0.0) && found.contains(&6.0));
    }
}
