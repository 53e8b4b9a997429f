//! Figures as TensorBoard reads them: an event file beside the JSON lines, made again from those at each start.
//!
//! A file is a list of records, each its length, a checksum of it, a protocol buffer `Event`, and a checksum of that
//! ([format](https://github.com/tensorflow/tensorboard/blob/master/tensorboard/compat/proto/event.proto)).

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::metrics::{Line, lines, seconds};
use crate::io::atomic;

/// Its name in a run's folder; what it must hold, TensorBoard looks for.
pub const FILE: &str = "events.out.tfevents.0.purrscope";

/// An event file that goes on.
#[derive(Debug)]
pub struct Events {
    path: PathBuf,
    file: Option<File>,
}

impl Events {
    /// Writes the file anew from the lines of `metrics`, of steps of `batch` pictures. What cannot be written is said
    /// once, and is no reason to end a run.
    pub fn begin(folder: &Path, metrics: &Path, batch: usize) -> Self {
        let path = folder.join(FILE);
        let begun = records_of(metrics, batch).and_then(|bytes| atomic::write(&path, &bytes));
        let opened = begun.and_then(|()| OpenOptions::new().append(true).open(&path));
        let mut events = Self { path, file: None };
        match opened {
            Ok(file) => events.file = Some(file),
            Err(error) => events.give_up(&error),
        }
        events
    }

    /// Adds the figures of a step.
    pub fn add(&mut self, figures: &Line) {
        let Some(file) = &mut self.file else { return };
        let bytes = record(&event(now(), figures));
        if let Err(error) = file.write_all(&bytes) {
            self.give_up(&error);
        }
    }

    fn give_up(&mut self, error: &io::Error) {
        tracing::warn!("{}: {error}; it is written again at the next start", self.path.display());
        self.file = None;
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// The records of all lines: as if the steps had been made one after the other, up to now.
fn records_of(metrics: &Path, batch: usize) -> io::Result<Vec<u8>> {
    let lines = lines(metrics)?.collect::<io::Result<Vec<Line>>>()?;
    let mut time = now() - lines.iter().map(|line| seconds(line, batch)).sum::<f64>();
    let mut bytes = record(&[&double(1, time)[..], &text(3, "brain.Event:2")].concat());
    for line in &lines {
        time += seconds(line, batch);
        bytes.extend(record(&event(time, line)));
    }
    Ok(bytes)
}

/// An event with the scalars of a step.
fn event(time: f64, figures: &Line) -> Vec<u8> {
    let step = figures.get("step").and_then(Value::as_u64).map_or(0, |step| step + 1);
    let mut summary = Vec::new();
    for (name, value) in figures.iter().filter(|(name, _)| *name != "step") {
        if let Some(value) = value.as_f64() {
            let scalar =
                [&text(1, name)[..], &[2 << 3 | 5], &(value as f32).to_le_bytes()].concat();
            summary.extend(bytes_of(1, &scalar));
        }
    }
    [&double(1, time)[..], &[2 << 3], &varint(step), &bytes_of(5, &summary)].concat()
}

/// A record: what it holds between checksums.
fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let checksum = |bytes: &[u8]| {
        let crc = crc32c::crc32c(bytes);
        crc.rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
    };
    [&length[..], &checksum(&length), data, &checksum(data)].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn bytes_of(field: u8, bytes: &[u8]) -> Vec<u8> {
    [&[field << 3 | 2][..], &varint(bytes.len() as u64), bytes].concat()
}

fn text(field: u8, text: &str) -> Vec<u8> {
    bytes_of(field, text.as_bytes())
}

fn double(field: u8, value: f64) -> Vec<u8> {
    [&[field << 3 | 1][..], &value.to_le_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_that_of_tensorboards_own_writer() {
        // tensorboard 2.21: RecordWriter over Event(wall_time=1.5, step=300, summary=[loss: 0.25]).
        let figures = serde_json::from_str(r#"{"loss": 0.25, "step": 299, "name": "x"}"#).unwrap();
        let bytes = record(&event(1.5, &figures));
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let expected = "1b000000000000001a0d9e1309000000000000f83f10ac022a0d0a0b0a046c6f7373150000803e9908deed";
        assert_eq!(hex, expected);
    }

    #[test]
    fn the_file_begins_with_the_lines_that_there_are_and_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let metrics = folder.path().join("metrics.jsonl");
        let line = r#"{"step": 0, "loss": 1.0, "images_per_second": 4.0}"#;
        std::fs::write(&metrics, format!("{line}\n{line}\nhalf")).unwrap();
        let mut events = Events::begin(folder.path(), &metrics, 8);
        let figures = serde_json::from_str(line).unwrap();
        events.add(&figures);
        let bytes = std::fs::read(folder.path().join(FILE)).unwrap();
        let (mut at, mut times) = (0, Vec::new());
        while at < bytes.len() {
            let length = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
            let data = &bytes[at + 12..at + 12 + length];
            times.push(f64::from_le_bytes(data[1..9].try_into().unwrap()));
            at += length + 16;
        }
        assert_eq!((times.len(), at), (4, bytes.len()));
        assert!((times[2] - times[1] - 2.0).abs() < 1e-3, "{times:?}");
        // Another start makes the same of its lines, without what was only in the event file.
        Events::begin(folder.path(), &metrics, 8);
        assert!(std::fs::metadata(folder.path().join(FILE)).unwrap().len() < bytes.len() as u64);
    }
}
