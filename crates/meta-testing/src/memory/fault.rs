//! Scripted faults of the requests of a process.

use std::collections::BTreeMap;
use std::fmt;

use super::MemoryState;
use meta_store::{RangeRequest, StoreError, StoreErrorKind, Txn};

/// The kinds of request that are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RequestKind {
    /// A range read.
    Range,
    /// A transaction.
    Txn,
    /// Grant a lease.
    LeaseGrant,
    /// Renew a lease.
    LeaseKeepAlive,
    /// Revoke a lease.
    LeaseRevoke,
    /// Query the remaining time of a lease.
    LeaseRemaining,
    /// Wait for a change.
    Wait,
    /// Query the status of the cluster.
    Status,
    /// Compact.
    Compact,
    /// Defragment.
    Defragment,
}

/// A request before its execution, for a hook.
#[derive(Debug, Clone, Copy)]
pub struct Request<'r> {
    /// The number of the request in its process, starting at 1.
    pub ordinal: u64,
    /// The kind.
    pub kind: RequestKind,
    /// The read, for a range request.
    pub range: Option<&'r RangeRequest>,
    /// The transaction, for a transaction request.
    pub txn: Option<&'r Txn>,
}

/// A change by another process.
pub type Change = Box<dyn FnOnce(&mut MemoryState) + Send>;

/// A fault at a request.
pub enum Fault {
    /// The request fails with this error and is not applied.
    Refuse(StoreError),
    /// The request is applied, but its reply is lost: the error is a timeout with unknown outcome.
    LoseReply,
    /// The process crashes before the request is applied; all later requests fail.
    CrashBefore,
    /// The process crashes after the request is applied, without a reply; all later requests fail.
    CrashAfter,
    /// The request is not applied and never answered; later requests work.
    Hang,
    /// Another process changes the data immediately before the request.
    Before(Change),
    /// Another process changes the data after the request and before the reply.
    After(Change),
}

impl Fault {
    /// Another process changes the data immediately before the request.
    pub fn before(change: impl FnOnce(&mut MemoryState) + Send + 'static) -> Self {
        Self::Before(Box::new(change))
    }

    /// Another process changes the data after the request and before the reply.
    pub fn after(change: impl FnOnce(&mut MemoryState) + Send + 'static) -> Self {
        Self::After(Box::new(change))
    }

    /// The request does not reach the store.
    #[must_use]
    pub fn unreachable() -> Self {
        Self::Refuse(StoreError::not_applied(
            StoreErrorKind::Unreachable,
            "connection refused (scripted)",
        ))
    }

    /// The server's limit of operations per transaction is lower.
    #[must_use]
    pub fn too_many_ops() -> Self {
        Self::Refuse(StoreError::not_applied(
            StoreErrorKind::TooManyOps,
            "too many operations in txn request (scripted)",
        ))
    }

    /// The space quota is exhausted. As in etcd, the write may have been applied.
    #[must_use]
    pub fn no_space() -> Self {
        Self::Refuse(StoreError::unknown(
            StoreErrorKind::NoSpace,
            "database space exceeded (scripted)",
        ))
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refuse(error) => formatter.debug_tuple("Refuse").field(error).finish(),
            Self::LoseReply => formatter.write_str("LoseReply"),
            Self::CrashBefore => formatter.write_str("CrashBefore"),
            Self::CrashAfter => formatter.write_str("CrashAfter"),
            Self::Hang => formatter.write_str("Hang"),
            Self::Before(_) => formatter.write_str("Before(..)"),
            Self::After(_) => formatter.write_str("After(..)"),
        }
    }
}

/// A hook that is called before every request.
pub(super) type Hook = Box<dyn FnMut(&Request<'_>) -> Vec<Fault> + Send>;

/// The decision about one request.
#[derive(Default)]
pub(super) struct Verdict {
    pub(super) ordinal: u64,
    pub(super) before: Vec<Change>,
    pub(super) after: Vec<Change>,
    pub(super) refuse: Option<StoreError>,
    pub(super) lose_reply: Option<StoreError>,
    pub(super) crash: bool,
    pub(super) hang: bool,
}

impl Verdict {
    /// Adds a fault. Returns `false` if it ends the request, so that later faults have no effect.
    fn add(&mut self, fault: Fault) -> bool {
        match fault {
            Fault::Before(change) => self.before.push(change),
            Fault::After(change) => self.after.push(change),
            Fault::Refuse(error) => self.refuse = Some(error),
            Fault::LoseReply => {
                self.lose_reply = Some(StoreError::unknown(
                    StoreErrorKind::Timeout,
                    "no answer in time (scripted)",
                ));
            }
            Fault::CrashBefore => {
                self.refuse = Some(crash_error());
                self.crash = true;
            }
            Fault::CrashAfter => {
                self.lose_reply = Some(crash_error());
                self.crash = true;
            }
            Fault::Hang => self.hang = true,
        }
        self.refuse.is_none() && !self.hang
    }
}

/// The faults and the request count of one process.
#[derive(Default)]
pub(super) struct Script {
    ordinal: u64,
    counts: BTreeMap<RequestKind, u64>,
    faults: BTreeMap<u64, Vec<Fault>>,
    hook: Option<Hook>,
    crashed: bool,
}

impl Script {
    pub(super) fn ordinal(&self) -> u64 {
        self.ordinal
    }

    pub(super) fn counts(&self) -> &BTreeMap<RequestKind, u64> {
        &self.counts
    }

    pub(super) fn add(&mut self, ordinal: u64, fault: Fault) {
        self.faults.entry(ordinal).or_default().push(fault);
    }

    pub(super) fn set_hook(&mut self, hook: Hook) {
        self.hook = Some(hook);
    }

    pub(super) fn is_crashed(&self) -> bool {
        self.crashed
    }

    pub(super) fn crash(&mut self) {
        self.crashed = true;
    }

    /// Counts a request and decides which faults apply.
    pub(super) fn begin(
        &mut self,
        kind: RequestKind,
        range: Option<&RangeRequest>,
        txn: Option<&Txn>,
    ) -> Verdict {
        if self.crashed {
            return Verdict {
                ordinal: self.ordinal,
                refuse: Some(crash_error()),
                ..Verdict::default()
            };
        }
        self.ordinal += 1;
        *self.counts.entry(kind).or_default() += 1;
        let mut faults = self.faults.remove(&self.ordinal).unwrap_or_default();
        if let Some(hook) = &mut self.hook {
            faults.extend(hook(&Request {
                ordinal: self.ordinal,
                kind,
                range,
                txn,
            }));
        }
        let mut verdict = Verdict {
            ordinal: self.ordinal,
            ..Verdict::default()
        };
        for fault in faults {
            if !verdict.add(fault) {
                break;
            }
        }
        verdict
    }
}

/// A crashed process receives no reply. The kind is not transient, so that there are no retries.
fn crash_error() -> StoreError {
    StoreError::unknown(StoreErrorKind::Other, "the process has crashed (scripted)")
}
