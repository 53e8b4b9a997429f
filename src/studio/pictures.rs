//! Pictures of a batch, as the compute thread hands them to the window.

use std::sync::Arc;

use image::RgbImage;

/// One picture an image of a batch. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Pictures(Arc<[RgbImage]>);

impl Pictures {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The pixels, where they are on the host.
    pub fn host(&self) -> Option<&[RgbImage]> {
        Some(&self.0)
    }

    /// Bytes that they take.
    pub fn bytes(&self) -> usize {
        self.0.iter().map(|picture| picture.as_raw().len()).sum()
    }
}

impl From<Vec<RgbImage>> for Pictures {
    fn from(pictures: Vec<RgbImage>) -> Self {
        Self(pictures.into())
    }
}
