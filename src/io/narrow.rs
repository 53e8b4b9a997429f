//! Numbers of double precision, read as what this program computes with.

/// The nearest number of single precision; infinity beyond its range.
#[expect(clippy::cast_possible_truncation, reason = "rounding is what is wanted")]
pub(super) fn narrow(number: f64) -> f32 {
    number as f32
}
