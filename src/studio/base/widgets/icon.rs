//! Buttons with a painted sign, for the few signs that everybody knows.

use egui::{
    Color32, Painter, Rect, Response, Role, Sense, Shape, Stroke, Ui, WidgetInfo, pos2, vec2,
};

use crate::studio::base::theme::{GRID, palette};

/// A sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Icon {
    /// A triangle to the right.
    Play,
    /// Two bars.
    Pause,
    /// A bar, and a triangle to the left.
    First,
    /// A triangle to the left, narrow.
    Previous,
    /// A triangle to the right, narrow.
    Next,
    /// A triangle to the right, and a bar.
    Last,
    /// A die showing five.
    Dice,
}

/// A square button with a sign, and `label` as its name and tooltip.
pub fn icon_button(ui: &mut Ui, icon: Icon, label: &str, enabled: bool) -> Response {
    let sense = if enabled { Sense::click() } else { Sense::hover() };
    let (rect, response) = ui.allocate_exact_size(vec2(7.0 * GRID, 6.0 * GRID), sense);
    response.widget_info(|| WidgetInfo::labeled(Role::Button, ui.is_enabled() && enabled, label));
    if ui.is_rect_visible(rect) {
        let visuals = ui.style().interact(&response);
        let colour = match enabled {
            true => visuals.fg_stroke.color,
            false => palette(ui.visuals()).weak.gamma_multiply(0.5),
        };
        if enabled && (response.hovered() || response.has_focus()) {
            let painter = ui.painter();
            painter.rect(
                rect,
                visuals.corner_radius,
                visuals.bg_fill,
                visuals.bg_stroke,
                egui::StrokeKind::Inside,
            );
        }
        paint(ui.painter(), Rect::from_center_size(rect.center(), vec2(12.0, 12.0)), icon, colour);
    }
    response.on_hover_text(label)
}

fn paint(painter: &Painter, rect: Rect, icon: Icon, colour: Color32) {
    let triangle = |tip: f32, base: f32| {
        let points = vec![
            pos2(tip, rect.center().y),
            pos2(base, rect.top() + 1.0),
            pos2(base, rect.bottom() - 1.0),
        ];
        painter.add(Shape::convex_polygon(points, colour, Stroke::NONE));
    };
    let bar = |x: f32, width: f32| {
        let bar =
            Rect::from_min_max(pos2(x, rect.top() + 1.0), pos2(x + width, rect.bottom() - 1.0));
        painter.rect_filled(bar, 1.0, colour);
    };
    let (left, right, middle) = (rect.left(), rect.right(), rect.center().x);
    match icon {
        Icon::Play => triangle(right, left + 1.0),
        Icon::Pause => {
            bar(left + 1.5, 3.0);
            bar(right - 4.5, 3.0);
        }
        Icon::First => {
            bar(left + 1.0, 2.0);
            triangle(left + 4.0, right - 1.0);
        }
        Icon::Last => {
            triangle(right - 4.0, left + 1.0);
            bar(right - 3.0, 2.0);
        }
        Icon::Previous => triangle(middle - 4.0, middle + 3.0),
        Icon::Next => triangle(middle + 4.0, middle - 3.0),
        Icon::Dice => {
            let stroke = Stroke::new(1.5, colour);
            painter.rect_stroke(rect, 2.5, stroke, egui::StrokeKind::Inside);
            for (x, y) in [(-1.0, -1.0), (1.0, -1.0), (0.0, 0.0), (-1.0, 1.0), (1.0, 1.0)] {
                painter.circle_filled(rect.center() + vec2(x, y) * 2.6, 1.1, colour);
            }
        }
    }
}
