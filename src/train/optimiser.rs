//! AdamW, or Muon for matrices, over the parameters of a module, with gradient clipping and a moving average of weights.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Device, Gradients, Tensor, TensorData};

use super::TrainError;
use super::config::{OptimiserConfig, OptimiserKind};
use super::muon;
use super::powers;
use crate::kernels::{AdamWStep, Optimised, square_sum};
use crate::model::params::{self, NamedTensor, Naming, host};

/// What the optimiser keeps for a parameter, flattened.
#[derive(Debug, Clone)]
struct Moments {
    shape: Vec<usize>,
    mean: Tensor<1>,
    mean_square: Tensor<1>,
    average: Tensor<1>,
    /// [Averages over a power of the time](powers), one for each length.
    powers: Vec<Tensor<1>>,
}

/// AdamW (Loshchilov and Hutter 2019), as PyTorch computes it.
#[derive(Debug)]
pub struct AdamW {
    config: OptimiserConfig,
    naming: Naming,
    updates: usize,
    moments: BTreeMap<String, Moments>,
}

/// What a step of the optimiser says of itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepReport {
    /// Norm of the whole gradient before clipping.
    pub gradient_norm: f64,
}

impl AdamW {
    /// An optimiser that has not made a step.
    pub fn new<M: Module>(module: &M, naming: Naming, config: OptimiserConfig) -> Self {
        let powers = config.lengths.len();
        let mut seed = MomentsOf { path: Vec::new(), naming, powers, found: BTreeMap::new() };
        module.visit(&mut seed);
        Self { config, naming, updates: 0, moments: seed.found }
    }

    /// Steps made so far.
    pub fn updates(&self) -> usize {
        self.updates
    }

    /// Norm of the whole gradient of a module's parameters.
    pub fn gradient_norm<M: Module>(module: &M, gradients: &Gradients) -> f64 {
        Self::squared_norm(module, gradients).map_or(0.0, |squared| norm_of(&host(squared)))
    }

    /// The square of that norm, left on the device, `[1]`; nothing where no parameter has a gradient.
    pub(super) fn squared_norm<M: Module>(module: &M, gradients: &Gradients) -> Option<Tensor<1>> {
        let mut norms = SquaredNorm { gradients, total: None };
        module.visit(&mut norms);
        norms.total
    }

    /// Moves the parameters against their gradients; parameters without one stay as they are.
    pub fn step<M: Module>(
        &mut self,
        module: M,
        gradients: Gradients,
        learning_rate: f64,
    ) -> (M, StepReport) {
        let gradient_norm = Self::gradient_norm(&module, &gradients);
        let moved = self.step_by(module, gradients, 1.0, gradient_norm, learning_rate);
        (moved, StepReport { gradient_norm })
    }

    /// As [`AdamW::step`], where the norm of the gradient is known, and `gradients` are `scaled` times
    /// as large as that says.
    pub fn step_by<M: Module>(
        &mut self,
        module: M,
        gradients: Gradients,
        scaled: f64,
        gradient_norm: f64,
        learning_rate: f64,
    ) -> M {
        self.updates += 1;
        let config = &self.config;
        let n = i32::try_from(self.updates).unwrap_or(i32::MAX);
        let [unbias, unbias_square] =
            [config.betas.0, config.betas.1].map(|beta| 1.0 - beta.powi(n));
        let step = AdamWStep {
            gradient_scale: (config.clip / (gradient_norm + 1e-6)).min(1.0) / scaled,
            betas: [config.betas.0, config.betas.1],
            rate: learning_rate / unbias,
            root_bias: unbias_square.sqrt(),
            epsilon: config.epsilon,
            decay: 1.0 - learning_rate * config.weight_decay,
            keep: config.ema_at(self.updates),
        };
        let kept = |length: &f64| powers::keep(powers::exponent(*length), self.updates);
        let powers = config.lengths.iter().map(kept).collect();
        let path = Vec::new();
        module.map(&mut Update { optimiser: self, path, gradients, step, learning_rate, powers })
    }

