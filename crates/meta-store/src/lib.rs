//! The narrow door to etcd: ranges, guarded transactions, leases, and what the cluster says of itself.
//!
//! Everything above works against [`Store`]; `store::etcd` is the only file that names the etcd
//! client, `store::memory` keeps the same contract in memory, and one conformance suite holds both
//! to it.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;

use milvus_meta::entry::Entry;
use milvus_meta::keys::KeyRange;

mod error;
pub mod etcd;
pub mod scan;

pub use error::{Applied, ConnectProblem, StoreError, StoreErrorKind};

/// A read of one key range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeRequest {
    /// The keys to read, in ascending order.
    pub range: KeyRange,
    /// The revision to read at; `None` reads the newest.
    pub revision: Option<i64>,
    /// At most so many entries; 0 for no limit.
    pub limit: i64,
    /// Leave the values out.
    pub keys_only: bool,
    /// Return only the count.
    pub count_only: bool,
    /// Only entries whose last change is at this revision or later; 0 for all.
    pub min_mod_revision: i64,
}

impl RangeRequest {
    /// Reads everything in `range` at the newest revision.
    #[must_use]
    pub fn new(range: KeyRange) -> Self {
        Self {
            range,
            revision: None,
            limit: 0,
            keys_only: false,
            count_only: false,
            min_mod_revision: 0,
        }
    }

    /// Reads just one key.
    #[must_use]
    pub fn key(key: impl Into<Vec<u8>>) -> Self {
        Self::new(KeyRange::single(key))
    }

    /// Reads at most `limit` entries.
    #[must_use]
    pub fn limit(mut self, limit: i64) -> Self {
        self.limit = limit;
        self
    }

    /// Reads at a given revision.
    #[must_use]
    pub fn at(mut self, revision: i64) -> Self {
        self.revision = Some(revision);
        self
    }

    /// Leaves the values out.
    #[must_use]
    pub fn keys_only(mut self) -> Self {
        self.keys_only = true;
        self
    }

    /// Returns only the count.
    #[must_use]
    pub fn count_only(mut self) -> Self {
        self.count_only = true;
        self
    }

    /// Only entries changed at `revision` or later.
    #[must_use]
    pub fn changed_since(mut self, revision: i64) -> Self {
        self.min_mod_revision = revision;
        self
    }
}

/// What a range read found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RangeResponse {
    /// Which cluster answered; 0 if unknown.
    pub cluster: u64,
    /// The store's revision when it answered (not the one read at).
    pub revision: i64,
    /// The entries in ascending key order.
    pub entries: Vec<Entry>,
    /// Whether more entries are in the range than the limit let through.
    pub more: bool,
    /// How many keys are in the range, whatever the limit.
    pub count: i64,
}

/// One condition of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compare {
    /// There is no key in the range.
    Absent(KeyRange),
    /// The key was created at this revision (0: it does not exist).
    CreateRevision(Vec<u8>, i64),
    /// The key was last changed at this revision (0: it does not exist).
    ModRevision(Vec<u8>, i64),
    /// Every key in the range was last changed before this revision.
    ChangedBefore(KeyRange, i64),
}

/// One write of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Puts a key; `lease` 0 for none.
    Put {
        /// The complete key.
        key: Bytes,
        /// The value.
        value: Bytes,
        /// The lease to attach; 0 for none.
        lease: i64,
    },
    /// Deletes every key of a range.
    Delete(KeyRange),
}

impl Op {
    /// Puts a key without a lease.
    #[must_use]
    pub fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self::Put {
            key: key.into(),
            value: value.into(),
            lease: 0,
        }
    }

    /// How many bytes of a request the operation takes, roughly.
    #[must_use]
    pub fn bytes(&self) -> usize {
        const FRAMING: usize = 24;
        match self {
            Self::Put { key, value, .. } => key.len() + value.len() + FRAMING,
            Self::Delete(range) => range.start.len() + range.end.len() + FRAMING,
        }
    }
}

/// A transaction: when every comparison holds, all operations are applied, at one revision; else none.
/// No key may be written twice.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Txn {
    /// All of these have to hold.
    pub compares: Vec<Compare>,
    /// What is then done.
    pub ops: Vec<Op>,
}

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TxnResponse {
    /// Whether every comparison held and the operations were applied.
    pub succeeded: bool,
    /// Whether that moved the store's revision: deleting nothing does not.
    pub wrote: bool,
    /// How many keys the operations deleted.
    pub deleted: u64,
    /// The store's revision afterwards.
    pub revision: i64,
}

/// What one member says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MemberStatus {
    /// Where it was asked.
    pub endpoint: String,
    /// The server's version, for example `3.5.1`.
    pub version: String,
    /// Size of the database file in bytes.
    pub db_size: u64,
    /// Bytes of the file that are in use.
    pub db_size_in_use: u64,
    /// The member's id.
    pub member_id: u64,
    /// The id of the member that leads, 0 for none.
    pub leader_id: u64,
}

/// What the cluster says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClusterStatus {
    /// The members that answered.
    pub members: Vec<MemberStatus>,
    /// Endpoints that did not answer, with the reason.
    pub unreachable: Vec<(String, String)>,
    /// Space quota in bytes, where the server tells it.
    pub quota: Option<u64>,
    /// Raised alarms, for example `NOSPACE`.
    pub alarms: Vec<String>,
}

/// A key-value store with etcd's semantics.
///
/// Errors say whether the request may have been applied ([`StoreError::applied`]).
pub trait Store: Clone + Send + Sync + 'static {
    /// Reads a range.
    fn range(
        &self,
        request: RangeRequest,
    ) -> impl Future<Output = Result<RangeResponse, StoreError>> + Send;

    /// Runs a transaction. It is never sent twice: whether to repeat it is the caller's decision.
    fn txn(&self, txn: Txn) -> impl Future<Output = Result<TxnResponse, StoreError>> + Send;

    /// Grants a lease and returns its id.
    fn lease_grant(&self, ttl: Duration) -> impl Future<Output = Result<i64, StoreError>> + Send;

    /// Renews a lease once; `false` when it no longer exists.
    fn lease_keep_alive(&self, lease: i64)
    -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Ends a lease, and with it the keys attached to it. Not an error when it is gone already.
    fn lease_revoke(&self, lease: i64) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// How long a lease still lives; `None` when it is gone.
    fn lease_remaining(
        &self,
        lease: i64,
    ) -> impl Future<Output = Result<Option<Duration>, StoreError>> + Send;

    /// Waits until some key of the range changes after `revision`; returns at once when that is no
    /// longer known, because `revision` is compacted. There is no time limit; callers bound it.
    fn wait_for_change(
        &self,
        range: KeyRange,
        revision: i64,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Asks every endpoint for its status.
    fn status(&self) -> impl Future<Output = Result<ClusterStatus, StoreError>> + Send;

    /// Forgets all history before `revision`, physically. Not an error when it is forgotten already.
    fn compact(&self, revision: i64) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Gives the free pages of the member at `endpoint` back to its file system. It blocks that member.
    fn defragment(&self, endpoint: &str) -> impl Future<Output = Result<(), StoreError>> + Send;
}
