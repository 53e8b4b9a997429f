//! `purrscope bench`, and the script that takes it to machines with a GPU.

use std::path::Path;

use serde_json::Value;

use crate::common::{fail, purrscope, succeed};

/// Runs a part on the CPU with hardly any time; gives what it prints and its document.
fn bench(part: &str, more: &[&str]) -> (String, Value) {
    let folder = tempfile::tempdir().unwrap();
    // Rows end at once, and the part never, however busy the machine is.
    let limits = ["--seconds", "0.001", "--part-seconds", "3600"];
    let arguments =
        [&["bench", part, "--device", "cpu", "--json", "new/b.json"], &limits[..]].concat();
    let said = succeed(folder.path(), &[&arguments[..], more].concat());
    let json = std::fs::read(folder.path().join("new/b.json")).unwrap();
    (said, serde_json::from_slice(&json).unwrap())
}

/// The row whose name begins so; every number of it must be finite, and those that are not counts of
/// iterations more than 0.
fn row<'a>(document: &'a Value, name: &str) -> &'a Value {
    let rows = document["rows"].as_array().unwrap();
    let mut found = rows.iter().filter(|row| row["name"].as_str().unwrap().starts_with(name));
    let row = found.next().unwrap_or_else(|| panic!("no row '{name}' in {document:#}"));
    for (key, value) in row.as_object().unwrap() {
        if let Some(number) = value.as_f64() {
            let least = if key == "iterations" { 0.0 } else { f64::MIN_POSITIVE };
            assert!(number.is_finite() && number >= least, "{name}: {key} is {number}");
        }
    }
    row
}

fn measured<'a>(document: &'a Value, name: &str, keys: &[&str]) -> &'a Value {
    let row = row(document, name);
    assert_eq!(row["outcome"], "measured", "{row:#}");
    let [min, median, max] =
        ["min_ms", "median_ms", "max_ms"].map(|key| row[key].as_f64().unwrap());
    assert!(min <= median && median <= max, "{row:#}");
    keys.iter().for_each(|key| assert!(row[key].is_f64(), "{key} in {row:#}"));
    row
}

#[test]
fn rows_are_measured_alone_by_what_is_in_their_names() {
    let (said, document) = bench("kernels", &["--row", "copy, f32"]);
    let rows = document["rows"].as_array().unwrap();
    assert!(rows.iter().all(|row| row["name"].as_str().unwrap().contains("copy, f32")), "{said}");
    measured(&document, "copy, f32", &["bytes_per_second"]);
    assert_eq!(document["options"]["row"], "copy, f32");
    let folder = tempfile::tempdir().unwrap();
    let arguments =
        ["bench", "kernels", "--device", "cpu", "--seconds", "0.001", "--row", "no such row"];
    fail(
        folder.path(),
        &arguments,
        1,
        "no row of what was to be measured has 'no such row' in its name",
    );
}

#[test]
fn kernels_are_measured_beside_a_copy_and_the_same_of_plain_operations() {
    let (said, document) = bench("kernels", &[]);
    assert_eq!(
        (&document["finished"], &document["options"]["device"]),
        (&true.into(), &"cpu".into())
    );
    assert!(document["device"].as_str().unwrap().starts_with("cpu"));
    assert!(document["processor"]["threads"].as_u64().unwrap() > 0);
    assert_eq!(document["options"]["parts"], serde_json::json!(["kernels"]));
    measured(&document, "copy, f32", &["bytes_per_second"]);
    let over = ["bytes_per_second", "time_over_copy_ratio", "speed_over_plain_ratio"];
    measured(&document, "expectation, entropy, log Z, top 8, f32", &over);
    measured(&document, "expectation, entropy, log Z, top 8, f16", &over[..2]);
    measured(&document, "guided expectation, f32", &over);
    for name in ["loss and gradient", "nearest codes", "gelu_tanh", "group_norm_silu"] {
        measured(&document, name, &[]);
    }
    measured(&document, "f32 product [1024, 1024] x [1024, 1024]", &["gflops"]);
    // A line a row, and a heading with the blank line above it.
    assert_eq!(said.lines().count(), 2 + document["rows"].as_array().unwrap().len());
}

