//! The pane, driven by the names that a screen reader reads.

use std::fs;
use std::path::Path;

use egui::{Role, Theme, Vec2, vec2};
use egui_kittest::kittest::Queryable as _;

use crate::studio::engine::{Command, ModelSource};
use crate::studio::pane::Pane;
use crate::studio::testing::stage::{Stage, click, shoot, stage, wait_until};
use crate::studio::training::Outcome;
use crate::studio::training::tests::{flow_run, prepared, tokenizer_run};
use crate::studio::window::studio::Studio;

const SIZE: Vec2 = vec2(1100.0, 900.0);

/// A pane with a toy run file beside its pictures.
fn ready(root: &Path, text: &str) -> (Stage, std::path::PathBuf) {
    let (training, file) = prepared(root, text);
    let studio = Studio { training, ..Studio::default() };
    let mut stage = stage(Pane::Training, studio, SIZE, None);
    stage.run_steps(2);
    open(&mut stage, &file);
    (stage, file)
}

/// Types the path of a run file.
fn open(stage: &mut Stage, file: &Path) {
    stage.get_by_role_and_label(Role::TextInput, "Run file").focus();
    stage.run_steps(2);
    stage.state_mut().training.file.clear();
    stage.get_by_role_and_label(Role::TextInput, "Run file").type_text(&file.display().to_string());
    stage.run_steps(2);
    stage.key_press(egui::Key::Enter);
    wait_until(stage, |studio| studio.training.plan.is_some());
}

fn steps(studio: &Studio) -> usize {
    studio.training.chosen_run().map_or(0, |run| run.steps)
}

#[test]
fn a_run_is_started_watched_stopped_and_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let (mut stage, file) = ready(folder.path(), &tokenizer_run("tok", 100_000));
    assert!(stage.query_by_label("a tokenizer of 16 codes of 4 numbers").is_some());
    click(&mut stage, "Start training");
    wait_until(&mut stage, |studio| steps(studio) >= 8);
    assert!(stage.query_by_label_contains("images/s").is_some());
    assert!(stage.query_by_label_contains("Resume goes on from the last checkpoint").is_some());
    // Curves with their newest values, and the newest sheet.
    assert!(stage.query_by_label_contains("loss: tok ").is_some());
    assert!(stage.query_by_label_contains("gradient norm: tok ").is_some());
    wait_until(&mut stage, |studio| !studio.training.chosen_run().unwrap().samples.is_empty());
    stage.run_steps(20);
    click(&mut stage, "Stop training");
    wait_until(&mut stage, |studio| studio.training.job.is_none());
    assert!(stage.query_by_label_contains("Stopped and saved").is_some());
    wait_until(&mut stage, |studio| studio.training.ready().is_some_and(|plan| plan.held));
    let made = steps(stage.state());

    fs::write(&file, tokenizer_run("tok", made + 4)).unwrap();
    open(&mut stage, &file);
    click(&mut stage, "Resume training");
    wait_until(
        &mut stage,
        |studio| matches!(&studio.training.outcome, Some(Outcome::Good(text)) if text.contains("Finished")),
    );
    wait_until(&mut stage, |studio| steps(studio) == made + 4);
    stage.check_accessibility();
}

#[test]
fn the_newest_model_is_opened_in_the_canvas() {
    let folder = tempfile::tempdir().unwrap();
    let (mut stage, file) = ready(folder.path(), &tokenizer_run("tok", 2));
    click(&mut stage, "Start training");
    wait_until(&mut stage, |studio| {
        studio.training.job.is_none() && studio.training.outcome.is_some()
    });
    wait_until(&mut stage, |studio| studio.training.chosen_run().is_some_and(|run| run.tokenizer));
    click(&mut stage, "Open newest model in the canvas");
    assert!(stage.state_mut().take_commands().is_empty(), "a tokenizer is no model");

    fs::write(&file, flow_run("flow", 3)).unwrap();
    open(&mut stage, &file);
    click(&mut stage, "Start training");
    wait_until(&mut stage, |studio| {
        studio.training.job.is_none() && studio.training.outcome.is_some()
    });
    let Some(Outcome::Good(_)) = &stage.state().training.outcome else {
        panic!("{:?}", stage.state().training.outcome)
    };
    wait_until(&mut stage, |studio| {
        studio.training.chosen_run().is_some_and(|run| run.model.is_some())
    });
    click(&mut stage, "Open newest model in the canvas");
    let commands = stage.state_mut().take_commands();
    let [Command::Load(ModelSource::File(path))] = commands.as_slice() else {
        panic!("{commands:?}")
    };
    assert_eq!(path, &folder.path().join("flow/model.safetensors"));
    // Both runs are shown, each with its curve.
    assert_eq!(stage.query_all_by_label_contains("loss: tok ").count(), 1);
    assert!(stage.query_all_by_label_contains(", flow ").count() >= 1);
    click(&mut stage, "Hide tok");
    assert_eq!(stage.state().training.folders.len(), 1);
}

