//! How a state is carried over one interval of time.
//!
//! The flow of an endpoint is `dx/dt = v(x, t) = (mu(x, t) - x) / (1 - t)`, stiff near `t = 1`. In `s = -log(1-t)`
//! it is `dx/ds = mu - x`, linear in `x` but for `mu`, so that exponential integrators take that
//! part exactly and need no velocity at `t = 1`.

use super::settings::Solver;
use crate::latents::Latents;

/// Tolerances of the adaptive solver.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerances {
    /// Error allowed whatever the size of the state.
    pub absolute: f32,
    /// Error allowed for each unit of the state.
    pub relative: f32,
}

/// What a solver remembers between intervals.
#[derive(Debug, Default)]
pub struct Memory {
    /// Time and prediction of the interval before, for the multistep solver.
    before: Option<(f64, Latents)>,
    /// Length that the adaptive solver will try next.
    stride: Option<f64>,
}

/// The interval to cross.
#[derive(Debug, Clone, Copy)]
pub struct Interval {
    /// Where it begins, below 1.
    pub t: f64,
    /// Where it ends, at most 1.
    pub t_next: f64,
}

/// Where a crossing led.
#[derive(Debug)]
pub struct Crossing {
    /// State at the end of the interval.
    pub x: Latents,
    /// Inner steps that were taken.
    pub accepted: usize,
    /// Inner steps that were tried and taken back.
    pub rejected: usize,
}

impl Crossing {
    /// A crossing in one step.
    pub fn whole(x: Latents) -> Self {
        Self { x, accepted: 1, rejected: 0 }
    }
}

/// What the output of a network means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// The end of the path; the velocity `(out - x) / (1 - t)` has no value at `t = 1`.
    Endpoint,
    /// The velocity itself.
    Velocity,
}

impl Field {
    /// Velocity at `x` and `t`.
    pub fn velocity(self, x: &Latents, output: &Latents, t: f64) -> Latents {
        match self {
            Self::Endpoint => {
                let rate = 1.0 / (1.0 - t);
                combine([(rate, output), (-rate, x)])
            }
            Self::Velocity => output.clone(),
        }
    }

    /// Where the path from `x` at `t` is expected to end.
    pub fn endpoint(self, x: &Latents, output: &Latents, t: f64) -> Latents {
        match self {
            Self::Endpoint => output.clone(),
            Self::Velocity => combine([(1.0, x), (1.0 - t, output)]),
        }
    }
}

/// The network as a solver sees it.
pub struct Flow<'a> {
    /// What its output means.
    pub field: Field,
    /// Its output at a state and a time.
    pub predict: &'a mut dyn FnMut(&Latents, f64) -> Latents,
}

impl Flow<'_> {
    fn velocity(&mut self, x: &Latents, t: f64) -> Latents {
        let output = (self.predict)(x, t);
        self.field.velocity(x, &output, t)
    }
}

/// Crosses an interval from `x`, where the network's output is `output`.
pub fn cross(
    solver: Solver,
    memory: &mut Memory,
    x: &Latents,
    output: &Latents,
    interval: Interval,
    tolerances: Tolerances,
    flow: &mut Flow,
) -> Crossing {
    let Interval { t, t_next } = interval;
    // Methods that would ask for a velocity at 1 where there is none: their last interval is closed
    // by the exact step.
    let closed = flow.field == Field::Endpoint && t_next >= 1.0;
    let slope = || flow.field.velocity(x, output, t);
    let mu = flow.field.endpoint(x, output, t);
    let crossing = match solver {
        Solver::Midpoint => Crossing::whole(midpoint(x, slope(), interval, flow)),
        Solver::Heun if !closed => Crossing::whole(heun(x, slope(), interval, flow)),
        Solver::Rk4 if !closed => Crossing::whole(rk4(x, slope(), interval, flow)),
        Solver::Dopri5 if !closed => dopri5(memory, x, slope(), interval, tolerances, flow),
        Solver::Exp2m => Crossing::whole(exp2m(memory.before.as_ref(), x, &mu, interval)),
        Solver::Euler | Solver::Heun | Solver::Rk4 | Solver::Dopri5 => {
            Crossing::whole(exponential_euler(x, &mu, t, t_next))
        }
    };
    if solver == Solver::Exp2m {
        memory.before = Some((t, mu));
    }
    crossing
}

