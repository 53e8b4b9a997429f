//! What commands write and say: nothing is lost, nothing lands elsewhere, nothing is too much.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use image::RgbImage;
use purrscope::flow::{SampleSettings, Sampler};
use purrscope::io::png;
use purrscope::io::tensors::{Precision, TensorFile, TensorWriter};
use purrscope::model::Model;
use serde_json::{Value, json};

use crate::common::{cpu, fail, golden_path, purrscope, succeed};

/// The model that is embedded, as a file.
const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/cats-and-dogs.safetensors");
/// One picture of one step.
const SAMPLE: [&str; 7] = ["sample", "--labels", "12", "--steps", "1", "--device", "cpu"];

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Writes a PNG with settings inside.
fn picture(path: &Path, settings: &str) {
    fs::write(path, png::encode(&RgbImage::new(2, 2), settings).unwrap()).unwrap();
}

/// The settings of a picture of one step, and the folder that it lies in.
fn sampled(at: &Path) -> Value {
    succeed(at, &[&SAMPLE[..], &["--out", "o"]].concat());
    let bytes = fs::read(at.join("o").join(&names(&at.join("o"))[0])).unwrap();
    serde_json::from_str(&png::settings(&bytes).unwrap()).unwrap()
}

#[test]
fn pictures_of_other_settings_are_numbered_on() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let sample = |temperature: &str, format: &str| {
        let more = ["--out", "out", "--temperature", temperature, "--animate", format];
        succeed(at, &[&SAMPLE[..], &more].concat())
    };
    for temperature in ["0.3", "0.9", "1.5"] {
        sample(temperature, "gif");
    }
    let made = names(&at.join("out"));
    let expected =
        ["-2.png", "-3.png", ".png"].map(|end| format!("cat-orange-in-a-meadow-seed0-000{end}"));
    assert_eq!(made[..3], expected);
    assert!(made[3..].iter().all(|name| name.starts_with("seed0") && name.ends_with(".gif")));
    // The same again is there already.
    let said = sample("0.3", "gif");
    sample("0.9", "gif");
    assert_eq!(names(&at.join("out")), made);
    assert!(!said.contains("numbered"), "{said}");
    assert!(sample("0.2", "apng").contains("1 numbered since other pictures have their names"));
    assert!(at.join("out/seed0.png").exists());

    succeed(
        at,
        &["encode", MODEL, "out/cat-orange-in-a-meadow-seed0-000.png", "--out", "c.safetensors"],
    );
    let decode = ["decode", MODEL, "c.safetensors", "--out", "p", "--device", "cpu"];
    succeed(at, &decode);
    succeed(at, &decode);
    assert_eq!(names(&at.join("p")), ["00000.png"]);
    fs::write(at.join("p/00000.png"), "another picture").unwrap();
    succeed(at, &decode);
    assert_eq!(names(&at.join("p")), ["00000-2.png", "00000.png"]);
    assert_eq!(fs::read(at.join("p/00000.png")).unwrap(), b"another picture");
}

/// A model whose first class is called otherwise.
fn renamed_model(path: &Path, class: &str) {
    let bytes = fs::read(MODEL).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let card = header["__metadata__"]["purrscope"].as_str().unwrap();
    let mut card: Value = serde_json::from_str(card).unwrap();
    card["class_names"][0] = class.into();
    header["__metadata__"]["purrscope"] = card.to_string().into();
    let mut header = header.to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    let parts = [&(header.len() as u64).to_le_bytes(), &header[..], &bytes[8 + length..]];
    fs::write(path, parts.concat()).unwrap();
}

