//! A step of AdamW for one parameter, its moving average included: one pass over memory on the CPU.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{Device, Tensor};
use rayon::prelude::*;

use super::host::{self, Rows};
use super::vectors::vectors;

/// Numbers that a task moves at a time.
const CHUNK: usize = 1 << 14;

/// The numbers of a step that all parameters share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWStep {
    /// What the gradient is multiplied by first, to clip it.
    pub gradient_scale: f64,
    /// How much of the gradient's mean and of its square's mean is kept.
    pub betas: [f64; 2],
    /// The learning rate over `1 - beta1^n`, the bias of the mean after `n` steps.
    pub rate: f64,
    /// `sqrt(1 - beta2^n)`, the bias of the root of the mean square after `n` steps.
    pub root_bias: f64,
    /// What keeps the divisor from 0.
    pub epsilon: f64,
    /// What the value is multiplied by for weight decay: `1 - learning rate * weight decay`.
    pub decay: f64,
    /// How much of the value's moving average is kept.
    pub keep: f64,
}

/// A parameter and what the optimiser keeps for it, each `[n]`.
#[derive(Debug, Clone)]
pub struct Optimised {
    /// The parameter itself.
    pub value: Tensor<1>,
    /// Moving average of its gradient.
    pub mean: Tensor<1>,
    /// Moving average of its gradient's square.
    pub mean_square: Tensor<1>,
    /// Moving average of the parameter.
    pub average: Tensor<1>,
}

impl Optimised {
    /// Moves the parameter against its gradient, `[n]` (Loshchilov and Hutter 2019, as PyTorch computes it).
    ///
    /// On the CPU the numbers are changed where they lie, unless something else still holds them.
    pub fn step(self, gradient: Tensor<1>, step: AdamWStep) -> Self {
        if !on_the_cpu(&gradient) {
            return self.plain_step(gradient, step);
        }
        let Self { value, mean, mean_square, average } = self;
        let (value, mean, mean_square, average) = Dispatch::adamw(
            value.into_dispatch(),
            gradient.into_dispatch(),
            mean.into_dispatch(),
            mean_square.into_dispatch(),
            average.into_dispatch(),
            step,
        );
        Self {
            value: Tensor::from_dispatch(value),
            mean: Tensor::from_dispatch(mean),
            mean_square: Tensor::from_dispatch(mean_square),
            average: Tensor::from_dispatch(average),
        }
    }

    /// As [`Optimised::step`], made of plain tensor operations.
    pub fn plain_step(self, gradient: Tensor<1>, step: AdamWStep) -> Self {
        let AdamWStep { gradient_scale, betas: [beta1, beta2], .. } = step;
        let gradient = gradient * gradient_scale;
        let mean = self.mean * beta1 + gradient.clone() * (1.0 - beta1);
        let mean_square = self.mean_square * beta2 + gradient.square() * (1.0 - beta2);
        let root = mean_square.clone().sqrt() / step.root_bias + step.epsilon;
        let value = self.value * step.decay - mean.clone() / root * step.rate;
        let average = self.average * step.keep + value.clone() * (1.0 - step.keep);
        Self { value, mean, mean_square, average }
    }
}

/// The sum of the squares of all numbers, `[1]`. `x`: any shape.
pub fn square_sum<const D: usize>(x: Tensor<D>) -> Tensor<1> {
    if !on_the_cpu(&x) {
        return x.square().sum();
    }
    Tensor::from_dispatch(Dispatch::square_sum(x.into_dispatch()))
}

fn on_the_cpu<const D: usize>(x: &Tensor<D>) -> bool {
    x.device() == Device::flex()
}

/// The passes of an optimiser over its parameters.
#[backend_extension(Flex)]
pub trait OptimiserOps: Backend {
    /// Value, mean, mean square and average after a step. All: `[n]`
    fn adamw(
        value: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        mean_square: FloatTensor<Self>,
        average: FloatTensor<Self>,
        step: AdamWStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// `[1]`
    fn square_sum(x: FloatTensor<Self>) -> FloatTensor<Self>;
}

impl OptimiserOps for Flex {
    fn adamw(
        value: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        mean_square: FloatTensor<Self>,
        average: FloatTensor<Self>,
        step: AdamWStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let gradient = Rows::new(gradient);
        let [mut value, mut mean, mut mean_square, mut average] =
            [value, mean, mean_square, average].map(whole);
        (
            value.storage_mut::<f32>().par_chunks_mut(CHUNK),
            mean.storage_mut::<f32>().par_chunks_mut(CHUNK),
            mean_square.storage_mut::<f32>().par_chunks_mut(CHUNK),
            average.storage_mut::<f32>().par_chunks_mut(CHUNK),
            gradient.values().par_chunks(CHUNK),
        )
            .into_par_iter()
            .for_each(|(value, mean, mean_square, average, gradient)| {
                vectors(
                    #[inline(always)]
                    || step.apply(value, mean, mean_square, average, gradient),
                );
            });
        (value, mean, mean_square, average)
    }

