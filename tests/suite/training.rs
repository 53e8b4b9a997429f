//! Training as a user runs it: stopped, killed, resumed, on both devices.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use image::{Rgb, RgbImage};
use purrscope::io::png;
use purrscope::rng::Stream;
use serde_json::Value;

use crate::evaluate::write_weights;

/// A little folder of two classes of 8x8 pictures, one file of which is broken.
pub fn write_pictures(root: &Path) {
    for (class, colour) in [("blue", [40, 60, 220]), ("red", [220, 50, 40])] {
        let folder = root.join("data").join(class);
        fs::create_dir_all(&folder).unwrap();
        for i in 0..12 {
            let mut stream = Stream::new(i, 3);
            let edge = 2 + stream.below(4) as u32;
            let picture =
                RgbImage::from_fn(8, 8, |x, _| if x < edge { Rgb(colour) } else { Rgb([240; 3]) });
            fs::write(folder.join(format!("{i:02}.png")), png::encode(&picture, "{}").unwrap())
                .unwrap();
        }
        fs::write(folder.join("broken.png"), b"not a picture").unwrap();
    }
}

pub fn tokenizer_run(out: &str, steps: usize) -> String {
    format!(
        r#"
        out = "{out}"
        data = "data"
        image_size = 8
        batch = 4
        steps = {steps}
        checkpoint_every = 2
        sample_every = 1000
        [optimiser]
        learning_rate = 1e-3
        [task]
        kind = "tokenizer"
        revive_every = 3
        [task.model]
        channels = 4
        multipliers = [1, 2]
        residual_blocks = 1
        groups = 2
        latent_channels = 8
        code_size = 4
        codes = 16
        l2_normalised = true
        "#
    )
}

pub fn flow_run(out: &str, steps: usize) -> String {
    format!(
        r#"
        out = "{out}"
        data = "data"
        holdout = "data"
        image_size = 8
        batch = 4
        steps = {steps}
        checkpoint_every = 3
        sample_every = 1000
        [optimiser]
        learning_rate = 1e-3
        [task]
        kind = "flow"
        name = "toy"
        tokenizer = "tok/tokenizer.safetensors"
        [task.backbone]
        patch_size = 2
        hidden_size = 16
        depth = 1
        num_heads = 2
        [task.samples]
        steps = 2
        "#
    )
}

pub fn purrscope(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_purrscope"));
    // Vulkan's loader complains on standard error where there is no runtime folder.
    command.current_dir(folder).env("XDG_RUNTIME_DIR", folder).args(arguments);
    command
}

pub fn train(folder: &Path, file: &str, text: &str, more: &[&str]) -> String {
    fs::write(folder.join(file), text).unwrap();
    let output = purrscope(folder, &[&["--train", file], more].concat()).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{stderr}");
    stderr
}

pub fn losses(folder: &Path, run: &str) -> Vec<f64> {
    let text = fs::read_to_string(folder.join(run).join("metrics.jsonl")).unwrap();
    text.lines()
        .enumerate()
        .map(|(i, line)| {
            let line: Value = serde_json::from_str(line).unwrap();
            assert_eq!(line["step"].as_u64(), Some(i as u64), "a step is missing or doubled");
            line["loss"].as_f64().unwrap()
        })
        .collect()
}

#[test]
fn a_resumed_run_equals_an_uninterrupted_one() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_pictures(at);
    let said = train(at, "a.toml", &tokenizer_run("tok", 9), &["--device", "cpu"]);
    assert!(said.contains("broken.png"), "the skipped file is named: {said}");
    train(at, "b.toml", &tokenizer_run("tok-b", 4), &["--device", "cpu"]);
    train(at, "b.toml", &tokenizer_run("tok-b", 9), &["--resume", "--device", "cpu"]);
    assert_eq!(losses(at, "tok"), losses(at, "tok-b"));

    train(at, "c.toml", &flow_run("flow", 8), &["--device", "cpu"]);
    train(at, "d.toml", &flow_run("flow-d", 5), &["--device", "cpu"]);
    train(at, "d.toml", &flow_run("flow-d", 8), &["--resume", "--device", "cpu"]);
    assert_eq!(losses(at, "flow"), losses(at, "flow-d"));
    let same = |name: &str| fs::read(at.join(name).join("model.safetensors")).unwrap();
    assert!(same("flow") == same("flow-d"), "the models differ");
}

