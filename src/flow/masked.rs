//! Masked discrete Euler steps of the `dfm` objective, after Campbell et al. 2024, "Generative flows
//! on discrete state-spaces".
//!
//! [The reference's loop] draws twice a step and edits its state while it reads it; here a step reads
//! the state at its beginning, and each token draws once.
//!
//! [The reference's loop]: https://github.com/razvanmatisan/purrception/blob/de66f961c057618baef02ef65a0183acedf7e1f7/utils/sample_utils.py#L298-L399

use super::predictor::Draw;

/// Probabilities of what happens to a token in one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// Of a masked token: to be revealed. `min(1, dt (1 + eta t) / (1 - t))`
    reveal: f64,
    /// Of a revealed token: to be masked again. `min(1, dt eta)`, and 0 in the last step
    hide: f64,
}

/// What one step does.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Tokens to be revealed, and what decides their codes.
    pub draws: Vec<Draw>,
    /// Tokens to be masked again.
    pub hide: Vec<usize>,
}

impl Rates {
    /// Of the step from `t` to `t_next` at stochasticity `eta`; the step to 1 reveals everything.
    pub fn new(t: f64, t_next: f64, eta: f64) -> Self {
        if t_next >= 1.0 {
            return Self { reveal: 1.0, hide: 0.0 };
        }
        let dt = t_next - t;
        Self { reveal: (dt * (1.0 + eta * t) / (1.0 - t)).min(1.0), hide: (dt * eta).min(1.0) }
    }

    /// Decides for every token. `chances` gives each two numbers from `[0, 1)`: whether anything
    /// happens, and which code is drawn. Pinned tokens stay as they are.
    pub fn plan(
        self,
        codes: &[u32],
        masked: u32,
        pinned: &[usize],
        chances: impl Iterator<Item = (f64, f64)>,
    ) -> Plan {
        let mut plan = Plan { draws: Vec::new(), hide: Vec::new() };
        let held: std::collections::BTreeSet<&usize> = pinned.iter().collect();
        for (token, (code, (chance, uniform))) in codes.iter().zip(chances).enumerate() {
            match *code == masked {
                _ if held.contains(&token) => {}
                true if chance < self.reveal => plan.draws.push(Draw { token, uniform }),
                false if chance < self.hide => plan.hide.push(token),
                _ => {}
            }
        }
        plan
    }
}
