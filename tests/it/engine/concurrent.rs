//! Writers without a session, which neither the lock nor the session checks stop, and a concurrent
//! run that takes over.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use meta_migrate::journal::Phase;
use meta_migrate::{EngineErrorKind, RestoreCommand, RestoreOptions, WriteState, migrate};
use meta_report::MigrateOutcome;
use meta_store::{Op, StoreError, StoreErrorKind};
use meta_testing::memory::{Fault, MemoryState, RequestKind};
use milvus_meta::keys::KeyRange;
use milvus_meta::transform::CollectionForm;

use super::between_runs::Notes;
use super::instance::Instance;
use crate::rules::FORMS;
use crate::simulation::{records, simulated};
use crate::support::metadata::root;
use crate::support::migration::watched;

/// A key of 2.1 that cleanup would delete.
const OLD: &str = "root-coord/index/1/999";

/// Metadata without a journal: as the official tool leaves it, or 2.2 restored from a backup.
#[tokio::test]
async fn a_rollback_without_journal_asks_before_deleting() {
    for form in FORMS {
        let instance = Instance::small(form);
        let before = instance.image();
        instance.migrate().await.unwrap();
        instance.store.change(|state| {
            state.delete(&KeyRange::single(root().journal_key()));
        });
        instance.put("datacoord-meta/s/7/7/7", b"written by 2.2");
        let running = instance.image();
        let options = RestoreOptions {
            backup: Some(instance.backup()),
            ..instance.restore_options(RestoreCommand::Rollback)
        };
        let refused = instance.restore_with(&options).await.unwrap_err();
        assert!(
            matches!(&*refused.failure, EngineErrorKind::UnknownLoss { extra, .. } if *extra > 1),
            "{form}: {refused:?}"
        );
        assert!(refused.diff.is_some(), "the difference is shown");
        assert_eq!(instance.image(), running);
        let accepted = RestoreOptions {
            accept_loss: true,
            ..options
        };
        instance.restore_with(&accepted).await.unwrap();
        assert_eq!(instance.image(), before, "{form}");
    }
}

#[tokio::test]
async fn a_stray_2_2_key_is_rolled_back_only_if_accepted() {
    let instance = Instance::small(FORMS[0]);
    super::saved(&instance.store, &instance.backup()).await;
    instance.put("field-index/1/7", b"stray");
    let options = RestoreOptions {
        backup: Some(instance.backup()),
        ..instance.restore_options(RestoreCommand::Rollback)
    };
    let refused = instance.restore_with(&options).await.unwrap_err();
    assert!(
        matches!(
            &*refused.failure,
            EngineErrorKind::UnknownLoss { extra: 1, .. }
        ),
        "{refused:?}"
    );
    assert_eq!(instance.get("field-index/1/7").unwrap(), b"stray");
}

#[tokio::test]
async fn a_restore_resumes_only_from_its_backup() {
    for way in [RestoreCommand::Rollback, RestoreCommand::Restore] {
        let instance = Instance::small(CollectionForm::Split);
        instance.migrate().await.unwrap();
        let other = Instance::small(CollectionForm::Split);
        other.put("datacoord-meta/s/5/5/5", b"another content");
        let path = instance.folder.path().join("other.mmb");
        super::saved(&other.store, &path).await;
        instance.kill_after(Phase::Restoring, 1);
        instance.roll_back().await.unwrap_err();
        let next = instance.next();
        next.end_lock();
        let running = next.image();
        let options = RestoreOptions {
            backup: Some(path),
            ..next.restore_options(way)
        };
        let refused = next.restore_with(&options).await.unwrap_err();
        assert!(
            matches!(&*refused.failure, EngineErrorKind::UnknownLoss { why, .. } if why.contains("another backup")),
            "{refused:?}"
        );
        assert_eq!(next.image(), running);
        let accepted = RestoreOptions {
            accept_loss: true,
            ..options
        };
        next.restore_with(&accepted).await.unwrap();
        assert_eq!(next.image(), other.image());
    }
}

