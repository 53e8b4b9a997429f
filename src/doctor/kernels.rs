//! The operations over codes and pixels, along every path that the device's kernels can take.

use burn::tensor::{FloatDType, Int, Tensor, TensorData};

use super::check::{Check, Exactness, Patient, Results};
use super::operations::{made, places, whole};
use super::stored::indices;
use crate::kernels::present::Pixels;
use crate::kernels::{
    TokenMask, categorical_expectation_guided, code_loss, nearest_codes, packed_expectation,
};
use crate::model::params::host;

/// Shapes of the logits and codes: with a number of codes and a size that are multiples of four, and
/// with neither. Name, tokens, codes, size.
const SHAPES: [(&str, usize, usize, usize); 2] = [("odd", 33, 1027, 5), ("even", 70, 1024, 8)];
/// Likeliest codes that are asked for.
const TOP: usize = 8;
const TEMPERATURE: f32 = 0.9;

/// The operations that a device may have several kernels for.
pub(super) const OVER_CODES: &[Check] = &[
    Check { name: "categorical expectation", exactness: Exactness::Sums, run: expectation },
    Check { name: "categorical expectation: codes", exactness: Exactness::Exact, run: likeliest },
    Check { name: "categorical expectation, guided", exactness: Exactness::Sums, run: guided },
    Check {
        name: "categorical expectation under pins and bans",
        exactness: Exactness::Sums,
        run: masked,
    },
    Check { name: "nearest code: distances", exactness: Exactness::Sums, run: distances },
    Check { name: "nearest code", exactness: Exactness::Exact, run: nearest },
];

/// The same on logits of 16 bits.
pub(super) const HALF: &[Check] = &[Check {
    name: "categorical expectation of f16 logits",
    exactness: Exactness::Sums,
    run: half,
}];

/// The operations that every device has one kernel for.
pub(super) const SINGLE: &[Check] = &[
    Check { name: "cross-entropy and its gradient", exactness: Exactness::Sums, run: loss },
    Check { name: "pixels of pictures", exactness: Exactness::Pixels, run: pictures },
    Check { name: "pixels of a colour ramp", exactness: Exactness::Pixels, run: ramp },
    Check { name: "pixels of changed codes", exactness: Exactness::Exact, run: changes },
];

fn logits(name: &str, tokens: usize, codes: usize, patient: &Patient<'_>) -> Tensor<2> {
    made(name, [tokens, codes], 12.0, patient.device)
}

/// Mean, entropy, log Z and top probabilities of all tokens, one kind after the other, as stored.
fn beliefs(
    patient: &Patient<'_>,
    shape: (&str, usize, usize, usize),
    logits: Tensor<2>,
    guidance: Option<(Tensor<2>, f32)>,
    mask: Option<&TokenMask>,
) -> (Vec<f32>, Vec<f32>) {
    let (_, _, codes, size) = shape;
    let codebook = made("codebook", [codes, size], 1.0, patient.device);
    let found = categorical_expectation_guided(logits, guidance, TEMPERATURE, codebook, TOP, mask);
    let numbers = [found.mean, found.entropy, found.log_z, found.top_probs];
    (numbers.into_iter().flat_map(host).collect(), whole(found.top_codes))
}

fn expectation(patient: &Patient<'_>) -> Results {
    SHAPES
        .map(|shape| {
            let (name, tokens, codes, _) = shape;
            let logits = logits("logits", tokens, codes, patient);
            (format!("expectation.{name}"), beliefs(patient, shape, logits, None, None).0)
        })
        .into()
}

fn likeliest(patient: &Patient<'_>) -> Results {
    SHAPES
        .map(|shape| {
            let (name, tokens, codes, size) = shape;
            let codebook = made("codebook", [codes, size], 1.0, patient.device);
            let logits = logits("logits", tokens, codes, patient);
            let best = packed_expectation(logits, None, TEMPERATURE, codebook, TOP, None).1;
            (format!("expectation.{name}.codes"), whole(best))
        })
        .into()
}

