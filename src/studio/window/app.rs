//! The window: a bar, a dock of panes, and what lies over them.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use egui::gui_zoom::kb_shortcuts::{ZOOM_IN, ZOOM_IN_SECONDARY, ZOOM_OUT, ZOOM_RESET};
use egui::{
    CentralPanel, Context, Frame, Key, Margin, Modifiers, Panel as Strip, Theme, Ui, Vec2,
    ViewportCommand, Visuals, vec2,
};

use super::bar;
use super::dock::Dock;
use super::frames::FrameTimes;
use super::measure::Measurement;
use super::pages::{self, Page};
use crate::data::is_picture;
use crate::studio::base::dialogs::{Dialogs, Reply};
use crate::studio::base::notices::About;
use crate::studio::base::theme::{self, GRID, PANE_MARGIN};
use crate::studio::base::worker::Wake;
use crate::studio::canvas::{self, Overlay};
use crate::studio::engine::{Engine, ModelSource, View};
use crate::studio::export::{Destination, Export};
use crate::studio::session::state::StudioState;
use crate::studio::session::token::Token;
use crate::studio::window::saved::{Begun, Keep, Kept, Session};

/// The least window that can be had, in points of the desktop.
pub const LEAST_WINDOW: Vec2 = vec2(640.0, 420.0);
/// Room that the bar and one pane need, in points of the interface: in a window that has less the
/// interface is smaller than its scale says.
const LEAST_ROOM: Vec2 = vec2(480.0, 300.0);
/// How much a key changes the scale.
const SCALE_STEP: f32 = 0.1;

/// The studio's window.
pub struct StudioApp {
    pub(crate) state: StudioState,
    pub(super) engine: Engine,
    pub(super) dialogs: Dialogs,
    pub(super) dock: Dock,
    pub(crate) page: Option<Page>,
    pub(super) theme: Theme,
    /// Whether the hint of a first start was read.
    pub(crate) greeted: bool,
    /// Time that the window's own work took, frame by frame.
    pub(crate) frames: FrameTimes,
    /// Time that whole frames took, drawing included, waiting not.
    pub(super) drawn: FrameTimes,
    pub(crate) measure: Option<Measurement>,
    /// Whether frame times are shown in a corner.
    pub(super) figures: bool,
    /// Where all this is kept for the next time.
    session: Session,
    /// Whether it was said that the compute thread has ended.
    mourned: bool,
}

