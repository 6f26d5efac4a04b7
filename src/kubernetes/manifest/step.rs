//! The steps that run as Jobs.

use serde::{Deserialize, Serialize};

use crate::kubernetes::record::Record;
use crate::kubernetes::stage::Stage;
use crate::kubernetes::{BACKUP_FOLDER, CONFIG_FOLDER};

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
    /// The comparison of the new layout with itself, where the backup is lost.
    VerifyAlone,
    /// The way back.
    Rollback,
    /// Whether the way back is open.
    Preview,
    /// A backup of what the new release wrote.
    Save,
    /// Which backups lie in the volume, each read whole.
    List,
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
            Self::VerifyAlone => "verify-alone",
            Self::Rollback => "rollback",
            Self::Preview => "preview",
            Self::Save => "save",
            Self::List => "list",
        }
    }

    /// Whether it writes to etcd, so that it must not be cut short.
    #[must_use]
    pub fn writes(self) -> bool {
        match self {
            Self::Migrate | Self::Rollback => true,
            Self::Status
            | Self::Plan
            | Self::Backup
            | Self::Verify
            | Self::VerifyAlone
            | Self::Preview
            | Self::Save
            | Self::List => false,
        }
    }

    /// The arguments of the program. What the official tool does too is asked for in its way.
    #[must_use]
    pub fn arguments(self, record: &Record) -> Vec<String> {
        let config = |name: &str| format!("{CONFIG_FOLDER}/{name}.yaml");
        let command =
            |name: &str, file: &str| vec![name.to_owned(), "--config".to_owned(), config(file)];
        let mut arguments = match self {
            Self::Backup | Self::Migrate | Self::Rollback => {
                vec![format!("-config={}", config(self.name()))]
            }
            Self::Status | Self::Plan => command(self.name(), "migrate"),
            Self::Verify | Self::VerifyAlone => command("verify", "migrate"),
            Self::Preview => command("rollback", "rollback"),
            Self::Save => command("backup", "backup"),
            Self::List => ["backup", "list", BACKUP_FOLDER]
                .map(str::to_owned)
                .to_vec(),
        };
        match self {
            // While Milvus still runs: a volume that takes no backup is found now, not after the stop.
            Self::Status if record.stage == Stage::Probe && !record.claim.is_empty() => {
                arguments.extend(["--backup-folder", BACKUP_FOLDER].map(str::to_owned));
            }
            Self::Preview => {
                arguments.extend(["--dry-run", "--backup-file"].map(str::to_owned));
                arguments.push(record.backup_file.clone());
                if record.policy.accept_loss {
                    arguments.push("--accept-loss".to_owned());
                }
            }
            Self::Save => {
                arguments.extend(["--backup-file".to_owned(), record.saved_file()]);
            }
            Self::Status
            | Self::Plan
            | Self::Backup
            | Self::Migrate
            | Self::Verify
            | Self::VerifyAlone
            | Self::Rollback
            | Self::List => {}
        }
        if self == Self::Verify && record.has_backup {
            arguments.extend(["--backup".to_owned(), record.backup_file.clone()]);
        }
        arguments.extend(["--format", "json", "--no-progress"].map(str::to_owned));
        arguments
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::record::tests::example;

    #[test]
    fn the_volume_is_tried_while_milvus_runs_and_only_then() {
        let mut record = example();
        let tries = |record: &Record, step: Step| {
            let arguments = step.arguments(record);
            arguments.iter().any(|word| word == "--backup-folder")
        };
        record.stage = Stage::Probe;
        assert!(tries(&record, Step::Status));
        assert!(!tries(&record, Step::Plan));
        record.stage = Stage::Drain;
        assert!(!tries(&record, Step::Status), "no time is lost later");
        record.stage = Stage::Probe;
        record.claim = String::new();
        assert!(!tries(&record, Step::Status), "preflight has no volume");
    }
}
