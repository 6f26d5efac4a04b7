//! The history: the finished runs of a meta root, in a key next to the journal.
//!
//! A run adds itself in the transaction that records `done` or deletes the journal, so the history
//! is guarded in the same way and never contradicts the journal. It is a record for users: no run
//! bases a decision on it, and a run that cannot write it reports that and finishes anyway.

use meta_report::{BackupRef, HistoryReport, RestoreReport, RunRecord, RunResult, UnfinishedRun};
use meta_store::{Compare, Op, RangeRequest, Store, Txn};
use milvus_meta::entry::printable;
use milvus_meta::keys::MetaRoot;
use milvus_meta::transform::Task;
use serde::{Deserialize, Serialize};

use crate::journal::{Journal, Phase};

use crate::Environment;
use crate::clock::now;
use crate::context::{Etcd, RunContext};
use crate::error::{EngineError, EngineErrorKind};
use crate::journal_store::{JournalStore, task_of};
use crate::limits::Limits;
use crate::retry::{read, write};

/// The format of the history; other formats are neither read nor changed.
const FORMAT: u32 = 1;
/// Maximum number of runs; older ones are dropped.
const RUNS_MAX: usize = 100;

/// The value of the history key.
#[derive(Debug, Default, Serialize, Deserialize)]
struct History {
    format: u32,
    /// Oldest first.
    runs: Vec<RunRecord>,
}

impl History {
    /// Decodes a value; returns an empty history if the key is missing.
    fn decode(value: Option<&[u8]>) -> Result<Self, String> {
        let Some(value) = value else {
            return Ok(Self::default());
        };
        let history: Self = serde_json::from_slice(value).map_err(|error| error.to_string())?;
        match history.format {
            FORMAT => Ok(history),
            other => Err(format!("it has format {other}")),
        }
    }

    /// Adds a finished migration that could not be recorded at the time.
    fn add_unrecorded(&mut self, journal: &Journal) {
        let is_recorded = self.runs.iter().any(|run| run.run == journal.run);
        if journal.phase == Phase::Done && !is_recorded {
            self.runs.push(of_journal(journal));
        }
    }

    /// Returns the value with `run` added.
    fn with(mut self, run: RunRecord) -> Vec<u8> {
        self.format = FORMAT;
        self.runs.push(run);
        let surplus = self.runs.len().saturating_sub(RUNS_MAX);
        self.runs.drain(..surplus);
        serde_json::to_vec(&self).unwrap_or_default()
    }
}

/// Returns the recorded runs, newest first, and the unfinished run. Writes nothing.
pub async fn history<S: Store>(
    store: &S,
    root: &MetaRoot,
    limits: &Limits,
) -> Result<HistoryReport, EngineError> {
    // A few keys are read: no progress is shown, and nothing is cancelled.
    let environment = Environment::silent();
    let etcd = environment.etcd(store, root, limits);
    report(etcd).await.map_err(EngineError::before_writing)
}

async fn report<S: Store>(etcd: Etcd<'_, S>) -> Result<HistoryReport, EngineErrorKind> {
    let journal_store = JournalStore::load(etcd).await?;
    let key = etcd.root.history_key();
    let action = format!("reading the history {}", printable(&key));
    let found = etcd.read(RangeRequest::key(key.clone()), action).await?;
    let value = found.entries.first().map(|entry| &*entry.value);
    let mut history = History::decode(value).map_err(|why| EngineErrorKind::History {
        key: printable(&key),
        why,
    })?;
    if let Some(journal) = journal_store.journal() {
        history.add_unrecorded(journal);
    }
    history.runs.reverse();
    Ok(HistoryReport {
        unfinished: journal_store.journal().and_then(unfinished),
        runs: history.runs,
    })
}

fn unfinished(journal: &Journal) -> Option<UnfinishedRun> {
    let command = match journal.phase {
        Phase::Done => return None,
        Phase::Restoring => "restore",
        Phase::Staging | Phase::Staged | Phase::Committed | Phase::Tidying => {
            task_of(journal).command()
        }
    };
    Some(UnfinishedRun {
        command: command.to_owned(),
        phase: journal.phase.name().to_owned(),
        started_at: journal.started_at.clone(),
        updated_at: journal.updated_at.clone(),
        backup: journal.backup.clone(),
    })
}

