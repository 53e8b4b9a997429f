//! The window: the order of a frame.
//!
//! Events of the compute thread and answers of others are taken in first; then come the keys, the bar,
//! the panes and the pages over them; then every action that was asked for is done by its owner; last
//! the session looks at what has changed, and commands are sent.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use egui::{CentralPanel, Context, Frame, Margin, Panel as Strip, Theme, Ui, Visuals};

use super::frames::FrameTimes;
use super::measure::Measurement;
use super::saved::{Begun, Kept, SavedFile};
use super::shell::Shell;
use super::studio::Studio;
use super::{bar, first_steps, pages, shortcuts};
use crate::say;
use crate::studio::base::dialogs::Dialogs;
use crate::studio::base::notices::About;
use crate::studio::base::theme::{self, GRID, PANE_MARGIN};
use crate::studio::base::worker::Wake;
use crate::studio::engine::{Engine, ModelSource};

/// The studio's window.
pub struct StudioApp {
    /// What it is made of.
    pub shell: Shell,
    engine: Engine,
    /// Frames being measured.
    pub measure: Option<Measurement>,
    /// Where all this is kept for the next time.
    saved: SavedFile,
    /// Whether it was said that the compute thread has ended.
    end_told: bool,
}

impl StudioApp {
    /// A window over `engine`, which is told to load `source`; layout and settings are as a session
    /// begins with them.
    pub fn new(
        ctx: &Context,
        (saved, begun): (SavedFile, Begun),
        engine: Engine,
        source: ModelSource,
    ) -> Self {
        theme::apply(ctx);
        let Begun { kept, trouble, .. } = begun;
        let theme = if kept.light { Theme::Light } else { Theme::Dark };
        ctx.set_theme(theme);
        // The scale has keys of its own.
        ctx.options_mut(|options| options.zoom_with_keyboard = false);
        ctx.set_zoom_factor(kept.scale.0);
        let mut studio = Studio::default();
        studio.set_wake(Wake::from(ctx));
        studio.session.draft = kept.draft;
        studio.session.look = kept.canvas;
        studio.session.playback = kept.playback;
        studio.controls.presets = kept.presets;
        studio.files.recent = kept.recent;
        studio.training.recent = kept.run_files;
        if let Some(text) = trouble {
            studio.session.notices.warn(About::Other, text);
        }
        studio.session.load_model(source);
        let shell = Shell {
            studio,
            dialogs: Dialogs::default(),
            dock: kept.dock,
            page: None,
            theme,
            scale: kept.scale,
            greeted: kept.greeted,
            figures: false,
            frames: FrameTimes::default(),
            drawn: FrameTimes::default(),
        };
        let mut app = Self { shell, engine, measure: None, saved, end_told: false };
        app.send_commands();
        app
    }

    /// What is kept for the next time.
    fn kept(&self) -> Kept {
        let Studio { session, controls, files, training, .. } = &self.shell.studio;
        Kept {
            draft: session.draft.clone(),
            presets: controls.presets.clone(),
            canvas: session.look,
            playback: session.playback.clone(),
            light: self.shell.theme == Theme::Light,
            dock: self.shell.dock.clone(),
            recent: files.recent.clone(),
            run_files: training.recent.clone(),
            greeted: self.shell.greeted,
            scale: self.shell.scale,
        }
    }

    /// Keeps finished pictures in a folder; without one, which is how a window begins, nothing is kept.
    pub fn open_gallery(&mut self, folder: PathBuf) {
        self.shell.studio.open_gallery(folder);
    }

    /// Puts exports into a folder, without asking where each is to go.
    pub fn export_to(&mut self, folder: PathBuf) {
        self.shell.studio.export_to(folder);
    }

    fn send_commands(&mut self) {
        for command in self.shell.studio.take_commands() {
            self.engine.send(command);
        }
    }

    /// Takes in whatever has come from other threads and from the desktop.
    fn receive(&mut self, ctx: &Context) {
        let studio = &mut self.shell.studio;
        // Asked first, so that nothing that it said before its end is passed over.
        let gone = self.engine.has_ended();
        for event in self.engine.events() {
            studio.take(event);
        }
        if gone && !std::mem::replace(&mut self.end_told, true) {
            studio.lose_engine();
        }
        studio.follow();
        // What is said below the studio: of memory, of files that were passed over.
        say::warnings().into_iter().for_each(|line| studio.session.notices.warn_quietly(line));
        studio.training.attend(ctx, &mut studio.session.notices);
        self.saved.follow(&mut studio.session.notices);
        self.shell.receive(ctx);
        self.shell.perform(ctx);
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
        let shell = &mut self.shell;
        shortcuts::take(&ctx, shell);
        shell.scale.fit(&ctx);
        // A list of choices is to lie within the window.
        let room = ctx.content_rect().height() - 2.0 * bar::HEIGHT;
        let combo = &mut ui.spacing_mut().combo_height;
        *combo = combo.min(room.max(20.0 * GRID));
        if let Some(next) = shell.studio.session.play(ctx.time()) {
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
            .show(ui, |ui| bar::show(ui, shell));
        first_steps::show(ui, shell);
        CentralPanel::default().frame(Frame::NONE).show(ui, |ui| {
            shell.dock.show(ui, &mut shell.studio);
        });
        shell.dock.show_windows(&ctx, &mut shell.studio);
        pages::show(&ctx, shell);
        shell.perform(&ctx);
        let busy = ctx.input(|input| input.pointer.any_down()) || ctx.text_edit_focused();
        shell.studio.follow_draft(busy);
        self.send_commands();
        self.saved.place.follow(&ctx);
        self.shell.frames.add(begun.elapsed());
        if let Some(seconds) = frame.info().cpu_usage {
            self.shell.drawn.add(Duration::from_secs_f32(seconds));
        }
        if let Some(measure) = &mut self.measure {
            measure.step(&ctx, &mut self.shell);
            self.send_commands();
        }
    }

    /// Called every half minute, and at the end. What eframe would keep it in, it would read unchecked
    /// and write in place.
    fn save(&mut self, _storage: &mut dyn eframe::Storage) {
        let kept = self.kept();
        self.saved.save(&kept);
    }

    fn on_exit(&mut self) {
        self.saved.end();
    }

    fn persist_egui_memory(&self) -> bool {
        false
    }

    fn clear_color(&self, visuals: &Visuals) -> [f32; 4] {
        visuals.panel_fill.to_normalized_gamma_f32()
    }
}
