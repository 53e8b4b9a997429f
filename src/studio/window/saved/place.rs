//! Where the window is on the screen.

use eframe::CreationContext;
use egui::{Context, Pos2, Rect, Vec2, ViewportBuilder, ViewportCommand, pos2, vec2};
use serde::{Deserialize, Serialize};

use crate::studio::window::scale::LEAST_WINDOW;

/// Place and size of the window, as eframe writes them.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Place {
    /// Where it is when it is neither maximised nor on the full screen.
    normal_geometry: Geometry,
    fullscreen: bool,
    maximized: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Geometry {
    /// Upper left corner of its frame, in pixels; nothing where the desktop does not say.
    outer_position_pixels: Option<Pos2>,
    /// Pixels a point of the desktop.
    scale_factor: f32,
    /// Size of its inside, in points.
    inner_size_points: Vec2,
}

impl Default for Geometry {
    fn default() -> Self {
        Self { outer_position_pixels: None, scale_factor: 1.0, inner_size_points: Place::FIRST }
    }
}

impl Place {
    /// Size of a first start, in points.
    const FIRST: Vec2 = vec2(1440.0, 900.0);
    /// Least and largest side of a window, in points, and the furthest that a corner lies from that of
    /// the first screen, in pixels: more has no desktop, and -32000 is where Windows puts what is
    /// minimised.
    const SIDES: std::ops::RangeInclusive<f32> = 120.0..=16_384.0;
    const FURTHEST: f32 = 30_000.0;
    /// Part of a window that has to be on a screen for it to be found and moved, in pixels.
    const SEEN: Vec2 = vec2(120.0, 40.0);

    /// Puts back what cannot be; says whether anything was.
    pub fn tidy(&mut self) -> bool {
        let before = *self;
        let Geometry { outer_position_pixels, scale_factor, inner_size_points } =
            &mut self.normal_geometry;
        if !(0.25..=16.0).contains(scale_factor) {
            (*scale_factor, *outer_position_pixels) = (1.0, None);
        }
        let near = |at: &Pos2| at.x.abs() <= Self::FURTHEST && at.y.abs() <= Self::FURTHEST;
        *outer_position_pixels = outer_position_pixels.filter(near);
        if !(Self::SIDES.contains(&inner_size_points.x)
            && Self::SIDES.contains(&inner_size_points.y))
        {
            *inner_size_points = Self::FIRST;
        }
        before != *self
    }

    /// A window of this place, in which everything is `scale` times as large.
    pub fn of(self, builder: ViewportBuilder, scale: f32) -> ViewportBuilder {
        let geometry = self.normal_geometry;
        let builder = builder
            .with_inner_size(geometry.inner_size_points)
            .with_min_inner_size(LEAST_WINDOW / scale)
            .with_fullscreen(self.fullscreen)
            .with_maximized(self.maximized);
        match geometry.outer_position_pixels {
            Some(at) => builder.with_position(at / (scale * geometry.scale_factor)),
            None => builder,
        }
    }

    /// Moves a window that no screen shows to where it can be seen: its screen may have gone since.
    pub fn bring_back(self, creation: &CreationContext<'_>) {
        let Some(window) = creation.winit_window() else { return };
        let ctx = &creation.egui_ctx;
        // Some desktops do not say where windows are; those place them, too.
        if let Ok(at) = window.outer_position() {
            let rect = |x: i32, y: i32, width: u32, height: u32| {
                Rect::from_min_size(pos2(x as f32, y as f32), vec2(width as f32, height as f32))
            };
            let screens: Vec<Rect> = window
                .available_monitors()
                .map(|screen| (screen.position(), screen.size()))
                .map(|(at, size)| rect(at.x, at.y, size.width, size.height))
                .collect();
            let size = window.outer_size();
            let found = found_again(rect(at.x, at.y, size.width, size.height), &screens);
            if let Some(at) = found {
                let pixels = ctx.zoom_factor() * window.scale_factor() as f32;
                ctx.send_viewport_cmd(ViewportCommand::OuterPosition(at / pixels));
            }
        }
        // A desktop passes over what was asked before the window was shown.
        if self.fullscreen {
            ctx.send_viewport_cmd(ViewportCommand::Fullscreen(true));
        } else if self.maximized {
            ctx.send_viewport_cmd(ViewportCommand::Maximized(true));
        }
    }

