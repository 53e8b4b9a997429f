//! Run files of several stages, each a run of its own that begins where the one before has ended.
//!
//! What stands above the first `[[stage]]` holds for all of them. The last stage writes into `out`, those before
//! it into a folder below it that is named after what they train; a flow is trained on the tokenizer of the stage
//! before it.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::Device;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::config::{RunConfig, Task};
use super::origin::Origin;
use super::overrides::{self, Override};
use super::{Ending, Progress, TrainError};

/// Name of the array of stages in a run file.
pub(super) const STAGE: &str = "stage";
/// What a finished tokenizer run has written.
const TOKENIZER: &str = "tokenizer.safetensors";

/// The tables of a run file as one for each stage: what is common to all, with what the stage says itself. A file
/// without stages is one. What overrides change is changed before anything follows from it; they stand at `behind` and
/// after it.
///
/// # Errors
/// Where, and why, an entry does not make sense.
pub(super) fn tables<'a>(
    mut root: DeTable<'a>,
    beside: &Path,
    overrides: &'a [Override],
    behind: usize,
) -> Result<Vec<DeTable<'a>>, (usize, String)> {
    let Some((key, stages)) = root.remove_entry(STAGE) else {
        overrides::apply(overrides, &mut root, false, behind)?;
        return Ok(vec![root]);
    };
    let expected = || (key.span().start, format!("expected [[{STAGE}]], a table for each stage"));
    let DeValue::Array(stages) = stages.into_inner() else { return Err(expected()) };
    let (number, mut before) = (stages.len(), None::<PathBuf>);
    let mut tables = Vec::new();
    for (i, stage) in stages.into_iter().enumerate() {
        let span = stage.span();
        let DeValue::Table(stage) = stage.into_inner() else { return Err(expected()) };
        if let Some(nested) = stage.keys().find(|key| key.get_ref() == STAGE) {
            return Err((nested.span().start, "a stage has no stages of its own".to_owned()));
        }
        let mut table = root.clone();
        table.extend(stage);
        overrides::apply(overrides, &mut table, number > 1, behind)?;
        let text = |value: Option<&Spanned<DeValue<'_>>>| {
            value.and_then(|value| value.get_ref().as_str()).map(str::to_owned)
        };
        let task = table.get_mut("task").and_then(|task| match task.get_mut() {
            DeValue::Table(task) => Some(task),
            _ => None,
        });
        let kind = task.as_ref().and_then(|task| text(task.get("kind")));
        let path = |path: &Path| {
            let path = Cow::Owned(path.to_string_lossy().into_owned());
            Spanned::new(span.clone(), DeValue::String(path))
        };
        let key = |name: &'static str| Spanned::new(span.clone(), Cow::Borrowed(name));
        if let (Some(task), Some("flow"), Some(tokenizer)) = (task, kind.as_deref(), &before)
            && !task.contains_key("from")
        {
            task.entry(key("tokenizer")).or_insert_with(|| path(tokenizer));
        }
        let out = text(table.get("out")).map_or_else(|| beside.to_owned(), PathBuf::from);
        let out = match kind {
            Some(kind) if i + 1 < number => out.join(kind),
            _ => out,
        };
        table.insert(key("out"), path(&out));
        before = Some(out.join(TOKENIZER));
        tables.push(table);
    }
    if tables.is_empty() {
        return Err(expected());
    }
    overrides::check(overrides, &tables, behind)?;
    Ok(tables)
}

/// That stages fit each other, as far as can be told before the first has run.
pub(super) fn check(stages: &[RunConfig]) -> Result<(), String> {
    for (i, pair) in stages.windows(2).enumerate() {
        let (Task::Tokenizer(before), Task::Flow(flow)) = (&pair[0].task, &pair[1].task) else {
            continue;
        };
        let Ok(Origin::Chance { tokenizer, sizes }) = flow.origin() else { continue };
        if tokenizer != pair[0].out.join(TOKENIZER) {
            continue;
        }
        let whole = sizes.complete(flow.objective, &before.model, pair[1].image_size, 1);
        whole.map_err(|reason| format!("stage {}: {reason}", i + 2))?;
    }
    let outs = stages.iter().map(|stage| &stage.out);
    let same = outs.clone().enumerate().find(|(i, out)| outs.clone().take(*i).any(|o| o == *out));
    same.map_or(Ok(()), |(i, out)| {
        Err(format!("stage {} writes into the folder of another, {}", i + 1, out.display()))
    })
}

