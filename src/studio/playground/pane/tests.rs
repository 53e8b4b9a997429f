//! The pane, driven by the names that a screen reader reads.

use std::sync::Arc;
use std::time::Duration;

use egui::{Key, PointerButton, Role, Theme, Vec2, vec2};
use egui_kittest::kittest::Queryable as _;

use crate::flow::Solver;
use crate::flow::codebooks::Layout;
use crate::studio::pane::Pane;
use crate::studio::playground::{Playground, Prior};
use crate::studio::session::kinds::TemperatureKind;
use crate::studio::testing::stage::{Stage, click, shoot, stage, wait_until};
use crate::studio::window::studio::Studio;

const SIZE: Vec2 = vec2(1000.0, 640.0);

fn small() -> Studio {
    let mut studio = Studio::default();
    studio.playground.particles = 60;
    studio.session.draft.sampling.steps = 8;
    studio
}

/// Whether what is shown is what the controls ask for.
fn settled(studio: &Studio) -> bool {
    let question = studio.playground.question(&studio.session.draft);
    studio.playground.flow().is_some_and(|flow| flow.question == question)
}

fn ready() -> Stage {
    let mut stage = stage(Pane::Playground, small(), SIZE, None);
    wait_until(&mut stage, settled);
    wait_until(&mut stage, |studio| studio.playground.field().is_some_and(|f| f.belief.is_some()));
    stage
}

fn drag(stage: &mut Stage, from: egui::Pos2, by: Vec2) {
    stage.hover_at(from);
    stage.run_steps(1);
    stage.drag_at(from);
    stage.run_steps(1);
    for part in 1..=4 {
        stage.hover_at(from + by * (part as f32 / 4.0));
        stage.run_steps(1);
    }
    stage.drop_at(from + by);
    stage.run_steps(2);
}

#[test]
fn another_codebook_is_computed_at_once() {
    let mut stage = ready();
    stage.get_by_role_and_label(Role::ComboBox, "Codebook").click();
    stage.run_steps(3);
    click(&mut stage, "spiral");
    assert_eq!(stage.state().playground.layout, Layout::Spiral);
    wait_until(&mut stage, settled);
    let flow = stage.state().playground.flow().unwrap();
    assert_eq!(flow.question.plane.codes, Layout::Spiral.codes(8, 0));
    stage.get_by_role_and_label(Role::ComboBox, "Prior").click();
    stage.run_steps(3);
    click(&mut stage, "skewed prior");
    wait_until(&mut stage, settled);
    let plane = &stage.state().playground.plane;
    assert!((plane.probability(0) / plane.probability(1) - 2.0).abs() < 1e-9);
}

#[test]
fn the_time_is_scrubbed_stepped_and_played() {
    let mut stage = ready();
    stage.get_by_role_and_label(Role::Slider, "Time of the flow").set_value_accesskit(0.3);
    stage.run_steps(2);
    assert!((stage.state().playground.t - 0.3).abs() < 1e-6);
    click(&mut stage, "On to the next grid point");
    assert_eq!(stage.state().playground.t, 0.375);
    click(&mut stage, "Back to the grid point before");
    assert_eq!(stage.state().playground.t, 0.25);
    click(&mut stage, "To the codes");
    assert_eq!(stage.state().playground.t, 1.0);
    click(&mut stage, "Play the flow");
    wait_until(&mut stage, |studio| studio.playground.t > 0.1 && studio.playground.t < 0.9);
    click(&mut stage, "Pause the flow");
    let t = stage.state().playground.t;
    stage.run_steps(5);
    assert_eq!(stage.state().playground.t, t);
}

#[test]
fn a_dragged_code_recomputes_everything() {
    let mut stage = ready();
    let before = stage.state().playground.flow().unwrap();
    let from = stage.get_by_label("Code 0").rect().center();
    drag(&mut stage, from, vec2(40.0, -60.0));
    let [x, y] = stage.state().playground.plane.codes[0];
    assert!(x > 1.6 && y > 0.3, "({x}, {y})");
    wait_until(&mut stage, settled);
    let after = stage.state().playground.flow().unwrap();
    assert!(!Arc::ptr_eq(&before, &after));
    let nearest = |studio: &Studio| studio.playground.field().unwrap().question.plane.codes[0];
    wait_until(&mut stage, |studio| nearest(studio) == studio.playground.plane.codes[0]);
    click(&mut stage, "Reset codebook");
    assert_eq!(stage.state().playground.plane.codes[0], [1.5, 0.0]);
}

#[test]
fn codes_come_and_go() {
    let mut stage = ready();
    let plane = stage.get_by_label("Plane").rect();
    let corner = plane.center() + vec2(-200.0, 30.0);
    for _ in 0..2 {
        stage.drag_at(corner);
        stage.drop_at(corner);
        stage.run_steps(1);
    }
    stage.run_steps(2);
    assert_eq!(stage.state().playground.plane.codes.len(), 9);
    click(&mut stage, "Add code");
    assert_eq!(stage.state().playground.plane.codes.len(), 10);
    wait_until(&mut stage, settled);
    stage.get_by_label("Code 2").click_button(PointerButton::Secondary);
    stage.run_steps(3);
    click(&mut stage, "Remove code");
    assert_eq!(stage.state().playground.plane.codes.len(), 9);
    stage.get_by_label("Code 3").click_button(PointerButton::Secondary);
    stage.run_steps(3);
    click(&mut stage, "Twice as probable");
    let plane = &stage.state().playground.plane;
    assert!((plane.probability(3) / plane.probability(0) - 2.0).abs() < 1e-9);
    wait_until(&mut stage, settled);
}

