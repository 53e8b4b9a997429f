//! `purrscope --train RUN.toml`

use std::path::Path;
use std::sync::atomic::AtomicBool;

use anyhow::Result;
use indicatif::{ProgressBar, ProgressState, ProgressStyle};

use super::DeviceArg;
use super::progress::Lines;
use crate::say;
use crate::train::{self, Ending, Override, Progress, RunConfig};

static STOP: AtomicBool = AtomicBool::new(false);

/// Trains until the run is finished or Ctrl-C is pressed.
pub fn run(file: &Path, set: &[Override], resume: bool, device: DeviceArg) -> Result<()> {
    // Before any thread is there, which would take the signal instead.
    #[cfg(unix)]
    keep_ignoring_hang_ups();
    let stages = RunConfig::read_stages_with(file, set)?;
    let selected = device.open_examined()?;
    // Asked twice: the last checkpoint is whole, so nothing is lost by leaving at once.
    super::stop_on_interrupt(&STOP, "stopping after this step (press again to leave at once)")?;

    let bar = ProgressBar::new(stages[0].steps as u64);
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
    let lines_of = |config: &RunConfig| {
        bar.is_hidden().then(|| Lines::new(config.batch, config.checkpoint_every))
    };
    let (mut current, mut lines) = (None, None);
    let mut watch = |stage: usize, progress: &Progress| {
        if current != Some(stage) {
            if let Some(before) = current {
                say::note(format_args!("stage {} is finished", before + 1));
            }
            current = Some(stage);
            lines = lines_of(&stages[stage]);
            bar.reset();
            bar.set_length(stages[stage].steps as u64);
        }
        match &mut lines {
            Some(lines) => lines.write(progress),
            None => show(&bar, progress),
        }
    };
    let result = train::run_stages(&stages, resume, &selected.device, &STOP, &mut watch);
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

/// Leaves a hang-up ignored that was ignored when the program was started, as `nohup` has it: ctrlc
/// would take it for a wish to end. It is kept from this thread and all threads to come.
#[cfg(unix)]
fn keep_ignoring_hang_ups() {
    use nix::sys::signal::{SigSet, Signal};
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    if is_ignored(&status, Signal::SIGHUP as u32) {
        let mut hang_up = SigSet::empty();
        hang_up.add(Signal::SIGHUP);
        // If it fails, a hang-up saves and ends the run, as without nohup.
        let _ = hang_up.thread_block();
    }
}

/// Whether a signal is ignored, out of Linux's `/proc/self/status`; elsewhere there is none to ask.
#[cfg(unix)]
fn is_ignored(status: &str, signal: u32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> (signal - 1) & 1 == 1
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read_from_their_mask() {
        let status = "Name:\tpurrscope\nSigIgn:\t0000000000001001\nSigCgt:\tffffffffffffffff\n";
        assert!(is_ignored(status, 1) && is_ignored(status, 13));
        assert!(!is_ignored(status, 2) && !is_ignored(status, 15));
        assert!(!is_ignored("", 1));
    }
}
