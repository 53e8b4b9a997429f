//! Animations of a run: one frame a step, the pictures of a batch side by side.

use std::io::Write;

use image::codecs::gif::{GifEncoder, Repeat};
use image::imageops::{self, FilterType};
use image::{Delay, DynamicImage, Frame, RgbImage};
use thiserror::Error;

use super::png::KEYWORD;
use super::sheet::Sheet;

/// Time a frame is shown.
const FRAME_MILLISECONDS: u16 = 90;
/// Time the last frame is shown.
const LAST_MILLISECONDS: u16 = 2000;
/// Small pictures are enlarged by a whole factor to about this many pixels a side.
const SIDE: u32 = 192;

/// Formats of animations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// 256 colours a frame; opens everywhere.
    Gif,
    /// A PNG whose pixels move: exact colours, and the settings inside.
    Apng,
}

impl Format {
    /// How its files' names end.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Gif => "gif",
            Self::Apng => "png",
        }
    }
}

/// An animation that cannot be written.
#[derive(Debug, Error)]
pub enum AnimationError {
    /// A GIF refuses its frames, or the file system does.
    #[error(transparent)]
    Gif(#[from] image::ImageError),
    /// An APNG refuses its frames, or the file system does.
    #[error(transparent)]
    Apng(#[from] png::EncodingError),
}

/// An endless animation on its way into a file, frame by frame, so that no more than one of them is
/// in memory.
pub struct Animation<W: Write> {
    state: State<W>,
    frames: u32,
    done: u32,
}

enum State<W: Write> {
    Gif(Box<GifEncoder<W>>),
    /// The size of the frames is known with the first of them.
    Waiting(Option<W>, String),
    Apng(png::Writer<W>),
}

impl<W: Write> Animation<W> {
    /// An animation of that many frames. `settings` is what an APNG says of the run, as JSON.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn new(
        format: Format,
        out: W,
        frames: usize,
        settings: &str,
    ) -> Result<Self, AnimationError> {
        let state = match format {
            Format::Gif => {
                let mut encoder = GifEncoder::new_with_speed(out, 10);
                encoder.set_repeat(Repeat::Infinite)?;
                State::Gif(Box::new(encoder))
            }
            Format::Apng => State::Waiting(Some(out), settings.to_owned()),
        };
        Ok(Self { state, frames: u32::try_from(frames).unwrap_or(u32::MAX), done: 0 })
    }

    /// Adds the pictures of one batch, all of one size, as a frame.
    ///
    /// # Errors
    /// The pictures are too large for the format, or whatever the file system says.
    pub fn frame(&mut self, pictures: &[RgbImage]) -> Result<(), AnimationError> {
        self.done += 1;
        let last = self.done == self.frames;
        let time = if last { LAST_MILLISECONDS } else { FRAME_MILLISECONDS };
        let columns = if pictures.len() <= 4 { pictures.len() } else { pictures.len().isqrt() };
        let sheet = Sheet::rows_of(columns);
        let sheet = match enlarged(pictures) {
            Some(pictures) => sheet.arrange(&pictures),
            None => sheet.arrange(pictures),
        };
        if let State::Waiting(out, settings) = &mut self.state
            && let Some(out) = out.take()
        {
            self.state = State::Apng(begin_apng(out, &sheet, self.frames, settings)?);
        }
        match &mut self.state {
            State::Gif(encoder) => {
                let picture = DynamicImage::from(sheet).into_rgba8();
                let delay = Delay::from_numer_denom_ms(u32::from(time), 1);
                encoder.encode_frame(Frame::from_parts(picture, 0, 0, delay))?;
            }
            State::Apng(writer) => {
                writer.set_frame_delay(time, 1000)?;
                writer.write_image_data(sheet.as_raw())?;
            }
            State::Waiting(..) => {}
        }
        Ok(())
    }

    /// Writes the end of the file.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn finish(self) -> Result<(), AnimationError> {
        match self.state {
            State::Apng(writer) => Ok(writer.finish()?),
            // A GIF ends when its encoder is dropped.
            State::Gif(_) | State::Waiting(..) => Ok(()),
        }
    }
}