/// A 2.1 process writes a key into an old family at any transaction after the commit: the run
/// succeeds, and the key is reported and kept.
#[tokio::test]
async fn a_late_2_1_key_is_reported_and_kept() {
    for form in FORMS {
        let complete = Instance::small(form);
        complete.migrate().await.unwrap();
        let transactions = u32::try_from(complete.store.transactions().len()).unwrap();
        for at in 1..transactions {
            let instance = Instance::small(form);
            let (mut count, mut is_committed) = (0, false);
            instance.store.fault_when(move |request| {
                let Some(txn) = request.txn else {
                    return Vec::new();
                };
                let put = is_committed && count == at;
                count += 1;
                is_committed |= records(txn) == Some(Phase::Committed);
                if put {
                    vec![Fault::before(|state| {
                        state.put(&root().join(OLD.as_bytes()), b"late");
                    })]
                } else {
                    Vec::new()
                }
            });
            let notes = Notes::default();
            let environment = watched(notes.clone());
            let report = migrate(&instance.store, &instance.options(), &environment).await;
            let case = format!("{form}, at {at}");
            assert_eq!(report.unwrap().outcome, MigrateOutcome::Migrated, "{case}");
            let late = instance.get(OLD);
            if let Some(value) = &late {
                assert_eq!(value, b"late", "{case}");
            }
            let mut expected = complete.image();
            expected.extend(late.clone().map(|value| (OLD.to_owned(), value)));
            assert_eq!(instance.image(), expected, "{case}");
            // The last two transactions probe the permission for the history and write `done`: keys
            // that arrive with them are not checked.
            let messages = notes.0.lock().unwrap().join("\n");
            assert!(
                late.is_none() || at + 2 >= transactions || messages.contains(OLD),
                "{case}: {messages}"
            );
        }
    }
}

#[tokio::test]
async fn a_late_2_1_key_does_not_stop_a_resumed_run() {
    for form in FORMS {
        for (phase, more) in [
            (Phase::Committed, 0),
            (Phase::Tidying, 0),
            (Phase::Tidying, 1),
        ] {
            let killed = Instance::small(form);
            killed.kill_after(phase, more);
            killed.migrate().await.unwrap_err();
            let next = killed.next();
            next.end_lock();
            next.put(OLD, b"late");
            let report = next.migrate().await.unwrap();
            assert_eq!(
                report.outcome,
                MigrateOutcome::Migrated,
                "{form}: {phase:?}"
            );
            assert_eq!(next.journal().unwrap().phase, Phase::Done);
            assert_eq!(next.get(OLD).unwrap(), b"late");
        }
    }
}

/// A run is suspended, another one rolls the migration back, and the first continues.
#[tokio::test]
async fn a_run_suspended_during_a_rollback_stops() {
    for form in FORMS {
        let mut at = 0;
        loop {
            // The state after a rollback that starts where the suspended run is.
            let sleeper = Instance::small(form);
            let before = sleeper.image();
            let suspended_state: Arc<Mutex<Option<MemoryState>>> = Arc::default();
            let saved = Arc::clone(&suspended_state);
            let (mut since, mut is_committed) = (0, false);
            sleeper.store.fault_when(move |request| {
                let is_now = is_committed && since == at;
                since += u64::from(is_committed);
                is_committed |= request.txn.and_then(records) == Some(Phase::Committed);
                let saved = Arc::clone(&saved);
                if is_now {
                    vec![
                        Fault::before(move |state| *saved.lock().unwrap() = Some(state.clone())),
                        Fault::CrashBefore,
                    ]
                } else {
                    Vec::new()
                }
            });
            if sleeper.migrate().await.is_ok() {
                break;
            }
            assert!(suspended_state.lock().unwrap().is_some());
            let next = sleeper.next();
            next.end_lock();
            next.roll_back().await.unwrap();
            assert_eq!(next.image(), before);
            let rolled_back = Arc::new(Mutex::new(None));
            next.store.change(|state| {
                *rolled_back.lock().unwrap() = Some(state.clone());
            });

            let resumed = Instance::small(form);
            let (mut since, mut is_committed) = (0, false);
            resumed.store.fault_when(move |request| {
                let is_now = is_committed && since == at;
                since += u64::from(is_committed);
                is_committed |= request.txn.and_then(records) == Some(Phase::Committed);
                let state = rolled_back.lock().unwrap().clone();
                match state {
                    Some(saved) if is_now => vec![Fault::before(move |state| *state = saved)],
                    _ => Vec::new(),
                }
            });
            let failed = resumed.migrate().await.unwrap_err();
            assert!(
                matches!(
                    &*failed.failure,
                    EngineErrorKind::LockLost { .. } | EngineErrorKind::JournalChanged { .. }
                ),
                "{form}, {at}: {failed:?}"
            );
            assert_eq!(resumed.image(), before, "{form}, {at}");
            at += 1;
        }
        assert!(at > 8, "{form}");
    }
}

