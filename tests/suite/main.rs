//! Behaviour through the public interface, in one binary because each binary links for long.

mod cli;
mod golden;
mod kernels;
mod reference;
mod solvers;
mod training;

/// Devices and comparisons that several modules share.
mod common;
