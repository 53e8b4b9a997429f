//! Runs written in many forms, away from the interface thread.

mod begin;
mod feed;
mod labels;
mod menu;
mod numbers;

#[cfg(test)]
use std::io;
#[cfg(test)]
use std::path::Path;

#[cfg(test)]
use image::RgbImage;

pub use self::begin::{Destination, Export, Exports};
pub use self::feed::{FeedError, FeedReceiver};
pub use self::labels::{run_name, settings_here, settings_json};
pub use self::menu::export_menu;
#[cfg(test)]
use crate::io::{atomic, png};

#[cfg(test)]
/// Writes a picture with its settings inside.
///
/// # Errors
/// Whatever the file system says.
pub fn write_png(path: &Path, image: &RgbImage, settings: &str) -> io::Result<()> {
    let bytes = png::encode(image, settings).map_err(io::Error::other)?;
    atomic::write(path, &bytes)
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod name_tests {
    use super::*;

    #[test]
    fn a_picture_carries_its_settings() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cat.png");
        let image = RgbImage::from_pixel(4, 4, image::Rgb([1, 2, 3]));
        write_png(&path, &image, r#"{"seed":42}"#).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(png::settings(&bytes).unwrap(), r#"{"seed":42}"#);
        assert_eq!(image::load_from_memory(&bytes).unwrap().to_rgb8(), image);
    }
}
