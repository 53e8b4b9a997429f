//! What was made, on disk: to look through, to compare, to take up again.

mod compare;
mod details;
mod grid;
mod thumbs;

use std::collections::HashSet;

use egui::{Align, Button, Layout, Rect, TextEdit, Ui, UiBuilder, vec2};

use self::compare::Compare;
use self::thumbs::Thumbs;
use crate::studio::action::Actions;
use crate::studio::base::text::count;
use crate::studio::base::theme::{self, GRID, PANE_MARGIN, palette};
use crate::studio::base::widgets::{choice, empty_state};
use crate::studio::gallery::Gallery;

/// A pane narrower than this has the details under the pictures.
const NARROW: f32 = 150.0 * GRID;
/// Width of the details beside the pictures.
const DETAILS_WIDTH: f32 = 66.0 * GRID;
/// Height of the details under the pictures, at most.
const DETAILS_HEIGHT: f32 = 62.0 * GRID;

/// What the pane is doing.
#[derive(Default)]
pub struct GalleryPane {
    filter: String,
    favourites_only: bool,
    size: Size,
    /// Names of the chosen pictures, in the order in which they were chosen.
    chosen: Vec<String>,
    /// The one that the keyboard is at.
    cursor: Option<String>,
    /// Whether that is to be scrolled into view.
    reveal: bool,
    compare: Option<Compare>,
    thumbs: Thumbs,
    /// Places in the gallery's list of what the filter lets through, and what that was found for.
    shown: Vec<usize>,
    shown_for: Option<(u64, String, bool)>,
}

/// How large thumbnails are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Size {
    Small,
    #[default]
    Medium,
    Large,
}

impl Size {
    /// Side of a thumbnail, in points.
    fn side(self) -> f32 {
        match self {
            Self::Small => 16.0 * GRID,
            Self::Medium => 32.0 * GRID,
            Self::Large => 64.0 * GRID,
        }
    }
}

/// Shows the pane.
pub fn show(ui: &mut Ui, pane: &mut GalleryPane, gallery: &mut Gallery, actions: &mut Actions) {
    if gallery.folder().is_none() {
        return empty_state(
            ui,
            "The gallery has no folder",
            "There is no folder for pictures: set PURRSCOPE_GALLERY to one and start again.",
        );
    }
    pane.thumbs.take(ui.ctx(), gallery.take_thumbnails());
    if pane.compare.as_ref().is_some_and(|compare| !compare.is_there(gallery)) {
        pane.compare = None;
    }
    match &mut pane.compare {
        Some(compare) => {
            if compare.show(ui, gallery) {
                pane.compare = None;
            }
        }
        None => pane.show(ui, gallery, actions),
    }
}

impl GalleryPane {
    fn show(&mut self, ui: &mut Ui, gallery: &mut Gallery, actions: &mut Actions) {
        self.find(gallery);
        let rect = ui.available_rect_before_wrap();
        let inner = rect.with_max_x(rect.right() - PANE_MARGIN);
        let top = ui.scope_builder(UiBuilder::new().max_rect(inner), |ui| {
            self.toolbar(ui, gallery);
            trouble(ui, gallery);
        });
        let rest = rect.with_min_y(top.response.rect.bottom() + GRID);
        if gallery.items().is_empty() {
            ui.scope_builder(UiBuilder::new().max_rect(rest), |ui| match gallery.is_scanning() {
                true => {
                    empty_state(ui, "Reading the gallery", "Pictures appear as they are found.")
                }
                false => empty_state(
                    ui,
                    "No pictures yet",
                    "Press Generate: every finished picture is kept with its settings.",
                ),
            });
            return;
        }
        let (pictures, details) = match rect.width() >= NARROW {
            true => rest.split_left_right_at_x(rest.right() - DETAILS_WIDTH),
            false => {
                let height = DETAILS_HEIGHT.min(rest.height() * 0.45);
                rest.split_top_bottom_at_y(rest.bottom() - height)
            }
        };
        separate(ui, details, rect.width() >= NARROW);
        ui.scope_builder(UiBuilder::new().max_rect(pictures), |ui| {
            ui.set_clip_rect(pictures.expand2(vec2(GRID, 0.0)).intersect(ui.clip_rect()));
            if self.shown.is_empty() {
                empty_state(
                    ui,
                    "No picture matches",
                    "Change the filter, or show more than favourites.",
                );
            } else {
                self.grid(ui, gallery, actions);
            }
        });
        let details = match rect.width() >= NARROW {
            true => {
                details.with_min_x(details.left() + 3.0 * GRID).with_min_y(details.top() + GRID)
            }
            false => details.with_min_y(details.top() + 2.0 * GRID),
        };
        ui.scope_builder(UiBuilder::new().max_rect(details), |ui| {
            self.details(ui, gallery, actions);
        });
    }

