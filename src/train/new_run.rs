//! A run file made of a folder of pictures: sizes and lengths that suit them, each entry with a comment.

use std::path::{Path, PathBuf};
use std::{fs, io};

use thiserror::Error;

use super::config::{ConfigError, RunConfig};
use crate::data::{DataError, ImageFolder, Labels, is_table, picture_size};
use crate::io::atomic;
use crate::io::tensors::{TensorFile, TensorFileError};
use crate::model::card::ModelCard;
use crate::model::{ModelError, file_of, read_card};
use crate::say::count;

/// Name of what is written.
const FILE: &str = "run.toml";
/// Tokens a side, whatever the size of the pictures.
const TOKENS: usize = 16;
/// Pictures that the size of a data set is looked at in.
const LOOKED_AT: usize = 200;

/// What a run is to be made of.
#[derive(Debug, Clone)]
pub struct NewRun {
    /// Folder for the run: its run file, checkpoints, samples and the model.
    pub folder: PathBuf,
    /// Folder of pictures: sub-folders are classes; without any, all pictures are of one.
    pub images: PathBuf,
    /// Table of the pictures' classes, instead of sub-folders.
    pub labels: Option<PathBuf>,
    /// A trained model to go on from: its tokenizer stays, its flow learns these pictures.
    pub from: Option<PathBuf>,
    /// Side of the pictures in pixels, one of [`NewRun::SIZES`]; by default 64, or what the pictures have if that is less,
    /// or that of the model.
    pub size: Option<usize>,
}

/// A run file that was written.
#[derive(Debug)]
pub struct Prepared {
    /// The run file.
    pub file: PathBuf,
    /// What it says.
    pub stages: Vec<RunConfig>,
    /// Number of classes of the pictures.
    pub classes: usize,
    /// What was found, in words.
    pub words: String,
}

/// A run file that cannot be made.
#[derive(Debug, Error)]
pub enum NewRunError {
    /// Something of a file or folder does not fit.
    #[error("{path}: {reason}")]
    Unfit {
        /// The file or folder.
        path: PathBuf,
        /// What, in words.
        reason: String,
    },
    /// There is a run file already.
    #[error("{0} is already there: choose another folder")]
    AlreadyThere(PathBuf),
    /// A size that no run is for.
    #[error("--size is 32, 64, 128 or 256, not {0}")]
    Size(usize),
    /// A file or folder that cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// The pictures.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The model's file.
    #[error(transparent)]
    File(#[from] TensorFileError),
    /// The model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The run file itself.
    #[error("the run file that was just written: {0}")]
    Config(#[from] ConfigError),
}

impl NewRunError {
    fn of(path: &Path, reason: String) -> Self {
        Self::Unfit { path: path.to_owned(), reason }
    }

    fn io(path: &Path) -> impl Fn(io::Error) -> Self + '_ {
        |source| Self::Io { path: path.to_owned(), source }
    }
}

impl NewRun {
    /// Sides of pictures that a run can be for, each twice the one before.
    pub const SIZES: [usize; 4] = [32, 64, 128, 256];

    /// Looks at the pictures, and at the model where there is one.
    ///
    /// # Errors
    /// There is a run file already, or pictures or model cannot be read.
    pub fn look(&self) -> Result<Looked, NewRunError> {
        let file = self.folder.join(FILE);
        if file.exists() {
            return Err(NewRunError::AlreadyThere(file));
        }
        if let Some(size) = self.size.filter(|size| !Self::SIZES.contains(size)) {
            return Err(NewRunError::Size(size));
        }
        let begun = self.from.as_deref().map(Begun::open).transpose()?;
        let size = self.size.or(begun.as_ref().map(|begun| begun.card.image_size()));
        let data = Pictures::look(&self.images, self.labels.as_deref(), size)?;
        Ok(Looked { file, begun, data })
    }
}

/// What a run file can be made of.
pub struct Looked {
    file: PathBuf,
    begun: Option<Begun>,
    data: Pictures,
}

impl Looked {
    /// Writes the run file, for a device that is a GPU or is not.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(self, gpu: bool) -> Result<Prepared, NewRunError> {
        let Self { file, begun, data } = self;
        let plan = Plan::of(&data, gpu);
        let text = match &begun {
            Some(begun) => plan.text_from(begun, &data)?,
            None => plan.text(&data)?,
        };
        let folder = atomic::folder_of(&file);
        atomic::prepare_folder(folder).map_err(NewRunError::io(folder))?;
        atomic::write(&file, text.as_bytes()).map_err(NewRunError::io(&file))?;
        let stages = RunConfig::read_stages(&file)?;
        Ok(Prepared { file, stages, classes: data.classes.len(), words: data.words() })
    }
}

