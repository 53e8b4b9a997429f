//! `purrscope new-run`

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::Args;

use super::{DeviceArg, expect_table, print};
use crate::bench::{Trial, trials};
use crate::data::{ImageFolder, Labels, picture_size};
use crate::io::atomic;
use crate::say::{self, count};
use crate::train::RunConfig;

/// Name of what is written.
const FILE: &str = "run.toml";
/// Sides of pictures that a run can be for, each twice the one before.
const SIZES: [usize; 4] = [32, 64, 128, 256];
/// Tokens a side, whatever the size of the pictures.
const TOKENS: usize = 16;
/// Pictures that the size of a data set is looked at in.
const LOOKED_AT: usize = 200;

/// Writes the run file that trains a model on a folder of pictures.
///
/// The file is commented and made to be changed. Train with `purrscope --train DIR/run.toml`, then open the model
/// with `purrscope DIR`.
#[derive(Debug, Args)]
pub struct NewRunArgs {
    /// Folder for the run: its run file, checkpoints, samples and the model
    folder: PathBuf,
    /// Folder of pictures: sub-folders are classes; without any, all pictures are of one
    #[arg(long, value_name = "FOLDER")]
    images: PathBuf,
    /// Table of the pictures' classes (.csv or .tsv), instead of sub-folders: a column of files and one of classes
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Side of the pictures in pixels: 32, 64, 128 or 256 (default: 64, or what the pictures have if that is less)
    #[arg(long, value_name = "N")]
    size: Option<usize>,
    #[command(flatten)]
    device: DeviceArg,
}

/// Looks at the pictures, writes the run file, and says how long the run will take.
pub fn run(args: &NewRunArgs) -> Result<()> {
    let path = args.folder.join(FILE);
    ensure!(!path.exists(), "{} is already there: choose another folder", path.display());
    if let Some(size) = args.size
        && !SIZES.contains(&size)
    {
        bail!("--size is 32, 64, 128 or 256, not {size}");
    }
    let data = Pictures::look(&args.images, args.labels.as_deref(), args.size)?;
    let selected = args.device.open_examined()?;
    let plan = Plan::of(&data, selected.handles.is_some());
    let text = plan.text(&data)?;
    atomic::prepare_folder(&args.folder)
        .with_context(|| format!("cannot make {}", args.folder.display()))?;
    atomic::write(&path, text.as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))?;
    let stages = RunConfig::read_stages(&path).context("the run file that was just written")?;
    say::note("trying both stages out for some seconds");
    let mut told = format!("{}: {}\n", path.display(), data.words());
    let mut seconds = 0.0;
    let tried = trials(&stages, data.classes.len(), &selected).map_err(|reason| {
        anyhow!("{reason} ({} is written: make its batches or networks smaller)", path.display())
    })?;
    for (stage, Trial { name, step_seconds, memory }) in stages.iter().zip(tried) {
        let takes = step_seconds * stage.steps as f64;
        seconds += takes;
        writeln!(
            told,
            "  {name}: {} of {}, {} at {:.1} pictures a second{}",
            count(stage.steps, "step"),
            count(stage.batch, "picture"),
            duration(takes),
            stage.batch as f64 / step_seconds,
            memory.map_or_else(String::new, |bytes| format!(", {:.1} GB of memory", bytes / 1e9)),
        )?;
    }
    let shown = path.display();
    write!(
        told,
        "about {} on this device, without pauses; it can be stopped (Ctrl-C) and continued (--resume)\n\
         train: purrscope --train {shown}\nopen:  purrscope {}\n",
        duration(seconds),
        args.folder.display(),
    )?;
    print(&told)
}

