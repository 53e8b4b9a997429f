//! Models that go on learning: flow and tokenizer together, the flow alone, or the tokenizer's decoder alone.

use std::fs;
use std::path::Path;
#[cfg(target_os = "linux")]
use std::{process::Stdio, thread, time::Duration};

use purrscope::io::tensors::TensorFile;
use tempfile::TempDir;

use crate::training::{flow_run, losses, purrscope, tokenizer_run, train, write_pictures};

const CPU: [&str; 2] = ["--device", "cpu"];

/// A folder of pictures, with a tokenizer in `tok` and a flow on its codes in `flow`.
fn trained() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_pictures(folder.path());
    train(folder.path(), "tok.toml", &tokenizer_run("tok", 12), &CPU);
    train(folder.path(), "flow.toml", &flow_run("flow", 6), &CPU);
    folder
}

/// Names and numbers of the parameters of a part.
fn tensors(file: &Path, part: &str) -> Vec<(String, Vec<f32>)> {
    let file = TensorFile::open(file).unwrap();
    let names = file.entries().into_iter().map(|(name, ..)| name);
    let names = names.filter(|name| name.starts_with(part));
    names.map(|name| (name.clone(), file.floats(&name).unwrap().1)).collect()
}

/// How far the numbers of a part lie apart, at most.
fn moved(file: &Path, other: &Path, part: &str) -> f32 {
    let pairs = tensors(file, part).into_iter().zip(tensors(other, part));
    let off = pairs.flat_map(|((name, a), (same, b))| {
        assert_eq!(name, same);
        a.into_iter().zip(b).map(|(a, b)| (a - b).abs()).collect::<Vec<_>>()
    });
    off.fold(0.0, f32::max)
}

/// A run that goes on with the model of `flow_run("flow", ..)` and its tokenizer.
fn joint_run(out: &str, steps: usize, more: &str) -> String {
    let flow = flow_run(out, steps);
    let [top, task] = ["[optimiser]", "[task]"].map(|table| flow.find(table).unwrap());
    let samples = &flow[flow.find("[task.samples]").unwrap()..];
    let optimiser =
        flow[top..task].replace("[optimiser]", "[optimiser]\nweight_decay = 0.0\nema = 0.5");
    format!(
        "{}{optimiser}[task]\nkind = \"joint\"\nname = \"both\"\nmodel = \"flow\"\n{more}\n{samples}",
        &flow[..top]
    )
}

