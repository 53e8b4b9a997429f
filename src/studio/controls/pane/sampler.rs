//! Solver, steps, grid, guidance and stochasticity.

use egui::{Slider, SliderClamping, Ui};

use super::parts::{combo, heading, unless};
use crate::flow::Solver;
use crate::model::Objective;
use crate::studio::base::theme::GRID;
use crate::studio::base::widgets::Row;
use crate::studio::session::draft::{Draft, GridKind};

/// Shows the group.
pub fn show(ui: &mut Ui, draft: &mut Draft, objective: Objective) {
    heading(ui, "Sampler");
    let masked = objective == Objective::Dfm;
    solver(ui, draft, masked);
    Row::new("Steps", "Intervals of time from noise to picture: more are slower and finer.")
        .slider(
            ui,
            Slider::new(&mut draft.steps, 1..=Draft::MAX_STEPS)
                .logarithmic(true)
                .clamping(SliderClamping::Edits),
        );
    Row::new("Grid", "Where the times of the steps lie between noise and picture.").show(
        ui,
        |ui| {
            let grids = GridKind::ALL.map(|kind| (kind, kind.name().to_owned()));
            combo(ui, "grid", &mut draft.grid, grids)
        },
    );
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
    Row::new(
        "Guidance",
        "How far to push towards the class: 1 asks once, more exaggerates, 0 ignores the class.",
    )
    .slider(
        ui,
        Slider::new(&mut draft.guidance, 0.0..=6.0)
            .step_by(0.05)
            .fixed_decimals(2)
            .clamping(SliderClamping::Edits),
    );
    stochasticity(ui, draft, masked);
}

fn solver(ui: &mut Ui, draft: &mut Draft, masked: bool) {
    let reason = masked.then_some("The states of this model are codes: they take euler steps.");
    unless(ui, reason, |ui| {
        Row::new("Solver", "How the state is carried from one time to the next.").show(ui, |ui| {
            let solvers = Solver::ALL.map(|solver| (solver, solver.to_string()));
            let mut fixed = Solver::Euler;
            let chosen = if masked { &mut fixed } else { &mut draft.solver };
            combo(ui, "solver", chosen, solvers)
        });
    });
    if draft.solver != Solver::Dopri5 || masked {
        return;
    }
    let (absolute, relative) = &mut draft.tolerances;
    // As the command line has them.
    for (name, full, hint, value) in [
        (
            "atol",
            "Absolute tolerance",
            "Error that a step may make whatever the size of the state.",
            absolute,
        ),
        (
            "rtol",
            "Relative tolerance",
            "Error that a step may make for each unit of the state.",
            relative,
        ),
    ] {
        let slider = Slider::new(value, 1e-6..=0.1)
            .logarithmic(true)
            .custom_formatter(|value, _| format!("{value:.1e}"))
            .clamping(SliderClamping::Edits);
        Row::new(name, hint)
            .show(ui, |ui| {
                let (number, gap) = (16.0 * GRID, ui.spacing().item_spacing.x);
                ui.spacing_mut().interact_size.x = number;
                ui.spacing_mut().slider_width =
                    (ui.available_width() - number - gap).max(8.0 * GRID);
                ui.add(slider)
            })
            .accessible_name(full);
    }
}

/// Fresh noise, or fresh masks, on the way.
fn stochasticity(ui: &mut Ui, draft: &mut Draft, masked: bool) {
    if masked {
        let hint = "Rate at which codes that were revealed are masked again, to be drawn anew.";
        Row::new("Remasking", hint).slider(
            ui,
            Slider::new(&mut draft.eta, 0.0..=20.0)
                .fixed_decimals(2)
                .step_by(0.1)
                .clamping(SliderClamping::Edits),
        );
        return;
    }
    let reason = (draft.solver != Solver::Euler)
        .then_some("Only the solver euler takes steps with noise in them.");
    unless(ui, reason, |ui| {
        let hint = "Fresh noise at every step (eta): 0 follows the flow, 1 is ancestral sampling.";
        let mut none = 0.0;
        let eta = if reason.is_some() { &mut none } else { &mut draft.eta };
        Row::new("Noise", hint)
            .slider(ui, Slider::new(eta, 0.0..=1.0).fixed_decimals(2).step_by(0.05))
            .accessible_name("Stochasticity");
    });
    ui.add_space(GRID / 2.0);
}
