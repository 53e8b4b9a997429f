//! What to generate: class, seed, sampler, temperature, guidance.

use egui::{
    Align, Button, CollapsingHeader, ComboBox, DragValue, Layout, Response, RichText, ScrollArea,
    Slider, SliderClamping, TextEdit, TextStyle, Ui, vec2,
};

use crate::flow::Solver;
use crate::model::Objective;
use crate::studio::draft::{Draft, GridKind, TemperatureKind};
use crate::studio::state::StudioState;
use crate::studio::theme::{self, GRID, palette};
use crate::studio::widgets::{Chart, Curve, Dash, Icon, Row, icon_button};

/// Height of everything but the list of classes, where nothing is folded out.
const REST: f32 = 134.0 * GRID;

/// Shows the pane.
pub fn show(ui: &mut Ui, state: &mut StudioState) {
    // The list of classes takes what room the rest leaves.
    let list = (ui.available_height() - super::PANE_MARGIN - REST).clamp(26.0 * GRID, 120.0 * GRID);
    super::scroll_area().show(ui, |ui| {
        ui.add_enabled_ui(state.model.is_some(), |ui| {
            classes(ui, state, list);
            ui.add_space(GRID);
            batch(ui, state);
            sampler(ui, &mut state.draft);
            temperature(ui, &mut state.draft);
            let objective =
                state.model.as_ref().map_or(Objective::default(), |info| info.card.objective);
            summary(ui, &state.draft, objective);
        });
    });
}

fn heading(ui: &mut Ui, text: &str) {
    ui.add_space(2.0 * GRID);
    ui.label(theme::section(ui, text));
}

fn classes(ui: &mut Ui, state: &mut StudioState, height: f32) {
    let names = state.model.as_ref().map_or(&[][..], |model| &model.card.class_names);
    ui.horizontal(|ui| {
        ui.label(theme::section(ui, "Class"));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            ui.label(RichText::new(state.draft.class()).color(palette(ui.visuals()).accent));
        });
    });
    let hint = match names.len() {
        0 => "Search".to_owned(),
        count => format!("Search {count} classes"),
    };
    let search = TextEdit::singleline(&mut state.class_search)
        .hint_text(hint)
        .desired_width(f32::INFINITY)
        .margin(egui::Margin::symmetric(8, 4));
    let typed = ui.add(search).accessible_name("Search classes");
    let wanted = state.class_search.trim().to_lowercase();
    let fits = |name: &&String| name.to_lowercase().contains(&wanted);
    if typed.lost_focus()
        && ui.input(|input| input.key_pressed(egui::Key::Enter))
        && let Some(first) = names.iter().find(fits)
    {
        state.draft.choose_class(first);
        state.class_search.clear();
        state.reveal_class = true;
    }
    egui::Frame::new()
        .fill(ui.visuals().extreme_bg_color)
        .corner_radius(4)
        .inner_margin(GRID)
        .show(ui, |ui| {
            ui.set_min_height(height);
            ScrollArea::vertical().id_salt("classes").max_height(height).auto_shrink(false).show(
                ui,
                |ui| {
                    let layout = Layout::top_down_justified(Align::Min);
                    ui.with_layout(layout, |ui| {
                        ui.spacing_mut().item_spacing.y = 0.0;
                        let mut found = false;
                        for name in names.iter().filter(fits) {
                            found = true;
                            let chosen = state.draft.classes.contains(name);
                            let response = ui.add(Button::selectable(chosen, name.as_str()));
                            if response.clicked() {
                                state.draft.choose_class(name);
                            }
                            if chosen && std::mem::take(&mut state.reveal_class) {
                                response.scroll_to_me(Some(Align::Center));
                            }
                        }
                        if !found && !names.is_empty() {
                            ui.label(theme::weak(ui, "No class of that name."));
                        }
                    });
                },
            );
        });
}

fn batch(ui: &mut Ui, state: &mut StudioState) {
    let hint =
        "Number that the noise is drawn from: the same seed and settings make the same picture.";
    let mut thrown = false;
    Row::new("Seed", hint).show(ui, |ui| {
        let field = ui.add_sized(
            vec2(17.0 * GRID, ui.spacing().interact_size.y),
            DragValue::new(&mut state.draft.seed).speed(0.2),
        );
        thrown = icon_button(ui, Icon::Dice, "Throw the dice for a new seed", true).clicked();
        ui.checkbox(&mut state.draft.seed_locked, "Lock").on_hover_text(
            "Keep the seed when you press Generate; otherwise each press draws a new one.",
        );
        field
    });
    if thrown {
        state.throw_dice();
    }
    let draft = &mut state.draft;
    Row::new("Count", "Pictures made at once, each from noise of its own.")
        .slider(ui, Slider::new(&mut draft.count, 1..=Draft::MAX_COUNT));
}

