//! Every objective, on every backend, against numbers of the reference implementation.

use std::io::Write;
use std::sync::Mutex;

use burn::tensor::{Device, Gradients, Int, Tensor, TensorData};
use purrscope::flow::{
    FlowLoss, LatentShape, Latents, SampleSettings, Sampler, Solver, Temperature, code_loss,
    endpoint_loss, path_point,
};
use purrscope::io::tensors::TensorFile;
use purrscope::model::layers::Initialiser;
use purrscope::model::params::{self, host};
use purrscope::model::{
    Dit, DitConfig, Guided, Model, ModelCard, Objective, Tokenizer, TokenizerConfig, dit,
};
use purrscope::train::{AdamW, OptimiserConfig};

use crate::common::{cpu, golden, gpu, tensor, worst};
use crate::tolerance::Tolerances;

const CLASSES: usize = 5;
const CODES: usize = 37;
const CODE_SIZE: usize = 4;
const SIDE: usize = 8;

/// One objective on one backend, and the errors found.
struct Case {
    objective: Objective,
    backend: &'static str,
    device: Device,
    allowed: Tolerances,
    file: TensorFile,
    rows: Vec<Row>,
}

struct Row {
    objective: Objective,
    quantity: String,
    backend: &'static str,
    error: f32,
    tolerance: f32,
}

impl Case {
    fn note(&mut self, quantity: &str, found: &[f32], expected: &[f32], tolerance: f32) {
        let error = worst(found, expected);
        match self.rows.iter_mut().find(|row| row.quantity == quantity) {
            Some(row) => row.error = row.error.max(error),
            None => self.rows.push(Row {
                objective: self.objective,
                quantity: quantity.to_owned(),
                backend: self.backend,
                error,
                tolerance,
            }),
        }
    }

    fn expect(&self, name: &str) -> Vec<f32> {
        self.file.floats(name).unwrap().1
    }

    fn config(&self) -> DitConfig {
        DitConfig {
            input_size: SIDE,
            patch_size: 2,
            in_channels: self.objective.in_channels(CODE_SIZE),
            hidden_size: 48,
            depth: 2,
            num_heads: 3,
            mlp_ratio: 4.0,
            num_classes: CLASSES,
            out_channels: self.objective.out_channels(CODES, CODE_SIZE),
            embeds_codes: self.objective == Objective::Dfm,
        }
    }

    fn network(&self, device: &Device) -> Dit {
        let blank = Dit::new(&self.config(), &mut Initialiser::blank(device));
        let named = |path: &str| format!("weight.{}", dit::reference_name(path));
        params::load(blank, named, device, |name, shape| self.file.floats_of_shape(name, shape))
            .unwrap()
    }

    /// The golden network with the golden codebook; its decoder is never asked.
    fn model(&self) -> Model {
        let tokenizer = TokenizerConfig {
            image_channels: 3,
            channels: 4,
            multipliers: vec![1],
            residual_blocks: 1,
            attention: false,
            attention_levels: None,
            groups: 2,
            latent_channels: 4,
            code_size: CODE_SIZE,
            codes: CODES,
            l2_normalised: false,
        };
        let card = ModelCard {
            format: ModelCard::FORMAT,
            name: "golden".to_owned(),
            objective: self.objective,
            backbone: self.config(),
            tokenizer: tokenizer.clone(),
            class_names: (0..CLASSES).map(|i| i.to_string()).collect(),
            latent_scale: 1.0,
            provenance: Default::default(),
        };
        let table = tensor(&self.file, "codebook", &self.device);
        let tokenizer = Tokenizer::new(&tokenizer, &mut Initialiser::new(0, &self.device))
            .with_codebook_table(table);
        Model::assemble(card, self.network(&self.device), tokenizer, &self.device)
    }

    fn labels(&self) -> Vec<usize> {
        self.file.integers("labels").unwrap().1.into_iter().map(|label| label as usize).collect()
    }

    fn integers(&self, name: &str, device: &Device) -> Tensor<1, Int> {
        Tensor::from_data(self.file.integers(name).unwrap().1.as_slice(), device)
    }

    /// The state that the golden outputs and losses are of, as the network takes it.
    fn state(&self, network: &Dit, device: &Device) -> Tensor<4> {
        if self.objective == Objective::Dfm {
            let (shape, codes) = self.file.integers("zt_codes").unwrap();
            let codes = Tensor::<3, Int>::from_data(TensorData::new(codes, shape), device);
            return network.embed_codes(codes).unwrap();
        }
        tensor(&self.file, "zt", device)
    }

