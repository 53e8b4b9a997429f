//! How much tokens know of each other that a product of posteriors leaves out.
//!
//! The posterior of a network is a product over tokens. What the codes of a whole picture still hide,
//! `H(c | x_t)`, is at most the sum of the tokens' entropies; the gap between the two, the total correlation, is
//! what a picture drawn token by token from the posterior at `t` would get wrong. It can be measured without
//! drawing any: for `x_t / (1-t) = g x1 + x0` with `g = t / (1-t)`, mutual information and the least squared error
//! of an estimate are bound by `dI/d(g^2) = mmse / 2` (Guo, Shamai and Verdu 2005), so that
//! `H(c | x_t) = integral from t to 1 of mmse(s) s / (1-s)^3 ds`, in nats. For masked codes it is the chain rule
//! over a random order: `integral from t to 1 of (sum of the masked tokens' surprise at s) / (1-s) ds`. With
//! the error and the surprise of a network in place of the least possible ones both are upper bounds, and so is the
//! sum of the tokens' surprise: the gap that is found is at least as large.

/// The times of a path, rising, all below 1.
pub struct Path<'a> {
    /// `[times]`
    pub times: &'a [f64],
    /// Whether states are codes, partly masked.
    pub masked: bool,
}

/// What one picture has at one time.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Whole {
    /// Sum of the surprise of its tokens, in nats.
    pub surprise: f64,
    /// Squared distance between its mean codes and the true ones.
    pub squared_error: f64,
}

impl Path<'_> {
    /// Nats that the codes of each picture hide together at every time, `[times][pictures]`, from `wholes` of the
    /// same shape. Going back from the end, a picture hides at most what its tokens do, and at most what it hides
    /// at the next time and the integral from here to there; on average over pictures the smaller one is taken.
    pub fn together(&self, wholes: &[Vec<Whole>]) -> Vec<Vec<f64>> {
        let pictures = wholes.first().map_or(0, Vec::len);
        let areas: Vec<Vec<f64>> = (0..pictures).map(|i| self.areas(wholes, i)).collect();
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
        let mut together: Vec<Vec<f64>> = Vec::new();
        for (time, whole) in wholes.iter().enumerate().rev() {
            let apart: Vec<f64> = whole.iter().map(|whole| whole.surprise).collect();
            let by_parts = together.last().map(|next| {
                let pairs = next.iter().zip(&areas);
                pairs.map(|(next, areas)| next + areas[time]).collect::<Vec<f64>>()
            });
            together.push(by_parts.filter(|sum| mean(sum) < mean(&apart)).unwrap_or(apart));
        }
        together.reverse();
        together
    }

    /// The integrals between the times, of one picture.
    fn areas(&self, wholes: &[Vec<Whole>], picture: usize) -> Vec<f64> {
        let rate = |(t, whole): (&f64, &Vec<Whole>)| match self.masked {
            true => whole[picture].surprise / (1.0 - t),
            false => whole[picture].squared_error * t / (1.0 - t).powi(3),
        };
        let rates: Vec<f64> = self.times.iter().zip(wholes).map(rate).collect();
        let slopes = slopes(self.times, &rates);
        let between = |i: usize| {
            let width = self.times[i + 1] - self.times[i];
            // Exact for the cubic that has these values and slopes.
            width / 2.0 * (rates[i] + rates[i + 1])
                + width * width / 12.0 * (slopes[i] - slopes[i + 1])
        };
        (0..rates.len().saturating_sub(1)).map(between).collect()
    }
}

