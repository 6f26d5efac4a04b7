//! Invariants that hold after every schedule.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use bytes::Bytes;
use meta_migrate::journal::{Journal, Phase};
use meta_migrate::{EngineError, EngineErrorKind, ErrorClass, WriteState};
use meta_report::{MigrateOutcome, RestoreOutcome};
use meta_store::{Applied, Op};
use meta_testing::memory::{MemoryStore, TxnRecord};
use milvus_meta::entry::printable;
use milvus_meta::finding::Severity;
use milvus_meta::keys::{Family, KeyRange, MetaRoot};
use milvus_meta::transform::{Task, leftover_ranges, staged_family_ranges};
use milvus_meta::verify::Checker;

use super::instance::{Case, Image};
use super::request_fault::{Events, OTHER_HOLDER, RequestFault};
use super::schedule::Outcome;
use crate::support::metadata;

pub(crate) type Verdict = Result<(), String>;

fn root() -> MetaRoot {
    metadata::root()
}

/// All keys except those of processes: sessions, the lock, the journal, the history.
pub(crate) fn metadata_of(store: &MemoryStore) -> Image {
    let (records, sessions) = (root().record_keys(), root().range_below("session/"));
    let mut image = all_keys(store);
    image.retain(|key, _| {
        !records.iter().any(|record| key == record)
            && (!sessions.contains(key) || *key == root().session_id_key())
    });
    image
}

/// Every key with its value.
pub(crate) fn all_keys(store: &MemoryStore) -> Image {
    let entries = store.dump().into_iter();
    entries.map(|entry| (entry.key, entry.value)).collect()
}

pub(crate) fn phase(store: &MemoryStore) -> Option<Phase> {
    let entry = store.look(|state| state.get(&root().journal_key()))?;
    Some(Journal::decode(&entry.value).unwrap().phase)
}

/// A hash of all keys with their revisions and values, without the times in the journal and the
/// history.
pub(crate) fn state_of(store: &MemoryStore) -> u64 {
    let mut hasher = DefaultHasher::new();
    for mut entry in store.dump() {
        if entry.key == root().history_key() {
            continue;
        }
        if entry.key == root().journal_key() {
            let journal = Journal {
                run: String::new(),
                started_at: String::new(),
                updated_at: String::new(),
                ..Journal::decode(&entry.value).unwrap()
            };
            entry.value = journal.encode().into();
        }
        (
            entry.key,
            entry.value,
            entry.create_revision,
            entry.mod_revision,
        )
            .hash(&mut hasher);
    }
    hasher.finish()
}

/// The first keys in which two images differ.
fn differences(found: &Image, wanted: &Image) -> Verdict {
    let mut different: Vec<String> = Vec::new();
    for key in found.keys().chain(wanted.keys()) {
        if found.get(key) != wanted.get(key) {
            let state = match (found.contains_key(key), wanted.contains_key(key)) {
                (true, true) => "has another value",
                (true, false) => "should not be there",
                (false, _) => "is missing",
            };
            different.push(format!("{} {state}", printable(key)));
        }
    }
    different.sort();
    different.dedup();
    if different.is_empty() {
        return Ok(());
    }
    different.truncate(6);
    Err(different.join(", "))
}

/// Prefixes an error with `label`.
pub(crate) fn labelled(label: &str, verdict: Verdict) -> Verdict {
    verdict.map_err(|wrong| format!("{label}: {wrong}"))
}

pub(crate) fn equal(label: &str, found: &Image, wanted: &Image) -> Verdict {
    labelled(label, differences(found, wanted))
}

fn is_in(ranges: &[KeyRange], key: &[u8]) -> bool {
    ranges.iter().any(|range| range.contains(key))
}

/// Either 2.1 is intact, or 2.2 can start; `old` is the 2.1 metadata.
pub(crate) fn check_legal(case: &Case, store: &MemoryStore, old: &Image) -> Verdict {
    let mut found = metadata_of(store);
    match phase(store) {
        None => equal("2.1 without a journal", &found, old),
        Some(Phase::Staging | Phase::Staged) => {
            let staged = staged_family_ranges(&root());
            found.retain(|key, _| !is_in(&staged, key) || old.contains_key(key));
            equal("2.1 next to staged keys", &found, old)
        }
        Some(Phase::Committed | Phase::Tidying) if case.task == Task::Repair => {
            check_repaired(case, &found, old)
        }
        Some(Phase::Committed | Phase::Tidying) => check_committed(case, &found, old),
        Some(Phase::Done) => equal("2.2 when done", &found, &case.expected(old)),
        Some(Phase::Restoring) => Ok(()),
    }
}

