//! Runs of training: started, watched, compared, stopped and resumed.

mod figures;
mod looks;
mod new_run;
mod samples;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use egui::{Align, Button, Label, Layout, ProgressBar, RichText, TextEdit, Ui, vec2};

use self::looks::{short_name, swatch};
use crate::studio::base::text::count;
use crate::studio::base::theme::{self, GRID, PANE_MARGIN, palette};
use crate::studio::base::widgets::{scroll_area, short};
use crate::studio::engine::ModelSource;
use crate::studio::session::Session;
use crate::studio::training::{Form, Outcome, Plan, RunView, Training};
use crate::train::Progress;

/// Width of the column of the run, in points.
const COLUMN: f32 = 84.0 * GRID;
/// A pane narrower than this has everything in one column.
const NARROW: f32 = 190.0 * GRID;

/// Shows the pane.
pub fn show(ui: &mut Ui, training: &mut Training, session: &mut Session) {
    training.follow(ui.ctx(), &mut session.notices);
    let mut wanted = None;
    if ui.available_width() >= NARROW {
        ui.horizontal_top(|ui| {
            ui.spacing_mut().item_spacing.x = 3.0 * GRID;
            let height = ui.available_height();
            let column = Layout::top_down(Align::Min);
            ui.allocate_ui_with_layout(vec2(COLUMN, height), column, |ui| {
                scroll_area().id_salt("run").show(ui, |ui| {
                    ui.set_width(COLUMN - PANE_MARGIN);
                    wanted = run_column(ui, training, session);
                });
            });
            ui.vertical(|ui| {
                scroll_area().id_salt("figures").show(ui, |ui| figures::show(ui, training));
            });
        });
    } else {
        scroll_area().show(ui, |ui| {
            wanted = run_column(ui, training, session);
            ui.add_space(3.0 * GRID);
            figures::show(ui, training);
        });
    }
    if let Some(model) = wanted {
        session.load_model(ModelSource::File(model));
    }
}

/// The run file, the run in progress and the runs shown; gives a model that is to be opened.
fn run_column(ui: &mut Ui, training: &mut Training, session: &Session) -> Option<PathBuf> {
    if let Some(form) = &mut training.form {
        ui.label(theme::section(ui, "New run"));
        if new_run::show(ui, form, training.device, session) {
            training.form = None;
        }
        return runs(ui, training);
    }
    ui.label(theme::section(ui, "Run file"));
    file_row(ui, training);
    match &training.plan {
        Some(Ok(plan)) => words(ui, plan),
        Some(Err(text)) => {
            let text = RichText::new(text).color(palette(ui.visuals()).error);
            ui.add(Label::new(text).wrap());
        }
        None => {
            let hint = "A TOML file that describes the training, as for `purrscope --train`. Without \
                        one, begin with a folder of pictures:";
            ui.add(Label::new(theme::weak(ui, hint)).wrap());
        }
    }
    let new = ui.add_enabled(training.job.is_none(), Button::new("New run from pictures"));
    let new = new
        .on_hover_text("Make a run file of a folder of pictures, and see how long it will take")
        .on_disabled_hover_text("A run is in progress.");
    if new.clicked() {
        training.form = Some(Form::default());
    }
    ui.add_space(GRID);
    buttons(ui, training);
    progress(ui, training);
    match &training.outcome {
        Some(Outcome::Good(text)) => {
            ui.add(Label::new(text).wrap());
        }
        Some(Outcome::Bad(text)) => {
            let text = RichText::new(text).color(palette(ui.visuals()).error);
            ui.add(Label::new(text).wrap());
        }
        None => {}
    }
    runs(ui, training)
}

