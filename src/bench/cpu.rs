//! The CPU backend beside PyTorch: what a person without a GPU waits for.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::row::Measured;
use super::size::Size;
use super::{Bench, sampling, training};
use crate::kernels::{self, multiply_add};

/// Multiply-adds of a task, for each number of a register.
const ROUNDS: usize = 1 << 20;
/// Registers that are added to at once: enough to hide how long an addition takes.
const REGISTERS: usize = 12;

/// Measures what the processor can do at most, then the embedded model and one published size.
pub fn measure(bench: &mut Bench<'_>) {
    let reached = peak(bench);
    sampling::embedded(bench);
    sampling::picture(bench);
    training::of_recipe(bench);
    if let Some(size) = Size::reference().into_iter().find(|size| size.to_string() == "B/2") {
        sampling::of_size(bench, size, reached);
    }
    sampling::decoder(bench, reached);
}

/// Multiply-adds out of registers, on all threads: no product is faster. Gives operations a second.
fn peak(bench: &mut Bench<'_>) -> Option<f64> {
    let tasks = 4 * rayon::current_num_threads();
    let flops = (tasks * ROUNDS * REGISTERS * 2 * kernels::dispatch(Lanes)) as f64;
    let name = "peak of multiply-adds out of registers, all threads";
    let timing = bench.row(name, |clock| {
        let timing = clock.time(
            |seed| seed as f32,
            |seed| {
                let added =
                    (0..tasks).into_par_iter().map(|_| kernels::dispatch(Added(*seed))).sum();
                // Far from what the next seed gives, whatever the rounding.
                std::hint::black_box::<f32>(added) + *seed
            },
        )?;
        Ok(Measured::from(timing).rate("gflops", flops / 1e9))
    })?;
    Some(flops / timing.seconds())
}

/// Numbers of a register.
struct Lanes;

impl WithSimd for Lanes {
    type Output = usize;

    fn with_simd<S: Simd>(self, _: S) -> usize {
        S::F32_LANES
    }
}

/// Sums that are added to again and again.
struct Added(f32);

impl WithSimd for Added {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f32 {
        let mut sums: [S::f32s; REGISTERS] =
            std::array::from_fn(|i| simd.splat_f32s(i as f32 + self.0));
        let (shrink, more) = (simd.splat_f32s(0.999), simd.splat_f32s(1e-3));
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = multiply_add(simd, *sum, shrink, more);
            }
        }
        sums.into_iter().map(|sum| simd.reduce_sum_f32s(sum)).sum()
    }
}
