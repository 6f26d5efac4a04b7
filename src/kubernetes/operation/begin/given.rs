//! What is given together with an operation that is recorded: what fits is applied by
//! [`resume`](super::resume), the rest is refused by name.

use super::super::OperationError;
use super::Request;
use crate::kubernetes::discovery::image_version;
use crate::kubernetes::record::Record;
use crate::kubernetes::record::wanted::{Difference, Wanted};
use crate::version::Release;

/// What a command line says of what a record holds.
pub(super) fn wanted(record: &Record, request: &Request) -> Wanted {
    let skip_broken = request
        .skip_broken
        .filter(|_| !record.stage.row().plan_open);
    let word = |skip: bool| if skip { "skip" } else { "fail" };
    Wanted {
        on_broken_record: skip_broken.map(|skip| word(skip).to_owned()),
        selector: request.selector.clone(),
        claim_size: request.claim_size.clone(),
        storage_class: request.storage_class.clone(),
        ..aim(request)
    }
}

/// Whether broken records are left out from now on.
pub(super) fn skip_broken(record: &Record, request: &Request) -> bool {
    let given = request.skip_broken.filter(|_| record.stage.row().plan_open);
    given.unwrap_or(record.skip_broken)
}

/// As [`wanted`], as far as it says which upgrade is meant.
pub(super) fn aim(request: &Request) -> Wanted {
    let asked = &request.asked;
    Wanted {
        source_version: asked.source.as_ref().map(ToString::to_string),
        target_version: asked.target.as_ref().map(ToString::to_string),
        image: asked.image.clone(),
        root_path: asked.root_path.clone(),
        meta_sub_path: asked.meta_sub_path.clone(),
        endpoints: asked.endpoints.clone(),
        ..Wanted::default()
    }
}

/// Refuses what cannot change on the way forward. Another image of the same release can, as long as none
/// runs well.
pub(super) fn fits_forward(record: &Record, request: &Request) -> Result<(), OperationError> {
    let wanted = Wanted {
        image: None,
        ..wanted(record, request)
    };
    let mut reasons = reasons(&record.differences(&wanted));
    if let Some(image) = &request.asked.image
        && *image != record.image
    {
        let release: Option<Release> = record.target_version.parse().ok();
        let told = image_version(image);
        if told.is_some() && told.map(|one| one.triple()) != release.map(|one| one.triple()) {
            reasons.push(format!(
                "--image {image} is not {}, which the metadata is migrated for",
                record.target_version
            ));
        }
    }
    judged(record, &reasons)
}

/// Refuses what cannot change on the way back, or says nothing there.
pub(super) fn fits_back(record: &Record, request: &Request) -> Result<(), OperationError> {
    let wanted = Wanted {
        image: None,
        ..wanted(record, request)
    };
    let mut reasons = reasons(&record.differences(&wanted));
    let old = |image: &String| record.workloads.iter().any(|one| one.image == *image);
    if let Some(image) = &request.asked.image
        && *image != record.image
        && !old(image)
    {
        let mut images: Vec<&str> = record
            .workloads
            .iter()
            .map(|one| one.image.as_str())
            .collect();
        images.sort_unstable();
        images.dedup();
        reasons.push(format!(
            "--image {image}, where the record holds {}: the way back starts what ran before",
            images.join(", ")
        ));
    }
    if request.policy.stay_down && !record.policy.stay_down {
        reasons.push(
            "--stay-down, which the record does not hold: the way back starts the old release"
                .to_owned(),
        );
    }
    judged(record, &reasons)
}

fn reasons(differences: &[Difference]) -> Vec<String> {
    let told = differences.iter().map(|one| format!("{one}: {}", one.why));
    told.collect()
}

fn judged(record: &Record, reasons: &[String]) -> Result<(), OperationError> {
    if reasons.is_empty() {
        return Ok(());
    }
    Err(OperationError::Usage(format!(
        "what is given does not fit the recorded operation {} of {}: {}",
        record.operation,
        record.instance,
        reasons.join("; ")
    )))
}
