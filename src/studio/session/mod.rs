//! What every feature shares: the model, the current run and where one is in it, the settings on the
//! controls, and what is asked of the compute thread.
//!
//! A pane reads this and writes the settings. What is to be computed goes into an outbox of
//! [`Command`]s. Nothing here waits, decodes or knows the compute thread, so that all of it can be
//! tested without a window.

pub mod branch;
pub mod draft;
pub mod edits;
pub mod history;
pub mod kinds;
pub mod look;
mod made;
mod outbox;
mod place;
pub mod playback;
pub mod presets;
mod questions;
mod record_store;
pub mod restored;
mod rethinking;
pub mod run;
mod settings;
pub mod settings_file;
pub mod swatches;
#[cfg(test)]
mod tests;
pub mod token;
pub mod what_if;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use self::branch::BranchPoint;
use self::draft::{Draft, FIRST_CLASS};
use self::history::History;
use self::look::Look;
use self::made::Made;
use self::outbox::{Answers, Outbox};
use self::playback::Playback;
use self::restored::Restored;
use self::run::{Run, class_name};
use self::swatches::Swatches;
use self::token::Token;
use self::what_if::WhatIf;
use crate::calibrate::Calibration;
use crate::flow::{SampleSettings, StepRecord};
use crate::studio::base::jobs;
use crate::studio::base::notices::{About, Notices};
use crate::studio::base::text::count;
use crate::studio::engine::pictures::Pictures;
use crate::studio::engine::{Answer, Command, Event, ModelInfo, ModelSource, RunEvent, RunId};

/// What a job may have found that the window goes on with.
#[derive(Debug)]
pub enum Found {
    /// Settings were read.
    Restored(Box<Restored>),
    /// A file was found to be a model.
    Model(PathBuf),
    /// A model file was made of a checkpoint.
    Imported(PathBuf),
    /// How calibrated a model is, of the one in use or, where a person chose it, of any.
    Calibration {
        /// The report.
        report: Box<Calibration>,
        /// Whether a person chose it.
        chosen: bool,
    },
}

/// Work in the background.
pub type Jobs = jobs::Jobs<Found>;

/// What came of a job.
pub type Outcome = jobs::Outcome<Found>;

/// A run that is being computed.
#[derive(Debug, Clone)]
pub struct Active {
    /// Its number.
    pub id: RunId,
    /// What it was asked to do.
    pub settings: Arc<SampleSettings>,
    /// Steps reported so far.
    pub done: usize,
    /// Whether it began by itself, in live mode.
    pub live: bool,
}

/// What an event has changed that features have to hear of.
#[derive(Debug)]
pub enum Happened {
    /// There is another model.
    ModelLoaded,
    /// Another run is shown; the one before, if there was one.
    RunReplaced(Option<Box<Run>>),
    /// The current run has come to its end, and began in live mode or not.
    RunEnded {
        /// Whether it began by itself.
        live: bool,
    },
}

/// What every feature shares.
pub struct Session {
    /// The model, once it is loaded.
    pub model: Option<Arc<ModelInfo>>,
    /// What is being loaded.
    pub loading: Option<ModelSource>,
    /// The settings on the controls.
    pub draft: Draft,
    /// Undo and redo of the settings.
    pub history: History,
    /// Where new runs begin, if not with noise.
    pub branch: Option<BranchPoint>,
    /// The current run.
    pub run: Option<Run>,
    /// The run being computed.
    pub active: Option<Active>,
    /// Where one is on the timeline.
    pub position: usize,
    /// Whether the position moves with the newest step.
    pub follow: bool,
    /// Playing the timeline.
    pub playback: Playback,
    /// How the pictures are looked at.
    pub look: Look,
    /// The token being looked at.
    pub selected: Option<Token>,
    /// The code whose tokens are outlined on the canvas.
    pub highlight: Option<u32>,
    /// Swatches of codes.
    pub swatches: Swatches,
    /// How calibrated the model in use is, once that was measured.
    pub calibration: Option<Arc<Calibration>>,
    /// Work in the background.
    pub jobs: Jobs,
    /// What happened.
    pub notices: Notices,
    outbox: Outbox,
    answers: Answers,
    made: Made,
    /// Settings last sent, to see a change in live mode.
    sent: Option<Arc<SampleSettings>>,
    /// Whether something failed since a run last began.
    broke_off: bool,
    what_if: Option<WhatIf>,
    dice: u64,
}