/// `sum_i c_i y_i`, number by number.
fn combine<const N: usize>(parts: [(f64, &Latents); N]) -> Latents {
    let shape = parts[0].1.shape;
    let values = (0..shape.len())
        .map(|i| parts.iter().map(|(c, part)| c * f64::from(part.values[i])).sum::<f64>() as f32)
        .collect();
    Latents { shape, values }
}

/// `x' = mu + (1-t')/(1-t) (x - mu)`, exact for a constant `mu`; at `t' = 1` it is `mu` itself.
pub fn exponential_euler(x: &Latents, mu: &Latents, t: f64, t_next: f64) -> Latents {
    let kept = (1.0 - t_next) / (1.0 - t);
    combine([(kept, x), (1.0 - kept, mu)])
}

/// Stochastic step with the marginals of the flow, in the closed form of DDIM: with `sigma = 1 - t`
/// and `beta = eta sigma' sqrt(1 - (t sigma')^2 / (t' sigma)^2)`,
/// `x' = t' mu + sqrt(sigma'^2 - beta^2) (x - t mu) / sigma + beta noise`. At `eta = 0` it is
/// [`exponential_euler`], at `eta = 1` ancestral sampling.
pub fn stochastic(
    x: &Latents,
    mu: &Latents,
    interval: Interval,
    eta: f64,
    noise: &Latents,
) -> Latents {
    let Interval { t, t_next } = interval;
    let (sigma, sigma_next) = (1.0 - t, 1.0 - t_next);
    let ratio = (t * sigma_next) / (t_next * sigma);
    let beta = eta * sigma_next * (1.0 - ratio * ratio).max(0.0).sqrt();
    let kept = (sigma_next * sigma_next - beta * beta).max(0.0).sqrt() / sigma;
    combine([(kept, x), (t_next - kept * t, mu), (beta, noise)])
}

fn midpoint(x: &Latents, k1: Latents, interval: Interval, flow: &mut Flow) -> Latents {
    let Interval { t, t_next } = interval;
    let (h, middle) = (t_next - t, (t + t_next) / 2.0);
    let half = combine([(1.0, x), (h / 2.0, &k1)]);
    combine([(1.0, x), (h, &flow.velocity(&half, middle))])
}

fn heun(x: &Latents, k1: Latents, interval: Interval, flow: &mut Flow) -> Latents {
    let h = interval.t_next - interval.t;
    let end = combine([(1.0, x), (h, &k1)]);
    let k2 = flow.velocity(&end, interval.t_next);
    combine([(1.0, x), (h / 2.0, &k1), (h / 2.0, &k2)])
}

fn rk4(x: &Latents, k1: Latents, interval: Interval, flow: &mut Flow) -> Latents {
    let Interval { t, t_next } = interval;
    let (h, middle) = (t_next - t, (t + t_next) / 2.0);
    let k2 = flow.velocity(&combine([(1.0, x), (h / 2.0, &k1)]), middle);
    let k3 = flow.velocity(&combine([(1.0, x), (h / 2.0, &k2)]), middle);
    let k4 = flow.velocity(&combine([(1.0, x), (h, &k3)]), t_next);
    combine([(1.0, x), (h / 6.0, &k1), (h / 3.0, &k2), (h / 3.0, &k3), (h / 6.0, &k4)])
}

/// DPM-Solver++(2M) (Lu et al. 2022) for the prediction of the data, with `alpha = t`,
/// `sigma = 1 - t` and `lambda = log(t / (1-t))`. The first two intervals, where `lambda` starts from
/// minus infinity, and the last, where it ends at infinity, are of first order.
fn exp2m(
    before: Option<&(f64, Latents)>,
    x: &Latents,
    mu: &Latents,
    Interval { t, t_next }: Interval,
) -> Latents {
    let lambda = |t: f64| (t / (1.0 - t)).ln();
    match before {
        Some((t_before, mu_before)) if *t_before > 0.0 && t_next < 1.0 => {
            let ratio = (lambda(t) - lambda(*t_before)) / (lambda(t_next) - lambda(t));
            let ahead = 1.0 / (2.0 * ratio);
            let extrapolated = combine([(1.0 + ahead, mu), (-ahead, mu_before)]);
            exponential_euler(x, &extrapolated, t, t_next)
        }
        _ => exponential_euler(x, mu, t, t_next),
    }
}

