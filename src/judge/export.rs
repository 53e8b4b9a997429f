//! Features and what was drawn for the figures, so that any other program can compute them again.

use std::path::Path;

use super::evaluate::Outcome;
use super::set::Set;
use super::{JudgeError, Matrix, draws, frechet, kid, sliced};
use crate::io::tensors::{METADATA_KEY, Precision, TensorWriter};

/// Writes a safetensors file: `NETWORK.SET` f32 [pictures, features] for the sets `data`, `compared`,
/// `reconstructions` and `training`; `labels.SET` i64; `halves.0`, `halves.1` i64, rows of the data; and for each
/// network `directions` f32 and, for a comparison with the judged pictures, with the reconstructions or between the
/// halves, `NETWORK.COMPARISON.frechet.I.SIDE` i64 and `NETWORK.COMPARISON.kid.SIDE` i64 [subsets, pictures], the rows
/// of both sides. The metadata hold the report.
///
/// # Errors
/// The file cannot be written.
pub fn export(outcome: &Outcome, path: &Path) -> Result<(), JudgeError> {
    let mut writer = TensorWriter::default();
    let report = serde_json::to_string(&outcome.report).map_err(|error| JudgeError::Unwritten {
        path: path.to_owned(),
        reason: error.to_string(),
    })?;
    writer.metadata(METADATA_KEY, report);
    let sets = [
        ("data", Some(&outcome.data)),
        ("compared", Some(&outcome.compared)),
        ("reconstructions", outcome.reconstructions.as_ref()),
        ("training", outcome.training.as_ref()),
    ];
    for (name, set) in sets.into_iter().filter_map(|(name, set)| Some((name, set?))) {
        add_set(&mut writer, name, set, &outcome.report.networks);
    }
    let seed = outcome.report.seed;
    let count = outcome.data.features.first().map_or(0, Matrix::rows);
    let halves = draws::halves(seed, count);
    for (side, half) in halves.iter().enumerate() {
        writer.integers(&format!("halves.{side}"), &[half.len()], numbers(half));
    }
    for (at, network) in outcome.report.networks.iter().enumerate() {
        let key = network.key;
        let directions = sliced::directions(seed, network.features);
        let values: Vec<f32> = draws::normals(
            seed,
            draws::Purpose::Directions,
            directions.rows() * directions.columns(),
        );
        let shape = [directions.rows(), directions.columns()];
        writer.floats(&format!("{key}.directions"), &shape, &values, Precision::F32);
        let compared = ("compared", [count, outcome.compared.features[at].rows()]);
        let of_halves = [halves[0].len(), halves[1].len()];
        let floor = ["reconstructions", "halves"].map(|name| (name, of_halves));
        let floor = floor.into_iter().filter(|_| outcome.reconstructions.is_some());
        for (comparison, counts) in std::iter::once(compared).chain(floor) {
            let name = format!("{key}.{comparison}");
            for (point, pair) in frechet::subsets(seed, counts, network.features).iter().enumerate()
            {
                for (side, rows) in pair.iter().enumerate() {
                    let name = format!("{name}.frechet.{point}.{side}");
                    writer.integers(&name, &[rows.len()], numbers(rows));
                }
            }
            let subsets = kid::subsets(seed, counts);
            for side in 0..2 {
                let size = subsets.first().map_or(0, |pair| pair[side].len());
                let rows = subsets.iter().flat_map(|pair| numbers(&pair[side]));
                writer.integers(&format!("{name}.kid.{side}"), &[subsets.len(), size], rows);
            }
        }
    }
    Ok(writer.write(path)?)
}

fn add_set(writer: &mut TensorWriter, name: &str, set: &Set, networks: &[super::NetworkNote]) {
    set.write_features(writer, name, networks.iter().map(|network| network.key));
    if let Some(labels) = &set.labels {
        writer.integers(&format!("labels.{name}"), &[labels.len()], numbers(labels));
    }
}

fn numbers(rows: &[usize]) -> impl Iterator<Item = i64> {
    rows.iter().map(|row| *row as i64)
}
