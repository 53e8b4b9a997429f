//! What the window knows: the settings on the controls, the run on show, and where one is in it.
//!
//! Panes read and change this; what is to be computed goes into an outbox of [`Command`]s. Nothing
//! here waits, decodes or knows the compute thread, so all of it can be tested without a window.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use egui::TextureHandle;
use image::RgbImage;
use serde::{Deserialize, Serialize};

use crate::flow::{Branch, SampleSettings, State, StepRecord};
use crate::studio::base::dialogs::Reply;
use crate::studio::base::images::colour_image;
use crate::studio::base::notices::{About, Notices};
use crate::studio::base::text::count;
use crate::studio::canvas::CanvasState;
use crate::studio::canvas::inpaint::Inpaint;
use crate::studio::codebook::Codebook;
use crate::studio::engine::pictures::Pictures;
use crate::studio::engine::{Command, Event, ModelInfo, ModelSource, PictureKey, RunId, View};
use crate::studio::export::Exports;
use crate::studio::gallery::Gallery;
use crate::studio::model::importer::Importer;
use crate::studio::playground::Playground;
use crate::studio::posterior::PosteriorState;
use crate::studio::session::draft::{Draft, FIRST_CLASS};
use crate::studio::session::history::{History, Setup};
use crate::studio::session::presets::Presets;
use crate::studio::session::restored::{Kind, Restored, is_trajectory};
use crate::studio::session::run::{Run, class_name};
use crate::studio::session::token::Token;
use crate::studio::session::{Found, Jobs, Outcome};
use crate::studio::sweep::Sweep;
use crate::studio::training::Training;
use crate::studio::window::panes::Pane;

/// A run that is being computed.
#[derive(Debug, Clone)]
pub struct Active {
    /// Its number.
    pub id: RunId,
    /// What it was asked to do.
    pub settings: SampleSettings,
    /// Steps reported so far.
    pub done: usize,
    /// Whether it began by itself, in live mode.
    pub live: bool,
}

/// A step of a run that new runs go on from.
#[derive(Debug, Clone)]
pub struct BranchPoint {
    /// Steps taken, and the settings that they were taken with.
    pub branch: Branch,
    /// The state there, where it is known; else the steps are taken again.
    pub start: Option<Box<State>>,
}

/// Playing the timeline.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Playback {
    /// Whether it moves by itself.
    #[serde(skip)]
    pub playing: bool,
    /// Whether it begins again at the end.
    pub looping: bool,
    /// Positions a second.
    pub rate: f32,
    /// Whether the temperature is drawn beside the other curves.
    pub temperature: bool,
    /// When it last moved, in seconds on the window's clock.
    #[serde(skip)]
    moved: Option<f64>,
}

impl Default for Playback {
    fn default() -> Self {
        Self { playing: false, looping: true, rate: 8.0, temperature: false, moved: None }
    }
}

impl Playback {
    /// The speeds on offer, in positions a second.
    pub const RATES: [f32; 5] = [2.0, 4.0, 8.0, 16.0, 30.0];

    /// Puts a speed back that is not on offer; says whether it was.
    pub fn tidy(&mut self) -> bool {
        let usable = Self::RATES.contains(&self.rate);
        if !usable {
            self.rate = Self::default().rate;
        }
        !usable
    }
}

/// The belief about a step under settings that its run was not made with.
#[derive(Debug)]
struct WhatIf {
    ticket: u64,
    run: RunId,
    position: usize,
    settings: SampleSettings,
    /// The answer, once it has come.
    answer: Option<(Arc<StepRecord>, Pictures)>,
    rendered: HashMap<View, Pictures>,
}

/// The step on show.
#[derive(Debug, Clone)]
pub struct Shown {
    /// The step; at the end of a run, its last one.
    pub record: Arc<StepRecord>,
    /// Whether it is the answer to what would be if the settings were those on the controls.
    pub what_if: bool,
}

/// Small pictures of codes, asked for as they are needed.
#[derive(Default)]
pub struct Swatches {
    known: HashMap<u32, RgbImage>,
    asked: HashSet<u32>,
    textures: HashMap<u32, TextureHandle>,
}

impl Swatches {
    /// A code's swatch, if it has come.
    pub fn picture(&self, code: u32) -> Option<&RgbImage> {
        self.known.get(&code)
    }

    /// The texture of a code's swatch, if it has come.
    pub fn texture(&mut self, ctx: &egui::Context, code: u32) -> Option<egui::TextureId> {
        if let Some(texture) = self.textures.get(&code) {
            return Some(texture.id());
        }
        let image = colour_image(self.known.get(&code)?);
        let texture = ctx.load_texture(format!("code {code}"), image, egui::TextureOptions::LINEAR);
        let id = texture.id();
        self.textures.insert(code, texture);
        Some(id)
    }
}

/// Everything that the window knows.
pub struct StudioState {
    /// The model, once it is loaded.
    pub model: Option<Arc<ModelInfo>>,
    /// What is being loaded.
    pub loading: Option<ModelSource>,
    /// The settings on the controls.
    pub draft: Draft,
    /// Undo and redo of the settings.
    pub history: History,
    /// Named ways of making pictures.
    pub presets: Presets,
    /// Where new runs begin, if not with noise.
    pub branch: Option<BranchPoint>,
    /// What is typed in the class search.
    pub class_search: String,
    /// Whether the list of classes is to scroll to the one chosen.
    pub reveal_class: bool,
    /// The run on show.
    pub run: Option<Run>,
    /// The run being computed.
    pub active: Option<Active>,
    /// Where one is on the timeline.
    pub position: usize,
    /// Whether the position moves with the newest step.
    pub follow: bool,
    /// Playing the timeline.
    pub playback: Playback,
    /// The canvas's own.
    pub canvas: CanvasState,
    /// The token being looked at.
    pub selected: Option<Token>,
    /// The posterior pane's own.
    pub posterior: PosteriorState,
    /// The codebook's own.
    pub codebook: Codebook,
    /// Making a part of a picture anew.
    pub inpaint: Inpaint,
    /// Swatches of codes.
    pub swatches: Swatches,
    /// Pictures that were made.
    pub gallery: Gallery,
    /// Runs over two settings.
    pub sweep: Sweep,
    /// A flow in the plane.
    pub playground: Playground,
    /// Training in the background.
    pub training: Training,
    /// Work in the background.
    pub jobs: Jobs,
    /// Files being written.
    pub(crate) exports: Exports,
    /// What happened.
    pub notices: Notices,
    /// Files that were opened, newest first.
    pub recent: Vec<PathBuf>,
    /// Scale of the interface, 1 as the desktop has it.
    pub scale: f32,
    /// A checkpoint that is to become a model file.
    pub importer: Importer,
    /// Whether a file is to be asked for.
    pub wants_file: bool,
    /// A pane that is to be brought into view.
    pub wanted_pane: Option<Pane>,
    outbox: Vec<Command>,
    next_run: RunId,
    next_ticket: u64,
    /// Settings last sent, to see a change in live mode.
    sent: Option<SampleSettings>,
    asked_view: Option<PictureKey>,
    /// Whether something failed since a run last began.
    broke_off: bool,
    what_if: Option<WhatIf>,
    decoded: HashMap<u64, Pictures>,
    encoded: HashMap<u64, Vec<u32>>,
    dice: u64,
}

