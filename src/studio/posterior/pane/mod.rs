//! What the model believes about one token, and what it is allowed to become.

mod edits;
mod own;
mod preview;
mod swatch;

use egui::{
    Align, Align2, Button, CornerRadius, Layout, Rect, RichText, Sense, Ui, Vec2, pos2, vec2,
};

use self::swatch::paint_swatch;
use crate::studio::action::{Actions, CanvasAction, CodebookAction};
use crate::studio::base::theme::{self, GRID, palette};
use crate::studio::base::widgets::{Chart, Curve, Dash, choice, empty_state, scroll_area};
use crate::studio::posterior::Posterior;
use crate::studio::session::Session;
use crate::studio::session::run::Run;
use crate::studio::session::token::Token;
use crate::studio::session::what_if::Shown;

const ROW: f32 = 9.0 * GRID;
const ENTROPY_HINT: &str =
    "How undecided the model is about this token: 0 nats is certain of one code.";
const PERPLEXITY_HINT: &str =
    "How many equally likely codes would be as undecided: e to the entropy.";

/// Shows the pane.
pub fn show(ui: &mut Ui, posterior: &mut Posterior, session: &mut Session, actions: &mut Actions) {
    if let Some(run) = &session.run
        && !run.model.card.objective.has_posterior()
    {
        let text = format!(
            "{} predicts where a picture goes, not which codes it is made of: there is nothing to pin \
             or ban either. Open a model of the objective purrception or dfm.",
            run.model.card.name,
        );
        return empty_state(ui, "This model has no belief about codes", &text);
    }
    if let Some(own) = &mut posterior.own {
        own.follow(session);
        let name = own.name.clone();
        let options = [
            (false, "This run", "What was believed about the pictures of the current run."),
            (true, name.as_str(), "What is believed about the picture that was asked about."),
        ];
        ui.horizontal(|ui| choice(ui, &mut posterior.shows_own, &options));
        ui.add_space(GRID);
        if posterior.shows_own {
            scroll_area().show(ui, |ui| own::show(ui, own, session));
            return;
        }
    }
    let shown = session.shown();
    let belief = session
        .run
        .as_ref()
        .zip(shown)
        .zip(session.selected)
        .and_then(|((run, shown), token)| Belief::of(run, &shown, session.position, token));
    let Some(belief) = belief else {
        if session.draft.edits.is_empty() {
            return empty_state(
                ui,
                "No token selected",
                "Click a token in a picture. You will see its most likely codes with their \
                 probabilities, how undecided the model is, and how that changed over the steps; \
                 codes can be pinned and banned here.",
            );
        }
        scroll_area().show(ui, |ui| {
            ui.label(RichText::new("No token selected").color(palette(ui.visuals()).strong));
            ui.label(theme::weak(ui, "Click a token in the picture to inspect it."));
            ui.add_space(2.0 * GRID);
            edits::list(ui, session);
        });
        return;
    };
    session.want_swatches(belief.top.iter().map(|(code, _)| *code));
    scroll_area().show(ui, |ui| {
        title(ui, session, &belief);
        figures(ui, &belief);
        ui.add_space(GRID);
        let mut pointed = None;
        let mut all = All { posterior: &mut *posterior, session: &mut *session, actions };
        ui.scope(|ui| {
            ui.spacing_mut().item_spacing.y = GRID;
            ui.spacing_mut().button_padding.x = GRID;
            for (rank, &(code, probability)) in belief.top.iter().enumerate() {
                if code_row(ui, &mut all, belief.token, rank, code, probability) {
                    pointed = Some(code);
                }
            }
        });
        let rest = (1.0 - belief.top.iter().map(|(_, p)| p).sum::<f32>()).max(0.0);
        ui.horizontal(|ui| {
            let hint = "Probability of all the other codes together.";
            ui.label(theme::weak(ui, "all other codes")).on_hover_text(hint);
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                ui.add_space(BUTTONS + 2.0 * GRID);
                ui.label(theme::number(ui, percent(rest))).on_hover_text(hint);
            });
        });
        edits::by_number(ui, posterior, session, belief.token);
        edits::banned_here(ui, session, belief.token);
        let runner_up = belief.top.get(1).map(|(code, _)| *code);
        let kept = posterior.kept;
        if let Some(code) = pointed.or(kept).or(runner_up) {
            let eager = pointed.is_some() || kept.is_some();
            preview::show(ui, posterior, session, belief.token, code, eager);
        }
        over_time(ui, &belief);
        edits::list(ui, session);
    });
}

