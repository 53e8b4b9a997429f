//! Single operations: burn's own at odd sizes, and the fused ones with their gradients.

use burn::tensor::activation::{sigmoid, softmax};
use burn::tensor::module::{attention, conv2d};
use burn::tensor::ops::{AttentionModuleOptions, ConvOptions};
use burn::tensor::{Device, FloatDType, Gradients, Int, Tensor, TensorData};

use super::check::{Check, Exactness, Patient, Results};
use super::stored::{indices, numbers};
use crate::kernels;
use crate::model::params::host;
use crate::readback;

/// A tensor of made-up numbers.
pub(super) fn made<const D: usize>(
    name: &str,
    shape: [usize; D],
    scale: f32,
    device: &Device,
) -> Tensor<D> {
    let values = numbers(name, shape.iter().product(), scale);
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Made-up indices below `below`.
pub(super) fn places(name: &str, count: usize, below: u32, device: &Device) -> Tensor<1, Int> {
    Tensor::from_data(indices(name, count, below).as_slice(), device)
}

/// Whole numbers, read to the host as floats, which hold them exactly.
pub(super) fn whole<const D: usize>(tensor: Tensor<D, Int>) -> Vec<f32> {
    readback::integers(tensor).into_iter().map(|number| number as f32).collect()
}

fn gradient<const D: usize>(leaf: &Tensor<D>, gradients: &Gradients) -> Vec<f32> {
    leaf.grad(gradients).map(host).unwrap_or_default()
}

/// burn's operations, at the sizes where drivers and compilers have gone wrong before.
pub(super) const PLAIN: &[Check] = &[
    Check { name: "matrix products of odd sizes", exactness: Exactness::Sums, run: products },
    Check {
        name: "matrix products with a side of 1",
        exactness: Exactness::Sums,
        run: unit_products,
    },
    Check { name: "convolutions", exactness: Exactness::Sums, run: convolutions },
    Check {
        name: "gradients of a convolution",
        exactness: Exactness::Sums,
        run: convolution_gradients,
    },
    Check { name: "element-wise functions", exactness: Exactness::Sums, run: elementwise },
    Check { name: "sums, means and extremes", exactness: Exactness::Sums, run: reductions },
    Check { name: "index of the largest", exactness: Exactness::Exact, run: largest },
    Check { name: "softmax", exactness: Exactness::Sums, run: softmaxes },
    Check { name: "looking up rows, and its gradient", exactness: Exactness::Sums, run: lookup },
    Check { name: "changes of layout", exactness: Exactness::Exact, run: layout },
    Check { name: "attention and its gradient", exactness: Exactness::Sums, run: attentions },
];

/// Operations of 16-bit floats.
pub(super) const HALF: &[Check] =
    &[Check { name: "matrix product in f16", exactness: Exactness::Half, run: half_product }];

/// The networks' fused operations.
pub(super) const FUSED: &[Check] = &[
    Check { name: "GELU and its gradient", exactness: Exactness::Sums, run: gelu },
    Check {
        name: "modulated layer norm and its gradient",
        exactness: Exactness::Sums,
        run: layer_norm,
    },
    Check {
        name: "group norm with SiLU and its gradient",
        exactness: Exactness::Sums,
        run: group_norm,
    },
];

fn products(patient: &Patient<'_>) -> Results {
    let device = patient.device;
    let plain = made("a", [67, 129], 1.0, device).matmul(made("b", [129, 35], 1.0, device));
    let (a, b) = (made::<2>("a", [129, 67], 1.0, device), made::<2>("b", [35, 129], 1.0, device));
    let transposed = a.transpose().matmul(b.transpose());
    let batched = made("a", [3, 33, 65], 1.0, device).matmul(made("b", [3, 65, 31], 1.0, device));
    vec![
        ("product.odd".into(), host(plain)),
        ("product.transposed".into(), host(transposed)),
        ("product.batched".into(), host(batched)),
    ]
}

fn unit_products(patient: &Patient<'_>) -> Results {
    let device = patient.device;
    let inner = made("a", [1, 129], 1.0, device).matmul(made("b", [129, 1], 1.0, device));
    let outer = made("a", [65, 1], 1.0, device).matmul(made("b", [1, 33], 1.0, device));
    let batched = made("a", [5, 1, 7], 1.0, device).matmul(made("b", [5, 7, 1], 1.0, device));
    let all = [host(inner), host(outer), host(batched)].concat();
    vec![("product.unit".into(), all)]
}

fn convolutions(patient: &Patient<'_>) -> Results {
    let device = patient.device;
    let bias = || Some(made("bias", [7], 1.0, device));
    let options =
        |stride: usize, padding: usize| ConvOptions::new([stride; 2], [padding; 2], [1; 2], 1);
    let x = made::<4>("x", [2, 5, 13, 11], 1.0, device);
    let kernel = made::<4>("w", [7, 5, 3, 3], 0.25, device);
    let same = conv2d(x.clone(), kernel.clone(), bias(), options(1, 1));
    let padded = made::<4>("x", [2, 5, 12, 10], 1.0, device).pad((0, 1, 0, 1), 0.0);
    let halved = conv2d(padded, kernel, bias(), options(2, 0));
    let pointwise = conv2d(x, made("w", [7, 5, 1, 1], 1.0, device), bias(), options(1, 0));
    vec![
        ("convolution.same".into(), host(same)),
        ("convolution.halved".into(), host(halved)),
        ("convolution.pointwise".into(), host(pointwise)),
    ]
}

fn convolution_gradients(patient: &Patient<'_>) -> Results {
    let device = &patient.device.clone().autodiff();
    let x = made::<4>("x", [2, 5, 13, 11], 1.0, device).require_grad();
    let kernel = made::<4>("w", [7, 5, 3, 3], 0.25, device).require_grad();
    let bias = made::<1>("bias", [7], 1.0, device).require_grad();
    let options = ConvOptions::new([1; 2], [1; 2], [1; 2], 1);
    let y = conv2d(x.clone(), kernel.clone(), Some(bias.clone()), options);
    let gradients = y.square().mean().backward();
    let all =
        [gradient(&x, &gradients), gradient(&kernel, &gradients), gradient(&bias, &gradients)];
    vec![("convolution.gradients".into(), all.concat())]
}

fn elementwise(patient: &Patient<'_>) -> Results {
    let x = made::<1>("x", [1021], 1.0, patient.device);
    let all = [
        (x.clone() * 3.0).exp(),
        (x.clone() + 1.5).log(),
        (x.clone() + 1.0).sqrt(),
        sigmoid(x.clone() * 5.0),
        (x.clone() * 3.0).tanh(),
        (x + 2.0).recip(),
    ];
    vec![("elementwise".into(), all.into_iter().flat_map(host).collect())]
}

fn reductions(patient: &Patient<'_>) -> Results {
    let x = made::<3>("x", [3, 37, 131], 1.0, patient.device);
    let all = [
        host(x.clone().sum_dim(2)),
        host(x.clone().mean_dim(1)),
        host(x.clone().max_dim(2)),
        host(x.min_dim(1)),
    ];
    vec![("reductions".into(), all.concat())]
}

fn largest(patient: &Patient<'_>) -> Results {
    let x = made::<3>("x", [3, 37, 131], 1.0, patient.device);
    vec![("reductions.indices".into(), whole(x.argmax(2)))]
}

fn softmaxes(patient: &Patient<'_>) -> Results {
    let x = made::<3>("x", [3, 37, 131], 1.0, patient.device);
    vec![("softmax".into(), host(softmax(x * 20.0, 2)))]
}

fn lookup(patient: &Patient<'_>) -> Results {
    let device = &patient.device.clone().autodiff();
    let table = made::<2>("x", [41, 7], 1.0, device).require_grad();
    let rows = table.clone().select(0, places("i", 203, 41, device));
    let gradients = (rows.clone() * made("w", [203, 7], 1.0, device)).sum().backward();
    vec![
        ("lookup".into(), host(rows.inner())),
        ("lookup.gradients".into(), gradient(&table, &gradients)),
    ]
}

fn layout(patient: &Patient<'_>) -> Results {
    let x = made::<4>("x", [2, 3, 5, 7], 1.0, patient.device);
    let permuted = x.clone().permute([3, 0, 2, 1]);
    let sliced = x.clone().slice([0..2, 1..3, 2..5, 3..7]);
    let joined = Tensor::cat(vec![x.clone(), x.clone().flip([1])], 1).slice([0..2, 0..4]);
    let doubled = x.reshape([2, 3, 5, 1, 7, 1]).expand([2, 3, 5, 2, 7, 2]).reshape([2, 3, 10, 14]);
    let all = [host(permuted), host(sliced), host(joined), host(doubled)];
    vec![("layout".into(), all.concat())]
}

fn attentions(patient: &Patient<'_>) -> Results {
    let device = &patient.device.clone().autodiff();
    let [q, k, v] =
        ["q", "k", "v"].map(|name| made::<4>(name, [2, 3, 17, 9], 2.0, device).require_grad());
    let options = AttentionModuleOptions::default();
    let mixed = attention(q.clone(), k.clone(), v.clone(), None, None, options);
    let gradients = mixed.clone().square().mean().backward();
    let parts = [q, k, v].map(|leaf| gradient(&leaf, &gradients));
    vec![("attention".into(), host(mixed.inner())), ("attention.gradients".into(), parts.concat())]
}

fn half_product(patient: &Patient<'_>) -> Results {
    let half = |name, shape| made::<2>(name, shape, 1.0, patient.device).cast(FloatDType::F16);
    let product = half("a", [67, 129]).matmul(half("b", [129, 35]));
    vec![("product.half".into(), host(product.cast(FloatDType::F32)))]
}

fn gelu(patient: &Patient<'_>) -> Results {
    let x = made::<3>("x", [2, 5, 97], 4.0, &patient.device.clone().autodiff()).require_grad();
    let y = kernels::gelu_tanh(x.clone());
    let gradients = y.clone().square().mean().backward();
    vec![("gelu".into(), [host(y.inner()), gradient(&x, &gradients)].concat())]
}

fn layer_norm(patient: &Patient<'_>) -> Results {
    let device = &patient.device.clone().autodiff();
    let x = made::<3>("x", [3, 5, 97], 1.0, device).require_grad();
    let [shift, scale] =
        ["shift", "scale"].map(|name| made::<3>(name, [3, 1, 97], 1.0, device).require_grad());
    let y = kernels::layer_norm_modulate(x.clone(), shift.clone(), scale.clone());
    let gradients = y.clone().powi_scalar(3).mean().backward();
    let parts = [&x, &shift, &scale].map(|leaf| gradient(leaf, &gradients));
    vec![("layer_norm".into(), [host(y.inner()), parts.concat()].concat())]
}

fn group_norm(patient: &Patient<'_>) -> Results {
    let device = &patient.device.clone().autodiff();
    let x = made::<4>("x", [2, 6, 9, 7], 1.0, device).require_grad();
    let [weight, bias] = ["w", "bias"].map(|name| made::<1>(name, [6], 1.0, device).require_grad());
    let y = kernels::group_norm_silu(x.clone(), weight.clone(), bias.clone(), 3);
    let gradients = y.clone().square().mean().backward();
    let all = [
        host(y.inner()),
        gradient(&x, &gradients),
        gradient(&weight, &gradients),
        gradient(&bias, &gradients),
    ];
    vec![("group_norm".into(), all.concat())]
}
