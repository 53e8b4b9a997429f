//! What lies over the panes: notices, help, credits, frame times.

use egui::{
    Align, Align2, Area, Color32, Context, Frame, Grid, Id, Layout, Margin, Modal, Order, RichText,
    ScrollArea, Stroke, Ui, vec2,
};

use super::bar;
use super::frames::resident_memory;
use super::shell::{Page, Shell};
use crate::studio::base::notices::{Entry, Level};
use crate::studio::base::theme::{self, GRID, palette};
use crate::studio::pane::Pane;

const KEYS: &[(&str, &str)] = &[
    ("G", "Generate"),
    ("S", "Stop"),
    ("Space", "Play or pause the steps"),
    ("Left Right", "Previous or next step"),
    ("Home End", "First or last step"),
    ("1 2 3", "Predicted picture, likeliest codes, state"),
    ("4 to 9", "Overlays, in the order of the list"),
    ("V B E R", "Look, pin, erase pins, select a region to regenerate"),
    ("Wheel", "Zoom the canvas; drag to move, double-click to fit"),
    ("Right drag", "Move the canvas while a tool paints; so does Space"),
    ("Click", "Select a token; Shift and arrows move the selection"),
    ("Ctrl Z", "Undo a setting; Ctrl Shift Z to redo"),
    ("Ctrl S", "Keep the current pictures in the gallery; Ctrl Shift S exports one"),
    ("Ctrl O", "Open a model, a picture or a trajectory"),
    ("Ctrl + - 0", "Scale the interface, or reset the scale"),
    ("Drop", "A model to open it; a picture, settings or a trajectory made here to make it again"),
    ("F12", "Frame times"),
    ("Escape", "Close, dismiss, clear the selection"),
    ("? or F1", "This page"),
];

/// The licences and credits that come with the program.
const ARTWORK: &str = include_str!("../../../assets/ATTRIBUTION.md");

/// Shows whatever lies over the panes.
pub fn show(ctx: &Context, shell: &mut Shell) {
    banner(ctx, shell);
    match shell.page {
        Some(Page::Keys) => keys(ctx, shell),
        Some(Page::About) => about(ctx, shell),
        None => {}
    }
    if shell.figures {
        figures(ctx, shell);
    }
    if ctx.input(|input| !input.raw.hovered_files.is_empty()) {
        drop_target(ctx);
    }
}

/// The width of something that is `wide` where there is room for it, in points.
fn fitting(ctx: &Context, wide: f32) -> f32 {
    wide.min(ctx.content_rect().width() - 14.0 * GRID)
}

/// The height that is left of the window below and above what lies over it, in points.
fn room(ctx: &Context, rest: f32) -> f32 {
    (ctx.content_rect().height() - rest).max(20.0 * GRID)
}

fn modal(name: &str, ctx: &Context) -> Modal {
    let frame = Frame::popup(&ctx.global_style()).inner_margin(5.0 * GRID);
    Modal::new(Id::unique(name)).frame(frame)
}

fn banner(ctx: &Context, shell: &mut Shell) {
    if let Some(left) = shell.studio.session.notices.expire() {
        ctx.request_repaint_after(left);
    }
    let Some(Entry { level, text, .. }) = shell.studio.session.notices.banner.clone() else {
        return;
    };
    // Below the rows above the pictures, where the window is high enough.
    let down = (0.2 * ctx.content_rect().height()).clamp(2.0 * GRID, 20.0 * GRID);
    Area::new(Id::unique("banner"))
        .order(Order::Foreground)
        .fade_in(false)
        .anchor(Align2::CENTER_TOP, vec2(0.0, bar::HEIGHT + down))
        .show(ctx, |ui| {
            let colours = palette(ui.visuals());
            let (title, colour) = match level {
                Level::Error => ("Problem", colours.error),
                Level::Warning => ("Please note", colours.accent),
                Level::Note => ("Done", colours.accent),
            };
            let frame = Frame::popup(ui.style())
                .inner_margin(Margin::symmetric(16, 12))
                .stroke(Stroke::new(1.0, colour));
            frame.show(ui, |ui| {
                ui.set_max_width(fitting(ctx, 130.0 * GRID));
                ui.horizontal(|ui| {
                    ui.label(RichText::new(title).color(colour));
                    ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                        if ui.button("Dismiss").on_hover_text("Escape").clicked() {
                            shell.studio.session.notices.banner = None;
                        }
                        if ui.button("Log").on_hover_text("Everything that happened").clicked() {
                            shell.dock.reveal(Pane::Log);
                            shell.studio.session.notices.banner = None;
                        }
                    });
                });
                let most = room(ctx, bar::HEIGHT + down + 22.0 * GRID);
                ScrollArea::vertical().max_height(most).show(ui, |ui| ui.label(text));
            });
        });
}

