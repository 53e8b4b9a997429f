//! What to generate: class, seed, sampler, temperature, guidance.

mod class_pictures;
pub mod pane;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use self::class_pictures::ClassPictures;
use crate::studio::action::ControlsAction;
use crate::studio::engine::Event;
use crate::studio::session::Session;
use crate::studio::session::presets::Presets;

/// What the controls keep beside the settings.
pub struct Controls {
    /// Named ways of making pictures.
    pub presets: Presets,
    /// What is typed in the class search.
    search: String,
    /// Whether the list of classes is to scroll to the one chosen.
    reveal_class: bool,
    /// A small picture of every class, where they are wanted.
    pictures: Option<ClassPictures>,
}

impl Default for Controls {
    fn default() -> Self {
        Self {
            presets: Presets::default(),
            search: String::new(),
            reveal_class: true,
            pictures: None,
        }
    }
}

impl Controls {
    /// Does what was asked of it.
    pub fn perform(&mut self, action: ControlsAction) {
        match action {
            ControlsAction::RevealClass => self.reveal_class(),
            ControlsAction::ClearSearch => self.search.clear(),
        }
    }

    /// From now on the list of classes shows a small picture of each, made while nothing else is computed and
    /// kept in a folder, if there is one.
    pub fn show_pictures(&mut self, folder: Option<PathBuf>) {
        self.pictures = Some(ClassPictures::new(folder));
    }

    /// Takes what the compute thread reports, if it is for the controls.
    pub fn absorb(&mut self, event: Event, session: &mut Session) -> Option<Event> {
        match (event, &mut self.pictures) {
            (Event::Sketched(sketch), Some(pictures)) => {
                pictures.take(sketch, session);
                None
            }
            (event, _) => Some(event),
        }
    }

    /// Once a frame, after the panes: asks for pictures of classes unless the machine is `busy`.
    pub fn follow(&mut self, session: &mut Session, busy: bool) {
        if let Some(pictures) = &mut self.pictures {
            pictures.follow(session, busy);
        }
    }

    /// Scrolls to the class that is chosen when it is next shown.
    pub fn reveal_class(&mut self) {
        self.reveal_class = true;
    }
}
