//! What can happen at a request.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use meta_migrate::{CancelSource, Signal};
use meta_store::{StoreError, StoreErrorKind};
use meta_testing::memory::{Fault, Limits, MemoryState, MemoryStore};
use milvus_meta::keys::MetaRoot;

use crate::support::metadata::{self, definition, pair};

/// Just before the request is carried out, or just after it, before its reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    Before,
    After,
}

/// A key of the source that somebody changes although a migration is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// One that a migration carries without a look at it.
    User,
    /// One that a migration deletes during cleanup.
    Index,
    /// One that a migration rewrites in place.
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

    fn change(self, world: &mut MemoryState) {
        world.put(&self.key(), &self.value());
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

/// What was changed behind the run's back, and the revision afterwards.
#[derive(Debug, Clone, Default)]
pub(crate) struct Events(Arc<Mutex<Vec<(Disturbance, i64)>>>);

impl Events {
    fn note(&self, disturbance: Disturbance, revision: i64) {
        self.0.lock().unwrap().push((disturbance, revision));
    }

    pub(crate) fn list(&self) -> Vec<(Disturbance, i64)> {
        self.0.lock().unwrap().clone()
    }
}

/// Something that happens at one request of a run, or from it on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disturbance {
    /// The process is killed.
    Crash(When),
    /// The request is applied, its reply lost; the next one works.
    ReplyLost,
    /// The request never arrives; the next one works.
    Unreachable,
    /// The server refuses the request for good; others work.
    Denied,
    /// From here on nothing arrives any more.
    Outage,
    /// The request is applied, its reply lost, and from here on nothing arrives any more.
    ReplyLostThenOutage,
    /// The lock's lease ends.
    LeaseLost(When),
    /// A Milvus component registers.
    Intruder(When),
    /// The lock's lease ends and another program takes the lock.
    Takeover(When),
    /// A key of the source changes.
    SourceChange(Source, When),
    /// Somebody compacts everything up to now.
    Compaction,
    /// The server says once that a transaction has too many operations.
    TooManyOps,
    /// From here on the server takes at most six operations or comparisons.
    FewerOps,
    /// The server's space is used up.
    NoSpace,
    /// No answer ever comes. A store ends every request in time, so this is a caller's whole death.
    Hang,
    /// The user ends the run.
    Signal,
}

use Disturbance::{
    Compaction, Crash, Denied, FewerOps, Hang, Intruder, LeaseLost, NoSpace, Outage, ReplyLost,
    ReplyLostThenOutage, SourceChange, Takeover, TooManyOps, Unreachable,
};

/// What may happen at a read. The reads of a run follow one another: after one is before the next.
const AT_A_READ: [Disturbance; 14] = [
    Crash(When::Before),
    ReplyLost,
    Unreachable,
    Denied,
    Outage,
    LeaseLost(When::Before),
    Intruder(When::Before),
    Takeover(When::Before),
    SourceChange(Source::User, When::Before),
    SourceChange(Source::Index, When::Before),
    SourceChange(Source::Collection, When::Before),
    Compaction,
    Hang,
    Disturbance::Signal,
];

/// What may happen at a write besides: several are in flight at once.
const AT_A_WRITE: [Disturbance; 11] = [
    Crash(When::After),
    ReplyLostThenOutage,
    LeaseLost(When::After),
    Intruder(When::After),
    Takeover(When::After),
    SourceChange(Source::User, When::After),
    SourceChange(Source::Index, When::After),
    SourceChange(Source::Collection, When::After),
    TooManyOps,
    FewerOps,
    NoSpace,
];

impl Disturbance {
    /// Whether etcd refuses a request for good, so that a run may have to do without its record in the history.
    pub(crate) fn refuses(self) -> bool {
        matches!(self, Denied | TooManyOps | FewerOps | NoSpace)
    }

    pub(crate) fn possible(at_a_write: bool) -> impl Iterator<Item = Self> {
        let more = if at_a_write { &AT_A_WRITE[..] } else { &[] };
        AT_A_READ.iter().chain(more).copied()
    }

    /// Whether the process does not live to say how its run ended.
    pub(crate) fn kills(self) -> bool {
        matches!(self, Crash(_) | Hang)
    }

    /// The source key that somebody changes.
    pub(crate) fn source(self) -> Option<Source> {
        if let SourceChange(source, _) = self {
            Some(source)
        } else {
            None
        }
    }

    /// Whether nothing of ours may be applied after it.
    pub(crate) fn fences(self) -> bool {
        matches!(self, LeaseLost(_) | Intruder(_) | Takeover(_))
    }

    /// What happens at the request itself. Changes of the data are written down as events.
    pub(crate) fn fault(self, stopper: &CancelSource, events: &Events) -> Option<Fault> {
        let at = |when: When, change: fn(&mut MemoryState)| {
            let events = events.clone();
            let noted = move |world: &mut MemoryState| {
                let before = world.revision();
                change(world);
                if world.revision() > before {
                    events.note(self, world.revision());
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
            Intruder(when) => at(when, register),
            Takeover(when) => at(when, take_over),
            SourceChange(Source::User, when) => at(when, |world| Source::User.change(world)),
            SourceChange(Source::Index, when) => at(when, |world| Source::Index.change(world)),
            SourceChange(Source::Collection, when) => {
                at(when, |world| Source::Collection.change(world))
            }
            Compaction => Fault::before(|world| {
                // A neighbour writes as well, else the newest revision would still be kept.
                world.put(b"other/meta/session/rootcoord-1", b"neighbour");
                let revision = world.revision();
                drop(world.compact(revision));
            }),
            TooManyOps => Fault::too_many_ops(),
            FewerOps => Fault::before(|world| {
                world.set_limits(Limits {
                    max_txn_ops: 6,
                    ..world.limits()
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

    /// What happens at every request after that one.
    pub(crate) fn fault_from_then_on(self) -> Option<Fault> {
        matches!(self, Outage | ReplyLostThenOutage).then(Fault::unreachable)
    }
}

/// Ends the disturbances that do not end by themselves, and waits for those that do.
pub(crate) async fn subside(store: &MemoryStore) {
    store.change(|world| {
        world.clear_no_space();
        world.set_limits(Limits::default());
    });
    tokio::time::advance(LEASE + Duration::from_secs(10)).await;
    // Looking ends the leases whose time has come.
    store.look(|_| ());
}

/// Longer than anybody waits for a request that hangs.
const LEASE: Duration = Duration::from_secs(120);

fn root() -> MetaRoot {
    metadata::root()
}

fn end_lock(world: &mut MemoryState) {
    if let Some(lock) = world.get(&root().lock_key())
        && lock.value != OTHER_HOLDER
    {
        world.revoke_lease(lock.lease);
    }
}

fn register(world: &mut MemoryState) {
    world.put_leased(&intruder_key(), b"{\"Address\":\"10.0.0.1\"}", LEASE);
}

pub(crate) fn intruder_key() -> Vec<u8> {
    root().join(b"session/rootcoord")
}

fn take_over(world: &mut MemoryState) {
    end_lock(world);
    if world.get(&root().lock_key()).is_none() {
        world.put_leased(&root().lock_key(), OTHER_HOLDER, LEASE);
    }
}

/// The value of another program's lock.
pub(crate) const OTHER_HOLDER: &[u8] = b"{\"Address\":\"somebody else\"}";