impl Default for Session {
    fn default() -> Self {
        Self {
            model: None,
            loading: None,
            draft: Draft::default(),
            history: History::default(),
            branch: None,
            run: None,
            active: None,
            position: 0,
            follow: true,
            playback: Playback::default(),
            look: Look::default(),
            selected: None,
            highlight: None,
            swatches: Swatches::default(),
            calibration: None,
            jobs: Jobs::default(),
            notices: Notices::default(),
            outbox: Outbox::default(),
            answers: Answers::default(),
            made: Made::default(),
            sent: None,
            broke_off: false,
            what_if: None,
            dice: std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos() as u64),
        }
    }
}

impl Session {
    /// Opens a model.
    pub fn load_model(&mut self, source: ModelSource) {
        self.loading = Some(source.clone());
        self.send(Command::Load(source));
    }

    /// Whether the model in use has a belief about codes that can be edited.
    pub fn can_edit(&self) -> bool {
        self.model.as_ref().is_some_and(|model| model.card.objective.has_posterior())
    }

    /// Begins a run, as the Generate button does: with a new seed, unless that is locked or was
    /// changed since the last run.
    pub fn generate(&mut self) {
        let used = self.sent.as_ref().is_some_and(|sent| sent.seed == self.draft.sampling.seed);
        // The noise that a branch began with is behind it.
        if used && !self.draft.seed_locked && self.branch.is_none() {
            self.throw_dice();
        }
        self.begin(false);
    }

    /// Begins a run of the settings on the controls.
    fn begin(&mut self, live: bool) {
        let Some(settings) = self.settings() else { return };
        let start = self.start();
        let run = self.number_run();
        self.sent = Some(Arc::clone(&settings));
        self.active = Some(Active { id: run, settings: Arc::clone(&settings), done: 0, live });
        self.follow = true;
        self.playback.playing = false;
        let settings = SampleSettings::clone(&settings);
        self.send(Command::Run { run, settings, start, watched: true });
    }

    /// Drops the run being computed.
    pub fn stop(&mut self) {
        if self.active.is_some() {
            self.send(Command::Stop);
        }
    }

    /// In live mode, begins a run if the settings on the controls are not those last sent.
    fn follow_changes(&mut self) {
        if self.draft.live && self.model.is_some() && self.sent != self.settings() {
            self.begin(true);
        }
    }

    /// Takes the settings on the controls as sent, so that live mode does not run them.
    pub fn take_as_sent(&mut self) {
        self.sent = self.settings();
    }

    /// Once a frame: takes note of changed settings, and asks what they would do to the current step.
    /// While `busy`, a widget is in use.
    pub fn follow_draft(&mut self, busy: bool) {
        self.draft.tidy();
        let branch = self.branch.as_ref().map(|point| &point.branch);
        self.history.settle(&self.draft, branch, busy);
        self.follow_changes();
        self.follow_what_if();
    }

    /// Whether `event` says that questions go unanswered which were asked before it: after a failure,
    /// and when a run begins again, since in between there may have been no model to ask. Nothing
    /// waits for them then; what is still wanted is asked again.
    pub fn loses_answers(&mut self, event: &Event) -> bool {
        let loses = match event {
            Event::Run(_, RunEvent::Started) => std::mem::take(&mut self.broke_off),
            event => event.is_failure(),
        };
        self.broke_off |= event.is_failure();
        if loses {
            self.forget_questions();
        }
        loses
    }

    /// Takes in what the compute thread reports; says what of it concerns the features.
    pub fn take(&mut self, event: Event) -> Option<Happened> {
        match event {
            Event::ModelReady(model) => {
                self.model_loaded(model);
                return Some(Happened::ModelLoaded);
            }
            Event::LoadFailed(text) => {
                self.loading = None;
                self.notices.error_about(About::Opening, text);
            }
            Event::Run(run, event) => return self.take_run(run, event),
            Event::Answered(answer) => self.take_answer(answer),
            // The controls take it.
            Event::Sketched(_) => {}
            Event::AskFailed(text) => self.notices.error_about(About::Computing, text),
        }
        None
    }

    fn take_run(&mut self, run: RunId, event: RunEvent) -> Option<Happened> {
        match event {
            RunEvent::Started => None,
            RunEvent::Step { record, predicted } => self.take_step(run, record, predicted),
            RunEvent::Finished { codes, pictures, wall } => {
                self.take_end(run, codes, pictures, wall)
            }
            RunEvent::Stopped => {
                self.end_active(run);
                None
            }
            RunEvent::Failed(text) => {
                self.end_active(run);
                self.notices.error_about(About::Computing, text);
                None
            }
        }
    }

