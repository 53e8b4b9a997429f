//! What tokens may not become in a run: made once for it, and laid out once for the chunks that a head
//! takes the tokens in.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::kernels::{PackedMask, TokenMask};

/// A chunk of a head: its part, its first row of features, and its rows.
pub(super) type ChunkId = [usize; 3];

/// The mask of a run, with the chunks of it that have been asked for.
#[derive(Debug)]
pub struct RunMask {
    mask: TokenMask,
    chunks: Mutex<HashMap<ChunkId, PackedMask>>,
}

impl RunMask {
    /// A run's mask, over all of its tokens.
    pub fn new(mask: TokenMask) -> Self {
        Self { mask, chunks: Mutex::default() }
    }

    /// The mask of all tokens.
    pub fn whole(&self) -> &TokenMask {
        &self.mask
    }

    /// Lays out all chunks anew from now on, as where one did not find its way to the device.
    pub(crate) fn forget(&self) {
        self.chunks.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The mask of a chunk, which has the given tokens in this order.
    pub(super) fn chunk(&self, id: ChunkId, tokens: impl FnOnce() -> Vec<usize>) -> PackedMask {
        let mut chunks = self.chunks.lock().unwrap_or_else(PoisonError::into_inner);
        chunks.entry(id).or_insert_with(|| self.mask.select(&tokens()).packed()).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::TokenMask;

    #[test]
    fn a_chunk_is_laid_out_once() {
        let mut mask = TokenMask::new(6, 40);
        mask.ban(4, 33);
        let mask = RunMask::new(mask);
        let mut laid_out = 0;
        let mut chunk = |id| {
            let tokens = || {
                laid_out += 1;
                vec![1, 4]
            };
            mask.chunk(id, tokens).words().to_vec()
        };
        let first = chunk([0, 0, 2]);
        assert_eq!(first, [0, 0, 0, 0, 0, 1 << 1], "pin and two words of bans a token");
        assert_eq!(chunk([0, 0, 2]), first);
        chunk([1, 0, 2]);
        assert_eq!(laid_out, 2);
        mask.forget();
        mask.chunk([0, 0, 2], || vec![0]);
        assert_eq!(mask.chunk([0, 0, 2], || unreachable!("it is there")).words().len(), 3);
    }
}
