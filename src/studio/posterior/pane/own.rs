//! What the model believes about a picture whose codes are known: how surprised it is by each, and where.

use egui::{
    Align, Align2, Label, Layout, Rect, RichText, Sense, Stroke, StrokeKind, Ui, Vec2, pos2, vec2,
};

use super::swatch::paint_swatch;
use super::{ENTROPY_HINT, ROW, figure, paint_row, paint_time_axis};
use crate::calibrate::{Belief, TokenBelief};
use crate::studio::base::theme::{self, GRID, palette};
use crate::studio::base::widgets::{Cells, Chart, Curve, Dash, legend_between, time_slider};
use crate::studio::engine::colormap::viridis;
use crate::studio::posterior::own::Own;
use crate::studio::session::Session;

/// Largest side of the map, in points.
const MAP: f32 = 64.0 * GRID;
const SURPRISE_HINT: &str = "How little the model expected the code that the picture has: minus the logarithm of its probability.";

/// Shows what was said of a picture.
pub(super) fn show(ui: &mut Ui, own: &mut Own, session: &mut Session) {
    head(ui, own, session);
    let Some(belief) = own.belief().cloned() else {
        let text = match own.is_broken() {
            true => "The computation failed. Ask again.",
            false => "Asking the model...",
        };
        ui.label(theme::weak(ui, text));
        return;
    };
    let hint = "How much of the picture the model was shown: at 0 only noise, at 1 the picture.";
    let times = own.beliefs.iter().map(|belief| belief.t).collect();
    if time_slider(ui, &mut own.at, times, hint).changed() {
        own.follows = false;
    }
    let (asked, right) = belief.right();
    let each = belief.nats() / asked.max(1) as f32;
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing = vec2(GRID, GRID);
        figure(ui, "Surprise", format!("{each:.2} nats"), "A token, on average, at this time.");
        let hint = "Share of the tokens of which the likeliest code is the one that the picture has.";
        figure(ui, "Guessed", format!("{:.0} %", 100.0 * right as f32 / asked.max(1) as f32), hint);
        let hint = "Of all tokens, each taken alone: what the state at this time does not say of the picture.";
        figure(ui, "Picture", format!("{:.0} nats", belief.nats()), hint);
    });
    ui.add_space(GRID);
    map(ui, own, &belief, session);
    ui.add_space(GRID);
    if let Some(at) = own.token() {
        token(ui, own, at, &belief, session);
    }
}

fn side(own: &Own) -> usize {
    own.codes.len().isqrt().max(1)
}

fn head(ui: &mut Ui, own: &mut Own, session: &Session) {
    let mut again = None;
    ui.horizontal(|ui| {
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let class = session.draft.class();
            let hint =
                format!("Ask again about this picture, taken for {class}: the class on the controls.");
            if ui.button("Ask again").on_hover_text(hint).clicked() {
                again = Some(class.to_owned());
            }
            ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                let text = format!("taken for {}", own.class);
                ui.add(Label::new(theme::weak(ui, text)).truncate()).on_hover_text(
                    "The picture's codes are noised as in training, and the model is asked for them at every time: \
                     the posterior as it was trained, at guidance 1 and temperature 1.",
                );
            });
        });
    });
    if let Some(class) = again {
        own.ask_again(class, session);
    }
}

/// Surprise by place; a click looks at a token.
fn map(ui: &mut Ui, own: &mut Own, belief: &Belief, session: &Session) {
    ui.label(theme::section(ui, "Surprise by place")).on_hover_text(SURPRISE_HINT);
    let side = side(own);
    // One scale at every time, so that times can be compared.
    let ceiling =
        session.model.as_ref().map_or(1.0, |m| (m.card.tokenizer.codes.max(2) as f32).ln());
    let (width, ground) = (ui.available_width().min(MAP), ui.visuals().extreme_bg_color);
    let cells = Cells::show(ui, width, [side, side], Sense::click(), |at| {
        let colour = |token: &TokenBelief| viridis(token.surprise / ceiling);
        belief.tokens[at].as_ref().map_or(ground, colour)
    });
    if let Some(at) = own.token() {
        let edge = Stroke::new(2.0, palette(ui.visuals()).accent);
        ui.painter().rect_stroke(cells.field(at), 1.0, edge, StrokeKind::Outside);
    }
    let label = || egui::WidgetInfo::labeled(egui::Role::Image, true, "Surprise by place");
    cells.response.widget_info(label);
    let clicked = cells.response.interact_pointer_pos().filter(|_| cells.response.clicked());
    if let Some(at) = clicked.and_then(|pointer| cells.at(pointer)) {
        own.token = (own.token != Some(at)).then_some(at);
    }
    ui.horizontal(|ui| {
        legend_between(ui, viridis, [0.0, 1.0], ["0".to_owned(), format!("{ceiling:.1} nats")]);
    });
    if let Some(at) = cells.response.hover_pos().and_then(|pointer| cells.at(pointer)) {
        let said = match &belief.tokens[at] {
            Some(token) => words(token),
            None => "shown as it is".to_owned(),
        };
        let text = format!("token ({}, {}): {said}", at / side, at % side);
        cells.response.on_hover_text_at_pointer(text);
    }
}

