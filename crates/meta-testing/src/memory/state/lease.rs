//! Leases, with tokio's clock.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use super::MemoryState;
use meta_store::{Op, StoreError};
use milvus_meta::keys::KeyRange;

/// The minimum lease TTL of etcd with its default election timeout.
const MIN_LEASE_TTL: Duration = Duration::from_secs(2);

#[derive(Debug, Clone)]
pub(super) struct Lease {
    pub(super) ttl: Duration,
    pub(super) expires: Instant,
    pub(super) keys: BTreeSet<Vec<u8>>,
}

impl MemoryState {
    /// Revokes a lease and deletes its keys at one revision.
    pub fn revoke_lease(&mut self, lease: i64) {
        if let Some(revoked) = self.leases.remove(&lease) {
            let deletes: Vec<Op> = revoked
                .keys
                .into_iter()
                .map(|key| Op::Delete(KeyRange::single(key)))
                .collect();
            self.apply(&deletes);
        }
    }

    pub(super) fn add_lease(&mut self, ttl: Duration) -> i64 {
        self.last_lease += 1;
        // etcd rounds TTLs up to seconds.
        let mut seconds = ttl.as_secs();
        if ttl.subsec_nanos() > 0 {
            seconds += 1;
        }
        let ttl = Duration::from_secs(seconds).max(MIN_LEASE_TTL);
        let lease = Lease {
            ttl,
            expires: Instant::now() + ttl,
            keys: BTreeSet::new(),
        };
        self.leases.insert(self.last_lease, lease);
        self.last_lease
    }

    pub(in crate::memory) fn grant_lease(&mut self, ttl: Duration) -> Result<i64, StoreError> {
        self.check_quota(0)?;
        Ok(self.add_lease(ttl))
    }

    pub(in crate::memory) fn keep_lease_alive(&mut self, lease: i64) -> bool {
        let Some(lease) = self.leases.get_mut(&lease) else {
            return false;
        };
        lease.expires = Instant::now() + lease.ttl;
        true
    }

    pub(in crate::memory) fn lease_remaining(&self, lease: i64) -> Option<Duration> {
        let lease = self.leases.get(&lease)?;
        Some(lease.expires.saturating_duration_since(Instant::now()))
    }

    pub(in crate::memory) fn expire_leases(&mut self, now: Instant) {
        while let Some(lease) = self.leases.iter().find(|(_, lease)| lease.expires <= now) {
            let lease = *lease.0;
            self.revoke_lease(lease);
        }
    }

    pub(in crate::memory) fn next_expiry(&self) -> Option<Instant> {
        self.leases.values().map(|lease| lease.expires).min()
    }
}
