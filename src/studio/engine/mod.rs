//! The compute thread: it alone holds the model, takes [`Command`]s and answers with [`Event`]s.
//!
//! burn keys its streams by OS thread, so everything that touches a tensor stays on one. The
//! window never waits for it: it sends a command and reads what has come back, a frame at a time.
//! The newest request wins: whatever asks for a new run, or for none, takes effect before the
//! next step of the run in progress.
//!
//! Every [`Command::Generate`] is answered, in this order, by at most one [`Event::Started`], any
//! number of [`Event::Step`]s, and exactly one of [`Event::Finished`], [`Event::Stopped`] and
//! [`Event::Failed`].

pub mod model_worker;
pub mod opener;
pub mod pictures;
pub mod present;

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use image::RgbImage;
use serde::{Deserialize, Serialize};

use crate::fault::panic_text;
use crate::flow::{LatentShape, Latents, SampleSettings, State, StepRecord};
use crate::model::{ModelCard, Precision};
use crate::studio::engine::pictures::Pictures;

/// Number of a run, rising within one session of the window.
pub type RunId = u64;

/// Where a model is read from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ModelSource {
    /// The one inside the program.
    Embedded,
    /// A `.safetensors` model file.
    File(PathBuf),
}

impl fmt::Display for ModelSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded => f.write_str("the embedded model"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// What the window has to know about the model.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelInfo {
    /// Its description.
    pub card: ModelCard,
    /// Short hexadecimal digest of its weights.
    pub hash: String,
    /// The device that it computes on, and why that one.
    pub device: String,
    /// The precision that it computes in.
    pub precision: Precision,
    /// Where it was read from.
    pub source: ModelSource,
    /// Its codes in the units of the flow, `[codes, code_size]`.
    pub codebook: Arc<[f32]>,
}

/// What is drawn of one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum View {
    /// The decoded posterior mean `mu`.
    #[default]
    Predicted,
    /// The decoded most likely codes.
    Likeliest,
    /// The decoded state `x`.
    State,
}

/// Names the pictures of one batch: a run, a position on its timeline, a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PictureKey {
    /// The run.
    pub run: RunId,
    /// Number of the step, or the number of steps for the end of the run.
    pub position: usize,
    /// The view.
    pub view: View,
    /// Number of the request whose belief it shows; 0 for the run's own.
    pub ticket: u64,
}

/// What is to be laid over the pictures of a batch, a colour a token.
#[derive(Debug, Clone, PartialEq)]
pub enum Drawing {
    /// Entropies on the ramp of colours.
    Entropy {
        /// In nats, `[batch, height, width]`.
        values: Vec<f32>,
        /// The entropy at the bright end, in nats.
        top: f32,
    },
    /// A mark where codes differ.
    Changes {
        /// `[batch, height, width]`
        before: Vec<u32>,
        /// `[batch, height, width]`
        after: Vec<u32>,
        /// Red, green, blue, opacity.
        mark: [u8; 4],
    },
}

