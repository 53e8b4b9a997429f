//! `purrscope evaluate`

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Serialize;
use serde_json::json;

use super::progress::Stages;
use super::settings::TableArgs;
use super::{DeviceArg, PrecisionArg};
use crate::device::Selected;
use crate::flow::{Domain, SampleSettings};
use crate::io::numbered::numbered;
use crate::io::outputs::{self, Content};
use crate::io::{atomic, png};
use crate::judge::{
    Compared, Known, Network, Outcome, Pictures, Plan, Report, Samples, evaluate, export,
    labels_like, tabulate,
};
use crate::model::Model;
use crate::say;

/// Compares pictures of a model with real ones: distances, precision and recall, variety, copies.
///
/// `docs/evaluate.md` says what each figure means.
#[derive(Debug, Args)]
pub struct EvaluateArgs {
    /// Model file (the embedded model if none is named)
    model: Option<PathBuf>,
    /// Judges every model that a run has kept under the number of its step (keep_models_every) instead, one after the
    /// other; with --out, pictures are kept in a sub-folder a step
    #[arg(long, value_name = "RUN", conflicts_with_all = ["model", "pictures", "picture", "export_features"])]
    every_checkpoint: Option<PathBuf>,
    /// Real pictures, best ones that the model was not trained on: a folder, with a sub-folder a class or without, or
    /// shards of latents
    #[arg(long, value_name = "DIR|SHARDS")]
    data: PathBuf,
    /// Pictures that the model makes, in the proportions of the classes of the data
    #[arg(long, value_name = "N", default_value_t = 1000, conflicts_with = "pictures")]
    count: usize,
    #[command(flatten)]
    table: TableArgs,
    /// Judges the pictures of a folder instead of making some
    #[arg(long, value_name = "DIR")]
    pictures: Option<PathBuf>,
    /// Pictures that the model was trained on, to see whether it copies them
    #[arg(long, value_name = "DIR|SHARDS")]
    training: Option<PathBuf>,
    /// Network that pictures are compared by: encoder (the model's own), or a file with the weights of
    /// EfficientNet-Lite0 (scripts/fetch_features.sh fetches them) or of the FID's Inception-v3; may be repeated
    #[arg(long, value_name = "encoder|FILE", default_value = Network::ENCODER)]
    features: Vec<PathBuf>,
    /// Folder that keeps the pictures that are made: those of an interrupted evaluation are not made again
    #[arg(long, value_name = "DIR", conflicts_with = "pictures")]
    out: Option<PathBuf>,
    /// Compares the samples alone, and not the tokenizer's reconstructions, halves of the data and single classes
    #[arg(long)]
    brief: bool,
    /// File that keeps the features of the real pictures, for the next model or other settings; it is written anew where
    /// it is of other pictures, another tokenizer or other networks
    #[arg(long, value_name = "FILE.safetensors")]
    known_features: Option<PathBuf>,
    /// Writes all figures as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes a sheet of random pictures, each beside its nearest training picture and its nearest real one
    #[arg(long, value_name = "SHEET.png")]
    picture: Option<PathBuf>,
    /// Writes the features, so that the figures can be computed again (scripts/check_evaluate.py)
    #[arg(long, value_name = "FILE.safetensors")]
    export_features: Option<PathBuf>,
    #[command(flatten)]
    device: DeviceArg,
    #[command(flatten)]
    precision: PrecisionArg,
}

impl EvaluateArgs {
    /// The files to write, with what each is to hold.
    fn files(&self) -> impl Iterator<Item = (&PathBuf, Content)> {
        let files = [
            (&self.json, Content::REPORT),
            (&self.picture, Content::PICTURE),
            (&self.export_features, Content::TENSORS),
            (&self.known_features, Content::TENSORS),
        ];
        files.into_iter().filter_map(|(path, content)| Some((path.as_ref()?, content)))
    }

    /// Looks at the names of what is to be written, and touches nothing.
    fn check_outputs(&self) -> Result<()> {
        let weights = self.features.iter().filter(|file| !Network::is_encoder(file));
        let mut taken: Vec<&Path> =
            self.model.iter().chain(weights).map(PathBuf::as_path).collect();
        self.out.iter().try_for_each(|folder| outputs::check_folder(folder))?;
        for (path, content) in self.files() {
            outputs::check(path, content, &taken)?;
            taken.push(path);
        }
        Ok(())
    }

    /// What is known of the real pictures.
    fn known(&self) -> Known {
        self.known_features.as_deref().map_or_else(Known::default, Known::of_file)
    }

