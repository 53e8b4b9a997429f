//! The VQ autoencoder between pictures and codes: the family of VQGAN (Esser et al. 2021) in the
//! form of LlamaGen's `tokenizer_image/vq_model.py`, with every size in the configuration.

use burn::module::{Module, Param};
use burn::tensor::activation::softmax;
use burn::tensor::{Int, Tensor};

use super::card::TokenizerConfig;
use super::layers::{Conv2d, Embedding, GroupNorm, Initialiser};
use super::precision::wide;
use crate::kernels;

/// Pictures to latents, latents to codes, codes to pictures.
#[derive(Module, Debug)]
pub struct Tokenizer {
    encoder: Encoder,
    quant_conv: Conv2d,
    quantize: Codebook,
    post_quant_conv: Conv2d,
    decoder: Decoder,
    #[module(skip)]
    config: TokenizerConfig,
}

impl Tokenizer {
    /// A tokenizer with random first values.
    pub fn new(config: &TokenizerConfig, init: &mut Initialiser) -> Self {
        let (latent, code) = (config.latent_channels, config.code_size);
        Self {
            encoder: Encoder::new(config, init),
            quant_conv: Conv2d::new(latent, code, 1, init),
            quantize: Codebook { embedding: Embedding::normal(1.0, config.codes, code, init) },
            post_quant_conv: Conv2d::new(code, latent, 1, init),
            decoder: Decoder::new(config, init),
            config: config.clone(),
        }
    }

    /// Shape of this tokenizer.
    pub fn config(&self) -> &TokenizerConfig {
        &self.config
    }

    /// The encoder's output as it is compared with the codes: at unit length if the codebook is.
    ///
    /// # Shapes
    /// - `images`: `[batch, image_channels, height, width]`, in `[-1, 1]`
    /// - output: `[batch, code_size, height / f, width / f]` with `f` the down-sampling
    pub fn encode(&self, images: Tensor<4>) -> Tensor<4> {
        self.latents_of(self.activations(images))
    }

    /// What the encoder's last layer gives, before it is brought to the size of a code.
    ///
    /// # Shapes
    /// - `images`: as for [`Tokenizer::encode`]
    /// - output: `[batch, latent_channels, height / f, width / f]`
    pub fn activations(&self, images: Tensor<4>) -> Tensor<4> {
        self.encoder.forward(images)
    }

    /// The latents that [`Tokenizer::encode`] makes of [`Tokenizer::activations`].
    ///
    /// # Shapes
    /// - `activations`: `[batch, latent_channels, height, width]`
    /// - output: `[batch, code_size, height, width]`
    pub fn latents_of(&self, activations: Tensor<4>) -> Tensor<4> {
        let latents = wide(self.quant_conv.same(activations));
        if self.config.l2_normalised { unit_length(latents, 1) } else { latents }
    }

    /// The codebook as it is used: at unit length if the configuration says so. `[codes, code_size]`
    pub fn codebook(&self) -> Tensor<2> {
        let rows = self.codebook_table();
        if self.config.l2_normalised { unit_length(rows, 1) } else { rows }
    }

    /// The codebook as it is stored, before any normalisation, in f32. `[codes, code_size]`
    pub fn codebook_table(&self) -> Tensor<2> {
        wide(self.quantize.embedding.weight.val())
    }

    /// The same tokenizer with another table of codes, a leaf of gradients on an autodiff device.
    pub fn with_codebook_table(mut self, table: Tensor<2>) -> Self {
        let id = self.quantize.embedding.weight.id;
        let leaf = table.is_autodiff();
        self.quantize.embedding.weight = Param::initialized(id, table.set_require_grad(leaf));
        self
    }

    /// The nearest code of every latent, the lowest index where distances tie.
    ///
    /// # Shapes
    /// - `latents`: `[batch, code_size, height, width]`
    /// - output: `[batch, height, width]`
    pub fn quantise(&self, latents: Tensor<4>) -> Tensor<3, Int> {
        nearest_codes(latents, self.codebook())
    }

    /// The rows of the codebook at `codes`.
    ///
    /// # Shapes
    /// - `codes`: `[batch, height, width]`
    /// - output: `[batch, code_size, height, width]`
    pub fn look_up(&self, codes: Tensor<3, Int>) -> Tensor<4> {
        let [batch, height, width] = codes.dims();
        self.codebook()
            .select(0, codes.reshape([batch * height * width]))
            .reshape([batch, height, width, self.config.code_size])
            .permute([0, 3, 1, 2])
    }

