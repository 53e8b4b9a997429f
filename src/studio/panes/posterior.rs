//! What the model believes about one token.

use egui::{
    Align, Align2, CornerRadius, Layout, Rect, RichText, Sense, Stroke, StrokeKind, Ui, Vec2, pos2,
    vec2,
};

use crate::studio::run::Run;
use crate::studio::state::{Shown, StudioState, Token};
use crate::studio::theme::{self, GRID, palette};
use crate::studio::widgets::{Chart, Curve, Dash, empty_state};

const ROW: f32 = 9.0 * GRID;
const ENTROPY_HINT: &str =
    "How undecided the model is about this token: 0 nats is certain of one code.";
const PERPLEXITY_HINT: &str =
    "How many equally likely codes would be as undecided: e to the entropy.";

/// Shows the pane.
pub fn show(ui: &mut Ui, state: &mut StudioState) {
    let shown = state.shown();
    let belief = state
        .run
        .as_ref()
        .zip(shown)
        .zip(state.selected)
        .and_then(|((run, shown), token)| Belief::of(run, &shown, state.position, token));
    let Some(belief) = belief else {
        return empty_state(
            ui,
            "No token is chosen",
            "Click a token in the picture to see which codes the model considers.",
        );
    };
    state.want_swatches(belief.top.iter().map(|(code, _)| *code));
    super::scroll_area().show(ui, |ui| {
        title(ui, state, &belief);
        figures(ui, &belief);
        ui.add_space(GRID);
        for (rank, &(code, probability)) in belief.top.iter().enumerate() {
            code_row(ui, state, rank, code, probability);
        }
        let rest = (1.0 - belief.top.iter().map(|(_, p)| p).sum::<f32>()).max(0.0);
        ui.horizontal(|ui| {
            let hint = "Probability of all the other codes together.";
            ui.label(theme::weak(ui, "all other codes")).on_hover_text(hint);
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                ui.label(theme::number(ui, percent(rest))).on_hover_text(hint);
            });
        });
        ui.add_space(2.0 * GRID);
        over_time(ui, &belief);
    });
}

/// What there is to say about a token at a step.
struct Belief {
    token: Token,
    position: usize,
    steps: usize,
    is_end: bool,
    chosen: Option<u32>,
    entropy: f32,
    temperature: f32,
    top: Vec<(u32, f32)>,
    /// Its entropy at each step so far.
    course: Vec<(f32, f32)>,
    cursor: f32,
    ceiling: f32,
}

impl Belief {
    fn of(run: &Run, shown: &Shown, position: usize, token: Token) -> Option<Self> {
        let at = token.index(run.shape)?;
        let posterior = shown.record.posterior.as_ref()?;
        let course = run.frames.iter().filter_map(|frame| Some((frame.t, *frame.entropy.get(at)?)));
        let is_end = run.is_end(position);
        Some(Self {
            token,
            position,
            steps: run.steps(),
            is_end,
            chosen: run.end.as_ref().filter(|_| is_end).map(|end| end.codes[at]),
            entropy: posterior.entropy[at],
            temperature: shown.record.temperature,
            top: posterior.top_of(token.image, token.row, token.column),
            course: course.collect(),
            cursor: run.time(position),
            ceiling: (run.model.card.tokenizer.codes.max(2) as f32).ln(),
        })
    }
}

fn percent(probability: f32) -> String {
    format!("{:5.1} %", probability * 100.0)
}

fn title(ui: &mut Ui, state: &mut StudioState, belief: &Belief) {
    let Token { image, row, column } = belief.token;
    ui.horizontal(|ui| {
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            if ui.button("Clear").on_hover_text("Choose no token (Escape).").clicked() {
                state.selected = None;
            }
            ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                let name = RichText::new(format!("Token ({row}, {column})"));
                ui.label(name.color(palette(ui.visuals()).strong))
                    .on_hover_text("Row and column in the grid of tokens, from the top left.");
                let picture = theme::weak(ui, format!("of picture {}", image + 1));
                ui.add(egui::Label::new(picture).truncate());
            });
        });
    });
    let when = match (belief.is_end, belief.chosen) {
        (true, Some(code)) => format!("Became code {code}; the belief of the last step"),
        _ => format!("Belief at step {} of {}", belief.position + 1, belief.steps),
    };
    ui.add(egui::Label::new(theme::weak(ui, when)).truncate());
}

