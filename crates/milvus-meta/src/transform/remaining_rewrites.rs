//! Going on after the commit, when some collection records have their new form and some do not.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use super::findings::Findings;
use super::snapshots::RawHistory;
use super::{CollectionForm, NewKeys, OnBrokenRecord, Put, collection, kept, ranges, segment_log};
use crate::entry::Entry;
use crate::keys::{Key, KeyRange, LogKind, MetaRoot, Object, Timestamp};
use crate::model::{CollectionId, PartitionId, SegmentId};

/// What is left to write of the collection families.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Remaining {
    /// Snapshots to add.
    pub history: Vec<Put>,
    /// Values to replace.
    pub rewrites: Vec<Put>,
    /// Keys that 2.2 must not see.
    pub removals: Vec<KeyRange>,
}

/// Says what is left to write after the commit, from the collection records and their snapshots as they
/// stand. Once that is written, nothing is left.
///
/// The database form leaves nothing there: its commit takes the old records away.
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
        let key = Key::parse(relative);
        if let Key::Plain(Object::Collection(id)) = key {
            collections.entry(id).or_default().plain = Some(entry.value.to_vec());
        } else if let Key::Snapshot(Object::Collection(id), timestamp) = key
            && timestamp < Timestamp::LAST
        {
            let history = collections.entry(id).or_default();
            history.snapshots.insert(timestamp, entry.value.to_vec());
        }
    }
    // What 2.2 wrote, and what is rewritten already.
    collections.retain(|_, history| !kept::is_of_2_2(history));
    // What is to be said was said when the migration was planned.
    let mut unheard = Findings::new(root.clone(), on_broken);
    let converted = collection::convert(form, collections, &mut unheard);
    let whole = |keys: NewKeys| -> Vec<Put> {
        let puts = keys.into_iter();
        puts.map(|(key, value)| Put {
            key: root.join(&key),
            value,
        })
        .collect()
    };
    let removed = converted.removed.iter();
    Remaining {
        removals: ranges::sorted(removed.map(|key| KeyRange::single(root.join(key)))),
        history: whole(converted.history),
        rewrites: whole(converted.rewrites),
    }
}

/// The record of a segment without its logs, which is what is left to write of it after the commit; `None`
/// where it stays as it is. `keys` are all keys of logs of this segment, and may be more.
///
/// The logs are taken out only where the keys that replace all of them are there, and no others: what was
/// planned to stay stays, and nothing is lost whatever was planned.
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
    let is_there = |put: &Put| keys.get(&*put.key).is_some_and(|value| *value == put.value);
    let there: usize = LogKind::ALL
        .map(|kind| {
            let below = log_range(root, kind, ids);
            keys.range::<[u8], _>((Bound::Included(&*below.start), Bound::Excluded(&*below.end)))
                .count()
        })
        .iter()
        .sum();
    (there == puts.len() && puts.iter().all(is_there)).then_some(Put {
        key: entry.key.to_vec(),
        value: moved.record,
    })
}

/// The keys of the logs of a segment.
fn log_range(
    root: &MetaRoot,
    kind: LogKind,
    (collection, partition, segment): (CollectionId, PartitionId, SegmentId),
) -> KeyRange {
    let family = kind.family().name();
    root.range_below(&format!("{family}/{collection}/{partition}/{segment}/"))
}
