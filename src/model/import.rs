//! Models of the reference implementation, as model files of this program.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use serde::Deserialize;
use thiserror::Error;

use super::card::{DitConfig, ModelCard, Objective, Provenance, TokenizerCard, TokenizerConfig};
use super::layers::Initialiser;
use super::{
    Dit, ModelError, Tokenizer, backbone_name, check_dit, check_tokenizer, dit, params, tokenizer,
    tokenizer_name,
};
use crate::io::pickle::{Id, TensorView};
use crate::io::tensors::{METADATA_KEY, TensorFile, TensorFileError, TensorSource, write_streamed};
use crate::io::torch::{TorchError, TorchFile};

/// A checkpoint that does not become a model.
#[derive(Debug, Error)]
pub enum ImportError {
    /// A PyTorch file.
    #[error(transparent)]
    Torch(#[from] TorchError),
    /// A safetensors file, or the one to be written.
    #[error(transparent)]
    File(#[from] TensorFileError),
    /// The finished model, opened again.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A text file.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// A text file that does not say what it should.
    #[error("{path}: {reason}")]
    Text {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A checkpoint without a part that it should have.
    #[error("{path}: it has no '{part}'{advice}")]
    NoPart {
        /// The checkpoint.
        path: PathBuf,
        /// What is missing.
        part: &'static str,
        /// What to do instead.
        advice: &'static str,
    },
    /// A tensor that should be there is not.
    #[error("{path}: tensor '{name}' is missing (expected {expected:?})")]
    Missing {
        /// The checkpoint.
        path: PathBuf,
        /// The tensor, in the checkpoint's own words.
        name: String,
        /// The shape it should have.
        expected: Vec<usize>,
    },
    /// A tensor of another shape.
    #[error("{path}: tensor '{name}' is {found:?}, expected {expected:?}")]
    Shape {
        /// The checkpoint.
        path: PathBuf,
        /// The tensor, in the checkpoint's own words.
        name: String,
        /// The shape it should have.
        expected: Vec<usize>,
        /// The shape it has.
        found: Vec<usize>,
    },
    /// A list of averages of another length than the network's parameters.
    #[error(
        "{path}: ema_state_dict.shadow_params holds {found} tensors, the network has {expected}"
    )]
    Count {
        /// The checkpoint.
        path: PathBuf,
        /// Parameters of the network.
        expected: usize,
        /// Averages in the checkpoint.
        found: usize,
    },
    /// Parts that do not fit each other, or sizes that cannot be.
    #[error("{path}: {reason}")]
    Sizes {
        /// The checkpoint.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
}

/// Which of the two sets of weights of a checkpoint is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Weights {
    /// The moving average.
    #[default]
    Ema,
    /// The weights as the optimiser left them.
    Live,
}

/// What a model is made from.
#[derive(Debug, Clone)]
pub struct Sources<'a> {
    /// The reference's checkpoint, `.pth`.
    pub checkpoint: &'a Path,
    /// The reference's `hparams.json`.
    pub hparams: &'a Path,
    /// A tokenizer: LlamaGen's `.pt`, latent-diffusion's `.ckpt`, or safetensors of either.
    pub tokenizer: &'a Path,
    /// Which weights.
    pub weights: Weights,
    /// Whether codes are used at unit length, where the kind of tokenizer does not decide it.
    pub unit_codes: Option<bool>,
    /// Names of the classes: a name a line, or a JSON list.
    pub class_names: Option<&'a Path>,
}

/// A tensor of a file, where it lies.
#[derive(Clone, Copy)]
enum Handle<'a> {
    Torch(&'a TorchFile, &'a TensorView),
    Safe(&'a TensorFile),
}

/// Tensors by name. The names are the file's own; `ours` are those that this program gives them.
struct Weighed<'a> {
    path: &'a Path,
    by_name: HashMap<String, (String, Vec<usize>, Handle<'a>)>,
}

impl<'a> Weighed<'a> {
    fn shape(&self, name: &str) -> Option<&[usize]> {
        self.by_name.get(name).map(|(_, shape, _)| shape.as_slice())
    }

