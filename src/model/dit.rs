//! The backbone: a diffusion transformer with adaLN-Zero conditioning (Peebles and Xie 2023), as in
//! [`models/dit.py`] of the Purrception reference.
//!
//! [`models/dit.py`]: https://github.com/razvanmatisan/purrception/blob/de66f961c057618baef02ef65a0183acedf7e1f7/models/dit.py#L149-L331

use std::sync::OnceLock;

use burn::module::Module;
use burn::tensor::activation::silu;
use burn::tensor::{Device, Int, Tensor, TensorData};

use super::attend::attend;
use super::card::DitConfig;
use super::layers::{Conv2d, Embedding, Initialiser, Linear};
use super::precision::wide;
use crate::kernels::{attention, has_attention, layer_norm_modulate};

/// Deviation of the first values of the time MLP and the label table.
const EMBEDDING_DEVIATION: f32 = 0.02;
/// Width of the sinusoidal features of time.
const TIME_FEATURES: usize = 256;
/// Longest period of the sinusoids of time and position, in units of their argument.
const LONGEST_PERIOD: f64 = 10_000.0;

/// The network, its parameters in the order of the reference's: `(x_t, t, y)` to one vector of `out_channels` numbers for every token.
#[derive(Module, Debug)]
pub struct Dit {
    x_pre_embedder: Option<Embedding>,
    x_embedder: PatchEmbedder,
    t_embedder: TimeEmbedder,
    y_embedder: LabelEmbedder,
    blocks: Vec<Block>,
    final_layer: FinalLayer,
    #[module(skip)]
    positions: Positions,
    #[module(skip)]
    config: DitConfig,
}

impl Dit {
    /// A network with the reference's first values: every block and the output start at zero.
    pub fn new(config: &DitConfig, init: &mut Initialiser) -> Self {
        let (hidden, patch) = (config.hidden_size, config.patch_size);
        let channels = if config.embeds_codes { hidden } else { config.in_channels };
        Self {
            x_pre_embedder: config
                .embeds_codes
                .then(|| Embedding::normal(EMBEDDING_DEVIATION, config.out_channels, hidden, init)),
            x_embedder: PatchEmbedder { proj: Conv2d::xavier(channels, hidden, patch, init) },
            t_embedder: TimeEmbedder {
                mlp_in: Linear::normal(EMBEDDING_DEVIATION, TIME_FEATURES, hidden, init),
                mlp_out: Linear::normal(EMBEDDING_DEVIATION, hidden, hidden, init),
            },
            y_embedder: LabelEmbedder {
                embedding_table: Embedding::normal(
                    EMBEDDING_DEVIATION,
                    config.num_classes + 1,
                    hidden,
                    init,
                ),
            },
            blocks: (0..config.depth).map(|_| Block::new(config, init)).collect(),
            final_layer: FinalLayer {
                linear: Some(Linear::zero(hidden, patch * patch * config.out_channels, init)),
                modulation: Linear::zero(hidden, 2 * hidden, init),
            },
            positions: Positions {
                numbers: sin_cos_positions(config.input_size / patch, hidden),
                placed: OnceLock::new(),
            },
            config: config.clone(),
        }
    }

    /// Puts what is fixed on a device, before the first evaluation does.
    pub fn place(&self, device: &Device) {
        self.positions.on(device);
    }

    /// The rows of the classes, and at their end that of 'no label': `[num_classes + 1, hidden_size]`.
    pub fn class_table(&self) -> Tensor<2> {
        self.y_embedder.embedding_table.weight.val()
    }

    /// Sizes of this network.
    pub fn config(&self) -> &DitConfig {
        &self.config
    }

