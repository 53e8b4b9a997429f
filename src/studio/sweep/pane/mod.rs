//! Two settings against each other, as a grid of pictures that fills in.

mod grid;
#[cfg(test)]
mod tests;

use egui::{
    Align, Button, ComboBox, Label, Layout, RichText, Role, Sense, Slider, TextEdit, TextStyle, Ui,
    WidgetInfo, vec2,
};

pub use self::grid::SweepPane;
use self::grid::{grid, place};
use crate::flow::SampleSettings;
use crate::io::png;
use crate::studio::action::{Actions, ControlsAction};
use crate::studio::base::text::count;
use crate::studio::base::theme::{self, GRID, PANE_MARGIN, palette};
use crate::studio::base::widgets::{Row, choice, empty_state};
use crate::studio::session::Session;
use crate::studio::sweep::{Phase, Sweep};
use crate::sweep::axis::{AxisText, Parameter};
use crate::sweep::sheet::{self, Show};
use crate::sweep::study::Study;

/// Width of the choice of a parameter, in points.
const PARAMETER: f32 = 32.0 * GRID;

/// Shows the pane.
pub fn show(
    ui: &mut Ui,
    pane: &mut SweepPane,
    sweep: &mut Sweep,
    session: &mut Session,
    actions: &mut Actions,
) {
    ui.scope(|ui| {
        ui.set_max_width(ui.available_width() - PANE_MARGIN);
        form(ui, sweep, session);
        ui.add_space(GRID);
        buttons(ui, pane, sweep, session);
    });
    pane.forget_others(sweep.serial());
    let Some(study) = sweep.study.take() else {
        return empty_state(
            ui,
            "No sweep yet",
            "Choose what varies across and down, then start the sweep: one run a cell, with \
             the settings on the controls for everything else.",
        );
    };
    ui.horizontal(|ui| view_options(ui, pane, &study));
    let chosen = grid(ui, pane, sweep, &study);
    if let Some((cell, again)) = chosen {
        session.adopt(&study.plan.settings(cell));
        actions.push(ControlsAction::RevealClass);
        let text = format!("The settings of {} are on the controls", place(&study, cell));
        session.notices.note(text);
        if again {
            session.generate();
        }
    }
    sweep.study = Some(study);
}

fn form(ui: &mut Ui, sweep: &mut Sweep, session: &Session) {
    let model = &session.model;
    let classes = model.as_ref().map_or(&[][..], |model| &model.card.class_names);
    let (x, y) = sweep.axes(classes);
    // Where the values of an axis begin.
    let first = |parameter| match parameter {
        Parameter::Class => AxisText::of_classes(&session.draft.classes, classes),
        other => AxisText::example(other),
    };
    axis_row(ui, "Across", "What varies from column to column.", &mut sweep.x, None, &first);
    trouble(ui, x.as_ref().err());
    axis_row(
        ui,
        "Down",
        "What varies from row to row.",
        &mut sweep.y,
        Some(&mut sweep.two),
        &first,
    );
    trouble(ui, y.as_ref().and_then(|y| y.as_ref().err()));
    let (Some(model), Some(base)) = (model, session.settings()) else { return };
    if let Err(Some(text)) = sweep.plan(SampleSettings::clone(&base), model) {
        trouble(ui, Some(&text));
    }
}

fn trouble(ui: &mut Ui, text: Option<&String>) {
    let Some(text) = text else { return };
    let colour = palette(ui.visuals()).error;
    ui.add(Label::new(RichText::new(text).text_style(TextStyle::Small).color(colour)).wrap());
}

/// A parameter, and its values as text; `on` is whether there is such an axis at all.
fn axis_row(
    ui: &mut Ui,
    name: &str,
    hint: &str,
    axis: &mut AxisText,
    on: Option<&mut bool>,
    first: &dyn Fn(Parameter) -> AxisText,
) {
    let mut chosen = on.as_ref().is_none_or(|on| **on).then_some(axis.parameter);
    let before = chosen;
    let may_be_none = on.is_some();
    Row::new(name, hint)
        .show(ui, |ui| {
            let shown = |chosen: Option<Parameter>| chosen.map_or("nothing", Parameter::name);
            ComboBox::from_id_salt(name)
                .selected_text(shown(chosen))
                .width(PARAMETER)
                .show_ui(ui, |ui| {
                    if may_be_none {
                        ui.selectable_value(&mut chosen, None, shown(None));
                    }
                    for parameter in Parameter::all() {
                        ui.selectable_value(&mut chosen, Some(parameter), parameter.name());
                    }
                })
                .response
                .on_hover_text(hint)
                .accessible_name(format!("{name}: parameter"));
            let field = TextEdit::singleline(&mut axis.text)
                .desired_width(f32::INFINITY)
                .margin(egui::Margin::symmetric(8, 4))
                .hint_text(axis.parameter.example());
            ui.add_enabled(chosen.is_some(), field)
        })
        .on_hover_text(format!(
            "{}. A list such as {}, or a range: FROM..TO x COUNT, with log for equal ratios.",
            axis.parameter.range(),
            axis.parameter.example()
        ))
        .accessible_name(format!("{name}: values"));
    if chosen != before {
        if let Some(parameter) = chosen
            && parameter != axis.parameter
        {
            *axis = first(parameter);
        }
        if let Some(on) = on {
            *on = chosen.is_some();
        }
    }
}

