//! What decides the class of a picture.

use std::fmt::{self, Display};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::folder::{DataError, ImageFolder};
use super::labels::Labels;

/// What decides the class of a picture. As a text it is `folders`, `none`, or the name of a file that ends in
/// `.csv` or `.tsv`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Classes {
    /// The sub-folder that it is in, or below.
    #[default]
    Folders,
    /// Nothing: all pictures are of one class.
    None,
    /// A table with a line for each picture.
    Table(PathBuf),
}

impl Classes {
    /// The pictures of a folder in these classes, which will be read as squares of `size` pixels. A table is looked for in
    /// the working folder, then in `data`.
    ///
    /// # Errors
    /// The folder or the table cannot be read, there are no pictures, or the table says nothing about them, or not which.
    pub fn open(&self, folder: &Path, size: usize, data: &Path) -> Result<ImageFolder, DataError> {
        match self {
            Self::Folders => ImageFolder::open(folder, size),
            Self::None => ImageFolder::open_unsorted(folder, size),
            Self::Table(table) => {
                let beside = data.join(table);
                let table = if !table.exists() && beside.exists() { &beside } else { table };
                ImageFolder::open_labelled(folder, size, &Labels::read(table)?)
            }
        }
    }
}

impl Display for Classes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folders => f.write_str("folders"),
            Self::None => f.write_str("none"),
            Self::Table(path) => path.display().fmt(f),
        }
    }
}

impl TryFrom<String> for Classes {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "folders" => return Ok(Self::Folders),
            "none" => return Ok(Self::None),
            _ => {}
        }
        if is_table(Path::new(&text)) {
            return Ok(Self::Table(text.into()));
        }
        let said = text.escape_debug();
        Err(format!("classes is \"folders\", \"none\" or a file .csv or .tsv, not '{said}'"))
    }
}

impl From<Classes> for String {
    fn from(classes: Classes) -> Self {
        match classes {
            Classes::Table(path) => path.to_string_lossy().into_owned(),
            other => other.to_string(),
        }
    }
}

/// Whether a name is that of a table: one that ends in `.csv` or `.tsv`.
pub fn is_table(path: &Path) -> bool {
    let ending = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    matches!(ending.as_str(), "csv" | "tsv")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_a_word_or_a_table() {
        for (text, expected) in [
            ("folders", Classes::Folders),
            ("none", Classes::None),
            ("x/y.csv", Classes::Table("x/y.csv".into())),
            ("y.TSV", Classes::Table("y.TSV".into())),
        ] {
            let found = Classes::try_from(text.to_owned()).unwrap();
            assert_eq!((String::from(found.clone()), found), (text.to_owned(), expected));
        }
        let said = Classes::try_from("folder".to_owned()).unwrap_err();
        assert!(
            said.contains("\"folders\", \"none\" or a file .csv or .tsv, not 'folder'"),
            "{said}"
        );
    }
}
