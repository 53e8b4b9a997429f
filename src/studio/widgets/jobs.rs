//! Jobs in the background, small enough for the bar.

use egui::{ProgressBar, Ui};

use crate::studio::jobs::{Job, Jobs};
use crate::studio::theme::{self, GRID};

/// Shows the job that began first, with what is behind it in a menu; nothing while nothing goes on.
pub fn job_strip(ui: &mut Ui, jobs: &Jobs) {
    let (shown, wait) = jobs.shown();
    if let Some(wait) = wait {
        ui.ctx().request_repaint_after(wait);
    }
    let Some((first, rest)) = shown.split_first() else { return };
    ui.horizontal(|ui| {
        if !rest.is_empty() {
            ui.menu_button(format!("+{}", rest.len()), |ui| {
                ui.set_min_width(70.0 * GRID);
                for job in rest {
                    ui.horizontal(|ui| row(ui, job));
                }
            })
            .response
            .on_hover_text("More work in the background")
            .accessible_name(format!("{} more jobs", rest.len()));
        }
        row(ui, first);
    });
}

fn row(ui: &mut Ui, job: &Job) {
    let part = job.part();
    let title = theme::weak(ui, &job.title);
    ui.add(egui::Label::new(title).truncate());
    let bar = ProgressBar::new(part).desired_width(24.0 * GRID).desired_height(1.5 * GRID);
    ui.add(bar)
        .on_hover_text(format!("{}: {:.0} %", job.title, part * 100.0))
        .accessible_name(format!("{}: {:.0} %", job.title, part * 100.0));
    let cancel = ui.add_enabled(!job.is_cancelled(), egui::Button::new("Cancel"));
    let cancel = cancel.on_hover_text("Ends it; nothing is left behind");
    if cancel.accessible_name(format!("Cancel: {}", job.title)).clicked() {
        job.cancel();
    }
}
