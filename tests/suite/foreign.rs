//! Files of other kinds than the one wanted, and models that lie about their sizes: called what they
//! are, in one line, by every command that reads a file.

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use purrscope::io::tensors::{METADATA_KEY, Precision, TensorFile, TensorWriter};
use purrscope::model::import::{Sources, Weights, import};
use purrscope::model::{Model, read_tokenizer_card};
use serde_json::{Value, json};

use crate::common::{cpu, fail, golden_path, succeed};

const CPU: [&str; 2] = ["--device", "cpu"];

const LFS: &[u8] = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 26000000\n";

/// A file of every kind: its name, its first bytes, what it is called, and what is to be done.
const KINDS: [(&str, &[u8], &str, &str); 9] = [
    ("empty", b"", "an empty file", "download the file again"),
    ("lfs", LFS, "a Git LFS pointer", "fetch the file with `git lfs pull`"),
    (
        "page",
        b"<!DOCTYPE html><html>Entry not found</html>",
        "a web page",
        "download the file again",
    ),
    ("json", b"{\"error\": \"Entry not found\"}", "JSON text", ""),
    ("packed", b"\x1f\x8b\x08\x08rest", "compressed with gzip", "unpack it with `gunzip`"),
    ("picture", b"\xff\xd8\xff\xe0\0\x10JFIF", "a picture (JPEG)", ""),
    ("keras", b"\x89HDF\r\n\x1a\nrest", "an HDF5 file", ""),
    ("llama", b"GGUF\x03\0\0\0rest", "a GGUF model", ""),
    ("array", b"\x93NUMPY\x01\0rest", "a NumPy array (.npy)", ""),
];

#[test]
fn every_command_calls_a_foreign_file_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let (pth, hparams, vq) = (
        golden_path("purrception.pth"),
        golden_path("purrception.hparams.json"),
        golden_path("tokenizer_vqf8.ckpt"),
    );
    let sample = |file| ["sample", file, "--labels", "0", "--out", "o"];
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/cats-and-dogs.safetensors");
    let out = "m.safetensors";
    for (name, bytes, called, advice) in KINDS {
        fs::write(at.join(name), bytes).unwrap();
        let run = |arguments: &[&str]| {
            let said = fail(at, arguments, 1, called);
            assert!(said.contains(name) && said.contains(advice), "{said}");
        };
        run(&[&sample(name)[..], &CPU].concat());
        run(&["inspect", name]);
        run(&["import", name, "--hparams", &hparams, "--tokenizer", &vq, "--out", out]);
        run(&["import", &pth, "--hparams", &hparams, "--tokenizer", name, "--out", out]);
        let tar = format!("{name}.tar");
        fs::copy(at.join(name), at.join(&tar)).unwrap();
        run(&["inspect", &tar]);
    }
    for (name, called) in [("lfs", "a Git LFS pointer"), ("page", "a web page")] {
        fail(at, &[&["decode", model, name, "--out", "o"][..], &CPU].concat(), 1, called);
        let noise = ["sample", "--noise", name, "--labels", "0", "--out", "o"];
        fail(at, &[&noise[..], &CPU].concat(), 1, called);
    }
    fail(
        at,
        &["import", &pth, "--hparams", "picture", "--tokenizer", &vq, "--out", out],
        1,
        "JPEG",
    );
    // A checkpoint where a model is wanted, and the command that makes one of the other.
    fail(at, &[&sample(&pth)[..], &CPU].concat(), 1, "make a model of it with `purrscope import");
    fs::create_dir(at.join("d")).unwrap();
    fail(at, &[&sample("d")[..], &CPU].concat(), 1, "d: it is a folder, expected a file");
    fail(at, &["inspect", "d"], 1, "d: it is a folder, expected a file");
    assert!(!at.join("o").exists() && !at.join(out).exists());
}

