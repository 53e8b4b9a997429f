//! The controls, driven by the names that a screen reader reads.

use std::sync::Arc;

use egui::{Key, Modifiers, Role, vec2};
use egui_kittest::kittest::{NodeT as _, Queryable as _};

use crate::flow::{Grid, Solver, Temperature};
use crate::model::Objective;
use crate::studio::action::WindowAction;
use crate::studio::session::draft::Draft;
use crate::studio::session::kinds::TemperatureKind;
use crate::studio::session::token::Token;
use crate::studio::testing::window::{Window, click, finished, wait_until, window};
use crate::studio::window::app::StudioApp;
use crate::studio::window::saved::SavedFile;
use crate::studio::window::studio::Studio;
use crate::sweep::sheet::{Show, draw};

/// A window in which all of the pane can be seen.
fn tall() -> Window {
    let mut window = window();
    window.state_mut().shell.greeted = true;
    window.set_size(vec2(1440.0, 1600.0));
    window.run_steps(4);
    window
}

fn studio(window: &mut Window) -> &mut Studio {
    &mut window.state_mut().shell.studio
}

fn draft(window: &Window) -> &Draft {
    &window.state().shell.studio.session.draft
}

fn slide(window: &mut Window, name: &str, value: f64) {
    window.get_by_role_and_label(Role::Slider, name).set_value_accesskit(value);
    window.run_steps(3);
}

fn choose(window: &mut Window, row: &str, option: &str) {
    window.get_by_role_and_label(Role::ComboBox, row).click();
    window.run_steps(3);
    click(window, option);
}

/// As if a model of another objective were loaded.
fn with_objective(window: &mut Window, objective: Objective) {
    let session = &mut studio(window).session;
    let mut model = (**session.model.as_ref().unwrap()).clone();
    model.card.objective = objective;
    session.model = Some(Arc::new(model));
    window.run_steps(3);
}

#[test]
fn several_classes_take_turns() {
    let mut window = tall();
    window.get_by_label("cat-orange-in-the-woods").click_modifiers(Modifiers::COMMAND);
    window.run_steps(3);
    assert_eq!(draft(&window).classes, ["cat-orange-in-a-meadow", "cat-orange-in-the-woods"]);
    assert!(window.query_by_label("2 take turns").is_some());
    let labels = window.state().shell.studio.session.settings().unwrap().labels.clone();
    assert_eq!(labels, [12, 15, 12, 15]);
    click(&mut window, "Remove cat-orange-in-a-meadow");
    assert_eq!(draft(&window).classes, ["cat-orange-in-the-woods"]);
    assert!(window.query_by_label("Remove cat-orange-in-the-woods").is_none());
    click(&mut window, "cat-cream-in-the-woods");
    assert_eq!(draft(&window).classes, ["cat-cream-in-the-woods"]);
}

#[test]
fn seed_and_count_are_set() {
    let mut window = tall();
    let seed = draft(&window).sampling.seed;
    click(&mut window, "Throw the dice for a new seed");
    assert_ne!(draft(&window).sampling.seed, seed);
    click(&mut window, "Lock");
    assert!(draft(&window).seed_locked);
    slide(&mut window, "Count", 7.0);
    assert_eq!(draft(&window).count, 7);
}

#[test]
fn solver_steps_grid_and_guidance_are_set() {
    let mut window = tall();
    slide(&mut window, "Steps", 77.0);
    slide(&mut window, "Guidance", 2.5);
    choose(&mut window, "Grid", "shifted");
    slide(&mut window, "Shift", 2.0);
    choose(&mut window, "Solver", "dopri5");
    slide(&mut window, "Absolute tolerance", 0.01);
    slide(&mut window, "Relative tolerance", 0.001);
    let settings = window.state().shell.studio.session.settings().unwrap();
    assert_eq!((settings.steps, settings.guidance), (77, 2.5));
    assert_eq!((settings.solver, settings.grid), (Solver::Dopri5, Grid::Shifted(2.0)));
    assert!((settings.atol - 0.01).abs() < 1e-6 && (settings.rtol - 0.001).abs() < 1e-6);
    assert!(window.query_by_label("?").is_some(), "its evaluations are not known beforehand");
}

#[test]
fn noise_goes_only_with_the_solver_that_takes_it() {
    let mut window = tall();
    slide(&mut window, "Stochasticity", 0.5);
    assert_eq!(window.state().shell.studio.session.settings().unwrap().eta, 0.5);
    choose(&mut window, "Solver", "heun");
    let noise = window.get_by_role_and_label(Role::Slider, "Stochasticity");
    assert!(noise.accesskit_node().is_disabled());
    assert!(
        window.query_by_label("Only the solver euler takes steps with noise in them.").is_some()
    );
    assert_eq!(window.state().shell.studio.session.settings().unwrap().eta, 0.0);
    choose(&mut window, "Solver", "euler");
    assert_eq!(draft(&window).sampling.eta, 0.5, "it comes back");
}

