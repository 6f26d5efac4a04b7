//! The dry run: everything a migration decides, and not a write.

use crate::finding::Finding;
use crate::journal::Phase;
use crate::keys::MetaRoot;
use crate::report::{Layout, PlanReport};
use crate::store::Store;
use crate::transform::Options;

use super::Environment;
use super::error::{EngineError, Failure};
use super::fingerprint::Filter;
use super::ledger::Ledger;
use super::limits::Limits;
use super::migrate::plan_of;
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
            return Ok(unfinished(phase, root, options));
        }
        let around = environment.around(root, limits);
        let reading = read_source(store, around, (&filter, options), None).await?;
        let mut plan = plan_of(&reading, root);
        if staged && plan.layout == Layout::V2_1 {
            plan.layout = Layout::Staged;
        }
        Ok::<_, Failure>(plan)
    };
    make.await.map_err(EngineError::before_writing)
}

/// Between the layouts there is nothing to plan, only something to finish.
fn unfinished(phase: Phase, root: &MetaRoot, options: &Options) -> PlanReport {
    let (layout, message) = if phase == Phase::Restoring {
        (
            Layout::Mixed,
            "a backup is put back in part: rollback finishes that, and so does migrate before it begins",
        )
    } else {
        (
            Layout::V2_2,
            "the switch is done, tidying up is not: the same migrate again finishes it",
        )
    };
    let finding = Finding::warning("unfinished", &root.journal_key(), message);
    nothing(layout, options, finding)
}

/// The plan where nothing is planned.
pub(super) fn nothing(layout: Layout, options: &Options, finding: Finding) -> PlanReport {
    PlanReport {
        layout,
        revision: 0,
        collection_form: options.form.to_string(),
        segment_form: options.segment_form.to_string(),
        storage_roots: Vec::new(),
        families: Vec::new(),
        put: 0,
        rewrite: 0,
        delete: 0,
        bytes_put: 0,
        digest: String::new(),
        findings: vec![finding],
    }
}
