//! Text of RON with what cannot be read taken out of it, so that one bad number does not cost the rest.
//!
//! What is read is only how the text is cut into parts: whether a part can be used, the reader of the
//! whole says, which is asked about each part alone.

use std::collections::HashSet;

/// Parts within parts that are looked at.
const LEVELS: usize = 6;
/// Most parts of anything that is taken apart.
const MOST: usize = 20_000;

/// What of `text` is accepted: the whole, or the whole without the fields and elements that are not
/// accepted by themselves. Nothing where nothing is. The names of what was taken out are added to
/// `lost`, as `draft.count`.
pub fn mended(
    text: &str,
    accepts: &dyn Fn(&str) -> bool,
    lost: &mut Vec<String>,
) -> Option<String> {
    part(text.trim(), accepts, "", LEVELS, lost)
}

fn part(
    text: &str,
    accepts: &dyn Fn(&str) -> bool,
    path: &str,
    levels: usize,
    lost: &mut Vec<String>,
) -> Option<String> {
    if accepts(text) {
        return Some(text.to_owned());
    }
    let before = lost.len();
    let whole = without_bad(text, accepts, path, levels, lost).filter(|whole| accepts(whole));
    if whole.is_none() {
        lost.truncate(before);
        lost.push(path.to_owned());
    }
    whole
}

/// The text without those of its parts that are not accepted by themselves.
fn without_bad(
    text: &str,
    accepts: &dyn Fn(&str) -> bool,
    path: &str,
    levels: usize,
    lost: &mut Vec<String>,
) -> Option<String> {
    let levels = levels.checked_sub(1)?;
    let (open, close) = match text.chars().next()? {
        '(' => ('(', ')'),
        '[' => ('[', ']'),
        _ => return None,
    };
    let inside = text.strip_prefix(open)?.strip_suffix(close)?;
    let mut kept = Vec::new();
    let mut names = HashSet::new();
    for each in parts(inside)? {
        let (name, value) = match open {
            '(' => field(each)?,
            _ => ("", each),
        };
        let colon = if name.is_empty() { "" } else { ":" };
        let within = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        let within = within.trim_end_matches('.');
        let alone = |value: &str| accepts(&format!("{open}{name}{colon}{value}{close}"));
        // A name that is there twice could not be read.
        if !name.is_empty() && !names.insert(name) {
            lost.push(within.to_owned());
        } else if let Some(value) = part(value, &alone, within, levels, lost) {
            kept.push(format!("{name}{colon}{value}"));
        }
    }
    Some(format!("{open}{}{close}", kept.join(",")))
}

/// Name and value of a field; nothing for an element of a tuple, which cannot be left out.
fn field(text: &str) -> Option<(&str, &str)> {
    let (name, value) = text.split_once(':')?;
    let (name, value) = (name.trim(), value.trim());
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (!name.is_empty() && name.chars().all(word)).then_some((name, value))
}

/// What stands between commas that lie within no bracket and no string. Nothing where brackets do not
/// close, or where there are too many parts.
fn parts(text: &str) -> Option<Vec<&str>> {
    let (mut all, mut from, mut depth) = (Vec::new(), 0, 0_usize);
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.checked_sub(1)?,
            b',' if depth == 0 => {
                all.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    all.push(&text[from..]);
    all.retain(|part| !part.trim().is_empty());
    (depth == 0 && !quoted && all.len() <= MOST).then(|| all.into_iter().map(str::trim).collect())
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::super::ron;
    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Cat {
        name: String,
        lives: u8,
        place: Option<(f32, f32)>,
        kittens: Vec<Cat>,
        tail: Tail,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Tail {
        long: bool,
        rings: u8,
    }

    fn read(text: &str) -> (Option<Cat>, Vec<String>) {
        let mut lost = Vec::new();
        let accepts = |text: &str| ron::read::<Cat>(text).is_some();
        let text = mended(text, &accepts, &mut lost);
        (text.and_then(|text| ron::read(&text)), lost)
    }

    #[test]
    fn what_is_whole_stays_as_it_is() {
        let (cat, lost) = read(r#"(name:"a, (b", lives:9, place:Some((1.0,2.0)))"#);
        assert_eq!(cat.unwrap().name, "a, (b");
        assert!(lost.is_empty());
    }

    #[test]
    fn a_bad_field_costs_nothing_but_itself() {
        let text = r#"(name:"\"a\\",lives:9000,tail:(long:true,rings:-1),place:Some("here"))"#;
        let (cat, lost) = read(text);
        let cat = cat.unwrap();
        assert_eq!((cat.name.as_str(), cat.lives, cat.place), ("\"a\\", 0, None));
        assert!(cat.tail.long && cat.tail.rings == 0);
        assert_eq!(lost, ["lives", "tail.rings", "place"]);
    }

    #[test]
    fn a_bad_element_costs_nothing_but_itself() {
        let (cat, lost) = read(r#"(kittens:[(name:"a"),7,(name:"c",lives:-1)])"#);
        let names: Vec<_> = cat.unwrap().kittens.into_iter().map(|cat| cat.name).collect();
        assert_eq!(names, ["a", "c"]);
        assert_eq!(lost, ["kittens", "kittens.lives"]);
    }

    #[test]
    fn a_field_that_is_there_twice_is_read_once() {
        let (cat, lost) = read("(lives:1,lives:2)");
        assert_eq!((cat.unwrap().lives, lost), (1, vec!["lives".to_owned()]));
    }

    #[test]
    fn what_is_no_ron_is_nothing() {
        for text in ["", "}{)(", "(name:\"a", "(((((((((", "[1,2", "(1,2)", "\u{0}\u{ff}", "(a:))("]
        {
            assert_eq!(read(text).0, None, "{text:?}");
        }
        let deep = format!("{}{}", "(kittens:[".repeat(500), "])".repeat(500));
        assert!(read(&deep).0.is_some_and(|cat| cat.kittens.len() <= 1));
        let many = format!("(lives:x{})", ",a:1".repeat(MOST));
        assert_eq!(read(&many).0, None);
    }
}
