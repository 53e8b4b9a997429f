//! A sheet of pictures beside the ones that are nearest to them.

use image::RgbImage;

use crate::io::sheet::Sheet;

/// Pictures on a sheet.
pub(super) const SHOWN: usize = 24;
/// Groups side by side.
const ACROSS: usize = 3;

/// A picture with the nearest training picture, if there are any, and the nearest held-out picture.
#[derive(Debug, Clone)]
pub struct Row(pub Vec<RgbImage>);

/// Groups of pictures, each in a row, with an empty place between two of them.
pub(super) fn arrange(rows: &[Row]) -> RgbImage {
    let each = rows.first().map_or(1, |row| row.0.len());
    let layout = Sheet::rows_of(ACROSS * each + ACROSS - 1);
    let size = rows.iter().flat_map(|row| &row.0).next().map_or((1, 1), RgbImage::dimensions);
    let empty = RgbImage::from_pixel(size.0, size.1, layout.ground);
    let mut places = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        if at % ACROSS > 0 {
            places.push(empty.clone());
        }
        places.extend(row.0.iter().cloned());
    }
    layout.arrange(&places)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_lie_apart() {
        let picture = |level: u8| RgbImage::from_pixel(4, 4, image::Rgb([level; 3]));
        let row = |level: u8| Row(vec![picture(level), picture(level + 1)]);
        let sheet = arrange(&[row(100), row(110), row(120), row(130)]);
        assert_eq!(sheet.dimensions(), (8 * 6 + 2, 2 * 6 + 2));
        let level = |column: u32, line: u32| sheet.get_pixel(3 + 6 * column, 3 + 6 * line).0[0];
        let first: Vec<u8> = (0..8).map(|column| level(column, 0)).collect();
        assert_eq!(first, [100, 101, 24, 110, 111, 24, 120, 121]);
        assert_eq!((level(0, 1), level(2, 1)), (130, 24));
    }
}
