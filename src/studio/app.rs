//! The window: a bar, a dock of panes, and what lies over them.

use egui::{
    Align, Align2, Area, Button, CentralPanel, Color32, Context, Frame, Grid, Id, Key, Layout,
    Margin, Modal, Modifiers, Order, Panel as Strip, Rect, RichText, Role, ScrollArea, Sense,
    Stroke, Theme, Ui, UiBuilder, Visuals, WidgetInfo, WidgetText, vec2,
};
use egui_tiles::{
    Behavior, Linear, LinearDir, SimplificationOptions, TabState, Tile, TileId, Tiles, Tree,
    UiResponse,
};
use serde::{Deserialize, Serialize};

use super::draft::Draft;
use super::engine::{Engine, ModelSource};
use super::export::{self, Dialogs, Reply};
use super::notices::{Entry, Level};
use super::panes::Pane;
use super::panes::canvas::{self, CanvasState};
use super::state::{Playback, StudioState, Token};
use super::theme::{self, GRID, PANE_MARGIN, palette};

/// Where the layout and the settings are kept between sessions; a new format takes a new key.
const STORAGE_KEY: &str = "purrscope-studio-2";

const BAR_HEIGHT: f32 = 12.0 * GRID;

/// Least width of the side panes at first, in points.
const SIDE_WIDTH: f32 = 66.0 * GRID;

/// What is kept between sessions.
#[derive(Serialize, Deserialize)]
#[serde(default)]
struct Saved {
    draft: Draft,
    canvas: CanvasState,
    playback: Playback,
    light: bool,
    dock: Tree<Pane>,
}

impl Default for Saved {
    fn default() -> Self {
        Self {
            draft: Draft::default(),
            canvas: CanvasState::default(),
            playback: Playback::default(),
            light: false,
            dock: Tree::empty(Id::unique("dock")),
        }
    }
}

/// What lies over the dock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Page {
    Help,
    Log,
}

/// The studio's window.
pub struct StudioApp {
    pub(crate) state: StudioState,
    engine: Engine,
    dialogs: Dialogs,
    dock: Tree<Pane>,
    page: Option<Page>,
    theme: Theme,
}

impl StudioApp {
    /// A window over `engine`, which is told to load `source`; layout and settings come from
    /// `storage` where it has them.
    pub fn new(
        ctx: &Context,
        storage: Option<&dyn eframe::Storage>,
        engine: Engine,
        source: ModelSource,
    ) -> Self {
        theme::apply(ctx);
        let saved: Option<Saved> = storage.and_then(|from| eframe::get_value(from, STORAGE_KEY));
        let Saved { draft, canvas, playback, light, dock } = saved.unwrap_or_default();
        let theme = if light { Theme::Light } else { Theme::Dark };
        ctx.set_theme(theme);
        let mut state = StudioState::default();
        (state.draft, state.canvas, state.playback) = (draft, canvas, playback);
        state.load_model(source);
        let mut app = Self { state, engine, dialogs: Dialogs::default(), dock, page: None, theme };
        app.send_commands();
        app
    }

    fn send_commands(&mut self) {
        for command in self.state.take_commands() {
            self.engine.send(command);
        }
    }

    /// Takes in whatever has come from other threads and from the desktop.
    fn receive(&mut self, ctx: &Context) {
        for event in self.engine.events() {
            self.state.take(event);
        }
        for reply in self.dialogs.replies() {
            match reply {
                Reply::Open(path) => self.state.open_file(path),
                Reply::Saved(path) => self.state.notices.tell(format!("Saved {}.", path.display())),
                Reply::Restore(restored) => self.state.restore(&restored),
                Reply::Failed(text) => self.state.notices.error(text),
            }
        }
        let dropped = ctx.input(|input| {
            input.raw.dropped_files.iter().map(|file| file.path().to_owned()).collect::<Vec<_>>()
        });
        match dropped.into_iter().next() {
            Some(path) if path.extension().is_some_and(|end| end.eq_ignore_ascii_case("png")) => {
                self.dialogs.restore(ctx, path);
            }
            Some(path) => self.state.open_file(path),
            None => {}
        }
    }

