//! Curves with axes: several at once, told apart by their lines as well as by their colours.

use egui::{
    Align2, Color32, FontId, Mesh, Painter, Pos2, Rect, Response, Role, Sense, Shape, Stroke, Ui,
    Vec2, WidgetInfo, pos2, vec2,
};

use crate::studio::base::theme::{GRID, palette};

/// How a line is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stroked {
    /// Not at all.
    Solid,
    /// Into dashes.
    Dashed,
    /// Into dots.
    Dotted,
    /// Into dashes and dots in turn.
    DashDotted,
}

impl Stroked {
    /// Every kind, in the order in which curves take them.
    pub const ALL: [Self; 4] = [Self::Solid, Self::Dashed, Self::Dotted, Self::DashDotted];

    /// Draws a line of this kind.
    pub fn paint(self, painter: &Painter, points: Vec<Pos2>, stroke: Stroke) {
        let (dashes, gaps): (&[f32], &[f32]) = match self {
            Self::Solid => {
                painter.add(Shape::line(points, stroke));
                return;
            }
            Self::Dashed => (&[7.0], &[4.0]),
            Self::Dotted => (&[1.5], &[3.5]),
            Self::DashDotted => (&[8.0, 1.5], &[3.5, 3.5]),
        };
        painter.extend(Shape::dashed_line_with_offset(&points, stroke, dashes, gaps, 0.0));
    }
}

/// A curve of a plot.
#[derive(Debug, Clone)]
pub struct PlotLine {
    /// What it is, in words.
    pub name: String,
    /// `(x, y)`, in order of x.
    pub points: Vec<[f32; 2]>,
    /// Around it, faintly, where there is more to see: `(x, low, high)`, in order of x.
    pub band: Vec<[f32; 3]>,
    /// Its colour.
    pub colour: Color32,
    /// Its line.
    pub stroked: Stroked,
}

/// Curves over common axes.
#[derive(Debug, Clone, Default)]
pub struct Plot {
    /// The curves, back to front.
    pub lines: Vec<PlotLine>,
    /// Whether y is logarithmic; values of 0 and below are then left out.
    pub log: bool,
    /// A place on the x axis that is marked by a line.
    pub mark: Option<f32>,
    /// Whether the points of solid lines are drawn as well.
    pub dots: bool,
}

/// Room for the numbers of the axes, in points.
const LEFT: f32 = 12.0 * GRID;
const FOOT: f32 = 5.0 * GRID;

/// An axis between two values.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Axis {
    low: f32,
    high: f32,
    log: bool,
}

impl Axis {
    /// An axis that holds all of `values`.
    fn over(values: impl Iterator<Item = f32>, log: bool) -> Option<Self> {
        let fits = |value: &f32| value.is_finite() && (!log || *value > 0.0);
        let (low, high) = values
            .filter(fits)
            .fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        if low > high {
            return None;
        }
        if high - low > 1e-6 * high.abs().max(low.abs()) {
            return Some(Self { low, high, log });
        }
        // One value has some room around it.
        let room = if log { 0.5 * high } else { (0.5 * high.abs()).max(1e-6) };
        Some(Self { low: low - room, high: high + room, log })
    }

    /// Where a value lies, from 0 to 1.
    fn part(&self, value: f32) -> f32 {
        match self.log {
            true => (value / self.low).ln() / (self.high / self.low).ln(),
            false => (value - self.low) / (self.high - self.low),
        }
    }

    /// Round values within the axis, about `count` of them.
    fn ticks(&self, count: usize) -> Vec<f32> {
        let decades = (self.high / self.low).log10();
        if self.log && decades > 1.0 {
            let every = (decades / count.max(1) as f32).ceil().max(1.0) as i32;
            let digits: &[f32] = if decades < 2.5 { &[1.0, 2.0, 5.0] } else { &[1.0] };
            let (first, last) = (self.low.log10().floor() as i32, self.high.log10().ceil() as i32);
            return (first..=last)
                .filter(|exponent| exponent % every == 0)
                .flat_map(|exponent| digits.iter().map(move |digit| digit * 10f32.powi(exponent)))
                .filter(|value| (self.low..=self.high).contains(value))
                .collect();
        }
        let rough = (self.high - self.low) / count.max(1) as f32;
        let unit = 10f32.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .map(|factor| factor * unit)
            .into_iter()
            .find(|step| *step >= rough)
            .unwrap_or(10.0 * unit);
        let first = (self.low / step).ceil() as i64;
        (first..=first + 2 * count as i64)
            .map(|i| i as f32 * step)
            .take_while(|value| *value <= self.high + 0.001 * step)
            .collect()
    }
}