/// Without renewal the lease would expire while etcd does not answer reads.
#[test]
fn the_lock_lease_is_renewed() {
    let (runtime, clock) = simulated();
    runtime.block_on(async {
        let instance = Instance::small(CollectionForm::Split);
        let mut options = instance.options();
        options.limits.lock_ttl = Duration::from_secs(2);
        let started = tokio::time::Instant::now();
        let until = started + 3 * options.limits.lock_ttl;
        instance.store.fault_when(move |request| {
            let is_late = request.ordinal > 8 && request.kind == RequestKind::Range;
            if is_late && tokio::time::Instant::now() < until {
                vec![Fault::unreachable()]
            } else {
                Vec::new()
            }
        });
        let silent = meta_migrate::Environment::silent();
        let work = migrate(&instance.store, &options, &silent);
        let report = clock.keep(|| instance.store.requests(), work).await;
        assert_eq!(report.unwrap().outcome, MigrateOutcome::Migrated);
        assert!(started.elapsed() > 2 * options.limits.lock_ttl);
    });
}

/// A request that never arrived looks like one whose reply was lost.
#[test]
fn a_lost_reply_is_not_taken_for_a_write() {
    let (runtime, clock) = simulated();
    runtime.block_on(async {
        for form in FORMS {
            let complete = Instance::small(form);
            let work = complete.migrate();
            clock
                .keep(|| complete.store.requests(), work)
                .await
                .unwrap();
            let after = complete.image();
            let transactions = u32::try_from(complete.store.transactions().len()).unwrap();
            for at in 1..=transactions {
                for is_applied in [false, true] {
                    let instance = Instance::small(form);
                    let mut count = 0;
                    instance.store.fault_when(move |request| {
                        count += u32::from(request.txn.is_some());
                        if request.txn.is_none() || count != at {
                            return Vec::new();
                        }
                        count += 1;
                        if is_applied {
                            return vec![Fault::LoseReply];
                        }
                        let lost_reply =
                            StoreError::unknown(StoreErrorKind::Timeout, "lost (scripted)");
                        vec![Fault::Refuse(lost_reply)]
                    });
                    let work = instance.migrate();
                    let report = clock.keep(|| instance.store.requests(), work).await;
                    let case = format!("{form}, {at}, applied: {is_applied}");
                    assert_eq!(report.unwrap().outcome, MigrateOutcome::Migrated, "{case}");
                    assert_eq!(instance.image(), after, "{case}");
                }
            }
        }
    });
}

