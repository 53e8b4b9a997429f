//! Folders of pictures as people have them: hidden files, links, damage, other formats, held-out parts.

use std::fs;
use std::path::Path;

use image::{ImageFormat, Rgb, RgbImage, Rgba, RgbaImage, imageops};
use purrscope::data::Shards;
use purrscope::io::tensors::TensorFile;

use crate::common::{fail, purrscope, succeed};
use crate::training::{flow_run, losses, tokenizer_run, train, write_pictures};

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/cats-and-dogs.safetensors");
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
    save(&at.join("held/c/0.png"), 211);
    save(&at.join("held/b/0.png"), 101);
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
    // Of the 24 pictures whose edge is drawn there are four of either colour.
    assert!(said.contains("data: 9 pictures in 3 classes (blue, green, red)"), "{said}");
    let left: Vec<&str> = said.lines().filter(|line| line.contains("data: left out ")).collect();
    let [left] = left[..] else { panic!("one line: {said}") };
    for part in [
        "left out 1 sub-folder without pictures (nothing); 1 picture in no class folder (loose.png); ",
        "; 2 pictures that cannot be read (",
        "data/red/broken.png: not a picture",
        "; 16 copies of pictures in the same class (blue/",
        " and 13 more)",
    ] {
        assert!(left.contains(part), "{part}: {left}");
    }
    let kept = tokenizer_run("kept", 1).replace("image_size", "duplicates = \"keep\"\nimage_size");
    let said = train(at, "kept.toml", &kept, &CPU);
    assert!(said.contains("data: 27 pictures in 3 classes (blue, green, red)"), "{said}");
    let kept = flow_run("flow", 1).replace("image_size", "duplicates = \"keep\"\nimage_size");
    let said = train(at, "flow.toml", &kept, &CPU);
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
    let error = Shards::open(&at.join("s")).unwrap_err().to_string();
    assert!(error.contains("was not written together with"), "{error}");
    let both = at.join("{s,t}/shard_000000.tar");
    assert_eq!(Shards::open(&both).unwrap().len(), 2, "each in its own folder");
}

/// Encodes a folder into shards; the classes of their pictures, and what was said.
fn encode_shards(at: &Path, folder: &str, out: &str, more: &[&str]) -> (Vec<usize>, String) {
    let encode = ["encode", MODEL, folder, "--shards", out];
    let output = purrscope(at, &[&encode[..], more, &CPU].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let shards = Shards::open(&at.join(out)).unwrap();
    ((0..shards.len()).map(|i| shards.class(i)).collect(), said)
}

#[test]
fn shards_have_the_classes_of_a_table_and_no_copies() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for (name, shade) in
        [("x/1.png", 10), ("x/2.png", 10), ("deep/er/3.png", 90), ("4.png", 200), ("5.png", 250)]
    {
        save(&at.join("d").join(name), shade);
    }
    fs::write(at.join("d/broken.png"), b"not a picture").unwrap();
    let table = "file,class\nx/1.png,owl\nx/2,owl\ndeep/er/3.png,owl\n4.png,crane\nbroken.png,crane\ngone.png,emu\n";
    fs::write(at.join("d/birds.csv"), table).unwrap();
    // The table is found in the folder, as that of a run file is.
    let labels = ["--labels", "birds.csv", "--shard-size", "1"];
    let (classes, said) = encode_shards(at, "d", "merged", &labels);
    assert_eq!(classes, [0, 1, 1]);
    assert!(said.contains("d: 3 pictures in 2 classes (crane, owl)"), "{said}");
    assert!(said.contains("all are numbered in the order of their names"), "{said}");
    let left: Vec<&str> = said.lines().filter(|line| line.contains("d: left out ")).collect();
    let [left] = left[..] else { panic!("one line: {said}") };
    for part in [
        "1 picture that cannot be read (",
        "broken.png: not a picture",
        "1 copy of pictures in the same class (x/2.png of x/1.png)",
        "1 picture without a class in the table (5.png)",
        "1 line of the table without a picture (line 7 'gone.png')",
    ] {
        assert!(left.contains(part), "{part}: {left}");
    }
    let keep = [&labels[..], &["--duplicates", "keep"]].concat();
    let (classes, said) = encode_shards(at, "d", "kept", &keep);
    assert_eq!(classes, [0, 1, 1, 1]);
    assert!(!said.contains("copy") && said.contains("skipped "), "{said}");
    // With copies it is another set than without.
    let shard = "shard_000003.tar";
    fs::copy(at.join("kept").join(shard), at.join("merged").join(shard)).unwrap();
    let said = Shards::open(&at.join("merged")).unwrap_err().to_string();
    assert!(said.contains("was not written together with"), "{said}");

    for (more, code, expected) in [
        (["--shards", "o", "--labels", "d"], 1, "expected a table whose name ends in .csv or .tsv"),
        (["--shards", "o", "--labels", "gone.csv"], 1, "gone.csv: No such file"),
        (["--shards", "o", "--duplicates", "both"], 1, "expected merge or keep"),
        (["--out", "o", "--labels", "birds.csv"], 2, "cannot be used with"),
        (["--out", "o", "--duplicates", "keep"], 2, "cannot be used with"),
    ] {
        fail(at, &[&["encode", MODEL, "d"], &more[..], &CPU].concat(), code, expected);
        assert!(!at.join("o").exists(), "{more:?}");
    }
}

