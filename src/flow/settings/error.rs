//! What is wrong with a setting, in words that say what is right.

use thiserror::Error;

use crate::model::Objective;

/// A setting that cannot be used, with the range that can.
#[derive(Debug, Error, Clone, PartialEq)]
pub enum SettingsError {
    /// A word that names no member of a fixed set.
    #[error("unknown {what} '{given}' (known: {known})")]
    Unknown {
        /// What kind of setting it is.
        what: &'static str,
        /// What was given.
        given: String,
        /// The spellings that are understood.
        known: &'static str,
    },
    /// A number outside its range.
    #[error("{what} must be {range}, not {given}")]
    OutOfRange {
        /// What kind of setting it is.
        what: &'static str,
        /// What was given.
        given: String,
        /// The range, in words.
        range: &'static str,
    },
    /// A list that is longer than any run has use for.
    #[error("more than {most} {what} are more than a run may have")]
    TooMany {
        /// What there are too many of.
        what: &'static str,
        /// The most that there may be.
        most: usize,
    },
    /// A label that the model does not have.
    #[error("label {label} is out of range: the model has classes 0 to {last}")]
    Label {
        /// The label asked for.
        label: usize,
        /// The largest label the model knows.
        last: usize,
    },
    /// Nothing was asked for.
    #[error("no picture was asked for: give at least one label")]
    NoLabels,
    /// A pin or a ban that the run has no place for.
    #[error(
        "{what} {spot} is out of range: there are {batch} images of {height}x{width} tokens and {codes} codes"
    )]
    Spot {
        /// Pin or ban.
        what: &'static str,
        /// Where it is, and its code.
        spot: String,
        /// Images of the run.
        batch: usize,
        /// Rows of tokens.
        height: usize,
        /// Columns of tokens.
        width: usize,
        /// Codes of the model.
        codes: usize,
    },
    /// A token that is left without a code.
    #[error("every code is banned at image {image}, row {row}, column {column}")]
    AllBanned {
        /// Image of the batch.
        image: usize,
        /// Row of the token.
        row: usize,
        /// Column of the token.
        column: usize,
    },
    /// A setting that the model's objective has no use for.
    #[error("{what} does not go with the objective {objective}: {advice}")]
    Objective {
        /// The setting.
        what: &'static str,
        /// The model's objective.
        objective: Objective,
        /// What to do instead.
        advice: &'static str,
    },
}

pub(in crate::flow) fn parse_number(what: &'static str, text: &str) -> Result<f32, SettingsError> {
    text.trim().parse::<f32>().ok().filter(|value| value.is_finite()).ok_or_else(|| {
        SettingsError::OutOfRange { what, given: text.to_owned(), range: "a finite number" }
    })
}
