//! The command line on the embedded model.

use std::fs;
use std::path::Path;

use purrscope::io::png;
use purrscope::io::tensors::{Precision, TensorFile, TensorWriter};
use serde_json::Value;

use crate::common::{fail, succeed};

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_the_gpu_the_same_picture() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let run = |out: &str, device: &str| {
        let arguments = [
            "sample",
            "--class",
            "cat-orange-in-a-meadow",
            "--steps",
            "3",
            "--seed",
            "7",
            "--out",
            out,
            "--device",
            device,
        ];
        succeed(at, &arguments);
        let name = files(&at.join(out)).pop().unwrap();
        fs::read(at.join(out).join(name)).unwrap()
    };
    let (a, b, gpu) = (run("a", "cpu"), run("b", "cpu"), run("c", "gpu"));
    assert!(a == b, "two runs on one device differ");
    let (cpu, gpu) = (image::load_from_memory(&a).unwrap(), image::load_from_memory(&gpu).unwrap());
    let (cpu, gpu) = (cpu.to_rgb8(), gpu.to_rgb8());
    let worst = cpu.as_raw().iter().zip(gpu.as_raw()).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
    println!("largest difference between cpu and gpu: {worst} levels");
    assert!(worst <= 2, "cpu and gpu differ by {worst} levels");
}

#[test]
fn a_sampled_picture_holds_its_settings_and_a_trajectory_everything() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    succeed(
        at,
        &[
            "sample",
            "--labels",
            "5,20",
            "--steps",
            "4",
            "--seed",
            "3",
            "--temperature",
            "linear:1.2:0.6",
            "--cfg",
            "1",
            "--out",
            "out",
            "--trajectory",
            "t.safetensors",
            "--device",
            "cpu",
        ],
    );
    let pictures = files(&at.join("out"));
    assert_eq!(pictures.len(), 2, "{pictures:?}");
    let settings = png::settings(&fs::read(at.join("out").join(&pictures[0])).unwrap()).unwrap();
    let settings: Value = serde_json::from_str(&settings).unwrap();
    assert_eq!(settings["seed"], 3);
    assert_eq!(settings["temperature"], "linear:1.2:0.6");
    assert_eq!(settings["labels"], serde_json::json!([5, 20]));

    let file = TensorFile::open(&at.join("t.safetensors")).unwrap();
    let shape = |name: &str| {
        file.entries().into_iter().find(|entry| entry.0 == name).map(|entry| entry.2).unwrap()
    };
    for (name, expected) in [
        ("t", vec![5]),
        ("temperature", vec![4]),
        ("x", vec![5, 2, 8, 16, 16]),
        ("posterior_mean", vec![4, 2, 8, 16, 16]),
        ("entropy", vec![4, 2, 16, 16]),
        ("log_z", vec![4, 2, 16, 16]),
        ("top_codes", vec![4, 2, 8, 16, 16]),
        ("top_probs", vec![4, 2, 8, 16, 16]),
        ("codes", vec![2, 16, 16]),
        ("labels", vec![2]),
    ] {
        assert_eq!(shape(name), expected, "{name}");
    }
    let entropy = file.floats("entropy").unwrap().1;
    assert!(entropy.iter().all(|nats| (-1e-4..=1024f32.ln() + 1e-3).contains(nats)));
    let report: Value =
        serde_json::from_str(&succeed(at, &["inspect", "t.safetensors", "--json"])).unwrap();
    assert_eq!(report["kind"], "trajectory");
    assert_eq!(report["metadata"]["steps"], 4);
    let picture = format!("out/{}", pictures[1]);
    assert!(succeed(at, &["inspect", &picture]).contains("linear:1.2:0.6"));
}

