//! Lists that are read no further than a run may have use for.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};

use super::error::SettingsError;
use super::spot::Spot;

/// The most pictures of a run: enough for any statistics of a model.
pub const MAX_PICTURES: usize = 1_000_000;
/// The most pins, and the most bans of single tokens: as many as can be painted on a batch.
pub const MAX_SPOTS: usize = 100_000;
/// The most codes that are banned everywhere: the largest codebooks have as many codes.
pub const MAX_BANNED_CODES: usize = 1 << 18;

/// Reads labels, no more than a run may have.
pub(super) fn labels<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<usize>, D::Error> {
    list(from, "pictures", MAX_PICTURES)
}

/// Reads pins or bans, no more than a run may have.
pub(super) fn spots<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Spot>, D::Error> {
    list(from, "pins or bans", MAX_SPOTS)
}

/// Reads codes, no more than a run may ban.
pub(super) fn codes<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u32>, D::Error> {
    list(from, "banned codes", MAX_BANNED_CODES)
}

/// Reads a list and stops where it has more than `most` entries.
fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    from: D,
    what: &'static str,
    most: usize,
) -> Result<Vec<T>, D::Error> {
    struct List<T>(&'static str, usize, PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for List<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a list of at most {} {}", self.1, self.0)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
            let Self(what, most, _) = self;
            let mut list = Vec::new();
            while let Some(entry) = entries.next_element()? {
                if list.len() == most {
                    return Err(A::Error::custom(SettingsError::TooMany { what, most }));
                }
                list.push(entry);
            }
            Ok(list)
        }
    }
    from.deserialize_seq(List(what, most, PhantomData))
}
