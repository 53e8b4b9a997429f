//! Entries of a run file that nothing reads: most likely misspelt, and better refused than ignored.
//!
//! serde refuses unknown fields only of some structures, and never says which known one was meant; so
//! the file's tables are compared with the fields of the structures that they are read into.

use std::ops::Range;

use serde::de::value::Error;
use serde::de::{Deserialize, Deserializer, Error as _, Visitor};
use serde::forward_to_deserialize_any;
use toml::de::DeTable;

use super::config::{
    BackboneSizes, FlowTask, JointTask, OptimiserConfig, RunConfig, SheetSettings, TokenizerLosses,
    TokenizerTask,
};
use super::{DiscriminatorConfig, EvaluationConfig, PerceptualConfig};
use crate::data::Augment;
use crate::model::card::TokenizerConfig;

/// Words that other programs have for entries of ours.
const OTHER_WORDS: [(&str, &str); 15] = [
    ("lr", "learning_rate"),
    ("cfg", "guidance"),
    ("tau", "temperature"),
    ("wd", "weight_decay"),
    ("resolution", "image_size"),
    ("epochs", "steps"),
    ("val", "holdout"),
    ("type", "kind"),
    ("model", "backbone"),
    ("labels", "classes"),
    ("augmentation", "augment"),
    ("hflip", "flip"),
    ("mirror", "flip"),
    ("color", "colour"),
    ("jitter", "colour"),
];

/// A table that a run file may have, and what may stand in it.
struct Table {
    /// Its name, as it stands in brackets; empty for the top of the file.
    name: &'static str,
    entries: Vec<&'static str>,
}

/// The tables of a run that trains a tokenizer or a flow.
fn tables(kind: Option<&str>) -> Vec<Table> {
    let table = |name, entries: &[&'static str]| Table { name, entries: entries.to_vec() };
    let mut known = vec![
        table("", fields::<RunConfig>()),
        table("optimiser", fields::<OptimiserConfig>()),
        table("augment", fields::<Augment>()),
    ];
    let task = match kind {
        Some("tokenizer") => {
            known.push(table("task.model", fields::<TokenizerConfig>()));
            known.push(table("task.perceptual", fields::<PerceptualConfig>()));
            known.push(table("task.discriminator", fields::<DiscriminatorConfig>()));
            fields::<TokenizerTask>()
        }
        Some("flow") => {
            known.push(table("task.backbone", fields::<BackboneSizes>()));
            known.push(table("task.samples", fields::<SheetSettings>()));
            known.push(table("task.evaluation", fields::<EvaluationConfig>()));
            fields::<FlowTask>()
        }
        Some("joint") => {
            known.push(table("task.losses", fields::<TokenizerLosses>()));
            known.push(table("task.samples", fields::<SheetSettings>()));
            known.push(table("task.evaluation", fields::<EvaluationConfig>()));
            fields::<JointTask>()
        }
        // What it lacks is said by the parser.
        _ => return known,
    };
    known.push(table("task", &[&["kind"], task].concat()));
    known
}

/// The first entry that no table of a run has: where it stands, and what to say of it.
pub(super) fn unknown(root: &DeTable<'_>) -> Option<(Range<usize>, String)> {
    let task = root.get("task").and_then(|task| task.get_ref().as_table());
    let kind = task.and_then(|task| task.get("kind")?.get_ref().as_str());
    let known = tables(kind);
    let mut found = Vec::new();
    for table in &known {
        let mut parts = table.name.split('.').filter(|part| !part.is_empty());
        let Some(here) = parts.try_fold(root, |at, part| at.get(part)?.get_ref().as_table()) else {
            continue;
        };
        for key in here.keys() {
            let name: &str = key.get_ref();
            if !table.entries.contains(&name) {
                found.push((key.span(), said(name, table, &known)));
            }
        }
    }
    // The first in the file, not in the order of names.
    found.into_iter().min_by_key(|(span, _)| span.start)
}

/// What is said of an entry that does not belong in a table.
fn said(name: &str, table: &Table, known: &[Table]) -> String {
    let place = |table: &Table| match table.name {
        "" => "at the top of the file, before the first [table]".to_owned(),
        name => format!("in [{name}]"),
    };
    let here = if table.name.is_empty() { String::new() } else { format!(" {}", place(table)) };
    let begun = format!("unknown entry '{}'{here}", name.escape_debug());
    if let Some(other) = known.iter().find(|other| other.entries.contains(&name)) {
        return format!("{begun}; it belongs {}", place(other));
    }
    match nearest(name, &table.entries) {
        Some(meant) => format!("{begun}; did you mean '{meant}'?"),
        None => format!("{begun}; known there: {}", table.entries.join(", ")),
    }
}

/// The entry that was most likely meant.
fn nearest<'a>(name: &str, entries: &[&'a str]) -> Option<&'a str> {
    let name: String = name.to_lowercase().replace('-', "_").chars().take(64).collect();
    let word = OTHER_WORDS.iter().find(|(word, _)| *word == name).map(|(_, entry)| *entry);
    if let Some(entry) = entries.iter().find(|entry| Some(**entry) == word) {
        return Some(entry);
    }
    let near = entries.iter().map(|entry| (distance(&name, entry), *entry)).min()?;
    if near.0 <= 1 + name.len() / 4 {
        return Some(near.1);
    }
    let within = |entry: &&&str| {
        name.len().min(entry.len()) > 3 && (name.contains(**entry) || entry.contains(&name))
    };
    entries.iter().find(within).copied()
}