    /// The moving average of every parameter, under its name in files.
    pub fn averages(&self) -> Vec<NamedTensor> {
        self.moments
            .iter()
            .map(|(name, moments)| NamedTensor {
                name: name.clone(),
                shape: moments.shape.clone(),
                values: host(moments.average.clone()),
            })
            .collect()
    }

    /// The averages over a power of the time, for every length that the configuration names.
    pub fn powers(&self) -> Vec<Vec<NamedTensor>> {
        let of = |i: usize| {
            let tensor = |(name, moments): (&String, &Moments)| NamedTensor {
                name: name.clone(),
                shape: moments.shape.clone(),
                values: host(moments.powers[i].clone()),
            };
            self.moments.iter().map(tensor).collect()
        };
        (0..self.config.lengths.len()).map(of).collect()
    }

    /// A module with these averages for its parameters.
    ///
    /// # Errors
    /// It has a parameter that there is no average of.
    pub fn load_averages<M: Module>(
        &self,
        blank: M,
        naming: Naming,
        device: &Device,
    ) -> Result<M, TrainError> {
        params::load(blank, naming, device, |name, _| {
            let moments = self.moments.get(name).map(|moments| host(moments.average.clone()));
            moments.ok_or_else(|| TrainError::Sizes(format!("no average of '{name}'")))
        })
    }

    /// Everything a checkpoint needs besides the weights, under `adam.mean.*`, `adam.square.*`, `ema.*` and, for
    /// every length, `power.LENGTH.*`.
    pub fn state(&self) -> Vec<NamedTensor> {
        self.moments
            .iter()
            .flat_map(|(name, moments)| {
                let lengths = self.config.lengths.iter().map(power_name);
                let fixed = [
                    ("adam.mean".to_owned(), &moments.mean),
                    ("adam.square".to_owned(), &moments.mean_square),
                    ("ema".to_owned(), &moments.average),
                ];
                let all = fixed.into_iter().chain(lengths.zip(&moments.powers));
                all.map(|(prefix, tensor)| NamedTensor {
                    name: format!("{prefix}.{name}"),
                    shape: moments.shape.clone(),
                    values: host(tensor.clone()),
                })
                .collect::<Vec<_>>()
            })
            .collect()
    }

    /// Takes back what [`AdamW::state`] gave.
    ///
    /// # Errors
    /// The first error of `source`.
    pub fn restore<E>(
        &mut self,
        updates: usize,
        device: &Device,
        mut source: impl FnMut(&str, &[usize]) -> Result<Vec<f32>, E>,
    ) -> Result<(), E> {
        for (name, moments) in &mut self.moments {
            let mut read = |prefix: &str| -> Result<Tensor<1>, E> {
                let values = source(&format!("{prefix}.{name}"), &moments.shape)?;
                let length = values.len();
                Ok(Tensor::from_data(TensorData::new(values, [length]), device))
            };
            let mean = read("adam.mean")?;
            let mean_square = read("adam.square")?;
            let average = read("ema")?;
            let powers = self.config.lengths.iter().map(|length| read(&power_name(length)));
            let powers = powers.collect::<Result<_, E>>()?;
            *moments = Moments { shape: moments.shape.clone(), mean, mean_square, average, powers };
        }
        self.updates = updates;
        Ok(())
    }
}

/// Under which an average over a power of the time is kept in checkpoints.
fn power_name(length: &f64) -> String {
    format!("{POWER}{length}")
}

/// How such a name begins.
const POWER: &str = "power.";

/// The lengths of the averages over a power of the time that are among the names of a checkpoint, the shortest first.
pub(super) fn lengths_in<'a>(names: impl Iterator<Item = &'a str>) -> Vec<f64> {
    // As `power.0.05.backbone.x`: lengths lie below 1.
    let length = |name: &'a str| {
        let (whole, rest) = name.strip_prefix(POWER)?.split_once('.')?;
        let (part, _) = rest.split_once('.')?;
        format!("{whole}.{part}").parse::<f64>().ok()
    };
    let mut lengths: Vec<f64> = names.filter_map(length).collect();
    lengths.sort_by(f64::total_cmp);
    lengths.dedup();
    lengths
}

