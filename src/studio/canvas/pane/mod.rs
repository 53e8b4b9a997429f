//! The pictures: a batch as a grid, with what the model believes laid over it, and tools that change
//! what single tokens may become.

mod chip;
mod marks;
pub(in crate::studio::canvas) mod overlays;
mod strokes;
mod toolbar;

use egui::{
    Align, Color32, Layout, Pos2, Rect, Response, Role, Sense, TextureHandle, Ui, UiBuilder, Vec2,
    WidgetInfo, pos2, vec2,
};

use self::marks::outline;
pub use self::strokes::shortcuts;
use super::Canvas;
use super::camera::{Camera, Placement, Sheet};
use super::textures::{Filter, SHARP_FROM};
use super::tool::Tool;
use crate::flow::LatentShape;
use crate::studio::action::Actions;
use crate::studio::base::text::count;
use crate::studio::base::theme::{self, GRID, PANE_MARGIN, palette};
use crate::studio::base::widgets::empty_state;
use crate::studio::engine::pictures::Pictures;
use crate::studio::engine::{PictureKey, Question, RunId, View};
use crate::studio::session::Session;
use crate::studio::session::look::{Look, Overlay};
use crate::studio::session::run::{Run, class_name};
use crate::studio::session::token::Token;

const UNIT: Rect = Rect { min: Pos2::ZERO, max: pos2(1.0, 1.0) };

/// Space around the pictures, in points.
const AROUND: Vec2 = Vec2::splat(8.0 * GRID);

/// Shows the pane.
pub fn show(ui: &mut Ui, canvas: &mut Canvas, session: &mut Session, actions: &mut Actions) {
    let full = ui.max_rect();
    // What is around the pictures makes room for them, the least needed first.
    let footer_height = if full.height() < toolbar::LOW { 0.0 } else { 8.0 * GRID };
    let (top, rest) = full.split_top_bottom_at_y(full.top() + toolbar::height(full.size()));
    let (view, bottom) = rest.split_top_bottom_at_y(rest.bottom() - footer_height);
    toolbar::show(ui, canvas, session, actions, top);
    let fill = palette(ui.visuals()).backdrop;
    ui.painter().rect_filled(view, 0.0, fill);
    ui.scope_builder(UiBuilder::new().max_rect(view), |ui| {
        ui.set_clip_rect(view.intersect(ui.clip_rect()));
        pictures(ui, canvas, session, view);
    });
    if footer_height == 0.0 {
        return;
    }
    let layout = Layout::left_to_right(Align::Center);
    let strip = UiBuilder::new().max_rect(bottom.shrink2(vec2(PANE_MARGIN, 0.0))).layout(layout);
    ui.scope_builder(strip, |ui| footer(ui, canvas, session));
}

/// What the canvas shows.
struct Scene {
    /// Its pictures, where they are known.
    current: Option<(PictureKey, Pictures)>,
    shape: LatentShape,
    /// Pixels of a side of a picture.
    side: f32,
    /// Whether it is the picture of which a part is regenerated, rather than the run.
    subject: bool,
}

impl Scene {
    fn of(canvas: &Canvas, session: &mut Session) -> Option<Self> {
        if canvas.shows_original(session) {
            let card = &session.model.as_ref()?.card;
            let grid = card.backbone.input_size;
            let channels = card.tokenizer.code_size;
            let shape = LatentShape { batch: 1, channels, height: grid, width: grid };
            let key = PictureKey {
                run: RunId::MAX,
                position: 0,
                view: View::Predicted,
                ticket: canvas.inpaint.serial(),
            };
            let picture = canvas.inpaint.subject()?.picture().cloned();
            let current = picture.map(|picture| (key, picture));
            return Some(Self { current, shape, side: card.image_size() as f32, subject: true });
        }
        let current = session.pictures();
        let run = session.run.as_ref()?;
        let side = run.model.card.image_size() as f32;
        Some(Self { current, shape: run.shape, side, subject: false })
    }
}

fn pictures(ui: &mut Ui, canvas: &mut Canvas, session: &mut Session, view: Rect) {
    let Some(scene) = Scene::of(canvas, session) else {
        return waiting(ui, session);
    };
    let (placement, responses) = place(ui, canvas, &scene, view);
    upload(ui, canvas, session, &scene, &placement);
    draw(ui, canvas, session.look, &scene, &placement);
    point(ui, canvas, session, &responses, &placement, scene.subject);
    mark(ui, canvas, session, &scene, &placement);
    if !scene.subject
        && let Some(text) = chip::text(session)
    {
        chip::show(ui, view, &text);
    } else if let Some(subject) = canvas.inpaint.subject().filter(|_| scene.subject) {
        let text = format!("Decoded from the model's codes: {}", subject.name);
        chip::show(ui, view, &text);
    }
}

