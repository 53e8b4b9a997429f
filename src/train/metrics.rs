//! Figures of every step, as JSON lines.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{TrainError, io_error};

/// An open metrics file.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    file: File,
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
        let kept = length_of_steps(&file, steps).map_err(&failed)?;
        file.set_len(kept).map_err(&failed)?;
        let file = OpenOptions::new().append(true).open(path).map_err(&failed)?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Adds a line.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn write(&mut self, line: &Value) -> Result<(), TrainError> {
        writeln!(self.file, "{line}").map_err(io_error(&self.path))
    }

    /// Waits until all lines are on disk.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn sync(&self) -> Result<(), TrainError> {
        self.file.sync_all().map_err(io_error(&self.path))
    }
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
            log.write(&json!({ "step": step })).unwrap();
        }
        drop(log);
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"st").unwrap();
        let mut log = Log::open(&path, 3).unwrap();
        log.write(&json!({ "step": 3 })).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let steps: Vec<_> = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["step"].as_u64().unwrap())
            .collect();
        assert_eq!(steps, [0, 1, 2, 3]);
    }
}
