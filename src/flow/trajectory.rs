//! The full record of a run, as a file that any safetensors reader opens.

use std::path::Path;

use super::record::{CodeStep, Posterior, StepRecord};
use super::settings::SampleSettings;
use crate::io::tensors::{METADATA_KEY, Precision, TensorFileError, TensorWriter};

/// Collects the steps of a run and writes them as one file.
///
/// For S steps of B images, keeping k codes a token:
///
/// | tensor | shape |
/// |---|---|
/// | `t` | `[S+1]` |
/// | `x` | `[S+1, B, d, h, w]` |
/// | `posterior_mean` | `[S, B, d, h, w]` |
/// | `entropy` (nats), `log_z` | `[S, B, h, w]` |
/// | `top_codes`, `top_probs` | `[S, B, k, h, w]` |
/// | `temperature` | `[S]` |
/// | `codes` | `[B, h, w]` |
/// | `labels` | `[B]` |
///
/// Objectives without a posterior have neither `entropy` and `log_z` nor `top_codes`, `top_probs` and
/// `posterior_mean`, but `prediction`, the expected end of the path, of the shape of `x` but for S steps.
/// For `dfm` there is also `state_codes`, `[S+1, B, h, w]`, in which the number of codes means 'masked'.
///
/// The settings are JSON under the metadata key `purrscope`.
#[derive(Debug, Default)]
pub struct Trajectory {
    steps: Vec<StepRecord>,
}

impl Trajectory {
    /// Adds the next step.
    pub fn push(&mut self, step: StepRecord) {
        self.steps.push(step);
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn write(
        &self,
        path: &Path,
        settings: &SampleSettings,
        settings_json: String,
        codes: &[u32],
    ) -> Result<(), TensorFileError> {
        let mut writer = TensorWriter::default();
        writer.metadata(METADATA_KEY, settings_json);
        let (Some(first), Some(last)) = (self.steps.first(), self.steps.last()) else {
            return writer.write(path);
        };
        let shape = first.x.shape;
        let (batch, [rows, columns]) = (shape.batch, [shape.height, shape.width]);
        let steps = self.steps.len();
        let mut floats = |name: &str, shape: &[usize], values: Vec<f32>| {
            writer.floats(name, shape, &values, Precision::F32);
        };
        let each = |part: fn(&StepRecord) -> &[f32]| -> Vec<f32> {
            self.steps.iter().flat_map(|step| part(step).iter().copied()).collect()
        };

        let mut times: Vec<f32> = self.steps.iter().map(|step| step.t).collect();
        times.push(last.t_next);
        floats("t", &[steps + 1], times);
        floats("temperature", &[steps], self.steps.iter().map(|step| step.temperature).collect());
        let mut states = each(|step| &step.x.values);
        states.extend(&last.x_next.values);
        let [_, channels, ..] = shape.dims();
        floats("x", &[steps + 1, batch, channels, rows, columns], states);
        let predicted = each(|step| &step.prediction.values);
        let by_point = [steps, batch, channels, rows, columns];
        let by_token = [steps, batch, rows, columns];
        let beliefs: Vec<&Posterior> =
            self.steps.iter().filter_map(|step| step.posterior.as_ref()).collect();
        match beliefs.first() {
            Some(&&Posterior { top, .. }) => {
                floats("posterior_mean", &by_point, predicted);
                let of = |part: fn(&Posterior) -> &[f32]| -> Vec<f32> {
                    beliefs.iter().flat_map(|belief| part(belief).iter().copied()).collect()
                };
                floats("entropy", &by_token, of(|belief| &belief.entropy));
                floats("log_z", &by_token, of(|belief| &belief.log_z));
                let by_rank = [steps, batch, top, rows, columns];
                floats("top_probs", &by_rank, of(|belief| &belief.top_probs));
                let top_codes = beliefs.iter().flat_map(|belief| &belief.top_codes);
                writer.integers("top_codes", &by_rank, top_codes.map(|code| i64::from(*code)));
            }
            None => floats("prediction", &by_point, predicted),
        }
        if let Some(CodeStep { after, .. }) = &last.codes {
            let before =
                self.steps.iter().filter_map(|step| step.codes.as_ref()).flat_map(|c| &c.before);
            let all = before.chain(after).map(|code| i64::from(*code));
            writer.integers("state_codes", &[steps + 1, batch, rows, columns], all);
        }
        writer.integers("codes", &[batch, rows, columns], codes.iter().map(|c| i64::from(*c)));
        writer.integers("labels", &[batch], settings.labels.iter().map(|label| *label as i64));
        writer.write(path)
    }
}
