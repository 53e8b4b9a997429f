//! The categorical expectation against numbers of the reference implementation.

use burn::tensor::{Device, Tensor, TensorData};
use purrscope::kernels::{Expectation, TokenMask, categorical_expectation, plain_expectation};
use purrscope::model::params::host;

use crate::common::{check, cpu, golden, gpu, on_every_path, tensor};
use crate::tolerance::Tolerances;

type Expect = fn(Tensor<2>, f32, Tensor<2>, usize, Option<&TokenMask>) -> Expectation;

/// Every hard case of the categorical expectation.
fn expectation_matches(name: &str, device: &Device, expect: Expect, allowed: Tolerances) {
    let file = golden("categorical_expectation.safetensors");
    for case in 0..7 {
        let read = |what: &str| file.floats(&format!("{case}.{what}")).unwrap();
        let temperature = read("temperature").1[0];
        let (shape, expected_probs) = read("top_probs");
        let logits = file.floats_as_stored(&format!("{case}.logits")).unwrap();
        let logits = Tensor::<2>::from_data(TensorData::new(logits.1, logits.0), device);
        let codebook = tensor(&file, &format!("{case}.codebook"), device);
        let found = expect(logits, temperature, codebook, shape[1], None);
        let compare = |what: &str, found: Tensor<2>, expected: &[f32]| {
            check(
                &format!("expectation {case}: {what}"),
                name,
                &host(found),
                expected,
                allowed.values,
            );
        };
        compare("mean", found.mean, &read("mean").1);
        compare("entropy", found.entropy, &read("entropy_nats").1);
        compare("log Z", found.log_z, &read("log_z").1);
        compare("top probabilities", found.top_probs, &expected_probs);
        if case != 6 {
            let codes: Vec<i64> = found.top_codes.into_data_as::<i64>().iter::<i64>().collect();
            let expected = file.integers(&format!("{case}.top_codes")).unwrap().1;
            let differing = codes
                .iter()
                .zip(&expected)
                .zip(&expected_probs)
                // Below the smallest normal number a GPU may round every probability to 0: a tie.
                .filter(|((a, b), probability)| a != b && **probability > f32::MIN_POSITIVE)
                .count();
            assert_eq!(differing, 0, "case {case}: top codes");
        }
    }
}

#[test]
fn expectation_on_the_cpu() {
    expectation_matches("cpu", &cpu(), categorical_expectation, Tolerances::CPU);
}

#[test]
fn plain_expectation_on_the_cpu() {
    expectation_matches("cpu", &cpu(), plain_expectation, Tolerances::CPU);
}

#[test]
fn expectation_on_the_gpu() {
    let device = gpu();
    on_every_path(|path| {
        expectation_matches(path, &device, categorical_expectation, Tolerances::GPU)
    });
}
