//! Averages of weights over a power of the time, of which an average of any length can be made afterwards
//! ([Karras et al. 2024](https://arxiv.org/abs/2312.02696), section 3).
//!
//! After `t` steps the average of exponent `g` has the profile `p(s) = (g + 1) s^g / t^(g + 1)` over the steps `s` up
//! to there. Its length is the profile's standard deviation over `t`, `sqrt(g + 1) / ((g + 2) sqrt(g + 3))`. Snapshots
//! of a few such averages, taken now and then, are combined with the weights that bring the sum of their profiles
//! closest to the profile that is wanted.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use thiserror::Error;

use crate::io::atomic;
use crate::io::numbered::{numbered, remove_beyond};
use crate::io::tensors::{METADATA_KEY, Precision, TensorFile, TensorFileError, TensorWriter};
use crate::model::params::NamedTensor;

/// Longest average: that of exponent 0, the mean of all steps.
pub(super) const LONGEST: f64 = 0.288;
/// Shortest that is of any use.
pub(super) const SHORTEST: f64 = 0.005;
/// Most that are kept at once: each is as large as the weights.
pub(super) const MOST: usize = 4;

/// Folder of the snapshots within a run's.
const FOLDER: &str = "averages";

/// Exponent of the profile of a length.
pub(super) fn exponent(length: f64) -> f64 {
    // Lengths fall as exponents rise.
    let (mut low, mut high) = (0.0, 1e6);
    for _ in 0..200 {
        let middle = f64::midpoint(low, high);
        if length_of(middle) > length { low = middle } else { high = middle }
    }
    f64::midpoint(low, high)
}

/// Length of the profile of an exponent.
fn length_of(exponent: f64) -> f64 {
    (exponent + 1.0).sqrt() / ((exponent + 2.0) * (exponent + 3.0).sqrt())
}

/// What an average keeps of itself at step `step`, from 1.
pub(super) fn keep(exponent: f64, step: usize) -> f64 {
    (1.0 - 1.0 / step as f64).powf(exponent + 1.0)
}

/// A profile: an exponent, and the step that it ends at.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Profile {
    exponent: f64,
    step: f64,
}

impl Profile {
    fn new(length: f64, step: usize) -> Self {
        Self { exponent: exponent(length), step: step as f64 }
    }

    /// The integral of the product of two profiles.
    fn dot(self, other: Self) -> f64 {
        let (a, b) = (self.exponent + 1.0, other.exponent + 1.0);
        let first = self.step.min(other.step);
        // In the order that keeps powers near 1.
        a * b / (a + b - 1.0) / first * (first / self.step).powf(a) * (first / other.step).powf(b)
    }
}

/// The weights of `given` whose sum is closest to `wanted`, and how far it is from it, of its own size.
fn weights(given: &[Profile], wanted: Profile) -> (Vec<f64>, f64) {
    let count = given.len();
    // Scaled to profiles of size 1, so that a little on the diagonal is little for all of them.
    let size: Vec<f64> = given.iter().map(|profile| profile.dot(*profile).sqrt()).collect();
    const RIDGE: f64 = 1e-10;
    let mut rows: Vec<Vec<f64>> = (0..count)
        .map(|i| {
            let mut row: Vec<f64> = (0..count)
                .map(|j| {
                    given[i].dot(given[j]) / (size[i] * size[j]) + if i == j { RIDGE } else { 0.0 }
                })
                .collect();
            row.push(given[i].dot(wanted) / size[i]);
            row
        })
        .collect();
    for column in 0..count {
        let pivot = (column..count)
            .max_by(|a, b| rows[*a][column].abs().total_cmp(&rows[*b][column].abs()))
            .unwrap_or(column);
        rows.swap(column, pivot);
        let above = rows[column].clone();
        for row in &mut rows[column + 1..] {
            let factor = row[column] / above[column];
            row.iter_mut().zip(&above).for_each(|(value, above)| *value -= factor * above);
        }
    }
    let mut found = vec![0.0; count];
    for i in (0..count).rev() {
        let known: f64 = (i + 1..count).map(|j| rows[i][j] * found[j]).sum();
        found[i] = (rows[i][count] - known) / rows[i][i];
    }
    found.iter_mut().zip(&size).for_each(|(weight, size)| *weight /= size);
    let mut off = wanted.dot(wanted);
    for (i, weight) in found.iter().enumerate() {
        off -= 2.0 * weight * given[i].dot(wanted);
        off += found.iter().zip(given).map(|(w, p)| weight * w * given[i].dot(*p)).sum::<f64>();
    }
    (found, (off.max(0.0) / wanted.dot(wanted)).sqrt())
}

