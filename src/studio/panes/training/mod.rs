//! Runs of training: started, watched, stopped and resumed.

use egui::Ui;

use crate::studio::state::StudioState;
use crate::studio::widgets::empty_state;

/// Shows the pane.
pub fn show(ui: &mut Ui, _state: &mut StudioState) {
    empty_state(ui, "Loss curves will be here", "Choose a run file to start.");
}
