//! Sorts the entries of other tools' files in bounded memory, since these files are not in key order.
//!
//! Up to [`RUN_BYTES`] are sorted in memory. Beyond that, sorted runs go to temporary files and are merged.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, BufReader, Read as _};
use std::iter::Peekable;
use std::sync::Arc;

use bytes::Bytes;

use super::super::FormatError;
use super::super::scratch::{Scratch, ScratchReader, ScratchWriter};
use milvus_meta::entry::printable;

/// Maximum size of the entries in memory.
const RUN_BYTES: usize = 32 << 20;

/// Memory for an entry in addition to key and value.
const RECORD_BYTES: usize = 128;

/// Maximum number of runs to merge at a time; each needs a buffer.
const MAX_RUNS: usize = 64;

const BUFFER_BYTES: usize = 64 << 10;

/// Size of the head before a key in a run: lengths, order, state, CRC-32.
const HEAD_BYTES: usize = 4 + 4 + 8 + 8 + 1 + 4;

/// The state of a key after a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    Live,
    Leased,
    Deleted,
}

/// A change of a key. The one with the greatest `order` determines the state.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Record {
    pub(super) key: Bytes,
    pub(super) order: (u64, u64),
    pub(super) state: State,
    pub(super) value: Bytes,
}

impl Record {
    /// Creates a record for a file without a history of changes.
    pub(super) fn new(key: Vec<u8>, value: Vec<u8>, state: State) -> Self {
        Self {
            key: key.into(),
            order: (0, 0),
            state,
            value: value.into(),
        }
    }

    fn head(&self) -> Option<[u8; HEAD_BYTES]> {
        let mut head = [0; HEAD_BYTES];
        head[..4].copy_from_slice(&u32::try_from(self.key.len()).ok()?.to_le_bytes());
        head[4..8].copy_from_slice(&u32::try_from(self.value.len()).ok()?.to_le_bytes());
        head[8..16].copy_from_slice(&self.order.0.to_le_bytes());
        head[16..24].copy_from_slice(&self.order.1.to_le_bytes());
        head[24] = self.state as u8;
        let crc = self.crc(&head);
        head[25..].copy_from_slice(&crc.to_le_bytes());
        Some(head)
    }

    /// The CRC-32 of the record; `head` is its encoded head.
    fn crc(&self, head: &[u8; HEAD_BYTES]) -> u32 {
        let mut crc = crc32fast::Hasher::new();
        crc.update(&head[..25]);
        crc.update(&self.key);
        crc.update(&self.value);
        crc.finalize()
    }
}

/// Accepts records in any order.
#[derive(Default)]
pub(super) struct Sorter {
    records: Vec<Record>,
    bytes: usize,
    runs: Vec<Run>,
}

impl Sorter {
    pub(super) fn push(&mut self, record: Record) -> Result<(), FormatError> {
        self.bytes += record.key.len() + record.value.len() + RECORD_BYTES;
        self.records.push(record);
        if self.bytes < RUN_BYTES {
            return Ok(());
        }
        self.spill()?;
        if self.runs.len() == MAX_RUNS {
            let merged = Merge::new(&self.runs)?;
            self.runs = vec![Run::write(Newest::of(merged))?];
        }
        Ok(())
    }

    fn spill(&mut self) -> Result<(), FormatError> {
        self.records.sort_unstable();
        self.bytes = 0;
        let run = Run::write(Newest::of(self.records.drain(..).map(Ok)))?;
        self.runs.push(run);
        Ok(())
    }

    /// The last record of each key, ascending, without deleted keys.
    ///
    /// # Errors
    /// If a key has two values of the same order, or a temporary file fails.
    pub(super) fn finish(mut self) -> Result<Sorted, FormatError> {
        let is_live = |record: &Result<Record, FormatError>| !matches!(record, Ok(record) if record.state == State::Deleted);
        if self.runs.is_empty() {
            self.records.sort_unstable();
            let records = Newest::of(self.records.into_iter().map(Ok));
            let records: Result<Vec<_>, _> = records.filter(is_live).collect();
            return records.map(|records| Sorted::Memory(records.into()));
        }
        self.spill()?;
        self.records = Vec::new();
        let merged = Newest::of(Merge::new(&self.runs)?);
        Run::write(merged.filter(is_live)).map(Sorted::File)
    }
}

