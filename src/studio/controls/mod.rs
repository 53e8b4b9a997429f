//! What to generate: class, seed, sampler, temperature, guidance.

pub mod pane;
#[cfg(test)]
mod tests;

use crate::studio::action::ControlsAction;
use crate::studio::session::presets::Presets;

/// What the controls keep beside the settings.
pub struct Controls {
    /// Named ways of making pictures.
    pub presets: Presets,
    /// What is typed in the class search.
    search: String,
    /// Whether the list of classes is to scroll to the one chosen.
    reveal_class: bool,
}

impl Default for Controls {
    fn default() -> Self {
        Self { presets: Presets::default(), search: String::new(), reveal_class: true }
    }
}

impl Controls {
    /// Does what was asked of it.
    pub fn perform(&mut self, action: ControlsAction) {
        match action {
            ControlsAction::RevealClass => self.reveal_class(),
            ControlsAction::ClearSearch => self.search.clear(),
        }
    }

    /// Scrolls to the class that is chosen when it is next shown.
    pub fn reveal_class(&mut self) {
        self.reveal_class = true;
    }
}
