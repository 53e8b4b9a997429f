//! PNG pictures that carry the settings they were made with.

use std::io::{BufRead, Cursor, Seek};

use image::RgbImage;
use png::text_metadata::ITXtChunk;
use thiserror::Error;

/// Keyword of the text chunk that holds the settings as JSON.
pub const KEYWORD: &str = "purrscope";

/// Settings longer than this are compressed: those of many pictures name every one of them.
const LONG: usize = 16 << 10;

/// Most bytes of settings that are read: those of a million pictures take fewer.
pub const MOST_BYTES: usize = 8 << 20;

/// A PNG that cannot be read.
#[derive(Debug, Error)]
pub enum PngError {
    /// Not a PNG, or a broken one.
    #[error("not a readable PNG: {0}")]
    Unreadable(#[from] png::DecodingError),
    /// A PNG without settings.
    #[error("the PNG holds no purrscope settings")]
    NoSettings,
    /// Settings that cannot be unpacked, or that no picture can have.
    #[error("the settings in the PNG are damaged, or longer than {} MB", MOST_BYTES >> 20)]
    TooLong,
}

/// An 8-bit RGB PNG with `settings` in an international text chunk.
pub fn encode(image: &RgbImage, settings: &str) -> Result<Vec<u8>, png::EncodingError> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, image.width(), image.height());
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    let mut chunk = ITXtChunk::new(KEYWORD, settings);
    if settings.len() > LONG {
        chunk.compressed = true;
        chunk.compress_text()?;
    }
    writer.write_text_chunk(&chunk)?;
    writer.write_image_data(image.as_raw())?;
    writer.finish()?;
    Ok(bytes)
}

/// The settings in a PNG that [`encode`] made, wherever another program has put them since: in any of
/// the three kinds of text, before or after the pixels.
///
/// # Errors
/// Not a PNG, or one without settings.
pub fn settings(bytes: &[u8]) -> Result<String, PngError> {
    read_settings(Cursor::new(bytes))
}

/// As [`settings`], of a file, of which little is in memory at a time.
///
/// # Errors
/// As [`settings`].
pub fn read_settings(file: impl BufRead + Seek) -> Result<String, PngError> {
    let mut decoder = png::Decoder::new(file);
    decoder.set_ignore_text_chunk(false);
    let mut reader = decoder.read_info()?;
    match settings_of(reader.info()) {
        Err(PngError::NoSettings) if reader.finish().is_ok() => settings_of(reader.info()),
        found => found,
    }
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
    // What is compressed may be huge when it is not.
    let utf8 = info.utf8_text.iter().find(|chunk| chunk.keyword == KEYWORD);
    let packed = info.compressed_latin1_text.iter().find(|chunk| chunk.keyword == KEYWORD);
    let text = if let Some(mut chunk) = utf8.cloned() {
        chunk.decompress_text_with_limit(MOST_BYTES).map_err(|_| PngError::TooLong)?;
        chunk.get_text()?
    } else if let Some(mut chunk) = packed.cloned() {
        chunk.decompress_text_with_limit(MOST_BYTES).map_err(|_| PngError::TooLong)?;
        chunk.get_text()?
    } else {
        let plain = info.uncompressed_latin1_text.iter().find(|chunk| chunk.keyword == KEYWORD);
        plain.ok_or(PngError::NoSettings)?.text.clone()
    };
    if text.len() > MOST_BYTES { Err(PngError::TooLong) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use png::chunk::ChunkType;
    use png::text_metadata::{EncodableTextChunk, TEXtChunk, ZTXtChunk};

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

    /// Kind and contents of a chunk of text.
    fn chunk(text: &impl EncodableTextChunk) -> (ChunkType, Vec<u8>) {
        let mut bytes = Vec::new();
        text.encode(&mut bytes).unwrap();
        let kind = ChunkType(bytes[4..8].try_into().unwrap());
        (kind, bytes[8..bytes.len() - 4].to_vec())
    }

    /// The same text in each of the three kinds, compressed where that can be.
    fn kinds(text: &str) -> [(ChunkType, Vec<u8>); 3] {
        let mut packed = ZTXtChunk::new(KEYWORD, text);
        packed.compress_text().unwrap();
        let mut utf8 = ITXtChunk::new(KEYWORD, text);
        utf8.compressed = true;
        utf8.compress_text().unwrap();
        [chunk(&TEXtChunk::new(KEYWORD, text)), chunk(&packed), chunk(&utf8)]
    }

    /// A PNG with a chunk of text before or after its pixels.
    fn with_chunk((kind, text): &(ChunkType, Vec<u8>), before: bool) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = png::Encoder::new(&mut bytes, 1, 1).write_header().unwrap();
        if before {
            writer.write_chunk(*kind, text).unwrap();
        }
        writer.write_image_data(&[7]).unwrap();
        if !before {
            writer.write_chunk(*kind, text).unwrap();
        }
        writer.finish().unwrap();
        bytes
    }

    #[test]
    fn settings_are_found_in_every_kind_of_text() {
        let json = r#"{"seed":1}"#;
        for kind in kinds(json) {
            for before in [true, false] {
                assert_eq!(settings(&with_chunk(&kind, before)).unwrap(), json, "{:?}", kind.0);
            }
        }
        let other = with_chunk(&chunk(&TEXtChunk::new("Comment", json)), true);
        assert!(matches!(settings(&other), Err(PngError::NoSettings)));
    }

    #[test]
    fn a_text_that_would_fill_memory_is_refused() {
        for kind in kinds(&" ".repeat(MOST_BYTES + 1)) {
            let found = settings(&with_chunk(&kind, true));
            assert!(matches!(found, Err(PngError::TooLong)), "{:?}: {found:?}", kind.0);
        }
    }

    #[test]
    fn long_settings_are_compressed() {
        let long = format!("{{\"labels\":[{}0]}}", "4, ".repeat(50_000));
        let bytes = encode(&RgbImage::new(2, 2), &long).unwrap();
        assert!(bytes.len() < 5000, "{} bytes", bytes.len());
        assert_eq!(settings(&bytes).unwrap(), long);
    }
}