/// After the commit of a repair each key has its old or new value, and no remaining key is missing.
fn check_repaired(case: &Case, found: &Image, old: &Image) -> Verdict {
    let expected = case.expected(old);
    let mut allowed = found.clone();
    for key in old.keys().chain(expected.keys()) {
        let is_possible = |value: Option<&Bytes>| found.get(key) == value;
        if is_possible(old.get(key)) || is_possible(expected.get(key)) {
            match expected.get(key) {
                Some(value) => allowed.insert(key.clone(), value.clone()),
                None => allowed.remove(key),
            };
        }
    }
    equal("2.2 after the commit of a repair", &allowed, &expected)
}

/// After the commit each key has its 2.2 value; records that are still to be rewritten may have
/// their old value, and keys that no release reads may still exist.
fn check_committed(case: &Case, found: &Image, old: &Image) -> Verdict {
    let expected = case.expected(old);
    let leftovers = leftover_ranges(&root());
    let records = [
        Family::Collection,
        Family::CollectionSnapshot,
        Family::Segment,
    ]
    .map(|family| root().range_below(&family.prefix()));
    let mut allowed = found.clone();
    allowed.retain(|key, value| {
        let as_before = old.get(key) == Some(value);
        let is_leftover = as_before && is_in(&leftovers, key) && !expected.contains_key(key);
        !is_leftover
    });
    for (key, value) in &expected {
        // Unchanged: not rewritten yet, or a snapshot that did not fit into the commit.
        if is_in(&records, key) && found.get(key) == old.get(key) {
            allowed.insert(key.clone(), value.clone());
        }
    }
    equal("2.2 after the switch", &allowed, &expected)?;
    let mut checker = Checker::new(root());
    for entry in found {
        checker.push(&milvus_meta::entry::Entry::new(
            entry.0.clone(),
            entry.1.clone(),
        ));
    }
    let errors = checker
        .finish()
        .into_iter()
        .filter(|finding| finding.severity == Severity::Error && finding.code != "snapshot-missing")
        .map(|finding| format!("{}: {}", finding.key, finding.message))
        .collect::<Vec<_>>();
    if errors.is_empty() {
        Ok(())
    } else {
        Err(format!("2.2 could not start: {}", errors.join(", ")))
    }
}

/// The history contains the newest run if it finished, unless it `may_be_missing`, written in the
/// transaction that finished the run.
pub(crate) fn check_recorded(
    outcome: &Outcome,
    store: &MemoryStore,
    may_be_missing: bool,
) -> Verdict {
    let entry = |key: Vec<u8>| store.look(|state| state.get(&key));
    let (journal, history) = (entry(root().journal_key()), entry(root().history_key()));
    let history = history.map(|entry| {
        let value: serde_json::Value = serde_json::from_slice(&entry.value).unwrap();
        let newest = value["runs"].as_array().unwrap().last().unwrap().clone();
        (newest, entry.mod_revision)
    });
    let result = history.as_ref().map(|(newest, _)| newest["result"].clone());
    let wanted = match outcome {
        Outcome::Migrated(report) if report.outcome == MigrateOutcome::Migrated => "migrated",
        Outcome::Migrated(report) if report.outcome == MigrateOutcome::Repaired => "repaired",
        Outcome::RolledBack(report) if report.outcome == RestoreOutcome::Restored => "rolled-back",
        Outcome::Migrated(_) | Outcome::RolledBack(_) | Outcome::Failed(_) | Outcome::Killed => "",
    };
    if !wanted.is_empty() && !may_be_missing && result != Some(wanted.into()) {
        return Err(format!("the history says {result:?} and not {wanted}"));
    }
    let Some((journal, (newest, recorded_at))) = journal.zip(history) else {
        return Ok(());
    };
    let found = Journal::decode(&journal.value).unwrap();
    let is_recorded = newest["run"] == found.run;
    let is_done = found.phase == Phase::Done;
    if is_recorded && is_done && recorded_at != journal.mod_revision {
        return Err("the history was not written along with the journal".to_owned());
    }
    if is_recorded
        && matches!(
            found.phase,
            Phase::Staging | Phase::Staged | Phase::Committed | Phase::Tidying
        )
    {
        return Err(format!("the history has a run that is {:?}", found.phase));
    }
    Ok(())
}