/// Adds what `more` has for the parameters of a module to their gradients in `sum`, parameters that only
/// one of them has a gradient of included.
pub(super) fn add_gradients<M: Module>(module: &M, sum: &mut Gradients, more: Gradients) {
    struct Adder<'a> {
        sum: &'a mut Gradients,
        more: Gradients,
    }
    impl ModuleVisitor for Adder<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let value = param.val();
            if let Some(more) = value.grad_remove(&mut self.more) {
                let both = match value.grad(self.sum) {
                    Some(gradient) => gradient + more,
                    None => more,
                };
                value.grad_replace(self.sum, both);
            }
        }
    }
    module.visit(&mut Adder { sum, more });
}

/// A norm from its square, as it is read back.
pub(super) fn norm_of(squared: &[f32]) -> f64 {
    squared.first().map_or(0.0, |squared| f64::from(*squared).sqrt())
}

struct MomentsOf {
    path: Vec<String>,
    naming: Naming,
    powers: usize,
    found: BTreeMap<String, Moments>,
}

impl ModuleVisitor for MomentsOf {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.val().inner();
        let length = value.shape().num_elements();
        let shape = value.dims().to_vec();
        let average = value.reshape([length]);
        let zeros = average.zeros_like();
        self.found.insert(
            (self.naming)(&self.path.join(".")),
            Moments {
                shape,
                mean: zeros.clone(),
                mean_square: zeros,
                powers: vec![average.clone(); self.powers],
                average,
            },
        );
    }
}

struct SquaredNorm<'a> {
    gradients: &'a Gradients,
    total: Option<Tensor<1>>,
}

impl ModuleVisitor for SquaredNorm<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = param.val().grad(self.gradients) {
            let squared = square_sum(gradient);
            self.total = Some(match self.total.take() {
                Some(total) => total + squared,
                None => squared,
            });
        }
    }
}

struct Update<'a> {
    optimiser: &'a mut AdamW,
    path: Vec<String>,
    gradients: Gradients,
    step: AdamWStep,
    learning_rate: f64,
    /// What each average over a power of the time keeps of itself.
    powers: Vec<f64>,
}

impl ModuleMapper for Update<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let AdamW { config, naming, moments, .. } = &mut *self.optimiser;
        let (name, value) = (naming(&self.path.join(".")), param.val());
        let Some(gradient) = value.grad_remove(&mut self.gradients) else { return param };
        let Some((name, kept)) = moments.remove_entry(&name) else { return param };
        let id = param.id;
        // Numbers are changed where they lie if nothing else holds them.
        drop(param);
        let shape: [usize; D] = value.dims();
        let flat = |tensor: Tensor<D>| {
            let length = tensor.shape().num_elements();
            tensor.reshape([length])
        };
        let Moments { shape: named, mean, mean_square, average, powers } = kept;
        let start = Optimised { value: flat(value.inner()), mean, mean_square, average };
        let moved = match shape[..] {
            [rows, columns] if config.kind == OptimiserKind::Muon && muon::moves(&name) => {
                muon::step(start, flat(gradient), [rows, columns], self.step, self.learning_rate)
            }
            _ => start.step(flat(gradient), self.step),
        };
        let Optimised { value, mean, mean_square, average } = moved;
        let pairs = powers.into_iter().zip(&self.powers);
        let powers = pairs.map(|(power, keep)| power * *keep + value.clone() * (1.0 - keep));
        let powers = powers.collect();
        moments.insert(name, Moments { shape: named, mean, mean_square, average, powers });
        Param::initialized(id, Tensor::from_inner(value.reshape(shape)).require_grad())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read_off_names() {
        let kept = [0.1, 0.05, 0.288, 0.005];
        let names: Vec<String> = kept
            .iter()
            .flat_map(|length| ["a.weight", "b"].map(|of| format!("{}.{of}", power_name(length))))
            .chain(["ema.a.weight", "adam.mean.b", "power", "power.x.y.z"].map(str::to_owned))
            .collect();
        let found = lengths_in(names.iter().map(String::as_str));
        assert_eq!(found, [0.005, 0.05, 0.1, 0.288]);
    }
}
