//! Distances of a flow's samples from held-out pictures while it trains.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use serde_json::{Map, json};

use super::TrainError;
use super::config::SheetSettings;
use super::metrics::Line;
use crate::judge::{
    Compared, Found, JudgeError, Known, Network, Pictures, Plan, Samples, evaluate, labels_like,
};
use crate::model::Model;

/// How samples are judged while a flow trains.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvaluationConfig {
    /// Pictures that are sampled each time.
    pub pictures: usize,
    /// Networks that they are compared by: `encoder`, the model's own, or files of weights.
    pub features: Vec<PathBuf>,
}

impl Default for EvaluationConfig {
    fn default() -> Self {
        Self { pictures: 256, features: vec![Network::ENCODER.into()] }
    }
}

/// Held-out pictures, and what is known of them.
pub(super) struct Judging {
    config: EvaluationConfig,
    found: Found,
    path: PathBuf,
    known: Known,
}

impl Judging {
    /// Judging by held-out pictures of `path`.
    ///
    /// # Errors
    /// A file holds the weights of no network that is known.
    pub fn new(
        config: EvaluationConfig,
        found: Found,
        path: &Path,
        device: &Device,
    ) -> Result<Self, TrainError> {
        for file in config.features.iter().filter(|file| !Network::is_encoder(file)) {
            Network::open(file, device)?;
        }
        Ok(Self { config, found, path: path.to_owned(), known: Known::default() })
    }

    /// Frechet distance, KID, precision and recall of a model's samples by every network; nothing, if a stop is asked for
    /// before they are there.
    pub fn judge(
        &mut self,
        model: &Model,
        samples: &SheetSettings,
        seed: u64,
        stop: &AtomicBool,
    ) -> Result<Line, TrainError> {
        let named = self.config.features.iter().map(|file| Network::named(file, model));
        let networks = named.collect::<Result<Vec<_>, _>>()?;
        let data = Pictures::of(self.found.clone(), &self.path, model)?;
        let classes = model.card.class_names.len();
        let labels = labels_like(data.labels(), classes, self.config.pictures);
        let settings = samples.of(labels, seed);
        let plan = Plan {
            model,
            data,
            seed,
            compared: Compared::Samples(Samples::new(model, settings, None)?),
            training: None,
            networks,
            sheet: false,
            whole: false,
            known: &mut self.known,
            stop: Some(stop),
        };
        let outcome = match evaluate(plan, &mut |_, _, _| {}) {
            Ok(outcome) => outcome,
            Err(JudgeError::Stopped) => return Ok(Line::new()),
            Err(error) => return Err(error.into()),
        };
        let mut line = Map::new();
        for figures in outcome.report.figures {
            let near = figures.neighbourhoods.as_ref();
            for (name, value) in [
                ("frechet", figures.frechet),
                ("kid", figures.kid.as_ref().map(|kid| kid.value)),
                ("precision", near.map(|near| near.precision)),
                ("recall", near.map(|near| near.recall)),
            ] {
                let name = format!("{name}_{}", figures.network);
                line.extend(value.map(|value| (name, json!(value))));
            }
        }
        Ok(line)
    }
}