impl Default for StudioState {
    fn default() -> Self {
        Self {
            model: None,
            loading: None,
            draft: Draft::default(),
            history: History::default(),
            presets: Presets::default(),
            branch: None,
            class_search: String::new(),
            reveal_class: true,
            run: None,
            active: None,
            position: 0,
            follow: true,
            playback: Playback::default(),
            canvas: CanvasState::default(),
            selected: None,
            posterior: PosteriorState::default(),
            codebook: Codebook::default(),
            inpaint: Inpaint::default(),
            swatches: Swatches::default(),
            gallery: Gallery::default(),
            sweep: Sweep::default(),
            playground: Playground::default(),
            training: Training::default(),
            jobs: Jobs::default(),
            exports: Exports::default(),
            notices: Notices::default(),
            recent: Vec::new(),
            scale: 1.0,
            importer: Importer::default(),
            wants_file: false,
            wanted_pane: None,
            outbox: Vec::new(),
            next_run: 1,
            next_ticket: 1,
            sent: None,
            asked_view: None,
            broke_off: false,
            what_if: None,
            decoded: HashMap::new(),
            encoded: HashMap::new(),
            dice: std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos() as u64),
        }
    }
}

impl StudioState {
    /// What is to be sent to the compute thread.
    pub fn take_commands(&mut self) -> Vec<Command> {
        self.follow_sweep();
        std::mem::take(&mut self.outbox)
    }

    /// Opens a model.
    pub fn load_model(&mut self, source: ModelSource) {
        self.loading = Some(source.clone());
        self.outbox.push(Command::LoadModel(source));
    }

    /// Whether a file is one that [`StudioState::open_file`] opens, by its name.
    fn can_open(path: &Path) -> bool {
        Kind::of(path).is_some() || is_checkpoint(path)
    }

    /// Opens the first of files that were dropped together that can be opened.
    pub fn open_dropped(&mut self, files: Vec<PathBuf>) {
        self.notices.settled(About::Dropping);
        let first = files.iter().position(|path| Self::can_open(path)).unwrap_or(0);
        let Some(path) = files.get(first) else { return };
        if !Self::can_open(path) {
            return self.refuse(path, files.len() - 1);
        }
        self.open_file(path.clone());
        self.tell_left_out(path, files.len() - 1);
    }

    /// Says that `others` were dropped with a file, and left.
    pub fn tell_left_out(&mut self, opened: &Path, others: usize) {
        if others > 0 {
            let text = format!(
                "{} is opened. {} dropped with it {} not: drop them one at a time.",
                name_of(opened),
                count(others, "file"),
                if others == 1 { "was" } else { "were" },
            );
            self.notices.warn(About::Dropping, text);
        }
    }

    /// Says what can be opened, since a file, and `others` with it, cannot.
    fn refuse(&mut self, path: &Path, others: usize) {
        let name = name_of(path);
        let (who, were) = match others {
            0 => (name, "was"),
            others => (format!("{name} and {}", count(others, "other file")), "were"),
        };
        let text = match path.is_dir() {
            true => format!("{who} {were} not opened: drop a file rather than a folder."),
            false => format!(
                "{who} {were} not opened: a model or a trajectory is a .safetensors file, a picture \
                 made here a .png, and its settings a .toml.",
            ),
        };
        self.notices.error_about(About::Opening, text);
    }

    /// Opens a file that was chosen or dropped: a model, or anything that settings can be read from.
    pub fn open_file(&mut self, path: PathBuf) {
        if is_checkpoint(&path) {
            self.importer.offer(&path);
            self.wanted_pane = Some(Pane::Model);
            return self.notices.settled(About::Opening);
        }
        let Some(kind) = Kind::of(&path) else { return self.refuse(&path, 0) };
        let title = format!("Reading {}", name_of(&path));
        self.jobs.start_about(About::Opening, title, move |_| {
            // What is wrong with a model is said where it is loaded.
            if kind == Kind::Tensors && !is_trajectory(&path) {
                return Outcome::Found(Found::Model(path));
            }
            match Restored::read(&path) {
                Ok(restored) => Outcome::Found(Found::Restored(Box::new(restored))),
                Err(text) => Outcome::Failed(text),
            }
        });
    }

    /// Takes in what came of a job.
    pub(crate) fn take_outcome(&mut self, about: About, outcome: Outcome) {
        if about == About::Importing {
            self.importer.end(&outcome);
        }
        match outcome {
            Outcome::Done(text) => self.notices.tell(text),
            Outcome::Found(Found::Restored(restored)) => self.restore(&restored),
            Outcome::Found(Found::Model(path)) => self.load_model(ModelSource::File(path)),
            Outcome::Found(Found::Imported(path)) => {
                self.notices.tell(format!("{} was made of the checkpoint.", path.display()));
                self.open_file(path);
            }
            Outcome::Quiet | Outcome::Cancelled => {}
            Outcome::Failed(text) => self.notices.error_about(about, text),
        }
    }

