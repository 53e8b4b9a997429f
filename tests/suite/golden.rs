//! The method against numbers of the reference implementation.

use burn::tensor::{Device, Int, Tensor, TensorData};
use purrscope::flow::{
    Grid, LatentShape, Latents, SampleSettings, Sampler, Solver, Temperature, path_point,
    purrception_loss,
};
use purrscope::io::tensors::TensorFile;
use purrscope::kernels::{Expectation, categorical_expectation, plain_expectation};
use purrscope::model::layers::Initialiser;
use purrscope::model::params::{self, host};
use purrscope::model::{
    Dit, DitConfig, Model, ModelCard, Objective, Tokenizer, TokenizerConfig, dit,
};
use purrscope::train::{AdamW, OptimiserConfig};

use crate::common::{check, cpu, golden, gpu, tensor};

const CLASSES: usize = 5;

fn config() -> DitConfig {
    DitConfig {
        input_size: 8,
        patch_size: 2,
        in_channels: 4,
        hidden_size: 48,
        depth: 2,
        num_heads: 3,
        mlp_ratio: 4,
        num_classes: CLASSES,
        out_channels: 37,
    }
}

fn network(file: &TensorFile, device: &Device) -> Dit {
    let blank = Dit::new(&config(), &mut Initialiser::blank(device));
    let named = |path: &str| format!("weight.{}", dit::reference_name(path));
    params::load(blank, named, device, |name, shape| file.floats_of_shape(name, shape)).unwrap()
}

/// The golden network with the golden codebook; its decoder is never asked.
fn model(file: &TensorFile, device: &Device) -> Model {
    let tokenizer = TokenizerConfig {
        image_channels: 3,
        channels: 4,
        multipliers: vec![1],
        residual_blocks: 1,
        attention: false,
        groups: 2,
        latent_channels: 4,
        code_size: 4,
        codes: 37,
        l2_normalised: false,
    };
    let card = ModelCard {
        format: ModelCard::FORMAT,
        name: "golden".to_owned(),
        objective: Objective::Purrception,
        backbone: config(),
        tokenizer: tokenizer.clone(),
        class_names: (0..CLASSES).map(|i| i.to_string()).collect(),
        latent_scale: 1.0,
        provenance: Default::default(),
    };
    let table = tensor(file, "codebook", device);
    let tokenizer =
        Tokenizer::new(&tokenizer, &mut Initialiser::new(0, device)).with_codebook_table(table);
    Model::assemble(card, network(file, device), tokenizer, device)
}

fn labels(file: &TensorFile) -> Vec<usize> {
    file.integers("labels").unwrap().1.into_iter().map(|label| label as usize).collect()
}

fn integers(file: &TensorFile, name: &str, device: &Device) -> Tensor<1, Int> {
    let values = file.integers(name).unwrap().1;
    Tensor::from_data(values.as_slice(), device)
}

/// `[batch, tokens, codes]` to the reference's `[batch, codes, tokens]`, on the host.
fn by_code(logits: Tensor<3>) -> Vec<f32> {
    host(logits.swap_dims(1, 2))
}

fn forward_matches(name: &str, device: &Device, tolerance: f32) {
    let file = golden("purrception.safetensors");
    let network = network(&file, device);
    let batch = labels(&file).len();
    let x: Tensor<4> = tensor(&file, "zt", device);
    let t: Tensor<1> = tensor(&file, "t", device);
    let none = Tensor::<1, Int>::full([batch], CLASSES as i64, device);
    let conditional = network.forward(x.clone(), t.clone(), integers(&file, "labels", device));
    let unconditional = network.forward(x, t, none);
    for scale in ["0.0", "1.0", "2.5"] {
        let s: f32 = scale.parse().unwrap();
        let mixed = unconditional.clone() + (conditional.clone() - unconditional.clone()) * s;
        let expected = file.floats(&format!("out.cfg{scale}")).unwrap().1;
        check(&format!("logits, guidance {scale}"), name, &by_code(mixed), &expected, tolerance);
    }
}

