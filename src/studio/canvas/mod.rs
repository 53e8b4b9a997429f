//! The pictures: how they are looked at, and tools that change what single tokens may become.

mod camera;
mod drawn;
pub mod inpaint;
pub mod pane;
mod regenerate;
#[cfg(test)]
mod tests;
mod textures;
pub mod tool;

use self::camera::Camera;
use self::drawn::{DrawnOverlay, OverlayKey};
use self::inpaint::Inpaint;
use self::textures::{Filter, Textures};
use self::tool::{Brush, Paint, Stroke, Tool};
use crate::studio::action::{Actions, CanvasAction, WindowAction};
use crate::studio::engine::pictures::Pictures;
use crate::studio::engine::{Answer, Event, PictureKey};
use crate::studio::pane::Pane;
use crate::studio::session::token::Token;

/// The pictures, and what the pointer does on them.
#[derive(Default)]
pub struct Canvas {
    /// What the pointer does.
    pub tool: Tool,
    /// With which brush.
    pub brush: Brush,
    /// Regenerating a part of a picture.
    pub inpaint: Inpaint,
    /// Where one looks; `None` fits everything.
    camera: Option<Camera>,
    /// Whether the pointer is over the canvas.
    over: bool,
    hovered: Option<Token>,
    stroke: Option<Stroke>,
    pictures: Textures<(PictureKey, Filter)>,
    /// What was drawn last, until something else is known.
    latest: Option<Pictures>,
    overlays: Textures<OverlayKey>,
    /// Overlays drawn on the window's GPU.
    drawn: DrawnOverlay,
}

impl Canvas {
    /// Does what was asked of it.
    pub fn perform(&mut self, action: CanvasAction, actions: &mut Actions) {
        match action {
            CanvasAction::PaintWith { code, pick_up } => {
                (self.brush.code, self.brush.paint) = (code, Paint::Code);
                if pick_up {
                    self.tool = Tool::Pin;
                }
            }
            CanvasAction::ChangePart(path) => {
                self.tool = Tool::Region;
                actions.push(WindowAction::ReadPicture(path));
                actions.push(WindowAction::Reveal(Pane::Canvas));
            }
        }
    }

    /// Takes the answers to its own questions; gives back what is not one.
    pub fn absorb(&mut self, event: Event) -> Option<Event> {
        match event {
            Event::Answered(Answer::Overlaid { ticket, pictures }) => {
                self.drawn.take(ticket, pictures);
            }
            event => return Some(event),
        }
        None
    }

    /// Waits no longer for overlays that were asked for.
    pub fn forget_overlays(&mut self) {
        self.drawn.forget_asked();
    }

    /// Waits no longer for anything that was asked for: something went wrong.
    pub fn forget_questions(&mut self) {
        self.forget_overlays();
        self.inpaint.forget_questions();
    }

    /// Takes the tool out of the hand; says whether there was one.
    pub fn put_tool_down(&mut self) -> bool {
        let painted = self.tool.paints();
        self.tool = Tool::Look;
        painted
    }
}
