//! Whether the model's beliefs mean what they say, over time, over the picture and over classes.

use egui::{Button, Color32, Grid, Label, RichText, Sense, Ui, Vec2, pos2, vec2};

use crate::calibrate::{Calibration, ClassFigures, Moment};
use crate::flow::{Temperature, Warmth};
use crate::studio::action::{Actions, WindowAction};
use crate::studio::base::text::count;
use crate::studio::base::theme::{self, GRID, palette};
use crate::studio::base::widgets::{
    Cells, Plot, PlotLine, Stroked, choice, empty_state, legend_between, scroll_area, time_slider,
};
use crate::studio::calibration::{Calibrations, Map};
use crate::studio::engine::colormap::{diverging, viridis};
use crate::studio::session::Session;

/// Side of the reliability diagram and of the map, at most, in points.
const SIDE: f32 = 68.0 * GRID;
/// Least width of the diagram and of the map beside the lists, in points.
const BLOCK: f32 = 62.0 * GRID;
/// Height of a plot over time, in points.
const PLOT: f32 = 40.0 * GRID;
/// Least width of a plot, in points.
const WIDTH: f32 = 60.0 * GRID;
/// Least width of the list of classes beside something else, in points: names may be long.
const LIST: f32 = 80.0 * GRID;
/// Width of a share in per cent, in points.
const SHARE: f32 = 13.0 * GRID;
/// Classes that are listed.
const CLASSES: usize = 6;

/// Shows the pane.
pub fn show(
    ui: &mut Ui,
    calibrations: &mut Calibrations,
    session: &mut Session,
    actions: &mut Actions,
) {
    let Some(report) = session.calibration.clone() else {
        return nothing(ui, session, actions);
    };
    scroll_area().show(ui, |ui| {
        head(ui, &report, session, actions);
        ui.add_space(GRID);
        let hint =
            "The time that the diagram, the map and the figures are of: 0 is noise, 1 is data.";
        let times = report.times.iter().map(|moment| moment.t).collect();
        time_slider(ui, &mut calibrations.moment, times, hint);
        let Some(moment) = report.times.get(calibrations.moment).or(report.times.last()) else {
            return;
        };
        ui.add_space(2.0 * GRID);
        let gap = 4.0 * GRID;
        // Three blocks in a row, or the figures under the pictures.
        let width = ui.available_width();
        let wide = width >= 2.0 * (BLOCK + gap) + LIST;
        let of_pictures = if wide { width - gap - LIST } else { width };
        let side = ((of_pictures - gap) / 2.0).clamp(40.0 * GRID, SIDE);
        let lists = |ui: &mut Ui| {
            figures(ui, moment);
            ui.add_space(2.0 * GRID);
            classes(ui, &report, moment);
        };
        ui.horizontal_top(|ui| {
            ui.spacing_mut().item_spacing.x = gap;
            column(ui, side, |ui| reliability(ui, moment, side));
            column(ui, side, |ui| map(ui, &mut calibrations.map, &report, moment, side));
            if wide {
                column(ui, width - 2.0 * (side + gap), lists);
            }
        });
        ui.add_space(2.0 * GRID);
        if !wide {
            let beside = width - side - gap;
            if beside >= LIST {
                ui.horizontal_top(|ui| {
                    ui.spacing_mut().item_spacing.x = gap;
                    column(ui, side, |ui| figures(ui, moment));
                    column(ui, beside, |ui| classes(ui, &report, moment));
                });
            } else {
                column(ui, width, lists);
            }
            ui.add_space(2.0 * GRID);
        }
        over_time(ui, &report, moment.t, &session.draft.temperature());
    });
}

/// A block of the width of the others in its row.
fn column(ui: &mut Ui, width: f32, add: impl FnOnce(&mut Ui)) {
    ui.vertical(|ui| {
        ui.set_width(width);
        ui.spacing_mut().item_spacing = vec2(2.0 * GRID, GRID);
        add(ui);
    });
}

