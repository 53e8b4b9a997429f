//! Convolutions as an extension of burn's CPU backend, and their gradients.

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, AutodiffBackend, Backend, Flex, TensorMetadata, backend_extension};

use super::forward::{self, Added, Normal, Sizes};
use super::plan::{Kind, Plan};
use super::weights;
use crate::kernels::extension::register;
use crate::kernels::group_norm;
use crate::kernels::host::{Rows, groups_of, tensor};

/// Convolutions with a gradient. Shapes as in [`super::convolution`].
#[backend_extension(Flex, Autodiff)]
pub trait ConvolutionOps: Backend {
    fn convolution(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        kind: Kind,
    ) -> FloatTensor<Self>;

    /// The convolution, and a tensor of the same shape added to it.
    fn convolution_onto(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        kind: Kind,
    ) -> FloatTensor<Self>;

    /// Gradient of `x`, of the given height and width.
    fn convolution_backward_x(
        weight: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        size: [usize; 2],
        kind: Kind,
    ) -> FloatTensor<Self>;

    /// Gradients of `weight` and `bias`.
    fn convolution_backward_weight(
        x: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        kind: Kind,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
}

fn convolve(
    x: FloatTensor<Flex>,
    norm: Option<(FloatTensor<Flex>, FloatTensor<Flex>, usize)>,
    weight: FloatTensor<Flex>,
    bias: FloatTensor<Flex>,
    residual: Option<FloatTensor<Flex>>,
    kind: Kind,
) -> FloatTensor<Flex> {
    let (x, weight, bias) = (Rows::new(x), Rows::new(weight), Rows::new(bias));
    let residual = residual.map(Rows::new);
    let ([images, inputs, height, width], [outputs, ..]) = (x.extents(), weight.extents());
    let plan = Plan::forward(kind, [height, width]);
    let sizes = Sizes { images, inputs, outputs };
    let residual = residual.as_ref().map(Rows::values);
    let added = Added { bias: Some(bias.values()), residual };
    let norm = norm.map(|(weight, bias, groups)| (Rows::new(weight), Rows::new(bias), groups));
    let of = norm.as_ref().map(|(weight, bias, groups)| groups_of(&x, weight, bias, *groups, true));
    let moments = of.map(|of| group_norm::moments(of, x.values())).unwrap_or_default();
    let normal = of.map(|of| Normal { of, moments: &moments });
    let out = forward::convolve(&plan, sizes, x.values(), normal, weight.values(), added);
    let [rows, columns] = plan.target;
    tensor(out, vec![images, outputs, rows, columns])
}

impl ConvolutionOps for Flex {
    fn convolution(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        kind: Kind,
    ) -> FloatTensor<Self> {
        convolve(x, None, weight, bias, None, kind)
    }

    fn convolution_onto(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        kind: Kind,
    ) -> FloatTensor<Self> {
        convolve(x, None, weight, bias, Some(residual), kind)
    }

    fn convolution_backward_x(
        weight: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        [height, width]: [usize; 2],
        kind: Kind,
    ) -> FloatTensor<Self> {
        let (weight, grad) = (Rows::new(weight), Rows::new(grad));
        let ([images, ..], [outputs, inputs, ..]) = (grad.extents(), weight.extents());
        let plan = Plan::backward(kind, [height, width]);
        let sizes = Sizes { images, inputs: outputs, outputs: inputs };
        let added = Added::default();
        let out = forward::convolve(&plan, sizes, grad.values(), None, weight.values(), added);
        tensor(out, vec![images, inputs, height, width])
    }

