//! What the window knows: the settings on the controls, the run on show, and where one is in it.
//!
//! Panes read and change this; what is to be computed goes into an outbox of [`Command`]s. Nothing
//! here waits, decodes or knows the compute thread, so all of it can be tested without a window.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use egui::TextureHandle;
use image::RgbImage;
use serde::{Deserialize, Serialize};

use super::engine::{Command, Event, ModelInfo, ModelSource, PictureKey, RunId, View};
use super::export::Restored;
use super::panes::canvas::CanvasState;
use crate::flow::{Grid, SampleSettings, Solver, StepRecord, Temperature, guidance_evaluations};
use crate::model::{ModelCard, Objective};

/// The class that a first start shows, where the model has it.
const FIRST_CLASS: &str = "cat-05";

/// How temperature goes over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum TemperatureKind {
    /// One value.
    #[default]
    Constant,
    /// A straight line between two values.
    Linear,
    /// Half a cosine wave between two values.
    Cosine,
}

impl TemperatureKind {
    /// Every kind, in the order in which they are offered.
    pub const ALL: [Self; 3] = [Self::Constant, Self::Linear, Self::Cosine];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::Linear => "linear",
            Self::Cosine => "cosine",
        }
    }
}

/// Where the grid points of time lie; [`Grid`] without its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum GridKind {
    /// Equal intervals.
    #[default]
    Uniform,
    /// Small intervals at both ends.
    Cosine,
    /// Small intervals near the noise.
    Shifted,
}

impl GridKind {
    /// Every kind, in the order in which they are offered.
    pub const ALL: [Self; 3] = [Self::Uniform, Self::Cosine, Self::Shifted];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Cosine => "cosine",
            Self::Shifted => "shifted",
        }
    }
}

/// The settings on the controls.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Draft {
    /// Name of the class, so that it survives a change of model.
    pub class: String,
    /// Seed of the noise.
    pub seed: u64,
    /// Whether Generate keeps the seed rather than throwing the dice.
    pub seed_locked: bool,
    /// Pictures in the batch.
    pub count: usize,
    /// The solver.
    pub solver: Solver,
    /// Intervals of time.
    pub steps: usize,
    /// Where the grid points lie.
    pub grid: GridKind,
    /// The shift of [`GridKind::Shifted`].
    pub shift: f32,
    /// How temperature goes over time.
    pub temperature: TemperatureKind,
    /// Temperature at `t = 0`.
    pub from: f32,
    /// Temperature at `t = 1`, where it is not constant.
    pub to: f32,
    /// Guidance scale.
    pub guidance: f32,
    /// Whether a change starts a run by itself.
    pub live: bool,
}

impl Default for Draft {
    fn default() -> Self {
        Self {
            class: FIRST_CLASS.to_owned(),
            seed: 42,
            seed_locked: false,
            count: 4,
            solver: Solver::default(),
            steps: 24,
            grid: GridKind::default(),
            shift: 3.0,
            temperature: TemperatureKind::default(),
            from: 0.9,
            to: 0.6,
            guidance: 1.5,
            live: false,
        }
    }
}

impl Draft {
    /// Most pictures of a batch.
    pub const MAX_COUNT: usize = 16;
    /// Most steps that the slider offers.
    pub const MAX_STEPS: usize = 200;

    /// The label of the class under `card`; 0 where the model has no such class.
    pub fn label(&self, card: &ModelCard) -> usize {
        card.class_names.iter().position(|name| *name == self.class).unwrap_or(0)
    }

    /// The grid of times.
    pub fn grid(&self) -> Grid {
        match self.grid {
            GridKind::Uniform => Grid::Uniform,
            GridKind::Cosine => Grid::Cosine,
            GridKind::Shifted => Grid::Shifted(self.shift),
        }
    }

    /// The temperature over time.
    pub fn temperature(&self) -> Temperature {
        match self.temperature {
            TemperatureKind::Constant => Temperature::Constant(self.from),
            TemperatureKind::Linear => Temperature::Linear { from: self.from, to: self.to },
            TemperatureKind::Cosine => Temperature::Cosine { from: self.from, to: self.to },
        }
    }

