//! The numbers beside the plane.

use egui::{
    Align2, DragValue, FontId, Grid, Rect, Role, Sense, Stroke, Ui, WidgetInfo, pos2, vec2,
};

use crate::studio::base::theme::{self, GRID, palette};
use crate::studio::base::widgets::{Chart, Curve, Dash, Mark, Marks, code_colour, scroll_area};
use crate::studio::playground::{Flow, Playground};

/// Shows the column.
pub fn show(ui: &mut Ui, playground: &mut Playground) {
    scroll_area().id_salt("facts").show(ui, |ui| {
        let Some(flow) = playground.flow() else { return };
        now(ui, playground, &flow);
        end(ui, playground, &flow);
        curves(ui, playground, &flow);
        particle(ui, playground, &flow);
    });
}

fn heading(ui: &mut Ui, text: &str) {
    ui.add_space(2.0 * GRID);
    ui.label(theme::section(ui, text));
}

/// A line of a name and a number.
fn fact(ui: &mut Ui, name: &str, value: String, hint: &str) {
    ui.label(name).on_hover_text(hint);
    ui.label(theme::number(ui, value)).on_hover_text(hint);
    ui.end_row();
}

fn grid(ui: &mut Ui, name: &str, add: impl FnOnce(&mut Ui)) {
    // Lines of text alone need less height than widgets do.
    let height = 4.5 * GRID;
    let grid = Grid::new(name).num_columns(2).min_col_width(28.0 * GRID).min_row_height(height);
    grid.spacing([2.0 * GRID, GRID / 2.0]).show(ui, add);
}

fn now(ui: &mut Ui, playground: &Playground, flow: &Flow) {
    let (at, part) = flow.interval(playground.t);
    let Some(moment) = flow.moments.get(at) else { return };
    ui.label(theme::section(ui, "Now"));
    grid(ui, "now", |ui| {
        let hint = "The interval of the solver that the time lies in, of all.";
        fact(ui, "interval", format!("{} of {}", at + 1, flow.moments.len()), hint);
        let hint = "Mean entropy of the posteriors of all particles at the beginning of the interval: how open the end still is.";
        fact(ui, "mean entropy", format!("{:.2} nats", moment.entropy), hint);
        let hint = "Temperature that the posterior is taken at in this interval.";
        fact(ui, "temperature", format!("{:.3}", moment.temperature), hint);
        let hint = "Evaluations of the posterior that the whole flow takes, a particle.";
        fact(ui, "evaluations", flow.evaluations.to_string(), hint);
        if playground.compare {
            exact(ui, playground, flow, if part >= 0.5 { at + 1 } else { at });
        }
    });
}

fn exact(ui: &mut Ui, playground: &Playground, flow: &Flow, point: usize) {
    let hint = "Root mean square distance of the particles from the exact flow of the same noise, at the nearest grid point.";
    let value = match (playground.exact(), playground.exact_so_far) {
        _ if flow.question.settings.eta > 0.0 => "paths are random".to_owned(),
        (Some(exact), _) => exact.error(flow, point).map_or_else(String::new, distance),
        (None, Some(part)) => format!("computing {:.0} %", 100.0 * part),
        (None, None) => "computing".to_owned(),
    };
    fact(ui, "RMS error", value, hint);
    if let Some(exact) = playground.exact() {
        let hint = "Particles that end on another code than the exact flow takes them to.";
        fact(ui, "other code", format!("{} of {}", exact.strayed(flow), flow.end.len()), hint);
    }
}

/// A distance, in as many figures as matter.
fn distance(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        value if value < 1e-3 => format!("{value:.1e}"),
        value => format!("{value:.4}"),
    }
}