    /// Takes note of where the window is now; one that is minimised or fills the screen will be where
    /// it was before.
    pub fn follow(&mut self, ctx: &Context) {
        let info = ctx.input(|input| input.viewport().clone());
        if info.minimized == Some(true) {
            return;
        }
        self.fullscreen = info.fullscreen.unwrap_or(false);
        self.maximized = info.maximized.unwrap_or(false);
        if self.fullscreen || self.maximized {
            return;
        }
        self.normal_geometry = Geometry {
            outer_position_pixels: info.outer_rect.map(|rect| rect.min * ctx.pixels_per_point()),
            scale_factor: info.native_pixels_per_point.unwrap_or(1.0),
            inner_size_points: info.inner_rect.map_or(ctx.content_rect().size(), |r| r.size()),
        };
    }
}

/// Where a window goes that none of the screens shows enough of: the middle of the first. Nothing
/// where it can stay, and where there is no screen.
fn found_again(window: Rect, screens: &[Rect]) -> Option<Pos2> {
    let first = screens.first()?;
    let enough = Place::SEEN.min(window.size());
    let seen = |screen: &Rect| {
        let part = screen.intersect(window);
        // What can be taken hold of is at the top.
        part.width() >= enough.x && part.height() >= enough.y && window.top() >= screen.top() - 8.0
    };
    if screens.iter().any(seen) {
        return None;
    }
    Some(first.min + ((first.size() - window.size()) / 2.0).max(Vec2::ZERO).round())
}

#[cfg(test)]
mod tests {
    use super::super::ron;
    use super::*;

    #[test]
    fn a_place_that_cannot_be_is_put_right() {
        for text in [
            "(normal_geometry:(scale_factor:NaN,outer_position_pixels:Some((x:1,y:2))))",
            "(normal_geometry:(inner_size_points:(x:0.0,y:0.0)))",
            "(normal_geometry:(inner_size_points:(x:NaN,y:700.0)))",
            "(normal_geometry:(inner_size_points:(x:1000000000.0,y:1000000000.0)))",
            "(normal_geometry:(outer_position_pixels:Some((x:-32000.0,y:-32000.0))))",
            "(normal_geometry:(outer_position_pixels:Some((x:inf,y:NaN))))",
        ] {
            let mut place: Place = ron::read(text).unwrap();
            assert!(place.tidy(), "{text}");
            assert_eq!(place, Place::default(), "{text}");
            assert!(!place.tidy());
        }
    }

    #[test]
    fn what_eframe_wrote_is_read() {
        let text = "(normal_geometry:(outer_position_pixels:Some((x:-900.0,y:40.0)),scale_factor:2.0,\
                    inner_size_points:(x:1200.0,y:800.0)),fullscreen:false,maximized:true)";
        let mut place: Place = ron::read(text).unwrap();
        assert!(!place.tidy() && place.maximized);
        let builder = place.of(ViewportBuilder::default(), 2.0);
        assert_eq!(builder.position, Some(pos2(-225.0, 10.0)));
        assert_eq!(builder.inner_size, Some(vec2(1200.0, 800.0)));
        assert_eq!(ron::write(&place).unwrap(), text);
    }

    #[test]
    fn a_window_that_no_screen_shows_comes_back() {
        let screen = |x: f32| Rect::from_min_size(pos2(x, 0.0), vec2(1920.0, 1080.0));
        let window = |x: f32, y: f32| Rect::from_min_size(pos2(x, y), vec2(1440.0, 900.0));
        let two = [screen(0.0), screen(1920.0)];
        for (x, y) in [(100.0, 50.0), (2500.0, 300.0), (-1300.0, 0.0), (0.0, 1030.0)] {
            assert_eq!(found_again(window(x, y), &two), None, "{x}, {y}");
        }
        for (x, y) in [(-32000.0, -32000.0), (9000.0, 0.0), (0.0, 1079.0), (-1439.0, 0.0)] {
            assert_eq!(found_again(window(x, y), &two), Some(pos2(240.0, 90.0)), "{x}, {y}");
        }
        assert_eq!(found_again(window(2500.0, 0.0), &two[..1]), Some(pos2(240.0, 90.0)));
        // With its title above the screen it cannot be moved.
        assert!(found_again(window(100.0, -400.0), &two).is_some());
        assert_eq!(found_again(window(0.0, 0.0), &[]), None);
        // One larger than the screen is shown from its corner on.
        let large = Rect::from_min_size(pos2(5000.0, 0.0), vec2(4000.0, 3000.0));
        assert_eq!(found_again(large, &two[..1]), Some(Pos2::ZERO));
    }
}
