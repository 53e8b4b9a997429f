//! How panes are laid out, and how much room they need.

use std::collections::HashSet;

use egui::{Id, Vec2, vec2};
use egui_tiles::{Container, GridLayout, Linear, LinearDir, Tile, TileId, Tiles, Tree};

use crate::studio::base::theme::GRID;
use crate::studio::pane::Pane;

/// Least width of the side panes at first, in points.
const SIDE_WIDTH: f32 = 66.0 * GRID;
/// Width of the only side column where there is no room for two, in points: all of its rows fit.
const ONE_SIDE: f32 = 70.0 * GRID;
/// Height of a row of tabs, in points.
pub(super) const TABS: f32 = 7.0 * GRID;
/// Most containers, and containers within one another, of a layout.
const MOST: usize = 100;
/// Largest and least share of a place in a row.
const SHARES: std::ops::RangeInclusive<f32> = 1e-4..=1e6;

/// How a window shows panes that it has no room for as they are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    /// Columns beside one another.
    pub(super) columns: usize,
    /// Whether the timeline is under the pictures, rather than a tab beside them.
    pub(super) tall: bool,
}

impl Room {
    /// What there is room for.
    pub(super) fn of(size: Vec2) -> Self {
        let (wide, low) = (least_of(Pane::Canvas), least_of(Pane::Timeline));
        let two = ONE_SIDE + wide.x + GRID;
        let columns = if size.x >= two { 2 } else { 1 };
        Self { columns, tall: size.y >= wide.y + low.y + 2.0 * TABS + GRID }
    }
}

/// The least that a pane can be worked with in, in points.
fn least_of(pane: Pane) -> Vec2 {
    match pane {
        Pane::Canvas
        | Pane::Gallery
        | Pane::Codebook
        | Pane::Sweep
        | Pane::Calibration
        | Pane::Playground => vec2(90.0 * GRID, 52.0 * GRID),
        Pane::Timeline => vec2(SIDE_WIDTH, 36.0 * GRID),
        Pane::Controls | Pane::Posterior | Pane::Model | Pane::Training | Pane::Log => {
            vec2(SIDE_WIDTH, 36.0 * GRID)
        }
    }
}

/// Panes as tabs over one another.
fn tabs(tiles: &mut Tiles<Pane>, panes: &[Pane]) -> TileId {
    let panes = panes.iter().map(|pane| tiles.insert_pane(*pane)).collect();
    tiles.insert_tab_tile(panes)
}

const PICTURES: [Pane; 6] =
    [Pane::Canvas, Pane::Gallery, Pane::Codebook, Pane::Sweep, Pane::Calibration, Pane::Playground];
const FACTS: [Pane; 4] = [Pane::Posterior, Pane::Model, Pane::Training, Pane::Log];

/// The dock as it is at first in a window `width` points wide: controls; the wide panes over the
/// timeline; the narrow panes.
pub(super) fn first(width: f32) -> Tree<Pane> {
    let mut tiles = Tiles::default();
    let controls = tabs(&mut tiles, &[Pane::Controls]);
    let wide = tabs(&mut tiles, &PICTURES);
    let timeline = tabs(&mut tiles, &[Pane::Timeline]);
    let narrow = tabs(&mut tiles, &FACTS);
    let middle = Linear::new_binary(LinearDir::Vertical, [wide, timeline], 0.73);
    let middle = tiles.insert_container(middle);
    let mut root = Linear::new(LinearDir::Horizontal, vec![controls, middle, narrow]);
    // The sides need some width for their words, whatever the window has.
    let side = |part: f32| part.max(SIDE_WIDTH / width.max(3.0 * SIDE_WIDTH));
    let (left, right) = (side(0.215), side(0.22));
    for (tile, share) in [(controls, left), (middle, 1.0 - left - right), (narrow, right)] {
        root.shares.set_share(tile, share);
    }
    let root = tiles.insert_container(root);
    Tree::new(Id::unique("dock"), root, tiles)
}

/// All panes in less room than the first layout needs: the narrow ones as tabs beside the wide ones, or
/// all of them as tabs, one at a time.
pub(super) fn small(room: Room, size: Vec2) -> Tree<Pane> {
    let mut tiles = Tiles::default();
    let one = room.columns == 1;
    let beside: Vec<Pane> = std::iter::once(Pane::Controls).chain(FACTS).collect();
    let [canvas, others @ ..] = PICTURES;
    let mut wide = vec![canvas];
    if !room.tall {
        wide.push(Pane::Timeline);
    }
    if one {
        wide.extend([Pane::Controls, Pane::Posterior]);
    }
    wide.extend(others);
    if one {
        wide.extend([Pane::Model, Pane::Training, Pane::Log]);
    }
    let mut main = tabs(&mut tiles, &wide);
    if room.tall {
        let timeline = tabs(&mut tiles, &[Pane::Timeline]);
        let part = (1.0 - (least_of(Pane::Timeline).y + TABS) / size.y.max(1.0)).min(0.73);
        let over = Linear::new_binary(LinearDir::Vertical, [main, timeline], part);
        main = tiles.insert_container(over);
    }
    if !one {
        let side = tabs(&mut tiles, &beside);
        let part = ONE_SIDE / size.x.max(1.0);
        let row = Linear::new_binary(LinearDir::Horizontal, [side, main], part);
        main = tiles.insert_container(row);
    }
    Tree::new(Id::unique("small dock"), main, tiles)
}

