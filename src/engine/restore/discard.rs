//! Undoing a migration that has only staged: the old layout stands whole, so the new keys just go.

use crate::journal::{Journal, Phase};
use crate::report::{RestoreOutcome, RestoreReport};
use crate::store::{RangeRequest, Store};
use crate::transform::new_family_ranges;

use super::super::ahead::Ahead;
use super::super::deletion::bounded_deletes;
use super::super::error::Failure;
use super::super::fence::Fence;
use super::super::ledger::Ledger;
use super::super::source::Surroundings;
use super::super::writer::{Tally, Writer};

/// How many keys would go.
pub(super) async fn count<S: Store>(
    store: &S,
    around: Surroundings<'_>,
) -> Result<RestoreReport, Failure> {
    let mut keys = 0;
    let ranges = new_family_ranges(around.root).into_iter();
    let requests = ranges.map(|range| RangeRequest::new(range).count_only());
    let mut counts = Ahead::new(store, around.limits.patience, requests);
    while let Some(response) = counts.next("counting the staged keys").await? {
        keys += u64::try_from(response.count).unwrap_or(0);
    }
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
    let planned = count(store, around).await?;
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
    let staged = new_family_ranges(around.root);
    let deletes = bounded_deletes(store, (&staged, i64::MAX), around.limits).await?;
    let limits = around.limits.for_deletes(Tally::default());
    around
        .observer
        .phase_started("discard", Some(planned.delete));
    let writer = Writer::new(store, fence, limits, around.stop, around.observer);
    let written = writer.write_all(deletes).await;
    around.observer.phase_finished();
    written?;
    let left = count(store, around).await?.delete;
    if left != 0 {
        return Err(Failure::Worker(format!("{left} staged keys are left")));
    }
    ledger.clear(store, by).await?;
    Ok(RestoreReport {
        verified: true,
        ..planned
    })
}