/// A number in few letters.
pub fn short(value: f32) -> String {
    let size = value.abs();
    match size {
        0.0 => "0".to_owned(),
        _ if !(1e-3..1e6).contains(&size) => {
            let text = format!("{value:.1e}");
            text.replace(".0e", "e")
        }
        _ => {
            let decimals = (3 - (size.log10().floor() as i32).max(-1)).clamp(0, 4) as usize;
            let text = format!("{value:.decimals$}");
            match text.contains('.') {
                true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
                false => text,
            }
        }
    }
}

impl Plot {
    /// Shows the plot in a field of `size`; `name` is its name for a screen reader, `x_name` what x is.
    pub fn show(&self, ui: &mut Ui, size: Vec2, name: &str, x_name: &str) -> Response {
        let (rect, response) = ui.allocate_exact_size(size, Sense::hover());
        let newest = self.lines.iter().filter_map(|line| {
            line.points.last().map(|[_, y]| format!("{} {}", line.name, short(*y)))
        });
        let text = format!("{name}: {}", newest.collect::<Vec<_>>().join(", "));
        response.widget_info(|| WidgetInfo::labeled(Role::Image, true, &text));
        let field = Rect::from_min_max(
            pos2(rect.left() + LEFT, rect.top() + GRID),
            pos2(rect.right() - GRID, rect.bottom() - FOOT),
        );
        let colours = palette(ui.visuals());
        let painter = ui.painter().with_clip_rect(rect.expand(1.0));
        let xs = self.lines.iter().flat_map(|line| line.points.iter().map(|point| point[0]));
        // The curve decides the height; its band may stick out.
        let ys = self.lines.iter().flat_map(|line| line.points.iter().map(|point| point[1]));
        let (Some(x_axis), Some(y_axis)) =
            (Axis::over(xs.chain([0.0]), false), Axis::over(ys, self.log))
        else {
            let font = FontId::proportional(13.5);
            let text = "Nothing of this was measured yet.";
            painter.text(field.center(), Align2::CENTER_CENTER, text, font, colours.weak);
            return response;
        };
        let y_axis = y_axis.roomy();
        axes(ui, &painter, field, x_axis, y_axis, x_name);
        let place = |x: f32, y: f32| {
            pos2(
                field.left() + x_axis.part(x) * field.width(),
                field.bottom() - y_axis.part(y) * field.height(),
            )
        };
        let inside = painter.with_clip_rect(field.expand(1.0));
        if let Some(x) = self.mark.map(|mark| place(mark, y_axis.low).x) {
            inside.vline(x, field.y_range(), Stroke::new(1.0, colours.strong));
        }
        let fits = |y: f32| !self.log || y > 0.0;
        for line in &self.lines {
            let band: Vec<_> =
                line.band.iter().filter(|[_, low, high]| fits(*low) && fits(*high)).collect();
            let mut mesh = Mesh::default();
            for [x, low, high] in band {
                let first = mesh.vertices.len() as u32;
                let colour = line.colour.gamma_multiply(0.22);
                // A band of one value is still a line.
                let (top, bottom) = (place(*x, *high), place(*x, *low));
                mesh.colored_vertex(top - vec2(0.0, 0.5), colour);
                mesh.colored_vertex(bottom + vec2(0.0, 0.5), colour);
                if first > 0 {
                    mesh.add_triangle(first - 2, first - 1, first);
                    mesh.add_triangle(first - 1, first, first + 1);
                }
            }
            inside.add(Shape::mesh(mesh));
        }
        for line in &self.lines {
            let points: Vec<Pos2> =
                line.points.iter().filter(|[_, y]| fits(*y)).map(|[x, y]| place(*x, *y)).collect();
            match points.as_slice() {
                [point] => {
                    inside.circle_filled(*point, 2.5, line.colour);
                }
                points => {
                    if self.dots && line.stroked == Stroked::Solid {
                        points.iter().for_each(|at| {
                            inside.circle_filled(*at, 2.5, line.colour);
                        });
                    }
                    line.stroked.paint(&inside, points.to_vec(), Stroke::new(1.75, line.colour));
                }
            }
        }
        self.readout(ui, response, &inside, field, x_axis, &place, x_name)
    }

