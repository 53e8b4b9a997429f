//! `purrscope --train RUN.toml`

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressState, ProgressStyle};

use super::DeviceArg;
use crate::say;
use crate::train::{self, Ending, Progress, RunConfig};

static STOP: AtomicBool = AtomicBool::new(false);

/// Trains until the run is finished or Ctrl-C is pressed.
pub fn run(file: &Path, resume: bool, device: DeviceArg) -> Result<()> {
    let config = RunConfig::read(file)?;
    let selected = device.open_examined()?;
    ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::Relaxed) {
            // Asked twice: the last checkpoint is whole, so nothing is lost by leaving at once.
            std::process::exit(130);
        }
        say::note("stopping after this step (press again to leave at once)");
    })
    .context("cannot listen for Ctrl-C")?;

    let bar = ProgressBar::new(config.steps as u64);
    bar.set_style(
        ProgressStyle::with_template(
            "{bar:32} step {pos}/{len}  loss {msg}  {elapsed_precise} gone, {left} left",
        )?
        .with_key("left", |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            let seconds = state.eta().as_secs();
            // A display that cannot be written to has nobody watching it.
            let _ = write!(out, "{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
        }),
    );
    let result = train::run(&config, resume, &selected.device, &STOP, &mut |progress| {
        show(&bar, progress);
    });
    bar.abandon();
    let (ending, product) = result?;
    super::print(&match ending {
        Ending::Finished => format!("finished: {}\n", product.display()),
        Ending::Stopped => format!(
            "stopped and saved: continue with `purrscope --train {} --resume`\n",
            file.display()
        ),
    })
}

fn show(bar: &ProgressBar, progress: &Progress) {
    match progress {
        Progress::Encoding { done, pictures } => {
            bar.set_message(format!("- (encoding pictures once: {done} of {pictures})"));
        }
        Progress::Step { step, loss, images_per_second, .. } => {
            if bar.position() == 0 {
                // A resumed run has not made its first steps in this time.
                bar.set_position(step.saturating_sub(1) as u64);
                bar.reset_eta();
            }
            bar.set_position(*step as u64);
            bar.set_message(format!("{loss:.4}  {images_per_second:.1} images/s"));
        }
    }
}
