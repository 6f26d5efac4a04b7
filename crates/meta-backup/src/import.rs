//! Files that others wrote. They come unsorted, so all of a file is taken into memory and sorted; then
//! they are checked as far as their formats allow.

mod bbolt;
mod birdwatcher;
mod etcd_snapshot;
mod etcdctl;
mod frames;
mod gzip;
mod milvus_tool;
mod milvus_tool_v1;
mod partial;
mod root;
mod write_ahead_log;

pub(super) use milvus_tool::{digest_in_order, render_header, render_pair};
pub(super) use write_ahead_log::last_log_index;

use std::io::{Read, Seek, SeekFrom};

use super::bounded_reader::BoundedReader;
use super::digest::ContentDigest;
use super::messages::BackupHeader;
use super::native::MAGIC;
use super::{Coverage, Format, FormatError, Tolerance};
use frames::Frames;
use gzip::GzipContent;
use milvus_meta::entry::{Entry, printable};
use partial::{Loss, Partial};

/// A key and its value as a file of another tool holds them.
pub(super) type Pair = (Vec<u8>, Vec<u8>);

/// The content of an imported file.
#[derive(Debug)]
pub(super) struct Import {
    pub(super) format: Format,
    pub(super) meta_root: String,
    pub(super) revision: i64,
    /// Ascending, every key once, all below the meta root.
    pub(super) entries: Vec<Entry>,
    pub(super) coverage: Coverage,
    pub(super) skipped_leased: u64,
    pub(super) skipped_outside: u64,
    /// What is missing or was not checked.
    pub(super) notes: Vec<String>,
    /// Of an etcd database: the last request of etcd's log that is in it.
    pub(super) raft_index: Option<u64>,
}

impl Import {
    /// Sorts what was read. The same key twice with the same value is once; with two values nobody
    /// can say which is right.
    fn new(format: Format, meta_root: String, mut pairs: Vec<Pair>) -> Result<Self, FormatError> {
        pairs.sort_unstable();
        pairs.dedup();
        for neighbours in pairs.windows(2) {
            if let [(key, _), (next, _)] = neighbours
                && key == next
            {
                return Err(FormatError::DuplicateKey {
                    key: printable(key),
                });
            }
        }
        let entries = pairs
            .into_iter()
            .map(|(key, value)| Entry::new(key, value))
            .collect();
        Ok(Self {
            format,
            meta_root,
            revision: 0,
            entries,
            coverage: Coverage::All,
            skipped_leased: 0,
            skipped_outside: 0,
            notes: Vec::new(),
            raft_index: None,
        })
    }

    /// Marks a stream that ends before its checksum.
    fn without_checksum(mut self) -> Self {
        self.notes.push(
            "the compressed stream ends before its checksum, so what was read could not be checked with it"
                .to_owned(),
        );
        self
    }

    /// Marks what is missing.
    fn with(mut self, loss: Loss) -> Self {
        if loss.of_entries {
            self.coverage = Coverage::Entries;
        }
        self.notes.push(loss.missing);
        self
    }

    /// The digest of the content.
    pub(super) fn digest(&self) -> Result<[u8; 32], FormatError> {
        let mut digest = ContentDigest::default();
        for entry in &self.entries {
            if !digest.push(&entry.key, &entry.value) {
                return Err(too_large(&entry.key, &entry.value));
            }
        }
        Ok(digest.finish())
    }
}

/// The error for an entry beyond the limit.
pub(super) fn too_large(key: &[u8], value: &[u8]) -> FormatError {
    FormatError::EntryTooLarge {
        key: printable(key),
        bytes: key.len() as u64 + value.len() as u64,
        limit: super::digest::ENTRY_LIMIT,
    }
}

/// What the first bytes of a file show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Guess {
    /// The native magic, whole or as far as the file goes.
    Native,
    /// The magic of a bbolt meta page.
    EtcdSnapshot,
    /// A gzip stream.
    Gzip,
    /// A JSON object.
    Json,
    /// A protobuf message that begins as etcd's range response does.
    Protobuf,
    /// Nothing that stands out: perhaps the official tool's.
    Frames,
}

