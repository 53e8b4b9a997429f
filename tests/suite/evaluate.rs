//! `purrscope evaluate` through the command line, and the feature network against PyTorch's numbers.

use std::fs;
use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use image::{Rgb, RgbImage};
use purrscope::io::png;
use purrscope::io::tensors::{Precision, TensorFile, TensorWriter};
use purrscope::judge::EfficientNet;
use purrscope::model::params::host;
use purrscope::train::{Perceptual, PerceptualConfig};
use serde_json::Value;

use crate::common::{check, cpu, fail, golden, gpu, purrscope, succeed, worst};

const CPU: [&str; 2] = ["--device", "cpu"];

/// Numbers in `[-1, 1)`, as `scripts/evaluate_numbers.py` makes them.
fn hashed(seed: u64, count: usize) -> Vec<f64> {
    const MASK: u64 = 0xffff_ffff;
    let number = |i: u64| {
        let mut x = (i * 2_654_435_761 + seed * 40_503 + 1) & MASK;
        x ^= x >> 15;
        x = (x * 2_246_822_519) & MASK;
        x ^= x >> 13;
        x = (x * 3_266_489_917) & MASK;
        x ^= x >> 16;
        x as f64 / 2_147_483_648.0 - 1.0
    };
    (0..count as u64).map(number).collect()
}

/// Names and shapes of the network's tensors, as the PyPI package names them.
fn tensors() -> Vec<(String, Vec<usize>)> {
    let mut all = Vec::new();
    let mut layer = |convolution: String, norm: String, shape: [usize; 4]| {
        all.push((format!("{convolution}.weight"), shape.to_vec()));
        for part in ["weight", "bias", "running_mean", "running_var"] {
            all.push((format!("{norm}.{part}"), vec![shape[0]]));
        }
    };
    layer("_conv_stem".into(), "_bn0".into(), [32, 3, 3, 3]);
    layer("_conv_head".into(), "_bn1".into(), [1280, 320, 1, 1]);
    let stages = [
        (1, 3, 1, 16),
        (2, 3, 6, 24),
        (2, 5, 6, 40),
        (3, 3, 6, 80),
        (3, 5, 6, 112),
        (4, 5, 6, 192),
        (1, 3, 6, 320),
    ];
    let (mut width, mut block) = (32, 0);
    for (count, kernel, factor, outputs) in stages {
        for _ in 0..count {
            let (at, inner) = (format!("_blocks.{block}"), width * factor);
            if factor > 1 {
                layer(format!("{at}._expand_conv"), format!("{at}._bn0"), [inner, width, 1, 1]);
            }
            layer(
                format!("{at}._depthwise_conv"),
                format!("{at}._bn1"),
                [inner, 1, kernel, kernel],
            );
            layer(format!("{at}._project_conv"), format!("{at}._bn2"), [outputs, inner, 1, 1]);
            (width, block) = (outputs, block + 1);
        }
    }
    all.extend([("_fc.weight".into(), vec![1000, 1280]), ("_fc.bias".into(), vec![1000])]);
    all.sort();
    all
}

/// The weights that `scripts/evaluate_numbers.py` gives the package's network.
pub fn write_weights(path: &Path, without: Option<&str>) {
    let mut writer = TensorWriter::default();
    for (seed, (name, shape)) in tensors().into_iter().enumerate() {
        if without == Some(name.as_str()) {
            continue;
        }
        let fan_in = shape[1..].iter().product::<usize>().max(1);
        let scaled = |value: f64| match name.as_str() {
            name if name.ends_with("running_var") => 1.0 + 0.5 * value,
            name if name.ends_with("running_mean") => 0.2 * value,
            name if name.contains("bn") && name.ends_with("weight") => 1.0 + 0.3 * value,
            name if name.contains("bn") || name == "_fc.bias" => 0.3 * value,
            _ => value * (6.0 / fan_in as f64).sqrt(),
        };
        let values = hashed(seed as u64, shape.iter().product());
        let values: Vec<f32> = values.into_iter().map(|value| scaled(value) as f32).collect();
        writer.floats(&name, &shape, &values, Precision::F32);
    }
    writer.write(path).unwrap();
}

/// Sixteen blocks add up in f32 in another order; the numbers were computed in f64.
const NETWORK_TOLERANCE: f32 = 1e-4;

