//! Opens backups of all known formats and verifies them completely.

use std::io::{BufReader, Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::archive::{self, Content, Unpacked, open};
use super::digest::hexadecimal;
use super::error::OPEN;
use super::import::{self, GUESS_BYTES, Guess, Import, Selected, SelectedEntries};
use super::native::{Decoder, END_BYTES, Totals, announced};
use super::{BackupError, Coverage, Format, FormatError, Header, Summary, Tolerance, etcd_folder};
use milvus_meta::entry::Entry;

const BUFFER_BYTES: usize = 256 << 10;

/// A verified backup. After [`Self::announced`] it is verified only while its entries are first
/// read.
#[derive(Debug, Clone)]
pub struct Backup {
    summary: Summary,
    coverage: Coverage,
    source: Source,
}

/// The source of the entries.
#[derive(Debug, Clone)]
enum Source {
    /// A native file. It is read and verified again each time, and compared with the totals of the
    /// first time if they are known.
    File {
        known: Arc<OnceLock<Totals>>,
        /// The unpacked content, if the file was packed.
        unpacked: Option<Unpacked>,
    },
    /// The sorted entries of an imported file.
    Import(Selected),
}

impl Backup {
    /// Opens a backup of any known format and verifies it completely.
    ///
    /// # Errors
    /// If the file is unreadable, of no known format, truncated or altered, or contains several
    /// instances.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, BackupError> {
        Self::open_with(path, None, Tolerance::default())
    }

    /// As [`Self::open_with`], but reads only the start and the end of a native file. The summary
    /// is unverified. Nothing in it may be trusted until [`Self::entries`] was read to the end,
    /// which verifies the file.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn announced(
        path: impl AsRef<Path>,
        root: Option<&str>,
        tolerance: Tolerance,
    ) -> Result<Self, BackupError> {
        let path = path.as_ref();
        match Self::announce(path) {
            Some(backup) => Ok(backup),
            // Reading the complete file opens other formats and reports damage.
            None => Self::open_with(path, root, tolerance),
        }
    }

    fn announce(path: &Path) -> Option<Self> {
        let mut file = open(path).ok()?;
        let bytes = file.metadata().ok()?.len();
        let mut end = [0; END_BYTES];
        file.seek(SeekFrom::Start(bytes.checked_sub(end.len() as u64)?))
            .ok()?;
        file.read_exact(&mut end).ok()?;
        let tail = announced(&end)?;
        file.seek(SeekFrom::Start(0)).ok()?;
        let decoder = Decoder::new(BufReader::new(file)).ok()?;
        let header = Header {
            skipped_leased: tail.skipped_leased,
            ..decoder.header().clone()
        };
        let summary = Summary::new(
            path.to_owned(),
            Format::Native,
            header,
            tail.entries,
            bytes,
            &tail.digest,
        );
        Some(Self {
            summary,
            coverage: Coverage::All,
            source: Source::File {
                known: Arc::default(),
                unpacked: None,
            },
        })
    }

    /// Calls `open` for a backup whose own meta root is preferred. If the file does not name a meta
    /// root or contains several instances, `user_root` is used; without it that is an error.
    ///
    /// # Errors
    /// Those of `open`.
    pub fn open_instance(
        user_root: Option<&str>,
        open: impl Fn(Option<&str>) -> Result<Self, BackupError>,
    ) -> Result<Self, BackupError> {
        match open(None) {
            Err(BackupError::Invalid {
                source: FormatError::NoRoot | FormatError::SeveralRoots { .. },
                ..
            }) if user_root.is_some() => open(user_root),
            opened => opened,
        }
    }

    /// As [`Self::open`]. `root` is the meta root if the file does not name it: in an etcd
    /// snapshot, in some birdwatcher files, and where the official tool lost a leading slash. The path
    /// may also be a data folder of etcd.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(
        path: impl AsRef<Path>,
        root: Option<&str>,
        tolerance: Tolerance,
    ) -> Result<Self, BackupError> {
        let path = path.as_ref();
        let found = etcd_folder::database_in(path).unwrap_or_else(|| path.to_owned());
        let failed = |error| BackupError::file(OPEN, path, error);
        let bytes = open(&found)
            .and_then(|file| file.metadata())
            .map_err(failed)?
            .len();
        let unpacked = archive::unpack(&found)?;
        let mut file = Content::open(&found, unpacked.as_ref()).map_err(failed)?;
        let mut start = Vec::new();
        (&mut file)
            .take(GUESS_BYTES as u64)
            .read_to_end(&mut start)
            .map_err(failed)?;
        let invalid = |error| BackupError::invalid(path, error);
        let guess = Guess::of(&start).map_err(invalid)?;
        if guess == Guess::Native {
            file.seek(SeekFrom::Start(0)).map_err(failed)?;
            let reader = BufReader::with_capacity(BUFFER_BYTES, file);
            let backup = Self::check_native(path, reader).map_err(invalid)?;
            return Ok(backup.with_unpacked(bytes, unpacked));
        }
        let mut import = import::read(guess, file, user_root(root), tolerance).map_err(invalid)?;
        if let Some(index) = import.raft_index
            && let Some(log) = etcd_folder::log_of(&found)
        {
            let note = etcd_folder::note(&log, index, import.revision);
            import.notes.push(note);
        }
        if let Some(unpacked) = unpacked {
            import.notes.extend(unpacked.notes);
        }
        Ok(Self::from_import(path, bytes, import))
    }

    fn with_unpacked(mut self, bytes: u64, from: Option<Unpacked>) -> Self {
        self.summary.bytes = bytes;
        if let Some(from) = &from {
            self.summary.notes.clone_from(&from.notes);
        }
        if let Source::File { unpacked, .. } = &mut self.source {
            *unpacked = from;
        }
        self
    }

    fn check_native(path: &Path, reader: impl Read) -> Result<Self, FormatError> {
        let mut decoder = Decoder::new(reader)?;
        while decoder.next()?.is_some() {}
        let header = decoder.header().clone();
        let totals = decoder.totals().ok_or(FormatError::Truncated {
            part: "the tail",
            offset: 0,
        })?;
        Ok(Self {
            summary: Summary::new(
                path.to_owned(),
                Format::Native,
                header,
                totals.entries,
                totals.bytes,
                &totals.digest,
            ),
            coverage: Coverage::All,
            source: Source::File {
                known: Arc::new(totals.into()),
                unpacked: None,
            },
        })
    }

    fn from_import(path: &Path, bytes: u64, import: Import) -> Self {
        let header = Header {
            revision: import.revision,
            meta_root: import.entries.root.to_string(),
            skipped_leased: import.skipped_leased,
            ..Header::default()
        };
        let path = path.to_owned();
        let summary = Summary {
            skipped_outside: import.skipped_outside,
            notes: import.notes,
            ..Summary::new(
                path,
                import.format,
                header,
                import.count,
                bytes,
                &import.digest,
            )
        };
        Self {
            summary,
            coverage: import.coverage,
            source: Source::Import(import.entries),
        }
    }

    /// The summary.
    #[must_use]
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Drops the backup and returns its summary.
    #[must_use]
    pub(crate) fn into_summary(self) -> Summary {
        self.summary
    }

    /// The header.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.summary.header
    }

    /// The format of the file.
    #[must_use]
    pub fn format(&self) -> Format {
        self.summary.format
    }

    /// The part of the metadata that the backup contains.
    #[must_use]
    pub fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    /// Returns the entries in ascending key order, without revisions and leases.
    ///
    /// # Errors
    /// If the file cannot be opened again. If it changed since it was verified, the iterator
    /// returns an error.
    pub fn entries(&self) -> Result<Entries, BackupError> {
        let inner = match &self.source {
            Source::Import(entries) => Inner::Import {
                entries: Box::new(entries.iter()),
                path: self.summary.path.clone(),
            },
            Source::File { known, unpacked } => {
                let path = &self.summary.path;
                let file = Content::open(path, unpacked.as_ref())
                    .map_err(|error| BackupError::file(OPEN, path, error))?;
                let reader = BufReader::with_capacity(BUFFER_BYTES, file);
                let decoder = match known.get() {
                    Some(_) => Decoder::reread(reader),
                    None => Decoder::new(reader),
                }
                .map_err(|error| BackupError::invalid(path, error))?;
                Inner::File {
                    decoder: Box::new(decoder),
                    known: Arc::clone(known),
                    summary: Box::new(self.summary.clone()),
                    is_done: false,
                }
            }
        };
        Ok(Entries { inner })
    }
}

