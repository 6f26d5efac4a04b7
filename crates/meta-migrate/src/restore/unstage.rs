//! Unstaging: rolls back a migration before its commit. The 2.1 metadata is intact, and the staged
//! keys are deleted.
//!
//! First, the journal is checked: the plan is computed again from the 2.1 metadata, and its digest
//! must be the recorded one. Only keys of this plan are deleted. Other keys in the new families
//! were written by another program and are only deleted with `--accept-loss`.

use std::sync::Arc;

use crate::journal::{Journal, Phase};
use meta_backup::Tolerance;
use meta_report::{Change, DiffBuilder, RestoreOutcome, RestoreReport, RunRecord, RunResult};
use meta_store::{Op, Store};
use milvus_meta::entry::{Entry, printable};
use milvus_meta::keys::KeyRange;
use milvus_meta::plural::counted;
use milvus_meta::transform::{Migration, Options, staged_family_ranges};

use super::data_loss::EXAMPLES_MAX;
use super::desired_entries;
use super::gap::Source;
use crate::context::Retries;
use crate::context::RunContext;
use crate::diff::{Actual, Diff, compare};
use crate::error::EngineErrorKind;
use crate::fence::Fence;
use crate::fingerprint::{Filter, KeyPages};
use crate::history;
use crate::journal_store::JournalStore;
use crate::journal_store::journal_options;
use crate::key_count;
use crate::range_delete::DeleteRanges;
use crate::source::read_source;
use crate::throughput::staged::staged_entries;
use crate::throughput::writer::{WriteStats, Writer};
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
    store: &S,
    ctx: RunContext<'_>,
    journal_store: &JournalStore,
    reported: Option<usize>,
) -> Result<Staged, EngineErrorKind> {
    let mut retries = Retries::new(ctx);
    loop {
        let changes = reported.map(|max| DiffBuilder::new(ctx.root.clone(), max));
        match look_once(store, ctx, journal_store, changes).await {
            Err(failure) if retries.again_after(&failure) => {}
            outcome => return outcome,
        }
    }
}

async fn look_once<S: Store>(
    store: &S,
    ctx: RunContext<'_>,
    journal_store: &JournalStore,
    mut changes: Option<DiffBuilder>,
) -> Result<Staged, EngineErrorKind> {
    let journal = journal_store.journal().ok_or(EngineErrorKind::NoBackup)?;
    let options = journal_options(journal)?;
    let filter = journal_store.source_filter(ctx.root);
    let (migration, read_at) = plan_again(store, ctx, &filter, &options).await?;
    let now = migration.digest().to_owned();
    let ranges = staged_family_ranges(ctx.root);
    let present = key_count::in_ranges(store, &ranges, read_at, ctx.limits).await?;
    ctx.observer.phase_started("compare", Some(present));
    let actual = Actual {
        store,
        ranges: ranges.clone(),
        revision: read_at,
        ignore: &mut |entry| entry.lease != 0 || filter.keeps(entry),
    };
    let (mut runs, mut keys, mut others, mut examples) =
        (DeleteRanges::default(), 0, 0, Vec::new());
    let mut ranges = ranges.into_iter().peekable();
    compare(staged_entries(migration), actual, ctx, |diff| {
        // No deletion may contain keys between two families.
        while ranges
            .next_if(|range| !range.contains(diff.key()))
            .is_some()
        {
            runs.keep();
        }
        let is_staged = matches!(diff, Diff::Same(_));
        match diff {
            Diff::Missing(_) => return Ok(()),
            Diff::Ignored(_) => {
                runs.keep();
                return Ok(());
            }
            Diff::Same(entry) | Diff::Extra(entry) | Diff::Different { wanted: entry, .. } => {
                runs.delete(&entry.key, ctx.limits.delete_keys_max);
                keys += 1;
                if let Some(changes) = &mut changes {
                    changes.add(Some(Change::Removed), &entry.key, &entry.value);
                }
                if !is_staged {
                    others += 1;
                    if examples.len() < EXAMPLES_MAX {
                        examples.push(printable(&entry.key));
                    }
                }
            }
        }
        Ok(())
    })
    .await?;
    // If nothing is staged, the plan is irrelevant: a repair with a backup cannot be planned again.
    let other_plan = (keys > 0 && now != journal.plan_digest).then_some(now);
    Ok(Staged {
        deletes: runs.into_ranges(),
        read_at,
        report: RestoreReport {
            outcome: RestoreOutcome::WouldRestore,
            delete: keys,
            diff: changes.map(DiffBuilder::finish),
            discards: true,
            ..RestoreReport::default()
        },
        other_plan,
        others,
        examples,
    })
}