    /// Makes a picture again from the settings that were read from it.
    pub(crate) fn restore(&mut self, restored: &Restored) {
        let Some(model) = self.model.clone() else {
            let text = "The picture waits for a model: open one first.";
            return self.notices.error_about(About::Opening, text);
        };
        if let Err(text) = fits(&restored.settings) {
            return self.notices.error_about(About::Opening, text);
        }
        self.draft.adopt(restored, &model.card);
        self.branch = restored
            .settings
            .branch
            .as_ref()
            .map(|branch| BranchPoint { branch: (**branch).clone(), start: None });
        self.notices.settled(About::Opening);
        let other_model = restored.model_hash.as_ref().is_some_and(|hash| *hash != model.hash);
        if other_model {
            self.notices.tell("The settings are restored, but another model made the picture.");
        } else if self.settings() != Some(restored.settings.clone()) {
            self.notices.tell("The settings are restored as far as this model and 16 pictures go.");
        } else {
            self.notices.note("The settings of a picture are restored");
        }
        self.class_search.clear();
        self.reveal_class = true;
        self.begin(false);
    }

    /// What a run of the settings on the controls is asked to do, if there is a model.
    pub fn settings(&self) -> Option<SampleSettings> {
        let model = self.model.as_ref()?;
        let Some(BranchPoint { branch, .. }) = &self.branch else {
            return Some(self.draft.settings(&model.card));
        };
        // A branch has as many pictures as what it leaves.
        let draft = Draft { count: branch.parent.labels.len(), ..self.draft.clone() };
        Some(SampleSettings {
            branch: Some(Box::new(branch.clone())),
            ..draft.settings(&model.card)
        })
    }

    /// Throws the dice for a new seed.
    pub fn throw_dice(&mut self) {
        // Knuth's linear congruential generator: only to offer a seed that was not there before.
        self.dice = self
            .dice
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.draft.sampling.seed = (self.dice >> 33) % 1_000_000;
    }

    /// Begins a run, as the Generate button does: with a new seed, unless that is locked or was
    /// changed since the last run.
    pub fn generate(&mut self) {
        let used = self.sent.as_ref().is_some_and(|sent| sent.seed == self.draft.sampling.seed);
        // The noise that a branch began with is behind it.
        if used && !self.draft.seed_locked && self.branch.is_none() {
            self.throw_dice();
        }
        self.begin(false);
    }

    /// Begins a run of the settings on the controls.
    fn begin(&mut self, live: bool) {
        let Some(settings) = self.settings() else { return };
        let start = self.branch.as_ref().and_then(|point| point.start.clone());
        let id = self.number_run();
        self.sent = Some(settings.clone());
        self.active = Some(Active { id, settings: settings.clone(), done: 0, live });
        self.follow = true;
        self.playback.playing = false;
        self.outbox.push(Command::Generate { run: id, settings, start, watched: true });
    }

    /// A number for a run that is to be sent.
    pub fn number_run(&mut self) -> RunId {
        self.next_run += 1;
        self.next_run - 1
    }

    /// Sends a command to the compute thread.
    pub fn send(&mut self, command: Command) {
        self.outbox.push(command);
    }

    /// Drops the run being computed.
    pub fn stop(&mut self) {
        if self.active.is_some() {
            self.outbox.push(Command::Stop);
        }
    }

    /// Begins the sweep that is typed over the settings on the controls.
    pub fn begin_sweep(&mut self) {
        let (Some(model), Some(base)) = (self.model.clone(), self.settings()) else { return };
        if let Ok(plan) = self.sweep.plan(base, &model) {
            self.stop_sweep();
            let start = self.branch.as_ref().and_then(|point| point.start.clone());
            self.sweep.begin(plan, &model, start);
        }
    }

    /// Lets the sweep wait; the cell being run is made again later.
    pub fn pause_sweep(&mut self) {
        // Where a run of one's own was sent since, that one has ended it already.
        if self.sweep.pause() && self.active.is_none() {
            self.outbox.push(Command::Stop);
        }
    }

    /// Ends the sweep with what it has.
    pub fn stop_sweep(&mut self) {
        if self.sweep.stop() && self.active.is_none() {
            self.outbox.push(Command::Stop);
        }
    }

    /// Puts the settings of a run on the controls, and makes nothing yet.
    pub fn adopt(&mut self, settings: &SampleSettings) {
        let Some(model) = self.model.clone() else { return };
        if let Err(text) = fits(settings) {
            return self.notices.error_about(About::Opening, text);
        }
        let restored = Restored { class: None, model_hash: None, settings: settings.clone() };
        self.draft.adopt(&restored, &model.card);
        let known = self.branch.take();
        self.branch = settings.branch.as_deref().map(|branch| {
            known
                .filter(|known| known.branch == *branch)
                .unwrap_or_else(|| BranchPoint { branch: branch.clone(), start: None })
        });
        self.reveal_class = true;
    }

    /// Sends the next run of the sweep where nothing else is computed.
    fn follow_sweep(&mut self) {
        if let Some(text) = self.sweep.take_trouble() {
            self.notices.error(text);
        }
        for reply in self.sweep.dialogs.replies() {
            match reply {
                Reply::Saved(path) => self.notices.tell(format!("Saved {}.", path.display())),
                Reply::Failed(text) => self.notices.error(text),
                _ => {}
            }
        }
        if self.active.is_some() || self.loading.is_some() {
            return;
        }
        if let Some((settings, start)) = self.sweep.next() {
            let run = self.number_run();
            self.sweep.sent(run);
            self.outbox.push(Command::Generate { run, settings, start, watched: false });
        }
    }

    /// Lets new runs go on from the step on show, with whatever settings the controls then have.
    pub fn branch_here(&mut self) {
        let Some(run) = &self.run else { return };
        let step = self.position;
        let Some(record) = run.record(step).filter(|_| step + 1 < run.steps()) else { return };
        let codes = record.codes.as_ref().map(|codes| codes.before.clone());
        let start = State { x: record.x.clone(), codes };
        self.branch = Some(BranchPoint {
            branch: Branch { step, parent: run.settings.clone() },
            start: Some(Box::new(start)),
        });
    }

