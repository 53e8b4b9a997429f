//! What is drawn at random: a function of the seed and of sizes alone, so that a figure can be computed again.

use crate::rng::Stream;

/// What a draw is for; each purpose has streams of the seed of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Two halves of the data.
    Halves,
    /// Subsets of the real pictures, then of the others, for the extrapolation of the Frechet distance.
    Frechet,
    /// The same for the spread of KID.
    Kid,
    /// Directions of the sliced Wasserstein distance.
    Directions,
    /// Pictures for the sheet.
    Sheet,
}

impl Purpose {
    /// Streams of a purpose.
    const EACH: u64 = 1 << 20;
    /// Streams from here on are none of the sampler's.
    const FIRST: u64 = 1 << 61;

    fn stream(self, number: usize) -> u64 {
        Self::FIRST + self as u64 * Self::EACH + number as u64
    }
}

/// `size` of the numbers below `count`, without repetition, in random order.
pub fn subset(seed: u64, purpose: Purpose, number: usize, count: usize, size: usize) -> Vec<usize> {
    let mut all: Vec<usize> = (0..count).collect();
    Stream::new(seed, purpose.stream(number)).shuffle(&mut all);
    all.truncate(size);
    all
}

/// A pair of subsets: of `counts[0]` pictures and of `counts[1]` others, `size` of each.
pub fn pair(
    seed: u64,
    purpose: Purpose,
    number: usize,
    counts: [usize; 2],
    size: usize,
) -> [Vec<usize>; 2] {
    [0, 1].map(|side| subset(seed, purpose, 2 * number + side, counts[side], size))
}

/// Two halves of `count` pictures, of one size; of an odd number one picture is in neither.
pub fn halves(seed: u64, count: usize) -> [Vec<usize>; 2] {
    let all = subset(seed, Purpose::Halves, 0, count, count / 2 * 2);
    let (first, second) = all.split_at(count / 2);
    [first.to_vec(), second.to_vec()]
}

/// `count` standard normal numbers.
pub fn normals(seed: u64, purpose: Purpose, count: usize) -> Vec<f32> {
    Stream::new(seed, purpose.stream(0)).normals(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_depend_on_the_seed_and_repeat_nothing() {
        let mut drawn = subset(1, Purpose::Kid, 0, 50, 20);
        assert_eq!(drawn, subset(1, Purpose::Kid, 0, 50, 20));
        assert_ne!(drawn, subset(2, Purpose::Kid, 0, 50, 20));
        assert_ne!(drawn, subset(1, Purpose::Kid, 1, 50, 20));
        assert_ne!(drawn, subset(1, Purpose::Frechet, 0, 50, 20));
        drawn.sort_unstable();
        drawn.dedup();
        assert_eq!(drawn.len(), 20);
        let [a, b] = halves(3, 9);
        assert_eq!((a.len(), b.len()), (4, 4));
        assert!(a.iter().all(|index| !b.contains(index)));
    }
}
