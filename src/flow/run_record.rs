//! What travels with a picture or a trajectory so that it can be made again.

use serde::Serialize;

use super::settings::SampleSettings;

/// The JSON in a picture's text chunk and in a trajectory's metadata, under the key `purrscope`.
#[derive(Debug, Clone, Serialize)]
pub struct RunRecord<'a> {
    /// Name and version of this program.
    pub program: &'static str,
    /// Name of the model.
    pub model: &'a str,
    /// Digest of the model file.
    pub model_hash: &'a str,
    /// The settings, side by side with the other entries.
    #[serde(flatten)]
    pub settings: &'a SampleSettings,
    /// Name of the class, where all that the record speaks of is of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// The picture's number in its batch; absent where it speaks of all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<usize>,
    /// The time at which the picture was taken; absent at the end of a run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub t: Option<f32>,
    /// File that the starting noise was read from; absent where the seed gave it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub noise: Option<String>,
}

impl<'a> RunRecord<'a> {
    /// The record of a whole run.
    pub fn new(model: &'a str, model_hash: &'a str, settings: &'a SampleSettings) -> Self {
        let program = concat!("purrscope ", env!("CARGO_PKG_VERSION"));
        Self {
            program,
            model,
            model_hash,
            settings,
            class: None,
            image: None,
            t: None,
            noise: None,
        }
    }

    /// The JSON text.
    ///
    /// # Errors
    /// None that settings in range can cause.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }
}