fn figures(ui: &mut Ui, belief: &Belief) {
    let figure = |ui: &mut Ui, name: &str, value: String, hint: &str| {
        let layout = Layout::top_down(Align::Min);
        ui.allocate_ui_with_layout(vec2(19.0 * GRID, 9.0 * GRID), layout, |ui| {
            ui.set_min_width(19.0 * GRID);
            ui.spacing_mut().item_spacing.y = 0.0;
            ui.label(theme::section(ui, name)).on_hover_text(hint);
            ui.label(theme::number(ui, value)).on_hover_text(hint);
        });
    };
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing = vec2(GRID, GRID);
        figure(ui, "Entropy", format!("{:.2} nats", belief.entropy), ENTROPY_HINT);
        let perplexity = match belief.entropy.exp() {
            many if many >= 99.95 => format!("{many:.0} codes"),
            few => format!("{few:.1} codes"),
        };
        figure(ui, "Perplexity", perplexity, PERPLEXITY_HINT);
        figure(
            ui,
            "Temperature",
            format!("{:.2}", belief.temperature),
            "The temperature at which the belief was taken at this step.",
        );
    });
}

/// A code: its swatch, its number, its probability as a number and as a bar.
fn code_row(ui: &mut Ui, state: &mut StudioState, rank: usize, code: u32, probability: f32) {
    let colours = palette(ui.visuals());
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), ROW), Sense::hover());
    let swatch = Rect::from_min_size(rect.min, Vec2::splat(ROW)).shrink(1.0);
    match state.swatches.texture(ui.ctx(), code) {
        Some(texture) => {
            let whole = Rect::from_min_max(pos2(0.0, 0.0), pos2(1.0, 1.0));
            ui.painter().image(texture, swatch, whole, egui::Color32::WHITE);
        }
        None => {
            ui.painter().rect_filled(swatch, 2.0, ui.visuals().extreme_bg_color);
        }
    }
    let edge = Stroke::new(1.0, colours.outline);
    ui.painter().rect_stroke(swatch, 2.0, edge, StrokeKind::Outside);
    let body = Rect::from_min_max(pos2(swatch.right() + 2.0 * GRID, rect.top()), rect.max);
    let font = egui::TextStyle::Monospace.resolve(ui.style());
    let name_colour = if rank == 0 { colours.strong } else { ui.visuals().text_color() };
    let line = body.top() + 3.0 * GRID;
    ui.painter().text(
        pos2(body.left(), line),
        Align2::LEFT_CENTER,
        format!("#{code}"),
        font.clone(),
        name_colour,
    );
    ui.painter().text(
        pos2(body.right(), line),
        Align2::RIGHT_CENTER,
        percent(probability),
        font,
        name_colour,
    );
    let track = Rect::from_min_max(pos2(body.left(), body.bottom() - 2.5 * GRID), body.max)
        .with_max_y(body.bottom() - GRID);
    let round = CornerRadius::same(2);
    ui.painter().rect_filled(track, round, ui.visuals().extreme_bg_color);
    let width = track.width() * probability.clamp(0.0, 1.0);
    let fill = if rank == 0 { colours.accent } else { colours.accent.gamma_multiply(0.6) };
    ui.painter().rect_filled(
        Rect::from_min_size(track.min, vec2(width, track.height())),
        round,
        fill,
    );
    let text = format!("Code {code}: probability {}", percent(probability).trim());
    response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Label, true, &text));
    response.on_hover_text(format!(
        "{text}. The swatch is what the decoder makes of a field of this code."
    ));
}

fn over_time(ui: &mut Ui, belief: &Belief) {
    ui.label(theme::section(ui, "Entropy over time")).on_hover_text(ENTROPY_HINT);
    let height = ui.available_height().clamp(18.0 * GRID, 32.0 * GRID);
    let (rect, response) =
        ui.allocate_exact_size(vec2(ui.available_width(), height), Sense::hover());
    let colours = palette(ui.visuals());
    let highest = belief.course.iter().map(|(_, value)| *value).fold(0.5, f32::max);
    let curve = Curve {
        points: belief.course.clone(),
        top: ((highest * 2.0).ceil() / 2.0).min(belief.ceiling.max(0.5)),
        colour: colours.accent,
        dash: Dash::Solid,
    };
    let top = format!("{:.1} nats", curve.top);
    let rect = Rect::from_min_max(rect.min, rect.max - vec2(0.0, 4.0 * GRID)).shrink(1.0);
    let chart = Chart { rect, curves: vec![curve], cursor: Some(belief.cursor) };
    chart.paint(ui);
    chart.note(ui, Align2::RIGHT_TOP, &top, colours.weak);
    for (t, align, text) in [(0.0, Align2::LEFT_TOP, "t = 0"), (1.0, Align2::RIGHT_TOP, "t = 1")] {
        let at = pos2(chart.x(t), rect.bottom() + 2.0);
        ui.painter().text(at, align, text, egui::FontId::monospace(10.5), colours.weak);
    }
    response.on_hover_text("How undecided the model was about this token at each step.");
}
