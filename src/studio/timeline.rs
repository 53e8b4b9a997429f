//! Every step of the run: to play, to scrub, and how belief settled meanwhile.

use egui::accesskit::Action;
use egui::{
    Align, Align2, Button, Color32, ComboBox, EventFilter, FontId, Key, Layout, Pos2, Rect, Role,
    Sense, Stroke, Ui, Vec2, WidgetInfo, pos2, vec2,
};

use crate::studio::base::theme::{self, GRID, palette};
use crate::studio::base::widgets::{Chart, Curve, Dash, Icon, empty_state, icon_button};
use crate::studio::session::Session;
use crate::studio::session::branch::BranchPoint;
use crate::studio::session::playback::Playback;
use crate::studio::session::run::Run;

const ENTROPY_HINT: &str =
    "Mean over all tokens of how undecided the model is; it falls as the picture settles.";
const TEMPERATURE_HINT: &str =
    "The temperature of the posterior; with an entropy target, the value that met it.";
const CHANGES_HINT: &str =
    "Share of tokens whose most likely code changed since the previous step.";

/// A timeline narrower than this shows what its curves are when one points at them, in points.
const NAMED: f32 = 148.0 * GRID;

/// Shows the pane.
pub fn show(ui: &mut Ui, session: &mut Session) {
    ui.spacing_mut().item_spacing.y = GRID;
    // A row that finds no room is cut off, and takes nothing along.
    let width = ui.available_width();
    ui.horizontal(|ui| {
        transport(ui, session);
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| readout(ui, session));
    });
    if session.run.is_none() {
        empty_state(
            ui,
            "No run yet",
            "Every step of a run is kept here: play them, scrub through them, and see when the codes settle.",
        );
        return;
    }
    ui.horizontal(|ui| legend(ui, session, width > NAMED));
    track(ui, session, width);
}

fn transport(ui: &mut Ui, session: &mut Session) {
    let last = session.run.as_ref().map_or(0, Run::last);
    let (back, on) = (session.position > 0, session.position < last);
    ui.spacing_mut().item_spacing.x = 0.0;
    if icon_button(ui, Icon::First, "First step (Home)", back).clicked() {
        session.step_by(isize::MIN);
    }
    if icon_button(ui, Icon::Previous, "Previous step (Left)", back).clicked() {
        session.step_by(-1);
    }
    let (icon, name) = match session.playback.playing {
        true => (Icon::Pause, "Pause (Space)"),
        false => (Icon::Play, "Play (Space)"),
    };
    if icon_button(ui, icon, name, last > 0).clicked() {
        session.toggle_play();
    }
    if icon_button(ui, Icon::Next, "Next step (Right)", on).clicked() {
        session.step_by(1);
    }
    if icon_button(ui, Icon::Last, "Last step (End)", on).clicked() {
        session.step_by(isize::MAX);
    }
    ui.add_space(2.0 * GRID);
    ui.spacing_mut().item_spacing.x = 2.0 * GRID;
    ui.checkbox(&mut session.playback.looping, "Loop")
        .on_hover_text("Start over when playback reaches the end.");
    let rate = |rate: f32| format!("{rate} steps/s");
    let combo = ComboBox::from_id_salt("rate")
        .selected_text(rate(session.playback.rate))
        .width(24.0 * GRID)
        .show_ui(ui, |ui| {
            for value in Playback::RATES {
                ui.selectable_value(&mut session.playback.rate, value, rate(value));
            }
        });
    combo.response.on_hover_text("Playback speed.").accessible_name("Playback speed");
    branch(ui, session);
}

/// Lets new runs go on from the current step.
fn branch(ui: &mut Ui, session: &mut Session) {
    let position = session.position;
    let possible = session.run.as_ref().is_some_and(|run| position + 1 < run.steps());
    let here = possible
        && session.branch.as_ref().is_some_and(|point| {
            let run = session.run.as_ref();
            point.branch.step == position
                && run.is_some_and(|run| run.settings == point.branch.parent)
        });
    let button = ui.add_enabled(possible && !here, Button::new("Branch here"));
    let why_not = match here {
        true => "New runs continue from here; remove the branch on the controls.",
        false => "There is nothing to branch into after the last step.",
    };
    let button = button
        .on_hover_text(
            "Keep the steps up to here and continue from this one in the next run, with the settings \
             on the controls.",
        )
        .on_disabled_hover_text(why_not);
    if button.clicked() {
        session.branch_here();
    }
}

