//! The nearest code of every latent.

use burn::backend::Dispatch;
use burn::tensor::{Int, Tensor};

use super::codes::CodeOps;

/// The index of the nearest row of `codebook` for every latent, the lowest where distances tie, and
/// its squared distance. Latents are brought to length 1 first where `unit` is set; the codebook is
/// taken as it is.
///
/// # Shapes
/// - `latents`: `[tokens, size]`
/// - `codebook`: `[codes, size]`
/// - output: `[tokens, 1]` each
pub fn nearest_codes(
    latents: Tensor<2>,
    codebook: Tensor<2>,
    unit: bool,
) -> (Tensor<2, Int>, Tensor<2>) {
    let found = Dispatch::nearest(latents.into_dispatch(), codebook.into_dispatch(), unit);
    (Tensor::from_dispatch(found.codes), Tensor::from_dispatch(found.distances))
}

/// As [`nearest_codes`], made of plain tensor operations.
pub fn plain_nearest_codes(
    latents: Tensor<2>,
    codebook: Tensor<2>,
    unit: bool,
) -> (Tensor<2, Int>, Tensor<2>) {
    let squares = |rows: Tensor<2>| rows.square().sum_dim(1);
    let latents = match unit {
        true => latents.clone() / squares(latents).sqrt().clamp_min(1e-12),
        false => latents,
    };
    let products = latents.clone().matmul(codebook.clone().transpose());
    let distances = squares(latents) + squares(codebook).transpose() - products * 2.0;
    let (least, codes) = distances.min_dim_with_indices(1);
    (codes, least)
}
