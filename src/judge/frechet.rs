//! The Frechet distance between two sets of features, each taken as a Gaussian (Heusel et al. 2017), and what it
//! would be with infinitely many pictures (Chong and Forsyth 2020).

use linfa_linalg::qr::QRInto;
use linfa_linalg::svd::SVDInto;
use ndarray::Array2;
use rayon::prelude::*;
use serde::Serialize;

use super::draws::{self, Purpose};
use super::matrix::{Matrix, squared_distance};

/// Numbers of pictures at which the distance is taken to be extrapolated.
const POINTS: usize = 10;
/// Fewer pictures than this are not extrapolated from.
const FEWEST: usize = 20;

/// A set of features as a Gaussian.
#[derive(Debug, Clone)]
pub struct Gaussian {
    mean: Vec<f64>,
    /// `F` of the covariance `F^T F`, `[m, d]` with `m` the smaller of `n` and `d`.
    factor: Array2<f64>,
    /// Trace of the covariance.
    trace: f64,
}

impl Gaussian {
    /// The Gaussian of the mean and the covariance (with `n - 1`) of the rows; nothing of fewer than two.
    pub fn of(features: &Matrix) -> Option<Self> {
        let (n, d) = (features.rows(), features.columns());
        if n < 2 {
            return None;
        }
        let mean = features.mean();
        let scale = 1.0 / ((n - 1) as f64).sqrt();
        let mut centred = features.view().to_owned();
        for (mut column, mean) in centred.columns_mut().into_iter().zip(&mean) {
            column.mapv_inplace(|value| (value - mean) * scale);
        }
        let trace = centred.iter().map(|value| value * value).sum();
        // A factor of the covariance rather than its square root: what is small in it stays exact.
        let factor = if n > d { centred.qr_into().ok()?.into_r() } else { centred };
        Some(Self { mean, factor, trace })
    }

    /// `|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))`, never negative; nothing of numbers that are not finite.
    ///
    /// The trace of the root is the sum of the singular values of `F1 F2^T`, whose squares are the eigenvalues of
    /// `C1 C2`.
    pub fn distance(&self, other: &Self) -> Option<f64> {
        let product = self.factor.dot(&other.factor.t());
        // The decomposition would go on without end.
        if !product.iter().all(|value| value.is_finite()) {
            return None;
        }
        let (_, values, _) = product.svd_into(false, false).ok()?;
        let shared = values.sum();
        let between = squared_distance(&self.mean, &other.mean);
        let distance = between + self.trace + other.trace - 2.0 * shared;
        distance.is_finite().then(|| distance.max(0.0))
    }
}

/// The Frechet distance of two sets; nothing of fewer than two pictures.
pub fn distance(real: &Matrix, other: &Matrix) -> Option<f64> {
    Gaussian::of(real)?.distance(&Gaussian::of(other)?)
}

/// A distance at infinitely many pictures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Extrapolation {
    /// Where the line meets `1/N = 0`.
    pub value: f64,
    /// Standard error of it, from how far the points lie off the line.
    pub error: f64,
    /// Numbers of pictures of each set, `N`.
    pub sizes: Vec<usize>,
    /// The distance at each of them.
    pub distances: Vec<f64>,
}

/// Numbers of pictures from which the distance is extrapolated, falling: evenly spaced in `1/N`, from all that both
/// sets have down to a quarter, but where there are enough not below what covariances of full rank take. None for
/// small sets.
pub fn sizes(counts: [usize; 2], features: usize) -> Vec<usize> {
    let most = counts[0].min(counts[1]);
    if most < FEWEST {
        return Vec::new();
    }
    let least = (most / 4).max((features + 1).min(most / 2));
    let (from, to) = (1.0 / most as f64, 1.0 / least as f64);
    (0..POINTS)
        .map(|point| 1.0 / (from + (to - from) * point as f64 / (POINTS - 1) as f64))
        .map(|size| size.round() as usize)
        .collect()
}

/// The pictures of both sets that the distance is taken of at each of the [`sizes`].
pub fn subsets(seed: u64, counts: [usize; 2], features: usize) -> Vec<[Vec<usize>; 2]> {
    let sizes = sizes(counts, features).into_iter().enumerate();
    sizes.map(|(at, size)| draws::pair(seed, Purpose::Frechet, at, counts, size)).collect()
}