/// What the window asks for.
#[derive(Debug)]
pub enum Command {
    /// Read this model, and drop the run in progress.
    LoadModel(ModelSource),
    /// Begin this run, and drop the one in progress.
    Generate {
        /// Its number, chosen by the window.
        run: RunId,
        /// What it is to do.
        settings: SampleSettings,
        /// Where it goes on from, if it is a branch and that is known; the steps before are then not
        /// taken again.
        start: Option<Box<State>>,
        /// Whether the prediction of every step is decoded.
        watched: bool,
    },
    /// Drop the run in progress.
    Stop,
    /// Decode another view of a step. Only the newest such request is answered.
    Render {
        /// Which pictures.
        key: PictureKey,
        /// The step; for the end of a run, its last step.
        record: Arc<StepRecord>,
    },
    /// Ask the network again about the state of a step, under other settings. Only the newest such
    /// request is answered.
    Rethink {
        /// Number of the request, chosen by the window.
        ticket: u64,
        /// The step.
        record: Arc<StepRecord>,
        /// Temperature, guidance, pins and bans to ask with.
        settings: Box<SampleSettings>,
    },
    /// Decode grids of codes.
    Decode {
        /// Number of the request, chosen by the window.
        ticket: u64,
        /// `[batch, height, width]`
        codes: Vec<u32>,
        /// Pictures.
        batch: usize,
    },
    /// Decode a view of a step into pixels on the host. Every such request is answered, with
    /// [`Event::Decoded`].
    DecodeStep {
        /// Number of the request, chosen by the window.
        ticket: u64,
        /// What to decode.
        view: View,
        /// Place on the timeline; the number of steps for the end of the run.
        position: usize,
        /// The step; for the end of a run, its last step.
        record: Arc<StepRecord>,
    },
    /// Draw an overlay on the window's GPU. Only the newest such request is answered.
    Overlay {
        /// Number of the request, chosen by the window.
        ticket: u64,
        /// Extent of the batch.
        shape: LatentShape,
        /// What to draw.
        drawing: Drawing,
    },
    /// Turn a picture, scaled to the model's size, into codes.
    Encode {
        /// Number of the request, chosen by the window.
        ticket: u64,
        /// The picture.
        picture: Box<RgbImage>,
    },
    /// Decode these codes as swatches.
    Swatches(Vec<u32>),
    /// End the thread.
    Shutdown,
}

/// What the compute thread reports.
#[derive(Debug, Clone)]
pub enum Event {
    /// A model can be used.
    ModelReady(Arc<ModelInfo>),
    /// A run has begun.
    Started {
        /// Which run.
        run: RunId,
    },
    /// A step was taken.
    Step {
        /// Which run.
        run: RunId,
        /// The step.
        record: Arc<StepRecord>,
        /// Its predicted pictures, where the run is watched.
        predicted: Option<Pictures>,
    },
    /// A run has reached `t = 1`.
    Finished {
        /// Which run.
        run: RunId,
        /// The final codes, `[batch, height, width]`.
        codes: Vec<u32>,
        /// The final codes decoded.
        pictures: Pictures,
        /// Time from the beginning of the run, decoding included.
        wall: Duration,
    },
    /// A run was dropped, perhaps before it began.
    Stopped {
        /// Which run.
        run: RunId,
    },
    /// Something went wrong.
    Failed {
        /// The run that it ended, if any.
        run: Option<RunId>,
        /// What happened and what to do, for people.
        text: String,
    },
    /// The answer to [`Command::Render`].
    Rendered {
        /// Which pictures.
        key: PictureKey,
        /// One an image of the batch.
        pictures: Pictures,
    },
    /// The answer to [`Command::Rethink`].
    Rethought {
        /// Which request.
        ticket: u64,
        /// The step as it would have been, up to its prediction.
        record: Arc<StepRecord>,
        /// The prediction, decoded.
        predicted: Pictures,
    },
    /// The answer to [`Command::Decode`] and to [`Command::DecodeStep`].
    Decoded {
        /// Which request.
        ticket: u64,
        /// One a grid of codes.
        pictures: Pictures,
    },
    /// The answer to [`Command::Overlay`].
    Overlaid {
        /// Which request.
        ticket: u64,
        /// One an image, a pixel a token; nothing where the window's GPU is not shared.
        pictures: Option<Pictures>,
    },
    /// The answer to [`Command::Encode`].
    Encoded {
        /// Which request.
        ticket: u64,
        /// `[height, width]`
        codes: Vec<u32>,
    },
    /// The answer to [`Command::Swatches`].
    Swatches(Vec<(u32, RgbImage)>),
}

/// What the compute thread drives: the model, or a stand-in for it in a test.
pub trait Worker {
    /// Reads a model and makes it the one in use; on failure the old one stays.
    ///
    /// # Errors
    /// What is wrong, for people.
    fn load(&mut self, source: &ModelSource) -> Result<ModelInfo, String>;

    /// Prepares a run of the model in use; a branch goes on from `start` where that is given.
    ///
    /// # Errors
    /// What is wrong, for people.
    fn begin(
        &self,
        settings: &SampleSettings,
        start: Option<State>,
    ) -> Result<Box<dyn Trajectory + '_>, String>;