    /// Finds what the filter lets through, if anything has changed.
    fn find(&mut self, gallery: &Gallery) {
        let filter = self.filter.to_lowercase();
        let wanted = (gallery.revision(), filter, self.favourites_only);
        if self.shown_for.as_ref() == Some(&wanted) {
            return;
        }
        let (_, filter, favourites) = &wanted;
        let items = gallery.items().iter().enumerate();
        let fits = items.filter(|(_, item)| {
            item.fits(filter) && (!favourites || gallery.is_favourite(&item.name))
        });
        self.shown = fits.map(|(at, _)| at).collect();
        self.shown_for = Some(wanted);
        self.chosen.retain(|name| gallery.has(name));
        self.cursor = self.cursor.take().filter(|name| gallery.has(name));
    }

    fn toolbar(&mut self, ui: &mut Ui, gallery: &mut Gallery) {
        let row = ui.available_width();
        ui.horizontal_wrapped(|ui| {
            ui.spacing_mut().item_spacing = vec2(2.0 * GRID, GRID);
            let filter = TextEdit::singleline(&mut self.filter)
                .hint_text("Class, solver, seed...")
                .desired_width((row - 2.0 * GRID).min(46.0 * GRID));
            ui.add(filter)
                .on_hover_text(
                    "Shows pictures in whose settings every one of these words is found.",
                )
                .accessible_name("Filter pictures");
            ui.checkbox(&mut self.favourites_only, "Favourites")
                .on_hover_text("Shows favourites only.");
            choice(
                ui,
                &mut self.size,
                &[
                    (Size::Small, "S", "Small pictures"),
                    (Size::Medium, "M", "Medium pictures"),
                    (Size::Large, "L", "Large pictures"),
                ],
            );
            let undo = gallery.can_undelete();
            let hint = match undo {
                0 => "Nothing was deleted since the window opened.".to_owned(),
                _ => format!(
                    "Brings {} back. Deleted pictures wait for 30 days.",
                    count(undo, "deleted picture")
                ),
            };
            let button = ui.add_enabled(undo > 0, Button::new("Undo delete"));
            if button.on_hover_text(&hint).on_disabled_hover_text(&hint).clicked() {
                gallery.undelete();
            }
            ui.menu_button("Folder", |ui| folder_menu(ui, gallery))
                .response
                .on_hover_text("Where the pictures lie");
            let all = gallery.items().len();
            let text = match (self.shown.len(), gallery.is_scanning()) {
                (_, true) => format!("{all} so far"),
                (shown, false) if shown < all => format!("{shown} of {}", count(all, "picture")),
                (_, false) => count(all, "picture"),
            };
            ui.label(theme::weak(ui, text));
        });
    }

