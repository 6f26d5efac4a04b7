//! The dry run: everything a migration decides, and not a write.

use crate::keys::MetaRoot;
use crate::report::PlanReport;
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
        let staged = ledger
            .phase()
            .is_some_and(crate::journal::Phase::is_before_commit);
        let filter = if staged {
            Filter::without_staged(root)
        } else {
            Filter::all(root)
        };
        let around = environment.around(root, limits);
        let reading = read_source(store, around, (&filter, options), None).await?;
        Ok::<_, Failure>(plan_of(&reading))
    };
    make.await.map_err(EngineError::before_writing)
}
