//! `purrscope swap-decoder`

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Args;
use half::f16;
use safetensors::Dtype;

use super::replaced::replaced;
use crate::io::outputs::{self, Content};
use crate::io::tensors::TensorFile;
use crate::model::{file_of, read_card, read_tokenizer_card, write_model};

/// What the parameters of decoders are called in files.
const DECODER: [&str; 2] = ["tokenizer.decoder.", "tokenizer.post_quant_conv."];
/// What the parameters of tokenizers are called in files.
const TOKENIZER: &str = "tokenizer.";

/// Puts the decoder of another tokenizer into a model.
///
/// For a tokenizer that went on learning with `decoder_only`: pictures keep their codes, so the flow stays what it is and draws
/// with the new decoder. A tokenizer of other codes is refused.
#[derive(Debug, Args)]
pub struct SwapDecoderArgs {
    /// Model file, or a run's folder with one
    model: PathBuf,
    /// The finished tokenizer, as its `tokenizer.safetensors`
    #[arg(long, value_name = "TOKENIZER.safetensors")]
    tokenizer: PathBuf,
    /// Model file to write
    #[arg(long, value_name = "MODEL.safetensors")]
    out: PathBuf,
}

/// Writes a copy of the model with the tokenizer's decoder.
pub fn run(args: &SwapDecoderArgs) -> Result<()> {
    let path = file_of(&args.model);
    outputs::check(&args.out, Content::TENSORS, &[&path, &args.tokenizer])?;
    let file = TensorFile::open(&path)?;
    let mut card = read_card(&file)?;
    let other = TensorFile::open(&args.tokenizer)?;
    let theirs = read_tokenizer_card(&other)?;
    ensure!(
        theirs.tokenizer == card.tokenizer,
        "{}: of another shape than the tokenizer of {}",
        args.tokenizer.display(),
        path.display()
    );
    let (tensors, precision) = replaced(&file, |name, shape, kind| {
        if !name.starts_with(TOKENIZER) {
            return Ok(None);
        }
        let new = other.floats_of_shape(name, shape)?;
        if DECODER.iter().any(|begin| name.starts_with(begin)) {
            return Ok(Some(new));
        }
        ensure!(
            same(&file.floats(name)?.1, &new, kind),
            "{}: its '{name}' is not that of {}: pictures have other codes",
            args.tokenizer.display(),
            path.display()
        );
        Ok(None)
    })?;
    card.provenance.tokenizer_steps = card.provenance.tokenizer_steps.max(theirs.steps);
    outputs::prepare(&args.out)?;
    write_model(&args.out, &card, tensors.iter(), precision)
        .with_context(|| format!("cannot write {}", args.out.display()))?;
    super::print(&format!("{}: {} with another decoder\n", args.out.display(), card.name))
}

/// Whether numbers are those that a model has, which may have rounded them to two bytes.
fn same(kept: &[f32], given: &[f32], kind: Dtype) -> bool {
    let stored = |value: f32| match kind {
        Dtype::F16 => f16::from_f32(value).to_f32(),
        _ => value,
    };
    kept.iter().zip(given).all(|(kept, given)| *kept == stored(*given))
}