    /// The tensor of one of our names, which must have the given shape.
    fn source(
        &self,
        name: &str,
        expected: &[usize],
    ) -> Result<TensorSource<'a, ImportError>, ImportError> {
        let path = self.path.to_owned();
        let Some((own, found, handle)) = self.by_name.get(name) else {
            let (name, expected) = (name.to_owned(), expected.to_vec());
            return Err(ImportError::Missing { path, name, expected });
        };
        if found != expected {
            let (expected, found) = (expected.to_vec(), found.clone());
            return Err(ImportError::Shape { path, name: own.clone(), expected, found });
        }
        let (own, handle) = (own.clone(), *handle);
        Ok(Box::new(move || match handle {
            Handle::Torch(file, view) => Ok(file.f32_bytes(&own, view)?),
            Handle::Safe(file) => {
                let (_, values) = file.floats(&own)?;
                Ok(Cow::Owned(values.into_iter().flat_map(f32::to_le_bytes).collect()))
            }
        }))
    }
}

/// Writes the model file that the sources amount to, tensor after tensor; the same sources give the
/// same bytes.
///
/// # Errors
/// The first thing that is missing, does not fit, or cannot be read or written.
pub fn import(sources: &Sources, out: &Path) -> Result<ModelCard, ImportError> {
    let checkpoint = TorchFile::open(sources.checkpoint)?;
    let hparams = Hparams::read(sources.hparams)?;
    let file = TokenizerFile::open(sources.tokenizer)?;
    let vq = file.weights()?;
    let vq_config = file.config(&vq, sources.unit_codes)?;

    let live = checkpoint.pickle().get(checkpoint.pickle().root(), "backbone_state_dict");
    let live = live.map(|id| named(&checkpoint, id));
    let backbone = hparams.backbone(live.as_ref(), &vq_config, sources)?;
    let device = Device::flex();
    let blank = Dit::new(&backbone, &mut Initialiser::blank(&device));
    let expected = params::shapes(&blank, dit::reference_name);
    let weights = match sources.weights {
        Weights::Ema => averages(&checkpoint, &expected)?,
        Weights::Live => live.ok_or_else(|| ImportError::NoPart {
            path: sources.checkpoint.to_owned(),
            part: "backbone_state_dict",
            advice: "",
        })?,
    };

    let mut tensors = Vec::new();
    for ((name, shape), (ours, _)) in expected.iter().zip(params::shapes(&blank, backbone_name)) {
        tensors.push((ours, shape.clone(), weights.source(name, shape)?));
    }
    let blank = Tokenizer::new(&vq_config, &mut Initialiser::blank(&device));
    let expected = params::shapes(&blank, tokenizer::reference_name);
    for ((name, shape), (ours, _)) in expected.iter().zip(params::shapes(&blank, tokenizer_name)) {
        tensors.push((ours, shape.clone(), vq.source(name, shape)?));
    }
    let card = ModelCard {
        format: ModelCard::FORMAT,
        name: stem(sources.checkpoint),
        objective: hparams.model_type,
        class_names: class_names(sources.class_names, backbone.num_classes)?,
        backbone,
        tokenizer: vq_config,
        latent_scale: 1.0,
        provenance: Provenance {
            program: concat!("purrscope ", env!("CARGO_PKG_VERSION")).to_owned(),
            data: format!(
                "imported: {} weights of {} with the tokenizer {}",
                sources.weights,
                file_name(sources.checkpoint),
                file_name(sources.tokenizer)
            ),
            flow_steps: steps(&checkpoint),
            ..Provenance::default()
        },
    };
    super::check_card(&card).map_err(|reason| sizes(sources.checkpoint, reason))?;
    let json =
        serde_json::to_string(&card).map_err(|e| sizes(sources.checkpoint, e.to_string()))?;
    write_streamed(out, HashMap::from([(METADATA_KEY.to_owned(), json)]), &tensors)?;
    Ok(card)
}

impl fmt::Display for Weights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ema => "ema",
            Self::Live => "live",
        })
    }
}

fn sizes(path: &Path, reason: impl Into<String>) -> ImportError {
    ImportError::Sizes { path: path.to_owned(), reason: reason.into() }
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Optimiser steps that the checkpoint says it has seen.
fn steps(checkpoint: &TorchFile) -> usize {
    let pickle = checkpoint.pickle();
    let step = pickle.get(pickle.root(), "step").and_then(|id| pickle.integer(id));
    step.and_then(|step| usize::try_from(step).ok()).unwrap_or(0)
}

/// The tensors of a dictionary of a checkpoint, without the prefix that wrappers put before them.
fn named(file: &TorchFile, dictionary: Id) -> Weighed<'_> {
    let by_name = file
        .tensors(dictionary)
        .into_iter()
        .map(|(own, view)| {
            let name = own.strip_prefix("module.").unwrap_or(&own).to_owned();
            (name, (own, view.shape.clone(), Handle::Torch(file, view)))
        })
        .collect();
    Weighed { path: file.path(), by_name }
}