#[test]
fn forward_on_the_cpu() {
    forward_matches("cpu", &cpu(), 1e-5);
}

#[test]
fn forward_on_the_gpu() {
    forward_matches("gpu", &gpu(), 1e-4);
}

fn trajectories_match(name: &str, device: &Device, tolerance: f32) {
    let file = golden("purrception.safetensors");
    let model = model(&file, device);
    let (shape, noise) = golden("purrception.noise.safetensors").floats("noise").unwrap();
    let shape =
        LatentShape { batch: shape[0], channels: shape[1], height: shape[2], width: shape[3] };
    for (solver, steps, temperature, guidance, tolerance) in [
        (Solver::Euler, 8, "1.0", "1.0", tolerance),
        (Solver::Euler, 8, "0.5", "1.0", tolerance),
        (Solver::Euler, 5, "1.3", "2.5", tolerance),
        (Solver::Midpoint, 6, "1.0", "1.0", tolerance),
        // Sensitive: the reference itself, run in f32, is off by 1.3e-4 here.
        (Solver::Midpoint, 4, "0.8", "1.5", 1e-3),
    ] {
        let key = format!("traj.{solver}.steps{steps}.tau{temperature}.cfg{guidance}");
        let expected = file.floats(&key).unwrap().1;
        let settings = SampleSettings {
            labels: labels(&file),
            seed: 0,
            solver,
            grid: Grid::Uniform,
            steps,
            temperature: Temperature::Constant(temperature.parse().unwrap()),
            guidance: guidance.parse().unwrap(),
            ..SampleSettings::default()
        };
        let noise = Latents { shape, values: noise.clone() };
        let mut sampler = Sampler::new(&model, settings, Some(noise)).unwrap();
        let mut states: Vec<f32> = Vec::new();
        for step in sampler.by_ref() {
            states.extend(&step.x.values);
        }
        states.extend(&sampler.state().values);
        check(&key, name, &states, &expected, tolerance);
        let codes: Vec<i64> = sampler.codes().into_iter().map(i64::from).collect();
        assert_eq!(codes, file.integers(&format!("{key}.codes")).unwrap().1, "{key}: codes");
    }
}

#[test]
fn trajectories_on_the_cpu() {
    trajectories_match("cpu", &cpu(), 1e-4);
}

#[test]
fn trajectories_on_the_gpu() {
    trajectories_match("gpu", &gpu(), 5e-4);
}

