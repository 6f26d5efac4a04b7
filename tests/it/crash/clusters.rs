//! Three members, of which one or two fail at an exact point of the run.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use meta_migrate::{EngineErrorKind, Environment, ErrorClass, Limits, WriteState, migrate};
use meta_store::etcd::{EtcdStore, Options};
use meta_store::{Compare, Op, RangeRequest, Store, Txn};
use milvus_meta::transform::CollectionForm;

use crate::support::etcd::{Etcd, Settings, crash_safe_binary};
use crate::support::hooked::{Hooked, Moment};
use crate::support::migration::Case;
use crate::support::process::end_lock_lease;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

type Members = Arc<Mutex<Vec<Etcd>>>;

/// A point in a run of `migrate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The first batch of staging.
    Staging(Moment),
    /// The commit.
    Commit(Moment),
}

impl Place {
    fn is(self, moment: Moment, txn: &Txn, case: &Case) -> bool {
        match self {
            Self::Staging(wanted) => wanted == moment && is_staging(txn, case),
            Self::Commit(wanted) => wanted == moment && is_commit(txn, case),
        }
    }
}

fn is_staging(txn: &Txn, case: &Case) -> bool {
    let below = case.root.join(b"");
    let is_staged = |op: &Op| match op {
        Op::Put { key, lease, .. } => *lease == 0 && key.starts_with(&below),
        Op::Delete(_) => false,
    };
    !txn.ops.is_empty() && txn.ops.iter().all(is_staged) && !is_probe(txn)
}

/// Whether the transaction only probes server limits: one comparison is never true.
fn is_probe(txn: &Txn) -> bool {
    let never = |compare: &Compare| matches!(compare, Compare::CreateRevision(_, -1));
    txn.compares.iter().any(never)
}

fn is_commit(txn: &Txn, case: &Case) -> bool {
    let journal = case.root.journal_key();
    let probe = |compare: &Compare| matches!(compare, Compare::CreateRevision(_, -1));
    txn.ops.iter().any(|op| match op {
        Op::Put { key, value, .. } => {
            *key == journal && String::from_utf8_lossy(value).contains("\"committed\"")
        }
        Op::Delete(_) => false,
    }) && !txn.compares.iter().any(probe)
}

async fn cluster() -> (Members, EtcdStore) {
    let settings = Settings {
        server: Some(crash_safe_binary()),
        ..Settings::default()
    };
    let members = Etcd::start_cluster(3, &settings);
    let options = Options {
        endpoints: members.iter().map(|m| m.endpoint().to_owned()).collect(),
        request_timeout: REQUEST_TIMEOUT,
        ..Options::default()
    };
    let store = EtcdStore::connect(&options).await.unwrap();
    (Arc::new(Mutex::new(members)), store)
}

/// The indexes of the members, the leader first.
async fn leader_first(store: &EtcdStore, members: &Members) -> Vec<usize> {
    let status = loop {
        let status = store.status().await.unwrap();
        if status.members.len() == 3 && status.members.iter().any(|m| m.member_id == m.leader_id) {
            break status;
        }
    };
    let leader = status.members.iter().find(|m| m.member_id == m.leader_id);
    let endpoint = &leader.unwrap().endpoint;
    let members = members.lock().unwrap();
    let mut indexes: Vec<usize> = (0..members.len()).collect();
    indexes.sort_by_key(|index| members[*index].endpoint() != endpoint);
    indexes
}

/// Calls `act` once at this point of the run.
fn call_at(
    place: Place,
    case: &Arc<Case>,
    store: &EtcdStore,
    act: impl Fn() + Send + Sync + 'static,
) -> Hooked<EtcdStore> {
    let case = Arc::clone(case);
    let acted = Mutex::new(false);
    Hooked::new(store.clone(), move |_, moment, txn| {
        let mut acted = acted.lock().unwrap();
        if !*acted && place.is(moment, txn, &case) {
            *acted = true;
            act();
        }
        std::future::ready(())
    })
}

fn run_environment() -> Environment {
    Environment::silent()
}

