//! Model files: names of their parts, reading and writing, and the check of what a file says against what it holds.

use std::path::{Path, PathBuf};

use burn::tensor::Device;

use super::card::{DitConfig, ModelCard, TokenizerCard, TokenizerConfig};
use super::head::Head;
use super::layers::Initialiser;
use super::limits::{self, check_card, check_tokenizer};
use super::params::{self, NamedTensor};
use super::precision::Precision;
use super::{Dit, ModelError, Tokenizer, dit, tokenizer};
use crate::io::json;
use crate::io::tensors::{Contents, METADATA_KEY, TensorFile, TensorWriter};

/// Weight and bias of the head, in model files.
pub(super) const HEAD: [&str; 2] =
    ["backbone.final_layer.linear.weight", "backbone.final_layer.linear.bias"];
/// Name of a run's model in its folder.
pub const MODEL_FILE: &str = "model.safetensors";
/// The table of classes, with the row of 'no label' at its end, in model files.
pub const CLASS_TABLE: &str = "backbone.y_embedder.embedding_table.weight";
/// The table of codes, in model files.
pub(super) const CODEBOOK: &str = "tokenizer.quantize.embedding.weight";

/// The model file that a path stands for: that of a run, where it is the run's folder.
pub fn file_of(path: &Path) -> PathBuf {
    let inside = path.join(MODEL_FILE);
    if inside.is_file() { inside } else { path.to_owned() }
}

/// Writes a model file from named parameters.
///
/// # Errors
/// Whatever the file system says.
pub fn write_model<'a>(
    path: &Path,
    card: &ModelCard,
    tensors: impl Iterator<Item = &'a NamedTensor>,
    precision: Precision,
) -> Result<(), ModelError> {
    let mut writer = TensorWriter::default();
    let card = serde_json::to_string(card).map_err(|error| ModelError::NotAModel {
        path: path.to_owned(),
        reason: error.to_string(),
    })?;
    writer.metadata(METADATA_KEY, card);
    for NamedTensor { name, shape, values } in tensors {
        writer.floats(name, shape, values, precision);
    }
    Ok(writer.write(path)?)
}

/// The card in a model file's header.
///
/// # Errors
/// There is none, or it does not fit this version of the program.
pub fn read_card(file: &TensorFile) -> Result<ModelCard, ModelError> {
    let not_a_model =
        |reason: String| ModelError::NotAModel { path: file.path().to_owned(), reason };
    let json = match (file.contents(), file.metadata(METADATA_KEY)) {
        (Contents::Model, Some(json)) => json,
        (Contents::Model, None) => {
            let reason = format!("its header has no '{METADATA_KEY}' entry, which says its sizes");
            return Err(not_a_model(reason));
        }
        (Contents::Checkpoint, _) => {
            let reason = "it holds a checkpoint of a training run; the model lies beside it";
            return Err(not_a_model(reason.to_owned()));
        }
        (other, _) => return Err(not_a_model(format!("it holds {other}"))),
    };
    let card: ModelCard = json::parse(json).map_err(not_a_model)?;
    check_card(&card).map_err(not_a_model)?;
    Ok(card)
}

/// As [`read_card`], of a file that holds every tensor that the card speaks of.
///
/// # Errors
/// As [`read_card`], or a tensor is missing or of another shape.
pub fn read_whole_card(file: &TensorFile) -> Result<ModelCard, ModelError> {
    let card = read_card(file)?;
    check_against_file(&card, file)?;
    Ok(card)
}

/// The card in the header of a tokenizer on its own.
///
/// # Errors
/// There is none, or its sizes are not those of a tokenizer.
pub fn read_tokenizer_card(file: &TensorFile) -> Result<TokenizerCard, ModelError> {
    let fault = |reason: String| ModelError::NotATokenizer { path: file.path().to_owned(), reason };
    let json = match (file.contents(), file.metadata(METADATA_KEY)) {
        (Contents::Tokenizer, Some(json)) => json,
        (Contents::Tokenizer, None) => {
            let reason = format!("its header has no '{METADATA_KEY}' entry, which says its sizes");
            return Err(fault(reason));
        }
        (other, _) => {
            return Err(fault(format!(
                "it holds {other}, expected the tokenizer.safetensors of a run"
            )));
        }
    };
    let card: TokenizerCard = json::parse(json).map_err(fault)?;
    if card.format != TokenizerCard::FORMAT {
        let (found, known) = (card.format, TokenizerCard::FORMAT);
        return Err(fault(format!("its format is {found}, this version reads format {known}")));
    }
    check_tokenizer(&card.tokenizer).map_err(fault)?;
    Ok(card)
}