#[test]
fn a_class_name_leads_to_no_other_folder() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let absolute = at.join("absolute").display().to_string();
    for (class, expected) in [
        ("../../escaped", "escaped"),
        ("product packet / packaging", "product packet - packaging"),
        (absolute.as_str(), ""),
        ("con:\"*?<>|\n\u{1b}[2J", "con--------"),
        ("..", "unnamed"),
        ("", "unnamed"),
        (&"tench ".repeat(50), "tench tench"),
    ] {
        let inner = at.join("w");
        fs::create_dir_all(inner.join("out")).unwrap();
        renamed_model(&inner.join("m.safetensors"), class);
        let sample = ["sample", "m.safetensors", "--labels", "0", "--steps", "1", "--out", "out"];
        succeed(&inner, &[&sample[..], &["--device", "cpu"]].concat());
        let made = names(&inner.join("out"));
        assert!(made.len() == 1 && made[0].starts_with(expected), "{class:?}: {made:?}");
        assert!(made[0].ends_with("-seed0-000.png") && made[0].len() < 150, "{made:?}");
        assert_eq!(names(at), ["w"], "{class:?}");
        assert_eq!(names(&inner), ["m.safetensors", "out"], "{class:?}");
        // What the picture says of itself is the name as it is.
        let bytes = fs::read(inner.join("out").join(&made[0])).unwrap();
        let settings: Value = serde_json::from_str(&png::settings(&bytes).unwrap()).unwrap();
        assert_eq!(settings["class"], class);
        fs::remove_dir_all(&inner).unwrap();
    }
}

#[test]
fn names_that_cannot_be_written_are_refused_before_the_work() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::create_dir(at.join("dir")).unwrap();
    fs::write(at.join("file"), "").unwrap();
    fs::copy(MODEL, at.join("m.safetensors")).unwrap();
    let mut writer = TensorWriter::default();
    writer.floats("noise", &[1, 8, 16, 16], &[0.5; 2048], Precision::F32);
    writer.write(&at.join("n.safetensors")).unwrap();
    let before = names(at);
    let sample = |trajectory: &'static str, more: &[&'static str]| {
        let all = [&SAMPLE[..], &["--out", "o", "--trajectory", trajectory], more].concat();
        all.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    for (arguments, expected) in [
        (sample("dir", &[]), "dir: this is a folder"),
        (sample("gone/", &[]), "gone/: this is a folder"),
        (sample("t.npz", &[]), "let the name end in .safetensors"),
        (sample("file/t.safetensors", &[]), "cannot write to file"),
        (sample("o", &[]), "which the command uses"),
        (sample("n.safetensors", &["--noise", "n.safetensors"]), "would replace n.safetensors"),
        (words("sample m.safetensors --labels 4 --out o --trajectory ./m.safetensors"), "replace"),
        (words("sweep --labels 4 --x steps=1 --out s.jpg"), "let the name end in .png"),
        (words("sweep --labels 4 --x steps=1 --out dir"), "dir: this is a folder"),
        (words("sweep --labels 4 --x steps=1 --out s.png --csv s.xlsx"), "end in .csv"),
        (words("sweep --labels 4 --x steps=1 --out file/s.png"), "cannot write to file"),
        (words("encode m.safetensors dir --out c.npz"), "let the name end in .safetensors"),
        (words("encode m.safetensors dir --out m.safetensors"), "would replace m.safetensors"),
        (words("encode m.safetensors dir --out dir"), "dir: this is a folder"),
        (words("decode m.safetensors n.safetensors --out file"), "'codes' is missing"),
        (words("decode m.safetensors n.safetensors --out p.png"), "name a folder"),
        (words("sample --labels 5 --out cat.png"), "name a folder"),
        (words("encode m.safetensors dir --shards s.tar"), "name a folder"),
        (words("oracle --steps 2 --side 4 --trajectory t.csv"), "end in .safetensors"),
        (words("oracle --compare --side 4 --plot p.png"), "end in .svg"),
        #[cfg(unix)]
        (words("sweep --labels 4 --x steps=1 --out s.png --csv /dev/null"), "not a regular file"),
    ] {
        let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        if arguments[0] != "oracle" && !arguments.contains(&"--device") {
            arguments.extend(["--device", "cpu"]);
        }
        fail(at, &arguments, 1, expected);
        assert_eq!(names(at), before, "{arguments:?}");
    }
}

