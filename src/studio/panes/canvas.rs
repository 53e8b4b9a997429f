//! The pictures: a batch as a grid, with what the model believes laid over it.

use egui::{
    Align, Color32, ColorImage, ComboBox, Layout, Pos2, Rect, Response, Role, Sense, Slider,
    Stroke, StrokeKind, TextureHandle, TextureOptions, Ui, UiBuilder, Vec2, WidgetInfo, pos2, vec2,
};
use image::RgbImage;
use serde::{Deserialize, Serialize};

use crate::flow::LatentShape;
use crate::studio::colormap::viridis;
use crate::studio::engine::{PictureKey, View};
use crate::studio::pictures::Pictures;
use crate::studio::run::{Run, class_name};
use crate::studio::state::{Shown, StudioState, Token};
use crate::studio::theme::{self, GRID, PANE_MARGIN, palette};
use crate::studio::widgets::{choice, empty_state, legend_ramp};

/// Enlargement beyond which pictures are shown with hard pixels.
const SHARP_FROM: f32 = 2.0;
const MAX_ZOOM: f32 = 64.0;
const MIN_ZOOM: f32 = 0.1;
const UNIT: Rect = Rect { min: Pos2::ZERO, max: pos2(1.0, 1.0) };

/// What is laid over the pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Overlay {
    /// Nothing.
    #[default]
    None,
    /// Entropy of each token's posterior.
    Entropy,
    /// Tokens whose most likely code is not that of the step before.
    Changes,
    /// Probability of each token's most likely code.
    TopProbability,
}

impl Overlay {
    /// Every overlay, in the order in which they are offered.
    pub const ALL: [Self; 4] = [Self::None, Self::Entropy, Self::Changes, Self::TopProbability];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "no overlay",
            Self::Entropy => "entropy",
            Self::Changes => "code changes",
            Self::TopProbability => "top probability",
        }
    }

    fn hint(self) -> &'static str {
        match self {
            Self::None => "Only the pictures.",
            Self::Entropy => {
                "How undecided the model is about a token: 0 nats is certain, ln(codes) knows nothing."
            }
            Self::Changes => "Tokens whose most likely code is another than at the step before.",
            Self::TopProbability => "How much probability a token's most likely code has.",
        }
    }
}

const VIEWS: [(View, &str, &str); 3] = [
    (
        View::Predicted,
        "Predicted",
        "The picture that the model expects: its mean over codes, decoded.",
    ),
    (View::Likeliest, "Likeliest codes", "The picture of each token's single most likely code."),
    (View::State, "State", "The state between noise and picture that the solver carries, decoded."),
];

/// How the canvas is looked at.
#[derive(Serialize, Deserialize)]
#[serde(default)]
pub struct CanvasState {
    /// What is drawn.
    pub view: View,
    /// What is laid over it.
    pub overlay: Overlay,
    /// How much the overlay covers, in `[0, 1]`.
    pub opacity: f32,
    /// Whether enlarged pictures keep hard pixels.
    pub sharp: bool,
    /// Where one looks; `None` fits everything.
    #[serde(skip)]
    camera: Option<Camera>,
    #[serde(skip)]
    hovered: Option<Token>,
    #[serde(skip)]
    pictures: Textures<(PictureKey, Filter)>,
    /// What was drawn last, until something else is known.
    #[serde(skip)]
    latest: Option<Pictures>,
    #[serde(skip)]
    overlays: Textures<(PictureKey, Overlay, u32)>,
}

impl Default for CanvasState {
    fn default() -> Self {
        Self {
            view: View::default(),
            overlay: Overlay::default(),
            opacity: 0.65,
            sharp: true,
            camera: None,
            hovered: None,
            pictures: Textures::default(),
            latest: None,
            overlays: Textures::default(),
        }
    }
}

/// Textures of one batch, uploaded again when their key changes.
struct Textures<K> {
    key: Option<K>,
    handles: Vec<TextureHandle>,
}

impl<K> Default for Textures<K> {
    fn default() -> Self {
        Self { key: None, handles: Vec::new() }
    }
}