/// What the row of a code changes.
struct All<'a> {
    posterior: &'a mut Posterior,
    session: &'a mut Session,
    actions: &'a mut Actions,
}

/// Width of the buttons of a row, in points.
const BUTTONS: f32 = 16.0 * GRID;

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
    what_if: bool,
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
            what_if: shown.what_if,
        })
    }
}

fn percent(probability: f32) -> String {
    format!("{:5.1} %", probability * 100.0)
}

fn title(ui: &mut Ui, session: &mut Session, belief: &Belief) {
    let Token { image, row, column } = belief.token;
    ui.horizontal(|ui| {
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            if ui.button("Deselect").on_hover_text("Clear the selection (Escape).").clicked() {
                session.selected = None;
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
    let when = match (belief.what_if, belief.is_end, belief.chosen) {
        (true, ..) => "Under the changed settings, not yet run".to_owned(),
        (false, true, Some(code)) => format!("Became {code}; belief of the last step"),
        _ => format!("Belief at step {} of {}", belief.position + 1, belief.steps),
    };
    let when = match belief.what_if {
        true => RichText::new(when).color(palette(ui.visuals()).accent),
        false => theme::weak(ui, when),
    };
    ui.add(egui::Label::new(when).truncate());
}

/// A number under its name.
fn figure(ui: &mut Ui, name: &str, value: String, hint: &str) {
    let layout = Layout::top_down(Align::Min);
    ui.allocate_ui_with_layout(vec2(19.0 * GRID, 9.0 * GRID), layout, |ui| {
        ui.set_min_width(19.0 * GRID);
        ui.spacing_mut().item_spacing.y = 0.0;
        ui.label(theme::section(ui, name)).on_hover_text(hint);
        ui.label(theme::number(ui, value)).on_hover_text(hint);
    });
}

fn figures(ui: &mut Ui, belief: &Belief) {
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

/// A code: its swatch, its number, its probability as a number and as a bar, and what can be done with
/// it; says whether it is pointed at.
fn code_row(
    ui: &mut Ui,
    all: &mut All<'_>,
    token: Token,
    rank: usize,
    code: u32,
    probability: f32,
) -> bool {
    let (whole, _) = ui.allocate_exact_size(vec2(ui.available_width(), ROW), Sense::hover());
    let (rect, buttons) = whole.split_left_right_at_x(whole.right() - BUTTONS);
    row_buttons(ui, all.session, token, code, buttons);
    let rect = rect.with_max_x(rect.right() - 2.0 * GRID);
    let response = ui.interact(rect, ui.scope_id().with(("row", rank)), Sense::click());
    let kept = all.posterior.kept == Some(code);
    if kept || response.hovered() {
        let fill = match kept {
            true => ui.visuals().selection.bg_fill.gamma_multiply(0.5),
            false => ui.visuals().faint_bg_color,
        };
        ui.painter().rect_filled(rect.expand2(vec2(GRID, 0.0)), 4.0, fill);
    }
    paint_swatch(
        ui,
        all.session,
        code,
        Rect::from_min_size(rect.min, Vec2::splat(ROW)).shrink(1.0),
    );
    paint_row(ui, rect.with_min_x(rect.left() + ROW + 2.0 * GRID), rank, code, probability);
    let text = format!("Code {code}: probability {}", percent(probability).trim());
    response.widget_info(|| egui::WidgetInfo::selected(egui::Role::Button, true, kept, &text));
    if response.clicked() {
        all.posterior.kept = (!kept).then_some(code);
    }
    let hovered = response.hovered();
    let response = response.on_hover_text(format!(
        "{text}. Its picture is below; a click keeps it there. The swatch is what the decoder makes of a \
         field of this code."
    ));
    response.context_menu(|ui| row_menu(ui, all, token, code));
    hovered
}

fn paint_row(ui: &Ui, body: Rect, rank: usize, code: u32, probability: f32) {
    let colours = palette(ui.visuals());
    let font = egui::TextStyle::Monospace.resolve(ui.style());
    let colour = if rank == 0 { colours.strong } else { ui.visuals().text_color() };
    let line = body.top() + 3.0 * GRID;
    let name = format!("#{code}");
    ui.painter().text(pos2(body.left(), line), Align2::LEFT_CENTER, name, font.clone(), colour);
    let share = percent(probability);
    ui.painter().text(pos2(body.right(), line), Align2::RIGHT_CENTER, share, font, colour);
    let track = Rect::from_min_max(pos2(body.left(), body.bottom() - 2.5 * GRID), body.max)
        .with_max_y(body.bottom() - GRID);
    let round = CornerRadius::same(2);
    ui.painter().rect_filled(track, round, ui.visuals().extreme_bg_color);
    let width = track.width() * probability.clamp(0.0, 1.0);
    let fill = if rank == 0 { colours.accent } else { colours.accent.gamma_multiply(0.6) };
    let bar = Rect::from_min_size(track.min, vec2(width, track.height()));
    ui.painter().rect_filled(bar, round, fill);
}

/// Pinning and banning, one over the other.
fn row_buttons(ui: &mut Ui, session: &mut Session, token: Token, code: u32, rect: Rect) {
    let pinned = session.draft.edits.pin_of(token) == Some(code);
    let everywhere = session.draft.edits.is_banned_everywhere(code);
    let banned = everywhere || session.draft.edits.is_banned(token, code);
    let (upper, lower) = rect.split_top_bottom_at_y(rect.center().y);
    let button = |ui: &mut Ui, rect: Rect, on: bool, text: &str, name: String, hint: &str| {
        let text = RichText::new(text).text_style(egui::TextStyle::Small);
        let button = Button::selectable(on, text)
            .small()
            .min_size(rect.size() - vec2(0.0, 2.0))
            .wrap_mode(egui::TextWrapMode::Extend)
            .frame_when_inactive(true);
        ui.put(rect.shrink2(vec2(0.0, 1.0)), button).on_hover_text(hint).accessible_name(name)
    };
    let text = if pinned { "Pinned" } else { "Pin" };
    let hint = match pinned {
        true => "This token is pinned to this code in the next run; click to unpin it.",
        false => "Pin this token to this code in the next run.",
    };
    if button(ui, upper, pinned, text, format!("{text} code {code}"), hint).clicked() {
        edits::toggle_pin(session, token, code);
    }
    let text = match (banned, everywhere) {
        (false, _) => "Ban",
        (true, false) => "Banned",
        (true, true) => "Nowhere",
    };
    let hint = match (banned, everywhere) {
        (false, _) => "Ban this code from this token in the next run.",
        (true, false) => "This token cannot become this code in the next run; click to allow it.",
        (true, true) => "No token can become this code in the next run; click to allow it.",
    };
    let name = match (banned, everywhere) {
        (true, true) => format!("Banned everywhere: code {code}"),
        _ => format!("{text} code {code}"),
    };
    if button(ui, lower, banned, text, name, hint).clicked() {
        edits::toggle_ban(session, token, code);
    }
}

fn row_menu(ui: &mut Ui, all: &mut All<'_>, token: Token, code: u32) {
    let session = &mut *all.session;
    let pinned = session.draft.edits.pin_of(token) == Some(code);
    if ui.button(if pinned { "Unpin this token" } else { "Pin on this token" }).clicked() {
        edits::toggle_pin(session, token, code);
    }
    let banned = session.draft.edits.is_banned(token, code);
    if ui.button(if banned { "Allow here" } else { "Ban here" }).clicked() {
        edits::toggle_ban(session, token, code);
    }
    let everywhere = session.draft.edits.is_banned_everywhere(code);
    if ui.button(if everywhere { "Allow everywhere" } else { "Ban everywhere" }).clicked() {
        edits::toggle_ban_everywhere(session, code);
    }
    ui.separator();
    if ui.button("Paint with this code").clicked() {
        all.actions.push(CanvasAction::PaintWith { code, pick_up: true });
    }
    if ui.button("Find in the codebook").clicked() {
        all.actions.push(CodebookAction::Find(code));
    }
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
    paint_time_axis(ui, &chart, rect);
    response.on_hover_text("How undecided the model was about this token at each step.");
}

/// The ends of the path under a chart.
fn paint_time_axis(ui: &Ui, chart: &Chart, rect: Rect) {
    let colour = palette(ui.visuals()).weak;
    for (t, align, text) in [(0.0, Align2::LEFT_TOP, "t = 0"), (1.0, Align2::RIGHT_TOP, "t = 1")] {
        let at = pos2(chart.x(t), rect.bottom() + 2.0);
        ui.painter().text(at, align, text, egui::FontId::monospace(10.5), colour);
    }
}
