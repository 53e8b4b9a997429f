//! Training in half precision, on the GPU: the curve of f32, and a loss scale that backs off.

use std::fs;
use std::path::Path;

use purrscope::io::tensors::{METADATA_KEY, Precision, TensorFile, TensorWriter};
use purrscope::model::precision::has_half;
use serde_json::Value;

use crate::common::{fail, gpu, succeed};
use crate::tolerance::Half;
use crate::training::{flow_run, tokenizer_run, write_pictures};

/// A figure of every step.
fn figures(folder: &Path, name: &str) -> Vec<f64> {
    let text = fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    let line = |line: &str| serde_json::from_str::<Value>(line).unwrap()[name].as_f64();
    text.lines().filter_map(line).collect()
}

/// A folder with pictures and a finished tokenizer.
fn prepare(at: &Path) {
    write_pictures(at);
    fs::write(at.join("tok.toml"), tokenizer_run("tok", 6)).unwrap();
    succeed(at, &["--train", "tok.toml", "--device", "cpu"]);
}

fn write_run(at: &Path, out: &str, steps: usize, mixed: bool) -> String {
    let name = format!("{out}.toml");
    let line = if mixed { "mixed_precision = true\n        name" } else { "name" };
    let text = flow_run(out, steps).replacen("name", line, 1);
    fs::write(at.join(&name), text).unwrap();
    name
}

/// Puts another loss scale into a checkpoint.
fn set_scale(folder: &Path, scale: f32) {
    let path = folder.join("checkpoint.safetensors");
    let mut writer = TensorWriter::default();
    {
        let file = TensorFile::open(&path).unwrap();
        assert_eq!(file.floats("loss_scale").unwrap().0, [2]);
        writer.metadata(METADATA_KEY, file.metadata(METADATA_KEY).unwrap().to_owned());
        for (name, _, shape) in file.entries() {
            let (_, values) = file.floats(&name).unwrap();
            let values = if name == "loss_scale" { vec![scale, 0.0] } else { values };
            writer.floats(&name, &shape, &values, Precision::F32);
        }
    }
    writer.write(&path).unwrap();
}

#[test]
fn curves_in_half_precision_and_in_f32_agree() {
    let at = tempfile::tempdir().unwrap();
    let at = at.path();
    prepare(at);
    let mixed = write_run(at, "mixed", 40, true);
    fail(at, &["--train", &mixed, "--device", "cpu"], 1, "task.mixed_precision needs a GPU");
    if !has_half(&gpu()) {
        eprintln!("the adapter has no 16-bit floats: nothing is tested of training with them");
        return;
    }
    let single = write_run(at, "single", 40, false);
    succeed(at, &["--train", &single, "--device", "gpu"]);
    succeed(at, &["--train", &mixed, "--device", "gpu"]);
    let curve = |out: &str| figures(&at.join(out), "loss");
    let (single, mixed) = (curve("single"), curve("mixed"));
    assert_eq!((single.len(), mixed.len()), (40, 40));
    let off = single.iter().zip(&mixed).map(|(a, b)| (a - b).abs() / a).fold(0.0, f64::max);
    println!("losses of 40 steps: {} to {}, off by {off:.1e} at most", single[0], single[39]);
    assert!(single[39] < 0.97 * single[0], "the loss falls: {single:?}");
    assert!(off <= Half::LOSSES, "{single:?} {mixed:?}");
    assert_ne!(single, mixed, "it was computed in f32");
    assert!(figures(&at.join("mixed"), "loss_scale").iter().all(|scale| *scale == 65_536.0));
    assert!(figures(&at.join("single"), "loss_scale").is_empty());
}

#[test]
fn a_loss_scale_that_overflows_backs_off_and_is_kept() {
    if !has_half(&gpu()) {
        eprintln!("the adapter has no 16-bit floats: nothing is tested of training with them");
        return;
    }
    let at = tempfile::tempdir().unwrap();
    let at = at.path();
    prepare(at);
    let run = write_run(at, "run", 3, true);
    succeed(at, &["--train", &run, "--device", "gpu"]);
    // The gradient of a logit is about one part in 64 of it here: more than two bytes hold.
    let too_much = 2f32.powi(24);
    set_scale(&at.join("run"), too_much);
    write_run(at, "run", 6, true);
    succeed(at, &["--train", &run, "--resume", "--device", "gpu"]);
    let scales = figures(&at.join("run"), "loss_scale");
    assert_eq!(scales[..3], [65_536.0; 3]);
    assert!(scales[3..].iter().all(|scale| *scale < f64::from(too_much)), "{scales:?}");
    assert!(scales[3..].windows(2).all(|pair| pair[1] <= pair[0]), "{scales:?}");
    let norms = figures(&at.join("run"), "gradient_norm");
    // Undone before the optimiser sees it: the norm is of the size that it was.
    let ratio = norms[3] / norms[2];
    assert!((0.2..5.0).contains(&ratio), "{norms:?}");
    let file = TensorFile::open(&at.join("run/checkpoint.safetensors")).unwrap();
    let kept = file.floats("loss_scale").unwrap().1[0];
    assert_eq!(f64::from(kept), scales[5]);
}
