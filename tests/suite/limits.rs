//! Devices with little to give: WebGPU's default limits, and buffers too small for a batch.

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use burn::tensor::Device;
use purrscope::flow::{Posterior, SampleSettings, Sampler, Spot, StepRecord};
use purrscope::model::card::{DitConfig, ModelCard, Objective, TokenizerConfig};
use purrscope::model::layers::Initialiser;
use purrscope::model::{Dit, Model, Tokenizer, params};
use purrscope::readback::waits;
use purrscope::rng::Stream;
use purrscope::train;
use serde_json::Value;

use crate::common::{check, cpu, gpu, undisturbed, with_limits};
use crate::training::{flow_run, tokenizer_run, write_pictures};
use crate::waits::config;

fn settings(count: usize) -> SampleSettings {
    let spot = |row, column, code| Spot { image: 1, row, column, code };
    SampleSettings {
        labels: (0..count).map(|image| image % 5).collect(),
        steps: 2,
        guidance: 1.7,
        pins: vec![spot(3, 4, 77)],
        bans: vec![spot(5, 6, 1)],
        ..SampleSettings::default()
    }
}

fn steps(model: &Model, settings: &SampleSettings) -> Vec<StepRecord> {
    Sampler::new(model, settings.clone(), None).unwrap().collect()
}

fn last_posterior(steps: &[StepRecord]) -> &Posterior {
    steps.last().and_then(|step| step.posterior.as_ref()).unwrap()
}

/// A network of random weights over 16,384 codes at 32x32 tokens: the logits of a picture take 67 MB.
fn of_many_codes(device: &Device) -> Model {
    let vq = TokenizerConfig {
        image_channels: 3,
        channels: 4,
        multipliers: vec![1],
        residual_blocks: 1,
        attention: false,
        attention_levels: None,
        groups: 2,
        latent_channels: 4,
        code_size: 8,
        codes: 16_384,
        l2_normalised: false,
    };
    let backbone = DitConfig {
        input_size: 32,
        patch_size: 2,
        in_channels: vq.code_size,
        hidden_size: 32,
        depth: 1,
        num_heads: 2,
        mlp_ratio: 4.0,
        num_classes: 5,
        out_channels: vq.codes,
        embeds_codes: false,
    };
    let card = ModelCard {
        format: ModelCard::FORMAT,
        name: "many codes".to_owned(),
        objective: Objective::Purrception,
        backbone: backbone.clone(),
        tokenizer: vq.clone(),
        class_names: (0..5).map(|class| class.to_string()).collect(),
        latent_scale: 1.0,
        provenance: Default::default(),
    };
    let blank = Dit::new(&backbone, &mut Initialiser::blank(device));
    let mut number = 0;
    let net = params::load(blank, str::to_owned, device, |_, shape| {
        number += 1;
        let values = Stream::new(7, number).normals(shape.iter().product());
        Ok::<_, ()>(values.into_iter().map(|value| 0.2 * value).collect::<Vec<f32>>())
    });
    let tokenizer = Tokenizer::new(&vq, &mut Initialiser::new(5, device));
    Model::assemble(card, net.unwrap(), tokenizer, device)
}

#[test]
fn webgpus_default_limits_run_the_whole_sampler() {
    let narrow = with_limits(|_| wgpu::Limits::default());
    for (name, open, count) in [
        ("embedded", (|device| Model::embedded(device).unwrap()) as fn(&Device) -> Model, 2),
        ("many codes", of_many_codes, 3),
    ] {
        let [model, twin] = [&narrow, &cpu()].map(open);
        let settings = SampleSettings { steps: 1, ..settings(count) };
        let (found, expected) = (steps(&model, &settings), steps(&twin, &settings));
        let (x, y) = (&found[0].x_next.values, &expected[0].x_next.values);
        check(&format!("default limits, {name}: state"), "gpu", x, y, 1e-4);
        let [a, b] = [&found, &expected].map(|steps| last_posterior(steps));
        check(&format!("default limits, {name}: entropy"), "gpu", &a.entropy, &b.entropy, 1e-4);
        assert_eq!(model.images_at_once(count), count, "nothing had to be made smaller");
        let pictures = model.decode(&found[0].prediction);
        assert_eq!(pictures.len(), count);
    }
}

