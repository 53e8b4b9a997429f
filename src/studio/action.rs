//! What one feature asks of another, or of the window: the only road between them.
//!
//! A pane changes what it owns, and asks the session below it directly. Whatever concerns something
//! beside it or above it goes into the queue, and once all panes are shown each action is handed to its
//! one owner, in order.

use std::collections::VecDeque;
use std::path::PathBuf;

use super::pane::Pane;
use super::session::restored::Restored;

/// Something that is to be done elsewhere, by its owner.
#[derive(Debug)]
pub enum Action {
    /// For the window.
    Window(WindowAction),
    /// For whatever opens files.
    Files(FilesAction),
    /// For the controls.
    Controls(ControlsAction),
    /// For the canvas.
    Canvas(CanvasAction),
    /// For the posterior.
    Posterior(PosteriorAction),
    /// For the codebook.
    Codebook(CodebookAction),
    /// For exports.
    Export(ExportAction),
}

/// What the window does.
#[derive(Debug)]
pub enum WindowAction {
    /// Brings a pane into view.
    Reveal(Pane),
    /// Asks for a file to open.
    ChooseFile,
    /// Asks for a picture of which a part is to be regenerated.
    ChoosePicture,
    /// Reads a picture of which a part is to be regenerated.
    ReadPicture(PathBuf),
}

/// What is done with files.
#[derive(Debug)]
pub enum FilesAction {
    /// Opens a file, whatever it is.
    Open(PathBuf),
    /// Makes a picture again from its settings.
    Restore(Box<Restored>),
}

/// What the controls do.
#[derive(Debug)]
pub enum ControlsAction {
    /// Scrolls to the class that is chosen.
    RevealClass,
    /// Lists every class, whatever was searched for.
    ClearSearch,
}

/// What the canvas does.
#[derive(Debug)]
pub enum CanvasAction {
    /// Takes a code for the pin brush.
    PaintWith {
        /// The code.
        code: u32,
        /// Whether the brush is taken in hand as well.
        pick_up: bool,
    },
    /// Makes a part of a picture file anew.
    ChangePart(PathBuf),
}

/// What the posterior does.
#[derive(Debug)]
pub enum PosteriorAction {
    /// Asks what the model believes about a picture.
    Question {
        /// What it is called.
        name: String,
        /// `[height, width]`
        codes: Vec<u32>,
        /// Its class, where that is known; else that on the controls is taken.
        class: Option<String>,
    },
}

/// What the codebook does.
#[derive(Debug)]
pub enum CodebookAction {
    /// Chooses a code and scrolls to it.
    Find(u32),
}

/// What exports do.
#[derive(Debug)]
pub enum ExportAction {
    /// Copies files of the gallery to where a person says.
    Copy(Vec<PathBuf>),
}

macro_rules! owned {
    ($($owner:ident: $action:ident),*) => {$(
        impl From<$action> for Action {
            fn from(action: $action) -> Self {
                Self::$owner(action)
            }
        }
    )*};
}

owned!(
    Window: WindowAction,
    Files: FilesAction,
    Controls: ControlsAction,
    Canvas: CanvasAction,
    Posterior: PosteriorAction,
    Codebook: CodebookAction,
    Export: ExportAction
);

/// Actions that wait for their owners, the oldest first.
#[derive(Debug, Default)]
pub struct Actions(VecDeque<Action>);

impl Actions {
    /// Asks for something.
    pub fn push(&mut self, action: impl Into<Action>) {
        self.0.push_back(action.into());
    }

    /// The next action, which is then its owner's to do.
    pub fn pop(&mut self) -> Option<Action> {
        self.0.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_come_back_in_order_each_with_its_owner() {
        let mut actions = Actions::default();
        actions.push(CodebookAction::Find(7));
        actions.push(WindowAction::Reveal(Pane::Canvas));
        let Some(Action::Codebook(CodebookAction::Find(7))) = actions.pop() else {
            panic!("another action")
        };
        let Some(Action::Window(WindowAction::Reveal(Pane::Canvas))) = actions.pop() else {
            panic!("another action")
        };
        assert!(actions.pop().is_none());
    }
}
