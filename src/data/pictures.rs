//! Reading a picture, in the one way that training, encoding and the studio share.
//!
//! A picture is taken by what its file holds, whatever it is called; turned as its EXIF orientation
//! says; and laid on a [`Background`] where it is transparent. Nothing is allocated on the word of a
//! header beyond [`MOST_PIXELS`].

use std::fs::{self, File};
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use image::imageops::{self, FilterType};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::background::Background;

/// Most pixels of a picture: more than the 108 million of a telephone's sensor, and 400 MB in memory.
pub const MOST_PIXELS: u64 = 1 << 27;
/// Most bytes of a file: as many as such a picture has without any compression, 16 bits a channel.
const MOST_BYTES: u64 = 8 * MOST_PIXELS;
/// Pictures of more pixels are decoded one at a time, so that many threads share one's memory.
const LARGE: u64 = 1 << 24;
/// Bytes at the beginning of a file that tell its format.
const HEAD: u64 = 32;

const FORMATS: [ImageFormat; 5] =
    [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP, ImageFormat::Gif, ImageFormat::Bmp];
/// Endings of names that promise a picture: of the formats that are read, then of others, so that one
/// of those is missed by name and not without a word.
const ENDINGS: [&str; 24] = [
    "png", "jpg", "jpeg", "webp", "gif", "bmp", "jpe", "jfif", "apng", "dib", "tif", "tiff",
    "avif", "heic", "heif", "jxl", "jp2", "ico", "tga", "psd", "svg", "pnm", "ppm", "exr",
];

/// A picture that cannot be read.
#[derive(Debug, Error)]
pub enum PictureError {
    /// The file system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// Something else, whatever it is called.
    #[error("{path}: {found}, expected a png, jpg, webp, gif or bmp picture")]
    Other {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: String,
    },
    /// Larger than any that is read.
    #[error(
        "{path}: {found}, more than the {} pixels of the largest picture that is read",
        MOST_PIXELS
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size, in words.
        found: String,
    },
    /// Cut short, or damaged.
    #[error("{path}: a damaged {format} picture: {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

/// Width and height of a picture as they are stored, whatever the file is called; nothing where its head cannot be
/// read.
pub fn picture_size(path: &Path) -> Option<(u32, u32)> {
    let reader = ImageReader::open(path).ok()?.with_guessed_format().ok()?;
    reader.into_dimensions().ok()
}

/// Reads a picture, on white where it is transparent.
///
/// # Errors
/// The file cannot be read, or does not hold a whole picture of a known format and of a size that is
/// not absurd; the error names it.
pub fn read_picture(path: &Path) -> Result<RgbImage, PictureError> {
    read_with(path, Background::WHITE, |picture| picture)
}

/// Reads the middle square of a picture, at `size` pixels a side.
///
/// # Errors
/// As [`read_picture`].
pub fn read_square(
    path: &Path,
    size: u32,
    background: Background,
) -> Result<RgbImage, PictureError> {
    read_with(path, background, |picture| fit_square(picture, size))
}

/// What `finish` makes of a picture.
///
/// # Errors
/// As [`read_picture`].
pub(super) fn read_with<T>(
    path: &Path,
    background: Background,
    finish: impl FnOnce(RgbImage) -> T,
) -> Result<T, PictureError> {
    decode(&bytes_of(path)?, path, background, finish)
}

/// SHA-256 of what a file holds, and of the picture in it: of its size in pixels and their colours as they are
/// seen, turned and on the background, so that it is the same in whatever format, with whatever else beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Print {
    pub file: [u8; 32],
    pub picture: [u8; 32],
}

impl Print {
    /// # Errors
    /// As [`read_picture`].
    pub fn of(path: &Path, background: Background) -> Result<Self, PictureError> {
        let bytes = bytes_of(path)?;
        let picture = decode(&bytes, path, background, |picture| {
            let (width, height) = picture.dimensions();
            let sides = [width.to_le_bytes(), height.to_le_bytes()].concat();
            Sha256::new().chain_update(sides).chain_update(picture.as_raw()).finalize().into()
        })?;
        Ok(Self { file: Sha256::digest(&bytes).into(), picture })
    }
}

