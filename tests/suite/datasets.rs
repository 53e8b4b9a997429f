//! Folders of pictures as people have them: hidden files, links, damage, other formats, held-out parts.

use std::fs;
use std::path::Path;

use image::{ImageFormat, Rgb, RgbImage};
use purrscope::io::tensors::TensorFile;

use crate::common::{fail, purrscope, succeed};
use crate::training::{flow_run, tokenizer_run, train, write_pictures};

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/cats-and-robots.safetensors");
const CPU: [&str; 2] = ["--device", "cpu"];

/// A picture that tells `shade` from others.
fn picture(shade: u8) -> RgbImage {
    RgbImage::from_fn(16, 16, |x, y| Rgb([shade, (x * 15) as u8, (y * 15) as u8]))
}

fn save(path: &Path, shade: u8) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    picture(shade).save_with_format(path, ImageFormat::Png).unwrap();
}

/// Encodes a folder; how many pictures that were, and what was said.
fn encode(at: &Path, folder: &str) -> (usize, String) {
    let output =
        purrscope(at, &[&["encode", MODEL, folder, "--out", "c.safetensors"], &CPU[..]].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let (shape, _) =
        TensorFile::open(&at.join("c.safetensors")).unwrap().integers("codes").unwrap();
    (shape[0], said)
}

#[test]
fn a_folder_is_encoded_without_what_systems_and_accidents_leave_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for name in ["f/a.png", "f/sub/b", "f/.thumbnails/t.png", "f/__MACOSX/m.png", "f/@eaDir/e.png"]
    {
        save(&at.join(name), 9);
    }
    fs::write(at.join("f/._a.png"), b"\0\x05\x16\x07").unwrap();
    fs::write(at.join("f/notes.txt"), b"BM: nothing to see").unwrap();
    fs::write(at.join("f/page.jpg"), b"<html>").unwrap();
    fs::write(at.join("f/empty.png"), b"").unwrap();
    let mut jpeg = Vec::new();
    picture(1).write_to(&mut std::io::Cursor::new(&mut jpeg), ImageFormat::Jpeg).unwrap();
    fs::write(at.join("f/half.jpg"), &jpeg[..jpeg.len() * 3 / 4]).unwrap();
    #[cfg(unix)]
    for link in ["f/loop", "f/sub/loop"] {
        std::os::unix::fs::symlink(at.join("f"), at.join(link)).unwrap();
    }
    let (count, said) = encode(at, "f");
    assert_eq!(count, 2, "a.png and sub/b: {said}");
    let skipped: Vec<&str> = said.lines().filter(|line| line.contains("skipped")).collect();
    assert_eq!(skipped.len(), 3, "{said}");
    for (name, why) in
        [("page.jpg", "not a picture"), ("empty.png", "an empty file"), ("half.jpg", "cut short")]
    {
        assert!(skipped.iter().any(|line| line.contains(name) && line.contains(why)), "{said}");
    }
}

#[test]
fn held_out_classes_are_those_of_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for (class, shade) in [("a", 1), ("b", 90), ("c", 200)] {
        (0..3).for_each(|i| save(&at.join(format!("data/{class}/{i}.png")), shade + i));
    }
    save(&at.join("held/c/0.png"), 201);
    save(&at.join("held/b/0.png"), 91);
    save(&at.join("held/zebra/0.png"), 50);
    save(&at.join("other/zebra/0.png"), 50);
    train(at, "tok.toml", &tokenizer_run("tok", 2), &CPU);
    let run = |out: &str, held: &str| {
        flow_run(out, 1).replace("holdout = \"data\"", &format!("holdout = \"{held}\""))
    };
    let said = train(at, "flow.toml", &run("flow", "held"), &CPU);
    assert!(said.contains("left out classes that are not trained on (zebra)"), "{said}");
    let labels = TensorFile::open(&at.join("flow/holdout.safetensors")).unwrap();
    assert_eq!(labels.integers("labels").unwrap().1, [1, 2]);
    fs::write(at.join("none.toml"), run("none", "other")).unwrap();
    let expected = "other: none of its classes (zebra) is among those trained on (a, b, c)";
    fail(at, &["--train", "none.toml", "--device", "cpu"], 1, expected);
}