/// Lays the pictures out and lets the pointer move them.
fn place(ui: &Ui, canvas: &mut Canvas, scene: &Scene, view: Rect) -> (Placement, Vec<Response>) {
    let sheet = Sheet::new(scene.shape.batch, Vec2::splat(scene.side), view.size() - AROUND);
    let fitted = Camera { zoom: sheet.fit(view.size() - AROUND), centre: Vec2::ZERO };
    let camera = canvas.camera.unwrap_or(fitted);
    let mut placement = Placement { view, sheet, camera, shape: scene.shape };
    let background = ui.interact(view, ui.scope_id().with("background"), Sense::click_and_drag());
    let mut responses = vec![background];
    for index in 0..scene.shape.batch {
        let rect = placement.picture(index).intersect(view);
        if rect.is_positive() {
            let response = ui.interact(rect, ui.scope_id().with(index), Sense::click_and_drag());
            let label = match scene.subject {
                true => "Picture to change".to_owned(),
                false => format!("Picture {}", index + 1),
            };
            response.widget_info(|| WidgetInfo::labeled(Role::Image, true, &label));
            responses.push(response);
        }
    }
    canvas.over = responses.iter().any(Response::contains_pointer);
    let drag = strokes::drag(ui, canvas.tool, &responses);
    if !canvas.tool.paints() && responses.iter().any(Response::double_clicked) {
        canvas.camera = None;
        placement.camera = fitted;
    } else if let Some(moved) = camera.steered(ui, &responses, drag, view) {
        canvas.camera = Some(moved);
        placement.camera = moved;
    }
    if canvas.tool.paints() && canvas.over {
        ui.ctx().set_cursor_icon(egui::CursorIcon::Crosshair);
    }
    (placement, responses)
}

fn upload(
    ui: &Ui,
    canvas: &mut Canvas,
    session: &mut Session,
    scene: &Scene,
    placement: &Placement,
) {
    let shown = session.shown();
    let Some((key, images)) = &scene.current else { return };
    if images.on_device().is_none()
        && let Some(images) = images.host()
    {
        let filter = match session.look.sharp {
            true => Filter::sharp(placement.camera.zoom * ui.pixels_per_point()),
            false => Filter::Smooth,
        };
        let images = images.iter().map(|image| filter.enlarge(image));
        canvas.pictures.update(ui.ctx(), (*key, filter), "picture", filter.options(), images);
    }
    canvas.latest = Some(images.clone());
    let (Some(run), Some(shown), false) = (&session.run, &shown, scene.subject) else { return };
    let on_device = images.on_device().is_some();
    let asked = overlays::update(ui, canvas, session, run, *key, shown, on_device);
    if let Some((overlay, drawing)) = asked {
        let (shape, ticket) = (run.shape, session.number_ticket());
        canvas.drawn.ask(ticket, overlay);
        session.ask(Question::Overlay { ticket, shape, drawing });
    }
}

fn draw(ui: &Ui, canvas: &Canvas, look: Look, scene: &Scene, placement: &Placement) {
    // What was shown stays until the next is there, but not in place of something else.
    if scene.subject && scene.current.is_none() {
        return;
    }
    // Pictures that never left the GPU are drawn as they are there.
    let on_device = canvas.latest.as_ref().and_then(Pictures::on_device).map(|pictures| {
        let hard = look.sharp && placement.camera.zoom * ui.pixels_per_point() > SHARP_FROM;
        pictures.ids(hard)
    });
    let veil = Color32::from_white_alpha((look.opacity * 255.0) as u8);
    for index in 0..scene.shape.batch {
        let rect = placement.picture(index);
        let texture = match on_device {
            Some(ids) => ids.get(index).copied(),
            None => canvas.pictures.handles.get(index).map(TextureHandle::id),
        };
        if let Some(texture) = texture {
            ui.painter().image(texture, rect, UNIT, Color32::WHITE);
        }
        let overlay = match canvas.drawn.on_show() {
            Some(ids) => ids.get(index).copied(),
            None => canvas.overlays.handles.get(index).map(TextureHandle::id),
        };
        if let (true, Some(texture)) = (look.overlay != Overlay::None && !scene.subject, overlay) {
            ui.painter().image(texture, rect, UNIT, veil);
        }
    }
}

/// Does what the pointer does: paints, or chooses a token.
fn point(
    ui: &Ui,
    canvas: &mut Canvas,
    session: &mut Session,
    responses: &[Response],
    placement: &Placement,
    subject: bool,
) {
    let hovered = responses.iter().find_map(Response::hover_pos);
    canvas.hovered = hovered.and_then(|pointer| placement.token(pointer));
    strokes::paint(ui, canvas, session, responses, placement, subject);
    let clicked = responses.iter().find(|response| response.clicked());
    if !canvas.tool.paints()
        && !subject
        && let Some(pointer) = clicked.and_then(Response::interact_pointer_pos)
    {
        session.selected = placement.token(pointer);
    }
}

