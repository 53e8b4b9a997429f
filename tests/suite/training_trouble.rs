//! Runs that cannot go on, or not as they were left: divergence, other data, full disks, signals.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use purrscope::io::tensors::TensorFile;
use purrscope::train::{Ending, Progress, RunConfig, TrainError, run_stages};

use crate::common::{cpu, fail, purrscope};
use crate::training::{flow_run, losses, tokenizer_run, train, write_pictures};

const CPU: [&str; 2] = ["--device", "cpu"];

/// Runs a run file; exit code and what was said.
fn attempt(at: &Path, text: &str, more: &[&str]) -> (i32, String) {
    fs::write(at.join("run.toml"), text).unwrap();
    let output = purrscope(at, &[&["--train", "run.toml"], more, &CPU[..]].concat());
    (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// All numbers of a file are finite.
fn is_finite(path: &Path) -> bool {
    let file = TensorFile::open(path).unwrap();
    file.entries().iter().all(|(name, ..)| file.floats(name).is_ok())
}

#[test]
fn a_run_that_diverges_keeps_what_it_can_go_on_from() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_pictures(at);
    let wild = |out: &str, steps| {
        tokenizer_run(out, steps).replace("checkpoint_every = 2", "checkpoint_every = 1").replace(
            "learning_rate = 1e-3",
            "learning_rate = 10.0\nclip = 1e9\nweight_decay = 10.0",
        )
    };
    let (code, said) = attempt(at, &wild("wild", 400), &[]);
    assert_eq!(code, 1, "{said}");
    let error = said.lines().find(|line| line.starts_with("error: ")).unwrap();
    assert!(
        error.contains("not finite at step") && error.contains("the checkpoint of step"),
        "{error}"
    );
    for name in ["checkpoint.safetensors", "tokenizer.safetensors"] {
        assert!(is_finite(&at.join("wild").join(name)), "{name}");
    }
    let reached = losses(at, "wild").len();
    let calm = wild("wild", reached + 5).replace("learning_rate = 10.0", "learning_rate = 1e-6");
    let (code, said) = attempt(at, &calm, &["--resume"]);
    assert_eq!(code, 0, "{said}");
    // Wherever such a run ends, it ends with a file that can be used, or says that it does not.
    for steps in 1..=reached.min(8) {
        let out = format!("last{steps}");
        let (code, said) = attempt(at, &wild(&out, steps), &[]);
        let product = at.join(&out).join("tokenizer.safetensors");
        assert!(code == 0 && is_finite(&product) || said.contains("not finite"), "{steps}: {said}");
        assert!(!product.exists() || is_finite(&product), "after {steps} steps");
    }
}

#[test]
fn a_run_goes_on_only_with_what_it_began_with() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_pictures(at);
    train(at, "tok.toml", &tokenizer_run("tok", 2), &CPU);
    train(at, "other.toml", &tokenizer_run("other", 1), &CPU);
    let run = flow_run("flow", 2).replace("holdout = \"data\"", "");
    train(at, "flow.toml", &run, &CPU);
    let before = fs::read(at.join("flow/latents.safetensors")).unwrap();
    let longer =
        run.replace("steps = 2\n        checkpoint_every", "steps = 3\n        checkpoint_every");
    let refused = |text: &str, expected: &str| {
        let (code, said) = attempt(at, text, &["--resume"]);
        assert!(code == 1 && said.contains("belongs to another run: "), "{said}");
        assert!(said.contains(expected), "{said}, expected {expected}");
    };
    refused(
        &longer.replace("image_size = 8", "image_size = 16"),
        "image_size is 8 in the checkpoint, 16 in the run file",
    );
    refused(&longer.replace("\"tok/", "\"other/"), "task.tokenizer is another tokenizer");
    refused(
        &longer.replace("hidden_size = 16", "hidden_size = 32"),
        "hidden_size is 16 in the checkpoint, 32 in the run file",
    );
    refused(
        &longer.replace("name = \"toy\"", "name = \"toy\"\nobjective = \"cfm\""),
        "kind is \"flow\" in the checkpoint, \"flow cfm\" in the run file",
    );
    fs::rename(at.join("data/red"), at.join("data/green")).unwrap();
    refused(&longer, "has 2 classes, the pictures have 2, without red and with green besides");
    assert!(
        before == fs::read(at.join("flow/latents.safetensors")).unwrap(),
        "codes were made anew"
    );
    fs::rename(at.join("data/green"), at.join("data/red")).unwrap();
    train(at, "flow.toml", &longer, &[&["--resume"], &CPU[..]].concat());
}

