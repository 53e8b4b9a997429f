//! A flow in the plane, where everything can be seen.

use egui::Ui;

use crate::studio::state::StudioState;
use crate::studio::widgets::empty_state;

/// Shows the pane.
pub fn show(ui: &mut Ui, _state: &mut StudioState) {
    empty_state(ui, "Paths in the plane will be here", "Choose a codebook of two numbers a code.");
}
