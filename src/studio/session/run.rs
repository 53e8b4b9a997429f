//! A run of the sampler, step by step, as the window keeps it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::edits::Edits;
use super::record_store::{RecordStore, StoredRecord};
use crate::flow::{LatentShape, SampleSettings, StepRecord};
use crate::model::ModelCard;
use crate::studio::engine::pictures::Pictures;
use crate::studio::engine::{ModelInfo, RunId, View};
use crate::studio::session::token::Token;

/// One step of a run: what curves and overlays need of it stays at hand, the rest lies in the store.
#[derive(Debug)]
pub struct Frame {
    /// Time at which the step begins.
    pub t: f32,
    /// Temperature at which the posterior was taken.
    pub temperature: f32,
    /// Network evaluations up to here.
    pub evaluations: usize,
    /// Time that the step took.
    pub wall: Duration,
    /// Decoded prediction, one an image, unless the memory was needed for something else.
    pub predicted: Option<Pictures>,
    /// The most likely codes, `[batch, height, width]`.
    pub best: Vec<u32>,
    /// Tokens whose most likely code differs from the step before, `[batch, height, width]`; at
    /// the first step, none.
    pub changed: Vec<bool>,
    /// Entropy of every token in nats, `[batch, height, width]`; empty without a posterior.
    pub entropy: Vec<f32>,
    /// Mean entropy over all tokens, in nats.
    pub mean_entropy: f32,
    /// Part of the tokens that changed, in `[0, 1]`.
    pub change_rate: f32,
    record: StoredRecord,
}

/// The end of a run at `t = 1`.
#[derive(Debug)]
pub struct End {
    /// The codes that the state was snapped to, `[batch, height, width]`.
    pub codes: Vec<u32>,
    /// The codes decoded, one an image.
    pub pictures: Pictures,
    /// Tokens whose code differs from the last step's most likely one, `[batch, height, width]`.
    pub changed: Vec<bool>,
    /// Time of the whole run.
    pub wall: Duration,
}

/// A current run, from its first step on.
#[derive(Debug)]
pub struct Run {
    /// Its number.
    pub id: RunId,
    /// What it was asked to do.
    pub settings: SampleSettings,
    /// The pins and bans in its settings.
    pub edits: Edits,
    /// The model that made it.
    pub model: Arc<ModelInfo>,
    /// Extent of its latents.
    pub shape: LatentShape,
    /// The grid of times, one more than steps.
    pub times: Vec<f32>,
    /// The steps taken so far.
    pub frames: Vec<Frame>,
    /// Its end, once it is there.
    pub end: Option<End>,
    /// The largest entropy of any token so far, in nats.
    pub max_entropy: f32,
    /// Whether its pictures are in the gallery.
    pub kept: bool,
    store: RecordStore,
    /// Views that were asked for, oldest first.
    rendered: VecDeque<((usize, View), Pictures)>,
    /// Most bytes of pictures kept.
    picture_budget: usize,
}

fn changes(old: &[u32], new: &[u32]) -> Vec<bool> {
    old.iter().zip(new).map(|(old, new)| old != new).collect()
}

fn rate(changed: &[bool]) -> f32 {
    changed.iter().filter(|changed| **changed).count() as f32 / changed.len().max(1) as f32
}

impl Run {
    /// Most bytes of step records that a run keeps in memory; the rest goes to a temporary file.
    pub const RECORD_BUDGET: usize = 256 << 20;
    /// Most bytes of pictures that a run keeps; the rest is decoded again when it is looked at.
    pub const PICTURE_BUDGET: usize = 128 << 20;

    /// A run that begins with its first step.
    pub fn new(
        id: RunId,
        settings: SampleSettings,
        model: Arc<ModelInfo>,
        shape: LatentShape,
    ) -> Self {
        Self {
            id,
            times: settings.times(),
            edits: Edits::of(&settings),
            settings,
            model,
            shape,
            frames: Vec::new(),
            end: None,
            max_entropy: 0.0,
            kept: false,
            store: RecordStore::new(Self::RECORD_BUDGET),
            rendered: VecDeque::new(),
            picture_budget: Self::PICTURE_BUDGET,
        }
    }

    /// Changes how much memory it takes, in bytes.
    pub fn set_budget(&mut self, records: usize, pictures: usize) {
        self.store.set_budget(records);
        self.picture_budget = pictures;
    }