    fn shortcuts(&mut self, ctx: &Context) {
        if ctx.text_edit_focused() {
            return;
        }
        let pressed = |key| ctx.input_mut(|input| input.consume_key(Modifiers::NONE, key));
        if ctx.input(|input| input.key_pressed(Key::Questionmark)) {
            self.page = if self.page.is_none() { Some(Page::Help) } else { None };
        }
        // An open menu closes by itself on this key.
        if !egui::Popup::is_any_open(ctx) && pressed(Key::Escape) {
            self.escape();
        }
        if self.page.is_some() {
            return;
        }
        let state = &mut self.state;
        if pressed(Key::G) {
            state.generate();
        }
        if pressed(Key::S) {
            state.stop();
        }
        let shifted = |key| ctx.input_mut(|input| input.consume_key(Modifiers::SHIFT, key));
        for (key, rows, columns) in [
            (Key::ArrowUp, -1, 0),
            (Key::ArrowDown, 1, 0),
            (Key::ArrowLeft, 0, -1),
            (Key::ArrowRight, 0, 1),
        ] {
            if shifted(key) {
                move_token(state, rows, columns);
            }
        }
        // These keys belong to the widget that has the focus, if one has.
        if ctx.memory(|memory| memory.focused().is_some()) {
            return;
        }
        if pressed(Key::Space) {
            state.toggle_play();
        }
        for (key, by) in [
            (Key::ArrowLeft, -1),
            (Key::ArrowRight, 1),
            (Key::Home, isize::MIN),
            (Key::End, isize::MAX),
        ] {
            if pressed(key) {
                state.step_by(by);
            }
        }
    }

    /// Takes away the topmost of what can be taken away.
    fn escape(&mut self) {
        if self.page.take().is_none() && self.state.notices.banner.take().is_none() {
            self.state.selected = None;
        }
    }

