//! The limits of a run.

use std::time::Duration;

use meta_backup::Tolerance;

/// The limits of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Operations in one transaction. etcd's default limit is 128; a run uses fewer if the server
    /// rejects that many.
    pub txn_ops_max: usize,
    /// Bytes of keys and values in one transaction. etcd's default request limit is 1.5 MiB; a
    /// larger entry gets a separate transaction.
    pub txn_bytes_max: usize,
    /// Number of transactions in flight.
    pub in_flight: usize,
    /// Maximum number of keys that one range delete removes.
    pub delete_keys_max: usize,
    /// How long a failing request is retried.
    pub retry_timeout: Duration,
    /// How often a scan is attempted if its revision is compacted.
    pub capture_attempts_max: u32,
    /// Time to live of the lock's lease.
    pub lock_ttl: Duration,
    /// Tolerance for defects when a backup is read.
    pub tolerance: Tolerance,
}

impl Limits {
    /// Returns the limits with one transaction at a time.
    pub(super) fn one_by_one(self) -> Self {
        Self {
            in_flight: 1,
            ..self
        }
    }

    /// Returns the limits for deleting ranges: one range per transaction, so that the server stays
    /// responsive to other clients.
    pub(super) fn for_deletes(self) -> Self {
        Self {
            txn_ops_max: 1,
            ..self
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            txn_ops_max: 128,
            txn_bytes_max: 1 << 20,
            in_flight: 8,
            delete_keys_max: 1000,
            retry_timeout: Duration::from_secs(30),
            capture_attempts_max: 5,
            lock_ttl: Duration::from_secs(20),
            tolerance: Tolerance::default(),
        }
    }
}