impl<K: PartialEq> Textures<K> {
    fn update(
        &mut self,
        ctx: &egui::Context,
        key: K,
        name: &str,
        options: TextureOptions,
        images: impl Iterator<Item = ColorImage>,
    ) {
        if self.key.as_ref() == Some(&key) {
            return;
        }
        self.key = Some(key);
        let mut count = 0;
        for (index, image) in images.enumerate() {
            match self.handles.get_mut(index) {
                Some(handle) => handle.set(image, options),
                None => {
                    self.handles.push(ctx.load_texture(format!("{name} {index}"), image, options));
                }
            }
            count = index + 1;
        }
        self.handles.truncate(count);
    }
}

/// How pictures are enlarged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Filter {
    /// Between pixels.
    Smooth,
    /// By a whole number with hard pixels, then smoothly to the size on the screen: pixels come out
    /// equally large at any zoom.
    Whole(u32),
    /// With hard pixels.
    Hard,
}

impl Filter {
    /// The filter for hard pixels at an enlargement of `times`.
    fn sharp(times: f32) -> Self {
        match times {
            times if times <= SHARP_FROM => Self::Smooth,
            times if times <= 4.0 => Self::Whole(4),
            times if times <= 8.0 => Self::Whole(8),
            _ => Self::Hard,
        }
    }

    fn enlarge(self, image: &RgbImage) -> ColorImage {
        /// Largest side that every wgpu device takes as a texture.
        const LARGEST: u32 = 2048;
        let times = match self {
            Self::Whole(times) => times.min(LARGEST / image.width().max(image.height()).max(1)),
            Self::Smooth | Self::Hard => 1,
        };
        if times <= 1 {
            return colour_image(image);
        }
        let size = [image.width() * times, image.height() * times];
        let row = |y: u32| {
            (0..size[0]).map(move |x| {
                let image::Rgb([r, g, b]) = *image.get_pixel(x / times, y / times);
                Color32::from_rgb(r, g, b)
            })
        };
        let pixels = (0..size[1]).flat_map(row).collect();
        ColorImage::new(size.map(|side| side as usize), pixels)
    }

    fn options(self) -> TextureOptions {
        match self {
            Self::Smooth | Self::Whole(_) => TextureOptions::LINEAR,
            Self::Hard => TextureOptions::NEAREST,
        }
    }
}

/// Where one looks: a scale and a place.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Camera {
    /// Points on the screen a pixel of a picture.
    zoom: f32,
    /// The place in the middle of the view, in pixels from the middle of the sheet.
    centre: Vec2,
}

/// Pictures laid out in rows, measured in their own pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Sheet {
    count: usize,
    columns: usize,
    size: Vec2,
    gap: f32,
}

impl Sheet {
    /// The arrangement that shows `count` pictures largest in `view`.
    fn new(count: usize, size: Vec2, view: Vec2) -> Self {
        let gap = (size.x / 12.0).max(1.0);
        let sheets = (1..=count.max(1)).map(|columns| Self { count, columns, size, gap });
        let fit = |sheet: &Self| sheet.fit(view);
        sheets
            .reduce(|best, sheet| if fit(&sheet) > fit(&best) * 1.001 { sheet } else { best })
            .unwrap_or(Self { count, columns: 1, size, gap })
    }

    fn rows(&self) -> usize {
        self.count.div_ceil(self.columns)
    }

    fn extent(&self) -> Vec2 {
        let along = |number: usize, size: f32| number as f32 * (size + self.gap) - self.gap;
        vec2(along(self.columns, self.size.x), along(self.rows(), self.size.y))
    }

    /// Points a pixel at which the sheet just fits in `view`.
    fn fit(&self, view: Vec2) -> f32 {
        (view / self.extent()).min_elem().max(0.01)
    }

    /// Place of a picture, in pixels from the middle of the sheet.
    fn place(&self, index: usize) -> Rect {
        let (row, column) = (index / self.columns, index % self.columns);
        let step = self.size + Vec2::splat(self.gap);
        let corner = vec2(column as f32, row as f32) * step - self.extent() / 2.0;
        Rect::from_min_size(corner.to_pos2(), self.size)
    }
}