fn combo<T: PartialEq + Copy>(
    ui: &mut Ui,
    id: &str,
    chosen: &mut T,
    options: impl IntoIterator<Item = (T, String)>,
) -> Response {
    let options: Vec<_> = options.into_iter().collect();
    let shown = options.iter().find(|(value, _)| value == chosen).map(|(_, name)| name.clone());
    let width = ui.available_width();
    ComboBox::from_id_salt(id)
        .selected_text(shown.unwrap_or_default())
        .width(width)
        .show_ui(ui, |ui| {
            for (value, name) in options {
                ui.selectable_value(chosen, value, name);
            }
        })
        .response
}

fn sampler(ui: &mut Ui, draft: &mut Draft) {
    heading(ui, "Sampler");
    Row::new("Solver", "How the state is carried from one time to the next.").show(ui, |ui| {
        let solvers = Solver::ALL.map(|solver| (solver, solver.to_string()));
        combo(ui, "solver", &mut draft.solver, solvers)
    });
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
        Row::new("Shift", "Above 1 more of the steps lie near the noise.").slider(
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
}

/// A slider that is fine near zero, where temperature matters most.
fn temperature_slider(value: &mut f32) -> Slider<'_> {
    Slider::new(value, 0.0..=2.0)
        .logarithmic(true)
        .smallest_positive(0.05)
        .fixed_decimals(2)
        .clamping(SliderClamping::Never)
}

fn temperature(ui: &mut Ui, draft: &mut Draft) {
    heading(ui, "Temperature");
    Row::new("Course", "How temperature goes over time.").show(ui, |ui| {
        let kinds = TemperatureKind::ALL.map(|kind| (kind, kind.name().to_owned()));
        combo(ui, "temperature", &mut draft.temperature, kinds)
    });
    let warm = "Flattens the belief over codes: 0 takes the likeliest code, 1 is as trained, more is bolder.";
    if draft.temperature == TemperatureKind::Constant {
        Row::new("Value", warm).slider(ui, temperature_slider(&mut draft.from));
    } else {
        Row::new("At t = 0", warm).slider(ui, temperature_slider(&mut draft.from));
        Row::new("At t = 1", warm).slider(ui, temperature_slider(&mut draft.to));
    }
    course(ui, draft);
}

/// Temperature over time, drawn.
fn course(ui: &mut Ui, draft: &Draft) {
    let size = vec2(ui.available_width(), 12.0 * GRID);
    let (rect, response) = ui.allocate_exact_size(size, egui::Sense::hover());
    let temperature = draft.temperature();
    let times = (0..=32).map(|i| i as f32 / 32.0);
    let points: Vec<_> = times.map(|t| (t, temperature.at(t))).collect();
    let highest = points.iter().map(|(_, value)| *value).fold(1.0, f32::max);
    let colours = palette(ui.visuals());
    let curve = Curve { points, top: highest * 1.1, colour: colours.accent, dash: Dash::Solid };
    let inner = rect.shrink2(vec2(0.0, 1.0));
    let chart = Chart { rect: inner, curves: vec![curve], cursor: None };
    chart.paint(ui);
    chart.note(ui, egui::Align2::LEFT_BOTTOM, "noise", colours.weak);
    chart.note(ui, egui::Align2::RIGHT_BOTTOM, "picture", colours.weak);
    response.on_hover_text("Temperature from noise, on the left, to picture, on the right.");
}

fn summary(ui: &mut Ui, draft: &Draft, objective: Objective) {
    ui.add_space(GRID);
    let known = draft.evaluations(objective);
    ui.horizontal(|ui| {
        let hint = "Network evaluations (NFE) of the run; guidance asks twice. An adaptive solver \
                    decides as it goes.";
        let text = known.map_or_else(|| "?".to_owned(), |known| known.to_string());
        ui.label(theme::number(ui, text)).on_hover_text(hint);
        ui.label(theme::weak(ui, "evaluations")).on_hover_text(hint);
    });
    CollapsingHeader::new(RichText::new("As a command").text_style(TextStyle::Small)).show(
        ui,
        |ui| {
            let text = command(draft);
            ui.add(egui::Label::new(RichText::new(&text).monospace()).wrap().selectable(true));
            if ui
                .button("Copy")
                .on_hover_text("Copy the command that makes the same pictures.")
                .clicked()
            {
                ui.ctx().copy_text(text);
            }
        },
    );
}

/// The command line that makes the same pictures.
fn command(draft: &Draft) -> String {
    format!(
        "purrscope sample --class {} --count {} --seed {} --solver {} --grid {} --steps {} \
         --temperature {} --cfg {} --out out",
        draft.class(),
        draft.count,
        draft.seed,
        draft.solver,
        draft.grid(),
        draft.steps,
        draft.temperature(),
        draft.guidance,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_spells_the_settings_as_the_command_line_does() {
        let draft = Draft { temperature: TemperatureKind::Linear, ..Draft::default() };
        let text = command(&draft);
        assert!(text.contains("--class cat-05 --count 4 --seed 42 --solver euler"), "{text}");
        assert!(text.contains("--temperature linear:0.9:0.6 --cfg 1.5"), "{text}");
    }
}
