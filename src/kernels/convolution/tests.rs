//! Convolutions against burn's own, in value and gradients, against differences, and on several threads.

use burn::tensor::{Device, Tensor, TensorData};

use super::*;
use crate::rng::Stream;

const KINDS: [Kind; 4] = [Kind::Pixel, Kind::Same, Kind::Halve, Kind::Double];

/// `[batch, inputs, outputs, height, width]`
const SHAPES: [[usize; 5]; 13] = [
    [1, 1, 1, 2, 2],
    [2, 3, 5, 7, 9],
    [3, 5, 3, 4, 6],
    [1, 16, 8, 13, 12],
    [5, 7, 11, 3, 2],
    [2, 9, 17, 16, 21],
    // Several pictures of the gradient's strip, and several strips of a picture.
    [40, 4, 14, 5, 5],
    [2, 3, 2, 70, 40],
    // Copies of several parts of a picture.
    [1, 70, 3, 40, 41],
    // In squares: of odd sides, of several pictures and blocks of channels, of many channels, and a part of a row at a time.
    [2, 17, 26, 13, 11],
    [3, 16, 50, 18, 34],
    [1, 300, 16, 16, 19],
    [1, 130, 17, 6, 150],
];

fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec::<f32>().unwrap()
}

struct Case {
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Tensor<1>,
    residual: Tensor<4>,
    cotangent: Tensor<4>,
}

fn random<const D: usize>(stream: u64, shape: [usize; D]) -> Tensor<D> {
    let values = Stream::new(17, stream).normals(shape.iter().product());
    Tensor::from_data(TensorData::new(values, shape), &Device::flex().autodiff()).require_grad()
}

fn case(kind: Kind, [batch, inputs, outputs, height, width]: [usize; 5]) -> Case {
    let size = match kind {
        Kind::Pixel | Kind::Same => [height, width],
        Kind::Halve => [height / 2, width / 2],
        Kind::Double => [2 * height, 2 * width],
    };
    let made = [batch, outputs, size[0], size[1]];
    Case {
        x: random(1, [batch, inputs, height, width]),
        weight: random(2, [outputs, inputs, kind.side(), kind.side()]),
        bias: random(3, [outputs]),
        residual: random(4, made),
        cotangent: random(5, made).detach(),
    }
}

impl Case {
    /// The result, and the gradients of everything that it depends on.
    fn run(
        &self,
        kind: Kind,
        onto: bool,
        f: fn(Tensor<4>, Tensor<4>, Tensor<1>, Option<Tensor<4>>, Kind) -> Tensor<4>,
    ) -> Vec<Vec<f32>> {
        let Self { x, weight, bias, residual, cotangent } = self;
        let given = onto.then(|| residual.clone());
        let out = f(x.clone(), weight.clone(), bias.clone(), given, kind);
        let grads = (out.clone() * cotangent.clone()).sum().backward();
        let mut all = vec![
            host(out.inner()),
            host(x.grad(&grads).unwrap()),
            host(weight.grad(&grads).unwrap()),
            host(bias.grad(&grads).unwrap()),
        ];
        if onto {
            all.push(host(residual.grad(&grads).unwrap()));
        }
        all
    }
}

/// Sums of other orders: to 2e-5 of the numbers' own deviation.
fn close(what: &str, found: &[Vec<f32>], expected: &[Vec<f32>]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(found.len(), expected.len(), "{what}: part {i}");
        let squares: f64 = expected.iter().map(|x| f64::from(*x).powi(2)).sum();
        let allowed = 2e-5 * (squares / expected.len() as f64).sqrt();
        for (found, expected) in found.iter().zip(expected) {
            let error = f64::from(*found - *expected).abs();
            assert!(error <= allowed, "{what}: part {i}: {found} for {expected}");
        }
    }
}

#[test]
fn they_are_burns_in_value_and_gradients() {
    for kind in KINDS {
        for (i, shape) in SHAPES.into_iter().enumerate() {
            let case = case(kind, shape);
            let onto = i % 2 == 1;
            let what = format!("{kind:?} of {shape:?}");
            close(&what, &case.run(kind, onto, convolution), &case.run(kind, onto, plain));
        }
    }
}

#[test]
fn a_view_of_another_layout_is_read_as_it_is_meant() {
    let case = case(Kind::Same, [2, 3, 5, 7, 9]);
    let turned = |f: fn(_, _, _, _, _) -> Tensor<4>| {
        let x = case.x.clone().swap_dims(2, 3);
        host(f(x, case.weight.clone(), case.bias.clone(), None, Kind::Same).inner())
    };
    close("a view", &[turned(convolution)], &[turned(plain)]);
}

