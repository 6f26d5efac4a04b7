//! What can go wrong between us and etcd, sorted by what a caller can do about it.

/// Whether a failed request changed anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// Certainly not.
    No,
    /// The reply was lost; it may have been applied.
    Unknown,
}

/// The kinds of failure that callers tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// No endpoint could be reached, or the connection broke.
    Unreachable,
    /// No answer in time, or no leader.
    Timeout,
    /// The revision to read at is no longer kept.
    Compacted,
    /// More operations in a transaction than the server takes.
    TooManyOps,
    /// A request larger than the server takes.
    TooLarge,
    /// The space quota is used up (alarm NOSPACE).
    NoSpace,
    /// The lease does not exist.
    LeaseNotFound,
    /// The user may not do this, or may not log in.
    Denied,
    /// Anything else.
    Other,
}

/// A failed request.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("{message}")]
pub struct StoreError {
    /// What kind of failure it is.
    pub kind: StoreErrorKind,
    /// Whether the request may have been applied all the same.
    pub applied: Applied,
    /// What happened, with the endpoint where one is known; never a secret.
    pub message: String,
}

impl StoreError {
    /// Whether etcd did not answer, which may pass.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        matches!(
            self.kind,
            StoreErrorKind::Unreachable | StoreErrorKind::Timeout
        )
    }

    /// A failure that certainly changed nothing.
    #[must_use]
    pub fn not_applied(kind: StoreErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            applied: Applied::No,
            message: message.into(),
        }
    }

    /// A failure after which the request may have been applied.
    #[must_use]
    pub fn unknown(kind: StoreErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            applied: Applied::Unknown,
            message: message.into(),
        }
    }

    /// Whether the same request, sent again a little later, may succeed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self.kind {
            StoreErrorKind::Unreachable | StoreErrorKind::Timeout => true,
            StoreErrorKind::Compacted
            | StoreErrorKind::TooManyOps
            | StoreErrorKind::TooLarge
            | StoreErrorKind::NoSpace
            | StoreErrorKind::LeaseNotFound
            | StoreErrorKind::Denied
            | StoreErrorKind::Other => false,
        }
    }
}