/// Trains one stage after the other. `watch` hears which one, counted from 0, and its progress.
///
/// `stop` ends them as it ends [`super::run`] and, once a stage is finished, always without an error: what is finished
/// is saved, and the rest can be made after it. The product is then that of the last stage that has one.
///
/// # Errors
/// As for [`super::run`]; stages that are finished stay so.
pub fn run_stages(
    stages: &[RunConfig],
    resume: bool,
    device: &Device,
    stop: &AtomicBool,
    watch: &mut dyn FnMut(usize, &Progress),
) -> Result<(Ending, PathBuf), TrainError> {
    let mut finished: Option<PathBuf> = None;
    for (i, config) in stages.iter().enumerate() {
        if let Some(product) = finished.take_if(|_| stop.load(Ordering::Relaxed)) {
            return Ok((Ending::Stopped, product));
        }
        match super::run(config, resume, device, stop, &mut |progress| watch(i, progress)) {
            Ok((Ending::Finished, product)) => finished = Some(product),
            Ok(stopped @ (Ending::Stopped, _)) => return Ok(stopped),
            Err(error) => match (error, finished) {
                (TrainError::Interrupted, Some(product)) => return Ok((Ending::Stopped, product)),
                (error, _) => return Err(error),
            },
        }
    }
    let product =
        finished.ok_or_else(|| TrainError::Sizes("the run file has no stage".to_owned()))?;
    Ok((Ending::Finished, product))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
data = "pictures"
image_size = 32
seed = 7

[[stage]]
batch = 8
steps = 3
[stage.task]
kind = "tokenizer"
[stage.task.model]
channels = 8
multipliers = [1, 2]
residual_blocks = 1
attention = false
groups = 4
latent_channels = 8
code_size = 4
codes = 16
l2_normalised = true

[[stage]]
batch = 16
steps = 4
[stage.task]
kind = "flow"
name = "mine"
[stage.task.backbone]
patch_size = 2
hidden_size = 16
depth = 1
num_heads = 2
"#;

    fn read(text: &str) -> Result<Vec<RunConfig>, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("run.toml");
        std::fs::write(&file, text).unwrap();
        let stages = RunConfig::read_stages(&file).map_err(|error| error.to_string())?;
        let inside = |path: &Path| path.strip_prefix(folder.path()).unwrap_or(path).to_owned();
        Ok(stages
            .into_iter()
            .map(|mut stage| {
                stage.out = inside(&stage.out);
                if let Task::Flow(task) = &mut stage.task {
                    task.tokenizer = task.tokenizer.as_deref().map(inside);
                }
                stage
            })
            .collect())
    }

    #[test]
    fn stages_share_what_stands_above_them_and_follow_each_other() {
        let stages = read(FILE).unwrap();
        let [first, second] = &stages[..] else { panic!("{stages:?}") };
        assert_eq!((first.seed, second.seed, first.batch, second.batch), (7, 7, 8, 16));
        assert_eq!(
            (first.out.as_path(), second.out.as_path()),
            ("tokenizer".as_ref(), "".as_ref())
        );
        let Task::Flow(flow) = &second.task else { panic!("{second:?}") };
        assert_eq!(flow.tokenizer, Some("tokenizer/tokenizer.safetensors".into()));
        let elsewhere = read(&format!("out = \"runs/x\"\n{FILE}")).unwrap();
        assert_eq!(elsewhere[0].out, Path::new("runs/x/tokenizer"));
        assert_eq!(elsewhere[1].out, Path::new("runs/x"));
        let own =
            FILE.replace("name = \"mine\"", "name = \"mine\"\ntokenizer = \"other.safetensors\"");
        let Task::Flow(flow) = &read(&own).unwrap()[1].task.clone() else { panic!() };
        assert_eq!(flow.tokenizer, Some("other.safetensors".into()));
        let begun =
            FILE.replace("name = \"mine\"", "name = \"mine\"\nfrom = \"model.safetensors\"");
        let said = read(&begun).unwrap_err();
        assert!(said.contains("stage 2: task.from names a trained model"), "{said}");
        let (backbone, _) = begun.split_once("[stage.task.backbone]").unwrap();
        let Task::Flow(flow) = &read(backbone).unwrap()[1].task.clone() else { panic!() };
        assert_eq!(flow.tokenizer, None, "a model brings its own");
    }

    #[test]
    fn what_does_not_fit_is_refused_before_the_first_stage() {
        for (from, to, expected) in [
            ("steps = 4", "setps = 4", "line 24: unknown entry 'setps'"),
            ("hidden_size = 16", "hidden_size = 15", "stage 2: "),
            ("[[stage]]\nbatch = 16", "[[stage]]\nstage = 1\nbatch = 16", "no stages of its own"),
            ("image_size = 32", "image_size = 33", "stage 1: image_size 33 is not a multiple"),
            ("steps = 3", "steps = 0", "stage 1: steps must be at least 1"),
        ] {
            assert!(FILE.contains(from), "{from}");
            let said = read(&FILE.replacen(from, to, 1)).unwrap_err();
            assert!(said.contains(expected), "{expected}: {said}");
        }
        assert!(read("stage = 3\n").unwrap_err().contains("expected [[stage]]"));
        let same = FILE.replacen("batch = 8", "batch = 8\nout = \"x\"", 1);
        let same = same.replacen("batch = 16", "batch = 16\nout = \"x/tokenizer\"", 1);
        assert!(read(&same).unwrap_err().contains("stage 2 writes into the folder of another"));
    }

    #[test]
    fn what_follows_from_an_entry_follows_from_its_override() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), FILE).unwrap();
        let set = |text: &str| {
            let given = [text.parse().unwrap()];
            RunConfig::read_stages_with(file.path(), &given).map_err(|error| error.to_string())
        };
        let stages = set("tokenizer.out=elsewhere").unwrap();
        assert_eq!(stages[0].out, Path::new("elsewhere/tokenizer"));
        let Task::Flow(flow) = &stages[1].task else { panic!("no flow") };
        assert_eq!(flow.tokenizer, Some("elsewhere/tokenizer/tokenizer.safetensors".into()));
        assert_eq!(set("flow.steps=9").unwrap()[1].steps, 9);
        assert!(set("steps=9").unwrap_err().contains("say which stage it is for"));
    }

    #[test]
    fn a_file_without_stages_is_one_and_one_with_them_is_not_a_single_run() {
        let single = include_str!("../../assets/recipe/tokenizer.toml");
        assert_eq!(read(single).unwrap().len(), 1);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), FILE).unwrap();
        let said = RunConfig::read(file.path()).unwrap_err().to_string();
        assert!(said.contains("2 stages"), "{said}");
    }
}
