//! `./x bench [kernels|sampling] [--device D] [--json FILE]`: ratios measured side by side in one run.
//!
//! Lazy backends fold repeated work and return before it is done. So every iteration has inputs of
//! its own, which stay alive; results are read to the host inside the timed region; and the sum of
//! all iterations is compared with the wall clock of the whole measurement.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use burn::tensor::activation::softmax;
use burn::tensor::{Device, Int, Tensor, TensorData};
use purrscope::device::{DeviceChoice, select};
use purrscope::flow::{SampleSettings, Sampler};
use purrscope::io::{atomic, outputs};
use purrscope::kernels::{self, Expectation, TokenMask, plain};
use purrscope::model::Model;
use purrscope::rng::Stream;
use serde::Serialize;

const ITERATIONS: usize = 7;

/// Median time of `run` over inputs that `make` gives, one set an iteration.
fn median<I>(mut make: impl FnMut(u64) -> I, mut run: impl FnMut(&I) -> f32) -> Duration {
    let inputs: Vec<I> = (0..=ITERATIONS as u64).map(&mut make).collect();
    // The first iteration compiles and allocates; it is not counted.
    let mut seen = vec![run(&inputs[0])];
    let begun = Instant::now();
    let mut times: Vec<Duration> = inputs[1..]
        .iter()
        .map(|input| {
            let begun = Instant::now();
            seen.push(run(input));
            begun.elapsed()
        })
        .collect();
    let (wall, sum) = (begun.elapsed(), times.iter().sum::<Duration>());
    assert!(wall < sum.mul_f64(1.05) + Duration::from_millis(5), "time passed outside the timers");
    assert!(seen.iter().all(|value| value.is_finite()), "a result is not a number");
    let distinct = seen.iter().any(|value| *value != seen[0]);
    assert!(distinct, "different inputs gave one result: the work was not done");
    times.sort();
    times[ITERATIONS / 2]
}

