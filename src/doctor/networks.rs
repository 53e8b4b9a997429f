//! Whole networks: a small transformer and a small autoencoder with their gradients, and a guided
//! step of the embedded model.

use std::convert::Infallible;

use burn::module::Module;
use burn::tensor::{Gradients, Int, Tensor};

use super::check::{Check, Exactness, Patient, Results};
use super::operations::{made, places, whole};
use super::stored::{numbers, weight};
use crate::flow::{Latents, Predictor, SampleSettings, Temperature, code_loss};
use crate::model::layers::Initialiser;
use crate::model::params::{self, Naming, host};
use crate::model::{Dit, DitConfig, Model, Tokenizer, TokenizerConfig, dit, tokenizer};

/// The small networks.
pub(super) const SMALL: &[Check] = &[
    Check {
        name: "transformer and its gradients",
        exactness: Exactness::Network,
        run: transformer,
    },
    Check {
        name: "autoencoder and its gradients",
        exactness: Exactness::Network,
        run: autoencoder,
    },
    Check { name: "autoencoder: codes", exactness: Exactness::Exact, run: codes },
];

/// The embedded model.
pub(super) const EMBEDDED: &[Check] = &[
    Check { name: "guided step of the embedded model", exactness: Exactness::Network, run: step },
    Check { name: "picture of the embedded model", exactness: Exactness::Pixels, run: picture },
];

/// The embedded model in half precision.
pub(super) const EMBEDDED_IN_HALF: &[Check] = &[
    Check {
        name: "guided step of the embedded model in f16",
        exactness: Exactness::HalfNetwork,
        run: step,
    },
    Check {
        name: "picture of the embedded model in f16",
        exactness: Exactness::HalfPixels,
        run: picture,
    },
];

/// Gives a network made-up weights.
fn filled<M: Module>(blank: M, naming: Naming, prefix: &str, patient: &Patient<'_>) -> M {
    let device = patient.device.clone().autodiff();
    let filled = params::load(blank, naming, &device, |name, shape| {
        Ok::<_, Infallible>(weight(prefix, name, shape))
    });
    match filled {
        Ok(network) => network,
        Err(never) => match never {},
    }
}

/// The gradients of the weights of the layers that are `wanted`, under `prefix` and their names; of one
/// that has none no numbers, which is infinitely far from those expected.
fn gradients_of<M: Module>(
    network: &M,
    naming: Naming,
    gradients: &Gradients,
    prefix: &str,
    wanted: &[&str],
) -> Results {
    let weight = |layer: &str| format!("{layer}.weight");
    let is_wanted = |name: &str| wanted.iter().any(|layer| weight(layer) == name);
    let found = params::gradients(network, naming, gradients, is_wanted);
    let values = |layer: &str| {
        let of_layer = found.iter().find(|gradient| gradient.name == weight(layer));
        of_layer.map(|gradient| gradient.values.clone()).unwrap_or_default()
    };
    wanted.iter().map(|layer| (format!("{prefix}.gradient.{layer}"), values(layer))).collect()
}

fn transformer(patient: &Patient<'_>) -> Results {
    const CODES: u32 = 37;
    let config = DitConfig {
        input_size: 8,
        patch_size: 2,
        in_channels: 4,
        hidden_size: 48,
        depth: 1,
        num_heads: 3,
        mlp_ratio: 4.0,
        num_classes: 5,
        out_channels: CODES as usize,
        embeds_codes: false,
    };
    let device = &patient.device.clone().autodiff();
    let blank = Dit::new(&config, &mut Initialiser::blank(device));
    let network = filled(blank, dit::reference_name, "dit.", patient);
    let x = made("x", [3, 4, 8, 8], 2.0, device);
    let labels = Tensor::<1, Int>::from_data([0, 3, 5], device);
    let output = network.forward(x, &[0.125, 0.5, 0.875], labels);
    let [batch, tokens, channels] = output.dims();
    let rows = output.reshape([batch * tokens, channels]);
    let codes = places("i", batch * tokens, CODES, device);
    let loss = code_loss(rows.clone(), codes, 1e-2).total;
    let gradients = loss.clone().backward();
    let mut found = vec![
        ("transformer".into(), host(rows.inner())),
        ("transformer.loss".into(), host(loss.inner())),
    ];
    found.extend(gradients_of(
        &network,
        dit::reference_name,
        &gradients,
        "transformer",
        &[
            "blocks.0.attn.qkv",
            "blocks.0.mlp.fc1",
            "blocks.0.adaLN_modulation.1",
            "x_embedder.proj",
            "final_layer.linear",
            "y_embedder.embedding_table",
        ],
    ));
    found
}

fn small_tokenizer(patient: &Patient<'_>) -> Tokenizer {
    let config = TokenizerConfig {
        image_channels: 3,
        channels: 8,
        multipliers: vec![1, 2],
        residual_blocks: 1,
        attention: true,
        attention_levels: None,
        groups: 4,
        latent_channels: 4,
        code_size: 4,
        codes: 33,
        l2_normalised: true,
    };
    let device = patient.device.clone().autodiff();
    let blank = Tokenizer::new(&config, &mut Initialiser::blank(&device));
    filled(blank, tokenizer::reference_name, "vq.", patient)
}

fn autoencoder(patient: &Patient<'_>) -> Results {
    let network = small_tokenizer(patient);
    let latents =
        network.encode(made("x", [2, 3, 14, 10], 1.0, &patient.device.clone().autodiff()));
    let decoded = network.decode(latents.clone());
    let gradients = decoded.clone().square().mean().backward();
    let mut found = vec![
        ("tokenizer.encoded".into(), host(latents.inner())),
        ("tokenizer.decoded".into(), host(decoded.inner())),
    ];
    found.extend(gradients_of(
        &network,
        tokenizer::reference_name,
        &gradients,
        "tokenizer",
        &[
            "decoder.conv_blocks.0.upsample.conv",
            "encoder.conv_blocks.0.downsample.conv",
            "encoder.conv_blocks.1.attn.0.q",
        ],
    ));
    found
}

fn codes(patient: &Patient<'_>) -> Results {
    let network = small_tokenizer(patient);
    let images = made("x", [2, 3, 14, 10], 1.0, &patient.device.clone().autodiff());
    let codes = network.quantise(network.encode(images));
    vec![("tokenizer.codes".into(), whole(codes))]
}

/// The embedded model's prediction from a made-up state.
fn predicted(model: &Model) -> (Latents, Vec<f32>) {
    let shape = model.latent_shape(1);
    let x = Latents { shape, values: numbers("x", shape.len(), 1.0) };
    let settings = SampleSettings {
        labels: vec![5],
        guidance: 1.5,
        temperature: Temperature::Constant(0.9),
        ..SampleSettings::default()
    };
    let prediction = model.predict(&x, 0.25, &settings);
    let entropy = prediction.posterior.map(|posterior| posterior.entropy).unwrap_or_default();
    (prediction.output, entropy)
}

fn step(patient: &Patient<'_>) -> Results {
    let Some(model) = patient.model else { return Vec::new() };
    let (mean, entropy) = predicted(model);
    vec![("embedded.mean".into(), mean.values), ("embedded.entropy".into(), entropy)]
}

fn picture(patient: &Patient<'_>) -> Results {
    let Some(model) = patient.model else { return Vec::new() };
    let (mean, _) = predicted(model);
    let pictures = model.decode(&mean);
    let bytes = pictures.iter().flat_map(|picture| picture.as_raw()).copied().map(f32::from);
    vec![("embedded.picture".into(), bytes.collect())]
}