#[test]
fn a_flow_and_its_tokenizer_train_together() {
    let folder = trained();
    let at = folder.path();
    let model = |run: &str| at.join(run).join("model.safetensors");
    let moved = |run: &str, part: &str| moved(&model(run), &model("flow"), part);
    // Without a loss of its own, nothing but the flow's gradient can move a tokenizer.
    for (name, share, stays) in [("deaf", "0.0", true), ("hears", "0.5", false)] {
        let more = format!("tokenizer_weight = 0.0\nflow_gradient = {share}");
        train(at, "joint.toml", &joint_run(name, 6, &more), &CPU);
        assert!(moved(name, "backbone.") > 1e-4, "{name}");
        let [all, encoder, table] = ["tokenizer.", "tokenizer.encoder.", "tokenizer.quantize."]
            .map(|part| moved(name, part));
        if stays {
            assert!(all < 1e-6, "{all}");
        } else {
            assert!(encoder > 1e-4 && table > 1e-4, "{encoder} {table}");
            assert!(moved(name, "tokenizer.decoder.") < 1e-6);
        }
    }
    let run = |out: &str, steps| {
        joint_run(out, steps, "flow_gradient = 0.1")
            .replace("sample_every = 1000", "sample_every = 4")
    };
    train(at, "a.toml", &run("whole", 8), &CPU);
    train(at, "b.toml", &run("both", 5), &CPU);
    train(at, "b.toml", &run("both", 8), &["--resume", "--device", "cpu"]);
    assert_eq!(losses(at, "both"), losses(at, "whole"));
    assert_eq!(tensors(&model("both"), ""), tensors(&model("whole"), ""));
    let parts = run("parts", 8).replace("batch = 4", "batch = 4\nat_once = 3");
    train(at, "c.toml", &parts, &CPU);
    for (whole, parts) in losses(at, "whole").iter().zip(&losses(at, "parts")) {
        assert!((whole - parts).abs() < 1e-3 * whole, "{whole} and {parts}");
    }
    let said = fs::read_to_string(at.join("both/metrics.jsonl")).unwrap();
    for (name, times) in [("holdout_psnr", 3), ("holdout_accuracy", 3), ("commitment", 8)] {
        assert_eq!(said.matches(&format!("\"{name}\"")).count(), times, "{name}");
    }
    let sample = ["sample", "both", "--count", "1", "--steps", "1", "--out", "samples"];
    assert!(purrscope(at, &[&sample[..], &CPU].concat()).output().unwrap().status.success());
    let other = joint_run("other", 2, "").replace("model = \"flow\"", "model = \"tok\"");
    fs::write(at.join("other.toml"), other).unwrap();
    let output = purrscope(at, &["--train", "other.toml"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("tok: it is a folder"), "{said}");
}

/// A flow that goes on from the model of another.
fn gone_on_run(out: &str, from: &str, steps: usize) -> String {
    let flow = flow_run(out, steps).replace("holdout = \"data\"\n", "");
    let (begin, rest) = flow.split_once("tokenizer = \"tok/tokenizer.safetensors\"").unwrap();
    let (_, samples) = rest.split_once("[task.samples]").unwrap();
    format!("{begin}from = \"{from}\"\n[task.samples]{samples}")
}

#[test]
fn a_flow_goes_on_from_a_trained_model_on_other_pictures() {
    const TABLE: &str = "backbone.y_embedder.embedding_table.weight";
    let folder = trained();
    let at = folder.path();
    let model = |run: &str| at.join(run).join("model.safetensors");
    let card =
        |run: &str| purrscope::model::read_card(&TensorFile::open(&model(run)).unwrap()).unwrap();
    // A step that moves nothing shows what a run begins with.
    let still = |run: String| run.replace("learning_rate = 1e-3", "learning_rate = 0.0");
    train(at, "still.toml", &still(gone_on_run("still", "flow", 1)), &CPU);
    assert!(moved(&model("still"), &model("flow"), "") < 1e-6);
    let (before, after) = (card("flow"), card("still"));
    assert_eq!(after.latent_scale.to_bits(), before.latent_scale.to_bits());
    assert_eq!((before.provenance.flow_steps, after.provenance.flow_steps), (6, 7));
    assert_eq!(after.provenance.tokenizer_steps, before.provenance.tokenizer_steps);
    assert_eq!(after.provenance.data, before.provenance.data, "the same pictures are said once");

    // A model's tokenizer is one for other flows as well.
    let own = flow_run("own", 6).replace("tok/tokenizer.safetensors", "flow");
    train(at, "own.toml", &own, &CPU);
    assert!(tensors(&model("own"), "") == tensors(&model("flow"), ""));

    // Of classes, those stay that are among the pictures, wherever they stand in the table.
    fs::rename(at.join("data/blue"), at.join("data/yellow")).unwrap();
    let said = train(at, "other.toml", &still(gone_on_run("other", "flow", 1)), &CPU);
    assert!(
        said.contains("begins with toy, after 6 steps, which does not know 1 of 2 classes"),
        "{said}"
    );
    assert_eq!(card("other").class_names, ["red", "yellow"]);
    let rows = |run: &str| -> Vec<Vec<f32>> {
        let (_, table) = TensorFile::open(&model(run)).unwrap().floats(TABLE).unwrap();
        table.chunks(16).map(<[f32]>::to_vec).collect()
    };
    let (theirs, ours) = (rows("flow"), rows("other"));
    let apart = |ours: &[f32], theirs: &[f32]| {
        ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    };
    assert!(apart(&ours[0], &theirs[1]) < 1e-6 && apart(&ours[2], &theirs[2]) < 1e-6);
    assert!(theirs.iter().all(|row| apart(&ours[1], row) > 1e-3), "yellow is new");

    // It learns, and is resumed bit for bit, with that model alone.
    train(at, "whole.toml", &gone_on_run("whole", "flow/model.safetensors", 8), &CPU);
    train(at, "parts.toml", &gone_on_run("parts", "flow", 5), &CPU);
    let again = gone_on_run("parts", "flow", 8);
    train(at, "parts.toml", &again, &["--resume", "--device", "cpu"]);
    assert_eq!(losses(at, "parts"), losses(at, "whole"));
    assert!(tensors(&model("parts"), "") == tensors(&model("whole"), ""));
    assert!(moved(&model("whole"), &model("flow"), "backbone.blocks.") > 1e-4);
    let refused = |text: String, expected: &str| {
        fs::write(at.join("refused.toml"), text).unwrap();
        let output = purrscope(at, &["--train", "refused.toml", "--resume"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(expected), "{expected}: {said}");
    };
    refused(gone_on_run("parts", "other", 8), "task.from is another model");
    refused(gone_on_run("new", "tok", 8), "tok: it is a folder");
    refused(
        gone_on_run("new", "flow", 8).replace("from =", "objective = \"cfm\"\nfrom ="),
        "its objective is 'purrception', that of the run file 'cfm'",
    );
    refused(
        gone_on_run("new", "flow", 8).replace("image_size = 8", "image_size = 9"),
        "image_size 9 is not a multiple of the tokenizer's down-sampling 2",
    );
}

#[test]
fn a_decoder_that_learns_alone_goes_into_the_model_of_the_same_codes() {
    let folder = trained();
    let at = folder.path();
    let gone_on = |out: &str, more: &str| {
        let from = format!("from = \"tok/tokenizer.safetensors\"\n{more}\n[task.model]");
        tokenizer_run(out, 8).replace("[task.model]", &from)
    };
    train(at, "alone.toml", &gone_on("alone", "decoder_only = true"), &CPU);
    let [tok, alone] = ["tok", "alone"].map(|run| at.join(run).join("tokenizer.safetensors"));
    let off = |part: &str| moved(&alone, &tok, part);
    for part in ["tokenizer.encoder.", "tokenizer.quant_conv.", "tokenizer.quantize."] {
        assert_eq!(off(part), 0.0, "{part}");
    }
    assert!(off("tokenizer.decoder.") > 1e-4);

    let swap = |tokenizer: &str, out: &str| {
        let words = ["swap-decoder", "flow", "--tokenizer", tokenizer, "--out", out];
        let output = purrscope(at, &words).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert!(swap("alone/tokenizer.safetensors", "new.safetensors").0);
    let (model, new) = (at.join("flow/model.safetensors"), at.join("new.safetensors"));
    assert_eq!(tensors(&new, "tokenizer.decoder."), tensors(&alone, "tokenizer.decoder."));
    for part in ["backbone.", "tokenizer.encoder.", "tokenizer.quantize."] {
        assert_eq!(tensors(&new, part), tensors(&model, part), "{part}");
    }
    let sample = |model: &Path, out: &str| {
        let model = model.to_str().unwrap();
        let words = ["sample", model, "--count", "1", "--steps", "2", "--out", out];
        assert!(purrscope(at, &[&words[..], &CPU].concat()).output().unwrap().status.success());
        let made = fs::read_dir(at.join(out)).unwrap().next().unwrap().unwrap().path();
        image::open(made).unwrap().to_rgb8()
    };
    assert_ne!(sample(&new, "new"), sample(&model, "old"));

    // One that was free to move its codes is no decoder for this flow; nor is one of another shape, or no file at all.
    train(at, "free.toml", &gone_on("free", ""), &CPU);
    let (done, said) = swap("free/tokenizer.safetensors", "free.safetensors");
    assert!(!done && said.contains("pictures have other codes"), "{said}");
    train(at, "wide.toml", &tokenizer_run("wide", 2).replace("codes = 16", "codes = 8"), &CPU);
    let (done, said) = swap("wide/tokenizer.safetensors", "wide.safetensors");
    assert!(!done && said.contains("of another shape"), "{said}");
    assert!(!at.join("free.safetensors").exists() && !at.join("wide.safetensors").exists());
    let other = gone_on("other", "").replace("codes = 16", "codes = 8");
    fs::write(at.join("other.toml"), other).unwrap();
    let output = purrscope(at, &["--train", "other.toml"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("task.from: ") && said.contains("of another shape"), "{said}");
}

/// The most memory that a run had, in kilobytes.
#[cfg(target_os = "linux")]
fn peak(at: &Path, text: &str) -> u64 {
    fs::write(at.join("run.toml"), text).unwrap();
    let mut run = purrscope(at, &["--train", "run.toml", "--device", "cpu"]);
    let mut run = run.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let status = format!("/proc/{}/status", run.id());
    let mut most = 0;
    while run.try_wait().unwrap().is_none() {
        let said = fs::read_to_string(&status).unwrap_or_default();
        let kilobytes =
            said.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split(' ').rev().nth(1));
        most = kilobytes.map_or(most, |kilobytes| kilobytes.trim().parse().unwrap());
        thread::sleep(Duration::from_millis(5));
    }
    assert!(run.wait().unwrap().success());
    most
}

#[test]
#[cfg(target_os = "linux")]
fn runs_of_many_steps_take_no_more_memory_than_short_ones() {
    let folder = trained();
    let at = folder.path();
    let batches = |run: String| {
        let run = run.replace("batch = 4", "batch = 64\nduplicates = \"keep\"");
        run.replace("checkpoint_every = 2", "checkpoint_every = 1000")
            .replace("checkpoint_every = 3", "checkpoint_every = 1000")
    };
    let tokenizer = |out: &str, steps, more: &str| {
        let more = format!("{more}\n[task.model]");
        batches(tokenizer_run(out, steps)).replace("[task.model]", &more)
    };
    let alone = "from = \"tok/tokenizer.safetensors\"\ndecoder_only = true";
    let deaf = "codebook = 0.0\ncommitment = 0.0\ngradient = \"stopped\"";
    let seen = "[task.discriminator]\nstart = 2\nchannels = 4\nlayers = 1";
    let losses = "[task.losses]\ncodebook = 0.0\ncommitment = 0.0\ngradient = \"stopped\"";
    let most = |what: &str, run: &dyn Fn(&str, usize) -> String| {
        let [short, long] =
            [20, 220].map(|steps| peak(at, &run(&format!("{what} {steps}"), steps)));
        assert!(long < short + 30_000, "{what}: {short} kB in 20 steps, {long} kB in 220");
    };
    most("alone", &|out, steps| tokenizer(out, steps, alone));
    most("deaf", &|out, steps| tokenizer(out, steps, deaf));
    most("seen", &|out, steps| tokenizer(out, steps, seen));
    most("both", &|out, steps| batches(joint_run(out, steps, losses)));
}