fn file_row(ui: &mut Ui, training: &mut Training) {
    ui.horizontal(|ui| {
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            ui.add_enabled_ui(!training.recent.is_empty(), |ui| {
                ui.menu_button("Recent", |ui| {
                    for path in training.recent.clone() {
                        if ui.button(path.display().to_string()).clicked() {
                            training.read(path);
                            ui.close();
                        }
                    }
                })
                .response
                .on_hover_text("Run files that were read before");
            });
            if ui
                .button("Browse")
                .on_hover_text("Choose a run file")
                .accessible_name("Browse for a run file")
                .clicked()
            {
                training.choose_file(ui.ctx());
            }
            let field = TextEdit::singleline(&mut training.file)
                .hint_text("run.toml")
                .desired_width(f32::INFINITY)
                .margin(egui::Margin::symmetric(8, 4));
            let mut typed = ui.add(field).accessible_name("Run file");
            if !training.file.is_empty() {
                typed = typed.on_hover_text(&training.file);
            }
            if typed.changed() {
                training.plan = None;
            }
            if typed.lost_focus() && training.plan.is_none() {
                training.read_typed();
            }
        });
    });
}

fn words(ui: &mut Ui, plan: &Plan) {
    ui.spacing_mut().item_spacing.y = GRID;
    for (name, value, hint) in plan.words() {
        ui.horizontal_top(|ui| {
            let size = vec2(22.0 * GRID, 4.5 * GRID);
            ui.allocate_ui_with_layout(size, Layout::left_to_right(Align::Min), |ui| {
                ui.set_min_size(size);
                ui.label(theme::weak(ui, name)).on_hover_text(hint);
            });
            ui.add(Label::new(value).wrap()).on_hover_text(hint);
        });
    }
    if let Some(text) = &plan.warning {
        let text = RichText::new(text).color(palette(ui.visuals()).error);
        ui.add(Label::new(text).wrap());
    }
    ui.spacing_mut().item_spacing.y = 2.0 * GRID;
}

fn buttons(ui: &mut Ui, training: &mut Training) {
    let colours = palette(ui.visuals());
    let (plan, running) = (training.ready(), training.job.is_some());
    let held = plan.as_ref().is_some_and(|plan| plan.held);
    let free = plan.is_some() && !running;
    let button = |name: &str, leads: bool| match leads {
        true => Button::new(RichText::new(name).color(colours.on_accent)).fill(colours.accent),
        false => Button::new(name),
    };
    ui.horizontal(|ui| {
        let start = ui
            .add_enabled(free && !held, button("Start", free && !held))
            .on_hover_text("Train from the beginning")
            .on_disabled_hover_text(match (held, running) {
                (_, true) => "A run is in progress.",
                (true, _) => {
                    "A run is already there: resume it, or give another `out` in the run file."
                }
                _ => "Choose a run file first.",
            })
            .accessible_name("Start training");
        if start.clicked() {
            training.start(ui.ctx(), false);
        }
        let resume = ui
            .add_enabled(free && held, button("Resume", free && held))
            .on_hover_text("Continue from the last checkpoint")
            .on_disabled_hover_text("There is no checkpoint to go on from.")
            .accessible_name("Resume training");
        if resume.clicked() {
            training.start(ui.ctx(), true);
        }
        let stopping = training.job.as_ref().is_some_and(|job| job.is_stopping());
        let stop = ui
            .add_enabled(
                running && !stopping,
                Button::new(if stopping { "Stopping" } else { "Stop" }),
            )
            .on_hover_text("Save a checkpoint after the current step, and stop")
            .accessible_name("Stop training");
        if stop.clicked()
            && let Some(job) = &training.job
        {
            job.stop();
        }
    });
}

/// How far the run in progress is.
fn progress(ui: &mut Ui, training: &Training) {
    let Some(job) = &training.job else { return };
    let fill = palette(ui.visuals()).accent;
    let bar = ProgressBar::new(job.part()).desired_height(1.5 * GRID).fill(fill).corner_radius(3);
    ui.add(bar).accessible_name("Training progress");
    let text = match &job.progress {
        Some(Progress::Step { step, steps, loss, images_per_second }) => {
            let left =
                job.left().map_or_else(String::new, |left| format!(", {} left", about(left)));
            format!(
                "Step {step} of {steps}, loss {}, {images_per_second:.1} images/s{left}",
                short(*loss as f32)
            )
        }
        Some(Progress::Encoding { done, pictures }) => {
            format!("Turning pictures into codes, once: {done} of {pictures}")
        }
        None => "Beginning".to_owned(),
    };
    let text = match job.plan.stages.len() {
        1 => text,
        stages => format!("Stage {} of {stages}. {text}", job.stage + 1),
    };
    ui.add(Label::new(theme::number(ui, text)).wrap());
    let device = job.device.as_deref().unwrap_or("a device that is being opened");
    let text = format!(
        "On {device}. If the studio is closed meanwhile, Resume goes on from the last checkpoint."
    );
    ui.add(Label::new(theme::weak(ui, text)).wrap());
}

