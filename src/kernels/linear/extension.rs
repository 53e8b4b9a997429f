//! Linear layers as an extension of burn's CPU backend, and their gradients.

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, AutodiffBackend, Backend, backend_extension};

use crate::kernels::extension::register;

/// Linear layers with a gradient. Shapes as in [`super`].
#[backend_extension(Flex, Autodiff)]
pub trait LinearOps: Backend {
    fn linear_bias(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// Gradient of the input of a layer, from that of its output.
    fn linear_input_gradient(
        weight: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// Gradients of weight and bias of a layer, from its input and the gradient of its output.
    fn linear_weight_gradient(
        x: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    fn linear_gelu(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// As [`LinearOps::linear_gelu`], and the slope of the GELU at every number.
    fn linear_gelu_and_slope(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// The gradient of what a GELU was taken of, from its slope and the gradient of what it gave.
    fn slope_gradient(slope: FloatTensor<Self>, grad: FloatTensor<Self>) -> FloatTensor<Self>;

    fn linear_gated(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        gate: FloatTensor<Self>,
        residual: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// As [`LinearOps::linear_gated`], and the product with its bias.
    fn linear_gated_and_product(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        gate: FloatTensor<Self>,
        residual: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// Gradients of the product with its bias and of the gate, from the gradient of the sum.
    fn gated_gradient(
        product: FloatTensor<Self>,
        gate: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
}

/// Registers the gradients of input, weight and bias of a layer whose output has the gradient `grad`.
fn register_layer<B: LinearOps>(
    [x_node, weight_node, bias_node]: [Option<NodeId>; 3],
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    grad: FloatTensor<B>,
    grads: &mut Gradients,
) {
    if weight_node.is_some() || bias_node.is_some() {
        let (of_weight, of_bias) = B::linear_weight_gradient(x, grad.clone());
        register::<B, 2>([weight_node, bias_node], [of_weight, of_bias], grads);
    }
    if let Some(node) = x_node {
        grads.register::<B>(node, B::linear_input_gradient(weight, grad));
    }
}

#[derive(Debug)]
struct Linear;

impl<B: LinearOps> Backward<B, 3> for Linear {
    type State = (FloatTensor<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let (x, weight) = ops.state;
        let nodes = ops.parents.map(|parent| parent.map(|parent| parent.id));
        register_layer::<B>(nodes, x, weight, grad, grads);
    }
}

#[derive(Debug)]
struct LinearGelu;

impl<B: LinearOps> Backward<B, 3> for LinearGelu {
    type State = (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let (x, weight, slope) = ops.state;
        let nodes = ops.parents.map(|parent| parent.map(|parent| parent.id));
        register_layer::<B>(nodes, x, weight, B::slope_gradient(slope, grad), grads);
    }
}

#[derive(Debug)]
struct LinearGated;

impl<B: LinearOps> Backward<B, 5> for LinearGated {
    type State = (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 5>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let (x, weight, gate, product) = ops.state;
        let [of_x, of_weight, of_bias, of_gate, of_residual] =
            ops.parents.map(|parent| parent.map(|parent| parent.id));
        let (by_product, by_gate) = B::gated_gradient(product, gate, grad.clone());
        register::<B, 2>([of_residual, of_gate], [grad, by_gate], grads);
        register_layer::<B>([of_x, of_weight, of_bias], x, weight, by_product, grads);
    }
}

impl<B: LinearOps, C: CheckpointStrategy> LinearOps for Autodiff<B, C> {
    fn linear_bias(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let nodes = [x.node(), weight.node(), bias.node()];
        let (x, weight, bias) =
            (x.into_primitive(), weight.into_primitive(), bias.into_primitive());
        match Linear.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let state = (x.clone(), weight.clone());
                prep.finish(state, B::linear_bias(x, weight, bias))
            }
            OpsKind::UnTracked(prep) => prep.finish(B::linear_bias(x, weight, bias)),
        }
    }

    fn linear_gelu(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let nodes = [x.node(), weight.node(), bias.node()];
        let (x, weight, bias) =
            (x.into_primitive(), weight.into_primitive(), bias.into_primitive());
        match LinearGelu.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let (out, slope) = B::linear_gelu_and_slope(x.clone(), weight.clone(), bias);
                prep.finish((x, weight, slope), out)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::linear_gelu(x, weight, bias)),
        }
    }

    fn linear_gated(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        gate: FloatTensor<Self>,
        residual: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let nodes = [x.node(), weight.node(), bias.node(), gate.node(), residual.node()];
        let (x, weight, bias) =
            (x.into_primitive(), weight.into_primitive(), bias.into_primitive());
        let (gate, residual) = (gate.into_primitive(), residual.into_primitive());
        match LinearGated.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let state = (x.clone(), weight.clone(), gate.clone());
                let (out, product) = B::linear_gated_and_product(x, weight, bias, gate, residual);
                let (x, weight, gate) = state;
                prep.finish((x, weight, gate, product), out)
            }
            OpsKind::UnTracked(prep) => {
                prep.finish(B::linear_gated(x, weight, bias, gate, residual))
            }
        }
    }

    // Gradients of gradients are not taken: what follows runs on the inner backend, and no gradient flows
    // through its results.

    fn linear_input_gradient(
        weight: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let grad = B::linear_input_gradient(weight.into_primitive(), grad.into_primitive());
        Self::from_inner(grad)
    }

    fn linear_weight_gradient(
        x: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (weight, bias) = B::linear_weight_gradient(x.into_primitive(), grad.into_primitive());
        (Self::from_inner(weight), Self::from_inner(bias))
    }

    fn linear_gelu_and_slope(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (x, weight, bias) =
            (x.into_primitive(), weight.into_primitive(), bias.into_primitive());
        let (out, slope) = B::linear_gelu_and_slope(x, weight, bias);
        (Self::from_inner(out), Self::from_inner(slope))
    }

    fn slope_gradient(slope: FloatTensor<Self>, grad: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::from_inner(B::slope_gradient(slope.into_primitive(), grad.into_primitive()))
    }

    fn linear_gated_and_product(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        gate: FloatTensor<Self>,
        residual: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (x, weight, bias) =
            (x.into_primitive(), weight.into_primitive(), bias.into_primitive());
        let (gate, residual) = (gate.into_primitive(), residual.into_primitive());
        let (out, product) = B::linear_gated_and_product(x, weight, bias, gate, residual);
        (Self::from_inner(out), Self::from_inner(product))
    }

    fn gated_gradient(
        product: FloatTensor<Self>,
        gate: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (product, gate) = (product.into_primitive(), gate.into_primitive());
        let (product, gate) = B::gated_gradient(product, gate, grad.into_primitive());
        (Self::from_inner(product), Self::from_inner(gate))
    }
}
