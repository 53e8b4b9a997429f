//! Which sizes a model may have. What a card, a run file or hyper-parameters say is checked here before
//! anything is made on its word.

use std::fmt::Display;

use super::card::{DitConfig, ModelCard, Objective, TokenizerConfig};
use crate::say;

/// Most tokens a side of the latents: pictures of 2048 pixels at the usual down-sampling of 8.
pub const LARGEST_GRID: usize = 256;
/// Most patches a picture: attention compares each with each.
pub const MOST_PATCHES: usize = 1 << 14;
/// Most pixels a side of a picture.
pub const LARGEST_PICTURE: usize = 4096;
/// Widest layer.
pub const WIDEST: usize = 1 << 16;
/// Most blocks of a backbone: forty times those of DiT-XL.
pub const DEEPEST: usize = 1 << 10;
/// Most residual blocks at a resolution of a tokenizer.
pub const MOST_RESIDUAL_BLOCKS: usize = 1 << 6;
/// Most resolutions of a tokenizer.
pub const MOST_LEVELS: usize = 12;
/// Most codes of a codebook.
pub const MOST_CODES: usize = 1 << 24;
/// Most classes.
pub const MOST_CLASSES: usize = 1 << 20;
/// Largest ratio of an MLP's hidden width to the width of its transformer.
pub const LARGEST_RATIO: f64 = 64.0;

fn within(name: &str, found: usize, from: usize, to: usize) -> Result<(), String> {
    if (from..=to).contains(&found) {
        return Ok(());
    }
    Err(format!("{name} is {found}, expected {from} to {to}"))
}

fn rule(holds: bool, reason: impl Display) -> Result<(), String> {
    if holds { Ok(()) } else { Err(reason.to_string()) }
}

/// Whether a backbone of these sizes can be built.
///
/// # Errors
/// The first rule that does not hold, in words.
pub fn check_dit(dit: &DitConfig) -> Result<(), String> {
    let DitConfig { input_size, patch_size, hidden_size, num_heads, .. } = *dit;
    within("backbone.input_size", input_size, 1, LARGEST_GRID)?;
    within("backbone.patch_size", patch_size, 1, LARGEST_GRID)?;
    within("backbone.in_channels", dit.in_channels, 1, WIDEST)?;
    within("backbone.hidden_size", hidden_size, 1, WIDEST)?;
    within("backbone.depth", dit.depth, 0, DEEPEST)?;
    within("backbone.num_heads", num_heads, 1, hidden_size)?;
    within("backbone.num_classes", dit.num_classes, 1, MOST_CLASSES)?;
    within("backbone.out_channels", dit.out_channels, 1, MOST_CODES + 1)?;
    rule(
        input_size.is_multiple_of(patch_size),
        format_args!("patches of {patch_size} do not tile latents of {input_size} tokens a side"),
    )?;
    let patches = (input_size / patch_size).pow(2);
    within("the number of its patches", patches, 1, MOST_PATCHES)?;
    rule(
        hidden_size.is_multiple_of(num_heads),
        format_args!("{num_heads} heads do not divide the hidden size {hidden_size}"),
    )?;
    rule(
        hidden_size.is_multiple_of(4),
        format_args!("the hidden size {hidden_size} is not a multiple of 4"),
    )?;
    check_ratio(hidden_size, dit.mlp_ratio)
}

/// Whether an MLP of this ratio has a whole width.
fn check_ratio(hidden_size: usize, ratio: f64) -> Result<(), String> {
    rule(
        ratio > 0.0 && ratio <= LARGEST_RATIO,
        format_args!(
            "backbone.mlp_ratio is {ratio}, expected more than 0 and at most {LARGEST_RATIO}"
        ),
    )?;
    let width = hidden_size as f64 * ratio;
    // A ratio such as 8/3 is not exact in a file.
    let whole = (width - width.round()).abs() < 1e-6 * width.max(1.0) && width.round() >= 1.0;
    rule(
        whole,
        format_args!("backbone.mlp_ratio {ratio} of {hidden_size} is {width}, not a whole width"),
    )
}

