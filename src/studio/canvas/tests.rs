//! The tools of the canvas, by the names that a screen reader reads.

use egui::{Key, PointerButton, Pos2, Vec2};
use egui_kittest::kittest::Queryable as _;

use super::tool::{Paint, Tool};
use crate::studio::session::draft::Draft;
use crate::studio::session::token::Token;
use crate::studio::testing::window::{Window, click, finished, wait_until, window};
use crate::studio::window::studio::Studio;

const SIDE: usize = 16;

/// Where a token is on the screen.
fn place(window: &Window, picture: &str, row: usize, column: usize) -> Pos2 {
    let rect = window.get_by_label(picture).rect();
    let part = |at: usize| (at as f32 + 0.5) / SIDE as f32;
    rect.min + rect.size() * Vec2::new(part(column), part(row))
}

/// Drags from one token to another.
fn stroke(window: &mut Window, picture: &str, from: (usize, usize), to: (usize, usize)) {
    let ends = [from, to].map(|(row, column)| place(window, picture, row, column));
    window.hover_at(ends[0]);
    window.step();
    window.drag_at(ends[0]);
    window.step();
    window.hover_at(ends[1]);
    window.step();
    window.drop_at(ends[1]);
    window.run_steps(2);
}

/// Presses a button and waits for the end of the run that it begins.
fn run_by(window: &mut Window, button: &str) {
    let before = window.state().shell.studio.session.run.as_ref().unwrap().id;
    click(window, button);
    wait_until(window, |app| {
        finished(app) && app.shell.studio.session.run.as_ref().unwrap().id > before
    });
}

fn codes(window: &Window) -> Vec<u32> {
    window.state().shell.studio.session.run.as_ref().unwrap().end.as_ref().unwrap().codes.clone()
}

#[test]
fn a_quick_stroke_of_the_pin_brush_holds_every_token_under_it() {
    let mut window = window();
    let before = codes(&window);
    window.key_press(Key::B);
    window.run_steps(2);
    assert_eq!(window.state().shell.studio.canvas.tool, Tool::Pin);
    stroke(&mut window, "Picture 1", (3, 2), (3, 12));
    let studio = &window.state().shell.studio;
    let pins = studio.session.draft.edits.pins();
    assert_eq!(pins.len(), 11);
    assert!(pins.iter().all(|pin| pin.row == 3 && pin.code == before[3 * SIDE + pin.column]));
    assert!(studio.session.selected.is_none(), "painting chooses no token");
    run_by(&mut window, "Generate");
    let after = codes(&window);
    assert_eq!(after[3 * SIDE + 2..=3 * SIDE + 12], before[3 * SIDE + 2..=3 * SIDE + 12]);
    window.state_mut().shell.studio.session.undo();
    window.state_mut().shell.studio.session.undo();
    assert!(
        window.state().shell.studio.session.draft.edits.is_empty(),
        "a stroke is one step of undo"
    );
}

#[test]
fn a_chosen_code_is_painted_with_a_wide_brush_and_erased() {
    let mut window = window();
    click(&mut window, "Pin tool");
    click(&mut window, "One code");
    window.state_mut().shell.studio.canvas.brush.code = 77;
    window.state_mut().shell.studio.canvas.brush.size = 3;
    stroke(&mut window, "Picture 2", (0, 0), (0, 0));
    assert_eq!(
        window.state().shell.studio.session.draft.edits.pins().len(),
        4,
        "the corner cuts the brush"
    );
    stroke(&mut window, "Picture 2", (8, 8), (8, 8));
    assert_eq!(window.state().shell.studio.session.draft.edits.pins().len(), 4 + 9);
    let middle = Token { image: 1, row: 8, column: 8 };
    assert_eq!(window.state().shell.studio.session.draft.edits.pin_of(middle), Some(77));
    window.key_press(Key::E);
    window.state_mut().shell.studio.canvas.brush.size = 1;
    window.run_steps(2);
    stroke(&mut window, "Picture 2", (8, 7), (8, 9));
    assert_eq!(window.state().shell.studio.session.draft.edits.pins().len(), 4 + 6);
    assert_eq!(window.state().shell.studio.session.draft.edits.pin_of(middle), None);
    run_by(&mut window, "Generate");
    let at = SIDE * SIDE + 9 * SIDE + 8;
    assert_eq!(codes(&window)[at], 77);
    click(&mut window, "Clear all edits");
    assert!(window.state().shell.studio.session.draft.edits.is_empty());
}

#[test]
fn painting_does_not_move_the_canvas_but_the_right_button_does() {
    let mut window = window();
    window.key_press(Key::B);
    window.run_steps(2);
    let before = window.get_by_label("Picture 1").rect();
    stroke(&mut window, "Picture 1", (2, 2), (9, 9));
    assert_eq!(window.get_by_label("Picture 1").rect(), before);
    let pins = window.state().shell.studio.session.draft.edits.pins().len();
    let from = place(&window, "Picture 1", 5, 5);
    for (at, pressed) in [(from, Some(true)), (from + Vec2::splat(40.0), None)] {
        window.event(egui::Event::PointerMoved(at));
        if let Some(pressed) = pressed {
            let button = PointerButton::Secondary;
            let modifiers = egui::Modifiers::NONE;
            window.event(egui::Event::PointerButton { pos: at, button, pressed, modifiers });
        }
        window.step();
    }
    window.run_steps(2);
    assert_ne!(window.get_by_label("Picture 1").rect().min, before.min);
    assert_eq!(window.state().shell.studio.session.draft.edits.pins().len(), pins);
}