/// What the pane says before anything was measured.
fn nothing(ui: &mut Ui, session: &Session, actions: &mut Actions) {
    let model = session.model.as_ref();
    if model.is_some_and(|model| !model.card.objective.has_posterior()) {
        let hint = "This model predicts no codes, so it has no posterior that could be calibrated.";
        return empty_state(ui, "Nothing to calibrate", hint);
    }
    let hint = "Here you see whether the model's beliefs mean what they say: measured on pictures that it was not \
                trained on. In a terminal: purrscope calibrate MODEL --data FOLDER. Open the model again \
                afterwards, or open a report as a file.";
    empty_state(ui, "This model has not been calibrated yet", hint);
    ui.vertical_centered(|ui| {
        ui.add_space(GRID);
        if ui.button("Open report...").clicked() {
            actions.push(WindowAction::ChooseFile);
        }
    });
}

fn head(ui: &mut Ui, report: &Calibration, session: &mut Session, actions: &mut Actions) {
    ui.horizontal_wrapped(|ui| {
        let in_use = report.schedule.as_ref() == Some(&session.draft.temperature());
        let button = Button::new("Use the implied schedule");
        let hint = match (&report.schedule, in_use) {
            (None, _) => "No time has a temperature that the loss hangs on.",
            (_, true) => "These temperatures are on the controls.",
            _ => "Puts the temperatures that fit best on the controls, as a curve over time.",
        };
        let button = ui
            .add_enabled(report.schedule.is_some() && !in_use, button)
            .on_hover_text(hint)
            .on_disabled_hover_text(hint);
        if let Some(schedule) = report.schedule.as_ref().filter(|_| button.clicked()) {
            session.draft.set_temperature(schedule);
        }
        if ui.button("Open report...").on_hover_text("A report of `purrscope calibrate`.").clicked()
        {
            actions.push(WindowAction::ChooseFile);
        }
        ui.add_space(GRID);
        let text = format!(
            "{} of {}, guidance {}, temperature {}",
            count(report.pictures, "picture"),
            report.data,
            report.guidance,
            report.temperature
        );
        ui.add(Label::new(theme::weak(ui, text.clone())).truncate()).on_hover_text(text);
    });
}

/// Confidence against accuracy.
fn reliability(ui: &mut Ui, moment: &Moment, side: f32) {
    ui.label(theme::section(ui, "Share that is right, by how sure it is"));
    let colours = palette(ui.visuals());
    let bins = &moment.reliability.bins;
    let line = |name: &str, points, colour, stroked| PlotLine {
        name: name.to_owned(),
        points,
        band: Vec::new(),
        colour,
        stroked,
    };
    let found = bins.iter().map(|bin| [bin.confidence as f32, bin.accuracy as f32]).collect();
    let ideal = vec![[0.0, 0.0], [1.0, 1.0]];
    let lines = vec![
        line("calibrated", ideal, colours.weak, Stroked::Dashed),
        line("right", found, colours.accent, Stroked::Solid),
    ];
    Plot { lines, dots: true, ..Plot::default() }
        .show(ui, Vec2::splat(side), "Reliability", "sure of")
        .on_hover_cursor(egui::CursorIcon::Crosshair);
    let error = moment.reliability.error;
    let text = format!("off by {error:.3}, by chance {:.3}", moment.reliability.by_chance);
    ui.label(theme::weak(ui, text)).on_hover_text(
        "Expected calibration error over 15 bins of as many tokens, and what a perfectly calibrated posterior would \
         have from so many independent tokens.",
    );
}

/// What the map shows of a place, from -1 to 1 or 0 to 1 on its ramp, and in words.
fn of_place(map: Map, moment: &Moment, at: usize, most: f32) -> (Color32, String) {
    let places = &moment.places;
    let [surprise, right, sure] =
        [&places.cross_entropy, &places.accuracy, &places.confidence].map(|values| values[at]);
    let colour = match map {
        Map::Gap => diverging((sure - right) / most),
        Map::CrossEntropy => viridis(surprise / most),
        Map::Accuracy => viridis(right),
    };
    (colour, format!("sure of {sure:.3}, right {right:.3}, cross-entropy {surprise:.3} nats"))
}