/// Start, pause and stop, how far it is, and exports.
fn buttons(ui: &mut Ui, pane: &SweepPane, sweep: &mut Sweep, session: &mut Session) {
    let plan = match (&session.model, session.settings()) {
        (Some(model), Some(base)) => sweep.plan(SampleSettings::clone(&base), model).ok(),
        _ => None,
    };
    ui.horizontal_wrapped(|ui| {
        let colours = palette(ui.visuals());
        let phase = sweep.phase();
        match phase {
            Phase::Idle => {
                let text = RichText::new("Start sweep").color(colours.on_accent);
                let start = ui.add_enabled(plan.is_some(), Button::new(text).fill(colours.accent));
                let start = start
                    .on_hover_text("Compute every cell, with the settings on the controls for everything else.")
                    .on_disabled_hover_text("Needs a model and valid axes.")
                    .accessible_name("Start sweep");
                if start.clicked() {
                    sweep.begin_typed(session);
                }
            }
            Phase::Running => {
                let hint = "Stop the current cell and wait until you resume.";
                if ui.button("Pause sweep").on_hover_text(hint).clicked() {
                    sweep.pause(session);
                }
            }
            Phase::Paused => {
                if ui.button("Resume sweep").on_hover_text("Continue with the next cell.").clicked() {
                    sweep.resume();
                }
            }
        }
        if phase != Phase::Idle {
            let hint = "End the sweep and keep the finished cells.";
            if ui.button("Stop sweep").on_hover_text(hint).clicked() {
                sweep.stop(session);
            }
        } else if has_rest(sweep, session) {
            let hint = "Compute the cells that were skipped by a stop or whose runs failed.";
            if ui.button("Finish the sweep").on_hover_text(hint).clicked() {
                sweep.retry();
            }
        }
        let cells = plan.as_ref().map(|plan| (plan.columns(), plan.rows()));
        exports(ui, pane.show, sweep);
        // At the end, so that nothing moves with its length.
        ui.label(theme::weak(ui, status(sweep, session, cells)));
    });
    if sweep.phase() != Phase::Idle {
        progress(ui, sweep);
    }
}

/// Whether cells of the last sweep can still be made, by the model that made the others.
fn has_rest(sweep: &Sweep, session: &Session) -> bool {
    let study = sweep.study.as_ref();
    study.is_some_and(|study| {
        let same = session.model.as_ref().is_some_and(|model| model.hash == study.hash);
        same && (study.waiting().is_some() || sweep.has_failed())
    })
}

/// How far it is, in words.
fn status(sweep: &Sweep, session: &Session, typed: Option<(usize, usize)>) -> String {
    let typed = match typed {
        Some((columns, rows)) => format!("{columns} x {rows} cells"),
        None => String::new(),
    };
    let Some(study) = &sweep.study else { return typed };
    let of = format!("{} of {}", study.settled(), count(study.cells.len(), "cell"));
    match sweep.phase() {
        Phase::Idle => of,
        Phase::Paused => format!("{of}, paused"),
        Phase::Running if session.active.is_some() => format!("{of}, waiting for your run"),
        Phase::Running => match sweep.time_left() {
            Some(left) => format!("{of}, {} left", duration(left.as_secs_f64())),
            None => of,
        },
    }
}

fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 1.0 => "less than a second".to_owned(),
        s if s < 90.0 => format!("{s:.0} s"),
        s if s < 5400.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

fn progress(ui: &mut Ui, sweep: &Sweep) {
    let Some(study) = &sweep.study else { return };
    let size = vec2(ui.available_width(), GRID / 2.0);
    let (rect, response) = ui.allocate_exact_size(size, Sense::hover());
    let part = sweep.progress().map_or(0.0, |(_, part)| part);
    let done = (study.settled() as f64 + part) / study.cells.len().max(1) as f64;
    response.widget_info(|| {
        let text = format!("Sweep: {} of {} cells", study.settled(), study.cells.len());
        WidgetInfo::labeled(Role::ProgressIndicator, true, text)
    });
    let colours = palette(ui.visuals());
    ui.painter().rect_filled(rect, 1.0, colours.outline);
    let done = rect.with_max_x(rect.left() + done as f32 * rect.width());
    ui.painter().rect_filled(done, 1.0, colours.accent);
}

fn exports(ui: &mut Ui, show: Show, sweep: &mut Sweep) {
    let Some(study) = &sweep.study else { return };
    let any = study.settled() > 0;
    let hint = "Save the grid as one PNG, with the names and values of the axes drawn in and all \
                settings inside.";
    let button = ui.add_enabled(any, Button::new("Export sheet"));
    if button.on_hover_text(hint).clicked() {
        let study = study.clone();
        sweep.dialogs.save_made(ui.ctx(), format!("{}.png", study.file_stem()), move || {
            let json = study.to_json().map_err(|error| error.to_string())?;
            png::encode(&sheet::draw(&study, show), &json).map_err(|error| error.to_string())
        });
    }
    let hint = "Save evaluations, time and entropy of every cell as comma-separated values.";
    let button = ui.add_enabled(any, Button::new("Export numbers"));
    if button.on_hover_text(hint).clicked() {
        let study = study.clone();
        let name = format!("{}.csv", study.file_stem());
        sweep.dialogs.save_made(ui.ctx(), name, move || Ok(study.to_csv().into_bytes()));
    }
}

fn view_options(ui: &mut Ui, pane: &mut SweepPane, study: &Study) {
    let several = (0..study.cells.len()).any(|cell| study.plan.pictures(cell) > 1);
    if several {
        let options = [
            (Show::First, "First picture", "Show the first picture of each cell."),
            (Show::All, "All pictures", "Show every picture of each cell."),
        ];
        choice(ui, &mut pane.show, &options);
    }
    ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
        ui.add_space(PANE_MARGIN);
        ui.spacing_mut().slider_width = 24.0 * GRID;
        let zoom = Slider::new(&mut pane.zoom, 0.5..=4.0).logarithmic(true).show_value(false);
        ui.add(zoom).on_hover_text("Size of the pictures.").accessible_name("Size of the pictures");
        ui.label(theme::weak(ui, "Size"));
    });
}
