//! The window, driven by the names that a screen reader reads.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use egui::{Key, Role, vec2};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;

use super::app::StudioApp;
use super::engine::{Engine, ModelSource};
use super::fake::FakeWorker;
use super::notices::{Entry, Level};
use super::panes::canvas::Overlay;

pub(crate) type Window = Harness<'static, StudioApp>;

pub(crate) fn window_with(worker: FakeWorker) -> Window {
    window_keeping(worker, None)
}

/// As [`window_with`], with a folder for its gallery.
pub(crate) fn window_keeping(worker: FakeWorker, gallery: Option<PathBuf>) -> Window {
    Harness::builder()
        .with_size(vec2(1440.0, 900.0))
        .with_step_dt(1.0 / 30.0)
        .with_max_steps(64)
        .build_eframe(move |creation| {
            let ctx = creation.egui_ctx.clone();
            let wake = move || ctx.request_repaint();
            let engine = Engine::spawn(move || Ok(worker.clone()), wake).unwrap();
            let ctx = &creation.egui_ctx;
            let mut app = StudioApp::new(ctx, None, engine, ModelSource::Embedded);
            if let Some(folder) = gallery {
                app.open_gallery(folder);
            }
            app
        })
}

/// Shows frames until `done` holds.
pub(crate) fn wait_until(window: &mut Window, done: impl Fn(&StudioApp) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !done(window.state()) {
        assert!(Instant::now() < deadline, "it never came");
        std::thread::sleep(Duration::from_millis(2));
        window.step();
    }
    window.run_steps(2);
}

pub(crate) fn finished(app: &StudioApp) -> bool {
    app.state.active.is_none() && app.state.run.as_ref().is_some_and(|run| run.end.is_some())
}

/// A window whose first run has come to its end.
pub(crate) fn window() -> Window {
    let mut window = window_with(FakeWorker::default());
    wait_until(&mut window, finished);
    window
}

pub(crate) fn click(window: &mut Window, label: &str) {
    window.get_by_label(label).click();
    window.run_steps(3);
}

#[test]
fn it_starts_with_pictures_and_can_make_more() {
    let mut window = window();
    let first = window.state().state.run.as_ref().unwrap().id;
    click(&mut window, "Generate");
    wait_until(&mut window, |app| {
        finished(app) && app.state.run.as_ref().is_some_and(|run| run.id > first)
    });
}

#[test]
fn every_input_has_a_name() {
    let mut window = window();
    window.state_mut().state.canvas.overlay = Overlay::Entropy;
    window.run_steps(2);
    window.check_accessibility();
}

#[test]
fn stop_ends_a_run() {
    let (gate, worker) = FakeWorker::gated();
    let mut window = window_with(worker);
    gate.let_pass(2);
    wait_until(&mut window, |app| app.state.run.as_ref().is_some_and(|run| run.frames.len() == 2));
    click(&mut window, "Stop");
    gate.let_pass(1);
    wait_until(&mut window, |app| app.state.active.is_none());
    assert!(window.state().state.run.as_ref().unwrap().end.is_none());
}

#[test]
fn the_timeline_scrubs_by_pointer_and_by_key() {
    let mut window = window();
    assert_eq!(window.state().state.position, 24);
    click(&mut window, "Step on show");
    assert_eq!(window.state().state.position, 12);
    window.key_press(Key::ArrowRight);
    window.run_steps(2);
    assert_eq!(window.state().state.position, 13);
    window.key_press(Key::Home);
    window.run_steps(2);
    assert_eq!(window.state().state.position, 0);
    click(&mut window, "Last step (End)");
    assert_eq!(window.state().state.position, 24);
}

#[test]
fn playing_moves_through_the_steps() {
    let mut window = window();
    click(&mut window, "Play (Space)");
    assert!(window.state().state.playback.playing);
    wait_until(&mut window, |app| app.state.position >= 3);
    click(&mut window, "Pause (Space)");
    let position = window.state().state.position;
    window.run_steps(20);
    assert_eq!(window.state().state.position, position);
}

#[test]
fn a_click_on_a_picture_opens_its_token() {
    let mut window = window();
    assert!(window.query_by_label("No token is chosen").is_some());
    click(&mut window, "Picture 2");
    let token = window.state().state.selected.unwrap();
    assert_eq!((token.image, token.row, token.column), (1, 8, 8));
    assert!(window.query_by_label("Token (8, 8)").is_some());
    wait_until(&mut window, |_| true);
    assert!(window.query_all_by_label_contains(": probability").count() == 8);
    window.key_press(Key::Escape);
    window.run_steps(2);
    assert!(window.state().state.selected.is_none());
}