#[test]
fn sampling_is_measured_with_random_weights_within_the_time() {
    let (said, document) = bench("sampling", &["--size", "S/2,XL/2"]);
    let rates = ["pictures_per_second", "gflops", "evaluation_ms"];
    measured(&document, "embedded model, guided step", &rates);
    measured(&document, "embedded model, decoding", &rates[..2]);
    measured(&document, "S/2, one evaluation", &rates[1..2]);
    if cfg!(target_os = "linux") {
        let row = row(&document, "S/2, one evaluation");
        // 58 million weights of 4 bytes.
        assert!(row["peak_resident_memory_bytes"].as_f64().unwrap() > 1.3e8, "{row:#}");
    }
    let skipped = row(&document, "XL/2, one evaluation");
    assert_eq!(skipped["outcome"], "skipped");
    assert!(said.contains("XL/2, one evaluation of 1 picture") && said.contains("skipped: "));
}

#[test]
fn training_is_measured_on_the_recipe_of_the_embedded_model() {
    let (_, document) = bench("training", &["--size", "XL/2"]);
    measured(&document, "tokenizer of the embedded model, step of 32", &["pictures_per_second"]);
    let flow = "flow of the embedded model, step of 64";
    measured(&document, flow, &["pictures_per_second", "gflops"]);
    assert_eq!(row(&document, "XL/2, step of 4 pictures")["outcome"], "skipped");
}

/// Something that answers as PyTorch's side does, always with half a second.
#[cfg(unix)]
#[test]
fn the_cpu_is_measured_in_turns_with_pytorch() {
    use std::os::unix::fs::PermissionsExt;
    const PYTHON: &str = r#"#!/bin/sh
while read -r asked; do
    case $asked in
    {*) echo '{"program": "PyTorch 0", "vectors": "NONE"}' ;;
    *) echo 0.5 ;;
    esac
done
"#;
    let folder = tempfile::tempdir().unwrap();
    let python = folder.path().join("python");
    std::fs::write(&python, PYTHON).unwrap();
    std::fs::set_permissions(&python, std::fs::Permissions::from_mode(0o700)).unwrap();
    let (said, document) = bench("cpu", &["--torch", python.to_str().unwrap()]);
    assert_eq!(document["peer"], "PyTorch 0, NONE");
    measured(&document, "peak of multiply-adds", &["gflops"]);
    for name in ["embedded model, guided step", "embedded model, decoding", "tokenizer", "flow"] {
        let row = measured(&document, name, &["speed_over_pytorch_ratio"]);
        assert_eq!(row["pytorch_median_ms"], 500.0, "{row:#}");
        let ratio = 500.0 / row["median_ms"].as_f64().unwrap();
        assert!((row["speed_over_pytorch_ratio"].as_f64().unwrap() - ratio).abs() < 1e-9);
    }
    let pictures = measured(&document, "embedded model, 4 pictures in 24 guided steps", &[]);
    assert!(pictures["pytorch_median_ms"].is_null(), "it has no part in this row");
    assert!(said.contains("pytorch median 500.00 ms"), "{said}");
}

#[test]
fn what_cannot_be_measured_or_written_is_refused_before_any_work() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |arguments: &[&str], expected: &str| {
        let said = fail(folder.path(), &[&["bench"], arguments].concat(), 1, expected);
        assert!(!said.contains("device:"), "no device is opened: {said}");
    };
    refused(&["kernel"], "there is no benchmark 'kernel' (known: kernels, sampling");
    refused(&["sampling", "--size", "S/3"], "unknown size 'S/3'");
    if cfg!(unix) {
        fail(
            folder.path(),
            &["bench", "cpu", "--torch", "no/python"],
            1,
            "no/python: No such file",
        );
    }
    refused(&["kernels", "--torch", "python3"], "--torch goes with `bench cpu`");
    refused(&["--seconds", "0"], "expected a number from 0.001 to 3600");
    refused(&["--json", "."], "folder");
    refused(&["--json", "b.png"], "let the name end in .json");
    std::fs::write(folder.path().join("file"), "").unwrap();
    refused(&["--json", "file/b.json"], "file");
}

#[test]
fn the_studio_says_where_there_is_no_window_to_measure() {
    let folder = tempfile::tempdir().unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_purrscope"))
        .args(["bench", "studio", "--seconds", "1"])
        .env("XDG_RUNTIME_DIR", folder.path())
        .env_remove("DISPLAY")
        .env_remove("WAYLAND_DISPLAY")
        .output()
        .unwrap();
    if cfg!(target_os = "linux") {
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("DISPLAY"), "{said}");
    }
}

