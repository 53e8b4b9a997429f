//! Training of the flow on the codes of a finished tokenizer.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::{Device, Tensor};
use half::f16;
use image::RgbImage;
use serde_json::json;

use super::answer::Asked;
use super::checkpoint::{CLASSES, Held, Identity};
use super::config::{FlowTask, RunConfig, SheetSettings};
use super::examples::{Batch, Batches, Examples, Source};
use super::held_out::{self, Term};
use super::judging::Judging;
use super::memory::Need;
use super::metrics::Line;
use super::optimiser::AdamW;
use super::origin::Start;
use super::scale::LossScale;
use super::times::{DrawnTimes, Times};
use super::{Evaluation, Loss, Progress, TrainError, Trainee, is_cpu, program};
use crate::data::Augment;
use crate::flow::{Domain, Sampler};
use crate::io::sheet::Sheet;
use crate::io::tensors::{Precision, TensorFile};
use crate::model::card::{ModelCard, Objective, Provenance};
use crate::model::layers::Initialiser;
use crate::model::params::{self, NamedTensor, Naming};
use crate::model::precision::has_half;
use crate::model::{Dit, Model, Tokenizer, backbone_name, tokenizer_name, write_model};
use crate::rng::Stream;
use crate::room::{self, Room};

/// Columns of a sheet.
const SHEET_COLUMNS: usize = 11;
/// Most pictures of a sheet.
const SHEET_LIMIT: usize = 33;

/// State of a flow's training.
pub struct Training {
    config: RunConfig,
    task: FlowTask,
    device: Device,
    identity: Identity,
    card: ModelCard,
    tokenizer: Tokenizer,
    /// `[codes, code_size]`, in the units of the flow.
    codebook: Tensor<2>,
    data: Examples,
    holdout: Option<Examples>,
    /// How samples are judged, where they are.
    judging: Option<Judging>,
    batches: Batches,
    times: Times,
    /// Where steps compute in half precision.
    loss_scale: Option<LossScale>,
    /// Held-out pictures that the device has room for at once.
    room: Room,
}

/// What a run begins with.
pub struct Beginning<'a> {
    pub config: &'a RunConfig,
    pub task: &'a FlowTask,
    pub device: &'a Device,
    /// Asks for an end before all pictures are encoded.
    pub stop: &'a AtomicBool,
    /// The checkpoint that is to be gone on from.
    pub held: Option<&'a Held>,
}

impl Beginning<'_> {
    /// A run at its beginning: every picture is encoded, or its codes are taken from the cache.
    /// Whatever the pictures need not be encoded for is checked before they are.
    ///
    /// # Errors
    /// Pictures or tokenizer cannot be read, the sizes do not fit each other or the machine, or the
    /// checkpoint is of another run.
    pub fn training(
        &self,
        identity: Identity,
        watch: &mut dyn FnMut(&Progress),
    ) -> Result<(Training, Dit), TrainError> {
        let Self { config, task, device, stop, held } = *self;
        if task.mixed_precision && !has_half(device) {
            return Err(TrainError::NoHalf);
        }
        let check = |identity: &Identity| held.map_or(Ok(()), |held| held.check(identity));
        let start = Start::open(task)?;
        let identity = start.identified(identity);
        check(&identity)?;
        let tokenizer = start.tokenizer(device)?;
        let source =
            Source { config, task, tokenizer: &tokenizer, file: start.bytes(), device, stop };
        let (found, held_out) = source.find()?;
        let classes = source.class_names(&found, &config.data)?;
        let identity = identity.with(CLASSES, json!(classes));
        check(&identity)?;
        let held_path = config.holdout.as_ref().unwrap_or(&config.data);
        let held_out =
            held_out.map(|found| source.held_out(found, held_path, &classes)).transpose()?;
        let backbone =
            start.backbone(task, config.image_size, classes.len()).map_err(TrainError::Sizes)?;
        Need::of_backbone(&backbone, config.at_once()).check(is_cpu(device))?;
        let augment = config.augment;
        let data = source.examples(&found, &config.data, &augment, "latents.safetensors", watch)?;
        let (plain, cache) = (Augment::default(), "holdout.safetensors");
        let holdout = held_out
            .as_ref()
            .map(|found| source.examples(found, held_path, &plain, cache, watch))
            .transpose()?;
        let judged = held_out.filter(|_| config.evaluate_every.is_some());
        let judging = judged
            .map(|held| Judging::new(task.evaluation.clone(), held.into(), held_path, device))
            .transpose()?;
        let (table, size) = (tokenizer.codebook(), start.vq().code_size);
        let latent_scale = match start.model() {
            Some(model) => model.latent_scale,
            None => {
                let codes = data.typical_codes(&tokenizer, device)?;
                unit_scale(&params::host(table.clone()), size, &codes)
            }
        };
        let own = Provenance {
            program: program(),
            data: Provenance::of_pictures(data.len(), config.image_size),
            flow_steps: 0,
            tokenizer_steps: start.tokenizer_steps(),
            credits: task.credits.clone(),
        };
        let card = ModelCard {
            format: ModelCard::FORMAT,
            name: task.name.clone(),
            objective: task.objective,
            backbone,
            tokenizer: start.vq().clone(),
            class_names: classes,
            latent_scale,
            provenance: match start.model() {
                Some(model) => own.after(&model.provenance),
                None => own,
            },
        };
        task.samples.of(vec![0], config.seed).validate(&Domain::of(&card))?;
        let net = start.net(&card, config.seed, &device.clone().autodiff())?;
        let training = Training {
            batches: data.batches(config, task.shuffle_buffer),
            times: Times::new(task.times, task.time_weights, task.smallest_time),
            config: config.clone(),
            task: task.clone(),
            device: device.clone(),
            identity,
            codebook: table * latent_scale,
            card,
            tokenizer,
            data,
            holdout,
            judging,
            room: Room::default(),
            loss_scale: task.mixed_precision.then(LossScale::default),
        };
        Ok((training, net))
    }
}