/// How many bytes [`Guess::of`] looks at: as far as the second meta page of any etcd database.
pub(super) const GUESS_BYTES: usize = bbolt::SECOND_META_END;

impl Guess {
    /// Looks at the first bytes of a file, [`GUESS_BYTES`] of them where there are so many.
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
        if etcdctl::is_json(start) {
            return Ok(Self::Json);
        }
        if etcdctl::is_protobuf(start) {
            return Ok(Self::Protobuf);
        }
        Ok(Self::Frames)
    }
}

/// Reads a complete file of another tool. `hint` is the meta root to use where the file does not name one.
pub(super) fn read<R: Read + Seek>(
    guess: Guess,
    mut file: R,
    hint: Option<&str>,
    tolerance: Tolerance,
) -> Result<Import, FormatError> {
    file.seek(SeekFrom::Start(0))
        .map_err(|source| FormatError::Read { offset: 0, source })?;
    let reader = std::io::BufReader::with_capacity(256 << 10, file);
    let partial = Partial::new(tolerance.allow_partial);
    match guess {
        Guess::EtcdSnapshot => {
            etcd_snapshot::read(reader.into_inner(), hint, tolerance.skip_hash_check)
        }
        Guess::Gzip => {
            let mut frames = Frames::new(GzipContent::new(reader));
            let import = read_frames(&mut frames, Packing::Gzip, (hint, partial))?;
            match frames.drain() {
                Ok(()) => {}
                // The end of the stream has its checksum: what was read cannot be proved then.
                Err(FormatError::Truncated { .. }) if !import.notes.is_empty() => {
                    return Ok(import.without_checksum());
                }
                Err(error) => return Err(error),
            }
            // Another stream, or anything else, behind the first is not part of the backup.
            let mut rest = frames.into_inner().into_inner();
            let offset = rest.stream_position().unwrap_or_default();
            match BoundedReader::new(rest).expect_end() {
                Err(FormatError::TrailingBytes { .. }) => {
                    Err(FormatError::TrailingBytes { offset })
                }
                other => other.map(|()| import),
            }
        }
        Guess::Json => etcdctl::read_json(reader, hint, partial),
        Guess::Protobuf => etcdctl::read_protobuf(reader, hint, partial),
        Guess::Native | Guess::Frames => {
            read_frames(&mut Frames::new(reader), Packing::Bare, (hint, partial))
        }
    }
}

/// Whether the frames came out of a gzip stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packing {
    Bare,
    Gzip,
}

/// The formats made of frames, distinguished by their header.
fn read_frames<R: Read>(
    frames: &mut Frames<R>,
    packing: Packing,
    (hint, partial): (Option<&str>, Partial),
) -> Result<Import, FormatError> {
    let header = frames.header()?;
    match header.version {
        0 | 1 => {
            if header.instance.is_empty() {
                return Err(FormatError::Unknown {
                    reason: String::from("its first frame names no instance"),
                });
            }
            read_versions_0_and_1(frames, packing, &header, (hint, partial))
        }
        2 => birdwatcher::read_parts(frames, hint, partial),
        found if found > 2 => Err(FormatError::NewerFormat {
            found: i64::from(found),
            supported: 2,
        }),
        found => Err(FormatError::Unknown {
            reason: format!("its first frame has version {found}"),
        }),
    }
}

fn read_versions_0_and_1<R: Read>(
    frames: &mut Frames<R>,
    packing: Packing,
    header: &BackupHeader,
    (hint, partial): (Option<&str>, Partial),
) -> Result<Import, FormatError> {
    let absolute_keys = milvus_tool::has_absolute_keys(header)?;
    let (pairs, loss) = milvus_tool::read_pairs(frames, header.entries, partial)?;
    let import = match (packing, header.version, absolute_keys) {
        (_, 0, true) => milvus_tool::with_absolute_keys(header, pairs),
        (Packing::Bare, 0, false) => milvus_tool_v1::read(header, pairs, hint),
        (Packing::Gzip, _, _) | (Packing::Bare, _, _) => birdwatcher::version_1(header, pairs),
    }?;
    Ok(loss.into_iter().fold(import, Import::with))
}

#[cfg(test)]
mod tests;
