//! A thread that computes flows in the plane.
//!
//! It takes three kinds of questions, each with a place for one: a newer question of a kind takes the
//! place of the older, and breaks it off where it is being computed. A field is answered between two
//! steps of a flow, and a flow between two steps of the exact one, so that what is looked at never
//! waits for what is long.

#[cfg(test)]
mod tests;

use std::io;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::plane::{Plane, Point};
use crate::flow::codebooks::Frequencies;
use crate::flow::{
    LatentShape, Latents, Oracle, Predictor, SampleSettings, Sampler, Solver, StepRecord,
    Temperature,
};
use crate::studio::base::worker::guarded;

/// A flow to be computed: one particle a label.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// The codes.
    pub plane: Plane,
    /// Solver, grid, temperature and the rest.
    pub settings: SampleSettings,
}

impl Question {
    /// Least intervals of the exact flow, and least of them in one of the interval's of the question.
    const EXACT_STEPS: usize = 192;
    const FINER: usize = 3;

    /// How many times finer the exact flow's grid is.
    fn refinement(&self) -> usize {
        Self::EXACT_STEPS.div_ceil(self.settings.steps.max(1)).max(Self::FINER)
    }

    /// The same question for the exact flow: a fine grid that has every grid point of this one.
    pub fn exact(&self) -> Self {
        let settings = SampleSettings {
            solver: Solver::Rk4,
            steps: self.settings.steps * self.refinement(),
            eta: 0.0,
            ..self.settings.clone()
        };
        Self { plane: self.plane.clone(), settings }
    }
}

/// A flow at one grid point.
#[derive(Debug, Clone)]
pub struct Moment {
    /// The time.
    pub t: f32,
    /// Temperature of the posterior there.
    pub temperature: f32,
    /// Mean entropy of the posterior there, in nats.
    pub entropy: f32,
    /// Where the particles are.
    pub x: Vec<Point>,
    /// Their posterior means.
    pub mu: Vec<Point>,
}

/// A flow as a solver took it.
#[derive(Debug)]
pub struct Flow {
    /// What was asked.
    pub question: Question,
    /// Every grid point but the last.
    pub moments: Vec<Moment>,
    /// Where the particles are at `t = 1`.
    pub end: Vec<Point>,
    /// The code that each of them ends on.
    pub codes: Vec<u32>,
    /// How often each code came up, against its prior.
    pub frequencies: Frequencies,
    /// Evaluations of the posterior, of one particle.
    pub evaluations: usize,
    /// Time that it took.
    pub wall: Duration,
}

impl Flow {
    /// Number of the interval in which `t` lies, and how far into it, from 0 to 1.
    pub fn interval(&self, t: f32) -> (usize, f32) {
        let last = self.moments.len().saturating_sub(1);
        let at = self.moments.partition_point(|moment| moment.t <= t).saturating_sub(1).min(last);
        let from = self.moments.get(at).map_or(0.0, |moment| moment.t);
        let to = self.time(at + 1);
        (at, ((t - from) / (to - from).max(f32::MIN_POSITIVE)).clamp(0.0, 1.0))
    }

    /// Time of a grid point; 1 from the last one on.
    pub fn time(&self, point: usize) -> f32 {
        self.moments.get(point).map_or(1.0, |moment| moment.t)
    }

    /// Where the particles are at a grid point.
    pub fn states(&self, point: usize) -> &[Point] {
        self.moments.get(point).map_or(&self.end, |moment| &moment.x)
    }

    /// Where a particle is at time `t`: solvers of these kinds go straight from grid point to grid
    /// point, as far as anyone can see.
    pub fn place(&self, particle: usize, t: f32) -> Option<Point> {
        let (at, part) = self.interval(t);
        let from = self.states(at).get(particle)?;
        let to = self.states(at + 1).get(particle)?;
        Some(between(*from, *to, part))
    }
}

/// The point `part` of the way from one to another.
fn between(from: Point, to: Point, part: f32) -> Point {
    [from[0] + part * (to[0] - from[0]), from[1] + part * (to[1] - from[1])]
}

/// A flow on a grid so fine that its error cannot be seen, at the grid points of a coarser one.
#[derive(Debug)]
pub struct Exact {
    /// What was asked; see [`Question::exact`].
    pub question: Question,
    /// Where the particles are, at every grid point of the coarser flow.
    pub states: Vec<Vec<Point>>,
    /// The code that each ends on.
    pub codes: Vec<u32>,
}

