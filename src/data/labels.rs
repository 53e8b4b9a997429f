//! Tables that say the class of a picture: CSV or TSV, as spreadsheets and scripts write them.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use csv_core::ReadRecordResult;

use super::DataError;
use super::few::Few;
use super::shards::MOST_CLASSES;

/// Most bytes of a line: more than any path and class have together.
const LONGEST_LINE: usize = 1 << 20;
const MOST_COLUMNS: usize = 1 << 12;
/// What a column of pictures may be called, in lower case, words joined by `_`.
const FILE: [&str; 10] = [
    "file",
    "path",
    "filename",
    "file_name",
    "filepath",
    "file_path",
    "image",
    "image_name",
    "image_path",
    "picture",
];
/// What a column of classes may be called.
const CLASS: [&str; 6] = ["class", "label", "name", "class_name", "label_name", "category"];

/// A table of pictures and their classes.
#[derive(Debug)]
pub struct Labels {
    path: PathBuf,
    /// Names of the classes, in order.
    classes: Vec<String>,
    /// The class and the line of every picture, by its path with `/` between the folders. A class may be missing.
    lines: HashMap<String, (Option<usize>, u64)>,
}

/// Where the two columns are.
struct Columns {
    file: usize,
    class: usize,
    /// Whether the first line names them.
    named: bool,
}

impl Labels {
    /// Reads a table. The first line may name the columns; otherwise the first column names the picture, the second its
    /// class. Columns are parted by commas, semicolons or tabs, whichever the first line has most of; texts may
    /// stand in quotes.
    ///
    /// # Errors
    /// The file cannot be read, is no UTF-8 text, lacks a column, has two that could be meant, or gives a
    /// picture two classes; the line is named.
    pub fn read(path: &Path) -> Result<Self, DataError> {
        let fault =
            |line: u64, reason: String| DataError::Table { path: path.to_owned(), line, reason };
        let mut lines = Lines::open(path)?;
        let mut labels = Self { path: path.to_owned(), classes: Vec::new(), lines: HashMap::new() };
        let mut known: HashMap<String, usize> = HashMap::new();
        let mut columns = None;
        while let Some((line, texts)) = lines.next()? {
            if texts.iter().all(|text| text.is_empty()) {
                continue;
            }
            let columns = match &columns {
                Some(known) => known,
                None => {
                    let found = Columns::of(&texts).map_err(|reason| fault(line, reason))?;
                    let named = found.named;
                    let found = columns.insert(found);
                    if named {
                        continue;
                    }
                    found
                }
            };
            let (Some(file), Some(class)) = (texts.get(columns.file), texts.get(columns.class))
            else {
                let expected = columns.file.max(columns.class) + 1;
                let reason = format!("{} of {expected} columns", texts.len());
                return Err(fault(line, reason));
            };
            if file.is_empty() {
                return Err(fault(line, format!("it names no picture for '{}'", said(class))));
            }
            labels.take(file, class, line, &mut known).map_err(|reason| fault(line, reason))?;
        }
        if known.is_empty() {
            let reason = "expected lines of a picture and its class, found none".to_owned();
            return Err(fault(1, reason));
        }
        labels.sort_classes(known);
        Ok(labels)
    }

    fn take(
        &mut self,
        file: &str,
        class: &str,
        line: u64,
        known: &mut HashMap<String, usize>,
    ) -> Result<(), String> {
        let next = known.len();
        let label = match class {
            "" => None,
            class => Some(*known.entry(class.to_owned()).or_insert(next)),
        };
        if known.len() > MOST_CLASSES {
            return Err(format!("more than {MOST_CLASSES} classes: is this column the class?"));
        }
        let file = plain(file);
        if let Some((before, first)) = self.lines.get(&file) {
            if *before == label {
                return Ok(());
            }
            let class = if class.is_empty() { "nothing" } else { class };
            return Err(format!(
                "'{}' is {} here and something else in line {first}",
                said(&file),
                said(class)
            ));
        }
        self.lines.insert(file, (label, line));
        Ok(())
    }

    /// Puts the classes in order of name, as those of folders are.
    fn sort_classes(&mut self, known: HashMap<String, usize>) {
        let mut names: Vec<(String, usize)> = known.into_iter().collect();
        names.sort();
        let mut place = vec![0; names.len()];
        names.iter().enumerate().for_each(|(at, (_, old))| place[*old] = at);
        for (label, _) in self.lines.values_mut() {
            *label = label.map(|old| place[old]);
        }
        self.classes = names.into_iter().map(|(name, _)| name).collect();
    }

