//! Checkpoints: everything that decides how a run goes on, in one file that appears whole.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{fs, io};

use burn::module::Module;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::DiscriminatorConfig;
use super::config::{RunConfig, Task};
use super::optimiser::{self, AdamW};
use super::{TrainError, io_error};
use crate::data::{Augment, Classes};
use crate::io::numbered::{numbered, remove_beyond};
use crate::io::tensors::{METADATA_KEY, Precision, TensorFile, TensorWriter};
use crate::model::Objective;
use crate::model::params::{self, NamedTensor, Naming};
use crate::say::list;

/// Name of the checkpoint in a run's folder.
pub const FILE: &str = "checkpoint.safetensors";

/// Name of the checkpoint of a step, kept besides the newest.
fn file_of(step: usize) -> String {
    format!("checkpoint-{step:07}.safetensors")
}

/// Checkpoints in a run's folder besides the newest, with their steps, the latest first.
fn earlier(folder: &Path) -> Vec<(usize, PathBuf)> {
    let mut found = numbered(folder, "checkpoint-", ".safetensors").unwrap_or_default();
    found.reverse();
    found
}

/// Keeps the checkpoint that is about to be replaced, of so many steps, under their number, and of those before it
/// so many that `keep` remain.
///
/// # Errors
/// Whatever the file system says.
pub fn set_aside(folder: &Path, step: usize, keep: usize) -> io::Result<()> {
    let (newest, kept) = (folder.join(FILE), folder.join(file_of(step)));
    if keep > 0 && newest.exists() && !kept.exists() {
        second(&newest, &kept)?;
    }
    earlier(folder).into_iter().skip(keep).try_for_each(|(_, path)| fs::remove_file(path))
}

/// The same file under another name; a copy, as not every file system has links.
fn second(file: &Path, name: &Path) -> io::Result<()> {
    fs::hard_link(file, name).or_else(|_| fs::copy(file, name).map(|_| ()))
}

/// Removes checkpoints of later steps: of a run that went on from an earlier one.
pub fn forget_after(folder: &Path, step: usize) {
    remove_beyond(earlier(folder), step);
}

/// Entry of an [`Identity`]: the hash of the tokenizer that a flow is trained on.
pub const TOKENIZER: &str = "tokenizer";
/// Entry of an [`Identity`]: the hash of the model that a joint run begins from.
pub const MODEL: &str = "model";
/// Entry of an [`Identity`]: the hash of the model that a flow goes on from.
pub const FROM: &str = "from";
/// Entry of an [`Identity`]: the names of the classes, in order of label.
pub const CLASSES: &str = "classes";

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    /// Steps made.
    step: usize,
    /// The run's [`Identity`] as JSON.
    shape: String,
}

/// What a run must share with the checkpoint that it takes up: the task, its sizes, and what it is
/// trained on, but not the length of the run or how often it reports.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Identity(Map<String, Value>);

impl Identity {
    /// As far as the run file alone decides it.
    ///
    /// # Errors
    /// None that a run file which was read can cause.
    pub fn of(config: &RunConfig) -> Result<Self, TrainError> {
        let (kind, sizes) = match &config.task {
            Task::Tokenizer(task) => ("tokenizer".to_owned(), serde_json::to_value(&task.model)?),
            Task::Flow(task) => {
                // Runs of the first objective had no other to be told from.
                let kind = match task.objective {
                    Objective::Purrception => "flow".to_owned(),
                    other => format!("flow {other}"),
                };
                // Those of a model that it goes on from are known by its hash.
                let sizes = task.backbone.as_ref().map(serde_json::to_value).transpose()?;
                (kind, sizes.unwrap_or_else(|| json!({})))
            }
            // Its sizes are those of the model that it begins from, which has a hash.
            Task::Joint(_) => ("joint".to_owned(), json!({})),
        };
        let known = Self::default().with("kind", json!(kind)).with("sizes", sizes);
        let known = known.with("image_size", json!(config.image_size)).with_pictures(config)?;
        Ok(match &config.task {
            // A flow compares the classes themselves.
            Task::Flow(_) | Task::Joint(_) => known,
            Task::Tokenizer(task) => {
                let known = known.with(CLASSES, json!(kind_of(&config.classes)));
                match &task.discriminator {
                    Some(DiscriminatorConfig { channels, layers, .. }) => {
                        let sizes = json!({ "channels": channels, "layers": layers });
                        known.with("discriminator", sizes)
                    }
                    None => known,
                }
            }
        })
    }

    /// With what decides how the pictures are seen. Variants are of those that a flow keeps.
    fn with_pictures(self, config: &RunConfig) -> Result<Self, TrainError> {
        let mut augment = config.augment;
        augment.variants = match &config.task {
            Task::Flow(_) if augment.is_random() => {
                Some(augment.variants.unwrap_or(Augment::VARIANTS))
            }
            _ => None,
        };
        Ok(self
            .with("optimiser", serde_json::to_value(config.optimiser.kind)?)
            .with("balance", serde_json::to_value(config.balance)?)
            .with("background", serde_json::to_value(config.background)?)
            .with("duplicates", serde_json::to_value(config.duplicates)?)
            .with("augment", serde_json::to_value(augment)?))
    }

