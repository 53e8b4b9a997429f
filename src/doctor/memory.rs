//! Filling and copying buffers as large as the device allows.

use burn::tensor::{Device, Int, Tensor};

use super::check::timed;
use super::{Finding, Verdict};
use crate::fault::attempt;
use crate::readback;

/// Bytes that are tried at the most on a GPU, whose limit may be far beyond its memory.
const MOST_GPU_BYTES: u64 = 1 << 30;
/// Bytes that are tried on the CPU, whose only limit is its memory, and on GPUs in software.
const HOST_BYTES: u64 = 64 << 20;
/// Numbers that are read at each place.
const WINDOW: usize = 64;

/// Bytes of the largest buffer that is tried: `limit` is that of one binding on a GPU.
pub(super) fn bytes_to_try(limit: Option<u64>, software: bool) -> u64 {
    match limit {
        Some(limit) if !software => limit.min(MOST_GPU_BYTES),
        Some(limit) => limit.min(HOST_BYTES),
        None => HOST_BYTES,
    }
}

/// Fills a buffer of that size with rising numbers, from the host and by a copy on the device, and reads
/// both in several places.
pub(super) fn fill_and_copy(device: &Device, bytes: u64) -> Finding {
    timed(format!("fill and copy of {} MB", bytes >> 20), || {
        match attempt(|| wrong_place(device, (bytes / 4) as usize)) {
            Ok(None) => Verdict::Passed { error: 0.0, allowed: 0.0 },
            Ok(Some((what, place, found))) => Verdict::Off {
                error: f32::INFINITY,
                allowed: 0.0,
                what: format!("{what}: {found} at {place}"),
            },
            Err(reason) => Verdict::Broken { reason },
        }
    })
}

/// The first place where a number is not what it should be.
fn wrong_place(device: &Device, count: usize) -> Option<(&'static str, usize, i64)> {
    let rising: Vec<i32> = (0..count as i32).collect();
    let filled = Tensor::<1, Int>::from_data(rising.as_slice(), device);
    let copied = filled.clone() + 1;
    let last = count - WINDOW;
    let places = [0, 1 << 12, count / 3, count / 2, last];
    for (what, tensor, more) in [("fill", filled, 0), ("copy", copied, 1)] {
        for place in places.into_iter().filter(|place| *place <= last) {
            let window = tensor.clone().slice_dim(0, place..place + WINDOW);
            let found = readback::integers(window);
            let wrong =
                (place as i64..).zip(found).find(|(expected, found)| expected + more != *found);
            if let Some((expected, found)) = wrong {
                return Some((what, expected as usize, found));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_kept() {
        assert_eq!(bytes_to_try(Some(128 << 20), false), 128 << 20);
        assert_eq!(bytes_to_try(Some(1 << 40), false), MOST_GPU_BYTES);
        assert_eq!(bytes_to_try(Some(1 << 40), true), HOST_BYTES);
        assert_eq!(bytes_to_try(None, false), HOST_BYTES);
    }
}