fn random<const D: usize>(stream: u64, shape: [usize; D], device: &Device) -> Tensor<D> {
    let values = Stream::new(1, stream).normals(shape.iter().product());
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Reads every number of a tensor to the host and adds them up.
fn read<const D: usize>(tensor: Tensor<D>) -> f32 {
    tensor.into_data_as::<f32>().iter::<f32>().sum()
}

fn row(name: &str, fused: Duration, plain: Duration) {
    let (fused, plain) = (fused.as_secs_f64() * 1e3, plain.as_secs_f64() * 1e3);
    println!("| {name:<45} | {fused:9.2} | {plain:9.2} | {:6.2} |", plain / fused);
}

/// Fused operations beside their twins of plain tensor operations, forward and backward.
fn bench_kernels(device: &Device) {
    let device = device.clone().autodiff();
    println!("| operation, forward and backward if it has one |  fused ms |  plain ms |  ratio |");
    println!("|-----------------------------------------------|-----------|-----------|--------|");
    let leaf3 = |stream, shape: [usize; 3]| random(stream, shape, &device).require_grad();
    let of = |f: fn(Tensor<3>) -> Tensor<3>| {
        median(
            |i| leaf3(i, [32, 64, 768]),
            |x| {
                let gradients = f(x.clone()).sum().backward();
                x.grad(&gradients).map_or(f32::NAN, read)
            },
        )
    };
    row("gelu_tanh [32, 64, 768]", of(kernels::gelu_tanh), of(plain::gelu_tanh));

    let of = |f: fn(Tensor<3>, Tensor<3>, Tensor<3>) -> Tensor<3>| {
        let make = |i| {
            (leaf3(i, [32, 64, 192]), leaf3(i + 100, [32, 1, 192]), leaf3(i + 200, [32, 1, 192]))
        };
        median(make, |(x, shift, scale)| {
            let y = f(x.clone(), shift.clone(), scale.clone());
            let gradients = y.square().sum().backward();
            x.grad(&gradients).map_or(f32::NAN, read)
                + scale.grad(&gradients).map_or(f32::NAN, read)
        })
    };
    let (fused, twin) = (of(kernels::layer_norm_modulate), of(plain::layer_norm_modulate));
    row("layer_norm_modulate [32, 64, 192]", fused, twin);

    let of = |f: fn(Tensor<4>, Tensor<1>, Tensor<1>, usize) -> Tensor<4>| {
        let make = |i| {
            let x = random(i, [8, 16, 64, 64], &device).require_grad();
            let weight = random(i + 100, [16], &device).require_grad();
            (x, weight, random(i + 200, [16], &device).require_grad())
        };
        median(make, |(x, weight, bias)| {
            let gradients = f(x.clone(), weight.clone(), bias.clone(), 8).square().sum().backward();
            x.grad(&gradients).map_or(f32::NAN, read)
        })
    };
    let (fused, twin) = (of(kernels::group_norm_silu), of(plain::group_norm_silu));
    row("group_norm_silu [8, 16, 64, 64]", fused, twin);

    let of = |f: fn(Tensor<2>, Tensor<1, Int>) -> Tensor<2>| {
        let make = |i| {
            let codes: Vec<i64> = (0..4096).map(|token| (token * 7 + i as i64) % 1024).collect();
            let codes = Tensor::<1, Int>::from_data(codes.as_slice(), &device);
            (random(i, [4096, 1024], &device).require_grad(), codes)
        };
        median(make, |(logits, codes)| {
            let gradients = f(logits.clone(), codes.clone()).square().sum().backward();
            logits.grad(&gradients).map_or(f32::NAN, read)
        })
    };
    row("code_loss [4096, 1024]", of(kernels::code_loss), of(plain::code_loss));
}

/// One operation, measured beside others that do the same work or move the same bytes.
#[derive(Debug, Serialize)]
struct Row {
    operation: String,
    device: String,
    kernel_ms: f64,
    /// The same made of burn's own operations.
    plain_ms: f64,
    /// A copy of what the operation reads.
    copy_ms: f64,
    plain_over_kernel: f64,
    kernel_over_copy: f64,
}

/// The operations over codes at the size of the published models: the kernel beside the same made of
/// burn's own operations, and beside a plain copy of the same bytes, which no kernel can beat for long.
fn bench_codes(device: &Device, name: &str) -> Vec<Row> {
    const TOKENS: usize = 1024;
    const CODES: usize = 16384;
    const SIZE: usize = 8;
    println!("over [1024, 16384] logits and codes of 8 numbers, on {name}:");
    println!(
        "| operation                                       | kernel ms | burn's ms | copy ms | burn / kernel | kernel / copy |"
    );
    println!(
        "|-------------------------------------------------|-----------|-----------|---------|---------------|---------------|"
    );
    let mut rows = Vec::new();
    let mut line = |operation: &str, kernel: Duration, plain: Duration, copy: Duration| {
        let [kernel, plain, copy] = [kernel, plain, copy].map(|time| time.as_secs_f64() * 1e3);
        let (gain, cost) = (plain / kernel, kernel / copy);
        println!(
            "| {operation:<47} | {kernel:9.2} | {plain:9.2} | {copy:7.2} | {gain:13.2} | {cost:13.2} |"
        );
        rows.push(Row {
            operation: operation.to_owned(),
            device: name.to_owned(),
            kernel_ms: kernel,
            plain_ms: plain,
            copy_ms: copy,
            plain_over_kernel: gain,
            kernel_over_copy: cost,
        });
    };
    let logits = |i: u64| random(i, [TOKENS, CODES], device);
    let make = |i: u64| (logits(i), random(i + 100, [CODES, SIZE], device));
    // All of the copy is made before a part of it is read.
    let finished = |copy: Tensor<2>| {
        let done = device.sync().is_ok();
        if done { read(copy.slice([0..1, 0..64])) } else { f32::NAN }
    };
    let copy = median(logits, |x| finished(x.clone() + 1.0));
    let mean = median(make, |(logits, codebook)| {
        read(softmax(logits.clone() / 0.9, 1).matmul(codebook.clone()))
    });
    type Expect = fn(Tensor<2>, f32, Tensor<2>, usize, Option<&TokenMask>) -> Expectation;
    let of = |f: Expect| {
        median(make, |(logits, codebook)| {
            let found = f(logits.clone(), 0.9, codebook.clone(), 8, None);
            read(found.mean) + read(found.entropy) + read(found.top_probs)
        })
    };
    let chosen = of(kernels::categorical_expectation);
    line("categorical_expectation, against the mean alone", chosen, mean, copy);
    line("the same, against everything", chosen, of(kernels::plain_expectation), copy);
    if *device != Device::flex() {
        for path in [kernels::Path::Workgroup, kernels::Path::Lane] {
            kernels::take_path(Some(path));
            let name = format!("the same, {}", path.name());
            line(&name, of(kernels::categorical_expectation), mean, copy);
        }
        kernels::take_path(None);
    }

    let make_guided = |i: u64| (logits(i), logits(i + 50), random(i + 100, [CODES, SIZE], device));
    let guided = median(make_guided, |(logits, unguided, codebook)| {
        let (guidance, codebook) = (Some((unguided.clone(), 1.5)), codebook.clone());
        let logits = logits.clone();
        let found =
            kernels::categorical_expectation_guided(logits, guidance, 0.9, codebook, 8, None);
        read(found.mean)
    });
    let plain = median(make_guided, |(logits, unguided, codebook)| {
        let mixed = unguided.clone() + (logits.clone() - unguided.clone()) * 1.5;
        read(softmax(mixed / 0.9, 1).matmul(codebook.clone()))
    });
    line("guided, against mixing, softmax and product", guided, plain, copy * 2);

    let codes: Vec<i64> = (0..TOKENS).map(|token| (token * 7 % CODES) as i64).collect();
    let training = device.clone().autodiff();
    let of = |f: fn(Tensor<2>, Tensor<1, Int>) -> Tensor<2>| {
        let make = |i| random(i, [TOKENS, CODES], &training).require_grad();
        median(make, |logits| {
            let codes = Tensor::<1, Int>::from_data(codes.as_slice(), &training);
            let gradients = f(logits.clone(), codes).square().sum().backward();
            logits.grad(&gradients).map_or(f32::NAN, finished)
        })
    };
    let (kernel, twin) = (of(kernels::code_loss), of(plain::code_loss));
    line("code_loss, forward and backward", kernel, twin, copy * 2);

    let make = |i: u64| (random(i, [TOKENS, SIZE], device), random(i + 100, [CODES, SIZE], device));
    type Nearest = fn(Tensor<2>, Tensor<2>, bool) -> (Tensor<2, Int>, Tensor<2>);
    let of =
        |f: Nearest| median(make, |(x, codebook)| read(f(x.clone(), codebook.clone(), false).1));
    let small = median(make, |(x, codebook)| {
        read((x.clone() + 1.0).slice([0..1, 0..8]))
            + read((codebook.clone() + 1.0).slice([0..1, 0..8]))
    });
    let (kernel, twin) = (of(kernels::nearest_codes), of(kernels::plain_nearest_codes));
    line("nearest_codes", kernel, twin, small);
    println!();
    rows
}

/// The embedded model: one guided step of four pictures, and decoding them.
fn bench_sampling(device: &Device) {
    let model = match Model::embedded(device) {
        Ok(model) => model,
        Err(error) => return eprintln!("error: {error}"),
    };
    let settings =
        |seed| SampleSettings { labels: vec![5; 4], seed, steps: 24, ..SampleSettings::default() };
    let step = median(settings, |settings| {
        let step = Sampler::new(&model, settings.clone(), None).ok().and_then(|mut run| run.next());
        step.map_or(f32::NAN, |step| step.entropy().iter().sum::<f32>() + step.x.values[0])
    });
    let decode = median(
        |seed| purrscope::flow::seeded_noise(seed, model.latent_shape(4)),
        |latents| {
            model.decode(latents).iter().flat_map(|p| p.as_raw()).map(|v| f32::from(*v)).sum()
        },
    );
    println!("one guided step of 4 pictures: {:.1} ms", step.as_secs_f64() * 1e3);
    println!("decoding 4 pictures of 64x64: {:.1} ms", decode.as_secs_f64() * 1e3);
    println!("24 steps and decoding: {:.2} s", (24 * step + decode).as_secs_f64());
}

fn main() {
    let mut choice = DeviceChoice::Auto;
    let mut what = Vec::new();
    let mut json = None;
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--device" => match arguments.next().unwrap_or_default().parse() {
                Ok(parsed) => choice = parsed,
                Err(error) => return eprintln!("error: {error}"),
            },
            "--json" => json = arguments.next().map(PathBuf::from),
            _ => what.push(argument),
        }
    }
    if let Some(Err(error)) = json.as_deref().map(outputs::prepare) {
        return eprintln!("error: {error}");
    }
    let selected = match select(choice) {
        Ok(selected) => selected,
        Err(error) => return eprintln!("error: {error}"),
    };
    println!("device: {}\n", selected.description);
    let wanted = |name: &str| what.is_empty() || what.iter().any(|word| word == name);
    if wanted("kernels") {
        if selected.device == Device::flex() {
            bench_kernels(&selected.device);
            println!();
        }
        let mut rows = bench_codes(&selected.device, &selected.description);
        if selected.device != Device::flex() {
            rows.extend(bench_codes(&Device::flex(), "cpu"));
        }
        if let Some(path) = json {
            let report =
                serde_json::json!({ "tokens": 1024, "codes": 16384, "size": 8, "rows": rows });
            if let Err(error) = atomic::write(&path, format!("{report:#}\n").as_bytes()) {
                eprintln!("error: cannot write {}: {error}", path.display());
            }
        }
    }
    if wanted("sampling") {
        bench_sampling(&selected.device);
    }
}
