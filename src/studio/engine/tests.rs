//! The compute thread over a stand-in for the model.

use std::sync::{Arc, mpsc};

use image::RgbImage;

use super::inbox::Inbox;
use super::*;
use crate::flow::{LatentShape, SampleSettings, StepRecord};
use crate::studio::testing::fake::{FakeWorker, Gate, settings};

fn engine(worker: FakeWorker) -> Engine {
    let engine = Engine::spawn(move || Ok(worker.clone()), || {}).unwrap();
    engine.send(Command::Load(ModelSource::Embedded));
    assert!(matches!(engine.wait(), Event::ModelReady(_)));
    engine
}

fn generate(run: RunId, settings: SampleSettings) -> Command {
    Command::Run { run, settings, start: None, watched: true }
}

/// One word an event, with the run's number.
fn name(event: &Event) -> String {
    match event {
        Event::ModelReady(_) => "ready".to_owned(),
        Event::LoadFailed(_) => "not loaded".to_owned(),
        Event::AskFailed(_) => "unanswered".to_owned(),
        Event::Run(run, event) => match event {
            RunEvent::Started => format!("started {run}"),
            RunEvent::Step { record, .. } => format!("step {run}.{}", record.step),
            RunEvent::Finished { .. } => format!("finished {run}"),
            RunEvent::Stopped => format!("stopped {run}"),
            RunEvent::Failed(_) => format!("failed {run}"),
        },
        Event::Sketched(Sketch::Made(pictures)) => format!("sketched {}", pictures.count()),
        Event::Sketched(Sketch::Dropped) => "sketch dropped".to_owned(),
        Event::Sketched(Sketch::Failed(_)) => "sketch failed".to_owned(),
        Event::Answered(Answer::Rendered { key, .. }) => format!("rendered {}", key.position),
        Event::Answered(Answer::Rethought { ticket, .. }) => format!("rethought {ticket}"),
        Event::Answered(Answer::Decoded { ticket, .. }) => format!("decoded {ticket}"),
        Event::Answered(Answer::Overlaid { ticket, .. }) => format!("overlaid {ticket}"),
        Event::Answered(Answer::Encoded { ticket, .. }) => format!("encoded {ticket}"),
        Event::Answered(Answer::Believed { ticket, .. }) => format!("believed {ticket}"),
        Event::Answered(Answer::Swatches(list)) => format!("swatches {}", list.len()),
    }
}

fn names_until(engine: &Engine, last: &str) -> Vec<String> {
    let mut names = Vec::new();
    while names.last().map(String::as_str) != Some(last) {
        names.push(name(&engine.wait()));
    }
    names
}

#[test]
fn a_run_reports_its_steps_in_order() {
    let engine = engine(FakeWorker::default());
    engine.send(generate(1, settings(2, 3)));
    let names = names_until(&engine, "finished 1");
    assert_eq!(names, ["started 1", "step 1.0", "step 1.1", "step 1.2", "finished 1"]);
}

#[test]
fn a_new_run_supersedes_the_old_one_within_one_step() {
    let (gate, worker) = FakeWorker::gated();
    let engine = engine(worker);
    engine.send(generate(1, settings(1, 50)));
    assert_eq!(name(&engine.wait()), "started 1");
    gate.let_pass(1);
    assert_eq!(name(&engine.wait()), "step 1.0");
    // The thread is in the second step, or before it, and can at most end that one.
    engine.send(generate(2, settings(1, 2)));
    gate.let_pass(1000);
    let names = names_until(&engine, "finished 2");
    let steps = names.iter().filter(|name| name.starts_with("step 1.")).count();
    assert!(steps <= 1, "{names:?}");
    assert!(names.contains(&"stopped 1".to_owned()), "{names:?}");
}

#[test]
fn of_many_requests_only_the_newest_runs() {
    let (gate, worker) = FakeWorker::gated();
    let engine = engine(worker);
    engine.send(generate(1, settings(1, 50)));
    assert_eq!(name(&engine.wait()), "started 1");
    for run in 2..=9 {
        engine.send(generate(run, settings(1, 1)));
    }
    gate.let_pass(1000);
    let names = names_until(&engine, "finished 9");
    for run in 2..=8 {
        assert!(!names.contains(&format!("started {run}")), "{names:?}");
        assert!(names.contains(&format!("stopped {run}")), "{names:?}");
    }
}

#[test]
fn stop_ends_a_run_and_the_next_one_works() {
    let (gate, worker) = FakeWorker::gated();
    let engine = engine(worker);
    engine.send(generate(1, settings(1, 50)));
    assert_eq!(name(&engine.wait()), "started 1");
    engine.send(Command::Stop);
    gate.let_pass(1000);
    let names = names_until(&engine, "stopped 1");
    assert!(names.len() <= 2, "{names:?}");
    engine.send(generate(2, settings(1, 1)));
    names_until(&engine, "finished 2");
}