#[test]
fn gradients_of_parts_add_up_to_those_of_the_batch() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_pictures(at);
    let parts = |text: String| text.replace("batch = 4", "batch = 4\nat_once = 3");
    train(at, "tok.toml", &tokenizer_run("tok", 6), &["--device", "cpu"]);
    train(at, "tok-parts.toml", &parts(tokenizer_run("tok-parts", 6)), &["--device", "cpu"]);
    train(at, "flow.toml", &flow_run("flow", 6), &["--device", "cpu"]);
    train(at, "flow-parts.toml", &parts(flow_run("flow-parts", 6)), &["--device", "cpu"]);
    for run in ["tok", "flow"] {
        let (whole, parts) = (losses(at, run), losses(at, &format!("{run}-parts")));
        for (whole, parts) in whole.iter().zip(&parts) {
            assert!((whole - parts).abs() < 1e-4 * whole, "{run}: {whole} and {parts}");
        }
    }
}

#[test]
fn every_way_to_train_resumes_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_pictures(at);
    let both = |name: &str, run: &dyn Fn(&str, usize) -> String| {
        let whole = format!("{name}-whole");
        train(at, "a.toml", &run(&whole, 8), &["--device", "cpu"]);
        train(at, "b.toml", &run(name, 5), &["--device", "cpu"]);
        train(at, "b.toml", &run(name, 8), &["--resume", "--device", "cpu"]);
        assert_eq!(losses(at, name), losses(at, &whole), "{name}");
        assert!(losses(at, name).iter().all(|loss| loss.is_finite()));
    };
    both("rotated", &|out, steps| {
        tokenizer_run(out, steps).replace(
            "kind = \"tokenizer\"",
            "kind = \"tokenizer\"\ngradient = \"rotation\"\naveraged = true",
        )
    });
    write_weights(&at.join("lite.safetensors"), None);
    both("judged", &|out, steps| {
        let critics = "[task.perceptual]\nnetwork = \"lite.safetensors\"\n\
                       [task.discriminator]\nstart = 2\nchannels = 4\nlayers = 1\n[task.model]";
        tokenizer_run(out, steps).replace("[task.model]", critics)
    });
    let said = fs::read_to_string(at.join("judged/metrics.jsonl")).unwrap();
    let has = |name: &str| said.matches(&format!("\"{name}\"")).count();
    assert_eq!([has("perceptual"), has("discriminator"), has("generator")], [8, 6, 6]);
    train(at, "tok.toml", &tokenizer_run("tok", 2), &["--device", "cpu"]);
    both("muon", &|out, steps| {
        flow_run(out, steps).replace("[optimiser]", "[optimiser]\nkind = \"muon\"")
    });
    for (name, more) in [
        ("entropic", "times = \"entropic\"\ntime_weights = \"uniform\""),
        ("normal", "times = \"logit-normal\""),
        ("normal-cfm", "times = \"logit-normal\"\ntime_weights = \"uniform\"\nobjective = \"cfm\""),
    ] {
        both(name, &|out, steps| {
            let text = flow_run(out, steps)
                .replace("kind = \"flow\"", &format!("kind = \"flow\"\n{more}"));
            text.replace("[optimiser]", "[optimiser]\ndecay = \"linear\"\nlengths = [0.05, 0.1]")
        });
    }
}

#[test]
fn an_average_of_another_length_is_made_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_pictures(at);
    train(at, "tok.toml", &tokenizer_run("tok", 2), &["--device", "cpu"]);
    let run = flow_run("flow", 12).replace("[optimiser]", "[optimiser]\nlengths = [0.05, 0.1]");
    train(at, "flow.toml", &run, &["--device", "cpu"]);
    let average = ["average", "flow", "--length", "0.1", "--out", "average.safetensors"];
    let said = crate::common::succeed(at, &average);
    assert!(
        said.contains("step 12 averaged over a length of 0.1, made of 8 snapshots (0.0 % off"),
        "{said}"
    );
    // What was kept itself is given back, to the precision of snapshots.
    let open = |path: &str| purrscope::io::tensors::TensorFile::open(&at.join(path)).unwrap();
    let (made, kept) = (open("average.safetensors"), open("flow/averages/00000012.safetensors"));
    let name = "backbone.final_layer.linear.weight";
    let (made, kept) =
        (made.floats(name).unwrap().1, kept.floats(&format!("0.1/{name}")).unwrap().1);
    let largest = kept.iter().fold(0.0f32, |most, value| most.max(value.abs()));
    let off = made.iter().zip(&kept).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(largest > 0.0 && off < 2e-2 * largest, "{off} of {largest}");
    let sample =
        ["sample", "average.safetensors", "--class", "red", "--steps", "2", "--out", "out"];
    crate::common::succeed(at, &[&sample[..], &["--device", "cpu"]].concat());
    for (arguments, expected) in [
        (["average", "tok", "--length", "0.1", "--out", "a.safetensors"], "no model of a flow"),
        (["average", "flow", "--length", "2", "--out", "a.safetensors"], "a length is from"),
    ] {
        crate::common::fail(at, &arguments, 1, expected);
    }
}