#[test]
fn a_run_is_animated_in_both_formats() {
    use image::AnimationDecoder;
    use image::codecs::{gif::GifDecoder, png::PngDecoder};
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for (format, name) in [("gif", "seed5.gif"), ("apng", "seed5.png")] {
        let run = ["sample", "--labels", "1,2", "--steps", "2", "--seed", "5", "--device", "cpu"];
        succeed(at, &[&run[..], &["--out", format, "--animate", format]].concat());
        let bytes = fs::read(at.join(format).join(name)).unwrap();
        let reader = std::io::Cursor::new(&bytes);
        let frames = match format {
            "gif" => GifDecoder::new(reader).unwrap().into_frames(),
            _ => PngDecoder::new(reader).unwrap().apng().unwrap().into_frames(),
        };
        let frames = frames.collect_frames().unwrap();
        assert_eq!(frames.len(), 3, "{format}");
        let size = frames[2].buffer().dimensions();
        assert_eq!(size, (2 * 194 + 2, 194 + 2), "{format}");
        if format == "apng" {
            assert!(png::settings(&bytes).unwrap().contains(r#""labels":[1,2]"#));
        }
    }
}

#[test]
fn given_noise_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let mut writer = TensorWriter::default();
    let noise = vec![0.25; 8 * 16 * 16];
    writer.floats("noise", &[1, 8, 16, 16], &noise, Precision::F32);
    writer.write(&at.join("n.safetensors")).unwrap();
    let run = ["sample", "--labels", "1", "--steps", "1", "--noise", "n.safetensors", "--out", "o"];
    succeed(at, &[&run[..], &["--trajectory", "t.safetensors", "--device", "cpu"]].concat());
    let x = TensorFile::open(&at.join("t.safetensors")).unwrap().floats("x").unwrap().1;
    assert_eq!(x[..noise.len()], noise);
    fail(
        at,
        &["sample", "--labels", "1,2", "--noise", "n.safetensors", "--out", "p"],
        1,
        "expected [2, 8, 16, 16]",
    );
}

#[test]
fn extreme_temperatures_work_and_bad_settings_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let sample = |more: &[&'static str]| {
        [
            &[
                "sample",
                "--class",
                "dog-red-in-the-woods",
                "--steps",
                "2",
                "--device",
                "cpu",
                "--out",
                "o",
            ],
            more,
        ]
        .concat()
    };
    for temperature in ["0", "1e9"] {
        succeed(at, &sample(&["--temperature", temperature]));
    }
    fs::remove_dir_all(at.join("o")).unwrap();
    for temperature in ["-1", "NaN", "hot"] {
        fail(at, &sample(&["--temperature", temperature]), 1, "temperature");
    }
    fail(at, &["sample", "--class", "goat", "--out", "o"], 1, "unknown class 'goat'");
    fail(at, &["sample", "--labels", "48", "--out", "o"], 1, "label 48 is out of range");
    fail(
        at,
        &["sample", "--labels", "1", "--steps", "0", "--out", "o"],
        1,
        "steps must be a whole number from 1 to",
    );
    fail(at, &["sample", "--labels", "1", "--solver", "magic", "--out", "o"], 1, "magic");
    fail(at, &["sample", "--out", "o"], 1, "name what to make");
    fail(
        at,
        &["sample", "nowhere.safetensors", "--labels", "1", "--out", "o"],
        1,
        "nowhere.safetensors",
    );
    fs::write(at.join("short.safetensors"), b"1234567").unwrap();
    fail(
        at,
        &["sample", "short.safetensors", "--labels", "1", "--out", "o"],
        1,
        "short.safetensors",
    );
    fs::write(at.join("file"), b"x").unwrap();
    fail(
        at,
        &["sample", "--labels", "1", "--steps", "1", "--out", "file/o"],
        1,
        "cannot write to file/o",
    );
    assert!(!at.join("o").exists(), "a refused run leaves nothing behind");
}

