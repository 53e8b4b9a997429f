//! What the model believes about one token, and what it is allowed to become.

pub mod pane;
mod previews;
#[cfg(test)]
mod tests;

use self::previews::Previews;

/// What the pane keeps.
#[derive(Default)]
pub struct Posterior {
    /// What is typed as the number of a code.
    typed: String,
    /// The code whose picture is shown until another one is pointed at.
    kept: Option<u32>,
    previews: Previews,
}

impl Posterior {
    /// Waits no longer for the picture that was asked for.
    pub fn forget_question(&mut self) {
        self.previews.forget_question();
    }

    /// Whether a picture was asked for that has not come.
    #[cfg(test)]
    pub(in crate::studio) fn is_waiting(&self) -> bool {
        self.previews.is_waiting()
    }
}
