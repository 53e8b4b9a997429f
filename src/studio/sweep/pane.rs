//! Two settings against each other, as a grid of pictures that fills in.

use std::sync::Arc;

use egui::{
    Align, Align2, Button, Color32, ComboBox, CornerRadius, FontId, Galley, Label, Layout, Rect,
    Response, RichText, Role, ScrollArea, Sense, Slider, Stroke, StrokeKind, TextEdit, TextStyle,
    TextureFilter, TextureHandle, TextureOptions, Ui, Vec2, WidgetInfo, pos2, vec2,
};

use crate::flow::SampleSettings;
use crate::io::png;
use crate::studio::action::{Actions, ControlsAction};
use crate::studio::base::images::colour_image;
use crate::studio::base::text::count;
use crate::studio::base::theme::{self, GRID, PANE_MARGIN, palette};
use crate::studio::base::widgets::{Row, choice, empty_state};
use crate::studio::session::Session;
use crate::studio::sweep::{Phase, Sweep};
use crate::sweep::axis::{AxisText, Parameter};
use crate::sweep::sheet::{self, Show, montage};
use crate::sweep::study::{Cell, Study};

/// Side of the pictures at zoom 1, in points.
const SIDE: f32 = 24.0 * GRID;
/// Width of the choice of a parameter, in points.
const PARAMETER: f32 = 32.0 * GRID;
/// Height of a line under a picture.
const LINE: f32 = 4.0 * GRID;
const GAP: f32 = 2.0 * GRID;
/// Widest that names of rows get.
const WIDEST_NAME: f32 = 36.0 * GRID;
/// Side of the enlarged picture, in points.
const ENLARGED: f32 = 64.0 * GRID;

/// What the pane keeps between frames.
pub struct SweepPane {
    show: Show,
    zoom: f32,
    textures: Vec<Option<(Show, TextureHandle)>>,
}

impl Default for SweepPane {
    fn default() -> Self {
        Self { show: Show::default(), zoom: 1.0, textures: Vec::new() }
    }
}

impl SweepPane {
    /// Lets go of the pictures of the last sweep.
    pub fn forget(&mut self) {
        self.textures.clear();
    }
}

/// Shows the pane.
pub fn show(ui: &mut Ui, sweep: &mut Sweep, session: &mut Session, actions: &mut Actions) {
    ui.scope(|ui| {
        ui.set_max_width(ui.available_width() - PANE_MARGIN);
        form(ui, sweep, session);
        ui.add_space(GRID);
        buttons(ui, sweep, session);
    });
    let Some(study) = sweep.study.take() else {
        return empty_state(
            ui,
            "A grid of pictures will fill in here",
            "Choose what varies across and down, then start the sweep: one run a cell, with \
             the settings on the controls for everything else.",
        );
    };
    ui.horizontal(|ui| view_options(ui, &mut sweep.pane, &study));
    let chosen = grid(ui, sweep, &study);
    if let Some((cell, again)) = chosen {
        session.adopt(&study.plan.settings(cell));
        actions.push(ControlsAction::RevealClass);
        let text = format!("The settings of {} are on the controls", place(&study, cell));
        session.notices.note(text);
        if again {
            session.generate();
        }
    }
    sweep.study = Some(study);
}

fn form(ui: &mut Ui, sweep: &mut Sweep, session: &Session) {
    let model = &session.model;
    let classes = model.as_ref().map_or(&[][..], |model| &model.card.class_names);
    let (x, y) = sweep.axes(classes);
    // Where the values of an axis begin.
    let first = |parameter| match parameter {
        Parameter::Class => AxisText::of_classes(&session.draft.classes, classes),
        other => AxisText::example(other),
    };
    axis_row(ui, "Across", "What varies from column to column.", &mut sweep.x, None, &first);
    trouble(ui, x.as_ref().err());
    axis_row(
        ui,
        "Down",
        "What varies from row to row.",
        &mut sweep.y,
        Some(&mut sweep.two),
        &first,
    );
    trouble(ui, y.as_ref().and_then(|y| y.as_ref().err()));
    let (Some(model), Some(base)) = (model, session.settings()) else { return };
    if let Err(Some(text)) = sweep.plan(SampleSettings::clone(&base), model) {
        trouble(ui, Some(&text));
    }
}

