//! Which examples a step sees, as a function of the step alone, so that a resumed run goes on as
//! if it had never stopped.

use crate::rng::Stream;

/// Shuffled passes over `examples` items, cut into batches that run across the ends of passes.
#[derive(Debug)]
pub struct EpochOrder {
    seed: u64,
    examples: usize,
    shuffling: Shuffling,
    /// The pass whose order is kept.
    epoch: Option<usize>,
    order: Vec<usize>,
}

impl EpochOrder {
    /// Streams of a seed from here on belong to the order of passes.
    const STREAMS: u64 = 1 << 62;

    /// Passes over `examples` items, at least one.
    pub fn new(seed: u64, examples: usize) -> Self {
        let (examples, shuffling) = (examples.max(1), Shuffling::Whole);
        Self { seed, examples, shuffling, epoch: None, order: Vec::new() }
    }

    /// Passes over the items of shards, `starts` being the first item of each and the number of
    /// items: the shards in a random order, their items streamed through a buffer of `buffer` out of
    /// which each is taken at random, as WebDataset does. Files are read nearly in sequence.
    pub fn streamed(seed: u64, starts: &[usize], buffer: usize) -> Self {
        let shuffling = Shuffling::Streamed { starts: starts.to_vec(), buffer: buffer.max(1) };
        let examples = starts.last().copied().unwrap_or(0).max(1);
        Self { seed, examples, shuffling, epoch: None, order: Vec::new() }
    }

    /// The items of batch number `step`, from 0.
    pub fn batch(&mut self, step: usize, size: usize) -> Vec<usize> {
        (step * size..(step + 1) * size).map(|at| self.item(at)).collect()
    }

    fn item(&mut self, at: usize) -> usize {
        let epoch = at / self.examples;
        if self.epoch != Some(epoch) {
            let stream = Stream::new(self.seed, Self::STREAMS + epoch as u64);
            self.order = self.shuffling.order(self.examples, stream);
            self.epoch = Some(epoch);
        }
        self.order[at % self.examples]
    }
}

/// How a pass is put in order.
#[derive(Debug)]
enum Shuffling {
    Whole,
    Streamed { starts: Vec<usize>, buffer: usize },
}

impl Shuffling {
    fn order(&self, examples: usize, mut stream: Stream) -> Vec<usize> {
        let Self::Streamed { starts, buffer } = self else {
            let mut order: Vec<usize> = (0..examples).collect();
            stream.shuffle(&mut order);
            return order;
        };
        let mut shards: Vec<&[usize]> = starts.windows(2).collect();
        stream.shuffle(&mut shards);
        let mut arriving = shards.into_iter().flat_map(|ends| ends[0]..ends[1]);
        let mut held: Vec<usize> = arriving.by_ref().take(*buffer).collect();
        let mut order = Vec::with_capacity(examples);
        while !held.is_empty() {
            let at = stream.below(held.len());
            order.push(match arriving.next() {
                Some(next) => std::mem::replace(&mut held[at], next),
                None => held.swap_remove(at),
            });
        }
        order
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

    #[test]
    fn streamed_passes_see_every_item_once_and_near_its_place() {
        let starts: Vec<usize> = (0..=20).map(|shard| shard * 50).collect();
        let mut order = EpochOrder::streamed(3, &starts, 30);
        let pass: Vec<usize> = order.batch(0, 1000);
        let mut sorted = pass.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..1000).collect::<Vec<_>>());
        assert_ne!(pass, order.batch(1, 1000));
        // Shards begin in the order in which they are streamed, and a buffer of 30 of 50 lets few run late.
        let switches = pass.windows(2).filter(|pair| pair[0] / 50 != pair[1] / 50).count();
        assert!((20..800).contains(&switches), "{switches} changes of shard");
        assert_eq!(EpochOrder::streamed(3, &starts, 30).batch(1, 1000), order.batch(1, 1000));
    }
}