#[test]
fn a_class_is_found_by_name() {
    let mut window = window();
    window.get_by_label("Search classes").focus();
    window.run_steps(2);
    window.get_by_label("Search classes").type_text("droid-3");
    window.run_steps(2);
    assert!(window.query_by_label("cat-01").is_none());
    click(&mut window, "droid-3");
    assert_eq!(window.state().state.draft.class(), "droid-3");
}

#[test]
fn a_changed_slider_starts_a_run_in_live_mode() {
    let mut window = window();
    let first = window.state().state.run.as_ref().unwrap().id;
    click(&mut window, "Live");
    window.run_steps(2);
    assert!(window.state().state.active.is_none());
    window.get_by_role_and_label(Role::Slider, "Guidance").set_value_accesskit(3.0);
    window.run_steps(2);
    wait_until(&mut window, |app| {
        finished(app) && app.state.run.as_ref().is_some_and(|run| run.id > first)
    });
    assert_eq!(window.state().state.run.as_ref().unwrap().settings.guidance, 3.0);
}

#[test]
fn the_views_are_decoded_when_they_are_wanted() {
    let mut window = window();
    click(&mut window, "State");
    wait_until(&mut window, |app| app.state.has_pictures());
    click(&mut window, "Likeliest codes");
    wait_until(&mut window, |app| app.state.has_pictures());
}

#[test]
fn trouble_is_shown_and_can_be_dismissed() {
    let mut window = window();
    window.state_mut().state.open_file("broken.safetensors".into());
    wait_until(&mut window, |app| app.state.notices.banner.is_some());
    let Entry { level, text, .. } = window.state().state.notices.banner.clone().unwrap();
    assert_eq!(level, Level::Error);
    assert!(window.query_by_label(&text).is_some());
    click(&mut window, "Dismiss");
    assert!(window.state().state.notices.banner.is_none());
    assert!(window.state().state.model.is_some());
}

#[test]
fn help_lists_the_keys_and_closes() {
    let mut window = window();
    click(&mut window, "Help");
    click(&mut window, "Keys");
    assert!(window.query_by_label("Play or pause the steps").is_some());
    window.key_press(Key::Escape);
    window.run_steps(3);
    assert!(window.query_by_label("Play or pause the steps").is_none());
}

#[test]
fn the_theme_can_be_changed() {
    let mut window = window();
    click(&mut window, "View");
    click(&mut window, "Light theme");
    assert_eq!(window.ctx.theme(), egui::Theme::Light);
    click(&mut window, "View");
    click(&mut window, "Dark theme");
    assert_eq!(window.ctx.theme(), egui::Theme::Dark);
}

/// Pictures of the window for a look, not a test: `cargo test --release --lib screenshots -- --ignored`
/// writes them to the folder named by `PURRSCOPE_SHOTS`.
#[test]
#[ignore = "writes pictures for people to look at"]
fn screenshots() {
    let folder = std::path::PathBuf::from(std::env::var_os("PURRSCOPE_SHOTS").unwrap());
    for (name, size, light) in [
        ("dark", vec2(1440.0, 900.0), false),
        ("light", vec2(1440.0, 900.0), true),
        ("small", vec2(1280.0, 720.0), false),
        ("least", vec2(1000.0, 640.0), true),
    ] {
        let worker = FakeWorker::default();
        let mut window =
            Harness::builder().with_size(size).with_step_dt(1.0 / 30.0).wgpu().build_eframe(
                move |creation| {
                    let ctx = creation.egui_ctx.clone();
                    let wake = move || ctx.request_repaint();
                    let engine = Engine::spawn(move || Ok(worker.clone()), wake).unwrap();
                    StudioApp::new(&creation.egui_ctx, None, engine, ModelSource::Embedded)
                },
            );
        let shoot = |window: &mut Window, what: &str| {
            window.render().unwrap().save(folder.join(format!("{name}-{what}.png"))).unwrap();
        };
        shoot(&mut window, "start");
        if light {
            click(&mut window, "View");
            click(&mut window, "Light theme");
        }
        wait_until(&mut window, finished);
        shoot(&mut window, "done");
        click(&mut window, "Picture 2");
        window.state_mut().state.canvas.overlay = Overlay::Entropy;
        window.state_mut().state.go_to(11);
        window.run_steps(4);
        std::thread::sleep(Duration::from_millis(50));
        window.run_steps(4);
        shoot(&mut window, "belief");
        window.state_mut().state.canvas.overlay = Overlay::Changes;
        window.state_mut().state.draft.temperature = super::draft::TemperatureKind::Cosine;
        window.state_mut().state.open_file("broken.safetensors".into());
        std::thread::sleep(Duration::from_millis(50));
        window.run_steps(6);
        shoot(&mut window, "trouble");
        click(&mut window, "Dismiss");
        click(&mut window, "Help");
        shoot(&mut window, "menu");
        click(&mut window, "Keys");
        shoot(&mut window, "help");
    }
}
