//! The loop of a run: a step after another, each state proved before it is kept.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use burn::module::Module;
use burn::tensor::{Device, Gradients};
use image::RgbImage;
use serde_json::{Map, Value, json};

use super::checkpoint::{self, Held, State};
use super::config::RunConfig;
use super::events::Events;
use super::metrics::{self, Line, Log, numbers};
use super::optimiser::{AdamW, add_gradients, norm_of};
use super::powers;
use super::scale::LossScale;
use super::{Ending, Evaluation, Loss, Progress, TrainError, Trainee, io_error, product_of};
use crate::io::numbered::{numbered, remove_beyond};
use crate::io::{atomic, png};
use crate::model::params::NamedTensor;
use crate::readback::Together;
use crate::room::{self, Room};

/// What a session needs besides what it trains.
pub(super) struct Session<'a> {
    pub config: &'a RunConfig,
    pub device: &'a Device,
    /// Ends the run after the step in hand.
    pub stop: &'a AtomicBool,
    /// Pictures of a batch that the device has room for at once.
    pub room: Room,
}

/// A state's loss and gradient, both finite: proof that the run can go on from it.
struct Proof {
    loss: f64,
    terms: Vec<(&'static str, f32)>,
    /// Those of the loss times `loss_scale`.
    gradients: Gradients,
    loss_scale: Option<f32>,
    gradient_norm: f64,
}

impl Proof {
    /// Loss, its terms and the gradient's norm, of step `step`.
    fn figures(&self, step: usize) -> Map<String, Value> {
        let terms = self.terms.iter().map(|(name, term)| ((*name).to_owned(), json!(term)));
        let mut figures: Map<String, Value> = terms.collect();
        figures.insert("step".to_owned(), json!(step));
        figures.insert("loss".to_owned(), json!(self.loss));
        figures.insert("gradient_norm".to_owned(), json!(self.gradient_norm));
        if let Some(scale) = self.loss_scale {
            figures.insert("loss_scale".to_owned(), json!(scale));
        }
        figures
    }
}

/// What states were worth on held-out pictures, more being better.
struct Merits {
    best: Option<f64>,
    /// Of the newest state that was looked at.
    newest: Option<f64>,
}

impl Merits {
    /// Share of the best that the last may lie behind it before a run is told so.
    const BEHIND: f64 = 0.02;

    /// Takes note of a state; whether it is the best so far.
    fn rise_to(&mut self, merit: f64) -> bool {
        self.newest = Some(merit);
        let rises = self.best.is_none_or(|best| merit > best);
        if rises {
            self.best = self.newest;
        }
        rises
    }

