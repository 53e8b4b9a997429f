//! Solvers on the exact posterior, where the true flow is known to any accuracy.

use burn::tensor::Device;
use purrscope::flow::{
    Branch, Latents, Oracle, Predictor, SampleSettings, Sampler, Solver, Spot, StepRecord,
    Temperature, seeded_noise,
};
use purrscope::model::{Model, Objective};
use purrscope::rng::Stream;

use crate::common::worst;

const CODES: usize = 6;
const SIZE: usize = 2;

fn prior() -> Vec<f64> {
    (1..=CODES).map(|k| k as f64).collect()
}

fn oracle(side: usize) -> Oracle {
    let codebook = Stream::new(3, 0).normals(CODES * SIZE);
    Oracle::new(codebook, SIZE, &prior(), side).unwrap()
}

fn settings(solver: Solver, steps: usize) -> SampleSettings {
    SampleSettings {
        labels: vec![0],
        seed: 1,
        solver,
        steps,
        temperature: Temperature::Constant(1.0),
        guidance: 1.0,
        ..SampleSettings::default()
    }
}

/// The state of a run at `t = 1/2`, after half of its intervals.
fn halfway(oracle: &Oracle, solver: Solver, steps: usize, noise: &Latents) -> Vec<f32> {
    let run = Sampler::new(oracle, settings(solver, 2 * steps), Some(noise.clone())).unwrap();
    run.take(steps).last().unwrap().x_next.values
}

/// Orders of convergence, measured at `t = 1/2` by halving the interval. At `t = 1` every flow of the
/// oracle ends on a code, whatever the solver, so that there is no order to measure there.
#[test]
fn solvers_converge_at_their_order() {
    let oracle = oracle(8);
    let noise = seeded_noise(5, oracle.latent_shape(1));
    let exact = halfway(&oracle, Solver::Rk4, 400, &noise);
    for (solver, order, steps) in [
        (Solver::Euler, 1.0, 32),
        (Solver::Midpoint, 2.0, 16),
        (Solver::Heun, 2.0, 16),
        (Solver::Rk4, 4.0, 4),
        (Solver::Exp2m, 2.0, 32),
    ] {
        let error = |steps| f64::from(worst(&halfway(&oracle, solver, steps, &noise), &exact));
        let (coarse, fine) = (error(steps), error(2 * steps));
        let measured = (coarse / fine).log2();
        println!(
            "{solver}: error {coarse:.2e} with {steps}, {fine:.2e} with {}, order {measured:.2}",
            2 * steps
        );
        assert!((measured - order).abs() < 0.35, "{solver} converges at order {measured:.2}");
    }
}

#[test]
fn the_adaptive_solver_keeps_its_tolerance() {
    let oracle = oracle(8);
    let noise = seeded_noise(5, oracle.latent_shape(1));
    let exact = halfway(&oracle, Solver::Rk4, 400, &noise);
    let run = |tolerance: f32| {
        let settings =
            SampleSettings { atol: tolerance, rtol: tolerance, ..settings(Solver::Dopri5, 2) };
        let step = Sampler::new(&oracle, settings, Some(noise.clone())).unwrap().next().unwrap();
        (worst(&step.x_next.values, &exact), step)
    };
    let (loose, loose_step) = run(1e-2);
    let (tight, tight_step) = run(1e-5);
    assert!(loose < 3e-2 && tight < 1e-4, "errors {loose:e} and {tight:e}");
    assert!(tight_step.accepted > loose_step.accepted, "a tighter tolerance takes more steps");
    let tried = tight_step.accepted + tight_step.rejected;
    assert_eq!(tight_step.evaluations, 1 + 6 * tried);
}

#[test]
fn evaluations_are_counted_as_announced() {
    let oracle = oracle(2);
    for solver in Solver::ALL {
        let settings = settings(solver, 7);
        let made = Sampler::new(&oracle, settings.clone(), None).unwrap().last().unwrap();
        if let Some(announced) = settings.evaluations(Objective::Purrception) {
            assert_eq!(made.evaluations, announced, "{solver}");
        }
        assert!(made.x_next.values.iter().all(|value| value.is_finite()), "{solver}");
    }
}

