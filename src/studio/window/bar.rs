//! The bar: menus, the model, and what starts and stops a run.

use std::path::PathBuf;

use egui::{
    Align, Button, Key, KeyboardShortcut, Layout, Modifiers, Rect, RichText, Role, Sense, Theme,
    Ui, WidgetInfo, vec2,
};

use super::dock::Dock;
use super::shell::{Page, Shell};
use crate::studio::action::{FilesAction, WindowAction};
use crate::studio::base::theme::{self, GRID, PANE_MARGIN, palette};
use crate::studio::base::widgets::job_strip;
use crate::studio::engine::ModelSource;
use crate::studio::export;
use crate::studio::pane::Pane;

/// Height of the bar, in points.
pub const HEIGHT: f32 = 12.0 * GRID;

/// A bar narrower than this has no room for the device.
const NARROW: f32 = 300.0 * GRID;
/// A bar narrower than this has all menus in one, and does without the name of the program.
const TIGHT: f32 = 160.0 * GRID;
/// A bar narrower than this does without the keys on its buttons.
const BARE: f32 = 100.0 * GRID;

/// The height that the longest menu is sure to have room in, in points.
const LONGEST: f32 = 150.0 * GRID;

/// Width of the View menu, in points.
const VIEW: f32 = 56.0 * GRID;

/// Scales of the interface on offer.
const SCALES: [f32; 7] = [0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0];

/// Shows the bar in the whole of `ui`.
pub fn show(ui: &mut Ui, shell: &mut Shell) {
    let rect = ui.max_rect();
    let tight = rect.width() < TIGHT;
    ui.horizontal_centered(|ui| {
        let accent = palette(ui.visuals()).accent;
        if !tight {
            ui.label(RichText::new("Purrscope").text_style(egui::TextStyle::Heading).color(accent));
            ui.add_space(GRID);
        }
        ui.scope(|ui| {
            ui.spacing_mut().item_spacing.x = 0.0;
            ui.visuals_mut().widgets.inactive.weak_bg_fill = egui::Color32::TRANSPARENT;
            ui.spacing_mut().button_padding.x = 2.0 * GRID;
            match tight {
                true => menu(ui, "Menu", |ui| menus(ui, shell)),
                false => menus(ui, shell),
            }
        });
        ui.add_space(2.0 * GRID);
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            run_buttons(ui, shell, rect.width() >= BARE);
            ui.add_space(2.0 * GRID);
            job_strip(ui, &shell.studio.session.jobs);
            ui.with_layout(Layout::left_to_right(Align::Center), |ui| model_name(ui, shell, rect));
        });
    });
    progress(ui, shell, rect);
}

fn menus(ui: &mut Ui, shell: &mut Shell) {
    menu(ui, "File", |ui| file_menu(ui, shell));
    menu(ui, "Edit", |ui| edit_menu(ui, shell));
    menu(ui, "View", |ui| view_menu(ui, shell));
    menu(ui, "Help", |ui| help_menu(ui, shell));
}

/// A menu that scrolls where the window is lower than it is.
fn menu(ui: &mut Ui, name: &str, add: impl FnOnce(&mut Ui)) {
    let room = ui.ctx().content_rect().height();
    ui.menu_button(name, |ui| {
        if room > LONGEST {
            return add(ui);
        }
        // A line of it may fill what width there is.
        ui.set_max_width(64.0 * GRID);
        egui::ScrollArea::vertical().max_height(room - HEIGHT - 6.0 * GRID).show(ui, add);
    });
}

/// A line of a menu with its keys.
fn item(ui: &mut Ui, name: &str, keys: Option<KeyboardShortcut>, enabled: bool) -> bool {
    let mut button = Button::new(name);
    if let Some(keys) = keys {
        button = button.shortcut_text(ui.ctx().format_shortcut(&keys));
    }
    ui.add_enabled(enabled, button).accessible_name(name).clicked()
}

