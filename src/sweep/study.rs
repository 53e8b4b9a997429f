//! What a sweep is to run, cell by cell, and what came of it.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use image::RgbImage;
use serde_json::{Value as Json, json};
use thiserror::Error;

use super::axis::{Axis, Parameter, Value};
use crate::flow::settings::{SETTINGS, Setting};
use crate::flow::{Domain, RunRecord, SampleSettings, StepRecord};
use crate::model::{ModelCard, Precision};

/// Two axes that make no sweep.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum PlanError {
    /// Both axes set the same thing.
    #[error("both axes set the {0}: choose another parameter for one of them")]
    Twice(&'static str),
    /// A parameter that changes nothing.
    #[error("{parameter} would change nothing: {reason}")]
    Useless {
        /// The parameter.
        parameter: Parameter,
        /// Why.
        reason: &'static str,
    },
    /// More cells than patience is for.
    #[error("{0} cells are too many: {most} are the most", most = Plan::MOST_CELLS)]
    TooMany(usize),
    /// More pictures than are computed at once.
    #[error("{0} pictures are too many for a cell: {most} are the most", most = Plan::MOST_PICTURES)]
    TooManyPictures(usize),
    /// More pictures than memory is for.
    #[error("{0} pictures of this size are too many to keep: make fewer a cell")]
    TooLarge(usize),
}

/// Settings, and the two axes along which they are varied.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// What is the same in every cell.
    pub base: SampleSettings,
    /// What varies from column to column.
    pub x: Axis,
    /// What varies from row to row, if anything does.
    pub y: Option<Axis>,
    /// What the settings must agree with.
    pub domain: Domain,
}

impl Plan {
    /// Most cells of a grid.
    pub const MOST_CELLS: usize = 400;
    /// Most pictures of a cell, which are computed at once.
    pub const MOST_PICTURES: usize = 256;
    /// Most bytes of pictures of a grid.
    const MOST_BYTES: usize = 512 << 20;

    /// The plan for a model.
    ///
    /// # Errors
    /// The axes do not go together or with the model, or make too large a grid.
    pub fn new(
        base: SampleSettings,
        x: Axis,
        y: Option<Axis>,
        card: &ModelCard,
    ) -> Result<Self, PlanError> {
        let plan = Self { base, x, y, domain: Domain::of(card) };
        let target = plan.x.parameter.target();
        if plan.y.as_ref().is_some_and(|y| y.parameter.target() == target) {
            return Err(PlanError::Twice(target));
        }
        let cells = plan.cells();
        if cells > Self::MOST_CELLS {
            return Err(PlanError::TooMany(cells));
        }
        if plan.base.labels.len() > Self::MOST_PICTURES {
            return Err(PlanError::TooManyPictures(plan.base.labels.len()));
        }
        plan.check_axes()?;
        let pictures: usize = (0..cells).map(|cell| plan.pictures(cell)).sum();
        let bytes = card.image_size().saturating_pow(2).saturating_mul(3 * pictures);
        if bytes > Self::MOST_BYTES {
            return Err(PlanError::TooLarge(pictures));
        }
        Ok(plan)
    }

    /// Checks that both axes change something.
    fn check_axes(&self) -> Result<(), PlanError> {
        let useless = |parameter, reason| Err(PlanError::Useless { parameter, reason });
        for parameter in self.axes().map(|axis| axis.parameter) {
            for setting in SETTINGS.into_iter().filter(|setting| parameter.sets(setting)) {
                if let Some(reason) = self.idle(setting) {
                    return useless(parameter, reason);
                }
            }
            let by_class = parameter == Parameter::Class && self.base.branch.is_none();
            if by_class && self.domain.classes < 2 {
                return useless(parameter, "this model has one class");
            }
        }
        Ok(())
    }

