//! Training in the background: runs started, watched, compared, stopped and resumed.

mod job;
mod metrics;
mod new_run;
pub mod pane;
mod plan;
mod sheets;
#[cfg(test)]
pub mod tests;
mod watcher;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use egui::Context;
use rfd::AsyncFileDialog;

pub use self::job::Job;
pub use self::metrics::{Bin, smooth};
pub use self::new_run::{Form, Place};
pub use self::plan::Plan;
use self::sheets::Sheets;
pub use self::sheets::{Sheet, sheet_steps};
pub use self::watcher::{Figure, RunView};
use self::watcher::{Told, Watcher};
use crate::device::DeviceChoice;
use crate::studio::base::dialogs::PathDialogs;
use crate::studio::base::notices::{About, Notices};
use crate::studio::base::worker::no_thread;
use crate::train::Ending;

/// What a dialog asks for.
#[derive(Debug, Clone, Copy)]
enum Wanted {
    RunFile,
    Folder,
}

/// How the run before ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// As it should; what happened, in words.
    Good(String),
    /// With trouble; what happened and what to do, in words.
    Bad(String),
}

/// How curves are drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Curves {
    /// Name of the figure in the large plot.
    pub figure: String,
    /// Bins that are smoothed over; 1 for none.
    pub smoothing: f32,
    /// Whether the large plot is logarithmic.
    pub log: bool,
}

/// State of the pane.
pub struct Training {
    /// Where runs compute.
    pub device: DeviceChoice,
    /// The run file, as typed.
    pub file: String,
    /// The run file as read, or what is wrong with it.
    pub plan: Option<Result<Arc<Plan>, String>>,
    /// Run files that were read before, newest first.
    pub recent: Vec<PathBuf>,
    /// What a run file is to be made of, while that is asked.
    pub form: Option<Form>,
    /// The run in progress.
    pub job: Option<Job>,
    /// How the run before ended.
    pub outcome: Option<Outcome>,
    /// Folders of runs shown, at most [`Training::MOST`].
    pub folders: Vec<PathBuf>,
    /// Which of them is chosen: its model can be opened.
    pub chosen: usize,
    /// A folder as typed.
    pub folder: String,
    /// How curves are drawn.
    pub curves: Curves,
    /// The step up to which sample sheets are shown; the newest if none is chosen.
    pub sheets_at: Option<usize>,
    runs: HashMap<PathBuf, Arc<RunView>>,
    sheets: Sheets,
    watcher: Option<Watcher>,
    /// Dialogs that are open.
    choosing: PathDialogs<Wanted>,
}

impl Default for Training {
    fn default() -> Self {
        Self {
            device: DeviceChoice::default(),
            file: String::new(),
            plan: None,
            recent: Vec::new(),
            form: None,
            job: None,
            outcome: None,
            folders: Vec::new(),
            chosen: 0,
            folder: String::new(),
            curves: Curves { figure: "loss".to_owned(), smoothing: 6.0, log: false },
            sheets_at: None,
            runs: HashMap::new(),
            sheets: Sheets::default(),
            watcher: None,
            choosing: PathDialogs::default(),
        }
    }
}

impl Training {
    /// Most runs that are shown together.
    pub const MOST: usize = 4;
    /// Run files that are remembered.
    const RECENT: usize = 8;

    /// Once a frame: takes in what other threads have done.
    pub fn follow(&mut self, ctx: &Context, notices: &mut Notices) {
        if self.watcher.is_none() {
            self.begin(ctx);
        }
        let told: Vec<Told> =
            self.watcher.iter().flat_map(|watcher| watcher.told().collect::<Vec<_>>()).collect();
        for what in told {
            self.take(ctx, what);
        }
        self.take_chosen();
        self.take_made();
        let before = self.job.as_ref().map(|job| job.stage);
        let ended = self.job.as_mut().and_then(Job::receive);
        if let Some(job) = self.job.as_ref().filter(|job| Some(job.stage) != before) {
            let (folder, stage) = (job.run().out.clone(), job.stage);
            notices.note(format!("Stage {stage} of the training is finished."));
            self.watch(folder);
        }
        if let Some(ended) = ended {
            self.end(ended, notices);
        }
    }

