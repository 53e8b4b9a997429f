//! Things that are counted, of which the first few are named.

use crate::say;

/// Things of one kind. However many there are, a few names are kept.
#[derive(Debug, Clone, Default)]
pub(super) struct Few {
    count: usize,
    named: Vec<String>,
}

impl Few {
    /// Names that are kept.
    const MOST: usize = 3;

    /// One more.
    pub fn add(&mut self, name: impl FnOnce() -> String) {
        self.count += 1;
        if self.named.len() < Self::MOST {
            self.named.push(name());
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// How many there are and which, or nothing where there are none: `5 (a, b, c and 2 more)`.
    #[cfg(test)]
    pub fn words(&self) -> String {
        match self.count {
            0 => String::new(),
            count => format!("{count} ({})", self.names()),
        }
    }

    /// The first few, and how many there are besides.
    pub fn names(&self) -> String {
        say::joined(&self.named, self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_are_named_and_all_counted() {
        let mut few = Few::default();
        assert_eq!(few.words(), "");
        for (name, expected) in [
            ("a", "1 (a)"),
            ("b", "2 (a, b)"),
            ("c, d", "3 (a; b; c, d)"),
            ("e", "4 (a; b; c, d and 1 more)"),
        ] {
            few.add(|| name.to_owned());
            assert_eq!(few.words(), expected);
        }
    }
}
