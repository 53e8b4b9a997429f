//! Judging a model: how far pictures lie from real ones, how much of the variety of these they show, and whether
//! they are copies of what the model was trained on.
//!
//! Pictures become features ([`Network`]), rows of a [`Matrix`]; everything else is arithmetic on such rows, one file
//! a figure: [`frechet`], [`kid`], [`sliced`], [`neighbours`], [`vendi`], [`memorisation`]. What is drawn at random
//! for them depends on the seed and on sizes alone ([`draws`]). [`evaluate()`] brings it together.

pub mod draws;
mod efficientnet;
mod encoder;
mod evaluate;
mod export;
pub mod frechet;
mod inception;
pub mod kid;
mod matrix;
pub mod memorisation;
pub mod neighbours;
mod network;
mod pictures;
mod real;
mod report;
mod samples;
mod set;
mod sheet;
pub mod sliced;
pub mod vendi;
mod weights;

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::data::{DataError, PictureError, ShardError};
use crate::flow::SampleError;
use crate::io::tensors::TensorFileError;
use crate::io::torch::TorchError;

pub use efficientnet::EfficientNet;
pub use encoder::Encoder;
pub use evaluate::{Compared, Outcome, Plan, evaluate};
pub use export::export;
pub use inception::Inception;
pub use matrix::Matrix;
pub use network::Network;
pub use pictures::{Found, Pictures};
pub use real::Known;
pub use report::{Figures, NetworkNote, Report, tabulate};
pub use samples::{Samples, labels_like};
pub use sheet::Row;

/// An evaluation that cannot be made.
#[derive(Debug, Error)]
pub enum JudgeError {
    /// A folder of pictures.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Shards of latents.
    #[error(transparent)]
    Shards(#[from] ShardError),
    /// A picture that was sampled before.
    #[error(transparent)]
    Picture(#[from] PictureError),
    /// A file of weights, or of features.
    #[error(transparent)]
    Tensors(#[from] TensorFileError),
    /// A file of weights as PyTorch writes it.
    #[error(transparent)]
    Torch(#[from] TorchError),
    /// Settings that the model cannot sample with.
    #[error(transparent)]
    Sample(#[from] SampleError),
    /// The file system refused.
    #[error("{path}: {source}")]
    Io {
        /// File or folder.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// Weights of something else.
    #[error("{path}: not the weights of {network}: {reason}")]
    NotTheNetwork {
        /// The file.
        path: PathBuf,
        /// The network that was taken for meant.
        network: &'static str,
        /// What is missing or wrong.
        reason: String,
    },
    /// Shards that the model cannot decode.
    #[error("{path}: its {what} {found}, the model's {expected}")]
    OtherShards {
        /// The shards.
        path: PathBuf,
        /// What differs.
        what: &'static str,
        /// What the shards have.
        found: String,
        /// What the model has.
        expected: String,
    },
    /// A set that nothing can be said of.
    #[error("{path}: {} to compare, at least 2 are needed", crate::say::count(*found, "picture"))]
    TooFew {
        /// Where the pictures come from.
        path: PathBuf,
        /// How many can be read.
        found: usize,
    },
    /// A picture in the place of a sample that is none of this run.
    #[error(
        "{path}: not what these settings and this model make: name another folder for the samples"
    )]
    OtherSample {
        /// The picture.
        path: PathBuf,
    },
    /// More pictures than can be computed at once, which have to be.
    #[error(
        "{count} pictures cannot be computed at once, and have to be, since {reason}: at most {most}"
    )]
    Tied {
        /// How many are asked for.
        count: usize,
        /// Why they depend on one another.
        reason: &'static str,
        /// How many can be.
        most: usize,
    },
    /// It was asked to stop.
    #[error("stopped before the pictures were compared")]
    Stopped,
    /// Sampling went beyond the numbers that there are.
    #[error("step {0} gave numbers that are not finite")]
    Diverged(usize),
    /// Features that cannot be compared.
    #[error("{network} gives features that are not finite for a picture of {path}")]
    NotFinite {
        /// The feature network.
        network: &'static str,
        /// Where the picture comes from.
        path: PathBuf,
    },
    /// A picture or a record that cannot be written.
    #[error("{path}: cannot be written: {reason}")]
    Unwritten {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}
