//! An upgrade that was interrupted before it touched Milvus is judged again: what stood in nobody's way
//! may do so now.

use super::super::OperationError;
use super::{Request, in_the_way, saved_resource};
use crate::kubernetes::claim_name;
use crate::kubernetes::preflight::{Asked, Facts};
use crate::kubernetes::record::Record;
use crate::kubernetes::survey::Scope;

/// What to look at, by what is recorded.
#[must_use]
pub fn scope_again<'r>(record: &'r Record, request: &'r Request) -> Scope<'r> {
    Scope {
        selector: Some(&record.selector),
        ..request.scope(&record.claim)
    }
}

/// What the recorded upgrade asks of the cluster.
#[must_use]
pub fn asked_again(record: &Record, request: &Request) -> Asked {
    Asked {
        source: record.source_version.parse().ok(),
        target: record.target_version.parse().ok(),
        image: Some(record.image.clone()),
        root_path: Some(record.etcd.root_path.clone()),
        meta_sub_path: Some(record.etcd.meta_sub_path.clone()),
        endpoints: Some(record.etcd.endpoints.clone()),
        storage_class: record.storage_class.clone(),
        claim_given: record.claim != claim_name(&record.instance),
        accepted: record.accepted.clone(),
        user: record.shape.user,
        words: request.asked.words.clone(),
    }
}

/// The record with what runs now, where nothing stands in the way.
///
/// # Errors
/// [`OperationError::InTheWay`] with everything that does.
pub fn judged_again(
    record: Record,
    facts: &Facts,
    asked: &Asked,
) -> Result<Record, OperationError> {
    in_the_way(facts, asked)?;
    Ok(Record {
        workloads: facts.workloads.found.clone(),
        resource: saved_resource(facts),
        ..record
    })
}
