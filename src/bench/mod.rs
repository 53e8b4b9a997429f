//! Benchmarks of this machine: operations, sampling and training, each row within a time limit.
//!
//! A row that fails, or that the device or the limit forbids, says so and the rest goes on.

mod cpu;
mod estimate;
mod flops;
mod kernels;
mod machine;
mod memory;
mod peer;
mod random;
mod row;
mod sampling;
mod size;
mod timing;
mod training;

use std::cell::RefCell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::FromStr;
use std::time::{Duration, Instant};

use burn::tensor::Device;
use serde::Serialize;
use thiserror::Error;

use self::memory::Watch;
use self::row::Measured;
use self::timing::{Clock, Timing};
use crate::device::Selected;
use crate::model::Precision;
use crate::{fault, room};
pub use estimate::Estimate;
pub use machine::{Adapter, Processor};
pub use peer::Peer;
pub use row::{Figures, Outcome, Row};
pub use size::{Size, SizeError};

/// Limits of a row that a single run may take: a warm-up that takes longer is all that is measured, and
/// a row that would take longer is not tried.
const PATIENCE: u32 = 4;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// Single operations.
    Kernels,
    /// Steps of the sampler, and decoding.
    Sampling,
    /// Steps of training.
    Training,
    /// Networks on the CPU, whatever the device, beside PyTorch where a Python has it.
    Cpu,
    /// Start and frames of the studio.
    Studio,
}

impl Part {
    /// Every part, in the order in which they are measured.
    pub const ALL: [Self; 5] =
        [Self::Kernels, Self::Sampling, Self::Training, Self::Cpu, Self::Studio];
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kernels => "kernels",
            Self::Sampling => "sampling",
            Self::Training => "training",
            Self::Cpu => "cpu",
            Self::Studio => "studio",
        })
    }
}

/// A spelling that names no part.
#[derive(Debug, Error)]
#[error("there is no benchmark '{given}' (known: kernels, sampling, training, cpu, studio)")]
pub struct PartError {
    given: String,
}

impl FromStr for Part {
    type Err = PartError;

    fn from_str(text: &str) -> Result<Self, PartError> {
        let mut found = Self::ALL.into_iter().filter(|part| part.to_string() == text);
        found.next().ok_or_else(|| PartError { given: text.to_owned() })
    }
}

/// How to measure.
#[derive(Debug)]
pub struct Options {
    /// Time for the measured iterations of a row, after a warm-up of up to four times as long.
    pub row_limit: Duration,
    /// Time after which no row of a part begins.
    pub part_limit: Duration,
    /// Sizes of the networks with random weights.
    pub sizes: Vec<Size>,
    /// What networks sample in; they train in f32.
    pub precision: Precision,
    /// Only rows with this in their names.
    pub row: Option<String>,
    /// What does the same in turns, where there is something.
    pub peer: Option<RefCell<Peer>>,
}

/// Measures one part on a device, and gives each row as it ends. The studio measures itself, see
/// [`crate::studio`]; here it has no rows.
///
/// All of it happens on the thread that calls, as the work of a session must.
pub fn run(part: Part, selected: &Selected, options: &Options, hear: &mut dyn FnMut(Row)) {
    let Options { row_limit: limit, part_limit, sizes, precision, row, peer } = options;
    let (limit, precision) = (*limit, *precision);
    let ends = Instant::now() + *part_limit;
    let (only, peer) = (row.as_deref(), peer.as_ref());
    let mut bench = Bench { part, selected, precision, only, peer, limit, ends, lost: false, hear };
    match part {
        Part::Kernels => kernels::measure(&mut bench),
        Part::Sampling => sampling::measure(&mut bench, sizes),
        Part::Training => training::measure(&mut bench, sizes),
        Part::Cpu => cpu::measure(&mut bench),
        Part::Studio => {}
    }
}

/// Whether a row of this name is measured where only those are that have `part` in theirs.
pub fn is_wanted(name: &str, part: Option<&str>) -> bool {
    part.is_none_or(|part| name.contains(part))
}

/// What is said of a row that needs more than the device has.
fn no_room(device: &Device) -> String {
    match room::largest_buffer(device) {
        Some(bytes) => {
            format!("the device has no room for it: buffers have up to {} MB", bytes >> 20)
        }
        None => "the device has no room for it".to_owned(),
    }
}

