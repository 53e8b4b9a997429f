//! Pictures on the host: as textures, and many on one sheet.

use egui::ColorImage;
use image::{Rgb, RgbImage, imageops};

use crate::io::sheet::Sheet;
use crate::studio::engine::pictures::Pictures;

/// A picture on the host as egui takes it.
pub fn colour_image(image: &RgbImage) -> ColorImage {
    let size = [image.width() as usize, image.height() as usize];
    ColorImage::from_rgb(size, image.as_raw())
}

/// A picture whose larger side is no more than `most` pixels.
pub fn thumbnail(image: RgbImage, most: u32) -> RgbImage {
    let (width, height) = image.dimensions();
    let largest = width.max(height);
    if largest <= most {
        return image;
    }
    let side = |side: u32| ((u64::from(side) * u64::from(most) / u64::from(largest)) as u32).max(1);
    imageops::thumbnail(&image, side(width), side(height))
}

/// All pictures of a batch on one sheet, in as square a grid as there is, on white.
pub fn contact_sheet(pictures: &Pictures) -> Option<RgbImage> {
    let pictures = pictures.host()?;
    let gap = (pictures.first()?.width() / 16).max(1);
    let sheet = Sheet { gap, border: gap, ground: Rgb([255; 3]), ..Sheet::square(pictures.len()) };
    Some(sheet.arrange(pictures))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contact_sheet_holds_every_picture() {
        let picture = |level| RgbImage::from_pixel(32, 32, Rgb([level; 3]));
        let sheet = contact_sheet(&vec![picture(10), picture(20), picture(30)].into()).unwrap();
        assert_eq!(sheet.dimensions(), (2 * 34 + 2, 2 * 34 + 2));
        assert_eq!(sheet.get_pixel(4, 4).0, [10; 3]);
        assert_eq!(sheet.get_pixel(4, 40).0, [30; 3]);
        assert_eq!(sheet.get_pixel(40, 40).0, [255; 3]);
    }
}