/// A picture on the host as egui takes it.
pub fn colour_image(image: &RgbImage) -> ColorImage {
    let size = [image.width() as usize, image.height() as usize];
    ColorImage::from_rgb(size, image.as_raw())
}

/// Shows the pane.
pub fn show(ui: &mut Ui, state: &mut StudioState) {
    let full = ui.max_rect();
    let (top, rest) = full.split_top_bottom_at_y(full.top() + 10.0 * GRID);
    let (view, bottom) = rest.split_top_bottom_at_y(rest.bottom() - 8.0 * GRID);
    let strip = |rect: Rect| {
        let layout = Layout::left_to_right(Align::Center);
        UiBuilder::new().max_rect(rect.shrink2(vec2(PANE_MARGIN, 0.0))).layout(layout)
    };
    ui.scope_builder(strip(top), |ui| toolbar(ui, &mut state.canvas));
    let fill = palette(ui.visuals()).backdrop;
    ui.painter().rect_filled(view, 0.0, fill);
    ui.scope_builder(UiBuilder::new().max_rect(view), |ui| {
        ui.set_clip_rect(view.intersect(ui.clip_rect()));
        pictures(ui, state, view);
    });
    ui.scope_builder(strip(bottom), |ui| footer(ui, state));
}

fn toolbar(ui: &mut Ui, canvas: &mut CanvasState) {
    // What a narrow canvas has no room for is left out, the least needed first.
    let room = ui.available_width();
    choice(ui, &mut canvas.view, &VIEWS);
    ui.separator();
    let combo = ComboBox::from_id_salt("overlay")
        .selected_text(canvas.overlay.name())
        .width(32.0 * GRID)
        .show_ui(ui, |ui| {
            for overlay in Overlay::ALL {
                ui.selectable_value(&mut canvas.overlay, overlay, overlay.name())
                    .on_hover_text(overlay.hint());
            }
        });
    combo.response.on_hover_text(canvas.overlay.hint()).accessible_name("Overlay");
    if room > 126.0 * GRID {
        ui.add_enabled_ui(canvas.overlay != Overlay::None, |ui| {
            ui.spacing_mut().slider_width = 16.0 * GRID;
            ui.add(Slider::new(&mut canvas.opacity, 0.1..=1.0).show_value(false))
                .on_hover_text("How much the overlay covers.")
                .accessible_name("Overlay opacity");
        });
    }
    ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
        if ui
            .add_enabled(canvas.camera.is_some(), egui::Button::new("Fit"))
            .on_hover_text(
                "Show everything (or double-click the canvas). The wheel zooms, dragging moves.",
            )
            .clicked()
        {
            canvas.camera = None;
        }
        if room > 158.0 * GRID {
            ui.checkbox(&mut canvas.sharp, "Sharp pixels")
                .on_hover_text("Keep hard pixels where a picture is enlarged beyond 2x.");
        }
    });
}