/// A path from the root of the file system.
fn absolute(path: &Path) -> Result<PathBuf, NewRunError> {
    fs::canonicalize(path).map_err(NewRunError::io(path))
}

/// A path as a run file has it.
fn quoted(path: &Path) -> Result<String, NewRunError> {
    let text = path.to_str();
    let text = text.ok_or_else(|| NewRunError::of(path, "its name is not text".to_owned()))?;
    Ok(toml::Value::String(text.to_owned()).to_string())
}

/// A text with the comments behind its entries, each after a tab, in one column.
fn aligned(text: &str) -> String {
    let line = |line: &str| match line.split_once('\t') {
        Some((entry, comment)) => format!("{entry:<27} {comment}\n"),
        None => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

/// What there is to train on.
struct Pictures {
    /// The folder, from the root of the file system.
    folder: PathBuf,
    number: usize,
    classes: Vec<String>,
    /// Whether sub-folders are classes.
    sorted: bool,
    /// The table that says what the classes are, from the root of the file system.
    table: Option<PathBuf>,
    /// Side that the run is for.
    size: usize,
    /// The side that half of the pictures have at least, on their shorter side.
    typical: usize,
}

impl Pictures {
    fn look(folder: &Path, table: Option<&Path>, size: Option<usize>) -> Result<Self, NewRunError> {
        let probe = NewRun::SIZES[0];
        let (images, sorted) = match table {
            Some(table) => {
                if !is_table(table) {
                    let reason = "expected a table whose name ends in .csv or .tsv".to_owned();
                    return Err(NewRunError::of(table, reason));
                }
                (ImageFolder::open_labelled(folder, probe, &Labels::read(table)?)?, false)
            }
            None => ImageFolder::open_sorted_or_not(folder, probe)?,
        };
        images.tell();
        let table = table.map(absolute).transpose()?;
        let number = images.len();
        let spread = number.div_ceil(LOOKED_AT);
        let folder = absolute(folder)?;
        let looked_at = images.files().step_by(spread);
        let sides = looked_at.filter_map(|(path, _)| picture_size(&folder.join(path)));
        let mut sides: Vec<usize> =
            sides.map(|(width, height)| width.min(height) as usize).collect();
        sides.sort_unstable();
        let Some(typical) = sides.get(sides.len() / 2).copied() else {
            let reason = "none of the pictures that were looked at can be read".to_owned();
            return Err(NewRunError::of(&folder, reason));
        };
        let fitting = NewRun::SIZES.into_iter().take(2).rfind(|size| *size <= typical);
        let size = size.or(fitting).unwrap_or(NewRun::SIZES[0]);
        let classes = images.class_names().to_vec();
        Ok(Self { folder, number, classes, sorted, table, size, typical })
    }

    /// The folder's name or, where that says no more than that it is a part of a data set, its parent's.
    fn name(&self) -> String {
        let says_something = |folder: &&Path| {
            let name = folder.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
            !["train", "training", "images", "pictures", "data"].contains(&name.as_str())
        };
        let named = self.folder.ancestors().find(says_something).unwrap_or(&self.folder);
        named.file_name().map_or("mine".into(), |name| name.to_string_lossy()).into_owned()
    }

    /// What `classes` is in the run file, and the line of `balance`, each with its comment.
    fn entries(&self) -> Result<(String, &'static str), NewRunError> {
        let number = self.classes.len();
        let classes = match (&self.table, self.sorted) {
            (Some(table), _) => {
                format!(
                    "{}\t# which has {} for these pictures",
                    quoted(table)?,
                    count(number, "class")
                )
            }
            (None, true) => format!("\"folders\"\t# each sub-folder is one, {number} in all"),
            (None, false) => {
                "\"none\"\t# \"folders\" where each sub-folder is one; or a table, \"labels.csv\""
                    .to_owned()
            }
        };
        // Between classes only.
        let balance = match number {
            1 => "",
            _ => {
                "balance = \"as-is\"\t# \"even\": rare classes as often as others; \"square-root\": in between\n"
            }
        };
        Ok((classes, balance))
    }

    /// What holds for all stages; the pictures' side is a multiple of `factor`.
    fn common(&self, factor: usize) -> Result<String, NewRunError> {
        let folder = quoted(&self.folder)?;
        let (classes, balance) = self.entries()?;
        Ok(format!(
            r#"data = {folder}
classes = {classes}
{balance}background = "white"	# what shows through where a picture is transparent: white, black or #rrggbb
holdout_share = 0.05	# pictures that are kept aside, to judge by
image_size = {size}	# side in pixels; a multiple of {factor}
seed = 1	# of everything random: the same seed gives the same model on the CPU

[augment]	# chance variations, where pictures are few: none of these to begin with
flip = false	# half of them in a mirror: not where left and right mean something
crop = 1.0	# 0.9: squares of 90 to 100 % of the side, from a random place
colour = 0.0	# 0.1: brightness, contrast and saturation up to 10 % up or down
"#,
            size = self.size,
        ))
    }

    fn words(&self) -> String {
        let Self { number, classes, size, typical, .. } = self;
        format!(
            "{} in {}, mostly {typical} pixels and more, trained on at {size}x{size}",
            count(*number, "picture"),
            count(classes.len(), "class"),
        )
    }
}

/// A trained model that a run goes on from.
struct Begun {
    /// As an entry of the run file, from the root of the file system.
    path: String,
    card: ModelCard,
}

impl Begun {
    fn open(path: &Path) -> Result<Self, NewRunError> {
        let file = file_of(path);
        let card = read_card(&TensorFile::open(&file)?)?;
        Ok(Self { path: quoted(&absolute(&file)?)?, card })
    }
}

/// Sizes of the networks and lengths of the stages.
struct Plan {
    codes: usize,
    channels: usize,
    multipliers: Vec<usize>,
    groups: usize,
    hidden_size: usize,
    depth: usize,
    heads: usize,
    tokenizer_batch: usize,
    tokenizer_steps: usize,
    flow_batch: usize,
    flow_steps: usize,
    rates: [f64; 2],
}

impl Plan {
    /// As large as the pictures are worth and the device can bear. Few pictures are seen more often, up to
    /// where they would only be learned by heart.
    fn of(data: &Pictures, gpu: bool) -> Self {
        let levels = (data.size / TOKENS).ilog2() as usize;
        let multipliers = (0..=levels).map(|level| 1 << level.min(2)).collect();
        let codes = match data.number {
            ..1_000 => 256,
            1_000..10_000 => 512,
            _ => 1024,
        };
        let (channels, hidden_size, depth, heads) =
            if gpu { (64, 384, 12, 6) } else { (24, 192, 8, 6) };
        let (tokenizer_batch, flow_batch) = if data.size > 64 { (16, 64) } else { (32, 64) };
        let seen = |times: usize, least: usize, most: usize| {
            (times * data.number).clamp(least, if gpu { 10 * most } else { most })
        };
        Self {
            codes,
            channels,
            multipliers,
            groups: 8,
            hidden_size,
            depth,
            heads,
            tokenizer_batch,
            tokenizer_steps: seen(60, 48_000, 160_000) / tokenizer_batch,
            flow_batch,
            flow_steps: seen(100, 48_000, 512_000) / flow_batch,
            rates: [1.5e-3, if gpu { 4e-4 } else { 1e-3 }],
        }
    }

    /// The run file of a tokenizer and a flow.
    fn text(&self, data: &Pictures) -> Result<String, NewRunError> {
        let Self { codes, channels, multipliers, groups, hidden_size, depth, heads, .. } = self;
        let Self { tokenizer_batch, tokenizer_steps, rates, .. } = self;
        let every = |steps: &usize| (steps / 20).clamp(20, 500);
        let backbone = format!(
            r#"
[stage.task.backbone]
patch_size = 2	# codes a side that are predicted together; 1 is finer, and four times the work
hidden_size = {hidden_size}	# a multiple of num_heads
depth = {depth}
num_heads = {heads}
"#
        );
        Ok(aligned(&format!(
            r#"# A model of {pictures}: first a tokenizer, which turns pictures into {TOKENS}x{TOKENS} codes and
# back, then a flow, which learns to make such codes.
#
#   purrscope --train run.toml            trains both, one after the other
#   purrscope --train run.toml --resume   continues after a stop
#   purrscope FOLDER                      opens the model, FOLDER being the one that this file is in
#
# What stands here holds for both stages.
{common}
[[stage]]
batch = {tokenizer_batch}	# pictures a step: fewer take less memory
steps = {tokenizer_steps}	# each picture is seen {tokenizer_times:.0} times; more make pictures sharper
checkpoint_every = {tokenizer_checkpoint}	# what is lost at most when the machine is switched off
sample_every = {tokenizer_sample}	# sheets of pictures beside their copies, in tokenizer/

[stage.optimiser]
learning_rate = {tokenizer_rate:e}	# lower it where the loss jumps
weight_decay = 0.0
warmup_steps = 50
decay_share = 0.4	# of the steps, at their end, over which the rate falls to 0

[stage.task]
kind = "tokenizer"
revive_every = 40	# steps after which codes that nothing uses are moved to where they are needed

[stage.task.model]
channels = {channels}	# width at full size: the first thing to raise where copies are soft
multipliers = {multipliers:?}	# of that width, at each halving of the size
residual_blocks = 1
attention = false
groups = {groups}
latent_channels = 64
code_size = 8	# numbers of a code
codes = {codes}	# words of the picture language
l2_normalised = true

{flow}"#,
            common = data.common(data.size / TOKENS)?,
            flow = self.flow(data, self.flow_steps, rates[1], "", &backbone),
            pictures = count(data.number, "picture"),
            tokenizer_times = (tokenizer_steps * tokenizer_batch) as f64 / data.number as f64,
            tokenizer_checkpoint = every(tokenizer_steps),
            tokenizer_sample = every(tokenizer_steps) * 4,
            tokenizer_rate = rates[0],
        )))
    }

    /// The run file of a flow that goes on from a model: a quarter of the steps, at half of the rate.
    fn text_from(&self, begun: &Begun, data: &Pictures) -> Result<String, NewRunError> {
        let Begun { path, card } = begun;
        let from = format!(
            "from = {path}	# keeps its tokenizer, and of its classes those that have the same names here\n\
             objective = \"{}\"	# that of the model\n",
            card.objective
        );
        Ok(aligned(&format!(
            r#"# The flow of {name}, which learns to make {pictures}. The codes that it makes stay the same.
#
#   purrscope --train run.toml            trains it
#   purrscope --train run.toml --resume   continues after a stop
#   purrscope FOLDER                      opens the model, FOLDER being the one that this file is in

{common}
{flow}"#,
            name = card.name,
            pictures = count(data.number, "picture"),
            common = data.common(card.tokenizer.downsampling())?,
            flow = self.flow(data, (self.flow_steps / 4).max(1), self.rates[1] / 2.0, &from, ""),
        )))
    }

    /// The stage of the flow.
    fn flow(&self, data: &Pictures, steps: usize, rate: f64, from: &str, backbone: &str) -> String {
        let every = (steps / 20).clamp(20, 500);
        format!(
            r#"[[stage]]
batch = {batch}
steps = {steps}
checkpoint_every = {every}
sample_every = {sample}
# evaluate_every = {sample}	# compares samples with the pictures held out, which takes a while

[stage.optimiser]
learning_rate = {rate:e}
betas = [0.9, 0.99]
weight_decay = 0.01
warmup_steps = 100
decay_share = 0.4
ema = 0.998	# the model is a moving average of the weights, over about 1 / (1 - ema) steps

[stage.task]
kind = "flow"
{from}name = {name}
credits = ""	# who made the pictures: kept in the model file
precision = "f16"	# how the model file stores its numbers
{backbone}
[stage.task.samples]	# of the sheets
steps = 24
temperature = 0.9
guidance = 2.0
"#,
            batch = self.flow_batch,
            sample = every * 4,
            name = toml::Value::String(data.name()),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pictures(number: usize, size: usize, sorted: bool) -> Pictures {
        let classes = vec!["a cat".to_owned(), "b".to_owned()];
        let folder = PathBuf::from("/pictures \"of\" mine");
        Pictures { folder, number, classes, sorted, table: None, size, typical: size }
    }

    #[test]
    fn whatever_the_pictures_the_run_file_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/cats-and-dogs.safetensors");
        let begun = Begun::open(&model).unwrap();
        for number in [1, 500, 5_000, 1_000_000] {
            for size in NewRun::SIZES {
                for gpu in [false, true] {
                    let mut data = pictures(number, size, gpu);
                    data.table = (number == 500).then(|| PathBuf::from("/a \"table\".csv"));
                    let plan = Plan::of(&data, gpu);
                    fs::write(&path, plan.text(&data).unwrap()).unwrap();
                    let stages = RunConfig::read_stages(&path).unwrap();
                    assert_eq!(stages.len(), 2);
                    assert_eq!(
                        (stages[0].data.as_path(), stages[0].image_size),
                        (data.folder.as_path(), size)
                    );
                    assert_eq!(stages[1].out, folder.path());
                    fs::write(&path, plan.text_from(&begun, &data).unwrap()).unwrap();
                    let gone_on = RunConfig::read_stages(&path).unwrap();
                    assert_eq!((gone_on.len(), &gone_on[0].out), (1, &stages[1].out));
                    assert!(gone_on[0].steps * 4 <= stages[1].steps);
                }
            }
        }
    }

    #[test]
    fn a_model_is_named_after_the_folder_that_says_most() {
        for (folder, name) in [
            ("/a/cats/train", "cats"),
            ("/a/my cats", "my cats"),
            ("/a/pictures", "a"),
            ("/", "mine"),
        ] {
            let data = Pictures { folder: folder.into(), ..pictures(1, 64, true) };
            assert_eq!(data.name(), name, "{folder}");
        }
    }
}
