//! The posterior pane, by the names that a screen reader reads.

use egui_kittest::kittest::Queryable as _;

use crate::flow::Spot;
use crate::model::Objective;
use crate::studio::session::token::Token;
use crate::studio::testing::fake::{FakeWorker, PATIENCE};
use crate::studio::testing::window::{Window, click, finished, wait_until, window, window_with};

const AT: Token = Token { image: 1, row: 8, column: 8 };

/// A window in which a token of the second picture is chosen, and its likeliest codes.
fn asked() -> (Window, Vec<u32>) {
    let mut window = window();
    click(&mut window, "Picture 2");
    assert_eq!(window.state().shell.studio.session.selected, Some(AT));
    let codes = top(&window);
    (window, codes)
}

fn top(window: &Window) -> Vec<u32> {
    let shown = window.state().shell.studio.session.shown().unwrap();
    let posterior = shown.record.posterior.as_ref().unwrap();
    posterior.top_of(AT.image, AT.row, AT.column).into_iter().map(|(code, _)| code).collect()
}

/// Presses Generate and waits for the end; gives the code that the token ended on.
fn generated(window: &mut Window) -> u32 {
    let before = window.state().shell.studio.session.run.as_ref().unwrap().id;
    click(window, "Generate");
    wait_until(window, |app| {
        finished(app) && app.shell.studio.session.run.as_ref().unwrap().id > before
    });
    let run = window.state().shell.studio.session.run.as_ref().unwrap();
    run.end.as_ref().unwrap().codes[AT.index(run.shape).unwrap()]
}

#[test]
fn a_pinned_code_holds_in_the_next_run() {
    let (mut window, codes) = asked();
    let wanted = codes[2];
    click(&mut window, &format!("Pin code {wanted}"));
    assert_eq!(window.state().shell.studio.session.draft.edits.pin_of(AT), Some(wanted));
    // The belief under the pin is asked for at once, and is not taken for the run's own.
    wait_until(&mut window, |app| app.shell.studio.session.shown().unwrap().what_if);
    assert!(window.query_by_label("Under the changed settings, not yet run").is_some());
    assert!(window.query_by_label_contains("What if: 1 pin").is_some());
    assert_eq!(top(&window)[0], wanted);
    assert_eq!(generated(&mut window), wanted);
    assert!(window.query_by_label_contains("What if").is_none());
    click(&mut window, &format!("Pinned code {wanted}"));
    assert!(window.state().shell.studio.session.draft.edits.is_empty());
}

#[test]
fn a_banned_code_is_left_and_can_be_allowed_again() {
    let (mut window, codes) = asked();
    let unwanted = codes[0];
    click(&mut window, &format!("Ban code {unwanted}"));
    wait_until(&mut window, |app| app.shell.studio.session.shown().unwrap().what_if);
    assert!(!top(&window).contains(&unwanted));
    assert_ne!(generated(&mut window), unwanted);
    click(&mut window, &format!("Allow code {unwanted} again"));
    assert!(window.state().shell.studio.session.draft.edits.is_empty());
}

#[test]
fn a_code_is_banned_everywhere_from_the_menu_of_its_row() {
    let (mut window, codes) = asked();
    let row = format!("Code {}: probability", codes[1]);
    window.get_by_label_contains(&row).click_secondary();
    window.run_steps(3);
    click(&mut window, "Ban everywhere");
    assert_eq!(window.state().shell.studio.session.draft.edits.banned_codes(), [codes[1]]);
    window.run_steps(2);
    generated(&mut window);
    let run = window.state().shell.studio.session.run.as_ref().unwrap();
    assert!(!run.end.as_ref().unwrap().codes.contains(&codes[1]));
}

#[test]
fn any_code_is_pinned_by_its_number() {
    let (mut window, _) = asked();
    window.get_by_label("Code by number").focus();
    window.run_steps(2);
    window.get_by_label("Code by number").type_text("51");
    window.run_steps(3);
    assert!(window.query_by_label("Take code 510").is_some(), "numbers that begin so are offered");
    click(&mut window, "Take code 512");
    click(&mut window, "Pin the other code");
    assert_eq!(window.state().shell.studio.session.draft.edits.pin_of(AT), Some(512));
    assert_eq!(generated(&mut window), 512);
}

