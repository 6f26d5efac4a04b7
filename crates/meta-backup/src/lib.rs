//! Backup files: everything below a meta root at one revision.
//!
//! [`Writer`] writes them, [`Backup`] reads them, [`repository`] manages a folder of them. All I/O
//! is blocking; asynchronous callers use a thread.
//!
//! Guarantees: a backup is reported as written only after its file was synced, named, and read back
//! from the device under that name. No file is overwritten. A file that is truncated, altered, or
//! written by a newer release is rejected with a specific error before any entry is used. A file
//! that can be interpreted in two ways is an error; nothing is guessed.
//!
//! `native` is the default output format (`docs/backup-format.md`); `import` reads files of the
//! official tool, birdwatcher, `etcdctl snapshot save` and others.

mod archive;
mod atomic_file;
mod bounded_reader;
mod digest;
mod disk;
mod error;
mod etcd_folder;
mod import;
mod messages;
mod mounts;
mod native;
mod options;
mod place;
mod pool;
mod read_back;
mod reader;
pub mod repository;
mod scratch;
mod sink;
mod write_probe;
mod writer;

pub use error::{BackupError, FormatError};
pub use mounts::Ephemeral;
pub use options::{OutputFormat, WriteOptions};
pub use place::{check_persistent, is_stream, lost_with_container};
pub use reader::{Backup, Entries, check_bytes, check_bytes_with};
pub use write_probe::check_writable;
pub use writer::Writer;

use std::path::PathBuf;

use meta_report::{BackupRef, BackupReport};
use milvus_meta::keys::Family;
use serde::{Deserialize, Serialize};

/// The path that means standard output.
pub const STDOUT: &str = "-";

/// The fastest compression level.
pub const LEAST_LEVEL: i32 = 1;

/// The highest compression level whose files can be read with a window of 8 MiB.
pub const GREATEST_LEVEL: i32 = 19;

/// The header of a backup. Import files contain only some of these fields; the others are empty, or
/// 0. A native file stores it as JSON, readable with `strings`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// The release that wrote the file.
    pub tool_version: String,
    /// The creation time, in RFC 3339, UTC.
    pub created_at: String,
    /// The id of the etcd cluster.
    pub cluster_id: String,
    /// The etcd revision.
    pub revision: i64,
    /// The meta root, verbatim, without a trailing slash.
    pub meta_root: String,
    /// The Milvus release that wrote the metadata, if known.
    pub source_version: Option<String>,
    /// Number of leased keys (sessions) that were omitted. It is counted during writing, so a native file has it in
    /// its tail.
    #[serde(skip)]
    pub skipped_leased: u64,
}

/// The readable formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// The format of this project.
    Native,
    /// The format of the official tool, with absolute keys.
    Official,
    /// The older format of the official tool: relative keys, and only the families that the tool
    /// parsed.
    OfficialRelative,
    /// Version 1 of birdwatcher's format.
    Birdwatcher1,
    /// Version 2 of birdwatcher's format, which has parts.
    Birdwatcher2,
    /// A file of `etcdctl snapshot save`.
    EtcdSnapshot,
    /// The output of `etcdctl get --prefix`, as JSON or protobuf.
    Etcdctl,
    /// The output of `inspect --raw`.
    Inspect,
}

impl Format {
    /// The name used in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Official => "official",
            Self::OfficialRelative => "official-relative",
            Self::Birdwatcher1 => "birdwatcher-1",
            Self::Birdwatcher2 => "birdwatcher-2",
            Self::EtcdSnapshot => "etcd-snapshot",
            Self::Etcdctl => "etcdctl",
            Self::Inspect => "inspect",
        }
    }

    /// Whether an altered byte is noticed in a file that is not packed.
    #[must_use]
    pub fn has_checksums(self) -> bool {
        match self {
            Self::Native | Self::EtcdSnapshot => true,
            Self::Official
            | Self::OfficialRelative
            | Self::Birdwatcher1
            | Self::Birdwatcher2
            | Self::Etcdctl
            | Self::Inspect => false,
        }
    }
}

/// The checks that a reader may skip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tolerance {
    /// Accept an etcd database file without the hash of a snapshot, or with an unverified one.
    pub skip_hash_check: bool,
    /// Accept a file that ends early, or whose number of entries differs from the announced one.
    pub allow_partial: bool,
}

impl Tolerance {
    /// Accept everything; for callers that know the expected content from another source.
    pub const ALL: Self = Self {
        skip_hash_check: true,
        allow_partial: true,
    };
}

/// The part of the metadata that a backup contains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Coverage {
    /// Everything below the meta root: a key that is not in the backup did not exist.
    All,
    /// Only these families, sorted. Keys of other families are unknown.
    Families(Vec<Family>),
    /// Some entries are missing, and it is unknown which. A key that is not in the backup may have
    /// existed.
    Entries,
}

impl Coverage {
    /// The names of the families, if the coverage is limited to families.
    #[must_use]
    pub fn names(&self) -> Option<Vec<&'static str>> {
        match self {
            Self::All | Self::Entries => None,
            Self::Families(families) => Some(families.iter().map(|family| family.name()).collect()),
        }
    }
}

/// Summary of a backup that was verified completely.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The path of the file.
    pub path: PathBuf,
    /// Its format.
    pub format: Format,
    /// The number of entries.
    pub entries: u64,
    /// The file's size in bytes.
    pub bytes: u64,
    /// The etcd revision; 0 if the file does not contain it.
    pub revision: i64,
    /// SHA-256 of the content, in hexadecimal; it does not depend on the format.
    pub digest: String,
    /// Number of leased keys (sessions) omitted by the writer of the file or by this reader.
    pub skipped_leased: u64,
    /// Number of keys in the file that are outside the meta root and were omitted by this reader.
    pub skipped_outside: u64,
    /// The meta root.
    pub meta_root: String,
    /// The header.
    pub header: Header,
    /// Whether an existing file with the same content was found, so that nothing was written.
    pub reused: bool,
    /// What is missing from the file or was not checked; one sentence each.
    pub notes: Vec<String>,
}

impl Summary {
    /// The summary of a file whose content is below the meta root of its header.
    fn new(
        path: PathBuf,
        format: Format,
        header: Header,
        entries: u64,
        bytes: u64,
        digest: &[u8; 32],
    ) -> Self {
        Self {
            path,
            format,
            entries,
            bytes,
            revision: header.revision,
            digest: digest::hexadecimal(digest),
            skipped_leased: header.skipped_leased,
            skipped_outside: 0,
            meta_root: header.meta_root.clone(),
            header,
            reused: false,
            notes: Vec::new(),
        }
    }

    /// The summary for the output of a command.
    #[must_use]
    pub fn report(&self) -> BackupReport {
        BackupReport {
            path: self.path.display().to_string(),
            format: self.format.name().to_owned(),
            entries: self.entries,
            bytes: self.bytes,
            revision: self.revision,
            digest: self.digest.clone(),
            skipped_leased: self.skipped_leased,
        }
    }

    /// The reference to the backup in the report of a migration.
    #[must_use]
    pub fn reference(&self) -> BackupRef {
        BackupRef {
            path: self.path.display().to_string(),
            entries: self.entries,
            digest: self.digest.clone(),
        }
    }
}
