//! Latents on the host, as the model, the sampler, files and the window hand them to each other.

use serde::{Deserialize, Serialize};

/// Extent of a batch of latents, laid out as `[batch, channels, height, width]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatentShape {
    /// Images in the batch.
    pub batch: usize,
    /// Size of a code.
    pub channels: usize,
    /// Rows of tokens.
    pub height: usize,
    /// Columns of tokens.
    pub width: usize,
}

impl LatentShape {
    /// Tokens of one image.
    pub fn tokens(&self) -> usize {
        self.height * self.width
    }

    /// Numbers in a tensor of this shape.
    pub fn len(&self) -> usize {
        self.batch * self.channels * self.tokens()
    }

    /// Whether the shape holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The four extents in order.
    pub fn dims(&self) -> [usize; 4] {
        [self.batch, self.channels, self.height, self.width]
    }
}

/// Latents on the host: `[batch, channels, height, width]`, row-major.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Latents {
    /// The extents.
    pub shape: LatentShape,
    /// The numbers, `shape.len()` of them.
    pub values: Vec<f32>,
}