/// A duration in words, as exactly as anyone needs.
fn about(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..100 => format!("{seconds} s"),
        100..6000 => format!("{} min", seconds.div_ceil(60)),
        6000..172_800 => format!("{:.1} h", seconds as f64 / 3600.0),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// The runs shown; gives a model that is to be opened.
fn runs(ui: &mut Ui, training: &mut Training) -> Option<PathBuf> {
    ui.add_space(3.0 * GRID);
    ui.label(theme::section(ui, "Runs shown")).on_hover_text(
        "Their curves lie over one another and their samples side by side, at most four; the model of \
         the one that is chosen can be opened.",
    );
    let mut gone = None;
    for at in 0..training.folders.len() {
        let name = short_name(&training.folders, at);
        let folder = training.folders[at].clone();
        let run = training.run(&folder);
        ui.horizontal(|ui| {
            swatch(ui, at);
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                let hide = ui.button("Hide").on_hover_text("Hide this run; its files stay");
                if hide.accessible_name(format!("Hide {name}")).clicked() {
                    gone = Some(at);
                }
                let steps = run.as_ref().map_or(0, |run| run.steps);
                let text = count(steps, "step");
                ui.label(theme::section(ui, &text));
                ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                    let chosen = training.chosen == at;
                    let button = Button::selectable(chosen, &name).truncate();
                    let hint = folder.display().to_string();
                    if ui.add(button).on_hover_text(hint).clicked() {
                        training.choose_run(at);
                    }
                });
            });
        });
        if let Some(text) = run.and_then(|run| run.trouble.clone()) {
            ui.add(Label::new(theme::weak(ui, text)).wrap());
        }
    }
    if let Some(at) = gone {
        training.forget(at);
    }
    folder_row(ui, training);
    open_model(ui, training)
}

fn folder_row(ui: &mut Ui, training: &mut Training) {
    ui.horizontal(|ui| {
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            if ui
                .button("Browse")
                .on_hover_text("Choose the folder of a run")
                .accessible_name("Browse for a run's folder")
                .clicked()
            {
                training.choose_folder(ui.ctx());
            }
            let typed = !training.folder.trim().is_empty();
            let add = ui.add_enabled(typed, Button::new("Show"));
            let add =
                add.on_hover_text("Show this run's curves too").accessible_name("Show the folder");
            let field = TextEdit::singleline(&mut training.folder)
                .hint_text("a run's folder")
                .desired_width(f32::INFINITY)
                .margin(egui::Margin::symmetric(8, 4));
            let field = ui.add(field).accessible_name("Folder of a run");
            let entered =
                field.lost_focus() && ui.input(|input| input.key_pressed(egui::Key::Enter));
            if typed && (add.clicked() || entered) {
                let folder = std::mem::take(&mut training.folder);
                training.watch(PathBuf::from(folder.trim()));
            }
        });
    });
}

fn open_model(ui: &mut Ui, training: &Training) -> Option<PathBuf> {
    let run = training.chosen_run()?;
    let RunView { model, tokenizer, .. } = &*run;
    let why_not = match tokenizer {
        true => "A tokenizer is no model by itself: train a flow on it.",
        false => "The first checkpoint writes the model.",
    };
    let button = Button::new("Open newest model in the canvas");
    let clicked = ui
        .add_enabled(model.is_some(), button)
        .on_hover_text("Load the model of the last checkpoint, with averaged weights, and make pictures with it")
        .on_disabled_hover_text(why_not)
        .clicked();
    model.as_ref().filter(|_| clicked).map(|(path, _)| path.clone())
}

#[cfg(test)]
mod durations {
    use super::*;

    #[test]
    fn durations_are_about_right() {
        for (seconds, text) in [(42, "42 s"), (130, "3 min"), (7200, "2.0 h"), (200_000, "2 days")]
        {
            assert_eq!(about(Duration::from_secs(seconds)), text);
        }
    }
}
