//! How often a step waits for its device to give numbers back: once. And how often work is handed to
//! the GPU in it, which is printed and held to a bound.

use std::cell::Cell;
use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use burn::tensor::Device;
use purrscope::device::{DeviceChoice, Selected, select};
use purrscope::flow::{
    CodePrediction, Constraints, Domain, Draw, LatentShape, Latents, Oracle, Prediction, Predictor,
    SampleSettings, Sampler, Solver, Spot,
};
use purrscope::model::card::{DitConfig, Objective};
use purrscope::model::layers::Initialiser;
use purrscope::model::{Dit, Model, ModelCard};
use purrscope::readback::waits;
use purrscope::train::{self, Progress, RunConfig};

use crate::training::{flow_run, tokenizer_run, write_pictures};

/// Command buffers that have been handed to the GPU's queue so far. wgpu numbers them, and shows the
/// number of an empty one that is added to find out.
fn submissions(selected: &Selected) -> u64 {
    let Some(handles) = &selected.handles else { return 0 };
    let shown = format!("{:?}", handles.queue.submit([]));
    let digits: String = shown.chars().filter(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_else(|_| panic!("{shown} has no number"))
}

/// A GPU of this test's own, so that no other test's work is counted.
fn gpu() -> Selected {
    select(DeviceChoice::Gpu(None)).expect("the tests need an adapter")
}

/// The embedded model's tokenizer with a small random network of an objective.
fn small(objective: Objective, device: &Device) -> Model {
    let embedded = Model::embedded(device).unwrap();
    let ModelCard { tokenizer: vq, backbone, .. } = &embedded.card;
    let backbone = DitConfig {
        patch_size: 2,
        hidden_size: 32,
        depth: 1,
        num_heads: 2,
        in_channels: objective.in_channels(vq.code_size),
        out_channels: objective.out_channels(vq.codes, vq.code_size),
        embeds_codes: objective == Objective::Dfm,
        ..backbone.clone()
    };
    let net = Dit::new(&backbone, &mut Initialiser::new(3, device));
    let card = ModelCard { objective, backbone, ..embedded.card.clone() };
    Model::assemble(card, net, embedded.tokenizer.clone(), device)
}

/// Waits and submissions of every step of a run but the first, which makes what later ones keep.
fn of_steps(selected: &Selected, model: &Model, settings: &SampleSettings) -> Vec<(u64, u64)> {
    let mut run = Sampler::new(model, settings.clone(), None).unwrap();
    drop(run.next().unwrap());
    let mut counts = Vec::new();
    loop {
        let (waited, submitted) = (waits(), submissions(selected));
        if run.next().is_none() {
            return counts;
        }
        // The submissions that ask are two, of which the first is counted before.
        counts.push((waits() - waited, submissions(selected) - submitted - 1));
    }
}

#[test]
fn a_step_of_sampling_waits_once() {
    let selected = gpu();
    let plain = SampleSettings { labels: vec![3, 5], steps: 4, ..SampleSettings::default() };
    let spot = |row, code| Spot { image: 1, row, column: 2, code };
    let guided = SampleSettings { guidance: 1.7, pins: vec![spot(3, 77)], ..plain.clone() };
    let banned = SampleSettings { bans: vec![spot(5, 1)], banned_codes: vec![2], ..guided.clone() };
    let mut cases = vec![];
    for objective in Objective::ALL {
        cases.push((objective, "plain", plain.clone(), (1, 40)));
        cases.push((objective, "guided, with pins", guided.clone(), (1, 40)));
        if objective.has_posterior() {
            cases.push((objective, "guided, with pins and bans", banned.clone(), (1, 40)));
        }
    }
    // Seven rounds of three temperatures each, and the belief at the one that is found. Every evaluation
    // uploads its temperature, which hands over what is queued.
    let entropy = SampleSettings { temperature: "entropy:2:1".parse().unwrap(), ..banned };
    cases.push((Objective::Purrception, "to an entropy", entropy.clone(), (8, 160)));
    cases.push((Objective::Dfm, "to an entropy", entropy, (8, 160)));
    for (objective, what, settings, (expected, most)) in cases {
        let model = small(objective, &selected.device);
        let counts = of_steps(&selected, &model, &settings);
        println!("{objective}, {what}: waits and submissions a step {counts:?}");
        assert_eq!(counts.len(), 3);
        for (waited, submitted) in counts {
            assert_eq!(waited, expected, "{objective}, {what}");
            assert!(
                (1..=most).contains(&submitted),
                "{objective}, {what}: {submitted} submissions"
            );
        }
    }
}

/// An oracle that counts how often it is asked what pins and bans amount to.
struct Counting {
    oracle: Oracle,
    asked: Cell<usize>,
}

impl Predictor for Counting {
    fn domain(&self) -> Domain {
        self.oracle.domain()
    }

    fn latent_shape(&self, batch: usize) -> LatentShape {
        self.oracle.latent_shape(batch)
    }

    fn constraints(&self, settings: &SampleSettings) -> Constraints {
        self.asked.set(self.asked.get() + 1);
        self.oracle.constraints(settings)
    }

    fn predict_under(
        &self,
        x: &Latents,
        t: f32,
        settings: &SampleSettings,
        constraints: &Constraints,
    ) -> Prediction {
        self.oracle.predict_under(x, t, settings, constraints)
    }

    fn predict_codes(
        &self,
        codes: &[u32],
        t: f32,
        settings: &SampleSettings,
        constraints: &Constraints,
        draws: &[Draw],
    ) -> CodePrediction {
        self.oracle.predict_codes(codes, t, settings, constraints, draws)
    }

    fn nearest_codes(&self, x: &Latents) -> Vec<u32> {
        self.oracle.nearest_codes(x)
    }

    fn look_up(&self, codes: &[u32], batch: usize) -> Latents {
        self.oracle.look_up(codes, batch)
    }
}

#[test]
fn pins_and_bans_are_worked_out_once_a_run() {
    let codebook = vec![[0.0, 1.0], [1.0, 0.0], [-1.0, 0.5]].into_flattened();
    let asked = Cell::new(0);
    let predictor =
        Counting { oracle: Oracle::new(codebook, 2, &[1.0 / 3.0; 3], 4).unwrap(), asked };
    let settings = SampleSettings {
        labels: vec![0],
        steps: 5,
        solver: Solver::Midpoint,
        banned_codes: vec![1],
        ..SampleSettings::default()
    };
    let run = Sampler::new(&predictor, settings, None).unwrap();
    assert!(run.last().unwrap().likeliest.iter().all(|code| *code != 1));
    assert_eq!(predictor.asked.get(), 1);
}

/// A run file's text, with names from `root` on.
pub fn config(root: &Path, text: &str) -> RunConfig {
    let absolute = |name: &str| format!("{:?}", root.join(name));
    let text = text
        .replace("\"data\"", &absolute("data"))
        .replace("\"tok/tokenizer.safetensors\"", &absolute("tok/tokenizer.safetensors"))
        .replace("checkpoint_every = 2", "checkpoint_every = 1000")
        .replace("checkpoint_every = 3", "checkpoint_every = 1000")
        .replace("revive_every = 3", "revive_every = 1000");
    let path = root.join("run.toml");
    fs::write(&path, text).unwrap();
    let mut config = RunConfig::read(&path).unwrap();
    config.out = root.join(&config.out);
    config
}

/// Waits and submissions from one step to the next.
fn of_training(selected: &Selected, config: &RunConfig) -> Vec<(u64, u64)> {
    let (mut counts, mut before) = (Vec::new(), None);
    let mut watch = |progress: &Progress| {
        if let Progress::Step { .. } = progress {
            let now = (waits(), submissions(selected));
            if let Some((waited, submitted)) = before.replace(now) {
                counts.push((now.0 - waited, now.1 - submitted - 1));
            }
        }
    };
    let never = AtomicBool::new(false);
    train::run(config, false, &selected.device, &never, &mut watch).unwrap();
    counts
}

#[test]
fn a_step_of_training_waits_once() {
    let folder = tempfile::tempdir().unwrap();
    write_pictures(folder.path());
    let selected = gpu();
    let mut runs = vec![("tokenizer".to_owned(), tokenizer_run("tok", 5))];
    for objective in Objective::ALL {
        let text = flow_run(&objective.to_string(), 5)
            .replace("name = \"toy\"", &format!("name = \"toy\"\nobjective = \"{objective}\""));
        runs.push((objective.to_string(), text));
    }
    for (name, text) in runs {
        let counts = of_training(&selected, &config(folder.path(), &text));
        println!("training, {name}: waits and submissions a step {counts:?}");
        assert_eq!(counts.len(), 4);
        assert!(counts.iter().all(|(waited, _)| *waited == 1), "{name}: {counts:?}");
        assert!(counts.iter().all(|(_, submitted)| *submitted <= 200), "{name}: {counts:?}");
    }
}