fn trouble(ui: &mut Ui, text: Option<&String>) {
    let Some(text) = text else { return };
    let colour = palette(ui.visuals()).error;
    ui.add(Label::new(RichText::new(text).text_style(TextStyle::Small).color(colour)).wrap());
}

/// A parameter, and its values as text; `on` is whether there is such an axis at all.
fn axis_row(
    ui: &mut Ui,
    name: &str,
    hint: &str,
    axis: &mut AxisText,
    on: Option<&mut bool>,
    first: &dyn Fn(Parameter) -> AxisText,
) {
    let mut chosen = on.as_ref().is_none_or(|on| **on).then_some(axis.parameter);
    let before = chosen;
    let may_be_none = on.is_some();
    Row::new(name, hint)
        .show(ui, |ui| {
            let shown = |chosen: Option<Parameter>| chosen.map_or("nothing", Parameter::name);
            ComboBox::from_id_salt(name)
                .selected_text(shown(chosen))
                .width(PARAMETER)
                .show_ui(ui, |ui| {
                    if may_be_none {
                        ui.selectable_value(&mut chosen, None, shown(None));
                    }
                    for parameter in Parameter::ALL {
                        ui.selectable_value(&mut chosen, Some(parameter), parameter.name());
                    }
                })
                .response
                .on_hover_text(hint)
                .accessible_name(format!("{name}: parameter"));
            let field = TextEdit::singleline(&mut axis.text)
                .desired_width(f32::INFINITY)
                .margin(egui::Margin::symmetric(8, 4))
                .hint_text(axis.parameter.example());
            ui.add_enabled(chosen.is_some(), field)
        })
        .on_hover_text(format!(
            "{}. A list such as {}, or a range: FROM..TO x COUNT, with log for equal ratios.",
            axis.parameter.range(),
            axis.parameter.example()
        ))
        .accessible_name(format!("{name}: values"));
    if chosen != before {
        if let Some(parameter) = chosen
            && parameter != axis.parameter
        {
            *axis = first(parameter);
        }
        if let Some(on) = on {
            *on = chosen.is_some();
        }
    }
}

/// Start, pause and stop, how far it is, and exports.
fn buttons(ui: &mut Ui, sweep: &mut Sweep, session: &mut Session) {
    let plan = match (&session.model, session.settings()) {
        (Some(model), Some(base)) => sweep.plan(SampleSettings::clone(&base), model).ok(),
        _ => None,
    };
    ui.horizontal_wrapped(|ui| {
        let colours = palette(ui.visuals());
        let phase = sweep.phase();
        match phase {
            Phase::Idle => {
                let text = RichText::new("Start sweep").color(colours.on_accent);
                let start = ui.add_enabled(plan.is_some(), Button::new(text).fill(colours.accent));
                let start = start
                    .on_hover_text("Make every cell, over the settings that are on the controls.")
                    .on_disabled_hover_text("It waits for a model, and for axes that can be read.")
                    .accessible_name("Start sweep");
                if start.clicked() {
                    sweep.begin_typed(session);
                }
            }
            Phase::Running => {
                let hint = "Drop the cell being made, and make no further one until you go on.";
                if ui.button("Pause sweep").on_hover_text(hint).clicked() {
                    sweep.pause(session);
                }
            }
            Phase::Paused => {
                if ui.button("Resume sweep").on_hover_text("Go on with the next cell.").clicked() {
                    sweep.resume();
                }
            }
        }
        if phase != Phase::Idle {
            let hint = "End the sweep with the cells that it has.";
            if ui.button("Stop sweep").on_hover_text(hint).clicked() {
                sweep.stop(session);
            }
        } else if has_rest(sweep, session) {
            let hint = "Make the cells that a stop left out, and those whose runs failed.";
            if ui.button("Make the rest").on_hover_text(hint).clicked() {
                sweep.retry();
            }
        }
        let cells = plan.as_ref().map(|plan| (plan.columns(), plan.rows()));
        exports(ui, sweep);
        // At the end, so that nothing moves with its length.
        ui.label(theme::weak(ui, status(sweep, session, cells)));
    });
    if sweep.phase() != Phase::Idle {
        progress(ui, sweep);
    }
}

