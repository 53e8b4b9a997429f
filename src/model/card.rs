//! The description that travels in a model file's header.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

use super::ModelError;
use crate::say;

/// What the network predicts and how it was trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Objective {
    /// Logits over codes; cross-entropy and z-loss.
    #[default]
    Purrception,
    /// The velocity of the path; squared error.
    Cfm,
    /// The end of the path; squared error.
    CfmEndpoint,
    /// Logits over codes and `[MSK]`, of codes that are partly masked; cross-entropy and z-loss.
    Dfm,
}

impl Objective {
    /// Every objective, in the order in which they are offered.
    pub const ALL: [Self; 4] = [Self::Purrception, Self::Cfm, Self::CfmEndpoint, Self::Dfm];

    /// Whether the network gives a distribution over codes.
    pub fn has_posterior(self) -> bool {
        matches!(self, Self::Purrception | Self::Dfm)
    }

    /// Channels of the network's output for `codes` codes of `code_size` numbers.
    pub fn out_channels(self, codes: usize, code_size: usize) -> usize {
        match self {
            Self::Purrception => codes,
            Self::Cfm | Self::CfmEndpoint => code_size,
            // Saturating, as a card may say anything.
            Self::Dfm => codes.saturating_add(1),
        }
    }

    /// Channels of the network's input, in the reference's words; for `dfm` it is one code.
    pub fn in_channels(self, code_size: usize) -> usize {
        match self {
            Self::Purrception | Self::Cfm | Self::CfmEndpoint => code_size,
            Self::Dfm => 1,
        }
    }
}

impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Purrception => "purrception",
            Self::Cfm => "cfm",
            Self::CfmEndpoint => "cfm-endpoint",
            Self::Dfm => "dfm",
        })
    }
}

/// Sizes of the DiT backbone, in the reference's words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(expecting = "the sizes of a backbone")]
pub struct DitConfig {
    /// Side of the latent grid, in tokens of the tokenizer.
    pub input_size: usize,
    /// Side of a patch, in tokens of the tokenizer.
    pub patch_size: usize,
    /// Channels of the input: the size of a code, or 1 where codes themselves are the input.
    pub in_channels: usize,
    /// Width of the transformer.
    pub hidden_size: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Attention heads of a block.
    pub num_heads: usize,
    /// Hidden width of a block's MLP, as a multiple of `hidden_size`; the width is a whole number.
    #[serde(default = "default_mlp_ratio", serialize_with = "whole_where_it_is")]
    pub mlp_ratio: f64,
    /// Number of classes; one more row stands for 'no label'.
    pub num_classes: usize,
    /// Channels of the output for each token of the tokenizer: the number of codes for the
    /// `purrception` objective, see [`Objective::out_channels`].
    pub out_channels: usize,
    /// Whether the input is codes (and `[MSK]`), looked up in a table of `out_channels` rows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub embeds_codes: bool,
}

fn default_mlp_ratio() -> f64 {
    4.0
}

/// Writes a whole ratio without a point, as files of every version of the program have it.
fn whole_where_it_is<S: Serializer>(ratio: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if ratio.fract() == 0.0 && (0.0..1e9).contains(ratio) {
        serializer.serialize_u64(*ratio as u64)
    } else {
        serializer.serialize_f64(*ratio)
    }
}

impl DitConfig {
    /// Hidden width of a block's MLP.
    pub fn mlp_width(&self) -> usize {
        (self.hidden_size as f64 * self.mlp_ratio).round() as usize
    }
}

/// Shape of the VQ autoencoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(expecting = "the shape of a tokenizer")]
pub struct TokenizerConfig {
    /// Channels of the pictures.
    #[serde(default = "default_image_channels")]
    pub image_channels: usize,
    /// Channels at full resolution.
    pub channels: usize,
    /// Multiples of `channels` at each resolution, finest first; each but the first halves the side.
    pub multipliers: Vec<usize>,
    /// Residual blocks at each resolution of the encoder; the decoder has one more.
    pub residual_blocks: usize,
    /// Whether the middle has self-attention, and with it the coarsest resolution.
    #[serde(default = "default_attention")]
    pub attention: bool,
    /// Resolutions with self-attention after every block, 0 the finest, where it is not just the
    /// coarsest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attention_levels: Option<Vec<usize>>,
    /// Groups of every group normalisation.
    #[serde(default = "default_groups")]
    pub groups: usize,
    /// Channels of the encoder's output, before the projection to codes.
    pub latent_channels: usize,
    /// Size of a code.
    pub code_size: usize,
    /// Number of codes.
    pub codes: usize,
    /// Whether codes and latents are compared, and used, at unit length.
    pub l2_normalised: bool,
}

