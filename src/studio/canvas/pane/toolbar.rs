//! The rows above the pictures: what is shown of them, and what the pointer does to them.

use egui::scroll_area::ScrollBarVisibility;
use egui::{
    Align, Button, ComboBox, DragValue, Label, Layout, Rect, ScrollArea, Sense, Slider, Ui,
    UiBuilder, Vec2, vec2,
};

use crate::studio::action::{Actions, PosteriorAction, WindowAction};
use crate::studio::base::text::count;
use crate::studio::base::theme::{self, GRID, PANE_MARGIN, palette};
use crate::studio::base::widgets::choice;
use crate::studio::canvas::Canvas;
use crate::studio::canvas::tool::{Brush, Paint, Tool};
use crate::studio::engine::View;
use crate::studio::session::Session;
use crate::studio::session::draft::Draft;
use crate::studio::session::edits::Edits;
use crate::studio::session::look::{Look, Overlay};

/// A canvas lower than this shows pictures, and how they are looked at, but no tools and no footer, in
/// points.
pub(super) const LOW: f32 = 66.0 * GRID;
/// Height of the row of views, in points.
const VIEW_ROW: f32 = 10.0 * GRID;
/// Height of a row of tools, in points.
const TOOL_ROW: f32 = 8.0 * GRID;
/// A canvas narrower than this has what belongs to a tool on a row of its own, in points.
const NARROW: f32 = 188.0 * GRID;

const VIEWS: [(View, &str, &str); 3] = [
    (
        View::Predicted,
        "Predicted",
        "The picture that the model expects: its mean over codes, decoded.",
    ),
    (View::Likeliest, "Likeliest codes", "The picture of each token's single most likely code."),
    (View::State, "State", "The state between noise and picture that the solver carries, decoded."),
];

/// Height of all rows on a canvas of this size, in points.
pub(super) fn height(size: Vec2) -> f32 {
    let rows = match (size.y < LOW, size.x < NARROW) {
        (true, _) => 0.0,
        (false, true) => 2.0,
        (false, false) => 1.0,
    };
    VIEW_ROW + rows * TOOL_ROW
}

/// Shows the rows in `rect`.
pub(super) fn show(
    ui: &mut Ui,
    canvas: &mut Canvas,
    session: &mut Session,
    actions: &mut Actions,
    rect: Rect,
) {
    let row = |from: f32, height: f32| {
        let size = vec2(rect.width() - 2.0 * PANE_MARGIN, height);
        let rect = Rect::from_min_size(rect.min + vec2(PANE_MARGIN, from), size);
        UiBuilder::new().max_rect(rect).layout(Layout::left_to_right(Align::Center))
    };
    ui.scope_builder(row(0.0, VIEW_ROW), |ui| views(ui, canvas, &mut session.look));
    if rect.height() < VIEW_ROW + TOOL_ROW {
        return;
    }
    ui.scope_builder(row(VIEW_ROW - GRID, TOOL_ROW), |ui| {
        tighten(ui);
        tools(ui, canvas, session.can_edit());
        if rect.width() >= NARROW {
            ui.separator();
            options(ui, canvas, session, actions);
        }
    });
    if rect.width() < NARROW {
        let below = row(VIEW_ROW - GRID + TOOL_ROW, TOOL_ROW);
        ui.scope_builder(below, |ui| {
            tighten(ui);
            // The longest of them is wider than the narrowest canvas.
            let row =
                ScrollArea::horizontal().scroll_bar_visibility(ScrollBarVisibility::AlwaysHidden);
            row.show(ui, |ui| options(ui, canvas, session, actions));
        });
    }
}

/// Makes room for many short words beside one another.
fn tighten(ui: &mut Ui) {
    ui.spacing_mut().item_spacing.x = GRID;
    ui.spacing_mut().button_padding.x = 2.0 * GRID;
}

