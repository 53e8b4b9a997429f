//! The settings of a run as TOML, to read and to change.

use serde_json::Value;
use thiserror::Error;

const HEAD: &str = "\
# Settings of a run of Purrscope. Drop this file on the studio's window to make the run again.
";

/// A settings file that cannot be read or written.
#[derive(Debug, Error)]
pub enum SettingsFileError {
    /// Not TOML.
    #[error("not a TOML file: {0}")]
    Unreadable(#[from] toml::de::Error),
    /// Something that TOML has no word for.
    #[error("the settings have no form as TOML: {0}")]
    Unwritable(#[from] toml::ser::Error),
    /// Not JSON.
    #[error("the settings are not JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// The TOML of settings in JSON, as they are in an exported picture.
///
/// # Errors
/// `json` is not the JSON of an object.
pub fn from_json(json: &str) -> Result<String, SettingsFileError> {
    let value: Value = serde_json::from_str(json)?;
    let text = toml::to_string(&to_toml(value).unwrap_or_else(|| toml::Table::new().into()))?;
    Ok(format!("{HEAD}\n{text}"))
}

/// The settings of a TOML file, with a byte-order mark or without, as JSON.
///
/// # Errors
/// It is no TOML.
pub fn to_json(text: &str) -> Result<Value, SettingsFileError> {
    let table: toml::Table = toml::from_str(text.trim_start_matches('\u{feff}'))?;
    Ok(to_value(table.into()))
}

/// TOML knows whole numbers up to 2^63 - 1, but a seed may be larger: such a number is a text.
fn to_toml(value: Value) -> Option<toml::Value> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(value) => value.into(),
        Value::String(text) => text.into(),
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(number), ..) => number.into(),
            (None, Some(number), _) => number.to_string().into(),
            (None, None, number) => number?.into(),
        },
        Value::Array(list) => list.into_iter().filter_map(to_toml).collect::<Vec<_>>().into(),
        Value::Object(map) => {
            let entries = map.into_iter().filter_map(|(key, value)| Some((key, to_toml(value)?)));
            entries.collect::<toml::Table>().into()
        }
    })
}

fn to_value(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => number.into(),
        toml::Value::Boolean(value) => value.into(),
        toml::Value::Datetime(time) => time.to_string().into(),
        toml::Value::Array(list) => list.into_iter().map(to_value).collect(),
        toml::Value::Table(table) => {
            let number = |key: &str, value: &Value| match value.as_str() {
                Some(text) if key == "seed" => text.parse::<u64>().ok().map(Value::from),
                _ => None,
            };
            let entry = |(key, value): (String, toml::Value)| {
                let value = to_value(value);
                let value = number(&key, &value).unwrap_or(value);
                (key, value)
            };
            Value::Object(table.into_iter().map(entry).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{Branch, Recorded, RunRecord, SampleSettings};

    #[test]
    fn every_setting_comes_back() {
        let parent = SampleSettings {
            labels: vec![4, 7],
            temperature: "points:0=1.2,0.5=0.9,1=0.7".parse().unwrap(),
            ..SampleSettings::default()
        };
        let settings = SampleSettings {
            seed: u64::MAX,
            grid: "shifted:2.5".parse().unwrap(),
            guidance: 0.1,
            guidance_interval: "0.2:0.8".parse().unwrap(),
            atol: 1e-5,
            pins: vec!["0,1,2=3".parse().unwrap(), "1,0,0=9".parse().unwrap()],
            bans: vec!["1,3,3=8".parse().unwrap()],
            banned_codes: vec![7, 9],
            branch: Some(Box::new(Branch { step: 3, parent: parent.clone() })),
            ..parent
        };
        let record = RunRecord {
            class: Some("cat \"05\"\n".to_owned()),
            ..RunRecord::new("a model", "0123abcd", &settings)
        };
        let text = from_json(&record.to_json().unwrap()).unwrap();
        let restored = Recorded::from_value(to_json(&text).unwrap()).unwrap();
        assert_eq!(restored.settings, settings, "{text}");
        assert_eq!(restored.class.as_deref(), Some("cat \"05\"\n"));
        assert_eq!(restored.model_hash.as_deref(), Some("0123abcd"));
        assert!(text.contains("guidance = 0.1\n"), "{text}");
    }

    /// As deep as a run may go on from others, TOML is still read.
    #[test]
    fn the_deepest_branch_comes_back() {
        let deepest =
            (0..SampleSettings::MAX_GENERATION).fold(SampleSettings::default(), |parent, step| {
                SampleSettings {
                    pins: vec!["0,1,2=3".parse().unwrap()],
                    branch: Some(Box::new(Branch { step, parent })),
                    ..SampleSettings::default()
                }
            });
        let record = RunRecord::new("m", "ab", &deepest).to_json().unwrap();
        let text = from_json(&record).unwrap();
        assert_eq!(Recorded::from_value(to_json(&text).unwrap()).unwrap().settings, deepest);
    }

    #[test]
    fn what_is_no_toml_is_told() {
        assert!(to_json("labels = [").is_err());
    }
}
