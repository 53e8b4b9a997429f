//! What to generate: class, seed, sampler, temperature, guidance.

mod class;
mod command;
mod curve;
mod parts;
mod points;
mod presets;
mod sampler;
mod summary;
mod temperature;

use egui::{Label, RichText, Slider, TextStyle, Ui};

use self::parts::{heading, unless};
use crate::flow::settings;
use crate::model::Objective;
use crate::studio::base::text::count;
use crate::studio::base::theme::{GRID, PANE_MARGIN, palette};
use crate::studio::base::widgets::{Icon, Row, icon_button, scroll_area};
use crate::studio::controls::Controls;
use crate::studio::session::Session;
use crate::studio::session::draft::Draft;

/// Height of everything but the list of classes, until it has been seen once.
const REST: f32 = 150.0 * GRID;

/// Shows the pane.
pub fn show(ui: &mut Ui, controls: &mut Controls, session: &mut Session) {
    // The list of classes takes what room the rest leaves, as the rest was last.
    let memory = ui.scope_id().with("rest");
    let seen: Option<f32> = ui.data(|data| data.get_temp(memory));
    let rest = seen.unwrap_or(REST);
    let list = (ui.available_height() - PANE_MARGIN - rest).clamp(26.0 * GRID, 120.0 * GRID);
    let list = (list / GRID).floor() * GRID;
    scroll_area().show(ui, |ui| {
        ui.add_enabled_ui(session.model.is_some(), |ui| {
            let objective =
                session.model.as_ref().map_or(Objective::default(), |info| info.card.objective);
            presets::show(ui, &mut controls.presets, session);
            branch(ui, session);
            class::show(ui, controls, session, list, seen.is_some());
            ui.add_space(GRID);
            batch(ui, session);
            sampler::show(ui, &mut session.draft, objective);
            temperature::show(ui, session, objective);
            edits(ui, &mut session.draft);
            summary::show(ui, session, objective);
        });
        let rest = ui.min_rect().height() - list;
        ui.data_mut(|data| data.insert_temp(memory, rest));
    });
}

/// Where the next run begins, if not with noise.
fn branch(ui: &mut Ui, session: &mut Session) {
    let Some(point) = &session.branch else { return };
    let text = format!("Continues from step {} of the previous run", point.branch.step + 1);
    let colours = palette(ui.visuals());
    let frame = egui::Frame::new()
        .stroke(egui::Stroke::new(1.0, colours.accent))
        .corner_radius(4)
        .inner_margin(egui::Margin { left: 8, right: 2, top: 2, bottom: 2 });
    frame.show(ui, |ui| {
        ui.horizontal(|ui| {
            let layout = egui::Layout::right_to_left(egui::Align::Center);
            ui.with_layout(layout, |ui| {
                let hint = "Start from noise.";
                let remove = ui.add(egui::Button::new("×").small()).on_hover_text(hint);
                if remove.accessible_name("Remove the branch").clicked() {
                    session.branch = None;
                }
                let layout = egui::Layout::left_to_right(egui::Align::Center);
                ui.with_layout(layout, |ui| {
                    let small = RichText::new(&text).text_style(TextStyle::Small);
                    let label = ui.add(Label::new(small.color(colours.accent)).truncate());
                    label.accessible_name(text).on_hover_text(
                        "The steps up to there are kept; the settings decide the steps after it.",
                    );
                });
            });
        });
    });
}

fn batch(ui: &mut Ui, session: &mut Session) {
    let mut thrown = false;
    Row::new(settings::SEED.label, settings::SEED.hint).show(ui, |ui| {
        let field = ui.add_sized(
            egui::vec2(17.0 * GRID, ui.spacing().interact_size.y),
            egui::DragValue::new(&mut session.draft.sampling.seed).speed(0.2),
        );
        thrown = icon_button(ui, Icon::Dice, "Throw the dice for a new seed", true).clicked();
        ui.checkbox(&mut session.draft.seed_locked, "Lock").on_hover_text(
            "Keep the seed when you press Generate; otherwise each press draws a new one.",
        );
        field
    });
    if thrown {
        session.throw_dice();
    }
    let row = Row::new("Count", "Pictures made at once, each from noise of its own.");
    match &session.branch {
        None => {
            row.slider(ui, Slider::new(&mut session.draft.count, 1..=Draft::MAX_COUNT));
        }
        Some(point) => {
            let mut count = point.branch.parent.labels.len();
            let most = Draft::MAX_COUNT.max(count);
            unless(ui, Some("A branch has as many pictures as its run."), |ui| {
                row.slider(ui, Slider::new(&mut count, 1..=most));
            });
        }
    }
}

/// How much is pinned and banned.
fn edits(ui: &mut Ui, draft: &mut Draft) {
    if draft.edits.is_empty() {
        return;
    }
    heading(ui, "Pins and bans");
    ui.horizontal(|ui| {
        let layout = egui::Layout::right_to_left(egui::Align::Center);
        ui.with_layout(layout, |ui| {
            let clear = ui.button("Clear").on_hover_text("Clear all pins and bans.");
            let text = summary_of_edits(draft);
            if clear.accessible_name("Clear pins and bans").clicked() {
                draft.edits.clear();
            }
            ui.with_layout(egui::Layout::left_to_right(egui::Align::Center), |ui| {
                ui.add(Label::new(text).truncate()).on_hover_text(
                    "Tokens held to a code, codes forbidden to single tokens, and codes forbidden \
                     everywhere.",
                );
            });
        });
    });
}

fn summary_of_edits(draft: &Draft) -> String {
    let edits = &draft.edits;
    let parts = [
        (edits.pins().len(), "pin"),
        (edits.bans().len(), "ban"),
        (edits.banned_codes().len(), "banned code"),
    ];
    let parts = parts.into_iter().filter(|(number, _)| *number > 0);
    parts.map(|(number, what)| count(number, what)).collect::<Vec<_>>().join(", ")
}
