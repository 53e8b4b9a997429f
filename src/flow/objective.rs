//! The path from noise to data, and the loss that the network is trained on.

use burn::tensor::{Int, Tensor};

use crate::kernels::code_loss;

/// `x_t = t x1 + (1-t) x0`.
///
/// # Shapes
/// - `x0`, `x1`, output: `[batch, channels, height, width]`
/// - `t`: `[batch]`, in `[0, 1]`
pub fn path_point(x0: Tensor<4>, x1: Tensor<4>, t: Tensor<1>) -> Tensor<4> {
    let batch = t.dims()[0];
    let t = t.reshape([batch, 1, 1, 1]);
    x1 * t.clone() + x0 * (-t + 1.0)
}

/// The loss of the purrception objective and its terms, each of shape `[1]`.
#[derive(Debug)]
pub struct PurrceptionLoss {
    /// `cross_entropy + lambda_z * mean_log_z_squared`
    pub total: Tensor<1>,
    /// Mean of `-log softmax(logits)[code]` over tokens, in nats.
    pub cross_entropy: Tensor<1>,
    /// Mean of `logsumexp(logits)^2` over tokens.
    pub mean_log_z_squared: Tensor<1>,
}

/// `CE(l, c) + lambda_z mean(logsumexp(l)^2)`, the variational flow matching objective over codes.
///
/// # Shapes
/// - `logits`: `[tokens, codes]`
/// - `codes`: `[tokens]`
pub fn purrception_loss(
    logits: Tensor<2>,
    codes: Tensor<1, Int>,
    lambda_z: f64,
) -> PurrceptionLoss {
    let terms = code_loss(logits, codes);
    let cross_entropy = terms.clone().narrow(1, 0, 1).mean();
    let mean_log_z_squared = terms.narrow(1, 1, 1).square().mean();
    let total = cross_entropy.clone() + mean_log_z_squared.clone() * lambda_z;
    PurrceptionLoss { total, cross_entropy, mean_log_z_squared }
}
