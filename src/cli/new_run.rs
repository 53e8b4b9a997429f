//! `purrscope new-run`

use std::path::PathBuf;

use anyhow::{Result, anyhow};
use clap::Args;

use super::{DeviceArg, print};
use crate::bench::Estimate;
use crate::say;
use crate::train::NewRun;

/// Writes the run file that trains a model on a folder of pictures.
///
/// The file is commented and made to be changed. Train with `purrscope --train DIR/run.toml`, then open the model
/// with `purrscope DIR`.
#[derive(Debug, Args)]
pub struct NewRunArgs {
    /// Folder for the run: its run file, checkpoints, samples and the model
    folder: PathBuf,
    /// Folder of pictures: sub-folders are classes; without any, all pictures are of one
    #[arg(long, value_name = "FOLDER")]
    images: PathBuf,
    /// Table of the pictures' classes (.csv or .tsv), instead of sub-folders: a column of files and one of classes
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// A trained model to go on from, as its file or its run's folder: its tokenizer stays, its flow learns these pictures
    #[arg(long, value_name = "MODEL")]
    from: Option<PathBuf>,
    /// Side of the pictures in pixels: 32, 64, 128 or 256 (default: 64, or what the pictures have if that is less; with
    /// --from that of the model)
    #[arg(long, value_name = "N")]
    size: Option<usize>,
    #[command(flatten)]
    device: DeviceArg,
}

/// Looks at the pictures, writes the run file, and says how long the run will take.
pub fn run(args: NewRunArgs) -> Result<()> {
    let NewRunArgs { folder, images, labels, from, size, device } = args;
    let shown = folder.display().to_string();
    let new = NewRun { folder, images, labels, from, size };
    let looked = new.look()?;
    let selected = device.open_examined()?;
    let prepared = looked.write(selected.handles.is_some())?;
    let file = prepared.file.display();
    say::note("trying the run out for some seconds");
    let estimate = Estimate::of(&prepared.stages, prepared.classes, &selected);
    let estimate = estimate.map_err(|reason| {
        anyhow!("{reason} ({file} is written: make its batches or networks smaller)")
    })?;
    let stages: String = estimate.stages().iter().map(|stage| format!("  {stage}\n")).collect();
    print(&format!(
        "{file}: {}\n{stages}about {} on this device, without pauses; it can be stopped (Ctrl-C) and continued \
         (--resume)\ntrain: purrscope --train {file}\nopen:  purrscope {shown}\n",
        prepared.words,
        estimate.duration(),
    ))
}
