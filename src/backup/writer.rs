//! Writes a backup while its entries are still being read: one block in memory for each one that a
//! thread compresses.

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::digest::{ContentDigest, hexadecimal};
use super::foreign::{digest_in_order, render_header, render_pair, too_large};
use super::native::{DataBlock, Encoder};
use super::pool::Pool;
use super::publish::{Partial, Published, Purpose, publish, target};
use super::read_back::ReadBack;
use super::{
    Backup, BackupError, Format, FormatError, GREATEST_LEVEL, Header, LEAST_LEVEL, Summary,
};
use crate::entry::printable;

const BUFFER_BYTES: usize = 256 << 10;

/// The formats that can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OutputFormat {
    /// Ours.
    #[default]
    Native,
    /// The official tool's, which that tool can read. It has no checksum.
    Official,
}

impl OutputFormat {
    /// The format as readers name it.
    #[must_use]
    pub fn format(self) -> Format {
        match self {
            Self::Native => Format::Native,
            Self::Official => Format::Official,
        }
    }

    fn extension(self) -> &'static str {
        match self {
            Self::Native => "mmb",
            Self::Official => "bak",
        }
    }
}

impl fmt::Display for OutputFormat {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.format().name())
    }
}

/// A text that names no format that can be written.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is no backup format: expected native or official")]
pub struct OutputFormatError {
    /// What was given.
    pub text: String,
}

impl FromStr for OutputFormat {
    type Err = OutputFormatError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "native" => Ok(Self::Native),
            "official" => Ok(Self::Official),
            _ => Err(OutputFormatError {
                text: text.to_owned(),
            }),
        }
    }
}

/// How to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteOptions {
    /// Compression level of the native format, from [`LEAST_LEVEL`] to [`GREATEST_LEVEL`].
    pub level: i32,
    /// How many threads compress.
    pub threads: usize,
    /// The format.
    pub format: OutputFormat,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self {
            // Metadata is text and repeats itself: higher levels cost time and save nothing.
            level: 1,
            threads: 2,
            format: OutputFormat::Native,
        }
    }
}

/// A backup that is being written. Dropped before [`Self::finish`], it leaves nothing behind.
pub struct Writer {
    sink: Sink,
    target: PathBuf,
    header: Header,
    format: OutputFormat,
    root_prefix: Vec<u8>,
    last_key: Vec<u8>,
}

enum Sink {
    Native(Box<NativeSink>),
    Official(Box<OfficialSink>),
}

impl Writer {
    /// Starts a backup at `path`: a file to be, or a folder (or a path that ends in a slash), in which
    /// it gets a name made of meta root and revision.
    ///
    /// # Errors
    /// When no file can be created there, or the level does not exist.
    pub fn create(
        path: impl AsRef<Path>,
        header: Header,
        options: WriteOptions,
    ) -> Result<Self, BackupError> {
        let WriteOptions {
            level,
            threads,
            format,
        } = options;
        if !(LEAST_LEVEL..=GREATEST_LEVEL).contains(&level) {
            return Err(BackupError::Level { level });
        }
        let target = target(path.as_ref(), &header, format.extension());
        let sink = match format {
            OutputFormat::Native => {
                Sink::Native(Box::new(NativeSink::new(&target, &header, level, threads)?))
            }
            OutputFormat::Official => Sink::Official(Box::new(OfficialSink::new(&target)?)),
        };
        Ok(Self {
            sink,
            root_prefix: format!("{}/", header.meta_root).into_bytes(),
            target,
            header,
            format,
            last_key: Vec::new(),
        })
    }

    /// Sets how many leased keys were left out. Any time before [`Self::finish`] will do.
    pub fn set_skipped_leased(&mut self, count: u64) {
        self.header.skipped_leased = count;
    }

