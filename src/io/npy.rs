//! Arrays of NumPy, `.npy` of versions 1 to 3: floating-point, little-endian, rows last.

use half::f16;
use thiserror::Error;

use super::narrow::narrow;

/// An array that cannot be read.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum NpyError {
    /// Not an array, or a truncated one.
    #[error("not a whole .npy array: {0}")]
    Malformed(String),
    /// Numbers of another type or order.
    #[error("its numbers are {found}, expected little-endian floating point in C order")]
    Unsupported {
        /// What they are.
        found: String,
    },
}

const MAGIC: &[u8] = b"\x93NUMPY";

/// Type and shape of an array, and where its numbers begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Type in NumPy's words, such as `<f4`.
    pub descr: String,
    /// Extents.
    pub shape: Vec<usize>,
    /// First byte of the numbers.
    pub start: usize,
}

impl Header {
    fn width(&self) -> Result<usize, NpyError> {
        match self.descr.as_str() {
            "<f2" => Ok(2),
            "<f4" => Ok(4),
            "<f8" => Ok(8),
            other => Err(NpyError::Unsupported { found: format!("of type '{other}'") }),
        }
    }
}

fn malformed<T>(reason: impl Into<String>) -> Result<T, NpyError> {
    Err(NpyError::Malformed(reason.into()))
}

/// Reads the head of an array; `bytes` may end before its numbers do.
///
/// # Errors
/// It is none, or its numbers are of another type or order.
pub fn header(bytes: &[u8]) -> Result<Header, NpyError> {
    let Some((&[major, _], rest)) =
        bytes.strip_prefix(MAGIC).and_then(|rest| rest.split_first_chunk())
    else {
        return malformed("it does not begin with \\x93NUMPY");
    };
    let (length, size_bytes) = match (major, rest) {
        (1, [a, b, ..]) => (usize::from(u16::from_le_bytes([*a, *b])), 2),
        (2 | 3, [a, b, c, d, ..]) => (u32::from_le_bytes([*a, *b, *c, *d]) as usize, 4),
        (1..=3, _) => return malformed("it ends in its header"),
        _ => return malformed(format!("version {major} is not known")),
    };
    let Some(text) = rest.get(size_bytes..).and_then(|rest| rest.get(..length)) else {
        return malformed("it ends in its header");
    };
    let Ok(text) = std::str::from_utf8(text) else { return malformed("its header is not text") };
    let entry = |key: &str| {
        let at = text.find(&format!("'{key}'"))? + key.len() + 2;
        Some(text[at..].trim_start().strip_prefix(':')?.trim_start())
    };
    let (Some(descr), Some(order), Some(shape)) =
        (entry("descr"), entry("fortran_order"), entry("shape"))
    else {
        return malformed("its header lacks 'descr', 'fortran_order' or 'shape'");
    };
    let Some(descr) = descr.strip_prefix('\'').and_then(|rest| Some(rest.split_once('\'')?.0))
    else {
        return Err(NpyError::Unsupported { found: "of a structured type".to_owned() });
    };
    if order.starts_with("True") {
        return Err(NpyError::Unsupported { found: "in Fortran order".to_owned() });
    }
    let inside = shape.strip_prefix('(').and_then(|rest| Some(rest.split_once(')')?.0));
    let sides = inside.map(|inside| {
        let sides = inside.split(',').map(str::trim).filter(|side| !side.is_empty());
        sides.map(|side| side.parse().ok()).collect::<Option<Vec<usize>>>()
    });
    let Some(Some(shape)) = sides else { return malformed("its shape is not one") };
    let header =
        Header { descr: descr.to_owned(), shape, start: MAGIC.len() + 2 + size_bytes + length };
    header.width()?;
    Ok(header)
}

/// Shape and numbers of an array.
///
/// # Errors
/// As [`header`], or there are more or fewer numbers than its shape has.
pub fn read(bytes: &[u8]) -> Result<(Vec<usize>, Vec<f32>), NpyError> {
    let header = header(bytes)?;
    let width = header.width()?;
    let data = &bytes[header.start..];
    let size = header.shape.iter().try_fold(width, |size, side| size.checked_mul(*side));
    if size != Some(data.len()) {
        return malformed(format!(
            "its shape {:?} does not fit {} bytes",
            header.shape,
            data.len()
        ));
    }
    let values = match width {
        2 => data.as_chunks::<2>().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
        4 => data.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        _ => data.as_chunks::<8>().0.iter().map(|b| narrow(f64::from_le_bytes(*b))).collect(),
    };
    Ok((header.shape, values))
}

/// The bytes of an array of f32, `shape` filled by `values`.
pub fn write(shape: &[usize], values: &[f32]) -> Vec<u8> {
    let sides: String = shape.iter().map(|side| format!("{side}, ")).collect();
    let sides = if shape.len() == 1 { sides.trim_end() } else { sides.trim_end_matches(", ") };
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({sides}), }}");
    // The numbers begin at a multiple of 64 bytes, after a line end.
    let begun = MAGIC.len() + 4;
    let padded = (begun + header.len() + 1).next_multiple_of(64) - begun - 1;
    header = format!("{header:padded$}\n");
    #[expect(clippy::cast_possible_truncation, reason = "a shape takes less than 64 KB of text")]
    let length = header.len() as u16;
    let mut bytes = [MAGIC, &[1, 0], &length.to_le_bytes()].concat();
    bytes.extend(header.as_bytes());
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_header(text: &str, data: &[u8]) -> Vec<u8> {
        let length = (text.len() as u16).to_le_bytes();
        [MAGIC, &[1, 0], &length, text.as_bytes(), data].concat()
    }

    #[test]
    fn arrays_round_trip() {
        for shape in [vec![2, 3], vec![6], vec![1, 2, 3, 1]] {
            let values = [1.0, -2.0, 0.5, 4.0, 5.0, 6.25];
            let bytes = write(&shape, &values);
            assert_eq!(header(&bytes).unwrap().start % 64, 0);
            assert_eq!(read(&bytes).unwrap(), (shape, values.to_vec()));
        }
    }

    #[test]
    fn other_types_and_orders_are_refused_by_name() {
        let head = |descr, order| {
            format!("{{'descr': {descr}, 'fortran_order': {order}, 'shape': (1,), }}")
        };
        for (descr, order, expected) in [
            ("'>f4'", "False", "'>f4'"),
            ("'<i8'", "False", "'<i8'"),
            ("[('a', '<f4')]", "False", "structured"),
            ("'<f4'", "True", "Fortran"),
        ] {
            let error = read(&with_header(&head(descr, order), &[0; 4])).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert_eq!(read(&with_header(&head("'<f2'", "False"), &[0, 0x3c])).unwrap().1, [1.0]);
        let huge = "{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4), }";
        assert!(read(&with_header(huge, &[])).is_err());
    }
}
