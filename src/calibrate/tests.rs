//! The exact posterior is calibrated, and what is done to it is found.

use std::sync::atomic::AtomicBool;

use super::*;
use crate::flow::Oracle;
use crate::flow::codebooks::{normal_codes, zipf};

const CODES: usize = 24;
const SIDE: usize = 4;
const SIZE: usize = 3;
const PICTURES: usize = 300;

fn oracle() -> Oracle {
    Oracle::new(normal_codes(CODES, SIZE, 1), SIZE, &zipf(CODES), SIDE).unwrap()
}

/// Codes drawn independently from the oracle's prior.
fn known() -> Known {
    let prior = zipf(CODES);
    let total: f64 = prior.iter().sum();
    let mut stream = Stream::new(9, 9);
    let mut draw = || {
        let mut left = stream.uniform() * total;
        let code = prior.iter().position(|p| {
            left -= p;
            left < 0.0
        });
        code.unwrap_or(CODES - 1) as u32
    };
    Known {
        codes: (0..PICTURES * SIDE * SIDE).map(|_| draw()).collect(),
        labels: vec![0; PICTURES],
    }
}

fn measured(subject: &impl Subject) -> Calibration {
    let question = Question { times: 24, ..Question::default() };
    calibrate(subject, &known(), &question, &AtomicBool::new(false), &mut ()).unwrap()
}

/// The oracle with its logits divided by a temperature.
struct Heated {
    oracle: Oracle,
    temperature: f32,
}

impl Subject for Heated {
    fn domain(&self) -> Domain {
        Subject::domain(&self.oracle)
    }

    fn codebook(&self) -> Vec<f32> {
        Subject::codebook(&self.oracle)
    }

    fn logits(&self, state: &State, t: f32, labels: &[usize], guidance: f32) -> Vec<f32> {
        let logits = self.oracle.logits(state, t, labels, guidance);
        logits.into_iter().map(|logit| logit / self.temperature).collect()
    }
}

/// That nothing of a posterior is off by more than its own error allows.
fn expect_calibrated(found: &Calibration) {
    for moment in &found.times {
        let t = moment.t;
        assert!(moment.reliability.error < 2.0 * moment.reliability.by_chance + 1e-4, "{t}");
        let Uncertain { value, error } = moment.cross_entropy;
        assert!((value - moment.entropy).abs() < 4.0 * error + 1e-4, "{t}: {value}");
        for CodeSet { mass, held, covered, .. } in &moment.sets {
            let spread = (held * (1.0 - held) / moment.tokens as f64).sqrt();
            assert!(held >= mass && (covered - held).abs() < 4.0 * spread + 1e-3, "{t} {mass}");
        }
        if let Some(implied) = &moment.implied {
            let Uncertain { value, error } = implied.temperature;
            assert!((value - 1.0).abs() < 4.0 * error, "{t}: {value} +- {error}");
        }
    }
    assert!(found.times.iter().filter(|moment| moment.implied.is_some()).count() > 12);
}

#[test]
fn the_exact_posterior_is_calibrated_at_every_time() {
    let found = measured(&oracle());
    expect_calibrated(&found);
    let [plain, fitted] = found.cross_entropies().unwrap();
    assert!(plain >= fitted && plain - fitted < 2e-3, "{plain} {fitted}");
    let surest = found.times.last().unwrap();
    assert!(surest.accuracy > 0.99, "{}", surest.accuracy);
}

#[test]
fn independent_codes_have_no_gap() {
    let found = measured(&oracle());
    let prior = zipf(CODES);
    let total: f64 = prior.iter().sum();
    let entropy: f64 = prior.iter().map(|p| -p / total * (p / total).ln()).sum();
    let all = entropy * (SIDE * SIDE) as f64;
    for moment in &found.times {
        let Uncertain { value, error } = moment.gap;
        assert!(value.abs() < 4.0 * error + 0.01 * all, "{}: {value} +- {error}", moment.t);
    }
    let first = &found.times[0];
    assert!((first.together.value - all).abs() < 0.03 * all, "{} {all}", first.together.value);
}

