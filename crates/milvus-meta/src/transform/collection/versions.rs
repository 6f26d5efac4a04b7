//! Reads the values of a collection: its plain record and its snapshots.

use std::collections::BTreeSet;

use super::super::findings::Findings;
use super::super::names;
use super::super::snapshots::{Children, RawHistory, Settled, Timeline, Values, Version};
use crate::codec::patch;
use crate::codec::v2_1::{self, Collection};
use crate::keys::{Family, Key, Object, Timestamp, is_tombstone};
use crate::model::CollectionId;

/// A record and the bytes that it was read from.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) raw: Vec<u8>,
    pub(super) record: Collection,
}

/// The readable values of a collection.
#[derive(Debug)]
pub(super) struct Versions {
    /// The id in the plain key.
    pub(super) key: CollectionId,
    /// The id in the values.
    pub(super) id: CollectionId,
    pub(super) values: Values<Record>,
    /// Unreadable snapshots: the commit deletes their keys, so nothing is written there.
    pub(super) unreadable: BTreeSet<Timestamp>,
}

impl Versions {
    /// Returns the title of the collection for findings.
    pub(super) fn title(&self) -> String {
        let last = self.values.records().last();
        last.map_or_else(
            || format!("collection {}", self.id),
            |record| names::collection_of(&record.record),
        )
    }
}

/// Returns the collection id of the newest snapshot whose record can be converted.
pub(super) fn claimed(history: &RawHistory) -> Option<CollectionId> {
    let mut values = history.snapshots.values().rev();
    values.find_map(|raw| {
        let record = decode(raw).ok().filter(|_| !is_tombstone(raw))?;
        defect(&record).is_none().then_some(record.id)
    })
}

pub(super) fn plain_key(id: CollectionId) -> Vec<u8> {
    Key::Plain(Object::Collection(id)).render()
}

pub(super) fn snapshot_key(id: CollectionId, timestamp: Timestamp) -> Vec<u8> {
    Key::Snapshot(Object::Collection(id), timestamp).render()
}

/// Reads a value; `None` and a finding if it cannot be converted.
pub(super) fn read(
    family: Family,
    key: &[u8],
    raw: &[u8],
    findings: &mut Findings,
) -> Option<Version<Record>> {
    if is_tombstone(raw) {
        return Some(Version::Dropped);
    }
    let skipped = if family == Family::Collection {
        "Milvus 2.2 will not know this collection"
    } else {
        "time travel to this moment will not see the collection"
    };
    let record = findings.decoded(decode(raw), "a collection record", || key.to_vec(), skipped)?;
    if let Some((code, what)) = defect(&record) {
        let what = format!("{}: {what}", names::collection_of(&record));
        findings.broken(code, key, &what, skipped);
        return None;
    }
    findings.unknown(family, key, &record.unknown);
    let raw = raw.to_vec();
    Some(Version::Live(Record { raw, record }))
}

/// Decodes a record, including fields that are copied unchanged: text that Milvus would reject is
/// rejected.
fn decode(raw: &[u8]) -> Result<Collection, String> {
    let record = v2_1::collection(raw).map_err(|error| error.to_string())?;
    v2_1::check_collection(raw).map_err(|error| error.to_string())?;
    Ok(record)
}

/// Returns why a readable record could not be loaded by Milvus 2.2 or would lose something.
fn defect(record: &Collection) -> Option<(&'static str, String)> {
    if record.name.is_none() {
        let what = "the record has no schema".to_owned();
        return Some(("collection-without-schema", what));
    }
    let mut times = record.partition_times.iter().chain([&record.create_time]);
    if times.any(|time| *time >= Timestamp::LAST) {
        let what = "a creation time in the record is beyond the largest timestamp".to_owned();
        return Some(("impossible-time", what));
    }
    let Some(partitions) = record.partitions() else {
        let what = format!(
            "the lists of partitions differ in length: {} ids, {} names, {} creation times",
            record.partition_ids.len(),
            record.partition_names.len(),
            record.partition_times.len()
        );
        return Some(("unequal-partition-lists", what));
    };
    if record.fields.is_empty() && !partitions.is_empty() {
        let what = "the record has partitions but no fields".to_owned();
        return Some(("collection-without-fields", what));
    }
    let repeated = |ids: Vec<i64>| {
        let mut ids = ids;
        ids.sort_unstable();
        ids.windows(2)
            .find(|pair| pair[0] == pair[1])
            .map(|pair| pair[0])
    };
    if let Some(id) = repeated(partitions.iter().map(|row| row.id.0).collect()) {
        return Some((
            "duplicate-partition",
            format!("the record lists partition {id} twice"),
        ));
    }
    let field = repeated(record.fields.iter().map(|field| field.id.0).collect())?;
    Some((
        "duplicate-field",
        format!("the schema lists field {field} twice"),
    ))
}

pub(super) fn follow(versions: &Versions, children: impl Fn(&Collection) -> Children) -> Settled {
    let of = |version: Option<&Record>| version.map(|it| children(&it.record)).unwrap_or_default();
    let mut timeline = Timeline::default();
    for (timestamp, version) in &versions.values.snapshots {
        timeline.advance(*timestamp, &of(version.record()));
    }
    let newest = versions.values.newest();
    let end = newest.map_or(Timestamp(0), |(timestamp, _)| timestamp.next());
    timeline.settle(end, &of(versions.values.truth()))
}

/// Warns if the newest snapshot and the plain record differ. The lists of indexes are ignored,
/// because 2.1 changes them without a snapshot.
pub(super) fn check_newest(versions: &Versions, findings: &mut Findings) {
    let values = &versions.values;
    let (Some(plain), Some((_, Version::Live(newest)))) = (values.truth(), values.newest()) else {
        return;
    };
    let comparable = |record: &Record| patch::embedded_collection(&record.raw).ok();
    if comparable(plain) != comparable(newest) {
        findings.warning(
            "snapshot-differs",
            &plain_key(versions.key),
            format!(
                "the newest snapshot of {} is not equal to the plain record; both are migrated, and Milvus \
                 2.2.3 and later read the snapshot",
                versions.title()
            ),
        );
    }
}
