//! `purrscope calibrate`: from pictures to a report, a table and a schedule that `sample` takes.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use image::{Rgb, RgbImage};
use serde_json::Value;

const CPU: [&str; 2] = ["--device", "cpu"];

/// Runs the program with a home of its own: reports are kept for the studio, where a person's are.
fn purrscope(home: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_purrscope"));
    for name in ["HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR", "APPDATA"] {
        command.env(name, home);
    }
    command.current_dir(home).args(arguments).output().unwrap()
}

fn succeed(home: &Path, arguments: &[&str]) -> String {
    let output = purrscope(home, arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Pictures of two classes of the embedded model.
fn write(root: &Path, classes: &[&str], each: u8) {
    for (at, class) in classes.iter().enumerate() {
        fs::create_dir_all(root.join(class)).unwrap();
        for i in 0..each {
            let picture = RgbImage::from_fn(64, 64, |x, y| {
                let inside =
                    x.abs_diff(32).pow(2) + y.abs_diff(32).pow(2) < 300 + 20 * u32::from(i);
                let shade = if inside { 60 + 10 * i } else { 230 };
                Rgb([shade, 200 - 50 * at as u8, (x + y) as u8])
            });
            picture.save(root.join(class).join(format!("{i}.png"))).unwrap();
        }
    }
}

#[test]
fn a_report_leads_to_a_schedule_that_fits_better() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write(&at.join("pictures"), &["cat-blue-in-a-meadow", "cat-orange-in-a-meadow", "nobody"], 16);
    let calibrate = ["calibrate", "--data", "pictures", "--times", "4", "--json", "report.json"];
    let said = succeed(at, &[&calibrate[..], &["--export", "tokens.safetensors"], &CPU].concat());
    assert!(said.contains("32 pictures of pictures, guidance 1, temperature 1"), "{said}");
    let schedule = said.lines().find_map(|line| line.strip_prefix("--temperature ")).unwrap();
    // Of noise a model that is so wrong is best made to say nothing: beyond a temperature of 4.
    assert!(schedule.starts_with("points:0.") && schedule.contains("0.875="), "{schedule}");

    let report: Value = serde_json::from_slice(&fs::read(at.join("report.json")).unwrap()).unwrap();
    assert_eq!((&report["pictures"], &report["grid"][0]), (&32.into(), &16.into()));
    let times = report["times"].as_array().unwrap();
    assert_eq!(times.len(), 4);
    for time in times {
        let number = |name: &str| time[name].as_f64().unwrap();
        assert_eq!(number("tokens"), 32.0 * 256.0);
        assert!(number("entropy") > 0.0 && number("confidence") <= 1.0);
        assert!(time["gap"]["value"].as_f64().unwrap() >= 0.0);
        assert_eq!(time["classes"].as_array().unwrap().len(), 2);
    }
    assert!(said.contains("take the cross-entropy of all times from"), "{said}");
    let said = succeed(at, &["inspect", "tokens.safetensors"]);
    assert!(said.contains("32768"), "{said}");

    // Such pictures the model has never seen: at the temperatures that fit, it is less surprised.
    let again = ["calibrate", "--data", "pictures", "--times", "4", "--json", "again.json"];
    let said = succeed(at, &[&again[..], &["--temperature", schedule], &CPU].concat());
    assert!(said.contains("The temperatures that fit best:"), "{said}");
    let again: Value = serde_json::from_slice(&fs::read(at.join("again.json")).unwrap()).unwrap();
    for (before, after) in times.iter().zip(again["times"].as_array().unwrap()) {
        let Some(gain) = before["implied"]["gain"].as_f64() else { continue };
        let [before, after] =
            [before, after].map(|time| time["cross_entropy"]["value"].as_f64().unwrap());
        assert!((before - after - gain).abs() < 0.01 + 0.1 * gain, "{before} {after} {gain}");
    }
    let sample = ["sample", "--class", "cat-orange-in-a-meadow", "--steps", "2", "--out", "out"];
    succeed(at, &[&sample[..], &["--temperature", schedule], &CPU].concat());
}

#[test]
fn what_cannot_be_measured_is_refused_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write(&at.join("pictures"), &["nobody"], 2);
    fs::create_dir(at.join("empty")).unwrap();
    write(&at.join("one"), &["cat-blue-in-a-meadow"], 1);
    let run = |more: &[&str], expected: &str| {
        let output = purrscope(at, &[&["calibrate"], more, &CPU].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        let errors = said.lines().filter(|line| line.starts_with("error: "));
        assert_eq!((output.status.code(), errors.count()), (Some(1), 1), "{said}");
        assert!(said.contains(expected), "{more:?} says {said:?}, not {expected:?}");
    };
    run(&["--data", "nowhere"], "no such folder");
    run(&["--data", "empty"], "no pictures found");
    run(&["--data", "pictures"], "none of its classes (nobody) is among those of the model");
    run(&["--data", "one"], "calibration needs at least two pictures, there is one");
    run(&["--data", "one", "--count", "1"], "1 is not in 2..");
    run(&["--data", "one", "--times", "1"], "1 is not in 2..=1000");
    run(&["--data", "one", "--cfg", "nan"], "--cfg must be 0 or more");
    run(&["--data", "one", "--temperature", "entropy:3:1"], "not a target of the entropy");
    run(&["--data", "one", "--json", "report.png"], "JSON is written");
    run(&["nothing.safetensors", "--data", "one"], "nothing.safetensors");
}
