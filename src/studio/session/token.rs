//! A place in a batch.

use crate::flow::{LatentShape, Spot};

/// A place in a batch: a token of one of its images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token {
    /// The image, from 0.
    pub image: usize,
    /// Its row of tokens, from 0 at the top.
    pub row: usize,
    /// Its column of tokens, from 0 at the left.
    pub column: usize,
}

impl Token {
    /// Where a pin or ban lies.
    pub fn of(spot: &Spot) -> Self {
        Self { image: spot.image, row: spot.row, column: spot.column }
    }

    /// Its index in `[batch, height, width]`; nothing outside of the batch.
    pub fn index(self, shape: LatentShape) -> Option<usize> {
        let inside =
            self.image < shape.batch && self.row < shape.height && self.column < shape.width;
        inside.then(|| (self.image * shape.height + self.row) * shape.width + self.column)
    }
}