/// The least room in which everything of a layout that is shown can be worked with, in points.
pub(super) fn least(tree: &Tree<Pane>) -> Vec2 {
    fn of(tree: &Tree<Pane>, tile: TileId, depth: usize) -> Vec2 {
        if depth > MOST || !tree.tiles.is_visible_in_layout(tile) {
            return Vec2::ZERO;
        }
        let container = match tree.tiles.get(tile) {
            Some(Tile::Container(container)) => container,
            Some(Tile::Pane(pane)) => return least_of(*pane),
            None => return Vec2::ZERO,
        };
        let parts = container.children().map(|child| of(tree, *child, depth + 1));
        let beside = |a: Vec2, b: Vec2| vec2(a.x + b.x, a.y.max(b.y));
        match container {
            Container::Tabs(_) => parts.fold(Vec2::ZERO, Vec2::max) + vec2(0.0, TABS),
            Container::Linear(linear) if linear.dir == LinearDir::Horizontal => {
                parts.fold(Vec2::ZERO, beside)
            }
            Container::Linear(_) => parts.fold(Vec2::ZERO, |a, b| vec2(a.x.max(b.x), a.y + b.y)),
            Container::Grid(_) => parts.fold(Vec2::ZERO, Vec2::max),
        }
    }
    tree.root().map_or(Vec2::ZERO, |root| of(tree, root, 0))
}

/// Whether a stored tree has every pane exactly once.
pub(super) fn is_whole(tree: &Tree<Pane>) -> bool {
    let shown: Vec<Pane> = tree
        .tiles
        .tiles()
        .filter_map(|tile| match tile {
            Tile::Pane(pane) => Some(*pane),
            Tile::Container(_) => None,
        })
        .collect();
    tree.root().is_some()
        && shown.len() == Pane::ALL.len()
        && Pane::ALL.iter().all(|pane| shown.contains(pane))
}

/// Whether a tree is one: every tile hangs once below the root, and none is missing.
pub(super) fn is_sound(tree: &Tree<Pane>) -> bool {
    let mut seen = HashSet::new();
    let mut open: Vec<(TileId, usize)> = tree.root().into_iter().map(|root| (root, 0)).collect();
    while let Some((tile, depth)) = open.pop() {
        let Some(found) = tree.tiles.get(tile) else { return false };
        if !seen.insert(tile) || seen.len() > MOST || depth > MOST {
            return false;
        }
        if let Tile::Container(container) = found {
            open.extend(container.children().map(|child| (*child, depth + 1)));
            // More could not be there without one twice.
            if open.len() > MOST {
                return false;
            }
        }
    }
    is_whole(tree) && seen.len() == tree.tiles.len()
}

/// Puts shares of the room and numbers of columns that cannot be back to equal ones; says whether any
/// were.
pub(super) fn tidy(tree: &mut Tree<Pane>) -> bool {
    let mut changed = false;
    // Only a tree in a tree has a size of its own.
    tree.set_width(f32::INFINITY);
    tree.set_height(f32::INFINITY);
    for tile in tree.tiles.tiles_mut() {
        match tile {
            Tile::Container(Container::Linear(linear)) => {
                let odd = |(_, share): &(&TileId, &f32)| !SHARES.contains(*share);
                let odd: Vec<TileId> =
                    linear.shares.iter().filter(odd).map(|(id, _)| *id).collect();
                changed |= !odd.is_empty();
                odd.into_iter().for_each(|tile| linear.shares.set_share(tile, 1.0));
            }
            Tile::Container(Container::Grid(grid)) => {
                let columns = match grid.layout {
                    GridLayout::Auto => 1,
                    GridLayout::Columns(columns) => columns,
                };
                if !(1..=MOST).contains(&columns) {
                    (grid.layout, changed) = (GridLayout::Auto, true);
                }
                for shares in [&mut grid.col_shares, &mut grid.row_shares] {
                    if shares.len() > MOST || shares.iter().any(|share| !SHARES.contains(share)) {
                        (*shares, changed) = (Vec::new(), true);
                    }
                }
            }
            Tile::Container(Container::Tabs(_)) | Tile::Pane(_) => {}
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_dock_has_every_pane_once() {
        assert!(is_sound(&first(1440.0)));
        assert!(!is_whole(&Tree::empty(Id::unique("none"))));
    }

    #[test]
    fn every_small_dock_has_every_pane_once() {
        for columns in [1, 2] {
            for tall in [false, true] {
                assert!(is_sound(&small(Room { columns, tall }, vec2(700.0, 500.0))));
            }
        }
    }

    #[test]
    fn a_dock_that_lost_a_pane_is_not_whole() {
        let mut tree = first(1440.0);
        let lost = tree.tiles.find_pane(&Pane::Timeline).unwrap();
        tree.tiles.remove(lost);
        assert!(!is_whole(&tree) && !is_sound(&tree));
    }

    #[test]
    fn a_tree_that_bites_its_tail_is_not_sound() {
        let mut tree = first(1440.0);
        let root = tree.root().unwrap();
        let Some(Tile::Container(Container::Linear(row))) = tree.tiles.get_mut(root) else {
            panic!("the root is no row")
        };
        row.children.push(root);
        assert!(is_whole(&tree) && !is_sound(&tree));
        let mut loose = first(1440.0);
        let Some(Tile::Container(Container::Linear(row))) = loose.tiles.get_mut(root) else {
            panic!("the root is no row")
        };
        row.children.pop();
        assert!(!is_sound(&loose), "tiles that hang nowhere");
    }

    #[test]
    fn shares_that_cannot_be_become_equal() {
        let mut tree = first(1440.0);
        let root = tree.root().unwrap();
        assert!(!tidy(&mut tree));
        for bad in [f32::NAN, f32::INFINITY, -1.0, 0.0, 1e30] {
            let Some(Tile::Container(Container::Linear(row))) = tree.tiles.get_mut(root) else {
                panic!("the root is no row")
            };
            let child = row.children[1];
            row.shares.set_share(child, bad);
            assert!(tidy(&mut tree), "{bad}");
            assert!(!tidy(&mut tree));
        }
    }
}
