//! A sweep in the window.
//!
//! Cells run one after another on the compute thread, and stand back for whatever else it is asked to
//! do: a run that someone starts ends the cell's, which is made again later.

pub mod pane;

use std::time::Duration;

use crate::flow::{SampleSettings, State, settings};
use crate::studio::base::dialogs::{Dialogs, Reply};
use crate::studio::engine::{Command, Event, ModelInfo, RunEvent, RunId};
use crate::studio::session::Session;
use crate::sweep::axis::{Axis, AxisText, Parameter};
use crate::sweep::study::{Cell, Plan, Study, Tally};

/// Whether a sweep goes on by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Phase {
    /// There is nothing to run.
    #[default]
    Idle,
    /// Cells run when the compute thread is free.
    Running,
    /// Cells wait until someone goes on.
    Paused,
}

/// The cell being run.
#[derive(Debug)]
struct Current {
    run: RunId,
    cell: usize,
    steps: usize,
    tally: Tally,
}

/// The sweep of the window: what is typed, what runs, and what came of it.
pub struct Sweep {
    /// What varies across.
    pub x: AxisText,
    /// What varies down.
    pub y: AxisText,
    /// Whether anything varies down.
    pub two: bool,
    /// The sweep in progress or the last one.
    pub study: Option<Study>,
    /// Dialogs for its files.
    pub dialogs: Dialogs,
    /// How many sweeps were begun.
    begun: u64,
    /// The state that a branch goes on from.
    start: Option<Box<State>>,
    phase: Phase,
    current: Option<Current>,
    /// Runs that failed one after the other.
    failures: usize,
    /// Runs that failed at all.
    failed: usize,
    /// Trouble that has not been told yet.
    trouble: Option<String>,
}

impl Default for Sweep {
    fn default() -> Self {
        Self {
            x: AxisText::example(Parameter::Setting(&settings::TEMPERATURE)),
            y: AxisText::example(Parameter::Setting(&settings::STEPS)),
            two: true,
            study: None,
            dialogs: Dialogs::default(),
            begun: 0,
            start: None,
            phase: Phase::default(),
            current: None,
            failures: 0,
            failed: 0,
            trouble: None,
        }
    }
}

impl Sweep {
    /// So many runs that fail one after the other pause a sweep.
    const PATIENCE: usize = 2;

    /// The axes as they are typed, across and down: each, or what is wrong with it.
    pub fn axes(&self, classes: &[String]) -> (Result<Axis, String>, Option<Result<Axis, String>>) {
        let read = |text: &AxisText| text.read(classes).map_err(|error| error.to_string());
        (read(&self.x), self.two.then(|| read(&self.y)))
    }

    /// The plan that is typed, over the settings `base`.
    ///
    /// # Errors
    /// What is wrong with it, in words; nothing where an axis itself is wrong.
    pub fn plan(&self, base: SampleSettings, model: &ModelInfo) -> Result<Plan, Option<String>> {
        let (x, y) = self.axes(&model.card.class_names);
        let x = x.map_err(|_| None)?;
        let y = y.transpose().map_err(|_| None)?;
        Plan::new(base, x, y, &model.card).map_err(|error| Some(error.to_string()))
    }

    /// Begins the sweep that is typed over the settings on the controls.
    pub fn begin_typed(&mut self, session: &mut Session) {
        let (Some(model), Some(base)) = (session.model.clone(), session.settings()) else { return };
        if let Ok(plan) = self.plan(SampleSettings::clone(&base), &model) {
            self.stop(session);
            self.begin(plan, &model, session.start());
        }
    }

    /// Begins a sweep in place of the last one; a base that is a branch goes on from `start`.
    fn begin(&mut self, plan: Plan, model: &ModelInfo, start: Option<Box<State>>) {
        let mut study = Study::new(plan, &model.card, &model.hash);
        study.precision = model.precision;
        self.phase = if study.waiting().is_some() { Phase::Running } else { Phase::Idle };
        self.study = Some(study);
        self.start = start;
        self.current = None;
        (self.failures, self.failed) = (0, 0);
        self.begun += 1;
    }

