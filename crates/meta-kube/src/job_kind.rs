//! The kinds of Jobs in an upgrade.

use serde::{Deserialize, Serialize};

/// One run of our program in a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobKind {
    /// Reports what is in etcd.
    Status,
    Plan,
    Backup,
    Migrate,
    /// Compares the new layout with the expected result.
    Verify,
    /// Checks the new layout without the backup, which is lost.
    VerifyAlone,
    Rollback,
    /// Checks whether a rollback is possible.
    Preview,
    /// Backs up what the new release wrote.
    Save,
    /// Lists the backups in the volume, reading each to its end.
    List,
}

impl JobKind {
    /// The name in labels and object names.
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

    /// Whether the result of a finished Job counts for later attempts; other kinds run again.
    pub(crate) fn leaves_result(self) -> bool {
        self.writes() || self == Self::Backup
    }

    /// Whether it writes to etcd and must not be interrupted.
    pub(crate) fn writes(self) -> bool {
        matches!(self, Self::Migrate | Self::Rollback)
    }
}
