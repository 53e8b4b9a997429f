//! Every step of the run: to play, to scrub, and how belief settled meanwhile.

use egui::accesskit::Action;
use egui::{
    Align, Align2, ComboBox, EventFilter, Key, Layout, Pos2, Rect, Role, Sense, Stroke, Ui, Vec2,
    WidgetInfo, pos2, vec2,
};

use crate::studio::run::Run;
use crate::studio::state::{Playback, StudioState};
use crate::studio::theme::{self, GRID, palette};
use crate::studio::widgets::{Chart, Curve, Dash, Icon, empty_state, icon_button};

const ENTROPY_HINT: &str =
    "Mean over all tokens of how undecided the model is; it falls as the picture settles.";
const CHANGES_HINT: &str =
    "Part of the tokens whose most likely code is another than at the step before.";

/// Shows the pane.
pub fn show(ui: &mut Ui, state: &mut StudioState) {
    ui.spacing_mut().item_spacing.y = GRID;
    ui.horizontal(|ui| {
        transport(ui, state);
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| readout(ui, state));
    });
    if state.run.is_none() {
        empty_state(
            ui,
            "The steps of a run will be here",
            "Every step is kept: play them, scrub through them, and see when belief settles.",
        );
        return;
    }
    ui.horizontal(|ui| legend(ui, state));
    track(ui, state);
}

fn transport(ui: &mut Ui, state: &mut StudioState) {
    let last = state.run.as_ref().map_or(0, Run::last);
    let (back, on) = (state.position > 0, state.position < last);
    ui.spacing_mut().item_spacing.x = 0.0;
    if icon_button(ui, Icon::First, "First step (Home)", back).clicked() {
        state.step_by(isize::MIN);
    }
    if icon_button(ui, Icon::Previous, "Previous step (Left)", back).clicked() {
        state.step_by(-1);
    }
    let (icon, name) = match state.playback.playing {
        true => (Icon::Pause, "Pause (Space)"),
        false => (Icon::Play, "Play (Space)"),
    };
    if icon_button(ui, icon, name, last > 0).clicked() {
        state.toggle_play();
    }
    if icon_button(ui, Icon::Next, "Next step (Right)", on).clicked() {
        state.step_by(1);
    }
    if icon_button(ui, Icon::Last, "Last step (End)", on).clicked() {
        state.step_by(isize::MAX);
    }
    ui.add_space(2.0 * GRID);
    ui.spacing_mut().item_spacing.x = 2.0 * GRID;
    ui.checkbox(&mut state.playback.looping, "Loop")
        .on_hover_text("Begin again when playing reaches the end.");
    let rate = |rate: f32| format!("{rate} steps/s");
    let combo = ComboBox::from_id_salt("rate")
        .selected_text(rate(state.playback.rate))
        .width(24.0 * GRID)
        .show_ui(ui, |ui| {
            for value in Playback::RATES {
                ui.selectable_value(&mut state.playback.rate, value, rate(value));
            }
        });
    combo.response.on_hover_text("How fast playing goes.").accessible_name("Playing speed");
}

/// Where one is, in figures that keep their places; what does not fit is left out from the end.
fn readout(ui: &mut Ui, state: &StudioState) {
    let Some(run) = &state.run else { return };
    let Some(frame) = run.frame(state.position) else { return };
    let steps = run.steps();
    let step = match run.is_end(state.position) {
        true => "end".to_owned(),
        false => (state.position + 1).to_string(),
    };
    let fields = [
        ("step", format!("{step}/{steps}"), 22.0, "The step on show, of all."),
        (
            "t",
            format!("{:.3}", run.time(state.position)),
            14.0,
            "Time on the way from noise, 0, to picture, 1.",
        ),
        (
            "NFE",
            run.evaluations(state.position).to_string(),
            15.0,
            "Network evaluations up to here; guidance counts twice.",
        ),
        (
            "",
            format!("{:>5.0} ms", frame.wall.as_secs_f64() * 1e3),
            15.0,
            "Time that this step took, in milliseconds.",
        ),
    ];
    ui.spacing_mut().item_spacing.x = 0.0;
    let mut room = ui.available_width();
    let fitting = fields.iter().take_while(|(_, _, width, _)| {
        room -= width * GRID;
        room >= 0.0
    });
    for (name, value, width, hint) in fields[..fitting.count()].iter().rev() {
        let size = vec2(width * GRID, ui.spacing().interact_size.y);
        let layout = Layout::left_to_right(Align::Center);
        ui.allocate_ui_with_layout(size, layout, |ui| {
            ui.set_min_size(size);
            ui.spacing_mut().item_spacing.x = GRID;
            if !name.is_empty() {
                ui.label(theme::weak(ui, *name)).on_hover_text(*hint);
            }
            ui.label(theme::number(ui, value)).on_hover_text(*hint);
        });
    }
}

fn legend(ui: &mut Ui, state: &StudioState) {
    let Some((run, frame)) =
        state.run.as_ref().and_then(|run| run.frame(state.position).map(|frame| (run, frame)))
    else {
        return;
    };
    ui.add_space(2.0 * GRID);
    let colours = palette(ui.visuals());
    let changed = run.changed(state.position).unwrap_or_default();
    let part =
        changed.iter().filter(|changed| **changed).count() as f32 / changed.len().max(1) as f32;
    let mut entry = |dash, colour, name: &str, value: String, hint: &str| {
        let (rect, _) = ui.allocate_exact_size(vec2(5.0 * GRID, 4.0 * GRID), Sense::hover());
        let ends = [rect.left_center(), rect.right_center()];
        match dash {
            Dash::Solid => {
                ui.painter().line_segment(ends, Stroke::new(2.0, colour));
            }
            Dash::Dashed => ui.painter().extend(egui::Shape::dashed_line(
                &ends,
                Stroke::new(2.0, colour),
                5.0,
                3.0,
            )),
        }
        ui.label(theme::weak(ui, name)).on_hover_text(hint);
        ui.label(theme::number(ui, value)).on_hover_text(hint);
        ui.add_space(3.0 * GRID);
    };
    let entropy = format!("{:.2} nats", frame.mean_entropy);
    entry(Dash::Solid, colours.accent, "mean entropy", entropy, ENTROPY_HINT);
    let rate = format!("{:5.1} %", part * 100.0);
    entry(Dash::Dashed, colours.second, "codes changed", rate, CHANGES_HINT);
}