    fn take_answer(&mut self, answer: Answer) {
        match answer {
            Answer::Rendered { key, pictures } => self.take_rendered(key, pictures),
            Answer::Rethought { ticket, record, predicted } => {
                self.take_rethought(ticket, record, predicted);
            }
            Answer::Decoded { ticket, pictures } => self.answers.take_decoded(ticket, pictures),
            Answer::Encoded { ticket, codes } => self.answers.take_encoded(ticket, codes),
            Answer::Believed { ticket, belief } => self.answers.take_believed(ticket, belief),
            Answer::Swatches(list) => self.swatches.take(list),
            // The canvas takes its own.
            Answer::Overlaid { .. } => {}
        }
    }

    /// There is nothing to compute with any more.
    pub fn give_up_model(&mut self) {
        (self.loading, self.model) = (None, None);
    }

    fn model_loaded(&mut self, model: Arc<ModelInfo>) {
        self.loading = None;
        self.swatches = Swatches::default();
        self.calibration = None;
        self.highlight = None;
        self.answers.clear();
        self.notices.settled(About::Opening);
        self.notices.note(format!("{} is ready on {}", model.card.name, model.device));
        let known = |class: &String| model.card.class_names.contains(class);
        if !self.draft.classes.iter().any(known) {
            let name = model.card.class_names.iter().find(|name| *name == FIRST_CLASS);
            let name = name.or(model.card.class_names.first());
            self.draft.choose_class(name.map_or("", String::as_str));
        }
        let grid = |info: &ModelInfo| (info.card.backbone.input_size, info.card.tokenizer.codes);
        if self.model.as_ref().is_some_and(|old| old.hash != model.hash) {
            self.branch = None;
            self.history.forget_branches();
        }
        if self.model.as_ref().is_some_and(|old| grid(old) != grid(&model)) {
            self.draft.edits.clear();
        }
        self.model = Some(model);
        self.begin(false);
    }

    fn take_step(
        &mut self,
        id: RunId,
        record: Arc<StepRecord>,
        predicted: Option<Pictures>,
    ) -> Option<Happened> {
        let active = self.active.as_mut().filter(|active| active.id == id)?;
        active.done = record.step + 1;
        let mut happened = None;
        // The old run stays shown until the new one has something to show.
        if self.run.as_ref().is_none_or(|run| run.id != id) {
            let model = self.model.clone()?;
            let shape = record.x.shape;
            let settings = SampleSettings::clone(&active.settings);
            let old = self.run.replace(Run::new(id, settings, model, shape));
            happened = Some(Happened::RunReplaced(old.map(Box::new)));
            self.answers.asked_view = None;
            self.position = 0;
            self.selected = self.selected.filter(|token| token.index(shape).is_some());
        }
        if let Some(run) = &mut self.run {
            run.push(record, predicted);
        }
        if self.follow {
            self.go_last();
        }
        happened
    }

    fn take_end(
        &mut self,
        id: RunId,
        codes: Vec<u32>,
        pictures: Pictures,
        wall: Duration,
    ) -> Option<Happened> {
        let live = self.active.as_ref().is_some_and(|active| active.live);
        if !self.end_active(id) {
            return None;
        }
        self.notices.settled(About::Computing);
        let run = self.run.as_mut().filter(|shown| shown.id == id)?;
        run.finish(codes, pictures, wall);
        let text = format!(
            "{} of {} in {:.1} s, {} evaluations",
            count(run.settings.labels.len(), "picture"),
            class_name(&run.model.card, &run.settings),
            wall.as_secs_f32(),
            run.evaluations(run.frames.len()),
        );
        self.notices.note(text);
        if self.follow {
            self.go_last();
        }
        Some(Happened::RunEnded { live })
    }

    /// Whether `run` was the one being computed; it no longer is.
    fn end_active(&mut self, run: RunId) -> bool {
        self.active.take_if(|active| active.id == run).is_some()
    }

    /// Whether neither a model is being read nor a run computed.
    pub fn is_idle(&self) -> bool {
        self.active.is_none() && self.loading.is_none()
    }

    /// Whether nothing that was asked for is still on its way.
    #[cfg(test)]
    pub(in crate::studio) fn is_quiet(&self) -> bool {
        let computed = self.is_idle() && self.outbox.commands.is_empty();
        let answered = self.answers.asked_view.is_none()
            && self.what_if.as_ref().is_none_or(WhatIf::is_answered)
            && self.swatches.are_here();
        computed && answered && self.jobs.all().is_empty()
    }
}