    /// Why a setting changes nothing in any cell, if it does not.
    fn idle(&self, setting: &Setting) -> Option<&'static str> {
        let mut reasons = (0..self.cells())
            .map(|cell| (setting.idle)(&self.settings(cell), self.domain.objective));
        let first = reasons.next()??;
        reasons.all(|reason| reason.is_some()).then_some(first)
    }

    /// The axes, across first.
    pub fn axes(&self) -> impl Iterator<Item = &Axis> {
        std::iter::once(&self.x).chain(&self.y)
    }

    /// Cells of a row.
    pub fn columns(&self) -> usize {
        self.x.values.len()
    }

    /// Cells of a column.
    pub fn rows(&self) -> usize {
        self.y.as_ref().map_or(1, |y| y.values.len())
    }

    /// Cells of the grid.
    pub fn cells(&self) -> usize {
        self.columns() * self.rows()
    }

    /// Names and values of a cell, across first; cells are counted row by row.
    pub fn place(&self, cell: usize) -> Vec<(Parameter, String)> {
        let at = [cell % self.columns(), cell / self.columns()];
        self.axes()
            .zip(at)
            .map(|(axis, at)| (axis.parameter, axis.values[at].to_string()))
            .collect()
    }

    /// Pictures of a cell.
    pub fn pictures(&self, cell: usize) -> usize {
        let at = [cell % self.columns(), cell / self.columns()];
        let counted = self.axes().zip(at).find_map(|(axis, at)| match axis.values[at] {
            Value::Count(count) => Some(count),
            _ => None,
        });
        counted.unwrap_or(self.base.labels.len())
    }

    /// What the run of a cell is asked to do.
    pub fn settings(&self, cell: usize) -> SampleSettings {
        let mut settings = self.base.clone();
        let at = [cell % self.columns(), cell / self.columns()];
        for (axis, at) in self.axes().zip(at) {
            axis.values[at].apply(&mut settings);
        }
        settings
    }

    /// Work of a cell: network evaluations, times pictures.
    fn weight(&self, cell: usize) -> f64 {
        /// Evaluations that the adaptive solver is taken to need for an interval.
        const ADAPTIVE: usize = 7;
        let settings = self.settings(cell);
        let asked = settings.evaluations(self.domain.objective).unwrap_or_else(|| {
            settings.times().iter().skip(1).map(|t| ADAPTIVE * settings.evaluations_at(*t)).sum()
        });
        (asked * settings.labels.len()) as f64
    }
}

/// What came of a cell's run.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// One an image of the batch.
    pub pictures: Arc<[RgbImage]>,
    /// Network evaluations; guidance counts twice.
    pub evaluations: usize,
    /// Time that the steps took, decoding aside.
    pub time: Duration,
    /// Mean entropy at the last step, in nats; objectives without a posterior have none.
    pub entropy: Option<f32>,
}

/// Adds up the steps of a run.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Steps so far.
    pub steps: usize,
    evaluations: usize,
    time: Duration,
    entropy: Option<f32>,
}

impl Tally {
    /// Adds the next step.
    pub fn push(&mut self, record: &StepRecord) {
        self.steps += 1;
        self.evaluations = record.evaluations;
        self.time += record.wall;
        let entropy = record.entropy();
        self.entropy =
            (!entropy.is_empty()).then(|| entropy.iter().sum::<f32>() / entropy.len() as f32);
    }

    /// What came of the run, with its pictures.
    pub fn finish(self, pictures: Arc<[RgbImage]>) -> Outcome {
        let Self { evaluations, time, entropy, .. } = self;
        Outcome { pictures, evaluations, time, entropy }
    }
}

/// A cell of the grid.
#[derive(Debug, Clone)]
pub enum Cell {
    /// Its run has not been made yet.
    Waiting,
    /// Its run is made.
    Done(Outcome),
    /// It has no run, and why.
    Refused(String),
}

/// A plan, the model that it is for, and what has come of it.
#[derive(Debug, Clone)]
pub struct Study {
    /// What is to be run.
    pub plan: Plan,
    /// Row by row.
    pub cells: Vec<Cell>,
    /// Name of the model.
    pub model: String,
    /// Digest of the model.
    pub hash: String,
    /// The precision that the model computes in.
    pub precision: Precision,
    /// Names of the model's classes.
    pub class_names: Vec<String>,
    /// Work of each cell, for the time left.
    weights: Vec<f64>,
}

impl Study {
    /// A study at its beginning, of a model that computes in f32. Cells whose settings cannot be used
    /// say so at once.
    pub fn new(plan: Plan, card: &ModelCard, hash: &str) -> Self {
        let cell = |cell| match plan.settings(cell).validate(&plan.domain) {
            Ok(()) => Cell::Waiting,
            Err(error) => Cell::Refused(error.to_string()),
        };
        Self {
            cells: (0..plan.cells()).map(cell).collect(),
            weights: (0..plan.cells()).map(|cell| plan.weight(cell)).collect(),
            plan,
            model: card.name.clone(),
            hash: hash.to_owned(),
            precision: Precision::F32,
            class_names: card.class_names.clone(),
        }
    }