/// The line through the distances of [`subsets`] of both sets over `1/N`, at `1/N = 0`. Both sets are cut to `N`,
/// since the bias is that of both covariances. Nothing for small sets.
pub fn extrapolate(real: &Matrix, other: &Matrix, seed: u64) -> Option<Extrapolation> {
    let counts = [real.rows(), other.rows()];
    let points = subsets(seed, counts, real.columns())
        .par_iter()
        .map(|[first, second]| {
            Some((first.len(), distance(&real.select(first), &other.select(second))?))
        })
        .collect::<Option<Vec<_>>>()?;
    if points.is_empty() {
        return None;
    }
    let line: Vec<_> = points.iter().map(|(size, value)| (1.0 / *size as f64, *value)).collect();
    let (value, error) = intercept(&line);
    let (sizes, distances) = points.into_iter().unzip();
    Some(Extrapolation { value, error, sizes, distances })
}

/// Where the least-squares line through points `(x, y)` meets `x = 0`, and its standard error.
fn intercept(points: &[(f64, f64)]) -> (f64, f64) {
    let n = points.len() as f64;
    let mean_x = points.iter().map(|(x, _)| x).sum::<f64>() / n;
    let mean_y = points.iter().map(|(_, y)| y).sum::<f64>() / n;
    let spread: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    let slope = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum::<f64>() / spread;
    let value = mean_y - slope * mean_x;
    let off: f64 = points.iter().map(|(x, y)| (y - value - slope * x).powi(2)).sum();
    let error = (off / (n - 2.0) * (1.0 / n + mean_x * mean_x / spread)).sqrt();
    (value, error)
}

#[cfg(test)]
mod tests {
    use super::super::matrix::tests::features;
    use super::*;

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() <= 1e-9 * expected.abs(), "{found} is not {expected}");
    }

    /// `scripts/evaluate_numbers.py`: scipy.linalg.sqrtm of the product of numpy.cov, and numpy's nuclear norm where
    /// covariances are singular.
    #[test]
    fn distances_are_those_of_scipy() {
        let (a, b) = (features(1, 60, 7, 0.0), features(2, 50, 7, 0.1));
        close(distance(&a, &b).unwrap(), 0.250_878_887_824_882);
        let (a, b) = (features(3, 9, 12, 0.0), features(4, 8, 12, 0.2));
        close(distance(&a, &b).unwrap(), 4.747_318_436_449_54);
    }

    #[test]
    fn a_set_has_no_distance_to_itself_and_shifts_count_squared() {
        let a = features(1, 60, 7, 0.0);
        assert!(distance(&a, &a).unwrap() < 1e-12);
        let moved = Matrix::new(7, a.values().iter().map(|value| value + 0.5).collect());
        assert!((distance(&a, &moved).unwrap() - 7.0 * 0.25).abs() < 1e-12);
        // Features that never change are no obstacle.
        let flat = Matrix::new(3, vec![1.0; 30]);
        assert!(distance(&flat, &flat).unwrap() < 1e-12);
        assert_eq!(distance(&features(1, 1, 7, 0.0), &a), None);
    }

    #[test]
    fn sets_of_one_distribution_come_out_at_nothing_when_extrapolated() {
        let (a, b) = (features(5, 2000, 6, 0.0), features(6, 2000, 6, 0.0));
        let plain = distance(&a, &b).unwrap();
        let found = extrapolate(&a, &b, 1).unwrap();
        assert_eq!((found.sizes[0], found.sizes[9]), (2000, 500));
        assert!(found.value.abs() < plain && found.value.abs() < 4.0 * found.error, "{found:?}");
        assert_eq!(extrapolate(&features(1, 19, 3, 0.0), &b, 1), None);
    }

    #[test]
    fn a_line_is_met_where_it_begins() {
        let (value, error) = intercept(&[(1.0, 5.0), (2.0, 7.0), (4.0, 11.0)]);
        close(value, 3.0);
        assert!(error < 1e-12);
        // scipy.stats.linregress: intercept and intercept_stderr.
        let (value, error) = intercept(&[(1.0, 5.0), (2.0, 7.5), (4.0, 11.0), (5.0, 12.0)]);
        close(value, 3.625);
        close(error, 0.568_715_658_303_865);
    }

    #[test]
    fn sizes_fall_to_a_quarter_or_to_a_covariance_of_full_rank() {
        assert_eq!(sizes([1000, 4000], 10), [1000, 750, 600, 500, 429, 375, 333, 300, 273, 250]);
        assert_eq!(sizes([1000, 1000], 300).last(), Some(&301));
        assert_eq!(sizes([1000, 1000], 1280).last(), Some(&500));
        assert!(sizes([1000, 19], 10).is_empty());
    }
}