#[test]
fn what_an_objective_has_no_use_for_is_off_and_says_why() {
    let mut window = tall();
    with_objective(&mut window, Objective::Cfm);
    let course = window.get_by_role_and_label(Role::ComboBox, "Schedule");
    assert!(course.accesskit_node().is_disabled());
    assert!(window.query_by_label_contains("no belief over codes").is_some());
    with_objective(&mut window, Objective::Dfm);
    let solver = window.get_by_role_and_label(Role::ComboBox, "Solver");
    assert!(solver.accesskit_node().is_disabled());
    assert!(window.query_by_label_contains("they take euler steps").is_some());
    slide(&mut window, "Remasking", 12.0);
    assert_eq!(window.state().shell.studio.session.settings().unwrap().eta, 12.0);
    with_objective(&mut window, Objective::Purrception);
    assert_eq!(
        window.state().shell.studio.session.settings().unwrap().eta,
        1.0,
        "it is a share again"
    );
}

#[test]
fn every_course_of_temperature_is_set() {
    let mut window = tall();
    slide(&mut window, "Value", 0.5);
    assert_eq!(draft(&window).temperature(), Temperature::Constant(0.5));
    for (name, kind) in [("linear", TemperatureKind::Linear), ("cosine", TemperatureKind::Cosine)] {
        choose(&mut window, "Schedule", name);
        slide(&mut window, "At t = 0", 1.25);
        slide(&mut window, "At t = 1", 0.75);
        assert_eq!(draft(&window).temperature, kind);
        assert_eq!((draft(&window).from, draft(&window).to), (1.25, 0.75));
    }
    choose(&mut window, "Schedule", "entropy target");
    slide(&mut window, "Entropy at t = 0", 4.0);
    slide(&mut window, "Entropy at t = 1", 0.5);
    assert_eq!(draft(&window).temperature(), Temperature::Entropy { from: 4.0, to: 0.5 });
    assert!(window.query_by_label_contains("A run shows the temperatures").is_some());
    click(&mut window, "Generate");
    wait_until(&mut window, |app| {
        let run = app.shell.studio.session.run.as_ref();
        finished(app)
            && run.is_some_and(|r| matches!(r.settings.temperature, Temperature::Entropy { .. }))
    });
    assert!(window.query_by_label_contains("Dashes: temperatures that met it").is_some());
}

#[test]
fn the_drawn_curve_is_edited_by_names_and_keys() {
    let mut window = tall();
    choose(&mut window, "Schedule", "drawn");
    slide(&mut window, "Temperature point 2 at t = 0.50", 1.4);
    assert_eq!(draft(&window).points, [(0.0, 1.1), (0.5, 1.4), (1.0, 0.6)]);
    window.get_by_label("Temperature point 2 at t = 0.50").focus();
    window.run_steps(2);
    window.key_press(Key::ArrowUp);
    window.run_steps(2);
    window.key_press(Key::ArrowLeft);
    window.run_steps(2);
    assert_eq!(draft(&window).points[1], (0.48, 1.45));
    assert_eq!(
        window.state().shell.studio.session.position,
        24,
        "the arrows did not move the timeline"
    );
    window.key_press(Key::Delete);
    window.run_steps(2);
    assert_eq!(draft(&window).points, [(0.0, 1.1), (1.0, 0.6)]);
}

#[test]
fn the_drawn_curve_is_edited_by_the_pointer() {
    let mut window = tall();
    choose(&mut window, "Schedule", "drawn");
    // Its points again, at heights that make the middle of the chart lie on the curve.
    studio(&mut window).session.draft.points = vec![(0.0, 1.0), (1.0, 1.0)];
    window.run_steps(2);
    let [left, right] = [1, 2].map(|number| {
        let name = format!("Temperature point {number} at t = {}.00", number - 1);
        window.get_by_label(&name).rect().center()
    });
    let press = |window: &mut Window, at: egui::Pos2, pressed| {
        let button = egui::PointerButton::Primary;
        let modifiers = Modifiers::default();
        window.event(egui::Event::PointerMoved(at));
        window.event(egui::Event::PointerButton { pos: at, button, pressed, modifiers });
        window.run_steps(2);
    };
    // Off the curve a click does nothing; on it, it adds a point.
    let middle = left.lerp(right, 0.5);
    for (at, count) in [(middle - vec2(0.0, 30.0), 2), (middle, 3)] {
        press(&mut window, at, true);
        press(&mut window, at, false);
        assert_eq!(draft(&window).points.len(), count);
        // The next click is not the second of a double one.
        window.run_steps(30);
    }
    assert_eq!(draft(&window).points[1], (0.5, 1.0));
    // It is dragged up and to the right.
    press(&mut window, middle, true);
    let there = middle + vec2(20.0, -15.0);
    window.event(egui::Event::PointerMoved(middle + vec2(10.0, -8.0)));
    window.run_steps(2);
    window.event(egui::Event::PointerMoved(there));
    window.run_steps(2);
    press(&mut window, there, false);
    let (t, value) = draft(&window).points[1];
    assert!(t > 0.52 && value > 1.1, "{t} {value}");
    // And taken away with the other button.
    let name = format!("Temperature point 2 at t = {t:.2}");
    window.get_by_label(&name).click_secondary();
    window.run_steps(3);
    assert_eq!(draft(&window).points.len(), 2);
    // Typed figures move the chosen point.
    assert!(window.query_by_label("Time of the point").is_some());
    click(&mut window, "Remove the point");
    assert_eq!(draft(&window).points.len(), 1);
}

