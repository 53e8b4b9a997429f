//! Fused operations against their plain twins, in value and in gradient, and against differences.

use burn::tensor::{Device, Int, Tensor, TensorData};
use purrscope::kernels::present::Pixels;
use purrscope::kernels::{self, Expectation, TokenMask, plain, plain_attention, plain_linear};
use purrscope::model::params::host;
use purrscope::rng::Stream;

use crate::common::{check, cpu, golden, gpu, on_every_path, tensor};
use crate::tolerance::Tolerances;

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
        same!(
            "group_norm",
            kernels::group_norm(x.clone(), weight.clone(), bias.clone(), groups),
            plain::group_norm(x.clone(), weight.clone(), bias.clone(), groups),
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

/// Every path on a GPU; the CPU has but one.
fn on_every_path_of(device: &Device, mut each: impl FnMut(&str)) {
    if *device == cpu() { each("cpu") } else { on_every_path(each) }
}

fn expectations_agree(name: &str, found: Expectation, twin: Expectation, tolerance: f32) {
    let compare = |what: &str, found: Tensor<2>, twin: Tensor<2>| {
        check(&format!("{name}: {what}"), "both", &host(found), &host(twin), tolerance);
    };
    compare("mean", found.mean, twin.mean);
    compare("entropy", found.entropy, twin.entropy);
    compare("log Z", found.log_z, twin.log_z);
    compare("probabilities", found.top_probs, twin.top_probs);
    let codes =
        |codes: Tensor<2, Int>| codes.into_data_as::<i64>().iter::<i64>().collect::<Vec<_>>();
    assert_eq!(codes(found.top_codes), codes(twin.top_codes), "{name}: codes");
}

/// The kernels against tensors, on shapes that are multiples of nothing, with guidance and masks.
#[test]
fn expectation_kernels_agree_with_tensors_everywhere() {
    for (device, Tolerances { values: tolerance, .. }) in
        [(cpu(), Tolerances::CPU), (gpu(), Tolerances::GPU)]
    {
        on_every_path_of(&device, |path| {
            for (tokens, codes, size, top) in
                [(1, 3, 1, 1), (5, 37, 4, 8), (3, 257, 17, 16), (2, 1000, 64, 8), (130, 65, 2, 3)]
            {
                let make = |seed: u64, scale: f32, shape: [usize; 2]| {
                    let values = Stream::new(seed, 5).normals(shape[0] * shape[1]);
                    let values: Vec<f32> = values.into_iter().map(|value| value * scale).collect();
                    Tensor::<2>::from_data(TensorData::new(values, shape), &device)
                };
                let logits = make(1, 3.0, [tokens, codes]);
                let unguided = make(2, 3.0, [tokens, codes]);
                let codebook = make(3, 1.0, [codes, size]);
                let mut mask = TokenMask::new(tokens, codes);
                mask.ban_everywhere(1);
                mask.ban(0, codes as u32 - 1);
                mask.pin(tokens - 1, codes as u32 / 2);
                let name = format!("[{tokens}, {codes}], {size}, {path}");
                // One likely code is left where there are fewer than are asked for.
                let few = top.min(codes - 2);
                for (mask, top) in [(None, top.min(codes)), (Some(&mask), few)] {
                    for guidance in [None, Some((unguided.clone(), 2.5))] {
                        let mixed = match &guidance {
                            Some((u, scale)) => {
                                kernels::plain_guided(logits.clone(), u.clone(), *scale)
                            }
                            None => logits.clone(),
                        };
                        let found = kernels::categorical_expectation_guided(
                            logits.clone(),
                            guidance,
                            0.7,
                            codebook.clone(),
                            top,
                            mask,
                        );
                        let twin =
                            kernels::plain_expectation(mixed, 0.7, codebook.clone(), top, mask);
                        match mask {
                            None => expectations_agree(&name, found, twin, tolerance),
                            Some(_) => {
                                // Codes of probability 0 may come in any order.
                                let last = host(found.mean.clone().narrow(0, tokens - 1, 1));
                                let row = codebook.clone().narrow(0, codes / 2, 1);
                                assert_eq!(last, host(row), "{name}: a pinned token is its code");
                                check(
                                    &name,
                                    "mask",
                                    &host(found.mean),
                                    &host(twin.mean),
                                    tolerance,
                                );
                                check(
                                    &name,
                                    "mask",
                                    &host(found.entropy),
                                    &host(twin.entropy),
                                    tolerance,
                                );
                                check(
                                    &name,
                                    "mask",
                                    &host(found.top_probs),
                                    &host(twin.top_probs),
                                    tolerance,
                                );
                            }
                        }
                    }
                }
            }
        });
    }
}

/// The golden hard cases, with guidance and masks laid over them: infinities, ties, tau of 1e-6.
#[test]
fn hard_cases_under_guidance_and_masks_agree_with_tensors() {
    let file = golden("categorical_expectation.safetensors");
    for (device, Tolerances { values: tolerance, .. }) in
        [(cpu(), Tolerances::CPU), (gpu(), Tolerances::GPU)]
    {
        on_every_path_of(&device, |path| {
            for case in 0..7 {
                let (shape, logits) = file.floats_as_stored(&format!("{case}.logits")).unwrap();
                let logits = Tensor::<2>::from_data(TensorData::new(logits, shape), &device);
                let codebook: Tensor<2> = tensor(&file, &format!("{case}.codebook"), &device);
                let temperature = file.floats(&format!("{case}.temperature")).unwrap().1[0];
                let [tokens, codes] = logits.dims();
                let noise = Stream::new(3, case).normals(tokens * codes);
                let unguided = TensorData::new(noise, [tokens, codes]);
                let unguided = Tensor::<2>::from_data(unguided, &device);
                let mut mask = TokenMask::new(tokens, codes);
                let best = host(logits.clone().argmax(1).float());
                // The likeliest code of the first token is banned, and the last token pinned.
                mask.ban(0, best[0] as u32);
                if tokens > 1 {
                    mask.pin(tokens - 1, best[tokens - 1] as u32);
                }
                for scale in [1.5, -0.5] {
                    let mixed = kernels::plain_guided(logits.clone(), unguided.clone(), scale);
                    let guidance = Some((unguided.clone(), scale));
                    let found = kernels::categorical_expectation_guided(
                        logits.clone(),
                        guidance,
                        temperature,
                        codebook.clone(),
                        2,
                        Some(&mask),
                    );
                    let twin = kernels::plain_expectation(
                        mixed,
                        temperature,
                        codebook.clone(),
                        2,
                        Some(&mask),
                    );
                    let name = format!("case {case}, guidance {scale}, {path}");
                    let compare = |what: &str, found: Tensor<2>, twin: Tensor<2>| {
                        check(&format!("{name}: {what}"), "", &host(found), &host(twin), tolerance);
                    };
                    compare("mean", found.mean, twin.mean);
                    compare("entropy", found.entropy, twin.entropy);
                    compare("log Z", found.log_z, twin.log_z);
                    compare("probabilities", found.top_probs, twin.top_probs);
                }
            }
        });
    }
}

/// Codes that are equally likely come in their own order, on every device and path: also those of one
/// lane that a likelier one pushes down, and those that a pin leaves at nothing.
#[test]
fn codes_that_tie_come_in_their_order() {
    const CODES: usize = 300;
    for device in [cpu(), gpu()] {
        on_every_path_of(&device, |path| {
            let mut logits = vec![0.0; 3 * CODES];
            // Codes 0, 64, 128 and 192 belong to one lane of a group of 64.
            for (code, logit) in [(0, 1.0), (64, 1.0), (128, 2.0), (192, 1.0), (7, 1.0)] {
                logits[code] = logit;
            }
            let mut mask = TokenMask::new(3, CODES);
            mask.pin(1, 128);
            let codebook = random(1, 1.0, [CODES, 3]).inner();
            let codebook = Tensor::<2>::from_data(codebook.into_data(), &device);
            let logits = Tensor::<2>::from_data(TensorData::new(logits, [3, CODES]), &device);
            for top in [2, 4, 8] {
                let found = kernels::categorical_expectation(
                    logits.clone(),
                    1.0,
                    codebook.clone(),
                    top,
                    Some(&mask),
                );
                let found = found.top_codes.into_data_as::<i64>();
                let found: Vec<i64> = found.iter::<i64>().collect();
                let expected: [[i64; 8]; 3] = [
                    [128, 0, 7, 64, 192, 1, 2, 3],
                    [128, 0, 1, 2, 3, 4, 5, 6],
                    [0, 1, 2, 3, 4, 5, 6, 7],
                ];
                let expected: Vec<i64> =
                    expected.iter().flat_map(|codes| &codes[..top]).copied().collect();
                assert_eq!(found, expected, "top {top}, {path}");
            }
        });
    }
}

/// Logits of 16 bits, as they are stored, on both devices.
#[test]
fn half_logits_are_read_as_they_are() {
    let halves = purrscope::device::adapters().first().is_some_and(|adapter| adapter.half_floats);
    println!("the adapter has 16-bit floats: {halves}");
    let devices = [Some(cpu()), halves.then(gpu)];
    for device in devices.into_iter().flatten() {
        on_every_path_of(&device, |path| {
            let values = Stream::new(8, 8).normals(3 * 200);
            let logits = Tensor::<2>::from_data(TensorData::new(values, [3, 200]), &device);
            let half = logits.cast(burn::tensor::FloatDType::F16);
            let full = half.clone().cast(burn::tensor::FloatDType::F32);
            let codebook = random(4, 1.0, [200, 4]).inner().to_data();
            let codebook = Tensor::<2>::from_data(codebook, &device);
            let twin = |logits| kernels::plain_expectation(logits, 0.9, codebook.clone(), 8, None);
            let found =
                kernels::categorical_expectation(half.clone(), 0.9, codebook.clone(), 8, None);
            expectations_agree(&format!("f16, {path}"), found, twin(full.clone()), 1e-4);
            let unguided = half.clone().flip([1]);
            let mixed = kernels::plain_guided(full.clone(), full.flip([1]), 2.0);
            let found = kernels::categorical_expectation_guided(
                half,
                Some((unguided, 2.0)),
                0.9,
                codebook.clone(),
                8,
                None,
            );
            expectations_agree(&format!("f16, guided, {path}"), found, twin(mixed), 1e-4);
        });
    }
}

#[test]
fn nearest_codes_agree_with_tensors_and_ties_go_to_the_lowest() {
    for device in [cpu(), gpu()] {
        on_every_path_of(&device, |path| nearest_on(&device, path));
    }
}

fn nearest_on(device: &Device, path: &str) {
    let list =
        |codes: Tensor<2, Int>| codes.into_data_as::<i64>().iter::<i64>().collect::<Vec<_>>();
    for (tokens, codes, size) in [(1, 2, 1), (37, 101, 8), (130, 63, 3), (5, 600, 64)] {
        for unit in [false, true] {
            let make = |seed: u64, shape: [usize; 2]| {
                let values = Stream::new(seed, 6).normals(shape[0] * shape[1]);
                Tensor::<2>::from_data(TensorData::new(values, shape), device)
            };
            let (latents, codebook) = (make(1, [tokens, size]), make(2, [codes, size]));
            let (found, distances) =
                kernels::nearest_codes(latents.clone(), codebook.clone(), unit);
            let (twin, twin_distances) = kernels::plain_nearest_codes(latents, codebook, unit);
            assert_eq!(list(found), list(twin), "[{tokens}, {codes}], {size}, {unit}, {path}");
            check("nearest code: distance", path, &host(distances), &host(twin_distances), 1e-4);
        }
    }
    // Codes 3, 70 and 140 are the same; so are 0 and 1.
    let mut rows = vec![5.0f32; 2 * 150];
    for same in [3, 70, 140] {
        rows[2 * same..2 * same + 2].copy_from_slice(&[1.0, 0.0]);
    }
    let codebook = Tensor::<2>::from_data(TensorData::new(rows, [150, 2]), device);
    let latents = TensorData::new(vec![0.9f32, 0.1, 9.0, 9.0, 0.0, 0.0], [3, 2]);
    let latents = Tensor::<2>::from_data(latents, device);
    let (found, _) = kernels::nearest_codes(latents.clone(), codebook.clone(), false);
    assert_eq!(list(found), [3, 0, 3], "{path}");
    // A latent of length 0 stays where it is.
    let (found, _) = kernels::nearest_codes(latents, codebook, true);
    assert_eq!(list(found), [3, 3, 3], "{path}");
}

/// Loss and gradient on the GPU: against tensors, and on logits that are hard.
#[test]
fn code_loss_on_the_gpu_agrees_with_tensors() {
    let device = gpu().autodiff();
    for (tokens, width) in [(1, 2), (5, 37), (130, 257)] {
        let values = Stream::new(1, 7).normals(tokens * width);
        let weights = Stream::new(2, 7).normals(tokens * 2);
        let indices: Vec<i64> = (0..tokens).map(|i| (i * 7 % width) as i64).collect();
        let run = |f: fn(Tensor<2>, Tensor<1, Int>) -> Tensor<2>| {
            let logits = TensorData::new(values.clone(), [tokens, width]);
            let logits = Tensor::<2>::from_data(logits, &device).require_grad();
            let weights = TensorData::new(weights.clone(), [tokens, 2]);
            let terms = f(logits.clone(), Tensor::from_data(indices.as_slice(), &device));
            let weighted = terms.clone() * Tensor::<2>::from_data(weights, &device);
            let gradient = logits.grad(&weighted.square().sum().backward()).unwrap();
            (host(terms.inner()), host(gradient))
        };
        let ((found, gradient), (twin, twin_gradient)) =
            (run(kernels::code_loss), run(plain::code_loss));
        check("loss terms", "gpu", &found, &twin, 1e-5);
        check("loss gradient", "gpu", &gradient, &twin_gradient, 1e-5);
    }
    let values = vec![1e4, 0.0, -1e4, f32::NEG_INFINITY];
    let logits = Tensor::<2>::from_data(TensorData::new(values, [1, 4]), &gpu());
    let codes = Tensor::<1, Int>::from_data([1i64].as_slice(), &gpu());
    assert_eq!(host(kernels::code_loss(logits, codes)), [1e4, 1e4]);
}

/// Pixels made on the GPU against those made in Rust, and those against pictures.
#[test]
fn pixels_are_the_same_on_every_device() {
    let [batch, height, width] = [2, 5, 67];
    let values = Stream::new(1, 3).normals(batch * 3 * height * width);
    let entropy: Vec<f32> =
        Stream::new(2, 3).normals(batch * height * width).iter().map(|x| x.abs()).collect();
    let codes = |seed: u64| {
        let mut stream = Stream::new(seed, 3);
        (0..batch * height * width).map(|_| stream.below(2) as i64).collect::<Vec<_>>()
    };
    let (before, after) = (codes(3), codes(4));
    let ramp: Vec<[u8; 4]> = (0..=255).map(|i| [i, 255 - i, i / 2, 255]).collect();
    let mark = [9, 8, 7, 200];
    let on = |device: &Device| {
        let images = TensorData::new(values.clone(), [batch, 3, height, width]);
        let numbers = TensorData::new(entropy.clone(), [batch, height, width]);
        let grid = |codes: &[i64]| {
            let data = TensorData::new(codes.to_vec(), [batch, height, width]);
            Tensor::<3, Int>::from_data(data, device)
        };
        let pictures = Pixels::of_pictures(Tensor::from_data(images, device));
        assert_eq!([pictures.batch(), pictures.height(), pictures.width], [batch, height, width]);
        let ramp = Pixels::of_ramp(Tensor::from_data(numbers, device), 2.0, &ramp);
        let changes = Pixels::of_changes(grid(&before), grid(&after), mark);
        [pictures, ramp, changes].map(|pixels| pixels.to_bytes())
    };
    let [pictures, ramped, changes] = on(&cpu());
    let [gpu_pictures, gpu_ramped, gpu_changes] = on(&gpu());
    let near = |a: &[u8], b: &[u8]| {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.abs_diff(*b) <= 1)
    };
    assert!(near(&pictures, &gpu_pictures), "pictures");
    assert!(near(&ramped, &gpu_ramped), "ramp");
    assert_eq!(changes, gpu_changes, "changes");

    let images = TensorData::new(values, [batch, 3, height, width]);
    let rgb = purrscope::model::to_pictures(Tensor::from_data(images, &cpu()));
    let expected: Vec<u8> = rgb
        .iter()
        .flat_map(|picture| picture.pixels())
        .flat_map(|pixel| [pixel[0], pixel[1], pixel[2], 255])
        .collect();
    assert_eq!(pictures, expected);
    let marks = changes.chunks_exact(4).zip(before.iter().zip(&after));
    for (pixel, (before, after)) in marks {
        assert_eq!(pixel, if before == after { [0; 4] } else { mark });
    }
}