/// A time as a person would say it.
fn duration(seconds: f64) -> String {
    match seconds {
        ..90.0 => format!("{seconds:.0} seconds"),
        ..5_400.0 => format!("{:.0} minutes", seconds / 60.0),
        ..172_800.0 => format!("{:.1} hours", seconds / 3_600.0),
        _ => format!("{:.1} days", seconds / 86_400.0),
    }
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
    fn look(folder: &Path, table: Option<&Path>, size: Option<usize>) -> Result<Self> {
        let probe = SIZES[0];
        let (images, sorted) = match table {
            Some(table) => {
                expect_table(table)?;
                (ImageFolder::open_labelled(folder, probe, &Labels::read(table)?)?, false)
            }
            None => ImageFolder::open_sorted_or_not(folder, probe)?,
        };
        images.tell();
        let absolute =
            |path: &Path| fs::canonicalize(path).with_context(|| path.display().to_string());
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
            bail!("{}: none of the pictures that were looked at can be read", folder.display());
        };
        let fitting = SIZES.into_iter().take(2).rfind(|size| *size <= typical);
        let size = size.or(fitting).unwrap_or(SIZES[0]);
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
    fn entries(&self) -> Result<(String, &'static str)> {
        let number = self.classes.len();
        let classes = match (&self.table, self.sorted) {
            (Some(table), _) => {
                let table = table.to_str().context("the table's name is not text")?;
                let table = toml::Value::String(table.to_owned());
                format!("{table}\t# which has {} for these pictures", say::count(number, "class"))
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

    fn words(&self) -> String {
        let Self { number, classes, size, typical, .. } = self;
        format!(
            "{} in {}, mostly {typical} pixels and more, trained on at {size}x{size}",
            count(*number, "picture"),
            count(classes.len(), "class"),
        )
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
            flow_steps: seen(200, 128_000, 512_000) / flow_batch,
            rates: [1.5e-3, if gpu { 4e-4 } else { 1e-3 }],
        }
    }

    /// The run file.
    fn text(&self, data: &Pictures) -> Result<String> {
        let Self { codes, channels, multipliers, groups, hidden_size, depth, heads, .. } = self;
        let Self { tokenizer_batch, tokenizer_steps, flow_batch, flow_steps, rates, .. } = self;
        let folder = data.folder.to_str().context("the folder's name is not text")?;
        let folder = toml::Value::String(folder.to_owned());
        let name = toml::Value::String(data.name());
        let (classes, balance) = data.entries()?;
        let size = data.size;
        let factor = size / TOKENS;
        let every = |steps: &usize| (steps / 20).clamp(20, 500);
        Ok(aligned(&format!(
            r#"# A model of {pictures}: first a tokenizer, which turns pictures into {TOKENS}x{TOKENS} codes and
# back, then a flow, which learns to make such codes.
#
#   purrscope --train run.toml            trains both, one after the other
#   purrscope --train run.toml --resume   continues after a stop
#   purrscope FOLDER                      opens the model, FOLDER being the one that this file is in
#
# What stands here holds for both stages.
data = {folder}
classes = {classes}
{balance}background = "white"	# what shows through where a picture is transparent: white, black or #rrggbb
holdout_share = 0.05	# pictures that are kept aside, to judge by
image_size = {size}	# side in pixels; a multiple of {factor}
seed = 1	# of everything random: the same seed gives the same model on the CPU

[augment]	# chance variations, where pictures are few: none of these to begin with
flip = false	# half of them in a mirror: not where left and right mean something
crop = 1.0	# 0.9: squares of 90 to 100 % of the side, from a random place
colour = 0.0	# 0.1: brightness, contrast and saturation up to 10 % up or down

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

[[stage]]
batch = {flow_batch}
steps = {flow_steps}
checkpoint_every = {flow_checkpoint}
sample_every = {flow_sample}
# evaluate_every = {flow_sample}	# compares samples with the pictures held out, which takes a while

[stage.optimiser]
learning_rate = {flow_rate:e}
betas = [0.9, 0.99]
weight_decay = 0.01
warmup_steps = 100
decay_share = 0.4
ema = 0.998	# the model is a moving average of the weights, over about 1 / (1 - ema) steps

[stage.task]
kind = "flow"
name = {name}
credits = ""	# who made the pictures: kept in the model file
precision = "f16"	# how the model file stores its numbers

[stage.task.backbone]
patch_size = 2	# codes a side that are predicted together; 1 is finer, and four times the work
hidden_size = {hidden_size}	# a multiple of num_heads
depth = {depth}
num_heads = {heads}

[stage.task.samples]	# of the sheets
steps = 24
temperature = 0.9
guidance = 2.0
"#,
            pictures = count(data.number, "picture"),
            tokenizer_times = (tokenizer_steps * tokenizer_batch) as f64 / data.number as f64,
            tokenizer_checkpoint = every(tokenizer_steps),
            tokenizer_sample = every(tokenizer_steps) * 4,
            tokenizer_rate = rates[0],
            flow_checkpoint = every(flow_steps),
            flow_sample = every(flow_steps) * 4,
            flow_rate = rates[1],
        )))
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
        for number in [1, 500, 5_000, 1_000_000] {
            for size in SIZES {
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

    #[test]
    fn times_are_said_as_people_say_them() {
        for (seconds, said) in
            [(30.0, "30 seconds"), (600.0, "10 minutes"), (9_000.0, "2.5 hours"), (4e5, "4.6 days")]
        {
            assert_eq!(duration(seconds), said);
        }
    }
}
