//! What made the chosen picture, and what can be done with it.

use egui::{Button, Color32, Grid, Label, Pos2, Rect, RichText, Sense, Ui, pos2, vec2};

use super::GalleryPane;
use super::thumbs::fitted;
use crate::studio::action::{Actions, CanvasAction, ExportAction, FilesAction};
use crate::studio::base::text::count;
use crate::studio::base::theme::{self, GRID, palette};
use crate::studio::base::widgets::scroll_area;
use crate::studio::gallery::{Gallery, Item};

const UNIT: Rect = Rect { min: Pos2::ZERO, max: pos2(1.0, 1.0) };
/// Height of the picture over its facts.
const PICTURE: f32 = 48.0 * GRID;
/// Details lower than this have no room for the picture.
const LOW: f32 = 80.0 * GRID;

impl GalleryPane {
    /// Shows what is chosen.
    pub(super) fn details(&mut self, ui: &mut Ui, gallery: &mut Gallery, actions: &mut Actions) {
        let roomy = ui.available_height() > LOW;
        scroll_area().id_salt("details").show(ui, |ui| {
            let chosen = self.chosen.clone();
            match (&chosen[..], roomy) {
                ([], _) => {
                    ui.label(theme::weak(
                        ui,
                        "Click a picture to see what made it; with Ctrl to choose several, and \
                         two to compare them.",
                    ));
                }
                ([name], _) => {
                    let Some(item) = gallery.item(name).cloned() else { return };
                    if roomy {
                        self.portrait(ui, gallery, &item);
                        ui.add_space(GRID);
                    }
                    title(ui, item.title());
                    self.buttons(ui, gallery, actions);
                    ui.add_space(GRID);
                    facts(ui, &item);
                }
                (names, _) => {
                    title(ui, format!("{} are chosen", count(names.len(), "picture")));
                    self.buttons(ui, gallery, actions);
                    if names.len() != 2 {
                        ui.label(theme::weak(ui, "Choose two of them to compare them."));
                    }
                }
            }
        });
    }

    fn portrait(&mut self, ui: &mut Ui, gallery: &mut Gallery, item: &Item) {
        let size = vec2(ui.available_width(), PICTURE);
        let (rect, _) = ui.allocate_exact_size(size, Sense::hover());
        ui.painter().rect_filled(rect, 4.0, palette(ui.visuals()).backdrop);
        match self.thumbs.get(&item.name) {
            Some(texture) => {
                let place = fitted(ui, rect, texture.size_vec2());
                ui.painter().image(texture.id(), place, UNIT, Color32::WHITE);
            }
            None => gallery.want_thumbnail(&item.name),
        }
    }

    fn buttons(&mut self, ui: &mut Ui, gallery: &mut Gallery, actions: &mut Actions) {
        let one = match &self.chosen[..] {
            [name] => gallery.item(name).map(|item| Box::new(item.made.restored.clone())),
            _ => None,
        };
        ui.horizontal_wrapped(|ui| {
            ui.spacing_mut().item_spacing = vec2(GRID, GRID);
            if let Some(restored) = one {
                let colours = palette(ui.visuals());
                let text = RichText::new("Restore settings").color(colours.on_accent);
                let button = ui.add(Button::new(text).fill(colours.accent));
                let hint =
                    "Puts these settings on the controls and makes the picture again (Enter)";
                let button = button.on_hover_text(hint);
                if button.accessible_name("Restore settings").clicked() {
                    actions.push(FilesAction::Restore(restored));
                }
            }
            if let [name] = &self.chosen[..]
                && let Some(path) = gallery.path(name)
                && ui
                    .button("Change a part")
                    .on_hover_text(
                        "Opens it on the canvas, where you paint the region to regenerate",
                    )
                    .clicked()
            {
                actions.push(CanvasAction::ChangePart(path));
            }
            if self.chosen.len() == 2
                && ui
                    .button("Compare")
                    .on_hover_text("Shows both and where they differ (C)")
                    .clicked()
            {
                self.begin_compare();
            }
            let favourite = self.chosen.iter().all(|name| gallery.is_favourite(name));
            let toggle = ui.add(Button::new("Favourite").selected(favourite));
            if toggle.on_hover_text("Marks it, to find it again (F)").clicked() {
                self.toggle_favourites(gallery);
            }
            if ui.button("Export...").on_hover_text("Copies the PNG, settings and all").clicked() {
                let files = self.chosen.iter().filter_map(|name| gallery.path(name));
                actions.push(ExportAction::Copy(files.collect()));
            }
            if ui
                .button("Delete")
                .on_hover_text(
                    "Moves it out of the gallery; it can be brought back for 30 days (Delete)",
                )
                .clicked()
            {
                self.delete_chosen(gallery);
            }
        });
    }
}

fn title(ui: &mut Ui, text: String) {
    let colour = palette(ui.visuals()).strong;
    ui.add(Label::new(RichText::new(text).color(colour)).wrap());
}

fn facts(ui: &mut Ui, item: &Item) {
    ui.spacing_mut().interact_size.y = 4.0 * GRID;
    Grid::new("facts").num_columns(2).spacing([3.0 * GRID, GRID]).show(ui, |ui| {
        for (name, value) in item.facts() {
            ui.label(theme::weak(ui, name));
            ui.add(Label::new(theme::number(ui, value)).wrap());
            ui.end_row();
        }
    });
}
