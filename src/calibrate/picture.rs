//! What a model believes about one picture whose codes are known.

use super::token::figures;
use super::{Bench, CalibrateError, Known, Question, Subject};
use crate::flow::Temperature;

/// Codes of a token that are named, the likeliest ones.
pub const NAMED: usize = 8;

/// The posterior of a token, against the code that it truly has.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenBelief {
    /// Surprise of the true code, `-ln p(c)`, in nats.
    pub surprise: f32,
    /// Codes that are more likely than the true one.
    pub rank: usize,
    /// Shannon entropy in nats.
    pub entropy: f32,
    /// The likeliest codes with their probabilities, at most [`NAMED`], the likeliest first.
    pub likeliest: Vec<(u32, f32)>,
}

/// The posterior at one time, of every token row by row; of masked states those that are masked.
#[derive(Debug, Clone, PartialEq)]
pub struct Belief {
    /// The time.
    pub t: f64,
    /// `[height, width]`; nothing where the state shows the code as it is.
    pub tokens: Vec<Option<TokenBelief>>,
}

impl Belief {
    fn asked(&self) -> impl Iterator<Item = &TokenBelief> {
        self.tokens.iter().flatten()
    }

    /// Surprise of all codes together, each on its own, in nats.
    pub fn nats(&self) -> f32 {
        self.asked().map(|token| token.surprise).sum()
    }

    /// Tokens that were asked about, and of how many the likeliest code is the true one.
    pub fn right(&self) -> (usize, usize) {
        (self.asked().count(), self.asked().filter(|token| token.rank == 0).count())
    }
}

/// Noises a picture's codes, `[height, width]`, as in training, to the `i`th time of the question's grid, and looks at
/// what is believed of every token there.
///
/// # Errors
/// There is no posterior, codes and class do not fit it, or the network gave a NaN.
pub fn ask_about<S: Subject>(
    subject: &S,
    codes: &[u32],
    class: usize,
    question: &Question,
    i: usize,
) -> Result<Belief, CalibrateError> {
    let domain = subject.domain();
    if !domain.objective.has_posterior() {
        return Err(CalibrateError::NoPosterior(domain.objective));
    }
    let known = Known { codes: codes.to_vec(), labels: vec![class] };
    known.check(&domain)?;
    let Some(t) = question.grid().get(i).copied() else {
        return Err(CalibrateError::Misfit(format!("the grid has {} times", question.times)));
    };
    let codebook = subject.codebook();
    let bench = Bench { subject, codebook, known: &known, question, domain };
    let (state, asked) = bench.state(i, t, 0..1, codes);
    let logits = subject.logits(&state, t as f32, &known.labels, question.guidance);
    let tau = f64::from(question.temperature.at(t as f32).max(Temperature::FLOOR));
    let mut tokens = vec![None; codes.len()];
    for at in asked {
        let row = &logits[at * bench.domain.codes..(at + 1) * bench.domain.codes];
        let found = figures(row, codes[at] as usize, tau, &bench.codebook)
            .ok_or(CalibrateError::NotADistribution { t, picture: 0 })?;
        tokens[at] = Some(TokenBelief {
            surprise: found.surprise as f32,
            rank: found.rank,
            entropy: found.entropy as f32,
            likeliest: likeliest(row, tau, found.confidence),
        });
    }
    Ok(Belief { t, tokens })
}

/// The likeliest codes with their probabilities; `confidence` is that of the first.
fn likeliest(logits: &[f32], tau: f64, confidence: f64) -> Vec<(u32, f32)> {
    let mut codes: Vec<u32> = (0..logits.len() as u32).collect();
    let order = |a: &u32, b: &u32| {
        logits[*b as usize].total_cmp(&logits[*a as usize]).then_with(|| a.cmp(b))
    };
    if codes.len() > NAMED {
        codes.select_nth_unstable_by(NAMED - 1, order);
        codes.truncate(NAMED);
    }
    codes.sort_unstable_by(order);
    let Some(first) = codes.first().map(|code| logits[*code as usize]) else { return Vec::new() };
    let probability =
        |code: u32| (f64::from(logits[code as usize] - first) / tau).exp() * confidence;
    codes.into_iter().map(|code| (code, probability(code) as f32)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likeliest_codes_come_first_with_their_probabilities() {
        let probabilities = [0.02, 0.3, 0.02, 0.26, 0.1, 0.1, 0.05, 0.05, 0.04, 0.06];
        let logits: Vec<f32> = probabilities.iter().map(|p: &f64| (2.0 * p.ln()) as f32).collect();
        // Squared by the logits' factor, the root taken by the temperature.
        let found = likeliest(&logits, 2.0, 0.3);
        assert_eq!(found.iter().map(|of| of.0).collect::<Vec<_>>(), [1, 3, 4, 5, 9, 6, 7, 8]);
        for (code, probability) in found {
            assert!((f64::from(probability) - probabilities[code as usize]).abs() < 1e-6);
        }
        assert_eq!(likeliest(&[1.0, 2.0], 1.0, 0.7)[0], (1, 0.7));
        assert!(likeliest(&[], 1.0, 1.0).is_empty());
    }
}
