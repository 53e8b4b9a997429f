//! Pictures of a batch, as the compute thread hands them to the window.

use std::sync::Arc;

use image::RgbImage;

use super::present::DevicePictures;

/// One picture an image of a batch. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Pictures(Place);

#[derive(Debug, Clone)]
enum Place {
    Host(Arc<[RgbImage]>),
    /// On the GPU that the window draws with.
    Device(Arc<DevicePictures>),
}

impl Pictures {
    /// How many there are.
    pub fn count(&self) -> usize {
        match &self.0 {
            Place::Host(pictures) => pictures.len(),
            Place::Device(pictures) => pictures.count(),
        }
    }

    /// The pixels on the host. From a GPU they are fetched the first time that they are asked for,
    /// which waits for it: for files and thumbnails, not for drawing. Nothing where the GPU is lost.
    pub fn host(&self) -> Option<&[RgbImage]> {
        match &self.0 {
            Place::Host(pictures) => Some(pictures),
            Place::Device(pictures) => pictures.host(),
        }
    }

    /// The textures, where they are on the window's GPU.
    pub fn on_device(&self) -> Option<&DevicePictures> {
        match &self.0 {
            Place::Host(_) => None,
            Place::Device(pictures) => Some(pictures),
        }
    }

    /// Bytes that they take.
    pub fn bytes(&self) -> usize {
        match &self.0 {
            Place::Host(pictures) => pictures.iter().map(|picture| picture.as_raw().len()).sum(),
            Place::Device(pictures) => pictures.bytes(),
        }
    }
}

impl From<Vec<RgbImage>> for Pictures {
    fn from(pictures: Vec<RgbImage>) -> Self {
        Self(Place::Host(pictures.into()))
    }
}

impl From<DevicePictures> for Pictures {
    fn from(pictures: DevicePictures) -> Self {
        Self(Place::Device(Arc::new(pictures)))
    }
}