    /// Adds the next step.
    pub fn push(&mut self, record: Arc<StepRecord>, predicted: Option<Pictures>) {
        let best = record.likeliest.clone();
        let changed = match self.frames.last() {
            Some(last) => changes(&last.best, &best),
            None => vec![false; best.len()],
        };
        let entropy = record.entropy().to_vec();
        let mean_entropy = entropy.iter().sum::<f32>() / entropy.len().max(1) as f32;
        self.max_entropy = entropy.iter().copied().fold(self.max_entropy, f32::max);
        self.frames.push(Frame {
            t: record.t,
            temperature: record.temperature,
            evaluations: record.evaluations,
            wall: record.wall,
            predicted,
            best,
            change_rate: rate(&changed),
            changed,
            entropy,
            mean_entropy,
            record: self.store.put(record),
        });
        self.drop_pictures();
        let Self { store, frames, .. } = self;
        store.make_room(frames.iter_mut().map(|frame| &mut frame.record));
    }

    /// Lets go of the oldest predictions beyond the budget.
    pub(crate) fn drop_pictures(&mut self) {
        let bytes = |frame: &Frame| frame.predicted.as_ref().map_or(0, Pictures::bytes);
        let mut held: usize = self.frames.iter().map(bytes).sum();
        let last = self.frames.len().saturating_sub(1);
        for frame in &mut self.frames[..last] {
            if held <= self.picture_budget {
                break;
            }
            held -= bytes(frame);
            frame.predicted = None;
        }
    }

    /// Takes in the end of the run.
    pub fn finish(&mut self, codes: Vec<u32>, pictures: Pictures, wall: Duration) {
        let changed = match self.frames.last() {
            Some(last) => changes(&last.best, &codes),
            None => vec![false; codes.len()],
        };
        self.end = Some(End { codes, pictures, changed, wall });
    }

    /// Takes in a view that was asked for.
    pub fn take_rendered(&mut self, position: usize, view: View, pictures: Pictures) {
        let bytes = |rendered: &VecDeque<(_, Pictures)>| -> usize {
            rendered.iter().map(|(_, pictures)| pictures.bytes()).sum()
        };
        self.rendered.push_back(((position, view), pictures));
        while self.rendered.len() > 1 && bytes(&self.rendered) > self.picture_budget {
            self.rendered.pop_front();
        }
    }

    /// How many positions the timeline has so far: one a step, and one for the end.
    pub fn positions(&self) -> usize {
        self.frames.len() + usize::from(self.end.is_some())
    }

    /// The last position so far.
    pub fn last(&self) -> usize {
        self.positions().saturating_sub(1)
    }

    /// Whether `position` is the end at `t = 1`.
    pub fn is_end(&self, position: usize) -> bool {
        self.end.is_some() && position == self.frames.len()
    }

    /// The step at `position`; at the end, the last one.
    pub fn frame(&self, position: usize) -> Option<&Frame> {
        self.frames.get(position.min(self.frames.len().checked_sub(1)?))
    }

    /// What the sampler reported of the step at `position`; at the end, of the last one. Nothing where
    /// it was put on disk and cannot be read back.
    pub fn record(&self, position: usize) -> Option<Arc<StepRecord>> {
        self.store.get(&self.frame(position)?.record)
    }

    /// Bytes of step records in memory and on disk.
    pub fn footprint(&self) -> (usize, usize) {
        self.store.footprint()
    }

    /// Time at `position`, in `[0, 1]`.
    pub fn time(&self, position: usize) -> f32 {
        self.times.get(position).copied().unwrap_or(1.0)
    }

    /// Intervals of the run.
    pub fn steps(&self) -> usize {
        self.times.len().saturating_sub(1)
    }

    /// Tokens whose code differs from the position before, `[batch, height, width]`.
    pub fn changed(&self, position: usize) -> Option<&[bool]> {
        match &self.end {
            Some(end) if self.is_end(position) => Some(&end.changed),
            _ => self.frame(position).map(|frame| frame.changed.as_slice()),
        }
    }

    /// The codes at `position`: the most likely ones, at the end the final ones;
    /// `[batch, height, width]`.
    pub fn codes(&self, position: usize) -> Option<&[u32]> {
        match &self.end {
            Some(end) if self.is_end(position) => Some(&end.codes),
            _ => self.frame(position).map(|frame| frame.best.as_slice()),
        }
    }

    /// The codes that those at `position` are compared with, `[batch, height, width]`; at the first
    /// step, its own.
    pub fn codes_before(&self, position: usize) -> Option<&[u32]> {
        self.codes(position.min(self.last()).saturating_sub(1))
    }

    /// Whether `model` made it, so that its latents mean the same there.
    pub fn is_of(&self, model: Option<&Arc<ModelInfo>>) -> bool {
        model.is_some_and(|model| Arc::ptr_eq(model, &self.model))
    }

