//! The temperature that gives a posterior the mean entropy asked for.

/// So often the range is halved: to one part in a thousand.
const HALVINGS: u32 = 14;
/// Cells that the range is halved into.
const CELLS: usize = 1 << HALVINGS;

/// Logarithms of the temperatures between which it is looked for.
fn ends() -> (f64, f64) {
    (0.01f64.ln(), 100.0f64.ln())
}

/// The temperature at which the mean entropy, which rises with it, is `target`: what bisection on the
/// logarithm between 0.01 and 100 finds, to the last bit.
///
/// `entropies_at` is asked of `at_once` rising temperatures at a time, at least 1. With 1 that is
/// bisection, of 14 rounds; where waiting for an answer costs more than the evaluations, more divide
/// what is left into more parts: 3 take 7 rounds.
pub(super) fn temperature_for(
    target: f64,
    at_once: usize,
    mut entropies_at: impl FnMut(&[f32]) -> Vec<f64>,
) -> f32 {
    let (mut low, mut high) = (0, CELLS);
    while high - low > 1 {
        let parts = (at_once + 1).min(high - low);
        let borders: Vec<usize> = (1..parts).map(|i| low + (high - low) * i / parts).collect();
        let temperatures: Vec<f32> = borders.iter().map(|at| border(*at).exp() as f32).collect();
        let entropies = entropies_at(&temperatures);
        let below = entropies.iter().take_while(|entropy| **entropy < target).count();
        high = borders.get(below).copied().unwrap_or(high);
        low = below.checked_sub(1).map_or(low, |last| borders[last]);
    }
    ((border(low) + border(high)) / 2.0).exp() as f32
}

/// Logarithm of the temperature at the lower border of a cell, rounded as bisection comes to it.
fn border(cell: usize) -> f64 {
    let (mut low, mut high) = ends();
    let (mut first, mut end) = (0, CELLS);
    while first < cell && cell < end {
        let (middle, at) = ((low + high) / 2.0, (first + end) / 2);
        if cell < at { (high, end) = (middle, at) } else { (low, first) = (middle, at) }
    }
    if cell == first { low } else { high }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plain bisection.
    fn bisected(target: f64, entropy_at: impl Fn(f32) -> f64) -> f32 {
        let (mut low, mut high) = ends();
        for _ in 0..HALVINGS {
            let middle = (low + high) / 2.0;
            if entropy_at(middle.exp() as f32) < target { low = middle } else { high = middle }
        }
        ((low + high) / 2.0).exp() as f32
    }

    /// Entropy of the softmax of logits `-i * spread` at a temperature.
    fn entropy(codes: usize, spread: f64, tau: f32) -> f64 {
        let shifted = |i: usize| -(i as f64) * spread / f64::from(tau);
        let weights: Vec<f64> = (0..codes).map(|i| shifted(i).exp()).collect();
        let z: f64 = weights.iter().sum();
        z.ln() - weights.iter().enumerate().map(|(i, w)| w / z * shifted(i)).sum::<f64>()
    }

    #[test]
    fn the_temperature_is_that_of_bisection_in_fewer_rounds() {
        for (codes, spread) in [(2, 1.0), (16, 0.3), (64, 4.0), (200, 0.01)] {
            for target in [-1.0, 0.0, 1e-9, 0.3, 0.69, 1.5, 2.7, 4.0, 5.2, 9.0] {
                let entropy_at = |tau: f32| entropy(codes, spread, tau);
                let expected = bisected(target, entropy_at);
                for (at_once, expected_rounds) in [(1, 14), (3, 7), (7, 5), (40_000, 1)] {
                    let mut rounds = 0;
                    let found = temperature_for(target, at_once, |temperatures| {
                        assert!(!temperatures.is_empty() && temperatures.len() <= at_once);
                        assert!(temperatures.is_sorted());
                        rounds += 1;
                        temperatures.iter().map(|tau| entropy_at(*tau)).collect()
                    });
                    let what = format!("{codes} codes {spread} apart, target {target}, {at_once}");
                    assert_eq!(found, expected, "{what}");
                    assert_eq!(rounds, expected_rounds, "{what}");
                }
            }
        }
        let unknown = temperature_for(1.0, 7, |temperatures| vec![f64::NAN; temperatures.len()]);
        assert_eq!(unknown, bisected(1.0, |_| f64::NAN));
    }
}