    fn convolution_backward_weight(
        x: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        kind: Kind,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (x, grad) = (Rows::new(x), Rows::new(grad));
        let ([images, inputs, height, width], [_, outputs, ..]) = (x.extents(), grad.extents());
        let plan = Plan::forward(kind, [height, width]);
        let sizes = Sizes { images, inputs, outputs };
        let (weight, bias) = weights::gradients(&plan, sizes, x.values(), grad.values());
        let side = kind.side();
        (tensor(weight, vec![outputs, inputs, side, side]), tensor(bias, vec![outputs]))
    }
}

/// Convolutions with a kernel of 3x3 that keep the size, of what a group normalisation with SiLU makes of `x`; without
/// gradients. Shapes as in [`super::convolution_of_normal`].
#[backend_extension(Flex)]
pub trait NormalConvolutionOps: Backend {
    fn convolution_of_normal(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        groups: usize,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// The convolution, and a tensor of the same shape added to it.
    fn convolution_of_normal_onto(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        groups: usize,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        residual: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

impl NormalConvolutionOps for Flex {
    fn convolution_of_normal(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        groups: usize,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        convolve(x, Some((scale, shift, groups)), weight, bias, None, Kind::Same)
    }

    fn convolution_of_normal_onto(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        groups: usize,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        residual: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        convolve(x, Some((scale, shift, groups)), weight, bias, Some(residual), Kind::Same)
    }
}

#[derive(Debug)]
struct Convolution;

/// `x`, `weight` and the kind.
type State<B> = (FloatTensor<B>, FloatTensor<B>, Kind);

impl Convolution {
    fn register<B: ConvolutionOps>(
        (x, weight, kind): State<B>,
        grad: FloatTensor<B>,
        parents: [Option<NodeId>; 3],
        grads: &mut Gradients,
    ) {
        let [of_x, of_weight, of_bias] = parents;
        if let Some(id) = of_x {
            let dims = x.shape();
            let size = [dims[2], dims[3]];
            grads.register::<B>(id, B::convolution_backward_x(weight, grad.clone(), size, kind));
        }
        if of_weight.is_none() && of_bias.is_none() {
            return;
        }
        let (weight, bias) = B::convolution_backward_weight(x, grad, kind);
        register::<B, 2>([of_weight, of_bias], [weight, bias], grads);
    }
}

impl<B: ConvolutionOps> Backward<B, 3> for Convolution {
    type State = State<B>;

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let parents = ops.parents.map(|parent| parent.map(|parent| parent.id));
        Self::register::<B>(ops.state, grad, parents, grads);
    }
}

impl<B: ConvolutionOps> Backward<B, 4> for Convolution {
    type State = State<B>;

    fn backward(self, ops: Ops<Self::State, 4>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let [x, weight, bias, residual] = ops.parents.map(|parent| parent.map(|parent| parent.id));
        if let Some(id) = residual {
            grads.register::<B>(id, grad.clone());
        }
        Self::register::<B>(ops.state, grad, [x, weight, bias], grads);
    }
}

impl<B: ConvolutionOps, C: CheckpointStrategy> ConvolutionOps for Autodiff<B, C> {
    fn convolution(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        kind: Kind,
    ) -> FloatTensor<Self> {
        let nodes = [x.node(), weight.node(), bias.node()];
        let (x, weight, bias) =
            (x.into_primitive(), weight.into_primitive(), bias.into_primitive());
        let state = (x.clone(), weight.clone(), kind);
        let out = B::convolution(x, weight, bias, kind);
        match Convolution.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(state, out),
            OpsKind::UnTracked(prep) => prep.finish(out),
        }
    }

    fn convolution_onto(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        kind: Kind,
    ) -> FloatTensor<Self> {
        let nodes = [x.node(), weight.node(), bias.node(), residual.node()];
        let (x, weight, bias) =
            (x.into_primitive(), weight.into_primitive(), bias.into_primitive());
        let state = (x.clone(), weight.clone(), kind);
        let out = B::convolution_onto(x, weight, bias, residual.into_primitive(), kind);
        match Convolution.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(state, out),
            OpsKind::UnTracked(prep) => prep.finish(out),
        }
    }

    // Gradients of gradients are not taken: the backward operations run on the inner backend, and no
    // gradient flows through their results.

    fn convolution_backward_x(
        weight: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        size: [usize; 2],
        kind: Kind,
    ) -> FloatTensor<Self> {
        let (weight, grad) = (weight.into_primitive(), grad.into_primitive());
        Self::from_inner(B::convolution_backward_x(weight, grad, size, kind))
    }

    fn convolution_backward_weight(
        x: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        kind: Kind,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (x, grad) = (x.into_primitive(), grad.into_primitive());
        let (weight, bias) = B::convolution_backward_weight(x, grad, kind);
        (Self::from_inner(weight), Self::from_inner(bias))
    }
}
