//! Figures of a flow on held-out pictures: the loss as a whole, by time and by class, and what comes with a posterior.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::metrics::Line;

/// Held-out pictures that figures are taken on.
pub const PICTURES: usize = 256;
/// Those of them that are looked at at once.
pub const BATCH: usize = 64;
/// Streams of the seed from here on belong to them.
pub const STREAMS: u64 = 1 << 60;
/// The loss on held-out pictures, of objectives that predict codes and of the others.
const LOSS: [&str; 2] = ["holdout_cross_entropy", "holdout_squared_error"];
/// The share of tokens whose true code is the likeliest.
pub const ACCURACY: &str = "holdout_accuracy";
/// The mean of the logarithm of the partition function, whose drift the z-loss prevents.
pub const LOG_Z: &str = "holdout_log_z";
/// The loss of every class, under its name.
pub const BY_CLASS: &str = "holdout_by_class";
/// Parts of the path that figures are given of.
const PARTS: usize = 5;

/// A held-out picture at a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Term {
    /// The time.
    pub t: f32,
    /// The class.
    pub label: usize,
    /// The first term of the loss, a mean over tokens.
    pub loss: f32,
    /// Of objectives that predict codes: the share of tokens whose true code is the likeliest, and the mean of log Z.
    pub posterior: Option<[f32; 2]>,
}

/// `count` of `all` numbers, evenly spread over them; some more than once where there are fewer.
pub fn spread(all: usize, count: usize) -> Vec<usize> {
    (0..count).map(|i| (i as f64 * all as f64 / count as f64) as usize).collect()
}

/// Times of pictures with these labels: those of each class lie evenly over the path, and so do all together (the first
/// two steps of a plane's low-discrepancy sequence, [Roberts 2018], move them within their share of it). So classes
/// compare that have few pictures each.
///
/// [Roberts 2018]: https://extremelearning.com.au/unreasonable-effectiveness-of-quasirandom-sequences/
pub fn times(labels: &[usize], smallest: f64) -> Vec<f32> {
    const STEPS: [f64; 2] = [0.754_877_666_246_693, 0.569_840_290_998_053];
    let of = |at: usize| {
        let label = labels[at];
        let before = labels[..at].iter().filter(|other| **other == label).count();
        let number = labels.iter().filter(|other| **other == label).count();
        let moved = (0.5 + STEPS[0] * label as f64 + STEPS[1] * before as f64).fract();
        let part = (before as f64 + moved) / number as f64;
        (smallest + (1.0 - smallest) * part) as f32
    };
    (0..labels.len()).map(of).collect()
}

/// The figures of pictures; none of no pictures.
pub fn figures(terms: &[Term], classes: &[String]) -> Line {
    let name = LOSS[usize::from(terms.iter().all(|term| term.posterior.is_none()))];
    let mut line = Map::new();
    let mut put = |name: String, mean: Option<f64>| {
        line.extend(mean.map(|mean| (name, json!(mean))));
    };
    let loss = |term: &Term| Some(term.loss);
    put(name.to_owned(), mean(terms, |_| true, loss));
    let part_of = |t: f32| ((t * PARTS as f32) as usize).min(PARTS - 1);
    for part in 0..PARTS {
        let middle = (2 * part + 1) as f64 / (2 * PARTS) as f64;
        put(format!("{name}_t{middle:.1}"), mean(terms, |term| part_of(term.t) == part, loss));
    }
    for (at, name) in [ACCURACY, LOG_Z].into_iter().enumerate() {
        put(name.to_owned(), mean(terms, |_| true, |term| Some(term.posterior?[at])));
    }
    let by_class = classes.iter().enumerate().filter_map(|(label, name)| {
        Some((name.clone(), json!(mean(terms, |term| term.label == label, loss)?)))
    });
    let by_class: Map<String, Value> = by_class.collect();
    if by_class.len() > 1 {
        line.insert(BY_CLASS.to_owned(), Value::Object(by_class));
    }
    line
}

/// How good figures are: the more the better.
pub fn merit(figures: &BTreeMap<String, f64>) -> Option<f64> {
    LOSS.iter().find_map(|name| figures.get(*name)).map(|loss| -loss)
}

fn mean(
    terms: &[Term],
    wanted: impl Fn(&Term) -> bool,
    value: impl Fn(&Term) -> Option<f32>,
) -> Option<f64> {
    let found: Vec<f64> =
        terms.iter().filter(|term| wanted(term)).filter_map(value).map(f64::from).collect();
    (!found.is_empty()).then(|| found.iter().sum::<f64>() / found.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_sees_the_whole_path_evenly() {
        let labels: Vec<usize> = (0..240).map(|i| i / 5).collect();
        let found = times(&labels, 0.0);
        for class in found.chunks(5) {
            for (part, t) in class.iter().enumerate() {
                assert!((t * 5.0) as usize == part, "{class:?}");
            }
        }
        // All together: as even within the fifths, so that no class has easier times than another.
        let mut moved: Vec<f32> = found.iter().map(|t| (t * 5.0).fract()).collect();
        moved.sort_by(f32::total_cmp);
        let off = moved.iter().enumerate().map(|(i, t)| (t - (i as f32 + 0.5) / 240.0).abs());
        assert!(off.fold(0.0, f32::max) < 0.03);
        assert_eq!(times(&[3], 0.5).len(), 1);
        assert!(times(&[0, 0], 0.5).iter().all(|t| (0.5..=1.0).contains(t)));
    }

    #[test]
    fn numbers_are_spread_evenly() {
        assert_eq!(spread(10, 4), [0, 2, 5, 7]);
        assert_eq!(spread(2, 4), [0, 0, 1, 1]);
        assert_eq!(spread(960, 256).last(), Some(&956));
    }

    #[test]
    fn figures_are_means_over_all_by_time_and_by_class() {
        let term = |t, label, loss| Term { t, label, loss, posterior: Some([0.5, loss]) };
        let terms = [term(0.1, 0, 4.0), term(0.15, 1, 2.0), term(1.0, 1, 1.0)];
        let names = ["cat", "dog", "owl"].map(str::to_owned);
        let line = figures(&terms, &names);
        let expected = json!({
            "holdout_cross_entropy": 7.0 / 3.0, "holdout_cross_entropy_t0.1": 3.0, "holdout_cross_entropy_t0.9": 1.0,
            "holdout_accuracy": 0.5, "holdout_log_z": 7.0 / 3.0, "holdout_by_class": { "cat": 4.0, "dog": 1.5 },
        });
        assert_eq!(Value::Object(line), expected);
        let plain = [Term { t: 0.5, label: 0, loss: 1.0, posterior: None }];
        let line = figures(&plain, &names[..1]);
        assert_eq!(line.keys().collect::<Vec<_>>(), [LOSS[1], "holdout_squared_error_t0.5"]);
        assert!(figures(&[], &names).is_empty());
    }
}
