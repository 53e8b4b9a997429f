//! The menu of what can be exported.

use egui::{Button, Ui};

use super::begin::{Export, can_export};
use crate::io::animation::Format;
use crate::studio::base::theme::GRID;
use crate::studio::session::Session;

/// What a menu offers to export of the current run; gives what was chosen.
pub fn export_menu(ui: &mut Ui, session: &Session) -> Option<Export> {
    ui.set_min_width(56.0 * GRID);
    let count = session.run.as_ref().map_or(0, |run| run.shape.batch);
    let mut chosen = None;
    if count == 1 {
        item(ui, session, &mut chosen, Export::Picture(0), "Picture (PNG)", PICTURE);
    } else {
        ui.add_enabled_ui(can_export(session, Export::Picture(0)), |ui| {
            ui.menu_button("Picture (PNG)", |ui| {
                for index in 0..count {
                    let name = format!("Picture {}", index + 1);
                    if ui
                        .button(&name)
                        .on_hover_text(PICTURE)
                        .accessible_name(format!("Export picture {}", index + 1))
                        .clicked()
                    {
                        chosen = Some(Export::Picture(index));
                    }
                }
            });
        });
    }
    for (what, name, hint) in [
        (Export::Sheet, "Contact sheet (PNG)", "All pictures of the current step on one sheet."),
        (
            Export::Animation(Format::Gif),
            "Animation (GIF)",
            "Every step as a frame; opens everywhere, with 256 colours a frame.",
        ),
        (
            Export::Animation(Format::Apng),
            "Animation (APNG)",
            "Every step as a frame, in exact colours, with the settings inside.",
        ),
        (
            Export::Trajectory,
            "Trajectory (safetensors)",
            "Every number of a finished run, for Python and other programs.",
        ),
        (
            Export::Numbers,
            "Numbers of every step (CSV)",
            "Time, temperature, evaluations, entropy, change rate and milliseconds of every step.",
        ),
        (
            Export::Settings,
            "Settings (TOML)",
            "A text that can be read, changed and dropped on the window to run it again.",
        ),
    ] {
        if matches!(what, Export::Trajectory) {
            ui.separator();
        }
        item(ui, session, &mut chosen, what, name, hint);
    }
    chosen
}

const PICTURE: &str = "What is on the canvas, with the settings that made it inside.";

fn item(
    ui: &mut Ui,
    session: &Session,
    chosen: &mut Option<Export>,
    what: Export,
    name: &str,
    hint: &str,
) {
    let response = ui.add_enabled(can_export(session, what), Button::new(name));
    if response.on_hover_text(hint).clicked() {
        *chosen = Some(what);
    }
}
