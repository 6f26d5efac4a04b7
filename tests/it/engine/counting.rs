//! Keys outside the plan still exist: known from the deletion counts that etcd returns, or counted
//! if another client wrote.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use meta_migrate::EngineErrorKind;
use meta_migrate::journal::Phase;
use meta_report::MigrateOutcome;
use meta_testing::memory::{Fault, Request};
use milvus_meta::keys::KeyRange;
use milvus_meta::transform::CollectionForm;

use super::instance::Instance;
use crate::simulation::records;
use crate::support::metadata::root;

const FORMS: [CollectionForm; 3] = [
    CollectionForm::Split,
    CollectionForm::Database,
    CollectionForm::Embedded,
];

/// Returns 1 for a request that counts all keys below the meta root, else 0.
fn counts_all(request: &Request<'_>) -> u64 {
    let range = request.range;
    u64::from(range.is_some_and(|it| it.count_only && it.range == root().range()))
}

/// The number of keys below the meta root, excluding those below `session/`.
fn keys(instance: &Instance) -> u64 {
    let image = instance.image();
    let outside = image.keys().filter(|key| !key.starts_with("session/"));
    outside.count() as u64
}

#[tokio::test]
async fn without_other_writers_nothing_is_counted() {
    for form in FORMS {
        let instance = Instance::small(form);
        let counts = Arc::new(AtomicU64::new(0));
        let sum = Arc::clone(&counts);
        instance.store.fault_when(move |request| {
            sum.fetch_add(counts_all(request), Ordering::SeqCst);
            Vec::new()
        });
        let report = instance.migrate().await.unwrap();
        assert_eq!(report.outcome, MigrateOutcome::Migrated);
        assert_eq!(counts.load(Ordering::SeqCst), 0, "{form}");
        let journal = instance.journal().unwrap();
        assert_eq!(journal.keys_when_done, keys(&instance), "{form}");
    }
}

#[tokio::test]
async fn after_a_lost_reply_the_count_is_the_same() {
    for form in FORMS {
        let instance = Instance::small(form);
        let counts = Arc::new(AtomicU64::new(0));
        let sum = Arc::clone(&counts);
        let mut ours = 0_u32;
        instance.store.fault_when(move |request| {
            sum.fetch_add(counts_all(request), Ordering::SeqCst);
            let is_ours = request.txn.is_some_and(|txn| !txn.compares.is_empty());
            ours += u32::from(is_ours);
            // Every second reply is lost.
            if is_ours && ours.is_multiple_of(2) {
                vec![Fault::LoseReply]
            } else {
                Vec::new()
            }
        });
        instance.migrate().await.unwrap();
        assert!(counts.load(Ordering::SeqCst) > 0, "{form}");
        let journal = instance.journal().unwrap();
        assert_eq!(journal.keys_when_done, keys(&instance), "{form}");
    }
}

#[tokio::test]
async fn a_key_deleted_by_another_client_is_missing() {
    for form in FORMS {
        let instance = Instance::small(form);
        let key = root().join(b"root-coord/credential/users/root");
        instance.store.fault_when(move |request| {
            let switched = request.txn.and_then(records) == Some(Phase::Committed);
            let key = key.clone();
            let delete = Fault::after(move |state| {
                state.delete(&KeyRange::single(key));
            });
            if switched { vec![delete] } else { Vec::new() }
        });
        let error = instance.migrate().await.unwrap_err();
        let EngineErrorKind::Verification(report) = &*error.failure else {
            panic!("{form}: {error:?}");
        };
        let codes: Vec<_> = report.findings.iter().map(|it| it.code.as_str()).collect();
        assert_eq!(codes, ["key-count"], "{form}");
    }
}

#[tokio::test]
async fn keys_lost_after_the_commit_are_reported() {
    // These leave no trace in other records: a key of no family, an index with all its records.
    for lost in ["root-coord/credential/users/root", "field-index/"] {
        for form in FORMS {
            let killed = Instance::small(form);
            killed.kill_after(Phase::Committed, 0);
            killed.migrate().await.unwrap_err();
            let next = killed.next();
            next.end_lock();
            std::fs::remove_file(next.backup()).unwrap();
            let prefixes = match lost {
                "field-index/" => vec!["field-index/", "segment-index/", "querycoord-"],
                key => vec![key],
            };
            let deleted: usize = next.store.change(|state| {
                let lost = prefixes
                    .iter()
                    .map(|prefix| KeyRange::prefix(root().join(prefix.as_bytes())));
                lost.map(|range| state.delete(&range)).sum()
            });
            assert!(deleted > 0, "{form}");
            let error = next.migrate().await.unwrap_err();
            let EngineErrorKind::Verification(report) = &*error.failure else {
                panic!("{form}: {error:?}");
            };
            let count = report.findings.iter().find(|it| it.code == "key-count");
            let count = count.expect("the number of keys");
            assert!(
                count.message.contains(&format!(": {deleted} key")),
                "{count:?}"
            );
        }
    }
}

#[tokio::test]
async fn an_expired_key_is_not_missing() {
    for form in FORMS {
        let killed = Instance::small(form);
        let key = root().join(b"on-a-lease/x");
        let hour = std::time::Duration::from_secs(3600);
        let lease = killed
            .store
            .change(|state| state.put_leased(&key, b"1", hour));
        killed.kill_after(Phase::Committed, 0);
        killed.migrate().await.unwrap_err();
        let next = killed.next();
        next.end_lock();
        next.store.change(|state| state.revoke_lease(lease));
        let report = next.migrate().await.unwrap();
        assert_eq!(report.outcome, MigrateOutcome::Migrated, "{form}");
    }
}

#[tokio::test]
async fn a_key_added_by_another_client_is_detected() {
    for form in FORMS {
        let instance = Instance::small(form);
        instance.store.fault_when(move |request| {
            let switched = request.txn.and_then(records) == Some(Phase::Committed);
            let key = root().join(b"kv/something");
            let put = Fault::after(move |state| state.put(&key, b"new"));
            if switched { vec![put] } else { Vec::new() }
        });
        let error = instance.migrate().await.unwrap_err();
        assert!(
            matches!(&*error.failure, EngineErrorKind::Verification(report) if !report.ok),
            "{form}: {error:?}"
        );
    }
}
