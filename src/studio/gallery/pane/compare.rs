//! Two pictures beside one another: where they differ, and which of their settings do.

use std::sync::Arc;

use egui::{
    Align, Color32, ColorImage, Grid, Label, Layout, Pos2, Rect, RichText, Role, Sense, Slider,
    Stroke, TextureHandle, TextureOptions, Ui, WidgetInfo, pos2, vec2,
};
use image::RgbImage;

use super::thumbs::fitted;
use crate::studio::base::images::colour_image;
use crate::studio::base::theme::{self, GRID, palette};
use crate::studio::base::widgets::{choice, legend_ramp, scroll_area};
use crate::studio::engine::colormap::viridis;
use crate::studio::gallery::Gallery;

const UNIT: Rect = Rect { min: Pos2::ZERO, max: pos2(1.0, 1.0) };
/// Largest side of a picture that is compared, in pixels.
const LARGEST: u32 = 1024;
/// Tiles narrower than this stand under one another.
const NARROW_TILE: f32 = 44.0 * GRID;
const HINT: &str =
    "Absolute difference of a pixel, averaged over red, green and blue, in levels of 255.";

/// How two pictures are laid over one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Way {
    /// Not at all.
    #[default]
    Beside,
    /// One ends where the other begins.
    Swipe,
    /// One shines through the other.
    Blend,
}

const WAYS: [(Way, &str, &str); 3] = [
    (Way::Beside, "Side by side", "Both pictures, one beside the other."),
    (Way::Swipe, "Swipe", "The first on the left of a line, the second on its right."),
    (Way::Blend, "Blend", "The second shines through the first."),
];

/// Two pictures being compared.
pub struct Compare {
    names: [String; 2],
    way: Way,
    /// How much of the second is seen, in `[0, 1]`.
    part: f32,
    ready: Option<Result<Ready, String>>,
}

struct Ready {
    pictures: [TextureHandle; 2],
    difference: Result<(Difference, TextureHandle), String>,
}

/// How far two pictures of one size are apart.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Of every pixel, averaged over its channels, in levels of 255.
    pub levels: Vec<f32>,
    /// The mean over all pixels.
    pub mean: f32,
    /// The largest of all.
    pub largest: f32,
}

impl Difference {
    /// The absolute difference of two pictures; nothing where their sizes differ.
    pub fn of(one: &RgbImage, other: &RgbImage) -> Option<Self> {
        if one.dimensions() != other.dimensions() {
            return None;
        }
        let pixel = |(a, b): (&image::Rgb<u8>, &image::Rgb<u8>)| {
            let sum: u32 = a.0.iter().zip(b.0).map(|(a, b)| u32::from(a.abs_diff(b))).sum();
            sum as f32 / 3.0
        };
        let levels: Vec<f32> = one.pixels().zip(other.pixels()).map(pixel).collect();
        let sum: f64 = levels.iter().map(|level| f64::from(*level)).sum();
        let mean = (sum / levels.len().max(1) as f64) as f32;
        let largest = levels.iter().copied().fold(0.0, f32::max);
        Some(Self { levels, mean, largest })
    }

    fn image(&self, size: [usize; 2]) -> ColorImage {
        let top = self.largest.max(1.0);
        let pixels = self.levels.iter().map(|level| viridis(level / top)).collect();
        ColorImage::new(size, pixels)
    }
}

impl Compare {
    pub fn new(one: String, other: String) -> Self {
        Self { names: [one, other], way: Way::default(), part: 0.5, ready: None }
    }

    /// Whether both pictures still are in the gallery.
    pub fn is_there(&self, gallery: &Gallery) -> bool {
        self.names.iter().all(|name| gallery.has(name))
    }

    /// Shows it; says whether one wants to go back.
    pub fn show(&mut self, ui: &mut Ui, gallery: &mut Gallery) -> bool {
        let mut back = false;
        ui.horizontal_wrapped(|ui| {
            back = ui.button("Back").on_hover_text("Back to all pictures").clicked();
            ui.add_space(2.0 * GRID);
            choice(ui, &mut self.way, &WAYS);
            if self.way != Way::Beside {
                ui.spacing_mut().slider_width = 36.0 * GRID;
                let slider = Slider::new(&mut self.part, 0.0..=1.0).show_value(false);
                let name = match self.way {
                    Way::Swipe => "Place of the line",
                    _ => "How much the second is seen",
                };
                ui.add(slider).on_hover_text(name).accessible_name(name);
            }
        });
        ui.add_space(GRID);
        self.prepare(ui, gallery);
        match &self.ready {
            None => {
                ui.label(theme::weak(ui, "Reading the pictures."));
            }
            Some(Err(reason)) => {
                ui.colored_label(palette(ui.visuals()).error, reason);
            }
            Some(Ok(ready)) => {
                scroll_area().id_salt("compare").show(ui, |ui| {
                    self.tiles(ui, gallery, ready);
                    ui.add_space(2.0 * GRID);
                    self.settings(ui, gallery);
                });
            }
        }
        back
    }