#[test]
fn averages_end_where_they_are_left_out_and_begin_nowhere_but_at_the_first_step() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_pictures(at);
    let run = |out: &str, steps, lengths: &str| {
        let lengths = format!("[optimiser]\nlengths = {lengths}");
        tokenizer_run(out, steps).replace("[optimiser]", &lengths)
    };
    let resumed = [&["--resume"], &CPU[..]].concat();
    train(at, "whole.toml", &run("whole", 6, "[0.05, 0.1]"), &CPU);
    train(at, "run.toml", &run("run", 4, "[0.05, 0.1]"), &CPU);
    train(at, "plain.toml", &tokenizer_run("plain", 4), &CPU);

    let checkpoint = |out: &str| fs::read(at.join(out).join("checkpoint.safetensors")).unwrap();
    let refused = |text: &str, out: &str, more: &[&str], expected: &str| {
        let before = checkpoint(out);
        let (code, said) = attempt(at, text, &[&["--resume"], more].concat());
        let errors: Vec<&str> = said.lines().filter(|line| line.starts_with("error: ")).collect();
        assert!(code == 1 && errors.len() == 1, "{said}");
        assert!(errors[0].contains("belongs to another run: optimiser.lengths is "), "{said}");
        assert!(errors[0].contains(expected), "{said}, expected {expected}");
        // Before anything was looked at or computed.
        assert!(!said.contains("pictures in") && checkpoint(out) == before, "{said}");
    };
    refused(
        &run("run", 6, "[0.2, 0.1, 0.15]"),
        "run",
        &[],
        "[0.05,0.1] in the checkpoint, [0.2,0.1,0.15] in the run file, and an average over all steps cannot begin at \
         step 4: leave out 0.2, 0.15",
    );
    refused(
        &tokenizer_run("plain", 6),
        "plain",
        &["--set", "optimiser.lengths=[0.1]"],
        "[] in the checkpoint, [0.1] in the run file, and an average over all steps cannot begin at step 4",
    );

    // One that is left out ends, and the other goes on as if nothing had happened.
    train(at, "run.toml", &run("run", 6, "[0.1]"), &resumed);
    assert_eq!(losses(at, "run"), losses(at, "whole"));
    let snapshot =
        |out: &str| TensorFile::open(&at.join(out).join("averages/00000006.safetensors")).unwrap();
    let (ours, whole) = (snapshot("run"), snapshot("whole"));
    let names: Vec<String> = ours.entries().into_iter().map(|(name, ..)| name).collect();
    assert!(!names.is_empty() && names.iter().all(|name| name.starts_with("0.1/")), "{names:?}");
    assert_eq!(2 * names.len(), whole.entries().len());
    for name in &names {
        assert_eq!(ours.floats(name).unwrap(), whole.floats(name).unwrap(), "{name}");
    }
    refused(
        &run("run", 8, "[0.1, 0.05]"),
        "run",
        &[],
        "[0.1] in the checkpoint, [0.1,0.05] in the run file, and an average over all steps cannot begin at step 6: \
         leave out 0.05",
    );
    train(at, "run.toml", &tokenizer_run("run", 8), &resumed);
    assert!(!at.join("run/averages/00000008.safetensors").exists());
}

