//! The pane in a window.

use egui::vec2;
use egui_kittest::kittest::{NodeT as _, Queryable as _};

use super::*;
use crate::studio::action::WindowAction;
use crate::studio::pane::Pane;
use crate::studio::testing::fake::{FakeWorker, Gate};
use crate::studio::testing::window::{Window, click, finished, wait_until, window_with};

/// A window with the pane before the others of its place.
fn open(worker: FakeWorker) -> Window {
    let mut window = window_with(worker);
    window.set_size(vec2(1440.0, 900.0));
    window.state_mut().shell.greeted = true;
    window.state_mut().shell.studio.actions.push(WindowAction::Reveal(Pane::Sweep));
    window.run_steps(4);
    window
}

fn ready() -> Window {
    let mut window = open(FakeWorker::default());
    wait_until(&mut window, finished);
    window
}

fn gated() -> (Gate, Window) {
    let (gate, worker) = FakeWorker::gated();
    let mut window = open(worker);
    gate.let_pass(24);
    wait_until(&mut window, finished);
    (gate, window)
}

fn axes(window: &mut Window, x: &str, y: &str) {
    let sweep = &mut window.state_mut().shell.studio.sweep;
    (sweep.x, sweep.y) = (x.parse().unwrap(), y.parse().unwrap());
    window.run_steps(2);
}

fn settled(window: &Window) -> usize {
    window.state().shell.studio.sweep.study.as_ref().map_or(0, Study::settled)
}

#[test]
fn the_grid_fills_in_and_a_cell_gives_its_settings_back() {
    let mut window = ready();
    assert!(window.query_by_label("No sweep yet").is_some());
    axes(&mut window, "steps=2,3", "temperature=0.5,1.1");
    click(&mut window, "Start sweep");
    wait_until(&mut window, |app| {
        app.shell.studio.sweep.study.as_ref().is_some_and(|s| s.settled() == 4)
    });
    assert!(window.query_by_label("4 of 4 cells").is_some());
    for name in ["steps 2, temperature 0.5: 4 NFE", "steps 3, temperature 1.1: 6 NFE"] {
        assert!(window.query_by_label_contains(name).is_some(), "{name}");
    }
    window.get_by_label_contains("steps 3, temperature 1.1").click();
    window.run_steps(3);
    let draft = &window.state().shell.studio.session.draft;
    assert_eq!((draft.sampling.steps, draft.from), (3, 1.1));
    assert!(draft.seed_locked && window.state().shell.studio.session.active.is_none());
    // A double click also makes it again.
    for _ in 0..2 {
        window.get_by_label_contains("steps 2, temperature 0.5").click();
    }
    wait_until(&mut window, |app| {
        finished(app)
            && app.shell.studio.session.run.as_ref().is_some_and(|run| run.frames.len() == 2)
    });
}

#[test]
fn what_is_typed_wrong_is_said_under_it() {
    let mut window = ready();
    window.get_by_label("Across: values").focus();
    window.run_steps(2);
    window.get_by_label("Across: values").type_text(", warm");
    window.run_steps(3);
    assert!(window.query_by_label_contains("'warm' is not a valid value of temperature").is_some());
    assert!(window.get_by_label("Start sweep").accesskit_node().is_disabled());
    axes(&mut window, "steps=2", "steps=3");
    assert!(window.query_by_label_contains("both axes set the steps").is_some());
    axes(&mut window, "steps=2,3", "seed=1");
    assert!(window.query_by_label("2 x 1 cells").is_some());
    window.state_mut().shell.studio.sweep.two = false;
    axes(&mut window, "steps=2,3", "steps=3");
    assert!(!window.get_by_label("Start sweep").accesskit_node().is_disabled());
}

#[test]
fn axes_are_chosen_from_a_list_and_bring_values_along() {
    let mut window = ready();
    let choose = |window: &mut Window, axis: &str, option: &str| {
        window.get_by_label(&format!("{axis}: parameter")).click();
        window.run_steps(3);
        click(window, option);
    };
    choose(&mut window, "Across", "class");
    assert_eq!(
        window.state().shell.studio.sweep.x.text,
        "cat-orange-in-a-meadow, cat-blue-in-a-meadow, cat-blue-in-the-bedroom, cat-blue-in-the-living-room"
    );
    choose(&mut window, "Down", "guidance");
    assert!(window.query_by_label("4 x 5 cells").is_some());
    choose(&mut window, "Down", "nothing");
    assert!(window.query_by_label("4 x 1 cells").is_some());
}

#[test]
fn it_pauses_and_resumes_and_says_how_far_it_is() {
    let (gate, mut window) = gated();
    axes(&mut window, "steps=2,3", "temperature=1");
    click(&mut window, "Start sweep");
    gate.let_pass(2);
    wait_until(&mut window, |app| {
        app.shell.studio.sweep.study.as_ref().is_some_and(|s| s.settled() == 1)
    });
    assert!(window.query_by_label("Sweep: 1 of 2 cells").is_some());
    click(&mut window, "Pause sweep");
    assert!(window.query_by_label("1 of 2 cells, paused").is_some());
    gate.let_pass(1000);
    window.run_steps(10);
    assert_eq!(settled(&window), 1);
    click(&mut window, "Resume sweep");
    wait_until(&mut window, |app| app.shell.studio.sweep.phase() == Phase::Idle);
    assert_eq!(settled(&window), 2);
}

#[test]
fn a_cell_that_cannot_be_says_why_and_a_stop_keeps_the_rest() {
    let (gate, mut window) = gated();
    axes(&mut window, "solver=heun,euler,midpoint", "eta=0.5");
    click(&mut window, "Start sweep");
    let reason = window.query_by_label_contains("solver heun, eta 0.5: left out: eta must be");
    assert!(reason.is_some());
    click(&mut window, "Stop sweep");
    gate.let_pass(1000);
    assert_eq!(settled(&window), 2);
    assert!(window.query_by_label_contains("solver euler, eta 0.5: not computed").is_some());
    assert!(window.query_by_label("Export sheet").is_some());
    click(&mut window, "Finish the sweep");
    wait_until(&mut window, |app| app.shell.studio.sweep.phase() == Phase::Idle);
    assert!(window.query_by_label_contains("solver euler, eta 0.5: 48 NFE").is_some());
}

#[test]
fn every_input_of_the_pane_has_a_name() {
    let mut window = ready();
    axes(&mut window, "steps=2,3", "temperature=0.5,1.1");
    click(&mut window, "Start sweep");
    wait_until(&mut window, |app| app.shell.studio.sweep.phase() == Phase::Idle);
    click(&mut window, "All pictures");
    window.check_accessibility();
}
