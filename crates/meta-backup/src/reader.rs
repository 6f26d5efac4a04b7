//! Opens backups of every known format, after all of a file was checked.

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

/// A backup whose every byte was checked, or, of [`Self::announced`], is on the first way through its
/// entries.
#[derive(Debug, Clone)]
pub struct Backup {
    summary: Summary,
    coverage: Coverage,
    source: Source,
}

/// Where the entries come from.
#[derive(Debug, Clone)]
enum Source {
    /// The native file is read again each time, and checked again: against what was found in it the
    /// first time, where that is known.
    File {
        known: Arc<OnceLock<Totals>>,
        /// What it was unpacked to, if it was packed.
        unpacked: Option<Unpacked>,
    },
    /// The entries of an imported file, sorted.
    Import(Selected),
}

impl Backup {
    /// Opens a backup of any known format and checks all of it.
    ///
    /// # Errors
    /// When the file cannot be read, is of no known format, is cut short or altered, or holds the
    /// metadata of several instances.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, BackupError> {
        Self::open_with_root(path, None)
    }

    /// As [`Self::open_with`], but of a file of our own only the beginning and the end are read: its
    /// summary is what it claims to hold. Nothing of it is to be believed before [`Self::entries`] has
    /// been read to the end, which checks all of it.
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
            // Whatever it is, or is wrong with it, reading all of it shows.
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
        let summary = native_summary(path, header, tail.entries, bytes, &tail.digest);
        Some(Self {
            summary,
            coverage: Coverage::All,
            source: Source::File {
                known: Arc::default(),
                unpacked: None,
            },
        })
    }

    /// Opens with `open` a backup whose own meta root counts. Where the file does not name one, or holds
    /// several instances, the one at `named` is used; without it these are errors.
    ///
    /// # Errors
    /// Those of `open`.
    pub fn open_instance(
        named: Option<&str>,
        open: impl Fn(Option<&str>) -> Result<Self, BackupError>,
    ) -> Result<Self, BackupError> {
        match open(None) {
            Err(BackupError::Invalid {
                source: FormatError::NoRoot | FormatError::SeveralRoots { .. },
                ..
            }) if named.is_some() => open(named),
            opened => opened,
        }
    }

    /// As [`Self::open`]; `root` is the meta root where the file does not name its own: in an etcd
    /// snapshot, in some files of birdwatcher, and where the official tool lost a leading slash.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(crate) fn open_with_root(
        path: impl AsRef<Path>,
        root: Option<&str>,
    ) -> Result<Self, BackupError> {
        Self::open_with(path, root, Tolerance::default())
    }

    /// As [`Self::open_with_root`], with the `tolerance` that the user asked for. The path may be a data
    /// folder of etcd.
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
        match Guess::of(&start).map_err(invalid)? {
            Guess::Native => {
                file.seek(SeekFrom::Start(0)).map_err(failed)?;
                let reader = BufReader::with_capacity(BUFFER_BYTES, file);
                let backup = Self::check_native(path, reader).map_err(invalid)?;
                Ok(backup.unpacked_from(bytes, unpacked))
            }
            guess @ (Guess::EtcdSnapshot
            | Guess::Gzip
            | Guess::Json
            | Guess::Protobuf
            | Guess::Frames) => {
                let mut import =
                    import::read(guess, file, named(root), tolerance).map_err(invalid)?;
                if let Some(index) = import.raft_index
                    && let Some(log) = etcd_folder::log_beside(&found)
                {
                    let note = etcd_folder::note(&log, index, import.revision);
                    import.notes.push(note);
                }
                if let Some(unpacked) = unpacked {
                    import.notes.extend(unpacked.notes);
                }
                Ok(Self::from_import(path, bytes, import))
            }
        }
    }

    fn unpacked_from(mut self, bytes: u64, from: Option<Unpacked>) -> Self {
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
            summary: native_summary(path, header, totals.entries, totals.bytes, &totals.digest),
            coverage: Coverage::All,
            source: Source::File {
                known: Arc::new(totals.into()),
                unpacked: None,
            },
        })
    }

    fn from_import(path: &Path, bytes: u64, import: Import) -> Self {
        let meta_root = import.entries.root.to_string();
        let summary = Summary {
            path: path.to_owned(),
            format: import.format,
            entries: import.count,
            bytes,
            revision: import.revision,
            digest: hexadecimal(&import.digest),
            skipped_leased: import.skipped_leased,
            skipped_outside: import.skipped_outside,
            meta_root: meta_root.clone(),
            header: Header {
                revision: import.revision,
                meta_root,
                skipped_leased: import.skipped_leased,
                ..Header::default()
            },
            reused: false,
            notes: import.notes,
        };
        Self {
            summary,
            coverage: import.coverage,
            source: Source::Import(import.entries),
        }
    }

    /// What the backup holds.
    #[must_use]
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// What the backup holds, without the backup.
    #[must_use]
    pub(crate) fn into_summary(self) -> Summary {
        self.summary
    }

    /// What the file says about itself.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.summary.header
    }

    /// The file's format.
    #[must_use]
    pub fn format(&self) -> Format {
        self.summary.format
    }

    /// Which part of the metadata the backup speaks for.
    #[must_use]
    pub fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    /// The entries, ascending by key, without revisions and leases. The iterator lives on its own.
    ///
    /// # Errors
    /// When the file cannot be opened again. An entry is an error when the file was changed since it
    /// was checked.
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
                    Some(_) => Decoder::again(reader),
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

fn native_summary(
    path: &Path,
    header: Header,
    entries: u64,
    bytes: u64,
    digest: &[u8; 32],
) -> Summary {
    Summary {
        path: path.to_owned(),
        format: Format::Native,
        entries,
        bytes,
        revision: header.revision,
        digest: hexadecimal(digest),
        skipped_leased: header.skipped_leased,
        skipped_outside: 0,
        meta_root: header.meta_root.clone(),
        header,
        reused: false,
        notes: Vec::new(),
    }
}

/// The root that the user names, if it is one.
fn named(root: Option<&str>) -> Option<&str> {
    root.map(|root| root.trim_end_matches('/'))
        .filter(|root| !root.is_empty())
}

/// Checks a backup that is in memory, as [`Backup::open_with_root`] checks a file. The path in
/// the summary is empty.
///
/// # Errors
/// What is wrong with the bytes.
pub fn check_bytes(bytes: &[u8], root: Option<&str>) -> Result<Summary, FormatError> {
    check_bytes_with(bytes, root, Tolerance::default())
}

/// As [`check_bytes`], with this `tolerance`.
///
/// # Errors
/// What is wrong with the bytes.
pub fn check_bytes_with(
    bytes: &[u8],
    root: Option<&str>,
    tolerance: Tolerance,
) -> Result<Summary, FormatError> {
    let path = Path::new("");
    let start = bytes.get(..GUESS_BYTES).unwrap_or(bytes);
    let backup = match Guess::of(start)? {
        Guess::Native => Backup::check_native(path, bytes)?,
        guess @ (Guess::EtcdSnapshot
        | Guess::Gzip
        | Guess::Json
        | Guess::Protobuf
        | Guess::Frames) => {
            let import = import::read(guess, Cursor::new(bytes), named(root), tolerance)?;
            Backup::from_import(path, bytes.len() as u64, import)
        }
    };
    Ok(backup.summary)
}

/// The entries of a backup, ascending by key. After an error there is nothing more.
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
    Some(Err(BackupError::Changed {
        path: summary.path.clone(),
    }))
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