fn keys(ctx: &Context, shell: &mut Shell) {
    let modal = modal("keys", ctx).show(ctx, |ui| {
        ui.set_width(fitting(ctx, 110.0 * GRID));
        ui.heading("Keys");
        ui.add_space(2.0 * GRID);
        ScrollArea::vertical().max_height(room(ctx, 44.0 * GRID)).show(ui, |ui| {
            Grid::new("keys").num_columns(2).spacing([6.0 * GRID, GRID]).show(ui, |ui| {
                for (keys, what) in KEYS {
                    ui.label(theme::number(ui, *keys));
                    ui.label(*what);
                    ui.end_row();
                }
            });
        });
        ui.add_space(2.0 * GRID);
        close(ui, shell);
    });
    if modal.should_close() {
        shell.page = None;
    }
}

fn close(ui: &mut Ui, shell: &mut Shell) {
    ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
        if ui.button("Close").clicked() {
            shell.page = None;
        }
    });
}

fn about(ctx: &Context, shell: &mut Shell) {
    let modal = modal("about", ctx).show(ctx, |ui| {
        ui.set_width(fitting(ctx, 130.0 * GRID));
        ui.heading(concat!("Purrscope ", env!("CARGO_PKG_VERSION")));
        ui.label(theme::weak(
            ui,
            "Watch noise become a picture, with the model's belief laid open.",
        ));
        ui.add_space(2.0 * GRID);
        let most = room(ctx, 50.0 * GRID).min(90.0 * GRID);
        ScrollArea::vertical().max_height(most).show(ui, |ui| {
            section(ui, "Method");
            ui.label(
                "Purrception: variational flow matching for vector-quantised images, \
                 arXiv 2510.01478.",
            );
            section(ui, "Licence of the program");
            ui.label("MIT or Apache-2.0, at your option.");
            section(ui, "Built on");
            ui.label(
                "burn and cubecl, wgpu, egui, eframe and egui_tiles, safetensors, image, rfd, serde, \
                 rayon, and the crates that these stand on; each under a licence that allows it.",
            );
            if let Some(model) = &shell.studio.session.model
                && !model.card.provenance.credits.is_empty()
            {
                section(ui, "Credits of the model that is open");
                ui.label(&model.card.provenance.credits);
            }
            section(ui, "Artwork behind the embedded model");
            for line in ARTWORK.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
                ui.label(line.trim_start_matches("- "));
            }
        });
        ui.add_space(2.0 * GRID);
        close(ui, shell);
    });
    if modal.should_close() {
        shell.page = None;
    }
}

fn section(ui: &mut Ui, title: &str) {
    ui.add_space(2.0 * GRID);
    ui.label(theme::section(ui, title));
}

/// Frame times and memory, in a corner.
fn figures(ctx: &Context, shell: &mut Shell) {
    Area::new(Id::unique("frame times"))
        .order(Order::Foreground)
        .anchor(Align2::RIGHT_BOTTOM, vec2(-4.0 * GRID, -4.0 * GRID))
        .show(ctx, |ui| {
            Frame::popup(ui.style()).show(ui, |ui| {
                let mut line = |name: &str, value: String| {
                    ui.horizontal(|ui| {
                        ui.label(theme::weak(ui, name));
                        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                            ui.label(theme::number(ui, value));
                        });
                    });
                };
                if let Some(figures) = shell.frames.figures() {
                    line("interface, median", format!("{:6.2} ms", figures.median));
                    line("interface, 99 %", format!("{:6.2} ms", figures.p99));
                    line("interface, longest", format!("{:6.2} ms", figures.worst));
                }
                if let Some(figures) = shell.drawn.figures() {
                    line("with drawing, median", format!("{:6.2} ms", figures.median));
                }
                if let Some(run) = &shell.studio.session.run {
                    let (memory, disk) = run.footprint();
                    let megabytes = |bytes: usize| bytes as f64 / f64::from(1 << 20);
                    line("steps in memory", format!("{:6.1} MB", megabytes(memory)));
                    line("steps on disk", format!("{:6.1} MB", megabytes(disk)));
                }
                if let Some(bytes) = resident_memory() {
                    line("memory in all", format!("{:6.0} MB", bytes as f64 / f64::from(1 << 20)));
                }
            });
        });
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
        "Drop a model to open it, or a picture, settings or a trajectory made here to make it again",
        egui::FontId::proportional(18.0),
        Color32::WHITE,
    );
}
