//! From a rollback that is not finished to the new release after all.

use std::collections::BTreeMap;

use super::super::OperationError;
use super::{Request, given, refused, resume};
use crate::kubernetes::record::Record;
use crate::kubernetes::stage::turned_forward;

/// The record with which an unfinished rollback turns: an operation of its own, with Jobs of its own.
///
/// # Errors
/// [`OperationError::Refused`] when there is no such rollback, or the metadata was put back already;
/// [`OperationError::Usage`] when something is given that does not fit what is recorded.
pub fn going_forward(
    existing: Option<&Record>,
    request: &Request,
) -> Result<Record, OperationError> {
    let unfinished = |record: &&Record| record.stage.is_way_back() && !record.stage.is_final();
    let Some(record) = existing.filter(unfinished) else {
        return refused(format!(
            "no rollback of {} is unfinished: an upgrade goes on with -o resume",
            request.instance
        ));
    };
    let Some(stage) = turned_forward(record.stage) else {
        return refused(format!(
            "the metadata was put back already ({}): finish the rollback with -o resume, then upgrade again",
            record.stage.name()
        ));
    };
    given::fits_forward(record, request)?;
    let image = request.asked.image.as_ref().unwrap_or(&record.image);
    let mut forward = Record {
        image: image.clone(),
        stage,
        operation: request.operation.clone(),
        started_at: request.now.clone(),
        attempts: BTreeMap::new(),
        failure: None,
        asked_back: false,
        ..resume(record, request)
    };
    // What was given up beforehand was what is written until the release is healthy, not what it wrote since.
    forward.policy.accept_loss = false;
    forward.policy.rollback_on_failure = request.policy.rollback_on_failure;
    Ok(forward)
}
