//! A thousand random things that a person might do: the window must survive them all, and whatever was
//! once in the gallery must stay in it or among what was deleted.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use egui::{Event, Key, Modifiers, MouseWheelUnit, PointerButton, Pos2, pos2, vec2};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::fake::FakeWorker;
use crate::io::png;
use crate::studio::action::{FilesAction, WindowAction};
use crate::studio::pane::Pane;
use crate::studio::session::draft::Draft;
use crate::studio::testing::fake::PATIENCE;
use crate::studio::testing::window::{Window, finished, wait_until, window_keeping};

/// Something that a person does.
#[derive(Debug, Clone)]
enum Act {
    Click(Pos2, PointerButton, bool),
    Drag(Pos2, Pos2),
    Scroll(Pos2, f32),
    Press(Key, Modifiers),
    Type(String),
    Open(&'static str),
    Show(Pane),
    Wait,
}

const KEYS: [Key; 30] = [
    Key::G,
    Key::S,
    Key::Space,
    Key::ArrowLeft,
    Key::ArrowRight,
    Key::ArrowUp,
    Key::ArrowDown,
    Key::Home,
    Key::End,
    Key::Escape,
    Key::Tab,
    Key::Enter,
    Key::Delete,
    Key::Backspace,
    Key::Num1,
    Key::Num2,
    Key::Num3,
    Key::Num5,
    Key::Num8,
    Key::B,
    Key::E,
    Key::V,
    Key::R,
    Key::F,
    Key::C,
    Key::F1,
    Key::F12,
    Key::Z,
    Key::Y,
    Key::PageDown,
];

fn place() -> impl Strategy<Value = Pos2> {
    // The bar, whose menus hold dialogs and the way out, is left to other tests.
    (0.0..1440.0f32, 50.0..900.0f32).prop_map(|(x, y)| pos2(x, y))
}

fn act() -> impl Strategy<Value = Act> {
    let button = prop_oneof![
        8 => Just(PointerButton::Primary),
        1 => Just(PointerButton::Secondary),
        1 => Just(PointerButton::Middle),
    ];
    let modifiers = prop_oneof![
        6 => Just(Modifiers::NONE),
        1 => Just(Modifiers::SHIFT),
        1 => Just(Modifiers::COMMAND),
    ];
    prop_oneof![
        8 => (place(), button, any::<bool>()).prop_map(|(at, b, twice)| Act::Click(at, b, twice)),
        3 => (place(), place()).prop_map(|(from, to)| Act::Drag(from, to)),
        2 => (place(), -200.0..200.0f32).prop_map(|(at, by)| Act::Scroll(at, by)),
        6 => (prop::sample::select(KEYS.to_vec()), modifiers).prop_map(|(k, m)| Act::Press(k, m)),
        1 => "[0-9a-z.:=,-]{1,8}".prop_map(Act::Type),
        1 => prop::sample::select(vec!["broken.safetensors", "gone.png", "a.toml", "b.pth", "c"])
            .prop_map(Act::Open),
        2 => prop::sample::select(Pane::ALL.to_vec()).prop_map(Act::Show),
        2 => Just(Act::Wait),
    ]
}

fn press(window: &Window, pos: Pos2, button: PointerButton, pressed: bool) {
    let modifiers = Modifiers::NONE;
    window.event(Event::PointerButton { pos, button, pressed, modifiers });
}

fn perform(window: &mut Window, act: &Act) {
    match act {
        Act::Click(at, button, twice) => {
            window.event(Event::PointerMoved(*at));
            for _ in 0..=usize::from(*twice) {
                press(window, *at, *button, true);
                press(window, *at, *button, false);
            }
        }
        Act::Drag(from, to) => {
            window.event(Event::PointerMoved(*from));
            press(window, *from, PointerButton::Primary, true);
            window.step();
            window.event(Event::PointerMoved(from.lerp(*to, 0.5)));
            window.step();
            window.event(Event::PointerMoved(*to));
            press(window, *to, PointerButton::Primary, false);
        }
        Act::Scroll(at, by) => {
            window.event(Event::PointerMoved(*at));
            window.event(Event::MouseWheel {
                unit: MouseWheelUnit::Point,
                delta: vec2(0.0, *by),
                phase: egui::TouchPhase::Move,
                source: egui::MouseWheelSource::Wheel,
                modifiers: Modifiers::NONE,
            });
        }
        Act::Press(key, modifiers) => window.key_press_modifiers(*modifiers, *key),
        Act::Type(text) => window.event(Event::Text(text.clone())),
        Act::Open(name) => {
            window.state_mut().shell.studio.actions.push(FilesAction::Open((*name).into()))
        }
        Act::Show(pane) => {
            window.state_mut().shell.studio.actions.push(WindowAction::Reveal(*pane))
        }
        Act::Wait => std::thread::sleep(Duration::from_millis(5)),
    }
    window.step();
}

/// Names of the pictures of a gallery, those deleted included.
fn pictures(folder: &Path) -> BTreeSet<String> {
    [folder.to_owned(), folder.join("deleted")]
        .iter()
        .flat_map(|folder| fs::read_dir(folder).into_iter().flatten())
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".png"))
        .collect()
}

#[test]
fn a_thousand_random_acts_break_nothing_and_lose_nothing() {
    const ACTS: usize = 1000;
    let seed = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), seed);
    let acts = prop::collection::vec(act(), ACTS);
    let acts = acts.new_tree(&mut runner).unwrap().current();

    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("gallery");
    fs::create_dir(home.path().join("exports")).unwrap();
    let mut window = window_keeping(FakeWorker::default(), Some(folder.clone()));
    window.state_mut().export_to(home.path().join("exports"));
    wait_until(&mut window, finished);
    wait_until(&mut window, |app| app.shell.studio.gallery.items().len() == 4);
    let mut kept = pictures(&folder);
    for (number, act) in acts.iter().enumerate() {
        perform(&mut window, act);
        if number % 25 == 24 {
            let now = pictures(&folder);
            let lost: Vec<_> = kept.difference(&now).collect();
            assert!(lost.is_empty(), "lost after act {number}, {act:?}: {lost:?}");
            kept = now;
        }
    }
    println!("{} pictures after {ACTS} acts", kept.len());
    assert!(kept.len() > 4, "nothing was generated: the acts reach nothing");

    // What is under way ends; then one more run adds its pictures, and all of them can be read.
    let app = window.state_mut();
    app.shell.page = None;
    app.shell.studio.sweep.stop(&mut app.shell.studio.session);
    app.shell.studio.session.draft = Draft { live: false, ..Draft::default() };
    app.shell.studio.session.branch = None;
    wait_until(&mut window, |app| app.shell.studio.session.active.is_none());
    let before = pictures(&folder).len();
    window.state_mut().shell.studio.session.generate();
    wait_until(&mut window, |app| {
        app.shell.studio.session.run.as_ref().is_some_and(|run| run.kept)
    });
    let deadline = std::time::Instant::now() + PATIENCE;
    while pictures(&folder).len() < before + 4 {
        assert!(std::time::Instant::now() < deadline, "the last run is not in the gallery");
        std::thread::sleep(Duration::from_millis(10));
        window.step();
    }
    for name in pictures(&folder) {
        let path = [folder.join(&name), folder.join("deleted").join(&name)];
        let path = path.iter().find(|path| path.exists()).unwrap();
        png::settings(&fs::read(path).unwrap()).unwrap();
        image::open(path).unwrap();
    }
}
