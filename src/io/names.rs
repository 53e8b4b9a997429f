//! Names of files made of text that comes from elsewhere, such as the name of a class.

/// Most bytes of a name: with a number, a time and an ending it stays below the 255 that file systems
/// take, and short enough to be read in a list.
const MOST_BYTES: usize = 100;

/// Names that mean a device on Windows, whatever follows a dot.
const DEVICES: [&str; 6] = ["con", "prn", "aux", "nul", "conin$", "conout$"];

/// Any text as a part of a file's name that every system takes and that leads to no other folder: what
/// is fine stays as it is, everything else becomes a hyphen. Never empty.
pub fn file_name(text: &str) -> String {
    let safe = |c: char| if is_safe(c) { c } else { '-' };
    // No more than can be needed of a text that may be long.
    let text: String = text.chars().take(4 * MOST_BYTES).map(safe).collect();
    // In front a dot hides the file and a hyphen makes it an option; Windows drops blanks and dots at
    // the end.
    let text = text.trim_start_matches(|c: char| matches!(c, '.' | '-' | '~') || c.is_whitespace());
    let end = text.floor_char_boundary(MOST_BYTES);
    let name = text[..end].trim_end_matches(|c: char| c == '.' || c.is_whitespace());
    match name {
        "" => "unnamed".to_owned(),
        name if is_device(name) => match name.split_once('.') {
            Some((stem, rest)) => format!("{}_.{rest}", stem.trim_end()),
            None => format!("{name}_"),
        },
        name => name.to_owned(),
    }
}

fn is_safe(c: char) -> bool {
    let reserved = matches!(c, '/' | '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|');
    // What cannot be seen, or turns the direction of writing.
    let unseen = c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202f}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffd}');
    !reserved && !unseen
}

fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim_end().to_lowercase();
    let port = |prefix: &str| {
        stem.strip_prefix(prefix).is_some_and(|rest| {
            matches!(rest.chars().collect::<Vec<_>>()[..], ['0'..='9' | '¹' | '²' | '³'])
        })
    };
    DEVICES.contains(&stem.as_str()) || port("com") || port("lpt")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_that_is_fine_stays() {
        for name in ["cat-05", "monster (red)", "猫", "chat.é", "n01440764", "a_b", "it's", "#1"]
        {
            assert_eq!(file_name(name), name);
        }
    }

    #[test]
    fn a_text_leads_to_no_other_folder() {
        for (text, expected) in [
            ("../../.bashrc", "bashrc"),
            ("../../escaped", "escaped"),
            ("/etc/passwd", "etc-passwd"),
            ("C:\\x", "C--x"),
            ("product packet / packaging", "product packet - packaging"),
            ("a\nb\u{202e}c", "a-b-c"),
            ("..", "unnamed"),
            ("", "unnamed"),
            ("///", "unnamed"),
            ("-rf", "rf"),
            ("ends. . ", "ends"),
            ("con:\"*?<>|", "con-------"),
            ("NUL", "NUL_"),
            ("com1.x", "com1_.x"),
            ("comb", "comb"),
        ] {
            assert_eq!(file_name(text), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_gives_a_name(text in "\\PC{0,80}|[./\\\\a-c ~:-]{0,20}|(é|猫|\u{1f408}){0,90}") {
            let name = file_name(&text);
            prop_assert!(!name.is_empty() && name.len() <= MOST_BYTES + 2);
            prop_assert!(name.chars().all(is_safe), "{name:?}");
            prop_assert!(!name.starts_with(['.', '-', ' ', '~']) && !name.ends_with(['.', ' ']));
            prop_assert!(!is_device(&name));
        }
    }
}