    /// Says of a run that is over that it was better before, where it was; the product of then is in a file.
    fn tell(&self, product: &Path) {
        let (Some(best), Some(newest)) = (self.best, self.newest) else { return };
        if newest < best - Self::BEHIND * best.abs() {
            tracing::warn!(
                "held-out pictures fared better before the end ({:.4} now, {:.4} at best), as when a run learns its \
                 pictures by heart: {} is of then; fewer steps or more pictures help",
                newest.abs(),
                best.abs(),
                product.display()
            );
        }
    }
}

impl Session<'_> {
    /// Trains until all steps are made or a stop is asked for.
    ///
    /// A state goes into the checkpoint only once the next step's loss and gradient have been taken
    /// from it: a run that has diverged keeps the last state that it can go on from.
    pub fn train<T: Trainee>(
        &self,
        mut trainee: T,
        mut net: T::Net,
        held: Option<Held>,
        watch: &mut dyn FnMut(&Progress),
    ) -> Result<(Ending, PathBuf), TrainError> {
        let config = self.config;
        let mut optimiser = AdamW::new(&net, T::NAMING, config.optimiser.clone());
        if let Some(held) = held {
            net = held.load(net, T::NAMING, &mut optimiser, self.device)?;
            trainee.restore_extra(&held.file)?;
        }
        powers::forget_after(&config.out, optimiser.updates());
        checkpoint::forget_after(&config.out, optimiser.updates());
        // Sheets of steps that will be made again, and may come out otherwise.
        let sheets = numbered(&config.out, "sample-", ".png").unwrap_or_default();
        remove_beyond(sheets, optimiser.updates());
        let log_path = config.out.join("metrics.jsonl");
        let mut log = Log::open(&log_path, optimiser.updates())?;
        let mut events = Events::begin(&config.out, &log_path, config.batch);
        let mut merits = Merits { best: metrics::best(&log_path, T::merit), newest: None };
        let mut pace = Pace::default();
        // Steps of the state in the checkpoint, and the product that was written with it.
        let (mut saved, mut product) = (optimiser.updates(), None);
        // Figures of the step before, until those of its evaluation are there.
        let mut line: Option<Map<String, Value>> = None;
        loop {
            let step = optimiser.updates();
            let over = step >= config.steps || self.stop.load(Ordering::Relaxed);
            if over && saved == step {
                break;
            }
            let begun = Instant::now();
            // Of the state in hand: the proof belongs to the next step.
            let extra = trainee.extra();
            let proof = self.prove(&mut trainee, &net, step).map_err(|error| error.keeping(saved));
            let proved = begun.elapsed();
            if let (Ok(_), Some(line)) = (&proof, &mut line) {
                let figures = self.figures(&mut trainee, &net, &optimiser, step);
                let merit = T::merit(&numbers(figures.clone()).collect());
                if merit.is_some_and(|merit| merits.rise_to(merit)) {
                    self.keep(&mut trainee, &net, &optimiser, "best");
                }
                line.extend(figures);
            }
            if let Some(line) = line.take() {
                events.add(&line);
                log.write(&Value::Object(line));
            }
            let proof = match proof {
                Ok(proof) => proof,
                // The pictures failed and not the state, which is as far as the run has come.
                Err(error) if !error.is_of_the_run() && saved != step => {
                    let saved = self.save(&mut trainee, &net, &optimiser, extra, saved);
                    return Err(saved.err().filter(TrainError::is_of_the_run).unwrap_or(error));
                }
                Err(error) => return Err(error),
            };
            if saved != step && (over || step.is_multiple_of(config.checkpoint_every)) {
                log.sync();
                match self.save(&mut trainee, &net, &optimiser, extra, saved) {
                    Ok(path) => (saved, product) = (step, Some(path)),
                    Err(error) if over || error.is_of_the_run() => {
                        return Err(error.keeping(saved));
                    }
                    Err(error) => tracing::warn!(
                        "step {step} is not saved ({error}); the run goes on and tries again {} steps on",
                        config.checkpoint_every
                    ),
                }
            }
            if step > 0 && config.keep_models_every.is_some_and(|every| step.is_multiple_of(every))
            {
                self.keep(&mut trainee, &net, &optimiser, &format!("{step:07}"));
            }
            if over {
                break;
            }
            let begun = Instant::now();
            let learning_rate = config.optimiser.learning_rate_at(step, config.steps);
            let mut figures = proof.figures(step);
            let Proof { loss, gradients, loss_scale, gradient_norm, .. } = proof;
            let scaled = f64::from(loss_scale.unwrap_or(1.0));
            let moved = optimiser.step_by(net, gradients, scaled, gradient_norm, learning_rate);
            net = trainee.after_step(moved, step);

            let images_per_second = pace.after(config.batch, proved + begun.elapsed());
            figures.insert("learning_rate".into(), json!(learning_rate));
            figures.insert("images_per_second".into(), json!(images_per_second));
            line = Some(figures);
            let (step, steps) = (step + 1, config.steps);
            watch(&Progress::Step { step, steps, loss, images_per_second });
        }
        let product = product.map_or_else(|| self.export(&mut trainee, &net, &optimiser), Ok)?;
        let finished = optimiser.updates() >= config.steps;
        if finished {
            merits.tell(&config.out.join(format!("{}-best.safetensors", T::PRODUCT)));
        }
        Ok((if finished { Ending::Finished } else { Ending::Stopped }, product))
    }