/// Slopes of a curve at its points, with which cubics through them neither rise above both ends of a piece nor fall
/// below them (Fritsch and Butland 1984): rates are never negative, nor are integrals of them.
fn slopes(at: &[f64], values: &[f64]) -> Vec<f64> {
    let count = at.len().min(values.len());
    let width = |i: usize| at[i + 1] - at[i];
    let chord = |i: usize| (values[i + 1] - values[i]) / width(i);
    let inside = |i: usize| {
        let (left, right) = (chord(i - 1), chord(i));
        let (a, b) = (width(i) * 2.0 + width(i - 1), width(i) + width(i - 1) * 2.0);
        if left * right > 0.0 { (a + b) / (a / left + b / right) } else { 0.0 }
    };
    // At an end the slope of the parabola through three points, as far as it runs like the chord there.
    let end = |near: f64, next: f64, chords: [f64; 2]| {
        let slope = ((2.0 * near + next) * chords[0] - near * chords[1]) / (near + next);
        if slope * chords[0] <= 0.0 {
            0.0
        } else if slope.abs() > 3.0 * chords[0].abs() {
            3.0 * chords[0]
        } else {
            slope
        }
    };
    (0..count)
        .map(|i| match count {
            0 | 1 => 0.0,
            2 => chord(0),
            _ if i == 0 => end(width(0), width(1), [chord(0), chord(1)]),
            _ if i + 1 == count => end(width(i - 1), width(i - 2), [chord(i - 1), chord(i - 2)]),
            _ => inside(i),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slopes_are_those_of_scipys_pchip() {
        // scipy.interpolate.PchipInterpolator([0, .3, .4, 1], [0, .2, .5, .4]).derivative() at the points.
        let found = slopes(&[0.0, 0.3, 0.4, 1.0], &[0.0, 0.2, 0.5, 0.4]);
        for (found, expected) in found.iter().zip([0.0, 1.2203389830508475, 0.0, -0.5]) {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
    }

    #[test]
    fn an_integral_of_what_is_never_negative_is_not_either() {
        let times = [0.8, 0.9, 0.95, 0.99];
        let wholes: Vec<Vec<Whole>> = [9.0, 8.0, 7.0, 6.0]
            .map(|surprise| vec![Whole { surprise, squared_error: 1e-4 * surprise }])
            .to_vec();
        let areas = Path { times: &times, masked: false }.areas(&wholes, 0);
        assert!(areas.iter().all(|area| *area > 0.0), "{areas:?}");
    }

    #[test]
    fn a_fair_sign_hides_the_integral_of_its_least_error() {
        // One number that is 1 or -1: mmse = 1 - E[tanh^2(g^2 + g z)], by quadrature over z.
        let times: Vec<f64> = (0..40).map(|i| (f64::from(i) + 0.5) / 41.0).collect();
        let (mut whole, steps) = (Vec::new(), 4000);
        for t in &times {
            let g = t / (1.0 - t);
            let (mut error, mut surprise) = (0.0, 0.0);
            for i in 0..steps {
                let z = (f64::from(i) + 0.5) / f64::from(steps) * 16.0 - 8.0;
                let weight =
                    (-z * z / 2.0).exp() * 16.0 / f64::from(steps) / std::f64::consts::TAU.sqrt();
                let field = g * g + g * z;
                error += weight * (1.0 - field.tanh().powi(2));
                // -ln p of the true sign.
                surprise += weight * (-2.0 * field).exp().ln_1p();
            }
            whole.push(Whole { surprise, squared_error: error });
        }
        let one: Vec<Vec<Whole>> = whole.iter().map(|whole| vec![*whole]).collect();
        let together = Path { times: &times, masked: false }.together(&one);
        for ((t, together), whole) in times.iter().zip(together).zip(&whole) {
            let [together] = together[..] else { panic!() };
            assert!((together - whole.surprise).abs() < 2e-3, "{t}: {together} {}", whole.surprise);
        }
    }

    #[test]
    fn independent_masked_tokens_have_no_gap() {
        // 100 tokens of 2 nats each: at t there are 100 (1 - t) masked ones.
        let times: Vec<f64> = (0..20).map(|i| (f64::from(i) + 0.5) / 20.0).collect();
        let whole = |t: &f64| vec![Whole { surprise: 200.0 * (1.0 - t), squared_error: 0.0 }];
        let wholes: Vec<Vec<Whole>> = times.iter().map(whole).collect();
        let together = Path { times: &times, masked: true }.together(&wholes);
        for (together, whole) in together.iter().zip(&wholes) {
            assert!((together[0] - whole[0].surprise).abs() < 1e-9);
        }
    }

    #[test]
    fn an_estimate_that_is_worse_than_the_tokens_own_surprise_is_not_taken() {
        let times = [0.5, 0.9, 0.95];
        let wholes: Vec<Vec<Whole>> = [9.0, 1.0, 0.5]
            .map(|surprise| vec![Whole { surprise, squared_error: 0.1 }; 2])
            .to_vec();
        let together = Path { times: &times, masked: false }.together(&wholes);
        // From .95 to .9 the error's integral is about 6; from .9 to .5 it is about 6 as well.
        assert_eq!((together[2][0], together[1][0]), (0.5, 1.0));
        assert!(together[0][0] > 1.0 && together[0][0] <= 9.0);
    }
}
