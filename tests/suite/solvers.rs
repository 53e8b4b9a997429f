//! Solvers on the exact posterior, where the true flow is known to any accuracy.

use purrscope::flow::{
    Latents, Oracle, Predictor, SampleSettings, Sampler, Solver, Temperature, seeded_noise,
};
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
        let made = Sampler::new(&oracle, settings(solver, 7), None).unwrap().last().unwrap();
        if let Some(announced) = solver.evaluations(7) {
            assert_eq!(made.evaluations, announced, "{solver}");
        }
        assert!(made.x_next.values.iter().all(|value| value.is_finite()), "{solver}");
    }
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