    /// Latents to pictures, any point between codes included.
    ///
    /// # Shapes
    /// - `latents`: `[batch, code_size, height, width]`
    /// - output: `[batch, image_channels, f height, f width]`, about `[-1, 1]`, in f32
    pub fn decode(&self, latents: Tensor<4>) -> Tensor<4> {
        wide(self.decoder.forward(self.post_quant_conv.same(latents)))
    }
}

/// `x / max(|x|, 1e-12)` along `dim`.
fn unit_length<const D: usize>(x: Tensor<D>, dim: usize) -> Tensor<D> {
    let length = x.clone().square().sum_dim(dim).sqrt().clamp_min(1e-12);
    x / length
}

/// The index of the nearest row of `codebook` for every latent, ties to the lowest index.
///
/// # Shapes
/// - `latents`: `[batch, d, height, width]`
/// - `codebook`: `[codes, d]`
/// - output: `[batch, height, width]`
pub fn nearest_codes(latents: Tensor<4>, codebook: Tensor<2>) -> Tensor<3, Int> {
    let [batch, size, height, width] = latents.dims();
    let latents = latents.permute([0, 2, 3, 1]).reshape([batch * height * width, size]);
    kernels::nearest_codes(latents, codebook, false).0.reshape([batch, height, width])
}

#[derive(Module, Debug)]
struct Codebook {
    embedding: Embedding,
}

#[derive(Module, Debug)]
struct Encoder {
    conv_in: Conv2d,
    conv_blocks: Vec<Level>,
    mid: Option<Middle>,
    norm_out: GroupNorm,
    conv_out: Conv2d,
}

impl Encoder {
    fn new(config: &TokenizerConfig, init: &mut Initialiser) -> Self {
        let conv_in = Conv2d::new(config.image_channels, config.channels, 3, init);
        let mut width = config.channels;
        let last = config.multipliers.len() - 1;
        let mut conv_blocks = Vec::new();
        for (i, multiplier) in config.multipliers.iter().enumerate() {
            let out = config.channels * multiplier;
            let attend = config.attends(i);
            let mut level = Level::new(width, out, config.residual_blocks, attend, config, init);
            if i != last {
                level.downsample = Some(Resample { conv: Conv2d::new(out, out, 3, init) });
            }
            conv_blocks.push(level);
            width = out;
        }
        Self {
            conv_in,
            conv_blocks,
            mid: Middle::new(width, config, init),
            norm_out: GroupNorm::new(config.groups, width, init),
            conv_out: Conv2d::new(width, config.latent_channels, 3, init),
        }
    }

    fn forward(&self, images: Tensor<4>) -> Tensor<4> {
        let mut x = self.conv_in.same(images);
        for level in &self.conv_blocks {
            x = level.forward(x);
        }
        if let Some(mid) = &self.mid {
            x = mid.forward(x);
        }
        self.conv_out.same_of(&self.norm_out, x, None)
    }
}

#[derive(Module, Debug)]
struct Decoder {
    conv_in: Conv2d,
    mid: Option<Middle>,
    conv_blocks: Vec<Level>,
    norm_out: GroupNorm,
    conv_out: Conv2d,
}

impl Decoder {
    fn new(config: &TokenizerConfig, init: &mut Initialiser) -> Self {
        let last = config.multipliers.len() - 1;
        let mut width = config.channels * config.multipliers[last];
        let conv_in = Conv2d::new(config.latent_channels, width, 3, init);
        let mid = Middle::new(width, config, init);
        let mut conv_blocks = Vec::new();
        for (i, multiplier) in config.multipliers.iter().enumerate().rev() {
            let out = config.channels * multiplier;
            let attend = config.attends(i);
            let blocks = config.residual_blocks + 1;
            let mut level = Level::new(width, out, blocks, attend, config, init);
            if i != 0 {
                level.upsample = Some(Resample { conv: Conv2d::new(out, out, 3, init) });
            }
            conv_blocks.push(level);
            width = out;
        }
        Self {
            conv_in,
            mid,
            conv_blocks,
            norm_out: GroupNorm::new(config.groups, width, init),
            conv_out: Conv2d::new(width, config.image_channels, 3, init),
        }
    }

    fn forward(&self, latents: Tensor<4>) -> Tensor<4> {
        let mut x = self.conv_in.same(latents);
        if let Some(mid) = &self.mid {
            x = mid.forward(x);
        }
        for level in &self.conv_blocks {
            x = level.forward(x);
        }
        self.conv_out.same_of(&self.norm_out, x, None)
    }
}

