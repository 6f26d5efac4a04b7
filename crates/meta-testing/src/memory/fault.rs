//! Scripted faults: what shall happen at which request of a process.

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
    /// A new lease.
    LeaseGrant,
    /// A lease renewed.
    LeaseKeepAlive,
    /// A lease ended.
    LeaseRevoke,
    /// A lease asked for its remaining time.
    LeaseRemaining,
    /// A wait for a change.
    Wait,
    /// The status of the cluster.
    Status,
    /// A compaction.
    Compact,
    /// A defragmentation.
    Defragment,
}

/// A request about to be carried out, as a hook sees it.
#[derive(Debug, Clone, Copy)]
pub struct Request<'r> {
    /// Its number among all requests of the process, counted from 1.
    pub ordinal: u64,
    /// What it is.
    pub kind: RequestKind,
    /// The read, where it is one.
    pub range: Option<&'r RangeRequest>,
    /// The transaction, where it is one.
    pub txn: Option<&'r Txn>,
}

/// What another program does to the data.
pub type Change = Box<dyn FnOnce(&mut MemoryState) + Send>;

/// Something that happens at a request.
pub enum Fault {
    /// Nothing is applied and the request fails with this error.
    Refuse(StoreError),
    /// The request is applied, and its reply lost: a time-out that may have been applied.
    LoseReply,
    /// The process ends before the request is applied; all its later requests fail.
    CrashBefore,
    /// The request is applied and the process ends without hearing of it; all its later requests fail.
    CrashAfter,
    /// Nothing is applied and no answer ever comes; later requests work.
    Hang,
    /// Somebody else changes the data just before the request is carried out.
    Before(Change),
    /// Somebody else changes the data just after the request was carried out, before its reply.
    After(Change),
}

impl Fault {
    /// Somebody else changes the data just before the request is carried out.
    pub fn before(change: impl FnOnce(&mut MemoryState) + Send + 'static) -> Self {
        Self::Before(Box::new(change))
    }

    /// Somebody else changes the data just after the request was carried out.
    pub fn after(change: impl FnOnce(&mut MemoryState) + Send + 'static) -> Self {
        Self::After(Box::new(change))
    }

    /// The request never reaches the store.
    #[must_use]
    pub fn unreachable() -> Self {
        Self::Refuse(StoreError::not_applied(
            StoreErrorKind::Unreachable,
            "connection refused (scripted)",
        ))
    }

    /// The server takes fewer operations in a transaction.
    #[must_use]
    pub fn too_many_ops() -> Self {
        Self::Refuse(StoreError::not_applied(
            StoreErrorKind::TooManyOps,
            "too many operations in txn request (scripted)",
        ))
    }

    /// The space quota is used up. As with etcd, the caller cannot know whether the write went through.
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

/// A hook that is asked before every request.
pub(super) type Hook = Box<dyn FnMut(&Request<'_>) -> Vec<Fault> + Send>;

/// What is decided for one request.
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
    /// Adds a fault; `false` when it ends the request, so that no later fault matters.
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

/// The script of one process, and its count of requests.
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

    /// Counts a request and decides what happens at it.
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

/// A dead process hears nothing. The kind is not transient, so that nothing is tried again.
fn crash_error() -> StoreError {
    StoreError::unknown(StoreErrorKind::Other, "the process has crashed (scripted)")
}
