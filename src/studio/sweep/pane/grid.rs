//! The cells of a sweep under their axes.

use std::sync::Arc;

use egui::{
    Align2, Color32, CornerRadius, FontId, Galley, Pos2, Rect, Response, RichText, Role,
    ScrollArea, Sense, Stroke, StrokeKind, TextStyle, TextureFilter, TextureHandle, TextureOptions,
    Ui, UiBuilder, Vec2, WidgetInfo, pos2, vec2,
};

use crate::studio::base::images::colour_image;
use crate::studio::base::theme::{self, GRID, PANE_MARGIN, palette};
use crate::studio::sweep::{Phase, Sweep};
use crate::sweep::sheet::{Show, montage};
use crate::sweep::study::{Cell, Study};

/// Side of the pictures at zoom 1, in points.
const SIDE: f32 = 24.0 * GRID;
/// Height of a line under a picture.
const LINE: f32 = 4.0 * GRID;
const GAP: f32 = 2.0 * GRID;
/// Widest that names of rows get.
const WIDEST_NAME: f32 = 36.0 * GRID;
/// Side of the enlarged picture, in points.
const ENLARGED: f32 = 64.0 * GRID;

/// What the pane keeps between frames.
pub struct SweepPane {
    pub(super) show: Show,
    pub(super) zoom: f32,
    textures: Vec<Option<(Show, TextureHandle)>>,
    /// The sweep that they are of.
    of: u64,
}

impl Default for SweepPane {
    fn default() -> Self {
        Self { show: Show::default(), zoom: 1.0, textures: Vec::new(), of: 0 }
    }
}

impl SweepPane {
    /// Lets go of the pictures of another sweep than the one that is shown.
    pub(super) fn forget_others(&mut self, shown: u64) {
        if self.of != shown {
            self.textures.clear();
            self.of = shown;
        }
    }
}

/// Names and values of a cell, in words.
pub(super) fn place(study: &Study, cell: usize) -> String {
    let place = study.plan.place(cell);
    let parts: Vec<String> =
        place.iter().map(|(parameter, value)| format!("{parameter} {value}")).collect();
    parts.join(", ")
}

/// What is laid out the same in every cell.
struct Measures {
    side: f32,
    cell: Vec2,
    /// Room for the names above and beside.
    head: Vec2,
}

impl Measures {
    /// For pictures of `side` points under and beside these headings.
    fn new(side: f32, headings: &Headings) -> Self {
        let widest =
            |list: &[Arc<Galley>]| list.iter().map(|text| text.size().x).fold(0.0, f32::max);
        let beside = match headings.names.get(1) {
            Some(name) => (widest(&headings.down).max(name.size().x) + 3.0 * GRID).min(WIDEST_NAME),
            None => 0.0,
        };
        let width = side.max(widest(&headings.across).min(1.5 * side)) + GAP;
        Self {
            side,
            cell: vec2(width, side + 2.0 * LINE + GAP),
            head: vec2(beside, 2.0 * LINE + GRID),
        }
    }
}

/// The names and the values of the axes, laid out.
struct Headings {
    names: Vec<Arc<Galley>>,
    across: Vec<Arc<Galley>>,
    down: Vec<Arc<Galley>>,
}

impl Headings {
    fn new(ui: &Ui, study: &Study) -> Self {
        let (small, mono) = (TextStyle::Small.resolve(ui.style()), FontId::monospace(11.0));
        let colours = palette(ui.visuals());
        let lay = |text: &str, font: &FontId, colour| {
            ui.painter().layout_no_wrap(text.to_owned(), font.clone(), colour)
        };
        let values = |at: usize| -> Vec<Arc<Galley>> {
            let axis = study.plan.axes().nth(at);
            let values = axis.map(|axis| axis.values.as_slice()).unwrap_or_default();
            values.iter().map(|value| lay(&value.to_string(), &mono, colours.strong)).collect()
        };
        let names = study.plan.axes();
        let names = names.map(|axis| lay(axis.parameter.name(), &small, colours.weak)).collect();
        Self { names, across: values(0), down: values(1) }
    }

