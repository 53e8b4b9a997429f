//! Reading a run file, and checking all of it before the first step.

use std::fs::File;
use std::io::Read;
use std::ops::RangeInclusive;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;
use toml::de::DeTable;

use super::config::{
    BackboneSizes, ConfigError, FlowTask, JointTask, OptimiserConfig, OptimiserKind, RunConfig,
    SheetSettings, Task, TokenizerTask,
};
use super::origin::Origin;
use super::overrides::Override;
use super::{EvaluationConfig, entries, powers, stages};
use crate::data::{Augment, Balance, Classes, MOST_CLASSES};
use crate::flow::{Domain, SampleSettings};
use crate::model::{Objective, check_tokenizer};

/// Most bytes of a run file; a thousand times what one takes.
const MOST_BYTES: u64 = 1 << 20;
/// Most pictures a step.
pub const MOST_BATCH: usize = 1 << 16;
/// Longest side of the pictures, in pixels.
pub const LARGEST_IMAGE: usize = 1 << 13;
/// Most blocks, of a backbone or at one resolution of a tokenizer.
pub const MOST_BLOCKS: usize = 1 << 10;
/// Most checkpoints that are kept besides the newest.
const MOST_KEPT: usize = 1000;
/// Most variants of a picture that are kept as codes.
const MOST_VARIANTS: usize = 64;