/// Loss, its terms, the stored gradients and ten steps of AdamW on the one batch.
fn training_matches(name: &str, device: &Device, tolerance: f32) {
    let file = golden("purrception.safetensors");
    let device = device.clone().autodiff();
    let mut network = network(&file, &device);
    let x = path_point(
        tensor(&file, "z0", &device),
        tensor(&file, "z1", &device),
        tensor(&file, "t", &device),
    );
    check("path point", name, &host(x.clone().inner()), &file.floats("zt").unwrap().1, tolerance);
    let codes = integers(&file, "codes", &device);
    let loss = |network: &Dit| {
        let logits = network.forward(
            tensor(&file, "zt", &device),
            tensor(&file, "t", &device),
            integers(&file, "labels", &device),
        );
        let [batch, tokens, codes_count] = logits.dims();
        purrception_loss(logits.reshape([batch * tokens, codes_count]), codes.clone(), 1e-5)
    };
    let first = loss(&network);
    let scalar = |tensor: &Tensor<1>| vec![tensor.clone().inner().into_scalar::<f32>()];
    for (what, found) in [
        ("loss", &first.total),
        ("loss.data_term", &first.cross_entropy),
        ("loss.mean_log_z_squared", &first.mean_log_z_squared),
    ] {
        check(what, name, &scalar(found), &file.floats(what).unwrap().1, tolerance);
    }

    let config = OptimiserConfig { learning_rate: 1e-3, ..OptimiserConfig::default() };
    let naming = dit::reference_name;
    let mut optimiser = AdamW::new(&network, naming, config);
    let (mut losses, mut norms) = (Vec::new(), Vec::new());
    for step in 0..10 {
        let loss = loss(&network);
        losses.extend(scalar(&loss.total));
        let gradients = loss.total.backward();
        let of_first = (step == 0).then(|| gradients_of(&network, &gradients));
        let (moved, report) = optimiser.step(network, gradients, 1e-3);
        for (parameter, gradient) in of_first.into_iter().flatten() {
            let key = format!("grad.{parameter}");
            if let Ok((_, expected)) = file.floats(&key) {
                // The reference stores gradients after it has clipped their norm to 1.
                let clip = (1.0 / report.gradient_norm) as f32;
                let clipped: Vec<f32> = gradient.into_iter().map(|value| value * clip).collect();
                check(&key, name, &clipped, &expected, tolerance);
            }
        }
        network = moved;
        norms.push(report.gradient_norm as f32);
    }
    check("train.losses", name, &losses, &file.floats("train.losses").unwrap().1, tolerance);
    check("train.grad_norms", name, &norms, &file.floats("train.grad_norms").unwrap().1, tolerance);
    for average in optimiser.averages() {
        if let Ok((_, expected)) = file.floats(&format!("train.ema.{}", average.name)) {
            let key = format!("train.ema.{}", average.name);
            check(&key, name, &average.values, &expected, tolerance);
        }
    }
}

/// Name and gradient of every parameter.
fn gradients_of(network: &Dit, gradients: &burn::tensor::Gradients) -> Vec<(String, Vec<f32>)> {
    use burn::module::{Module, ModuleVisitor, Param};
    struct Reader<'a> {
        path: Vec<String>,
        gradients: &'a burn::tensor::Gradients,
        found: Vec<(String, Vec<f32>)>,
    }
    impl ModuleVisitor for Reader<'_> {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.push(name.to_owned());
        }

        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.pop();
        }

        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = param.val().grad(self.gradients) {
                self.found.push((dit::reference_name(&self.path.join(".")), host(gradient)));
            }
        }
    }
    let mut reader = Reader { path: Vec::new(), gradients, found: Vec::new() };
    network.visit(&mut reader);
    assert_eq!(reader.found.len(), params::collect(network, dit::reference_name).len());
    reader.found
}

#[test]
fn training_on_the_cpu() {
    training_matches("cpu", &cpu(), 1e-5);
}

#[test]
fn training_on_the_gpu() {
    training_matches("gpu", &gpu(), 1e-4);
}

type Expect = fn(Tensor<2>, f32, Tensor<2>, usize) -> Expectation;

/// Every hard case of the categorical expectation.
fn expectation_matches(name: &str, device: &Device, expect: Expect, tolerance: f32) {
    let file = golden("categorical_expectation.safetensors");
    for case in 0..7 {
        let read = |what: &str| file.floats(&format!("{case}.{what}")).unwrap();
        let temperature = read("temperature").1[0];
        let (shape, expected_probs) = read("top_probs");
        let logits = file.floats_as_stored(&format!("{case}.logits")).unwrap();
        let logits = Tensor::<2>::from_data(TensorData::new(logits.1, logits.0), device);
        let codebook = tensor(&file, &format!("{case}.codebook"), device);
        let found = expect(logits, temperature, codebook, shape[1]);
        let compare = |what: &str, found: Tensor<2>, expected: &[f32]| {
            check(&format!("expectation {case}: {what}"), name, &host(found), expected, tolerance);
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
    expectation_matches("cpu", &cpu(), categorical_expectation, 1e-5);
}

#[test]
fn plain_expectation_on_the_cpu() {
    expectation_matches("cpu", &cpu(), plain_expectation, 1e-5);
}

#[test]
fn expectation_on_the_gpu() {
    expectation_matches("gpu", &gpu(), categorical_expectation, 1e-4);
}
