//! Reads files of other tools: sorts the entries, and verifies what the format allows to verify.

mod bbolt;
mod birdwatcher;
mod counting_reader;
mod dump;
mod etcd_snapshot;
mod frames;
mod gzip;
mod milvus_tool;
mod milvus_tool_v1;
mod partial;
mod root;
mod sorted;
mod write_ahead_log;

pub(super) use milvus_tool::{digest_in_order, render_header, render_pair};
pub(super) use write_ahead_log::last_log_index;

use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;

use super::bounded_reader::BoundedReader;
use super::digest::ContentDigest;
use super::messages::BackupHeader;
use super::native::MAGIC;
use super::{Coverage, Format, FormatError, Tolerance};
use frames::Frames;
use gzip::GzipContent;
use milvus_meta::entry::{Entry, printable};
use partial::{Loss, PartialPolicy};
use sorted::{Record, Records, Sorted, State};

/// The content of an imported file.
#[derive(Debug)]
pub(super) struct Import {
    pub(super) format: Format,
    pub(super) revision: i64,
    pub(super) entries: Selected,
    /// Number and digest of the selected entries.
    pub(super) count: u64,
    pub(super) digest: [u8; 32],
    pub(super) coverage: Coverage,
    pub(super) skipped_leased: u64,
    pub(super) skipped_outside: u64,
    /// What is missing from the file or was not checked.
    pub(super) notes: Vec<String>,
    /// For an etcd database: the index of the last applied entry of etcd's log.
    pub(super) raft_index: Option<u64>,
}

impl Import {
    /// Counts and hashes the selected entries.
    fn new(format: Format, entries: Selected) -> Result<Self, FormatError> {
        let mut import = Self {
            format,
            revision: 0,
            entries,
            count: 0,
            digest: [0; 32],
            coverage: Coverage::All,
            skipped_leased: 0,
            skipped_outside: 0,
            notes: Vec::new(),
            raft_index: None,
        };
        let mut digest = ContentDigest::default();
        for record in import.entries.sorted.records() {
            let Record {
                key, value, state, ..
            } = record?;
            match import.entries.classify(&key, state) {
                EntryClass::Outside => import.skipped_outside += 1,
                EntryClass::Leased => import.skipped_leased += 1,
                EntryClass::Selected if digest.push(&key, &value) => import.count += 1,
                EntryClass::Selected => return Err(too_large(&key, &value)),
            }
        }
        import.digest = digest.finish();
        Ok(import)
    }

    /// Selects entries of a file with lease ids below `root`, or below the detected root.
    fn with_leases(
        format: Format,
        entries: Sorted,
        root: Option<&str>,
    ) -> Result<Self, FormatError> {
        let root = match root {
            Some(root) => root.to_owned(),
            None => root::detect(&entries)?,
        };
        let import = Self::new(format, Selected::new(entries, root))?;
        match import.count {
            0 => Err(FormatError::NothingBelowRoot(
                import.entries.root.to_string(),
            )),
            _ => Ok(import),
        }
    }

    /// Adds a note about a stream that ends before its checksum.
    fn without_checksum(mut self) -> Self {
        self.notes.push(
            "the compressed stream ends before its checksum, so what was read could not be checked with it"
                .to_owned(),
        );
        self
    }

    /// Adds a note about missing data.
    fn with(mut self, loss: Loss) -> Self {
        if loss.of_entries {
            self.coverage = Coverage::Entries;
        }
        self.notes.push(loss.missing);
        self
    }
}

/// The entries of an imported file below a root, without leased keys.
#[derive(Debug, Clone)]
pub(super) struct Selected {
    sorted: Sorted,
    pub(super) root: Arc<str>,
    /// Whether to recognize sessions by their keys, because the file has no lease ids.
    omit_sessions: bool,
}

/// Where an entry of a file belongs.
enum EntryClass {
    Selected,
    Leased,
    Outside,
}