impl RunConfig {
    /// Reads and checks a run file of a single stage.
    ///
    /// # Errors
    /// The file cannot be read, parsed, holds an entry that nothing reads, or one outside its range, or it has
    /// several stages.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let mut stages = Self::read_stages(path)?;
        match (stages.pop(), stages.len()) {
            (Some(config), 0) => Ok(config),
            (_, others) => {
                let reason = format!("expected a single run, it has {} stages", others + 1);
                Err(ConfigError::Invalid { path: path.to_owned(), reason })
            }
        }
    }

    /// Reads and checks a run file, and gives its stages in their order, at least one.
    ///
    /// # Errors
    /// As for [`RunConfig::read`], or the stages do not fit each other.
    pub fn read_stages(path: &Path) -> Result<Vec<Self>, ConfigError> {
        Self::read_stages_with(path, &[])
    }

    /// As [`RunConfig::read_stages`], with some entries changed.
    ///
    /// # Errors
    /// As for [`RunConfig::read_stages`], or an override means nothing; the error names it.
    pub fn read_stages_with(path: &Path, overrides: &[Override]) -> Result<Vec<Self>, ConfigError> {
        let io_error = |source| ConfigError::Io { path: path.to_owned(), source };
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(io_error)?;
        file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(io_error)?;
        let text = text_of(&bytes)
            .map_err(|found| ConfigError::NotText { path: path.to_owned(), found })?;
        let beside = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let beside = beside.unwrap_or_else(|| Path::new("."));
        let stages = Self::parse(text, beside, overrides).map_err(|(at, reason)| {
            let given = at.checked_sub(text.len() + 1).and_then(|i| overrides.get(i));
            if let Some(given) = given {
                return ConfigError::Override { given: given.to_string(), reason };
            }
            let before = &text.as_bytes()[..at.min(text.len())];
            let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
            ConfigError::Toml { path: path.to_owned(), line, reason }
        })?;
        let invalid = |reason| ConfigError::Invalid { path: path.to_owned(), reason };
        for (i, stage) in stages.iter().enumerate() {
            stage.check().map_err(|reason| match stages.len() {
                1 => invalid(reason),
                _ => invalid(format!("stage {}: {reason}", i + 1)),
            })?;
        }
        stages::check(&stages).map_err(invalid)?;
        Ok(stages)
    }

    /// The stages of a text that lies in the folder `beside`; an error is where it stands, and what it is.
    fn parse(
        text: &str,
        beside: &Path,
        overrides: &[Override],
    ) -> Result<Vec<Self>, (usize, String)> {
        let fault = |error: toml::de::Error| {
            let at = error.span().map_or(0, |span| span.start);
            let said = error.message().chars();
            (at, said.map(|c| if c.is_control() { ' ' } else { c }).collect())
        };
        let root = DeTable::parse(text).map_err(fault)?;
        let span = root.span();
        let tables = stages::tables(root.into_inner(), beside, overrides, text.len() + 1)?;
        let stage = |table: DeTable<'_>| {
            if let Some((span, said)) = entries::unknown(&table) {
                return Err((span.start, said));
            }
            let table = Spanned::new(span.clone(), table);
            Self::deserialize(toml::Deserializer::from(table)).map_err(fault)
        };
        tables.into_iter().map(stage).collect()
    }

    fn check(&self) -> Result<(), String> {
        counts([
            ("image_size", self.image_size, 1..=LARGEST_IMAGE),
            ("batch", self.batch, 1..=MOST_BATCH),
            ("steps", self.steps, 1..=usize::MAX),
            ("checkpoint_every", self.checkpoint_every, 1..=usize::MAX),
            ("sample_every", self.sample_every, 1..=usize::MAX),
            ("keep_checkpoints", self.keep_checkpoints, 0..=MOST_KEPT),
        ])?;
        let each = [
            ("keep_models_every", self.keep_models_every),
            ("evaluate_every", self.evaluate_every),
        ];
        for (name, every) in each.into_iter().filter_map(|(name, every)| Some((name, every?))) {
            counts([(name, every, 1..=usize::MAX)])?;
        }
        if let Some(at_once) = self.at_once {
            counts([("at_once", at_once, 1..=self.batch)])?;
        }
        if self.steps.checked_mul(self.batch).is_none() {
            return Err(format!("steps times batch must be at most {}", usize::MAX));
        }
        if self.out.as_os_str().is_empty() || self.data.as_os_str().is_empty() {
            return Err("out and data must each name a folder".to_owned());
        }
        ranges([("holdout_share", self.holdout_share, 0.0..=0.5)])?;
        if self.holdout.is_some() && self.holdout_share > 0.0 {
            return Err("holdout and holdout_share are two ways of saying the same".to_owned());
        }
        if self.evaluate_every.is_some() && self.holdout.is_none() && self.holdout_share == 0.0 {
            return Err(
                "evaluate_every compares samples with held-out pictures: name some by holdout or \
                        holdout_share"
                    .to_owned(),
            );
        }
        self.check_pictures()?;
        let OptimiserConfig {
            learning_rate,
            betas,
            epsilon,
            weight_decay,
            clip,
            decay_share,
            ema,
            ref lengths,
            ..
        } = self.optimiser;
        ranges([
            ("learning_rate", learning_rate, 0.0..=10.0),
            ("betas", betas.0, 0.0..=0.999_999),
            ("betas", betas.1, 0.0..=0.999_999),
            ("epsilon", epsilon, 1e-30..=1.0),
            ("weight_decay", weight_decay, 0.0..=10.0),
            ("clip", clip, 1e-9..=1e9),
            ("decay_share", decay_share, 0.0..=1.0),
            ("ema", ema, 0.0..=1.0),
        ])?;
        counts([("the number of lengths", lengths.len(), 0..=powers::MOST)])?;
        for (i, length) in lengths.iter().enumerate() {
            ranges([("lengths", *length, powers::SHORTEST..=powers::LONGEST)])?;
            if lengths[..i].contains(length) {
                return Err(format!("lengths names {length} twice"));
            }
        }
        match &self.task {
            Task::Tokenizer(_) if self.optimiser.kind == OptimiserKind::Muon => {
                Err("optimiser.kind = \"muon\" is for flows: a tokenizer has no blocks of matrices"
                    .to_owned())
            }
            Task::Tokenizer(_) if self.evaluate_every.is_some() => {
                Err("evaluate_every is for flows: a tokenizer makes no samples".to_owned())
            }
            Task::Tokenizer(task) => self.check_tokenizer(task),
            Task::Flow(task) => check_flow(task),
            Task::Joint(task) => check_joint(task),
        }
    }

    /// What is done with the pictures.
    fn check_pictures(&self) -> Result<(), String> {
        let Augment { crop, colour, variants, .. } = self.augment;
        ranges([("augment.crop", crop, 0.1..=1.0), ("augment.colour", colour, 0.0..=1.0)])?;
        if let Some(variants) = variants {
            counts([("augment.variants", variants, 1..=MOST_VARIANTS)])?;
            if !self.augment.is_random() {
                let reason = "augment.variants is for augment.crop below 1 and augment.colour above 0: \
                              without them there is one, and what a mirror shows of it";
                return Err(reason.to_owned());
            }
        }
        if self.classes == Classes::None && self.balance != Balance::AsIs {
            return Err("balance is between classes, and classes is \"none\"".to_owned());
        }
        Ok(())
    }

    /// What else judges a tokenizer's copies.
    fn check_critics(&self, task: &TokenizerTask) -> Result<(), String> {
        let size = self.image_size;
        if let Some(perceptual) = &task.perceptual {
            ranges([("task.perceptual.weight", perceptual.weight, 0.0..=1e6)])?;
            if !size.is_multiple_of(2) {
                return Err(format!("task.perceptual is for an even image_size, not {size}"));
            }
        }
        if let Some(discriminator) = &task.discriminator {
            ranges([("task.discriminator.weight", discriminator.weight, 0.0..=1e6)])?;
            counts([
                ("task.discriminator.channels", discriminator.channels, 1..=1 << 12),
                ("task.discriminator.layers", discriminator.layers, 1..=8),
            ])?;
            let smallest = discriminator.smallest_side();
            if size < smallest {
                return Err(format!(
                    "a discriminator of {} layers is for an image_size from {smallest}, not {size}",
                    discriminator.layers
                ));
            }
        }
        Ok(())
    }

    fn check_tokenizer(&self, task: &TokenizerTask) -> Result<(), String> {
        let model = &task.model;
        for (name, weight) in task.losses().weights() {
            ranges([(&*format!("task.{name}"), weight, 0.0..=1e6)])?;
        }
        counts([
            ("task.model.codes", model.codes, 1..=usize::MAX),
            ("task.model.residual_blocks", model.residual_blocks, 0..=MOST_BLOCKS),
        ])?;
        if task.decoder_only && task.from.is_none() {
            return Err(
                "task.decoder_only is for a tokenizer that begins with a finished one: name it by \
                        task.from"
                    .to_owned(),
            );
        }
        self.check_critics(task)?;
        check_tokenizer(model).map_err(|reason| format!("task.model: {reason}"))?;
        if !self.image_size.is_multiple_of(model.downsampling()) {
            return Err(format!(
                "image_size {} is not a multiple of the down-sampling {}",
                self.image_size,
                model.downsampling()
            ));
        }
        Ok(())
    }
}

