//! Layers whose parameters keep the names and layouts of the reference's files.

use burn::module::{Module, Param, ParamId};
use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use super::half;
use super::precision::{as_precise_as, wide};
use crate::kernels::{self, Kind, Normal, group_norm, group_norm_silu, linear};
use crate::rng::Stream;

/// Makes parameters: with first values (random ones from a stream for each, in order), or blank
/// ones that take no memory until they are loaded.
#[derive(Debug)]
pub struct Initialiser<'a> {
    device: &'a Device,
    seed: Option<u64>,
    drawn: u64,
}

impl<'a> Initialiser<'a> {
    /// Parameters on `device`, drawn from `seed`.
    pub fn new(seed: u64, device: &'a Device) -> Self {
        Self { device, seed: Some(seed), drawn: 0 }
    }

    /// Parameters that will be loaded on `device`; zero where one is used before.
    pub fn blank(device: &'a Device) -> Self {
        Self { device, seed: None, drawn: 0 }
    }

    fn param<const D: usize>(
        &self,
        shape: [usize; D],
        draw: impl FnOnce(&mut Stream, usize) -> Vec<f32>,
    ) -> Param<Tensor<D>> {
        match self.seed {
            Some(seed) => {
                let values = draw(&mut Stream::new(seed, self.drawn), shape.iter().product());
                Param::from_data(TensorData::new(values, shape), self.device)
            }
            None => Param::uninitialized(
                ParamId::new(),
                move |device, leaf| Tensor::zeros(shape, device).set_require_grad(leaf),
                self.device.clone(),
                self.device.is_autodiff(),
                shape.into(),
            ),
        }
    }

    /// A parameter filled with `value`.
    pub fn constant<const D: usize>(&self, value: f32, shape: [usize; D]) -> Param<Tensor<D>> {
        self.param(shape, |_, count| vec![value; count])
    }

    /// A parameter drawn from the normal distribution of mean 0.
    pub fn normal<const D: usize>(
        &mut self,
        deviation: f32,
        shape: [usize; D],
    ) -> Param<Tensor<D>> {
        self.drawn += 1;
        self.param(shape, |stream, count| {
            stream.normals(count).into_iter().map(|value| value * deviation).collect()
        })
    }

    /// A parameter drawn uniformly from `[-bound, bound)`.
    pub fn uniform<const D: usize>(&mut self, bound: f64, shape: [usize; D]) -> Param<Tensor<D>> {
        self.drawn += 1;
        self.param(shape, |stream, count| stream.symmetric(count, bound))
    }
}

/// `y = x W^T + b`, with the weight stored as PyTorch stores it.
#[derive(Module, Debug)]
pub struct Linear {
    /// `[outputs, inputs]`
    pub weight: Param<Tensor<2>>,
    /// `[outputs]`
    pub bias: Param<Tensor<1>>,
}

impl Linear {
    /// Xavier-uniform weight, zero bias.
    pub fn xavier(inputs: usize, outputs: usize, init: &mut Initialiser) -> Self {
        let bound = (6.0 / (inputs + outputs) as f64).sqrt();
        Self { weight: init.uniform(bound, [outputs, inputs]), bias: init.constant(0.0, [outputs]) }
    }

    /// Normal weight of the given deviation, zero bias.
    pub fn normal(deviation: f32, inputs: usize, outputs: usize, init: &mut Initialiser) -> Self {
        Self {
            weight: init.normal(deviation, [outputs, inputs]),
            bias: init.constant(0.0, [outputs]),
        }
    }

    /// Zero weight and bias.
    pub fn zero(inputs: usize, outputs: usize, init: &mut Initialiser) -> Self {
        Self { weight: init.constant(0.0, [outputs, inputs]), bias: init.constant(0.0, [outputs]) }
    }

