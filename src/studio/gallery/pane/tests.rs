//! The pane, driven by the names that a screen reader reads.

use std::time::{Duration, Instant};

use egui::{Key, Modifiers, Role, Theme, vec2};
use egui_kittest::Harness;
use egui_kittest::kittest::{By, Queryable as _};

use super::*;
use crate::studio::base::theme;
use crate::studio::base::widgets::job_strip;
use crate::studio::engine::ModelSource;
use crate::studio::export::export_menu;
use crate::studio::session::Outcome;
use crate::studio::testing::bench::Bench;
use crate::studio::testing::fake::{FakeWorker, PATIENCE};
use crate::studio::window::studio::Studio;

type Pane = Harness<'static, Bench>;

fn pane_of(size: egui::Vec2, bench: Bench) -> Pane {
    let mut styled = false;
    Harness::builder().with_size(size).with_step_dt(1.0 / 30.0).with_max_steps(64).build_ui_state(
        move |ui, bench: &mut Bench| {
            if !std::mem::replace(&mut styled, true) {
                theme::apply(ui.ctx());
            }
            bench.frame();
            let fill = ui.visuals().panel_fill;
            ui.painter().rect_filled(ui.ctx().content_rect(), 0.0, fill);
            let rect = ui.max_rect().shrink(PANE_MARGIN);
            ui.scope_builder(UiBuilder::new().max_rect(rect), |ui| {
                let Studio { gallery, gallery_pane, actions, .. } = &mut bench.studio;
                show(ui, gallery_pane, gallery, actions);
            });
        },
        bench,
    )
}

/// The pane over three runs: two cats, two dogs, two cats again.
fn pane(size: egui::Vec2) -> Pane {
    let mut bench = Bench::idle(FakeWorker::default());
    bench.studio.session.draft.count = 2;
    bench.studio.session.load_model(ModelSource::Embedded);
    bench.until_kept(2);
    bench.studio.session.draft.choose_class("dog-golden-in-a-meadow");
    bench.studio.session.draft.sampling.seed = 7;
    bench.studio.session.generate();
    bench.until_kept(4);
    bench.studio.session.draft.choose_class("cat-orange-in-a-meadow");
    bench.studio.session.draft.sampling.guidance = 3.0;
    bench.studio.session.draft.sampling.seed = 8;
    bench.studio.session.generate();
    bench.until_kept(6);
    let mut pane = pane_of(size, bench);
    pane.run_steps(3);
    pane
}

fn wait(pane: &mut Pane, done: impl Fn(&Pane) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done(pane) {
        assert!(Instant::now() < deadline, "it never came");
        std::thread::sleep(Duration::from_millis(2));
        pane.step();
    }
    pane.run_steps(2);
}

fn click(pane: &mut Pane, label: &str) {
    pane.get_by_label(label).click();
    pane.run_steps(3);
}

fn picture(label: &str) -> By<'_> {
    By::new().role(Role::ListBoxOption).label_contains(label)
}

fn pick(pane: &mut Pane, label: &str, modifiers: Modifiers) {
    pane.get(picture(label)).click_modifiers(modifiers);
    pane.run_steps(3);
}

fn chosen(pane: &Pane) -> Vec<String> {
    let Studio { gallery, gallery_pane, .. } = &pane.state().studio;
    let titles = gallery_pane.chosen.iter().map(|name| gallery.item(name).unwrap().title());
    titles.collect()
}

fn shown(pane: &Pane) -> usize {
    pane.query_all_by_role(Role::ListBoxOption).count()
}

const WIDE: egui::Vec2 = vec2(1000.0, 700.0);
const FIRST: &str = "cat-orange-in-a-meadow, seed 8, picture 1";
const DOG: &str = "dog-golden-in-a-meadow, seed 7, picture 2";

