//! The studio: the window in which one watches pictures form, and asks what the model believed.
//!
//! [`engine`] is the compute thread and its typed messages, [`session`] what the window knows of the
//! run and its settings. Every feature has a folder of its own, with what it knows and the pane that
//! shows and changes it; [`window`] puts the panes into a window. [`base`] is what all of them share.

pub mod action;
pub mod base;
pub mod calibration;
pub mod canvas;
pub mod codebook;
pub mod controls;
pub mod engine;
mod export;
pub mod gallery;
pub mod log;
pub mod model;
pub mod pane;
pub mod playground;
pub mod posterior;
pub mod session;
pub mod sweep;
#[cfg(test)]
mod testing;
pub mod timeline;
pub mod training;
pub mod window;

use std::num::NonZeroUsize;
use std::path::PathBuf;

use eframe::egui_wgpu::{WgpuConfiguration, WgpuError};
use egui::{IconData, ViewportBuilder};
use thiserror::Error;

use self::engine::{Engine, ModelSource};
use crate::calibrate::KeptReports;
use crate::device::{self, DeviceChoice};
use crate::doctor::Records;
use crate::model::PrecisionChoice;
use crate::studio::engine::model_worker::ModelWorker;
use crate::studio::engine::opener::{self, Graphics, Opener};
use crate::studio::window::app::StudioApp;
use crate::studio::window::measure::{Measurement, Order};
use crate::studio::window::saved::SavedFile;

/// What the window opens with.
#[derive(Debug, Clone, Default)]
pub struct StudioOptions {
    /// The model; the embedded one if none is named.
    pub model: Option<PathBuf>,
    /// Where to compute.
    pub device: DeviceChoice,
    /// What the networks compute with.
    pub precision: PrecisionChoice,
    /// A measurement of frames, generating all the while; then the window closes.
    pub measure: Option<Order>,
}

/// A window that cannot be opened.
#[derive(Debug, Error)]
pub enum StudioError {
    /// There is no desktop to open a window on.
    #[error(
        "the studio needs a desktop to open its window on, and there is none ({reason}); commands such \
         as `purrscope sample` need no window"
    )]
    NoDisplay {
        /// What is missing.
        reason: String,
    },
    /// Nothing draws on this machine.
    #[error(
        "the studio's window cannot be drawn: {}; commands such as `purrscope sample` need no window",
        device::NO_DRIVER
    )]
    NoDriver,
    /// The graphics driver refused, or there is no thread to compute on.
    #[error("the studio's window cannot be opened: {reason} (`purrscope sample` needs no window)")]
    Window {
        /// What was refused.
        reason: String,
    },
}

impl From<eframe::Error> for StudioError {
    fn from(error: eframe::Error) -> Self {
        let reason = one_line(&error.to_string());
        match error {
            eframe::Error::Wgpu(
                WgpuError::RequestAdapterError(_) | WgpuError::CreateSurfaceError(_),
            ) => Self::NoDriver,
            eframe::Error::WinitEventLoop(_) => Self::NoDisplay { reason: missing_display(reason) },
            _ => Self::Window { reason },
        }
    }
}

/// The text in one line.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What there is instead of a desktop: on Linux, what it is found by; else what the window system said.
fn missing_display(said: String) -> String {
    if !cfg!(target_os = "linux") {
        return said;
    }
    let named = ["WAYLAND_DISPLAY", "DISPLAY"].into_iter().find_map(|name| {
        let value = std::env::var_os(name).filter(|value| !value.is_empty())?;
        Some(format!("{name} is {value:?}, which does not answer"))
    });
    named.unwrap_or_else(|| "neither DISPLAY nor WAYLAND_DISPLAY is set".to_owned())
}

/// Opens the studio and returns when it is closed.
///
/// # Errors
/// The window cannot be opened. What goes wrong later is shown in the window.
pub fn run(options: StudioOptions) -> Result<(), StudioError> {
    base::worker::keep_panics_in_the_window();
    match open(&options, Graphics::Shared) {
        // Old machines, and virtual ones, may have OpenGL alone, which draws but does not compute.
        Err(StudioError::NoDriver) => open(&options, Graphics::DrawOnly),
        opened => opened,
    }
}

