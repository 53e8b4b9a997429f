//! How runs are told apart: the look of their curves, and their names.

use std::path::{Path, PathBuf};

use egui::{Color32, Sense, Stroke, Ui, vec2};

use crate::studio::base::theme::{GRID, palette};
use crate::studio::base::widgets::{Stroked, code_colour};

/// How the curves of a run are drawn.
pub(super) fn look(ui: &Ui, at: usize) -> (Color32, Stroked) {
    let colours = palette(ui.visuals());
    let colour = match at {
        0 => colours.accent,
        1 => colours.second,
        // Green and purple of the codes.
        2 => code_colour(ui.visuals(), 2),
        _ => code_colour(ui.visuals(), 6),
    };
    (colour, Stroked::ALL[at % Stroked::ALL.len()])
}

/// A piece of a run's curve, to find it by.
pub(super) fn swatch(ui: &mut Ui, at: usize) {
    let (rect, _) = ui.allocate_exact_size(vec2(6.0 * GRID, 4.0 * GRID), Sense::hover());
    let (colour, stroked) = look(ui, at);
    let ends = vec![rect.left_center(), rect.right_center()];
    stroked.paint(ui.painter(), ends, Stroke::new(2.0, colour));
}

/// The shortest end of a path that no other path of the list has.
pub(super) fn short_name(paths: &[PathBuf], at: usize) -> String {
    let end = |path: &Path, parts: usize| -> PathBuf {
        let all: Vec<_> = path.components().collect();
        all[all.len().saturating_sub(parts)..].iter().collect()
    };
    let Some(path) = paths.get(at) else { return String::new() };
    let others = || paths.iter().enumerate().filter(|(other, _)| *other != at);
    (1..=path.components().count())
        .map(|parts| (parts, end(path, parts)))
        .find(|(parts, name)| others().all(|(_, other)| end(other, *parts) != *name))
        .map_or_else(|| path.display().to_string(), |(_, name)| name.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_short_as_they_can_be() {
        let paths: Vec<PathBuf> = ["/a/x/flow", "/a/y/flow", "/a/y/dfm"].map(PathBuf::from).into();
        let names: Vec<_> = (0..3).map(|at| short_name(&paths, at)).collect();
        assert_eq!(names, ["x/flow", "y/flow", "dfm"]);
        assert_eq!(short_name(&paths, 3), "");
    }
}