#[test]
fn a_filter_of_words_and_of_favourites() {
    let mut pane = pane(WIDE);
    assert_eq!(shown(&pane), 6);
    pane.get_by_label("Filter pictures").focus();
    pane.run_steps(2);
    pane.get_by_label("Filter pictures").type_text("Dog-golden seed7");
    pane.run_steps(3);
    assert_eq!(shown(&pane), 2);
    assert!(pane.query_by_label("2 of 6 pictures").is_some());
    pane.get_by_label("Filter pictures").type_text(" nothing of the kind");
    pane.run_steps(3);
    assert!(pane.query_by_label("No picture matches").is_some());
    pane.state_mut().studio.gallery_pane.filter.clear();
    pane.run_steps(2);
    pick(&mut pane, DOG, Modifiers::NONE);
    click(&mut pane, "Favourite");
    click(&mut pane, "Favourites");
    assert_eq!(shown(&pane), 1);
    assert!(pane.query(picture(&format!("{DOG}, favourite"))).is_some());
}

#[test]
fn pictures_are_chosen_by_pointer_and_by_key() {
    let mut pane = pane(WIDE);
    assert!(chosen(&pane).is_empty());
    pick(&mut pane, FIRST, Modifiers::NONE);
    assert_eq!(chosen(&pane), [FIRST]);
    assert!(pane.query_by_label("Temperature").is_some(), "the details are shown");
    pick(&mut pane, DOG, Modifiers::COMMAND);
    assert_eq!(chosen(&pane), [FIRST, DOG]);
    pick(&mut pane, DOG, Modifiers::COMMAND);
    assert_eq!(chosen(&pane), [FIRST]);
    pick(&mut pane, FIRST, Modifiers::NONE);
    pane.key_press(Key::ArrowRight);
    pane.run_steps(2);
    assert_eq!(chosen(&pane), ["cat-orange-in-a-meadow, seed 8, picture 2"]);
    pane.key_press_modifiers(Modifiers::SHIFT, Key::End);
    pane.run_steps(2);
    assert_eq!(chosen(&pane).len(), 5);
    pane.key_press(Key::Home);
    pane.key_press(Key::F);
    pane.run_steps(2);
    let gallery = &pane.state().studio.gallery;
    assert!(gallery.is_favourite(&gallery.items()[0].name));
}

#[test]
fn two_pictures_are_compared() {
    let mut pane = pane(WIDE);
    pick(&mut pane, FIRST, Modifiers::NONE);
    pick(&mut pane, DOG, Modifiers::COMMAND);
    click(&mut pane, "Compare");
    wait(&mut pane, |pane| pane.query_by_label_contains("Difference: mean").is_some());
    assert!(pane.query_by_label("What differs").is_some());
    for differing in ["Class", "Seed", "Guidance", "Picture"] {
        assert!(pane.query_by_label(differing).is_some(), "{differing}");
    }
    assert!(pane.query_by_label("Solver").is_none(), "what is the same is not listed");
    click(&mut pane, "Swipe");
    assert!(pane.query_by_label("Place of the line").is_some());
    click(&mut pane, "Blend");
    assert!(pane.query_by_label("How much the second is seen").is_some());
    click(&mut pane, "Back");
    assert_eq!(shown(&pane), 6);
}

#[test]
fn a_deleted_picture_is_brought_back() {
    let mut pane = pane(WIDE);
    pick(&mut pane, DOG, Modifiers::NONE);
    click(&mut pane, "Delete");
    assert_eq!(shown(&pane), 5);
    assert_eq!(chosen(&pane).len(), 1, "its neighbour is chosen");
    click(&mut pane, "Undo delete");
    wait(&mut pane, |pane| shown(pane) == 6);
    assert!(pane.query(picture(DOG)).is_some());
}

#[test]
fn settings_are_restored() {
    let mut pane = pane(WIDE);
    pick(&mut pane, DOG, Modifiers::NONE);
    click(&mut pane, "Restore settings");
    wait(&mut pane, |pane| pane.state().is_done());
    let studio = &pane.state().studio;
    let settings = &studio.session.run.as_ref().unwrap().settings;
    assert_eq!((settings.seed, settings.labels.as_slice()), (7, &[32, 32][..]));
    assert_eq!(
        (studio.session.draft.class(), studio.session.draft.sampling.guidance),
        ("dog-golden-in-a-meadow", 1.5)
    );
}

