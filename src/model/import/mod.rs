//! Models of the reference implementation, as model files of this program.

mod classes;
mod hparams;
mod tokenizer;
mod weights;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::Device;
use thiserror::Error;

use super::card::{ModelCard, Provenance};
use super::layers::Initialiser;
use super::limits::check_card;
use super::{Dit, ModelError, Tokenizer, backbone_name, dit, params, tokenizer_name};
use crate::io::input;
use crate::io::outputs::{self, Content, OutputError};
use crate::io::pickle::Id;
use crate::io::tensors::{Contents, METADATA_KEY, TensorFileError, write_streamed};
use crate::io::torch::{TorchError, TorchFile};
use hparams::Hparams;
use tokenizer::TokenizerFile;
use weights::{Container, Handle, Weighed, holds};

/// A parameter that every backbone has, by which one is known.
const ANCHOR: &str = "x_embedder.proj.weight";
/// Parts of a checkpoint that other trainers save the weights under, where the reference's is missing.
const LIVE: [&str; 6] = ["model_state_dict", "state_dict", "model", "net", "backbone", "module"];
/// The same of averages.
const AVERAGES: [&str; 5] = ["ema", "model_ema", "ema_model", "state_dict_ema", "ema_state"];
/// What averages may lie in one level further in.
const INNER: [&str; 4] = ["shadow_params", "state_dict", "module", "model"];

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
        /// What is there, and what to do instead.
        advice: String,
    },
    /// A part that is not what it should be.
    #[error("{path}: '{part}' is {found}, expected {expected}")]
    OtherPart {
        /// The checkpoint.
        path: PathBuf,
        /// The part.
        part: &'static str,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// Something else where a tensor should be.
    #[error("{path}: '{name}' is {found}, expected a tensor")]
    NotATensor {
        /// The checkpoint.
        path: PathBuf,
        /// Its name, in the checkpoint's own words.
        name: String,
        /// What it is.
        found: String,
    },
    /// Two tensors that mean the same.
    #[error("{path}: '{first}' and '{second}' are both '{name}'")]
    Twice {
        /// The checkpoint.
        path: PathBuf,
        /// What both are called without what wrappers add.
        name: String,
        /// One of them.
        first: String,
        /// The other.
        second: String,
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
    /// A model file that cannot be written under that name.
    #[error(transparent)]
    Out(#[from] OutputError),
    /// Parts that do not fit each other, or sizes that cannot be.
    #[error("{path}: {reason}")]
    Sizes {
        /// The checkpoint.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// It was asked to stop.
    #[error("stopped before the model was made")]
    Stopped,
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
    /// The reference's checkpoint, `.pth`, or safetensors of the backbone's weights.
    pub checkpoint: &'a Path,
    /// The reference's `hparams.json`.
    pub hparams: &'a Path,
    /// A tokenizer: LlamaGen's `.pt`, latent-diffusion's `.ckpt`, or safetensors of either.
    pub tokenizer: &'a Path,
    /// Which weights.
    pub weights: Weights,
    /// Whether codes are used at unit length, where the kind of tokenizer does not decide it.
    pub unit_codes: Option<bool>,
    /// Names of the classes: a name a line, or a list or dictionary of JSON.
    pub class_names: Option<&'a Path>,
}

/// Writes the model file that the sources amount to, tensor after tensor; the same sources give the
/// same bytes. `stop` ends it before the next tensor, or the next part of what comes before them.
///
/// # Errors
/// The first thing that is missing, does not fit, or cannot be read or written, or `stop` was asked for; then there is
/// no new file.
pub fn import(sources: &Sources, out: &Path, stop: &AtomicBool) -> Result<ModelCard, ImportError> {
    let go_on = || match stop.load(Ordering::Relaxed) {
        true => Err(ImportError::Stopped),
        false => Ok(()),
    };
    check_out(sources, out)?;
    go_on()?;
    let checkpoint = Container::open(sources.checkpoint)?;
    let hparams = Hparams::read(sources.hparams)?;
    go_on()?;
    let file = TokenizerFile::open(sources.tokenizer)?;
    let vq = file.weights()?;
    let vq_config = file.config(&vq, sources.unit_codes)?;

    let live = live(&checkpoint);
    let averages = match sources.weights {
        Weights::Ema => Some(averages(&checkpoint)?),
        Weights::Live => None,
    };
    let shapes = match (&live, &averages) {
        (Ok(Some(live)), _) => Some(live),
        (_, Some(Averages::Named(named))) => Some(named),
        _ => None,
    };
    let backbone = hparams.backbone(shapes, &vq_config, sources)?;
    go_on()?;
    let device = Device::flex();
    let blank = Dit::new(&backbone, &mut Initialiser::blank(&device));
    let expected = params::shapes(&blank, dit::reference_name);
    let weights = match averages {
        Some(Averages::Named(named)) => named,
        Some(Averages::Listed(file, list)) => in_order(file, list, &expected)?,
        None => live?.ok_or_else(|| no_part(&checkpoint, "backbone_state_dict", ""))?,
    };

    let mut tensors = Vec::new();
    for ((name, shape), (ours, _)) in expected.iter().zip(params::shapes(&blank, backbone_name)) {
        tensors.push((ours, shape.clone(), weights.source(name, shape)?));
    }
    go_on()?;
    let blank = Tokenizer::new(&vq_config, &mut Initialiser::blank(&device));
    let expected = params::shapes(&blank, super::tokenizer::reference_name);
    for ((name, shape), (ours, _)) in expected.iter().zip(params::shapes(&blank, tokenizer_name)) {
        tensors.push((ours, shape.clone(), vq.source(name, shape)?));
    }
    let card = ModelCard {
        format: ModelCard::FORMAT,
        name: stem(sources.checkpoint),
        objective: hparams.model_type,
        class_names: classes::read(sources.class_names, backbone.num_classes)?,
        backbone,
        tokenizer: vq_config,
        latent_scale: 1.0,
        provenance: provenance(sources, &checkpoint),
    };
    check_card(&card).map_err(|reason| sizes(sources.checkpoint, reason))?;
    let json =
        serde_json::to_string(&card).map_err(|e| sizes(sources.checkpoint, e.to_string()))?;
    go_on()?;
    outputs::prepare(out)?;
    write_streamed(out, HashMap::from([(METADATA_KEY.to_owned(), json)]), &tensors, &go_on)?;
    Ok(card)
}

/// Whether a model may be written there: under a name that says what it is, and over none of what it is
/// made of.
fn check_out(sources: &Sources, out: &Path) -> Result<(), OutputError> {
    let inputs = [sources.checkpoint, sources.hparams, sources.tokenizer];
    let inputs: Vec<&Path> = inputs.into_iter().chain(sources.class_names).collect();
    outputs::check(out, Content::TENSORS, &inputs)
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

fn read_text(path: &Path) -> Result<String, ImportError> {
    input::read_text(path).map_err(|source| ImportError::Io { path: path.to_owned(), source })
}

fn provenance(sources: &Sources, checkpoint: &Container) -> Provenance {
    Provenance {
        program: concat!("purrscope ", env!("CARGO_PKG_VERSION")).to_owned(),
        data: format!(
            "imported: {} weights of {} with the tokenizer {}",
            sources.weights,
            file_name(sources.checkpoint),
            file_name(sources.tokenizer)
        ),
        flow_steps: steps(checkpoint),
        ..Provenance::default()
    }
}

/// Optimiser steps that the checkpoint says it has seen.
fn steps(checkpoint: &Container) -> usize {
    let step = checkpoint
        .pickle()
        .and_then(|pickle| pickle.get(pickle.root(), "step").and_then(|id| pickle.integer(id)));
    step.and_then(|step| usize::try_from(step).ok()).unwrap_or(0)
}

/// A part that is missing, with what is there instead.
fn no_part(checkpoint: &Container, part: &'static str, advice: &str) -> ImportError {
    let root = checkpoint.pickle().map(|pickle| (pickle, pickle.root()));
    let advice = match root {
        Some((pickle, root)) if !pickle.is_dictionary(root) => format!(
            ": it holds {}, expected the dictionary that the reference saves, with the state_dict() of \
             the network in it",
            pickle.describe(root)
        ),
        _ => advice.to_owned(),
    };
    ImportError::NoPart { path: checkpoint.path().to_owned(), part, advice }
}

/// The weights as the optimiser left them, if they are there.
fn live(checkpoint: &Container) -> Result<Option<Weighed<'_>>, ImportError> {
    const PART: &str = "backbone_state_dict";
    let file = match checkpoint {
        Container::Safe(file)
            if file.contents() == Contents::Model && file.metadata(METADATA_KEY).is_some() =>
        {
            return Err(sizes(file.path(), "it is a model already, and needs no import"));
        }
        Container::Safe(file) => {
            let all = Weighed::of_file(file, ANCHOR);
            return Ok(all.contains(ANCHOR).then_some(all));
        }
        Container::Torch(file) => file,
    };
    let (pickle, root) = (file.pickle(), file.pickle().root());
    if let Some(id) = pickle.get(root, PART) {
        dictionary(file, PART, id)?;
        return Ok(Some(Weighed::of_dictionary(file, PART, id, ANCHOR)));
    }
    let parts = LIVE.into_iter().filter_map(|part| Some((part, pickle.get(root, part)?)));
    let found = parts.chain([("", root)]).find(|(_, id)| holds(pickle, *id, ANCHOR));
    Ok(found.map(|(part, id)| Weighed::of_dictionary(file, part, id, ANCHOR)))
}

/// Refuses a part that is no dictionary.
fn dictionary(file: &TorchFile, part: &'static str, id: Id) -> Result<(), ImportError> {
    if file.pickle().is_dictionary(id) {
        return Ok(());
    }
    Err(ImportError::OtherPart {
        path: file.path().to_owned(),
        part,
        expected: "a dictionary",
        found: file.pickle().describe(id),
    })
}

/// Moving averages, as they are saved.
enum Averages<'a> {
    /// In the order of the parameters.
    Listed(&'a TorchFile, &'a [Id]),
    Named(Weighed<'a>),
}

/// The moving averages: the reference's list, or a dictionary of them.
fn averages(checkpoint: &Container) -> Result<Averages<'_>, ImportError> {
    const PART: &str = "ema_state_dict.shadow_params";
    let missing = || {
        no_part(checkpoint, PART, "; the weights without averaging can be had with --weights live")
    };
    let Container::Torch(file) = checkpoint else {
        live(checkpoint)?;
        return Err(missing());
    };
    let (pickle, root) = (file.pickle(), file.pickle().root());
    let named = |part: &str, id| Averages::Named(Weighed::of_dictionary(file, part, id, ANCHOR));
    if let Some(ema) = pickle.get(root, "ema_state_dict") {
        dictionary(file, "ema_state_dict", ema)?;
        return match pickle.get(ema, "shadow_params") {
            Some(all) if pickle.is_dictionary(all) => Ok(named(PART, all)),
            Some(all) => match pickle.items(all) {
                Some(list) => Ok(Averages::Listed(file, list)),
                None => Err(ImportError::OtherPart {
                    path: file.path().to_owned(),
                    part: PART,
                    expected: "a list of tensors",
                    found: pickle.describe(all),
                }),
            },
            None => match inner(file, ema) {
                Some(id) => Ok(named("ema_state_dict", id)),
                None => Err(missing()),
            },
        };
    }
    let mut parts =
        AVERAGES.into_iter().filter_map(|part| Some((part, inner(file, pickle.get(root, part)?)?)));
    parts.next().map(|(part, id)| named(part, id)).ok_or_else(missing)
}

/// The dictionary that holds the backbone: this one, or one in it.
fn inner(file: &TorchFile, id: Id) -> Option<Id> {
    let pickle = file.pickle();
    let within = INNER.into_iter().filter_map(|part| pickle.get(id, part));
    [id].into_iter().chain(within).find(|id| holds(pickle, *id, ANCHOR))
}

/// The averages of a list without names, in the order of the parameters.
fn in_order<'a>(
    file: &'a TorchFile,
    list: &[Id],
    parameters: &[(String, Vec<usize>)],
) -> Result<Weighed<'a>, ImportError> {
    let (path, pickle) = (file.path(), file.pickle());
    if list.len() != parameters.len() {
        let (expected, found) = (parameters.len(), list.len());
        return Err(ImportError::Count { path: path.to_owned(), expected, found });
    }
    let mut all = Weighed::new(path);
    for (i, (id, (name, _))) in list.iter().zip(parameters).enumerate() {
        let own = format!("ema_state_dict.shadow_params[{i}] ({name})");
        match pickle.tensor(*id) {
            Some(view) => {
                all.insert(name.clone(), own, view.shape.clone(), Handle::Torch(file, view));
            }
            None => {
                let (path, found) = (path.to_owned(), pickle.describe(*id));
                return Err(ImportError::NotATensor { path, name: own, found });
            }
        }
    }
    Ok(all)
}