    /// The settings to sample with.
    fn settings(&self, data: &Pictures<'_>, model: &Model) -> Result<SampleSettings> {
        let most = SampleSettings::MAX_PICTURES;
        ensure!((2..=most).contains(&self.count), "count must be 2 to {most}, not {}", self.count);
        let labels = labels_like(data.labels(), model.card.class_names.len(), self.count);
        let settings = self.table.settings(labels);
        settings.validate(&Domain::of(&model.card))?;
        Ok(settings)
    }
}

/// Makes or reads the pictures, compares them, prints the table and writes what was asked for.
pub fn run(args: &EvaluateArgs) -> Result<()> {
    args.check_outputs()?;
    let selected = args.device.open()?;
    if let Some(run) = &args.every_checkpoint {
        return every_checkpoint(args, run, &selected);
    }
    let mut known = args.known();
    let outcome = judge(args, args.model.as_deref(), args.out.as_deref(), &selected, &mut known)?;
    write(args, &outcome)?;
    super::print(&outcome.report.table())
}

/// A model that a run has kept, and what was found of it.
#[derive(Serialize)]
struct Checkpoint {
    step: usize,
    file: PathBuf,
    report: Report,
}

/// Judges the models of a run in the order of their steps, and prints what became of them.
fn every_checkpoint(args: &EvaluateArgs, run: &Path, selected: &Selected) -> Result<()> {
    let models = numbered(run, "model-", ".safetensors")
        .with_context(|| format!("cannot read {}", run.display()))?;
    ensure!(
        !models.is_empty(),
        "{}: no models of steps (the run file's keep_models_every keeps them)",
        run.display()
    );
    let mut found = Vec::new();
    let mut known = args.known();
    for (step, file) in models {
        say::note(format_args!("step {step}"));
        let out = args.out.as_ref().map(|folder| folder.join(format!("{step:07}")));
        let report = judge(args, Some(&file), out.as_deref(), selected, &mut known)?.report;
        found.push(Checkpoint { step, file, report });
        // Kept as it goes: each takes long.
        if let Some(path) = &args.json {
            let json = serde_json::to_string_pretty(&json!({ "format": 1, "checkpoints": found }))?;
            atomic::write(path, (json + "\n").as_bytes())
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    let rows = found.iter().map(|of| (format!("step {}", of.step), &of.report));
    super::print(&tabulate(&rows.collect::<Vec<_>>()))
}

/// Makes or reads the pictures of a model, and compares them.
fn judge(
    args: &EvaluateArgs,
    model: Option<&Path>,
    out: Option<&Path>,
    selected: &Selected,
    known: &mut Known,
) -> Result<Outcome> {
    let model = super::open_model(model, selected, args.precision, None)?;
    let named = args.features.iter().map(|file| Network::named(file, &model));
    let networks = named.collect::<Result<Vec<_>, _>>()?;
    for (at, network) in networks.iter().enumerate() {
        let again = networks[..at].iter().any(|other| other.key() == network.key());
        ensure!(!again, "--features names {} twice", network.name());
    }
    let data = Pictures::open(&args.data, &model)?;
    let training = args.training.as_deref().map(|path| Pictures::open(path, &model)).transpose()?;
    let seed = args.table.settings(Vec::new()).seed;
    let compared = match &args.pictures {
        Some(path) => Compared::Pictures(Pictures::open(path, &model)?),
        None => {
            let settings = args.settings(&data, &model)?;
            Compared::Samples(Samples::new(&model, settings, out)?)
        }
    };
    out.iter().try_for_each(|folder| outputs::prepare_folder(folder))?;
    args.files().try_for_each(|(path, _)| outputs::prepare(path))?;
    let sheet = args.picture.is_some();
    let whole = !args.brief;
    let plan = Plan {
        model: &model,
        data,
        compared,
        training,
        networks,
        seed,
        sheet,
        whole,
        known,
        stop: None,
    };
    let mut told = Stages::new()?;
    let outcome = evaluate(plan, &mut |stage, done, of| told.tell(stage, done, of))?;
    told.end();
    outcome.report.notes.iter().for_each(|note| say::note(format_args!("note: {note}")));
    Ok(outcome)
}

fn write(args: &EvaluateArgs, outcome: &Outcome) -> Result<()> {
    let cannot = |path: &Path| format!("cannot write {}", path.display());
    let json = serde_json::to_string_pretty(&outcome.report)?;
    if let (Some(path), Some(sheet)) = (&args.picture, &outcome.sheet) {
        let bytes = png::encode(sheet, &serde_json::to_string(&outcome.report)?)?;
        atomic::write(path, &bytes).with_context(|| cannot(path))?;
    }
    if let Some(path) = &args.export_features {
        export(outcome, path)?;
    }
    if let Some(path) = &args.json {
        atomic::write(path, (json + "\n").as_bytes()).with_context(|| cannot(path))?;
    }
    Ok(())
}
