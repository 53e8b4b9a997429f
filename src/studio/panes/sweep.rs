//! Two settings against each other.

use egui::Ui;

use crate::studio::state::StudioState;
use crate::studio::widgets::empty_state;

/// Shows the pane.
pub fn show(ui: &mut Ui, _state: &mut StudioState) {
    empty_state(
        ui,
        "A grid of pictures will fill in here",
        "Choose two settings and start the sweep.",
    );
}
