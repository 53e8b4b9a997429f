//! Latent shards: the reference's read, ours written, damaged ones refused.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use image::{Rgb, RgbImage};
use proptest::prelude::*;
use purrscope::data::{ShardWriter, Shards};
use purrscope::io::npy;
use purrscope::io::tensors::TensorFile;
use purrscope::model::Model;
use tar::{EntryType, Header};

use crate::common::{cpu, fail, golden, golden_path, succeed};
use crate::training::{flow_run, losses, tokenizer_run, train, write_pictures};

#[test]
fn the_reference_shard_is_read_in_order() {
    let shards = Shards::open(Path::new(&golden_path("latents-000000.tar"))).unwrap();
    let expected = golden("latents-000000.expected.safetensors");
    let (shape, latents) = expected.floats("latents").unwrap();
    assert_eq!((shards.len(), shards.shape().as_slice()), (shape[0], &shape[1..]));
    let found: Vec<f32> = (0..shards.len()).flat_map(|i| shards.latents(i).unwrap()).collect();
    assert_eq!(found, latents);
    let labels: Vec<i64> = (0..shards.len()).map(|i| shards.class(i) as i64).collect();
    assert_eq!(labels, expected.integers("labels").unwrap().1);
}

#[test]
fn written_shards_hold_what_the_codes_do() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    succeed(at, &["sample", "--labels", "3,7", "--steps", "2", "--out", "p", "--device", "cpu"]);
    for (i, class) in ["cat-orange-in-a-meadow", "zebra"].iter().enumerate() {
        fs::create_dir_all(at.join("d").join(class)).unwrap();
        let picture = fs::read_dir(at.join("p")).unwrap().nth(i).unwrap().unwrap().path();
        for copy in 0..3 {
            fs::copy(&picture, at.join("d").join(class).join(format!("{copy}.png"))).unwrap();
        }
    }
    let model = format!("{}/assets/cats-and-dogs.safetensors", env!("CARGO_MANIFEST_DIR"));
    let encode = ["encode", &model, "d", "--shards", "s", "--shard-size", "4"];
    let said = succeed(at, &[&encode[..], &["--duplicates", "keep", "--device", "cpu"]].concat());
    assert!(said.contains("6 pictures in s"), "{said}");
    succeed(at, &["encode", &model, "d", "--out", "c.safetensors", "--device", "cpu"]);
    let shards = Shards::open(&at.join("s/shard_{000000..000001}.tar")).unwrap();
    assert_eq!((shards.len(), shards.files()), (6, 2));
    // A name that the model does not know: classes are counted in the order of their names.
    let labels: Vec<usize> = (0..6).map(|i| shards.class(i)).collect();
    assert_eq!(labels, [0, 0, 0, 1, 1, 1]);
    let codes = TensorFile::open(&at.join("c.safetensors")).unwrap().integers("codes").unwrap().1;
    let model = Model::open(Path::new(&model), &cpu()).unwrap();
    let table = purrscope::model::params::host(model.tokenizer.codebook());
    let [size, height, width] = shards.shape();
    for picture in 0..6 {
        let latents = shards.latents(picture).unwrap();
        for token in 0..height * width {
            let code = codes[picture * height * width + token] as usize;
            for channel in 0..size {
                assert_eq!(latents[channel * height * width + token], table[code * size + channel]);
            }
        }
    }
    assert_eq!(Shards::open(&at.join("s")).unwrap().len(), 6, "a folder of shards");
    let said = succeed(at, &["inspect", "s/shard_000001.tar", "--json"]);
    assert!(said.contains("\"pictures\": 2"), "{said}");
    fail(at, &["encode", "m", "d", "--shards", "s", "--out", "c"], 2, "cannot be used with");
}

