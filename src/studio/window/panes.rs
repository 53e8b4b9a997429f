//! What shows each pane.

use egui::{Margin, Ui};

use super::studio::Studio;
use crate::studio::base::theme::PANE_MARGIN;
use crate::studio::pane::Pane;
use crate::studio::{
    calibration, canvas, codebook, controls, gallery, log, model, playground, posterior, sweep,
    timeline, training,
};

/// Shows a pane in the whole of `ui`.
pub fn show(pane: Pane, ui: &mut Ui, studio: &mut Studio) {
    let fill = ui.visuals().panel_fill;
    ui.painter().rect_filled(ui.max_rect(), 0.0, fill);
    let margin = Margin::same(PANE_MARGIN as i8);
    // Where a pane scrolls, its bar lies in the margin.
    let scrolling = Margin { right: 0, bottom: 0, ..margin };
    let Studio { session, actions, .. } = studio;
    match pane {
        Pane::Canvas => canvas::pane::show(ui, &mut studio.canvas, session, actions),
        Pane::Controls => padded(ui, scrolling, |ui| {
            controls::pane::show(ui, &mut studio.controls, session);
        }),
        Pane::Timeline => padded(ui, margin, |ui| timeline::show(ui, session)),
        Pane::Posterior => padded(ui, scrolling, |ui| {
            posterior::pane::show(ui, &mut studio.posterior, session, actions);
        }),
        Pane::Codebook => padded(ui, scrolling, |ui| {
            codebook::pane::show(ui, &mut studio.codebook, session, actions);
        }),
        Pane::Gallery => padded(ui, scrolling, |ui| {
            gallery::pane::show(ui, &mut studio.gallery_pane, &mut studio.gallery, actions);
        }),
        Pane::Sweep => padded(ui, scrolling, |ui| {
            sweep::pane::show(ui, &mut studio.sweep_pane, &mut studio.sweep, session, actions);
        }),
        Pane::Calibration => padded(ui, scrolling, |ui| {
            calibration::pane::show(ui, &mut studio.calibration, session, actions);
        }),
        Pane::Playground => padded(ui, margin, |ui| {
            playground::pane::show(ui, &mut studio.playground, session);
        }),
        Pane::Model => padded(ui, scrolling, |ui| {
            model::pane::show(ui, &mut studio.files, session, actions);
        }),
        Pane::Training => padded(ui, scrolling, |ui| {
            training::pane::show(ui, &mut studio.training, session);
        }),
        Pane::Log => padded(ui, scrolling, |ui| log::show(ui, &mut session.notices)),
    }
}

fn padded(ui: &mut Ui, margin: Margin, add: impl FnOnce(&mut Ui)) {
    egui::Frame::new().inner_margin(margin).show(ui, |ui| {
        add(ui);
    });
}
