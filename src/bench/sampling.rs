//! Steps of the sampler and decoding: the embedded model, and networks of the published sizes with
//! random weights.

use burn::module::Module;
use burn::tensor::{Device, Distribution, Tensor};
use image::RgbImage;

use super::Bench;
use super::flops;
use super::peer::{self, Extent};
use super::random::randomised;
use super::row::Measured;
use super::size::{Size, reference_tokenizer};
use super::timing::{Clock, Timing, read};
use crate::flow::{SampleSettings, Sampler, seeded_noise};
use crate::model::head::LOGITS_BUDGET;
use crate::model::layers::Initialiser;
use crate::model::{Dit, DitConfig, Model, Precision, Tokenizer, TokenizerConfig};

/// Pictures of a batch.
const BATCH: usize = 4;
/// Guidance that takes two evaluations a picture, and one that takes one.
const GUIDED: f32 = 1.5;
const UNGUIDED: f32 = 1.0;
/// Said of rates that leave the decoder out.
const WITHOUT_DECODING: &str = "pictures/s: 24 guided steps, without decoding";

/// Measures the embedded model, all `sizes`, and the decoder of the reference.
pub fn measure(bench: &mut Bench<'_>, sizes: &[Size]) {
    embedded(bench);
    // Operations a second that the row before has reached.
    let mut reached = None;
    for size in sizes {
        reached = of_size(bench, *size, reached).or(reached);
    }
    decoder(bench, reached);
}

/// The defaults, for a batch of different classes.
fn settings(model: &Model, batch: usize, guidance: f32, seed: u64) -> SampleSettings {
    SampleSettings {
        labels: (0..batch).map(|image| image % model.card.backbone.num_classes).collect(),
        seed,
        guidance,
        ..SampleSettings::default()
    }
}

/// A step of Euler's method from the noise of a seed, as `purrscope sample` takes it.
fn step(model: &Model, batch: usize, guidance: f32, seed: u64) -> f32 {
    let settings = settings(model, batch, guidance, seed);
    let step = Sampler::new(model, settings, None).ok().and_then(|mut run| run.next());
    step.map_or(f32::NAN, |step| step.entropy().iter().sum::<f32>() + step.x.values[0])
}

/// Adds what a guided step of a batch means: the rate of pictures at the default number of steps,
/// the time of one evaluation, and the operations a second.
fn of_guided_step(timing: Timing, backbone: &DitConfig) -> Measured {
    let steps = SampleSettings::default().steps as f64;
    let evaluations = 2.0 * BATCH as f64;
    Measured::from(timing)
        .figure("evaluation_ms", timing.seconds() * 1e3 / evaluations)
        .rate("pictures_per_second", BATCH as f64 / steps)
        .rate("gflops", evaluations * flops::backbone(backbone) / 1e9)
        .note(WITHOUT_DECODING)
}

pub(super) fn embedded(bench: &mut Bench<'_>) {
    let (device, precision) = (bench.selected.device.clone(), bench.precision);
    bench.row("embedded model, guided step of 4 pictures", |clock| {
        let model = Model::embedded_in(precision, &device).map_err(|error| error.to_string())?;
        let TokenizerConfig { codes, code_size, .. } = model.card.tokenizer;
        let extent = Extent { batch: BATCH, codes, code_size };
        clock.beside(|| peer::step(&model.card.backbone, extent, true))?;
        let timing = clock.time(|seed| seed, |seed| step(&model, BATCH, GUIDED, *seed))?;
        Ok(of_guided_step(timing, &model.card.backbone))
    });
    bench.row("embedded model, decoding 4 pictures of 64x64", |clock| {
        let model = Model::embedded_in(precision, &device).map_err(|error| error.to_string())?;
        let (tokenizer, side) = (&model.card.tokenizer, model.card.backbone.input_size);
        clock.beside(|| peer::decoding(tokenizer, side, BATCH))?;
        let make = |seed| seeded_noise(seed, model.latent_shape(BATCH));
        let timing = clock.time(make, |latents| total(&model.decode(latents)))?;
        let flops = flops::decoder(&model.card.tokenizer, model.card.backbone.input_size);
        let measured = Measured::from(timing).rate("pictures_per_second", BATCH as f64);
        Ok(measured.rate("gflops", BATCH as f64 * flops / 1e9))
    });
}

/// The sum of all bytes of pictures.
fn total(pictures: &[RgbImage]) -> f32 {
    pictures.iter().flat_map(|picture| picture.as_raw()).map(|byte| f32::from(*byte)).sum()
}