impl Exact {
    /// Root mean square distance of the particles of `flow` to these, at one of its grid points.
    pub fn error(&self, flow: &Flow, point: usize) -> Option<f64> {
        let (ours, theirs) = (self.states.get(point)?, flow.states(point));
        let squares = ours
            .iter()
            .zip(theirs)
            .map(|(a, b)| f64::from(a[0] - b[0]).powi(2) + f64::from(a[1] - b[1]).powi(2));
        Some((squares.sum::<f64>() / ours.len().max(1) as f64).sqrt())
    }

    /// How many particles of `flow` end on another code.
    pub fn strayed(&self, flow: &Flow) -> usize {
        self.codes.iter().zip(&flow.codes).filter(|(a, b)| a != b).count()
    }
}

/// Posterior means to be computed at places of one's choice.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldQuestion {
    /// The codes.
    pub plane: Plane,
    /// The time, below 1.
    pub t: f32,
    /// Temperature of the posterior.
    pub temperature: f32,
    /// The places.
    pub points: Vec<Point>,
    /// One more place, of which everything is told.
    pub probe: Option<Point>,
}

/// The posterior at one place.
#[derive(Debug, Clone)]
pub struct Belief {
    /// Where.
    pub x: Point,
    /// Its mean.
    pub mu: Point,
    /// Its entropy in nats.
    pub entropy: f32,
    /// The likeliest codes and their probabilities, likeliest first.
    pub top: Vec<(u32, f32)>,
}

/// The answer to a [`FieldQuestion`].
#[derive(Debug)]
pub struct Field {
    /// What was asked.
    pub question: FieldQuestion,
    /// A posterior mean a place.
    pub mu: Vec<Point>,
    /// The posterior at the probe.
    pub belief: Option<Belief>,
}

/// What the thread answers.
#[derive(Debug)]
pub enum Answer {
    /// A flow.
    Flow(Arc<Flow>),
    /// How far the exact flow is, from 0 to 1.
    ExactSoFar(f32),
    /// The exact flow.
    Exact(Arc<Exact>),
    /// A field.
    Field(Arc<Field>),
    /// A flow that cannot be computed, and why.
    Refused(String),
}

#[derive(Debug, Default)]
struct Slots {
    flow: Option<Question>,
    /// A question that wants its exact flow.
    exact: Option<Question>,
    field: Option<FieldQuestion>,
    closed: bool,
}

#[derive(Debug, Default)]
struct Mailbox {
    slots: Mutex<Slots>,
    bell: Condvar,
}

impl Mailbox {
    fn slots(&self) -> MutexGuard<'_, Slots> {
        // Every change of the slots is one assignment, so that they are whole after any panic.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The window's end of the thread. Dropping it ends the thread, after the step in hand.
#[derive(Debug)]
pub struct Runner {
    mailbox: Arc<Mailbox>,
    answers: Receiver<Answer>,
}

impl Runner {
    /// Starts the thread; `wake` is called on it after each answer.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn spawn(wake: impl Fn() + Send + 'static) -> io::Result<Self> {
        let mailbox = Arc::new(Mailbox::default());
        let (sender, answers) = mpsc::channel();
        let worker = Worker { mailbox: Arc::clone(&mailbox), sender, wake };
        thread::Builder::new().name("purrscope-plane".to_owned()).spawn(move || worker.serve())?;
        Ok(Self { mailbox, answers })
    }

    /// Asks for a flow, instead of the one asked for before.
    pub fn ask_flow(&self, question: Question) {
        self.mailbox.slots().flow = Some(question);
        self.mailbox.bell.notify_one();
    }

    /// Asks for the exact flow of a question, instead of the one asked for before.
    pub fn ask_exact(&self, question: Question) {
        self.mailbox.slots().exact = Some(question);
        self.mailbox.bell.notify_one();
    }

    /// Asks for a field, instead of the one asked for before.
    pub fn ask_field(&self, question: FieldQuestion) {
        self.mailbox.slots().field = Some(question);
        self.mailbox.bell.notify_one();
    }

    /// What has been answered, in order; never waits.
    pub fn answers(&self) -> impl Iterator<Item = Answer> + '_ {
        self.answers.try_iter()
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.mailbox.slots().closed = true;
        self.mailbox.bell.notify_one();
    }
}

struct Worker<W> {
    mailbox: Arc<Mailbox>,
    sender: Sender<Answer>,
    wake: W,
}

impl<W: Fn()> Worker<W> {
    fn serve(&self) {
        loop {
            self.answer_field();
            if self.answer_flow() {
                continue;
            }
            let exact = self.mailbox.slots().exact.take();
            if let Some(question) = exact {
                self.attempt(|| self.exact(&question));
                continue;
            }
            let slots = self.mailbox.slots();
            if slots.closed {
                return;
            }
            if slots.flow.is_none() && slots.exact.is_none() && slots.field.is_none() {
                // Woken for nothing, it looks again.
                drop(self.mailbox.bell.wait(slots));
            }
        }
    }

