//! Files: written whole or not at all, and read without trusting them.

// Numbers of files are anyone's.
#![cfg_attr(not(test), warn(clippy::cast_possible_truncation))]

pub mod animation;
pub mod atomic;
pub mod digest;
pub mod foreign;
mod header;
pub mod input;
pub mod json;
pub mod names;
mod narrow;
pub mod npy;
pub mod numbered;
mod numbers;
pub mod outputs;
pub mod paths;
pub mod pickle;
pub mod png;
pub mod sheet;
pub mod tensors;
pub mod torch;