/// Where one is, in figures that keep their places; what does not fit is left out from the end.
fn readout(ui: &mut Ui, session: &Session) {
    let Some(run) = &session.run else { return };
    let Some(frame) = run.frame(session.position) else { return };
    let steps = run.steps();
    let step = match run.is_end(session.position) {
        true => "end".to_owned(),
        false => (session.position + 1).to_string(),
    };
    let fields = [
        ("step", format!("{step}/{steps}"), 22.0, "The current step, and how many there are."),
        (
            "t",
            format!("{:.3}", run.time(session.position)),
            14.0,
            "Time on the way from noise, 0, to picture, 1.",
        ),
        (
            "NFE",
            run.evaluations(session.position).to_string(),
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

/// The curves with their values at the current step, and with their names where they are `named`.
fn legend(ui: &mut Ui, session: &mut Session, named: bool) {
    let Some((run, frame)) =
        session.run.as_ref().and_then(|run| run.frame(session.position).map(|frame| (run, frame)))
    else {
        return;
    };
    ui.add_space(2.0 * GRID);
    let colours = palette(ui.visuals());
    let doubt = frame.mean_entropy;
    if !frame.entropy.is_empty() {
        let value = format!("{doubt:.2} nats");
        let name = if named { "mean entropy" } else { "" };
        entry(ui, Dash::Solid, colours.accent, name, &value, ENTROPY_HINT);
    }
    let rate = format!("{:5.1} %", change_rate(run, session.position) * 100.0);
    let name = if named { "codes changed" } else { "" };
    entry(ui, Dash::Dashed, colours.second, name, &rate, CHANGES_HINT);
    if run.model.card.objective.has_posterior() {
        let value = format!("{:.2}", frame.temperature);
        let name = if named { "temperature" } else { "" };
        let shown = &mut session.playback.temperature;
        let check = ui.checkbox(shown, "").on_hover_text("Draw the temperature as well.");
        check.accessible_name("Draw the temperature");
        entry(ui, Dash::Dotted, colours.strong, name, &value, TEMPERATURE_HINT);
    }
}

/// Part of the tokens that changed at a position.
fn change_rate(run: &Run, position: usize) -> f32 {
    let changed = run.changed(position).unwrap_or_default();
    changed.iter().filter(|changed| **changed).count() as f32 / changed.len().max(1) as f32
}

/// A curve's line, its name, and its value at the current step.
fn entry(ui: &mut Ui, dash: Dash, colour: Color32, name: &str, value: &str, hint: &str) {
    let (rect, _) = ui.allocate_exact_size(vec2(5.0 * GRID, 4.0 * GRID), Sense::hover());
    let points = vec![rect.left_center(), rect.right_center()];
    dash.paint(ui.painter(), points, Stroke::new(2.0, colour));
    if !name.is_empty() {
        ui.label(theme::weak(ui, name)).on_hover_text(hint);
    }
    ui.label(theme::number(ui, value)).on_hover_text(hint);
    ui.add_space(3.0 * GRID);
}

/// Curves over time, and under them a dot a step; dragging anywhere scrubs.
fn track(ui: &mut Ui, session: &mut Session, width: f32) {
    let size = vec2(width, ui.available_height()).max(Vec2::splat(10.0 * GRID));
    let (rect, response) = ui.allocate_exact_size(size, Sense::click_and_drag());
    let mut response = response.on_hover_and_drag_cursor(egui::CursorIcon::ResizeHorizontal);
    let inner = rect.shrink2(vec2(2.0 * GRID, 0.0));
    let (curves, dots) = inner.split_top_bottom_at_y(inner.bottom() - 5.0 * GRID);
    let Some(run) = &session.run else { return };
    let (chart, tops) = chart(ui, run, curves, session);
    chart.paint(ui);
    if chart.rect.height() > 10.0 * GRID {
        // All curves are low at the end, so that this corner is free.
        note(ui, chart.rect, &tops);
    }
    paint_dots(ui, run, session.position, &chart, dots);
    if let Some(point) = &session.branch {
        paint_branch(ui, run, point, &chart, dots);
    }
    if let Some(pointer) = response.hover_pos().filter(|_| !response.dragged()) {
        let at = nearest(run, &chart, pointer);
        let x = chart.x(run.time(at));
        let stroke = Stroke::new(1.0, palette(ui.visuals()).weak.gamma_multiply(0.5));
        ui.painter().vline(x, chart.rect.y_range(), stroke);
        response = response.on_hover_ui_at_pointer(|ui| read_off(ui, run, at));
    }

    let mut aim = None;
    if response.dragged() || response.clicked() || response.drag_started() {
        aim = response.interact_pointer_pos().map(|pointer| nearest(run, &chart, pointer));
    }
    let (id, position, positions) = (response.id, session.position, run.positions());
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
    if let Some(aim) = aim.filter(|aim| *aim != position || session.playback.playing) {
        session.playback.playing = false;
        session.go_to(aim);
        response.mark_changed();
    }
    response
        .widget_info(|| WidgetInfo::slider(true, (session.position + 1) as f64, "Current step"));
    ui.ctx().accesskit_node_builder(id, |node| {
        node.set_role(Role::Slider);
        node.set_min_numeric_value(1.0);
        node.set_max_numeric_value(positions as f64);
        node.add_action(Action::Increment);
        node.add_action(Action::Decrement);
    });
}

/// The curves, and what their tops stand for.
fn chart(ui: &Ui, run: &Run, rect: Rect, session: &Session) -> (Chart, String) {
    let colours = palette(ui.visuals());
    let points = |value: &dyn Fn(usize) -> f32| -> Vec<(f32, f32)> {
        (0..run.frames.len()).map(|at| (run.time(at), value(at))).collect()
    };
    let highest = |points: &[(f32, f32)], least: f32| {
        let highest = points.iter().map(|(_, value)| *value).fold(least, f32::max);
        (highest * 2.0).ceil() / 2.0
    };
    let (mut curves, mut tops) = (Vec::new(), Vec::new());
    let mut add = |points, top, colour, dash, name: String| {
        curves.push(Curve { points, top, colour, dash });
        tops.push(name);
    };
    let posterior = run.model.card.objective.has_posterior();
    if posterior && session.playback.temperature {
        let warmth = points(&|at| run.frames[at].temperature);
        let top = highest(&warmth, 0.5);
        add(warmth, top, colours.strong, Dash::Dotted, format!("temperature {top:.1}"));
    }
    if posterior {
        let entropy = points(&|at| run.frames[at].mean_entropy);
        let top = highest(&entropy, 0.5);
        add(entropy, top, colours.accent, Dash::Solid, format!("{top:.1} nats"));
    }
    let mut changes = points(&|at| run.frames[at].change_rate);
    if run.end.is_some() {
        changes.push((1.0, change_rate(run, run.frames.len())));
    }
    add(changes, 1.0, colours.second, Dash::Dashed, "100 %".to_owned());
    let rect = rect.shrink2(vec2(0.0, GRID));
    let cursor = Some(run.time(session.position));
    (Chart { rect, curves, cursor }, format!("top: {}", tops.join(", ")))
}

/// A note in the upper right of the chart, over whatever curve runs through there.
fn note(ui: &Ui, rect: Rect, text: &str) {
    let colour = palette(ui.visuals()).weak;
    let galley = ui.painter().layout_no_wrap(text.to_owned(), FontId::monospace(10.5), colour);
    let at = Align2::RIGHT_TOP.anchor_size(rect.shrink(2.0).right_top(), galley.size());
    ui.painter().rect_filled(at.expand(2.0), 2.0, ui.visuals().panel_fill);
    ui.painter().galley(at.min, galley, colour);
}

/// What the curves are at a position, in a tooltip.
fn read_off(ui: &mut Ui, run: &Run, at: usize) {
    let Some(frame) = run.frame(at) else { return };
    let title = match run.is_end(at) {
        true => "End, t 1".to_owned(),
        false => format!("Step {} of {}, t {:.3}", at + 1, run.steps(), run.time(at)),
    };
    ui.label(egui::RichText::new(title).color(palette(ui.visuals()).strong));
    let mut lines = Vec::new();
    if !frame.entropy.is_empty() {
        lines.push(("mean entropy", format!("{:.3} nats", frame.mean_entropy)));
    }
    lines.push(("codes changed", format!("{:.1} %", change_rate(run, at) * 100.0)));
    if run.model.card.objective.has_posterior() {
        lines.push(("temperature", format!("{:.3}", frame.temperature)));
    }
    lines.push(("evaluations", frame.evaluations.to_string()));
    lines.push(("time", format!("{:.0} ms", frame.wall.as_secs_f64() * 1e3)));
    egui::Grid::new("read off").num_columns(2).spacing([4.0 * GRID, 0.0]).show(ui, |ui| {
        for (name, value) in lines {
            ui.label(theme::weak(ui, name));
            ui.label(theme::number(ui, value));
            ui.end_row();
        }
    });
}

/// Where the next run leaves this one.
fn paint_branch(ui: &Ui, run: &Run, point: &BranchPoint, chart: &Chart, dots: Rect) {
    let parent = &point.branch.parent;
    let known = match *parent == run.settings {
        true => run.times.get(point.branch.step).copied(),
        false => parent.times().get(point.branch.step).copied(),
    };
    let Some(t) = known else { return };
    let colours = palette(ui.visuals());
    let (x, painter) = (chart.x(t), ui.painter());
    let stroke = Stroke::new(1.5, colours.accent);
    let top = chart.rect.top();
    painter.extend(egui::Shape::dashed_line(
        &[pos2(x, top), pos2(x, dots.center().y)],
        stroke,
        3.0,
        3.0,
    ));
    // Beside the line, on the side that has more room.
    let (align, x) = match t < 0.5 {
        true => (Align2::LEFT_TOP, x + GRID),
        false => (Align2::RIGHT_TOP, x - GRID),
    };
    let text = "branch";
    let galley =
        painter.layout_no_wrap(text.to_owned(), FontId::proportional(11.0), colours.accent);
    let rect = align.anchor_size(pos2(x, top), galley.size());
    painter.rect_filled(rect.expand(2.0), 2.0, ui.visuals().panel_fill);
    painter.galley(rect.min, galley, colours.accent);
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
    // More dots than pixels would only be a line, slowly.
    let stride = (run.times.len() as f32 / (rect.width() / 2.0).max(1.0)).ceil().max(1.0) as usize;
    for at in (0..run.times.len()).step_by(stride) {
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

#[cfg(test)]
mod tests {
    use egui_kittest::kittest::{NodeT as _, Queryable as _};

    use crate::studio::testing::window::{Window, click, finished, wait_until, window};

    fn run_of(window: &mut Window, steps: usize) {
        window.state_mut().shell.studio.session.draft.sampling.steps = steps;
        click(window, "Generate");
        wait_until(window, |app| {
            finished(app)
                && app
                    .shell
                    .studio
                    .session
                    .run
                    .as_ref()
                    .is_some_and(|run| run.frames.len() == steps)
        });
    }

    #[test]
    fn a_run_goes_on_from_the_step_on_show() {
        let mut window = window();
        assert!(window.get_by_label("Branch here").accesskit_node().is_disabled());
        window.state_mut().shell.studio.session.go_to(9);
        window.run_steps(2);
        click(&mut window, "Branch here");
        window.state_mut().shell.studio.session.draft.sampling.guidance = 3.0;
        click(&mut window, "Generate");
        wait_until(&mut window, |app| {
            finished(app)
                && app.shell.studio.session.run.as_ref().is_some_and(|run| run.frames.len() == 15)
        });
        let run = window.state().shell.studio.session.run.as_ref().unwrap();
        assert_eq!((run.time(0), run.settings.guidance), (9.0 / 24.0, 3.0));
    }

    #[test]
    fn the_temperature_is_drawn_on_request() {
        let mut window = window();
        assert!(!window.state().shell.studio.session.playback.temperature);
        click(&mut window, "Draw the temperature");
        assert!(window.state().shell.studio.session.playback.temperature);
    }

    #[test]
    fn the_curves_are_read_off_under_the_pointer() {
        let mut window = window();
        window.get_by_label("Current step").hover();
        // The tooltip waits a little.
        window.run_steps(40);
        assert!(window.query_by_label("Step 13 of 24, t 0.500").is_some());
        assert_eq!(window.query_all_by_label("mean entropy").count(), 2, "legend and tooltip");
    }

    #[test]
    fn one_step_and_two_hundred_can_be_scrubbed() {
        let mut window = window();
        for (steps, middle) in [(1, 0), (200, 100)] {
            run_of(&mut window, steps);
            click(&mut window, "First step (Home)");
            assert_eq!(window.state().shell.studio.session.position, 0);
            window.run_steps(20);
            click(&mut window, "Current step");
            let position = window.state().shell.studio.session.position;
            assert!(position == middle || steps == 1, "{steps} steps: {position}");
            click(&mut window, if steps == 1 { "Next step (Right)" } else { "Last step (End)" });
            assert_eq!(window.state().shell.studio.session.position, steps);
        }
    }

    #[test]
    fn steps_on_disk_are_scrubbed_as_well() {
        let mut window = window();
        run_of(&mut window, 60);
        let studio = &mut window.state_mut().shell.studio;
        let run = studio.session.run.as_mut().unwrap();
        run.set_budget(0, usize::MAX);
        // The next step that comes makes room for itself.
        let last = run.record(59).unwrap();
        run.push(last, None);
        let (_, disk) = run.footprint();
        assert!(disk > 0, "nothing is on disk");
        let begun = std::time::Instant::now();
        for position in 0..60 {
            window.state_mut().shell.studio.session.go_to(position);
            window.step();
        }
        let each = begun.elapsed().as_secs_f64() * 1e3 / 60.0;
        println!("{each:.2} ms a frame with its step on disk");
        assert!(window.state().shell.studio.session.run.as_ref().unwrap().record(30).is_some());
    }
}
