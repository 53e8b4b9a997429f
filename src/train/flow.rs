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
use super::memory::Need;
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
use crate::model::card::{ModelCard, Objective, Provenance, TokenizerCard};
use crate::model::layers::Initialiser;
use crate::model::params::{self, NamedTensor, Naming};
use crate::model::precision::has_half;
use crate::model::{
    Dit, Model, Tokenizer, backbone_name, read_tokenizer, read_tokenizer_card, tokenizer_name,
    write_model,
};
use crate::rng::Stream;
use crate::room::{self, Room};

/// The loss on held-out pictures, of objectives that predict codes and of the others.
const HELD_OUT: [&str; 2] = ["holdout_cross_entropy", "holdout_squared_error"];
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
        let data = source.examples(found, &config.data, &augment, "latents.safetensors", watch)?;
        let (plain, cache) = (Augment::default(), "holdout.safetensors");
        let holdout = held_out
            .map(|found| source.examples(found, held_path, &plain, cache, watch))
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
    /// Loss on a part of given pictures, with times, noise and dropped labels drawn from `stream`, for all
    /// of them, whatever the part.
    fn loss_on(
        &self,
        net: &Dit,
        Drawn {
            batch: Batch { codes, labels },
            mut stream,
            whole,
            times,
            each,
            label_dropout,
            part,
        }: Drawn,
        device: &Device,
    ) -> Loss {
        let batch = part.len();
        let (side, size) = (self.card.backbone.input_size, self.card.tokenizer.code_size);
        let of_part = |each: usize| part.start * each..part.end * each;
        let DrawnTimes { times, weights } = times;
        let t = &times[part.clone()];
        let weights = match weights {
            Some(weights) => Some(weights[part.clone()].to_vec()),
            None => each.then(|| vec![1.0; batch]),
        };
        let weights = weights.map(|weights| Tensor::<1>::from_floats(weights.as_slice(), device));
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
            return self.code_loss(logits, net.in_patches(codes), weights);
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
            Objective::Cfm => squared_loss(output(x), moved(x1 - x0), weights),
            Objective::CfmEndpoint => squared_loss(output(x), moved(x1), weights),
            Objective::Purrception | Objective::Dfm => {
                let logits = net.forward_in_patches(moved(x), t, classes);
                let codes = if autodiff { codes.autodiff() } else { codes };
                self.code_loss(logits, net.in_patches(codes), weights)
            }
        }
    }

    /// The time and the first term of the loss of each held-out picture.
    fn holdout_terms(
        &self,
        net: &Dit,
        holdout: &Examples,
        indices: &[usize],
        stream: u64,
    ) -> Result<Vec<(f32, f32)>, TrainError> {
        let whole = indices.len();
        let mut found = Vec::new();
        for part in room::parts(whole, self.room.share(whole)) {
            let mut stream = Stream::new(self.config.seed, stream);
            let times = self.times.even().draw(whole, &mut stream);
            let t = times.times[part.clone()].to_vec();
            let batch = holdout.read(&indices[part.clone()], &self.tokenizer, &self.device)?;
            let drawn = Drawn { batch, stream, whole, times, each: true, label_dropout: 0.0, part };
            let each =
                self.loss_on(net, drawn, &self.device).each.map_or_else(Vec::new, params::host);
            found.extend(t.into_iter().zip(each));
        }
        Ok(found)
    }

    /// The loss of logits as [`Dit::forward_in_patches`] gives them for the codes of all tokens in the same
    /// order, each picture's counting for its weight, if they have any.
    fn code_loss(
        &self,
        logits: Tensor<3>,
        codes: Tensor<1, Int>,
        weights: Option<Tensor<1>>,
    ) -> Loss {
        let (tokens, channels) = (codes.dims()[0], self.card.backbone.out_channels);
        let (logits, lambda_z) = (logits.reshape([tokens, channels]), self.task.lambda_z);
        match weights {
            Some(weights) => weighted_code_loss(logits, codes, lambda_z, weights).into(),
            None => code_loss(logits, codes, lambda_z).into(),
        }
    }

    /// The network with its averaged weights, for sampling.
    fn averaged(&self, optimiser: &AdamW) -> Result<Dit, TrainError> {
        let blank = Dit::new(&self.card.backbone, &mut Initialiser::blank(&self.device));
        optimiser.load_averages(blank, backbone_name, &self.device)
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
        let mut figures = Vec::new();
        if let Some(holdout) = &self.holdout {
            let count = HOLDOUT.min(holdout.len());
            let spread = holdout.len() as f64 / count as f64;
            let indices: Vec<usize> = (0..count).map(|i| (i as f64 * spread) as usize).collect();
            let mut terms = Vec::new();
            for (i, indices) in indices.chunks(HOLDOUT_BATCH).enumerate() {
                if stop.load(Ordering::Relaxed) {
                    return Ok(None);
                }
                terms.extend(self.room.within(&self.device, indices.len(), || {
                    self.holdout_terms(&net, holdout, indices, HOLDOUT_STREAMS + i as u64)
                })?);
            }
            let name = match self.card.objective.has_posterior() {
                true => HELD_OUT[0],
                false => HELD_OUT[1],
            };
            figures = by_time(name, &terms);
        }
        let model = Model::assemble(self.card.clone(), net, self.tokenizer.clone(), &self.device);
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

    fn merit(figures: &BTreeMap<String, f64>) -> Option<f64> {
        HELD_OUT.iter().find_map(|name| figures.get(*name)).map(|loss| -loss)
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

/// The mean of held-out pictures' terms, and the mean in each fifth of the path, under the time in its middle.
fn by_time(name: &str, terms: &[(f32, f32)]) -> Vec<(String, f64)> {
    const PARTS: usize = 5;
    let mean = |part: &dyn Fn(f32) -> bool| {
        let inside = || terms.iter().filter(|(t, _)| part(*t)).map(|(_, term)| f64::from(*term));
        (inside().count() > 0).then(|| inside().sum::<f64>() / inside().count() as f64)
    };
    let part_of = |t: f32| ((t * PARTS as f32) as usize).min(PARTS - 1);
    let parts = (0..PARTS).map(|part| {
        let middle = (2 * part + 1) as f64 / (2 * PARTS) as f64;
        Some((format!("{name}_t{middle:.1}"), mean(&|t| part_of(t) == part)?))
    });
    let whole = mean(&|_| true).map(|mean| (name.to_owned(), mean));
    std::iter::once(whole).chain(parts).flatten().collect()
}

/// The loss of an endpoint or a velocity, each picture's counting for its weight, if they have any.
fn squared_loss(output: Tensor<3>, target: Tensor<4>, weights: Option<Tensor<1>>) -> Loss {
    match weights {
        Some(weights) => weighted_endpoint_loss(output, target, weights).into(),
        None => endpoint_loss(output, target).into(),
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
