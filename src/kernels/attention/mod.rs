//! Attention of the heads of a transformer, out of the product that makes queries, keys and values.

mod extension;
mod host;

use burn::backend::Dispatch;
use burn::tensor::{DType, Tensor};

use super::fused::has_kernels;
use extension::AttentionOps;

/// Whether the attention of such numbers has a kernel.
pub fn has_attention(qkv: &Tensor<3>) -> bool {
    qkv.dtype() == DType::F32 && has_kernels(&qkv.device())
}

/// `softmax(q k^T / sqrt(width)) v` of every head, of which no more than a block of scores is ever in
/// memory; made of plain operations where there is no kernel.
///
/// # Shapes
/// - `qkv`: `[batch, tokens, 3 heads width]`: queries of all heads, then keys, then values
/// - output: `[batch, tokens, heads width]`
pub fn attention(qkv: Tensor<3>, heads: usize) -> Tensor<3> {
    if !has_attention(&qkv) {
        return plain::attention(qkv, heads);
    }
    Tensor::from_dispatch(Dispatch::attention_of_heads(qkv.into_dispatch(), heads))
}

/// The same, made of plain tensor operations.
pub mod plain {
    use burn::tensor::Tensor;
    use burn::tensor::activation::softmax;

    /// As [`super::attention`].
    pub fn attention(qkv: Tensor<3>, heads: usize) -> Tensor<3> {
        let [batch, tokens, triple] = qkv.dims();
        let width = triple / 3 / heads;
        let qkv = qkv.reshape([batch, tokens, 3, heads, width]).permute([2, 0, 3, 1, 4]);
        let part = |i: usize| qkv.clone().slice_dim(0, i..i + 1).squeeze_dim::<4>(0);
        let scores = part(0).matmul(part(1).swap_dims(2, 3)) / (width as f64).sqrt();
        let mixed = softmax(scores, 3).matmul(part(2));
        mixed.swap_dims(1, 2).reshape([batch, tokens, heads * width])
    }
}