    /// Takes the loss and the gradient of step `step`, in parts where the device has no room for all.
    fn prove<T: Trainee>(
        &self,
        trainee: &mut T,
        net: &T::Net,
        step: usize,
    ) -> Result<Proof, TrainError> {
        let batch = self.config.batch;
        let at_once = self.config.at_once();
        self.room.within(self.device, batch, || {
            prove(trainee, net, step, batch, self.room.share(batch).min(at_once))
        })
    }

    /// Writes the product of a state.
    fn export<T: Trainee>(
        &self,
        trainee: &mut T,
        net: &T::Net,
        optimiser: &AdamW,
    ) -> Result<PathBuf, TrainError> {
        let path = product_of(self.config);
        trainee.export(net, optimiser, &path)?;
        Ok(path)
    }

    /// Keeps the product of a state besides the newest. It is not worth a run: what goes wrong is said.
    fn keep<T: Trainee>(&self, trainee: &mut T, net: &T::Net, optimiser: &AdamW, name: &str) {
        let path = self.config.out.join(format!("{}-{name}.safetensors", T::PRODUCT));
        if let Err(error) = trainee.export(net, optimiser, &path) {
            tracing::warn!("{}: not written ({error})", path.display());
        }
    }

    /// Writes the checkpoint and the product of a state; the checkpoint in its place has `saved` steps.
    fn save<T: Trainee>(
        &self,
        trainee: &mut T,
        net: &T::Net,
        optimiser: &AdamW,
        extra: Vec<NamedTensor>,
        saved: usize,
    ) -> Result<PathBuf, TrainError> {
        let besides = [extra, trainee.weights_besides()].concat();
        let state = State::read(net, T::NAMING, optimiser, besides)?;
        let lengths = &self.config.optimiser.lengths;
        if !lengths.is_empty() {
            powers::save(&self.config.out, optimiser.updates(), lengths, &optimiser.powers())?;
        }
        let folder = &self.config.out;
        let aside = checkpoint::set_aside(folder, saved, self.config.keep_checkpoints);
        aside.unwrap_or_else(|error| {
            tracing::warn!("{}: no earlier checkpoint is kept ({error})", folder.display());
        });
        state.save(folder, trainee.identity())?;
        self.export(trainee, net, optimiser)
    }

    /// What is to be known of a state at its step: draws its sheet and takes its figures, and compares its samples. None
    /// of it is worth a run: what goes wrong is said.
    fn figures<T: Trainee>(
        &self,
        trainee: &mut T,
        net: &T::Net,
        optimiser: &AdamW,
        step: usize,
    ) -> Line {
        let due = |every: usize| step.is_multiple_of(every) || step == self.config.steps;
        let mut line = Line::new();
        if due(self.config.sample_every) {
            let failed = |error| tracing::warn!("no samples of step {step}: {error}");
            match trainee.evaluate(net, optimiser, self.stop) {
                Ok(Some(Evaluation { sheet, figures })) => {
                    let path = self.config.out.join(format!("sample-{step:07}.png"));
                    write_sheet(&path, &sheet).unwrap_or_else(failed);
                    line.extend(figures);
                }
                Ok(None) => {}
                Err(error) => failed(error),
            }
        }
        if self.config.evaluate_every.is_some_and(due) {
            match trainee.judge(net, optimiser, self.stop) {
                Ok(figures) => line.extend(figures),
                Err(error) => tracing::warn!("samples of step {step} are not judged: {error}"),
            }
        }
        line
    }
}

/// Takes the loss and the gradient of step `step`, which must be finite, from so many pictures of the
/// batch at once. Where the loss is scaled, a gradient that overflows is taken again at half the scale: the
/// step is not made until it fits.
fn prove<T: Trainee>(
    trainee: &mut T,
    net: &T::Net,
    step: usize,
    batch: usize,
    at_once: usize,
) -> Result<Proof, TrainError> {
    let diverged = |what: &str| TrainError::Diverged { what: what.to_owned(), step, kept: 0 };
    loop {
        let loss_scale = trainee.loss_scale().map(|scale| scale.value());
        let (loss, gradients) = differentiate(trainee, net, step, batch, at_once, loss_scale)?;
        let Figures { loss, terms, gradient_norm, codes, each } = read(net, loss, &gradients)?;
        if !loss.is_finite() {
            return Err(diverged("the loss is"));
        }
        let gradient_norm = gradient_norm / f64::from(loss_scale.unwrap_or(1.0));
        if !gradient_norm.is_finite() {
            if trainee.loss_scale().is_some_and(LossScale::back_off) {
                continue;
            }
            return Err(diverged("the gradient is"));
        }
        if let Some(scale) = trainee.loss_scale() {
            scale.went_well();
        }
        trainee.count(&codes);
        trainee.note(&each);
        return Ok(Proof { loss, terms, gradients, loss_scale, gradient_norm });
    }
}

