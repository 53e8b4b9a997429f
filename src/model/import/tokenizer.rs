//! Tokenizers of both families, and our own.

use std::path::Path;

use serde::Deserialize;

use super::weights::{Container, Weighed, holds};
use super::{ImportError, sizes};
use crate::io::json;
use crate::io::tensors::{Contents, METADATA_KEY, TensorFile};
use crate::model::card::TokenizerConfig;
use crate::model::check_tokenizer;

/// Name of the codebook in both families.
const TABLE: &str = "quantize.embedding.weight";

/// Parts of a PyTorch file under which a tokenizer is saved.
const PARTS: [&str; 3] = ["model", "state_dict", "ema"];

/// A file with a tokenizer inside.
pub(super) struct TokenizerFile(Container);

impl TokenizerFile {
    pub fn open(path: &Path) -> Result<Self, ImportError> {
        let file = Container::open(path)?;
        if let Container::Safe(file) = &file
            && file.contents() == Contents::Checkpoint
        {
            let reason = "it is a checkpoint of a training run: name the tokenizer.safetensors \
                          beside it";
            return Err(sizes(path, reason));
        }
        Ok(Self(file))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Its tensors under LlamaGen's names.
    pub fn weights(&self) -> Result<Weighed<'_>, ImportError> {
        let all = match &self.0 {
            Container::Torch(file) => {
                let (pickle, root) = (file.pickle(), file.pickle().root());
                let parts =
                    PARTS.into_iter().filter_map(|part| Some((part, pickle.get(root, part)?)));
                let mut found =
                    parts.chain([("", root)]).filter(|(_, id)| holds(pickle, *id, TABLE));
                let Some((part, dictionary)) = found.next() else {
                    return Err(ImportError::NoPart {
                        path: file.path().to_owned(),
                        part: TABLE,
                        advice: " under 'model', 'state_dict' or 'ema': it is no tokenizer"
                            .to_owned(),
                    });
                };
                Weighed::of_dictionary(file, part, dictionary, TABLE)
            }
            Container::Safe(file) => Weighed::of_file(file, TABLE),
        };
        if !all.contains(TABLE) {
            return Err(ImportError::NoPart {
                path: self.path().to_owned(),
                part: TABLE,
                advice: ": it is no tokenizer".to_owned(),
            });
        }
        Ok(in_llamagen_words(all))
    }

    /// The shape of the autoencoder: from our own description, or from those of its tensors.
    pub fn config(
        &self,
        weights: &Weighed,
        unit_codes: Option<bool>,
    ) -> Result<TokenizerConfig, ImportError> {
        let described = match &self.0 {
            Container::Safe(file) => described(file)?,
            Container::Torch(_) => None,
        };
        let config = match described {
            Some(config) => config,
            None => self.measured(weights, unit_codes)?,
        };
        check_tokenizer(&config).map_err(|reason| sizes(self.path(), reason))?;
        Ok(config)
    }

    fn measured(
        &self,
        weights: &Weighed,
        unit_codes: Option<bool>,
    ) -> Result<TokenizerConfig, ImportError> {
        let side = |name: &str, extent: usize| {
            let missing = || ImportError::Missing {
                path: self.path().to_owned(),
                name: name.to_owned(),
                expected: Vec::new(),
            };
            weights.shape(name).and_then(|shape| shape.get(extent)).copied().ok_or_else(missing)
        };
        let channels = side("encoder.conv_in.weight", 0)?;
        let has = |name: String| weights.contains(&name);
        let count = |name: &dyn Fn(usize) -> String| (0..).take_while(|i| has(name(*i))).count();
        let levels = count(&|i| format!("encoder.conv_blocks.{i}.res.0.conv2.weight"));
        let multipliers = (0..levels)
            .map(|i| {
                Ok(side(&format!("encoder.conv_blocks.{i}.res.0.conv2.weight"), 0)?
                    / channels.max(1))
            })
            .collect::<Result<Vec<_>, ImportError>>()?;
        let attention_levels: Vec<usize> = (0..levels)
            .filter(|i| has(format!("encoder.conv_blocks.{i}.attn.0.q.weight")))
            .collect();
        let attention = has("encoder.mid.1.q.weight".to_owned());
        let usual =
            attention_levels.iter().copied().eq(attention.then(|| levels.saturating_sub(1)));
        let llamagen = weights.own_names().any(|own| own.contains("conv_blocks."));
        Ok(TokenizerConfig {
            image_channels: side("encoder.conv_in.weight", 1)?,
            channels,
            multipliers,
            residual_blocks: count(&|i| format!("encoder.conv_blocks.0.res.{i}.conv2.weight")),
            attention,
            attention_levels: (!usual).then_some(attention_levels),
            // Both families fix it, and no tensor's shape tells it.
            groups: 32,
            latent_channels: side("encoder.conv_out.weight", 0)?,
            code_size: side(TABLE, 1)?,
            codes: side(TABLE, 0)?,
            // LlamaGen uses its codes at unit length, latent diffusion as they are.
            l2_normalised: unit_codes.unwrap_or(llamagen),
        })
    }
}

/// What our own models and tokenizers say of themselves.
fn described(file: &TensorFile) -> Result<Option<TokenizerConfig>, ImportError> {
    #[derive(Deserialize)]
    struct Card {
        tokenizer: TokenizerConfig,
    }
    if !matches!(file.contents(), Contents::Model | Contents::Tokenizer) {
        return Ok(None);
    }
    let Some(json) = file.metadata(METADATA_KEY) else { return Ok(None) };
    let card: Card = json::parse(json).map_err(|reason| sizes(file.path(), reason))?;
    Ok(Some(card.tokenizer))
}

/// From the names of latent diffusion's `taming` autoencoder, where they are used, to LlamaGen's;
/// decoders are counted from the finest resolution there, from the coarsest here.
fn in_llamagen_words(tensors: Weighed<'_>) -> Weighed<'_> {
    let level = |name: &str| -> Option<usize> {
        name.strip_prefix("decoder.up.")?.split_once('.')?.0.parse().ok()
    };
    let last = tensors.names().filter_map(level).max().unwrap_or(0);
    tensors.renamed(|name| {
        if let Some(rest) = name.strip_prefix("encoder.down.") {
            return format!("encoder.conv_blocks.{}", rest.replace(".block.", ".res."));
        }
        if let Some((level, rest)) =
            name.strip_prefix("decoder.up.").and_then(|rest| rest.split_once('.'))
            && let Ok(level) = level.parse::<usize>()
        {
            let rest = format!(".{rest}").replace(".block.", ".res.");
            return format!("decoder.conv_blocks.{}{rest}", last - level);
        }
        name.replace(".mid.block_1.", ".mid.0.")
            .replace(".mid.attn_1.", ".mid.1.")
            .replace(".mid.block_2.", ".mid.2.")
    })
}