/// A program that hangs in one part, fails in another, and does the rest at once: the report names
/// both, and has the rest.
#[cfg(target_os = "linux")]
#[test]
fn the_report_on_a_gpu_loses_no_more_than_the_part_that_hangs() {
    const PROGRAM: &str = r#"#!/bin/sh
json() { while [ "$1" != --json ]; do shift; done; echo '{"rows": []}' >"$2"; }
case "$1 $2" in
"--version ") echo purrscope test ;;
"devices --json") echo '{"adapters": []}' ;;
"doctor --device") printf 'first\nthe "last" line\n' >&2; exit 1 ;;
"bench kernels") json "$@"; exec sleep 60 ;;
bench*) json "$@"; echo a table ;;
"--train "*) mkdir -p "${2%.toml}"; echo '{"step": 0}' >"${2%.toml}/metrics.jsonl"; exec sleep 60 ;;
esac
"#;
    use std::os::unix::fs::PermissionsExt;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::copy(root.join("scripts/gpu-report.sh"), at("gpu-report.sh")).unwrap();
    for name in ["tokenizer.toml", "flow.toml"] {
        std::fs::copy(root.join("assets/recipe").join(name), at(name)).unwrap();
    }
    std::fs::write(at("purrscope"), PROGRAM).unwrap();
    std::fs::set_permissions(at("purrscope"), PermissionsExt::from_mode(0o755)).unwrap();
    let output = std::process::Command::new("bash")
        .arg(at("gpu-report.sh"))
        .args(["run", "report", "--device", "cpu", "--seconds", "1", "--slack", "1"])
        .args(["--python", "/nowhere/python"])
        .current_dir(folder.path())
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report = std::fs::read(at("report/report.json")).unwrap();
    let report: Value = serde_json::from_slice(&report).unwrap();
    let outcome = |name: &str| {
        let parts = report["parts"].as_array().unwrap();
        let part = parts.iter().find(|part| part["name"] == name);
        part.unwrap_or_else(|| panic!("no part {name} in {report:#}"))
    };
    assert_eq!(outcome("doctor")["outcome"], "failed");
    assert_eq!(outcome("doctor")["last_lines"], "first\nthe \"last\" line");
    assert_eq!(outcome("kernels")["outcome"], "timed out");
    for name in ["devices", "sampling", "training", "tokenizer-training", "flow-training"] {
        assert_eq!(outcome(name)["outcome"], "passed", "{report:#}");
    }
    assert_eq!(outcome("torch")["outcome"], "skipped");
    assert_eq!(report["kernels"], serde_json::json!({"rows": []}), "rows before the hang are kept");
    assert_eq!((&report["doctor"], &report["flow_training"]["steps"]), (&Value::Null, &1.into()));
    let text = std::fs::read_to_string(at("report/report.md")).unwrap();
    for part in ["| doctor | failed |", "| kernels | timed out |", "a table", "the \"last\" line"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    // Run files of the recipe, with pictures and folders of this machine.
    let flow = std::fs::read_to_string(at("report/parts/flow-training.toml")).unwrap();
    let config: purrscope::train::RunConfig = toml::from_str(&flow).unwrap();
    assert!(config.data.ends_with("report/parts/pictures") && config.holdout.is_none());
    assert!(config.out.ends_with("report/parts/flow-training"));
}

/// The run files that the script makes of the recipe are such as the program takes.
#[cfg(target_os = "linux")]
#[test]
fn help_names_every_option_of_the_script() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/gpu-report.sh");
    let output = std::process::Command::new("bash").arg(script).arg("help").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    for word in ["pack OUT", "run FOLDER", "--device", "--seconds", "--slack", "--size", "--python"]
    {
        assert!(said.contains(word), "{word} in {said}");
    }
    let help = purrscope(Path::new("."), &["bench", "--help"]);
    let said = String::from_utf8_lossy(&help.stdout);
    for word in ["kernels, sampling, training; cpu", "--torch", "--seconds", "--size", "--json"] {
        assert!(said.contains(word), "{word} in {said}");
    }
}