    /// What a run of these settings is asked to do.
    pub fn settings(&self, card: &ModelCard) -> SampleSettings {
        SampleSettings {
            labels: vec![self.label(card); self.count.clamp(1, Self::MAX_COUNT)],
            seed: self.seed,
            solver: self.solver,
            grid: self.grid(),
            steps: self.steps.clamp(1, SampleSettings::MAX_STEPS),
            temperature: self.temperature(),
            guidance: self.guidance,
            ..SampleSettings::default()
        }
    }

    /// Takes over the settings of a picture, and locks the seed so that Generate repeats it.
    ///
    /// # Errors
    /// A temperature that the controls cannot show.
    pub(super) fn adopt(&mut self, restored: &Restored, card: &ModelCard) -> Result<(), String> {
        let settings = &restored.settings;
        let (temperature, from, to) = match settings.temperature {
            Temperature::Constant(value) => (TemperatureKind::Constant, value, self.to),
            Temperature::Linear { from, to } => (TemperatureKind::Linear, from, to),
            Temperature::Cosine { from, to } => (TemperatureKind::Cosine, from, to),
            Temperature::Points(_) | Temperature::Entropy { .. } => {
                return Err("Its temperature is a curve that the controls cannot show \
                            yet: use `purrscope sample`."
                    .to_owned());
            }
        };
        (self.temperature, self.from, self.to) = (temperature, from, to);
        (self.grid, self.shift) = match settings.grid {
            Grid::Uniform => (GridKind::Uniform, self.shift),
            Grid::Cosine => (GridKind::Cosine, self.shift),
            Grid::Shifted(shift) => (GridKind::Shifted, shift),
        };
        let named = restored.class.clone().filter(|class| card.class_names.contains(class));
        let label = || card.class_names.get(*settings.labels.first()?).cloned();
        if let Some(class) = named.or_else(label) {
            self.class = class;
        }
        self.count = settings.labels.len().clamp(1, Self::MAX_COUNT);
        self.solver = settings.solver;
        self.steps = settings.steps;
        self.guidance = settings.guidance;
        self.seed = settings.seed;
        self.seed_locked = true;
        Ok(())
    }

    /// Network evaluations of the run, where they can be known beforehand.
    pub fn evaluations(&self, objective: Objective) -> Option<usize> {
        Some(self.solver.evaluations(self.steps, objective)? * guidance_evaluations(self.guidance))
    }
}

/// A place in a batch: a token of one of its images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token {
    /// The image, from 0.
    pub image: usize,
    /// Its row of tokens, from 0 at the top.
    pub row: usize,
    /// Its column of tokens, from 0 at the left.
    pub column: usize,
}

/// One step of the run on show.
#[derive(Debug)]
pub struct Frame {
    /// What the sampler reported.
    pub record: Arc<StepRecord>,
    /// Decoded posterior mean, one an image.
    pub predicted: Arc<[RgbImage]>,
    /// The most likely codes, `[batch, height, width]`.
    pub best: Vec<u32>,
    /// Tokens whose most likely code differs from the step before, `[batch, height, width]`; at
    /// the first step, none.
    pub changed: Vec<bool>,
    /// Mean entropy over all tokens, in nats.
    pub mean_entropy: f32,
    /// Part of the tokens that changed, in `[0, 1]`.
    pub change_rate: f32,
}

/// The end of a run at `t = 1`.
#[derive(Debug)]
pub struct End {
    /// The codes that the state was snapped to, `[batch, height, width]`.
    pub codes: Vec<u32>,
    /// The codes decoded, one an image.
    pub pictures: Arc<[RgbImage]>,
    /// Tokens whose code differs from the last step's most likely one, `[batch, height, width]`.
    pub changed: Vec<bool>,
    /// Time of the whole run.
    pub wall: Duration,
}

/// A run on show, from its first step on.
#[derive(Debug)]
pub struct Run {
    /// Its number.
    pub id: RunId,
    /// What it was asked to do.
    pub settings: SampleSettings,
    /// The model that made it.
    pub model: Arc<ModelInfo>,
    /// The grid of times, one more than steps.
    pub times: Vec<f32>,
    /// The steps taken so far.
    pub frames: Vec<Frame>,
    /// Its end, once it is there.
    pub end: Option<End>,
    /// The largest entropy of any token so far, in nats.
    pub max_entropy: f32,
    rendered: HashMap<(usize, View), Arc<[RgbImage]>>,
}

