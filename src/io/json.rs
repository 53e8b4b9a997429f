//! JSON as other programs write it.

use std::borrow::Cow;

use serde::de::DeserializeOwned;

/// A number that is none: what [`parse`] puts where Python writes `NaN` or `Infinity`, so that it is an
/// error where it is needed and nothing where it is not.
const NO_NUMBER: &str = "1e999";

/// Reads JSON, with a byte-order mark before it, and with `NaN` and `Infinity` in fields that are not
/// asked for, as Python writes them.
///
/// # Errors
/// In words: it is not JSON, or does not hold what is asked for.
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let text = text.trim_start_matches('\u{feff}');
    let plain = without_infinities(text);
    serde_json::from_str(&plain).map_err(|error| match plain {
        Cow::Owned(_) if error.to_string().starts_with("number out of range") => {
            format!("NaN or Infinity stands where a number is needed, at line {}", error.line())
        }
        _ => error.to_string(),
    })
}

/// The text with every `NaN` and `Infinity` outside of its strings replaced.
fn without_infinities(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let (mut plain, mut copied) = (String::new(), 0);
    let (mut at, mut quoted) = (0, false);
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if quoted => at += 1,
            b'"' => quoted = !quoted,
            b'N' | b'I' if !quoted => {
                let word = ["NaN", "Infinity"].into_iter().find(|w| text[at..].starts_with(w));
                if let Some(word) = word {
                    plain.push_str(&text[copied..at]);
                    plain.push_str(NO_NUMBER);
                    copied = at + word.len();
                    at = copied - 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    plain.push_str(&text[copied..]);
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Wanted {
        a: f32,
        b: Option<String>,
    }

    #[test]
    fn infinities_are_read_where_they_are_not_needed() {
        let text =
            "\u{feff}{\"a\": 1, \"b\": \"NaN \\\" Infinity\", \"c\": [NaN, -Infinity, Infinity]}";
        let expected = Wanted { a: 1.0, b: Some("NaN \" Infinity".to_owned()) };
        assert_eq!(parse(text), Ok(expected));
        let error = parse::<Wanted>("{\n\"a\": -Infinity}").unwrap_err();
        assert!(error.contains("where a number is needed") && error.contains("line 2"), "{error}");
        assert!(parse::<Wanted>("{\"a\": nan}").is_err());
        assert!(parse::<Wanted>("{").unwrap_err().starts_with("EOF"));
    }
}
