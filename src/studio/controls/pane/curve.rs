//! Curves over time with numbers at their axes, and one that can be taken hold of.

use egui::accesskit::{Action, ActionData};
use egui::{
    Align2, Color32, DragValue, EventFilter, FontId, Key, Pos2, Rect, Response, Role, Sense,
    Stroke, Ui, WidgetInfo, pos2, vec2,
};

use super::points;
use crate::studio::base::theme::{self, GRID, palette};
use crate::studio::base::widgets::{Chart, Curve};

/// Height of a curve with its axis, in points.
const HEIGHT: f32 = 28.0 * GRID;
/// Room for the numbers at a vertical axis.
const NUMBERS: f32 = 7.0 * GRID;
/// Room for the numbers of time.
const TIMES: f32 = 4.0 * GRID;
/// A click this near to the curve, in points, is on it.
const NEAR: f32 = 10.0;
/// How far an arrow key moves a point, in time and in temperature.
const STRIDE: (f32, f32) = (0.02, 0.05);

/// A vertical axis from 0.
pub struct Scale {
    /// Value at its top.
    pub top: f32,
    /// Its unit.
    pub unit: &'static str,
    /// Figures after the point.
    pub decimals: usize,
}

/// A round number that is not below `highest` and not below `least`.
pub fn nice_top(highest: f32, least: f32) -> f32 {
    let step = if highest <= 4.0 { 1.0 } else { 2.0 };
    let top = (highest / step - 1e-4).ceil() * step;
    if top.is_finite() { top.max(least) } else { least }
}

/// The course of a curve through points, from `t = 0` to `t = 1`.
pub fn through(points: &[(f32, f32)]) -> Vec<(f32, f32)> {
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return Vec::new() };
    let ends = [(0.0, first.1), (1.0, last.1)];
    std::iter::once(ends[0]).chain(points.iter().copied()).chain([ends[1]]).collect()
}

/// Where the curves go, within what was allocated.
fn inner(rect: Rect, right: bool) -> Rect {
    let right = if right { NUMBERS } else { 2.0 * GRID };
    Rect::from_min_max(rect.min + vec2(NUMBERS, 1.5 * GRID), rect.max - vec2(right, TIMES))
}

/// Numbers at the axes.
fn axes(ui: &Ui, chart: &Rect, left: &Scale, right: Option<&Scale>) {
    let colours = palette(ui.visuals());
    let font = FontId::monospace(10.5);
    let painter = ui.painter();
    let side = |x: f32, align: Align2, scale: &Scale, colour: Color32| {
        for part in [0.0, 0.5, 1.0] {
            let place = pos2(x, chart.bottom() - part * chart.height());
            let text = format!("{:.*}", scale.decimals, part * scale.top);
            painter.text(place, align, text, font.clone(), colour);
        }
    };
    // Beyond the handles of points at the ends.
    side(chart.left() - 2.0 * GRID, Align2::RIGHT_CENTER, left, colours.weak);
    if let Some(right) = right {
        side(chart.right() + 2.0 * GRID, Align2::LEFT_CENTER, right, colours.second);
    }
    let y = chart.bottom() + 0.5 * GRID;
    for (t, align, text) in
        [(0.0, Align2::LEFT_TOP, "t = 0, noise"), (1.0, Align2::RIGHT_TOP, "picture, 1")]
    {
        let place = pos2(chart.left() + t * chart.width(), y);
        painter.text(place, align, text, font.clone(), colours.weak);
    }
    for part in [0.25, 0.5, 0.75] {
        let x = chart.left() + part * chart.width();
        painter.vline(x, chart.y_range(), Stroke::new(1.0, colours.outline.gamma_multiply(0.4)));
    }
}

