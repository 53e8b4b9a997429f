//! Where the panes are: docked beside and behind one another, in separate windows, or hidden.
//!
//! A window that has no room for them as they are laid out shows them in fewer columns, down to one
//! pane at a time; the layout is not changed by that, and is back as soon as there is room.

mod layout;

use std::collections::BTreeSet;

use egui::{
    Color32, Context, Id, RichText, Stroke, Ui, UiBuilder, Vec2, ViewportBuilder, ViewportClass,
    ViewportId, Visuals, WidgetText, vec2,
};
use egui_tiles::{
    Behavior, SimplificationOptions, TabState, Tile, TileId, Tiles, Tree, UiResponse,
};
use serde::{Deserialize, Serialize};

use self::layout::Room;
use crate::studio::base::theme::{GRID, palette};
use crate::studio::pane::Pane;
use crate::studio::window::panes;
use crate::studio::window::studio::Studio;

/// The places of all panes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Dock {
    tree: Tree<Pane>,
    /// Panes in separate windows.
    floating: BTreeSet<Pane>,
    /// Panes that are not shown.
    hidden: BTreeSet<Pane>,
    /// How the panes are shown while there is no room for the layout.
    #[serde(skip)]
    small: Option<(Room, Tree<Pane>)>,
    /// The pane that was last brought into view.
    #[serde(skip)]
    revealed: Option<Pane>,
}

