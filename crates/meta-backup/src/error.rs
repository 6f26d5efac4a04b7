//! Errors in backup files, and errors when they are written or read.

use std::io;
use std::path::{Path, PathBuf};

use super::mounts::Ephemeral;
use milvus_meta::entry::printable;
use milvus_meta::plural::{agree, counted};

/// A problem with the content of a backup.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// The file has no content.
    #[error("the file is empty")]
    Empty,
    /// The start matches no format.
    #[error(
        "not a backup of any known format (tried native, etcd snapshot, birdwatcher, official, etcdctl, inspect): \
         {0}"
    )]
    Unknown(String),
    /// The file ends before the backup does.
    #[error("cut short in {part}, at byte {offset}")]
    Truncated {
        /// The structure that is incomplete.
        part: &'static str,
        /// The end of the file.
        offset: u64,
    },
    /// A checksum does not match.
    #[error("altered: the checksum of {part} does not match (near byte {offset})")]
    Altered {
        /// The structure that the checksum covers.
        part: &'static str,
        /// The end of that structure.
        offset: u64,
    },
    /// A copy of etcd's database file from a data folder, without the hash of a snapshot.
    #[error(
        "an etcd database file without the SHA-256 that etcdctl snapshot save appends: a copy of member/snap/db"
    )]
    NoHash,
    /// Keys and values printed for people, by `etcdctl get` without `-w`.
    #[error(
        "the text that etcdctl get prints, in which binary values are not distinguishable: run etcdctl get \
         --prefix again with -w json"
    )]
    PrintedKeys,
    /// An incomplete file that can be used in part.
    #[error("incomplete: {0}")]
    Partial(String),
    /// A file with too many nested packings.
    #[error("packed more than {0} times")]
    TooDeep(usize),
    /// An archive without a unique backup.
    #[error(
        "an archive of {} files without exactly one backup ({}): unpack it and specify the file",
        .0.len(),
        some(.0)
    )]
    NoSingleFile(Vec<String>),
    /// An archive with too many files.
    #[error("an archive of more than {0} files: unpack it and specify the backup")]
    TooManyFiles(usize),
    /// Data follows the end of the backup.
    #[error("data follows the end of the backup, from byte {offset} on")]
    TrailingBytes {
        /// The end of the backup.
        offset: u64,
    },
    /// A newer release wrote the file.
    #[error("format version {found} is newer than {supported}, the newest that this release reads")]
    NewerFormat {
        /// The version in the file.
        found: i64,
        /// The newest supported version.
        supported: i64,
    },
    /// A length that exceeds the limit.
    #[error("a length of {length} bytes in {part} is beyond the limit of {limit} (byte {offset})")]
    ImplausibleLength {
        /// The structure with the length.
        part: &'static str,
        /// The length in the file.
        length: u64,
        /// The limit.
        limit: u64,
        /// The offset of the length.
        offset: u64,
    },
    /// A gzip stream with an implausible compression ratio.
    #[error(
        "it unpacks to more than {ratio} times its size (byte {offset} of the content), which no \
         backup does; if it is a valid backup anyway, unpack it with gunzip first"
    )]
    TooDense {
        /// Maximum ratio of the unpacked size to the file size.
        ratio: u64,
        /// The number of unpacked bytes read.
        offset: u64,
    },
    /// Content that violates the format although no data is missing.
    #[error("{part} is malformed (near byte {offset}): {reason}")]
    Malformed {
        /// The malformed structure.
        part: &'static str,
        /// The end of the structure.
        offset: u64,
        /// The violation.
        reason: String,
    },
    /// The entries of a format with sorted keys are not sorted.
    #[error("the key {0:?} does not sort after the previous key")]
    KeyOrder(String),
    /// A key with two different values.
    #[error("the key {0:?} occurs twice, with different values")]
    DuplicateKey(String),
    /// A key outside the meta root of the backup.
    #[error("the key {key:?} is not below the meta root {root:?}")]
    OutsideRoot {
        /// The key.
        key: String,
        /// The backup's meta root.
        root: String,
    },
    /// The number of entries is not the announced one.
    #[error("the file announces {}, and {found} {} present", counted(*.announced, "entry"), agree(*.found, "is", "are"))]
    EntryCount {
        /// The announced number.
        announced: u64,
        /// The number of entries present.
        found: u64,
    },
    /// An entry that exceeds the size limit.
    #[error("the entry {key:?} has {bytes} bytes, more than the limit of {limit}")]
    EntryTooLarge {
        /// The key.
        key: String,
        /// Size of key and value in bytes.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// The file does not name its meta root, and none is found by its keys.
    #[error("no key in it belongs to Milvus metadata; specify its root path if it has one")]
    NoRoot,
    /// The file contains several instances.
    #[error("it contains the metadata of several instances ({}); specify the root path of one", .0.join(", "))]
    SeveralRoots(Vec<String>),
    /// No key is below the meta root that the file or the user specifies.
    #[error("no key in it is below the meta root {0:?}")]
    NothingBelowRoot(String),
    /// A relative key in the older official format whose complete form cannot be determined.
    #[error("the incomplete key {key:?} cannot be repaired: {reason}")]
    Unrepairable {
        /// The key in the file.
        key: String,
        /// The reason.
        reason: String,
    },
    /// Writing or reading a temporary file failed.
    #[error("a temporary file in {} failed", folder.display())]
    Temporary {
        /// The folder of temporary files.
        folder: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Reading the file failed.
    #[error("failed to read at byte {offset}")]
    Read {
        /// The offset.
        offset: u64,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

impl FormatError {
    pub(super) fn temporary(source: io::Error) -> Self {
        let folder = tempfile::env::temp_dir();
        Self::Temporary { folder, source }
    }
}

/// The first names of a list, for an error message.
fn some(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<_> = names
        .iter()
        .take(SHOWN)
        .map(|name| printable(name.as_bytes()))
        .collect();
    let more = if names.len() > SHOWN { ", ..." } else { "" };
    format!("{}{more}", shown.join(", "))
}

/// An error when a backup is written, read, or managed.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The file is not a usable backup.
    #[error("{} is not a usable backup", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The problem.
        #[source]
        source: FormatError,
    },
    /// An operation on a file or folder failed.
    #[error("cannot {action} {}", path.display())]
    File {
        /// The operation, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The device is full. The partial file is removed.
    #[error("no space left on {}: no backup was written", device_of(path))]
    DiskFull {
        /// The file being written.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// An entry that the backup cannot contain.
    #[error("an entry cannot be written to {}", path.display())]
    Entry {
        /// The file being written.
        path: PathBuf,
        /// The problem with the entry.
        #[source]
        source: FormatError,
    },
    /// The file differs from what was written. It was removed.
    #[error("the backup {} failed read-back verification and was removed", path.display())]
    ReadBack {
        /// The file.
        path: PathBuf,
        /// The problem; `None` if the file is a valid but different backup.
        #[source]
        source: Option<FormatError>,
    },
    /// The path is not that of a regular file.
    #[error("cannot write a backup to {}: it is {what}", path.display())]
    NotRegular {
        /// The path.
        path: PathBuf,
        /// What the path refers to.
        what: &'static str,
    },
    /// The path is not UTF-8, so that journal and report cannot contain it.
    #[error("cannot write a backup to {}: the path is not valid UTF-8", .0.display())]
    NotUtf8(PathBuf),
    /// The file would be deleted with the container in which the program runs.
    #[error("cannot write a backup to {}: {}", path.display(), loss_reason(*why))]
    Ephemeral {
        /// The path.
        path: PathBuf,
        /// The reason.
        why: Ephemeral,
    },
    /// A stream in a format that needs the number of entries at the start.
    #[error("only the native format can be written to a stream, and {} is one", .0.display())]
    StreamFormat(PathBuf),
    /// All alternative names are taken.
    #[error("every alternative name for {} is taken by another file", .0.display())]
    NoFreeName(PathBuf),
    /// A compression level outside the range.
    #[error("compression level {0} is not between {least} and {most}", least = super::LEAST_LEVEL, most = super::GREATEST_LEVEL)]
    Level(i32),
    /// A compression thread panicked.
    #[error("a compression thread ended unexpectedly")]
    Worker,
    /// A file changed after the prune plan was made or the file was verified.
    #[error("{} changed since it was checked", .0.display())]
    Changed(PathBuf),
}

pub(super) const OPEN: &str = "open backup file";

pub(super) const READ: &str = "read backup file";

/// The operation of writing or reading a temporary file.
const TEMPORARY: &str = "use a temporary file (set TMPDIR to a folder with enough free space) in";

fn loss_reason(why: Ephemeral) -> &'static str {
    match why {
        Ephemeral::Layer => "that folder is part of the container and is deleted with it",
        Ephemeral::Memory => "that folder is in the container's memory (tmpfs) and is lost with it",
        Ephemeral::PodVolume => "that folder is an emptyDir volume and is deleted with the pod",
    }
}

impl BackupError {
    /// Creates an error for a failed file operation; a full device has its own variant.
    pub(super) fn file(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        let is_full = matches!(
            source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        );
        if is_full {
            return Self::DiskFull { path, source };
        }
        Self::File {
            action,
            path,
            source,
        }
    }

    /// Creates an error for invalid content. Read errors become [`Self::File`].
    pub(super) fn invalid(path: &Path, source: FormatError) -> Self {
        if let FormatError::Read { source, .. } = source {
            return Self::file(READ, path, source);
        }
        if let FormatError::Temporary { folder, source } = source {
            return Self::File {
                action: TEMPORARY,
                path: folder,
                source,
            };
        }
        Self::Invalid {
            path: path.to_owned(),
            source,
        }
    }

    /// The problem with the file's content, if the error is one.
    #[must_use]
    pub fn format_error(&self) -> Option<&FormatError> {
        let Self::Invalid { source, .. } = self else {
            return None;
        };
        Some(source)
    }

    /// The meta roots in a file with several instances; empty for other errors.
    #[must_use]
    pub fn instances(&self) -> &[String] {
        match self.format_error() {
            Some(FormatError::SeveralRoots(roots)) => roots,
            Some(_) | None => &[],
        }
    }

    /// Whether the file contains several instances and none was selected.
    #[must_use]
    pub fn holds_several_instances(&self) -> bool {
        !self.instances().is_empty()
    }

    /// Whether the path itself is unusable, independent of the content.
    #[must_use]
    pub fn is_wrong_path(&self) -> bool {
        matches!(
            self,
            Self::NotRegular { .. } | Self::NotUtf8 { .. } | Self::StreamFormat { .. }
        )
    }

    /// Whether a backup to read does not exist.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::File { action: OPEN, source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// Whether opening or reading a backup failed, and not writing one.
    #[must_use]
    pub fn is_reading(&self) -> bool {
        matches!(
            self,
            Self::File {
                action: OPEN | READ,
                ..
            }
        )
    }
}

/// Names the device of a file, or standard output.
fn device_of(path: &Path) -> String {
    if path == Path::new("-") {
        return "the device of standard output".to_owned();
    }
    format!("the device of {}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_device_is_a_separate_error_with_its_path() {
        let path = Path::new("/backups/a.mmb");
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded] {
            let error = BackupError::file("write", path, kind.into());
            assert!(matches!(error, BackupError::DiskFull { .. }));
            assert!(error.to_string().contains("/backups/a.mmb"), "{error}");
        }
        let error = BackupError::file("write", path, io::ErrorKind::PermissionDenied.into());
        assert_eq!(error.to_string(), "cannot write /backups/a.mmb");
    }
}
