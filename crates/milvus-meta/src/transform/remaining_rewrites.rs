//! Resumes after the commit, when only some records have their new form.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use super::findings::Findings;
use super::migration::puts;
use super::snapshots::RawHistory;
use super::{CollectionForm, OnBrokenRecord, Put, collection, kept, ranges, segment_log};
use crate::entry::Entry;
use crate::keys::{Key, KeyRange, LogKind, MetaRoot, Object, Timestamp};
use crate::model::CollectionId;

/// The remaining changes to the collection families.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Remaining {
    /// Snapshots to add.
    pub history: Vec<Put>,
    /// Values to replace.
    pub rewrites: Vec<Put>,
    /// Keys that 2.2 must not see.
    pub removals: Vec<KeyRange>,
}

/// Returns the remaining changes after the commit. They are derived from the current collection
/// records and their snapshots; once they are made, none remain.
///
/// In the database form none remain, because the commit deletes the old records.
#[must_use]
pub fn remaining_after_commit(
    root: &MetaRoot,
    form: CollectionForm,
    on_broken: OnBrokenRecord,
    entries: &[Entry],
) -> Remaining {
    if form == CollectionForm::Database {
        return Remaining::default();
    }
    let mut collections: BTreeMap<CollectionId, RawHistory> = BTreeMap::new();
    for entry in entries {
        let Some(relative) = root.strip(&entry.key) else {
            continue;
        };
        let Some((Object::Collection(id), timestamp)) = Key::parse(relative).object() else {
            continue;
        };
        if timestamp.is_none_or(|timestamp| timestamp < Timestamp::LAST) {
            let history = collections.entry(id).or_default();
            history.set(timestamp, &entry.value);
        }
    }
    // Exclude records that 2.2 wrote or that are already rewritten.
    collections.retain(|_, history| !kept::is_of_2_2(history));
    // The findings were reported when the migration was planned.
    let mut findings = Findings::new(root.clone(), on_broken);
    let converted = collection::convert(form, collections, &mut findings);
    Remaining {
        removals: ranges::single_keys(root, &converted.removed),
        history: puts(root, converted.history),
        rewrites: puts(root, converted.rewrites),
    }
}

/// Returns the remaining rewrite of a segment record after the commit: the record without its logs;
/// `None` if it stays unchanged. `keys` contains all log keys of this segment, and may contain
/// others.
///
/// The logs are only removed if exactly the keys that replace them exist. So records that were
/// planned to keep their logs keep them, and nothing is lost whatever the plan was.
#[must_use]
pub fn remaining_segment(
    root: &MetaRoot,
    entry: &Entry,
    keys: &BTreeMap<Bytes, Bytes>,
) -> Option<Put> {
    let Key::Segment(collection, partition, segment) = Key::parse(root.strip(&entry.key)?) else {
        return None;
    };
    let ids = (collection, partition, segment);
    let moved = segment_log::moved(ids, &entry.value)?;
    let puts = moved.puts(ids, root);
    let exists = |put: &Put| keys.get(&*put.key).is_some_and(|value| *value == put.value);
    let existing = LogKind::ALL.map(|kind| {
        let family = kind.family().name();
        let below = root.range_below(&format!("{family}/{collection}/{partition}/{segment}/"));
        let bounds = (Bound::Included(&*below.start), Bound::Excluded(&*below.end));
        keys.range::<[u8], _>(bounds).count()
    });
    let existing: usize = existing.iter().sum();
    (existing == puts.len() && puts.iter().all(exists)).then_some(Put {
        key: entry.key.to_vec(),
        value: moved.record,
    })
}
