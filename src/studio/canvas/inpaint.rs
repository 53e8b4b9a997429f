//! Regenerating a part of a picture while the rest stays as it is.
//!
//! The picture is a grid of codes: one of the current run, or what the encoder makes of any picture.
//! A region of its tokens is free; every token outside is pinned to the code that it has, in as many
//! pictures as seeds are tried.

use crate::studio::engine::RunId;
use crate::studio::engine::pictures::Pictures;
use crate::studio::session::branch::BranchPoint;
use crate::studio::session::draft::Draft;

/// The tokens of one picture that are to be regenerated.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Region {
    pub(super) width: usize,
    inside: Vec<bool>,
}

impl Region {
    /// An empty region of a grid of `height` by `width` tokens.
    pub fn new(height: usize, width: usize) -> Self {
        Self { width, inside: vec![false; height * width] }
    }

    /// Whether it has the token; what lies beyond the grid it has not.
    pub fn contains(&self, row: usize, column: usize) -> bool {
        column < self.width && self.inside.get(row * self.width + column) == Some(&true)
    }

    /// Takes the token in, or leaves it out.
    pub fn set(&mut self, row: usize, column: usize, inside: bool) {
        if column < self.width
            && let Some(token) = self.inside.get_mut(row * self.width + column)
        {
            *token = inside;
        }
    }

    /// How many tokens it has.
    pub fn count(&self) -> usize {
        self.inside.iter().filter(|inside| **inside).count()
    }

    /// Tokens of the whole grid.
    pub fn tokens(&self) -> usize {
        self.inside.len()
    }

    /// Takes in what was left out, and leaves out what it had.
    pub fn invert(&mut self) {
        self.inside.iter_mut().for_each(|inside| *inside = !*inside);
    }

    /// Leaves everything out.
    pub fn clear(&mut self) {
        self.inside.fill(false);
    }
}

/// The picture of which a part is regenerated.
#[derive(Debug)]
pub struct Subject {
    /// What it is called.
    pub name: String,
    pub(super) codes: Vec<u32>,
    /// Its class, where that is known.
    pub(super) class: Option<String>,
    /// Which picture of which run it is, if it is one.
    pub(super) place: Option<(RunId, usize)>,
    /// The classes on the controls when it was chosen.
    pub(super) classes: Vec<String>,
    pub(super) decoding: Option<u64>,
    pub(super) picture: Option<Pictures>,
}

impl Subject {
    /// Its codes, `[height, width]`.
    pub fn codes(&self) -> &[u32] {
        &self.codes
    }

    /// It alone, decoded from its codes, once that has been done.
    pub fn picture(&self) -> Option<&Pictures> {
        self.picture.as_ref()
    }
}

/// What the controls had before a part was regenerated.
#[derive(Debug)]
pub(super) struct Before {
    pub(super) draft: Draft,
    pub(super) branch: Option<BranchPoint>,
}

/// Regenerating a part of a picture.
#[derive(Debug)]
pub struct Inpaint {
    /// What is regenerated.
    pub region: Region,
    /// How many seeds are tried at once.
    pub seeds: usize,
    /// Whether the picture as it was is shown, rather than what was made of it.
    pub original: bool,
    pub(super) subject: Option<Subject>,
    /// Number of the subject, rising, for textures.
    pub(super) serial: u64,
    pub(super) encoding: Option<(u64, String)>,
    pub(super) before: Option<Before>,
    /// The first run that was made from the subject; later ones are as well.
    pub(super) first_result: Option<RunId>,
}

impl Default for Inpaint {
    fn default() -> Self {
        Self {
            region: Region::default(),
            seeds: 4,
            original: false,
            subject: None,
            serial: 0,
            encoding: None,
            before: None,
            first_result: None,
        }
    }
}

impl Inpaint {
    /// The picture, if one was chosen.
    pub fn subject(&self) -> Option<&Subject> {
        self.subject.as_ref()
    }

    /// A number that changes with the picture.
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// What is being encoded, if anything is.
    pub fn encoding(&self) -> Option<&str> {
        self.encoding.as_ref().map(|(_, name)| name.as_str())
    }

    /// Whether anything was made of the picture yet.
    pub fn has_results(&self) -> bool {
        self.first_result.is_some()
    }

    /// Whether `run` was made from the picture.
    pub fn is_result(&self, run: RunId) -> bool {
        self.first_result.is_some_and(|first| run >= first)
    }

    /// Whether the region lies on this picture of this run.
    pub fn lies_on(&self, run: RunId, image: usize) -> bool {
        self.subject.as_ref().is_some_and(|subject| subject.place == Some((run, image)))
            || self.is_result(run)
    }

    /// Whether the picture as it was is to be shown, rather than `run`.
    pub(super) fn shows_original(&self, run: Option<RunId>) -> bool {
        let Some(subject) = &self.subject else { return false };
        let related = run.is_some_and(|run| {
            self.is_result(run) || subject.place.is_some_and(|(of, _)| of == run)
        });
        self.original || !related
    }

    /// Waits no longer for pictures and codes that were asked for: something went wrong.
    pub fn forget_questions(&mut self) {
        self.encoding = None;
        if let Some(subject) = &mut self.subject {
            subject.decoding = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_painted_inverted_and_cleared() {
        let mut region = Region::new(2, 3);
        region.set(1, 2, true);
        region.set(0, 0, true);
        region.set(0, 0, false);
        region.set(5, 0, true);
        region.set(0, 3, true);
        assert!(region.contains(1, 2) && !region.contains(0, 0) && !region.contains(0, 3));
        assert_eq!((region.count(), region.tokens()), (1, 6));
        region.invert();
        assert_eq!(region.count(), 5);
        region.clear();
        assert_eq!(region.count(), 0);
    }
}
