//! Undoing a migration that has only staged: the old layout stands whole, so the new keys just go.

use crate::journal::{Journal, Phase};
use crate::keys::KeyRange;
use crate::report::{RestoreOutcome, RestoreReport};
use crate::store::{Op, Store};
use crate::transform::staged_family_ranges;

use super::super::deletion::Runs;
use super::super::error::Failure;
use super::super::fence::Fence;
use super::super::fingerprint::{Filter, KeyPages};
use super::super::ledger::Ledger;
use super::super::source::Surroundings;
use super::super::writer::{Tally, Writer};

/// The staged keys that are there: ranges that hold no other key, and how many keys these are.
async fn staged<S: Store>(
    store: &S,
    around: Surroundings<'_>,
    ledger: &Ledger,
) -> Result<(Vec<KeyRange>, u64), Failure> {
    let filter = Filter::without_staged(around.root, ledger.staged_since());
    let (mut runs, mut keys) = (Runs::default(), 0);
    for range in staged_family_ranges(around.root) {
        let mut pages = KeyPages::begin(store, (range, &[]), around.limits.patience).await?;
        while let Some(page) = pages.next().await? {
            for entry in page {
                if filter.is_staged(&entry) {
                    runs.delete(&entry.key, around.limits.delete_keys_max);
                    keys += 1;
                } else {
                    runs.keep();
                }
            }
        }
        runs.keep();
    }
    Ok((runs.into_ranges(), keys))
}

/// How many keys would go.
pub(super) async fn count<S: Store>(
    store: &S,
    around: Surroundings<'_>,
    ledger: &Ledger,
) -> Result<RestoreReport, Failure> {
    let (_, keys) = staged(store, around, ledger).await?;
    Ok(RestoreReport {
        outcome: RestoreOutcome::Restored,
        put: 0,
        delete: keys,
        kept: 0,
        verified: false,
        discards: true,
    })
}

/// Deletes what was staged, then the journal.
pub(super) async fn discard<S: Store>(
    store: &S,
    around: Surroundings<'_>,
    (fence, ledger): (&Fence<S>, &mut Ledger),
) -> Result<RestoreReport, Failure> {
    let planned = count(store, around, ledger).await?;
    let by = (fence, around.limits);
    // From `staged` a run would go straight to its last check; what is half deleted is `staging`.
    if let Some(journal) = ledger
        .journal()
        .filter(|journal| journal.phase == Phase::Staged)
    {
        let next = Journal {
            phase: Phase::Staging,
            ..journal.clone()
        };
        ledger
            .advance(store, by, next, (Vec::new(), Vec::new()))
            .await?;
    }
    let (ranges, _) = staged(store, around, ledger).await?;
    let deletes = ranges.into_iter().map(Op::Delete).collect();
    let limits = around.limits.for_deletes(Tally::default());
    around
        .observer
        .phase_started("discard", Some(planned.delete));
    let writer = Writer::new(store, fence, limits, around.stop, around.observer);
    let written = writer.write_all(deletes).await;
    around.observer.phase_finished();
    written?;
    let left = count(store, around, ledger).await?.delete;
    if left != 0 {
        return Err(Failure::Worker(format!("{left} staged keys are left")));
    }
    ledger.clear(store, by).await?;
    Ok(RestoreReport {
        verified: true,
        ..planned
    })
}
