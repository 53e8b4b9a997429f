//! Everything that the window shows: the session and the features over it, and how word gets from one
//! to another. Nothing here needs a window.

use std::path::PathBuf;

use crate::studio::action::{Action, Actions, ControlsAction, FilesAction, WindowAction};
use crate::studio::base::notices::About;
use crate::studio::base::worker::Wake;
use crate::studio::calibration::Calibrations;
use crate::studio::canvas::Canvas;
use crate::studio::codebook::Codebook;
use crate::studio::controls::Controls;
use crate::studio::engine::{Command, Event, RunEvent};
use crate::studio::export::{Destination, Export, Exports};
use crate::studio::gallery::Gallery;
use crate::studio::gallery::pane::GalleryPane;
use crate::studio::model::Files;
use crate::studio::pane::Pane;
use crate::studio::playground::Playground;
use crate::studio::posterior::Posterior;
use crate::studio::session::{Found, Happened, Outcome, Session};
use crate::studio::sweep::pane::SweepPane;
use crate::studio::sweep::{Phase, Sweep};
use crate::studio::training::Training;

/// The session, and the features over it.
#[derive(Default)]
pub struct Studio {
    /// What all of them share.
    pub session: Session,
    /// What to generate.
    pub controls: Controls,
    /// The pictures.
    pub canvas: Canvas,
    /// The belief about one token.
    pub posterior: Posterior,
    /// Every code.
    pub codebook: Codebook,
    /// Pictures that were made.
    pub gallery: Gallery,
    /// What is shown of them.
    pub gallery_pane: GalleryPane,
    /// Runs over two settings.
    pub sweep: Sweep,
    /// What is shown of them.
    pub sweep_pane: SweepPane,
    /// Whether posteriors mean what they say.
    pub calibration: Calibrations,
    /// A flow in the plane.
    pub playground: Playground,
    /// Training in the background.
    pub training: Training,
    /// Files that are opened.
    pub files: Files,
    /// Files being written.
    pub(in crate::studio) exports: Exports,
    /// What panes ask of one another.
    pub actions: Actions,
}

impl Studio {
    /// From now on other threads call `wake` when there is something to take in.
    pub fn set_wake(&mut self, wake: Wake) {
        self.session.jobs.set_wake(wake);
    }

    /// Keeps finished pictures in a folder; without one, which is how it begins, nothing is kept.
    pub fn open_gallery(&mut self, folder: PathBuf) {
        let wake = self.session.jobs.wake().clone();
        self.gallery.open(folder, wake, &mut self.session.notices);
    }

    /// Puts exports into a folder, without asking where each is to go.
    pub fn export_to(&mut self, folder: PathBuf) {
        self.exports.destination = Destination::Folder(folder);
    }

    /// Takes in what the compute thread reports.
    pub fn take(&mut self, event: Event) {
        if self.session.loses_answers(&event) {
            self.canvas.forget_questions();
            self.posterior.forget_question();
            match event.is_failure() {
                true => self.exports.fail_waiting("the computation failed"),
                false => self.canvas.ask_again(&mut self.session),
            }
        }
        if let Event::ModelReady(_) = event {
            // What was set aside belongs to the model before.
            self.canvas.end_inpaint(&mut self.session);
        }
        let event = self.sweep.absorb(event).and_then(|event| self.canvas.absorb(event));
        let event = event.and_then(|event| self.controls.absorb(event, &mut self.session));
        match event.and_then(|event| self.session.take(event)) {
            Some(Happened::ModelLoaded) => {
                self.canvas.forget_overlays();
                self.posterior = Posterior::default();
                self.codebook = Codebook::default();
                self.files.remember_model(&self.session);
                self.controls.reveal_class();
                self.calibration.look_up(&mut self.session);
            }
            Some(Happened::RunReplaced(old)) => {
                self.exports.hold(old);
                self.canvas.forget_overlays();
            }
            Some(Happened::RunEnded { live: false }) => {
                self.gallery.keep_end(&mut self.session, &mut self.exports);
            }
            Some(Happened::RunEnded { live: true }) | None => {}
        }
    }