fn pictures(ui: &mut Ui, state: &mut StudioState, view: Rect) {
    let current = state.pictures();
    let shown = state.shown();
    let Some(run) = &state.run else {
        return waiting(ui, state);
    };
    let shape = run.shape;
    let side = run.model.card.image_size() as f32;
    let sheet = Sheet::new(shape.batch, Vec2::splat(side), view.size() - Vec2::splat(8.0 * GRID));
    let canvas = &mut state.canvas;
    let background = ui.interact(view, ui.scope_id().with("background"), Sense::click_and_drag());
    let fitted = sheet.fit(view.size() - Vec2::splat(8.0 * GRID));
    let mut camera = canvas.camera.unwrap_or(Camera { zoom: fitted, centre: Vec2::ZERO });
    let to_screen = |camera: Camera, rect: Rect| {
        let place = |at: Pos2| view.center() + (at.to_vec2() - camera.centre) * camera.zoom;
        Rect::from_min_max(place(rect.min), place(rect.max))
    };

    let mut responses = vec![background];
    for index in 0..shape.batch {
        let rect = to_screen(camera, sheet.place(index)).intersect(view);
        if rect.is_positive() {
            let response = ui.interact(rect, ui.scope_id().with(index), Sense::click_and_drag());
            let label = format!("Picture {}", index + 1);
            response.widget_info(|| WidgetInfo::labeled(Role::Image, true, &label));
            responses.push(response);
        }
    }
    if responses.iter().any(Response::double_clicked) {
        canvas.camera = None;
        camera = Camera { zoom: fitted, centre: Vec2::ZERO };
    } else if let Some(moved) = steer(ui, &responses, camera, view) {
        canvas.camera = Some(moved);
        camera = moved;
    }

    if let Some((key, images)) = &current
        && images.on_device().is_none()
        && let Some(images) = images.host()
    {
        let filter = match canvas.sharp {
            true => Filter::sharp(camera.zoom * ui.pixels_per_point()),
            false => Filter::Smooth,
        };
        let images = images.iter().map(|image| filter.enlarge(image));
        canvas.pictures.update(ui.ctx(), (*key, filter), "picture", filter.options(), images);
    }
    if let (Some((key, _)), Some(shown)) = (&current, &shown) {
        update_overlay(ui, canvas, run, *key, shown);
    }

    if let Some((_, images)) = current {
        canvas.latest = Some(images);
    }
    // Pictures that never left the GPU are drawn as they are there.
    let on_device = canvas.latest.as_ref().and_then(Pictures::on_device).map(|pictures| {
        let hard = canvas.sharp && camera.zoom * ui.pixels_per_point() > SHARP_FROM;
        pictures.ids(hard)
    });

    let veil = Color32::from_white_alpha((canvas.opacity * 255.0) as u8);
    for index in 0..shape.batch {
        let rect = to_screen(camera, sheet.place(index));
        let texture = match on_device {
            Some(ids) => ids.get(index).copied(),
            None => canvas.pictures.handles.get(index).map(TextureHandle::id),
        };
        if let Some(texture) = texture {
            ui.painter().image(texture, rect, UNIT, Color32::WHITE);
        }
        if let (true, Some(texture)) =
            (canvas.overlay != Overlay::None, canvas.overlays.handles.get(index))
        {
            ui.painter().image(texture.id(), rect, UNIT, veil);
        }
    }

    let token_at = |pointer: Pos2| {
        (0..shape.batch).find_map(|image| {
            token_under(to_screen(camera, sheet.place(image)), shape, pointer)
                .map(|(row, column)| Token { image, row, column })
        })
    };
    let hovered = responses.iter().find_map(Response::hover_pos).and_then(token_at);
    canvas.hovered = hovered;
    let clicked = responses.iter().find(|response| response.clicked());
    if let Some(pointer) = clicked.and_then(Response::interact_pointer_pos) {
        state.selected = token_at(pointer);
    }
    let cell = |token: Token| {
        let rect = to_screen(camera, sheet.place(token.image));
        let size = rect.size() / vec2(shape.width as f32, shape.height as f32);
        let corner = rect.min + vec2(token.column as f32, token.row as f32) * size;
        Rect::from_min_size(corner, size)
    };
    if let Some(token) = hovered {
        outline(ui, cell(token), Color32::WHITE, 1.0);
    }
    if let Some(token) = state.selected.filter(|token| token.image < shape.batch) {
        outline(ui, cell(token), palette(ui.visuals()).mark, 2.0);
    }
}

/// What the canvas says before there is anything to show.
fn waiting(ui: &mut Ui, state: &StudioState) {
    if let Some(source) = &state.loading {
        empty_state(ui, "Loading the model", &format!("Reading {source}."));
    } else if state.active.is_some() {
        empty_state(
            ui,
            "The first step is on its way",
            "Noise becomes a picture here, step by step.",
        );
    } else if state.model.is_some() {
        empty_state(
            ui,
            "Pictures will form here",
            "Choose a class on the left and press Generate, or G.",
        );
    } else {
        empty_state(
            ui,
            "No model is loaded",
            "Open a model with the button above, or drop its .safetensors file on this window.",
        );
    }
}