/// Normalizes the user's meta root; `None` if it is empty.
fn user_root(root: Option<&str>) -> Option<&str> {
    root.map(|root| root.trim_end_matches('/'))
        .filter(|root| !root.is_empty())
}

/// Verifies a backup in memory, as [`Backup::open`] does for a file. The path in the
/// summary is empty.
///
/// # Errors
/// The problem with the bytes.
pub fn check_bytes(bytes: &[u8], root: Option<&str>) -> Result<Summary, FormatError> {
    check_bytes_with(bytes, root, Tolerance::default())
}

/// As [`check_bytes`], with a `tolerance`.
///
/// # Errors
/// The problem with the bytes.
pub fn check_bytes_with(
    bytes: &[u8],
    root: Option<&str>,
    tolerance: Tolerance,
) -> Result<Summary, FormatError> {
    let path = Path::new("");
    let start = bytes.get(..GUESS_BYTES).unwrap_or(bytes);
    let guess = Guess::of(start)?;
    if guess == Guess::Native {
        return Backup::check_native(path, bytes).map(Backup::into_summary);
    }
    let import = import::read(guess, Cursor::new(bytes), user_root(root), tolerance)?;
    Ok(Backup::from_import(path, bytes.len() as u64, import).summary)
}

/// The entries of a backup in ascending key order. The first error is the last item.
pub struct Entries {
    inner: Inner,
}