fn check_flow(task: &FlowTask) -> Result<(), String> {
    check_path(task.label_dropout, task.lambda_z, task.smallest_time)?;
    if let Origin::Chance { sizes, .. } = task.origin()? {
        let BackboneSizes { patch_size, hidden_size, depth, num_heads } = *sizes;
        counts([
            ("task.backbone.patch_size", patch_size, 1..=usize::MAX),
            ("task.backbone.hidden_size", hidden_size, 1..=usize::MAX),
            ("task.backbone.depth", depth, 0..=MOST_BLOCKS),
            ("task.backbone.num_heads", num_heads, 1..=usize::MAX),
        ])?;
    }
    counts([("the number of task.class_names", task.class_names.len(), 0..=MOST_CLASSES)])?;
    check_samples(task.objective, &task.samples, &task.evaluation)
}

fn check_joint(task: &JointTask) -> Result<(), String> {
    check_path(task.label_dropout, task.lambda_z, task.smallest_time)?;
    ranges([
        ("task.flow_gradient", task.flow_gradient, 0.0..=1.0),
        ("task.tokenizer_weight", task.tokenizer_weight, 0.0..=1e6),
    ])?;
    for (name, weight) in task.losses.weights() {
        ranges([(&*format!("task.losses.{name}"), weight, 0.0..=1e6)])?;
    }
    check_samples(Objective::default(), &task.samples, &task.evaluation)
}