fn begin_apng<W: Write>(
    out: W,
    sheet: &RgbImage,
    frames: u32,
    settings: &str,
) -> Result<png::Writer<W>, AnimationError> {
    let mut encoder = png::Encoder::new(out, sheet.width(), sheet.height());
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_animated(frames.max(1), 0)?;
    encoder.validate_sequence(true);
    encoder.add_itxt_chunk(KEYWORD.to_owned(), settings.to_owned())?;
    Ok(encoder.write_header()?)
}

/// A whole animation in memory.
///
/// # Errors
/// The pictures of a frame are too large for the format.
pub fn encode(
    format: Format,
    frames: &[Vec<RgbImage>],
    settings: &str,
) -> Result<Vec<u8>, AnimationError> {
    let mut bytes = Vec::new();
    let mut animation = Animation::new(format, &mut bytes, frames.len(), settings)?;
    frames.iter().try_for_each(|frame| animation.frame(frame))?;
    animation.finish()?;
    Ok(bytes)
}

/// The pictures enlarged, where they are small.
fn enlarged(pictures: &[RgbImage]) -> Option<Vec<RgbImage>> {
    let factor = SIDE / pictures.first()?.width().max(1);
    let enlarge = |picture: &RgbImage| {
        let (width, height) = (picture.width() * factor, picture.height() * factor);
        imageops::resize(picture, width, height, FilterType::Nearest)
    };
    (factor > 1).then(|| pictures.iter().map(enlarge).collect())
}

#[cfg(test)]
mod tests {
    use image::AnimationDecoder;
    use image::codecs::{gif::GifDecoder, png::PngDecoder};

    use super::*;

    fn frames() -> Vec<Vec<RgbImage>> {
        let shade = |value| vec![RgbImage::from_pixel(8, 8, image::Rgb([value; 3])); 2];
        vec![shade(0), shade(128), shade(255)]
    }

    fn check(decoder: &dyn Fn() -> Vec<Frame>, tolerance: u8) {
        let decoded = decoder();
        assert_eq!(decoded.len(), 3);
        for (frame, expected) in decoded.iter().zip([0_u8, 128, 255]) {
            let found = frame.buffer().get_pixel(20, 20).0[0];
            assert!(found.abs_diff(expected) <= tolerance, "{found} is not {expected}");
        }
        let times = decoded.iter().map(|frame| frame.delay().numer_denom_ms());
        assert_eq!(times.map(|(a, b)| a / b).collect::<Vec<_>>(), [90, 90, 2000]);
    }

    #[test]
    fn every_step_is_a_frame_of_a_gif() {
        let bytes = encode(Format::Gif, &frames(), "").unwrap();
        let decode = || {
            let decoder = GifDecoder::new(std::io::Cursor::new(&bytes)).unwrap();
            decoder.into_frames().collect_frames().unwrap()
        };
        check(&decode, 15);
    }

    #[test]
    fn every_step_is_a_frame_of_an_apng_that_holds_its_settings() {
        let bytes = encode(Format::Apng, &frames(), r#"{"seed":3}"#).unwrap();
        let decode = || {
            let decoder = PngDecoder::new(std::io::Cursor::new(&bytes)).unwrap();
            decoder.apng().unwrap().into_frames().collect_frames().unwrap()
        };
        check(&decode, 0);
        assert_eq!(crate::io::png::settings(&bytes).unwrap(), r#"{"seed":3}"#);
    }

    #[test]
    fn fewer_frames_than_announced_are_no_animation() {
        let mut bytes = Vec::new();
        let mut animation = Animation::new(Format::Apng, &mut bytes, 3, "{}").unwrap();
        animation.frame(&frames()[0]).unwrap();
        assert!(animation.finish().is_err());
    }
}
