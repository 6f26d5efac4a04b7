//! Unstaging: rolls back a migration before its commit. The 2.1 metadata is intact, and the staged
//! keys are deleted.
//!
//! First, the plan is computed again from the 2.1 metadata, and its digest must match the journal. Only
//! keys of this plan are deleted. Other keys in the new families were written by another program and
//! are only deleted with `--accept-loss`.

use std::sync::Arc;

use crate::journal::{Journal, Phase};
use meta_backup::Tolerance;
use meta_report::{BackupRef, Change, DiffBuilder, RestoreOutcome, RestoreReport, RunResult};
use meta_store::{Op, Store};
use milvus_meta::entry::{Entry, printable};
use milvus_meta::keys::KeyRange;
use milvus_meta::plural::counted;
use milvus_meta::transform::staged_family_ranges;

use super::data_loss::EXAMPLES_MAX;
use super::desired_entries;
use super::gap::Source;
use crate::context::Etcd;
use crate::diff::{Actual, Diff, compare};
use crate::error::EngineErrorKind;
use crate::fence::Fence;
use crate::fingerprint::{Filter, KeyPages};
use crate::history;
use crate::journal_store::{JournalStore, journal_options};
use crate::key_count;
use crate::range_delete::DeleteRanges;
use crate::source::read_source;
use crate::throughput::staged::staged_entries;
use crate::throughput::writer::Writer;
use crate::write::Write;

/// The keys that unstaging would delete.
pub(super) struct Staged {
    deletes: Vec<KeyRange>,
    read_at: i64,
    pub(super) report: RestoreReport,
    /// The digest of the current plan, if it is not the recorded one.
    other_plan: Option<String>,
    /// Number of keys that this migration did not stage.
    others: u64,
    examples: Vec<String>,
}

impl Staged {
    /// Fails if keys would be deleted that are not in the recorded plan.
    pub(super) fn check(&self, journal_store: &JournalStore) -> Result<(), EngineErrorKind> {
        let recorded = journal_store
            .journal()
            .map(|journal| journal.plan_digest.clone());
        if let Some(now) = &self.other_plan {
            return Err(EngineErrorKind::StagedFromOther {
                recorded: recorded.unwrap_or_default(),
                now: now.clone(),
            });
        }
        match self.others {
            0 => Ok(()),
            keys => Err(EngineErrorKind::NotStaged {
                keys,
                examples: self.examples.clone(),
            }),
        }
    }
}

/// Computes the plan again and compares the staged keys with it. Reports the deleted keys, at most
/// `reported` per family.
pub(super) async fn look<S: Store>(
    etcd: Etcd<'_, S>,
    journal_store: &JournalStore,
    reported: Option<usize>,
) -> Result<Staged, EngineErrorKind> {
    etcd.at_one_revision(|| look_once(etcd, journal_store, reported))
        .await
}

async fn look_once<S: Store>(
    etcd: Etcd<'_, S>,
    journal_store: &JournalStore,
    reported: Option<usize>,
) -> Result<Staged, EngineErrorKind> {
    let journal = journal_store.journal().ok_or(EngineErrorKind::NoBackup)?;
    let options = journal_options(journal)?;
    let filter = journal_store.source_filter(etcd.root);
    let reading = read_source(etcd, &filter, &options, None).await?;
    let read_at = reading.read_revision.revision;
    let now = reading.migration.digest.clone();
    let ranges = staged_family_ranges(etcd.root);
    let present = key_count::in_ranges(etcd, &ranges, read_at).await?;
    etcd.observer.phase_started("compare", Some(present));
    let actual = Actual {
        ranges: ranges.clone(),
        revision: read_at,
        ignore: &mut |entry| entry.lease != 0 || filter.keeps(entry),
    };
    let mut found = Found {
        changes: reported.map(|max| DiffBuilder::new(etcd.root.clone(), max)),
        ..Found::default()
    };
    let mut ranges = ranges.into_iter().peekable();
    let expected = staged_entries(Arc::new(reading.migration));
    compare(etcd, expected, actual, |diff| {
        // No deletion may contain keys between two families.
        while ranges
            .next_if(|range| !range.contains(diff.key()))
            .is_some()
        {
            found.runs.keep();
        }
        found.add(diff, etcd.limits.delete_keys_max);
        Ok(())
    })
    .await?;
    // If nothing is staged, the plan is irrelevant: a repair with a backup cannot be planned again.
    let other_plan = (found.keys > 0 && now != journal.plan_digest).then_some(now);
    Ok(Staged {
        deletes: found.runs.into_ranges(),
        read_at,
        report: RestoreReport {
            outcome: RestoreOutcome::WouldRestore,
            delete: found.keys,
            diff: found.changes.map(DiffBuilder::finish),
            discards: true,
            ..RestoreReport::default()
        },
        other_plan,
        others: found.others,
        examples: found.examples,
    })
}

/// The keys in the staged families so far.
#[derive(Default)]
struct Found {
    runs: DeleteRanges,
    keys: u64,
    others: u64,
    examples: Vec<String>,
    changes: Option<DiffBuilder>,
}

