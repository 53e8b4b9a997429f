//! Animations of a run: one frame a step, the pictures of a batch side by side.

use image::codecs::gif::{GifEncoder, Repeat};
use image::imageops::{self, FilterType};
use image::{Delay, DynamicImage, Frame, ImageResult, RgbImage};

use super::sheet;

/// Time a frame is shown.
const FRAME_MILLISECONDS: u32 = 90;
/// Time the last frame is shown.
const LAST_MILLISECONDS: u32 = 2000;
/// Small pictures are enlarged by a whole factor to about this many pixels a side.
const SIDE: u32 = 192;

/// An endless GIF; each frame holds the pictures of one batch.
///
/// # Errors
/// The pictures of a frame are too large for the format.
pub fn encode_gif(frames: &[Vec<RgbImage>]) -> ImageResult<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encoder = GifEncoder::new_with_speed(&mut bytes, 10);
    encoder.set_repeat(Repeat::Infinite)?;
    for (i, pictures) in frames.iter().enumerate() {
        let last = i + 1 == frames.len();
        let time = if last { LAST_MILLISECONDS } else { FRAME_MILLISECONDS };
        let columns = if pictures.len() <= 4 { pictures.len() } else { pictures.len().isqrt() };
        let sheet = sheet::arrange(&enlarged(pictures), columns);
        let picture = DynamicImage::from(sheet).into_rgba8();
        let delay = Delay::from_numer_denom_ms(time, 1);
        encoder.encode_frame(Frame::from_parts(picture, 0, 0, delay))?;
    }
    drop(encoder);
    Ok(bytes)
}

fn enlarged(pictures: &[RgbImage]) -> Vec<RgbImage> {
    pictures
        .iter()
        .map(|picture| {
            let factor = (SIDE / picture.width().max(1)).max(1);
            let (width, height) = (picture.width() * factor, picture.height() * factor);
            imageops::resize(picture, width, height, FilterType::Nearest)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use image::AnimationDecoder;

    #[test]
    fn every_step_is_a_frame() {
        let shade = |value| vec![image::RgbImage::from_pixel(8, 8, image::Rgb([value; 3])); 2];
        let bytes = super::encode_gif(&[shade(0), shade(128), shade(255)]).unwrap();
        let decoder = image::codecs::gif::GifDecoder::new(std::io::Cursor::new(bytes)).unwrap();
        let frames = decoder.into_frames().collect_frames().unwrap();
        assert_eq!(frames.len(), 3);
        assert!(frames[2].buffer().get_pixel(20, 20).0[0] > 240);
    }
}