/// Outside its interval guidance costs nothing, whatever the solver asks between the grid points.
#[test]
fn guidance_is_counted_where_there_is_any() {
    let oracle = oracle(2);
    for solver in Solver::ALL {
        let settings = SampleSettings {
            guidance: 2.0,
            guidance_interval: "0.25:0.7".parse().unwrap(),
            ..settings(solver, 7)
        };
        let made = Sampler::new(&oracle, settings.clone(), None).unwrap().last().unwrap();
        if let Some(announced) = settings.evaluations(Objective::Purrception) {
            assert_eq!(made.evaluations, announced, "{solver}");
            let asked = |guidance| {
                let settings = SampleSettings {
                    guidance,
                    guidance_interval: Default::default(),
                    ..settings.clone()
                };
                settings.evaluations(Objective::Purrception).unwrap()
            };
            assert!((asked(1.0)..asked(2.0)).contains(&announced) && announced > asked(1.0));
        }
    }
}

/// The network itself: outside the interval its steps are those without guidance, inside those with it.
#[test]
fn guidance_has_an_interval() {
    let model = Model::embedded(&Device::flex()).unwrap();
    let run = |guidance: f32, interval: &str| {
        let settings = SampleSettings {
            labels: vec![4],
            steps: 2,
            guidance,
            guidance_interval: interval.parse().unwrap(),
            ..SampleSettings::default()
        };
        let steps: Vec<_> = Sampler::new(&model, settings, None).unwrap().collect();
        (steps[0].x_next.clone(), steps[1].x_next.clone(), steps[1].evaluations)
    };
    assert_eq!(run(3.0, "0.6:1"), run(1.0, "0:1"));
    let (first, _, evaluations) = run(3.0, "0:0.4");
    let (guided, ..) = run(3.0, "0:1");
    assert_eq!((first, evaluations), (guided.clone(), 3));
    assert_ne!(guided, run(1.0, "0:1").0);
}

/// Share of each code among the samples of a run.
fn frequencies(settings: SampleSettings) -> Vec<f64> {
    let oracle = oracle(128);
    let mut run = Sampler::new(&oracle, settings, None).unwrap();
    run.by_ref().for_each(drop);
    let codes = run.codes();
    let share = |k: usize| codes.iter().filter(|code| **code as usize == k).count() as f64;
    (0..CODES).map(|k| share(k) / codes.len() as f64).collect()
}

/// At temperature 1 the flow gives back the prior, with any solver and any stochasticity.
#[test]
fn code_frequencies_are_the_prior() {
    let total: f64 = prior().iter().sum();
    let with_eta = |eta| SampleSettings { eta, ..settings(Solver::Euler, 160) };
    let runs = [
        ("euler", settings(Solver::Euler, 160)),
        ("midpoint", settings(Solver::Midpoint, 60)),
        ("heun", settings(Solver::Heun, 60)),
        ("rk4", settings(Solver::Rk4, 30)),
        ("dopri5", settings(Solver::Dopri5, 20)),
        ("exp2m", settings(Solver::Exp2m, 60)),
        ("eta 0.5", with_eta(0.5)),
        ("eta 1", with_eta(1.0)),
    ];
    for (name, settings) in runs {
        for (k, (found, prior)) in frequencies(settings).into_iter().zip(prior()).enumerate() {
            let expected = prior / total;
            // Four deviations of the share among 128 x 128 draws, and the bias of finite steps.
            let allowed = 4.0 * (expected * (1.0 - expected) / 16384.0).sqrt() + 0.006;
            assert!(
                (found - expected).abs() < allowed,
                "{name}: code {k} came up {found:.4} of the time, not {expected:.4}"
            );
        }
    }
}

#[test]
fn no_stochasticity_is_the_flow_itself() {
    let oracle = oracle(4);
    let end = |eta| {
        let settings = SampleSettings { eta, ..settings(Solver::Euler, 12) };
        Sampler::new(&oracle, settings, None).unwrap().last().unwrap().x_next.values
    };
    assert!(worst(&end(1e-6), &end(0.0)) < 1e-3);
    assert!(worst(&end(0.9), &end(0.0)) > 1e-2);
}