/// Opens the window, and returns when it is closed.
fn open(options: &StudioOptions, graphics: Graphics) -> Result<(), StudioError> {
    let (saved, begun) = SavedFile::begin(SavedFile::file());
    let scale = begun.kept.scale.0;
    let viewport = ViewportBuilder::default()
        .with_title("Purrscope")
        .with_app_id("purrscope")
        .with_icon(icon());
    let native = eframe::NativeOptions {
        viewport: begun.place.of(viewport, scale),
        wgpu_options: WgpuConfiguration {
            wgpu_setup: opener::wgpu_setup(graphics),
            ..WgpuConfiguration::default()
        },
        // What is kept is read and checked here. eframe would read its own file unchecked, so it gets
        // one that there cannot be.
        persist_window: false,
        persistence_path: Some(PathBuf::new()),
        ..eframe::NativeOptions::default()
    };
    let StudioOptions { model, device, precision, measure } = options.clone();
    let source = model.map_or(ModelSource::Embedded, ModelSource::File);
    let create = move |creation: &eframe::CreationContext<'_>| {
        let (window, ctx) = (creation.wgpu_render_state.clone(), creation.egui_ctx.clone());
        let mut opener = Opener::new(device, window.clone());
        let engine = Engine::spawn(
            move || {
                let mut records = Records::of_user();
                let worker = ModelWorker::examined(&mut opener, window.as_ref(), &mut records)?;
                Ok(worker.in_precision(precision))
            },
            move || ctx.request_repaint(),
        )?;
        begun.place.bring_back(creation);
        let mut app = StudioApp::new(&creation.egui_ctx, (saved, begun), engine, source);
        // A run that only measures is nothing to keep.
        if let Some(folder) = gallery::default_folder().filter(|_| measure.is_none()) {
            app.open_gallery(folder);
        }
        app.shell.studio.calibration.kept = Some(KeptReports::of_user());
        app.shell.studio.training.device = device;
        if measure.is_none() {
            let beside = SavedFile::file().map(|file| file.with_file_name("classes"));
            app.shell.studio.controls.show_pictures(beside);
        }
        app.measure = measure.map(Measurement::new);
        Ok(Box::new(app) as Box<dyn eframe::App>)
    };
    let ctx = context(scale);
    Ok(eframe::run_native_ext("purrscope", native, Some(ctx), Box::new(create))?)
}

/// The window's library, as eframe would make it, but with nothing from a file that was not checked.
fn context(scale: f32) -> egui::Context {
    let ctx = egui::Context::default();
    ctx.set_embed_viewports(false);
    ctx.options_mut(|options| {
        // Asked for as long as no frame was drawn, when the window gets its size.
        options.zoom_factor = scale;
        options.max_passes = NonZeroUsize::MIN.saturating_add(1);
    });
    ctx
}

/// The window's sign: a cat's head, drawn from a disc and two ears.
fn icon() -> IconData {
    const SIDE: u32 = 64;
    let rgba = (0..SIDE * SIDE).flat_map(|at| {
        let place = |index: u32| (index as f32 + 0.5) / SIDE as f32 * 2.0 - 1.0;
        let (x, y) = (place(at % SIDE), place(at / SIDE));
        let head = x * x + (y - 0.2) * (y - 0.2) < 0.5;
        let ear = (-0.85..0.0).contains(&y) && (x.abs() - 0.45).abs() < 0.3 * (y + 0.85);
        let eye = (x.abs() - 0.3).powi(2) + (y - 0.12).powi(2) < 0.018;
        match (head || ear, eye) {
            (_, true) => [36, 22, 6, 255],
            (true, _) => [244, 172, 98, 255],
            _ => [0; 4],
        }
    });
    IconData { rgba: rgba.collect(), width: SIDE, height: SIDE }
}