/// The shape of a training run, on a tokenizer that is something else.
#[test]
fn tensor_files_of_another_use_are_called_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for (name, tensors) in [
        ("tokenizer", &["tokenizer.a"][..]),
        ("checkpoint", &["adam.a", "backbone.a"]),
        ("trajectory", &["x", "t"]),
        ("noise", &["noise"]),
        ("strange", &["weights"]),
        ("model", &["backbone.a"]),
    ] {
        let mut writer = TensorWriter::default();
        tensors.iter().for_each(|name| writer.floats(name, &[1], &[0.0], Precision::F32));
        writer.write(&at.join(name)).unwrap();
    }
    let opened = |name: &str| Model::open(&at.join(name), &cpu()).unwrap_err().to_string();
    for (name, called) in [
        ("tokenizer", "it holds a tokenizer without a backbone"),
        ("checkpoint", "it holds a checkpoint of a training run; the model lies beside it"),
        ("trajectory", "it holds a trajectory"),
        ("noise", "it holds starting noise"),
        ("strange", "it holds tensors of other names"),
        ("model", "its header has no 'purrscope' entry"),
    ] {
        let error = opened(name);
        let expected = format!("{name}: not a purrscope model: {called}");
        assert!(error.contains(&expected), "{error}");
    }
    let card = |name: &str| {
        let file = TensorFile::open(&at.join(name)).unwrap();
        read_tokenizer_card(&file).unwrap_err().to_string()
    };
    let expected = "model: not a tokenizer of purrscope: it holds a model, expected";
    assert!(card("model").contains(expected), "{}", card("model"));
    assert!(card("tokenizer").contains("no 'purrscope' entry"), "{}", card("tokenizer"));
    let noise = ["sample", "--noise", "trajectory", "--labels", "0", "--out", "o"];
    let expected = "trajectory: tensor 'noise' is missing: the file holds a trajectory";
    fail(at, &[&noise[..], &CPU].concat(), 1, expected);
    // The run file is in order; its tokenizer is a model.
    let run = "out = \"run\"\ndata = \"d\"\nimage_size = 64\nbatch = 1\nsteps = 1\n[task]\nkind = \"flow\"\n\
               tokenizer = \"whole.safetensors\"\nname = \"n\"\n[task.backbone]\npatch_size = 2\n\
               hidden_size = 16\ndepth = 1\nnum_heads = 2\n";
    fs::write(at.join("run.toml"), run).unwrap();
    fs::rename(at.join("model"), at.join("whole.safetensors")).unwrap();
    fs::create_dir(at.join("d")).unwrap();
    fail(at, &[&["--train", "run.toml"][..], &CPU].concat(), 1, "whole.safetensors: ");
}

/// A change to the card of a model: where, what, and what is said of it.
type Lie = (&'static str, Value, &'static str);

