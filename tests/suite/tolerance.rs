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
            // Disturbed: 1.3e-5; 2.9e-5 in an order of adding up that this program once had: where the terms
            // of a product cancel, their order costs more than the last bit of the result.
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

/// What half precision is held to, on the GPU.
///
/// A number of two bytes has eleven binary digits, one part in 2048, so a network's outputs lie a few times
/// that from those in f32. PyTorch, with the golden networks whole in f16 or under autocast, is off by 2.6e-3
/// to 6.5e-3 of the largest output. The comments give what was found on llvmpipe.
#[derive(Debug, Clone, Copy)]
pub struct Half;

impl Half {
    /// Outputs of the golden networks (4.5e-3).
    pub const OUTPUTS: f32 = 1e-2;
    /// Means of the codebook (6.4e-3), which a change of logits moves between codes.
    pub const MEANS: f32 = 3e-2;
    /// Entropy (4.3e-3), log Z (9.3e-4) and probabilities (1.1e-2).
    pub const BELIEFS: f32 = 3e-2;
    /// Levels of 255 between pictures of the same latents, on average (0.024) and at the most (1).
    pub const DECODED_MEAN: f64 = 0.1;
    /// See [`Half::DECODED_MEAN`].
    pub const DECODED_MOST: u8 = 3;
    /// Part of the codes that are equal after a run of 8 guided steps (0.998): a code that comes out
    /// otherwise changes what comes after it.
    pub const EQUAL_CODES: f64 = 0.98;
    /// Levels between the pictures of that run, on average (0.15; where a code is another one, up to 38).
    pub const PICTURES_MEAN: f64 = 1.0;
    /// Losses of 40 steps of training (5.5e-5), of each of them.
    pub const LOSSES: f64 = 2e-3;
}
