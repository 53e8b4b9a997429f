//! What the compute thread drives.

use image::RgbImage;

use super::message::{Drawing, ModelInfo, ModelSource, PictureQuestion};
use super::pictures::Pictures;
use crate::calibrate::Belief;
use crate::flow::{LatentShape, Latents, SampleSettings, State, StepRecord};

/// What the compute thread drives: the model, or a stand-in for it in a test.
pub trait Worker {
    /// Reads a model and makes it the one in use; on failure the old one stays.
    ///
    /// # Errors
    /// What is wrong, in words.
    fn load(&mut self, source: &ModelSource) -> Result<ModelInfo, String>;

    /// Prepares a run of the model in use; a branch goes on from `start` where that is given.
    ///
    /// # Errors
    /// What is wrong, in words.
    fn begin(
        &self,
        settings: &SampleSettings,
        start: Option<State>,
    ) -> Result<Box<dyn Trajectory + '_>, String>;

    /// The step with the prediction that other settings give at its state.
    ///
    /// # Errors
    /// What is wrong, in words.
    fn rethink(&self, record: &StepRecord, settings: &SampleSettings)
    -> Result<StepRecord, String>;

    /// The codes of a picture, `[height, width]`.
    ///
    /// # Errors
    /// What is wrong, in words.
    fn encode(&self, picture: &RgbImage) -> Result<Vec<u32>, String>;

    /// What is believed about a picture at one time.
    ///
    /// # Errors
    /// What is wrong, in words.
    fn believe(&self, about: &PictureQuestion) -> Result<Belief, String>;

    /// One picture an image of the batch. What cannot be decoded ends in a panic, which is reported as
    /// any other.
    fn decode(&self, latents: &Latents) -> Pictures;

    /// One picture an image of the batch, from `[batch, height, width]` codes; else as
    /// [`Worker::decode`].
    fn decode_codes(&self, codes: &[u32], batch: usize) -> Pictures;

    /// An overlay as textures of the window, where it computes on the window's GPU.
    fn overlay(&self, _shape: LatentShape, _drawing: &Drawing) -> Option<Pictures> {
        None
    }

    /// A small picture a code.
    fn swatches(&self, codes: &[u32]) -> Vec<RgbImage>;

    /// Whether the device still works, asked after a panic.
    ///
    /// # Errors
    /// What happened to it, in words.
    fn health(&self) -> Result<(), String> {
        Ok(())
    }
}

/// A run in progress; dropped to stop it.
pub trait Trajectory {
    /// Takes the next step; `None` at the end.
    fn advance(&mut self) -> Option<StepRecord>;

    /// Nearest codes of the state reached, `[batch, height, width]`.
    fn codes(&self) -> Vec<u32>;
}