    fn bar(&mut self, ui: &mut Ui) {
        let rect = ui.max_rect();
        ui.horizontal_centered(|ui| {
            let accent = palette(ui.visuals()).accent;
            ui.label(RichText::new("Purrscope").text_style(egui::TextStyle::Heading).color(accent));
            ui.add_space(2.0 * GRID);
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                self.bar_buttons(ui);
                ui.add_space(2.0 * GRID);
                ui.with_layout(Layout::left_to_right(Align::Center), |ui| self.model_name(ui));
            });
        });
        self.progress(ui, rect);
    }

    fn model_name(&self, ui: &mut Ui) {
        let strong = palette(ui.visuals()).strong;
        match (&self.state.loading, &self.state.model) {
            (Some(source), _) => {
                ui.add(egui::Label::new(theme::weak(ui, format!("Opening {source}"))).truncate());
            }
            (None, Some(model)) => {
                let card = &model.card;
                let about = format!(
                    "{} classes, {side} x {side} pixels, {tokens} x {tokens} tokens of {} codes.\nFrom {}.",
                    card.class_names.len(),
                    card.tokenizer.codes,
                    model.source,
                    side = card.image_size(),
                    tokens = card.backbone.input_size,
                );
                ui.add(egui::Label::new(RichText::new(&card.name).color(strong)).truncate())
                    .on_hover_text(about);
                ui.add(egui::Label::new(theme::weak(ui, &model.device)).truncate())
                    .on_hover_text("Where the model computes, and why there.");
            }
            (None, None) => {
                ui.label(theme::weak(ui, "no model is loaded"));
            }
        }
    }

    /// The buttons of the bar, from the right.
    fn bar_buttons(&mut self, ui: &mut Ui) {
        let help =
            ui.button("?").on_hover_text("Keys, layout and credits (?)").accessible_name("Help");
        if help.clicked() {
            self.page = Some(Page::Help);
        }
        let (other, name) = match self.theme {
            Theme::Dark => (Theme::Light, "Light"),
            Theme::Light => (Theme::Dark, "Dark"),
        };
        if ui.button(name).on_hover_text("Change to the other theme").clicked() {
            self.theme = other;
            ui.ctx().set_theme(other);
        }
        if ui
            .button("Open model")
            .on_hover_text("Open a .safetensors model, or drop one on the window")
            .clicked()
        {
            self.dialogs.open_model(ui.ctx());
        }
        self.save_menu(ui);
        ui.add_space(GRID);
        ui.separator();
        ui.add_space(GRID);
        let stop = Button::new("Stop").shortcut_text("S");
        let stop = ui.add_enabled(self.state.active.is_some(), stop);
        if stop
            .on_hover_text("Drop the run after the step in progress (S)")
            .accessible_name("Stop")
            .clicked()
        {
            self.state.stop();
        }
        let colours = palette(ui.visuals());
        let text = RichText::new("Generate").color(colours.on_accent);
        let key = RichText::new("G").color(colours.on_accent.gamma_multiply(0.7));
        let generate = Button::new((text, key)).fill(colours.accent).gap(2.0 * GRID);
        let generate = ui.add_enabled(self.state.model.is_some(), generate);
        if generate
            .on_hover_text("Make pictures with the settings on the left (G)")
            .accessible_name("Generate")
            .clicked()
        {
            self.state.generate();
        }
        ui.checkbox(&mut self.state.draft.live, "Live").on_hover_text(
            "A changed setting starts a run at once, and drops the one in progress.",
        );
    }

    fn save_menu(&mut self, ui: &mut Ui) {
        ui.add_enabled_ui(self.state.has_pictures(), |ui| {
            let menu = ui.menu_button("Save PNG", |ui| {
                let count = self.state.run.as_ref().map_or(0, |run| run.settings.labels.len());
                for index in 0..count {
                    if ui
                        .button(format!("Picture {}", index + 1))
                        .accessible_name(format!("Save picture {}", index + 1))
                        .clicked()
                    {
                        self.save(ui.ctx(), Some(index));
                    }
                }
                if count > 1 && ui.button("All on one sheet").clicked() {
                    self.save(ui.ctx(), None);
                }
            });
            menu.response
                .on_hover_text("Save what is on the canvas, with the settings that made it inside");
        });
    }

    /// Saves a picture of the shown step, or all on a sheet.
    fn save(&mut self, ctx: &Context, picture: Option<usize>) {
        let Some((_, pictures)) = self.state.pictures() else { return };
        let Some(run) = &self.state.run else { return };
        let image = match picture {
            Some(index) => pictures.host().and_then(|pictures| pictures.get(index)).cloned(),
            None => canvas::contact_sheet(&pictures),
        };
        let settings = export::settings_json(run, self.state.position, picture);
        match (image, settings) {
            (Some(image), Ok(settings)) => {
                let name = export::file_name(run, self.state.position, picture);
                self.dialogs.save_png(ctx, &name, image, settings);
            }
            (_, Err(error)) => {
                self.state
                    .notices
                    .error(format!("The settings could not be written down: {error}."));
            }
            (None, _) => {}
        }
    }

    /// A line along the foot of the bar: how far the run is.
    fn progress(&self, ui: &Ui, bar: Rect) {
        let Some(active) = &self.state.active else { return };
        let steps = active.settings.times().len().saturating_sub(1).max(1);
        let part = active.done as f32 / steps as f32;
        let foot = Rect::from_min_max(
            bar.left_bottom() + vec2(-PANE_MARGIN, -2.0),
            bar.right_bottom() + vec2(PANE_MARGIN, 0.0),
        );
        let text = format!("Step {} of {steps}", active.done);
        let response = ui.interact(foot, ui.scope_id().with("progress"), Sense::hover());
        response.widget_info(|| WidgetInfo::labeled(Role::ProgressIndicator, true, &text));
        let done = foot.with_max_x(foot.left() + part * foot.width());
        let painter = ui.painter().with_clip_rect(foot);
        painter.rect_filled(done, 0.0, palette(ui.visuals()).accent);
    }

    fn overlays(&mut self, ctx: &Context) {
        self.banner(ctx);
        match self.page {
            Some(Page::Help) => self.help(ctx),
            Some(Page::Log) => self.log(ctx),
            None => {}
        }
        if ctx.input(|input| !input.raw.hovered_files.is_empty()) {
            drop_target(ctx);
        }
    }

    fn banner(&mut self, ctx: &Context) {
        if let Some(left) = self.state.notices.expire() {
            ctx.request_repaint_after(left);
        }
        let Some(Entry { level, text, .. }) = self.state.notices.banner.clone() else { return };
        Area::new(Id::unique("banner"))
            .order(Order::Foreground)
            .anchor(Align2::CENTER_TOP, vec2(0.0, BAR_HEIGHT + 20.0 * GRID))
            .show(ctx, |ui| {
                let colours = palette(ui.visuals());
                let (title, colour) = match level {
                    Level::Error => ("Problem", colours.error),
                    Level::Note => ("Done", colours.accent),
                };
                let frame = Frame::popup(ui.style())
                    .inner_margin(Margin::symmetric(16, 12))
                    .stroke(Stroke::new(1.0, colour));
                frame.show(ui, |ui| {
                    ui.set_max_width(130.0 * GRID);
                    ui.horizontal(|ui| {
                        ui.label(RichText::new(title).color(colour));
                        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                            if ui.button("Dismiss").on_hover_text("Escape").clicked() {
                                self.state.notices.banner = None;
                            }
                            if ui.button("Log").on_hover_text("Everything that happened").clicked()
                            {
                                self.page = Some(Page::Log);
                            }
                        });
                    });
                    ui.label(text);
                });
            });
    }

    fn help(&mut self, ctx: &Context) {
        let modal = page("help", ctx).show(ctx, |ui| {
            ui.set_width(110.0 * GRID);
            ui.heading("Purrscope");
            ui.label(theme::weak(
                ui,
                "Watch noise become a picture, with the model's belief laid open.",
            ));
            ui.add_space(2.0 * GRID);
            Grid::new("keys").num_columns(2).spacing([6.0 * GRID, GRID]).show(ui, |ui| {
                for (keys, what) in KEYS {
                    ui.label(theme::number(ui, *keys));
                    ui.label(*what);
                    ui.end_row();
                }
            });
            ui.add_space(2.0 * GRID);
            if let Some(model) = &self.state.model
                && !model.card.provenance.credits.is_empty()
            {
                ui.label(theme::section(ui, "Credits of the model"));
                ui.label(&model.card.provenance.credits);
                ui.add_space(2.0 * GRID);
            }
            ui.horizontal(|ui| {
                if ui
                    .button("Reset layout")
                    .on_hover_text("Put every pane back in its place")
                    .clicked()
                {
                    self.dock = Tree::empty(Id::unique("dock"));
                }
                if ui.button("Log").on_hover_text("Everything that happened").clicked() {
                    self.page = Some(Page::Log);
                }
                ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                    if ui.button("Close").clicked() {
                        self.page = None;
                    }
                });
            });
        });
        if modal.should_close() {
            self.page = None;
        }
    }

    fn log(&mut self, ctx: &Context) {
        let modal = page("log", ctx).show(ctx, |ui| {
            ui.set_width(150.0 * GRID);
            ui.heading("Log");
            let scroll = ScrollArea::vertical().max_height(90.0 * GRID).stick_to_bottom(true);
            scroll.auto_shrink([false, true]).show(ui, |ui| {
                for entry in &self.state.notices.log {
                    ui.horizontal_top(|ui| {
                        let seconds = entry.at.as_secs();
                        ui.label(theme::number(
                            ui,
                            format!("{:02}:{:02}", seconds / 60, seconds % 60),
                        ));
                        let colour = match entry.level {
                            Level::Note => ui.visuals().text_color(),
                            Level::Error => palette(ui.visuals()).error,
                        };
                        ui.add(egui::Label::new(RichText::new(&entry.text).color(colour)).wrap());
                    });
                }
            });
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                if ui.button("Close").clicked() {
                    self.page = None;
                }
                if ui.button("Copy").on_hover_text("Copy the log as text").clicked() {
                    let lines = self.state.notices.log.iter();
                    let lines: Vec<_> = lines.map(|entry| entry.text.as_str()).collect();
                    ui.ctx().copy_text(lines.join("\n"));
                }
            });
        });
        if modal.should_close() {
            self.page = None;
        }
    }
}

