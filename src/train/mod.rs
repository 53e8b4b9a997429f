//! Training: one loop for both tasks, that can be stopped and resumed at any step.

mod checkpoint;
mod config;
mod examples;
mod flow;
mod metrics;
mod optimiser;
mod tokenizer;

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use image::RgbImage;
use serde_json::{Map, Value, json};
use thiserror::Error;

use crate::data::{DataError, ShardError};
use crate::flow::SampleError;
use crate::io::tensors::{TensorFile, TensorFileError};
use crate::io::{atomic, png};
use crate::model::params::{NamedTensor, Naming};
use crate::model::{ModelError, Objective};
pub use config::{ConfigError, FlowTask, OptimiserConfig, RunConfig, Task, TokenizerTask};
pub use optimiser::{AdamW, StepReport};

/// A run that cannot begin or go on.
#[derive(Debug, Error)]
pub enum TrainError {
    /// The run file.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The pictures.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Shards of latents.
    #[error(transparent)]
    Shards(#[from] ShardError),
    /// A tensor file.
    #[error(transparent)]
    File(#[from] TensorFileError),
    /// A model or tokenizer file.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Sampling for a sheet.
    #[error(transparent)]
    Sample(#[from] SampleError),
    /// A file of the run's folder.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the file system said.
        source: std::io::Error,
    },
    /// A header or a line of metrics that is not the JSON expected.
    #[error("unexpected JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// Sizes that do not fit each other.
    #[error("{0}")]
    Sizes(String),
    /// The folder holds another run.
    #[error(
        "{path}: belongs to a run of another shape (choose another `out`, or train without --resume after moving it away)"
    )]
    OtherRun {
        /// The checkpoint.
        path: PathBuf,
    },
    /// A new run would overwrite an old one.
    #[error("{path}: a run is already there (continue it with --resume, or choose another `out`)")]
    AlreadyThere {
        /// The checkpoint.
        path: PathBuf,
    },
    /// Another process trains in the same folder.
    #[error("{path}: another process is training there")]
    Busy {
        /// The run's folder.
        path: PathBuf,
    },
    /// It was asked to stop before it had begun.
    #[error("stopped while pictures were being turned into codes, before the first step")]
    Interrupted,
    /// The loss is not a number any more.
    #[error(
        "the loss is not finite at step {step}: lower the learning rate, or resume from the last checkpoint with another seed"
    )]
    Diverged {
        /// The step, from 0.
        step: usize,
    },
}

/// A run's progress, for whoever watches.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// Pictures are being turned into codes, once, before the first step.
    Encoding {
        /// Pictures done.
        done: usize,
        /// Pictures in the folder.
        pictures: usize,
    },
    /// A step was made.
    Step {
        /// Steps made.
        step: usize,
        /// Steps of the whole run.
        steps: usize,
        /// Loss of this step.
        loss: f64,
        /// Pictures a second, lately.
        images_per_second: f64,
    },
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// All steps were made.
    Finished,
    /// It was asked to stop, and saved itself.
    Stopped,
}

/// The loss of a step and the terms it is made of, each of shape `[1]`.
pub(crate) struct Loss {
    total: Tensor<1>,
    terms: Vec<(&'static str, Tensor<1>)>,
}

/// What a run looks like at one moment.
pub(crate) struct Evaluation {
    /// Pictures to look at.
    sheet: RgbImage,
    /// Figures on held-out pictures.
    figures: Vec<(&'static str, f64)>,
}

/// What is particular to a task; the loop is common.
pub(crate) trait Trainee {
    /// What is trained.
    type Net: Module;

    /// Names of its parameters in files.
    const NAMING: Naming;

    /// Loss of step `step`, from 0, as a function of the step alone.
    fn loss(&mut self, net: &Self::Net, step: usize) -> Result<Loss, TrainError>;

    /// Anything to be done after the weights have moved.
    fn after_step(&mut self, net: Self::Net, _step: usize) -> Self::Net {
        net
    }

    /// State of the task beyond weights and optimiser.
    fn extra(&self) -> Vec<NamedTensor> {
        Vec::new()
    }

    /// Takes back what [`Trainee::extra`] gave.
    fn restore_extra(&mut self, _file: &TensorFile) -> Result<(), TrainError> {
        Ok(())
    }

    /// A sheet to look at, and figures on held-out pictures; nothing if `stop` is asked for before
    /// they are there.
    fn evaluate(
        &mut self,
        net: &Self::Net,
        averages: &AdamW,
        stop: &AtomicBool,
    ) -> Result<Option<Evaluation>, TrainError>;

