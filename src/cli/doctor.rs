//! `purrscope doctor`

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::json;

use super::DeviceArg;
use crate::device::AUTOTUNED;
use crate::doctor::{Extent, Verdict, examine};
use crate::io::atomic;
use crate::io::outputs::{self, Content};

#[derive(Debug, Args)]
pub struct DoctorArgs {
    #[command(flatten)]
    device: DeviceArg,
    /// Tries only what sampling and training need, along the path that this device takes
    #[arg(long)]
    short: bool,
    /// Also writes the findings as JSON
    #[arg(long, value_name = "FILE.json")]
    json: Option<PathBuf>,
}

/// Tries every operation on the device, and prints a line for each.
pub fn run(args: &DoctorArgs) -> Result<()> {
    if let Some(path) = &args.json {
        outputs::check(path, Content::REPORT, &[])?;
        outputs::prepare(path)?;
    }
    let selected = args.device.open()?;
    let begun = Instant::now();
    let extent = if args.short { Extent::Short } else { Extent::Full };
    let findings = examine(&selected, extent, |finding| {
        // A reader that has gone away misses the rest; the exit status still counts.
        let _ = super::print(&format!("{finding}\n"));
    })?;
    let seconds = begun.elapsed().as_secs_f64();
    let failed: Vec<_> = findings.iter().filter(|finding| finding.is_failure()).collect();
    if let Some(path) = &args.json {
        let report = json!({
            "device": selected.description,
            "autotune": AUTOTUNED,
            "seconds": seconds,
            "failed": failed.len(),
            "findings": findings,
        });
        atomic::write(path, format!("{report:#}\n").as_bytes())
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    let Some(first) = failed.first() else {
        let passed = |verdict: &Verdict| matches!(verdict, Verdict::Passed { .. });
        let passed = findings.iter().filter(|finding| passed(&finding.verdict)).count();
        let how = if AUTOTUNED { ", autotuned" } else { "" };
        return super::print(&format!("{passed} checks passed in {seconds:.1} s{how}\n"));
    };
    bail!(
        "{} of {} checks failed on this device, the first of them '{}': do not rely on it; update its driver, or use --device cpu",
        failed.len(),
        findings.len(),
        first.name
    )
}