#[test]
fn truncated_models_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let whole = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/cats-and-dogs.safetensors");
    let bytes = fs::read(whole).unwrap();
    for percent in [0, 1, 20, 50, 99] {
        fs::write(at.join("m.safetensors"), &bytes[..bytes.len() * percent / 100]).unwrap();
        fail(at, &["inspect", "m.safetensors"], 1, "m.safetensors");
    }
    // A card that asks for more than the file holds: a small file makes nothing large.
    let card =
        TensorFile::open(Path::new(whole)).unwrap().metadata("purrscope").unwrap().to_owned();
    for (key, value) in [
        ("\"depth\":8", "\"depth\":4000000000"),
        ("\"hidden_size\":192", "\"hidden_size\":60000"),
        ("\"input_size\":16", "\"input_size\":1000000"),
        ("\"residual_blocks\":1", "\"residual_blocks\":4000000000"),
        ("\"codes\":1024", "\"codes\":1000000000000"),
    ] {
        assert!(card.contains(key), "{key} is not in {card}");
        let mut writer = TensorWriter::default();
        writer.metadata("purrscope", card.replace(key, value));
        writer.floats(
            "backbone.final_layer.linear.weight",
            &[4096, 192],
            &vec![0.0; 4096 * 192],
            Precision::F16,
        );
        writer.write(&at.join("m.safetensors")).unwrap();
        fail(at, &["sample", "m.safetensors", "--labels", "1", "--out", "o"], 1, "m.safetensors");
    }
    let report: Value = serde_json::from_str(&succeed(at, &["inspect", whole, "--json"])).unwrap();
    assert_eq!(report["card"]["class_names"].as_array().unwrap().len(), 48);
}

#[test]
fn devices_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let list: Value =
        serde_json::from_str(&succeed(folder.path(), &["devices", "--json"])).unwrap();
    assert!(list["auto"].is_string());
    let autotuned = list["autotune"].as_bool().unwrap();
    assert_eq!(autotuned, purrscope::device::AUTOTUNED);
    let (same, other) = if autotuned { ("on", "off") } else { ("off", "on") };
    let sample = |answer| {
        ["sample", "--labels", "1", "--steps", "1", "--device", "cpu", "--autotune", answer]
    };
    let with_out = |answer| [&sample(answer)[..], &["--out", "o"]].concat();
    fail(folder.path(), &with_out(other), 1, "cargo build --release");
    succeed(folder.path(), &with_out(same));
    fail(folder.path(), &with_out("perhaps"), 1, "perhaps");
    fail(
        folder.path(),
        &["sample", "--labels", "1", "--device", "gpu:99", "--out", "o"],
        1,
        "no adapter 99",
    );
    fail(
        folder.path(),
        &["sample", "--labels", "1", "--device", "abacus", "--out", "o"],
        1,
        "abacus",
    );
}

#[test]
fn pictures_become_codes_and_pictures_again() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/cats-and-dogs.safetensors");
    let sample = ["sample", "--labels", "4,18", "--steps", "4", "--out", "o", "--device", "cpu"];
    succeed(at, &sample);
    fs::write(at.join("o/broken.png"), b"x").unwrap();
    succeed(at, &["encode", model, "o", "--out", "codes.safetensors", "--device", "cpu"]);
    let (shape, codes) =
        TensorFile::open(&at.join("codes.safetensors")).unwrap().integers("codes").unwrap();
    assert_eq!(shape, [2, 16, 16]);
    succeed(at, &["decode", model, "codes.safetensors", "--out", "p", "--device", "cpu"]);
    assert_eq!(files(&at.join("p")), ["00000.png", "00001.png"]);
    // Decoded pictures are close to those they were made from.
    let first = files(&at.join("o")).into_iter().find(|name| name.starts_with("cat")).unwrap();
    let read = |path: &Path| image::open(path).unwrap().to_rgb8();
    let (a, b) = (read(&at.join("o").join(first)), read(&at.join("p/00000.png")));
    let off: u32 = a.as_raw().iter().zip(b.as_raw()).map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
    assert!((off as f32) < 20.0 * a.as_raw().len() as f32, "pictures differ by {off}");

    let mut writer = TensorWriter::default();
    writer.integers("codes", &[1, 16, 16], codes[..256].iter().map(|code| code + 1024));
    writer.write(&at.join("bad.safetensors")).unwrap();
    fail(
        at,
        &["decode", model, "bad.safetensors", "--out", "q"],
        1,
        "a code is not from 0 to 1023",
    );
    fail(at, &["encode", model, "nowhere", "--out", "c.safetensors"], 1, "nowhere");
}

