//! Strokes of the pointer on the pictures.

use egui::{Context, Key, Modifiers, PointerButton, Response, Ui, Vec2};

use crate::studio::canvas::Canvas;
use crate::studio::canvas::camera::Placement;
use crate::studio::canvas::tool::{Brush, Paint, Stroke, Tool};
use crate::studio::session::Session;
use crate::studio::session::token::Token;

/// Places from `from`, which is left out, to `to`, at most half a token apart.
fn between(from: Vec2, to: Vec2) -> impl Iterator<Item = Vec2> {
    let parts = ((to - from).length() * 2.0).ceil().clamp(1.0, 4096.0);
    (1..=parts as usize).map(move |part| from + (to - from) * (part as f32 / parts))
}

/// Takes the keys of the tools. With the space bar held over the canvas, dragging moves it whatever
/// the tool, so that the bar then does not play.
pub fn shortcuts(ctx: &Context, canvas: &mut Canvas, session: &Session) {
    for (tool, key) in Tool::ALL {
        if ctx.input_mut(|input| input.consume_key(Modifiers::NONE, key))
            && (tool == Tool::Look || session.can_edit())
        {
            canvas.tool = tool;
        }
    }
    if canvas.tool.paints() && canvas.over {
        ctx.input_mut(|input| input.consume_key(Modifiers::NONE, Key::Space));
    }
}

/// How far the canvas is dragged, in points: by any button while looking; else by the right or the
/// middle one, or with the space bar held.
pub(super) fn drag(ui: &Ui, tool: Tool, responses: &[Response]) -> Vec2 {
    let Some(dragged) = responses.iter().find(|response| response.dragged()) else {
        return Vec2::ZERO;
    };
    let moves = !tool.paints()
        || dragged.dragged_by(PointerButton::Middle)
        || dragged.dragged_by(PointerButton::Secondary)
        || ui.input(|input| input.key_down(Key::Space));
    if moves { dragged.drag_delta() } else { Vec2::ZERO }
}

/// Paints with the tool in hand, from where the stroke was to where the pointer is. `subject` says that
/// the picture shown is the one that is regenerated, not a run.
pub(super) fn paint(
    ui: &Ui,
    canvas: &mut Canvas,
    session: &mut Session,
    responses: &[Response],
    placement: &Placement,
    subject: bool,
) {
    let (down, moves) =
        ui.input(|input| (input.pointer.primary_down(), input.key_down(Key::Space)));
    let held = responses.iter().any(Response::is_pointer_button_down_on) && down && !moves;
    if !canvas.tool.paints() || !held {
        canvas.stroke = None;
        return;
    }
    let Some(pointer) = ui.input(|input| input.pointer.interact_pos()) else { return };
    let under = placement.under(pointer);
    let begins = match (&canvas.stroke, under) {
        (None, _) => true,
        // A stroke that comes to another picture goes on there.
        (Some(stroke), Some((image, _))) => stroke.image != image,
        (Some(_), None) => false,
    };
    if begins {
        let Some((image, at)) = under else { return };
        let codes = match canvas.stroke.take() {
            Some(stroke) => stroke.codes,
            None => session.shown_codes().unwrap_or_default().into(),
        };
        if !begin(canvas, session, image, subject) {
            return;
        }
        canvas.stroke = Some(Stroke { image, last: at, codes });
        stamp(canvas, session, placement, at);
    } else if let Some(stroke) = &mut canvas.stroke {
        let at = placement.on(stroke.image, pointer);
        let from = std::mem::replace(&mut stroke.last, at);
        if from != at {
            between(from, at).for_each(|at| stamp(canvas, session, placement, at));
        }
    }
}

/// Prepares a stroke on a picture; says whether there can be one.
fn begin(canvas: &mut Canvas, session: &mut Session, image: usize, subject: bool) -> bool {
    if canvas.tool == Tool::Region {
        let run = session.run.as_ref().map(|run| run.id);
        if !subject && run.is_some_and(|run| !canvas.inpaint.lies_on(run, image)) {
            canvas.inpaint_shown(session, image);
        }
        return canvas.inpaint.subject().is_some();
    }
    !subject && session.can_edit()
}