    fn outputs(&mut self) {
        let device = self.device.clone();
        let network = self.network(&device);
        let x = self.state(&network, &device);
        let t = self.expect("t");
        let batch = self.labels().len();
        let none = Tensor::<1, Int>::full([batch], CLASSES as i64, &device);
        let labels = self.integers("labels", &device);
        let conditional = network.forward(x.clone(), &t, labels);
        let unconditional = network.forward(x, &t, none);
        for scale in ["0.0", "1.0", "2.5"] {
            let guided = Guided {
                conditional: conditional.clone(),
                unconditional: Some((unconditional.clone(), scale.parse().unwrap())),
            };
            // The reference has channels before tokens.
            let found = host(guided.mixed().swap_dims(1, 2));
            let expected = self.expect(&format!("out.cfg{scale}"));
            self.note(&format!("output, guidance {scale}"), &found, &expected, self.allowed.values);
        }
    }

    fn loss(&self, network: &Dit, device: &Device) -> FlowLoss {
        let output = network.forward(
            self.state(network, device),
            &self.expect("t"),
            self.integers("labels", device),
        );
        let [batch, tokens, channels] = output.dims();
        let read = |name: &str| tensor::<4>(&self.file, name, device);
        match self.objective {
            Objective::Purrception | Objective::Dfm => {
                let codes = self.integers("codes", device);
                code_loss(output.reshape([batch * tokens, channels]), codes, 1e-5)
            }
            Objective::Cfm => endpoint_loss(output, read("z1") - read("z0")),
            Objective::CfmEndpoint => endpoint_loss(output, read("z1")),
        }
    }

    /// Loss, its terms, the stored gradients, and ten steps of AdamW on the one batch.
    fn training(&mut self) {
        let tolerance = self.allowed.values;
        let device = self.device.clone().autodiff();
        if self.objective != Objective::Dfm {
            let read = |name: &str| tensor::<4>(&self.file, name, &self.device);
            let t = tensor(&self.file, "t", &self.device);
            let found = host(path_point(read("z0"), read("z1"), t));
            self.note("path point", &found, &self.expect("zt"), tolerance);
        }
        let mut network = self.network(&device);
        let scalar = |tensor: &Tensor<1>| vec![tensor.clone().inner().into_scalar::<f32>()];
        let first = self.loss(&network, &device);
        self.note("loss", &scalar(&first.total), &self.expect("loss"), tolerance);
        let found = scalar(&first.data_term);
        self.note("loss, data term", &found, &self.expect("loss.data_term"), tolerance);
        if let Some(term) = &first.mean_log_z_squared {
            let expected = self.expect("loss.mean_log_z_squared");
            self.note("loss, log Z squared", &scalar(term), &expected, tolerance);
        }

        let config = OptimiserConfig { learning_rate: 1e-3, ..OptimiserConfig::default() };
        let mut optimiser = AdamW::new(&network, dit::reference_name, config);
        let gradient_tolerance = self.allowed.gradients(self.objective);
        let (mut losses, mut norms) = (Vec::new(), Vec::new());
        for step in 0..10 {
            let loss = self.loss(&network, &device).total;
            losses.extend(scalar(&loss));
            let gradients = loss.backward();
            let of_first = (step == 0).then(|| gradients_of(&network, &gradients));
            let (moved, report) = optimiser.step(network, gradients, 1e-3);
            let mut compared = 0;
            for (parameter, gradient) in of_first.into_iter().flatten() {
                let Ok((_, expected)) = self.file.floats(&format!("grad.{parameter}")) else {
                    continue;
                };
                // The reference stores gradients after it has clipped their norm to 1.
                let clip = (1.0 / report.gradient_norm).min(1.0) as f32;
                let clipped: Vec<f32> = gradient.into_iter().map(|value| value * clip).collect();
                self.note("gradients", &clipped, &expected, gradient_tolerance);
                compared += 1;
            }
            assert!(step > 0 || compared == 6, "{compared} gradients compared");
            network = moved;
            norms.push(report.gradient_norm as f32);
        }
        self.note("ten losses", &losses, &self.expect("train.losses"), tolerance);
        self.note(
            "ten gradient norms",
            &norms,
            &self.expect("train.grad_norms"),
            gradient_tolerance,
        );
        for average in optimiser.averages() {
            if let Ok((_, expected)) = self.file.floats(&format!("train.ema.{}", average.name)) {
                self.note("moving average", &average.values, &expected, tolerance);
            }
        }
    }

