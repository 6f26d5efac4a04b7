//! Unnamed temporary files in `$TMPDIR` for data that exceeds the memory limit. The system removes
//! them, even if the program is killed.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::sync::{Arc, Mutex, PoisonError};

/// A completed temporary file. It exists until its last clone and reader are dropped.
#[derive(Debug, Clone)]
pub(super) struct Scratch {
    file: Arc<Mutex<File>>,
    bytes: u64,
}

impl Scratch {
    /// Reads from the start, independently of other readers.
    pub(super) fn read(&self) -> ScratchReader {
        ScratchReader {
            scratch: self.clone(),
            offset: 0,
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    #[cfg(test)]
    pub(super) fn alter_last_byte(&self) {
        let mut file = self.file.lock().unwrap();
        file.seek(SeekFrom::End(-1)).unwrap();
        file.write_all(b"x").unwrap();
    }
}

pub(super) struct ScratchWriter {
    file: BufWriter<File>,
    bytes: u64,
}

impl ScratchWriter {
    pub(super) fn create() -> io::Result<Self> {
        Ok(Self {
            file: BufWriter::with_capacity(64 << 10, tempfile::tempfile()?),
            bytes: 0,
        })
    }

    pub(super) fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes += bytes.len() as u64;
        self.file.write_all(bytes)
    }

    pub(super) fn finish(self) -> io::Result<Scratch> {
        let file = self.file.into_inner().map_err(|error| error.into_error())?;
        Ok(Scratch {
            file: Arc::new(Mutex::new(file)),
            bytes: self.bytes,
        })
    }
}

#[derive(Debug)]
pub(super) struct ScratchReader {
    scratch: Scratch,
    offset: u64,
}

impl Read for ScratchReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let file = self.scratch.file.lock();
        let mut file = file.unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(self.offset))?;
        let count = file.read(buffer)?;
        self.offset += count as u64;
        Ok(count)
    }
}

impl Seek for ScratchReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let offset = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::Current(by) => self.offset.checked_add_signed(by),
            SeekFrom::End(by) => self.scratch.bytes.checked_add_signed(by),
        };
        self.offset = offset.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.offset)
    }
}