/// Snapshots that no average can be made of.
#[derive(Debug, Error)]
pub enum AverageError {
    /// A snapshot cannot be read.
    #[error(transparent)]
    File(#[from] TensorFileError),
    /// The folder cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// The folder.
        path: PathBuf,
        /// What the file system said.
        source: std::io::Error,
    },
    /// There are none.
    #[error(
        "{path}: no averages were kept there: a run keeps them where optimiser.lengths says so, such as [0.05, 0.1]"
    )]
    None {
        /// The run's folder.
        path: PathBuf,
    },
    /// What is asked for lies outside of what was kept.
    #[error("{what}")]
    Outside {
        /// What was asked for, and what there is.
        what: String,
    },
    /// A snapshot is not one.
    #[error("{path}: not averages of this run")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
}

fn path_of(run: &Path, step: usize) -> PathBuf {
    run.join(FOLDER).join(format!("{step:08}.safetensors"))
}

/// Writes a snapshot of the averages of some lengths at a step, in half precision.
pub(super) fn save(
    run: &Path,
    step: usize,
    lengths: &[f64],
    averages: &[Vec<NamedTensor>],
) -> Result<(), TensorFileError> {
    let path = path_of(run, step);
    atomic::prepare_folder(atomic::folder_of(&path))
        .map_err(|source| TensorFileError::Io { path: path.clone(), source })?;
    let mut writer = TensorWriter::default();
    writer.metadata(
        METADATA_KEY,
        serde_json::json!({ "step": step, "lengths": lengths }).to_string(),
    );
    for (length, tensors) in lengths.iter().zip(averages) {
        for NamedTensor { name, shape, values } in tensors {
            writer.floats(&format!("{length}/{name}"), shape, values, Precision::F16);
        }
    }
    writer.write(&path)
}

/// Removes snapshots of steps beyond `step`, from a run that was killed after its last checkpoint.
pub(super) fn forget_after(run: &Path, step: usize) {
    remove_beyond(found(run).unwrap_or_default(), step);
}

/// Steps and files of a run's snapshots, in order.
fn found(run: &Path) -> std::io::Result<Vec<(usize, PathBuf)>> {
    let folder = run.join(FOLDER);
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    numbered(&folder, "", ".safetensors")
}

/// An average that was made afterwards.
#[derive(Debug)]
pub struct Averaged {
    /// The parameters, under their names in files.
    pub tensors: Vec<NamedTensor>,
    /// The step that it ends at.
    pub step: usize,
    /// Averages that it was made of.
    pub parts: usize,
    /// How far their profiles' sum is from the one wanted, of its own size.
    pub off: f64,
}

