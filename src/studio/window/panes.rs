//! The panes of the dock, one file each: functions over the window's state.

use egui::{Margin, Ui};
use serde::{Deserialize, Serialize};

use crate::studio::base::theme::PANE_MARGIN;
use crate::studio::session::state::StudioState;
use crate::studio::{
    canvas, codebook, controls, gallery, log, model, playground, posterior, sweep, timeline,
    training,
};

/// A pane of the dock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Pane {
    /// What to generate.
    Controls,
    /// The pictures.
    Canvas,
    /// The steps.
    Timeline,
    /// The belief about one token.
    Posterior,
    /// Every code.
    Codebook,
    /// What was made.
    Gallery,
    /// Two settings against each other.
    Sweep,
    /// A flow in the plane.
    Playground,
    /// What the model is.
    Model,
    /// Runs of training.
    Training,
    /// Everything that happened.
    Log,
}

impl Pane {
    /// Every pane.
    pub const ALL: [Self; 11] = [
        Self::Controls,
        Self::Canvas,
        Self::Timeline,
        Self::Posterior,
        Self::Codebook,
        Self::Gallery,
        Self::Sweep,
        Self::Playground,
        Self::Model,
        Self::Training,
        Self::Log,
    ];

    /// What its tab says.
    pub fn title(self) -> &'static str {
        match self {
            Self::Controls => "Controls",
            Self::Canvas => "Canvas",
            Self::Timeline => "Timeline",
            Self::Posterior => "Posterior",
            Self::Codebook => "Codebook",
            Self::Gallery => "Gallery",
            Self::Sweep => "Sweep",
            Self::Playground => "Playground",
            Self::Model => "Model",
            Self::Training => "Training",
            Self::Log => "Log",
        }
    }

    /// Size of a window of its own at first, in points.
    pub fn window_size(self) -> egui::Vec2 {
        match self {
            Self::Controls | Self::Posterior | Self::Model | Self::Log => egui::vec2(360.0, 720.0),
            Self::Timeline => egui::vec2(900.0, 260.0),
            Self::Training => egui::vec2(640.0, 720.0),
            _ => egui::vec2(900.0, 720.0),
        }
    }

    /// Shows it in the whole of `ui`.
    pub fn show(self, ui: &mut Ui, state: &mut StudioState) {
        let fill = ui.visuals().panel_fill;
        ui.painter().rect_filled(ui.max_rect(), 0.0, fill);
        let margin = Margin::same(PANE_MARGIN as i8);
        // Where a pane scrolls, its bar lies in the margin.
        let scrolling = Margin { right: 0, bottom: 0, ..margin };
        match self {
            Self::Canvas => canvas::show(ui, state),
            Self::Controls => padded(ui, scrolling, |ui| controls::show(ui, state)),
            Self::Timeline => padded(ui, margin, |ui| timeline::show(ui, state)),
            Self::Posterior => padded(ui, scrolling, |ui| posterior::show(ui, state)),
            Self::Codebook => padded(ui, scrolling, |ui| codebook::pane::show(ui, state)),
            Self::Gallery => padded(ui, scrolling, |ui| gallery::pane::show(ui, state)),
            Self::Sweep => padded(ui, scrolling, |ui| sweep::pane::show(ui, state)),
            Self::Playground => padded(ui, margin, |ui| playground::pane::show(ui, state)),
            Self::Model => padded(ui, scrolling, |ui| model::pane::show(ui, state)),
            Self::Training => padded(ui, scrolling, |ui| training::pane::show(ui, state)),
            Self::Log => padded(ui, scrolling, |ui| log::show(ui, state)),
        }
    }
}

fn padded(ui: &mut Ui, margin: Margin, add: impl FnOnce(&mut Ui)) {
    egui::Frame::new().inner_margin(margin).show(ui, |ui| {
        add(ui);
    });
}