#[test]
fn codes_that_say_the_same_have_the_gap_that_they_should() {
    // Every picture is one code over and over: the tokens hide sixteen times what they hide together.
    let mut known = known();
    for picture in known.codes.chunks_exact_mut(SIDE * SIDE) {
        picture.fill(picture[0]);
    }
    /// The posterior of a picture of one code: the product over its tokens.
    struct Same(Oracle);
    impl Subject for Same {
        fn domain(&self) -> Domain {
            Subject::domain(&self.0)
        }
        fn codebook(&self) -> Vec<f32> {
            Subject::codebook(&self.0)
        }
        fn logits(&self, state: &State, t: f32, labels: &[usize], guidance: f32) -> Vec<f32> {
            let prior: Vec<f32> = {
                let prior = zipf(CODES);
                let total: f64 = prior.iter().sum();
                prior.iter().map(|p| (p / total).ln() as f32).collect()
            };
            let each = self.0.logits(state, t, labels, guidance);
            let mut all = Vec::new();
            for picture in each.chunks_exact(SIDE * SIDE * CODES) {
                let mut sum: Vec<f32> = prior.clone();
                for token in picture.chunks_exact(CODES) {
                    let evidence = token.iter().zip(&prior).map(|(logit, prior)| logit - prior);
                    sum.iter_mut().zip(evidence).for_each(|(sum, more)| *sum += more);
                }
                (0..SIDE * SIDE).for_each(|_| all.extend_from_slice(&sum));
            }
            all
        }
    }
    let question = Question { times: 60, ..Question::default() };
    let stop = AtomicBool::new(false);
    let found = calibrate(&Same(oracle()), &known, &question, &stop, &mut ()).unwrap();
    let first = &found.times[0];
    let ratio = first.apart.value / first.together.value;
    assert!((ratio - 16.0).abs() < 1.0, "{ratio}");
}

#[test]
fn a_heated_posterior_gives_its_temperature_back() {
    for temperature in [0.7f32, 1.4] {
        let found = measured(&Heated { oracle: oracle(), temperature });
        let wanted = 1.0 / f64::from(temperature);
        let mut known = 0;
        for implied in found.times.iter().filter_map(|moment| moment.implied.as_ref()) {
            let Uncertain { value, error } = implied.temperature;
            assert!((value - wanted).abs() < 4.0 * error, "{wanted}: {value} +- {error}");
            known += 1;
        }
        assert!(known > 12, "{known}");
        let early = &found.times[12];
        assert!(early.reliability.error > 3.0 * early.reliability.by_chance);
        // With the schedule that it implies it is calibrated again.
        let Some(Temperature::Points(points)) = &found.schedule else { panic!() };
        assert_eq!(points.len(), known);
        let cooled = Heated { oracle: oracle(), temperature };
        let question = Question {
            times: 24,
            temperature: Temperature::Constant(wanted as f32),
            ..Question::default()
        };
        let stop = AtomicBool::new(false);
        let again = calibrate(&cooled, &super::tests::known(), &question, &stop, &mut ()).unwrap();
        // What it would gain is known of temperature 1, which was not looked at.
        assert!(again.cross_entropies().is_none());
        for moment in &again.times {
            let Reliability { error, by_chance, .. } = moment.reliability;
            assert!(error < 2.0 * by_chance + 1e-4, "{}: {error}", moment.t);
        }
    }
}

#[test]
fn masked_codes_are_asked_about_where_they_are_masked() {
    let found = measured(&oracle().masked());
    for moment in &found.times {
        let expected = (1.0 - moment.t) * (PICTURES * SIDE * SIDE) as f64;
        assert!((moment.tokens as f64 - expected).abs() < 5.0 * expected.sqrt(), "{}", moment.t);
        let Uncertain { value, error } = moment.gap;
        assert!(value.abs() < 5.0 * error + 0.4, "{}: {value} +- {error}", moment.t);
    }
}

#[test]
fn what_cannot_be_measured_is_said() {
    let stop = AtomicBool::new(false);
    let ask = |known: &Known, question: &Question| {
        let found = calibrate(&oracle(), known, question, &stop, &mut ());
        found.unwrap_err().to_string()
    };
    let plain = Question::default();
    let one = Known { codes: vec![0; 16], labels: vec![0] };
    assert!(ask(&one, &plain).ends_with("there is one"));
    assert!(ask(&Known::default(), &plain).ends_with("there are none"));
    let two = Known { codes: vec![0; 32], labels: vec![0; 2] };
    let beyond = Known { codes: vec![99; 32], ..two.clone() };
    assert!(ask(&beyond, &plain).contains("code 99 is not among the model's 24"));
    assert!(ask(&Known { labels: vec![0, 1], ..two.clone() }, &plain).contains("class 1 is not"));
    assert!(ask(&Known { codes: vec![0; 31], ..two.clone() }, &plain).contains("31 codes"));
    assert!(ask(&two, &Question { times: 1, ..plain.clone() }).contains("2 to 1000 times"));
    stop.store(true, Ordering::Relaxed);
    assert!(ask(&two, &plain).starts_with("stopped"));
}

