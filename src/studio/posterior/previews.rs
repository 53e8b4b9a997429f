//! The picture as it would be if one token were another code.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};

use egui::{TextureHandle, TextureOptions};
use image::RgbImage;

use crate::studio::base::images::colour_image;
use crate::studio::base::notices::About;
use crate::studio::engine::pictures::Pictures;
use crate::studio::session::Session;
use crate::studio::session::token::Token;

/// Which picture: its codes, the token, and the code that it would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    codes: u64,
    token: (usize, usize),
    code: u32,
}

/// Pictures with one token replaced, as they were asked for.
#[derive(Default)]
pub struct Previews {
    /// The newest last.
    known: VecDeque<(Key, Pair)>,
    pending: Option<(Key, u64)>,
    /// The last one that did not come back.
    refused: Option<Key>,
}

/// A picture as it is and as it would be.
pub(super) struct Pair {
    pub(super) textures: [TextureHandle; 2],
    /// Pixels that differ, in `[0, 1]` of all.
    pub(super) changed: f32,
    /// Mean difference of a channel where pixels differ, of 255.
    pub(super) by: f32,
}

impl Pair {
    fn new(ctx: &egui::Context, pictures: &Pictures) -> Option<Self> {
        let [as_it_is, otherwise] = pictures.host()? else { return None };
        let (changed, by) = difference(as_it_is, otherwise);
        let texture = |name: &str, picture: &RgbImage| {
            ctx.load_texture(name, colour_image(picture), TextureOptions::LINEAR)
        };
        let textures = [texture("as it is", as_it_is), texture("otherwise", otherwise)];
        Some(Self { textures, changed, by })
    }
}

/// The part of the pixels that differ, and by how much their channels do in the mean, of 255.
fn difference(a: &RgbImage, b: &RgbImage) -> (f32, f32) {
    let pixels = a.pixels().zip(b.pixels());
    let gaps: Vec<u32> = pixels
        .map(|(a, b)| a.0.iter().zip(b.0).map(|(a, b)| u32::from(a.abs_diff(b))).sum())
        .filter(|gap| *gap > 0)
        .collect();
    let all = (a.width() * a.height()).max(1) as f32;
    let by = gaps.iter().sum::<u32>() as f32 / (3 * gaps.len().max(1)) as f32;
    (gaps.len() as f32 / all, by)
}

impl Previews {
    const KEPT: usize = 64;

    pub(super) fn forget_question(&mut self) {
        self.pending = None;
    }

    #[cfg(test)]
    pub(super) fn is_waiting(&self) -> bool {
        self.pending.is_some()
    }

    pub(super) fn find(&self, key: Key) -> Option<&Pair> {
        self.known.iter().find(|(known, _)| *known == key).map(|(_, pair)| pair)
    }
}

/// Asks for the pair that is to be shown, one at a time; `eager` also while a run is computed.
pub(super) fn follow(
    ctx: &egui::Context,
    previews: &mut Previews,
    session: &mut Session,
    token: Token,
    code: u32,
    eager: bool,
) -> Option<Key> {
    let tokens = session.run.as_ref()?.shape.tokens();
    let at = token.index(session.run.as_ref()?.shape)? % tokens;
    let codes = session.shown_codes()?;
    let codes = codes.get(token.image * tokens..(token.image + 1) * tokens)?;
    let mut hasher = DefaultHasher::new();
    codes.hash(&mut hasher);
    let key = Key { codes: hasher.finish(), token: (token.row, token.column), code };
    if let Some((pending, ticket)) = previews.pending {
        let Some(pictures) = session.take_decoded(ticket) else { return Some(key) };
        previews.pending = None;
        match Pair::new(ctx, &pictures) {
            Some(pair) => {
                previews.known.push_back((pending, pair));
                if previews.known.len() > Previews::KEPT {
                    previews.known.pop_front();
                }
            }
            None => {
                // Asked again at once it would go the same way, frame after frame.
                previews.refused = Some(pending);
                let text = "The picture with another code could not be read back from the GPU. \
                            Press Generate to go on; if that does not help, start with --device cpu.";
                session.notices.error_about(About::Computing, text);
            }
        }
    }
    let idle = session.active.is_none() && !session.playback.playing;
    // A grid that is still masked in places cannot be decoded.
    let known = session.model.as_ref()?.card.tokenizer.codes;
    let whole = codes.iter().all(|code| (*code as usize) < known);
    if previews.find(key).is_none()
        && previews.refused != Some(key)
        && (idle || eager)
        && whole
        && session.decodes_run()
    {
        let mut pair = codes.to_vec();
        pair.extend(codes);
        pair[tokens + at] = code;
        let ticket = session.ask_decode(pair, 2);
        previews.pending = Some((key, ticket));
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_difference_is_counted_over_what_differs() {
        let a = RgbImage::from_pixel(4, 2, image::Rgb([10, 20, 30]));
        let mut b = a.clone();
        assert_eq!(difference(&a, &b), (0.0, 0.0));
        b.put_pixel(1, 1, image::Rgb([16, 20, 27]));
        b.put_pixel(0, 0, image::Rgb([10, 23, 30]));
        assert_eq!(difference(&a, &b), (0.25, 2.0));
    }
}
