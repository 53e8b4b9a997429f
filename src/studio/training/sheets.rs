//! Sample sheets that were read, of which those on view and some others are held.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use egui::{ColorImage, Context, TextureHandle, TextureOptions};

use super::Training;
use super::watcher::{RunView, Viewed};

/// Most sheets that are held: those on view, and some that the slider has just left.
const MOST: usize = 3 * Training::MOST;
/// Sharp where a sheet is enlarged, smooth where it is made smaller.
const OPTIONS: TextureOptions =
    TextureOptions { minification: egui::TextureFilter::Linear, ..TextureOptions::NEAREST };

/// What a run has to show of a moment of its training.
pub enum Sheet {
    /// It has made no sheet by then.
    Missing,
    /// Its sheet is being read.
    Reading,
    /// The step after which a sheet was made, and the sheet, or what is wrong with it.
    Read(usize, Result<TextureHandle, String>),
}

/// A sheet that was read.
struct Held {
    path: PathBuf,
    /// When the file was written.
    written: SystemTime,
    picture: Result<TextureHandle, String>,
}

/// The sheets that were read, never more than [`MOST`].
#[derive(Default)]
pub(super) struct Sheets {
    /// The one that was looked at last is the last.
    held: Vec<Held>,
    /// The sheets that the watcher looks after.
    on_view: Vec<PathBuf>,
    /// The sheet that a run showed last, by the run's folder, and the step that it is of.
    shown: HashMap<PathBuf, (usize, PathBuf)>,
}

impl Sheets {
    /// Puts sheets on view in place of those before; gives what the watcher is to be told, if anything
    /// has changed.
    pub(super) fn view(&mut self, paths: Vec<PathBuf>) -> Option<Vec<Viewed>> {
        if self.on_view == paths {
            return None;
        }
        self.on_view.clone_from(&paths);
        let known =
            |path: &Path| self.held.iter().find(|held| held.path == path).map(|held| held.written);
        Some(paths.into_iter().map(|path| Viewed { known: known(&path), path }).collect())
    }

    /// Takes in a sheet that was read.
    pub(super) fn take(
        &mut self,
        ctx: &Context,
        path: PathBuf,
        written: SystemTime,
        image: Result<ColorImage, String>,
    ) {
        let picture = image.map(|image| ctx.load_texture("sample sheet", image, OPTIONS));
        self.held.retain(|held| held.path != path);
        self.held.push(Held { path, written, picture });
        while self.held.len() > MOST {
            let left = self.held.iter().position(|held| !self.on_view.contains(&held.path));
            let Some(left) = left else { return };
            self.held.remove(left);
        }
    }

    /// What the run in `folder` has to show at `step`.
    pub(super) fn sheet(&mut self, folder: &Path, run: &RunView, step: usize) -> Sheet {
        let Some((made, path)) = run.sheet(step) else {
            self.shown.remove(folder);
            return Sheet::Missing;
        };
        if let Some(picture) = self.find(path) {
            self.shown.insert(folder.to_owned(), (*made, path.clone()));
            return Sheet::Read(*made, picture);
        }
        // Until it is read, the one before stays, under its own step.
        let Some((made, path)) = self.shown.get(folder).cloned() else { return Sheet::Reading };
        self.find(&path).map_or(Sheet::Reading, |picture| Sheet::Read(made, picture))
    }

    fn find(&mut self, path: &Path) -> Option<Result<TextureHandle, String>> {
        let at = self.held.iter().position(|held| held.path == path)?;
        self.held[at..].rotate_left(1);
        self.held.last().map(|held| held.picture.clone())
    }

    /// Lets go of the sheets that none of the runs has any more.
    pub(super) fn keep_those_of<'a>(&mut self, runs: impl Iterator<Item = &'a RunView> + Clone) {
        // Compared byte by byte, as there may be thousands.
        let listed = |path: &Path| {
            let same = |(_, listed): &(usize, PathBuf)| listed.as_os_str() == path.as_os_str();
            runs.clone().any(|run| run.samples.iter().any(same))
        };
        let before = self.held.len();
        self.held.retain(|held| listed(&held.path));
        self.shown.retain(|_, (_, path)| listed(path));
        if self.held.len() < before {
            // A sheet that comes back is asked for again.
            self.on_view.clear();
        }
    }
}

/// The steps that any of the runs has a sheet of, rising.
pub fn sheet_steps<'a>(runs: impl Iterator<Item = &'a RunView>) -> Vec<usize> {
    let mut steps: Vec<usize> =
        runs.flat_map(|run| run.samples.iter().map(|(step, _)| *step)).collect();
    steps.sort();
    steps.dedup();
    steps
}

