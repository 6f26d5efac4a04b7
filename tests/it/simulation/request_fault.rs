//! The faults that can occur at a request.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use meta_migrate::{CancelSource, Signal};
use meta_store::{StoreError, StoreErrorKind};
use meta_testing::memory::{Fault, Limits, MemoryState, MemoryStore};
use milvus_meta::keys::MetaRoot;

use crate::support::metadata::{self, definition, pair};

/// Just before the request is executed, or just after it and before its reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    Before,
    After,
}

/// A key of the source that another client changes during a migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// A key that a migration carries without reading its value.
    User,
    /// A key that a migration deletes during cleanup.
    Index,
    /// A key that a migration rewrites in place.
    Collection,
}

impl Source {
    pub(crate) fn key(self) -> Bytes {
        let key = metadata::root().join(match self {
            Self::User => b"root-coord/credential/users/root",
            Self::Index => b"root-coord/index/1/7",
            Self::Collection => b"root-coord/collection/2",
        });
        key.into()
    }

    fn change(self, state: &mut MemoryState) {
        state.put(&self.key(), &self.value());
    }

    pub(crate) fn value(self) -> Bytes {
        use prost::Message as _;
        match self {
            Self::User => Bytes::from_static(b"{\"changed\":true}"),
            Self::Index => {
                let mut changed = definition(7);
                changed.index_params.push(pair("changed", "1"));
                changed.encode_to_vec().into()
            }
            Self::Collection => {
                let mut changed = metadata::collection(2);
                changed.field_indexes.clear();
                changed.shards_num = 9;
                changed.encode_to_vec().into()
            }
        }
    }
}

/// The concurrent changes, with the revision after each.
#[derive(Debug, Clone, Default)]
pub(crate) struct Events(Arc<Mutex<Vec<(RequestFault, i64)>>>);

impl Events {
    fn note(&self, fault: RequestFault, revision: i64) {
        self.0.lock().unwrap().push((fault, revision));
    }

    pub(crate) fn list(&self) -> Vec<(RequestFault, i64)> {
        self.0.lock().unwrap().clone()
    }
}

/// A fault at one request of a run, or from it on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestFault {
    /// The process is killed.
    Crash(When),
    /// The request is applied, its reply lost; the next request works.
    ReplyLost,
    /// The request never arrives; the next one works.
    Unreachable,
    /// The server permanently rejects the request; others work.
    Denied,
    /// From here on no request arrives.
    Outage,
    /// The request is applied, its reply lost, and from here on no request arrives.
    ReplyLostThenOutage,
    /// The lock's lease ends.
    LeaseLost(When),
    /// A Milvus component registers.
    ComponentStart(When),
    /// The lock's lease ends and another program takes the lock.
    Takeover(When),
    /// A key of the source changes.
    SourceChange(Source, When),
    /// Another client compacts everything up to now.
    Compaction,
    /// The server says once that a transaction has too many operations.
    TooManyOps,
    /// From here on the server takes at most six operations or comparisons.
    FewerOps,
    /// The server's space is used up.
    NoSpace,
    /// The response never arrives. Stores end every request in time, so this represents a dead
    /// caller.
    Hang,
    /// The user cancels the run.
    Signal,
}

use RequestFault::{
    Compaction, ComponentStart, Crash, Denied, FewerOps, Hang, LeaseLost, NoSpace, Outage,
    ReplyLost, ReplyLostThenOutage, SourceChange, Takeover, TooManyOps, Unreachable,
};

/// The faults at a read. Reads are sequential: after one read is before the next.
const AT_A_READ: [RequestFault; 14] = [
    Crash(When::Before),
    ReplyLost,
    Unreachable,
    Denied,
    Outage,
    LeaseLost(When::Before),
    ComponentStart(When::Before),
    Takeover(When::Before),
    SourceChange(Source::User, When::Before),
    SourceChange(Source::Index, When::Before),
    SourceChange(Source::Collection, When::Before),
    Compaction,
    Hang,
    RequestFault::Signal,
];

/// Additional faults at a write: several are in flight at once.
const AT_A_WRITE: [RequestFault; 11] = [
    Crash(When::After),
    ReplyLostThenOutage,
    LeaseLost(When::After),
    ComponentStart(When::After),
    Takeover(When::After),
    SourceChange(Source::User, When::After),
    SourceChange(Source::Index, When::After),
    SourceChange(Source::Collection, When::After),
    TooManyOps,
    FewerOps,
    NoSpace,
];

