//! The picture as it would be if one token were another code.

use egui::{Rect, Sense, Stroke, StrokeKind, Ui, Vec2, WidgetInfo, vec2};

use crate::studio::base::theme::{self, GRID, palette};
use crate::studio::posterior::Posterior;
use crate::studio::posterior::previews::{Pair, follow};
use crate::studio::session::Session;
use crate::studio::session::token::Token;

const HINT: &str = "The codes on show, decoded: as they are, and with this token replaced. A decoder looks \
                    at neighbours too, so more than the outlined token may change.";

/// Shows the picture of `token` as it is, and as it would be with `code`.
pub(super) fn show(
    ui: &mut Ui,
    posterior: &mut Posterior,
    session: &mut Session,
    token: Token,
    code: u32,
    eager: bool,
) {
    let previews = &mut posterior.previews;
    let Some(key) = follow(ui.ctx(), previews, session, token, code, eager) else { return };
    let Some(shape) = session.run.as_ref().map(|run| run.shape) else { return };
    let name = format!("If the token were code {code}");
    ui.label(theme::section(ui, &name)).on_hover_text(HINT);
    let gap = 2.0 * GRID;
    let side = ((ui.available_width() - gap) / 2.0).clamp(16.0 * GRID, 40.0 * GRID).floor();
    let pair = previews.find(key);
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = gap;
        for index in 0..2 {
            let (rect, response) = ui.allocate_exact_size(Vec2::splat(side), Sense::hover());
            let label = match index {
                0 => "The picture as it is".to_owned(),
                _ => format!("The picture with code {code}"),
            };
            match pair {
                Some(pair) => {
                    let id = pair.textures[index].id();
                    egui::Image::new((id, rect.size())).corner_radius(2.0).paint_at(ui, rect);
                    response.widget_info(|| WidgetInfo::labeled(egui::Role::Image, true, &label));
                }
                None => {
                    ui.painter().rect_filled(rect, 2.0, ui.visuals().extreme_bg_color);
                }
            }
            let size = rect.size() / vec2(shape.width as f32, shape.height as f32);
            let corner = rect.min + vec2(token.column as f32, token.row as f32) * size;
            let cell = Rect::from_min_size(corner, size).expand(1.0);
            let dark = Stroke::new(3.0, egui::Color32::from_black_alpha(200));
            ui.painter().rect_stroke(cell, 1.0, dark, StrokeKind::Middle);
            let bright = Stroke::new(1.0, palette(ui.visuals()).mark);
            ui.painter().rect_stroke(cell, 1.0, bright, StrokeKind::Middle);
            response.on_hover_text(format!("{label}. {HINT}"));
        }
    });
    let text = match pair {
        Some(Pair { changed: 0.0, .. }) => "the same picture".to_owned(),
        Some(Pair { changed, by, .. }) => {
            format!("{:.1} % of the pixels change, by {by:.0} of 255", changed * 100.0)
        }
        None => "decoding".to_owned(),
    };
    ui.add(egui::Label::new(theme::weak(ui, text)).truncate());
}