impl Selected {
    fn new(sorted: Sorted, root: String) -> Self {
        Self {
            sorted,
            root: root.into(),
            omit_sessions: false,
        }
    }

    fn classify(&self, key: &[u8], state: State) -> EntryClass {
        match root::strip(&self.root, key) {
            None => EntryClass::Outside,
            Some(relative) if self.omit_sessions && is_session(relative) => EntryClass::Leased,
            Some(_) if state == State::Leased => EntryClass::Leased,
            Some(_) => EntryClass::Selected,
        }
    }

    /// Whether `matches_key` is true for every selected key, relative to the root.
    fn all_of(&self, matches_key: impl Fn(&[u8]) -> bool) -> Result<bool, FormatError> {
        let is_mismatch = |key: &[u8]| {
            matches!(self.classify(key, State::Live), EntryClass::Selected)
                && !root::strip(&self.root, key).is_some_and(&matches_key)
        };
        self.sorted.any(is_mismatch).map(|found| !found)
    }

    /// The entries in ascending key order.
    pub(super) fn iter(&self) -> SelectedEntries {
        SelectedEntries {
            records: self.sorted.records(),
            selected: self.clone(),
        }
    }
}

pub(super) struct SelectedEntries {
    records: Records,
    selected: Selected,
}

impl Iterator for SelectedEntries {
    type Item = Result<Entry, FormatError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let record = match self.records.next()? {
                Ok(record) => record,
                Err(error) => return Some(Err(error)),
            };
            if let EntryClass::Selected = self.selected.classify(&record.key, record.state) {
                return Some(Ok(Entry::new(record.key, record.value)));
            }
        }
    }
}

/// Whether a relative key is a session. `session/id`, the counter of server ids, is not.
fn is_session(relative: &[u8]) -> bool {
    relative.starts_with(b"session/") && relative != b"session/id"
}

/// The error for an entry that exceeds the limit.
pub(super) fn too_large(key: &[u8], value: &[u8]) -> FormatError {
    FormatError::EntryTooLarge {
        key: printable(key),
        bytes: key.len() as u64 + value.len() as u64,
        limit: super::digest::ENTRY_LIMIT,
    }
}

/// The kind of file that the first bytes indicate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Guess {
    /// The native magic, possibly truncated.
    Native,
    /// The magic of a bbolt meta page.
    EtcdSnapshot,
    /// A gzip stream.
    Gzip,
    /// A JSON object: output of etcdctl, or a line of `inspect --raw`.
    Json,
    /// A protobuf message that starts like etcd's range response.
    Protobuf,
    /// No known signature; may be a file of the official tool.
    Frames,
}

/// Number of bytes that [`Guess::of`] needs: up to the end of the second meta page of an etcd
/// database.
pub(super) const GUESS_BYTES: usize = bbolt::SECOND_META_END;

impl Guess {
    /// Guesses from the first [`GUESS_BYTES`] of a file, or all of a shorter one.
    pub(super) fn of(start: &[u8]) -> Result<Self, FormatError> {
        if start.is_empty() {
            return Err(FormatError::Empty);
        }
        if start.starts_with(&MAGIC) || MAGIC.starts_with(start) {
            return Ok(Self::Native);
        }
        if start.starts_with(&[0x1f, 0x8b]) {
            return Ok(Self::Gzip);
        }
        if bbolt::is_database(start) {
            return Ok(Self::EtcdSnapshot);
        }
        if dump::is_json(start) {
            return Ok(Self::Json);
        }
        if dump::is_protobuf(start) {
            return Ok(Self::Protobuf);
        }
        if dump::is_printed(start) {
            return Err(FormatError::PrintedKeys);
        }
        if is_text(start) {
            return Err(FormatError::Unknown(String::from("it is text")));
        }
        Ok(Self::Frames)
    }
}