#[cfg(unix)]
#[test]
fn a_run_killed_at_twenty_moments_ends_as_one_that_was_left_alone() {
    const KILLS: usize = 20;
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_pictures(at);
    // Each start makes two steps at least, or it would never end.
    let steps = 4 * KILLS;
    train(at, "whole.toml", &tokenizer_run("whole", steps), &["--device", "cpu"]);
    fs::write(at.join("run.toml"), tokenizer_run("run", steps)).unwrap();
    let checkpoint = at.join("run/checkpoint.safetensors");
    let mut moments = Stream::new(5, 0);
    let mut killed = 0;
    for _ in 0..KILLS {
        let before = fs::metadata(&checkpoint).and_then(|data| data.modified()).ok();
        let arguments: &[&str] = if before.is_some() { &["--resume"] } else { &[] };
        let mut child =
            purrscope(at, &[&["--train", "run.toml", "--device", "cpu"], arguments].concat())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
        // Long enough for a checkpoint, then at a moment that means nothing.
        let begun = Instant::now();
        while fs::metadata(&checkpoint).and_then(|data| data.modified()).ok() == before
            && begun.elapsed() < Duration::from_secs(60)
            && child.try_wait().unwrap().is_none()
        {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_micros(moments.below(12_000) as u64));
        killed += usize::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(killed >= 3, "{killed}");
    train(at, "run.toml", &tokenizer_run("run", steps), &["--resume", "--device", "cpu"]);
    assert_eq!(losses(at, "run"), losses(at, "whole"));
    let product = |run: &str| fs::read(at.join(run).join("tokenizer.safetensors")).unwrap();
    assert!(product("run") == product("whole"), "the weights differ");
    let left: Vec<_> =
        fs::read_dir(at.join("run")).unwrap().map(|e| e.unwrap().file_name()).collect();
    let files = left.iter().filter(|name| name.to_string_lossy().ends_with(".safetensors")).count();
    assert_eq!(files, 4, "two checkpoints, the newest and the best tokenizer: {left:?}");
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with('.')), "{left:?}");
}

