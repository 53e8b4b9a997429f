//! Floating-point operations of the networks, by formula.
//!
//! A multiplication and an addition count as two. Matrix products, convolutions and attention are
//! counted; norms, activations, softmax and the expectation are not, which are below 1 % of the
//! published sizes. A training step counts three times its forward pass: the pass, and the gradients of
//! inputs and of weights.

use crate::model::card::{DitConfig, TokenizerConfig};

/// Width of the sinusoidal features of time.
const TIME_FEATURES: f64 = 256.0;

/// Operations of one evaluation of the backbone for one picture.
pub fn backbone(dit: &DitConfig) -> f64 {
    let size = |number: usize| number as f64;
    let (hidden, mlp) = (size(dit.hidden_size), size(dit.mlp_width()));
    let patch = size(dit.patch_size * dit.patch_size);
    let patches = size(dit.input_size * dit.input_size) / patch;
    let channels = if dit.embeds_codes { hidden } else { size(dit.in_channels) };
    let embed = patches * channels * patch * hidden;
    let time = TIME_FEATURES * hidden + hidden * hidden;
    // Queries, keys and values, the projection behind the attention, and the MLP.
    let linear = patches * (4.0 * hidden * hidden + 2.0 * hidden * mlp);
    // Every patch with every patch: scores, then the mean of the values.
    let attention = 2.0 * patches * patches * hidden;
    // Six vectors of modulation for the whole picture.
    let modulation = 6.0 * hidden * hidden;
    let blocks = size(dit.depth) * (linear + attention + modulation);
    let last = 2.0 * hidden * hidden + patches * hidden * patch * size(dit.out_channels);
    2.0 * (embed + time + blocks + last)
}

/// Operations of decoding one picture from `side` by `side` latents.
pub fn decoder(vq: &TokenizerConfig, side: usize) -> f64 {
    let conv = |pixels: f64, from: usize, to: usize, kernel: usize| {
        2.0 * pixels * (from * to * kernel * kernel) as f64
    };
    let residual = |pixels: f64, from: usize, to: usize| {
        let shortcut = if from == to { 0.0 } else { conv(pixels, from, to, 1) };
        conv(pixels, from, to, 3) + conv(pixels, to, to, 3) + shortcut
    };
    let attention = |pixels: f64, width: usize| {
        4.0 * conv(pixels, width, width, 1) + 4.0 * pixels * pixels * width as f64
    };
    let last = vq.multipliers.len().saturating_sub(1);
    let mut pixels = (side * side) as f64;
    let mut width = vq.channels * vq.multipliers.get(last).copied().unwrap_or(1);
    let mut total = conv(pixels, vq.code_size, vq.latent_channels, 1);
    total += conv(pixels, vq.latent_channels, width, 3);
    if vq.attention {
        total += 2.0 * residual(pixels, width, width) + attention(pixels, width);
    }
    for (level, multiplier) in vq.multipliers.iter().enumerate().rev() {
        let out = vq.channels * multiplier;
        for block in 0..=vq.residual_blocks {
            total += residual(pixels, if block == 0 { width } else { out }, out);
            if vq.attends(level) {
                total += attention(pixels, out);
            }
        }
        width = out;
        if level != 0 {
            pixels *= 4.0;
            total += conv(pixels, out, out, 3);
        }
    }
    total + conv(pixels, width, vq.image_channels, 3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Size;
    use crate::bench::size::reference_tokenizer;

    /// As PyTorch counts the operations of the same networks: `scripts/torch_bench.py --count`.
    #[test]
    fn formulas_agree_with_pytorch() {
        for (size, counted) in [
            ("S/2", 24_993_103_872.0),
            ("B/2", 71_773_716_480.0),
            ("L/2", 195_746_594_816.0),
            ("XL/2", 275_888_111_616.0),
            ("S/4", 15_706_914_816.0),
        ] {
            let size: Size = size.parse().unwrap();
            assert_eq!(backbone(&size.backbone()), counted, "{size}");
        }
        assert_eq!(decoder(&reference_tokenizer(), 32), 474_782_629_888.0);
    }
}
