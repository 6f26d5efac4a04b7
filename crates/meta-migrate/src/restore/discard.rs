//! Unstaging: rolling back a migration that was not committed. 2.1 is intact then, and the staged keys go.
//!
//! What the journal says is checked first. The plan is made again from the 2.1 metadata, and its digest must
//! be the recorded one; only keys that this plan stages are deleted. Anything else in the new families was
//! written by another program and goes only with `--accept-loss`.

use std::sync::Arc;

use crate::journal::{Journal, Phase};
use meta_backup::Tolerance;
use meta_report::{Change, DiffBuilder, RestoreOutcome, RestoreReport, RunRecord, RunResult};
use meta_store::{Op, Store};
use milvus_meta::entry::{Entry, printable};
use milvus_meta::keys::KeyRange;
use milvus_meta::plural::counted;
use milvus_meta::transform::{Migration, Options, staged_family_ranges};

use super::super::census;
use super::super::context::Retries;
use super::super::context::Surroundings;
use super::super::deletion::Runs;
use super::super::difference::{Actual, Difference, compare};
use super::super::error::Failure;
use super::super::fence::Fence;
use super::super::fingerprint::{Filter, KeyPages};
use super::super::history;
use super::super::ledger::Ledger;
use super::super::ledger::journal_options;
use super::super::source::read_source;
use super::super::staged::staged_entries;
use super::super::write::Write;
use super::super::writer::{Tally, Writer};
use super::image;
use super::loss::EXAMPLES_MAX;
use super::put_back::Source;

/// What unstaging would delete.
pub(super) struct Staged {
    deletes: Vec<KeyRange>,
    read_at: i64,
    pub(super) report: RestoreReport,
    /// The digest of the plan as it is now, where it is not the recorded one.
    other_plan: Option<String>,
    /// Keys that this migration did not stage.
    others: u64,
    examples: Vec<String>,
}

impl Staged {
    /// Fails when something would be deleted that the recorded plan does not make again.
    pub(super) fn check(&self, ledger: &Ledger) -> Result<(), Failure> {
        let recorded = ledger.journal().map(|journal| journal.plan_digest.clone());
        if let Some(now) = &self.other_plan {
            return Err(Failure::StagedFromOther {
                recorded: recorded.unwrap_or_default(),
                now: now.clone(),
            });
        }
        match self.others {
            0 => Ok(()),
            keys => Err(Failure::NotStaged {
                keys,
                examples: self.examples.clone(),
            }),
        }
    }
}

/// Makes the plan again and compares the staged keys with it; the keys that would go are reported, so many of each
/// family.
pub(super) async fn look<S: Store>(
    store: &S,
    around: Surroundings<'_>,
    ledger: &Ledger,
    reported: Option<usize>,
) -> Result<Staged, Failure> {
    let mut retries = Retries::new(around);
    loop {
        let diff = reported.map(|max| DiffBuilder::new(around.root.clone(), max));
        match look_once(store, around, ledger, diff).await {
            Err(failure) if retries.again_after(&failure) => {}
            outcome => return outcome,
        }
    }
}

