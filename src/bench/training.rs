//! Steps of training: loss, gradient and optimiser, of the recipe of the embedded model and of the
//! published sizes, on pictures and codes drawn at random.

use burn::module::Module;
use burn::tensor::{Device, Distribution, Int, Tensor, TensorData};

use super::Bench;
use super::flops;
use super::peer::{self, Extent};
use super::random::randomised;
use super::row::Measured;
use super::size::Size;
use super::timing::{Clock, Timing};
use crate::flow::{code_loss, path_point};
use crate::model::layers::Initialiser;
use crate::model::params::Naming;
use crate::model::{Dit, DitConfig, Objective, Tokenizer, backbone_name, tokenizer_name};
use crate::rng::Stream;
use crate::train::{
    AdamW, OptimiserConfig, Origin, RunConfig, Task, TokenizerTask, tokenizer_loss,
};

/// The run files of the embedded model.
const TOKENIZER: &str = include_str!("../../assets/recipe/tokenizer.toml");
const FLOW: &str = include_str!("../../assets/recipe/flow.toml");
/// Their name in reports, where they cannot be measured.
const RECIPE: &str = "the embedded model's recipe";
/// Classes of the embedded model.
const CLASSES: usize = 48;
/// Pictures a step of the published sizes.
const BATCH: usize = 4;
/// Forward passes that a step costs: the pass itself, and two kinds of gradients.
const PASSES: f64 = 3.0;
/// Numbers kept for every weight: itself, its gradient, two means and a moving average.
const COPIES: f64 = 5.0;
/// The weight of the z-loss.
const LAMBDA_Z: f64 = 1e-5;

/// Measures the recipe of the embedded model, and all `sizes`.
pub fn measure(bench: &mut Bench<'_>, sizes: &[Size]) {
    // Operations a second that the row before has reached.
    let mut reached = of_recipe(bench);
    for size in sizes {
        reached = of_size(bench, *size, reached).or(reached);
    }
}

/// The recipe of the embedded model; gives the operations a second that its flow reached.
pub(super) fn of_recipe(bench: &mut Bench<'_>) -> Option<f64> {
    let [tokenizer, flow] = [TOKENIZER, FLOW].map(toml::from_str::<RunConfig>);
    match (tokenizer, flow) {
        (Ok(tokenizer), Ok(flow)) => recipe(bench, &tokenizer, &flow),
        (tokenizer, flow) => {
            let error = tokenizer.err().or(flow.err()).map(|error| error.to_string());
            bench.skip(RECIPE, error.unwrap_or_default());
            None
        }
    }
}

fn recipe(bench: &mut Bench<'_>, tokenizer: &RunConfig, flow: &RunConfig) -> Option<f64> {
    let (Task::Tokenizer(vq), Task::Flow(task)) = (&tokenizer.task, &flow.task) else {
        bench.skip(RECIPE, "it trains something else".to_owned());
        return None;
    };
    let name = format!("tokenizer of the embedded model, step of {} pictures", tokenizer.batch);
    bench.row(&name, |clock| {
        let timing = tokenizer_step(clock, tokenizer, vq)?;
        Ok(Measured::from(timing).rate("pictures_per_second", tokenizer.batch as f64))
    });
    let backbone = match task.origin() {
        Ok(Origin::Chance { sizes, .. }) => {
            sizes.complete(task.objective, &vq.model, flow.image_size, CLASSES)
        }
        Ok(Origin::Model(_)) => Err("it goes on from a model".to_owned()),
        Err(reason) => Err(reason),
    };
    let name = format!("flow of the embedded model, step of {} pictures", flow.batch);
    let backbone = match backbone {
        Ok(backbone) => backbone,
        Err(reason) => {
            bench.skip(&name, reason);
            return None;
        }
    };
    let timing = bench.row(&name, |clock| {
        let codes = [vq.model.codes, vq.model.code_size];
        let timing = flow_step(clock, &backbone, codes, flow.batch, &flow.optimiser)?;
        Ok(of_flow_step(timing, &backbone, flow.batch))
    })?;
    Some(PASSES * flow.batch as f64 * flops::backbone(&backbone) / timing.seconds())
}

/// One size; gives the operations a second that it reached.
fn of_size(bench: &mut Bench<'_>, size: Size, reached: Option<f64>) -> Option<f64> {
    let backbone = size.backbone();
    let flops = PASSES * BATCH as f64 * flops::backbone(&backbone);
    let name = format!("{size}, step of {BATCH} pictures");
    if let Some(reason) = bench.forbids(memory(&backbone), flops, reached) {
        bench.skip(&name, reason);
        return None;
    }
    let timing = bench.row(&name, |clock| {
        let codes = [backbone.out_channels, backbone.in_channels];
        let optimiser = OptimiserConfig::default();
        let timing = flow_step(clock, &backbone, codes, BATCH, &optimiser)?;
        Ok(of_flow_step(timing, &backbone, BATCH))
    })?;
    Some(flops / timing.seconds())
}

fn of_flow_step(timing: Timing, backbone: &DitConfig, batch: usize) -> Measured {
    let flops = PASSES * batch as f64 * flops::backbone(backbone);
    let measured = Measured::from(timing).rate("pictures_per_second", batch as f64);
    measured.rate("gflops", flops / 1e9)
}

/// A network and its optimiser, between steps.
struct Trained<M> {
    /// Gone only while a step moves it.
    net: Option<M>,
    optimiser: AdamW,
    learning_rate: f64,
}