/// Nodes, coefficients and error weights of the fifth-order method of Dormand and Prince (1980).
mod tableau {
    pub const NODES: [f64; 6] = [1.0 / 5.0, 3.0 / 10.0, 4.0 / 5.0, 8.0 / 9.0, 1.0, 1.0];
    pub const STAGES: [[f64; 6]; 6] = [
        [1.0 / 5.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        [3.0 / 40.0, 9.0 / 40.0, 0.0, 0.0, 0.0, 0.0],
        [44.0 / 45.0, -56.0 / 15.0, 32.0 / 9.0, 0.0, 0.0, 0.0],
        [19372.0 / 6561.0, -25360.0 / 2187.0, 64448.0 / 6561.0, -212.0 / 729.0, 0.0, 0.0],
        [9017.0 / 3168.0, -355.0 / 33.0, 46732.0 / 5247.0, 49.0 / 176.0, -5103.0 / 18656.0, 0.0],
        [35.0 / 384.0, 0.0, 500.0 / 1113.0, 125.0 / 192.0, -2187.0 / 6784.0, 11.0 / 84.0],
    ];
    pub const ERROR: [f64; 7] = [
        71.0 / 57600.0,
        0.0,
        -71.0 / 16695.0,
        71.0 / 1920.0,
        -17253.0 / 339200.0,
        22.0 / 525.0,
        -1.0 / 40.0,
    ];
}

/// Adaptive steps of Dormand and Prince from the beginning of the interval to its end.
fn dopri5(
    memory: &mut Memory,
    x: &Latents,
    mut first: Latents,
    Interval { t, t_next }: Interval,
    tolerances: Tolerances,
    flow: &mut Flow,
) -> Crossing {
    /// A step shorter than this is taken whatever its error: rounding would decide.
    const SHORTEST: f64 = 1e-5;
    let mut here = t;
    let mut crossing = Crossing { x: x.clone(), accepted: 0, rejected: 0 };
    while here < t_next {
        let wanted = memory.stride.unwrap_or(t_next - t);
        // What is left after a step is never a sliver.
        let h = if wanted >= (t_next - here) * 0.999 { t_next - here } else { wanted };
        let mut slopes = vec![first.clone()];
        let mut end = crossing.x.clone();
        for (node, row) in tableau::NODES.iter().zip(&tableau::STAGES) {
            end = advance(&crossing.x, &slopes, row, h);
            let at = here + node * h;
            slopes.push(flow.velocity(&end, at));
        }
        let error = error_norm(&crossing.x, &end, &slopes, h, tolerances);
        let factor = (0.9 * error.max(1e-10).powf(-0.2)).clamp(0.2, 5.0);
        if error <= 1.0 || h <= SHORTEST {
            here = if h == t_next - here { t_next } else { here + h };
            crossing.x = end;
            crossing.accepted += 1;
            if let Some(slope) = slopes.pop() {
                first = slope;
            }
        } else {
            crossing.rejected += 1;
        }
        memory.stride = Some((h * factor).max(SHORTEST));
    }
    crossing
}

fn advance(x: &Latents, slopes: &[Latents], row: &[f64], h: f64) -> Latents {
    let values = (0..x.values.len())
        .map(|i| {
            let slope: f64 = slopes.iter().zip(row).map(|(k, a)| a * f64::from(k.values[i])).sum();
            (f64::from(x.values[i]) + h * slope) as f32
        })
        .collect();
    Latents { shape: x.shape, values }
}

/// Root mean square of the error, each number in units of its tolerance.
fn error_norm(x: &Latents, end: &Latents, slopes: &[Latents], h: f64, allowed: Tolerances) -> f64 {
    let count = x.values.len().max(1) as f64;
    let squares: f64 = (0..x.values.len())
        .map(|i| {
            let error: f64 = h * slopes
                .iter()
                .zip(&tableau::ERROR)
                .map(|(k, e)| e * f64::from(k.values[i]))
                .sum::<f64>();
            let size = f64::from(x.values[i].abs().max(end.values[i].abs()));
            let unit = f64::from(allowed.absolute) + f64::from(allowed.relative) * size;
            (error / unit).powi(2)
        })
        .sum();
    (squares / count).sqrt()
}
