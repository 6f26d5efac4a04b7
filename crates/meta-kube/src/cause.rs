//! Reasons why a command ended early.

use super::client::ClientError;
use milvus_meta::finding::Finding;

/// Why a command ended early. The saved upgrade state is unchanged.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Another process holds the Lease and renews it.
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
    /// The command is refused.
    #[error(transparent)]
    Refusal(#[from] Refusal),
    #[error("not confirmed")]
    Unconfirmed,
    #[error("ended by a signal")]
    Stopped,
}

/// Why a command is refused before it changes anything.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refusal {
    #[error("{}", .0.iter().map(|one| format!("{} [{}]", one.message, one.code)).collect::<Vec<_>>().join("; "))]
    Blocked(Vec<Finding>),
    /// The requested operation is not possible on this instance.
    #[error("{0}")]
    Refused(String),
    /// An option does not fit the saved upgrade state.
    #[error("{0}")]
    Usage(String),
    /// An upgrade that stopped Milvus cannot be resumed until this is fixed.
    #[error("{0}")]
    Halted(String),
}

impl Refusal {
    /// Whether a retry may succeed, because only starting or ending pods block.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Blocked(findings) => findings.iter().all(|one| one.code == "not-at-rest"),
            Self::Refused(_) | Self::Usage(_) | Self::Halted(_) => false,
        }
    }
}