#[test]
fn earlier_checkpoints_and_the_best_model_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_pictures(at);
    train(at, "tok.toml", &tokenizer_run("tok", 2), &["--device", "cpu"]);
    let run = |out: &str| {
        let kept = "sample_every = 4\nkeep_checkpoints = 2\nkeep_models_every = 4";
        flow_run(out, 12).replace("sample_every = 1000", kept)
    };
    train(at, "flow.toml", &run("flow"), &["--device", "cpu"]);
    let names = |run: &str| {
        let entries = fs::read_dir(at.join(run)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let kept = |name: &String| name.starts_with("model") || name.starts_with("checkpoint");
        let mut names: Vec<String> = names.filter(kept).collect();
        names.sort();
        names
    };
    let models =
        ["0000004", "0000008", "0000012", "best"].map(|n| format!("model-{n}.safetensors"));
    let checkpoints = ["-0000006", "-0000009", ""].map(|n| format!("checkpoint{n}.safetensors"));
    let expected = [&checkpoints[..], &models[..], &["model.safetensors".to_owned()]].concat();
    assert_eq!(names("flow"), expected);
    let figures = |run: &str| -> Vec<(u64, f64)> {
        let text = fs::read_to_string(at.join(run).join("metrics.jsonl")).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines
            .filter_map(|l| Some((l["step"].as_u64()? + 1, l["holdout_cross_entropy"].as_f64()?)))
            .collect()
    };
    let steps_of = |file: &str| {
        let said = crate::common::succeed(at, &["inspect", &format!("flow/{file}"), "--json"]);
        let said: Value = serde_json::from_str(&said).unwrap();
        said["card"]["provenance"]["flow_steps"].as_u64().unwrap()
    };
    let best = figures("flow").into_iter().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap().0;
    assert_eq!(
        (steps_of("model-best.safetensors"), steps_of("model-0000008.safetensors")),
        (best, 8)
    );

    // What became of it, on a page of its own, as a table, and for TensorBoard.
    let page = fs::read_to_string(at.join("flow/report.html")).unwrap();
    for part in [
        "<h1>Training of toy</h1>",
        "finished, after 12 of 12 steps",
        "holdout cross entropy",
        "data:image/png;base64,",
        "keep_models_every = 4",
        "<polyline",
    ] {
        assert!(page.contains(part), "{part} in {page}");
    }
    assert!(!page.contains("http"), "the page needs the network");
    let table = fs::read_to_string(at.join("flow/metrics.csv")).unwrap();
    assert!(table.lines().count() == 13 && table.starts_with("step,cross_entropy,"), "{table}");
    assert!(
        fs::metadata(at.join("flow/events.out.tfevents.0.purrscope")).unwrap().len() > 12 * 100
    );

    // The newest is damaged: the run goes on from the one before, and comes to the same.
    let newest = at.join("flow/checkpoint.safetensors");
    let bytes = fs::read(&newest).unwrap();
    fs::write(&newest, &bytes[..bytes.len() / 2]).unwrap();
    let longer = ["--resume", "--set", "steps=15", "--device", "cpu"];
    let said = train(at, "flow.toml", &run("flow"), &longer);
    assert!(said.contains("goes on from the checkpoint of step 9"), "{said}");
    train(at, "whole.toml", &run("whole"), &longer[1..]);
    assert_eq!(losses(at, "flow"), losses(at, "whole"));
    let model = |run: &str| fs::read(at.join(run).join("model.safetensors")).unwrap();
    assert!(model("flow") == model("whole"), "the models differ");
    assert!(at.join("flow/checkpoint.damaged").exists());
    // All of them damaged: the newest is named.
    for name in names("flow").iter().filter(|name| name.starts_with("checkpoint")) {
        fs::write(at.join("flow").join(name), b"half").unwrap();
    }
    let again = ["--train", "flow.toml", "--resume", "--device", "cpu"];
    crate::common::fail(at, &again, 1, "flow/checkpoint.safetensors");
}

#[test]
fn a_run_that_ends_worse_than_it_was_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_pictures(at);
    // Held-out pictures that have nothing in common with those that are learned.
    for class in ["blue", "red"] {
        fs::create_dir_all(at.join("noise").join(class)).unwrap();
        for i in 0..8 {
            let mut stream = Stream::new(i, 5);
            let pixels = (0..8 * 8 * 3).map(|_| stream.below(256) as u8).collect();
            let picture = RgbImage::from_raw(8, 8, pixels).unwrap();
            picture.save(at.join("noise").join(class).join(format!("{i}.png"))).unwrap();
        }
    }
    train(at, "tok.toml", &tokenizer_run("tok", 2), &["--device", "cpu"]);
    for (out, holdout, by_heart) in [("well", "data", false), ("by-heart", "noise", true)] {
        let run = flow_run(out, 80)
            .replace("sample_every = 1000", "sample_every = 5")
            .replace("learning_rate = 1e-3", "learning_rate = 1e-2")
            .replace("holdout = \"data\"", &format!("holdout = \"{holdout}\""));
        let said = train(at, "flow.toml", &run, &["--device", "cpu"]);
        let told = format!("{out}/model-best.safetensors is of then");
        assert_eq!(said.contains(&told), by_heart, "{holdout}: {said}");
    }
}

