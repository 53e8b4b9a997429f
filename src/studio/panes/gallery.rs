//! What was made, on disk.

use egui::Ui;

use crate::studio::state::StudioState;
use crate::studio::widgets::empty_state;

/// Shows the pane.
pub fn show(ui: &mut Ui, _state: &mut StudioState) {
    empty_state(
        ui,
        "Pictures that were made will be here",
        "Press Generate: every finished picture is kept with its settings.",
    );
}