#[test]
fn a_code_is_moved_and_taken_away_by_keys() {
    let mut stage = ready();
    stage.get_by_label("Code 0").focus();
    stage.run_steps(2);
    stage.key_press(Key::ArrowRight);
    stage.run_steps(2);
    stage.key_press(Key::ArrowUp);
    stage.run_steps(2);
    let [x, y] = stage.state().playground.plane.codes[0];
    assert!((x - 1.6).abs() < 1e-5 && (y - 0.1).abs() < 1e-5, "({x}, {y})");
    stage.key_press(Key::Delete);
    stage.run_steps(2);
    assert_eq!(stage.state().playground.plane.codes.len(), 7);
}

#[test]
fn a_particle_tells_what_it_believes() {
    let mut stage = ready();
    assert!(stage.query_all_by_label_contains("Code 0: ").count() >= 1);
    stage.state_mut().playground.chosen = None;
    stage.run_steps(2);
    assert!(stage.query_by_label("Click a particle to see what it believes.").is_some());
    // Near the end a particle is all but sure of the code that it ends on.
    stage.state_mut().playground.chosen = Some(7);
    stage.state_mut().playground.t = 0.95;
    wait_until(&mut stage, |studio| {
        let field = studio.playground.field().unwrap();
        field.question.t == 0.95 && field.belief.is_some()
    });
    let playground = &stage.state().playground;
    let code = playground.flow().unwrap().codes[7];
    assert_eq!(playground.field().unwrap().belief.as_ref().unwrap().top[0].0, code);
}

#[test]
fn the_exact_flow_is_compared_on_request() {
    let mut stage = ready();
    assert!(stage.query_by_label("RMS error").is_none());
    click(&mut stage, "Exact flow");
    wait_until(&mut stage, |studio| studio.playground.exact().is_some());
    assert!(stage.query_by_label("RMS error").is_some());
    stage.state_mut().session.draft.sampling.solver = Solver::Euler;
    stage.state_mut().session.draft.sampling.eta = 1.0;
    wait_until(&mut stage, settled);
    assert!(stage.query_by_label("paths are random").is_some());
}

#[test]
fn what_is_drawn_can_be_chosen_and_everything_has_a_name() {
    let mut stage = ready();
    for name in ["Field", "Paths", "Means", "Codes"] {
        let named = stage.query_all_by_role_and_label(Role::CheckBox, name).next();
        named.unwrap().click();
        stage.run_steps(2);
    }
    let drawn = stage.state().playground.drawn;
    assert!(!drawn.field && !drawn.paths && drawn.means && !drawn.codes);
    assert!(stage.query_by_label("Code 0").is_none());
    stage.check_accessibility();
}

/// The time of a frame at the most particles, for a look, not a test.
#[test]
#[ignore = "measures"]
fn frames_with_the_most_particles() {
    let mut studio = Studio::default();
    studio.playground.particles = Playground::MOST_PARTICLES;
    studio.playground.drawn.means = true;
    let mut stage = stage(Pane::Playground, studio, SIZE, None);
    wait_until(&mut stage, settled);
    let flow = stage.state().playground.flow().unwrap();
    println!("a flow of 2000 particles: {:?}", flow.wall);
    let begun = std::time::Instant::now();
    for frame in 0..100 {
        stage.state_mut().playground.t = 0.3 + frame as f32 * 0.005;
        stage.step();
    }
    println!("a frame: {:?}", begun.elapsed() / 100);
}

/// Pictures of the pane for a look, not a test; see `screenshots` of the window.
#[test]
#[ignore = "writes pictures to look at"]
fn playground_screenshots() {
    for (theme, name) in [(Theme::Dark, "dark"), (Theme::Light, "light")] {
        let mut studio = Studio::default();
        studio.session.draft.from = 1.0;
        let mut stage = stage(Pane::Playground, studio, vec2(1080.0, 720.0), Some(theme));
        let settle = |stage: &mut Stage, what: &str| {
            wait_until(stage, settled);
            let exact =
                |studio: &Studio| !studio.playground.compare || studio.playground.exact().is_some();
            wait_until(stage, exact);
            std::thread::sleep(Duration::from_millis(60));
            stage.run_steps(3);
            shoot(stage, &format!("playground-{name}-{what}"));
        };
        settle(&mut stage, "ring");
        let studio = stage.state_mut();
        studio.playground.layout = Layout::Moons;
        studio.playground.count = 20;
        studio.playground.prior = Prior::Skewed;
        studio.playground.particles = 2000;
        studio.playground.t = 0.8;
        studio.playground.remake();
        settle(&mut stage, "moons");
        let studio = stage.state_mut();
        studio.playground.layout = Layout::Spiral;
        studio.playground.count = 48;
        studio.playground.drawn.means = true;
        studio.playground.t = 0.35;
        studio.session.draft.temperature = TemperatureKind::Entropy;
        studio.playground.remake();
        settle(&mut stage, "spiral");
        let studio = stage.state_mut();
        studio.playground.layout = Layout::Grid;
        studio.playground.count = 9;
        studio.playground.particles = 200;
        studio.session.draft.temperature = TemperatureKind::Constant;
        studio.session.draft.sampling.solver = Solver::Euler;
        studio.session.draft.sampling.steps = 4;
        studio.playground.compare = true;
        studio.playground.drawn.field = false;
        studio.playground.drawn.means = false;
        studio.playground.t = 0.75;
        studio.playground.remake();
        settle(&mut stage, "error");
        stage.set_size(vec2(480.0, 700.0));
        stage.run_steps(4);
        settle(&mut stage, "narrow");
    }
}
