//! Which examples a step sees, as a function of the step alone, so that a resumed run goes on as
//! if it had never stopped.

use crate::rng::Stream;

/// Shuffled passes over `examples` items, cut into batches that run across the ends of passes.
#[derive(Debug)]
pub struct EpochOrder {
    seed: u64,
    examples: usize,
    /// The pass whose order is kept.
    epoch: Option<usize>,
    order: Vec<usize>,
}

impl EpochOrder {
    /// Streams of a seed from here on belong to the order of passes.
    const STREAMS: u64 = 1 << 62;

    /// Passes over `examples` items, at least one.
    pub fn new(seed: u64, examples: usize) -> Self {
        Self { seed, examples: examples.max(1), epoch: None, order: Vec::new() }
    }

    /// The items of batch number `step`, from 0.
    pub fn batch(&mut self, step: usize, size: usize) -> Vec<usize> {
        (step * size..(step + 1) * size).map(|at| self.item(at)).collect()
    }

    fn item(&mut self, at: usize) -> usize {
        let epoch = at / self.examples;
        if self.epoch != Some(epoch) {
            self.order = (0..self.examples).collect();
            Stream::new(self.seed, Self::STREAMS + epoch as u64).shuffle(&mut self.order);
            self.epoch = Some(epoch);
        }
        self.order[at % self.examples]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pass_sees_every_item_once_and_any_step_can_be_asked_for() {
        let mut order = EpochOrder::new(5, 10);
        let batches: Vec<_> = (0..5).map(|step| order.batch(step, 4)).collect();
        for pass in batches.concat().chunks(10) {
            let mut pass = pass.to_vec();
            pass.sort_unstable();
            assert_eq!(pass, (0..10).collect::<Vec<_>>());
        }
        assert_eq!(EpochOrder::new(5, 10).batch(3, 4), batches[3]);
    }
}