#[test]
fn a_wrong_tokenizer_is_named_with_what_was_expected() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_pictures(at);
    fs::write(at.join("pointer.safetensors"), "version https://git-lfs.github.com/spec/v1\n")
        .unwrap();
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/");
    let file = |name: &str| format!("{golden}{name}");
    for (path, expected) in [
        (file("purrception.pth"), "purrception.pth"),
        (file("tokenizer_vqf8.safetensors"), "tokenizer_vqf8.safetensors"),
        ("pointer.safetensors".to_owned(), "pointer.safetensors"),
        ("nowhere.safetensors".to_owned(), "nowhere.safetensors"),
        ("data".to_owned(), "data"),
    ] {
        let text = flow_run("flow", 1).replace("tok/tokenizer.safetensors", &path);
        let (code, said) = attempt(at, &text, &[]);
        let error = said.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
        assert!(
            code == 1 && error.contains("task.tokenizer: ") && error.contains(expected),
            "{said}"
        );
        assert!(error.contains("expected the tokenizer.safetensors of a run"), "{said}");
    }
}

#[test]
fn a_disk_that_refuses_ends_a_run_only_at_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_pictures(at);
    let run = tokenizer_run("tok", 6).replace("sample_every = 1000", "sample_every = 3");
    // A folder in the place of a file refuses it.
    fs::create_dir_all(at.join("tok/sample-0000003.png")).unwrap();
    fs::create_dir_all(at.join("tok/tokenizer.safetensors/x")).unwrap();
    let (code, said) = attempt(at, &run, &[]);
    assert!(
        code == 1 && said.contains("error: ") && said.contains("tok/tokenizer.safetensors"),
        "{said}"
    );
    assert!(said.contains("step 2 is not saved") && said.contains("step 4 is not saved"), "{said}");
    assert!(said.contains("no samples of step 3: "), "{said}");
    assert_eq!(losses(at, "tok").len(), 6, "every step was made");
    fs::remove_dir_all(at.join("tok/tokenizer.safetensors")).unwrap();
    let (code, said) = attempt(at, &run, &["--resume"]);
    assert_eq!(code, 0, "{said}");
    assert!(is_finite(&at.join("tok/tokenizer.safetensors")));
}

#[test]
fn a_log_shows_progress() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_pictures(at);
    let said = train(at, "tok.toml", &tokenizer_run("tok", 5), &CPU);
    assert!(said.contains("step 1 of 5  loss ") && said.contains("step 5 of 5  loss "), "{said}");
}

#[test]
fn sizes_beyond_the_machine_are_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_pictures(at);
    train(at, "tok.toml", &tokenizer_run("tok", 1), &CPU);
    for (text, expected) in [
        (
            tokenizer_run("a", 1).replace("batch = 4", "batch = 1000000000000"),
            "batch must be at most 65536",
        ),
        (
            tokenizer_run("a", 1).replace("image_size = 8", "image_size = 1000000"),
            "image_size must be at most",
        ),
        (
            tokenizer_run("a", 1).replace("channels = 4\n", "channels = 32768\n"),
            "the run needs at least",
        ),
        (
            tokenizer_run("a", 1)
                .replace("codes = 16", "codes = 16777216")
                .replace("code_size = 4", "code_size = 65536"),
            "the run needs at least",
        ),
        (
            flow_run("a", 1).replace("hidden_size = 16", "hidden_size = 1048576"),
            "hidden_size is 1048576, expected",
        ),
        (
            flow_run("a", 1)
                .replace("hidden_size = 16", "hidden_size = 65536")
                .replace("depth = 1", "depth = 1000"),
            "the run needs at least",
        ),
    ] {
        let (code, said) = attempt(at, &text, &[]);
        assert!(code == 1 && said.contains(expected), "{said}, expected {expected}");
    }
    fs::write(at.join("run.toml"), flow_run("a", 1).replace("steps = 2\n", "steps = 0\n")).unwrap();
    fail(
        at,
        &["--train", "run.toml", "--device", "cpu"],
        1,
        "task.samples: steps must be a whole number from 1 to 10000",
    );
}

