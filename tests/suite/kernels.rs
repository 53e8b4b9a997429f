//! Fused operations against their plain twins, in value and in gradient, and against differences.

use burn::tensor::{Int, Tensor, TensorData};
use purrscope::kernels::{self, plain};
use purrscope::model::params::host;
use purrscope::rng::Stream;

use crate::common::{check, cpu};

const TOLERANCE: f32 = 2e-5;

fn random<const D: usize>(stream: u64, scale: f32, shape: [usize; D]) -> Tensor<D> {
    let values = Stream::new(11, stream).normals(shape.iter().product());
    let values: Vec<f32> = values.into_iter().map(|value| value * scale).collect();
    Tensor::from_data(TensorData::new(values, shape), &cpu().autodiff()).require_grad()
}

/// Compares value and gradients of two functions of the same inputs, under a random cotangent.
macro_rules! same {
    ($what:expr, $fused:expr, $plain:expr, $($input:expr),+) => {{
        let fused = $fused;
        let plain = $plain;
        let cotangent = random(99, 1.0, fused.dims()).detach();
        check($what, "cpu", &host(fused.clone().inner()), &host(plain.clone().inner()), TOLERANCE);
        let by_fused = (fused * cotangent.clone()).sum().backward();
        let by_plain = (plain * cotangent).sum().backward();
        $(
            let name = format!("{}: gradient of {}", $what, stringify!($input));
            let found = host($input.grad(&by_fused).unwrap());
            let expected = host($input.grad(&by_plain).unwrap());
            check(&name, "cpu", &found, &expected, TOLERANCE);
        )+
    }};
}

#[test]
fn gelu() {
    for (i, shape) in [[1, 1, 1], [3, 5, 7], [2, 129, 130]].into_iter().enumerate() {
        let x = random(i as u64, 3.0, shape);
        same!("gelu_tanh", kernels::gelu_tanh(x.clone()), plain::gelu_tanh(x.clone()), x);
    }
}

#[test]
fn layer_norm() {
    for (i, [batch, tokens, width]) in [[1, 1, 4], [3, 5, 7], [2, 65, 192]].into_iter().enumerate()
    {
        let x = random(i as u64, 2.0, [batch, tokens, width]) + 0.7;
        let x = x.detach().require_grad();
        let shift = random(10 + i as u64, 1.0, [batch, 1, width]);
        let scale = random(20 + i as u64, 1.0, [batch, 1, width]);
        same!(
            "layer_norm_modulate",
            kernels::layer_norm_modulate(x.clone(), shift.clone(), scale.clone()),
            plain::layer_norm_modulate(x.clone(), shift.clone(), scale.clone()),
            x,
            shift,
            scale
        );
    }
}

#[test]
fn group_norm() {
    for (i, ([batch, channels, height, width], groups)) in
        [([1, 2, 1, 2], 1), ([3, 6, 5, 7], 3), ([2, 16, 33, 9], 8)].into_iter().enumerate()
    {
        let x = random(i as u64, 2.0, [batch, channels, height, width]) - 0.3;
        let x = x.detach().require_grad();
        let weight = random(10 + i as u64, 1.0, [channels]);
        let bias = random(20 + i as u64, 1.0, [channels]);
        same!(
            "group_norm_silu",
            kernels::group_norm_silu(x.clone(), weight.clone(), bias.clone(), groups),
            plain::group_norm_silu(x.clone(), weight.clone(), bias.clone(), groups),
            x,
            weight,
            bias
        );
    }
}

fn codes(tokens: usize, codes: usize) -> Tensor<1, Int> {
    let mut stream = Stream::new(5, 5);
    let values: Vec<i64> = (0..tokens).map(|_| stream.below(codes) as i64).collect();
    Tensor::from_data(values.as_slice(), &cpu().autodiff())
}

#[test]
fn code_loss() {
    for (i, [tokens, width]) in [[1, 2], [37, 101], [130, 1024]].into_iter().enumerate() {
        let logits = random(i as u64, 5.0, [tokens, width]);
        let codes = codes(tokens, width);
        same!(
            "code_loss",
            kernels::code_loss(logits.clone(), codes.clone()),
            plain::code_loss(logits.clone(), codes.clone()),
            logits
        );
    }
}

#[test]
fn code_loss_survives_extreme_logits() {
    let values = vec![1e4, 0.0, -1e4, f32::NEG_INFINITY];
    let logits = Tensor::<2>::from_data(TensorData::new(values, [1, 4]), &cpu());
    let codes = Tensor::<1, Int>::from_data([1i64].as_slice(), &cpu());
    assert_eq!(host(kernels::code_loss(logits, codes)), [1e4, 1e4]);
}

/// The gradient of the whole training loss by central differences.
#[test]
fn code_loss_gradient_by_differences() {
    let (tokens, width, lambda_z) = (3, 5, 0.1);
    let codes = codes(tokens, width);
    let start = host(random(1, 1.0, [tokens, width]).inner());
    let loss = |values: &[f32]| {
        let data = TensorData::new(values.to_vec(), [tokens, width]);
        let logits = Tensor::<2>::from_data(data, &cpu().autodiff()).require_grad();
        let loss = purrscope::flow::code_loss(logits.clone(), codes.clone(), lambda_z);
        (loss.total, logits)
    };
    let (total, logits) = loss(&start);
    let gradient = host(logits.grad(&total.backward()).unwrap());
    let differences: Vec<f32> = (0..start.len())
        .map(|i| {
            let at = |step: f32| {
                let mut values = start.clone();
                values[i] += step;
                loss(&values).0.inner().into_scalar::<f32>()
            };
            (at(1e-2) - at(-1e-2)) / 2e-2
        })
        .collect();
    check("loss gradient by differences", "cpu", &gradient, &differences, 2e-3);
}
