//! Step records beyond what memory is to hold: the oldest lie in a temporary file.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use crate::flow::StepRecord;

/// Where a record lies.
#[derive(Debug)]
pub enum StoredRecord {
    /// In memory.
    InMemory(Arc<StepRecord>),
    /// In the store's file.
    OnDisk {
        /// First byte.
        at: u64,
        /// Bytes.
        len: usize,
    },
}

/// Keeps records in memory up to a budget and the rest in a file that goes with it. Where the disk
/// will not take them, they stay in memory.
#[derive(Debug)]
pub struct RecordStore {
    budget: usize,
    held: usize,
    file: Option<File>,
    written: u64,
    /// The disk has refused a record.
    refused: bool,
    /// The record last read back, so that looking at it every frame reads it once.
    recent: RefCell<Option<(u64, Arc<StepRecord>)>>,
}

impl RecordStore {
    /// A store that holds this many bytes in memory.
    pub fn new(budget: usize) -> Self {
        Self { budget, held: 0, file: None, written: 0, refused: false, recent: RefCell::new(None) }
    }

    /// Changes how much it holds in memory.
    pub fn set_budget(&mut self, bytes: usize) {
        self.budget = bytes;
    }

    /// Bytes in memory and on disk.
    pub fn footprint(&self) -> (usize, usize) {
        (self.held, self.written as usize)
    }

    /// Takes a record in.
    pub fn put(&mut self, record: Arc<StepRecord>) -> StoredRecord {
        self.held += record.bytes();
        StoredRecord::InMemory(record)
    }

    /// A stored record; nothing where its file cannot be read.
    pub fn get(&self, stored: &StoredRecord) -> Option<Arc<StepRecord>> {
        let (at, len) = match stored {
            StoredRecord::InMemory(record) => return Some(Arc::clone(record)),
            StoredRecord::OnDisk { at, len } => (*at, *len),
        };
        if let Some((recent, record)) = &*self.recent.borrow()
            && *recent == at
        {
            return Some(Arc::clone(record));
        }
        let record = self.read(at, len).map_err(|error| tracing::warn!("{error}")).ok()?;
        let record = Arc::new(record);
        *self.recent.borrow_mut() = Some((at, Arc::clone(&record)));
        Some(record)
    }

    fn read(&self, at: u64, len: usize) -> io::Result<StepRecord> {
        let mut file = self.file.as_ref().ok_or(io::ErrorKind::NotFound)?;
        file.seek(SeekFrom::Start(at))?;
        let mut bytes = vec![0; len];
        file.read_exact(&mut bytes)?;
        rmp_serde::from_slice(&bytes).map_err(io::Error::other)
    }

    /// Puts the oldest records into the file until the rest fits; the newest always stays.
    pub fn make_room<'a>(
        &mut self,
        mut records: impl DoubleEndedIterator<Item = &'a mut StoredRecord>,
    ) {
        if self.held <= self.budget || self.refused {
            return;
        }
        let _newest = records.next_back();
        for stored in records {
            let StoredRecord::InMemory(record) = stored else { continue };
            let bytes = record.bytes();
            match self.write(record) {
                Ok((at, len)) => *stored = StoredRecord::OnDisk { at, len },
                Err(error) => {
                    tracing::warn!("steps stay in memory, the disk does not take them: {error}");
                    self.refused = true;
                    return;
                }
            }
            self.held -= bytes;
            if self.held <= self.budget {
                return;
            }
        }
    }

    fn write(&mut self, record: &StepRecord) -> io::Result<(u64, usize)> {
        let bytes = rmp_serde::to_vec(record).map_err(io::Error::other)?;
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(tempfile::tempfile()?),
        };
        let at = self.written;
        file.seek(SeekFrom::Start(at))?;
        file.write_all(&bytes)?;
        self.written += bytes.len() as u64;
        Ok((at, bytes.len()))
    }
}