/// Computes the plan for the 2.1 metadata without the staged keys. Returns it and the revision at
/// which the metadata was read.
async fn plan_again<S: Store>(
    store: &S,
    ctx: RunContext<'_>,
    filter: &Filter,
    options: &Options,
) -> Result<(Arc<Migration>, i64), EngineErrorKind> {
    let reading = read_source(store, ctx, filter, options, None).await?;
    Ok((Arc::new(reading.migration), reading.read_revision.revision))
}

/// Deletes the staged keys, then the journal.
pub(super) async fn unstage<S: Store>(
    store: &S,
    ctx: RunContext<'_>,
    fence: &Fence<S>,
    journal_store: &mut JournalStore,
    staged: Staged,
) -> Result<RestoreReport, EngineErrorKind> {
    // With partly deleted keys the phase is `staging`, not `staged`, which means that all keys are
    // staged.
    record_staging(store, ctx, fence, journal_store).await?;
    let limits = ctx.limits.for_deletes(WriteStats::default());
    ctx.observer
        .phase_started("discard", Some(staged.report.delete));
    let guards = journal_store.guards(fence);
    let writer = Writer::new(store, guards, limits, ctx.stop, ctx.observer);
    let deletes = staged.deletes.into_iter().map(Op::Delete);
    let deletes = deletes.map(Write::over).collect();
    let written = writer.read_at(staged.read_at).write_all(deletes).await;
    ctx.observer.phase_finished();
    written?;
    // Recorded again after all writes: a comparison with this record proves that none of them was
    // lost.
    record_staging(store, ctx, fence, journal_store).await?;
    let filter = journal_store.source_filter(ctx.root);
    expect_gone(store, ctx, &filter, staged.read_at).await?;
    let verified = matches_backup(store, ctx, journal_store.journal()).await?;
    let run = history::restored(RunResult::RolledBack, ctx, &staged.report);
    let run = RunRecord {
        backup: journal_store
            .journal()
            .and_then(|journal| journal.backup.clone()),
        ..run
    };
    let ops = history::adding(store, ctx, run).await;
    journal_store.clear(store, fence, ctx.limits, ops).await?;
    Ok(RestoreReport {
        outcome: RestoreOutcome::Restored,
        verified,
        ..staged.report
    })
}

async fn record_staging<S: Store>(
    store: &S,
    ctx: RunContext<'_>,
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
    journal_store
        .advance(store, fence, ctx.limits, next, Vec::new(), Vec::new())
        .await
        .map(|_| ())
}

/// Checks that no staged key is left.
async fn expect_gone<S: Store>(
    store: &S,
    ctx: RunContext<'_>,
    filter: &Filter,
    read_at: i64,
) -> Result<(), EngineErrorKind> {
    for range in staged_family_ranges(ctx.root) {
        let mut pages = KeyPages::begin(store, range, &[], ctx.limits.retry_timeout).await?;
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
    store: &S,
    ctx: RunContext<'_>,
    journal: Option<&Journal>,
) -> Result<bool, EngineErrorKind> {
    let Some(recorded) = journal.and_then(|journal| journal.backup.as_ref()) else {
        return Ok(true);
    };
    let path = recorded.path.clone().into();
    let opened = desired_entries::open(path, ctx.root, Some(ctx.root), Tolerance::ALL).await;
    let checked = opened.and_then(|backup| {
        desired_entries::check_digest(&backup, recorded)?;
        Ok(backup)
    });
    let backup = match checked {
        Ok(backup) => backup,
        Err(failure) => {
            ctx.observer.note(&format!(
                "the 2.1 metadata was not compared with the backup {}: {failure}",
                recorded.path
            ));
            return Ok(false);
        }
    };
    let source = Source::new(backup, false);
    let found = source.diff(store, ctx, None, 0, None).await?;
    let found = found.planned();
    if found.outcome == RestoreOutcome::Unchanged {
        return Ok(true);
    }
    ctx.observer.note(&format!(
        "the 2.1 metadata is not what the backup {} holds: {} missing or different, {} not \
         in the backup. The rollback deleted staged keys only, so another program changed the metadata since the backup \
         was made",
        recorded.path,
        counted(found.put, "key"),
        counted(found.delete, "key")
    ));
    Ok(false)
}
