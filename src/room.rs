//! Work that a device has no room for, and which is then done in smaller parts.
//!
//! A GPU tells of a buffer that it does not have only when results are read, in a panic; what can be
//! recognised of it is its words.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU32, Ordering};

use burn::backend::DispatchDevice;
use burn::tensor::Device;

use crate::fault::panic_text;

/// What the runtime says of a buffer that it cannot have: one beyond the limits of the device, one that
/// the driver has no memory for, and the buffer that was to be there afterwards.
const SIGNS: [&str; 5] = [
    "can't allocate buffer of size",
    "Can't allocate",
    "out of device memory",
    "Out of Memory",
    "couldn't find resource for that handle",
];

/// Whether a panic says that a device has no room for what was asked of it.
pub fn is_lack_of_room(panic: &(dyn Any + Send)) -> bool {
    let text = panic_text(panic);
    SIGNS.iter().any(|sign| text.contains(sign))
}

/// How much a device is asked to do at once: everything, and half as much each time that it has no room
/// for it.
#[derive(Debug, Default)]
pub struct Room {
    halvings: AtomicU32,
}

impl Room {
    /// So much of `whole` at once, at least 1.
    pub fn share(&self, whole: usize) -> usize {
        whole.checked_shr(self.halvings.load(Ordering::Relaxed)).unwrap_or(0).max(1)
    }

    /// Does work that asks for a [share](Room::share) of what is to be done at once, and again, with
    /// half as much, as often as the device has no room for it and `whole`, its number of images, can
    /// be halved.
    ///
    /// # Panics
    /// Whatever the work panics with at last.
    pub fn within<T>(&self, device: &Device, whole: usize, mut work: impl FnMut() -> T) -> T {
        loop {
            let before = self.share(whole);
            let panic = match catch_unwind(AssertUnwindSafe(&mut work)) {
                Ok(done) => return done,
                Err(panic) => panic,
            };
            if before == 1 || !is_lack_of_room(panic.as_ref()) {
                resume_unwind(panic);
            }
            self.halvings.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(
                "the device has no room for {before} pictures at once: they are computed {} at a time",
                self.share(whole)
            );
            tracing::debug!("{}", panic_text(panic.as_ref()));
            // What the failed attempt held is free again, but kept for the next of its size.
            device.memory_cleanup();
        }
    }
}

/// Bytes of the largest buffer that a device has: what a shader may bind of one. Nothing of the CPU, whose
/// only limit is its memory.
pub fn largest_buffer(device: &Device) -> Option<usize> {
    match device.clone().without_autodiff().as_dispatch() {
        DispatchDevice::Cube(device) => {
            let bytes = device.client().properties().memory.max_page_size;
            Some(usize::try_from(bytes).unwrap_or(usize::MAX))
        }
        _ => None,
    }
}

/// The parts of a batch, each of at most so many images.
pub fn parts(batch: usize, at_once: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    let at_once = at_once.max(1);
    (0..batch).step_by(at_once).map(move |first| first..batch.min(first + at_once))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Work that takes as many images as the room gives it, and fails above `fits`.
    fn made(room: &Room, whole: usize, fits: usize, says: &'static str) -> Vec<usize> {
        room.within(&Device::flex(), whole, || {
            let sizes: Vec<usize> =
                parts(whole, room.share(whole)).map(|part| part.len()).collect();
            assert!(sizes.iter().all(|size| *size <= fits), "{says}");
            sizes
        })
    }

    #[test]
    fn work_is_halved_until_there_is_room_and_stays_so() {
        let room = Room::default();
        assert_eq!(made(&room, 10, 10, "Out of Memory"), [10]);
        assert_eq!(made(&room, 10, 4, "out of device memory allocating 7 bytes"), [2, 2, 2, 2, 2]);
        assert_eq!(made(&room, 16, 16, "Out of Memory"), [4, 4, 4, 4]);
        assert_eq!(made(&room, 1, 1, "Out of Memory"), [1]);
        assert_eq!(made(&Room::default(), 3, 1, "can't allocate buffer of size: 9"), [1, 1, 1]);
    }

    #[test]
    fn other_panics_and_a_single_image_without_room_go_on() {
        let failed = |fits: usize, says: &'static str| {
            catch_unwind(|| made(&Room::default(), 8, fits, says)).unwrap_err()
        };
        assert!(is_lack_of_room(failed(0, "Out of Memory").as_ref()));
        let room = Room::default();
        let panic = catch_unwind(AssertUnwindSafe(|| made(&room, 8, 4, "another fault")));
        assert!(!is_lack_of_room(panic.unwrap_err().as_ref()));
        assert_eq!(room.share(8), 8, "it is not taken for a lack of room");
    }
}