fn changes(old: &[u32], new: &[u32]) -> Vec<bool> {
    old.iter().zip(new).map(|(old, new)| old != new).collect()
}

fn rate(changed: &[bool]) -> f32 {
    changed.iter().filter(|changed| **changed).count() as f32 / changed.len().max(1) as f32
}

impl Run {
    fn new(id: RunId, settings: SampleSettings, model: Arc<ModelInfo>) -> Self {
        let times = settings.times();
        Self {
            id,
            settings,
            model,
            times,
            frames: Vec::new(),
            end: None,
            max_entropy: 0.0,
            rendered: HashMap::new(),
        }
    }

    fn push(&mut self, record: Arc<StepRecord>, predicted: Arc<[RgbImage]>) {
        let best = record.likeliest.clone();
        let changed = match self.frames.last() {
            Some(last) => changes(&last.best, &best),
            None => vec![false; best.len()],
        };
        let entropy = record.entropy();
        let mean_entropy = entropy.iter().sum::<f32>() / entropy.len().max(1) as f32;
        self.max_entropy = entropy.iter().copied().fold(self.max_entropy, f32::max);
        let change_rate = rate(&changed);
        self.frames.push(Frame { record, predicted, best, changed, mean_entropy, change_rate });
    }

    fn finish(&mut self, codes: Vec<u32>, pictures: Arc<[RgbImage]>, wall: Duration) {
        let changed = match self.frames.last() {
            Some(last) => changes(&last.best, &codes),
            None => vec![false; codes.len()],
        };
        self.end = Some(End { codes, pictures, changed, wall });
    }

    /// How many positions the timeline has so far: one a step, and one for the end.
    pub fn positions(&self) -> usize {
        self.frames.len() + usize::from(self.end.is_some())
    }

    /// Whether `position` is the end at `t = 1`.
    pub fn is_end(&self, position: usize) -> bool {
        self.end.is_some() && position == self.frames.len()
    }

    /// The step at `position`; at the end, the last one.
    pub fn frame(&self, position: usize) -> Option<&Frame> {
        self.frames.get(position.min(self.frames.len().checked_sub(1)?))
    }

    /// Time at `position`, in `[0, 1]`.
    pub fn time(&self, position: usize) -> f32 {
        self.times.get(position).copied().unwrap_or(1.0)
    }

    /// Tokens whose code differs from the position before, `[batch, height, width]`.
    pub fn changed(&self, position: usize) -> Option<&[bool]> {
        match &self.end {
            Some(end) if self.is_end(position) => Some(&end.changed),
            _ => self.frame(position).map(|frame| frame.changed.as_slice()),
        }
    }

    /// Network evaluations up to `position`.
    pub fn evaluations(&self, position: usize) -> usize {
        self.frame(position).map_or(0, |frame| frame.record.evaluations)
    }

    /// The pictures of `view` at `position`, where they are known.
    pub fn pictures(&self, position: usize, view: View) -> Option<&Arc<[RgbImage]>> {
        match (&self.end, view) {
            (Some(end), View::Predicted | View::Likeliest) if self.is_end(position) => {
                Some(&end.pictures)
            }
            (_, View::Predicted) => self.frames.get(position).map(|frame| &frame.predicted),
            _ => self.rendered.get(&(position, view)),
        }
    }
}

/// A run that is being computed.
#[derive(Debug, Clone)]
pub struct Active {
    /// Its number.
    pub id: RunId,
    /// What it was asked to do.
    pub settings: SampleSettings,
    /// Steps reported so far.
    pub done: usize,
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
    /// When it last moved, in seconds on the window's clock.
    #[serde(skip)]
    moved: Option<f64>,
}

impl Default for Playback {
    fn default() -> Self {
        Self { playing: false, looping: true, rate: 8.0, moved: None }
    }
}

impl Playback {
    /// The speeds on offer, in positions a second.
    pub const RATES: [f32; 5] = [2.0, 4.0, 8.0, 16.0, 30.0];
}

/// How bad a line of the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Something was done.
    Note,
    /// Something could not be done.
    Error,
}

/// A line of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// When it happened, since the window opened.
    pub at: Duration,
    /// How bad it is.
    pub level: Level,
    /// What happened.
    pub text: String,
}