/// Whether cells of the last sweep can still be made, by the model that made the others.
fn has_rest(sweep: &Sweep, session: &Session) -> bool {
    let study = sweep.study.as_ref();
    study.is_some_and(|study| {
        let same = session.model.as_ref().is_some_and(|model| model.hash == study.hash);
        same && (study.waiting().is_some() || sweep.has_failed())
    })
}

/// How far it is, in words.
fn status(sweep: &Sweep, session: &Session, typed: Option<(usize, usize)>) -> String {
    let typed = match typed {
        Some((columns, rows)) => format!("{columns} x {rows} cells"),
        None => String::new(),
    };
    let Some(study) = &sweep.study else { return typed };
    let of = format!("{} of {}", study.settled(), count(study.cells.len(), "cell"));
    match sweep.phase() {
        Phase::Idle => of,
        Phase::Paused => format!("{of}, paused"),
        Phase::Running if session.active.is_some() => format!("{of}, waits for your run"),
        Phase::Running => match sweep.time_left() {
            Some(left) => format!("{of}, {} left", duration(left.as_secs_f64())),
            None => of,
        },
    }
}

fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 1.0 => "less than a second".to_owned(),
        s if s < 90.0 => format!("{s:.0} s"),
        s if s < 5400.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

fn progress(ui: &mut Ui, sweep: &Sweep) {
    let Some(study) = &sweep.study else { return };
    let size = vec2(ui.available_width(), GRID / 2.0);
    let (rect, response) = ui.allocate_exact_size(size, Sense::hover());
    let part = sweep.progress().map_or(0.0, |(_, part)| part);
    let done = (study.settled() as f64 + part) / study.cells.len().max(1) as f64;
    response.widget_info(|| {
        let text = format!("Sweep: {} of {} cells", study.settled(), study.cells.len());
        WidgetInfo::labeled(Role::ProgressIndicator, true, text)
    });
    let colours = palette(ui.visuals());
    ui.painter().rect_filled(rect, 1.0, colours.outline);
    let done = rect.with_max_x(rect.left() + done as f32 * rect.width());
    ui.painter().rect_filled(done, 1.0, colours.accent);
}

fn exports(ui: &mut Ui, sweep: &mut Sweep) {
    let Some(study) = &sweep.study else { return };
    let any = study.settled() > 0;
    let show = sweep.pane.show;
    let hint = "Save the grid as one PNG, with the names and values of the axes drawn in and all \
                settings inside.";
    let button = ui.add_enabled(any, Button::new("Export sheet"));
    if button.on_hover_text(hint).clicked() {
        let study = study.clone();
        sweep.dialogs.save_made(ui.ctx(), format!("{}.png", study.file_stem()), move || {
            let json = study.to_json().map_err(|error| error.to_string())?;
            png::encode(&sheet::draw(&study, show), &json).map_err(|error| error.to_string())
        });
    }
    let hint = "Save evaluations, time and entropy of every cell as comma-separated values.";
    let button = ui.add_enabled(any, Button::new("Export numbers"));
    if button.on_hover_text(hint).clicked() {
        let study = study.clone();
        let name = format!("{}.csv", study.file_stem());
        sweep.dialogs.save_made(ui.ctx(), name, move || Ok(study.to_csv().into_bytes()));
    }
}