    /// Adds an entry. Keys come in ascending order, each once, all below the meta root.
    ///
    /// # Errors
    /// When the key is out of order or outside the meta root, the entry is too large, or writing fails.
    pub fn push(&mut self, key: &[u8], value: &[u8]) -> Result<(), BackupError> {
        let refused = if !key.starts_with(&self.root_prefix) {
            Some(FormatError::OutsideRoot {
                key: printable(key),
                root: self.header.meta_root.clone(),
            })
        } else if key <= self.last_key.as_slice() {
            Some(FormatError::KeyOrder {
                key: printable(key),
            })
        } else {
            None
        };
        if let Some(source) = refused {
            return Err(BackupError::Entry {
                path: self.target.clone(),
                source,
            });
        }
        self.last_key.clear();
        self.last_key.extend_from_slice(key);
        match &mut self.sink {
            Sink::Native(sink) => sink.push(&self.target, key, value),
            Sink::Official(sink) => sink.push(&self.target, key, value),
        }
    }

    /// Seals the backup and gives it its name: [`Self::seal`], then [`Sealed::publish`].
    ///
    /// # Errors
    /// As these.
    pub fn finish(self) -> Result<Summary, BackupError> {
        self.seal()?.publish()
    }

    /// Writes the rest, syncs, reads all of it back and compares. The file has no name yet.
    ///
    /// # Errors
    /// When writing or syncing fails, or what reads back is not what was written.
    pub fn seal(self) -> Result<Sealed, BackupError> {
        let Self {
            sink,
            target,
            header,
            format,
            root_prefix: _,
            last_key: _,
        } = self;
        let (written, read_back) = match sink {
            Sink::Native(sink) => sink.finish(&target, &header)?,
            Sink::Official(sink) => (sink.finish(&target, &header)?, None),
        };
        let failed = |error| BackupError::file("write", &target, error);
        written.file.sync_all().map_err(failed)?;
        let bytes = written.file.metadata().map_err(failed)?.len();
        match read_back {
            Some(read_back) => read_back.finish(&header, written.digest)?,
            None => read_official_back(&written)?,
        }
        Ok(Sealed {
            written,
            bytes,
            target,
            header,
            format,
        })
    }
}

/// A backup that is whole and checked, but has no name yet. Dropped, it leaves nothing behind.
pub struct Sealed {
    written: Written,
    bytes: u64,
    target: PathBuf,
    header: Header,
    format: OutputFormat,
}

impl Sealed {
    /// Gives the file its name. A file that is there already is never replaced: where it has the same
    /// content it is used again, else the new one gets a name beside it.
    ///
    /// # Errors
    /// When naming or syncing the folder fails.
    pub fn publish(self) -> Result<Summary, BackupError> {
        let Self {
            written,
            bytes,
            target,
            header,
            format,
        } = self;
        let Written {
            mut partial,
            entries,
            digest,
            file: _,
        } = written;
        let digest = hexadecimal(&digest);
        let same = |path: &Path| {
            Backup::open_with_root(path, Some(&header.meta_root))
                .ok()
                .map(Backup::into_summary)
                .filter(|found| {
                    found.digest == digest
                        && found.format == format.format()
                        && found.meta_root == header.meta_root
                })
        };
        match publish(&mut partial, &target, &header, same)? {
            Published::Existing(mut summary) => {
                summary.reused = true;
                Ok(*summary)
            }
            Published::New(path) => Ok(Summary {
                path,
                format: format.format(),
                entries,
                bytes,
                revision: header.revision,
                digest,
                skipped_leased: header.skipped_leased,
                skipped_outside: 0,
                meta_root: header.meta_root.clone(),
                header,
                reused: false,
            }),
        }
    }
}

/// A file that is complete but has no name yet.
struct Written {
    partial: Partial,
    file: File,
    entries: u64,
    digest: [u8; 32],
}

/// Reads a written file of the official format from its beginning and compares it with what went in.
fn read_official_back(written: &Written) -> Result<(), BackupError> {
    let path = written.partial.path();
    let file = File::open(path).map_err(|error| BackupError::file("read back", path, error))?;
    match digest_in_order(BufReader::with_capacity(BUFFER_BYTES, file)) {
        Ok(found) if found == (written.entries, written.digest) => Ok(()),
        Ok(_) => Err(BackupError::ReadBack {
            path: path.to_owned(),
        }),
        Err(error) => Err(BackupError::invalid(path, error)),
    }
}

