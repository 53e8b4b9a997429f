//! The nearest code of every latent.

use burn::backend::Dispatch;
use burn::tensor::{Int, Tensor};

use super::codes::CodeOps;
use super::extension::FusedOps;
use super::fused::has_kernels;

/// The index of the nearest row of `codebook` for every latent, the lowest where distances tie, and
/// its squared distance.
///
/// # Shapes
/// - `latents`: `[tokens, size]`
/// - `codebook`: `[codes, size]`
/// - output: `[tokens, 1]` each
pub fn nearest_codes(latents: Tensor<2>, codebook: Tensor<2>) -> (Tensor<2, Int>, Tensor<2>) {
    let cpu = has_kernels(&latents.device());
    let latents = latents.into_dispatch();
    if cpu {
        let (codes, distances) = Dispatch::nearest_codes(latents, codebook.into_dispatch());
        return (Tensor::from_dispatch(codes), Tensor::from_dispatch(distances));
    }
    let found = Dispatch::nearest(latents, codebook.transpose().into_dispatch());
    (Tensor::from_dispatch(found.codes), Tensor::from_dispatch(found.distances))
}

/// As [`nearest_codes`], made of plain tensor operations.
pub fn plain_nearest_codes(latents: Tensor<2>, codebook: Tensor<2>) -> (Tensor<2, Int>, Tensor<2>) {
    let squares = |rows: Tensor<2>| rows.square().sum_dim(1);
    let products = latents.clone().matmul(codebook.clone().transpose());
    let distances = squares(latents) + squares(codebook).transpose() - products * 2.0;
    let (least, codes) = distances.min_dim_with_indices(1);
    (codes, least)
}
