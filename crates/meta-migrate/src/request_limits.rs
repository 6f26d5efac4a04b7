//! Checks before the first write that the server accepts the largest requests of a run.
//!
//! etcd checks the size of a request and the number of its operations before it evaluates
//! comparisons. So the transaction is sent with an additional comparison that never holds: the
//! server applies its configured limits, and nothing is written.

use meta_store::{Compare, Op, Store, StoreErrorKind, Txn};
use milvus_meta::keys::{KeyRange, MetaRoot};
use milvus_meta::transform::{Migration, Put, Task};

use crate::commit::{removal_ops, source_compares};
use crate::context::Etcd;
use crate::error::{CommitSize, EngineErrorKind, while_doing};
use crate::guards;
use crate::retry;

/// Size of a journal without the path of the backup.
const JOURNAL_BYTES: usize = 896;

#[derive(Debug, Clone, Default)]
pub(super) struct Largest {
    /// The largest entry; a server that accepts it accepts all others.
    entry: Option<Put>,
    task: Task,
    commit: Vec<Op>,
}

impl Largest {
    /// Returns the largest requests of `migration`, whose backup has a path of `path_bytes`.
    pub(super) fn of(migration: &Migration, root: &MetaRoot, path_bytes: usize) -> Self {
        let mut commit = removal_ops(migration);
        // A value of the journal's length, which contains the backup's path.
        let journal = vec![0; JOURNAL_BYTES + path_bytes];
        commit.push(Op::put(root.journal_key(), journal));
        Self {
            entry: migration.largest(),
            task: migration.task,
            commit,
        }
    }

    /// Checks whether the server accepts the largest entry.
    pub(super) async fn check_entry<S: Store>(
        &self,
        etcd: Etcd<'_, S>,
    ) -> Result<(), EngineErrorKind> {
        match &self.entry {
            Some(put) => check_entry(etcd, &put.key, &put.value).await,
            None => Ok(()),
        }
    }

    /// Checks whether the server accepts the commit in one transaction.
    pub(super) async fn check_commit<S: Store>(
        &self,
        etcd: Etcd<'_, S>,
    ) -> Result<(), EngineErrorKind> {
        if self.commit.is_empty() {
            return Ok(());
        }
        let compares = source_compares(etcd.root, self.task, 0);
        let comparisons = compares.len() + guards::never(etcd.root).len();
        let operations = self.commit.len().max(comparisons);
        let size = match refusal(etcd, compares, self.commit.clone()).await? {
            Some(StoreErrorKind::TooLarge) => {
                CommitSize::Bytes(self.commit.iter().map(Op::bytes).sum())
            }
            Some(_) => CommitSize::Operations(operations),
            None => return Ok(()),
        };
        Err(EngineErrorKind::CommitTooLarge(size))
    }
}

/// Checks whether the server accepts an entry in a separate transaction.
pub(super) async fn check_entry<S: Store>(
    etcd: Etcd<'_, S>,
    key: &[u8],
    value: &[u8],
) -> Result<(), EngineErrorKind> {
    let ops = vec![Op::put(key.to_vec(), value.to_vec())];
    // An overwriting put compares that the key is unchanged.
    let compares = vec![Compare::ChangedBefore(KeyRange::single(key), 1)];
    match refusal(etcd, compares, ops).await? {
        Some(StoreErrorKind::TooLarge) => Err(EngineErrorKind::EntryTooLarge {
            key: key.to_vec(),
            bytes: key.len() + value.len(),
        }),
        _ => Ok(()),
    }
}

/// Sends a transaction that cannot succeed and returns the limit for which the server rejects it.
async fn refusal<S: Store>(
    etcd: Etcd<'_, S>,
    mut compares: Vec<Compare>,
    ops: Vec<Op>,
) -> Result<Option<StoreErrorKind>, EngineErrorKind> {
    compares.extend(guards::never(etcd.root));
    let txn = Txn { compares, ops };
    let Err(error) = retry::write(etcd.store, etcd.limits.retry_timeout, &txn).await else {
        return Ok(None);
    };
    let kind = error.kind;
    if matches!(kind, StoreErrorKind::TooLarge | StoreErrorKind::TooManyOps) {
        return Ok(Some(kind));
    }
    Err(while_doing("checking etcd's request limits")(error))
}
