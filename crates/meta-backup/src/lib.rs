//! Backups: files that hold everything below a meta root as it was at one revision.
//!
//! [`Writer`] writes them, [`Backup`] reads them, [`repository`] looks after a folder of them. All I/O
//! here is blocking; an asynchronous caller uses a thread for it.
//!
//! What this room promises: a backup is only reported as written after its file was synced, got its name,
//! and was read back from the device under that name; no file is ever overwritten; a file that was cut or altered anywhere, or comes from a newer release,
//! is refused by name before one entry of it is used. What it refuses to do: guess. A file that could
//! be understood in two ways is an error that says so.
//!
//! `native` is the format written by default (`docs/backup-format.md`); `import` reads the files of
//! the official tool, of birdwatcher, and of `etcdctl snapshot save`.

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
pub use options::OutputFormat;
pub use options::OutputFormatError;
pub use options::WriteOptions;
pub use place::{check_persistent, is_stream, lost_with_container};
pub use reader::{Backup, Entries, check_bytes, check_bytes_with};
pub use write_probe::check_writable;
pub use writer::Writer;

use std::path::PathBuf;

use meta_report::{BackupRef, BackupReport};
use milvus_meta::keys::Family;

/// The path that means standard output.
pub const STDOUT: &str = "-";

/// The fastest compression level.
pub const LEAST_LEVEL: i32 = 1;

/// The strongest compression level whose files can be read with 8 MiB of window.
pub const GREATEST_LEVEL: i32 = 19;

/// What a backup says about itself.
///
/// Import files know little of this: what they do not contain is empty, or 0.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Header {
    /// The release that wrote the file.
    pub tool_version: String,
    /// When it was written, in RFC 3339, UTC.
    pub created_at: String,
    /// The id of the etcd cluster it was taken from.
    pub cluster_id: String,
    /// The etcd revision it shows.
    pub revision: i64,
    /// The meta root, verbatim, without a trailing slash.
    pub meta_root: String,
    /// The Milvus release that wrote the metadata, where known.
    pub source_version: Option<String>,
    /// Keys on a lease (sessions) that were left out.
    pub skipped_leased: u64,
}

/// The formats that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// Ours.
    Native,
    /// The official tool's, with absolute keys.
    Official,
    /// The official tool's older generation: relative keys, and only what that tool had parsed.
    OfficialRelative,
    /// birdwatcher's first.
    Birdwatcher1,
    /// birdwatcher's second, in parts.
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
}

/// What a reader accepts of a file that cannot be checked in full, or is not complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tolerance {
    /// An etcd database file without the hash that a snapshot has, or with a hash that is not compared.
    pub skip_hash_check: bool,
    /// A file that ends early, or holds another number of entries than it announces.
    pub allow_partial: bool,
}

impl Tolerance {
    /// Whatever can be read, where what it must hold is known otherwise.
    pub const ALL: Self = Self {
        skip_hash_check: true,
        allow_partial: true,
    };
}

/// Which part of the metadata a backup holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Coverage {
    /// Everything below the meta root: a key that is not in it did not exist.
    All,
    /// Only these families, sorted: about a key of any other family it says nothing.
    Families(Vec<Family>),
    /// Some entries are missing, and it is not known which: about a key that is not in it it says nothing.
    Entries,
}

impl Coverage {
    /// The names of the families, where it is not everything.
    #[must_use]
    pub fn names(&self) -> Option<Vec<&'static str>> {
        match self {
            Self::All | Self::Entries => None,
            Self::Families(families) => Some(families.iter().map(|family| family.name()).collect()),
        }
    }
}

/// What a backup holds, after all of it was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The path of the file.
    pub path: PathBuf,
    /// Its format.
    pub format: Format,
    /// Entries in it.
    pub entries: u64,
    /// The file's size in bytes.
    pub bytes: u64,
    /// The etcd revision it shows; 0 if the file does not contain it.
    pub revision: i64,
    /// SHA-256 of the content, in hexadecimal: equal for equal content, whatever the format.
    pub digest: String,
    /// Keys on a lease (sessions) that were left out, by whoever wrote the file or by this reader.
    pub skipped_leased: u64,
    /// Keys in the file that this reader left out because they are outside the meta root.
    pub skipped_outside: u64,
    /// The meta root.
    pub meta_root: String,
    /// What the file says about itself.
    pub header: Header,
    /// Whether an existing file of the same content was found and nothing was written.
    pub reused: bool,
    /// What is missing from the file or was not checked, a sentence each.
    pub notes: Vec<String>,
}

impl Summary {
    /// The summary as the command line reports it.
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

    /// The summary as a migration mentions it.
    #[must_use]
    pub fn reference(&self) -> BackupRef {
        BackupRef {
            path: self.path.display().to_string(),
            entries: self.entries,
            digest: self.digest.clone(),
        }
    }
}
