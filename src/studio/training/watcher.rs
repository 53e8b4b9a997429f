//! A thread that looks after run folders and reads run files and pictures, so that the window never
//! waits for a disk.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, SystemTime};

use egui::ColorImage;

use super::metrics::{Bin, Reading, Tail};
use super::plan::Plan;
use crate::io::numbered::numbered;
use crate::model::MODEL_FILE;
use crate::studio::base::images::{colour_image, thumbnail};
use crate::studio::base::worker::guarded;

/// Time between two looks at the folders.
const PAUSE: Duration = Duration::from_millis(300);
/// Most bins of a curve: more than a screen has columns to spare for.
const BINS: usize = 1200;
/// Most bytes of a picture that is read.
const LARGEST: u64 = 64 << 20;
/// Largest side of a picture, in pixels, that every device takes as a texture; a larger one is made smaller.
const SIDE: u32 = 2048;

/// A run as its folder shows it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunView {
    /// Figures by name.
    pub figures: BTreeMap<String, Figure>,
    /// Steps that the figures speak of.
    pub steps: usize,
    /// Sample sheets by the step that they were made after, in order.
    pub samples: Vec<(usize, PathBuf)>,
    /// The model file, if it has one, and when it was written.
    pub model: Option<(PathBuf, SystemTime)>,
    /// Whether it trains a tokenizer, which is no model by itself.
    pub tokenizer: bool,
    /// Whether there is a checkpoint to go on from.
    pub checkpoint: bool,
    /// Why there is nothing to see, in words.
    pub trouble: Option<String>,
}

impl RunView {
    /// Its newest sample sheet up to `step`, and the step that it was made after.
    pub fn sheet(&self, step: usize) -> Option<&(usize, PathBuf)> {
        let beyond = self.samples.partition_point(|(made, _)| *made <= step);
        self.samples[..beyond].last()
    }
}

/// A figure over the steps of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figure {
    /// The curve.
    pub bins: Vec<Bin>,
    /// The newest value.
    pub last: f32,
}

/// What is asked of the thread.
#[derive(Debug)]
enum Ask {
    Watch(Vec<PathBuf>),
    Read(PathBuf),
    Pictures(Vec<Viewed>),
}

/// A picture that is on view.
#[derive(Debug)]
pub struct Viewed {
    /// Where it is.
    pub path: PathBuf,
    /// When it had been written that is held; none if none is.
    pub known: Option<SystemTime>,
}

impl Viewed {
    /// Whether it was not read yet, or has been written anew.
    fn is_due(&self) -> bool {
        match self.known {
            None => true,
            Some(known) => modified(&self.path).is_some_and(|modified| modified != known),
        }
    }
}

/// What the thread tells.
#[derive(Debug)]
pub enum Told {
    /// A folder has changed.
    Run(PathBuf, Arc<RunView>),
    /// A run file was read.
    Plan(PathBuf, Result<Arc<Plan>, String>),
    /// A picture was read; when it had been written.
    Picture(PathBuf, SystemTime, Result<ColorImage, String>),
}

/// The window's end of the thread. Dropping it ends the thread.
#[derive(Debug)]
pub struct Watcher {
    asks: Sender<Ask>,
    told: Receiver<Told>,
}

impl Watcher {
    /// Starts the thread; `wake` is called on it whenever it tells something.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn spawn(wake: impl Fn() + Send + 'static) -> io::Result<Self> {
        let (asks, inbox) = mpsc::channel();
        let (sender, told) = mpsc::channel();
        let work = move || {
            let tell = |what| {
                // A send fails only when the window has gone; the thread then ends by itself.
                let _ = sender.send(what);
                wake();
            };
            serve(&inbox, &tell);
        };
        thread::Builder::new().name("purrscope-runs".to_owned()).spawn(work)?;
        Ok(Self { asks, told })
    }

    /// Looks after these folders, and no others.
    pub fn watch(&self, folders: Vec<PathBuf>) {
        self.ask(Ask::Watch(folders));
    }

    /// Reads a run file.
    pub fn read(&self, file: PathBuf) {
        self.ask(Ask::Read(file));
    }

    /// Reads these pictures, and again when they are written anew, and no others.
    pub fn pictures(&self, viewed: Vec<Viewed>) {
        self.ask(Ask::Pictures(viewed));
    }

    fn ask(&self, ask: Ask) {
        // A send fails only when the thread has ended, and it ends only with this handle.
        let _ = self.asks.send(ask);
    }

    /// What has come, without waiting.
    pub fn told(&self) -> impl Iterator<Item = Told> + '_ {
        self.told.try_iter()
    }
}