    /// The rows of the code table, as the input of [`Dit::forward`]; nothing for a network whose
    /// input is latents.
    ///
    /// # Shapes
    /// - `codes`: `[batch, input_size, input_size]`, each below `out_channels`
    /// - output: `[batch, hidden_size, input_size, input_size]`
    pub fn embed_codes(&self, codes: Tensor<3, Int>) -> Option<Tensor<4>> {
        let [batch, height, width] = codes.dims();
        let rows = self.x_pre_embedder.as_ref()?.forward(codes.reshape([batch * height * width]));
        let hidden = self.config.hidden_size;
        Some(rows.reshape([batch, height, width, hidden]).permute([0, 3, 1, 2]))
    }

    /// Output for every token of the tokenizer, tokens in row-major order.
    ///
    /// # Shapes
    /// - `x`: `[batch, in_channels, input_size, input_size]`, or what [`Dit::embed_codes`] gives
    /// - `t`: one an image, in `[0, 1]`
    /// - `labels`: `[batch]`, `0..=num_classes`, the last meaning 'no label'
    /// - output: `[batch, input_size * input_size, out_channels]`
    ///
    /// # Panics
    /// The head was taken off.
    pub fn forward(&self, x: Tensor<4>, t: &[f32], labels: Tensor<1, Int>) -> Tensor<3> {
        self.unpatchify(self.forward_in_patches(x, t, labels))
    }

    /// As [`Dit::forward`], of the tokens of one patch after another, as [`Dit::in_patches`] has them: what
    /// a loss needs, without the copy that another order takes.
    ///
    /// # Shapes
    /// - output: `[batch, patches, p * p * out_channels]`
    ///
    /// # Panics
    /// The head was taken off.
    pub fn forward_in_patches(&self, x: Tensor<4>, t: &[f32], labels: Tensor<1, Int>) -> Tensor<3> {
        let features = self.features(x, t, labels);
        match &self.final_layer.linear {
            Some(linear) => wide(linear.forward(features)),
            None => unreachable!("a network whose head was taken off is asked for features only"),
        }
    }

    /// Codes of tokens in row-major order, in the order of [`Dit::forward_in_patches`]: a patch after
    /// another, in a patch by row and column.
    ///
    /// # Shapes
    /// - `codes`, output: `[batch * tokens]`
    pub fn in_patches(&self, codes: Tensor<1, Int>) -> Tensor<1, Int> {
        let DitConfig { input_size, patch_size: p, .. } = self.config;
        let (count, side) = (codes.dims()[0], input_size / p);
        codes
            .reshape([count / (input_size * input_size), side, p, side, p])
            .permute([0, 1, 3, 2, 4])
            .reshape([count])
    }

    /// Takes the last linear layer off, which makes `[batch, patches, p * p * out_channels]` of
    /// [`Dit::features`]: row and column within a patch, then channel.
    pub fn take_head(mut self) -> (Self, Option<Linear>) {
        let head = self.final_layer.linear.take();
        (self, head)
    }

    /// What the last linear layer is applied to, in f32; arguments as for [`Dit::forward`].
    ///
    /// # Shapes
    /// - output: `[batch, patches, hidden_size]`
    pub fn features(&self, x: Tensor<4>, t: &[f32], labels: Tensor<1, Int>) -> Tensor<3> {
        let positions = self.positions.on(&x.device());
        let times = time_features(t, &x.device());
        let mut tokens = wide(self.x_embedder.proj.patches(x)) + positions;
        let condition =
            self.t_embedder.forward(times) + wide(self.y_embedder.embedding_table.forward(labels));
        let condition = silu(condition);
        for block in &self.blocks {
            tokens = block.forward(tokens, &condition);
        }
        let [shift, scale] = split_modulation(self.final_layer.modulation.forward(condition));
        layer_norm_modulate(tokens, shift, scale)
    }

    /// `[batch, patches, p * p * c]` in the layout (row, column, channel) to tokens in row-major order.
    fn unpatchify(&self, patches: Tensor<3>) -> Tensor<3> {
        let DitConfig { input_size, patch_size: p, out_channels, .. } = self.config;
        let (batch, side) = (patches.dims()[0], input_size / p);
        patches
            .reshape([batch, side, side, p, p, out_channels])
            .permute([0, 1, 3, 2, 4, 5])
            .reshape([batch, input_size * input_size, out_channels])
    }
}