#[test]
fn presets_are_chosen_saved_and_deleted() {
    let mut window = tall();
    choose(&mut window, "Preset", "Best");
    assert_eq!((draft(&window).sampling.solver, draft(&window).sampling.steps), (Solver::Rk4, 5));
    slide(&mut window, "Steps", 31.0);
    click(&mut window, "Save preset");
    window.get_by_label("Name of the preset").focus();
    window.run_steps(2);
    window.get_by_label("Name of the preset").type_text("mine");
    window.run_steps(2);
    click(&mut window, "Keep preset");
    assert_eq!(window.state().shell.studio.controls.presets.saved().len(), 1);
    choose(&mut window, "Preset", "Fast");
    assert_eq!(draft(&window).sampling.steps, 3);
    choose(&mut window, "Preset", "mine");
    assert_eq!((draft(&window).sampling.solver, draft(&window).sampling.steps), (Solver::Rk4, 31));
    choose(&mut window, "Preset", "Delete mine");
    assert!(window.state().shell.studio.controls.presets.saved().is_empty());
}

#[test]
fn a_branch_is_shown_and_can_be_taken_back() {
    let mut window = tall();
    studio(&mut window).session.go_to(10);
    window.run_steps(2);
    click(&mut window, "Branch here");
    assert!(window.query_by_label("Continues from step 11 of the previous run").is_some());
    let count = window.get_by_role_and_label(Role::Slider, "Count");
    assert!(count.accesskit_node().is_disabled());
    assert!(window.get_by_label("Branch here").accesskit_node().is_disabled());
    click(&mut window, "Command line");
    window.run_steps(20);
    assert!(window.query_by_label_contains("has no command of its own").is_some());
    click(&mut window, "Remove the branch");
    assert!(window.state().shell.studio.session.branch.is_none());
}

#[test]
fn pins_and_bans_are_counted_and_cleared() {
    let mut window = tall();
    let token = Token { image: 0, row: 1, column: 2 };
    let edits = &mut studio(&mut window).session.draft.edits;
    edits.pin(token, 5);
    edits.ban(token, 6);
    edits.ban(token, 7);
    edits.ban_everywhere(9);
    window.run_steps(3);
    assert!(window.query_by_label("1 pin, 2 bans, 1 banned code").is_some());
    click(&mut window, "Clear pins and bans");
    assert!(draft(&window).edits.is_empty());
}

#[test]
fn cost_and_command_are_told() {
    let mut window = tall();
    // Guidance asks twice at each of 24 steps; the stand-in says 48 ms a step.
    assert!(window.query_all_by_label("48").count() >= 2);
    assert!(window.query_by_label("ms a step").is_some());
    assert!(window.query_by_label("s in all").is_some());
    click(&mut window, "Command line");
    window.run_steps(20);
    let command =
        window.get_by_label_contains("purrscope sample --class cat-orange-in-a-meadow --count 4");
    let text = command.accesskit_node().label().or(command.accesskit_node().value());
    let text = text.unwrap();
    assert!(text.ends_with("--cfg 1.5 --eta 0 --out out"), "{text}");
    click(&mut window, "Copy the command");
    // It is there after the next frame; nothing else is to be seen of it.
    assert!(window.query_by_label("Copy the command").is_some());
}