fn mark(ui: &Ui, canvas: &Canvas, session: &Session, scene: &Scene, placement: &Placement) {
    let inpaint = &canvas.inpaint;
    let run = session.run.as_ref().filter(|_| !scene.subject);
    let highlight = session.highlight;
    if let Some(run) = run {
        // What holds the rest while a region is regenerated would cover every picture.
        let all = !inpaint.is_result(run.id);
        let wanted = |token: Token| all || inpaint.region.contains(token.row, token.column);
        marks::edits(ui, &session.draft.edits, run, placement, wanted);
        if let (Some(code), Some(codes)) = (highlight, session.shown_codes()) {
            marks::uses(ui, &codes, code, placement);
        }
    } else if let (Some(code), Some(subject)) = (highlight, inpaint.subject()) {
        marks::uses(ui, subject.codes(), code, placement);
    }
    let regions = if canvas.tool == Tool::Region { scene.shape.batch } else { 0 };
    for image in 0..regions {
        if scene.subject || run.is_some_and(|run| inpaint.lies_on(run.id, image)) {
            let veiled = run.is_none_or(|run| !inpaint.is_result(run.id));
            marks::region(ui, &inpaint.region, image, veiled, placement);
        }
    }
    if let (Some(token), Some(pointer)) = (canvas.hovered, ui.input(|i| i.pointer.hover_pos())) {
        let at = placement.on(token.image, pointer);
        let (mut brush, tool) = (canvas.brush, canvas.tool);
        let size = *brush.side(tool);
        let under = strokes::preview(size, at, placement).filter(|_| tool.paints());
        match under {
            Some((first, last)) => {
                let rect = marks::span(placement, token.image, first, last);
                outline(ui, rect, Color32::WHITE, 1.0);
            }
            None => outline(ui, placement.cell(token), Color32::WHITE, 1.0),
        }
    }
    let selected = session.selected.filter(|token| token.index(scene.shape).is_some());
    if let Some(token) = selected.filter(|_| !scene.subject) {
        outline(ui, placement.cell(token), palette(ui.visuals()).mark, 2.0);
    }
}

/// What the canvas says before there is anything to show.
fn waiting(ui: &mut Ui, session: &Session) {
    if let Some(source) = &session.loading {
        empty_state(ui, "Loading the model", &format!("Reading {source}."));
    } else if session.active.is_some() {
        empty_state(
            ui,
            "Computing the first step",
            "Pictures appear here and sharpen step by step.",
        );
    } else if session.model.is_some() {
        empty_state(ui, "No pictures yet", "Choose a class on the left and press Generate, or G.");
    } else {
        empty_state(
            ui,
            "No model is loaded",
            "Open a model with the button above, or drop its .safetensors file on this window.",
        );
    }
}

fn footer(ui: &mut Ui, canvas: &Canvas, session: &Session) {
    if canvas.shows_original(session) {
        return subject_line(ui, canvas, session);
    }
    let Some(run) = &session.run else { return };
    ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
        overlays::legend(ui, session, run);
        ui.add_space(4.0 * GRID);
        ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
            let text = match canvas.hovered.or(session.selected) {
                Some(token) => describe(session, run, token),
                None => format!(
                    "{} · seed {} · click a token to inspect it",
                    class_name(&run.model.card, &run.settings),
                    run.settings.seed,
                ),
            };
            ui.add(egui::Label::new(theme::weak(ui, text)).truncate());
        });
    });
}

/// One line about the picture of which a part is regenerated.
fn subject_line(ui: &mut Ui, canvas: &Canvas, session: &Session) {
    let Some(subject) = canvas.inpaint.subject() else { return };
    let code = canvas.hovered.and_then(|token| {
        let side = session.model.as_ref()?.card.backbone.input_size;
        let code = subject.codes().get(token.row * side + token.column)?;
        Some(format!("token ({}, {}) · code {code}", token.row, token.column))
    });
    let text = code.unwrap_or_else(|| "paint the region to regenerate".to_owned());
    ui.add(egui::Label::new(theme::weak(ui, text)).truncate());
}

/// One line about a token.
fn describe(session: &Session, run: &Run, token: Token) -> String {
    let (Some(shown), Some(codes), Some(at)) =
        (session.shown(), session.shown_codes(), token.index(run.shape))
    else {
        return String::new();
    };
    let Token { image, row, column } = token;
    let mut parts =
        vec![format!("picture {} · token ({row}, {column}) · code {}", image + 1, codes[at])];
    if let Some(entropy) = shown.record.entropy().get(at) {
        parts.push(format!("entropy {entropy:.2} nats"));
    }
    let edits = &session.draft.edits;
    if let Some(code) = edits.pin_of(token) {
        let when = if run.holds(token, code) { "" } else { " in the next run" };
        parts.push(format!("pinned to {code}{when}"));
    }
    if edits.has_bans(token) {
        parts.push(count(edits.bans_of(token).len(), "ban"));
    }
    parts.join(" · ")
}
