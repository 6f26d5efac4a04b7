//! A component registers or the lock is lost during a run: the run writes nothing at later
//! revisions, as the revisions of a real etcd show.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use meta_migrate::{EngineError, EngineErrorKind, Environment, ErrorClass};
use meta_store::etcd::EtcdStore;
use meta_store::{Op, RangeRequest, Store};
use milvus_meta::entry::Entry;
use milvus_meta::keys::KeyRange;
use milvus_meta::transform::CollectionForm;

use crate::support::etcd;
use crate::support::hooked::{Hooked, Moment};
use crate::support::migration::{Case, put_all};

/// No run of these tests takes more transactions.
const TRANSACTIONS_MAX: usize = 200;

/// The event at a transaction of the run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Event {
    /// A component registers.
    Registers,
    /// The lock's lease ends.
    LockLost,
}

/// The session key that the component registers.
fn session(case: &Case) -> Vec<u8> {
    case.root.join(b"session/querynode-7")
}

async fn trigger(event: Event, case: &Case, store: &EtcdStore) {
    match event {
        Event::Registers => put_all(store, vec![Op::put(session(case), "{}")]).await,
        Event::LockLost => {
            let lock = RangeRequest::key(case.root.lock_key());
            let held = store.range(lock).await.unwrap();
            if let Some(entry) = held.entries.first() {
                store.lease_revoke(entry.lease).await.unwrap();
            }
        }
    }
}