fn serve(inbox: &Receiver<Ask>, tell: &dyn Fn(Told)) {
    let mut folders: Vec<Folder> = Vec::new();
    let mut pictures: Vec<Viewed> = Vec::new();
    let mut more = false;
    loop {
        let idle = folders.is_empty() && pictures.is_empty();
        let first = match (idle, more) {
            (true, _) => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
            (false, true) => inbox.recv_timeout(Duration::ZERO),
            (false, false) => inbox.recv_timeout(PAUSE),
        };
        if let Err(RecvTimeoutError::Disconnected) = first {
            return;
        }
        for ask in first.into_iter().chain(inbox.try_iter()) {
            match ask {
                Ask::Watch(paths) => {
                    folders.retain(|folder| paths.contains(&folder.path));
                    for path in paths {
                        if folders.iter().all(|folder| folder.path != path) {
                            folders.push(Folder::new(path));
                        }
                    }
                }
                Ask::Read(file) => {
                    let plan = guarded(|| Plan::read(&file).map(Arc::new));
                    let plan = plan.unwrap_or_else(|reason| Err(broke_off(&file, &reason)));
                    tell(Told::Plan(file, plan));
                }
                Ask::Pictures(viewed) => pictures = viewed,
            }
        }
        // One at a time: what is asked meanwhile comes first.
        let due = pictures.iter_mut().find(|picture| picture.is_due());
        more = due.is_some();
        due.into_iter().for_each(|picture| look_at(picture, tell));
        for folder in &mut folders {
            more |= guarded(|| folder.look(tell)).unwrap_or_else(|reason| {
                // It starts over, rather than go on with what was half done.
                *folder = Folder::new(folder.path.clone());
                let trouble = Some(broke_off(&folder.path, &reason));
                let view = RunView { trouble, ..RunView::default() };
                tell(Told::Run(folder.path.clone(), Arc::new(view)));
                false
            });
        }
    }
}

fn broke_off(path: &Path, reason: &str) -> String {
    format!("Reading {} failed ({reason}).", path.display())
}

/// Reads a picture as it is now.
fn look_at(picture: &mut Viewed, tell: &dyn Fn(Told)) {
    let file = &picture.path;
    // Asked before it is read, so that what is written meanwhile is seen.
    let written = modified(file).unwrap_or(SystemTime::UNIX_EPOCH);
    let image = guarded(|| read_picture(file));
    let image = image.unwrap_or_else(|reason| Err(broke_off(file, &reason)));
    tell(Told::Picture(file.clone(), written, image));
    picture.known = Some(written);
}

fn read_picture(file: &Path) -> Result<ColorImage, String> {
    let failed = |reason: &dyn std::fmt::Display| format!("{}: {reason}.", file.display());
    let size = fs::metadata(file).map_err(|error| failed(&error))?.len();
    if size > LARGEST {
        return Err(failed(&"too large for a sample sheet"));
    }
    let bytes = fs::read(file).map_err(|error| failed(&error))?;
    let image = image::load_from_memory(&bytes).map_err(|error| failed(&error))?.to_rgb8();
    Ok(colour_image(&thumbnail(image, SIDE)))
}

/// A folder that is looked after.
struct Folder {
    path: PathBuf,
    tail: Tail,
    view: Option<RunView>,
}

impl Folder {
    fn new(path: PathBuf) -> Self {
        let tail = Tail::new(&path.join("metrics.jsonl"));
        Self { path, tail, view: None }
    }

    /// Tells what has changed; says whether there is more to be read at once.
    fn look(&mut self, tell: &dyn Fn(Told)) -> bool {
        let reading = self.tail.read();
        let mut view = RunView {
            steps: self.tail.steps(),
            samples: samples(&self.path),
            model: written(&self.path.join(MODEL_FILE)),
            tokenizer: self.path.join("tokenizer.safetensors").exists(),
            checkpoint: self.path.join("checkpoint.safetensors").exists(),
            ..RunView::default()
        };
        match (&reading, self.view.take()) {
            (Ok(Reading::Nothing), Some(before)) if before.steps == view.steps => {
                view.figures = before.figures.clone();
                if view == before {
                    self.view = Some(before);
                    return false;
                }
            }
            (Err(error), before) => {
                view.trouble = Some(trouble(&self.path, error));
                if before.as_ref() == Some(&view) {
                    self.view = before;
                    return false;
                }
            }
            _ => {
                let series = self.tail.series().iter();
                view.figures = series
                    .filter_map(|(name, series)| {
                        let figure = Figure { bins: series.bins(BINS), last: series.last()? };
                        Some((name.clone(), figure))
                    })
                    .collect();
            }
        }
        tell(Told::Run(self.path.clone(), Arc::new(view.clone())));
        self.view = Some(view);
        matches!(reading, Ok(Reading::More))
    }
}

fn trouble(folder: &Path, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound if folder.is_dir() => {
            "There are no figures yet: the first step writes them.".to_owned()
        }
        io::ErrorKind::NotFound => format!("{} is not there yet.", folder.display()),
        _ => format!("The figures cannot be read: {error}."),
    }
}

fn written(path: &Path) -> Option<(PathBuf, SystemTime)> {
    Some((path.to_owned(), modified(path)?))
}

/// When a file was written.
fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).ok()?.modified().ok()
}