#[test]
#[expect(clippy::too_many_lines, reason = "a list of lies, and what is said of each")]
fn cards_that_lie_are_refused_before_anything_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let path = at.join("m.safetensors");
    let golden = |name: &str| golden_path(name);
    let (checkpoint, hparams, tokenizer) =
        (golden("cfm.pth"), golden("cfm.hparams.json"), golden("tokenizer_vqf8.ckpt"));
    let sources = Sources {
        checkpoint: Path::new(&checkpoint),
        hparams: Path::new(&hparams),
        tokenizer: Path::new(&tokenizer),
        weights: Weights::Ema,
        unit_codes: None,
        class_names: None,
    };
    import(&sources, &path, &AtomicBool::new(false)).unwrap();
    let file = TensorFile::open(&path).unwrap();
    let card: Value = serde_json::from_str(file.metadata(METADATA_KEY).unwrap()).unwrap();
    let lies: [Lie; 36] = [
        ("/format", json!(2), "its format is 2"),
        ("/objective", json!("magic"), "unknown variant `magic`"),
        ("/backbone", Value::Null, "invalid type: null, expected the sizes of a backbone"),
        ("/class_names", json!(["a"]), "it names 1 class, its backbone has 5"),
        ("/latent_scale", json!(0.0), "its latent_scale is 0"),
        ("/latent_scale", json!(1e39), "its latent_scale is inf"),
        ("/backbone/depth", json!(1_000_000_000), "backbone.depth is 1000000000"),
        ("/backbone/depth", json!(1000), "its card speaks of 1000 blocks"),
        ("/backbone/depth", json!(u64::MAX), "backbone.depth is 18446744073709551615"),
        ("/backbone/depth", json!(-1), "invalid value: integer `-1`"),
        ("/backbone/depth", json!(1), "it holds 31 tensors of a backbone, its card speaks of 21"),
        ("/backbone/num_heads", json!(0), "backbone.num_heads is 0"),
        ("/backbone/num_heads", json!(1_000_000_000), "backbone.num_heads is 1000000000"),
        ("/backbone/hidden_size", json!(1_000_000_000), "backbone.hidden_size is 1000000000"),
        ("/backbone/hidden_size", json!(60), "expected floating point [60,"),
        ("/backbone/num_classes", json!(1_000_000_000_000_u64), "num_classes is 1000000000000"),
        ("/backbone/input_size", json!(1_000_000), "backbone.input_size is 1000000"),
        ("/backbone/patch_size", json!(0), "backbone.patch_size is 0"),
        ("/backbone/patch_size", json!(8), "expected floating point"),
        ("/backbone/mlp_ratio", json!(4.51), "not a whole width"),
        ("/backbone/mlp_ratio", json!(4.5), "[192, 48], expected floating point [216, 48]"),
        ("/backbone/mlp_ratio", json!(1e300), "backbone.mlp_ratio is"),
        ("/backbone/in_channels", json!(3), "codes of 4 numbers ask for 4"),
        (
            "/backbone/out_channels",
            json!(u64::MAX),
            "backbone.out_channels is 18446744073709551615",
        ),
        ("/backbone/embeds_codes", json!(true), "the input of its backbone"),
        ("/tokenizer/multipliers", json!(vec![1; 70]), "tokenizer.multipliers is 70"),
        ("/tokenizer/multipliers", json!([]), "tokenizer.multipliers is 0"),
        ("/tokenizer/codes", json!(1_000_000_000_000_u64), "tokenizer.codes is 1000000000000"),
        ("/tokenizer/codes", json!(36), "expected floating point [36, 4]"),
        ("/tokenizer/channels", json!(0), "tokenizer.channels is 0"),
        (
            "/tokenizer/residual_blocks",
            json!(1_000_000_000_000_u64),
            "residual_blocks is 1000000000000",
        ),
        ("/tokenizer/residual_blocks", json!(60), "speaks of"),
        ("/tokenizer/groups", json!(0), "tokenizer.groups is 0"),
        ("/tokenizer/attention_levels", json!([1_000_000_000]), "resolution 1000000000"),
        ("/tokenizer/code_size", json!(u64::MAX), "tokenizer.code_size is 18446744073709551615"),
        ("/tokenizer/image_channels", json!(4), "not RGB"),
    ];
    for (place, lie, expected) in lies {
        let mut changed = card.clone();
        let (parent, key) = place.rsplit_once('/').unwrap();
        changed.pointer_mut(parent).unwrap()[key] = lie.clone();
        let mut writer = TensorWriter::default();
        writer.metadata(METADATA_KEY, changed.to_string());
        for (name, ..) in file.entries() {
            let (shape, values) = file.floats(&name).unwrap();
            writer.floats(&name, &shape, &values, Precision::F32);
        }
        let path = at.join("lie.safetensors");
        writer.write(&path).unwrap();
        let error = Model::open(&path, &cpu()).unwrap_err().to_string();
        let named = error.contains("lie.safetensors") && !error.contains('\n');
        assert!(named && error.contains(expected), "{place} {lie}: {error}, expected {expected}");
    }
    // What Python writes of a number that is none, where it is needed and where it is not.
    let text = card.to_string();
    for (from, to, opens) in [
        ("\"latent_scale\":1.0", "\"latent_scale\":Infinity", false),
        ("{\"backbone\"", "{\"loss\":NaN,\"backbone\"", true),
    ] {
        assert!(text.contains(from), "{text}");
        let mut writer = TensorWriter::default();
        writer.metadata(METADATA_KEY, text.replacen(from, to, 1));
        for (name, ..) in file.entries() {
            let (shape, values) = file.floats(&name).unwrap();
            writer.floats(&name, &shape, &values, Precision::F32);
        }
        let path = at.join("python.safetensors");
        writer.write(&path).unwrap();
        assert_eq!(Model::open(&path, &cpu()).is_ok(), opens, "{to}");
    }
    succeed(at, &["inspect", "m.safetensors"]);
}