/// A batch from noise to pictures, at the default settings but guided.
pub(super) fn picture(bench: &mut Bench<'_>) {
    let (device, precision) = (bench.selected.device.clone(), bench.precision);
    bench.row("embedded model, 4 pictures in 24 guided steps, decoded", |clock| {
        let model = Model::embedded_in(precision, &device).map_err(|error| error.to_string())?;
        let timing = clock.time(
            |seed| seed,
            |seed| {
                let Ok(mut run) =
                    Sampler::new(&model, settings(&model, BATCH, GUIDED, *seed), None)
                else {
                    return f32::NAN;
                };
                run.by_ref().for_each(drop);
                total(&model.decode_codes(&run.codes(), BATCH))
            },
        )?;
        Ok(Measured::from(timing).rate("pictures_per_second", BATCH as f64))
    });
}

/// The decoder of the reference's tokenizer, with random weights.
pub(super) fn decoder(bench: &mut Bench<'_>, reached: Option<f64>) {
    const SIDE: usize = 32;
    let name = "decoder of the reference, 1 picture of 256x256";
    let config = reference_tokenizer();
    let flops = flops::decoder(&config, SIDE);
    // The weights, and the widest activations a few times over.
    if let Some(reason) = bench.forbids(1.5e9, flops, reached) {
        return bench.skip(name, reason);
    }
    let device = bench.selected.device.clone();
    bench.row(name, |clock| {
        let blank = Tokenizer::new(&config, &mut Initialiser::blank(&device));
        let tokenizer = randomised(blank, &device);
        clock.tidy()?;
        clock.beside(|| peer::decoding(&config, SIDE, 1))?;
        let make = |_| random([1, config.code_size, SIDE, SIDE], 1.0, &device);
        let timing = clock.time(make, |latents| read(tokenizer.decode(latents.clone())))?;
        Ok(Measured::from(timing).rate("pictures_per_second", 1.0).rate("gflops", flops / 1e9))
    });
}

fn random<const D: usize>(shape: [usize; D], deviation: f64, device: &Device) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, deviation), device)
}

/// One size; gives the operations a second that it reached.
pub(super) fn of_size(bench: &mut Bench<'_>, size: Size, reached: Option<f64>) -> Option<f64> {
    let backbone = size.backbone();
    let flops = flops::backbone(&backbone);
    let precision = bench.precision;
    let bytes = memory(&backbone, precision);
    let names = [
        format!("{size}, one evaluation of 1 picture"),
        format!("{size}, guided step of {BATCH} pictures"),
    ];
    if let Some(reason) = bench.forbids(bytes, flops, reached) {
        names.iter().for_each(|name| bench.skip(name, reason.clone()));
        return None;
    }
    let device = bench.selected.device.clone();
    let make = || Model::random(size.card(), 1, precision, &device);
    let mut model = None;
    let single = bench.row(&names[0], |clock| {
        let made = make();
        clock.tidy()?;
        clock.beside(|| peer::step(&backbone, Extent::of(&backbone, 1), false))?;
        let timing = time(clock, &made, 1, UNGUIDED)?;
        model = Some(made);
        Ok(Measured::from(timing).rate("gflops", flops / 1e9))
    });
    let reached = single.map(|timing| flops / timing.seconds());
    if model.is_none() && bench.wants(&names[0]) {
        bench.skip(&names[1], "the evaluation before it was not measured".to_owned());
        return None;
    }
    match bench.forbids(0.0, 2.0 * BATCH as f64 * flops, reached) {
        Some(reason) => bench.skip(&names[1], reason),
        None => {
            bench.row(&names[1], |clock| {
                let model = model.unwrap_or_else(make);
                clock.beside(|| peer::step(&backbone, Extent::of(&backbone, BATCH), true))?;
                Ok(of_guided_step(time(clock, &model, BATCH, GUIDED)?, &backbone))
            });
        }
    }
    reached
}

fn time(clock: &Clock<'_>, model: &Model, batch: usize, guidance: f32) -> Result<Timing, String> {
    clock.time(|seed| seed, |seed| step(model, batch, guidance, *seed))
}

/// Bytes that sampling a batch takes, about: weights, logits and the widest activations.
fn memory(backbone: &DitConfig, precision: Precision) -> f64 {
    let weights = Dit::new(backbone, &mut Initialiser::blank(&Device::flex())).num_params() as f64;
    let patches = (backbone.input_size / backbone.patch_size).pow(2) as f64;
    let activations = 2.0 * BATCH as f64 * patches * 12.0 * backbone.hidden_size as f64;
    let bytes = match precision {
        Precision::F32 => 4.0,
        Precision::F16 => 2.0,
    };
    bytes * weights + 4.0 * activations + 2.0 * LOGITS_BUDGET as f64
}