/// Whether a tokenizer of this shape can be built.
///
/// # Errors
/// The first rule that does not hold, in words.
pub fn check_tokenizer(vq: &TokenizerConfig) -> Result<(), String> {
    rule(vq.image_channels == 3, "its pictures are not RGB")?;
    within("tokenizer.channels", vq.channels, 1, WIDEST)?;
    within("the number of tokenizer.multipliers", vq.multipliers.len(), 1, MOST_LEVELS)?;
    within("tokenizer.residual_blocks", vq.residual_blocks, 1, MOST_RESIDUAL_BLOCKS)?;
    within("tokenizer.groups", vq.groups, 1, WIDEST)?;
    within("tokenizer.latent_channels", vq.latent_channels, 1, WIDEST)?;
    within("tokenizer.code_size", vq.code_size, 1, WIDEST)?;
    within("tokenizer.codes", vq.codes, 1, MOST_CODES)?;
    for multiplier in [1].iter().chain(&vq.multipliers) {
        within("a multiplier of tokenizer.multipliers", *multiplier, 1, WIDEST / vq.channels)?;
        let (width, groups) = (vq.channels * multiplier, vq.groups);
        rule(
            width.is_multiple_of(groups),
            format_args!("the {groups} groups of its tokenizer do not divide {width} channels"),
        )?;
    }
    let levels = vq.multipliers.len();
    match vq.attention_levels.iter().flatten().find(|level| **level >= levels) {
        Some(level) => Err(format!(
            "tokenizer.attention_levels names resolution {level}, it has 0 to {}",
            levels - 1
        )),
        None => Ok(()),
    }
}

/// Whether the parts of a card are within their bounds and fit each other.
///
/// # Errors
/// The first rule that does not hold, in words.
pub fn check_card(card: &ModelCard) -> Result<(), String> {
    let (dit, vq) = (&card.backbone, &card.tokenizer);
    rule(
        card.format == ModelCard::FORMAT,
        format_args!(
            "its format is {}, this version of the program reads format {}",
            card.format,
            ModelCard::FORMAT
        ),
    )?;
    check_dit(dit)?;
    check_tokenizer(vq)?;
    let names = card.class_names.len();
    rule(
        names == dit.num_classes,
        format_args!(
            "it names {}, its backbone has {}",
            say::count(names, "class"),
            dit.num_classes
        ),
    )?;
    rule(
        card.latent_scale.is_finite() && card.latent_scale > 0.0,
        format_args!("its latent_scale is {}, expected more than 0", card.latent_scale),
    )?;
    let expected = card.objective.in_channels(vq.code_size);
    rule(
        dit.in_channels == expected,
        format_args!(
            "backbone.in_channels is {}, codes of {} numbers ask for {expected}",
            dit.in_channels, vq.code_size
        ),
    )?;
    let expected = card.objective.out_channels(vq.codes, vq.code_size);
    rule(
        dit.out_channels == expected,
        format_args!(
            "backbone.out_channels is {}, {} with {} codes of {} numbers asks for {expected}",
            dit.out_channels, card.objective, vq.codes, vq.code_size
        ),
    )?;
    rule(
        dit.embeds_codes == (card.objective == Objective::Dfm),
        "the input of its backbone is not that of its objective",
    )?;
    let side = dit.input_size.saturating_mul(vq.downsampling());
    within("the side of its pictures in pixels", side, 1, LARGEST_PICTURE)
}

/// Tensors of a backbone of these sizes.
pub(super) fn dit_tensors(dit: &DitConfig) -> usize {
    const BESIDE_BLOCKS: usize = 11;
    const OF_A_BLOCK: usize = 10;
    BESIDE_BLOCKS + usize::from(dit.embeds_codes) + OF_A_BLOCK * dit.depth
}