/// The reported result of a run is correct.
pub(crate) fn check_truthful(outcome: &Outcome, before: &Image, store: &MemoryStore) -> Verdict {
    match outcome {
        Outcome::Killed => Ok(()),
        Outcome::Migrated(report) => match (report.outcome, phase(store)) {
            (
                MigrateOutcome::Migrated
                | MigrateOutcome::AlreadyMigrated
                | MigrateOutcome::Repaired
                | MigrateOutcome::NothingToRepair,
                Some(Phase::Done),
            ) => Ok(()),
            (outcome, phase) => Err(format!("a run ended with {outcome:?} in phase {phase:?}")),
        },
        Outcome::RolledBack(report) => match (report.outcome, phase(store)) {
            (RestoreOutcome::Restored | RestoreOutcome::Unchanged, None) => Ok(()),
            (outcome, phase) => Err(format!(
                "a rollback ended with {outcome:?} in phase {phase:?}"
            )),
        },
        Outcome::Failed(error) => check_error(error, before, store),
    }
}

fn check_error(error: &EngineError, before: &Image, store: &MemoryStore) -> Verdict {
    let says_nothing_was_changed = match error.kind() {
        ErrorClass::Failed | ErrorClass::Usage | ErrorClass::Refused | ErrorClass::Unmigratable => {
            true
        }
        ErrorClass::PartWay | ErrorClass::Differs | ErrorClass::Interrupted(_) => {
            error.written == WriteState::Nothing
        }
    };
    let mut found = metadata_of(store);
    found.extend(journal_of(store));
    if says_nothing_was_changed {
        let said = format!("it said that nothing was changed ({error:?})");
        equal(&said, &found, before)?;
    }
    // A write with unknown outcome counts as done, the safe assumption.
    if matches!(&*error.failure, EngineErrorKind::Store { source, .. } if source.applied == Applied::Unknown)
    {
        return Ok(());
    }
    match (error.written, phase(store)) {
        (WriteState::InDoubt, Some(Phase::Staged | Phase::Committed))
        | (WriteState::Committed, Some(Phase::Committed | Phase::Tidying | Phase::Done))
        | (WriteState::Restoring, Some(Phase::Restoring) | None)
        | (WriteState::Restored, None)
        // In doubt: the commit may or may not have been made.
        | (WriteState::Staged | WriteState::Nothing | WriteState::InDoubt, _) => Ok(()),
        (written, phase) => Err(format!("it said {written:?} in phase {phase:?}: {error:?}")),
    }
}

/// The journal, as a part of an image.
pub(crate) fn journal_of(store: &MemoryStore) -> Option<(Bytes, Bytes)> {
    let key = root().journal_key();
    let entry = store.look(|state| state.get(&key))?;
    Some((entry.key, entry.value))
}

/// After the lock was lost or a component registered, the run applied nothing, and another holder's
/// lock is still there.
pub(crate) fn check_guarded(events: &Events, store: &MemoryStore) -> Verdict {
    for (fault, revision) in events.list() {
        if fault.fences() {
            check_fenced(revision, &store.transactions())?;
        }
        if matches!(fault, RequestFault::Takeover(_)) {
            let lock = store.look(|state| state.get(&root().lock_key()));
            if lock.is_none_or(|lock| lock.value != OTHER_HOLDER) {
                return Err("another holder's lock was removed".to_owned());
            }
        }
    }
    Ok(())
}

/// After the lock was lost or a component registered, etcd applied no transaction of the run.
fn check_fenced(since: i64, transactions: &[TxnRecord]) -> Verdict {
    let late = transactions
        .iter()
        .filter(|record| record.succeeded && record.revision > since)
        .find(|record| record.txn.ops.iter().any(|op| !is_lock(op)));
    match late {
        None => Ok(()),
        Some(record) => Err(format!(
            "a transaction was applied at revision {}, after {since}: {:?}",
            record.revision, record.txn
        )),
    }
}

fn is_lock(op: &Op) -> bool {
    matches!(op, Op::Put { key, .. } if *key == root().lock_key())
}