    /// In live mode, begins a run if the settings on the controls are not those last sent.
    pub fn follow_changes(&mut self) {
        if self.draft.live && self.model.is_some() && self.sent != self.settings() {
            self.begin(true);
        }
    }

    /// Once a frame: takes note of changed settings, and asks what they would do to the step on show.
    /// While `busy`, a widget is in use.
    pub fn follow_draft(&mut self, busy: bool) {
        self.draft.tidy();
        let branch = self.branch.as_ref().map(|point| &point.branch);
        self.history.settle(&self.draft, branch, busy);
        self.follow_inpaint();
        self.follow_changes();
        self.follow_what_if();
    }

    /// Goes back to the settings before the last change.
    pub fn undo(&mut self) {
        let now = self.setup();
        if let Some(wanted) = self.history.undo(now) {
            self.set_up(wanted);
        }
    }

    /// Takes back [`StudioState::undo`].
    pub fn redo(&mut self) {
        let now = self.setup();
        if let Some(wanted) = self.history.redo(now) {
            self.set_up(wanted);
        }
    }

    /// What the next run would be made of.
    fn setup(&self) -> Setup {
        let branch = self.branch.as_ref().map(|point| point.branch.clone());
        Setup { draft: self.draft.clone(), branch }
    }

    fn set_up(&mut self, Setup { draft, branch }: Setup) {
        self.draft = draft;
        if self.branch.as_ref().map(|point| &point.branch) != branch.as_ref() {
            self.branch = branch.map(|branch| BranchPoint { branch, start: None });
        }
    }

    /// The settings on the controls, where they differ from those of the run on show in nothing but
    /// what can be asked of its states without running again.
    fn what_if_settings(&self) -> Option<SampleSettings> {
        let run = self.run.as_ref().filter(|run| run.end.is_some())?;
        if self.active.is_some() || !run.model.card.objective.has_posterior() {
            return None;
        }
        let same_model = run.is_of(self.model.as_ref());
        let wanted = self.settings().filter(|wanted| same_model && *wanted != run.settings)?;
        (wanted.reading_as(&run.settings) == run.settings).then_some(wanted)
    }

    /// Asks what the changed settings would do to the step on show, if that was not asked yet.
    fn follow_what_if(&mut self) {
        let Some(settings) = self.what_if_settings() else {
            self.what_if = None;
            return;
        };
        let Some(run) = &self.run else { return };
        let (id, position) = (run.id, self.position);
        let asked = self.what_if.as_ref().is_some_and(|asked| {
            asked.run == id && asked.position == position && asked.settings == settings
        });
        if asked {
            return;
        }
        let Some(record) = run.record(position) else { return };
        let ticket = self.number_ticket();
        // Until the new answer comes, the old one of this step stays on show.
        let answer = self
            .what_if
            .take()
            .filter(|old| (old.run, old.position) == (id, position))
            .and_then(|old| old.answer);
        let rendered = HashMap::new();
        self.what_if = Some(WhatIf {
            ticket,
            run: id,
            position,
            settings: settings.clone(),
            answer,
            rendered,
        });
        self.outbox.push(Command::Rethink { ticket, record, settings: Box::new(settings) });
    }

    /// What is asked of the step on show under the settings on the controls, and its answer.
    fn what_if(&self) -> Option<(&WhatIf, &Arc<StepRecord>, &Pictures)> {
        let run = self.run.as_ref()?;
        let asked = self.what_if.as_ref()?;
        let (record, pictures) = asked.answer.as_ref()?;
        let here = asked.run == run.id && asked.position == self.position;
        here.then_some((asked, record, pictures))
    }

    /// The step on show and what is asked of it, where its belief is not the run's own.
    pub(crate) fn asked_here(&self) -> Option<(&SampleSettings, &Arc<StepRecord>)> {
        self.what_if().map(|(asked, record, _)| (&asked.settings, record))
    }

    /// The step on show, or what it would be under the settings on the controls.
    pub fn shown(&self) -> Option<Shown> {
        if let Some((_, record, _)) = self.what_if() {
            return Some(Shown { record: Arc::clone(record), what_if: true });
        }
        let record = self.run.as_ref()?.record(self.position)?;
        Some(Shown { record, what_if: false })
    }

    /// Numbers a request.
    pub(crate) fn number_ticket(&mut self) -> u64 {
        self.next_ticket += 1;
        self.next_ticket - 1
    }

    /// Asks for grids of codes to be decoded, `[batch, height, width]`; gives the number that
    /// [`StudioState::take_decoded`] takes.
    pub fn ask_decode(&mut self, codes: Vec<u32>, batch: usize) -> u64 {
        let ticket = self.number_ticket();
        self.outbox.push(Command::Decode { ticket, codes, batch });
        ticket
    }

    /// What came of [`StudioState::ask_decode`], once it has come.
    pub fn take_decoded(&mut self, ticket: u64) -> Option<Pictures> {
        self.decoded.remove(&ticket)
    }

    /// Asks for the codes of a picture; gives the number that [`StudioState::take_encoded`] takes.
    pub fn ask_encode(&mut self, picture: RgbImage) -> u64 {
        let ticket = self.number_ticket();
        self.outbox.push(Command::Encode { ticket, picture: Box::new(picture) });
        ticket
    }

    /// What came of [`StudioState::ask_encode`], `[height, width]`, once it has come.
    pub fn take_encoded(&mut self, ticket: u64) -> Option<Vec<u32>> {
        self.encoded.remove(&ticket)
    }

