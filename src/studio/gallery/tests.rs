//! The gallery as the window uses it.

use std::fs;

use super::*;
use crate::studio::engine::{ModelSource, View};
use crate::studio::testing::bench::Bench;
use crate::studio::testing::fake::FakeWorker;

fn bench() -> Bench {
    let mut bench = Bench::new(FakeWorker::default());
    bench.until_kept(4);
    bench
}

fn names(bench: &Bench) -> Vec<String> {
    bench.studio.gallery.items().iter().map(|item| item.name.clone()).collect()
}

/// Opens the folder as the next start of the program does.
fn again(bench: &mut Bench, pictures: usize) {
    bench.studio.gallery = Gallery::default();
    bench.open_gallery();
    bench.until_kept(pictures);
}

#[test]
fn every_finished_run_is_kept_and_found_again() {
    let mut bench = bench();
    assert!(bench.studio.session.run.as_ref().unwrap().kept);
    bench.studio.session.draft.count = 3;
    bench.studio.session.generate();
    bench.until_kept(7);
    let before = bench.studio.gallery.items().to_vec();
    again(&mut bench, 7);
    assert_eq!(bench.studio.gallery.items(), before);
    // The newest run first, its pictures in order.
    let shown: Vec<_> = before.iter().map(|item| item.made.image.unwrap()).collect();
    assert_eq!(shown, [0, 1, 2, 0, 1, 2, 3]);
    assert_eq!(
        before[0].made.restored.settings,
        bench.studio.session.run.as_ref().unwrap().settings
    );
    let end = bench.studio.session.run.as_ref().unwrap().end.as_ref().unwrap().pictures.clone();
    let path = bench.studio.gallery.path(&before[1].name).unwrap();
    assert!(read_picture(&path).unwrap() == end.host().unwrap()[1]);
    assert!(bench.errors().is_empty(), "{:?}", bench.errors());
}

#[test]
fn live_runs_are_kept_only_when_told() {
    let mut bench = bench();
    bench.studio.session.draft.live = true;
    bench.studio.session.draft.sampling.guidance = 3.0;
    bench.frame();
    bench.until(Bench::is_done);
    assert!(!bench.studio.session.run.as_ref().unwrap().kept);
    bench.studio.keep();
    bench.until_kept(8);
    bench.studio.keep();
    assert!(bench.studio.session.notices.banner.as_ref().unwrap().text.contains("already"));
    bench.studio.session.go_to(4);
    bench.studio.keep();
    bench.until_kept(12);
    let item = &bench.studio.gallery.items()[0];
    assert!(item.name.ends_with("-000-cat-orange-in-a-meadow-seed42-step5.png"), "{}", item.name);
    assert_eq!(item.made.t, Some(4.0 / 24.0));
}

#[test]
fn without_a_folder_nothing_is_kept() {
    let mut bench = bench();
    bench.studio.gallery = Gallery::default();
    bench.studio.session.generate();
    bench.until(Bench::is_done);
    assert!(!bench.studio.session.run.as_ref().unwrap().kept);
    bench.studio.keep();
    assert!(bench.errors()[0].contains("PURRSCOPE_GALLERY"));
}

#[test]
fn what_was_given_is_written_even_if_the_window_closes_at_once() {
    let mut bench = bench();
    bench.studio.session.generate();
    bench.until(Bench::is_done);
    let gallery = std::mem::take(&mut bench.studio.gallery);
    let folder = gallery.folder().unwrap().to_owned();
    drop(gallery);
    assert_eq!(fs::read_dir(folder).unwrap().count(), 8);
}

#[test]
fn the_window_closes_while_pictures_are_on_their_way() {
    let (gate, worker) = FakeWorker::gated();
    gate.let_pass(24);
    let mut bench = Bench::new(worker);
    bench.until_kept(4);
    // A view that has to be decoded, by a thread that waits at the gate.
    bench.studio.session.go_to(3);
    bench.studio.session.look.view = View::State;
    bench.studio.session.generate();
    bench.frame();
    bench.studio.keep();
    bench.frame();
    assert_eq!(bench.studio.session.jobs.all().len(), 1);
    drop(std::mem::take(&mut bench.studio));
    gate.let_pass(1000);
}

