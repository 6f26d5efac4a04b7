//! The data of an in-memory store: keys with their history, leases, limits.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use meta_store::{Op, RangeRequest, RangeResponse, StoreError, StoreErrorKind, Txn};
use milvus_meta::entry::Entry;
use milvus_meta::keys::KeyRange;

mod lease;
mod transaction;

use lease::Lease;

/// Approximate overhead of each stored version of a key in etcd, in bytes.
const VERSION_OVERHEAD_BYTES: u64 = 64;

/// The limits of the store, as configured for an etcd server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Maximum number of comparisons, and of operations, in a transaction (`--max-txn-ops`).
    pub max_txn_ops: usize,
    /// Maximum size of a request in bytes (`--max-request-bytes`).
    pub max_request_bytes: usize,
    /// Space quota in bytes (`--quota-backend-bytes`); `None` for no limit, and no quota in the
    /// status.
    pub quota_bytes: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_txn_ops: 128,
            max_request_bytes: 1_572_864,
            quota_bytes: None,
        }
    }
}

/// An executed transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TxnRecord {
    /// The number of the request in its process, starting at 1.
    pub ordinal: u64,
    /// The transaction.
    pub txn: Txn,
    /// Whether all comparisons were true.
    pub succeeded: bool,
    /// The store's revision after the transaction, which is that of its changes if there are any.
    pub revision: i64,
}

/// A version of a key; without a value it is a deletion.
#[derive(Debug, Clone)]
struct Version {
    create_revision: i64,
    mod_revision: i64,
    value: Option<Arc<[u8]>>,
    lease: i64,
}

/// The data shared by all processes.
#[derive(Debug, Clone)]
pub struct MemoryState {
    cluster: u64,
    revision: i64,
    compacted: i64,
    keys: BTreeMap<Vec<u8>, Vec<Version>>,
    leases: BTreeMap<i64, Lease>,
    last_lease: i64,
    limits: Limits,
    no_space: bool,
    in_use: u64,
    file_size: u64,
    transactions: Vec<TxnRecord>,
}