    /// Where it was read.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names of the classes, in order of label.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// Gives each of the pictures of a folder, named by their paths relative to it, its class, where the table
    /// has one. A line may leave out the ending of a picture's name.
    ///
    /// # Errors
    /// A line without an ending could mean several pictures, or no line means any.
    pub(super) fn assign(&self, root: &Path, pictures: &[PathBuf]) -> Result<Assigned, DataError> {
        let fault =
            |line: u64, reason: String| DataError::Table { path: self.path.clone(), line, reason };
        let names: Vec<String> =
            pictures.iter().map(|picture| plain(&picture.to_string_lossy())).collect();
        let mut meant: HashMap<&str, &Path> = HashMap::new();
        let mut labels = vec![None; pictures.len()];
        // Whole names first: what they mean can be meant by no other.
        for whole in [true, false] {
            let exact: HashSet<&str> = meant.keys().copied().collect();
            for (at, picture) in pictures.iter().enumerate() {
                let name = if whole { names[at].as_str() } else { stem(&names[at]) };
                let found = self.lines.get_key_value(name);
                let Some((name, (label, line))) = found.filter(|(name, _)| {
                    whole || !exact.contains(name.as_str()) && !exact.contains(names[at].as_str())
                }) else {
                    continue;
                };
                if let Some(other) = meant.insert(name, picture) {
                    let reason = format!(
                        "'{}' could be {} or {}: write the whole name",
                        said(name),
                        other.display(),
                        picture.display()
                    );
                    return Err(fault(*line, reason));
                }
                labels[at] = *label;
            }
        }
        let mut unmet: Vec<(u64, &str)> = self
            .lines
            .iter()
            .filter(|(name, _)| !meant.contains_key(name.as_str()))
            .map(|(name, (_, line))| (*line, name.as_str()))
            .collect();
        unmet.sort_unstable();
        if let ([(line, name), ..], true) = (&unmet[..], meant.is_empty()) {
            let there = pictures
                .first()
                .map_or_else(String::new, |path| format!(", which has {}", path.display()));
            return Err(fault(
                *line,
                format!(
                    "neither '{}' nor any later line names a picture of {}{there} (names are relative to that folder)",
                    said(name),
                    root.display(),
                ),
            ));
        }
        let mut lines = Few::default();
        for (line, name) in unmet {
            lines.add(|| format!("line {line} '{}'", said(name)));
        }
        Ok(Assigned { labels, unmet: lines })
    }
}

/// What a table says of the pictures of a folder.
#[derive(Debug)]
pub(super) struct Assigned {
    /// The label of each picture.
    pub labels: Vec<Option<usize>>,
    /// Lines that name none of them.
    pub unmet: Few,
}

impl Columns {
    /// The columns that a first line speaks of, or those of a table without names.
    fn of(first: &[&str]) -> Result<Self, String> {
        let names: Vec<String> =
            first.iter().map(|name| name.to_lowercase().replace([' ', '-'], "_")).collect();
        let of = |kind: &[&str], what: &str| -> Result<Option<usize>, String> {
            let mut fitting = (0..names.len()).filter(|at| kind.contains(&names[*at].as_str()));
            match (fitting.next(), fitting.next()) {
                (Some(one), Some(other)) => Err(format!(
                    "'{}' and '{}' could both be the column of the {what}: rename one",
                    said(first[one]),
                    said(first[other])
                )),
                (found, _) => Ok(found),
            }
        };
        let found = (of(&FILE, "pictures")?, of(&CLASS, "classes")?);
        let (file, class, named) = match (found, names.len()) {
            ((Some(file), Some(class)), _) => (file, class, true),
            // The other of two columns is whatever else is needed.
            ((Some(file), None), 2) => (file, 1 - file, true),
            ((None, Some(class)), 2) => (1 - class, class, true),
            ((None, None), 2..) => (0, 1, false),
            ((Some(_), None), _) => {
                return Err(format!("no column is called one of {}", CLASS.join(", ")));
            }
            ((None, Some(_)), _) => {
                return Err(format!("no column is called one of {}", FILE.join(", ")));
            }
            ((None, None), _) => {
                return Err("expected columns for the picture and its class".to_owned());
            }
        };
        Ok(Self { file, class, named })
    }
}

