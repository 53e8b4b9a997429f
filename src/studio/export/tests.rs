//! Exports of a whole run, read back.

use std::io::Cursor;

use image::AnimationDecoder;
use image::codecs::{gif::GifDecoder, png::PngDecoder};

use super::*;
use crate::io::animation::Format;
use crate::io::tensors::TensorFile;
use crate::studio::engine::{ModelSource, View};
use crate::studio::session::restored::Restored;
use crate::studio::testing::bench::Bench;
use crate::studio::testing::fake::FakeWorker;

fn bench() -> Bench {
    Bench::new(FakeWorker::default())
}

/// Name and bytes of what an export wrote.
fn export(bench: &mut Bench, what: Export) -> (String, Vec<u8>) {
    let before = bench.exported();
    bench.studio.export(what);
    bench.until_quiet();
    let after = bench.exported();
    let new: Vec<_> = after.into_iter().filter(|file| !before.contains(file)).collect();
    let [file] = &new[..] else { panic!("{} files were written: {:?}", new.len(), bench.errors()) };
    file.clone()
}

fn frames(bytes: &[u8]) -> Vec<image::Frame> {
    PngDecoder::new(Cursor::new(bytes))
        .unwrap()
        .apng()
        .unwrap()
        .into_frames()
        .collect_frames()
        .unwrap()
}

#[test]
fn pictures_hold_the_pixels_on_show_and_the_settings() {
    let mut bench = bench();
    bench.studio.session.go_to(7);
    let (name, bytes) = export(&mut bench, Export::Picture(1));
    assert_eq!(name, "cat-orange-in-a-meadow-seed42-001-step8.png");
    let run = bench.studio.session.run.as_ref().unwrap();
    let shown = run.pictures(7, View::Predicted).unwrap().host().unwrap();
    assert!(image::load_from_memory(&bytes).unwrap().to_rgb8() == shown[1]);
    let json: serde_json::Value = serde_json::from_str(&png::settings(&bytes).unwrap()).unwrap();
    assert_eq!((&json["image"], &json["seed"]), (&1.into(), &42.into()));
    assert!((json["t"].as_f64().unwrap() - 7.0 / 24.0).abs() < 1e-6);
    let (name, bytes) = export(&mut bench, Export::Sheet);
    assert_eq!(name, "cat-orange-in-a-meadow-seed42-sheet-step8.png");
    assert_eq!(image::load_from_memory(&bytes).unwrap().width(), 2 * 68 + 4);
}

#[test]
fn a_view_that_was_never_shown_is_decoded_for_its_export() {
    let mut bench = bench();
    bench.studio.session.go_to(3);
    bench.studio.session.look.view = View::State;
    assert!(!bench.studio.session.has_pictures());
    let (_, bytes) = export(&mut bench, Export::Picture(0));
    let picture = image::load_from_memory(&bytes).unwrap().to_rgb8();
    bench.studio.session.pictures();
    bench.until(|bench| bench.studio.session.has_pictures());
    let (_, shown) = bench.studio.session.pictures().unwrap();
    assert!(picture == shown.host().unwrap()[0], "it is another picture");
}

#[test]
fn another_belief_is_exported_as_the_branch_that_has_it() {
    let mut bench = bench();
    bench.studio.session.go_to(9);
    bench.studio.session.draft.from = 0.3;
    bench.until(|bench| bench.studio.session.shown().is_some_and(|shown| shown.what_if));
    let (_, bytes) = export(&mut bench, Export::Picture(0));
    let json: serde_json::Value = serde_json::from_str(&png::settings(&bytes).unwrap()).unwrap();
    let restored = Restored::from(crate::flow::Recorded::from_value(json).unwrap());
    let branch = restored.settings.branch.as_ref().unwrap();
    assert_eq!(branch.step, 9);
    assert_eq!(branch.parent, bench.studio.session.run.as_ref().unwrap().settings);
    assert_eq!(restored.settings.temperature.to_string(), "0.3");
    let (_, shown) = bench.studio.session.pictures().unwrap();
    let picture = image::load_from_memory(&bytes).unwrap().to_rgb8();
    assert!(picture == shown.host().unwrap()[0], "it is not the picture on show");
    bench.studio.session.restore(&restored);
    bench.until(Bench::is_done);
    assert_eq!(bench.studio.session.run.as_ref().unwrap().settings, restored.settings);
}