    /// Takes in what came of dialogs.
    fn take_chosen(&mut self) {
        for (wanted, path) in self.choosing.poll() {
            match (wanted, path) {
                (Wanted::RunFile, Ok(path)) => self.read(path),
                (Wanted::Folder, Ok(path)) => self.watch(path),
                (_, Err(text)) => self.outcome = Some(Outcome::Bad(text)),
            }
        }
    }

    /// Takes in what came of the form: a run file that was made is read.
    fn take_made(&mut self) {
        let Some(made) = self.form.as_mut().and_then(Form::receive) else { return };
        self.form = None;
        self.read(made.file);
        self.outcome = Some(made.outcome);
    }

    /// Once a frame, whether the pane is shown or not: takes in what a run in progress tells, and what
    /// was seen of folders, which would pile up otherwise.
    pub fn attend(&mut self, ctx: &Context, notices: &mut Notices) {
        if self.job.is_some() || self.watcher.is_some() {
            self.follow(ctx, notices);
        }
    }

    /// Starts the thread that looks after folders.
    fn begin(&mut self, ctx: &Context) {
        let woken = ctx.clone();
        match Watcher::spawn(move || woken.request_repaint()) {
            Ok(watcher) => self.watcher = Some(watcher),
            Err(error) => self.outcome = Some(Outcome::Bad(no_thread(&error))),
        }
    }

    fn take(&mut self, ctx: &Context, what: Told) {
        match what {
            Told::Run(folder, view) => {
                if self.folders.contains(&folder) {
                    self.runs.insert(folder, view);
                    self.keep_sheets();
                }
            }
            Told::Plan(file, plan) => {
                if let Ok(plan) = &plan {
                    self.remember(&plan.file);
                }
                // The answer to something that was typed over is of no use.
                if self.typed() == file {
                    self.plan = Some(plan);
                }
            }
            Told::Picture(file, written, image) => {
                self.sheets.take(ctx, file, written, image);
                self.keep_sheets();
            }
        }
    }

    fn remember(&mut self, file: &Path) {
        self.recent.retain(|known| known != file);
        self.recent.insert(0, file.to_owned());
        self.recent.truncate(Self::RECENT);
    }

    fn typed(&self) -> PathBuf {
        PathBuf::from(self.file.trim())
    }

    /// Reads the run file at `path`.
    pub fn read(&mut self, path: PathBuf) {
        self.file = path.display().to_string();
        self.plan = None;
        self.outcome = None;
        if let Some(watcher) = self.watcher.as_ref().filter(|_| !self.file.trim().is_empty()) {
            watcher.read(self.typed());
        }
    }

    /// Reads the run file whose path was typed.
    pub fn read_typed(&mut self) {
        self.read(self.typed());
    }

    /// Asks for a run file.
    pub fn choose_file(&mut self, ctx: &Context) {
        let dialog = AsyncFileDialog::new()
            .set_title("Choose a run file")
            .add_filter("Run file", &["toml"])
            .pick_file();
        self.choosing.open(ctx, Wanted::RunFile, dialog);
    }

    /// Asks for the folder of a run.
    pub fn choose_folder(&mut self, ctx: &Context) {
        let dialog = AsyncFileDialog::new().set_title("Choose the folder of a run").pick_folder();
        self.choosing.open(ctx, Wanted::Folder, dialog);
    }

    /// The plan, where the run file could be read.
    pub fn ready(&self) -> Option<Arc<Plan>> {
        self.plan.as_ref()?.as_ref().ok().cloned()
    }

    /// Starts the planned run, or resumes it.
    pub fn start(&mut self, ctx: &Context, resume: bool) {
        let Some(plan) = self.ready().filter(|_| self.job.is_none()) else { return };
        let woken = ctx.clone();
        let wake = move || woken.request_repaint();
        match Job::start(Arc::clone(&plan), resume, self.device, wake) {
            Ok(job) => {
                self.job = Some(job);
                self.outcome = None;
                self.watch(plan.stages[0].out.clone());
            }
            Err(error) => self.outcome = Some(Outcome::Bad(no_thread(&error))),
        }
    }