#[test]
fn samples_are_judged_while_training_as_evaluate_judges_them() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_pictures(at);
    train(at, "tokenizer.toml", &tokenizer_run("tok", 4), &["--device", "cpu"]);
    let run = |every: &str| {
        let top = format!("duplicates = \"keep\"\nseed = 5\n{every}\nholdout =");
        let judged = "[task.evaluation]\npictures = 12\n[task.samples]";
        let text = flow_run("flow", 6).replace("holdout =", &top);
        text.replace("[task.samples]", judged).replace("sample_every = 1000", "sample_every = 2")
    };
    let every = "evaluate_every = 3\nkeep_models_every = 3";
    train(at, "flow.toml", &run(every), &["--device", "cpu"]);
    let text = fs::read_to_string(at.join("flow/metrics.jsonl")).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let has = |name: &str| lines.iter().map(|line| !line[name].is_null()).collect::<Vec<_>>();
    assert_eq!(has("frechet_encoder"), [false, false, true, false, false, true]);
    assert_eq!(has("holdout_log_z"), [false, true, false, true, false, true]);
    let classes = lines[5]["holdout_by_class"].as_object().unwrap();
    assert_eq!(classes.keys().collect::<Vec<_>>(), ["blue", "red"]);
    let accuracy = lines[5]["holdout_accuracy"].as_f64().unwrap();
    assert!((0.0..=1.0).contains(&accuracy), "{accuracy}");

    let settings = ["--steps", "2", "--temperature", "0.9", "--cfg", "1.5", "--seed", "5"];
    let evaluate = ["evaluate", "--every-checkpoint", "flow", "--data", "data", "--count", "12"];
    let files = ["--brief", "--json", "found.json", "--known-features", "real.safetensors"];
    let all = [&evaluate[..], &settings, &files, &["--device", "cpu"]].concat();
    let output = purrscope(at, &all).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found = fs::read_to_string(at.join("found.json")).unwrap();
    let found: Value = serde_json::from_str(&found).unwrap();
    for (at, line) in [2, 5].into_iter().enumerate() {
        let figures = &found["checkpoints"][at]["report"]["figures"];
        assert_eq!(figures.as_array().unwrap().len(), 1, "{figures}");
        for name in ["frechet", "kid", "precision", "recall"] {
            let judged = lines[line][format!("{name}_encoder")].as_f64().unwrap();
            let figure = &figures[0][name];
            let expected = figure.as_f64().or_else(|| figure["value"].as_f64()).unwrap();
            assert!((judged - expected).abs() < 1e-9, "{name}: {judged} is not {expected}");
        }
    }
    let page = fs::read_to_string(at.join("flow/report.html")).unwrap();
    assert!(page.contains("Held-out loss by class") && page.contains("frechet encoder"));
    // Being looked at changes nothing of what is learned.
    let judged = fs::read(at.join("flow/model.safetensors")).unwrap();
    fs::rename(at.join("flow"), at.join("judged")).unwrap();
    train(at, "plain.toml", &run(""), &["--device", "cpu"]);
    assert!(judged == fs::read(at.join("flow/model.safetensors")).unwrap());
}

#[test]
fn entries_are_changed_from_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_pictures(at);
    let fast = ["--set", "optimiser.learning_rate = 5e-3", "--set", "steps=3", "--device", "cpu"];
    train(at, "tok.toml", &tokenizer_run("tok", 9), &[&fast[..], &["--set", "out=new"]].concat());
    assert_eq!(losses(at, "new").len(), 3);
    let text = fs::read_to_string(at.join("new/metrics.jsonl")).unwrap();
    assert!(text.lines().last().unwrap().contains("\"learning_rate\":0.005"), "{text}");
    for (set, expected) in [
        ("optimiser.lr=1", "--set optimiser.lr=1: unknown entry 'lr' in [optimiser]; did you mean"),
        ("steps=many", "--set steps=many: invalid type"),
        ("steps=0", "steps must be at least 1"),
        ("steps.a=1", "--set steps.a=1: 'steps' is no table"),
    ] {
        crate::common::fail(at, &["--train", "tok.toml", "--set", set], 1, expected);
    }
    crate::common::fail(at, &["--train", "tok.toml", "--set", "steps"], 1, "expected ENTRY=VALUE");
    let stages = "data = 'data'\nimage_size = 8\n[[stage]]\nbatch = 4\nsteps = 2\n[stage.task]\nkind = 'tokenizer'\n\
                  [[stage]]\nbatch = 4\nsteps = 2\n[stage.task]\nkind = 'flow'\n";
    fs::write(at.join("stages.toml"), stages).unwrap();
    let change = ["--train", "stages.toml", "--set", "steps=3"];
    crate::common::fail(
        at,
        &change,
        1,
        "--set steps=3: say which stage it is for, as in flow.steps",
    );
}