enum Inner {
    File {
        decoder: Box<Decoder<BufReader<Content>>>,
        known: Arc<OnceLock<Totals>>,
        summary: Box<Summary>,
        is_done: bool,
    },
    Import {
        entries: Box<SelectedEntries>,
        path: PathBuf,
    },
}

impl Iterator for Entries {
    type Item = Result<Entry, BackupError>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.inner {
            Inner::Import { entries, path } => {
                let entry = entries.next()?;
                Some(entry.map_err(|error| BackupError::invalid(path, error)))
            }
            Inner::File {
                decoder,
                known,
                summary,
                is_done,
            } => {
                if *is_done {
                    return None;
                }
                let item = next_of_file(decoder, summary, known);
                *is_done = !matches!(item, Some(Ok(_)));
                item
            }
        }
    }
}

fn next_of_file(
    decoder: &mut Decoder<BufReader<Content>>,
    summary: &Summary,
    known: &OnceLock<Totals>,
) -> Option<Result<Entry, BackupError>> {
    match decoder.next() {
        Ok(Some((key, value))) => return Some(Ok(Entry::new(key, value))),
        Ok(None) => {}
        Err(error) => return Some(Err(BackupError::invalid(&summary.path, error))),
    }
    if let Some(totals) = decoder.totals()
        && hexadecimal(&totals.digest) == summary.digest
        && known.get_or_init(|| totals).heads == totals.heads
    {
        return None;
    }
    Some(Err(BackupError::Changed(summary.path.clone())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_refused_unopened() {
        let error = Backup::open("/dev/zero").unwrap_err();
        let BackupError::File { source, .. } = error else {
            unreachable!("{error:?}");
        };
        assert_eq!(source.to_string(), "it is not a regular file");
    }
}