    fn send(&self, answer: Answer) {
        // A send fails only when the window has gone; the thread then ends by itself.
        let _ = self.sender.send(answer);
        (self.wake)();
    }

    /// Computes something; where that panics, the window is told instead of an answer.
    fn attempt(&self, work: impl FnOnce()) {
        if let Err(reason) = guarded(work) {
            self.send(Answer::Refused(format!("it failed ({reason})")));
        }
    }

    fn answer_field(&self) {
        let question = self.mailbox.slots().field.take();
        let Some(question) = question else { return };
        self.attempt(|| {
            if let Some(field) = field(question) {
                self.send(Answer::Field(Arc::new(field)));
            }
        });
    }

    /// Computes the flow that is asked for, if one is.
    fn answer_flow(&self) -> bool {
        let question = self.mailbox.slots().flow.take();
        let Some(question) = question else { return false };
        self.attempt(|| self.flow(question));
        true
    }

    fn flow(&self, question: Question) {
        let begun = Instant::now();
        let Some(oracle) = question.plane.oracle() else { return };
        let mut sampler = match Sampler::new(&oracle, question.settings.clone(), None) {
            Ok(sampler) => sampler,
            Err(error) => return self.send(Answer::Refused(error.to_string())),
        };
        let mut moments = Vec::with_capacity(question.settings.steps);
        let mut evaluations = 0;
        for record in sampler.by_ref() {
            evaluations = record.evaluations;
            moments.push(moment(&record));
            self.answer_field();
            let slots = self.mailbox.slots();
            if slots.closed || slots.flow.is_some() {
                return;
            }
        }
        let codes = sampler.codes();
        let frequencies = Frequencies::of(&codes, &question.plane.weights);
        let end = points(&sampler.state().x);
        let wall = begun.elapsed();
        let flow = Flow { question, moments, end, codes, frequencies, evaluations, wall };
        self.send(Answer::Flow(Arc::new(flow)));
    }

    fn exact(&self, coarse: &Question) {
        let (question, every) = (coarse.exact(), coarse.refinement());
        let Some(oracle) = question.plane.oracle() else { return };
        let steps = question.settings.steps;
        // What is wrong with the settings was said of the flow itself.
        let Ok(mut sampler) = Sampler::new(&oracle, question.settings.clone(), None) else {
            return;
        };
        let mut states = vec![points(&sampler.state().x)];
        for step in 1..=steps {
            if sampler.next().is_none() {
                break;
            }
            if step.is_multiple_of(every) {
                states.push(points(&sampler.state().x));
            }
            if step.is_multiple_of(steps.div_ceil(20)) {
                self.send(Answer::ExactSoFar(step as f32 / steps as f32));
            }
            self.answer_field();
            self.answer_flow();
            let slots = self.mailbox.slots();
            if slots.closed || slots.exact.is_some() {
                return;
            }
        }
        let codes = sampler.codes();
        self.send(Answer::Exact(Arc::new(Exact { question, states, codes })));
    }
}

fn moment(record: &StepRecord) -> Moment {
    let entropy = record.entropy();
    Moment {
        t: record.t,
        temperature: record.temperature,
        entropy: entropy.iter().sum::<f32>() / entropy.len().max(1) as f32,
        x: points(&record.x),
        mu: points(&record.prediction),
    }
}

/// Latents of one token of two numbers an image, as places.
fn points(latents: &Latents) -> Vec<Point> {
    latents.values.chunks_exact(2).map(|at| [at[0], at[1]]).collect()
}

fn field(question: FieldQuestion) -> Option<Field> {
    let oracle: Oracle = question.plane.oracle()?;
    let settings = SampleSettings {
        temperature: Temperature::Constant(question.temperature),
        ..SampleSettings::default()
    };
    let places: Vec<Point> = question.points.iter().chain(&question.probe).copied().collect();
    let shape = LatentShape { batch: places.len(), channels: 2, height: 1, width: 1 };
    let x = Latents { shape, values: places.concat() };
    let prediction = oracle.predict(&x, question.t, &settings);
    let mut mu = points(&prediction.output);
    let belief = question.probe.and_then(|x| {
        let (posterior, last) = (prediction.posterior.as_ref()?, places.len() - 1);
        let (entropy, top) = (posterior.entropy[last], posterior.top_of(last, 0, 0));
        Some(Belief { x, mu: mu.pop()?, entropy, top })
    });
    Some(Field { question, mu, belief })
}