/// What a flow's loss is taken with.
fn check_path(label_dropout: f64, lambda_z: f64, smallest_time: f64) -> Result<(), String> {
    ranges([
        ("task.label_dropout", label_dropout, 0.0..=1.0),
        ("task.lambda_z", lambda_z, 0.0..=1e6),
        ("task.smallest_time", smallest_time, 0.0..=0.999_999),
    ])
}

/// How samples are made and judged. Whatever the tokenizer and the pictures will be, the sheets are checked against one
/// class.
fn check_samples(
    objective: Objective,
    samples: &SheetSettings,
    evaluation: &EvaluationConfig,
) -> Result<(), String> {
    counts([
        ("task.evaluation.pictures", evaluation.pictures, 2..=SampleSettings::MAX_PICTURES),
        ("the number of task.evaluation.features", evaluation.features.len(), 1..=16),
    ])?;
    let domain = Domain { objective, classes: 1, codes: 1, height: 1, width: 1 };
    let sheet = samples.of(vec![0], 0).validate(&domain);
    sheet.map_err(|error| format!("task.samples: {error}"))
}

/// The text of a file: UTF-8, with or without the mark that some editors put in front.
fn text_of(bytes: &[u8]) -> Result<&str, &'static str> {
    if bytes.len() as u64 > MOST_BYTES {
        return Err("a file of more than a megabyte");
    }
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err("UTF-16 text");
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "not UTF-8 text")?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.contains('\0') { Err("not text") } else { Ok(text) }
}

/// That every count is in its range.
fn counts<const N: usize>(counts: [(&str, usize, RangeInclusive<usize>); N]) -> Result<(), String> {
    let Some((name, value, range)) =
        counts.into_iter().find(|(_, value, range)| !range.contains(value))
    else {
        return Ok(());
    };
    if value < *range.start() {
        return Err(format!("{name} must be at least {}", range.start()));
    }
    Err(format!("{name} must be at most {}, not {value}", range.end()))
}

