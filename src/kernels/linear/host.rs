//! Linear layers on burn's CPU backend.

use burn::backend::Flex;
use burn::backend::tensor::FloatTensor;
use rayon::prelude::*;

use super::extension::LinearOps;
use super::few::{self, FEW};
use super::kept;
use super::product::{Matrix, Panels, Product};
use crate::kernels::host::{Rows, gelu_tanh, gelu_tanh_backward, tensor, unwritten};
use crate::kernels::vectors::vectors;

/// Inputs, weights and biases as they lie in memory.
struct Layer {
    x: Rows,
    weight: Rows,
    bias: Rows,
    /// Vectors of the input.
    rows: usize,
    inputs: usize,
    outputs: usize,
}

impl Layer {
    fn new(x: FloatTensor<Flex>, weight: FloatTensor<Flex>, bias: FloatTensor<Flex>) -> Self {
        let (x, weight, bias) = (Rows::new(x), Rows::new(weight), Rows::new(bias));
        let (outputs, inputs) = (weight.dims()[0], weight.dims()[1]);
        let rows = x.values().len() / inputs.max(1);
        Self { x, weight, bias, rows, inputs, outputs }
    }

    fn dims(&self) -> Vec<usize> {
        let mut dims = self.x.dims();
        if let Some(last) = dims.last_mut() {
            *last = self.outputs;
        }
        dims
    }

    /// The product; what is complete is given to `finish` as [`Product::write_and`] has it.
    fn write_and(
        &self,
        side: &mut [f32],
        finish: impl Fn(usize, &mut [f32], &mut [f32]) + Sync,
    ) -> FloatTensor<Flex> {
        if self.rows <= FEW {
            let (x, weight) = (self.x.values(), self.weight.values());
            let mut out = few::product(x, weight, self.bias.values(), self.inputs);
            finish(0, &mut out, side);
            return tensor(out, self.dims());
        }
        let weight = Matrix::new(self.weight.values(), self.outputs, self.inputs);
        let mut out = unwritten(self.rows * self.outputs);
        let product = Product {
            left: Matrix::new(self.x.values(), self.rows, self.inputs),
            right: &kept::panels(&self.weight.buffer(), weight.transposed()),
            bias: Some(self.bias.values()),
        };
        product.write_and(&mut out, side, finish);
        tensor(out, self.dims())
    }
}

/// Gives every row of a block with the gate of its image.
fn with_gates(
    first: usize,
    rows: usize,
    gate: &Rows,
    tokens: usize,
    width: usize,
) -> impl Iterator<Item = &[f32]> {
    let gates = gate.values();
    (first..first + rows).map(move |row| &gates[row / tokens * width..][..width])
}

impl LinearOps for Flex {
    fn linear_bias(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        Layer::new(x, weight, bias).write_and(&mut [], |_, _, _| ())
    }

    fn linear_input_gradient(
        weight: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let (weight, grad) = (Rows::new(weight), Rows::new(grad));
        let (outputs, inputs) = (weight.dims()[0], weight.dims()[1]);
        let rows = grad.values().len() / outputs.max(1);
        let mut out = unwritten(rows * inputs);
        let product = Product {
            left: Matrix::new(grad.values(), rows, outputs),
            right: &Panels::new(Matrix::new(weight.values(), outputs, inputs)),
            bias: None,
        };
        product.write(&mut out);
        let mut dims = grad.dims();
        if let Some(last) = dims.last_mut() {
            *last = inputs;
        }
        tensor(out, dims)
    }

    fn linear_weight_gradient(
        x: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (x, grad) = (Rows::new(x), Rows::new(grad));
        let last = |rows: &Rows| rows.dims().last().copied().unwrap_or(0);
        let (inputs, outputs) = (last(&x), last(&grad));
        let rows = x.values().len() / inputs.max(1);
        let (mut of_weight, mut of_bias) = (unwritten(outputs * inputs), vec![0.0; outputs]);
        let product = Product {
            left: Matrix::new(grad.values(), rows, outputs).transposed(),
            right: &Panels::new(Matrix::new(x.values(), rows, inputs)),
            bias: None,
        };
        product.write_with_sums(&mut of_weight, &mut of_bias);
        (tensor(of_weight, vec![outputs, inputs]), tensor(of_bias, vec![outputs]))
    }

