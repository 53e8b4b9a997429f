//! The studio: the window in which one watches pictures form, and asks what the model believed.
//!
//! Three parts, each testable without the others: [`engine`] is the compute thread and its typed
//! messages, [`state`] what the window knows, and [`panes`] functions that show and change it.
//! [`app`] puts them into a window.

pub mod app;
mod bar;
#[cfg(test)]
mod bench;
pub mod codebook;
pub mod colormap;
pub mod dock;
pub mod draft;
pub mod edits;
pub mod engine;
mod export;
#[cfg(test)]
mod fake;
pub mod frames;
pub mod gallery;
pub mod history;
pub mod importer;
pub mod inpaint;
pub mod jobs;
pub mod measure;
pub mod notices;
mod pages;
pub mod panes;
pub mod pictures;
pub mod playground;
pub mod present;
pub mod presets;
#[cfg(test)]
mod random;
pub mod run;
#[cfg(test)]
mod snapshots;
pub mod state;
pub mod sweep;
#[cfg(test)]
mod tests;
pub mod theme;
pub mod training;
mod vault;
pub mod widgets;
mod worker;

use std::path::PathBuf;
use std::time::Duration;

use eframe::egui_wgpu::WgpuConfiguration;
use egui::{IconData, ViewportBuilder};
use thiserror::Error;

use self::app::StudioApp;
use self::engine::{Engine, ModelSource};
use self::measure::Measurement;
use self::worker::ModelWorker;
use crate::device::{self, DeviceChoice, Opener};

/// What the window opens with.
#[derive(Debug, Clone, Default)]
pub struct StudioOptions {
    /// The model; the embedded one if none is named.
    pub model: Option<PathBuf>,
    /// Where to compute.
    pub device: DeviceChoice,
    /// How long to measure frames, generating all the while; then the window closes.
    pub measure: Option<Duration>,
}

/// A window that cannot be opened.
#[derive(Debug, Error)]
pub enum StudioError {
    /// There is no display, no graphics driver, or no thread to compute on.
    #[error("the studio's window cannot be opened: {0} (`purrscope sample` needs no window)")]
    Window(#[from] eframe::Error),
}

/// Opens the studio and returns when it is closed.
///
/// # Errors
/// The window cannot be opened. What goes wrong later is shown in the window.
pub fn run(options: StudioOptions) -> Result<(), StudioError> {
    let viewport = ViewportBuilder::default()
        .with_title("Purrscope")
        .with_app_id("purrscope")
        .with_icon(icon())
        .with_inner_size([1440.0, 900.0])
        .with_min_inner_size([1000.0, 640.0]);
    let native = eframe::NativeOptions {
        viewport,
        wgpu_options: WgpuConfiguration {
            wgpu_setup: device::wgpu_setup(),
            ..WgpuConfiguration::default()
        },
        ..eframe::NativeOptions::default()
    };
    let StudioOptions { model, device, measure } = options;
    let source = model.map_or(ModelSource::Embedded, ModelSource::File);
    let create = move |creation: &eframe::CreationContext<'_>| {
        let (window, ctx) = (creation.wgpu_render_state.clone(), creation.egui_ctx.clone());
        let mut opener = Opener::new(device, window.clone());
        let engine = Engine::spawn(
            move || ModelWorker::new(&mut opener, window.as_ref()),
            move || ctx.request_repaint(),
        )?;
        let mut app = StudioApp::new(&creation.egui_ctx, creation.storage, engine, source);
        // A run that only measures is nothing to keep.
        if let Some(folder) = gallery::default_folder().filter(|_| measure.is_none()) {
            app.open_gallery(folder);
        }
        app.state.training.device = device;
        app.measure = measure.map(Measurement::new);
        Ok(Box::new(app) as Box<dyn eframe::App>)
    };
    Ok(eframe::run_native("purrscope", native, Box::new(create))?)
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