/// The value of a curve at a time.
fn value_at(curve: &Curve, t: f32) -> Option<f32> {
    let after = curve.points.partition_point(|(at, _)| *at <= t);
    let before = curve.points.get(after.checked_sub(1)?)?;
    Some(match curve.points.get(after) {
        Some(next) => {
            before.1 + (next.1 - before.1) * (t - before.0) / (next.0 - before.0).max(1e-6)
        }
        None => before.1,
    })
}

/// Shows curves; a tooltip reads the last one off under the pointer.
pub fn show(
    ui: &mut Ui,
    curves: Vec<Curve>,
    left: &Scale,
    right: Option<&Scale>,
    cursor: Option<f32>,
    name: &str,
) {
    let size = vec2(ui.available_width(), HEIGHT);
    let (rect, response) = ui.allocate_exact_size(size, Sense::hover());
    let chart = Chart { rect: inner(rect, right.is_some()), curves, cursor };
    axes(ui, &chart.rect, left, right);
    chart.paint(ui);
    response.widget_info(|| WidgetInfo::labeled(Role::Image, true, name));
    read_off(response, &chart, left);
}

fn read_off(response: Response, chart: &Chart, scale: &Scale) {
    let Some(pointer) = response.hover_pos() else { return };
    let t = time(chart, pointer);
    let Some(value) = chart.curves.last().and_then(|curve| value_at(curve, t)) else { return };
    response.on_hover_text_at_pointer(format!("t {t:.2}: {value:.2} {}", scale.unit));
}

fn time(chart: &Chart, pointer: Pos2) -> f32 {
    ((pointer.x - chart.rect.left()) / chart.rect.width()).clamp(0.0, 1.0)
}

fn height(chart: &Chart, scale: &Scale, pointer: Pos2) -> f32 {
    let part = (chart.rect.bottom() - pointer.y) / chart.rect.height();
    (part * scale.top).clamp(0.0, scale.top)
}

fn spot(chart: &Chart, scale: &Scale, (t, value): (f32, f32)) -> Pos2 {
    let part = (value / scale.top).clamp(0.0, 1.0);
    pos2(chart.x(t), chart.rect.bottom() - part * chart.rect.height())
}

/// Shows a curve whose points can be dragged, added and taken away, and the chosen point in figures.
pub fn edit(
    ui: &mut Ui,
    points: &mut Vec<(f32, f32)>,
    curve: Curve,
    scale: &Scale,
    cursor: Option<f32>,
) {
    let size = vec2(ui.available_width(), HEIGHT);
    let (rect, ground) = ui.allocate_exact_size(size, Sense::click());
    let chart = Chart { rect: inner(rect, false), curves: vec![curve], cursor };
    axes(ui, &chart.rect, scale, None);
    chart.paint(ui);
    let memory = ground.id.with("chosen");
    let mut chosen: usize = ui.data(|data| data.get_temp(memory)).unwrap_or(0);
    ground.widget_info(|| {
        WidgetInfo::labeled(Role::Image, true, "Temperature over time, click to add a point")
    });
    if let Some(pointer) = ground.interact_pointer_pos().filter(|_| ground.clicked()) {
        let t = time(&chart, pointer);
        let on_curve = value_at(&chart.curves[0], t)
            .is_some_and(|value| spot(&chart, scale, (t, value)).distance(pointer) < NEAR);
        if (on_curve || ground.double_clicked() || ground.triple_clicked())
            && let Some(added) = points::add(points, t, height(&chart, scale, pointer))
        {
            chosen = added;
        }
    }
    let ground = ground.on_hover_cursor(egui::CursorIcon::Crosshair);
    read_off(ground.clone(), &chart, scale);
    let mut gone = None;
    for index in 0..points.len() {
        let handle = Handle { chart: &chart, scale, id: ground.id.with(("point", index)), index };
        let Deed { took, remove } = handle.show(ui, points, index == chosen);
        if took {
            chosen = index;
        }
        if remove {
            gone = Some(index);
        }
    }
    chosen = chosen.min(points.len().saturating_sub(1));
    if figures(ui, points, chosen) {
        gone = Some(chosen);
    }
    if let Some(index) = gone {
        points::remove(points, index);
    }
    ui.data_mut(|data| data.insert_temp(memory, chosen.min(points.len().saturating_sub(1))));
}

