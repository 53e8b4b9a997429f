//! Files that are broken or mean harm: one clear error, nothing run, little memory.

use std::fs::{self, File};
use std::path::Path;

use proptest::prelude::*;
use purrscope::io::png;
use purrscope::io::tensors::{Precision, TensorFile, TensorWriter};
use purrscope::io::torch::TorchFile;
use purrscope::model::Model;
use purrscope::train::RunConfig;

use crate::common::{cpu, fail, golden_path, succeed};
use crate::torch_writer::{PickleWriter, row_major, write_zip};

/// What opening a checkpoint of these bytes says.
fn open_torch(folder: &Path, bytes: &[u8]) -> Result<(), String> {
    let path = folder.join("x.pth");
    fs::write(&path, bytes).unwrap();
    let file = TorchFile::open(&path).map_err(|error| error.to_string())?;
    let pickle = file.pickle();
    let mut dictionaries = vec![pickle.root()];
    dictionaries.extend(pickle.entries(pickle.root()).iter().map(|(_, id)| *id));
    for dictionary in dictionaries {
        for (name, view) in file.tensors(dictionary) {
            file.floats(&name, view).map_err(|error| error.to_string())?;
        }
    }
    Ok(())
}

#[test]
fn a_checkpoint_cut_off_anywhere_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = fs::read(golden_path("purrception.pth")).unwrap();
    for percent in 0..100 {
        let error = open_torch(folder.path(), &bytes[..bytes.len() * percent / 100]).unwrap_err();
        assert!(error.contains("x.pth"), "{percent} %: {error}");
    }
    fs::write(folder.path().join("half.pth"), &bytes[..bytes.len() / 2]).unwrap();
    let (hparams, vq) =
        (golden_path("purrception.hparams.json"), golden_path("tokenizer_vqf8.ckpt"));
    let out = "m.safetensors";
    let arguments = ["import", "half.pth", "--hparams", &hparams, "--tokenizer", &vq, "--out", out];
    fail(folder.path(), &arguments, 1, "half.pth: not a whole PyTorch checkpoint");
}

/// A checkpoint of one tensor `a`, of which the storage holds `numbers`.
fn one_tensor(
    kind: &str,
    offset: usize,
    shape: &[usize],
    strides: &[usize],
    numbers: &[f32],
) -> Vec<u8> {
    let mut pickle = PickleWriter::default();
    pickle.raw(b"}").text("a").tensor(kind, "0", offset, shape, strides).raw(b"s");
    let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    let mut file = std::io::Cursor::new(Vec::new());
    write_zip(&mut file, &pickle.finish(), std::iter::once(("0".to_owned(), bytes)));
    file.into_inner()
}

#[test]
fn tensors_must_lie_in_their_storage() {
    let folder = tempfile::tempdir().unwrap();
    let open = |bytes: &[u8]| open_torch(folder.path(), bytes);
    let numbers = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    assert_eq!(open(&one_tensor("FloatStorage", 0, &[2, 3], &[3, 1], &numbers)), Ok(()));
    for (offset, shape, strides) in [
        (1, vec![2, 3], vec![3, 1]),
        (0, vec![2, 3], vec![4, 1]),
        (usize::MAX >> 1, vec![1], vec![1]),
        (0, vec![1 << 40], vec![0]),
        (0, vec![1 << 40, 1 << 40], vec![1 << 40, 1]),
        (0, vec![2], vec![usize::MAX >> 1]),
    ] {
        let error =
            open(&one_tensor("FloatStorage", offset, &shape, &strides, &numbers)).unwrap_err();
        assert!(error.contains("'a'") && error.contains("does not lie in storage 0"), "{error}");
    }
    let error = open(&one_tensor("FloatStorage", 0, &[6], &[1], &[f32::NAN; 6])).unwrap_err();
    assert!(error.contains("tensor 'a' holds values that are not finite"), "{error}");
    let error = open(&one_tensor("LongStorage", 0, &[3], &[1], &numbers)).unwrap_err();
    assert!(error.contains("LongStorage, not floating point"), "{error}");
}

#[test]
fn transposed_tensors_are_read_row_by_row() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.pth");
    let numbers = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    fs::write(&path, one_tensor("FloatStorage", 0, &[3, 2], &[1, 3], &numbers)).unwrap();
    let file = TorchFile::open(&path).unwrap();
    let (name, view) = file.tensors(file.pickle().root()).remove(0);
    assert_eq!(file.floats(&name, view).unwrap(), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
}