    /// In the precision of the weight.
    ///
    /// # Shapes
    /// - `x`: `[..., inputs]`
    /// - output: `[..., outputs]`
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        half::affine(x, self.weight.val(), self.bias.val())
    }

    /// The GELU of the output, by the tanh approximation, in f32.
    ///
    /// # Shapes
    /// As for [`Linear::forward`].
    pub fn gelu<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let (weight, bias) = (self.weight.val(), self.bias.val());
        match weight.dtype() {
            DType::F16 => kernels::gelu_tanh(wide(half::affine(x, weight, bias))),
            _ => kernels::linear_gelu(x, weight, bias),
        }
    }

    /// `residual + gate y` of the output `y`, in f32.
    ///
    /// # Shapes
    /// - `x`: `[batch, tokens, inputs]`
    /// - `gate`: `[batch, 1, outputs]`
    /// - `residual`, output: `[batch, tokens, outputs]`
    pub fn gated(&self, x: Tensor<3>, gate: Tensor<3>, residual: Tensor<3>) -> Tensor<3> {
        let (weight, bias) = (self.weight.val(), self.bias.val());
        match weight.dtype() {
            DType::F16 => residual + gate * wide(half::affine(x, weight, bias)),
            _ => kernels::linear_gated(x, weight, bias, gate, residual),
        }
    }

    /// As [`Linear::forward`], in f32 whatever the precision of the weight: for small layers on whose
    /// last digits much depends.
    pub fn forward_wide<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let (weight, bias) = (wide(self.weight.val()), wide(self.bias.val()));
        linear(wide(x), weight, bias)
    }
}

/// A convolution with a square kernel.
#[derive(Module, Debug)]
pub struct Conv2d {
    /// `[outputs, inputs, kernel, kernel]`
    pub weight: Param<Tensor<4>>,
    /// `[outputs]`
    pub bias: Param<Tensor<1>>,
}

impl Conv2d {
    /// Kaiming-uniform weight with the gain PyTorch gives convolutions, and a bias in the same range.
    pub fn new(inputs: usize, outputs: usize, kernel: usize, init: &mut Initialiser) -> Self {
        let bound = 1.0 / ((inputs * kernel * kernel) as f64).sqrt();
        Self {
            weight: init.uniform(bound, [outputs, inputs, kernel, kernel]),
            bias: init.uniform(bound, [outputs]),
        }
    }

    /// Xavier-uniform over the flattened kernel and zero bias, as the DiT's patch embedding starts.
    pub fn xavier(inputs: usize, outputs: usize, kernel: usize, init: &mut Initialiser) -> Self {
        let bound = (6.0 / (inputs * kernel * kernel + outputs) as f64).sqrt();
        Self {
            weight: init.uniform(bound, [outputs, inputs, kernel, kernel]),
            bias: init.constant(0.0, [outputs]),
        }
    }

    fn apply(&self, x: Tensor<4>, residual: Option<Tensor<4>>, kind: Kind) -> Tensor<4> {
        let (weight, bias, residual) = (self.weight.val(), self.bias.val(), residual.map(wide));
        if weight.dtype() != DType::F16 {
            return kernels::convolution(x, weight, bias, residual, kind);
        }
        // What only moves numbers is done to as few bytes as possible.
        let (x, stride, padding) = kernels::arranged(as_precise_as(x, &weight), kind);
        let made = half::conv2d(x, weight, bias, stride, padding);
        match residual {
            Some(residual) => residual + wide(made),
            None => made,
        }
    }

    fn same_kind(&self) -> Kind {
        match self.weight.dims()[3] {
            1 => Kind::Pixel,
            _ => Kind::Same,
        }
    }

    /// Stride 1 and 'same' padding, in the precision of the weight, with a kernel of 1x1 or 3x3.
    ///
    /// # Shapes
    /// - `x`: `[batch, inputs, height, width]`
    /// - output: `[batch, outputs, height, width]`
    pub fn same(&self, x: Tensor<4>) -> Tensor<4> {
        self.apply(x, None, self.same_kind())
    }

    /// `residual + same(x)`, in f32.
    ///
    /// # Shapes
    /// - `x`: `[batch, inputs, height, width]`
    /// - `residual`, output: `[batch, outputs, height, width]`
    pub fn same_onto(&self, residual: Tensor<4>, x: Tensor<4>) -> Tensor<4> {
        self.apply(x, Some(residual), self.same_kind())
    }