/// Rows, inputs and outputs with remainders of every block and tile, one that is worth handing out to
/// several threads, and sums of more terms than are taken at a time.
const LAYERS: [[usize; 4]; 6] = [
    [1, 1, 1, 1],
    [2, 3, 5, 7],
    [1, 9, 37, 71],
    [2, 67, 96, 130],
    [3, 5, 600, 40],
    [2, 150, 64, 49],
];

/// Input `[batch, tokens, inputs]`, weight, bias, gate and residual of a layer.
fn layer(
    i: u64,
    [batch, tokens, inputs, outputs]: [usize; 4],
) -> (Tensor<3>, Tensor<2>, Tensor<1>, Tensor<3>, Tensor<3>) {
    (
        random(i, 1.0, [batch, tokens, inputs]),
        random(10 + i, (inputs as f32).sqrt().recip(), [outputs, inputs]),
        random(20 + i, 1.0, [outputs]),
        random(30 + i, 1.0, [batch, 1, outputs]),
        random(40 + i, 1.0, [batch, tokens, outputs]),
    )
}

#[test]
fn linear_layers() {
    for (i, sizes) in LAYERS.into_iter().enumerate() {
        let (x, weight, bias, gate, residual) = layer(i as u64, sizes);
        let given = || (x.clone(), weight.clone(), bias.clone());
        let ((a, b, c), (d, e, f)) = (given(), given());
        same!("linear", kernels::linear(a, b, c), plain_linear::linear(d, e, f), x, weight, bias);
        let ((a, b, c), (d, e, f)) = (given(), given());
        same!(
            "linear_gelu",
            kernels::linear_gelu(a, b, c),
            plain_linear::linear_gelu(d, e, f),
            x,
            weight,
            bias
        );
        let ((a, b, c), (d, e, f)) = (given(), given());
        same!(
            "linear_gated",
            kernels::linear_gated(a, b, c, gate.clone(), residual.clone()),
            plain_linear::linear_gated(d, e, f, gate.clone(), residual.clone()),
            x,
            weight,
            bias,
            gate,
            residual
        );
    }
}