#[test]
fn shards_of_pictures_without_copies_are_the_same_whatever_becomes_of_copies() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for class in ["a", "b"] {
        (0..3).for_each(|i| save(&at.join(format!("d/{class}/{i}.png")), 80 * i));
    }
    fs::write(at.join("d/a/broken.png"), b"not a picture").unwrap();
    let all = ["merge", "keep"].map(|duplicates| {
        let (classes, said) = encode_shards(at, "d", duplicates, &["--duplicates", duplicates]);
        assert_eq!(classes, [0, 0, 0, 1, 1, 1], "{said}");
        assert!(said.contains("broken.png: not a picture"), "{said}");
        fs::read(at.join(duplicates).join("shard_000000.tar")).unwrap()
    });
    assert!(all[0] == all[1]);
    let (_, said) = encode_shards(at, "d", "plain", &[]);
    assert!(said.contains("3 pictures in more than one class (a/0.png and b/0.png"), "{said}");
    assert!(fs::read(at.join("plain/shard_000000.tar")).unwrap() == all[0]);
}

/// The codes `[n, 4, 4]` and the labels that a flow has kept.
fn kept(at: &Path, name: &str) -> (Vec<i64>, Vec<i64>) {
    let file = TensorFile::open(&at.join(name)).unwrap();
    (file.integers("codes").unwrap().1, file.integers("labels").unwrap().1)
}

/// A flow's run file without held-out pictures, with more entries above its tables.
fn plain_flow(out: &str, steps: usize, more: &str) -> String {
    flow_run(out, steps)
        .replace("holdout = \"data\"", "")
        .replace("image_size = 8", &format!("image_size = 8\n{more}"))
}

fn tokenizer_with(out: &str, steps: usize, more: &str) -> String {
    tokenizer_run(out, steps).replace("image_size = 8", &format!("image_size = 8\n{more}"))
}

