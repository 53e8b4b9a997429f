//! Whether a device computes what it should: every operation that this program asks of it, against
//! numbers that PyTorch computed in float64.
//!
//! Drivers and shader compilers go wrong in silence: products at odd sizes, reductions, buffers at the
//! limit. A device that has not been examined is not trusted with hours of training.

mod check;
mod kernels;
mod memory;
mod networks;
mod operations;
mod records;
mod stored;

use std::fmt;

use serde::Serialize;
use thiserror::Error;

use self::check::{Check, Patient, timed};
use self::stored::Stored;
use crate::device::Selected;
use crate::fault::attempt;
use crate::io::tensors::TensorFileError;
use crate::kernels::{Path, take_path};
use crate::model::{Model, Precision};
pub use records::{Records, Standing, heed};

/// An examination that cannot begin.
#[derive(Debug, Error)]
pub enum DoctorError {
    /// The numbers inside the program.
    #[error(transparent)]
    Stored(#[from] TensorFileError),
}

/// How much is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// What sampling and training need, along the one path that the device takes: a few seconds.
    Short,
    /// Everything, on every path, 16-bit floats and large buffers included.
    Full,
}

/// What became of one check.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "verdict")]
pub enum Verdict {
    /// As close as it should be.
    Passed {
        /// The largest error, relative to the largest number expected.
        error: f32,
        /// The error that is allowed.
        allowed: f32,
    },
    /// Further off than it should be.
    Off {
        /// The largest error, relative to the largest number expected.
        error: f32,
        /// The error that is allowed.
        allowed: f32,
        /// Which result is off.
        what: String,
    },
    /// It did not get as far as a result.
    Broken {
        /// What was said.
        reason: String,
    },
    /// The device does not offer it.
    Skipped {
        /// What is lacking.
        reason: String,
    },
}

/// One check and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// What was tried, in words.
    pub name: String,
    /// What became of it.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// Time that it took.
    pub seconds: f64,
}

impl Finding {
    /// Whether the device did something wrong.
    pub fn is_failure(&self) -> bool {
        matches!(self.verdict, Verdict::Off { .. } | Verdict::Broken { .. })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed { error, allowed } => {
                write!(f, "off by {error:.1e}, {allowed:.0e} allowed")
            }
            Self::Off { error, allowed, what } => {
                write!(f, "off by {error:.1e}, {allowed:.0e} allowed ({what})")
            }
            Self::Broken { reason } | Self::Skipped { reason } => f.write_str(reason),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let label = match self.verdict {
            Verdict::Passed { .. } => "passed",
            Verdict::Off { .. } => "WRONG",
            Verdict::Broken { .. } => "BROKEN",
            Verdict::Skipped { .. } => "skipped",
        };
        write!(f, "{label:<8} {}: {}", self.name, self.verdict)
    }
}

/// Tries the device at everything, and tells of each check as it ends.
///
/// All of it happens on the thread that calls, as the work of a session must.
///
/// # Errors
/// The numbers inside the program cannot be read; what the device does wrong is a finding.
pub fn examine(
    selected: &Selected,
    extent: Extent,
    mut hear: impl FnMut(&Finding),
) -> Result<Vec<Finding>, DoctorError> {
    let stored = Stored::open()?;
    let mut findings = Vec::new();
    let mut note = |finding: Finding| {
        hear(&finding);
        findings.push(finding);
    };
    let handles = selected.handles.as_ref();
    let features = handles.map_or(wgpu::Features::empty(), |handles| handles.device.features());
    let patient = Patient { device: &selected.device, on_gpu: handles.is_some(), model: None };
    let mut all = |checks: &[Check], path: &str| {
        checks.iter().for_each(|check| note(check.try_on(&patient, &stored, path)));
    };
    all(operations::PLAIN, "");
    all(operations::FUSED, "");
    all(kernels::SINGLE, "");
    all(kernels::OVER_CODES, "");
    all(networks::SMALL, "");
    let half = handles.is_none() || features.contains(wgpu::Features::SHADER_F16);
    if extent == Extent::Full {
        if handles.is_some() {
            on_every_path(features.contains(wgpu::Features::SUBGROUP), |path| {
                all(kernels::OVER_CODES, path.name());
                if half {
                    all(kernels::HALF, path.name());
                }
            });
        } else {
            all(kernels::HALF, "");
        }
        if half {
            all(operations::HALF, "");
        }
    }
    if extent == Extent::Full && !half {
        let reason = "the adapter has no 16-bit floats in shaders".to_owned();
        note(timed("16-bit floats".to_owned(), || Verdict::Skipped { reason }));
    }
    embedded(Precision::F32, &patient, &stored, &mut note);
    // On the CPU nothing computes in half precision.
    if extent == Extent::Full && half && handles.is_some() {
        embedded(Precision::F16, &patient, &stored, &mut note);
    }
    if extent == Extent::Full {
        let limit = handles.map(|h| h.device.limits().max_storage_buffer_binding_size);
        let software =
            handles.is_some_and(|h| h.device.adapter_info().device_type == wgpu::DeviceType::Cpu);
        note(memory::fill_and_copy(patient.device, memory::bytes_to_try(limit, software)));
    }
    Ok(findings)
}

