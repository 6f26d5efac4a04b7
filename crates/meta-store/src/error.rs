//! Errors of a store, classified by how a caller can react.

/// Whether a failed request changed anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// It was certainly not applied.
    No,
    /// The reply was lost: the request may have been applied.
    Unknown,
}

/// The kinds of failure that callers distinguish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// No endpoint could be reached, or the connection broke.
    Unreachable,
    /// No reply in time, or no leader.
    Timeout,
    /// The revision to read at is compacted.
    Compacted,
    /// The transaction has more operations than the server allows.
    TooManyOps,
    /// The request is larger than the server allows.
    TooLarge,
    /// The space quota is exhausted (alarm NOSPACE).
    NoSpace,
    /// The lease does not exist.
    LeaseNotFound,
    /// The user lacks the permission, or the login failed.
    Denied,
    /// Any other failure.
    Other,
}

/// A known cause of a failed connection. Each has a different remedy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectProblem {
    /// No process listens at the address.
    Refused,
    /// The host name cannot be resolved.
    UnknownHost,
    /// The address accepts connections but does not respond.
    Silent,
    /// The response is not that of an etcd client port.
    NotEtcd,
    /// The server expects TLS, but the client does not use it.
    TlsExpected,
    /// The client uses TLS, but the server does not.
    TlsNotSpoken,
    /// The system has no CA certificates, and none were configured.
    NoCaCertificates,
    /// The server certificate is signed by a CA that is not trusted.
    UnknownIssuer,
    /// The server certificate is self-signed and not trusted.
    SelfSigned,
    /// The signature of the server certificate does not match the CA certificate with its issuer's
    /// name.
    BadSignature,
    /// The server certificate is for other host names.
    WrongName,
    /// The server certificate has no subject alternative name.
    NoName,
    /// The server certificate has expired.
    Expired,
    /// The server certificate is not valid yet.
    NotYetValid,
    /// The server certificate is not for server authentication.
    WrongPurpose,
    /// The server certificate uses an algorithm or a curve that is not supported.
    UnsupportedAlgorithm,
    /// Client and server have no TLS version or cipher suite in common.
    Incompatible,
    /// The server requires a client certificate.
    ClientCertificateRequired,
    /// The server rejects the client certificate.
    ClientCertificateRejected,
    /// The user does not exist, the password is wrong, or etcd requires a user.
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
    /// The kind of failure.
    pub kind: StoreErrorKind,
    /// Whether the request may have been applied.
    pub applied: Applied,
    /// What happened, with the endpoint if known; never contains a secret.
    pub message: String,
    /// The known causes of the failed connection, each once.
    pub problems: Vec<ConnectProblem>,
}

impl StoreError {
    /// Creates an error for a request that was certainly not applied.
    #[must_use]
    pub fn not_applied(kind: StoreErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            applied: Applied::No,
            message: message.into(),
            problems: Vec::new(),
        }
    }

    /// Creates an error for a request that may have been applied.
    #[must_use]
    pub fn unknown(kind: StoreErrorKind, message: impl Into<String>) -> Self {
        Self {
            applied: Applied::Unknown,
            ..Self::not_applied(kind, message)
        }
    }

    /// Adds a cause of the failed connection.
    #[must_use]
    pub fn because(mut self, problem: ConnectProblem) -> Self {
        self.add(problem);
        self
    }

    pub(crate) fn add(&mut self, problem: ConnectProblem) {
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// Returns whether etcd could not be reached or did not respond in time: the same request may succeed if it is sent
    /// again later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(
            self.kind,
            StoreErrorKind::Unreachable | StoreErrorKind::Timeout
        )
    }
}