    fn square_sum(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let x = Rows::new(x);
        let squares = |x: &[f32]| {
            vectors(
                #[inline(always)]
                || host::sum_of(x, |x| x * x),
            )
        };
        // Sums of chunks, added in their order: the same however many threads there are.
        let sums: Vec<f32> = x.values().par_chunks(CHUNK).map(squares).collect();
        let total: f64 = sums.into_iter().map(f64::from).sum();
        host::tensor(vec![total as f32], vec![1])
    }
}

/// The same numbers as a buffer of nothing else, the very one they were in where that was so.
fn whole(tensor: FloatTensor<Flex>) -> FloatTensor<Flex> {
    let contiguous = tensor.to_contiguous();
    // Whoever is the last to hold a buffer may change it.
    drop(tensor);
    contiguous
}

impl AdamWStep {
    #[inline(always)]
    fn apply(
        &self,
        value: &mut [f32],
        mean: &mut [f32],
        mean_square: &mut [f32],
        average: &mut [f32],
        gradient: &[f32],
    ) {
        // What is left of 1 is taken before it is rounded: 0.999 has few digits to the right of its nines.
        let kept = |kept: f64| (kept as f32, (1.0 - kept) as f32);
        let [(beta1, new1), (beta2, new2)] = self.betas.map(kept);
        let (keep, new) = kept(self.keep);
        let [scale, rate, root_bias, epsilon, decay] =
            [self.gradient_scale, self.rate, self.root_bias, self.epsilon, self.decay]
                .map(|x| x as f32);
        let kept = value.iter_mut().zip(mean).zip(mean_square).zip(average);
        for ((((value, mean), mean_square), average), gradient) in kept.zip(gradient) {
            let gradient = gradient * scale;
            *mean = *mean * beta1 + gradient * new1;
            *mean_square = *mean_square * beta2 + gradient * gradient * new2;
            let root = mean_square.sqrt() / root_bias + epsilon;
            *value = *value * decay - *mean / root * rate;
            *average = *average * keep + *value * new;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Stream;
    use burn::tensor::TensorData;

    const STEP: AdamWStep = AdamWStep {
        gradient_scale: 0.5,
        betas: [0.9, 0.95],
        rate: 1e-3 / 0.19,
        root_bias: 0.312,
        epsilon: 1e-8,
        decay: 1.0 - 1e-5,
        keep: 0.99,
    };

    fn host(tensor: Tensor<1>) -> Vec<f32> {
        tensor.into_data().try_to_vec::<f32>().unwrap()
    }

    fn drawn(stream: u64, length: usize) -> Tensor<1> {
        let values = Stream::new(3, stream).normals(length);
        Tensor::from_data(TensorData::new(values, [length]), &Device::flex())
    }

    fn optimised(length: usize) -> Optimised {
        let [value, mean, square, average] = [0, 1, 2, 3].map(|stream| drawn(stream, length));
        Optimised { value, mean, mean_square: square.square(), average }
    }

    #[test]
    fn a_step_is_that_of_plain_operations() {
        for length in [1, 7, CHUNK, 2 * CHUNK + 5] {
            let (start, gradient) = (optimised(length), drawn(4, length));
            let found = start.clone().step(gradient.clone(), STEP);
            let expected = start.clone().plain_step(gradient, STEP);
            let of = |o: Optimised| [o.value, o.mean, o.mean_square, o.average].map(host);
            let untouched = of(start);
            assert_eq!(untouched, of(optimised(length)), "what others hold is not changed");
            for (found, expected) in of(found).iter().flatten().zip(of(expected).iter().flatten()) {
                assert!((found - expected).abs() <= 1e-6 * expected.abs().max(1.0));
            }
        }
    }

    #[test]
    fn a_sum_of_squares_does_not_depend_on_the_threads() {
        let x = drawn(5, 5 * CHUNK + 3);
        let exact: f64 = host(x.clone()).into_iter().map(|x| f64::from(x).powi(2)).sum();
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| host(square_sum(x.clone()))[0])
        };
        assert!((f64::from(with(1)) - exact).abs() < 1e-6 * exact);
        assert_eq!(with(1).to_bits(), with(3).to_bits());
        assert_eq!(host(square_sum(drawn(6, 0)))[0], 0.0);
    }
}
