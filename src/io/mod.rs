//! Files: written whole or not at all, and read without trusting them.

pub mod atomic;
pub mod png;
pub mod tensors;
