//! Codebooks made by rule, and how often their codes came up: what the exact posterior is tried on.

use std::f32::consts::{PI, TAU};

use crate::rng::Stream;

/// How codes of two numbers lie in the plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Layout {
    /// On a circle of radius 1.5.
    #[default]
    Ring,
    /// On a square grid of side 3, row by row.
    Grid,
    /// On two half circles that reach into each other.
    Moons,
    /// On two turns of a spiral, from the middle outwards.
    Spiral,
    /// Drawn from the standard normal distribution.
    Random,
}

impl Layout {
    /// Every layout, in the order in which they are offered.
    pub const ALL: [Self; 5] = [Self::Ring, Self::Grid, Self::Moons, Self::Spiral, Self::Random];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ring => "ring",
            Self::Grid => "grid",
            Self::Moons => "moons",
            Self::Spiral => "spiral",
            Self::Random => "random",
        }
    }

    /// The layout of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|layout| layout.name() == name)
    }

    /// `count` codes of it; `seed` decides where random ones lie.
    pub fn codes(self, count: usize, seed: u64) -> Vec<[f32; 2]> {
        let part = |k: usize, of: usize| k as f32 / of.max(1) as f32;
        let on = |angle: f32, radius: f32| [radius * angle.cos(), radius * angle.sin()];
        match self {
            Self::Ring => (0..count).map(|k| on(TAU * k as f32 / count as f32, 1.5)).collect(),
            Self::Grid => {
                let side = (count as f64).sqrt().ceil() as usize;
                let at = |i: usize| 3.0 * ((i as f32 + 0.5) / side as f32 - 0.5);
                (0..count).map(|k| [at(k % side), at(k / side)]).collect()
            }
            Self::Moons => {
                let upper = count.div_ceil(2);
                (0..count)
                    .map(|k| match k.checked_sub(upper) {
                        None => {
                            let [x, y] = on(PI * part(k, upper - 1), 1.3);
                            [x - 0.65, y - 0.3]
                        }
                        Some(k) => {
                            let [x, y] = on(PI * part(k, (count - upper).saturating_sub(1)), 1.3);
                            [0.65 - x, 0.3 - y]
                        }
                    })
                    .collect()
            }
            Self::Spiral => (0..count)
                .map(|k| {
                    // The root spaces codes evenly along the arms.
                    let along = part(k, count.saturating_sub(1)).sqrt();
                    on(2.0 * TAU * along, 0.3 + 1.7 * along)
                })
                .collect(),
            Self::Random => {
                normal_codes(count, 2, seed).chunks_exact(2).map(|at| [at[0], at[1]]).collect()
            }
        }
    }
}

/// Codes drawn from the standard normal distribution, `[count, size]`.
pub fn normal_codes(count: usize, size: usize, seed: u64) -> Vec<f32> {
    /// Apart from the streams that the noise of images is drawn from.
    const STREAM: u64 = 1 << 50;
    Stream::new(seed, STREAM).normals(count * size)
}

/// Weights of `count` codes that fall as one over their rank.
pub fn zipf(count: usize) -> Vec<f64> {
    (1..=count).map(|rank| 1.0 / rank as f64).collect()
}

/// How often codes came up, against their prior.
#[derive(Debug, Clone, PartialEq)]
pub struct Frequencies {
    /// Probability of every code.
    pub expected: Vec<f64>,
    /// Part of the tokens that each code took.
    pub found: Vec<f64>,
    /// Total variation distance between the two, from 0 to 1.
    pub variation: f64,
    /// What drawing as many codes from the prior itself would give, about.
    pub by_chance: f64,
}

impl Frequencies {
    /// Counts `codes` against `prior`, which need not add up to 1. A code beyond the prior is left out.
    pub fn of(codes: &[u32], prior: &[f64]) -> Self {
        let total: f64 = prior.iter().sum();
        let drawn = codes.len().max(1) as f64;
        let mut counts = vec![0usize; prior.len()];
        for code in codes {
            if let Some(count) = counts.get_mut(*code as usize) {
                *count += 1;
            }
        }
        let expected: Vec<f64> = prior.iter().map(|p| p / total).collect();
        let found: Vec<f64> = counts.iter().map(|count| *count as f64 / drawn).collect();
        let variation = found.iter().zip(&expected).map(|(f, e)| (f - e).abs()).sum::<f64>() / 2.0;
        // Half the sum of mean absolute deviations of binomials.
        let by_chance = expected
            .iter()
            .map(|e| (2.0 * e * (1.0 - e) / (std::f64::consts::PI * drawn)).sqrt() / 2.0)
            .sum();
        Self { expected, found, variation, by_chance }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layout_gives_as_many_codes_as_asked_within_reach_of_the_noise() {
        for layout in Layout::ALL {
            assert_eq!(Layout::named(layout.name()), Some(layout));
            for count in [1, 2, 3, 7, 16, 64] {
                let codes = layout.codes(count, 3);
                assert_eq!(codes.len(), count, "{layout:?}");
                for (k, [x, y]) in codes.iter().enumerate() {
                    let far = x.hypot(*y);
                    let least = if layout == Layout::Random { 6.0 } else { 2.2 };
                    assert!(far < least, "{layout:?}: code {k} lies at {far}");
                    assert!(codes[..k].iter().all(|other| other != &codes[k]), "{layout:?}");
                }
            }
        }
    }

    #[test]
    fn the_ring_is_a_ring_and_the_grid_a_grid() {
        let ring = Layout::Ring.codes(8, 0);
        assert!(ring.iter().all(|[x, y]| (x.hypot(*y) - 1.5).abs() < 1e-6));
        assert_eq!(
            Layout::Grid.codes(4, 0),
            [[-0.75, -0.75], [0.75, -0.75], [-0.75, 0.75], [0.75; 2]]
        );
    }

    #[test]
    fn frequencies_are_measured_against_the_prior() {
        let same = Frequencies::of(&[0, 0, 0, 1], &[3.0, 1.0]);
        assert_eq!((same.variation, same.found.as_slice()), (0.0, [0.75, 0.25].as_slice()));
        let all = Frequencies::of(&[1; 10], &[1.0, 1.0]);
        assert!((all.variation - 0.5).abs() < 1e-12);
        // Two codes, 10 draws: the mean absolute deviation of a binomial, about sqrt(2 p q n / pi) / n.
        assert!((all.by_chance - (0.5 / (std::f64::consts::PI * 10.0)).sqrt()).abs() < 1e-12);
        assert_eq!(Frequencies::of(&[], &[1.0]).found, [0.0]);
    }

    #[test]
    fn zipf_falls_as_one_over_the_rank() {
        assert_eq!(zipf(4), [1.0, 0.5, 1.0 / 3.0, 0.25]);
    }
}