/// Tensors that a tokenizer of this shape has at least: those of its residual blocks.
pub(super) fn tokenizer_tensors(vq: &TokenizerConfig) -> usize {
    const OF_A_BLOCK: usize = 8;
    // The decoder has one block more at each resolution.
    vq.multipliers.len() * (2 * vq.residual_blocks + 1) * OF_A_BLOCK
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A change to sizes that fit, and what is said of them then.
    type Case<T> = (fn(&mut T), &'static str);

    fn dit() -> DitConfig {
        DitConfig {
            input_size: 16,
            patch_size: 2,
            in_channels: 8,
            hidden_size: 192,
            depth: 8,
            num_heads: 6,
            mlp_ratio: 4.0,
            num_classes: 33,
            out_channels: 1024,
            embeds_codes: false,
        }
    }

    fn vq() -> TokenizerConfig {
        TokenizerConfig {
            image_channels: 3,
            channels: 16,
            multipliers: vec![1, 2, 4],
            residual_blocks: 1,
            attention: true,
            attention_levels: None,
            groups: 8,
            latent_channels: 8,
            code_size: 8,
            codes: 1024,
            l2_normalised: true,
        }
    }

    #[test]
    fn every_absurd_size_of_a_backbone_is_refused_by_name() {
        assert_eq!(check_dit(&dit()), Ok(()));
        let cases: [Case<DitConfig>; 14] = [
            (|d| d.input_size = 1_000_000, "backbone.input_size is 1000000, expected 1 to 256"),
            (|d| d.input_size = 0, "backbone.input_size is 0"),
            (|d| d.input_size = 15, "patches of 2 do not tile latents of 15"),
            (|d| (d.input_size, d.patch_size) = (256, 1), "the number of its patches is 65536"),
            (|d| d.patch_size = 0, "backbone.patch_size is 0"),
            (|d| d.hidden_size = usize::MAX, "backbone.hidden_size is 18446744073709551615"),
            (|d| d.hidden_size = 198, "198 is not a multiple of 4"),
            (|d| d.depth = 1_000_000_000, "backbone.depth is 1000000000"),
            (|d| d.num_heads = 0, "backbone.num_heads is 0"),
            (|d| d.num_heads = 5, "5 heads do not divide the hidden size 192"),
            (|d| d.num_classes = 1_000_000_000_000, "backbone.num_classes is 1000000000000"),
            (|d| d.out_channels = 0, "backbone.out_channels is 0"),
            (|d| d.mlp_ratio = 4.501, "mlp_ratio 4.501 of 192 is 864.192, not a whole width"),
            (|d| d.mlp_ratio = f64::NAN, "backbone.mlp_ratio is NaN"),
        ];
        for (change, expected) in cases {
            let mut changed = dit();
            change(&mut changed);
            let reason = check_dit(&changed).unwrap_err();
            assert!(reason.contains(expected), "{reason}, expected {expected}");
        }
    }

    #[test]
    fn every_absurd_size_of_a_tokenizer_is_refused_by_name() {
        assert_eq!(check_tokenizer(&vq()), Ok(()));
        let cases: [Case<TokenizerConfig>; 13] = [
            (|v| v.channels = 0, "tokenizer.channels is 0"),
            (|v| v.channels = usize::MAX, "tokenizer.channels is 18446744073709551615"),
            (|v| v.multipliers = vec![1; 70], "the number of tokenizer.multipliers is 70"),
            (|v| v.multipliers = vec![], "the number of tokenizer.multipliers is 0"),
            (|v| v.multipliers = vec![1, 0], "a multiplier of tokenizer.multipliers is 0"),
            (
                |v| v.multipliers = vec![1, 1 << 60],
                "a multiplier of tokenizer.multipliers is 11529",
            ),
            (
                |v| v.residual_blocks = 1_000_000_000_000,
                "tokenizer.residual_blocks is 1000000000000",
            ),
            (|v| v.residual_blocks = 0, "tokenizer.residual_blocks is 0"),
            (|v| v.groups = 0, "tokenizer.groups is 0"),
            // No multiplier is 1, but the first block normalises what it is given.
            (|v| (v.groups, v.multipliers) = (32, vec![2]), "32 groups of its tokenizer do not"),
            (|v| v.codes = 1_000_000_000_000, "tokenizer.codes is 1000000000000"),
            (|v| v.codes = 0, "tokenizer.codes is 0"),
            (
                |v| v.attention_levels = Some(vec![1_000_000_000]),
                "resolution 1000000000, it has 0 to 2",
            ),
        ];
        for (change, expected) in cases {
            let mut changed = vq();
            change(&mut changed);
            let reason = check_tokenizer(&changed).unwrap_err();
            assert!(reason.contains(expected), "{reason}, expected {expected}");
        }
    }

    #[test]
    fn broken_ratios_are_honoured_and_written_as_they_were() {
        for (ratio, width, text) in [
            (4.0, 768, "\"mlp_ratio\":4,"),
            (4.5, 864, "\"mlp_ratio\":4.5,"),
            (8.0 / 3.0, 512, "\"mlp_ratio\":2.6666"),
        ] {
            let config = DitConfig { mlp_ratio: ratio, ..dit() };
            assert_eq!((check_dit(&config), config.mlp_width()), (Ok(()), width));
            let json = serde_json::to_string(&config).unwrap();
            assert!(json.contains(text), "{json}");
            assert_eq!(serde_json::from_str::<DitConfig>(&json).unwrap().mlp_width(), width);
        }
    }
}
