//! `purrscope sample`

use std::fs::{self, File};
use std::io::BufReader;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::{Args, ValueEnum};
use image::RgbImage;
use indicatif::{ProgressBar, ProgressStyle};

use super::settings::SettingsArgs;
use super::{DeviceArg, PrecisionArg};
use crate::flow::settings::SETTINGS;
use crate::flow::trajectory::Trajectory;
use crate::flow::{
    Domain, LatentShape, Latents, Recorded, RunRecord, SampleError, SampleSettings, Sampler,
    Solver, StepRecord,
};
use crate::io::animation::{self, Format};
use crate::io::outputs::{self, Content};
use crate::io::tensors::{TensorFile, TensorFileError};
use crate::io::{names, png};
use crate::model::{Model, Objective};
use crate::say;

/// Pictures that are computed at once, where they do not depend on one another: enough to keep a
/// device busy, and few enough that any number of pictures takes the same memory.
const BATCH: usize = 32;

/// The most pictures that are computed at once, where they have to be: they take about 1.5 MB each of
/// the embedded model, and more of a larger one.
const MOST_TOGETHER: usize = 1000;

/// The most bytes that the steps of a run may take in memory until they are written.
const MOST_KEPT: usize = 4 << 30;

#[derive(Debug, Args)]
pub struct SampleArgs {
    /// Model file (the embedded model if none is named)
    model: Option<PathBuf>,
    /// Makes the picture of an exported PNG again; all settings are taken from it
    #[arg(long, value_name = "PICTURE.png", conflicts_with_all = [
        "labels", "class", "count", "noise", "pins", "bans", "banned_codes",
    ], conflicts_with_all = SETTINGS.map(|setting| setting.option))]
    restore: Option<PathBuf>,
    #[command(flatten)]
    pub(super) settings: SettingsArgs,
    /// Starting noise from a file: `noise` f32 [batch, channels, height, width]
    #[arg(long, value_name = "FILE")]
    noise: Option<PathBuf>,
    /// Folder for the PNG files; beside another picture of its name, one gets a number
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
    #[command(flatten)]
    precision: PrecisionArg,
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

impl SampleArgs {
    /// Looks at the names of the files to write, and touches none.
    fn check_outputs(&self) -> Result<()> {
        outputs::check_folder(&self.out)?;
        let Some(path) = &self.trajectory else { return Ok(()) };
        let read = [&self.model, &self.restore, &self.noise].into_iter().flatten();
        let taken: Vec<&Path> = read.chain([&self.out]).map(PathBuf::as_path).collect();
        Ok(outputs::check(path, Content::TENSORS, &taken)?)
    }
}

/// Samples, and writes the pictures of a batch before the next one begins.
pub fn run(args: &SampleArgs) -> Result<()> {
    let begun = Instant::now();
    args.check_outputs()?;
    let selected = args.device.open()?;
    let restored = match &args.restore {
        Some(path) => Some(read_record(path).with_context(|| path.display().to_string())?),
        None => None,
    };
    let recorded = restored.as_ref().and_then(|record| record.precision);
    let model = super::open_model(args.model.as_deref(), &selected, args.precision, recorded)?;
    let job = Job::new(args, restored, &model)?;
    args.trajectory.iter().try_for_each(|path| outputs::prepare(path))?;
    outputs::prepare_folder(&args.out)?;
    let done = job.run()?;
    let adaptive = match job.settings.solver {
        Solver::Dopri5 => {
            format!(", {} steps accepted and {} rejected", done.accepted, done.rejected)
        }
        _ => String::new(),
    };
    let numbered = match done.numbered {
        0 => String::new(),
        count => format!(", {count} numbered since other pictures have their names"),
    };
    super::print(&format!(
        "{} in {}{numbered} ({} of the network{adaptive}, {:.1} s)\n",
        say::count(done.pictures, "picture"),
        args.out.display(),
        say::count(done.evaluations, "evaluation"),
        begun.elapsed().as_secs_f64()
    ))
}

/// A run that is in order.
struct Job<'a> {
    args: &'a SampleArgs,
    model: &'a Model,
    settings: SampleSettings,
    noise_file: Option<PathBuf>,
    noise: Option<Latents>,
    /// The only picture that is wanted.
    wanted: Option<usize>,
}