/// Tokens below, at and beyond a block of queries and a block of keys.
#[test]
fn attention() {
    let cases = [[1, 1, 1, 1], [2, 3, 2, 5], [2, 64, 3, 32], [1, 67, 2, 24], [1, 300, 2, 64]];
    for (i, [batch, tokens, heads, width]) in cases.into_iter().enumerate() {
        let qkv = random(i as u64, 1.5, [batch, tokens, 3 * heads * width]);
        same!(
            "attention",
            kernels::attention(qkv.clone(), heads),
            plain_attention::attention(qkv.clone(), heads),
            qkv
        );
    }
}

/// What a network's layers give and their gradients, as bits.
fn layers_and_gradients() -> Vec<Vec<u32>> {
    let (x, weight, bias, gate, residual) = layer(7, [3, 70, 96, 288]);
    let qkv = kernels::linear(x.clone(), weight.clone(), bias.clone());
    let mixed = kernels::attention(qkv, 3);
    let (back, shift) = (random(50, 0.2, [288, 96]), random(51, 1.0, [288]));
    let wide = kernels::linear_gelu(mixed, back.clone(), shift.clone());
    let (other, zero) = (random(52, 0.1, [288, 288]), random(53, 1.0, [288]));
    let out = kernels::linear_gated(wide, other.clone(), zero, gate.clone(), residual);
    let normal = kernels::layer_norm_modulate(out, gate.clone(), gate.clone());
    let gradients = normal.clone().square().sum().backward();
    let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<_>>();
    let of = |gradient: Option<Vec<f32>>| bits(gradient.unwrap());
    vec![
        bits(host(normal.inner())),
        of(x.grad(&gradients).map(host)),
        of(weight.grad(&gradients).map(host)),
        of(bias.grad(&gradients).map(host)),
        of(gate.grad(&gradients).map(host)),
        of(back.grad(&gradients).map(host)),
        of(shift.grad(&gradients).map(host)),
        of(other.grad(&gradients).map(host)),
    ]
}

