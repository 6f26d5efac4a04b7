//! The output of a writer: a file in the native or the official format, or a stream.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::atomic_file::{Partial, Purpose};
use super::digest::ContentDigest;
use super::import::{render_header, render_pair, too_large};
use super::native::{DataBlock, Encoder};
use super::pool::Pool;
use super::{BackupError, FormatError, Header, WriteOptions};

const BUFFER_BYTES: usize = 256 << 10;

pub(super) struct Written {
    /// `None` for a stream.
    pub(super) file: Option<WrittenFile>,
    pub(super) entries: u64,
    pub(super) bytes: u64,
    pub(super) digest: [u8; 32],
}

/// A file without its final name.
pub(super) struct WrittenFile {
    pub(super) partial: Partial,
    pub(super) file: Arc<File>,
}

impl WrittenFile {
    fn create(target: &Path, purpose: Purpose) -> Result<Self, BackupError> {
        let (partial, file) = Partial::create(target, purpose)?;
        let file = Arc::new(file);
        Ok(Self { partial, file })
    }
}

fn write_failed(target: &Path) -> impl Fn(io::Error) -> BackupError {
    move |error| BackupError::file("write", target, error)
}

fn entry_failed(target: &Path, source: FormatError) -> BackupError {
    let path = target.to_owned();
    BackupError::Entry { path, source }
}

/// Compresses and writes blocks of the native format, to a file or a stream.
pub(super) struct NativeSink {
    target: PathBuf,
    file: Option<WrittenFile>,
    encoder: Encoder<BufWriter<CountingWriter>>,
    pool: Pool,
    block: DataBlock,
    /// A cleared block to reuse.
    spare: DataBlock,
}

impl NativeSink {
    pub(super) fn new(
        target: &Path,
        header: &Header,
        options: WriteOptions,
    ) -> Result<Self, BackupError> {
        let file = WrittenFile::create(target, Purpose::Backup)?;
        let out = Box::new(Arc::clone(&file.file));
        Self::of(out, Some(file), target, header, options)
    }

    pub(super) fn stream(
        out: Box<dyn Write + Send>,
        target: &Path,
        header: &Header,
        options: WriteOptions,
    ) -> Result<Self, BackupError> {
        Self::of(out, None, target, header, options)
    }

    fn of(
        out: Box<dyn Write + Send>,
        file: Option<WrittenFile>,
        target: &Path,
        header: &Header,
        options: WriteOptions,
    ) -> Result<Self, BackupError> {
        let out = CountingWriter { out, bytes: 0 };
        let out = BufWriter::with_capacity(BUFFER_BYTES, out);
        Ok(Self {
            target: target.to_owned(),
            file,
            encoder: Encoder::new(out, header).map_err(write_failed(target))?,
            pool: Pool::new(options.threads, options.level).map_err(write_failed(target))?,
            block: DataBlock::default(),
            spare: DataBlock::default(),
        })
    }

    pub(super) fn push(&mut self, key: &[u8], value: &[u8]) -> Result<(), BackupError> {
        if !self.block.push(key, value) {
            return Err(entry_failed(&self.target, too_large(key, value)));
        }
        if self.block.is_full() {
            self.submit()?;
        }
        Ok(())
    }

    fn submit(&mut self) -> Result<(), BackupError> {
        if self.pool.is_full() {
            self.write_oldest()?;
        }
        let next = std::mem::take(&mut self.spare);
        let block = std::mem::replace(&mut self.block, next);
        self.encoder.count(&block);
        self.pool.submit(block)
    }

    /// Writes the oldest block in the pool; `false` if there is none.
    fn write_oldest(&mut self) -> Result<bool, BackupError> {
        let Some(mut done) = self.pool.take_oldest()? else {
            return Ok(false);
        };
        done.compressed
            .and_then(|compressed| self.encoder.write(&compressed))
            .and_then(|()| self.encoder.flush())
            .map_err(write_failed(&self.target))?;
        done.block.clear();
        self.spare = done.block;
        Ok(true)
    }

    /// Writes and flushes the rest.
    pub(super) fn finish(mut self, header: &Header) -> Result<Written, BackupError> {
        if !self.block.is_empty() {
            self.submit()?;
        }
        while self.write_oldest()? {}
        let finished = self.encoder.finish(header.skipped_leased);
        let (out, entries, digest) = finished.map_err(write_failed(&self.target))?;
        let out = out.into_inner().map_err(|error| error.into_error());
        let flushed = out.and_then(|mut out| out.flush().map(|()| out.bytes));
        Ok(Written {
            file: self.file,
            entries,
            bytes: flushed.map_err(write_failed(&self.target))?,
            digest,
        })
    }
}

struct CountingWriter {
    out: Box<dyn Write + Send>,
    bytes: u64,
}

impl Write for CountingWriter {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = self.out.write(buffer)?;
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Writes a file in the official format. Its header contains the number of entries, which is known
/// only at the end, so the entries are first written to a separate file.
pub(super) struct OfficialSink {
    target: PathBuf,
    entries_file: BufWriter<File>,
    _entries_partial: Partial,
    entries: u64,
    digest: ContentDigest,
}

impl OfficialSink {
    pub(super) fn new(target: &Path) -> Result<Self, BackupError> {
        let (name, file) = Partial::create(target, Purpose::Entries)?;
        Ok(Self {
            target: target.to_owned(),
            entries_file: BufWriter::with_capacity(BUFFER_BYTES, file),
            _entries_partial: name,
            entries: 0,
            digest: ContentDigest::default(),
        })
    }

    pub(super) fn push(&mut self, key: &[u8], value: &[u8]) -> Result<(), BackupError> {
        let frame = match self.digest.push(key, value) {
            true => render_pair(key, value),
            false => Err(too_large(key, value)),
        };
        let frame = frame.map_err(|source| entry_failed(&self.target, source))?;
        self.entries += 1;
        let written = self.entries_file.write_all(&frame);
        written.map_err(write_failed(&self.target))
    }

    pub(super) fn finish(self, header: &Header) -> Result<Written, BackupError> {
        let file = WrittenFile::create(&self.target, Purpose::Backup)?;
        let copy = || -> io::Result<u64> {
            let entries_file = self.entries_file.into_inner();
            let mut entries_file = entries_file.map_err(|error| error.into_error())?;
            entries_file.seek(SeekFrom::Start(0))?;
            let header = render_header(&header.meta_root, self.entries);
            (&*file.file).write_all(&header)?;
            Ok(header.len() as u64 + io::copy(&mut entries_file, &mut &*file.file)?)
        };
        let bytes = copy().map_err(write_failed(&self.target))?;
        Ok(Written {
            file: Some(file),
            entries: self.entries,
            bytes,
            digest: self.digest.finish(),
        })
    }
}
