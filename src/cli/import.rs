//! `purrscope import`

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::model::import::{Sources, Weights, import};
use crate::say;

#[derive(Debug, Args)]
pub struct ImportArgs {
    /// Checkpoint of the reference implementation, .pth, or .safetensors of a backbone's weights
    checkpoint: PathBuf,
    /// The hparams.json that lies beside it
    #[arg(long, value_name = "hparams.json")]
    hparams: PathBuf,
    /// Tokenizer: LlamaGen's .pt, latent diffusion's .ckpt, or .safetensors of either
    #[arg(long, value_name = "FILE")]
    tokenizer: PathBuf,
    /// The averaged weights, or those that the optimiser left
    #[arg(long, value_enum, default_value_t = Choice::Ema)]
    weights: Choice,
    /// Names of the classes: one a line, or a JSON list or dictionary (numbers, if it is left out)
    #[arg(long, value_name = "FILE")]
    class_names: Option<PathBuf>,
    /// Whether codes are used at unit length (yes for LlamaGen, no for latent diffusion, if left out)
    #[arg(long, value_name = "BOOL")]
    unit_codes: Option<bool>,
    /// Model file to write
    #[arg(long, value_name = "MODEL.safetensors")]
    out: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Choice {
    Ema,
    Live,
}

/// Converts a checkpoint to a model file.
pub fn run(args: &ImportArgs) -> Result<()> {
    let sources = Sources {
        checkpoint: &args.checkpoint,
        hparams: &args.hparams,
        tokenizer: &args.tokenizer,
        weights: match args.weights {
            Choice::Ema => Weights::Ema,
            Choice::Live => Weights::Live,
        },
        unit_codes: args.unit_codes,
        class_names: args.class_names.as_deref(),
    };
    // Ctrl-C ends the program, and with it the import; the file is written aside until it is whole.
    let card = import(&sources, &args.out, &AtomicBool::new(false))?;
    super::print(&format!(
        "{}: {} with {} of {}, {}, pictures of {} pixels\n",
        args.out.display(),
        card.objective,
        say::count(card.tokenizer.codes, "code"),
        say::count(card.tokenizer.code_size, "number"),
        say::count(card.class_names.len(), "class"),
        card.image_size()
    ))
}