    /// The first cell whose run has not been made yet.
    pub fn waiting(&self) -> Option<usize> {
        self.cells.iter().position(|cell| matches!(cell, Cell::Waiting))
    }

    /// Cells that need no run any more.
    pub fn settled(&self) -> usize {
        self.cells.iter().filter(|cell| !matches!(cell, Cell::Waiting)).count()
    }

    /// What came of a cell.
    pub fn outcome(&self, cell: usize) -> Option<&Outcome> {
        match self.cells.get(cell)? {
            Cell::Done(outcome) => Some(outcome),
            _ => None,
        }
    }

    fn outcomes(&self) -> impl Iterator<Item = (usize, &Outcome)> {
        (0..self.cells.len()).filter_map(|cell| Some((cell, self.outcome(cell)?)))
    }

    /// Side of the pictures in pixels, once there is one.
    pub fn picture_side(&self) -> Option<u32> {
        self.outcomes().find_map(|(_, outcome)| Some(outcome.pictures.first()?.width()))
    }

    /// Time until the last cell is done, as fast as those so far; of the cell being run, `part` is
    /// done. Unknown before the first cell is.
    pub fn time_left(&self, part: f64) -> Option<Duration> {
        let (mut work, mut seconds) = (0.0, 0.0);
        for (cell, outcome) in self.outcomes() {
            work += self.weights[cell];
            seconds += outcome.time.as_secs_f64();
        }
        if work == 0.0 {
            return None;
        }
        let waiting =
            (0..self.cells.len()).filter(|cell| matches!(self.cells[*cell], Cell::Waiting));
        let left = waiting.enumerate().map(|(order, cell)| {
            let done = if order == 0 { part } else { 0.0 };
            self.weights[cell] * (1.0 - done)
        });
        Duration::try_from_secs_f64(left.sum::<f64>() * seconds / work).ok()
    }

    /// What is the same in every cell, a phrase each, for the head of a sheet.
    pub fn fixed(&self) -> Vec<String> {
        let base = &self.plan.base;
        let mut phrases = Vec::new();
        let mut classes: Vec<&str> = Vec::new();
        for label in &base.labels {
            let name = self.class_names.get(*label).map_or("?", String::as_str);
            if !classes.contains(&name) {
                classes.push(name);
            }
        }
        let classes = match classes.len() {
            0..=3 => classes.join(", "),
            many => format!("{many} classes"),
        };
        let varied = |wanted| self.plan.axes().any(|axis| axis.parameter == wanted);
        if !varied(Parameter::Class) {
            phrases.push(classes);
        }
        for setting in SETTINGS.into_iter().filter(|setting| setting.is_told(base)) {
            let varied = self.plan.axes().any(|axis| axis.parameter.sets(setting));
            if !varied && self.plan.idle(setting).is_none() {
                phrases.push(format!("{} {}", setting.key, setting.get(base)));
            }
        }
        let edits = base.pins.len() + base.bans.len() + base.banned_codes.len();
        if edits > 0 {
            phrases.push(format!("{edits} pins and bans"));
        }
        if let Some(branch) = &base.branch {
            phrases.push(format!("from step {} of another run", branch.step + 1));
        }
        phrases
    }

