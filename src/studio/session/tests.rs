//! The session over a stand-in for the compute thread.

use super::*;
use crate::flow::Grid;
use crate::studio::base::notices::{Entry, Level};
use crate::studio::engine::{Question, View, Worker};
use crate::studio::session::kinds::TemperatureKind;
use crate::studio::testing::fake::FakeWorker;

/// Does what the compute thread would, at once.
fn settle(session: &mut Session) {
    let mut worker = FakeWorker::default();
    loop {
        let commands = session.take_commands();
        if commands.is_empty() {
            return;
        }
        for command in commands {
            match command {
                Command::Load(source) => {
                    let info = worker.load(&source).unwrap();
                    session.take(Event::ModelReady(Arc::new(info)));
                }
                Command::Run { run, settings, start, .. } => {
                    let start = start.map(|start| *start);
                    let mut trajectory = worker.begin(&settings, start).unwrap();
                    while let Some(record) = trajectory.advance() {
                        let predicted = Some(worker.decode(&record.prediction));
                        session.take(Event::Run(
                            run,
                            RunEvent::Step { record: Arc::new(record), predicted },
                        ));
                    }
                    let codes = trajectory.codes();
                    let pictures = worker.decode_codes(&codes, settings.labels.len());
                    let wall = Duration::from_secs(1);
                    session.take(Event::Run(run, RunEvent::Finished { codes, pictures, wall }));
                }
                Command::Ask(Question::Render { key, record }) => {
                    let pictures = worker.decode(&record.x);
                    session.take(Event::Answered(Answer::Rendered { key, pictures }));
                }
                Command::Ask(Question::Rethink { ticket, record, settings }) => {
                    let record = Arc::new(worker.rethink(&record, &settings).unwrap());
                    let predicted = worker.decode(&record.prediction);
                    session.take(Event::Answered(Answer::Rethought { ticket, record, predicted }));
                }
                Command::Ask(Question::Decode { ticket, codes, batch }) => {
                    let pictures = worker.decode_codes(&codes, batch);
                    session.take(Event::Answered(Answer::Decoded { ticket, pictures }));
                }
                _ => {}
            }
        }
    }
}

/// Takes an event in as the window does.
fn tell(session: &mut Session, event: Event) {
    session.loses_answers(&event);
    session.take(event);
}

fn ready() -> Session {
    let mut session = Session::default();
    session.load_model(ModelSource::Embedded);
    settle(&mut session);
    session
}

#[test]
fn the_first_model_starts_a_run_of_four_cats() {
    let session = ready();
    let run = session.run.as_ref().unwrap();
    assert_eq!(run.settings.labels, [12; 4]);
    assert_eq!((run.positions(), session.position), (25, 24));
    assert!(session.active.is_none() && run.is_end(24));
}

#[test]
fn entropy_falls_and_the_first_step_changes_nothing() {
    let session = ready();
    let frames = &session.run.as_ref().unwrap().frames;
    assert_eq!(frames[0].change_rate, 0.0);
    assert!(frames.windows(2).all(|pair| pair[1].mean_entropy <= pair[0].mean_entropy));
    assert!(frames.iter().any(|frame| frame.change_rate > 0.0));
}

#[test]
fn a_locked_seed_stays_and_an_unlocked_one_moves() {
    let mut session = ready();
    assert_eq!(session.draft.sampling.seed, 42);
    session.draft.seed_locked = true;
    session.generate();
    assert_eq!(session.draft.sampling.seed, 42);
    session.draft.seed_locked = false;
    session.generate();
    assert_ne!(session.draft.sampling.seed, 42);
    session.draft.sampling.seed = 7;
    session.generate();
    assert_eq!(session.draft.sampling.seed, 7, "a seed that was just chosen is used");
}

#[test]
fn live_mode_starts_one_run_a_change() {
    let mut session = ready();
    session.draft.sampling.guidance = 2.0;
    session.follow_changes();
    assert!(session.take_commands().is_empty());
    session.draft.live = true;
    session.follow_changes();
    session.follow_changes();
    assert_eq!(session.take_commands().len(), 1);
}

#[test]
fn steps_of_a_dropped_run_are_not_shown() {
    let mut session = ready();
    let shown = session.run.as_ref().unwrap();
    let (old, record) = (shown.id, shown.record(0).unwrap());
    let predicted = shown.frames[0].predicted.clone();
    session.generate();
    session.take(Event::Run(old, RunEvent::Step { record, predicted }));
    assert_eq!(session.run.as_ref().unwrap().frames.len(), 24);
    session.take(Event::Run(old, RunEvent::Stopped));
    assert!(session.active.is_some());
}