    /// With one more entry.
    pub fn with(mut self, name: &str, value: Value) -> Self {
        self.0.insert(name.to_owned(), value);
        self
    }

    /// What `held` has otherwise, in words. Entries that only one of them has are no difference:
    /// earlier versions kept fewer.
    fn differences(&self, held: &Self) -> Vec<String> {
        let both = self.0.iter().filter_map(|(name, ours)| Some((name, held.0.get(name)?, ours)));
        both.filter(|(_, theirs, ours)| theirs != ours)
            .flat_map(|(name, theirs, ours)| match (name.as_str(), theirs, ours) {
                (TOKENIZER, ..) => vec!["task.tokenizer is another tokenizer".to_owned()],
                (FROM, ..) => vec!["task.from is another model".to_owned()],
                (MODEL, ..) => vec!["task.model is another model".to_owned()],
                (CLASSES, Value::Array(theirs), Value::Array(ours)) => {
                    vec![other_classes(theirs, ours)]
                }
                (_, Value::Object(theirs), Value::Object(ours)) => {
                    let names: BTreeSet<_> = theirs.keys().chain(ours.keys()).collect();
                    let pairs =
                        names.into_iter().map(|name| (name, theirs.get(name), ours.get(name)));
                    // Sizes are known by their own names.
                    let of = |inner: &str| match name.as_str() {
                        "augment" | "discriminator" => format!("{name}.{inner}"),
                        _ => inner.to_owned(),
                    };
                    pairs
                        .filter(|(_, theirs, ours)| theirs != ours)
                        .map(|(inner, theirs, ours)| difference(&of(inner), theirs, ours))
                        .collect()
                }
                _ => vec![difference(name, Some(theirs), Some(ours))],
            })
            .collect()
    }
}

/// What decides the classes of pictures; a table may be moved or mended between starts.
fn kind_of(classes: &Classes) -> &'static str {
    match classes {
        Classes::Folders => "folders",
        Classes::None => "none",
        Classes::Table(_) => "a table",
    }
}

fn difference(name: &str, theirs: Option<&Value>, ours: Option<&Value>) -> String {
    let text = |value: Option<&Value>| value.map_or("nothing".to_owned(), Value::to_string);
    format!("{name} is {} in the checkpoint, {} in the run file", text(theirs), text(ours))
}

fn other_classes(theirs: &[Value], ours: &[Value]) -> String {
    let only = |some: &[Value], other: &[Value]| -> Vec<String> {
        let known: BTreeSet<_> = other.iter().filter_map(Value::as_str).collect();
        let names = some.iter().filter_map(Value::as_str);
        names.filter(|name| !known.contains(name)).map(str::to_owned).collect()
    };
    let (gone, new) = (only(theirs, ours), only(ours, theirs));
    let mut parts = Vec::new();
    if !gone.is_empty() {
        parts.push(format!("without {}", list(&gone)));
    }
    if !new.is_empty() {
        parts.push(format!("with {} besides", list(&new)));
    }
    if parts.is_empty() {
        parts.push("in another order".to_owned());
    }
    format!(
        "the checkpoint has {} classes, the pictures have {}, {}",
        theirs.len(),
        ours.len(),
        parts.join(" and ")
    )
}

/// The state of a run, on its way into files.
#[derive(Debug)]
pub struct State {
    step: usize,
    tensors: Vec<NamedTensor>,
}

impl State {
    /// Weights, optimiser and whatever the task keeps besides, after `optimiser.updates()` steps.
    ///
    /// # Errors
    /// A number of it is not finite: nothing can go on from there. Or the device gave back less than
    /// was asked for.
    pub fn read<M: Module>(
        module: &M,
        naming: Naming,
        optimiser: &AdamW,
        extra: Vec<NamedTensor>,
    ) -> Result<Self, TrainError> {
        let mut tensors = params::collect(module, naming);
        tensors.extend(optimiser.state());
        tensors.extend(extra);
        let step = optimiser.updates();
        for NamedTensor { name, shape, values } in &tensors {
            if values.len() != shape.iter().product::<usize>() {
                return Err(TrainError::ReadBack { name: name.clone() });
            }
            if values.iter().any(|value| !value.is_finite()) {
                let what = format!("'{name}' is");
                return Err(TrainError::Diverged { what, step, kept: 0 });
            }
        }
        Ok(Self { step, tensors })
    }

    /// Writes it as the checkpoint of a run.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn save(&self, folder: &Path, identity: &Identity) -> Result<(), TrainError> {
        let mut writer = TensorWriter::default();
        let shape = Value::Object(identity.0.clone()).to_string();
        let header = Header { step: self.step, shape };
        writer.metadata(METADATA_KEY, serde_json::to_string(&header)?);
        for NamedTensor { name, shape, values } in &self.tensors {
            writer.floats(name, shape, values, Precision::F32);
        }
        Ok(writer.write(&folder.join(FILE))?)
    }
}