/// What happened, for people: a log, of which the newest trouble is also shown as a banner.
#[derive(Debug)]
pub struct Notices {
    opened: Instant,
    /// Everything, oldest first.
    pub log: Vec<Entry>,
    /// What the banner says, until it is dismissed; a note also goes by itself.
    pub banner: Option<Entry>,
}

impl Default for Notices {
    fn default() -> Self {
        Self { opened: Instant::now(), log: Vec::new(), banner: None }
    }
}

impl Notices {
    const KEPT: usize = 500;
    /// How long the banner shows a note.
    const SHOWN: Duration = Duration::from_secs(6);

    fn write(&mut self, level: Level, text: String) -> Entry {
        if self.log.len() == Self::KEPT {
            self.log.remove(0);
        }
        let entry = Entry { at: self.opened.elapsed(), level, text };
        self.log.push(entry.clone());
        entry
    }

    /// Writes a note to the log.
    pub fn note(&mut self, text: impl Into<String>) {
        self.write(Level::Note, text.into());
    }

    /// Writes a note to the log and shows it.
    pub fn tell(&mut self, text: impl Into<String>) {
        self.banner = Some(self.write(Level::Note, text.into()));
    }

    /// Writes trouble to the log and shows it.
    pub fn error(&mut self, text: impl Into<String>) {
        self.banner = Some(self.write(Level::Error, text.into()));
    }

    /// Takes away a note that was shown long enough; says how long one that is shown has left.
    pub fn expire(&mut self) -> Option<Duration> {
        let note = self.banner.as_ref().filter(|entry| entry.level == Level::Note)?;
        let left = (note.at + Self::SHOWN).checked_sub(self.opened.elapsed());
        if left.is_none() {
            self.banner = None;
        }
        left
    }
}

/// Small pictures of codes, asked for as they are needed.
#[derive(Default)]
pub struct Swatches {
    known: HashMap<u32, RgbImage>,
    asked: HashSet<u32>,
    textures: HashMap<u32, TextureHandle>,
}

impl Swatches {
    /// The texture of a code's swatch, if it has come.
    pub fn texture(&mut self, ctx: &egui::Context, code: u32) -> Option<egui::TextureId> {
        if let Some(texture) = self.textures.get(&code) {
            return Some(texture.id());
        }
        let image = super::panes::canvas::colour_image(self.known.get(&code)?);
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
    /// Swatches of codes.
    pub swatches: Swatches,
    /// What happened.
    pub notices: Notices,
    outbox: Vec<Command>,
    next_run: RunId,
    /// Settings last sent, to see a change in live mode.
    sent: Option<SampleSettings>,
    asked_view: Option<PictureKey>,
    dice: u64,
}

impl Default for StudioState {
    fn default() -> Self {
        Self {
            model: None,
            loading: None,
            draft: Draft::default(),
            class_search: String::new(),
            reveal_class: true,
            run: None,
            active: None,
            position: 0,
            follow: true,
            playback: Playback::default(),
            canvas: CanvasState::default(),
            selected: None,
            swatches: Swatches::default(),
            notices: Notices::default(),
            outbox: Vec::new(),
            next_run: 1,
            sent: None,
            asked_view: None,
            dice: std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos() as u64),
        }
    }
}

impl StudioState {
    /// What is to be sent to the compute thread.
    pub fn take_commands(&mut self) -> Vec<Command> {
        std::mem::take(&mut self.outbox)
    }

    /// Opens a model.
    pub fn load_model(&mut self, source: ModelSource) {
        self.loading = Some(source.clone());
        self.outbox.push(Command::LoadModel(source));
    }

    /// Opens a model file that was chosen or dropped.
    pub fn open_file(&mut self, path: PathBuf) {
        if path.extension().is_some_and(|end| end.eq_ignore_ascii_case("safetensors")) {
            self.load_model(ModelSource::File(path));
        } else {
            self.notices.error(format!(
                "{} was not opened: a model is a .safetensors file.",
                path.file_name().unwrap_or(path.as_os_str()).to_string_lossy(),
            ));
        }
    }

