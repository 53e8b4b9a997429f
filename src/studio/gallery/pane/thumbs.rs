//! Textures of thumbnails, no more than a budget allows, and how they are laid into their boxes.

use std::collections::HashMap;

use egui::{Context, Rect, TextureHandle, TextureOptions, Ui, Vec2};
use image::RgbImage;

use crate::studio::base::images::colour_image;

/// Textures by the names of their pictures; those not looked at for the longest time go first.
#[derive(Default)]
pub struct Thumbs {
    known: HashMap<String, Thumb>,
    bytes: usize,
    clock: u64,
}

struct Thumb {
    texture: TextureHandle,
    bytes: usize,
    seen: u64,
}

impl Thumbs {
    /// Most bytes of textures.
    const BUDGET: usize = 48 << 20;

    /// Takes in pictures that have come.
    pub fn take(&mut self, ctx: &Context, pictures: Vec<(String, RgbImage)>) {
        self.clock += 1;
        for (name, picture) in pictures {
            let texture = ctx.load_texture(&name, colour_image(&picture), TextureOptions::NEAREST);
            // On the GPU a pixel has four bytes.
            let bytes = picture.as_raw().len() / 3 * 4;
            let thumb = Thumb { texture, bytes, seen: self.clock };
            let old = self.known.insert(name, thumb);
            self.bytes += bytes;
            self.bytes -= old.map_or(0, |old| old.bytes);
        }
        self.make_room();
    }

    fn make_room(&mut self) {
        while self.bytes > Self::BUDGET {
            let oldest = self.known.iter().min_by_key(|(_, thumb)| thumb.seen);
            let Some((name, _)) = oldest.filter(|(_, thumb)| thumb.seen < self.clock) else {
                return;
            };
            let name = name.clone();
            self.bytes -= self.known.remove(&name).map_or(0, |thumb| thumb.bytes);
        }
    }

    /// The texture of a picture, if it has come.
    pub fn get(&mut self, name: &str) -> Option<&TextureHandle> {
        let thumb = self.known.get_mut(name)?;
        thumb.seen = self.clock;
        Some(&thumb.texture)
    }
}

/// Where a picture of `size` pixels lies in a box: in the middle, and enlarged by a whole number of
/// pixels of the screen, so that its own come out equally large; made smaller only where it must.
pub fn fitted(ui: &Ui, within: Rect, size: Vec2) -> Rect {
    let scale = ui.pixels_per_point();
    let times = (within.size() * scale / size).min_elem();
    let times = if times >= 1.0 { times.floor() } else { times };
    let size = size * times / scale;
    let corner = within.center() - size / 2.0;
    // On whole pixels of the screen.
    let snapped = (corner.to_vec2() * scale).round() / scale;
    Rect::from_min_size(snapped.to_pos2(), size)
}
