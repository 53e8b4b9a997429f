//! The Vendi score (Friedman and Dieng 2023): how many different pictures a set amounts to.

use linfa_linalg::eigh::EigValshInto;

use super::matrix::Matrix;

/// The exponential of the entropy of the eigenvalues of `K / n`, `K` being the cosine of every pair of rows: from 1,
/// where all point one way, to `n`. Nothing of an empty set, or where a row is 0 or not finite.
pub fn score(features: &Matrix) -> Option<f64> {
    let n = features.rows();
    if n == 0 {
        return None;
    }
    let mut unit = Vec::with_capacity(features.values().len());
    for row in features.iter() {
        let length = row.iter().map(|value| value * value).sum::<f64>().sqrt();
        if length <= 0.0 || !length.is_finite() {
            return None;
        }
        unit.extend(row.iter().map(|value| value / length));
    }
    let unit = Matrix::new(features.columns(), unit);
    // `X X^T` and `X^T X` have the same eigenvalues but for zeros: the smaller one is taken.
    let rows = unit.view();
    let gram = if n < unit.columns() { rows.dot(&rows.t()) } else { rows.t().dot(&rows) };
    let values = (gram / n as f64).eigvalsh_into().ok()?;
    let entropy: f64 =
        values.iter().filter(|value| **value > 0.0).map(|value| -value * value.ln()).sum();
    Some(entropy.exp())
}

#[cfg(test)]
mod tests {
    use super::super::matrix::tests::features;
    use super::*;

    /// `scripts/evaluate_numbers.py`: scipy.linalg.eigvalsh of the cosines.
    #[test]
    fn scores_are_those_of_scipy() {
        for (set, expected) in [
            (features(1, 30, 6, 0.2), 5.578_174_516_253_32),
            (features(2, 8, 20, 0.2), 6.748_059_079_477_79),
        ] {
            let found = score(&set).unwrap();
            assert!((found - expected).abs() < 1e-9 * expected, "{found} is not {expected}");
        }
    }

    #[test]
    fn what_repeats_counts_once() {
        let axes = Matrix::new(3, vec![1.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 3.0]);
        assert!((score(&axes).unwrap() - 3.0).abs() < 1e-12);
        assert!((score(&axes.select(&[0, 1, 2, 0, 1, 2])).unwrap() - 3.0).abs() < 1e-12);
        assert!((score(&axes.select(&[1, 1])).unwrap() - 1.0).abs() < 1e-12);
        assert_eq!(score(&Matrix::new(2, vec![0.0; 4])), None);
        assert_eq!(score(&Matrix::new(2, vec![f64::NAN; 4])), None);
    }
}
