//! The operations at the heart of the networks and of a step.
//!
//! Each fused operation has a twin made of plain tensor operations, in the same file, which runs
//! where there is no kernel for the device and which tests compare it with, in value and gradient.

mod adamw;
mod attention;
mod by_channel;
mod codes;
mod convolution;
mod expectation;
mod extension;
mod fused;
mod gpu;
mod group_norm;
mod host;
mod host_codes;
mod linear;
mod nearest;
pub mod present;
mod vectors;

pub use adamw::{AdamWStep, Optimised, square_sum};
pub use attention::{attention, has_attention, plain as plain_attention};
pub use by_channel::{by_channel, plain_by_channel, relu6};
pub use convolution::{
    Kind, Normal, arranged, convolution, convolution_of_normal, plain as plain_convolution,
};
pub use expectation::TEMPERATURE_FLOOR;
pub use expectation::{
    Expectation, PackedMask, TokenMask, categorical_expectation, categorical_expectation_guided,
    packed_expectation, plain_expectation, plain_guided,
};
pub use fused::{code_loss, gelu_tanh, group_norm, group_norm_silu, layer_norm_modulate, plain};
#[cfg(test)]
pub(crate) use gpu::spoil_loss;
pub use gpu::{Path, Shader, take_path};
pub use linear::forget_unused;
pub use linear::{linear, linear_gated, linear_gelu, plain as plain_linear};
pub use nearest::{nearest_codes, plain_nearest_codes};
pub(crate) use vectors::{dispatch, multiply_add};
