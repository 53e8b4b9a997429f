//! Convolutions with kernels of 1x1 and 3x3, with what stands around them in the networks: doubling of the
//! picture before, a residual added after.
//!
//! On the CPU a convolution is one sum of products, without a matrix of neighbourhoods and without another
//! layout of its tensors. [`plan`] brings all of them to steps of one pixel; [`planes`] copies as much of a
//! picture as stays in the cache, with zeros around it; [`product`] goes over the copy in registers, or [`winograd`]
//! makes the results in squares.

mod extension;
mod forward;
mod plan;
mod planes;
mod product;
#[cfg(test)]
mod tests;
mod weights;
mod winograd;

use burn::backend::Dispatch;
use burn::tensor::Tensor;
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;

use super::fused::{group_norm_silu, has_kernels};
use extension::{ConvolutionOps, NormalConvolutionOps};
pub use plan::Kind;

/// `conv(x) + bias + residual`.
///
/// # Shapes
/// - `x`: `[batch, inputs, height, width]`
/// - `weight`: `[outputs, inputs, 1, 1]` or `[outputs, inputs, 3, 3]`, as the kind says
/// - `bias`: `[outputs]`
/// - `residual`, output: `[batch, outputs, rows, columns]`, of the height and width that the kind makes
pub fn convolution(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Tensor<1>,
    residual: Option<Tensor<4>>,
    kind: Kind,
) -> Tensor<4> {
    if !has_kernels(&x.device()) {
        return plain(x, weight, bias, residual, kind);
    }
    let (x, weight, bias) = (x.into_dispatch(), weight.into_dispatch(), bias.into_dispatch());
    Tensor::from_dispatch(match residual {
        Some(residual) => {
            Dispatch::convolution_onto(x, weight, bias, residual.into_dispatch(), kind)
        }
        None => Dispatch::convolution(x, weight, bias, kind),
    })
}

/// A group normalisation with a SiLU after it.
#[derive(Clone, Debug)]
pub struct Normal {
    /// `[channels]`
    pub weight: Tensor<1>,
    /// `[channels]`
    pub bias: Tensor<1>,
    /// Groups of channels.
    pub groups: usize,
}

/// `conv(silu(GN(x))) + bias + residual` for a kernel of 3x3 that keeps the size. On the CPU, where no gradient is asked
/// for, the normalised picture is only made part by part, where the convolution copies it, and bit for bit the same.
///
/// # Shapes
/// - `x`: `[batch, inputs, height, width]`
/// - `weight`: `[outputs, inputs, 3, 3]`
/// - `bias`: `[outputs]`
/// - `residual`, output: `[batch, outputs, height, width]`
pub fn convolution_of_normal(
    x: Tensor<4>,
    norm: Normal,
    weight: Tensor<4>,
    bias: Tensor<1>,
    residual: Option<Tensor<4>>,
) -> Tensor<4> {
    let Normal { weight: scale, bias: shift, groups } = norm;
    if x.is_autodiff() || !has_kernels(&x.device()) {
        return convolution(
            group_norm_silu(x, scale, shift, groups),
            weight,
            bias,
            residual,
            Kind::Same,
        );
    }
    let (x, scale, shift) = (x.into_dispatch(), scale.into_dispatch(), shift.into_dispatch());
    let (weight, bias) = (weight.into_dispatch(), bias.into_dispatch());
    Tensor::from_dispatch(match residual {
        Some(residual) => {
            let residual = residual.into_dispatch();
            Dispatch::convolution_of_normal_onto(x, scale, shift, groups, weight, bias, residual)
        }
        None => Dispatch::convolution_of_normal(x, scale, shift, groups, weight, bias),
    })
}

/// As [`convolution`], made of burn's own operations.
pub fn plain(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Tensor<1>,
    residual: Option<Tensor<4>>,
    kind: Kind,
) -> Tensor<4> {
    let (x, stride, padding) = arranged(x, kind);
    let options = ConvOptions::new([stride; 2], [padding; 2], [1; 2], 1);
    let made = conv2d(x, weight, Some(bias), options);
    match residual {
        Some(residual) => residual + made,
        None => made,
    }
}

/// What a common convolution is to be taken of to be one of the kind, with its stride and its padding.
///
/// # Shapes
/// - `x`: `[batch, channels, height, width]`
pub fn arranged(x: Tensor<4>, kind: Kind) -> (Tensor<4>, usize, usize) {
    match kind {
        Kind::Pixel => (x, 1, 0),
        Kind::Same => (x, 1, 1),
        Kind::Halve => (x.pad((0, 1, 0, 1), 0.0), 2, 0),
        Kind::Double => (double_size(x), 1, 1),
    }
}

/// Every pixel to a square of two by two.
fn double_size(x: Tensor<4>) -> Tensor<4> {
    let [batch, channels, height, width] = x.dims();
    x.reshape([batch, channels, height, 1, width, 1])
        .expand([batch, channels, height, 2, width, 2])
        .reshape([batch, channels, 2 * height, 2 * width])
}
