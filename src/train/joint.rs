//! Training of a flow and its tokenizer together, from where a finished model left them.
//!
//! Pictures are encoded anew at every step, so that the flow follows the codes as they move. How much of the flow's own
//! gradient moves the codes in turn is a choice: cross-entropy is made small by codes that are easily told apart, whatever
//! they stand for.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use image::RgbImage;
use serde_json::json;

use super::answer::Asked;
use super::checkpoint::{Held, Identity, MODEL};
use super::config::{JointTask, RunConfig};
use super::examples::{ahead, folders};
use super::flow::{fit_half, sheet_of};
use super::held_out;
use super::judging::Judging;
use super::memory::Need;
use super::metrics::Line;
use super::optimiser::AdamW;
use super::times::{DrawnTimes, Times};
use super::tokenizer::{self, Planes, TokenizerLoss, VARIATION_STREAMS, psnr, tokenizer_loss};
use super::{Evaluation, Loss, TrainError, Trainee, is_cpu, program};
use crate::data::{Ahead, DataError, EpochOrder, ImageFolder};
use crate::flow::Domain;
use crate::io::digest;
use crate::io::tensors::{Precision, TensorFile};
use crate::judge;
use crate::model::card::{ModelCard, Objective, Provenance};
use crate::model::layers::Initialiser;
use crate::model::params::{self, NamedTensor, Naming};
use crate::model::{
    Dit, Model, Tokenizer, backbone_name, file_of, planes, read_whole_card, tokenizer_name,
    write_model,
};
use crate::rng::Stream;
use crate::say::list;

/// A flow and its tokenizer.
#[derive(Module, Debug)]
pub struct Both {
    backbone: Dit,
    tokenizer: Tokenizer,
}

impl Both {
    fn blank(card: &ModelCard, device: &Device) -> Self {
        let mut init = Initialiser::blank(device);
        let backbone = Dit::new(&card.backbone, &mut init);
        Self { backbone, tokenizer: Tokenizer::new(&card.tokenizer, &mut init) }
    }
}

/// Names as model files have them.
fn name_in_files(path: &str) -> String {
    match path.split_once('.') {
        Some(("backbone", rest)) => backbone_name(rest),
        Some((_, rest)) => tokenizer_name(rest),
        None => path.to_owned(),
    }
}

/// The pictures of a step, and their labels.
struct Shown {
    planes: Planes,
    labels: Vec<usize>,
}

/// State of a joint training.
pub struct Training {
    config: RunConfig,
    task: JointTask,
    device: Device,
    identity: Identity,
    card: ModelCard,
    holdout: Option<Arc<ImageFolder>>,
    /// How samples are judged, where they are.
    judging: Option<Judging>,
    batches: Ahead<Shown, DataError>,
    times: Times,
}

impl Training {
    /// A run at its beginning.
    ///
    /// # Errors
    /// Pictures or model cannot be read, they do not fit each other or the machine, or the checkpoint is of another run.
    pub fn new(
        config: &RunConfig,
        task: &JointTask,
        device: &Device,
        identity: Identity,
        stop: &AtomicBool,
        held: Option<&Held>,
    ) -> Result<(Self, Both), TrainError> {
        let file = TensorFile::open(&file_of(&task.model))?;
        let card = card_of(&file, task, config.image_size)?;
        let identity = identity.with(MODEL, json!(digest::whole(file.bytes())));
        held.map_or(Ok(()), |held| held.check(&identity))?;
        Need::of_backbone(&card.backbone, config.at_once()).check(is_cpu(device))?;
        let autodiff = device.clone().autodiff();
        let net =
            params::load(Both::blank(&card, &autodiff), name_in_files, &autodiff, |n, shape| {
                file.floats_of_shape(n, shape)
            })?;
        let (images, holdout) = folders(config, stop)?;
        let known = |images: ImageFolder| -> Result<Arc<ImageFolder>, TrainError> {
            match images.relabelled(&card.class_names) {
                (images, unknown) if unknown.is_empty() => Ok(Arc::new(images)),
                (_, unknown) => Err(TrainError::Sizes(format!(
                    "{}: the model has no class {}",
                    config.data.display(),
                    list(&unknown)
                ))),
            }
        };
        let images = known(images)?;
        let holdout = holdout.map(known).transpose()?;
        let labels: Vec<usize> = images.files().map(|(_, label)| label).collect();
        let order = EpochOrder::balanced(config.seed, &labels, config.balance);
        let (folder, augment, seed) = (Arc::clone(&images), config.augment, config.seed);
        let batches = ahead(config, order, move |first, indices| {
            let stream = |place| Stream::new(seed, VARIATION_STREAMS + (first + place) as u64);
            let labels = indices.iter().map(|index| labels[*index]).collect();
            Ok(Shown {
                planes: Planes(planes(&folder.varied(&indices, &augment, stream)?)),
                labels,
            })
        });
        let path = config.holdout.as_ref().unwrap_or(&config.data);
        let judged = holdout.clone().filter(|_| config.evaluate_every.is_some());
        let judging = judged.map(|held| {
            Judging::new(task.evaluation.clone(), judge::Found::Folder(held), path, device)
        });
        let training = Self {
            times: Times::new(task.times, task.time_weights, task.smallest_time),
            config: config.clone(),
            task: task.clone(),
            device: device.clone(),
            identity,
            judging: judging.transpose()?,
            holdout,
            card,
            batches,
        };
        Ok((training, net))
    }