const KEYS: &[(&str, &str)] = &[
    ("G", "Generate"),
    ("S", "Stop"),
    ("Space", "Play or pause the steps"),
    ("Left Right", "Previous or next step"),
    ("Home End", "First or last step"),
    ("Wheel", "Zoom the canvas; drag to move, double-click to fit"),
    ("Click", "Choose a token; Shift and arrows move the choice"),
    ("Drop", "A model to open it, a picture made here to restore its settings"),
    ("Escape", "Close, dismiss, choose nothing"),
    ("?", "This page"),
];

impl eframe::App for StudioApp {
    fn logic(&mut self, ctx: &Context, _frame: &mut eframe::Frame) {
        self.receive(ctx);
        self.send_commands();
    }

    fn ui(&mut self, ui: &mut Ui, _frame: &mut eframe::Frame) {
        let ctx = ui.ctx().clone();
        self.shortcuts(&ctx);
        if let Some(next) = self.state.play(ctx.time()) {
            ctx.request_repaint_after(next);
        }
        let bar = Frame::new()
            .fill(ui.visuals().panel_fill)
            .inner_margin(Margin::symmetric(PANE_MARGIN as i8, 0));
        Strip::top("bar")
            .exact_size(BAR_HEIGHT)
            .resizable(false)
            .show_separator_line(false)
            .frame(bar)
            .show(ui, |ui| self.bar(ui));
        CentralPanel::default().frame(Frame::NONE).show(ui, |ui| {
            if !is_whole(&self.dock) {
                self.dock = default_dock(ui.available_width());
            }
            self.dock.ui(&mut Dock { state: &mut self.state }, ui);
        });
        self.overlays(&ctx);
        let busy = ctx.input(|input| input.pointer.any_down()) || ctx.text_edit_focused();
        self.state.follow_draft(busy);
        self.send_commands();
    }

