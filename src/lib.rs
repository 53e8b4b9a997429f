//! Purrscope: watch, question and steer a generative flow over vector-quantised latents.
//!
//! Dependencies point one way: [`cli`] and [`studio`] know [`bench`], [`doctor`], [`train`], [`flow`] and
//! [`model`]; those know [`data`], [`io`] and [`device`].

pub mod bench;
pub mod cli;
pub mod data;
pub mod device;
pub mod doctor;
pub mod fault;
pub mod flow;
pub mod io;
pub mod kernels;
pub mod model;
pub mod rng;
pub mod say;
pub mod studio;
pub mod train;
