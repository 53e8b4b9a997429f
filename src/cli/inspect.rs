//! `purrscope inspect`

use std::fs;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use serde_json::{Value, json};

use crate::data::Shards;
use crate::io::png;
use crate::io::tensors::{METADATA_KEY, TensorFile};
use crate::io::torch::TorchFile;
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

/// Tells what a file holds.
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
    const PNG_SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
    let mut start = [0; 8];
    let read = {
        use std::io::Read;
        let mut file = fs::File::open(path).with_context(|| path.display().to_string())?;
        file.read(&mut start).with_context(|| path.display().to_string())?
    };
    if start[..read] == *PNG_SIGNATURE {
        let file = fs::File::open(path).with_context(|| path.display().to_string())?;
        let settings = png::read_settings(BufReader::new(file));
        let settings = settings.with_context(|| path.display().to_string())?;
        let settings = json(&settings).unwrap_or(Value::String(settings));
        return Ok(json!({ "kind": "picture", "settings": settings }));
    }
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    match extension.as_str() {
        "tar" => return shard(path),
        "pth" | "pt" | "ckpt" => return checkpoint(path),
        _ => {}
    }
    let file = TensorFile::open(path)?;
    let tensors: Vec<Value> = file
        .entries()
        .into_iter()
        .map(|(name, dtype, shape)| json!({ "name": name, "type": format!("{dtype:?}"), "shape": shape }))
        .collect();
    let metadata = file.metadata(METADATA_KEY).and_then(json);
    let kind = kind(&file);
    let parameters: usize = file
        .entries()
        .iter()
        .filter(|(name, ..)| name.starts_with("backbone.") || name.starts_with("tokenizer."))
        .map(|(.., shape)| shape.iter().product::<usize>())
        .sum();
    let mut report = json!({ "kind": kind, "bytes": file.bytes().len() });
    if kind == "model" {
        report["card"] = serde_json::to_value(read_card(&file)?)?;
        report["parameters"] = json!(parameters);
    } else if let Some(metadata) = metadata {
        report["metadata"] = metadata;
    }
    report["tensors"] = json!(tensors);
    Ok(report)
}

/// What a text says, if it is JSON: with a byte-order mark or without.
fn json(text: &str) -> Option<Value> {
    serde_json::from_str(text.trim_start_matches('\u{feff}')).ok()
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

fn kind(file: &TensorFile) -> &'static str {
    let starts = |prefix: &str| file.entries().iter().any(|(name, ..)| name.starts_with(prefix));
    if starts("adam.") {
        "checkpoint"
    } else if starts("backbone.") {
        "model"
    } else if starts("tokenizer.") {
        "tokenizer"
    } else if file.contains("x") && file.contains("t") {
        "trajectory"
    } else if file.contains("codes") {
        "codes"
    } else if file.contains("noise") {
        "noise"
    } else {
        "tensors"
    }
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