/// Wheel and pinch zoom about the pointer, dragging moves.
fn steer(ui: &Ui, responses: &[Response], camera: Camera, view: Rect) -> Option<Camera> {
    let mut moved = camera;
    if let Some(dragged) = responses.iter().find(|response| response.dragged()) {
        moved.centre -= dragged.drag_delta() / camera.zoom;
    }
    if let Some(pointer) = responses.iter().find_map(Response::hover_pos) {
        let (scroll, pinch) = ui.input(|input| (input.smooth_scroll_delta().y, input.zoom_delta()));
        moved.zoom = (camera.zoom * pinch * (scroll * 0.004).exp()).clamp(MIN_ZOOM, MAX_ZOOM);
        let offset = pointer - view.center();
        moved.centre += offset / camera.zoom - offset / moved.zoom;
    }
    (moved != camera).then_some(moved)
}

fn token_under(picture: Rect, shape: LatentShape, pointer: Pos2) -> Option<(usize, usize)> {
    if !picture.contains(pointer) {
        return None;
    }
    let part = (pointer - picture.min) / picture.size();
    let index = |part: f32, count: usize| ((part * count as f32) as usize).min(count - 1);
    Some((index(part.y, shape.height), index(part.x, shape.width)))
}

/// An outline that shows on any ground: a bright line beside a dark one.
fn outline(ui: &Ui, rect: Rect, colour: Color32, width: f32) {
    let dark = Stroke::new(width + 2.0, Color32::from_black_alpha(200));
    let line = rect.expand(width / 2.0);
    ui.painter().rect_stroke(line, 1.0, dark, StrokeKind::Middle);
    ui.painter().rect_stroke(line, 1.0, Stroke::new(width, colour), StrokeKind::Middle);
}

/// The top of the entropy scale: the largest entropy of the run, rounded up to half a nat.
fn entropy_top(run: &Run) -> f32 {
    ((run.max_entropy * 2.0).ceil() / 2.0).max(0.5)
}

fn update_overlay(
    ui: &Ui,
    canvas: &mut CanvasState,
    run: &Run,
    pictures: PictureKey,
    shown: &Shown,
) {
    let overlay = canvas.overlay;
    let Some(changed) = run.changed(pictures.position) else { return };
    let shape = run.shape;
    let entropy = shown.record.entropy();
    let mark = palette(ui.visuals()).mark;
    let top = entropy_top(run);
    let colour = |image: usize, token: usize| {
        let at = image * shape.tokens() + token;
        match overlay {
            Overlay::None => Color32::TRANSPARENT,
            Overlay::Entropy => {
                entropy.get(at).map_or(Color32::TRANSPARENT, |value| viridis(value / top))
            }
            Overlay::Changes if changed[at] => mark,
            Overlay::Changes => Color32::TRANSPARENT,
            Overlay::TopProbability => match &shown.record.posterior {
                Some(p) => viridis(p.top_probs[image * p.top * shape.tokens() + token]),
                None => Color32::TRANSPARENT,
            },
        }
    };
    let images = (0..shape.batch).map(|image| {
        let pixels = (0..shape.tokens()).map(|token| colour(image, token)).collect();
        ColorImage::new([shape.width, shape.height], pixels)
    });
    let key = (pictures, overlay, top.to_bits());
    canvas.overlays.update(ui.ctx(), key, "overlay", TextureOptions::NEAREST, images);
}

fn footer(ui: &mut Ui, state: &StudioState) {
    let Some(run) = &state.run else { return };
    ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
        legend(ui, state, run);
        ui.add_space(4.0 * GRID);
        ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
            let text = match state.canvas.hovered.or(state.selected) {
                Some(token) => describe(run, state.position, token),
                None => format!(
                    "{} · seed {} · click a token to question it",
                    class_name(&run.model.card, &run.settings),
                    run.settings.seed,
                ),
            };
            ui.add(egui::Label::new(theme::weak(ui, text)).truncate());
        });
    });
}

/// One line about a token.
fn describe(run: &Run, position: usize, token: Token) -> String {
    let (Some(frame), Some(codes), Some(at)) =
        (run.frame(position), run.codes(position), token.index(run.shape))
    else {
        return String::new();
    };
    let code = codes[at];
    let place = format!(
        "picture {} · token ({}, {}) · code {code}",
        token.image + 1,
        token.row,
        token.column
    );
    match frame.entropy.get(at) {
        Some(entropy) => format!("{place} · entropy {entropy:.2} nats"),
        None => place,
    }
}