/// Curves over time, and under them a dot a step; dragging anywhere scrubs.
fn track(ui: &mut Ui, state: &mut StudioState) {
    let size = ui.available_size().max(Vec2::splat(10.0 * GRID));
    let (rect, response) = ui.allocate_exact_size(size, Sense::click_and_drag());
    let mut response = response.on_hover_and_drag_cursor(egui::CursorIcon::ResizeHorizontal);
    let inner = rect.shrink2(vec2(2.0 * GRID, 0.0));
    let (curves, dots) = inner.split_top_bottom_at_y(inner.bottom() - 5.0 * GRID);
    let Some(run) = &state.run else { return };
    let chart = chart(ui, run, curves, state.position);
    chart.paint(ui);
    let weak = palette(ui.visuals()).weak;
    if let [entropy, _] = chart.curves.as_slice()
        && chart.rect.height() > 10.0 * GRID
    {
        // Both curves are low at the end, so that this corner is free.
        let text = format!("top: {:.1} nats, 100 %", entropy.top);
        chart.note(ui, Align2::RIGHT_TOP, &text, weak);
    }
    paint_dots(ui, run, state.position, &chart, dots);

    let mut aim = None;
    if response.dragged() || response.clicked() || response.drag_started() {
        aim = response.interact_pointer_pos().map(|pointer| nearest(run, &chart, pointer));
    }
    let (id, position, positions) = (response.id, state.position, run.positions());
    let focused = response.has_focus();
    if focused {
        // The arrows move along the track rather than to another widget.
        let filter = EventFilter { horizontal_arrows: true, ..EventFilter::default() };
        ui.memory_mut(|memory| memory.set_focus_lock_filter(id, filter));
    }
    let step = ui.input(|input| {
        let asked = |action, key| {
            let pressed = if focused { input.num_presses(key) } else { 0 };
            (input.num_accesskit_action_requests(id, action) + pressed) as isize
        };
        asked(Action::Increment, Key::ArrowRight) - asked(Action::Decrement, Key::ArrowLeft)
    });
    if step != 0 {
        aim = Some(position.saturating_add_signed(step).min(positions - 1));
    }
    if let Some(aim) = aim.filter(|aim| *aim != position || state.playback.playing) {
        state.playback.playing = false;
        state.go_to(aim);
        response.mark_changed();
    }
    response.widget_info(|| WidgetInfo::slider(true, (state.position + 1) as f64, "Step on show"));
    ui.ctx().accesskit_node_builder(id, |node| {
        node.set_role(Role::Slider);
        node.set_min_numeric_value(1.0);
        node.set_max_numeric_value(positions as f64);
        node.add_action(Action::Increment);
        node.add_action(Action::Decrement);
    });
}

fn chart(ui: &Ui, run: &Run, rect: Rect, position: usize) -> Chart {
    let colours = palette(ui.visuals());
    let points = |value: &dyn Fn(usize) -> f32| -> Vec<(f32, f32)> {
        (0..run.frames.len()).map(|at| (run.time(at), value(at))).collect()
    };
    let entropy = points(&|at| run.frames[at].mean_entropy);
    let mut changes = points(&|at| run.frames[at].change_rate);
    if let Some(end) = &run.end {
        let changed = end.changed.iter().filter(|changed| **changed).count();
        changes.push((1.0, changed as f32 / end.changed.len().max(1) as f32));
    }
    let highest = entropy.iter().map(|(_, value)| *value).fold(0.5, f32::max);
    Chart {
        rect: rect.shrink2(vec2(0.0, GRID)),
        curves: vec![
            Curve {
                points: entropy,
                top: (highest * 2.0).ceil() / 2.0,
                colour: colours.accent,
                dash: Dash::Solid,
            },
            Curve { points: changes, top: 1.0, colour: colours.second, dash: Dash::Dashed },
        ],
        cursor: Some(run.time(position)),
    }
}

/// The position whose dot is nearest to the pointer, among those there are.
fn nearest(run: &Run, chart: &Chart, pointer: Pos2) -> usize {
    let distance = |position: &usize| (chart.x(run.time(*position)) - pointer.x).abs();
    (0..run.positions()).min_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap_or(0)
}

fn paint_dots(ui: &Ui, run: &Run, position: usize, chart: &Chart, rect: Rect) {
    let colours = palette(ui.visuals());
    let painter = ui.painter();
    let y = rect.center().y;
    painter.hline(rect.x_range(), y, Stroke::new(1.0, colours.outline));
    // Dots that would touch shrink to what room there is.
    let room = rect.width() / run.steps().max(1) as f32;
    let radius = (room * 0.35).clamp(1.0, 3.0);
    for at in 0..run.times.len() {
        let place = pos2(chart.x(run.time(at)), y);
        if at < run.positions() {
            painter.circle_filled(place, radius, colours.weak);
        } else {
            painter.circle_stroke(place, radius, Stroke::new(1.0, colours.outline));
        }
    }
    let place = pos2(chart.x(run.time(position)), y);
    painter.circle(place, 6.0, colours.accent, Stroke::new(2.0, ui.visuals().panel_fill));
}