fn command(key: Key) -> Option<KeyboardShortcut> {
    Some(KeyboardShortcut::new(Modifiers::COMMAND, key))
}

fn plain(key: Key) -> Option<KeyboardShortcut> {
    Some(KeyboardShortcut::new(Modifiers::NONE, key))
}

fn file_menu(ui: &mut Ui, shell: &mut Shell) {
    ui.set_min_width(56.0 * GRID);
    if item(ui, "Open...", command(Key::O), true) {
        shell.studio.actions.push(WindowAction::ChooseFile);
    }
    let recent = shell.studio.files.recent.clone();
    ui.add_enabled_ui(!recent.is_empty(), |ui| {
        menu(ui, "Open recent", |ui| recent_menu(ui, shell, &recent));
    });
    if item(ui, "Open the embedded model", None, true) {
        shell.studio.session.load_model(ModelSource::Embedded);
    }
    ui.separator();
    if item(ui, "Keep in the gallery", command(Key::S), shell.studio.session.has_pictures()) {
        shell.studio.keep();
    }
    ui.add_enabled_ui(shell.studio.session.run.is_some(), |ui| {
        menu(ui, "Export", |ui| {
            if let Some(what) = export::export_menu(ui, &shell.studio.session) {
                shell.studio.export(what);
            }
        });
    });
    ui.separator();
    if item(ui, "Quit", command(Key::Q), true) {
        ui.ctx().send_viewport_cmd(egui::ViewportCommand::Close);
    }
}

fn recent_menu(ui: &mut Ui, shell: &mut Shell, recent: &[PathBuf]) {
    for path in recent {
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        if ui.button(name).on_hover_text(path.display().to_string()).clicked() {
            shell.studio.actions.push(FilesAction::Open(path.clone()));
        }
    }
    ui.separator();
    if ui.button("Clear recent files").clicked() {
        shell.studio.files.recent.clear();
    }
}

fn edit_menu(ui: &mut Ui, shell: &mut Shell) {
    ui.set_min_width(56.0 * GRID);
    let session = &mut shell.studio.session;
    if item(ui, "Undo", command(Key::Z), session.history.can_undo()) {
        session.undo();
    }
    let redo = KeyboardShortcut::new(Modifiers::COMMAND | Modifiers::SHIFT, Key::Z);
    if item(ui, "Redo", Some(redo), session.history.can_redo()) {
        session.redo();
    }
    ui.separator();
    if item(ui, "Clear all pins and bans", None, !session.draft.edits.is_empty()) {
        session.draft.edits.clear();
    }
    if item(ui, "Start from noise", None, session.branch.is_some()) {
        session.branch = None;
    }
    ui.separator();
    if item(ui, "Reset settings", None, true) {
        shell.studio.reset_settings();
    }
}

fn view_menu(ui: &mut Ui, shell: &mut Shell) {
    // As wide as it is: what lies at its right would fill all the width that there is.
    ui.set_width(VIEW);
    ui.horizontal(|ui| {
        ui.label(theme::section(ui, "Pane"));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            ui.label(theme::section(ui, "Separate window"));
        });
    });
    for pane in Pane::ALL {
        pane_row(ui, &mut shell.dock, pane);
    }
    ui.separator();
    let (other, name) = match shell.theme {
        Theme::Dark => (Theme::Light, "Light theme"),
        Theme::Light => (Theme::Dark, "Dark theme"),
    };
    if item(ui, name, None, true) {
        shell.theme = other;
        ui.ctx().set_theme(other);
    }
    menu(ui, "Scale", |ui| {
        for scale in SCALES {
            let chosen = (shell.scale.0 - scale).abs() < 0.01;
            if ui.selectable_label(chosen, format!("{:.0} %", scale * 100.0)).clicked() {
                shell.scale.0 = scale;
            }
        }
    });
    let keys = plain(Key::F12);
    if item(ui, if shell.figures { "Hide frame times" } else { "Show frame times" }, keys, true) {
        shell.figures = !shell.figures;
    }
    ui.separator();
    if item(ui, "Reset layout", None, true) {
        shell.dock.reset();
    }
}