    /// The values under the pointer.
    #[allow(clippy::too_many_arguments, reason = "all of it is the plot that is being drawn")]
    fn readout(
        &self,
        ui: &Ui,
        response: Response,
        painter: &Painter,
        field: Rect,
        x_axis: Axis,
        place: &dyn Fn(f32, f32) -> Pos2,
        x_name: &str,
    ) -> Response {
        let Some(pointer) = response.hover_pos().filter(|at| field.x_range().contains(at.x)) else {
            return response;
        };
        let part = (pointer.x - field.left()) / field.width();
        let x = x_axis.low + part * (x_axis.high - x_axis.low);
        let line = Stroke::new(1.0, palette(ui.visuals()).weak);
        painter.vline(pointer.x, field.y_range(), line);
        // Of whole numbers, such as steps, no fractions.
        let mut text = match x_axis.high - x_axis.low {
            ..20.0 => format!("{x_name} {x:.2}"),
            _ => format!("{x_name} {x:.0}"),
        };
        for line in &self.lines {
            let near =
                line.points.iter().min_by(|a, b| (a[0] - x).abs().total_cmp(&(b[0] - x).abs()));
            if let Some([at, y]) = near {
                painter.circle_filled(place(*at, *y), 3.0, line.colour);
                text += &format!("\n{}: {}", line.name, short(*y));
            }
        }
        response.on_hover_text_at_pointer(text)
    }
}

impl Axis {
    /// The axis with a little room at both ends.
    fn roomy(self) -> Self {
        const ROOM: f32 = 0.04;
        match self.log {
            true => {
                let by = (self.high / self.low).powf(ROOM);
                Self { low: self.low / by, high: self.high * by, log: true }
            }
            false => {
                let by = ROOM * (self.high - self.low);
                // What is never negative begins at 0 if it comes near.
                let low = self.low - by;
                let low = if self.low >= 0.0 && low < 0.0 { 0.0 } else { low };
                Self { low, high: self.high + by, log: false }
            }
        }
    }
}

fn axes(ui: &Ui, painter: &Painter, field: Rect, x_axis: Axis, y_axis: Axis, x_name: &str) {
    let colours = palette(ui.visuals());
    let line = Stroke::new(1.0, colours.outline.gamma_multiply(0.6));
    let font = FontId::monospace(10.5);
    let rows = (field.height() / 26.0).max(2.0) as usize;
    for value in y_axis.ticks(rows) {
        let y = field.bottom() - y_axis.part(value) * field.height();
        painter.hline(field.x_range(), y, line);
        let at = pos2(field.left() - 6.0, y);
        painter.text(at, Align2::RIGHT_CENTER, short(value), font.clone(), colours.weak);
    }
    painter.hline(field.x_range(), field.bottom(), Stroke::new(1.0, colours.outline));
    let named = painter.text(
        field.right_bottom() + vec2(0.0, 4.0),
        Align2::RIGHT_TOP,
        x_name,
        font.clone(),
        colours.weak,
    );
    let columns = (field.width() / 72.0).max(1.0) as usize;
    for value in x_axis.ticks(columns) {
        let x = field.left() + x_axis.part(value) * field.width();
        painter.vline(x, field.bottom() - 3.0..=field.bottom(), Stroke::new(1.0, colours.outline));
        let text = short(value);
        if x + 4.0 * text.len() as f32 > named.left() - 8.0 {
            continue;
        }
        painter.text(
            pos2(x, field.bottom() + 4.0),
            Align2::CENTER_TOP,
            text,
            font.clone(),
            colours.weak,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within() {
        let axis = Axis { low: 0.0, high: 1160.0, log: false };
        assert_eq!(axis.ticks(6), [0.0, 200.0, 400.0, 600.0, 800.0, 1000.0]);
        let axis = Axis { low: 0.02, high: 7.0, log: true };
        assert_eq!(axis.ticks(6), [0.1, 1.0]);
        let axis = Axis { low: 1.8, high: 7.2, log: true };
        assert!(axis.ticks(4).iter().all(|tick| (1.8..=7.2).contains(tick)));
        assert!(axis.ticks(4).len() >= 3, "{:?}", axis.ticks(4));
    }

    #[test]
    fn an_axis_holds_what_can_be_drawn() {
        let over = |values: &[f32], log| Axis::over(values.iter().copied(), log);
        assert_eq!(over(&[], false), None);
        assert_eq!(over(&[0.0, -1.0], true), None);
        let axis = over(&[f32::NAN, 2.0, 4.0, f32::INFINITY], false).unwrap();
        assert_eq!((axis.low, axis.high), (2.0, 4.0));
        let axis = over(&[3.0], true).unwrap();
        assert!(axis.low < 3.0 && axis.high > 3.0 && axis.low > 0.0);
        assert!((axis.part(axis.low)).abs() < 1e-6 && (axis.part(axis.high) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (1.0, "1"),
            (200.0, "200"),
            (0.001, "0.001"),
            (6.9302, "6.93"),
            (1e-5, "1e-5"),
            (2.5e-7, "2.5e-7"),
            (-12.345, "-12.35"),
            (3e7, "3e7"),
        ] {
            assert_eq!(short(value), text);
        }
    }
}
