//! Networks with random weights, drawn on the device: numbers from the host's generator would take
//! minutes for 700 million of them.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, Distribution, Tensor};

/// Deviation of biases, and of scales around 1.
pub(super) const SMALL: f64 = 0.02;

/// Gives every parameter random values on `device`, so that no layer is zero and no activation grows
/// without bound: weights have a deviation of one over the root of their inputs, biases 0.02 around 0,
/// scales of norms 0.02 around 1.
pub fn randomised<M: Module>(module: M, device: &Device) -> M {
    module.map(&mut Randomiser { device, path: Vec::new() })
}

struct Randomiser<'a> {
    device: &'a Device,
    path: Vec<String>,
}

impl ModuleMapper for Randomiser<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let shape: [usize; D] = param.lazy_shape().dims();
        let inputs: usize = shape.iter().skip(1).product();
        // Of vectors, only those of norms are called weights.
        let is_scale = D == 1 && self.path.last().is_some_and(|name| name == "weight");
        let (mean, deviation) = match (D, is_scale) {
            (1, true) => (1.0, SMALL),
            (1, false) => (0.0, SMALL),
            _ => (0.0, (inputs.max(1) as f64).powf(-0.5)),
        };
        let tensor = Tensor::random(shape, Distribution::Normal(mean, deviation), self.device);
        let leaf = self.device.is_autodiff();
        Param::initialized(param.id, tensor.set_require_grad(leaf))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::layers::{GroupNorm, Initialiser, Linear};
    use crate::model::params::host;

    #[test]
    fn weights_biases_and_scales_have_their_moments() {
        let device = Device::flex();
        let moments = |values: &[f32]| {
            let mean = values.iter().sum::<f32>() / values.len() as f32;
            let square = values.iter().map(|v| (v - mean).powi(2)).sum::<f32>();
            (mean, (square / values.len() as f32).sqrt())
        };
        let linear = randomised(Linear::zero(400, 2000, &mut Initialiser::blank(&device)), &device);
        let (mean, deviation) = moments(&host(linear.weight.val()));
        assert!(mean.abs() < 1e-3 && (deviation - 0.05).abs() < 1e-3, "{mean} {deviation}");
        let (mean, deviation) = moments(&host(linear.bias.val()));
        assert!(mean.abs() < 4e-3 && (deviation - 0.02).abs() < 4e-3, "{mean} {deviation}");
        let norm = GroupNorm::new(8, 2000, &mut Initialiser::blank(&device));
        let norm = randomised(norm, &device);
        assert!((moments(&host(norm.weight.val())).0 - 1.0).abs() < 4e-3);
    }
}