/// The settings inside a picture are enough to make it again, pins and all.
#[test]
fn a_picture_is_made_again_from_its_own_settings() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let common = ["--device", "cpu", "--out"];
    let sample = [
        "sample",
        "--class",
        "cat-orange-in-a-meadow",
        "--count",
        "2",
        "--steps",
        "3",
        "--eta",
        "0.5",
        "--temperature",
        "cosine:1.1:0.7",
        "--pin",
        "1,7,7=100",
        "--ban",
        "0,0,0=5",
    ];
    succeed(at, &[&sample[..], &common, &["a"]].concat());
    let picture = format!("a/{}", files(&at.join("a")).pop().unwrap());
    succeed(at, &[&["sample", "--restore", picture.as_str()], &common[..], &["b"]].concat());
    let restored = files(&at.join("b"));
    assert_eq!(restored.len(), 1, "{restored:?}");
    let read = |path: &str| fs::read(at.join(path)).unwrap();
    assert!(read(&picture) == read(&format!("b/{}", restored[0])), "the picture differs");
    let other =
        [&["sample", "--restore", picture.as_str(), "--steps", "9"], &common[..], &["c"]].concat();
    fail(at, &other, 2, "cannot be used with");
    let pin = [&sample[..], &["--pin", "2,0,0=1"], &common, &["c"]].concat();
    fail(
        at,
        &pin,
        1,
        "pin 2,0,0=1 is out of range: there are 2 images of 16x16 tokens and 1024 codes",
    );
}

#[test]
fn the_oracle_gives_back_its_prior_and_measures_solvers() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let model = format!("{}/assets/cats-and-dogs.safetensors", env!("CARGO_MANIFEST_DIR"));
    for more in [
        vec!["--codebook", "ring", "--steps", "200"],
        vec!["--codebook", "grid", "--solver", "exp2m", "--steps", "80", "--prior", "uniform"],
        vec!["--masked", "--eta", "2"],
        vec!["--codebook", &model, "--side", "16", "--trajectory", "t.safetensors"],
    ] {
        let said = succeed(at, &[&["oracle", "--json"], more.as_slice()].concat());
        let report: Value = serde_json::from_str(&said).unwrap();
        let figure = |key: &str| report[key].as_f64().unwrap();
        let (found, chance) = (figure("total_variation"), figure("total_variation_by_chance"));
        assert!(
            found > 0.0 && found < 2.0 * chance + 0.01,
            "{more:?}: {found}, by chance {chance}"
        );
    }
    assert!(TensorFile::open(&at.join("t.safetensors")).unwrap().contains("entropy"));
    let compare = ["oracle", "--compare", "--side", "16", "--plot", "p.svg", "--json"];
    let points: Value = serde_json::from_str(&succeed(at, &compare)).unwrap();
    let error = |solver: &str, evaluations: u64| {
        let mut points = points.as_array().unwrap().iter();
        let point = points.find(|p| p["solver"] == solver && p["evaluations"] == evaluations);
        point.unwrap()["rms_error"].as_f64().unwrap()
    };
    assert!(error("exp2m", 10) < error("euler", 20));
    assert!(fs::read_to_string(at.join("p.svg")).unwrap().contains("exp2m at 10"));
    fail(at, &["oracle", "--codebook", "nowhere.safetensors"], 1, "nowhere.safetensors");
}