    /// Takes in what the compute thread reports.
    pub fn take(&mut self, event: Event) {
        match &event {
            Event::Failed { .. } => {
                self.broke_off = true;
                self.forget_questions();
                self.exports.fail_waiting("the computation broke off");
            }
            // What was asked in between went unanswered where there was no model to ask.
            Event::Started { .. } if std::mem::take(&mut self.broke_off) => {
                self.forget_questions();
                self.ask_subject();
            }
            _ => {}
        }
        let Some(event) = self.sweep.absorb(event) else { return };
        match event {
            Event::ModelReady(model) => self.welcome(model),
            Event::Started { .. } => {}
            Event::Step { run, record, predicted } => self.take_step(run, record, predicted),
            Event::Finished { run, codes, pictures, wall } => {
                self.take_end(run, codes, pictures, wall);
            }
            Event::Stopped { run } => {
                self.end_active(run);
            }
            Event::Failed { run, text } => {
                let about = match self.loading.is_some() && run.is_none() {
                    true => About::Opening,
                    false => About::Computing,
                };
                match run {
                    Some(run) => {
                        self.end_active(run);
                    }
                    None => self.loading = None,
                }
                self.notices.error_about(about, text);
            }
            Event::Rendered { key, pictures } => self.take_rendered(key, pictures),
            Event::Rethought { ticket, record, predicted } => {
                if let Some(asked) = self.what_if.as_mut().filter(|asked| asked.ticket == ticket) {
                    asked.answer = Some((record, predicted));
                    asked.rendered.clear();
                }
            }
            Event::Decoded { ticket, pictures } => {
                self.decoded.insert(ticket, pictures);
            }
            Event::Overlaid { ticket, pictures } => self.canvas.drawn.take(ticket, pictures),
            Event::Encoded { ticket, codes } => {
                self.encoded.insert(ticket, codes);
            }
            Event::Swatches(list) => self.swatches.known.extend(list),
        }
    }

    /// Says that nothing more will be computed: the compute thread has ended, against all care.
    pub(crate) fn lose_engine(&mut self) {
        let run = self.active.as_ref().map(|active| active.id);
        let text = "The computation has ended for good. Pictures can still be exported: do so, then \
                    start the program again.";
        self.take(Event::Failed { run, text: text.to_owned() });
        (self.loading, self.model) = (None, None);
    }

    /// Waits no longer for what was asked of the compute thread; what is still wanted is asked again.
    /// But not what the settings would change: that may be what was refused.
    fn forget_questions(&mut self) {
        self.asked_view = None;
        self.canvas.drawn.forget_asked();
        let Swatches { known, asked, .. } = &mut self.swatches;
        asked.retain(|code| known.contains_key(code));
        self.drop_questions();
    }

    fn welcome(&mut self, model: Arc<ModelInfo>) {
        self.loading = None;
        self.canvas.drawn.forget_asked();
        if let ModelSource::File(path) = &model.source {
            self.remember(path.clone());
        }
        self.end_inpaint();
        self.swatches = Swatches::default();
        self.posterior = PosteriorState::default();
        self.codebook = Codebook::default();
        self.decoded.clear();
        self.encoded.clear();
        self.notices.settled(About::Opening);
        self.notices.note(format!("{} is ready on {}", model.card.name, model.device));
        let known = |class: &String| model.card.class_names.contains(class);
        if !self.draft.classes.iter().any(known) {
            let name = model.card.class_names.iter().find(|name| *name == FIRST_CLASS);
            let name = name.or(model.card.class_names.first());
            self.draft.choose_class(name.map_or("", String::as_str));
        }
        let grid = |info: &ModelInfo| (info.card.backbone.input_size, info.card.tokenizer.codes);
        if self.model.as_ref().is_some_and(|old| old.hash != model.hash) {
            self.branch = None;
            self.history.forget_branches();
        }
        if self.model.as_ref().is_some_and(|old| grid(old) != grid(&model)) {
            self.draft.edits.clear();
        }
        self.model = Some(model);
        self.reveal_class = true;
        self.begin(false);
    }

    /// Puts a file first among those that were opened.
    fn remember(&mut self, path: PathBuf) {
        const KEPT: usize = 10;
        self.recent.retain(|known| *known != path);
        self.recent.insert(0, path);
        self.recent.truncate(KEPT);
    }

    fn take_step(&mut self, id: RunId, record: Arc<StepRecord>, predicted: Option<Pictures>) {
        let Some(active) = self.active.as_mut().filter(|active| active.id == id) else { return };
        active.done = record.step + 1;
        // The old run stays on show until the new one has something to show.
        if self.run.as_ref().is_none_or(|run| run.id != id) {
            let Some(model) = &self.model else { return };
            let shape = record.x.shape;
            let new = Run::new(id, active.settings.clone(), Arc::clone(model), shape);
            if let Some(old) = self.run.replace(new) {
                self.exports.hold(old);
            }
            self.asked_view = None;
            self.canvas.drawn.forget_asked();
            self.position = 0;
            self.selected = self.selected.filter(|token| token.index(shape).is_some());
        }
        if let Some(run) = &mut self.run {
            run.push(record, predicted);
        }
        if self.follow {
            self.go_last();
        }
    }

    fn take_end(&mut self, id: RunId, codes: Vec<u32>, pictures: Pictures, wall: Duration) {
        let live = self.active.as_ref().is_some_and(|active| active.live);
        if !self.end_active(id) {
            return;
        }
        self.notices.settled(About::Computing);
        let Some(run) = self.run.as_mut().filter(|shown| shown.id == id) else { return };
        run.finish(codes, pictures, wall);
        let text = format!(
            "{} of {} in {:.1} s, {} evaluations",
            count(run.settings.labels.len(), "picture"),
            class_name(&run.model.card, &run.settings),
            wall.as_secs_f32(),
            run.evaluations(run.frames.len()),
        );
        self.notices.note(text);
        if self.follow {
            self.go_last();
        }
        if !live {
            self.keep_end();
        }
    }

    fn take_rendered(&mut self, key: PictureKey, pictures: Pictures) {
        if self.asked_view == Some(key) {
            self.asked_view = None;
        }
        if key.ticket != 0 {
            if let Some(asked) = self.what_if.as_mut().filter(|asked| asked.ticket == key.ticket) {
                asked.rendered.insert(key.view, pictures);
            }
        } else if let Some(run) = self.run.as_mut().filter(|run| run.id == key.run) {
            run.take_rendered(key.position, key.view, pictures);
        }
    }

    /// Whether `run` was the one being computed; it no longer is.
    fn end_active(&mut self, run: RunId) -> bool {
        let was = self.active.as_ref().is_some_and(|active| active.id == run);
        if was {
            self.active = None;
        }
        was
    }

    fn go_last(&mut self) {
        self.position = self.run.as_ref().map_or(0, Run::last);
    }

