//! Scaled dot-product attention whose scores never take more than a budget.

use burn::tensor::Tensor;
use burn::tensor::module::attention;
use burn::tensor::ops::AttentionModuleOptions;

use super::precision::wide;

/// Bytes that the scores of an attention may take at a time: softmax makes a second copy of them. Those
/// of DiT-XL/2 over 32x32 latents are 34 MB for a guided batch of four, over 64x64 latents 537 MB.
const SCORES_BUDGET: usize = 32 << 20;

/// `softmax(q k^T / sqrt(width)) v` in f32, for as many heads at a time as the budget has room for, and
/// where it has not room for one, for so many queries.
///
/// # Shapes
/// - `q`, `k`, `v`, output: `[batch, heads, tokens, width]`
pub fn attend(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>) -> Tensor<4> {
    attend_within(SCORES_BUDGET, wide(q), wide(k), wide(v))
}

fn attend_within(budget: usize, q: Tensor<4>, k: Tensor<4>, v: Tensor<4>) -> Tensor<4> {
    let whole = |q, k, v| attention(q, k, v, None, None, AttentionModuleOptions::default());
    let [batch, heads, tokens, width] = q.dims();
    let (all, row) = (batch * heads, tokens * size_of::<f32>());
    if all * tokens * row <= budget {
        return whole(q, k, v);
    }
    let heads_at_once = (budget / (tokens * row)).clamp(1, all);
    let queries_at_once = (budget / (heads_at_once * row)).clamp(1, tokens);
    let [q, k, v] = [q, k, v].map(|x| x.reshape([all, 1, tokens, width]));
    let starts = (0..all).step_by(heads_at_once);
    let mixed = starts.map(|first| {
        let count = heads_at_once.min(all - first);
        let [q, k, v] = [&q, &k, &v].map(|x| x.clone().narrow(0, first, count));
        let starts = (0..tokens).step_by(queries_at_once);
        let mixed = starts.map(|first| {
            let queries = q.clone().narrow(2, first, queries_at_once.min(tokens - first));
            whole(queries, k.clone(), v.clone())
        });
        Tensor::cat(mixed.collect(), 2)
    });
    Tensor::cat(mixed.collect(), 0).reshape([batch, heads, tokens, width])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::params::host;
    use crate::rng::Stream;
    use burn::tensor::{Device, TensorData};

    #[test]
    fn parts_are_the_whole() {
        let device = Device::flex();
        let (batch, heads, tokens, width) = (2, 3, 10, 4);
        let [q, k, v] = [0, 1, 2].map(|stream| {
            let values = Stream::new(5, stream).normals(batch * heads * tokens * width);
            Tensor::from_data(TensorData::new(values, [batch, heads, tokens, width]), &device)
        });
        let within = |budget| host(attend_within(budget, q.clone(), k.clone(), v.clone()));
        let whole = within(usize::MAX);
        // Room for all heads, for four and two of six, for one, for three queries, and for one.
        let row = tokens * 4;
        for budget in [6 * tokens * row, 4 * tokens * row, tokens * row, 3 * row, row, 1] {
            for (found, expected) in within(budget).iter().zip(&whole) {
                assert!((found - expected).abs() < 1e-6, "{budget}: {found} for {expected}");
            }
        }
        assert_eq!(within(1).len(), whole.len());
    }
}
