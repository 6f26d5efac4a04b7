//! The `Store` trait and its implementation for etcd: ranges, guarded transactions, leases, status.
//!
//! All other crates use [`Store`]. Only [`etcd`] uses the etcd client; `meta-testing` implements
//! the trait in memory, and one conformance suite tests both implementations.

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
    /// Maximum number of entries; 0 for no limit.
    pub limit: i64,
    /// Omit the values.
    pub keys_only: bool,
    /// Return only the count.
    pub count_only: bool,
}

impl RangeRequest {
    /// Requests all entries of `range` at the newest revision.
    #[must_use]
    pub fn new(range: KeyRange) -> Self {
        Self {
            range,
            revision: None,
            limit: 0,
            keys_only: false,
            count_only: false,
        }
    }

    /// Requests a single key.
    #[must_use]
    pub fn key(key: impl Into<Vec<u8>>) -> Self {
        Self::new(KeyRange::single(key))
    }

    /// Limits the number of entries.
    #[must_use]
    pub fn limit(mut self, limit: i64) -> Self {
        self.limit = limit;
        self
    }

    /// Sets the revision to read at.
    #[must_use]
    pub fn at(mut self, revision: i64) -> Self {
        self.revision = Some(revision);
        self
    }

    /// Omits the values.
    #[must_use]
    pub fn keys_only(mut self) -> Self {
        self.keys_only = true;
        self
    }

    /// Requests only the count.
    #[must_use]
    pub fn count_only(mut self) -> Self {
        self.count_only = true;
        self
    }
}

/// The result of a range read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RangeResponse {
    /// The id of the cluster that answered; 0 if unknown.
    pub cluster: u64,
    /// The store's revision at the time of the reply (not the revision read at).
    pub revision: i64,
    /// The entries in ascending key order.
    pub entries: Vec<Entry>,
    /// Whether the limit left out entries of the range.
    pub more: bool,
    /// The number of keys in the range, independent of the limit.
    pub count: i64,
}

/// One condition of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compare {
    /// No key of the range exists.
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
    /// Puts a key.
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

    /// Returns the approximate size in a request, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        const FRAMING: usize = 24;
        match self {
            Self::Put { key, value, .. } => key.len() + value.len() + FRAMING,
            Self::Delete(range) => range.start.len() + range.end.len() + FRAMING,
        }
    }
}

/// A transaction: if every comparison is true, all operations are applied at one revision; else
/// none. It must not write a key twice.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Txn {
    /// The conditions.
    pub compares: Vec<Compare>,
    /// The writes to apply if all conditions are true.
    pub ops: Vec<Op>,
}

/// The result of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TxnResponse {
    /// Whether every comparison was true, so that the operations were applied.
    pub succeeded: bool,
    /// Whether the revision of the store advanced; deleting nothing does not advance it.
    pub wrote: bool,
    /// The number of deleted keys.
    pub deleted: u64,
    /// The store's revision after the transaction.
    pub revision: i64,
}

/// The status of one member.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MemberStatus {
    /// The endpoint that was queried.
    pub endpoint: String,
    /// The server's version, for example `3.5.1`.
    pub version: String,
    /// Size of the database file in bytes.
    pub db_size: u64,
    /// Bytes of the file in use.
    pub db_size_in_use: u64,
    /// The member's id.
    pub member_id: u64,
    /// The id of the leader, 0 for none.
    pub leader_id: u64,
}

/// The status of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClusterStatus {
    /// The members that responded.
    pub members: Vec<MemberStatus>,
    /// Endpoints that did not respond, with the reason.
    pub unreachable: Vec<(String, String)>,
    /// Space quota in bytes, if the server reports it.
    pub quota: Option<u64>,
    /// Raised alarms, for example `NOSPACE`.
    pub alarms: Vec<String>,
}

/// A key-value store with etcd's semantics. Each error says whether the request may have been
/// applied ([`StoreError::applied`]).
pub trait Store: Clone + Send + Sync + 'static {
    /// Reads a range.
    fn range(
        &self,
        request: RangeRequest,
    ) -> impl Future<Output = Result<RangeResponse, StoreError>> + Send;

    /// Runs a transaction. After an unknown outcome it is not sent again: the caller decides.
    fn txn(&self, txn: Txn) -> impl Future<Output = Result<TxnResponse, StoreError>> + Send;

    /// Grants a lease and returns its id.
    fn lease_grant(&self, ttl: Duration) -> impl Future<Output = Result<i64, StoreError>> + Send;

    /// Renews a lease once; `false` if it no longer exists.
    fn lease_keep_alive(&self, lease: i64)
    -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Revokes a lease, which deletes its keys. A lease that no longer exists is not an error.
    fn lease_revoke(&self, lease: i64) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Returns the remaining lifetime of a lease; `None` if it no longer exists.
    fn lease_remaining(
        &self,
        lease: i64,
    ) -> impl Future<Output = Result<Option<Duration>, StoreError>> + Send;

    /// Waits until a key of the range changes after `revision`. Returns at once if `revision` is
    /// compacted, because changes since are unknown. There is no timeout; callers set one.
    fn wait_for_change(
        &self,
        range: KeyRange,
        revision: i64,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Queries the status of every endpoint.
    fn status(&self) -> impl Future<Output = Result<ClusterStatus, StoreError>> + Send;

    /// Compacts the history before `revision`, physically. If it is already compacted, this is no
    /// error.
    fn compact(&self, revision: i64) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Defragments the member at `endpoint`, which blocks that member.
    fn defragment(&self, endpoint: &str) -> impl Future<Output = Result<(), StoreError>> + Send;
}
