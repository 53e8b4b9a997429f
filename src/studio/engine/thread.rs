//! The compute thread.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::inbox::Inbox;
use super::message::{
    Answer, Command, Event, ModelInfo, ModelSource, Question, RunEvent, RunId, Sketch, View,
};
use super::pictures::Pictures;
use super::worker::Worker;
use crate::fault::panic_line;
use crate::flow::{Latents, SampleSettings, State, StepRecord};

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
                ComputeLoop {
                    make,
                    worker: None,
                    source: None,
                    inbox: Inbox::new(inbox),
                    report: &report,
                    doing: Doing::Nothing,
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

/// What the thread does, so that a panic can be blamed on it.
#[derive(Debug, Clone, Copy)]
enum Doing {
    Nothing,
    Loading,
    Running(RunId),
    Sketching,
    Answering,
}

impl From<&Command> for Doing {
    fn from(command: &Command) -> Self {
        match command {
            Command::Load(_) => Self::Loading,
            Command::Run { run, .. } => Self::Running(*run),
            Command::Sketch(_) => Self::Sketching,
            Command::Ask(_) => Self::Answering,
            Command::Stop | Command::Shutdown => Self::Nothing,
        }
    }
}

/// The compute thread's state.
struct ComputeLoop<'a, W, M> {
    make: M,
    worker: Option<W>,
    /// The model last loaded, to be loaded again after a panic.
    source: Option<ModelSource>,
    inbox: Inbox,
    report: &'a dyn Fn(Event),
    doing: Doing,
}

impl<W: Worker, M: FnMut() -> Result<W, String>> ComputeLoop<'_, W, M> {
    fn serve(&mut self) {
        while let Some(command) = self.inbox.next(self.report) {
            if let Command::Shutdown = command {
                return;
            }
            self.doing = Doing::from(&command);
            // What a panic leaves half done is the worker, and that is dropped.
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.handle(command))) {
                let reason = match self.worker.take().map(|worker| worker.health()) {
                    Some(Err(lost)) => first_capital(&lost),
                    _ => format!("The computation failed ({})", panic_line(panic.as_ref())),
                };
                self.fail(format!(
                    "{reason}. Press Generate to load the model again and go on; if that does not \
                     help, start with --device cpu.",
                ));
            }
            self.doing = Doing::Nothing;
        }
    }

    fn fail(&self, text: String) {
        (self.report)(match self.doing {
            Doing::Loading => Event::LoadFailed(text),
            Doing::Running(run) => Event::Run(run, RunEvent::Failed(text)),
            Doing::Sketching => Event::Sketched(Sketch::Failed(text)),
            Doing::Answering | Doing::Nothing => Event::AskFailed(text),
        });
    }

    fn handle(&mut self, command: Command) {
        match command {
            Command::Load(source) => self.load(source),
            Command::Run { run, settings, start, watched } => {
                if self.recover() {
                    self.run(run, &settings, start.map(|start| *start), watched);
                }
            }
            Command::Sketch(settings) => {
                let sketch = self.sketch(&settings);
                (self.report)(Event::Sketched(sketch));
            }
            Command::Ask(question) => {
                if question.is_awaited() && !self.recover() {
                    return;
                }
                if let (Some(worker), Some(_)) = (&self.worker, &self.source) {
                    answer(worker, question, self.report);
                }
            }
            // Nothing is running; the end of the thread is dealt with in `serve`.
            Command::Stop | Command::Shutdown => {}
        }
    }

    /// Makes a worker where there is none.
    fn ensure_worker(&mut self) -> Option<&mut W> {
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
        let read = self.ensure_worker()?.load(source);
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

    fn run(&mut self, run: RunId, settings: &SampleSettings, start: Option<State>, watched: bool) {
        let (Some(worker), report) = (&self.worker, self.report) else { return };
        let tell = |event| report(Event::Run(run, event));
        let begun = Instant::now();
        let mut trajectory = match worker.begin(settings, start) {
            Ok(trajectory) => trajectory,
            Err(text) => return self.fail(text),
        };
        tell(RunEvent::Started);
        loop {
            self.inbox.absorb(report);
            while let Some(question) = self.inbox.next_question() {
                answer(worker, question, report);
            }
            if self.inbox.interrupts() {
                return tell(RunEvent::Stopped);
            }
            let Some(record) = trajectory.advance() else { break };
            let predicted = watched.then(|| decoded(worker, &record.prediction));
            tell(RunEvent::Step { record: Arc::new(record), predicted });
        }
        let codes = trajectory.codes();
        let pictures = decoded_codes(worker, &codes, settings.labels.len());
        tell(RunEvent::Finished { codes, pictures, wall: begun.elapsed() });
    }
}

impl<W: Worker, M> ComputeLoop<'_, W, M> {
    /// Makes pictures until something else is asked for.
    fn sketch(&mut self, settings: &SampleSettings) -> Sketch {
        let Some(worker) = &self.worker else { return Sketch::Dropped };
        let mut trajectory = match worker.begin(settings, None) {
            Ok(trajectory) => trajectory,
            Err(text) => return Sketch::Failed(text),
        };
        loop {
            self.inbox.absorb(self.report);
            if !self.inbox.is_empty() {
                return Sketch::Dropped;
            }
            if trajectory.advance().is_none() {
                break;
            }
        }
        Sketch::Made(decoded_codes(worker, &trajectory.codes(), settings.labels.len()))
    }
}

/// Answers a question.
fn answer<W: Worker>(worker: &W, question: Question, report: &dyn Fn(Event)) {
    let answer = match question {
        Question::Render { key, record } => {
            let pictures = decode_step(worker, key.view, key.position, &record);
            Ok(Answer::Rendered { key, pictures })
        }
        Question::DecodeStep { ticket, view, position, record } => {
            let pictures = decode_step(worker, view, position, &record);
            Ok(Answer::Decoded { ticket, pictures })
        }
        Question::Rethink { ticket, record, settings } => {
            worker.rethink(&record, &settings).map(|record| {
                let predicted = decoded(worker, &record.prediction);
                Answer::Rethought { ticket, record: Arc::new(record), predicted }
            })
        }
        Question::Decode { ticket, codes, batch } => {
            let pictures = decoded_codes(worker, &codes, batch);
            Ok(Answer::Decoded { ticket, pictures })
        }
        Question::Overlay { ticket, shape, drawing } => {
            let pictures = worker.overlay(shape, &drawing);
            Ok(Answer::Overlaid { ticket, pictures })
        }
        Question::Encode { ticket, picture } => {
            worker.encode(&picture).map(|codes| Answer::Encoded { ticket, codes })
        }
        Question::Picture { ticket, about } => {
            let believed = worker.believe(&about);
            believed.map(|belief| Answer::Believed { ticket, belief: Arc::new(belief) })
        }
        Question::Swatches(codes) => {
            let pictures = worker.swatches(&codes);
            let (found, asked) = (pictures.len(), codes.len());
            assert_eq!(found, asked, "the device gave back {found} of {asked} swatches");
            Ok(Answer::Swatches(codes.into_iter().zip(pictures).collect()))
        }
    };
    report(answer.map_or_else(Event::AskFailed, Event::Answered));
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

fn first_capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