#[test]
fn a_sweep_fills_a_sheet_and_a_table() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let base = ["sweep", "--class", "cat-orange-in-a-meadow", "--seed", "7", "--device", "cpu"];
    let sweep = |more: &[&'static str]| [&base[..], more].concat();
    let said = succeed(
        at,
        &sweep(&[
            "--x",
            "eta=0,0.5",
            "--y",
            "solver=euler,heun",
            "--steps",
            "2",
            "--cfg",
            "1",
            "--out",
            "sheets/s.png",
            "--csv",
            "s.csv",
        ]),
    );
    assert!(said.contains("2 x 2 cells in sheets/s.png, 1 left out (eta must be"), "{said}");
    let bytes = fs::read(at.join("sheets/s.png")).unwrap();
    let sheet = image::load_from_memory(&bytes).unwrap().to_rgb8();
    // Two pictures of 64 pixels side by side, enlarged three times, with names beside them.
    assert!(sheet.width() > 2 * 192 && sheet.height() > 2 * 192, "{:?}", sheet.dimensions());
    let settings: Value = serde_json::from_str(&png::settings(&bytes).unwrap()).unwrap();
    assert_eq!(
        (&settings["seed"], &settings["sweep"]["x"]["parameter"]),
        (&7.into(), &"eta".into())
    );
    let table = fs::read_to_string(at.join("s.csv")).unwrap();
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines[0], "eta,solver,pictures,evaluations,milliseconds,final_entropy_nats,refused");
    let fields: Vec<&str> = lines[1].split(',').collect();
    assert_eq!(fields[..4], ["0", "euler", "1", "2"]);
    assert!(fields[5].parse::<f32>().unwrap() > 0.0, "{}", lines[1]);
    assert!(lines[3].starts_with("0,heun,1,3,") && lines[4].contains("0.5 with heun"), "{table}");
    assert_eq!(lines.len(), 5);

    // One axis, of classes, needs no other class; a part of a name means all that begin so.
    let classes = [
        "sweep",
        "--x",
        "class=dog-white-in-the-woods, dog-red-in-a",
        "--steps",
        "1",
        "--device",
        "cpu",
    ];
    let said = succeed(at, &[&classes[..], &["--all", "--out", "c.png"]].concat());
    assert!(said.starts_with("2 x 1 cells in c.png"), "{said}");

    for (x, code, expected) in [
        ("hue=1", 1, "unknown parameter 'hue'"),
        ("steps", 1, "is not PARAMETER=VALUES"),
        ("steps=4, many", 1, "'many' is not a valid value of steps"),
        ("solver=heun", 1, "no cell of the sweep can be run"),
        ("tolerance=0.1,0.01", 1, "only the solver dopri5 has one"),
    ] {
        let arguments = sweep(&["--eta", "0.5", "--steps", "1", "--out", "no.png", "--x"]);
        fail(at, &[&arguments[..], &[x]].concat(), code, expected);
    }
    fail(at, &["sweep", "--x", "steps=1", "--out", "no.png"], 1, "name what to make");
    fail(at, &sweep(&["--x", "steps=1"]), 2, "--out");
    fs::write(at.join("file"), b"x").unwrap();
    fail(at, &sweep(&["--x", "steps=1", "--out", "file/s.png"]), 1, "cannot write to file");
    assert!(!at.join("no.png").exists());
}

#[test]
fn a_code_can_be_banned_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let sample = ["sample", "--labels", "4", "--steps", "2", "--device", "cpu", "--out", "o"];
    let codes = |more: &[&str]| {
        succeed(at, &[&sample[..], &["--trajectory", "t.safetensors"], more].concat());
        TensorFile::open(&at.join("t.safetensors")).unwrap().integers("codes").unwrap().1
    };
    let common = codes(&[])[0];
    let banned = codes(&["--ban-code", &common.to_string()]);
    assert!(!banned.contains(&common));
    fail(at, &[&sample[..], &["--ban-code", "1024"]].concat(), 1, "a banned code must be");
}
