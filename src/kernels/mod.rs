//! The operations at the heart of the networks and of a step.
//!
//! Each fused operation has a twin made of plain tensor operations, in the same file, which runs
//! where there is no kernel for the device and which tests compare it with, in value and gradient.

mod expectation;
mod extension;
mod fused;
mod host;

pub use expectation::{Expectation, TokenMask, categorical_expectation, plain_expectation};
pub use fused::{code_loss, gelu_tanh, group_norm_silu, layer_norm_modulate, plain};
