//! Training: one loop for both tasks, that can be stopped and resumed at any step.

mod answer;
mod checkpoint;
mod config;
mod discriminator;
mod entries;
mod events;
mod examples;
mod flow;
mod held_out;
mod joint;
mod judging;
mod memory;
mod metrics;
mod muon;
mod new_run;
mod optimiser;
mod origin;
mod overrides;
mod perceptual;
mod powers;
mod report;
mod runfile;
mod scale;
mod session;
mod stages;
mod times;
mod tokenizer;

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};
use image::RgbImage;
use thiserror::Error;

use self::checkpoint::{Held, Identity};
use self::metrics::Line;
use self::scale::LossScale;
use self::session::Session;
use crate::data::{DataError, ShardError};
use crate::flow::{SampleError, SettingsError};
use crate::io::atomic;
use crate::io::tensors::{TensorFile, TensorFileError};
use crate::judge::JudgeError;
use crate::model::ModelError;
use crate::model::params::{NamedTensor, Naming};
use crate::room::Room;
pub use config::{
    ConfigError, FlowTask, JointTask, OptimiserConfig, RunConfig, Task, TokenizerLosses,
    TokenizerTask,
};
pub use discriminator::DiscriminatorConfig;
pub use judging::EvaluationConfig;
pub use new_run::{Looked, NewRun, NewRunError, Prepared};
pub use optimiser::{AdamW, StepReport};
pub use origin::Origin;
pub(crate) use origin::Start;
pub use overrides::Override;
pub use perceptual::{Perceptual, PerceptualConfig};
pub use powers::{AverageError, Averaged, averaged};
pub use stages::run_stages;
pub use times::{TimeSampling, TimeWeights};
pub(crate) use tokenizer::tokenizer_loss;

/// A run that cannot begin or go on.
#[derive(Debug, Error)]
pub enum TrainError {
    /// The run file.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The pictures.
    #[error(transparent)]
    Data(DataError),
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
    /// A header that could not be put into JSON.
    #[error("unexpected JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// Sizes that do not fit each other.
    #[error("{0}")]
    Sizes(String),
    /// Samples that could not be compared with held-out pictures.
    #[error(transparent)]
    Judge(#[from] JudgeError),
    /// More than the machine has.
    #[error("{0}")]
    Memory(String),
    /// Half precision on a device that has none.
    #[error(
        "task.mixed_precision needs a GPU whose shaders have 16-bit floats (`purrscope devices` tells): \
         leave it out, or train on another device"
    )]
    NoHalf,
    /// Settings of the sample sheets that the model has no use for.
    #[error("task.samples: {0}")]
    Samples(#[from] SettingsError),
    /// A file that is not a tokenizer where one is needed.
    #[error("{entry}: {reason}")]
    NotATokenizer {
        /// The entry that names it.
        entry: &'static str,
        /// What is wrong, with the file.
        reason: String,
    },
    /// A file that is not a checkpoint where one is expected.
    #[error("{path}: not the checkpoint of a run")]
    NotACheckpoint {
        /// The file.
        path: PathBuf,
    },
    /// The folder holds another run.
    #[error(
        "{path}: belongs to another run: {differences} (choose another `out`, or train without --resume after moving it away)"
    )]
    OtherRun {
        /// The checkpoint.
        path: PathBuf,
        /// In what the runs differ.
        differences: String,
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
    #[error("stopped while pictures were being read, before the first step")]
    Interrupted,
    /// A number of the run is not finite any more.
    #[error("{what} not finite at step {step}; {}", advice(*.kept))]
    Diverged {
        /// What it is, with its verb.
        what: String,
        /// The step, from 0.
        step: usize,
        /// Steps of the state in the checkpoint, 0 if there is none.
        kept: usize,
    },
    /// A device that gave back other than what was asked for.
    #[error("the device gave back only a part of '{name}'; the last checkpoint stays as it is")]
    ReadBack {
        /// What was read.
        name: String,
    },
}

impl From<DataError> for TrainError {
    fn from(error: DataError) -> Self {
        match error {
            DataError::Interrupted => Self::Interrupted,
            error => Self::Data(error),
        }
    }
}

