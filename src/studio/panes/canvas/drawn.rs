//! Overlays that are drawn on the window's own GPU, asked of the compute thread one at a time.

use egui::TextureId;

use super::overlays::OverlayKey;
use crate::studio::pictures::Pictures;

/// What was asked for, and what came last.
#[derive(Default)]
pub(in crate::studio) struct DrawnOverlay {
    asked: Option<(u64, OverlayKey)>,
    /// Without pictures where the compute thread does not share the window's GPU.
    known: Option<(OverlayKey, Option<Pictures>)>,
}

impl DrawnOverlay {
    /// Whether `key` is to be asked for: it is not there, and nothing else is on its way.
    pub(super) fn wants(&self, key: &OverlayKey) -> bool {
        self.asked.is_none() && self.known.as_ref().is_none_or(|(known, _)| known != key)
    }

    /// Whether `key` was answered with nothing, so that it is to be coloured on the CPU.
    pub(super) fn is_refused(&self, key: &OverlayKey) -> bool {
        matches!(&self.known, Some((known, None)) if known == key)
    }

    /// Notes that `key` was asked for.
    pub(super) fn ask(&mut self, ticket: u64, key: OverlayKey) {
        self.asked = Some((ticket, key));
    }

    /// Takes in an answer.
    pub(in crate::studio) fn take(&mut self, ticket: u64, pictures: Option<Pictures>) {
        if let Some((_, key)) = self.asked.take_if(|(asked, _)| *asked == ticket) {
            self.known = Some((key, pictures));
        }
    }

    /// Waits no longer for what was asked for.
    pub(in crate::studio) fn forget_asked(&mut self) {
        self.asked = None;
    }

    /// The textures to lay over the pictures until those of `key` are there: of the same run, and of
    /// the same kind.
    pub(super) fn textures(&self, key: &OverlayKey) -> &[TextureId] {
        match &self.known {
            Some((known, Some(pictures))) if known.is_like(key) => {
                pictures.on_device().map_or(&[], |pictures| pictures.ids(true))
            }
            _ => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::overlays::Overlay;
    use super::*;

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
        assert!(drawn.is_refused(&entropy) && !drawn.is_refused(&changes));
        assert!(!drawn.wants(&entropy), "no use in asking again");
        assert!(drawn.wants(&changes) && drawn.textures(&changes).is_empty());
        drawn.ask(2, changes.clone());
        drawn.forget_asked();
        assert!(drawn.wants(&changes), "what broke off may be asked for again");
    }
}