fn view_options(ui: &mut Ui, pane: &mut SweepPane, study: &Study) {
    let several = (0..study.cells.len()).any(|cell| study.plan.pictures(cell) > 1);
    if several {
        let options = [
            (Show::First, "First picture", "Show the first picture of each cell."),
            (Show::All, "All pictures", "Show every picture of each cell."),
        ];
        choice(ui, &mut pane.show, &options);
    }
    ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
        ui.add_space(PANE_MARGIN);
        ui.spacing_mut().slider_width = 24.0 * GRID;
        let zoom = Slider::new(&mut pane.zoom, 0.5..=4.0).logarithmic(true).show_value(false);
        ui.add(zoom).on_hover_text("Size of the pictures.").accessible_name("Size of the pictures");
        ui.label(theme::weak(ui, "Size"));
    });
}

/// Names and values of a cell, for people.
fn place(study: &Study, cell: usize) -> String {
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

/// The cells under their axes; gives the cell that was clicked, and whether twice.
fn grid(ui: &mut Ui, sweep: &mut Sweep, study: &Study) -> Option<(usize, bool)> {
    let side = (SIDE * sweep.pane.zoom / GRID).round() * GRID;
    let small = TextStyle::Small.resolve(ui.style());
    let mono = FontId::monospace(11.0);
    let strong = palette(ui.visuals()).strong;
    let weak = palette(ui.visuals()).weak;
    let lay = |ui: &Ui, text: &str, font: &FontId, colour| {
        ui.painter().layout_no_wrap(text.to_owned(), font.clone(), colour)
    };
    let values = |ui: &Ui, at: usize| -> Vec<Arc<Galley>> {
        let axis = study.plan.axes().nth(at);
        let values = axis.map(|axis| axis.values.as_slice()).unwrap_or_default();
        values.iter().map(|value| lay(ui, &value.to_string(), &mono, strong)).collect()
    };
    let (across, down) = (values(ui, 0), values(ui, 1));
    let names: Vec<Arc<Galley>> =
        study.plan.axes().map(|axis| lay(ui, axis.parameter.name(), &small, weak)).collect();
    let widest = |list: &[Arc<Galley>]| list.iter().map(|text| text.size().x).fold(0.0, f32::max);
    let beside = match names.get(1) {
        Some(name) => (widest(&down).max(name.size().x) + 3.0 * GRID).min(WIDEST_NAME),
        None => 0.0,
    };
    let measures = Measures {
        side,
        cell: vec2(side.max(widest(&across).min(1.5 * side)) + GAP, side + 2.0 * LINE + GAP),
        head: vec2(beside, 2.0 * LINE + GRID),
    };
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
        for row in 0..rows {
            for column in 0..columns {
                let at = vec2(column as f32 * measures.cell.x, row as f32 * measures.cell.y);
                let rect = Rect::from_min_size(cells + at, measures.cell - Vec2::splat(GAP));
                if rect.intersects(body) {
                    let cell = row * columns + column;
                    let response = ui
                        .scope_builder(egui::UiBuilder::new().max_rect(rect), |ui| {
                            ui.shrink_clip_rect(body);
                            show_cell(ui, sweep, study, cell, rect, &measures)
                        })
                        .inner;
                    if response.clicked() {
                        // A click elsewhere just before makes the second of two the third.
                        let again = response.double_clicked() || response.triple_clicked();
                        chosen = Some((cell, again));
                    }
                }
            }
        }
        // The names stay in sight while the cells move under them.
        let painter = ui.painter();
        let line = |y: f32, at: usize| y + LINE * at as f32;
        let put = |clip: Rect, at, text: &Arc<Galley>| {
            painter.with_clip_rect(clip.intersect(ui.clip_rect())).galley(
                at,
                Arc::clone(text),
                weak,
            );
        };
        let above =
            Rect::from_min_max(pos2(body.left(), seen.top()), pos2(seen.right(), body.top()));
        for (column, text) in across.iter().enumerate() {
            let x = cells.x + column as f32 * measures.cell.x;
            let own = Rect::from_x_y_ranges(x..=x + measures.cell.x - GRID, above.y_range());
            put(above.intersect(own), pos2(x, line(seen.top(), 1)), text);
        }
        put(above, pos2(body.left().max(cells.x), seen.top()), &names[0]);
        let left =
            Rect::from_min_max(pos2(seen.left(), body.top()), pos2(body.left(), seen.bottom()));
        for (row, text) in down.iter().enumerate() {
            let y = cells.y + row as f32 * measures.cell.y + (side - text.size().y) / 2.0;
            put(left.shrink2(vec2(GRID, 0.0)).with_min_x(left.left()), pos2(seen.left(), y), text);
        }
        if let Some(name) = names.get(1) {
            put(seen, pos2(seen.left(), line(seen.top(), 1)), name);
        }
    });
    chosen
}

