//! Figures from nearest neighbours: precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et
//! al. 2020), and which picture is nearest.

use rayon::prelude::*;
use serde::Serialize;

use super::matrix::{Matrix, squared_distance};

/// The neighbour whose distance is the radius around a picture, for precision and recall.
pub const PRECISION_K: usize = 3;
/// The same for density and coverage.
pub const DENSITY_K: usize = 5;

/// How two sets lie in one another.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Neighbourhoods {
    /// Share of the other pictures that lie within the radius of a real one.
    pub precision: f64,
    /// Share of the real pictures that lie within the radius of another one.
    pub recall: f64,
    /// Real pictures within whose radius another picture lies, over `k`, in the mean; 1 for one distribution.
    pub density: f64,
    /// Share of the real pictures within whose radius another picture lies.
    pub coverage: f64,
}

/// The figures of two sets; nothing where one has no more pictures than the neighbours that are counted. What lies
/// on a radius lies within it.
pub fn neighbourhoods(real: &Matrix, other: &Matrix) -> Option<Neighbourhoods> {
    if real.rows().min(other.rows()) <= DENSITY_K {
        return None;
    }
    let (real_radii, other_radii) = (radii(real), radii(other));
    let others: Vec<&[f64]> = other.iter().collect();
    let within: Vec<usize> = others
        .par_iter()
        .map(|row| {
            let mut inside = [0usize; 2];
            for (real, radius) in real.iter().zip(&real_radii) {
                let distance = squared_distance(real, row);
                inside[0] += usize::from(distance <= radius[0]);
                inside[1] += usize::from(distance <= radius[1]);
            }
            // Both in one number, so that one pass is enough.
            inside[1] << 1 | usize::from(inside[0] > 0)
        })
        .collect();
    let reals: Vec<&[f64]> = real.iter().collect();
    let found: Vec<[bool; 2]> = reals
        .par_iter()
        .zip(&real_radii)
        .map(|(row, radius)| {
            let (mut recalled, mut covered) = (false, false);
            for (other, other_radius) in other.iter().zip(&other_radii) {
                let distance = squared_distance(row, other);
                recalled |= distance <= other_radius[0];
                covered |= distance <= radius[1];
            }
            [recalled, covered]
        })
        .collect();
    let share = |count: usize, of: usize| count as f64 / of as f64;
    let inside: usize = within.iter().map(|packed| packed >> 1).sum();
    Some(Neighbourhoods {
        precision: share(within.iter().filter(|packed| *packed & 1 == 1).count(), other.rows()),
        recall: share(found.iter().filter(|found| found[0]).count(), real.rows()),
        density: share(inside, DENSITY_K * other.rows()),
        coverage: share(found.iter().filter(|found| found[1]).count(), real.rows()),
    })
}

/// The squared distance of every row to its third and its fifth nearest of the others.
fn radii(set: &Matrix) -> Vec<[f64; 2]> {
    let rows: Vec<&[f64]> = set.iter().collect();
    rows.par_iter()
        .enumerate()
        .map(|(at, row)| {
            let others = set.iter().enumerate().filter(|(other, _)| *other != at);
            let mut distances: Vec<f64> =
                others.map(|(_, other)| squared_distance(row, other)).collect();
            let (nearer, fifth, _) =
                distances.select_nth_unstable_by(DENSITY_K - 1, f64::total_cmp);
            let fifth = *fifth;
            [*nearer.select_nth_unstable_by(PRECISION_K - 1, f64::total_cmp).1, fifth]
        })
        .collect()
}

/// The nearest row of a set to each of the `rows`, and its distance; the first of several. Nothing where the set is
/// empty.
pub fn nearest(rows: &Matrix, set: &Matrix) -> Vec<(usize, f64)> {
    let rows: Vec<&[f64]> = rows.iter().collect();
    rows.par_iter()
        .filter_map(|row| {
            let distances = set.iter().map(|other| squared_distance(row, other)).enumerate();
            let (at, distance) = distances.min_by(|a, b| a.1.total_cmp(&b.1))?;
            Some((at, distance.sqrt()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::matrix::tests::features;
    use super::*;

    /// `scripts/evaluate_numbers.py`: sklearn.metrics.pairwise_distances and the formulas of the papers.
    #[test]
    fn figures_are_those_of_the_papers_formulas() {
        let (a, b) = (features(1, 60, 3, 0.0), features(2, 50, 3, 0.3));
        let found = neighbourhoods(&a, &b).unwrap();
        let expected = [0.9, 0.95, 0.784, 0.7];
        let found = [found.precision, found.recall, found.density, found.coverage];
        for (found, expected) in found.into_iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
        }
    }

    #[test]
    fn a_set_lies_in_itself_even_where_pictures_repeat() {
        let a = features(1, 40, 3, 0.0);
        let repeated = a.select(&(0..80).map(|at| at % 8).collect::<Vec<_>>());
        for set in [&a, &repeated] {
            let found = neighbourhoods(set, set).unwrap();
            assert_eq!((found.precision, found.recall, found.coverage), (1.0, 1.0, 1.0));
        }
        let far = features(1, 40, 3, 100.0);
        let found = neighbourhoods(&a, &far).unwrap();
        assert_eq!([found.precision, found.recall, found.density, found.coverage], [0.0; 4]);
        assert_eq!(neighbourhoods(&a.select(&[0, 1, 2, 3, 4]), &a), None);
    }

    #[test]
    fn the_nearest_is_the_first_of_the_nearest() {
        let set = Matrix::new(1, vec![5.0, 1.0, 1.0, 9.0]);
        let rows = Matrix::new(1, vec![1.5, 8.0]);
        assert_eq!(nearest(&rows, &set), [(1, 0.5), (3, 1.0)]);
        assert!(nearest(&rows, &Matrix::new(1, Vec::new())).is_empty());
    }
}
