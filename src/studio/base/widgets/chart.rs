//! Curves over time, drawn small.

use egui::{Align2, Color32, FontId, Painter, Pos2, Rect, Shape, Stroke, Ui, pos2};

use crate::studio::base::theme::palette;

/// How a curve is drawn, so that colour alone need not tell curves apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dash {
    /// One line.
    Solid,
    /// A broken line.
    Dashed,
    /// A line of dots.
    Dotted,
}

impl Dash {
    /// Paints a line through points.
    pub fn paint(self, painter: &Painter, points: Vec<Pos2>, stroke: Stroke) {
        match self {
            Self::Solid => {
                painter.add(Shape::line(points, stroke));
            }
            Self::Dashed => painter.extend(Shape::dashed_line(&points, stroke, 5.0, 3.0)),
            Self::Dotted => painter.extend(Shape::dotted_line(&points, stroke.color, 4.0, 1.2)),
        }
    }
}

/// A curve through `(t, value)` points.
#[derive(Debug, Clone)]
pub struct Curve {
    /// The points, in order of `t`.
    pub points: Vec<(f32, f32)>,
    /// Value at the top of the chart; the bottom is 0.
    pub top: f32,
    /// Its colour.
    pub colour: Color32,
    /// Its line.
    pub dash: Dash,
}

/// Curves over `t` from 0 to 1, with a line at the time being looked at.
#[derive(Debug, Clone)]
pub struct Chart {
    /// Where the curves go.
    pub rect: Rect,
    /// The curves, back to front.
    pub curves: Vec<Curve>,
    /// The time being looked at.
    pub cursor: Option<f32>,
}

impl Chart {
    /// Where time `t` lies on the screen.
    pub fn x(&self, t: f32) -> f32 {
        self.rect.left() + t * self.rect.width()
    }

    /// Paints ground, curves and cursor.
    pub fn paint(&self, ui: &Ui) {
        let colours = palette(ui.visuals());
        let painter = ui.painter();
        let line = Stroke::new(1.0, colours.outline.gamma_multiply(0.6));
        for height in [0.0, 0.5, 1.0] {
            painter.hline(self.rect.x_range(), self.y(height), line);
        }
        for curve in &self.curves {
            self.paint_curve(painter, curve);
        }
        if let Some(t) = self.cursor {
            let x = self.x(t);
            painter.vline(
                x,
                self.rect.y_range(),
                Stroke::new(1.0, colours.strong.gamma_multiply(0.7)),
            );
            for curve in &self.curves {
                if let Some(&point) = curve.points.iter().rfind(|(at, _)| *at <= t + 1e-6) {
                    let place = self.place(curve, point);
                    painter.circle(place, 3.0, curve.colour, Stroke::new(1.0, colours.backdrop));
                }
            }
        }
    }

    /// Writes a small note at a corner of the chart.
    pub fn note(&self, ui: &Ui, align: Align2, text: &str, colour: Color32) {
        let at = align.pos_in_rect(&self.rect.shrink(2.0));
        ui.painter().text(at, align, text, FontId::monospace(10.5), colour);
    }

    fn y(&self, height: f32) -> f32 {
        self.rect.bottom() - height * self.rect.height()
    }

    fn place(&self, curve: &Curve, (t, value): (f32, f32)) -> Pos2 {
        pos2(self.x(t), self.y((value / curve.top.max(f32::MIN_POSITIVE)).clamp(0.0, 1.0)))
    }

    fn paint_curve(&self, painter: &Painter, curve: &Curve) {
        let points: Vec<_> = curve.points.iter().map(|point| self.place(curve, *point)).collect();
        let stroke = Stroke::new(1.5, curve.colour);
        match points.as_slice() {
            [] => {}
            [point] => {
                painter.circle_filled(*point, 1.5, curve.colour);
            }
            _ => curve.dash.paint(painter, points, stroke),
        }
    }
}
