//! What the keys do.

use egui::{Context, Key, Modifiers, ViewportCommand};

use super::shell::{Page, Shell};
use crate::studio::action::WindowAction;
use crate::studio::canvas;
use crate::studio::engine::View;
use crate::studio::export::Export;
use crate::studio::session::Session;
use crate::studio::session::look::Overlay;
use crate::studio::session::token::Token;

/// Takes the keys that no widget took.
pub fn take(ctx: &Context, shell: &mut Shell) {
    shell.scale.keys(ctx);
    if ctx.text_edit_focused() {
        return;
    }
    let pressed = |modifiers, key| ctx.input_mut(|input| input.consume_key(modifiers, key));
    let plain = |key| pressed(Modifiers::NONE, key);
    if ctx.input(|input| input.key_pressed(Key::Questionmark)) || plain(Key::F1) {
        shell.page = if shell.page.is_none() { Some(Page::Keys) } else { None };
    }
    if plain(Key::F12) {
        shell.figures = !shell.figures;
    }
    // An open menu closes by itself on this key.
    if !egui::Popup::is_any_open(ctx) && plain(Key::Escape) {
        shell.escape();
    }
    if shell.page.is_some() {
        return;
    }
    commands(ctx, shell);
    let studio = &mut shell.studio;
    canvas::pane::shortcuts(ctx, &mut studio.canvas, &studio.session);
    run(ctx, &mut studio.session);
}

/// Keys with which something is done, whatever has the focus.
fn commands(ctx: &Context, shell: &mut Shell) {
    let pressed = |modifiers, key| ctx.input_mut(|input| input.consume_key(modifiers, key));
    let studio = &mut shell.studio;
    // With more modifiers first: a chord also matches with fewer.
    if pressed(Modifiers::COMMAND | Modifiers::SHIFT, Key::Z) || pressed(Modifiers::COMMAND, Key::Y)
    {
        studio.session.redo();
    }
    if pressed(Modifiers::COMMAND, Key::Z) {
        studio.session.undo();
    }
    if pressed(Modifiers::COMMAND | Modifiers::SHIFT, Key::S) {
        let picture = studio.session.selected.map_or(0, |token| token.image);
        studio.export(Export::Picture(picture));
    }
    if pressed(Modifiers::COMMAND, Key::S) {
        studio.keep();
    }
    if pressed(Modifiers::COMMAND, Key::O) {
        studio.actions.push(WindowAction::ChooseFile);
    }
    if pressed(Modifiers::COMMAND, Key::Q) {
        ctx.send_viewport_cmd(ViewportCommand::Close);
    }
}

/// Keys of the run: making it, going through it, looking at it.
fn run(ctx: &Context, session: &mut Session) {
    let pressed = |modifiers, key| ctx.input_mut(|input| input.consume_key(modifiers, key));
    let plain = |key| pressed(Modifiers::NONE, key);
    if plain(Key::G) {
        session.generate();
    }
    if plain(Key::S) {
        session.stop();
    }
    for (key, rows, columns) in [
        (Key::ArrowUp, -1, 0),
        (Key::ArrowDown, 1, 0),
        (Key::ArrowLeft, 0, -1),
        (Key::ArrowRight, 0, 1),
    ] {
        if pressed(Modifiers::SHIFT, key) {
            move_token(session, rows, columns);
        }
    }
    // These keys belong to the widget that has the focus, if one has.
    if ctx.memory(|memory| memory.focused().is_some()) {
        return;
    }
    if plain(Key::Space) {
        session.toggle_play();
    }
    for (key, by) in [
        (Key::ArrowLeft, -1),
        (Key::ArrowRight, 1),
        (Key::Home, isize::MIN),
        (Key::End, isize::MAX),
    ] {
        if plain(key) {
            session.step_by(by);
        }
    }
    for (key, view) in
        [(Key::Num1, View::Predicted), (Key::Num2, View::Likeliest), (Key::Num3, View::State)]
    {
        if plain(key) {
            session.look.view = view;
        }
    }
    let keys = [Key::Num4, Key::Num5, Key::Num6, Key::Num7, Key::Num8, Key::Num9];
    for (key, overlay) in keys.into_iter().zip(Overlay::ALL) {
        if plain(key) {
            session.look.overlay = overlay;
        }
    }
}

/// Moves the chosen token by rows and columns, within its picture.
fn move_token(session: &mut Session, rows: isize, columns: isize) {
    let Some(shape) = session.run.as_ref().map(|run| run.shape) else { return };
    let Some(Token { row, column, .. }) = &mut session.selected else { return };
    *row = row.saturating_add_signed(rows).min(shape.height - 1);
    *column = column.saturating_add_signed(columns).min(shape.width - 1);
}