#[test]
fn a_set_that_was_killed_half_way_is_not_taken_for_one() {
    const PICTURES: usize = 320;
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::create_dir_all(at.join("d/a")).unwrap();
    for i in 0..PICTURES {
        let [low, high, ..] = i.to_le_bytes();
        let picture =
            RgbImage::from_fn(16, 16, |x, y| Rgb([low, 15 * x as u8, 15 * y as u8 + high]));
        picture.save(at.join(format!("d/a/{i:03}.png"))).unwrap();
    }
    let model = format!("{}/assets/cats-and-dogs.safetensors", env!("CARGO_MANIFEST_DIR"));
    let encode = ["encode", &model, "d", "--shards", "s", "--shard-size", "1", "--device", "cpu"];
    let mut child = Command::new(env!("CARGO_BIN_EXE_purrscope"))
        .current_dir(at)
        .env("XDG_RUNTIME_DIR", at)
        .args(encode)
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while !at.join("s/.purrscope-shards/shard_000000.tar").exists() {
        assert!(begun.elapsed().as_secs() < 300, "no shard came");
        assert!(child.try_wait().unwrap().is_none(), "it has ended");
        std::thread::sleep(Duration::from_millis(1));
    }
    // Meanwhile nobody else writes there.
    fail(at, &encode, 1, "s: another process is writing shards there");
    assert!(child.try_wait().unwrap().is_none(), "it has ended");
    child.kill().unwrap();
    child.wait().unwrap();
    let names = || -> Vec<String> {
        let entries = fs::read_dir(at.join("s")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    assert_eq!(names(), [".purrscope-shards"]);
    let said = Shards::open(&at.join("s")).unwrap_err().to_string();
    assert!(said.contains("the set of shards for this folder is not whole"), "{said}");
    let evaluate = ["evaluate", &model, "--data", "s", "--pictures", "d", "--device", "cpu"];
    fail(at, &evaluate, 1, "the set of shards for this folder is not whole");

    let said = succeed(at, &encode);
    assert!(said.contains(&format!("{PICTURES} pictures in s")), "{said}");
    let shards = Shards::open(&at.join("s")).unwrap();
    assert_eq!((shards.len(), shards.files()), (PICTURES, PICTURES));
    assert!(names().iter().all(|name| name.ends_with(".tar")), "{:?}", names());
    fail(at, &encode, 1, "'s': it holds shards already (shard_000000.tar)");
    assert_eq!(names().len(), PICTURES);
}

#[test]
fn a_run_on_shards_goes_on_as_if_it_had_never_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_pictures(at);
    train(at, "tok.toml", &tokenizer_run("tok", 2), &["--device", "cpu"]);
    let mut writer = ShardWriter::new(at, [4, 4, 4], 7, "a test").unwrap();
    for picture in 0..40u64 {
        let latents = purrscope::rng::Stream::new(9, picture).normals(64);
        writer.push(latents, picture as usize % 3).unwrap();
    }
    assert_eq!(writer.finish().unwrap(), 40);
    let run = |out: &str, steps| {
        let text = flow_run(out, steps).replace("holdout = \"data\"", "");
        let text = text.replace("data = \"data\"", "data = \"shard_{000000..000005}.tar\"");
        text.replace("name = \"toy\"", "name = \"toy\"\nshuffle_buffer = 5")
    };
    train(at, "a.toml", &run("a", 24), &["--device", "cpu"]);
    train(at, "b.toml", &run("b", 11), &["--device", "cpu"]);
    train(at, "b.toml", &run("b", 24), &["--device", "cpu", "--resume"]);
    assert_eq!(losses(at, "a"), losses(at, "b"), "a resumed run differs");
    let model = Model::open(&at.join("a/model.safetensors"), &cpu()).unwrap();
    assert_eq!(model.card.class_names, ["0", "1", "2"]);

    let wrong = run("c", 2).replace("image_size = 8", "image_size = 16");
    fs::write(at.join("c.toml"), wrong).unwrap();
    fail(at, &["--train", "c.toml", "--device", "cpu"], 1, "its latents are [4, 4, 4]");
    for (entry, text) in [
        ("holdout_share", "holdout_share = 0.1"),
        ("classes", "classes = \"none\""),
        ("background", "background = \"black\""),
        ("[augment]", "augment = { flip = true }"),
    ] {
        let text = format!("image_size = 8\n{text}");
        fs::write(at.join("c.toml"), run("c", 2).replace("image_size = 8", &text)).unwrap();
        let expected = format!("{entry} is for folders of pictures, not for shards");
        fail(at, &["--train", "c.toml", "--device", "cpu"], 1, &expected);
    }
    let few = run("d", 2).replace("shuffle_buffer = 5", "class_names = [\"a\", \"b\"]");
    fs::write(at.join("d.toml"), few).unwrap();
    fail(
        at,
        &["--train", "d.toml", "--device", "cpu"],
        1,
        "it holds class 2, task.class_names has 2",
    );
}

#[test]
fn classes_of_shards_can_be_balanced() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_pictures(at);
    train(at, "tok.toml", &tokenizer_run("tok", 2), &["--device", "cpu"]);
    let mut writer = ShardWriter::new(&at.join("s"), [4, 4, 4], 7, "a test").unwrap();
    for picture in 0..20u64 {
        let latents = purrscope::rng::Stream::new(9, picture).normals(64);
        writer.push(latents, usize::from(picture == 11)).unwrap();
    }
    writer.finish().unwrap();
    let run = |out: &str, steps, balance: &str| {
        let text = flow_run(out, steps).replace("holdout = \"data\"", "");
        let text = text.replace("data = \"data\"", "data = \"s\"");
        text.replace("image_size = 8", &format!("image_size = 8\nbalance = \"{balance}\""))
    };
    train(at, "a.toml", &run("a", 12, "square-root"), &["--device", "cpu"]);
    train(at, "b.toml", &run("b", 5, "square-root"), &["--device", "cpu"]);
    train(at, "b.toml", &run("b", 12, "square-root"), &["--device", "cpu", "--resume"]);
    assert_eq!(losses(at, "a"), losses(at, "b"), "a resumed run differs");
    train(at, "c.toml", &run("c", 12, "as-is"), &["--device", "cpu"]);
    assert_ne!(losses(at, "a"), losses(at, "c"));
}

