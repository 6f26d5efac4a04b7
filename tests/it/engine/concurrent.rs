//! Writers without a session, which neither the lock nor the sessions keep away, and another run that takes
//! over.

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
use crate::simulation::{Clock, records};
use crate::support::metadata::root;
use crate::support::migration::watched;

/// A key of 2.1 that tidying would delete.
const OLD: &str = "root-coord/index/1/999";

/// What no journal tells of: the metadata as the official tool leaves it, or 2.2 restored from a backup.
#[tokio::test]
async fn without_a_journal_a_rollback_asks_before_it_deletes() {
    for form in FORMS {
        let instance = Instance::small(form);
        let before = instance.image();
        instance.migrate().await.unwrap();
        instance.store.change(|world| {
            world.delete(&KeyRange::single(root().journal_key()));
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
async fn a_stray_key_of_2_2_is_not_rolled_back_unasked() {
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
async fn another_backup_does_not_finish_a_begun_restore_unasked() {
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

/// A zombie of 2.1 puts a key into an old family at any transaction after the commit: the run ends well, the key
/// is reported and stays.
#[tokio::test]
async fn a_late_key_of_2_1_is_reported_and_left_alone() {
    for form in FORMS {
        let whole = Instance::small(form);
        whole.migrate().await.unwrap();
        let transactions = u32::try_from(whole.store.transactions().len()).unwrap();
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
                    vec![Fault::before(|world| {
                        world.put(&root().join(OLD.as_bytes()), b"late");
                    })]
                } else {
                    Vec::new()
                }
            });
            let notes = Notes::default();
            let around = watched(notes.clone());
            let report = migrate(&instance.store, &instance.options(), &around).await;
            let what = format!("{form}, at {at}");
            assert_eq!(report.unwrap().outcome, MigrateOutcome::Migrated, "{what}");
            let late = instance.get(OLD);
            if let Some(value) = &late {
                assert_eq!(value, b"late", "{what}");
            }
            let mut expected = whole.image();
            expected.extend(late.clone().map(|value| (OLD.to_owned(), value)));
            assert_eq!(instance.image(), expected, "{what}");
            // The last two ask whether the history may be written and write `done`: what comes with them is not looked at.
            let told = notes.0.lock().unwrap().join("\n");
            assert!(
                late.is_none() || at + 2 >= transactions || told.contains(OLD),
                "{what}: {told}"
            );
        }
    }
}

#[tokio::test]
async fn a_late_key_of_2_1_does_not_stop_a_resumed_run() {
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

/// A run sleeps, another one rolls the migration back, and the first wakes up.
#[tokio::test]
async fn a_run_that_slept_while_another_rolled_back_says_so() {
    for form in FORMS {
        let mut at = 0;
        loop {
            // The state after a rollback that begins where the sleeping run is.
            let sleeper = Instance::small(form);
            let before = sleeper.image();
            let asleep: Arc<Mutex<Option<MemoryState>>> = Arc::default();
            let saved = Arc::clone(&asleep);
            let (mut since, mut is_committed) = (0, false);
            sleeper.store.fault_when(move |request| {
                let is_now = is_committed && since == at;
                since += u64::from(is_committed);
                is_committed |= request.txn.and_then(records) == Some(Phase::Committed);
                let saved = Arc::clone(&saved);
                if is_now {
                    vec![
                        Fault::before(move |world| *saved.lock().unwrap() = Some(world.clone())),
                        Fault::CrashBefore,
                    ]
                } else {
                    Vec::new()
                }
            });
            if sleeper.migrate().await.is_ok() {
                break;
            }
            assert!(asleep.lock().unwrap().is_some());
            let next = sleeper.next();
            next.end_lock();
            next.roll_back().await.unwrap();
            assert_eq!(next.image(), before);
            let rolled_back = Arc::new(Mutex::new(None));
            next.store.change(|world| {
                *rolled_back.lock().unwrap() = Some(world.clone());
            });

            let woken = Instance::small(form);
            let (mut since, mut is_committed) = (0, false);
            woken.store.fault_when(move |request| {
                let is_now = is_committed && since == at;
                since += u64::from(is_committed);
                is_committed |= request.txn.and_then(records) == Some(Phase::Committed);
                let state = rolled_back.lock().unwrap().clone();
                match state {
                    Some(state) if is_now => vec![Fault::before(move |world| *world = state)],
                    _ => Vec::new(),
                }
            });
            let failed = woken.migrate().await.unwrap_err();
            assert!(
                matches!(
                    &*failed.failure,
                    EngineErrorKind::LockLost { .. } | EngineErrorKind::JournalChanged { .. }
                ),
                "{form}, {at}: {failed:?}"
            );
            assert_eq!(woken.image(), before, "{form}, {at}");
            at += 1;
        }
        assert!(at > 8, "{form}");
    }
}

/// Without renewal the lease would end while etcd does not answer reads for a while.
#[tokio::test(start_paused = true)]
async fn the_lock_is_kept_for_longer_than_its_lease() {
    let clock = Clock::start();
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
    let nobody = meta_migrate::Environment::silent();
    let work = migrate(&instance.store, &options, &nobody);
    let report = clock.keep(|| instance.store.requests(), work).await;
    assert_eq!(report.unwrap().outcome, MigrateOutcome::Migrated);
    assert!(started.elapsed() > 2 * options.limits.lock_ttl);
}

/// A request that never arrived looks like one whose reply was lost.
#[tokio::test(start_paused = true)]
async fn a_lost_reply_is_not_taken_for_a_write() {
    let clock = Clock::start();
    for form in FORMS {
        let whole = Instance::small(form);
        let work = whole.migrate();
        clock.keep(|| whole.store.requests(), work).await.unwrap();
        let after = whole.image();
        let transactions = u32::try_from(whole.store.transactions().len()).unwrap();
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
                    let lost = StoreError::unknown(StoreErrorKind::Timeout, "lost (scripted)");
                    vec![Fault::Refuse(lost)]
                });
                let work = instance.migrate();
                let report = clock.keep(|| instance.store.requests(), work).await;
                let what = format!("{form}, {at}, applied: {is_applied}");
                assert_eq!(report.unwrap().outcome, MigrateOutcome::Migrated, "{what}");
                assert_eq!(instance.image(), after, "{what}");
            }
        }
    }
}