#[test]
fn a_run_of_the_command_line_is_watched_growing() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("elsewhere");
    fs::create_dir(&run).unwrap();
    fs::write(run.join("metrics.jsonl"), "{\"step\":0,\"loss\":4.0}\n{\"step\":1,\"lo").unwrap();
    let mut stage = stage(Pane::Training, Studio::default(), SIZE, None);
    stage.run_steps(2);
    assert!(stage.query_by_label("No run is shown").is_some());
    stage.get_by_role_and_label(Role::TextInput, "Folder of a run").focus();
    stage.run_steps(2);
    stage
        .get_by_role_and_label(Role::TextInput, "Folder of a run")
        .type_text(&run.display().to_string());
    stage.run_steps(2);
    click(&mut stage, "Show the folder");
    wait_until(&mut stage, |studio| steps(studio) == 1);
    let whole = "{\"step\":0,\"loss\":4.0}\n{\"step\":1,\"loss\":2.5}\n";
    fs::write(run.join("metrics.jsonl"), whole).unwrap();
    wait_until(&mut stage, |studio| steps(studio) == 2);
    assert!(stage.query_by_label("loss: elsewhere 2.5").is_some());
}

#[test]
fn a_bad_run_file_is_told_where_it_was_typed() {
    let folder = tempfile::tempdir().unwrap();
    let (mut stage, file) = ready(folder.path(), "out = \"x\"\nstepz = 3\n");
    assert!(stage.query_by_label_contains("run.toml, line").is_some());
    click(&mut stage, "Start training");
    assert!(stage.state().training.job.is_none());
    // Without its data the file names no folder to start from, so its paths are given whole.
    let out = folder.path().join("tok").display().to_string();
    fs::write(&file, tokenizer_run(&out, 3).replace("\"toy-pictures\"", "\"nowhere\"")).unwrap();
    open(&mut stage, &file);
    assert!(stage.query_by_label_contains("nowhere is missing").is_some());
    click(&mut stage, "Start training");
    wait_until(&mut stage, |studio| matches!(studio.training.outcome, Some(Outcome::Bad(_))));
    assert!(stage.query_by_label_contains("The training ended: ").is_some());
}

/// Pictures of the pane for a look, not a test; see `screenshots` of the window.
#[test]
#[ignore = "writes pictures to look at"]
fn training_screenshots() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/recipe");
    let runs = ["flow", "flow-warm", "tokenizer"].map(|name| folder.path().join(name));
    for (run, log) in runs.iter().zip(["flow", "flow", "tokenizer"]) {
        fs::create_dir(run).unwrap();
        let text = fs::read_to_string(recipe.join(format!("{log}.jsonl"))).unwrap();
        let text = match run.ends_with("flow-warm") {
            true => text.lines().take(80).map(|line| line.replace(".", ".1") + "\n").collect(),
            false => text,
        };
        fs::write(run.join("metrics.jsonl"), text).unwrap();
    }
    let sheet = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let picture = fs::read_dir(sheet)
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|end| end == "png"));
    for step in [1500, 4500] {
        fs::copy(picture.as_ref().unwrap(), runs[0].join(format!("sample-{step:07}.png"))).unwrap();
    }
    for (theme, name) in [(Theme::Dark, "dark"), (Theme::Light, "light")] {
        let root = tempfile::tempdir().unwrap();
        let (training, file) = prepared(root.path(), &tokenizer_run("tok", 100_000));
        let studio = Studio { training, ..Studio::default() };
        let mut stage = stage(Pane::Training, studio, SIZE, Some(theme));
        stage.run_steps(2);
        shoot(&mut stage, &format!("training-{name}-empty"));
        for run in [&runs[2], &runs[1], &runs[0]] {
            stage.state_mut().training.watch(run.clone());
        }
        stage.state_mut().training.read(recipe.join("flow.toml"));
        wait_until(&mut stage, |studio| steps(studio) > 100 && studio.training.plan.is_some());
        std::thread::sleep(std::time::Duration::from_millis(500));
        stage.run_steps(5);
        shoot(&mut stage, &format!("training-{name}-runs"));
        stage.state_mut().training.curves.log = true;
        stage.state_mut().training.read(file);
        wait_until(&mut stage, |studio| studio.training.plan.is_some());
        click(&mut stage, "Start training");
        wait_until(&mut stage, |studio| steps(studio) >= 200);
        std::thread::sleep(std::time::Duration::from_millis(500));
        stage.run_steps(5);
        shoot(&mut stage, &format!("training-{name}-running"));
        stage.set_size(vec2(520.0, 900.0));
        stage.run_steps(4);
        shoot(&mut stage, &format!("training-{name}-narrow"));
        click(&mut stage, "Stop training");
        wait_until(&mut stage, |studio| studio.training.job.is_none());
        stage.state_mut().training.read("missing.toml".into());
        wait_until(&mut stage, |studio| studio.training.plan.is_some());
        shoot(&mut stage, &format!("training-{name}-trouble"));
    }
}