/// The fixed positions of the patches, `[1, patches, hidden]`, which are put on a device once.
#[derive(Debug, Clone)]
struct Positions {
    numbers: TensorData,
    placed: OnceLock<Tensor<3>>,
}

impl Positions {
    fn on(&self, device: &Device) -> Tensor<3> {
        let place = || Tensor::from_data(self.numbers.clone(), device);
        let placed = self.placed.get_or_init(place);
        if placed.device() == *device { placed.clone() } else { place() }
    }
}

#[derive(Module, Debug)]
struct PatchEmbedder {
    proj: Conv2d,
}

#[derive(Module, Debug)]
struct TimeEmbedder {
    mlp_in: Linear,
    mlp_out: Linear,
}

impl TimeEmbedder {
    /// `[batch, 256]` to `[batch, hidden]`, in f32: every block follows it.
    fn forward(&self, features: Tensor<2>) -> Tensor<2> {
        self.mlp_out.forward_wide(silu(self.mlp_in.forward_wide(features)))
    }
}

/// Cosines, then sines, of `t` (in `[0, 1]`, not scaled) at 128 frequencies from 1 down to 1e-4;
/// `[batch, 256]`. Taken on the host: graphics drivers need not be exact in sines.
fn time_features(t: &[f32], device: &Device) -> Tensor<2> {
    let half = TIME_FEATURES / 2;
    let angle = |t: f32, i: usize| f64::from(t) * LONGEST_PERIOD.powf(-(i as f64) / half as f64);
    let values: Vec<f32> = t
        .iter()
        .flat_map(|t| {
            let cosines = (0..half).map(|i| angle(*t, i).cos() as f32);
            cosines.chain((0..half).map(|i| angle(*t, i).sin() as f32))
        })
        .collect();
    Tensor::from_data(TensorData::new(values, [t.len(), TIME_FEATURES]), device)
}

#[derive(Module, Debug)]
struct LabelEmbedder {
    embedding_table: Embedding,
}

#[derive(Module, Debug)]
struct Block {
    attn: Attention,
    mlp: Mlp,
    modulation: Linear,
}

impl Block {
    fn new(config: &DitConfig, init: &mut Initialiser) -> Self {
        let hidden = config.hidden_size;
        Self {
            attn: Attention {
                qkv: Linear::xavier(hidden, 3 * hidden, init),
                proj: Linear::xavier(hidden, hidden, init),
                heads: config.num_heads,
            },
            mlp: Mlp {
                fc1: Linear::xavier(hidden, config.mlp_width(), init),
                fc2: Linear::xavier(config.mlp_width(), hidden, init),
            },
            modulation: Linear::zero(hidden, 6 * hidden, init),
        }
    }

    /// # Shapes
    /// - `x`, output: `[batch, patches, hidden]`, in f32
    /// - `condition`: `[batch, hidden]`, after its SiLU
    fn forward(&self, x: Tensor<3>, condition: &Tensor<2>) -> Tensor<3> {
        let [shift_attn, scale_attn, gate_attn, shift_mlp, scale_mlp, gate_mlp] =
            split_modulation(self.modulation.forward(condition.clone()));
        let attended = self.attn.mix(layer_norm_modulate(x.clone(), shift_attn, scale_attn));
        let x = self.attn.proj.gated(attended, gate_attn, x);
        let mixed = self.mlp.fc1.gelu(layer_norm_modulate(x.clone(), shift_mlp, scale_mlp));
        self.mlp.fc2.gated(mixed, gate_mlp, x)
    }
}

/// `[batch, n * hidden]` to `n` vectors of `[batch, 1, hidden]`, in f32
fn split_modulation<const N: usize>(modulation: Tensor<2>) -> [Tensor<3>; N] {
    let modulation = wide(modulation);
    let hidden = modulation.dims()[1] / N;
    std::array::from_fn(|i| {
        modulation
            .clone()
            .slice([0..modulation.dims()[0], i * hidden..(i + 1) * hidden])
            .unsqueeze_dim(1)
    })
}

