//! Vectors of the processor at hand, whichever it is.

use pulp::{Arch, Simd, WithSimd};

/// Runs a task with the widest vectors that the processor has.
#[inline(always)]
pub(super) fn dispatch<T: WithSimd>(task: T) -> T::Output {
    // pulp's choice leaves these out: vectors of eight where its feature for them is off, which burn's
    // build of it has, and vectors of four always.
    #[cfg(target_arch = "x86_64")]
    if matches!(Arch::new(), Arch::Scalar) {
        if let Some(eight) = pulp::x86::V3::try_new() {
            return Simd::vectorize(eight, task);
        }
        if let Some(four) = pulp::x86::V2::try_new() {
            return Simd::vectorize(four, task);
        }
    }
    Arch::new().dispatch(task)
}

/// `a b + c`, rounded once where the processor can: a compiler calls a slow function for it elsewhere.
#[inline(always)]
pub(super) fn multiply_add<S: Simd>(simd: S, a: S::f32s, b: S::f32s, c: S::f32s) -> S::f32s {
    let fused = S::F32_LANES > 4 || cfg!(target_arch = "aarch64");
    if fused { simd.mul_add_e_f32s(a, b, c) } else { simd.add_f32s(simd.mul_f32s(a, b), c) }
}