/// More accurate for fewer evaluations: the reason for the multistep solver.
#[test]
fn exp2m_at_ten_evaluations_beats_euler_at_twenty() {
    let oracle = oracle(16);
    let noise = seeded_noise(9, oracle.latent_shape(1));
    let exact = halfway(&oracle, Solver::Rk4, 400, &noise);
    let error = |solver, steps| {
        let found = halfway(&oracle, solver, steps, &noise);
        found.iter().zip(&exact).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt()
    };
    let (multistep, euler) = (error(Solver::Exp2m, 10), error(Solver::Euler, 20));
    println!("exp2m at 10: {multistep:.3e}, euler at 20: {euler:.3e}");
    assert!(multistep < euler);
}

/// Masked codes: at any time a share of `1 - t` is masked whatever the rate of masking again, and in
/// the end the codes have their prior.
#[test]
fn masked_steps_keep_their_marginals() {
    let oracle = oracle(128).masked();
    let masked = CODES as u32;
    let total: f64 = prior().iter().sum();
    for eta in [0.0, 1.0, 5.0] {
        let settings = SampleSettings { eta, ..settings(Solver::Euler, 200) };
        let mut run = Sampler::new(&oracle, settings, None).unwrap();
        let mut hidden_again = 0;
        for step in run.by_ref() {
            let codes = step.codes.unwrap();
            let share = codes.after.iter().filter(|code| **code == masked).count() as f64;
            let found = share / codes.after.len() as f64;
            let expected = 1.0 - f64::from(step.t_next);
            assert!((found - expected).abs() < 0.03, "eta {eta}: {found:.3} at {}", step.t_next);
            let pairs = codes.before.iter().zip(&codes.after);
            hidden_again += pairs.filter(|(b, a)| **b != masked && **a == masked).count();
        }
        assert_eq!(hidden_again > 0, eta > 0.0, "{hidden_again} masked again at eta {eta}");
        let codes = run.codes();
        assert!(codes.iter().all(|code| *code < masked), "eta {eta}: a token is left masked");
        for (k, prior) in prior().into_iter().enumerate() {
            let found = codes.iter().filter(|code| **code as usize == k).count() as f64;
            let (found, expected) = (found / codes.len() as f64, prior / total);
            let allowed = 4.5 * (expected * (1.0 - expected) / codes.len() as f64).sqrt();
            assert!((found - expected).abs() < allowed, "eta {eta}, code {k}: {found} {expected}");
        }
    }
}

fn spot(row: usize, column: usize, code: u32) -> Spot {
    Spot { image: 0, row, column, code }
}

/// The numbers of one token.
fn token(x: &Latents, row: usize, column: usize) -> Vec<f32> {
    let tokens = x.shape.tokens();
    (0..x.shape.channels)
        .map(|channel| x.values[channel * tokens + row * x.shape.width + column])
        .collect()
}