/// Every request of a kind fails from some moment on: the run ends.
#[tokio::test(start_paused = true)]
async fn no_request_is_repeated_without_end() {
    let clock = Clock::start();
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
}

/// Whatever is read is compacted at once: the run ends anyway.
#[tokio::test]
async fn no_capture_is_repeated_without_end() {
    let instance = Instance::small(CollectionForm::Split);
    let mut captures = 0;
    let most = instance.options().limits.capture_attempts_max;
    instance.store.fault_when(move |request| {
        let is_capture = request.range.is_some_and(|range| range.revision.is_some());
        if !is_capture {
            return Vec::new();
        }
        captures += 1;
        assert!(captures < 20 * most, "it has no end");
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

/// Somebody changes a record that was rewritten in place: the comparison at the end finds it.
#[tokio::test]
async fn a_rewritten_record_is_compared_at_the_end() {
    for form in [CollectionForm::Split, CollectionForm::Embedded] {
        let instance = Instance::small(form);
        instance.store.fault_when(|request| {
            let is_rewritten = request.txn.and_then(records) == Some(Phase::Tidying);
            let key = root().join(b"root-coord/collection/1");
            if is_rewritten {
                vec![Fault::before(move |world| world.put(&key, b"\x08\x01"))]
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

/// A record that is rewritten or put back is not written over when it was changed after it was read.
#[tokio::test]
async fn a_record_that_changed_after_it_was_read_is_not_overwritten() {
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
                }) && !txn.compares.iter().any(never)
            });
            if !puts || std::mem::replace(&mut is_done, true) {
                return Vec::new();
            }
            let key = wanted.clone();
            vec![Fault::before(move |world| world.put(&key, b"changed"))]
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

/// The condition of a transaction that only asks what the server takes.
fn never(compare: &meta_store::Compare) -> bool {
    matches!(compare, meta_store::Compare::CreateRevision(_, -1))
}
