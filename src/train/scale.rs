//! The scale of the loss where gradients pass through half precision.
//!
//! Small gradients would become 0 there, so the loss is multiplied before they are taken, and they are
//! divided afterwards, in f32. How far it may be multiplied is found out: by a step whose gradient
//! overflows, and by many that do not (Micikevicius et al. 2018).

use super::TrainError;
use crate::io::tensors::TensorFile;
use crate::model::params::NamedTensor;

/// Name in checkpoints.
const NAME: &str = "loss_scale";
/// The scale that a run begins with.
const FIRST: f32 = 65_536.0;
/// Beyond these it is not changed; both are powers of two, which multiply without rounding.
const LEAST: f32 = 1.0;
const MOST: f32 = 16_777_216.0;
/// Steps without overflow after which it is doubled.
const DOUBLED_AFTER: usize = 2_000;

/// What the loss is multiplied by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct LossScale {
    scale: f32,
    /// Steps since it was changed.
    steps: usize,
}

impl Default for LossScale {
    fn default() -> Self {
        Self { scale: FIRST, steps: 0 }
    }
}

impl LossScale {
    /// The factor.
    pub fn value(self) -> f32 {
        self.scale
    }

    /// Notes that a step's gradient was finite.
    pub fn went_well(&mut self) {
        self.steps += 1;
        if self.steps >= DOUBLED_AFTER {
            *self = Self { scale: (self.scale * 2.0).min(MOST), steps: 0 };
        }
    }

    /// Halves it after a gradient that overflowed. Gives `false` where it is at its least: then the
    /// gradient itself is what does not fit.
    pub fn back_off(&mut self) -> bool {
        let can = self.scale > LEAST;
        *self = Self { scale: (self.scale / 2.0).max(LEAST), steps: 0 };
        can
    }

    /// As it stands in checkpoints.
    pub fn to_tensor(self) -> NamedTensor {
        let values = vec![self.scale, self.steps as f32];
        NamedTensor { name: NAME.to_owned(), shape: vec![values.len()], values }
    }

    /// Takes it back from a checkpoint; of a run that had none it begins anew.
    ///
    /// # Errors
    /// It is there, but is no scale.
    pub fn read(file: &TensorFile) -> Result<Self, TrainError> {
        if !file.contains(NAME) {
            return Ok(Self::default());
        }
        let values = file.floats_of_shape(NAME, &[2])?;
        let (scale, steps) = (values[0], values[1]);
        if !(LEAST..=MOST).contains(&scale) || !(0.0..=DOUBLED_AFTER as f32).contains(&steps) {
            return Err(TrainError::NotACheckpoint { path: file.path().to_owned() });
        }
        Ok(Self { scale, steps: steps as usize })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::tensors::{Precision, TensorWriter};

    fn written(tensor: Option<NamedTensor>) -> TensorFile {
        let mut writer = TensorWriter::default();
        writer.floats("backbone.a", &[1], &[0.5], Precision::F32);
        if let Some(NamedTensor { name, shape, values }) = tensor {
            writer.floats(&name, &shape, &values, Precision::F32);
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), writer.serialise().unwrap()).unwrap();
        TensorFile::open(file.path()).unwrap()
    }

    #[test]
    fn it_halves_at_an_overflow_and_doubles_after_many_steps() {
        let mut scale = LossScale::default();
        assert!(scale.back_off() && scale.back_off());
        assert_eq!(scale.value(), FIRST / 4.0);
        (1..DOUBLED_AFTER).for_each(|_| scale.went_well());
        assert_eq!(scale.value(), FIRST / 4.0);
        scale.went_well();
        assert_eq!(scale.value(), FIRST / 2.0);
        // An overflow begins the count again.
        (1..DOUBLED_AFTER).for_each(|_| scale.went_well());
        assert!(scale.back_off());
        scale.went_well();
        assert_eq!(scale.value(), FIRST / 4.0);
    }

    #[test]
    fn it_stays_within_its_bounds() {
        let mut scale = LossScale::default();
        let halvings = (0..100).take_while(|_| scale.back_off()).count();
        assert_eq!((halvings, scale.value()), (16, LEAST));
        (0..100 * DOUBLED_AFTER).for_each(|_| scale.went_well());
        assert_eq!(scale.value(), MOST);
    }

    #[test]
    fn a_checkpoint_keeps_it() {
        let mut scale = LossScale::default();
        scale.back_off();
        (0..5).for_each(|_| scale.went_well());
        assert_eq!(LossScale::read(&written(Some(scale.to_tensor()))).unwrap(), scale);
        assert_eq!(LossScale::read(&written(None)).unwrap(), LossScale::default());
        for values in [vec![0.0, 0.0], vec![-2.0, 0.0], vec![2.0, -1.0], vec![1e30, 0.0]] {
            let wrong = NamedTensor { values, ..scale.to_tensor() };
            assert!(LossScale::read(&written(Some(wrong))).is_err());
        }
    }
}
