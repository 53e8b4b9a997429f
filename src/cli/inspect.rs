//! `purrscope inspect`

use std::fs;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::{Value, json};

use crate::data::Shards;
use crate::io::foreign::{self, Foreign};
use crate::io::tensors::{Contents, METADATA_KEY, TensorFile};
use crate::io::torch::TorchFile;
use crate::io::{json, png};
use crate::model::read_card;
use crate::say;

#[derive(Debug, Args)]
pub struct InspectArgs {
    /// A model, trajectory, codes, shard, PyTorch or PNG file
    file: PathBuf,
    /// Prints JSON for programs
    #[arg(long)]
    json: bool,
}

/// Describes a file.
pub fn run(args: &InspectArgs) -> Result<()> {
    let report = report(&args.file)?;
    if args.json {
        super::print(&(serde_json::to_string_pretty(&report)? + "\n"))
    } else {
        let mut text = String::new();
        write_human(&mut text, &report, 0);
        super::print(&text)
    }
}

fn report(path: &Path) -> Result<Value> {
    let context = || path.display().to_string();
    let found = foreign::recognise_file(path).with_context(context)?;
    let is_tar = path.extension().is_some_and(|end| end.eq_ignore_ascii_case("tar"));
    match found {
        Some(Foreign::Picture("PNG")) => return picture(path),
        Some(Foreign::Tar) => return shard(path),
        Some(Foreign::TorchZip | Foreign::TorchLegacy | Foreign::Zip) => return checkpoint(path),
        Some(Foreign::Safetensors) => {}
        // The oldest tars say nowhere what they are, and empty ones are all zeros.
        None | Some(Foreign::Zeros) if is_tar => return shard(path),
        None => {}
        Some(other) => bail!(
            "{}: it is {other}, expected a model, trajectory, codes, shard, PyTorch or PNG file{}",
            path.display(),
            other.advice()
        ),
    }
    let file = TensorFile::open(path)?;
    let tensors: Vec<Value> = file
        .entries()
        .into_iter()
        .map(|(name, dtype, shape)| json!({ "name": name, "type": format!("{dtype:?}"), "shape": shape }))
        .collect();
    let metadata = file.metadata(METADATA_KEY).and_then(|text| json::parse(text).ok());
    let kind = file.contents();
    let parameters: usize = file
        .entries()
        .iter()
        .filter(|(name, ..)| name.starts_with("backbone.") || name.starts_with("tokenizer."))
        .map(|(.., shape)| shape.iter().product::<usize>())
        .sum();
    let mut report = json!({ "kind": kind.word(), "bytes": file.bytes().len() });
    if kind == Contents::Model {
        report["card"] = serde_json::to_value(read_card(&file)?)?;
        report["parameters"] = json!(parameters);
    } else if let Some(metadata) = metadata {
        report["metadata"] = metadata;
    }
    report["tensors"] = json!(tensors);
    Ok(report)
}

/// A picture with its settings inside.
fn picture(path: &Path) -> Result<Value> {
    let context = || path.display().to_string();
    let file = fs::File::open(path).with_context(context)?;
    let settings = png::read_settings(BufReader::new(file)).with_context(context)?;
    let settings: Value = json::parse(&settings).unwrap_or(Value::String(settings));
    Ok(json!({ "kind": "picture", "settings": settings }))
}

/// A WebDataset shard of latents.
fn shard(path: &Path) -> Result<Value> {
    let shards = Shards::open(path)?;
    Ok(json!({
        "kind": "shard",
        "pictures": shards.len(),
        "classes": shards.classes(),
        "shape": shards.shape(),
        "type": shards.descr(),
    }))
}

/// A PyTorch checkpoint: its parts, and the tensors of those that are named.
fn checkpoint(path: &Path) -> Result<Value> {
    let file = TorchFile::open(path)?;
    let pickle = file.pickle();
    let parts: Vec<Value> = pickle
        .entries(pickle.root())
        .into_iter()
        .map(|(name, id)| json!({ "name": name, "kind": pickle.kind(id) }))
        .collect();
    let mut dictionaries = vec![(String::new(), pickle.root())];
    dictionaries.extend(
        pickle.entries(pickle.root()).into_iter().map(|(name, id)| (format!("{name}."), id)),
    );
    let mut tensors = Vec::new();
    for (prefix, dictionary) in dictionaries {
        for (name, view) in file.tensors(dictionary) {
            let kind = view.kind.trim_end_matches("Storage");
            tensors
                .push(json!({ "name": prefix.clone() + &name, "type": kind, "shape": view.shape }));
        }
    }
    Ok(json!({ "kind": "pytorch", "parts": parts, "tensors": tensors }))
}

/// Adds `key: value` lines to `text`, deeper levels further in.
fn write_human(text: &mut String, value: &Value, depth: usize) {
    let Value::Object(entries) = value else { return };
    let indent = "  ".repeat(depth);
    for (key, value) in entries {
        let key = say::line(key);
        match value {
            Value::Object(_) => {
                *text += &format!("{indent}{key}:\n");
                write_human(text, value, depth + 1);
            }
            Value::Array(items) if items.iter().any(Value::is_object) => {
                *text += &format!("{indent}{key}:\n");
                for item in items {
                    let words: Vec<String> =
                        item.as_object().into_iter().flatten().map(|(_, v)| plain(v)).collect();
                    *text += &format!("{indent}  {}\n", words.join("  "));
                }
            }
            value => *text += &format!("{indent}{key}: {}\n", plain(value)),
        }
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => say::line(text).into_owned(),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}