fn legend(ui: &mut Ui, state: &StudioState, run: &Run) {
    let overlay = state.canvas.overlay;
    match overlay {
        Overlay::None => {}
        Overlay::Entropy => {
            legend_ramp(ui, "0", &format!("{:.1} nats", entropy_top(run)), overlay.hint());
        }
        Overlay::TopProbability => legend_ramp(ui, "0", "1 probability", overlay.hint()),
        Overlay::Changes => {
            let changed = run.changed(state.position).unwrap_or_default();
            let count = changed.iter().filter(|changed| **changed).count();
            let text = format!("changed: {count} of {} tokens", changed.len());
            ui.label(theme::weak(ui, text)).on_hover_text(overlay.hint());
            let (rect, _) = ui.allocate_exact_size(Vec2::splat(2.5 * GRID), Sense::hover());
            ui.painter().rect_filled(rect, 1.0, palette(ui.visuals()).mark);
        }
    }
}

/// All pictures of a batch on one sheet, as the canvas lays them out, on white.
pub fn contact_sheet(pictures: &Pictures) -> Option<RgbImage> {
    let pictures = pictures.host()?;
    let first = pictures.first()?;
    let (width, height) = first.dimensions();
    let columns = (pictures.len() as f32).sqrt().ceil() as u32;
    let rows = (pictures.len() as u32).div_ceil(columns);
    let gap = (width / 16).max(1);
    let size = |count: u32, each: u32| count * (each + gap) + gap;
    let white = image::Rgb([255; 3]);
    let mut sheet = RgbImage::from_pixel(size(columns, width), size(rows, height), white);
    for (index, picture) in pictures.iter().enumerate() {
        let (row, column) = (index as u32 / columns, index as u32 % columns);
        let place = (gap + column * (width + gap), gap + row * (height + gap));
        image::imageops::replace(&mut sheet, picture, i64::from(place.0), i64::from(place.1));
    }
    Some(sheet)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_pictures_stand_two_by_two_in_a_square_and_in_a_row_on_a_strip() {
        let sheet = |width, height| Sheet::new(4, Vec2::splat(64.0), vec2(width, height)).columns;
        assert_eq!(sheet(600.0, 600.0), 2);
        assert_eq!(sheet(1200.0, 300.0), 4);
        assert_eq!(sheet(300.0, 1200.0), 1);
    }

    #[test]
    fn pictures_lie_within_the_sheet_and_apart() {
        let sheet = Sheet::new(7, Vec2::splat(64.0), vec2(900.0, 500.0));
        let all = Rect::from_center_size(Pos2::ZERO, sheet.extent()).expand(0.01);
        for index in 0..7 {
            assert!(all.contains_rect(sheet.place(index)));
            for other in 0..index {
                assert!(!sheet.place(index).intersects(sheet.place(other)));
            }
        }
    }

    #[test]
    fn the_token_under_the_pointer_is_found_to_the_edges() {
        let shape = LatentShape { batch: 1, channels: 1, height: 4, width: 8 };
        let picture = Rect::from_min_size(pos2(10.0, 10.0), vec2(80.0, 40.0));
        assert_eq!(token_under(picture, shape, pos2(10.0, 10.0)), Some((0, 0)));
        assert_eq!(token_under(picture, shape, pos2(90.0, 50.0)), Some((3, 7)));
        assert_eq!(token_under(picture, shape, pos2(35.0, 29.0)), Some((1, 2)));
        assert_eq!(token_under(picture, shape, pos2(9.0, 29.0)), None);
    }

    #[test]
    fn a_contact_sheet_holds_every_picture() {
        let picture = |level| RgbImage::from_pixel(32, 32, image::Rgb([level; 3]));
        let sheet = contact_sheet(&vec![picture(10), picture(20), picture(30)].into()).unwrap();
        assert_eq!(sheet.dimensions(), (2 * 34 + 2, 2 * 34 + 2));
        assert_eq!(sheet.get_pixel(4, 4).0, [10; 3]);
        assert_eq!(sheet.get_pixel(4, 40).0, [30; 3]);
        assert_eq!(sheet.get_pixel(40, 40).0, [255; 3]);
    }
}
