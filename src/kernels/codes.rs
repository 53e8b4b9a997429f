//! The operations over codes as an extension of every backend: one signature for the CPU
//! (`super::host_codes`), for wgpu with and without fusion (`super::gpu`), and with gradients (here).

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::fusion::custom::TensorSpec;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Autodiff, AutodiffBackend, Backend, ExtensionType, backend_extension};
use burn::tensor::{DType, Shape};

use super::expectation::PackedMask;

/// Beliefs `[tokens, size + 2 + top]`: mean, entropy, log Z, top probabilities; and the top codes.
#[derive(Debug, Clone, ExtensionType)]
#[extension_type(fusion)]
pub struct PackedBeliefs<B: Backend> {
    pub beliefs: FloatTensor<B>,
    pub best: IntTensor<B>,
}

/// Nearest codes and their squared distances, `[tokens, 1]`.
#[derive(Debug, Clone, ExtensionType)]
#[extension_type(fusion)]
pub struct Nearest<B: Backend> {
    pub codes: IntTensor<B>,
    pub distances: FloatTensor<B>,
}

/// Operations over codes. Shapes as in [`super::categorical_expectation`] and [`super::code_loss`].
#[backend_extension(Flex, Cube, Fusion, Autodiff)]
pub trait CodeOps: Backend {
    /// With a guidance scale the logits are mixed as they are read; without one `unconditional` is
    /// not looked at.
    #[fusion(meta = |logits, _u, codebook, _tau, _scale, top, _mask| {
        beliefs_metadata(logits, codebook, *top)
    })]
    fn packed_expectation(
        conditional: FloatTensor<Self>,
        unconditional: FloatTensor<Self>,
        codebook: FloatTensor<Self>,
        tau: f32,
        scale: Option<f32>,
        top: usize,
        mask: Option<PackedMask>,
    ) -> PackedBeliefs<Self>;

    #[fusion(dtype = DType::F32, shape = Shape::from([logits[0], 2]))]
    fn code_terms(logits: FloatTensor<Self>, codes: IntTensor<Self>) -> FloatTensor<Self>;

    /// The gradient of the logits, from what [`CodeOps::code_terms`] gave and the gradient of that.
    #[fusion(dtype = logits, shape = logits)]
    fn code_terms_backward(
        logits: FloatTensor<Self>,
        codes: IntTensor<Self>,
        terms: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// Of every latent, brought to length 1 first where `unit` is set.
    #[fusion(meta = |latents, _codebook, _unit| nearest_metadata(latents))]
    fn nearest(
        latents: FloatTensor<Self>,
        codebook: FloatTensor<Self>,
        unit: bool,
    ) -> Nearest<Self>;
}

/// What [`CodeOps::packed_expectation`] gives, for burn's fusion.
fn beliefs_metadata(
    logits: &TensorSpec,
    codebook: &TensorSpec,
    top: usize,
) -> PackedBeliefsMetadata {
    let (tokens, size) = (logits.shape[0], codebook.shape[1]);
    PackedBeliefsMetadata {
        beliefs: TensorSpec::new(Shape::from([tokens, size + 2 + top]), DType::F32),
        best: TensorSpec::new(Shape::from([tokens, top]), DType::I32),
    }
}

/// What [`CodeOps::nearest`] gives, for burn's fusion.
fn nearest_metadata(latents: &TensorSpec) -> NearestMetadata {
    let shape = || Shape::from([latents.shape[0], 1]);
    NearestMetadata {
        codes: TensorSpec::new(shape(), DType::I32),
        distances: TensorSpec::new(shape(), DType::F32),
    }
}

#[derive(Debug)]
struct CodeTerms;

impl<B: CodeOps> Backward<B, 1> for CodeTerms {
    type State = (FloatTensor<B>, IntTensor<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let (logits, codes, terms) = ops.state;
        let [parent] = ops.parents;
        if let Some(parent) = parent {
            grads.register::<B>(parent.id, B::code_terms_backward(logits, codes, terms, grad));
        }
    }
}

impl<B: CodeOps, C: CheckpointStrategy> CodeOps for Autodiff<B, C> {
    fn packed_expectation(
        conditional: FloatTensor<Self>,
        unconditional: FloatTensor<Self>,
        codebook: FloatTensor<Self>,
        tau: f32,
        scale: Option<f32>,
        top: usize,
        mask: Option<PackedMask>,
    ) -> PackedBeliefs<Self> {
        let (conditional, unconditional) =
            (conditional.into_primitive(), unconditional.into_primitive());
        let codebook = codebook.into_primitive();
        let inner =
            B::packed_expectation(conditional, unconditional, codebook, tau, scale, top, mask);
        PackedBeliefs { beliefs: Self::from_inner(inner.beliefs), best: inner.best }
    }

    fn code_terms(logits: FloatTensor<Self>, codes: IntTensor<Self>) -> FloatTensor<Self> {
        let (logits, node) = logits.into_parts();
        match CodeTerms.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let terms = B::code_terms(logits.clone(), codes.clone());
                prep.finish((logits, codes, terms.clone()), terms)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::code_terms(logits, codes)),
        }
    }

    fn code_terms_backward(
        logits: FloatTensor<Self>,
        codes: IntTensor<Self>,
        terms: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        Self::from_inner(B::code_terms_backward(
            logits.into_primitive(),
            codes,
            terms.into_primitive(),
            grad.into_primitive(),
        ))
    }

    fn nearest(
        latents: FloatTensor<Self>,
        codebook: FloatTensor<Self>,
        unit: bool,
    ) -> Nearest<Self> {
        let inner = B::nearest(latents.into_primitive(), codebook.into_primitive(), unit);
        Nearest { codes: inner.codes, distances: Self::from_inner(inner.distances) }
    }
}
