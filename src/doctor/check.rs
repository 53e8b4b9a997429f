//! One thing that a device is tried at, and how far off it may be.

use std::time::Instant;

use burn::tensor::Device;

use super::stored::Stored;
use super::{Finding, Verdict};
use crate::fault::attempt;
use crate::model::Model;

/// Names of stored numbers, with what the device made of the same inputs.
pub(super) type Results = Vec<(String, Vec<f32>)>;

/// The device under examination.
pub(super) struct Patient<'a> {
    pub device: &'a Device,
    pub on_gpu: bool,
    /// The embedded model on the device.
    pub model: Option<&'a Model>,
}

/// Something that a device must be able to do.
pub(super) struct Check {
    /// What it is, in words.
    pub name: &'static str,
    pub exactness: Exactness,
    pub run: fn(&Patient<'_>) -> Results,
}

/// How close to the stored numbers a result must come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exactness {
    /// As sums of f32 do, in whatever order they are added up.
    Sums,
    /// As sums of f32 do that went through a whole network.
    Network,
    /// As 16-bit floats do.
    Half,
    /// As 16-bit floats do that went through a whole network.
    HalfNetwork,
    /// Within eight levels of 255.
    HalfPixels,
    /// Within one level of 255.
    Pixels,
    /// Equal: indices, codes, copies.
    Exact,
}

impl Exactness {
    /// The largest error that is allowed, relative to the largest number expected.
    fn allowed(self, on_gpu: bool) -> f32 {
        match (self, on_gpu) {
            (Self::Sums, false) => 1e-5,
            (Self::Sums, true) | (Self::Network, false) => 1e-4,
            (Self::Network, true) => 1e-3,
            (Self::Half, _) => 5e-3,
            (Self::HalfNetwork, _) => 5e-2,
            (Self::HalfPixels, _) => 8.01 / 255.0,
            (Self::Pixels, _) => 1.01 / 255.0,
            (Self::Exact, _) => 0.0,
        }
    }
}

impl Check {
    /// Tries the device, and compares.
    pub fn try_on(&self, patient: &Patient<'_>, stored: &Stored, note: &str) -> Finding {
        let name = match note {
            "" => self.name.to_owned(),
            note => format!("{} ({note})", self.name),
        };
        timed(name, || {
            let results = match attempt(|| (self.run)(patient)) {
                Ok(results) => results,
                Err(reason) => return Verdict::Broken { reason },
            };
            self.judge(&results, patient.on_gpu, stored)
        })
    }

    fn judge(&self, results: &Results, on_gpu: bool, stored: &Stored) -> Verdict {
        let allowed = self.exactness.allowed(on_gpu);
        if results.is_empty() {
            return Verdict::Broken { reason: "it gave no result".to_owned() };
        }
        let mut worst = (0.0, "");
        for (name, found) in results {
            let error = match stored.get(name) {
                Ok(expected) => worst_error(found, &expected),
                Err(error) => return Verdict::Broken { reason: error.to_string() },
            };
            if error > worst.0 {
                worst = (error, name);
            }
        }
        match worst {
            (error, _) if error <= allowed => Verdict::Passed { error, allowed },
            (error, what) => Verdict::Off { error, allowed, what: what.to_owned() },
        }
    }
}

/// The largest difference, relative to the largest number expected; infinite where a number is none
/// or there are too few.
fn worst_error(found: &[f32], expected: &[f32]) -> f32 {
    if found.len() != expected.len() {
        return f32::INFINITY;
    }
    let largest = expected.iter().fold(0.0f32, |most, value| most.max(value.abs())).max(1e-12);
    let error = |(found, expected): (&f32, &f32)| {
        let off = (found - expected).abs() / largest;
        if off.is_nan() { f32::INFINITY } else { off }
    };
    found.iter().zip(expected).map(error).fold(0.0, f32::max)
}

/// A finding with the time that it took.
pub(super) fn timed(name: String, verdict: impl FnOnce() -> Verdict) -> Finding {
    let begun = Instant::now();
    let verdict = verdict();
    Finding { name, verdict, seconds: begun.elapsed().as_secs_f64() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_or_missing_is_infinitely_off() {
        assert_eq!(worst_error(&[1.0, 2.0], &[1.0, 4.0]), 0.5);
        assert_eq!(worst_error(&[1.0, f32::NAN], &[1.0, 4.0]), f32::INFINITY);
        assert_eq!(worst_error(&[1.0], &[1.0, 4.0]), f32::INFINITY);
    }
}