#[test]
fn a_picture_is_copied_out() {
    let mut pane = pane(WIDE);
    pick(&mut pane, DOG, Modifiers::NONE);
    click(&mut pane, "Export...");
    wait(&mut pane, |pane| pane.state().exported().len() == 1);
    wait(&mut pane, |pane| pane.state().studio.session.jobs.all().is_empty());
    pick(&mut pane, FIRST, Modifiers::COMMAND);
    click(&mut pane, "Export...");
    wait(&mut pane, |pane| pane.state().exported().len() == 3);
    let bench = pane.state();
    let file = bench.studio.gallery_pane.chosen[0].clone();
    let kept = std::fs::read(bench.studio.gallery.path(&file).unwrap()).unwrap();
    assert!(bench.exported().iter().any(|(name, bytes)| *name == file && *bytes == kept));
    assert!(bench.errors().is_empty());
}

#[test]
fn an_empty_gallery_says_what_will_be_there_and_none_why() {
    let bench = Bench::idle(FakeWorker::default());
    let mut pane = pane_of(WIDE, bench);
    wait(&mut pane, |pane| !pane.state().studio.gallery.is_scanning());
    assert!(pane.query_by_label("No pictures yet").is_some());
    pane.state_mut().studio.gallery = Gallery::default();
    pane.run_steps(2);
    assert!(pane.query_by_label("The gallery has no folder").is_some());
}

#[test]
fn a_full_disk_is_told_in_the_pane() {
    let bench = Bench::idle(FakeWorker::default());
    let path = bench.place.path().join("gallery");
    std::fs::write(&path, "").unwrap();
    let mut pane = pane_of(WIDE, bench);
    pane.state_mut().studio.session.load_model(ModelSource::Embedded);
    wait(&mut pane, |pane| pane.query_by_label_contains("4 pictures are not on disk").is_some());
    std::fs::remove_file(&path).unwrap();
    click(&mut pane, "Retry");
    wait(&mut pane, |pane| shown(pane) == 4);
    assert!(pane.query_by_label_contains("not on disk").is_none());
}

/// A gallery of many pictures, as others would have made them.
fn many(bench: &mut Bench, count: usize) {
    let folder = bench.place.path().join("gallery");
    std::fs::create_dir_all(&folder).unwrap();
    let one = bench.studio.gallery.items()[0].name.clone();
    let bytes = std::fs::read(folder.join(one)).unwrap();
    for at in 0..count {
        let (minute, second) = (at / 60 % 60, at % 60);
        let name = format!("20200101-{:02}{minute:02}{second:02}-000-000-x.png", at / 3600);
        std::fs::write(folder.join(name), &bytes).unwrap();
    }
    bench.studio.gallery = Gallery::default();
    bench.open_gallery();
}

#[test]
fn of_thousands_only_those_in_view_are_laid_out_and_loaded() {
    let mut bench = Bench::new(FakeWorker::default());
    bench.until_kept(4);
    many(&mut bench, 3000);
    let begun = Instant::now();
    bench.until_kept(3004);
    println!("3004 pictures were found in {:?}", begun.elapsed());
    let mut pane = pane_of(WIDE, bench);
    pane.run_steps(20);
    let begun = Instant::now();
    pane.run_steps(10);
    println!("a frame over 3004 pictures: {:?}", begun.elapsed() / 10);
    assert!(shown(&pane) < 60, "{} thumbnails are laid out", shown(&pane));
    let first = pane.state().studio.gallery.items()[0].date();
    pick(
        &mut pane,
        &format!("cat-orange-in-a-meadow, seed 42, picture 1, {first}"),
        Modifiers::NONE,
    );
    pane.key_press(Key::End);
    pane.run_steps(30);
    let last = pane.state().studio.gallery.items().last().unwrap().date();
    assert!(pane.query(picture(&last)).is_some(), "the last one is in view");
}

#[test]
fn every_input_of_the_pane_has_a_name() {
    let mut pane = pane(WIDE);
    pick(&mut pane, DOG, Modifiers::NONE);
    pane.check_accessibility();
}