    /// Makes a picture again from the settings that were read from it.
    pub(super) fn restore(&mut self, restored: &Restored) {
        let Some(model) = self.model.clone() else {
            return self.notices.error("The picture waits for a model: open one first.");
        };
        if let Err(text) = self.draft.adopt(restored, &model.card) {
            return self.notices.error(text);
        }
        let other_model = restored.model_hash.as_ref().is_some_and(|hash| *hash != model.hash);
        if other_model {
            self.notices.tell("The settings are restored, but another model made the picture.");
        } else if self.draft.settings(&model.card) != restored.settings {
            self.notices.tell("The settings are restored, as one class and at most 16 pictures.");
        } else {
            self.notices.note("The settings of a picture are restored");
        }
        self.class_search.clear();
        self.reveal_class = true;
        self.begin();
    }

    /// Throws the dice for a new seed.
    pub fn throw_dice(&mut self) {
        // Knuth's linear congruential generator: only to offer a seed that was not there before.
        self.dice = self
            .dice
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.draft.seed = (self.dice >> 33) % 1_000_000;
    }

    /// Begins a run, as the Generate button does: with a new seed, unless that is locked or was
    /// changed since the last run.
    pub fn generate(&mut self) {
        let used = self.sent.as_ref().is_some_and(|sent| sent.seed == self.draft.seed);
        if used && !self.draft.seed_locked {
            self.throw_dice();
        }
        self.begin();
    }

    /// Begins a run of the settings on the controls.
    fn begin(&mut self) {
        let Some(model) = &self.model else { return };
        let settings = self.draft.settings(&model.card);
        let run = self.next_run;
        self.next_run += 1;
        self.sent = Some(settings.clone());
        self.active = Some(Active { id: run, settings: settings.clone(), done: 0 });
        self.follow = true;
        self.playback.playing = false;
        self.outbox.push(Command::Generate { run, settings });
    }

    /// Drops the run being computed.
    pub fn stop(&mut self) {
        if self.active.is_some() {
            self.outbox.push(Command::Stop);
        }
    }

    /// In live mode, begins a run if the settings on the controls are not those last sent.
    pub fn follow_changes(&mut self) {
        if let (true, Some(model)) = (self.draft.live, &self.model)
            && self.sent.as_ref() != Some(&self.draft.settings(&model.card))
        {
            self.begin();
        }
    }

    /// Takes in what the compute thread reports.
    pub fn take(&mut self, event: Event) {
        match event {
            Event::ModelReady(model) => self.welcome(model),
            Event::Started { .. } => {}
            Event::Step { run, record, predicted } => self.take_step(run, record, predicted),
            Event::Finished { run, codes, pictures, wall } => {
                if self.end_active(run)
                    && let Some(shown) = self.run.as_mut().filter(|shown| shown.id == run)
                {
                    shown.finish(codes, pictures, wall);
                    let text = format!(
                        "{} of {} in {:.1} s, {} evaluations",
                        count(shown.settings.labels.len(), "picture"),
                        class_name(&shown.model.card, &shown.settings),
                        wall.as_secs_f32(),
                        shown.evaluations(shown.settings.steps),
                    );
                    self.notices.note(text);
                    if self.follow {
                        self.go_last();
                    }
                }
            }
            Event::Stopped { run } => {
                self.end_active(run);
            }
            Event::Failed { run, text } => {
                match run {
                    Some(run) => {
                        self.end_active(run);
                    }
                    None => self.loading = None,
                }
                self.notices.error(text);
            }
            Event::Rendered { key, pictures } => {
                if self.asked_view == Some(key) {
                    self.asked_view = None;
                }
                if let Some(run) = self.run.as_mut().filter(|run| run.id == key.run) {
                    run.rendered.insert((key.position, key.view), pictures);
                }
            }
            Event::Swatches(list) => self.swatches.known.extend(list),
        }
    }

    fn welcome(&mut self, model: Arc<ModelInfo>) {
        self.loading = None;
        self.swatches = Swatches::default();
        self.notices.note(format!("{} is ready on {}", model.card.name, model.device));
        if !model.card.class_names.contains(&self.draft.class) {
            let name = model.card.class_names.iter().find(|name| *name == FIRST_CLASS);
            let name = name.or(model.card.class_names.first());
            self.draft.class = name.cloned().unwrap_or_default();
        }
        self.model = Some(model);
        self.reveal_class = true;
        self.begin();
    }