#[test]
fn views_and_swatches_are_answered_during_a_run() {
    let (gate, engine, record) = after_one_step();
    for position in [3, 0] {
        let key = PictureKey { run: 1, position, view: View::State, ticket: 0 };
        engine.send(Command::Ask(Question::Render { key, record: Arc::clone(&record) }));
    }
    engine.send(Command::Ask(Question::Swatches(vec![3, 4])));
    gate.let_pass(1000);
    let names = names_until(&engine, "finished 1");
    assert!(names.contains(&"rendered 0".to_owned()), "{names:?}");
    assert!(names.contains(&"swatches 2".to_owned()), "{names:?}");
    assert!(!names.contains(&"stopped 1".to_owned()), "{names:?}");
}

#[test]
fn a_refused_setting_is_reported_with_its_run() {
    let engine = engine(FakeWorker::default());
    engine.send(generate(7, settings(0, 3)));
    let Event::Run(7, RunEvent::Failed(text)) = engine.wait() else { panic!("it did not fail") };
    assert!(text.contains("no picture was asked for"), "{text}");
}

#[test]
fn a_panic_is_reported_and_the_next_run_works() {
    let worker = FakeWorker { panics_at: Some((13, 1)), ..FakeWorker::default() };
    let engine = engine(worker);
    let unlucky = SampleSettings { seed: 13, ..settings(1, 3) };
    engine.send(generate(1, unlucky));
    let names = names_until(&engine, "failed 1");
    assert_eq!(names, ["started 1", "step 1.0", "failed 1"]);
    engine.send(generate(2, settings(1, 1)));
    names_until(&engine, "finished 2");
}

#[test]
fn without_a_device_or_a_model_it_says_so() {
    let none = || Err::<FakeWorker, _>("the device is asleep".to_owned());
    let engine = Engine::spawn(none, || {}).unwrap();
    engine.send(Command::Load(ModelSource::Embedded));
    assert!(matches!(engine.wait(), Event::LoadFailed(text) if text.contains("asleep")));
    engine.send(generate(1, settings(1, 1)));
    assert!(matches!(engine.wait(), Event::Run(1, RunEvent::Failed(_))));
}

#[test]
fn a_bad_file_leaves_the_model_that_was_there() {
    let engine = engine(FakeWorker::default());
    engine.send(Command::Load(ModelSource::File("broken.safetensors".into())));
    let Event::LoadFailed(text) = engine.wait() else { panic!("it did not fail") };
    assert!(text.contains("broken.safetensors"), "{text}");
    engine.send(generate(1, settings(1, 1)));
    names_until(&engine, "finished 1");
}

#[test]
fn a_bad_file_after_a_panic_leaves_the_model_that_was_there() {
    let worker = FakeWorker { panics_at: Some((13, 1)), ..FakeWorker::default() };
    let engine = engine(worker);
    engine.send(generate(1, SampleSettings { seed: 13, ..settings(1, 3) }));
    names_until(&engine, "failed 1");
    engine.send(Command::Load(ModelSource::File("broken.safetensors".into())));
    names_until(&engine, "not loaded");
    engine.send(generate(2, settings(1, 1)));
    names_until(&engine, "finished 2");
}

/// A run of three steps that has made one and waits at the gate.
fn after_one_step() -> (Gate, Engine, Arc<StepRecord>) {
    let (gate, worker) = FakeWorker::gated();
    let engine = engine(worker);
    engine.send(generate(1, settings(1, 3)));
    engine.wait();
    gate.let_pass(1);
    let Event::Run(_, RunEvent::Step { record, .. }) = engine.wait() else {
        panic!("no step came first")
    };
    (gate, engine, record)
}

#[test]
fn questions_are_answered_during_a_run() {
    let (gate, engine, record) = after_one_step();
    for ticket in 1..=2 {
        let (record, settings) = (Arc::clone(&record), Box::new(settings(1, 3)));
        engine.send(Command::Ask(Question::Rethink { ticket, record, settings }));
    }
    engine.send(Command::Ask(Question::Decode {
        ticket: 3,
        codes: record.likeliest.clone(),
        batch: 1,
    }));
    let picture = Box::new(RgbImage::new(64, 64));
    engine.send(Command::Ask(Question::Encode { ticket: 4, picture }));
    gate.let_pass(1000);
    let names = names_until(&engine, "finished 1");
    for wanted in ["rethought 2", "decoded 3", "encoded 4"] {
        assert!(names.contains(&wanted.to_owned()), "{wanted}: {names:?}");
    }
}