impl TrainError {
    /// Whether the run itself cannot go on, rather than something outside of it, such as a disk.
    fn is_of_the_run(&self) -> bool {
        matches!(self, Self::Diverged { .. } | Self::ReadBack { .. })
    }

    /// The same, said where the state of `saved` steps is in the checkpoint.
    fn keeping(self, saved: usize) -> Self {
        match self {
            Self::Diverged { what, step, .. } => Self::Diverged { what, step, kept: saved },
            other => other,
        }
    }
}

/// What to do about a run that has diverged.
fn advice(kept: usize) -> String {
    match kept {
        0 => "nothing was saved yet: begin again with a lower learning rate".to_owned(),
        kept => format!(
            "the checkpoint of step {kept} is kept: lower the learning rate and go on from it with --resume"
        ),
    }
}

/// A run's progress, for its observer.
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
    /// Codes that the step chose, `[n]`, if the task [counts](Trainee::count) them.
    codes: Option<Tensor<1, Int>>,
    /// What every picture's loss is, `[pictures]`, if the task [notes](Trainee::note) it.
    each: Option<Tensor<1>>,
}

impl Loss {
    /// Without what its gradient is taken from, times `weight`; untouched where that is 1.
    fn weighed(self, weight: f64) -> Self {
        let weigh = |tensor: Tensor<1>| match tensor.inner() {
            tensor if weight == 1.0 => tensor,
            tensor => tensor * weight,
        };
        let terms = self.terms.into_iter().map(|(name, term)| (name, weigh(term))).collect();
        Self { total: weigh(self.total), terms, codes: self.codes, each: self.each }
    }

    /// The sum of two parts' losses, and the codes and pictures of both.
    fn plus(self, other: Self) -> Self {
        let pairs = self.terms.into_iter().zip(other.terms);
        let codes = [self.codes, other.codes].into_iter().flatten().collect::<Vec<_>>();
        let each = [self.each, other.each].into_iter().flatten().collect::<Vec<_>>();
        Self {
            total: self.total + other.total,
            terms: pairs.map(|((name, a), (_, b))| (name, a + b)).collect(),
            codes: (!codes.is_empty()).then(|| Tensor::cat(codes, 0)),
            each: (!each.is_empty()).then(|| Tensor::cat(each, 0)),
        }
    }
}

/// What a run looks like at one moment.
pub(crate) struct Evaluation {
    /// Pictures to look at.
    sheet: RgbImage,
    /// Figures on held-out pictures.
    figures: Line,
}

/// What is particular to a task; the loop is common.
pub(crate) trait Trainee {
    /// What is trained.
    type Net: Module;

    /// Names of its parameters in files.
    const NAMING: Naming;

    /// Name of the product's file, without what it ends in.
    const PRODUCT: &'static str;

    /// What a run must share with a checkpoint to go on from it.
    fn identity(&self) -> &Identity;

    /// Loss of a part of the batch of step `step`, from 0, as a function of the step alone. It is a mean
    /// over the part's pictures, and that of the whole batch their mean.
    fn loss(
        &mut self,
        net: &Self::Net,
        step: usize,
        part: Range<usize>,
    ) -> Result<Loss, TrainError>;

    /// Takes note of the codes that the step in hand chose.
    fn count(&mut self, _codes: &[i64]) {}

    /// Takes note of every picture's loss in the step in hand.
    fn note(&mut self, _losses: &[f32]) {}

    /// What the loss is multiplied by before the gradient is taken, where it has to be.
    fn loss_scale(&mut self) -> Option<&mut LossScale> {
        None
    }

    /// Anything to be done after the weights have moved.
    fn after_step(&mut self, net: Self::Net, _step: usize) -> Self::Net {
        net
    }

    /// State of the task beyond weights and optimiser.
    fn extra(&self) -> Vec<NamedTensor> {
        Vec::new()
    }

    /// Weights besides those of the network, which only [`Trainee::after_step`] moves: read when they are saved.
    fn weights_besides(&self) -> Vec<NamedTensor> {
        Vec::new()
    }