#[test]
fn the_menu_of_exports_and_the_jobs() {
    let bench = Bench::new(FakeWorker::default());
    let mut menu = Harness::builder().with_size(vec2(600.0, 400.0)).build_ui_state(
        |ui, bench: &mut Bench| {
            bench.frame();
            if let Some(what) = export_menu(ui, &bench.studio.session) {
                bench.studio.export(what);
            }
            job_strip(ui, &bench.studio.session.jobs);
        },
        bench,
    );
    menu.run_steps(2);
    for name in [
        "Contact sheet (PNG)",
        "Animation (GIF)",
        "Animation (APNG)",
        "Trajectory (safetensors)",
        "Numbers of every step (CSV)",
        "Settings (TOML)",
    ] {
        menu.get_by_label(name).click();
        menu.run_steps(2);
    }
    let deadline = Instant::now() + PATIENCE;
    while menu.state().exported().len() < 6 {
        assert!(Instant::now() < deadline, "{:?}", menu.state().errors());
        std::thread::sleep(Duration::from_millis(2));
        menu.step();
    }
    menu.state_mut().studio.session.jobs.start("Endless", |progress| {
        progress.reach(0.25);
        while !progress.is_cancelled() {
            std::thread::sleep(Duration::from_millis(1));
        }
        Outcome::Cancelled
    });
    while menu.query_by_label("Cancel: Endless").is_none() {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(10));
        menu.step();
    }
    assert!(menu.query_by_label("Endless: 25 %").is_some());
    menu.get_by_label("Cancel: Endless").click();
    while !menu.state().studio.session.jobs.all().is_empty() {
        assert!(Instant::now() < deadline);
        menu.step();
    }
}

/// Pictures of the pane for a look, not a test; see `screenshots` of the window.
#[test]
#[ignore = "writes pictures to look at"]
fn screenshots_of_the_gallery() {
    let folder = std::path::PathBuf::from(std::env::var_os("PURRSCOPE_SHOTS").unwrap());
    for (name, size, light) in [
        ("wide", vec2(1000.0, 640.0), false),
        ("light", vec2(1000.0, 640.0), true),
        ("narrow", vec2(320.0, 760.0), false),
        ("middle", vec2(560.0, 420.0), true),
    ] {
        let shoot = |pane: &mut Pane, what: &str| {
            pane.run_steps(3);
            pane.render().unwrap().save(folder.join(format!("gallery-{name}-{what}.png"))).unwrap();
        };
        let dress = |pane: &mut Pane| {
            pane.ctx.set_theme(if light { Theme::Light } else { Theme::Dark });
            pane.run_steps(12);
        };
        let mut empty = pane_of(size, Bench::idle(FakeWorker::default()));
        dress(&mut empty);
        shoot(&mut empty, "empty");
        let mut bench = Bench::idle(FakeWorker::default());
        bench.studio.session.draft.classes =
            ["cat-orange-in-a-meadow", "dog-golden-in-a-meadow", "dog-red-in-the-woods", "monster"]
                .map(str::to_owned)
                .into();
        bench.studio.session.draft.count = 16;
        bench.studio.session.load_model(ModelSource::Embedded);
        bench.until_kept(16);
        bench.studio.session.draft.sampling.guidance = 3.0;
        bench.studio.session.draft.from = 0.7;
        bench.studio.session.generate();
        bench.until_kept(32);
        let mut pane = pane_of(size, bench);
        dress(&mut pane);
        std::thread::sleep(Duration::from_millis(200));
        shoot(&mut pane, "many");
        let first = pane.state().studio.gallery.items()[1].name.clone();
        let other = pane.state().studio.gallery.items()[18].name.clone();
        let Studio { gallery, gallery_pane, .. } = &mut pane.state_mut().studio;
        gallery.set_favourite(std::slice::from_ref(&first), true);
        gallery_pane.choose_only(first);
        shoot(&mut pane, "one");
        pane.state_mut().studio.gallery_pane.toggle(other);
        shoot(&mut pane, "two");
        pane.state_mut().studio.gallery_pane.begin_compare();
        pane.run_steps(5);
        std::thread::sleep(Duration::from_millis(100));
        shoot(&mut pane, "compare");
        click(&mut pane, "Swipe");
        shoot(&mut pane, "swipe");
    }
}