    /// The network of the averaged weights, and the model that it makes with their tokenizer.
    fn averaged(&self, optimiser: &AdamW) -> Result<(Dit, Model), TrainError> {
        let blank = Both::blank(&self.card, &self.device);
        let Both { backbone, tokenizer } =
            optimiser.load_averages(blank, name_in_files, &self.device)?;
        let card = self.card.clone();
        Ok((backbone.clone(), Model::assemble(card, backbone, tokenizer, &self.device)))
    }

    /// The figures on held-out pictures; nothing if `stop` is asked for before they are there.
    fn held_out(
        &self,
        model: &Model,
        backbone: &Dit,
        stop: &AtomicBool,
    ) -> Result<Option<Line>, TrainError> {
        let Some(holdout) = &self.holdout else { return Ok(Some(Line::new())) };
        let indices = held_out::spread(holdout.len(), held_out::PICTURES.min(holdout.len()));
        let (pictures, labels): (Vec<RgbImage>, Vec<usize>) =
            holdout.pictures(&indices)?.into_iter().unzip();
        let times = held_out::times(&labels, self.task.smallest_time);
        let (mut terms, mut likeness) = (Vec::new(), 0.0);
        for (i, pictures) in pictures.chunks(held_out::BATCH).enumerate() {
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let of = i * held_out::BATCH..i * held_out::BATCH + pictures.len();
            let codes = model.encode(pictures);
            let made = model.decode_codes(&codes, pictures.len());
            likeness += pictures.iter().zip(&made).map(|(a, b)| psnr(a, b)).sum::<f64>();
            let x1 = model.upload(&model.look_up(&codes, pictures.len()));
            let codes: Vec<i64> = codes.into_iter().map(i64::from).collect();
            let codes = Tensor::from_data(codes.as_slice(), &self.device);
            let stream = Stream::new(self.config.seed, held_out::STREAMS + i as u64);
            let times = DrawnTimes { times: times[of.clone()].to_vec(), weights: None };
            let asked = Asked::all(codes, Some(x1), labels[of].to_vec(), stream, times);
            terms.extend(asked.terms(backbone, &self.card, &self.device));
        }
        let mut line = held_out::figures(&terms, &self.card.class_names);
        line.insert(tokenizer::HELD_OUT.to_owned(), json!(likeness / pictures.len() as f64));
        Ok(Some(line))
    }
}

/// What a model says of itself, if it can be gone on with.
fn card_of(file: &TensorFile, task: &JointTask, size: usize) -> Result<ModelCard, TrainError> {
    let found = read_whole_card(file)?;
    let refused = |reason: String| {
        TrainError::Sizes(format!("task.model: {}: {reason}", file.path().display()))
    };
    if found.image_size() != size {
        return Err(refused(format!("is for pictures of {0}x{0}", found.image_size())));
    }
    if found.objective == Objective::Dfm {
        return Err(refused(
            "a dfm network sees numbers of codes: nothing of it reaches them".into(),
        ));
    }
    let card = ModelCard { name: task.name.clone(), ..found };
    task.samples.of(vec![0], 0).validate(&Domain::of(&card))?;
    Ok(card)
}

