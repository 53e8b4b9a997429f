//! PNG pictures that carry the settings they were made with.

use std::io::{BufRead, Cursor, Seek};

use image::RgbImage;
use thiserror::Error;

/// Keyword of the text chunk that holds the settings as JSON.
pub const KEYWORD: &str = "purrscope";

/// A PNG that cannot be read.
#[derive(Debug, Error)]
pub enum PngError {
    /// Not a PNG, or a broken one.
    #[error("not a readable PNG: {0}")]
    Unreadable(#[from] png::DecodingError),
    /// A PNG without settings.
    #[error("the PNG holds no purrscope settings")]
    NoSettings,
}

/// An 8-bit RGB PNG with `settings` in an uncompressed international text chunk.
pub fn encode(image: &RgbImage, settings: &str) -> Result<Vec<u8>, png::EncodingError> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, image.width(), image.height());
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.add_itxt_chunk(KEYWORD.to_owned(), settings.to_owned())?;
    let mut writer = encoder.write_header()?;
    writer.write_image_data(image.as_raw())?;
    writer.finish()?;
    Ok(bytes)
}

/// The settings in a PNG that [`encode`] made.
///
/// # Errors
/// Not a PNG, or one without settings.
pub fn settings(bytes: &[u8]) -> Result<String, PngError> {
    let mut decoder = png::Decoder::new(Cursor::new(bytes));
    decoder.set_ignore_text_chunk(false);
    let reader = decoder.read_info()?;
    settings_of(reader.info())
}

/// Size in pixels and settings of a PNG, of which no more is read than what lies before its pixels.
///
/// # Errors
/// As [`settings`].
pub fn head(file: impl BufRead + Seek) -> Result<([u32; 2], String), PngError> {
    let mut decoder = png::Decoder::new(file);
    decoder.set_ignore_text_chunk(false);
    let reader = decoder.read_info()?;
    let info = reader.info();
    Ok(([info.width, info.height], settings_of(info)?))
}

fn settings_of(info: &png::Info<'_>) -> Result<String, PngError> {
    let chunk = info.utf8_text.iter().find(|chunk| chunk.keyword == KEYWORD);
    let mut chunk = chunk.cloned().ok_or(PngError::NoSettings)?;
    // A compressed text, which this program does not write, may be huge.
    chunk.decompress_text()?;
    Ok(chunk.get_text()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_survive() {
        let image = RgbImage::from_fn(3, 2, |x, y| image::Rgb([x as u8, y as u8, 7]));
        let bytes = encode(&image, r#"{"seed":1,"class":"猫"}"#).unwrap();
        assert_eq!(settings(&bytes).unwrap(), r#"{"seed":1,"class":"猫"}"#);
        assert_eq!(image::load_from_memory(&bytes).unwrap().to_rgb8(), image);
    }

    #[test]
    fn tells_a_broken_file_from_a_silent_one() {
        let image = RgbImage::new(1, 1);
        let mut plain = Vec::new();
        image::DynamicImage::from(image)
            .write_to(&mut Cursor::new(&mut plain), image::ImageFormat::Png)
            .unwrap();
        assert!(matches!(settings(&plain), Err(PngError::NoSettings)));
        assert!(matches!(settings(b"not a png"), Err(PngError::Unreadable(_))));
    }
}
