//! Models of random weights, of any size and precision: to measure time and memory with.

use std::convert::Infallible;

use burn::tensor::Device;
use half::f16;

use super::card::{DitConfig, ModelCard};
use super::dit::Dit;
use super::files::{CODEBOOK, HEAD};
use super::head::Head;
use super::layers::Initialiser;
use super::params;
use super::precision::Precision;
use super::tokenizer::Tokenizer;
use super::{Model, backbone_name, tokenizer_name};
use crate::io::tensors::Numbers;
use crate::rng::Stream;

/// Draws parameters of a size that keeps that of what goes through them.
struct Draw {
    seed: u64,
    drawn: u64,
}

impl Draw {
    /// Those of matrices and kernels are drawn; those of normalisations are 1, all others 0.
    fn numbers(&mut self, name: &str, shape: &[usize], precision: Precision) -> Numbers {
        self.drawn += 1;
        let count = shape.iter().product();
        let values = match shape {
            [_] => vec![f32::from(u8::from(name.ends_with("weight"))); count],
            _ => {
                let bound = (3.0 / shape[1..].iter().product::<usize>() as f64).sqrt();
                Stream::new(self.seed, self.drawn).symmetric(count, bound)
            }
        };
        match precision {
            Precision::F32 => Numbers::F32(values),
            Precision::F16 => Numbers::F16(values.into_iter().map(f16::from_f32).collect()),
        }
    }
}

impl Model {
    /// A model of the sizes of `card`, with weights drawn from `seed`. Nothing is larger at any time
    /// than its largest tensor.
    pub fn random(card: ModelCard, seed: u64, precision: Precision, device: &Device) -> Self {
        let (backbone, head, tokenizer) = device.memory_persistent_allocations((), |()| {
            let mut draw = Draw { seed, drawn: 0 };
            let blank = Dit::new(&card.backbone, &mut Initialiser::blank(device));
            let (backbone, _) = blank.take_head();
            let Ok(backbone) = params::load(backbone, backbone_name, device, |name, shape| {
                Ok::<_, Infallible>(draw.numbers(name, shape, precision))
            });
            let DitConfig { hidden_size, out_channels, patch_size, input_size, .. } = card.backbone;
            let parts = (0..patch_size * patch_size).map(|_| {
                let weight = draw.numbers(HEAD[0], &[out_channels, hidden_size], precision);
                let weight = params::upload(weight, [out_channels, hidden_size], device);
                let bias = draw.numbers(HEAD[1], &[out_channels], precision);
                (weight, params::upload(bias, [out_channels], device))
            });
            let head = Head::from_parts(parts.collect(), input_size / patch_size, patch_size);
            let tokenizer = Tokenizer::new(&card.tokenizer, &mut Initialiser::blank(device));
            let Ok(tokenizer) = params::load(tokenizer, tokenizer_name, device, |name, shape| {
                let precision = if name == CODEBOOK { Precision::F32 } else { precision };
                Ok::<_, Infallible>(draw.numbers(name, shape, precision))
            });
            (backbone, head, tokenizer)
        });
        Self::from_parts(card, backbone, head, tokenizer, device)
    }
}