    /// A number that changes with the study.
    pub fn serial(&self) -> u64 {
        self.begun
    }

    /// Whether it runs, waits or has come to its end.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The cell being run, and the part of it that is done, in `[0, 1]`.
    pub fn progress(&self) -> Option<(usize, f64)> {
        let current = self.current.as_ref()?;
        Some((current.cell, current.tally.steps as f64 / current.steps.max(1) as f64))
    }

    /// Time until the last cell is done, once it can be told.
    pub fn time_left(&self) -> Option<Duration> {
        self.study.as_ref()?.time_left(self.progress().map_or(0.0, |(_, part)| part))
    }

    /// Lets it wait; the cell being run is made again later.
    pub fn pause(&mut self, session: &mut Session) {
        if self.phase == Phase::Running {
            self.phase = Phase::Paused;
        }
        self.drop_run(session);
    }

    /// Drops the run of a cell.
    fn drop_run(&mut self, session: &mut Session) {
        // Where a run of one's own was sent since, that one has ended it already.
        if self.current.take().is_some() && session.active.is_none() {
            session.send(Command::Stop);
        }
    }

    /// Goes on after a pause.
    pub fn resume(&mut self) {
        if self.phase == Phase::Paused {
            self.phase = Phase::Running;
            self.failures = 0;
        }
    }

    /// Ends it with what it has.
    pub fn stop(&mut self, session: &mut Session) {
        self.phase = Phase::Idle;
        self.drop_run(session);
    }

    /// Once a frame: sends the next run where nothing else is computed, and tells what there is to
    /// tell.
    pub fn follow(&mut self, session: &mut Session) {
        if let Some(text) = self.trouble.take() {
            session.notices.error(text);
        }
        for reply in self.dialogs.replies() {
            match reply {
                Reply::Saved(path) => session.notices.tell(format!("Saved {}.", path.display())),
                Reply::Failed(text) => session.notices.error(text),
                Reply::Open(_) | Reply::Picture { .. } => {}
            }
        }
        if session.active.is_some() || session.loading.is_some() {
            return;
        }
        if let Some((settings, start)) = self.next() {
            let run = session.number_run();
            self.sent(run);
            session.send(Command::Run { run, settings, start, watched: false });
        }
    }

    /// The next run, if one is due: its settings, and the state that it goes on from.
    fn next(&self) -> Option<(SampleSettings, Option<Box<State>>)> {
        if self.phase != Phase::Running || self.current.is_some() {
            return None;
        }
        let study = self.study.as_ref()?;
        Some((study.plan.settings(study.waiting()?), self.start.clone()))
    }

    /// Notes that the run of [`Sweep::next`] was sent.
    fn sent(&mut self, run: RunId) {
        let Some(study) = &self.study else { return };
        let Some(cell) = study.waiting() else { return };
        let steps = study.plan.settings(cell).times().len().saturating_sub(1);
        self.current = Some(Current { run, cell, steps, tally: Tally::default() });
    }

    /// Whether a run failed that may go well another time.
    pub fn has_failed(&self) -> bool {
        self.failed > 0
    }

    /// Takes what is reported of its own runs; gives back what is not.
    pub fn absorb(&mut self, event: Event) -> Option<Event> {
        if let (Event::ModelReady(model), Some(study)) = (&event, &self.study)
            && (study.hash != model.hash || study.precision != model.precision)
        {
            // Its cells would be of two models.
            (self.phase, self.current) = (Phase::Idle, None);
        }
        let Event::Run(run, event) = event else { return Some(event) };
        let Some(current) = self.current.as_mut().filter(|current| current.run == run) else {
            return Some(Event::Run(run, event));
        };
        let cell = current.cell;
        match event {
            RunEvent::Started => {}
            RunEvent::Step { record, .. } => current.tally.push(&record),
            RunEvent::Finished { pictures, .. } => {
                let tally = std::mem::take(&mut current.tally);
                self.failures = 0;
                self.settle(
                    cell,
                    match pictures.host() {
                        Some(pictures) => Cell::Done(tally.finish(pictures.into())),
                        None => Cell::Refused("its pictures are not available".to_owned()),
                    },
                );
            }
            // Something else was more urgent: it is made again later.
            RunEvent::Stopped => self.current = None,
            RunEvent::Failed(text) => {
                self.failures += 1;
                self.failed += 1;
                self.settle(cell, Cell::Refused(text.clone()));
                if self.failures >= Self::PATIENCE && self.phase == Phase::Running {
                    self.phase = Phase::Paused;
                    self.trouble = Some(format!("The sweep is paused, its runs fail. {text}"));
                }
            }
        }
        None
    }

