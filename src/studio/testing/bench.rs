//! For tests: what the window knows over a compute thread, without the window.

use std::time::{Duration, Instant};

use super::fake::FakeWorker;
use crate::io::atomic;
use crate::studio::base::notices::Level;
use crate::studio::engine::{Engine, ModelSource};
use crate::studio::testing::fake::PATIENCE;
use crate::studio::window::studio::Studio;

/// A studio without a window, with a gallery and a folder for exports of its own.
pub struct Bench {
    pub studio: Studio,
    pub place: tempfile::TempDir,
    engine: Engine,
}

impl Bench {
    /// A studio whose first run has ended.
    pub fn new(worker: FakeWorker) -> Self {
        let mut bench = Self::idle(worker);
        bench.studio.session.load_model(ModelSource::Embedded);
        bench.until(Self::is_done);
        bench
    }

    /// A studio without a model.
    pub fn idle(worker: FakeWorker) -> Self {
        let place = tempfile::tempdir().unwrap();
        let engine = Engine::spawn(move || Ok(worker.clone()), || {}).unwrap();
        let mut studio = Studio::default();
        std::fs::create_dir(place.path().join("exports")).unwrap();
        studio.export_to(place.path().join("exports"));
        let mut bench = Self { studio, place, engine };
        bench.open_gallery();
        bench
    }

    pub fn open_gallery(&mut self) {
        self.studio.open_gallery(self.place.path().join("gallery"));
    }

    /// What the window does once a frame.
    pub fn frame(&mut self) {
        for event in self.engine.events() {
            self.studio.take(event);
        }
        self.studio.follow();
        // What is for the window has none to do it.
        while self.studio.perform().is_some() {}
        self.studio.follow_draft(false);
        for command in self.studio.take_commands() {
            self.engine.send(command);
        }
    }

    pub fn until(&mut self, done: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(
                Instant::now() < deadline,
                "it never came: {:?}",
                self.studio.session.notices.log
            );
            std::thread::sleep(Duration::from_millis(1));
            self.frame();
        }
    }

    /// Whether no run is going on, and the last one is in the gallery.
    pub fn is_done(&self) -> bool {
        let ended = self.studio.session.run.as_ref().is_some_and(|run| run.end.is_some());
        self.studio.session.active.is_none() && ended
    }

    /// Waits until a number of pictures is in the gallery.
    pub fn until_kept(&mut self, pictures: usize) {
        self.until(|bench| {
            let gallery = &bench.studio.gallery;
            !gallery.is_scanning() && gallery.items().len() == pictures
        });
    }

    /// Waits until every job has ended.
    pub fn until_quiet(&mut self) {
        self.until(|bench| bench.studio.session.jobs.all().is_empty());
    }

    /// What was told as trouble.
    pub fn errors(&self) -> Vec<String> {
        let log = self.studio.session.notices.log.iter();
        log.filter(|entry| entry.level == Level::Error).map(|entry| entry.text.clone()).collect()
    }

    /// Names and bytes of what was exported; files still being written aside are none yet.
    pub fn exported(&self) -> Vec<(String, Vec<u8>)> {
        let entries = std::fs::read_dir(self.place.path().join("exports")).unwrap();
        let mut files: Vec<_> = entries
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), path))
            .filter(|(name, _)| !name.starts_with(atomic::ASIDE))
            .map(|(name, path)| (name, std::fs::read(path).unwrap()))
            .collect();
        files.sort();
        files
    }
}
