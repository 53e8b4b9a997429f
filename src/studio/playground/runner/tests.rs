//! Flows in the plane against what is known of them.

use super::*;
use crate::flow::codebooks::Layout;
use crate::studio::playground::plane::Prior;
use crate::studio::testing::fake::PATIENCE;

pub fn question(particles: usize, steps: usize) -> Question {
    Question {
        plane: Plane::new(Layout::Ring, 8, Prior::Uniform, 0),
        settings: SampleSettings {
            labels: vec![0; particles],
            steps,
            temperature: Temperature::Constant(1.0),
            guidance: 1.0,
            ..SampleSettings::default()
        },
    }
}

fn wait(runner: &Runner) -> Answer {
    runner.answers.recv_timeout(PATIENCE).unwrap()
}

fn flow_of(runner: &Runner) -> Arc<Flow> {
    loop {
        if let Answer::Flow(flow) = wait(runner) {
            return flow;
        }
    }
}

#[test]
fn a_flow_ends_on_codes_and_keeps_the_prior() {
    let runner = Runner::spawn(|| {}).unwrap();
    runner.ask_flow(question(900, 24));
    let flow = flow_of(&runner);
    assert_eq!((flow.moments.len(), flow.evaluations), (24, 24));
    for (at, code) in flow.end.iter().zip(&flow.codes) {
        let code = flow.question.plane.codes[*code as usize];
        assert!((at[0] - code[0]).hypot(at[1] - code[1]) < 0.05, "{at:?} is not on {code:?}");
    }
    let Frequencies { variation, by_chance, .. } = flow.frequencies;
    assert!(variation < 3.0 * by_chance, "{variation} against {by_chance}");
}

#[test]
fn places_between_grid_points_lie_between_them() {
    let runner = Runner::spawn(|| {}).unwrap();
    runner.ask_flow(question(5, 4));
    let flow = flow_of(&runner);
    assert_eq!(flow.interval(0.0), (0, 0.0));
    assert_eq!(flow.interval(0.375), (1, 0.5));
    assert_eq!(flow.interval(1.0), (3, 1.0));
    assert_eq!(flow.place(2, 0.25), Some(flow.moments[1].x[2]));
    let (from, to) = (flow.moments[1].x[2], flow.moments[2].x[2]);
    assert_eq!(flow.place(2, 0.375), Some(between(from, to, 0.5)));
    let end = flow.place(2, 1.0).unwrap();
    assert!((end[0] - flow.end[2][0]).abs() < 1e-6);
    assert_eq!(flow.place(5, 0.5), None);
}

#[test]
fn finer_solvers_come_closer_to_the_exact_flow() {
    let runner = Runner::spawn(|| {}).unwrap();
    let error = |solver: Solver, steps: usize| {
        let mut asked = question(64, steps);
        asked.settings.solver = solver;
        runner.ask_flow(asked.clone());
        let flow = flow_of(&runner);
        runner.ask_exact(asked.clone());
        let exact = loop {
            if let Answer::Exact(exact) = wait(&runner) {
                break exact;
            }
        };
        assert_eq!(exact.question, asked.exact());
        assert_eq!(exact.states.len(), steps + 1);
        assert_eq!(exact.error(&flow, 0), Some(0.0));
        exact.error(&flow, steps / 2).unwrap()
    };
    let (coarse, fine) = (error(Solver::Euler, 8), error(Solver::Euler, 32));
    let second = error(Solver::Exp2m, 32);
    assert!(fine < coarse / 2.0 && second < fine / 2.0, "{coarse}, {fine}, {second}");
}

#[test]
fn a_newer_question_takes_the_place_of_older_ones() {
    let runner = Runner::spawn(|| {}).unwrap();
    // Long enough to be broken off.
    runner.ask_flow(question(2000, 5000));
    for steps in 1..=20 {
        runner.ask_flow(question(50, steps));
    }
    let mut answered = Vec::new();
    while answered.last() != Some(&20) {
        answered.push(flow_of(&runner).question.settings.steps);
    }
    assert!(!answered.contains(&5000), "{answered:?}");
}

#[test]
fn a_field_and_a_flow_are_answered_during_the_exact_one() {
    let runner = Runner::spawn(|| {}).unwrap();
    runner.ask_exact(question(400, 3000));
    let plane = question(1, 1).plane;
    let probe = Some(plane.codes[3].map(|at| at * 0.9));
    let points = vec![[0.0, 0.0]; 3];
    runner.ask_field(FieldQuestion { plane, t: 0.9, temperature: 1.0, points, probe });
    runner.ask_flow(question(10, 3));
    let (mut field, mut flow) = (None, None);
    while field.is_none() || flow.is_none() {
        match wait(&runner) {
            Answer::Field(answer) => field = Some(answer),
            Answer::Flow(answer) => flow = Some(answer),
            Answer::Exact(_) => panic!("the long one came first"),
            _ => {}
        }
    }
    let field = field.unwrap();
    assert_eq!(field.mu.len(), 3);
    let belief = field.belief.as_ref().unwrap();
    assert_eq!(belief.top[0].0, 3);
    assert!(belief.top[0].1 > 0.99 && belief.entropy < 0.05, "{belief:?}");
}

#[test]
fn settings_out_of_range_are_refused_in_words() {
    let runner = Runner::spawn(|| {}).unwrap();
    let mut asked = question(4, 4);
    asked.settings.steps = 0;
    runner.ask_flow(asked);
    let Answer::Refused(text) = wait(&runner) else { panic!("it was accepted") };
    assert!(text.contains("steps"), "{text}");
}
