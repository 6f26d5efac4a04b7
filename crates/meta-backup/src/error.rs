//! What can be wrong with a backup file, and what can go wrong while one is written or read.

use std::io;
use std::path::{Path, PathBuf};

use super::mounts::Ephemeral;
use milvus_meta::entry::printable;
use milvus_meta::plural::{agree, counted};

/// What is wrong with the bytes of a backup.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// There is not one byte.
    #[error("the file is empty")]
    Empty,
    /// The beginning fits no format.
    #[error(
        "not a backup of any known format (tried native, etcd snapshot, birdwatcher, official, etcdctl, inspect): \
         {reason}"
    )]
    Unknown {
        /// Why the last format tried does not fit.
        reason: String,
    },
    /// The bytes end before the backup does.
    #[error("cut short in {part}, at byte {offset}")]
    Truncated {
        /// What ends too early.
        part: &'static str,
        /// Where the bytes end.
        offset: u64,
    },
    /// A checksum does not match.
    #[error("altered: the checksum of {part} does not match (near byte {offset})")]
    Altered {
        /// What the checksum covers.
        part: &'static str,
        /// Where that ends.
        offset: u64,
    },
    /// An etcd database file as it is in a data folder: complete, and without the hash of a snapshot.
    #[error(
        "an etcd database file without the SHA-256 that etcdctl snapshot save appends: a copy of member/snap/db"
    )]
    NoHash,
    /// A file of which a part can be used.
    #[error("incomplete: {missing}")]
    Partial {
        /// What is missing, and what is there.
        missing: String,
    },
    /// A file that is packed in a packed file, again and again.
    #[error("packed more than {limit} times")]
    TooDeep {
        /// How deep packings may be nested.
        limit: usize,
    },
    /// An archive in which no single file stands out as the backup.
    #[error(
        "an archive of {} files, of which none or several are backups ({}): unpack it and name one",
        names.len(),
        some(names)
    )]
    NoSingleFile {
        /// The files in it.
        names: Vec<String>,
    },
    /// An archive of very many files.
    #[error("an archive of more than {limit} files: unpack it and name the backup")]
    TooManyFiles {
        /// The most files of an archive that is read.
        limit: usize,
    },
    /// There is more where the end should be.
    #[error("data follows the end of the backup, from byte {offset} on")]
    TrailingBytes {
        /// Where the backup ends.
        offset: u64,
    },
    /// A newer release wrote it.
    #[error("format version {found} is newer than {supported}, the newest that this release reads")]
    NewerFormat {
        /// The version in the file.
        found: i64,
        /// The newest known version.
        supported: i64,
    },
    /// A length that no backup has.
    #[error("a length of {length} bytes in {part} is beyond the limit of {limit} (byte {offset})")]
    ImplausibleLength {
        /// What has the length.
        part: &'static str,
        /// The length the file claims.
        length: u64,
        /// The limit.
        limit: u64,
        /// The position of the length.
        offset: u64,
    },
    /// A gzip stream that unpacks to far more than any backup.
    #[error(
        "it unpacks to more than {ratio} times its size (byte {offset} of the content), which no \
         backup does; if it is a valid backup anyway, unpack it with gunzip first"
    )]
    TooDense {
        /// The most it may unpack to, as a multiple of its size.
        ratio: u64,
        /// How far the content was read.
        offset: u64,
    },
    /// Something that does not follow the format although it is all there.
    #[error("{part} is malformed (near byte {offset}): {reason}")]
    Malformed {
        /// What is malformed.
        part: &'static str,
        /// Where it ends.
        offset: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// Entries of a format that has them in order are not in order.
    #[error("the key {key:?} does not sort after the previous key")]
    KeyOrder {
        /// The later key.
        key: String,
    },
    /// One key, two values.
    #[error("the key {key:?} occurs twice, with different values")]
    DuplicateKey {
        /// The key.
        key: String,
    },
    /// A key that cannot belong to the backup.
    #[error("the key {key:?} is not below the meta root {root:?}")]
    OutsideRoot {
        /// The key.
        key: String,
        /// The backup's meta root.
        root: String,
    },
    /// The count of entries differs from what the file announces.
    #[error("the file announces {}, and {found} {} present", counted(*.announced, "entry"), agree(*.found, "is", "are"))]
    EntryCount {
        /// The count the file gives.
        announced: u64,
        /// The count found.
        found: u64,
    },
    /// An entry that no etcd can hold.
    #[error("the entry {key:?} has {bytes} bytes, more than the limit of {limit}")]
    EntryTooLarge {
        /// The key.
        key: String,
        /// Bytes of key and value.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// The file does not name its meta root, and its keys do not show it.
    #[error("no key in it belongs to Milvus metadata; name its root path if it has one")]
    NoRoot,
    /// The file holds the metadata of several instances.
    #[error("it holds the metadata of several instances ({}); name the root path of one", roots.join(", "))]
    SeveralRoots {
        /// The roots found, sorted.
        roots: Vec<String>,
    },
    /// No key is below the meta root that the file or the user names.
    #[error("no key in it is below the meta root {root:?}")]
    NothingBelowRoot {
        /// The meta root.
        root: String,
    },
    /// A key of the official tool's older format that cannot be brought into its real form.
    #[error("the incomplete key {key:?} cannot be repaired: {reason}")]
    Unrepairable {
        /// The key as the file has it.
        key: String,
        /// Why not.
        reason: String,
    },
    /// A temporary file could not be written or read.
    #[error("a temporary file in {} failed", folder.display())]
    Temporary {
        /// The folder of temporary files.
        folder: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The file could not be read.
    #[error("failed to read at byte {offset}")]
    Read {
        /// How far reading came.
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

/// The first names of a list.
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

/// A backup that could not be written, read, or managed.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The file is no backup that may be used.
    #[error("{} is not a usable backup", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: FormatError,
    },
    /// An operation on a file or folder failed.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The device is full. Nothing half-written stays behind.
    #[error("no space left on the device of {}: no backup was written", path.display())]
    DiskFull {
        /// The file that was written.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// An entry that cannot go into the backup.
    #[error("an entry cannot be written to {}", path.display())]
    Entry {
        /// The file that was written.
        path: PathBuf,
        /// What is wrong with the entry.
        #[source]
        source: FormatError,
    },
    /// What was written does not read back the same. The file was removed again.
    #[error("the backup {} failed read-back verification and was removed", path.display())]
    ReadBack {
        /// The file that was written.
        path: PathBuf,
        /// What is wrong with it; `None` where it is another backup than the one written.
        #[source]
        source: Option<FormatError>,
    },
    /// The path leads to something that is not a regular file.
    #[error("cannot write a backup to {}: it is {what}", path.display())]
    NotRegular {
        /// The path.
        path: PathBuf,
        /// What it leads to.
        what: &'static str,
    },
    /// The path is not UTF-8, so neither journal nor report can name the file.
    #[error("cannot write a backup to {}: the path is not valid UTF-8", path.display())]
    NotUtf8 {
        /// The path.
        path: PathBuf,
    },
    /// The file would be lost with the container that the program runs in.
    #[error("cannot write a backup to {}: {}", path.display(), lost(*why))]
    Ephemeral {
        /// The path.
        path: PathBuf,
        /// Why it would be lost.
        why: Ephemeral,
    },
    /// A stream was asked for in a format that begins with the number of entries.
    #[error("only the native format can be written to a stream, and {} is one", path.display())]
    StreamFormat {
        /// The path.
        path: PathBuf,
    },
    /// No free name was found beside the target.
    #[error("every alternative name for {} is taken by another file", path.display())]
    NoFreeName {
        /// The target.
        path: PathBuf,
    },
    /// A compression level that does not exist.
    #[error("compression level {level} is not between {least} and {most}", least = super::LEAST_LEVEL, most = super::GREATEST_LEVEL)]
    Level {
        /// The level asked for.
        level: i32,
    },
    /// A thread that compresses ended unexpectedly.
    #[error("a compression thread ended unexpectedly")]
    Worker,
    /// A file is no longer what it was when the plan was made.
    #[error("{} changed since it was checked", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
}

/// The action of opening a backup.
pub(super) const OPEN: &str = "open backup file";

/// The action of reading one.
pub(super) const READ: &str = "read backup file";

/// The action of unpacking or sorting a backup in a temporary file.
const TEMPORARY: &str = "use a temporary file (set TMPDIR to a folder with enough free space) in";

/// What happens to a file there.
fn lost(why: Ephemeral) -> &'static str {
    match why {
        Ephemeral::Layer => "that folder is part of the container and is deleted with it",
        Ephemeral::Memory => "that folder is in the container's memory (tmpfs) and is lost with it",
        Ephemeral::PodVolume => "that folder is an emptyDir volume and is deleted with the pod",
    }
}

impl BackupError {
    /// A failed file operation, separately if the device is full.
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

    /// A file whose content is wrong. A plain read error is reported as such.
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

    /// What is wrong with the file's content, if that is what is wrong.
    #[must_use]
    pub fn format_error(&self) -> Option<&FormatError> {
        match self {
            Self::Invalid { source, .. } => Some(source),
            Self::File { .. }
            | Self::DiskFull { .. }
            | Self::Entry { .. }
            | Self::ReadBack { .. }
            | Self::NotRegular { .. }
            | Self::NotUtf8 { .. }
            | Self::Ephemeral { .. }
            | Self::StreamFormat { .. }
            | Self::NoFreeName { .. }
            | Self::Level { .. }
            | Self::Worker
            | Self::Changed { .. } => None,
        }
    }

    /// The meta roots of the instances in a file that holds several; none for any other error.
    #[must_use]
    pub fn instances(&self) -> &[String] {
        match self.format_error() {
            Some(FormatError::SeveralRoots { roots }) => roots,
            Some(_) | None => &[],
        }
    }

    /// Whether the file holds several instances and none was named.
    #[must_use]
    pub fn holds_several_instances(&self) -> bool {
        !self.instances().is_empty()
    }

    /// Whether the path itself is at fault, whatever would be written there.
    #[must_use]
    pub fn is_wrong_path(&self) -> bool {
        matches!(
            self,
            Self::NotRegular { .. } | Self::NotUtf8 { .. } | Self::StreamFormat { .. }
        )
    }

    /// Whether a backup could not be read because there is no such file.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::File { action: OPEN, source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// Whether it was reading a backup that failed, not writing one.
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
