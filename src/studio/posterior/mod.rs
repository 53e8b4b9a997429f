//! What the model believes about one token, and what it is allowed to become.

mod own;
pub mod pane;
mod previews;
#[cfg(test)]
mod tests;

use self::own::Own;
use self::previews::Previews;
use crate::studio::action::{Actions, PosteriorAction, WindowAction};
use crate::studio::pane::Pane;
use crate::studio::session::Session;

/// What the pane keeps.
#[derive(Default)]
pub struct Posterior {
    /// What is typed as the number of a code.
    typed: String,
    /// The code whose picture is shown until another one is pointed at.
    kept: Option<u32>,
    previews: Previews,
    /// A picture about which the model is asked.
    own: Option<Own>,
    /// Whether that is shown, rather than the current run.
    shows_own: bool,
}

impl Posterior {
    /// Does what was asked of it.
    pub fn perform(
        &mut self,
        action: PosteriorAction,
        session: &mut Session,
        actions: &mut Actions,
    ) {
        let PosteriorAction::Question { name, codes, class } = action;
        self.own = Some(Own::new(name, codes, class, session));
        self.shows_own = true;
        actions.push(WindowAction::Reveal(Pane::Posterior));
    }

    /// Waits no longer for what was asked for.
    pub fn forget_question(&mut self) {
        self.previews.forget_question();
        if let Some(own) = &mut self.own {
            own.forget_question();
        }
    }

    /// Whether a picture was asked for that has not come.
    #[cfg(test)]
    pub(in crate::studio) fn is_waiting(&self) -> bool {
        self.previews.is_waiting() || self.own.as_ref().is_some_and(Own::is_waiting)
    }
}