fn network_matches(name: &str, device: &Device) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    write_weights(&path, None);
    let network = EfficientNet::open(&path, device).unwrap();
    let values: Vec<f32> = hashed(1000, 2 * 3 * 224 * 224).into_iter().map(|v| v as f32).collect();
    let images = Tensor::from_data(TensorData::new(values, [2, 3, 224, 224]), device);
    let found = host(network.forward(images));
    let expected = golden("efficientnet_lite0.safetensors").floats("features").unwrap().1;
    check("EfficientNet-Lite0: features", name, &found, &expected, NETWORK_TOLERANCE);

    // What it sees at several scales, as a distance of copies from pictures.
    let config = PerceptualConfig { weight: 1.0, network: path };
    let perceptual = Perceptual::open(&config, device).unwrap();
    let tracked = device.clone().autodiff();
    let pictures = |seed: u64| -> Tensor<4> {
        let values: Vec<f32> =
            hashed(seed, 2 * 3 * 32 * 32).into_iter().map(|v| v as f32).collect();
        Tensor::from_data(TensorData::new(values, [2, 3, 32, 32]), &tracked)
    };
    let made = pictures(1002).require_grad();
    let distance = perceptual.distance(pictures(1001), made.clone());
    let gradient = host(made.grad(&distance.backward()).unwrap());
    let golden = golden("efficientnet_lite0.safetensors");
    let expected = |name: &str| golden.floats(name).unwrap().1;
    let (found, of) = (host(distance.inner()), "perceptual distance");
    check(of, name, &found, &expected("perceptual"), NETWORK_TOLERANCE);
    check(of, name, &gradient, &expected("perceptual_gradient"), NETWORK_TOLERANCE);
    let same = perceptual.distance(pictures(1001), pictures(1001));
    assert!(host(same.inner())[0] < 1e-9);
}

#[test]
fn the_feature_network_gives_pytorchs_numbers_on_the_cpu() {
    network_matches("cpu", &cpu());
}

#[test]
fn the_feature_network_gives_pytorchs_numbers_on_the_gpu() {
    network_matches("gpu", &gpu());
}

/// `each` pictures of every class, of shapes that a seed moves about; names are the embedded model's classes.
fn write_pictures(root: &Path, classes: &[&str], each: u32, seed: u32) {
    for (at, class) in classes.iter().enumerate() {
        fs::create_dir_all(root.join(class)).unwrap();
        for i in 0..each {
            let numbers = hashed(u64::from(seed * 1000 + at as u32 * 100 + i), 5);
            let [x, y, size, r, g] = std::array::from_fn(|n| ((numbers[n] + 1.0) * 32.0) as u32);
            let picture = RgbImage::from_fn(64, 64, |px, py| {
                let inside = px.abs_diff(x) + py.abs_diff(y) < size / 2 + 8;
                if inside {
                    Rgb([3 * r as u8, 200, 4 * at as u8])
                } else {
                    Rgb([255, 4 * g as u8, 240])
                }
            });
            let bytes = png::encode(&picture, "{}").unwrap();
            fs::write(root.join(class).join(format!("{i:03}.png")), bytes).unwrap();
        }
    }
}

fn report(folder: &Path, name: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(folder.join(name)).unwrap()).unwrap()
}

fn row<'a>(report: &'a Value, compared: &str) -> &'a Value {
    let rows = report["figures"].as_array().unwrap();
    rows.iter().find(|row| row["compared"] == compared && row["class"].is_null()).unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

const CLASSES: [&str; 2] = ["cat-blue-in-a-meadow", "dog-golden-in-a-meadow"];