#[test]
fn pins_hold_through_every_step_and_banned_codes_never_come() {
    let oracle = oracle(12);
    let dfm = oracle.clone().masked();
    let check = |run: &mut Sampler<Oracle>, name: &str| {
        let row = token(&oracle.look_up(&[2; 144], 1), 3, 4);
        let begin = token(&run.state().x, 3, 4);
        for StepRecord { t_next, x_next, prediction, posterior, codes, .. } in run.by_ref() {
            let posterior = posterior.unwrap();
            assert_eq!(posterior.top_of(0, 3, 4)[0], (2, 1.0), "{name}");
            assert_eq!(posterior.entropy[3 * 12 + 4], 0.0, "{name}");
            assert_eq!(token(&prediction, 3, 4), row, "{name}");
            match codes {
                Some(codes) => assert_eq!(codes.before[3 * 12 + 4], 2, "{name}"),
                // The straight line from the noise to the code, but for stochastic steps.
                None if !name.contains("eta") => {
                    for ((found, from), to) in token(&x_next, 3, 4).iter().zip(&begin).zip(&row) {
                        let expected = from + (to - from) * t_next;
                        assert!((found - expected).abs() < 1e-5, "{name} at {t_next}");
                    }
                }
                None => {}
            }
            assert!(
                posterior
                    .top_codes
                    .iter()
                    .zip(&posterior.top_probs)
                    .all(|(c, p)| *c != 5 || *p == 0.0)
            );
            assert!(!posterior.top_of(0, 0, 0).contains(&(4, 1.0)), "{name}");
        }
        let codes = run.codes();
        assert_eq!(codes[3 * 12 + 4], 2, "{name}");
        assert!(!codes.contains(&5), "{name}: a banned code came up");
        assert_ne!(codes[0], 4, "{name}: a banned code came up");
    };
    let held = |base: SampleSettings| SampleSettings {
        pins: vec![spot(3, 4, 2)],
        bans: vec![spot(0, 0, 4), spot(0, 0, 3)],
        banned_codes: vec![5],
        ..base
    };
    for solver in Solver::ALL {
        let settings = held(settings(solver, 9));
        check(&mut Sampler::new(&oracle, settings, None).unwrap(), &solver.to_string());
    }
    for eta in [0.0, 0.7] {
        let settings = held(SampleSettings { eta, ..settings(Solver::Euler, 9) });
        check(&mut Sampler::new(&oracle, settings.clone(), None).unwrap(), &format!("eta {eta}"));
        check(&mut Sampler::new(&dfm, settings, None).unwrap(), &format!("dfm, eta {eta}"));
    }
    let everything = (0..CODES as u32).map(|code| spot(1, 1, code)).collect();
    let all = SampleSettings { bans: everything, ..settings(Solver::Euler, 2) };
    let error = Sampler::new(&oracle, all, None).unwrap_err().to_string();
    assert_eq!(error, "every code is banned at image 0, row 1, column 1");
}

#[test]
fn entropy_targets_are_met() {
    let oracle = oracle(16);
    let temperature = "entropy:1.2:0.3".parse().unwrap();
    let settings = SampleSettings { temperature, ..settings(Solver::Euler, 8) };
    for step in Sampler::new(&oracle, settings, None).unwrap() {
        let entropy = step.entropy();
        let mean = entropy.iter().sum::<f32>() / entropy.len() as f32;
        let target = 1.2 - 0.9 * step.t;
        assert!((mean - target).abs() < 0.01, "{mean} nats at {}, not {target}", step.t);
        assert!(step.temperature > 0.0);
    }
}

/// A run that goes on with the same settings ends where the first one does, and one that takes over
/// a kept state ends where one does that takes the steps again.
#[test]
fn branches_go_on_from_where_they_leave() {
    let oracle = oracle(6);
    let parent = settings(Solver::Euler, 10);
    let end = Sampler::new(&oracle, parent.clone(), None).unwrap().last().unwrap().x_next;
    let branch = |step| Some(Box::new(Branch { step, parent: parent.clone() }));
    let same = SampleSettings { branch: branch(4), ..parent.clone() };
    let mut run = Sampler::new(&oracle, same, None).unwrap();
    assert_eq!(run.times().len(), 7);
    assert_eq!(run.by_ref().last().unwrap().x_next, end);

    let warmer = SampleSettings {
        branch: branch(4),
        temperature: Temperature::Constant(3.0),
        eta: 0.5,
        ..parent.clone()
    };
    let again = Sampler::new(&oracle, warmer.clone(), None).unwrap().last().unwrap().x_next;
    let mut kept = Sampler::new(&oracle, parent.clone(), None).unwrap();
    kept.by_ref().take(4).for_each(drop);
    let state = kept.state().clone();
    let taken = Sampler::from_state(&oracle, warmer, state).unwrap().last().unwrap().x_next;
    assert_eq!(again, taken);
    assert_ne!(again, end);
    let late = SampleSettings { branch: branch(10), ..parent };
    assert!(Sampler::new(&oracle, late, None).is_err());
}
