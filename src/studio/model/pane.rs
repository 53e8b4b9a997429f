//! What the model is, and opening another.

use egui::{Align, Button, Grid, Label, Layout, RichText, TextEdit, Ui};

use crate::studio::action::{Actions, FilesAction, WindowAction};
use crate::studio::base::notices::About;
use crate::studio::base::text::name_of;
use crate::studio::base::theme::{self, GRID, palette};
use crate::studio::base::widgets::{cancel_button, scroll_area};
use crate::studio::engine::{ModelInfo, ModelSource};
use crate::studio::model::Files;
use crate::studio::model::importer::Part;
use crate::studio::session::Session;

/// Shows the pane.
pub fn show(ui: &mut Ui, files: &mut Files, session: &mut Session, actions: &mut Actions) {
    scroll_area().show(ui, |ui| {
        opening(ui, session, actions);
        match (&session.loading, session.model.clone()) {
            (Some(source), _) => {
                ui.horizontal(|ui| {
                    ui.spinner();
                    ui.add(Label::new(theme::weak(ui, format!("Opening {source}"))).truncate());
                });
            }
            (None, Some(model)) => about(ui, &model),
            (None, None) => {
                ui.label(theme::weak(
                    ui,
                    "No model is loaded: open one, or drop its file on this window.",
                ));
            }
        }
        ui.add_space(2.0 * GRID);
        recent(ui, files, actions);
        ui.add_space(2.0 * GRID);
        import(ui, files, session);
    });
}

fn opening(ui: &mut Ui, session: &mut Session, actions: &mut Actions) {
    ui.horizontal(|ui| {
        let open = ui
            .button("Open...")
            .on_hover_text("A model, a picture made here, its settings, or a trajectory.");
        if open.clicked() {
            actions.push(WindowAction::ChooseFile);
        }
        let embedded = session.model.as_ref().is_some_and(|m| m.source == ModelSource::Embedded);
        if ui
            .add_enabled(!embedded, Button::new("Embedded model"))
            .on_hover_text("Go back to the model inside the program.")
            .clicked()
        {
            session.load_model(ModelSource::Embedded);
        }
    });
    ui.add_space(GRID);
}

fn about(ui: &mut Ui, model: &ModelInfo) {
    let card = &model.card;
    let (net, vq) = (&card.backbone, &card.tokenizer);
    ui.label(RichText::new(&card.name).heading().color(palette(ui.visuals()).strong));
    let source = model.source.to_string();
    ui.add(Label::new(theme::weak(ui, format!("From {source}"))).truncate()).on_hover_text(source);
    ui.add_space(GRID);
    let side = net.input_size;
    let lines = [
        (
            "Objective",
            card.objective.to_string(),
            "What the network was trained to predict, and so what can be asked of it.",
        ),
        (
            "Picture",
            format!("{0} x {0} pixels", card.image_size()),
            "Size of the pictures that it makes.",
        ),
        (
            "Tokens",
            format!("{side} x {side}, each {0} x {0} pixels", vq.downsampling()),
            "The grid that a picture is cut into; each token becomes one code.",
        ),
        (
            "Codes",
            format!(
                "{} of {} numbers{}",
                vq.codes,
                vq.code_size,
                if vq.l2_normalised { ", at unit length" } else { "" }
            ),
            "The alphabet of the pictures: what every token is one of in the end.",
        ),
        (
            "Network",
            format!("{} blocks, {} wide, {} heads", net.depth, net.hidden_size, net.num_heads),
            "Sizes of the transformer that predicts the codes.",
        ),
        (
            "Patch",
            format!("{0} x {0} tokens", net.patch_size),
            "Tokens that the transformer sees as one.",
        ),
        ("Classes", card.class_names.len().to_string(), "What can be asked for by name."),
        (
            "Computes on",
            model.device.clone(),
            "Where the model computes, and why there; --device chooses another place.",
        ),
        (
            "Trained",
            format!("{} steps by {}", card.provenance.flow_steps, card.provenance.program),
            "How long the network was trained, and by what.",
        ),
        ("Data", card.provenance.data.clone(), "What it was trained on."),
        ("Digest", model.hash.clone(), "Exported pictures name the model that made them by it."),
    ];
    Grid::new("about the model").num_columns(2).spacing([4.0 * GRID, GRID]).show(ui, |ui| {
        for (name, value, hint) in lines.iter().filter(|(_, value, _)| !value.is_empty()) {
            ui.label(theme::weak(ui, *name)).on_hover_text(*hint);
            ui.add(Label::new(value).wrap()).on_hover_text(*hint);
            ui.end_row();
        }
    });
    if !card.provenance.credits.is_empty() {
        ui.add_space(GRID);
        ui.label(theme::section(ui, "Credits"));
        ui.add(Label::new(&card.provenance.credits).wrap());
    }
}

fn recent(ui: &mut Ui, files: &Files, actions: &mut Actions) {
    ui.label(theme::section(ui, "Recent files"));
    if files.recent.is_empty() {
        ui.label(theme::weak(ui, "Files that you open are listed here."));
    }
    for path in &files.recent {
        let button = ui.add(Button::new(name_of(path)).frame(false).truncate());
        if button.on_hover_text(path.display().to_string()).clicked() {
            actions.push(FilesAction::Open(path.clone()));
        }
    }
}

/// A checkpoint of the reference made into a model file.
fn import(ui: &mut Ui, files: &mut Files, session: &mut Session) {
    ui.label(theme::section(ui, "Import a checkpoint of the reference"));
    let importer = &mut files.importer;
    for part in Part::ALL {
        ui.label(theme::weak(ui, part.name())).on_hover_text(part.hint());
        ui.horizontal(|ui| {
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                let choose = ui.button("Choose...").on_hover_text(part.hint());
                if choose.accessible_name(format!("Choose the {}", part.name())).clicked() {
                    importer.choose(ui.ctx(), part);
                }
                let field = TextEdit::singleline(&mut importer.paths[part as usize])
                    .desired_width(f32::INFINITY)
                    .hint_text("path");
                ui.add(field).accessible_name(format!("{} file", part.name()));
            });
        });
    }
    ui.checkbox(&mut importer.averaged, "Averaged weights").on_hover_text(
        "The moving average of the weights, which makes better pictures than the latest weights.",
    );
    ui.horizontal(|ui| {
        let label = if importer.is_busy() { "Importing..." } else { "Import" };
        let button = ui.add_enabled(importer.is_ready(), Button::new(label));
        let out = importer.out();
        if button
            .on_hover_text(format!("Writes {} and opens it.", out.display()))
            .on_disabled_hover_text("Choose the three files first.")
            .clicked()
        {
            session.notices.settled(About::Importing);
            importer.start(&mut session.jobs);
        }
        if importer.is_busy() {
            ui.spinner();
            let mut jobs = session.jobs.all().iter();
            if let Some(job) = jobs.find(|job| job.about == About::Importing) {
                cancel_button(ui, job);
            }
        }
    });
    if let Some(text) = &importer.trouble {
        ui.add(Label::new(RichText::new(text).color(palette(ui.visuals()).error)).wrap());
    }
}