fn map(ui: &mut Ui, shown: &mut Map, report: &Calibration, moment: &Moment, side: f32) {
    let kinds = [
        (Map::Gap, "Gap", "How much surer than right the model is, by place in the picture."),
        (Map::CrossEntropy, "Cross-entropy", "How surprised the model is by the true code."),
        (Map::Accuracy, "Accuracy", "How often the likeliest code is the true one."),
    ];
    ui.horizontal(|ui| choice(ui, shown, &kinds));
    let places = &moment.places;
    let most = match shown {
        Map::Gap => {
            let pairs = places.confidence.iter().zip(&places.accuracy);
            pairs.map(|(sure, right)| (sure - right).abs()).fold(0.01, f32::max)
        }
        Map::CrossEntropy => places.cross_entropy.iter().copied().fold(0.01, f32::max),
        Map::Accuracy => 1.0,
    };
    let kind = *shown;
    let cells =
        Cells::show(ui, side, report.grid, Sense::hover(), |at| of_place(kind, moment, at, most).0);
    if let Some(at) = cells.response.hover_pos().and_then(|pointer| cells.at(pointer)) {
        let columns = report.grid[1];
        let (_, words) = of_place(kind, moment, at, most);
        let text = format!("token ({}, {}): {words}", at / columns, at % columns);
        cells.response.on_hover_text_at_pointer(text);
    }
    ui.horizontal(|ui| match shown {
        Map::Gap => legend_between(
            ui,
            diverging,
            [-1.0, 1.0],
            [format!("-{most:.2}"), format!("+{most:.2} too sure")],
        ),
        Map::CrossEntropy => {
            legend_between(ui, viridis, [0.0, 1.0], ["0".to_owned(), format!("{most:.2} nats")]);
        }
        Map::Accuracy => {
            legend_between(ui, viridis, [0.0, 1.0], ["0".to_owned(), "1 right".to_owned()]);
        }
    });
}

fn figures(ui: &mut Ui, moment: &Moment) {
    let best = moment.implied.as_ref().map_or_else(
        || "none".to_owned(),
        |implied| format!("{:.3} ± {:.3}", implied.temperature.value, implied.temperature.error),
    );
    let set = moment.sets.iter().find(|set| set.mass == 0.9);
    let sets = set.map_or_else(String::new, |set| {
        format!("{:.1} codes, {:.1} %", set.codes, 100.0 * set.covered)
    });
    let rows = [
        (
            "Cross-entropy",
            format!("{:.4} nats", moment.cross_entropy.value),
            "Mean surprise of the true code. It is the entropy, where the model is calibrated.",
        ),
        ("Entropy", format!("{:.4} nats", moment.entropy), "Mean entropy of the posteriors."),
        (
            "Right",
            format!("{:.1} %", 100.0 * moment.accuracy),
            "Share of the tokens whose likeliest code is the true one.",
        ),
        (
            "Sure of",
            format!("{:.1} %", 100.0 * moment.confidence),
            "Mean probability of the likeliest code. It is the share that is right, where the model is calibrated.",
        ),
        (
            "90 % sets",
            sets,
            "Mean size of the smallest set of codes that has nine tenths of the probability, and how often it holds the true one.",
        ),
        (
            "Best temperature",
            best,
            "Where the cross-entropy at this time is least, with its standard error.",
        ),
        (
            "Left out",
            format!("{:.0} of {:.0} nats", moment.gap.value, moment.apart.value),
            "What the tokens of a picture know of each other, at least, and a picture drawn token by token at this time would get wrong; of all that they hide.",
        ),
    ];
    Grid::new("figures").num_columns(2).spacing(vec2(3.0 * GRID, GRID)).show(ui, |ui| {
        for (name, value, hint) in rows {
            ui.label(theme::weak(ui, name)).on_hover_text(hint);
            ui.label(theme::number(ui, value)).on_hover_text(hint);
            ui.end_row();
        }
    });
}

