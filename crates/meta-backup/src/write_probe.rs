//! Checks whether a backup can be written to a folder, before a command depends on it.

use std::io::Write;
use std::path::Path;

use super::BackupError;
use super::atomic_file::{Partial, Purpose, sync_folder};
use super::disk::{Disk as _, RealDisk};

/// Size of the file: small, but too large to be stored in the inode.
const SIZE: usize = 1 << 20;

/// Writes, syncs and removes a small file. If the process is killed, pruning removes the file.
///
/// # Errors
/// If one of these operations fails.
pub fn check_writable(folder: &Path) -> Result<(), BackupError> {
    let (partial, mut file) = Partial::create(&folder.join("write-probe"), Purpose::Backup)?;
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
    fn probing_a_writable_folder_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        check_writable(folder.path()).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn an_unwritable_folder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing");
        let error = check_writable(&missing).unwrap_err().to_string();
        assert!(error.contains(missing.to_str().unwrap()), "{error}");
    }
}