#[cfg(test)]
mod tests {
    use egui::Color32;

    use super::*;

    /// A run in the folder `name` with sheets of these steps.
    fn run(name: &str, steps: &[usize]) -> RunView {
        let path = |step: &usize| Path::new(name).join(format!("{step}.png"));
        let samples = steps.iter().map(|step| (*step, path(step))).collect();
        RunView { samples, ..RunView::default() }
    }

    /// The time `seconds` after the beginning of all times.
    fn time(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds)
    }

    /// Takes in the run's sheet at `step`, written at `seconds`.
    fn read(sheets: &mut Sheets, run: &RunView, step: usize, seconds: u64) {
        let path = run.sheet(step).unwrap().1.clone();
        let image = ColorImage::filled([2, 2], Color32::RED);
        sheets.take(&Context::default(), path, time(seconds), Ok(image));
    }

    /// The step of what the run shows at `step`; nothing while it is being read.
    fn made(sheets: &mut Sheets, run: &RunView, step: usize) -> Option<usize> {
        match sheets.sheet(Path::new("run"), run, step) {
            Sheet::Read(made, _) => Some(made),
            Sheet::Reading => None,
            Sheet::Missing => panic!("it has a sheet by then"),
        }
    }

    #[test]
    fn the_steps_of_all_runs_are_in_one_order() {
        let runs = [run("a", &[10, 30, 50]), run("b", &[20, 30]), run("c", &[])];
        assert_eq!(sheet_steps(runs.iter()), [10, 20, 30, 50]);
        let at = |run: &RunView, step| run.sheet(step).map(|(made, _)| *made);
        assert_eq!([10, 29, 30, 99].map(|step| at(&runs[0], step)), [10, 10, 30, 50].map(Some));
        assert_eq!(
            [10, 20, 25, 50].map(|step| at(&runs[1], step)),
            [None, Some(20), Some(20), Some(30)]
        );
        assert_eq!(at(&runs[2], 50), None);
    }

    #[test]
    fn the_sheet_before_stays_until_another_is_read() {
        let (mut sheets, run) = (Sheets::default(), run("run", &[10, 20]));
        assert!(matches!(sheets.sheet(Path::new("run"), &run, 9), Sheet::Missing));
        assert_eq!(made(&mut sheets, &run, 20), None);
        read(&mut sheets, &run, 20, 1);
        assert_eq!(made(&mut sheets, &run, 20), Some(20));
        assert_eq!(made(&mut sheets, &run, 10), Some(20));
        read(&mut sheets, &run, 10, 1);
        assert_eq!(made(&mut sheets, &run, 10), Some(10));
        // Where a run had none, there is none that could stay.
        assert!(matches!(sheets.sheet(Path::new("run"), &run, 9), Sheet::Missing));
        assert!(!sheets.shown.contains_key(Path::new("run")));
    }

    #[test]
    fn no_more_sheets_are_held_than_there_is_room_for() {
        let mut sheets = Sheets::default();
        let steps: Vec<usize> = (0..3 * MOST).collect();
        let run = run("run", &steps);
        let oldest = run.samples[0].1.clone();
        sheets.view(vec![oldest.clone()]);
        for step in 0..3 * MOST {
            read(&mut sheets, &run, step, 1);
            assert!(sheets.held.len() <= MOST);
        }
        // The one on view stays, however long ago it was read; the others go in turn.
        let held: Vec<&PathBuf> = sheets.held.iter().map(|held| &held.path).collect();
        assert_eq!((held.len(), held[0]), (MOST, &oldest));
        assert_eq!(held[1], &run.samples[2 * MOST + 1].1);
    }

    #[test]
    fn the_watcher_is_told_what_is_on_view_when_that_changes() {
        let (mut sheets, run) = (Sheets::default(), run("run", &[10, 20]));
        let paths: Vec<PathBuf> = run.samples.iter().map(|(_, path)| path.clone()).collect();
        read(&mut sheets, &run, 20, 7);
        let wanted = sheets.view(paths.clone()).unwrap();
        let known: Vec<_> = wanted.iter().map(|wanted| wanted.known).collect();
        assert_eq!(known, [None, Some(time(7))]);
        assert!(sheets.view(paths.clone()).is_none());
        // One that has gone is let go of, and asked for anew if it comes back.
        let less = RunView { samples: run.samples[..1].to_vec(), ..RunView::default() };
        sheets.keep_those_of([&less].into_iter());
        assert!(sheets.held.is_empty());
        assert!(sheets.view(paths).unwrap().iter().all(|wanted| wanted.known.is_none()));
    }
}
