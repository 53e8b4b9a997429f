//! Toy runs, and what becomes of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use image::{Rgb, RgbImage};

use super::*;
use crate::io::png;
use crate::studio::testing::fake::PATIENCE;

/// A little folder of two classes of 8x8 pictures.
pub fn write_pictures(root: &Path) {
    for (class, colour) in [("blue", [40, 60, 220]), ("red", [220, 50, 40])] {
        let folder = root.join("toy-pictures").join(class);
        fs::create_dir_all(&folder).unwrap();
        for i in 0..6 {
            let picture =
                RgbImage::from_fn(
                    8,
                    8,
                    |x, _| {
                        if x < 2 + i % 4 { Rgb(colour) } else { Rgb([240; 3]) }
                    },
                );
            fs::write(folder.join(format!("{i}.png")), png::encode(&picture, "{}").unwrap())
                .unwrap();
        }
    }
}

/// The run file of a toy tokenizer.
pub fn tokenizer_run(out: &str, steps: usize) -> String {
    format!(
        r#"
        out = "{out}"
        data = "toy-pictures"
        image_size = 8
        batch = 4
        steps = {steps}
        checkpoint_every = 4
        sample_every = 3
        [optimiser]
        learning_rate = 1e-3
        [task]
        kind = "tokenizer"
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

/// The run file of a toy flow on the tokenizer in `tok`.
pub fn flow_run(out: &str, steps: usize) -> String {
    format!(
        r#"
        out = "{out}"
        data = "toy-pictures"
        image_size = 8
        batch = 4
        steps = {steps}
        checkpoint_every = 3
        sample_every = 3
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

/// A state that trains on the CPU, and a run file in a folder with pictures.
pub fn prepared(root: &Path, text: &str) -> (Training, PathBuf) {
    write_pictures(root);
    let file = root.join("run.toml");
    fs::write(&file, text).unwrap();
    (Training { device: DeviceChoice::Cpu, ..Training::default() }, file)
}

struct Bench {
    ctx: Context,
    notices: Notices,
    training: Training,
}

impl Bench {
    fn new(training: Training, file: &Path) -> Self {
        let mut bench = Self { ctx: Context::default(), notices: Notices::default(), training };
        bench.training.follow(&bench.ctx, &mut bench.notices);
        bench.training.read(file.to_owned());
        bench.until(|training| training.plan.is_some());
        bench
    }

    fn until(&mut self, done: impl Fn(&Training) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(&self.training) {
            assert!(Instant::now() < deadline, "it never came: {:?}", self.training.outcome);
            std::thread::sleep(Duration::from_millis(2));
            self.training.follow(&self.ctx, &mut self.notices);
        }
    }

    fn bad(&self) -> &str {
        match &self.training.outcome {
            Some(Outcome::Bad(text)) => text,
            other => panic!("{other:?}"),
        }
    }
}

fn made(training: &Training) -> usize {
    training.chosen_run().map_or(0, |run| run.steps)
}

#[test]
fn a_run_is_started_stopped_and_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let (training, file) = prepared(folder.path(), &tokenizer_run("tok", 100_000));
    let mut bench = Bench::new(training, &file);
    let ctx = bench.ctx.clone();
    bench.training.start(&ctx, false);
    bench.until(|training| made(training) >= 6);
    assert!(bench.training.job.as_ref().unwrap().device.as_ref().unwrap().contains("cpu"));
    bench.training.job.as_ref().unwrap().stop();
    bench.until(|training| training.job.is_none());
    assert!(
        matches!(&bench.training.outcome, Some(Outcome::Good(text)) if text.contains("Resume"))
    );
    // The checkpoint is of the last step, whatever the interval says.
    bench.until(|training| training.ready().is_some_and(|plan| plan.held));
    let run = |bench: &Bench| bench.training.chosen_run().unwrap();
    bench.until(|training| training.chosen_run().unwrap().checkpoint);
    let before = run(&bench).steps;
    assert!(!run(&bench).samples.is_empty() && run(&bench).tokenizer);
    assert!(run(&bench).model.is_none());

    fs::write(&file, tokenizer_run("tok", before + 5)).unwrap();
    bench.training.read(file);
    bench.until(|training| training.plan.is_some());
    bench.training.start(&ctx, true);
    bench.until(|training| training.job.is_none());
    assert!(
        matches!(&bench.training.outcome, Some(Outcome::Good(text)) if text.contains("Finished"))
    );
    bench.until(|training| made(training) == before + 5);
    let text = fs::read_to_string(folder.path().join("tok/metrics.jsonl")).unwrap();
    let steps: Vec<usize> = text
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["step"].as_u64().unwrap()
        })
        .map(|step| step as usize)
        .collect();
    assert_eq!(steps, (0..before + 5).collect::<Vec<_>>());
}

#[test]
fn a_busy_folder_and_one_that_is_taken_are_told_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let (training, file) = prepared(folder.path(), &tokenizer_run("tok", 2));
    let out = folder.path().join("tok");
    fs::create_dir(&out).unwrap();
    let lock = fs::File::create(out.join("lock")).unwrap();
    lock.try_lock().unwrap();
    let mut bench = Bench::new(training, &file);
    let ctx = bench.ctx.clone();
    bench.training.start(&ctx, false);
    bench.until(|training| training.job.is_none());
    assert!(bench.bad().contains("another process is training there"), "{}", bench.bad());
    drop(lock);
    bench.training.start(&ctx, false);
    bench.until(|training| training.job.is_none());
    bench.training.start(&ctx, false);
    bench.until(|training| training.job.is_none());
    assert!(bench.bad().contains("a run is already there"), "{}", bench.bad());
    assert!(bench.notices.banner.is_some());
}

