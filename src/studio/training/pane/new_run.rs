//! The form that makes a run file of a folder of pictures.

use std::path::PathBuf;

use egui::{Align, Button, Checkbox, ComboBox, Label, Layout, RichText, Spinner, TextEdit, Ui};

use crate::device::DeviceChoice;
use crate::studio::base::theme::{self, GRID, palette};
use crate::studio::base::widgets::Row;
use crate::studio::engine::ModelSource;
use crate::studio::session::Session;
use crate::studio::training::{Form, Place};
use crate::train::NewRun;

/// Shows the form; whether it is to be put away.
pub(super) fn show(ui: &mut Ui, form: &mut Form, device: DeviceChoice, session: &Session) -> bool {
    let hint = "A tokenizer and a flow of sizes that suit the pictures; everything can be changed in \
                the file that is written.";
    ui.add(Label::new(theme::weak(ui, hint)).wrap());
    ui.add_enabled_ui(!form.is_busy(), |ui| {
        let hint = "Sub-folders are classes; without any, all pictures are of one.";
        if folder(ui, "Pictures", hint, form, Place::Pictures) {
            form.propose();
        }
        let hint = "Where the run file, checkpoints, samples and the model go.";
        folder(ui, "Save to", hint, form, Place::Run);
        size(ui, form);
        goes_on(ui, form, session);
    });
    let mut away = false;
    ui.horizontal(|ui| {
        let colours = palette(ui.visuals());
        let text = RichText::new("Write run file").color(colours.on_accent);
        let write = ui
            .add_enabled(form.is_ready(), Button::new(text).fill(colours.accent))
            .on_hover_text(
                "Look at the pictures, write the run file, and see how long it will take",
            )
            .on_disabled_hover_text("Choose a folder of pictures and one for the run.");
        if write.clicked() {
            form.start(ui.ctx(), device, model_file(session));
        }
        away =
            ui.button("Cancel").on_hover_text("Put this form away; no run file is made").clicked();
        if form.is_busy() {
            ui.add(Spinner::new().size(4.0 * GRID));
        }
    });
    if form.is_busy() {
        let text = "Looking at the pictures, and trying the run out for some seconds.";
        ui.add(Label::new(theme::weak(ui, text)).wrap());
    }
    if let Some(text) = &form.trouble {
        let text = RichText::new(text).color(palette(ui.visuals()).error);
        ui.add(Label::new(text).wrap());
    }
    away
}

/// The file of the model in use, if it has one.
fn model_file(session: &Session) -> Option<PathBuf> {
    match &session.model.as_ref()?.source {
        ModelSource::File(path) => Some(path.clone()),
        ModelSource::Embedded => None,
    }
}

/// A folder that is typed or chosen; whether it was changed.
fn folder(ui: &mut Ui, name: &str, hint: &str, form: &mut Form, place: Place) -> bool {
    let mut changed = false;
    Row::new(name, hint).show(ui, |ui| {
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let browse = match place {
                Place::Pictures => "Browse for a folder of pictures",
                Place::Run => "Browse for a folder for the run",
            };
            if ui.button("Browse").accessible_name(browse).clicked() {
                form.choose(ui.ctx(), place);
            }
            let text = match place {
                Place::Pictures => &mut form.pictures,
                Place::Run => &mut form.run,
            };
            let edit = TextEdit::singleline(text)
                .hint_text("a folder")
                .desired_width(f32::INFINITY)
                .margin(egui::Margin::symmetric(8, 4));
            let edit = ui.add(edit);
            changed = edit.changed();
            edit
        })
        .inner
    });
    changed
}

fn size(ui: &mut Ui, form: &mut Form) {
    let hint = "Side of the pictures that the model makes; the middle square of each picture is scaled \
                to it. Twice the side is about four times the work.";
    let words = |size: Option<usize>| match size {
        Some(size) => format!("{size} pixels"),
        None => "automatic".to_owned(),
    };
    Row::new("Size", hint).show(ui, |ui| {
        ComboBox::from_id_salt("size of a new run")
            .selected_text(words(form.size))
            .show_ui(ui, |ui| {
                for size in std::iter::once(None).chain(NewRun::SIZES.map(Some)) {
                    ui.selectable_value(&mut form.size, size, words(size));
                }
            })
            .response
    });
}

fn goes_on(ui: &mut Ui, form: &mut Form, session: &Session) {
    let hint =
        "Whether the flow begins with what the model in use has learned. Its tokenizer stays.";
    let file = model_file(session).is_some();
    form.goes_on &= file;
    Row::new("Start from", hint).show(ui, |ui| {
        let name = session.model.as_ref().map_or("", |model| model.card.name.as_str());
        let text = match file {
            true => name.to_owned(),
            false => "the model in use".to_owned(),
        };
        ui.add_enabled(file, Checkbox::new(&mut form.goes_on, text)).on_disabled_hover_text(
            "The tokenizer of the model that comes with the program knows its own drawings only: open a \
             model of yours first.",
        )
    });
}
