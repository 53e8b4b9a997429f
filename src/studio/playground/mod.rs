//! A flow in the plane, where everything can be seen: a codebook of two numbers a code, its exact
//! posterior, and particles that the settings on the controls carry from noise to codes.

pub mod pane;
mod plane;
mod runner;

use std::collections::VecDeque;
use std::sync::Arc;

use egui::Context;

pub use self::plane::{Plane, Point, Prior};
use self::runner::{Answer, Runner};
pub use self::runner::{Belief, Exact, Field, FieldQuestion, Flow, Moment, Question};
use crate::flow::codebooks::Layout;
use crate::flow::{SampleSettings, Solver};
use crate::studio::base::worker::no_thread;
use crate::studio::session::draft::Draft;

/// What is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drawn {
    /// The velocity on a grid.
    pub field: bool,
    /// The ways of the particles.
    pub paths: bool,
    /// The posterior means of the particles.
    pub means: bool,
    /// The codes.
    pub codes: bool,
}

/// State of the pane.
#[derive(Debug)]
pub struct Playground {
    /// The rule that the codebook was made by.
    pub layout: Layout,
    /// Codes that it was made with.
    pub count: usize,
    /// The prior that it was made with.
    pub prior: Prior,
    /// Where random codes lie.
    pub scatter: u64,
    /// The codebook as it is.
    pub plane: Plane,
    /// Whether it was changed by hand since it was made.
    pub edited: bool,
    /// Particles.
    pub particles: usize,
    /// What is drawn.
    pub drawn: Drawn,
    /// Whether the exact flow is computed as well.
    pub compare: bool,
    /// The time shown, from 0 to 1.
    pub t: f32,
    /// Whether time passes by itself.
    pub playing: bool,
    /// Whether the time is that of the timeline.
    pub follow: bool,
    /// The particle of which everything is told.
    pub chosen: Option<usize>,
    /// What the flow cannot be computed for, in words.
    pub trouble: Option<String>,
    /// How far the exact flow is, while it is computed.
    pub exact_so_far: Option<f32>,
    runner: Option<Runner>,
    /// Newest first.
    flows: VecDeque<Arc<Flow>>,
    /// Newest first.
    exacts: VecDeque<Arc<Exact>>,
    field: Option<Arc<Field>>,
    shown: Option<Arc<Flow>>,
    asked_flow: Option<Question>,
    asked_exact: Option<Question>,
    asked_field: Option<FieldQuestion>,
}

impl Default for Playground {
    fn default() -> Self {
        let (layout, count, prior, scatter) = (Layout::Ring, 8, Prior::Uniform, 0);
        Self {
            layout,
            count,
            prior,
            scatter,
            plane: Plane::new(layout, count, prior, scatter),
            edited: false,
            particles: 400,
            drawn: Drawn { field: true, paths: true, means: false, codes: true },
            compare: false,
            t: 0.5,
            playing: false,
            follow: false,
            chosen: Some(0),
            trouble: None,
            exact_so_far: None,
            runner: None,
            flows: VecDeque::new(),
            exacts: VecDeque::new(),
            field: None,
            shown: None,
            asked_flow: None,
            asked_exact: None,
            asked_field: None,
        }
    }
}

impl Playground {
    /// Most particles.
    pub const MOST_PARTICLES: usize = 2000;
    /// Most steps, so that the exact flow has a finer grid to go.
    const MOST_STEPS: usize = 1000;
    /// Flows that are kept, so that going back to settings is at once.
    const KEPT: usize = 8;
    /// Seconds that playing takes from noise to codes.
    const SECONDS: f32 = 5.0;
    /// The latest time at which there is a velocity to draw.
    pub const LATEST: f32 = 0.999;

    /// Makes the codebook anew, by its rule.
    pub fn remake(&mut self) {
        self.plane = Plane::new(self.layout, self.count, self.prior, self.scatter);
        self.edited = false;
    }

    /// Changes the codebook by hand.
    pub fn edit<T>(&mut self, change: impl FnOnce(&mut Plane) -> T) -> T {
        self.edited = true;
        change(&mut self.plane)
    }

    /// What the settings on the controls make of the codebook.
    pub fn question(&self, draft: &Draft) -> Question {
        let particles = self.particles.clamp(1, Self::MOST_PARTICLES);
        let settings = SampleSettings {
            labels: vec![0; particles],
            grid: draft.grid(),
            steps: draft.sampling.steps.clamp(1, Self::MOST_STEPS),
            temperature: draft.temperature(),
            guidance: 1.0,
            eta: if draft.sampling.solver == Solver::Euler { draft.sampling.eta } else { 0.0 },
            ..draft.sampling.clone()
        };
        Question { plane: self.plane.clone(), settings }
    }

