//! `purrscope sample`

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Deserialize;

use super::DeviceArg;
use super::settings::SettingsArgs;
use crate::flow::trajectory::Trajectory;
use crate::flow::{LatentShape, Latents, RunRecord, SampleSettings, Sampler, Solver};
use crate::io::animation::{self, Format};
use crate::io::tensors::TensorFile;
use crate::io::{atomic, png};
use crate::model::Model;

#[derive(Debug, Args)]
pub struct SampleArgs {
    /// Model file (the embedded model if none is named)
    model: Option<PathBuf>,
    /// Makes the picture of an exported PNG again; all settings are taken from it
    #[arg(long, value_name = "PICTURE.png", conflicts_with_all = [
        "labels", "class", "count", "seed", "noise", "solver", "grid", "steps", "temperature", "cfg",
        "eta", "atol", "rtol", "pins", "bans", "banned_codes",
    ])]
    restore: Option<PathBuf>,
    #[command(flatten)]
    pub(super) settings: SettingsArgs,
    /// Starting noise from a file: `noise` f32 [batch, channels, height, width]
    #[arg(long, value_name = "FILE")]
    noise: Option<PathBuf>,
    /// Folder for the PNG files
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Writes the full record of the run as safetensors
    #[arg(long, value_name = "FILE")]
    trajectory: Option<PathBuf>,
    /// Also writes the predicted pictures of every step as an animation
    #[arg(long, value_name = "FORMAT")]
    animate: Option<Animation>,
    #[command(flatten)]
    device: DeviceArg,
}

/// Formats of animations.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Animation {
    /// 256 colours a frame; opens everywhere
    Gif,
    /// Exact colours, with the settings inside
    Apng,
}

impl From<Animation> for Format {
    fn from(animation: Animation) -> Self {
        match animation {
            Animation::Gif => Self::Gif,
            Animation::Apng => Self::Apng,
        }
    }
}

/// Samples, then writes every file of the run.
pub fn run(args: &SampleArgs) -> Result<()> {
    let begun = Instant::now();
    let selected = args.device.open()?;
    let model = match &args.model {
        Some(path) => Model::open(path, &selected.device)?,
        None => Model::embedded(&selected.device)?,
    };
    let restored = args.restore.as_deref().map(|path| Restored::read(path, &model)).transpose()?;
    let settings = match &restored {
        Some(restored) => restored.settings.clone(),
        None => args.settings.settings(&model.card)?,
    };
    let noise_file = match &restored {
        Some(restored) => restored.noise.as_ref(),
        None => args.noise.as_ref(),
    };
    let noise = noise_file.map(|path| read_noise(path)).transpose()?;
    let record = RunRecord {
        noise: noise_file.map(|path| path.display().to_string()),
        ..RunRecord::new(&model.card.name, model.hash(), &settings)
    };
    let mut sampler = Sampler::new(&model, settings.clone(), noise)?;
    atomic::prepare_folder(&args.out)
        .with_context(|| format!("cannot write to {}", args.out.display()))?;

    let bar = ProgressBar::new(settings.steps as u64);
    bar.set_style(ProgressStyle::with_template(
        "{bar:32} step {pos}/{len}  {elapsed} gone, {eta} left",
    )?);
    let mut trajectory = Trajectory::default();
    let mut frames = Vec::new();
    let mut evaluations = 0;
    let (mut accepted, mut rejected) = (0, 0);
    for step in sampler.by_ref() {
        bar.inc(1);
        evaluations = step.evaluations;
        accepted += step.accepted;
        rejected += step.rejected;
        if args.animate.is_some() {
            frames.push(model.decode(&step.prediction));
        }
        if args.trajectory.is_some() {
            trajectory.push(step);
        }
    }
    bar.finish_and_clear();

    let codes = sampler.codes();
    let pictures = model.decode_codes(&codes, settings.labels.len());
    let wanted = restored.as_ref().and_then(|restored| restored.image);
    let all = pictures.iter().zip(&settings.labels).enumerate();
    for (i, (picture, label)) in all.filter(|(i, _)| wanted.is_none_or(|wanted| wanted == *i)) {
        let class = &model.card.class_names[*label];
        let record = RunRecord { class: Some(class.clone()), image: Some(i), ..record.clone() };
        let path = args.out.join(format!("{class}-seed{}-{i:03}.png", settings.seed));
        let bytes = png::encode(picture, &record.to_json()?)?;
        atomic::write(&path, &bytes).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let Some(format) = args.animate.map(Format::from) {
        frames.push(pictures.clone());
        let path = args.out.join(format!("seed{}.{}", settings.seed, format.extension()));
        let bytes = animation::encode(format, &frames, &record.to_json()?)?;
        atomic::write(&path, &bytes).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let Some(path) = &args.trajectory {
        trajectory.write(path, &settings, record.to_json()?, &codes)?;
    }
    let adaptive = match settings.solver {
        Solver::Dopri5 => format!(", {accepted} steps accepted and {rejected} rejected"),
        _ => String::new(),
    };
    super::print(&format!(
        "{} pictures in {} ({evaluations} evaluations of the network{adaptive}, {:.1} s)\n",
        if wanted.is_some() { 1 } else { pictures.len() },
        args.out.display(),
        begun.elapsed().as_secs_f64()
    ))?;
    Ok(())
}

/// What an exported picture says of its run.
#[derive(Debug, Deserialize)]
struct Restored {
    #[serde(flatten)]
    settings: SampleSettings,
    model_hash: String,
    /// Its number in the batch, where it is one of several.
    image: Option<usize>,
    /// The time that it was taken at, where that is not the end.
    t: Option<f32>,
    noise: Option<PathBuf>,
}

impl Restored {
    fn read(path: &Path, model: &Model) -> Result<Self> {
        let context = || path.display().to_string();
        let bytes = fs::read(path).with_context(context)?;
        let text = png::settings(&bytes).with_context(context)?;
        let restored: Self = serde_json::from_str(&text).with_context(context)?;
        if restored.model_hash != model.hash() {
            bail!(
                "{}: it was made by the model {}, this one is {}; name that model's file",
                path.display(),
                restored.model_hash,
                model.hash()
            );
        }
        if let Some(t) = restored.t {
            bail!(
                "{}: it shows a run at t = {t}, not at its end; the studio restores it",
                path.display()
            );
        }
        Ok(restored)
    }
}

fn read_noise(path: &Path) -> Result<Latents> {
    fs::metadata(path).with_context(|| path.display().to_string())?;
    let (shape, values) = TensorFile::open(path)?.floats("noise")?;
    let [batch, channels, height, width] = shape[..] else {
        bail!("{}: tensor 'noise' has shape {shape:?}, expected four extents", path.display());
    };
    Ok(Latents { shape: LatentShape { batch, channels, height, width }, values })
}