#[test]
fn a_deleted_picture_comes_back() {
    let mut bench = bench();
    let all = names(&bench);
    bench.studio.gallery.delete(all[1..3].to_vec());
    assert_eq!(names(&bench), [all[0].clone(), all[3].clone()]);
    assert_eq!(bench.studio.gallery.can_undelete(), 2);
    again(&mut bench, 2);
    assert_eq!(bench.studio.gallery.can_undelete(), 0);
    let last = names(&bench)[0].clone();
    bench.studio.gallery.delete(vec![last.clone(), "not there.png".to_owned()]);
    assert_eq!(bench.studio.gallery.can_undelete(), 1);
    bench.studio.gallery.undelete();
    bench.until_kept(2);
    assert_eq!(names(&bench)[0], last);
    assert!(bench.errors().is_empty(), "{:?}", bench.errors());
}

#[test]
fn favourites_outlive_the_window() {
    let mut bench = bench();
    let all = names(&bench);
    bench.studio.gallery.set_favourite(&all[..2], true);
    bench.studio.gallery.set_favourite(&all[..1], false);
    again(&mut bench, 4);
    let gallery = &bench.studio.gallery;
    let marked: Vec<bool> = all.iter().map(|name| gallery.is_favourite(name)).collect();
    assert_eq!(marked, [false, true, false, false]);
}

#[test]
fn a_disk_that_takes_nothing_is_told_once_and_tried_again() {
    let mut bench = Bench::idle(FakeWorker::default());
    // A file where the folder should be.
    let path = bench.place.path().join("gallery");
    fs::write(&path, "").unwrap();
    bench.studio.session.load_model(ModelSource::Embedded);
    let waiting = |bench: &Bench| bench.studio.gallery.unsaved().map_or(0, |(count, _)| count);
    bench.until(|bench| waiting(bench) == 4);
    let trouble = |bench: &Bench| {
        let errors = bench.errors();
        errors.iter().filter(|text| text.contains("stay in memory")).count()
    };
    assert_eq!(trouble(&bench), 1, "{:?}", bench.errors());
    bench.studio.gallery.retry();
    bench.until(|bench| waiting(bench) == 4);
    assert_eq!(trouble(&bench), 1);
    fs::remove_file(&path).unwrap();
    bench.studio.gallery.retry();
    bench.until_kept(4);
    assert_eq!(waiting(&bench), 0);
    assert!(bench.studio.gallery.unsaved().is_none());
}

#[test]
fn foreign_and_broken_files_are_left_out_with_a_word() {
    let mut bench = bench();
    let folder = bench.place.path().join("gallery");
    let first = names(&bench)[0].clone();
    let whole = fs::read(folder.join(&first)).unwrap();
    fs::write(folder.join("half.png"), &whole[..whole.len() - 40]).unwrap();
    fs::write(folder.join("torn.png"), &whole[..30]).unwrap();
    again(&mut bench, 5);
    let log = bench.studio.session.notices.log.iter().map(|entry| &entry.text);
    assert!(log.clone().any(|text| text.contains("torn.png")), "{:?}", log.collect::<Vec<_>>());
    // Its settings are whole: it is found broken when it is looked at.
    bench.studio.gallery.want_thumbnail("half.png");
    bench.until_kept(4);
    assert!(bench.errors().is_empty());
}

#[test]
fn pictures_are_read_when_they_are_asked_for() {
    let mut bench = bench();
    let name = names(&bench)[2].clone();
    assert!(bench.studio.gallery.picture(&name).is_none());
    for _ in 0..2000 {
        bench.frame();
        if bench.studio.gallery.picture(&name).is_some() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let picture = bench.studio.gallery.picture(&name).unwrap().unwrap();
    let end = bench.studio.session.run.as_ref().unwrap().end.as_ref().unwrap().pictures.clone();
    assert!(*picture == end.host().unwrap()[2]);
}
