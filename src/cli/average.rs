//! `purrscope average`

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;

use super::replaced::replaced;
use crate::io::outputs::{self, Content};
use crate::io::tensors::TensorFile;
use crate::model::{file_of, read_card, write_model};
use crate::say;
use crate::train::averaged;

/// Makes a model of the weights of a run, averaged over a length that is chosen afterwards.
///
/// The run keeps what this needs where its run file says `optimiser.lengths`, such as [0.05, 0.1]. A length is the
/// standard deviation of the average over the steps, relative to their number: .05 is the last tenth, about, .15
/// the last third.
#[derive(Debug, Args)]
pub struct AverageArgs {
    /// Folder of the run
    run: PathBuf,
    /// Length of the average, 0.005 to 0.288
    #[arg(long, value_name = "L")]
    length: f64,
    /// Step that the average ends at (the last, if it is left out)
    #[arg(long, value_name = "N")]
    step: Option<usize>,
    /// Model file to write
    #[arg(long, value_name = "MODEL.safetensors")]
    out: PathBuf,
}

/// Makes the average, and writes it into a copy of the run's model.
pub fn run(args: &AverageArgs) -> Result<()> {
    let model = file_of(&args.run);
    ensure!(
        model.is_file() && model != args.run,
        "{}: there is no model of a flow in this folder",
        args.run.display()
    );
    let taken: [&Path; 2] = [&model, &args.run.join("averages")];
    outputs::check(&args.out, Content::TENSORS, &taken)?;
    let made = averaged(&args.run, args.length, args.step)?;
    let file = TensorFile::open(&model)?;
    let mut card = read_card(&file)?;
    card.provenance.flow_steps = made.step;
    let mut averages: HashMap<String, Vec<f32>> =
        made.tensors.into_iter().map(|tensor| (tensor.name, tensor.values)).collect();
    let (tensors, precision) = replaced(&file, |name, _, _| Ok(averages.remove(name)))?;
    outputs::prepare(&args.out)?;
    write_model(&args.out, &card, tensors.iter(), precision)
        .with_context(|| format!("cannot write {}", args.out.display()))?;
    super::print(&format!(
        "{}: step {} averaged over a length of {}, made of {} ({:.1} % off its profile)\n",
        args.out.display(),
        made.step,
        args.length,
        say::count(made.parts, "snapshot"),
        100.0 * made.off
    ))
}
