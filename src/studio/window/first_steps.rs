//! What to do first, in a strip under the panes until it was read.

use egui::{Align, Frame, Label, Layout, Margin, Panel as Strip, RichText, ScrollArea, Ui};

use super::shell::Shell;
use crate::studio::base::theme::{self, GRID, PANE_MARGIN, palette};
use crate::studio::session::run::Run;

/// Least width of a sentence, in points.
const COLUMN: f32 = 64.0 * GRID;
/// Most of the window's height that the strip takes; what does not fit scrolls.
const MOST: f32 = 0.25;

const STEPS: [&str; 4] = [
    "Generate makes pictures of the class on the left, step by step.",
    "Drag through the timeline below to see how noise became a picture.",
    "Click a picture: what the model believes about that token is on the right.",
    "Move a slider: the current step answers at once. Live reruns everything.",
];

/// Shows the strip, unless it was read.
pub fn show(ui: &mut Ui, shell: &mut Shell) {
    // Whoever has looked at a token of a run of their own has found the way.
    let session = &shell.studio.session;
    let found = |run: &Run| run.id > 1 && run.end.is_some();
    shell.greeted |= session.selected.is_some() && session.run.as_ref().is_some_and(found);
    if shell.greeted {
        return;
    }
    let around = Frame::new()
        .fill(ui.visuals().panel_fill)
        .inner_margin(Margin::symmetric(PANE_MARGIN as i8, 2 * GRID as i8));
    let most = ui.available_height() * MOST;
    let strip = Strip::bottom("first steps").resizable(false).frame(around);
    strip.show(ui, |ui| {
        ui.with_layout(Layout::right_to_left(Align::Min), |ui| {
            let done = ui.button("Got it").on_hover_text("The Help menu shows these again.");
            if done.clicked() {
                shell.greeted = true;
            }
            ui.with_layout(Layout::top_down(Align::Min), |ui| {
                ui.label(RichText::new("First steps").color(palette(ui.visuals()).accent));
                // It takes what it needs up to there, not only what it had in the frame before.
                let area = ScrollArea::vertical().max_height(most).min_scrolled_height(most);
                area.show(ui, steps);
            });
        });
    });
}

/// The sentences, beside one another where there is room for that.
fn steps(ui: &mut Ui) {
    let columns = ((ui.available_width() / COLUMN) as usize).clamp(1, STEPS.len());
    for (row, sentences) in STEPS.chunks(columns).enumerate() {
        ui.columns(columns, |places| {
            for (at, (ui, text)) in places.iter_mut().zip(sentences).enumerate() {
                ui.horizontal_top(|ui| {
                    ui.label(theme::number(ui, (row * columns + at + 1).to_string()));
                    ui.add(Label::new(*text).wrap());
                });
            }
        });
    }
}