#[test]
fn classes_come_from_a_table() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for (i, name) in ["1.png", "deep/2.png", "deep/er/3.png", "4, four.png"].iter().enumerate() {
        save(&at.join("data").join(name), 60 * i as u8);
    }
    let table = "\u{feff}Class;File\r\ndogs;deep\\2.png\r\n\"cats, all\";1.png\r\ndogs;\"4, four.png\"\r\nowls;gone.png\r\n";
    fs::write(at.join("data/labels.csv"), table).unwrap();
    train(at, "tok.toml", &tokenizer_with("tok", 2, "classes = \"labels.csv\""), &CPU);
    let text = plain_flow("flow", 1, "classes = \"data/labels.csv\"");
    let said = train(at, "flow.toml", &text, &CPU);
    let left = "data: left out 1 picture without a class in the table (deep/er/3.png); \
                1 line of the table without a picture (line 5 'gone.png')";
    assert!(said.contains(left), "{said}");
    assert!(said.contains("data: 3 pictures in 2 classes (cats, all; dogs)"), "{said}");
    assert_eq!(kept(at, "flow/latents.safetensors").1, [0, 1, 1]);
    let said = succeed(at, &["inspect", "flow/model.safetensors", "--json"]);
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert!(said.to_string().contains("[\"cats, all\",\"dogs\"]"), "{said}");

    fs::write(at.join("data/labels.csv"), format!("{table}owls;1.png\r\n")).unwrap();
    fs::write(at.join("bad.toml"), text).unwrap();
    let expected = "labels.csv, line 6: '1.png' is owls here and something else in line 3";
    fail(at, &["--train", "bad.toml", "--device", "cpu", "--resume"], 1, expected);
    fs::write(at.join("bad.toml"), plain_flow("bad", 1, "classes = \"folder\"")).unwrap();
    let expected = "classes is \"folders\", \"none\" or a file .csv or .tsv, not 'folder'";
    fail(at, &["--train", "bad.toml", "--device", "cpu"], 1, expected);
}

#[test]
fn transparent_pictures_lie_on_the_background_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::create_dir_all(at.join("clear")).unwrap();
    RgbaImage::from_pixel(16, 16, Rgba([9, 9, 9, 0])).save(at.join("clear/1.png")).unwrap();
    let pure = |name: &str, colour| {
        RgbImage::from_pixel(16, 16, Rgb(colour)).save(at.join(name)).unwrap();
    };
    pure("red.png", [200, 30, 40]);
    pure("white.png", [255; 3]);
    let codes = |picture: &str, more: &[&str]| {
        let arguments = ["encode", MODEL, picture, "--out", "c.safetensors"];
        succeed(at, &[&arguments[..], more, &CPU].concat());
        TensorFile::open(&at.join("c.safetensors")).unwrap().integers("codes").unwrap().1
    };
    assert_ne!(codes("red.png", &[]), codes("white.png", &[]), "the model tells them apart");
    assert_eq!(codes("clear", &[]), codes("white.png", &[]));
    assert_eq!(codes("clear", &["--background", "#c81e28"]), codes("red.png", &[]));
    let bad = ["encode", MODEL, "clear", "--out", "c.safetensors", "--background", "grey"];
    fail(at, &bad, 1, "white, black or a colour as #rrggbb");

    // A run on a clear picture is one on the colour that it lies on.
    let picture = |folder: &str, alpha| {
        fs::create_dir_all(at.join(folder)).unwrap();
        let picture = RgbaImage::from_pixel(8, 8, Rgba([200, 30, 40, alpha]));
        picture.save(at.join(folder).join("1.png")).unwrap();
    };
    picture("data/a", 255);
    train(at, "solid.toml", &tokenizer_run("solid", 2), &CPU);
    picture("data/a", 0);
    let on_red = tokenizer_with("red", 2, "background = \"#c81e28\"");
    train(at, "red.toml", &on_red, &CPU);
    train(at, "white.toml", &tokenizer_run("white", 2), &CPU);
    assert_eq!(losses(at, "red"), losses(at, "solid"));
    assert_ne!(losses(at, "red"), losses(at, "white"));
    fs::write(at.join("red.toml"), tokenizer_with("red", 3, "background = \"black\"")).unwrap();
    let expected = "background is \"#c81e28\" in the checkpoint, \"black\" in the run file";
    fail(at, &["--train", "red.toml", "--device", "cpu", "--resume"], 1, expected);
}