    fn save(&mut self, storage: &mut dyn eframe::Storage) {
        #[derive(Serialize)]
        struct Kept<'a> {
            draft: &'a Draft,
            canvas: &'a CanvasState,
            playback: &'a Playback,
            light: bool,
            dock: &'a Tree<Pane>,
        }
        let kept = Kept {
            draft: &self.state.draft,
            canvas: &self.state.canvas,
            playback: &self.state.playback,
            light: self.theme == Theme::Light,
            dock: &self.dock,
        };
        eframe::set_value(storage, STORAGE_KEY, &kept);
    }

    fn clear_color(&self, visuals: &Visuals) -> [f32; 4] {
        visuals.panel_fill.to_normalized_gamma_f32()
    }
}

/// A page over the whole window.
fn page(name: &str, ctx: &Context) -> Modal {
    let frame = Frame::popup(&ctx.global_style()).inner_margin(5.0 * GRID);
    Modal::new(Id::unique(name)).frame(frame)
}

/// Moves the chosen token by rows and columns, within its picture.
fn move_token(state: &mut StudioState, rows: isize, columns: isize) {
    let Some(shape) = state.run.as_ref().map(|run| run.shape) else { return };
    let Some(Token { row, column, .. }) = &mut state.selected else { return };
    *row = row.saturating_add_signed(rows).min(shape.height - 1);
    *column = column.saturating_add_signed(columns).min(shape.width - 1);
}

