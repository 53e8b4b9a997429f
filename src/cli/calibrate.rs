//! `purrscope calibrate`

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, ensure};
use clap::Args;

use super::progress::Stages;
use super::{DeviceArg, PrecisionArg};
use crate::calibrate::{
    Calibration, KeptReports, Known, MOST_TIMES, Moment, Question, Watch, calibrate,
};
use crate::flow::Temperature;
use crate::io::atomic;
use crate::io::outputs::{self, Content};
use crate::io::tensors::{Precision, TensorWriter};
use crate::model::file_of;
use crate::say;

static STOP: AtomicBool = AtomicBool::new(false);

/// Measures whether a model's posteriors mean what they say, on pictures that it was not trained on.
///
/// At every time of a grid the pictures' true codes are noised as in training, and the posterior of every token is
/// held against the code that it had. The report names the temperature that fits best at each time, as a schedule
/// that `sample` and the studio take; the studio shows all of it in its pane Calibration.
#[derive(Debug, Args)]
pub struct CalibrateArgs {
    /// Model file, or the folder of a run (the embedded model if none is named)
    model: Option<PathBuf>,
    /// Held-out pictures: a folder with one sub-folder a class, named as the model's classes, or shards of latents
    #[arg(long, value_name = "DIR|SHARDS")]
    data: PathBuf,
    /// Pictures to measure on, spread over the data
    #[arg(long, default_value_t = 256, value_name = "N",
        value_parser = clap::value_parser!(u32).range(2..))]
    count: u32,
    /// Times of the grid, spread evenly over the path
    #[arg(long, default_value_t = 20, value_name = "N",
        value_parser = clap::value_parser!(u16).range(2..=MOST_TIMES as i64))]
    times: u16,
    /// Guidance scale; 1 is the posterior that was trained
    #[arg(long, default_value_t = 1.0, value_name = "S", allow_hyphen_values = true)]
    cfg: f32,
    /// Temperature, or a schedule of it, of the posterior that reliability is measured of
    #[arg(long, default_value = "1", value_name = "T|SCHEDULE")]
    temperature: Temperature,
    /// Seed of the noise
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Writes the whole report
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes what the report was computed from: `logits` f32 [tokens, codes] and `codes` i64 [tokens], in the
    /// order of times, pictures and places; for few pictures, being large
    #[arg(long, value_name = "FILE")]
    export: Option<PathBuf>,
    #[command(flatten)]
    device: DeviceArg,
    #[command(flatten)]
    precision: PrecisionArg,
}