/// Letters to add, to leave out or to exchange (Levenshtein 1965).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, a) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, b) in b.iter().enumerate() {
            let exchanged = corner + usize::from(a != *b);
            corner = row[j + 1];
            row[j + 1] = exchanged.min(corner + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// The names of the fields that a structure is read from.
fn fields<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
    /// Has nothing to read from, but hears which fields are asked for.
    struct Listener<'a>(&'a mut &'static [&'static str]);

    impl<'de> Deserializer<'de> for Listener<'_> {
        type Error = Error;

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            _: V,
        ) -> Result<V::Value, Error> {
            *self.0 = fields;
            Err(Error::custom("nothing to read"))
        }

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
            Err(Error::custom("nothing to read"))
        }

        forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
            option unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier
            ignored_any
        }
    }

    let mut found: &'static [&'static str] = &[];
    // It always fails, once it has asked.
    let _ = T::deserialize(Listener(&mut found));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said_of(text: &str) -> Option<String> {
        unknown(DeTable::parse(text).unwrap().get_ref()).map(|(_, said)| said)
    }

    #[test]
    fn the_recipes_have_no_unknown_entries() {
        for text in [
            include_str!("../../assets/recipe/tokenizer.toml"),
            include_str!("../../assets/recipe/flow.toml"),
        ] {
            assert_eq!(said_of(text), None);
        }
    }

    #[test]
    fn misspelt_entries_are_named_in_every_table() {
        let flow = "[task]\nkind = \"flow\"\n";
        let tokenizer = "[task]\nkind = \"tokenizer\"\n";
        for (text, expected) in [
            ("batchsize = 3".to_owned(), "unknown entry 'batchsize'; did you mean 'batch'?"),
            (
                "[optimizer]\nclip = 1".to_owned(),
                "unknown entry 'optimizer'; did you mean 'optimiser'?",
            ),
            (
                "[optimiser]\nlr = 1".to_owned(),
                "unknown entry 'lr' in [optimiser]; did you mean 'learning_rate'?",
            ),
            ("balanced = 1".to_owned(), "unknown entry 'balanced'; did you mean 'balance'?"),
            ("labels = 1".to_owned(), "did you mean 'classes'?"),
            ("back_ground = 1".to_owned(), "did you mean 'background'?"),
            ("[augment]\nhflip = true".to_owned(), "'hflip' in [augment]; did you mean 'flip'?"),
            ("[augment]\ncolor = 1".to_owned(), "did you mean 'colour'?"),
            ("flip = true".to_owned(), "unknown entry 'flip'; it belongs in [augment]"),
            (
                format!("{flow}objectve = 1"),
                "unknown entry 'objectve' in [task]; did you mean 'objective'?",
            ),
            (format!("{flow}label_drop = 1"), "did you mean 'label_dropout'?"),
            (
                format!("{flow}batch = 64"),
                "unknown entry 'batch' in [task]; it belongs at the top of the file, before the first [table]",
            ),
            (format!("{flow}[task.backbone]\nheads = 4"), "did you mean 'num_heads'?"),
            (
                format!("{flow}[task.backbone]\nmlp_ratio = 4.5"),
                "unknown entry 'mlp_ratio' in [task.backbone]; known there: patch_size, hidden_size",
            ),
            (format!("{flow}[task.samples]\ncfg = 4"), "did you mean 'guidance'?"),
            (format!("{tokenizer}commitement = 4"), "did you mean 'commitment'?"),
            (format!("{tokenizer}[task.model]\nl2_normalized = true"), "'l2_normalised'?"),
            (format!("{tokenizer}[task.model]\natention_levels = [0]"), "'attention_levels'?"),
            (format!("{tokenizer}learning_rate = 1"), "it belongs in [optimiser]"),
        ] {
            let said = said_of(&text).unwrap_or_else(|| panic!("{text} is taken"));
            assert!(said.contains(expected), "{said}");
        }
    }

    #[test]
    fn distances_count_changes() {
        for (a, b, expected) in [("", "abc", 3), ("kitten", "sitting", 3), ("same", "same", 0)] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }
}
