//! Transactions: validation, comparison, execution.

use std::collections::BTreeSet;

use super::{MemoryState, TxnRecord};
use meta_store::{Compare, Op, StoreError, StoreErrorKind, Txn, TxnResponse};

impl MemoryState {
    pub(in crate::memory) fn txn(
        &mut self,
        txn: &Txn,
        ordinal: u64,
    ) -> Result<TxnResponse, StoreError> {
        self.check(txn)?;
        let before = self.revision;
        let mut deleted = 0;
        let succeeded = txn.compares.iter().all(|compare| self.is_true(compare));
        if succeeded {
            for op in &txn.ops {
                if let Op::Put { lease, .. } = op
                    && *lease != 0
                    && !self.leases.contains_key(lease)
                {
                    return Err(StoreError::not_applied(
                        StoreErrorKind::LeaseNotFound,
                        "requested lease not found",
                    ));
                }
            }
            let puts = txn.ops.iter().filter(|op| matches!(op, Op::Put { .. }));
            let puts = puts.count();
            deleted = self.apply(&txn.ops) - puts;
        }
        let response = TxnResponse {
            succeeded,
            wrote: self.revision > before,
            deleted: u64::try_from(deleted).unwrap_or(u64::MAX),
            revision: self.revision,
        };
        self.transactions.push(TxnRecord {
            ordinal,
            txn: txn.clone(),
            succeeded,
            revision: self.revision,
        });
        Ok(response)
    }

    /// Performs the checks of an etcd server that do not depend on keys.
    fn check(&mut self, txn: &Txn) -> Result<(), StoreError> {
        if txn.compares.len().max(txn.ops.len()) > self.limits.max_txn_ops {
            return Err(StoreError::not_applied(
                StoreErrorKind::TooManyOps,
                "too many operations in txn request",
            ));
        }
        let mut put_keys = BTreeSet::new();
        for op in &txn.ops {
            if let Op::Put { key, .. } = op {
                if key.is_empty() {
                    return Err(StoreError::not_applied(
                        StoreErrorKind::Other,
                        "key is not provided",
                    ));
                }
                if !put_keys.insert(&**key) {
                    return Err(duplicate_key());
                }
            }
        }
        for op in &txn.ops {
            if let Op::Delete(range) = op
                && put_keys.iter().any(|key| range.contains(key))
            {
                return Err(duplicate_key());
            }
        }
        let bytes: usize = txn.ops.iter().map(Op::bytes).sum::<usize>()
            + txn.compares.iter().map(compare_bytes).sum::<usize>();
        if bytes > self.limits.max_request_bytes {
            return Err(StoreError::not_applied(
                StoreErrorKind::TooLarge,
                "request is too large",
            ));
        }
        if put_keys.is_empty() && !self.is_full(0) {
            return Ok(());
        }
        self.check_quota(bytes as u64)
    }

    /// Raises the alarm if `bytes` more exceed the quota, and rejects the write while it is raised.
    pub(super) fn check_quota(&mut self, bytes: u64) -> Result<(), StoreError> {
        if self.is_full(bytes) {
            self.no_space = true;
        }
        if self.no_space {
            return Err(StoreError::unknown(
                StoreErrorKind::NoSpace,
                "database space exceeded",
            ));
        }
        Ok(())
    }

    /// Whether the database with `bytes` more reaches the quota. Up to 3.5.1 at least, etcd then
    /// rejects even a transaction that only deletes.
    fn is_full(&self, bytes: u64) -> bool {
        let size = self.file_size + bytes;
        self.limits.quota_bytes.is_some_and(|quota| size >= quota)
    }

    fn is_true(&self, compare: &Compare) -> bool {
        match compare {
            Compare::Absent(range) => self.existing_in(range).next().is_none(),
            Compare::CreateRevision(key, revision) => {
                self.existing(key).map_or(0, |v| v.create_revision) == *revision
            }
            Compare::ModRevision(key, revision) => {
                self.existing(key).map_or(0, |v| v.mod_revision) == *revision
            }
            Compare::ChangedBefore(range, revision) => {
                // etcd compares an empty range like a key whose revisions are all 0.
                self.existing_in(range).all(|v| v.mod_revision < *revision) && *revision > 0
            }
        }
    }
}

fn compare_bytes(compare: &Compare) -> usize {
    const FRAMING: usize = 16;
    let keys = match compare {
        Compare::Absent(range) | Compare::ChangedBefore(range, _) => {
            range.start.len() + range.end.len()
        }
        Compare::CreateRevision(key, _) | Compare::ModRevision(key, _) => key.len(),
    };
    keys + FRAMING
}

fn duplicate_key() -> StoreError {
    StoreError::not_applied(StoreErrorKind::Other, "duplicate key given in txn request")
}
