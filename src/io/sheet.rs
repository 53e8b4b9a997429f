//! Many pictures on one sheet.

use image::{Rgb, RgbImage, imageops};

/// How pictures of one size are laid out on a sheet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sheet {
    /// Pictures in a row; no more than there are pictures.
    pub columns: usize,
    /// Space between two pictures, in pixels.
    pub gap: u32,
    /// Space around all of them, in pixels.
    pub border: u32,
    /// What the space is filled with.
    pub ground: Rgb<u8>,
}

impl Sheet {
    /// Rows of `columns`, with narrow lines of dark paper between and around.
    pub fn rows_of(columns: usize) -> Self {
        Self { columns, gap: 2, border: 2, ground: Rgb([24, 24, 27]) }
    }

    /// As square a grid as there is for that many `pictures`; else as [`Sheet::rows_of`].
    pub fn square(pictures: usize) -> Self {
        let side = pictures.isqrt();
        Self::rows_of(if side * side < pictures { side + 1 } else { side })
    }

    /// The sheet with these pictures, row by row.
    pub fn arrange(self, pictures: &[RgbImage]) -> RgbImage {
        let Self { gap, border, ground, .. } = self;
        let (width, height) = pictures.first().map_or((1, 1), RgbImage::dimensions);
        let columns = self.columns.clamp(1, pictures.len().max(1));
        let rows = pictures.len().div_ceil(columns).max(1);
        #[expect(clippy::cast_possible_truncation, reason = "a sheet has sides of 32 bits")]
        let place = |at: usize, size: u32| border + at as u32 * (size + gap);
        let extent = |count: usize, size: u32| place(count, size) - gap + border;
        let mut sheet = RgbImage::from_pixel(extent(columns, width), extent(rows, height), ground);
        for (at, picture) in pictures.iter().enumerate() {
            let (x, y) = (place(at % columns, width), place(at / columns, height));
            imageops::replace(&mut sheet, picture, i64::from(x), i64::from(y));
        }
        sheet
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(level: u8) -> RgbImage {
        RgbImage::from_pixel(4, 3, Rgb([level; 3]))
    }

    #[test]
    fn pictures_lie_row_by_row_between_lines() {
        let sheet = Sheet::rows_of(2).arrange(&[picture(10), picture(20), picture(30)]);
        assert_eq!(sheet.dimensions(), (2 * 6 + 2, 2 * 5 + 2));
        assert_eq!([sheet.get_pixel(2, 2).0[0], sheet.get_pixel(8, 2).0[0]], [10, 20]);
        assert_eq!([sheet.get_pixel(2, 7).0[0], sheet.get_pixel(8, 7).0[0]], [30, 24]);
        assert_eq!(sheet.get_pixel(6, 2).0, [24, 24, 27]);
    }

    #[test]
    fn without_a_border_the_corners_are_pictures() {
        let sheet = Sheet { gap: 1, border: 0, ..Sheet::square(4) };
        let sheet = sheet.arrange(&[1, 2, 3, 4].map(picture));
        assert_eq!(sheet.dimensions(), (9, 7));
        assert_eq!([sheet.get_pixel(0, 0).0[0], sheet.get_pixel(8, 6).0[0]], [1, 4]);
    }

    #[test]
    fn there_are_no_more_columns_than_pictures() {
        assert_eq!(Sheet::rows_of(8).arrange(&[picture(1)]).dimensions(), (8, 7));
        assert_eq!(Sheet::rows_of(0).arrange(&[]).dimensions(), (5, 5));
    }
}
