//! Converts errors of the client and the server to store errors.

use std::error::Error;

use etcd_client::Error as EtcdError;

use crate::{Applied, ConnectProblem, StoreError, StoreErrorKind};

/// Returns the error of connection options that cannot be used.
pub(super) fn invalid(message: impl Into<String>) -> StoreError {
    StoreError::not_applied(StoreErrorKind::Other, message)
}

/// gRPC status codes.
mod code {
    pub(super) const CANCELLED: i32 = 1;
    pub(super) const UNKNOWN: i32 = 2;
    pub(super) const INVALID_ARGUMENT: i32 = 3;
    pub(super) const DEADLINE_EXCEEDED: i32 = 4;
    pub(super) const NOT_FOUND: i32 = 5;
    pub(super) const PERMISSION_DENIED: i32 = 7;
    pub(super) const FAILED_PRECONDITION: i32 = 9;
    pub(super) const OUT_OF_RANGE: i32 = 11;
    pub(super) const UNIMPLEMENTED: i32 = 12;
    pub(super) const INTERNAL: i32 = 13;
    pub(super) const UNAVAILABLE: i32 = 14;
    pub(super) const UNAUTHENTICATED: i32 = 16;
}

/// Messages of etcd and gRPC, with their kind and whether the request may have been applied.
const MESSAGES: &[(&str, StoreErrorKind, Applied)] = {
    use Applied::{No, Unknown};
    use StoreErrorKind::{
        Compacted, Denied, LeaseNotFound, NoSpace, Timeout, TooLarge, TooManyOps,
    };
    &[
        ("too many operations in txn request", TooManyOps, No),
        ("request is too large", TooLarge, No),
        ("received message larger than max", TooLarge, No),
        ("encoded message length too large", TooLarge, No),
        // The reply was too large for the server to send or for us to receive; the request was
        // applied.
        ("trying to send message larger than max", TooLarge, Unknown),
        ("decoded message length too large", TooLarge, Unknown),
        ("required revision has been compacted", Compacted, No),
        // If the quota is exhausted between a member's first check and the apply, the request is
        // applied and this error is still returned.
        ("database space exceeded", NoSpace, Unknown),
        ("requested lease not found", LeaseNotFound, No),
        ("permission denied", Denied, No),
        ("authentication failed", Denied, No),
        ("user name is empty", Denied, No),
        ("user name not found", Denied, No),
        ("invalid auth token", Denied, No),
        ("revision of auth store is old", Denied, No),
        ("revision in header is old", Denied, No),
        // A member without a leader rejects the request before processing it. One that loses its
        // leader during the request reports a timeout.
        ("etcdserver: no leader", Timeout, No),
        ("etcdserver: too many requests", Timeout, No),
        ("etcdserver: not capable", Timeout, No),
        // Transient, because another member may not be a learner.
        ("rpc not supported for learner", Timeout, No),
        ("etcdserver: request timed out", Timeout, Unknown),
        ("etcdserver: leader changed", Timeout, Unknown),
        ("raft proposal dropped", Timeout, Unknown),
    ]
};

pub(super) fn failure(endpoint: &str, error: &EtcdError) -> StoreError {
    let (kind, applied, reason) = match error {
        EtcdError::GRpcStatus(status) => {
            let reason = reason_of(status.message(), status);
            let client_side = status.source().is_some();
            let (kind, applied) = if never_connected(status) {
                (StoreErrorKind::Unreachable, Applied::No)
            } else {
                classify(i32::from(status.code()), status.message(), client_side)
            };
            (kind, applied, reason)
        }
        EtcdError::TransportError(transport) => (
            StoreErrorKind::Unreachable,
            Applied::Unknown,
            reason_of("", transport),
        ),
        EtcdError::IoError(io) => (
            StoreErrorKind::Unreachable,
            Applied::Unknown,
            io.to_string(),
        ),
        // The stream ended before its first answer.
        EtcdError::WatchError(_) | EtcdError::LeaseKeepAliveError(_) => (
            StoreErrorKind::Unreachable,
            Applied::Unknown,
            error.to_string(),
        ),
        EtcdError::InvalidArgs(_)
        | EtcdError::InvalidUri(_)
        | EtcdError::Utf8Error(_)
        | EtcdError::ElectError(_)
        | EtcdError::InvalidMetadataValue(_)
        | EtcdError::EndpointError(_)
        | EtcdError::EndpointsNotManaged
        | EtcdError::Internal(_) => (StoreErrorKind::Other, Applied::Unknown, error.to_string()),
    };
    failed(endpoint, kind, applied, &reason)
}

/// Converts the reason that a server gives for closing a stream.
pub(super) fn stream_closed(endpoint: &str, reason: &str) -> StoreError {
    let (kind, applied) = classify(code::UNKNOWN, reason, false);
    failed(endpoint, kind, applied, reason)
}

fn failed(endpoint: &str, kind: StoreErrorKind, applied: Applied, reason: &str) -> StoreError {
    StoreError {
        kind,
        applied,
        problems: problem(kind, reason).into_iter().collect(),
        message: format!("etcd at {endpoint}: {reason}"),
    }
}

/// Returns the connection problem that the server's message reports, if any.
fn problem(kind: StoreErrorKind, reason: &str) -> Option<ConnectProblem> {
    const LOGIN: [&str; 4] = [
        "authentication failed",
        "user name is empty",
        "user name not found",
        "invalid auth token",
    ];
    if kind == StoreErrorKind::Denied && LOGIN.iter().any(|text| reason.contains(text)) {
        return Some(ConnectProblem::Login);
    }
    (kind == StoreErrorKind::Timeout && reason.contains("no leader"))
        .then_some(ConnectProblem::NoLeader)
}