/// The average of a length, relative to `step`, or to the last one that there is, of the snapshots of a run.
///
/// # Errors
/// There are no snapshots, none up to that step, or a length that cannot be.
pub fn averaged(run: &Path, length: f64, step: Option<usize>) -> Result<Averaged, AverageError> {
    let outside = |what: String| AverageError::Outside { what };
    if !(SHORTEST..=LONGEST).contains(&length) {
        return Err(outside(format!("a length is from {SHORTEST} to {LONGEST}, not {length}")));
    }
    let files = found(run).map_err(|source| AverageError::Io { path: run.to_owned(), source })?;
    let (Some((first, _)), Some((last, _))) = (files.first(), files.last()) else {
        return Err(AverageError::None { path: run.to_owned() });
    };
    let step = step.unwrap_or(*last);
    if !(*first..=*last).contains(&step) {
        return Err(outside(format!(
            "averages were kept from step {first} to {last}, not at {step}"
        )));
    }
    let mut snapshots: Vec<(Profile, Rc<TensorFile>, String)> = Vec::new();
    for (at, path) in files.iter().filter(|(at, _)| *at <= step) {
        let file = Rc::new(TensorFile::open(path)?);
        let foreign = || AverageError::Foreign { path: path.clone() };
        let head: serde_json::Value =
            serde_json::from_str(file.metadata(METADATA_KEY).unwrap_or_default())
                .map_err(|_| foreign())?;
        let lengths = head["lengths"].as_array().ok_or_else(foreign)?;
        for length in lengths {
            let length =
                length.as_f64().filter(|l| (SHORTEST..=LONGEST).contains(l)).ok_or_else(foreign)?;
            snapshots.push((Profile::new(length, *at), Rc::clone(&file), format!("{length}/")));
        }
    }
    let profiles: Vec<Profile> = snapshots.iter().map(|(profile, ..)| *profile).collect();
    let (weights, off) = weights(&profiles, Profile::new(length, step));
    let Some((_, newest, prefix)) = snapshots.last() else {
        return Err(AverageError::None { path: run.to_owned() });
    };
    let mut tensors = Vec::new();
    for (name, _, shape) in newest.entries() {
        let Some(name) = name.strip_prefix(prefix) else { continue };
        let mut sum = vec![0.0f64; shape.iter().product()];
        for ((_, file, prefix), weight) in snapshots.iter().zip(&weights) {
            let values = file.floats_of_shape(&format!("{prefix}{name}"), &shape)?;
            sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += weight * f64::from(value));
        }
        let values = sum.into_iter().map(|value| value as f32).collect();
        tensors.push(NamedTensor { name: name.to_owned(), shape, values });
    }
    Ok(Averaged { tensors, step, parts: profiles.len(), off })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_exponents_are_those_of_the_paper() {
        // Table of the paper's appendix: lengths .05, .10, .15 have exponents 16.97, 6.94 and 3.56, about.
        for (length, expected) in [(0.05, 16.97), (0.10, 6.94), (0.15, 3.56)] {
            let found = exponent(length);
            assert!((found - expected).abs() < 0.03, "{length}: {found}");
            assert!((length_of(found) - length).abs() < 1e-9);
        }
        assert!((length_of(0.0) - 1.0 / 12f64.sqrt()).abs() < 1e-12, "of an even mean");
    }

    /// The average of a number that changes with the step, kept as training keeps it.
    fn kept(length: f64, step: usize) -> f64 {
        let exponent = exponent(length);
        (1..=step).fold(0.0, |average, at| {
            let keep = keep(exponent, at);
            average * keep + (at as f64).ln() * (1.0 - keep)
        })
    }

    #[test]
    fn averages_of_any_length_are_made_of_a_few() {
        let given: Vec<(f64, usize)> =
            (1..=10).flat_map(|i| [(0.05, 100 * i), (0.1, 100 * i)]).collect();
        let profiles: Vec<Profile> =
            given.iter().map(|(length, step)| Profile::new(*length, *step)).collect();
        for (length, step) in [(0.03, 1000), (0.07, 1000), (0.15, 1000), (0.08, 700), (0.05, 600)] {
            let (weights, off) = weights(&profiles, Profile::new(length, step));
            let pairs = weights.iter().zip(&given);
            let made: f64 = pairs.map(|(w, (length, step))| w * kept(*length, *step)).sum();
            let wanted = kept(length, step);
            assert!((weights.iter().sum::<f64>() - 1.0).abs() < 0.02, "{length}: {weights:?}");
            assert!((made - wanted).abs() < 0.01 * wanted, "{length} at {step}: {made} {wanted}");
            assert!(off < 0.25, "{length} at {step}: {off}");
        }
        // One that was kept is found again.
        let (weights, off) = weights(&profiles, Profile::new(0.1, 500));
        assert!(off < 1e-3 && (weights[9] - 1.0).abs() < 1e-2, "{off} {weights:?}");
    }

    #[test]
    fn a_run_without_averages_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let said = averaged(folder.path(), 0.1, None).unwrap_err().to_string();
        assert!(said.contains("no averages were kept there"), "{said}");
        let tensors =
            vec![NamedTensor { name: "a".into(), shape: vec![2], values: vec![1.0, 2.0] }];
        for step in [10, 20] {
            save(folder.path(), step, &[0.1], std::slice::from_ref(&tensors)).unwrap();
        }
        let made = averaged(folder.path(), 0.1, Some(10)).unwrap();
        assert_eq!((made.step, made.parts), (10, 1));
        assert!((made.tensors[0].values[1] - 2.0).abs() < 1e-3);
        for (length, step, expected) in
            [(0.5, None, "a length is from"), (0.1, Some(30), "from step 10 to 20, not at 30")]
        {
            let said = averaged(folder.path(), length, step).unwrap_err().to_string();
            assert!(said.contains(expected), "{said}");
        }
        forget_after(folder.path(), 10);
        assert_eq!(averaged(folder.path(), 0.1, None).unwrap().step, 10);
    }
}