    /// Says that nothing more will be computed: the compute thread has ended, unexpectedly.
    pub fn lose_engine(&mut self) {
        let text = "The compute thread has ended and cannot be restarted. Export your pictures, then \
                    restart the program.";
        self.take(match &self.session.active {
            Some(active) => Event::Run(active.id, RunEvent::Failed(text.to_owned())),
            None => Event::AskFailed(text.to_owned()),
        });
        self.session.give_up_model();
    }

    /// Once a frame: takes in what other threads have done.
    pub fn follow(&mut self) {
        self.exports.follow(&mut self.session);
        for (about, outcome) in self.session.jobs.ended() {
            self.take_outcome(about, outcome);
        }
        self.files.importer.receive();
        self.gallery.follow(&mut self.session.notices);
    }

    /// Takes in what came of a job.
    fn take_outcome(&mut self, about: About, outcome: Outcome) {
        if about == About::Importing {
            self.files.importer.end(&outcome);
        }
        match outcome {
            Outcome::Done(text) => self.session.notices.tell(text),
            Outcome::Found(Found::Restored(restored)) => {
                self.actions.push(FilesAction::Restore(restored));
            }
            Outcome::Found(Found::Model(path)) => self.files.load(path, &mut self.session),
            Outcome::Found(Found::Imported(path)) => {
                let text = format!("{} was made of the checkpoint.", path.display());
                self.session.notices.tell(text);
                self.actions.push(FilesAction::Open(path));
            }
            Outcome::Found(Found::Calibration { report, chosen }) => {
                if self.calibration.take(*report, chosen, &mut self.session) {
                    self.actions.push(WindowAction::Reveal(Pane::Calibration));
                }
            }
            Outcome::Quiet | Outcome::Cancelled => {}
            Outcome::Failed(text) => self.session.notices.error_about(about, text),
        }
    }

    /// Hands the next actions to their owners; gives the first that is for the window.
    pub fn perform(&mut self) -> Option<WindowAction> {
        while let Some(action) = self.actions.pop() {
            match action {
                Action::Window(action) => return Some(action),
                Action::Files(action) => {
                    self.files.perform(action, &mut self.session, &mut self.actions);
                }
                Action::Controls(action) => self.controls.perform(action),
                Action::Canvas(action) => self.canvas.perform(action, &mut self.actions),
                Action::Posterior(action) => {
                    self.posterior.perform(action, &mut self.session, &mut self.actions);
                }
                Action::Codebook(action) => {
                    self.codebook.perform(action, &mut self.session, &mut self.actions);
                }
                Action::Export(action) => self.exports.perform(action, &mut self.session),
            }
        }
        None
    }

    /// Once a frame, after the panes: takes note of changed settings, and asks what they would do to
    /// the current step. While `busy`, a widget is in use.
    pub fn follow_draft(&mut self, busy: bool) {
        self.canvas.follow(&mut self.session);
        self.session.follow_draft(busy);
        self.controls.follow(&mut self.session, busy || self.sweep.phase() == Phase::Running);
    }

    /// What is to be sent to the compute thread.
    pub fn take_commands(&mut self) -> Vec<Command> {
        self.sweep.follow(&mut self.session);
        self.session.take_commands()
    }

    /// Puts the settings back to those of a first start.
    pub fn reset_settings(&mut self) {
        self.session.reset_settings();
        self.actions.push(ControlsAction::RevealClass);
    }

    /// Keeps the pictures of the current step in the gallery.
    pub fn keep(&mut self) {
        self.gallery.keep(&mut self.session, &mut self.exports);
    }

    /// Begins to export something of the current run.
    pub(in crate::studio) fn export(&mut self, what: Export) {
        self.exports.export(what, &mut self.session);
    }

    /// Takes back what is in hand, one thing at a time: the tool, the token, the code.
    pub fn escape(&mut self) {
        if !self.canvas.put_tool_down() && self.session.selected.take().is_none() {
            self.session.highlight = None;
        }
    }

    /// Opens a file at once.
    #[cfg(test)]
    pub(in crate::studio) fn open(&mut self, path: impl Into<PathBuf>) {
        self.files.open(path.into(), &mut self.session, &mut self.actions);
    }

    /// Whether nothing that was asked for is still on its way.
    #[cfg(test)]
    pub(in crate::studio) fn is_quiet(&self) -> bool {
        self.session.is_quiet()
            && !self.posterior.is_waiting()
            && !self.gallery.is_reading()
            && self.playground.is_settled()
    }
}
