//! What is laid over the pictures: numbers and marks, a token at a time.

use std::sync::Arc;

use egui::{Color32, ColorImage, Sense, TextureOptions, Ui, Vec2};

use crate::studio::base::theme::{self, GRID, palette};
use crate::studio::base::widgets::legend_ramp;
use crate::studio::canvas::Canvas;
use crate::studio::canvas::drawn::OverlayKey;
use crate::studio::engine::colormap::viridis;
use crate::studio::engine::{Drawing, PictureKey};
use crate::studio::session::Session;
use crate::studio::session::edits::Edits;
use crate::studio::session::look::Overlay;
use crate::studio::session::run::Run;
use crate::studio::session::token::Token;
use crate::studio::session::what_if::Shown;

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

/// The codes before a step and those shown, which are what the settings on the controls would make
/// likeliest where these were asked; `[batch, height, width]`.
fn change<'a>(run: &'a Run, position: usize, shown: &'a Shown) -> Option<[&'a [u32]; 2]> {
    let now = match shown.what_if {
        true => &shown.record.likeliest,
        false => run.codes(position)?,
    };
    // Nothing comes before the first step.
    let before = if position == 0 { now } else { run.codes_before(position)? };
    (before.len() == now.len()).then_some([before, now])
}

/// What the colours of an overlay are made of.
struct Colouring<'a> {
    overlay: Overlay,
    run: &'a Run,
    position: usize,
    shown: &'a Shown,
    edits: &'a Edits,
    mark: Color32,
}

impl Colouring<'_> {
    /// The colour of a token.
    fn colour(&self, image: usize, token: usize) -> Color32 {
        let Self { overlay, run, position, shown, edits, mark } = *self;
        let shape = run.shape;
        let at = image * shape.tokens() + token;
        let marked = |marked: bool| if marked { mark } else { Color32::TRANSPARENT };
        match overlay {
            Overlay::None => Color32::TRANSPARENT,
            Overlay::Entropy => match shown.record.entropy().get(at) {
                Some(entropy) => viridis(entropy / entropy_top(run)),
                None => Color32::TRANSPARENT,
            },
            Overlay::Changes => {
                let change = change(run, position, shown);
                marked(change.is_some_and(|[before, now]| before[at] != now[at]))
            }
            Overlay::TopProbability => match &shown.record.posterior {
                Some(p) => viridis(p.top_probs[image * p.top * shape.tokens() + token]),
                None => Color32::TRANSPARENT,
            },
            Overlay::Unsettled => marked(run.is_unsettled(position, &shown.record.likeliest, at)),
            Overlay::Edits => {
                let (row, column) = (token / shape.width, token % shape.width);
                edit_colour(edits, run, Token { image, row, column })
            }
        }
    }

    /// The same for the window's GPU; nothing of those overlays that are coloured on the CPU alone.
    fn drawing(&self) -> Option<Drawing> {
        let Self { overlay, run, position, shown, mark, .. } = *self;
        match overlay {
            Overlay::Entropy => {
                let values = shown.record.entropy().to_vec();
                let whole = values.len() == run.shape.batch * run.shape.tokens();
                whole.then(|| Drawing::Entropy { values, top: entropy_top(run) })
            }
            Overlay::Changes => {
                let [before, after] = change(run, position, shown)?.map(<[u32]>::to_vec);
                Some(Drawing::Changes { before, after, mark: mark.to_array() })
            }
            Overlay::None | Overlay::TopProbability | Overlay::Unsettled | Overlay::Edits => None,
        }
    }
}

/// Uploads the overlay of what is shown, where it changed; or gives what to ask of the window's GPU,
/// where the pictures are there too (`on_device`).
pub(super) fn update(
    ui: &Ui,
    canvas: &mut Canvas,
    session: &Session,
    run: &Run,
    pictures: PictureKey,
    shown: &Shown,
    on_device: bool,
) -> Option<(OverlayKey, Drawing)> {
    let (overlay, mark) = (session.look.overlay, palette(ui.visuals()).mark);
    let edits = (overlay == Overlay::Edits).then(|| session.draft.edits.clone());
    let (top, ended) = (entropy_top(run).to_bits(), run.end.is_some());
    // The answer is kept while it is shown, so that no other one is at its place.
    let believed = shown.what_if.then(|| Arc::as_ptr(&shown.record).addr());
    let key = OverlayKey { pictures, believed, overlay, top, mark, ended, edits };
    let position = pictures.position;
    let colouring = Colouring { overlay, run, position, shown, edits: &session.draft.edits, mark };
    canvas.drawn.show(&key);
    if canvas.drawn.on_show().is_some() {
        return None;
    }
    // Until the textures come, which may be a step later, the same colours from here stand in: what is
    // laid over a step is never that of another one.
    let drawable = on_device && canvas.drawn.wants(&key);
    let asked = drawable.then(|| colouring.drawing()).flatten();
    let asked = asked.map(|drawing| (key.clone(), drawing));
    let shape = run.shape;
    let images = (0..shape.batch).map(|image| {
        let pixels = (0..shape.tokens()).map(|token| colouring.colour(image, token)).collect();
        ColorImage::new([shape.width, shape.height], pixels)
    });
    canvas.overlays.update(ui.ctx(), key, "overlay", TextureOptions::NEAREST, images);
    asked
}