#[test]
fn a_report_reads_as_it_was_written() {
    let found = Calibration {
        model_hash: "abc123".to_owned(),
        class_names: vec!["all".to_owned()],
        ..measured(&oracle())
    };
    let folder = tempfile::tempdir().unwrap();
    let kept = KeptReports::at(folder.path());
    assert!(kept.of_model("abc123").is_none());
    kept.keep(&found).unwrap();
    let again = kept.of_model("abc123").unwrap();
    assert!(kept.of_model("../abc123").is_none());
    assert_eq!((&again.schedule, again.times.len()), (&found.schedule, found.times.len()));
    for (a, b) in again.times.iter().zip(&found.times) {
        assert_eq!(a.tokens, b.tokens);
        let places = a.places.accuracy.iter().zip(&b.places.accuracy);
        let places = places.map(|(a, b)| (f64::from(*a), f64::from(*b)));
        let pairs = [(a.t, b.t), (a.brier, b.brier), (a.gap.value, b.gap.value)];
        // Seven digits are written.
        let near = |(a, b): (f64, f64)| (a - b).abs() <= 1e-6 * b.abs();
        assert!(pairs.into_iter().chain(places).all(near));
    }
}

#[test]
fn reports_that_do_not_hold_together_are_refused() {
    let good = Calibration { class_names: vec!["all".to_owned()], ..measured(&oracle()) };
    good.check().unwrap();
    let spoilt = |spoil: &dyn Fn(&mut Calibration), expected: &str| {
        let mut bad = good.clone();
        spoil(&mut bad);
        let said = bad.check().unwrap_err();
        assert!(said.contains(expected), "{said}");
    };
    spoilt(&|bad| bad.format = 2, "format 2, expected 1");
    spoilt(&|bad| bad.grid = [5, 4], "a map of another size");
    spoilt(&|bad| bad.grid = [usize::MAX; 2], "a map of another size");
    spoilt(&|bad| bad.times[3].places.accuracy[0] = f32::NAN, "a map of another size");
    spoilt(&|bad| bad.times[3].t = 2.0, "time 2");
    spoilt(&|bad| bad.times.swap(0, 1), "times that do not rise");
    spoilt(&|bad| bad.class_names.clear(), "a class without a name");
    spoilt(&|bad| bad.schedule = Some(Temperature::Points(Vec::new())), "at least one point");
}

#[test]
fn a_picture_alone_is_asked_about_as_it_is_measured_among_others() {
    struct Seen(Vec<(Vec<f32>, u32)>);
    impl Watch for Seen {
        fn token(&mut self, logits: &[f32], code: u32) {
            self.0.push((logits.to_vec(), code));
        }
    }
    let tokens = SIDE * SIDE;
    let mut known = known();
    known.codes.truncate(2 * tokens);
    known.labels.truncate(2);
    let codes = &known.codes[..tokens];
    let temperature = Temperature::Constant(0.8);
    let question = Question { times: 5, seed: 3, temperature, ..Question::default() };
    let mut seen = Seen(Vec::new());
    calibrate(&oracle(), &known, &question, &AtomicBool::new(false), &mut seen).unwrap();
    for (i, both) in seen.0.chunks_exact(2 * tokens).enumerate() {
        let belief = ask_about(&oracle(), codes, 0, &question, i).unwrap();
        for ((logits, code), found) in both[..tokens].iter().zip(&belief.tokens) {
            let found = found.as_ref().unwrap();
            let powers: Vec<f64> = logits.iter().map(|l| (f64::from(*l) / 0.8).exp()).collect();
            let sum: f64 = powers.iter().sum();
            let surprise = -(powers[*code as usize] / sum).ln();
            assert!((f64::from(found.surprise) - surprise).abs() < 1e-4, "{surprise}");
            let above = powers.iter().filter(|power| **power > powers[*code as usize]).count();
            assert_eq!(found.rank, above);
            let named = found.likeliest.iter().position(|(named, _)| named == code);
            assert_eq!(named, (above < NAMED).then_some(above));
            let (first, probability) = found.likeliest[0];
            assert!((f64::from(probability) - powers[first as usize] / sum).abs() < 1e-5);
        }
        let (asked, right) = belief.right();
        assert_eq!(asked, tokens);
        assert!(i < 4 || right > tokens / 2, "{right}");
    }
    // Of masked codes those that the state hides.
    let hidden = |i| ask_about(&oracle().masked(), codes, 0, &question, i).unwrap().right().0;
    assert!(hidden(0) > hidden(4) && hidden(0) <= tokens);
    for (codes, class, i) in [(&codes[1..], 0, 0), (codes, 7, 0), (codes, 0, 5)] {
        let error = ask_about(&oracle(), codes, class, &question, i).unwrap_err();
        assert!(matches!(error, CalibrateError::Misfit(_)), "{error}");
    }
}