/// The sample sheets of a run, in order of their steps.
fn samples(folder: &Path) -> Vec<(usize, PathBuf)> {
    numbered(folder, "sample-", ".png").unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    fn wait(watcher: &Watcher) -> Told {
        watcher.told.recv_timeout(crate::studio::testing::fake::PATIENCE).unwrap()
    }

    fn run_of(watcher: &Watcher) -> Arc<RunView> {
        match wait(watcher) {
            Told::Run(_, view) => view,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_run_that_grows_is_seen_growing() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("run");
        let watcher = Watcher::spawn(|| {}).unwrap();
        watcher.watch(vec![at.clone()]);
        assert!(run_of(&watcher).trouble.as_ref().unwrap().contains("not there yet"));
        fs::create_dir(&at).unwrap();
        assert!(run_of(&watcher).trouble.as_ref().unwrap().contains("no figures yet"));
        fs::write(at.join("metrics.jsonl"), "{\"step\":0,\"loss\":3}\n{\"st").unwrap();
        let view = run_of(&watcher);
        assert_eq!((view.steps, view.figures["loss"].last, &view.trouble), (1, 3.0, &None));
        fs::write(at.join("sample-0000010.png"), b"").unwrap();
        fs::write(at.join("sample-x.png"), b"").unwrap();
        fs::write(at.join("model.safetensors"), b"").unwrap();
        let mut view = run_of(&watcher);
        while view.model.is_none() || view.samples.is_empty() {
            view = run_of(&watcher);
        }
        assert_eq!(view.samples[0].0, 10);
        assert_eq!(view.figures["loss"].bins.len(), 1);
    }

    #[test]
    fn a_broken_picture_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sample-0000001.png");
        fs::write(&path, b"no").unwrap();
        let watcher = Watcher::spawn(|| {}).unwrap();
        watcher.pictures(vec![Viewed { path, known: None }]);
        let Told::Picture(_, _, Err(text)) = wait(&watcher) else { panic!("it was read") };
        assert!(text.contains("sample-0000001.png"), "{text}");
    }

    #[test]
    fn of_pictures_asked_for_one_after_another_the_newest_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["a", "b", "c", "d", "e"].map(|name| folder.path().join(name));
        paths.iter().for_each(|path| fs::write(path, b"no").unwrap());
        let pictures = |of: &[usize]| {
            Ask::Pictures(
                of.iter().map(|at| Viewed { path: paths[*at].clone(), known: None }).collect(),
            )
        };
        let (asks, inbox) = mpsc::channel();
        asks.send(pictures(&[0, 1])).unwrap();
        asks.send(pictures(&[2, 3])).unwrap();
        let asks = RefCell::new(Some(asks));
        let told = RefCell::new(Vec::new());
        serve(&inbox, &|what| {
            let Told::Picture(path, ..) = what else { panic!("{what:?}") };
            told.borrow_mut().push(path);
            // Another is wanted before the second is read; once it is there, the window goes.
            match told.borrow().len() {
                1 => asks.borrow().as_ref().unwrap().send(pictures(&[4])).unwrap(),
                _ => drop(asks.take()),
            }
        });
        assert_eq!(*told.borrow(), [paths[2].clone(), paths[4].clone()]);
    }

    /// Writes a picture of `size` pixels at once, as if at `time`.
    fn write_picture(path: &Path, size: [u32; 2], time: SystemTime) {
        let picture = image::RgbImage::new(size[0], size[1]);
        let aside = path.with_extension("part");
        fs::write(&aside, crate::io::png::encode(&picture, "{}").unwrap()).unwrap();
        fs::File::options().write(true).open(&aside).unwrap().set_modified(time).unwrap();
        fs::rename(aside, path).unwrap();
    }

    #[test]
    fn a_picture_is_read_again_only_when_it_is_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sample-0000001.png");
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        write_picture(&path, [4, 2], time);
        let watcher = Watcher::spawn(|| {}).unwrap();
        watcher.pictures(vec![Viewed { path: path.clone(), known: None }]);
        let Told::Picture(_, written, Ok(image)) = wait(&watcher) else { panic!("not read") };
        assert_eq!((image.size, written), ([4, 2], time));
        // One that is held is not read when it comes on view again.
        watcher.pictures(vec![Viewed { path: path.clone(), known: Some(time) }]);
        thread::sleep(2 * PAUSE);
        assert_eq!(watcher.told().count(), 0);
        let later = time + Duration::from_secs(5);
        write_picture(&path, [2, 2], later);
        let Told::Picture(_, written, Ok(image)) = wait(&watcher) else { panic!("not read") };
        assert_eq!((image.size, written), ([2, 2], later));
        // One that has gone is not told as broken: its run lists it no more.
        fs::remove_file(&path).unwrap();
        thread::sleep(2 * PAUSE);
        assert_eq!(watcher.told().count(), 0);
    }

    #[test]
    fn a_picture_larger_than_a_texture_is_made_smaller() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sample-0000001.png");
        write_picture(&path, [2 * SIDE, 8], SystemTime::now());
        assert_eq!(read_picture(&path).unwrap().size, [2048, 4]);
    }
}