fn default_image_channels() -> usize {
    3
}

fn default_attention() -> bool {
    true
}

fn default_groups() -> usize {
    32
}

impl TokenizerConfig {
    /// Whether the blocks of a resolution, 0 the finest, are followed by self-attention.
    pub fn attends(&self, level: usize) -> bool {
        match &self.attention_levels {
            Some(levels) => levels.contains(&level),
            None => self.attention && level + 1 == self.multipliers.len(),
        }
    }

    /// How many pixels a token spans in each direction.
    pub fn downsampling(&self) -> usize {
        1 << self.multipliers.len().saturating_sub(1)
    }

    /// Tokens a side of pictures of `image_size` pixels.
    ///
    /// # Errors
    /// They do not divide into tokens; in words.
    pub fn grid(&self, image_size: usize) -> Result<usize, String> {
        let span = self.downsampling();
        match image_size.is_multiple_of(span) {
            true => Ok(image_size / span),
            false => Err(format!(
                "image_size {image_size} is not a multiple of the tokenizer's down-sampling {span}"
            )),
        }
    }
}

/// Where a model came from.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Provenance {
    /// Version of the program that wrote the file.
    pub program: String,
    /// What it was trained on.
    pub data: String,
    /// Optimiser steps of the flow.
    pub flow_steps: usize,
    /// Optimiser steps of the tokenizer.
    pub tokenizer_steps: usize,
    /// Licence and credits of the training pictures.
    pub credits: String,
}

impl Provenance {
    /// [`Provenance::data`] of a model that was trained on so many pictures of a side in pixels.
    pub fn of_pictures(number: usize, side: usize) -> String {
        format!("{number} pictures of {side} pixels")
    }

    /// That of a model which went on from another.
    pub fn after(self, before: &Self) -> Self {
        // Each part once, whoever says it.
        let joined = |own: &str, theirs: &str, between: &str| {
            let mut parts: Vec<&str> = Vec::new();
            for part in own.split(between).chain(theirs.split(between)) {
                if !part.is_empty() && !parts.contains(&part) {
                    parts.push(part);
                }
            }
            parts.join(between)
        };
        Self {
            data: joined(&self.data, &before.data, ", before that "),
            flow_steps: self.flow_steps + before.flow_steps,
            tokenizer_steps: before.tokenizer_steps,
            credits: joined(&self.credits, &before.credits, "; "),
            ..self
        }
    }
}

/// Everything about a model but its weights: the JSON under the header's key `purrscope`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(expecting = "the description of a model")]
pub struct ModelCard {
    /// Version of this format.
    pub format: u32,
    /// A readable name.
    pub name: String,
    /// What the network predicts.
    pub objective: Objective,
    /// Sizes of the backbone.
    pub backbone: DitConfig,
    /// Shape of the tokenizer.
    pub tokenizer: TokenizerConfig,
    /// One name a class.
    pub class_names: Vec<String>,
    /// Factor between the tokenizer's codes and the flow's data end: `x1 = latent_scale * E[c]`.
    #[serde(default = "default_latent_scale")]
    pub latent_scale: f32,
    /// Where the model came from.
    #[serde(default)]
    pub provenance: Provenance,
}

fn default_latent_scale() -> f32 {
    1.0
}

impl ModelCard {
    /// The version written by this program.
    pub const FORMAT: u32 = 1;

    /// Side of the pictures in pixels.
    pub fn image_size(&self) -> usize {
        self.backbone.input_size * self.tokenizer.downsampling()
    }

    /// The labels that a class name means: the class of that name, or all whose names begin with it; if there
    /// are none, the same of its words, however they are written and parted.
    ///
    /// # Errors
    /// No class is meant.
    pub fn labels(&self, class: &str) -> Result<Vec<usize>, ModelError> {
        let names = &self.class_names;
        if let Some(label) = names.iter().position(|name| name == class) {
            return Ok(vec![label]);
        }
        let those = |fits: &dyn Fn(&str) -> bool| -> Vec<usize> {
            (0..names.len()).filter(|label| fits(&names[*label])).collect()
        };
        let meant = words(class);
        // What is empty begins everything.
        let ways: [&dyn Fn(&str) -> bool; 3] = [
            &|name| !class.is_empty() && name.starts_with(class),
            &|name| !meant.is_empty() && words(name) == meant,
            &|name| !meant.is_empty() && words(name).starts_with(&meant),
        ];
        let fitting = ways.into_iter().map(those).find(|labels| !labels.is_empty());
        fitting.ok_or_else(|| ModelError::UnknownClass {
            given: class.to_owned(),
            known: say::list(names),
        })
    }
}

