//! What the header of a safetensors file must keep to beyond what its reader checks, found out in no
//! more memory than its names take.

use std::collections::HashSet;
use std::fmt;

use safetensors::SafeTensorError;
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

/// Most bytes of an error that quote the file.
const LONGEST_REASON: usize = 300;

/// Checks the JSON of a header: no name twice, and nothing but text in `__metadata__`.
///
/// # Errors
/// The first thing that is wrong, in words.
pub fn check(file: &[u8]) -> Result<(), String> {
    // Whatever is wrong with the frame around the JSON, the reader says.
    let Some((length, rest)) = file.split_first_chunk() else { return Ok(()) };
    let json = usize::try_from(u64::from_le_bytes(*length)).ok().and_then(|n| rest.get(..n));
    let Some(json) = json else { return Ok(()) };
    match serde_json::from_slice::<Names>(json) {
        Err(error) if error.is_data() => Err(shortened(&error.to_string())),
        _ => Ok(()),
    }
}

/// Why a header was refused, in words and within bounds.
pub fn reason(error: &SafeTensorError) -> String {
    match error {
        SafeTensorError::HeaderTooSmall => "it ends before its header: it was cut off".to_owned(),
        SafeTensorError::InvalidHeaderLength => {
            "it ends within its header: it was cut off".to_owned()
        }
        SafeTensorError::MetadataIncompleteBuffer => {
            "its tensors do not fill it: it was cut off, or something was added to it".to_owned()
        }
        SafeTensorError::HeaderTooLarge => {
            "its header claims to be longer than 100 MB, the most that the format has".to_owned()
        }
        other => shortened(&other.to_string()),
    }
}

fn shortened(text: &str) -> String {
    if text.len() <= LONGEST_REASON {
        return text.to_owned();
    }
    let (half, mut end) = (LONGEST_REASON / 2, text.len() - LONGEST_REASON / 2);
    let mut start = half;
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    while !text.is_char_boundary(end) {
        end += 1;
    }
    format!("{} ... {}", &text[..start], &text[end..])
}

/// The names of a header.
struct Names;

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Header;
        impl<'de> Visitor<'de> for Header {
            type Value = Names;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a dictionary of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
                let mut seen = HashSet::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        map.next_value::<Texts>()?;
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                    if let Some(twice) = seen.replace(name) {
                        return Err(A::Error::custom(format!("its header names '{twice}' twice")));
                    }
                }
                Ok(Names)
            }
        }
        deserializer.deserialize_map(Header)
    }
}

/// The entries of the header's metadata, which are all text.
struct Texts;

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Metadata;
        impl<'de> Visitor<'de> for Metadata {
            type Value = Texts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a dictionary of texts under '__metadata__'")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Texts, A::Error> {
                let mut seen = HashSet::new();
                while let Some(key) = map.next_key::<String>()? {
                    if map.next_value::<Text>()?.0.is_none() {
                        return Err(A::Error::custom(format!(
                            "'{key}' of its metadata is not text"
                        )));
                    }
                    if let Some(twice) = seen.replace(key) {
                        return Err(A::Error::custom(format!("its metadata has '{twice}' twice")));
                    }
                }
                Ok(Texts)
            }
        }
        deserializer.deserialize_map(Metadata)
    }
}

/// Whether a value is text; what it says is kept nowhere.
struct Text(Option<()>);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text")
            }

            fn visit_str<E: Error>(self, _: &str) -> Result<Text, E> {
                Ok(Text(Some(())))
            }

            fn visit_bool<E: Error>(self, _: bool) -> Result<Text, E> {
                Ok(Text(None))
            }

            fn visit_i64<E: Error>(self, _: i64) -> Result<Text, E> {
                Ok(Text(None))
            }

            fn visit_u64<E: Error>(self, _: u64) -> Result<Text, E> {
                Ok(Text(None))
            }

            fn visit_f64<E: Error>(self, _: f64) -> Result<Text, E> {
                Ok(Text(None))
            }

            fn visit_unit<E: Error>(self) -> Result<Text, E> {
                Ok(Text(None))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(json: &str) -> Option<String> {
        let bytes = [(json.len() as u64).to_le_bytes().as_slice(), json.as_bytes()].concat();
        check(&bytes).err()
    }

    #[test]
    fn names_come_once_and_metadata_is_text() {
        let tensor = "{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}";
        assert_eq!(said(&format!("{{\"__metadata__\":{{\"a\":\"b\"}},\"x\":{tensor}}}")), None);
        let twice = said(&format!("{{\"x\":{tensor},\"y\":{tensor},\"x\":{tensor}}}")).unwrap();
        assert!(twice.contains("names 'x' twice"), "{twice}");
        let keys = said("{\"__metadata__\":{\"a\":\"b\",\"a\":\"c\"}}").unwrap();
        assert!(keys.contains("'a' twice"), "{keys}");
        for value in ["5", "-1", "0.5", "true", "null"] {
            let error = said(&format!("{{\"__metadata__\":{{\"n\":{value}}}}}")).unwrap();
            assert!(error.contains("'n' of its metadata is not text"), "{value}: {error}");
        }
        assert!(said("{\"__metadata__\":{\"n\":[1]}}").is_some());
    }

    #[test]
    fn towers_of_json_are_read_in_little_memory_and_errors_are_short() {
        let tower = format!("{{\"a\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(said(&tower), None, "the reader refuses it");
        let long = format!("{{\"é{0}\":1,\"é{0}\":2}}", "é".repeat(10_000));
        assert!(said(&long).unwrap().len() < 400);
    }
}