impl Default for Dock {
    fn default() -> Self {
        Self {
            tree: Tree::empty(Id::unique("dock")),
            floating: BTreeSet::new(),
            hidden: BTreeSet::new(),
            small: None,
            revealed: None,
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

    /// Whether a pane is in a separate window.
    pub fn is_floating(&self, pane: Pane) -> bool {
        self.floating.contains(&pane)
    }

    /// Gives a pane a separate window, or docks it again.
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
        self.revealed = Some(pane);
        let small = self.small.as_mut().map(|(_, tree)| tree);
        for tree in std::iter::once(&mut self.tree).chain(small) {
            apply_visibility(tree, &self.hidden, &self.floating);
            tree.make_active(|_, tile| *tile == Tile::Pane(pane));
        }
    }

    /// Puts every pane back in its first place.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// Puts a layout that cannot be shown back to the first one, and shares of the room that cannot be
    /// to equal ones; says whether anything was put back.
    pub fn tidy(&mut self) -> bool {
        // A first start has none yet.
        let fresh = self.tree.root().is_none() && self.tree.tiles.is_empty();
        if fresh {
            return false;
        }
        if !layout::is_sound(&self.tree) {
            self.tree = Self::default().tree;
            return true;
        }
        layout::tidy(&mut self.tree)
    }

    /// Lays the panes out as at the start in a window `width` points wide, where they have no places.
    pub fn arrange(&mut self, width: f32) {
        if !layout::is_whole(&self.tree) {
            self.tree = layout::first(width);
        }
    }

    /// The panes as they are shown in so much room.
    fn tree_for(&mut self, size: Vec2) -> &mut Tree<Pane> {
        self.arrange(size.x);
        apply_visibility(&mut self.tree, &self.hidden, &self.floating);
        let fits = |tree: &Tree<Pane>| {
            let least = layout::least(tree);
            least.x <= size.x && least.y <= size.y
        };
        // Who has more shown than fits into a large window has chosen so.
        if fits(&self.tree) || fits(&layout::first(size.x)) {
            self.small = None;
            return &mut self.tree;
        }
        let room = Room::of(size);
        if self.small.as_ref().is_none_or(|(known, _)| *known != room) {
            let mut tree = layout::small(room, size);
            let front = self.revealed.unwrap_or(Pane::Canvas);
            tree.make_active(|_, tile| *tile == Tile::Pane(front));
            self.small = Some((room, tree));
        }
        let tree = match &mut self.small {
            Some((_, tree)) => tree,
            None => &mut self.tree,
        };
        apply_visibility(tree, &self.hidden, &self.floating);
        tree
    }

    /// Shows what is docked, in the whole of `ui`.
    pub fn show(&mut self, ui: &mut Ui, studio: &mut Studio) {
        let mut wish = None;
        let tree = self.tree_for(ui.available_size());
        tree.ui(&mut Docked { studio, wish: &mut wish }, ui);
        match wish {
            Some(Wish::Float(pane)) => self.set_floating(pane, true),
            Some(Wish::Hide(pane)) => self.set_shown(pane, false),
            None => {}
        }
    }

    /// Shows the panes that are in separate windows.
    pub fn show_windows(&mut self, ctx: &Context, studio: &mut Studio) {
        let mut closed = Vec::new();
        let screen = ctx.input(|input| input.viewport().monitor_size);
        let most = screen.map_or(Vec2::INFINITY, |screen| screen * 0.9);
        for &pane in &self.floating {
            let id = ViewportId::from_hash_of(("pane", pane.title()));
            let builder = ViewportBuilder::default()
                .with_title(format!("{} · Purrscope", pane.title()))
                .with_inner_size(pane.window_size().min(most))
                .with_min_inner_size(vec2(60.0 * GRID, 40.0 * GRID));
            ctx.show_viewport_immediate(id, builder, |ui, class| {
                if class == ViewportClass::EmbeddedWindow {
                    ui.set_min_size(pane.window_size() * 0.6);
                    if ui.button("Dock").on_hover_text("Put this pane back in its place").clicked()
                    {
                        closed.push(pane);
                    }
                }
                show_pane(ui, pane, studio);
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

fn show_pane(ui: &mut Ui, pane: Pane, studio: &mut Studio) {
    let named = UiBuilder::new().accessibility_label(pane.title());
    let rect = ui.available_rect_before_wrap();
    ui.scope_builder(named.max_rect(rect), |ui| panes::show(pane, ui, studio));
}

/// Lets a tree show what is docked, and nothing else.
fn apply_visibility(tree: &mut Tree<Pane>, hidden: &BTreeSet<Pane>, floating: &BTreeSet<Pane>) {
    for pane in Pane::ALL {
        if let Some(tile) = tree.tiles.find_pane(&pane) {
            tree.tiles.set_visible(tile, !hidden.contains(&pane) && !floating.contains(&pane));
        }
    }
}

/// What was asked of a tab.
#[derive(Debug, Clone, Copy)]
enum Wish {
    Float(Pane),
    Hide(Pane),
}

/// How the docked panes look and behave.
struct Docked<'a> {
    studio: &'a mut Studio,
    wish: &'a mut Option<Wish>,
}

impl Behavior<Pane> for Docked<'_> {
    fn pane_ui(&mut self, ui: &mut Ui, _tile: TileId, pane: &mut Pane) -> UiResponse {
        show_pane(ui, *pane, self.studio);
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
            if ui.button("Open in separate window").clicked() {
                *self.wish = Some(Wish::Float(pane));
            }
            if ui.button("Hide pane").on_hover_text("The View menu shows it again").clicked() {
                *self.wish = Some(Wish::Hide(pane));
            }
        });
        button
    }

    fn simplification_options(&self) -> SimplificationOptions {
        SimplificationOptions { all_panes_must_have_tabs: true, ..SimplificationOptions::default() }
    }

    fn tab_bar_height(&self, _style: &egui::Style) -> f32 {
        layout::TABS
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
    fn a_layout_without_room_is_shown_otherwise_and_comes_back() {
        let mut dock = Dock::default();
        let shown = |dock: &mut Dock, x: f32, y: f32| {
            let tree = dock.tree_for(vec2(x, y));
            assert!(layout::is_sound(tree), "{x} x {y}");
            let least = layout::least(tree);
            assert!(least.x <= x && least.y <= y, "{least} in {x} x {y}");
            dock.small.as_ref().map(|(room, _)| *room)
        };
        assert_eq!(shown(&mut dock, 1440.0, 852.0), None);
        let layout = dock.tree.clone();
        assert_eq!(shown(&mut dock, 800.0, 552.0), Some(Room { columns: 2, tall: true }));
        assert_eq!(shown(&mut dock, 720.0, 300.0), Some(Room { columns: 2, tall: false }));
        assert_eq!(shown(&mut dock, 480.0, 252.0), Some(Room { columns: 1, tall: false }));
        assert_eq!(shown(&mut dock, 400.0, 700.0), Some(Room { columns: 1, tall: true }));
        assert_eq!(shown(&mut dock, 1440.0, 852.0), None);
        assert!(dock.tree == layout);
    }

    #[test]
    fn a_pane_comes_into_view_whatever_the_room() {
        let mut dock = Dock::default();
        dock.tree_for(vec2(480.0, 252.0));
        dock.set_shown(Pane::Gallery, false);
        dock.reveal(Pane::Gallery);
        let active = |tree: &Tree<Pane>| {
            let tile = tree.tiles.find_pane(&Pane::Gallery).unwrap();
            tree.active_tiles().contains(&tile)
        };
        assert!(active(dock.tree_for(vec2(480.0, 252.0))));
        assert!(active(dock.tree_for(vec2(1440.0, 852.0))));
        assert!(active(dock.tree_for(vec2(800.0, 552.0))));
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