/// A name's words in lower case, with a space between them.
fn words(name: &str) -> String {
    let words = name.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ").to_lowercase()
}

/// The JSON in the header of a tokenizer on its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(expecting = "the description of a tokenizer")]
pub struct TokenizerCard {
    /// Version of this format.
    pub format: u32,
    /// Shape of the autoencoder.
    pub tokenizer: TokenizerConfig,
    /// Program that wrote the file.
    pub program: String,
    /// Optimiser steps.
    pub steps: usize,
}

impl TokenizerCard {
    /// The version written by this program.
    pub const FORMAT: u32 = 1;
}

/// A card like that of the embedded model, for tests: 16x16 tokens, 1024 codes of 3 numbers.
#[cfg(test)]
pub(crate) fn example() -> ModelCard {
    let cats = ["blue", "brown", "cream", "orange", "silver", "white"].map(|coat| ("cat", coat));
    let dogs = ["brown", "chocolate", "golden", "grey", "red", "white"].map(|coat| ("dog", coat));
    let places = ["in-a-meadow", "in-the-bedroom", "in-the-living-room", "in-the-woods"];
    let classes = cats.into_iter().chain(dogs).flat_map(|(animal, coat)| {
        places.into_iter().map(move |place| format!("{animal}-{coat}-{place}"))
    });
    ModelCard {
        format: ModelCard::FORMAT,
        name: "cats-and-dogs".to_owned(),
        objective: Objective::Purrception,
        backbone: DitConfig {
            input_size: 16,
            patch_size: 2,
            in_channels: 3,
            hidden_size: 192,
            depth: 8,
            num_heads: 6,
            mlp_ratio: 4.0,
            num_classes: 48,
            out_channels: 1024,
            embeds_codes: false,
        },
        tokenizer: TokenizerConfig {
            image_channels: 3,
            channels: 16,
            multipliers: vec![1, 2, 4],
            residual_blocks: 1,
            attention: true,
            attention_levels: None,
            groups: 8,
            latent_channels: 64,
            code_size: 3,
            codes: 1024,
            l2_normalised: true,
        },
        class_names: classes.collect(),
        latent_scale: 1.0,
        provenance: Provenance {
            credits: "Cats and Dogs by DiceBear (https://www.dicebear.com), CC0 1.0".to_owned(),
            ..Provenance::default()
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_known_by_its_name_its_beginning_or_its_words() {
        let card = example();
        let labels = |class: &str| card.labels(class).map_err(|error| error.to_string());
        assert_eq!(labels("cat-blue-in-the-woods"), Ok(vec![3]));
        assert_eq!(labels("cat-blue"), Ok(vec![0, 1, 2, 3]));
        assert_eq!(labels("Cat, blue, in the woods"), Ok(vec![3]));
        assert_eq!(labels("dog white"), Ok(vec![44, 45, 46, 47]));
        for unknown in ["", "-", "horse", "blue"] {
            assert!(labels(unknown).unwrap_err().contains("cat-blue-in-a-meadow"), "{unknown}");
        }
        let class_names = ["Cat", "Cat (big)"].map(str::to_owned).into();
        let card = ModelCard { class_names, ..card };
        assert_eq!(card.labels("cat").unwrap(), [0]);
        assert_eq!(card.labels("CAT big").unwrap(), [1]);
        assert_eq!(card.labels("ca").unwrap(), [0, 1]);
        let card = ModelCard { class_names: vec!["(none)".to_owned(), "?".to_owned()], ..card };
        assert_eq!(card.labels("(").unwrap(), [0], "signs count where a name begins with them");
        assert!(card.labels("!").is_err());
    }

    #[test]
    fn what_a_model_was_made_of_is_said_once_and_whole() {
        let of = |number: usize, credits: &str, flow_steps: usize| Provenance {
            data: Provenance::of_pictures(number, 64),
            credits: credits.to_owned(),
            flow_steps,
            tokenizer_steps: 9,
            ..Provenance::default()
        };
        let first = of(200, "A", 5);
        // Not a part of its own number: these are other pictures.
        let second = of(19_200, "B", 0).after(&first);
        let both = "19200 pictures of 64 pixels, before that 200 pictures of 64 pixels";
        assert_eq!(second.data, both);
        assert_eq!((second.credits.as_str(), second.flow_steps), ("B; A", 5));
        let again = of(19_200, "", 0).after(&second);
        assert_eq!((again.data.as_str(), again.credits.as_str()), (both, "B; A"));
    }
}
