//! The points of a drawn temperature: adding, moving and taking away, at rising times.

/// Least distance of two points in time.
pub const GAP: f32 = 0.01;
/// Most points of a curve.
pub const MOST: usize = 24;
/// The highest temperature that can be typed.
pub const HIGHEST: f32 = 10.0;

/// To hundredths, which is finer than a pixel and short on a command line.
fn rounded(value: f32) -> f32 {
    (value * 100.0).round() / 100.0
}

/// The times between which the point `index` may lie, if there is room at all.
fn room(points: &[(f32, f32)], index: usize) -> Option<(f32, f32)> {
    let low = index.checked_sub(1).map_or(0.0, |before| points[before].0 + GAP);
    let high = points.get(index + 1).map_or(1.0, |after| after.0 - GAP);
    (low <= high).then_some((low, high))
}

fn within(t: f32, (low, high): (f32, f32)) -> f32 {
    let tidy = rounded(t);
    // Sums of hundredths are hundredths only nearly.
    let slack = GAP / 10.0;
    if (low - slack..=high + slack).contains(&tidy) { tidy } else { t.clamp(low, high) }
}

/// Moves a point as near to a time and a temperature as its neighbours let it.
pub fn put(points: &mut [(f32, f32)], index: usize, t: f32, value: f32) {
    if !(t.is_finite() && value.is_finite()) || index >= points.len() {
        return;
    }
    if let Some(room) = room(points, index) {
        points[index].0 = within(t, room);
    }
    points[index].1 = rounded(value.clamp(0.0, HIGHEST));
}

/// Adds a point; gives its place, or that of the one that is already at that time. Nothing where
/// there are as many as there may be.
pub fn add(points: &mut Vec<(f32, f32)>, t: f32, value: f32) -> Option<usize> {
    if !(t.is_finite() && value.is_finite()) {
        return None;
    }
    let t = rounded(t.clamp(0.0, 1.0));
    if let Some(near) = points.iter().position(|(at, _)| (at - t).abs() < GAP * 0.999) {
        return Some(near);
    }
    if points.len() >= MOST {
        return None;
    }
    let index = points.partition_point(|(at, _)| *at < t);
    points.insert(index, (t, rounded(value.clamp(0.0, HIGHEST))));
    Some(index)
}

/// Takes a point away; the last one stays.
pub fn remove(points: &mut Vec<(f32, f32)>, index: usize) {
    if points.len() > 1 && index < points.len() {
        points.remove(index);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::flow::Temperature;

    fn points() -> Vec<(f32, f32)> {
        vec![(0.0, 1.1), (0.5, 0.9), (1.0, 0.6)]
    }

    #[test]
    fn a_point_stays_between_its_neighbours() {
        let mut points = points();
        put(&mut points, 1, 2.0, 5.5);
        assert_eq!(points[1], (0.99, 5.5));
        put(&mut points, 1, -1.0, -2.0);
        assert_eq!(points[1], (0.01, 0.0));
        put(&mut points, 0, 0.7, 0.333);
        assert_eq!(points[0], (0.0, 0.33));
        put(&mut points, 1, f32::NAN, 1.0);
        assert_eq!(points[1], (0.01, 0.0));
    }

    #[test]
    fn points_are_added_in_order_and_the_last_one_stays() {
        let mut points = points();
        assert_eq!(add(&mut points, 0.25, 1.0), Some(1));
        assert_eq!(add(&mut points, 0.2501, 1.5), Some(1), "there is one already");
        assert_eq!(points.len(), 4);
        for _ in 0..9 {
            remove(&mut points, 0);
        }
        assert_eq!(points, [(1.0, 0.6)]);
        for i in 0..99 {
            add(&mut points, i as f32 / 99.0, 1.0);
        }
        assert_eq!(points.len(), MOST);
        assert_eq!(add(&mut points, 0.5, 1.0), None);
    }

    proptest! {
        /// Whatever is done to them, the points make a temperature.
        #[test]
        fn points_always_make_a_temperature(
            start in prop::collection::vec((0.0f32..=1.0, 0.0f32..3.0), 1..6),
            deeds in prop::collection::vec((0..3, 0usize..8, -0.5f32..1.5, -1.0f32..12.0), 0..40),
        ) {
            let mut points = start;
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            points.dedup_by(|a, b| a.0 == b.0);
            for (deed, index, t, value) in deeds {
                match deed {
                    0 => drop(add(&mut points, t, value)),
                    1 => put(&mut points, index, t, value),
                    _ => remove(&mut points, index),
                }
                let made = Temperature::Points(points.clone());
                prop_assert!(made.validate().is_ok(), "{made}");
            }
        }
    }
}
