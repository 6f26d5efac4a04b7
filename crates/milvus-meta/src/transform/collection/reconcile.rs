//! Adds a snapshot if the newest one and the plain key disagree about whether a collection exists.
//! 2.1 read the plain key.

use super::super::findings::Findings;
use super::super::snapshots::Version;
use super::versions::{Record, Versions, plain_key};
use crate::keys::{TOMBSTONE, Timestamp};

/// An additional snapshot that makes the newest one agree with the plain key.
#[derive(Debug)]
pub(super) struct Correction<'v> {
    pub(super) timestamp: Timestamp,
    /// The current record, or `None` for a tombstone.
    record: Option<&'v Record>,
    /// Whether there is no other snapshot.
    first: bool,
}

impl Correction<'_> {
    pub(super) fn value<E>(&self, edit: impl Fn(&[u8]) -> Result<Vec<u8>, E>) -> Vec<u8> {
        match self.record {
            Some(record) => edit(&record.raw).unwrap_or_else(|_| record.raw.clone()),
            None => TOMBSTONE.to_vec(),
        }
    }
}

pub(super) fn correction(versions: &Versions) -> Option<Correction<'_>> {
    match (versions.values.truth(), versions.values.newest()) {
        (Some(record), None) => Some(Correction {
            timestamp: free_from(versions, record.record.create_time),
            record: Some(record),
            first: true,
        }),
        (Some(record), Some((timestamp, Version::Dropped))) => Some(Correction {
            timestamp: free_from(versions, timestamp.next()),
            record: Some(record),
            first: false,
        }),
        (None, Some((timestamp, Version::Live(_)))) => Some(Correction {
            timestamp: free_from(versions, timestamp.next()),
            record: None,
            first: false,
        }),
        (Some(_), Some((_, Version::Live(_)))) | (None, Some((_, Version::Dropped)) | None) => None,
    }
}

/// Returns the first timestamp from this one on that no unreadable snapshot has.
fn free_from(versions: &Versions, mut timestamp: Timestamp) -> Timestamp {
    while versions.unreadable.contains(&timestamp) {
        timestamp = timestamp.next();
    }
    timestamp
}

pub(super) fn report(versions: &Versions, correction: &Correction<'_>, findings: &mut Findings) {
    let key = plain_key(versions.key);
    let collection = versions.title();
    if correction.first {
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