fn bytes_of(path: &Path) -> Result<Vec<u8>, PictureError> {
    let io_error = |source| PictureError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(io_error)?;
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(io_error)?;
    if bytes.len() as u64 > MOST_BYTES {
        let found = format!("more than {MOST_BYTES} bytes");
        return Err(PictureError::TooLarge { path: path.to_owned(), found });
    }
    Ok(bytes)
}

/// What `finish` makes of the picture in the bytes of the file at `path`. Where the picture is large,
/// others wait until it is done.
fn decode<T>(
    bytes: &[u8],
    path: &Path,
    background: Background,
    finish: impl FnOnce(RgbImage) -> T,
) -> Result<T, PictureError> {
    static TURN: Mutex<()> = Mutex::new(());
    let path = || path.to_owned();
    let format = format_of(bytes).map_err(|found| PictureError::Other { path: path(), found })?;
    let damaged = |reason: String| PictureError::Damaged {
        path: path(),
        format: name_of(format),
        reason: reason.chars().map(|c| if c.is_control() { ' ' } else { c }).collect(),
    };
    if format == ImageFormat::Jpeg && !jpeg_has_an_end(bytes) {
        return Err(damaged("it is cut short".to_owned()));
    }
    let mut limits = Limits::default();
    limits.max_alloc = Some(MOST_BYTES);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(|error| damaged(error.to_string()))?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    if pixels > MOST_PIXELS {
        let found = format!("{width}x{height} pixels");
        return Err(PictureError::TooLarge { path: path(), found });
    }
    if pixels == 0 {
        return Err(damaged(format!("it is {width}x{height} pixels")));
    }
    let _turn = (pixels > LARGE).then(|| TURN.lock().unwrap_or_else(PoisonError::into_inner));
    let orientation = orientation(&mut decoder);
    let mut picture =
        DynamicImage::from_decoder(decoder).map_err(|error| damaged(error.to_string()))?;
    picture.apply_orientation(orientation);
    Ok(finish(background.under(picture)))
}

/// The format of a picture that begins with `bytes`, or what else they are the beginning of.
fn format_of(bytes: &[u8]) -> Result<ImageFormat, String> {
    match image::guess_format(bytes) {
        Ok(ImageFormat::Bmp) if !begins_bitmap(bytes) => Err("not a picture".to_owned()),
        Ok(format) if FORMATS.contains(&format) => Ok(format),
        Ok(other) => Err(format!("a picture of format {}", other.extensions_str()[0])),
        Err(_) if bytes.is_empty() => Err("an empty file".to_owned()),
        Err(_) => Err("not a picture".to_owned()),
    }
}

/// Any text may begin with the two letters of a bitmap; after them come sizes that a text has not.
fn begins_bitmap(bytes: &[u8]) -> bool {
    let header =
        bytes.get(14..18).and_then(|bytes| Some(u32::from_le_bytes(bytes.try_into().ok()?)));
    header.is_some_and(|size| matches!(size, 12 | 16 | 40 | 52 | 56 | 64 | 108 | 124))
}

fn name_of(format: ImageFormat) -> &'static str {
    match format {
        ImageFormat::Png => "PNG",
        ImageFormat::Jpeg => "JPEG",
        ImageFormat::WebP => "WebP",
        ImageFormat::Gif => "GIF",
        _ => "BMP",
    }
}

/// Whether a JPEG goes on to its end marker. The decoder fills what is missing with grey and says
/// nothing; what follows the marker is nobody's business.
fn jpeg_has_an_end(bytes: &[u8]) -> bool {
    let mut at = 2;
    loop {
        let (Some(first), Some(second)) = (bytes.get(at), bytes.get(at + 1)) else { return false };
        at += match (first, second) {
            (0xff, 0xd9) => return true,
            // A byte of the coded picture, a restart, or the like: nothing of a length follows.
            (0xff, 0x00 | 0x01 | 0xd0..=0xd8) => 2,
            (0xff, 0xff) => 1,
            (0xff, _) => match (bytes.get(at + 2), bytes.get(at + 3)) {
                (Some(high), Some(low)) => {
                    2 + usize::from(u16::from_be_bytes([*high, *low])).max(2)
                }
                _ => return false,
            },
            _ => 1,
        };
    }
}