    /// The step with the prediction that other settings give at its state.
    ///
    /// # Errors
    /// What is wrong, for people.
    fn rethink(&self, record: &StepRecord, settings: &SampleSettings)
    -> Result<StepRecord, String>;

    /// The codes of a picture, `[height, width]`.
    ///
    /// # Errors
    /// What is wrong, for people.
    fn encode(&self, picture: &RgbImage) -> Result<Vec<u32>, String>;

    /// One picture an image of the batch. What cannot be decoded ends in a panic, which is reported as
    /// any other.
    fn decode(&self, latents: &Latents) -> Pictures;

    /// One picture an image of the batch, from `[batch, height, width]` codes; else as
    /// [`Worker::decode`].
    fn decode_codes(&self, codes: &[u32], batch: usize) -> Pictures;

    /// An overlay as textures of the window, where it computes on the window's GPU.
    fn overlay(&self, _shape: LatentShape, _drawing: &Drawing) -> Option<Pictures> {
        None
    }

    /// A small picture a code.
    fn swatches(&self, codes: &[u32]) -> Vec<RgbImage>;

    /// Whether the device still works, asked after a panic.
    ///
    /// # Errors
    /// What happened to it, for people.
    fn health(&self) -> Result<(), String> {
        Ok(())
    }
}

/// A run in progress; dropped to stop it.
pub trait Trajectory {
    /// Takes the next step; `None` at the end.
    fn advance(&mut self) -> Option<StepRecord>;

    /// Nearest codes of the state reached, `[batch, height, width]`.
    fn codes(&self) -> Vec<u32>;
}

/// The window's end of the compute thread. Dropping it ends the thread.
#[derive(Debug)]
pub struct Engine {
    commands: Sender<Command>,
    events: Receiver<Event>,
    thread: Option<JoinHandle<()>>,
}

impl Engine {
    /// Starts the thread. `make` is called on it, for the worker and again for a new one after a
    /// panic; `wake` is called on it after each event.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn spawn<W: Worker>(
        make: impl FnMut() -> Result<W, String> + Send + 'static,
        wake: impl Fn() + Send + 'static,
    ) -> io::Result<Self> {
        let (commands, inbox) = mpsc::channel();
        let (outbox, events) = mpsc::channel();
        let thread =
            thread::Builder::new().name("purrscope-compute".to_owned()).spawn(move || {
                let report = move |event| {
                    // A send fails only when the window has gone; the thread then ends by itself.
                    let _ = outbox.send(event);
                    wake();
                };
                Desk {
                    make,
                    worker: None,
                    source: None,
                    inbox: Inbox::new(inbox),
                    report: &report,
                    run: None,
                }
                .serve();
            })?;
        Ok(Self { commands, events, thread: Some(thread) })
    }

    /// Sends a command; returns at once.
    pub fn send(&self, command: Command) {
        // A send fails only when the thread has ended, and it ends only with this handle.
        let _ = self.commands.send(command);
    }

    /// The events that have arrived, in order; never waits.
    pub fn events(&self) -> impl Iterator<Item = Event> + '_ {
        self.events.try_iter()
    }

    /// Whether the thread is no longer there, which takes a panic that it could not catch.
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for the next event, for tests.
    #[cfg(test)]
    pub fn wait(&self) -> Event {
        self.events.recv_timeout(crate::studio::testing::fake::PATIENCE).unwrap()
    }

    /// How long the end of the window waits for the step in hand: one of a large model on a processor
    /// can take longer than anyone waits for a window to close.
    const PATIENCE: Duration = Duration::from_secs(3);
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.send(Command::Shutdown);
        let Some(thread) = self.thread.take() else { return };
        let deadline = Instant::now() + Self::PATIENCE;
        while !thread.is_finished() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(2));
        }
        if thread.is_finished() {
            // The thread catches its panics, so there is nothing to learn from its end.
            let _ = thread.join();
        }
    }
}

/// Commands that have arrived and wait, with those that newer ones make pointless left out.
struct Inbox {
    arriving: Receiver<Command>,
    waiting: VecDeque<Command>,
}

