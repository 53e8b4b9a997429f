//! The real model on the compute thread.

use burn::tensor::{Device, Int, Tensor, TensorData};
use eframe::egui_wgpu::RenderState;
use image::RgbImage;

use super::colormap;
use super::message::{Drawing, ModelInfo, ModelSource, PictureQuestion};
use super::opener::Opener;
use super::pictures::Pictures;
use super::present::Presenter;
use super::worker::{Trajectory, Worker};
use crate::calibrate::{self, Belief};
use crate::data::fit_square;
use crate::device::Selected;
use crate::doctor::{self, Records};
use crate::flow::{self, LatentShape, Latents, SampleSettings, Sampler, State, StepRecord};
use crate::kernels::present::Pixels;
use crate::model::{Model, Precision, PrecisionChoice, params, to_pictures};

/// A device, and the model that was last loaded on it.
#[derive(Debug)]
pub struct ModelWorker {
    selected: Selected,
    /// Where the window draws with the very device.
    presenter: Option<Presenter>,
    model: Option<Model>,
    precision: PrecisionChoice,
}

impl ModelWorker {
    /// Opens the device, which is the window's own where that is a GPU.
    ///
    /// # Errors
    /// No such device, in words that say what to do.
    pub fn new(opener: &mut Opener, window: Option<&RenderState>) -> Result<Self, String> {
        match opener.open() {
            Ok(selected) => {
                let shared = selected.handles.as_ref().is_some_and(|handles| handles.shared);
                let presenter = window.filter(|_| shared).cloned().map(Presenter::new);
                Ok(Self { selected, presenter, model: None, precision: PrecisionChoice::Auto })
            }
            Err(error) => Err(format!(
                "The device cannot be used: {error}. Start again with --device cpu, or see \
                 `purrscope devices`."
            )),
        }
    }

    /// As [`ModelWorker::new`], on a device that has been examined: once, if `records` do not know it. The
    /// CPU takes the place of one that computes wrongly, unless it was asked for.
    ///
    /// # Errors
    /// As [`ModelWorker::new`].
    pub fn examined(
        opener: &mut Opener,
        window: Option<&RenderState>,
        records: &mut Records,
    ) -> Result<Self, String> {
        let mut worker = Self::new(opener, window)?;
        let standing = records.examined(&worker.selected).map_err(|error| error.to_string())?;
        let selected = worker.selected.clone();
        let (mut selected, notice) = doctor::heed(opener.choice(), selected, Some(standing))
            .map_err(|error| error.to_string())?;
        if let Some(notice) = notice {
            tracing::warn!("{notice}");
            selected.description = format!("{} ({notice})", selected.description);
            if selected.handles.is_none() {
                worker.presenter = None;
            }
            opener.settle_for(&selected);
            worker.selected = selected;
        }
        Ok(worker)
    }

    /// The same, with models opened in that precision from now on.
    pub fn in_precision(self, precision: PrecisionChoice) -> Self {
        Self { precision, ..self }
    }

    /// Decoded pictures, left on the GPU where the window draws with it.
    fn pictures(&self, decoded: impl Iterator<Item = Tensor<4>>) -> Pictures {
        if let Some(presenter) = &self.presenter {
            return present(presenter, decoded.map(Pixels::of_pictures));
        }
        decoded.flat_map(to_pictures).collect::<Vec<_>>().into()
    }

    fn model(&self) -> Result<&Model, String> {
        self.model.as_ref().ok_or_else(|| "No model is loaded: open one first.".to_owned())
    }

    /// The model, for what is asked only of one: without it whoever waits learns so from the panic.
    fn loaded(&self) -> &Model {
        self.model().unwrap_or_else(|text| panic!("{text}"))
    }
}

/// Pixels as textures of the window.
fn present(presenter: &Presenter, pixels: impl Iterator<Item = Pixels>) -> Pictures {
    match presenter.show(pixels) {
        Ok(pictures) => pictures.into(),
        // The device is lost; whoever waits for the pictures learns it from the panic.
        Err(error) => panic!("{error}"),
    }
}

/// An overlay, a pixel a token, on the device.
pub(crate) fn drawn(shape: LatentShape, drawing: &Drawing, device: &Device) -> Pixels {
    let extent = [shape.batch, shape.height, shape.width];
    match drawing {
        Drawing::Entropy { values, top } => {
            let values = TensorData::new(values.clone(), extent);
            Pixels::of_ramp(Tensor::from_data(values, device), *top, &colormap::steps())
        }
        Drawing::Changes { before, after, mark } => {
            let grid = |codes: &[u32]| {
                let codes = codes.iter().map(|code| i64::from(*code)).collect::<Vec<_>>();
                Tensor::<3, Int>::from_data(TensorData::new(codes, extent), device)
            };
            Pixels::of_changes(grid(before), grid(after), *mark)
        }
    }
}

impl Worker for ModelWorker {
    fn load(&mut self, source: &ModelSource) -> Result<ModelInfo, String> {
        let (selected, device) = (&self.selected, &self.selected.device);
        let precision = self.precision.on(selected, None).map_err(|error| error.to_string())?;
        let model = match source {
            ModelSource::Embedded => Model::embedded_in(precision, device),
            ModelSource::File(path) => Model::open_in(precision, path, device),
        };
        let model = model.map_err(|error| format!("The model was not opened: {error}"))?;
        let info = ModelInfo {
            card: model.card.clone(),
            hash: model.hash().to_owned(),
            device: match precision {
                Precision::F32 => selected.description.clone(),
                Precision::F16 => format!("{}, in half precision", selected.description),
            },
            precision,
            source: source.clone(),
            codebook: params::host(model.codebook().clone()).into(),
        };
        // The memory of the model before it is kept for another one of its very sizes, unless it is
        // given back.
        if self.model.replace(model).is_some() {
            device.memory_cleanup();
        }
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
        let picture = fit_square(picture.clone(), model.card.image_size() as u32);
        let codes = model.encode(&[picture]);
        let tokens = model.card.backbone.input_size.pow(2);
        match codes.len() == tokens {
            true => Ok(codes),
            false => Err(format!(
                "The picture could not be read back from the device ({} of {tokens} codes came): try \
                 again, or start with --device cpu.",
                codes.len()
            )),
        }
    }

    fn believe(&self, about: &PictureQuestion) -> Result<Belief, String> {
        let PictureQuestion { codes, label, question, time } = about;
        calibrate::ask_about(self.model()?, codes, *label, question, *time)
            .map_err(|error| format!("The model cannot be asked about that picture: {error}"))
    }

    fn decode(&self, latents: &Latents) -> Pictures {
        self.pictures(self.loaded().decoded(latents))
    }

    fn decode_codes(&self, codes: &[u32], batch: usize) -> Pictures {
        self.pictures(self.loaded().decoded_codes(codes, batch))
    }

    fn overlay(&self, shape: LatentShape, drawing: &Drawing) -> Option<Pictures> {
        let presenter = self.presenter.as_ref()?;
        let pixels = drawn(shape, drawing, &self.selected.device);
        Some(present(presenter, std::iter::once(pixels)))
    }

    fn health(&self) -> Result<(), String> {
        self.selected.check().map_err(|error| error.to_string())
    }

    fn swatches(&self, codes: &[u32]) -> Vec<RgbImage> {
        self.loaded().code_swatches(codes)
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
