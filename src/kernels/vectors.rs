//! Vectors of the processor at hand, whichever it is.

#[cfg(target_arch = "x86_64")]
use pulp::x86::{V2, V3, V4};
use pulp::{Arch, Simd, WithSimd};

/// Runs a task with the widest vectors that the processor has. pulp's own choice, [`Arch`], knows AVX2 only with
/// a feature that burn does not turn on, and nothing between AVX2 and single numbers: without this, a
/// processor without AVX-512 would get SSE2, or less.
#[inline(always)]
pub(crate) fn dispatch<T: WithSimd>(task: T) -> T::Output {
    #[cfg(target_arch = "x86_64")]
    {
        if let Some(simd) = V4::try_new() {
            return Simd::vectorize(simd, task);
        }
        if let Some(simd) = V3::try_new() {
            return Simd::vectorize(simd, task);
        }
        if let Some(simd) = V2::try_new() {
            return Simd::vectorize(simd, task);
        }
    }
    Arch::new().dispatch(task)
}

/// Runs a loop compiled for the widest vectors that the processor has.
#[inline(always)]
pub(crate) fn vectors<R>(task: impl FnOnce() -> R) -> R {
    dispatch(task)
}

/// `a b + c`, rounded once where the processor can: a compiler calls a slow function for it elsewhere.
#[inline(always)]
pub(crate) fn multiply_add<S: Simd>(simd: S, a: S::f32s, b: S::f32s, c: S::f32s) -> S::f32s {
    let fused = S::F32_LANES > 4 || cfg!(target_arch = "aarch64");
    if fused { simd.mul_add_e_f32s(a, b, c) } else { simd.add_f32s(simd.mul_f32s(a, b), c) }
}
