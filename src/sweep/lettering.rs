//! Text on pictures, without a window: egui's fonts, rasterised on the CPU.

use std::sync::Arc;

use egui::epaint::text::{Fonts, TextOptions};
use egui::{Color32, FontDefinitions, FontId, Galley};
use image::{Rgb, RgbImage};

/// Lays out text, and paints it once all of it is known.
pub struct Lettering {
    fonts: Fonts,
    placed: Vec<(i32, i32, Rgb<u8>, Arc<Galley>)>,
}

/// Text that has been laid out.
#[derive(Clone)]
pub struct Text(Arc<Galley>);

impl Text {
    /// Width in pixels.
    pub fn width(&self) -> u32 {
        self.0.size().x.ceil() as u32
    }

    /// Height in pixels.
    pub fn height(&self) -> u32 {
        self.0.size().y.ceil() as u32
    }
}

impl Default for Lettering {
    fn default() -> Self {
        let fonts = Fonts::new(TextOptions::default(), FontDefinitions::default());
        Self { fonts, placed: Vec::new() }
    }
}

impl Lettering {
    /// Lays out text of `size` pixels; figures are of equal width where `mono`. Lines break at
    /// `width` pixels.
    pub fn text(&mut self, text: &str, size: f32, mono: bool, width: f32) -> Text {
        let font = if mono { FontId::monospace(size) } else { FontId::proportional(size) };
        let mut view = self.fonts.with_pixels_per_point(1.0);
        Text(view.layout(text.to_owned(), font, Color32::WHITE, width))
    }

    /// Puts the upper left corner of a text at a pixel.
    pub fn place(&mut self, text: &Text, x: i32, y: i32, colour: Rgb<u8>) {
        self.placed.push((x, y, colour, Arc::clone(&text.0)));
    }

    /// Paints everything that was placed.
    pub fn paint(self, image: &mut RgbImage) {
        let atlas = self.fonts.image();
        for (x, y, colour, galley) in &self.placed {
            for row in &galley.rows {
                for glyph in row.row.glyphs.iter().filter(|glyph| !glyph.uv_rect.is_nothing()) {
                    let uv = glyph.uv_rect;
                    let at = row.pos + glyph.pos.to_vec2() + uv.offset;
                    let (left, top) = (x + at.x.round() as i32, y + at.y.round() as i32);
                    let [width, height] = [0, 1].map(|i| i32::from(uv.max[i] - uv.min[i]));
                    for (dy, dx) in (0..height).flat_map(|dy| (0..width).map(move |dx| (dy, dx))) {
                        let texel = (
                            usize::from(uv.min[0]) + dx as usize,
                            usize::from(uv.min[1]) + dy as usize,
                        );
                        blend(image, left + dx, top + dy, *colour, atlas[texel].a());
                    }
                }
            }
        }
    }
}

/// Lays `colour` over a pixel, if there is one there.
fn blend(image: &mut RgbImage, x: i32, y: i32, colour: Rgb<u8>, alpha: u8) {
    let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y)) else { return };
    let Some(pixel) = image.get_pixel_mut_checked(x, y) else { return };
    let alpha = u32::from(alpha);
    for (below, above) in pixel.0.iter_mut().zip(colour.0) {
        let mixed = u32::from(above) * alpha + u32::from(*below) * (255 - alpha);
        *below = ((mixed + 127) / 255) as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_as_wide_as_it_says_and_leaves_ink() {
        let mut lettering = Lettering::default();
        let text = lettering.text("temperature", 20.0, false, f32::INFINITY);
        let (width, height) = (text.width(), text.height());
        assert!((60..200).contains(&width) && (16..40).contains(&height), "{width} x {height}");
        let mut image = RgbImage::from_pixel(width + 8, height + 8, Rgb([255; 3]));
        lettering.place(&text, 4, 4, Rgb([0; 3]));
        lettering.paint(&mut image);
        let dark = |x: u32| (0..image.height()).any(|y| image.get_pixel(x, y)[0] < 100);
        assert!((4..10).any(dark), "the first letter is at the left");
        assert!((width - 6..width + 4).any(dark), "the last one is at the right");
        assert!(!(0..2).any(dark));
        // The 't' has ink in its middle, and white beside it.
        let ink = image.pixels().filter(|pixel| pixel[0] < 128).count();
        let all = (width * height) as usize;
        assert!(ink > all / 40 && ink < all / 2, "{ink} of {all}");
    }

    #[test]
    fn long_text_breaks() {
        let mut lettering = Lettering::default();
        let line = lettering.text("eta must be from 0 to 1", 14.0, false, f32::INFINITY);
        let broken = lettering.text("eta must be from 0 to 1", 14.0, false, 60.0);
        assert!(broken.width() <= 60 && broken.height() >= 2 * line.height());
    }
}