#[test]
fn a_set_lies_on_itself_and_copies_of_training_pictures_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_pictures(&at.join("data"), &CLASSES, 20, 1);
    write_pictures(&at.join("training"), &CLASSES, 30, 2);
    let judge = |pictures: &str, json: &str| {
        let arguments =
            ["evaluate", "--data", "data", "--pictures", pictures, "--training", "training"];
        let said = succeed(
            at,
            &[&arguments[..], &["--json", json, "--picture", "sheet.png"], &CPU].concat(),
        );
        assert!(said.contains("Frechet distance (the model's encoder), 256 features"), "{said}");
        report(at, json)
    };
    let same = judge("data", "same.json");
    let own = row(&same, "pictures");
    assert!(number(&own["frechet"]) < 1e-9, "{own}");
    assert!(number(&own["sliced_wasserstein"]) < 1e-12, "{own}");
    for figure in ["precision", "recall", "coverage"] {
        assert_eq!(number(&own[figure]), 1.0, "{figure}");
    }
    assert_eq!(own["vendi"], own["data_vendi"]);
    let memory = &own["memorisation"];
    assert_eq!((number(&memory["nearer"]), memory["copies"].as_u64()), (0.5, Some(0)), "{memory}");
    let halves = row(&same, "halves");
    assert_eq!(
        (halves["pictures"].as_u64(), halves["data_pictures"].as_u64()),
        (Some(20), Some(20))
    );
    assert!(
        number(&halves["kid"]["low"]) < 0.0 && number(&halves["kid"]["high"]) > 0.0,
        "{halves}"
    );
    let classes: Vec<&Value> =
        same["figures"].as_array().unwrap().iter().filter(|row| !row["class"].is_null()).collect();
    assert_eq!(classes.len(), 2);
    assert!(
        classes.iter().all(|row| row["frechet"].is_null() && row["pictures"] == 20),
        "{classes:?}"
    );
    let notes = same["notes"].to_string();
    assert!(notes.contains("no pictures of cat-blue-in-the-bedroom"), "{notes}");
    assert!(notes.contains("40 pictures are no more than the 256 features"), "{notes}");

    let copied = judge("training", "copied.json");
    let memory = &row(&copied, "pictures")["memorisation"];
    assert_eq!(memory["copies"].as_u64(), Some(60), "{memory}");
    assert_eq!((number(&memory["near"]), number(&memory["nearer"])), (1.0, 1.0), "{memory}");
    // Three pictures in a group, three groups in a row, 24 groups.
    let sheet = image::open(at.join("sheet.png")).unwrap();
    assert_eq!((sheet.width(), sheet.height()), (11 * 66 + 2, 8 * 66 + 2));

    let arguments =
        ["evaluate", "--data", "training/", "--pictures", "data", "--training", "training"];
    let output = purrscope(at, &[&arguments[..], &CPU].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("60 of its 60 pictures are training pictures"), "{said}");
}

#[test]
fn samples_are_kept_and_not_made_again_and_everything_can_be_computed_again() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_pictures(&at.join("data"), &CLASSES, 12, 1);
    let run = |more: &[&str]| {
        let arguments =
            ["evaluate", "--data", "data", "--count", "24", "--steps", "1", "--out", "kept"];
        succeed(at, &[&arguments[..], more, &CPU].concat())
    };
    let first = run(&["--json", "a.json", "--export-features", "a.safetensors"]);
    let mut kept: Vec<_> =
        fs::read_dir(at.join("kept")).unwrap().map(|entry| entry.unwrap().path()).collect();
    kept.sort();
    assert_eq!(kept.len(), 24);
    assert!(
        kept[0].ends_with("000000-cat-blue-in-a-meadow.png")
            && kept[23].ends_with("000023-dog-golden-in-a-meadow.png"),
        "{kept:?}"
    );
    let times = || -> Vec<_> {
        kept.iter().map(|path| fs::metadata(path).unwrap().modified().unwrap()).collect()
    };
    let before = times();
    // A picture that is missing is made again, to the same bytes; the others stay.
    let lost = fs::read(&kept[5]).unwrap();
    fs::remove_file(&kept[5]).unwrap();
    assert_eq!(run(&["--json", "b.json"]), first);
    assert_eq!(fs::read(&kept[5]).unwrap(), lost);
    let again = times();
    assert_eq!(run(&["--json", "c.json"]), first);
    assert_eq!(times(), again, "whole runs are read back");
    assert_ne!(before, again);
    assert_eq!(report(at, "a.json"), report(at, "b.json"));

    // The pictures of `sample` are those of an evaluation.
    let picture = kept[7].to_str().unwrap();
    succeed(at, &[&["sample", "--restore", picture, "--out", "restored"], &CPU[..]].concat());
    let restored = fs::read_dir(at.join("restored")).unwrap().next().unwrap().unwrap().path();
    let pixels = |path: &Path| image::open(path).unwrap().to_rgb8();
    assert_eq!(pixels(&restored), pixels(&kept[7]));

    let file = TensorFile::open(&at.join("a.safetensors")).unwrap();
    for (name, shape) in [
        ("encoder.data", vec![24, 256]),
        ("encoder.compared", vec![24, 256]),
        ("encoder.reconstructions", vec![24, 256]),
        ("encoder.directions", vec![256, 256]),
    ] {
        assert_eq!(file.floats(name).unwrap().0, shape, "{name}");
    }
    assert_eq!(
        file.integers("labels.compared").unwrap().1.iter().filter(|label| **label == 0).count(),
        12
    );
    let (shape, rows) = file.integers("encoder.compared.kid.1").unwrap();
    assert!(shape == [100, 12] && rows.iter().all(|row| (0..24).contains(row)), "{shape:?}");

    let other = ["evaluate", "--data", "data", "--count", "24", "--steps", "2", "--out", "kept"];
    fail(at, &[&other[..], &CPU].concat(), 1, "not what these settings and this model make");
}