/// Pictures of the panes for a look, not a test: `PURRSCOPE_SHOTS=DIR cargo test --release --lib
/// pictures_of_controls -- --ignored`.
#[test]
#[ignore = "writes pictures to look at"]
fn pictures_of_controls() {
    use crate::studio::engine::{Engine, ModelSource};
    use crate::studio::pane::Pane;
    use crate::studio::testing::fake::FakeWorker;
    use crate::studio::window::app::StudioApp;
    let folder = std::path::PathBuf::from(std::env::var_os("PURRSCOPE_SHOTS").unwrap());
    for (name, size, light) in
        [("dark", vec2(1440.0, 900.0), false), ("small", vec2(1280.0, 720.0), true)]
    {
        let worker = FakeWorker::default();
        let builder = egui_kittest::Harness::builder().with_size(size).with_step_dt(1.0 / 30.0);
        let mut window: Window = builder.wgpu().build_eframe(move |creation| {
            let ctx = creation.egui_ctx.clone();
            let wake = move || ctx.request_repaint();
            let engine = Engine::spawn(move || Ok(worker.clone()), wake).unwrap();
            StudioApp::new(
                &creation.egui_ctx,
                SavedFile::begin(None),
                engine,
                ModelSource::Embedded,
            )
        });
        let shoot = |window: &mut Window, what: &str| {
            window.run_steps(4);
            window.render().unwrap().save(folder.join(format!("{name}-{what}.png"))).unwrap();
        };
        window.state_mut().shell.greeted = true;
        wait_until(&mut window, finished);
        if light {
            window.ctx.set_theme(egui::Theme::Light);
        }
        window.run_steps(4);
        shoot(&mut window, "constant");
        studio(&mut window).session.draft.temperature = TemperatureKind::Drawn;
        studio(&mut window).session.draft.toggle_class("dog-golden-in-a-meadow");
        studio(&mut window).session.draft.toggle_class("dog-red-in-the-woods");
        studio(&mut window).session.go_to(9);
        studio(&mut window).session.playback.temperature = true;
        window.run_steps(4);
        click(&mut window, "Branch here");
        studio(&mut window).session.draft.edits.pin(Token { image: 0, row: 3, column: 3 }, 7);
        shoot(&mut window, "drawn");
        studio(&mut window).session.branch = None;
        studio(&mut window).session.draft.edits.clear();
        studio(&mut window).session.draft.temperature = TemperatureKind::Entropy;
        studio(&mut window).session.draft.sampling.solver = Solver::Dopri5;
        click(&mut window, "Generate");
        wait_until(&mut window, finished);
        window.get_by_label("Current step").hover();
        window.run_steps(40);
        shoot(&mut window, "entropy");
        studio(&mut window).actions.push(WindowAction::Reveal(Pane::Sweep));
        studio(&mut window).session.draft = Draft { seed_locked: true, ..Draft::default() };
        shoot(&mut window, "sweep-empty");
        let sweep = &mut studio(&mut window).sweep;
        sweep.x = "temperature=0.3..1.5 x 5".parse().unwrap();
        sweep.y = "solver=euler,heun,exp2m".parse().unwrap();
        studio(&mut window).session.draft.sampling.eta = 0.5;
        window.run_steps(2);
        click(&mut window, "Start sweep");
        wait_until(&mut window, |app| {
            app.shell.studio.sweep.study.as_ref().is_some_and(|s| s.waiting().is_none())
        });
        window.get_by_label_contains("temperature 0.6, solver euler").hover();
        window.run_steps(40);
        shoot(&mut window, "sweep");
        slide(&mut window, "Size of the pictures", 2.5);
        click(&mut window, "All pictures");
        window.get_by_label_contains("temperature 0.6, solver euler").hover();
        window.run_steps(2);
        window.event(egui::Event::MouseWheel {
            unit: egui::MouseWheelUnit::Point,
            delta: vec2(-150.0, -90.0),
            phase: egui::TouchPhase::Move,
            source: egui::MouseWheelSource::Trackpad,
            modifiers: Modifiers::default(),
        });
        window.run_steps(8);
        shoot(&mut window, "sweep-zoomed");
        let study = window.state().shell.studio.sweep.study.clone().unwrap();
        let show = Show::All;
        let sheet = draw(&study, show);
        sheet.save(folder.join(format!("{name}-sheet.png"))).unwrap();
    }
}

#[test]
fn classes_have_pictures_that_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let with_pictures = || {
        let mut window = tall();
        studio(&mut window).controls.show_pictures(Some(folder.path().to_owned()));
        window
    };
    let shown = |app: &StudioApp| app.shell.studio.controls.pictures.as_ref().unwrap().shown();
    let mut window = with_pictures();
    wait_until(&mut window, |app| shown(app).len() >= 4);
    // Whatever is asked for comes first, and they go on after it.
    click(&mut window, "Generate");
    wait_until(&mut window, finished);
    wait_until(&mut window, |app| shown(app).len() >= 8 && app.shell.studio.session.is_quiet());
    drop(window);
    let kept = std::fs::read_dir(folder.path().join("0123abcd")).unwrap().count();
    assert!(kept >= 8, "{kept}");
    // The next window shows them at once.
    let mut window = with_pictures();
    window.run_steps(3);
    assert!(shown(window.state()).len() >= 8);
}
