//! What a run did in every step, as CSV.

use std::fmt::Write as _;

use crate::studio::session::run::Run;

/// Names of the columns.
pub const HEADER: &str =
    "step,t,t_next,temperature,evaluations,mean_entropy,change_rate,milliseconds";

/// One line a step, beneath [`HEADER`]. A model without a posterior leaves the entropy empty.
pub fn csv(run: &Run) -> String {
    let mut text = format!("{HEADER}\n");
    for (step, frame) in run.frames.iter().enumerate() {
        let entropy = match frame.entropy.is_empty() {
            true => String::new(),
            false => frame.mean_entropy.to_string(),
        };
        // Writing to a text cannot fail.
        let _ = writeln!(
            text,
            "{step},{},{},{},{},{entropy},{},{:.3}",
            frame.t,
            run.time(step + 1),
            frame.temperature,
            frame.evaluations,
            frame.change_rate,
            frame.wall.as_secs_f64() * 1e3,
        );
    }
    text
}