/// Every request of a kind fails from some point on: the run ends.
#[test]
fn no_request_is_retried_forever() {
    let (runtime, clock) = simulated();
    runtime.block_on(async {
        for from in [2, 8, 20, 30] {
            for kind in [RequestKind::Range, RequestKind::Txn] {
                let instance = Instance::small(CollectionForm::Split);
                instance.store.fault_when(move |request| {
                    if request.ordinal >= from && request.kind == kind {
                        vec![Fault::unreachable()]
                    } else {
                        Vec::new()
                    }
                });
                let limits = instance.options().limits;
                let deadline = 20 * limits.retry_timeout;
                let work = tokio::time::timeout(deadline, instance.migrate());
                let ended = clock.keep(|| instance.store.requests(), work).await;
                let failed = ended.expect("an end").unwrap_err();
                assert!(
                    matches!(&*failed.failure, EngineErrorKind::Store { .. }),
                    "{failed:?}"
                );
            }
        }
    });
}

/// Every read revision is compacted at once: the run still ends.
#[tokio::test]
async fn no_scan_is_retried_forever() {
    let instance = Instance::small(CollectionForm::Split);
    let mut captures = 0;
    let most = instance.options().limits.capture_attempts_max;
    instance.store.fault_when(move |request| {
        let is_capture = request.range.is_some_and(|range| range.revision.is_some());
        if !is_capture {
            return Vec::new();
        }
        captures += 1;
        assert!(captures < 20 * most, "the scan is retried forever");
        let compacted = StoreError::not_applied(StoreErrorKind::Compacted, "compacted (scripted)");
        vec![Fault::Refuse(compacted)]
    });
    let failed = instance.migrate().await.unwrap_err();
    assert!(
        matches!(&*failed.failure, EngineErrorKind::Store { source, .. }
            if source.kind == StoreErrorKind::Compacted),
        "{failed:?}"
    );
    assert_eq!(failed.written, WriteState::Nothing);
}

/// Another client changes a record that was rewritten in place: the final verification finds it.
#[tokio::test]
async fn a_rewritten_record_is_verified_at_the_end() {
    for form in [CollectionForm::Split, CollectionForm::Embedded] {
        let instance = Instance::small(form);
        instance.store.fault_when(|request| {
            let is_rewritten = request.txn.and_then(records) == Some(Phase::Tidying);
            let key = root().join(b"root-coord/collection/1");
            if is_rewritten {
                vec![Fault::before(move |state| state.put(&key, b"\x08\x01"))]
            } else {
                Vec::new()
            }
        });
        let failed = instance.migrate().await.unwrap_err();
        let EngineErrorKind::Verification(report) = &*failed.failure else {
            panic!("{form}: {failed:?}");
        };
        assert_eq!(report.different, 1, "{form}: {report:?}");
    }
}

/// A record that is rewritten or restored is not overwritten if it changed after it was read.
#[tokio::test]
async fn a_record_changed_after_reading_is_not_overwritten() {
    for way in [None, Some(RestoreCommand::Rollback)] {
        let instance = Instance::small(CollectionForm::Split);
        if way.is_some() {
            instance.migrate().await.unwrap();
        }
        let instance = instance.next();
        let key = root().join(b"root-coord/collection/1");
        let wanted = key.clone();
        let mut is_done = false;
        instance.store.fault_when(move |request| {
            let puts = request.txn.is_some_and(|txn| {
                txn.ops.iter().any(|op| match op {
                    Op::Put { key, .. } => **key == *wanted,
                    Op::Delete(_) => false,
                }) && !txn.compares.iter().any(is_never_true)
            });
            if !puts || std::mem::replace(&mut is_done, true) {
                return Vec::new();
            }
            let key = wanted.clone();
            vec![Fault::before(move |state| state.put(&key, b"changed"))]
        });
        let failed = match way {
            None => instance.migrate().await.unwrap_err(),
            Some(_) => instance.roll_back().await.unwrap_err(),
        };
        assert!(
            matches!(&*failed.failure, EngineErrorKind::SourceChanged { what, .. }
                if what.contains("root-coord/collection/1")),
            "{failed:?}"
        );
        assert_eq!(instance.get("root-coord/collection/1").unwrap(), b"changed");
    }
}

/// The comparison of a transaction that only probes server limits.
fn is_never_true(compare: &meta_store::Compare) -> bool {
    matches!(compare, meta_store::Compare::CreateRevision(_, -1))
}
