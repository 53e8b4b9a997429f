//! The fused operations of the networks as an extension of burn's CPU backend, and their gradients.

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, AutodiffBackend, Backend, Flex, backend_extension};

use super::host::{self, Rows};

/// Registers the gradients of those parents of an operation that have one.
pub(super) fn register<B: Backend, const N: usize>(
    parents: [Option<NodeId>; N],
    found: [FloatTensor<B>; N],
    grads: &mut Gradients,
) {
    for (parent, grad) in parents.into_iter().zip(found) {
        if let Some(parent) = parent {
            grads.register::<B>(parent, grad);
        }
    }
}

/// Fused operations with a gradient. Shapes as in [`super::fused`].
#[backend_extension(Flex, Autodiff)]
pub trait FusedOps: Backend {
    fn gelu_tanh(x: FloatTensor<Self>) -> FloatTensor<Self>;

    fn gelu_tanh_backward(x: FloatTensor<Self>, grad: FloatTensor<Self>) -> FloatTensor<Self>;

    fn layer_norm_modulate(
        x: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        scale: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// Gradients of `x`, `shift` and `scale`.
    fn layer_norm_modulate_backward(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// `GN(x) weight + bias`, and `y sigmoid(y)` of that where it is asked for.
    fn group_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        groups: usize,
        silu: bool,
    ) -> FloatTensor<Self>;

    /// Gradients of `x`, `weight` and `bias`.
    fn group_norm_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        groups: usize,
        silu: bool,
        grad: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

impl FusedOps for Flex {
    fn gelu_tanh(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let x = Rows::new(x);
        x.map(host::gelu_tanh)
    }

    fn gelu_tanh_backward(x: FloatTensor<Self>, grad: FloatTensor<Self>) -> FloatTensor<Self> {
        let (x, grad) = (Rows::new(x), Rows::new(grad));
        x.zip(&grad, host::gelu_tanh_backward)
    }

    fn layer_norm_modulate(
        x: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        scale: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        host::layer_norm_modulate(&Rows::new(x), &Rows::new(shift), &Rows::new(scale))
    }

    fn layer_norm_modulate_backward(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        host::layer_norm_modulate_backward(&Rows::new(x), &Rows::new(scale), &Rows::new(grad))
    }

    fn group_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        groups: usize,
        silu: bool,
    ) -> FloatTensor<Self> {
        host::group_norm(&Rows::new(x), &Rows::new(weight), &Rows::new(bias), groups, silu)
    }

    fn group_norm_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        groups: usize,
        silu: bool,
        grad: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let (weight, bias) = (Rows::new(weight), Rows::new(bias));
        host::group_norm_backward(&Rows::new(x), &weight, &bias, groups, silu, &Rows::new(grad))
    }
}

#[derive(Debug)]
struct GeluTanh;

impl<B: FusedOps> Backward<B, 1> for GeluTanh {
    type State = FloatTensor<B>;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let [x] = ops.parents;
        if let Some(x) = x {
            grads.register::<B>(x.id, B::gelu_tanh_backward(ops.state, grad));
        }
    }
}

#[derive(Debug)]
struct LayerNormModulate;

impl<B: FusedOps> Backward<B, 3> for LayerNormModulate {
    type State = (FloatTensor<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let (x, scale) = ops.state;
        let (x, shift, scale) = B::layer_norm_modulate_backward(x, scale, grad);
        let parents = ops.parents.map(|parent| parent.map(|parent| parent.id));
        register::<B, 3>(parents, [x, shift, scale], grads);
    }
}

#[derive(Debug)]
struct GroupNorm;

impl<B: FusedOps> Backward<B, 3> for GroupNorm {
    type State = (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>, usize, bool);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let (x, weight, bias, groups, silu) = ops.state;
        let (x, weight, bias) = B::group_norm_backward(x, weight, bias, groups, silu, grad);
        let parents = ops.parents.map(|parent| parent.map(|parent| parent.id));
        register::<B, 3>(parents, [x, weight, bias], grads);
    }
}

impl<B: FusedOps, C: CheckpointStrategy> FusedOps for Autodiff<B, C> {
    fn gelu_tanh(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        match GeluTanh.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(x.clone(), B::gelu_tanh(x)),
            OpsKind::UnTracked(prep) => prep.finish(B::gelu_tanh(x)),
        }
    }

    fn layer_norm_modulate(
        x: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        scale: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let nodes = [x.node(), shift.node(), scale.node()];
        let (x, shift, scale) =
            (x.into_primitive(), shift.into_primitive(), scale.into_primitive());
        match LayerNormModulate.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let state = (x.clone(), scale.clone());
                prep.finish(state, B::layer_norm_modulate(x, shift, scale))
            }
            OpsKind::UnTracked(prep) => prep.finish(B::layer_norm_modulate(x, shift, scale)),
        }
    }

    fn group_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        groups: usize,
        silu: bool,
    ) -> FloatTensor<Self> {
        let nodes = [x.node(), weight.node(), bias.node()];
        let (x, weight, bias) =
            (x.into_primitive(), weight.into_primitive(), bias.into_primitive());
        match GroupNorm.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let state = (x.clone(), weight.clone(), bias.clone(), groups, silu);
                prep.finish(state, B::group_norm(x, weight, bias, groups, silu))
            }
            OpsKind::UnTracked(prep) => prep.finish(B::group_norm(x, weight, bias, groups, silu)),
        }
    }

    // Gradients of gradients are not taken: the backward operations run on the inner backend, and no
    // gradient flows through their results.

    fn gelu_tanh_backward(x: FloatTensor<Self>, grad: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::from_inner(B::gelu_tanh_backward(x.into_primitive(), grad.into_primitive()))
    }

    fn layer_norm_modulate_backward(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let (x, shift, scale) = B::layer_norm_modulate_backward(
            x.into_primitive(),
            scale.into_primitive(),
            grad.into_primitive(),
        );
        (Self::from_inner(x), Self::from_inner(shift), Self::from_inner(scale))
    }

    fn group_norm_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        groups: usize,
        silu: bool,
        grad: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let (x, weight, bias) = B::group_norm_backward(
            x.into_primitive(),
            weight.into_primitive(),
            bias.into_primitive(),
            groups,
            silu,
            grad.into_primitive(),
        );
        (Self::from_inner(x), Self::from_inner(weight), Self::from_inner(bias))
    }
}
