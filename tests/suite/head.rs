//! The head in chunks: the same beliefs whatever the budget, and never a binding beyond WebGPU's.

use burn::tensor::{Tensor, TensorData};
use purrscope::flow::{Predictor, SampleSettings, Spot, Temperature, seeded_noise};
use purrscope::kernels::{plain_expectation, plain_guided};
use purrscope::model::Model;
use purrscope::model::head::{Features, Head, LOGITS_BUDGET, Reading};
use purrscope::model::params::host;
use purrscope::rng::Stream;

use crate::common::{check, cpu, gpu, with_limits};

fn settings(temperature: &str) -> SampleSettings {
    let spot = |row, column, code| Spot { image: 1, row, column, code };
    SampleSettings {
        labels: vec![3, 5],
        guidance: 1.7,
        temperature: temperature.parse::<Temperature>().unwrap(),
        pins: vec![spot(3, 4, 77)],
        bans: vec![spot(5, 6, 1)],
        banned_codes: vec![0, 2],
        ..SampleSettings::default()
    }
}

/// A budget for ninety tokens at a time against one for all of them.
#[test]
fn a_tiny_budget_gives_the_same_beliefs() {
    for (name, device) in [("cpu", cpu()), ("gpu", gpu())] {
        let mut model = Model::embedded(&device).unwrap();
        let x = seeded_noise(4, model.latent_shape(2));
        for temperature in ["0.9", "entropy:2:1"] {
            let settings = settings(temperature);
            model.logits_budget = LOGITS_BUDGET;
            let whole = model.predict(&x, 0.6, &settings);
            model.logits_budget = 90 * 2 * 4 * model.card.tokenizer.codes;
            let parts = model.predict(&x, 0.6, &settings);
            let (a, b) = (parts.posterior.unwrap(), whole.posterior.unwrap());
            check("chunked: mean", name, &parts.output.values, &whole.output.values, 1e-5);
            check("chunked: entropy", name, &a.entropy, &b.entropy, 1e-5);
            check("chunked: log Z", name, &a.log_z, &b.log_z, 1e-5);
            check("chunked: probabilities", name, &a.top_probs, &b.top_probs, 1e-5);
            assert!((parts.temperature - whole.temperature).abs() < 1e-5);
            let token = 3 * 16 + 4;
            assert_eq!(a.top_codes[(8 * 256) + token], 77, "the pin holds");
        }
    }
}

/// The chunks against the whole output, mixed and read by plain tensor operations.
#[test]
fn chunks_are_the_whole_output_in_the_order_of_tokens() {
    let device = cpu();
    let model = Model::embedded(&device).unwrap();
    let x = model.upload(&seeded_noise(4, model.latent_shape(2)));
    let features = model.features(x, 0.6, &[3, 5], 1.7);
    let codes = model.card.tokenizer.codes;
    let reading = Reading { codebook: model.codebook(), top: 8, mask: None, budget: 7 * 8 * codes };
    let found = model.head.beliefs(&features, reading).at(0.8);
    let whole = model.head.output(features.clone());
    let rows = |logits: Tensor<3>| logits.reshape([2 * 256, codes]);
    let (unguided, scale) = whole.unconditional.unwrap();
    let mixed = plain_guided(rows(whole.conditional), rows(unguided), scale);
    let twin = plain_expectation(mixed.clone(), 0.8, model.codebook().clone(), 8, None);
    // Beliefs are as exact as the last bits of the logits, over the temperature.
    let largest = host(mixed.clone()).into_iter().fold(0.0f32, |most, logit| most.max(logit.abs()));
    let bits = 4.0 * f32::EPSILON * largest / 0.8;
    check("head: mean", "cpu", &found.mean, &host(twin.mean), bits);
    check("head: entropy", "cpu", &found.entropy, &host(twin.entropy), bits);
    check("head: probabilities", "cpu", &found.top_probs, &host(twin.top_probs), bits);

    let tokens = [511, 0, 17, 300, 16, 1];
    let mut seen = vec![Vec::new(); tokens.len()];
    model.head.rows(&features, &tokens, &reading, |i, logits| seen[i] = logits.to_vec());
    let mixed = host(mixed);
    for (token, logits) in tokens.iter().zip(&seen) {
        check("head: rows", "cpu", logits, &mixed[token * codes..(token + 1) * codes], 1e-5);
    }
}

/// The head of DiT-XL/2 over 16,384 codes for a guided picture of 32x32 latents, where no shader may
/// bind more than 128 MB. Its weights alone are 302 MB.
#[test]
#[ignore = "takes minutes on a software adapter"]
fn the_head_of_the_largest_model_fits_webgpus_default_limits() {
    const HIDDEN: usize = 1152;
    const CODES: usize = 16_384;
    let device = with_limits(|_| wgpu::Limits::default());
    let random = |stream: u64, shape: [usize; 2], scale: f32| {
        let values = Stream::new(9, stream).normals(shape[0] * shape[1]);
        let values: Vec<f32> = values.into_iter().map(|value| value * scale).collect();
        Tensor::<2>::from_data(TensorData::new(values, shape), &device)
    };
    let parts = (0..4).map(|i| (random(i, [CODES, HIDDEN], 0.1), Tensor::zeros([CODES], &device)));
    let head = Head::from_parts(parts.collect(), 16, 2);
    let features = |stream| random(stream, [256, HIDDEN], 1.0).unsqueeze::<3>();
    let features = Features { conditional: features(10), unconditional: Some((features(11), 1.5)) };
    let codebook = random(12, [CODES, 8], 1.0);
    let reading = Reading { codebook: &codebook, top: 8, mask: None, budget: LOGITS_BUDGET };
    let found = head.beliefs(&features, reading).at(0.9);
    assert_eq!(found.entropy.len(), 1024);
    assert!(found.mean.iter().chain(&found.entropy).all(|value| value.is_finite()));
    assert!(found.entropy.iter().all(|entropy| (0.0..(CODES as f32).ln()).contains(entropy)));
}
