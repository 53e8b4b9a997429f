//! Chance variations of pictures, so that a network that sees a picture often does not learn it by heart.

use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};
use serde::{Deserialize, Serialize};

use super::pictures::fit_square;
use crate::rng::Stream;

/// How pictures are varied each time they are seen: not at all where nothing is said.
///
/// What is drawn for a picture comes from one random stream, always in the same order and all of it, so that
/// switching on one kind changes nothing about the others.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augment {
    /// Whether half of the pictures are seen in a mirror, left and right exchanged.
    pub flip: bool,
    /// The smallest share of the side of a picture's middle square that is kept, from 0.1 to 1: a square of
    /// a share between this and 1 is taken from a random place in it.
    pub crop: f64,
    /// The most by which brightness, contrast and saturation are raised or lowered, each by itself, as a share
    /// from 0 to 1.
    pub colour: f64,
    /// Where pictures are turned into codes before the first step, which of each are kept. As many as that of
    /// random crops and colours, and twice as many where there are mirrored ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variants: Option<usize>,
}

impl Default for Augment {
    fn default() -> Self {
        Self { flip: false, crop: 1.0, colour: 0.0, variants: None }
    }
}

/// What becomes of one picture.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Draw {
    mirrored: bool,
    /// Share of the side that is kept.
    share: f64,
    /// Where the kept square lies in what is left over, from 0 to 1.
    place: [f64; 2],
    /// Factors of brightness, contrast and saturation.
    colour: [f32; 3],
}

impl Augment {
    /// The variants of each picture that are kept as codes where crops or colours are random and nothing
    /// else is said.
    pub const VARIANTS: usize = 4;

    /// Whether pictures are seen as they are.
    pub fn is_none(&self) -> bool {
        !self.flip && !self.is_random()
    }

    /// Whether there is more to a variant than a mirror shows.
    pub fn is_random(&self) -> bool {
        self.crop < 1.0 || self.colour > 0.0
    }

    /// How many codes are kept of each picture, at least 1.
    pub fn kept(&self) -> usize {
        let random = if self.is_random() { self.variants.unwrap_or(Self::VARIANTS) } else { 1 };
        random.max(1) * if self.flip { 2 } else { 1 }
    }

    /// A picture's square of `size` pixels as it is seen once, decided by a random stream of its own.
    pub fn seen(&self, picture: RgbImage, size: u32, stream: &mut Stream) -> RgbImage {
        if self.is_none() {
            return fit_square(picture, size);
        }
        let draw = self.draw(stream);
        draw.of(&picture, size)
    }

    /// The squares of `size` pixels of a picture that are kept, [`Augment::kept`] of them: each as a stream
    /// decides, and behind it what a mirror shows of it. `stream` gives the one of a number.
    pub fn all(
        &self,
        picture: RgbImage,
        size: u32,
        stream: impl Fn(u64) -> Stream,
    ) -> Vec<RgbImage> {
        if self.is_none() {
            return vec![fit_square(picture, size)];
        }
        let sides: &[bool] = if self.flip { &[false, true] } else { &[false] };
        let draws = (0..self.kept() / sides.len()).flat_map(|number| {
            let draw = self.draw(&mut stream(number as u64));
            sides.iter().map(move |mirrored| Draw { mirrored: *mirrored, ..draw })
        });
        draws.map(|draw| draw.of(&picture, size)).collect()
    }

    fn draw(&self, stream: &mut Stream) -> Draw {
        let mut uniform = || stream.uniform();
        let mirrored = uniform() < 0.5 && self.flip;
        let share = self.crop + (1.0 - self.crop) * uniform();
        let place = [uniform(), uniform()];
        let colour =
            [uniform(), uniform(), uniform()].map(|u| (1.0 + (2.0 * u - 1.0) * self.colour) as f32);
        Draw { mirrored, share, place, colour }
    }
}

