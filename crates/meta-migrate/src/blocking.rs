//! Findings about etcd's current state that prevent a migration from starting, independent of its
//! plan.

use crate::journal::Phase;
use meta_report::SessionReport;
use meta_report::shell::quoted;
use meta_store::{Compare, Op, Store, StoreErrorKind, Txn};
use milvus_meta::entry::printable;
use milvus_meta::finding::Finding;
use milvus_meta::keys::{KeyRange, MetaRoot};

use crate::context::Etcd;
use crate::error::{EngineError, EngineErrorKind, while_doing};
use crate::journal_store::JournalStore;
use crate::limits::Limits;
use crate::plan::Planned;
use crate::quota::QuotaCheck;
use crate::sessions::lock_holder;
use crate::{Environment, retry, sessions};

/// A Milvus component is registered.
pub const LIVE_SESSION: &str = "live-session";
/// Another run holds the lock.
pub const LOCK_HELD: &str = "lock-held";
/// A backup is partly restored.
pub const UNFINISHED_RESTORE: &str = "unfinished-restore";

/// Checks whether `migrate` would start now, without writing.
pub async fn blocking<S: Store>(
    store: &S,
    root: &MetaRoot,
    planned: &Planned,
    limits: &Limits,
    environment: &Environment,
) -> Result<Vec<Finding>, EngineError> {
    let plan = &planned.report;
    let etcd = environment.etcd(store, root, limits);
    let ask = async {
        let journal_store = JournalStore::load(etcd).await?;
        let phase = journal_store.phase();
        let mut found = Vec::new();
        if let Some(holder) = lock_holder(etcd).await? {
            found.push(lock_held(&holder));
        }
        let writes = plan.put + plan.rewrite + plan.delete > 0;
        let unfinished = phase.is_some_and(|phase| phase != Phase::Done);
        if !(writes || unfinished) {
            return Ok(found);
        }
        if phase == Some(Phase::Restoring) {
            let backup = journal_store.backup().map(|backup| backup.path.as_str());
            found.push(unfinished_restore(root, backup));
        }
        let (live, _) = sessions::registered(etcd).await?;
        found.extend(live.iter().map(live_session));
        let permission = write_permission(etcd).await?;
        let may_write = permission.is_none();
        found.extend(permission);
        if may_write {
            check_history(etcd).await?;
        }
        let staged = phase.is_some_and(Phase::is_before_commit);
        let quota = QuotaCheck::ask(store, limits.retry_timeout);
        let checked = quota.check_migration(plan, staged, planned.source_bytes);
        let mut may_probe = may_write;
        match checked.await {
            Ok(None) => {}
            Ok(Some(warning)) => environment.observer.note(&warning),
            Err(failure @ EngineErrorKind::Alarm(_)) => {
                may_probe = false;
                found.push(Finding::error("alarm", b"", failure.to_string()));
            }
            Err(failure @ EngineErrorKind::NoRoom { .. }) => {
                found.push(Finding::error("no-space", b"", failure.to_string()));
            }
            Err(failure) => return Err(failure),
        }
        if may_probe {
            found.extend(request_limits(etcd, planned).await?);
        }
        found.sort();
        Ok::<_, EngineErrorKind>(found)
    };
    ask.await.map_err(EngineError::before_writing)
}

fn live_session(session: &SessionReport) -> Finding {
    let message = format!(
        "the Milvus component {} at {} is running, or stopped less than a minute ago ({}); stop Milvus",
        session.role,
        session.address,
        session.ending()
    );
    Finding::error(LIVE_SESSION, session.key.as_bytes(), message)
}

fn lock_held(holder: &SessionReport) -> Finding {
    let message = format!(
        "another migration, on {}, holds the lock ({}); wait until it ends",
        holder.address,
        holder.ending()
    );
    Finding::error(LOCK_HELD, holder.key.as_bytes(), message)
}

fn unfinished_restore(root: &MetaRoot, backup: Option<&str>) -> Finding {
    let file = backup.unwrap_or("FILE");
    let message = format!(
        "a restore of {file} was interrupted. Run meta-migration restore --backup-file {file} to finish it; \
         migrate finishes it, too, before it starts"
    );
    Finding::error(UNFINISHED_RESTORE, &root.journal_key(), message)
}

/// Returns findings about requests that exceed etcd's limits, without writing.
async fn request_limits<S: Store>(
    etcd: Etcd<'_, S>,
    planned: &Planned,
) -> Result<Vec<Finding>, EngineErrorKind> {
    let largest = &planned.largest;
    let checks = [
        largest.check_entry(etcd).await,
        largest.check_commit(etcd).await,
    ];
    let mut found = Vec::new();
    for failure in checks.into_iter().filter_map(Result::err) {
        let (code, key) = if let EngineErrorKind::EntryTooLarge { key, .. } = &failure {
            ("entry-too-large", key.as_slice())
        } else if let EngineErrorKind::CommitTooLarge(_) = &failure {
            ("commit-too-large", [].as_slice())
        } else {
            return Err(failure);
        };
        let remedy = failure.remedy_by_hand().unwrap_or_default();
        found.push(Finding::error(code, key, format!("{failure}: {remedy}")));
    }
    Ok(found)
}

/// Checks that the user may write all keys of a migration.
async fn write_permission<S: Store>(etcd: Etcd<'_, S>) -> Result<Option<Finding>, EngineErrorKind> {
    let root = etcd.root;
    let ranges = [root.range(), KeyRange::single(root.journal_key())];
    let Some(why) = denied(etcd, ranges.map(Op::Delete).into()).await? else {
        return Ok(None);
    };
    let prefix = quoted(&root.prefix());
    let message = format!(
        "the etcd user may not write below {prefix} ({why}); grant it: etcdctl role grant-permission ROLE \
         --prefix=true readwrite {prefix}"
    );
    let key = root.join(b"");
    Ok(Some(Finding::error("no-write-permission", &key, message)))
}

/// Notes that a run will not be recorded, where the user may not write the history.
async fn check_history<S: Store>(etcd: Etcd<'_, S>) -> Result<(), EngineErrorKind> {
    let key = etcd.root.history_key();
    let ops = vec![Op::Delete(KeyRange::single(key.clone()))];
    if let Some(why) = denied(etcd, ops).await? {
        etcd.observer.note(&format!(
            "the etcd user may not write the history {} ({why}): the run will not be recorded there",
            printable(&key)
        ));
    }
    Ok(())
}

/// Returns why etcd denies these writes, with a comparison that never holds: etcd checks the
/// permissions of a transaction before its comparisons.
async fn denied<S: Store>(
    etcd: Etcd<'_, S>,
    ops: Vec<Op>,
) -> Result<Option<String>, EngineErrorKind> {
    let txn = Txn {
        compares: vec![Compare::CreateRevision(etcd.root.lock_key(), -1)],
        ops,
    };
    match retry::write(etcd.store, etcd.limits.retry_timeout, &txn).await {
        Err(error) if error.kind == StoreErrorKind::Denied => Ok(Some(error.message)),
        // An alarm is a separate finding.
        Err(error) if error.kind == StoreErrorKind::NoSpace => Ok(None),
        Err(error) => Err(while_doing("checking the user's permissions")(error)),
        Ok(_) => Ok(None),
    }
}