/// Mean entropy and temperature over time.
fn curves(ui: &mut Ui, playground: &mut Playground, flow: &Flow) {
    heading(ui, "Over time");
    let size = vec2(ui.available_width(), 18.0 * GRID);
    let (rect, response) = ui.allocate_exact_size(size, Sense::hover());
    let colours = palette(ui.visuals());
    let points = |value: &dyn Fn(usize) -> f32| -> Vec<(f32, f32)> {
        (0..flow.moments.len()).map(|at| (flow.time(at), value(at))).collect()
    };
    let entropy = points(&|at| flow.moments[at].entropy);
    let temperature = points(&|at| flow.moments[at].temperature);
    let top = |points: &[(f32, f32)]| points.iter().map(|(_, value)| *value).fold(0.25, f32::max);
    let chart = Chart {
        rect,
        curves: vec![
            Curve {
                top: top(&temperature),
                points: temperature,
                colour: colours.second,
                dash: Dash::Dashed,
            },
            Curve {
                top: top(&entropy),
                points: entropy,
                colour: colours.accent,
                dash: Dash::Solid,
            },
        ],
        cursor: Some(playground.t),
    };
    chart.paint(ui);
    response.on_hover_text(format!(
        "Mean entropy of the posteriors, up to {:.2} nats, and temperature, up to {:.2}.",
        chart.curves[1].top, chart.curves[0].top,
    ));
    ui.horizontal(|ui| {
        for (curve, name) in chart.curves.iter().rev().zip(["entropy", "temperature"]) {
            let (rect, _) = ui.allocate_exact_size(vec2(5.0 * GRID, 4.0 * GRID), Sense::hover());
            let (ends, stroke) =
                ([rect.left_center(), rect.right_center()], Stroke::new(2.0, curve.colour));
            curve.dash.paint(ui.painter(), ends.to_vec(), stroke);
            ui.label(theme::section(ui, name));
            ui.add_space(2.0 * GRID);
        }
    });
}

/// The particle that was chosen.
fn particle(ui: &mut Ui, playground: &mut Playground, flow: &Flow) {
    heading(ui, "Particle");
    ui.horizontal(|ui| {
        let mut number = playground.chosen.map_or(0, |particle| particle + 1);
        let field = DragValue::new(&mut number).range(0..=flow.end.len()).speed(0.2);
        let size = vec2(14.0 * GRID, ui.spacing().interact_size.y);
        let hint =
            "The particle whose posterior is drawn; a click on the plane chooses one. 0: none.";
        if ui.add_sized(size, field).on_hover_text(hint).accessible_name("Particle").changed() {
            playground.chosen = number.checked_sub(1);
        }
        if let Some(code) = playground.chosen.and_then(|particle| flow.codes.get(particle)) {
            ui.label(theme::weak(ui, format!("ends on code {code}")));
        }
    });
    let field = playground.field();
    let belief = field.as_ref().and_then(|field| field.belief.as_ref());
    let (Some(belief), Some(_)) = (belief, playground.chosen) else {
        ui.label(theme::weak(ui, "Click a particle to see what it believes."));
        return;
    };
    let place = |[x, y]: [f32; 2]| format!("({x:.2}, {y:.2})");
    grid(ui, "particle", |ui| {
        fact(ui, "x", place(belief.x), "Where the particle is now.");
        let hint =
            "Mean of the codes under its posterior: where it expects to end, and what it moves to.";
        fact(ui, "mu", place(belief.mu), hint);
        let hint = "Entropy of its posterior: 0 is certain.";
        fact(ui, "entropy", format!("{:.2} nats", belief.entropy), hint);
    });
    ui.add_space(GRID);
    let marks = Marks::of(ui.ctx());
    for (code, probability) in belief.top.iter().filter(|(_, p)| *p >= 0.001) {
        bar(ui, &marks, *code as usize, *probability);
    }
}

/// A code and its probability.
fn bar(ui: &mut Ui, marks: &Marks, code: usize, probability: f32) {
    let (rect, response) =
        ui.allocate_exact_size(vec2(ui.available_width(), 4.0 * GRID), Sense::hover());
    let colours = palette(ui.visuals());
    let colour = code_colour(ui.visuals(), code);
    let text = format!("Code {code}: {:.1} %", 100.0 * probability);
    response.widget_info(|| WidgetInfo::labeled(Role::Label, true, &text));
    let mut mesh = marks.mesh();
    let middle = rect.left_center() + vec2(6.0, 0.0);
    marks.mark(&mut mesh, Mark::of_code(code), middle, 5.0, colour);
    let painter = ui.painter();
    painter.add(egui::Shape::mesh(mesh));
    let font = FontId::monospace(11.0);
    painter.text(
        rect.left_center() + vec2(16.0, 0.0),
        Align2::LEFT_CENTER,
        code,
        font.clone(),
        colours.weak,
    );
    let track = Rect::from_min_max(
        pos2(rect.left() + 9.0 * GRID, rect.center().y - 3.0),
        pos2(rect.right() - 13.0 * GRID, rect.center().y + 3.0),
    );
    painter.rect_filled(track, 2.0, ui.visuals().extreme_bg_color);
    let full = track.with_max_x(track.left() + probability * track.width());
    painter.rect_filled(full, 2.0, colour);
    let value = format!("{:.1} %", 100.0 * probability);
    painter.text(rect.right_center(), Align2::RIGHT_CENTER, value, font, colours.strong);
    response
        .on_hover_text("Probability that the particle ends on this code, given where it is now.");
}