#[test]
fn a_pickle_that_would_run_a_command_runs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let mut pickle = PickleWriter::default();
    pickle.raw(b"cos\nsystem\n(").text("touch harmed").raw(b"tR");
    let file = File::create(at.join("evil.pth")).unwrap();
    write_zip(file, &pickle.finish(), std::iter::empty());
    let (hparams, vq) =
        (golden_path("purrception.hparams.json"), golden_path("tokenizer_vqf8.ckpt"));
    let out = "m.safetensors";
    let checkpoint =
        ["import", "evil.pth", "--hparams", &hparams, "--tokenizer", &vq, "--out", out];
    fail(at, &checkpoint, 1, "evil.pth: the pickle asks for 'os.system', which is refused");
    let good = golden_path("purrception.pth");
    let tokenizer =
        ["import", &good, "--hparams", &hparams, "--tokenizer", "evil.pth", "--out", out];
    fail(at, &tokenizer, 1, "'os.system'");
    assert!(!at.join("harmed").exists() && !at.join(out).exists());
}

/// A zip whose directory claims ten gigabytes, or compressed entries.
#[test]
fn a_zip_that_lies_is_refused_by_entry() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = one_tensor("FloatStorage", 0, &[2], &[1], &[1.0, 2.0]);
    let directory = |name: &str| {
        // The last mention of an entry is in the directory; its sizes lie 26 bytes before.
        bytes.windows(name.len()).rposition(|window| window == name.as_bytes()).unwrap() - 46
    };
    let at = directory("archive/data/0");
    let mut huge = bytes.clone();
    huge[at + 20..at + 28].copy_from_slice(&[0xff, 0xff, 0xff, 0xfe, 0xff, 0xff, 0xff, 0xfe]);
    let error = open_torch(folder.path(), &huge).unwrap_err();
    assert!(error.contains("archive/data/0") && error.contains("claims"), "{error}");
    let mut packed = bytes.clone();
    packed[at + 10] = 8;
    let error = open_torch(folder.path(), &packed).unwrap_err();
    assert!(error.contains("'archive/data/0' is compressed"), "{error}");
}

#[test]
fn safetensors_that_lie_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let open = |header: &str, data: usize| {
        let path = folder.path().join("x.safetensors");
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend(vec![0; data]);
        fs::write(&path, bytes).unwrap();
        TensorFile::open(&path).map(drop).map_err(|error| error.to_string())
    };
    let two = |a: &str, b: &str| {
        format!(
            "{{\"a\":{{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":{a}}},\
             \"b\":{{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":{b}}}}}"
        )
    };
    assert_eq!(open(&two("[0,4]", "[4,8]"), 8), Ok(()));
    for (header, data) in [
        (two("[0,4]", "[2,6]"), 6),
        (two("[0,4]", "[0,4]"), 4),
        (two("[0,4]", "[4,99]"), 8),
        (two("[0,4]", "[8,4]"), 8),
        (two("[0,4]", "[18446744073709551612,18446744073709551615]"), 8),
        (
            "{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904,4],\"data_offsets\":[0,0]}}"
                .into(),
            0,
        ),
    ] {
        let error = open(&header, data).unwrap_err();
        assert!(error.contains("x.safetensors: not a valid safetensors file"), "{error}");
    }
    assert!(open("{", u16::MAX.into()).is_err());
    let path = folder.path().join("long.safetensors");
    fs::write(&path, u64::MAX.to_le_bytes()).unwrap();
    assert!(TensorFile::open(&path).is_err());
}

/// A change to a tensor: its name, shape and numbers.
type Change<'a> = &'a dyn Fn(&str, &mut Vec<usize>, &mut Vec<f32>);

