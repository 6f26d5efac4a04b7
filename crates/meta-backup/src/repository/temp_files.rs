//! Unfinished files of writers that were killed: hidden, beside the backup they should have become.
//!
//! Whether the process that wrote one still lives cannot be known: the folder may be a volume that
//! several pods mount, where the process id in the name says nothing. A live writer writes all the time,
//! so what nobody wrote to for a day belongs to nobody.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::super::BackupError;
use super::super::atomic_file::is_partial_name;

/// So long nobody has written to a file that is abandoned.
const ABANDONED_AFTER: Duration = Duration::from_secs(24 * 3600);

/// An unfinished backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TempFile {
    /// The hidden file.
    pub path: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
    /// When it was last written to.
    pub modified: SystemTime,
}

impl TempFile {
    /// Whether its writer is gone for certain: nobody wrote to it for a day.
    #[must_use]
    pub(crate) fn is_abandoned(&self, now: SystemTime) -> bool {
        now.duration_since(self.modified)
            .is_ok_and(|age| age > ABANDONED_AFTER)
    }

    /// The file as it is now; `None` when it is no unfinished backup, or gone.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, BackupError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !is_partial_name(&name) {
            return Ok(None);
        }
        // Not through a link: what it leads to is not ours.
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