    /// Names of what the filter lets through, in order.
    fn name_at<'a>(&self, gallery: &'a Gallery, place: usize) -> Option<&'a str> {
        let item = gallery.items().get(*self.shown.get(place)?)?;
        Some(&item.name)
    }

    /// Where the keyboard is among what is shown.
    fn place(&self, gallery: &Gallery) -> Option<usize> {
        let cursor = self.cursor.as_deref()?;
        (0..self.shown.len()).find(|place| self.name_at(gallery, *place) == Some(cursor))
    }

    fn choose_only(&mut self, name: String) {
        self.chosen = vec![name.clone()];
        self.cursor = Some(name);
    }

    fn toggle(&mut self, name: String) {
        match self.chosen.iter().position(|chosen| *chosen == name) {
            Some(at) => {
                self.chosen.remove(at);
            }
            None => self.chosen.push(name.clone()),
        }
        self.cursor = Some(name);
    }

    /// Chooses everything between where the keyboard is and a place.
    fn extend_to(&mut self, gallery: &Gallery, to: usize) {
        let from = self.place(gallery).unwrap_or(to);
        let mut known: HashSet<String> = self.chosen.iter().cloned().collect();
        for place in from.min(to)..=from.max(to) {
            if let Some(name) = self.name_at(gallery, place).map(str::to_owned)
                && known.insert(name.clone())
            {
                self.chosen.push(name);
            }
        }
        self.cursor = self.name_at(gallery, to).map(str::to_owned);
    }

    fn delete_chosen(&mut self, gallery: &mut Gallery) {
        // The keyboard goes to what moves up into the first gap.
        let place = (0..self.shown.len()).find(|place| {
            self.name_at(gallery, *place).is_some_and(|name| self.chosen.iter().any(|c| c == name))
        });
        gallery.delete(std::mem::take(&mut self.chosen));
        self.find(gallery);
        let last = self.shown.len().saturating_sub(1);
        let next = place.and_then(|place| self.name_at(gallery, place.min(last)));
        match next.map(str::to_owned) {
            Some(name) => self.choose_only(name),
            None => self.cursor = None,
        }
    }

    fn toggle_favourites(&mut self, gallery: &mut Gallery) {
        let all = self.chosen.iter().all(|name| gallery.is_favourite(name));
        gallery.set_favourite(&self.chosen, !all);
    }

    fn begin_compare(&mut self) {
        if let [one, other] = &self.chosen[..] {
            self.compare = Some(Compare::new(one.clone(), other.clone()));
        }
    }
}

/// A line between the pictures and the details.
fn separate(ui: &Ui, details: Rect, beside: bool) {
    let line = ui.visuals().widgets.noninteractive.bg_stroke;
    match beside {
        true => ui.painter().vline(details.left(), details.y_range(), line),
        false => ui.painter().hline(details.x_range(), details.top(), line),
    };
}

fn folder_menu(ui: &mut Ui, gallery: &Gallery) {
    let Some(folder) = gallery.folder() else { return };
    let path = folder.display().to_string();
    ui.set_max_width(100.0 * GRID);
    ui.add(egui::Label::new(theme::number(ui, &path)).wrap());
    ui.label(theme::weak(ui, "Every picture is a PNG with its settings inside."));
    if ui.button("Copy path").clicked() {
        ui.ctx().copy_text(path);
        ui.close();
    }
}

/// Says that pictures wait for the disk.
fn trouble(ui: &mut Ui, gallery: &mut Gallery) {
    let Some((waiting, reason)) = gallery.unsaved() else { return };
    let text = format!(
        "{} not on disk yet: {reason}.",
        match waiting {
            1 => "1 picture is".to_owned(),
            many => format!("{many} pictures are"),
        }
    );
    let colours = palette(ui.visuals());
    let frame = egui::Frame::new()
        .stroke(egui::Stroke::new(1.0, colours.error))
        .corner_radius(4.0)
        .inner_margin(egui::Margin::symmetric(8, 4));
    let retry = frame.show(ui, |ui| {
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let retry = ui.button("Retry").on_hover_text("Try to write them again").clicked();
            ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                ui.add(egui::Label::new(text).wrap());
            });
            retry
        })
        .inner
    });
    if retry.inner {
        gallery.retry();
    }
}

#[cfg(test)]
mod tests;