/// That every number is in its range.
fn ranges<const N: usize>(numbers: [(&str, f64, RangeInclusive<f64>); N]) -> Result<(), String> {
    let outside = numbers.into_iter().find(|(_, value, range)| !range.contains(value));
    outside.map_or(Ok(()), |(name, value, range)| {
        Err(format!("{name} must be from {} to {}, not {value}", range.start(), range.end()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<RunConfig, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        RunConfig::read(file.path()).map_err(|error| error.to_string())
    }

    const FLOW: &str = include_str!("../../assets/recipe/flow.toml");
    const TOKENIZER: &str = include_str!("../../assets/recipe/tokenizer.toml");

    #[test]
    fn texts_of_all_editors_are_read_and_others_named() {
        assert!(read(&[b"\xef\xbb\xbf", FLOW.as_bytes()].concat()).is_ok(), "a mark in front");
        assert!(read(FLOW.replace('\n', "\r\n").as_bytes()).is_ok(), "line ends of Windows");
        let wide: Vec<u8> = FLOW.encode_utf16().flat_map(u16::to_le_bytes).collect();
        for (bytes, expected) in [
            ([b"\xff\xfe", wide.as_slice()].concat(), "UTF-16 text, expected a run file"),
            (wide, "not text, expected"),
            (b"out = \"\xe9\"".to_vec(), "not UTF-8 text, expected"),
            (vec![b'#'; 1 << 21], "more than a megabyte, expected"),
        ] {
            let said = read(&bytes).unwrap_err();
            assert!(said.contains(expected), "{said}");
        }
    }

    #[test]
    fn the_line_of_an_unknown_entry_is_named() {
        let said = read(FLOW.replace("\nname = ", "\nnmae = ").as_bytes()).unwrap_err();
        assert!(
            said.contains(", line 23: unknown entry 'nmae' in [task]; did you mean 'name'?"),
            "{said}"
        );
    }

    #[test]
    fn everything_is_checked_before_the_first_step() {
        for (text, from, to, expected) in [
            (
                FLOW,
                "batch = 64",
                "batch = 1000000000000",
                "batch must be at most 65536, not 1000000000000",
            ),
            (FLOW, "image_size = 64", "image_size = 1000000", "image_size must be at most 8192"),
            (FLOW, "steps = 12700", "steps = 9000000000000000000", "steps times batch must be"),
            (FLOW, "out = \"runs/flow\"", "out = \"\"", "must each name a folder"),
            (FLOW, "depth = 8", "depth = 1000000000", "task.backbone.depth must be at most 1024"),
            (FLOW, "tokenizer = ", "lambda_z = 1e-5\n# ", "task.tokenizer is missing"),
            (FLOW, "tokenizer = ", "from = \"m\"\ntokenizer = ", "leave task.tokenizer and"),
            (FLOW, "seed = 1", "evaluate_every = 0", "evaluate_every must be at least 1"),
            (
                FLOW,
                "[task.samples]",
                "[task.evaluation]\npictures = 1\n[task.samples]",
                "must be at least 2",
            ),
            (
                TOKENIZER,
                "[task.model]",
                "[task.discriminator]\nlayers = 5\n[task.model]",
                "a discriminator of 5 layers is for an image_size from 96, not 64",
            ),
            (
                TOKENIZER,
                "[task.model]",
                "[task.perceptual]\n[task.model]",
                "missing field `network`",
            ),
            (TOKENIZER, "seed = 1", "evaluate_every = 9", "evaluate_every is for flows"),
            (
                FLOW,
                "holdout = \"data/dicebear/holdout\"",
                "evaluate_every = 9",
                "name some by holdout",
            ),
            (FLOW, "depth = 8", "depth = 8\nlabel_dropout = 2.0", "it belongs in [task]"),
            (
                FLOW,
                "precision",
                "label_dropout = 2.0\nprecision",
                "task.label_dropout must be from 0 to 1",
            ),
            (FLOW, "precision", "smallest_time = 1.0\nprecision", "task.smallest_time must be"),
            (FLOW, "precision", "lambda_z = nan\nprecision", "task.lambda_z must be"),
            (
                FLOW,
                "steps = 24",
                "steps = 0",
                "task.samples: steps must be a whole number from 1 to 10000, not 0",
            ),
            (
                FLOW,
                "steps = 24",
                "steps = 100000",
                "task.samples: steps must be a whole number from 1 to 10000",
            ),
            (FLOW, "guidance = 2.0", "guidance = inf", "task.samples: guidance must be"),
            (FLOW, "temperature = 0.9", "temperature = -1.0", "task.samples: "),
            (FLOW, "temperature = 0.9", "temperature = nan", "task.samples: "),
            (TOKENIZER, "codes = 1024", "codes = 0", "task.model.codes must be at least 1"),
            (TOKENIZER, "codes = 1024", "codes = 100000000000", "task.model: "),
            (TOKENIZER, "channels = 24", "channels = 100000000", "task.model: "),
            (TOKENIZER, "residual_blocks = 1", "residual_blocks = 99999", "must be at most 1024"),
            (
                TOKENIZER,
                "groups = 8",
                "groups = 8\nattention_levels = [3]",
                "attention_levels names resolution 3, it has 0 to 2",
            ),
            (TOKENIZER, "revive_every = 40", "l1 = inf", "task.l1 must be from 0 to"),
            (
                TOKENIZER,
                "image_size = 64",
                "image_size = 63",
                "63 is not a multiple of the down-sampling 4",
            ),
        ] {
            assert!(text.contains(from), "{from}");
            let said = read(text.replacen(from, to, 1).as_bytes()).unwrap_err();
            assert!(said.contains(expected), "{said}");
        }
    }
}
