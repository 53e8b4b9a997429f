//! The sliced Wasserstein distance (Bonneel et al. 2015): sets are compared along random directions, where the
//! distance of order 1 is known exactly.

use rayon::prelude::*;

use super::draws::{self, Purpose};
use super::matrix::Matrix;

/// Directions of which the distance is the mean.
pub const DIRECTIONS: usize = 256;

/// Directions of unit length, `[DIRECTIONS, d]` row by row. They are made of normal numbers that f32 holds.
pub fn directions(seed: u64, features: usize) -> Matrix {
    let values = draws::normals(seed, Purpose::Directions, DIRECTIONS * features);
    let values = values.chunks(features).flat_map(|direction| {
        let length = direction.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
        direction.iter().map(move |value| f64::from(*value) / length)
    });
    Matrix::new(features, values.collect())
}

/// The mean over [`directions`] of the Wasserstein distance of order 1, in the unit of the features; nothing of
/// empty sets.
pub fn distance(real: &Matrix, other: &Matrix, seed: u64) -> Option<f64> {
    if real.rows() == 0 || other.rows() == 0 {
        return None;
    }
    let directions = directions(seed, real.columns());
    let rows: Vec<&[f64]> = directions.iter().collect();
    let distances: Vec<f64> = rows
        .into_par_iter()
        .map(|direction| wasserstein(&projected(real, direction), &projected(other, direction)))
        .collect();
    Some(distances.iter().sum::<f64>() / DIRECTIONS as f64)
}

/// Where the rows lie along a direction, rising.
fn projected(features: &Matrix, direction: &[f64]) -> Vec<f64> {
    let along = |row: &[f64]| row.iter().zip(direction).map(|(value, part)| value * part).sum();
    let mut places: Vec<f64> = features.iter().map(along).collect();
    places.sort_unstable_by(f64::total_cmp);
    places
}

/// The distance of order 1 of two sets on a line, both rising: the area between their quantile functions.
fn wasserstein(a: &[f64], b: &[f64]) -> f64 {
    let (n, m) = (a.len(), b.len());
    // Quantiles in parts of n m, in which both step at whole numbers.
    let (mut i, mut j, mut at, mut area) = (0, 0, 0, 0.0);
    while i < n && j < m {
        let (a_ends, b_ends) = ((i + 1) * m, (j + 1) * n);
        let end = a_ends.min(b_ends);
        area += (end - at) as f64 * (a[i] - b[j]).abs();
        i += usize::from(a_ends == end);
        j += usize::from(b_ends == end);
        at = end;
    }
    area / (n * m) as f64
}

#[cfg(test)]
mod tests {
    use super::super::matrix::tests::{features, hashed};
    use super::*;

    /// `scripts/evaluate_numbers.py`: scipy.stats.wasserstein_distance.
    #[test]
    fn distances_on_a_line_are_those_of_scipy() {
        let mut a = hashed(1, 30);
        let mut b: Vec<f64> = hashed(2, 21).into_iter().map(|value| 0.5 * value + 0.3).collect();
        a.sort_by(f64::total_cmp);
        b.sort_by(f64::total_cmp);
        assert!((wasserstein(&a, &b) - 0.328_175_382_170_205).abs() < 1e-12);
        assert!((wasserstein(&b, &a) - 0.328_175_382_170_205).abs() < 1e-12);
        assert_eq!(wasserstein(&a, &a), 0.0);
    }

    #[test]
    fn a_shift_counts_as_much_as_it_lies_along_the_directions() {
        let a = features(1, 40, 5, 0.0);
        let moved = Matrix::new(5, a.values().iter().map(|value| value + 0.5).collect());
        let along: f64 =
            directions(1, 5).iter().map(|row| 0.5 * row.iter().sum::<f64>().abs()).sum();
        let expected = along / DIRECTIONS as f64;
        assert!((distance(&a, &moved, 1).unwrap() - expected).abs() < 1e-12);
        assert_eq!(distance(&a, &a, 1), Some(0.0));
        assert_eq!(distance(&a, &Matrix::new(5, Vec::new()), 1), None);
    }

    #[test]
    fn directions_are_of_unit_length() {
        for row in directions(3, 6).iter() {
            assert!((row.iter().map(|value| value * value).sum::<f64>() - 1.0).abs() < 1e-12);
        }
    }
}
