//! The kernel distance (KID, Binkowski et al. 2018): the squared maximum mean discrepancy under the kernel
//! `(x . y / d + 1)^3`.

use ndarray::{Array2, s};
use rayon::prelude::*;
use serde::Serialize;

use super::draws::{self, Purpose};
use super::matrix::Matrix;

/// Subsets from whose spread the error is known.
const SUBSETS: usize = 100;
/// Most pictures of a subset.
const MOST: usize = 500;
/// Rows whose kernel is computed at once.
const BLOCK: usize = 256;
/// Half of the width of a 95% interval of a normal distribution, in standard deviations.
const NORMAL_95: f64 = 1.959_963_984_540_054;

/// A kernel distance.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Kid {
    /// The unbiased estimate from all pictures; a little below 0 where the sets are of one distribution.
    pub value: f64,
    /// Ends of its 95% interval.
    pub low: f64,
    /// See `low`.
    pub high: f64,
    /// Standard deviation over subsets of `subset_size` pictures, as other programs give it.
    pub subset_deviation: f64,
    /// Pictures of each set in a subset.
    pub subset_size: usize,
}

/// The pictures of both sets in each subset: half of the smaller set, 500 at the most.
pub fn subsets(seed: u64, counts: [usize; 2]) -> Vec<[Vec<usize>; 2]> {
    let size = (counts[0].min(counts[1]) / 2).min(MOST);
    (0..SUBSETS).map(|number| draws::pair(seed, Purpose::Kid, number, counts, size)).collect()
}

/// The distance of two sets; nothing of fewer than four pictures, which have no subsets.
pub fn distance(real: &Matrix, other: &Matrix, seed: u64) -> Option<Kid> {
    let counts = [real.rows(), other.rows()];
    let fewest = counts[0].min(counts[1]);
    if fewest < 4 {
        return None;
    }
    let value = mmd(real, other);
    let subsets = subsets(seed, counts);
    let size = subsets.first()?[0].len();
    let values: Vec<f64> = subsets
        .par_iter()
        .map(|[first, second]| mmd(&real.select(first), &other.select(second)))
        .collect();
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let variance =
        values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (values.len() - 1) as f64;
    // Subsets of a share f of a set, drawn without repetition, vary around the whole set's value (1 - f) / f times
    // as much as that varies itself.
    let share = size as f64 / fewest as f64;
    let error = (variance * share / (1.0 - share)).sqrt();
    Some(Kid {
        value,
        low: value - NORMAL_95 * error,
        high: value + NORMAL_95 * error,
        subset_deviation: variance.sqrt(),
        subset_size: size,
    })
}

/// The unbiased estimate of the squared discrepancy.
fn mmd(real: &Matrix, other: &Matrix) -> f64 {
    let within = |set: &Matrix| {
        let n = set.rows() as f64;
        let own: f64 = set.iter().map(|row| kernel(dot(row, row), set.columns())).sum();
        (kernel_sum(set, set) - own) / (n * (n - 1.0))
    };
    let across = kernel_sum(real, other) / (real.rows() as f64 * other.rows() as f64);
    within(real) + within(other) - 2.0 * across
}

fn kernel(product: f64, columns: usize) -> f64 {
    let base = product / columns as f64 + 1.0;
    base * base * base
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The sum of the kernel over all pairs, in an order that is always the same.
fn kernel_sum(a: &Matrix, b: &Matrix) -> f64 {
    let (a, b, columns) = (a.view(), b.view(), a.columns());
    let starts: Vec<usize> = (0..a.nrows()).step_by(BLOCK).collect();
    let sums: Vec<f64> = starts
        .into_par_iter()
        .map(|first| {
            let block = a.slice(s![first..(first + BLOCK).min(a.nrows()), ..]);
            let products: Array2<f64> = block.dot(&b.t());
            products.iter().map(|product| kernel(*product, columns)).sum()
        })
        .collect();
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::super::matrix::tests::features;
    use super::*;

    /// `scripts/evaluate_numbers.py`: torchmetrics.image.kid.poly_mmd.
    #[test]
    fn the_estimate_is_that_of_torchmetrics() {
        let (a, b) = (features(1, 60, 7, 0.0), features(2, 50, 7, 0.1));
        let found = distance(&a, &b, 1).unwrap();
        assert!((found.value - 0.021_237_034_636_055_5).abs() < 1e-12, "{found:?}");
        assert_eq!(found.subset_size, 25);
        // More rows than are computed at once.
        let (a, b) = (features(1, 600, 3, 0.0), features(2, 300, 3, 0.1));
        assert!((mmd(&a, &b) - 0.035_837_158_731_395).abs() < 1e-12);
    }

    #[test]
    fn the_interval_holds_0_for_one_distribution_and_not_for_two() {
        let (a, b) = (features(1, 400, 7, 0.0), features(2, 400, 7, 0.0));
        let same = distance(&a, &b, 1).unwrap();
        assert!(same.low < 0.0 && same.high > 0.0, "{same:?}");
        let moved = distance(&a, &features(2, 400, 7, 0.2), 1).unwrap();
        assert!(moved.low > 0.0, "{moved:?}");
        assert_eq!(distance(&features(1, 3, 7, 0.0), &b, 1), None);
    }

    /// What the interval is for: over many pairs of sets, values lie about as far apart as it says.
    #[test]
    fn the_interval_is_as_wide_as_values_scatter() {
        let found: Vec<Kid> = (0..30)
            .map(|pair| {
                let (a, b) = (features(2 * pair, 100, 4, 0.0), features(2 * pair + 1, 100, 4, 0.3));
                distance(&a, &b, 1).unwrap()
            })
            .collect();
        let mean = found.iter().map(|kid| kid.value).sum::<f64>() / 30.0;
        let scatter =
            (found.iter().map(|kid| (kid.value - mean).powi(2)).sum::<f64>() / 29.0).sqrt();
        let said =
            found.iter().map(|kid| (kid.high - kid.low) / 2.0 / NORMAL_95).sum::<f64>() / 30.0;
        assert!((0.6..1.6).contains(&(said / scatter)), "{said} of {scatter}");
    }
}
