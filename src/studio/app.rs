//! The window: a bar, a dock of panes, and what lies over them.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use egui::{
    CentralPanel, Context, Frame, Key, Margin, Modifiers, Panel as Strip, Theme, Ui, Visuals,
};
use serde::{Deserialize, Serialize};

use super::dock::Dock;
use super::draft::Draft;
use super::engine::{Engine, ModelSource, View};
use super::export::{Destination, Dialogs, Export, Reply};
use super::frames::FrameTimes;
use super::jobs::Wake;
use super::measure::Measurement;
use super::pages::Page;
use super::panes::canvas::{self, CanvasState, Overlay};
use super::presets::Presets;
use super::state::{Playback, StudioState, Token};
use super::theme::{self, PANE_MARGIN};
use super::{bar, pages};
use crate::data::is_picture;

/// Where the layout and the settings are kept between sessions; a new format takes a new key.
const STORAGE_KEY: &str = "purrscope-studio-2";

/// What is kept between sessions.
#[derive(Serialize, Deserialize)]
#[serde(default)]
struct Saved {
    draft: Draft,
    presets: Presets,
    canvas: CanvasState,
    playback: Playback,
    light: bool,
    dock: Dock,
    recent: Vec<PathBuf>,
    /// Whether the hint of a first start was read.
    greeted: bool,
    scale: f32,
}

impl Default for Saved {
    fn default() -> Self {
        Self {
            draft: Draft::default(),
            presets: Presets::default(),
            canvas: CanvasState::default(),
            playback: Playback::default(),
            light: false,
            dock: Dock::default(),
            recent: Vec::new(),
            greeted: false,
            scale: 1.0,
        }
    }
}

/// The studio's window.
pub struct StudioApp {
    pub(crate) state: StudioState,
    pub(super) engine: Engine,
    pub(super) dialogs: Dialogs,
    pub(super) dock: Dock,
    pub(super) page: Option<Page>,
    pub(super) theme: Theme,
    /// Whether the hint of a first start was read.
    pub(super) greeted: bool,
    /// Time that the window's own work took, frame by frame.
    pub(crate) frames: FrameTimes,
    /// Time that whole frames took, drawing included, waiting not.
    pub(super) drawn: FrameTimes,
    pub(super) measure: Option<Measurement>,
    /// Whether frame times are shown in a corner.
    pub(super) figures: bool,
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
        let Saved { draft, presets, canvas, playback, light, dock, recent, greeted, scale } =
            saved.unwrap_or_default();
        let theme = if light { Theme::Light } else { Theme::Dark };
        ctx.set_theme(theme);
        let mut state = StudioState::default();
        (state.draft, state.canvas, state.playback) = (draft, canvas, playback);
        (state.recent, state.scale) = (recent, scale.clamp(0.5, 3.0));
        ctx.set_zoom_factor(state.scale);
        let window = ctx.clone();
        state.jobs.set_wake(Wake::new(move || window.request_repaint()));
        state.presets = presets;
        state.presets.tidy();
        state.load_model(source);
        let mut app = Self {
            state,
            engine,
            dialogs: Dialogs::default(),
            dock,
            page: None,
            theme,
            greeted,
            frames: FrameTimes::default(),
            drawn: FrameTimes::default(),
            measure: None,
            figures: false,
        };
        app.send_commands();
        app
    }

    /// Keeps finished pictures in a folder; without one, which is how a window begins, nothing is kept.
    pub fn open_gallery(&mut self, folder: PathBuf) {
        let wake = self.state.jobs.wake().clone();
        self.state.gallery.open(folder, wake, &mut self.state.notices);
    }

    /// Puts exports into a folder, without asking where each is to go.
    pub fn export_to(&mut self, folder: PathBuf) {
        self.state.exports.destination = Destination::Folder(folder);
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
        self.state.follow_others();
        self.state.training.attend(ctx, &mut self.state.notices);
        for reply in self.dialogs.replies() {
            match reply {
                Reply::Open(path) => self.state.open_file(path),
                Reply::Saved(path) => self.state.notices.tell(format!("Saved {}.", path.display())),
                Reply::Picture { name, picture } => self.state.inpaint_picture(*picture, name),
                Reply::Failed(text) => self.state.notices.error(text),
            }
        }
        let dropped = ctx.input(|input| {
            input.raw.dropped_files.iter().map(|file| file.path().to_owned()).collect::<Vec<_>>()
        });
        if let Some(path) = self.state.inpaint.wants_picture.take() {
            self.dialogs.read_picture(ctx, path);
        }
        if std::mem::take(&mut self.state.inpaint.wants_file) {
            self.dialogs.open_picture(ctx);
        }
        let inpainting = self.state.canvas.tool == canvas::Tool::Region;
        match dropped.into_iter().next() {
            Some(path) if inpainting && is_picture(&path) => self.dialogs.read_picture(ctx, path),
            Some(path) => self.state.open_file(path),
            None => {}
        }
        if let Some(pane) = self.state.wanted_pane.take() {
            self.dock.reveal(pane);
        }
    }

    fn shortcuts(&mut self, ctx: &Context) {
        if ctx.text_edit_focused() {
            return;
        }
        let pressed = |modifiers, key| ctx.input_mut(|input| input.consume_key(modifiers, key));
        let plain = |key| pressed(Modifiers::NONE, key);
        if ctx.input(|input| input.key_pressed(Key::Questionmark)) || plain(Key::F1) {
            self.page = if self.page.is_none() { Some(Page::Keys) } else { None };
        }
        if plain(Key::F12) {
            self.figures = !self.figures;
        }
        // An open menu closes by itself on this key.
        if !egui::Popup::is_any_open(ctx) && plain(Key::Escape) {
            self.escape();
        }
        if self.page.is_some() {
            return;
        }
        // With more modifiers first: a chord also matches with fewer.
        if pressed(Modifiers::COMMAND | Modifiers::SHIFT, Key::Z)
            || pressed(Modifiers::COMMAND, Key::Y)
        {
            self.state.redo();
        }
        if pressed(Modifiers::COMMAND, Key::Z) {
            self.state.undo();
        }
        if pressed(Modifiers::COMMAND | Modifiers::SHIFT, Key::S) {
            let picture = self.state.selected.map_or(0, |token| token.image);
            self.state.export(Export::Picture(picture));
        }
        if pressed(Modifiers::COMMAND, Key::S) {
            self.state.keep();
        }
        if pressed(Modifiers::COMMAND, Key::O) {
            self.dialogs.open_model(ctx);
        }
        canvas::shortcuts(ctx, &mut self.state);
        let state = &mut self.state;
        if plain(Key::G) {
            state.generate();
        }
        if plain(Key::S) {
            state.stop();
        }
        for (key, rows, columns) in [
            (Key::ArrowUp, -1, 0),
            (Key::ArrowDown, 1, 0),
            (Key::ArrowLeft, 0, -1),
            (Key::ArrowRight, 0, 1),
        ] {
            if pressed(Modifiers::SHIFT, key) {
                move_token(state, rows, columns);
            }
        }
        // These keys belong to the widget that has the focus, if one has.
        if ctx.memory(|memory| memory.focused().is_some()) {
            return;
        }
        if plain(Key::Space) {
            state.toggle_play();
        }
        for (key, by) in [
            (Key::ArrowLeft, -1),
            (Key::ArrowRight, 1),
            (Key::Home, isize::MIN),
            (Key::End, isize::MAX),
        ] {
            if plain(key) {
                state.step_by(by);
            }
        }
        for (key, view) in
            [(Key::Num1, View::Predicted), (Key::Num2, View::Likeliest), (Key::Num3, View::State)]
        {
            if plain(key) {
                state.canvas.view = view;
            }
        }
        let keys = [Key::Num4, Key::Num5, Key::Num6, Key::Num7, Key::Num8, Key::Num9];
        for (key, overlay) in keys.into_iter().zip(Overlay::ALL) {
            if plain(key) {
                state.canvas.overlay = overlay;
            }
        }
    }

    /// Takes away the topmost of what can be taken away.
    fn escape(&mut self) {
        if self.page.take().is_none() && self.state.notices.banner.take().is_none() {
            self.state.put_down();
        }
    }
}

