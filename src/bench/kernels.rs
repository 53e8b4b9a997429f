//! Single operations: each kernel beside the same made of burn's operations and beside a plain copy of
//! the bytes that it reads, which no kernel can beat for long; and products of matrices.

use burn::tensor::activation::softmax;
use burn::tensor::{Device, Distribution, FloatDType, Int, Tensor};

use super::Bench;
use super::row::Measured;
use super::timing::{Clock, Timing, read};
use crate::kernels::{self, Expectation, Path, TokenMask, plain};

/// Tokens and codes of the reference's models, and numbers of a code.
const TOKENS: usize = 1024;
const CODES: usize = 16_384;
const SIZE: usize = 8;
/// Likeliest codes that the expectation gives.
const TOP: usize = 8;
/// A temperature that divides the logits.
const TAU: f32 = 0.9;
/// The keys under which a row is compared with others.
const OVER_COPY: &str = "time_over_copy_ratio";
const FASTER: &str = "speed_over_plain_ratio";
const BANDWIDTH: &str = "bytes_per_second";

/// Measures all operations that the device has.
pub fn measure(bench: &mut Bench<'_>) {
    let features = bench.selected.handles.as_ref().map(|handles| handles.device.features());
    let half = features.is_none_or(|features| features.contains(wgpu::Features::SHADER_F16));
    expectations(bench, Precision::Single, features);
    match half {
        true => expectations(bench, Precision::Half, features),
        false => bench.skip(
            "expectation of f16 logits",
            "the adapter has no 16-bit floats in shaders".to_owned(),
        ),
    }
    loss_and_nearest(bench);
    if features.is_none() {
        fused(bench);
    }
    products(bench, Precision::Single);
    // On the CPU burn has no products of its own for f16.
    if features.is_some() && half {
        products(bench, Precision::Half);
    }
}

/// Numbers of 32 or of 16 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Precision {
    Single,
    Half,
}

impl Precision {
    fn name(self) -> &'static str {
        match self {
            Self::Single => "f32",
            Self::Half => "f16",
        }
    }

    /// Bytes of so many numbers.
    fn bytes(self, count: usize) -> f64 {
        let bytes = if self == Self::Half { 2 } else { size_of::<f32>() };
        (count * bytes) as f64
    }

    fn of<const D: usize>(self, tensor: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Single => tensor,
            Self::Half => tensor.cast(FloatDType::F16),
        }
    }
}

/// Random numbers, drawn once; every iteration has another multiple of them.
struct Varied<const D: usize>(Tensor<D>);

impl<const D: usize> Varied<D> {
    fn new(shape: [usize; D], device: &Device) -> Self {
        Self(Tensor::random(shape, Distribution::Normal(0.0, 1.0), device))
    }

    fn of(&self, iteration: u64) -> Tensor<D> {
        self.0.clone() * (1.0 + iteration as f32 / 16.0)
    }
}

