//! A folder of backups: its files, whether they are valid, and which may be pruned.

mod diff;
mod prune;
mod temp_files;

pub use diff::diff;
pub use prune::{PrunePlan, Untouched};
pub use temp_files::TempFile;

use std::fs;
use std::path::{Path, PathBuf};

use super::{Backup, BackupError, FormatError, Summary};

/// File name extensions of backups. A file with one of them and an unknown format may be a corrupt
/// backup.
const EXTENSIONS: [&str; 12] = [
    "mmb", "bak", "backup", "db", "snap", "json", "jsonl", "gz", "zip", "tar", "tgz", "zst",
];

/// A file in the folder, after verification.
#[derive(Debug)]
pub struct Listing {
    /// The path.
    pub path: PathBuf,
    /// The size in bytes.
    pub bytes: u64,
    /// The summary, or the reason why the file is not a usable backup.
    pub check: Result<Summary, BackupError>,
}

impl Listing {
    /// Whether the file is a valid backup.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.check.is_ok()
    }

    /// Whether the file is not a backup: neither its format nor its extension is that of one.
    #[must_use]
    pub fn is_other(&self) -> bool {
        let fits_none = matches!(
            &self.check,
            Err(BackupError::Invalid {
                source: FormatError::Unknown(_) | FormatError::Empty,
                ..
            })
        );
        let extension = self.path.extension().unwrap_or_default();
        fits_none && !EXTENSIONS.iter().any(|it| extension == *it)
    }
}

/// A folder of backups.
#[derive(Debug, Clone)]
pub struct Repository {
    folder: PathBuf,
}

impl Repository {
    /// Opens the repository in `folder`, which must exist.
    ///
    /// # Errors
    /// If the folder is unreadable.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self, BackupError> {
        let folder = folder.as_ref().to_owned();
        fs::read_dir(&folder).map_err(|error| BackupError::file("list", &folder, error))?;
        Ok(Self { folder })
    }

    /// Verifies every file in the folder, sorted by name. Folders, links and hidden files are
    /// skipped; [`Self::temp_files`] returns unfinished backups.
    ///
    /// # Errors
    /// If the folder is unreadable. Problems with a file are in its listing.
    pub fn list(&self) -> Result<Vec<Listing>, BackupError> {
        let mut paths = self.files()?;
        paths.retain(|path| !is_hidden(path));
        Ok(paths.into_iter().map(check).collect())
    }

    /// The unfinished backups, sorted by name: a process is writing them, or was killed.
    ///
    /// # Errors
    /// If the folder is unreadable.
    pub fn temp_files(&self) -> Result<Vec<TempFile>, BackupError> {
        let paths = self.files()?;
        let found = paths.iter().map(|path| TempFile::read(path));
        found.filter_map(Result::transpose).collect()
    }

    /// The regular files in the folder, sorted.
    fn files(&self) -> Result<Vec<PathBuf>, BackupError> {
        let failed = |error| BackupError::file("list", &self.folder, error);
        let mut paths = Vec::new();
        for item in fs::read_dir(&self.folder).map_err(failed)? {
            let item = item.map_err(failed)?;
            if item.file_type().map_err(failed)?.is_file() {
                paths.push(item.path());
            }
        }
        paths.sort();
        Ok(paths)
    }

    /// Plans to keep the newest `keep` backups of each cluster, meta root and layout.
    /// [`PrunePlan::carry_out`] removes the others, and unfinished backups not written to for a
    /// day.
    ///
    /// # Errors
    /// If the folder is unreadable.
    pub fn plan_prune(&self, keep: std::num::NonZeroUsize) -> Result<PrunePlan, BackupError> {
        let temp_files = self.temp_files()?;
        Ok(PrunePlan::new(self.list()?, temp_files, keep))
    }
}

fn is_hidden(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with('.'))
}

/// Verifies one file.
#[must_use]
pub fn check(path: PathBuf) -> Listing {
    Listing {
        bytes: fs::metadata(&path)
            .map(|data| data.len())
            .unwrap_or_default(),
        check: Backup::open(&path).map(Backup::into_summary),
        path,
    }
}