/// Where the particles end, against the prior.
fn end(ui: &mut Ui, playground: &Playground, flow: &Flow) {
    heading(ui, "At the end");
    let frequencies = &flow.frequencies;
    let size = vec2(ui.available_width(), 22.0 * GRID);
    let (rect, response) = ui.allocate_exact_size(size, Sense::hover());
    let text = format!("Total variation {:.3}", frequencies.variation);
    response.widget_info(|| {
        WidgetInfo::labeled(Role::Image, true, format!("Code frequencies. {text}"))
    });
    let most = frequencies.found.iter().chain(&frequencies.expected).copied().fold(0.0, f64::max);
    let colours = palette(ui.visuals());
    let (painter, count) = (ui.painter(), frequencies.found.len().max(1));
    let (bars, feet) = rect.split_top_bottom_at_y(rect.bottom() - 4.0 * GRID);
    let each = bars.width() / count as f32;
    let gap = if each > 6.0 { 2.0 } else { 0.0 };
    let height = |part: f64| bars.bottom() - (part / most.max(1e-9)) as f32 * (bars.height() - 2.0);
    let marks = Marks::of(ui.ctx());
    let mut mesh = marks.mesh();
    for (code, (found, expected)) in frequencies.found.iter().zip(&frequencies.expected).enumerate()
    {
        let left = bars.left() + code as f32 * each;
        let colour = code_colour(ui.visuals(), code);
        let bar = Rect::from_min_max(
            pos2(left + gap / 2.0, height(*found)),
            pos2(left + each - gap / 2.0, bars.bottom()),
        );
        painter.rect_filled(bar, 1.0, colour.gamma_multiply(0.85));
        painter.hline(
            bar.x_range().expand(gap / 2.0),
            height(*expected),
            Stroke::new(2.0, colours.strong),
        );
        if each >= 9.0 {
            let at = pos2(bar.center().x, feet.center().y + 1.0);
            marks.mark(&mut mesh, Mark::of_code(code), at, 4.5, colour);
        }
    }
    painter.hline(bars.x_range(), bars.bottom(), Stroke::new(1.0, colours.outline));
    painter.add(egui::Shape::mesh(mesh));
    response.on_hover_ui_at_pointer(|ui| {
        let at = ui.input(|input| input.pointer.hover_pos()).map_or(0.0, |at| at.x - bars.left());
        let code = ((at / each).max(0.0) as usize).min(count - 1);
        ui.label(format!(
            "Code {code}: {:.1} % of the particles end on it; its prior, the line, is {:.1} %.",
            100.0 * frequencies.found[code],
            100.0 * frequencies.expected[code],
        ));
    });
    grid(ui, "end", |ui| {
        let hint = "Total variation distance between the frequencies of the codes and their prior: 0 is the same, 1 has nothing in common.";
        fact(ui, "distance to prior", format!("{:.3}", frequencies.variation), hint);
        let hint =
            "The distance that drawing as many codes from the prior itself would give, about.";
        fact(ui, "by chance alone", format!("{:.3}", frequencies.by_chance), hint);
    });
    let tempered = flow.moments.iter().any(|moment| (moment.temperature - 1.0).abs() > 1e-3);
    if tempered {
        ui.label(theme::section(ui, "The prior is kept only at temperature 1."));
    }
    if playground.is_busy() {
        ui.label(theme::section(ui, "Recomputing."));
    }
}