    /// The flow shown; while another is computed, the one before.
    pub fn flow(&self) -> Option<Arc<Flow>> {
        self.shown.clone()
    }

    /// Whether a flow is being computed.
    pub fn is_busy(&self) -> bool {
        self.asked_flow.is_some() && self.trouble.is_none()
    }

    /// Whether all that was asked for is there.
    #[cfg(test)]
    pub(super) fn is_settled(&self) -> bool {
        let field = self.field.as_ref().map(|field| &field.question);
        self.asked_flow.is_none()
            && self.asked_exact.is_none()
            && (self.asked_field.is_none() || self.asked_field.as_ref() == field)
    }

    /// The exact flow beside the one shown, once it is there.
    pub fn exact(&self) -> Option<Arc<Exact>> {
        let wanted = self.shown.as_ref()?.question.exact();
        let fits = |exact: &&Arc<Exact>| self.compare && exact.question == wanted;
        self.exacts.iter().find(fits).cloned()
    }

    /// The newest field.
    pub fn field(&self) -> Option<Arc<Field>> {
        self.field.clone()
    }

    /// Once a frame: takes in what was computed, and asks for what `draft` needs and is not there.
    pub fn follow(&mut self, ctx: &Context, draft: &Draft) {
        self.receive();
        if self.runner.is_none() {
            let ctx = ctx.clone();
            match Runner::spawn(move || ctx.request_repaint()) {
                Ok(runner) => self.runner = Some(runner),
                Err(error) => self.trouble = Some(no_thread(&error)),
            }
        }
        let question = self.question(draft);
        if let Some(at) = self.flows.iter().position(|flow| flow.question == question) {
            // The newest in use is the last to be dropped.
            if let Some(flow) = self.flows.remove(at) {
                self.flows.push_front(Arc::clone(&flow));
                self.shown = Some(flow);
            }
            self.asked_flow = None;
            self.trouble = None;
        } else if self.asked_flow.as_ref() != Some(&question)
            && let Some(runner) = &self.runner
        {
            runner.ask_flow(question.clone());
            self.asked_flow = Some(question.clone());
            self.trouble = None;
        }
        self.follow_exact(&question);
    }

    fn follow_exact(&mut self, question: &Question) {
        // A stochastic run has no path of its own to keep to.
        let wanted = (self.compare && question.settings.eta == 0.0).then(|| question.exact());
        let missing =
            wanted.filter(|wanted| !self.exacts.iter().any(|exact| exact.question == *wanted));
        let Some(missing) = missing else {
            (self.asked_exact, self.exact_so_far) = (None, None);
            return;
        };
        if self.asked_exact.as_ref() != Some(&missing)
            && let Some(runner) = &self.runner
        {
            runner.ask_exact(question.clone());
            (self.asked_exact, self.exact_so_far) = (Some(missing), Some(0.0));
        }
    }

    fn receive(&mut self) {
        let answers: Vec<Answer> =
            self.runner.iter().flat_map(|runner| runner.answers().collect::<Vec<_>>()).collect();
        for answer in answers {
            match answer {
                Answer::Flow(flow) => {
                    self.shown = Some(Arc::clone(&flow));
                    self.flows.push_front(flow);
                    self.flows.truncate(Self::KEPT);
                }
                Answer::ExactSoFar(part) => {
                    self.exact_so_far = self.asked_exact.is_some().then_some(part);
                }
                Answer::Exact(exact) => {
                    self.exacts.push_front(exact);
                    self.exacts.truncate(Self::KEPT);
                }
                Answer::Field(field) => self.field = Some(field),
                Answer::Refused(text) => {
                    self.trouble = Some(format!("The flow cannot be computed: {text}."));
                    self.exact_so_far = None;
                }
            }
        }
    }

    /// Asks for posterior means at `points` for the time shown, and for the whole posterior of the
    /// chosen particle, if that was not asked yet.
    pub fn want_field(&mut self, points: Vec<Point>) {
        let Some(flow) = &self.shown else { return };
        let t = self.t.min(Self::LATEST);
        let (at, _) = flow.interval(t);
        // With an entropy target, what met it at the step; else the curve itself.
        let temperature = match &flow.question.settings.temperature {
            crate::flow::Temperature::Entropy { .. } => flow.moments[at].temperature,
            curve => curve.at(t),
        };
        let probe = self.chosen.and_then(|particle| flow.place(particle, t));
        let plane = self.plane.clone();
        let question = FieldQuestion { plane, t, temperature, points, probe };
        if self.asked_field.as_ref() != Some(&question)
            && let Some(runner) = &self.runner
        {
            runner.ask_field(question.clone());
            self.asked_field = Some(question);
        }
    }

