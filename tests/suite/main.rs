//! Behaviour through the public interface, in one binary because each binary links for long.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "tests may fail loudly, in their helpers as well"
)]

mod bench;
mod calibrate;
mod cli;
mod datasets;
mod doctor;
mod evaluate;
mod foreign;
mod golden;
mod head;
mod hostile;
mod import;
mod import_variants;
mod kernels;
mod layers;
mod limits;
mod lost;
mod memory;
mod mixed;
mod new_run;
mod outputs;
mod portability;
mod precision;
mod reference;
mod shards;
mod solvers;
mod together;
mod tolerance;
mod torch_writer;
mod training;
mod training_trouble;
mod waits;
mod window;

/// Devices and comparisons that several modules share.
mod common;