#[cfg(unix)]
#[test]
fn an_interrupt_saves_and_exits_cleanly() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_pictures(at);
    fs::write(at.join("run.toml"), tokenizer_run("run", 100_000)).unwrap();
    let mut child = purrscope(at, &["--train", "run.toml", "--device", "cpu"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while !at.join("run/checkpoint.safetensors").exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let second =
        purrscope(at, &["--train", "run.toml", "--resume", "--device", "cpu"]).output().unwrap();
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains("another process is training there"), "{said}");
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    assert!(child.wait().unwrap().success());
    let steps = losses(at, "run").len();
    train(at, "run.toml", &tokenizer_run("run", steps), &["--resume", "--device", "cpu"]);
    assert_eq!(losses(at, "run").len(), steps, "the checkpoint holds the last step");
}

#[test]
fn both_tasks_run_on_the_gpu_as_on_the_cpu() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_pictures(at);
    for device in ["cpu", "gpu"] {
        let tokenizer = tokenizer_run(&format!("tok-{device}"), 3);
        train(at, "t.toml", &tokenizer, &["--device", device]);
        fs::create_dir_all(at.join("tok")).unwrap();
        if device == "cpu" {
            let made = at.join("tok-cpu/tokenizer.safetensors");
            fs::copy(made, at.join("tok/tokenizer.safetensors")).unwrap();
        }
        train(at, "f.toml", &flow_run(&format!("flow-{device}"), 3), &["--device", device]);
    }
    for run in ["tok", "flow"] {
        let (cpu, gpu) = (losses(at, &format!("{run}-cpu")), losses(at, &format!("{run}-gpu")));
        for (cpu, gpu) in cpu.iter().zip(&gpu) {
            assert!((cpu - gpu).abs() < 2e-3 * cpu.abs(), "{run}: {cpu} on cpu, {gpu} on gpu");
        }
    }
}

#[test]
fn bad_runs_are_refused_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::create_dir(at.join("data")).unwrap();
    let good = tokenizer_run("tok", 2);
    for (text, expected) in [
        (good.clone(), "no pictures found"),
        (good.replace("data = \"data\"", "data = \"nowhere\""), "nowhere"),
        (good.replace("batch = 4", "batch = 0"), "batch must be at least 1"),
        (good.replace("batch = 4", "bach = 4"), "unknown entry 'bach'; did you mean 'batch'?"),
        (good.replace("groups = 2", "groups = 3"), "groups"),
        (flow_run("flow", 2), "tok/tokenizer.safetensors"),
    ] {
        fs::write(at.join("run.toml"), text).unwrap();
        let output = purrscope(at, &["--train", "run.toml", "--device", "cpu"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        let errors: Vec<_> = said.lines().filter(|line| line.starts_with("error: ")).collect();
        assert_eq!(errors.len(), 1, "{said}");
        assert!(said.contains(expected), "{said} should mention {expected}");
    }
}

/// Every objective learns, and its model samples, on both devices.
#[test]
fn every_objective_trains_and_samples() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_pictures(at);
    train(at, "tok.toml", &tokenizer_run("tok", 2), &["--device", "cpu"]);
    for objective in ["purrception", "cfm", "cfm-endpoint", "dfm"] {
        for device in ["cpu", "gpu"] {
            let out = format!("{objective}-{device}");
            let text = flow_run(&out, 12)
                .replace("name = \"toy\"", &format!("name = \"toy\"\nobjective = \"{objective}\""))
                .replace("learning_rate = 1e-3", "learning_rate = 1e-2");
            train(at, &format!("{out}.toml"), &text, &["--device", device]);
            let losses = losses(at, &out);
            let (first, last) = (losses[..3].iter().sum::<f64>(), losses[9..].iter().sum::<f64>());
            assert!(last < first, "{out}: {first} became {last}");
            let model = format!("{out}/model.safetensors");
            let arguments = ["sample", &model, "--class", "red", "--steps", "3", "--out", &out];
            let more = ["--trajectory", "t.safetensors", "--device", device];
            crate::common::succeed(at, &[arguments.as_slice(), &more].concat());
            let file = purrscope::io::tensors::TensorFile::open(&at.join("t.safetensors")).unwrap();
            let believes = matches!(objective, "purrception" | "dfm");
            assert_eq!(file.contains("entropy"), believes, "{objective}");
            assert_eq!(file.contains("state_codes"), objective == "dfm", "{objective}");
        }
        // The same numbers are drawn on both devices.
        let [cpu, gpu] =
            ["cpu", "gpu"].map(|device| losses(at, &format!("{objective}-{device}"))[0]);
        assert!((cpu - gpu).abs() < 1e-4 * cpu, "{objective}: first losses {cpu} and {gpu}");
    }
}
