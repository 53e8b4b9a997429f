//! What one token's logits say of the code that it truly has.

use super::heat::{Heat, NODES};

/// Masses of the smallest sets of codes that are asked whether they hold the true one.
pub const MASSES: [f64; 3] = [0.5, 0.9, 0.99];

/// Probabilities below this are looked at only where the others do not add up to a set's mass.
const SLIGHT: f64 = 1e-6;

/// A token's posterior against the truth.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenFigures {
    /// Surprise of the true code, `-ln p(c)`, in nats.
    pub surprise: f64,
    /// Shannon entropy in nats.
    pub entropy: f64,
    /// The largest probability.
    pub confidence: f64,
    /// Codes that are more likely than the true one.
    pub rank: usize,
    /// Squared distance between the probabilities and the truth, `sum_k (p_k - [k = c])^2`, 0 to 2.
    pub brier: f64,
    /// Log of the sum of the exponentials of the logits as the network gives them.
    pub log_z: f64,
    /// For every one of [`MASSES`] the number of codes of the smallest set that has it, and what it has.
    pub sets: [(usize, f64); MASSES.len()],
    /// Squared distance between the mean code at temperature 1 and the true one.
    pub squared_error: f64,
    /// The cross-entropy as a function of the temperature.
    pub heat: [Heat; NODES],
}

/// Looks at a token's logits at temperature `tau`; `codebook` is `[codes, size]`. Nothing where the logits
/// are no distribution: a NaN, no finite number, or the true code ruled out.
pub fn figures(logits: &[f32], code: usize, tau: f64, codebook: &[f32]) -> Option<TokenFigures> {
    let finite = logits.iter().all(|logit| !logit.is_nan() && *logit < f32::INFINITY);
    if !finite || !logits.get(code)?.is_finite() {
        return None;
    }
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sums = Sums::new(codebook.len() / logits.len().max(1), logits.len());
    for (logit, row) in logits.iter().zip(codebook.chunks_exact(sums.mean.len().max(1))) {
        sums.add(logit - largest, tau, row);
    }
    let truth = f64::from(logits[code] - largest);
    let surprise = sums.weight.ln() - truth / tau;
    let entropy = (sums.weight.ln() - sums.weighted / sums.weight).max(0.0);
    let rank = logits
        .iter()
        .enumerate()
        .filter(|(k, logit)| **logit > logits[code] || (**logit == logits[code] && *k < code));
    let row = &codebook[code * sums.mean.len()..][..sums.mean.len()];
    let plain = sums.heat[UNIT].weight;
    let squared_error =
        sums.mean.iter().zip(row).map(|(sum, e)| (sum / plain - f64::from(*e)).powi(2)).sum();
    Some(TokenFigures {
        surprise,
        entropy,
        confidence: 1.0 / sums.weight,
        rank: rank.count(),
        brier: sums.squares / sums.weight.powi(2) - 2.0 * (-surprise).exp() + 1.0,
        log_z: f64::from(largest) + plain.ln(),
        squared_error,
        heat: sums.heat.map(|of_node| of_node.heat(truth)),
        sets: sets(&mut sums.weights, sums.weight),
    })
}

/// The node at which the temperature is 1.
const UNIT: usize = 3;

/// Sums over the codes of a token, of weights relative to the likeliest code's.
struct Sums {
    /// At the temperature asked for: the weights, their sum, that of them times their logarithm, and that of
    /// their squares.
    weights: Vec<f32>,
    weight: f64,
    weighted: f64,
    squares: f64,
    heat: [HeatSums; NODES],
    /// Of the codes at temperature 1.
    mean: Vec<f64>,
}

/// At one node: the weights, times the logit below the largest, and its square.
#[derive(Clone, Copy, Default)]
struct HeatSums {
    weight: f64,
    first: f64,
    second: f64,
}

impl HeatSums {
    fn heat(self, truth: f64) -> Heat {
        let mean = self.first / self.weight;
        Heat { slope: mean - truth, curvature: (self.second / self.weight - mean * mean).max(0.0) }
    }
}

impl Sums {
    fn new(size: usize, codes: usize) -> Self {
        Self {
            weights: Vec::with_capacity(codes),
            weight: 0.0,
            weighted: 0.0,
            squares: 0.0,
            heat: [HeatSums::default(); NODES],
            mean: vec![0.0; size],
        }
    }

    /// A code whose logit lies `below` (at most 0) the largest, and its numbers.
    fn add(&mut self, below: f32, tau: f64, row: &[f32]) {
        if below == f32::NEG_INFINITY {
            return;
        }
        // The nodes are multiples of the first: their weights are its powers.
        let quarter = f64::from((below / (UNIT + 1) as f32).exp());
        let plain = (quarter * quarter) * (quarter * quarter);
        let below = f64::from(below);
        let weight = if tau == 1.0 { plain } else { f64::from(((below / tau) as f32).exp()) };
        self.weights.push(weight as f32);
        self.weight += weight;
        // Weights that vanish would multiply a zero by something huge.
        if weight > 0.0 {
            self.weighted += weight * (below / tau);
        }
        self.squares += weight * weight;
        let mut power = 1.0;
        for sums in &mut self.heat {
            power *= quarter;
            let first = power * below;
            sums.weight += power;
            sums.first += first;
            sums.second += first * below;
        }
        self.mean.iter_mut().zip(row).for_each(|(sum, e)| *sum += plain * f64::from(*e));
    }
}

