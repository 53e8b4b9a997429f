//! What the groups of the controls are made of.

use egui::{ComboBox, Label, Response, RichText, TextStyle, Ui};

use crate::studio::base::theme::{self, GRID, palette};

/// The name of a group.
pub(super) fn heading(ui: &mut Ui, text: &str) {
    ui.add_space(2.0 * GRID);
    ui.label(theme::section(ui, text));
}

/// Widgets that are of no use where there is a reason for it, which then stands under them.
pub(super) fn unless(ui: &mut Ui, reason: Option<&str>, add: impl FnOnce(&mut Ui)) {
    ui.add_enabled_ui(reason.is_none(), add);
    if let Some(reason) = reason {
        remark(ui, reason);
    }
}

/// A sentence under a control.
pub(super) fn remark(ui: &mut Ui, text: &str) {
    ui.add(Label::new(theme::section(ui, text)).wrap());
}

/// A choice as wide as there is room.
pub(super) fn combo<T: PartialEq + Copy>(
    ui: &mut Ui,
    id: &str,
    chosen: &mut T,
    options: impl IntoIterator<Item = (T, String)>,
) -> Response {
    let options: Vec<_> = options.into_iter().collect();
    let shown = options.iter().find(|(value, _)| value == chosen).map(|(_, name)| name.clone());
    let width = ui.available_width();
    ComboBox::from_id_salt(id)
        .selected_text(shown.unwrap_or_default())
        .width(width)
        .truncate()
        .show_ui(ui, |ui| {
            for (value, name) in options {
                ui.selectable_value(chosen, value, name);
            }
        })
        .response
}

/// Small text in the colour of numbers.
pub(super) fn figure(ui: &mut Ui, text: String, unit: &str, hint: &str) {
    ui.spacing_mut().item_spacing.x = GRID;
    ui.label(theme::number(ui, text)).on_hover_text(hint);
    ui.label(RichText::new(unit).text_style(TextStyle::Body).color(palette(ui.visuals()).weak))
        .on_hover_text(hint);
}
