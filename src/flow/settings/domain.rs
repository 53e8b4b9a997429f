//! What settings must agree with.

use crate::model::{ModelCard, Objective};

/// What settings must agree with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Domain {
    /// What the network was trained for.
    pub objective: Objective,
    /// Classes of the model.
    pub classes: usize,
    /// Codes of the model.
    pub codes: usize,
    /// Rows of tokens of a picture.
    pub height: usize,
    /// Columns of tokens of a picture.
    pub width: usize,
}

impl Domain {
    /// What a model asks of settings.
    pub fn of(card: &ModelCard) -> Self {
        let side = card.backbone.input_size;
        Self {
            objective: card.objective,
            classes: card.backbone.num_classes,
            codes: card.tokenizer.codes,
            height: side,
            width: side,
        }
    }
}