impl Inbox {
    fn new(arriving: Receiver<Command>) -> Self {
        Self { arriving, waiting: VecDeque::new() }
    }

    /// Takes in what has arrived, without waiting.
    fn absorb(&mut self, report: &dyn Fn(Event)) {
        while let Ok(command) = self.arriving.try_recv() {
            self.admit(command, report);
        }
    }

    /// The next command, waiting for one if need be; `None` when the window has gone.
    fn next(&mut self, report: &dyn Fn(Event)) -> Option<Command> {
        self.absorb(report);
        match self.waiting.pop_front() {
            Some(command) => Some(command),
            None => self.arriving.recv().ok(),
        }
    }

    fn admit(&mut self, command: Command, report: &dyn Fn(Event)) {
        let supersedes = |old: &Command| match &command {
            Command::Shutdown => true,
            Command::LoadModel(_) => matches!(
                old,
                Command::LoadModel(_)
                    | Command::Generate { .. }
                    | Command::Render { .. }
                    | Command::Rethink { .. }
                    | Command::Overlay { .. }
            ),
            Command::Generate { .. } | Command::Stop => matches!(old, Command::Generate { .. }),
            Command::Render { .. } => matches!(old, Command::Render { .. }),
            Command::Rethink { .. } => matches!(old, Command::Rethink { .. }),
            Command::Overlay { .. } => matches!(old, Command::Overlay { .. }),
            Command::Decode { .. }
            | Command::DecodeStep { .. }
            | Command::Encode { .. }
            | Command::Swatches(_) => false,
        };
        self.waiting.retain(|old| {
            let pointless = supersedes(old);
            if let (true, Command::Generate { run, .. }) = (pointless, old) {
                report(Event::Stopped { run: *run });
            }
            !pointless
        });
        self.waiting.push_back(command);
    }

    /// Whether something waits that ends the run in progress.
    fn interrupts(&self) -> bool {
        self.waiting.iter().any(|command| !command.is_small())
    }

    /// The next command that can be answered between two steps.
    fn next_small(&mut self) -> Option<Command> {
        let at = self.waiting.iter().position(Command::is_small)?;
        self.waiting.remove(at)
    }
}

impl Command {
    /// Whether a run can go on after this.
    fn is_small(&self) -> bool {
        matches!(
            self,
            Self::Render { .. }
                | Self::Rethink { .. }
                | Self::Decode { .. }
                | Self::DecodeStep { .. }
                | Self::Overlay { .. }
                | Self::Encode { .. }
                | Self::Swatches(_)
        )
    }
}

/// The compute thread's state.
struct Desk<'a, W, M> {
    make: M,
    worker: Option<W>,
    /// The model last loaded, to be loaded again after a panic.
    source: Option<ModelSource>,
    inbox: Inbox,
    report: &'a dyn Fn(Event),
    /// The run in progress, so that a panic can be blamed on it.
    run: Option<RunId>,
}