/// Whether the file holds every tensor that its card speaks of, so that nothing is made on the word of
/// the card alone.
fn check_against_file(card: &ModelCard, file: &TensorFile) -> Result<(), ModelError> {
    let fault = |reason: String| ModelError::NotAModel { path: file.path().to_owned(), reason };
    let (expected, all) = (limits::dit_tensors(&card.backbone), file.count());
    if expected > all {
        let depth = card.backbone.depth;
        return Err(fault(format!(
            "its card speaks of {depth} blocks, {expected} tensors or more; it holds {all}"
        )));
    }
    let blank = Dit::new(&card.backbone, &mut Initialiser::blank(&Device::flex()));
    for (name, shape) in params::shapes(&blank, backbone_name) {
        file.check_shape(&name, &shape)?;
    }
    let found = file.entries().iter().filter(|(name, ..)| name.starts_with("backbone.")).count();
    if found > expected {
        return Err(fault(format!(
            "it holds {found} tensors of a backbone, its card speaks of {expected}"
        )));
    }
    check_tokenizer_against_file(&card.tokenizer, file)
}

fn check_tokenizer_against_file(
    config: &TokenizerConfig,
    file: &TensorFile,
) -> Result<(), ModelError> {
    let fault = |reason: String| ModelError::NotATokenizer { path: file.path().to_owned(), reason };
    check_tokenizer(config).map_err(fault)?;
    let (expected, found) = (limits::tokenizer_tensors(config), file.count());
    if expected > found {
        return Err(fault(format!(
            "its card speaks of {} resolutions of {} residual blocks, {expected} tensors or more; \
             it holds {found}",
            config.multipliers.len(),
            config.residual_blocks
        )));
    }
    let blank = Tokenizer::new(config, &mut Initialiser::blank(&Device::flex()));
    for (name, shape) in params::shapes(&blank, tokenizer_name) {
        file.check_shape(&name, &shape)?;
    }
    Ok(())
}

/// The backbone's head in a model file, a part at a time: the whole may be more than a device takes in
/// one piece.
pub(super) fn read_head(
    file: &TensorFile,
    dit: &DitConfig,
    precision: Precision,
    device: &Device,
) -> Result<Head, ModelError> {
    let DitConfig { hidden_size, out_channels, patch_size, input_size, .. } = *dit;
    let rows = patch_size * patch_size * out_channels;
    let weights = file.numbers_of_shape(HEAD[0], &[rows, hidden_size], precision)?;
    let biases = file.numbers_of_shape(HEAD[1], &[rows], precision)?;
    let weights = weights.pieces(out_channels * hidden_size);
    let parts = weights.zip(biases.pieces(out_channels)).map(|(weight, bias)| {
        let weight = params::upload(weight, [out_channels, hidden_size], device);
        (weight, params::upload(bias, [out_channels], device))
    });
    Ok(Head::from_parts(parts.collect(), input_size / patch_size, patch_size))
}

/// The tokenizer in a model file.
///
/// # Errors
/// A tensor is missing or of another shape.
pub fn read_tokenizer(
    file: &TensorFile,
    config: &TokenizerConfig,
    device: &Device,
) -> Result<Tokenizer, ModelError> {
    read_tokenizer_in(Precision::F32, file, config, device)
}

/// As [`read_tokenizer`], to compute in a precision that the device has. Codes keep all their digits:
/// they are what the flow ends on.
pub(super) fn read_tokenizer_in(
    precision: Precision,
    file: &TensorFile,
    config: &TokenizerConfig,
    device: &Device,
) -> Result<Tokenizer, ModelError> {
    check_tokenizer_against_file(config, file)?;
    let tokenizer = Tokenizer::new(config, &mut Initialiser::blank(device));
    Ok(params::load(tokenizer, tokenizer_name, device, |name, shape| {
        let precision = match precision {
            Precision::F16 if name == CODEBOOK => file.precision_of(name)?,
            _ => precision,
        };
        file.numbers_of_shape(name, shape, precision)
    })?)
}

/// Name in a model file of the backbone's parameter at `path`.
pub fn backbone_name(path: &str) -> String {
    format!("backbone.{}", dit::reference_name(path))
}

/// Name in a model file of the tokenizer's parameter at `path`.
pub fn tokenizer_name(path: &str) -> String {
    format!("tokenizer.{}", tokenizer::reference_name(path))
}
