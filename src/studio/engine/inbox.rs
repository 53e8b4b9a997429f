//! Commands that wait.

use std::collections::VecDeque;
use std::sync::mpsc::Receiver;

use super::message::{Command, Event, Question, RunEvent, Sketch};

/// Commands that have arrived and wait, with those that newer ones make pointless left out.
pub(super) struct Inbox {
    arriving: Receiver<Command>,
    waiting: VecDeque<Command>,
}

impl Inbox {
    pub(super) fn new(arriving: Receiver<Command>) -> Self {
        Self { arriving, waiting: VecDeque::new() }
    }

    /// Takes in what has arrived, without waiting.
    pub(super) fn absorb(&mut self, report: &dyn Fn(Event)) {
        while let Ok(command) = self.arriving.try_recv() {
            self.admit(command, report);
        }
    }

    /// The next command, waiting for one if need be; `None` when the window has gone.
    pub(super) fn next(&mut self, report: &dyn Fn(Event)) -> Option<Command> {
        self.absorb(report);
        match self.waiting.pop_front() {
            Some(command) => Some(command),
            None => self.arriving.recv().ok(),
        }
    }

    fn admit(&mut self, command: Command, report: &dyn Fn(Event)) {
        self.waiting.retain(|old| {
            let pointless = supersedes(&command, old);
            match old {
                Command::Run { run, .. } if pointless => {
                    report(Event::Run(*run, RunEvent::Stopped));
                }
                Command::Sketch(_) if pointless => report(Event::Sketched(Sketch::Dropped)),
                Command::Load(_)
                | Command::Run { .. }
                | Command::Sketch(_)
                | Command::Stop
                | Command::Ask(_)
                | Command::Shutdown => {}
            }
            !pointless
        });
        self.waiting.push_back(command);
    }

    /// Whether something waits that ends the run in progress.
    pub(super) fn interrupts(&self) -> bool {
        self.waiting.iter().any(|command| !matches!(command, Command::Ask(_) | Command::Sketch(_)))
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The next question, which can be answered between two steps.
    pub(super) fn next_question(&mut self) -> Option<Question> {
        let at = self.waiting.iter().position(|command| matches!(command, Command::Ask(_)))?;
        match self.waiting.remove(at) {
            Some(Command::Ask(question)) => Some(question),
            _ => None,
        }
    }
}

/// Whether `new` makes `old` pointless.
fn supersedes(new: &Command, old: &Command) -> bool {
    match (new, old) {
        (Command::Shutdown, _) | (_, Command::Sketch(_)) => true,
        (Command::Load(_), Command::Load(_) | Command::Run { .. }) => true,
        // A picture's codes are those of the model that is left.
        (Command::Load(_), Command::Ask(Question::Picture { .. })) => true,
        // Others without a key are asked by someone who waits, of whatever model there is.
        (Command::Load(_), Command::Ask(old)) => old.key().is_some(),
        (Command::Run { .. } | Command::Stop, Command::Run { .. }) => true,
        (Command::Ask(new), Command::Ask(old)) => new.key().is_some() && new.key() == old.key(),
        (
            Command::Load(_)
            | Command::Run { .. }
            | Command::Sketch(_)
            | Command::Stop
            | Command::Ask(_),
            _,
        ) => false,
    }
}