#[test]
fn codes_are_those_of_the_pictures_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let file = at.join("data/a/0.png");
    save(&file, 7);
    train(at, "tok.toml", &tokenizer_run("tok", 2), &CPU);
    let codes = |size: usize| {
        let text = flow_run("flow", 1).replace("holdout = \"data\"", "");
        let text = text.replace("image_size = 8", &format!("image_size = {size}"));
        train(at, "flow.toml", &text, &CPU);
        fs::remove_file(at.join("flow/checkpoint.safetensors")).unwrap();
        TensorFile::open(&at.join("flow/latents.safetensors")).unwrap().integers("codes").unwrap()
    };
    let first = codes(8);
    assert_eq!(codes(8), first);
    // Another picture under the same name, of as many bytes and of the same time: a bitmap has no
    // compression that would tell.
    let bitmap = |shade| {
        let time = fs::metadata(&file).unwrap().modified().unwrap();
        picture(shade).save_with_format(&file, ImageFormat::Bmp).unwrap();
        fs::File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
    };
    bitmap(7);
    assert_eq!(codes(8), first, "the same picture in another format");
    let kept = fs::read(at.join("flow/latents.safetensors")).unwrap();
    bitmap(250);
    let second = codes(8);
    assert_ne!(kept, fs::read(at.join("flow/latents.safetensors")).unwrap(), "the old codes stay");
    assert_eq!(second.0, first.0);
    assert_eq!(codes(16).0, [1, 8, 8], "at twice the size");
    assert_eq!(codes(8), second, "and back");
}

#[test]
fn what_was_left_out_of_a_folder_is_said_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_pictures(at);
    fs::create_dir(at.join("data/nothing")).unwrap();
    save(&at.join("data/green/nested/deep.png"), 3);
    save(&at.join("data/loose.png"), 3);
    // The tar that the folder came in makes no shards of it.
    fs::write(at.join("data/dataset.tar"), [0; 10_240]).unwrap();
    let said = train(at, "tok.toml", &tokenizer_run("tok", 1), &CPU);
    assert!(said.contains("data: 27 pictures in 3 classes (blue, green, red)"), "{said}");
    let left =
        "data: left out 1 sub-folder without pictures (nothing), 1 picture in no class folder";
    assert!(said.contains(left), "{said}");
    let said = train(at, "flow.toml", &flow_run("flow", 1), &CPU);
    assert!(said.contains("2 of 27 pictures cannot be read and are left out"), "{said}");

    fs::rename(at.join("data"), at.join("da{ta}")).unwrap();
    let braces = flow_run("braces", 1).replace("\"data\"", "\"da{ta}\"");
    train(at, "braces.toml", &braces, &CPU);
    let missing = tokenizer_run("gone", 1);
    fs::write(at.join("gone.toml"), missing).unwrap();
    fail(at, &["--train", "gone.toml", "--device", "cpu"], 1, "data: no such folder in ");
}

#[test]
fn another_set_of_shards_is_not_mixed_in() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for class in ["a", "b"] {
        (0..2).for_each(|i| save(&at.join(format!("d/{class}/{i}.png")), 90 * i));
    }
    save(&at.join("e/a/0.png"), 5);
    let arguments = |pictures, out| {
        [&["encode", MODEL, pictures, "--shards", out, "--shard-size", "1"], &CPU[..]].concat()
    };
    succeed(at, &arguments("d", "s"));
    succeed(at, &arguments("e", "t"));
    fail(at, &arguments("e", "s"), 1, "'s': it holds shards already (shard_000000.tar)");

    fs::copy(at.join("t/shard_000000.tar"), at.join("s/shard_000000.tar")).unwrap();
    let error = purrscope::data::Shards::open(&at.join("s")).unwrap_err().to_string();
    assert!(error.contains("was not written together with"), "{error}");
    let both = at.join("{s,t}/shard_000000.tar");
    assert_eq!(purrscope::data::Shards::open(&both).unwrap().len(), 2, "each in its own folder");
}