fn guided(patient: &Patient<'_>) -> Results {
    SHAPES
        .map(|shape| {
            let (name, tokens, codes, _) = shape;
            let conditional = logits("logits", tokens, codes, patient);
            let guidance = Some((logits("unguided", tokens, codes, patient), 1.5));
            let found = beliefs(patient, shape, conditional, guidance, None).0;
            (format!("expectation.{name}.guided"), found)
        })
        .into()
}

fn masked(patient: &Patient<'_>) -> Results {
    SHAPES
        .map(|shape| {
            let (name, tokens, codes, _) = shape;
            let mut mask = TokenMask::new(tokens, codes);
            for token in 0..tokens {
                if token % 3 == 0 {
                    mask.pin(token, (token * 7 % codes) as u32);
                    continue;
                }
                let banned =
                    (0..codes as u32).filter(|code| (*code as usize + token).is_multiple_of(5));
                banned.for_each(|code| mask.ban(token, code));
            }
            let logits = logits("logits", tokens, codes, patient);
            let found = beliefs(patient, shape, logits, None, Some(&mask)).0;
            (format!("expectation.{name}.masked"), found)
        })
        .into()
}

fn half(patient: &Patient<'_>) -> Results {
    SHAPES
        .map(|shape| {
            let (name, tokens, codes, _) = shape;
            let logits = logits("logits", tokens, codes, patient).cast(FloatDType::F16);
            (format!("expectation.{name}.half"), beliefs(patient, shape, logits, None, None).0)
        })
        .into()
}

/// Codes and distances of latents as they are and at length 1.
fn found_nearest(patient: &Patient<'_>) -> Vec<(String, Tensor<2, Int>, Tensor<2>)> {
    let each = |(name, tokens, codes, size): (&str, usize, usize, usize)| {
        [(false, ""), (true, ".unit")].map(|(unit, ending)| {
            let latents = made("latents", [tokens, size], 1.0, patient.device);
            let codebook = made("codebook", [codes, size], 1.0, patient.device);
            let (found, distances) = nearest_codes(latents, codebook, unit);
            (format!("nearest.{name}{ending}"), found, distances)
        })
    };
    SHAPES.into_iter().flat_map(each).collect()
}

fn nearest(patient: &Patient<'_>) -> Results {
    let found = found_nearest(patient).into_iter();
    found.map(|(name, codes, _)| (format!("{name}.codes"), whole(codes))).collect()
}

fn distances(patient: &Patient<'_>) -> Results {
    let found = found_nearest(patient).into_iter();
    found.map(|(name, _, distances)| (name, host(distances))).collect()
}

fn loss(patient: &Patient<'_>) -> Results {
    let device = &patient.device.clone().autodiff();
    let logits = made::<2>("logits", [20, 1024], 12.0, device).require_grad();
    let terms = code_loss(logits.clone(), places("i", 20, 1024, device));
    let gradients = terms.clone().square().mean().backward();
    let gradient = logits.grad(&gradients).map(host).unwrap_or_default();
    vec![("code_loss".into(), [host(terms.inner()), gradient].concat())]
}

fn bytes(pixels: &Pixels) -> Vec<f32> {
    pixels.to_bytes().into_iter().map(f32::from).collect()
}

fn pictures(patient: &Patient<'_>) -> Results {
    let pixels = Pixels::of_pictures(made("x", [2, 3, 9, 13], 1.25, patient.device));
    vec![("pixels.pictures".into(), bytes(&pixels))]
}

fn ramp(patient: &Patient<'_>) -> Results {
    let colours: Vec<[u8; 4]> = (0..=255u8).map(|i| [i, 255 - i, i / 2, 255]).collect();
    let values = made::<3>("x", [2, 9, 13], 1.0, patient.device) * 3.0 + 2.0;
    vec![("pixels.ramp".into(), bytes(&Pixels::of_ramp(values, 4.0, &colours)))]
}

fn changes(patient: &Patient<'_>) -> Results {
    let grid = |name: &str| {
        let codes = TensorData::new(indices(name, 2 * 9 * 13, 3), [2, 9, 13]);
        Tensor::<3, Int>::from_data(codes, patient.device)
    };
    let pixels = Pixels::of_changes(grid("before"), grid("after"), [10, 20, 30, 200]);
    vec![("pixels.changes".into(), bytes(&pixels))]
}