/// A point that can be taken hold of.
struct Handle<'a> {
    chart: &'a Chart,
    scale: &'a Scale,
    id: egui::Id,
    index: usize,
}

/// What was done to a point.
struct Deed {
    /// It was taken hold of.
    took: bool,
    /// It is to go.
    remove: bool,
}

impl Handle<'_> {
    fn show(&self, ui: &Ui, points: &mut [(f32, f32)], chosen: bool) -> Deed {
        let place = spot(self.chart, self.scale, points[self.index]);
        let area = Rect::from_center_size(place, vec2(4.0 * GRID, 4.0 * GRID));
        let response = ui.interact(area, self.id, Sense::click_and_drag());
        let response = response.on_hover_and_drag_cursor(egui::CursorIcon::Grab);
        if response.drag_started() || response.clicked() {
            response.request_focus();
        }
        if response.dragged()
            && let Some(pointer) = response.interact_pointer_pos()
        {
            let value = height(self.chart, self.scale, pointer);
            points::put(points, self.index, time(self.chart, pointer), value);
        }
        let focused = response.has_focus();
        let mut remove = response.secondary_clicked();
        if focused {
            remove |= self.keys(ui, points);
        }
        self.accessible(ui, points, &response);
        self.paint(ui, points[self.index], &response, chosen);
        let (t, value) = points[self.index];
        response.clone().on_hover_text(format!(
            "t {t:.2}: {value:.2}. Drag it, or move it with the arrow keys; a right click or Delete \
             takes it away."
        ));
        Deed { took: focused || response.dragged(), remove }
    }

    /// Arrows move the point; says whether Delete was pressed.
    fn keys(&self, ui: &Ui, points: &mut [(f32, f32)]) -> bool {
        let filter = EventFilter {
            horizontal_arrows: true,
            vertical_arrows: true,
            ..EventFilter::default()
        };
        ui.memory_mut(|memory| memory.set_focus_lock_filter(self.id, filter));
        let pressed = |key| ui.input(|input| input.num_presses(key)) as f32;
        let along = pressed(Key::ArrowRight) - pressed(Key::ArrowLeft);
        let up = pressed(Key::ArrowUp) - pressed(Key::ArrowDown);
        if along != 0.0 || up != 0.0 {
            let (t, value) = points[self.index];
            points::put(points, self.index, t + along * STRIDE.0, value + up * STRIDE.1);
        }
        pressed(Key::Delete) + pressed(Key::Backspace) > 0.0
    }

    /// The point as a slider of its temperature.
    fn accessible(&self, ui: &Ui, points: &mut [(f32, f32)], response: &Response) {
        let set = ui.input(|input| {
            let requests = input.accesskit_action_requests(self.id, Action::SetValue);
            requests
                .filter_map(|request| match request.data {
                    Some(ActionData::NumericValue(value)) => Some(value as f32),
                    _ => None,
                })
                .last()
        });
        let by = ui.input(|input| {
            let asked = |action| input.num_accesskit_action_requests(self.id, action) as f32;
            asked(Action::Increment) - asked(Action::Decrement)
        });
        let (t, value) = points[self.index];
        if set.is_some() || by != 0.0 {
            points::put(points, self.index, t, set.unwrap_or(value) + by * STRIDE.1);
        }
        let (t, value) = points[self.index];
        response.widget_info(|| {
            let name = format!("Temperature point {} at t = {t:.2}", self.index + 1);
            WidgetInfo::slider(ui.is_enabled(), f64::from(value), name)
        });
        ui.ctx().accesskit_node_builder(self.id, |node| {
            node.set_role(Role::Slider);
            node.set_min_numeric_value(0.0);
            node.set_max_numeric_value(f64::from(points::HIGHEST));
            node.set_numeric_value_step(f64::from(STRIDE.1));
            for action in [Action::SetValue, Action::Increment, Action::Decrement] {
                node.add_action(action);
            }
        });
    }

    fn paint(&self, ui: &Ui, point: (f32, f32), response: &Response, chosen: bool) {
        let colours = palette(ui.visuals());
        let place = spot(self.chart, self.scale, point);
        let taken = response.has_focus() || response.dragged() || response.hovered();
        let radius = if taken { 6.0 } else { 4.5 };
        let fill = if chosen { colours.accent } else { ui.visuals().panel_fill };
        ui.painter().circle(place, radius, fill, Stroke::new(2.0, colours.accent));
        if response.has_focus() {
            ui.painter().circle_stroke(place, radius + 3.0, Stroke::new(1.0, colours.strong));
        }
    }
}

