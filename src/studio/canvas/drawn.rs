//! Overlays that are drawn on the window's own GPU, asked of the compute thread one at a time.

use egui::{Color32, TextureId};

use crate::studio::engine::PictureKey;
use crate::studio::engine::pictures::Pictures;
use crate::studio::session::edits::Edits;
use crate::studio::session::look::Overlay;

/// What an uploaded overlay depends on.
#[derive(Clone, PartialEq)]
pub(super) struct OverlayKey {
    pub(super) pictures: PictureKey,
    /// Tells the answers to what the settings on the controls would change apart.
    pub(super) believed: Option<usize>,
    pub(super) overlay: Overlay,
    pub(super) top: u32,
    pub(super) mark: Color32,
    pub(super) ended: bool,
    pub(super) edits: Option<Edits>,
}

impl OverlayKey {
    /// Some overlay of some step.
    #[cfg(test)]
    pub(super) fn of(overlay: Overlay) -> Self {
        use crate::studio::engine::View;
        let pictures = PictureKey { run: 1, position: 0, view: View::Predicted, ticket: 0 };
        let (top, mark) = (0, Color32::RED);
        Self { pictures, believed: None, overlay, top, mark, ended: false, edits: None }
    }
}

/// What was asked for, and what came last.
#[derive(Default)]
pub(super) struct DrawnOverlay {
    asked: Option<(u64, OverlayKey)>,
    /// Without pictures where the compute thread does not share the window's GPU.
    known: Option<(OverlayKey, Option<Pictures>)>,
    /// Whether what is known is what is to be seen.
    fits: bool,
}

impl DrawnOverlay {
    /// Whether `key` is to be asked for: it was not answered, and nothing else is on its way.
    pub(super) fn wants(&self, key: &OverlayKey) -> bool {
        self.asked.is_none() && self.known.as_ref().is_none_or(|(known, _)| known != key)
    }

    /// Notes that `key` was asked for.
    pub(super) fn ask(&mut self, ticket: u64, key: OverlayKey) {
        self.asked = Some((ticket, key));
    }

    /// Takes in an answer.
    pub(super) fn take(&mut self, ticket: u64, pictures: Option<Pictures>) {
        if let Some((_, key)) = self.asked.take_if(|(asked, _)| *asked == ticket) {
            self.known = Some((key, pictures));
            self.fits = false;
        }
    }

    /// Waits no longer for what was asked for.
    pub(super) fn forget_asked(&mut self) {
        self.asked = None;
    }

    /// Shows `key`, if it is there.
    pub(super) fn show(&mut self, key: &OverlayKey) {
        self.fits = self.known.as_ref().is_some_and(|(known, _)| known == key);
    }

    /// The textures shown, one an image; nothing while they are not those of what is to be seen.
    pub(super) fn on_show(&self) -> Option<&[TextureId]> {
        let (_, pictures) = self.known.as_ref().filter(|_| self.fits)?;
        Some(pictures.as_ref()?.on_device()?.ids(true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::studio::session::look::Overlay;

    #[test]
    fn one_thing_is_asked_for_at_a_time_and_a_refusal_is_remembered() {
        let (entropy, changes) =
            (OverlayKey::of(Overlay::Entropy), OverlayKey::of(Overlay::Changes));
        let mut drawn = DrawnOverlay::default();
        assert!(drawn.wants(&entropy));
        drawn.ask(1, entropy.clone());
        assert!(!drawn.wants(&changes), "something is on its way");
        drawn.take(7, None);
        assert!(!drawn.wants(&changes), "an answer to somebody else");
        drawn.take(1, None);
        assert!(!drawn.wants(&entropy), "no use in asking again");
        drawn.show(&entropy);
        assert!(drawn.on_show().is_none(), "a refusal is nothing to see");
        assert!(drawn.wants(&changes));
        drawn.ask(2, changes.clone());
        drawn.forget_asked();
        assert!(drawn.wants(&changes), "what broke off may be asked for again");
    }
}
