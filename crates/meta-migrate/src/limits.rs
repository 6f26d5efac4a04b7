//! Every limit of a run, named.

use std::time::Duration;

use meta_backup::Tolerance;

/// The limits within which a run works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Operations in one transaction. etcd's own default limit is 128; a run adapts downward when the
    /// server says "too many".
    pub txn_ops_max: usize,
    /// Bytes of keys and values in one transaction. etcd's own default limit for a request is 1.5 MiB;
    /// a single larger entry gets a separate transaction.
    pub txn_bytes_max: usize,
    /// Transactions in flight at once, at most; a run adapts to what the server takes.
    pub in_flight_max: usize,
    /// With how many of them in flight writing begins, if that many are allowed.
    pub in_flight_first: usize,
    /// Keys that one range delete may remove.
    pub delete_keys_max: usize,
    /// How long a failing request is repeated before the run gives up.
    pub retry_timeout: Duration,
    /// How often a capture starts again because its revision was compacted.
    pub capture_attempts_max: u32,
    /// Life time of the lock's lease.
    pub lock_ttl: Duration,
    /// What is accepted of a backup that is read.
    pub tolerance: Tolerance,
}

impl Limits {
    /// The same with one transaction at a time.
    pub(super) fn one_by_one(self) -> Self {
        Self {
            in_flight_first: 1,
            in_flight_max: 1,
            ..self
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            txn_ops_max: 128,
            txn_bytes_max: 1 << 20,
            in_flight_max: 16,
            in_flight_first: 8,
            delete_keys_max: 1000,
            retry_timeout: Duration::from_secs(30),
            capture_attempts_max: 5,
            lock_ttl: Duration::from_secs(20),
            tolerance: Tolerance::default(),
        }
    }
}