impl eframe::App for StudioApp {
    fn logic(&mut self, ctx: &Context, _frame: &mut eframe::Frame) {
        self.receive(ctx);
        self.send_commands();
    }

    fn ui(&mut self, ui: &mut Ui, frame: &mut eframe::Frame) {
        let begun = Instant::now();
        let ctx = ui.ctx().clone();
        self.shortcuts(&ctx);
        if let Some(next) = self.state.play(ctx.time()) {
            ctx.request_repaint_after(next);
        }
        let around = Frame::new()
            .fill(ui.visuals().panel_fill)
            .inner_margin(Margin::symmetric(PANE_MARGIN as i8, 0));
        Strip::top("bar")
            .exact_size(bar::HEIGHT)
            .resizable(false)
            .show_separator_line(false)
            .frame(around)
            .show(ui, |ui| bar::show(ui, self));
        CentralPanel::default().frame(Frame::NONE).show(ui, |ui| {
            self.dock.show(ui, &mut self.state);
        });
        self.dock.show_windows(&ctx, &mut self.state);
        pages::show(&ctx, self);
        if std::mem::take(&mut self.state.wants_file) {
            self.dialogs.open_model(&ctx);
        }
        let busy = ctx.input(|input| input.pointer.any_down()) || ctx.text_edit_focused();
        self.state.follow_draft(busy);
        self.send_commands();
        self.frames.add(begun.elapsed());
        if let Some(seconds) = frame.info().cpu_usage {
            self.drawn.add(Duration::from_secs_f32(seconds));
        }
        if let Some(measure) = &mut self.measure {
            measure.step(&ctx, &mut self.state, &mut self.frames, &mut self.drawn);
            self.send_commands();
        }
    }

    fn save(&mut self, storage: &mut dyn eframe::Storage) {
        #[derive(Serialize)]
        struct Kept<'a> {
            draft: &'a Draft,
            presets: &'a Presets,
            canvas: &'a CanvasState,
            playback: &'a Playback,
            light: bool,
            dock: &'a Dock,
            recent: &'a [PathBuf],
            greeted: bool,
            scale: f32,
        }
        let kept = Kept {
            draft: &self.state.draft,
            presets: &self.state.presets,
            canvas: &self.state.canvas,
            playback: &self.state.playback,
            light: self.theme == Theme::Light,
            dock: &self.dock,
            recent: &self.state.recent,
            greeted: self.greeted,
            scale: self.state.scale,
        };
        eframe::set_value(storage, STORAGE_KEY, &kept);
    }

    fn clear_color(&self, visuals: &Visuals) -> [f32; 4] {
        visuals.panel_fill.to_normalized_gamma_f32()
    }
}

/// Moves the chosen token by rows and columns, within its picture.
fn move_token(state: &mut StudioState, rows: isize, columns: isize) {
    let Some(shape) = state.run.as_ref().map(|run| run.shape) else { return };
    let Some(Token { row, column, .. }) = &mut state.selected else { return };
    *row = row.saturating_add_signed(rows).min(shape.height - 1);
    *column = column.saturating_add_signed(columns).min(shape.width - 1);
}
