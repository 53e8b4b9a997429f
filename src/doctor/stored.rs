//! The numbers that a device is expected to give, and the inputs that they are of.

use crate::io::tensors::{TensorFile, TensorFileError};

/// Written by `scripts/doctor_numbers.py`: what PyTorch makes of the same inputs in float64.
static FILE: &[u8] = include_bytes!("../../assets/doctor/numbers.safetensors");

/// The expected numbers, by name.
pub(super) struct Stored(TensorFile);

impl Stored {
    /// Opens the file inside the program.
    pub fn open() -> Result<Self, TensorFileError> {
        TensorFile::from_static("doctor/numbers.safetensors", FILE).map(Self)
    }

    /// The numbers under a name.
    pub fn get(&self, name: &str) -> Result<Vec<f32>, TensorFileError> {
        Ok(self.0.floats(name)?.1)
    }
}

/// 32 random bits for an index, from the FNV-1a hash of a name.
fn bits(name: &str) -> impl Fn(u32) -> u32 {
    let seed = name
        .bytes()
        .fold(0x811c_9dc5_u32, |seed, byte| (seed ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    move |index| {
        let mut h = index.wrapping_mul(0x9e37_79b1) ^ seed;
        h ^= h >> 16;
        h = h.wrapping_mul(0x7feb_352d);
        h ^= h >> 15;
        h = h.wrapping_mul(0x846c_a68b);
        h ^ (h >> 16)
    }
}

/// `count` multiples of 2^-23 in `[-1, 1)`, times `scale`.
pub(super) fn numbers(name: &str, count: usize, scale: f32) -> Vec<f32> {
    let bits = bits(name);
    let number = |index| ((bits(index) >> 8) as f32 / 8_388_608.0 - 1.0) * scale;
    (0..count as u32).map(number).collect()
}

/// `count` indices below `below`.
pub(super) fn indices(name: &str, count: usize, below: u32) -> Vec<i64> {
    let bits = bits(name);
    (0..count as u32).map(|index| i64::from(bits(index) % below)).collect()
}

/// A parameter of a network under test: matrices and kernels of a size that keeps that of what goes
/// through them, weights of normalisations near 1, everything else small.
pub(super) fn weight(prefix: &str, name: &str, shape: &[usize]) -> Vec<f32> {
    let full = format!("{prefix}{name}");
    let count = shape.iter().product();
    if let [_, inputs @ ..] = shape
        && !inputs.is_empty()
    {
        let inputs = inputs.iter().product::<usize>() as f32;
        return numbers(&full, count, 1.5 / inputs.sqrt());
    }
    let norm = name.contains("norm") && name.ends_with("weight");
    let centre = if norm { 1.0 } else { 0.0 };
    numbers(&full, count, 0.25).into_iter().map(|value| value + centre).collect()
}