impl Training {
    /// A batch, with what its codes are in the units of the flow.
    fn asked(&self, Batch { codes, labels }: Batch, stream: Stream, times: DrawnTimes) -> Asked {
        let (side, size) = (self.card.backbone.input_size, self.card.tokenizer.code_size);
        let pictures = labels.len();
        let x1 = (self.card.objective != Objective::Dfm).then(|| {
            let rows = self.codebook.clone().select(0, codes.clone());
            rows.reshape([pictures, side, side, size]).permute([0, 3, 1, 2])
        });
        Asked::all(codes, x1, labels, stream, times)
    }

    /// The figures of each held-out picture at its time.
    fn holdout_terms(
        &self,
        net: &Dit,
        holdout: &Examples,
        indices: &[usize],
        times: &[f32],
        stream: u64,
    ) -> Result<Vec<Term>, TrainError> {
        let whole = indices.len();
        let mut found = Vec::new();
        for part in room::parts(whole, self.room.share(whole)) {
            let batch = holdout.read(&indices[part.clone()], &self.tokenizer, &self.device)?;
            let times = DrawnTimes { times: times.to_vec(), weights: None };
            let asked = self.asked(batch, Stream::new(self.config.seed, stream), times);
            let asked = Asked { whole, part, ..asked };
            found.extend(asked.terms(net, &self.card, &self.device));
        }
        Ok(found)
    }

    /// The network with its averaged weights, for sampling.
    fn averaged(&self, optimiser: &AdamW) -> Result<Dit, TrainError> {
        let blank = Dit::new(&self.card.backbone, &mut Initialiser::blank(&self.device));
        optimiser.load_averages(blank, backbone_name, &self.device)
    }

    /// The model that a network makes.
    fn model_of(&self, net: Dit) -> Model {
        Model::assemble(self.card.clone(), net, self.tokenizer.clone(), &self.device)
    }

    /// The figures on held-out pictures; nothing if `stop` is asked for before they are there.
    fn held_out(&self, net: &Dit, stop: &AtomicBool) -> Result<Option<Line>, TrainError> {
        let Some(holdout) = &self.holdout else { return Ok(Some(Line::new())) };
        let indices = held_out::spread(holdout.len(), held_out::PICTURES.min(holdout.len()));
        let labels: Vec<usize> = indices.iter().map(|index| holdout.label(*index)).collect();
        let times = held_out::times(&labels, self.task.smallest_time);
        let mut terms = Vec::new();
        let batches = indices.chunks(held_out::BATCH).zip(times.chunks(held_out::BATCH));
        for (i, (indices, times)) in batches.enumerate() {
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            terms.extend(self.room.within(&self.device, indices.len(), || {
                self.holdout_terms(net, holdout, indices, times, held_out::STREAMS + i as u64)
            })?);
        }
        Ok(Some(held_out::figures(&terms, &self.card.class_names)))
    }
}

impl Trainee for Training {
    type Net = Dit;

    const NAMING: Naming = backbone_name;
    const PRODUCT: &'static str = "model";

    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn loss(&mut self, net: &Dit, step: usize, part: Range<usize>) -> Result<Loss, TrainError> {
        let (tokenizer, device) = (&self.tokenizer, &self.device);
        let mut stream = Stream::new(self.config.seed, step as u64);
        let times = self.times.draw_step(self.config.batch, &mut stream);
        let batch = self.batches.part(step, part.clone(), &self.data, tokenizer, device)?;
        let (whole, each) = (self.config.batch, self.times.learns());
        let label_dropout = self.task.label_dropout;
        let asked = Asked { whole, each, label_dropout, part, ..self.asked(batch, stream, times) };
        let halved = self.loss_scale.is_some().then(|| params::halved(net, is_large));
        let net = halved.as_ref().unwrap_or(net);
        let autodiff = self.device.clone().autodiff();
        Ok(asked.loss(net, &self.card, self.task.lambda_z, &autodiff))
    }