impl<M: Module> Trained<M> {
    fn new(net: M, naming: Naming, config: &OptimiserConfig) -> Self {
        let optimiser = AdamW::new(&net, naming, config.clone());
        Self { net: Some(net), optimiser, learning_rate: config.learning_rate }
    }

    /// A step as the training loop takes it; gives the loss, once all weights have moved.
    fn step(&mut self, clock: &Clock<'_>, loss: impl FnOnce(&M) -> Tensor<1>) -> f32 {
        let Some(net) = self.net.take() else { return f32::NAN };
        let total = loss(&net);
        let value = total.clone().inner().into_scalar::<f32>();
        let gradients = total.backward();
        let (net, _) = self.optimiser.step(net, gradients, self.learning_rate);
        self.net = Some(net);
        if clock.settle().is_ok() { value } else { f32::NAN }
    }
}

pub(super) fn tokenizer_step(
    clock: &Clock<'_>,
    config: &RunConfig,
    task: &TokenizerTask,
) -> Result<Timing, String> {
    let autodiff = clock.device.clone().autodiff();
    let net = Tokenizer::new(&task.model, &mut Initialiser::new(config.seed, &autodiff));
    let mut trained = Trained::new(net, tokenizer_name, &config.optimiser);
    let (batch, side) = (config.batch, config.image_size);
    clock.beside(|| peer::tokenizer_training(task, side, batch))?;
    let images = |_| {
        Tensor::<4>::random([batch, 3, side, side], Distribution::Uniform(-1.0, 1.0), &autodiff)
    };
    clock.time(images, |images| {
        trained.step(clock, |net| tokenizer_loss(net, images.clone(), task.losses(), false).total())
    })
}

/// What a step of the flow is taken on.
struct Example {
    noise: Tensor<4>,
    codes: Tensor<1, Int>,
    t: Vec<f32>,
    labels: Tensor<1, Int>,
}

impl Example {
    /// Codes below `codes`, drawn at random like everything else.
    fn new(stream: u64, dit: &DitConfig, codes: usize, batch: usize, device: &Device) -> Self {
        let mut stream = Stream::new(1, stream);
        let side = dit.input_size;
        let mut below = |count: usize, bound: usize| {
            let drawn: Vec<i64> = (0..count).map(|_| stream.below(bound) as i64).collect();
            TensorData::new(drawn, [count])
        };
        let codes = below(batch * side * side, codes);
        let labels = below(batch, dit.num_classes);
        let shape = [batch, dit.in_channels, side, side];
        Self {
            noise: Tensor::random(shape, Distribution::Normal(0.0, 1.0), device),
            codes: Tensor::from_data(codes, device),
            t: (0..batch).map(|_| stream.uniform() as f32).collect(),
            labels: Tensor::from_data(labels, &device.clone().autodiff()),
        }
    }
}

/// Steps of the flow on latents of random codes: as many codes, of such a size, as `codes` says.
pub(super) fn flow_step(
    clock: &Clock<'_>,
    backbone: &DitConfig,
    [codes, size]: [usize; 2],
    batch: usize,
    optimiser: &OptimiserConfig,
) -> Result<Timing, String> {
    let device = clock.device;
    let autodiff = device.clone().autodiff();
    let net = randomised(Dit::new(backbone, &mut Initialiser::blank(&autodiff)), &autodiff);
    let mut trained = Trained::new(net, backbone_name, optimiser);
    clock.tidy()?;
    let codebook = Tensor::<2>::random([codes, size], Distribution::Normal(0.0, 1.0), device);
    let side = backbone.input_size;
    debug_assert_eq!(backbone.out_channels, Objective::Purrception.out_channels(codes, size));
    clock.beside(|| peer::flow_training(backbone, Extent { batch, codes, code_size: size }))?;
    let make = |stream| Example::new(stream, backbone, codes, batch, device);
    clock.time(make, |example| {
        trained.step(clock, |net| {
            let Example { noise, codes: chosen, t, labels } = example;
            let x1 = codebook.clone().select(0, chosen.clone());
            let x1 = x1.reshape([batch, side, side, size]).permute([0, 3, 1, 2]);
            let x = path_point(noise.clone(), x1, Tensor::from_floats(t.as_slice(), device));
            let logits = net.forward_in_patches(x.autodiff(), t, labels.clone());
            let logits = logits.reshape([batch * side * side, codes]);
            code_loss(logits, net.in_patches(chosen.clone().autodiff()), LAMBDA_Z).total
        })
    })
}

/// Bytes that a step takes, about: what is kept for every weight, what gradients are taken from, and
/// the logits with their gradient.
fn memory(dit: &DitConfig) -> f64 {
    let weights = Dit::new(dit, &mut Initialiser::blank(&Device::flex())).num_params() as f64;
    let [hidden, mlp, heads] =
        [dit.hidden_size, dit.mlp_width(), dit.num_heads].map(|size| size as f64);
    let patches = ((dit.input_size / dit.patch_size) as f64).powi(2);
    let block = patches * (12.0 * hidden + 3.0 * mlp) + 2.0 * heads * patches * patches;
    let logits = (dit.input_size * dit.input_size * dit.out_channels) as f64;
    4.0 * (COPIES * weights + BATCH as f64 * (dit.depth as f64 * block + 3.0 * logits))
}
