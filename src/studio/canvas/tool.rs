//! The tools: what the pointer does on a picture, and with which brush.

use std::sync::Arc;

use egui::{Key, Vec2};

/// What the pointer does on a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tool {
    /// Chooses the token to look at.
    #[default]
    Look,
    /// Pins tokens to a code.
    Pin,
    /// Lets pinned tokens go.
    Erase,
    /// Chooses the tokens to regenerate.
    Region,
}

impl Tool {
    /// Every tool, with its key.
    pub const ALL: [(Self, Key); 4] =
        [(Self::Look, Key::V), (Self::Pin, Key::B), (Self::Erase, Key::E), (Self::Region, Key::R)];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Look => "Look",
            Self::Pin => "Pin",
            Self::Erase => "Erase",
            Self::Region => "Region",
        }
    }

    /// What it does, in a sentence.
    pub fn hint(self) -> &'static str {
        match self {
            Self::Look => "Select a token to inspect; dragging moves the canvas (V).",
            Self::Pin => {
                "Paint tokens to pin to a code in the next run; right or middle drag moves (B)."
            }
            Self::Erase => "Remove pins (E).",
            Self::Region => "Paint the region to regenerate; the rest of the picture stays (R).",
        }
    }

    /// Whether it paints, so that dragging does not move the canvas.
    pub fn paints(self) -> bool {
        self != Self::Look
    }
}

/// What the pin brush pins a token to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Paint {
    /// The code that it has now.
    #[default]
    Present,
    /// The code of the brush.
    Code,
}

/// The brush of the tools that paint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Brush {
    /// Its side, in tokens, for pins.
    pub size: usize,
    /// Its side, in tokens, for the region.
    pub region_size: usize,
    /// What it pins to.
    pub paint: Paint,
    /// The code of [`Paint::Code`].
    pub code: u32,
    /// Whether the region loses what is painted.
    pub takes_away: bool,
}

impl Default for Brush {
    fn default() -> Self {
        Self { size: 1, region_size: 3, paint: Paint::default(), code: 0, takes_away: false }
    }
}

impl Brush {
    /// The sizes on offer, in tokens.
    pub const SIZES: [usize; 4] = [1, 2, 3, 5];

    /// Its side in the hand of `tool`, in tokens.
    pub fn side(&mut self, tool: Tool) -> &mut usize {
        if tool == Tool::Region { &mut self.region_size } else { &mut self.size }
    }

    /// The `(row, column)`s under the brush of `size` tokens with its middle at `at`, in tokens from the upper left
    /// corner of a grid of `height` by `width`: the square that lies nearest.
    pub fn footprint(
        size: usize,
        at: Vec2,
        height: usize,
        width: usize,
    ) -> impl Iterator<Item = (usize, usize)> {
        let span = move |middle: f32, count: usize| {
            let first = (middle - size as f32 / 2.0).round() as isize;
            let last = first + size as isize;
            first.clamp(0, count as isize) as usize..last.clamp(0, count as isize) as usize
        };
        let columns = span(at.x, width);
        span(at.y, height).flat_map(move |row| columns.clone().map(move |column| (row, column)))
    }
}

/// A stroke of the brush, while the button is held.
#[derive(Debug)]
pub(super) struct Stroke {
    pub(super) image: usize,
    /// Where it was last, in tokens.
    pub(super) last: Vec2,
    /// The codes when it began, `[batch, height, width]`.
    pub(super) codes: Arc<[u32]>,
}