fn views(ui: &mut Ui, canvas: &mut Canvas, look: &mut Look) {
    // What a narrow canvas has no room for is left out, the least needed first.
    let room = ui.available_width();
    if room > 108.0 * GRID {
        choice(ui, &mut look.view, &VIEWS);
        ui.separator();
    } else {
        let name = VIEWS.iter().find(|known| known.0 == look.view).map_or("", |known| known.1);
        let combo = ComboBox::from_id_salt("view").selected_text(name).width(28.0 * GRID);
        let combo = combo.show_ui(ui, |ui| {
            for (known, name, hint) in VIEWS {
                ui.selectable_value(&mut look.view, known, name).on_hover_text(hint);
            }
        });
        combo.response.on_hover_text("What is drawn of the step.").accessible_name("What is drawn");
    }
    let combo = ComboBox::from_id_salt("overlay")
        .selected_text(look.overlay.name())
        .width(32.0 * GRID)
        .show_ui(ui, |ui| {
            for overlay in Overlay::ALL {
                ui.selectable_value(&mut look.overlay, overlay, overlay.name())
                    .on_hover_text(overlay.hint());
            }
        });
    combo.response.on_hover_text(look.overlay.hint()).accessible_name("Overlay");
    if room > 126.0 * GRID {
        ui.add_enabled_ui(look.overlay != Overlay::None, |ui| {
            ui.spacing_mut().slider_width = 16.0 * GRID;
            ui.add(Slider::new(&mut look.opacity, Look::OPACITIES).show_value(false))
                .on_hover_text("How much the overlay covers.")
                .accessible_name("Overlay opacity");
        });
    }
    ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
        if ui
            .add_enabled(canvas.camera.is_some(), Button::new("Fit"))
            .on_hover_text(
                "Show everything (or double-click the canvas). The wheel zooms, dragging moves.",
            )
            .clicked()
        {
            canvas.camera = None;
        }
        if room > 158.0 * GRID {
            ui.checkbox(&mut look.sharp, "Sharp pixels")
                .on_hover_text("Keep hard pixels where a picture is enlarged beyond 2x.");
        }
    });
}

fn tools(ui: &mut Ui, canvas: &mut Canvas, can_edit: bool) {
    ui.scope(|ui| {
        ui.spacing_mut().item_spacing.x = GRID / 2.0;
        for (tool, _) in Tool::ALL {
            let button = Button::selectable(canvas.tool == tool, tool.name());
            let button = ui
                .add_enabled(tool == Tool::Look || can_edit, button)
                .on_hover_text(tool.hint())
                .on_disabled_hover_text(
                    "This model has no belief about codes that could be edited.",
                )
                .accessible_name(format!("{} tool", tool.name()));
            if button.clicked() {
                canvas.tool = tool;
            }
        }
    });
    ui.add_enabled_ui(canvas.tool.paints(), |ui| {
        let side = canvas.brush.side(canvas.tool);
        let name = |size: usize| format!("{size} x {size}");
        let combo = ComboBox::from_id_salt("brush size")
            .selected_text(name(*side))
            .width(14.0 * GRID)
            .show_ui(ui, |ui| {
                for size in Brush::SIZES {
                    ui.selectable_value(side, size, name(size));
                }
            });
        combo.response.on_hover_text("Side of the brush, in tokens.").accessible_name("Brush size");
    });
}

/// What belongs to the tool in hand.
fn options(ui: &mut Ui, canvas: &mut Canvas, session: &mut Session, actions: &mut Actions) {
    match canvas.tool {
        Tool::Look | Tool::Erase => summary(ui, canvas.tool, &mut session.draft.edits),
        Tool::Pin => paint(ui, &mut canvas.brush, session),
        Tool::Region => region(ui, canvas, session, actions),
    }
}

/// What is pinned and banned, and a way to forget it.
fn summary(ui: &mut Ui, tool: Tool, edits: &mut Edits) {
    if edits.is_empty() {
        let text = match tool {
            Tool::Look => "No pins or bans",
            _ => "No pins",
        };
        ui.add(Label::new(theme::weak(ui, text)).truncate());
        return;
    }
    let bans = edits.bans().len() + edits.banned_codes().len();
    let mut parts = Vec::new();
    if !edits.pins().is_empty() {
        parts.push(count(edits.pins().len(), "pin"));
    }
    if bans > 0 {
        parts.push(count(bans, "ban"));
    }
    if ui
        .button("Clear edits")
        .on_hover_text("Clear every pin and ban; undo restores them.")
        .accessible_name("Clear all edits")
        .clicked()
    {
        edits.clear();
    }
    ui.add(Label::new(theme::weak(ui, parts.join(", "))).truncate())
        .on_hover_text("What the next run holds to a code, and what it must not become.");
}

