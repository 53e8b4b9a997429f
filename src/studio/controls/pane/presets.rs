//! Named ways of making pictures: choosing, saving and deleting them.

use egui::{Button, ComboBox, Key, Label, RichText, TextEdit, TextStyle, Ui};

use crate::studio::base::theme::{self, GRID, palette};
use crate::studio::base::widgets::Row;
use crate::studio::session::Session;
use crate::studio::session::draft::Draft;
use crate::studio::session::presets::{BuiltIn, Preset, Presets, built_in, calibrated};

/// Shows the row.
pub(super) fn show(ui: &mut Ui, presets: &mut Presets, session: &mut Session) {
    let schedule = session.calibration.as_ref().and_then(|report| report.schedule.as_ref());
    let (more, draft) = (schedule.map(calibrated), &mut session.draft);
    let now = presets.name_of(draft, more.as_ref());
    let hint = "A named set of settings: everything below except class, seed, count and pins.";
    Row::new("Preset", hint).show(ui, |ui| {
        let save = 14.0 * GRID;
        let width = (ui.available_width() - save - 2.0 * GRID).max(20.0 * GRID);
        let combo = ComboBox::from_id_salt("preset")
            .selected_text(now.as_deref().unwrap_or("Custom"))
            .width(width)
            .truncate()
            .show_ui(ui, |ui| list(ui, presets, more, draft, now.as_deref()));
        let menu = ui.menu_button("Save", |ui| keep(ui, presets, draft));
        menu.response
            .on_hover_text("Keep these settings under a name.")
            .accessible_name("Save preset");
        combo.response
    });
}

fn list(
    ui: &mut Ui,
    presets: &mut Presets,
    more: Option<BuiltIn>,
    draft: &mut Draft,
    now: Option<&str>,
) {
    let entry = |ui: &mut Ui, preset: &Preset, hint: &str| {
        let chosen = now == Some(preset.name.as_str());
        let button = ui.add(Button::selectable(chosen, preset.name.as_str()));
        let button = if hint.is_empty() { button } else { button.on_hover_text(hint) };
        button.clicked()
    };
    for known in built_in().into_iter().chain(more) {
        if entry(ui, &known.preset, known.hint) {
            known.preset.sampling.apply(draft);
        }
    }
    if presets.saved().is_empty() {
        return;
    }
    ui.separator();
    let mut gone = None;
    for preset in presets.saved() {
        ui.horizontal(|ui| {
            if entry(ui, preset, "") {
                preset.sampling.apply(draft);
            }
            let layout = egui::Layout::right_to_left(egui::Align::Center);
            ui.with_layout(layout, |ui| {
                let delete = ui.add(Button::new("×").small()).on_hover_text("Delete this preset.");
                if delete.accessible_name(format!("Delete {}", preset.name)).clicked() {
                    gone = Some(preset.name.clone());
                }
            });
        });
    }
    if let Some(name) = gone {
        presets.delete(&name);
    }
}

fn keep(ui: &mut Ui, presets: &mut Presets, draft: &Draft) {
    ui.set_width(52.0 * GRID);
    let field = TextEdit::singleline(&mut presets.typed)
        .hint_text("Name")
        .desired_width(f32::INFINITY)
        .margin(egui::Margin::symmetric(8, 4));
    let field = ui.add(field).accessible_name("Name of the preset");
    let check = presets.check(&presets.typed);
    let known = presets.saved().iter().any(|preset| preset.name == presets.typed.trim());
    let entered = field.lost_focus() && ui.input(|input| input.key_pressed(Key::Enter));
    ui.horizontal(|ui| {
        let text = if known { "Replace preset" } else { "Keep preset" };
        let button = ui.add_enabled(check.is_ok(), Button::new(text));
        if (button.clicked() || entered) && check.is_ok() {
            let name = std::mem::take(&mut presets.typed);
            presets.save(&name, draft);
            ui.close();
        }
        if let Err(reason) = check.as_ref().map_err(|reason| *reason)
            && !presets.typed.is_empty()
        {
            let colour = palette(ui.visuals()).error;
            let text = RichText::new(reason).text_style(TextStyle::Small).color(colour);
            ui.add(Label::new(text).wrap());
        } else {
            ui.label(theme::section(ui, ""));
        }
    });
}
