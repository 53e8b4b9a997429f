//! How often a belief is right, against how sure it is.

use serde::{Deserialize, Serialize};

/// Bins of a reliability diagram, each of as many tokens.
pub const BINS: usize = 15;

/// Tokens that are about as sure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bin {
    /// Mean probability of the likeliest code.
    pub confidence: f64,
    /// Share of the tokens of which it is the true one.
    pub accuracy: f64,
    /// Number of tokens.
    pub tokens: usize,
}

/// Expected calibration error over bins of equal mass (Naeini et al. 2015, Nixon et al. 2019).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reliability {
    /// From the least to the most sure.
    pub bins: Vec<Bin>,
    /// Mean distance between confidence and accuracy of the bins, weighed by their tokens.
    pub error: f64,
    /// What so many independent tokens of a perfectly calibrated belief would give, about.
    pub by_chance: f64,
}

impl Reliability {
    /// Of tokens, each with the probability of its likeliest code, and whether that is the true one.
    pub fn of(mut tokens: Vec<(f32, bool)>) -> Self {
        tokens.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let count = tokens.len();
        let (mut bins, mut error, mut by_chance) = (Vec::new(), 0.0, 0.0);
        for bin in 0..BINS {
            let part = &tokens[bin * count / BINS..(bin + 1) * count / BINS];
            if part.is_empty() {
                continue;
            }
            let number = part.len() as f64;
            let sure = |token: &(f32, bool)| f64::from(token.0);
            let confidence = part.iter().map(sure).sum::<f64>() / number;
            let accuracy = part.iter().filter(|token| token.1).count() as f64 / number;
            let variance = part.iter().map(sure).map(|p| p * (1.0 - p)).sum::<f64>().max(0.0);
            let share = number / count as f64;
            error += share * (accuracy - confidence).abs();
            // Mean absolute deviation of a normal distribution.
            by_chance += share * (2.0 / std::f64::consts::PI * variance).sqrt() / number;
            bins.push(Bin { confidence, accuracy, tokens: part.len() });
        }
        Self { bins, error, by_chance }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Stream;

    fn tokens(count: usize, right: impl Fn(f64) -> f64) -> Vec<(f32, bool)> {
        let mut stream = Stream::new(1, 1);
        (0..count)
            .map(|_| {
                let sure = 0.2 + 0.8 * stream.uniform();
                (sure as f32, stream.uniform() < right(sure))
            })
            .collect()
    }

    #[test]
    fn a_calibrated_belief_is_off_by_chance_and_no_more() {
        let found = Reliability::of(tokens(60_000, |sure| sure));
        assert!(found.error < 2.0 * found.by_chance, "{} {}", found.error, found.by_chance);
        assert!(found.error > 0.2 * found.by_chance);
        assert_eq!(found.bins.len(), BINS);
        assert!(found.bins.iter().all(|bin| bin.tokens == 4_000));
    }

    #[test]
    fn a_belief_that_is_too_sure_is_off_by_as_much() {
        let found = Reliability::of(tokens(60_000, |sure| sure - 0.15));
        assert!((found.error - 0.15).abs() < 0.01, "{}", found.error);
    }

    #[test]
    fn few_tokens_make_few_bins() {
        let found = Reliability::of(vec![(0.5, true), (1.0, true)]);
        assert_eq!((found.bins.len(), found.error), (2, 0.25));
        assert_eq!(Reliability::of(Vec::new()).bins, []);
    }
}