/// What the pin brush pins tokens to.
fn paint(ui: &mut Ui, brush: &mut Brush, session: &mut Session) {
    let kinds = [
        (Paint::Present, "Its own code", "Pin each token to the code it has now."),
        (Paint::Code, "One code", "Pin every painted token to this code."),
    ];
    choice(ui, &mut brush.paint, &kinds);
    if brush.paint == Paint::Present {
        return;
    }
    let last = session.model.as_ref().map_or(0, |model| model.card.tokenizer.codes).max(1) - 1;
    let code = &mut brush.code;
    *code = (*code).min(last as u32);
    ui.add(DragValue::new(code).range(0..=last).speed(0.2).prefix("#"))
        .on_hover_text("Number of the code; you can also select one in the codebook.")
        .accessible_name("Code of the brush");
    let code = *code;
    session.want_swatches(std::iter::once(code));
    let (rect, response) = ui.allocate_exact_size(Vec2::splat(6.0 * GRID), Sense::hover());
    match session.swatches.texture(ui.ctx(), code) {
        Some(texture) => {
            egui::Image::new((texture, rect.size())).corner_radius(2.0).paint_at(ui, rect);
        }
        None => {
            ui.painter().rect_filled(rect, 2.0, ui.visuals().extreme_bg_color);
        }
    }
    response.on_hover_text("What the decoder makes of a field of this code.");
}

/// Whether the model is to be asked about the picture.
fn question(ui: &mut Ui) -> bool {
    ui.button("Question")
        .on_hover_text(
            "Ask what the model believes about this picture at every step: how surprised it is by each of \
             its codes.",
        )
        .accessible_name("Question the picture")
        .clicked()
}

/// The region that is regenerated, and making it.
fn region(ui: &mut Ui, canvas: &mut Canvas, session: &mut Session, actions: &mut Actions) {
    let inpaint = &mut canvas.inpaint;
    let Some(subject) = inpaint.subject() else {
        if ui
            .button("Open picture")
            .on_hover_text("Choose any picture, or drop one here: the model's encoder reads it.")
            .clicked()
        {
            actions.push(WindowAction::ChoosePicture);
        }
        let text = match inpaint.encoding() {
            Some(name) => format!("Reading {name}"),
            None => "Paint the region to regenerate on a picture".to_owned(),
        };
        ui.add(Label::new(theme::weak(ui, text)).truncate());
        return;
    };
    let name = subject.name.clone();
    let (codes, class) = (subject.codes().to_vec(), subject.class.clone());
    let shrink = &mut canvas.brush.takes_away;
    if ui
        .add(Button::selectable(*shrink, "Shrink").frame_when_inactive(true))
        .on_hover_text("Painting takes tokens out of the region instead of adding them.")
        .clicked()
    {
        *shrink = !*shrink;
    }
    if ui.button("Invert").on_hover_text("Swap the region with the rest of the picture.").clicked()
    {
        inpaint.region.invert();
    }
    if ui
        .button("Clear")
        .on_hover_text("Clear the region.")
        .accessible_name("Clear the region")
        .clicked()
    {
        inpaint.region.clear();
    }
    let chosen = inpaint.region.count();
    ui.add(
        DragValue::new(&mut inpaint.seeds)
            .range(1..=Draft::MAX_COUNT)
            .speed(0.05)
            .custom_formatter(|value, _| count(value as usize, "seed"))
            .custom_parser(|text| text.split_whitespace().next()?.parse().ok()),
    )
    .on_hover_text("How many pictures with different noise are made at once.")
    .accessible_name("Seeds");
    let results = inpaint.has_results();
    if results {
        ui.toggle_value(&mut inpaint.original, "Original")
            .on_hover_text("Show the picture as it was before.");
    }
    let colours = palette(ui.visuals());
    let text = egui::RichText::new("Regenerate").color(match chosen {
        0 => colours.weak,
        _ => colours.on_accent,
    });
    let mut button = Button::new(text);
    if chosen > 0 {
        button = button.fill(colours.accent);
    }
    let again = ui
        .add_enabled(chosen > 0, button)
        .on_hover_text(format!(
            "Regenerate {} of {name}. The rest is pinned to its codes.",
            count(chosen, "token"),
        ))
        .on_disabled_hover_text("Paint the region to regenerate on the picture.")
        .accessible_name("Regenerate region")
        .clicked();
    let done = ui
        .button("Done")
        .on_hover_text("Keep the current pictures, leave the region, and restore the controls.")
        .accessible_name("Done with the region")
        .clicked();
    if question(ui) {
        actions.push(PosteriorAction::Question { name, codes, class });
    }
    if ui.available_width() > 16.0 * GRID {
        let text = format!("{chosen} of {} tokens", inpaint.region.tokens());
        ui.add(Label::new(theme::weak(ui, text)).truncate());
    }
    if again {
        canvas.regenerate_region(session);
    } else if done {
        canvas.end_inpaint(session);
    }
}