/// What came of a [`Job`].
#[derive(Debug, Default)]
struct Done {
    pictures: usize,
    /// Pictures that found their name taken by another one.
    numbered: usize,
    evaluations: usize,
    accepted: usize,
    rejected: usize,
}

impl<'a> Job<'a> {
    /// Checks all that was asked for.
    fn new(args: &'a SampleArgs, restored: Option<Recorded>, model: &'a Model) -> Result<Self> {
        let (settings, noise_file, wanted) = match (&args.restore, restored) {
            (Some(path), Some(record)) => {
                check_restored(&record, model).with_context(|| path.display().to_string())?;
                (record.settings, record.noise.map(PathBuf::from), record.image)
            }
            _ => (args.settings.settings(&model.card)?, args.noise.clone(), None),
        };
        settings.validate(&Domain::of(&model.card))?;
        let read = |path: &PathBuf| read_noise(path, model, settings.labels.len());
        let noise = noise_file.as_ref().map(read).transpose()?;
        let job = Self { args, model, settings, noise_file, noise, wanted };
        job.check_size()?;
        Ok(job)
    }

    /// Why all pictures have to be computed at once, if they do.
    fn together(&self) -> Option<&'static str> {
        let kept = (self.args.trajectory.is_some() || self.args.animate.is_some())
            .then_some("a trajectory or an animation shows all of them in every step");
        kept.or_else(|| self.settings.ties())
    }

    fn check_size(&self) -> Result<()> {
        let count = self.settings.labels.len();
        if let Some(reason) = self.together() {
            ensure!(
                count <= MOST_TOGETHER,
                "{count} pictures cannot be computed at once, and have to be, since {reason}: make at \
                 most {MOST_TOGETHER} in a run, and others with another --seed"
            );
        }
        let steps = self.settings.times().len().saturating_sub(1);
        let mut bytes = 0usize;
        if self.args.trajectory.is_some() {
            bytes = StepRecord::bytes_of(self.model.latent_shape(count), steps);
        }
        if self.args.animate.is_some() {
            let picture = self.model.card.image_size().saturating_pow(2).saturating_mul(3);
            let frames = picture.saturating_mul(count).saturating_mul(steps + 1);
            bytes = bytes.saturating_add(frames);
        }
        check_kept(bytes)
    }

    /// What files say of the whole run.
    fn record(&self) -> RunRecord<'_> {
        let card = &self.model.card;
        RunRecord {
            noise: self.noise_file.as_ref().map(|path| path.display().to_string()),
            precision: self.model.precision().noted(),
            ..RunRecord::new(&card.name, self.model.hash(), &self.settings)
        }
    }

    /// The images of every batch, in order.
    fn batches(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let count = self.settings.labels.len();
        let each = if self.together().is_some() { count } else { BATCH };
        let wanted = self.wanted;
        let all = (0..count).step_by(each).map(move |first| first..count.min(first + each));
        // One picture is made again among those that it was made among.
        all.filter(move |images| wanted.is_none_or(|wanted| images.contains(&wanted)))
    }

    fn run(&self) -> Result<Done> {
        let steps = self.settings.times().len().saturating_sub(1);
        let bar = ProgressBar::new((self.batches().count() * steps) as u64);
        bar.set_style(ProgressStyle::with_template(
            "{bar:32} {msg}step {pos}/{len}  {elapsed} gone, {eta} left",
        )?);
        let mut done = Done::default();
        for images in self.batches() {
            if images.len() < self.settings.labels.len() {
                let (first, last) = (images.start + 1, images.end);
                let count = self.settings.labels.len();
                bar.set_message(format!("pictures {first} to {last} of {count}, "));
            }
            self.batch(images, &bar, &mut done)?;
        }
        bar.finish_and_clear();
        Ok(done)
    }

    /// Makes some of the pictures, and writes all that there is to write of them.
    fn batch(&self, images: Range<usize>, bar: &ProgressBar, done: &mut Done) -> Result<()> {
        let noise = self.noise.as_ref().map(|noise| images_of(noise, &images));
        let settings = self.settings.part(images.clone());
        let mut sampler = Sampler::from_image(self.model, settings, images.start, noise)?;
        let mut trajectory = Trajectory::default();
        let mut frames = Vec::new();
        let mut evaluations = 0;
        for step in sampler.by_ref() {
            bar.inc(1);
            super::check_finite(&step, self.model)?;
            evaluations = step.evaluations;
            done.accepted += step.accepted;
            done.rejected += step.rejected;
            if self.args.animate.is_some() {
                frames.push(self.model.decode(&step.prediction));
            }
            if self.args.trajectory.is_some() {
                trajectory.push(step);
            }
        }
        done.evaluations += evaluations;
        let codes = sampler.codes();
        let pictures = self.model.decode_codes(&codes, images.len());
        for (image, picture) in images.zip(&pictures) {
            if self.wanted.is_none_or(|wanted| wanted == image) {
                self.write(image, picture, done)?;
            }
        }
        if let Some(format) = self.args.animate.map(Format::from) {
            frames.push(pictures);
            let bytes = animation::encode(format, &frames, &self.record().to_json()?)?;
            let stem = format!("seed{}", self.settings.seed);
            super::write_beside(&self.args.out, &stem, format.extension(), &bytes)?;
        }
        if let Some(path) = &self.args.trajectory {
            trajectory.write(path, &self.settings, self.record().to_json()?, &codes)?;
        }
        Ok(())
    }

    fn write(&self, image: usize, picture: &RgbImage, done: &mut Done) -> Result<()> {
        let label = self.settings.labels[image];
        let class = self.model.card.class_names.get(label).cloned().unwrap_or_default();
        let stem = format!("{}-seed{}-{image:03}", names::file_name(&class), self.settings.seed);
        let record = RunRecord { class: Some(class), image: Some(image), ..self.record() };
        let bytes = png::encode(picture, &record.to_json()?)?;
        let path = super::write_beside(&self.args.out, &stem, "png", &bytes)?;
        done.pictures += 1;
        done.numbered += usize::from(path.file_stem() != Some(stem.as_ref()));
        Ok(())
    }
}

