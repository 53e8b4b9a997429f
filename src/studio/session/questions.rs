//! What is asked of the compute thread beside runs.

use std::sync::Arc;

use image::RgbImage;

use super::Session;
use super::what_if::Shown;
use crate::calibrate::Belief;
use crate::studio::engine::pictures::Pictures;
use crate::studio::engine::{Command, PictureKey, PictureQuestion, Question, RunId, View};

impl Session {
    /// What is to be sent to the compute thread.
    pub fn take_commands(&mut self) -> Vec<Command> {
        std::mem::take(&mut self.outbox.commands)
    }

    /// Sends a command to the compute thread.
    pub fn send(&mut self, command: Command) {
        self.outbox.commands.push(command);
    }

    /// Asks something of the compute thread.
    pub fn ask(&mut self, question: Question) {
        self.send(Command::Ask(question));
    }

    /// A number for a run that is to be sent.
    pub fn number_run(&mut self) -> RunId {
        self.outbox.next_run += 1;
        self.outbox.next_run - 1
    }

    /// Numbers a request.
    pub fn number_ticket(&mut self) -> u64 {
        self.outbox.next_ticket += 1;
        self.outbox.next_ticket - 1
    }

    /// Asks for grids of codes to be decoded, `[batch, height, width]`; gives the number that
    /// [`Session::take_decoded`] takes.
    pub fn ask_decode(&mut self, codes: Vec<u32>, batch: usize) -> u64 {
        let ticket = self.number_ticket();
        self.ask(Question::Decode { ticket, codes, batch });
        ticket
    }

    /// What came of [`Session::ask_decode`], once it has come.
    pub fn take_decoded(&mut self, ticket: u64) -> Option<Pictures> {
        self.answers.decoded.remove(&ticket)
    }

    /// Asks for the codes of a picture; gives the number that [`Session::take_encoded`] takes.
    pub fn ask_encode(&mut self, picture: RgbImage) -> u64 {
        let ticket = self.number_ticket();
        self.ask(Question::Encode { ticket, picture: Box::new(picture) });
        ticket
    }

    /// What came of [`Session::ask_encode`], `[height, width]`, once it has come.
    pub fn take_encoded(&mut self, ticket: u64) -> Option<Vec<u32>> {
        self.answers.encoded.remove(&ticket)
    }

    /// Asks what the model believes about a picture at one time; gives the number that
    /// [`Session::take_believed`] takes.
    pub fn ask_about(&mut self, about: PictureQuestion) -> u64 {
        let ticket = self.number_ticket();
        self.ask(Question::Picture { ticket, about: Box::new(about) });
        ticket
    }

    /// What came of [`Session::ask_about`], once it has come.
    pub fn take_believed(&mut self, ticket: u64) -> Option<Arc<Belief>> {
        self.answers.believed.remove(&ticket)
    }

    /// Waits no longer for what was asked of the compute thread; what is still wanted is asked again.
    /// But not what the settings would change: that may be what was refused.
    pub(super) fn forget_questions(&mut self) {
        self.answers.asked_view = None;
        self.swatches.forget_asked();
    }

    /// Whether the pictures to show now are there.
    pub fn has_pictures(&self) -> bool {
        let (_, known) = self.known_pictures();
        known.is_some()
    }

    /// Which pictures are to be shown now, and they themselves where they are known.
    pub fn known_pictures(&self) -> (Option<PictureKey>, Option<Pictures>) {
        let Some(run) = &self.run else { return (None, None) };
        let view = self.look.view;
        let mut key = PictureKey { run: run.id, position: self.position, view, ticket: 0 };
        // The state is what it is, whatever the belief.
        let known = match self.what_if() {
            Some((asked, _)) if view != View::State => {
                key.ticket = asked.ticket;
                asked.pictures(view)
            }
            _ => run.pictures(self.position, view),
        };
        (Some(key), known.cloned())
    }

    /// The pictures to show now, asking for them if they are not there yet.
    pub fn pictures(&mut self) -> Option<(PictureKey, Pictures)> {
        let (key, known) = self.known_pictures();
        let key = key?;
        if let Some(pictures) = known {
            return Some((key, pictures));
        }
        // One request at a time, so that scrubbing does not pile up work.
        if self.answers.asked_view.is_none()
            && self.decodes_run()
            && let Some(Shown { record, .. }) = self.shown()
        {
            self.answers.asked_view = Some(key);
            self.ask(Question::Render { key, record });
        }
        None
    }

    /// Takes in a view that was asked for.
    pub(super) fn take_rendered(&mut self, key: PictureKey, pictures: Pictures) {
        self.answers.asked_view.take_if(|asked| *asked == key);
        if key.ticket != 0 {
            self.take_rendered_what_if(key.ticket, key.view, pictures);
        } else if let Some(run) = self.run.as_mut().filter(|run| run.id == key.run) {
            run.take_rendered(key.position, key.view, pictures);
        }
    }

    /// Whether what is asked about the current run is answered by the model that made it.
    pub fn decodes_run(&self) -> bool {
        let known = self.run.as_ref().is_some_and(|run| run.is_of(self.model.as_ref()));
        known && self.loading.is_none()
    }

    /// Asks for the swatches of `codes` that were not asked for before.
    pub fn want_swatches(&mut self, codes: impl Iterator<Item = u32>) {
        let new: Vec<u32> = codes.filter(|code| self.swatches.asked.insert(*code)).collect();
        if !new.is_empty() {
            self.ask(Question::Swatches(new));
        }
    }

    /// Asks for the next few swatches of many `codes`, once those asked for before have come.
    pub fn want_swatches_in_turn(&mut self, codes: impl Iterator<Item = u32>) {
        const AT_ONCE: usize = 32;
        if !self.swatches.are_here() {
            return;
        }
        let asked = &self.swatches.asked;
        let next: Vec<u32> = codes.filter(|code| !asked.contains(code)).take(AT_ONCE).collect();
        self.want_swatches(next.into_iter());
    }
}