#[test]
fn every_model_that_a_run_has_kept_is_judged() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_pictures(&at.join("data"), &CLASSES, 6, 1);
    let embedded = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/cats-and-dogs.safetensors");
    fs::create_dir(at.join("run")).unwrap();
    let arguments = ["evaluate", "--every-checkpoint", "run", "--data", "data", "--count", "12"];
    let all = [&arguments[..], &["--steps", "1"], &CPU].concat();
    fail(at, &all, 1, "run: no models of steps (the run file's keep_models_every keeps them)");
    for name in ["model-0000010", "model-0000002", "model-best", "model", "checkpoint-0000002"] {
        fs::copy(embedded, at.join("run").join(format!("{name}.safetensors"))).unwrap();
    }
    let said = succeed(at, &[&all[..], &["--out", "kept", "--json", "all.json"]].concat());
    let (first, second) = (said.find("step 2 ").unwrap(), said.find("step 10").unwrap());
    assert!(first < second && said.matches("step ").count() == 2, "{said}");
    let found = report(at, "all.json");
    let found = found["checkpoints"].as_array().unwrap();
    assert_eq!(found.iter().map(|of| of["step"].as_u64()).collect::<Vec<_>>(), [Some(2), Some(10)]);
    // Both are the same model.
    assert_eq!(found[0]["report"]["figures"], found[1]["report"]["figures"]);
    assert_eq!(fs::read_dir(at.join("kept/0000010")).unwrap().count(), 12);
    let both = [&arguments[..], &["--picture", "sheet.png"]].concat();
    fail(at, &both, 2, "--picture");
}

#[test]
fn features_of_real_pictures_are_kept_for_the_next_model() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_pictures(&at.join("data"), &CLASSES, 6, 1);
    write_pictures(&at.join("other"), &CLASSES, 6, 2);
    let run = |data: &str, more: &[&str]| {
        let arguments = ["evaluate", "--data", data, "--count", "12", "--steps", "1"];
        succeed(at, &[&arguments[..], more, &CPU].concat())
    };
    let kept = ["--known-features", "real.safetensors"];
    let plain = run("data", &[]);
    assert_eq!(run("data", &kept), plain);
    let file = at.join("real.safetensors");
    let written = || fs::metadata(&file).unwrap().modified().unwrap();
    let first = written();
    assert_eq!(run("data", &kept), plain);
    assert_eq!(written(), first, "they are taken from the file");
    let brief = run("data", &[&kept[..], &["--brief"]].concat());
    assert_eq!(written(), first, "what has more is enough");
    let rows = |said: &str| -> Vec<Vec<String>> {
        let rows = said.lines().filter(|line| line.contains('/'));
        rows.map(|row| row.split_whitespace().map(str::to_owned).collect()).collect()
    };
    assert_eq!((rows(&brief).len(), rows(&plain).len()), (1, 3), "{brief}{plain}");
    assert_eq!(rows(&brief)[0], rows(&plain)[0]);
    // Other pictures in its place are noticed, and so are others under the same name.
    let other = run("other", &[]);
    assert_eq!(run("other", &kept), other);
    assert_ne!(written(), first);
    fs::remove_dir_all(at.join("data")).unwrap();
    fs::rename(at.join("other"), at.join("data")).unwrap();
    assert_eq!(run("data", &kept), other);
    fs::write(at.join("notes.txt"), "mine").unwrap();
    let notes = ["evaluate", "--data", "data", "--known-features", "notes.txt"];
    fail(at, &[&notes[..], &CPU].concat(), 1, "let the name end in .safetensors");
    assert_eq!(fs::read_to_string(at.join("notes.txt")).unwrap(), "mine");
}

