//! Figures of every step, as JSON lines.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::{TrainError, io_error};

/// Most bytes of lines that wait for a disk that takes them.
const MOST_WAITING: usize = 1 << 24;

/// An open metrics file. Figures are not worth a run: lines that the disk refuses wait, and are written
/// with a later one.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    file: File,
    /// Bytes of whole lines.
    length: u64,
    /// Lines that are not written yet.
    waiting: Vec<u8>,
    /// Whether it has been said that the disk refuses them.
    refused: bool,
}

impl Log {
    /// Opens the file for a run that has made `steps` steps: lines of later steps, from a run that
    /// was killed after its last checkpoint, are cut off.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn open(path: &Path, steps: usize) -> Result<Self, TrainError> {
        let failed = io_error(path);
        let mut options = OpenOptions::new();
        let file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(&failed)?;
        let length = length_of_steps(&file, steps).map_err(&failed)?;
        file.set_len(length).map_err(&failed)?;
        let file = OpenOptions::new().append(true).open(path).map_err(&failed)?;
        Ok(Self { path: path.to_owned(), file, length, waiting: Vec::new(), refused: false })
    }

    /// Adds a line, now or as soon as the disk takes it.
    pub fn write(&mut self, line: &Value) {
        self.waiting.extend(format!("{line}\n").into_bytes());
        let written = self.file.write_all(&self.waiting);
        match &written {
            Ok(()) => {
                self.length += self.waiting.len() as u64;
                self.waiting.clear();
            }
            // Half a line would end what a resumed run keeps; if this fails as well, so does that.
            Err(_) => drop(self.file.set_len(self.length)),
        }
        self.tell(written);
        if self.waiting.len() > MOST_WAITING {
            self.waiting.clear();
        }
    }

    /// Waits until all lines are on disk that it takes.
    pub fn sync(&mut self) {
        let synced = self.file.sync_all();
        if synced.is_err() || self.waiting.is_empty() {
            self.tell(synced);
        }
    }

    /// Says once that the disk refuses figures, until it takes them again.
    fn tell(&mut self, done: io::Result<()>) {
        if let (Err(error), false) = (&done, self.refused) {
            tracing::warn!("{}: {error}; the run goes on, its figures wait", self.path.display());
        }
        self.refused = done.is_err();
    }
}

/// A line of a file: the figures of a step under their names, its number among them.
pub type Line = Map<String, Value>;

/// The lines of a file; what is no line is passed over.
///
/// # Errors
/// The file cannot be read.
pub fn lines(path: &Path) -> io::Result<impl Iterator<Item = io::Result<Line>>> {
    let lines = BufReader::new(File::open(path)?).lines();
    Ok(lines.filter_map(|line| line.map(|line| serde_json::from_str(&line).ok()).transpose()))
}

/// The numbers of a line.
pub fn numbers(line: Line) -> impl Iterator<Item = (String, f64)> {
    line.into_iter().filter_map(|(name, value)| Some((name, value.as_f64()?)))
}

/// Seconds that a step of so many pictures took, by the pace that its line tells.
pub fn seconds(line: &Line, batch: usize) -> f64 {
    let pace = line.get("images_per_second").and_then(Value::as_f64);
    pace.filter(|pace| *pace > 0.0).map_or(0.0, |pace| batch as f64 / pace)
}

/// The largest that `merit` is of the figures of any step in a file, as far as it can be read.
pub fn best(path: &Path, merit: fn(&BTreeMap<String, f64>) -> Option<f64>) -> Option<f64> {
    let lines = lines(path).ok()?.map_while(Result::ok);
    let figures = lines.filter_map(|line| merit(&numbers(line).collect()));
    figures.fold(None, |best: Option<f64>, merit| Some(best.map_or(merit, |b| b.max(merit))))
}

/// Bytes of the leading lines whose step is below `steps`.
fn length_of_steps(file: &File, steps: usize) -> std::io::Result<u64> {
    let mut length = 0;
    for line in BufReader::new(file).split(b'\n') {
        let line = line?;
        let step = serde_json::from_slice::<Value>(&line).ok().and_then(|v| v["step"].as_u64());
        match step {
            Some(step) if (step as usize) < steps => length += line.len() as u64 + 1,
            _ => break,
        }
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_resumed_run_cuts_lines_after_its_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let mut log = Log::open(&path, 0).unwrap();
        for step in 0..5 {
            log.write(&json!({ "step": step }));
        }
        drop(log);
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"st").unwrap();
        let mut log = Log::open(&path, 3).unwrap();
        log.write(&json!({ "step": 3 }));
        let text = std::fs::read_to_string(&path).unwrap();
        let steps: Vec<_> = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["step"].as_u64().unwrap())
            .collect();
        assert_eq!(steps, [0, 1, 2, 3]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn lines_that_the_disk_refuses_wait_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let mut log = Log::open(&path, 0).unwrap();
        let disk = std::mem::replace(
            &mut log.file,
            OpenOptions::new().append(true).open("/dev/full").unwrap(),
        );
        log.write(&json!({ "step": 0 }));
        log.sync();
        log.write(&json!({ "step": 1 }));
        assert!(log.refused);
        log.file = disk;
        log.write(&json!({ "step": 2 }));
        assert!(!log.refused);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "{\"step\":0}\n{\"step\":1}\n{\"step\":2}\n");
    }
}