/// How viewers turn the picture. What cannot be understood of its EXIF turns nothing.
fn orientation(decoder: &mut impl ImageDecoder) -> Orientation {
    let exif = decoder.exif_metadata().ok().flatten().unwrap_or_default();
    // Some writers of WebP and PNG put the JPEG segment's own name in front.
    let exif = exif.strip_prefix(b"Exif\0\0").unwrap_or(&exif);
    Orientation::from_exif_chunk(exif).unwrap_or(Orientation::NoTransforms)
}

/// The middle square of a picture at `size` pixels a side.
pub fn fit_square(picture: RgbImage, size: u32) -> RgbImage {
    let (width, height) = picture.dimensions();
    if (width, height) == (size, size) {
        return picture;
    }
    let side = width.min(height);
    let square = imageops::crop_imm(&picture, (width - side) / 2, (height - side) / 2, side, side)
        .to_image();
    imageops::resize(&square, size, size, FilterType::Lanczos3)
}

/// Whether a file's name ends as a picture's does, of a format that is read or of another.
pub(super) fn is_called_a_picture(path: &Path) -> bool {
    let ending = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    ENDINGS.contains(&ending.as_str())
}

/// Whether a file is a picture: by its name, or by how it begins.
pub fn is_picture(path: &Path) -> bool {
    is_called_a_picture(path)
        || fs::metadata(path).is_ok_and(|data| data.is_file()) && begins_picture(path)
}

/// Whether a file, which must be a regular one, begins as a picture does that can be read.
fn begins_picture(path: &Path) -> bool {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(HEAD).read_to_end(&mut head));
    read.is_ok() && format_of(&head).is_ok()
}

#[cfg(test)]
pub(super) mod tests {
    use image::{ImageEncoder, Luma, LumaA, Rgb, Rgba, codecs};

    use super::*;