#[test]
fn folders_that_are_missing_are_made() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    succeed(at, &[&SAMPLE[..], &["--out", "a/o", "--trajectory", "b/c/t.safetensors"]].concat());
    let sweep = ["sweep", "--labels", "4", "--x", "steps=1", "--device", "cpu"];
    succeed(at, &[&sweep[..], &["--out", "d/s.png", "--csv", "e/s.csv"]].concat());
    succeed(at, &["encode", MODEL, "a/o", "--out", "f/c.safetensors", "--device", "cpu"]);
    succeed(at, &["oracle", "--compare", "--side", "4", "--plot", "g/p.svg"]);
    succeed(at, &["oracle", "--steps", "2", "--side", "4", "--trajectory", "h/t.safetensors"]);
    let (good, hparams) = (golden_path("cfm.pth"), golden_path("cfm.hparams.json"));
    let vq = golden_path("tokenizer_vqf8.ckpt");
    let import = ["import", &good, "--hparams", &hparams, "--tokenizer", &vq];
    succeed(at, &[&import[..], &["--out", "i/m.safetensors"]].concat());
    for name in ["b/c/t", "f/c", "h/t", "i/m"] {
        TensorFile::open(&at.join(format!("{name}.safetensors"))).unwrap();
    }
    assert!(["d/s.png", "e/s.csv", "g/p.svg"].iter().all(|name| at.join(name).is_file()));
}

/// Cut into batches, every picture is what it is in one batch.
#[test]
fn many_pictures_are_those_of_one_batch() {
    const COUNT: usize = 35;
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let labels: Vec<String> = (0..COUNT).map(|image| (image % 7).to_string()).collect();
    let labels = labels.join(",");
    let sample = ["sample", "--labels", &labels, "--steps", "2", "--eta", "0.4", "--seed", "3"];
    let sample = [&sample[..], &["--pin", "33,2,2=9", "--device", "cpu"]].concat();
    succeed(at, &[&sample[..], &["--out", "o"]].concat());
    let model = Model::embedded(&cpu()).unwrap();
    let settings = SampleSettings {
        labels: (0..COUNT).map(|image| image % 7).collect(),
        steps: 2,
        eta: 0.4,
        seed: 3,
        pins: vec!["33,2,2=9".parse().unwrap()],
        ..SampleSettings::default()
    };
    let mut whole = Sampler::new(&model, settings.clone(), None).unwrap();
    whole.by_ref().for_each(drop);
    let pictures = model.decode_codes(&whole.codes(), COUNT);
    let mut read: Vec<(u64, RgbImage)> = names(&at.join("o"))
        .iter()
        .map(|name| {
            let bytes = fs::read(at.join("o").join(name)).unwrap();
            let record: Value = serde_json::from_str(&png::settings(&bytes).unwrap()).unwrap();
            assert_eq!(record["labels"].as_array().unwrap().len(), COUNT);
            let picture = image::load_from_memory(&bytes).unwrap().to_rgb8();
            (record["image"].as_u64().unwrap(), picture)
        })
        .collect();
    read.sort_by_key(|(image, _)| *image);
    assert_eq!(read.len(), COUNT);
    for ((image, found), expected) in read.iter().zip(&pictures) {
        assert!(found == expected, "picture {image} differs");
    }
    // And one of a later batch is made again alone.
    let last = names(&at.join("o")).into_iter().find(|name| name.contains("-034")).unwrap();
    let last = format!("o/{last}");
    succeed(at, &["sample", "--restore", &last, "--out", "again", "--device", "cpu"]);
    let again = at.join("again").join(&names(&at.join("again"))[0]);
    assert!(fs::read(again).unwrap() == fs::read(at.join(&last)).unwrap());
}

