//! The sizes of networks in the literature on diffusion transformers.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use thiserror::Error;

use crate::model::card::{DitConfig, ModelCard, Objective, Provenance, TokenizerConfig};

/// Tokens a side of the latents of the reference's models.
const SIDE: usize = 32;
/// Their codes, and numbers of a code.
const CODES: usize = 16_384;
const CODE_SIZE: usize = 8;
/// Classes of ImageNet.
const CLASSES: usize = 1000;

/// A spelling that names no size.
#[derive(Debug, Error)]
#[error("unknown size '{given}' (known: S, B, L or XL, a slash, and a patch of 1, 2, 4 or 8: S/2)")]
pub struct SizeError {
    given: String,
}

/// Width and depth of a transformer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    name: &'static str,
    hidden_size: usize,
    depth: usize,
    num_heads: usize,
}

const SHAPES: [Shape; 4] = [
    Shape { name: "S", hidden_size: 384, depth: 12, num_heads: 6 },
    Shape { name: "B", hidden_size: 768, depth: 12, num_heads: 12 },
    Shape { name: "L", hidden_size: 1024, depth: 24, num_heads: 16 },
    Shape { name: "XL", hidden_size: 1152, depth: 28, num_heads: 16 },
];

/// A size as in `XL/2`: a transformer and the side of its patches in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    shape: Shape,
    patch: usize,
}

impl Size {
    /// The sizes that the reference trains, smallest first: S/2, B/2, L/2, XL/2.
    pub fn reference() -> Vec<Self> {
        SHAPES.iter().map(|shape| Self { shape: *shape, patch: 2 }).collect()
    }

    /// The backbone of this size for 32x32 tokens of 16,384 codes of 8 numbers, and 1000 classes.
    pub fn backbone(self) -> DitConfig {
        DitConfig {
            input_size: SIDE,
            patch_size: self.patch,
            in_channels: CODE_SIZE,
            hidden_size: self.shape.hidden_size,
            depth: self.shape.depth,
            num_heads: self.shape.num_heads,
            mlp_ratio: 4.0,
            num_classes: CLASSES,
            out_channels: CODES,
            embeds_codes: false,
        }
    }

    /// A model of this size and the smallest tokenizer that goes with it: only its codebook is used.
    pub(super) fn card(self) -> ModelCard {
        ModelCard {
            format: ModelCard::FORMAT,
            name: self.to_string(),
            objective: Objective::Purrception,
            backbone: self.backbone(),
            tokenizer: TokenizerConfig {
                channels: 8,
                residual_blocks: 1,
                attention: false,
                groups: 8,
                latent_channels: 8,
                ..reference_tokenizer()
            },
            class_names: (0..CLASSES).map(|class| class.to_string()).collect(),
            latent_scale: 1.0,
            provenance: Provenance::default(),
        }
    }
}

/// The tokenizer of the reference's models: LlamaGen's for a down-sampling of 8.
pub(super) fn reference_tokenizer() -> TokenizerConfig {
    TokenizerConfig {
        image_channels: 3,
        channels: 128,
        multipliers: vec![1, 2, 2, 4],
        residual_blocks: 2,
        attention: true,
        attention_levels: None,
        groups: 32,
        latent_channels: 256,
        code_size: CODE_SIZE,
        codes: CODES,
        l2_normalised: true,
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.shape.name, self.patch)
    }
}

impl FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let all =
            SHAPES.iter().flat_map(|shape| [1, 2, 4, 8].map(|patch| Self { shape: *shape, patch }));
        let mut found = all.filter(|size| size.to_string().eq_ignore_ascii_case(text.trim()));
        found.next().ok_or_else(|| SizeError { given: text.to_owned() })
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::limits::check_card;

    #[test]
    fn spellings_round_trip_and_models_are_whole() {
        for size in Size::reference() {
            assert_eq!(size.to_string().parse::<Size>().unwrap(), size);
            check_card(&size.card()).unwrap();
        }
        assert_eq!("xl/4".parse::<Size>().unwrap().to_string(), "XL/4");
        for text in ["", "S", "S/3", "M/2", "/2"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }
}