/// Does once, at one place of the stroke, what the tool does.
fn stamp(canvas: &mut Canvas, session: &mut Session, placement: &Placement, at: Vec2) {
    let Some(Stroke { image, codes, .. }) = &canvas.stroke else { return };
    let (image, shape, mut brush) = (*image, placement.shape, canvas.brush);
    let shrink = brush.takes_away;
    let size = *brush.side(canvas.tool);
    for (row, column) in Brush::footprint(size, at, shape.height, shape.width) {
        let token = Token { image, row, column };
        match canvas.tool {
            Tool::Look => {}
            Tool::Erase => session.draft.edits.unpin(token),
            Tool::Region => canvas.inpaint.region.set(row, column, !shrink),
            Tool::Pin => {
                let present = token.index(shape).and_then(|at| codes.get(at)).copied();
                let code = match brush.paint {
                    Paint::Present => present,
                    Paint::Code => Some(brush.code),
                };
                if let Some(code) = code {
                    session.draft.edits.pin(token, code);
                }
            }
        }
    }
}

/// The tokens that a brush of `size` tokens would paint with the pointer at `at`, in tokens, as one rectangle of
/// `(row, column)` from the first to the last.
pub(super) fn preview(
    size: usize,
    at: Vec2,
    placement: &Placement,
) -> Option<((usize, usize), (usize, usize))> {
    let mut under = Brush::footprint(size, at, placement.shape.height, placement.shape.width);
    let first = under.next()?;
    Some((first, under.last().unwrap_or(first)))
}

#[cfg(test)]
mod tests {
    use egui::vec2;

    use super::*;

    /// The middle of a token, in tokens.
    fn middle(row: usize, column: usize) -> Vec2 {
        vec2(column as f32 + 0.5, row as f32 + 0.5)
    }

    fn tokens(size: usize, at: Vec2) -> Vec<(usize, usize)> {
        Brush::footprint(size, at, 4, 6).collect()
    }

    #[test]
    fn the_brush_lies_about_the_pointer() {
        assert_eq!(tokens(1, middle(2, 3)), [(2, 3)]);
        assert_eq!(tokens(1, vec2(3.99, 2.01)), [(2, 3)]);
        let three = tokens(3, middle(2, 3));
        assert_eq!((three.len(), three[0], three[8]), (9, (1, 2), (3, 4)));
        // Of even size it lies towards the nearer edge of the token.
        assert_eq!(tokens(2, vec2(3.2, 2.2)), [(1, 2), (1, 3), (2, 2), (2, 3)]);
        assert_eq!(tokens(2, vec2(3.8, 2.8)), [(2, 3), (2, 4), (3, 3), (3, 4)]);
    }

    #[test]
    fn what_hangs_over_the_edge_is_cut_off() {
        assert_eq!(tokens(3, middle(0, 0)), [(0, 0), (0, 1), (1, 0), (1, 1)]);
        assert_eq!(tokens(5, middle(3, 5)).len(), 9);
        assert!(tokens(3, vec2(-9.0, 1.0)).is_empty());
        assert!(tokens(3, vec2(1.0, 90.0)).is_empty());
    }

    #[test]
    fn a_quick_stroke_leaves_no_gap() {
        let places: Vec<_> = between(middle(0, 0), middle(3, 5)).collect();
        assert_eq!(places.last(), Some(&middle(3, 5)));
        let mut all: Vec<_> = places.iter().flat_map(|at| tokens(1, *at)).collect();
        all.dedup();
        let apart = |pair: &[(usize, usize)]| {
            pair[0].0.abs_diff(pair[1].0).max(pair[0].1.abs_diff(pair[1].1))
        };
        assert!(all.windows(2).all(|pair| apart(pair) <= 1), "{all:?}");
        assert_eq!(between(middle(1, 1), middle(1, 1)).count(), 1);
    }
}