impl<W: Worker, M: FnMut() -> Result<W, String>> Desk<'_, W, M> {
    fn serve(&mut self) {
        while let Some(command) = self.inbox.next(self.report) {
            if let Command::Shutdown = command {
                return;
            }
            if let Command::Generate { run, .. } = &command {
                self.run = Some(*run);
            }
            // What a panic leaves half done is the worker, and that is dropped.
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.handle(command))) {
                let reason = match self.worker.take().map(|worker| worker.health()) {
                    Some(Err(lost)) => first_capital(&lost),
                    _ => format!("The computation broke off ({})", panic_line(panic.as_ref())),
                };
                self.fail(format!(
                    "{reason}. Press Generate to load the model again and go on; if that does not \
                     help, start with --device cpu.",
                ));
            }
            self.run = None;
        }
    }

    fn fail(&self, text: String) {
        (self.report)(Event::Failed { run: self.run, text });
    }

    fn handle(&mut self, command: Command) {
        match command {
            Command::LoadModel(source) => self.load(source),
            Command::Generate { run, settings, start, watched } => {
                if self.recover() {
                    self.generate(run, &settings, start.map(|start| *start), watched);
                }
            }
            // Nothing is running; the end of the thread is dealt with in `serve`.
            Command::Stop | Command::Shutdown => {}
            small => {
                // What someone waits for is worth a model that a panic took; the rest is asked again.
                let awaited = matches!(
                    small,
                    Command::DecodeStep { .. } | Command::Decode { .. } | Command::Encode { .. }
                );
                if awaited && !self.recover() {
                    return;
                }
                if let (Some(worker), Some(_)) = (&self.worker, &self.source) {
                    answer(worker, small, self.report);
                }
            }
        }
    }

    /// Makes a worker where there is none.
    fn employ(&mut self) -> Option<&mut W> {
        if self.worker.is_none() {
            match (self.make)() {
                Ok(worker) => self.worker = Some(worker),
                Err(text) => self.fail(text),
            }
        }
        self.worker.as_mut()
    }

    fn load(&mut self, source: ModelSource) {
        match self.read(&source) {
            Some(Ok(info)) => {
                self.source = Some(source);
                (self.report)(Event::ModelReady(Arc::new(info)));
            }
            Some(Err(text)) => self.fail(text),
            None => {}
        }
    }

    /// Reads a model with the worker at hand, or with a new one. Without the model a new one goes again:
    /// who has none is to load the last good one.
    fn read(&mut self, source: &ModelSource) -> Option<Result<ModelInfo, String>> {
        let new = self.worker.is_none();
        let read = self.employ()?.load(source);
        if new && read.is_err() {
            self.worker = None;
        }
        Some(read)
    }

    /// Whether there is a model to run, after an attempt to bring one back that a panic took.
    fn recover(&mut self) -> bool {
        if self.worker.is_none()
            && let Some(source) = self.source.clone()
        {
            return match self.read(&source) {
                Some(Ok(_)) => true,
                Some(Err(text)) => {
                    self.fail(text);
                    false
                }
                None => false,
            };
        }
        if self.source.is_none() {
            self.fail(
                "No model is loaded yet: open one, or drop its file on the window.".to_owned(),
            );
        }
        self.source.is_some()
    }

    fn generate(
        &mut self,
        run: RunId,
        settings: &SampleSettings,
        start: Option<State>,
        watched: bool,
    ) {
        let (Some(worker), report) = (&self.worker, self.report) else { return };
        let begun = Instant::now();
        let mut trajectory = match worker.begin(settings, start) {
            Ok(trajectory) => trajectory,
            Err(text) => return self.fail(text),
        };
        report(Event::Started { run });
        loop {
            self.inbox.absorb(report);
            while let Some(command) = self.inbox.next_small() {
                answer(worker, command, report);
            }
            if self.inbox.interrupts() {
                return report(Event::Stopped { run });
            }
            let Some(record) = trajectory.advance() else { break };
            let predicted = watched.then(|| decoded(worker, &record.prediction));
            report(Event::Step { run, record: Arc::new(record), predicted });
        }
        let codes = trajectory.codes();
        let pictures = decoded_codes(worker, &codes, settings.labels.len());
        report(Event::Finished { run, codes, pictures, wall: begun.elapsed() });
    }
}

/// Answers a command that a run can go on after.
fn answer<W: Worker>(worker: &W, command: Command, report: &dyn Fn(Event)) {
    match command {
        Command::Render { key, record } => {
            let pictures = decode_step(worker, key.view, key.position, &record);
            report(Event::Rendered { key, pictures });
        }
        Command::DecodeStep { ticket, view, position, record } => {
            let pictures = decode_step(worker, view, position, &record);
            report(Event::Decoded { ticket, pictures });
        }
        Command::Rethink { ticket, record, settings } => match worker.rethink(&record, &settings) {
            Ok(record) => {
                let predicted = decoded(worker, &record.prediction);
                report(Event::Rethought { ticket, record: Arc::new(record), predicted });
            }
            Err(text) => report(Event::Failed { run: None, text }),
        },
        Command::Decode { ticket, codes, batch } => {
            let pictures = decoded_codes(worker, &codes, batch);
            report(Event::Decoded { ticket, pictures });
        }
        Command::Overlay { ticket, shape, drawing } => {
            let pictures = worker.overlay(shape, &drawing);
            report(Event::Overlaid { ticket, pictures });
        }
        Command::Encode { ticket, picture } => match worker.encode(&picture) {
            Ok(codes) => report(Event::Encoded { ticket, codes }),
            Err(text) => report(Event::Failed { run: None, text }),
        },
        Command::Swatches(codes) => {
            let pictures = worker.swatches(&codes);
            let (found, asked) = (pictures.len(), codes.len());
            assert_eq!(found, asked, "the device gave back {found} of {asked} swatches");
            report(Event::Swatches(codes.into_iter().zip(pictures).collect()));
        }
        _ => {}
    }
}

