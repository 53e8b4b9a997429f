//! Entries of a run file that the command line changes.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// An entry and what it is to be instead: `optimiser.learning_rate=1e-4`. In a run file of several stages the entry
/// begins with the kind of the stage that is meant: `flow.steps=5000`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    key: String,
    /// As TOML has it, or a text without its quotes.
    value: String,
}

impl FromStr for Override {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = text.split_once('=').ok_or("expected ENTRY=VALUE")?;
        let (key, value) = (key.trim().to_owned(), value.trim().to_owned());
        match key.split('.').any(|part| part.trim().is_empty()) || value.is_empty() {
            true => Err("expected ENTRY=VALUE, such as optimiser.learning_rate=1e-4".to_owned()),
            false => Ok(Self { key, value }),
        }
    }
}

impl fmt::Display for Override {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.key, self.value)
    }
}

/// Changes the tables of the stages of a run file. What comes from the `i`th override is said to stand at
/// `behind + i`.
///
/// # Errors
/// Which override means no stage, or an entry within something that is no table.
pub(super) fn apply<'a>(
    overrides: &'a [Override],
    stages: &mut [DeTable<'a>],
    behind: usize,
) -> Result<(), (usize, String)> {
    let several = stages.len() > 1;
    for (i, Override { key, value }) in overrides.iter().enumerate() {
        let at = behind + i;
        let mut meant = 0;
        for table in &mut *stages {
            let kind = kind_of(table);
            let prefix = kind.and_then(|kind| key.strip_prefix(&kind)?.strip_prefix('.'));
            let path = match (prefix, several) {
                (Some(path), _) => path,
                (None, false) => key,
                (None, true) => continue,
            };
            insert(table, path, value, at..at).map_err(|said| (at, said))?;
            meant += 1;
        }
        if meant == 0 {
            let example = format!("flow.{key}");
            let said =
                format!("say which stage it is for, as in {example}: the run file has several");
            return Err((at, said));
        }
    }
    Ok(())
}

fn kind_of(table: &DeTable<'_>) -> Option<String> {
    let task = table.get("task")?.get_ref().as_table()?;
    task.get("kind")?.get_ref().as_str().map(str::to_owned)
}

fn insert<'a>(
    table: &mut DeTable<'a>,
    path: &'a str,
    value: &'a str,
    span: Range<usize>,
) -> Result<(), String> {
    let name = |part: &'a str| Spanned::new(span.clone(), Cow::Borrowed(part.trim()));
    let Some((first, rest)) = path.split_once('.') else {
        let value = DeValue::parse(value)
            .map_or_else(|_| DeValue::String(Cow::Borrowed(value)), Spanned::into_inner);
        table.insert(name(path), Spanned::new(span, value));
        return Ok(());
    };
    let empty = || Spanned::new(span.clone(), DeValue::Table(DeTable::new()));
    match table.entry(name(first)).or_insert_with(empty).get_mut() {
        DeValue::Table(inner) => insert(inner, rest, value, span),
        _ => Err(format!("'{}' is no table", first.trim())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_override_names_an_entry_and_a_value() {
        let read = |text: &str| text.parse::<Override>();
        assert_eq!(read(" optimiser.ema = 0.9 ").unwrap().to_string(), "optimiser.ema=0.9");
        assert_eq!(read("data=a=b").unwrap().value, "a=b");
        for text in ["steps", "=3", "steps=", "a..b=1", ".a=1"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
