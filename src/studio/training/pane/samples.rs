//! The sample sheets of all runs, at one moment of their training.

use std::sync::Arc;

use egui::{Image, Label, RichText, Ui, Vec2, vec2};

use super::looks::{short_name, swatch};
use crate::studio::base::theme::{self, GRID, palette};
use crate::studio::base::widgets::{Icon, icon_button, number_slider};
use crate::studio::training::{RunView, Sheet, Training, sheet_steps};

/// Least width of a sheet where several are side by side, in points.
const LEAST: f32 = 52.0 * GRID;
/// Space between two sheets, in points.
const GAP: f32 = 3.0 * GRID;

/// Shows the slider and the sheets of runs, which come with their places among the folders.
pub(super) fn show(ui: &mut Ui, training: &mut Training, runs: &[(usize, Arc<RunView>)]) {
    if runs.is_empty() {
        return;
    }
    ui.add_space(3.0 * GRID);
    ui.label(theme::section(ui, "Samples"));
    let steps = sheet_steps(runs.iter().map(|(_, run)| &**run));
    if steps.is_empty() {
        ui.label(theme::weak(
            ui,
            "The first sheet of samples will be here; the run file says after how many steps.",
        ));
        return;
    }
    let step = slider(ui, training, &steps);
    let sheets = training.sheets(runs, step);
    let most = (((ui.available_width() + GAP) / (LEAST + GAP)).floor() as usize).max(1);
    // Rows of as equal a length as can be.
    let columns = runs.len().div_ceil(runs.len().div_ceil(most));
    let width = (ui.available_width() - GAP * (columns - 1) as f32) / columns as f32;
    let cells: Vec<Cell<'_>> = runs
        .iter()
        .zip(&sheets)
        .map(|((at, run), sheet)| {
            let name = short_name(&training.folders, *at);
            Cell { at: *at, run, name, sheet }
        })
        .collect();
    let tallest = cells.iter().map(|cell| cell.height(ui, width)).fold(0.0, f32::max);
    for row in cells.chunks(columns) {
        ui.horizontal_top(|ui| {
            ui.spacing_mut().item_spacing.x = GAP;
            for cell in row {
                ui.vertical(|ui| {
                    ui.set_width(width);
                    cell.show(ui, width, tallest);
                });
            }
        });
    }
}

/// Chooses a step among those that there are sheets of; gives it.
fn slider(ui: &mut Ui, training: &mut Training, steps: &[usize]) -> usize {
    let last = steps.len() - 1;
    let before = training
        .sheets_at
        .map_or(last, |chosen| steps.partition_point(|step| *step <= chosen).saturating_sub(1));
    let mut at = before;
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = GRID;
        if icon_button(ui, Icon::Previous, "Sheets before", at > 0).clicked() {
            at -= 1;
        }
        if icon_button(ui, Icon::Next, "Next sheets", at < last).clicked() {
            at += 1;
        }
        ui.add_space(GRID);
        ui.spacing_mut().item_spacing.x = 2.0 * GRID;
        let hint = "Every run shows its newest sheet up to this step. At the end, the slider goes \
                    along as sheets come.";
        let numbers = steps.iter().map(|step| *step as f64).collect();
        number_slider(ui, "Step", &mut at, numbers, 0, hint);
    });
    if at != before {
        // The newest stays the newest as others come.
        training.sheets_at = (at < last).then(|| steps[at]);
    }
    steps[at]
}

/// A run and what it has to show.
struct Cell<'a> {
    /// Its place among the folders.
    at: usize,
    run: &'a RunView,
    name: String,
    sheet: &'a Sheet,
}

impl Cell<'_> {
    /// Height of its sheet, in points.
    fn height(&self, ui: &Ui, width: f32) -> f32 {
        match self.sheet {
            Sheet::Read(_, Ok(texture)) => extent(ui, texture.size_vec2(), width).y,
            Sheet::Read(_, Err(_)) | Sheet::Reading | Sheet::Missing => 0.0,
        }
    }

    /// Shows it; where a sheet may yet be, `tallest` points are kept free, so that nothing jumps.
    fn show(&self, ui: &mut Ui, width: f32, tallest: f32) {
        ui.spacing_mut().item_spacing = vec2(2.0 * GRID, 0.0);
        ui.horizontal(|ui| {
            swatch(ui, self.at);
            ui.add(Label::new(&self.name).truncate());
        });
        let caption = match self.sheet {
            Sheet::Missing => "no sheet yet".to_owned(),
            Sheet::Reading => "reading the sheet".to_owned(),
            Sheet::Read(step, _) => format!("after step {step}"),
        };
        ui.label(theme::section(ui, &caption))
            .on_hover_text("Steps that this run had made before its sheet.");
        ui.add_space(GRID);
        match self.sheet {
            Sheet::Missing => self.placeholder(ui, tallest),
            Sheet::Reading => {
                ui.add_space(tallest);
            }
            Sheet::Read(_, Ok(texture)) => {
                let size = extent(ui, texture.size_vec2(), width);
                ui.add(Image::new((texture.id(), size)))
                    .on_hover_text(match self.run.tokenizer {
                        true => "Pictures above, their reconstructions below.",
                        false => "Pictures of the classes, made with the averaged weights and always the same noise.",
                    })
                    .accessible_name(format!("Sample sheet of {}", self.name));
            }
            Sheet::Read(_, Err(text)) => {
                let text = RichText::new(text).color(palette(ui.visuals()).error);
                ui.add(Label::new(text).wrap());
            }
        }
    }

    /// Says when the first sheet comes.
    fn placeholder(&self, ui: &mut Ui, tallest: f32) {
        let (text, height) = match self.run.samples.first() {
            Some((step, _)) => (format!("Its first sheet was made after step {step}."), tallest),
            None => ("Its first sheet will be here.".to_owned(), 0.0),
        };
        ui.vertical(|ui| {
            ui.set_min_height(height);
            ui.add(Label::new(theme::weak(ui, text)).wrap());
        });
    }
}

/// Extent of a picture of `size` pixels, in points: as wide as there is room for, up to four times; where
/// it is enlarged, its pixels come out as equally many of the screen's.
fn extent(ui: &Ui, size: Vec2, width: f32) -> Vec2 {
    const MOST: f32 = 4.0;
    let scale = ui.pixels_per_point();
    let times = (width / size.x).min(MOST) * scale;
    let times = if times >= 1.0 { times.floor() } else { times };
    size * times / scale
}