#[test]
fn augmented_and_balanced_runs_go_on_as_if_they_had_never_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for (class, count) in [("a", 9), ("b", 2)] {
        (0..count).for_each(|i| save(&at.join(format!("data/{class}/{i}.png")), 25 * i));
    }
    let more = "balance = \"even\"\naugment = { flip = true, crop = 0.7, colour = 0.2 }";
    train(at, "tok.toml", &tokenizer_with("tok", 7, more), &CPU);
    train(at, "b.toml", &tokenizer_with("tok-b", 3, more), &CPU);
    train(at, "b.toml", &tokenizer_with("tok-b", 7, more), &[&["--resume"], &CPU[..]].concat());
    assert_eq!(losses(at, "tok"), losses(at, "tok-b"));
    // With one thread as with many.
    fs::write(at.join("one.toml"), tokenizer_with("one", 7, more)).unwrap();
    let one = std::process::Command::new(env!("CARGO_BIN_EXE_purrscope"))
        .current_dir(at)
        .env("RAYON_NUM_THREADS", "1")
        .args(["--train", "one.toml", "--device", "cpu"])
        .output()
        .unwrap();
    assert!(one.status.success(), "{}", String::from_utf8_lossy(&one.stderr));
    assert_eq!(losses(at, "tok"), losses(at, "one"));
    train(at, "plain.toml", &tokenizer_with("plain", 7, "balance = \"even\""), &CPU);
    assert_ne!(losses(at, "plain"), losses(at, "tok"), "something is varied");

    train(at, "f.toml", &plain_flow("flow", 7, more), &CPU);
    train(at, "g.toml", &plain_flow("flow-g", 4, more), &CPU);
    train(at, "g.toml", &plain_flow("flow-g", 7, more), &[&["--resume"], &CPU[..]].concat());
    assert_eq!(losses(at, "flow"), losses(at, "flow-g"));
    for (from, to, expected) in [
        ("even", "as-is", "balance is \"even\" in the checkpoint, \"as-is\" in the run file"),
        ("crop = 0.7", "crop = 0.8", "augment.crop is 0.7 in the checkpoint, 0.8 in the run file"),
        ("flip", "variants = 5, flip", "augment.variants is 4 in the checkpoint, 5 in the run"),
    ] {
        fs::write(at.join("g.toml"), plain_flow("flow-g", 8, &more.replace(from, to))).unwrap();
        fail(at, &["--train", "g.toml", "--device", "cpu", "--resume"], 1, expected);
    }
}

#[test]
fn variants_of_pictures_are_kept_as_codes() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    // As large as they are seen, so that a mirror is all that there is to a flip.
    let pictures: Vec<RgbImage> = [30, 130, 230]
        .iter()
        .map(|shade| RgbImage::from_fn(8, 8, |x, y| Rgb([*shade, (x * 31) as u8, (y * 31) as u8])))
        .collect();
    let write = |folder: &str, pictures: &[RgbImage]| {
        fs::create_dir_all(at.join(folder)).unwrap();
        for (i, picture) in pictures.iter().enumerate() {
            picture.save(at.join(folder).join(format!("{i}.png"))).unwrap();
        }
    };
    write("data/a", &pictures);
    train(at, "tok.toml", &tokenizer_run("tok", 2), &CPU);
    let said = train(at, "f.toml", &plain_flow("flip", 1, "augment = { flip = true }"), &CPU);
    assert!(said.contains("2 variants of each picture are kept"), "{said}");
    let (both, labels) = kept(at, "flip/latents.safetensors");
    assert_eq!((both.len(), labels.len()), (3 * 2 * 16, 3));
    // What is made of the pictures, and of their mirrors by another hand.
    let mirrors: Vec<RgbImage> = pictures.iter().map(imageops::flip_horizontal).collect();
    let plain = |out: &str| {
        train(at, "p.toml", &plain_flow(out, 1, ""), &CPU);
        kept(at, &format!("{out}/latents.safetensors")).0
    };
    let straight = plain("straight");
    write("data/a", &mirrors);
    let mirrored = plain("mirrored");
    assert_ne!(straight, mirrored);
    let expected: Vec<i64> = straight
        .chunks(16)
        .zip(mirrored.chunks(16))
        .flat_map(|(straight, mirrored)| [straight, mirrored].concat())
        .collect();
    assert_eq!(both, expected);

    write("data/a", &pictures);
    let some = |out: &str, seed: u64, size: usize| {
        let more = format!("seed = {seed}\naugment = {{ crop = 0.5, variants = {size} }}");
        train(at, "v.toml", &plain_flow(out, 1, &more), &CPU);
        kept(at, &format!("{out}/latents.safetensors")).0
    };
    let three = some("three", 1, 3);
    assert_eq!(three.len(), 3 * 3 * 16);
    assert_eq!(some("again", 1, 3), three);
    assert_ne!(some("other", 2, 3), three, "another seed");
    // Codes of other variants are not taken for these.
    fs::remove_file(at.join("three/checkpoint.safetensors")).unwrap();
    assert_eq!(some("three", 1, 2).len(), 3 * 2 * 16);
}

