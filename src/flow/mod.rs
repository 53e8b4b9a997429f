//! The method: variational flow matching on vector-quantised latents.
//!
//! Names follow the paper: `t` in `[0, 1]` runs from noise to data, `x` is the state, `mu` the
//! posterior mean of the codebook `E`, `c` the code indices.

pub mod codebooks;
pub mod command;
mod entropy_target;
mod masked;
mod objective;
mod oracle;
mod predictor;
mod record;
mod run_record;
mod sampler;
pub mod settings;
mod solver;
pub mod trajectory;

pub use crate::latents::{LatentShape, Latents};
pub use objective::{
    FlowLoss, code_loss, endpoint_loss, masked_codes, path_point, weighted_code_loss,
    weighted_endpoint_loss,
};
pub use oracle::Oracle;
pub use predictor::{CodePrediction, Constraints, Draw, Prediction, Predictor};
pub use record::{CodeStep, Posterior, StepRecord};
pub use run_record::{RecordError, Recorded, RunRecord};
pub use sampler::{SampleError, Sampler, State, rethink, seeded_noise};
pub use settings::{
    Branch, Domain, Grid, SampleSettings, SettingsError, Solver, Spot, Temperature, Warmth,
};
pub use solver::Field;
