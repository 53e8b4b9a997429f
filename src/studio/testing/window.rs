//! The window, driven by the names that a screen reader reads.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use egui::{Key, Role, vec2};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;

use super::fake::FakeWorker;
use crate::studio::action::{FilesAction, WindowAction};
use crate::studio::base::notices::{Entry, Level};
use crate::studio::engine::{Engine, ModelSource};
use crate::studio::pane::Pane;
use crate::studio::session::look::Overlay;
use crate::studio::testing::fake::PATIENCE;
use crate::studio::window::app::StudioApp;
use crate::studio::window::saved::SavedFile;

pub(crate) type Window = Harness<'static, StudioApp>;

pub(crate) fn window_with(worker: FakeWorker) -> Window {
    window_keeping(worker, None)
}

/// As [`window_with`], with a folder for its gallery.
pub(crate) fn window_keeping(worker: FakeWorker, gallery: Option<PathBuf>) -> Window {
    window_from(worker, gallery, None)
}

/// As [`window_keeping`], with a file that it is kept in between sessions.
fn window_from(worker: FakeWorker, gallery: Option<PathBuf>, session: Option<PathBuf>) -> Window {
    Harness::builder()
        .with_size(vec2(1440.0, 900.0))
        .with_step_dt(1.0 / 30.0)
        .with_max_steps(64)
        .build_eframe(move |creation| {
            let ctx = creation.egui_ctx.clone();
            let wake = move || ctx.request_repaint();
            let engine = Engine::spawn(move || Ok(worker.clone()), wake).unwrap();
            let ctx = &creation.egui_ctx;
            let session = SavedFile::begin(session);
            let mut app = StudioApp::new(ctx, session, engine, ModelSource::Embedded);
            if let Some(folder) = gallery {
                app.open_gallery(folder);
            }
            app
        })
}

/// Shows frames until `done` holds.
pub(crate) fn wait_until(window: &mut Window, done: impl Fn(&StudioApp) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done(window.state()) {
        assert!(Instant::now() < deadline, "it never came");
        std::thread::sleep(Duration::from_millis(2));
        window.step();
    }
    window.run_steps(2);
}

pub(crate) fn finished(app: &StudioApp) -> bool {
    app.shell.studio.session.active.is_none()
        && app.shell.studio.session.run.as_ref().is_some_and(|run| run.end.is_some())
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
    let first = window.state().shell.studio.session.run.as_ref().unwrap().id;
    click(&mut window, "Generate");
    wait_until(&mut window, |app| {
        finished(app) && app.shell.studio.session.run.as_ref().is_some_and(|run| run.id > first)
    });
}

#[test]
fn every_input_has_a_name() {
    let mut window = window();
    window.state_mut().shell.studio.session.look.overlay = Overlay::Entropy;
    window.run_steps(2);
    window.check_accessibility();
}

#[test]
fn stop_ends_a_run() {
    let (gate, worker) = FakeWorker::gated();
    let mut window = window_with(worker);
    gate.let_pass(2);
    wait_until(&mut window, |app| {
        app.shell.studio.session.run.as_ref().is_some_and(|run| run.frames.len() == 2)
    });
    click(&mut window, "Stop");
    gate.let_pass(1);
    wait_until(&mut window, |app| app.shell.studio.session.active.is_none());
    assert!(window.state().shell.studio.session.run.as_ref().unwrap().end.is_none());
}

#[test]
fn the_timeline_scrubs_by_pointer_and_by_key() {
    let mut window = window();
    assert_eq!(window.state().shell.studio.session.position, 24);
    click(&mut window, "Current step");
    assert_eq!(window.state().shell.studio.session.position, 12);
    window.key_press(Key::ArrowRight);
    window.run_steps(2);
    assert_eq!(window.state().shell.studio.session.position, 13);
    window.key_press(Key::Home);
    window.run_steps(2);
    assert_eq!(window.state().shell.studio.session.position, 0);
    click(&mut window, "Last step (End)");
    assert_eq!(window.state().shell.studio.session.position, 24);
}