    /// Whether the run held a token to a code.
    pub fn holds(&self, token: Token, code: u32) -> bool {
        self.edits.pin_of(token) == Some(code)
    }

    /// Whether token `at` of `[batch, height, width]`, likeliest to be what `likeliest` says at
    /// `position`, ends on another code; not before the run has ended, and not at its end.
    pub fn is_unsettled(&self, position: usize, likeliest: &[u32], at: usize) -> bool {
        let end = self.end.as_ref().filter(|_| !self.is_end(position));
        end.is_some_and(|end| end.codes.get(at) != likeliest.get(at))
    }

    /// Network evaluations up to `position`.
    pub fn evaluations(&self, position: usize) -> usize {
        self.frame(position).map_or(0, |frame| frame.evaluations)
    }

    /// The pictures of `view` at `position`, where they are known.
    pub fn pictures(&self, position: usize, view: View) -> Option<&Pictures> {
        match (&self.end, view) {
            (Some(end), View::Predicted | View::Likeliest) if self.is_end(position) => {
                Some(&end.pictures)
            }
            (_, View::Predicted) => {
                let predicted = self.frames.get(position)?.predicted.as_ref();
                predicted.or_else(|| self.rendered(position, view))
            }
            _ => self.rendered(position, view),
        }
    }

    /// Those of them that were asked for.
    fn rendered(&self, position: usize, view: View) -> Option<&Pictures> {
        let mut rendered = self.rendered.iter();
        rendered.find(|(key, _)| *key == (position, view)).map(|(_, pictures)| pictures)
    }
}

/// The name of the class of an image of a run.
pub fn class_of(card: &ModelCard, settings: &SampleSettings, image: usize) -> String {
    let label = settings.labels.get(image).copied().unwrap_or(0);
    card.class_names.get(label).cloned().unwrap_or_else(|| format!("class {label}"))
}

/// The name of what a run makes: its class, or how many there are.
pub fn class_name(card: &ModelCard, settings: &SampleSettings) -> String {
    let mut labels = settings.labels.clone();
    labels.sort_unstable();
    labels.dedup();
    match labels.len() {
        0 | 1 => class_of(card, settings, 0),
        many => format!("{many} classes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::studio::engine::{ModelSource, Worker};
    use crate::studio::testing::fake::{FakeWorker, settings};

    /// A run of `steps` steps that may keep this many bytes of records and pictures.
    fn run(steps: usize, records: usize, pictures: usize) -> (Run, Vec<Arc<StepRecord>>) {
        let mut worker = FakeWorker::default();
        let info = Arc::new(worker.load(&ModelSource::Embedded).unwrap());
        let settings = settings(2, steps);
        let mut trajectory = worker.begin(&settings, None).unwrap();
        let mut all = Vec::new();
        let mut run: Option<Run> = None;
        while let Some(record) = trajectory.advance() {
            let record = Arc::new(record);
            let run = run.get_or_insert_with(|| {
                let mut run = Run::new(1, settings.clone(), Arc::clone(&info), record.x.shape);
                run.set_budget(records, pictures);
                run
            });
            let predicted = worker.decode(&record.prediction);
            run.push(Arc::clone(&record), Some(predicted));
            all.push(record);
        }
        (run.unwrap(), all)
    }

    #[test]
    fn what_does_not_fit_in_memory_is_read_back_whole() {
        let (run, all) = run(12, 200_000, usize::MAX);
        let (memory, disk) = run.footprint();
        assert!(memory <= 200_000 && disk > 0, "{memory} in memory, {disk} on disk");
        for (position, record) in all.iter().enumerate() {
            assert_eq!(run.record(position).as_ref(), Some(record), "step {position}");
            assert_eq!(run.frames[position].entropy, record.entropy());
        }
    }

    #[test]
    fn old_pictures_make_room_for_new_ones() {
        let picture = 2 * 64 * 64 * 3;
        let (mut run, _) = run(10, usize::MAX, 3 * picture);
        assert!(run.pictures(0, View::Predicted).is_none());
        assert!(run.pictures(9, View::Predicted).is_some());
        let again = run.pictures(9, View::Predicted).unwrap().clone();
        run.take_rendered(4, View::State, again.clone());
        assert!(run.pictures(4, View::State).is_some());
        (0..4).for_each(|at| run.take_rendered(at, View::Likeliest, again.clone()));
        assert!(run.pictures(4, View::State).is_none());
        assert!(run.pictures(3, View::Likeliest).is_some());
        // A prediction that was let go of and is asked for again stays, whatever its age.
        run.take_rendered(0, View::Predicted, again);
        assert!(run.pictures(0, View::Predicted).is_some());
    }
}