    /// A smooth picture without symmetry.
    pub fn ramp(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| {
            Rgb([(x * 255 / width) as u8, (y * 255 / height) as u8, ((x + y) % 50 * 5) as u8])
        })
    }

    pub fn encoded(picture: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        picture.into().write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn decoded_on(bytes: &[u8], background: Background) -> Result<RgbImage, String> {
        decode(bytes, Path::new("x.png"), background, |picture| picture)
            .map_err(|error| error.to_string())
    }

    fn decoded(bytes: &[u8]) -> Result<RgbImage, String> {
        decoded_on(bytes, Background::WHITE)
    }

    /// An EXIF block that says nothing but the orientation.
    fn exif(orientation: u8) -> Vec<u8> {
        // Little-endian; one entry, a short of tag 0x112; no further directory.
        let head = [b'I', b'I', 42, 0, 8, 0, 0, 0, 1, 0];
        let entry = [0x12, 0x01, 3, 0, 1, 0, 0, 0, orientation, 0, 0, 0];
        [head.as_slice(), &entry, &[0; 4]].concat()
    }

    /// What an encoder of one of the formats makes of a picture with an EXIF block.
    fn with_exif(picture: &RgbImage, format: ImageFormat, exif: Vec<u8>) -> Vec<u8> {
        let mut bytes = Vec::new();
        let (width, height) = picture.dimensions();
        macro_rules! encode {
            ($encoder:expr) => {{
                let mut encoder = $encoder;
                encoder.set_exif_metadata(exif).unwrap();
                let rgb = image::ExtendedColorType::Rgb8;
                encoder.write_image(picture, width, height, rgb).unwrap();
            }};
        }
        match format {
            ImageFormat::Png => encode!(codecs::png::PngEncoder::new(&mut bytes)),
            ImageFormat::Jpeg => {
                encode!(codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 100))
            }
            _ => encode!(codecs::webp::WebPEncoder::new_lossless(&mut bytes)),
        }
        bytes
    }

    #[test]
    fn pictures_are_turned_as_viewers_show_them() {
        let shown = ramp(24, 16);
        let stored = imageops::rotate270(&shown);
        for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP] {
            for exif in [exif(6), [b"Exif\0\0".to_vec(), exif(6)].concat()] {
                let prefixed = exif.starts_with(b"Exif");
                if prefixed && format == ImageFormat::Jpeg {
                    continue;
                }
                let found = decoded(&with_exif(&stored, format, exif)).unwrap();
                assert_eq!(found.dimensions(), (24, 16), "{format:?}");
                let worst = found.iter().zip(shown.iter()).map(|(a, b)| a.abs_diff(*b)).max();
                assert!(worst < Some(24), "{format:?} is off by {worst:?}");
            }
            let plain = decoded(&with_exif(&stored, format, b"no such thing".to_vec())).unwrap();
            assert_eq!(plain.dimensions(), (16, 24), "{format:?}: nonsense turns nothing");
        }
    }

    type Place = fn(u32, u32) -> (u32, u32);

    /// The eight values of the EXIF standard: where the first row and the first column that are stored are seen.
    #[test]
    fn every_orientation_is_that_of_the_standard() {
        // Of 3 by 2 pixels, at (x, y) the colour 10 x + y.
        let shown = RgbImage::from_fn(3, 2, |x, y| Rgb([(10 * x + y) as u8; 3]));
        // What is stored at (x, y), of the picture that is seen at (column, row).
        let seen_at: [Place; 8] = [
            |x, y| (x, y),
            |x, y| (2 - x, y),
            |x, y| (2 - x, 1 - y),
            |x, y| (x, 1 - y),
            |x, y| (y, x),
            |x, y| (2 - y, x),
            |x, y| (2 - y, 1 - x),
            |x, y| (y, 1 - x),
        ];
        for (value, seen_at) in (1..).zip(seen_at) {
            let (width, height) = if value > 4 { (2, 3) } else { (3, 2) };
            let stored = RgbImage::from_fn(width, height, |x, y| {
                let (column, row) = seen_at(x, y);
                *shown.get_pixel(column, row)
            });
            for format in [ImageFormat::Png, ImageFormat::WebP] {
                let found = decoded(&with_exif(&stored, format, exif(value))).unwrap();
                assert_eq!(found, shown, "orientation {value} in {format:?}");
            }
        }
        for value in [0, 9, 200] {
            let found = decoded(&with_exif(&shown, ImageFormat::Png, exif(value))).unwrap();
            assert_eq!(found, shown, "{value} means nothing");
        }
    }

    /// Files of Pillow 12: see `tests/pictures/README.md`.
    #[test]
    fn inks_of_print_are_seen_as_colours() {
        for name in ["cmyk.jpg", "ycck.jpg"] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pictures").join(name);
            let found = read_picture(&path).unwrap();
            assert_eq!(found.dimensions(), (32, 16), "{name}");
            for (x, expected) in
                [(4, [230, 20, 30]), (12, [20, 200, 60]), (20, [40, 60, 220]), (28, [128; 3])]
            {
                let colour = found.get_pixel(x, 8).0;
                let off = colour.iter().zip(expected).map(|(a, b)| a.abs_diff(b)).max();
                assert!(off <= Some(6), "{name}: {colour:?}, expected {expected:?}");
            }
        }
    }

    #[test]
    fn a_print_is_of_the_picture_and_not_of_what_lies_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let print = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            fs::write(&path, bytes).unwrap();
            Print::of(&path, Background::WHITE).unwrap()
        };
        let picture = ramp(12, 8);
        let png = print("a.png", &encoded(picture.clone(), ImageFormat::Png));
        let bmp = print("b.bmp", &encoded(picture.clone(), ImageFormat::Bmp));
        let noted = print("c.png", &with_exif(&picture, ImageFormat::Png, exif(1)));
        assert!(png.file != bmp.file && png.file != noted.file);
        assert!(png.picture == bmp.picture && png.picture == noted.picture);
        let turned = print("d.png", &with_exif(&picture, ImageFormat::Png, exif(2)));
        let flipped = imageops::flip_horizontal(&picture);
        let flipped = print("e.png", &encoded(flipped, ImageFormat::Png));
        assert!(turned.picture == flipped.picture && turned.picture != png.picture);
        let long = print("f.png", &encoded(RgbImage::new(6, 16), ImageFormat::Png));
        let wide = print("g.png", &encoded(RgbImage::new(16, 6), ImageFormat::Png));
        assert_ne!(long.picture, wide.picture, "the same bytes in another shape");
    }

    #[test]
    fn hidden_colours_are_not_seen() {
        let pixel = |alpha| Rgba([200, 0, 100, alpha]);
        let picture = |alpha| image::RgbaImage::from_pixel(3, 2, pixel(alpha));
        for format in [ImageFormat::Png, ImageFormat::WebP, ImageFormat::Gif] {
            let found = decoded(&encoded(picture(0), format)).unwrap();
            assert_eq!(found.get_pixel(1, 1), &Background::WHITE.0, "{format:?}");
        }
        let half = decoded(&encoded(picture(51), ImageFormat::Png)).unwrap();
        assert_eq!(half.get_pixel(0, 0).0, [244, 204, 224], "a fifth over white");
        let half = encoded(picture(51), ImageFormat::Png);
        for (background, expected) in [("black", [40, 0, 20]), ("#6400c8", [120, 0, 180])] {
            let found = decoded_on(&half, background.parse().unwrap()).unwrap();
            assert_eq!(found.get_pixel(0, 0).0, expected, "a fifth over {background}");
        }
        let grey = image::ImageBuffer::from_pixel(2, 2, LumaA([9u16, 0]));
        let found = decoded(&encoded(DynamicImage::from(grey), ImageFormat::Png)).unwrap();
        assert_eq!(found.get_pixel(0, 0), &Background::WHITE.0);
        let deep = image::ImageBuffer::from_pixel(2, 2, Luma([0x8080u16]));
        let found = decoded(&encoded(DynamicImage::from(deep), ImageFormat::Png)).unwrap();
        assert_eq!(found.get_pixel(0, 0).0, [0x80; 3]);
    }

    /// A palette whose first colour is transparent.
    #[test]
    fn transparent_colours_of_a_palette_are_not_seen() {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, 2, 1);
        encoder.set_color(png::ColorType::Indexed);
        encoder.set_palette(vec![200, 0, 0, 0, 0, 200]);
        encoder.set_trns(vec![0]);
        encoder.write_header().unwrap().write_image_data(&[0, 1]).unwrap();
        let found = decoded(&bytes).unwrap();
        assert_eq!((found.get_pixel(0, 0).0, found.get_pixel(1, 0).0), ([255; 3], [0, 0, 200]));
    }

    #[test]
    fn half_a_picture_is_refused_whatever_its_format() {
        for format in FORMATS {
            let bytes = encoded(ramp(64, 64), format);
            assert_eq!(decoded(&bytes).unwrap().dimensions(), (64, 64));
            for part in [bytes.len() / 2, bytes.len() * 9 / 10, 40] {
                let error = decoded(&bytes[..part]).unwrap_err();
                assert!(error.contains(name_of(format)), "{format:?} cut to {part}: {error}");
                assert!(!error.contains('\n'), "{error}");
            }
            let longer = [bytes.as_slice(), b"a camera's own data"].concat();
            assert!(decoded(&longer).is_ok(), "{format:?} with something after its end");
        }
    }

    #[test]
    fn what_a_file_holds_decides_and_what_it_is_called_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            fs::write(&path, bytes).unwrap();
            path
        };
        let jpeg = encoded(ramp(8, 8), ImageFormat::Jpeg);
        for name in ["x.png", "without", "x.txt"] {
            let path = file(name, &jpeg);
            assert!(is_picture(&path) && read_picture(&path).is_ok(), "{name}");
            assert_eq!(picture_size(&path), Some((8, 8)), "{name}");
        }
        for (name, bytes, expected) in [
            ("page.jpg", b"<html>404</html>".as_slice(), "not a picture"),
            ("empty.png", b"", "an empty file"),
            ("scan.tiff", b"II*\0\x08\0\0\0", "a picture of format tif"),
            ("bm.bmp", b"BM: a text that begins like a bitmap", "not a picture"),
        ] {
            let path = file(name, bytes);
            let error = read_picture(&path).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(expected), "{error}");
        }
        assert!(!is_picture(&file("notes.txt", b"BM: see the notes of Tuesday")));
        assert!(read_picture(folder.path()).is_err(), "a folder");
    }

    #[test]
    fn a_header_alone_takes_no_memory() {
        let mut bytes = encoded(ramp(1, 1), ImageFormat::Bmp);
        bytes[18..26].copy_from_slice(&[0xff, 0xff, 0, 0, 0xff, 0xff, 0, 0]);
        let error = decoded(&bytes).unwrap_err();
        assert!(error.contains("65535x65535 pixels, more than"), "{error}");
        let mut bytes = encoded(ramp(1, 1), ImageFormat::Jpeg);
        let frame = bytes.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
        bytes[frame + 5..frame + 9].fill(0xff);
        let error = decoded(&bytes).unwrap_err();
        assert!(error.contains("65535x65535 pixels, more than"), "{error}");
    }
}
