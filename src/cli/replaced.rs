//! A model's parameters with some of them replaced.

use anyhow::Result;
use safetensors::Dtype;

use crate::io::tensors::{Precision, TensorFile};
use crate::model::params::NamedTensor;

/// The parameters of a model file, those that `new` gives numbers for with these, and the precision to write all of them
/// in: that which the file has the replaced ones in.
///
/// # Errors
/// Those of `new`, or a parameter that cannot be read.
pub fn replaced(
    file: &TensorFile,
    mut new: impl FnMut(&str, &[usize], Dtype) -> Result<Option<Vec<f32>>>,
) -> Result<(Vec<NamedTensor>, Precision)> {
    let (mut tensors, mut precision) = (Vec::new(), Precision::F32);
    for (name, kind, shape) in file.entries() {
        let values = match new(&name, &shape, kind)? {
            Some(values) => {
                if kind == Dtype::F16 {
                    precision = Precision::F16;
                }
                values
            }
            None => file.floats(&name)?.1,
        };
        tensors.push(NamedTensor { name, shape, values });
    }
    Ok((tensors, precision))
}