impl Found {
    fn add(&mut self, diff: Diff, delete_keys_max: usize) {
        let is_staged = matches!(diff, Diff::Same(_));
        let entry = match diff {
            Diff::Missing(_) => return,
            Diff::Ignored(_) => return self.runs.keep(),
            Diff::Same(entry) | Diff::Extra(entry) | Diff::Different { wanted: entry, .. } => entry,
        };
        self.runs.delete(&entry.key, delete_keys_max);
        self.keys += 1;
        if let Some(changes) = &mut self.changes {
            changes.add(Some(Change::Removed), &entry.key, &entry.value);
        }
        if !is_staged {
            self.others += 1;
            if self.examples.len() < EXAMPLES_MAX {
                self.examples.push(printable(&entry.key));
            }
        }
    }
}

/// Deletes the staged keys, then the journal.
pub(super) async fn unstage<S: Store>(
    etcd: Etcd<'_, S>,
    fence: &Fence<S>,
    journal_store: &mut JournalStore,
    staged: Staged,
) -> Result<RestoreReport, EngineErrorKind> {
    // With partly deleted keys the phase is `staging`, not `staged`, which means that all keys are
    // staged.
    record_staging(fence, journal_store).await?;
    let limits = etcd.limits.for_deletes();
    etcd.observer
        .phase_started("discard", Some(staged.report.delete));
    let guards = journal_store.guards(fence);
    let writer = Writer::new(etcd, guards, limits);
    let deletes = staged.deletes.into_iter().map(Op::Delete);
    let deletes = deletes.map(Write::over).collect();
    let written = writer.read_at(staged.read_at).write_all(deletes).await;
    etcd.observer.phase_finished();
    written?;
    // Recorded again after all writes: a comparison with this record proves that none of them was
    // lost.
    record_staging(fence, journal_store).await?;
    let filter = journal_store.source_filter(etcd.root);
    expect_gone(etcd, &filter, staged.read_at).await?;
    let verified = matches_backup(etcd, journal_store.backup()).await?;
    let backup = journal_store.backup().cloned();
    let run = history::restored(RunResult::RolledBack, etcd.ctx, &staged.report, backup);
    let ops = history::adding(etcd, run).await;
    journal_store.clear(fence, ops).await?;
    Ok(RestoreReport {
        outcome: RestoreOutcome::Restored,
        verified,
        ..staged.report
    })
}

async fn record_staging<S: Store>(
    fence: &Fence<S>,
    journal_store: &mut JournalStore,
) -> Result<(), EngineErrorKind> {
    let Some(journal) = journal_store.journal() else {
        return Ok(());
    };
    let next = Journal {
        phase: Phase::Staging,
        ..journal.clone()
    };
    journal_store.record(fence, next).await
}

/// Checks that no staged key is left.
async fn expect_gone<S: Store>(
    etcd: Etcd<'_, S>,
    filter: &Filter,
    read_at: i64,
) -> Result<(), EngineErrorKind> {
    for range in staged_family_ranges(etcd.root) {
        let mut pages = KeyPages::begin(etcd, range, &[]).await?;
        while let Some(page) = pages.next().await? {
            let is_left = |entry: &&Entry| entry.lease == 0 && filter.is_staged(entry);
            if let Some(left) = page.iter().find(is_left) {
                return Err(EngineErrorKind::SourceChanged {
                    revision: read_at,
                    what: format!("{} was written concurrently", printable(&left.key)),
                });
            }
        }
    }
    Ok(())
}

/// Compares the 2.1 metadata with the backup in the journal. Without a backup, the digest of the
/// plan was the only check.
async fn matches_backup<S: Store>(
    etcd: Etcd<'_, S>,
    recorded: Option<&BackupRef>,
) -> Result<bool, EngineErrorKind> {
    let Some(recorded) = recorded else {
        return Ok(true);
    };
    let path = recorded.path.clone().into();
    let opened = desired_entries::open(path, etcd.root, Some(etcd.root), Tolerance::ALL).await;
    let checked = opened.and_then(|backup| {
        desired_entries::check_digest(&backup, recorded)?;
        Ok(backup)
    });
    let backup = match checked {
        Ok(backup) => backup,
        Err(failure) => {
            etcd.observer.note(&format!(
                "the 2.1 metadata was not compared with the backup {}: {failure}",
                recorded.path
            ));
            return Ok(false);
        }
    };
    let source = Source::new(backup, false);
    let found = source.diff(etcd, None, 0, None).await?;
    let found = found.planned();
    if found.outcome == RestoreOutcome::Unchanged {
        return Ok(true);
    }
    etcd.observer.note(&format!(
        "the 2.1 metadata is not what the backup {} holds: {} missing or different, {} not \
         in the backup. The rollback deleted staged keys only, so another program changed the metadata since the backup \
         was made",
        recorded.path,
        counted(found.put, "key"),
        counted(found.delete, "key")
    ));
    Ok(false)
}
