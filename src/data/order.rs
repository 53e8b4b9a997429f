//! Which examples a step sees, as a function of the step alone, so that a resumed run goes on as
//! if it had never stopped.

use serde::{Deserialize, Serialize};

use crate::rng::Stream;

/// How often the pictures of a class are seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Balance {
    /// Every picture once in a pass: a class in proportion to its number of pictures.
    #[default]
    AsIs,
    /// A class in proportion to the square root of its number of pictures.
    SquareRoot,
    /// All classes equally often.
    Even,
}

impl Balance {
    /// What the share of a class of `pictures` is in proportion to.
    fn weight(self, pictures: usize) -> f64 {
        match self {
            Self::AsIs => pictures as f64,
            Self::SquareRoot => (pictures as f64).sqrt(),
            Self::Even => f64::from(u8::from(pictures > 0)),
        }
    }
}

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

    /// Passes of as many draws as there are items of the classes `labels`, at least one, in which the classes come
    /// as often as `balance` says and the items of a class equally often, as nearly as whole numbers allow.
    pub fn balanced(seed: u64, labels: &[usize], balance: Balance) -> Self {
        if balance == Balance::AsIs || labels.is_empty() {
            return Self::new(seed, labels.len());
        }
        let mut classes = vec![Vec::new(); labels.iter().max().map_or(0, |most| most + 1)];
        labels.iter().enumerate().for_each(|(item, label)| classes[*label].push(item));
        let weights = classes.iter().map(|items| balance.weight(items.len()));
        let whole: f64 = weights.clone().sum();
        let ends = weights.scan(0.0, |sum, weight| {
            *sum += weight;
            Some(*sum / whole)
        });
        let shuffling = Shuffling::Balanced { seed, ends: ends.collect(), classes };
        Self { seed, examples: labels.len().max(1), shuffling, epoch: None, order: Vec::new() }
    }

    /// The items of batch number `step`, from 0.
    pub fn batch(&mut self, step: usize, size: usize) -> Vec<usize> {
        (step * size..(step + 1) * size).map(|at| self.item(at)).collect()
    }

    fn item(&mut self, at: usize) -> usize {
        let epoch = at / self.examples;
        if self.epoch != Some(epoch) {
            let stream = Stream::new(self.seed, Self::STREAMS + epoch as u64);
            self.order = self.shuffling.order(self.examples, epoch, stream);
            self.epoch = Some(epoch);
        }
        self.order[at % self.examples]
    }
}

/// How a pass is put in order.
#[derive(Debug)]
enum Shuffling {
    Whole,
    Streamed {
        starts: Vec<usize>,
        buffer: usize,
    },
    Balanced {
        seed: u64,
        /// The share of draws that go to each class and those before it, rising to 1.
        ends: Vec<f64>,
        /// The items of each class.
        classes: Vec<Vec<usize>>,
    },
}

impl Shuffling {
    /// Streams of a seed from here on belong to the order of items within classes.
    const CLASS_STREAMS: u64 = 1 << 57;

    fn order(&self, examples: usize, epoch: usize, mut stream: Stream) -> Vec<usize> {
        let (starts, buffer) = match self {
            Self::Whole => {
                let mut order: Vec<usize> = (0..examples).collect();
                stream.shuffle(&mut order);
                return order;
            }
            Self::Balanced { seed, ends, classes } => {
                let mut order = Self::draws(*seed, ends, classes, examples, epoch);
                stream.shuffle(&mut order);
                return order;
            }
            Self::Streamed { starts, buffer } => (starts, buffer),
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

    /// What pass `epoch` draws, class by class. Each class has a sequence of its own, passes over its items,
    /// and each pass over all takes up where the one before has left it: that place is known without having
    /// been there.
    fn draws(
        seed: u64,
        ends: &[f64],
        classes: &[Vec<usize>],
        examples: usize,
        epoch: usize,
    ) -> Vec<usize> {
        // Draws of the classes up to one whose share ends at `end`, in all passes before `epoch`.
        let before =
            |epoch: usize, end: f64| (examples as f64 * epoch as f64 * end).round() as usize;
        let mut order = Vec::with_capacity(examples);
        for (class, items) in classes.iter().enumerate().filter(|(_, items)| !items.is_empty()) {
            let begin = if class == 0 { 0.0 } else { ends[class - 1] };
            let drawn = |epoch| before(epoch, ends[class]).saturating_sub(before(epoch, begin));
            let mut of_pass = (usize::MAX, Vec::new());
            for at in drawn(epoch)..drawn(epoch + 1) {
                let pass = at / items.len();
                if of_pass.0 != pass {
                    let stream = Self::CLASS_STREAMS + ((class as u64) << 32) + pass as u64;
                    let mut items = items.clone();
                    Stream::new(seed, stream).shuffle(&mut items);
                    of_pass = (pass, items);
                }
                order.push(of_pass.1[at % items.len()]);
            }
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

    /// How often each of some items is drawn in passes `from..to` over 1000.
    fn drawn(order: &mut EpochOrder, from: usize, to: usize) -> Vec<usize> {
        let mut counts = vec![0; 1000];
        (from..to).for_each(|pass| order.batch(pass, 1000).iter().for_each(|i| counts[*i] += 1));
        counts
    }

    #[test]
    fn classes_come_as_often_as_they_are_to() {
        // 900, 90 and 9 pictures, none, and 1; square roots 30, 9.4868, 3 and 1 of 43.4868.
        let labels: Vec<usize> = [(0, 900), (1, 90), (2, 9), (4, 1)]
            .iter()
            .flat_map(|(label, count)| vec![*label; *count])
            .collect();
        for (balance, shares) in [
            (Balance::AsIs, [900.0, 90.0, 9.0, 1.0]),
            (Balance::SquareRoot, [689.86, 218.15, 68.99, 23.0]),
            (Balance::Even, [250.0; 4]),
        ] {
            let mut order = EpochOrder::balanced(7, &labels, balance);
            let counts = drawn(&mut order, 0, 50);
            for (items, share) in [0..900, 900..990, 990..999, 999..1000].into_iter().zip(shares) {
                let sum: usize = counts[items.clone()].iter().sum();
                // Within 1, and what the shares above are rounded by.
                assert!((sum as f64 - 50.0 * share).abs() <= 1.3, "{balance:?}: {sum} of {share}");
                let [least, most] =
                    [counts[items.clone()].iter().min(), counts[items].iter().max()];
                assert!(most.unwrap() - least.unwrap() <= 1, "all of a class equally often");
            }
            // Every pass by itself, and any pass can be asked for first.
            let one = drawn(&mut order, 31, 32);
            let sum: usize = one[900..990].iter().sum();
            assert!((sum as f64 - shares[1]).abs() <= 2.0, "{balance:?}: {sum} of {}", shares[1]);
            let mut afresh = EpochOrder::balanced(7, &labels, balance);
            assert_eq!(afresh.batch(333, 97), order.batch(333, 97), "{balance:?}");
        }
        let mut even = EpochOrder::balanced(7, &labels, Balance::Even);
        let batch = even.batch(0, 100);
        let rare = batch.iter().filter(|item| **item >= 990).count();
        assert!((30..70).contains(&rare), "classes are mixed within a pass: {rare} of 100");
    }

    #[test]
    fn as_they_are_pictures_come_in_the_order_of_a_plain_pass() {
        let labels = [0, 0, 1, 1, 1, 0, 2];
        let mut balanced = EpochOrder::balanced(4, &labels, Balance::AsIs);
        assert_eq!(balanced.batch(3, 5), EpochOrder::new(4, 7).batch(3, 5));
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