async fn look_once<S: Store>(
    store: &S,
    around: Surroundings<'_>,
    ledger: &Ledger,
    mut diff: Option<DiffBuilder>,
) -> Result<Staged, Failure> {
    let journal = ledger.journal().ok_or(Failure::NoBackup)?;
    let options = journal_options(journal)?;
    let filter = ledger.source_filter(around.root);
    let (migration, read_at) = plan_again(store, around, (&filter, &options)).await?;
    let now = migration.digest().to_owned();
    let other_plan = (now != journal.plan_digest).then_some(now);
    let ranges = staged_family_ranges(around.root);
    let present = census::in_ranges(store, &ranges, read_at, around.limits).await?;
    around.observer.phase_started("compare", Some(present));
    let actual = Actual {
        store,
        ranges: ranges.clone(),
        revision: read_at,
        ignore: &mut |entry| entry.lease != 0 || filter.keeps(entry),
    };
    let (mut runs, mut keys, mut others, mut examples) = (Runs::default(), 0, 0, Vec::new());
    let mut ranges = ranges.into_iter().peekable();
    compare(staged_entries(migration), actual, around, |difference| {
        // No deletion may reach over what is between two families.
        while ranges
            .next_if(|range| !range.contains(difference.key()))
            .is_some()
        {
            runs.keep();
        }
        let is_staged = matches!(difference, Difference::Same(_));
        match difference {
            Difference::Missing(_) => return Ok(()),
            Difference::Ignored(_) => {
                runs.keep();
                return Ok(());
            }
            Difference::Same(entry)
            | Difference::Extra(entry)
            | Difference::Different { wanted: entry, .. } => {
                runs.delete(&entry.key, around.limits.delete_keys_max);
                keys += 1;
                diff.iter_mut()
                    .for_each(|diff| diff.add(Some(Change::Removed), &entry.key, &entry.value));
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
    Ok(Staged {
        deletes: runs.into_ranges(),
        read_at,
        report: RestoreReport {
            outcome: RestoreOutcome::WouldRestore,
            put: 0,
            delete: keys,
            kept: 0,
            verified: false,
            diff: diff.map(DiffBuilder::finish),
            old_root: None,
            discards: true,
            undoes_repair: false,
        },
        other_plan,
        others,
        examples,
    })
}

/// The plan for the 2.1 metadata without what was staged, and the revision at which it was read.
async fn plan_again<S: Store>(
    store: &S,
    around: Surroundings<'_>,
    how: (&Filter, &Options),
) -> Result<(Arc<Migration>, i64), Failure> {
    let reading = read_source(store, around, how, None).await?;
    Ok((Arc::new(reading.migration), reading.moment.revision))
}

/// Deletes what was staged, then the journal.
pub(super) async fn discard<S: Store>(
    store: &S,
    around: Surroundings<'_>,
    (fence, ledger): (&Fence<S>, &mut Ledger),
    staged: Staged,
) -> Result<RestoreReport, Failure> {
    // From `staged` a run would go straight to its last check; what is half deleted is `staging`.
    record_staging(store, around, (fence, ledger)).await?;
    let limits = around.limits.for_deletes(Tally::default());
    around
        .observer
        .phase_started("discard", Some(staged.report.delete));
    let guards = ledger.guards(fence);
    let writer = Writer::new(store, guards, limits, around.stop, around.observer);
    let deletes = staged.deletes.into_iter().map(Op::Delete);
    let deletes = deletes.map(Write::over).collect();
    let written = writer.read_at(staged.read_at).write_all(deletes).await;
    around.observer.phase_finished();
    written?;
    // Recorded once more behind all of it: what compares this record shows that nothing of it was lost.
    record_staging(store, around, (fence, ledger)).await?;
    let filter = ledger.source_filter(around.root);
    expect_gone(store, around, (&filter, staged.read_at)).await?;
    let verified = matches_backup(store, around, ledger.journal()).await?;
    let run = history::restored(RunResult::RolledBack, around, &staged.report);
    let run = RunRecord {
        backup: ledger.journal().and_then(|journal| journal.backup.clone()),
        ..run
    };
    let ops = history::adding(store, around, run).await;
    ledger.clear(store, (fence, around.limits), ops).await?;
    Ok(RestoreReport {
        outcome: RestoreOutcome::Restored,
        verified,
        ..staged.report
    })
}

async fn record_staging<S: Store>(
    store: &S,
    around: Surroundings<'_>,
    (fence, ledger): (&Fence<S>, &mut Ledger),
) -> Result<(), Failure> {
    let Some(journal) = ledger.journal() else {
        return Ok(());
    };
    let next = Journal {
        phase: Phase::Staging,
        ..journal.clone()
    };
    let by = (fence, around.limits);
    let nothing = (Vec::new(), Vec::new());
    ledger.advance(store, by, next, nothing).await.map(|_| ())
}

/// Nothing that was staged is left.
async fn expect_gone<S: Store>(
    store: &S,
    around: Surroundings<'_>,
    (filter, read_at): (&Filter, i64),
) -> Result<(), Failure> {
    for range in staged_family_ranges(around.root) {
        let mut pages = KeyPages::begin(store, (range, &[]), around.limits.patience).await?;
        while let Some(page) = pages.next().await? {
            let is_left = |entry: &&Entry| entry.lease == 0 && filter.is_staged(entry);
            if let Some(left) = page.iter().find(is_left) {
                return Err(Failure::SourceChanged {
                    revision: read_at,
                    what: format!("{} was written concurrently", printable(&left.key)),
                });
            }
        }
    }
    Ok(())
}

/// Compares the 2.1 metadata with the backup that the journal names. Without one, the digest of the plan has
/// shown what there is to show.
async fn matches_backup<S: Store>(
    store: &S,
    around: Surroundings<'_>,
    journal: Option<&Journal>,
) -> Result<bool, Failure> {
    let Some(recorded) = journal.and_then(|journal| journal.backup.as_ref()) else {
        return Ok(true);
    };
    let path = recorded.path.clone().into();
    let opened = image::open(path, around.root, Some(around.root), Tolerance::ALL).await;
    let checked = opened.and_then(|backup| {
        image::check_digest(&backup, recorded)?;
        Ok(backup)
    });
    let backup = match checked {
        Ok(backup) => backup,
        Err(failure) => {
            around.observer.note(&format!(
                "the 2.1 metadata was not compared with the backup {}: {failure}",
                recorded.path
            ));
            return Ok(false);
        }
    };
    let source = Source::new(backup, false);
    let found = source.difference(store, around, (None, 0), None).await?;
    let found = found.planned();
    if found.outcome == RestoreOutcome::Unchanged {
        return Ok(true);
    }
    around.observer.note(&format!(
        "the 2.1 metadata is not what the backup {} holds: {} missing or different, {} not \
         in the backup. The rollback deleted staged keys only, so another program changed the metadata since the backup \
         was made",
        recorded.path,
        counted(found.put, "key"),
        counted(found.delete, "key")
    ));
    Ok(false)
}