/// The moving averages, which are a list without names in the order of the parameters.
fn averages<'a>(
    file: &'a TorchFile,
    parameters: &[(String, Vec<usize>)],
) -> Result<Weighed<'a>, ImportError> {
    let pickle = file.pickle();
    let list = pickle
        .get(pickle.root(), "ema_state_dict")
        .and_then(|ema| pickle.get(ema, "shadow_params"))
        .and_then(|list| pickle.items(list))
        .ok_or_else(|| ImportError::NoPart {
            path: file.path().to_owned(),
            part: "ema_state_dict.shadow_params",
            advice: "; the weights without averaging can be had with --weights live",
        })?;
    if list.len() != parameters.len() {
        return Err(ImportError::Count {
            path: file.path().to_owned(),
            expected: parameters.len(),
            found: list.len(),
        });
    }
    let mut by_name = HashMap::new();
    for (i, (id, (name, expected))) in list.iter().zip(parameters).enumerate() {
        let own = format!("ema_state_dict.shadow_params[{i}] ({name})");
        let view = pickle.tensor(*id).ok_or_else(|| ImportError::Missing {
            path: file.path().to_owned(),
            name: own.clone(),
            expected: expected.clone(),
        })?;
        by_name.insert(name.clone(), (own, view.shape.clone(), Handle::Torch(file, view)));
    }
    Ok(Weighed { path: file.path(), by_name })
}

/// What the reference writes beside a checkpoint.
#[derive(Debug, Deserialize)]
struct Hparams {
    model_type: Objective,
    #[serde(default)]
    backbone_type: Option<String>,
    #[serde(default)]
    backbone_hparams: BackboneHparams,
}

