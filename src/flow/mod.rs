//! The method: variational flow matching on vector-quantised latents.
//!
//! Names follow the paper: `t` in `[0, 1]` runs from noise to data, `x` is the state, `mu` the
//! posterior mean of the codebook `E`, `c` the code indices.

mod objective;
mod oracle;
mod predictor;
mod record;
mod run_record;
mod sampler;
mod settings;
mod solver;
pub mod trajectory;

pub use objective::{PurrceptionLoss, path_point, purrception_loss};
pub use oracle::Oracle;
pub use predictor::Predictor;
pub use record::{LatentShape, Latents, Posterior, StepRecord};
pub use run_record::RunRecord;
pub use sampler::{SampleError, Sampler, seeded_noise};
pub use settings::{
    Grid, SampleSettings, SettingsError, Solver, Temperature, guidance_evaluations,
};
