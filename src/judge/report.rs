//! What an evaluation found, for programs and for people.

use std::fmt::Write as _;

use serde::Serialize;

use super::Network;
use super::frechet::Extrapolation;
use super::kid::Kid;
use super::memorisation::Memorisation;
use super::neighbours::Neighbourhoods;
use crate::flow::SampleSettings;
use crate::say::{count, line};

/// The JSON of an evaluation; `docs/evaluate.md` says what each entry means.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Name and version of this program.
    pub program: &'static str,
    /// Version of this format.
    pub format: u32,
    /// Name of the model.
    pub model: String,
    /// Digest of the model file.
    pub model_hash: String,
    /// Where the real pictures lie.
    pub data: String,
    /// Where the training pictures lie, if they were named.
    pub training: Option<String>,
    /// `samples` or `pictures`.
    pub kind: &'static str,
    /// What was judged.
    pub compared: Origin,
    /// Numbers of pictures.
    pub counts: Counts,
    /// Seed of what is drawn at random for the figures.
    pub seed: u64,
    /// Feature networks.
    pub networks: Vec<NetworkNote>,
    /// A row for each comparison by each network.
    pub figures: Vec<Figures>,
    /// What has to be known to read the figures.
    pub notes: Vec<String>,
}

/// Where the judged pictures come from.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The settings that the model made them with.
    Samples(Box<SampleSettings>),
    /// Where they lie.
    Pictures(String),
}

/// Numbers of pictures that could be read.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Counts {
    /// Real ones.
    pub data: usize,
    /// Judged ones.
    pub compared: usize,
    /// Those of the training.
    pub training: Option<usize>,
}

/// A feature network.
#[derive(Debug, Clone, Serialize)]
pub struct NetworkNote {
    /// Its name in `figures`.
    pub key: &'static str,
    /// Its name for people.
    pub name: &'static str,
    /// Number of features.
    pub features: usize,
}

impl NetworkNote {
    pub(super) fn of(network: &Network<'_>) -> Self {
        Self { key: network.key(), name: network.name(), features: network.dimension() }
    }
}

/// A set against real pictures by one network; what cannot be computed of so few pictures is `null` or absent.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    /// Key of the network.
    pub network: &'static str,
    /// `samples` or `pictures`; `halves` for one half of the data against the other; `reconstructions` for what the
    /// tokenizer makes of the other half instead.
    pub compared: String,
    /// The class, where only pictures of one are compared.
    pub class: Option<String>,
    /// Real pictures.
    pub data_pictures: usize,
    /// Judged pictures.
    pub pictures: usize,
    /// Frechet distance.
    pub frechet: Option<f64>,
    /// The same, extrapolated to infinitely many pictures.
    pub frechet_infinity: Option<Extrapolation>,
    /// Kernel distance.
    pub kid: Option<Kid>,
    /// Sliced Wasserstein distance of order 1.
    pub sliced_wasserstein: Option<f64>,
    /// Precision, recall, density and coverage.
    #[serde(flatten)]
    pub neighbourhoods: Option<Neighbourhoods>,
    /// Vendi score of the judged pictures.
    pub vendi: Option<f64>,
    /// Vendi score of the real ones.
    pub data_vendi: Option<f64>,
    /// Nearest training pictures.
    pub memorisation: Option<Memorisation>,
}

/// Columns of the table: heading and width.
const COLUMNS: [(&str, usize); 10] = [
    ("pictures", 11),
    ("Frechet", 9),
    ("at infinity", 16),
    ("KID x 1000", 24),
    ("sliced", 8),
    ("precision", 10),
    ("recall", 8),
    ("density", 8),
    ("coverage", 9),
    ("Vendi", 14),
];

impl Report {
    /// Version of the format of the JSON.
    pub const FORMAT: u32 = 1;

    /// The table for people.
    pub fn table(&self) -> String {
        let mut text = String::new();
        for network in &self.networks {
            let own = || self.figures.iter().filter(|row| row.network == network.key);
            let name = |row: &Figures| match &row.class {
                Some(class) => format!("  {}", line(class)),
                None if row.compared == "halves" => "data, by halves".to_owned(),
                None => row.compared.clone(),
            };
            text += &block(network, &own().map(|row| (name(row), row)).collect::<Vec<_>>());
            for found in own().filter_map(|row| row.memorisation.as_ref()) {
                text += &told(found);
            }
            text.push('\n');
        }
        text
    }
}

