//! From a folder of pictures to a model: `purrscope new-run`, `--train`, and the run's folder in the model's place.

use std::fs;
use std::path::Path;

use image::{Rgb, RgbImage};

use crate::common::{fail, succeed};

const CPU: [&str; 2] = ["--device", "cpu"];

/// Pictures of several sizes, in folders or not.
fn write(root: &Path, folders: &[&str], each: u8) {
    for (at, folder) in folders.iter().enumerate() {
        fs::create_dir_all(root.join(folder)).unwrap();
        for i in 0..each {
            let side = 40 + u32::from(i % 5);
            let picture = RgbImage::from_fn(side, side + 3, |x, y| {
                Rgb([(x * 5) as u8 ^ i, (y * 5) as u8, 90 * at as u8])
            });
            picture.save(root.join(folder).join(format!("{i}.png"))).unwrap();
        }
    }
}

/// Gives the run file networks and stages of next to nothing.
fn shrink(file: &Path) {
    let mut run: toml::Table = fs::read_to_string(file).unwrap().parse().unwrap();
    for stage in run["stage"].as_array_mut().unwrap() {
        stage["batch"] = 8.into();
        stage["steps"] = 3.into();
        let task = stage["task"].as_table_mut().unwrap();
        for (sizes, name, small) in [
            ("model", "channels", 8),
            ("model", "codes", 16),
            ("backbone", "hidden_size", 24),
            ("backbone", "depth", 1),
        ] {
            if let Some(sizes) = task.get_mut(sizes) {
                sizes[name] = small.into();
            }
        }
    }
    fs::write(file, run.to_string()).unwrap();
}

#[test]
fn three_commands_lead_from_a_folder_of_pictures_to_a_model() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write(&at.join("pictures"), &["cats", "dogs"], 20);
    let said = succeed(at, &[&["new-run", "runs/mine", "--images", "pictures"], &CPU[..]].concat());
    for part in [
        "40 pictures in 2 classes, mostly 42 pixels and more, trained on at 32x32",
        "tokenizer: 1500 steps of 32 pictures",
        "flow: 750 steps of 64 pictures",
        "pictures a second",
        "train: purrscope --train runs/mine/run.toml",
        "open:  purrscope runs/mine",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let file = at.join("runs/mine/run.toml");
    shrink(&file);
    let train = [&["--train", "runs/mine/run.toml"], &CPU[..]].concat();
    let said = succeed(at, &train);
    assert!(said.contains("finished: runs/mine/model.safetensors"), "{said}");
    assert!(at.join("runs/mine/tokenizer/tokenizer.safetensors").is_file());
    let model = fs::read(at.join("runs/mine/model.safetensors")).unwrap();
    // What is finished stays so, and is left alone where it is not asked for.
    let said = succeed(at, &[&train[..], &["--resume"]].concat());
    assert!(said.contains("finished: runs/mine/model.safetensors"), "{said}");
    assert_eq!(fs::read(at.join("runs/mine/model.safetensors")).unwrap(), model);
    // A run file may be named from the folder that it is in.
    let run = at.join("runs/mine");
    let said = succeed(&run, &[&["--train", "run.toml", "--resume"], &CPU[..]].concat());
    assert!(said.contains("finished: ./model.safetensors"), "{said}");
    fail(at, &train, 1, "a run is already there");
    let sample = ["sample", "runs/mine", "--class", "cats", "--steps", "2", "--out", "out"];
    succeed(at, &[&sample[..], &CPU].concat());

    // What is trained can be gone on from, on other pictures.
    write(&at.join("more"), &["cats", "birds"], 20);
    let more = ["new-run", "runs/more", "--images", "more", "--from", "runs/mine"];
    let said = succeed(at, &[&more[..], &CPU].concat());
    assert!(
        said.contains("flow: 187 steps of 64 pictures") && !said.contains("tokenizer"),
        "{said}"
    );
    let train = ["--train", "runs/more/run.toml", "--set", "steps=2", "--set", "batch=8"];
    succeed(at, &[&train[..], &CPU].concat());
    let sample = ["sample", "runs/more", "--class", "birds", "--steps", "2", "--out", "birds"];
    succeed(at, &[&sample[..], &CPU].concat());
    assert_eq!(fs::read_dir(at.join("out")).unwrap().count(), 1);
    let said = succeed(at, &["inspect", "runs/mine/model.safetensors"]);
    assert!(said.contains("pictures of 32 pixels"), "{said}");
    assert!(!said.contains("40 pictures"), "some are held out: {said}");
}

#[test]
fn pictures_without_sub_folders_are_one_class() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write(at, &["holiday"], 12);
    let said = succeed(at, &[&["new-run", "run", "--images", "holiday"], &CPU[..]].concat());
    assert!(said.contains("12 pictures in 1 class,"), "{said}");
    shrink(&at.join("run/run.toml"));
    succeed(at, &[&["--train", "run/run.toml"], &CPU[..]].concat());
    let said = succeed(at, &["inspect", "run/model.safetensors"]);
    assert!(said.contains("holiday"), "{said}");
}

#[test]
fn classes_of_a_table_are_those_of_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write(at, &["pictures"], 12);
    let lines = (0..11).map(|i| format!("{i}.png,{}\n", ["heron", "\"crane, grey\""][i % 2]));
    fs::write(at.join("birds.csv"), format!("file,class\n{}", lines.collect::<String>())).unwrap();
    let arguments = ["new-run", "run", "--images", "pictures", "--labels", "birds.csv"];
    let said = succeed(at, &[&arguments[..], &CPU].concat());
    assert!(said.contains("11 pictures in 2 classes,"), "{said}");
    let file = at.join("run/run.toml");
    let text = fs::read_to_string(&file).unwrap();
    let table = fs::canonicalize(at.join("birds.csv")).unwrap();
    assert!(text.contains(&format!("classes = \"{}\"", table.display())), "{text}");
    shrink(&file);
    assert!(text.contains("balance = \"as-is\"") && text.contains("flip = false"), "{text}");
    // Both stages take every entry that the file speaks of.
    let more = fs::read_to_string(&file).unwrap().replace("flip = false", "flip = true");
    fs::write(&file, more.replace("balance = \"as-is\"", "balance = \"even\"")).unwrap();
    succeed(at, &[&["--train", "run/run.toml"], &CPU[..]].concat());
    let said = succeed(at, &["inspect", "run/model.safetensors"]);
    assert!(said.contains("crane, grey") && said.contains("heron"), "{said}");
    let wrong = ["new-run", "other", "--images", "pictures", "--labels", "pictures"];
    fail(at, &[&wrong[..], &CPU].concat(), 1, "expected a table whose name ends in .csv or .tsv");
}

#[test]
fn what_no_run_can_be_made_of_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write(at, &["pictures/a"], 2);
    fs::create_dir(at.join("empty")).unwrap();
    let run = |images: &str, more: &[&str], expected: &str| {
        let arguments = [&["new-run", "run", "--images", images], more, &CPU].concat();
        fail(at, &arguments, 1, expected);
        assert!(!at.join("run").exists());
    };
    run("nowhere", &[], "no such folder");
    run("empty", &[], "no pictures found");
    run("pictures", &["--size", "48"], "--size is 32, 64, 128 or 256, not 48");
    fs::create_dir(at.join("taken")).unwrap();
    fs::write(at.join("taken/run.toml"), "").unwrap();
    fail(at, &["new-run", "taken", "--images", "pictures"], 1, "taken/run.toml is already there");
    fs::write(at.join("b.txt"), "").unwrap();
    run("b.txt", &[], "a file, expected a folder");
}