impl Trainee for Training {
    type Net = Both;

    const NAMING: Naming = name_in_files;
    const PRODUCT: &'static str = "model";

    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn loss(&mut self, net: &Both, step: usize, part: Range<usize>) -> Result<Loss, TrainError> {
        let device = self.device.clone().autodiff();
        let Shown { planes, labels } = self.batches.of(step)?;
        let images = planes.part(part.clone(), self.config.image_size, &device);
        let labels = labels[part.clone()].to_vec();
        let TokenizerLoss { loss: own, latents, codes, .. } = tokenizer_loss(
            &net.tokenizer,
            images,
            self.task.losses,
            self.task.flow_gradient != 0.0,
        );
        let x1 = match self.task.flow_gradient {
            0.0 => net.tokenizer.valid().look_up(codes.clone()),
            share => {
                let chosen = net.tokenizer.look_up(Tensor::from_inner(codes.clone()));
                // Codes as they are; what is learned of them goes to their table, and past the choice to the latents.
                let both = chosen + latents.clone() - latents.detach();
                both.clone() * share + both.detach() * (1.0 - share)
            }
        };
        let tokens = codes.shape().num_elements();
        let codes = codes.reshape([tokens]);
        let mut stream = Stream::new(self.config.seed, step as u64);
        let times = self.times.draw_step(self.config.batch, &mut stream);
        let x1 = x1 * self.card.latent_scale;
        let asked = Asked::all(codes, Some(x1), labels, stream, times);
        let (whole, each) = (self.config.batch, self.times.learns());
        let asked = Asked { whole, each, label_dropout: self.task.label_dropout, part, ..asked };
        let mut loss = asked.loss(&net.backbone, &self.card, self.task.lambda_z, &device);
        loss.total = loss.total + own.total * self.task.tokenizer_weight;
        loss.terms.extend(own.terms);
        Ok(loss)
    }

    fn note(&mut self, losses: &[f32]) {
        self.times.note_step(losses);
    }

    fn extra(&self) -> Vec<NamedTensor> {
        self.times.to_tensor().into_iter().collect()
    }

    fn restore_extra(&mut self, file: &TensorFile) -> Result<(), TrainError> {
        self.times.restore(file)
    }

    fn evaluate(
        &mut self,
        _: &Both,
        optimiser: &AdamW,
        stop: &AtomicBool,
    ) -> Result<Option<Evaluation>, TrainError> {
        let (backbone, model) = self.averaged(optimiser)?;
        let Some(figures) = self.held_out(&model, &backbone, stop)? else { return Ok(None) };
        let sheet = sheet_of(&model, &self.task.samples, self.config.seed, stop)?;
        Ok(sheet.map(|sheet| Evaluation { sheet, figures }))
    }

    fn judge(
        &mut self,
        _: &Both,
        optimiser: &AdamW,
        stop: &AtomicBool,
    ) -> Result<Line, TrainError> {
        let (_, model) = self.averaged(optimiser)?;
        let (samples, seed) = (&self.task.samples, self.config.seed);
        self.judging.as_mut().map_or(Ok(Line::new()), |it| it.judge(&model, samples, seed, stop))
    }

    fn merit(figures: &BTreeMap<String, f64>) -> Option<f64> {
        held_out::merit(figures)
    }

    fn export(&mut self, _: &Both, optimiser: &AdamW, file: &Path) -> Result<(), TrainError> {
        let mut card = self.card.clone();
        let Provenance { flow_steps, tokenizer_steps, .. } = self.card.provenance;
        card.provenance = Provenance {
            program: program(),
            flow_steps: flow_steps + optimiser.updates(),
            tokenizer_steps: tokenizer_steps + optimiser.updates(),
            credits: self.task.credits.clone(),
            ..card.provenance
        };
        let tensors = optimiser.averages();
        if self.task.precision == Precision::F16 {
            fit_half(&tensors)?;
        }
        Ok(write_model(file, &card, tensors.iter(), self.task.precision)?)
    }
}