/// Losses and gradient norms of a run.
fn trained(root: &Path, name: &str, device: &Device, text: &str) -> Vec<f32> {
    let mut config = config(root, text);
    config.out = root.join(name);
    let never = AtomicBool::new(false);
    train::run(&config, false, device, &never, &mut |_| {}).unwrap();
    let lines = fs::read_to_string(config.out.join("metrics.jsonl")).unwrap();
    let figures = lines.lines().flat_map(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        ["loss", "gradient_norm"].map(|name| line[name].as_f64().unwrap() as f32)
    });
    figures.collect()
}

#[test]
fn webgpus_default_limits_train() {
    let folder = tempfile::tempdir().unwrap();
    write_pictures(folder.path());
    let narrow = with_limits(|_| wgpu::Limits::default());
    let tokenizer = trained(folder.path(), "tok", &narrow, &tokenizer_run("tok", 3));
    let flow = trained(folder.path(), "flow", &narrow, &flow_run("flow", 3));
    assert!(tokenizer.iter().chain(&flow).all(|figure| figure.is_finite() && *figure > 0.0));
    let twin = trained(folder.path(), "twin", &cpu(), &flow_run("twin", 3));
    println!("{flow:?} {twin:?}");
    check("default limits: flow's losses and gradient norms", "gpu", &flow, &twin, 1e-3);
}

/// Buffers of 4 MiB: too small for what goes into the second layer of the MLP for 24 pictures, guided.
#[test]
fn a_batch_that_does_not_fit_is_sampled_in_parts_to_the_same_bits() {
    let most = 4 << 20;
    let narrow =
        with_limits(|limits| wgpu::Limits { max_storage_buffer_binding_size: most, ..limits });
    let _turn = undisturbed();
    let count = 24;
    let [model, twin] = [&narrow, &gpu()].map(|device| Model::embedded(device).unwrap());
    let settings = settings(count);
    let (found, expected) = (steps(&model, &settings), steps(&twin, &settings));
    assert_eq!((model.images_at_once(count), twin.images_at_once(count)), (6, count));
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found.x_next.values, expected.x_next.values);
        assert_eq!(found.posterior, expected.posterior);
    }
    let codes = last_posterior(&found).best_codes();
    assert_eq!(model.decode_codes(&codes, count), twin.decode_codes(&codes, count));
}

#[test]
fn a_batch_that_does_not_fit_is_trained_on_in_parts() {
    let folder = tempfile::tempdir().unwrap();
    write_pictures(folder.path());
    let root = folder.path();
    let many = |text: String| text.replace("batch = 4", "batch = 24");
    let tokenizer =
        |out: &str| many(tokenizer_run(out, 3)).replace("channels = 4", "channels = 16");
    let flow = |out: &str| {
        many(flow_run(out, 3))
            .replace("patch_size = 2", "patch_size = 1")
            .replace("hidden_size = 16", "hidden_size = 64")
    };
    let counted = |name: &str, device: &Device, text: String| {
        let before = waits();
        let figures = trained(root, name, device, &text);
        (figures, waits() - before)
    };
    let wide = gpu();
    // What 24 pictures take in the first layer of the one, and in the MLP of the other, is more.
    for (task, text, most) in
        [("tok", tokenizer("tok"), 80 << 10), ("flow", flow("flow"), 256 << 10)]
    {
        let narrow =
            with_limits(|limits| wgpu::Limits { max_storage_buffer_binding_size: most, ..limits });
        let (expected, least) = counted(task, &wide, text.clone());
        let (found, waited) = counted(&format!("{task}-narrow"), &narrow, text);
        println!("{task}: {waited} waits, {least} with room for all");
        assert!(waited > least, "{task}: something did not fit at first");
        check(&format!("in parts: {task}'s losses and norms"), "gpu", &found, &expected, 1e-3);
    }
}
