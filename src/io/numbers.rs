//! Floating-point numbers of a tensor file in the precision that they are wanted in.

use std::fmt;

use half::{bf16, f16};
use safetensors::Dtype;
use serde::{Deserialize, Serialize};

use super::tensors::{TensorFile, TensorFileError, elements};

/// In how many bytes floating-point numbers are stored or computed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Four bytes a number.
    #[default]
    F32,
    /// Two bytes a number, at most 65,504 in size.
    F16,
}

impl Precision {
    /// What a record of a run says of it: nothing where it is f32, as in records from before there was
    /// another one.
    pub fn noted(self) -> Option<Self> {
        (self != Self::F32).then_some(self)
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
        })
    }
}

/// Numbers of one precision, all of them finite.
#[derive(Debug, Clone, PartialEq)]
pub enum Numbers {
    /// Of four bytes.
    F32(Vec<f32>),
    /// Of two bytes.
    F16(Vec<f16>),
}

impl From<Vec<f32>> for Numbers {
    fn from(values: Vec<f32>) -> Self {
        Self::F32(values)
    }
}

impl Numbers {
    /// The same numbers in pieces of `count`; what is left over at the end is left out.
    pub fn pieces(&self, count: usize) -> impl Iterator<Item = Self> {
        let all = match self {
            Self::F32(all) => all.len(),
            Self::F16(all) => all.len(),
        };
        (0..all / count).map(move |piece| {
            let place = piece * count..(piece + 1) * count;
            match self {
                Self::F32(all) => Self::F32(all[place].to_vec()),
                Self::F16(all) => Self::F16(all[place].to_vec()),
            }
        })
    }
}

impl TensorFile {
    /// The precision in which a tensor is stored, where it is one of those; otherwise the one that
    /// loses least.
    ///
    /// # Errors
    /// The tensor is missing.
    pub fn precision_of(&self, name: &str) -> Result<Precision, TensorFileError> {
        Ok(match self.raw(name)? {
            (Dtype::F16, ..) => Precision::F16,
            _ => Precision::F32,
        })
    }

    /// Numbers of a floating-point tensor that must have the given shape, in the precision that is
    /// wanted. Numbers of two bytes that are wanted so are never widened.
    ///
    /// # Errors
    /// The tensor is missing, of another type or shape, or holds numbers that are not finite, or that
    /// two bytes do not hold where those are wanted.
    pub fn numbers_of_shape(
        &self,
        name: &str,
        shape: &[usize],
        precision: Precision,
    ) -> Result<Numbers, TensorFileError> {
        if precision == Precision::F32 {
            return Ok(Numbers::F32(self.floats_of_shape(name, shape)?));
        }
        self.check_shape(name, shape)?;
        let (dtype, _, data) = self.raw(name)?;
        let values: Vec<f16> = match dtype {
            Dtype::F16 => elements(data, f16::from_le_bytes),
            Dtype::F32 => elements(data, |bytes| f16::from_f32(f32::from_le_bytes(bytes))),
            Dtype::BF16 => {
                elements(data, |bytes| f16::from_f32(bf16::from_le_bytes(bytes).to_f32()))
            }
            Dtype::F64 => elements(data, |bytes| f16::from_f64(f64::from_le_bytes(bytes))),
            _ => return Err(self.mismatch(name, "floating point", dtype, shape)),
        };
        if values.iter().all(|value| value.is_finite()) {
            return Ok(Numbers::F16(values));
        }
        // Whether they were finite before they were narrowed decides what is wrong with them.
        self.floats(name)?;
        Err(TensorFileError::TooLarge { path: self.path().to_owned(), name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::tensors::TensorWriter;

    #[test]
    fn numbers_come_in_the_precision_that_is_wanted_or_not_at_all() {
        let mut writer = TensorWriter::default();
        writer.floats("single", &[2], &[0.1, -3.0], Precision::F32);
        writer.floats("half", &[2], &[0.1, -3.0], Precision::F16);
        writer.floats("large", &[2], &[1.0, 7e4], Precision::F32);
        writer.floats("none", &[1], &[f32::NAN], Precision::F32);
        writer.floats("nothing", &[1], &[f32::INFINITY], Precision::F16);
        writer.integers("codes", &[1], [1]);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), writer.serialise().unwrap()).unwrap();
        let file = TensorFile::open(file.path()).unwrap();

        let rounded = Numbers::F16(vec![f16::from_f32(0.1), f16::from_f32(-3.0)]);
        let read = |name: &str, count, precision| file.numbers_of_shape(name, &[count], precision);
        assert_eq!(read("single", 2, Precision::F16).unwrap(), rounded);
        assert_eq!(read("half", 2, Precision::F16).unwrap(), rounded);
        assert_eq!(read("single", 2, Precision::F32).unwrap(), Numbers::F32(vec![0.1, -3.0]));
        assert_eq!(read("large", 2, Precision::F32).unwrap(), Numbers::F32(vec![1.0, 7e4]));
        let refused = |name: &str, count| read(name, count, Precision::F16).unwrap_err();
        assert!(matches!(refused("large", 2), TensorFileError::TooLarge { .. }));
        assert!(matches!(refused("none", 1), TensorFileError::NotFinite { .. }));
        assert!(matches!(refused("nothing", 1), TensorFileError::NotFinite { .. }));
        assert!(matches!(refused("single", 3), TensorFileError::Mismatch { .. }));
        assert!(matches!(refused("codes", 1), TensorFileError::Mismatch { .. }));
        assert_eq!(file.precision_of("half").unwrap(), Precision::F16);
        assert_eq!(file.precision_of("single").unwrap(), Precision::F32);
    }

    #[test]
    fn pieces_keep_their_precision() {
        let halves: Vec<f16> = (0..4).map(|i| f16::from_f32(i as f32)).collect();
        let pieces: Vec<_> = Numbers::F16(halves.clone()).pieces(2).collect();
        assert_eq!(pieces, [Numbers::F16(halves[..2].into()), Numbers::F16(halves[2..].into())]);
    }
}