#[test]
fn of_many_overlays_the_newest_is_answered_before_the_next_step() {
    let (gate, engine, record) = after_one_step();
    for ticket in 1..=3 {
        let drawing = Drawing::Entropy { values: record.entropy().to_vec(), top: 6.0 };
        engine.send(Command::Ask(Question::Overlay { ticket, shape: record.x.shape, drawing }));
    }
    gate.let_pass(1000);
    let names = names_until(&engine, "finished 1");
    let at = |wanted: &str| names.iter().position(|name| name == wanted);
    // The thread may have been in the second step already, and looks up after it.
    assert!(at("overlaid 3").unwrap() < at("step 1.2").unwrap(), "{names:?}");
    assert!(!names.contains(&"stopped 1".to_owned()), "{names:?}");
    // A stand-in shares no GPU, and says so.
    let drawing = Drawing::Changes { before: vec![1], after: vec![2], mark: [9; 4] };
    engine.send(Command::Ask(Question::Overlay { ticket: 4, shape: record.x.shape, drawing }));
    let Event::Answered(Answer::Overlaid { ticket: 4, pictures: None }) = engine.wait() else {
        panic!("another answer")
    };
}

#[test]
fn a_run_that_nobody_watches_decodes_nothing_on_the_way() {
    let engine = engine(FakeWorker::default());
    let settings = settings(1, 2);
    engine.send(Command::Run { run: 1, settings, start: None, watched: false });
    engine.wait();
    let Event::Run(_, RunEvent::Step { predicted: None, .. }) = engine.wait() else {
        panic!("it was decoded")
    };
    names_until(&engine, "finished 1");
}

#[test]
fn a_question_without_a_model_to_ask_is_said_to_go_unanswered() {
    let engine = Engine::spawn(|| Ok(FakeWorker::default()), || {}).unwrap();
    engine.send(Command::Ask(Question::Decode { ticket: 1, codes: vec![0; 256], batch: 1 }));
    let Event::AskFailed(text) = engine.wait() else { panic!("another report") };
    assert!(text.contains("No model is loaded"), "{text}");
}

#[test]
fn a_newer_question_takes_the_place_of_one_with_its_key_alone() {
    let overlay = |ticket| Question::Overlay {
        ticket,
        shape: LatentShape { batch: 1, channels: 1, height: 1, width: 1 },
        drawing: Drawing::Entropy { values: vec![0.0], top: 1.0 },
    };
    let swatches = || Question::Swatches(vec![1]);
    assert_eq!(overlay(1).key(), overlay(2).key());
    assert!(overlay(1).key().is_some() && swatches().key().is_none());
    let (sender, arriving) = mpsc::channel();
    let mut inbox = Inbox::new(arriving);
    for question in [overlay(1), swatches(), overlay(2), swatches()] {
        sender.send(Command::Ask(question)).unwrap();
    }
    inbox.absorb(&|_| {});
    let order: Vec<String> = std::iter::from_fn(|| inbox.next_question())
        .map(|question| match question {
            Question::Overlay { ticket, .. } => format!("overlay {ticket}"),
            _ => "swatches".to_owned(),
        })
        .collect();
    assert_eq!(order, ["swatches", "overlay 2", "swatches"]);
}

#[test]
fn a_sketch_gives_way_to_whatever_is_asked() {
    let sketch = |steps| Command::Sketch(Box::new(settings(3, steps)));
    let (gate, worker) = FakeWorker::gated();
    let engine = engine(worker);
    engine.send(sketch(2));
    gate.let_pass(2);
    assert_eq!(name(&engine.wait()), "sketched 3");
    // In the midst of one, and while one waits.
    engine.send(sketch(1000));
    gate.let_pass(1);
    engine.send(generate(1, settings(1, 2)));
    gate.let_pass(1);
    assert_eq!(name(&engine.wait()), "sketch dropped");
    assert_eq!(name(&engine.wait()), "started 1");
    engine.send(sketch(1));
    gate.let_pass(1000);
    // A run goes on over it.
    assert_eq!(names_until(&engine, "finished 1"), ["step 1.0", "step 1.1", "finished 1"]);
    assert_eq!(name(&engine.wait()), "sketched 3");
}

#[test]
fn a_sketch_that_fails_is_no_failure_of_what_was_asked() {
    let worker = FakeWorker { panics_at: Some((0, 1)), ..FakeWorker::default() };
    let engine = engine(worker);
    engine.send(Command::Sketch(Box::new(SampleSettings { seed: 0, ..settings(1, 3) })));
    let event = engine.wait();
    assert!(matches!(&event, Event::Sketched(Sketch::Failed(_))) && !event.is_failure());
    // The model comes back with the next run.
    engine.send(generate(1, SampleSettings { seed: 5, ..settings(1, 1) }));
    assert_eq!(names_until(&engine, "finished 1").last().unwrap(), "finished 1");
}