/// The smallest sets of the masses, of weights and their sum; the weights are put in order.
fn sets(weights: &mut Vec<f32>, whole: f64) -> [(usize, f64); MASSES.len()] {
    let largest = MASSES[MASSES.len() - 1] * whole;
    let slight = (SLIGHT * whole) as f32;
    let heavy: f64 = weights.iter().filter(|w| **w >= slight).copied().map(f64::from).sum();
    if heavy >= largest {
        weights.retain(|weight| *weight >= slight);
    }
    weights.sort_unstable_by(|a, b| b.total_cmp(a));
    let mut found = [(weights.len(), 1.0); MASSES.len()];
    let (mut sum, mut next) = (0.0, 0);
    for (i, weight) in weights.iter().enumerate() {
        sum += f64::from(*weight);
        while next < MASSES.len() && sum >= MASSES[next] * whole {
            found[next] = (i + 1, (sum / whole).min(1.0));
            next += 1;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROBABILITIES: [f64; 4] = [0.1, 0.6, 0.25, 0.05];

    fn logits(scale: f64) -> Vec<f32> {
        PROBABILITIES.iter().map(|p| (scale * p.ln() + 3.0) as f32).collect()
    }

    #[test]
    fn figures_of_four_codes_are_those_of_pencil_and_paper() {
        let codebook = [0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0];
        let found = figures(&logits(1.0), 2, 1.0, &codebook).unwrap();
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-6, "{a} {b}");
        close(found.surprise, -(0.25f64.ln()));
        close(found.entropy, -PROBABILITIES.iter().map(|p| p * p.ln()).sum::<f64>());
        close(found.confidence, 0.6);
        assert_eq!(found.rank, 1);
        close(found.brier, 0.01 + 0.36 + 0.5625 + 0.0025);
        close(found.log_z, 3.0);
        assert_eq!(found.sets.map(|(codes, _)| codes), [1, 3, 4]);
        close(found.sets[1].1, 0.95);
        // The mean is (0.65, 0.3), the code (0, 1).
        close(found.squared_error, 0.65 * 0.65 + 0.7 * 0.7);
    }

    #[test]
    fn temperature_is_in_the_belief_but_not_in_what_the_network_is_judged_by() {
        let codebook = [0.0, 1.0, 2.0, 3.0];
        let warm = figures(&logits(2.0), 2, 2.0, &codebook).unwrap();
        let plain = figures(&logits(1.0), 2, 1.0, &codebook).unwrap();
        assert!((warm.surprise - plain.surprise).abs() < 1e-6);
        assert!((warm.brier - plain.brier).abs() < 1e-6);
        assert!((warm.squared_error - plain.squared_error).abs() > 1e-3);
        // Twice the logits at half the inverse temperature are the same.
        assert!((warm.heat[1].slope / 2.0 - plain.heat[3].slope).abs() < 1e-6);
    }

    #[test]
    fn slope_and_curvature_are_derivatives_of_the_surprise() {
        let surprise =
            |inverse: f64| figures(&logits(1.3), 0, 1.0 / inverse, &[0.0; 4]).unwrap().surprise;
        let found = figures(&logits(1.3), 0, 1.0, &[0.0; 4]).unwrap();
        for (node, Heat { slope, curvature }) in found.heat.into_iter().enumerate() {
            // Wide enough that single precision does not show.
            let (at, step) = ((node + 1) as f64 / 4.0, 0.02);
            let [before, here, after] = [at - step, at, at + step].map(surprise);
            assert!(((after - before) / (2.0 * step) - slope).abs() < 2e-4, "{node}");
            let bend = (after - 2.0 * here + before) / (step * step);
            assert!((bend - curvature).abs() < 3e-3, "{node}: {bend} {curvature}");
        }
    }

    #[test]
    fn what_is_no_distribution_is_refused_and_what_is_ruled_out_takes_no_part() {
        let codebook = [0.0; 3];
        for (logits, code) in [
            ([f32::NAN, 0.0, 0.0], 1),
            ([f32::INFINITY, 0.0, 0.0], 0),
            ([f32::NEG_INFINITY; 3], 0),
            ([f32::NEG_INFINITY, 0.0, 0.0], 0),
            ([0.0; 3], 3),
        ] {
            assert_eq!(figures(&logits, code, 1.0, &codebook), None, "{logits:?}");
        }
        let found = figures(&[f32::NEG_INFINITY, 0.0, 0.0], 1, 1.0, &codebook).unwrap();
        assert!((found.surprise - 2f64.ln()).abs() < 1e-12 && found.log_z.is_finite());
        assert_eq!(found.sets.map(|(codes, _)| codes), [1, 2, 2]);
    }
}
