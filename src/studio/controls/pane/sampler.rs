//! Solver, steps, grid, guidance and stochasticity.

use std::ops::RangeInclusive;

use egui::{DragValue, Slider, SliderClamping, Ui};

use super::parts::{combo, heading, unless};
use crate::flow::settings::{self, Setting, Span};
use crate::flow::{SampleSettings, Solver};
use crate::model::Objective;
use crate::studio::base::theme::GRID;
use crate::studio::base::widgets::Row;
use crate::studio::session::draft::Draft;
use crate::studio::session::kinds::GridKind;

fn row(setting: &Setting) -> Row<'static> {
    Row::new(setting.label, setting.hint)
}

/// Shows the group.
pub fn show(ui: &mut Ui, draft: &mut Draft, objective: Objective) {
    heading(ui, "Sampler");
    let masked = objective == Objective::Dfm;
    solver(ui, draft, masked);
    row(&settings::STEPS).slider(
        ui,
        Slider::new(&mut draft.sampling.steps, 1..=Draft::MAX_STEPS)
            .logarithmic(true)
            .clamping(SliderClamping::Edits),
    );
    row(&settings::GRID).show(ui, |ui| {
        let grids = GridKind::ALL.map(|kind| (kind, kind.name().to_owned()));
        combo(ui, "grid", &mut draft.grid, grids)
    });
    if draft.grid == GridKind::Shifted {
        Row::new(
            "Shift",
            "Above 1 more of the steps lie near the noise, below 1 near the picture.",
        )
        .slider(
            ui,
            Slider::new(&mut draft.shift, 0.25..=8.0)
                .logarithmic(true)
                .fixed_decimals(2)
                .clamping(SliderClamping::Edits),
        );
    }
    row(&settings::GUIDANCE).slider(
        ui,
        Slider::new(&mut draft.sampling.guidance, 0.0..=6.0)
            .step_by(0.05)
            .fixed_decimals(2)
            .clamping(SliderClamping::Edits),
    );
    if draft.sampling.guidance != 1.0 {
        interval(ui, &mut draft.sampling.guidance_interval);
    }
    stochasticity(ui, draft, masked);
}

fn solver(ui: &mut Ui, draft: &mut Draft, masked: bool) {
    let reason = masked.then_some("The states of this model are codes: they take euler steps.");
    unless(ui, reason, |ui| {
        row(&settings::SOLVER).show(ui, |ui| {
            let solvers = Solver::ALL.map(|solver| (solver, solver.to_string()));
            let mut fixed = Solver::Euler;
            let chosen = if masked { &mut fixed } else { &mut draft.sampling.solver };
            combo(ui, "solver", chosen, solvers)
        });
    });
    if draft.sampling.solver != Solver::Dopri5 || masked {
        return;
    }
    let SampleSettings { atol, rtol, .. } = &mut draft.sampling;
    for (setting, value) in [(&settings::ATOL, atol), (&settings::RTOL, rtol)] {
        let slider = Slider::new(value, 1e-6..=0.1)
            .logarithmic(true)
            .custom_formatter(|value, _| format!("{value:.1e}"))
            .clamping(SliderClamping::Edits);
        Row::new(setting.key, setting.hint)
            .show(ui, |ui| {
                let (number, gap) = (16.0 * GRID, ui.spacing().item_spacing.x);
                ui.spacing_mut().interact_size.x = number;
                ui.spacing_mut().slider_width =
                    (ui.available_width() - number - gap).max(8.0 * GRID);
                ui.add(slider)
            })
            .accessible_name(setting.label);
    }
}

/// The times between which there is guidance: two numbers that keep each other in order.
fn interval(ui: &mut Ui, interval: &mut Span) {
    let label = settings::GUIDANCE_INTERVAL.label;
    Row::new("Guided at", settings::GUIDANCE_INTERVAL.hint).show(ui, |ui| {
        ui.label("t from");
        let from = ui.add(time_value(&mut interval.from, 0.0..=interval.to));
        from.clone().accessible_name(format!("{label}, from"));
        ui.label("to");
        let to = ui.add(time_value(&mut interval.to, interval.from..=1.0));
        to.clone().accessible_name(format!("{label}, to"));
        from | to
    });
}

fn time_value(value: &mut f32, range: RangeInclusive<f32>) -> DragValue<'_> {
    DragValue::new(value).speed(0.01).range(range).fixed_decimals(2)
}

/// Fresh noise, or fresh masks, on the way.
fn stochasticity(ui: &mut Ui, draft: &mut Draft, masked: bool) {
    if masked {
        let hint = "Rate at which revealed codes are masked again and redrawn.";
        Row::new("Remasking", hint).slider(
            ui,
            Slider::new(&mut draft.sampling.eta, 0.0..=20.0)
                .fixed_decimals(2)
                .step_by(0.1)
                .clamping(SliderClamping::Edits),
        );
        return;
    }
    let reason = (draft.sampling.solver != Solver::Euler)
        .then_some("Only the solver euler takes steps with noise in them.");
    unless(ui, reason, |ui| {
        let mut none = 0.0;
        let eta = if reason.is_some() { &mut none } else { &mut draft.sampling.eta };
        Row::new("Noise", settings::ETA.hint)
            .slider(ui, Slider::new(eta, 0.0..=1.0).fixed_decimals(2).step_by(0.05))
            .accessible_name("Stochasticity");
    });
    ui.add_space(GRID / 2.0);
}