fn show_cell(
    ui: &mut Ui,
    sweep: &mut Sweep,
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
            if let Some(texture) = texture(ui, &mut sweep.pane, study, cell) {
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
                None if sweep.phase() == Phase::Idle => "not made",
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
        Cell::Waiting if running.is_some() => "being made".to_owned(),
        Cell::Waiting if sweep.phase() == Phase::Idle => "not made".to_owned(),
        Cell::Waiting => "waiting".to_owned(),
    };
    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, format!("{name}: {what}")));
    let hover = response.clone();
    let texture = sweep.pane.textures.get(cell).and_then(Option::as_ref);
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

#[cfg(test)]
mod tests {
    use egui::vec2;
    use egui_kittest::kittest::{NodeT as _, Queryable as _};

    use super::*;
    use crate::studio::action::WindowAction;
    use crate::studio::pane::Pane;
    use crate::studio::testing::fake::{FakeWorker, Gate};
    use crate::studio::testing::window::{Window, click, finished, wait_until, window_with};

    /// A window with the pane before the others of its place.
    fn open(worker: FakeWorker) -> Window {
        let mut window = window_with(worker);
        window.set_size(vec2(1440.0, 900.0));
        window.state_mut().shell.greeted = true;
        window.state_mut().shell.studio.actions.push(WindowAction::Reveal(Pane::Sweep));
        window.run_steps(4);
        window
    }

    fn ready() -> Window {
        let mut window = open(FakeWorker::default());
        wait_until(&mut window, finished);
        window
    }

    fn gated() -> (Gate, Window) {
        let (gate, worker) = FakeWorker::gated();
        let mut window = open(worker);
        gate.let_pass(24);
        wait_until(&mut window, finished);
        (gate, window)
    }

    fn axes(window: &mut Window, x: &str, y: &str) {
        let sweep = &mut window.state_mut().shell.studio.sweep;
        (sweep.x, sweep.y) = (x.parse().unwrap(), y.parse().unwrap());
        window.run_steps(2);
    }

    fn settled(window: &Window) -> usize {
        window.state().shell.studio.sweep.study.as_ref().map_or(0, Study::settled)
    }

    #[test]
    fn the_grid_fills_in_and_a_cell_gives_its_settings_back() {
        let mut window = ready();
        assert!(window.query_by_label("A grid of pictures will fill in here").is_some());
        axes(&mut window, "steps=2,3", "temperature=0.5,1.1");
        click(&mut window, "Start sweep");
        wait_until(&mut window, |app| {
            app.shell.studio.sweep.study.as_ref().is_some_and(|s| s.settled() == 4)
        });
        assert!(window.query_by_label("4 of 4 cells").is_some());
        for name in ["steps 2, temperature 0.5: 4 NFE", "steps 3, temperature 1.1: 6 NFE"] {
            assert!(window.query_by_label_contains(name).is_some(), "{name}");
        }
        window.get_by_label_contains("steps 3, temperature 1.1").click();
        window.run_steps(3);
        let draft = &window.state().shell.studio.session.draft;
        assert_eq!((draft.steps, draft.from), (3, 1.1));
        assert!(draft.seed_locked && window.state().shell.studio.session.active.is_none());
        // A double click also makes it again.
        for _ in 0..2 {
            window.get_by_label_contains("steps 2, temperature 0.5").click();
        }
        wait_until(&mut window, |app| {
            finished(app)
                && app.shell.studio.session.run.as_ref().is_some_and(|run| run.frames.len() == 2)
        });
    }