    /// The settings and every number as JSON: those of a run, and under `sweep` the axes and cells.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        let record = RunRecord {
            precision: self.precision.noted(),
            ..RunRecord::new(&self.model, &self.hash, &self.plan.base)
        };
        let mut json = serde_json::to_value(&record)?;
        let axis = |axis: &Axis| -> Json {
            let values: Vec<String> = axis.values.iter().map(ToString::to_string).collect();
            json!({ "parameter": axis.parameter.name(), "values": values })
        };
        let cells = (0..self.cells.len()).map(|cell| {
            let place: serde_json::Map<String, Json> = self
                .plan
                .place(cell)
                .into_iter()
                .map(|(parameter, value)| (parameter.name().to_owned(), value.into()))
                .collect();
            match &self.cells[cell] {
                Cell::Waiting => json!({ "at": place }),
                Cell::Refused(reason) => json!({ "at": place, "refused": reason }),
                Cell::Done(outcome) => json!({
                    "at": place,
                    "evaluations": outcome.evaluations,
                    "milliseconds": outcome.time.as_secs_f64() * 1e3,
                    "final_entropy": outcome.entropy,
                }),
            }
        });
        json["sweep"] = json!({
            "x": axis(&self.plan.x),
            "y": self.plan.y.as_ref().map(axis),
            "cells": cells.collect::<Vec<_>>(),
        });
        serde_json::to_string(&json)
    }

    /// Every number as comma-separated values, a cell a line.
    pub fn to_csv(&self) -> String {
        let field = |text: &str| match text.contains([',', '"', '\n', '\r']) {
            true => format!("\"{}\"", text.replace('"', "\"\"")),
            false => text.to_owned(),
        };
        let mut csv = String::new();
        for axis in self.plan.axes() {
            let _ = write!(csv, "{},", axis.parameter);
        }
        csv.push_str("pictures,evaluations,milliseconds,final_entropy_nats,refused\n");
        for (at, cell) in self.cells.iter().enumerate() {
            for (_, value) in self.plan.place(at) {
                csv.push_str(&field(&value));
                csv.push(',');
            }
            let _ = match cell {
                Cell::Waiting => writeln!(csv, ",,,,"),
                Cell::Refused(reason) => writeln!(csv, ",,,,{}", field(reason)),
                Cell::Done(outcome) => writeln!(
                    csv,
                    "{},{},{:.3},{},",
                    outcome.pictures.len(),
                    outcome.evaluations,
                    outcome.time.as_secs_f64() * 1e3,
                    outcome.entropy.map_or_else(String::new, |nats| nats.to_string()),
                ),
            };
        }
        csv
    }

    /// A name for files of it, without an ending.
    pub fn file_stem(&self) -> String {
        let names: Vec<&str> = self.plan.axes().map(|axis| axis.parameter.name()).collect();
        format!("sweep-{}", names.join("-"))
    }
}

