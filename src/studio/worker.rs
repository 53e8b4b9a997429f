//! The real model on the compute thread.

use eframe::egui_wgpu::RenderState;
use image::RgbImage;
use image::imageops::{self, FilterType};

use super::engine::{ModelInfo, ModelSource, Trajectory, Worker};
use crate::device::{self, DeviceChoice, Selected};
use crate::flow::{self, Latents, SampleSettings, Sampler, State, StepRecord};
use crate::model::{Model, from_pictures, params};

/// A device, and the model that was last loaded on it.
#[derive(Debug)]
pub struct ModelWorker {
    selected: Selected,
    model: Option<Model>,
}

impl ModelWorker {
    /// Opens the device, which is the window's own where that is a GPU.
    ///
    /// # Errors
    /// No such device, in words that say what to do.
    pub fn new(choice: DeviceChoice, window: Option<&RenderState>) -> Result<Self, String> {
        let selected = match window {
            Some(state) => device::select_in_window(choice, state),
            None => device::select(choice),
        };
        match selected {
            Ok(selected) => Ok(Self { selected, model: None }),
            Err(error) => Err(format!(
                "The device cannot be used: {error}. Start again with --device cpu, or see \
                 `purrscope devices`."
            )),
        }
    }

    fn model(&self) -> Result<&Model, String> {
        self.model.as_ref().ok_or_else(|| "No model is loaded: open one first.".to_owned())
    }
}

impl Worker for ModelWorker {
    fn load(&mut self, source: &ModelSource) -> Result<ModelInfo, String> {
        let device = &self.selected.device;
        let model = match source {
            ModelSource::Embedded => Model::embedded(device),
            ModelSource::File(path) => Model::open(path, device),
        };
        let model = model.map_err(|error| format!("The model was not opened: {error}"))?;
        let info = ModelInfo {
            card: model.card.clone(),
            hash: model.hash().to_owned(),
            device: self.selected.description.clone(),
            source: source.clone(),
            codebook: params::host(model.codebook().clone()).into(),
        };
        self.model = Some(model);
        Ok(info)
    }

    fn begin(
        &self,
        settings: &SampleSettings,
        start: Option<State>,
    ) -> Result<Box<dyn Trajectory + '_>, String> {
        let (model, settings) = (self.model()?, settings.clone());
        let sampler = match start {
            Some(start) => Sampler::from_state(model, settings, start),
            None => Sampler::new(model, settings, None),
        };
        match sampler {
            Ok(sampler) => Ok(Box::new(sampler)),
            Err(error) => Err(format!("The run cannot begin: {error}")),
        }
    }

    fn rethink(
        &self,
        record: &StepRecord,
        settings: &SampleSettings,
    ) -> Result<StepRecord, String> {
        flow::rethink(self.model()?, record, settings)
            .map_err(|error| format!("The model cannot be asked that: {error}"))
    }

    fn encode(&self, picture: &RgbImage) -> Result<Vec<u32>, String> {
        let model = self.model()?;
        let side = model.card.image_size() as u32;
        let picture = match picture.dimensions() {
            (width, height) if (width, height) == (side, side) => picture.clone(),
            (width, height) => {
                // The largest square in the middle.
                let square = width.min(height);
                let (x, y) = ((width - square) / 2, (height - square) / 2);
                let middle = imageops::crop_imm(picture, x, y, square, square).to_image();
                imageops::resize(&middle, side, side, FilterType::Lanczos3)
            }
        };
        let latents = model.tokenizer.encode(from_pictures(&[picture], model.device()));
        let codes = model.tokenizer.quantise(latents);
        Ok(codes.into_data_as::<i64>().iter::<i64>().map(|code| code as u32).collect())
    }

    fn decode(&self, latents: &Latents) -> Vec<RgbImage> {
        self.model().map(|model| model.decode(latents)).unwrap_or_default()
    }

    fn decode_codes(&self, codes: &[u32], batch: usize) -> Vec<RgbImage> {
        self.model().map(|model| model.decode_codes(codes, batch)).unwrap_or_default()
    }

    fn swatches(&self, codes: &[u32]) -> Vec<RgbImage> {
        self.model().map(|model| model.code_swatches(codes)).unwrap_or_default()
    }
}

impl Trajectory for Sampler<'_> {
    fn advance(&mut self) -> Option<StepRecord> {
        self.next()
    }

    fn codes(&self) -> Vec<u32> {
        Sampler::codes(self)
    }
}