#[test]
fn numbers_beyond_reason_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let huge = u64::MAX.to_string();
    let sample = |more: &[&str]| {
        let fixed =
            ["sample", "--class", "cat-orange-in-a-meadow", "--out", "o", "--device", "cpu"];
        fixed.iter().chain(more).map(|word| (*word).to_owned()).collect::<Vec<_>>()
    };
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    for (arguments, expected) in [
        (sample(&["--count", "100000000"]), "count must be 1 to 1000000"),
        (sample(&["--count", &huge]), "count must be 1 to 1000000"),
        (sample(&["--count", "0"]), "count must be 1 to 1000000"),
        (sample(&["--count", "99999999999999999999"]), "--count"),
        (sample(&["--count", "5000", "--trajectory", "t.safetensors"]), "at most 1000"),
        (sample(&["--count", "5000", "--animate", "gif"]), "at most 1000"),
        (sample(&["--count", "5000", "--solver", "dopri5"]), "dopri5 chooses its steps"),
        (sample(&["--count", "5000", "--temperature", "entropy:2:1"]), "entropy target"),
        (
            sample(&["--count", "1000", "--steps", "9000", "--trajectory", "t.safetensors"]),
            "GB of memory",
        ),
        (sample(&["--steps", &huge]), "steps must be a whole number from 1 to 10000"),
        (sample(&["--cfg", "NaN"]), "guidance must be"),
        (sample(&["--cfg", "1e38"]), "guidance must be"),
        (sample(&["--eta", "inf"]), "eta must be"),
        (sample(&["--atol", "0"]), "atol must be"),
        (sample(&["--rtol", "NaN"]), "rtol must be"),
        (sample(&["--grid", "shifted:inf"]), "shift"),
        (sample(&["--pin", "0,0,18446744073709551615=1"]), "out of range"),
        (words("sweep --labels 4 --x seed=0..1000000000 --out s.png"), "64 are the most"),
        (words("sweep --labels 4 --x seed=0..1e300 --out s.png"), "64 are the most"),
        (words("sweep --class cat --count 9999 --x steps=1 --out s.png"), "256 are the most"),
        (words("sweep --labels 4 --steps 1000000000000 --x eta=0 --out s.png"), "steps must be"),
        (words("oracle --side 100000"), "--side"),
        (words("oracle --side 1024 --codes 65536"), "too many to compute with"),
        (words("oracle --side 1024 --codes 4 --size 256"), "too many to compute with"),
        (words("oracle --side 1 --steps 18446744073709551615"), "steps must be"),
        (words("oracle --side 256 --codes 4 --steps 9999 --trajectory t.safetensors"), "GB of"),
    ] {
        let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        if arguments[0] == "sweep" {
            arguments.extend(["--device", "cpu"]);
        }
        fail(at, &arguments, 1, expected);
        assert_eq!(names(at), [""; 0], "{arguments:?}");
    }
}

#[test]
fn a_wrong_command_line_and_a_bad_value_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for (arguments, code, expected) in [
        (&["sample", "--out"][..], 2, "--out"),
        (&["sample", "--labels", "1"], 2, "--out"),
        (&["--train"], 2, "--train"),
        (&["encode", "m"], 2, "required"),
        (&["sample", "--labels", "1", "--count", "2", "--out", "o"], 2, "--count"),
        (&["sample", "--labels", "1", "--animate", "mp4", "--out", "o"], 1, "mp4"),
        (&["encode", MODEL, "p", "--shards", "s", "--shard-size", "0"], 1, "shard-size"),
        (&["encode", MODEL, "a", "b", "--shards", "s"], 2, "one folder of pictures"),
        (&["nonsense"], 2, "nonsense"),
    ] {
        fail(at, arguments, code, expected);
    }
    assert!(succeed(at, &["--help"]).contains("Usage"));
}

