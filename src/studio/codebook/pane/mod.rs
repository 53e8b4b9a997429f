//! Every code of the model as a swatch: how often it is used, and which are alike.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use egui::{
    Align, Button, Color32, ComboBox, Label, Layout, Mesh, Rect, Response, Role, Sense, Shape,
    Stroke, StrokeKind, TextEdit, Ui, Vec2, WidgetInfo, pos2, vec2,
};

use crate::studio::action::{Actions, CanvasAction, WindowAction};
use crate::studio::base::text::count;
use crate::studio::base::theme::{self, GRID, palette};
use crate::studio::base::widgets::{empty_state, scroll_area};
use crate::studio::codebook::{Codebook, Order, Sorting, nearest, norm, perplexity, usage};
use crate::studio::engine::ModelInfo;
use crate::studio::pane::Pane;
use crate::studio::session::Session;

/// Side of a swatch and the space between two, in points.
const CELL: f32 = 8.0 * GRID;
const GAP: f32 = GRID / 2.0;

/// Nearest codes that are named.
const NEAREST: usize = 6;

const PERPLEXITY_HINT: &str =
    "Perplexity of usage: as many codes, all used equally often, would make pictures as varied.";

/// How often the codes are used.
struct Counts {
    /// In the current run.
    run: Vec<u32>,
    /// In the picture being looked at.
    picture: Vec<u32>,
    /// Which picture that is, from 0.
    image: usize,
    tokens: usize,
}

impl Counts {
    fn of(session: &Session, known: usize) -> Self {
        let image = session.selected.map_or(0, |token| token.image);
        let Some((run, codes)) =
            session.run.as_ref().and_then(|run| Some((run, run.codes(session.position)?)))
        else {
            return Self { run: vec![0; known], picture: vec![0; known], image, tokens: 0 };
        };
        let tokens = run.shape.tokens();
        let picture = codes.get(image * tokens..(image + 1) * tokens).unwrap_or_default();
        Self {
            run: usage(codes, known),
            picture: usage(picture, known),
            image,
            tokens: codes.len(),
        }
    }

    fn describe(&self, code: u32) -> String {
        let of = |counts: &[u32]| counts.get(code as usize).copied().unwrap_or_default();
        format!(
            "{} of {} in this run, {} in picture {}",
            of(&self.run),
            count(self.tokens, "token"),
            of(&self.picture),
            self.image + 1,
        )
    }
}

/// Shows the pane.
pub fn show(ui: &mut Ui, codebook: &mut Codebook, session: &mut Session, actions: &mut Actions) {
    let Some(model) = session.model.clone() else {
        return empty_state(
            ui,
            "No model is loaded",
            "Open a model to see every code of its codebook as a swatch.",
        );
    };
    let counts = Counts::of(session, model.card.tokenizer.codes);
    let mut all = All { codebook, session, actions, model: &model, counts: &counts };
    ui.horizontal_wrapped(|ui| head(ui, &mut all));
    detail(ui, &mut all);
    histogram(ui, &counts);
    ui.add_space(GRID);
    grid(ui, &mut all);
}

/// What the parts of the pane show and change.
struct All<'a> {
    codebook: &'a mut Codebook,
    session: &'a mut Session,
    actions: &'a mut Actions,
    model: &'a Arc<ModelInfo>,
    counts: &'a Counts,
}

impl All<'_> {
    /// Chooses a code: for the pin brush, and to be outlined on the canvas.
    fn choose(&mut self, code: Option<u32>) {
        self.session.highlight = code;
        if let Some(code) = code {
            self.actions.push(CanvasAction::PaintWith { code, pick_up: false });
        }
    }
}

