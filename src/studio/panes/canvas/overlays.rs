//! What is laid over the pictures: numbers and marks, a token at a time.

use egui::{Color32, ColorImage, Sense, TextureOptions, Ui, Vec2};
use serde::{Deserialize, Serialize};

use super::CanvasState;
use crate::studio::colormap::viridis;
use crate::studio::draft::Draft;
use crate::studio::edits::Edits;
use crate::studio::engine::PictureKey;
use crate::studio::run::Run;
use crate::studio::state::{Shown, StudioState, Token};
use crate::studio::theme::{self, GRID, palette};
use crate::studio::widgets::legend_ramp;

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
    /// Tokens whose most likely code is not the one that they end on.
    Unsettled,
    /// What is pinned and banned.
    Edits,
}

impl Overlay {
    /// Every overlay, in the order in which they are offered.
    pub const ALL: [Self; 6] = [
        Self::None,
        Self::Entropy,
        Self::Changes,
        Self::TopProbability,
        Self::Unsettled,
        Self::Edits,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "no overlay",
            Self::Entropy => "entropy",
            Self::Changes => "code changes",
            Self::TopProbability => "top probability",
            Self::Unsettled => "not yet final",
            Self::Edits => "edits",
        }
    }

    pub(super) fn hint(self) -> &'static str {
        match self {
            Self::None => "Only the pictures.",
            Self::Entropy => {
                "How undecided the model is about a token: 0 nats is certain, ln(codes) knows nothing."
            }
            Self::Changes => "Tokens whose most likely code is another than at the step before.",
            Self::TopProbability => "How much probability a token's most likely code has.",
            Self::Unsettled => {
                "Tokens whose most likely code here is not the one that they end on."
            }
            Self::Edits => {
                "Tokens held to a code: warm where this run held them, cool where the next one will; \
                 violet where codes are banned."
            }
        }
    }
}

/// The top of the entropy scale: the largest entropy of the run, rounded up to half a nat.
fn entropy_top(run: &Run) -> f32 {
    ((run.max_entropy * 2.0).ceil() / 2.0).max(0.5)
}

/// Tokens that are pinned in this run too, and those that are pinned for the next one only.
const HELD: Color32 = Color32::from_rgb(255, 178, 92);
const TO_HOLD: Color32 = Color32::from_rgb(92, 190, 220);
const BANNED: Color32 = Color32::from_rgb(190, 110, 220);

/// Colour of a token in the overlay of edits.
fn edit_colour(edits: &Edits, run: &Run, token: Token) -> Color32 {
    match edits.pin_of(token) {
        Some(code) if run.holds(token, code) => HELD,
        Some(_) => TO_HOLD,
        None if edits.has_bans(token) => BANNED,
        None => Color32::TRANSPARENT,
    }
}

/// Uploads the overlay of what is on show, where it changed.
pub(super) fn update(
    ui: &Ui,
    canvas: &mut CanvasState,
    draft: &Draft,
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
        let marked = |marked: bool| if marked { mark } else { Color32::TRANSPARENT };
        match overlay {
            Overlay::None => Color32::TRANSPARENT,
            Overlay::Entropy => {
                entropy.get(at).map_or(Color32::TRANSPARENT, |value| viridis(value / top))
            }
            Overlay::Changes => marked(changed[at]),
            Overlay::TopProbability => match &shown.record.posterior {
                Some(p) => viridis(p.top_probs[image * p.top * shape.tokens() + token]),
                None => Color32::TRANSPARENT,
            },
            Overlay::Unsettled => {
                marked(run.is_unsettled(pictures.position, &shown.record.likeliest, at))
            }
            Overlay::Edits => {
                let (row, column) = (token / shape.width, token % shape.width);
                edit_colour(&draft.edits, run, Token { image, row, column })
            }
        }
    };
    let images = (0..shape.batch).map(|image| {
        let pixels = (0..shape.tokens()).map(|token| colour(image, token)).collect();
        ColorImage::new([shape.width, shape.height], pixels)
    });
    let edits = (overlay == Overlay::Edits).then(|| draft.edits.clone());
    let key = OverlayKey { pictures, overlay, top: top.to_bits(), ended: run.end.is_some(), edits };
    canvas.overlays.update(ui.ctx(), key, "overlay", TextureOptions::NEAREST, images);
}

/// What an uploaded overlay depends on.
#[derive(PartialEq)]
pub(super) struct OverlayKey {
    pictures: PictureKey,
    overlay: Overlay,
    top: u32,
    ended: bool,
    edits: Option<Edits>,
}

/// Tells what the colours mean, in a row that fills from the right.
pub(super) fn legend(ui: &mut Ui, state: &StudioState, run: &Run) {
    let overlay = state.canvas.overlay;
    let mark = palette(ui.visuals()).mark;
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
            entry(ui, mark, &text, overlay);
        }
        Overlay::Unsettled => {
            let Some(shown) = state.shown() else { return };
            let tokens = shown.record.likeliest.len();
            let unsettled =
                |at: &usize| run.is_unsettled(state.position, &shown.record.likeliest, *at);
            let text = match run.end {
                Some(_) => {
                    let count = (0..tokens).filter(unsettled).count();
                    format!("not yet final: {count} of {tokens} tokens")
                }
                None => "known when the run has ended".to_owned(),
            };
            entry(ui, mark, &text, overlay);
        }
        Overlay::Edits => {
            let edits = &state.draft.edits;
            let held =
                edits.pins().iter().filter(|pin| run.holds(Token::of(pin), pin.code)).count();
            // From the right.
            entry(ui, BANNED, &format!("banned {}", edits.bans().len()), overlay);
            entry(ui, TO_HOLD, &format!("to pin {}", edits.pins().len() - held), overlay);
            entry(ui, HELD, &format!("pinned {held}"), overlay);
        }
    }
}

fn entry(ui: &mut Ui, colour: Color32, text: &str, overlay: Overlay) {
    ui.label(theme::weak(ui, text)).on_hover_text(overlay.hint());
    let (rect, _) = ui.allocate_exact_size(Vec2::splat(2.5 * GRID), Sense::hover());
    ui.painter().rect_filled(rect, 1.0, colour);
    ui.add_space(GRID);
}