    /// Takes back what [`Trainee::extra`] and [`Trainee::weights_besides`] gave.
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

    /// How samples compare with held-out pictures, where the run file asks for it; nothing if `stop` is asked for before
    /// that is known.
    fn judge(
        &mut self,
        _net: &Self::Net,
        _averages: &AdamW,
        _stop: &AtomicBool,
    ) -> Result<Line, TrainError> {
        Ok(Line::new())
    }

    /// How good figures on held-out pictures are: the more the better.
    fn merit(figures: &BTreeMap<String, f64>) -> Option<f64>;

    /// Writes the finished product as it stands into a file.
    fn export(&mut self, net: &Self::Net, optimiser: &AdamW, file: &Path)
    -> Result<(), TrainError>;
}

/// Trains as the run file says, or goes on where its checkpoint left off.
///
/// `stop` ends the run after the step in hand, with a checkpoint; while pictures are being read, where a run without
/// one ends with an error. `watch` hears of all progress.
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
    atomic::clear_leftovers(&config.out);
    let held = Held::open(&config.out);
    let held = match resume {
        true => held?,
        // Whatever lies there is not to be overwritten.
        false if !matches!(held, Ok(None)) => {
            return Err(TrainError::AlreadyThere { path: config.out.join(checkpoint::FILE) });
        }
        false => None,
    };
    let identity = Identity::of(config)?;
    match &held {
        Some(held) => {
            held.check(&identity)?;
            held.keeps_averages(&config.optimiser.lengths)?;
        }
        None if resume => {
            tracing::info!(
                "{}: no checkpoint yet, the run starts from the beginning",
                config.out.display()
            );
        }
        None => {}
    }
    let goes_on = held.is_some();
    let session = Session { config, device, stop, room: Room::default() };
    let ended = match begin(&session, identity, held, watch) {
        // What was made before lies in the checkpoint, and its product beside it.
        Err(TrainError::Interrupted) if goes_on => {
            return Ok((Ending::Stopped, product_of(config)));
        }
        ended => ended?,
    };
    // Not worth a run that has gone well.
    match report::write(config, ended.0, &ended.1) {
        Ok(path) => tracing::info!("{}: what became of the run", path.display()),
        Err(error) => tracing::warn!("no report is written: {error}"),
    }
    Ok(ended)
}

/// Prepares what a task trains, and trains it.
fn begin(
    session: &Session,
    identity: Identity,
    held: Option<Held>,
    watch: &mut dyn FnMut(&Progress),
) -> Result<(Ending, PathBuf), TrainError> {
    let Session { config, device, stop, .. } = *session;
    match &config.task {
        Task::Tokenizer(task) => {
            let (trainee, net) = tokenizer::Training::new(config, task, device, identity, stop)?;
            session.train(trainee, net, held, watch)
        }
        Task::Flow(task) => {
            let beginning = flow::Beginning { config, task, device, stop, held: held.as_ref() };
            let (trainee, net) = beginning.training(identity, watch)?;
            session.train(trainee, net, held, watch)
        }
        Task::Joint(task) => {
            let (trainee, net) =
                joint::Training::new(config, task, device, identity, stop, held.as_ref())?;
            session.train(trainee, net, held, watch)
        }
    }
}

/// Where the product of a run lies once there is one.
fn product_of(config: &RunConfig) -> PathBuf {
    let name = match config.task {
        Task::Tokenizer(_) => tokenizer::Training::PRODUCT,
        Task::Flow(_) => flow::Training::PRODUCT,
        Task::Joint(_) => joint::Training::PRODUCT,
    };
    config.out.join(format!("{name}.safetensors"))
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

/// Name and version of this program.
pub(crate) fn program() -> String {
    format!("purrscope {}", env!("CARGO_PKG_VERSION"))
}

/// Whether work for a device is done by the processor, in the memory of the machine.
fn is_cpu(device: &Device) -> bool {
    device.clone().without_autodiff() == Device::flex()
}

pub(crate) fn io_error(path: &Path) -> impl Fn(std::io::Error) -> TrainError + '_ {
    |source| TrainError::Io { path: path.to_owned(), source }
}
