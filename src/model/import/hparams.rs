//! What the reference writes beside a checkpoint.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Deserialize;

use super::weights::Weighed;
use super::{ImportError, Sources, file_name, read_text, sizes};
use crate::io::json;
use crate::model::card::{DitConfig, Objective, TokenizerConfig};
use crate::model::check_dit;

/// The ratio of the reference where nothing says otherwise.
const USUAL_RATIO: f64 = 4.0;

/// The `hparams.json`.
#[derive(Debug, Deserialize)]
#[serde(expecting = "a dictionary with model_type and backbone_hparams")]
pub(super) struct Hparams {
    pub model_type: Objective,
    #[serde(default)]
    backbone_type: Option<String>,
    #[serde(default)]
    backbone_hparams: BackboneHparams,
}

/// Sizes; those that are left out are taken from the tensors, but for the number of heads.
#[derive(Debug, Default, Deserialize)]
#[serde(expecting = "a dictionary of sizes")]
struct BackboneHparams {
    input_size: Option<usize>,
    patch_size: Option<usize>,
    in_channels: Option<usize>,
    hidden_size: Option<usize>,
    depth: Option<usize>,
    num_heads: Option<usize>,
    mlp_ratio: Option<f64>,
    num_classes: Option<usize>,
}

impl Hparams {
    pub fn read(path: &Path) -> Result<Self, ImportError> {
        let fault = |reason: String| ImportError::Text { path: path.to_owned(), reason };
        let hparams: Self = json::parse(&read_text(path)?).map_err(fault)?;
        match hparams.backbone_type.as_deref() {
            None | Some("dit") => Ok(hparams),
            Some(other) => Err(fault(format!("backbone_type '{other}' is not known (known: dit)"))),
        }
    }

    /// The sizes of the backbone: those that are written down, and others from the tensors.
    pub fn backbone(
        &self,
        live: Option<&Weighed>,
        vq: &TokenizerConfig,
        sources: &Sources,
    ) -> Result<DitConfig, ImportError> {
        let side = |name: &str, extent: usize| live?.shape(name)?.get(extent).copied();
        let given = &self.backbone_hparams;
        let missing = |what: &str| ImportError::Text {
            path: sources.hparams.to_owned(),
            reason: format!("backbone_hparams.{what} is missing"),
        };
        let need = |given: Option<usize>, found: Option<usize>, what: &str| {
            given.or(found).ok_or_else(|| missing(what))
        };
        let hidden = side("x_embedder.proj.weight", 0);
        let hidden_size = need(given.hidden_size, hidden, "hidden_size")?;
        let patch = side("x_embedder.proj.weight", 3);
        let patch_size = need(given.patch_size, patch, "patch_size")?;
        let grid = side("pos_embed", 1).map(|patches| patches.isqrt().saturating_mul(patch_size));
        let depth = live.map(|live| {
            let blocks = live.names().filter_map(|name| name.strip_prefix("blocks."));
            blocks
                .filter_map(|rest| rest.split_once('.'))
                .map(|(i, _)| i)
                .collect::<BTreeSet<_>>()
                .len()
        });
        let rows = side("y_embedder.embedding_table.weight", 0).and_then(|n| n.checked_sub(1));
        let mlp = side("blocks.0.mlp.fc1.weight", 0);
        let mlp = mlp.map(|wide| wide as f64 / hidden_size.max(1) as f64);
        let objective = self.model_type;
        let in_channels = objective.in_channels(vq.code_size);
        if let Some(found) = given.in_channels.filter(|found| *found != in_channels) {
            return Err(sizes(
                sources.tokenizer,
                format!(
                    "its codes have {} numbers, the network of {} takes {found}",
                    vq.code_size,
                    file_name(sources.hparams)
                ),
            ));
        }
        let config = DitConfig {
            input_size: need(given.input_size, grid, "input_size")?,
            patch_size,
            in_channels,
            hidden_size,
            depth: need(given.depth, depth, "depth")?,
            num_heads: need(given.num_heads, None, "num_heads")?,
            mlp_ratio: given.mlp_ratio.or(mlp).unwrap_or(USUAL_RATIO),
            num_classes: need(given.num_classes, rows, "num_classes")?,
            out_channels: objective.out_channels(vq.codes, vq.code_size),
            embeds_codes: objective == Objective::Dfm,
        };
        check_dit(&config).map_err(|reason| sizes(sources.hparams, reason))?;
        Ok(config)
    }
}