/// Returns the record of a migration or repair that finishes with this journal.
pub(super) fn finished(journal: &Journal, ctx: RunContext<'_>) -> RunRecord {
    RunRecord {
        host: ctx.holder.to_owned(),
        ..of_journal(journal)
    }
}

fn of_journal(journal: &Journal) -> RunRecord {
    RunRecord {
        result: match task_of(journal) {
            Task::Migration => RunResult::Migrated,
            Task::Repair => RunResult::Repaired,
        },
        run: journal.run.clone(),
        started_at: journal.started_at.clone(),
        finished_at: journal.updated_at.clone(),
        tool_version: journal.tool_version.clone(),
        host: String::new(),
        source_version: journal.source_version.clone(),
        target_version: journal.target_version.clone(),
        backup: journal.backup.clone(),
        families: Vec::new(),
        put: journal.counts.put,
        rewrite: journal.counts.rewrite,
        delete: journal.counts.delete,
    }
}

/// Returns the record of a rollback or restore.
pub(super) fn restored(
    result: RunResult,
    ctx: RunContext<'_>,
    done: &RestoreReport,
    backup: Option<BackupRef>,
) -> RunRecord {
    RunRecord {
        result,
        run: ctx.run.id.clone(),
        started_at: ctx.run.started_at.clone(),
        finished_at: now(),
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        host: ctx.holder.to_owned(),
        source_version: None,
        target_version: None,
        backup,
        families: done.families.clone(),
        put: done.put,
        rewrite: 0,
        delete: done.delete,
    }
}

/// Returns the operation that adds a run; none, with a note, if the history cannot be read or
/// written. This is checked before the transaction that finishes the run, so that it cannot make
/// that fail.
pub(super) async fn adding<S: Store>(etcd: Etcd<'_, S>, run: RunRecord) -> Vec<Op> {
    match try_adding(etcd, run).await {
        Ok(op) => vec![op],
        Err(why) => {
            etcd.observer.note(&format!(
                "this run is not recorded in the history {}: {why}",
                printable(&etcd.root.history_key())
            ));
            Vec::new()
        }
    }
}

async fn try_adding<S: Store>(etcd: Etcd<'_, S>, run: RunRecord) -> Result<Op, String> {
    let (key, retry_timeout) = (etcd.root.history_key(), etcd.limits.retry_timeout);
    let found = read(etcd.store, retry_timeout, RangeRequest::key(key.clone()))
        .await
        .map_err(|error| error.to_string())?;
    let history = History::decode(found.entries.first().map(|entry| &*entry.value))?;
    let op = Op::put(key, history.with(run));
    // etcd checks permissions, alarms and sizes before comparisons, and this comparison never
    // holds.
    let probe = Txn {
        compares: vec![Compare::CreateRevision(etcd.root.lock_key(), -1)],
        ops: vec![op.clone()],
    };
    write(etcd.store, retry_timeout, &probe)
        .await
        .map_err(|error| error.to_string())?;
    Ok(op)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(name: &str) -> RunRecord {
        RunRecord {
            run: name.to_owned(),
            ..RunRecord::default()
        }
    }

    #[test]
    fn history_keeps_the_newest_runs() {
        let mut value = None;
        for index in 0..=RUNS_MAX {
            let history = History::decode(value.as_deref()).unwrap();
            value = Some(history.with(run(&index.to_string())));
        }
        let history = History::decode(value.as_deref()).unwrap();
        assert_eq!(history.runs.len(), RUNS_MAX);
        assert_eq!(history.runs[0].run, "1");
        assert_eq!(history.runs[RUNS_MAX - 1].run, RUNS_MAX.to_string());
    }

    #[test]
    fn history_of_another_format_is_rejected() {
        for value in ["", "true", r#"{"format":2,"runs":[]}"#] {
            assert!(History::decode(Some(value.as_bytes())).is_err(), "{value}");
        }
        assert!(History::decode(None).unwrap().runs.is_empty());
    }
}
