//! The exit codes, which scripts and Kubernetes jobs rely on.

use std::process::ExitCode;

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done, or nothing to do: 2.2 may be started (`migrate`), 2.1 may be started (`rollback`).
    Done,
    /// Failed; nothing was changed in etcd, or it could not be reached.
    Failed,
    /// Wrong usage or configuration; nothing was changed.
    Usage,
    /// Refused: live sessions, another migration holds the lock, or metadata would be lost without
    /// `--accept-loss`; nothing was changed.
    Refused,
    /// The metadata cannot be migrated as it is; nothing was changed.
    NotMigratable,
    /// Stopped part-way.
    PartWay,
    /// Verification found differences.
    Differences,
    /// Ended by SIGINT.
    Interrupted,
    /// Ended by SIGTERM.
    Terminated,
}

impl Exit {
    /// The number that the shell sees.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Refused => 3,
            Self::NotMigratable => 4,
            Self::PartWay => 5,
            Self::Differences => 6,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
