//! What the settings on the controls would do to the current step, asked of the network without
//! running again.

use std::collections::HashMap;
use std::sync::Arc;

use super::Session;
use super::what_if::{Shown, WhatIf};
use crate::flow::{SampleSettings, StepRecord};
use crate::studio::engine::pictures::Pictures;
use crate::studio::engine::{Question, View};

impl Session {
    /// The settings on the controls, where they differ from those of the current run in nothing but
    /// what can be asked of its states without running again.
    fn what_if_settings(&self) -> Option<Arc<SampleSettings>> {
        let run = self.run.as_ref().filter(|run| run.end.is_some())?;
        if self.active.is_some() || !run.model.card.objective.has_posterior() {
            return None;
        }
        let same_model = run.is_of(self.model.as_ref());
        let wanted = self.settings().filter(|wanted| same_model && **wanted != run.settings)?;
        (wanted.reading_as(&run.settings) == run.settings).then_some(wanted)
    }

    /// Asks what the changed settings would do to the current step, if that was not asked yet.
    pub(super) fn follow_what_if(&mut self) {
        let Some(settings) = self.what_if_settings() else {
            self.what_if = None;
            return;
        };
        let Some(run) = &self.run else { return };
        let (id, position) = (run.id, self.position);
        let asked = self.what_if.as_ref().is_some_and(|asked| {
            asked.run == id && asked.position == position && asked.settings == settings
        });
        if asked {
            return;
        }
        let Some(record) = run.record(position) else { return };
        let ticket = self.number_ticket();
        // Until the new answer comes, the old one of this step stays shown.
        let answer = self
            .what_if
            .take()
            .filter(|old| (old.run, old.position) == (id, position))
            .and_then(|old| old.answer);
        self.what_if = Some(WhatIf {
            ticket,
            run: id,
            position,
            settings: Arc::clone(&settings),
            answer,
            rendered: HashMap::new(),
        });
        let settings = Box::new(SampleSettings::clone(&settings));
        self.ask(Question::Rethink { ticket, record, settings });
    }

    /// Takes in an answer, unless something else is asked by now.
    pub(super) fn take_rethought(
        &mut self,
        ticket: u64,
        record: Arc<StepRecord>,
        predicted: Pictures,
    ) {
        if let Some(asked) = self.what_if.as_mut().filter(|asked| asked.ticket == ticket) {
            asked.answer = Some((record, predicted));
            asked.rendered.clear();
        }
    }

    /// Takes in another view of an answer.
    pub(super) fn take_rendered_what_if(&mut self, ticket: u64, view: View, pictures: Pictures) {
        if let Some(asked) = self.what_if.as_mut().filter(|asked| asked.ticket == ticket) {
            asked.rendered.insert(view, pictures);
        }
    }

    /// What is asked of the current step under the settings on the controls, with its answer.
    pub(super) fn what_if(&self) -> Option<(&WhatIf, &Arc<StepRecord>)> {
        let run = self.run.as_ref()?;
        let asked = self.what_if.as_ref()?;
        let (record, _) = asked.answer.as_ref()?;
        let here = asked.run == run.id && asked.position == self.position;
        here.then_some((asked, record))
    }

    /// The current step and what is asked of it, where its belief is not the run's own.
    pub fn asked_here(&self) -> Option<(&SampleSettings, &Arc<StepRecord>)> {
        self.what_if().map(|(asked, record)| (&*asked.settings, record))
    }

    /// The current step, or what it would be under the settings on the controls.
    pub fn shown(&self) -> Option<Shown> {
        if let Some((_, record)) = self.what_if() {
            return Some(Shown { record: Arc::clone(record), what_if: true });
        }
        let record = self.run.as_ref()?.record(self.position)?;
        Some(Shown { record, what_if: false })
    }

    /// The current codes, `[batch, height, width]`: those of the position, or the likeliest under the
    /// settings on the controls where these were asked.
    pub fn shown_codes(&self) -> Option<Vec<u32>> {
        let run = self.run.as_ref()?;
        match self.shown() {
            Some(shown) if shown.what_if => Some(shown.record.likeliest.clone()),
            _ => run.codes(self.position).map(<[u32]>::to_vec),
        }
    }
}
