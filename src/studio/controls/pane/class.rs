//! Choosing classes: a search, a list, and those chosen.

use egui::{
    Align, Atom, Button, Frame, IdSalt, Key, Layout, Margin, Response, RichText, ScrollArea,
    TextEdit, TextureId, Ui, Vec2,
};

use crate::studio::base::theme::{self, GRID, palette};
use crate::studio::controls::Controls;
use crate::studio::session::Session;

/// Side of the picture of a class.
const PICTURE: f32 = 7.0 * GRID;

/// Shows the search and the list, `height` points high, and the classes that take turns. Before its
/// height has `settled`, the list does not scroll to what is chosen.
pub(super) fn show(
    ui: &mut Ui,
    controls: &mut Controls,
    session: &mut Session,
    height: f32,
    settled: bool,
) {
    let names = session.model.as_ref().map_or(&[][..], |model| &model.card.class_names);
    let several = session.draft.classes.len() > 1;
    ui.horizontal(|ui| {
        ui.label(theme::section(ui, "Class"));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let chosen = match several {
                true => format!("{} take turns", session.draft.classes.len()),
                false => session.draft.class().to_owned(),
            };
            let label = egui::Label::new(RichText::new(chosen).color(palette(ui.visuals()).accent));
            ui.add(label.truncate());
        });
    });
    if several {
        chips(ui, &mut session.draft.classes);
    }
    let hint = match names.len() {
        0 => "Search".to_owned(),
        count => format!("Search {count} classes"),
    };
    let search = TextEdit::singleline(&mut controls.search)
        .hint_text(hint)
        .desired_width(f32::INFINITY)
        .margin(Margin::symmetric(8, 4));
    let typed = ui.add(search).accessible_name("Search classes");
    let wanted = controls.search.to_lowercase();
    let fits = |name: &&String| {
        let name = name.to_lowercase();
        wanted.split_whitespace().all(|word| name.contains(word))
    };
    if typed.lost_focus()
        && ui.input(|input| input.key_pressed(Key::Enter))
        && let Some(first) = names.iter().find(fits)
    {
        session.draft.choose_class(first);
        controls.search.clear();
        controls.reveal_class = true;
    }
    let fill = ui.visuals().extreme_bg_color;
    Frame::new().fill(fill).corner_radius(4).inner_margin(GRID).show(ui, |ui| {
        ui.set_min_height(height);
        let list = ScrollArea::vertical().id_salt("classes").max_height(height).auto_shrink(false);
        list.show(ui, |ui| {
            ui.with_layout(Layout::top_down_justified(Align::Min), |ui| {
                ui.spacing_mut().item_spacing.y = 0.0;
                let mut found = false;
                for (label, name) in names.iter().enumerate().filter(|(_, name)| fits(name)) {
                    found = true;
                    let chosen = session.draft.classes.contains(name);
                    let response = match &mut controls.pictures {
                        Some(pictures) => {
                            let ctx = ui.ctx().clone();
                            row(ui, chosen, name, || pictures.texture(&ctx, label))
                        }
                        None => ui.add(Button::selectable(chosen, name.as_str())),
                    };
                    if response.clicked() {
                        match ui.input(|input| input.modifiers.command) {
                            true => session.draft.toggle_class(name),
                            false => session.draft.choose_class(name),
                        }
                    }
                    if chosen && settled && std::mem::take(&mut controls.reveal_class) {
                        response.scroll_to_me(Some(Align::Center));
                    }
                    response.on_hover_text(hint_of_list());
                }
                if !found && !names.is_empty() {
                    ui.label(theme::weak(ui, "No class matches."));
                }
            });
        });
    });
}

/// A row of the list with a picture, which is asked for if the row is in view.
fn row(
    ui: &mut Ui,
    chosen: bool,
    name: &str,
    picture: impl FnOnce() -> Option<TextureId>,
) -> Response {
    let id = IdSalt::new("picture");
    let place = Atom::custom(id, Vec2::splat(PICTURE));
    let row = ui.scope(|ui| {
        ui.spacing_mut().button_padding.y = 1.0;
        Button::selectable(chosen, (place, name)).atom_ui(ui)
    });
    let row = row.inner;
    if let Some(rect) = row.rect(id).filter(|rect| ui.is_rect_visible(*rect)) {
        let rounding = 3.0;
        match picture() {
            Some(texture) => {
                let image = egui::Image::new((texture, rect.size())).corner_radius(rounding);
                image.paint_at(ui, rect);
            }
            None => {
                let colour = ui.visuals().faint_bg_color;
                ui.painter().rect_filled(rect, rounding, colour);
            }
        }
    }
    row.response
}

fn hint_of_list() -> &'static str {
    match cfg!(target_os = "macos") {
        true => "Click to choose; click with Command to let several classes take turns.",
        false => "Click to choose; click with Ctrl to let several classes take turns.",
    }
}

/// The classes that take turns, in their order; a click takes one away.
fn chips(ui: &mut Ui, classes: &mut Vec<String>) {
    let mut gone = None;
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing = egui::Vec2::splat(GRID);
        for (at, name) in classes.iter().enumerate() {
            let chip = ui.add(Button::new((name.as_str(), "×")).small().gap(GRID));
            let chip = chip.on_hover_text("Remove this class.");
            if chip.accessible_name(format!("Remove {name}")).clicked() {
                gone = Some(at);
            }
        }
    });
    if let Some(at) = gone.filter(|_| classes.len() > 1) {
        classes.remove(at);
    }
}