/// The expectation over codes on every path of the device, guided and not.
fn expectations(bench: &mut Bench<'_>, precision: Precision, features: Option<wgpu::Features>) {
    let device = bench.selected.device.clone();
    let logits = Varied::new([TOKENS, CODES], &device);
    let unguided = Varied::new([TOKENS, CODES], &device);
    let codebook = Varied::new([CODES, SIZE], &device);
    let read_bytes = precision.bytes(TOKENS * CODES) + Precision::Single.bytes(CODES * SIZE);
    let named = |what: &str| format!("{what}, {} logits", precision.name());
    let make = |i: u64| (precision.of(logits.of(i)), codebook.of(i));
    let copy = bench.row(&named("copy"), |clock| {
        let timing =
            clock.time(|i| precision.of(logits.of(i)), |x| clock.complete(x.clone() + 1.0))?;
        // What is read is written as well.
        Ok(Measured::from(timing).rate(BANDWIDTH, 2.0 * precision.bytes(TOKENS * CODES)))
    });
    type Expect = fn(Tensor<2>, f32, Tensor<2>, usize, Option<&TokenMask>) -> Expectation;
    let time = |clock: &Clock<'_>, expect: Expect| {
        clock.time(make, |(logits, codebook)| {
            let found = expect(logits.clone(), TAU, codebook.clone(), TOP, None);
            read(found.mean) + read(found.entropy) + read(found.top_probs)
        })
    };
    // burn's operations do not mix 16 and 32 bits.
    let [mean, plain] = match precision {
        Precision::Half => [None, None],
        Precision::Single => [
            bench.row("softmax(l / tau) E of burn's operations", |clock| {
                let mean = |(logits, codebook): &(Tensor<2>, Tensor<2>)| {
                    read(softmax(logits.clone() / TAU, 1).matmul(codebook.clone()))
                };
                Ok(clock.time(make, mean)?.into())
            }),
            bench.row("expectation, entropy, log Z, top 8 of burn's operations", |clock| {
                Ok(time(clock, kernels::plain_expectation)?.into())
            }),
        ],
    };
    let row = |timing: Timing, mean: Option<Timing>, bytes: f64| {
        Measured::from(timing).rate(BANDWIDTH, bytes).faster_than(FASTER, mean)
    };
    bench.row(&named("expectation, entropy, log Z, top 8"), |clock| {
        let timing = time(clock, kernels::categorical_expectation)?;
        let measured = row(timing, mean, read_bytes).in_units_of(OVER_COPY, copy);
        Ok(measured.faster_than("speed_over_plain_with_entropy_ratio", plain))
    });
    for path in features.map_or_else(Vec::new, paths) {
        bench.row(&named(&format!("the same, {}", path.name())), |clock| {
            kernels::take_path(Some(path));
            let timing = time(clock, kernels::categorical_expectation)?;
            Ok(row(timing, mean, read_bytes).in_units_of(OVER_COPY, copy))
        });
        kernels::take_path(None);
    }
    let make = |i: u64| (precision.of(logits.of(i)), precision.of(unguided.of(i)), codebook.of(i));
    let plain = match precision {
        Precision::Half => None,
        Precision::Single => {
            bench.row("mixing, softmax and product of burn's operations", |clock| {
                let timing = clock.time(make, |(logits, unguided, codebook)| {
                    let mixed = unguided.clone() + (logits.clone() - unguided.clone()) * 1.5;
                    read(softmax(mixed / TAU, 1).matmul(codebook.clone()))
                })?;
                Ok(timing.into())
            })
        }
    };
    bench.row(&named("guided expectation"), |clock| {
        let timing = clock.time(make, |(logits, unguided, codebook)| {
            let (guidance, codebook) = (Some((unguided.clone(), 1.5)), codebook.clone());
            let logits = logits.clone();
            let found =
                kernels::categorical_expectation_guided(logits, guidance, TAU, codebook, TOP, None);
            read(found.mean)
        })?;
        let bytes = read_bytes + precision.bytes(TOKENS * CODES);
        Ok(row(timing, plain, bytes).in_units_of(OVER_COPY, copy))
    });
}

/// The paths of an adapter with such features.
fn paths(features: wgpu::Features) -> Vec<Path> {
    let subgroups = features.contains(wgpu::Features::SUBGROUP);
    Path::ALL.into_iter().filter(|path| subgroups || *path != Path::Subgroups).collect()
}

/// The loss with its gradient, and the search for the nearest code.
fn loss_and_nearest(bench: &mut Bench<'_>) {
    let device = bench.selected.device.clone();
    let codes: Vec<i64> = (0..TOKENS).map(|token| (token * 7 % CODES) as i64).collect();
    let codes = Tensor::<1, Int>::from_data(codes.as_slice(), &device.clone().autodiff());
    let logits = Varied::new([TOKENS, CODES], &device);
    type Loss = fn(Tensor<2>, Tensor<1, Int>) -> Tensor<2>;
    let time = |clock: &Clock<'_>, loss: Loss| {
        let make = |i: u64| logits.of(i).autodiff().require_grad();
        clock.time(make, |logits| {
            let gradients = loss(logits.clone(), codes.clone()).square().sum().backward();
            logits.grad(&gradients).map_or(f32::NAN, |gradient| clock.complete(gradient))
        })
    };
    let plain = bench.row("loss and gradient of burn's operations", |clock| {
        Ok(time(clock, plain::code_loss)?.into())
    });
    bench.row("loss and gradient", |clock| {
        let timing = time(clock, kernels::code_loss)?;
        // Logits are read for the loss and for the gradient, which is written.
        let bytes = 3.0 * Precision::Single.bytes(TOKENS * CODES);
        Ok(Measured::from(timing).rate(BANDWIDTH, bytes).faster_than(FASTER, plain))
    });

    let latents = Varied::new([TOKENS, SIZE], &device);
    let codebook = Varied::new([CODES, SIZE], &device);
    type Nearest = fn(Tensor<2>, Tensor<2>, bool) -> (Tensor<2, Int>, Tensor<2>);
    let time = |clock: &Clock<'_>, nearest: Nearest| {
        let make = |i: u64| (latents.of(i), codebook.of(2 * i));
        clock.time(make, |(x, codebook)| read(nearest(x.clone(), codebook.clone(), false).1))
    };
    let plain = bench.row("nearest codes of burn's operations", |clock| {
        Ok(time(clock, kernels::plain_nearest_codes)?.into())
    });
    bench.row("nearest codes", |clock| {
        let timing = time(clock, kernels::nearest_codes)?;
        Ok(Measured::from(timing).faster_than(FASTER, plain))
    });
}