    /// Goes to a position of the timeline, or as near as there is one.
    pub fn go_to(&mut self, position: usize) {
        let Some(run) = &self.run else { return };
        let last = run.last();
        self.position = position.min(last);
        self.follow = self.position == last;
    }

    /// Moves along the timeline by hand, which stops playing.
    pub fn step_by(&mut self, by: isize) {
        self.playback.playing = false;
        self.go_to(self.position.saturating_add_signed(by));
    }

    /// Starts or stops playing; from the end it begins again.
    pub fn toggle_play(&mut self) {
        let Some(run) = &self.run else { return };
        let last = run.last();
        self.playback.playing = !self.playback.playing && last > 0;
        self.playback.moved = None;
        if self.playback.playing {
            if self.position >= last {
                self.position = 0;
            }
            self.follow = false;
        }
    }

    /// Moves as playing does; `now` is the window's clock in seconds. Says how long until the next
    /// move.
    pub fn play(&mut self, now: f64) -> Option<Duration> {
        let last = self.run.as_ref()?.last();
        if !self.playback.playing {
            return None;
        }
        let each = 1.0 / f64::from(self.playback.rate.max(0.1));
        let moved = *self.playback.moved.get_or_insert(now);
        let late = now - moved - each;
        if late >= 0.0 {
            // A window that was slow for a while goes on from where it is; it does not leap.
            self.playback.moved = Some(if late < each { moved + each } else { now });
            if self.position < last {
                self.position += 1;
            } else if self.playback.looping {
                self.position = 0;
            } else {
                self.playback.playing = false;
                self.follow = true;
                return None;
            }
        }
        let next = self.playback.moved.unwrap_or(now) + each;
        Some(Duration::from_secs_f64((next - now).max(0.0)))
    }

    /// Whether the pictures to show now are there.
    pub fn has_pictures(&self) -> bool {
        let (_, known) = self.known_pictures();
        known.is_some()
    }

    /// Which pictures are to be shown now, and they themselves where they are known.
    pub(crate) fn known_pictures(&self) -> (Option<PictureKey>, Option<Pictures>) {
        let Some(run) = &self.run else { return (None, None) };
        let view = self.canvas.view;
        let mut key = PictureKey { run: run.id, position: self.position, view, ticket: 0 };
        // The state is what it is, whatever the belief.
        let known = match self.what_if() {
            Some((asked, _, predicted)) if view != View::State => {
                key.ticket = asked.ticket;
                match view {
                    View::Predicted => Some(predicted),
                    _ => asked.rendered.get(&view),
                }
            }
            _ => run.pictures(self.position, view),
        };
        (Some(key), known.cloned())
    }

    /// The pictures to show now, asking for them if they are not there yet.
    pub fn pictures(&mut self) -> Option<(PictureKey, Pictures)> {
        let (key, known) = self.known_pictures();
        let key = key?;
        if let Some(pictures) = known {
            return Some((key, pictures));
        }
        // One request at a time, so that scrubbing does not pile up work.
        if self.asked_view.is_none()
            && self.decodes_run()
            && let Some(Shown { record, .. }) = self.shown()
        {
            self.asked_view = Some(key);
            self.outbox.push(Command::Render { key, record });
        }
        None
    }

    /// Whether what is asked about the run on show is answered by the model that made it.
    pub(crate) fn decodes_run(&self) -> bool {
        let known = self.run.as_ref().is_some_and(|run| run.is_of(self.model.as_ref()));
        known && self.loading.is_none()
    }

    /// Takes the settings on the controls as sent, so that live mode does not run them.
    pub(crate) fn take_as_sent(&mut self) {
        self.sent = self.settings();
    }

    /// Asks for the swatches of `codes` that were not asked for before.
    pub fn want_swatches(&mut self, codes: impl Iterator<Item = u32>) {
        let new: Vec<u32> = codes.filter(|code| self.swatches.asked.insert(*code)).collect();
        if !new.is_empty() {
            self.outbox.push(Command::Swatches(new));
        }
    }

    /// Asks for the next few swatches of many `codes`, once those asked for before have come.
    pub fn want_swatches_in_turn(&mut self, codes: impl Iterator<Item = u32>) {
        const AT_ONCE: usize = 32;
        let Swatches { known, asked, .. } = &self.swatches;
        if asked.len() > known.len() {
            return;
        }
        let next: Vec<u32> = codes.filter(|code| !asked.contains(code)).take(AT_ONCE).collect();
        self.want_swatches(next.into_iter());
    }
}

#[cfg(test)]
impl StudioState {
    /// Whether nothing that was asked for is still on its way.
    pub(crate) fn is_quiet(&self) -> bool {
        let Swatches { known, asked, .. } = &self.swatches;
        let computed = self.active.is_none() && self.loading.is_none() && self.outbox.is_empty();
        let asked_model = self.asked_view.is_none()
            && self.what_if.as_ref().is_none_or(|asked| asked.answer.is_some())
            && asked.iter().all(|code| known.contains_key(code))
            && !self.posterior.is_waiting();
        let read = self.jobs.all().is_empty() && !self.gallery.is_reading();
        computed && asked_model && read && self.playground.is_settled()
    }
}

/// Whether a file is a checkpoint of the reference, by its name.
fn is_checkpoint(path: &Path) -> bool {
    path.extension().is_some_and(|end| end.eq_ignore_ascii_case("pth"))
}