#[test]
fn playing_moves_through_the_steps() {
    let mut window = window();
    click(&mut window, "Play (Space)");
    assert!(window.state().shell.studio.session.playback.playing);
    wait_until(&mut window, |app| app.shell.studio.session.position >= 3);
    click(&mut window, "Pause (Space)");
    let position = window.state().shell.studio.session.position;
    window.run_steps(20);
    assert_eq!(window.state().shell.studio.session.position, position);
}

#[test]
fn a_click_on_a_picture_opens_its_token() {
    let mut window = window();
    assert!(window.query_by_label("No token selected").is_some());
    click(&mut window, "Picture 2");
    let token = window.state().shell.studio.session.selected.unwrap();
    assert_eq!((token.image, token.row, token.column), (1, 8, 8));
    assert!(window.query_by_label("Token (8, 8)").is_some());
    wait_until(&mut window, |_| true);
    assert!(window.query_all_by_label_contains(": probability").count() == 8);
    window.key_press(Key::Escape);
    window.run_steps(2);
    assert!(window.state().shell.studio.session.selected.is_none());
}

#[test]
fn a_class_is_found_by_name() {
    let mut window = window();
    window.get_by_label("Search classes").focus();
    window.run_steps(2);
    window.get_by_label("Search classes").type_text("red woods");
    window.run_steps(2);
    assert!(window.query_by_label("cat-blue-in-the-bedroom").is_none());
    click(&mut window, "dog-red-in-the-woods");
    assert_eq!(window.state().shell.studio.session.draft.class(), "dog-red-in-the-woods");
}

#[test]
fn a_changed_slider_starts_a_run_in_live_mode() {
    let mut window = window();
    let first = window.state().shell.studio.session.run.as_ref().unwrap().id;
    click(&mut window, "Live");
    window.run_steps(2);
    assert!(window.state().shell.studio.session.active.is_none());
    window.get_by_role_and_label(Role::Slider, "Guidance").set_value_accesskit(3.0);
    window.run_steps(2);
    wait_until(&mut window, |app| {
        finished(app) && app.shell.studio.session.run.as_ref().is_some_and(|run| run.id > first)
    });
    assert_eq!(window.state().shell.studio.session.run.as_ref().unwrap().settings.guidance, 3.0);
}

#[test]
fn the_views_are_decoded_when_they_are_wanted() {
    let mut window = window();
    click(&mut window, "State");
    wait_until(&mut window, |app| app.shell.studio.session.has_pictures());
    click(&mut window, "Likeliest codes");
    wait_until(&mut window, |app| app.shell.studio.session.has_pictures());
}

