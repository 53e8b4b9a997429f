//! Names of classes, in the forms in which they are passed around.

use std::path::Path;

use serde_json::Value;

use super::{ImportError, read_text};
use crate::io::json;
use crate::say;

/// One name a class: from a file, or the class's number.
pub(super) fn read(path: Option<&Path>, classes: usize) -> Result<Vec<String>, ImportError> {
    let Some(path) = path else { return Ok((0..classes).map(|i| i.to_string()).collect()) };
    let text = read_text(path)?;
    parse(&text, classes).map_err(|reason| ImportError::Text { path: path.to_owned(), reason })
}

/// A name a line, or JSON: a list of names, or a dictionary from numbers to names or from names to
/// numbers. Where a name has several parts, such as WordNet's number and the word, the last is taken.
fn parse(text: &str, classes: usize) -> Result<Vec<String>, String> {
    let text = text.trim_start_matches('\u{feff}');
    let names = match text.trim_start().as_bytes().first() {
        Some(b'[' | b'{') => match json::parse(text)? {
            Value::Array(items) => {
                let names = items.iter().enumerate().map(|(i, item)| {
                    name_of(item).ok_or_else(|| format!("entry {i} of its list is no name"))
                });
                names.collect::<Result<_, _>>()?
            }
            Value::Object(entries) => by_number(&entries, classes)?,
            _ => return Err("it is no list or dictionary".to_owned()),
        },
        _ => text.lines().map(str::trim).filter(|l| !l.is_empty()).map(str::to_owned).collect(),
    };
    let count = names.len();
    if count == classes {
        return Ok(names);
    }
    Err(format!("it names {}, the network has {classes}", say::count(count, "class")))
}

fn name_of(value: &Value) -> Option<String> {
    match value {
        Value::String(name) => Some(name.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Array(parts) => match parts.last()? {
            Value::String(name) => Some(name.clone()),
            _ => None,
        },
        _ => None,
    }
}

/// The names of a dictionary, in the order of their numbers, which are those of all classes.
fn by_number(
    entries: &serde_json::Map<String, Value>,
    classes: usize,
) -> Result<Vec<String>, String> {
    if entries.len() != classes {
        let count = entries.len();
        return Err(format!("it names {}, the network has {classes}", say::count(count, "class")));
    }
    let mut names = vec![None; classes];
    for (key, value) in entries {
        let number = |text: &str| text.trim().parse::<usize>().ok();
        let (class, name) = match (number(key), name_of(value), value.as_u64()) {
            // {"tench": 0}
            (None, _, Some(class)) => (class as usize, key.clone()),
            // {"0": "tench"}
            (Some(class), Some(name), _) => (class, name),
            _ => return Err(format!("'{key}' and what it stands for are no number and name")),
        };
        match names.get_mut(class) {
            Some(place @ None) => *place = Some(name),
            Some(Some(_)) => return Err(format!("it names class {class} twice")),
            None => return Err(format!("it names class {class}, the last is {}", classes - 1)),
        }
    }
    // As many entries as classes, each with a class of its own.
    Ok(names.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_every_form() {
        for text in [
            "tench\r\ngoldfish\r\n\r\nshark\r\n",
            "  tench\n\ngoldfish  \nshark",
            "[\"tench\", \"goldfish\", \"shark\"]",
            "\u{feff}[\"tench\", \"goldfish\", \"shark\"]",
            "[[\"n01440764\", \"tench\"], [\"n01443537\", \"goldfish\"], [\"n01484850\", \"shark\"]]",
            "{\"2\": \"shark\", \"0\": \"tench\", \"1\": \"goldfish\"}",
            "{\"0\": [\"n01440764\", \"tench\"], \"1\": [\"n01443537\", \"goldfish\"], \"2\": [\"x\", \
             \"shark\"]}",
            "{\"tench\": 0, \"shark\": 2, \"goldfish\": 1}",
        ] {
            let expected = ["tench", "goldfish", "shark"].map(str::to_owned).to_vec();
            assert_eq!(parse(text, 3), Ok(expected), "{text}");
        }
        // Names that are numbers.
        assert_eq!(parse("{\"0\": \"7\", \"1\": \"8\"}", 2).unwrap(), ["7", "8"]);
        assert_eq!(parse("[7, 8]", 2).unwrap(), ["7", "8"]);
    }

    #[test]
    fn what_names_no_classes_is_told() {
        for (text, expected) in [
            ("a\nb\n", "names 2 classes, the network has 3"),
            ("", "names 0 classes"),
            ("{\"0\": \"a\"}", "names 1 class,"),
            ("{\"0\": \"a\", \"1\": \"b\", \"3\": \"c\"}", "class 3, the last is 2"),
            ("{\"a\": 0, \"b\": 1, \"c\": 1}", "class 1 twice"),
            ("{\"a\": \"x\", \"b\": \"y\", \"c\": \"z\"}", "no number and name"),
            ("[1, {}, 2]", "entry 1 of its list is no name"),
            ("[\"a\"", "EOF"),
        ] {
            let reason = parse(text, 3).unwrap_err();
            assert!(reason.contains(expected), "{text}: {reason}");
        }
    }
}