    fn trajectories(&mut self) {
        if self.objective == Objective::Dfm {
            return;
        }
        let model = self.model();
        let noise = golden(&format!("{}.noise.safetensors", self.objective));
        let (shape, noise) = noise.floats("noise").unwrap();
        let [batch, channels, height, width] = shape[..] else { panic!("noise has four extents") };
        let shape = LatentShape { batch, channels, height, width };
        for (solver, steps, temperature, guidance) in [
            (Solver::Euler, 8, "1.0", "1.0"),
            (Solver::Euler, 8, "0.5", "1.0"),
            (Solver::Euler, 5, "1.3", "2.5"),
            (Solver::Midpoint, 6, "1.0", "1.0"),
            (Solver::Midpoint, 4, "0.8", "1.5"),
        ] {
            let key = format!("traj.{solver}.steps{steps}.tau{temperature}.cfg{guidance}");
            let tolerance = self.allowed.path(self.objective, solver, steps);
            let settings = SampleSettings {
                labels: self.labels(),
                solver,
                steps,
                temperature: Temperature::Constant(temperature.parse().unwrap()),
                guidance: guidance.parse().unwrap(),
                ..SampleSettings::default()
            };
            let noise = Latents { shape, values: noise.clone() };
            let mut sampler = Sampler::new(&model, settings, Some(noise)).unwrap();
            let mut states: Vec<f32> = Vec::new();
            for record in sampler.by_ref() {
                states.extend(&record.x.values);
            }
            states.extend(&sampler.state().x.values);
            self.note(&key, &states, &self.expect(&key), tolerance);
            if let Ok((_, expected)) = self.file.integers(&format!("{key}.codes")) {
                let codes: Vec<i64> = sampler.codes().into_iter().map(i64::from).collect();
                assert_eq!(codes, expected, "{} on {}: {key}", self.objective, self.backend);
            }
        }
    }
}

/// Name and gradient of every parameter.
fn gradients_of(network: &Dit, gradients: &Gradients) -> Vec<(String, Vec<f32>)> {
    let found = params::gradients(network, dit::reference_name, gradients, |_| true);
    assert_eq!(found.len(), params::collect(network, dit::reference_name).len());
    found.into_iter().map(|gradient| (gradient.name, gradient.values)).collect()
}

/// The table goes to standard error, where the test harness does not hold it back.
#[test]
fn objectives_match_the_reference_on_both_backends() {
    let table = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for (backend, device, allowed) in
            [("cpu", cpu(), Tolerances::CPU), ("gpu", gpu(), Tolerances::GPU)]
        {
            let table = &table;
            // burn orders work by thread: a backend stays on one.
            scope.spawn(move || {
                for objective in Objective::ALL {
                    let file = golden(&format!("{objective}.safetensors"));
                    let mut case = Case {
                        objective,
                        backend,
                        device: device.clone(),
                        allowed,
                        file,
                        rows: Vec::new(),
                    };
                    case.outputs();
                    case.training();
                    case.trajectories();
                    table.lock().unwrap().extend(case.rows);
                }
            });
        }
    });
    let mut rows = table.into_inner().unwrap();
    rows.sort_by(|a, b| (a.objective as u8, a.backend).cmp(&(b.objective as u8, b.backend)));
    let mut text = String::from(
        "\n| objective    | quantity                           | backend | error    | allowed |\n",
    );
    text +=
        "|--------------|------------------------------------|---------|----------|---------|\n";
    for Row { objective, quantity, backend, error, tolerance } in &rows {
        text += &format!(
            "| {:<12} | {quantity:<34} | {backend:<7} | {error:8.1e} | {tolerance:7.0e} |\n",
            objective.to_string()
        );
    }
    std::io::stderr().lock().write_all(text.as_bytes()).unwrap();
    let bad: Vec<String> = rows
        .iter()
        .filter(|row| row.error.is_nan() || row.error > row.tolerance)
        .map(|row| format!("{} {} on {}", row.objective, row.quantity, row.backend))
        .collect();
    assert!(bad.is_empty(), "beyond their tolerance: {bad:?}");
    assert_eq!(rows.len(), 2 * (16 + 15 + 15 + 10), "quantities of the four objectives");
}