/// Measures, keeps the report for the studio, and prints a table.
pub fn run(args: &CalibrateArgs) -> Result<()> {
    let path = args.model.as_deref().map(file_of);
    if let Some(json) = &args.json {
        let taken: Vec<&Path> = path.iter().map(PathBuf::as_path).chain([&*args.data]).collect();
        outputs::check(json, Content::REPORT, &taken)?;
    }
    args.export.iter().try_for_each(|path| {
        let used = [&args.model, &args.json].into_iter().flatten().chain([&args.data]);
        outputs::check(path, Content::TENSORS, &used.map(PathBuf::as_path).collect::<Vec<_>>())
    })?;
    ensure!(args.cfg.is_finite() && args.cfg >= 0.0, "--cfg must be 0 or more, not {}", args.cfg);
    if let Temperature::Entropy { .. } = args.temperature {
        anyhow::bail!("--temperature must be a temperature here, not a target of the entropy");
    }
    let selected = args.device.open()?;
    let model = super::open_model(path.as_deref(), &selected, args.precision, None)?;
    let files = [&args.json, &args.export];
    files.into_iter().flatten().try_for_each(|path| outputs::prepare(path))?;
    super::stop_on_interrupt(&STOP, "stopping (press again to leave at once)")?;
    let known = Known::read(&model, &args.data, args.count as usize, &STOP)?;
    let question = Question {
        times: usize::from(args.times),
        guidance: args.cfg,
        temperature: args.temperature.clone(),
        seed: args.seed,
    };
    let tokens = args.export.as_ref().map(|_| Tokens::default());
    let mut watcher = Watcher { stages: Stages::new()?, tokens };
    if args.export.is_some() {
        let tokens = known.codes.len().saturating_mul(question.times);
        let bytes = tokens.saturating_mul(model.card.tokenizer.codes * size_of::<f32>());
        ensure!(
            bytes <= MOST_EXPORTED,
            "--export would write {:.1} GB, at most {} are: take a smaller --count or fewer --times",
            bytes as f64 / 1e9,
            MOST_EXPORTED / 1_000_000_000
        );
    }
    let found = calibrate(&model, &known, &question, &STOP, &mut watcher);
    watcher.stages.end();
    let report = Calibration {
        model: model.card.name.clone(),
        model_hash: model.hash().to_owned(),
        data: args.data.display().to_string(),
        class_names: model.card.class_names.clone(),
        ..found?
    };
    if let Some(path) = &args.json {
        atomic::write(path, report.to_json()?.as_bytes())
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let (Some(path), Some(tokens)) = (&args.export, watcher.tokens) {
        tokens.write(path, report.codes)?;
    }
    if let Err(error) = KeptReports::of_user().keep(&report) {
        tracing::warn!("the report is not kept for the studio: {error}");
    }
    super::print(&table(&report)?)
}

/// Most bytes of exported logits, which wait in memory.
const MOST_EXPORTED: usize = 4_000_000_000;

/// What tokens were looked at.
#[derive(Default)]
struct Tokens {
    logits: Vec<f32>,
    codes: Vec<i64>,
}

impl Tokens {
    fn write(self, path: &Path, codes: usize) -> Result<()> {
        let mut writer = TensorWriter::default();
        let count = self.codes.len();
        writer.floats("logits", &[count, codes], &self.logits, Precision::F32);
        writer.integers("codes", &[count], self.codes);
        writer.write(path).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Shows how far it is, and keeps the tokens where they are wanted.
struct Watcher {
    stages: Stages,
    tokens: Option<Tokens>,
}

impl Watch for Watcher {
    fn progress(&mut self, done: usize, all: usize) {
        self.stages.tell("pictures at all times", done, all);
    }

    fn token(&mut self, logits: &[f32], code: u32) {
        if let Some(tokens) = &mut self.tokens {
            tokens.logits.extend_from_slice(logits);
            tokens.codes.push(i64::from(code));
        }
    }
}

/// The report as people read it.
fn table(report: &Calibration) -> Result<String> {
    let mut text = format!(
        "{}: {} of {}, guidance {}, temperature {}\n\n",
        report.model,
        say::count(report.pictures, "picture"),
        report.data,
        report.guidance,
        report.temperature
    );
    text += HEADING;
    for moment in &report.times {
        writeln!(text, "{}", row(moment))?;
    }
    let gain = report.cross_entropies().map_or_else(String::new, |[plain, fitted]| {
        format!(" take the cross-entropy of all times from {plain:.4} to {fitted:.4} nats a token")
    });
    match &report.schedule {
        Some(schedule) => {
            writeln!(text, "\nThe temperatures that fit best{gain}:\n--temperature {schedule}")?;
        }
        None => text += "\nNo time has a temperature that the loss hangs on.\n",
    }
    Ok(text)
}

/// Above the columns of [`row`].
const HEADING: &str = "                                                calibration error    90 % sets     best     nats a picture
    t  cross-entropy  entropy  accuracy  sure of   found  by chance  codes  hold  temperature  apart   gap
";

fn row(moment: &Moment) -> String {
    let [_, ninety, _] = &moment.sets[..] else { return String::new() };
    let best = moment.implied.as_ref().map_or_else(
        || format!("{:>11}", "-"),
        |implied| {
            let of = implied.temperature;
            format!("{:>5.3} ±{:.3}", of.value, of.error)
        },
    );
    format!(
        "{:>5.3}  {:>13.4}  {:>7.4}  {:>8.4}  {:>7.4}  {:>6.4}  {:>9.4}  {:>5.1}  {:.2}  {best}  {:>5.0}  {:>4.0}",
        moment.t,
        moment.cross_entropy.value,
        moment.entropy,
        moment.accuracy,
        moment.confidence,
        moment.reliability.error,
        moment.reliability.by_chance,
        ninety.codes,
        ninety.covered,
        moment.apart.value,
        moment.gap.value,
    )
}