#[test]
fn what_cannot_be_judged_is_refused_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_pictures(&at.join("data"), &CLASSES, 4, 1);
    write_pictures(&at.join("one"), &CLASSES[..1], 1, 1);
    fs::create_dir(at.join("empty")).unwrap();
    let run = |arguments: &[&str], expected: &str| {
        fail(at, &[&["evaluate"], arguments, &CPU].concat(), 1, expected);
    };
    run(&["--data", "nowhere"], "no such folder");
    run(&["--data", "empty"], "no pictures found");
    run(&["--data", "one", "--pictures", "data"], "1 picture to compare, at least 2 are needed");
    run(&["--data", "data", "--pictures", "one"], "1 picture to compare, at least 2 are needed");
    run(&["--data", "data", "--count", "1"], "count must be 2 to");
    run(&["--data", "data", "--features", "nowhere.pth"], "nowhere.pth");
    fs::write(at.join("text.pth"), "no weights").unwrap();
    run(&["--data", "data", "--features", "text.pth"], "text.pth");
    // torchvision's network, of which no FID can be taken.
    let mut writer = TensorWriter::default();
    writer.floats("Mixed_7c.branch_pool.conv.weight", &[1], &[0.0], Precision::F32);
    writer.floats("fc.weight", &[1, 3], &[0.0; 3], Precision::F32);
    writer.write(&at.join("torchvision.safetensors")).unwrap();
    let expected = "not the weights of the Inception-v3 of the FID: tensor 'fc.weight' has shape [1, 3], expected \
                    [1008, 2048]";
    run(&["--data", "data", "--features", "torchvision.safetensors"], expected);
    let embedded = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/cats-and-dogs.safetensors");
    let other = "not the weights of EfficientNet-Lite0: it has no tensor '_conv_head.weight'";
    run(&["--data", "data", "--features", embedded], other);
    let torch = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/purrception.pth");
    run(&["--data", "data", "--features", torch], other);
    write_weights(&at.join("half.safetensors"), Some("_blocks.3._bn1.running_var"));
    run(
        &["--data", "data", "--features", "half.safetensors"],
        "it has no tensor '_blocks.3._bn1.running_var' [144]",
    );
    run(&["--data", "data", "--json", "out.png"], "let the name end in .json");
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/latents-000000.tar");
    run(&["--data", golden, "--pictures", "data"], "its latents are");
    assert!(!at.join("out.png").exists());

    // Classes that the model does not have are said, and what is left is compared.
    write_pictures(&at.join("more"), &["cat-blue-in-a-meadow", "teapot"], 6, 3);
    write_pictures(&at.join("strange"), &["a", "b"], 6, 3);
    let says = |data: &str, expected: &str| {
        let arguments = ["evaluate", "--data", data, "--pictures", "data"];
        let output = purrscope(at, &[&arguments[..], &CPU].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.contains(expected), "{said}");
    };
    says("more", "left out what is no class of the model: teapot");
    says("strange", "none of its classes is one of the model's: compared as a whole");
    let big = RgbImage::from_pixel(90, 70, Rgb([9; 3]));
    fs::write(at.join("data/cat-blue-in-a-meadow/big.png"), png::encode(&big, "{}").unwrap())
        .unwrap();
    says("strange", "data: not all of its pictures are 64x64");
}

#[test]
fn latents_in_shards_are_decoded_and_compared() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_pictures(&at.join("data"), &CLASSES, 10, 1);
    let embedded = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/cats-and-dogs.safetensors");
    succeed(at, &[&["encode", embedded, "data", "--shards", "shards"], &CPU[..]].concat());
    let arguments = ["evaluate", "--data", "shards", "--pictures", "data", "--json", "a.json"];
    succeed(at, &[&arguments[..], &["--export-features", "a.safetensors"], &CPU].concat());
    let found = report(at, "a.json");
    assert!(found["notes"].to_string().contains("decoded by the model's tokenizer"), "{found}");
    assert_eq!(row(&found, "pictures")["data_pictures"], 20);
    // Decoded latents are the tokenizer's reconstructions of the same pictures.
    let arguments =
        ["evaluate", "--data", "data", "--pictures", "data", "--export-features", "b.safetensors"];
    succeed(at, &[&arguments[..], &CPU].concat());
    let features =
        |file: &str, name: &str| TensorFile::open(&at.join(file)).unwrap().floats(name).unwrap().1;
    let (found, floor) = (
        features("a.safetensors", "encoder.data"),
        features("b.safetensors", "encoder.reconstructions"),
    );
    // A level that is rounded the other way is worth that much.
    check("features of decoded latents", "cpu", &found, &floor, 1e-3);
    let plain = features("b.safetensors", "encoder.data");
    assert!(worst(&plain, &floor) > 1e-2, "a tokenizer that loses nothing");
}