/// Writes the native format.
struct NativeSink {
    partial: Partial,
    encoder: Encoder<BufWriter<File>>,
    pool: Pool,
    read_back: ReadBack,
    block: DataBlock,
}

impl NativeSink {
    fn new(
        target: &Path,
        header: &Header,
        level: i32,
        threads: usize,
    ) -> Result<Self, BackupError> {
        let (partial, file) = Partial::create(target, Purpose::Backup)?;
        let failed = |error| BackupError::file("write", target, error);
        let out = BufWriter::with_capacity(BUFFER_BYTES, file);
        let mut encoder = Encoder::new(out, header).map_err(failed)?;
        encoder.flush().map_err(failed)?;
        let read_back = ReadBack::start(partial.path())?;
        Ok(Self {
            partial,
            encoder,
            pool: Pool::new(threads, level).map_err(failed)?,
            read_back,
            block: DataBlock::default(),
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
        let next = self.read_back.spare();
        let block = std::mem::replace(&mut self.block, next);
        self.encoder.count(&block);
        self.pool.submit(block)
    }

    /// Writes the oldest block in the pool; `false` when there is none.
    fn write_oldest(&mut self, target: &Path) -> Result<bool, BackupError> {
        let Some(done) = self.pool.take_oldest()? else {
            return Ok(false);
        };
        done.compressed
            .and_then(|compressed| self.encoder.write(&compressed))
            .and_then(|()| self.encoder.flush())
            .map_err(|error| BackupError::file("write", target, error))?;
        self.read_back.compare(done.block)?;
        Ok(true)
    }

    fn finish(
        mut self,
        target: &Path,
        header: &Header,
    ) -> Result<(Written, Option<ReadBack>), BackupError> {
        if !self.block.is_empty() {
            self.submit(target)?;
        }
        while self.write_oldest(target)? {}
        let failed = |error| BackupError::file("write", target, error);
        let (out, entries, digest) = self.encoder.finish(header.skipped_leased).map_err(failed)?;
        let file = out
            .into_inner()
            .map_err(|error| failed(error.into_error()))?;
        let written = Written {
            partial: self.partial,
            file,
            entries,
            digest,
        };
        Ok((written, Some(self.read_back)))
    }
}

/// Writes the official tool's format. Its header gives the count of entries, which is known only at
/// the end: the entries wait in a file of their own.
struct OfficialSink {
    waiting: BufWriter<File>,
    _waiting_name: Partial,
    entries: u64,
    digest: ContentDigest,
}

impl OfficialSink {
    fn new(target: &Path) -> Result<Self, BackupError> {
        let (name, file) = Partial::create(target, Purpose::Entries)?;
        Ok(Self {
            waiting: BufWriter::with_capacity(BUFFER_BYTES, file),
            _waiting_name: name,
            entries: 0,
            digest: ContentDigest::default(),
        })
    }

    fn push(&mut self, target: &Path, key: &[u8], value: &[u8]) -> Result<(), BackupError> {
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
        self.waiting
            .write_all(&frame)
            .map_err(|error| BackupError::file("write", target, error))
    }

    fn finish(self, target: &Path, header: &Header) -> Result<Written, BackupError> {
        let (partial, mut file) = Partial::create(target, Purpose::Backup)?;
        let copy = || -> io::Result<()> {
            let mut waiting = self
                .waiting
                .into_inner()
                .map_err(|error| error.into_error())?;
            waiting.seek(SeekFrom::Start(0))?;
            file.write_all(&render_header(&header.meta_root, self.entries))?;
            io::copy(&mut waiting, &mut file)?;
            Ok(())
        };
        copy().map_err(|error| BackupError::file("write", target, error))?;
        Ok(Written {
            partial,
            file,
            entries: self.entries,
            digest: self.digest.finish(),
        })
    }
}
