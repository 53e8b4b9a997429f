//! What the window is made of: the studio, the places of its panes, and what lies around them.

use egui::{Context, Theme};

use super::dock::Dock;
use super::frames::FrameTimes;
use super::scale::Scale;
use super::studio::Studio;
use crate::data::is_picture;
use crate::studio::action::{FilesAction, WindowAction};
use crate::studio::base::dialogs::{Dialogs, Reply};
use crate::studio::base::notices::About;
use crate::studio::canvas::tool::Tool;
use crate::studio::model::tell_left_out;

/// A page over the whole window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// The keys.
    Keys,
    /// What this is, by whom, under which licences.
    About,
}

/// What the window is made of.
pub struct Shell {
    /// What it shows.
    pub studio: Studio,
    /// File dialogs that are open.
    pub dialogs: Dialogs,
    /// The places of the panes.
    pub dock: Dock,
    /// The page that lies over them.
    pub page: Option<Page>,
    /// Whether it is light or dark.
    pub theme: Theme,
    /// Scale of the interface.
    pub scale: Scale,
    /// Whether the hint of a first start was read.
    pub greeted: bool,
    /// Whether frame times are shown in a corner.
    pub figures: bool,
    /// Time that the window's own work took, frame by frame.
    pub frames: FrameTimes,
    /// Time that whole frames took, drawing included, waiting not.
    pub drawn: FrameTimes,
}

impl Shell {
    /// Takes in what came of dialogs, and files that were dropped.
    pub fn receive(&mut self, ctx: &Context) {
        let Studio { session, canvas, files, actions, .. } = &mut self.studio;
        for reply in self.dialogs.replies() {
            match reply {
                Reply::Open(path) => actions.push(FilesAction::Open(path)),
                Reply::Saved(path) => session.notices.tell(format!("Saved {}.", path.display())),
                Reply::Picture { name, picture } => {
                    canvas.inpaint_picture(session, *picture, name);
                }
                Reply::Failed(text) => session.notices.error_about(About::Opening, text),
            }
        }
        let dropped = ctx.input(|input| {
            input.raw.dropped_files.iter().map(|file| file.path().to_owned()).collect::<Vec<_>>()
        });
        if dropped.is_empty() {
            return;
        }
        let inpainting = canvas.tool == Tool::Region;
        match dropped.iter().position(|path| inpainting && is_picture(path)) {
            Some(at) => {
                actions.push(WindowAction::ReadPicture(dropped[at].clone()));
                tell_left_out(&dropped[at], dropped.len() - 1, session);
            }
            None => files.open_dropped(dropped, session, actions),
        }
    }

    /// Lets every action be done by its owner.
    pub fn perform(&mut self, ctx: &Context) {
        while let Some(action) = self.studio.perform() {
            match action {
                WindowAction::Reveal(pane) => self.dock.reveal(pane),
                WindowAction::ChooseFile => self.dialogs.open_model(ctx),
                WindowAction::ChoosePicture => self.dialogs.open_picture(ctx),
                WindowAction::ReadPicture(path) => self.dialogs.read_picture(ctx, path),
            }
        }
    }

    /// Closes the topmost thing that can be closed.
    pub fn escape(&mut self) {
        let banner = &mut self.studio.session.notices.banner;
        if self.page.take().is_none() && banner.take().is_none() {
            self.studio.escape();
        }
    }
}
