//! `purrscope sweep`

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::settings::SettingsArgs;
use super::{DeviceArg, PrecisionArg};
use crate::flow::{SampleSettings, Sampler};
use crate::io::outputs::{self, Content};
use crate::io::{atomic, png};
use crate::model::Model;
use crate::sweep::axis::{self, AxisText, Parameter};
use crate::sweep::sheet::{self, Show};
use crate::sweep::study::{Cell, Outcome, Plan, Study, Tally};

#[derive(Debug, Args)]
pub struct SweepArgs {
    /// Model file (the embedded model if none is named)
    model: Option<PathBuf>,
    #[arg(long, value_name = "P=VALUES", help = format!(
        "What varies across: PARAMETER=VALUES, such as temperature=0.5,0.7,0.9 or guidance='0..4 x 5'; of {}",
        axis::names()
    ))]
    x: AxisText,
    /// What varies down, likewise
    #[arg(long, value_name = "P=VALUES")]
    y: Option<AxisText>,
    #[command(flatten)]
    settings: SettingsArgs,
    /// The sheet: an annotated PNG with all settings and numbers inside
    #[arg(long, value_name = "SHEET.png")]
    out: PathBuf,
    /// Shows all pictures of a cell rather than the first
    #[arg(long)]
    all: bool,
    /// Writes the numbers as comma-separated values
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    #[command(flatten)]
    device: DeviceArg,
    #[command(flatten)]
    precision: PrecisionArg,
}

/// Runs every cell, then writes the sheet and the numbers.
pub fn run(args: &SweepArgs) -> Result<()> {
    let read: Vec<&Path> = args.model.iter().map(PathBuf::as_path).collect();
    outputs::check(&args.out, Content::PICTURE, &read)?;
    if let Some(csv) = &args.csv {
        outputs::check(csv, Content::TABLE, &[&read[..], &[args.out.as_path()]].concat())?;
    }
    let selected = args.device.open()?;
    let model = super::open_model(args.model.as_deref(), &selected, args.precision, None)?;
    let read = |axis: &AxisText| axis.read(&model.card.class_names);
    let (x, y) = (read(&args.x)?, args.y.as_ref().map(read).transpose()?);
    let by_class = [Some(&args.x), args.y.as_ref()]
        .into_iter()
        .flatten()
        .any(|axis| axis.parameter == Parameter::Class);
    let base = match args.settings.labels(&model.card)? {
        None if by_class => args.settings.with_labels(vec![0]),
        _ => args.settings.settings(&model.card)?,
    };
    let mut study = Study::new(Plan::new(base, x, y, &model.card)?, &model.card, model.hash());
    study.precision = model.precision();
    if study.waiting().is_none()
        && let Some(Cell::Refused(reason)) = study.cells.first()
    {
        bail!("no cell of the sweep can be run: {reason}");
    }
    std::iter::once(&args.out).chain(&args.csv).try_for_each(|path| outputs::prepare(path))?;

    let bar = ProgressBar::new(study.cells.len() as u64);
    bar.set_style(ProgressStyle::with_template(
        "{bar:32} cell {pos}/{len}  {elapsed} gone, {eta} left",
    )?);
    bar.set_position(study.settled() as u64);
    while let Some(cell) = study.waiting() {
        let outcome = run_cell(&model, study.plan.settings(cell))?;
        study.cells[cell] = Cell::Done(outcome);
        bar.inc(1);
    }
    bar.finish_and_clear();

    let show = if args.all { Show::All } else { Show::First };
    let bytes = png::encode(&sheet::draw(&study, show), &study.to_json()?)?;
    atomic::write(&args.out, &bytes)
        .with_context(|| format!("cannot write {}", args.out.display()))?;
    if let Some(path) = &args.csv {
        atomic::write(path, study.to_csv().as_bytes())
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    let mut refused = study.cells.iter().filter_map(|cell| match cell {
        Cell::Refused(reason) => Some(reason),
        _ => None,
    });
    let left_out = match (refused.next(), refused.count()) {
        (None, _) => String::new(),
        (Some(reason), more) => format!(", {} left out ({reason})", more + 1),
    };
    super::print(&format!(
        "{} x {} cells in {}{left_out}\n",
        study.plan.columns(),
        study.plan.rows(),
        args.out.display(),
    ))
}

fn run_cell(model: &Model, settings: SampleSettings) -> Result<Outcome> {
    let count = settings.labels.len();
    let mut sampler = Sampler::new(model, settings, None)?;
    let mut tally = Tally::default();
    for step in sampler.by_ref() {
        super::check_finite(&step, model)?;
        tally.push(&step);
    }
    let pictures = model.decode_codes(&sampler.codes(), count);
    Ok(tally.finish(pictures.into()))
}