/// A tar of the given entries, as `(name, bytes, size that the header claims)`.
fn tar_of(entries: &[(&str, &[u8], Option<u64>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, data, claimed) in entries {
        let mut header = Header::new_gnu();
        header.set_path(name).unwrap();
        header.set_entry_type(EntryType::Regular);
        header.set_size(claimed.unwrap_or(data.len() as u64));
        header.set_cksum();
        bytes.extend(header.as_bytes());
        bytes.extend(*data);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.extend([0; 1024]);
    bytes
}

#[test]
fn shards_that_lie_are_refused_by_entry() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.tar");
    let open = |entries: &[(&str, &[u8], Option<u64>)]| {
        fs::write(&path, tar_of(entries)).unwrap();
        let shards = Shards::open(&path).map_err(|error| error.to_string())?;
        (0..shards.len()).try_for_each(|i| shards.latents(i).map(drop)).map_err(|e| e.to_string())
    };
    let array = npy::write(&[1, 2, 2], &[1.0, 2.0, 3.0, 4.0]);
    let flat = npy::write(&[4], &[1.0, 2.0, 3.0, 4.0]);
    let other = npy::write(&[1, 1, 4], &[1.0, 2.0, 3.0, 4.0]);
    let nan = npy::write(&[1, 2, 2], &[f32::NAN; 4]);
    // The same array in another order, or of another type: the headers are as long.
    let changed = |from: &str, to: &str| {
        let at = array.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
        let mut array = array.clone();
        array[at..at + to.len()].copy_from_slice(to.as_bytes());
        array
    };
    let (fortran, big) = (changed("False", "True "), changed("<f4", ">f4"));
    let (class, name) = (("0.cls_id.cls", b"3".as_slice(), None), "0.latent.npy");
    assert_eq!(open(&[(name, &array, None), class]), Ok(()));
    assert_eq!(open(&[class, (name, &array, None)]), Ok(()));
    let huge = Some(10 << 30);
    for (entries, expected) in [
        (
            vec![(name, array.as_slice(), huge), class],
            "entry '0.latent.npy': claims 10737418240 bytes",
        ),
        (vec![(name, array.as_slice(), None)], "entry '0.latent.npy': it has no class beside it"),
        (vec![class], "entry '0.cls_id.cls': it has no latents beside it"),
        (
            vec![(name, array.as_slice(), None), ("0.cls_id.cls", b"cat", None)],
            "'cat' is not a class",
        ),
        (
            vec![(name, array.as_slice(), None), ("0.cls_id.cls", b"-1", None)],
            "'-1' is not a class",
        ),
        (
            vec![(name, array.as_slice(), None), ("0.cls_id.cls", b"1000000000", None)],
            "entry '0.cls_id.cls': '1000000000' is not a class (a whole number from 0 to 99999)",
        ),
        (
            vec![(name, array.as_slice(), None), ("0.cls", b"\xff", None)],
            "entry '0.cls': '?' is not a class",
        ),
        (
            vec![(name, changed("(1, 2, 2)", "(9, 9, 9)").as_slice(), None), class],
            "does not fit 16 bytes",
        ),
        (vec![class, ("0.cls", b"3", None)], "entry '0.cls': it is there twice"),
        (vec![(name, flat.as_slice(), None), class], "its shape is [4], expected three extents"),
        (
            vec![(name, fortran.as_slice(), None), class],
            "entry '0.latent.npy': its numbers are in Fortran order",
        ),
        (vec![(name, big.as_slice(), None), class], "its numbers are of type '>f4'"),
        (vec![(name, nan.as_slice(), None), class], "not finite"),
        (vec![(name, &array[..array.len() - 4], None), class], "does not fit 12 bytes"),
        (
            vec![
                (name, array.as_slice(), None),
                class,
                ("1.latent.npy", other.as_slice(), None),
                ("1.cls", b"1", None),
            ],
            "its shape is [1, 1, 4], others have [1, 2, 2]",
        ),
        (vec![("readme.txt", b"hello", None)], "its shards hold no pictures"),
    ] {
        let error = open(&entries).unwrap_err();
        assert!(error.contains(expected), "{error}, expected {expected}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// No shard and no array makes the reader panic, whatever happened to it.
    #[test]
    fn damaged_shards_are_read_or_refused(
        changes in prop::collection::vec((0usize..4096, any::<u8>()), 1..10),
        cut in 0usize..8192,
    ) {
        let array = npy::write(&[1, 2, 2], &[1.0, 2.0, 3.0, 4.0]);
        let entries: Vec<(&str, &[u8], Option<u64>)> = vec![
            ("0.latent.npy", &array, None),
            ("0.cls_id.cls", b"3", None),
            ("1.latent.npy", &array, None),
            ("1.cls_id.cls", b"4", None),
        ];
        let damage = |mut bytes: Vec<u8>| {
            for (at, byte) in &changes {
                let length = bytes.len();
                bytes[at % length] = *byte;
            }
            bytes.truncate(cut.max(1));
            bytes
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.tar");
        fs::write(&path, damage(tar_of(&entries))).unwrap();
        match Shards::open(&path) {
            Ok(shards) => (0..shards.len()).for_each(|i| drop(shards.latents(i))),
            Err(error) => assert!(error.to_string().contains("x.tar"), "{error}"),
        }
        let _ = npy::read(&damage(array.clone()));
    }
}
