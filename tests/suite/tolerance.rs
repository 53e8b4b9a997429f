//! How far from the golden numbers f32 arithmetic may lie, stated once.
//!
//! No two processors add up in the same order, so the last bits of every activation and of every
//! gradient differ. `scripts/tolerances.py` runs the golden networks in PyTorch in f32 with those last
//! bits changed at random; the comments give the largest error of 200 such runs, relative to the largest
//! value of a tensor. What is allowed is at least that, and at least twice that where it is near.

use purrscope::flow::Solver;
use purrscope::model::Objective;

/// What a backend is held to. Errors are relative to the largest value of a tensor.
#[derive(Debug, Clone, Copy)]
pub struct Tolerances {
    /// Outputs (disturbed: 7.9e-6), losses (5.9e-7), tokenizers, the categorical expectation.
    pub values: f32,
    /// Trajectories (disturbed: 3.4e-5).
    pub paths: f32,
}

impl Tolerances {
    /// burn's CPU backend, with any vectors.
    pub const CPU: Self = Self { values: 1e-5, paths: 1e-4 };
    /// wgpu: drivers may add up in f32 as they like, and divide and take exponentials less exactly.
    pub const GPU: Self = Self { values: 1e-4, paths: 5e-4 };

    /// Gradients of the loss, which pass backwards through everything.
    pub fn gradients(self, objective: Objective) -> f32 {
        let least: f32 = match objective {
            // Disturbed: 1.0e-5, 7.8e-6.
            Objective::Purrception | Objective::Cfm => 2e-5,
            // Disturbed: 1.3e-5. Here 2.9e-5 with AVX-512 and 1.4e-5 with AVX2: where the terms of a
            // product cancel, their order costs more than the last bit of the result.
            Objective::Dfm => 5e-5,
            // Disturbed: 4.5e-5, of the first block's `qkv`.
            Objective::CfmEndpoint => 1e-4,
        };
        least.max(self.values)
    }

    /// A trajectory of so many steps.
    pub fn path(self, objective: Objective, solver: Solver, steps: usize) -> f32 {
        // Sensitive; disturbed: 2.4e-4.
        let sensitive =
            objective == Objective::Purrception && solver == Solver::Midpoint && steps == 4;
        if sensitive { 1e-3 } else { self.paths }
    }
}