    /// Puts in what came of the cell being run.
    fn settle(&mut self, at: usize, cell: Cell) {
        self.current = None;
        let Some(study) = &mut self.study else { return };
        study.cells[at] = cell;
        if study.waiting().is_none() {
            self.phase = Phase::Idle;
        }
    }

    /// Lets cells that failed, or were left out by a stop, be run again.
    pub fn retry(&mut self) {
        let Some(study) = &mut self.study else { return };
        for at in 0..study.cells.len() {
            let usable = study.plan.settings(at).validate(&study.plan.domain).is_ok();
            if usable && matches!(study.cells[at], Cell::Refused(_)) {
                study.cells[at] = Cell::Waiting;
            }
        }
        if study.waiting().is_some() {
            self.phase = Phase::Running;
            (self.failures, self.failed) = (0, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::studio::engine::{Command, Engine, ModelSource};
    use crate::studio::testing::fake::FakeWorker;
    use crate::studio::window::studio::Studio;

    /// A window's state over an engine, without a window.
    struct Setup {
        studio: Studio,
        engine: Engine,
    }

    impl Setup {
        fn new(worker: FakeWorker) -> Self {
            let engine = Engine::spawn(move || Ok(worker.clone()), || {}).unwrap();
            let mut setup = Self { studio: Studio::default(), engine };
            setup.studio.session.load_model(ModelSource::Embedded);
            setup
        }

        /// Passes messages on until `done` holds.
        fn until(&mut self, done: impl Fn(&Studio) -> bool) {
            while !done(&self.studio) {
                self.send();
                let event = self.engine.wait();
                self.studio.take(event);
            }
            self.send();
        }

        fn send(&mut self) -> usize {
            let commands = self.studio.take_commands();
            let count = commands.len();
            commands.into_iter().for_each(|command| self.engine.send(command));
            count
        }

        fn begin(&mut self, x: &str, y: &str) {
            self.studio.sweep.x = x.parse().unwrap();
            self.studio.sweep.y = y.parse().unwrap();
            self.studio.sweep.begin_typed(&mut self.studio.session);
        }
    }

    fn settled(studio: &Studio) -> usize {
        studio.sweep.study.as_ref().map_or(0, Study::settled)
    }

    fn free(studio: &Studio) -> bool {
        studio.session.run.as_ref().is_some_and(|run| run.end.is_some())
            && studio.session.active.is_none()
    }

    #[test]
    fn cells_fill_in_and_leave_the_canvas_alone() {
        let mut setup = Setup::new(FakeWorker::default());
        setup.until(free);
        let shown = setup.studio.session.run.as_ref().unwrap().id;
        setup.begin("steps=2,3", "temperature=0.5,1");
        setup.until(|studio| settled(studio) == 4);
        let sweep = &setup.studio.sweep;
        assert_eq!(sweep.phase(), Phase::Idle);
        let study = sweep.study.as_ref().unwrap();
        let evaluations: Vec<usize> =
            (0..4).map(|cell| study.outcome(cell).unwrap().evaluations).collect();
        assert_eq!(evaluations, [4, 6, 4, 6]);
        let entropy = |cell: usize| study.outcome(cell).unwrap().entropy.unwrap();
        assert!(entropy(0) < entropy(2), "a warmer belief is less decided");
        assert_eq!(study.outcome(3).unwrap().pictures.len(), 4);
        assert_eq!(setup.studio.session.run.as_ref().unwrap().id, shown);
    }

    #[test]
    fn a_run_of_ones_own_interrupts_and_the_cell_is_made_again() {
        let (gate, worker) = FakeWorker::gated();
        let mut setup = Setup::new(worker);
        gate.let_pass(24);
        setup.until(free);
        setup.begin("steps=5,2", "temperature=1");
        gate.let_pass(2);
        setup.until(|studio| studio.sweep.progress().is_some_and(|(_, part)| part > 0.3));
        setup.studio.session.draft.sampling.steps = 3;
        setup.studio.session.generate();
        assert!(setup.studio.session.active.is_some());
        setup.send();
        gate.let_pass(1000);
        setup.until(|studio| settled(studio) == 2);
        let study = setup.studio.sweep.study.as_ref().unwrap();
        assert_eq!(study.outcome(0).unwrap().evaluations, 10);
        assert_eq!(setup.studio.session.run.as_ref().unwrap().frames.len(), 3);
        assert!(free(&setup.studio), "the run of one's own was not disturbed");
    }

    #[test]
    fn it_pauses_goes_on_and_stops() {
        let (gate, worker) = FakeWorker::gated();
        let mut setup = Setup::new(worker);
        gate.let_pass(24);
        setup.until(free);
        setup.begin("steps=2,3,4", "temperature=1");
        gate.let_pass(2);
        setup.until(|studio| settled(studio) == 1);
        setup.studio.sweep.pause(&mut setup.studio.session);
        assert_eq!(setup.studio.sweep.phase(), Phase::Paused);
        setup.send();
        gate.let_pass(1000);
        assert!(setup.studio.sweep.next().is_none() && setup.send() == 0);
        setup.studio.sweep.resume();
        setup.until(|studio| settled(studio) == 2);
        setup.studio.sweep.stop(&mut setup.studio.session);
        assert_eq!(setup.studio.sweep.phase(), Phase::Idle);
        setup.send();
        assert!(setup.studio.sweep.next().is_none());
        assert_eq!(settled(&setup.studio), 2);
    }

    #[test]
    fn a_refused_cell_does_not_hold_up_the_rest() {
        let mut setup = Setup::new(FakeWorker::default());
        setup.until(free);
        setup.begin("solver=heun,euler", "eta=0,1");
        assert_eq!(settled(&setup.studio), 1);
        setup.until(|studio| settled(studio) == 4);
        let study = setup.studio.sweep.study.as_ref().unwrap();
        assert!(matches!(&study.cells[2], Cell::Refused(reason) if reason.contains("heun")));
        assert!(study.outcome(3).is_some());
    }

    #[test]
    fn runs_that_fail_pause_the_sweep_and_can_be_tried_again() {
        let worker = FakeWorker { panics_at: Some((7, 1)), ..FakeWorker::default() };
        let mut setup = Setup::new(worker);
        setup.until(free);
        setup.studio.session.draft.sampling.seed = 7;
        setup.begin("steps=2,3,4", "temperature=1");
        setup.until(|studio| studio.sweep.phase() == Phase::Paused);
        assert_eq!(settled(&setup.studio), 2);
        assert!(
            setup.studio.session.notices.banner.as_ref().unwrap().text.contains("sweep is paused")
        );
        setup.studio.sweep.retry();
        assert_eq!((settled(&setup.studio), setup.studio.sweep.phase()), (0, Phase::Running));
    }

    #[test]
    fn another_model_ends_it() {
        let (gate, worker) = FakeWorker::gated();
        let mut setup = Setup::new(worker);
        gate.let_pass(24);
        setup.until(free);
        setup.begin("steps=2,3", "temperature=1");
        let mut other = (**setup.studio.session.model.as_ref().unwrap()).clone();
        other.hash = "another".to_owned();
        setup.studio.take(Event::ModelReady(other.into()));
        assert_eq!(setup.studio.sweep.phase(), Phase::Idle);
        let generates = setup.studio.take_commands();
        let generates = generates.iter().filter(|c| matches!(c, Command::Run { .. })).count();
        assert_eq!(generates, 1, "the new model's first run, and none of the sweep");
        gate.let_pass(1000);
    }
}