/// Whether a file starts with text. The length of a frame has zeros at this position.
fn is_text(start: &[u8]) -> bool {
    let mut bytes = start.iter().take(8);
    bytes.all(|byte| !byte.is_ascii_control() || byte.is_ascii_whitespace())
}

/// Reads a complete file of another tool. `hint` is the meta root if the file does not name one.
pub(super) fn read<R: Read + Seek>(
    guess: Guess,
    mut file: R,
    hint: Option<&str>,
    tolerance: Tolerance,
) -> Result<Import, FormatError> {
    file.seek(SeekFrom::Start(0))
        .map_err(|source| FormatError::Read { offset: 0, source })?;
    let reader = std::io::BufReader::with_capacity(256 << 10, file);
    let partial = PartialPolicy::new(tolerance.allow_partial);
    match guess {
        Guess::EtcdSnapshot => {
            etcd_snapshot::read(reader.into_inner(), hint, tolerance.skip_hash_check)
        }
        Guess::Gzip => {
            let mut frames = Frames::new(GzipContent::new(reader));
            let import = read_frames(&mut frames, Wrapping::Gzip, hint, partial)?;
            match frames.drain() {
                Ok(()) => {}
                // The checksum is at the end of the stream, so the entries cannot be verified.
                Err(FormatError::Truncated { .. }) if !import.notes.is_empty() => {
                    return Ok(import.without_checksum());
                }
                Err(error) => return Err(error),
            }
            // Data after the first stream is not part of the backup.
            let mut rest = frames.into_inner().into_inner();
            let offset = rest.stream_position().unwrap_or_default();
            match BoundedReader::new(rest).expect_end() {
                Err(FormatError::TrailingBytes { .. }) => {
                    Err(FormatError::TrailingBytes { offset })
                }
                other => other.map(|()| import),
            }
        }
        Guess::Json => dump::read_json(reader, hint, partial),
        Guess::Protobuf => dump::read_protobuf(reader, hint, partial),
        Guess::Native | Guess::Frames => {
            read_frames(&mut Frames::new(reader), Wrapping::Bare, hint, partial)
        }
    }
}

/// Whether the frames were in a gzip stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrapping {
    Bare,
    Gzip,
}

/// Reads the formats with frames; the header distinguishes them.
fn read_frames<R: Read>(
    frames: &mut Frames<R>,
    wrapping: Wrapping,
    hint: Option<&str>,
    partial: PartialPolicy,
) -> Result<Import, FormatError> {
    let header = frames.header()?;
    match header.version {
        0 | 1 => {
            if header.instance.is_empty() {
                return Err(FormatError::Unknown(String::from(
                    "its first frame names no instance",
                )));
            }
            read_versions_0_and_1(frames, wrapping, &header, hint, partial)
        }
        2 => birdwatcher::read_parts(frames, hint, partial),
        found if found > 2 => Err(FormatError::NewerFormat {
            found: i64::from(found),
            supported: 2,
        }),
        found => Err(FormatError::Unknown(format!(
            "its first frame has version {found}"
        ))),
    }
}

fn read_versions_0_and_1<R: Read>(
    frames: &mut Frames<R>,
    wrapping: Wrapping,
    header: &BackupHeader,
    hint: Option<&str>,
    partial: PartialPolicy,
) -> Result<Import, FormatError> {
    let absolute_keys = milvus_tool::has_absolute_keys(header)?;
    let (entries, loss) = milvus_tool::read_entries(frames, header.entries, partial)?;
    let import = match (wrapping, header.version, absolute_keys) {
        (_, 0, true) => milvus_tool::with_absolute_keys(header, entries),
        (Wrapping::Bare, 0, false) => milvus_tool_v1::read(header, &entries, hint),
        (Wrapping::Gzip, _, _) | (Wrapping::Bare, _, _) => birdwatcher::version_1(header, entries),
    }?;
    Ok(loss.into_iter().fold(import, Import::with))
}

#[cfg(test)]
mod tests;
