//! Starting states of schedules: etcd as left by a run that was killed.

use meta_migrate::Environment;
use meta_migrate::journal::{Journal, Phase};
use meta_store::{Op, Txn};
use meta_testing::memory::{Fault, MemoryStore};

use super::instance::Case;
use super::request_fault::{Events, end_faults};
use super::schedule::{Clock, Command, Outcome, perform, run};
use crate::support::metadata;

/// etcd before a schedule.
pub(crate) struct Start {
    pub(crate) phase: Option<Phase>,
    pub(crate) store: MemoryStore,
    /// The commands of schedules with this starting state.
    pub(crate) commands: &'static [Command],
}

/// The phase that a transaction writes into the journal.
pub(crate) fn records(txn: &Txn) -> Option<Phase> {
    let key = metadata::root().journal_key();
    let journals = txn.ops.iter().filter_map(|op| match op {
        Op::Put {
            key: put, value, ..
        } if *put == key => Some(value),
        Op::Put { .. } | Op::Delete(_) => None,
    });
    // The value is empty in a transaction that only probes the server.
    let mut phases = journals.filter_map(|value| Some(Journal::decode(value).ok()?.phase));
    phases.next()
}

/// Kills the process after it has written `phase` and `more` further transactions.
pub(crate) fn kill_after(store: &MemoryStore, phase: Phase, more: u32) {
    let mut left = None;
    store.fault_when(move |request| {
        let Some(txn) = request.txn else {
            return Vec::new();
        };
        if records(txn) == Some(phase) {
            left = Some(more);
        } else if let Some(left) = &mut left {
            *left -= 1;
        }
        if left == Some(0) {
            vec![Fault::CrashAfter]
        } else {
            Vec::new()
        }
    });
}

/// All starting states of a case.
pub(crate) async fn all(case: &Case, clock: &Clock) -> Vec<Start> {
    use Command::{Migrate, Rollback};
    let fresh = MemoryStore::with_entries(&case.before());
    let mut starts = Vec::new();
    for (phase, more, commands) in [
        (Phase::Staging, 3, &[Migrate, Rollback][..]),
        (Phase::Staged, 0, &[Migrate, Rollback]),
        (Phase::Committed, 0, &[Migrate, Rollback]),
        (Phase::Tidying, 1, &[Migrate, Rollback]),
    ] {
        let store = killed(case, clock, (&fresh, Migrate), (phase, more)).await;
        starts.push(Start {
            phase: Some(phase),
            store,
            commands,
        });
    }
    let done = fresh.fork();
    let nothing = Events::default();
    let work = run(case, &done, Migrate, (&[], &nothing));
    let outcome = clock.keep(|| done.requests(), work).await;
    assert!(matches!(outcome, Outcome::Migrated(_)), "{outcome:?}");
    let restoring = killed(case, clock, (&done, Rollback), (Phase::Restoring, 2)).await;
    starts.push(Start {
        phase: Some(Phase::Restoring),
        store: restoring,
        commands: &[Migrate, Rollback],
    });
    starts.push(Start {
        phase: Some(Phase::Done),
        store: done,
        commands: &[Rollback],
    });
    starts.push(Start {
        phase: None,
        store: fresh,
        commands: &[Migrate],
    });
    starts
}

/// etcd after a process that was killed when it had written `phase` and `more` further
/// transactions.
async fn killed(
    case: &Case,
    clock: &Clock,
    (from, command): (&MemoryStore, Command),
    (phase, more): (Phase, u32),
) -> MemoryStore {
    let store = from.fork();
    kill_after(&store, phase, more);
    let environment = Environment::silent();
    let work = perform(case, &store, command, &environment);
    let outcome = clock.keep(|| store.requests(), work).await;
    assert!(matches!(outcome, Outcome::Killed), "{outcome:?}");
    end_faults(&store).await;
    store.fork()
}
