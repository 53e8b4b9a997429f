//! Rows of a form, choices among a few, empty states and legends.

use egui::{
    Align, Button, Color32, Layout, Mesh, Rect, Response, RichText, Sense, Shape, Slider,
    TextStyle, Ui, pos2, vec2,
};

use crate::studio::base::theme::{self, GRID};
use crate::studio::engine::colormap::viridis;

/// One row of a form: a label of fixed width, with a tooltip, then the widgets.
pub struct Row<'a> {
    label: &'a str,
    hint: &'a str,
}

impl<'a> Row<'a> {
    const LABEL: f32 = 17.0 * GRID;
    /// A row narrower than this has its label on a line of its own.
    const NARROW: f32 = 57.0 * GRID;

    /// A row named `label`, explained by `hint`.
    pub fn new(label: &'a str, hint: &'a str) -> Self {
        Self { label, hint }
    }

    /// Shows the row. The widget that `add` returns gets the row's name and tooltip.
    pub fn show(self, ui: &mut Ui, add: impl FnOnce(&mut Ui) -> Response) -> Response {
        if ui.available_width() < Self::NARROW {
            return ui
                .vertical(|ui| {
                    ui.spacing_mut().item_spacing.y = 0.0;
                    let label = ui.label(theme::section(ui, self.label)).on_hover_text(self.hint);
                    ui.horizontal(add).inner.labelled_by(label.id).on_hover_text(self.hint)
                })
                .inner;
        }
        ui.horizontal(|ui| {
            let size = vec2(Self::LABEL, ui.spacing().interact_size.y);
            let layout = Layout::left_to_right(Align::Center);
            let label = ui
                .allocate_ui_with_layout(size, layout, |ui| {
                    ui.set_min_size(size);
                    ui.add(egui::Label::new(self.label).selectable(false)).on_hover_text(self.hint)
                })
                .inner;
            add(ui).labelled_by(label.id).on_hover_text(self.hint)
        })
        .inner
    }

    /// Shows the row with a slider and its number, which take up its whole width.
    pub fn slider(self, ui: &mut Ui, slider: egui::Slider<'_>) -> Response {
        self.show(ui, |ui| {
            let number = 13.0 * GRID;
            ui.spacing_mut().interact_size.x = number;
            let gap = ui.spacing().item_spacing.x;
            ui.spacing_mut().slider_width = (ui.available_width() - number - gap).max(8.0 * GRID);
            ui.add(slider)
        })
    }
}

/// A few things side by side of which one is chosen; says whether the choice changed.
pub fn choice<T: PartialEq + Copy>(
    ui: &mut Ui,
    chosen: &mut T,
    options: &[(T, &str, &str)],
) -> bool {
    let before = *chosen;
    ui.scope(|ui| {
        ui.spacing_mut().item_spacing.x = GRID / 2.0;
        for (value, name, hint) in options {
            let button = Button::selectable(*chosen == *value, *name);
            if ui.add(button).on_hover_text(*hint).clicked() {
                *chosen = *value;
            }
        }
    });
    *chosen != before
}

/// Chooses one of several times by its place among them; what is typed means the nearest.
pub fn time_slider(ui: &mut Ui, at: &mut usize, times: Vec<f64>, hint: &str) -> Response {
    number_slider(ui, "Time t", at, times, 3, hint)
}

/// Chooses one of several rising numbers, shown with so many decimals, by its place among them; what is
/// typed means the nearest.
pub fn number_slider(
    ui: &mut Ui,
    name: &str,
    at: &mut usize,
    numbers: Vec<f64>,
    decimals: usize,
    hint: &str,
) -> Response {
    ui.horizontal(|ui| {
        let label = ui.label(name).on_hover_text(hint);
        ui.spacing_mut().slider_width = (ui.available_width() - 20.0 * GRID).max(10.0 * GRID);
        let (last, nearest) = (numbers.len().saturating_sub(1), numbers.clone());
        // Of a single one there is nothing to choose; it stands at the beginning.
        let slider = Slider::new(at, 0..=last.max(1))
            .custom_formatter(move |at, _| {
                let number = numbers.get(at as usize);
                number.map_or_else(String::new, |number| format!("{number:.decimals$}"))
            })
            .custom_parser(move |text| {
                let wanted: f64 = text.trim().parse().ok()?;
                let off = |at: &usize| (nearest[*at] - wanted).abs();
                (0..nearest.len()).min_by(|a, b| off(a).total_cmp(&off(b))).map(|at| at as f64)
            });
        let response = ui.add_enabled(last > 0, slider);
        *at = last.min(*at);
        response.labelled_by(label.id).on_hover_text(hint)
    })
    .inner
}

/// What an empty pane says: what will be here, and how.
pub fn empty_state(ui: &mut Ui, title: &str, hint: &str) {
    ui.vertical_centered(|ui| {
        ui.add_space((ui.available_height() * 0.36 - 6.0 * GRID).max(2.0 * GRID));
        ui.set_max_width(ui.available_width().min(72.0 * GRID));
        ui.label(RichText::new(title).color(theme::palette(ui.visuals()).strong));
        ui.label(theme::weak(ui, hint));
    });
}

/// A viridis ramp between the numbers at its ends, with its unit; for a row that fills from the
/// right.
pub fn legend_ramp(ui: &mut Ui, low: &str, high: &str, hint: &str) {
    let size = vec2(24.0 * GRID, 2.0 * GRID);
    ui.label(RichText::new(high).text_style(TextStyle::Monospace));
    let (rect, response) = ui.allocate_exact_size(size, Sense::hover());
    ui.painter().add(ramp(rect, viridis, [0.0, 1.0]));
    response.on_hover_text(hint);
    ui.label(RichText::new(low).text_style(TextStyle::Monospace));
}

/// The colours of a range of values between the words for its ends, for a row that fills from the left.
pub fn legend_between(
    ui: &mut Ui,
    colour: fn(f32) -> Color32,
    range: [f32; 2],
    [low, high]: [String; 2],
) {
    let words = |text: String| RichText::new(text).text_style(TextStyle::Small).monospace();
    ui.label(words(low));
    let (rect, _) = ui.allocate_exact_size(vec2(14.0 * GRID, 2.0 * GRID), Sense::hover());
    ui.painter().add(ramp(rect, colour, range));
    ui.label(words(high));
}

fn ramp(rect: Rect, colour: fn(f32) -> Color32, [low, high]: [f32; 2]) -> Shape {
    const PARTS: u32 = 24;
    let mut mesh = Mesh::default();
    for part in 0..=PARTS {
        let along = part as f32 / PARTS as f32;
        let (x, colour) = (rect.left() + along * rect.width(), colour(low + along * (high - low)));
        mesh.colored_vertex(pos2(x, rect.top()), colour);
        mesh.colored_vertex(pos2(x, rect.bottom()), colour);
        if part > 0 {
            let last = 2 * part;
            mesh.add_triangle(last - 2, last - 1, last);
            mesh.add_triangle(last - 1, last, last + 1);
        }
    }
    Shape::mesh(mesh)
}
