//! What an export needs of a run, handed over bit by bit: pictures that were let go of are decoded
//! again by the compute thread meanwhile, and no more than a few of them wait in memory.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::time::{Duration, Instant};

use crate::flow::StepRecord;
use crate::studio::base::jobs::Progress;
use crate::studio::engine::pictures::Pictures;
use crate::studio::engine::{Question, RunId, View};
use crate::studio::session::Session;
use crate::studio::session::run::Run;

/// Portions that wait for their job.
const AHEAD: usize = 2;
/// How much of a frame of the window goes into feeding.
const SLICE: Duration = Duration::from_millis(4);

/// Something that an export needs.
#[derive(Debug, Clone)]
pub enum Wanted {
    /// Pictures that are known.
    Ready(Pictures),
    /// Pictures of a step.
    Pictures(usize, View),
    /// Pictures of a belief that is not the run's own.
    Belief(usize, View, Arc<StepRecord>),
    /// A step's record.
    Record(usize),
}

/// Something that an export needed.
#[derive(Debug, Clone)]
pub enum Portion {
    /// Pictures on the host.
    Pictures(Pictures),
    /// A step.
    Record(Arc<StepRecord>),
}

/// What is still to be handed to a job.
#[derive(Debug)]
pub struct Feed {
    run: RunId,
    wanted: VecDeque<Wanted>,
    /// The request for the first of them.
    ticket: Option<u64>,
    held: Option<Result<Portion, String>>,
    out: SyncSender<Result<Portion, String>>,
}

/// A job's end of a feed.
#[derive(Debug)]
pub struct FeedReceiver {
    portions: Receiver<Result<Portion, String>>,
}

/// Why a job got no portion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FeedError {
    /// It was cancelled.
    Cancelled,
    /// What is wrong, in words.
    Failed(String),
}

impl FeedReceiver {
    /// The next portion, waiting for it.
    ///
    /// # Errors
    /// The job was cancelled, or there is none.
    pub fn next(&self, progress: &Progress) -> Result<Portion, FeedError> {
        loop {
            if progress.is_cancelled() {
                return Err(FeedError::Cancelled);
            }
            match self.portions.recv_timeout(Duration::from_millis(50)) {
                Ok(portion) => {
                    // The window has room for more.
                    progress.stir();
                    return portion.map_err(FeedError::Failed);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(FeedError::Failed("the run is gone".to_owned()));
                }
            }
        }
    }

    /// As [`FeedReceiver::next`], for one that asked for pictures.
    ///
    /// # Errors
    /// As [`FeedReceiver::next`].
    pub fn pictures(&self, progress: &Progress) -> Result<Pictures, FeedError> {
        match self.next(progress)? {
            Portion::Pictures(pictures) => Ok(pictures),
            Portion::Record(_) => Err(FeedError::Failed("a step came for a picture".to_owned())),
        }
    }

    /// As [`FeedReceiver::next`], for one that asked for steps.
    ///
    /// # Errors
    /// As [`FeedReceiver::next`].
    pub fn record(&self, progress: &Progress) -> Result<Arc<StepRecord>, FeedError> {
        match self.next(progress)? {
            Portion::Record(record) => Ok(record),
            Portion::Pictures(_) => Err(FeedError::Failed("a picture came for a step".to_owned())),
        }
    }
}

impl Feed {
    /// A feed of what is wanted of a run, and the end of it that a job takes.
    pub fn new(run: RunId, wanted: impl IntoIterator<Item = Wanted>) -> (Self, FeedReceiver) {
        let (out, portions) = mpsc::sync_channel(AHEAD);
        let wanted = wanted.into_iter().collect();
        (Self { run, wanted, ticket: None, held: None, out }, FeedReceiver { portions })
    }

    /// The run that it feeds on.
    pub fn run(&self) -> RunId {
        self.run
    }

    /// Ends it, since the compute thread broke off what it waits for.
    pub fn fail(&mut self, text: &str) {
        if self.ticket.take().is_some() {
            self.wanted.clear();
            self.held = Some(Err(text.to_owned()));
        }
    }
}

