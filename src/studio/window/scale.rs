//! Scale of the interface.

use std::ops::RangeInclusive;

use egui::gui_zoom::kb_shortcuts::{ZOOM_IN, ZOOM_IN_SECONDARY, ZOOM_OUT, ZOOM_RESET};
use egui::{Context, Vec2, ViewportCommand, vec2};
use serde::{Deserialize, Serialize};

/// The least window that can be had, in points of the desktop.
pub const LEAST_WINDOW: Vec2 = vec2(640.0, 420.0);
/// Room that the bar and one pane need, in points of the interface: in a window that has less the
/// interface is smaller than its scale says.
const LEAST_ROOM: Vec2 = vec2(480.0, 300.0);
/// How much a key changes the scale.
const STEP: f32 = 0.1;

/// Scale of the interface, 1 as the desktop has it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Scale(pub f32);

impl Default for Scale {
    fn default() -> Self {
        Self(1.0)
    }
}

impl Scale {
    /// The scales that the interface can have.
    pub const RANGE: RangeInclusive<f32> = 0.5..=3.0;

    /// Puts a scale back that cannot be; says whether it was.
    pub fn tidy(&mut self) -> bool {
        let usable = Self::RANGE.contains(&self.0);
        if !usable {
            self.0 = if self.0.is_finite() { Self::within(self.0) } else { 1.0 };
        }
        !usable
    }

    fn within(scale: f32) -> f32 {
        scale.clamp(*Self::RANGE.start(), *Self::RANGE.end())
    }

    /// Changes it as the keys say.
    pub fn keys(&mut self, ctx: &Context) {
        let pressed = |keys| ctx.input_mut(|input| input.consume_shortcut(keys));
        let steps = (self.0 / STEP).round();
        if pressed(&ZOOM_RESET) {
            *self = Self::default();
        } else if pressed(&ZOOM_IN) || pressed(&ZOOM_IN_SECONDARY) {
            self.0 = Self::within((steps + 1.0) * STEP);
        } else if pressed(&ZOOM_OUT) {
            self.0 = Self::within((steps - 1.0) * STEP);
        }
    }

    /// Gives it to the interface, or as much of it as the window has room for.
    pub fn fit(self, ctx: &Context) {
        let now = ctx.zoom_factor();
        let window = ctx.content_rect().size() * now;
        if window.min_elem() < 1.0 {
            return;
        }
        let room = (window / LEAST_ROOM).min_elem().max(*Self::RANGE.start());
        let wanted = self.0.min(room);
        if (wanted - now).abs() > 1e-3 {
            ctx.set_zoom_factor(wanted);
            ctx.send_viewport_cmd(ViewportCommand::MinInnerSize(LEAST_WINDOW / wanted));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_that_cannot_be_is_put_right() {
        for (found, used) in [(0.1, 0.5), (1.3, 1.3), (9.0, 3.0), (f32::NAN, 1.0)] {
            let mut scale = Scale(found);
            assert_eq!(scale.tidy(), found != used);
            assert_eq!(scale.0, used);
        }
    }
}
