//! The output of a writer: a file in the native or the official format, or a stream.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

use super::atomic_file::{Partial, Purpose};
use super::digest::ContentDigest;
use super::import::{render_header, render_pair, too_large};
use super::native::{DataBlock, Encoder};
use super::pool::Pool;
use super::{BackupError, Header, WriteOptions};

const BUFFER_BYTES: usize = 256 << 10;

pub(super) struct Written {
    /// `None` for a stream.
    pub(super) file: Option<WrittenFile>,
    pub(super) entries: u64,
    pub(super) bytes: u64,
    pub(super) digest: [u8; 32],
}

/// A complete file without its final name.
pub(super) struct WrittenFile {
    pub(super) partial: Partial,
    pub(super) file: File,
}

/// Compresses and writes blocks of the native format.
struct Blocks<W: Write> {
    encoder: Encoder<BufWriter<W>>,
    pool: Pool,
    block: DataBlock,
    /// A cleared block to reuse.
    spare: DataBlock,
}

impl<W: Write> Blocks<W> {
    fn new(
        out: W,
        target: &Path,
        header: &Header,
        options: WriteOptions,
    ) -> Result<Self, BackupError> {
        let failed = |error| BackupError::file("write", target, error);
        let out = BufWriter::with_capacity(BUFFER_BYTES, out);
        Ok(Self {
            encoder: Encoder::new(out, header).map_err(failed)?,
            pool: Pool::new(options.threads, options.level).map_err(failed)?,
            block: DataBlock::default(),
            spare: DataBlock::default(),
        })
    }

    fn push(&mut self, target: &Path, key: &[u8], value: &[u8]) -> Result<(), BackupError> {
        if !self.block.push(key, value) {
            return Err(BackupError::Entry {
                path: target.to_owned(),
                source: too_large(key, value),
            });
        }
        if self.block.is_full() {
            self.submit(target)?;
        }
        Ok(())
    }

    fn submit(&mut self, target: &Path) -> Result<(), BackupError> {
        if self.pool.is_full() {
            self.write_oldest(target)?;
        }
        let next = std::mem::take(&mut self.spare);
        let block = std::mem::replace(&mut self.block, next);
        self.encoder.count(&block);
        self.pool.submit(block)
    }

    /// Writes the oldest block in the pool; `false` if there is none.
    fn write_oldest(&mut self, target: &Path) -> Result<bool, BackupError> {
        let Some(mut done) = self.pool.take_oldest()? else {
            return Ok(false);
        };
        done.compressed
            .and_then(|compressed| self.encoder.write(&compressed))
            .and_then(|()| self.encoder.flush())
            .map_err(|error| BackupError::file("write", target, error))?;
        done.block.clear();
        self.spare = done.block;
        Ok(true)
    }

    /// Writes and flushes the rest. Returns the output, the number of entries and the digest.
    fn finish(
        mut self,
        target: &Path,
        skipped_leased: u64,
    ) -> Result<(W, u64, [u8; 32]), BackupError> {
        if !self.block.is_empty() {
            self.submit(target)?;
        }
        while self.write_oldest(target)? {}
        let failed = |error| BackupError::file("write", target, error);
        let (out, entries, digest) = self.encoder.finish(skipped_leased).map_err(failed)?;
        let out = out.into_inner();
        let out = out.map_err(|error| failed(error.into_error()))?;
        Ok((out, entries, digest))
    }
}

pub(super) struct NativeSink {
    partial: Partial,
    blocks: Blocks<File>,
}

impl NativeSink {
    pub(super) fn new(
        target: &Path,
        header: &Header,
        options: WriteOptions,
    ) -> Result<Self, BackupError> {
        let (partial, file) = Partial::create(target, Purpose::Backup)?;
        let blocks = Blocks::new(file, target, header, options)?;
        Ok(Self { partial, blocks })
    }

    pub(super) fn push(
        &mut self,
        target: &Path,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), BackupError> {
        self.blocks.push(target, key, value)
    }

    pub(super) fn finish(self, target: &Path, header: &Header) -> Result<Written, BackupError> {
        let Self { partial, blocks } = self;
        let (file, entries, digest) = blocks.finish(target, header.skipped_leased)?;
        written(target, WrittenFile { partial, file }, entries, digest)
    }
}

fn written(
    target: &Path,
    file: WrittenFile,
    entries: u64,
    digest: [u8; 32],
) -> Result<Written, BackupError> {
    let length = file.file.metadata();
    let length = length.map_err(|error| BackupError::file("write", target, error))?;
    Ok(Written {
        file: Some(file),
        entries,
        bytes: length.len(),
        digest,
    })
}

pub(super) struct StreamSink(Blocks<CountingWriter>);

impl StreamSink {
    pub(super) fn new(
        out: Box<dyn Write + Send>,
        target: &Path,
        header: &Header,
        options: WriteOptions,
    ) -> Result<Self, BackupError> {
        let out = CountingWriter { out, bytes: 0 };
        Blocks::new(out, target, header, options).map(Self)
    }

    pub(super) fn push(
        &mut self,
        target: &Path,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), BackupError> {
        self.0.push(target, key, value)
    }

    pub(super) fn finish(self, target: &Path, header: &Header) -> Result<Written, BackupError> {
        let (mut out, entries, digest) = self.0.finish(target, header.skipped_leased)?;
        out.flush()
            .map_err(|error| BackupError::file("write", target, error))?;
        Ok(Written {
            file: None,
            entries,
            bytes: out.bytes,
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
    entries_file: BufWriter<File>,
    _entries_partial: Partial,
    entries: u64,
    digest: ContentDigest,
}

impl OfficialSink {
    pub(super) fn new(target: &Path) -> Result<Self, BackupError> {
        let (name, file) = Partial::create(target, Purpose::Entries)?;
        Ok(Self {
            entries_file: BufWriter::with_capacity(BUFFER_BYTES, file),
            _entries_partial: name,
            entries: 0,
            digest: ContentDigest::default(),
        })
    }

    pub(super) fn push(
        &mut self,
        target: &Path,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), BackupError> {
        let frame = render_pair(key, value)
            .and_then(|frame| {
                if self.digest.push(key, value) {
                    Ok(frame)
                } else {
                    Err(too_large(key, value))
                }
            })
            .map_err(|source| BackupError::Entry {
                path: target.to_owned(),
                source,
            })?;
        self.entries += 1;
        self.entries_file
            .write_all(&frame)
            .map_err(|error| BackupError::file("write", target, error))
    }

    pub(super) fn finish(self, target: &Path, header: &Header) -> Result<Written, BackupError> {
        let (partial, mut file) = Partial::create(target, Purpose::Backup)?;
        let copy = || -> io::Result<()> {
            let mut entries_file = self
                .entries_file
                .into_inner()
                .map_err(|error| error.into_error())?;
            entries_file.seek(SeekFrom::Start(0))?;
            file.write_all(&render_header(&header.meta_root, self.entries))?;
            io::copy(&mut entries_file, &mut file)?;
            Ok(())
        };
        copy().map_err(|error| BackupError::file("write", target, error))?;
        let file = WrittenFile { partial, file };
        written(target, file, self.entries, self.digest.finish())
    }
}
