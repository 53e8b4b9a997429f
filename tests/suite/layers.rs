//! The order in which the parts of the program know each other, read from their `use` lines and paths.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Every part of the program, and the parts that it may know.
const MAY_KNOW: [(&str, &[&str]); 22] = [
    ("rng", &[]),
    ("say", &[]),
    ("latents", &[]),
    ("folders", &[]),
    ("fault", &["say"]),
    ("readback", &[]),
    ("room", &["fault"]),
    ("kernels", &["readback", "rng"]),
    ("device", &["fault", "folders", "kernels", "room"]),
    ("io", &["rng", "say"]),
    ("data", &["io", "rng", "say"]),
    ("model", &["io", "kernels", "latents", "readback", "rng", "room", "device", "say"]),
    ("flow", &["io", "kernels", "latents", "model", "readback", "rng"]),
    ("sweep", &["flow", "io", "model", "say"]),
    ("calibrate", &["data", "flow", "folders", "io", "latents", "model", "readback", "rng", "say"]),
    (
        "judge",
        &["data", "flow", "io", "kernels", "latents", "model", "readback", "rng", "room", "say"],
    ),
    (
        "train",
        &[
            "data", "device", "fault", "flow", "io", "judge", "kernels", "latents", "model",
            "readback", "rng", "room", "say",
        ],
    ),
    (
        "doctor",
        &[
            "device", "fault", "flow", "folders", "io", "kernels", "latents", "model", "readback",
            "rng", "say",
        ],
    ),
    ("bench", &["device", "fault", "flow", "kernels", "model", "rng", "room", "say", "train"]),
    (
        "studio",
        &[
            "bench",
            "calibrate",
            "data",
            "device",
            "doctor",
            "fault",
            "flow",
            "folders",
            "io",
            "kernels",
            "latents",
            "model",
            "readback",
            "rng",
            "say",
            "sweep",
            "train",
        ],
    ),
    (
        "cli",
        &[
            "bench",
            "calibrate",
            "data",
            "device",
            "doctor",
            "fault",
            "flow",
            "io",
            "judge",
            "kernels",
            "latents",
            "model",
            "readback",
            "rng",
            "room",
            "say",
            "studio",
            "sweep",
            "train",
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

/// The rooms of the studio, from the ground up, and the rooms that each may know. A feature knows no
/// other feature: they talk through actions.
const ROOMS: [(&str, &[&str]); 20] = [
    ("engine", &[]),
    ("pane", &[]),
    ("base", &["engine"]),
    ("session", &["base", "engine"]),
    ("action", &["pane", "session"]),
    ("export", &["action", "base", "engine", "session"]),
    ("calibration", FEATURE),
    ("canvas", FEATURE),
    ("codebook", FEATURE),
    ("controls", FEATURE),
    ("gallery", FEATURE),
    ("log", FEATURE),
    ("model", FEATURE),
    ("playground", FEATURE),
    ("posterior", FEATURE),
    ("sweep", FEATURE),
    ("timeline", FEATURE),
    ("training", FEATURE),
    ("window", EVERYTHING),
    ("mod", EVERYTHING),
];

const FEATURE: &[&str] = &["action", "base", "engine", "export", "pane", "session"];

const EVERYTHING: &[&str] = &[
    "action",
    "base",
    "calibration",
    "canvas",
    "codebook",
    "controls",
    "engine",
    "export",
    "gallery",
    "log",
    "model",
    "pane",
    "playground",
    "posterior",
    "session",
    "sweep",
    "timeline",
    "training",
    "window",
];

/// A text without its tests, which may look at everything.
fn without_tests(text: &str) -> &str {
    let starts = text.match_indices("\n#[cfg(test)]\nmod ").map(|(at, _)| at);
    // Those in files of their own are named in the middle of a file.
    let mut inside = starts.filter(|at| text[at + 1..].lines().nth(1).unwrap().ends_with('{'));
    &text[..inside.next().unwrap_or(text.len())]
}

/// The rooms that a text names by `crate::studio::room`, alone or in a group.
fn rooms_named(text: &str) -> BTreeSet<String> {
    let names = |rest: &str| -> Vec<String> {
        let list = rest.strip_prefix('{').and_then(|rest| rest.split(['}', ';']).next());
        let heads = |text: &str| {
            let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
            text[..end.unwrap_or(text.len())].to_owned()
        };
        match list {
            Some(list) => {
                let names = list.split(',').map(|name| heads(name.trim()));
                names.filter(|name| !name.is_empty()).collect()
            }
            None => vec![heads(rest)],
        }
    };
    let code: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join(" ");
    code.split("crate::studio::").skip(1).flat_map(names).collect()
}

#[test]
fn rooms_of_the_studio_know_only_what_lies_below_them() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/studio");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let (mut seen, mut wrong) = (BTreeSet::new(), Vec::new());
    for file in files {
        let inside = file.strip_prefix(&root).unwrap();
        let room = inside.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        if room == "testing" || inside.ends_with("tests.rs") {
            continue;
        }
        let known = ROOMS.iter().find(|(name, _)| *name == room);
        let Some((_, known)) = known else { panic!("{room} has no place in the studio") };
        seen.insert(room.to_owned());
        let text = fs::read_to_string(&file).unwrap();
        for other in rooms_named(without_tests(&text)) {
            let a_room = ROOMS.iter().any(|(name, _)| *name == other);
            if a_room && other != room && !known.contains(&other.as_str()) {
                wrong.push(format!("{} knows {other}", inside.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that run the wrong way:\n{}", wrong.join("\n"));
    assert!(seen.len() == ROOMS.len(), "a room has gone: {seen:?}");
}

#[test]
fn rooms_are_found_alone_and_in_groups() {
    let text = "use crate::studio::canvas::Canvas;\n// crate::studio::log\n\
                use crate::studio::{\n    gallery, model::Files,\n};\n";
    assert_eq!(rooms_named(text), ["canvas", "gallery", "model"].map(str::to_owned).into());
    let file = "a\n#[cfg(test)]\nmod tests;\nb\n#[cfg(test)]\nmod more {\n}\n";
    assert_eq!(without_tests(file), "a\n#[cfg(test)]\nmod tests;\nb");
}