/// The embedded model, opened on the device in a precision.
fn embedded(
    precision: Precision,
    patient: &Patient<'_>,
    stored: &Stored,
    note: &mut impl FnMut(Finding),
) {
    let opened = attempt(|| Model::embedded_in(precision, patient.device));
    let broken = |reason: String| {
        timed(format!("opening the embedded model in {precision}"), || Verdict::Broken { reason })
    };
    let checks = match precision {
        Precision::F32 => networks::EMBEDDED,
        Precision::F16 => networks::EMBEDDED_IN_HALF,
    };
    match opened {
        Ok(Ok(model)) => {
            let patient = Patient { model: Some(&model), ..*patient };
            for check in checks {
                note(check.try_on(&patient, stored, ""));
            }
        }
        Ok(Err(error)) => note(broken(error.to_string())),
        Err(reason) => note(broken(reason)),
    }
}

/// Makes the kernels take every path that the adapter has, one after the other.
fn on_every_path(subgroups: bool, mut each: impl FnMut(Path)) {
    for path in Path::ALL {
        if subgroups || path != Path::Subgroups {
            take_path(Some(path));
            each(path);
        }
    }
    take_path(None);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{DeviceChoice, select};
    use crate::kernels::spoil_loss;

    #[test]
    fn the_cpu_computes_everything_as_pytorch_does() {
        let selected = select(DeviceChoice::Cpu).unwrap();
        let findings = examine(&selected, Extent::Full, |_| {}).unwrap();
        let failed: Vec<_> = findings.iter().filter(|finding| finding.is_failure()).collect();
        assert!(failed.is_empty(), "{failed:?}");
        assert!(findings.len() > 25, "{} checks", findings.len());
    }

    /// On one device and in one test, since spoiling a kernel spoils it for all.
    #[test]
    fn a_gpu_passes_and_a_spoilt_kernel_is_named_and_remembered() {
        let selected = select(DeviceChoice::Gpu(None)).expect("the tests need an adapter");
        let findings = examine(&selected, Extent::Full, |_| {}).unwrap();
        let failed: Vec<_> = findings.iter().filter(|finding| finding.is_failure()).collect();
        assert!(failed.is_empty(), "{failed:?}");

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("devices.json");
        spoil_loss(true);
        let standing = Records::at(Some(path.clone())).examined(&selected).unwrap();
        spoil_loss(false);
        let Standing::Wrong { operation } = &standing else { panic!("the kernel was spoilt") };
        assert!(operation.contains("cross-entropy"), "{operation}");
        let records = Records::at(Some(path));
        assert_eq!(records.standing(&selected), Some(&standing));

        let (instead, notice) =
            heed(DeviceChoice::Auto, selected.clone(), Some(standing.clone())).unwrap();
        assert!(instead.handles.is_none(), "the CPU takes its place");
        assert!(notice.unwrap().contains("cross-entropy"));
        let (kept, warning) =
            heed(DeviceChoice::Gpu(None), selected.clone(), Some(standing)).unwrap();
        assert_eq!(kept.description, selected.description);
        assert!(warning.unwrap().starts_with("warning: "));
    }
}
