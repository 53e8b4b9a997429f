//! What the model believes about a picture whose codes are known, asked one time after the other.

use std::sync::Arc;

use crate::calibrate::{Belief, Question};
use crate::studio::engine::PictureQuestion;
use crate::studio::session::Session;

/// A picture of which the model is asked, and what it has said so far.
pub struct Own {
    /// What it is called.
    pub name: String,
    /// Its codes, `[height, width]`.
    pub codes: Vec<u32>,
    /// The class that it is taken for.
    pub class: String,
    /// What was said, in the order of the grid.
    pub beliefs: Vec<Arc<Belief>>,
    /// The time that is looked at, by its place in the grid.
    pub at: usize,
    /// The token that is looked at, row by row; without one the most surprising.
    pub token: Option<usize>,
    /// Whether the slider moves with the first answers.
    pub follows: bool,
    question: Question,
    label: usize,
    pending: Option<u64>,
    broken: bool,
}

impl Own {
    /// A picture taken for `class`, or for that on the controls, about which nothing was asked yet.
    pub fn new(name: String, codes: Vec<u32>, class: Option<String>, session: &Session) -> Self {
        let names = session.model.as_ref().map_or(&[][..], |model| &model.card.class_names);
        let class = class.unwrap_or_else(|| session.draft.class().to_owned());
        let label = names.iter().position(|name| *name == class).unwrap_or(0);
        Self {
            name,
            codes,
            class: names.get(label).cloned().unwrap_or_default(),
            beliefs: Vec::new(),
            at: 0,
            token: None,
            follows: true,
            question: Question::default(),
            label,
            pending: None,
            broken: false,
        }
    }

    /// Asks about the same picture once more, taken for another class; what is looked at stays.
    pub fn ask_again(&mut self, class: String, session: &Session) {
        let asked = Self::new(self.name.clone(), self.codes.clone(), Some(class), session);
        *self = Self { at: self.at, token: self.token, follows: false, ..asked };
    }

    /// Times of the grid.
    pub fn times(&self) -> usize {
        self.question.times
    }

    /// Takes in what was said, and asks on.
    pub fn follow(&mut self, session: &mut Session) {
        if let Some(ticket) = self.pending {
            let Some(belief) = session.take_believed(ticket) else { return };
            self.pending = None;
            self.beliefs.push(belief);
            if self.follows {
                // To where most of a picture is decided.
                self.at = (self.beliefs.len() - 1).min(self.times() / 3);
            }
        }
        if self.beliefs.len() < self.times() && !self.broken {
            let (codes, question) = (self.codes.clone(), self.question.clone());
            let time = self.beliefs.len();
            let about = PictureQuestion { codes, label: self.label, question, time };
            self.pending = Some(session.ask_about(about));
        }
    }

    /// Asks no more: something went wrong.
    pub fn forget_question(&mut self) {
        self.broken |= self.pending.take().is_some();
    }

    /// Whether it was given up before all was said.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Whether something was asked that has not come.
    #[cfg(test)]
    pub fn is_waiting(&self) -> bool {
        self.pending.is_some()
    }

    /// What is believed at the time that is looked at.
    pub fn belief(&self) -> Option<&Arc<Belief>> {
        self.beliefs.get(self.at)
    }

    /// The token that is looked at: the one chosen, or the most surprising at this time.
    pub fn token(&self) -> Option<usize> {
        let belief = self.belief()?;
        self.token.or_else(|| {
            let surprise = |at: &usize| belief.tokens[*at].as_ref().map_or(-1.0, |of| of.surprise);
            (0..belief.tokens.len()).max_by(|a, b| surprise(a).total_cmp(&surprise(b)))
        })
    }
}