    fn loss_scale(&mut self) -> Option<&mut LossScale> {
        self.loss_scale.as_mut()
    }

    fn note(&mut self, losses: &[f32]) {
        self.times.note_step(losses);
    }

    fn extra(&self) -> Vec<NamedTensor> {
        let scale = self.loss_scale.as_ref().map(|scale| scale.to_tensor());
        scale.into_iter().chain(self.times.to_tensor()).collect()
    }

    fn restore_extra(&mut self, file: &TensorFile) -> Result<(), TrainError> {
        if let Some(scale) = &mut self.loss_scale {
            *scale = LossScale::read(file)?;
        }
        self.times.restore(file)
    }

    fn evaluate(
        &mut self,
        _: &Dit,
        optimiser: &AdamW,
        stop: &AtomicBool,
    ) -> Result<Option<Evaluation>, TrainError> {
        let net = self.averaged(optimiser)?;
        let Some(figures) = self.held_out(&net, stop)? else { return Ok(None) };
        let model = self.model_of(net);
        let sheet = sheet_of(&model, &self.task.samples, self.config.seed, stop)?;
        Ok(sheet.map(|sheet| Evaluation { sheet, figures }))
    }

    fn judge(&mut self, _: &Dit, optimiser: &AdamW, stop: &AtomicBool) -> Result<Line, TrainError> {
        let model = self.model_of(self.averaged(optimiser)?);
        let (samples, seed) = (&self.task.samples, self.config.seed);
        self.judging.as_mut().map_or(Ok(Line::new()), |it| it.judge(&model, samples, seed, stop))
    }

    fn merit(figures: &BTreeMap<String, f64>) -> Option<f64> {
        held_out::merit(figures)
    }

    fn export(&mut self, _: &Dit, optimiser: &AdamW, file: &Path) -> Result<(), TrainError> {
        let mut card = self.card.clone();
        card.provenance.flow_steps += optimiser.updates();
        let tokenizer = params::collect(&self.tokenizer, tokenizer_name);
        let backbone: Vec<NamedTensor> = optimiser.averages();
        if self.task.precision == Precision::F16 {
            fit_half(&backbone)?;
        }
        Ok(write_model(file, &card, backbone.iter().chain(&tokenizer), self.task.precision)?)
    }
}

/// Whether products with a weight of the backbone are taken in half precision: in the blocks and at both
/// ends, but not where time, class and codes are embedded.
fn is_large(path: &str) -> bool {
    let kept = ["t_embedder.", "y_embedder.", "x_pre_embedder."];
    path.ends_with("weight") && !kept.iter().any(|part| path.starts_with(part))
}

/// A sheet of samples, of the first classes; nothing if `stop` is asked for before it is there.
pub(super) fn sheet_of(
    model: &Model,
    samples: &SheetSettings,
    seed: u64,
    stop: &AtomicBool,
) -> Result<Option<RgbImage>, TrainError> {
    let labels = (0..model.card.backbone.num_classes.min(SHEET_LIMIT)).collect();
    let settings = samples.of(labels, seed);
    let count = settings.labels.len();
    let mut sampler = Sampler::new(model, settings, None)?;
    while sampler.next().is_some() {
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
    }
    let pictures = model.decode_codes(&sampler.codes(), count);
    Ok(Some(Sheet::rows_of(SHEET_COLUMNS).arrange(&pictures)))
}

/// That no weight becomes infinite in two bytes.
pub(super) fn fit_half(tensors: &[NamedTensor]) -> Result<(), TrainError> {
    let most = f16::MAX.to_f32();
    let large = tensors.iter().find(|tensor| tensor.values.iter().any(|value| value.abs() > most));
    large.map_or(Ok(()), |NamedTensor { name, .. }| {
        Err(TrainError::Sizes(format!(
            "'{name}' has numbers beyond {most}, which two bytes do not hold: take task.precision = \"f32\""
        )))
    })
}

/// `1 / rms` of the latents that `codes` stand for, which gives the data end unit variance.
fn unit_scale(table: &[f32], size: usize, codes: &[i64]) -> f32 {
    let squares: Vec<f64> = table
        .chunks_exact(size)
        .map(|row| row.iter().map(|value| f64::from(*value).powi(2)).sum())
        .collect();
    let total: f64 = codes.iter().map(|code| squares[*code as usize]).sum();
    (total / (codes.len() * size) as f64).max(1e-12).sqrt().recip() as f32
}