/// Sizes; those that are left out are taken from the tensors, but for the number of heads.
#[derive(Debug, Default, Deserialize)]
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
    fn read(path: &Path) -> Result<Self, ImportError> {
        let text = read_text(path)?;
        let hparams: Self = serde_json::from_str(&text).map_err(|error| ImportError::Text {
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
        match hparams.backbone_type.as_deref() {
            None | Some("dit") => Ok(hparams),
            Some(other) => Err(ImportError::Text {
                path: path.to_owned(),
                reason: format!("backbone_type '{other}' is not known (known: dit)"),
            }),
        }
    }

    fn backbone(
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
        let grid = side("pos_embed", 1).map(|patches| patches.isqrt() * patch_size);
        let depth = live.map(|live| {
            let blocks = live.by_name.keys().filter_map(|name| name.strip_prefix("blocks."));
            blocks
                .filter_map(|rest| rest.split_once('.'))
                .map(|(i, _)| i)
                .collect::<BTreeSet<_>>()
                .len()
        });
        let rows = side("y_embedder.embedding_table.weight", 0).and_then(|n| n.checked_sub(1));
        let ratio = given.mlp_ratio.map(|ratio| ratio as usize);
        let mlp = side("blocks.0.mlp.fc1.weight", 0).map(|wide| wide / hidden_size.max(1));
        let objective = self.model_type;
        let in_channels = objective.in_channels(vq.code_size);
        if given.in_channels.is_some_and(|found| found != in_channels) {
            return Err(sizes(
                sources.tokenizer,
                format!(
                    "its codes have {} numbers, the network of {} takes {}",
                    vq.code_size,
                    file_name(sources.hparams),
                    given.in_channels.unwrap_or_default()
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
            mlp_ratio: need(ratio, mlp, "mlp_ratio")?,
            num_classes: need(given.num_classes, rows, "num_classes")?,
            out_channels: objective.out_channels(vq.codes, vq.code_size),
            embeds_codes: objective == Objective::Dfm,
        };
        check_dit(&config).map_err(|reason| sizes(sources.hparams, reason))?;
        Ok(config)
    }
}

fn read_text(path: &Path) -> Result<String, ImportError> {
    std::fs::read_to_string(path)
        .map_err(|source| ImportError::Io { path: path.to_owned(), source })
}

/// One name a class: from a file, or the class's number.
fn class_names(path: Option<&Path>, classes: usize) -> Result<Vec<String>, ImportError> {
    let Some(path) = path else { return Ok((0..classes).map(|i| i.to_string()).collect()) };
    let text = read_text(path)?;
    let fault = |reason: String| ImportError::Text { path: path.to_owned(), reason };
    let names: Vec<String> = if text.trim_start().starts_with('[') {
        serde_json::from_str(&text).map_err(|error| fault(error.to_string()))?
    } else {
        text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
    };
    if names.len() != classes {
        return Err(fault(format!("it names {} classes, the network has {classes}", names.len())));
    }
    Ok(names)
}

/// A tokenizer of either kind.
enum TokenizerFile {
    Torch(TorchFile),
    Safe(TensorFile),
}

impl TokenizerFile {
    fn open(path: &Path) -> Result<Self, ImportError> {
        let safe = path.extension().is_some_and(|extension| extension == "safetensors");
        Ok(match safe {
            true => Self::Safe(TensorFile::open(path)?),
            false => Self::Torch(TorchFile::open(path)?),
        })
    }

    fn path(&self) -> &Path {
        match self {
            Self::Torch(file) => file.path(),
            Self::Safe(file) => file.path(),
        }
    }

    /// Its tensors under LlamaGen's names.
    fn weights(&self) -> Result<Weighed<'_>, ImportError> {
        let all = match self {
            Self::Torch(file) => {
                let (pickle, root) = (file.pickle(), file.pickle().root());
                let holds =
                    |id: &Id| pickle.entries(*id).iter().any(|(name, _)| name.ends_with(TABLE));
                let parts = ["model", "state_dict", "ema"].into_iter();
                let found = parts.filter_map(|part| pickle.get(root, part)).find(holds);
                let dictionary = found.or(Some(root).filter(holds));
                let dictionary = dictionary.ok_or_else(|| ImportError::NoPart {
                    path: file.path().to_owned(),
                    part: TABLE,
                    advice: " under 'model', 'state_dict' or 'ema'",
                })?;
                named(file, dictionary)
            }
            Self::Safe(file) => Weighed {
                path: file.path(),
                by_name: file
                    .entries()
                    .into_iter()
                    .map(|(own, _, shape)| {
                        let name = own.strip_prefix("tokenizer.").unwrap_or(&own).to_owned();
                        (name, (own, shape, Handle::Safe(file)))
                    })
                    .collect(),
            },
        };
        Ok(Weighed { path: all.path, by_name: in_llamagen_words(all.by_name) })
    }

    /// The shape of the autoencoder, from those of its tensors.
    fn config(
        &self,
        weights: &Weighed,
        unit_codes: Option<bool>,
    ) -> Result<TokenizerConfig, ImportError> {
        if let Self::Safe(file) = self
            && let Some(json) = file.metadata(METADATA_KEY)
            && let Ok(card) = serde_json::from_str::<TokenizerCard>(json)
        {
            return Ok(card.tokenizer);
        }
        let side = |name: &str, extent: usize| {
            let missing = || ImportError::Missing {
                path: self.path().to_owned(),
                name: name.to_owned(),
                expected: Vec::new(),
            };
            weights.shape(name).and_then(|shape| shape.get(extent)).copied().ok_or_else(missing)
        };
        let channels = side("encoder.conv_in.weight", 0)?;
        let has = |name: String| weights.by_name.contains_key(&name);
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
        let llamagen = weights.by_name.values().any(|(own, ..)| own.contains("conv_blocks."));
        let config = TokenizerConfig {
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
        };
        check_tokenizer(&config).map_err(|reason| sizes(self.path(), reason))?;
        Ok(config)
    }
}

/// Name of the codebook in both families.
const TABLE: &str = "quantize.embedding.weight";

/// From the names of latent diffusion's `taming` autoencoder, where they are used, to LlamaGen's;
/// decoders are counted from the finest resolution there, from the coarsest here.
fn in_llamagen_words<T>(tensors: HashMap<String, T>) -> HashMap<String, T> {
    let levels: BTreeMap<usize, ()> = tensors
        .keys()
        .filter_map(|name| name.strip_prefix("decoder.up.")?.split_once('.')?.0.parse().ok())
        .map(|level| (level, ()))
        .collect();
    let last = levels.keys().next_back().copied().unwrap_or(0);
    let renamed = |name: &str| -> String {
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
    };
    tensors.into_iter().map(|(name, tensor)| (renamed(&name), tensor)).collect()
}