#[test]
fn looking_back_stays_where_one_looks() {
    let mut session = ready();
    session.step_by(-5);
    assert_eq!((session.position, session.follow), (19, false));
    session.step_by(100);
    assert_eq!((session.position, session.follow), (24, true));
    session.step_by(-100);
    assert_eq!(session.position, 0);
}

#[test]
fn playing_moves_loops_and_ends() {
    let mut session = ready();
    session.toggle_play();
    assert_eq!(session.position, 0);
    let mut now = 10.0;
    let mut pass = |session: &mut Session, moves: usize| {
        for _ in 0..moves {
            session.play(now);
            now += 0.125;
        }
        session.play(now)
    };
    pass(&mut session, 24);
    assert_eq!(session.position, 24);
    pass(&mut session, 1);
    assert_eq!(session.position, 0);
    session.playback.looping = false;
    session.go_to(24);
    assert!(pass(&mut session, 1).is_none() && !session.playback.playing);
}

#[test]
fn another_view_is_asked_for_once() {
    let mut session = ready();
    session.look.view = View::State;
    assert!(session.pictures().is_none() && session.pictures().is_none());
    assert_eq!(session.outbox.commands.len(), 1);
    settle(&mut session);
    assert!(session.pictures().is_some());
}

#[test]
fn a_picture_brings_its_settings_back() {
    let mut session = ready();
    let mut settings = session.run.as_ref().unwrap().settings.clone();
    settings.labels = vec![30; 3];
    settings.seed = 99;
    settings.temperature = "cosine:1.2:0.6".parse().unwrap();
    settings.grid = Grid::Shifted(2.0);
    let model_hash = Some("another".to_owned());
    let restored = Restored { class: None, model_hash, noise: None, settings: settings.clone() };
    session.restore(&restored);
    settle(&mut session);
    assert_eq!(session.run.as_ref().unwrap().settings, settings);
    assert!(session.draft.seed_locked && session.notices.banner.is_some());
}

#[test]
fn a_picture_that_began_with_given_noise_is_said_to_differ() {
    let mut session = ready();
    let settings = session.run.as_ref().unwrap().settings.clone();
    let noise = Some("there/n.safetensors".to_owned());
    let mut restored = Restored { class: None, model_hash: None, noise, settings };
    let said = |session: &mut Session, restored: &Restored| {
        session.notices.log.clear();
        session.notices.banner = None;
        assert!(session.restore(restored));
        settle(session);
        assert_eq!(session.run.as_ref().unwrap().settings, restored.settings);
        let telling = |entry: &&Entry| entry.about == About::Opening;
        assert!(session.notices.log.iter().filter(telling).count() <= 1, "it is said once");
        session.notices.banner.clone()
    };
    let banner = said(&mut session, &restored).unwrap();
    assert_eq!(banner.level, Level::Warning);
    assert!(banner.text.contains("there/n.safetensors") && banner.text.contains("differs"));
    assert!(!banner.text.contains("different model"), "{}", banner.text);
    restored.model_hash = Some("another".to_owned());
    let banner = said(&mut session, &restored).unwrap();
    assert!(banner.text.contains("different model") && banner.text.contains("n.safetensors"));
    (restored.noise, restored.model_hash) = (None, None);
    assert!(said(&mut session, &restored).is_none(), "the seed gives all of it");
}

#[test]
fn a_failure_keeps_what_is_on_show() {
    let mut session = ready();
    session.generate();
    let run = session.active.as_ref().unwrap().id;
    session.take(Event::Run(run, RunEvent::Failed("out of memory".to_owned())));
    assert!(session.active.is_none() && session.run.is_some());
    assert!(session.notices.banner.is_some());
}

#[test]
fn a_changed_temperature_is_asked_of_the_step_on_show() {
    let mut session = ready();
    session.go_to(8);
    let before = session.shown().unwrap();
    assert!(!before.what_if);
    session.draft.from = 0.3;
    session.follow_draft(false);
    session.follow_draft(false);
    assert_eq!(session.outbox.commands.len(), 1, "it is asked once");
    settle(&mut session);
    let after = session.shown().unwrap();
    assert!(after.what_if);
    assert!(after.record.entropy()[5] < before.record.entropy()[5]);
    assert_eq!(after.record.x, before.record.x);
    let (key, _) = session.pictures().unwrap();
    assert_ne!(key.ticket, 0);
    session.draft.from = 0.9;
    session.follow_draft(false);
    assert!(!session.shown().unwrap().what_if);
    // Other steps are other runs: nothing can be said without running.
    session.draft.sampling.steps = 12;
    session.draft.from = 0.3;
    session.follow_draft(false);
    settle(&mut session);
    assert!(!session.shown().unwrap().what_if);
}

