//! Muon: steps along the nearest orthogonal matrix to the gradient's moving average ([Jordan et al.
//! 2024](https://kellerjordan.github.io/posts/muon/)), of the size that AdamW's would have, so that its learning rate and
//! weight decay can be kept ([Liu et al. 2025](https://arxiv.org/abs/2502.16982)).

use burn::tensor::Tensor;

use crate::kernels::{AdamWStep, Optimised};

/// How much of the moving average is kept.
const MOMENTUM: f64 = 0.95;
/// Rounds of the iteration, and the odd polynomial `a x + b x^3 + c x^5` that each puts the singular values through:
/// all between 0.01 and 1 come to between 0.7 and 1.2.
const ROUNDS: usize = 5;
const POLYNOMIAL: [f64; 3] = [3.4445, -4.7750, 2.0315];
/// Root mean square of a step of AdamW, in learning rates.
const SIZE: f64 = 0.2;

/// Whether a parameter of this name, a matrix, is one of those that Muon moves: what maps one hidden state to another,
/// but not what embeds and what reads out.
pub(super) fn moves(name: &str) -> bool {
    name.contains("blocks.")
}

/// Moves a matrix of so many rows and columns, everything flattened.
pub(super) fn step(
    start: Optimised,
    gradient: Tensor<1>,
    [rows, columns]: [usize; 2],
    step: AdamWStep,
    learning_rate: f64,
) -> Optimised {
    let Optimised { value, mean, mean_square, average } = start;
    let gradient = gradient * step.gradient_scale;
    let mean = mean * MOMENTUM + gradient.clone() * (1.0 - MOMENTUM);
    // Nesterov's look ahead.
    let ahead = mean.clone() * MOMENTUM + gradient * (1.0 - MOMENTUM);
    let direction = orthogonal(ahead.reshape([rows, columns])).reshape([rows * columns]);
    let size = SIZE * (rows.max(columns) as f64).sqrt();
    let value = value * step.decay - direction * (learning_rate * size);
    let average = average * step.keep + value.clone() * (1.0 - step.keep);
    Optimised { value, mean, mean_square, average }
}

/// A matrix with the singular vectors of another, and singular values near 1.
fn orthogonal(matrix: Tensor<2>) -> Tensor<2> {
    let [rows, columns] = matrix.dims();
    let tall = rows > columns;
    let matrix = if tall { matrix.transpose() } else { matrix };
    let norm = matrix.clone().square().sum().sqrt() + 1e-12;
    let mut x = matrix / norm.unsqueeze();
    let [a, b, c] = POLYNOMIAL;
    for _ in 0..ROUNDS {
        let square = x.clone().matmul(x.clone().transpose());
        let odd = square.clone() * b + square.clone().matmul(square) * c;
        x = x.clone() * a + odd.matmul(x);
    }
    if tall { x.transpose() } else { x }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;
    use crate::model::params::host;
    use crate::rng::Stream;

    fn random(rows: usize, columns: usize) -> Tensor<2> {
        let values = Stream::new(3, 1).normals(rows * columns);
        Tensor::from_data(TensorData::new(values, [rows, columns]), &Device::flex())
    }

    #[test]
    fn what_comes_out_is_nearly_orthogonal() {
        for (rows, columns) in [(6, 16), (16, 6), (1, 5)] {
            let given = random(rows, columns);
            let found = orthogonal(given.clone());
            // The smaller of the two products with itself; and it points where the given one does.
            let short = if rows > columns { found.clone().transpose() } else { found.clone() };
            let product = host(short.clone().matmul(short.transpose()));
            let side = rows.min(columns);
            for (at, value) in product.iter().enumerate() {
                match at / side == at % side {
                    true => assert!((0.4..1.6).contains(value), "{value}"),
                    false => assert!(value.abs() < 0.4, "{value}"),
                }
            }
            let along: f32 = (given * found).sum().into_scalar();
            assert!(along > 0.0);
        }
    }

    #[test]
    fn a_step_is_that_of_double_precision() {
        // Two steps of a 2 x 3 matrix in float64 by numpy, after torch.optim.Muon with `match_rms_adamw`.
        let device = Device::flex();
        let tensor = |values: [f32; 6]| Tensor::<1>::from_floats(values, &device);
        let zeros = tensor([0.0; 6]);
        let mut state = Optimised {
            value: tensor([0.5, -0.25, 1.0, 0.0, 0.75, -1.0]),
            mean: zeros.clone(),
            mean_square: zeros.clone(),
            average: zeros,
        };
        let numbers = AdamWStep {
            gradient_scale: 1.0,
            betas: [0.9, 0.99],
            rate: 0.0,
            root_bias: 1.0,
            epsilon: 1e-8,
            decay: 1.0 - 0.02 * 0.1,
            keep: 0.5,
        };
        for gradient in [[0.1, -0.2, 0.3, 0.4, 0.5, -0.6], [-0.3, 0.2, 0.1, 0.0, 0.25, 0.5]] {
            state = step(state, tensor(gradient), [2, 3], numbers, 0.02);
        }
        for (found, expected) in host(state.value).iter().zip(EXPECTED) {
            assert!((f64::from(*found) - expected).abs() < 1e-6, "{found} {expected}");
        }
    }

    const EXPECTED: [f64; 6] = [
        0.498_285_218_721_279_5,
        -0.248_600_800_620_919,
        0.989_838_308_549_474_4,
        -0.005_611_834_151_209_836,
        0.738_893_219_255_575,
        -0.995_440_333_596_182_9,
    ];
}