/// Says that what is held over the window can be dropped.
fn drop_target(ctx: &Context) {
    let painter = ctx.layer_painter(egui::LayerId::new(Order::Tooltip, Id::unique("drop")));
    let rect = ctx.content_rect();
    let style = ctx.global_style();
    let colours = palette(&style.visuals);
    painter.rect_filled(rect, 0.0, Color32::from_black_alpha(160));
    let stroke = Stroke::new(2.0, colours.accent);
    painter.rect_stroke(rect.shrink(12.0), 8.0, stroke, egui::StrokeKind::Inside);
    painter.text(
        rect.center(),
        Align2::CENTER_CENTER,
        "Drop a model (.safetensors) to open it, or a picture made here to make it again",
        egui::FontId::proportional(18.0),
        Color32::WHITE,
    );
}

/// The dock as it is at first in a window `width` points wide: controls, canvas over timeline,
/// posterior.
fn default_dock(width: f32) -> Tree<Pane> {
    let mut tiles = Tiles::default();
    let [controls, canvas, timeline, posterior] =
        [Pane::Controls, Pane::Canvas, Pane::Timeline, Pane::Posterior].map(|pane| {
            let tile = tiles.insert_pane(pane);
            tiles.insert_tab_tile(vec![tile])
        });
    let middle = Linear::new_binary(LinearDir::Vertical, [canvas, timeline], 0.73);
    let middle = tiles.insert_container(middle);
    let mut root = Linear::new(LinearDir::Horizontal, vec![controls, middle, posterior]);
    // The sides need some width for their words, whatever the window has.
    let side = |part: f32| part.max(SIDE_WIDTH / width.max(3.0 * SIDE_WIDTH));
    let (left, right) = (side(0.215), side(0.22));
    for (tile, share) in [(controls, left), (middle, 1.0 - left - right), (posterior, right)] {
        root.shares.set_share(tile, share);
    }
    let root = tiles.insert_container(root);
    Tree::new(Id::unique("dock"), root, tiles)
}

/// Whether a stored dock has every pane exactly once.
fn is_whole(dock: &Tree<Pane>) -> bool {
    let shown: Vec<Pane> = dock
        .tiles
        .tiles()
        .filter_map(|tile| match tile {
            Tile::Pane(pane) => Some(*pane),
            Tile::Container(_) => None,
        })
        .collect();
    dock.root().is_some()
        && shown.len() == Pane::ALL.len()
        && Pane::ALL.iter().all(|pane| shown.contains(pane))
}

/// How the dock looks and behaves.
struct Dock<'a> {
    state: &'a mut StudioState,
}

impl Behavior<Pane> for Dock<'_> {
    fn pane_ui(&mut self, ui: &mut Ui, _tile: TileId, pane: &mut Pane) -> UiResponse {
        let named = UiBuilder::new().accessibility_label(pane.title());
        ui.scope_builder(named.max_rect(ui.max_rect()), |ui| pane.show(ui, self.state));
        UiResponse::None
    }

    fn tab_title_for_pane(&mut self, pane: &Pane) -> WidgetText {
        RichText::new(pane.title()).text_style(egui::TextStyle::Small).into()
    }

    fn simplification_options(&self) -> SimplificationOptions {
        SimplificationOptions { all_panes_must_have_tabs: true, ..SimplificationOptions::default() }
    }

    fn tab_bar_height(&self, _style: &egui::Style) -> f32 {
        7.0 * GRID
    }

    fn tab_title_spacing(&self, _visuals: &Visuals) -> f32 {
        PANE_MARGIN
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
    fn the_default_dock_has_every_pane_once() {
        assert!(is_whole(&default_dock(1440.0)));
        assert!(!is_whole(&Tree::empty(Id::unique("none"))));
    }

    #[test]
    fn a_dock_that_lost_a_pane_is_not_whole() {
        let mut dock = default_dock(1440.0);
        let lost = dock.tiles.find_pane(&Pane::Timeline).unwrap();
        dock.tiles.remove(lost);
        assert!(!is_whole(&dock));
    }
}