/// A model with one weight that is no number, and one with a codebook of another width.
#[test]
fn broken_models_are_refused_by_tensor() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let (checkpoint, hparams) = (golden_path("cfm.pth"), golden_path("cfm.hparams.json"));
    let vq = golden_path("tokenizer_vqf8.ckpt");
    let arguments = [
        "import",
        &checkpoint,
        "--hparams",
        &hparams,
        "--tokenizer",
        &vq,
        "--out",
        "m.safetensors",
    ];
    succeed(at, &arguments);
    let file = TensorFile::open(&at.join("m.safetensors")).unwrap();
    let rewrite = |change: Change| {
        let mut writer = TensorWriter::default();
        writer.metadata("purrscope", file.metadata("purrscope").unwrap().to_owned());
        for (name, ..) in file.entries() {
            let (mut shape, mut values) = file.floats(&name).unwrap();
            change(&name, &mut shape, &mut values);
            writer.floats(&name, &shape, &values, Precision::F32);
        }
        writer.write(&at.join("broken.safetensors")).unwrap();
    };
    let sample = ["sample", "broken.safetensors", "--labels", "0", "--out", "o", "--device", "cpu"];
    rewrite(&|name, _, values| {
        if name == "backbone.blocks.1.mlp.fc1.bias" {
            values[3] = f32::NAN;
        }
    });
    fail(
        at,
        &sample,
        1,
        "tensor 'backbone.blocks.1.mlp.fc1.bias' holds values that are not finite",
    );
    rewrite(&|name, shape, values| {
        if name == "tokenizer.quantize.embedding.weight" {
            shape[1] = 8;
            values.resize(37 * 8, 0.5);
        }
    });
    fail(
        at,
        &sample,
        1,
        "tensor 'tokenizer.quantize.embedding.weight' is F32 [37, 8], expected floating point [37, 4]",
    );
}

/// A file with some of its bytes changed, and perhaps its end cut off.
fn damaged(original: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let length = original.len();
    let changes = prop::collection::vec((0..length, any::<u8>()), 1..8);
    (changes, 0..=length).prop_map(move |(changes, cut)| {
        let mut bytes = original.clone();
        changes.iter().for_each(|(at, byte)| bytes[*at] = *byte);
        // Half of the files keep their end.
        if cut.is_multiple_of(2) {
            bytes.truncate(cut.max(1));
        }
        bytes
    })
}

fn small_checkpoint() -> Vec<u8> {
    let mut pickle = PickleWriter::default();
    pickle.raw(b"}(").text("model").raw(b"}(");
    for key in ["0", "1"] {
        pickle.text(key).tensor("HalfStorage", key, 0, &[2, 4], &row_major(&[2, 4]));
    }
    pickle.raw(b"u").text("step").number(7).raw(b"u");
    let mut file = std::io::Cursor::new(Vec::new());
    let storages = ["0", "1"].map(|key| (key.to_owned(), vec![0x3c; 16]));
    write_zip(&mut file, &pickle.finish(), storages.into_iter());
    file.into_inner()
}

fn small_tensors() -> Vec<u8> {
    let mut writer = TensorWriter::default();
    writer.metadata("purrscope", "{\"format\": 1}".to_owned());
    writer.floats("backbone.a", &[2, 3], &[0.5; 6], Precision::F16);
    writer.integers("codes", &[2], [1, 2]);
    writer.serialise().unwrap()
}

const RUN: &str = "out = \"o\"\ndata = \"d\"\nimage_size = 64\nbatch = 4\nsteps = 10\n[task]\n\
                   kind = \"flow\"\ntokenizer = \"t\"\nname = \"n\"\n[task.backbone]\n\
                   patch_size = 2\nhidden_size = 48\ndepth = 2\nnum_heads = 3\n";

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// No reader panics, whatever happened to its file; the error, if any, is one line.
    #[test]
    fn damaged_files_are_read_or_refused(
        checkpoint in damaged(small_checkpoint()),
        tensors in damaged(small_tensors()),
        run in damaged(RUN.as_bytes().to_vec()),
        picture in damaged(png::encode(&image::RgbImage::new(3, 2), "{\"seed\": 1}").unwrap()),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let one_line = |error: String| assert!(!error.contains('\n'), "{error:?}");
        if let Err(error) = open_torch(folder.path(), &checkpoint) {
            one_line(error);
        }
        let path = folder.path().join("m.safetensors");
        fs::write(&path, &tensors).unwrap();
        if let Ok(file) = TensorFile::open(&path) {
            for (name, ..) in file.entries() {
                let _ = (file.floats(&name), file.integers(&name));
            }
        }
        one_line(Model::open(&path, &cpu()).unwrap_err().to_string());
        let path = folder.path().join("run.toml");
        fs::write(&path, &run).unwrap();
        if let Err(error) = RunConfig::read(&path) {
            one_line(error.to_string());
        }
        let _ = png::settings(&picture);
    }
}