#[test]
fn layers_do_not_depend_on_the_number_of_threads() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(layers_and_gradients)
    };
    let one = run(1);
    assert!(one.iter().all(|bits| !bits.is_empty()));
    for threads in [1, 2, 3] {
        assert_eq!(run(threads), one, "{threads} threads");
    }
}

/// A gated layer of attention by central differences, along a direction in all numbers of each input.
#[test]
fn layers_by_differences() {
    let sizes = [2, 5, 8, 24];
    let (x, weight, bias, ..) = layer(3, sizes);
    let (back, shift) = (random(60, 0.4, [8, 8]), random(61, 1.0, [8]));
    let (gate, residual) = (random(62, 1.0, [2, 1, 8]), random(63, 1.0, [2, 5, 8]));
    let loss = |x: Tensor<3>, weight: Tensor<2>, gate: Tensor<3>| {
        let mixed = kernels::attention(kernels::linear(x, weight, bias.clone()), 2);
        let wide = kernels::linear_gelu(mixed, back.clone(), shift.clone());
        let (back, shift) = (back.clone(), shift.clone());
        kernels::linear_gated(wide, back, shift, gate, residual.clone()).square().mean()
    };
    let gradients = loss(x.clone(), weight.clone(), gate.clone()).backward();
    let along = |stream: u64, gradient: Vec<f32>, at: &dyn Fn(f32, &[f32]) -> f32| {
        let direction = Stream::new(12, stream).normals(gradient.len());
        let found: f32 = gradient.iter().zip(&direction).map(|(g, d)| g * d).sum();
        let expected = (at(1e-2, &direction) - at(-1e-2, &direction)) / 2e-2;
        assert!((found - expected).abs() < 2e-3 * (1.0 + expected.abs()), "{found} for {expected}");
        assert!(found.abs() > 1e-3, "a direction that changes nothing proves nothing: {found}");
    };
    fn moved<const D: usize>(start: &Tensor<D>, step: f32, direction: &[f32]) -> Tensor<D> {
        let direction = TensorData::new(direction.to_vec(), start.dims());
        let start = start.clone().detach();
        start + Tensor::from_data(direction, &cpu().autodiff()) * step
    }
    let value = |loss: Tensor<1>| loss.inner().into_scalar::<f32>();
    along(1, host(x.grad(&gradients).unwrap()), &|step, direction| {
        value(loss(moved(&x, step, direction), weight.clone(), gate.clone()))
    });
    along(2, host(weight.grad(&gradients).unwrap()), &|step, direction| {
        value(loss(x.clone(), moved(&weight, step, direction), gate.clone()))
    });
    along(3, host(gate.grad(&gradients).unwrap()), &|step, direction| {
        value(loss(x.clone(), weight.clone(), moved(&gate, step, direction)))
    });
}
