//! Training of the flow on the codes of a finished tokenizer.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::{Device, Int, Tensor, TensorData};
use half::f16;
use serde_json::json;

use super::checkpoint::{CLASSES, Held, Identity, TOKENIZER};
use super::config::{FlowTask, RunConfig};
use super::examples::{Batch, Batches, Examples, Source};
use super::held_out::{self, Term};
use super::judging::Judging;
use super::memory::Need;
use super::metrics::Line;
use super::optimiser::AdamW;
use super::scale::LossScale;
use super::times::{DrawnTimes, Times};
use super::{Evaluation, Loss, Progress, TrainError, Trainee, is_cpu, program};
use crate::data::Augment;
use crate::flow::{
    Domain, FlowLoss, Sampler, code_loss, endpoint_loss, masked_codes, path_point,
    weighted_code_loss, weighted_endpoint_loss,
};
use crate::io::digest;
use crate::io::sheet::Sheet;
use crate::io::tensors::{Precision, TensorFile};
use crate::kernels;
use crate::model::card::{ModelCard, Objective, Provenance, TokenizerCard};
use crate::model::layers::Initialiser;
use crate::model::params::{self, NamedTensor, Naming};
use crate::model::precision::has_half;
use crate::model::{
    Dit, Model, Tokenizer, backbone_name, read_tokenizer, read_tokenizer_card, tokenizer_name,
    write_model,
};
use crate::readback::Together;
use crate::rng::Stream;
use crate::room::{self, Room};

/// Held-out pictures that the loss is taken of at once.
const HOLDOUT_BATCH: usize = 64;
/// Columns of a sheet.
const SHEET_COLUMNS: usize = 11;
/// Most pictures of a sheet.
const SHEET_LIMIT: usize = 33;
/// Held-out pictures that the loss is taken on.
const HOLDOUT: usize = 256;
/// Streams of the seed from here on belong to held-out pictures.
const HOLDOUT_STREAMS: u64 = 1 << 60;

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
    /// Times of the step in hand, part by part.
    latest: Vec<f32>,
    /// Where steps compute in half precision.
    loss_scale: Option<LossScale>,
    /// Held-out pictures that the device has room for at once.
    room: Room,
}

