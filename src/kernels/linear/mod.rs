//! Linear layers: products with a weight, and what follows them at once.

mod extension;
mod few;
mod host;
mod kept;
pub(super) mod product;
mod tiles;

use burn::backend::Dispatch;
use burn::tensor::{DType, Tensor};

use super::fused::has_kernels;
use extension::LinearOps;
pub use kept::forget_unused;

/// Whether a layer with such a weight and input has kernels.
fn is_ours<const D: usize>(x: &Tensor<D>, weight: &Tensor<2>) -> bool {
    let single = weight.dtype() == DType::F32 && x.dtype() == DType::F32;
    single && D > 1 && has_kernels(&x.device())
}

/// `x W^T + b`.
///
/// # Shapes
/// - `x`: `[..., inputs]`
/// - `weight`: `[outputs, inputs]`
/// - `bias`: `[outputs]`
/// - output: `[..., outputs]`
pub fn linear<const D: usize>(x: Tensor<D>, weight: Tensor<2>, bias: Tensor<1>) -> Tensor<D> {
    if !is_ours(&x, &weight) {
        return plain::linear(x, weight, bias);
    }
    Tensor::from_dispatch(Dispatch::linear_bias(
        x.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
    ))
}

/// `gelu(x W^T + b)`, the tanh approximation as in [`super::gelu_tanh`].
///
/// # Shapes
/// As for [`linear`].
pub fn linear_gelu<const D: usize>(x: Tensor<D>, weight: Tensor<2>, bias: Tensor<1>) -> Tensor<D> {
    if !is_ours(&x, &weight) {
        return plain::linear_gelu(x, weight, bias);
    }
    Tensor::from_dispatch(Dispatch::linear_gelu(
        x.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
    ))
}

/// `residual + gate (x W^T + b)`, the end of a branch under adaLN-Zero.
///
/// # Shapes
/// - `x`: `[batch, tokens, inputs]`
/// - `weight`: `[outputs, inputs]`
/// - `bias`: `[outputs]`
/// - `gate`: `[batch, 1, outputs]`
/// - `residual`, output: `[batch, tokens, outputs]`
pub fn linear_gated(
    x: Tensor<3>,
    weight: Tensor<2>,
    bias: Tensor<1>,
    gate: Tensor<3>,
    residual: Tensor<3>,
) -> Tensor<3> {
    if !is_ours(&x, &weight) {
        return plain::linear_gated(x, weight, bias, gate, residual);
    }
    Tensor::from_dispatch(Dispatch::linear_gated(
        x.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
        gate.into_dispatch(),
        residual.into_dispatch(),
    ))
}

/// The same operations, made of plain tensor operations.
pub mod plain {
    use burn::tensor::{Tensor, module};

    use crate::kernels::plain::gelu_tanh;

    /// As [`super::linear`].
    pub fn linear<const D: usize>(x: Tensor<D>, weight: Tensor<2>, bias: Tensor<1>) -> Tensor<D> {
        module::linear(x, weight.transpose(), Some(bias))
    }

    /// As [`super::linear_gelu`].
    pub fn linear_gelu<const D: usize>(
        x: Tensor<D>,
        weight: Tensor<2>,
        bias: Tensor<1>,
    ) -> Tensor<D> {
        gelu_tanh(linear(x, weight, bias))
    }

    /// As [`super::linear_gated`].
    pub fn linear_gated(
        x: Tensor<3>,
        weight: Tensor<2>,
        bias: Tensor<1>,
        gate: Tensor<3>,
        residual: Tensor<3>,
    ) -> Tensor<3> {
        residual + gate * linear(x, weight, bias)
    }
}