/// A view of the step at `position`, one picture an image of the batch.
fn decode_step<W: Worker>(
    worker: &W,
    view: View,
    position: usize,
    record: &StepRecord,
) -> Pictures {
    match view {
        View::Predicted => decoded(worker, &record.prediction),
        View::Likeliest => decoded_codes(worker, &record.likeliest, record.x.shape.batch),
        View::State if position > record.step => decoded(worker, &record.x_next),
        View::State => decoded(worker, &record.x),
    }
}

/// One picture an image of the batch, and no fewer.
fn decoded<W: Worker>(worker: &W, latents: &Latents) -> Pictures {
    whole(worker.decode(latents), latents.shape.batch)
}

/// One picture a grid of codes, and no fewer.
fn decoded_codes<W: Worker>(worker: &W, codes: &[u32], batch: usize) -> Pictures {
    whole(worker.decode_codes(codes, batch), batch)
}

/// All pictures of a batch. Where the device gave back fewer, the run or the question is given up, by the
/// panic that `serve` reports.
fn whole(pictures: Pictures, batch: usize) -> Pictures {
    let found = pictures.count();
    assert_eq!(found, batch, "the device gave back {found} of {batch} pictures");
    pictures
}

/// The first line of what a panic said.
pub(super) fn panic_line(panic: &(dyn Any + Send)) -> &str {
    panic_text(panic).lines().next().unwrap_or_default()
}

