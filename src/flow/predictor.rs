//! What a sampler asks of whatever it samples from.

use burn::tensor::Tensor;

use super::record::{LatentShape, Latents, Posterior};
use super::settings::SampleSettings;
use crate::kernels::{Expectation, categorical_expectation};
use crate::model::{Model, params};

/// A belief about every token at any state and time: a trained network, or the exact posterior.
pub trait Predictor {
    /// Number of classes that can be asked for.
    fn classes(&self) -> usize;

    /// Extent of the latents of `batch` images.
    fn latent_shape(&self, batch: usize) -> LatentShape;

    /// The belief at state `x` and time `t`, for the labels and guidance of `settings`.
    fn posterior(
        &self,
        x: &Latents,
        t: f32,
        temperature: f32,
        settings: &SampleSettings,
    ) -> Posterior;

    /// The nearest code of every token, `[batch, height, width]`.
    fn nearest_codes(&self, x: &Latents) -> Vec<u32>;
}

impl Predictor for Model {
    fn classes(&self) -> usize {
        self.card.backbone.num_classes
    }

    fn latent_shape(&self, batch: usize) -> LatentShape {
        Self::latent_shape(self, batch)
    }

    fn posterior(
        &self,
        x: &Latents,
        t: f32,
        temperature: f32,
        settings: &SampleSettings,
    ) -> Posterior {
        let logits = self.logits(self.upload(x), t, &settings.labels, settings.guidance);
        read_posterior(logits, temperature, self.codebook(), x.shape)
    }

    fn nearest_codes(&self, x: &Latents) -> Vec<u32> {
        Self::nearest_codes(self, x)
    }
}

/// Reads the belief about every token to the host.
///
/// # Shapes
/// - `logits`: `[batch, height * width, codes]`
/// - `codebook`: `[codes, channels]`
fn read_posterior(
    logits: Tensor<3>,
    temperature: f32,
    codebook: &Tensor<2>,
    shape: LatentShape,
) -> Posterior {
    let [batch, tokens, codes] = logits.dims();
    let top = Posterior::TOP.min(codes);
    let flat = logits.reshape([batch * tokens, codes]);
    let Expectation { mean, entropy, log_z, top_probs, top_codes } =
        categorical_expectation(flat, temperature, codebook.clone(), top);
    let mean = mean.reshape([batch, tokens, shape.channels]).swap_dims(1, 2);
    let top_probs = top_probs.reshape([batch, tokens, top]).swap_dims(1, 2);
    let top_codes = top_codes.reshape([batch, tokens, top]).swap_dims(1, 2);
    Posterior {
        mean: Latents { shape, values: params::host(mean) },
        entropy: params::host(entropy),
        log_z: params::host(log_z),
        top,
        top_codes: top_codes.into_data_as::<i64>().iter::<i64>().map(|code| code as u32).collect(),
        top_probs: params::host(top_probs),
    }
}