impl StudioApp {
    /// A window over `engine`, which is told to load `source`; layout and settings are as a session
    /// begins with them.
    pub fn new(
        ctx: &Context,
        (session, begun): (Session, Begun),
        engine: Engine,
        source: ModelSource,
    ) -> Self {
        theme::apply(ctx);
        let Begun { kept, trouble, .. } = begun;
        let Kept { draft, presets, canvas, playback, light, dock, .. } = kept;
        let theme = if light { Theme::Light } else { Theme::Dark };
        ctx.set_theme(theme);
        // The scale has keys of its own below.
        ctx.options_mut(|options| options.zoom_with_keyboard = false);
        ctx.set_zoom_factor(kept.scale);
        let mut state = StudioState::default();
        (state.draft, state.canvas, state.playback) = (draft, canvas, playback);
        (state.recent, state.scale, state.presets) = (kept.recent, kept.scale, presets);
        state.training.recent = kept.run_files;
        let window = ctx.clone();
        state.jobs.set_wake(Wake::new(move || window.request_repaint()));
        if let Some(text) = trouble {
            state.notices.warn(About::Other, text);
        }
        state.load_model(source);
        let mut app = Self {
            state,
            engine,
            dialogs: Dialogs::default(),
            dock,
            page: None,
            theme,
            greeted: kept.greeted,
            frames: FrameTimes::default(),
            drawn: FrameTimes::default(),
            measure: None,
            figures: false,
            session,
            mourned: false,
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
        // Asked first, so that nothing that it said before its end is passed over.
        let gone = self.engine.has_ended();
        for event in self.engine.events() {
            self.state.take(event);
        }
        if gone && !std::mem::replace(&mut self.mourned, true) {
            self.state.lose_engine();
        }
        self.state.follow_others();
        self.state.training.attend(ctx, &mut self.state.notices);
        self.session.follow(&mut self.state.notices);
        for reply in self.dialogs.replies() {
            match reply {
                Reply::Open(path) => self.state.open_file(path),
                Reply::Saved(path) => self.state.notices.tell(format!("Saved {}.", path.display())),
                Reply::Picture { name, picture } => self.state.inpaint_picture(*picture, name),
                Reply::Failed(text) => self.state.notices.error_about(About::Opening, text),
            }
        }
        if let Some(path) = self.state.inpaint.wants_picture.take() {
            self.dialogs.read_picture(ctx, path);
        }
        if std::mem::take(&mut self.state.inpaint.wants_file) {
            self.dialogs.open_picture(ctx);
        }
        let dropped = ctx.input(|input| {
            input.raw.dropped_files.iter().map(|file| file.path().to_owned()).collect::<Vec<_>>()
        });
        if !dropped.is_empty() {
            self.take_dropped(ctx, dropped);
        }
        if let Some(pane) = self.state.wanted_pane.take() {
            self.dock.reveal(pane);
        }
    }

    /// Opens the first of the files that can be opened, and says that the others were not.
    fn take_dropped(&mut self, ctx: &Context, files: Vec<PathBuf>) {
        let inpainting = self.state.canvas.tool == canvas::Tool::Region;
        let picture = files.iter().position(|path| inpainting && is_picture(path));
        match picture {
            Some(at) => {
                self.dialogs.read_picture(ctx, files[at].clone());
                self.state.tell_left_out(&files[at], files.len() - 1);
            }
            None => self.state.open_dropped(files),
        }
    }

    /// Gives the interface the scale that is chosen, or as much of it as the window has room for.
    fn fit_scale(&self, ctx: &Context) {
        let now = ctx.zoom_factor();
        let window = ctx.content_rect().size() * now;
        if window.min_elem() < 1.0 {
            return;
        }
        let room = (window / LEAST_ROOM).min_elem().max(*Kept::SCALES.start());
        let wanted = self.state.scale.min(room);
        if (wanted - now).abs() > 1e-3 {
            ctx.set_zoom_factor(wanted);
            ctx.send_viewport_cmd(ViewportCommand::MinInnerSize(LEAST_WINDOW / wanted));
        }
    }

    fn scale_keys(&mut self, ctx: &Context) {
        let pressed = |keys| ctx.input_mut(|input| input.consume_shortcut(keys));
        let steps = (self.state.scale / SCALE_STEP).round();
        let by =
            |steps: f32| (steps * SCALE_STEP).clamp(*Kept::SCALES.start(), *Kept::SCALES.end());
        if pressed(&ZOOM_RESET) {
            self.state.scale = 1.0;
        } else if pressed(&ZOOM_IN) || pressed(&ZOOM_IN_SECONDARY) {
            self.state.scale = by(steps + 1.0);
        } else if pressed(&ZOOM_OUT) {
            self.state.scale = by(steps - 1.0);
        }
    }

    fn shortcuts(&mut self, ctx: &Context) {
        self.scale_keys(ctx);
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
        if pressed(Modifiers::COMMAND, Key::Q) {
            ctx.send_viewport_cmd(ViewportCommand::Close);
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
        self.fit_scale(&ctx);
        // A list of choices is to lie within the window.
        let room = ctx.content_rect().height() - 2.0 * bar::HEIGHT;
        let combo = &mut ui.spacing_mut().combo_height;
        *combo = combo.min(room.max(20.0 * GRID));
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
        self.session.place.follow(&ctx);
        self.frames.add(begun.elapsed());
        if let Some(seconds) = frame.info().cpu_usage {
            self.drawn.add(Duration::from_secs_f32(seconds));
        }
        if let Some(measure) = &mut self.measure {
            measure.step(&ctx, &mut self.state, &mut self.frames, &mut self.drawn);
            self.send_commands();
        }
    }

    /// Called every half minute, and at the end. What eframe would keep it in, it would read unchecked
    /// and write in place.
    fn save(&mut self, _storage: &mut dyn eframe::Storage) {
        let run_files = &self.state.training.recent;
        self.session.save(&Keep {
            draft: &self.state.draft,
            presets: &self.state.presets,
            canvas: &self.state.canvas,
            playback: &self.state.playback,
            light: self.theme == Theme::Light,
            dock: &self.dock,
            recent: &self.state.recent,
            run_files,
            greeted: self.greeted,
            scale: self.state.scale,
        });
    }

    fn on_exit(&mut self) {
        self.session.end();
    }

    fn persist_egui_memory(&self) -> bool {
        false
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
