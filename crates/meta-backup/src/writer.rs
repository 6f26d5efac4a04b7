//! Writes a backup while its entries are read; memory is limited to a few blocks per compression
//! thread.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::atomic_file::{Published, publish, remove, target};
use super::digest::hexadecimal;
use super::disk::{Disk, RealDisk};
use super::options::{OutputFormat, WriteOptions};
use super::place::check_path;
use super::sink::{NativeSink, OfficialSink, Written};
use super::{
    Backup, BackupError, FormatError, GREATEST_LEVEL, Header, LEAST_LEVEL, Summary, Tolerance,
    read_back,
};
use milvus_meta::entry::printable;

/// A backup being written. If it is dropped before [`Self::finish`], its files are removed.
pub struct Writer {
    job: Job,
    sink: Sink,
    root_prefix: Vec<u8>,
    last_key: Vec<u8>,
}

/// What is written, and where.
struct Job {
    disk: Arc<dyn Disk>,
    target: PathBuf,
    header: Header,
    format: OutputFormat,
}

enum Sink {
    Native(Box<NativeSink>),
    Official(Box<OfficialSink>),
}

impl Writer {
    /// Starts a backup at `path`. If that is a folder or ends in a slash, the file name is
    /// generated from meta root and revision.
    ///
    /// # Errors
    /// If the file cannot be created, or the level is out of range.
    pub fn create(
        path: impl AsRef<Path>,
        header: Header,
        options: WriteOptions,
    ) -> Result<Self, BackupError> {
        Self::create_on(Arc::new(RealDisk), path.as_ref(), header, options)
    }

    fn create_on(
        disk: Arc<dyn Disk>,
        path: &Path,
        header: Header,
        options: WriteOptions,
    ) -> Result<Self, BackupError> {
        check_level(options.level)?;
        check_path(path)?;
        let job = Job {
            disk,
            target: target(path, &header, options.format.extension()),
            header,
            format: options.format,
        };
        let sink = match options.format {
            OutputFormat::Native => {
                let sink = NativeSink::new(&job.target, &job.header, options)?;
                Sink::Native(Box::new(sink))
            }
            OutputFormat::Official => Sink::Official(Box::new(OfficialSink::new(&job.target)?)),
        };
        Ok(Self::new(job, sink))
    }

    /// Starts a backup that is written to `out`. `path` is its name in messages. A stream can be
    /// neither synced nor read back.
    ///
    /// # Errors
    /// If writing fails, the level is out of range, or the format is not native.
    pub fn stream(
        out: Box<dyn std::io::Write + Send>,
        path: &Path,
        header: Header,
        options: WriteOptions,
    ) -> Result<Self, BackupError> {
        check_level(options.level)?;
        if options.format != OutputFormat::Native {
            return Err(BackupError::StreamFormat(path.to_owned()));
        }
        let sink = NativeSink::stream(out, path, &header, options)?;
        let job = Job {
            disk: Arc::new(RealDisk),
            target: path.to_owned(),
            header,
            format: options.format,
        };
        Ok(Self::new(job, Sink::Native(Box::new(sink))))
    }

    fn new(job: Job, sink: Sink) -> Self {
        Self {
            root_prefix: format!("{}/", job.header.meta_root).into_bytes(),
            job,
            sink,
            last_key: Vec::new(),
        }
    }

    /// Sets the number of omitted leased keys. May be called at any time before [`Self::finish`].
    pub fn set_skipped_leased(&mut self, count: u64) {
        self.job.header.skipped_leased = count;
    }

    /// Adds an entry. Keys must be in ascending order, unique, and below the meta root.
    ///
    /// # Errors
    /// If the key violates this, the entry is too large, or writing fails.
    pub fn push(&mut self, key: &[u8], value: &[u8]) -> Result<(), BackupError> {
        let refused = if !key.starts_with(&self.root_prefix) {
            Some(FormatError::OutsideRoot {
                key: printable(key),
                root: self.job.header.meta_root.clone(),
            })
        } else if key <= self.last_key.as_slice() {
            Some(FormatError::KeyOrder(printable(key)))
        } else {
            None
        };
        if let Some(source) = refused {
            let path = self.job.target.clone();
            return Err(BackupError::Entry { path, source });
        }
        self.last_key.clear();
        self.last_key.extend_from_slice(key);
        match &mut self.sink {
            Sink::Native(sink) => sink.push(key, value),
            Sink::Official(sink) => sink.push(key, value),
        }
    }

    /// Completes and publishes the backup: [`Self::seal`], then [`Sealed::publish`].
    ///
    /// # Errors
    /// Those of the two.
    pub fn finish(self) -> Result<Summary, BackupError> {
        self.seal()?.publish()
    }

    /// Writes the rest and syncs the file, which has no final name yet.
    ///
    /// # Errors
    /// If writing or syncing fails.
    pub fn seal(self) -> Result<Sealed, BackupError> {
        let job = self.job;
        let written = match self.sink {
            Sink::Native(sink) => sink.finish(&job.header)?,
            Sink::Official(sink) => sink.finish(&job.header)?,
        };
        if let Some(file) = &written.file {
            let synced = job.disk.sync(&file.file);
            synced.map_err(|error| BackupError::file("sync", &job.target, error))?;
        }
        Ok(Sealed { job, written })
    }
}

fn check_level(level: i32) -> Result<(), BackupError> {
    match (LEAST_LEVEL..=GREATEST_LEVEL).contains(&level) {
        true => Ok(()),
        false => Err(BackupError::Level(level)),
    }
}

/// A complete and synced backup without its final name. If it is dropped, the file is removed.
pub struct Sealed {
    job: Job,
    written: Written,
}

impl Sealed {
    /// Names the file and verifies it by reading it back from the device. An existing file is never
    /// replaced: if it has the same content, it is used instead, else the new file gets an
    /// alternative name.
    ///
    /// # Errors
    /// If naming the file or syncing the folder fails, or the content read back differs.
    pub fn publish(self) -> Result<Summary, BackupError> {
        let Job {
            disk,
            target,
            header,
            format,
        } = self.job;
        let Written {
            file,
            entries,
            bytes,
            digest,
        } = self.written;
        let text = hexadecimal(&digest);
        let same = |path: &Path| {
            let found = Backup::open_with(path, Some(&header.meta_root), Tolerance::default());
            found.ok().map(Backup::into_summary).filter(|found| {
                found.digest == text
                    && found.format == format.format()
                    && found.meta_root == header.meta_root
            })
        };
        let path = match file {
            None => target,
            Some(mut file) => match publish(&*disk, &mut file.partial, &target, &header, same)? {
                Published::Existing(mut summary) => {
                    summary.reused = true;
                    return Ok(*summary);
                }
                Published::New(path) => {
                    let outcome =
                        read_back::check(&*disk, &path, format, &header, entries, &digest);
                    outcome.inspect_err(|_| remove(&*disk, &path))?;
                    path
                }
            },
        };
        let format = format.format();
        Ok(Summary::new(path, format, header, entries, bytes, &digest))
    }
}

#[cfg(test)]
mod tests;
