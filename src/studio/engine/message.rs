//! What the window asks of the compute thread, and what that reports.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use image::RgbImage;
use serde::{Deserialize, Serialize};

use super::pictures::Pictures;
use crate::calibrate::{self, Belief};
use crate::flow::{LatentShape, SampleSettings, State, StepRecord};
use crate::model::{ModelCard, Precision};

/// Number of a run, rising within one session of the window.
pub type RunId = u64;

/// Where a model is read from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ModelSource {
    /// The one inside the program.
    Embedded,
    /// A `.safetensors` model file.
    File(PathBuf),
}

impl fmt::Display for ModelSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded => f.write_str("the embedded model"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// What the window has to know about the model.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelInfo {
    /// Its description.
    pub card: ModelCard,
    /// Short hexadecimal digest of its weights.
    pub hash: String,
    /// The device that it computes on, and why that one.
    pub device: String,
    /// The precision that it computes in.
    pub precision: Precision,
    /// Where it was read from.
    pub source: ModelSource,
    /// Its codes in the units of the flow, `[codes, code_size]`.
    pub codebook: Arc<[f32]>,
}

/// What is drawn of one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum View {
    /// The decoded posterior mean `mu`.
    #[default]
    Predicted,
    /// The decoded most likely codes.
    Likeliest,
    /// The decoded state `x`.
    State,
}

/// Names the pictures of one batch: a run, a position on its timeline, a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PictureKey {
    /// The run.
    pub run: RunId,
    /// Number of the step, or the number of steps for the end of the run.
    pub position: usize,
    /// The view.
    pub view: View,
    /// Number of the request whose belief it shows; 0 for the run's own.
    pub ticket: u64,
}

/// What is to be laid over the pictures of a batch, a colour a token.
#[derive(Debug, Clone, PartialEq)]
pub enum Drawing {
    /// Entropies on the ramp of colours.
    Entropy {
        /// In nats, `[batch, height, width]`.
        values: Vec<f32>,
        /// The entropy at the bright end, in nats.
        top: f32,
    },
    /// A mark where codes differ.
    Changes {
        /// `[batch, height, width]`
        before: Vec<u32>,
        /// `[batch, height, width]`
        after: Vec<u32>,
        /// Red, green, blue, opacity.
        mark: [u8; 4],
    },
}

/// What the window asks for.
#[derive(Debug)]
pub enum Command {
    /// Read this model, and drop the run in progress.
    Load(ModelSource),
    /// Begin this run, and drop the one in progress.
    Run {
        /// Its number, chosen by the window.
        run: RunId,
        /// What it is to do.
        settings: SampleSettings,
        /// Where it goes on from, if it is a branch and that is known; the steps before are then not
        /// taken again.
        start: Option<Box<State>>,
        /// Whether the prediction of every step is decoded.
        watched: bool,
    },
    /// Make these pictures while nothing else is asked for; whatever is asked ends it.
    Sketch(Box<SampleSettings>),
    /// Drop the run in progress.
    Stop,
    /// Answer this, between two steps if a run is in progress.
    Ask(Question),
    /// End the thread.
    Shutdown,
}

/// Something that a run can go on after.
#[derive(Debug)]
pub enum Question {
    /// Decode another view of a step.
    Render {
        /// Which pictures.
        key: PictureKey,
        /// The step; for the end of a run, its last step.
        record: Arc<StepRecord>,
    },
    /// Ask the network again about the state of a step, under other settings.
    Rethink {
        /// Number of the request, chosen by the window.
        ticket: u64,
        /// The step.
        record: Arc<StepRecord>,
        /// Temperature, guidance, pins and bans to ask with.
        settings: Box<SampleSettings>,
    },
    /// Decode grids of codes.
    Decode {
        /// Number of the request, chosen by the window.
        ticket: u64,
        /// `[batch, height, width]`
        codes: Vec<u32>,
        /// Pictures.
        batch: usize,
    },
    /// Decode a view of a step into pixels on the host.
    DecodeStep {
        /// Number of the request, chosen by the window.
        ticket: u64,
        /// What to decode.
        view: View,
        /// Place on the timeline; the number of steps for the end of the run.
        position: usize,
        /// The step; for the end of a run, its last step.
        record: Arc<StepRecord>,
    },
    /// Draw an overlay on the window's GPU.
    Overlay {
        /// Number of the request, chosen by the window.
        ticket: u64,
        /// Extent of the batch.
        shape: LatentShape,
        /// What to draw.
        drawing: Drawing,
    },
    /// Turn a picture, scaled to the model's size, into codes.
    Encode {
        /// Number of the request, chosen by the window.
        ticket: u64,
        /// The picture.
        picture: Box<RgbImage>,
    },
    /// What the model believes about a picture at one time.
    Picture {
        /// Number of the request, chosen by the window.
        ticket: u64,
        /// The picture and the time.
        about: Box<PictureQuestion>,
    },
    /// Decode these codes as swatches.
    Swatches(Vec<u32>),
}

