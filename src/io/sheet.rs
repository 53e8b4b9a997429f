//! Many pictures on one sheet.

use image::{Rgb, RgbImage, imageops};

const GAP: u32 = 2;
const PAPER: Rgb<u8> = Rgb([24, 24, 27]);

/// Pictures of one size in rows of `columns`.
pub fn arrange(pictures: &[RgbImage], columns: usize) -> RgbImage {
    let (width, height) = pictures.first().map_or((1, 1), RgbImage::dimensions);
    let columns = columns.clamp(1, pictures.len().max(1));
    let rows = pictures.len().div_ceil(columns).max(1);
    let extent = |count: usize, size: u32| count as u32 * (size + GAP) + GAP;
    let mut sheet = RgbImage::from_pixel(extent(columns, width), extent(rows, height), PAPER);
    for (i, picture) in pictures.iter().enumerate() {
        let (row, column) = (i / columns, i % columns);
        let x = i64::from(extent(column, width));
        let y = i64::from(extent(row, height));
        imageops::replace(&mut sheet, picture, x, y);
    }
    sheet
}