/// Bit for bit: what is normalised part by part is what is normalised at once.
#[test]
fn what_is_normalised_on_the_way_is_the_same() {
    for (i, shape) in SHAPES.into_iter().enumerate() {
        let Case { x, weight, bias, residual, cotangent } = case(Kind::Same, shape);
        let channels = shape[1];
        let groups = if channels.is_multiple_of(2) { 2 } else { 1 };
        let (scale, shift) = (random(6, [channels]), random(7, [channels]));
        let residual = (i % 2 == 1).then_some(residual);
        let of =
            |f: fn(Tensor<4>, Normal, Tensor<4>, Tensor<1>, Option<Tensor<4>>) -> Tensor<4>| {
                let norm = |still: bool| {
                    let [weight, bias] = [&scale, &shift].map(|tensor| match still {
                        true => tensor.clone().inner(),
                        false => tensor.clone(),
                    });
                    Normal { weight, bias, groups }
                };
                let given = (x.clone(), weight.clone(), bias.clone(), residual.clone());
                let tracked = f(given.0, norm(false), given.1, given.2, given.3);
                let grads = (tracked * cotangent.clone()).sum().backward();
                let gradients = [&scale, &shift].map(|tensor| host(tensor.grad(&grads).unwrap()));
                let still = f(
                    x.clone().inner(),
                    norm(true),
                    weight.clone().inner(),
                    bias.clone().inner(),
                    residual.clone().map(Tensor::inner),
                );
                (host(still), gradients)
            };
        let at_once = of(|x, norm, weight, bias, residual| {
            let x = group_norm_silu(x, norm.weight, norm.bias, norm.groups);
            convolution(x, weight, bias, residual, Kind::Same)
        });
        assert!(of(convolution_of_normal) == at_once, "{shape:?}");
    }
}

/// Central differences of the sum of the result's products with a cotangent: the result is linear in each
/// input, so they are exact but for rounding.
#[test]
fn gradients_are_differences() {
    for kind in KINDS {
        let case = case(kind, [2, 3, 5, 5, 6]);
        let gradients = case.run(kind, false, convolution);
        let total = |x: &Tensor<4>, weight: &Tensor<4>, bias: &Tensor<1>| {
            let made = convolution(x.clone(), weight.clone(), bias.clone(), None, kind);
            let products = host((made * case.cotangent.clone()).inner());
            products.into_iter().map(f64::from).sum::<f64>()
        };
        let Case { x, weight, bias, .. } = &case;
        let check = |what: &str, expected: f32, both: [f64; 2]| {
            let found = (both[0] - both[1]) / 2.0;
            assert!(
                (found - f64::from(expected)).abs() < 2e-3,
                "{kind:?}: {what}: {expected}, by difference {found}"
            );
        };
        for at in [0, 7, 29, 100, 179] {
            let moved = |by: f32| total(&bumped(x, at, by), weight, bias);
            check("x", gradients[1][at], [moved(1.0), moved(-1.0)]);
        }
        for at in [0, weight.shape().num_elements() / 2, weight.shape().num_elements() - 1] {
            let moved = |by: f32| total(x, &bumped(weight, at, by), bias);
            check("weight", gradients[2][at], [moved(1.0), moved(-1.0)]);
        }
        for (at, gradient) in gradients[3].iter().enumerate() {
            let moved = |by: f32| total(x, weight, &bumped(bias, at, by));
            check("bias", *gradient, [moved(1.0), moved(-1.0)]);
        }
    }
}

/// The tensor with one number moved.
fn bumped<const D: usize>(tensor: &Tensor<D>, at: usize, by: f32) -> Tensor<D> {
    let mut values = host(tensor.clone().inner());
    values[at] += by;
    Tensor::from_data(TensorData::new(values, tensor.shape()), &tensor.device())
}

#[test]
fn bits_do_not_depend_on_threads() {
    for kind in KINDS {
        for shape in [[1, 24, 40, 20, 30], [7, 16, 33, 32, 32]] {
            let run = |threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let made = pool.install(|| case(kind, shape).run(kind, true, convolution));
                made.concat().into_iter().map(f32::to_bits).collect::<Vec<_>>()
            };
            let alone = run(1);
            assert!(alone == run(2), "{kind:?} of {shape:?} on two threads");
            assert!(alone == run(3), "{kind:?} of {shape:?} on three threads");
        }
    }
}
