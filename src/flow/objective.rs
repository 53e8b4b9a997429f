//! The path from noise to data, and the losses that networks are trained on, those of the reference's
//! [training step].
//!
//! [training step]: https://github.com/razvanmatisan/purrception/blob/de66f961c057618baef02ef65a0183acedf7e1f7/trainer.py#L437-L486

use burn::tensor::{Bool, Int, Tensor};

use crate::kernels;

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

/// The state of `dfm` at the times `t`: every code is masked with probability `1 - t`, which is so
/// where its `chances`, drawn from `[0, 1)`, are not below `t`.
///
/// # Shapes
/// - `codes`, output: `[batch * tokens]`
/// - `chances`: as many
/// - `t`: `[batch]`
pub fn masked_codes(
    codes: Tensor<1, Int>,
    chances: &[f64],
    t: &[f32],
    masked: i64,
) -> Tensor<1, Int> {
    let tokens = chances.len() / t.len().max(1);
    let hidden = chances.iter().enumerate().map(|(i, c)| *c >= f64::from(t[i / tokens]));
    let hidden: Vec<bool> = hidden.collect();
    let device = codes.device();
    codes.mask_fill(Tensor::<1, Bool>::from_data(hidden.as_slice(), &device), masked)
}

/// A loss and its terms, each of shape `[1]`.
#[derive(Debug)]
pub struct FlowLoss {
    /// What is minimised.
    pub total: Tensor<1>,
    /// Cross-entropy in nats, or mean squared error.
    pub data_term: Tensor<1>,
    /// Mean of `logsumexp(logits)^2` over tokens, for objectives with logits.
    pub mean_log_z_squared: Option<Tensor<1>>,
}

/// `CE(l, c) + lambda_z mean(logsumexp(l)^2)`, the loss of `purrception` and `dfm`.
///
/// # Shapes
/// - `logits`: `[tokens, codes]`
/// - `codes`: `[tokens]`
pub fn code_loss(logits: Tensor<2>, codes: Tensor<1, Int>, lambda_z: f64) -> FlowLoss {
    let terms = kernels::code_loss(logits, codes);
    let data_term = terms.clone().narrow(1, 0, 1).mean();
    let mean_log_z_squared = terms.narrow(1, 1, 1).square().mean();
    let total = data_term.clone() + mean_log_z_squared.clone() * lambda_z;
    FlowLoss { total, data_term, mean_log_z_squared: Some(mean_log_z_squared) }
}

/// As [`code_loss`], of pictures that count for `weights` each, and the data term of every picture, without its
/// gradient.
///
/// # Shapes
/// - `logits`: `[batch * tokens, codes]`, picture after picture
/// - `codes`: `[batch * tokens]`
/// - `weights`, second output: `[batch]`
pub fn weighted_code_loss(
    logits: Tensor<2>,
    codes: Tensor<1, Int>,
    lambda_z: f64,
    weights: Tensor<1>,
) -> (FlowLoss, Tensor<1>) {
    let [batch] = weights.dims();
    let terms = kernels::code_loss(logits, codes);
    let tokens = terms.dims()[0] / batch.max(1);
    let of_pictures =
        |terms: Tensor<2>| terms.reshape([batch, tokens]).mean_dim(1).reshape([batch]);
    let each = of_pictures(terms.clone().narrow(1, 0, 1));
    let log_z_squared = of_pictures(terms.narrow(1, 1, 1).square());
    let data_term = (each.clone() * weights.clone()).mean();
    let mean_log_z_squared = (log_z_squared * weights).mean();
    let total = data_term.clone() + mean_log_z_squared.clone() * lambda_z;
    let loss = FlowLoss { total, data_term, mean_log_z_squared: Some(mean_log_z_squared) };
    (loss, each.detach())
}

/// `MSE(out, target)`, the loss of `cfm` (target `x1 - x0`) and of `cfm-endpoint` (target `x1`).
///
/// # Shapes
/// - `output`: `[batch, tokens, channels]`, as the network gives it
/// - `target`: `[batch, channels, height, width]`
pub fn endpoint_loss(output: Tensor<3>, target: Tensor<4>) -> FlowLoss {
    let [batch, channels, height, width] = target.dims();
    let target = target.reshape([batch, channels, height * width]).swap_dims(1, 2);
    let total = (output - target).square().mean();
    FlowLoss { data_term: total.clone(), total, mean_log_z_squared: None }
}

/// As [`endpoint_loss`], of pictures that count for `weights` each, and the data term of every picture, without its
/// gradient.
///
/// # Shapes
/// - `weights`, second output: `[batch]`; the others as for [`endpoint_loss`]
pub fn weighted_endpoint_loss(
    output: Tensor<3>,
    target: Tensor<4>,
    weights: Tensor<1>,
) -> (FlowLoss, Tensor<1>) {
    let [batch, channels, height, width] = target.dims();
    let target = target.reshape([batch, channels, height * width]).swap_dims(1, 2);
    let each = (output - target).square().reshape([batch, channels * height * width]);
    let each = each.mean_dim(1).reshape([batch]);
    let total = (each.clone() * weights).mean();
    let loss = FlowLoss { data_term: total.clone(), total, mean_log_z_squared: None };
    (loss, each.detach())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::readback;
    use burn::tensor::Device;

    fn values<const D: usize>(count: usize, shape: [usize; D], scale: f32) -> Tensor<D> {
        let values: Vec<f32> = (0..count).map(|i| ((i * 7 % 11) as f32 - 5.0) * scale).collect();
        Tensor::from_data(burn::tensor::TensorData::new(values, shape), &Device::flex())
    }

    #[test]
    fn pictures_that_all_count_for_one_have_the_plain_loss() {
        let logits = values(6 * 5, [6, 5], 0.3);
        let codes = Tensor::<1, Int>::from_data([0, 4, 2, 1, 1, 3], &Device::flex());
        let plain = code_loss(logits.clone(), codes.clone(), 0.1);
        let ones = Tensor::<1>::ones([3], &Device::flex());
        let (found, each) = weighted_code_loss(logits.clone(), codes.clone(), 0.1, ones.clone());
        let first = |tensor: Tensor<1>| readback::floats(tensor)[0];
        assert!((first(found.total) - first(plain.total)).abs() < 1e-6);
        assert!((first(each.mean()) - first(plain.data_term)).abs() < 1e-6);
        let (output, target) = (values(3 * 4 * 2, [3, 4, 2], 0.2), values(24, [3, 2, 2, 2], 0.1));
        let plain = endpoint_loss(output.clone(), target.clone());
        let (found, each) = weighted_endpoint_loss(output, target, ones);
        assert!((first(found.total) - first(plain.total)).abs() < 1e-6);
        assert_eq!(each.dims(), [3]);

        // A picture that alone counts is the only one of the loss.
        let last = Tensor::<1>::from_data([0.0, 0.0, 3.0], &Device::flex());
        let (found, _) = weighted_code_loss(logits.clone(), codes.clone(), 0.1, last);
        let alone = code_loss(logits.narrow(0, 4, 2), codes.narrow(0, 4, 2), 0.1);
        assert!((first(found.total) - first(alone.total)).abs() < 1e-6);
    }

    #[test]
    fn codes_are_masked_where_their_chance_is_not_below_the_time() {
        let codes = Tensor::<1, Int>::from_data([4, 5, 6, 7, 8, 9], &Device::flex());
        let chances = [0.0, 0.24, 0.25, 0.26, 0.5, 0.999];
        let masked = masked_codes(codes, &chances, &[0.25, 0.5], 10);
        assert_eq!(readback::integers(masked), [4, 5, 10, 7, 10, 10]);
    }
}
