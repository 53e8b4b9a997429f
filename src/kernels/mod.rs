//! The operations at the heart of a step.

mod expectation;

pub use expectation::{Expectation, categorical_expectation};
