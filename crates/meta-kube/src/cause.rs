//! Why a command ended before its end.

use super::client::ClientError;
use super::preflight::Right;
use milvus_meta::finding::Finding;

/// Why a command ended, with everything recorded as it is.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The Lease is alive in the hands of this holder.
    #[error("another orchestrator is running for this instance: {0}")]
    Held(String),
    #[error(
        "the Lease was lost: another orchestrator may be running; the upgrade state is unchanged"
    )]
    LeaseLost,
    #[error(
        "the saved upgrade state, ConfigMap {map} in namespace {namespace}, cannot be read: {why}"
    )]
    UpgradeState {
        map: String,
        namespace: String,
        why: String,
    },
    #[error("rights are missing")]
    Rights(Vec<Right>),
    /// The options cannot be followed.
    #[error(transparent)]
    Refusal(#[from] Refusal),
    #[error("not confirmed")]
    Unconfirmed,
    #[error("ended by a signal; a Job that is running continues")]
    Stopped,
}

/// Why nothing is done.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refusal {
    #[error("{}", .0.iter().map(|one| format!("{} [{}]", one.message, one.code)).collect::<Vec<_>>().join("; "))]
    Blocked(Vec<Finding>),
    /// What is asked for cannot be done here.
    #[error("{0}")]
    Refused(String),
    /// An option does not fit the saved upgrade state.
    #[error("{0}")]
    Usage(String),
    /// Something has to be fixed before an upgrade that stopped Milvus can be resumed.
    #[error("{0}")]
    Halted(String),
}

impl Refusal {
    /// Whether it may pass by itself: all that blocks are pods on their way.
    pub(crate) fn passes(&self) -> bool {
        match self {
            Self::Blocked(findings) => findings.iter().all(|one| one.code == "not-at-rest"),
            Self::Refused(_) | Self::Usage(_) | Self::Halted(_) => false,
        }
    }
}
