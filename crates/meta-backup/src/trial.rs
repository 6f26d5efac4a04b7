//! Tries whether a backup can be written in a folder, before anything depends on it.

use std::io::Write;
use std::path::Path;

use super::BackupError;
use super::disk::{Disk as _, RealDisk};
use super::publish::{Partial, Purpose, sync_folder};

/// What is written: small, and more than what a file system keeps in a name's own record.
const SIZE: usize = 1 << 20;

/// Writes, syncs and removes a small file; what a killed trial leaves goes as other partial files do.
///
/// # Errors
/// What kept it from that.
pub fn try_folder(folder: &Path) -> Result<(), BackupError> {
    let (partial, mut file) = Partial::create(&folder.join("trial"), Purpose::Backup)?;
    let path = partial.path();
    file.write_all(&vec![0; SIZE])
        .map_err(|error| BackupError::file("write", path, error))?;
    RealDisk
        .sync(&file)
        .map_err(|error| BackupError::file("sync", path, error))?;
    sync_folder(&RealDisk, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_can_be_written_stays_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        try_folder(folder.path()).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_in_which_nothing_can_be_made_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing");
        let error = try_folder(&missing).unwrap_err().to_string();
        assert!(error.contains(missing.to_str().unwrap()), "{error}");
    }
}