#[test]
fn a_loss_that_is_no_number_ends_the_run_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let text = tokenizer_run("tok", 500)
        .replace("learning_rate = 1e-3", "learning_rate = 10.0\nclip = 1e9\nweight_decay = 10.0");
    let (training, file) = prepared(folder.path(), &text);
    let mut bench = Bench::new(training, &file);
    let ctx = bench.ctx.clone();
    bench.training.start(&ctx, false);
    bench.until(|training| training.job.is_none());
    assert!(bench.bad().contains("is not finite at step"), "{}", bench.bad());
}

#[test]
fn of_too_many_runs_the_oldest_goes() {
    let mut training = Training::default();
    for name in ["a", "b", "c", "d", "e", "c"] {
        training.watch(PathBuf::from(name));
    }
    assert_eq!(training.folders, ["b", "c", "d", "e"].map(PathBuf::from));
    assert_eq!(training.chosen, 1);
    training.forget(3);
    training.choose_run(2);
    training.forget(0);
    assert_eq!((training.folders.len(), training.chosen), (2, 1));
}

#[test]
fn a_stop_before_the_steps_of_a_later_stage_says_how_to_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let tables = |run: String| run.replace("[task", "[stage.task").replace("[opt", "[stage.opt");
    let [first, second] = [tokenizer_run("tok", 2), flow_run("flow", 3)].map(tables);
    // Many codes of large pictures, which take a while.
    let second = second.replace(
        "[stage.opt",
        "duplicates = \"keep\"\n[stage.augment]\ncrop = 0.5\nvariants = 64\n[stage.opt",
    );
    let text = format!("[[stage]]\n{first}\n[[stage]]\n{second}")
        .replace("image_size = 8", "image_size = 64")
        .replace("tok/tokenizer.safetensors", "tok/tokenizer/tokenizer.safetensors");
    let (training, file) = prepared(folder.path(), &text);
    let mut bench = Bench::new(training, &file);
    let ctx = bench.ctx.clone();
    bench.training.start(&ctx, false);
    bench.until(|training| training.job.as_ref().is_none_or(|job| job.stage == 1));
    bench.training.job.as_ref().unwrap().stop();
    bench.until(|training| training.job.is_none());
    let Some(Outcome::Good(text)) = &bench.training.outcome else {
        panic!("{:?}", bench.training.outcome)
    };
    assert!(text.contains("Resume goes on from there"), "{text}");
    assert!(!folder.path().join("flow/checkpoint.safetensors").exists());
    bench.until(|training| training.ready().is_some_and(|plan| plan.held));
}

#[test]
fn a_run_that_is_stopped_before_its_first_step_trains_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (training, file) = prepared(folder.path(), &tokenizer_run("tok", 1));
    let mut bench = Bench::new(training, &file);
    let ctx = bench.ctx.clone();
    bench.training.start(&ctx, false);
    bench.until(|training| training.job.is_none());
    fs::write(&file, flow_run("flow", 5)).unwrap();
    bench.training.read(file);
    bench.until(|training| training.plan.is_some());
    bench.training.start(&ctx, false);
    bench.training.job.as_ref().unwrap().stop();
    bench.until(|training| training.job.is_none());
    let Some(Outcome::Good(text)) = &bench.training.outcome else {
        panic!("{:?}", bench.training.outcome)
    };
    assert!(text.contains("before the first step"), "{text}");
    assert!(!folder.path().join("flow/checkpoint.safetensors").exists());
}
