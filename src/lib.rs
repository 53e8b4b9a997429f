//! Purrscope: watch, question and steer a generative flow over vector-quantised latents.
//!
//! Dependencies point one way, and a test holds them to it. From the top: [`cli`] and [`studio`]; under
//! them [`mod@bench`], then [`train`], [`sweep`], [`mod@calibrate`], [`judge`] and [`doctor`];
//! then [`flow`], the method, over [`model`], the networks; then [`data`]; and on the ground [`io`], [`kernels`], [`device`] and the small parts
//! [`latents`], [`rng`], [`say`], [`folders`] and [`fault`].

pub mod bench;
pub mod calibrate;
pub mod cli;
pub mod data;
pub mod device;
pub mod doctor;
pub mod fault;
pub mod flow;
pub mod folders;
pub mod io;
pub mod judge;
pub mod kernels;
pub mod latents;
pub mod model;
pub mod readback;
pub mod rng;
pub mod room;
pub mod say;
pub mod studio;
pub mod sweep;
pub mod train;