/// A checkpoint that a run is to go on from.
pub struct Held {
    path: PathBuf,
    /// The whole file.
    pub file: TensorFile,
    step: usize,
    identity: Identity,
}

impl Held {
    /// The newest checkpoint in a run's folder that can be read, if there is one. Where the newest of all cannot be
    /// read, and one before it can, it is moved out of the way and the other takes its place.
    ///
    /// # Errors
    /// All of them are damaged, or something else; what is wrong with the newest.
    pub fn open(folder: &Path) -> Result<Option<Self>, TrainError> {
        let path = folder.join(FILE);
        let newest = match path.exists() {
            true => match Self::read(path.clone()) {
                Err(error) => Some(error),
                held => return held.map(Some),
            },
            false => None,
        };
        for (_, kept) in earlier(folder) {
            let Ok(held) = Self::read(kept.clone()) else { continue };
            let moved = || {
                if newest.is_some() {
                    fs::rename(&path, folder.join("checkpoint.damaged"))?;
                }
                second(&kept, &path)
            };
            moved().map_err(io_error(&path))?;
            if let Some(error) = &newest {
                tracing::warn!(
                    "{error}; the run goes on from the checkpoint of step {}",
                    held.step
                );
            }
            return Self::read(path).map(Some);
        }
        newest.map_or(Ok(None), Err)
    }

    fn read(path: PathBuf) -> Result<Self, TrainError> {
        let file = TensorFile::open(&path)?;
        let text = file.metadata(METADATA_KEY).unwrap_or_default();
        let header = serde_json::from_str::<Header>(text)
            .and_then(|Header { step, shape }| Ok((step, Identity(serde_json::from_str(&shape)?))));
        let Ok((step, identity)) = header else {
            return Err(TrainError::NotACheckpoint { path });
        };
        Ok(Self { path, file, step, identity })
    }

    /// That the run that asks is the one that was left.
    ///
    /// # Errors
    /// It is another one; in what, is said.
    pub fn check(&self, identity: &Identity) -> Result<(), TrainError> {
        let differences = identity.differences(&self.identity);
        if differences.is_empty() {
            return Ok(());
        }
        let differences = differences.join("; ");
        Err(TrainError::OtherRun { path: self.path.clone(), differences })
    }

    /// That it keeps the [averages](AdamW::powers) of all these lengths: one over all steps cannot begin later. Of others
    /// that it keeps nothing is said; they end here.
    ///
    /// # Errors
    /// It lacks some of them; which, and what it has, is said.
    pub fn keeps_averages(&self, lengths: &[f64]) -> Result<(), TrainError> {
        let entries = self.file.entries();
        let kept = optimiser::lengths_in(entries.iter().map(|(name, ..)| name.as_str()));
        let new: Vec<String> =
            lengths.iter().filter(|length| !kept.contains(length)).map(f64::to_string).collect();
        if new.is_empty() {
            return Ok(());
        }
        let differ = difference("optimiser.lengths", Some(&json!(kept)), Some(&json!(lengths)));
        let differences = format!(
            "{differ}, and an average over all steps cannot begin at step {}: leave out {}",
            self.step,
            list(&new)
        );
        Err(TrainError::OtherRun { path: self.path.clone(), differences })
    }

    /// Takes up weights and optimiser where the checkpoint left them.
    ///
    /// # Errors
    /// A tensor is missing or of another shape.
    pub fn load<M: Module>(
        &self,
        module: M,
        naming: Naming,
        optimiser: &mut AdamW,
        device: &Device,
    ) -> Result<M, TrainError> {
        let read = |name: &str, shape: &[usize]| self.file.floats_of_shape(name, shape);
        let module = params::load(module, naming, &device.clone().autodiff(), read)?;
        optimiser.restore(self.step, device, read)?;
        Ok(module)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(hidden: usize, tokenizer: &str, classes: &[&str]) -> Identity {
        Identity::default()
            .with("sizes", json!({ "depth": 1, "hidden_size": hidden }))
            .with("image_size", json!(8))
            .with(TOKENIZER, json!(tokenizer))
            .with(CLASSES, json!(classes))
    }

    #[test]
    fn differences_are_named() {
        let held = identity(16, "aa", &["a", "b"]);
        let said = |other: &Identity| other.differences(&held).join("; ");
        assert_eq!(said(&held), "");
        assert_eq!(
            said(&identity(32, "aa", &["a", "b"])),
            "hidden_size is 16 in the checkpoint, 32 in the run file"
        );
        assert_eq!(said(&identity(16, "bb", &["a", "b"])), "task.tokenizer is another tokenizer");
        assert!(said(&identity(16, "aa", &["a", "c"])).ends_with("without b and with c besides"));
        assert!(said(&identity(16, "aa", &["b", "a"])).ends_with("in another order"));
        assert_eq!(said(&held.clone().with("image_size", json!(16))).matches("16").count(), 1);
    }

    #[test]
    fn checkpoints_that_say_less_are_taken_up() {
        let new = identity(16, "aa", &["a"]);
        let old = Identity::default().with("image_size", json!(8));
        assert!(new.differences(&old).is_empty());
    }
}