#[test]
fn trouble_is_shown_and_can_be_dismissed() {
    let mut window = window();
    window.state_mut().shell.studio.actions.push(FilesAction::Open("broken.safetensors".into()));
    wait_until(&mut window, |app| app.shell.studio.session.notices.banner.is_some());
    let Entry { level, text, .. } =
        window.state().shell.studio.session.notices.banner.clone().unwrap();
    assert_eq!(level, Level::Error);
    assert!(window.query_by_label(&text).is_some());
    click(&mut window, "Dismiss");
    assert!(window.state().shell.studio.session.notices.banner.is_none());
    assert!(window.state().shell.studio.session.model.is_some());
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

/// Gives the window the size that it has on a desktop of this many pixels, whatever its scale is.
fn show_on(window: &mut Window, pixels: egui::Vec2, scale: f32) {
    window.state_mut().shell.scale.0 = scale;
    for _ in 0..8 {
        let zoom = window.ctx.zoom_factor();
        window.set_size(pixels / zoom);
        window.run_steps(2);
    }
}

/// Where what is named so is, in points.
fn place(window: &Window, label: &str) -> egui::Rect {
    window.get_by_label(label).rect()
}

#[test]
fn at_every_scale_and_size_the_picture_is_seen_and_nothing_is_covered() {
    let mut window = window();
    window.state_mut().shell.greeted = true;
    for (x, y) in
        [(1440.0, 900.0), (1920.0, 1080.0), (1000.0, 640.0), (800.0, 600.0), (640.0, 420.0)]
    {
        for scale in [0.75, 1.0, 1.5, 2.0, 2.5, 3.0] {
            show_on(&mut window, vec2(x, y), scale);
            let what = format!("{x} x {y} at {scale}: {}", window.ctx.zoom_factor());
            assert!(window.ctx.zoom_factor() <= scale + 1e-3, "{what}");
            let all = window.ctx.content_rect();
            let tight = window.query_by_label("Menu").is_some();
            let menus: &[&str] = if tight { &["Menu"] } else { &["File", "Edit", "View", "Help"] };
            let buttons = menus.iter().chain(&["Live", "Generate", "Stop"]);
            let rects: Vec<_> = buttons.map(|name| (*name, place(&window, name))).collect();
            for (at, (name, rect)) in rects.iter().enumerate() {
                assert!(all.contains_rect(*rect), "{name} at {rect} is cut off, {what}");
                for (other, next) in &rects[at + 1..] {
                    assert!(!rect.shrink(0.5).intersects(*next), "{name} is on {other}, {what}");
                }
            }
            let picture = place(&window, "Picture 1");
            let side = picture.size().min_elem() * window.ctx.zoom_factor();
            assert!(
                side >= 72.0 && all.contains_rect(picture),
                "a picture of {side} pixels, {what}"
            );
        }
    }
    show_on(&mut window, vec2(1440.0, 900.0), 1.0);
    assert_eq!(window.ctx.zoom_factor(), 1.0);
}

#[test]
fn every_pane_can_be_reached_in_the_least_window() {
    let mut window = window();
    window.state_mut().shell.greeted = true;
    show_on(&mut window, vec2(640.0, 420.0), 3.0);
    for pane in Pane::ALL {
        window.state_mut().shell.studio.actions.push(WindowAction::Reveal(pane));
        window.run_steps(3);
    }
    click(&mut window, "Menu");
    click(&mut window, "Help");
    assert!(window.query_by_label("Keys").is_some());
}

#[test]
fn the_scale_has_keys_and_bounds() {
    let mut window = window();
    let press = |window: &mut Window, key, times| {
        for _ in 0..times {
            window.key_press_modifiers(egui::Modifiers::COMMAND, key);
            window.run_steps(2);
        }
    };
    press(&mut window, Key::Plus, 3);
    assert!((window.state().shell.scale.0 - 1.3).abs() < 1e-4);
    press(&mut window, Key::Equals, 40);
    assert_eq!(window.state().shell.scale.0, 3.0);
    press(&mut window, Key::Num0, 1);
    assert_eq!(window.state().shell.scale.0, 1.0);
    press(&mut window, Key::Minus, 40);
    assert_eq!(window.state().shell.scale.0, 0.5);
    show_on(&mut window, vec2(1440.0, 900.0), 0.5);
    assert_eq!(window.ctx.zoom_factor(), 0.5);
}

/// A file on its way onto the window.
#[derive(Debug)]
struct Dropped(PathBuf);

impl egui::DroppedFile for Dropped {
    fn path(&self) -> &std::path::Path {
        &self.0
    }

    fn bytes(&self) -> Result<Vec<u8>, String> {
        std::fs::read(&self.0).map_err(|error| error.to_string())
    }
}

fn drop_files(window: &mut Window, paths: &[PathBuf]) {
    let files = paths.iter().map(|path| Dropped(path.clone()));
    let files = files.map(|file| std::sync::Arc::new(file) as egui::DroppedFileHandle);
    window.input_mut().dropped_files = files.collect();
    window.step();
    window.input_mut().dropped_files.clear();
    wait_until(window, |app| app.shell.studio.session.jobs.all().is_empty());
}

/// Pictures with the settings of `seeds` inside, and the beginning of one.
fn pictures(folder: &std::path::Path, seeds: &[u64]) -> (Vec<PathBuf>, PathBuf) {
    let paths = seeds.iter().map(|seed| {
        let path = folder.join(format!("cat-{seed}.png"));
        let json = format!(r#"{{"labels":[4],"seed":{seed},"steps":3}}"#);
        let picture = image::RgbImage::new(4, 4);
        std::fs::write(&path, crate::io::png::encode(&picture, &json).unwrap()).unwrap();
        path
    });
    let paths: Vec<PathBuf> = paths.collect();
    let half = folder.join("half.png");
    std::fs::write(&half, &std::fs::read(&paths[0]).unwrap()[..50]).unwrap();
    (paths, half)
}

#[test]
fn of_many_files_one_is_opened_and_the_rest_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (mut paths, half) = pictures(folder.path(), &[11, 22, 33]);
    let mut window = window();
    let banner = |window: &Window| window.state().shell.studio.session.notices.banner.clone();
    // What cannot be opened does not stand in the way of what can.
    paths.insert(0, "notes.txt".into());
    drop_files(&mut window, &paths);
    assert_eq!(window.state().shell.studio.session.draft.sampling.seed, 11);
    let told = banner(&window).unwrap();
    assert_eq!(told.level, Level::Warning);
    assert!(told.text.contains("cat-11.png") && told.text.contains("3 files"), "{}", told.text);
    // One that cannot be read is told until one can.
    drop_files(&mut window, &[half]);
    let told = banner(&window).unwrap();
    assert!(told.level == Level::Error && told.text.contains("half.png"), "{}", told.text);
    drop_files(&mut window, &paths[2..3]);
    assert_eq!(
        (window.state().shell.studio.session.draft.sampling.seed, banner(&window)),
        (22, None)
    );
    // Of none that can be opened, all are named by the first.
    drop_files(&mut window, &["a.txt".into(), "b.txt".into(), folder.path().to_owned()]);
    let told = banner(&window).unwrap();
    assert!(told.text.contains("a.txt and 2 other files were not opened"), "{}", told.text);
    drop_files(&mut window, &[folder.path().to_owned()]);
    assert!(banner(&window).unwrap().text.contains("a folder holds no model"));
}

#[test]
fn hundreds_of_files_are_one_notice() {
    let folder = tempfile::tempdir().unwrap();
    let (paths, _) = pictures(folder.path(), &(0..100).collect::<Vec<_>>());
    let mut window = window();
    let before = window.state().shell.studio.session.notices.log.len();
    drop_files(&mut window, &paths);
    let studio = &window.state().shell.studio;
    assert!(studio.session.notices.banner.as_ref().unwrap().text.contains("99 files"));
    assert!(studio.session.notices.log.len() <= before + 4, "{:?}", studio.session.notices.log);
}

#[test]
fn what_could_not_be_kept_is_said_once_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("app.ron");
    std::fs::write(&file, r#"{"purrscope-studio-2":"(scale:NaN,draft:(steps:5))"}"#).unwrap();
    let mut window = window_from(FakeWorker::default(), None, Some(file));
    wait_until(&mut window, finished);
    let banner = window.state().shell.studio.session.notices.banner.clone().unwrap();
    assert!(banner.level == Level::Warning && banner.text.contains("the scale"), "{banner:?}");
    assert!(window.query_by_label("Please note").is_some());
    assert_eq!(
        (window.state().shell.studio.session.draft.sampling.steps, window.ctx.zoom_factor()),
        (5, 1.0)
    );
}

#[test]
fn a_run_that_breaks_off_is_told_until_another_ends() {
    let worker = FakeWorker { panics_at: Some((7, 1)), ..FakeWorker::default() };
    let mut window = window_with(worker);
    wait_until(&mut window, finished);
    window.state_mut().shell.studio.session.draft.sampling.seed = 7;
    click(&mut window, "Generate");
    wait_until(&mut window, |app| app.shell.studio.session.active.is_none());
    let banner = window.state().shell.studio.session.notices.banner.clone().unwrap();
    assert!(
        banner.text.contains("told to panic") && banner.text.contains("Generate"),
        "{banner:?}"
    );
    window.state_mut().shell.studio.session.draft.sampling.seed = 8;
    click(&mut window, "Generate");
    wait_until(&mut window, finished);
    assert!(window.state().shell.studio.session.notices.banner.is_none());
}
