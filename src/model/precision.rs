//! The precision that a model computes in.
//!
//! In half precision the weights of the networks and what their products take and give have two bytes a
//! number. Everything that adds up many numbers or small ones to large ones stays in four: the sums
//! inside products, the residual stream, normalisations, softmax, the embedding of time and class, the
//! codebook, beliefs and the solver.

use std::fmt;
use std::str::FromStr;

use burn::tensor::{DType, Device, FloatDType, Tensor};
use thiserror::Error;

use crate::device::Selected;
pub use crate::io::tensors::Precision;

/// The same numbers in f32; itself where they are already.
pub fn wide<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    x.cast(FloatDType::F32)
}

/// The same numbers in the precision of another tensor.
pub fn as_precise_as<const D: usize, const E: usize>(x: Tensor<D>, other: &Tensor<E>) -> Tensor<D> {
    x.cast(other.dtype())
}

/// Whether a device computes in half precision: a GPU whose shaders have 16-bit floats. burn's CPU
/// backend has them too, but neither vectors nor fused operations for them.
pub fn has_half(device: &Device) -> bool {
    device.clone().without_autodiff() != Device::flex() && device.supports_dtype(DType::F16)
}

/// A precision that was asked for on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PrecisionChoice {
    /// The one that a restored picture was made in, where the device has it; else f32. Half precision
    /// gives other last digits than f32 does, and so now and then another code, and what it gains on a
    /// real GPU has not been measured: nobody gets it without asking.
    #[default]
    Auto,
    /// This one.
    Of(Precision),
}

/// A precision that cannot be had.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum PrecisionError {
    /// A spelling that names no precision.
    #[error("unknown precision '{given}' (known: auto, f32, f16)")]
    Unknown {
        /// What was given.
        given: String,
    },
    /// The device has no 16-bit floats.
    #[error(
        "half precision needs a GPU whose shaders have 16-bit floats (`purrscope devices` tells); the \
         device is {device}: use --precision f32, or auto"
    )]
    NoHalf {
        /// The device, in words.
        device: String,
    },
}

impl PrecisionChoice {
    /// The precision to compute in on a device, where what is made again, if anything is, was made in
    /// `recorded`.
    ///
    /// # Errors
    /// Half precision was asked for, and the device does not have it.
    pub fn on(
        self,
        selected: &Selected,
        recorded: Option<Precision>,
    ) -> Result<Precision, PrecisionError> {
        match self {
            Self::Of(Precision::F16) if !has_half(&selected.device) => {
                Err(PrecisionError::NoHalf { device: selected.description.clone() })
            }
            Self::Of(precision) => Ok(precision),
            Self::Auto if has_half(&selected.device) => Ok(recorded.unwrap_or_default()),
            Self::Auto => Ok(Precision::F32),
        }
    }
}

impl fmt::Display for PrecisionChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Of(precision) => precision.fmt(f),
        }
    }
}

impl FromStr for PrecisionChoice {
    type Err = PrecisionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "f32" => Ok(Self::Of(Precision::F32)),
            "f16" => Ok(Self::Of(Precision::F16)),
            _ => Err(PrecisionError::Unknown { given: text.to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{DeviceChoice, select};

    #[test]
    fn spellings_round_trip() {
        for text in ["auto", "f32", "f16"] {
            assert_eq!(text.parse::<PrecisionChoice>().unwrap().to_string(), text);
        }
        for text in ["", "half", "F16", "bf16"] {
            assert!(text.parse::<PrecisionChoice>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_cpu_computes_in_f32_whatever_was_recorded() {
        let cpu = select(DeviceChoice::Cpu).unwrap();
        let half = Some(Precision::F16);
        assert_eq!(PrecisionChoice::Auto.on(&cpu, half), Ok(Precision::F32));
        assert_eq!(PrecisionChoice::Of(Precision::F32).on(&cpu, half), Ok(Precision::F32));
        let error = PrecisionChoice::Of(Precision::F16).on(&cpu, None).unwrap_err().to_string();
        assert!(
            error.contains("the device is cpu") && error.contains("--precision f32"),
            "{error}"
        );
    }

    #[test]
    fn a_gpu_with_half_floats_takes_what_is_asked_for_or_recorded() {
        let gpu = select(DeviceChoice::Gpu(None)).expect("the tests need an adapter");
        let features = gpu.handles.as_ref().unwrap().device.features();
        assert_eq!(has_half(&gpu.device), features.contains(wgpu::Features::SHADER_F16));
        assert_eq!(PrecisionChoice::Auto.on(&gpu, None), Ok(Precision::F32));
        if has_half(&gpu.device) {
            let half = Some(Precision::F16);
            assert_eq!(PrecisionChoice::Auto.on(&gpu, half), Ok(Precision::F16));
            assert_eq!(PrecisionChoice::Of(Precision::F16).on(&gpu, None), Ok(Precision::F16));
            assert_eq!(PrecisionChoice::Of(Precision::F32).on(&gpu, half), Ok(Precision::F32));
        }
    }
}