    /// Takes in the pictures when they have come.
    fn prepare(&mut self, ui: &Ui, gallery: &mut Gallery) {
        if self.ready.is_some() {
            return;
        }
        let [one, other] = [0, 1].map(|which| gallery.picture(&self.names[which]));
        let (Some(one), Some(other)) = (one, other) else { return };
        self.ready = Some(match (one, other) {
            (Ok(one), Ok(other)) => Ok(Ready::new(ui, [one, other])),
            (Err(reason), _) => Err(format!("{} cannot be read: {reason}.", self.names[0])),
            (_, Err(reason)) => Err(format!("{} cannot be read: {reason}.", self.names[1])),
        });
    }

    fn tiles(&self, ui: &mut Ui, gallery: &Gallery, ready: &Ready) {
        let count = if self.way == Way::Beside { 3.0 } else { 2.0 };
        let gap = 3.0 * GRID;
        let width = (ui.available_width() - (count - 1.0) * gap) / count;
        let stacked = width < NARROW_TILE;
        let width = if stacked { ui.available_width() } else { width };
        // Room for the words above and the settings below.
        let height = (ui.clip_rect().height() * 0.6).max(32.0 * GRID).min(width);
        let size = vec2(width, height);
        let title = |which: usize| {
            let item = gallery.item(&self.names[which]);
            item.map_or_else(String::new, |item| format!("{}: {}", which + 1, item.title()))
        };
        let tile = |ui: &mut Ui, what: usize| {
            ui.vertical(|ui| {
                ui.set_width(width);
                match (what, self.way) {
                    (2, _) => difference_tile(ui, size, ready),
                    (_, Way::Beside) => {
                        let name = ["First picture", "Second picture"][what];
                        picture_tile(ui, size, &title(what), name, |ui, rect| {
                            place(ui, rect, &ready.pictures[what], Color32::WHITE, UNIT);
                        });
                    }
                    _ => {
                        let both = format!("{} | {}", title(0), title(1));
                        picture_tile(ui, size, &both, "Both pictures", |ui, rect| {
                            self.overlay(ui, rect, ready);
                        });
                    }
                }
            });
        };
        let tiles: &[usize] = if self.way == Way::Beside { &[0, 1, 2] } else { &[0, 2] };
        if stacked {
            tiles.iter().for_each(|what| tile(ui, *what));
        } else {
            ui.horizontal_top(|ui| {
                ui.spacing_mut().item_spacing.x = gap;
                tiles.iter().for_each(|what| tile(ui, *what));
            });
        }
    }

    fn overlay(&self, ui: &Ui, rect: Rect, ready: &Ready) {
        let [one, other] = &ready.pictures;
        let whole = place(ui, rect, one, Color32::WHITE, UNIT);
        if self.way == Way::Blend {
            // A picture that lies over another with this much cover shows it to the rest.
            let veil = Color32::from_white_alpha((self.part * 255.0).round() as u8);
            place(ui, rect, other, veil, UNIT);
            return;
        }
        let right = fitted(ui, rect, other.size_vec2());
        let x = whole.left() + self.part * whole.width();
        let part = ((x - right.left()) / right.width()).clamp(0.0, 1.0);
        let uv = Rect::from_min_max(pos2(part, 0.0), pos2(1.0, 1.0));
        let to = right.with_min_x(right.left() + part * right.width());
        if to.is_positive() {
            ui.painter().image(other.id(), to, uv, Color32::WHITE);
        }
        let painter = ui.painter();
        painter.vline(x, whole.y_range(), Stroke::new(3.0, Color32::from_black_alpha(200)));
        painter.vline(x, whole.y_range(), Stroke::new(1.0, Color32::WHITE));
    }

    fn settings(&self, ui: &mut Ui, gallery: &Gallery) {
        let [Some(one), Some(other)] = [0, 1].map(|which| gallery.item(&self.names[which])) else {
            return;
        };
        let differing = differing(&one.everything(), &other.everything());
        if differing.is_empty() {
            ui.label(theme::weak(ui, "No setting differs."));
            return;
        }
        ui.label(theme::section(ui, "What differs"));
        ui.spacing_mut().interact_size.y = 4.0 * GRID;
        Grid::new("differences").num_columns(3).spacing([6.0 * GRID, GRID]).show(ui, |ui| {
            ui.label("");
            for which in ["1", "2"] {
                ui.label(theme::section(ui, which));
            }
            ui.end_row();
            for (name, values) in differing {
                ui.label(theme::weak(ui, name));
                for value in values {
                    ui.label(theme::number(ui, shortened(&value)));
                }
                ui.end_row();
            }
        });
    }
}

/// What two pictures do not have in common.
fn differing(one: &[(String, String)], other: &[(String, String)]) -> Vec<(String, [String; 2])> {
    let value = |facts: &[(String, String)], name: &str| {
        let found = facts.iter().find(|(known, _)| known == name);
        found.map_or_else(|| "none".to_owned(), |(_, value)| value.clone())
    };
    let known = |name: &String| one.iter().any(|(known, _)| known == name);
    let more = other.iter().map(|(name, _)| name).filter(|name| !known(name));
    one.iter()
        .map(|(name, _)| name)
        .chain(more)
        .map(|name| (name.clone(), [value(one, name), value(other, name)]))
        .filter(|(_, [a, b])| a != b)
        .collect()
}

