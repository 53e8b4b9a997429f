//! Fused operations for tensors: the kernel where the device has one, else the plain twin.

use burn::backend::Dispatch;
use burn::tensor::{Device, Int, Tensor};

use super::codes::CodeOps;
use super::extension::FusedOps;

/// Whether the operations of the networks have kernels of their own on this device.
pub(super) fn has_kernels(device: &Device) -> bool {
    device.clone().without_autodiff() == Device::flex()
}

/// GELU by the tanh approximation: `0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`.
///
/// # Shapes
/// - `x`, output: any
pub fn gelu_tanh<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if !has_kernels(&x.device()) {
        return plain::gelu_tanh(x);
    }
    Tensor::from_dispatch(Dispatch::gelu_tanh(x.into_dispatch()))
}

/// `LN(x) (1 + scale) + shift`, the layer normalisation without parameters of its own (epsilon 1e-6).
///
/// # Shapes
/// - `x`, output: `[batch, tokens, width]`
/// - `shift`, `scale`: `[batch, 1, width]`
pub fn layer_norm_modulate(x: Tensor<3>, shift: Tensor<3>, scale: Tensor<3>) -> Tensor<3> {
    if !has_kernels(&x.device()) {
        return plain::layer_norm_modulate(x, shift, scale);
    }
    Tensor::from_dispatch(Dispatch::layer_norm_modulate(
        x.into_dispatch(),
        shift.into_dispatch(),
        scale.into_dispatch(),
    ))
}

/// `y sigmoid(y)` of `y = GN(x) weight + bias`, the group normalisation with epsilon 1e-6.
///
/// # Shapes
/// - `x`, output: `[batch, channels, height, width]`
/// - `weight`, `bias`: `[channels]`
pub fn group_norm_silu(
    x: Tensor<4>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    groups: usize,
) -> Tensor<4> {
    if !has_kernels(&x.device()) {
        return plain::group_norm_silu(x, weight, bias, groups);
    }
    Tensor::from_dispatch(Dispatch::group_norm_silu(
        x.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
        groups,
    ))
}

/// For every token `[-log softmax(logits)[code], logsumexp(logits)]`: what cross-entropy and z-loss
/// are means of.
///
/// # Shapes
/// - `logits`: `[tokens, codes]`
/// - `codes`: `[tokens]`
/// - output: `[tokens, 2]`
pub fn code_loss(logits: Tensor<2>, codes: Tensor<1, Int>) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::code_terms(logits.into_dispatch(), codes.into_dispatch()))
}

/// The same operations, made of plain tensor operations.
pub mod plain {
    use burn::tensor::activation::{sigmoid, silu};
    use burn::tensor::{Int, Tensor};

    const NORM_EPSILON: f32 = 1e-6;

    /// As [`super::gelu_tanh`].
    pub fn gelu_tanh<const D: usize>(x: Tensor<D>) -> Tensor<D> {
        let cube = x.clone() * x.clone() * x.clone();
        let argument = (x.clone() + cube * 0.044_715) * (2.0 * (2.0 / std::f64::consts::PI).sqrt());
        x * sigmoid(argument)
    }

    /// As [`super::layer_norm_modulate`].
    pub fn layer_norm_modulate(x: Tensor<3>, shift: Tensor<3>, scale: Tensor<3>) -> Tensor<3> {
        normalise(x) * (scale + 1.0) + shift
    }

    /// Mean 0 and variance 1 along the last dimension.
    fn normalise(x: Tensor<3>) -> Tensor<3> {
        let centred = x.clone() - x.mean_dim(2);
        let variance = centred.clone().square().mean_dim(2);
        centred * (variance + NORM_EPSILON).sqrt().recip()
    }

    /// `GN(x) weight + bias`; shapes as in [`super::group_norm_silu`].
    pub fn group_norm(
        x: Tensor<4>,
        weight: Tensor<1>,
        bias: Tensor<1>,
        groups: usize,
    ) -> Tensor<4> {
        let [batch, channels, height, width] = x.dims();
        let grouped = x.reshape([batch, groups, channels / groups * height * width]);
        normalise(grouped).reshape([batch, channels, height, width])
            * weight.reshape([1, channels, 1, 1])
            + bias.reshape([1, channels, 1, 1])
    }

    /// As [`super::group_norm_silu`].
    pub fn group_norm_silu(
        x: Tensor<4>,
        weight: Tensor<1>,
        bias: Tensor<1>,
        groups: usize,
    ) -> Tensor<4> {
        silu(group_norm(x, weight, bias, groups))
    }

    /// As [`super::code_loss`].
    pub fn code_loss(logits: Tensor<2>, codes: Tensor<1, Int>) -> Tensor<2> {
        let largest = logits.clone().detach().max_dim(1);
        let z = (logits.clone() - largest.clone()).exp().sum_dim(1);
        let log_z = z.log() + largest;
        let chosen = logits.gather(1, codes.unsqueeze_dim(1));
        Tensor::cat(vec![log_z.clone() - chosen, log_z], 1)
    }
}