impl Draw {
    fn of(&self, picture: &RgbImage, size: u32) -> RgbImage {
        let (width, height) = picture.dimensions();
        let whole = width.min(height);
        let side = ((f64::from(whole) * self.share).round() as u32).clamp(1, whole);
        let [x, y] = self.place.map(|place| {
            let most = whole - side;
            ((f64::from(most + 1) * place) as u32).min(most)
        });
        let (left, top) = ((width - whole) / 2 + x, (height - whole) / 2 + y);
        let square = imageops::crop_imm(picture, left, top, side, side).to_image();
        let mut square = match side == size {
            true => square,
            false => imageops::resize(&square, size, size, FilterType::Lanczos3),
        };
        if self.colour != [1.0; 3] {
            recolour(&mut square, self.colour);
        }
        // Last, so that a mirror shows the same numbers.
        if self.mirrored {
            imageops::flip_horizontal_in_place(&mut square);
        }
        square
    }
}

/// Lightness of a colour (ITU-R BT.601).
fn lightness(colour: [f32; 3]) -> f32 {
    0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
}

/// Multiplies, in this order, all colours; their distance from the mean lightness of the picture; and their distance
/// from their own lightness.
fn recolour(picture: &mut RgbImage, [brightness, contrast, saturation]: [f32; 3]) {
    let bright = |pixel: &Rgb<u8>| pixel.0.map(|value| (f32::from(value) * brightness).min(255.0));
    // In one fixed order, and in double precision: the same sum everywhere.
    let sum: f64 = picture.pixels().map(|pixel| f64::from(lightness(bright(pixel)))).sum();
    let mean = (sum / f64::from(picture.width() * picture.height()).max(1.0)) as f32;
    for pixel in picture.pixels_mut() {
        let colour =
            bright(pixel).map(|value| (mean + (value - mean) * contrast).clamp(0.0, 255.0));
        let own = lightness(colour);
        pixel.0 = colour.map(|value| (own + (value - own) * saturation).round() as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::pictures::tests::ramp;

    fn augment(flip: bool, crop: f64, colour: f64) -> Augment {
        Augment { flip, crop, colour, variants: None }
    }

    fn seen(augment: Augment, picture: &RgbImage, size: u32, stream: u64) -> RgbImage {
        augment.seen(picture.clone(), size, &mut Stream::new(3, stream))
    }

    /// A picture whose every pixel says where it is.
    fn places(side: u32) -> RgbImage {
        RgbImage::from_fn(side, side, |x, y| Rgb([x as u8, y as u8, 7]))
    }

    #[test]
    fn nothing_is_varied_where_nothing_is_said() {
        let picture = ramp(40, 30);
        assert_eq!(seen(Augment::default(), &picture, 16, 1), fit_square(picture, 16));
    }

    #[test]
    fn half_of_the_pictures_are_mirrored() {
        let picture = places(8);
        let mirrored = (0..1000).filter(|stream| {
            let found = seen(augment(true, 1.0, 0.0), &picture, 8, *stream);
            let is_mirrored = found.get_pixel(0, 3).0 == [7, 3, 7];
            assert!(is_mirrored || found == picture, "left and right alone are exchanged");
            is_mirrored
        });
        let count = mirrored.count();
        // Four standard deviations of a fair coin, sqrt(1000) / 2 each.
        assert!((437..=563).contains(&count), "{count} of 1000");
    }

    #[test]
    fn crops_are_squares_of_the_share_that_is_asked_for() {
        // Of 100 pixels a share of 0.5 to 1, looked at without scaling where they happen to be of 80.
        let picture = places(100);
        let (mut sides, mut corners) = ([false; 101], Vec::new());
        for stream in 0..2000 {
            let draw = augment(false, 0.5, 0.0).draw(&mut Stream::new(3, stream));
            let side = (100.0 * draw.share).round() as usize;
            sides[side] = true;
            if side == 80 {
                let found = draw.of(&picture, 80);
                let [x, y, _] = found.get_pixel(0, 0).0;
                assert_eq!(found.get_pixel(79, 79).0, [x + 79, y + 79, 7]);
                corners.push((x, y));
            }
        }
        let found: Vec<usize> = (0..=100).filter(|side| sides[*side]).collect();
        assert_eq!((found[0], found[found.len() - 1]), (50, 100));
        assert!(corners.iter().all(|(x, y)| *x <= 20 && *y <= 20), "{corners:?}");
        assert!(corners.iter().any(|(x, y)| *x < 7 && *y > 13), "{corners:?}");
    }

    #[test]
    fn crops_of_a_wide_picture_lie_in_its_middle_square() {
        let picture = RgbImage::from_fn(200, 20, |x, y| Rgb([x as u8, y as u8, 0]));
        for stream in 0..200 {
            let draw = augment(false, 0.5, 0.0).draw(&mut Stream::new(9, stream));
            let side = (20.0 * draw.share).round() as u32;
            let found = draw.of(&picture, side);
            let ([first, ..], [last, ..]) =
                (found.get_pixel(0, 0).0, found.get_pixel(side - 1, 0).0);
            assert!(first >= 90 && last <= 109, "{first} to {last}");
        }
    }

    #[test]
    fn colours_are_changed_by_their_factors() {
        // Lightness of (100, 50, 0) is 59.25, of (200, 200, 200) 200: 129.625 in the mean.
        let picture = || {
            let mut picture = RgbImage::from_pixel(2, 1, Rgb([200; 3]));
            picture.put_pixel(0, 0, Rgb([100, 50, 0]));
            picture
        };
        for (factors, expected) in [
            ([1.2, 1.0, 1.0], [[120, 60, 0], [240; 3]]),
            ([1.5, 1.0, 1.0], [[150, 75, 0], [255; 3]]),
            // 129.625 + 0.5 (100 - 129.625) = 114.8, and so on.
            ([1.0, 0.5, 1.0], [[115, 90, 65], [165; 3]]),
            // 59.25 + 0.5 (100 - 59.25) = 79.6, and so on; grey stays.
            ([1.0, 1.0, 0.5], [[80, 55, 30], [200; 3]]),
        ] {
            let mut found = picture();
            recolour(&mut found, factors);
            let found = [found.get_pixel(0, 0).0, found.get_pixel(1, 0).0];
            assert_eq!(found, expected, "{factors:?}");
        }
        let draws = (0..500).map(|i| augment(false, 1.0, 0.2).draw(&mut Stream::new(1, i)).colour);
        let all: Vec<f32> = draws.flatten().collect();
        assert!(all.iter().all(|factor| (0.8..=1.2).contains(factor)));
        assert!(all.iter().any(|factor| *factor < 0.82) && all.iter().any(|f| *f > 1.18));
    }

    #[test]
    fn one_kind_changes_nothing_about_the_others() {
        for stream in 0..50 {
            let [all, crop, flip] =
                [augment(true, 0.7, 0.3), augment(false, 0.7, 0.0), augment(true, 1.0, 0.0)]
                    .map(|augment| augment.draw(&mut Stream::new(2, stream)));
            assert_eq!(
                (all.share, all.place, all.mirrored),
                (crop.share, crop.place, flip.mirrored)
            );
            assert_eq!((flip.share, flip.colour), (1.0, [1.0; 3]));
        }
    }

    #[test]
    fn what_is_kept_holds_both_sides_of_a_mirror() {
        let picture = ramp(20, 20);
        let all = |augment: Augment| {
            let kept = augment.all(picture.clone(), 16, |number| Stream::new(5, number));
            assert_eq!(kept.len(), augment.kept());
            kept
        };
        assert_eq!(all(Augment::default()), [fit_square(picture.clone(), 16)]);
        let flipped = all(augment(true, 1.0, 0.0));
        assert_eq!(
            flipped,
            [
                fit_square(picture.clone(), 16),
                imageops::flip_horizontal(&fit_square(picture.clone(), 16))
            ]
        );
        assert_eq!(all(augment(false, 0.8, 0.0)).len(), Augment::VARIANTS);
        let some = all(Augment { variants: Some(3), ..augment(true, 0.8, 0.1) });
        assert_eq!(some.len(), 6);
        for pair in some.chunks(2) {
            assert_eq!(pair[1], imageops::flip_horizontal(&pair[0]));
        }
        assert_ne!(some[0], some[2]);
    }
}