impl Outcome {
    /// Evaluations and time, and under them the entropy, as lines of text.
    pub fn lines(&self) -> Vec<String> {
        let time = match self.time.as_secs_f64() {
            seconds if seconds < 10.0 => format!("{:.0} ms", seconds * 1e3),
            seconds => format!("{seconds:.1} s"),
        };
        let mut lines = vec![format!("{} NFE, {time}", self.evaluations)];
        lines.extend(self.entropy.map(|nats| format!("{nats:.3} nats")));
        lines
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::axis::AxisText;
    use super::*;
    use crate::flow::Solver;
    use crate::model::card::example as card;

    pub fn study(x: &str, y: Option<&str>, base: SampleSettings) -> Result<Study, PlanError> {
        let card = card();
        let read = |text: &str| text.parse::<AxisText>().unwrap().read(&card.class_names).unwrap();
        let plan = Plan::new(base, read(x), y.map(read), &card)?;
        Ok(Study::new(plan, &card, "0123abcd"))
    }

    fn done(entropy: Option<f32>) -> Cell {
        let pictures = vec![RgbImage::new(8, 8)].into();
        let time = Duration::from_millis(100);
        Cell::Done(Outcome { pictures, evaluations: 16, time, entropy })
    }

    #[test]
    fn cells_go_row_by_row() {
        let study = study("steps=2,4,8", Some("temperature=0.5,1"), SampleSettings::default());
        let plan = study.unwrap().plan;
        assert_eq!((plan.columns(), plan.rows(), plan.cells()), (3, 2, 6));
        let at = |cell| {
            let settings = plan.settings(cell);
            (settings.steps, settings.temperature.to_string())
        };
        assert_eq!(at(0), (2, "0.5".to_owned()));
        assert_eq!(at(2), (8, "0.5".to_owned()));
        assert_eq!(at(3), (2, "1".to_owned()));
        let place = plan.place(5);
        assert_eq!(place[1], ("temperature".parse().unwrap(), "1".to_owned()));
    }

    #[test]
    fn count_and_class_agree_in_either_order() {
        let base = SampleSettings { labels: vec![1, 2], ..SampleSettings::default() };
        for (x, y) in [
            ("count=3", "class=dog-golden-in-a-meadow"),
            ("class=dog-golden-in-a-meadow", "count=3"),
        ] {
            let plan = study(x, Some(y), base.clone()).unwrap().plan;
            assert_eq!(plan.settings(0).labels, [32; 3]);
        }
    }

    #[test]
    fn what_does_not_go_together_is_refused_cell_by_cell() {
        let study = study("eta=0,0.5", Some("solver=euler,heun"), SampleSettings::default());
        let study = study.unwrap();
        let refused: Vec<bool> =
            study.cells.iter().map(|cell| matches!(cell, Cell::Refused(_))).collect();
        assert_eq!(refused, [false, false, false, true]);
        let Cell::Refused(reason) = &study.cells[3] else { panic!("it was not refused") };
        assert!(reason.contains("0.5 with heun"), "{reason}");
        assert_eq!((study.waiting(), study.settled()), (Some(0), 1));
    }

    #[test]
    fn axes_that_make_no_sweep_are_refused() {
        let base = SampleSettings::default;
        assert_eq!(
            study("steps=1,2", Some("steps=3"), base()).err(),
            Some(PlanError::Twice("steps"))
        );
        let clash = study("grid=uniform", Some("shift=3"), base()).err();
        assert_eq!(clash, Some(PlanError::Twice("grid")));
        assert!(matches!(study("tolerance=0.1", None, base()), Err(PlanError::Useless { .. })));
        let large = study("seed=1..64", Some("steps=1..64"), base()).err();
        assert_eq!(large, Some(PlanError::TooMany(4096)));
    }

    #[test]
    fn a_cell_has_no_more_pictures_than_are_computed_at_once() {
        let base = |count| SampleSettings { labels: vec![0; count], ..SampleSettings::default() };
        assert!(study("steps=1", None, base(Plan::MOST_PICTURES)).is_ok());
        let error = study("steps=1", None, base(Plan::MOST_PICTURES + 1)).err();
        assert_eq!(error, Some(PlanError::TooManyPictures(257)));
    }

    #[test]
    fn the_sheet_says_what_tolerances_the_solver_kept() {
        let base = |solver| SampleSettings { solver, rtol: 1e-2, ..SampleSettings::default() };
        let fixed = |x: &str, solver| study(x, None, base(solver)).unwrap().fixed().join("; ");
        assert!(fixed("steps=1,2", Solver::Dopri5).contains("rtol 0.01"));
        assert!(fixed("solver=euler,dopri5", Solver::Euler).contains("rtol 0.01"));
        assert!(!fixed("solver=euler,heun", Solver::Dopri5).contains("rtol"));
        assert!(!fixed("tolerance=0.1", Solver::Dopri5).contains("rtol"));
    }

    #[test]
    fn a_smaller_batch_drops_the_pins_of_the_rest() {
        let base = SampleSettings {
            labels: vec![0; 3],
            pins: vec!["0,1,1=3".parse().unwrap(), "2,1,1=3".parse().unwrap()],
            ..SampleSettings::default()
        };
        let study = study("count=1,3", None, base).unwrap();
        assert_eq!(study.plan.settings(0).pins.len(), 1);
        assert_eq!(study.plan.settings(1).pins.len(), 2);
        assert!(study.cells.iter().all(|cell| matches!(cell, Cell::Waiting)));
    }

    #[test]
    fn time_left_goes_by_the_work_that_is_left() {
        let mut study = study("steps=10,20,40", None, SampleSettings::default()).unwrap();
        assert!(study.time_left(0.0).is_none());
        study.cells[0] = done(None);
        let left = study.time_left(0.5).unwrap().as_secs_f64();
        // A tenth of a second for 10 steps; of 20 half is left, and all 40.
        assert!((left - 0.5).abs() < 1e-6, "{left}");
    }

    #[test]
    fn numbers_go_to_csv_and_json() {
        let base = SampleSettings::default();
        let mut study = study("temperature=points:0=1,1=0.5; 0.9", Some("steps=8"), base).unwrap();
        study.cells[0] = done(Some(0.25));
        study.cells[1] = Cell::Refused("too \"hot\"".to_owned());
        let csv = study.to_csv();
        let lines: Vec<&str> = csv.lines().collect();
        assert_eq!(
            lines,
            [
                "temperature,steps,pictures,evaluations,milliseconds,final_entropy_nats,refused",
                "\"points:0=1,1=0.5\",8,1,16,100.000,0.25,",
                "0.9,8,,,,,\"too \"\"hot\"\"\"",
            ]
        );
        let json: Json = serde_json::from_str(&study.to_json().unwrap()).unwrap();
        assert_eq!(json["sweep"]["x"]["values"][1], "0.9");
        assert_eq!(json["sweep"]["cells"][0]["final_entropy"], 0.25);
        assert_eq!((&json["model_hash"], &json["steps"]), (&json!("0123abcd"), &json!(24)));
    }
}