/// The classes of which the model is furthest from as sure as it is right. Names are cut where there is no more room.
fn classes(ui: &mut Ui, report: &Calibration, moment: &Moment) {
    let off = |of: &&ClassFigures| (of.figures.confidence - of.figures.accuracy).abs();
    let mut furthest: Vec<&ClassFigures> = moment.classes.iter().collect();
    if furthest.len() < 2 {
        return;
    }
    furthest.sort_by(|a, b| off(b).total_cmp(&off(a)));
    ui.label(theme::section(ui, "Classes that are furthest off: sure of, and right"));
    let gap = 3.0 * GRID;
    let room = (ui.available_width() - 2.0 * (gap + SHARE)).max(SHARE);
    let grid = Grid::new("classes").num_columns(3).max_col_width(room).spacing(vec2(gap, GRID));
    grid.show(ui, |ui| {
        for of in furthest.into_iter().take(CLASSES) {
            let name = report.class_names.get(of.class).map_or("", String::as_str);
            // One that is cut is whole where the pointer rests on it.
            ui.add(Label::new(name).truncate());
            for share in [of.figures.confidence, of.figures.accuracy] {
                let share = theme::number(ui, format!("{:.1} %", 100.0 * share));
                ui.add(Label::new(share).extend());
            }
            ui.end_row();
        }
    });
}

/// The curves over time, with a mark at `t`.
fn over_time(ui: &mut Ui, report: &Calibration, t: f64, in_use: &Temperature) {
    let colours = palette(ui.visuals());
    let points = |value: &dyn Fn(&Moment) -> Option<f64>| -> Vec<[f32; 2]> {
        let point = |moment: &Moment| Some([moment.t as f32, value(moment)? as f32]);
        report.times.iter().filter_map(point).collect()
    };
    let line = |name: &str, points, second: bool| PlotLine {
        name: name.to_owned(),
        points,
        band: Vec::new(),
        colour: if second { colours.second } else { colours.accent },
        stroked: if second { Stroked::Dashed } else { Stroked::Solid },
    };
    let implied = |moment: &Moment| Some(moment.implied.as_ref()?.temperature.value);
    let on_controls = |i: u8| {
        let t = f32::from(i) / 100.0;
        match in_use.warmth(t) {
            Warmth::Fixed(temperature) => Some([t, temperature]),
            Warmth::MeanEntropy(_) => None,
        }
    };
    let plots = [
        (
            "Temperature",
            vec![
                line("on the controls", (0..=100).filter_map(on_controls).collect(), true),
                line("fits best", points(&implied), false),
            ],
        ),
        (
            "Calibration error",
            vec![
                line("by chance", points(&|moment| Some(moment.reliability.by_chance)), true),
                line("found", points(&|moment| Some(moment.reliability.error)), false),
            ],
        ),
        (
            "Nats a token",
            vec![
                line("entropy", points(&|moment| Some(moment.entropy)), true),
                line("cross-entropy", points(&|moment| Some(moment.cross_entropy.value)), false),
            ],
        ),
        (
            "Nats a picture",
            vec![
                line("tokens together", points(&|moment| Some(moment.together.value)), true),
                line("tokens apart", points(&|moment| Some(moment.apart.value)), false),
            ],
        ),
    ];
    let gap = 4.0 * GRID;
    let fit = (ui.available_width() + gap) / (WIDTH + gap);
    let columns = if fit >= 4.0 { 4.0 } else { fit.floor().clamp(1.0, 2.0) };
    let width = (ui.available_width() - (columns - 1.0) * gap) / columns;
    for row in plots.chunks(columns as usize) {
        ui.horizontal_top(|ui| {
            ui.spacing_mut().item_spacing.x = gap;
            for (name, lines) in row {
                column(ui, width, |ui| {
                    legend(ui, name, lines);
                    Plot { lines: lines.clone(), mark: Some(t as f32), ..Plot::default() }
                        .show(ui, vec2(width, PLOT), name, "t")
                        .on_hover_cursor(egui::CursorIcon::Crosshair);
                });
            }
        });
        ui.add_space(2.0 * GRID);
    }
}

/// The name of a plot, and of its lines as they are drawn.
fn legend(ui: &mut Ui, name: &str, lines: &[PlotLine]) {
    ui.label(RichText::new(name).color(palette(ui.visuals()).strong));
    ui.horizontal(|ui| {
        for line in lines {
            let (rect, _) = ui.allocate_exact_size(vec2(5.0 * GRID, 2.0 * GRID), Sense::hover());
            let y = rect.center().y;
            let ends = vec![pos2(rect.left(), y), pos2(rect.right(), y)];
            line.stroked.paint(ui.painter(), ends, egui::Stroke::new(1.75, line.colour));
            ui.add(Label::new(theme::section(ui, &line.name)).truncate());
        }
    });
}