#[test]
fn held_out_pictures_that_are_trained_on_are_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    (0..4).for_each(|i| save(&at.join(format!("data/a/{i}.png")), 60 * i));
    (0..4).for_each(|i| save(&at.join(format!("data/b/{i}.png")), 60 * i + 5));
    save(&at.join("data/b/also.png"), 0);
    // One of training in another format and class, and a new one.
    fs::create_dir_all(at.join("held/b")).unwrap();
    picture(60).save_with_format(at.join("held/b/known.bmp"), ImageFormat::Bmp).unwrap();
    save(&at.join("held/b/new.png"), 99);
    train(at, "tok.toml", &tokenizer_run("tok", 2), &CPU);
    let text = flow_run("flow", 1).replace("holdout = \"data\"", "holdout = \"held\"");
    let said = train(at, "flow.toml", &text, &CPU);
    assert!(said.contains("held: left out 1 picture of those trained on (b/known.bmp)"), "{said}");
    let both = "data: 1 picture in more than one class (a/0.png and b/also.png)";
    assert!(said.contains(both), "{said}");
    assert_eq!(kept(at, "flow/holdout.safetensors").1, [1]);
    let same = train(at, "same.toml", &flow_run("same", 1), &CPU);
    let expected = "data: all of its pictures are trained on: held-out figures say nothing";
    assert!(same.contains(expected), "{same}");
    assert_eq!(kept(at, "same/holdout.safetensors").1.len(), 9);
}

#[test]
fn what_is_asked_of_pictures_is_checked_before_the_first_step() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    save(&at.join("data/a/0.png"), 1);
    for (more, expected) in [
        ("augment = { crop = 0.0 }", "augment.crop must be from 0.1 to 1, not 0"),
        ("augment = { colour = 1.5 }", "augment.colour must be from 0 to 1, not 1.5"),
        ("augment = { crop = 0.5, variants = 0 }", "augment.variants must be at least 1"),
        ("augment = { flip = true, variants = 3 }", "augment.variants is for augment.crop below 1"),
        ("augment = { flop = true }", "unknown entry 'flop' in [augment]; did you mean 'flip'?"),
        ("balance = \"even\"\nclasses = \"none\"", "balance is between classes"),
        (
            "balance = \"evenly\"",
            "unknown variant `evenly`, expected one of `as-is`, `square-root`, `even`",
        ),
        (
            "background = \"#fff\"",
            "a background is white, black or a colour as #rrggbb, not '#fff'",
        ),
        ("classes = \"gone.csv\"", "gone.csv: No such file"),
        ("balances = \"even\"", "unknown entry 'balances'; did you mean 'balance'?"),
    ] {
        fs::write(at.join("run.toml"), tokenizer_with("run", 1, more)).unwrap();
        let said = fail(at, &["--train", "run.toml", "--device", "cpu"], 1, expected);
        assert!(!said.contains("step 1"), "{said}");
    }
}