/// Whether the steps of a run have room in memory, where all are kept until they are written.
pub(super) fn check_kept(bytes: usize) -> Result<()> {
    ensure!(
        bytes <= MOST_KEPT,
        "all steps would take {:.1} GB of memory, of which {} GB are allowed: make fewer pictures or \
         steps",
        bytes as f64 / f64::from(1 << 30),
        MOST_KEPT >> 30
    );
    Ok(())
}

/// The noise of some of the images.
fn images_of(noise: &Latents, images: &Range<usize>) -> Latents {
    let shape = LatentShape { batch: images.len(), ..noise.shape };
    let each = noise.shape.channels * noise.shape.tokens();
    Latents { shape, values: noise.values[images.start * each..images.end * each].to_vec() }
}

/// What an exported picture says of its run.
fn read_record(path: &Path) -> Result<Recorded> {
    let file = BufReader::new(File::open(path)?);
    Ok(Recorded::from_json(&png::read_settings(file)?)?)
}

/// Whether this model made the picture of a record, and can make it again.
fn check_restored(record: &Recorded, model: &Model) -> Result<()> {
    match &record.model_hash {
        Some(hash) if hash == model.hash() => {}
        Some(hash) => bail!(
            "it was made by the model {hash}, this one is {}; name that model's file",
            model.hash()
        ),
        None => bail!("it does not say which model made it"),
    }
    if let Some(t) = record.t {
        bail!("it shows a run at t = {t}, not at its end; the studio restores it");
    }
    record.settings.validate(&Domain::of(&model.card))?;
    Ok(())
}

/// Starting noise, which has to fit the model and the number of pictures.
fn read_noise(path: &Path, model: &Model, pictures: usize) -> Result<Latents> {
    let shape = model.latent_shape(pictures);
    let expected = |error: TensorFileError| {
        anyhow!("{error} (expected a safetensors file with 'noise' f32 {:?})", shape.dims())
    };
    if model.card.objective == Objective::Dfm {
        bail!("{}: {}", path.display(), SampleError::NoNoise);
    }
    // The name may come from a picture: a pipe would be waited for without end.
    ensure!(
        fs::metadata(path).is_ok_and(|known| known.is_file()),
        "{}: there is no such file of starting noise",
        path.display()
    );
    let file = TensorFile::open(path).map_err(expected)?;
    // Looked at first, so that no more is read than can be used.
    if let Some((.., found)) = file.entries().into_iter().find(|(name, ..)| name == "noise")
        && found != shape.dims()
    {
        bail!("{}: the noise is {found:?}, expected {:?}", path.display(), shape.dims());
    }
    let (_, values) = file.floats("noise").map_err(expected)?;
    Ok(Latents { shape, values })
}