#[test]
fn keys_do_not_change_the_tool_while_one_types_and_escape_puts_it_down() {
    let mut window = window();
    window.get_by_label("Search classes").focus();
    window.run_steps(2);
    window.key_press(Key::B);
    window.run_steps(2);
    assert_eq!(window.state().shell.studio.canvas.tool, Tool::Look);
    click(&mut window, "Erase tool");
    window.key_press(Key::Escape);
    window.run_steps(2);
    assert_eq!(window.state().shell.studio.canvas.tool, Tool::Look);
}

#[test]
fn a_region_is_made_anew_and_the_rest_stays() {
    let mut window = window();
    // Half way the picture is rough: what is regenerated comes out otherwise.
    window.state_mut().shell.studio.session.go_to(6);
    window.run_steps(2);
    let before = window.state().shell.studio.session.shown_codes().unwrap();
    let own = window.state().shell.studio.session.draft.clone();
    // The first words of the program lie over the third picture.
    click(&mut window, "Got it");
    window.key_press(Key::R);
    window.run_steps(2);
    window.state_mut().shell.studio.canvas.brush.region_size = 5;
    stroke(&mut window, "Picture 3", (8, 4), (8, 11));
    let studio = &window.state().shell.studio;
    assert_eq!(studio.canvas.inpaint.region.count(), 5 * 12);
    assert!(studio.session.draft.edits.is_empty(), "a region is no edit yet");
    window.state_mut().shell.studio.canvas.inpaint.seeds = 3;
    run_by(&mut window, "Regenerate region");
    let studio = &window.state().shell.studio;
    let run = studio.session.run.as_ref().unwrap();
    assert_eq!(run.settings.labels.len(), 3);
    assert_ne!(run.settings.seed, own.sampling.seed, "an unlocked seed is new");
    let (region, after) = (&studio.canvas.inpaint.region, codes(&window));
    let subject = &before[2 * SIDE * SIDE..3 * SIDE * SIDE];
    let mut anew = 0;
    for image in 0..3 {
        for (at, code) in subject.iter().enumerate() {
            let is = after[image * SIDE * SIDE + at];
            if region.contains(at / SIDE, at % SIDE) {
                anew += usize::from(is != *code);
            } else {
                assert_eq!(is, *code, "image {image}, token {at}");
            }
        }
    }
    assert!(anew > 0, "nothing was made anew");
    // Once more: the same region of the same picture.
    run_by(&mut window, "Regenerate region");
    let outside = |codes: &[u32]| codes[..5 * SIDE].to_vec();
    assert_eq!(outside(&codes(&window)), outside(subject));
    click(&mut window, "Original");
    assert!(window.query_by_label("Picture to change").is_some());
    click(&mut window, "Done with the region");
    let studio = &window.state().shell.studio;
    let same = |of: &Draft| (of.classes.clone(), of.count, of.edits.clone());
    assert_eq!(same(&studio.session.draft), same(&own), "the controls are as they were");
    assert!(
        studio.canvas.inpaint.subject().is_none() && studio.session.run.as_ref().unwrap().id > 2
    );
}

fn inpaint(window: &mut Window, picture: image::RgbImage, name: String) {
    let Studio { canvas, session, .. } = &mut window.state_mut().shell.studio;
    canvas.inpaint_picture(session, picture, name);
}

#[test]
fn a_picture_from_outside_is_shown_as_its_codes_first_and_then_painted() {
    let mut window = window();
    let picture = image::RgbImage::from_fn(200, 120, |x, y| image::Rgb([x as u8, y as u8, 90]));
    let grey = image::RgbImage::from_pixel(64, 64, image::Rgb([90; 3]));
    inpaint(&mut window, picture, "holiday.png".to_owned());
    wait_until(&mut window, |app| {
        app.shell.studio.canvas.inpaint.subject().is_some_and(|subject| subject.picture().is_some())
    });
    assert!(
        window.query_by_label_contains("Decoded from the model's codes: holiday.png").is_some()
    );
    assert!(window.query_by_label("Picture 1").is_none());
    window.state_mut().shell.studio.canvas.brush.region_size = 1;
    click(&mut window, "Picture to change");
    assert_eq!(window.state().shell.studio.canvas.inpaint.region.count(), 1);
    click(&mut window, "Invert");
    assert_eq!(window.state().shell.studio.canvas.inpaint.region.count(), SIDE * SIDE - 1);
    click(&mut window, "Invert");
    let subject = window.state().shell.studio.canvas.inpaint.subject().unwrap().codes().to_vec();
    run_by(&mut window, "Regenerate region");
    let after = codes(&window);
    assert_eq!(after.len(), 4 * SIDE * SIDE);
    for (at, code) in after.iter().enumerate() {
        let token = at % (SIDE * SIDE);
        assert!(token == 8 * SIDE + 8 || *code == subject[token], "token {at}");
    }
    // Another picture takes its place.
    inpaint(&mut window, grey, "grey.png".to_owned());
    wait_until(&mut window, |app| {
        app.shell.studio.canvas.inpaint.subject().is_some_and(|subject| subject.name == "grey.png")
    });
    assert_eq!(window.state().shell.studio.canvas.inpaint.region.count(), 0);
    assert!(window.query_by_label("Picture to change").is_some());
}

#[test]
fn the_brush_has_the_code_that_it_is_given() {
    let mut window = window();
    click(&mut window, "Pin tool");
    assert_eq!(window.state().shell.studio.canvas.brush.paint, Paint::Present);
    assert!(window.query_by_label("Code of the brush").is_none());
    click(&mut window, "One code");
    window.get_by_label("Code of the brush").set_value_accesskit(600.0);
    window.run_steps(3);
    assert_eq!(window.state().shell.studio.canvas.brush.code, 600);
    window.check_accessibility();
}