/// What several evaluations with the same data and networks found of what each judged, for people: a row each, under
/// its name.
pub fn tabulate(reports: &[(String, &Report)]) -> String {
    let networks = reports.first().map_or(&[][..], |(_, report)| &report.networks);
    let table = |network: &NetworkNote| {
        let rows = reports.iter().filter_map(|(name, report)| {
            let own = |row: &&Figures| row.network == network.key && row.class.is_none();
            let judged = report.figures.iter().filter(own).find(|row| row.compared == report.kind);
            Some((name.clone(), judged?))
        });
        block(network, &rows.collect::<Vec<_>>())
    };
    networks.iter().map(table).collect::<Vec<_>>().join("\n")
}

/// Rows of one network under its name.
fn block(network: &NetworkNote, rows: &[(String, &Figures)]) -> String {
    let widest = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    // Of all Frechet distances only this network's is called FID.
    let what = if network.key == "inception_v3" { "FID" } else { "Frechet distance" };
    let mut text = format!(
        "{what} ({}), {} features\n{:widest$}{}\n",
        network.name,
        network.features,
        "",
        headings()
    );
    for (name, row) in rows {
        let _ = writeln!(text, "{name:<widest$}{}", cells(row));
    }
    text
}

fn headings() -> String {
    COLUMNS.iter().map(|(heading, width)| format!("  {heading:>width$}")).collect()
}

/// The figures of a row under their headings.
fn cells(row: &Figures) -> String {
    let around = row.neighbourhoods;
    let share = |value: Option<f64>| value.map_or_else(none, |value| format!("{value:.3}"));
    let plain = |value: Option<f64>| value.map_or_else(none, digits);
    let cells = [
        format!("{}/{}", row.pictures, row.data_pictures),
        plain(row.frechet),
        row.frechet_infinity.as_ref().map_or_else(none, |found| {
            format!("{} +- {}", digits(found.value), digits(found.error))
        }),
        row.kid.map_or_else(none, |kid| {
            let [value, low, high] =
                [kid.value, kid.low, kid.high].map(|value| digits(value * 1e3));
            format!("{value} ({low} to {high})")
        }),
        plain(row.sliced_wasserstein),
        share(around.map(|around| around.precision)),
        share(around.map(|around| around.recall)),
        share(around.map(|around| around.density)),
        share(around.map(|around| around.coverage)),
        match (row.vendi, row.data_vendi) {
            (Some(own), Some(data)) => format!("{} of {}", digits(own), digits(data)),
            _ => none(),
        },
    ];
    cells.iter().zip(COLUMNS).map(|(cell, (_, width))| format!("  {cell:>width$}")).collect()
}

fn none() -> String {
    "-".to_owned()
}

/// A number with about four digits.
fn digits(value: f64) -> String {
    match value.abs() {
        100.0.. => format!("{value:.1}"),
        10.0.. => format!("{value:.2}"),
        1.0.. => format!("{value:.3}"),
        _ => format!("{value:.4}"),
    }
}

/// What is to be said of copies.
fn told(found: &Memorisation) -> String {
    format!(
        "memorisation: {:.1}% are nearer to one of {} than 95% of the data are (5% where nothing is copied), nearer than \
         a picture of the data {:.1}% of the time (50%), {}; median distance {}, of the data {}\n",
        100.0 * found.near,
        count(found.training_pictures, "training picture"),
        100.0 * found.nearer,
        match found.copies {
            1 => "1 is a copy".to_owned(),
            copies => format!("{copies} are copies"),
        },
        digits(found.quantiles[3]),
        digits(found.data_quantiles[3]),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_about_four_digits() {
        let found = [1234.56, 12.345, 1.23456, 0.012345, -0.5].map(digits);
        assert_eq!(found, ["1234.6", "12.35", "1.235", "0.0123", "-0.5000"]);
    }

    #[test]
    fn what_is_missing_is_a_line_and_columns_hold() {
        let row = Figures {
            network: "encoder",
            compared: "samples".to_owned(),
            class: None,
            data_pictures: 3,
            pictures: 12,
            frechet: Some(2.5),
            frechet_infinity: None,
            kid: None,
            sliced_wasserstein: Some(0.25),
            neighbourhoods: None,
            vendi: Some(3.0),
            data_vendi: Some(4.0),
            memorisation: None,
        };
        let text = cells(&row);
        assert_eq!(text.chars().count(), headings().chars().count());
        let words: Vec<&str> = text.split_whitespace().collect();
        assert_eq!(
            words,
            ["12/3", "2.500", "-", "-", "0.2500", "-", "-", "-", "-", "3.000", "of", "4.000"]
        );
        let json = serde_json::to_value(&row).unwrap();
        assert_eq!(
            (&json["frechet"], &json["kid"]),
            (&serde_json::json!(2.5), &serde_json::Value::Null)
        );
    }
}
