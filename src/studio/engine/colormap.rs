//! Colours for numbers: a perceptually uniform ramp, the same in both themes.

use egui::Color32;

/// Nine evenly spaced samples of viridis (matplotlib, CC0), dark to bright.
const VIRIDIS: [[u8; 3]; 9] = [
    [68, 1, 84],
    [71, 44, 122],
    [59, 82, 139],
    [44, 113, 142],
    [33, 145, 140],
    [39, 173, 129],
    [92, 200, 99],
    [170, 220, 50],
    [253, 231, 37],
];

/// The viridis colour of `value`, clamped to `[0, 1]`; a value that is no number is grey.
pub fn viridis(value: f32) -> Color32 {
    if value.is_nan() {
        return Color32::GRAY;
    }
    between(&VIRIDIS, value.clamp(0.0, 1.0))
}

/// The colour at a part, from 0 to 1, of an even ramp.
fn between(ramp: &[[u8; 3]], part: f32) -> Color32 {
    let last = ramp.len() - 1;
    let place = part * last as f32;
    let below = (place as usize).min(last - 1);
    let part = place - below as f32;
    let mix = |channel: usize| {
        let (from, to) = (ramp[below][channel], ramp[below + 1][channel]);
        (f32::from(from) + part * (f32::from(to) - f32::from(from))).round() as u8
    };
    Color32::from_rgb(mix(0), mix(1), mix(2))
}

/// Blue, grey and orange at -1, 0 and 1, and at half the way: of even lightness on both sides of the middle, which
/// is the lightest.
const DIVERGING: [[u8; 3]; 5] =
    [[20, 94, 150], [120, 163, 198], [226, 224, 221], [221, 152, 98], [172, 82, 10]];

/// The colour of a difference, clamped to `[-1, 1]`; a value that is no number is grey.
pub fn diverging(value: f32) -> Color32 {
    if value.is_nan() {
        return Color32::GRAY;
    }
    between(&DIVERGING, value.clamp(-1.0, 1.0) * 0.5 + 0.5)
}

/// Viridis in even steps, red, green, blue and opacity: so fine that the nearest step is the colour itself,
/// within a level.
pub fn steps() -> Vec<[u8; 4]> {
    const STEPS: u16 = 128 * (VIRIDIS.len() as u16 - 1);
    (0..=STEPS).map(|step| viridis(f32::from(step) / f32::from(STEPS)).to_array()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn luminance(colour: Color32) -> f32 {
        0.2126 * f32::from(colour.r())
            + 0.7152 * f32::from(colour.g())
            + 0.0722 * f32::from(colour.b())
    }

    #[test]
    fn brightness_rises_all_the_way() {
        let ramp: Vec<_> = (0..=100).map(|i| luminance(viridis(i as f32 / 100.0))).collect();
        assert!(ramp.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn differences_darken_evenly_to_both_sides() {
        for i in 0..=20 {
            let [less, more] = [-1.0, 1.0].map(|sign| luminance(diverging(sign * i as f32 / 20.0)));
            assert!((less - more).abs() < 16.0, "{i}: {less} {more}");
        }
        let side: Vec<_> = (0..=20).map(|i| luminance(diverging(i as f32 / 20.0))).collect();
        assert!(side.windows(2).all(|pair| pair[0] > pair[1]));
        assert_eq!((diverging(-9.0), diverging(f32::NAN)), (diverging(-1.0), Color32::GRAY));
    }

    #[test]
    fn values_outside_take_the_ends() {
        assert_eq!(viridis(-1.0), viridis(0.0));
        assert_eq!(viridis(f32::INFINITY), viridis(1.0));
        assert_eq!(viridis(f32::NAN), Color32::GRAY);
    }
}