/// Sorted records with unique keys.
#[derive(Debug, Clone)]
pub(super) enum Sorted {
    Memory(Arc<[Record]>),
    File(Run),
}

impl Sorted {
    /// The records in ascending key order.
    pub(super) fn records(&self) -> Records {
        match self {
            Self::Memory(records) => Records::Memory(Arc::clone(records), 0),
            Self::File(run) => Records::File(Box::new(run.read())),
        }
    }

    /// Whether `matches_key` is true for any key.
    pub(super) fn any(&self, matches_key: impl Fn(&[u8]) -> bool) -> Result<bool, FormatError> {
        for record in self.records() {
            if matches_key(&record?.key) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

pub(super) enum Records {
    Memory(Arc<[Record]>, usize),
    File(Box<RunReader>),
}

impl Iterator for Records {
    type Item = Result<Record, FormatError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Memory(records, next) => {
                let record = records.get(*next)?.clone();
                *next += 1;
                Some(Ok(record))
            }
            Self::File(reader) => reader.next(),
        }
    }
}

/// Keeps the last record of each key.
struct Newest<I: Iterator>(Peekable<I>);

impl<I: Iterator<Item = Result<Record, FormatError>>> Newest<I> {
    fn of(records: I) -> Self {
        Self(records.peekable())
    }
}

impl<I: Iterator<Item = Result<Record, FormatError>>> Iterator for Newest<I> {
    type Item = Result<Record, FormatError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut record = match self.0.next()? {
            Ok(record) => record,
            Err(error) => return Some(Err(error)),
        };
        let is_same = |key: &Bytes, next: &Result<Record, FormatError>| matches!(next, Ok(next) if next.key == *key);
        while let Some(Ok(next)) = self.0.next_if(|next| is_same(&record.key, next)) {
            let is_equal = (&next.value, next.state) == (&record.value, record.state);
            if next.order == record.order && !is_equal {
                let key = printable(&record.key);
                return Some(Err(FormatError::DuplicateKey(key)));
            }
            record = next;
        }
        Some(Ok(record))
    }
}

struct Merge {
    runs: Vec<RunReader>,
    next: BinaryHeap<Reverse<(Record, usize)>>,
}

impl Merge {
    fn new(runs: &[Run]) -> Result<Self, FormatError> {
        let mut merge = Self {
            runs: runs.iter().map(Run::read).collect(),
            next: BinaryHeap::new(),
        };
        for index in 0..merge.runs.len() {
            merge.take_from(index)?;
        }
        Ok(merge)
    }

    fn take_from(&mut self, index: usize) -> Result<(), FormatError> {
        if let Some(record) = self.runs[index].next() {
            self.next.push(Reverse((record?, index)));
        }
        Ok(())
    }
}

impl Iterator for Merge {
    type Item = Result<Record, FormatError>;

    fn next(&mut self) -> Option<Self::Item> {
        let Reverse((record, index)) = self.next.pop()?;
        Some(self.take_from(index).map(|()| record))
    }
}

/// Sorted records in a temporary file.
#[derive(Debug, Clone)]
pub(super) struct Run {
    file: Scratch,
    records: u64,
}

impl Run {
    fn write(
        records: impl Iterator<Item = Result<Record, FormatError>>,
    ) -> Result<Self, FormatError> {
        let mut writer = ScratchWriter::create().map_err(FormatError::temporary)?;
        let mut count = 0;
        for record in records {
            let record = record?;
            let head = record
                .head()
                .ok_or_else(|| super::too_large(&record.key, &record.value))?;
            for bytes in [&head[..], &record.key, &record.value] {
                writer.write_all(bytes).map_err(FormatError::temporary)?;
            }
            count += 1;
        }
        Ok(Self {
            file: writer.finish().map_err(FormatError::temporary)?,
            records: count,
        })
    }