impl MemoryState {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            cluster: 0,
            // A new etcd is at revision 1.
            revision: 1,
            compacted: 0,
            keys: BTreeMap::new(),
            leases: BTreeMap::new(),
            last_lease: 0x1000,
            limits,
            no_space: false,
            in_use: 0,
            file_size: 0,
            transactions: Vec::new(),
        }
    }

    /// The newest revision.
    #[must_use]
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// The limits.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Changes the limits.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Sets the cluster id in replies; initially 0, which means unknown.
    pub fn set_cluster(&mut self, cluster: u64) {
        self.cluster = cluster;
    }

    /// Puts a key without a lease, at a new revision.
    pub fn put(&mut self, key: &[u8], value: &[u8]) {
        self.apply(&[Op::put(key.to_vec(), value.to_vec())]);
    }

    /// Puts a key with a new lease, like the session of a component, and returns the lease.
    pub fn put_leased(&mut self, key: &[u8], value: &[u8], ttl: Duration) -> i64 {
        let lease = self.add_lease(ttl);
        self.apply(&[Op::Put {
            key: key.to_vec().into(),
            value: value.to_vec().into(),
            lease,
        }]);
        lease
    }

    /// Removes a key with its history and without a new revision, like a corrupt database file.
    pub fn lose(&mut self, key: &[u8]) {
        self.keys.remove(key);
    }

    /// Deletes the keys of a range and returns their number.
    pub fn delete(&mut self, range: &KeyRange) -> usize {
        self.apply(&[Op::Delete(range.clone())])
    }

    /// The entry at `key`.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<Entry> {
        let version = self.keys.get(key)?.last()?;
        entry_of(key, version)
    }

    /// The existing keys in ascending order.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        self.entries_at(self.revision)
    }

    /// The keys that existed at `revision`, in ascending order.
    #[must_use]
    pub fn entries_at(&self, revision: i64) -> Vec<Entry> {
        self.keys
            .iter()
            .filter_map(|(key, versions)| entry_of(key, version_at(versions, revision)?))
            .collect()
    }

    /// Raises the alarm `NOSPACE`: puts and new leases are rejected.
    pub fn raise_no_space(&mut self) {
        self.no_space = true;
    }

    /// Clears the alarm.
    pub fn clear_no_space(&mut self) {
        self.no_space = false;
    }

    /// The recorded transactions.
    #[must_use]
    pub fn transactions(&self) -> &[TxnRecord] {
        &self.transactions
    }

    /// Clears the recorded transactions.
    pub fn forget_transactions(&mut self) {
        self.transactions.clear();
    }

    /// Compacts the history before `revision`.
    ///
    /// # Errors
    /// As etcd: if the revision is already compacted, or in the future.
    pub fn compact(&mut self, revision: i64) -> Result<(), StoreError> {
        if revision <= self.compacted {
            return Err(compacted());
        }
        if revision > self.revision {
            return Err(future_revision());
        }
        self.compacted = revision;
        let mut in_use = 0;
        self.keys.retain(|key, versions| {
            let end = versions.partition_point(|version| version.mod_revision <= revision);
            let mut first = end.saturating_sub(1);
            if versions
                .get(first)
                .is_some_and(|version| version.mod_revision <= revision && version.value.is_none())
            {
                first += 1;
            }
            versions.drain(..first);
            in_use += versions
                .iter()
                .map(|version| size_of(key, version))
                .sum::<u64>();
            !versions.is_empty()
        });
        self.in_use = in_use;
        Ok(())
    }

    pub(super) fn defragment(&mut self) {
        self.file_size = self.in_use;
    }

    pub(super) fn db_size(&self) -> u64 {
        self.file_size
    }

    pub(super) fn db_size_in_use(&self) -> u64 {
        self.in_use
    }

    pub(super) fn alarms(&self) -> Vec<String> {
        if self.no_space {
            vec!["NOSPACE".to_owned()]
        } else {
            Vec::new()
        }
    }

    pub(super) fn range(&self, request: &RangeRequest) -> Result<RangeResponse, StoreError> {
        let revision = match request.revision {
            Some(revision) if revision > 0 => revision,
            _ => self.revision,
        };
        if revision > self.revision {
            return Err(future_revision());
        }
        if revision < self.compacted {
            return Err(compacted());
        }
        let limit = usize::try_from(request.limit).unwrap_or(0);
        let mut response = RangeResponse {
            cluster: self.cluster,
            revision: self.revision,
            ..RangeResponse::default()
        };
        for (key, versions) in self.keys_in(&request.range) {
            let Some(version) = version_at(versions, revision) else {
                continue;
            };
            response.count += 1;
            if request.count_only {
                continue;
            }
            if limit > 0 && response.entries.len() == limit {
                response.more = true;
                continue;
            }
            if let Some(mut entry) = entry_of(key, version) {
                if request.keys_only {
                    entry.value.clear();
                }
                response.entries.push(entry);
            }
        }
        Ok(response)
    }

    fn keys_in(&self, range: &KeyRange) -> impl Iterator<Item = (&Vec<u8>, &Vec<Version>)> {
        let end = if range.is_open() {
            Bound::Unbounded
        } else {
            // A map panics if the end is before the start.
            Bound::Excluded(range.end.as_slice().max(&range.start))
        };
        self.keys
            .range::<[u8], _>((Bound::Included(range.start.as_slice()), end))
    }

    fn existing_in(&self, range: &KeyRange) -> impl Iterator<Item = &Version> {
        self.keys_in(range)
            .filter_map(|(_, versions)| versions.last())
            .filter(|version| version.value.is_some())
    }

    fn existing(&self, key: &[u8]) -> Option<&Version> {
        let version = self.keys.get(key)?.last()?;
        version.value.is_some().then_some(version)
    }

    /// Applies operations at one new revision and returns the number of changed keys. The revision
    /// advances only if there are any.
    fn apply(&mut self, ops: &[Op]) -> usize {
        let revision = self.revision + 1;
        let mut changes = 0;
        for op in ops {
            match op {
                Op::Put { key, value, lease } => {
                    self.write(key, Some((&**value).into()), *lease, revision);
                    changes += 1;
                }
                Op::Delete(range) => {
                    let keys: Vec<Vec<u8>> = self
                        .keys_in(range)
                        .filter(|(_, versions)| versions.last().is_some_and(|v| v.value.is_some()))
                        .map(|(key, _)| key.clone())
                        .collect();
                    for key in keys {
                        self.write(&key, None, 0, revision);
                        changes += 1;
                    }
                }
            }
        }
        if changes > 0 {
            self.revision = revision;
        }
        changes
    }

    fn write(&mut self, key: &[u8], value: Option<Arc<[u8]>>, lease: i64, revision: i64) {
        let old = self.existing(key).map(|v| (v.create_revision, v.lease));
        let (create_revision, old_lease) = old.unwrap_or((revision, 0));
        if let Some(old_lease) = self.leases.get_mut(&old_lease) {
            old_lease.keys.remove(key);
        }
        if let Some(lease) = self.leases.get_mut(&lease) {
            lease.keys.insert(key.to_vec());
        }
        let version = Version {
            create_revision,
            mod_revision: revision,
            value,
            lease,
        };
        self.in_use += size_of(key, &version);
        self.file_size = self.file_size.max(self.in_use);
        self.keys.entry(key.to_vec()).or_default().push(version);
    }

    /// Whether a key of the range changed after `revision`; also `true` if this is unknown.
    pub(super) fn changed_since(&self, range: &KeyRange, revision: i64) -> bool {
        revision + 1 < self.compacted
            || self.keys_in(range).any(|(_, versions)| {
                versions
                    .last()
                    .is_some_and(|version| version.mod_revision > revision)
            })
    }
}

/// The version of a key at `revision`; `None` if it did not exist.
fn version_at(versions: &[Version], revision: i64) -> Option<&Version> {
    let end = versions.partition_point(|version| version.mod_revision <= revision);
    let version = versions.get(end.checked_sub(1)?)?;
    version.value.is_some().then_some(version)
}

fn entry_of(key: &[u8], version: &Version) -> Option<Entry> {
    Some(Entry {
        key: key.to_vec().into(),
        value: version.value.as_ref()?.to_vec().into(),
        create_revision: version.create_revision,
        mod_revision: version.mod_revision,
        lease: version.lease,
    })
}

fn size_of(key: &[u8], version: &Version) -> u64 {
    let value = version.value.as_ref().map_or(0, |value| value.len());
    (key.len() + value) as u64 + VERSION_OVERHEAD_BYTES
}

fn compacted() -> StoreError {
    StoreError::not_applied(
        StoreErrorKind::Compacted,
        "required revision has been compacted",
    )
}

fn future_revision() -> StoreError {
    StoreError::not_applied(
        StoreErrorKind::Other,
        "required revision is a future revision",
    )
}