    /// `residual + same(norm.silu(x))`, with or without a residual, of a kernel of 3x3.
    ///
    /// # Shapes
    /// - `x`: `[batch, inputs, height, width]`
    /// - `residual`, output: `[batch, outputs, height, width]`
    pub fn same_of(
        &self,
        norm: &GroupNorm,
        x: Tensor<4>,
        residual: Option<Tensor<4>>,
    ) -> Tensor<4> {
        let (weight, bias) = (self.weight.val(), self.bias.val());
        if weight.dtype() == DType::F16 || self.same_kind() != Kind::Same {
            return self.apply(norm.silu(x), residual, self.same_kind());
        }
        let normal = Normal {
            weight: wide(norm.weight.val()),
            bias: wide(norm.bias.val()),
            groups: norm.groups,
        };
        kernels::convolution_of_normal(wide(x), normal, weight, bias, residual.map(wide))
    }

    /// Stride 2, padded by one row below and one column to the right, as the reference
    /// autoencoders halve an image.
    ///
    /// # Shapes
    /// - `x`: `[batch, inputs, height, width]`
    /// - output: `[batch, outputs, height / 2, width / 2]`
    pub fn halve(&self, x: Tensor<4>) -> Tensor<4> {
        self.apply(x, None, Kind::Halve)
    }

    /// Every pixel to a square of two by two, then [`Conv2d::same`] with a kernel of 3x3.
    ///
    /// # Shapes
    /// - `x`: `[batch, inputs, height, width]`
    /// - output: `[batch, outputs, 2 height, 2 width]`
    pub fn double(&self, x: Tensor<4>) -> Tensor<4> {
        self.apply(x, None, Kind::Double)
    }

    /// Non-overlapping patches: stride equal to the kernel, written as one matrix product.
    ///
    /// # Shapes
    /// - `x`: `[batch, inputs, height, width]`
    /// - output: `[batch, (height / kernel) (width / kernel), outputs]`
    pub fn patches(&self, x: Tensor<4>) -> Tensor<3> {
        let [outputs, inputs, kernel, _] = self.weight.dims();
        let [batch, _, height, width] = x.dims();
        let (rows, columns) = (height / kernel, width / kernel);
        let x = x
            .reshape([batch, inputs, rows, kernel, columns, kernel])
            .permute([0, 2, 4, 1, 3, 5])
            .reshape([batch, rows * columns, inputs * kernel * kernel]);
        let weight = self.weight.val().reshape([outputs, inputs * kernel * kernel]);
        half::affine(x, weight, self.bias.val())
    }
}

/// Group normalisation over channels and space, with a scale and a shift for each channel.
#[derive(Module, Debug)]
pub struct GroupNorm {
    /// `[channels]`
    pub weight: Param<Tensor<1>>,
    /// `[channels]`
    pub bias: Param<Tensor<1>>,
    #[module(skip)]
    groups: usize,
}

impl GroupNorm {
    /// Scale 1, shift 0.
    pub fn new(groups: usize, channels: usize, init: &mut Initialiser) -> Self {
        Self {
            weight: init.constant(1.0, [channels]),
            bias: init.constant(0.0, [channels]),
            groups,
        }
    }

    /// In f32.
    ///
    /// # Shapes
    /// - `x`, output: `[batch, channels, height, width]`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        group_norm(wide(x), wide(self.weight.val()), wide(self.bias.val()), self.groups)
    }

    /// Normalises, then applies `x sigmoid(x)`, in f32.
    ///
    /// # Shapes
    /// - `x`, output: `[batch, channels, height, width]`
    pub fn silu(&self, x: Tensor<4>) -> Tensor<4> {
        group_norm_silu(wide(x), wide(self.weight.val()), wide(self.bias.val()), self.groups)
    }
}

/// A table of vectors looked up by index.
#[derive(Module, Debug)]
pub struct Embedding {
    /// `[rows, width]`
    pub weight: Param<Tensor<2>>,
}

impl Embedding {
    /// Normal rows of the given deviation.
    pub fn normal(deviation: f32, rows: usize, width: usize, init: &mut Initialiser) -> Self {
        Self { weight: init.normal(deviation, [rows, width]) }
    }

    /// # Shapes
    /// - `indices`: `[n]`, each below `rows`
    /// - output: `[n, width]`
    pub fn forward(&self, indices: Tensor<1, Int>) -> Tensor<2> {
        self.weight.val().select(0, indices)
    }
}