/// A value that has room in a table.
fn shortened(value: &str) -> String {
    const MOST: usize = 60;
    match value.char_indices().nth(MOST) {
        Some((end, _)) => format!("{} ...", &value[..end]),
        None => value.to_owned(),
    }
}

impl Ready {
    fn new(ui: &Ui, pictures: [Arc<RgbImage>; 2]) -> Self {
        let load = |name: &str, image: ColorImage| {
            ui.ctx().load_texture(name, image, TextureOptions::NEAREST)
        };
        let [one, other] = &pictures;
        let too_large = pictures.iter().any(|p| p.width().max(p.height()) > LARGEST);
        let size = [one.width() as usize, one.height() as usize];
        let difference = match (too_large, Difference::of(one, other)) {
            (true, _) => Err(format!("Pictures larger than {LARGEST} pixels are not subtracted.")),
            (false, None) => Err(format!(
                "Pictures of {} x {} and {} x {} pixels cannot be subtracted.",
                one.width(),
                one.height(),
                other.width(),
                other.height()
            )),
            (false, Some(difference)) => {
                let texture = load("difference", difference.image(size));
                Ok((difference, texture))
            }
        };
        let shown = |image: &RgbImage| match too_large {
            true => {
                let half = image::imageops::thumbnail(image, LARGEST, LARGEST);
                colour_image(&half)
            }
            false => colour_image(image),
        };
        Self { pictures: [load("first", shown(one)), load("second", shown(other))], difference }
    }
}

/// A picture in the middle of a tile.
fn place(ui: &Ui, within: Rect, texture: &TextureHandle, tint: Color32, uv: Rect) -> Rect {
    let rect = fitted(ui, within, texture.size_vec2());
    ui.painter().image(texture.id(), rect, uv, tint);
    rect
}

fn picture_tile(
    ui: &mut Ui,
    size: egui::Vec2,
    title: &str,
    name: &str,
    paint: impl FnOnce(&Ui, Rect),
) {
    let colour = ui.visuals().text_color();
    ui.add(Label::new(RichText::new(title).color(colour)).truncate());
    let (rect, response) = ui.allocate_exact_size(size, Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(Role::Image, true, name));
    ui.painter().rect_filled(rect, 4.0, palette(ui.visuals()).backdrop);
    paint(ui, rect);
}

fn difference_tile(ui: &mut Ui, size: egui::Vec2, ready: &Ready) {
    match &ready.difference {
        Ok((difference, texture)) => {
            let title = match difference.largest {
                0.0 => "The same in every pixel".to_owned(),
                largest => {
                    format!("Difference: mean {:.2}, largest {largest:.1} levels", difference.mean)
                }
            };
            picture_tile(ui, size, &title, "Their difference", |ui, rect| {
                place(ui, rect, texture, Color32::WHITE, UNIT);
            });
            if difference.largest > 0.0 {
                ui.with_layout(Layout::right_to_left(Align::Min), |ui| {
                    let top = format!("{:.0} levels", difference.largest.max(1.0));
                    legend_ramp(ui, "0", &top, HINT);
                });
            }
        }
        Err(reason) => {
            ui.label("Difference");
            ui.add(Label::new(theme::weak(ui, reason)).wrap());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_counted_in_levels() {
        let one = RgbImage::from_pixel(2, 1, image::Rgb([10, 20, 30]));
        let mut other = one.clone();
        assert_eq!(Difference::of(&one, &other).unwrap().largest, 0.0);
        other.put_pixel(1, 0, image::Rgb([16, 20, 27]));
        let difference = Difference::of(&one, &other).unwrap();
        assert_eq!(difference.levels, [0.0, 3.0]);
        assert_eq!((difference.mean, difference.largest), (1.5, 3.0));
        assert_eq!(difference.image([2, 1]).pixels, [viridis(0.0), viridis(1.0)]);
        assert!(Difference::of(&one, &RgbImage::new(1, 2)).is_none());
    }

    #[test]
    fn only_what_differs_is_listed() {
        let facts = |seed: &str| {
            let facts = [("Class", "cat"), ("Seed", seed)];
            facts.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
        };
        let mut other = facts("8");
        other.push(("Pins".to_owned(), "0,1,2=3".to_owned()));
        let rows = differing(&facts("7"), &other);
        let expected = [
            ("Seed".to_owned(), ["7".to_owned(), "8".to_owned()]),
            ("Pins".to_owned(), ["none".to_owned(), "0,1,2=3".to_owned()]),
        ];
        assert_eq!(rows, expected);
        assert_eq!(differing(&other, &other), []);
        assert!(shortened(&"é".repeat(99)).chars().count() < 70);
    }
}