/// A tokenizer and a flow on it, whose pictures are turned into many codes, a few pictures at once.
const STAGES: &str = r#"
    out = "run"
    data = "data"
    duplicates = "keep"
    image_size = 8
    batch = 4
    checkpoint_every = 2
    sample_every = 1000

    [[stage]]
    steps = 2
    [stage.task]
    kind = "tokenizer"
    [stage.task.model]
    channels = 4
    multipliers = [1, 2]
    residual_blocks = 1
    groups = 2
    latent_channels = 8
    code_size = 4
    codes = 16
    l2_normalised = true

    [[stage]]
    steps = 3
    [stage.augment]
    flip = true
    crop = 0.5
    variants = 64
    [stage.task]
    kind = "flow"
    name = "toy"
    [stage.task.backbone]
    patch_size = 2
    hidden_size = 16
    depth = 1
    num_heads = 2
    [stage.task.samples]
    steps = 2
"#;

/// Trains stages until something is heard of a stage at which they are to stop.
fn train_until(
    stages: &[RunConfig],
    resume: bool,
    when: impl Fn(usize, &Progress) -> bool,
) -> Result<(Ending, PathBuf), TrainError> {
    let stop = AtomicBool::new(false);
    let mut watch = |stage: usize, progress: &Progress| {
        if when(stage, progress) {
            stop.store(true, Ordering::Relaxed);
        }
    };
    run_stages(stages, resume, &cpu(), &stop, &mut watch)
}

#[test]
fn a_stop_between_two_stages_or_before_the_steps_of_a_later_one_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_pictures(at);
    let file = at.join("run.toml");
    let whole = |text: String, name: &str| {
        text.replace(&format!("{name:?}"), &format!("{:?}", at.join(name)))
    };
    fs::write(&file, whole(whole(STAGES.to_owned(), "data"), "run")).unwrap();
    let stages = RunConfig::read_stages(&file).unwrap();
    let encoding =
        |stage, progress: &Progress| stage == 1 && matches!(progress, Progress::Encoding { .. });
    let [checkpoint, codes, model] = ["checkpoint", "latents", "model"]
        .map(|name| at.join("run").join(name).with_extension("safetensors"));
    let tokenizer = at.join("run/tokenizer/tokenizer.safetensors");

    // After the last step of the first.
    let last = |stage, progress: &Progress| {
        stage == 0 && matches!(progress, Progress::Step { step: 2, .. })
    };
    let ended = train_until(&stages, false, last).unwrap();
    assert_eq!(ended, (Ending::Stopped, tokenizer.clone()));
    assert!(!checkpoint.exists() && !codes.exists(), "the second has not begun");
    // While the pictures of the second are encoded.
    let ended = train_until(&stages, true, encoding).unwrap();
    assert_eq!(ended, (Ending::Stopped, tokenizer));
    assert!(!checkpoint.exists() && !codes.exists());
    // A run of its own has nothing to go on from.
    let alone = train_until(&stages[1..], false, |_, _| true);
    assert!(matches!(alone, Err(TrainError::Interrupted)), "{alone:?}");
    // During its steps; and, after that, while its pictures are encoded once more.
    let stepped =
        |stage, progress: &Progress| stage == 1 && matches!(progress, Progress::Step { .. });
    let ended = train_until(&stages, true, stepped).unwrap();
    assert_eq!(ended, (Ending::Stopped, model.clone()));
    fs::remove_file(&codes).unwrap();
    for stages in [&stages[..], &stages[1..]] {
        let first = 2 - stages.len();
        let ended = train_until(stages, true, |stage, progress| encoding(stage + first, progress));
        assert_eq!(ended.unwrap(), (Ending::Stopped, model.clone()));
        assert!(checkpoint.exists() && !codes.exists());
    }
    assert_eq!(train_until(&stages, true, |_, _| false).unwrap(), (Ending::Finished, model));
    assert_eq!((losses(at, "run/tokenizer").len(), losses(at, "run").len()), (2, 3));
}

/// Runs a run file, and interrupts it once it encodes pictures: exit code, and what it says on both streams.
#[cfg(unix)]
fn interrupted_while_encoding(at: &Path, file: &str) -> (i32, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_purrscope"))
        .args(["--train", file, "--device", "cpu"])
        .current_dir(at)
        .env("XDG_RUNTIME_DIR", at)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    while !said.contains("encoding pictures") {
        assert!(lines.read_line(&mut said).unwrap() > 0, "it never encoded: {said}");
    }
    send(&child, "-INT");
    while lines.read_line(&mut said).unwrap() > 0 {}
    let output = child.wait_with_output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap(), said)
}

