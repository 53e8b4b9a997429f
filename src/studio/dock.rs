//! Where the panes are: docked beside and behind one another, in windows of their own, or put away.

use std::collections::BTreeSet;

use egui::{
    Color32, Context, Id, RichText, Stroke, Ui, UiBuilder, ViewportBuilder, ViewportClass,
    ViewportId, Visuals, WidgetText, vec2,
};
use egui_tiles::{
    Behavior, Linear, LinearDir, SimplificationOptions, TabState, Tile, TileId, Tiles, Tree,
    UiResponse,
};
use serde::{Deserialize, Serialize};

use super::panes::Pane;
use super::state::StudioState;
use super::theme::{GRID, palette};

/// Least width of the side panes at first, in points.
const SIDE_WIDTH: f32 = 66.0 * GRID;

/// The places of all panes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Dock {
    tree: Tree<Pane>,
    /// Panes in windows of their own.
    floating: BTreeSet<Pane>,
    /// Panes that are not shown.
    hidden: BTreeSet<Pane>,
}

impl Default for Dock {
    fn default() -> Self {
        Self {
            tree: Tree::empty(Id::unique("dock")),
            floating: BTreeSet::new(),
            hidden: BTreeSet::new(),
        }
    }
}

impl Dock {
    /// Whether a pane is shown, docked or not.
    pub fn is_shown(&self, pane: Pane) -> bool {
        !self.hidden.contains(&pane)
    }

    /// Shows a pane or puts it away.
    pub fn set_shown(&mut self, pane: Pane, shown: bool) {
        if shown {
            self.hidden.remove(&pane);
        } else {
            self.hidden.insert(pane);
            self.floating.remove(&pane);
        }
    }

    /// Whether a pane has a window of its own.
    pub fn is_floating(&self, pane: Pane) -> bool {
        self.floating.contains(&pane)
    }

    /// Gives a pane a window of its own, or docks it again.
    pub fn set_floating(&mut self, pane: Pane, floating: bool) {
        if floating {
            self.floating.insert(pane);
            self.hidden.remove(&pane);
        } else {
            self.floating.remove(&pane);
        }
    }

    /// Shows a pane and brings it before those that share its place.
    pub fn reveal(&mut self, pane: Pane) {
        self.hidden.remove(&pane);
        self.apply_visibility();
        self.tree.make_active(|_, tile| *tile == Tile::Pane(pane));
    }

    /// Puts every pane back in its first place.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    fn apply_visibility(&mut self) {
        for pane in Pane::ALL {
            if let Some(tile) = self.tree.tiles.find_pane(&pane) {
                let docked = !self.hidden.contains(&pane) && !self.floating.contains(&pane);
                self.tree.tiles.set_visible(tile, docked);
            }
        }
    }

    /// Shows what is docked, in the whole of `ui`.
    pub fn show(&mut self, ui: &mut Ui, state: &mut StudioState) {
        if !is_whole(&self.tree) {
            self.tree = first_tree(ui.available_width());
        }
        self.apply_visibility();
        let mut wish = None;
        self.tree.ui(&mut Docked { state, wish: &mut wish }, ui);
        match wish {
            Some(Wish::Float(pane)) => self.set_floating(pane, true),
            Some(Wish::Hide(pane)) => self.set_shown(pane, false),
            None => {}
        }
    }

    /// Shows the panes that have windows of their own.
    pub fn show_windows(&mut self, ctx: &Context, state: &mut StudioState) {
        let mut closed = Vec::new();
        for &pane in &self.floating {
            let id = ViewportId::from_hash_of(("pane", pane.title()));
            let builder = ViewportBuilder::default()
                .with_title(format!("{} · Purrscope", pane.title()))
                .with_inner_size(pane.window_size())
                .with_min_inner_size(vec2(60.0 * GRID, 40.0 * GRID));
            ctx.show_viewport_immediate(id, builder, |ui, class| {
                if class == ViewportClass::EmbeddedWindow {
                    ui.set_min_size(pane.window_size() * 0.6);
                    if ui.button("Dock").on_hover_text("Put this pane back in its place").clicked()
                    {
                        closed.push(pane);
                    }
                }
                show_pane(ui, pane, state);
                if ui.input(|input| input.viewport().close_requested()) {
                    closed.push(pane);
                }
            });
        }
        for pane in closed {
            self.floating.remove(&pane);
        }
    }
}

fn show_pane(ui: &mut Ui, pane: Pane, state: &mut StudioState) {
    let named = UiBuilder::new().accessibility_label(pane.title());
    let rect = ui.available_rect_before_wrap();
    ui.scope_builder(named.max_rect(rect), |ui| pane.show(ui, state));
}

