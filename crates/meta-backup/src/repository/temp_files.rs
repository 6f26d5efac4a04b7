//! Unfinished files of killed writers: hidden files next to their target.
//!
//! It is impossible to know whether the writer is still running: several pods may mount the folder,
//! so that the process id in the name is meaningless. A running writer writes continuously, so a
//! file that was not written to for a day is abandoned.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::super::BackupError;
use super::super::atomic_file::is_partial_name;

/// Time since the last write after which a file is abandoned.
const ABANDONED_AFTER: Duration = Duration::from_secs(24 * 3600);

/// An unfinished backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TempFile {
    /// The hidden file.
    pub path: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
    /// The time of the last write.
    pub modified: SystemTime,
}

impl TempFile {
    /// Whether the writer certainly ended: the file was not written to for a day.
    #[must_use]
    pub(crate) fn is_abandoned(&self, now: SystemTime) -> bool {
        now.duration_since(self.modified)
            .is_ok_and(|age| age > ABANDONED_AFTER)
    }

    /// Reads the metadata of an unfinished backup; `None` if the file is something else or does not
    /// exist.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, BackupError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !is_partial_name(&name) {
            return Ok(None);
        }
        // Links are not followed: their target may not belong to this program.
        let data = match fs::symlink_metadata(path) {
            Ok(data) if data.is_file() => data,
            Ok(_) => return Ok(None),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(BackupError::file("read", path, error)),
        };
        let modified = data
            .modified()
            .map_err(|error| BackupError::file("read", path, error))?;
        Ok(Some(Self {
            path: path.to_owned(),
            bytes: data.len(),
            modified,
        }))
    }
}