/// The search, and how the codes are sorted.
fn head(ui: &mut Ui, all: &mut All<'_>) {
    let model = all.model;
    let codes = model.card.tokenizer.codes;
    let book = &mut *all.codebook;
    let field =
        TextEdit::singleline(&mut book.search).hint_text("number").desired_width(20.0 * GRID);
    let field = ui.add(field).on_hover_text("Find a code by its number.");
    let changed = field.changed();
    field.accessible_name("Find a code");
    let wanted = book.search.trim().trim_start_matches('#').parse::<u32>().ok();
    let found = wanted.filter(|code| (*code as usize) < codes);
    if changed && let Some(code) = found {
        all.choose(Some(code));
        all.codebook.reveal = true;
    }
    let book = &mut *all.codebook;
    let combo = ComboBox::from_id_salt("order of codes")
        .selected_text(book.order.name())
        .width(36.0 * GRID)
        .show_ui(ui, |ui| {
            for order in Order::ALL {
                ui.selectable_value(&mut book.order, order, order.name());
            }
        });
    combo.response.on_hover_text("How the codes are sorted.").accessible_name("Order of the codes");
    if !book.search.trim().is_empty() && found.is_none() {
        let text = format!("There is no such code: 0 to {}", codes.saturating_sub(1));
        ui.add(Label::new(theme::weak(ui, text)).truncate());
    }
    if book.order == Order::Similarity {
        match book.follow_alike(ui.ctx(), model) {
            Ok(done) if done < 1.0 => {
                let text = format!("sorting: {:.0} %", done * 100.0);
                ui.label(theme::weak(ui, text));
                ui.ctx().request_repaint_after(std::time::Duration::from_millis(100));
            }
            Ok(_) => {}
            Err(error) => {
                book.order = Order::Number;
                all.session.notices.error(format!("The codes were not sorted. {error}"));
            }
        }
    }
}

/// What there is to say about the chosen code, in lines that keep their place.
fn detail(ui: &mut Ui, all: &mut All<'_>) {
    let size = vec2(ui.available_width(), 14.0 * GRID);
    ui.allocate_ui_with_layout(size, Layout::top_down(Align::Min), |ui| {
        ui.set_min_size(size);
        ui.spacing_mut().item_spacing.y = GRID;
        let Some(code) = all.session.highlight else {
            let text = "Choose a code to paint with it and to see on the canvas where it is used.";
            ui.label(theme::weak(ui, text));
            return;
        };
        ui.horizontal(|ui| chosen(ui, all, code));
        let (model, counts) = (all.model, all.counts);
        let size = model.card.tokenizer.code_size;
        let text =
            format!("{} · norm {:.2}", counts.describe(code), norm(&model.codebook, size, code),);
        ui.add(Label::new(theme::weak(ui, text)).truncate())
            .on_hover_text("How often the code is used, and its length in the units of the flow.");
    });
}

fn chosen(ui: &mut Ui, all: &mut All<'_>, code: u32) {
    // What a narrow pane has no room for is left out, the least needed first.
    let room = ui.available_width();
    ui.spacing_mut().item_spacing.x = GRID;
    ui.spacing_mut().button_padding.x = 2.0 * GRID;
    swatch(ui, all, code, 7.0 * GRID);
    let session = &mut *all.session;
    ui.label(theme::number(ui, format!("#{code}")));
    if session.can_edit() {
        let mut banned = session.draft.edits.is_banned_everywhere(code);
        let name = if banned { "Banned everywhere" } else { "Ban everywhere" };
        if ui
            .toggle_value(&mut banned, name)
            .on_hover_text("Ban this code from every token of the next run.")
            .clicked()
        {
            match banned {
                true => session.draft.edits.ban_everywhere(code),
                false => session.draft.edits.allow_everywhere(code),
            }
        }
        if let Some(token) = session.selected.filter(|_| room > 76.0 * GRID) {
            let pinned = session.draft.edits.pin_of(token) == Some(code);
            let text = format!("Pin on ({}, {})", token.row, token.column);
            if ui
                .add(Button::selectable(pinned, text))
                .on_hover_text("Pin the selected token to this code in the next run.")
                .accessible_name("Pin the code on the token")
                .clicked()
            {
                match pinned {
                    true => session.draft.edits.unpin(token),
                    false => session.draft.edits.pin(token, code),
                }
            }
        }
    }
    if room > 104.0 * GRID
        && ui
            .button("Canvas")
            .on_hover_text(
                "Bring the canvas into view, where the tokens of this code are outlined.",
            )
            .accessible_name("Show on canvas")
            .clicked()
    {
        all.actions.push(WindowAction::Reveal(Pane::Canvas));
    }
    if room > 62.0 * GRID
        && ui
            .button("None")
            .on_hover_text("Clear the selection.")
            .accessible_name("Clear the selected code")
            .clicked()
    {
        all.choose(None);
    }
}

/// A swatch by itself.
fn swatch(ui: &mut Ui, all: &mut All<'_>, code: u32, side: f32) -> Response {
    all.session.want_swatches(std::iter::once(code));
    fill_atlas(ui, all, &[code]);
    let codes = all.model.card.tokenizer.codes;
    let (rect, response) = ui.allocate_exact_size(Vec2::splat(side), Sense::hover());
    let atlas = all.codebook.atlas(ui.ctx(), codes);
    match atlas.has(code) {
        true => egui::Image::new((atlas.texture(), rect.size()))
            .uv(atlas.uv(code))
            .corner_radius(2.0)
            .paint_at(ui, rect),
        false => {
            ui.painter().rect_filled(rect, 2.0, ui.visuals().extreme_bg_color);
        }
    }
    response
}

