//! Opens the backup file that a command reads.

use std::path::Path;

use super::context::CommandContext;
use super::options::ReadingOptions;
use super::output::exit::Exit;
use super::output::failure::Failure;
use meta_backup::{Backup, BackupError, Tolerance};
use meta_migrate::BackupSource;
use milvus_meta::keys::{MetaRoot, root_options};

impl CommandContext {
    /// Opens a backup for work without etcd, at the meta root in the file. The given root path decides if the file has
    /// none or several.
    pub(in crate::cli) fn open(
        &self,
        path: &Path,
        reading: ReadingOptions,
    ) -> Result<BackupSource, Failure> {
        self.open_by(path, |root| {
            Backup::open_with(path, root, reading.tolerance())
        })
    }

    /// Opens a backup as [`Self::open`] does, but checks a native file only when its entries are first read, which shows
    /// progress.
    pub(in crate::cli) fn open_announced(
        &self,
        path: &Path,
        reading: ReadingOptions,
    ) -> Result<BackupSource, Failure> {
        self.open_by(path, |root| {
            Backup::announced(path, root, reading.tolerance())
        })
    }

    fn open_by(
        &self,
        path: &Path,
        open: impl Fn(Option<&str>) -> Result<Backup, BackupError>,
    ) -> Result<BackupSource, Failure> {
        // Reading a file changes nothing in etcd, so the failure does not mention it.
        let backup = Backup::open_instance(self.named_root(), open)
            .map_err(|error| self.unusable_file(&error))?;
        for note in &backup.summary().notes {
            tracing::warn!("{}: {note}", path.display());
        }
        let root = MetaRoot::new("", &backup.summary().meta_root, "")
            .map_err(|error| Failure::before_changes(&error))?;
        Ok(BackupSource::new(backup, root))
    }

    /// Rejects a backup of several instances unless a root path selects one.
    pub(in crate::cli) fn require_one_instance(
        &self,
        path: &Path,
        tolerance: Tolerance,
    ) -> Result<(), Failure> {
        if self.config.root_is_given {
            return Ok(());
        }
        match Backup::announced(path, None, tolerance) {
            Err(error) if error.holds_several_instances() => {
                Err(self.unusable_file(&error).unchanged())
            }
            // Other problems are reported when the file is used.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    fn named_root(&self) -> Option<&str> {
        let root = self.config.root.meta_root();
        self.config.root_is_given.then_some(root)
    }

    /// The failure to open a backup, with hints for options that help, or for getting another file.
    fn unusable_file(&self, error: &BackupError) -> Failure {
        let mut failure = Failure::from_error(Exit::Failed, error);
        for root in error.instances() {
            let (path, sub_path) = root_options(root);
            failure.hints.push(self.next_steps.again_at(path, sub_path));
        }
        if !failure.hints.is_empty() {
            failure.exit = Exit::Usage;
        }
        failure.hints.extend(self.next_steps.usable_file(error));
        failure
    }
}
