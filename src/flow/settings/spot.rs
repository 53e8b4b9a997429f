//! A code at a token: what is pinned and what is banned.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::error::SettingsError;

/// A code at a token of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Spot {
    /// Image of the batch, from 0.
    pub image: usize,
    /// Row of tokens, from the top.
    pub row: usize,
    /// Column of tokens, from the left.
    pub column: usize,
    /// The code.
    pub code: u32,
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{},{}={}", self.image, self.row, self.column, self.code)
    }
}

impl FromStr for Spot {
    type Err = SettingsError;

    /// Reads `image,row,column=code`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || SettingsError::Unknown {
            what: "token and code",
            given: text.to_owned(),
            known: "IMAGE,ROW,COLUMN=CODE",
        };
        let (place, code) = text.split_once('=').ok_or_else(wrong)?;
        let place: Vec<usize> = place
            .split(',')
            .map(|number| number.trim().parse().map_err(|_| wrong()))
            .collect::<Result<_, _>>()?;
        let [image, row, column] = place[..] else { return Err(wrong()) };
        Ok(Self { image, row, column, code: code.trim().parse().map_err(|_| wrong())? })
    }
}