#[cfg(unix)]
#[test]
fn an_interrupt_while_a_later_stage_encodes_leaves_what_can_be_continued() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_pictures(at);
    // Large pictures: they take seconds.
    let stages = STAGES.replace("image_size = 8", "image_size = 64");
    fs::write(at.join("stages.toml"), &stages).unwrap();
    let (code, printed, said) = interrupted_while_encoding(at, "stages.toml");
    assert_eq!(code, 0, "{said}");
    let expected = "stopped and saved: continue with `purrscope --train stages.toml --resume`";
    assert!(printed.contains(expected) && !said.contains("error: "), "{printed}{said}");
    assert!(at.join("run/tokenizer/checkpoint.safetensors").exists());
    assert!(!at.join("run/checkpoint.safetensors").exists());
    // A run without a stage before it.
    let parts: Vec<&str> = stages.split("[[stage]]").collect();
    let flow = parts[0].replace("\"run\"", "\"alone\"") + &parts[2].replace("stage.", "");
    let tokenizer = "name = \"toy\"\ntokenizer = \"run/tokenizer/tokenizer.safetensors\"";
    fs::write(at.join("flow.toml"), flow.replace("name = \"toy\"", tokenizer)).unwrap();
    let (code, _, said) = interrupted_while_encoding(at, "flow.toml");
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("error: stopped while pictures were being read"), "{said}");
    // Fewer codes, so that it ends soon.
    let stages = stages.replace("variants = 64", "variants = 1");
    train(at, "stages.toml", &stages, &[&["--resume"], &CPU[..]].concat());
    assert!(is_finite(&at.join("run/model.safetensors")));
    assert_eq!((losses(at, "run/tokenizer").len(), losses(at, "run").len()), (2, 3));
}

/// Starts a run under a shell line that ends in the program's own.
#[cfg(unix)]
fn start(at: &Path, out: &str, before: &str) -> Child {
    fs::write(at.join(format!("{out}.toml")), tokenizer_run(out, 10_000_000)).unwrap();
    let line = format!("{before} \"$0\" --train {out}.toml --device cpu");
    let child = Command::new("sh")
        .args(["-c", &line, env!("CARGO_BIN_EXE_purrscope")])
        .current_dir(at)
        .env("XDG_RUNTIME_DIR", at)
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    next_checkpoint(at, out);
    child
}

/// Waits until a run has written another checkpoint.
#[cfg(unix)]
fn next_checkpoint(at: &Path, out: &str) {
    let written = || {
        let data = fs::metadata(at.join(out).join("checkpoint.safetensors")).ok()?;
        data.modified().ok()
    };
    let before = written();
    let begun = std::time::Instant::now();
    while written() == before {
        assert!(begun.elapsed().as_secs() < 300, "no checkpoint came");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[cfg(unix)]
fn send(child: &Child, signal: &str) {
    let id = child.id().to_string();
    assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
}

#[cfg(unix)]
#[test]
fn a_hang_up_saves_and_ends_a_run() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_pictures(at);
    // The tests themselves may have been started under nohup.
    let heard = if cfg!(target_os = "linux") { "exec env --default-signal=HUP" } else { "exec" };
    let mut child = start(at, "plain", heard);
    send(&child, "-HUP");
    assert!(child.wait().unwrap().success());
    let steps = losses(at, "plain").len();
    train(at, "plain.toml", &tokenizer_run("plain", steps), &[&["--resume"], &CPU[..]].concat());
}

#[cfg(target_os = "linux")]
#[test]
fn a_hang_up_that_was_ignored_at_the_start_stays_ignored() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_pictures(at);
    let mut child = start(at, "nohup", "trap '' HUP; exec");
    send(&child, "-HUP");
    next_checkpoint(at, "nohup");
    next_checkpoint(at, "nohup");
    assert!(child.try_wait().unwrap().is_none(), "it goes on");
    send(&child, "-TERM");
    assert!(child.wait().unwrap().success());
}
