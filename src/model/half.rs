//! Linear layers and convolutions in half precision.

use std::ops::Range;

use burn::tensor::module::linear;
use burn::tensor::{DType, FloatDType, Slice, Tensor};

use super::precision::wide;
use crate::kernels;

/// `x W^T + b` in the precision of the weight. In half precision the bias is added in f32, and so is its
/// gradient.
///
/// # Shapes
/// - `x`: `[..., inputs]`
/// - `weight`: `[outputs, inputs]`
/// - `bias`: `[outputs]`
/// - output: `[..., outputs]`
pub fn affine<const D: usize>(x: Tensor<D>, weight: Tensor<2>, bias: Tensor<1>) -> Tensor<D> {
    if weight.dtype() != DType::F16 {
        return kernels::linear(x, weight, bias);
    }
    let product = linear(x.cast(FloatDType::F16), weight.transpose(), None);
    (wide(product) + wide(bias).unsqueeze()).cast(FloatDType::F16)
}

/// Bytes that the neighbourhoods of a convolution may take at a time.
const NEIGHBOURHOODS_BUDGET: usize = 32 << 20;

/// A convolution of numbers of two bytes, as matrix products with the neighbourhoods of all places: those
/// add up in f32, where burn's convolution adds up in the type of its numbers. Neighbourhoods are made for
/// so many rows of the output at a time.
///
/// # Shapes
/// - `x`: `[batch, inputs, height, width]`
/// - `weight`: `[outputs, inputs, kernel, kernel]`
/// - `bias`: `[outputs]`
/// - output: `[batch, outputs, rows, columns]`, in f16
pub fn conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Tensor<1>,
    stride: usize,
    padding: usize,
) -> Tensor<4> {
    conv2d_within(NEIGHBOURHOODS_BUDGET, x, weight, bias, stride, padding)
}

fn conv2d_within(
    budget: usize,
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Tensor<1>,
    stride: usize,
    padding: usize,
) -> Tensor<4> {
    let [outputs, inputs, kernel, _] = weight.dims();
    let x = x.cast(FloatDType::F16);
    let x = match padding {
        0 => x,
        _ => x.pad((padding, padding, padding, padding), 0.0),
    };
    let [batch, _, height, width] = x.dims();
    let extent = |length: usize| (length - kernel) / stride + 1;
    let (rows, columns) = (extent(height), extent(width));
    let taps = inputs * kernel * kernel;
    let weight = weight.reshape([1, outputs, taps]).expand([batch, outputs, taps]);
    let bias = wide(bias).reshape([1, outputs, 1]);
    let of_a_row = batch * taps * columns * size_of::<half::f16>();
    let at_once = (budget / of_a_row.max(1)).clamp(1, rows);
    let parts = (0..rows).step_by(at_once).map(|first| {
        let count = at_once.min(rows - first);
        let neighbourhoods = neighbourhoods(&x, kernel, stride, first..first + count, columns);
        let product = weight.clone().matmul(neighbourhoods);
        let sum = (wide(product) + bias.clone()).cast(FloatDType::F16);
        sum.reshape([batch, outputs, count, columns])
    });
    Tensor::cat(parts.collect(), 2)
}

/// What every place of some rows of the output sees of `x`: `[batch, inputs kernel kernel, places]`.
fn neighbourhoods(
    x: &Tensor<4>,
    kernel: usize,
    stride: usize,
    rows: Range<usize>,
    columns: usize,
) -> Tensor<3> {
    let ([batch, inputs, ..], count) = (x.dims(), rows.len());
    let seen = |offset: usize, places: Range<usize>| {
        let from = places.start * stride + offset;
        let to = from + (places.len() - 1) * stride + 1;
        Slice::with_step(from as isize, Some(to as isize), stride as isize)
    };
    let taps = (0..kernel * kernel).map(|tap| {
        let (down, right) = (seen(tap / kernel, rows.clone()), seen(tap % kernel, 0..columns));
        x.clone().slice_dim(2, down).slice_dim(3, right)
    });
    let stacked: Tensor<5> = Tensor::stack(taps.collect(), 2);
    stacked.reshape([batch, inputs * kernel * kernel, count * columns])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{DeviceChoice, select};
    use crate::model::params::host;
    use crate::model::precision::has_half;
    use crate::rng::Stream;
    use burn::tensor::module;
    use burn::tensor::ops::ConvOptions;
    use burn::tensor::{DType, TensorData};

    /// Against the convolution in f32 of the same rounded numbers, in one part and in many: what is left
    /// is the rounding of the result.
    #[test]
    fn a_convolution_is_that_in_f32_rounded() {
        let device = select(DeviceChoice::Gpu(None)).expect("the tests need an adapter").device;
        if !has_half(&device) {
            eprintln!("the adapter has no 16-bit floats: nothing is tested");
            return;
        }
        let drawn = |stream: u64, shape: [usize; 4], scale: f32| {
            let values = Stream::new(8, stream).normals(shape.iter().product());
            let values: Vec<f32> = values.into_iter().map(|value| value * scale).collect();
            Tensor::<4>::from_data(TensorData::new(values, shape), &device).cast(FloatDType::F16)
        };
        let cases = [
            ([2, 6, 7, 5], [4, 6, 3, 3], 1, 1),
            ([1, 512, 4, 3], [5, 512, 3, 3], 1, 1),
            ([2, 4, 9, 7], [3, 4, 3, 3], 2, 0),
            ([2, 4, 5, 6], [3, 4, 1, 1], 1, 0),
        ];
        for (of_x, of_weight, stride, padding) in cases {
            let taps = of_weight[1..].iter().product::<usize>() as f32;
            let (x, weight) = (drawn(1, of_x, 1.0), drawn(2, of_weight, taps.sqrt().recip()));
            let bias = drawn(3, [1, 1, 1, of_weight[0]], 1.0).reshape([of_weight[0]]);
            let options = ConvOptions::new([stride; 2], [padding; 2], [1; 2], 1);
            let (wide_weight, wide_bias) = (wide(weight.clone()), wide(bias.clone()));
            let expected = module::conv2d(wide(x.clone()), wide_weight, Some(wide_bias), options);
            for budget in [usize::MAX, 1] {
                let (weight, bias) = (weight.clone(), bias.clone());
                let found = conv2d_within(budget, x.clone(), weight, bias, stride, padding);
                assert_eq!((found.dims(), found.dtype()), (expected.dims(), DType::F16));
                for (found, expected) in host(found).iter().zip(host(expected.clone())) {
                    // The product, which is of size 1, and its sum with the bias are rounded by 2^-12
                    // of themselves. Adding up 4,608 terms in f16 would be off by about 0.02.
                    let allowed = 2e-3 + expected.abs() * 5e-4;
                    assert!((found - expected).abs() <= allowed, "{found} for {expected}");
                }
            }
        }
    }
}