/// The chosen point in figures; says whether it is to go.
fn figures(ui: &mut Ui, points: &mut [(f32, f32)], chosen: usize) -> bool {
    let Some(&(mut t, mut value)) = points.get(chosen) else { return false };
    let mut remove = false;
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = GRID;
        ui.spacing_mut().interact_size.x = 11.0 * GRID;
        let name = theme::weak(ui, format!("{} of {}, t", chosen + 1, points.len()));
        ui.label(name).on_hover_text("The chosen point; click another one to choose it.");
        let field = DragValue::new(&mut t).speed(0.005).range(0.0..=1.0).fixed_decimals(2);
        let moved = ui.add(field).accessible_name("Time of the point").changed();
        ui.label(theme::weak(ui, "is"));
        let field =
            DragValue::new(&mut value).speed(0.01).range(0.0..=points::HIGHEST).fixed_decimals(2);
        let warmed = ui.add(field).accessible_name("Temperature of the point").changed();
        if moved || warmed {
            points::put(points, chosen, t, value);
        }
        let last = points.len() == 1;
        let button = ui.add_enabled(!last, egui::Button::new("Remove"));
        let button = button
            .on_hover_text("Remove the point (Delete).")
            .on_disabled_hover_text("The last point stays.");
        remove = button.accessible_name("Remove the point").clicked();
    });
    remove
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::studio::base::widgets::Dash;

    #[test]
    fn axes_end_at_round_numbers() {
        for (highest, least, top) in
            [(0.9, 2.0, 2.0), (2.0, 2.0, 2.0), (2.1, 2.0, 3.0), (6.9, 1.0, 8.0), (0.0, 1.0, 1.0)]
        {
            assert_eq!(nice_top(highest, least), top);
        }
        assert_eq!(nice_top(f32::INFINITY, 2.0), 2.0);
    }

    #[test]
    fn the_screen_and_the_values_agree() {
        let points = through(&[(0.25, 1.0), (0.75, 0.5)]);
        assert_eq!(points, [(0.0, 1.0), (0.25, 1.0), (0.75, 0.5), (1.0, 0.5)]);
        let rect = Rect::from_min_size(pos2(10.0, 20.0), vec2(200.0, 80.0));
        let scale = Scale { top: 2.0, unit: "", decimals: 1 };
        let curve = Curve { points, top: 2.0, colour: Color32::WHITE, dash: Dash::Solid };
        let chart = Chart { rect, curves: vec![curve], cursor: None };
        for point in [(0.0, 0.0), (0.25, 1.0), (1.0, 2.0)] {
            let place = spot(&chart, &scale, point);
            assert_eq!((time(&chart, place), height(&chart, &scale, place)), point);
        }
        assert_eq!(height(&chart, &scale, pos2(0.0, -50.0)), 2.0);
        let value = |t| value_at(&chart.curves[0], t).unwrap();
        assert_eq!((value(0.1), value(0.5), value(1.0)), (1.0, 0.75, 0.5));
    }
}