    fn end(&mut self, ended: Result<(Ending, PathBuf), String>, notices: &mut Notices) {
        let Some(job) = self.job.take() else { return };
        let steps = match job.progress {
            Some(crate::train::Progress::Step { step, .. }) => format!(" after step {step}"),
            _ => String::new(),
        };
        self.outcome = Some(match ended {
            Ok((Ending::Finished, product)) => {
                let text = format!("Finished: {} is written.", product.display());
                notices.tell(text.clone());
                Outcome::Good(text)
            }
            // Of a stage before, or of a run that was resumed, there is something to go on from.
            Ok((Ending::Stopped, _)) if steps.is_empty() && job.stage == 0 && !job.resumed => {
                let text = "Stopped before the first step; nothing was trained.".to_owned();
                notices.note(text.clone());
                Outcome::Good(text)
            }
            Ok((Ending::Stopped, _)) => {
                notices.settled(About::Training);
                let text = format!("Stopped and saved{steps}. Resume goes on from there.");
                notices.note(text.clone());
                Outcome::Good(text)
            }
            Err(text) => {
                let text = format!("The training ended{steps}: {text}.");
                notices.error_about(About::Training, text.clone());
                Outcome::Bad(text)
            }
        });
        // There is a checkpoint now, or there is not.
        if self.ready().is_some_and(|plan| plan.file == job.plan.file)
            && let Some(watcher) = &self.watcher
        {
            watcher.read(self.typed());
        }
    }

    /// Shows the run in `folder`, and chooses it; of too many the oldest goes.
    pub fn watch(&mut self, folder: PathBuf) {
        if let Some(at) = self.folders.iter().position(|known| *known == folder) {
            self.choose_run(at);
            return;
        }
        if self.folders.len() >= Self::MOST {
            let gone = self.folders.remove(0);
            self.runs.remove(&gone);
            self.keep_sheets();
        }
        self.folders.push(folder);
        self.choose_run(self.folders.len() - 1);
        self.tell_watcher();
    }

    /// Shows a run no more.
    pub fn forget(&mut self, at: usize) {
        if at < self.folders.len() {
            let gone = self.folders.remove(at);
            self.runs.remove(&gone);
            self.keep_sheets();
            self.choose_run(self.chosen.min(self.folders.len().saturating_sub(1)));
            self.tell_watcher();
        }
    }

    /// Chooses one of the runs.
    pub fn choose_run(&mut self, at: usize) {
        self.chosen = at;
    }

    fn tell_watcher(&self) {
        if let Some(watcher) = &self.watcher {
            watcher.watch(self.folders.clone());
        }
    }

    /// The run in a folder, as far as it is known.
    pub fn run(&self, folder: &Path) -> Option<Arc<RunView>> {
        self.runs.get(folder).cloned()
    }

    /// The run that is chosen.
    pub fn chosen_run(&self) -> Option<Arc<RunView>> {
        self.run(self.folders.get(self.chosen)?)
    }

    /// What each of these runs, which come with their places among the folders, has to show at `step`;
    /// sheets that were not read yet are asked for.
    pub fn sheets(&mut self, runs: &[(usize, Arc<RunView>)], step: usize) -> Vec<Sheet> {
        let paths = runs.iter().filter_map(|(_, run)| Some(run.sheet(step)?.1.clone())).collect();
        if let Some(watcher) = &self.watcher
            && let Some(viewed) = self.sheets.view(paths)
        {
            watcher.pictures(viewed);
        }
        let sheet =
            |(at, run): &(usize, Arc<RunView>)| self.sheets.sheet(&self.folders[*at], run, step);
        runs.iter().map(sheet).collect()
    }

    /// Lets go of the sheets that no run has any more.
    fn keep_sheets(&mut self) {
        self.sheets.keep_those_of(self.runs.values().map(|run| &**run));
    }
}