/// Passes over a mark at the beginning, and gives what parts the columns.
fn begin(file: &mut BufReader<File>, path: &Path) -> Result<u8, DataError> {
    let io_error = |source| DataError::Io { path: path.to_owned(), source };
    let head = file.fill_buf().map_err(io_error)?;
    if head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff") {
        let reason = "UTF-16 text: save the table as UTF-8".to_owned();
        return Err(DataError::Table { path: path.to_owned(), line: 1, reason });
    }
    if head.starts_with(b"\xef\xbb\xbf") {
        file.consume(3);
    }
    let head = file.fill_buf().map_err(io_error)?;
    // In the first line, outside of quotes.
    let mut quoted = false;
    let mut counts = [(b'\t', 0), (b',', 0), (b';', 0)];
    for byte in head.iter().take_while(|byte| !matches!(byte, b'\n' | b'\r')) {
        match byte {
            b'"' => quoted = !quoted,
            _ if quoted => {}
            byte => counts.iter_mut().filter(|(b, _)| b == byte).for_each(|(_, n)| *n += 1),
        }
    }
    if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("tsv")) {
        return Ok(b'\t');
    }
    // Of equals the first.
    let most = counts.iter().rev().max_by_key(|(_, count)| *count);
    Ok(most.map_or(b',', |(byte, count)| if *count == 0 { b',' } else { *byte }))
}

/// The lines of a table, read one at a time.
struct Lines<'a> {
    path: &'a Path,
    file: BufReader<File>,
    parser: csv_core::Reader,
    /// The texts of a line, one behind the other, and their ends.
    texts: Vec<u8>,
    ends: Vec<usize>,
}

/// The number of a line, counted from 1, and its texts.
type Line<'a> = (u64, Vec<&'a str>);

impl<'a> Lines<'a> {
    fn open(path: &'a Path) -> Result<Self, DataError> {
        let io_error = |source| DataError::Io { path: path.to_owned(), source };
        let mut file = BufReader::new(File::open(path).map_err(io_error)?);
        let parser = csv_core::ReaderBuilder::new().delimiter(begin(&mut file, path)?).build();
        let (texts, ends) = (vec![0; LONGEST_LINE], vec![0; MOST_COLUMNS]);
        Ok(Self { path, file, parser, texts, ends })
    }

    /// The next line that is not empty, its texts without the blanks around them.
    fn next(&mut self) -> Result<Option<Line<'_>>, DataError> {
        let Self { path, file, parser, texts, ends } = self;
        let path = *path;
        let (mut length, mut columns, mut line) = (0, 0, parser.line());
        let fault =
            |line: u64, reason: String| DataError::Table { path: path.to_owned(), line, reason };
        loop {
            let input = file
                .fill_buf()
                .map_err(|source| DataError::Io { path: path.to_owned(), source })?;
            // Empty lines before the record are no part of it.
            if (length, columns) == (0, 0) {
                let empty = input.iter().take_while(|byte| matches!(byte, b'\n' | b'\r'));
                line = parser.line() + empty.filter(|byte| **byte == b'\n').count() as u64;
            }
            let (result, taken, written, ended) =
                parser.read_record(input, &mut texts[length..], &mut ends[columns..]);
            file.consume(taken);
            (length, columns) = (length + written, columns + ended);
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => {
                    let reason = "more than a megabyte: a quote is not closed, or it is no table";
                    return Err(fault(line, reason.to_owned()));
                }
                ReadRecordResult::OutputEndsFull => {
                    return Err(fault(line, format!("more than {MOST_COLUMNS} columns")));
                }
                ReadRecordResult::Record => break,
                ReadRecordResult::End => return Ok(None),
            }
        }
        let begins = [0].into_iter().chain(ends.iter().copied());
        let found = begins.zip(ends.iter()).take(columns);
        let found = found.map(|(begin, end)| std::str::from_utf8(&texts[begin..*end]));
        let found = found.map(|text| text.map(str::trim)).collect::<Result<_, _>>();
        let found =
            found.map_err(|_| fault(line, "not UTF-8 text: save the table as UTF-8".to_owned()))?;
        Ok(Some((line, found)))
    }
}

/// A path with `/` between its folders, and nothing in front that says no more than 'here'.
fn plain(path: &str) -> String {
    let path = path.replace('\\', "/");
    let mut rest = path.as_str();
    while let Some(after) = rest.strip_prefix("./") {
        rest = after.trim_start_matches('/');
    }
    rest.to_owned()
}

/// A path without the ending of its last name.
fn stem(path: &str) -> &str {
    let base = path.rfind('/').map_or(0, |slash| slash + 1);
    match path[base..].rfind('.') {
        Some(dot) if dot > 0 => &path[..base + dot],
        _ => path,
    }
}

