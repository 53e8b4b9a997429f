//! Whether pictures are copies of those that a model was trained on: how near they are to the nearest one, against
//! how near pictures are that the model has never seen (after the test of Meehan et al. 2020).

use serde::Serialize;

use super::matrix::Matrix;
use super::neighbours::nearest;

/// Shares at which quantiles are given.
pub const QUANTILES: [f64; 5] = [0.01, 0.05, 0.25, 0.5, 0.75];
/// Share of the held-out pictures whose distances count as suspiciously small.
const NEAR: f64 = 0.05;

/// Distances to the nearest training picture.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Memorisation {
    /// Number of training pictures.
    pub training_pictures: usize,
    /// Quantiles of the distances of the pictures, at 1, 5, 25, 50 and 75 percent.
    pub quantiles: [f64; 5],
    /// The same of the held-out pictures.
    pub data_quantiles: [f64; 5],
    /// Share of the pictures that are nearer to a training picture than 95% of the held-out pictures are; .05 where
    /// both are of one distribution.
    pub near: f64,
    /// How often a picture is nearer than a held-out one, of all pairs; .5 where both are of one distribution.
    pub nearer: f64,
    /// Pictures whose features are exactly those of a training picture.
    pub copies: usize,
}

/// Compares the pictures of a set with held-out pictures by their nearest training pictures, which are given besides,
/// with their distances. Nothing where a set is empty.
pub fn memorisation(
    pictures: &Matrix,
    held_out: &Matrix,
    training: &Matrix,
) -> Option<(Memorisation, Vec<(usize, f64)>)> {
    let found = nearest(pictures, training);
    let sorted = |found: &[(usize, f64)]| {
        let mut distances: Vec<f64> = found.iter().map(|(_, distance)| *distance).collect();
        distances.sort_unstable_by(f64::total_cmp);
        distances
    };
    let (own, data) = (sorted(&found), sorted(&nearest(held_out, training)));
    if own.is_empty() || data.is_empty() {
        return None;
    }
    let limit = quantile(&data, NEAR);
    let memorisation = Memorisation {
        training_pictures: training.rows(),
        quantiles: QUANTILES.map(|share| quantile(&own, share)),
        data_quantiles: QUANTILES.map(|share| quantile(&data, share)),
        near: own.partition_point(|distance| *distance < limit) as f64 / own.len() as f64,
        nearer: nearer(&own, &data),
        copies: own.partition_point(|distance| *distance == 0.0),
    };
    Some((memorisation, found))
}

/// The quantile of rising numbers, between two of them where it falls there; 0 of none.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * sorted.len().saturating_sub(1) as f64;
    let (below, part) = (place.floor() as usize, place.fract());
    let at = |index: usize| sorted.get(index).or(sorted.last()).copied().unwrap_or(0.0);
    at(below) + part * (at(below + 1) - at(below))
}

/// The share of pairs in which the first is smaller, ties counted half; both rising.
fn nearer(own: &[f64], data: &[f64]) -> f64 {
    let larger: usize = own
        .iter()
        .map(|distance| {
            let above = data.len() - data.partition_point(|other| other <= distance);
            let from = data.len() - data.partition_point(|other| other < distance);
            above + from
        })
        .sum();
    larger as f64 / (2 * own.len() * data.len()) as f64
}

#[cfg(test)]
mod tests {
    use super::super::matrix::tests::{features, hashed};
    use super::*;

    #[test]
    fn copies_are_found_and_strangers_are_not() {
        let (training, held_out) = (features(1, 200, 4, 0.0), features(2, 100, 4, 0.0));
        let (honest, _) = memorisation(&features(3, 100, 4, 0.0), &held_out, &training).unwrap();
        assert_eq!(honest.copies, 0);
        assert!((0.4..0.6).contains(&honest.nearer) && honest.near < 0.15, "{honest:?}");
        let copied = training.select(&[7, 9, 11, 150]);
        let (found, nearest) = memorisation(&copied, &held_out, &training).unwrap();
        assert_eq!((found.copies, found.near, found.nearer), (4, 1.0, 1.0));
        assert_eq!(nearest.iter().map(|near| near.0).collect::<Vec<_>>(), [7, 9, 11, 150]);
        assert!(memorisation(&copied, &held_out, &Matrix::new(4, Vec::new())).is_none());
    }

    /// numpy.quantile, and scipy.stats.mannwhitneyu over the number of pairs (`scripts/evaluate_numbers.py`).
    #[test]
    fn quantiles_and_ranks_are_those_of_numpy_and_scipy() {
        let mut a = hashed(1, 23);
        let mut b = hashed(2, 31);
        a.sort_by(f64::total_cmp);
        b.sort_by(f64::total_cmp);
        assert!((quantile(&a, 0.3) - -0.162_403_936_032_206).abs() < 1e-12);
        assert!((nearer(&a, &b) - 0.516_129_032_258_065).abs() < 1e-12);
        assert_eq!(nearer(&[1.0, 2.0], &[1.0, 2.0]), 0.5);
    }
}