/// What a step says of itself.
struct Figures {
    loss: f64,
    terms: Vec<(&'static str, f32)>,
    /// Of the gradients as they are.
    gradient_norm: f64,
    codes: Vec<i64>,
    each: Vec<f32>,
}

/// Reads all that is to be known of a step, with a single wait.
fn read<M: Module>(net: &M, loss: Loss, gradients: &Gradients) -> Result<Figures, TrainError> {
    let Loss { total, terms, codes, each } = loss;
    let mut together = Together::default().with(total);
    for (_, term) in &terms {
        together = together.with(term.clone());
    }
    let squared_norm = AdamW::squared_norm(net, gradients);
    let [has_norm, has_codes] = [squared_norm.is_some(), codes.is_some()];
    together = squared_norm.into_iter().fold(together, Together::with);
    let has_each = each.is_some();
    together = each.into_iter().fold(together, Together::with);
    let expected = codes.as_ref().map_or(0, |codes| codes.dims()[0]);
    let mut read = codes.into_iter().fold(together, Together::with).read();
    let first = |numbers: Vec<f32>| numbers.first().copied().unwrap_or(f32::NAN);
    let loss = f64::from(first(read.floats()));
    let terms = terms.into_iter().map(|(name, _)| (name, first(read.floats()))).collect();
    let gradient_norm = if has_norm { norm_of(&read.floats()) } else { 0.0 };
    let each = if has_each { read.floats() } else { Vec::new() };
    let codes = if has_codes { read.integers() } else { Vec::new() };
    if codes.len() != expected {
        return Err(TrainError::ReadBack { name: "codes".to_owned() });
    }
    Ok(Figures { loss, terms, gradient_norm, codes, each })
}

/// The loss of step `step`, and its gradient times the scale, from so many pictures of the batch at once:
/// the mean of the parts, each counting for its pictures.
fn differentiate<T: Trainee>(
    trainee: &mut T,
    net: &T::Net,
    step: usize,
    batch: usize,
    at_once: usize,
    loss_scale: Option<f32>,
) -> Result<(Loss, Gradients), TrainError> {
    let mut sum: Option<(Loss, Gradients)> = None;
    for part in room::parts(batch, at_once) {
        let weight = part.len() as f64 / batch as f64;
        let loss = trainee.loss(net, step, part)?;
        let total = match (weight * f64::from(loss_scale.unwrap_or(1.0)), loss.total.clone()) {
            (1.0, total) => total,
            (factor, total) => total * factor,
        };
        let gradients = total.backward();
        let loss = loss.weighed(weight);
        sum = Some(match sum.take() {
            None => (loss, gradients),
            Some((before, mut both)) => {
                add_gradients(net, &mut both, gradients);
                (before.plus(loss), both)
            }
        });
    }
    sum.ok_or_else(|| TrainError::Sizes("a step of no pictures".to_owned()))
}

/// Pictures a second, as a moving average.
#[derive(Default)]
struct Pace(Option<f64>);

impl Pace {
    fn after(&mut self, images: usize, wall: Duration) -> f64 {
        let now = images as f64 / wall.as_secs_f64().max(1e-9);
        let pace = self.0.map_or(now, |before| 0.9 * before + 0.1 * now);
        self.0 = Some(pace);
        pace
    }
}

fn write_sheet(path: &Path, sheet: &RgbImage) -> Result<(), TrainError> {
    let bytes =
        png::encode(sheet, "{}").map_err(|error| io_error(path)(std::io::Error::other(error)))?;
    atomic::write(path, &bytes).map_err(io_error(path))
}