fn first_capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::studio::testing::fake::{FakeWorker, Gate, settings};

    fn engine(worker: FakeWorker) -> Engine {
        let engine = Engine::spawn(move || Ok(worker.clone()), || {}).unwrap();
        engine.send(Command::LoadModel(ModelSource::Embedded));
        assert!(matches!(engine.wait(), Event::ModelReady(_)));
        engine
    }

    fn generate(run: RunId, settings: SampleSettings) -> Command {
        Command::Generate { run, settings, start: None, watched: true }
    }

    /// One word an event, with the run's number.
    fn name(event: &Event) -> String {
        match event {
            Event::ModelReady(_) => "ready".to_owned(),
            Event::Started { run } => format!("started {run}"),
            Event::Step { run, record, .. } => format!("step {run}.{}", record.step),
            Event::Finished { run, .. } => format!("finished {run}"),
            Event::Stopped { run } => format!("stopped {run}"),
            Event::Failed { run, .. } => format!("failed {run:?}"),
            Event::Rendered { key, .. } => format!("rendered {}", key.position),
            Event::Rethought { ticket, .. } => format!("rethought {ticket}"),
            Event::Decoded { ticket, .. } => format!("decoded {ticket}"),
            Event::Overlaid { ticket, .. } => format!("overlaid {ticket}"),
            Event::Encoded { ticket, .. } => format!("encoded {ticket}"),
            Event::Swatches(list) => format!("swatches {}", list.len()),
        }
    }

    fn names_until(engine: &Engine, last: &str) -> Vec<String> {
        let mut names = Vec::new();
        while names.last().map(String::as_str) != Some(last) {
            names.push(name(&engine.wait()));
        }
        names
    }

    #[test]
    fn a_run_reports_its_steps_in_order() {
        let engine = engine(FakeWorker::default());
        engine.send(generate(1, settings(2, 3)));
        let names = names_until(&engine, "finished 1");
        assert_eq!(names, ["started 1", "step 1.0", "step 1.1", "step 1.2", "finished 1"]);
    }

    #[test]
    fn a_new_run_supersedes_the_old_one_within_one_step() {
        let (gate, worker) = FakeWorker::gated();
        let engine = engine(worker);
        engine.send(generate(1, settings(1, 50)));
        assert_eq!(name(&engine.wait()), "started 1");
        gate.let_pass(1);
        assert_eq!(name(&engine.wait()), "step 1.0");
        // The thread is in the second step, or before it, and can at most end that one.
        engine.send(generate(2, settings(1, 2)));
        gate.let_pass(1000);
        let names = names_until(&engine, "finished 2");
        let steps = names.iter().filter(|name| name.starts_with("step 1.")).count();
        assert!(steps <= 1, "{names:?}");
        assert!(names.contains(&"stopped 1".to_owned()), "{names:?}");
    }

    #[test]
    fn of_many_requests_only_the_newest_runs() {
        let (gate, worker) = FakeWorker::gated();
        let engine = engine(worker);
        engine.send(generate(1, settings(1, 50)));
        assert_eq!(name(&engine.wait()), "started 1");
        for run in 2..=9 {
            engine.send(generate(run, settings(1, 1)));
        }
        gate.let_pass(1000);
        let names = names_until(&engine, "finished 9");
        for run in 2..=8 {
            assert!(!names.contains(&format!("started {run}")), "{names:?}");
            assert!(names.contains(&format!("stopped {run}")), "{names:?}");
        }
    }

    #[test]
    fn stop_ends_a_run_and_the_next_one_works() {
        let (gate, worker) = FakeWorker::gated();
        let engine = engine(worker);
        engine.send(generate(1, settings(1, 50)));
        assert_eq!(name(&engine.wait()), "started 1");
        engine.send(Command::Stop);
        gate.let_pass(1000);
        let names = names_until(&engine, "stopped 1");
        assert!(names.len() <= 2, "{names:?}");
        engine.send(generate(2, settings(1, 1)));
        names_until(&engine, "finished 2");
    }

    #[test]
    fn views_and_swatches_are_answered_during_a_run() {
        let (gate, engine, record) = after_one_step();
        for position in [3, 0] {
            let key = PictureKey { run: 1, position, view: View::State, ticket: 0 };
            engine.send(Command::Render { key, record: Arc::clone(&record) });
        }
        engine.send(Command::Swatches(vec![3, 4]));
        gate.let_pass(1000);
        let names = names_until(&engine, "finished 1");
        assert!(names.contains(&"rendered 0".to_owned()), "{names:?}");
        assert!(names.contains(&"swatches 2".to_owned()), "{names:?}");
        assert!(!names.contains(&"stopped 1".to_owned()), "{names:?}");
    }

    #[test]
    fn a_refused_setting_is_reported_with_its_run() {
        let engine = engine(FakeWorker::default());
        engine.send(generate(7, settings(0, 3)));
        let Event::Failed { run, text } = engine.wait() else { panic!("it did not fail") };
        assert_eq!(run, Some(7));
        assert!(text.contains("no picture was asked for"), "{text}");
    }

    #[test]
    fn a_panic_is_reported_and_the_next_run_works() {
        let worker = FakeWorker { panics_at: Some((13, 1)), ..FakeWorker::default() };
        let engine = engine(worker);
        let unlucky = SampleSettings { seed: 13, ..settings(1, 3) };
        engine.send(generate(1, unlucky));
        let names = names_until(&engine, "failed Some(1)");
        assert_eq!(names, ["started 1", "step 1.0", "failed Some(1)"]);
        engine.send(generate(2, settings(1, 1)));
        names_until(&engine, "finished 2");
    }

    #[test]
    fn without_a_device_or_a_model_it_says_so() {
        let none = || Err::<FakeWorker, _>("the device is asleep".to_owned());
        let engine = Engine::spawn(none, || {}).unwrap();
        engine.send(Command::LoadModel(ModelSource::Embedded));
        assert!(
            matches!(engine.wait(), Event::Failed { run: None, text } if text.contains("asleep"))
        );
        engine.send(generate(1, settings(1, 1)));
        assert!(matches!(engine.wait(), Event::Failed { run: Some(1), .. }));
    }

    #[test]
    fn a_bad_file_leaves_the_model_that_was_there() {
        let engine = engine(FakeWorker::default());
        engine.send(Command::LoadModel(ModelSource::File("broken.safetensors".into())));
        let Event::Failed { run: None, text } = engine.wait() else { panic!("it did not fail") };
        assert!(text.contains("broken.safetensors"), "{text}");
        engine.send(generate(1, settings(1, 1)));
        names_until(&engine, "finished 1");
    }

    #[test]
    fn a_bad_file_after_a_panic_leaves_the_model_that_was_there() {
        let worker = FakeWorker { panics_at: Some((13, 1)), ..FakeWorker::default() };
        let engine = engine(worker);
        engine.send(generate(1, SampleSettings { seed: 13, ..settings(1, 3) }));
        names_until(&engine, "failed Some(1)");
        engine.send(Command::LoadModel(ModelSource::File("broken.safetensors".into())));
        names_until(&engine, "failed None");
        engine.send(generate(2, settings(1, 1)));
        names_until(&engine, "finished 2");
    }

    /// A run of three steps that has made one and waits at the gate.
    fn after_one_step() -> (Gate, Engine, Arc<StepRecord>) {
        let (gate, worker) = FakeWorker::gated();
        let engine = engine(worker);
        engine.send(generate(1, settings(1, 3)));
        engine.wait();
        gate.let_pass(1);
        let Event::Step { record, .. } = engine.wait() else { panic!("no step came first") };
        (gate, engine, record)
    }

    #[test]
    fn questions_are_answered_during_a_run() {
        let (gate, engine, record) = after_one_step();
        for ticket in 1..=2 {
            let (record, settings) = (Arc::clone(&record), Box::new(settings(1, 3)));
            engine.send(Command::Rethink { ticket, record, settings });
        }
        engine.send(Command::Decode { ticket: 3, codes: record.likeliest.clone(), batch: 1 });
        let picture = Box::new(RgbImage::new(64, 64));
        engine.send(Command::Encode { ticket: 4, picture });
        gate.let_pass(1000);
        let names = names_until(&engine, "finished 1");
        for wanted in ["rethought 2", "decoded 3", "encoded 4"] {
            assert!(names.contains(&wanted.to_owned()), "{wanted}: {names:?}");
        }
    }

    #[test]
    fn of_many_overlays_the_newest_is_answered_before_the_next_step() {
        let (gate, engine, record) = after_one_step();
        for ticket in 1..=3 {
            let drawing = Drawing::Entropy { values: record.entropy().to_vec(), top: 6.0 };
            engine.send(Command::Overlay { ticket, shape: record.x.shape, drawing });
        }
        gate.let_pass(1000);
        let names = names_until(&engine, "finished 1");
        let at = |wanted: &str| names.iter().position(|name| name == wanted);
        // The thread may have been in the second step already, and looks up after it.
        assert!(at("overlaid 3").unwrap() < at("step 1.2").unwrap(), "{names:?}");
        assert!(!names.contains(&"stopped 1".to_owned()), "{names:?}");
        // A stand-in shares no GPU, and says so.
        let drawing = Drawing::Changes { before: vec![1], after: vec![2], mark: [9; 4] };
        engine.send(Command::Overlay { ticket: 4, shape: record.x.shape, drawing });
        let Event::Overlaid { ticket: 4, pictures: None } = engine.wait() else {
            panic!("another answer")
        };
    }

    #[test]
    fn a_run_that_nobody_watches_decodes_nothing_on_the_way() {
        let engine = engine(FakeWorker::default());
        let settings = settings(1, 2);
        engine.send(Command::Generate { run: 1, settings, start: None, watched: false });
        engine.wait();
        let Event::Step { predicted: None, .. } = engine.wait() else { panic!("it was decoded") };
        names_until(&engine, "finished 1");
    }
}
