//! What becomes of pictures that are there twice.

use std::fmt::{self, Display};
use std::str::FromStr;
use std::sync::atomic::AtomicBool;

use serde::{Deserialize, Serialize};

use super::folder::{DataError, ImageFolder};
use crate::say;

/// So many pictures take a while to look through.
const MANY: usize = 5_000;

/// What becomes of pictures that are there twice. As a text it is `merge` or `keep`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Duplicates {
    /// All pictures are read once, before anything else. Of those of the same pixels in a class one is kept.
    #[default]
    Merge,
    /// Pictures are taken as they lie, and read when they are needed.
    Keep,
}

impl Duplicates {
    /// The pictures that are left of these: all that lie there or, [looked through](ImageFolder::looked_through), each
    /// one once.
    ///
    /// # Errors
    /// No picture can be read, or `stop` was asked for.
    pub fn sift(self, images: ImageFolder, stop: &AtomicBool) -> Result<ImageFolder, DataError> {
        if self == Self::Keep {
            return Ok(images);
        }
        if images.len() >= MANY {
            tracing::info!(
                "{}: looking through {} once, for copies and damage (\"keep\" for duplicates does without)",
                images.root().display(),
                say::count(images.len(), "picture")
            );
        }
        images.looked_through(stop)
    }
}

impl FromStr for Duplicates {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "merge" => Ok(Self::Merge),
            "keep" => Ok(Self::Keep),
            _ => Err("expected merge or keep"),
        }
    }
}

impl Display for Duplicates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Merge => "merge",
            Self::Keep => "keep",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_as_in_run_files() {
        for kind in [Duplicates::Merge, Duplicates::Keep] {
            assert_eq!(kind.to_string().parse::<Duplicates>(), Ok(kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.to_string());
        }
        assert_eq!("both".parse::<Duplicates>(), Err("expected merge or keep"));
    }
}
