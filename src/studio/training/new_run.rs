//! A run file made of a folder of pictures, as `purrscope new-run` makes it.

use std::fs;
use std::path::{Path, PathBuf};

use egui::Context;
use rfd::AsyncFileDialog;

use super::Outcome;
use crate::bench::Estimate;
use crate::device::{self, DeviceChoice};
use crate::studio::base::dialogs::PathDialogs;
use crate::studio::base::worker::{Stop, Task, Wake};
use crate::train::{NewRun, Prepared};

/// What the making of a run file ends with once nobody wants it.
const GIVEN_UP: &str = "No run file was made.";

/// A folder that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Where the pictures are.
    Pictures,
    /// Where the run goes.
    Run,
}

/// What a run file is to be made of, and how the making goes.
#[derive(Debug, Default)]
pub struct Form {
    /// Folder of pictures, as typed.
    pub pictures: String,
    /// Folder of the run, as typed.
    pub run: String,
    /// Side of the pictures in pixels; none for what suits them.
    pub size: Option<usize>,
    /// Whether the run goes on from the model in use.
    pub goes_on: bool,
    /// Why there is no run file yet, in words.
    pub trouble: Option<String>,
    /// The folder of the run as it was proposed.
    proposed: String,
    making: Option<Task<Result<Made, String>>>,
    choosing: PathDialogs<Place>,
}

/// A run file that was made.
#[derive(Debug)]
pub(super) struct Made {
    pub file: PathBuf,
    /// What was found, and how long the run will take.
    pub outcome: Outcome,
}

impl Form {
    /// Asks for a folder.
    pub fn choose(&mut self, ctx: &Context, place: Place) {
        let title = match place {
            Place::Pictures => "Choose a folder of pictures",
            Place::Run => "Choose a folder for the run",
        };
        let dialog = AsyncFileDialog::new().set_title(title).pick_folder();
        self.choosing.open(ctx, place, dialog);
    }

    /// Proposes where the run goes: beside the pictures, unless something else was typed.
    pub fn propose(&mut self) {
        if self.run != self.proposed {
            return;
        }
        let pictures = Path::new(self.pictures.trim());
        self.proposed = pictures.file_name().map_or_else(String::new, |name| {
            let name = format!("{}-model", name.to_string_lossy());
            pictures.with_file_name(name).display().to_string()
        });
        self.run.clone_from(&self.proposed);
    }

    /// Whether everything is said and nothing is under way.
    pub fn is_ready(&self) -> bool {
        !self.is_busy() && [&self.pictures, &self.run].iter().all(|path| !path.trim().is_empty())
    }

    /// Whether a run file is being made.
    pub fn is_busy(&self) -> bool {
        self.making.is_some()
    }

    /// Begins to make the run file, and to try the run out on a device for some seconds; `model` is what
    /// the run may go on from.
    pub fn start(&mut self, ctx: &Context, choice: DeviceChoice, model: Option<PathBuf>) {
        let new = NewRun {
            folder: PathBuf::from(self.run.trim()),
            images: PathBuf::from(self.pictures.trim()),
            labels: None,
            from: model.filter(|_| self.goes_on),
            size: self.size,
        };
        self.trouble = None;
        let make = move |stop: &Stop| make(&new, choice, stop);
        self.making = Some(Task::start("purrscope-new-run", Wake::from(ctx), make));
    }

    /// Takes in what came of dialogs, and of the making: a run file, once there is one.
    pub(super) fn receive(&mut self) -> Option<Made> {
        for (place, path) in self.choosing.poll() {
            match (place, path) {
                (Place::Pictures, Ok(path)) => {
                    self.pictures = path.display().to_string();
                    self.propose();
                }
                (Place::Run, Ok(path)) => self.run = path.display().to_string(),
                (_, Err(text)) => self.trouble = Some(text),
            }
        }
        let made = self.making.as_ref()?.poll()?;
        self.making = None;
        match made {
            Ok(Ok(made)) => Some(made),
            Ok(Err(text)) => {
                self.trouble = Some(text);
                None
            }
            Err(broken) => {
                self.trouble = Some(format!("No run file was made: {broken}."));
                None
            }
        }
    }
}

/// Makes the run file. What keeps the run from being tried out is told, and the file stays. Asked to stop,
/// it leaves none.
fn make(new: &NewRun, choice: DeviceChoice, stop: &Stop) -> Result<Made, String> {
    let looked = new.look().map_err(|error| format!("{error}."))?;
    let selected = device::select(choice).map_err(|error| format!("{error}."))?;
    if stop.is_asked() {
        return Err(GIVEN_UP.to_owned());
    }
    let begun = !new.folder.exists();
    let prepared = looked.write(selected.handles.is_some());
    let Prepared { file, stages, classes, words } =
        prepared.map_err(|error| format!("{error}."))?;
    let estimate = Estimate::of(&stages, classes, &selected);
    if stop.is_asked() {
        // It has been there for some seconds, and nobody was told of it.
        fs::remove_file(&file).map_err(|error| format!("{}: {error}.", file.display()))?;
        if begun {
            // Where something else is in it by now, it stays.
            let _ = fs::remove_dir(&new.folder);
        }
        return Err(GIVEN_UP.to_owned());
    }
    let outcome = match estimate {
        Ok(estimate) => Outcome::Good(format!(
            "{words}.\nAbout {} on {}, without pauses:\n{}.",
            estimate.duration(),
            selected.description,
            estimate.stages().join(";\n"),
        )),
        Err(reason) => Outcome::Bad(format!(
            "{words}.\nThe run file is written, but {reason}: make its batches or networks smaller.",
        )),
    };
    Ok(Made { file, outcome })
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use image::{Rgb, RgbImage};

    use super::*;

    /// A run of 40 pictures, to go into the sub-folder `run`.
    fn run_of(folder: &Path) -> NewRun {
        for i in 0..40u8 {
            let picture = RgbImage::from_pixel(32, 32, Rgb([i, 2 * i, 255 - i]));
            picture.save(folder.join(format!("{i}.png"))).unwrap();
        }
        let (folder, images) = (folder.join("run"), folder.to_owned());
        NewRun { folder, images, labels: None, from: None, size: Some(32) }
    }

    fn gave_up(made: Result<Made, String>) -> bool {
        made.map(|made| made.file).unwrap_err() == GIVEN_UP
    }

    #[test]
    fn what_was_given_up_leaves_no_run_file() {
        let folder = tempfile::tempdir().unwrap();
        let new = run_of(folder.path());
        let stop = Stop::default();
        stop.ask();
        assert!(gave_up(make(&new, DeviceChoice::Cpu, &stop)));
        assert!(!new.folder.exists());
    }

    #[test]
    fn what_is_given_up_while_it_is_tried_out_leaves_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let new = run_of(folder.path());
        let file = new.folder.join("run.toml");
        for there in [false, true] {
            if there {
                fs::create_dir(&new.folder).unwrap();
            }
            let stop = Stop::default();
            thread::scope(|scope| {
                let making = scope.spawn(|| make(&new, DeviceChoice::Cpu, &stop));
                while !file.exists() && !making.is_finished() {
                    thread::sleep(Duration::from_millis(1));
                }
                stop.ask();
                assert!(gave_up(making.join().unwrap()));
            });
            assert_eq!((file.exists(), new.folder.exists()), (false, there));
        }
    }
}