    /// Writes the finished product as it stands.
    fn export(&mut self, net: &Self::Net, optimiser: &AdamW) -> Result<PathBuf, TrainError>;
}

/// Trains as the run file says, or goes on where its checkpoint left off.
///
/// `stop` ends the run after the step in hand, with a checkpoint, or with an error before the first
/// step. `watch` hears of all progress.
///
/// # Errors
/// Anything from a bad run file to a full disk; the last checkpoint stays as it is.
pub fn run(
    config: &RunConfig,
    resume: bool,
    device: &Device,
    stop: &AtomicBool,
    watch: &mut dyn FnMut(&Progress),
) -> Result<(Ending, PathBuf), TrainError> {
    atomic::prepare_folder(&config.out).map_err(io_error(&config.out))?;
    let _lock = lock(&config.out)?;
    let held = config.out.join(checkpoint::FILE);
    if !resume && held.exists() {
        return Err(TrainError::AlreadyThere { path: held });
    }
    match &config.task {
        Task::Tokenizer(task) => {
            let (trainee, net) = tokenizer::Training::new(config, task, device)?;
            train(config, trainee, net, resume, device, stop, watch)
        }
        Task::Flow(task) => {
            let (trainee, net) = flow::Training::new(config, task, device, stop, watch)?;
            train(config, trainee, net, resume, device, stop, watch)
        }
    }
}

/// Keeps other processes from training in the same folder until it is dropped.
fn lock(folder: &Path) -> Result<File, TrainError> {
    let path = folder.join("lock");
    let file = File::create(&path).map_err(io_error(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(TrainError::Busy { path: folder.to_owned() }),
        Err(TryLockError::Error(source)) => Err(io_error(&path)(source)),
    }
}

fn train<T: Trainee>(
    config: &RunConfig,
    mut trainee: T,
    mut net: T::Net,
    resume: bool,
    device: &Device,
    stop: &AtomicBool,
    watch: &mut dyn FnMut(&Progress),
) -> Result<(Ending, PathBuf), TrainError> {
    let shape = run_shape(config)?;
    let mut optimiser = AdamW::new(&net, T::NAMING, config.optimiser.clone());
    if resume && config.out.join(checkpoint::FILE).exists() {
        let (loaded, file) =
            checkpoint::load(&config.out, &shape, net, T::NAMING, &mut optimiser, device)?;
        net = loaded;
        trainee.restore_extra(&file)?;
    }
    let mut metrics = metrics::Log::open(&config.out.join("metrics.jsonl"), optimiser.updates())?;
    let mut pace = Pace::default();
    let mut saved = optimiser.updates();
    while optimiser.updates() < config.steps && !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let step = optimiser.updates();
        let Loss { total, terms } = trainee.loss(&net, step)?;
        let loss = f64::from(total.clone().inner().into_scalar::<f32>());
        if !loss.is_finite() {
            return Err(TrainError::Diverged { step });
        }
        let learning_rate = config.optimiser.learning_rate_at(step, config.steps);
        let (moved, report) = optimiser.step(net, total.backward(), learning_rate);
        net = trainee.after_step(moved, step);

        let images_per_second = pace.after(config.batch, begun.elapsed());
        let mut line = Map::new();
        line.insert("step".into(), json!(step));
        line.insert("loss".into(), json!(loss));
        for (name, term) in terms {
            line.insert(name.into(), json!(term.inner().into_scalar::<f32>()));
        }
        line.insert("gradient_norm".into(), json!(report.gradient_norm));
        line.insert("learning_rate".into(), json!(learning_rate));
        line.insert("images_per_second".into(), json!(images_per_second));
        let made = step + 1;
        if (made.is_multiple_of(config.sample_every) || made == config.steps)
            && let Some(Evaluation { sheet, figures }) = trainee.evaluate(&net, &optimiser, stop)?
        {
            line.extend(figures.into_iter().map(|(name, figure)| (name.to_owned(), json!(figure))));
            write_sheet(&config.out.join(format!("sample-{made:07}.png")), &sheet)?;
        }
        metrics.write(&Value::Object(line))?;
        if made.is_multiple_of(config.checkpoint_every) || made == config.steps {
            metrics.sync()?;
            checkpoint::save(&config.out, &shape, &net, T::NAMING, &optimiser, &trainee.extra())?;
            trainee.export(&net, &optimiser)?;
            saved = made;
        }
        watch(&Progress::Step { step: made, steps: config.steps, loss, images_per_second });
    }
    if saved != optimiser.updates() {
        metrics.sync()?;
        checkpoint::save(&config.out, &shape, &net, T::NAMING, &optimiser, &trainee.extra())?;
    }
    let product = trainee.export(&net, &optimiser)?;
    let finished = optimiser.updates() >= config.steps;
    Ok((if finished { Ending::Finished } else { Ending::Stopped }, product))
}

/// What a checkpoint must agree on with the run that takes it up: the task and its sizes, but not
/// the length of the run or how often it reports.
fn run_shape(config: &RunConfig) -> Result<String, TrainError> {
    let (kind, sizes) = match &config.task {
        Task::Tokenizer(task) => ("tokenizer".to_owned(), serde_json::to_value(&task.model)?),
        Task::Flow(task) => {
            // Runs of the first objective had no other to be told from.
            let kind = match task.objective {
                Objective::Purrception => "flow".to_owned(),
                other => format!("flow {other}"),
            };
            (kind, serde_json::to_value(&task.backbone)?)
        }
    };
    Ok(json!({ "kind": kind, "sizes": sizes, "image_size": config.image_size }).to_string())
}

/// Pictures a second, as a moving average.
#[derive(Default)]
struct Pace(Option<f64>);

impl Pace {
    fn after(&mut self, images: usize, wall: Duration) -> f64 {
        let now = images as f64 / wall.as_secs_f64().max(1e-9);
        let pace = self.0.map_or(now, |before| 0.9 * before + 0.1 * now);
        self.0 = Some(pace);
        pace
    }
}

/// Name and version of this program.
pub(crate) fn program() -> String {
    format!("purrscope {}", env!("CARGO_PKG_VERSION"))
}

fn write_sheet(path: &Path, sheet: &RgbImage) -> Result<(), TrainError> {
    let bytes =
        png::encode(sheet, "{}").map_err(|error| io_error(path)(std::io::Error::other(error)))?;
    atomic::write(path, &bytes).map_err(io_error(path))
}

pub(crate) fn io_error(path: &Path) -> impl Fn(std::io::Error) -> TrainError + '_ {
    |source| TrainError::Io { path: path.to_owned(), source }
}
