//! Options for reading backup files that are incomplete or cannot be verified.

use meta_backup::{BackupError, FormatError, Tolerance};

/// How strictly to check a backup file.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
#[command(next_help_heading = "Reading backups")]
pub(in crate::cli) struct ReadingOptions {
    /// Read an etcd database file or data folder without the hash that a snapshot has
    #[arg(long, env)]
    skip_hash_check: bool,
    /// Read a file that ends early, or holds another number of entries than it announces; what is missing is
    /// reported
    #[arg(long, env)]
    allow_partial: bool,
}

impl ReadingOptions {
    pub(in crate::cli) fn tolerance(self) -> Tolerance {
        Tolerance {
            skip_hash_check: self.skip_hash_check,
            allow_partial: self.allow_partial,
        }
    }
}

/// Returns the option that makes a rejected file readable, if there is one.
pub(in crate::cli) fn hint(error: &BackupError) -> Option<String> {
    let format = error.format_error()?;
    if matches!(format, FormatError::NoHash) {
        return Some(
            "--skip-hash-check   # reads it: the checksums inside the database are still checked"
                .to_owned(),
        );
    }
    matches!(format, FormatError::Partial { .. }).then(|| {
        "--allow-partial   # reads what is there; where entries are missing, restore also needs --keep-extra"
            .to_owned()
    })
}