/// The name of a file, without its folder.
fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// Whether settings that were read are of a size that the window can show and a run can have. Those of
/// the runs that they go on from are looked at first: the times of a run are counted with them.
fn fits(settings: &SampleSettings) -> Result<(), String> {
    const DEEPEST: usize = 64;
    const MOST_PICTURES: usize = 1 << 20;
    let mut of = Some(settings);
    let mut depth = 0;
    while let Some(run) = of {
        if !(1..=SampleSettings::MAX_STEPS).contains(&run.steps) {
            let (steps, most) = (run.steps, SampleSettings::MAX_STEPS);
            return Err(format!(
                "The settings were not restored: {steps} steps, where 1 to {most} can be."
            ));
        }
        if run.labels.len() > MOST_PICTURES {
            let pictures = run.labels.len();
            return Err(format!("The settings were not restored: {pictures} pictures at once."));
        }
        if depth > DEEPEST {
            return Err(format!(
                "The settings were not restored: a run that goes on from more than {DEEPEST} others."
            ));
        }
        of = run.branch.as_ref().map(|branch| &branch.parent);
        depth += 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Grid;
    use crate::studio::base::notices::{Entry, Level};
    use crate::studio::engine::Worker;
    use crate::studio::session::draft::TemperatureKind;
    use crate::studio::testing::fake::FakeWorker;

    /// Does what the compute thread would, at once.
    fn settle(state: &mut StudioState) {
        let mut worker = FakeWorker::default();
        loop {
            let commands = state.take_commands();
            if commands.is_empty() {
                return;
            }
            for command in commands {
                match command {
                    Command::LoadModel(source) => {
                        let info = worker.load(&source).unwrap();
                        state.take(Event::ModelReady(Arc::new(info)));
                    }
                    Command::Generate { run, settings, start, .. } => {
                        let start = start.map(|start| *start);
                        let mut trajectory = worker.begin(&settings, start).unwrap();
                        while let Some(record) = trajectory.advance() {
                            let predicted = Some(worker.decode(&record.prediction));
                            state.take(Event::Step { run, record: Arc::new(record), predicted });
                        }
                        let codes = trajectory.codes();
                        let pictures = worker.decode_codes(&codes, settings.labels.len());
                        let wall = Duration::from_secs(1);
                        state.take(Event::Finished { run, codes, pictures, wall });
                    }
                    Command::Render { key, record } => {
                        let pictures = worker.decode(&record.x);
                        state.take(Event::Rendered { key, pictures });
                    }
                    Command::Rethink { ticket, record, settings } => {
                        let record = Arc::new(worker.rethink(&record, &settings).unwrap());
                        let predicted = worker.decode(&record.prediction);
                        state.take(Event::Rethought { ticket, record, predicted });
                    }
                    Command::Decode { ticket, codes, batch } => {
                        let pictures = worker.decode_codes(&codes, batch);
                        state.take(Event::Decoded { ticket, pictures });
                    }
                    _ => {}
                }
            }
        }
    }

    fn ready() -> StudioState {
        let mut state = StudioState::default();
        state.load_model(ModelSource::Embedded);
        settle(&mut state);
        state
    }

    #[test]
    fn the_first_model_starts_a_run_of_four_cats() {
        let state = ready();
        let run = state.run.as_ref().unwrap();
        assert_eq!(run.settings.labels, [4; 4]);
        assert_eq!((run.positions(), state.position), (25, 24));
        assert!(state.active.is_none() && run.is_end(24));
    }

    #[test]
    fn entropy_falls_and_the_first_step_changes_nothing() {
        let state = ready();
        let frames = &state.run.as_ref().unwrap().frames;
        assert_eq!(frames[0].change_rate, 0.0);
        assert!(frames.windows(2).all(|pair| pair[1].mean_entropy <= pair[0].mean_entropy));
        assert!(frames.iter().any(|frame| frame.change_rate > 0.0));
    }

    #[test]
    fn a_locked_seed_stays_and_an_unlocked_one_moves() {
        let mut state = ready();
        assert_eq!(state.draft.sampling.seed, 42);
        state.draft.seed_locked = true;
        state.generate();
        assert_eq!(state.draft.sampling.seed, 42);
        state.draft.seed_locked = false;
        state.generate();
        assert_ne!(state.draft.sampling.seed, 42);
        state.draft.sampling.seed = 7;
        state.generate();
        assert_eq!(state.draft.sampling.seed, 7, "a seed that was just chosen is used");
    }

    #[test]
    fn live_mode_starts_one_run_a_change() {
        let mut state = ready();
        state.draft.sampling.guidance = 2.0;
        state.follow_changes();
        assert!(state.take_commands().is_empty());
        state.draft.live = true;
        state.follow_changes();
        state.follow_changes();
        assert_eq!(state.take_commands().len(), 1);
    }

    #[test]
    fn steps_of_a_dropped_run_are_not_shown() {
        let mut state = ready();
        let shown = state.run.as_ref().unwrap();
        let (old, record) = (shown.id, shown.record(0).unwrap());
        let predicted = shown.frames[0].predicted.clone();
        state.generate();
        state.take(Event::Step { run: old, record, predicted });
        assert_eq!(state.run.as_ref().unwrap().frames.len(), 24);
        state.take(Event::Stopped { run: old });
        assert!(state.active.is_some());
    }

    #[test]
    fn looking_back_stays_where_one_looks() {
        let mut state = ready();
        state.step_by(-5);
        assert_eq!((state.position, state.follow), (19, false));
        state.step_by(100);
        assert_eq!((state.position, state.follow), (24, true));
        state.step_by(-100);
        assert_eq!(state.position, 0);
    }

    #[test]
    fn playing_moves_loops_and_ends() {
        let mut state = ready();
        state.toggle_play();
        assert_eq!(state.position, 0);
        let mut now = 10.0;
        let mut pass = |state: &mut StudioState, moves: usize| {
            for _ in 0..moves {
                state.play(now);
                now += 0.125;
            }
            state.play(now)
        };
        pass(&mut state, 24);
        assert_eq!(state.position, 24);
        pass(&mut state, 1);
        assert_eq!(state.position, 0);
        state.playback.looping = false;
        state.go_to(24);
        assert!(pass(&mut state, 1).is_none() && !state.playback.playing);
    }

    #[test]
    fn another_view_is_asked_for_once() {
        let mut state = ready();
        state.canvas.view = View::State;
        assert!(state.pictures().is_none() && state.pictures().is_none());
        assert_eq!(state.outbox.len(), 1);
        settle(&mut state);
        assert!(state.pictures().is_some());
    }

    #[test]
    fn a_file_that_is_no_model_is_refused_in_words() {
        let mut state = ready();
        state.open_file("/tmp/cat.jpeg".into());
        let Entry { level, text, .. } = state.notices.banner.as_ref().unwrap();
        assert_eq!(*level, Level::Error);
        assert!(text.contains("cat.jpeg") && text.contains(".safetensors"), "{text}");
        assert!(state.take_commands().is_empty());
    }

    #[test]
    fn a_picture_brings_its_settings_back() {
        let mut state = ready();
        let mut settings = state.run.as_ref().unwrap().settings.clone();
        settings.labels = vec![30; 3];
        settings.seed = 99;
        settings.temperature = "cosine:1.2:0.6".parse().unwrap();
        settings.grid = Grid::Shifted(2.0);
        let model_hash = Some("another".to_owned());
        let restored = Restored { class: None, model_hash, settings: settings.clone() };
        state.restore(&restored);
        settle(&mut state);
        assert_eq!(state.run.as_ref().unwrap().settings, settings);
        assert!(state.draft.seed_locked && state.notices.banner.is_some());
    }

    #[test]
    fn a_failure_keeps_what_is_on_show() {
        let mut state = ready();
        state.generate();
        let run = state.active.as_ref().unwrap().id;
        state.take(Event::Failed { run: Some(run), text: "out of memory".to_owned() });
        assert!(state.active.is_none() && state.run.is_some());
        assert!(state.notices.banner.is_some());
    }

    #[test]
    fn a_changed_temperature_is_asked_of_the_step_on_show() {
        let mut state = ready();
        state.go_to(8);
        let before = state.shown().unwrap();
        assert!(!before.what_if);
        state.draft.from = 0.3;
        state.follow_draft(false);
        state.follow_draft(false);
        assert_eq!(state.outbox.len(), 1, "it is asked once");
        settle(&mut state);
        let after = state.shown().unwrap();
        assert!(after.what_if);
        assert!(after.record.entropy()[5] < before.record.entropy()[5]);
        assert_eq!(after.record.x, before.record.x);
        let (key, _) = state.pictures().unwrap();
        assert_ne!(key.ticket, 0);
        state.draft.from = 0.9;
        state.follow_draft(false);
        assert!(!state.shown().unwrap().what_if);
        // Other steps are other runs: nothing can be said without running.
        state.draft.sampling.steps = 12;
        state.draft.from = 0.3;
        state.follow_draft(false);
        settle(&mut state);
        assert!(!state.shown().unwrap().what_if);
    }

    #[test]
    fn a_branch_goes_on_from_the_step_on_show() {
        let mut state = ready();
        state.go_to(10);
        let x = state.shown().unwrap().record.x.clone();
        state.branch_here();
        state.draft.temperature = TemperatureKind::Linear;
        state.draft.count = 9;
        state.generate();
        let Some(Command::Generate { settings, start: Some(start), .. }) = state.outbox.last()
        else {
            panic!("no branch was sent")
        };
        assert_eq!((settings.labels.len(), &start.x), (4, &x));
        settle(&mut state);
        let run = state.run.as_ref().unwrap();
        assert_eq!((run.frames.len(), run.time(0)), (14, 10.0 / 24.0));
        assert_eq!(run.record(0).unwrap().x, x);
        state.go_to(13);
        state.branch = None;
        state.branch_here();
        assert!(state.branch.is_none(), "after the last step there is nothing to go on with");
    }

    #[test]
    fn undo_goes_back_to_the_settings_before() {
        let mut state = ready();
        state.follow_draft(false);
        state.draft.sampling.guidance = 3.0;
        state.follow_draft(true);
        state.draft.sampling.guidance = 4.0;
        state.follow_draft(false);
        state.undo();
        assert_eq!(state.draft.sampling.guidance, 1.5);
        state.redo();
        assert_eq!(state.draft.sampling.guidance, 4.0);
    }

    #[test]
    fn codes_are_decoded_on_request() {
        let mut state = ready();
        let codes = state.run.as_ref().unwrap().codes(24).unwrap().to_vec();
        let ticket = state.ask_decode(codes, 4);
        settle(&mut state);
        assert_eq!(state.take_decoded(ticket).unwrap().count(), 4);
        assert!(state.take_decoded(ticket).is_none());
    }

    #[test]
    fn what_was_asked_is_asked_again_after_a_failure_and_after_the_recovery() {
        let mut state = ready();
        state.canvas.view = View::State;
        state.go_to(1);
        assert!(state.pictures().is_none());
        state.want_swatches([3, 4].into_iter());
        let commands = state.take_commands();
        assert!(matches!(commands[..], [Command::Render { .. }, Command::Swatches(_)]));
        assert!(state.pictures().is_none() && state.take_commands().is_empty(), "asked once");
        state.take(Event::Failed { run: None, text: "no".to_owned() });
        // There is no model to ask, and these go unanswered too.
        assert!(state.pictures().is_none());
        state.want_swatches([3, 4].into_iter());
        assert_eq!(state.take_commands().len(), 2);
        state.take(Event::Started { run: 99 });
        assert!(state.pictures().is_none());
        settle(&mut state);
        assert!(state.pictures().is_some());
    }

    #[test]
    fn a_run_of_another_model_is_not_decoded_by_the_one_in_use() {
        let mut state = ready();
        state.canvas.view = View::State;
        state.go_to(1);
        let model = FakeWorker::default().load(&ModelSource::Embedded).unwrap();
        state.model = Some(Arc::new(model));
        assert!(state.pictures().is_none());
        assert!(!state.take_commands().iter().any(|c| matches!(c, Command::Render { .. })));
    }

    #[test]
    fn undo_gives_back_the_branch_too() {
        let mut state = ready();
        state.follow_draft(false);
        state.go_to(2);
        state.branch_here();
        state.follow_draft(false);
        let branched = state.settings().unwrap();
        let restored = SampleSettings { branch: None, seed: 5, ..branched.clone() };
        state.restore(&Restored { class: None, model_hash: None, settings: restored });
        assert!(state.branch.is_none());
        settle(&mut state);
        state.follow_draft(false);
        state.undo();
        assert_eq!(state.settings(), Some(branched));
        state.undo();
        assert!(state.branch.is_none(), "to branch is a step of its own");
        state.redo();
        assert_eq!(state.branch.as_ref().map(|point| point.branch.step), Some(2));
    }
}