#[test]
fn animations_have_a_frame_a_position_however_little_is_in_memory() {
    let mut bench = bench();
    let (name, gif) = export(&mut bench, Export::Animation(Format::Gif));
    assert_eq!(name, "cat-orange-in-a-meadow-seed42.gif");
    let decoder = GifDecoder::new(Cursor::new(gif)).unwrap();
    assert_eq!(decoder.into_frames().collect_frames().unwrap().len(), 25);
    let (_, whole) = export(&mut bench, Export::Animation(Format::Apng));
    let decoded = frames(&whole);
    assert_eq!(decoded.len(), 25);
    // Enlarged three times, with gaps: the middle of the first pixel of the first picture.
    let run = bench.studio.session.run.as_mut().unwrap();
    let end = run.end.as_ref().unwrap().pictures.host().unwrap()[0].get_pixel(0, 0).0;
    assert_eq!(decoded[24].buffer().get_pixel(3, 3).0[..3], end);
    run.set_budget(0, 0);
    run.drop_pictures();
    assert!(run.pictures(5, View::Predicted).is_none());
    let (_, again) = export(&mut bench, Export::Animation(Format::Apng));
    assert!(again == whole, "decoded again, the frames are others");
    assert!(png::settings(&again).unwrap().contains("\"seed\":42"));
}

#[test]
fn a_trajectory_has_every_number_of_the_run() {
    let mut bench = bench();
    bench.studio.session.run.as_mut().unwrap().set_budget(100_000, usize::MAX);
    let (name, bytes) = export(&mut bench, Export::Trajectory);
    assert_eq!(name, "cat-orange-in-a-meadow-seed42.safetensors");
    let path = bench.place.path().join("exports").join(&name);
    assert_eq!(bytes.len() as u64, std::fs::metadata(&path).unwrap().len());
    let file = TensorFile::open(&path).unwrap();
    let run = bench.studio.session.run.as_ref().unwrap();
    let (shape, x) = file.floats("x").unwrap();
    assert_eq!(shape, [25, 4, 3, 16, 16]);
    let record = run.record(11).unwrap();
    let each = record.x.values.len();
    assert_eq!(x[11 * each..12 * each], record.x.values);
    let codes: Vec<u32> =
        file.integers("codes").unwrap().1.into_iter().map(|code| code as u32).collect();
    assert_eq!(codes, run.end.as_ref().unwrap().codes);
    let settings = run.settings.clone();
    assert_eq!(Restored::read(&path).unwrap().settings, settings);
}

#[test]
fn numbers_are_a_line_a_step() {
    let mut bench = bench();
    let (name, bytes) = export(&mut bench, Export::Numbers);
    assert_eq!(name, "cat-orange-in-a-meadow-seed42.csv");
    let text = String::from_utf8(bytes).unwrap();
    let mut lines = text.lines();
    assert_eq!(
        lines.next(),
        Some("step,t,t_next,temperature,evaluations,mean_entropy,change_rate,milliseconds")
    );
    let rows: Vec<Vec<f64>> =
        lines.map(|line| line.split(',').map(|cell| cell.parse().unwrap()).collect()).collect();
    let run = bench.studio.session.run.as_ref().unwrap();
    assert_eq!(rows.len(), run.frames.len());
    for (row, frame) in rows.iter().zip(&run.frames) {
        assert_eq!(row[1] as f32, frame.t);
        assert_eq!(row[5] as f32, frame.mean_entropy);
        assert_eq!((row[3] as f32, row[4] as usize), (0.9, frame.evaluations));
        assert_eq!((row[6] as f32, row[7]), (frame.change_rate, 48.0));
    }
    assert_eq!(rows.windows(2).filter(|pair| pair[0][2] != pair[1][1]).count(), 0);
}