    #[test]
    fn what_is_typed_wrong_is_said_under_it() {
        let mut window = ready();
        window.get_by_label("Across: values").focus();
        window.run_steps(2);
        window.get_by_label("Across: values").type_text(", warm");
        window.run_steps(3);
        assert!(window.query_by_label_contains("'warm' is no temperature").is_some());
        assert!(window.get_by_label("Start sweep").accesskit_node().is_disabled());
        axes(&mut window, "steps=2", "steps=3");
        assert!(window.query_by_label_contains("both axes set the steps").is_some());
        axes(&mut window, "steps=2,3", "seed=1");
        assert!(window.query_by_label("2 x 1 cells").is_some());
        window.state_mut().shell.studio.sweep.two = false;
        axes(&mut window, "steps=2,3", "steps=3");
        assert!(!window.get_by_label("Start sweep").accesskit_node().is_disabled());
    }

    #[test]
    fn axes_are_chosen_from_a_list_and_bring_values_along() {
        let mut window = ready();
        let choose = |window: &mut Window, axis: &str, option: &str| {
            window.get_by_label(&format!("{axis}: parameter")).click();
            window.run_steps(3);
            click(window, option);
        };
        choose(&mut window, "Across", "class");
        assert_eq!(window.state().shell.studio.sweep.x.text, "cat-05, cat-01, cat-02, cat-03");
        choose(&mut window, "Down", "guidance");
        assert!(window.query_by_label("4 x 5 cells").is_some());
        choose(&mut window, "Down", "nothing");
        assert!(window.query_by_label("4 x 1 cells").is_some());
    }

    #[test]
    fn it_pauses_and_resumes_and_says_how_far_it_is() {
        let (gate, mut window) = gated();
        axes(&mut window, "steps=2,3", "temperature=1");
        click(&mut window, "Start sweep");
        gate.let_pass(2);
        wait_until(&mut window, |app| {
            app.shell.studio.sweep.study.as_ref().is_some_and(|s| s.settled() == 1)
        });
        assert!(window.query_by_label("Sweep: 1 of 2 cells").is_some());
        click(&mut window, "Pause sweep");
        assert!(window.query_by_label("1 of 2 cells, paused").is_some());
        gate.let_pass(1000);
        window.run_steps(10);
        assert_eq!(settled(&window), 1);
        click(&mut window, "Resume sweep");
        wait_until(&mut window, |app| app.shell.studio.sweep.phase() == Phase::Idle);
        assert_eq!(settled(&window), 2);
    }

    #[test]
    fn a_cell_that_cannot_be_says_why_and_a_stop_keeps_the_rest() {
        let (gate, mut window) = gated();
        axes(&mut window, "solver=heun,euler,midpoint", "eta=0.5");
        click(&mut window, "Start sweep");
        let reason = window.query_by_label_contains("solver heun, eta 0.5: left out: eta must be");
        assert!(reason.is_some());
        click(&mut window, "Stop sweep");
        gate.let_pass(1000);
        assert_eq!(settled(&window), 2);
        assert!(window.query_by_label_contains("solver euler, eta 0.5: not made").is_some());
        assert!(window.query_by_label("Export sheet").is_some());
        click(&mut window, "Make the rest");
        wait_until(&mut window, |app| app.shell.studio.sweep.phase() == Phase::Idle);
        assert!(window.query_by_label_contains("solver euler, eta 0.5: 48 NFE").is_some());
    }

    #[test]
    fn every_input_of_the_pane_has_a_name() {
        let mut window = ready();
        axes(&mut window, "steps=2,3", "temperature=0.5,1.1");
        click(&mut window, "Start sweep");
        wait_until(&mut window, |app| app.shell.studio.sweep.phase() == Phase::Idle);
        click(&mut window, "All pictures");
        window.check_accessibility();
    }
}