    fn take_step(&mut self, id: RunId, record: Arc<StepRecord>, predicted: Arc<[RgbImage]>) {
        let Some(active) = self.active.as_mut().filter(|active| active.id == id) else { return };
        active.done = record.step + 1;
        // The old run stays on show until the new one has something to show.
        if self.run.as_ref().is_none_or(|run| run.id != id) {
            let Some(model) = &self.model else { return };
            self.run = Some(Run::new(id, active.settings.clone(), Arc::clone(model)));
            self.asked_view = None;
            self.position = 0;
            let shape = record.x.shape;
            self.selected = self.selected.filter(|token| {
                token.image < shape.batch && token.row < shape.height && token.column < shape.width
            });
        }
        if let Some(run) = &mut self.run {
            run.push(record, predicted);
        }
        if self.follow {
            self.go_last();
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
        self.position = self.run.as_ref().map_or(0, |run| run.positions().saturating_sub(1));
    }

    /// Goes to a position of the timeline, or as near as there is one.
    pub fn go_to(&mut self, position: usize) {
        let Some(run) = &self.run else { return };
        let last = run.positions().saturating_sub(1);
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
        let last = run.positions().saturating_sub(1);
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
        let last = self.run.as_ref()?.positions().saturating_sub(1);
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
        let view = self.canvas.view;
        self.run.as_ref().is_some_and(|run| run.pictures(self.position, view).is_some())
    }

    /// The pictures to show now, asking for them if they are not there yet.
    pub fn pictures(&mut self) -> Option<(PictureKey, Arc<[RgbImage]>)> {
        let run = self.run.as_ref()?;
        let key = PictureKey { run: run.id, position: self.position, view: self.canvas.view };
        if let Some(pictures) = run.pictures(self.position, key.view) {
            return Some((key, Arc::clone(pictures)));
        }
        // One request at a time, so that scrubbing does not pile up work.
        if self.asked_view.is_none()
            && let Some(frame) = run.frame(self.position)
        {
            self.asked_view = Some(key);
            self.outbox.push(Command::Render { key, record: Arc::clone(&frame.record) });
        }
        None
    }

    /// Asks for the swatches of `codes` that were not asked for before.
    pub fn want_swatches(&mut self, codes: impl Iterator<Item = u32>) {
        let new: Vec<u32> = codes.filter(|code| self.swatches.asked.insert(*code)).collect();
        if !new.is_empty() {
            self.outbox.push(Command::Swatches(new));
        }
    }
}

/// The name of the class of a run.
pub fn class_name(card: &ModelCard, settings: &SampleSettings) -> String {
    let label = settings.labels.first().copied().unwrap_or(0);
    card.class_names.get(label).cloned().unwrap_or_else(|| format!("class {label}"))
}

/// A number and what it counts.
pub fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::super::engine::Worker;
    use super::super::fake::FakeWorker;
    use super::*;

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
                    Command::Generate { run, settings } => {
                        let mut trajectory = worker.begin(&settings).unwrap();
                        while let Some(record) = trajectory.advance() {
                            let predicted = worker.decode(&record.prediction).into();
                            state.take(Event::Step { run, record: Arc::new(record), predicted });
                        }
                        let codes = trajectory.codes();
                        let pictures = worker.decode_codes(&codes, settings.labels.len()).into();
                        let wall = Duration::from_secs(1);
                        state.take(Event::Finished { run, codes, pictures, wall });
                    }
                    Command::Render { key, record } => {
                        let pictures = worker.decode(&record.x).into();
                        state.take(Event::Rendered { key, pictures });
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
        assert_eq!(state.draft.seed, 42);
        state.draft.seed_locked = true;
        state.generate();
        assert_eq!(state.draft.seed, 42);
        state.draft.seed_locked = false;
        state.generate();
        assert_ne!(state.draft.seed, 42);
        state.draft.seed = 7;
        state.generate();
        assert_eq!(state.draft.seed, 7, "a seed that was just chosen is used");
    }

    #[test]
    fn live_mode_starts_one_run_a_change() {
        let mut state = ready();
        state.draft.guidance = 2.0;
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
        let (old, record) = (shown.id, Arc::clone(&shown.frames[0].record));
        let predicted = Arc::clone(&shown.frames[0].predicted);
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
}