    /// Paints them so that they stay in sight while the cells, which begin at `cells`, move under
    /// them: above and beside `body`, within what is `seen`.
    fn paint(&self, ui: &Ui, measures: &Measures, cells: Pos2, body: Rect, seen: Rect) {
        let weak = palette(ui.visuals()).weak;
        let put = |clip: Rect, at, text: &Arc<Galley>| {
            let painter = ui.painter().with_clip_rect(clip.intersect(ui.clip_rect()));
            painter.galley(at, Arc::clone(text), weak);
        };
        let second_line = seen.top() + LINE;
        let above =
            Rect::from_min_max(pos2(body.left(), seen.top()), pos2(seen.right(), body.top()));
        for (column, text) in self.across.iter().enumerate() {
            let x = cells.x + column as f32 * measures.cell.x;
            let own = Rect::from_x_y_ranges(x..=x + measures.cell.x - GRID, above.y_range());
            put(above.intersect(own), pos2(x, second_line), text);
        }
        put(above, pos2(body.left().max(cells.x), seen.top()), &self.names[0]);
        let left =
            Rect::from_min_max(pos2(seen.left(), body.top()), pos2(body.left(), seen.bottom()));
        for (row, text) in self.down.iter().enumerate() {
            let below = (measures.side - text.size().y) / 2.0;
            let y = cells.y + row as f32 * measures.cell.y + below;
            put(left.shrink2(vec2(GRID, 0.0)).with_min_x(left.left()), pos2(seen.left(), y), text);
        }
        if let Some(name) = self.names.get(1) {
            put(seen, pos2(seen.left(), second_line), name);
        }
    }
}

/// The cells under their axes; gives the cell that was clicked, and whether twice.
pub(super) fn grid(
    ui: &mut Ui,
    pane: &mut SweepPane,
    sweep: &Sweep,
    study: &Study,
) -> Option<(usize, bool)> {
    let headings = Headings::new(ui, study);
    let measures = Measures::new((SIDE * pane.zoom / GRID).round() * GRID, &headings);
    let (columns, rows) = (study.plan.columns(), study.plan.rows());
    let whole = measures.head
        + vec2(columns as f32 * measures.cell.x, rows as f32 * measures.cell.y)
        + Vec2::splat(PANE_MARGIN);
    let mut chosen = None;
    ScrollArea::both().auto_shrink(false).show_viewport(ui, |ui, viewport| {
        ui.set_min_size(whole);
        let origin = ui.min_rect().min;
        let seen = Rect::from_min_size(origin + viewport.min.to_vec2(), viewport.size());
        let cells = origin + measures.head;
        let body = Rect::from_min_max(seen.min + measures.head, seen.max);
        for cell in 0..rows * columns {
            let (row, column) = (cell / columns, cell % columns);
            let at = vec2(column as f32 * measures.cell.x, row as f32 * measures.cell.y);
            let rect = Rect::from_min_size(cells + at, measures.cell - Vec2::splat(GAP));
            if !rect.intersects(body) {
                continue;
            }
            let response = ui.scope_builder(UiBuilder::new().max_rect(rect), |ui| {
                ui.shrink_clip_rect(body);
                show_cell(ui, pane, sweep, study, cell, rect, &measures)
            });
            let response = response.inner;
            if response.clicked() {
                // A click elsewhere just before makes the second of two the third.
                let again = response.double_clicked() || response.triple_clicked();
                chosen = Some((cell, again));
            }
        }
        headings.paint(ui, &measures, cells, body, seen);
    });
    chosen
}

