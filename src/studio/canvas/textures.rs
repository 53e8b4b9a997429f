//! Pictures as textures, enlarged so that pixels stay what they are.

use egui::{Color32, ColorImage, TextureHandle, TextureOptions};
use image::RgbImage;

use crate::studio::base::images::colour_image;

/// Enlargement beyond which pictures are shown with hard pixels.
pub(super) const SHARP_FROM: f32 = 2.0;

/// Textures of one batch, uploaded again when their key changes.
pub(super) struct Textures<K> {
    key: Option<K>,
    pub(super) handles: Vec<TextureHandle>,
}

impl<K> Default for Textures<K> {
    fn default() -> Self {
        Self { key: None, handles: Vec::new() }
    }
}

impl<K: PartialEq> Textures<K> {
    pub(super) fn update(
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
pub(super) enum Filter {
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
    pub(super) fn sharp(times: f32) -> Self {
        match times {
            times if times <= SHARP_FROM => Self::Smooth,
            times if times <= 4.0 => Self::Whole(4),
            times if times <= 8.0 => Self::Whole(8),
            _ => Self::Hard,
        }
    }

    pub(super) fn enlarge(self, image: &RgbImage) -> ColorImage {
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

    pub(super) fn options(self) -> TextureOptions {
        match self {
            Self::Smooth | Self::Whole(_) => TextureOptions::LINEAR,
            Self::Hard => TextureOptions::NEAREST,
        }
    }
}