    fn read(&self) -> RunReader {
        RunReader {
            reader: BufReader::with_capacity(BUFFER_BYTES, self.file.read()),
            left: self.records,
        }
    }
}

pub(super) struct RunReader {
    reader: BufReader<ScratchReader>,
    left: u64,
}

impl RunReader {
    fn read(&mut self) -> io::Result<Record> {
        let mut head = [0; HEAD_BYTES];
        self.reader.read_exact(&mut head)?;
        let number = |at: usize| {
            let bytes = head[at..at + 8].iter().rev();
            bytes.fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
        };
        let lengths = number(0);
        let mut bytes = |length: u64| {
            let mut bytes = vec![0; usize::try_from(length & 0xffff_ffff).unwrap_or_default()];
            self.reader.read_exact(&mut bytes)?;
            Ok::<_, io::Error>(Bytes::from(bytes))
        };
        let record = Record {
            key: bytes(lengths)?,
            value: bytes(lengths >> 32)?,
            order: (number(8), number(16)),
            state: match head[24] {
                0 => State::Live,
                1 => State::Leased,
                _ => State::Deleted,
            },
        };
        if record.crc(&head).to_le_bytes() != head[25..] {
            return Err(io::Error::other("it was altered"));
        }
        Ok(record)
    }
}

impl Iterator for RunReader {
    type Item = Result<Record, FormatError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        Some(self.read().map_err(FormatError::temporary))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: u32, order: u64, state: State, bytes: usize) -> Record {
        Record {
            key: format!("{key:08}").into(),
            order: (order, 0),
            state,
            value: vec![u8::try_from(order).unwrap(); bytes].into(),
        }
    }

    /// Several runs: every key has two records, and the second of every third key is a deletion.
    #[test]
    fn large_files_are_sorted_as_small_ones() {
        const BYTES: usize = 64 << 10;
        let keys = u32::try_from(RUN_BYTES / BYTES).unwrap();
        for bytes in [10, BYTES] {
            let mut sorter = Sorter::default();
            for order in [1, 2] {
                for key in (0..keys).rev() {
                    let state = match key % 3 {
                        0 if order == 2 => State::Deleted,
                        1 => State::Leased,
                        _ => State::Live,
                    };
                    sorter.push(record(key, order, state, bytes)).unwrap();
                }
            }
            let sorted = sorter.finish().unwrap();
            assert_eq!(matches!(sorted, Sorted::File(_)), bytes == BYTES);
            let expected: Vec<_> = (0..keys).filter(|key| key % 3 != 0).collect();
            for _ in 0..2 {
                assert_eq!(sorted.records().count(), expected.len());
                for (found, key) in sorted.records().zip(&expected) {
                    let state = match key % 3 {
                        1 => State::Leased,
                        _ => State::Live,
                    };
                    assert!(found.unwrap() == record(*key, 2, state, bytes));
                }
            }
        }
    }

    #[test]
    fn duplicate_keys_in_two_runs_must_have_equal_values() {
        let mut sorter = Sorter::default();
        for value in [1, 1, 2] {
            let mut record = record(7, 0, State::Live, RUN_BYTES);
            record.value = vec![value; RUN_BYTES].into();
            sorter.push(record).unwrap();
        }
        let error = sorter.finish().unwrap_err();
        assert!(matches!(error, FormatError::DuplicateKey { .. }), "{error}");
    }

    #[test]
    fn an_altered_run_is_noticed() {
        let records = [record(1, 1, State::Live, 10), record(2, 1, State::Live, 10)];
        let run = Run::write(records.into_iter().map(Ok)).unwrap();
        run.file.alter_last_byte();
        let found: Vec<_> = run.read().map(|record| record.is_ok()).collect();
        assert_eq!(found, [true, false]);
    }
}
