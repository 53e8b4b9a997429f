//! Jobs in the background, small enough for the bar.

use egui::{ProgressBar, Ui};

use crate::studio::base::jobs::{Job, Jobs};
use crate::studio::base::text::count;
use crate::studio::base::theme::{self, GRID};

/// With less room than this all jobs are in the menu, in points.
const ROOM: f32 = 72.0 * GRID;

/// Shows the job that began first, with what is behind it in a menu; nothing while nothing goes on.
pub fn job_strip<T: Send + 'static>(ui: &mut Ui, jobs: &Jobs<T>) {
    let (shown, wait) = jobs.shown();
    if let Some(wait) = wait {
        ui.ctx().request_repaint_after(wait);
    }
    let Some((first, rest)) = shown.split_first() else { return };
    if ui.available_width() < ROOM {
        return menu(ui, count(shown.len(), "job"), &shown);
    }
    // Whichever side the bar fills from, it reads title, progress, Cancel, and then what is behind.
    let from_right = ui.layout().prefer_right_to_left();
    ui.horizontal(|ui| {
        if from_right {
            more(ui, rest);
            row(ui, first);
        } else {
            row(ui, first);
            more(ui, rest);
        }
    });
}

fn more<T: Send + 'static>(ui: &mut Ui, rest: &[&Job<T>]) {
    if !rest.is_empty() {
        menu(ui, format!("+{}", rest.len()), rest);
    }
}

fn menu<T: Send + 'static>(ui: &mut Ui, text: String, jobs: &[&Job<T>]) {
    ui.menu_button(text, |ui| {
        ui.set_min_width(70.0 * GRID);
        for job in jobs {
            ui.horizontal(|ui| row(ui, job));
        }
    })
    .response
    .on_hover_text("More work in the background")
    .accessible_name(format!("{} more in the background", jobs.len()));
}

fn row<T: Send + 'static>(ui: &mut Ui, job: &Job<T>) {
    if ui.layout().prefer_right_to_left() {
        cancel_button(ui, job);
        progress(ui, job);
        title(ui, job);
    } else {
        title(ui, job);
        progress(ui, job);
        cancel_button(ui, job);
    }
}

fn title<T: Send + 'static>(ui: &mut Ui, job: &Job<T>) {
    ui.add(egui::Label::new(theme::weak(ui, &job.title)).truncate());
}

fn progress<T: Send + 'static>(ui: &mut Ui, job: &Job<T>) {
    let text = format!("{}: {:.0} %", job.title, job.part() * 100.0);
    let bar = ProgressBar::new(job.part()).desired_width(24.0 * GRID).desired_height(1.5 * GRID);
    ui.add(bar).on_hover_text(&text).accessible_name(text);
}

/// A button that lets a job end early.
pub fn cancel_button<T: Send + 'static>(ui: &mut Ui, job: &Job<T>) {
    let button = ui.add_enabled(!job.is_cancelled(), egui::Button::new("Cancel"));
    let button = button.on_hover_text("Cancel this job; nothing is left behind");
    if button.accessible_name(format!("Cancel: {}", job.title)).clicked() {
        job.cancel();
    }
}