#[test]
fn the_runner_up_is_shown_and_a_row_shows_its_own() {
    let (mut window, codes) = asked();
    let label = |code: u32| format!("The picture with code {code}");
    let shows = |window: &mut Window, code: u32| {
        let deadline = std::time::Instant::now() + PATIENCE;
        while window.query_by_label(&label(code)).is_none() {
            assert!(std::time::Instant::now() < deadline, "code {code} was never shown");
            std::thread::sleep(std::time::Duration::from_millis(2));
            window.step();
        }
    };
    shows(&mut window, codes[1]);
    assert!(window.query_by_label_contains("of the pixels change, by").is_some());
    window.get_by_label_contains(&format!("Code {}: probability", codes[3])).hover();
    window.run_steps(2);
    shows(&mut window, codes[3]);
    let row = format!("Code {}: probability", codes[5]);
    window.get_by_label_contains(&row).click();
    window.run_steps(2);
    window.get_by_label("Picture 1").hover();
    window.run_steps(2);
    shows(&mut window, codes[5]);
}

#[test]
fn edits_are_listed_and_cleared_by_token_by_picture_and_all() {
    let (mut window, _) = asked();
    let far = Token { image: 0, row: 0, column: 0 };
    let edits = &mut window.state_mut().shell.studio.session.draft.edits;
    for token in [AT, Token { row: 2, ..AT }, far] {
        edits.pin(token, 7);
    }
    edits.ban(AT, 9);
    edits.ban_everywhere(11);
    window.run_steps(3);
    window.get_by_label("All edits: 3 pins, 2 bans").click_accesskit();
    window.run_steps(10);
    window.get_by_label("Remove nowhere #11").click_accesskit();
    window.run_steps(3);
    assert!(window.state().shell.studio.session.draft.edits.banned_codes().is_empty());
    window.get_by_label("Clear edits of this token").click_accesskit();
    window.run_steps(3);
    let spot = |image, row, column| Spot { image, row, column, code: 7 };
    assert_eq!(
        window.state().shell.studio.session.draft.edits.pins(),
        [spot(0, 0, 0), spot(1, 2, 8)]
    );
    assert!(window.state().shell.studio.session.draft.edits.bans().is_empty());
    window.get_by_label("Clear edits of this picture").click_accesskit();
    window.run_steps(3);
    assert_eq!(window.state().shell.studio.session.draft.edits.pins(), [spot(0, 0, 0)]);
    window.get_by_label("Clear every edit").click_accesskit();
    window.run_steps(3);
    assert!(window.state().shell.studio.session.draft.edits.is_empty());
    window.state_mut().shell.studio.session.undo();
    assert_eq!(
        window.state().shell.studio.session.draft.edits.pins().len(),
        1,
        "undo covers edits"
    );
}

#[test]
fn a_model_without_a_belief_says_so() {
    let mut window = window_with(FakeWorker { objective: Objective::Cfm, ..FakeWorker::default() });
    wait_until(&mut window, finished);
    assert!(window.query_by_label("This model has no belief about codes").is_some());
    window.get_by_label("Pin tool").click();
    window.run_steps(2);
    assert!(!window.state().shell.studio.canvas.tool.paints());
}

#[test]
fn every_input_has_a_name() {
    let (mut window, codes) = asked();
    window.state_mut().shell.studio.session.draft.edits.pin(AT, codes[0]);
    window.state_mut().shell.studio.session.draft.edits.ban(AT, codes[1]);
    window.run_steps(4);
    window.check_accessibility();
}

#[test]
fn a_picture_is_questioned_and_its_codes_are_marked() {
    let (mut window, _) = asked();
    let studio = &mut window.state_mut().shell.studio;
    let codes: Vec<u32> = (0..256).collect();
    let class = Some("dog-red-in-the-woods".to_owned());
    studio.canvas.begin_inpaint(&mut studio.session, codes, "mine.png".to_owned(), class, None);
    window.run_steps(3);
    click(&mut window, "Question the picture");
    wait_until(&mut window, |app| {
        app.shell.studio.is_quiet()
            && app.shell.studio.posterior.own.as_ref().is_some_and(|own| own.beliefs.len() == 20)
    });
    assert!(window.query_by_label("taken for dog-red-in-the-woods").is_some());
    // Every fifth token's code is far down the list, and is named with its place all the same.
    window.state_mut().shell.studio.posterior.own.as_mut().unwrap().token = Some(5);
    window.run_steps(3);
    assert!(window.query_by_label("Token (0, 5)").is_some());
    let marked = window.query_all_by_label_contains(", the code that the picture has").count();
    assert_eq!((marked, window.query_all_by_label_contains("Code 5: probability").count()), (1, 1));
    assert!(window.query_by_label_contains("is code 5: number 12 of the likeliest").is_some());
    // The class on the controls, and the belief about the run, are a click away.
    click(&mut window, "Ask again");
    wait_until(&mut window, |app| app.shell.studio.is_quiet());
    let class = window.state().shell.studio.session.draft.class().to_owned();
    assert!(window.query_by_label(&format!("taken for {class}")).is_some());
    click(&mut window, "This run");
    assert!(window.query_by_label("Token (8, 8)").is_some());
}
