//! Every code of the model as a swatch.

use egui::Ui;

use crate::studio::state::StudioState;
use crate::studio::widgets::empty_state;

/// Shows the pane.
pub fn show(ui: &mut Ui, _state: &mut StudioState) {
    empty_state(ui, "The codes of the model will be here", "Open a model to see its codebook.");
}
