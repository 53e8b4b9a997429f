//! The order in which the parts of the program know each other, read from their `use` lines and paths.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Every part of the program, and the parts that it may know.
const MAY_KNOW: [(&str, &[&str]); 16] = [
    ("rng", &[]),
    ("say", &[]),
    ("latents", &[]),
    ("fault", &["say"]),
    ("kernels", &[]),
    ("device", &["fault", "kernels"]),
    ("io", &["rng", "say"]),
    ("data", &["io", "rng"]),
    ("model", &["io", "kernels", "latents", "rng", "device"]),
    ("flow", &["io", "kernels", "latents", "model", "rng"]),
    ("sweep", &["flow", "io", "model"]),
    (
        "train",
        &["data", "device", "fault", "flow", "io", "kernels", "latents", "model", "rng", "say"],
    ),
    ("doctor", &["device", "fault", "flow", "io", "kernels", "latents", "model", "rng", "say"]),
    (
        "studio",
        &[
            "data", "device", "doctor", "fault", "flow", "io", "kernels", "latents", "model",
            "rng", "say", "sweep", "train",
        ],
    ),
    (
        "cli",
        &[
            "data", "device", "doctor", "fault", "flow", "io", "kernels", "latents", "model",
            "rng", "say", "studio", "sweep", "train",
        ],
    ),
    // Names the parts, and uses none.
    ("lib", &[]),
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

/// The parts that a text names by `crate::part`, comments left out.
fn named(text: &str) -> BTreeSet<&str> {
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| line.split("crate::").skip(1))
        .map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or(rest))
        .collect()
}

#[test]
fn parts_know_only_what_lies_below_them() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut seen = BTreeSet::new();
    let mut wrong = Vec::new();
    for file in files {
        let inside = file.strip_prefix(&root).unwrap();
        let part = inside.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        if part == "main" {
            continue;
        }
        let known = MAY_KNOW.iter().find(|(name, _)| *name == part);
        let Some((_, known)) = known else { panic!("{part} has no place among the layers") };
        seen.insert(part.to_owned());
        for other in named(&fs::read_to_string(&file).unwrap()) {
            let a_part = MAY_KNOW.iter().any(|(name, _)| *name == other);
            if a_part && other != part && !known.contains(&other) {
                wrong.push(format!("{} knows {other}", inside.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that run the wrong way:\n{}", wrong.join("\n"));
    assert!(seen.len() == MAY_KNOW.len(), "a part has gone: {seen:?}");
}

/// The table itself points one way: no part may know one that may know it.
#[test]
fn the_layers_have_an_order() {
    let mut placed: Vec<&str> = Vec::new();
    while placed.len() < MAY_KNOW.len() {
        let free = |(name, known): &&(&'static str, &[&str])| {
            !placed.contains(name) && known.iter().all(|known| placed.contains(known))
        };
        let next = MAY_KNOW.iter().find(free).map(|(name, _)| *name);
        placed.push(next.unwrap_or_else(|| panic!("a circle above {placed:?}")));
    }
}
