//! Everything that happened, to read and to copy.

use egui::{Align, Label, Layout, RichText, ScrollArea, Ui};

use crate::studio::base::notices::{Entry, Level, Notices};
use crate::studio::base::text::count;
use crate::studio::base::theme::{self, palette};
use crate::studio::base::widgets::empty_state;

/// Shows the pane.
pub fn show(ui: &mut Ui, notices: &mut Notices) {
    let log = &mut notices.log;
    if log.is_empty() {
        return empty_state(ui, "The log is empty", "Runs, files and problems are listed here.");
    }
    ui.horizontal(|ui| {
        ui.label(theme::weak(ui, count(log.len(), "entry")));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            if ui.button("Clear").on_hover_text("Clear the log.").clicked() {
                log.clear();
            }
            if ui.button("Copy").on_hover_text("Copy the log as text.").clicked() {
                let lines: Vec<_> = log.iter().map(line).collect();
                ui.ctx().copy_text(lines.join("\n"));
            }
        });
    });
    ScrollArea::vertical().auto_shrink(false).stick_to_bottom(true).show(ui, |ui| {
        for entry in log.iter() {
            ui.horizontal_top(|ui| {
                ui.label(theme::number(ui, clock(entry)));
                let colour = match entry.level {
                    Level::Note => ui.visuals().text_color(),
                    Level::Warning => palette(ui.visuals()).accent,
                    Level::Error => palette(ui.visuals()).error,
                };
                ui.add(Label::new(RichText::new(&entry.text).color(colour)).wrap());
            });
        }
    });
}

/// Minutes and seconds since the window opened.
fn clock(entry: &Entry) -> String {
    let seconds = entry.at.as_secs();
    format!("{:02}:{:02}", seconds / 60, seconds % 60)
}

fn line(entry: &Entry) -> String {
    let mark = match entry.level {
        Level::Note => "",
        Level::Warning => "note: ",
        Level::Error => "problem: ",
    };
    format!("{} {mark}{}", clock(entry), entry.text)
}