    /// Lets time pass by `seconds`; says whether it still does.
    pub fn pass(&mut self, seconds: f32) -> bool {
        if self.playing {
            self.t += seconds.min(0.1) / Self::SECONDS;
            if self.t >= 1.0 {
                (self.t, self.playing) = (1.0, false);
            }
        }
        self.playing
    }

    /// Starts or stops the passing of time; from the end it begins again.
    pub fn toggle_play(&mut self) {
        self.playing = !self.playing;
        self.follow = false;
        if self.playing && self.t >= 1.0 {
            self.t = 0.0;
        }
    }

    /// Goes to the next grid point, or the one before.
    pub fn step(&mut self, forwards: bool) {
        let Some(flow) = &self.shown else { return };
        (self.playing, self.follow) = (false, false);
        let mut times = (0..=flow.moments.len()).map(|point| flow.time(point));
        const SAME: f32 = 1e-5;
        self.t = match forwards {
            true => times.find(|t| *t > self.t + SAME).unwrap_or(1.0),
            false => times.rfind(|t| *t < self.t - SAME).unwrap_or(0.0),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::studio::session::kinds::TemperatureKind;

    fn settle(playground: &mut Playground, draft: &Draft) {
        let ctx = Context::default();
        let deadline = Instant::now() + crate::studio::testing::fake::PATIENCE;
        loop {
            playground.follow(&ctx, draft);
            if !playground.is_busy() && playground.asked_exact.is_none() {
                return;
            }
            assert!(Instant::now() < deadline, "it never came");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn playground() -> Playground {
        Playground { particles: 30, ..Playground::default() }
    }

    fn in_steps(steps: usize) -> Draft {
        let mut draft = Draft::default();
        draft.sampling.steps = steps;
        draft
    }

    #[test]
    fn the_same_controls_decide() {
        let mut playground = playground();
        let mut draft = in_steps(6);
        settle(&mut playground, &draft);
        let first = playground.flow().unwrap();
        assert_eq!((first.moments.len(), first.end.len()), (6, 30));
        draft.temperature = TemperatureKind::Entropy;
        draft.target = (0.5, 0.5);
        draft.sampling.solver = Solver::Heun;
        settle(&mut playground, &draft);
        let second = playground.flow().unwrap();
        assert_eq!(second.question.settings.solver, Solver::Heun);
        assert!((second.moments[3].entropy - 0.5).abs() < 0.05, "{}", second.moments[3].entropy);
        // What was there before is there at once.
        draft = in_steps(6);
        playground.follow(&Context::default(), &draft);
        assert!(Arc::ptr_eq(&playground.flow().unwrap(), &first));
    }

    #[test]
    fn a_moved_code_moves_where_particles_end() {
        let mut playground = playground();
        let draft = in_steps(8);
        settle(&mut playground, &draft);
        playground.edit(|plane| plane.put(0, [2.25, 2.25]));
        settle(&mut playground, &draft);
        let flow = playground.flow().unwrap();
        let there = |at: &&Point| (at[0] - 2.25).hypot(at[1] - 2.25) < 0.05;
        let ended = flow.codes.iter().filter(|code| **code == 0).count();
        assert!(ended > 0 && flow.end.iter().filter(there).count() == ended);
        assert!(playground.edited);
        playground.remake();
        assert!(!playground.edited && playground.plane.codes[0][0] == 1.5);
    }

    #[test]
    fn the_exact_flow_is_not_computed_for_random_paths() {
        let mut playground = playground();
        playground.compare = true;
        let mut draft = in_steps(6);
        (draft.sampling.solver, draft.sampling.eta) = (Solver::Euler, 1.0);
        settle(&mut playground, &draft);
        assert!(playground.exact().is_none());
        draft.sampling.eta = 0.0;
        settle(&mut playground, &draft);
        let exact = playground.exact().unwrap();
        assert!(exact.error(&playground.flow().unwrap(), 3).unwrap() > 1e-4);
        // Another solver has the same exact flow.
        draft.sampling.solver = Solver::Exp2m;
        settle(&mut playground, &draft);
        assert!(Arc::ptr_eq(&playground.exact().unwrap(), &exact));
    }

    #[test]
    fn time_passes_and_steps_go_from_grid_point_to_grid_point() {
        let mut playground = playground();
        settle(&mut playground, &in_steps(4));
        playground.t = 0.3;
        playground.step(true);
        assert_eq!(playground.t, 0.5);
        playground.step(false);
        assert_eq!(playground.t, 0.25);
        playground.t = 1.0;
        playground.toggle_play();
        assert_eq!((playground.t, playground.playing), (0.0, true));
        for _ in 0..100 {
            playground.pass(0.06);
        }
        assert_eq!((playground.t, playground.playing), (1.0, false));
    }
}
