//! What the model is, and opening another.

use egui::Ui;

use crate::studio::state::StudioState;
use crate::studio::widgets::empty_state;

/// Shows the pane.
pub fn show(ui: &mut Ui, _state: &mut StudioState) {
    empty_state(ui, "No model is loaded", "Open a model, or drop its file on this window.");
}
