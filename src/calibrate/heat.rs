//! The temperature at which the cross-entropy of a set of tokens is least.
//!
//! With `b = 1 / tau` the cross-entropy of softmax(b l) is a convex function of `b`, whose derivative is the
//! mean logit less the true one's, and whose second derivative is the logits' variance. Both are summed at a
//! few values of `b`; between them the derivative is the cubic that has its values and slopes.

use std::ops::AddAssign;

/// Number of inverse temperatures that sums are taken at: 1/4, 2/4, ... 3.
pub const NODES: usize = 12;

/// A temperature with a larger standard error, relative to itself, is as good as not known.
const UNKNOWN: f64 = 0.05;

/// How the cross-entropy changes at one inverse temperature.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Heat {
    /// Derivative of the cross-entropy by the inverse temperature, in nats.
    pub slope: f64,
    /// Its second derivative, at least 0.
    pub curvature: f64,
}

impl AddAssign for Heat {
    fn add_assign(&mut self, other: Self) {
        self.slope += other.slope;
        self.curvature += other.curvature;
    }
}

/// Where the cross-entropy is least.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Optimum {
    /// The temperature.
    pub temperature: f64,
    /// Its standard error, from picture to picture.
    pub error: f64,
    /// What it takes off the cross-entropy at temperature 1, in nats a token.
    pub gain: f64,
}

/// The inverse temperature of a node.
fn inverse(node: usize) -> f64 {
    (node + 1) as f64 / 4.0
}

/// Derivative of the cross-entropy between a node and the next, at `at` in `[0, 1]` of the way.
fn slope_between(heat: &[Heat; NODES], node: usize, at: f64) -> f64 {
    let (from, to) = (heat[node], heat[node + 1]);
    let width = inverse(node + 1) - inverse(node);
    let (square, cube) = (at * at, at * at * at);
    from.slope * (2.0 * cube - 3.0 * square + 1.0)
        + width * from.curvature * (cube - 2.0 * square + at)
        + to.slope * (3.0 * square - 2.0 * cube)
        + width * to.curvature * (cube - square)
}

/// The best temperature for pictures, each with the sums over its tokens; nothing where it lies outside
/// 1/3 to 4, or so little hangs on it that it is not [known](UNKNOWN).
pub fn best_temperature(pictures: &[[Heat; NODES]], tokens: usize) -> Option<Optimum> {
    let mut sum = [Heat::default(); NODES];
    for heat in pictures {
        sum.iter_mut().zip(heat).for_each(|(sum, heat)| *sum += *heat);
    }
    let node = (0..NODES - 1).find(|i| sum[*i].slope <= 0.0 && sum[i + 1].slope >= 0.0)?;
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if slope_between(&sum, node, middle) < 0.0 { low = middle } else { high = middle }
    }
    let at = (low + high) / 2.0;
    let width = inverse(node + 1) - inverse(node);
    let best = inverse(node) + at * width;
    let curvature = sum[node].curvature + at * (sum[node + 1].curvature - sum[node].curvature);
    let squares: f64 = pictures.iter().map(|heat| slope_between(heat, node, at).powi(2)).sum();
    // Of the inverse temperature, and then of the temperature.
    let error = squares.sqrt() / curvature / (best * best);
    let gain = descent(&sum, node, at) / tokens.max(1) as f64;
    let known = error * best < UNKNOWN;
    known.then_some(Optimum { temperature: 1.0 / best, error, gain })
}

/// How far the cross-entropy falls from temperature 1 to a place between two nodes.
fn descent(sum: &[Heat; NODES], node: usize, at: f64) -> f64 {
    /// The node of temperature 1.
    const UNIT: usize = 3;
    // Simpson's rule is exact for cubics.
    let piece = |node: usize, from: f64, to: f64| {
        let slope = |at| slope_between(sum, node, at);
        (to - from) / 24.0 * (slope(from) + 4.0 * slope((from + to) / 2.0) + slope(to))
    };
    let fall = match node >= UNIT {
        true => (UNIT..node).map(|i| piece(i, 0.0, 1.0)).sum::<f64>() + piece(node, 0.0, at),
        false => {
            -((node + 1..UNIT).map(|i| piece(i, 0.0, 1.0)).sum::<f64>() + piece(node, at, 1.0))
        }
    };
    -fall
}

#[cfg(test)]
mod tests {
    use super::super::token::figures;
    use super::*;
    use crate::rng::Stream;

    /// Pictures of 64 tokens whose codes are drawn from softmax(logits / tau).
    fn pictures(count: usize, tau: f64) -> Vec<[Heat; NODES]> {
        let mut stream = Stream::new(5, 0);
        let picture = |_| {
            let mut sum = [Heat::default(); NODES];
            for _ in 0..64 {
                let logits: Vec<f32> = stream.normals(16).iter().map(|l| l * 2.0).collect();
                let weights: Vec<f64> =
                    logits.iter().map(|l| (f64::from(*l) / tau).exp()).collect();
                let mut left = stream.uniform() * weights.iter().sum::<f64>();
                let code = weights.iter().position(|weight| {
                    left -= weight;
                    left < 0.0
                });
                let found = figures(&logits, code.unwrap_or(15), 1.0, &[0.0; 16]).unwrap();
                sum.iter_mut().zip(found.heat).for_each(|(sum, heat)| *sum += heat);
            }
            sum
        };
        (0..count).map(picture).collect()
    }

    #[test]
    fn the_temperature_that_codes_were_drawn_at_is_found() {
        for tau in [0.5, 0.8, 1.0, 1.3, 2.0] {
            let found = best_temperature(&pictures(200, tau), 200 * 64).unwrap();
            let off = (found.temperature - tau).abs();
            assert!(off < 3.5 * found.error && found.error < 0.05 * tau, "{tau}: {found:?}");
            assert!(found.gain >= 0.0 && (tau - 1.0).abs() < 0.1 || found.gain > 1e-3, "{found:?}");
        }
    }

    #[test]
    fn the_gain_is_what_the_cross_entropy_falls_by() {
        // Two codes, of which the likelier one has odds of 9 to 1 and is right in 3 of 4 cases: the best
        // inverse temperature is ln 3 / ln 9.
        let logits = [9f32.ln(), 0.0];
        let of = |code| figures(&logits, code, 1.0, &[0.0, 0.0]).unwrap();
        let pictures: Vec<_> = (0..4).map(|i| of(usize::from(i == 0)).heat).collect();
        let many: Vec<_> = pictures.iter().cycle().take(4_000).copied().collect();
        let found = best_temperature(&many, 4_000).unwrap();
        assert!((found.temperature - 2.0).abs() < 2e-4, "{found:?}");
        let loss = |p: f64| -0.75 * p.ln() - 0.25 * (1.0 - p).ln();
        assert!((found.gain - (loss(0.9) - loss(0.75))).abs() < 1e-5, "{found:?}");
    }

    #[test]
    fn a_temperature_that_nothing_hangs_on_is_none() {
        let sure = figures(&[60.0, 0.0], 0, 1.0, &[0.0, 0.0]).unwrap().heat;
        assert_eq!(best_temperature(&[sure; 4], 4), None);
        assert_eq!(best_temperature(&[], 0), None);
    }
}