#[test]
fn settings_make_the_run_again() {
    let mut bench = bench();
    let settings = bench.studio.session.run.as_ref().unwrap().settings.clone();
    let (name, _) = export(&mut bench, Export::Settings);
    bench.studio.session.draft.sampling.guidance = 4.0;
    bench.studio.session.draft.sampling.seed = 1;
    bench.studio.session.generate();
    bench.until(Bench::is_done);
    bench.studio.open(bench.place.path().join("exports").join(name));
    bench.until_quiet();
    bench.until(Bench::is_done);
    assert_eq!(bench.studio.session.run.as_ref().unwrap().settings, settings);
    assert!(bench.errors().is_empty(), "{:?}", bench.errors());
}

#[test]
fn names_that_are_taken_are_not_taken_again() {
    let mut bench = bench();
    let (one, _) = export(&mut bench, Export::Settings);
    bench.studio.session.draft.sampling.guidance = 3.0;
    bench.studio.session.draft.seed_locked = true;
    bench.studio.session.generate();
    bench.until(Bench::is_done);
    let (other, _) = export(&mut bench, Export::Settings);
    assert_eq!(
        (one.as_str(), other.as_str()),
        ("cat-orange-in-a-meadow-seed42.toml", "cat-orange-in-a-meadow-seed42 (2).toml")
    );
}

#[test]
fn a_run_that_is_replaced_is_exported_to_its_end() {
    let mut bench = bench();
    bench.studio.session.run.as_mut().unwrap().set_budget(0, 0);
    bench.studio.session.run.as_mut().unwrap().drop_pictures();
    bench.studio.export(Export::Animation(Format::Apng));
    bench.studio.session.draft.sampling.steps = 3;
    bench.studio.session.generate();
    bench.until(|bench| bench.studio.session.run.as_ref().is_some_and(|run| run.steps() == 3));
    bench.until_quiet();
    assert_eq!(frames(&bench.exported()[0].1).len(), 25);
}

#[test]
fn pictures_of_a_model_that_is_gone_are_asked_of_nobody_else() {
    let (gate, worker) = FakeWorker::gated();
    gate.let_pass(24);
    let mut bench = Bench::new(worker);
    let run = bench.studio.session.run.as_mut().unwrap();
    run.set_budget(0, 0);
    run.drop_pictures();
    let old = bench.studio.session.model.clone().unwrap();
    // The run that the new model begins with stays before its first step.
    bench.studio.session.load_model(ModelSource::Embedded);
    bench
        .until(|bench| !std::sync::Arc::ptr_eq(bench.studio.session.model.as_ref().unwrap(), &old));
    bench.studio.export(Export::Animation(Format::Gif));
    bench.until_quiet();
    let errors = bench.errors();
    assert!(
        errors.iter().any(|text| text.contains("decoded again by cats-and-dogs")),
        "{errors:?}"
    );
    assert!(bench.exported().is_empty());
    gate.let_pass(1000);
}

#[test]
fn a_cancelled_export_leaves_nothing() {
    let (gate, worker) = FakeWorker::gated();
    gate.let_pass(24);
    let mut bench = Bench::new(worker);
    let run = bench.studio.session.run.as_mut().unwrap();
    run.set_budget(0, 0);
    run.drop_pictures();
    // The compute thread waits at the gate, so that nothing can be decoded.
    bench.studio.session.generate();
    bench.frame();
    bench.studio.export(Export::Animation(Format::Gif));
    for _ in 0..20 {
        std::thread::sleep(std::time::Duration::from_millis(2));
        bench.frame();
    }
    assert_eq!(bench.studio.session.jobs.all().len(), 1);
    bench.studio.session.jobs.all()[0].cancel();
    bench.until_quiet();
    assert!(bench.exported().is_empty() && bench.errors().is_empty(), "{:?}", bench.errors());
    gate.let_pass(1000);
}

#[test]
fn a_place_that_cannot_be_written_is_named() {
    let mut bench = bench();
    // A missing folder would be made; where a file is in its way, it cannot be.
    std::fs::write(bench.place.path().join("not a folder"), "").unwrap();
    bench.studio.exports.destination =
        Destination::Folder(bench.place.path().join("not a folder/deeper"));
    for what in [Export::Settings, Export::Trajectory, Export::Animation(Format::Gif)] {
        bench.studio.session.notices.log.clear();
        bench.studio.export(what);
        bench.until_quiet();
        let errors = bench.errors();
        assert!(errors.len() == 1 && errors[0].contains("not a folder"), "{errors:?}");
    }
}
