//! The device that a window draws with and burn computes on, opened once and again when it was lost.

use std::fmt;
use std::sync::Arc;

use burn_wgpu::WgpuSetup;
use eframe::egui_wgpu;

use crate::device::{
    AdapterReport, BACKENDS, DeviceChoice, DeviceError, Selected, cpu, descriptor, register, select,
};

/// What a window is drawn with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Graphics {
    /// An adapter that burn can compute on as well.
    Shared,
    /// OpenGL, which draws, and on which nothing is computed.
    DrawOnly,
}

/// How eframe must set up wgpu: so that burn can share its device, where it can.
pub fn wgpu_setup(graphics: Graphics) -> egui_wgpu::WgpuSetup {
    let mut setup = egui_wgpu::WgpuSetupCreateNew::without_display_handle();
    setup.instance_descriptor.backends = match graphics {
        Graphics::Shared => BACKENDS,
        Graphics::DrawOnly => wgpu::Backends::GL,
    };
    setup.power_preference = wgpu::PowerPreference::HighPerformance;
    setup.device_descriptor = Arc::new(descriptor);
    setup.into()
}

/// Opens the device that was asked for inside a window, sharing the window's wgpu device where it
/// computes on a GPU.
///
/// # Errors
/// As [`select`], for a window's adapter.
pub fn select_in_window(
    choice: DeviceChoice,
    state: &egui_wgpu::RenderState,
) -> Result<Selected, DeviceError> {
    let report = AdapterReport::new(state.adapter.clone());
    match choice {
        DeviceChoice::Cpu => return Ok(cpu("")),
        DeviceChoice::Auto if report.draws_only() => {
            return Ok(cpu(" (the only graphics driver is OpenGL)"));
        }
        DeviceChoice::Gpu(_) if report.draws_only() => return Err(DeviceError::NoAdapter),
        DeviceChoice::Auto if report.is_software() => {
            return Ok(cpu(" (the only GPU adapter is software)"));
        }
        // Another adapter than the window's own has a device of its own.
        DeviceChoice::Gpu(Some(_)) => return select(choice),
        DeviceChoice::Auto | DeviceChoice::Gpu(None) => {}
    }
    let setup = WgpuSetup {
        instance: state.instance.clone(),
        adapter: state.adapter.clone(),
        device: state.device.clone(),
        queue: state.queue.clone(),
        backend: report.info.backend,
    };
    let description = format!("gpu: {}, shared with the window", report.label());
    register(setup, description, true)
        .map_err(|reason| DeviceError::Refused { adapter: report.label(), reason })
}

/// Opens the same device again and again: the one that is open while it lives, a new one once it is
/// lost. The window's own device cannot be created again, so one of the program's own takes its place.
pub struct Opener {
    choice: DeviceChoice,
    window: Option<egui_wgpu::RenderState>,
    open: Option<Selected>,
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener").field("choice", &self.choice).field("open", &self.open).finish()
    }
}

impl Opener {
    /// Nothing is opened yet.
    pub fn new(choice: DeviceChoice, window: Option<egui_wgpu::RenderState>) -> Self {
        Self { choice, window, open: None }
    }

    /// What was asked for.
    pub fn choice(&self) -> DeviceChoice {
        self.choice
    }

    /// From now on gives another device than the one that was opened.
    pub fn settle_for(&mut self, selected: &Selected) {
        if selected.handles.is_none() {
            (self.choice, self.window) = (DeviceChoice::Cpu, None);
        }
        self.open = Some(selected.clone());
    }

    /// The device.
    ///
    /// # Errors
    /// As [`select`].
    pub fn open(&mut self) -> Result<Selected, DeviceError> {
        if let Some(open) = &self.open {
            if open.check().is_ok() {
                return Ok(open.clone());
            }
            if open.handles.as_ref().is_some_and(|handles| handles.shared) {
                self.window = None;
            }
        }
        let again = self.open.is_some();
        let mut selected = match &self.window {
            Some(state) => select_in_window(self.choice, state)?,
            // The adapter may have gone for good.
            None if again => select(self.choice).unwrap_or_else(|_| cpu(" (no GPU is left)")),
            None => select(self.choice)?,
        };
        if again {
            selected.description += ", opened again after the device was lost";
        }
        self.open = Some(selected.clone());
        Ok(selected)
    }
}