fn show_cell(
    ui: &mut Ui,
    pane: &mut SweepPane,
    sweep: &Sweep,
    study: &Study,
    cell: usize,
    rect: Rect,
    measures: &Measures,
) -> Response {
    let response = ui.interact(rect, ui.scope_id().with(("cell", cell)), Sense::click());
    let (field, below) = rect.split_top_bottom_at_y(rect.top() + measures.side);
    let field = field.with_max_x(field.left() + measures.side);
    let colours = palette(ui.visuals());
    let running = sweep.progress().filter(|(at, _)| *at == cell).map(|(_, part)| part as f32);
    let painter = ui.painter().clone();
    let lines = match &study.cells[cell] {
        Cell::Done(outcome) => {
            if let Some(texture) = texture(ui, pane, study, cell) {
                let area = fit(field, texture.size_vec2());
                egui::Image::from_texture((texture.id(), area.size())).paint_at(ui, area);
            }
            outcome.lines()
        }
        Cell::Refused(reason) => {
            note(&painter, field, reason, ui.visuals().extreme_bg_color, colours.weak);
            vec!["left out".to_owned()]
        }
        Cell::Waiting => {
            let text = match running {
                Some(_) => "",
                None if sweep.phase() == Phase::Idle => "not computed",
                None => "waiting",
            };
            note(&painter, field, text, ui.visuals().extreme_bg_color, colours.weak);
            if let Some(part) = running {
                let bar = Rect::from_center_size(field.center(), vec2(field.width() * 0.6, GRID));
                painter.rect_filled(bar, 2.0, colours.outline);
                let done = bar.with_max_x(bar.left() + part * bar.width());
                painter.rect_filled(done, 2.0, colours.accent);
            }
            Vec::new()
        }
    };
    if response.hovered() || response.has_focus() {
        let stroke = Stroke::new(2.0, colours.accent);
        painter.rect_stroke(field, CornerRadius::same(2), stroke, StrokeKind::Outside);
    }
    let clipped = painter.with_clip_rect(below.intersect(ui.clip_rect()));
    for (at, line) in lines.iter().enumerate() {
        let place = pos2(below.left(), below.top() + GRID / 2.0 + LINE * at as f32);
        clipped.text(place, Align2::LEFT_TOP, line, FontId::monospace(10.5), colours.weak);
    }
    let name = place(study, cell);
    let what = match &study.cells[cell] {
        Cell::Done(_) => lines.join(", "),
        Cell::Refused(reason) => format!("left out: {reason}"),
        Cell::Waiting if running.is_some() => "computing".to_owned(),
        Cell::Waiting if sweep.phase() == Phase::Idle => "not computed".to_owned(),
        Cell::Waiting => "waiting".to_owned(),
    };
    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, format!("{name}: {what}")));
    let hover = response.clone();
    let texture = pane.textures.get(cell).and_then(Option::as_ref);
    hover.on_hover_ui(|ui| {
        if let Some((_, texture)) = texture {
            let size = texture.size_vec2();
            let scale = (ENLARGED / size.x.max(size.y)).max(1.0);
            ui.add(egui::Image::from_texture((texture.id(), size * scale)));
        }
        ui.label(RichText::new(&name).color(palette(ui.visuals()).strong));
        ui.label(&what);
        let hint = "Click puts its settings on the controls; a double click also makes it again.";
        ui.label(theme::section(ui, hint));
    });
    response
}

/// The largest rectangle of the shape of `size` in the upper left of `field`.
fn fit(field: Rect, size: Vec2) -> Rect {
    let scale = (field.width() / size.x).min(field.height() / size.y);
    Rect::from_min_size(field.min, size * scale)
}

/// An empty field with a few words.
fn note(painter: &egui::Painter, field: Rect, text: &str, ground: Color32, colour: Color32) {
    painter.rect_filled(field, 2.0, ground);
    let inner = field.shrink(1.5 * GRID);
    let galley = painter.layout(text.to_owned(), FontId::proportional(11.0), colour, inner.width());
    painter.with_clip_rect(inner.intersect(painter.clip_rect())).galley(inner.min, galley, colour);
}

/// The picture of a cell on the GPU, as it is to be shown.
fn texture(ui: &Ui, pane: &mut SweepPane, study: &Study, cell: usize) -> Option<TextureHandle> {
    pane.textures.resize(study.cells.len().max(pane.textures.len()), None);
    let known = pane.textures[cell].as_ref().filter(|(show, _)| *show == pane.show);
    if let Some((_, texture)) = known {
        return Some(texture.clone());
    }
    let ground = ui.visuals().panel_fill;
    let ground = image::Rgb([ground.r(), ground.g(), ground.b()]);
    let picture = montage(&study.outcome(cell)?.pictures, pane.show, ground)?;
    let options = TextureOptions {
        magnification: TextureFilter::Nearest,
        minification: TextureFilter::Linear,
        ..TextureOptions::default()
    };
    let texture = ui.ctx().load_texture(format!("sweep {cell}"), colour_image(&picture), options);
    pane.textures[cell] = Some((pane.show, texture.clone()));
    Some(texture)
}
