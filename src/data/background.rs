//! What pictures are laid on where they are transparent.

use std::fmt::{self, Display};
use std::str::FromStr;

use image::{DynamicImage, Rgb, RgbImage};
use serde::{Deserialize, Serialize};

/// The colour that shows through where a picture is transparent. It is white where nothing else is said, as paper
/// and most pages are. The colours that a file keeps under transparent pixels are seen nowhere, so nothing is to
/// learn them.
///
/// As a text it is `white`, `black` or `#rrggbb`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Background(pub Rgb<u8>);

impl Background {
    /// Paper.
    pub const WHITE: Self = Self(Rgb([255; 3]));
    /// Night.
    pub const BLACK: Self = Self(Rgb([0; 3]));

    const NAMES: [(&str, Self); 2] = [("white", Self::WHITE), ("black", Self::BLACK)];

    /// The picture as it looks on this colour, 8 bits a channel.
    pub(super) fn under(self, picture: DynamicImage) -> RgbImage {
        if !picture.color().has_alpha() {
            return picture.into_rgb8();
        }
        let picture = picture.into_rgba8();
        let (width, height) = picture.dimensions();
        let mut seen = RgbImage::new(width, height);
        for (to, from) in seen.pixels_mut().zip(picture.pixels()) {
            let [colour @ .., alpha] = from.0;
            let alpha = u32::from(alpha);
            for (to, (over, under)) in to.0.iter_mut().zip(colour.into_iter().zip(self.0.0)) {
                let mixed = u32::from(over) * alpha + u32::from(under) * (255 - alpha);
                *to = ((mixed + 127) / 255) as u8;
            }
        }
        seen
    }
}

impl Default for Background {
    fn default() -> Self {
        Self::WHITE
    }
}

impl FromStr for Background {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((_, colour)) = Self::NAMES.iter().find(|(name, _)| *name == text) {
            return Ok(*colour);
        }
        let digits = text.strip_prefix('#').filter(|digits| digits.len() == 6);
        let digits = digits.filter(|digits| digits.chars().all(|digit| digit.is_ascii_hexdigit()));
        let number = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let [_, channels @ ..] = number.map(u32::to_be_bytes).ok_or_else(|| {
            let said = text.escape_debug();
            format!("a background is white, black or a colour as #rrggbb, not '{said}'")
        })?;
        Ok(Self(Rgb(channels)))
    }
}

impl Display for Background {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rgb([red, green, blue]) = self.0;
        match Self::NAMES.iter().find(|(_, colour)| colour == self) {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "#{red:02x}{green:02x}{blue:02x}"),
        }
    }
}

impl TryFrom<String> for Background {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Background> for String {
    fn from(background: Background) -> Self {
        background.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_read_and_said() {
        for (text, colour) in [
            ("white", [255, 255, 255]),
            ("black", [0, 0, 0]),
            ("#1a00ff", [0x1a, 0, 0xff]),
            ("#FFEEDD", [0xff, 0xee, 0xdd]),
        ] {
            let found: Background = text.parse().unwrap();
            assert_eq!(found.0.0, colour, "{text}");
            assert_eq!(found.to_string(), text.to_lowercase());
        }
        for bad in ["", "grey", "#fff", "ffeedd", "#ffeeddcc", "#+12345", "#fféd"] {
            let said = bad.parse::<Background>().unwrap_err();
            assert!(said.contains("white, black or a colour as #rrggbb"), "{said}");
        }
    }
}
