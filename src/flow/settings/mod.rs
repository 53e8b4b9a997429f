//! What a run of the sampler is asked to do, in the spellings of the command line.
//!
//! [`SETTINGS`] lists the settings that say how pictures are made, with all that the program says of each
//! of them anywhere: command line, window, files, sweeps and the gallery are made from it.

mod bounds;
mod domain;
mod error;
mod kinds;
mod lists;
mod spot;
mod table;
mod temperature;

use std::ops::Range;

pub use self::domain::Domain;
pub use self::error::SettingsError;
pub use self::kinds::*;
pub use self::spot::Spot;
pub use self::table::*;
pub use self::temperature::{Temperature, Warmth};
use crate::model::Objective;

impl SampleSettings {
    /// Grid points of the run, rising from the first to exactly 1: all of its grid or, where it goes
    /// on from another run, what of its grid lies after the time at which it leaves that one.
    pub fn times(&self) -> Vec<f32> {
        let mut times = Vec::new();
        for settings in self.lineage().iter().rev() {
            let step = settings.branch.as_ref().map(|branch| branch.step);
            let start = step.map(|step| times.get(step).copied().unwrap_or(0.0));
            times = settings.times_from(start);
        }
        times
    }

    /// Grid points of the run, where it goes on from another run at time `start`, or from none.
    pub(super) fn times_from(&self, start: Option<f32>) -> Vec<f32> {
        let mut points = self.grid.points(self.steps);
        if let Some(start) = start {
            /// An interval shorter than this would be a step for nothing.
            const SLIVER: f32 = 1e-4;
            points.retain(|t| *t > start + SLIVER || *t >= 1.0);
            points.insert(0, start);
        }
        // Grids of many intervals have points that single precision cannot tell apart.
        points.dedup();
        points
    }

    /// Network evaluations of the run, guidance counting twice; unknown beforehand for the adaptive
    /// solver.
    pub fn evaluations(&self, objective: Objective) -> Option<usize> {
        let asked = self.solver.evaluation_times(&self.times(), objective)?;
        Some(asked.into_iter().map(|t| self.evaluations_at(t)).sum())
    }

    /// How many runs this one goes on from.
    pub fn generation(&self) -> usize {
        self.lineage().len() - 1
    }

    /// Why the pictures of the run have to be computed at once, if they do: what happens to one of
    /// them depends on the others.
    pub fn ties(&self) -> Option<&'static str> {
        self.lineage().into_iter().find_map(|settings| {
            match (settings.solver, &settings.temperature) {
                (Solver::Dopri5, _) => Some("the solver dopri5 chooses its steps for all of them"),
                (_, Temperature::Entropy { .. }) => {
                    Some("an entropy target is a mean over all of them")
                }
                _ => None,
            }
        })
    }

    /// The settings of some of the images of a run, counted from the first of them.
    pub fn part(&self, images: Range<usize>) -> Self {
        let spots = |spots: &[Spot]| {
            let inside = spots.iter().filter(|spot| images.contains(&spot.image));
            inside.map(|spot| Spot { image: spot.image - images.start, ..*spot }).collect()
        };
        Self {
            labels: self.labels.get(images.clone()).unwrap_or_default().to_vec(),
            pins: spots(&self.pins),
            bans: spots(&self.bans),
            banned_codes: self.banned_codes.clone(),
            temperature: self.temperature.clone(),
            branch: self.branch.as_ref().map(|branch| {
                let parent = branch.parent.part(images.clone());
                Box::new(Branch { step: branch.step, parent })
            }),
            ..*self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_round_trip() {
        for text in [
            "0.9",
            "linear:1.2:0.6",
            "cosine:1.2:0.6",
            "points:0=1.2,0.5=0.9,1=0.7",
            "entropy:3:0.2",
        ] {
            assert_eq!(text.parse::<Temperature>().unwrap().to_string(), text);
        }
        assert_eq!("0,7,9=812".parse::<Spot>().unwrap().to_string(), "0,7,9=812");
        for text in ["uniform", "cosine", "shifted:3"] {
            assert_eq!(text.parse::<Grid>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn grids_run_from_exactly_zero_to_exactly_one() {
        for grid in [Grid::Uniform, Grid::Cosine, Grid::Shifted(3.0)] {
            let points = grid.points(7);
            assert_eq!((points[0], points[7], points.len()), (0.0, 1.0, 8));
            assert!(points.windows(2).all(|pair| pair[0] < pair[1]), "{grid}");
        }
    }
}