#[test]
fn a_branch_goes_on_from_the_step_on_show() {
    let mut session = ready();
    session.go_to(10);
    let x = session.shown().unwrap().record.x.clone();
    session.branch_here();
    session.draft.temperature = TemperatureKind::Linear;
    session.draft.count = 9;
    session.generate();
    let Some(Command::Run { settings, start: Some(start), .. }) = session.outbox.commands.last()
    else {
        panic!("no branch was sent")
    };
    assert_eq!((settings.labels.len(), &start.x), (4, &x));
    settle(&mut session);
    let run = session.run.as_ref().unwrap();
    assert_eq!((run.frames.len(), run.time(0)), (14, 10.0 / 24.0));
    assert_eq!(run.record(0).unwrap().x, x);
    session.go_to(13);
    session.branch = None;
    session.branch_here();
    assert!(session.branch.is_none(), "after the last step there is nothing to go on with");
}

#[test]
fn undo_goes_back_to_the_settings_before() {
    let mut session = ready();
    session.follow_draft(false);
    session.draft.sampling.guidance = 3.0;
    session.follow_draft(true);
    session.draft.sampling.guidance = 4.0;
    session.follow_draft(false);
    session.undo();
    assert_eq!(session.draft.sampling.guidance, 1.5);
    session.redo();
    assert_eq!(session.draft.sampling.guidance, 4.0);
}

#[test]
fn codes_are_decoded_on_request() {
    let mut session = ready();
    let codes = session.run.as_ref().unwrap().codes(24).unwrap().to_vec();
    let ticket = session.ask_decode(codes, 4);
    settle(&mut session);
    assert_eq!(session.take_decoded(ticket).unwrap().count(), 4);
    assert!(session.take_decoded(ticket).is_none());
}

#[test]
fn what_was_asked_is_asked_again_after_a_failure_and_after_the_recovery() {
    let mut session = ready();
    session.look.view = View::State;
    session.go_to(1);
    assert!(session.pictures().is_none());
    session.want_swatches([3, 4].into_iter());
    let commands = session.take_commands();
    assert!(matches!(
        commands[..],
        [Command::Ask(Question::Render { .. }), Command::Ask(Question::Swatches(_))]
    ));
    assert!(session.pictures().is_none() && session.take_commands().is_empty(), "asked once");
    tell(&mut session, Event::AskFailed("no".to_owned()));
    // There is no model to ask, and these go unanswered too.
    assert!(session.pictures().is_none());
    session.want_swatches([3, 4].into_iter());
    assert_eq!(session.take_commands().len(), 2);
    tell(&mut session, Event::Run(99, RunEvent::Started));
    assert!(session.pictures().is_none());
    settle(&mut session);
    assert!(session.pictures().is_some());
}

#[test]
fn a_run_of_another_model_is_not_decoded_by_the_one_in_use() {
    let mut session = ready();
    session.look.view = View::State;
    session.go_to(1);
    let model = FakeWorker::default().load(&ModelSource::Embedded).unwrap();
    session.model = Some(Arc::new(model));
    assert!(session.pictures().is_none());
    assert!(
        !session.take_commands().iter().any(|c| matches!(c, Command::Ask(Question::Render { .. })))
    );
}

#[test]
fn undo_gives_back_the_branch_too() {
    let mut session = ready();
    session.follow_draft(false);
    session.go_to(2);
    session.branch_here();
    session.follow_draft(false);
    let branched = session.settings().unwrap();
    let restored = SampleSettings { branch: None, seed: 5, ..SampleSettings::clone(&branched) };
    let [class, model_hash, noise] = [None, None, None];
    session.restore(&Restored { class, model_hash, noise, settings: restored });
    assert!(session.branch.is_none());
    settle(&mut session);
    session.follow_draft(false);
    session.undo();
    assert_eq!(session.settings(), Some(branched));
    session.undo();
    assert!(session.branch.is_none(), "to branch is a step of its own");
    session.redo();
    assert_eq!(session.branch.as_ref().map(|point| point.branch.step), Some(2));
}