/// How often the used codes are used, the most used first, and how varied that is.
fn histogram(ui: &mut Ui, counts: &Counts) {
    let mut sorted: Vec<u32> = counts.run.iter().copied().filter(|count| *count > 0).collect();
    sorted.sort_unstable_by(|a, b| b.cmp(a));
    let text = match sorted.len() {
        0 => "No run yet: usage will be counted here".to_owned(),
        used => {
            let perplexity = perplexity(&counts.run);
            format!(
                "{used} of {} used · perplexity {perplexity:.0}: as varied as {} used equally often",
                count(counts.run.len(), "code"),
                count(perplexity.round() as usize, "code"),
            )
        }
    };
    ui.add(Label::new(theme::section(ui, &text)).truncate()).on_hover_text(PERPLEXITY_HINT);
    let size = vec2(ui.available_width() - 2.0 * GRID, 10.0 * GRID);
    let (rect, response) = ui.allocate_exact_size(size, Sense::hover());
    let colours = palette(ui.visuals());
    let top = sorted.first().copied().unwrap_or(1);
    ui.painter().hline(rect.x_range(), rect.bottom(), Stroke::new(1.0, colours.outline));
    let mut bars = Mesh::default();
    let across = (rect.width() / sorted.len().max(1) as f32).min(6.0 * GRID);
    for (rank, used) in sorted.iter().enumerate() {
        let left = rect.left() + rank as f32 * across;
        let height = *used as f32 / top as f32 * rect.height();
        // Bars stand apart where they are wide enough for that.
        let right = left + if across > 4.0 { across - 1.0 } else { across };
        let bar =
            Rect::from_min_max(pos2(left, rect.bottom() - height), pos2(right, rect.bottom()));
        bars.add_colored_rect(bar, colours.accent);
    }
    ui.painter().add(Shape::mesh(bars));
    let at = response.hover_pos().map(|pointer| ((pointer.x - rect.left()) / across) as usize);
    let under = at.and_then(|rank| Some((rank, sorted.get(rank)?)));
    response.widget_info(|| WidgetInfo::labeled(Role::Label, true, "Usage of the codes"));
    response.on_hover_text(match under {
        Some((rank, used)) => format!(
            "The code in place {} is used by {}. {PERPLEXITY_HINT}",
            rank + 1,
            count(*used as usize, "token"),
        ),
        None => format!("How often each used code is used, the most used first. {PERPLEXITY_HINT}"),
    });
}

fn grid(ui: &mut Ui, all: &mut All<'_>) {
    let (model, counts) = (all.model, all.counts);
    let codes = model.card.tokenizer.codes;
    let order = all.codebook.order;
    let session = &*all.session;
    let taken = session.run.as_ref().map(|run| (run.id, session.position, run.end.is_some()));
    let settled = order == Order::Similarity
        && all.codebook.follow_alike(ui.ctx(), model).is_ok_and(|done| done >= 1.0);
    let used = match order {
        Order::PictureUsage => &counts.picture,
        _ => &counts.run,
    };
    let counted = matches!(order, Order::RunUsage | Order::PictureUsage);
    let sorting = Sorting {
        order,
        taken: taken.filter(|_| counted),
        picture: if counted { counts.image } else { 0 },
        codes,
        settled,
    };
    let sorted = all.codebook.sorted(sorting, used);
    let columns = (((ui.available_width() - 3.0 * GRID) / (CELL + GAP)) as usize).max(1);
    let rows = codes.div_ceil(columns);
    let mut area = scroll_area();
    if std::mem::take(&mut all.codebook.reveal)
        && let Some(place) = sorted.iter().position(|code| Some(*code) == all.session.highlight)
    {
        let row = (place / columns) as f32 * (CELL + GAP);
        area = area.vertical_scroll_offset((row - 2.0 * CELL).max(0.0));
    }
    ui.spacing_mut().item_spacing = Vec2::splat(GAP);
    area.show_rows(ui, CELL, rows, |ui, range| {
        let width = columns as f32 * (CELL + GAP) - GAP;
        let height = range.len() as f32 * (CELL + GAP) - GAP;
        let (rect, _) = ui.allocate_exact_size(vec2(width, height), Sense::hover());
        let first = range.start * columns;
        let shown = first..(range.end * columns).min(codes);
        let codes = sorted.get(shown).unwrap_or_default();
        cells(ui, all, codes, rect, columns);
    });
}