/// Returns whether a new login is required: the users changed, or the token is invalid.
pub(super) fn is_stale_login(error: &EtcdError) -> bool {
    // 3.5 sends the second message when it receives a request, before the first check can fail; the
    // third is for an expired token.
    let message = message_of(error);
    message.contains("revision of auth store is old")
        || message.contains("revision in header is old")
        || message.contains("invalid auth token")
}

/// Returns whether authentication is disabled, so that no login is required.
pub(super) fn is_login_unknown(error: &EtcdError) -> bool {
    message_of(error).contains("authentication is not enabled")
}

/// Returns whether the error says that a lease does not exist.
pub(super) fn is_lease_gone(error: &EtcdError) -> bool {
    if let EtcdError::LeaseKeepAliveError(message) = error {
        return message.contains("lease not found");
    }
    message_of(error).contains("requested lease not found")
}

fn message_of(error: &EtcdError) -> &str {
    if let EtcdError::GRpcStatus(status) = error {
        status.message()
    } else {
        ""
    }
}

/// Classifies a gRPC status. `client_side`: the client generated it after a connection failure.
fn classify(code: i32, message: &str, client_side: bool) -> (StoreErrorKind, Applied) {
    for (text, kind, applied) in MESSAGES {
        if message.contains(text) {
            return (*kind, *applied);
        }
    }
    match code {
        code::PERMISSION_DENIED | code::UNAUTHENTICATED => (StoreErrorKind::Denied, Applied::No),
        code::INVALID_ARGUMENT
        | code::NOT_FOUND
        | code::FAILED_PRECONDITION
        | code::OUT_OF_RANGE
        | code::UNIMPLEMENTED => (StoreErrorKind::Other, Applied::No),
        code::DEADLINE_EXCEEDED => (StoreErrorKind::Timeout, Applied::Unknown),
        code::UNAVAILABLE => (StoreErrorKind::Unreachable, Applied::Unknown),
        code::CANCELLED | code::UNKNOWN | code::INTERNAL if client_side => {
            (StoreErrorKind::Unreachable, Applied::Unknown)
        }
        _ => (StoreErrorKind::Other, Applied::Unknown),
    }
}

/// Returns whether the connection was never established, so that nothing was sent.
fn never_connected(error: &dyn Error) -> bool {
    causes(error).any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|io| io.kind() == std::io::ErrorKind::ConnectionRefused)
            || matches!(
                cause.to_string().as_str(),
                "tcp connect error" | "dns error" | "tcp open error"
            )
    })
}

/// Returns the message with the causes that add information, innermost last.
fn reason_of(message: &str, error: &dyn Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    if !message.is_empty() {
        parts.push(message.to_owned());
    }
    for cause in causes(error) {
        let text = cause.to_string();
        if !text.is_empty() && !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
    }
    parts.join(": ")
}

fn causes<'e>(error: &'e (dyn Error + 'e)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(error.source(), |cause| {
        let cause: &'e (dyn Error + 'static) = *cause;
        cause.source()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CASES: &[(i32, &str, StoreErrorKind, Applied)] = {
        use Applied::{No, Unknown};
        use StoreErrorKind::{
            Compacted, Denied, LeaseNotFound, NoSpace, Other, Timeout, TooLarge, TooManyOps,
            Unreachable,
        };
        &[
            (
                3,
                "etcdserver: too many operations in txn request",
                TooManyOps,
                No,
            ),
            (3, "etcdserver: request is too large", TooLarge, No),
            (
                8,
                "grpc: received message larger than max (3 vs. 2)",
                TooLarge,
                No,
            ),
            (
                11,
                "etcdserver: mvcc: required revision has been compacted",
                Compacted,
                No,
            ),
            (
                11,
                "etcdserver: mvcc: required revision is a future revision",
                Other,
                No,
            ),
            (
                8,
                "etcdserver: mvcc: database space exceeded",
                NoSpace,
                Unknown,
            ),
            (
                5,
                "etcdserver: requested lease not found",
                LeaseNotFound,
                No,
            ),
            (7, "etcdserver: permission denied", Denied, No),
            (
                3,
                "etcdserver: authentication failed, invalid user ID or password",
                Denied,
                No,
            ),
            (3, "etcdserver: user name is empty", Denied, No),
            (16, "etcdserver: invalid auth token", Denied, No),
            (14, "etcdserver: no leader", Timeout, No),
            (14, "etcdserver: request timed out", Timeout, Unknown),
            (14, "etcdserver: leader changed", Timeout, Unknown),
            (14, "transport is closing", Unreachable, Unknown),
            (4, "context deadline exceeded", Timeout, Unknown),
            (
                3,
                "etcdserver: duplicate key given in txn request",
                Other,
                No,
            ),
            (2, "something else", Other, Unknown),
        ]
    };

    #[test]
    fn server_errors_are_classified_by_code_and_message() {
        for &(code, message, kind, applied) in CASES {
            assert_eq!(classify(code, message, false), (kind, applied), "{message}");
        }
        let lost = (StoreErrorKind::Unreachable, Applied::Unknown);
        assert_eq!(classify(2, "transport error", true), lost);
    }
}
