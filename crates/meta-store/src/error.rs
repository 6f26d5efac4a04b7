//! What can go wrong between us and etcd, sorted by what a caller can do about it.

/// Whether a failed request changed anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// Certainly not.
    No,
    /// The reply was lost; it may have been applied.
    Unknown,
}

/// The kinds of failure that callers distinguish.
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

/// A known cause why a connection does not come up. Each has its own remedy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectProblem {
    /// Nothing listens at the address.
    Refused,
    /// The host name cannot be resolved.
    UnknownHost,
    /// The address accepts connections and does not answer.
    Silent,
    /// The answer is not that of an etcd client port.
    NotEtcd,
    /// The server expects TLS and was spoken to without.
    TlsExpected,
    /// The server was spoken to with TLS and does not speak it.
    TlsNotSpoken,
    /// The system has no CA certificates, and none were given.
    NoCaCertificates,
    /// The server certificate is signed by a CA that is not trusted.
    UnknownIssuer,
    /// The server certificate is its own issuer and is not trusted.
    SelfSigned,
    /// The server certificate does not verify against the CA certificate with its issuer's name.
    BadSignature,
    /// The server certificate is for other names.
    WrongName,
    /// The server certificate has no name that can be checked.
    NoName,
    /// The server certificate expired.
    Expired,
    /// The server certificate is not valid yet.
    NotYetValid,
    /// The server certificate is not meant for servers.
    WrongPurpose,
    /// The server certificate uses an algorithm or a curve that is not supported.
    UnsupportedAlgorithm,
    /// Client and server have no TLS version or cipher suite in common.
    Incompatible,
    /// The server requires a client certificate.
    ClientCertificateRequired,
    /// The server rejects the client certificate.
    ClientCertificateRejected,
    /// The user is unknown, the password is wrong, or a user is needed.
    Login,
    /// The member has no leader.
    NoLeader,
    /// The member is a learner.
    Learner,
}

/// A failed request.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("{message}")]
pub struct StoreError {
    /// What kind of failure it is.
    pub kind: StoreErrorKind,
    /// Whether the request may have been applied anyway.
    pub applied: Applied,
    /// What happened, with the endpoint where one is known; never a secret.
    pub message: String,
    /// Why the connection does not come up, one for each known cause.
    pub problems: Vec<ConnectProblem>,
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
            problems: Vec::new(),
        }
    }

    /// A failure after which the request may have been applied.
    #[must_use]
    pub fn unknown(kind: StoreErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            applied: Applied::Unknown,
            message: message.into(),
            problems: Vec::new(),
        }
    }

    /// The same failure with the cause why the connection does not come up.
    #[must_use]
    pub fn because(mut self, problem: ConnectProblem) -> Self {
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
        self
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
