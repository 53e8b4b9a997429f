//! Whatever has a posterior that can be measured.

use crate::flow::{Domain, Oracle, Predictor, State};
use crate::model::head::Reading;
use crate::model::{Model, params};

/// A network, or the exact posterior, as a function from states to logits.
pub trait Subject {
    /// What states and labels must agree with.
    fn domain(&self) -> Domain;

    /// The codes at the data end of the flow, `[codes, code_size]`.
    fn codebook(&self) -> Vec<f32>;

    /// The logits of every token, before any temperature, `[batch * height * width, codes]`.
    fn logits(&self, state: &State, t: f32, labels: &[usize], guidance: f32) -> Vec<f32>;
}

impl Subject for Model {
    fn domain(&self) -> Domain {
        Domain::of(&self.card)
    }

    fn codebook(&self) -> Vec<f32> {
        params::host(Self::codebook(self).clone())
    }

    fn logits(&self, state: &State, t: f32, labels: &[usize], guidance: f32) -> Vec<f32> {
        let batch = labels.len();
        let codes = self.card.tokenizer.codes;
        let tokens: Vec<usize> = (0..batch * self.latent_shape(batch).tokens()).collect();
        self.within_room(batch, || {
            let features = match &state.codes {
                Some(codes) => self.features_of_codes(codes, t, labels, guidance),
                None => self.features(self.upload(&state.x), t, labels, guidance),
            };
            let codebook = Self::codebook(self);
            let reading = Reading { codebook, top: 1, mask: None, budget: self.logits_at_once() };
            let mut logits = vec![0.0; tokens.len() * codes];
            self.head.rows(&features, &tokens, &reading, |token, row| {
                logits[token * codes..(token + 1) * codes].copy_from_slice(row);
            });
            logits
        })
    }
}

impl Subject for Oracle {
    fn domain(&self) -> Domain {
        Predictor::domain(self)
    }

    fn codebook(&self) -> Vec<f32> {
        Self::codebook(self).to_vec()
    }

    fn logits(&self, state: &State, t: f32, _: &[usize], _: f32) -> Vec<f32> {
        self.all_logits(&state.x, t)
    }
}