/// Whether a pane is shown, and whether in a window of its own.
fn pane_row(ui: &mut Ui, dock: &mut Dock, pane: Pane) {
    ui.horizontal(|ui| {
        let mut shown = dock.is_shown(pane);
        if ui.checkbox(&mut shown, pane.title()).clicked() {
            dock.set_shown(pane, shown);
            if shown {
                dock.reveal(pane);
            }
        }
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let mut floating = dock.is_floating(pane);
            let name = format!("{} in a separate window", pane.title());
            let response = ui.checkbox(&mut floating, "").on_hover_text(&name);
            if response.accessible_name(name).clicked() {
                dock.set_floating(pane, floating);
            }
        });
    });
}

fn help_menu(ui: &mut Ui, shell: &mut Shell) {
    ui.set_min_width(48.0 * GRID);
    if item(ui, "Keys", plain(Key::F1), true) {
        shell.page = Some(Page::Keys);
    }
    if item(ui, "First steps", None, true) {
        shell.greeted = false;
    }
    if item(ui, "Log", None, true) {
        shell.dock.reveal(Pane::Log);
    }
    ui.separator();
    if item(ui, "About Purrscope", None, true) {
        shell.page = Some(Page::About);
    }
}

fn model_name(ui: &mut Ui, shell: &mut Shell, bar: Rect) {
    let strong = palette(ui.visuals()).strong;
    match (&shell.studio.session.loading, &shell.studio.session.model) {
        (Some(source), _) => {
            ui.add(egui::Label::new(theme::weak(ui, format!("Opening {source}"))).truncate());
        }
        (None, Some(model)) => {
            let name = egui::Label::new(RichText::new(&model.card.name).color(strong));
            let name = ui.add(name.truncate().sense(Sense::click()));
            if name.on_hover_text(format!("From {}. Click for more.", model.source)).clicked() {
                shell.dock.reveal(Pane::Model);
            }
            if bar.width() > NARROW {
                ui.add(egui::Label::new(theme::weak(ui, &model.device)).truncate())
                    .on_hover_text("Where the model computes, and why there.");
            }
        }
        (None, None) => {
            ui.label(theme::weak(ui, "no model loaded"));
        }
    }
}

/// What starts and stops a run, from the right; with its `keys` where there is room.
fn run_buttons(ui: &mut Ui, shell: &mut Shell, keys: bool) {
    let session = &mut shell.studio.session;
    let stop = Button::new("Stop");
    let stop = if keys { stop.shortcut_text("S") } else { stop };
    let stop = ui.add_enabled(session.active.is_some(), stop);
    if stop
        .on_hover_text("Stop the run after the current step (S)")
        .accessible_name("Stop")
        .clicked()
    {
        session.stop();
    }
    let colours = palette(ui.visuals());
    let text = RichText::new("Generate").color(colours.on_accent);
    let key = RichText::new("G").color(colours.on_accent.gamma_multiply(0.7));
    let generate = match keys {
        true => Button::new((text, key)).gap(2.0 * GRID),
        false => Button::new(text),
    };
    let generate = generate.fill(colours.accent);
    let generate = ui.add_enabled(session.model.is_some(), generate);
    if generate
        .on_hover_text("Generate pictures with the current settings (G)")
        .accessible_name("Generate")
        .clicked()
    {
        session.generate();
    }
    ui.checkbox(&mut session.draft.live, "Live").on_hover_text(
        "Every change of a setting starts a new run at once and stops the current one.",
    );
}

/// A line along the foot of the bar: how far the run is.
fn progress(ui: &Ui, shell: &Shell, bar: Rect) {
    let Some(active) = &shell.studio.session.active else { return };
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