/// The first revision between two revisions at which a key exists, or does not.
async fn first_revision_where(
    store: &EtcdStore,
    key: &[u8],
    is_there: bool,
    from: i64,
    to: i64,
) -> i64 {
    let (mut low, mut high) = (from, to);
    while low < high {
        let middle = low + (high - low) / 2;
        let request = RangeRequest::key(key).at(middle);
        let there = !store.range(request).await.unwrap().entries.is_empty();
        if there == is_there {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

/// Everything below the root path except sessions and the lock, with the revisions of its last
/// changes.
async fn state(case: &Case, store: &EtcdStore, revision: i64) -> Vec<Entry> {
    let request = RangeRequest::new(case.everything()).at(revision);
    let sessions: KeyRange = case.root.range_below("session/");
    let entries = store.range(request).await.unwrap().entries.into_iter();
    entries
        .filter(|entry| !sessions.contains(&entry.key))
        .collect()
}

/// Triggers `event` right before the `number`th transaction of a run. Returns `None` when the run
/// has fewer; otherwise its error, after checking that nothing was written from then on.
async fn run_with_event(
    case: &Arc<Case>,
    store: &EtcdStore,
    (event, number): (Event, usize),
    (backup, back): (&Path, bool),
) -> Option<EngineError> {
    let (from, done) = (
        Arc::new(AtomicI64::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let hooked = Hooked::new(store.clone(), {
        let (case, store, from, done) = (
            Arc::clone(case),
            store.clone(),
            Arc::clone(&from),
            Arc::clone(&done),
        );
        move |count, moment, _| {
            let (case, store, from, done) = (
                Arc::clone(&case),
                store.clone(),
                Arc::clone(&from),
                Arc::clone(&done),
            );
            async move {
                if count == number && moment == Moment::Before {
                    from.store(newest(&store).await, Ordering::SeqCst);
                    trigger(event, &case, &store).await;
                    done.store(true, Ordering::SeqCst);
                }
            }
        }
    });
    let environment = Environment::silent();
    let failed = if back {
        case.roll_back(&hooked, &environment).await.err()
    } else {
        case.migrate(&hooked, backup, &environment).await.err()
    };
    if !done.load(Ordering::SeqCst) {
        assert!(failed.is_none(), "{failed:?}");
        return None;
    }
    let end = newest(store).await;
    let from = from.load(Ordering::SeqCst);
    let at = match event {
        Event::Registers => first_revision_where(store, &session(case), true, from, end).await,
        Event::LockLost => {
            first_revision_where(store, &case.root.lock_key(), false, from, end).await
        }
    };
    let failed = failed.unwrap_or_else(|| panic!("nothing stopped the run at {number}"));
    assert_eq!(
        state(case, store, at).await,
        state(case, store, end).await,
        "transaction {number}: written after revision {at}"
    );
    // The component leaves, and the run resumes and succeeds.
    put_all(store, vec![Op::Delete(KeyRange::single(session(case)))]).await;
    if back {
        case.roll_back(store, &environment).await.unwrap();
        case.expect_before(store, "back").await;
        case.migrate(store, backup, &environment).await.unwrap();
    } else {
        case.migrate(store, backup, &environment).await.unwrap();
        case.expect_after(store, "on").await;
        case.roll_back(store, &environment).await.unwrap();
        case.expect_before(store, "back").await;
    }
    Some(failed)
}

async fn newest(store: &EtcdStore) -> i64 {
    let request = RangeRequest::key("nothing").count_only();
    store.range(request).await.unwrap().revision
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d27_nothing_is_written_after_a_component_registers() {
    let case = Arc::new(Case::new("base/in.jsonl", CollectionForm::Split));
    let store = etcd::shared().connect().await;
    case.load(&store).await;
    let folder = tempfile::tempdir().unwrap();
    let backup = folder.path().join("b");
    for number in 1..TRANSACTIONS_MAX {
        let Some(failed) =
            run_with_event(&case, &store, (Event::Registers, number), (&backup, false)).await
        else {
            assert!(number > 12, "a run of {number} transactions");
            return;
        };
        // Found before the lock was taken, or by a rejected transaction of the run.
        let (EngineErrorKind::Sessions(found) | EngineErrorKind::ComponentStarted(found)) =
            &*failed.failure
        else {
            panic!("{failed:?}");
        };
        assert!(found[0].key.ends_with("session/querynode-7"), "{failed:?}");
        assert!(
            matches!(failed.kind(), ErrorClass::Refused | ErrorClass::PartWay),
            "{failed:?}"
        );
    }
    panic!("a run takes more transactions than expected");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d28_nothing_is_written_after_the_lock_is_lost() {
    let case = Arc::new(Case::new("base/in.jsonl", CollectionForm::Database));
    let store = etcd::shared().connect().await;
    case.load(&store).await;
    let folder = tempfile::tempdir().unwrap();
    let backup = folder.path().join("b");
    // The first takes the lock.
    for number in 2..TRANSACTIONS_MAX {
        let Some(failed) =
            run_with_event(&case, &store, (Event::LockLost, number), (&backup, false)).await
        else {
            assert!(number > 12, "a run of {number} transactions");
            return;
        };
        assert!(
            matches!(*failed.failure, EngineErrorKind::LockLost { .. }),
            "{failed:?}"
        );
        assert!(
            matches!(failed.kind(), ErrorClass::Refused | ErrorClass::PartWay),
            "{failed:?}"
        );
    }
    panic!("a run takes more transactions than expected");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_writes_nothing_after_a_lost_fence() {
    let case = Arc::new(Case::new("base/in.jsonl", CollectionForm::Split));
    let store = etcd::shared().connect().await;
    case.load(&store).await;
    let folder = tempfile::tempdir().unwrap();
    let environment = Environment::silent();
    let backup = folder.path().join("b");
    case.migrate(&store, &backup, &environment).await.unwrap();
    for number in 2..TRANSACTIONS_MAX {
        let event = if number % 2 == 0 {
            Event::Registers
        } else {
            Event::LockLost
        };
        if run_with_event(&case, &store, (event, number), (&backup, true))
            .await
            .is_none()
        {
            case.expect_before(&store, "at last").await;
            assert!(number > 12, "a run of {number} transactions");
            return;
        }
    }
    panic!("a run takes more transactions than expected");
}