/// The dock as it is at first in a window `width` points wide: controls; the wide panes over the
/// timeline; the narrow panes.
fn first_tree(width: f32) -> Tree<Pane> {
    let mut tiles = Tiles::default();
    let mut tabs = |panes: &[Pane]| {
        let panes = panes.iter().map(|pane| tiles.insert_pane(*pane)).collect();
        tiles.insert_tab_tile(panes)
    };
    let controls = tabs(&[Pane::Controls]);
    let wide = tabs(&[Pane::Canvas, Pane::Gallery, Pane::Codebook, Pane::Sweep, Pane::Playground]);
    let timeline = tabs(&[Pane::Timeline]);
    let narrow = tabs(&[Pane::Posterior, Pane::Model, Pane::Training, Pane::Log]);
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

/// Whether a stored tree has every pane exactly once.
fn is_whole(tree: &Tree<Pane>) -> bool {
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

/// What was asked of a tab.
#[derive(Debug, Clone, Copy)]
enum Wish {
    Float(Pane),
    Hide(Pane),
}

/// How the docked panes look and behave.
struct Docked<'a> {
    state: &'a mut StudioState,
    wish: &'a mut Option<Wish>,
}

impl Behavior<Pane> for Docked<'_> {
    fn pane_ui(&mut self, ui: &mut Ui, _tile: TileId, pane: &mut Pane) -> UiResponse {
        show_pane(ui, *pane, self.state);
        UiResponse::None
    }

    fn tab_title_for_pane(&mut self, pane: &Pane) -> WidgetText {
        RichText::new(pane.title()).text_style(egui::TextStyle::Small).into()
    }

    fn on_tab_button(
        &mut self,
        tiles: &mut Tiles<Pane>,
        tile: TileId,
        button: egui::Response,
    ) -> egui::Response {
        let Some(Tile::Pane(pane)) = tiles.get(tile) else { return button };
        let pane = *pane;
        button.context_menu(|ui| {
            if ui.button("Open in a window of its own").clicked() {
                *self.wish = Some(Wish::Float(pane));
            }
            if ui.button("Put away").on_hover_text("The View menu brings it back").clicked() {
                *self.wish = Some(Wish::Hide(pane));
            }
        });
        button
    }

    fn simplification_options(&self) -> SimplificationOptions {
        SimplificationOptions { all_panes_must_have_tabs: true, ..SimplificationOptions::default() }
    }

    fn tab_bar_height(&self, _style: &egui::Style) -> f32 {
        7.0 * GRID
    }

    fn tab_title_spacing(&self, _visuals: &Visuals) -> f32 {
        2.5 * GRID
    }

    fn gap_width(&self, _style: &egui::Style) -> f32 {
        GRID / 2.0
    }

    fn min_size(&self) -> f32 {
        40.0 * GRID
    }

    fn tab_bar_color(&self, visuals: &Visuals) -> Color32 {
        palette(visuals).backdrop
    }

    fn tab_outline_stroke(
        &self,
        _visuals: &Visuals,
        _tiles: &Tiles<Pane>,
        _tile: TileId,
        _state: &TabState,
    ) -> Stroke {
        Stroke::NONE
    }

    fn tab_bar_hline_stroke(&self, _visuals: &Visuals) -> Stroke {
        Stroke::NONE
    }

    fn tab_text_color(
        &self,
        visuals: &Visuals,
        _tiles: &Tiles<Pane>,
        _tile: TileId,
        state: &TabState,
    ) -> Color32 {
        if state.active { palette(visuals).strong } else { palette(visuals).weak }
    }

    fn drag_preview_color(&self, visuals: &Visuals) -> Color32 {
        palette(visuals).accent.gamma_multiply(0.25)
    }

    fn drag_preview_stroke(&self, visuals: &Visuals) -> Stroke {
        Stroke::new(1.0, palette(visuals).accent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_dock_has_every_pane_once() {
        assert!(is_whole(&first_tree(1440.0)));
        assert!(!is_whole(&Tree::empty(Id::unique("none"))));
    }

    #[test]
    fn a_dock_that_lost_a_pane_is_not_whole() {
        let mut tree = first_tree(1440.0);
        let lost = tree.tiles.find_pane(&Pane::Timeline).unwrap();
        tree.tiles.remove(lost);
        assert!(!is_whole(&tree));
    }

    #[test]
    fn a_floating_pane_is_shown_and_one_put_away_is_not() {
        let mut dock = Dock::default();
        dock.set_floating(Pane::Gallery, true);
        assert!(dock.is_shown(Pane::Gallery) && dock.is_floating(Pane::Gallery));
        dock.set_shown(Pane::Gallery, false);
        assert!(!dock.is_shown(Pane::Gallery) && !dock.is_floating(Pane::Gallery));
        dock.reveal(Pane::Gallery);
        assert!(dock.is_shown(Pane::Gallery));
    }
}