/// Tells what the colours mean, in a row that fills from the right.
pub(super) fn legend(ui: &mut Ui, session: &Session, run: &Run) {
    let overlay = session.look.overlay;
    let mark = palette(ui.visuals()).mark;
    match overlay {
        Overlay::None => {}
        Overlay::Entropy => {
            legend_ramp(ui, "0", &format!("{:.1} nats", entropy_top(run)), overlay.hint());
        }
        Overlay::TopProbability => legend_ramp(ui, "0", "1 probability", overlay.hint()),
        Overlay::Changes => {
            let Some(shown) = session.shown() else { return };
            let [before, now] = change(run, session.position, &shown).unwrap_or_default();
            let count = before.iter().zip(now).filter(|(before, now)| before != now).count();
            let text = format!("changed: {count} of {} tokens", now.len());
            entry(ui, mark, &text, overlay);
        }
        Overlay::Unsettled => {
            let Some(shown) = session.shown() else { return };
            let tokens = shown.record.likeliest.len();
            let unsettled =
                |at: &usize| run.is_unsettled(session.position, &shown.record.likeliest, *at);
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
            let edits = &session.draft.edits;
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

#[cfg(test)]
mod tests {
    use eframe::egui_wgpu::RendererOptions;
    use egui_kittest::wgpu::create_render_state;

    use super::*;
    use crate::device::DeviceChoice;
    use crate::studio::engine::model_worker::drawn;
    use crate::studio::engine::opener::{self, Graphics};
    use crate::studio::engine::present::Presenter;
    use crate::studio::testing::window::window;

    /// Every position of a run, coloured here and by the kernels, which read numbers and not colours.
    #[test]
    fn the_gpu_draws_the_colours_of_the_cpu() {
        let shared =
            create_render_state(opener::wgpu_setup(Graphics::Shared), RendererOptions::PREDICTABLE);
        let selected = opener::select_in_window(DeviceChoice::Gpu(None), &shared).unwrap();
        let presenter = Presenter::new(shared);
        let mut window = window();
        let app = window.state_mut();
        let edits = app.shell.studio.session.draft.edits.clone();
        let mark = Color32::from_rgb(255, 120, 40);
        let (mut marks, mut colours) = (0, std::collections::HashSet::new());
        for position in 0..=app.shell.studio.session.run.as_ref().unwrap().last() {
            app.shell.studio.session.position = position;
            let (run, shown) = (
                app.shell.studio.session.run.as_ref().unwrap(),
                app.shell.studio.session.shown().unwrap(),
            );
            for overlay in [Overlay::Entropy, Overlay::Changes] {
                let colouring =
                    Colouring { overlay, run, position, shown: &shown, edits: &edits, mark };
                let drawing = colouring.drawing().unwrap();
                let pixels = drawn(run.shape, &drawing, &selected.device);
                let bytes = pixels.to_bytes();
                let textures = presenter.show(std::iter::once(pixels)).unwrap();
                assert_eq!(textures.count(), run.shape.batch);
                let fetched = textures.host().unwrap();
                for (at, pixel) in bytes.as_chunks::<4>().0.iter().enumerate() {
                    let (image, token) = (at / run.shape.tokens(), at % run.shape.tokens());
                    let expected = colouring.colour(image, token).to_array();
                    let far = |found: &[u8]| {
                        found.iter().zip(&expected).map(|(a, b)| a.abs_diff(*b)).max().unwrap()
                    };
                    let (row, column) = (token / run.shape.width, token % run.shape.width);
                    let texel = fetched[image].get_pixel(column as u32, row as u32);
                    let allowed = u8::from(overlay == Overlay::Entropy);
                    assert!(far(pixel) <= allowed, "{overlay:?}: {pixel:?}, not {expected:?}");
                    assert!(far(&texel.0) <= allowed, "{overlay:?}: {texel:?} in the texture");
                    match overlay {
                        Overlay::Changes => marks += usize::from(expected[3] == 255),
                        _ => _ = colours.insert(expected),
                    }
                }
            }
        }
        assert!(marks > 0 && colours.len() > 10, "{marks} marks, {} colours", colours.len());
    }

    #[test]
    fn what_only_the_cpu_colours_is_not_asked_of_the_gpu() {
        let window = window();
        let studio = &window.state().shell.studio;
        let (run, shown) = (studio.session.run.as_ref().unwrap(), studio.session.shown().unwrap());
        for overlay in [Overlay::None, Overlay::TopProbability, Overlay::Unsettled, Overlay::Edits]
        {
            let (edits, mark) = (&studio.session.draft.edits, Color32::RED);
            let colouring = Colouring { overlay, run, position: 0, shown: &shown, edits, mark };
            assert_eq!(colouring.drawing(), None, "{overlay:?}");
        }
    }
}