fn words(token: &TokenBelief) -> String {
    let guess = match token.rank {
        0 => "the likeliest".to_owned(),
        rank => format!("number {} of the likeliest", rank + 1),
    };
    format!("{guess}, {:.2} nats of surprise", token.surprise)
}

/// One token: the code that it has among the likeliest, and its surprise over time.
fn token(ui: &mut Ui, own: &Own, at: usize, belief: &Belief, session: &mut Session) {
    let (side, code) = (side(own), own.codes[at]);
    let chosen = if own.token.is_some() { "" } else { ", the most surprising" };
    let name = format!("Token ({}, {}){chosen}", at / side, at % side);
    ui.label(RichText::new(name).color(palette(ui.visuals()).strong));
    let Some(of) = &belief.tokens[at] else {
        ui.label(theme::weak(ui, format!("is code {code}, and shown as it is at this time")));
        return;
    };
    ui.add(Label::new(theme::weak(ui, format!("is code {code}: {}", words(of)))).wrap());
    let mut rows: Vec<(usize, u32, f32)> =
        of.likeliest.iter().enumerate().map(|(rank, (code, p))| (rank, *code, *p)).collect();
    if !rows.iter().any(|row| row.1 == code) {
        rows.push((of.rank, code, (-of.surprise).exp()));
    }
    session.want_swatches(rows.iter().map(|row| row.1));
    ui.scope(|ui| {
        ui.spacing_mut().item_spacing.y = GRID;
        for (rank, candidate, probability) in rows {
            row(ui, session, rank, candidate, probability, candidate == code);
        }
    });
    over_time(ui, own, at);
}

fn row(ui: &mut Ui, session: &mut Session, rank: usize, code: u32, probability: f32, truth: bool) {
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), ROW), Sense::hover());
    let tag = 15.0 * GRID;
    paint_swatch(ui, session, code, Rect::from_min_size(rect.min, Vec2::splat(ROW)).shrink(1.0));
    let body = rect.with_min_x(rect.left() + ROW + 2.0 * GRID).with_max_x(rect.right() - tag);
    paint_row(ui, body, rank, code, probability);
    if truth {
        let colours = palette(ui.visuals());
        let text = match rank {
            0 => "true".to_owned(),
            rank => format!("true, {}.", rank + 1),
        };
        let font = egui::TextStyle::Small.resolve(ui.style());
        let place = pos2(rect.right(), rect.center().y);
        ui.painter().text(place, Align2::RIGHT_CENTER, text, font, colours.accent);
        let edge = Stroke::new(1.0, colours.accent);
        ui.painter().rect_stroke(rect.expand(1.0), 3.0, edge, StrokeKind::Outside);
    }
    let which = if truth { ", the code that the picture has" } else { "" };
    let text = format!("Code {code}: probability {:.1} %{which}", 100.0 * probability);
    response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Label, true, &text));
    response.on_hover_text(text);
}

fn over_time(ui: &mut Ui, own: &Own, at: usize) {
    ui.horizontal(|ui| {
        ui.label(theme::section(ui, "Surprise over time")).on_hover_text(SURPRISE_HINT);
        ui.label(theme::section(ui, "and entropy, dashed")).on_hover_text(ENTROPY_HINT);
    });
    let course = |value: fn(&TokenBelief) -> f32| -> Vec<(f32, f32)> {
        let point = |belief: &Belief| Some((belief.t as f32, value(belief.tokens[at].as_ref()?)));
        own.beliefs.iter().filter_map(|belief| point(belief)).collect()
    };
    let (surprise, entropy) = (course(|of| of.surprise), course(|of| of.entropy));
    let highest = surprise.iter().chain(&entropy).map(|point| point.1).fold(0.5, f32::max);
    let top = (highest * 2.0).ceil() / 2.0;
    let colours = palette(ui.visuals());
    let (rect, response) =
        ui.allocate_exact_size(vec2(ui.available_width(), 26.0 * GRID), Sense::hover());
    let rect = Rect::from_min_max(rect.min, rect.max - vec2(0.0, 4.0 * GRID)).shrink(1.0);
    let curves = vec![
        Curve { points: entropy, top, colour: colours.second, dash: Dash::Dashed },
        Curve { points: surprise, top, colour: colours.accent, dash: Dash::Solid },
    ];
    let cursor = own.belief().map(|belief| belief.t as f32);
    let chart = Chart { rect, curves, cursor };
    chart.paint(ui);
    chart.note(ui, Align2::RIGHT_TOP, &format!("{top:.1} nats"), colours.weak);
    paint_time_axis(ui, &chart, rect);
    response.on_hover_text(
        "How surprised the model was by this token's code at each time, and how surprised it expected to be.",
    );
}
