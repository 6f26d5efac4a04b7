//! The steps that run as Jobs.

use serde::{Deserialize, Serialize};

use crate::kubernetes::{CONFIG_FOLDER, record::Record};

/// One run of our program in a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// What is in etcd.
    Status,
    /// The dry run.
    Plan,
    /// The backup.
    Backup,
    /// The migration.
    Migrate,
    /// The comparison with what the backup gives.
    Verify,
    /// The way back.
    Rollback,
}

impl Step {
    /// The name in labels and names of objects.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Plan => "plan",
            Self::Backup => "backup",
            Self::Migrate => "migrate",
            Self::Verify => "verify",
            Self::Rollback => "rollback",
        }
    }

    /// Whether it writes to etcd, so that it must not be cut short.
    #[must_use]
    pub fn writes(self) -> bool {
        match self {
            Self::Migrate | Self::Rollback => true,
            Self::Status | Self::Plan | Self::Backup | Self::Verify => false,
        }
    }

    /// The arguments of the program. What the official tool does too is asked for in its way.
    #[must_use]
    pub fn arguments(self, record: &Record) -> Vec<String> {
        let config = |name: &str| format!("{CONFIG_FOLDER}/{name}.yaml");
        let mut arguments = match self {
            Self::Backup | Self::Migrate | Self::Rollback => {
                vec![format!("-config={}", config(self.name()))]
            }
            Self::Status | Self::Plan | Self::Verify => vec![
                self.name().to_owned(),
                "--config".to_owned(),
                config("migrate"),
            ],
        };
        if self == Self::Verify && record.has_backup {
            arguments.extend(["--backup".to_owned(), record.backup_file.clone()]);
        }
        arguments.extend(["--format", "json", "--no-progress"].map(str::to_owned));
        arguments
    }
}
