//! Adds a snapshot if the newest one and the plain key disagree about whether a collection exists.
//! 2.1 read the plain key.

use super::super::findings::Findings;
use super::super::snapshots::Correction;
use super::versions::{Record, Versions, plain_key};

pub(super) fn correction(versions: &Versions) -> Option<Correction<'_, Record>> {
    let values = &versions.values;
    let mut correction = values.correction(|record| record.record.create_time)?;
    // Nothing is written at the time of an unreadable snapshot.
    while versions.unreadable.contains(&correction.timestamp) {
        correction.timestamp = correction.timestamp.next();
    }
    Some(correction)
}

pub(super) fn report(
    versions: &Versions,
    correction: &Correction<'_, Record>,
    findings: &mut Findings,
) {
    let key = plain_key(versions.key);
    let collection = versions.title();
    if correction.is_first {
        findings.notice(
            "snapshot-missing",
            &key,
            format!(
                "2.1 has no snapshot of {collection}; one is written at its creation time, because Milvus \
                 2.2.3 and later do not see it otherwise"
            ),
        );
        return;
    }
    let (plain, snapshot) = match (correction.record, &versions.values.plain) {
        (Some(_), _) => ("exists by its plain key", "is dropped"),
        (None, Some(_)) => ("is dropped by its plain key", "exists"),
        (None, None) => ("has no plain key", "exists"),
    };
    findings.warning(
        "snapshot-contradicts",
        &key,
        format!(
            "{collection} {plain}, but {snapshot} by its newest snapshot; 2.1 read the plain key, and an \
             additional snapshot makes Milvus 2.2 read the same"
        ),
    );
}