impl RequestFault {
    /// Whether etcd permanently rejects a request, so that a run may lack its record in the
    /// history.
    pub(crate) fn refuses(self) -> bool {
        matches!(self, Denied | TooManyOps | FewerOps | NoSpace)
    }

    pub(crate) fn possible(at_a_write: bool) -> impl Iterator<Item = Self> {
        let more = if at_a_write { &AT_A_WRITE[..] } else { &[] };
        AT_A_READ.iter().chain(more).copied()
    }

    /// Whether the process dies before it reports its result.
    pub(crate) fn kills(self) -> bool {
        matches!(self, Crash(_) | Hang)
    }

    /// The source key that another client changes.
    pub(crate) fn source(self) -> Option<Source> {
        if let SourceChange(source, _) = self {
            Some(source)
        } else {
            None
        }
    }

    /// Whether no transaction of the run may be applied after it.
    pub(crate) fn fences(self) -> bool {
        matches!(self, LeaseLost(_) | ComponentStart(_) | Takeover(_))
    }

    /// The fault at the request itself. Changes of the data are recorded as events.
    pub(crate) fn fault(self, stopper: &CancelSource, events: &Events) -> Option<Fault> {
        let at = |when: When, change: fn(&mut MemoryState)| {
            let events = events.clone();
            let noted = move |state: &mut MemoryState| {
                let before = state.revision();
                change(state);
                if state.revision() > before {
                    events.note(self, state.revision());
                }
            };
            match when {
                When::Before => Fault::before(noted),
                When::After => Fault::after(noted),
            }
        };
        Some(match self {
            Crash(When::Before) => Fault::CrashBefore,
            Crash(When::After) => Fault::CrashAfter,
            ReplyLost | ReplyLostThenOutage => Fault::LoseReply,
            Unreachable | Outage => Fault::unreachable(),
            Denied => Fault::Refuse(StoreError::not_applied(
                StoreErrorKind::Denied,
                "permission denied (scripted)",
            )),
            LeaseLost(when) => at(when, end_lock),
            ComponentStart(when) => at(when, register),
            Takeover(when) => at(when, take_over),
            SourceChange(Source::User, when) => at(when, |state| Source::User.change(state)),
            SourceChange(Source::Index, when) => at(when, |state| Source::Index.change(state)),
            SourceChange(Source::Collection, when) => {
                at(when, |state| Source::Collection.change(state))
            }
            Compaction => Fault::before(|state| {
                // A neighbour writes as well; otherwise the newest revision would be kept.
                state.put(b"other/meta/session/rootcoord-1", b"neighbour");
                let revision = state.revision();
                drop(state.compact(revision));
            }),
            TooManyOps => Fault::too_many_ops(),
            FewerOps => Fault::before(|state| {
                state.set_limits(Limits {
                    max_txn_ops: 6,
                    ..state.limits()
                });
            }),
            NoSpace => Fault::before(MemoryState::raise_no_space),
            Hang => Fault::Hang,
            Self::Signal => {
                stopper.stop(Signal::Terminate);
                return None;
            }
        })
    }

    /// The fault at every later request.
    pub(crate) fn fault_from_then_on(self) -> Option<Fault> {
        matches!(self, Outage | ReplyLostThenOutage).then(Fault::unreachable)
    }
}

/// Ends the faults that do not end by themselves, and waits for the others.
pub(crate) async fn end_faults(store: &MemoryStore) {
    store.change(|state| {
        state.clear_no_space();
        state.set_limits(Limits::default());
    });
    tokio::time::advance(LEASE + Duration::from_secs(10)).await;
    // Accessing the store expires leases.
    store.look(|_| ());
}

/// Longer than any request timeout.
const LEASE: Duration = Duration::from_secs(120);

fn root() -> MetaRoot {
    metadata::root()
}

fn end_lock(state: &mut MemoryState) {
    if let Some(lock) = state.get(&root().lock_key())
        && lock.value != OTHER_HOLDER
    {
        state.revoke_lease(lock.lease);
    }
}

fn register(state: &mut MemoryState) {
    state.put_leased(&component_key(), b"{\"Address\":\"10.0.0.1\"}", LEASE);
}

pub(crate) fn component_key() -> Vec<u8> {
    root().join(b"session/rootcoord")
}

fn take_over(state: &mut MemoryState) {
    end_lock(state);
    if state.get(&root().lock_key()).is_none() {
        state.put_leased(&root().lock_key(), OTHER_HOLDER, LEASE);
    }
}

/// The value of another program's lock.
pub(crate) const OTHER_HOLDER: &[u8] = b"{\"Address\":\"another program\"}";
