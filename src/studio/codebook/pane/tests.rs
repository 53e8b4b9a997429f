//! The pane in a window.

use egui_kittest::kittest::{NodeT as _, Queryable as _};

use super::*;
use crate::studio::canvas::tool::Paint;
use crate::studio::session::token::Token;
use crate::studio::testing::fake::PATIENCE;
use crate::studio::testing::window::{Window, click, wait_until, window};

/// A window with the codebook in view.
fn open() -> Window {
    let mut window = window();
    window.state_mut().shell.studio.actions.push(WindowAction::Reveal(Pane::Codebook));
    window.run_steps(3);
    window
}

fn has_swatch(window: &mut Window, code: u32) -> bool {
    let ctx = window.ctx.clone();
    window.state_mut().shell.studio.codebook.atlas(&ctx, 1024).has(code)
}

#[test]
fn only_what_is_in_sight_is_decoded() {
    let mut window = open();
    let deadline = std::time::Instant::now() + PATIENCE;
    while !has_swatch(&mut window, 40) {
        assert!(std::time::Instant::now() < deadline, "no swatch came");
        std::thread::sleep(std::time::Duration::from_millis(2));
        window.step();
    }
    assert!(window.query_by_label("Code 0").is_some());
    assert!(window.query_by_label("Code 1000").is_none());
    assert!(!has_swatch(&mut window, 1000));
}

#[test]
fn a_click_gives_the_brush_its_code_and_lights_it_on_the_canvas() {
    let mut window = open();
    click(&mut window, "Code 17");
    let studio = &window.state().shell.studio;
    assert_eq!(studio.session.highlight, Some(17));
    assert_eq!((studio.canvas.brush.code, studio.canvas.brush.paint), (17, Paint::Code));
    assert!(window.query_by_label("#17").is_some());
    click(&mut window, "Ban everywhere");
    assert_eq!(window.state().shell.studio.session.draft.edits.banned_codes(), [17]);
    click(&mut window, "Banned everywhere");
    assert!(window.state().shell.studio.session.draft.edits.is_empty());
    click(&mut window, "Code 17");
    assert_eq!(window.state().shell.studio.session.highlight, None);
}

#[test]
fn the_chosen_code_is_pinned_on_the_chosen_token() {
    let mut window = open();
    let token = Token { image: 0, row: 3, column: 4 };
    window.state_mut().shell.studio.session.selected = Some(token);
    click(&mut window, "Code 5");
    click(&mut window, "Pin the code on the token");
    assert_eq!(window.state().shell.studio.session.draft.edits.pin_of(token), Some(5));
    click(&mut window, "Show on canvas");
    assert!(window.query_by_label("Picture 1").is_some());
}

#[test]
fn a_typed_number_brings_its_code_into_view() {
    let mut window = open();
    window.get_by_label("Find a code").focus();
    window.run_steps(2);
    window.get_by_label("Find a code").type_text("900");
    window.run_steps(4);
    assert_eq!(window.state().shell.studio.session.highlight, Some(900));
    assert!(window.query_by_label("Code 900").is_some());
    assert!(window.query_by_label("Code 0").is_none());
    window.get_by_label("Find a code").type_text("0");
    window.run_steps(3);
    assert!(window.query_by_label("There is no such code: 0 to 1023").is_some());
}

#[test]
fn sorted_by_use_the_most_used_code_comes_first() {
    let mut window = open();
    window.state_mut().shell.studio.codebook.order = Order::RunUsage;
    window.run_steps(3);
    let session = &window.state().shell.studio.session;
    let counts = Counts::of(session, 1024);
    let most = counts.run.iter().max().copied().unwrap();
    let best = counts.run.iter().position(|count| *count == most).unwrap();
    let first = window.get_by_label(&format!("Code {best}")).rect();
    let others: Vec<_> = window.query_all_by_label_contains("Code ").map(|it| it.rect()).collect();
    assert!(others.iter().all(|rect| {
        (rect.min.y, rect.min.x) >= (first.min.y, first.min.x) || rect.min.y < first.min.y - 40.0
    }));
    assert!(window.query_by_label_contains("1024 codes used · perplexity").is_some());
    // Moving along the timeline sorts anew.
    window.state_mut().shell.studio.session.go_to(0);
    window.run_steps(3);
    assert_ne!(Counts::of(&window.state().shell.studio.session, 1024).run, counts.run);
}

#[test]
fn similarity_is_worked_out_aside() {
    let mut window = open();
    let model = window.state().shell.studio.session.model.clone().unwrap();
    window.state_mut().shell.studio.codebook.order = Order::Similarity;
    window.step();
    let ctx = window.ctx.clone();
    let deadline = std::time::Instant::now() + PATIENCE;
    while window.state_mut().shell.studio.codebook.follow_alike(&ctx, &model).unwrap() < 1.0 {
        assert!(std::time::Instant::now() < deadline, "it was never sorted");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    window.run_steps(3);
    let first = window.get_by_label("Order of the codes").rect().bottom();
    let mut cells: Vec<_> = window
        .query_all_by_label_contains("Code ")
        .filter(|cell| cell.rect().top() > first)
        .map(|cell| (cell.rect().min, cell.accesskit_node().label().unwrap_or_default()))
        .collect();
    cells.sort_by(|a, b| (a.0.y, a.0.x).partial_cmp(&(b.0.y, b.0.x)).unwrap());
    let codes: Vec<u32> =
        cells.iter().map(|(_, label)| label.trim_start_matches("Code ").parse().unwrap()).collect();
    let far = |pair: &[u32]| {
        let all = nearest(&model.codebook, 3, pair[0], 1024);
        all.iter().position(|(code, _)| *code == pair[1]).unwrap()
    };
    let near = codes.windows(2).filter(|pair| far(pair) < 26).count();
    assert!(near * 10 > codes.len() * 9, "{near} of {} follow a code like them", codes.len());
    window.check_accessibility();
    wait_until(&mut window, |_| true);
}
