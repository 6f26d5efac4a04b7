//! What the Jobs of an upgrade do.

use serde::{Deserialize, Serialize};

/// One run of our program in a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobKind {
    /// What is in etcd.
    Status,
    Plan,
    Backup,
    Migrate,
    /// The comparison with the expected result.
    Verify,
    /// The comparison of the new layout with itself, where the backup is lost.
    VerifyAlone,
    Rollback,
    /// Whether a rollback is possible.
    Preview,
    /// A backup of what the new release wrote.
    Save,
    /// The backups in the volume, each read to its end.
    List,
}

impl JobKind {
    /// The name in labels and names of objects.
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

    /// Whether a finished Job counts for a later attempt; any other is repeated.
    pub(crate) fn leaves_result(self) -> bool {
        self.writes() || self == Self::Backup
    }

    /// Whether it writes to etcd, so that it must not be cut short.
    pub(crate) fn writes(self) -> bool {
        matches!(self, Self::Migrate | Self::Rollback)
    }
}