/// A picture whose codes are known, and the time at which the model is asked about it.
#[derive(Debug, Clone, PartialEq)]
pub struct PictureQuestion {
    /// `[height, width]`
    pub codes: Vec<u32>,
    /// Its class.
    pub label: usize,
    /// Grid of times, seed of the noise.
    pub question: calibrate::Question,
    /// Place in the grid.
    pub time: usize,
}

/// Kinds of questions of which only the newest is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewestOnly {
    /// Views of steps.
    Render,
    /// What other settings would do.
    Rethink,
    /// Overlays.
    Overlay,
}

impl Question {
    /// What a newer question takes the place of: one with the same key. Those without a key are all
    /// answered.
    pub fn key(&self) -> Option<NewestOnly> {
        match self {
            Self::Render { .. } => Some(NewestOnly::Render),
            Self::Rethink { .. } => Some(NewestOnly::Rethink),
            Self::Overlay { .. } => Some(NewestOnly::Overlay),
            Self::Decode { .. }
            | Self::DecodeStep { .. }
            | Self::Encode { .. }
            | Self::Picture { .. }
            | Self::Swatches(_) => None,
        }
    }

    /// Whether someone waits for the answer, so that it is worth a model that a panic took. The rest is
    /// asked again when it is wanted again.
    pub fn is_awaited(&self) -> bool {
        match self {
            Self::Decode { .. }
            | Self::DecodeStep { .. }
            | Self::Encode { .. }
            | Self::Picture { .. } => true,
            Self::Render { .. }
            | Self::Rethink { .. }
            | Self::Overlay { .. }
            | Self::Swatches(_) => false,
        }
    }
}

/// What the compute thread reports.
#[derive(Debug, Clone)]
pub enum Event {
    /// A model can be used.
    ModelReady(Arc<ModelInfo>),
    /// A model cannot be used, and the one before stays: what is wrong and what to do, in words.
    LoadFailed(String),
    /// Something happened to a run.
    Run(RunId, RunEvent),
    /// What came of a [`Command::Sketch`]; there is one for each.
    Sketched(Sketch),
    /// A question is answered.
    Answered(Answer),
    /// A question cannot be answered: what is wrong and what to do, in words.
    AskFailed(String),
}

impl Event {
    /// Whether something went wrong, so that what was asked before may go unanswered.
    pub fn is_failure(&self) -> bool {
        match self {
            Self::LoadFailed(_) | Self::Run(_, RunEvent::Failed(_)) | Self::AskFailed(_) => true,
            Self::ModelReady(_) | Self::Run(..) | Self::Sketched(_) | Self::Answered(_) => false,
        }
    }
}

/// What came of pictures that were made in passing.
#[derive(Debug, Clone)]
pub enum Sketch {
    /// One a label.
    Made(Pictures),
    /// Something else was asked for.
    Dropped,
    /// What is wrong, in words.
    Failed(String),
}

/// What happens to a run.
#[derive(Debug, Clone)]
pub enum RunEvent {
    /// It has begun.
    Started,
    /// A step was taken.
    Step {
        /// The step.
        record: Arc<StepRecord>,
        /// Its predicted pictures, where the run is watched.
        predicted: Option<Pictures>,
    },
    /// It has reached `t = 1`.
    Finished {
        /// The final codes, `[batch, height, width]`.
        codes: Vec<u32>,
        /// The final codes decoded.
        pictures: Pictures,
        /// Time from the beginning of the run, decoding included.
        wall: Duration,
    },
    /// It was dropped, perhaps before it began.
    Stopped,
    /// It cannot begin or go on: what is wrong and what to do, in words.
    Failed(String),
}

/// The answer to a [`Question`].
#[derive(Debug, Clone)]
pub enum Answer {
    /// To [`Question::Render`].
    Rendered {
        /// Which pictures.
        key: PictureKey,
        /// One an image of the batch.
        pictures: Pictures,
    },
    /// To [`Question::Rethink`].
    Rethought {
        /// Which request.
        ticket: u64,
        /// The step as it would have been, up to its prediction.
        record: Arc<StepRecord>,
        /// The prediction, decoded.
        predicted: Pictures,
    },
    /// To [`Question::Decode`] and to [`Question::DecodeStep`].
    Decoded {
        /// Which request.
        ticket: u64,
        /// One a grid of codes.
        pictures: Pictures,
    },
    /// To [`Question::Overlay`].
    Overlaid {
        /// Which request.
        ticket: u64,
        /// One an image, a pixel a token; nothing where the window's GPU is not shared.
        pictures: Option<Pictures>,
    },
    /// To [`Question::Encode`].
    Encoded {
        /// Which request.
        ticket: u64,
        /// `[height, width]`
        codes: Vec<u32>,
    },
    /// To [`Question::Picture`].
    Believed {
        /// Which request.
        ticket: u64,
        /// What it believes.
        belief: Arc<Belief>,
    },
    /// To [`Question::Swatches`].
    Swatches(Vec<(u32, RgbImage)>),
}