/// A text of the table, so that it can be shown.
fn said(text: &str) -> String {
    const MOST: usize = 80;
    let shown = text.escape_debug();
    match text.chars().nth(MOST) {
        None => shown.to_string(),
        Some(_) => format!("{}...", shown.take(MOST).collect::<String>()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, bytes: &[u8]) -> Result<Labels, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        Labels::read(&path).map_err(|error| {
            error.to_string().replace(&format!("{}/", folder.path().display()), "")
        })
    }

    /// The class of each picture, `-` for none; then the lines without a picture.
    fn assigned(labels: &Labels, pictures: &[&str]) -> Result<String, String> {
        let pictures: Vec<PathBuf> = pictures.iter().map(PathBuf::from).collect();
        let found = labels.assign(Path::new("d"), &pictures).map_err(|error| error.to_string())?;
        let names = found.labels.iter().map(|label| match label {
            Some(label) => labels.classes()[*label].clone(),
            None => "-".to_owned(),
        });
        let names: Vec<String> = names.collect();
        Ok(format!("{} {}", names.join(" "), found.unmet.words()))
    }

    #[test]
    fn tables_of_many_writers_say_the_same() {
        let pictures = ["a, 1.png", "sub/b.jpg"];
        for (name, text) in [
            ("t.csv", "file,class\n\"a, 1.png\",cat\nsub/b.jpg,dog\n"),
            ("t.csv", "\u{feff}file,class\r\n\"a, 1.png\",cat\r\nsub/b.jpg,dog"),
            ("t.csv", "Class;Image Path\ncat;a, 1.png\ndog;sub\\b.jpg\n"),
            ("t.csv", "\"a, 1.png\",cat\n\n./sub/b.jpg,dog\n,\n"),
            ("t.tsv", "id\tlabel\tpicture\n1\tcat\ta, 1.png\n2\tdog\tsub/b.jpg\n"),
            ("t.CSV", "filename\tbreed\na, 1\tcat\nsub/b\tdog\n"),
            ("t.csv", "label , file\n cat ,\"a, 1.png\"\ndog,sub/b.jpg\ndog,sub/b.jpg\n"),
        ] {
            let labels =
                read(name, text.as_bytes()).unwrap_or_else(|said| panic!("{text}: {said}"));
            assert_eq!(labels.classes(), ["cat", "dog"], "{text}");
            assert_eq!(assigned(&labels, &pictures).unwrap().trim(), "cat dog", "{text}");
        }
    }

    #[test]
    fn classes_are_in_order_of_name_and_may_be_missing() {
        let labels = read("t.csv", b"file,class\nc,z\na,m\nb,\nd,m\n").unwrap();
        assert_eq!(labels.classes(), ["m", "z"]);
        let found = assigned(&labels, &["a.png", "b.png", "c.png", "e.png"]).unwrap();
        assert_eq!(found, "m - z - 1 (line 5 'd')");
    }

    #[test]
    fn what_cannot_be_understood_is_refused_with_its_line() {
        for (name, bytes, expected) in [
            (
                "t.csv",
                b"file,class\na,x\na,y\n".as_slice(),
                "t.csv, line 3: 'a' is y here and something else in line 2",
            ),
            ("t.csv", b"file,class\na\n", "line 2: 1 of 2 columns"),
            ("t.csv", b"file,class\r\n\r\n\"a\nb\",x\r\n\r\n\r\nc\r\n", "line 7: 1 of 2 columns"),
            (
                "t.csv",
                b"file,path,class\na,b,c\n",
                "line 1: 'file' and 'path' could both be the column of the pictures",
            ),
            ("t.csv", b"file,class,label\na,b,c\n", "'class' and 'label' could both be"),
            ("t.csv", b"file,x,y\na,b,c\n", "line 1: no column is called one of class, label"),
            ("t.csv", b"just text\n", "line 1: expected columns for the picture and its class"),
            ("t.csv", b"file,class\n\n,x\n", "line 3: it names no picture for 'x'"),
            ("t.csv", b"a,b\nc,caf\xe9\n", "line 2: not UTF-8 text"),
            ("t.csv", b"\xff\xfea\0", "line 1: UTF-16 text"),
            ("t.csv", b"", "expected lines of a picture and its class, found none"),
            ("t.csv", b"file,class\n", "found none"),
            ("t.csv", &vec![b'x'; 3 << 20], "line 1: more than a megabyte"),
        ] {
            let said = read(name, bytes).unwrap_err();
            assert!(said.contains(expected), "{expected}: {said}");
        }
        let labels = read("t.csv", b"a,x\nb,y\n").unwrap();
        let said = assigned(&labels, &["a.png", "a.jpg"]).unwrap_err();
        assert!(said.contains("line 1: 'a' could be a.png or a.jpg"), "{said}");
        let said = assigned(&labels, &["sub/a.png"]).unwrap_err();
        assert!(
            said.contains(
                "line 1: neither 'a' nor any later line names a picture of d, which has sub/a.png"
            ),
            "{said}"
        );
    }

    #[test]
    fn a_whole_name_means_one_picture() {
        let labels = read("t.csv", b"a.png,x\nb,y\nb.png,z\n").unwrap();
        assert_eq!(
            assigned(&labels, &["a.png", "a.png.jpg", "b.png", "b.jpg"]).unwrap().trim(),
            "x - z y"
        );
    }
}