#[test]
fn settings_of_a_picture_that_mean_harm_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let good = sampled(at);
    let with = |key: &str, value: Value| {
        let mut changed = good.clone();
        changed[key] = value;
        changed.to_string()
    };
    let mut nested = good.clone();
    for _ in 0..100 {
        let mut child = good.clone();
        child["branch"] = json!({ "step": 0, "parent": nested });
        nested = child;
    }
    let branch = |step: u64, steps: u64| {
        let mut parent = good.clone();
        parent["steps"] = steps.into();
        with("branch", json!({ "step": step, "parent": parent }))
    };
    for (settings, expected) in [
        (String::new(), "cannot be used"),
        ("[]".to_owned(), "labels are missing"),
        ("[".repeat(200_000), "cannot be used"),
        (with("steps", Value::Null).replace("null", "NaN"), "cannot be used"),
        (nested.to_string(), "cannot be used"),
        (branch(0, 1 << 62), "steps must be"),
        (branch(0, 1_000_000_000_000), "steps must be"),
        (branch(u64::MAX, 24), "the branch must be"),
        (branch(24, 24), "the branch must be"),
        (with("steps", 1_000_000_000.into()), "steps must be"),
        (with("labels", json!("cat")), "labels are missing"),
        (with("labels", json!([1_000_000])), "label 1000000 is out of range"),
        (with("labels", vec![0; 3_000_000].into()), ""),
        (with("atol", 0.into()), "atol must be"),
        (with("image", 99.into()), "image 99 is out of range"),
        (with("pins", json!([{ "image": 9, "row": 0, "column": 0, "code": 1 }])), "pin 9,0,0=1"),
        (with("model_hash", "0".into()), "made by the model 0"),
    ] {
        picture(&at.join("x.png"), &settings);
        let restore = ["sample", "--restore", "x.png", "--out", "p", "--device", "cpu"];
        fail(at, &restore, 1, expected);
        let said = String::from_utf8(purrscope(at, &restore).stderr).unwrap();
        let line = said.lines().find(|line| line.starts_with("error: ")).unwrap();
        assert!(line.contains("x.png") && line.len() < 2100, "{line}");
        assert!(!at.join("p").exists());
    }
    picture(&at.join("bom.png"), &format!("\u{feff}{good}"));
    succeed(at, &["sample", "--restore", "bom.png", "--out", "p", "--device", "cpu"]);
}

#[test]
fn what_a_file_says_is_no_command_to_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let evil = "\u{1b}[2J\u{1b}[31mred\u{7}\u{9b}1m\u{202e}\r\nerror: forged";
    picture(&at.join("x.png"), &json!({ "labels": [1], "class": evil, evil: 1 }).to_string());
    let harmless = |text: &[u8]| {
        let text = String::from_utf8(text.to_vec()).unwrap();
        let harm = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!text.contains(harm), "{text:?}");
        assert!(!text.lines().any(|line| line.starts_with("error: forged")), "{text:?}");
        text
    };
    assert!(harmless(&purrscope(at, &["inspect", "x.png"]).stdout).contains("\\u001b[2J"));
    let report = purrscope(at, &["inspect", "x.png", "--json"]).stdout;
    let report: Value = serde_json::from_str(&harmless(&report)).unwrap();
    assert_eq!(report["settings"]["class"], evil);
    renamed_model(&at.join("m.safetensors"), evil);
    harmless(&purrscope(at, &["inspect", "m.safetensors"]).stdout);
    harmless(&purrscope(at, &["sample", "m.safetensors", "--out", "o", "--device", "cpu"]).stderr);
    harmless(&purrscope(at, &["inspect", "gone\u{1b}[2J.png"]).stderr);
    // A warning as well.
    fs::create_dir(at.join("dir")).unwrap();
    fs::write(at.join("dir/\u{1b}[2J.png"), "no picture").unwrap();
    harmless(&purrscope(at, &["encode", MODEL, "dir", "--out", "c.safetensors"]).stderr);
}