impl Feed {
    /// Once a frame: hands over what there is room for; says whether there is more to come. `old` are
    /// runs that are no longer shown.
    pub fn follow(&mut self, session: &mut Session, old: &[Run]) -> bool {
        let begun = Instant::now();
        loop {
            if let Some(portion) = self.held.take() {
                match self.out.try_send(portion) {
                    Ok(()) => {}
                    Err(TrySendError::Full(portion)) => {
                        self.held = Some(portion);
                        return true;
                    }
                    // The job has ended.
                    Err(TrySendError::Disconnected(_)) => return false,
                }
            }
            if begun.elapsed() > SLICE {
                session.jobs.wake().call();
                return true;
            }
            let Some(wanted) = self.wanted.front().cloned() else { return false };
            match self.portion(&wanted, session, old) {
                Ok(Some(portion)) => {
                    self.wanted.pop_front();
                    self.ticket = None;
                    self.held = Some(Ok(portion));
                }
                Ok(None) => return true,
                Err(text) => {
                    self.wanted.clear();
                    self.held = Some(Err(text));
                }
            }
        }
    }

    /// What is wanted, if it is there; else it is asked for, once.
    fn portion(
        &mut self,
        wanted: &Wanted,
        session: &mut Session,
        old: &[Run],
    ) -> Result<Option<Portion>, String> {
        let on_host = |pictures: &Pictures| pictures.host().is_some();
        if let Some(asked) = self.ticket
            && let Some(pictures) = session.take_decoded(asked)
        {
            return match on_host(&pictures) {
                true => Ok(Some(Portion::Pictures(pictures))),
                false => Err("its pictures could not be read back from the GPU".to_owned()),
            };
        }
        if let Wanted::Ready(pictures) = wanted
            && on_host(pictures)
        {
            return Ok(Some(Portion::Pictures(pictures.clone())));
        }
        let mut known = session.run.iter().chain(old);
        let run = known.find(|run| run.id == self.run).ok_or("the run is gone")?;
        let unreadable =
            |position: usize| format!("step {} could not be read back from the disk", position + 1);
        let (position, view, belief) = match wanted {
            Wanted::Record(position) => {
                let record = run.record(*position).ok_or_else(|| unreadable(*position))?;
                return Ok(Some(Portion::Record(record)));
            }
            Wanted::Pictures(position, view) => {
                let known = run.pictures(*position, *view).filter(|pictures| on_host(pictures));
                if let Some(pictures) = known {
                    return Ok(Some(Portion::Pictures(pictures.clone())));
                }
                (*position, *view, None)
            }
            Wanted::Belief(position, view, record) => (*position, *view, Some(record)),
            Wanted::Ready(_) => return Err("its pictures are on the GPU alone".to_owned()),
        };
        if !run.is_of(session.model.as_ref()) {
            let name = &run.model.card.name;
            return Err(format!(
                "some of its pictures have to be decoded again by {name}: open it"
            ));
        }
        // What is asked while a model is being read is answered by that one.
        if self.ticket.is_none() && session.loading.is_none() {
            let request = request(run, position, view, belief);
            self.ticket = Some(request.ok_or_else(|| unreadable(position))?.send(session));
        }
        Ok(None)
    }
}

/// What to ask the compute thread for to get pictures of a run.
fn request(
    run: &Run,
    position: usize,
    view: View,
    belief: Option<&Arc<StepRecord>>,
) -> Option<Request> {
    match &run.end {
        Some(end) if run.is_end(position) && view != View::State && belief.is_none() => {
            Some(Request::Codes(end.codes.clone(), run.shape.batch))
        }
        _ => {
            let record = belief.cloned().or_else(|| run.record(position))?;
            Some(Request::Step(view, position, record))
        }
    }
}

enum Request {
    Codes(Vec<u32>, usize),
    Step(View, usize, Arc<StepRecord>),
}

impl Request {
    /// Sends it; gives the number that its answer comes under.
    fn send(self, session: &mut Session) -> u64 {
        match self {
            Self::Codes(codes, batch) => session.ask_decode(codes, batch),
            Self::Step(view, position, record) => {
                let ticket = session.number_ticket();
                session.ask(Question::DecodeStep { ticket, view, position, record });
                ticket
            }
        }
    }
}
