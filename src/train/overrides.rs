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

impl Override {
    /// The entry that it is for in a stage of a kind, if it is for that stage.
    fn within(&self, kind: Option<&str>, several: bool) -> Option<&str> {
        let inside = kind.and_then(|kind| self.key.strip_prefix(kind)?.strip_prefix('.'));
        inside.or((!several).then_some(self.key.as_str()))
    }
}

impl fmt::Display for Override {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.key, self.value)
    }
}

/// Changes the table of a stage, one of `several` or the only one. What comes from the `i`th override is said to stand
/// at `behind + i`.
///
/// # Errors
/// Which override is for an entry within something that is no table.
pub(super) fn apply<'a>(
    overrides: &'a [Override],
    table: &mut DeTable<'a>,
    several: bool,
    behind: usize,
) -> Result<(), (usize, String)> {
    let kind = kind_of(table);
    for (i, given) in overrides.iter().enumerate() {
        let Some(path) = given.within(kind.as_deref(), several) else { continue };
        let at = behind + i;
        insert(table, path, &given.value, at..at).map_err(|said| (at, said))?;
    }
    Ok(())
}

/// That every override is for one of the stages at least.
///
/// # Errors
/// Which is for none.
pub(super) fn check(
    overrides: &[Override],
    stages: &[DeTable<'_>],
    behind: usize,
) -> Result<(), (usize, String)> {
    let several = stages.len() > 1;
    let kinds: Vec<Option<String>> = stages.iter().map(kind_of).collect();
    let meant = |given: &Override| {
        kinds.iter().any(|kind| given.within(kind.as_deref(), several).is_some())
    };
    let Some(lost) = overrides.iter().position(|given| !meant(given)) else { return Ok(()) };
    let example = format!("flow.{}", overrides[lost].key);
    let said = format!("say which stage it is for, as in {example}: the run file has several");
    Err((behind + lost, said))
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
