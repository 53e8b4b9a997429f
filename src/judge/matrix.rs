//! Features: a row of numbers for every picture.

use ndarray::{ArrayView2, aview1};

/// Rows of features, in f64.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    rows: usize,
    columns: usize,
    values: Vec<f64>,
}

impl Matrix {
    /// Rows of `columns` numbers each, at least one; a rest that is no whole row is left out.
    pub fn new(columns: usize, mut values: Vec<f64>) -> Self {
        let columns = columns.max(1);
        let rows = values.len() / columns;
        values.truncate(rows * columns);
        Self { rows, columns, values }
    }

    /// Number of rows, `n`.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Numbers of a row, `d`.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// All numbers, row by row.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// Adds rows below.
    pub fn extend(&mut self, values: impl IntoIterator<Item = f64>) {
        self.values.extend(values);
        self.rows = self.values.len() / self.columns;
        self.values.truncate(self.rows * self.columns);
    }

    /// A row.
    ///
    /// # Panics
    /// There is no such row.
    pub fn row(&self, index: usize) -> &[f64] {
        &self.values[index * self.columns..(index + 1) * self.columns]
    }

    /// The rows, from the first to the last.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &[f64]> + ExactSizeIterator {
        self.values.chunks_exact(self.columns)
    }

    /// Some of the rows, in the order of `indices`.
    ///
    /// # Panics
    /// There is no such row.
    pub fn select(&self, indices: &[usize]) -> Self {
        let values = indices.iter().flat_map(|index| self.row(*index)).copied().collect();
        Self { rows: indices.len(), columns: self.columns, values }
    }

    /// The mean row.
    pub fn mean(&self) -> Vec<f64> {
        let mut sum = vec![0.0; self.columns];
        for row in self.iter() {
            sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        }
        let count = self.rows.max(1) as f64;
        sum.into_iter().map(|sum| sum / count).collect()
    }

    /// Whether every number is finite.
    pub fn is_finite(&self) -> bool {
        self.values.iter().all(|value| value.is_finite())
    }

    /// `[n, d]` for products and decompositions.
    pub fn view(&self) -> ArrayView2<'_, f64> {
        match aview1(&self.values).into_shape_with_order((self.rows, self.columns)) {
            Ok(view) => view,
            Err(_) => unreachable!("rows are whole"),
        }
    }
}

/// `sum (a - b)^2`, of whole differences rather than of products: what is equal has distance 0.
pub fn squared_distance(a: &[f64], b: &[f64]) -> f64 {
    /// Sums side by side, so that they are made in vectors.
    const LANES: usize = 8;
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for lane in 0..LANES {
            let off = a[lane] - b[lane];
            sums[lane] += off * off;
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| (a - b) * (a - b)).sum();
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Numbers in `[-1, 1)` that are the same in every language: `scripts/evaluate_numbers.py` makes them too.
    pub fn hashed(seed: u64, count: usize) -> Vec<f64> {
        const MASK: u64 = 0xffff_ffff;
        (0..count as u64)
            .map(|i| {
                let mut x = (i * 2_654_435_761 + seed * 40_503 + 1) & MASK;
                x ^= x >> 15;
                x = (x * 2_246_822_519) & MASK;
                x ^= x >> 13;
                x = (x * 3_266_489_917) & MASK;
                x ^= x >> 16;
                x as f64 / 2_147_483_648.0 - 1.0
            })
            .collect()
    }

    /// `rows` rows of `columns` such numbers, in `[shift - 1, shift + 1)`.
    pub fn features(seed: u64, rows: usize, columns: usize, shift: f64) -> Matrix {
        let values = hashed(seed, rows * columns).into_iter().map(|value| value + shift).collect();
        Matrix::new(columns, values)
    }

    #[test]
    fn rows_are_where_they_were_put() {
        let mut matrix = Matrix::new(2, vec![1.0, 2.0, 3.0, 4.0]);
        matrix.extend([5.0, 9.0]);
        assert_eq!((matrix.rows(), matrix.columns(), matrix.row(2)), (3, 2, &[5.0, 9.0][..]));
        assert_eq!(matrix.select(&[2, 0]).values(), [5.0, 9.0, 1.0, 2.0]);
        assert_eq!(matrix.mean(), [3.0, 5.0]);
        assert_eq!(matrix.view()[(1, 0)], 3.0);
        matrix.extend([f64::NAN, 0.0]);
        assert!(!matrix.is_finite());
    }

    #[test]
    fn distances_take_every_number_and_are_0_of_what_is_equal() {
        let a = hashed(1, 19);
        let b = hashed(2, 19);
        let plain: f64 = a.iter().zip(&b).map(|(a, b)| (a - b).powi(2)).sum();
        assert!((squared_distance(&a, &b) - plain).abs() < 1e-14);
        assert_eq!(squared_distance(&a, &a), 0.0);
    }
}
