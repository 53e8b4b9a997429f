//! The swatch of a code.

use egui::{Rect, Response, Sense, Stroke, StrokeKind, Ui, Vec2, pos2};

use crate::studio::base::theme::palette;
use crate::studio::session::Session;

/// The swatch of a code, in a place of the layout's own.
pub(super) fn swatch(
    ui: &mut Ui,
    session: &mut Session,
    code: u32,
    size: Vec2,
    sense: Sense,
) -> Response {
    let (rect, response) = ui.allocate_exact_size(size, sense);
    paint_swatch(ui, session, code, rect.shrink(1.0));
    response
}

pub(super) fn paint_swatch(ui: &Ui, session: &mut Session, code: u32, rect: Rect) {
    match session.swatches.texture(ui.ctx(), code) {
        Some(texture) => {
            let whole = Rect::from_min_max(pos2(0.0, 0.0), pos2(1.0, 1.0));
            ui.painter().image(texture, rect, whole, egui::Color32::WHITE);
        }
        None => {
            ui.painter().rect_filled(rect, 2.0, ui.visuals().extreme_bg_color);
        }
    }
    let edge = Stroke::new(1.0, palette(ui.visuals()).outline);
    ui.painter().rect_stroke(rect, 2.0, edge, StrokeKind::Outside);
}