/// A part in progress.
struct Bench<'a> {
    part: Part,
    selected: &'a Selected,
    precision: Precision,
    only: Option<&'a str>,
    peer: Option<&'a RefCell<Peer>>,
    limit: Duration,
    ends: Instant,
    /// The device is gone; nothing can be measured on it any more.
    lost: bool,
    hear: &'a mut dyn FnMut(Row),
}

impl Bench<'_> {
    /// Measures a row, and gives its time if there is one.
    fn row(
        &mut self,
        name: &str,
        work: impl FnOnce(&Clock<'_>) -> Result<Measured, String>,
    ) -> Option<Timing> {
        if !self.wants(name) {
            return None;
        }
        if self.lost {
            self.skip(name, "the device was lost".to_owned());
            return None;
        }
        if Instant::now() >= self.ends {
            self.skip(name, format!("the time for {} is over", self.part));
            return None;
        }
        let device = &self.selected.device;
        let watch = Watch::begin(device);
        let warm_up_limit = self.limit * PATIENCE;
        let clock = Clock { device, limit: self.limit, warm_up_limit, peer: self.peer };
        let measured = match catch_unwind(AssertUnwindSafe(|| work(&clock))) {
            Ok(measured) => measured,
            Err(panic) if room::is_lack_of_room(panic.as_ref()) => {
                // What the attempt held is free again, but kept for the next of its size.
                device.memory_cleanup();
                self.skip(name, no_room(device));
                return None;
            }
            Err(panic) => Err(fault::panic_line(panic.as_ref()).to_owned()),
        };
        let beside = self.peer.and_then(|peer| peer.borrow_mut().end());
        let measured = measured.map(|measured| measured.beside(beside));
        let timing = measured.as_ref().ok().map(|measured| measured.timing);
        let outcome = match measured {
            // Of single operations it would be mostly that of their inputs.
            Ok(measured) => {
                let peak = watch.peak().filter(|_| self.part != Part::Kernels);
                Outcome::measured(&measured, peak)
            }
            Err(reason) => {
                self.lost = self.selected.check().is_err();
                Outcome::Failed { reason }
            }
        };
        (self.hear)(Row { part: self.part, name: name.to_owned(), outcome });
        timing
    }

    fn wants(&self, name: &str) -> bool {
        is_wanted(name, self.only)
    }

    /// Says that a row is left out, and why.
    fn skip(&mut self, name: &str, reason: String) {
        if !self.wants(name) {
            return;
        }
        let outcome = Outcome::Skipped { reason };
        (self.hear)(Row { part: self.part, name: name.to_owned(), outcome });
    }

    /// Why a row is not worth trying: it needs memory that is not there, or a single run of `flops`
    /// operations takes too long at the rate that was reached before.
    fn forbids(&self, bytes: f64, flops: f64, reached: Option<f64>) -> Option<String> {
        let gigabytes = |bytes: f64| format!("{:.1} GB", bytes / 1e9);
        if memory::is_of_the_host(self.selected)
            && let Some(free) = memory::available()
            && bytes > free
        {
            let (needs, free) = (gigabytes(bytes), gigabytes(free));
            return Some(format!("it needs about {needs} of memory, and {free} are free"));
        }
        let seconds = flops / reached?;
        let most = (self.limit * PATIENCE).as_secs_f64();
        (seconds > most).then(|| {
            format!(
                "one run would take about {seconds:.0} s, more than {most:.0} s: raise --seconds"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{DeviceChoice, select};

    #[test]
    fn a_row_without_room_is_left_out_and_one_with_a_fault_has_failed() {
        let selected = select(DeviceChoice::Cpu).unwrap();
        let mut rows = Vec::new();
        let limit = Duration::from_millis(1);
        let mut bench = Bench {
            part: Part::Kernels,
            selected: &selected,
            precision: Precision::F32,
            only: None,
            peer: None,
            limit,
            ends: Instant::now() + Duration::from_secs(60),
            lost: false,
            hear: &mut |row| rows.push(row),
        };
        assert!(bench.row("large", |_| panic!("can't allocate buffer of size: 9")).is_none());
        assert!(bench.row("wrong", |_| panic!("a fault\nand more")).is_none());
        let told: Vec<String> = rows.iter().map(ToString::to_string).collect();
        assert!(told[0].contains("skipped: the device has no room for it"), "{told:?}");
        assert!(told[1].contains("FAILED: a fault") && rows[1].is_failure(), "{told:?}");
        assert!(!rows[0].is_failure());
    }
}
