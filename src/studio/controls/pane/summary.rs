//! What the run will cost, and the command that makes the same.

use egui::{CollapsingHeader, RichText, TextStyle, Ui};

use super::command::{NO_COMMAND, command};
use super::parts::{figure, remark};
use crate::model::Objective;
use crate::studio::base::theme::{self, GRID};
use crate::studio::session::Session;
use crate::studio::session::run::Run;

const EVALUATIONS: &str = "Network evaluations (NFE) of the run; guidance asks twice. An adaptive solver decides as it goes.";
const PACE: &str = "Measured time of a step of the current run.";
const TOTAL: &str = "Estimated time of a run with these settings, at the speed of the current run.";

/// Shows the group.
pub fn show(ui: &mut Ui, session: &Session, objective: Objective) {
    let Some((settings, model)) = session.settings().zip(session.model.as_ref()) else { return };
    ui.add_space(2.0 * GRID);
    let asked = settings.evaluations(objective);
    let here = |run: &&Run| run.model.hash == model.hash && run.model.device == model.device;
    let pace = session.run.as_ref().filter(here).and_then(Pace::of);
    ui.horizontal_wrapped(|ui| {
        let text = asked.map_or_else(|| "?".to_owned(), |asked| asked.to_string());
        figure(ui, text, "evaluations", EVALUATIONS);
        if let Some(pace) = &pace {
            ui.add_space(GRID);
            figure(ui, format!("{:.0}", pace.step * 1e3), "ms a step", PACE);
            if let Some(asked) = asked {
                let total = pace.evaluation * (asked * settings.labels.len()) as f64;
                ui.add_space(GRID);
                figure(ui, format!("{total:.1}"), "s in all", TOTAL);
            }
        }
    });
    let title = RichText::new("Command line").text_style(TextStyle::Small);
    CollapsingHeader::new(title).show(ui, |ui| match command(&settings, model) {
        None => remark(ui, NO_COMMAND),
        Some(text) => {
            let shown = RichText::new(&text).monospace();
            ui.add(egui::Label::new(shown).wrap().selectable(true));
            let copy = ui.button("Copy").on_hover_text("Copy the command.");
            if copy.accessible_name("Copy the command").clicked() {
                ui.ctx().copy_text(text);
            }
        }
    });
    ui.label(theme::section(ui, ""));
}

/// How fast a run was.
#[derive(Debug, PartialEq)]
struct Pace {
    /// Seconds a step.
    step: f64,
    /// Seconds an evaluation of the network, for one picture.
    evaluation: f64,
}

impl Pace {
    /// The pace of a run: the middle of its steps, so that the first one, which may compile
    /// kernels, does not count.
    fn of(run: &Run) -> Option<Self> {
        let mut before = 0;
        let mut steps: Vec<(f64, f64)> = run
            .frames
            .iter()
            .map(|frame| {
                let asked = frame.evaluations.saturating_sub(before).max(1);
                before = frame.evaluations;
                let seconds = frame.wall.as_secs_f64();
                (seconds, seconds / (asked * run.shape.batch.max(1)) as f64)
            })
            .collect();
        steps.sort_by(|a, b| a.1.total_cmp(&b.1));
        let (step, evaluation) = *steps.get(steps.len() / 2)?;
        Some(Self { step, evaluation })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::studio::engine::{ModelSource, Worker};
    use crate::studio::testing::fake::{FakeWorker, settings};

    #[test]
    fn the_pace_is_that_of_the_middle_step() {
        let mut worker = FakeWorker::default();
        let info = Arc::new(worker.load(&ModelSource::Embedded).unwrap());
        let settings = settings(2, 5);
        let mut trajectory = worker.begin(&settings, None).unwrap();
        let first = trajectory.advance().unwrap();
        let mut run = Run::new(1, settings.clone(), info, first.x.shape);
        assert_eq!(Pace::of(&run), None);
        let slow = std::time::Duration::from_secs(9);
        run.push(Arc::new(crate::flow::StepRecord { wall: slow, ..first }), None);
        while let Some(record) = trajectory.advance() {
            run.push(Arc::new(record), None);
        }
        // 48 ms a step, of two evaluations of two pictures.
        let pace = Pace::of(&run).unwrap();
        assert!((pace.step - 0.048).abs() < 1e-9 && (pace.evaluation - 0.012).abs() < 1e-9);
    }
}