/// The swatches in sight.
fn cells(ui: &mut Ui, all: &mut All<'_>, codes: &[u32], rect: Rect, columns: usize) {
    all.session.want_swatches_in_turn(codes.iter().copied());
    fill_atlas(ui, all, codes);
    let atlas = all.codebook.atlas(ui.ctx(), all.model.card.tokenizer.codes);
    let mut swatches = Mesh::with_texture(atlas.texture());
    let mut empty = Mesh::default();
    let place = |at: usize| {
        let offset = vec2((at % columns) as f32, (at / columns) as f32) * (CELL + GAP);
        Rect::from_min_size(rect.min + offset, Vec2::splat(CELL))
    };
    for (at, code) in codes.iter().enumerate() {
        match atlas.has(*code) {
            true => swatches.add_rect_with_uv(place(at), atlas.uv(*code), Color32::WHITE),
            false => empty.add_colored_rect(place(at), ui.visuals().extreme_bg_color),
        }
    }
    ui.painter().add(Shape::mesh(empty));
    ui.painter().add(Shape::mesh(swatches));
    let colours = palette(ui.visuals());
    let highlighted = all.session.highlight;
    let mut clicked = None;
    for (at, &code) in codes.iter().enumerate() {
        let cell = place(at);
        // Not one stop of the Tab key each: the search goes to any code.
        let response = ui.interact(cell, ui.scope_id().with(("code", code)), Sense::CLICK);
        response.widget_info(|| {
            WidgetInfo::selected(
                Role::Button,
                true,
                highlighted == Some(code),
                format!("Code {code}"),
            )
        });
        if all.session.draft.edits.is_banned_everywhere(code) {
            for (width, colour) in [(4.0, Color32::from_black_alpha(200)), (2.0, Color32::WHITE)] {
                let line =
                    [cell.left_bottom() + vec2(4.0, -4.0), cell.right_top() + vec2(-4.0, 4.0)];
                ui.painter().line_segment(line, Stroke::new(width, colour));
            }
        }
        let edge = match (highlighted == Some(code), response.hovered()) {
            (true, _) => Some(Stroke::new(2.0, colours.accent)),
            (false, true) => Some(Stroke::new(1.0, colours.strong)),
            (false, false) => None,
        };
        if let Some(edge) = edge {
            ui.painter().rect_stroke(cell, 2.0, edge, StrokeKind::Outside);
        }
        if response.clicked() {
            clicked = Some(code);
        }
        response.on_hover_ui(|ui| tooltip(ui, all, code));
    }
    if let Some(code) = clicked {
        all.choose((highlighted != Some(code)).then_some(code));
    }
}

/// Puts swatches that have come into the atlas, some a frame.
fn fill_atlas(ui: &Ui, all: &mut All<'_>, codes: &[u32]) {
    const A_FRAME: usize = 128;
    let swatches = &all.session.swatches;
    let atlas = all.codebook.atlas(ui.ctx(), all.model.card.tokenizer.codes);
    let mut filled = 0;
    for &code in codes {
        if atlas.has(code) {
            continue;
        }
        if let Some(picture) = swatches.picture(code) {
            atlas.fill(code, picture);
            filled += 1;
        }
        if filled == A_FRAME {
            ui.ctx().request_repaint();
            return;
        }
    }
}

fn tooltip(ui: &mut Ui, all: &mut All<'_>, code: u32) {
    let (model, counts) = (all.model, all.counts);
    let size = model.card.tokenizer.code_size;
    ui.horizontal(|ui| {
        swatch(ui, all, code, 12.0 * GRID);
        ui.vertical(|ui| {
            ui.label(theme::number(ui, format!("#{code}")));
            ui.label(counts.describe(code));
            ui.label(format!("norm {:.3}", norm(&model.codebook, size, code)));
        });
    });
    ui.label(theme::weak(ui, "nearest codes, and how far"));
    ui.horizontal(|ui| {
        for (near, far) in nearest(&model.codebook, size, code, NEAREST) {
            ui.vertical(|ui| {
                ui.spacing_mut().item_spacing.y = 0.0;
                swatch(ui, all, near, 9.0 * GRID);
                ui.label(theme::section(ui, &format!("#{near}")));
                ui.label(theme::section(ui, &format!("{far:.2}")));
            });
        }
    });
}
