//! A codebook in the plane that can be edited.

use crate::flow::Oracle;
use crate::flow::codebooks::{Layout, zipf};

/// A place in the plane.
pub type Point = [f32; 2];

/// How probable codes are at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Prior {
    /// All alike.
    #[default]
    Uniform,
    /// As one over their rank.
    Skewed,
}

/// Codes of two numbers each, and how probable they are.
#[derive(Debug, Clone, PartialEq)]
pub struct Plane {
    /// Where the codes lie.
    pub codes: Vec<Point>,
    /// Weight of each code, above 0; their sum is whatever it is.
    pub weights: Vec<f64>,
}

impl Plane {
    /// Most codes.
    pub const MOST: usize = 64;
    /// Largest coordinate of a code, in standard deviations of the noise.
    pub const REACH: f32 = 2.5;
    /// How many times more probable one code can be made than another.
    const SPAN: f64 = 64.0;

    /// `count` codes by rule; `seed` decides where random ones lie.
    pub fn new(layout: Layout, count: usize, prior: Prior, seed: u64) -> Self {
        let count = count.clamp(1, Self::MOST);
        let codes = layout.codes(count, seed).into_iter().map(within_reach).collect();
        let weights = match prior {
            Prior::Uniform => vec![1.0; count],
            Prior::Skewed => zipf(count),
        };
        Self { codes, weights }
    }

    /// Probability of a code.
    pub fn probability(&self, code: usize) -> f64 {
        let total: f64 = self.weights.iter().sum();
        self.weights.get(code).map_or(0.0, |weight| weight / total)
    }

    /// Puts a code elsewhere, within reach.
    pub fn put(&mut self, code: usize, at: Point) {
        if let Some(place) = self.codes.get_mut(code) {
            *place = within_reach(at);
        }
    }

    /// Adds a code of middling weight, if there is room for one more; gives its number.
    pub fn add(&mut self, at: Point) -> Option<usize> {
        if self.codes.len() >= Self::MOST {
            return None;
        }
        let mean = self.weights.iter().sum::<f64>() / self.weights.len().max(1) as f64;
        self.codes.push(within_reach(at));
        self.weights.push(mean);
        Some(self.codes.len() - 1)
    }

    /// Takes a code away; one always stays.
    pub fn remove(&mut self, code: usize) {
        if self.codes.len() > 1 && code < self.codes.len() {
            self.codes.remove(code);
            self.weights.remove(code);
        }
    }

    /// Makes a code `factor` times as probable beside the others, within limits.
    pub fn weigh(&mut self, code: usize, factor: f64) {
        let heaviest = self.weights.iter().copied().fold(0.0, f64::max);
        let lightest = self.weights.iter().copied().fold(f64::INFINITY, f64::min);
        if let Some(weight) = self.weights.get_mut(code) {
            *weight = (*weight * factor).clamp(heaviest / Self::SPAN, lightest * Self::SPAN);
        }
    }

    /// The exact posterior of one token with these codes.
    pub fn oracle(&self) -> Option<Oracle> {
        Oracle::new(self.codes.concat(), 2, &self.weights, 1)
    }
}

fn within_reach([x, y]: Point) -> Point {
    let within =
        |value: f32| if value.is_nan() { 0.0 } else { value.clamp(-Plane::REACH, Plane::REACH) };
    [within(x), within(y)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_added_moved_and_taken_away() {
        let mut plane = Plane::new(Layout::Ring, 3, Prior::Skewed, 0);
        assert!((plane.probability(0) - 6.0 / 11.0).abs() < 1e-12);
        assert_eq!(plane.add([9.0, -0.5]), Some(3));
        assert_eq!(plane.codes[3], [2.5, -0.5]);
        plane.put(0, [f32::NAN, 0.25]);
        assert_eq!(plane.codes[0], [0.0, 0.25]);
        for _ in 0..9 {
            plane.remove(0);
        }
        assert_eq!(plane.codes, [[2.5, -0.5]]);
        assert!(plane.oracle().is_some());
    }

    #[test]
    fn there_is_room_for_so_many_codes() {
        let mut plane = Plane::new(Layout::Random, 1000, Prior::Uniform, 1);
        assert_eq!(plane.codes.len(), Plane::MOST);
        assert_eq!(plane.add([0.0, 0.0]), None);
    }

    #[test]
    fn weights_stay_within_limits() {
        let mut plane = Plane::new(Layout::Ring, 2, Prior::Uniform, 0);
        for _ in 0..40 {
            plane.weigh(0, 2.0);
        }
        assert!((plane.weights[0] / plane.weights[1] - Plane::SPAN).abs() < 1e-9);
        for _ in 0..40 {
            plane.weigh(0, 0.5);
        }
        assert!(plane.probability(0) > 0.01);
    }
}