#[test]
fn noise_that_does_not_fit_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let write = |name: &str, tensor: &str, shape: &[usize]| {
        let mut writer = TensorWriter::default();
        writer.floats(tensor, shape, &vec![0.5; shape.iter().product()], Precision::F32);
        writer.write(&at.join(name)).unwrap();
    };
    write("flat.safetensors", "noise", &[16]);
    write("other.safetensors", "codes", &[1, 8, 16, 16]);
    fs::write(at.join("text.safetensors"), "no tensors at all").unwrap();
    for (name, expected) in [
        ("flat.safetensors", "flat.safetensors: the noise is [16], expected [1, 8, 16, 16]"),
        ("other.safetensors", "tensor 'noise' is missing"),
        ("text.safetensors", "expected a safetensors file with 'noise' f32 [1, 8, 16, 16]"),
        ("gone.safetensors", "gone.safetensors"),
    ] {
        fail(at, &[&SAMPLE[..], &["--out", "o", "--noise", name]].concat(), 1, expected);
    }
    assert!(!at.join("o").exists());
}

/// Runs the program with its standard output or error leading elsewhere.
fn run_into(at: &Path, arguments: &[&str], out: Stdio, err: Stdio) -> Output {
    Command::new(env!("CARGO_BIN_EXE_purrscope"))
        .current_dir(at)
        .env("XDG_RUNTIME_DIR", at)
        .args(arguments)
        .stdout(out)
        .stderr(err)
        .output()
        .unwrap()
}

/// A pipe that nobody reads from any more.
fn broken() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[test]
fn a_reader_that_has_gone_is_no_fault() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let sample = [&SAMPLE[..], &["--out", "o"]].concat();
    let commands: [&[&str]; 6] = [
        &sample,
        &["inspect", MODEL],
        &["devices"],
        &["--help"],
        &["oracle", "--steps", "4", "--side", "8"],
        &["sweep", "--labels", "4", "--x", "steps=1", "--out", "s.png", "--device", "cpu"],
    ];
    for arguments in commands {
        let output = run_into(at, arguments, broken(), Stdio::piped());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {said}");
        assert!(!said.contains("panicked") && !said.contains("error:"), "{said}");
        assert_eq!(run_into(at, arguments, broken(), broken()).status.code(), Some(0));
    }
    assert_eq!(names(&at.join("o")), ["cat-orange-in-a-meadow-seed0-000.png"]);
    // What goes wrong still ends with 1, said or not.
    let wrong = ["inspect", "gone"];
    assert_eq!(run_into(at, &wrong, broken(), broken()).status.code(), Some(1));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_under_what_is_said_is_no_fault() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let full = || Stdio::from(File::options().write(true).open("/dev/full").unwrap());
    let sample = [&SAMPLE[..], &["--out", "o"]].concat();
    let output = run_into(at, &sample, full(), Stdio::piped());
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("error: standard output cannot be written to: "), "{said}");
    assert_eq!(names(&at.join("o")).len(), 1, "the picture is there all the same");
    assert_eq!(run_into(at, &sample, Stdio::piped(), full()).status.code(), Some(0));
    let output = run_into(at, &["sample", "--out", "o"], full(), full());
    assert_eq!(output.status.code(), Some(1));
}

/// Standard streams that are closed are not mistaken for the first files that are opened.
#[cfg(unix)]
#[test]
fn closed_streams_are_no_fault() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let words = [&SAMPLE[..], &["--out", "o", "--trajectory", "t.safetensors"]].concat().join(" ");
    let line = format!("exec '{}' {words} <&- >&- 2>&-", env!("CARGO_BIN_EXE_purrscope"));
    let status = Command::new("sh").current_dir(at).args(["-c", &line]).status().unwrap();
    assert!(status.success());
    TensorFile::open(&at.join("t.safetensors")).unwrap();
    let mut start = [0; 4];
    File::open(at.join("o/cat-orange-in-a-meadow-seed0-000.png"))
        .unwrap()
        .read_exact(&mut start)
        .unwrap();
    assert_eq!(&start, b"\x89PNG");
}
