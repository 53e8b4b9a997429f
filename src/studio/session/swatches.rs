//! Small pictures of codes, asked for as they are needed.

use std::collections::{HashMap, HashSet};

use egui::{Context, TextureHandle, TextureId, TextureOptions};
use image::RgbImage;

use crate::studio::base::images::colour_image;

/// Small pictures of codes.
#[derive(Default)]
pub struct Swatches {
    known: HashMap<u32, RgbImage>,
    pub(super) asked: HashSet<u32>,
    textures: HashMap<u32, TextureHandle>,
}

impl Swatches {
    /// A code's swatch, if it has come.
    pub fn picture(&self, code: u32) -> Option<&RgbImage> {
        self.known.get(&code)
    }

    /// The texture of a code's swatch, if it has come.
    pub fn texture(&mut self, ctx: &Context, code: u32) -> Option<TextureId> {
        if let Some(texture) = self.textures.get(&code) {
            return Some(texture.id());
        }
        let image = colour_image(self.known.get(&code)?);
        let texture = ctx.load_texture(format!("code {code}"), image, TextureOptions::LINEAR);
        let id = texture.id();
        self.textures.insert(code, texture);
        Some(id)
    }

    /// Takes in swatches that have come.
    pub(super) fn take(&mut self, list: Vec<(u32, RgbImage)>) {
        self.known.extend(list);
    }

    /// Waits no longer for those that have not come.
    pub(super) fn forget_asked(&mut self) {
        let known = &self.known;
        self.asked.retain(|code| known.contains_key(code));
    }

    /// Whether all that were asked for have come.
    pub(super) fn are_here(&self) -> bool {
        self.asked.iter().all(|code| self.known.contains_key(code))
    }
}
