//! The pane, driven by the names that a screen reader reads.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use egui::{Key, Rect, Role, Theme, Vec2, vec2};
use egui_kittest::kittest::Queryable as _;

use crate::device::DeviceChoice;
use crate::io::{atomic, png};
use crate::studio::engine::{Command, ModelSource};
use crate::studio::pane::Pane;
use crate::studio::testing::fake::PATIENCE;
use crate::studio::testing::stage::{Stage, click, shoot, stage, wait_until};
use crate::studio::training::tests::{flow_run, prepared, tokenizer_run, write_pictures};
use crate::studio::training::{Outcome, Training};
use crate::studio::window::studio::Studio;

const SIZE: Vec2 = vec2(1100.0, 900.0);

/// A pane with a toy run file beside its pictures.
fn ready(root: &Path, text: &str) -> (Stage, PathBuf) {
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
    stage.key_press(Key::Enter);
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

/// Types into a field of the form.
fn fill(stage: &mut Stage, field: &str, text: &str) {
    stage.get_by_role_and_label(Role::TextInput, field).focus();
    stage.run_steps(2);
    stage.get_by_role_and_label(Role::TextInput, field).type_text(text);
    stage.run_steps(2);
}

#[test]
fn a_run_begins_with_a_folder_of_pictures() {
    let folder = tempfile::tempdir().unwrap();
    write_pictures(folder.path());
    let training = Training { device: DeviceChoice::Cpu, ..Training::default() };
    let studio = Studio { training, ..Studio::default() };
    let mut stage = stage(Pane::Training, studio, SIZE, None);
    stage.run_steps(2);
    click(&mut stage, "New run from pictures");
    fill(&mut stage, "Pictures", &folder.path().join("nowhere").display().to_string());
    click(&mut stage, "Write run file");
    wait_until(&mut stage, |studio| {
        studio.training.form.as_ref().is_some_and(|form| form.trouble.is_some())
    });
    stage.run_steps(2);
    let trouble = stage.state().training.form.as_ref().unwrap().trouble.clone().unwrap();
    assert!(trouble.contains("no such folder"), "{trouble}");
    assert!(stage.query_by_label(&trouble).is_some());
    click(&mut stage, "Cancel");
    assert!(stage.state().training.form.is_none());

    // The run goes beside the pictures, unless something else is said.
    click(&mut stage, "New run from pictures");
    let pictures = folder.path().join("toy-pictures");
    fill(&mut stage, "Pictures", &pictures.display().to_string());
    let run = folder.path().join("toy-pictures-model");
    let form = stage.state().training.form.as_ref().unwrap();
    assert_eq!(form.run, run.display().to_string());
    stage.check_accessibility();
    click(&mut stage, "Write run file");
    wait_until(&mut stage, |studio| studio.training.ready().is_some());
    let Some(Outcome::Good(text)) = &stage.state().training.outcome else {
        panic!("{:?}", stage.state().training.outcome)
    };
    for part in ["12 pictures in 2 classes", "tokenizer: 1500 steps of 32", "About "] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let plan = stage.state().training.ready().unwrap();
    assert_eq!((plan.file.as_path(), plan.stages.len()), (run.join("run.toml").as_path(), 2));
    assert!(plan.warning.is_none(), "{:?}", plan.warning);
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

/// Writes the sheet of a run after `step`, of `size` pixels.
fn write_sheet(run: &Path, step: usize, size: [u32; 2]) {
    let picture = image::RgbImage::from_pixel(size[0], size[1], image::Rgb([90, 140, 60]));
    let path = run.join(format!("sample-{step:07}.png"));
    atomic::write(&path, &png::encode(&picture, "{}").unwrap()).unwrap();
}

/// The folder of a run with sheets of `size` pixels after these steps.
fn run_with_sheets(root: &Path, name: &str, steps: &[usize], size: [u32; 2]) -> PathBuf {
    let run = root.join(name);
    fs::create_dir(&run).unwrap();
    fs::write(run.join("metrics.jsonl"), "{\"step\":0,\"loss\":4.0}\n").unwrap();
    steps.iter().for_each(|step| write_sheet(&run, *step, size));
    run
}

/// The pane with these runs.
fn watching(runs: &[&PathBuf]) -> Stage {
    let mut stage = stage(Pane::Training, Studio::default(), SIZE, None);
    stage.run_steps(2);
    runs.iter().for_each(|run| stage.state_mut().training.watch((*run).clone()));
    stage
}

/// Shows frames until `label` is there so many times.
fn wait_for(stage: &mut Stage, label: &str, count: usize) {
    let deadline = Instant::now() + PATIENCE;
    while stage.query_all_by_label(label).count() != count {
        assert!(Instant::now() < deadline, "{label:?} was never there {count} times");
        std::thread::sleep(Duration::from_millis(2));
        stage.step();
    }
}

fn press(stage: &mut Stage, key: Key) {
    stage.key_press(key);
    stage.run_steps(2);
}

#[test]
fn one_slider_moves_the_sheets_of_all_runs() {
    let folder = tempfile::tempdir().unwrap();
    let a = run_with_sheets(folder.path(), "a", &[10, 30], [40, 16]);
    let b = run_with_sheets(folder.path(), "b", &[20, 30], [24, 24]);
    let mut stage = watching(&[&a, &b]);
    wait_for(&mut stage, "after step 30", 2);
    stage.get_by_role_and_label(Role::Slider, "Step").focus();
    stage.run_steps(2);
    press(&mut stage, Key::ArrowLeft);
    wait_for(&mut stage, "after step 20", 1);
    wait_for(&mut stage, "after step 10", 1);
    press(&mut stage, Key::ArrowLeft);
    wait_for(&mut stage, "no sheet yet", 1);
    assert_eq!(stage.query_all_by_label("after step 10").count(), 1);
    assert!(stage.query_by_label("Its first sheet was made after step 20.").is_some());
    assert!(stage.query_by_label("Sample sheet of a").is_some());
    assert!(stage.query_by_label("Sample sheet of b").is_none());

    // Where it was moved to, it stays as sheets come.
    write_sheet(&a, 40, [40, 16]);
    wait_until(&mut stage, |studio| studio.training.run(&a).unwrap().samples.len() == 3);
    stage.run_steps(4);
    assert_eq!(stage.state().training.sheets_at, Some(10));
    assert_eq!(stage.query_all_by_label("after step 10").count(), 1);
    // At the end it goes along with them.
    (0..3).for_each(|_| press(&mut stage, Key::ArrowRight));
    wait_for(&mut stage, "after step 40", 1);
    wait_for(&mut stage, "after step 30", 1);
    assert_eq!(stage.state().training.sheets_at, None);
    write_sheet(&b, 50, [24, 24]);
    wait_for(&mut stage, "after step 50", 1);
    assert_eq!(stage.query_all_by_label("after step 40").count(), 1);

    click(&mut stage, "Sheets before");
    wait_for(&mut stage, "after step 30", 1);
    assert_eq!(stage.state().training.sheets_at, Some(40));
    click(&mut stage, "Next sheets");
    wait_for(&mut stage, "after step 50", 1);
    assert_eq!(stage.state().training.sheets_at, None);
    stage.check_accessibility();
}

#[test]
fn sheets_of_hidden_runs_are_no_steps_of_the_slider() {
    let folder = tempfile::tempdir().unwrap();
    let a = run_with_sheets(folder.path(), "a", &[10, 20], [40, 16]);
    let b = run_with_sheets(folder.path(), "b", &[35], [24, 24]);
    let mut stage = watching(&[&a, &b]);
    wait_for(&mut stage, "after step 35", 1);
    stage.get_by_role_and_label(Role::Slider, "Step").set_value_accesskit(0.0);
    wait_for(&mut stage, "no sheet yet", 1);
    assert_eq!(stage.state().training.sheets_at, Some(10));
    click(&mut stage, "Hide a");
    // The only sheet that is left is shown, although it is later than what was chosen.
    wait_for(&mut stage, "after step 35", 1);
    assert_eq!(stage.query_all_by_label("no sheet yet").count(), 0);
    assert!(stage.query_by_label("Sample sheet of a").is_none());
    fs::remove_file(b.join("sample-0000035.png")).unwrap();
    wait_until(&mut stage, |studio| studio.training.run(&b).unwrap().samples.is_empty());
    assert!(stage.query_by_label_contains("The first sheet of samples will be here").is_some());
    assert!(stage.query_by_role_and_label(Role::Slider, "Step").is_none());
}

#[test]
fn sheets_of_all_sizes_keep_their_shapes() {
    let folder = tempfile::tempdir().unwrap();
    let sizes = [[60, 20], [24, 24], [600, 300]];
    let names = ["a", "b", "c"];
    let runs = [0, 1, 2].map(|at| run_with_sheets(folder.path(), names[at], &[5], sizes[at]));
    let mut stage = watching(&[&runs[0], &runs[1], &runs[2]]);
    wait_for(&mut stage, "after step 5", 3);
    stage.run_steps(2);
    let rects = |stage: &Stage| {
        names.map(|name| stage.get_by_label(&format!("Sample sheet of {name}")).rect())
    };
    let right = |rects: [Rect; 3], width: f32| {
        for (rect, [across, down]) in rects.into_iter().zip(sizes) {
            let times = rect.width() / across as f32;
            // Half a pixel of the screen may be lost to rounding.
            assert!((rect.height() - times * down as f32).abs() < 1.0, "{rect}");
            assert!(times < 1.0 || (times - times.round()).abs() < 0.01, "{times} times");
            assert!(rect.right() <= width, "{rect} in {width}");
        }
    };
    let same = |one: f32, other: f32| (one - other).abs() < 0.1;
    let [a, b, c] = rects(&stage);
    right([a, b, c], SIZE.x);
    assert!(same(a.top(), b.top()) && same(b.top(), c.top()), "{a} {b} {c}");
    assert!(a.right() < b.left() && b.right() < c.left(), "{a} {b} {c}");
    assert!(same(b.width(), 4.0 * 24.0) && c.width() < 600.0, "{b} {c}");

    stage.set_size(vec2(420.0, 1600.0));
    stage.run_steps(4);
    let [a, b, c] = rects(&stage);
    right([a, b, c], 420.0);
    assert!(same(a.left(), b.left()) && same(b.left(), c.left()), "{a} {b} {c}");
    assert!(a.bottom() < b.top() && b.bottom() < c.top(), "{a} {b} {c}");
    assert!(c.width() > 300.0, "{c}");
}

#[test]
fn a_broken_sheet_is_told_beside_the_others_and_read_when_it_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let a = run_with_sheets(folder.path(), "a", &[], [40, 16]);
    let b = run_with_sheets(folder.path(), "b", &[10], [24, 24]);
    let broken = a.join("sample-0000010.png");
    fs::write(&broken, b"no").unwrap();
    let earlier = SystemTime::now() - Duration::from_secs(60);
    fs::File::options().write(true).open(&broken).unwrap().set_modified(earlier).unwrap();
    let mut stage = watching(&[&a, &b]);
    wait_for(&mut stage, "after step 10", 2);
    assert!(stage.query_by_label_contains("sample-0000010.png: ").is_some());
    assert!(stage.query_by_label("Sample sheet of b").is_some());
    assert!(stage.query_by_label("Sample sheet of a").is_none());
    write_sheet(&a, 10, [40, 16]);
    wait_for(&mut stage, "Sample sheet of a", 1);
    assert!(stage.query_by_label_contains("sample-0000010.png: ").is_none());
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
    for (run, step) in [(0, 1500), (0, 4500), (1, 3000)] {
        let sheet = runs[run].join(format!("sample-{step:07}.png"));
        fs::copy(picture.as_ref().unwrap(), sheet).unwrap();
    }
    write_sheet(&runs[2], 2000, [256, 64]);
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
        std::thread::sleep(Duration::from_millis(500));
        stage.run_steps(5);
        shoot(&mut stage, &format!("training-{name}-runs"));
        stage.state_mut().training.curves.log = true;
        stage.state_mut().training.read(file);
        wait_until(&mut stage, |studio| studio.training.plan.is_some());
        click(&mut stage, "Start training");
        wait_until(&mut stage, |studio| steps(studio) >= 200);
        std::thread::sleep(Duration::from_millis(500));
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
