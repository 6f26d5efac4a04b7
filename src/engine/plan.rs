//! The dry run: everything a migration decides, and not a write.

use crate::finding::Finding;
use crate::journal::{Journal, Phase};
use crate::keys::MetaRoot;
use crate::report::{Layout, PlanReport};
use crate::store::Store;
use crate::transform::Options;

use super::Environment;
use super::completeness;
use super::error::{EngineError, Failure};
use super::fingerprint::Filter;
use super::ledger::Ledger;
use super::limits::Limits;
use super::plan_report::{nothing, plan_of, unfinished_message};
use super::source::read_source;

/// Reads, transforms and validates; errors in the metadata are findings of the plan, not an error.
///
/// # Errors
/// [`EngineError`] when etcd cannot be read.
pub async fn plan<S: Store>(
    store: &S,
    root: &MetaRoot,
    options: &Options,
    (limits, environment): (&Limits, &Environment),
) -> Result<PlanReport, EngineError> {
    let make = async {
        let ledger = Ledger::load(store, root, limits).await?;
        let staged = ledger.phase().is_some_and(Phase::is_before_commit);
        let filter = if staged {
            Filter::without_staged(root, ledger.staged_since())
        } else {
            Filter::all(root)
        };
        if let Some(phase) = ledger.phase()
            && !staged
            && phase != Phase::Done
        {
            return Ok(unfinished(phase, ledger.journal(), root, options));
        }
        let around = environment.around(root, limits);
        let reading = read_source(store, around, (&filter, options), None).await?;
        let mut plan = plan_of(&reading, root, ledger.journal());
        if plan.layout == Layout::V2_2 && !staged {
            let (_, findings) = completeness::check(store, around, options, &ledger).await?;
            plan.findings = findings;
        }
        if staged && plan.layout == Layout::V2_1 {
            plan.layout = Layout::Staged;
        }
        Ok::<_, Failure>(plan)
    };
    make.await.map_err(EngineError::before_writing)
}

/// Between the layouts there is nothing to plan, only something to finish.
fn unfinished(
    phase: Phase,
    journal: Option<&Journal>,
    root: &MetaRoot,
    options: &Options,
) -> PlanReport {
    let layout = if phase == Phase::Restoring {
        Layout::Mixed
    } else {
        Layout::V2_2
    };
    let finding = Finding::warning(
        "unfinished",
        &root.journal_key(),
        unfinished_message(phase, journal),
    );
    nothing(layout, options, vec![finding])
}
