//! Attention as an extension of burn's CPU backend, and its gradient.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, AutodiffBackend, Backend, backend_extension};

/// Attention with a gradient. Shapes as in [`super::attention`].
#[backend_extension(Flex, Autodiff)]
pub trait AttentionOps: Backend {
    fn attention_of_heads(qkv: FloatTensor<Self>, heads: usize) -> FloatTensor<Self>;

    /// As [`AttentionOps::attention_of_heads`], and the log of the sum of the exponentials of every
    /// query's scores, `[batch, heads, tokens]`.
    fn attention_and_log_sums(
        qkv: FloatTensor<Self>,
        heads: usize,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// The gradient of `qkv`, from what [`AttentionOps::attention_and_log_sums`] gave.
    fn attention_gradient(
        qkv: FloatTensor<Self>,
        out: FloatTensor<Self>,
        log_sums: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

#[derive(Debug)]
struct Attention;

impl<B: AttentionOps> Backward<B, 1> for Attention {
    type State = (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let (qkv, out, log_sums) = ops.state;
        let [parent] = ops.parents;
        if let Some(parent) = parent {
            grads.register::<B>(parent.id, B::attention_gradient(qkv, out, log_sums, grad));
        }
    }
}

impl<B: AttentionOps, C: CheckpointStrategy> AttentionOps for Autodiff<B, C> {
    fn attention_of_heads(qkv: FloatTensor<Self>, heads: usize) -> FloatTensor<Self> {
        let (qkv, node) = qkv.into_parts();
        match Attention.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let (out, log_sums) = B::attention_and_log_sums(qkv.clone(), heads);
                prep.finish((qkv, out.clone(), log_sums), out)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::attention_of_heads(qkv, heads)),
        }
    }

    // Gradients of gradients are not taken: what follows runs on the inner backend, and no gradient flows
    // through its results.

    fn attention_and_log_sums(
        qkv: FloatTensor<Self>,
        heads: usize,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (out, log_sums) = B::attention_and_log_sums(qkv.into_primitive(), heads);
        (Self::from_inner(out), Self::from_inner(log_sums))
    }

    fn attention_gradient(
        qkv: FloatTensor<Self>,
        out: FloatTensor<Self>,
        log_sums: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        Self::from_inner(B::attention_gradient(
            qkv.into_primitive(),
            out.into_primitive(),
            log_sums.into_primitive(),
            grad.into_primitive(),
        ))
    }
}