/// A fused operation and its twin of plain tensor operations, forward and backward.
fn pair<I>(
    bench: &mut Bench<'_>,
    name: &str,
    make: impl Fn(u64) -> I,
    [fused, plain]: [&dyn Fn(&I) -> f32; 2],
) {
    let twin = bench
        .row(&format!("{name} of burn's operations"), |clock| Ok(clock.time(&make, plain)?.into()));
    bench
        .row(name, |clock| Ok(Measured::from(clock.time(&make, fused)?).faster_than(FASTER, twin)));
}

/// The element-wise work of the networks, which is fused on the CPU, forward and backward.
fn fused(bench: &mut Bench<'_>) {
    let device = bench.selected.device.clone();
    let leaf = |x: Tensor<3>| x.autodiff().require_grad();
    let gradient_of_x = |x: &Tensor<3>, y: Tensor<3>| {
        let gradients = y.square().sum().backward();
        x.grad(&gradients).map_or(f32::NAN, read)
    };

    let x = Varied::new([32, 64, 768], &device);
    let of = |f: fn(Tensor<3>) -> Tensor<3>| move |x: &Tensor<3>| gradient_of_x(x, f(x.clone()));
    let both = [&of(kernels::gelu_tanh) as &dyn Fn(&_) -> f32, &of(plain::gelu_tanh)];
    pair(bench, "gelu_tanh [32, 64, 768]", |i| leaf(x.of(i)), both);

    let x = Varied::new([32, 64, 192], &device);
    let [shift, scale] = [(); 2].map(|()| Varied::new([32, 1, 192], &device));
    type Modulated = fn(Tensor<3>, Tensor<3>, Tensor<3>) -> Tensor<3>;
    let of = |f: Modulated| {
        move |(x, shift, scale): &(Tensor<3>, Tensor<3>, Tensor<3>)| {
            gradient_of_x(x, f(x.clone(), shift.clone(), scale.clone()))
        }
    };
    let both =
        [&of(kernels::layer_norm_modulate) as &dyn Fn(&_) -> f32, &of(plain::layer_norm_modulate)];
    let make = |i| (leaf(x.of(i)), leaf(shift.of(i)), leaf(scale.of(i)));
    pair(bench, "layer_norm_modulate [32, 64, 192]", make, both);

    let x = Varied::new([8, 16, 64, 64], &device);
    let [weight, bias] = [(); 2].map(|()| Varied::new([16], &device));
    type Normalised = fn(Tensor<4>, Tensor<1>, Tensor<1>, usize) -> Tensor<4>;
    let of = |f: Normalised| {
        move |(x, weight, bias): &(Tensor<4>, Tensor<1>, Tensor<1>)| {
            let gradients = f(x.clone(), weight.clone(), bias.clone(), 8).square().sum().backward();
            x.grad(&gradients).map_or(f32::NAN, read)
        }
    };
    let both = [&of(kernels::group_norm_silu) as &dyn Fn(&_) -> f32, &of(plain::group_norm_silu)];
    let make = |i| {
        let [weight, bias] = [&weight, &bias].map(|t| t.of(i).autodiff().require_grad());
        (x.of(i).autodiff().require_grad(), weight, bias)
    };
    pair(bench, "group_norm_silu [8, 16, 64, 64]", make, both);
}

/// Products of matrices as the networks take them.
fn products(bench: &mut Bench<'_>, precision: Precision) {
    const SHAPES: [(&str, [usize; 3]); 4] = [
        ("square", [1024, 1024, 1024]),
        ("MLP of XL/2, 4 pictures", [1024, 1152, 4608]),
        ("head of S/2, 1 picture", [256, 384, 65_536]),
        ("queries, keys, values of the embedded model", [256, 192, 576]),
    ];
    let device = bench.selected.device.clone();
    for (what, [rows, inner, columns]) in SHAPES {
        let left = Varied::new([rows, inner], &device);
        let right = Varied::new([inner, columns], &device);
        let sizes = format!("[{rows}, {inner}] x [{inner}, {columns}]");
        bench.row(&format!("{} product {sizes}", precision.name()), |clock| {
            let make = |i| (precision.of(left.of(i)), precision.of(right.of(0)));
            let timing = clock
                .time(make, |(left, right)| clock.complete(left.clone().matmul(right.clone())))?;
            let flops = 2.0 * (rows * inner * columns) as f64;
            Ok(Measured::from(timing).rate("gflops", flops / 1e9).note(what))
        });
    }
}