/// The run succeeds or fails part-way and resumes; then it is rolled back.
async fn migrate_and_roll_back(
    case: &Arc<Case>,
    store: &EtcdStore,
    hooked: &Hooked<EtcdStore>,
    recover: impl Fn(),
    note: &str,
) {
    let folder = tempfile::tempdir().unwrap();
    let backup = folder.path().join("b");
    let outcome = case.migrate(hooked, &backup, &run_environment()).await;
    recover();
    if let Err(error) = outcome {
        assert_eq!(error.kind(), ErrorClass::PartWay, "{note}: {error:?}");
        end_lock_lease(case, store).await;
        let again = case.migrate(store, &backup, &run_environment()).await;
        again.unwrap_or_else(|error| panic!("{note}: {error:?}"));
    }
    case.expect_after(store, note).await;
    case.roll_back(store, &run_environment()).await.unwrap();
    case.expect_before(store, note).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_leader_loses_nothing() {
    let case = Arc::new(Case::new("base/in.jsonl", CollectionForm::Database));
    let (members, store) = cluster().await;
    case.load(&store).await;
    for place in [
        Place::Staging(Moment::Before),
        Place::Commit(Moment::Before),
        Place::Commit(Moment::After),
    ] {
        let leader = leader_first(&store, &members).await[0];
        let killed = Arc::clone(&members);
        let hooked = call_at(place, &case, &store, move || {
            killed.lock().unwrap()[leader].kill();
        });
        let recover = || members.lock().unwrap()[leader].restart();
        migrate_and_roll_back(&case, &store, &hooked, recover, &format!("{place:?}")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_hangs_loses_nothing() {
    let case = Arc::new(Case::new("base/in.jsonl", CollectionForm::Split));
    let (members, store) = cluster().await;
    case.load(&store).await;
    // The leader, and the connected member: all three in turn cover both.
    for (index, place) in [
        Place::Staging(Moment::Before),
        Place::Commit(Moment::Before),
        Place::Commit(Moment::After),
    ]
    .into_iter()
    .enumerate()
    {
        let member = leader_first(&store, &members).await[index];
        let stopped = Arc::clone(&members);
        let hooked = call_at(place, &case, &store, move || {
            stopped.lock().unwrap()[member].stop();
        });
        let recover = || members.lock().unwrap()[member].resume();
        migrate_and_roll_back(&case, &store, &hooked, recover, &format!("{place:?}")).await;
    }
}

/// Loses the majority at a point of the run, permanently from the view of the run.
async fn without_majority(place: Place, legal: &[WriteState]) {
    let case = Arc::new(Case::new("base/in.jsonl", CollectionForm::Split));
    let (members, store) = cluster().await;
    case.load(&store).await;
    let order = leader_first(&store, &members).await;
    let killed = Arc::clone(&members);
    let (one, other) = (order[0], order[1]);
    let hooked = call_at(place, &case, &store, move || {
        let mut members = killed.lock().unwrap();
        members[one].kill();
        members[other].kill();
    });
    let folder = tempfile::tempdir().unwrap();
    let backup = folder.path().join("b");
    let mut options = case.options(&backup);
    options.limits = Limits {
        retry_timeout: Duration::from_secs(3),
        ..options.limits
    };
    let started = std::time::Instant::now();
    let error = migrate(&hooked, &options, &run_environment())
        .await
        .unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(60), "{error:?}");
    assert_eq!(error.kind(), ErrorClass::PartWay, "{error:?}");
    assert!(legal.contains(&error.written), "{error:?}");
    let EngineErrorKind::Store { source, .. } = &*error.failure else {
        panic!("{error:?}");
    };
    assert!(source.is_transient(), "{error:?}");
    for endpoint in store.endpoints() {
        assert!(source.message.contains(&endpoint), "{}", source.message);
    }
    {
        let mut members = members.lock().unwrap();
        members[one].restart();
        members[other].restart();
    }
    // The reported state is correct.
    let journal = case.journal(&store).await.unwrap();
    if error.written == WriteState::Staged {
        assert!(journal.phase.is_before_commit());
    }
    if error.written == WriteState::Committed {
        assert!(!journal.phase.is_before_commit());
    }
    end_lock_lease(&case, &store).await;
    let again = case.migrate(&store, &backup, &run_environment()).await;
    assert!(again.unwrap().resumed);
    case.expect_after(&store, &format!("{place:?}")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_majority_lost_while_staging_is_survived() {
    without_majority(Place::Staging(Moment::Before), &[WriteState::Staged]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_majority_lost_at_the_commit_is_in_doubt() {
    let legal = [WriteState::InDoubt, WriteState::Staged];
    without_majority(Place::Commit(Moment::Before), &legal).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_majority_lost_after_the_commit_is_survived() {
    without_majority(Place::Commit(Moment::After), &[WriteState::Committed]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_loss_of_the_majority_is_awaited() {
    let case = Arc::new(Case::new("base/in.jsonl", CollectionForm::Database));
    let (members, store) = cluster().await;
    case.load(&store).await;
    let order = leader_first(&store, &members).await;
    let (one, other) = (order[0], order[1]);
    let killed = Arc::clone(&members);
    let (sender, receiver) = std::sync::mpsc::channel();
    let hooked = call_at(Place::Commit(Moment::Before), &case, &store, move || {
        let mut members = killed.lock().unwrap();
        members[one].kill();
        members[other].kill();
        sender.send(()).unwrap();
    });
    let restarted = Arc::clone(&members);
    let recovery = std::thread::spawn(move || {
        receiver.recv().unwrap();
        let mut members = restarted.lock().unwrap();
        members[one].restart();
        members[other].restart();
    });
    let folder = tempfile::tempdir().unwrap();
    let backup = folder.path().join("b");
    let outcome = case.migrate(&hooked, &backup, &run_environment()).await;
    recovery.join().unwrap();
    outcome.unwrap();
    case.expect_after(&store, "a majority that came back").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d26_endpoints_are_tried_in_turn() {
    let case = Arc::new(Case::new("base/in.jsonl", CollectionForm::Split));
    let (members, store) = cluster().await;
    case.load(&store).await;
    let mut endpoints = vec!["http://127.0.0.1:1".to_owned()];
    endpoints.extend(store.endpoints());
    members.lock().unwrap()[0].kill();
    let options = Options {
        endpoints,
        request_timeout: REQUEST_TIMEOUT,
        ..Options::default()
    };
    let store = EtcdStore::connect(&options).await.unwrap();
    let read = store
        .range(RangeRequest::key(case.root.journal_key()))
        .await;
    assert!(read.unwrap().entries.is_empty());
    let folder = tempfile::tempdir().unwrap();
    let backup = folder.path().join("b");
    let done = case.migrate(&store, &backup, &run_environment()).await;
    done.unwrap();
    case.expect_after(&store, "one of four endpoints is dead, one was never there")
        .await;
}