#[derive(Module, Debug)]
struct Attention {
    qkv: Linear,
    proj: Linear,
    #[module(skip)]
    heads: usize,
}

impl Attention {
    /// What the heads give, before their projection: `[batch, patches, hidden]` to the same
    fn mix(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, patches, hidden] = x.dims();
        let head = hidden / self.heads;
        let qkv = self.qkv.forward(x);
        if has_attention(&qkv) {
            return attention(qkv, self.heads);
        }
        let qkv = qkv.reshape([batch, patches, 3, self.heads, head]).permute([2, 0, 3, 1, 4]);
        let part = |i: usize| qkv.clone().slice_dim(0, i..i + 1).squeeze_dim::<4>(0);
        let mixed = attend(part(0), part(1), part(2));
        mixed.swap_dims(1, 2).reshape([batch, patches, hidden])
    }
}

#[derive(Module, Debug)]
struct Mlp {
    fc1: Linear,
    fc2: Linear,
}

#[derive(Module, Debug)]
struct FinalLayer {
    /// Absent once the head was taken off.
    linear: Option<Linear>,
    modulation: Linear,
}

/// Fixed positions: the first half of the channels from the column, the second from the row;
/// within each half sines, then cosines. Shape `[1, side * side, hidden]`.
fn sin_cos_positions(side: usize, hidden: usize) -> TensorData {
    let quarter = hidden / 4;
    let frequencies: Vec<f64> =
        (0..quarter).map(|i| LONGEST_PERIOD.powf(-(i as f64) / quarter as f64)).collect();
    let mut values = Vec::with_capacity(side * side * hidden);
    for row in 0..side {
        for column in 0..side {
            for position in [column, row] {
                let angles = || frequencies.iter().map(|f| f * position as f64);
                values.extend(angles().map(|angle| angle.sin() as f32));
                values.extend(angles().map(|angle| angle.cos() as f32));
            }
        }
    }
    TensorData::new(values, [1, side * side, hidden])
}

/// The name that the reference's files give to the parameter at `path` of [`Dit`].
pub fn reference_name(path: &str) -> String {
    path.replace("modulation.", "adaLN_modulation.1.")
        .replace("t_embedder.mlp_in.", "t_embedder.mlp.0.")
        .replace("t_embedder.mlp_out.", "t_embedder.mlp.2.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_put_on_a_device_once() {
        for device in [Device::flex(), Device::flex().autodiff()] {
            let numbers = sin_cos_positions(2, 8);
            let positions = Positions { numbers: numbers.clone(), placed: OnceLock::new() };
            let found = positions.on(&device);
            assert_eq!(found.device(), device);
            assert_eq!(found.to_data(), numbers);
            let placed = positions.placed.get().map(Tensor::device);
            assert_eq!(placed, Some(device), "the next evaluation finds it there");
        }
    }

    #[test]
    fn codes_in_patches_are_in_the_order_of_the_network() {
        let device = Device::flex();
        let config = DitConfig {
            input_size: 4,
            patch_size: 2,
            in_channels: 3,
            out_channels: 1,
            hidden_size: 8,
            depth: 1,
            num_heads: 2,
            mlp_ratio: 2.0,
            num_classes: 1,
            embeds_codes: false,
        };
        let net = Dit::new(&config, &mut Initialiser::new(1, &device));
        let numbers: Vec<i64> = (0..32).collect();
        let codes = Tensor::<1, Int>::from_data(numbers.as_slice(), &device);
        let placed = net.in_patches(codes.clone());
        assert_eq!(placed.to_data().iter::<i64>().collect::<Vec<_>>()[..6], [0, 1, 4, 5, 2, 3]);
        let back = net.unpatchify(placed.float().reshape([2, 4, 4]));
        assert_eq!(back.reshape([32]).to_data(), codes.float().to_data());
    }
}
