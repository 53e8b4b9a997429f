//! Checkpoints: everything that decides how a run goes on, in one file that appears whole.

use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::TrainError;
use super::optimiser::AdamW;
use crate::io::tensors::{METADATA_KEY, Precision, TensorFile, TensorWriter};
use crate::model::params::{self, NamedTensor, Naming};

/// Name of the checkpoint in a run's folder.
pub const FILE: &str = "checkpoint.safetensors";

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    /// Steps made.
    step: usize,
    /// What is trained, and its shape, as JSON: a run goes on only with what it began with.
    shape: String,
}

/// Writes the checkpoint of a run after `optimiser.updates()` steps.
///
/// # Errors
/// Whatever the file system says.
pub fn save<M: Module>(
    folder: &Path,
    shape: &str,
    module: &M,
    naming: Naming,
    optimiser: &AdamW,
    extra: &[NamedTensor],
) -> Result<(), TrainError> {
    let mut writer = TensorWriter::default();
    let header = Header { step: optimiser.updates(), shape: shape.to_owned() };
    writer.metadata(METADATA_KEY, serde_json::to_string(&header)?);
    let weights = params::collect(module, naming);
    for NamedTensor { name, shape, values } in weights.iter().chain(&optimiser.state()).chain(extra)
    {
        writer.floats(name, shape, values, Precision::F32);
    }
    Ok(writer.write(&folder.join(FILE))?)
}

/// Takes up a run where its checkpoint left it.
///
/// # Errors
/// There is no whole checkpoint, or it is of another shape.
pub fn load<M: Module>(
    folder: &Path,
    shape: &str,
    module: M,
    naming: Naming,
    optimiser: &mut AdamW,
    device: &Device,
) -> Result<(M, TensorFile), TrainError> {
    let path: PathBuf = folder.join(FILE);
    let file = TensorFile::open(&path)?;
    let header: Header = serde_json::from_str(file.metadata(METADATA_KEY).unwrap_or_default())?;
    if header.shape != shape {
        return Err(TrainError::OtherRun { path });
    }
    let autodiff = device.clone().autodiff();
    let module =
        params::load(module, naming, &autodiff, |name, shape| file.floats_of_shape(name, shape))?;
    optimiser.restore(header.step, device, |name, shape| file.floats_of_shape(name, shape))?;
    Ok((module, file))
}