/// Pictures that a loss is taken on.
struct Drawn {
    /// Those of the part.
    batch: Batch,
    /// What is drawn for all pictures besides their times, and their number.
    stream: Stream,
    whole: usize,
    times: DrawnTimes,
    /// Whether every picture's loss is wanted.
    each: bool,
    label_dropout: f64,
    /// Those of all that it is taken on.
    part: Range<usize>,
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
        let (file, vq) = open_tokenizer(&task.tokenizer)?;
        let identity = identity.with(TOKENIZER, json!(digest::whole(file.bytes())));
        check(&identity)?;
        let tokenizer = read_tokenizer(&file, &vq.tokenizer, device)?;
        let source =
            Source { config, task, tokenizer: &tokenizer, file: file.bytes(), device, stop };
        let (found, held_out) = source.find()?;
        let classes = source.class_names(&found, &config.data)?;
        let identity = identity.with(CLASSES, json!(classes));
        check(&identity)?;
        let held_path = config.holdout.as_ref().unwrap_or(&config.data);
        let held_out =
            held_out.map(|found| source.held_out(found, held_path, &classes)).transpose()?;
        let backbone = task
            .backbone
            .complete(task.objective, &vq.tokenizer, config.image_size, classes.len())
            .map_err(TrainError::Sizes)?;
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
            .map(|held| Judging::new(task.evaluation.clone(), held, held_path, device))
            .transpose()?;
        let table = tokenizer.codebook();
        let codes = data.typical_codes(&tokenizer, device)?;
        let latent_scale = unit_scale(&params::host(table.clone()), vq.tokenizer.code_size, &codes);
        let card = ModelCard {
            format: ModelCard::FORMAT,
            name: task.name.clone(),
            objective: task.objective,
            backbone,
            tokenizer: vq.tokenizer,
            class_names: classes,
            latent_scale,
            provenance: Provenance {
                program: program(),
                data: Provenance::of_pictures(data.len(), config.image_size),
                flow_steps: 0,
                tokenizer_steps: vq.steps,
                credits: task.credits.clone(),
            },
        };
        task.sheet(vec![0], config.seed).validate(&Domain::of(&card))?;
        let autodiff = device.clone().autodiff();
        let net = Dit::new(&card.backbone, &mut Initialiser::new(config.seed, &autodiff));
        let training = Training {
            batches: data.batches(config, task.shuffle_buffer),
            times: Times::new(task.times, task.time_weights, task.smallest_time),
            latest: Vec::new(),
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

/// The file of a finished tokenizer run, and what it says of itself.
fn open_tokenizer(path: &Path) -> Result<(TensorFile, TokenizerCard), TrainError> {
    let fault = |reason: String| TrainError::NotATokenizer { reason };
    let file = TensorFile::open(path)
        .map_err(|error| fault(format!("{error} (expected the tokenizer.safetensors of a run)")))?;
    let card = read_tokenizer_card(&file).map_err(|error| fault(error.to_string()))?;
    Ok((file, card))
}

impl Training {
    /// Loss on a part of given pictures.
    fn loss_on(&self, net: &Dit, drawn: Drawn, device: &Device) -> Loss {
        let weights = match &drawn.times.weights {
            Some(weights) => Some(weights[drawn.part.clone()].to_vec()),
            None => drawn.each.then(|| vec![1.0; drawn.part.len()]),
        };
        let weights = weights.map(|weights| Tensor::<1>::from_floats(weights.as_slice(), device));
        let lambda_z = self.task.lambda_z;
        match (self.answer_on(net, drawn, device), weights) {
            (Answer::Codes { logits, codes }, Some(weights)) => {
                weighted_code_loss(logits, codes, lambda_z, weights).into()
            }
            (Answer::Codes { logits, codes }, None) => code_loss(logits, codes, lambda_z).into(),
            (Answer::Point { output, target }, Some(weights)) => {
                weighted_endpoint_loss(output, target, weights).into()
            }
            (Answer::Point { output, target }, None) => endpoint_loss(output, target).into(),
        }
    }

    /// What the network answers for a part of given pictures, with noise and dropped labels drawn from their stream for
    /// all of them, whatever the part.
    fn answer_on(
        &self,
        net: &Dit,
        Drawn {
            batch: Batch { codes, labels }, mut stream, whole, times, label_dropout, part, ..
        }: Drawn,
        device: &Device,
    ) -> Answer {
        let batch = part.len();
        let (side, size) = (self.card.backbone.input_size, self.card.tokenizer.code_size);
        let of_part = |each: usize| part.start * each..part.end * each;
        let t = &times.times[part.clone()];
        let no_label = self.card.backbone.num_classes;
        let dropped: Vec<bool> = (0..whole).map(|_| stream.uniform() < label_dropout).collect();
        let labels: Vec<i64> = labels
            .into_iter()
            .zip(&dropped[part.clone()])
            .map(|(label, dropped)| if *dropped { no_label } else { label } as i64)
            .collect();
        let classes = Tensor::<1, Int>::from_data(labels.as_slice(), device);
        let objective = self.card.objective;
        if objective == Objective::Dfm {
            let masked = self.card.tokenizer.codes as i64;
            let chances: Vec<f64> = (0..whole * side * side).map(|_| stream.uniform()).collect();
            let chances = &chances[of_part(side * side)];
            let codes = if device.is_autodiff() { codes.autodiff() } else { codes };
            let state = masked_codes(codes.clone(), chances, t, masked);
            let x = net.embed_codes(state.reshape([batch, side, side]));
            let logits = x.map(|x| net.forward_in_patches(x, t, classes));
            // The configuration that was made for this objective embeds codes.
            let logits = logits.unwrap_or_else(|| unreachable!("a dfm network embeds codes"));
            return self.codes_answer(logits, net.in_patches(codes));
        }
        let numbers = size * side * side;
        let noise = stream.normals(whole * numbers)[of_part(numbers)].to_vec();
        let inner = &self.device;
        let x1 = self
            .codebook
            .clone()
            .select(0, codes.clone())
            .reshape([batch, side, side, size])
            .permute([0, 3, 1, 2]);
        let x0 = Tensor::<4>::from_data(TensorData::new(noise, [batch, size, side, side]), inner);
        let x = path_point(x0.clone(), x1.clone(), Tensor::from_floats(t, inner));
        let autodiff = device.is_autodiff();
        let moved = |tensor: Tensor<4>| if autodiff { tensor.autodiff() } else { tensor };
        let output = |x: Tensor<4>| net.forward(moved(x), t, classes.clone());
        match objective {
            Objective::Cfm => Answer::Point { output: output(x), target: moved(x1 - x0) },
            Objective::CfmEndpoint => Answer::Point { output: output(x), target: moved(x1) },
            Objective::Purrception | Objective::Dfm => {
                let logits = net.forward_in_patches(moved(x), t, classes);
                let codes = if autodiff { codes.autodiff() } else { codes };
                self.codes_answer(logits, net.in_patches(codes))
            }
        }
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
            let pictures = times[part.clone()].iter().copied().zip(batch.labels.clone());
            let pictures: Vec<(f32, usize)> = pictures.collect();
            let drawn = Drawn {
                batch,
                stream: Stream::new(self.config.seed, stream),
                whole,
                times: DrawnTimes { times: times.to_vec(), weights: None },
                each: true,
                label_dropout: 0.0,
                part,
            };
            let terms = self.answer_on(net, drawn, &self.device).terms(pictures.len());
            found.extend(
                pictures.into_iter().zip(terms).map(|((t, label), (loss, posterior))| Term {
                    t,
                    label,
                    loss,
                    posterior,
                }),
            );
        }
        Ok(found)
    }

    /// The answer of logits as [`Dit::forward_in_patches`] gives them for the codes of all tokens in the same order.
    fn codes_answer(&self, logits: Tensor<3>, codes: Tensor<1, Int>) -> Answer {
        let (tokens, channels) = (codes.dims()[0], self.card.backbone.out_channels);
        Answer::Codes { logits: logits.reshape([tokens, channels]), codes }
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
        let count = HOLDOUT.min(holdout.len());
        let spread = holdout.len() as f64 / count as f64;
        let indices: Vec<usize> = (0..count).map(|i| (i as f64 * spread) as usize).collect();
        let labels: Vec<usize> = indices.iter().map(|index| holdout.label(*index)).collect();
        let times = held_out::times(&labels, self.task.smallest_time);
        let mut terms = Vec::new();
        let batches = indices.chunks(HOLDOUT_BATCH).zip(times.chunks(HOLDOUT_BATCH));
        for (i, (indices, times)) in batches.enumerate() {
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            terms.extend(self.room.within(&self.device, indices.len(), || {
                self.holdout_terms(net, holdout, indices, times, HOLDOUT_STREAMS + i as u64)
            })?);
        }
        let name = held_out::LOSS[usize::from(!self.card.objective.has_posterior())];
        Ok(Some(held_out::figures(name, &terms, &self.card.class_names)))
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
        let times = self.times.draw(self.config.batch, &mut stream);
        if part.start == 0 {
            self.latest.clear();
        }
        self.latest.extend_from_slice(&times.times[part.clone()]);
        let drawn = Drawn {
            batch: self.batches.part(step, part.clone(), &self.data, tokenizer, device)?,
            stream,
            whole: self.config.batch,
            times,
            each: self.times.learns(),
            label_dropout: self.task.label_dropout,
            part,
        };
        let halved = self.loss_scale.is_some().then(|| params::halved(net, is_large));
        let net = halved.as_ref().unwrap_or(net);
        Ok(self.loss_on(net, drawn, &self.device.clone().autodiff()))
    }

    fn loss_scale(&mut self) -> Option<&mut LossScale> {
        self.loss_scale.as_mut()
    }

    fn note(&mut self, losses: &[f32]) {
        self.times.note(&self.latest, losses);
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
        let labels = (0..self.card.backbone.num_classes.min(SHEET_LIMIT)).collect();
        let settings = self.task.sheet(labels, self.config.seed);
        let count = settings.labels.len();
        let mut sampler = Sampler::new(&model, settings, None)?;
        while sampler.next().is_some() {
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
        }
        let pictures = model.decode_codes(&sampler.codes(), count);
        Ok(Some(Evaluation { sheet: Sheet::rows_of(SHEET_COLUMNS).arrange(&pictures), figures }))
    }

    fn judge(
        &mut self,
        _: &Dit,
        optimiser: &AdamW,
        stop: &AtomicBool,
    ) -> Result<Option<Line>, TrainError> {
        if self.judging.is_none() {
            return Ok(None);
        }
        let model = self.model_of(self.averaged(optimiser)?);
        let (task, seed) = (&self.task, self.config.seed);
        let judging = self.judging.as_mut();
        judging.map_or(Ok(None), |it| it.judge(&model, |labels| task.sheet(labels, seed), stop))
    }

    fn merit(figures: &BTreeMap<String, f64>) -> Option<f64> {
        held_out::LOSS.iter().find_map(|name| figures.get(*name)).map(|loss| -loss)
    }

    fn export(&mut self, _: &Dit, optimiser: &AdamW, file: &Path) -> Result<(), TrainError> {
        let mut card = self.card.clone();
        card.provenance.flow_steps = optimiser.updates();
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

/// What a network answers, and what is true.
enum Answer {
    /// `[batch * tokens, codes]` and `[batch * tokens]`, picture after picture.
    Codes { logits: Tensor<2>, codes: Tensor<1, Int> },
    /// `[batch, tokens, channels]` and `[batch, channels, height, width]`.
    Point { output: Tensor<3>, target: Tensor<4> },
}

impl Answer {
    /// Of each of so many pictures: the first term of the loss and, of a posterior, the share of tokens whose true code
    /// is the likeliest and the mean of log Z.
    fn terms(self, pictures: usize) -> Vec<(f32, Option<[f32; 2]>)> {
        match self {
            Self::Codes { logits, codes } => {
                let tokens = codes.dims()[0] / pictures.max(1);
                let right = logits.clone().argmax(1).reshape([-1]).equal(codes.clone()).float();
                let terms = kernels::code_loss(logits, codes);
                let mean = |column: Tensor<1>| {
                    column.reshape([pictures, tokens]).mean_dim(1).reshape([pictures])
                };
                let column = |at: usize| terms.clone().narrow(1, at, 1).reshape([-1]);
                let together = Together::default().with(mean(column(0))).with(mean(right));
                let mut read = together.with(mean(column(1))).read();
                let (losses, right, log_z) = (read.floats(), read.floats(), read.floats());
                let posterior = right.into_iter().zip(log_z).map(|(right, z)| Some([right, z]));
                losses.into_iter().zip(posterior).collect()
            }
            Self::Point { output, target } => {
                let weights = Tensor::ones([pictures], &output.device());
                let (_, each) = weighted_endpoint_loss(output, target, weights);
                params::host(each).into_iter().map(|loss| (loss, None)).collect()
            }
        }
    }
}

impl From<(FlowLoss, Tensor<1>)> for Loss {
    fn from((loss, each): (FlowLoss, Tensor<1>)) -> Self {
        Self { each: Some(each.inner()), ..loss.into() }
    }
}

impl From<FlowLoss> for Loss {
    fn from(loss: FlowLoss) -> Self {
        let terms = match loss.mean_log_z_squared {
            Some(log_z) => {
                vec![("cross_entropy", loss.data_term), ("mean_log_z_squared", log_z)]
            }
            None => vec![("squared_error", loss.data_term)],
        };
        Self { total: loss.total, terms, codes: None, each: None }
    }
}

/// That no weight becomes infinite in two bytes.
fn fit_half(tensors: &[NamedTensor]) -> Result<(), TrainError> {
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