/// The blocks at one resolution, and the step to the next.
#[derive(Module, Debug)]
struct Level {
    res: Vec<ResidualBlock>,
    attn: Vec<AttentionBlock>,
    downsample: Option<Resample>,
    upsample: Option<Resample>,
}

impl Level {
    fn new(
        inputs: usize,
        outputs: usize,
        blocks: usize,
        attend: bool,
        config: &TokenizerConfig,
        init: &mut Initialiser,
    ) -> Self {
        let mut level =
            Self { res: Vec::new(), attn: Vec::new(), downsample: None, upsample: None };
        for i in 0..blocks {
            let width = if i == 0 { inputs } else { outputs };
            level.res.push(ResidualBlock::new(width, outputs, config.groups, init));
            if attend {
                level.attn.push(AttentionBlock::new(outputs, config.groups, init));
            }
        }
        level
    }

    fn forward(&self, mut x: Tensor<4>) -> Tensor<4> {
        for (i, block) in self.res.iter().enumerate() {
            x = block.forward(x);
            if let Some(attention) = self.attn.get(i) {
                x = attention.forward(x);
            }
        }
        if let Some(downsample) = &self.downsample {
            x = downsample.conv.halve(x);
        }
        if let Some(upsample) = &self.upsample {
            x = upsample.conv.double(x);
        }
        x
    }
}

#[derive(Module, Debug)]
struct Resample {
    conv: Conv2d,
}

#[derive(Module, Debug)]
struct Middle {
    first: ResidualBlock,
    attention: AttentionBlock,
    last: ResidualBlock,
}

impl Middle {
    /// The middle of encoder and decoder; a tokenizer without attention has none.
    fn new(width: usize, config: &TokenizerConfig, init: &mut Initialiser) -> Option<Self> {
        config.attention.then(|| Self {
            first: ResidualBlock::new(width, width, config.groups, init),
            attention: AttentionBlock::new(width, config.groups, init),
            last: ResidualBlock::new(width, width, config.groups, init),
        })
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.last.forward(self.attention.forward(self.first.forward(x)))
    }
}

#[derive(Module, Debug)]
struct ResidualBlock {
    norm1: GroupNorm,
    conv1: Conv2d,
    norm2: GroupNorm,
    conv2: Conv2d,
    nin_shortcut: Option<Conv2d>,
}

impl ResidualBlock {
    fn new(inputs: usize, outputs: usize, groups: usize, init: &mut Initialiser) -> Self {
        Self {
            norm1: GroupNorm::new(groups, inputs, init),
            conv1: Conv2d::new(inputs, outputs, 3, init),
            norm2: GroupNorm::new(groups, outputs, init),
            conv2: Conv2d::new(outputs, outputs, 3, init),
            nin_shortcut: (inputs != outputs).then(|| Conv2d::new(inputs, outputs, 1, init)),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let inner = self.conv1.same_of(&self.norm1, x.clone(), None);
        let skipped = match &self.nin_shortcut {
            Some(shortcut) => shortcut.same(x),
            None => x,
        };
        self.conv2.same_of(&self.norm2, inner, Some(skipped))
    }
}

/// Self-attention with one head over the positions of a feature map.
#[derive(Module, Debug)]
struct AttentionBlock {
    norm: GroupNorm,
    q: Conv2d,
    k: Conv2d,
    v: Conv2d,
    proj_out: Conv2d,
}

impl AttentionBlock {
    fn new(width: usize, groups: usize, init: &mut Initialiser) -> Self {
        let mut conv = || Conv2d::new(width, width, 1, init);
        let (q, k, v, proj_out) = (conv(), conv(), conv(), conv());
        Self { norm: GroupNorm::new(groups, width, init), q, k, v, proj_out }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [batch, channels, height, width] = x.dims();
        let normal = self.norm.forward(x.clone());
        let flat = |conv: &Conv2d| {
            wide(conv.same(normal.clone())).reshape([batch, channels, height * width])
        };
        let scores = flat(&self.q).swap_dims(1, 2).matmul(flat(&self.k));
        let weights = softmax(scores * (channels as f64).powf(-0.5), 2);
        let mixed = flat(&self.v).matmul(weights.swap_dims(1, 2));
        self.proj_out.same_onto(x, mixed.reshape([batch, channels, height, width]))
    }
}

/// The name that LlamaGen's files give to the parameter at `path` of [`Tokenizer`].
pub fn reference_name(path: &str) -> String {
    path.replace(".mid.first.", ".mid.0.")
        .replace(".mid.attention.", ".mid.1.")
        .replace(".mid.last.", ".mid.2.")
}