    fn linear_gelu(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        Layer::new(x, weight, bias).write_and(&mut [], |_, block, _| {
            vectors(
                #[inline(always)]
                || block.iter_mut().for_each(|x| *x = gelu_tanh(*x)),
            );
        })
    }

    fn linear_gelu_and_slope(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let layer = Layer::new(x, weight, bias);
        let mut slopes = unwritten(layer.rows * layer.outputs);
        let out = layer.write_and(&mut slopes, |_, block, slopes| {
            vectors(
                #[inline(always)]
                || {
                    for (x, slope) in block.iter_mut().zip(slopes) {
                        (*x, *slope) = (gelu_tanh(*x), gelu_tanh_backward(*x, 1.0));
                    }
                },
            );
        });
        (out, tensor(slopes, layer.dims()))
    }

    fn linear_gated(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        gate: FloatTensor<Self>,
        residual: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let layer = Layer::new(x, weight, bias);
        let (gate, residual) = (Rows::new(gate), Rows::new(residual));
        let (tokens, width) = (layer.rows / gate.dims()[0].max(1), layer.outputs);
        layer.write_and(&mut [], |first, block, _| {
            let rows = block.len() / width;
            let residual = residual.values()[first * width..].chunks_exact(width);
            let gates = with_gates(first, rows, &gate, tokens, width);
            for ((out, residual), gate) in block.chunks_exact_mut(width).zip(residual).zip(gates) {
                vectors(
                    #[inline(always)]
                    || {
                        for ((out, residual), gate) in out.iter_mut().zip(residual).zip(gate) {
                            *out = residual + gate * *out;
                        }
                    },
                );
            }
        })
    }

    fn linear_gated_and_product(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        gate: FloatTensor<Self>,
        residual: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let layer = Layer::new(x, weight, bias);
        let (gate, residual) = (Rows::new(gate), Rows::new(residual));
        let (tokens, width) = (layer.rows / gate.dims()[0].max(1), layer.outputs);
        let mut sums = unwritten(layer.rows * width);
        let product = layer.write_and(&mut sums, |first, block, sums| {
            let rows = block.len() / width;
            let residual = residual.values()[first * width..].chunks_exact(width);
            let gates = with_gates(first, rows, &gate, tokens, width);
            let lines = sums.chunks_exact_mut(width).zip(block.chunks_exact(width));
            for (((sum, product), residual), gate) in lines.zip(residual).zip(gates) {
                vectors(
                    #[inline(always)]
                    || {
                        let inputs = product.iter().zip(residual).zip(gate);
                        for (sum, ((product, residual), gate)) in sum.iter_mut().zip(inputs) {
                            *sum = residual + gate * product;
                        }
                    },
                );
            }
        });
        (tensor(sums, layer.dims()), product)
    }

    fn gated_gradient(
        product: FloatTensor<Self>,
        gate: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (product, gate, grad) = (Rows::new(product), Rows::new(gate), Rows::new(grad));
        let [batch, _, width] = gate.dims()[..] else {
            return (gate.like(vec![]), gate.like(vec![]));
        };
        let image = product.values().len() / batch.max(1);
        let mut of_product = unwritten(batch * image);
        let mut of_gate = vec![0.0; batch * width];
        let given = product.values().par_chunks(image).zip(grad.values().par_chunks(image));
        let given = given.zip(gate.values().par_chunks(width));
        let out = of_product.par_chunks_mut(image).zip(of_gate.par_chunks_mut(width));
        out.zip(given).for_each(|((of_product, of_gate), ((product, grad), gate))| {
            let rows = product.chunks_exact(width).zip(grad.chunks_exact(width));
            for ((product, grad), out) in rows.zip(of_product.chunks_exact_mut(width)) {
                vectors(
                    #[inline(always)]
                    || {
                        let sums = of_gate.iter_mut().zip(product.iter().zip(gate));
                        let lines = grad.iter().zip(out);
                        for ((grad, out), (sum, (product, gate))) in lines.zip(sums) {
                            *out = grad * gate;
                            *sum += grad * product;
                        }
                    },
                );
            }
        });
        (grad.like(of_product), gate.like(of_gate))
    }

    fn slope_gradient(slope: FloatTensor<Self>, grad: FloatTensor<Self>) -> FloatTensor<Self> {
        let (slope, grad) = (Rows::new(slope), Rows::new(grad));
        slope.zip(&grad, |slope, grad| slope * grad)
    }
}
